"""What crosses the network between machines that share a model, in bytes, messages and seconds.

A step of decoding computes one token of each of `n_parallel` requests; a prompt crosses as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sizing.interconnect import Interconnect
from sizing.specs import ModelSpec
from sizing.throughput import Interval, SpeedEstimate

VLLM_HOP_BYTES = 2 * 2
"""Bytes that vLLM sends to the next stage for each value of the hidden state: the state and the residual beside it, in
16 bits (https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/models/llama.py, `IntermediateTensors`)."""

REDUCES_PER_LAYER = 2
"""All-reduces of tensor parallelism, after attention and after the feed-forward part (Megatron-LM, arXiv:1909.08053,
section 3)."""

REDUCE_BYTES = 2
"""Bytes of a value in an all-reduce: 16 bits."""

NCCL_START_S = 3.6e-6
"""What any operation of NCCL takes beside its steps
(https://github.com/NVIDIA/nccl/blob/master/src/graph/tuning.cc, `baseLat`, ring, LL)."""

LLAMA_CPP_BYTES = 4
"""llama.cpp's hidden states and logits are in 32 bits (https://github.com/ggml-org/llama.cpp/blob/master/src/
llama-graph.cpp)."""

NETWORK_BOUND = "the network between machines"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What crosses the network one after another: bytes, and messages that wait for each other."""

    n_bytes: float = 0.0
    n_messages: float = 0.0
    start_s: float = 0.0

    def count_seconds(self, link: Interconnect) -> float:
        """Seconds on `link`; none where nothing crosses."""
        return link.count_seconds(self.n_bytes, self.n_messages) + self.start_s if self.n_messages else 0.0


@dataclass(frozen=True, slots=True)
class NetworkCost:
    """Seconds the network adds: to a step of decoding, to a prompt that fills the context, and to loading."""

    step_s: float
    prompt_s: float
    load_s: float
    step_bytes: float


def count_pipeline(spec: ModelSpec, n_nodes: int, n_tokens: int) -> Traffic:
    """Stages on `n_nodes`: each hands its output on, and the last one's tokens go back to the first."""
    hops = n_nodes - 1
    if not hops:
        return Traffic()
    n_bytes = hops * spec.hidden_dim * VLLM_HOP_BYTES * n_tokens
    return Traffic(n_bytes, hops + 1, (hops + 1) * NCCL_START_S)


def count_tensor(spec: ModelSpec, n_nodes: int, n_tokens: int) -> Traffic:
    """Every layer's matrices shared over `n_nodes`: a ring sends 2 (n - 1) / n of the states in 2 (n - 1) steps.

    The cards of one node add up among themselves first, so that the ring is of nodes.
    """
    if n_nodes == 1:
        return Traffic()
    n_reduces = REDUCES_PER_LAYER * spec.n_layers
    n_bytes = 2 * (n_nodes - 1) / n_nodes * spec.hidden_dim * REDUCE_BYTES * n_tokens
    return Traffic(n_reduces * n_bytes, n_reduces * 2 * (n_nodes - 1), n_reduces * NCCL_START_S)


def count_rpc(spec: ModelSpec, n_nodes: int, n_tokens: int, n_remote_outputs: int = 0) -> Traffic:
    """llama.cpp's layers over `n_nodes`: those of the servers first, the main host's own cards last.

    So it orders them (https://github.com/ggml-org/llama.cpp/pull/9296), that the head stays with the main host and no
    logits cross the network. A state is sent to the first server; between two servers it goes through the main host,
    which asks for it, gets it and sends it on (ggml/src/ggml-rpc/ggml-rpc.cpp, `cpy_tensor` refuses the buffer of
    another server); from the last the main host asks for it. A main host without cards asks for the logits of
    `n_remote_outputs` tokens instead. Builds before the end of 2025 also send the graph with each token.
    """
    if n_nodes == 1:
        return Traffic()
    between = n_nodes - 2
    state_bytes = spec.hidden_dim * LLAMA_CPP_BYTES * n_tokens
    back_bytes = spec.vocab_size * LLAMA_CPP_BYTES * n_remote_outputs if n_remote_outputs else state_bytes
    return Traffic((1 + 2 * between) * state_bytes + back_bytes, 1 + 3 * between + 2)


def add_network(speed: SpeedEstimate, cost: NetworkCost, prompt_tokens: int) -> SpeedEstimate:
    """The speed with the network's seconds added to every step and prompt."""
    decode = _slow(speed.decode_tokens_per_s, cost.step_s)
    prefill = (
        None if speed.prefill_tokens_per_s is None else _slow(speed.prefill_tokens_per_s, cost.prompt_s / prompt_tokens)
    )
    first = speed.time_to_first_token_s
    if first is not None:
        extra = cost.prompt_s + cost.step_s
        first = Interval(first.low + extra, first.mid + extra, first.high + extra)
    is_bound = cost.step_s > 0.5 / decode.mid
    return replace(
        speed,
        decode_tokens_per_s=decode,
        prefill_tokens_per_s=prefill,
        time_to_first_token_s=first,
        bound=NETWORK_BOUND if is_bound else speed.bound,
    )


def _slow(rate: Interval, seconds: float) -> Interval:
    """A rate whose every unit takes so many seconds more."""
    return Interval(*(1 / (1 / r + seconds) for r in (rate.low, rate.mid, rate.high)))

"""What a server's cards hold besides weights and cache: activations of the profile run, graphs, libraries."""

from __future__ import annotations

from collections.abc import Iterator

from sizing.engines.serving import Split
from sizing.formats import FULL_BITS
from sizing.specs import FeedForward, LayerGroup, ModelSpec
from sizing.units import GIB

SAMPLER_BYTES = 38
"""Bytes per sequence and vocabulary entry while sampling: logits in 16 and 32 bits, values (32) and indices (64) in
order, the sort's own copy of both, probabilities and noise (32 each); vllm/v1/sample/ops/topk_topp_sampler.py. It is
what leaves gpt-oss-120b 1.7 GiB of cache on an H100 (https://github.com/vllm-project/vllm/issues/27508): 37 there."""

LIBRARY_BYTES = round(0.15 * GIB)
"""Memory outside PyTorch that the profile run sees grow: NCCL, cuBLAS and kernels. The median of what 15 published
NVIDIA logs of vLLM 0.12 leave unexplained (https://github.com/kyuz0/amd-r9700-vllm-toolboxes); -0.1 to 0.3 GiB."""

GRAPH_BYTES = round(0.4 * GIB)
"""Captured graphs: the median of what 13 of those logs print, 0.08 to 2.7 GiB ('Graph capturing finished, took')."""


def estimate_activation_bytes(spec: ModelSpec, split: Split, step_tokens: int, n_sequences: int) -> int:
    """Peak of one step over `step_tokens` tokens, or of sampling for `n_sequences`, whichever is more.

    The step holds the residual and the layer's input in 16 bits beside the widest intermediate of one layer, as the
    dummy run of vllm/v1/worker/gpu_model_runner.py (`profile_run`) does; sampling follows it.
    """
    widest = max((w for g in spec.groups for w in _list_widths(spec, g, split.tensor_parallel)), default=0)
    step = step_tokens * (2 * spec.hidden_dim + widest) * FULL_BITS // 8
    return max(step, n_sequences * spec.vocab_size * SAMPLER_BYTES)


def _list_widths(spec: ModelSpec, group: LayerGroup, ranks: int) -> Iterator[int]:
    """Values per token that each part of a layer holds at once on one rank."""
    a = group.attention
    if a is not None:
        heads, kv_heads = a.n_heads // ranks, max(a.n_kv_heads // ranks, 1)
        yield heads * (a.head_dim + a.head_dim_v) + kv_heads * (a.head_dim + a.head_dim_v)
    if group.recurrent is not None:
        yield 3 * group.recurrent.d_inner // ranks
    if group.ffn is not None:
        yield from _list_ffn_widths(spec, group.ffn, ranks)


def _list_ffn_widths(spec: ModelSpec, ffn: FeedForward, ranks: int) -> Iterator[int]:
    """Gate, up and their product of a dense layer; of a mixture, those of every chosen expert or its outputs."""
    n_inputs = 2 if ffn.gated else 1
    yield (n_inputs + 1) * ffn.ffn_dim // ranks
    if ffn.is_moe:
        inner = ffn.expert_ffn_dim // ranks
        yield ffn.n_active_experts * (max(n_inputs * inner, spec.hidden_dim) + inner)

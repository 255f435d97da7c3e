"""What a training step keeps of each token for the backward pass, tensor by tensor.

The counting is that of Korthikanti et al. 2022 (arXiv:2205.05198, section 4.1) redone for gated feed-forwards, grouped
query attention, RMSNorm in 32 bits and frozen weights, as the modules of transformers 5.24.0 save them
(https://github.com/huggingface/transformers/tree/v5.24.0/src/transformers/models): a frozen matrix needs its input for
no gradient of its own, an adapter does. `tools/ask_training_memory.py` asks torch for the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from sizing.finetune_lora import LoraTarget
from sizing.modules import Module, Role, list_modules
from sizing.specs import ModelSpec

WIDE_NORMS = frozenset({"gemma", "gemma2", "gemma3", "gemma3n", "gemma4", "olmo2"})
"""Architectures whose RMSNorm multiplies its weight in 32 bits: what a trained weight keeps is twice as wide."""

CENTRED_NORMS = frozenset({"command-r", "cohere2", "cohere2moe"})
"""Cohere's LayerNorm subtracts the mean twice, keeps both results in 32 bits, and multiplies in 32 bits."""

PLAIN_NORMS = frozenset({"falcon", "gptneox", "olmo", "nomic-bert"})
"""nn.LayerNorm is one operation that keeps its input as it is."""

PARALLEL = frozenset({"command-r", "cohere2", "cohere2moe", "falcon", "gptneox"})
"""Architectures whose attention and feed-forward work on the same normed input."""

FUSED_VIEWS = frozenset({"phi3"})
"""Architectures whose values and gates are views of one product, so that all of it is kept."""

HALF, WHOLE = 2, 4
"""Bytes of a value in 16 and in 32 bits."""

TRL_TILE_TOKENS, TRL_TILE_VOCAB = 4096, 32768
"""What trl's loss works on at a time (https://github.com/huggingface/trl/blob/v1.16.0/trl/kernels/
chunked_logprob.py, TOKEN_CHUNK_SIZE, and trl/trainer/utils.py, _CHUNKED_LOGPROB_CHUNK_SIZE)."""


@dataclass(frozen=True, slots=True)
class StepShape:
    """How a step is computed.

    `trains_base` for full fine-tuning; else only `adapted` tensors (by GGUF name and layer) have adapters. `autocast`:
    each operation casts its inputs to 16 bits, of 32-bit weights or for 32-bit adapters; `wide_stream` with 32-bit
    weights, whose sums between layers are 32 bits as well. `dropout` on the adapters' inputs. `eager` keeps the scores
    of every head; flash attention does not.
    """

    trains_base: bool
    autocast: bool = False
    wide_stream: bool = False
    eager: bool = False
    dropout: bool = False
    rank: int = 0


@dataclass(frozen=True, slots=True)
class LayerKept:
    """Bytes a layer keeps: for each token, and for each pair of tokens of one sequence (eager attention)."""

    token_bytes: int
    pair_bytes: int = 0


def list_layers(spec: ModelSpec, targets: tuple[LoraTarget, ...], shape: StepShape) -> tuple[LayerKept, ...]:
    """What each layer keeps without checkpointing, in layer order."""
    modules = _modules_by_layer(spec)
    adapted: list[set[str]] = [set() for _ in range(spec.n_layers)]
    for target in targets:
        for i in target.layers:
            adapted[i].update(target.tensors)
    known: dict[tuple[object, ...], LayerKept] = {}
    out = []
    for i, group in enumerate(spec.by_layer):
        key = (i == 0, id(group), modules[i], frozenset(adapted[i]))
        if key not in known:
            known[key] = _keep_layer(spec, i, modules[i], frozenset(adapted[i]), shape)
        out.append(known[key])
    return tuple(out)


@lru_cache(maxsize=256)
def _modules_by_layer(spec: ModelSpec) -> tuple[tuple[Module, ...], ...]:
    found: list[list[Module]] = [[] for _ in range(spec.n_layers)]
    for module in list_modules(spec):
        for i in module.layers:
            found[i].append(module)
    return tuple(tuple(m) for m in found)


def _keep_layer(
    spec: ModelSpec, layer: int, modules: tuple[Module, ...], adapted: frozenset[str], shape: StepShape
) -> LayerKept:
    norms = sum(_keep_norm(spec.architecture, width, shape) for width in _norm_widths(spec, layer, modules))
    if layer == 0 and not shape.trains_base and any(m.tensor == "attn_norm" for m in modules):
        norms -= _keep_norm(spec.architecture, spec.hidden_dim, shape)  # nothing before it is trained
    inputs = _keep_inputs(spec, modules, adapted, shape)
    attention, pairs = _keep_attention(spec, layer, adapted, shape)
    forward = _keep_feed_forward(spec, layer, shape)
    if layer == 0 and spec.architecture in PARALLEL and not (shape.trains_base or any("ffn" in t for t in adapted)):
        forward = 0  # nothing before it is trained, nor in it
    return LayerKept(norms + inputs + attention + forward + _keep_recurrence(modules), pairs)


def _norm_widths(spec: ModelSpec, layer: int, modules: tuple[Module, ...]) -> Iterator[int]:
    """The values each norm of a layer works on for one token; norms of heads work on every head."""
    attention = spec.by_layer[layer].attention
    for m in modules:
        if m.role is not Role.SMALL or not m.tensor.endswith("_norm"):
            continue
        if m.tensor in ("attn_q_norm", "attn_k_norm") and attention is not None:
            n_heads = attention.n_heads if m.tensor == "attn_q_norm" else max(attention.n_kv_heads, 1)
            yield n_heads * attention.head_dim
        elif m.tensor != "ssm_norm":
            yield m.n_out


def _keep_norm(architecture: str, width: int, shape: StepShape) -> int:
    """A norm's bytes for a token: its input in 32 bits, and what a trained weight is multiplied with."""
    if architecture in PLAIN_NORMS:
        return width * (WHOLE if shape.wide_stream else HALF)
    is_wide = shape.wide_stream or architecture in WIDE_NORMS or architecture in CENTRED_NORMS
    own = width * (2 * WHOLE if architecture in CENTRED_NORMS else WHOLE)
    return own + (width * (WHOLE if is_wide else HALF) if shape.trains_base else 0)


_INPUT_OF = {
    "attn_q": "attention",
    "attn_k": "attention",
    "attn_v": "attention",
    "attn_qkv": "attention",
    "attn_gate": "attention",
    "attn_q_a": "attention",
    "attn_kv_a_mqa": "attention",
    "attn_kv": "attention",
    "ssm_in": "attention",
    "ssm_ba": "attention",
    "ssm_alpha": "attention",
    "ssm_beta": "attention",
    "shortconv.in_proj": "attention",
    "ffn_gate": "feed-forward",
    "ffn_up": "feed-forward",
    "ffn_gate_inp": "feed-forward",
    "ffn_gate_inp_shexp": "feed-forward",
    "ffn_gate_shexp": "feed-forward",
    "ffn_up_shexp": "feed-forward",
}
"""Matrices that share one input, by GGUF tensor; any other has one of its own."""

_KEPT_ANYWAY = frozenset({"attn_output"})
"""Attention keeps its output for itself: the matrix behind it keeps nothing more."""


def _keep_inputs(spec: ModelSpec, modules: tuple[Module, ...], adapted: frozenset[str], shape: StepShape) -> int:
    """Inputs of matrices with a gradient, and what adapters keep between their two halves.

    Without autocast matrices that share an input share what is kept; under autocast each casts a copy of its own.
    """
    total, shared = 0, set()
    for m in modules:
        has_adapter = m.tensor in adapted
        if m.role not in (Role.LINEAR, Role.ROUTER) or not (shape.trains_base or has_adapter):
            continue
        total += HALF * shape.rank if has_adapter else 0
        if shape.dropout and has_adapter:
            total += (HALF + 1) * m.n_in  # the input with values dropped, and which ones
            continue
        casts = shape.autocast and (has_adapter or shape.wide_stream)
        place = _INPUT_OF.get(m.tensor, m.tensor)
        if spec.architecture in PARALLEL and place == "feed-forward":
            place = "attention"
        if m.tensor in _KEPT_ANYWAY and not (casts and has_adapter):
            continue
        if not casts and place in shared:
            continue
        shared.add(place)
        total += HALF * m.n_in
    return total


def _keep_attention(spec: ModelSpec, layer: int, adapted: frozenset[str], shape: StepShape) -> tuple[int, int]:
    """Queries, keys, values, the output and a 32-bit sum for each head; eager, the scores of each head twice instead.

    Latent attention is counted with its keys and values rebuilt for every head, as it trains.
    """
    attention = spec.by_layer[layer].attention
    if attention is None:
        return 0, 0
    n, n_kv = attention.n_heads, attention.n_kv_heads or attention.n_heads
    width_k, width_v = attention.head_dim, attention.head_dim_v
    if attention.latent is not None:
        latent = attention.latent
        n_kv, width_k, width_v = n, latent.nope_head_dim + latent.rope_head_dim, latent.v_head_dim
    if shape.eager:
        repeated = n  # keys and values are copied for every head of queries
        capped = HALF if spec.extra("attn_logit_softcapping") is not None else 0
        return HALF * (n * width_k + repeated * (width_k + width_v) + n * width_v), n * (HALF + WHOLE + capped)
    values = HALF * n_kv * width_v
    if spec.architecture in FUSED_VIEWS:
        values = HALF * (n * width_k + n_kv * (width_k + width_v))
    return HALF * (n * width_k + n_kv * width_k) + values + HALF * n * width_v + WHOLE * n, 0


def _keep_feed_forward(spec: ModelSpec, layer: int, shape: StepShape) -> int:
    """Gate, its activation and the other factor, for the dense part and for each expert a token passes."""
    ffn = spec.by_layer[layer].ffn
    if ffn is None:
        return 0
    kept = 3 if ffn.gated else 1
    total = HALF * kept * ffn.ffn_dim
    if ffn.is_moe:
        total += HALF * kept * ffn.shared_expert_ffn_dim
        own = HALF * (kept * ffn.expert_ffn_dim + spec.hidden_dim)  # the routed copy of the output, weighed afterwards
        if shape.trains_base:
            own += HALF * (spec.hidden_dim + ffn.expert_ffn_dim)  # the inputs of both matrices
        total += ffn.n_active_experts * own + WHOLE * 2 * ffn.n_experts
    return total


def _keep_recurrence(modules: tuple[Module, ...]) -> int:
    """A recurrent layer's inputs and outputs of its matrices, in 32 bits as its scan runs in: a lower bound."""
    return sum(WHOLE * m.n_out for m in modules if m.role is Role.LINEAR and m.tensor.startswith(("ssm_", "shortconv")))


def count_input_bytes(spec: ModelSpec, shape: StepShape) -> int:
    """What checkpointing keeps of each layer for a token: its input alone (arXiv:1604.06174)."""
    return spec.hidden_dim * (WHOLE if shape.wide_stream else HALF)


def count_head_bytes(spec: ModelSpec, shape: StepShape) -> int:
    """What the final norm and the input of the head keep for a token."""
    kept = _keep_norm(spec.architecture, spec.hidden_dim, shape)
    return kept + (HALF * spec.hidden_dim if shape.trains_base else 0)


@dataclass(frozen=True, slots=True)
class LossBytes:
    """Bytes the loss keeps once it is known, and the most it takes on top of that while it is differentiated."""

    kept: int
    working: int


def count_loss_bytes(spec: ModelSpec, n_tokens: int, shape: StepShape, chunked: bool) -> LossBytes:
    """Logits and loss of a micro batch.

    In full: 32-bit log-probabilities of every token are kept, and two gradients as large stand beside them. Chunked, as
    trl 1.16 and Liger do (arXiv:2410.10989): the input of the head is kept, one tile of logits and a 32-bit gradient of
    that input are worked on, and of the head's weight where it is trained.
    """
    if chunked:
        tile = HALF * min(n_tokens, TRL_TILE_TOKENS) * min(spec.vocab_size, TRL_TILE_VOCAB)
        head = WHOLE * spec.hidden_dim * spec.vocab_size if shape.trains_base else 0
        inputs = 0 if shape.trains_base else HALF * spec.hidden_dim * n_tokens
        return LossBytes(inputs, tile + WHOLE * spec.hidden_dim * n_tokens + head)
    logits = n_tokens * spec.vocab_size
    capped = HALF * logits if spec.extra("final_logit_softcapping") is not None else 0
    return LossBytes(WHOLE * logits + capped, 2 * WHOLE * logits)

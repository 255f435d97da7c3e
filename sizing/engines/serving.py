"""What servers that share a model over cards hold of it on each: splits, refusals, and the bytes of its weights.

The rules are vLLM's (https://github.com/vllm-project/vllm, v0.12 to v0.2x), which SGLang took over with the layers
themselves; what an engine does otherwise stands in its own module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from sizing.engines.base import EngineOptions
from sizing.formats import FULL_BITS, WeightFormat
from sizing.hardware import Device
from sizing.modules import Module, Role, Shard, list_modules
from sizing.specs import Attention, ModelSpec
from sizing.units import MIB

VOCAB_PAD = 64
"""Rows of embedding and head are rounded up to this (vllm/model_executor/layers/vocab_parallel_embedding.py,
`DEFAULT_VOCAB_PADDING_SIZE`), and the ranks divide what comes out."""

UNPADDED = "as published"
"""Stands for a backend whose kernels pad nothing, to tell what padding costs."""

MXFP4_PADS = {"rocm": (256, 256), "sycl": (128, 128), UNPADDED: (1, 1)}
MXFP4_PAD_MARLIN = (128, 256)
"""What MXFP4 experts' intermediate and hidden width are rounded up to: Marlin on NVIDIA cards, Triton on AMD's
(vllm/model_executor/layers/quantization/mxfp4.py, `Mxfp4MoEMethod.create_weights`; for AMD, 3,072 is the width that
published logs show, though the module asks for 128 on most of its cards)."""


@dataclass(frozen=True, slots=True)
class Split:
    """How cards share a model: ranks that share every matrix, times stages that share the layers."""

    tensor_parallel: int = 1
    pipeline_parallel: int = 1

    @property
    def n_cards(self) -> int:
        """Cards in use."""
        return self.tensor_parallel * self.pipeline_parallel


def list_attentions(spec: ModelSpec) -> tuple[Attention, ...]:
    """Every kind of attention a model has."""
    return tuple(g.attention for g in spec.groups if g.attention is not None)


def find_split_gap(spec: ModelSpec, fmt: WeightFormat, split: Split) -> str | None:
    """Why a model cannot be split so, in words, or None.

    Heads must divide evenly, as in `ModelConfig.verify_with_parallel_config`; heads of keys and values are copied
    where there are fewer of them than ranks, and must divide where there are more.
    """
    ranks = split.tensor_parallel
    if split.pipeline_parallel > spec.n_layers:
        return f"cannot divide {spec.n_layers} layers by {split.pipeline_parallel} pipeline stages"
    for a in list_attentions(spec):
        if a.n_heads % ranks:
            return f"cannot divide {a.n_heads} attention heads by {ranks} cards"
        if a.n_kv_heads and a.latent is None and max(a.n_kv_heads, ranks) % min(a.n_kv_heads, ranks):
            return f"cannot divide {a.n_kv_heads} heads of keys and values by {ranks} cards"
    for g in spec.groups:
        if g.recurrent is not None and g.recurrent.n_heads % ranks:
            return f"cannot divide {g.recurrent.n_heads} recurrent heads by {ranks} cards"
    if -(-spec.vocab_size // VOCAB_PAD) * VOCAB_PAD % ranks:
        return f"cannot divide a vocabulary of {spec.vocab_size} (rounded up to {VOCAB_PAD}s) by {ranks} cards"
    return next(_list_width_gaps(spec, fmt, ranks), None)


def _list_width_gaps(spec: ModelSpec, fmt: WeightFormat, ranks: int) -> Iterator[str]:
    """Feed-forward widths that do not divide by the ranks, or leave a rank no whole groups of scales."""
    for g in spec.groups:
        for width in {g.ffn.ffn_dim, g.ffn.expert_ffn_dim, g.ffn.shared_expert_ffn_dim} if g.ffn else ():
            if width % ranks:
                yield f"cannot divide a feed-forward width of {width} by {ranks} cards"
    if not fmt.whole_groups or ranks == 1:
        return
    for m in list_modules(spec):
        if m.shard is Shard.ROW and fmt.stores(m) and not m.n_in % ranks and m.n_in // ranks % fmt.group_size:
            yield (
                f"{m.name} has {m.n_in} inputs, {m.n_in // ranks} on each of {ranks} cards: "
                f"not whole groups of {fmt.group_size} of {fmt.name}"
            )


def choose_split(spec: ModelSpec, fmt: WeightFormat, options: EngineOptions, n_cards: int) -> Split:
    """The split asked for; what was not asked for spreads over all cards, matrices first, then layers."""
    tensor, pipeline = options.tensor_parallel, options.pipeline_parallel
    if tensor is not None:
        return Split(tensor, pipeline or 1)
    most = max(n_cards // (pipeline or 1), 1)
    for ranks in range(most, 0, -1):
        split = Split(ranks, pipeline or max(n_cards // ranks, 1))
        if (pipeline is not None or n_cards % ranks == 0) and find_split_gap(spec, fmt, split) is None:
            return split
    return Split(most, pipeline or 1)


def list_stages(n_layers: int, n_stages: int) -> tuple[range, ...]:
    """Layers of each pipeline stage.

    What does not divide goes to the stages before the last, which holds the head
    (vllm/distributed/utils.py, `get_pp_indices`).
    """
    base, rest = divmod(n_layers, n_stages)
    counts = [base] * n_stages
    for i in range(2, rest + 2):
        counts[-i] += 1
    starts = [sum(counts[:i]) for i in range(n_stages)]
    return tuple(range(s, s + c) for s, c in zip(starts, counts, strict=True))


def count_allocated_bytes(n_bytes: int) -> int:
    """What PyTorch books for one tensor: a large one takes whole segments of 2 MiB where at most 1 MiB is left over.

    https://github.com/pytorch/pytorch/blob/main/c10/cuda/CUDACachingAllocator.cpp (`get_allocation_size`,
    `should_split`): this, and not the scales, is why a 14B in FP8 weighs 0.12 GiB more than its file.
    """
    if n_bytes < 10 * MIB:
        return -(-n_bytes // 512) * 512
    segments = -(-n_bytes // (2 * MIB)) * 2 * MIB
    return segments if segments - n_bytes <= MIB else -(-n_bytes // 512) * 512


_FUSED = {
    "attn_q": "qkv",
    "attn_k": "qkv",
    "attn_v": "qkv",
    "attn_k_b": "kv_b",
    "attn_v_b": "kv_b",
    "ffn_gate": "gate_up",
    "ffn_up": "gate_up",
    "ffn_gate_shexp": "shared_gate_up",
    "ffn_up_shexp": "shared_gate_up",
    "ffn_gate_exps": "w13",
    "ffn_up_exps": "w13",
}
"""GGUF tensors that the servers keep as one parameter."""


def _pad_module(module: Module, fmt: WeightFormat, backend: str, ranks: int) -> tuple[int, int]:
    """Inputs and outputs of a module on one rank as the server stores it."""
    if module.shard is Shard.VOCAB:
        return module.n_in, -(-module.n_out // VOCAB_PAD) * VOCAB_PAD // ranks
    n_in, n_out = module.rank_shape(ranks)
    if module.role is not Role.EXPERT or fmt.name != "MXFP4":
        return n_in, n_out
    inner, hidden = MXFP4_PADS.get(backend, MXFP4_PAD_MARLIN)
    pad_in, pad_out = (inner, hidden) if module.shard is Shard.ROW else (hidden, inner)
    return -(-n_in // pad_in) * pad_in, -(-n_out // pad_out) * pad_out


def _find_places(spec: ModelSpec, module: Module, stages: tuple[range, ...]) -> Iterator[tuple[int, int]]:
    """Stage and layer of each copy of a module (-1 for the model's ends)."""
    if module.layers:
        yield from ((s, i) for s, stage in enumerate(stages) for i in module.layers if i in stage)
    elif module.role is Role.EMBEDDING:
        yield 0, -1
        if spec.tied_embeddings and module.tensor == "token_embd" and len(stages) > 1:
            yield len(stages) - 1, -1
    else:
        yield (len(stages) - 1 if module.tensor.startswith("output") else 0), -1


@lru_cache(maxsize=4096)
def list_stage_weight_bytes(spec: ModelSpec, fmt: WeightFormat, split: Split, backend: str) -> tuple[int, ...]:
    """Bytes of weights on one rank of each pipeline stage, as PyTorch books them.

    With what the server makes of them while loading: MLA's absorbed matrices and the tables of the rotary embedding.
    A vision or audio tower is on the first stage in 16 bits, cut like the rest. Raises UnsupportedError for a model
    whose tensors are not described.
    """
    ranks, stages = split.tensor_parallel, list_stages(spec.n_layers, split.pipeline_parallel)
    values: dict[tuple[int, int, str, int], int] = {}
    totals = [count_rotary_bytes(spec) for _ in stages]
    for m in list_modules(spec):
        n_in, n_out = _pad_module(m, fmt, backend, ranks)
        value_bytes, scale_bytes = fmt.count_parts(m, n_in, n_out)
        for stage, layer in _find_places(spec, m, stages):
            key = (stage, layer, _FUSED.get(m.tensor, m.tensor), m.n_in)
            values[key] = values.get(key, 0) + value_bytes
            totals[stage] += scale_bytes
    for (stage, *_), n_bytes in values.items():
        totals[stage] += count_allocated_bytes(n_bytes)
    for stage, layers in enumerate(stages):
        totals[stage] += sum(_count_absorbed_bytes(spec, i, ranks) for i in layers)
    totals[0] += (spec.n_params_projector or 0) * FULL_BITS // 8 // ranks
    return tuple(totals)


def _count_absorbed_bytes(spec: ModelSpec, layer: int, ranks: int) -> int:
    """Keys' and values' up-projections of MLA, kept a second time in 16 bits so that decoding reads the latent rows.

    vllm/model_executor/layers/attention/mla_attention.py, `process_weights_after_loading`: W_UK_T and W_UV.
    """
    a = spec.by_layer[layer].attention
    if a is None or a.latent is None:
        return 0
    n_values = a.n_heads // ranks * (a.latent.nope_head_dim + a.latent.v_head_dim) * a.latent.kv_lora_rank
    return count_allocated_bytes(n_values * FULL_BITS // 8)


def count_rotary_bytes(spec: ModelSpec) -> int:
    """Cosines and sines of every position in 16 bits, one table for each kind of rotary embedding.

    vllm/model_executor/layers/rotary_embedding: as many rows as the model's context; linear scaling multiplies them
    once more by its factor, on full-attention layers, and windowed layers then have a plain table of their own.
    """
    windowed = {a.window_tokens is not None for a in list_attentions(spec)}
    widths = [_find_rotary_width(spec, a) for a in list_attentions(spec)]
    if not widths:
        return 0
    table = spec.context_tokens * max(widths) * FULL_BITS // 8
    factor = spec.extra("rope.scaling.factor")
    if spec.extra("rope.scaling.type") != "linear" or not isinstance(factor, (int, float)):
        return table
    return round(table * factor) + (table if True in windowed else 0)


def _find_rotary_width(spec: ModelSpec, a: Attention) -> int:
    if a.latent is not None:
        return a.latent.rope_head_dim
    asked = spec.extra("rope.dimension_count")
    return asked if isinstance(asked, int) and asked else a.head_dim


def list_cards(devices: tuple[Device, ...], backends: frozenset[str]) -> tuple[Device, ...]:
    """The cards a server can use, those of the commonest backend it knows."""
    known = [d for d in devices if d.backend in backends]
    if not known:
        return ()
    first = max({d.backend for d in known}, key=lambda b: (sum(d.backend == b for d in known), b))
    return tuple(d for d in known if d.backend == first)

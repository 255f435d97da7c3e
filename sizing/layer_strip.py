"""A model's layers as a strip: which follow which, told by how they attend, and its heads and experts in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

import numpy as np

from sizing.kv_cache import estimate_kv_cache_bytes
from sizing.layers import LayerTable
from sizing.specs import AttentionKind, LayerGroup, ModelSpec
from sizing.workload import Workload


class LayerKind(StrEnum):
    """What a layer does with the tokens before it."""

    FULL = "full attention"
    SLIDING = "sliding window"
    CHUNKED = "chunked attention"
    LATENT = "latent attention"
    RECURRENT = "recurrent"
    BOTH = "attention and recurrent"
    NEITHER = "feed-forward only"


_ATTENDS = {
    AttentionKind.FULL: LayerKind.FULL,
    AttentionKind.SLIDING: LayerKind.SLIDING,
    AttentionKind.CHUNKED: LayerKind.CHUNKED,
    AttentionKind.LATENT: LayerKind.LATENT,
}


@dataclass(frozen=True, slots=True)
class LayerRun:
    """Neighbouring layers that are alike: the first one's index, how many, their kind, experts or not, and in words."""

    first: int
    count: int
    kind: LayerKind
    is_moe: bool
    text: str


def find_kind(group: LayerGroup) -> LayerKind:
    """The kind of a group's layers."""
    if group.attention is not None and group.recurrent is not None:
        return LayerKind.BOTH
    if group.recurrent is not None:
        return LayerKind.RECURRENT
    return LayerKind.NEITHER if group.attention is None else _ATTENDS[group.attention.kind]


def list_runs(spec: ModelSpec) -> tuple[LayerRun, ...]:
    """The layers of a model from the first to the last, alike neighbours joined."""
    told = [(find_kind(g), g.ffn is not None and g.ffn.is_moe, describe_layer(g)) for g in spec.by_layer]
    runs, first = [], 0
    for (kind, is_moe, text), same in groupby(told):
        count = len(list(same))
        runs.append(LayerRun(first, count, kind, is_moe, text))
        first += count
    return tuple(runs)


def describe_layer(group: LayerGroup) -> str:
    """A layer of a group in words: 'GQA sliding 1024, 32 heads, 8 KV heads; 8 of 128 experts'."""
    attention, ffn = group.attention, group.ffn
    parts = []
    if attention is not None:
        shared = ", cache shared with another layer" if attention.shares_kv else ""
        kv = "" if attention.latent is not None else f", {attention.n_kv_heads} KV heads"
        parts.append(f"{attention.name}, {attention.n_heads} heads{kv}{shared}")
    if group.recurrent is not None:
        parts.append(str(group.recurrent.kind).replace("_", " "))
    if ffn is not None and ffn.is_moe:
        parts.append(f"{ffn.n_active_experts} of {ffn.n_experts} experts")
    elif ffn is not None:
        parts.append(f"dense {ffn.ffn_dim:,} wide")
    return "; ".join(parts) or "nothing but its norms"


def count_kinds(spec: ModelSpec) -> tuple[tuple[LayerKind, int], ...]:
    """How many layers are of each kind, kinds in their fixed order, those that are not there left out."""
    counts = {kind: sum(g.count for g in spec.groups if find_kind(g) is kind) for kind in LayerKind}
    return tuple((kind, n) for kind, n in counts.items() if n)


def say_kinds(spec: ModelSpec) -> str:
    """The layers by kind in words: '40 sliding window of 1,024, 8 full attention'."""
    out = []
    for kind, n in count_kinds(spec):
        windows = {g.attention.window_tokens for g in spec.groups if g.attention and find_kind(g) is kind} - {None}
        of = f" of {say_numbers(w for w in windows if w)}" if windows else ""
        out.append(f"{n} {kind}{of}")
    return ", ".join(out)


def say_numbers(values: Iterable[int]) -> str:
    """The distinct numbers of several layers: '32', '16 and 32', '4 to 20'.

    >>> [say_numbers(v) for v in ([32, 32], [32, 16], [4, 8, 20], [])]
    ['32', '16 and 32', '4 to 20', 'none']
    """
    distinct = sorted(set(values))
    if len(distinct) > 2:
        return f"{distinct[0]:,} to {distinct[-1]:,}"
    return " and ".join(f"{v:,}" for v in distinct) or "none"


def say_heads(spec: ModelSpec) -> str:
    """Query heads of the layers that attend."""
    return say_numbers(g.attention.n_heads for g in spec.groups if g.attention is not None)


def say_kv_heads(spec: ModelSpec) -> str:
    """Heads that keep keys and values; latent attention keeps one compressed row for all heads."""
    attends = [g.attention for g in spec.groups if g.attention is not None]
    if any(a.latent is not None for a in attends):
        widths = say_numbers(a.cached_k_width for a in attends if a.latent is not None)
        return f"one latent row {widths} wide"
    return say_numbers(a.n_kv_heads for a in attends)


def say_experts(spec: ModelSpec) -> str:
    """Experts that a token takes of those there are: '8 of 128', with those that every token takes; or 'dense'."""
    sparse = [g.ffn for g in spec.groups if g.ffn is not None and g.ffn.is_moe]
    if not sparse:
        return "dense, no experts"
    shared = say_numbers(f.n_shared_experts for f in sparse if f.n_shared_experts)
    beside = "" if shared == "none" else f" and {shared} shared"
    dense = spec.n_layers - sum(g.count for g in spec.groups if g.ffn is not None and g.ffn.is_moe)
    rest = f"; {dense} layers dense" if dense else ""
    active, all_of = (say_numbers(v) for v in zip(*((f.n_active_experts, f.n_experts) for f in sparse), strict=True))
    return f"{active} of {all_of}{beside}{rest}"


SPAN_TOKENS = 65536
"""Context over which the growth of the cache is taken: whole pads of cells in every compression there is."""


def estimate_kv_growth_bytes(spec: ModelSpec, workload: Workload) -> int:
    """Bytes that 1,024 more tokens of one user's context cost in the KV cache once all windows are full.

    The slope of `estimate_kv_cache_bytes` past the trained context, in the workload's cache types: what a sliding
    window or a recurrent layer keeps does not grow, so it is not in it.
    """
    table = LayerTable.from_specs([spec])

    def size(context_tokens: int) -> int:
        asked = Workload(
            context_tokens,
            kv_type_k=workload.kv_type_k,
            kv_type_v=workload.kv_type_v,
            flash_attention=workload.flash_attention,
        )
        return int(np.sum(estimate_kv_cache_bytes(table, asked).kv_cache_bytes))

    start = -(-spec.context_tokens // SPAN_TOKENS) * SPAN_TOKENS
    return (size(start + SPAN_TOKENS) - size(start)) * 1024 // SPAN_TOKENS

"""KV cache and recurrent state by layer, for engines whose rules differ in widths, windows and steps only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sizing.specs import Attention, AttentionKind, ModelSpec, Recurrent


@dataclass(frozen=True, slots=True)
class LayerState:
    """Bytes of one layer: its cache at the full length, and its fixed state."""

    cache_bytes: int
    state_bytes: int


@dataclass(frozen=True, slots=True)
class CacheRule:
    """How an engine keeps keys and values.

    `count_row_bytes(k_width, v_width, attention)` is one token of one layer; `count_tokens(tokens, attention)` how many
    tokens of a request a layer keeps. `conv_columns(recurrent)` is the length of a convolution's memory in tokens,
    `state_bytes` that of one value of a recurrent state.
    """

    count_row_bytes: Callable[[int, int, Attention], float]
    count_tokens: Callable[[int, Attention], int]
    conv_columns: Callable[[Recurrent], int]
    state_bytes: int = 4


def keep_window(tokens: int, attention: Attention, extra: int = 0) -> int:
    """Tokens of a request that a layer with a window keeps, all of them where it has none."""
    if attention.window_tokens is None:
        return tokens
    return min(tokens, attention.window_tokens + extra)


def keep_all(tokens: int, attention: Attention) -> int:
    """Every token, window or not."""
    return tokens


def find_indexer_width(attention: Attention) -> int:
    """Elements of a sparse-attention indexer's key per token, 0 for none."""
    return attention.indexer.head_dim if attention.indexer is not None else 0


def list_layer_states(spec: ModelSpec, rule: CacheRule, tokens: int, n_requests: int) -> tuple[LayerState, ...]:
    """Cache and state of every layer for `n_requests` requests of `tokens` tokens each.

    Compressed caches (DeepSeek-V4) are not described and count as the whole context.
    """
    by_group: dict[int, LayerState] = {}
    for group in spec.groups:
        cache = state = 0.0
        a, r = group.attention, group.recurrent
        if a is not None and a.has_cache:
            row = rule.count_row_bytes(a.cached_k_width, a.cached_v_width, a)
            cache = row * rule.count_tokens(tokens, a)
        if r is not None:
            channels = r.conv_elements // max(r.conv_kernel - 1, 1)
            state = channels * rule.conv_columns(r) * 2 + r.state_elements * rule.state_bytes
        by_group[id(group)] = LayerState(round(cache) * n_requests, round(state) * n_requests)
    return tuple(by_group[id(group)] for group in spec.by_layer)


def has_compressed_cache(spec: ModelSpec) -> bool:
    """Whether a model keeps a cache that only llama.cpp's rules describe here (DeepSeek-V4's compressed keys)."""
    return spec.architecture == "deepseek4"


def has_latent(spec: ModelSpec) -> bool:
    """Whether any layer keeps one compressed row for all heads (MLA)."""
    return any(g.attention is not None and g.attention.kind is AttentionKind.LATENT for g in spec.groups)


def has_window(spec: ModelSpec) -> bool:
    """Whether any layer sees a window or chunk only."""
    return any(g.attention is not None and g.attention.window_tokens is not None for g in spec.groups)

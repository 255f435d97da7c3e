"""vLLM's paged cache: blocks of tokens, layers in groups of one page size, and how many requests that holds.

Rules of vllm/v1/core/kv_cache_utils.py and vllm/v1/kv_cache_interface.py, v0.12 to v0.14
(https://github.com/vllm-project/vllm/blob/v0.13.0/vllm/v1/core/kv_cache_utils.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from sizing.engines.serving import Split, list_stages
from sizing.layers import COMPRESS_RATIOS
from sizing.specs import Attention, AttentionKind, ModelSpec, Recurrent, RecurrentKind

BLOCK_TOKENS = 16
"""Tokens of a block by default (vllm/config/cache.py)."""

LATENT_BLOCK_TOKENS = {"hopper": 64, "blackwell": 64}
"""Tokens of a block of MLA by generation, where FlashMLA or FlashInfer ask for more than the default."""

KV_BITS = {"auto": 16, "bfloat16": 16, "float16": 16, "fp8": 8, "fp8_e4m3": 8, "fp8_e5m2": 8}
"""Bits of a cached value by the names of `--kv-cache-dtype`; auto is the model's own 16 bits."""

INDEXER_SCALE_BYTES = 4
"""DeepSeek-V3.2's indexer keys are FP8 with a 32-bit scale a token (vllm/v1/attention/backends/mla/indexer.py)."""


class CacheKind(StrEnum):
    """How many tokens of a request a layer's pages hold."""

    FULL = "full"
    WINDOW = "window"
    CHUNK = "chunk"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class LayerCache:
    """The pages of one layer on one rank: `page_bytes` for `block_tokens` tokens (a whole state for STATE)."""

    kind: CacheKind
    page_bytes: int
    block_tokens: int
    limit_tokens: int = 0

    def count_blocks(self, context_tokens: int, step_tokens: int) -> int:
        """Most blocks one request of `context_tokens` takes while steps work on up to `step_tokens`.

        A window is held with the step beside it, and one block more because it need not begin at a block's start.
        """
        if self.kind is CacheKind.STATE:
            return 1
        if self.kind is CacheKind.WINDOW:
            held = min(self.limit_tokens - 1 + step_tokens, context_tokens)
            return -(-held // self.block_tokens) + 1
        held = context_tokens
        if self.kind is CacheKind.CHUNK:
            held = min(self.limit_tokens + step_tokens, context_tokens)
        return -(-held // self.block_tokens)


@dataclass(frozen=True, slots=True)
class CachePlan:
    """Groups of layers that share blocks. A block is one page in each layer of one group: `block_bytes` of memory."""

    groups: tuple[LayerCache, ...]
    block_bytes: int

    @property
    def block_tokens(self) -> int:
        """Tokens of the smallest block."""
        return min((g.block_tokens for g in self.groups), default=BLOCK_TOKENS)

    def count_blocks(self, kv_bytes: int) -> int:
        """Blocks that memory holds."""
        return max(kv_bytes, 0) // self.block_bytes

    def count_tokens(self, kv_bytes: int) -> int:
        """'GPU KV cache size' as it is logged: the groups share the blocks evenly (`_report_kv_cache_config`)."""
        return self.count_blocks(kv_bytes) // len(self.groups) * self.block_tokens

    def count_request_blocks(self, context_tokens: int, step_tokens: int) -> int:
        """Blocks one request of this length needs, over all groups."""
        return sum(g.count_blocks(context_tokens, step_tokens) for g in self.groups)

    def count_requests(self, kv_bytes: int, context_tokens: int, step_tokens: int) -> float:
        """'Maximum concurrency' as it is logged (`get_max_concurrency_for_kv_cache_config`)."""
        return self.count_blocks(kv_bytes) / self.count_request_blocks(context_tokens, step_tokens)

    def find_largest_context(self, kv_bytes: int, most_tokens: int, step_tokens: int) -> int:
        """The longest request up to `most_tokens` that fits: the largest max_model_len that starts, 0 for none."""
        have, low, high = self.count_blocks(kv_bytes), 0, most_tokens
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.count_request_blocks(middle, step_tokens) <= have
            low, high = (middle, high) if fits else (low, middle - 1)
        return low


def find_cache_gap(spec: ModelSpec) -> str | None:
    """Why a model's cache is not described here, or None."""
    if spec.extra(COMPRESS_RATIOS) is not None:
        return f"the compressed cache of {spec.architecture} is not described for this engine"
    if not any(_list_caches(spec, Split(), 16, 16, BLOCK_TOKENS)):
        return "it keeps no cache: the model does not generate text token by token"
    return None


def plan_cache(spec: ModelSpec, split: Split, kv_type: str, architecture: str = "") -> CachePlan:
    """How the cache of a model is laid out on one rank of the stage that holds most of it.

    `architecture` is the card's generation, which decides MLA's block.
    """
    bits = KV_BITS[kv_type]
    block = BLOCK_TOKENS
    if any(g.attention is not None and g.attention.latent is not None for g in spec.groups):
        block = LATENT_BLOCK_TOKENS.get(architecture, BLOCK_TOKENS)
    caches = [c for _, c in _list_caches(spec, split, bits, 16, block)]
    tokens = [c for c in caches if c.kind is not CacheKind.STATE]
    states = [c for c in caches if c.kind is CacheKind.STATE]
    if states and tokens:
        caches = _pad_states(caches, tokens, states, block)
    stages = list_stages(spec.n_layers, split.pipeline_parallel)
    return _group(caches, max(len(s) for s in stages) / spec.n_layers)


def list_layer_caches(spec: ModelSpec, split: Split, kv_type: str) -> tuple[LayerCache, ...]:
    """What each cached layer of a model keeps on one rank, before any grouping."""
    return tuple(c for _, c in _list_caches(spec, split, KV_BITS[kv_type], 16, BLOCK_TOKENS))


def count_request_bytes(spec: ModelSpec, split: Split, kv_type: str, context_tokens: int) -> tuple[int, int]:
    """Bytes a step reads for one request of this length on one rank that holds all layers: cached tokens, and states.

    A windowed layer reads its window, whatever its pages hold beside it.
    """
    cache = state = 0
    for c in list_layer_caches(spec, split, kv_type):
        if c.kind is CacheKind.STATE:
            state += c.page_bytes
        else:
            tokens = min(c.limit_tokens, context_tokens) if c.kind is not CacheKind.FULL else context_tokens
            cache += tokens * c.page_bytes // c.block_tokens
    return cache, state


def _list_caches(
    spec: ModelSpec, split: Split, kv_bits: int, state_bits: int, block: int
) -> Iterator[tuple[int, LayerCache]]:
    """Layer and pages of everything that is cached."""
    for i, group in enumerate(spec.by_layer):
        if group.recurrent is not None:
            yield i, _describe_state(group.recurrent, split.tensor_parallel, state_bits)
        a = group.attention
        if a is None or not a.has_cache:
            continue
        yield i, _describe_attention(a, split.tensor_parallel, kv_bits, block)
        if a.indexer is not None:
            width = a.indexer.head_dim + INDEXER_SCALE_BYTES
            yield i, LayerCache(CacheKind.FULL, width * block, block)


def _describe_attention(a: Attention, ranks: int, kv_bits: int, block: int) -> LayerCache:
    """MLA's latent row is the same on every rank; heads of keys and values are shared out, at least one to each."""
    if a.latent is not None:
        width = a.cached_k_width
    else:
        width = max(a.n_kv_heads // ranks, 1) * (a.head_dim + a.head_dim_v)
    kind = {AttentionKind.SLIDING: CacheKind.WINDOW, AttentionKind.CHUNKED: CacheKind.CHUNK}.get(a.kind, CacheKind.FULL)
    return LayerCache(kind, width * kv_bits // 8 * block, block, a.window_tokens or 0)


def _describe_state(r: Recurrent, ranks: int, bits: int) -> LayerCache:
    """A recurrent layer's whole state in the model's 16 bits; Kimi's delta attention keeps its state in 32
    (vllm/model_executor/layers/mamba/mamba_utils.py, `MambaStateDtypeCalculator`)."""
    state_bits = 32 if r.kind is RecurrentKind.KIMI_DELTA else bits
    n_bytes = (r.conv_elements // ranks * bits + r.state_elements // ranks * state_bits) // 8
    return LayerCache(CacheKind.STATE, n_bytes, 1)


def _pad_states(
    caches: list[LayerCache], tokens: list[LayerCache], states: list[LayerCache], block: int
) -> list[LayerCache]:
    """One page size for all: attention's block grows until its page holds a state, states are padded to that page.

    vllm/model_executor/models/config.py, `HybridAttentionMambaModelConfig.verify_and_update_config`.
    """
    token_bytes = max(c.page_bytes // c.block_tokens for c in tokens)
    state_bytes = max(c.page_bytes for c in states)
    grown = max(block, -(-state_bytes // (token_bytes * block)) * block)
    page = token_bytes * grown
    return [
        replace(c, page_bytes=page, block_tokens=grown)
        if c.kind is CacheKind.STATE
        else replace(c, page_bytes=c.page_bytes // c.block_tokens * grown, block_tokens=grown)
        for c in caches
    ]


def _group(caches: list[LayerCache], stage_share: float) -> CachePlan:
    """Groups as `get_kv_cache_groups` makes them; a pipeline stage holds its share of every group's layers."""
    kinds = {(c.kind, c.limit_tokens, c.block_tokens) for c in caches}
    if len(kinds) == 1:  # one table of blocks for all layers, whatever each one's width
        n_layers = max(round(len(caches) * stage_share), 1)
        mean = sum(c.page_bytes for c in caches) / len(caches)
        return CachePlan((caches[0],), max(round(mean * n_layers), 1))
    page = max(c.page_bytes for c in caches)
    counts: dict[LayerCache, int] = {}
    for c in (_grow_to(c, page) for c in caches):
        counts[c] = counts.get(c, 0) + 1
    least, most = min(counts.values()), max(counts.values())
    size = most if most < least * 1.5 else least
    groups = tuple(c for c, n in counts.items() for _ in range(-(-n // size)))
    return CachePlan(groups, max(round(size * stage_share), 1) * page)


def _grow_to(cache: LayerCache, page_bytes: int) -> LayerCache:
    """A layer with pages of the largest size: by more tokens to a block, or padded where that is no multiple."""
    if cache.kind is CacheKind.STATE or page_bytes % cache.page_bytes:
        return replace(cache, page_bytes=page_bytes)
    return replace(cache, page_bytes=page_bytes, block_tokens=cache.block_tokens * (page_bytes // cache.page_bytes))

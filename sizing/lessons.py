"""Arithmetic that the guide teaches with: block layouts, caches as they might be, pages, rotations, the roofline.

Each function is small enough to be read beside its sentence; sizes come from the same functions as everywhere else.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sizing.errors import BadInputError
from sizing.kv_cache import CELL_PAD, WINDOWED, estimate_kv_cache_bytes, pad
from sizing.layers import LayerTable
from sizing.memory import WeightBytes
from sizing.placement import active_bytes
from sizing.quants import GGML_TYPES
from sizing.specs import Attention, AttentionKind, LayerGroup, ModelSpec
from sizing.weights import WeightTable, active_expert_share, count_lookup_params
from sizing.workload import Workload

VLLM_BLOCK_TOKENS = 16
"""Tokens of one page of the cache in vLLM: `CacheConfig.DEFAULT_BLOCK_SIZE`
(https://github.com/vllm-project/vllm/blob/002f10e0cfa1373a19a0d2756598a34b700d20e5/vllm/config/cache.py); the paper
arrived at it by measurement (arXiv:2309.06180, section 7.2)."""


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """What a block of one GGML type is made of, in bits; `scaled_elements` values share one scale.

    `value_bits` are the values' own bits, signs and grid indices included, `scale_bits` the scales and offsets of the
    blocks, `outer_bits` the 16-bit factors over all blocks of a super-block (0 where there is no super-block).
    """

    type_name: str
    value_bits: int
    scale_bits: int
    outer_bits: int
    scaled_elements: int
    has_offset: bool = False

    @property
    def n_elements(self) -> int:
        """Values in the block."""
        return GGML_TYPES[self.type_name].block_elements

    def per_value(self, bits: int) -> float:
        """Bits of the whole block as bits for each of its values."""
        return bits / self.n_elements


_LAYOUTS = (
    BlockLayout("q8_0", 256, 16, 0, 32),
    BlockLayout("q4_0", 128, 16, 0, 32),
    BlockLayout("q4_1", 128, 32, 0, 32, True),
    BlockLayout("q5_0", 160, 16, 0, 32),
    BlockLayout("q5_1", 160, 32, 0, 32, True),
    BlockLayout("q2_K", 512, 128, 32, 16, True),
    BlockLayout("q3_K", 768, 96, 16, 16),
    BlockLayout("q4_K", 1024, 96, 32, 32, True),
    BlockLayout("q5_K", 1280, 96, 32, 32, True),
    BlockLayout("q6_K", 1536, 128, 16, 16),
    BlockLayout("iq1_s", 352, 32, 16, 32),
    BlockLayout("iq1_m", 352, 80, 16, 16),
    BlockLayout("iq2_xxs", 480, 32, 16, 32),
    BlockLayout("iq2_xs", 512, 64, 16, 16),
    BlockLayout("iq2_s", 576, 64, 16, 16),
    BlockLayout("iq3_xxs", 736, 32, 16, 32),
    BlockLayout("iq3_s", 832, 32, 16, 32),
    BlockLayout("iq4_nl", 128, 16, 0, 32),
    BlockLayout("iq4_xs", 1024, 48, 16, 32),
    BlockLayout("mxfp4", 128, 8, 0, 32),
)
BLOCK_LAYOUTS = {layout.type_name: layout for layout in _LAYOUTS}
"""Layouts of all quantized types (ggml/src/ggml-common.h, `block_q4_K` and its kin; how IQ types pack signs and scales
into one word is in ggml/src/ggml-quants.c, `dequantize_row_iq3_xxs` and its kin;
https://github.com/ggml-org/llama.cpp/tree/01243c587feceaa5d6a6c2305535ef2f549c48b8/ggml/src)."""


@dataclass(frozen=True, slots=True)
class CacheBytes:
    """KV cache and recurrent state of one model under a workload, in bytes."""

    kv_bytes: int
    state_bytes: int

    @property
    def total_bytes(self) -> int:
        """Both together."""
        return self.kv_bytes + self.state_bytes


def estimate_caches(specs: Sequence[ModelSpec], workload: Workload) -> tuple[CacheBytes, ...]:
    """The caches of several models under one workload, whatever context each was trained for."""
    found = estimate_kv_cache_bytes(LayerTable.from_specs(specs), workload)
    pairs = zip(found.kv_cache_bytes.tolist(), found.recurrent_state_bytes.tolist(), strict=True)
    return tuple(CacheBytes(kv, state) for kv, state in pairs)


def estimate_growth(spec: ModelSpec, workload: Workload) -> float:
    """Bytes that one more token of one user adds to the cache at the workload's context.

    The cache grows by whole pads of 256 cells; this is one pad's bytes shared out over its tokens.
    """
    here = pad(workload.context_tokens)
    one = replace(workload, n_parallel=1, context_tokens=here)
    (before,) = estimate_caches([spec], one)
    (after,) = estimate_caches([spec], replace(one, context_tokens=here + CELL_PAD))
    return (after.kv_bytes - before.kv_bytes) / CELL_PAD


def count_layer_kinds(spec: ModelSpec) -> dict[str, int]:
    """How many layers there are of each kind, the most common first: 'GQA', 'GQA sliding 1024', 'mamba2', 'no cache'.

    A layer that attends and recurs counts as both in one name.
    """
    kinds: Counter[str] = Counter()
    for group in spec.groups:
        names = [group.attention.name] if group.attention and group.attention.has_cache else []
        if group.recurrent:
            names.append(group.recurrent.kind.value)
        kinds[" + ".join(names) or "no cache"] += group.count
    return dict(kinds.most_common())


def count_windowed_layers(spec: ModelSpec) -> int:
    """Layers that see a window or a chunk of the context only, whether an engine honours it or not."""
    return sum(g.count for g in spec.groups if g.attention and g.attention.window_tokens and g.attention.has_cache)


def honours_windows(spec: ModelSpec) -> bool:
    """Whether llama.cpp keeps small caches for this model's windows."""
    return count_windowed_layers(spec) > 0 and spec.architecture in WINDOWED


def count_recurrent_layers(spec: ModelSpec) -> int:
    """Layers that keep a state of fixed size."""
    return sum(g.count for g in spec.groups if g.recurrent)


def as_multi_head(spec: ModelSpec) -> ModelSpec:
    """The model as it would be if every query head had keys and values of its own (MHA)."""
    return _with_attention(spec, lambda a: _unfold(a, a.n_heads))


def as_multi_query(spec: ModelSpec) -> ModelSpec:
    """The model as it would be if all query heads shared one head of keys and values (MQA, arXiv:1911.02150)."""
    return _with_attention(spec, lambda a: _unfold(a, 1))


def _unfold(a: Attention, n_kv_heads: int) -> Attention:
    """An attention with so many heads of keys and values; a latent one with the heads it rebuilds from its rows."""
    if a.latent is None:
        return replace(a, n_kv_heads=n_kv_heads)
    width = a.latent.nope_head_dim + a.latent.rope_head_dim
    return Attention(AttentionKind.FULL, a.n_heads, n_kv_heads, width, a.latent.v_head_dim)


def _with_attention(spec: ModelSpec, change: Callable[[Attention], Attention]) -> ModelSpec:
    def changed(group: LayerGroup) -> LayerGroup:
        a = group.attention
        return replace(group, attention=change(a)) if a is not None and a.has_cache else group

    return replace(spec, groups=tuple(changed(g) for g in spec.groups))


@dataclass(frozen=True, slots=True)
class Reserved:
    """Token places taken for requests and how many of them hold a token."""

    used_tokens: int
    reserved_tokens: int

    @property
    def empty_tokens(self) -> int:
        """Places taken that hold nothing."""
        return self.reserved_tokens - self.used_tokens

    @property
    def used_share(self) -> float:
        """The part of the places that holds tokens, 0 to 1."""
        return self.used_tokens / self.reserved_tokens


GOLDEN = (5**0.5 - 1) / 2
"""Multiples of the golden ratio fill an interval evenly, and fall on no grid (Knuth, TAOCP vol. 3, section 6.4)."""


def spread_lengths(n_users: int, context_tokens: int) -> tuple[int, ...]:
    """Lengths of requests spread over the context, the shortest first: about half of it on average.

    >>> spread_lengths(4, 8000)
    (1888, 3777, 4944, 6832)
    """
    _check_positive(n_users=n_users, context_tokens=context_tokens)
    return tuple(sorted(max(1, int(context_tokens * (i * GOLDEN % 1))) for i in range(1, n_users + 1)))


def reserve_slots(lengths: Sequence[int], slot_tokens: int) -> Reserved:
    """One slot of the whole context for each request, as llama-server's split cache and systems before paging do.

    Raises BadInputError for a request longer than its slot.

    >>> reserve_slots([1000, 3000], 8000).used_share
    0.25
    """
    _check_positive(slot_tokens=slot_tokens, requests=len(lengths))
    if max(lengths) > slot_tokens or min(lengths) < 1:
        raise BadInputError(f"a request wants 1 to {slot_tokens:,} tokens, got {min(lengths):,} to {max(lengths):,}")
    return Reserved(sum(lengths), slot_tokens * len(lengths))


def reserve_pages(lengths: Sequence[int], block_tokens: int = VLLM_BLOCK_TOKENS) -> Reserved:
    """Pages of `block_tokens` taken as requests grow: only the last page of each has empty places.

    Kwon et al. 2023, arXiv:2309.06180, section 4.3. Raises BadInputError for a request of no tokens.

    >>> reserve_pages([1, 16, 17])
    Reserved(used_tokens=34, reserved_tokens=64)
    """
    _check_positive(block_tokens=block_tokens, requests=len(lengths))
    if min(lengths) < 1:
        raise BadInputError(f"a request wants at least 1 token, got {min(lengths):,}")
    return Reserved(sum(lengths), sum(-(-n // block_tokens) * block_tokens for n in lengths))


def find_wavelengths(freq_base: float, n_dims: int) -> tuple[float, ...]:
    """Tokens after which each pair of rotated elements has turned once, the fastest first.

    Pair i turns by base^(-2i/d) radians a token (Su et al. 2021, arXiv:2104.09864, section 3.2.2). Raises BadInputError
    for a base of 0 or less and an odd width.

    >>> [round(w, 1) for w in find_wavelengths(10000.0, 4)]
    [6.3, 628.3]
    """
    if freq_base <= 0 or n_dims < 2 or n_dims % 2:
        raise BadInputError(f"rotations want a base above 0 and an even width, got {freq_base!r} and {n_dims!r}")
    return tuple(2 * math.pi * freq_base ** (2 * i / n_dims) for i in range(n_dims // 2))


@dataclass(frozen=True, slots=True)
class Rope:
    """How a model rotates positions, as far as its record says; None for what it does not say.

    `scaling` is 'linear', 'yarn', 'longrope', 'by frequency' (Llama 3's factors in the file) or None.
    `original_tokens` is the context before stretching.
    """

    freq_base: float | None
    n_dims: int
    original_tokens: int | None
    scaling: str | None
    factor: float | None

    @property
    def is_stretched(self) -> bool:
        """Whether the context was stretched after the first training."""
        return self.scaling is not None


def read_rope(spec: ModelSpec) -> Rope:
    """A model's rotation from its record: GGUF's `rope.*` keys and the widths of its heads."""
    attends = next((g.attention for g in spec.groups if g.attention is not None), None)
    width = 0
    if attends is not None:
        width = attends.latent.rope_head_dim if attends.latent else attends.head_dim
    dims, base = spec.extra("rope.dimension_count"), spec.extra("rope.freq_base")
    kind, factor = spec.extra("rope.scaling.type"), spec.extra("rope.scaling.factor")
    original = spec.extra("rope.scaling.original_context_length")
    scaling = kind if isinstance(kind, str) else None
    if scaling is None and spec.extra("rope_freqs") is True:
        scaling = "by frequency"
    return Rope(
        freq_base=float(base) if isinstance(base, (int, float)) else None,
        n_dims=int(dims) if isinstance(dims, (int, float)) else width,
        original_tokens=int(original) if isinstance(original, (int, float)) else None,
        scaling=scaling,
        factor=float(factor) if isinstance(factor, (int, float)) else None,
    )


def count_batch_logit_bytes(spec: ModelSpec, workload: Workload) -> int:
    """Bytes of the logits of one physical batch: a 32-bit number for each token and entry of the vocabulary."""
    return 4 * _count_batch_tokens(workload) * spec.vocab_size


def count_batch_score_bytes(spec: ModelSpec, workload: Workload) -> int:
    """Bytes of one layer's attention scores of a physical batch, in 32 bits, as written without flash attention.

    Every head's of every token against the whole context of a slot; 0 for a model that does not attend.
    """
    heads = max((g.attention.n_heads for g in spec.groups if g.attention), default=0)
    return 4 * _count_batch_tokens(workload) * workload.context_tokens * heads


def _count_batch_tokens(workload: Workload) -> int:
    return min(workload.n_ubatch, workload.n_ctx_tokens)


def count_read_bytes(spec: ModelSpec, weights: WeightBytes, n_tokens: int = 1) -> int:
    """Bytes of weights that a step over `n_tokens` tokens reads: all but the embedding rows and unused experts.

    Each token chooses its experts by itself, so n tokens meet the share 1 - (1 - share)^n of them.
    """
    table = WeightTable.from_models([(spec, [weights])])
    share = 1.0 - (1.0 - table.active_expert_share) ** n_tokens
    zero = table.n_layers * 0
    head = table.token_embedding_bytes * table.tied
    layers = table.layers.between(zero, table.n_layers)
    experts = table.experts.between(zero, table.n_layers)
    return int(active_bytes(layers + table.output_bytes + head, experts, share)[0])


def find_decode_ceiling(spec: ModelSpec, weights: WeightBytes, bandwidth_bytes_per_s: float) -> float:
    """Tokens/s of one user that memory of this bandwidth feeds at most, with nothing but weights read.

    Raises BadInputError for no bandwidth.
    """
    if bandwidth_bytes_per_s <= 0:
        raise BadInputError(f"a ceiling wants a bandwidth above zero bytes/s, got {bandwidth_bytes_per_s!r}")
    return bandwidth_bytes_per_s / count_read_bytes(spec, weights)


@dataclass(frozen=True, slots=True)
class Work:
    """One step: operations done and bytes moved for them."""

    n_flops: float
    n_bytes: float

    @property
    def flops_per_byte(self) -> float:
        """Arithmetic intensity."""
        return self.n_flops / self.n_bytes

    def reach_flops(self, peak_flops: float, bandwidth_bytes_per_s: float) -> float:
        """Operations/s a device can reach at this intensity: the lower of its peak and what its memory feeds.

        Williams, Waterman and Patterson 2009, "Roofline", doi:10.1145/1498765.1498785.
        """
        return min(peak_flops, self.flops_per_byte * bandwidth_bytes_per_s)

    def find_seconds(self, peak_flops: float, bandwidth_bytes_per_s: float) -> float:
        """Seconds a step takes at least."""
        return self.n_flops / self.reach_flops(peak_flops, bandwidth_bytes_per_s)


def find_ridge(peak_flops: float, bandwidth_bytes_per_s: float) -> float:
    """Operations per byte from which on arithmetic, not memory, is the limit.

    Raises BadInputError for rates that are not above zero.

    >>> find_ridge(165.2e12, 1008e9) > 160
    True
    """
    if peak_flops <= 0 or bandwidth_bytes_per_s <= 0:
        raise BadInputError(f"a roofline wants rates above zero, got {peak_flops!r} and {bandwidth_bytes_per_s!r}")
    return peak_flops / bandwidth_bytes_per_s


def count_decode_work(spec: ModelSpec, weights: WeightBytes, workload: Workload, fill: float = 0.5) -> Work:
    """One token for each of the workload's users, their caches filled to the share `fill`.

    Two operations for each parameter used, and those of attention; weights are read once for all users, every user's
    own cache is read, states are read and written.
    """
    n, depth = workload.n_parallel, workload.context_tokens * fill
    table = WeightTable.from_models([(spec, [weights])])
    products = 2.0 * max(spec.n_active_params - count_lookup_params(spec), 0)
    (cache,) = estimate_caches([spec], workload)
    n_bytes = count_read_bytes(spec, weights, n) + cache.kv_bytes * fill + 2.0 * cache.state_bytes
    return Work(n * (products + float(table.count_attention_flops(depth)[0])), n_bytes)


def count_prefill_work(spec: ModelSpec, weights: WeightBytes, workload: Workload) -> Work:
    """One physical batch of a prompt, half of the context already read.

    The output head works once a prompt, not for each token, and is left out of the operations.
    """
    n = min(workload.n_ubatch, workload.context_tokens)
    depth = workload.context_tokens / 2
    table = WeightTable.from_models([(spec, [weights])])
    idle = count_lookup_params(spec) + spec.vocab_size * spec.hidden_dim
    products = 2.0 * max(spec.n_active_params - idle, 0)
    (cache,) = estimate_caches([spec], replace(workload, n_parallel=1))
    n_bytes = count_read_bytes(spec, weights, n) + cache.kv_bytes / 2 + 2.0 * cache.state_bytes
    return Work(n * (products + float(table.count_attention_flops(depth)[0])), n_bytes)


def find_expert_share(spec: ModelSpec, n_tokens: int) -> float:
    """The share of the routed experts that `n_tokens` tokens meet, each choosing by itself; 1 for a dense model."""
    _check_positive(n_tokens=n_tokens)
    return 1.0 - (1.0 - active_expert_share(spec)) ** n_tokens


def expect_draft_tokens(acceptance: float, n_draft: int) -> float:
    """Tokens one step of the large model yields with `n_draft` drafted ones, each accepted with this probability.

    Leviathan, Kalman and Matias 2023, arXiv:2211.17192, equation 1. Raises BadInputError for an acceptance outside 0 to
    1.

    >>> expect_draft_tokens(0.0, 4), expect_draft_tokens(1.0, 4)
    (1.0, 5.0)
    """
    if not 0 <= acceptance <= 1:
        raise BadInputError(f"an acceptance wants a share from 0 to 1, got {acceptance!r}")
    return float(sum(acceptance**i for i in range(n_draft + 1)))


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise BadInputError(f"{name} wants at least 1, got {value!r}")

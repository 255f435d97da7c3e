"""MLX: Apple's own arrays and `mlx_lm`, on chips with unified memory.

Read from https://github.com/ml-explore/mlx-lm (mlx_lm/models/cache.py, generate.py, convert.py, models/deepseek_v3.py,
models/qwen3_next.py) as of November 2026: caches grow in steps of 256 tokens, layers with a window rotate, latent
attention caches its compressed row, prompts are read 2,048 tokens at a time and only their last logits are computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sizing.engines.base import Engine, EngineEstimate, EngineSetup
from sizing.engines.cache_bytes import (
    CacheRule,
    LayerState,
    find_indexer_width,
    has_compressed_cache,
    has_window,
    list_layer_states,
)
from sizing.engines.card_answer import CardUse, build_answer
from sizing.engines.model_bytes import FormatBytes, count_format_bytes
from sizing.engines.prompt_bytes import count_prompt_bytes
from sizing.engines.registry import register_engine
from sizing.errors import UnknownNameError, UnsupportedError
from sizing.hardware import DeviceKind
from sizing.memory import Parts
from sizing.specs import Attention
from sizing.tensors import find_architecture
from sizing.units import MIB, format_bytes, format_tokens
from sizing.weights import has_head

NAME = "MLX"
FORMATS = ("BF16", "MLX-8bit", "MLX-6bit", "MLX-5bit", "MLX-4bit", "MLX-3bit", "MXFP4")
KV_BITS = {"bf16": 16.0, "q8": 8.5, "q4": 4.5}
"""Bits of a cached value: `--kv-bits` 8 or 4 in groups of 64 with a scale and a bias of 16 bits each."""

STEP_TOKENS = 256
"""Tokens by which a cache grows (cache.py, `KVCache.step`)."""

CHUNK_TOKENS = 2048
"""Tokens of a prompt read at once (generate.py, `prefill_step_size`)."""

PROCESS_BYTES = 300 * MIB
"""Assumed: Python with MLX loaded and Metal's own state, beside arrays."""

WIRED_SHARE = 0.9
"""From this share of the working set on `mlx_lm` warns that a model may be slow (generate.py, `wired_limit`)."""


def find_mlx_gap(setup: EngineSetup) -> str | None:
    """Why MLX cannot run this at all, or None."""
    if not any(d.backend == "metal" and d.kind is DeviceKind.UNIFIED for d in setup.machine.accelerators):
        return "MLX is for Apple chips with unified memory"
    try:
        find_architecture(setup.spec)
    except UnsupportedError as error:
        return str(error)
    if not has_head(setup.spec):
        return "mlx_lm runs models that generate text"
    if has_compressed_cache(setup.spec):
        return f"the compressed cache of {setup.spec.name} is not described for MLX"
    if setup.weight_format not in FORMATS:
        return f"MLX does not read {setup.weight_format}; it reads {', '.join(FORMATS)}"
    if setup.weight_format == "MXFP4" and setup.spec.architecture != "gpt-oss":
        return "MXFP4 as published is gpt-oss's; take an MLX format"
    if has_window(setup.spec) and setup.kv_type not in ("auto", "bf16"):
        return "mlx_lm cannot quantize the rotating cache of layers with a window (RotatingKVCache)"
    return None


def find_kv_type(kv_type: str) -> str:
    """The cache type, the default for 'auto'. Raises UnknownNameError."""
    found = "bf16" if kv_type == "auto" else kv_type.lower()
    if found not in KV_BITS:
        raise UnknownNameError("MLX cache type", kv_type, KV_BITS)
    return found


def make_cache_rule(kv_type: str) -> CacheRule:
    """How mlx_lm caches: whole steps of 256 tokens; a window rotates, and holds a prompt's last chunk beside it.

    Convolutions keep one column less than their kernel is long.
    """
    bits = KV_BITS[kv_type]

    def count_row_bytes(k: int, v: int, attention: Attention) -> float:
        return (k + v) * bits / 8 + find_indexer_width(attention) * 2

    def count_tokens(tokens: int, attention: Attention) -> int:
        whole = -(-tokens // STEP_TOKENS) * STEP_TOKENS
        if attention.window_tokens is None:
            return whole
        return min(whole, attention.window_tokens + CHUNK_TOKENS - 1)

    return CacheRule(count_row_bytes, count_tokens, lambda r: r.conv_kernel - 1)


def count_compute_bytes(setup: EngineSetup, states: Sequence[LayerState]) -> int:
    """Most that lives beside weights and cache: a chunk of prompts, or the copy of a layer's keys as it grows."""
    tokens = min(setup.context_tokens, setup.options.max_batched_tokens or CHUNK_TOKENS) * setup.n_parallel
    growth = max((s.cache_bytes for s in states), default=0) // 2
    return max(count_prompt_bytes(setup.spec, tokens), growth) + setup.spec.vocab_size * setup.n_parallel * 4


def estimate_mlx(setup: EngineSetup) -> EngineEstimate:
    """Memory of the pool, speed and fit. Raises UnsupportedError for what cannot run, UnknownNameError for a cache."""
    kv_type = find_kv_type(setup.kv_type)
    gap = find_mlx_gap(setup)
    if gap is not None:
        raise UnsupportedError(gap)
    held = count_format_bytes(setup.spec, setup.weight_format)
    states = list_layer_states(setup.spec, make_cache_rule(kv_type), setup.context_tokens, setup.n_parallel)
    pool = next(d for d in setup.machine.accelerators if d.kind is DeviceKind.UNIFIED)
    parts = Parts(
        weight_bytes=held.total_bytes,
        kv_cache_bytes=sum(s.cache_bytes for s in states),
        recurrent_state_bytes=sum(s.state_bytes for s in states),
        compute_bytes=count_compute_bytes(setup, states),
        overhead_bytes=PROCESS_BYTES,
    )
    return build_answer(
        setup,
        NAME,
        [CardUse(pool, parts, setup.spec.n_layers)],
        assumptions=tuple(list_assumptions(setup)),
        differences=tuple(list_differences(setup, held, states, parts, pool.usable_bytes)),
    )


def list_assumptions(setup: EngineSetup) -> Iterator[str]:
    """What the figures take for granted."""
    yield (
        f"{setup.n_parallel} requests of {format_tokens(setup.context_tokens)} tokens each in one batch, prompts read "
        f"in steps of {format_tokens(setup.options.max_batched_tokens or CHUNK_TOKENS)}"
    )
    yield f"overhead: {format_bytes(PROCESS_BYTES)} for the process beside its arrays (assumed)"
    if setup.spec.n_params_projector:
        yield "the vision or audio tower is not counted: mlx_lm leaves it out, mlx-vlm loads it"


def list_differences(
    setup: EngineSetup, held: FormatBytes, states: Sequence[LayerState], parts: Parts, usable: int
) -> Iterator[str]:
    """What MLX does otherwise than llama.cpp here, each with its figure."""
    cache = sum(s.cache_bytes for s in states)
    yield (
        f"the cache grows in steps of {STEP_TOKENS} tokens to {format_bytes(cache)} at "
        f"{format_tokens(setup.context_tokens)}; llama.cpp reserves it at the start"
    )
    if setup.weight_format.startswith("MLX"):
        ends = held.embedding_bytes + held.head_bytes * (not setup.spec.tied_embeddings)
        yield (
            "every matrix has the same width, embedding and output head too: together "
            f"{format_bytes(ends)}; a scale and a bias of 16 bits for 64 values add half a bit"
        )
    if has_window(setup.spec):
        yield (
            f"layers with a window keep it and the last {format_tokens(CHUNK_TOKENS)} tokens of a prompt until the "
            "first answer"
        )
    if parts.total_bytes > WIRED_SHARE * usable:
        yield (
            f"above {WIRED_SHARE:.0%} of what Metal lets a program keep resident, "
            f"{format_bytes(WIRED_SHARE * usable)}: mlx_lm warns that it may be slow (iogpu.wired_limit_mb raises it)"
        )
    yield "freed arrays stay in MLX's own buffer cache until cleared, every 256 tokens: the system shows more in use"


MLX = register_engine(
    Engine(
        name=NAME,
        formats=FORMATS,
        kv_types=tuple(KV_BITS),
        backends=frozenset({"metal"}),
        estimate=estimate_mlx,
        find_gap=find_mlx_gap,
        source_url="https://github.com/ml-explore/mlx-lm",
        summary="Apple chips only: arrays in unified memory, its own 3 to 8 bit files",
    )
)

"""SGLang: a fraction of each card for weights and cache, the rest for activations and graphs by a rule of thumb.

https://github.com/sgl-project/sglang: python/sglang/srt/server_args.py (`_handle_gpu_memory_settings`) and
python/sglang/srt/model_executor/model_runner_kv_cache_mixin.py (`profile_max_num_token`), versions of 2026. Layers and
kernels are vLLM's, and so are the rules for ranks and weights.
"""

from __future__ import annotations

from collections.abc import Iterator

from sizing.engines.base import Engine, EngineEstimate, EngineSetup
from sizing.engines.registry import register_engine
from sizing.engines.serving import Split, choose_split, list_cards, list_stage_weight_bytes
from sizing.engines.serving_answer import CardRoom, Serving, answer
from sizing.engines.serving_cache import CacheKind, CachePlan, LayerCache, list_layer_caches
from sizing.engines.serving_differences import list_common_differences
from sizing.engines.vllm import check_setup, find_serving_gap
from sizing.formats import find_format
from sizing.hardware import Device
from sizing.placement import ACCELERATOR_OVERHEAD_BYTES
from sizing.specs import ModelSpec
from sizing.units import GIB, MIB, format_bytes, format_tokens

ENGINE = "SGLang"
BACKENDS = frozenset({"cuda", "rocm"})
KV_TYPES = ("auto", "bfloat16", "fp8_e5m2", "fp8_e4m3")
FORMATS = tuple("BF16 FP8 FP8-block INT8 AWQ GPTQ GPTQ-8bit W4A16 W4A16-g32 MXFP4 NVFP4 NF4".split())

CARD_CLASSES = (
    (20 * GIB, 2048, 8, 8),
    (35 * GIB, 2048, 24, 80),
    (60 * GIB, 4096, 32, 160),
    (160 * GIB, 8192, 256, 512),
)
LARGEST_CLASS = (16384, 512, 512)
"""Below so many bytes: tokens of a prefill chunk, and the largest captured batch on fewer than 4 cards and on more."""

META_BYTES = 512 * MIB
CHUNK_TOKEN_BYTES = 1.5 * MIB
GRAPH_REQUEST_BYTES = 2 * MIB
CARD_BYTES = GIB / 8
LARGE_CARD_BYTES, LARGE_CARD_RESERVE = 60 * GIB, 10 * GIB
"""What is kept free: a constant, by token of a chunk, by captured request, by card in use; 10 GiB at least on large
cards."""

WINDOW_SHARE = 0.8
"""Tokens that windowed layers hold for each token of full layers (`swa_full_tokens_ratio`)."""

WINDOWED = frozenset({"llama4", "gpt-oss", "mimo2", "step35", "gemma4"})
"""Architectures whose windowed layers have a pool of their own (`is_hybrid_swa_model` of
python/sglang/srt/configs/model_config.py)."""

STATE_SHARE = 0.9
"""Bytes for recurrent states for each byte of keys and values (`mamba_full_memory_ratio`)."""

CHUNK_TOKENS_LEAST = 2048
VISION_SHARE = 0.95
"""A model with a vision tower gets this much of the fraction, times 0.8 to 1.05 by the tower's size, which is left out
here (`adjust_mem_fraction_for_vlm`)."""


def find_chunk(setup: EngineSetup, card: Device, n_cards: int) -> tuple[int, int]:
    """Tokens of a prefill chunk and the largest captured batch, by the card's memory or as asked."""
    found = next((c[1:] for c in CARD_CLASSES if card.memory_bytes < c[0]), LARGEST_CLASS)
    tokens, few, many = found
    return setup.options.max_batched_tokens or tokens, few if n_cards < 4 else many


def estimate_reserve_bytes(setup: EngineSetup, split: Split, card: Device) -> int:
    """What the rule of thumb keeps free for activations and graphs."""
    tokens, requests = find_chunk(setup, card, split.tensor_parallel)
    reserve = META_BYTES + max(tokens, CHUNK_TOKENS_LEAST) * CHUNK_TOKEN_BYTES + split.n_cards * CARD_BYTES
    reserve += 0 if setup.options.eager else requests * GRAPH_REQUEST_BYTES
    return round(max(reserve, LARGE_CARD_RESERVE) if card.memory_bytes > LARGE_CARD_BYTES else reserve)


def find_fraction(setup: EngineSetup, split: Split, card: Device) -> float:
    """mem_fraction_static as asked, or by the rule of thumb, to three places as SGLang rounds it."""
    asked = setup.options.gpu_memory_utilization
    if asked is not None:
        return asked
    fraction = round(1 - estimate_reserve_bytes(setup, split, card) / card.usable_bytes, 3)
    return max(fraction * (VISION_SHARE if setup.spec.n_params_projector else 1), 0.01)


def plan_tokens(spec: ModelSpec, split: Split, kv_type: str) -> CachePlan:
    """SGLang's pool: token by token, windowed layers with fewer tokens, states beside it in a pool of their own."""
    caches = list_layer_caches(spec, split, kv_type)
    cell = 0.0
    for c in caches:
        if c.kind is CacheKind.STATE:
            continue
        share = WINDOW_SHARE if c.kind is not CacheKind.FULL and spec.architecture in WINDOWED else 1
        cell += share * c.page_bytes / c.block_tokens / split.pipeline_parallel
    if any(c.kind is CacheKind.STATE for c in caches):
        cell *= 1 + STATE_SHARE
    block = max(round(cell), 1)
    return CachePlan((LayerCache(CacheKind.FULL, block, 1),), block)


def find_sglang_gap(setup: EngineSetup) -> str | None:
    """Why SGLang cannot run this at all, or None."""
    return find_serving_gap(setup, ENGINE, FORMATS, BACKENDS)


def serve_sglang(setup: EngineSetup) -> Serving:
    """What SGLang decides at start. Raises what `estimate_sglang` does."""
    check_setup(setup, find_sglang_gap(setup), KV_TYPES)
    cards = list_cards(setup.machine.accelerators, BACKENDS)
    fmt = find_format(setup.weight_format)
    split = choose_split(setup.spec, fmt, setup.options, len(cards))
    stages = list_stage_weight_bytes(setup.spec, fmt, split, cards[0].backend)
    rooms = tuple(
        _divide(setup, split, card, stages[rank // split.tensor_parallel])
        for rank, card in enumerate(cards[: split.n_cards])
    )
    fraction = find_fraction(setup, split, cards[0])
    tokens, _ = find_chunk(setup, cards[0], split.tensor_parallel)
    plan = plan_tokens(setup.spec, split, setup.kv_type)
    return Serving(ENGINE, split, rooms, plan, tokens, f"--mem-fraction-static {fraction:.3g}")


def _divide(setup: EngineSetup, split: Split, card: Device, weight_bytes: int) -> CardRoom:
    """The fraction is of what is free once the driver has its context; activations and graphs live outside it."""
    context = ACCELERATOR_OVERHEAD_BYTES.get(card.backend, 0)
    free = card.usable_bytes - context
    budget = int(free * find_fraction(setup, split, card))
    return CardRoom(card, budget, weight_bytes, 0, 0, 0, context, free - budget)


def estimate_sglang(setup: EngineSetup) -> EngineEstimate:
    """SGLang's answer; `gpu_memory_utilization` is its mem-fraction-static. Raises as `estimate_vllm` does."""
    serving = serve_sglang(setup)
    return answer(setup, serving, tuple(_list_differences(setup, serving)), _list_assumptions(serving))


def _list_assumptions(serving: Serving) -> tuple[str, ...]:
    room = serving.rooms[0]
    return (
        f"what {serving.share_name} leaves, {format_bytes(room.beside_compute_bytes)} a card, counts as activations "
        f"and graphs, used or not; the driver's context, {format_bytes(room.beside_bytes)}, is assumed",
        f"prefill in chunks of {format_tokens(serving.step_tokens)} tokens",
    )


def _list_differences(setup: EngineSetup, serving: Serving) -> Iterator[str]:
    yield from list_common_differences(setup, serving)
    room = serving.rooms[0]
    if setup.options.gpu_memory_utilization is None:
        yield (
            f"{serving.share_name} follows from the card's memory: {format_bytes(room.beside_compute_bytes)} stay free "
            f"for chunks of {format_tokens(serving.step_tokens)} tokens and graphs; vLLM measures instead, at 0.9"
        )
    yield "a cached token is a page of its own, kept in a radix tree of prefixes: requests share what they begin with"
    kinds = {c.kind for c in list_layer_caches(setup.spec, serving.split, setup.kv_type)}
    if kinds & {CacheKind.WINDOW, CacheKind.CHUNK} and CacheKind.FULL in kinds:
        yield (
            f"windowed layers hold {WINDOW_SHARE:g} tokens for each token of full layers, whatever the window"
            if setup.spec.architecture in WINDOWED
            else "windowed layers hold every token, as full layers do"
        )
    if CacheKind.STATE in kinds:
        yield f"recurrent states get {STATE_SHARE / (1 + STATE_SHARE):.0%} of the cache's memory, which limits requests"


SGLANG = register_engine(
    Engine(
        name=ENGINE,
        formats=FORMATS,
        kv_types=KV_TYPES,
        backends=BACKENDS,
        estimate=estimate_sglang,
        find_gap=find_sglang_gap,
        source_url="https://github.com/sgl-project/sglang",
        summary="serves many users at once like vLLM; keeps a rule of thumb free and shares prefixes in a radix tree",
        fills_memory=True,
    )
)

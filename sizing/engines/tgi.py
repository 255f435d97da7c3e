"""TGI (text-generation-inference): no longer developed; warms up with its longest prefill and caches in what is left.

https://github.com/huggingface/text-generation-inference: server/text_generation_server/models/flash_causal_lm.py
(`warmup`), launcher/src/main.rs, version 3.3. In maintenance mode since December 2025
(https://github.com/huggingface/text-generation-inference/pull/3344), its repository is read-only since March 2026.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sizing.engines.base import Engine, EngineEstimate, EngineSetup
from sizing.engines.registry import register_engine
from sizing.engines.serving import (
    Split,
    choose_split,
    find_split_gap,
    list_attentions,
    list_cards,
    list_stage_weight_bytes,
)
from sizing.engines.serving_answer import CardRoom, Serving, answer
from sizing.engines.serving_cache import CacheKind, CachePlan, LayerCache, list_layer_caches
from sizing.engines.serving_differences import list_common_differences
from sizing.engines.serving_memory import GRAPH_BYTES, estimate_activation_bytes
from sizing.engines.vllm import check_setup, find_serving_gap
from sizing.formats import find_format
from sizing.hardware import Device
from sizing.placement import ACCELERATOR_OVERHEAD_BYTES
from sizing.specs import ModelSpec
from sizing.units import format_bytes, format_tokens

ENGINE = "TGI"
BACKENDS = frozenset({"cuda", "rocm", "sycl"})
KV_TYPES = ("auto", "fp8_e4m3", "fp8_e5m2")
FORMATS = ("BF16", "FP8", "INT8", "AWQ", "GPTQ", "GPTQ-8bit", "W4A16", "NF4", "LLM.int8")

ARCHITECTURES = frozenset(
    "deepseek2 llama llama4 phi2 phi3 granite gemma gemma2 gemma3 command-r cohere2 dbrx mamba mistral mixtral "
    "starcoder phimoe baichuan falcon starcoder2 qwen2 qwen2vl opt bloom mpt gpt2 gptneox gptj".split()
)
"""GGUF names of what TGI has kernels for (https://huggingface.co/docs/text-generation-inference/supported_models).
Others it hands to transformers, one after another and without this cache."""

FRACTION = 1.0
"""cuda-memory-fraction by default (launcher/src/main.rs)."""

WIGGLE_SHARE = 0.9
"""Of what is free after the warm-up, this much becomes cache (`TGI_WIGGLE_ROOM`, models/globals.py of version 3)."""

PREFILL_TOKENS = 4096
"""max-batch-prefill-tokens where it is not asked for; version 3 raises it as far as the card allows."""


def find_tgi_gap(setup: EngineSetup) -> str | None:
    """Why TGI cannot run this at all, or None.

    It has no pipeline stages, and refuses more cards than there are heads of keys and values (`assert
    self.num_kv_heads > 0`).
    """
    if setup.spec.architecture not in ARCHITECTURES:
        return (
            f"TGI has no kernels of its own for {setup.spec.architecture}: it would hand the model to Transformers, "
            "without the cache sized here; and it is no longer developed"
        )
    if (setup.options.pipeline_parallel or 1) > 1:
        return "TGI has no pipeline stages: every card holds a part of every layer"
    gap = find_serving_gap(_without_stages(setup), ENGINE, FORMATS, BACKENDS)
    if gap is not None:
        return gap
    ranks = _choose(setup).tensor_parallel
    least = _find_least_kv_heads(setup.spec, ranks)
    return f"TGI cannot divide {least} heads of keys and values by {ranks} cards" if least < ranks else None


def _find_least_kv_heads(spec: ModelSpec, otherwise: int) -> int:
    """The fewest heads of keys and values that are divided; a single one is kept whole."""
    heads = (a.n_kv_heads for a in list_attentions(spec) if a.latent is None and a.n_kv_heads > 1)
    return min(heads, default=otherwise)


def _without_stages(setup: EngineSetup) -> EngineSetup:
    return replace(setup, options=replace(setup.options, pipeline_parallel=1))


def _choose(setup: EngineSetup) -> Split:
    """Ranks as asked, or the most cards that divide everything."""
    cards = list_cards(setup.machine.accelerators, BACKENDS)
    fmt = find_format(setup.weight_format)
    if setup.options.tensor_parallel is not None:
        return Split(setup.options.tensor_parallel)
    most = min(len(cards), _find_least_kv_heads(setup.spec, len(cards)))
    chosen = choose_split(setup.spec, fmt, replace(setup.options, pipeline_parallel=1), most)
    return chosen if find_split_gap(setup.spec, fmt, chosen) is None else Split(1)


def plan_slots(spec: ModelSpec, split: Split, kv_type: str) -> CachePlan:
    """TGI's cache: every layer holds every token, whatever its window; a block is one token with FlashInfer."""
    caches = list_layer_caches(spec, split, kv_type)
    cell = sum(c.page_bytes // c.block_tokens for c in caches if c.kind is not CacheKind.STATE)
    return CachePlan((LayerCache(CacheKind.FULL, max(cell, 1), 1),), max(cell, 1))


def serve_tgi(setup: EngineSetup) -> Serving:
    """What TGI decides at start. Raises what `estimate_tgi` does."""
    check_setup(setup, find_tgi_gap(setup), KV_TYPES)
    split = _choose(setup)
    cards = list_cards(setup.machine.accelerators, BACKENDS)[: split.n_cards]
    weights = list_stage_weight_bytes(setup.spec, find_format(setup.weight_format), split, cards[0].backend)[0]
    tokens = setup.options.max_batched_tokens or max(PREFILL_TOKENS, setup.context_tokens)
    rooms = tuple(_divide(setup, split, card, weights, tokens) for card in cards)
    fraction = setup.options.gpu_memory_utilization or FRACTION
    plan = plan_slots(setup.spec, split, setup.kv_type)
    return Serving(ENGINE, split, rooms, plan, tokens, f"--cuda-memory-fraction {fraction:g}")


def _divide(setup: EngineSetup, split: Split, card: Device, weight_bytes: int, tokens: int) -> CardRoom:
    """What is in use after the warm-up comes off the fraction; a part of the rest stays free, and graphs go there."""
    fraction = setup.options.gpu_memory_utilization or FRACTION
    context = ACCELERATOR_OVERHEAD_BYTES.get(card.backend, 0)
    activation = estimate_activation_bytes(setup.spec, split, tokens, setup.options.max_sequences or setup.n_parallel)
    free = int(card.usable_bytes * fraction) - context - weight_bytes - activation
    spare = max(round((1 - WIGGLE_SHARE) * free), 0)
    budget = int(card.usable_bytes * fraction) - context - spare
    graphs = 0 if setup.options.eager else min(GRAPH_BYTES, spare + round((1 - fraction) * card.usable_bytes))
    return CardRoom(card, card.usable_bytes, budget, weight_bytes, activation, 0, 0, context, graphs)


def estimate_tgi(setup: EngineSetup) -> EngineEstimate:
    """TGI's answer; `gpu_memory_utilization` is its cuda-memory-fraction. Raises as `estimate_vllm` does."""
    serving = serve_tgi(setup)
    return answer(setup, serving, tuple(_list_differences(setup, serving)), _list_assumptions(serving))


def _list_assumptions(serving: Serving) -> tuple[str, ...]:
    room = serving.rooms[0]
    return (
        f"warmed up with {format_tokens(serving.step_tokens)} tokens of prefill: "
        f"{format_bytes(room.activation_bytes)} of activations; the driver's context, "
        f"{format_bytes(room.beside_bytes)}, is assumed",
        "no log of its memory was at hand to check this against",
    )


def _list_differences(setup: EngineSetup, serving: Serving) -> Iterator[str]:
    yield "TGI is in maintenance mode since December 2025 and archived: its makers name vLLM and SGLang instead"
    yield from list_common_differences(setup, serving)
    room = serving.rooms[0]
    yield (
        f"{1 - WIGGLE_SHARE:.0%} of what the warm-up leaves stays free; {format_tokens(serving.step_tokens)} tokens of "
        f"prefill set its peak, {format_bytes(room.activation_bytes)}"
    )
    if any(a.window_tokens for a in list_attentions(setup.spec)):
        yield "windowed layers cache every token of a request: the window saves arithmetic, not memory"


TGI = register_engine(
    Engine(
        name=ENGINE,
        formats=FORMATS,
        kv_types=KV_TYPES,
        backends=BACKENDS,
        estimate=estimate_tgi,
        find_gap=find_tgi_gap,
        source_url="https://github.com/huggingface/text-generation-inference",
        summary="an older server, archived: its own makers now point to vLLM and SGLang",
        fills_memory=True,
    )
)

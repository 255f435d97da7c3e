"""vLLM: a share of every card is taken at start, and what the weights leave of it becomes cache in blocks of tokens.

Rules of vLLM 0.12 to 0.2x (https://github.com/vllm-project/vllm): vllm/v1/worker/gpu_worker.py
(`determine_available_memory`), vllm/v1/core/kv_cache_utils.py, vllm/engine/arg_utils.py (`get_batch_defaults`).
"""

from __future__ import annotations

from collections.abc import Iterator

from sizing.engines.base import Engine, EngineEstimate, EngineSetup
from sizing.engines.registry import register_engine
from sizing.engines.serving import (
    Split,
    choose_split,
    find_split_gap,
    list_cards,
    list_stage_weight_bytes,
)
from sizing.engines.serving_answer import CardRoom, Serving, answer, measure_capacity
from sizing.engines.serving_cache import KV_BITS, find_cache_gap, plan_cache
from sizing.engines.serving_differences import list_common_differences
from sizing.engines.serving_formats import find_format_gap
from sizing.engines.serving_memory import GRAPH_BYTES, LIBRARY_BYTES, estimate_activation_bytes
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.formats import find_format
from sizing.hardware import Device
from sizing.modules import list_modules
from sizing.placement import ACCELERATOR_OVERHEAD_BYTES
from sizing.units import GIB, format_bytes, format_tokens

ENGINE = "vLLM"
BACKENDS = frozenset({"cuda", "rocm", "sycl"})
"""CUDA, ROCm and Intel's XPU; its CPU build takes its cache from a setting of its own and is not sized here."""

KV_TYPES = ("auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2")
FORMATS = (
    "BF16",
    "FP8",
    "FP8-block",
    "INT8",
    "AWQ",
    "GPTQ",
    "GPTQ-8bit",
    "W4A16",
    "W4A16-g32",
    "MXFP4",
    "NVFP4",
    "NF4",
    "NF4-single",
    "LLM.int8",
)
UTILIZATION = 0.9
"""gpu_memory_utilization by default (vllm/config/cache.py)."""

LARGE_CARD_BYTES = 70 * GIB
LARGE_DEFAULTS, SMALL_DEFAULTS = (8192, 1024), (2048, 256)
"""max_num_batched_tokens and max_num_seqs of the API server by default: cards of at least 70 GiB other than an A100
get the larger (vllm/engine/arg_utils.py, `get_batch_defaults`)."""


LARGE_HBM_SHARE, LARGE_HBM_GAIN = 0.989, 1.0145
"""Of 80 GiB of HBM, PyTorch sees 79.1 to 79.2 (https://github.com/vllm-project/vllm/issues/27508,
https://github.com/vllm-project/vllm/pull/10511), 1.45% more than the catalog calls usable. On cards with GDDR it sees
what the catalog calls usable to 0.7%: 23.65 GiB of an RTX 4090, 23.69 of an RTX 3090, 22.18 of an A10."""


def count_card_bytes(card: Device) -> int:
    """The memory vLLM takes its share of: what the driver reports, less what others already hold."""
    if card.backend != "cuda" or card.memory_type != "hbm" or card.memory_bytes < LARGE_CARD_BYTES:
        return card.usable_bytes
    return round(min(card.usable_bytes * LARGE_HBM_GAIN, card.memory_bytes * LARGE_HBM_SHARE))


def find_batch(setup: EngineSetup, card: Device) -> tuple[int, int]:
    """Tokens a step works on and sequences it samples for at most, by default or as asked."""
    is_large = card.memory_bytes >= LARGE_CARD_BYTES and "a100" not in card.name.casefold()
    tokens, sequences = LARGE_DEFAULTS if is_large else SMALL_DEFAULTS
    tokens = setup.options.max_batched_tokens or tokens
    return tokens, min(setup.options.max_sequences or max(sequences, setup.n_parallel), tokens)


def find_serving_gap(setup: EngineSetup, engine: str, formats: tuple[str, ...], backends: frozenset[str]) -> str | None:
    """What keeps a server from running a model on a machine at all, whatever the memory; None where nothing does."""
    if setup.weight_format not in formats:
        return f"{engine} does not take {setup.weight_format}"
    if setup.kv_type not in KV_BITS:
        return f"{engine} has no cache type {setup.kv_type}"
    cards = list_cards(setup.machine.accelerators, backends)
    if not cards:
        found = ", ".join(sorted({d.backend for d in setup.machine.accelerators})) or "none"
        return f"{engine} wants a card with {', '.join(sorted(backends))}; there is {found}"
    fmt = find_format(setup.weight_format)
    gap = find_format_gap(fmt, cards) or find_cache_gap(setup.spec)
    if gap is not None:
        return gap
    try:
        modules = list_modules(setup.spec)
    except UnsupportedError as error:
        return str(error)
    if fmt.quantizes and not any(fmt.stores(m) for m in modules):
        return f"{fmt.name} stores experts only; {setup.spec.name} has none"
    split = choose_split(setup.spec, fmt, setup.options, len(cards))
    if split.n_cards > len(cards):
        return f"{split.tensor_parallel} x {split.pipeline_parallel} ranks want {split.n_cards} cards, not {len(cards)}"
    return find_split_gap(setup.spec, fmt, split)


def find_vllm_gap(setup: EngineSetup) -> str | None:
    """Why vLLM cannot run this at all, or None."""
    return find_serving_gap(setup, ENGINE, FORMATS, BACKENDS)


def check_setup(setup: EngineSetup, gap: str | None, kv_types: tuple[str, ...]) -> None:
    """Raises UnsupportedError with `gap`, UnknownNameError for a cache type, BadInputError for too long a context."""
    if setup.kv_type not in kv_types:
        raise UnknownNameError("cache type", setup.kv_type, kv_types)
    if gap is not None:
        raise UnsupportedError(gap)
    if setup.context_tokens > setup.spec.context_tokens:
        raise BadInputError(
            f"{setup.spec.name} was trained for at most {format_tokens(setup.spec.context_tokens)} tokens of context, "
            f"{format_tokens(setup.context_tokens)} were asked for; ask for less or choose another model"
        )


def divide_cards(setup: EngineSetup, split: Split, *, graphs_inside: bool = True) -> tuple[CardRoom, ...]:
    """How vLLM divides each card of a split.

    Since vLLM 0.21 graphs are estimated and taken out of the share (VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS, see
    https://github.com/vllm-project/vllm/pull/30515); before (`graphs_inside` off) they were captured into what the
    share left free.
    """
    cards = list_cards(setup.machine.accelerators, BACKENDS)[: split.n_cards]
    stages = list_stage_weight_bytes(setup.spec, find_format(setup.weight_format), split, cards[0].backend)
    graphs = 0 if setup.options.eager else GRAPH_BYTES
    tokens, sequences = find_batch(setup, cards[0])
    activation = estimate_activation_bytes(setup.spec, split, tokens, sequences)
    share = setup.options.gpu_memory_utilization or UTILIZATION
    return tuple(
        CardRoom(
            device=card,
            card_bytes=count_card_bytes(card),
            budget_bytes=int(count_card_bytes(card) * share),
            weight_bytes=stages[rank // split.tensor_parallel],
            activation_bytes=activation,
            graph_bytes=graphs if graphs_inside else 0,
            library_bytes=LIBRARY_BYTES,
            beside_bytes=ACCELERATOR_OVERHEAD_BYTES.get(card.backend, 0),
            beside_compute_bytes=0 if graphs_inside else graphs,
        )
        for rank, card in enumerate(cards)
    )


def serve_vllm(setup: EngineSetup, *, graphs_inside: bool = True) -> Serving:
    """What vLLM decides at start. Raises what `estimate_vllm` does."""
    check_setup(setup, find_vllm_gap(setup), KV_TYPES)
    cards = list_cards(setup.machine.accelerators, BACKENDS)
    split = choose_split(setup.spec, find_format(setup.weight_format), setup.options, len(cards))
    rooms = divide_cards(setup, split, graphs_inside=graphs_inside)
    plan = plan_cache(setup.spec, split, setup.kv_type, cards[0].architecture)
    tokens, _ = find_batch(setup, cards[0])
    share = setup.options.gpu_memory_utilization or UTILIZATION
    return Serving(ENGINE, split, rooms, plan, tokens, f"--gpu-memory-utilization {share:g}")


def estimate_vllm(setup: EngineSetup) -> EngineEstimate:
    """vLLM's answer.

    Raises UnsupportedError for what it cannot run, UnknownNameError for a cache type, BadInputError for a context
    above the model's maximum.
    """
    serving = serve_vllm(setup)
    return answer(setup, serving, tuple(_list_differences(setup, serving)), list_assumptions(setup, serving))


def list_assumptions(setup: EngineSetup, serving: Serving) -> tuple[str, ...]:
    """What the answer takes for granted, in words."""
    tokens, sequences = find_batch(setup, serving.rooms[0].device)
    room = serving.rooms[0]
    return (
        f"one step works on up to {format_tokens(tokens)} tokens and samples for up to {format_tokens(sequences)} "
        f"requests: {format_bytes(room.activation_bytes)} of activations",
        f"graphs {format_bytes(room.graph_bytes)} and libraries {format_bytes(room.library_bytes)} on each card are "
        f"medians of published logs; the driver's context, {format_bytes(room.beside_bytes)}, is assumed",
    )


def _list_differences(setup: EngineSetup, serving: Serving) -> Iterator[str]:
    yield from list_common_differences(setup, serving)
    capacity = measure_capacity(setup, serving)
    if len(serving.plan.groups) > 1 and capacity.n_requests >= 1:
        printed = format_tokens(serving.plan.count_tokens(max(serving.kv_bytes, 0)))
        yield (
            f"vLLM up to 0.19 prints {printed} tokens of cache, as if all layers held every token; later "
            f"{format_tokens(capacity.kv_tokens)}, requests times their length"
        )
    graphs = serving.rooms[0].graph_bytes
    if graphs:
        yield f"{format_bytes(graphs)} for captured graphs are inside the share since 0.21; --enforce-eager frees them"


VLLM = register_engine(
    Engine(
        name=ENGINE,
        formats=FORMATS,
        kv_types=KV_TYPES,
        backends=BACKENDS,
        estimate=estimate_vllm,
        find_gap=find_vllm_gap,
        source_url="https://github.com/vllm-project/vllm",
        summary="serves many users at once from cards that hold everything; fills its share of them with cache",
        fills_memory=True,
    )
)

"""Ollama: llama.cpp's server behind defaults of its own.

Read from Ollama as of November 2026: docs/context-length.mdx, docs/faq.mdx, envconfig/config.go and
llm/llama_server.go of https://github.com/ollama/ollama. It starts llama-server with `-c` (context times parallel),
`-np`, `-b` and `-ub` from num_batch, one type for K and V, flash attention where the card can, and leaves layers to
`-ngl auto`: memory follows llama.cpp's rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sizing.engines.base import Engine, EngineEstimate, EngineSetup
from sizing.engines.llama_cpp import BACKENDS, build_workload, estimate_gguf, find_llama_cpp_gap
from sizing.engines.registry import register_engine
from sizing.errors import UnknownNameError, UnsupportedError
from sizing.estimate import Estimate
from sizing.fit import Verdict
from sizing.hardware import Machine
from sizing.memory import DeviceUse, Parts
from sizing.units import GIB, format_bytes, format_tokens
from sizing.workload import Workload

NAME = "Ollama"
KV_TYPES = ("f16", "q8_0", "q4_0")
"""What OLLAMA_KV_CACHE_TYPE takes (docs/faq.mdx)."""

NUM_BATCH = 512
"""Default `num_batch`, given as logical and physical batch (api/types.go, `DefaultOptions`)."""

CONTEXT_TIERS = ((47 * GIB, 262_144), (23 * GIB, 32_768), (0, 4_096))
"""Context in tokens by the memory of all cards (docs/context-length.mdx: under 24 GiB, 24 to 48, 48 and more). Cards
sold with 24 GB report 23.5 GiB and get 32,768 tokens, those that report 22 get 4,096, so the steps are a GiB lower
(seen in server logs: "vram-based default context")."""

KEEP_ALIVE_MINUTES = 5
MODELS_PER_CARD = 3
"""Minutes an idle model stays loaded, and how many models at once for each card (docs/faq.mdx, OLLAMA_KEEP_ALIVE,
OLLAMA_MAX_LOADED_MODELS); the default number of parallel requests is 1 (OLLAMA_NUM_PARALLEL)."""


def find_default_context(machine: Machine) -> int:
    """Tokens of context a model gets on this machine unless `num_ctx` says otherwise, before the model's own maximum.

    What counts is what the cards together let programs use; the host's memory does not.
    """
    total = sum(d.usable_bytes for d in machine.accelerators)
    return next(tokens for least, tokens in CONTEXT_TIERS if total >= least)


def find_ollama_gap(setup: EngineSetup) -> str | None:
    """Why Ollama cannot run this at all, or None."""
    if any(d.backend == "sycl" for d in setup.machine.accelerators):
        return "Ollama has no SYCL backend; it drives Intel cards through Vulkan only (OLLAMA_VULKAN=1)"
    return find_llama_cpp_gap(setup)


def build_ollama_workload(setup: EngineSetup) -> Workload:
    """What Ollama asks of llama-server. Raises UnknownNameError for a cache type it has no setting for."""
    if setup.kv_type != "auto" and setup.kv_type.lower() not in KV_TYPES:
        raise UnknownNameError("Ollama KV cache type", setup.kv_type, KV_TYPES)
    return build_workload(setup, NUM_BATCH, NUM_BATCH)


def estimate_ollama(setup: EngineSetup) -> EngineEstimate:
    """llama.cpp's figures under Ollama's settings, and what its defaults would do instead.

    Raises UnsupportedError for what it cannot run, UnknownNameError for an unknown cache type.
    """
    gap = find_ollama_gap(setup)
    if gap is not None:
        raise UnsupportedError(gap)
    workload = build_ollama_workload(setup)
    found = _estimate_on_one_card(setup, workload) or estimate_gguf(setup, workload)
    named = replace(found, memory=replace(found.memory, engine=NAME))
    return EngineEstimate(setup, NAME, named, differences=tuple(list_differences(setup, workload, named)))


def _estimate_on_one_card(setup: EngineSetup, workload: Workload) -> Estimate | None:
    """The answer on the roomiest of several cards, the others empty; None where it does not hold all layers."""
    machine = setup.machine
    if len(machine.accelerators) < 2:
        return None
    chosen = max(range(len(machine.accelerators)), key=lambda i: machine.accelerators[i].usable_bytes)
    alone = replace(setup, machine=replace(machine, accelerators=(machine.accelerators[chosen],)))
    found = estimate_gguf(alone, workload)
    if found.fit.verdict not in (Verdict.FITS, Verdict.TIGHT):
        return None
    empty = [DeviceUse(d.name, d.memory_bytes, d.usable_bytes, Parts()) for d in machine.accelerators]
    host, card = found.memory.devices
    empty[chosen] = card
    split = tuple(setup.spec.n_layers + 1 if i == chosen else 0 for i in range(len(empty)))
    return replace(found, memory=replace(found.memory, devices=(host, *empty)), tensor_split=split)


def list_differences(setup: EngineSetup, workload: Workload, found: Estimate) -> Iterator[str]:
    """What Ollama does otherwise than llama-server here, each with its figure."""
    default = min(find_default_context(setup.machine), setup.spec.context_tokens)
    asked = setup.context_tokens
    if asked != default:
        usual = replace(setup, context_tokens=default)
        cache = estimate_gguf(usual, build_ollama_workload(usual)).memory.parts.kv_cache_bytes
        what = "a longer chat loses its beginning" if asked > default else "it reserves more than was asked for here"
        yield (
            f"context: {format_tokens(default)} tokens on this machine unless num_ctx says otherwise "
            f"({format_bytes(cache)} of cache, {format_bytes(found.memory.parts.kv_cache_bytes)} for the "
            f"{format_tokens(asked)} asked for): set num_ctx {asked}, or {what}"
        )
    if setup.n_parallel > 1:
        yield (
            f"one request at a time unless OLLAMA_NUM_PARALLEL={setup.n_parallel}, which reserves "
            f"{format_tokens(workload.n_ctx_tokens)} tokens of cache; others queue"
        )
    cards = setup.machine.accelerators
    if len(cards) > 1 and found.tensor_split and sum(1 for n in found.tensor_split if n) == 1:
        yield f"it loads on one of the {len(cards)} cards, as all fits there; llama-server divides layers over all"
    yield (
        f"an idle model is unloaded after {KEEP_ALIVE_MINUTES} minutes (OLLAMA_KEEP_ALIVE), and up to "
        f"{MODELS_PER_CARD * max(len(cards), 1)} models share this memory while each fits (OLLAMA_MAX_LOADED_MODELS)"
    )
    yield (
        f"num_batch {NUM_BATCH} is llama-server's logical batch too, 2,048 by its own default: the compute buffers are "
        f"the same {format_bytes(found.memory.parts.compute_bytes)}; K and V have one type"
    )


OLLAMA = register_engine(
    Engine(
        name=NAME,
        formats=(),
        kv_types=KV_TYPES,
        backends=BACKENDS - {"sycl"},
        estimate=estimate_ollama,
        find_gap=find_ollama_gap,
        source_url="https://github.com/ollama/ollama",
        takes_gguf=True,
        summary="llama.cpp with a model library and defaults of its own: watch the context",
    )
)

"""What a server does otherwise than llama.cpp and what follows here, each sentence with the figure it explains."""

from __future__ import annotations

from collections.abc import Iterator

from sizing.engines.base import EngineSetup
from sizing.engines.serving import UNPADDED, count_rotary_bytes, list_attentions, list_stage_weight_bytes
from sizing.engines.serving_answer import Serving, measure_capacity
from sizing.engines.serving_cache import CacheKind
from sizing.engines.serving_formats import find_fallback
from sizing.formats import find_format
from sizing.units import MIB, format_bytes, format_figures, format_tokens

LARGE_ROTARY_BYTES = 100 * MIB


def list_common_differences(setup: EngineSetup, serving: Serving) -> Iterator[str]:
    """What vLLM, SGLang and TGI have in common."""
    capacity = measure_capacity(setup, serving)
    room = min(serving.rooms, key=lambda r: r.kv_bytes)
    yield (
        f"takes its share of each card whatever is asked: {format_bytes(room.budget_bytes)} of {room.device.name}, "
        f"{format_bytes(max(room.kv_bytes, 0))} of it cache; llama.cpp reserves the context asked for"
    )
    if capacity.n_requests >= 1:
        yield (
            f"requests share {format_tokens(capacity.kv_tokens)} tokens of cache and take them as they grow: "
            f"{format_figures(capacity.n_requests)} at the full {format_tokens(setup.context_tokens)}, more when they "
            f"are shorter; llama.cpp's {setup.n_parallel} slots keep their size"
        )
    yield (
        f"nothing runs on the host: cards that cannot hold {format_bytes(room.weight_bytes)} of weights each, and a "
        "request's cache beside them, do not start"
    )
    yield from _list_split_differences(setup, serving)
    yield from _list_weight_differences(setup, serving)


def _list_split_differences(setup: EngineSetup, serving: Serving) -> Iterator[str]:
    """Ranks, stages, and what ranks hold more than once."""
    ranks, stages = serving.split.tensor_parallel, serving.split.pipeline_parallel
    if ranks > 1:
        yield (
            f"{ranks} cards share every matrix, {format_bytes(serving.rooms[0].weight_bytes)} on each; "
            "llama.cpp gives each card whole layers"
        )
        attentions = list_attentions(setup.spec)
        if any(a.latent is not None for a in attentions):
            yield f"each of {ranks} cards keeps every token's latent row: more cards make no more room for tokens by it"
        least = min((a.n_kv_heads for a in attentions if a.n_kv_heads and a.latent is None), default=ranks)
        if least < ranks:
            yield f"{least} heads of keys and values on {ranks} cards: each is kept {ranks // least} times"
    if stages > 1:
        chosen = setup.options.pipeline_parallel is not None or setup.options.tensor_parallel is not None
        why = "" if chosen else f", because {ranks * stages} cards cannot divide its matrices"
        yield f"{stages} stages of layers, one after another{why}; a token passes all of them"


def _list_weight_differences(setup: EngineSetup, serving: Serving) -> Iterator[str]:
    """What loading adds to the checkpoint."""
    spec, fmt, split = setup.spec, find_format(setup.weight_format), serving.split
    backend = serving.rooms[0].device.backend
    if fmt.name == "MXFP4" and spec.is_moe:
        stored = list_stage_weight_bytes(spec, fmt, split, backend)[0]
        plain = list_stage_weight_bytes(spec, fmt, split, UNPADDED)[0]
        if stored > plain:
            yield f"experts are padded to what the kernels want: {format_bytes(stored - plain)} more on each card"
    rotary = count_rotary_bytes(spec)
    if rotary >= LARGE_ROTARY_BYTES:
        yield f"a table of rotary angles for every position takes {format_bytes(rotary)}"
    if any(a.latent is not None for a in list_attentions(spec)):
        yield "MLA's up-projections are kept a second time, unpacked to 16 bits"
    if spec.n_params_projector:
        whole = spec.n_params_projector * 2 // split.tensor_parallel
        yield f"the vision or audio tower is loaded with the model, {format_bytes(whole)} on the first cards in 16 bits"
    windows = [g for g in serving.plan.groups if g.kind in (CacheKind.WINDOW, CacheKind.CHUNK)]
    if windows and len(windows) < len(serving.plan.groups):
        blocks = windows[0].count_blocks(setup.context_tokens, serving.step_tokens)
        yield (
            f"a windowed layer keeps up to {format_tokens(blocks * windows[0].block_tokens)} tokens of a request, "
            f"its window of {format_tokens(windows[0].limit_tokens)} and a step"
        )
    states = [g for g in serving.plan.groups if g.kind is CacheKind.STATE]
    if states:
        yield (
            f"recurrent states share the cache's pages, so that a block holds {serving.plan.block_tokens} tokens "
            f"({format_bytes(states[0].page_bytes)} a layer)"
        )
    fallback = find_fallback(fmt, serving.rooms[0].device)
    if fallback is not None:
        yield fallback

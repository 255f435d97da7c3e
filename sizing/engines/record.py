"""Answers of engines as JSON records and as text: the stable shapes that the command line prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sizing.engines.alike import Alike
from sizing.engines.base import Capacity, Engine, EngineEstimate
from sizing.engines.inverse import EngineHardwareNeeds
from sizing.inverse import PRICE_BASIS, HardwareAnswer, PriceSource, leave_out_surplus
from sizing.inverse_record import format_answer, list_closing_lines, machines_record
from sizing.record import answer_record, list_figures
from sizing.units import format_bytes, format_figures, format_range, format_tokens

Sources = Mapping[str, PriceSource]


def engine_record(engine: Engine) -> dict[str, Any]:
    """One engine and what it takes, as `python -m sizing engines --json` lists it."""
    return {
        "engine": engine.name,
        "summary": engine.summary,
        "takes_gguf": engine.takes_gguf,
        "formats": list(engine.formats),
        "kv_types": list(engine.kv_types),
        "backends": sorted(engine.backends),
        "fills_memory": engine.fills_memory,
        "source_url": engine.source_url,
    }


def format_engine(engine: Engine) -> str:
    """One engine in two or three lines."""
    formats = "GGUF quantizations" if engine.takes_gguf else ", ".join(engine.formats)
    lines = [f"{engine.name}: {engine.summary}" if engine.summary else engine.name]
    lines.append(f"     formats: {formats}")
    lines.append(f"     cache: {', '.join(engine.kv_types)}; on {', '.join(sorted(engine.backends))}")
    return "\n".join(lines)


def capacity_record(capacity: Capacity | None) -> dict[str, Any] | None:
    """What the cache holds once the engine has started, None for one that reserves what it is asked for."""
    if capacity is None:
        return None
    return {
        "kv_bytes": capacity.kv_bytes,
        "kv_tokens": capacity.kv_tokens,
        "n_requests": float(f"{capacity.n_requests:.4g}"),
        "largest_context_tokens": capacity.largest_context_tokens,
        "block_tokens": capacity.block_tokens,
    }


def engine_estimate_record(answer: EngineEstimate) -> dict[str, Any]:
    """An engine's answer as `python -m sizing estimate --engine --json` prints it."""
    setup = answer.setup
    return {
        "model": setup.spec.model_id,
        "quant": setup.weight_format,
        "engine": answer.engine,
        "context_tokens": setup.context_tokens,
        "n_parallel": setup.n_parallel,
        "kv_type": setup.kv_type,
        "tensor_parallel": answer.tensor_parallel,
        "pipeline_parallel": answer.pipeline_parallel,
        **answer_record(answer.estimate),
        "capacity": capacity_record(answer.capacity),
        "differences": list(answer.differences),
    }


def format_engine_estimate(answer: EngineEstimate) -> str:
    """An engine's answer as text, the answer first."""
    setup, told = answer.setup, answer.estimate
    total = format_bytes(told.memory.total_bytes)
    lines = [f"{setup.spec.model_id} {setup.weight_format} on {answer.engine}: {total}, {told.fit.verdict}"]
    lines += [f"  {reason}" for reason in told.fit.reasons]
    requests = "1 request" if setup.n_parallel == 1 else f"{setup.n_parallel} requests"
    lines.append(f"context {format_tokens(setup.context_tokens)} tokens x {requests}")
    if answer.tensor_parallel > 1 or answer.pipeline_parallel > 1:
        lines.append(f"tensor parallel {answer.tensor_parallel}, pipeline parallel {answer.pipeline_parallel}")
    lines += list_figures(told)
    if answer.capacity is not None:
        lines.append(format_capacity(answer.capacity, setup.context_tokens))
    lines += [f"* {line}" for line in answer.differences]
    return "\n".join([*lines, *(f"- {line}" for line in told.memory.assumptions)])


def format_capacity(capacity: Capacity, context_tokens: int) -> str:
    """What the cache holds, in one line."""
    most = capacity.largest_context_tokens
    longest = f"the longest that starts: {format_tokens(most)} tokens" if most else "no length starts"
    return (
        f"the cache holds {capacity.kv_tokens:,} tokens: {format_figures(capacity.n_requests)} requests of "
        f"{format_tokens(context_tokens)} at once; {longest}"
    )


def alike_record(alike: Alike) -> dict[str, Any]:
    """One engine beside the others."""
    return {
        "engine": alike.engine.name,
        "format": alike.weight_format or None,
        "bits_per_weight": float(f"{alike.bits_per_weight:.4g}") if alike.answer else None,
        "gap": alike.gap or None,
        "answer": engine_estimate_record(alike.answer) if alike.answer else None,
    }


def format_alike(rows: Sequence[Alike]) -> str:
    """All engines as a table of text, those that cannot run it with their reason."""
    head = ("engine", "format", "bits", "memory", "fit", "tokens/s", "requests at once")
    cells = [head, *(_list_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    lines = ["  ".join(f"{text:<{w}}" for text, w in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([*lines, *(f"{row.engine.name} cannot run it: {row.gap}" for row in rows if row.gap)])


def _list_cells(row: Alike) -> tuple[str, ...]:
    if row.answer is None:
        return (row.engine.name, "none", "", "", "cannot run it", "", "")
    told, capacity = row.answer.estimate, row.answer.capacity
    speed = told.speed.decode_tokens_per_s if told.speed else None
    return (
        row.engine.name,
        row.weight_format,
        f"{row.bits_per_weight:.2f}",
        format_bytes(told.memory.total_bytes),
        str(told.fit.verdict),
        format_range(speed.low, speed.high) if speed else "unknown" if told.fit.runs else "none",
        format_figures(capacity.n_requests) if capacity else "as asked",
    )


def engine_hardware_record(
    needs: EngineHardwareNeeds, answer: HardwareAnswer, sources: Sources, limit: int, format_is_named: bool
) -> dict[str, Any]:
    """The answer as `python -m sizing hardware-for --engine --json` prints it; lists hold at most `limit`."""
    question = needs.question
    told = answer.cheapest or next(iter(answer.unpriced), None)
    machines = machines_record(answer, sources, limit)
    return {
        "model": needs.spec.model_id,
        "engine": needs.engine.name,
        "quant": needs.offers[0].weight_format if format_is_named else None,
        "quants": [o.weight_format for o in needs.offers],
        "context_tokens": question.context_tokens,
        "n_parallel": question.n_parallel,
        "min_decode_tokens_per_s": needs.min_decode_tokens_per_s,
        "allow_offload": needs.allow_offload,
        **machines,
        "ruled_out": {**machines["ruled_out"], "engine": answer.n_unsupported},
        "price_basis": PRICE_BASIS,
        "assumptions": list(told.estimate.memory.assumptions) if told else [],
    }


def format_engine_hardware(needs: EngineHardwareNeeds, answer: HardwareAnswer, sources: Sources, limit: int) -> str:
    """The answer as text, the cheapest first."""
    lines = []
    if answer.cheapest is None:
        lines.append(f"no machine of known price runs {needs.spec.name} in {needs.engine.name} as asked")
    for rank, a in enumerate(leave_out_surplus(answer.priced)[:limit], 1):
        lines += format_answer(rank, needs.spec.name, a, sources)
    unpriced = leave_out_surplus(answer.unpriced)
    if unpriced:
        names = ", ".join(a.machine.name for a in unpriced[:limit])
        lines.append(f"price unknown: {len(unpriced)} more do it, the smallest first: {names}")
    return "\n".join([*lines, *list_closing_lines(answer, needs.engine.name)])

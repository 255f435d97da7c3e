"""Which machine runs a model, as a JSON record and as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sizing.inverse import (
    PRICE_BASIS,
    HardwareAnswer,
    HardwareNeeds,
    MachineAnswer,
    PriceSource,
    leave_out_surplus,
    list_context_steps,
    list_quant_steps,
)
from sizing.record import speed_record
from sizing.units import format_bytes, format_figures, format_gib, format_range, format_tokens

Sources = Mapping[str, PriceSource]


def format_price(price_usd: int | None) -> str:
    """A price with three significant figures: 'about $1,600', or that it is unknown.

    >>> format_price(1599), format_price(None)
    ('about $1,600', 'price unknown')
    """
    return "price unknown" if price_usd is None else f"about ${format_figures(price_usd)}"


def find_source(answer: MachineAnswer, sources: Sources) -> PriceSource | None:
    """Where the price of a machine's first device was read; None where the price is unknown."""
    if answer.price_usd is None:
        return None
    devices = answer.machine.accelerators or (answer.machine.host,)
    return sources.get(devices[0].name)


def machine_record(answer: MachineAnswer, sources: Sources, on_frontier: bool) -> dict[str, Any]:
    """One machine that does it."""
    source = find_source(answer, sources)
    return {
        "machine": answer.machine.name,
        "quant": answer.quant,
        "verdict": str(answer.estimate.fit.verdict),
        "price_usd": answer.price_usd,
        "price_year": source.year if source else None,
        "price_source_url": source.source_url if source else None,
        "price_as_of": source.as_of if source else None,
        "power_watts": answer.power_watts,
        "used_bytes": answer.used_bytes,
        "usable_bytes": answer.usable_bytes,
        "headroom_bytes": answer.headroom_bytes,
        "total_bytes": answer.estimate.memory.total_bytes,
        "n_gpu_layers": answer.estimate.n_gpu_layers,
        "n_cpu_moe": answer.estimate.n_cpu_moe,
        "speed": speed_record(answer.estimate.speed),
        "on_frontier": on_frontier,
    }


def machines_record(answer: HardwareAnswer, sources: Sources, limit: int) -> dict[str, Any]:
    """The part of an answer that is the same for every engine: the machines, and how many are out for what."""
    best, front = answer.cheapest, {a.machine.name for a in answer.frontier}

    def record(a: MachineAnswer) -> dict[str, Any]:
        return machine_record(a, sources, a.machine.name in front)

    return {
        "cheapest": record(best) if best else None,
        "machines": [record(a) for a in leave_out_surplus(answer.priced)[:limit]],
        "price_unknown": [record(a) for a in leave_out_surplus(answer.unpriced)[:limit]],
        "frontier": [record(a) for a in answer.frontier],
        "n_machines": answer.n_machines,
        "n_price_unknown": len(answer.unpriced),
        "ruled_out": {
            "memory": answer.n_short_of_memory,
            "speed": answer.n_too_slow,
            "speed_unknown": answer.n_speed_unknown,
        },
    }


def hardware_record(
    needs: HardwareNeeds, answer: HardwareAnswer, sources: Sources, limit: int, quant_is_named: bool
) -> dict[str, Any]:
    """The answer as `python -m sizing hardware-for --json` prints it; lists of machines hold at most `limit`."""
    told = answer.cheapest or next(iter(answer.unpriced), None)
    weights = needs.find_weights(told.quant) if told else needs.weights[0]
    return {
        "model": needs.spec.model_id,
        "quant": needs.weights[0].quant if quant_is_named else None,
        "quants": [w.quant for w in needs.weights],
        "context_tokens": needs.workload.context_tokens,
        "n_parallel": needs.workload.n_parallel,
        "min_decode_tokens_per_s": needs.min_decode_tokens_per_s,
        "allow_offload": needs.allow_offload,
        **machines_record(answer, sources, limit),
        "quant_steps": [{"usable_bytes": s.usable_bytes, "quant": s.quant} for s in list_quant_steps(needs)],
        "context_steps": [
            {"usable_bytes": s.usable_bytes, "quant": s.quant, "context_tokens": s.context_tokens}
            for s in list_context_steps(needs, weights)
        ],
        "price_basis": PRICE_BASIS,
        "assumptions": list(told.estimate.memory.assumptions) if told else [],
    }


def format_needs(needs: HardwareNeeds) -> str:
    """What is asked, in a few words."""
    users = "1 user" if needs.workload.n_parallel == 1 else f"{needs.workload.n_parallel} users"
    floor = needs.min_decode_tokens_per_s
    speed = f", at least {format_figures(floor)} tokens/s each" if floor else ""
    return f"{format_tokens(needs.workload.context_tokens)} tokens x {users}{speed}"


def format_hardware(needs: HardwareNeeds, answer: HardwareAnswer, sources: Sources, limit: int) -> str:
    """The answer as text, the cheapest first."""
    lines = []
    if answer.cheapest is None:
        lines.append(f"no machine of known price runs {needs.spec.name} for {format_needs(needs)}")
    for rank, a in enumerate(leave_out_surplus(answer.priced)[:limit], 1):
        lines += format_answer(rank, needs.spec.name, a, sources)
    unpriced = leave_out_surplus(answer.unpriced)
    if unpriced:
        lines.append(f"price unknown: {len(unpriced)} more do it, the smallest first")
        lines += [
            f"   {a.machine.name}: {_format_fit(needs.spec.name, a)}, {_format_speed(a)[0]}" for a in unpriced[:limit]
        ]
    steps = ", ".join(f"{s.quant} {format_gib(s.usable_bytes)}" for s in list_quant_steps(needs))
    lines.append(f"memory it takes on one card, GiB: {steps}")
    return "\n".join([*lines, *list_closing_lines(answer)])


def list_closing_lines(answer: HardwareAnswer, engine: str = "the engine") -> list[str]:
    """What every answer ends with: how many machines are out for what, what a price is, and what was assumed."""
    reasons = (
        (answer.n_unsupported, f"{engine} itself"),
        (answer.n_short_of_memory, "memory"),
        (answer.n_too_slow, "speed"),
        (answer.n_speed_unknown, "unknown speed"),
    )
    failed = ", ".join(f"{n} by {why}" for n, why in reasons if n) or "nothing"
    told = answer.cheapest or next(iter(answer.unpriced), None)
    assumptions = told.estimate.memory.assumptions if told else ()
    return [f"ruled out of {answer.n_machines}: {failed}", *(f"- {line}" for line in (PRICE_BASIS, *assumptions))]


def format_answer(rank: int, name: str, a: MachineAnswer, sources: Sources) -> list[str]:
    """One machine that does it with the model called `name`: price, fit, speed, and where the price was read."""
    source = find_source(a, sources)
    lines = [f"{rank}. {a.machine.name}: {format_price(a.price_usd)}, {_format_fit(name, a)}"]
    lines.append(f"     {', '.join(_format_speed(a))}")
    if source:
        lines.append(f"     {source.name}, {source.source_url}")
    return lines


def _format_fit(name: str, a: MachineAnswer) -> str:
    power = f", {format_figures(a.power_watts)} W" if a.power_watts else ", power unknown"
    used = f"{format_gib(a.used_bytes)} of {format_bytes(a.usable_bytes)}"
    return f"{name} at {a.quant}, {used}, {a.estimate.fit.verdict}{power}"


def _format_speed(a: MachineAnswer) -> tuple[str, ...]:
    """The speed and what binds it."""
    decode = a.decode_tokens_per_s
    if decode is None or a.estimate.speed is None:
        return ("speed unknown",)
    return f"{format_range(decode.low, decode.high)} tokens/s", f"bound by {a.estimate.speed.bound}"

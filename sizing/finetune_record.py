"""A fine-tuning answer as JSON and as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sizing.finetune import FineTuneEstimate, TrainingUse
from sizing.finetune_search import Largest, MethodAnswer
from sizing.finetune_setup import METHOD_WORDS, FineTuneSetup
from sizing.finetune_speed import TrainingSpeed
from sizing.throughput import Interval
from sizing.units import THIN, format_bytes, format_figures, format_gib, format_params, format_range, format_tokens

PART_WORDS = {
    "weight_bytes": "weights",
    "gradient_bytes": "gradients",
    "optimizer_bytes": "optimizer states",
    "activation_bytes": "activations",
    "overhead_bytes": "overhead",
}


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """What a run costs rented: US$ an hour for all cards, where it was read, and US$ for the whole run."""

    usd_per_hour: float
    offer: str
    usd: Interval
    source_url: str = ""


def price_run(speed: TrainingSpeed, n_tokens: float, usd_per_hour: float, offer: str, source_url: str) -> TrainingCost:
    """The cost of a run at a price per hour of all cards together."""
    hours = speed.count_hours(n_tokens)
    usd = Interval(hours.low * usd_per_hour, hours.mid * usd_per_hour, hours.high * usd_per_hour)
    return TrainingCost(usd_per_hour, offer, usd, source_url)


def name_setup(setup: FineTuneSetup) -> str:
    """'QLoRA of Llama 3.1 70B at rank 16': what is done to which model."""
    said = f"{METHOD_WORDS[setup.method]} of {setup.spec.name}"
    if not setup.is_lora:
        return f"Full fine-tuning of {setup.spec.name}"
    return f"{said} at rank {setup.rank}"


def say_answer(answer: FineTuneEstimate) -> str:
    """The answer in a sentence: what, how much of how much on the fullest device, and the verdict."""
    use = answer.fullest
    each = f" on each of {len(answer.devices)} cards" if len(answer.devices) > 1 else ""
    verb = {"fits": "fits", "tight": "fits tightly", "does not fit": "does not fit"}[answer.fit.verdict.value]
    need, have = format_gib(use.parts.total_bytes), format_bytes(use.usable_bytes)
    return f"{name_setup(answer.setup)}: {need} of {have}{each}, {verb}."


def say_trainable(answer: FineTuneEstimate) -> str:
    """'41,943,040 trainable parameters, 0.522% of 8.03 B'."""
    share = 100 * answer.n_trainable / answer.n_params
    n, of = format_tokens(answer.n_trainable), format_params(answer.n_params)
    return f"{n} trainable parameters, {format_figures(share)}% of {of}"


def say_speed(speed: TrainingSpeed | None, n_tokens: float) -> str:
    """Tokens per second and hours as intervals, or that nobody knows."""
    if speed is None:
        return "time unknown: the arithmetic of these cards is not listed"
    rate, hours = speed.tokens_per_s, speed.count_hours(n_tokens)
    return (
        f"{format_range(rate.low, rate.high)} tokens/s, {format_range(hours.low, hours.high)} hours for "
        f"{format_figures(n_tokens / 1e6)} million tokens"
    )


def say_largest(largest: Largest, setup: FineTuneSetup) -> str:
    """What is the largest of each that fits, everything else as it is."""
    parts = [
        ("sequence", largest.sequence_tokens, f"{format_tokens(largest.sequence_tokens)} tokens"),
        ("micro batch", largest.micro_batch, format_tokens(largest.micro_batch)),
    ]
    if largest.rank is not None:
        parts.insert(0, ("rank", largest.rank, format_tokens(largest.rank)))
    said = [f"{name} {text}" if value else f"no {name}" for name, value, text in parts]
    return f"largest that fits, each alone: {', '.join(said)}"


def finetune_record(
    answer: FineTuneEstimate,
    largest: Largest,
    methods: tuple[MethodAnswer, ...],
    n_tokens: float,
    cost: TrainingCost | None,
) -> dict[str, Any]:
    """The answer as JSON."""
    setup = answer.setup
    return {
        "model_id": setup.spec.model_id,
        "method": setup.method,
        "rank": setup.rank if setup.is_lora else None,
        "targets": list(setup.targets) if setup.is_lora else None,
        "n_params": answer.n_params,
        "n_trainable": answer.n_trainable,
        "verdict": answer.fit.verdict.value,
        "reasons": list(answer.fit.reasons),
        "devices": [_use_record(u) for u in answer.devices],
        "host": _use_record(answer.host) if answer.host else None,
        "largest": asdict(largest),
        "tokens": n_tokens,
        "speed": None if answer.speed is None else asdict(answer.speed),
        "hours": None if answer.speed is None else asdict(answer.speed.count_hours(n_tokens)),
        "cost": None if cost is None else asdict(cost),
        "methods": [_method_record(m) for m in methods],
        "assumptions": list(answer.assumptions),
    }


def _use_record(use: TrainingUse) -> dict[str, Any]:
    parts = {**asdict(use.parts), "total_bytes": use.parts.total_bytes}
    return {"name": use.name, "usable_bytes": use.usable_bytes, "parts": parts}


def _method_record(told: MethodAnswer) -> dict[str, Any]:
    if told.estimate is None:
        return {"method": told.method, "verdict": None, "gap": told.gap}
    return {
        "method": told.method,
        "verdict": told.estimate.fit.verdict.value,
        "total_bytes": told.estimate.fullest.parts.total_bytes,
        "n_trainable": told.estimate.n_trainable,
    }


def format_finetune(
    answer: FineTuneEstimate,
    largest: Largest,
    methods: tuple[MethodAnswer, ...],
    n_tokens: float,
    cost: TrainingCost | None,
) -> str:
    """The answer as text."""
    lines = [say_answer(answer), f"  {say_trainable(answer)}"]
    for use in dict.fromkeys((*answer.devices, *((answer.host,) if answer.host else ()))):
        lines.append(f"  {use.name}: {format_bytes(use.parts.total_bytes)} of {format_bytes(use.usable_bytes)} usable")
        lines += [f"    {word:<17} {format_bytes(n)}" for word, n in list_parts(use) if n]
    lines += [f"  {reason}" for reason in answer.fit.reasons]
    lines.append(f"  {say_largest(largest, answer.setup)}")
    lines.append(f"  {say_speed(answer.speed, n_tokens)}")
    if cost is not None:
        usd = format_range(cost.usd.low, cost.usd.high)
        lines.append(f"  US$ {usd} rented at US$ {format_figures(cost.usd_per_hour)} an hour ({cost.offer})")
    for told in methods:
        lines.append(f"  {METHOD_WORDS[told.method]:<6} {_say_method(told)}")
    lines += [f"  assumed: {a}" for a in answer.assumptions]
    return "\n".join(lines).replace(THIN, " ")


def _say_method(told: MethodAnswer) -> str:
    if told.estimate is None:
        return told.gap
    use = told.estimate.fullest
    return (
        f"{format_bytes(use.parts.total_bytes)} of {format_bytes(use.usable_bytes)}, {told.estimate.fit.verdict.value}"
    )


def list_parts(use: TrainingUse) -> tuple[tuple[str, int], ...]:
    """The parts of a device by name, in the order they are drawn."""
    return tuple((word, int(getattr(use.parts, key))) for key, word in PART_WORDS.items())

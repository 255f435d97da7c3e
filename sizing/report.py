"""A decision on one page, as values: the question, the recommendation, its evidence and where each fact was read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sizing.candidate import MeasuredHere, Needs
from sizing.device_rows import FEWEST_FOLDED, are_alike, used_of
from sizing.estimate import Estimate
from sizing.hardware import Device, Machine
from sizing.license_profile import LicenseProfile
from sizing.memory import DeviceUse
from sizing.profile_words import describe_profile
from sizing.recommend import Option, Recommendation
from sizing.throughput import Interval
from sizing.units import THIN, format_bytes, format_figures, format_gib, format_range, format_tokens

UNKNOWN = "unknown"
NOT_MEASURED = "Nothing measured here yet"
MAX_CLAUSES, MAX_SCORES, MAX_MEASURED = 4, 4, 3
"""Lines of a kind that one page has room for; the rest is counted."""

LOSS_WORDS = {
    "same model": "published for this very model",
    "same family": "published for its family",
    "generic": "published for other models",
}
"""Whose measurements say what a quantization costs, by their label."""

Fact = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ReportSource:
    """An address facts of the report were read at, what they are, and when they were read."""

    what: str
    url: str
    as_of: str


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """A published score behind the quality: the benchmark, the score 0..100, and who reported it."""

    benchmark: str
    score: float
    reporter: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the shell looked up for the report, in words where no figure is needed.

    `license_outcome` is the verdict for the profile, `clauses` what decided it, `license_notes` what to know besides;
    `scores` are the strongest first. `prices` name devices with what they were listed at. `catalog_version` begins
    with the day of the newest fact.
    """

    catalog_version: str
    n_models: int
    license_name: str = ""
    license_outcome: str = ""
    clauses: tuple[str, ...] = ()
    license_notes: tuple[str, ...] = ()
    scores: tuple[ScoreLine, ...] = ()
    prices: tuple[str, ...] = ()
    sources: tuple[ReportSource, ...] = ()


@dataclass(frozen=True, slots=True)
class Occasion:
    """When and where the report was made: the day, the machine as the person calls it, and what starts the answer.

    `link` is the address that asks the same again, `command` the same for a shell; "" where there is none.
    """

    made_on: str
    machine_name: str
    launch: str = ""
    link: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """The next answer, a row: the model with its quantization, then its figures as text."""

    name: str
    verdict: str
    memory: str
    speed: str
    quality: str
    licence: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything on the page, in its order. Without a recommendation `devices`, `launch` and what follows are empty."""

    occasion: str
    title: str
    summary: str
    question: tuple[Fact, ...]
    reasons: tuple[str, ...]
    devices: tuple[DeviceUse, ...]
    speed: tuple[Fact, ...]
    quality: tuple[Fact, ...]
    scores: tuple[ScoreLine, ...]
    license: tuple[Fact, ...]
    clauses: tuple[str, ...]
    measured: tuple[str, ...]
    changes: tuple[str, ...]
    runners_up: tuple[RunnerUp, ...]
    launch: str
    assumptions: tuple[str, ...]
    sources: tuple[ReportSource, ...]
    made_of: str
    link: str
    command: str

    @property
    def is_answered(self) -> bool:
        """Whether there is a recommendation."""
        return bool(self.devices)


def build_report(
    answer: Recommendation,
    machine: Machine,
    needs: Needs,
    found: Evidence,
    occasion: Occasion,
    measured: Sequence[MeasuredHere] = (),
) -> Report:
    """The report on an answer. `measured` are this box's scores, of which those of the recommended model are told."""
    best = answer.best
    empty = _say_nothing_runs(answer, machine, needs, found, occasion)
    if best is None:
        return empty
    return replace(
        empty,
        title=f"{best.name} at {best.quant}",
        question=(*empty.question, ("Engine", best.estimate.memory.engine)),
        summary=", ".join(list_figures(best.estimate, machine, found.license_name)),
        reasons=tuple(map(to_capital, best.reasons)),
        devices=tuple(list_device_rows(best.estimate)),
        speed=tuple(list_speed(best.estimate)),
        quality=tuple(list_quality(best, needs.task)),
        scores=found.scores[:MAX_SCORES],
        license=tuple(list_license(found)),
        clauses=tuple(map(to_capital, found.clauses)),
        measured=tuple(list_measured(measured, best.candidate.spec.model_id)),
        runners_up=tuple(_runner_up(option, machine) for option in answer.runners_up),
        launch=occasion.launch,
        assumptions=tuple(map(to_capital, list_assumptions(best.estimate))),
    )


def _say_nothing_runs(
    answer: Recommendation, machine: Machine, needs: Needs, found: Evidence, occasion: Occasion
) -> Report:
    """The report where nothing can be recommended: what stood in the way, counted."""
    reasons = [f"{n:,} models are ruled out by {kind}" for kind, n in answer.ruled_out_counts]
    if answer.options:
        reasons.insert(0, f"{answer.n_running:,} models run, without published evidence for {needs.task}")
    return Report(
        occasion=f"Decision report: a model for {say_task(needs.task)} on {occasion.machine_name}",
        title=f"No recommendation for {say_task(needs.task)}",
        summary="Nothing with published evidence runs within these limits",
        question=tuple(list_question(machine, needs, found)),
        reasons=tuple(reasons),
        devices=(),
        speed=(),
        quality=(),
        scores=(),
        license=(),
        clauses=(),
        measured=(),
        changes=tuple(map(to_capital, answer.what_would_change)),
        runners_up=(),
        launch="",
        assumptions=(),
        sources=found.sources,
        made_of=f"Made on {occasion.made_on} from {found.n_models:,} models, catalog {found.catalog_version}. "
        "What licences say is a reading aid, not legal advice: their text decides",
        link=occasion.link,
        command=occasion.command,
    )


def to_capital(text: str) -> str:
    """Text with a capital, except where its first word is a name with a spelling of its own."""
    first = text.split(" ", 1)[0]
    return text if any(c in first for c in "._-/") else text[:1].upper() + text[1:]


def say_task(task: str) -> str:
    """A task as people write it."""
    return task.upper() if task == "rag" else task


def list_question(machine: Machine, needs: Needs, found: Evidence) -> Iterator[Fact]:
    """What was asked, as name and text."""
    load = needs.workload
    yield "Task", say_task(needs.task)
    yield "Machine", "; ".join(describe_devices(machine))
    if found.prices:
        yield "Listed price", "; ".join(found.prices)
    yield "Context", f"{format_tokens(load.context_tokens)} tokens for each user"
    yield "Users at once", f"{load.n_parallel}"
    floor = needs.min_decode_tokens_per_s
    yield "Slowest that will do", f"{format_figures(floor)}{THIN}tokens/s" if floor else "any speed"
    yield "Licence must allow", say_profile(needs.license_use, needs.license_profile)


def say_profile(license_use: str, profile: LicenseProfile) -> str:
    """Who asks, in one line; the profile counts for nothing where any licence will do."""
    if license_use == "any":
        return "any use, no limit set"
    told = describe_profile(replace(profile, purpose=license_use))
    return told.removeprefix("Profile: ").rstrip(".")


def describe_devices(machine: Machine) -> Iterator[str]:
    """Each kind of device with its count and what it has: '2 × 24 GiB, 22.9 GiB usable, 936 GB/s'."""
    shared = machine.is_unified
    devices = [d for d in (*machine.accelerators, machine.host) if not (shared and d is machine.host)]
    for device in dict.fromkeys(devices):
        n = devices.count(device)
        times = f"{n} × " if n > 1 else ""
        yield f"{times}{device.name}, {describe_device(device)}"


def describe_device(device: Device) -> str:
    """A device's memory and bandwidth."""
    speed = device.bandwidth_bytes_per_s
    bandwidth = "bandwidth unknown" if speed is None else f"{format_figures(speed / 1e9)}{THIN}GB/s"
    usable = format_bytes(device.usable_bytes)
    return f"{format_bytes(device.memory_bytes)} of which {usable} usable, {bandwidth}"


def list_figures(estimate: Estimate, machine: Machine, license_name: str) -> Iterator[str]:
    """'Fits', '11.8 of 15.6 GiB', '31 to 44 tokens/s': an answer in short."""
    yield str(estimate.fit.verdict).capitalize()
    yield say_used(estimate, machine)
    speed = estimate.speed
    each = " each" if speed and speed.n_parallel > 1 else ""
    yield f"{say_speed(speed.decode_tokens_per_s if speed else None)}{each}"
    if license_name:
        yield license_name


def say_used(estimate: Estimate, machine: Machine) -> str:
    """'11.8 of 15.6 GiB': what is needed of what is usable where the model mainly lives."""
    used, usable = used_of(estimate, machine)
    return f"{format_gib(used)} of {format_bytes(usable)}"


def say_speed(speed: Interval | None) -> str:
    """An interval of tokens per second, or that it is unknown."""
    return f"{format_range(speed.low, speed.high)}{THIN}tokens/s" if speed else "speed unknown"


def list_device_rows(estimate: Estimate) -> Iterator[DeviceUse]:
    """What each device holds, cards first; cards of one name and of like use are one row, that of the fullest."""
    host, *cards = estimate.memory.devices
    for name in dict.fromkeys(d.name for d in cards):
        same = sorted((d for d in cards if d.name == name), key=lambda d: -d.parts.total_bytes)
        if len(same) < FEWEST_FOLDED:
            numbered = [d for d in cards if d.name == name]
            yield from (replace(d, name=f"{name} ({i})") if numbered[1:] else d for i, d in enumerate(numbered, 1))
            continue
        n_all = len(same)
        while same:
            alike = [d for d in same if are_alike(same[:1], d)]
            count = f"{n_all} ×" if len(alike) == n_all else f"{len(alike)} of {n_all}"
            yield replace(alike[0], name=f"{count} {name}")
            same = [d for d in same if d not in alike]
    yield host


def list_speed(estimate: Estimate) -> Iterator[Fact]:
    """Speeds with what they rest on."""
    speed = estimate.speed
    if speed is None:
        yield "Writing", "speed unknown: the bandwidth of this machine is not known"
        return
    each = " for each user while all write" if speed.n_parallel > 1 else ""
    yield "Writing", f"{say_speed(speed.decode_tokens_per_s)}{each}"
    if speed.n_parallel > 1:
        yield "All users together", say_speed(speed.total_decode_tokens_per_s)
    if speed.prefill_tokens_per_s is not None:
        yield "Reading a prompt", say_speed(speed.prefill_tokens_per_s)
    first = speed.time_to_first_token_s
    if first is not None:
        low, high = sorted((first.low, first.high))
        yield "First token of a full prompt", f"{format_range(low, high)}{THIN}s"
    yield "Bound by", speed.bound
    told = [a for a in estimate.memory.assumptions if a.startswith(OF_SPEED)]
    yield "Rests on", "; ".join(a.removeprefix(OF_SPEED) for a in told) or speed.basis or UNKNOWN


OF_SPEED = "speed: "
"""How the assumption begins that says what a speed rests on; the report tells it beside the speed."""


def list_assumptions(estimate: Estimate) -> Iterator[str]:
    """What the figures take for granted, each once, without what is told beside the speed."""
    for text in dict.fromkeys(estimate.memory.assumptions):
        if estimate.speed is None or not text.startswith(OF_SPEED):
            yield text


def list_quality(option: Option, task: str) -> Iterator[Fact]:
    """The evidence for the task, what the quantization costs, and what is left."""
    published, left, loss = option.candidate.quality, option.quality, option.loss
    if published is None or left is None:
        yield "Evidence", f"{UNKNOWN}: no published score for {task}"
        return
    yield (
        "Evidence",
        f"{format_figures(published.score)} of 100 ({format_range(published.low, published.high)}, 80% interval), all "
        "models and benchmarks on one scale",
    )
    if loss is not None:
        yield (
            f"{option.quant} costs",
            f"about {format_figures(loss.points)} points, {LOSS_WORDS.get(loss.label, loss.label)}",
        )
        yield "What is left", f"{format_figures(left.score)} ({format_range(left.low, left.high)})"
    elif option.quant not in ("F16", "BF16"):
        yield f"{option.quant} costs", f"{UNKNOWN}: nobody published it"


def list_license(found: Evidence) -> Iterator[Fact]:
    """The licence and what it means for the profile."""
    yield "Licence", found.license_name or UNKNOWN
    yield "For this profile", found.license_outcome or UNKNOWN
    for note in found.license_notes:
        yield "Note", note


def list_measured(measured: Sequence[MeasuredHere], model_id: str) -> Iterator[str]:
    """What was measured on this box of a model, or that nothing was."""
    own = [m for m in measured if m.model_id == model_id]
    if not own:
        yield NOT_MEASURED
    for score in own[:MAX_MEASURED]:
        yield say_measured(score)
    if len(own) > MAX_MEASURED:
        yield f"and {len(own) - MAX_MEASURED} more"


def say_measured(score: MeasuredHere) -> str:
    """'Arithmetic: 71% (63 to 78), 120 items, at Q4_K_M, 2026-11-20'."""
    is_share = score.is_higher_better and score.low >= 0 and score.high <= 1
    scale, unit = (100.0, "%") if is_share else (1.0, "")
    ends = format_range(scale * score.low, scale * score.high)
    value = f"{format_figures(scale * score.value)}{unit} ({ends})"
    return f"{score.title}: {value}, {score.n_items:,} items, at {score.quant}, {score.measured_on}"


def _runner_up(option: Option, machine: Machine) -> RunnerUp:
    estimate, quality = option.estimate, option.quality
    return RunnerUp(
        name=f"{option.name} at {option.quant}",
        verdict=str(estimate.fit.verdict).capitalize(),
        memory=say_used(estimate, machine),
        speed=say_speed(estimate.speed.decode_tokens_per_s if estimate.speed else None),
        quality=UNKNOWN
        if quality is None
        else f"{format_figures(quality.score)} ({format_range(quality.low, quality.high)})",
        licence=option.candidate.license_name,
    )


MEMORY_COLUMNS = ("Weights", "KV cache", "Compute", "Overhead", "Used", "Usable", "Left")


def list_memory(device: DeviceUse) -> tuple[int, ...]:
    """A device's bytes in the order of MEMORY_COLUMNS; recurrent state is cache, the output buffer is compute."""
    parts = device.parts
    return (
        parts.weight_bytes,
        parts.kv_cache_bytes + parts.recurrent_state_bytes,
        parts.compute_bytes + parts.output_bytes,
        parts.overhead_bytes,
        parts.total_bytes,
        device.usable_bytes,
        device.headroom_bytes,
    )

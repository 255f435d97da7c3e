"""What cases on accelerators say: one row per figure, a table of them, and their summary in words."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Any

from evals.accelerator import CaseResult, Engine, count_speed_tokens, name_cards
from evals.measure import ROUNDED_BYTES
from evals.verify import PARTS
from sizing.errors import BadInputError
from sizing.hardware import Machine
from sizing.placement import ACCELERATOR_OVERHEAD_BYTES, LARGEST_TENSOR_SHARE
from sizing.scheduler import PIPELINE_COPIES
from sizing.units import MIB

CLOSE_SHARE, CLOSE_BYTES = 0.03, 16 * MIB
"""Within the larger of these a part counts as close."""

PAGE_BYTES = 4096

DRIVER, GROWTH, COPIES = "driver_bytes", "growth_bytes", "host_copy_bytes"
"""What a card holds beyond llama.cpp's buffers once loaded; how much more after the work; how much larger the first
card's compute buffer is than the replayed scheduler says, where weights stay on the host."""

SPEEDS = ("decode_tokens_per_s", "prefill_tokens_per_s")


class Verdict(StrEnum):
    """How a figure compares with its estimate."""

    EQUAL = "equal"  # to the byte, or to what the log rounds away
    CLOSE = "close"  # within CLOSE_SHARE or CLOSE_BYTES
    EXPLAINED = "explained"  # further off, for the reason given
    OFF = "off"
    INSIDE = "inside"  # a speed within its interval
    BELOW = "below"
    ABOVE = "above"
    REPORTED = "reported"  # the estimate only assumes it, so there is nothing to be equal to


@dataclass(frozen=True, slots=True)
class Environment:
    """Where figures are from. The card is the first of `n_cards`; its rates as the estimate took them, None unknown.

    `build` is what llama.cpp tells of its features, `weights` are 'zeros' or 'random', `measured_on` is
    a date, ISO 8601.
    """

    machine: str
    backend: str
    card: str
    card_kind: str
    n_cards: int
    card_memory_bytes: int
    card_bandwidth_bytes_per_s: float | None
    card_fp16_flops: float | None
    card_memory_type: str
    driver: str
    llama_cpp_python: str
    build: str
    weights: str
    measured_on: str


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `device_index` 0 is the host (or the one pool).

    `part` is one of PARTS, DRIVER, GROWTH, COPIES or SPEEDS. `estimated` is the middle of a speed, `low` and `high` its
    ends, both None for bytes. `measured` is in the unit of the part's name. `tensor_split` are the shares of several
    cards with commas between them. `depth_tokens` are those in the cache before decoding, or those of a prompt.
    """

    shape: str
    model_id: str
    quant: str
    placement: str
    gpu_layers: int
    cpu_moe: int
    tensor_split: str
    context_tokens: int
    device_index: int
    device: str
    part: str
    depth_tokens: int
    estimated: float | None
    low: float | None
    high: float | None
    measured: float
    verdict: Verdict
    note: str
    environment: Environment


def describe_environment(
    machine: Machine, engine: Engine, driver: str, measured_on: str, *, full: bool = False
) -> Environment:
    """The surroundings that every row of a run shares; `full` says that ghosts held random values."""
    card = machine.accelerators[0]
    return Environment(
        machine=machine.name,
        backend=card.backend,
        card=name_cards(machine.accelerators),
        card_kind=str(card.kind),
        n_cards=len(machine.accelerators),
        card_memory_bytes=card.memory_bytes,
        card_bandwidth_bytes_per_s=card.bandwidth_bytes_per_s,
        card_fp16_flops=card.fp16_flops,
        card_memory_type=card.memory_type,
        driver=driver,
        llama_cpp_python=engine.version,
        build=engine.features,
        weights="random" if full else "zeros",
        measured_on=measured_on,
    )


def list_rows(result: CaseResult, machine: Machine, environment: Environment) -> Iterator[Row]:
    """Every figure of one case beside its estimate: parts by device, the driver's share, speeds."""
    case = result.case

    def row(
        at: int,
        device: str,
        part: str,
        estimated: float | None,
        measured: float,
        verdict: Verdict,
        note: str = "",
        ends: tuple[float, float] | None = None,
        depth: int = 0,
    ) -> Row:
        return Row(
            shape=case.shape,
            model_id=case.spec.model_id,
            quant=case.quant,
            placement=case.placement,
            gpu_layers=case.offload.gpu_layers or 0,
            cpu_moe=case.offload.cpu_moe or 0,
            tensor_split=",".join(f"{share:g}" for share in case.offload.tensor_split or ()),
            context_tokens=result.workload.context_tokens,
            device_index=at,
            device=device,
            part=part,
            depth_tokens=depth,
            estimated=estimated,
            low=ends[0] if ends else None,
            high=ends[1] if ends else None,
            measured=measured,
            verdict=verdict,
            note=note,
            environment=environment,
        )

    uses = result.estimate.memory.devices
    for at, (use, theirs) in enumerate(zip(uses, result.parts, strict=True)):
        for part in PARTS:
            ours, measured = getattr(use.parts, part), getattr(theirs, part)
            if ours or measured:
                verdict, note = judge_bytes(result, at, part, ours, measured)
                yield row(at, use.name, part, ours, measured, verdict, note)
    yield from (row(*figures) for figures in _list_driver_figures(result, machine))
    if result.heaviest_bytes and not machine.is_unified:
        extra = result.parts[1].compute_bytes - uses[1].parts.compute_bytes
        assumed = uses[1].parts.overhead_bytes - ACCELERATOR_OVERHEAD_BYTES.get(environment.backend, 0)
        note = (
            f"{extra / result.heaviest_bytes:.1%} of the heaviest layer's {result.heaviest_bytes:,} bytes on the host, "
            f"{LARGEST_TENSOR_SHARE:.0%} assumed where it counts; the largest matrix has "
            f"{result.largest_tensor_bytes:,} bytes"
        )
        yield row(1, uses[1].name, COPIES, assumed, extra, Verdict.REPORTED, note)
    for timed in result.timed:
        m, guess = timed.measurement, timed.estimate
        at, name = (0, uses[0].name) if machine.is_unified else (1, uses[1].name)
        verdict = judge_speed(m.tokens_per_s, None if guess is None else (guess.low, guess.high))
        note = f"{m.low_tokens_per_s:.4g} to {m.high_tokens_per_s:.4g} in {len(m.seconds)} times"
        yield row(
            at,
            name,
            f"{m.kind}_tokens_per_s",
            guess.mid if guess else None,
            m.tokens_per_s,
            verdict,
            note,
            (guess.low, guess.high) if guess else None,
            count_speed_tokens(m),
        )


def _list_driver_figures(
    result: CaseResult, machine: Machine
) -> Iterator[tuple[int, str, str, float | None, float, Verdict, str]]:
    """What each card holds beyond the buffers, and how that grew with the work; nothing where no driver tells."""
    if machine.is_unified:
        return
    for at, (loaded, worked) in enumerate(zip(result.loaded_bytes, result.worked_bytes, strict=True), start=1):
        card = machine.accelerators[at - 1]
        if loaded is None:
            continue
        assumed = ACCELERATOR_OVERHEAD_BYTES.get(card.backend)
        driver = loaded - result.parts[at].total_bytes
        yield at, card.name, DRIVER, assumed, driver, Verdict.REPORTED, "driver's figure less all buffers, once loaded"
        if worked is not None:
            note = "scratch memory that kernels take on their way; it belongs to no buffer"
            grown = worked - loaded - (result.grown_parts[at].total_bytes - result.parts[at].total_bytes)
            yield at, card.name, GROWTH, None, grown, Verdict.REPORTED, note


def judge_bytes(result: CaseResult, at: int, part: str, ours: int, theirs: int) -> tuple[Verdict, str]:
    """How a part on a device compares, and the reason's name where there is a known one. `ours` is the estimate."""
    more = theirs - ours
    # read in the log, or what is left of a sum once the log's figure is taken off
    rounded = part in ("output_bytes", "recurrent_state_bytes", "kv_cache_bytes")
    if abs(more) <= (ROUNDED_BYTES if rounded else 0):
        return Verdict.EQUAL, ""
    note = explain(result, at, part, more)
    if abs(more) <= max(CLOSE_SHARE * theirs, CLOSE_BYTES):
        return Verdict.CLOSE, note
    return (Verdict.EXPLAINED if note else Verdict.OFF), note


def explain(result: CaseResult, at: int, part: str, more: int) -> str:
    """The known reason for which llama.cpp takes `more` bytes than the estimate (negative: less); '' for none."""
    workload, spec = result.workload, result.case.spec
    if part == "weight_bytes":
        held = result.parts[0].weight_bytes
        if at == 0 and more > 0 and held <= result.mapped_bytes + PAGE_BYTES:
            return "mapped file: its pages from the host's first tensor to its last, and copies reordered for CPUs"
        if at > 0 and 0 < more <= result.padding_bytes:
            return "padding: cards fill quantized rows up to 512 elements and align tensors to 128 bytes"
    if part == "compute_bytes" and at > 0:
        if at == 1 and 0 < more <= result.heaviest_bytes:
            return f"host weights are copied to this card for prompts (op-offload): see {COPIES}"
        pinned = PIPELINE_COPIES * spec.hidden_dim * 4 * min(workload.n_ubatch, workload.n_ctx_tokens)
        if result.n_copies > 1 and -pinned <= more < 0:
            return "pinned norms: a real load keeps them on their layer's card, so fewer inputs cross between cards"
    return ""


def judge_speed(measured: float, ends: tuple[float, float] | None) -> Verdict:
    """Where a speed lies; reported only where there is no interval."""
    if ends is None:
        return Verdict.REPORTED
    return Verdict.BELOW if measured < ends[0] else Verdict.ABOVE if measured > ends[1] else Verdict.INSIDE


def summarize(rows: Sequence[Row]) -> str:
    """The rows in a few lines: parts, known reasons, what was assumed until now, speeds."""
    cases = dict.fromkeys((r.model_id, r.quant, r.placement) for r in rows)
    lines = [f"{len(cases)} cases of {len({r.model_id for r in rows})} models"]
    lines.append(f"{'part':24}{'equal':>7}{'close':>7}{'explained':>11}{'off':>5}  worst")
    for part in PARTS:
        mine = [r for r in rows if r.part == part]
        if mine:
            counts = [sum(r.verdict is v for r in mine) for v in list(Verdict)[:4]]
            worst = max(mine, key=lambda r: abs(r.measured - (r.estimated or 0)))
            more = worst.measured - (worst.estimated or 0)
            said = f"{more / MIB:+.2f} MiB: {worst.model_id} {worst.quant}, {worst.placement}, {worst.device}"
            counted = f"{counts[0]:>7}{counts[1]:>7}{counts[2]:>11}{counts[3]:>5}"
            lines.append(f"{part:24}{counted}  {said if more else 'none'}")
    reasons = dict.fromkeys(r.note for r in rows if r.note and r.part in PARTS)
    lines += [f"reason: {note} ({sum(r.note == note for r in rows)} times)" for note in reasons]
    lines += _summarize_assumed(rows)
    for part in SPEEDS:
        told = [r for r in rows if r.part == part and r.estimated]
        if told:
            inside = sum(r.verdict is Verdict.INSIDE for r in told)
            error = median(abs(r.measured / (r.estimated or 1) - 1) for r in told)
            lines.append(f"{part}: {inside} of {len(told)} inside the interval, median error of the middle {error:.0%}")
    return "\n".join(lines)


def _summarize_assumed(rows: Sequence[Row]) -> Iterator[str]:
    driver = [r for r in rows if r.part == DRIVER]
    if driver:
        low, high = min(r.measured for r in driver), max(r.measured for r in driver)
        assumed = driver[0].estimated
        against = f"{assumed / MIB:.0f} MiB assumed" if assumed is not None else "nothing is assumed for it"
        middle = median(r.measured for r in driver) / MIB
        yield f"driver: {middle:.0f} MiB on a card ({low / MIB:.0f} to {high / MIB:.0f}), {against}"
    else:
        yield "driver: it does not tell what a process holds"
    growth = [r.measured for r in rows if r.part == GROWTH]
    if growth:
        yield f"scratch of kernels after the work: {median(growth) / MIB:.0f} MiB, at most {max(growth) / MIB:.0f}"
    for r in (r for r in rows if r.part == COPIES):
        assumed = (r.estimated or 0) / MIB
        name = f"{r.model_id} {r.quant}, {r.placement}"
        yield f"op-offload, {name}: {r.measured / MIB:.1f} MiB, {assumed:.1f} assumed: {r.note}"


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write the table whole or not at all: a reader never sees half of it."""
    fields = [f.name for f in dataclasses.fields(Row) if f.name != "environment"]
    shared = [f.name for f in dataclasses.fields(Environment)]
    unfinished = path.with_name(f"{path.name}.part")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*fields, *shared])
        for row in rows:
            values = [getattr(row, name) for name in fields] + [getattr(row.environment, name) for name in shared]
            writer.writerow(["" if v is None else f"{v:.10g}" if isinstance(v, float) else v for v in values])
    unfinished.replace(path)


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a table. Raises BadInputError naming file and line for one that is none."""
    out = []
    with path.open(newline="", encoding="utf-8") as file:
        for n, record in enumerate(csv.DictReader(file), start=2):
            try:
                out.append(_read_row(record))
            except (KeyError, ValueError, TypeError) as error:
                raise BadInputError(f"{path.name}, line {n}: no row of a run on accelerators: {error}") from None
    return tuple(out)


_COUNTS = ("gpu_layers", "cpu_moe", "context_tokens", "device_index", "depth_tokens", "n_cards", "card_memory_bytes")
_NUMBERS = ("estimated", "low", "high", "card_bandwidth_bytes_per_s", "card_fp16_flops")


def _read_row(record: dict[str, str]) -> Row:
    values: dict[str, Any] = {**record, "measured": float(record["measured"]), "verdict": Verdict(record["verdict"])}
    values |= {name: int(record[name]) for name in _COUNTS}
    values |= {name: float(record[name]) if record[name] else None for name in _NUMBERS}
    shared = {f.name: values.pop(f.name) for f in dataclasses.fields(Environment)}
    return Row(**values, environment=Environment(**shared))

"""The accuracy ledger: how far the closed forms are from llama.cpp and from published figures, worst case named.

Against llama.cpp every model is asked in one quantization under every workload of `evals.check` (contexts x slots x
cache types x flash attention) and in all its other quantizations under the first of them, for only weights depend on
the quantization. Each model is also laid over two imagined cards, where every device is compared by itself. The table
has one row per reference, architecture and part.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evals.check import Checked, compare, list_workloads
from evals.dry_run import DryRunFailure, EngineChild, ask_dry_runs
from evals.imagined import ImaginedMachine
from evals.measure import ROUNDED_BYTES, list_parts
from evals.verify import compare_devices
from sizing.errors import DataFileError
from sizing.estimate import estimate
from sizing.hardware import Device, DeviceKind, Machine
from sizing.layers import LayerTable
from sizing.memory import WeightBytes
from sizing.placement import Offload
from sizing.specs import ModelSpec
from sizing.units import format_bytes
from sizing.workload import Workload

LEDGER_FILE = Path(__file__).resolve().parent.parent / "docs" / "ledger.csv"

ENGINE = "llama.cpp"
PUBLISHED = "published"

EVERY_WORKLOAD_QUANT = "Q4_K_M"

UNANSWERED = "unanswered"
"""The part under which cases stand that llama.cpp gave no answer to."""


PLACED_PARTS = {
    "weight_bytes": "device_weights",
    "kv_cache_bytes": "device_caches",
    "recurrent_state_bytes": "device_caches",
    "compute_bytes": "device_compute",
}
"""Parts of single devices, by the part of an estimate."""

PLACED_CONTEXT_TOKENS = 8192

TWO_CARDS = Machine(
    "two large cards",
    Device("host", DeviceKind.CPU, 2**50, 2**50),
    tuple(Device(f"card {i}", DeviceKind.GPU, 2**50, 2**50, backend="cuda") for i in (1, 2)),
)
"""Cards that hold anything, so that every way of laying out is possible."""


@dataclass(frozen=True, slots=True)
class LedgerCase:
    """One comparison: formula less reference in bytes, None where the reference gave none (`case` then says why).

    `reference_bytes` 0 means not kept. `rounded_bytes` is what the reference may have rounded away.
    """

    compared_with: str
    architecture: str
    part: str
    model_id: str
    case: str
    error_bytes: int | None
    reference_bytes: int = 0
    rounded_bytes: int = 0

    @property
    def is_equal(self) -> bool:
        """Equal as far as the reference tells."""
        return self.error_bytes is not None and abs(self.error_bytes) <= self.rounded_bytes


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """Cases of one reference, architecture and part.

    Median and 95th percentile are of absolute errors in bytes, what rounding explains counted as none. `worst_bytes`
    keeps its sign (positive: the formula asks for more); `worst_percent` is None where not known.
    """

    compared_with: str
    architecture: str
    part: str
    n_models: int
    n_cases: int
    n_equal: int
    median_bytes: int
    p95_bytes: int
    worst_bytes: int
    worst_percent: float | None
    worst_case: str
    engine_version: str
    as_of: str


def check_everything(
    spec: ModelSpec, weight_bytes: Mapping[tuple[str, str], int], engine: EngineChild, quants: Sequence[str]
) -> Iterator[Checked]:
    """One model against the engine: every workload in one of `quants`, the first workload in all others."""
    table = LayerTable.from_specs([spec])
    workloads = list_workloads(spec.context_tokens)
    whole = EVERY_WORKLOAD_QUANT if EVERY_WORKLOAD_QUANT in quants else quants[0]
    for quant in quants:
        asked = workloads if quant == whole else workloads[:1]
        answers = ask_dry_runs(spec, quant, asked, engine)
        for workload, answer in zip(asked, answers, strict=True):
            yield compare(table, spec, quant, workload, answer, weight_bytes.get((spec.model_id, quant)))


def list_offloads(spec: ModelSpec, has_experts: bool) -> tuple[tuple[str, Offload], ...]:
    """The ways in which each model is laid over two cards, in words and as an offload."""
    everything, half = spec.n_layers + 1, spec.n_layers // 2
    ways = [
        ("all layers on two cards", Offload(everything, (1.0, 1.0))),
        ("half of the layers", Offload(half, (3.0, 1.0))),
    ]
    if has_experts:
        ways.append(("half of the experts on the host", Offload(everything, (1.0, 1.0), half)))
    return tuple(ways)


def check_placed(spec: ModelSpec, weights: WeightBytes, imagined: ImaginedMachine) -> Iterator[LedgerCase]:
    """One model over two imagined cards: every part of every device, one context."""
    workload = Workload(min(PLACED_CONTEXT_TOKENS, spec.context_tokens))
    for words, offload in list_offloads(spec, any(weights.layer_expert_bytes)):
        case = f"{spec.model_id} at {weights.quant}, {describe_workload(workload)}, {words}"
        answer = imagined.ask(spec, weights.quant, workload, offload)
        if isinstance(answer, DryRunFailure):
            said = f"{answer.reason}: {answer.message}"
            yield LedgerCase(ENGINE, spec.architecture, UNANSWERED, spec.model_id, said, None)
            continue
        ours = estimate(spec, weights, workload, TWO_CARDS, offload).memory
        parts = list_parts(answer, imagined.endpoints)
        theirs = replace(ours, devices=tuple(replace(d, parts=p) for d, p in zip(ours.devices, parts, strict=True)))
        for d in compare_devices(ours, theirs):
            part = PLACED_PARTS.get(d.part)
            if part is not None:
                rounded = ROUNDED_BYTES if d.is_rounded else 0
                where, n_bytes = f"{case}: {d.device}", d.engine_bytes
                yield LedgerCase(
                    ENGINE, spec.architecture, part, spec.model_id, where, d.difference_bytes, n_bytes, rounded
                )


def describe_workload(workload: Workload) -> str:
    """A workload in a few words: '32768 x 4, q8_0, flash attention'."""
    flash = "flash attention" if workload.flash_attention else "no flash attention"
    return f"{workload.context_tokens} x {workload.n_parallel}, {workload.kv_type_k}, {flash}"


def list_engine_cases(checked: Checked) -> tuple[LedgerCase, ...]:
    """One case per part that both sides answered, or one unanswered case."""
    c = checked
    case = f"{c.model_id} at {c.quant}, {describe_workload(c.workload)}"
    if c.failure is not None:
        return (LedgerCase(ENGINE, c.architecture, UNANSWERED, c.model_id, c.failure, None),)
    parts = (
        ("weights", c.weight_error_bytes, 0, 0),
        ("caches", c.cache_error_bytes, 0, 0),
        ("compute", c.compute_error_bytes, c.compute_engine_bytes, 0),
        ("output", c.output_error_bytes, 0, ROUNDED_BYTES),
    )
    return tuple(
        LedgerCase(ENGINE, c.architecture, part, c.model_id, case, error, reference, rounded)
        for part, error, reference, rounded in parts
        if error is not None
    )


def build_ledger(cases: Sequence[LedgerCase], engine_version: str, as_of: str) -> tuple[LedgerRow, ...]:
    """The table, the engine's rows first, then architectures and parts in alphabetic order."""
    groups: dict[tuple[str, str, str], list[LedgerCase]] = {}
    for case in cases:
        groups.setdefault((case.compared_with, case.architecture, case.part), []).append(case)
    rows = [_sum_up(group, engine_version, as_of) for group in groups.values()]
    return tuple(sorted(rows, key=lambda r: (r.compared_with != ENGINE, r.architecture, r.part)))


def _sum_up(cases: Sequence[LedgerCase], engine_version: str, as_of: str) -> LedgerRow:
    answered = [(0 if c.is_equal else abs(c.error_bytes), c) for c in cases if c.error_bytes is not None]
    errors = sorted(size for size, _ in answered)
    first = cases[0]
    worst = max(answered, key=lambda pair: pair[0])[1] if answered else first
    error = 0 if worst.is_equal else worst.error_bytes or 0
    return LedgerRow(
        compared_with=first.compared_with,
        architecture=first.architecture,
        part=first.part,
        n_models=len({c.model_id for c in cases}),
        n_cases=len(cases),
        n_equal=sum(c.is_equal for c in cases),
        median_bytes=find_percentile(errors, 0.5),
        p95_bytes=find_percentile(errors, 0.95),
        worst_bytes=error,
        worst_percent=round(100 * error / worst.reference_bytes, 4) if worst.reference_bytes else None,
        worst_case=worst.case if error or not answered else "",
        engine_version=engine_version,
        as_of=as_of,
    )


def find_percentile(ordered: Sequence[int], share: float) -> int:
    """The smallest value that at least `share` of the `ordered` values do not exceed (nearest rank); 0 for none."""
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1] if ordered else 0


@dataclass(frozen=True, slots=True)
class PartSummary:
    """One part over all architectures of one reference; `worst` is the row with the largest error, None for none."""

    compared_with: str
    part: str
    n_models: int
    n_cases: int
    n_equal: int
    worst: LedgerRow | None


def sum_up_parts(rows: Sequence[LedgerRow]) -> tuple[PartSummary, ...]:
    """The ledger by part, the engine first."""
    groups: dict[tuple[str, str], list[LedgerRow]] = {}
    for row in rows:
        groups.setdefault((row.compared_with, row.part), []).append(row)
    found = []
    for (compared_with, part), group in groups.items():
        worst = max(group, key=lambda r: abs(r.worst_bytes))
        n_models, n_cases, n_equal = (sum(getattr(r, n) for r in group) for n in ("n_models", "n_cases", "n_equal"))
        found.append(PartSummary(compared_with, part, n_models, n_cases, n_equal, worst if worst.worst_bytes else None))
    order = ("weights", "caches", "kv_cache", "compute", "output", *dict.fromkeys(PLACED_PARTS.values()))
    order = (*order, "device_total", UNANSWERED)
    return tuple(sorted(found, key=lambda s: (s.compared_with != ENGINE, order.index(s.part))))


def format_summary(rows: Sequence[LedgerRow]) -> str:
    """The ledger by part as text, the worst case named."""
    lines = []
    for s in sum_up_parts(rows):
        line = f"{s.compared_with:10} {s.part:15} {s.n_equal:6,} of {s.n_cases:6,} cases of {s.n_models:3} models equal"
        if s.worst is not None:
            share = "" if s.worst.worst_percent is None else f" ({s.worst.worst_percent:+.2f}%)"
            size = format_bytes(abs(s.worst.worst_bytes))
            sign = "+" if s.worst.worst_bytes > 0 else "-"
            line += f"; worst {sign}{size}{share}: {s.worst.worst_case}"
        elif s.part == UNANSWERED:
            line = f"{s.compared_with:10} {s.part:15} {s.n_cases:6,} cases of {s.n_models:3} models"
        lines.append(line)
    return "\n".join(lines)


COLUMNS = (
    "compared_with",
    "architecture",
    "part",
    "n_models",
    "n_cases",
    "n_equal",
    "median_bytes",
    "p95_bytes",
    "worst_bytes",
    "worst_percent",
    "worst_case",
    "engine_version",
    "as_of",
)


def write_ledger(path: Path, rows: Sequence[LedgerRow]) -> None:
    """Write the table as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            values = [getattr(row, name) for name in COLUMNS]
            writer.writerow(["" if value is None else value for value in values])


def load_ledger(path: Path = LEDGER_FILE) -> tuple[LedgerRow, ...]:
    """The table as it was written; empty where there is none. Raises DataFileError naming file and line."""
    if not path.exists():
        return ()
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        for cells in reader:
            try:
                rows.append(_read_row(cells))
            except (KeyError, TypeError, ValueError) as error:
                raise DataFileError(str(path), reader.line_num, f"no ledger row ({error}); write it anew") from error
    return tuple(rows)


def _read_row(cells: Mapping[str, str]) -> LedgerRow:
    return LedgerRow(
        compared_with=cells["compared_with"],
        architecture=cells["architecture"],
        part=cells["part"],
        n_models=int(cells["n_models"]),
        n_cases=int(cells["n_cases"]),
        n_equal=int(cells["n_equal"]),
        median_bytes=int(cells["median_bytes"]),
        p95_bytes=int(cells["p95_bytes"]),
        worst_bytes=int(cells["worst_bytes"]),
        worst_percent=float(cells["worst_percent"]) if cells["worst_percent"] else None,
        worst_case=cells["worst_case"],
        engine_version=cells["engine_version"],
        as_of=cells["as_of"],
    )

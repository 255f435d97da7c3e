"""What a bench says, how it is kept, and what it teaches about this machine."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Any

from evals.home import find_home
from evals.lines import append_line
from sizing.errors import BadInputError
from sizing.hardware import Calibration, Device, Machine
from sizing.quants import QUANTS, find_quant_class
from sizing.throughput import Interval

RESULTS_FILE = Path("runs") / "bench.jsonl"
"""Where results are kept in the person's folder: one JSON object per line, only ever appended to."""

RECORD_VERSION = 2

BUSY_SHARE = 0.9
"""Below this share of their time the threads were kept waiting by other programs, and the figure says so."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One thing timed: `kind` 'prefill' or 'decode', at a depth of tokens already in the cache.

    `seconds` of each repetition of `n_tokens`. `filled` says how the depth was reached: 'empty', 'computed' (a prompt
    of that length) or 'copied' (one piece of cache, many times). `cpu_share` is the share of their time in which the
    threads really ran: below one, other programs were in the way.
    """

    kind: str
    depth_tokens: int
    n_tokens: int
    seconds: tuple[float, ...]
    filled: str
    cpu_share: float

    def __post_init__(self) -> None:
        if not self.seconds or min(self.seconds) <= 0 or self.n_tokens < 1:
            raise BadInputError(f"a measurement wants tokens and repetitions above zero seconds, got {self!r}")

    @property
    def tokens_per_s(self) -> float:
        """The median over repetitions."""
        return median(self.rates)

    @property
    def rates(self) -> tuple[float, ...]:
        """Tokens per second of each repetition."""
        return tuple(self.n_tokens / s for s in self.seconds)

    @property
    def low_tokens_per_s(self) -> float:
        """The slowest repetition."""
        return min(self.rates)

    @property
    def high_tokens_per_s(self) -> float:
        """The fastest repetition."""
        return max(self.rates)

    @property
    def deviation_tokens_per_s(self) -> float:
        """Median absolute deviation from the median."""
        return median(abs(rate - self.tokens_per_s) for rate in self.rates)


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something not timed, and why."""

    kind: str
    depth_tokens: int
    reason: str


@dataclass(frozen=True, slots=True)
class ExpectedSpeed:
    """What the formulas said before: tokens per second, low, mid and high."""

    kind: str
    depth_tokens: int
    tokens_per_s: Interval


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Resident bytes of the process. `before_bytes`: with the engine loaded and no model.

    `private_bytes` is what cannot be dropped (cache, buffers, repacked weights) and `mapped_bytes` the file's pages
    that were resident with it; `peak_bytes` the highest sum ever. A repacked model is in both for a while.
    `expected_bytes` is the estimate of weights, caches and buffers, without the process itself.
    """

    expected_bytes: int
    before_bytes: int
    peak_bytes: int
    private_bytes: int
    mapped_bytes: int

    @property
    def taken_bytes(self) -> int:
        """The peak less what the process took without a model."""
        return self.peak_bytes - self.before_bytes


@dataclass(frozen=True, slots=True)
class BenchResult:
    """One model timed on one machine. `subject` is 'ghost' or 'file'.

    `measured_at` is UTC, ISO 8601. `file_bytes` counts the file's length, `disk_bytes` what it took on disk.
    `bandwidth_bytes_per_s` is the host's as it was known then.
    """

    run_id: str
    measured_at: str
    subject: str
    model_id: str
    quant: str
    is_moe: bool | None
    description: str
    file_bytes: int
    disk_bytes: int
    n_ctx_tokens: int
    n_threads: int
    n_gpu_layers: int
    host_name: str
    bandwidth_bytes_per_s: float | None
    llama_cpp_version: str
    load_s: float
    elapsed_s: float
    repacked: bool
    memory: MemoryUse
    measurements: tuple[Measurement, ...]
    skipped: tuple[Skipped, ...]
    expected: tuple[ExpectedSpeed, ...]
    notes: tuple[str, ...]

    def find(self, kind: str, depth_tokens: int = 0) -> Measurement | None:
        """The measurement of a kind at a depth, None where it was skipped."""
        found = (m for m in self.measurements if (m.kind, m.depth_tokens) == (kind, depth_tokens))
        return next(found, None)

    def find_ratio(self, kind: str, depth_tokens: int = 0) -> float | None:
        """Measured over estimated (its middle); None where either is missing."""
        measured = self.find(kind, depth_tokens)
        guess = next((e for e in self.expected if (e.kind, e.depth_tokens) == (kind, depth_tokens)), None)
        if measured is None or guess is None:
            return None
        return measured.tokens_per_s / guess.tokens_per_s.mid


class RefusalReason(StrEnum):
    """Why nothing was timed."""

    TOO_LARGE = "too large"
    NO_ROOM = "no room on disk"
    BUSY = "another bench is running"
    ENGINE = "the engine gave no answer"


@dataclass(frozen=True, slots=True)
class BenchRefusal:
    """Nothing was timed: `reason`, one line a person can act on, and the bytes wanted and usable where they decide."""

    reason: RefusalReason
    message: str
    needed_bytes: int | None = None
    usable_bytes: int | None = None


def calibrate(results: Iterable[BenchResult], host: Device) -> tuple[Calibration, ...]:
    """What results of this host teach, one value per class of quantization and kind of model.

    Estimates follow the host's bandwidth as it is known, which may be read differently another time: ratios are
    brought to the bandwidth of `host`. Results without an estimate, of a busy machine (`BUSY_SHARE`), or with layers
    on an accelerator teach nothing here.
    """
    groups: dict[tuple[str, bool], list[BenchResult]] = {}
    for result in results:
        decode = result.find("decode")
        if result.host_name != host.name or result.n_gpu_layers or result.quant not in QUANTS or decode is None:
            continue
        if result.find_ratio("decode") is not None and decode.cpu_share >= BUSY_SHARE and result.is_moe is not None:
            groups.setdefault((find_quant_class(result.quant), result.is_moe), []).append(result)
    return tuple(_calibrate_group(host, *key, group) for key, group in sorted(groups.items()))


def _calibrate_group(host: Device, quant_class: str, is_moe: bool, group: Sequence[BenchResult]) -> Calibration:
    decode = [ratio * _bandwidth_change(r, host) for r in group if (ratio := r.find_ratio("decode")) is not None]
    prefill = [ratio for r in group if (ratio := r.find_ratio("prefill")) is not None]
    return Calibration(
        host.name,
        quant_class,
        is_moe,
        decode_ratio=median(decode),
        prefill_ratio=median(prefill) if prefill else None,
        n_results=len(group),
        measured_on=max(r.measured_at for r in group)[:10],
    )


def _bandwidth_change(result: BenchResult, host: Device) -> float:
    """The bandwidth a result's estimate assumed over the one assumed now; 1 where either is unknown."""
    if not result.bandwidth_bytes_per_s or not host.bandwidth_bytes_per_s:
        return 1.0
    return result.bandwidth_bytes_per_s / host.bandwidth_bytes_per_s


def calibrate_machine(machine: Machine, home: Path | None = None) -> Machine:
    """This machine with everything its kept results teach; `home` None means the person's folder.

    A folder that cannot be made or read teaches nothing.
    """
    try:
        results = load_results(find_home() if home is None else home)
    except OSError:
        return machine
    return dataclasses.replace(machine, calibrations=calibrate(results, machine.host))


def append_result(home: Path, result: BenchResult) -> Path:
    """Keep a result in the person's folder, flushed to disk; where."""
    path = home / RESULTS_FILE
    append_line(path, {"version": RECORD_VERSION, **dataclasses.asdict(result)})
    return path


def load_results(home: Path) -> tuple[BenchResult, ...]:
    """All results kept, oldest first. A line that is torn or of another version is left out."""
    try:
        lines = (home / RESULTS_FILE).read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return ()
    return tuple(result for line in lines if (result := parse_result(line)) is not None)


def parse_result(line: str) -> BenchResult | None:
    """One kept line as a value; None when it is torn or of another version."""
    try:
        record: dict[str, Any] = json.loads(line)
        if record.pop("version") != RECORD_VERSION:
            return None
        datetime.fromisoformat(record["measured_at"])
        record["memory"] = MemoryUse(**record["memory"])
        record["measurements"] = tuple(
            Measurement(**{**m, "seconds": tuple(m["seconds"])}) for m in record["measurements"]
        )
        record["skipped"] = tuple(Skipped(**s) for s in record["skipped"])
        record["expected"] = tuple(
            ExpectedSpeed(**{**e, "tokens_per_s": Interval(**e["tokens_per_s"])}) for e in record["expected"]
        )
        record["notes"] = tuple(record["notes"])
        return BenchResult(**record)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None

"""How much more a quantization costs in one task than in another, from files that were run on many benchmarks.

`catalog.quant_loss` gives the loss in points of MMLU, where an answer is one letter. Answers that are written out
lose more, since a wrong token early spoils what follows. Where the same quantized files have MMLU and benchmarks with
written answers, the points lost in a task are proportional to those lost in MMLU: a line through the origin, with its
standard error.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from catalog.quality import BENCHMARKS
from catalog.quant_loss import YARDSTICK, QuantLossEstimate, QuantRow, list_studied_models
from sizing.errors import DataFileError
from sizing.evidence import Z_80
from sizing.recommend import TASKS

ONE_LETTER = frozenset({YARDSTICK, "CMMLU", "C-Eval"})
"""Benchmarks whose answer is one letter. They speak for no task here, not even for languages, where people judge the
loss to be larger than such scores show (K. Marchisio et al., arXiv 2407.03211)."""


@dataclass(frozen=True, slots=True)
class TaskFactor:
    """Points lost in a task for each point lost in MMLU, with the standard error; `n_files` were measured in both.

    `benchmarks` are those that speak for it: the task's own, or all with written answers where none of its own was run.
    """

    task: str
    factor: float
    error: float
    n_files: int
    benchmarks: tuple[str, ...]


def fit_task_factors(rows: Sequence[QuantRow]) -> dict[str, TaskFactor]:
    """The factor of every task, least squares through the origin over the files that have MMLU and another benchmark.

    Raises DataFileError where fewer than three files have both.
    """
    studied = list_studied_models(rows)
    losses: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row.model in studied and row.benchmark_score is not None and row.benchmark_base is not None:
            losses[row.model, row.quant][row.benchmark] = row.benchmark_base - row.benchmark_score
    files = [lost for lost in losses.values() if YARDSTICK in lost and lost.keys() - ONE_LETTER]
    if len(files) < 3:
        raise DataFileError(
            "quant_quality.csv", 1, f"wanted three files with {YARDSTICK} and written answers, got {len(files)}"
        )
    run = sorted({b for lost in files for b in lost if b not in ONE_LETTER})
    return {task: _fit_line(task, files, _pick_benchmarks(task, run)) for task in TASKS}


def _pick_benchmarks(task: str, run: Sequence[str]) -> tuple[str, ...]:
    own = tuple(b for b in run if b in BENCHMARKS and task in BENCHMARKS[b].tasks)
    return own or tuple(run)


def _fit_line(task: str, files: Sequence[Mapping[str, float]], benchmarks: tuple[str, ...]) -> TaskFactor:
    pairs = []
    for lost in files:
        told = [lost[b] for b in benchmarks if b in lost]
        if told:
            pairs.append((lost[YARDSTICK], sum(told) / len(told)))
    square = sum(x * x for x, _ in pairs)
    factor = sum(x * y for x, y in pairs) / square
    left = sum((y - factor * x) ** 2 for x, y in pairs)
    return TaskFactor(task, factor, math.sqrt(left / max(1, len(pairs) - 1) / square), len(pairs), benchmarks)


def scale_loss(loss: QuantLossEstimate, factor: TaskFactor) -> QuantLossEstimate:
    """A loss in points of MMLU as points of a task; both uncertainties add up in squares."""
    points, f = loss.points * factor.factor, factor.factor
    own = Z_80 * factor.error * loss.points
    low = points - math.hypot(f * (loss.points - loss.low), own)
    high = points + math.hypot(f * (loss.high - loss.points), own)
    return replace(loss, points=points, low=max(0.0, low), high=high)

"""What runs amount to: scores with intervals, two runs side by side, and their records for CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from evals.intervals import bootstrap_mean, interval_of_scores
from evals.plans import write_plan
from evals.run_files import EvalRun, ItemResult, RunState, SuiteChosen
from evals.stats import Comparison, adjust_comparisons, compare_paired
from sizing.safe_text import guard_formula

BITS_PER_BYTE = "bits_per_byte"
"""The metric of a text that is read, not answered: bits, so neither a share nor bounded by one."""


@dataclass(frozen=True, slots=True)
class CategoryScore:
    """The mean score of one category of a suite's items."""

    category: str
    n_items: int
    value: float


@dataclass(frozen=True, slots=True)
class SuiteScore:
    """One suite's score so far: the mean over `n_items`, with the interval that 95 of 100 such would hold.

    `value`, `low` and `high` are None before the first item. `method` says how the interval was made, `n_cut` counts
    answers that were cut at their limit of tokens.
    """

    suite: str
    title: str
    n_items: int
    n_planned: int
    value: float | None
    low: float | None
    high: float | None
    method: str
    chance: float
    metric: str
    is_higher_better: bool
    n_cut: int
    categories: tuple[CategoryScore, ...]
    why_n: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in figures. Speeds are measured in this run, None where it has none; bytes are its peak, 0 unknown.

    `seconds_left` is told while it runs and its pace is known.
    """

    run: EvalRun
    scores: tuple[SuiteScore, ...]
    n_done: int
    n_planned: int
    elapsed_s: float
    items_per_s: float | None
    seconds_left: float | None
    prefill_tokens_per_s: float | None
    decode_tokens_per_s: float | None
    peak_bytes: int

    @property
    def state(self) -> RunState:
        """The run's."""
        return self.run.state


@dataclass(frozen=True, slots=True)
class SuiteComparison:
    """One suite of two runs, item by item. `comparison` is None where they cannot be compared; `why_not` says why.

    `disagreements` are the ids of the items that the runs scored differently.
    """

    suite: str
    title: str
    comparison: Comparison | None
    why_not: str
    disagreements: tuple[str, ...]


def sum_up(run: EvalRun) -> RunSummary:
    """A run in figures, from what its file says."""
    by_suite: dict[str, list[ItemResult]] = {}
    for item in run.items:
        by_suite.setdefault(item.suite, []).append(item)
    scores = tuple(score_suite(chosen, by_suite.get(chosen.suite, ()), run.plan.settings.seed) for chosen in run.chosen)
    elapsed_s = sum(pace.elapsed_s for pace in run.paces)
    n_done = len(run.items) + len(run.windows)
    n_planned = sum(chosen.n_planned for chosen in run.chosen)
    items_per_s = n_done / elapsed_s if n_done and elapsed_s > 0 else None
    left = n_planned - n_done
    is_going = run.state is RunState.RUNNING and items_per_s is not None and left > 0
    return RunSummary(
        run,
        scores,
        n_done,
        n_planned,
        elapsed_s,
        items_per_s,
        left / items_per_s if is_going and items_per_s else None,
        find_rate(sum(p.prefill_tokens for p in run.paces), sum(p.prefill_s for p in run.paces)),
        find_rate(sum(p.decode_tokens for p in run.paces), sum(p.decode_s for p in run.paces)),
        max((pace.peak_bytes for pace in run.paces), default=0),
    )


def find_rate(n_tokens: int, seconds: float) -> float | None:
    """Tokens per second; None where nothing was counted."""
    return n_tokens / seconds if n_tokens and seconds > 0 else None


def score_suite(chosen: SuiteChosen, items: Sequence[ItemResult], seed: int) -> SuiteScore:
    """The score of a suite's items with its interval: Wilson's where each is right or wrong, else a bootstrap."""
    scored = [item for item in items if item.score is not None]
    values = [item.score for item in scored if item.score is not None]
    if chosen.metric == BITS_PER_BYTE:
        values = spread_bits(scored, values)
    interval = None
    if values:
        in_range = chosen.metric != BITS_PER_BYTE and min(values) >= 0 and max(values) <= 1
        interval = interval_of_scores(values, seed) if in_range else bootstrap_mean(values, seed)
    by_category: dict[str, list[float]] = {}
    for item, value in zip(scored, values, strict=True):
        by_category.setdefault(item.category, []).append(value)
    return SuiteScore(
        chosen.suite,
        chosen.title,
        len(values),
        chosen.n_planned,
        interval.value if interval else None,
        interval.low if interval else None,
        interval.high if interval else None,
        interval.method if interval else "",
        chosen.chance,
        chosen.metric,
        chosen.is_higher_better,
        sum(item.finish == "length" for item in items),
        tuple(CategoryScore(name, len(v), sum(v) / len(v)) for name, v in sorted(by_category.items()) if name),
        chosen.why,
    )


def spread_bits(items: Sequence[ItemResult], values: Sequence[float]) -> list[float]:
    """Bits per byte of each item so that their mean is all bits over all bytes, as lm-eval's figure is.

    `values` are the items' own bits per byte. An item of b bytes that differs from the whole by d counts as the whole
    and d b / (mean b): a ratio estimate made linear (W. G. Cochran, Sampling Techniques, 1977, section 6.3), so that
    the bootstrap of a mean tells the ratio's interval. Where an item does not say how long it is, the plain values.
    """
    pairs = [item.metrics.get(BITS_PER_BYTE) for item in items]
    lengths = [float(pair[1]) for pair in pairs if isinstance(pair, list | tuple) and len(pair) == 2]
    if len(lengths) != len(values) or sum(lengths) <= 0:
        return list(values)
    whole = sum(v * b for v, b in zip(values, lengths, strict=True)) / sum(lengths)
    mean_length = sum(lengths) / len(lengths)
    return [whole + (v - whole) * b / mean_length for v, b in zip(values, lengths, strict=True)]


def compare_runs(a: EvalRun, b: EvalRun) -> tuple[SuiteComparison, ...]:
    """Run a against run b, suite by suite, on the items both have; several suites are adjusted for being several.

    A suite of which the runs have different versions, or no item in common, is named with the reason.
    """
    chosen_b = {chosen.suite: chosen for chosen in b.chosen}
    drafts: list[SuiteComparison] = []
    for chosen in a.chosen:
        other = chosen_b.get(chosen.suite)
        if other is None:
            drafts.append(SuiteComparison(chosen.suite, chosen.title, None, "only one of the runs has it", ()))
            continue
        drafts.append(compare_suite(chosen, other, a, b))
    only_b = [c for c in b.chosen if c.suite not in {d.suite for d in drafts}]
    drafts += [SuiteComparison(c.suite, c.title, None, "only one of the runs has it", ()) for c in only_b]
    adjusted = iter(adjust_comparisons([d.comparison for d in drafts if d.comparison is not None]))
    return tuple(replace(d, comparison=next(adjusted)) if d.comparison is not None else d for d in drafts)


def compare_suite(chosen: SuiteChosen, other: SuiteChosen, a: EvalRun, b: EvalRun) -> SuiteComparison:
    """One suite that both runs have."""
    if chosen.version != other.version:
        why = f"its items differ: version {chosen.version} and {other.version}"
        return SuiteComparison(chosen.suite, chosen.title, None, why, ())
    scores_a, scores_b = list_scores(a, chosen.suite), list_scores(b, chosen.suite)
    shared = scores_a.keys() & scores_b.keys()
    if not shared:
        return SuiteComparison(chosen.suite, chosen.title, None, "no item was answered in both", ())
    if not all(0 <= s <= 1 for scores in (scores_a, scores_b) for s in scores.values()):
        return SuiteComparison(chosen.suite, chosen.title, None, f"{chosen.metric} is no share of right answers", ())
    comparison = compare_paired(scores_a, scores_b, a.plan.settings.seed)
    differing = tuple(sorted(i for i in shared if scores_a[i] != scores_b[i]))
    return SuiteComparison(chosen.suite, chosen.title, comparison, "", differing)


def list_scores(run: EvalRun, suite: str) -> dict[str, float]:
    """The score of each item of a suite that has one, by the item's id."""
    return {item.item_id: item.score for item in run.items if item.suite == suite and item.score is not None}


def describe_run(run: EvalRun) -> dict[str, Any]:
    """A run as JSON takes it: the plan, what was found, scores, speed, and how it stands. No items."""
    summary = sum_up(run)
    return {
        "run_id": run.run_id,
        "state": run.state.value,
        "reason": run.reason,
        "plan": write_plan(run.plan),
        "facts": None if run.facts is None else asdict(run.facts),
        "scores": [asdict(score) for score in summary.scores],
        "n_done": summary.n_done,
        "n_planned": summary.n_planned,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "n_attempts": run.n_attempts,
        "elapsed_s": round(summary.elapsed_s, 3),
        "prefill_tokens_per_s": summary.prefill_tokens_per_s,
        "decode_tokens_per_s": summary.decode_tokens_per_s,
        "peak_bytes": summary.peak_bytes,
    }


def write_json(run: EvalRun) -> str:
    """A run with all its items, as JSON."""
    record = describe_run(run) | {
        "items": [asdict(item) for item in run.items],
        "windows": [dict(window) for window in run.windows],
    }
    return json.dumps(record, indent=2, ensure_ascii=False, default=str)


CSV_COLUMNS = (
    "suite",
    "item_id",
    "category",
    "score",
    "why",
    "prompt",
    "output",
    "expected",
    "n_prompt_tokens",
    "n_output_tokens",
    "seconds",
    "finish",
    "at",
)


def write_csv(run: EvalRun) -> str:
    """A run's items as CSV (RFC 4180), one row each, with the run, model and quantization before them.

    A text cell that a spreadsheet would take for a formula is given a leading apostrophe.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(("run_id", "model", "quant", *CSV_COLUMNS))
    for item in run.items:
        values = (getattr(item, name) for name in CSV_COLUMNS)
        head = (run.run_id, run.plan.model.name, run.facts.quant if run.facts else run.plan.model.quant)
        writer.writerow([quote_cell(value) for value in (*head, *values)])
    return out.getvalue()


def quote_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    return guard_formula(value) if isinstance(value, str) else value

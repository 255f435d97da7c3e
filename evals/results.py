"""What runs amount to: scores with intervals, two runs side by side, and their records for CSV and JSON."""

from __future__ import annotations

from dataclasses import dataclass

from evals.run_files import EvalRun, RunState


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

"""How far ratings can be trusted: hide some scores, rate from the rest, and compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sizing.errors import BadInputError
from sizing.evidence import (
    Z_80,
    Array,
    EvidencePrior,
    Index,
    Observations,
    Score,
    Traits,
    expit,
    fit_abilities,
    logit,
    tabulate_scores,
    weigh_rows,
)

STANDARD_ERRORS = 2.0
"""Standard errors of a difference from which on a pair counts as told apart."""


@dataclass(frozen=True, slots=True)
class HoldOut:
    """What the rating said about scores it never saw.

    `n_pairs` are pairs of models held out in one item and half a point or more apart, `n_right` those ordered right.
    `n_clear` are those of them that differ by more than two standard errors, what two runs of one benchmark may differ
    by being the noise of the model, and `n_clear_right` those of these ordered right. `coverage` is the share of
    held-out scores inside their 80% predictive interval; errors are in points.
    """

    n_held: int
    n_pairs: int
    n_right: int
    n_clear: int
    n_clear_right: int
    coverage: float
    mean_error_points: float
    log_density: float

    @property
    def ordered_right(self) -> float:
        """Share of pairs in the right order, NaN without pairs."""
        return self.n_right / self.n_pairs if self.n_pairs else float("nan")

    @property
    def clear_ordered_right(self) -> float:
        """Share of the pairs more than two standard errors apart in the right order, NaN without such pairs."""
        return self.n_clear_right / self.n_clear if self.n_clear else float("nan")


def hold_out(
    scores: Sequence[Score],
    tasks: Sequence[str],
    prior: EvidencePrior | None = None,
    share: float = 0.2,
    seed: int = 0,
    traits: Traits | None = None,
) -> HoldOut:
    """Hide a random `share` of the scores, rate from the rest, and compare.

    A score is only hidden when its model and its item each keep another one. Raises BadInputError for a share
    outside 0..1.
    """
    if not 0 < share < 1:
        raise BadInputError(f"the held-out share wants a number between 0 and 1, got {share!r}")
    p = prior or EvidencePrior()
    table, _, _ = tabulate_scores(scores, tasks, traits)
    n = len(scores)
    hidden = np.zeros(n, dtype=np.bool_)
    left_of_model = np.bincount(table.model, minlength=table.n_models)
    left_of_item = np.bincount(table.item, minlength=len(table.item_tasks))
    for i in np.random.default_rng(seed).permutation(n)[: round(share * n)]:
        m, j = table.model[i], table.item[i]
        if left_of_model[m] > 1 and left_of_item[j] > 1:
            hidden[i] = True
            left_of_model[m] -= 1
            left_of_item[j] -= 1
    fit = fit_abilities(_take(table, ~hidden), p)
    mean, spread = fit.predict(table.model[hidden], table.item[hidden], table.item_tasks)
    by_publisher, off = table.by_publisher[hidden], table.no_thinking[hidden]
    mean = mean + fit.optimism * by_publisher
    mean = mean - off * (table.item_tasks[table.item[hidden]] @ fit.no_thinking)
    sd = np.sqrt(spread**2 + p.noise**2 + by_publisher * p.publisher_noise**2)
    truth = table.score[hidden]
    off_by = (logit(truth) - mean) / sd
    error = 1 / np.sqrt(weigh_rows(_take(table, hidden), p))
    right, pairs, clear_right, clear = order_agreement(table.model[hidden], truth, mean, table.item[hidden], error)
    return HoldOut(
        n_held=int(hidden.sum()),
        n_pairs=pairs,
        n_right=right,
        n_clear=clear,
        n_clear_right=clear_right,
        coverage=float(np.mean(np.abs(off_by) < Z_80)),
        mean_error_points=float(np.mean(np.abs(100 * expit(mean) - truth))),
        log_density=float(np.mean(-0.5 * off_by**2 - np.log(sd))),
    )


def _take(table: Observations, rows: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Observations:
    """Some of the scores; models and items keep their numbers."""
    return replace(
        table,
        model=table.model[rows],
        item=table.item[rows],
        score=table.score[rows],
        by_publisher=table.by_publisher[rows],
        no_thinking=table.no_thinking[rows],
    )


def order_agreement(model: Index, truth: Array, guess: Array, item: Index, error: Array) -> tuple[int, int, int, int]:
    """Pairs of scores of one item half a point apart or more: how many were ordered right, how many there are.

    Then the same of those alone that differ by more than two standard errors; `error` is that of each score, log-odds.
    """
    right = total = clear_right = clear = 0
    y = logit(truth)
    for j in np.unique(item):
        rows = np.flatnonzero(item == j)
        for n, a in enumerate(rows):
            others = rows[n + 1 :]
            others = others[(model[others] != model[a]) & (np.abs(truth[others] - truth[a]) >= 0.5)]
            agree = (truth[others] > truth[a]) == (guess[others] > guess[a])
            apart = np.abs(y[others] - y[a]) > STANDARD_ERRORS * np.hypot(error[others], error[a])
            right, total = right + int(agree.sum()), total + len(others)
            clear_right, clear = clear_right + int((agree & apart).sum()), clear + int(apart.sum())
    return right, total, clear_right, clear

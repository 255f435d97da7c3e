"""Abilities from published scores: one latent scale from scores of different benchmarks, settings and reporters.

A model's published scores are a handful out of a hundred benchmarks, each of its own difficulty. Averaging them would
reward whoever reported the easy ones. So every score is explained at once, on the log-odds scale:

    logit(score) = slope * (general + task part) + easiness + optimism * by_publisher - no_thinking + noise

General ability and task parts carry a normal prior (ridge), so a missing benchmark leaves a wider interval instead of
a lower score. Given the slopes the model is linear and Gaussian and is solved exactly; slopes are refitted in turns
(a two-parameter logistic item response model; Birnbaum 1968, with Gaussian noise for scores that are averages).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sizing.errors import BadInputError

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

MODELS_OF_FULL_WEIGHT = 12
"""Models after which more of them give a benchmark no more weight in the scale of a task."""

Z_80 = 1.2815515655446004
"""Standard normal quantile at 0.9: half-width of an 80% interval in standard deviations."""


@dataclass(frozen=True, slots=True)
class EvidencePrior:
    """Standard deviations on the log-odds scale. Chosen on held-out scores (`benchmarks/quality_holdout.py`).

    `noise` is the disagreement of two runs of one benchmark; `publisher_noise` is added to scores a publisher gives
    its own model; `optimism` bounds the offset those share; `no_thinking` bounds what a model loses with its
    reasoning turned off.
    """

    general: float = 1.5
    task: float = 0.35
    easiness: float = 2.0
    slope: float = 0.4
    noise: float = 0.28
    publisher_noise: float = 0.2
    optimism: float = 0.15
    no_thinking: float = 0.6
    n_rounds: int = 4


@dataclass(frozen=True, slots=True)
class Score:
    """One published score, 0..100. `item` is a benchmark in one variant; `tasks` are those it speaks for, one or more.

    `no_thinking`: the model can think, and was asked not to.
    """

    model: str
    item: str
    tasks: tuple[str, ...]
    score: float
    by_publisher: bool = False
    no_thinking: bool = False


@dataclass(frozen=True, slots=True)
class TaskRating:
    """A model's place on the scale of one task: expected mean score 0..100 over the task's items, 80% interval."""

    model: str
    task: str
    score: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Observations:
    """Scores as columns. `item` is a benchmark in one variant; `item_tasks[item, task]` sums to 1 per item.

    `no_thinking` marks a score of a model that can think, taken with thinking off. `score` is 0..100.
    """

    model: Index
    item: Index
    score: Array
    by_publisher: npt.NDArray[np.bool_]
    no_thinking: npt.NDArray[np.bool_]
    item_tasks: Array
    n_models: int

    def __post_init__(self) -> None:
        n = len(self.score)
        if not (len(self.model) == len(self.item) == len(self.by_publisher) == len(self.no_thinking) == n):
            raise BadInputError("observations want columns of one length")
        if n and not (np.all(self.score >= 0) and np.all(self.score <= 100)):
            raise BadInputError("observations want scores within 0..100")


@dataclass(frozen=True, slots=True)
class AbilityFit:
    """Posterior of the latent scale: means and covariances of all unknowns, and the slope of every item.

    A model's own unknowns are its general ability and its task parts (models by 1 + tasks). The shared ones are the
    easiness of every item, the optimism, and what no thinking costs per task. `cross` is own against shared.
    """

    own: Array
    shared: Array
    own_covariance: Array
    cross: Array
    shared_covariance: Array
    slope: Array

    @property
    def n_items(self) -> int:
        """Benchmarks in their variants."""
        return len(self.slope)

    @property
    def ability(self) -> Array:
        """General ability plus task part, models by tasks, on the log-odds scale."""
        return self.own[:, :1] + self.own[:, 1:]

    @property
    def easiness(self) -> Array:
        """Log-odds of a model of average ability, per item."""
        return self.shared[: self.n_items]

    @property
    def optimism(self) -> float:
        """Log-odds that publishers' own scores lie above independent ones, as far as the rows can tell."""
        return float(self.shared[self.n_items])

    @property
    def no_thinking(self) -> Array:
        """Log-odds lost with thinking turned off, per task."""
        return self.shared[self.n_items + 1 :]

    def predict(self, model: Index, item: Index, item_tasks: Array) -> tuple[Array, Array]:
        """Log-odds of `model` in `item` with their standard deviation: independently reported, thinking allowed.

        The deviation is what the posterior leaves open; the noise of a single score comes on top.
        """
        factor = self.slope[item, None] * np.column_stack([np.ones(len(item)), item_tasks[item]])
        mean = np.sum(factor * self.own[model], axis=1) + self.easiness[item]
        variance = np.einsum("nk,nkl,nl->n", factor, self.own_covariance[model], factor)
        variance += 2 * np.sum(factor * self.cross[model, :, item], axis=1) + self.shared_covariance[item, item]
        return mean, np.sqrt(np.maximum(0.0, variance))


def tabulate_scores(scores: Sequence[Score], tasks: Sequence[str]) -> tuple[Observations, list[str], list[str]]:
    """Scores as columns, with the names of the models and of the items in their order."""
    models = sorted({s.model for s in scores})
    item_of = {s.item: s for s in scores}
    items = sorted(item_of)
    place = {name: k for k, name in enumerate(models)}
    item_place = {name: k for k, name in enumerate(items)}
    loads = np.array([[float(t in item_of[i].tasks) for t in tasks] for i in items]).reshape(len(items), len(tasks))
    if not np.all(loads.sum(axis=1) > 0):
        raise BadInputError(f"every item wants at least one task of {', '.join(tasks)}")
    table = Observations(
        model=np.array([place[s.model] for s in scores], dtype=np.int64),
        item=np.array([item_place[s.item] for s in scores], dtype=np.int64),
        score=np.array([s.score for s in scores], dtype=np.float64),
        by_publisher=np.array([s.by_publisher for s in scores], dtype=np.bool_),
        no_thinking=np.array([s.no_thinking for s in scores], dtype=np.bool_),
        item_tasks=loads / loads.sum(axis=1, keepdims=True),
        n_models=len(models),
    )
    return table, models, items


def rate_tasks(
    scores: Sequence[Score], tasks: Sequence[str], prior: EvidencePrior | None = None
) -> tuple[TaskRating, ...]:
    """Every model's rating in every task it has a score for; other tasks are left out, never filled in.

    A task's reference items are those with at least three models (all of them where none has), each weighing the
    square root of its number of models up to `MODELS_OF_FULL_WEIGHT`, so that the scale is neither one rare
    benchmark's nor one popular benchmark's.
    """
    if not scores:
        return ()
    table, models, items = tabulate_scores(scores, tasks)
    fit = fit_abilities(table, prior)
    n_models_of = np.array([len(np.unique(table.model[table.item == j])) for j in range(len(items))])
    reference = np.zeros((len(tasks), len(items)))
    for k in range(len(tasks)):
        counts = np.where(table.item_tasks[:, k] > 0, n_models_of, 0)
        counts = np.where(counts >= 3, counts, 0) if np.any(counts >= 3) else counts
        reference[k] = np.sqrt(np.minimum(counts, MODELS_OF_FULL_WEIGHT)) * (table.item_tasks[:, k] > 0)
        reference[k] /= max(1e-9, reference[k].sum())
    score, low, high = score_tasks(fit, reference)
    seen = {
        (int(m), t) for m, i in zip(table.model, table.item, strict=True) for t in np.flatnonzero(table.item_tasks[i])
    }
    return tuple(
        TaskRating(models[m], tasks[t], float(score[m, t]), float(low[m, t]), float(high[m, t]))
        for m, t in sorted((m, int(t)) for m, t in seen)
    )


def logit(score: Array) -> Array:
    """Log-odds of scores 0..100, held within 0.5 and 99.5 so that a perfect score stays finite."""
    p = np.clip(score, 0.5, 99.5) / 100
    return np.asarray(np.log(p / (1 - p)))


def expit(x: Array) -> Array:
    """The inverse of log-odds, 0..1."""
    return np.asarray(1 / (1 + np.exp(-x)))


def fit_abilities(obs: Observations, prior: EvidencePrior | None = None) -> AbilityFit:
    """Posterior of abilities, easiness and slopes given all scores at once.

    Models meet only in the shared unknowns, so each model's own block is eliminated first and one system over the
    shared unknowns is left (the Schur complement). The slopes settle within a few rounds.
    """
    p = prior or EvidencePrior()
    n_items, t = obs.item_tasks.shape
    y = logit(obs.score)
    weight = 1 / (p.noise**2 + np.where(obs.by_publisher, p.publisher_noise**2, 0.0))
    own_sd = np.array([p.general] + [p.task] * t)
    shared_sd = np.concatenate([np.full(n_items, p.easiness), [p.optimism], np.full(t, p.no_thinking)])
    slope = np.ones(n_items)
    fit = _solve(obs, slope, y, weight, own_sd, shared_sd)
    for _ in range(p.n_rounds - 1):
        slope = _refit_slopes(obs, fit, y, weight, p.slope)
        fit = _solve(obs, slope, y, weight, own_sd, shared_sd)
    return fit


def _solve(obs: Observations, slope: Array, y: Array, weight: Array, own_sd: Array, shared_sd: Array) -> AbilityFit:
    """The exact posterior given the slopes."""
    n, m, n_shared = len(y), obs.n_models, len(shared_sd)
    n_items, t = obs.item_tasks.shape
    loads = obs.item_tasks[obs.item]
    factor = slope[obs.item, None] * np.column_stack([np.ones(n), loads])
    which = np.column_stack([obs.item, np.full(n, n_items), np.broadcast_to(n_items + 1 + np.arange(t), (n, t))])
    off = np.where(obs.no_thinking[:, None], -loads, 0.0)
    shared_factor = np.column_stack([np.ones(n), obs.by_publisher, off])

    own_block = np.zeros((m, 1 + t, 1 + t))
    np.add.at(own_block, obs.model, weight[:, None, None] * factor[:, :, None] * factor[:, None, :])
    own_block += np.diag(1 / own_sd**2)
    coupling = np.zeros((m, 1 + t, n_shared))
    place = (obs.model[:, None, None], np.arange(1 + t)[None, :, None], which[:, None, :])
    np.add.at(coupling, place, weight[:, None, None] * factor[:, :, None] * shared_factor[:, None, :])
    shared_block = np.diag(1 / shared_sd**2)
    place_shared = (which[:, :, None], which[:, None, :])
    products = weight[:, None, None] * shared_factor[:, :, None] * shared_factor[:, None, :]
    np.add.at(shared_block, place_shared, products)
    own_right = np.zeros((m, 1 + t))
    np.add.at(own_right, obs.model, (weight * y)[:, None] * factor)
    shared_right = np.zeros(n_shared)
    np.add.at(shared_right, which, (weight * y)[:, None] * shared_factor)

    own_inverse = np.linalg.inv(own_block)
    carried = own_inverse @ coupling
    schur = shared_block - coupling.reshape(-1, n_shared).T @ carried.reshape(-1, n_shared)
    shared_covariance = np.asarray(np.linalg.inv(schur), dtype=np.float64)
    shared = shared_covariance @ (shared_right - np.einsum("mks,mk->s", carried, own_right))
    cross = -carried @ shared_covariance
    return AbilityFit(
        own=np.einsum("mkl,ml->mk", own_inverse, own_right) - carried @ shared,
        shared=shared,
        own_covariance=np.asarray(own_inverse - cross @ np.swapaxes(carried, 1, 2), dtype=np.float64),
        cross=cross,
        shared_covariance=shared_covariance,
        slope=slope,
    )


def _refit_slopes(obs: Observations, fit: AbilityFit, y: Array, weight: Array, slope_sd: float) -> Array:
    """Each item's slope by weighted least squares around a prior of 1, the other unknowns held at their means."""
    loads = obs.item_tasks[obs.item]
    ability = np.sum(fit.ability[obs.model] * loads, axis=1)
    rest = y - fit.optimism * obs.by_publisher + obs.no_thinking * (loads @ fit.no_thinking)
    n_items = fit.n_items
    out = np.ones(n_items)
    for j in range(n_items):
        rows = obs.item == j
        if rows.sum() < 3:
            continue
        w, a, r = weight[rows], ability[rows], rest[rows]
        a_mean, r_mean = np.average(a, weights=w), np.average(r, weights=w)
        spread = float(np.sum(w * (a - a_mean) ** 2))
        shared = float(np.sum(w * (a - a_mean) * (r - r_mean)))
        out[j] = (shared + 1 / slope_sd**2) / (spread + 1 / slope_sd**2)
    return np.clip(out, 0.3, 3.0)


def score_tasks(fit: AbilityFit, reference: Array) -> tuple[Array, Array, Array]:
    """Task scores 0..100 with the ends of their 80% intervals, each models by tasks.

    A task score is the expected mean score over the task's reference items: `reference[task, item]` are their
    weights, summing to 1 per task with items. The interval follows from the posterior covariance, items included
    (delta method on the log-odds of the mean).
    """
    eta = fit.ability[:, :, None] * fit.slope + fit.easiness
    p = expit(eta)
    mean = np.sum(p * reference, axis=2)
    slope_of_p = p * (1 - p) * reference
    items = slice(0, fit.n_items)
    own, cross = fit.own_covariance, fit.cross[:, :, items]
    spread = np.zeros_like(mean)
    for k in range(mean.shape[1]):
        by_item = slope_of_p[:, k, :]
        by_ability = by_item @ fit.slope
        variance = by_ability**2 * (own[:, 0, 0] + own[:, 1 + k, 1 + k] + 2 * own[:, 0, 1 + k])
        variance += 2 * by_ability * np.sum((cross[:, 0] + cross[:, 1 + k]) * by_item, axis=1)
        variance += np.sum((by_item @ fit.shared_covariance[items, items]) * by_item, axis=1)
        spread[:, k] = np.sqrt(np.maximum(0.0, variance))
    centre = logit(100 * mean)
    half = Z_80 * spread / np.maximum(1e-6, mean * (1 - mean))
    return 100 * mean, 100 * expit(centre - half), 100 * expit(centre + half)


@dataclass(frozen=True, slots=True)
class HoldOut:
    """What the rating said about scores it never saw.

    `n_pairs` are pairs of models held out in one item and half a point or more apart, `n_right` those ordered right.
    `coverage` is the share of held-out scores inside their 80% predictive interval; errors are in points.
    """

    n_held: int
    n_pairs: int
    n_right: int
    coverage: float
    mean_error_points: float
    log_density: float

    @property
    def ordered_right(self) -> float:
        """Share of pairs in the right order, NaN without pairs."""
        return self.n_right / self.n_pairs if self.n_pairs else float("nan")


def hold_out(
    scores: Sequence[Score], tasks: Sequence[str], prior: EvidencePrior | None = None, share: float = 0.2, seed: int = 0
) -> HoldOut:
    """Hide a random `share` of the scores, rate from the rest, and compare.

    A score is only hidden when its model and its item each keep another one. Raises BadInputError for a share
    outside 0..1.
    """
    if not 0 < share < 1:
        raise BadInputError(f"the held-out share wants a number between 0 and 1, got {share!r}")
    p = prior or EvidencePrior()
    table, _, _ = tabulate_scores(scores, tasks)
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
    seen = ~hidden
    fit = fit_abilities(
        Observations(
            table.model[seen],
            table.item[seen],
            table.score[seen],
            table.by_publisher[seen],
            table.no_thinking[seen],
            table.item_tasks,
            table.n_models,
        ),
        p,
    )
    mean, spread = fit.predict(table.model[hidden], table.item[hidden], table.item_tasks)
    by_publisher, off = table.by_publisher[hidden], table.no_thinking[hidden]
    mean = mean + fit.optimism * by_publisher
    mean = mean - off * (table.item_tasks[table.item[hidden]] @ fit.no_thinking)
    sd = np.sqrt(spread**2 + p.noise**2 + by_publisher * p.publisher_noise**2)
    truth = table.score[hidden]
    off_by = (logit(truth) - mean) / sd
    right, pairs = order_agreement(table.model[hidden], truth, mean, table.item[hidden])
    return HoldOut(
        n_held=int(hidden.sum()),
        n_pairs=pairs,
        n_right=right,
        coverage=float(np.mean(np.abs(off_by) < Z_80)),
        mean_error_points=float(np.mean(np.abs(100 * expit(mean) - truth))),
        log_density=float(np.mean(-0.5 * off_by**2 - np.log(sd))),
    )


def order_agreement(model: Index, truth: Array, guess: Array, item: Index) -> tuple[int, int]:
    """Pairs of scores of one item whose order was guessed right, and all pairs with a difference of half a point."""
    right = total = 0
    for j in np.unique(item):
        rows = np.flatnonzero(item == j)
        for n, a in enumerate(rows):
            for b in rows[n + 1 :]:
                if model[a] == model[b] or abs(truth[a] - truth[b]) < 0.5:
                    continue
                total += 1
                right += (truth[a] > truth[b]) == (guess[a] > guess[b])
    return right, total

"""Abilities from published scores: one latent scale from scores of different benchmarks, settings and reporters.

A model's published scores are a handful out of a hundred benchmarks, each of its own difficulty. Averaging them would
reward whoever reported the easy ones. So every score is explained at once, on the log-odds scale:

    logit(score) = slope * (general + task part) + easiness + optimism * by_publisher - no_thinking + noise

General ability and task parts carry a normal prior (ridge), so a missing benchmark leaves a wider interval instead of
a lower score. The prior of general ability is centred where models of the same size and date stand, by a regression
that is fitted along: one lucky score of a model then moves it less far from its like than ten scores do. It only
tempers scores: a model without any has no rating. Given the slopes the model is linear and Gaussian and is solved
exactly; slopes are refitted in turns
(a two-parameter logistic item response model; Birnbaum 1968, with Gaussian noise for scores that are averages).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
    reasoning turned off. `general` is what size and date leave open, `general_alone` the spread where no such
    traits are given; `trait` bounds what a doubling or a year adds.
    """

    general: float = 0.6
    general_alone: float = 1.5
    trait: float = 1.0
    task: float = 0.35
    easiness: float = 2.0
    slope: float = 0.4
    noise: float = 0.28
    publisher_noise: float = 0.2
    optimism: float = 0.15
    no_thinking: float = 0.6
    n_rounds: int = 7


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
    """A model's place on the scale of one task: expected mean score 0..100 over the task's items, 80% interval.

    `pulls` are, for each of the model's scores that speak for the task in the order given, the points by which the
    rating would fall without that score (negative: rise), all other scores and the scale held.
    """

    model: str
    task: str
    score: float
    low: float
    high: float
    pulls: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Observations:
    """Scores as columns. `item` is a benchmark in one variant; `item_tasks[item, task]` sums to 1 per item.

    `no_thinking` marks a score of a model that can think, taken with thinking off. `score` is 0..100. `traits` are
    facts of each model that its ability goes with (models by traits, no column where there are none).
    """

    model: Index
    item: Index
    score: Array
    by_publisher: npt.NDArray[np.bool_]
    no_thinking: npt.NDArray[np.bool_]
    item_tasks: Array
    n_models: int
    traits: Array

    def __post_init__(self) -> None:
        n = len(self.score)
        if not (len(self.model) == len(self.item) == len(self.by_publisher) == len(self.no_thinking) == n):
            raise BadInputError("observations want columns of one length")
        if n and not (np.all(self.score >= 0) and np.all(self.score <= 100)):
            raise BadInputError("observations want scores within 0..100")
        if len(self.traits) != self.n_models or not np.all(np.isfinite(self.traits)):
            raise BadInputError("observations want a row of finite traits for every model")


@dataclass(frozen=True, slots=True)
class AbilityMeans:
    """Means of all unknowns of the latent scale, and the slope of every item.

    A model's own unknowns are its general ability and its task parts (models by 1 + tasks). The shared ones are the
    easiness of every item, the optimism, and what no thinking costs per task.
    """

    own: Array
    shared: Array
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


@dataclass(frozen=True, slots=True)
class AbilityFit(AbilityMeans):
    """Posterior of the latent scale: the means and their covariances.

    `cross` is own against shared. `trait_weights` are log-odds of general ability per unit of each trait.
    """

    own_covariance: Array
    cross: Array
    shared_covariance: Array
    trait_weights: Array

    def predict(self, model: Index, item: Index, item_tasks: Array) -> tuple[Array, Array]:
        """Log-odds of `model` in `item` with their standard deviation: independently reported, thinking allowed.

        The deviation is what the posterior leaves open; the noise of a single score comes on top.
        """
        factor = self.slope[item, None] * np.column_stack([np.ones(len(item)), item_tasks[item]])
        mean = np.sum(factor * self.own[model], axis=1) + self.easiness[item]
        variance = np.einsum("nk,nkl,nl->n", factor, self.own_covariance[model], factor)
        variance += 2 * np.sum(factor * self.cross[model, :, item], axis=1) + self.shared_covariance[item, item]
        return mean, np.sqrt(np.maximum(0.0, variance))


Traits = Mapping[str, tuple[float, ...]]
"""Of models by name, the facts their ability goes with; all of one length."""


def tabulate_scores(
    scores: Sequence[Score], tasks: Sequence[str], traits: Traits | None = None
) -> tuple[Observations, list[str], list[str]]:
    """Scores as columns, with the names of the models and of the items in their order.

    A model without traits stands at the mean of those that have some. Raises BadInputError for an item that speaks for
    none of the tasks.
    """
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
        traits=_centre_traits(models, traits or {}),
    )
    return table, models, items


def _centre_traits(models: Sequence[str], traits: Traits) -> Array:
    """Traits as columns around their mean, zero where a model has none."""
    n_traits = len(next(iter(traits.values()), ()))
    rows = np.array([traits.get(m, (np.nan,) * n_traits) for m in models], dtype=np.float64).reshape(
        len(models), n_traits
    )
    known = np.flatnonzero(np.all(np.isfinite(rows), axis=1))
    out = np.zeros_like(rows)
    out[known] = rows[known] - (rows[known].mean(axis=0) if len(known) else 0.0)
    return out


def rate_tasks(
    scores: Sequence[Score], tasks: Sequence[str], prior: EvidencePrior | None = None, traits: Traits | None = None
) -> tuple[TaskRating, ...]:
    """Every model's rating in every task it has a score for; other tasks are left out, never filled in."""
    if not scores:
        return ()
    table, models, _ = tabulate_scores(scores, tasks, traits)
    fit = fit_abilities(table, prior)
    reference = weigh_reference(table)
    score, low, high = score_tasks(fit, reference)
    pulls = measure_pulls(table, fit, reference, prior)
    rows: dict[tuple[int, int], list[int]] = {}
    for row, (m, i) in enumerate(zip(table.model, table.item, strict=True)):
        for t in np.flatnonzero(table.item_tasks[i]):
            rows.setdefault((int(m), int(t)), []).append(row)
    return tuple(
        TaskRating(
            models[m],
            tasks[t],
            float(score[m, t]),
            float(low[m, t]),
            float(high[m, t]),
            tuple(float(pulls[row, t]) for row in rows[m, t]),
        )
        for m, t in sorted(rows)
    )


def weigh_reference(table: Observations) -> Array:
    """Weights of the items that a task's scale is the mean of: tasks by items, 1 in all per task with items.

    A task's reference items are those with at least three models (all of them where none has), each weighing the
    square root of its number of models up to `MODELS_OF_FULL_WEIGHT`, so that the scale is neither one rare
    benchmark's nor one popular benchmark's.
    """
    n_items, n_tasks = table.item_tasks.shape
    n_models_of = np.array([len(np.unique(table.model[table.item == j])) for j in range(n_items)])
    reference = np.zeros((n_tasks, n_items))
    for k in range(n_tasks):
        counts = np.where(table.item_tasks[:, k] > 0, n_models_of, 0)
        counts = np.where(counts >= 3, counts, 0) if np.any(counts >= 3) else counts
        reference[k] = np.sqrt(np.minimum(counts, MODELS_OF_FULL_WEIGHT)) * (table.item_tasks[:, k] > 0)
        reference[k] /= max(1e-9, reference[k].sum())
    return reference


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
    shared unknowns is left (the Schur complement). Slopes and the weights of the traits settle within a few rounds;
    what those weights leave uncertain is not carried on (a hundred models fix three of them).
    """
    p = _settle_prior(obs, prior)
    n_items, n_traits = len(obs.item_tasks), obs.traits.shape[1]
    slope, weights = np.ones(n_items), np.zeros(n_traits)
    seen = np.bincount(obs.model, minlength=obs.n_models) > 0
    known = obs.traits[seen]
    for _ in range(p.n_rounds - 1):
        means = _find_means(_set_up(obs, slope, weights, p), slope)
        slope = _refit_slopes(obs, means, p)
        normal = known.T @ known / p.general**2 + np.eye(n_traits) / p.trait**2
        weights = np.linalg.solve(normal, known.T @ means.own[seen, 0] / p.general**2)
    return _solve(obs, slope, weights, p)


def _settle_prior(obs: Observations, prior: EvidencePrior | None) -> EvidencePrior:
    """The prior with the spread of general ability that suits whether traits are given."""
    p = prior or EvidencePrior()
    return p if obs.traits.shape[1] else replace(p, general=p.general_alone)


def weigh_rows(obs: Observations, prior: EvidencePrior) -> Array:
    """Precision of every score on the log-odds scale: a publisher's own scores of its models count less."""
    own_noise = np.where(obs.by_publisher, prior.publisher_noise**2, 0.0)
    return np.asarray(1 / (prior.noise**2 + own_noise))


def _own_spread(prior: EvidencePrior, n_tasks: int) -> Array:
    return np.array([prior.general] + [prior.task] * n_tasks)


def _own_blocks(obs: Observations, factor: Array, weight: Array, own_sd: Array) -> Array:
    """Precision of each model's own unknowns, the shared ones held."""
    blocks = np.zeros((obs.n_models, len(own_sd), len(own_sd)))
    np.add.at(blocks, obs.model, weight[:, None, None] * factor[:, :, None] * factor[:, None, :])
    return blocks + np.diag(1 / own_sd**2)


def _own_factor(obs: Observations, slope: Array) -> Array:
    """What a score makes of its model's own unknowns: the item's slope times 1 and the item's tasks."""
    return slope[obs.item, None] * np.column_stack([np.ones(len(obs.item)), obs.item_tasks[obs.item]])


@dataclass(frozen=True, slots=True)
class _System:
    """The linear system of one round with each model's own block eliminated: `schur @ shared = right` is left.

    `carried` are the own unknowns' answers to the shared ones, `alone` what they are where those are zero.
    """

    schur: Array
    right: Array
    carried: Array
    alone: Array
    own_inverse: Array
    expected: Array

    def find_own(self, shared: Array) -> Array:
        """Means of the models' own unknowns, given those of the shared ones."""
        own = np.asarray(self.alone - self.carried @ shared)
        own[:, 0] += self.expected
        return own


def _find_means(system: _System, slope: Array) -> AbilityMeans:
    """The means alone, which is all that a round hands to the next: covariances take several times as long."""
    shared: Array = np.asarray(np.linalg.solve(system.schur, system.right), dtype=np.float64)
    return AbilityMeans(own=system.find_own(shared), shared=shared, slope=slope)


def _solve(obs: Observations, slope: Array, trait_weights: Array, prior: EvidencePrior) -> AbilityFit:
    """The exact posterior given the slopes and the weights of the traits."""
    system = _set_up(obs, slope, trait_weights, prior)
    carried = system.carried
    shared_covariance = np.asarray(np.linalg.inv(system.schur), dtype=np.float64)
    shared = shared_covariance @ system.right
    cross = -carried @ shared_covariance
    return AbilityFit(
        own=system.find_own(shared),
        shared=shared,
        own_covariance=np.asarray(system.own_inverse - cross @ np.swapaxes(carried, 1, 2), dtype=np.float64),
        cross=cross,
        shared_covariance=shared_covariance,
        slope=slope,
        trait_weights=trait_weights,
    )


def _set_up(obs: Observations, slope: Array, trait_weights: Array, prior: EvidencePrior) -> _System:
    """The system given the slopes and the weights of the traits.

    General ability is solved as what it differs from its like, who stand at `traits @ trait_weights`.
    """
    n_items, t = obs.item_tasks.shape
    n, m, n_shared = len(obs.score), obs.n_models, n_items + 1 + t
    weight = weigh_rows(obs, prior)
    own_sd = _own_spread(prior, t)
    shared_sd = np.concatenate([np.full(n_items, prior.easiness), [prior.optimism], np.full(t, prior.no_thinking)])
    expected = obs.traits @ trait_weights
    y = logit(obs.score) - slope[obs.item] * expected[obs.model]
    loads = obs.item_tasks[obs.item]
    factor = _own_factor(obs, slope)
    which = np.column_stack([obs.item, np.full(n, n_items), np.broadcast_to(n_items + 1 + np.arange(t), (n, t))])
    off = np.where(obs.no_thinking[:, None], -loads, 0.0)
    shared_factor = np.column_stack([np.ones(n), obs.by_publisher, off])

    own_block = _own_blocks(obs, factor, weight, own_sd)
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

    own_inverse: Array = np.asarray(np.linalg.inv(own_block), dtype=np.float64)
    carried: Array = own_inverse @ coupling
    schur = shared_block - coupling.reshape(-1, n_shared).T @ carried.reshape(-1, n_shared)
    return _System(
        schur=schur,
        right=shared_right - np.einsum("mks,mk->s", carried, own_right),
        carried=carried,
        alone=np.einsum("mkl,ml->mk", own_inverse, own_right),
        own_inverse=own_inverse,
        expected=expected,
    )


def _refit_slopes(obs: Observations, fit: AbilityMeans, prior: EvidencePrior) -> Array:
    """Each item's slope by weighted least squares around a prior of 1, the other unknowns held at their means."""
    y, weight, slope_sd = logit(obs.score), weigh_rows(obs, prior), prior.slope
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


def measure_pulls(obs: Observations, fit: AbilityFit, reference: Array, prior: EvidencePrior | None = None) -> Array:
    """Points by which every score lifts its model's rating in every task, scores by tasks.

    The rating less what it would be without that score, by the closed form of a least squares fit with one row left
    out (R. D. Cook, Technometrics 19 (1977) 15); the scale and all other models are held.
    """
    p = _settle_prior(obs, prior)
    factor, weight = _own_factor(obs, fit.slope), weigh_rows(obs, p)
    inverse = np.linalg.inv(_own_blocks(obs, factor, weight, _own_spread(p, obs.item_tasks.shape[1])))[obs.model]
    reach = np.einsum("nkl,nl->nk", inverse, factor)
    leverage = np.clip(weight * np.sum(reach * factor, axis=1), 0.0, 1 - 1e-9)
    loads = obs.item_tasks[obs.item]
    told = np.sum(factor * fit.own[obs.model], axis=1) + fit.easiness[obs.item]
    told += fit.optimism * obs.by_publisher - obs.no_thinking * (loads @ fit.no_thinking)
    rest = logit(obs.score) - told
    without = fit.own[obs.model] - reach * (weight * rest / (1 - leverage))[:, None]
    return 100 * (_mean_scores(fit, fit.own[obs.model], reference) - _mean_scores(fit, without, reference))


def _mean_scores(fit: AbilityFit, own: Array, reference: Array) -> Array:
    """Expected mean score 0..1 over each task's reference items of models with these own unknowns."""
    ability = own[:, :1] + own[:, 1:]
    return np.asarray(np.sum(expit(ability[:, :, None] * fit.slope + fit.easiness) * reference, axis=2))

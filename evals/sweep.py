"""A sweep: models x suites x seeds, each cell one run of its own. The plan on disk, and what its runs amount to.

`sweeps/ID.json` in the person's folder holds the plan, written once; how far a sweep is stands in its cells' run files
alone, so that it can be cut off anywhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evals.intervals import Interval, bootstrap_mean, interval_of_scores
from evals.plans import (
    EvalPlan,
    EvalSettings,
    TestedModel,
    check_whole,
    find_now,
    name_run,
    plan_suites,
    read_plan,
    write_plan,
)
from evals.results import BITS_PER_BYTE, spread_bits
from evals.run_files import EvalRun, RunState, SuiteChosen, find_run_path, load_run
from sizing.errors import BadInputError, UnknownNameError, UserStoreError

SWEEPS_FOLDER = "sweeps"
MAX_CELLS = 10_000
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a person asked for. `cells` are complete plans of runs, models outermost and seeds innermost.

    `model_sha256` is what each model file had when the sweep was planned, by its path (a split file by its first part,
    its hash that of `evals.tested_models.hash_files`); models that need no file have none.
    """

    sweep_id: str
    created_at: str
    cells: tuple[EvalPlan, ...]
    model_sha256: Mapping[str, str]

    @property
    def models(self) -> tuple[TestedModel, ...]:
        """The models, each once."""
        return tuple(dict.fromkeys(cell.model for cell in self.cells))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, each once."""
        return tuple(dict.fromkeys(cell.settings.seed for cell in self.cells))


@dataclass(frozen=True, slots=True)
class SweepScore:
    """One model on one suite over the seeds.

    `value` is the mean of the seeds' scores, `by_seed` those scores, `low` and `high` the interval that 95 of 100 such
    sweeps would hold; None where no item is scored yet. `n_items` counts different items, `n_answers` all of them.
    """

    model: TestedModel
    suite: str
    title: str
    value: float | None
    low: float | None
    high: float | None
    method: str
    by_seed: Mapping[int, float]
    n_seeds_planned: int
    n_items: int
    n_answers: int
    metric: str
    is_higher_better: bool
    chance: float


def plan_sweep(
    models: Sequence[TestedModel],
    suites: Sequence[str],
    seeds: Sequence[int],
    model_sha256: Mapping[str, str] | None = None,
    **others: Any,
) -> Sweep:
    """A new sweep; `others` are further fields of EvalPlan, its settings among them, whose seed each cell replaces.

    Raises BadInputError for something named twice, nothing named, or more than MAX_CELLS cells.
    """
    for what, named in (("model", models), ("suite", suites), ("seed", seeds)):
        if not named:
            raise BadInputError(f"a sweep wants at least one {what}")
        if len(set(named)) != len(named):
            raise BadInputError(f"a sweep wants each {what} once, got {', '.join(describe_name(n) for n in named)}")
    n_cells = len(models) * len(suites) * len(seeds)
    check_whole("cells of a sweep (models x suites x seeds)", n_cells, 1, MAX_CELLS)
    settings = others.pop("settings", EvalSettings())
    cells = tuple(
        plan_suites(model, (suite,), settings=replace(settings, seed=seed), **others)
        for model in models
        for suite in suites
        for seed in seeds
    )
    return Sweep(name_run(), find_now(), cells, dict(model_sha256 or {}))


def describe_name(named: object) -> str:
    """A model's title, or anything else as text."""
    return named.title if isinstance(named, TestedModel) else str(named)


def describe_cell(cell: EvalPlan) -> str:
    """A cell in a few words: 'Weighbridge Demo F16, demo, seed 1'."""
    return f"{cell.model.title}, {', '.join(cell.suites)}, seed {cell.settings.seed}"


def save_sweep(home: Path, sweep: Sweep) -> Path:
    """Write a sweep's plan, whole or not at all. Raises UserStoreError where that fails."""
    path = home / SWEEPS_FOLDER / f"{sweep.sweep_id}.json"
    record = {
        "format": FORMAT,
        "sweep_id": sweep.sweep_id,
        "created_at": sweep.created_at,
        "model_sha256": dict(sweep.model_sha256),
        "cells": [write_plan(cell) for cell in sweep.cells],
    }
    draft = path.with_suffix(f".{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.touch(mode=0o600, exist_ok=False)
        draft.write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
        draft.rename(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UserStoreError(f"the sweep {sweep.sweep_id} cannot be written ({error.strerror})") from error
    return path


def load_sweep(home: Path, name: str) -> Sweep:
    """The sweep called `name`: its id, a beginning of it that only one has, or "last".

    Raises UnknownNameError with near ids, BadInputError for a file that is no plan of a sweep.
    """
    paths = {path.stem: path for path in (home / SWEEPS_FOLDER).glob("*.json")}
    fitting = [sweep_id for sweep_id in paths if name and sweep_id.startswith(name)]
    found = max(paths, default="") if name == "last" else name
    if found not in paths and len(fitting) == 1:
        found = fitting[0]
    if found not in paths:
        raise UnknownNameError("sweep", name, paths)
    try:
        record = json.loads(paths[found].read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise BadInputError(f"sweep {found} has the format {record['format']!r}, this version reads {FORMAT}")
        cells = tuple(read_plan(cell) for cell in record["cells"])
        hashes = {str(k): str(v) for k, v in record["model_sha256"].items()}
        return Sweep(found, str(record["created_at"]), cells, hashes)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, BadInputError):
            raise
        raise BadInputError(f"{paths[found].name} is no plan of a sweep ({type(error).__name__}: {error})") from error


def load_cells(home: Path, sweep: Sweep) -> tuple[EvalRun | None, ...]:
    """The run of each cell as its file tells it now, None for one not begun."""
    paths = [find_run_path(home, cell.run_id) for cell in sweep.cells]
    return tuple(load_run(path) if path.is_file() else None for path in paths)


def is_done(run: EvalRun | None) -> bool:
    """Whether a cell is done and never run again."""
    return run is not None and run.state is RunState.DONE


def score_sweep(sweep: Sweep, runs: Iterable[EvalRun | None]) -> tuple[SweepScore, ...]:
    """Every model on every suite over its seeds, in the plan's order; suites no run has begun are left out."""
    groups: dict[tuple[TestedModel, str], list[tuple[SuiteChosen, EvalRun]]] = {}
    for run in runs:
        for chosen in () if run is None else run.chosen:
            assert run is not None
            groups.setdefault((run.plan.model, chosen.suite), []).append((chosen, run))
    n_seeds = len(sweep.seeds)
    return tuple(score_group(model, group, n_seeds) for (model, _), group in groups.items())


def score_group(model: TestedModel, group: Sequence[tuple[SuiteChosen, EvalRun]], n_seeds: int) -> SweepScore:
    """One model on one suite, from its runs."""
    chosen = group[0][0]
    by_seed: dict[int, dict[str, float]] = {}
    for _, run in group:
        scored = list_item_scores(run, chosen)
        if scored:
            by_seed[run.plan.settings.seed] = scored
    interval = average_seeds(list(by_seed.values()), min(by_seed)) if by_seed else None
    return SweepScore(
        model,
        chosen.suite,
        chosen.title,
        interval.value if interval else None,
        interval.low if interval else None,
        interval.high if interval else None,
        interval.method if interval else "",
        {seed: sum(scores.values()) / len(scores) for seed, scores in sorted(by_seed.items())},
        n_seeds,
        len({item for scores in by_seed.values() for item in scores}),
        sum(len(scores) for scores in by_seed.values()),
        chosen.metric,
        chosen.is_higher_better,
        chosen.chance,
    )


def list_item_scores(run: EvalRun, chosen: SuiteChosen) -> dict[str, float]:
    """The score of each item of a suite that has one, by its id; bits per byte so that their mean is the ratio."""
    items = [item for item in run.items if item.suite == chosen.suite and item.score is not None]
    values = [item.score for item in items if item.score is not None]
    if chosen.metric == BITS_PER_BYTE:
        values = spread_bits(items, values)
    return {item.item_id: value for item, value in zip(items, values, strict=True)}


def average_seeds(by_seed: Sequence[Mapping[str, float]], chance_seed: int) -> Interval:
    """The mean of the seeds' scores and its interval; each mapping is one seed's scores by item, none empty.

    Answers to one item under several seeds are not independent, so items are what is drawn: an item counts with the
    mean of its answers, weighted by how much of the seeds' scores it is (w = the sum of 1 / n over the seeds that
    asked it). Where weights differ, because seeds drew different items, the weighted mean is a ratio, made linear as in
    `evals.results.spread_bits` (W. G. Cochran, Sampling Techniques, 1977, section 6.3). One seed of right
    and wrong answers gives the interval of its run. The generator of the bootstrap starts from `chance_seed`.
    """
    sums: dict[str, float] = {}
    weights: dict[str, float] = {}
    for scores in by_seed:
        for item, score in scores.items():
            sums[item] = sums.get(item, 0.0) + score / len(scores)
            weights[item] = weights.get(item, 0.0) + 1 / len(scores)
    items = sorted(weights)  # a bootstrap hangs on the order, and which item is finished first is chance
    weight = np.array([weights[item] for item in items])
    values = np.array([sums[item] for item in items]) / weight
    in_range = bool(values.min() >= 0 and values.max() <= 1)
    if np.allclose(weight, weight[0]):
        values = np.round(values, 12)  # a mean of equal scores is that score, so that right and wrong stay 0 and 1
        return interval_of_scores(values, chance_seed) if in_range else bootstrap_mean(values, chance_seed)
    whole = float((values * weight).sum() / weight.sum())
    found = bootstrap_mean(whole + (values - whole) * weight / weight.mean(), chance_seed)
    low, high = (max(found.low, 0.0), min(found.high, 1.0)) if in_range else (found.low, found.high)
    return Interval(found.value, low, high, found.n, found.method, found.confidence, found.note)

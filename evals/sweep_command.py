"""`python -m evals sweep`: models x suites x seeds from a shell, on this machine or on a Ray cluster."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evals.endpoint_address import KEY_VARIABLE
from evals.eval_command import (
    EvalWorld,
    Watcher,
    add_setting_options,
    name_file,
    read_model,
    read_settings,
    read_suites,
)
from evals.eval_store import ingest_evals
from evals.home import find_home
from evals.jobs import count_usable_bytes, work_off
from evals.loaded import count_physical_cores
from evals.plans import EvalPlan, EvalSettings, ModelKind, TestedModel
from evals.ray_sweep import LOCAL, RayPlace, load_ray, run_on_ray
from evals.results import describe_run
from evals.run_files import EvalRun, ask_to_stop
from evals.sweep import Sweep, SweepScore, is_done, load_cells, load_sweep, plan_sweep, save_sweep, score_sweep
from evals.sweep_run import run_here
from evals.tested_models import hash_files
from evals.turn import hold_turn
from evals.user_store import UserStore
from sizing.command_line import EXIT_DONE, EXIT_FAILED, print_json
from sizing.errors import BadInputError, UserStoreError

DEFAULT_SEED = 1234


def add_sweep_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the command and its options."""
    sweep = commands.add_parser("sweep", help="models x suites x seeds, here or on a Ray cluster; resumed by its id")
    sweep.add_argument("--model", action="append", default=[], help="as for run; may be repeated")
    sweep.add_argument("--suite", action="append", default=[], help="as for run; may be repeated")
    sweep.add_argument("--seeds", default=str(DEFAULT_SEED), help="whole numbers with commas between")
    sweep.add_argument("--limit", type=int, help="at most this many items of each cell")
    sweep.add_argument("--minutes", type=float, help="choose how many items of each cell from the speed measured")
    sweep.add_argument(
        "--allow-code", action="store_true", help="let the suite 'code' run what a model wrote, confined"
    )
    sweep.add_argument("--ray", default="", metavar="ADDRESS", help="a Ray cluster's HOST:PORT, 'auto', or 'local'")
    sweep.add_argument("--workers", type=int, help="cells at once on Ray; default: as many as have room, local one")
    sweep.add_argument("--resume", default="", metavar="ID", help="go on with a sweep: its id, a beginning, or 'last'")
    sweep.add_argument("--json", action="store_true", help="print the result as JSON")
    add_setting_options(sweep, has_seed=False)


def read_seeds(text: str) -> tuple[int, ...]:
    """Seeds from a list with commas. Raises BadInputError for what is no whole number."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise BadInputError(f"--seeds wants whole numbers with commas between, got {text!r}") from None


def share_threads(settings: EvalSettings, place: RayPlace | None) -> EvalSettings:
    """Settings under which the cells that a local Ray runs at once do not wait for each other's cores."""
    if place is None or place.address != LOCAL or settings.n_threads is not None:
        return settings
    return replace(settings, n_threads=max(count_physical_cores() // (place.n_workers or 1), 1))


def ask_sweep(arguments: argparse.Namespace, world: EvalWorld, place: RayPlace | None, home: Path) -> Sweep:
    """The sweep that the options name, new and on disk. Raises BadInputError and what reading a model raises."""
    if arguments.limit is not None and arguments.minutes is not None:
        raise BadInputError("--limit and --minutes both say how many items; give one of them")
    models = tuple(name_file(read_model(text), world) for text in arguments.model)
    suites = read_suites(",".join(arguments.suite), home)
    seeds = read_seeds(arguments.seeds)
    settings = share_threads(read_settings(arguments, seed=DEFAULT_SEED), place)
    others = {"limit": arguments.limit, "minutes": arguments.minutes, "allow_code": arguments.allow_code}
    machine = world.detect().name
    plan_sweep(models, suites, seeds, settings=settings, machine=machine, **others)  # refused before hours of hashing
    hashes = hash_models(models, home) if place is not None else {}
    sweep = plan_sweep(models, suites, seeds, hashes, settings=settings, machine=machine, **others)
    save_sweep(home, sweep)
    return sweep


def hash_models(models: Sequence[TestedModel], home: Path) -> dict[str, str]:
    """What nodes must find: the hash of each model file, by its path."""
    files = [model for model in models if model.kind is ModelKind.FILE]
    return {model.path: hash_files(Path(model.path), home, say).sha256 for model in files}


def say(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


def run_sweep(arguments: argparse.Namespace, world: EvalWorld) -> int:
    """`sweep`: plan or take up, work off, print the table. Ctrl-C cancels and keeps what is done."""
    home = find_home()
    if arguments.workers is not None and not arguments.ray:
        raise BadInputError("--workers wants --ray: without it one cell runs after the other")
    place = RayPlace(arguments.ray, arguments.workers) if arguments.ray else None
    if place is not None:
        load_ray(place)  # missing, it is told before anything is planned
    if arguments.resume and (arguments.model or arguments.suite):
        raise BadInputError("--resume goes on with what was planned; leave --model and --suite out")
    sweep = load_sweep(home, arguments.resume) if arguments.resume else ask_sweep(arguments, world, place, home)
    n_done = sum(map(is_done, load_cells(home, sweep)))
    say(f"sweep {sweep.sweep_id}: {len(sweep.cells)} cells, {n_done} of them done")
    try:
        work_cells(home, sweep, world, place)
    except KeyboardInterrupt:
        say(f"stopped; it goes on with: python -m evals sweep --resume {sweep.sweep_id}")
    keep_results(home)
    runs = load_cells(home, sweep)
    print_json(describe_sweep(sweep, runs)) if arguments.json else print(format_sweep(sweep, runs))
    return EXIT_DONE if all(map(is_done, runs)) else EXIT_FAILED


def work_cells(home: Path, sweep: Sweep, world: EvalWorld, place: RayPlace | None) -> None:
    """Work off what is left, here or on Ray."""
    if place is None:
        run_here(home, sweep, lambda path, name: work_cell(path, name, world), say)
    elif place.address == LOCAL:
        with hold_turn(home, wait_aloud()):
            run_on_ray(home, sweep, place, world.detect, say, watch_cell)
    else:
        run_on_ray(home, sweep, place, world.detect, say, watch_cell)


def wait_aloud() -> Callable[[], None]:
    """Says once that another measurement is waited for."""
    said: list[str] = []

    def wait() -> None:
        if not said:
            said.append("waiting for another measurement to end")
            say(said[0])

    return wait


def watch_cell(path: Path, name: str) -> Callable[[], None]:
    """What says how a cell goes."""
    return Watcher(path, f"{name}: ").look


def work_cell(path: Path, name: str, world: EvalWorld) -> EvalRun:
    """Work on one cell on this machine and say how it goes; Ctrl-C cancels it and goes on up."""
    key = os.environ.get(KEY_VARIABLE)

    def count(plan: EvalPlan) -> int | None:
        return count_usable_bytes(world.detect(), plan)

    try:
        return work_off(path, usable_bytes=count, key=key, watch=watch_cell(path, name))
    except KeyboardInterrupt:
        ask_to_stop(path)
        work_off(path)
        raise


def keep_results(home: Path) -> None:
    """Take what has ended into the person's database; a database in use is told, for the app takes it in later."""
    try:
        ingest_evals(UserStore(home))
    except UserStoreError as error:
        say(f"not taken into your database yet: {error}")


def describe_sweep(sweep: Sweep, runs: Sequence[EvalRun | None]) -> dict[str, Any]:
    """A sweep as JSON takes it: its scores, and each cell's run without items."""
    return {
        "sweep_id": sweep.sweep_id,
        "created_at": sweep.created_at,
        "n_cells": len(sweep.cells),
        "n_done": sum(map(is_done, runs)),
        "seeds": list(sweep.seeds),
        "scores": [asdict(score) for score in score_sweep(sweep, runs)],
        "cells": [
            {"run_id": cell.run_id, "state": "waiting"} if run is None else describe_run(run)
            for cell, run in zip(sweep.cells, runs, strict=True)
        ],
    }


def format_sweep(sweep: Sweep, runs: Sequence[EvalRun | None]) -> str:
    """A sweep as a table: one line for each model and suite, and what is not done."""
    scores = score_sweep(sweep, runs)
    rows = [("model", "suite", "mean over seeds", "95% interval", "single seeds", "answers")]
    rows += [(s.model.title, s.title, *format_score_cells(s)) for s in scores]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    n_done = sum(map(is_done, runs))
    lines.append(
        f"sweep {sweep.sweep_id}: {n_done} of {len(runs)} cells done, seeds {', '.join(map(str, sweep.seeds))}"
    )
    for cell, run in zip(sweep.cells, runs, strict=True):
        if run is not None and run.reason:
            lines.append(f"  {cell.run_id} {cell.model.title}, seed {cell.settings.seed}: {run.state}: {run.reason}")
    if n_done < len(runs):
        lines.append(f"go on with: python -m evals sweep --resume {sweep.sweep_id}")
    return "\n".join(lines)


def format_score_cells(score: SweepScore) -> tuple[str, str, str, str]:
    """A score's mean, interval, span of its seeds, and how many answers it rests on."""
    if score.value is None or score.low is None or score.high is None:
        return "no score yet", "", "", ""
    factor, form, unit = (100, ".1f", "%") if score.is_higher_better else (1, ".4f", f" {score.metric}")
    least, most = min(score.by_seed.values()), max(score.by_seed.values())
    seeds = f"{len(score.by_seed)} of {score.n_seeds_planned}"
    return (
        f"{factor * score.value:{form}}{unit}",
        f"{factor * score.low:{form}} to {factor * score.high:{form}} ({score.method})",
        f"{factor * least:{form}} to {factor * most:{form}} ({seeds})",
        f"{score.n_answers:,} to {score.n_items:,} items",
    )

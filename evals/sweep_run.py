"""A sweep worked off on this machine, one cell after the other: the engine must be alone on its cores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evals.jobs import resume_run
from evals.plans import EvalPlan
from evals.run_files import EvalRun, create_run, find_run_path, load_run
from evals.sweep import Sweep, describe_cell, is_done

RunCell = Callable[[Path, str], EvalRun]
"""Works on one run file to its end and gives the run; the text says which cell it is, for lines of progress."""

Tell = Callable[[str], None]


def prepare_cell(home: Path, cell: EvalPlan) -> Path | None:
    """A cell's run file, made or put back into the queue; None for a cell that is done.

    What an earlier attempt finished stays in the file. Raises BadInputError where another process does not let go.
    """
    path = find_run_path(home, cell.run_id)
    if not path.is_file():
        return create_run(home, cell)
    if is_done(load_run(path)):
        return None
    resume_run(path)
    return path


def name_cell(sweep: Sweep, place: int) -> str:
    """A cell for a line of progress: '[3/12] Weighbridge Demo F16, demo, seed 1'."""
    return f"[{place + 1}/{len(sweep.cells)}] {describe_cell(sweep.cells[place])}"


def describe_end(run: EvalRun) -> str:
    """How a cell ended, in a few words: 'done, 120 items'."""
    reason = f": {run.reason}" if run.reason else ""
    return f"{run.state}, {len(run.items)} items{reason}"


def run_here(home: Path, sweep: Sweep, run_cell: RunCell, tell: Tell) -> None:
    """Work off every cell that is not done, in the plan's order. A cell that fails does not keep the others back."""
    for place, cell in enumerate(sweep.cells):
        name = name_cell(sweep, place)
        path = prepare_cell(home, cell)
        if path is None:
            tell(f"{name}: done already")
            continue
        n_kept = len(load_run(path).items)
        tell(f"{name}: goes on after {n_kept} items" if n_kept else f"{name}: begins")
        tell(f"{name}: {describe_end(run_cell(path, name))}")

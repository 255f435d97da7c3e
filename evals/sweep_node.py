"""One cell of a sweep on a machine that is not the person's: worked off in a folder of its own, told line by line.

Nothing here knows Ray: `evals.ray_sweep` calls `iterate_cell` in a task, so that every finished item leaves the machine
while the cell runs. What is lost with a machine is then at most the items of its last moment.
"""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evals.home import find_home
from evals.jobs import LOOK_EVERY_S, WORKER_COMMAND, count_usable_bytes, fail_run, work_off
from evals.own_suites import FOLDER as OWN_FOLDER
from evals.plans import EvalPlan, ModelKind
from evals.run_files import RUNS_FOLDER, format_line, load_run, open_run_file
from evals.tested_models import HASHES_FILE, hash_files
from sizing.errors import BadInputError, EngineError, WeighbridgeError
from sizing.hardware import Machine

CELLS_FOLDER = "sweep_cells"


@dataclass(frozen=True, slots=True)
class CellTask:
    """What a machine is given. `lines` is the run's file as far as it is, plan first; `detect` describes a machine.

    `model_sha256` is what the model's files must have, empty where none is needed. `own_suites` are files of suites
    made of a person's own data, by file name. `command` starts a worker; empty means the machine's own.
    """

    run_id: str
    lines: bytes
    model_sha256: str
    detect: Callable[[], Machine]
    own_suites: Mapping[str, bytes] = field(default_factory=dict)
    command: Sequence[str] = ()


class Left(Exception):
    """Nobody listens to the cell any more."""


def iterate_cell(task: CellTask) -> Iterator[bytes]:
    """Work on a cell to its end and give the new whole lines of its run file, as they come.

    A missing or different model file, and all else the existing worker can fail of, is an end in the file, not an
    exception. Ending the iteration early ends the worker.
    """
    with open_cell_folder(find_home(), task.run_id) as folder:
        path = folder / RUNS_FOLDER / f"{task.run_id}.jsonl"
        path.parent.mkdir(parents=True)
        machine = task.detect()
        path.write_bytes(name_machine(task.lines, machine.name))
        for name, content in task.own_suites.items():
            (folder / OWN_FOLDER).mkdir(exist_ok=True)
            (folder / OWN_FOLDER / Path(name).name).write_bytes(content)
        yield from iterate_work(path, task, machine)


def iterate_work(path: Path, task: CellTask, machine: Machine) -> Iterator[bytes]:
    """Work on the run in a thread and give its new lines meanwhile."""
    left = threading.Event()
    problems: list[BaseException] = []

    def watch() -> None:
        if left.is_set():
            raise Left

    def work() -> None:
        try:
            check_model(path, load_run(path).plan, task.model_sha256)
            work_off(path, task.command or WORKER_COMMAND, lambda plan: count_usable_bytes(machine, plan), watch=watch)
        except Left:
            return
        except WeighbridgeError as error:
            fail_run(path, str(error))
        except BaseException as error:
            problems.append(error)

    n_sent = path.stat().st_size
    thread = threading.Thread(target=work, name=f"cell {task.run_id}", daemon=True)
    thread.start()
    try:
        while True:
            is_last = not thread.is_alive()  # asked before reading, so that nothing comes after the last look
            lines = read_whole_lines(path, n_sent)
            n_sent += len(lines)
            if lines:
                yield lines
            if is_last:
                break
            thread.join(LOOK_EVERY_S)
    finally:
        left.set()
        thread.join()
    if problems:
        raise problems[0]


@contextlib.contextmanager
def open_cell_folder(home: Path, run_id: str) -> Iterator[Path]:
    """A folder for one attempt at a cell, gone afterwards; what dead attempts left behind goes first.

    The demonstration model's quantizations and the hashes of files are those of `home`, so that neither is made again.
    """
    cells = home / CELLS_FOLDER
    cells.mkdir(parents=True, exist_ok=True)
    for remains in cells.glob(f"{run_id}.*"):
        shutil.rmtree(remains, ignore_errors=True)
    (home / "demo").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{run_id}.", dir=cells, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "demo").symlink_to(home / "demo")
        yield folder


def name_machine(lines: bytes, machine: str) -> bytes:
    """A run's lines with the machine that works on it in the plan, whatever machine it was asked for on."""
    first, _, rest = lines.partition(b"\n")
    plan = json.loads(first)
    plan.pop("line")
    return format_line("plan", {**plan, "machine": machine}) + rest


def read_whole_lines(path: Path, n_bytes_before: int) -> bytes:
    """What a file holds after so many bytes, up to its last whole line."""
    with path.open("rb") as file:
        file.seek(n_bytes_before)
        new = file.read()
    return new[: new.rfind(b"\n") + 1]


def check_model(path: Path, plan: EvalPlan, sha256: str) -> None:
    """Raises EngineError, naming this machine, unless the model's files are here and those of the plan."""
    if plan.model.kind is not ModelKind.FILE or not sha256:
        return
    folder, node, file = path.parents[2], platform.node(), open_run_file(path)
    if file is None:
        raise EngineError(f"{path.name} is held by another process")
    with file:
        try:
            found = hash_files(Path(plan.model.path), find_home(), file.say).sha256
        except (BadInputError, OSError) as error:
            raise EngineError(f"the node {node} has no such model file: {error}") from error
    if found != sha256:
        raise EngineError(
            f"{Path(plan.model.path).name} on the node {node} has sha256 {found[:12]}, the sweep was planned with "
            f"{sha256[:12]}; copy the file there"
        )
    known = find_home() / HASHES_FILE
    if known.is_file():
        shutil.copyfile(known, folder / HASHES_FILE)

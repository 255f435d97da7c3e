"""Runs on a full disk, without an engine, after a jump of the clock, behind a killed worker: said, no answer lost."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evals import jobs, plans
from evals.dry_run import DryRunFailure
from evals.jobs import EvalQueue, work_off
from evals.plans import ModelKind, TestedModel, plan_suites
from evals.run_files import RunFile, RunState, create_run, list_runs, load_run, open_run_file
from evals.tested_models import make_demo
from sizing.errors import WeighbridgeError
from tests.faults.conftest import SmallDisk

FAKE = (sys.executable, str(Path(__file__).parents[1] / "evals" / "fake_worker.py"))
MODEL = TestedModel(ModelKind.FILE, "model", path="model.gguf")
NO_ENGINE = "raise ModuleNotFoundError(\"No module named 'llama_cpp'\", name='llama_cpp')\n"


def wait_until(what: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@pytest.fixture
def queue_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], EvalQueue]]:
    """Makes a queue of workers that cost nothing, in a folder; it is closed at the end."""
    made: list[EvalQueue] = []
    monkeypatch.setattr(jobs, "DISK_PAUSE_S", 0.1)

    def make(home: Path) -> EvalQueue:
        made.append(EvalQueue(home, FAKE))
        return made[-1]

    yield make
    for queue in made:
        queue.close()


def test_a_full_disk_makes_a_run_wait_and_it_goes_on_when_there_is_room(
    disk: SmallDisk, queue_on: Callable[[Path], EvalQueue]
) -> None:
    path = create_run(disk.path, plan_suites(MODEL, ("slow:30",)))
    queue = queue_on(disk.path)
    queue.start()
    wait_until(lambda: len(load_run(path).items) >= 2)
    disk.fill()
    wait_until(lambda: "No space left" in queue.problem or load_run(path).state is RunState.FAILED)
    before = load_run(path)
    assert "cannot be written" in queue.problem or "No space left" in before.reason
    lines = path.read_bytes()
    assert lines.endswith(b"\n") and len(before.items) >= 2
    disk.empty()
    if before.state.is_over:
        queue.resume(before.run_id)
    wait_until(lambda: load_run(path).state is RunState.DONE)
    assert [item.item_id for item in load_run(path).items] == [str(n) for n in range(30)]
    wait_until(lambda: queue.problem == "")


def test_a_run_whose_file_cannot_be_written_starts_no_worker_and_says_why(
    tmp_path: Path, queue_on: Callable[[Path], EvalQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = create_run(tmp_path, plan_suites(MODEL, ("items:3",)))
    is_full = True

    def refuse(self: RunFile, kind: str, record: Any) -> None:
        if is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        kept(self, kind, record)

    kept = RunFile.append
    monkeypatch.setattr(RunFile, "append", refuse)
    queue = queue_on(tmp_path)
    queue.start()
    wait_until(lambda: bool(queue.problem))
    assert queue.problem == (
        f"evaluations wait: {path.name} cannot be written (No space left on device); free some room"
    )
    assert load_run(path).state is RunState.QUEUED
    is_full = False
    wait_until(lambda: load_run(path).state is RunState.DONE)


def test_a_line_that_the_disk_refused_is_not_there_in_part(disk: SmallDisk) -> None:
    path = create_run(disk.path, plan_suites(MODEL, ("items:3",)))
    file = open_run_file(path)
    assert file is not None
    with file:
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            for _ in range(10):
                file.append("say", {"what": "x" * 3000})
        n_bytes = path.stat().st_size
        assert path.read_bytes().endswith(b"\n")
        disk.empty()
        file.say("room again")
    assert load_run(path).said == "room again" and path.stat().st_size > n_bytes


def hide_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every child find that llama-cpp-python is not installed."""
    package = tmp_path / "hidden" / "llama_cpp"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(NO_ENGINE)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))


def test_a_missing_engine_fails_the_run_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_engine(tmp_path, monkeypatch)
    run = work_off(create_run(tmp_path / "home", plan_suites(make_demo("Q8_0"), ("demo",), limit=2)))
    assert run.state is RunState.FAILED
    assert "llama.cpp" in run.reason and "make engine" in run.reason, run.reason


def test_a_missing_engine_is_an_answer_to_a_question_about_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from catalog.queries import find_machine, find_model, list_weights
    from catalog.store import open_catalog
    from evals.verify import verify
    from sizing.workload import Workload

    hide_engine(tmp_path, monkeypatch)
    catalog = open_catalog()
    model = find_model(catalog, "Qwen/Qwen3-0.6B")
    weights = list_weights(catalog, model.model_id)[0]
    try:
        told = verify(model.spec, weights, Workload(2048), find_machine(catalog, "RTX 4090"))
    except WeighbridgeError as error:
        message = str(error)
    else:
        assert isinstance(told, DryRunFailure)
        message = told.message
    assert "llama.cpp" in message and "make engine" in message, message


def test_a_killed_worker_loses_no_item_and_repeats_none(tmp_path: Path, queue_on: Callable[[Path], EvalQueue]) -> None:
    path = create_run(tmp_path, plan_suites(MODEL, ("slow:20",)))
    queue_on(tmp_path).start()
    wait_until(lambda: len(load_run(path).items) >= 2)
    pid = find_worker(path)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: load_run(path).state is RunState.DONE)
    run = load_run(path)
    assert [item.item_id for item in run.items] == [str(n) for n in range(20)] and run.n_attempts == 2


def find_worker(path: Path) -> int:
    """The process that works on a run, by its file."""
    from evals.run_files import iterate_lines

    return int([record["pid"] for record in iterate_lines(path) if record.get("line") == "start"][-1])


class Clock:
    """Stands in for `datetime` where runs are named, some time off."""

    def __init__(self, shift: timedelta) -> None:
        self.shift = shift

    def now(self, zone: Any) -> datetime:
        return datetime.now(zone) + self.shift


def test_a_clock_that_jumps_loses_no_run_and_no_queue(
    tmp_path: Path, queue_on: Callable[[Path], EvalQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = []
    for days in (0, 400, -4000, 0):
        monkeypatch.setattr(plans, "datetime", Clock(timedelta(days=days)))
        ids.append(create_run(tmp_path, plan_suites(MODEL, ("items:2",))).stem)
    queue_on(tmp_path).start()
    wait_until(lambda: all(run.state is RunState.DONE for run in list_runs(tmp_path)), 60)
    runs = list_runs(tmp_path)
    assert {run.run_id for run in runs} == set(ids) and all(len(run.items) == 2 for run in runs)

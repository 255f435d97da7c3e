"""Sweeps without an engine and without Ray: planned, worked off, resumed, brought back from nodes and summed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals import sweep_node
from evals.__main__ import main
from evals.intervals import wilson_interval
from evals.jobs import MAX_ATTEMPTS
from evals.plans import EvalPlan, EvalSettings, ModelKind, TestedModel, find_now
from evals.ray_sweep import Driver, RayPlace, check_address
from evals.run_files import EvalRun, ItemResult, RunState, SuiteChosen, find_run_path, is_held, load_run, open_run_file
from evals.sweep import Sweep, average_seeds, load_cells, load_sweep, plan_sweep, save_sweep, score_sweep
from evals.sweep_command import describe_sweep, format_sweep, keep_results
from evals.sweep_node import CellTask, iterate_cell
from evals.sweep_run import prepare_cell, run_here
from evals.user_store import UserStore
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.hardware import Device, DeviceKind, Machine

FAKE = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))
A, B = (TestedModel(ModelKind.DEMO, name) for name in "ab")
MACHINE = Machine("node of nobody", Device("host", DeviceKind.CPU, 2**34, 2**30))


def detect() -> Machine:
    return MACHINE


def count_items(path: Path) -> Counter[tuple[str, str]]:
    """How often each item stands in the file itself, whatever a reader makes of it."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return Counter((r["suite"], r["item_id"]) for r in records if r["line"] == "item")


def run_fake(path: Path, name: str, stops_after: int | None = None) -> EvalRun:
    """What the fake worker does, in this process; interrupted after so many items where that is said."""
    run, file = load_run(path), open_run_file(path)
    assert file is not None
    with file:
        file.append("start", {"at": find_now(), "pid": 1})
        ((kind, count),) = (suite.split(":") for suite in run.plan.suites)
        chosen = SuiteChosen(f"{kind}:{count}", kind, "1", int(count), int(count), 0.0, "score", True, "as asked")
        file.append("chosen", dataclasses.asdict(chosen))
        for n in range(len(run.items), int(count)):
            if n == stops_after:
                raise KeyboardInterrupt
            suite, score = f"{kind}:{count}", float(n % 2)
            item = ItemResult(suite, str(n), score, {}, "", "p", "o", "e", "", 3, 2, 0.1, "stop", find_now())
            file.append("item", dataclasses.asdict(item))
        if kind == "exit":
            file.end(RunState.FAILED, "the worker ended with exit code 7")
        else:
            file.end(RunState.DONE)
    return load_run(path)


# ---------------------------------------------------------------- the plan


def test_every_model_meets_every_suite_under_every_seed_once() -> None:
    sweep = plan_sweep((A, B), ("logic", "needle@8192"), (3, 1), limit=5, settings=EvalSettings(n_threads=2))
    met = [(c.model.name, c.suites[0], c.settings.seed) for c in sweep.cells]
    assert met == [(m, s, n) for m in "ab" for s in ("logic", "needle@8192") for n in (3, 1)]
    assert len({c.run_id for c in sweep.cells}) == 8
    assert all(c.limit == 5 and c.settings.n_threads == 2 for c in sweep.cells)
    assert (sweep.models, sweep.seeds) == ((A, B), (3, 1))


@pytest.mark.parametrize(
    ("models", "suites", "seeds", "said"),
    [
        ((), ("x",), (1,), "at least one model"),
        ((A,), (), (1,), "at least one suite"),
        ((A,), ("x",), (), "at least one seed"),
        ((A, A), ("x",), (1,), "each model once"),
        ((A,), ("x", "x"), (1,), "each suite once"),
        ((A,), ("x",), (1, 1), "each seed once, got 1, 1"),
        ((A,), ("x",), tuple(range(10_001)), "10,001"),
        ((A,), ("x",), (-1,), "seed"),
    ],
)
def test_a_sweep_that_says_nothing_or_too_much_is_refused(
    models: tuple[TestedModel, ...], suites: tuple[str, ...], seeds: tuple[int, ...], said: str
) -> None:
    with pytest.raises(BadInputError, match="sweep|seed") as caught:
        plan_sweep(models, suites, seeds)
    assert said in str(caught.value).replace("10001", "10,001")


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    sweep = plan_sweep((A,), ("logic",), (1, 2), {"m.gguf": "ab" * 32}, minutes=2.0)
    path = save_sweep(tmp_path, sweep)
    assert path.stat().st_mode & 0o077 == 0
    for name in (sweep.sweep_id, sweep.sweep_id[:-2], "last"):
        assert load_sweep(tmp_path, name) == sweep
    with pytest.raises(UnknownNameError):
        load_sweep(tmp_path, "20990101-000000000-aaaaaa")
    path.write_text(path.read_text(encoding="utf-8")[:-10], encoding="utf-8")
    with pytest.raises(BadInputError, match="no plan of a sweep"):
        load_sweep(tmp_path, sweep.sweep_id)
    path.write_text(json.dumps({"format": 99, "cells": [], "model_sha256": {}}), encoding="utf-8")
    with pytest.raises(BadInputError, match="format 99"):
        load_sweep(tmp_path, sweep.sweep_id)


# ---------------------------------------------------------------- on this machine


def test_done_cells_are_not_run_again_and_a_cut_one_goes_on(tmp_path: Path) -> None:
    sweep = plan_sweep((A, B), ("items:6",), (1, 2))
    asked: list[str] = []

    def run_two_and_a_half(path: Path, name: str) -> EvalRun:
        asked.append(name)
        return run_fake(path, name, 2 if len(asked) == 3 else None)

    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run_here(tmp_path, sweep, run_two_and_a_half, told.append)
    runs = load_cells(tmp_path, sweep)
    assert [None if run is None else run.state for run in runs] == [
        RunState.DONE,
        RunState.DONE,
        RunState.INTERRUPTED,
        None,
    ]
    before = [find_run_path(tmp_path, c.run_id).read_bytes() for c in sweep.cells[:2]]
    asked.clear()

    def run_and_note(path: Path, name: str) -> EvalRun:
        asked.append(name)
        return run_fake(path, name)

    run_here(tmp_path, sweep, run_and_note, told.append)
    assert asked == ["[3/4] b, items:6, seed 1", "[4/4] b, items:6, seed 2"]
    assert [find_run_path(tmp_path, c.run_id).read_bytes() for c in sweep.cells[:2]] == before
    for cell in sweep.cells:
        assert count_items(find_run_path(tmp_path, cell.run_id)) == Counter({("items:6", str(n)): 1 for n in range(6)})
    assert any("goes on after" in line and "[3/4]" in line for line in told)
    assert told.count("[1/4] a, items:6, seed 1: done already") == 1


def test_a_cell_that_fails_keeps_no_other_back_and_is_tried_again(tmp_path: Path) -> None:
    sweep = plan_sweep((A,), ("exit:2", "items:3"), (1,))
    told: list[str] = []
    run_here(tmp_path, sweep, run_fake, told.append)
    states = [run.state for run in load_cells(tmp_path, sweep) if run is not None]
    assert states == [RunState.FAILED, RunState.DONE]
    assert any("failed" in line and "exit code 7" in line for line in told)
    assert "exit code 7" in format_sweep(sweep, load_cells(tmp_path, sweep))
    run_here(tmp_path, sweep, run_fake, told.append)
    again = load_cells(tmp_path, sweep)[0]
    assert again is not None and again.n_attempts == 2 and len(again.items) == 2


def test_results_are_taken_in_once_however_often(tmp_path: Path) -> None:
    sweep = plan_sweep((A,), ("items:4",), (1, 2))
    run_here(tmp_path, sweep, run_fake, lambda line: None)
    keep_results(tmp_path)
    keep_results(tmp_path)
    with UserStore(tmp_path).open(writing=False) as db:
        assert db is not None
        assert db.execute("SELECT count(*), count(DISTINCT run_id) FROM eval_items").fetchall() == [(8, 2)]


# ---------------------------------------------------------------- what it amounts to


def test_one_seed_alone_is_its_run() -> None:
    scores = {str(n): float(n < 30) for n in range(40)}
    assert average_seeds([scores], 1) == wilson_interval(30, 40)


def test_seeds_on_the_same_items_are_no_new_items() -> None:
    """Greedy answers are the same under every seed: three seeds of 40 items are 40 items, not 120."""
    scores = {str(n): float(n < 30) for n in range(40)}
    assert average_seeds([scores] * 3, 1) == wilson_interval(30, 40)


def test_seeds_on_different_items_are_more_of_them() -> None:
    first = {str(n): float(n < 8) for n in range(10)}
    second = {str(100 + n): float(n < 6) for n in range(10)}
    assert average_seeds([first, second], 1) == wilson_interval(14, 20)


@given(
    st.lists(
        st.dictionaries(st.integers(0, 30).map(str), st.sampled_from((0.0, 0.5, 1.0)), min_size=1, max_size=20),
        min_size=1,
        max_size=4,
    )
)
def test_the_value_is_the_mean_of_the_seeds_scores_inside_its_interval(by_seed: list[dict[str, float]]) -> None:
    found = average_seeds(by_seed, 1)
    assert found.value == pytest.approx(sum(sum(s.values()) / len(s) for s in by_seed) / len(by_seed))
    assert -1e-9 <= found.low <= found.value + 1e-9 and found.value - 1e-9 <= found.high <= 1 + 1e-9


def test_the_table_has_a_line_for_each_model_and_suite(tmp_path: Path) -> None:
    sweep = plan_sweep((A, B), ("items:4", "items:6"), (1, 2))
    run_here(tmp_path, plan_part(sweep, 6), run_fake, lambda line: None)
    runs = load_cells(tmp_path, sweep)
    scores = score_sweep(sweep, runs)
    assert [(s.model.name, s.suite, sorted(s.by_seed), s.n_items, s.n_answers) for s in scores] == [
        ("a", "items:4", [1, 2], 4, 8),
        ("a", "items:6", [1, 2], 6, 12),
        ("b", "items:4", [1, 2], 4, 8),
    ]
    assert all(s.value == 0.5 and s.low is not None and s.low < 0.5 for s in scores)
    text = format_sweep(sweep, runs)
    assert "6 of 8 cells done" in text and f"--resume {sweep.sweep_id}" in text and "50.0%" in text
    told = json.loads(json.dumps(describe_sweep(sweep, runs)))
    assert (told["n_cells"], told["n_done"], told["cells"][-1]["state"]) == (8, 6, "waiting")


def plan_part(sweep: Sweep, n_cells: int) -> Sweep:
    return Sweep(sweep.sweep_id, sweep.created_at, sweep.cells[:n_cells], sweep.model_sha256)


# ---------------------------------------------------------------- on a node


@pytest.fixture
def node_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "node"
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(home))
    return home


def make_task(home: Path, cell: EvalPlan, sha256: str = "") -> CellTask:
    path = prepare_cell(home, cell)
    assert path is not None
    return CellTask(cell.run_id, path.read_bytes(), sha256, detect, command=FAKE)


def test_a_cell_tells_its_items_while_it_runs_and_leaves_nothing_behind(tmp_path: Path, node_home: Path) -> None:
    (cell,) = plan_sweep((A,), ("slow:12",), (1,)).cells
    pieces = list(iterate_cell(make_task(tmp_path, cell)))
    assert len(pieces) > 2 and all(piece.endswith(b"\n") for piece in pieces)
    records = [json.loads(line) for line in b"".join(pieces).splitlines()]
    assert [r["item_id"] for r in records if r["line"] == "item"] == [str(n) for n in range(12)]
    told = [r for r in records if r["line"] != "say"]
    assert (told[0]["line"], told[-1]["line"], told[-1]["status"]) == ("start", "end", "done")
    assert not list((node_home / sweep_node.CELLS_FOLDER).iterdir())


def test_a_node_that_nobody_hears_stops_its_worker(tmp_path: Path, node_home: Path) -> None:
    (cell,) = plan_sweep((A,), ("slow:1000",), (1,)).cells
    pieces = iterate_cell(make_task(tmp_path, cell))
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert not list((node_home / sweep_node.CELLS_FOLDER).iterdir())


@pytest.mark.parametrize(("is_there", "said"), [(False, "has no such model file"), (True, "copy the file there")])
def test_a_model_file_that_is_missing_or_another_fails_the_cell_with_the_node(
    tmp_path: Path, node_home: Path, is_there: bool, said: str
) -> None:
    path = tmp_path / "m.gguf"
    if is_there:
        path.write_bytes(b"GGUF other")
    (cell,) = plan_sweep((TestedModel(ModelKind.FILE, "m", path=str(path)),), ("items:3",), (1,)).cells
    last = json.loads(b"".join(iterate_cell(make_task(tmp_path, cell, "ab" * 32))).splitlines()[-1])
    assert (last["line"], last["status"]) == ("end", "failed")
    assert said in last["reason"] and "node" in last["reason"]


# ---------------------------------------------------------------- the driver, with a Ray made of Python


class WorkerDied(Exception):
    """A death as Ray reports it."""


class TaskRaised(Exception):
    """An exception of the task's own code as Ray reports it."""

    cause = ValueError("no good")


class FakeStream:
    """What a task gives, until it dies after so many pieces."""

    def __init__(self, pieces: Iterator[bytes], dies_after: int | None, death: Exception) -> None:
        self.pieces, self.left, self.death = pieces, dies_after, death
        self.is_dead = False

    def __next__(self) -> bytes | Exception:
        if self.is_dead:
            raise StopIteration
        if self.left == 0:
            self.is_dead = True
            with contextlib.suppress(AttributeError):
                self.pieces.close()  # type: ignore[attr-defined]
            return self.death
        self.left = None if self.left is None else self.left - 1
        return next(self.pieces)


class FakeRay:
    """Ray's few words that the driver uses, in this process. `deaths` are of the tasks in the order they are given."""

    exceptions = SimpleNamespace(RayTaskError=TaskRaised, RayError=WorkerDied)

    def __init__(self, deaths: list[tuple[int, Exception] | None]) -> None:
        self.deaths = deaths
        self.given: list[CellTask] = []

    def remote(self, **options: Any) -> Callable[[Callable[[CellTask], Iterator[bytes]]], Any]:
        assert options["max_retries"] == 0 and options["num_returns"] == "streaming"

        def wrap(function: Callable[[CellTask], Iterator[bytes]]) -> Any:
            def give(task: CellTask) -> FakeStream:
                self.given.append(task)
                death = self.deaths.pop(0) if self.deaths else None
                return FakeStream(function(task), death[0] if death else None, death[1] if death else WorkerDied())

            return SimpleNamespace(remote=give)

        return wrap

    def wait(self, streams: list[FakeStream], **options: Any) -> tuple[list[FakeStream], list[FakeStream]]:
        return streams[:1], streams[1:]

    def get(self, told: bytes | Exception) -> bytes:
        if isinstance(told, Exception):
            raise told
        return told

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 8.0}}, {"Alive": False, "Resources": {"CPU": 64.0}}]


def drive(home: Path, sweep: Sweep, ray: FakeRay, **others: Any) -> list[str]:
    told: list[str] = []
    place = others.pop("place", RayPlace("local", 2))
    driver = Driver(home, sweep, place, detect, told.append, others.pop("watch", lambda p, n: lambda: None), FAKE, ray)
    try:
        driver.work()
    except BaseException:
        driver.leave()
        raise
    return told


def test_a_cell_whose_node_died_goes_on_elsewhere_from_what_came_back(tmp_path: Path, node_home: Path) -> None:
    sweep = plan_sweep((A,), ("slow:12",), (1, 2))
    ray = FakeRay([(3, WorkerDied()), None, None])
    told = drive(tmp_path, sweep, ray)
    for run in load_cells(tmp_path, sweep):
        assert run is not None and run.state is RunState.DONE
        counts = count_items(find_run_path(tmp_path, run.run_id))
        assert counts == Counter({("slow:12", str(n)): 1 for n in range(12)})
    retried = [task for task in ray.given if task.run_id == sweep.cells[0].run_id]
    assert len(retried) == 2 and b'"line": "item"' in retried[1].lines
    assert any("its worker or node died (WorkerDied); another goes on after" in line for line in told)
    first = load_cells(tmp_path, sweep)[0]
    assert first is not None and first.n_attempts == 2


def test_a_cell_that_kills_every_worker_is_given_up(tmp_path: Path, node_home: Path) -> None:
    sweep = plan_sweep((A,), ("slow:500", "items:2"), (1,))
    ray = FakeRay([(3, WorkerDied()), None, (3, WorkerDied()), (3, WorkerDied())])
    drive(tmp_path, sweep, ray)
    first, second = load_cells(tmp_path, sweep)
    assert first is not None and second is not None
    assert (first.state, second.state) == (RunState.FAILED, RunState.DONE)
    assert f"died {MAX_ATTEMPTS} times (WorkerDied)" in first.reason and first.items


def test_a_task_that_raises_is_no_death_and_is_not_repeated(tmp_path: Path, node_home: Path) -> None:
    sweep = plan_sweep((A,), ("items:2",), (1,))
    ray = FakeRay([(0, TaskRaised())])
    drive(tmp_path, sweep, ray)
    (run,) = load_cells(tmp_path, sweep)
    assert run is not None and run.state is RunState.FAILED and "no good" in run.reason and len(ray.given) == 1


def test_an_interrupted_sweep_keeps_its_items_and_goes_on(tmp_path: Path, node_home: Path) -> None:
    sweep = plan_sweep((A,), ("slow:12",), (1, 2))
    held: list[bool] = []

    def watch(path: Path, name: str) -> Callable[[], None]:
        def look() -> None:
            held.append(is_held(path))
            if len(load_run(path).items) >= 3:
                raise KeyboardInterrupt

        return look

    with pytest.raises(KeyboardInterrupt):
        drive(tmp_path, sweep, FakeRay([]), watch=watch)
    assert held and all(held)  # nobody else may take the run for its own meanwhile
    states = [run.state for run in load_cells(tmp_path, sweep) if run is not None]
    assert states == [RunState.CANCELLED, RunState.CANCELLED]
    drive(tmp_path, sweep, FakeRay([]))
    assert drive(tmp_path, sweep, FakeRay([])) == [f"[{n}/2] a, slow:12, seed {n}: done already" for n in (1, 2)]
    for cell in sweep.cells:
        assert set(count_items(find_run_path(tmp_path, cell.run_id)).values()) == {1}
        assert len(load_run(find_run_path(tmp_path, cell.run_id)).items) == 12


@pytest.mark.parametrize(
    ("place", "threads", "slots", "cpus"),
    [
        (RayPlace("local", 3), None, 3, 1),
        (RayPlace("local"), 4, 1, 1),
        (RayPlace("10.0.0.1:6379"), None, 1, 8),
        (RayPlace("10.0.0.1:6379"), 2, 4, 2),
        (RayPlace("10.0.0.1:6379", 7), 2, 7, 2),
    ],
)
def test_a_cell_takes_its_threads_or_a_whole_node(
    tmp_path: Path, place: RayPlace, threads: int | None, slots: int, cpus: int
) -> None:
    sweep = plan_sweep((A,), ("x",), (1,), settings=EvalSettings(n_threads=threads))
    driver = Driver(tmp_path, sweep, place, detect, print, lambda p, n: lambda: None, (), FakeRay([]))
    assert (driver.count_slots(sweep.cells[0]), driver.count_cpus(sweep.cells[0])) == (slots, cpus)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:nonsense", "127.0.0.1:99999"])
def test_an_address_where_nobody_listens_is_told_at_once(address: str) -> None:
    with pytest.raises(UnsupportedError, match="ray start --head"):
        check_address(address)


# ---------------------------------------------------------------- the command's complaints


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--suite", "demo"], 2, "at least one model"),
        (["--model", "demo"], 2, "at least one suite"),
        (["--model", "demo", "--suite", "demo", "--seeds", "1,x"], 2, "--seeds wants whole numbers"),
        (["--model", "demo", "--suite", "demo", "--seeds", "1,1"], 2, "each seed once"),
        (["--model", "demo", "--suite", "demo", "--workers", "2"], 2, "--workers wants --ray"),
        (["--model", "demo", "--suite", "demo", "--ray", "ray://h:10001"], 2, "--ray wants HOST:PORT"),
        (
            ["--model", "demo", "--suite", "demo", "--ray", "local", "--workers", "0"],
            2,
            "--workers wants a whole number",
        ),
        (["--model", "demo", "--suite", "demo", "--limit", "1", "--minutes", "1"], 2, "one of them"),
        (["--resume", "none"], 2, "unknown sweep"),
        (["--resume", "last", "--model", "demo"], 2, "leave --model and --suite out"),
        (["--model", "demo", "--suite", "demo", "--ray", "local"], 1, "pip install -r requirements-ray.txt"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(
    arguments: list[str],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    assert main(["sweep", *arguments]) == code
    told = capsys.readouterr().err.strip()
    assert said in told and len(told.splitlines()) == 1
    assert not (tmp_path / "sweeps").exists() and not (tmp_path / "runs").exists()

"""The queue against workers that abort, hang, vanish and are cancelled: no item lost, none twice, the queue alive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evals import jobs
from evals.jobs import EvalQueue, count_usable_bytes, work_off
from evals.plans import EvalPlan, EvalSettings, ModelKind, TestedModel, plan_divergence, plan_suites
from evals.run_files import (
    RunState,
    create_run,
    find_run,
    is_held,
    is_unfinished,
    list_runs,
    load_run,
    open_run_file,
)
from sizing.errors import BadInputError, UnknownNameError
from sizing.hardware import Device, DeviceKind, Machine

FAKE = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))
MODEL = TestedModel(ModelKind.FILE, "model", path="model.gguf")


def ask(home: Path, *suites: str) -> Path:
    return create_run(home, plan_suites(MODEL, suites))


def wait_until(what: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def count_items(path: Path) -> Counter[tuple[str, str]]:
    """How often each item stands in the file itself, whatever a reader makes of it."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return Counter((r["suite"], r["item_id"]) for r in records if r["line"] == "item")


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[EvalQueue]:
    made = EvalQueue(tmp_path, FAKE)
    yield made
    made.close()


def test_runs_are_done_one_after_another_in_the_order_of_asking(queue: EvalQueue, tmp_path: Path) -> None:
    first = queue.enqueue(plan_suites(MODEL, ("slow:5",)))
    time.sleep(0.002)  # ids sort by the millisecond
    second = queue.enqueue(plan_suites(MODEL, ("items:3",)))
    wait_until(lambda: load_run(second).state is RunState.DONE)
    assert load_run(first).state is RunState.DONE
    assert load_run(first).ended_at <= load_run(second).started_at
    assert [len(run.items) for run in list_runs(tmp_path)] == [3, 5]


@pytest.mark.parametrize("n_kills", [1, 2])
def test_a_killed_worker_is_started_again_and_goes_on_where_it_stopped(tmp_path: Path, n_kills: int) -> None:
    path = ask(tmp_path, "slow:30")
    killed: list[int] = []

    def kill_at_ten() -> None:
        run = load_run(path)
        if len(killed) < n_kills and len(run.items) >= 8 * (len(killed) + 1):
            pid = json.loads(next(x for x in reversed(path.read_text().splitlines()) if '"start"' in x))["pid"]
            if pid not in killed:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    run = work_off(path, FAKE, watch=kill_at_ten)
    assert len(killed) == n_kills
    assert (run.state, run.n_attempts) == (RunState.DONE, n_kills + 1)
    assert count_items(path) == Counter({("slow:30", str(n)): 1 for n in range(30)})


def test_a_run_killed_again_and_again_fails_with_its_items_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MAX_ATTEMPTS", 2)
    path = ask(tmp_path, "slow:200")

    def kill() -> None:
        starts = [json.loads(x) for x in path.read_text().splitlines() if '"start"' in x]
        if starts and is_held(path):
            os.kill(starts[-1]["pid"], signal.SIGKILL)

    run = work_off(path, FAKE, watch=kill)
    assert run.state is RunState.FAILED
    assert "killed 2 times (SIGKILL)" in run.reason


def test_a_native_abort_fails_its_run_with_the_assertion_and_the_queue_goes_on(
    queue: EvalQueue, tmp_path: Path
) -> None:
    broken = ask(tmp_path, "abort:3")
    time.sleep(0.002)  # ids sort by the millisecond
    fine = queue.enqueue(plan_suites(MODEL, ("items:2",)))
    wait_until(lambda: load_run(fine).state is RunState.DONE)
    run = load_run(broken)
    assert (run.state, len(run.items), run.n_attempts) == (RunState.FAILED, 3, 1)
    assert run.reason == "llama.cpp ended with SIGABRT: ggml.c:12: GGML_ASSERT(false) failed"


def test_a_fault_and_an_exit_without_a_word_are_told_apart(tmp_path: Path) -> None:
    assert work_off(ask(tmp_path, "fault:1"), FAKE).reason == "llama.cpp ended with SIGSEGV"
    assert work_off(ask(tmp_path, "exit:0"), FAKE).reason == "the worker ended with exit code 7"


def test_a_failed_run_can_be_resumed_and_asks_nothing_twice(queue: EvalQueue, tmp_path: Path) -> None:
    path = ask(tmp_path, "items:4", "exit:2")
    assert work_off(path, FAKE).state is RunState.FAILED
    queue.command = (sys.executable, "-c", "import sys; sys.exit(3)")  # a worker that does nothing at all
    queue.resume(path.stem)
    wait_until(lambda: load_run(path).state is RunState.FAILED and "code 3" in load_run(path).reason)
    assert sum(count_items(path).values()) == 6


def test_a_run_under_way_is_cancelled_and_can_go_on_later(queue: EvalQueue) -> None:
    path = queue.enqueue(plan_suites(MODEL, ("slow:60",)))
    wait_until(lambda: len(load_run(path).items) > 3)
    queue.cancel(path.stem)
    wait_until(lambda: load_run(path).state is RunState.CANCELLED)
    n_before = len(load_run(path).items)
    assert 3 < n_before < 60
    queue.resume(path.stem)
    wait_until(lambda: load_run(path).state is RunState.DONE)
    assert count_items(path) == Counter({("slow:60", str(n)): 1 for n in range(60)})


def test_a_run_still_waiting_is_cancelled_without_a_worker(tmp_path: Path) -> None:
    path = ask(tmp_path, "items:3")
    EvalQueue(tmp_path, FAKE).cancel(path.stem)
    run = load_run(path)
    assert (run.state, run.n_attempts) == (RunState.CANCELLED, 0)


def test_a_worker_that_does_not_stop_when_asked_is_ended(queue: EvalQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "CANCEL_GRACE_S", 0.3)
    path = queue.enqueue(plan_suites(MODEL, ("hang:2",)))
    wait_until(lambda: len(load_run(path).items) == 2)
    queue.cancel(path.stem)
    wait_until(lambda: load_run(path).state is RunState.CANCELLED)
    assert len(load_run(path).items) == 2


def test_a_run_survives_the_death_of_the_app(tmp_path: Path) -> None:
    path = ask(tmp_path, "slow:40")
    script = (
        f"import sys, time; sys.path.append({str(Path(__file__).parents[2])!r})\n"
        "from pathlib import Path\nfrom evals.jobs import EvalQueue\n"
        f"EvalQueue(Path({str(tmp_path)!r}), {FAKE!r}).start(); time.sleep(600)\n"
    )
    app = subprocess.Popen([sys.executable, "-c", script])
    wait_until(lambda: len(load_run(path).items) > 5)
    app.kill()
    app.wait()
    wait_until(lambda: not is_held(path))  # the worker follows its parent
    cut = load_run(path)
    assert cut.state is RunState.INTERRUPTED
    assert len(cut.items) < 40
    queue = EvalQueue(tmp_path, FAKE)
    queue.start()
    wait_until(lambda: load_run(path).state is RunState.DONE)
    queue.close()
    assert count_items(path) == Counter({("slow:40", str(n)): 1 for n in range(40)})


def test_two_apps_on_one_folder_ask_nothing_twice(tmp_path: Path) -> None:
    paths = [ask(tmp_path, "slow:15"), ask(tmp_path, "slow:10")]
    queues = [EvalQueue(tmp_path, FAKE), EvalQueue(tmp_path, FAKE)]
    for queue in queues:
        queue.start()
    wait_until(lambda: all(load_run(p).state is RunState.DONE for p in paths))
    for queue in queues:
        queue.close()
    assert [max(count_items(p).values()) for p in paths] == [1, 1]
    assert [sum(count_items(p).values()) for p in paths] == [15, 10]


def test_closing_leaves_a_run_to_be_resumed(tmp_path: Path) -> None:
    queue = EvalQueue(tmp_path, FAKE)
    path = queue.enqueue(plan_suites(MODEL, ("slow:40",)))
    wait_until(lambda: len(load_run(path).items) > 2)
    queue.close()
    assert load_run(path).state is RunState.INTERRUPTED
    assert not is_held(path)


def test_a_torn_last_line_is_cut_off_and_nothing_else(tmp_path: Path) -> None:
    path = ask(tmp_path, "items:3")
    work_off(path, FAKE)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rfind(b'{"line": "end"')] + b'{"line": "item", "suite": "items:3", "ite')
    assert load_run(path).state is RunState.INTERRUPTED
    assert len(load_run(path).items) == 3
    file = open_run_file(path)
    assert file is not None
    with file:
        file.end(RunState.DONE)
    assert load_run(path).state is RunState.DONE
    assert [json.loads(line)["line"] for line in path.read_text().splitlines()][-2:] == ["item", "end"]


def test_a_run_that_is_done_cannot_be_resumed_and_one_under_way_not_removed(queue: EvalQueue, tmp_path: Path) -> None:
    path = ask(tmp_path, "items:1")
    work_off(path, FAKE)
    with pytest.raises(BadInputError, match="is done"):
        queue.resume(path.stem)
    file = open_run_file(path)
    assert file is not None
    with file, pytest.raises(BadInputError, match="under way"):
        queue.remove(path.stem)
    queue.remove(path.stem)
    assert list_runs(tmp_path) == ()


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "a/b", "x" * 80, "..", "a\x00b"])
def test_no_name_of_a_run_leaves_its_folder(queue: EvalQueue, name: str) -> None:
    with pytest.raises(BadInputError, match="a run's id"):
        queue.cancel(name)


def test_a_run_is_found_by_a_beginning_and_by_last(tmp_path: Path) -> None:
    path = ask(tmp_path, "items:1")
    assert find_run(tmp_path, path.stem[:-3]) == path
    assert find_run(tmp_path, "last") == path
    with pytest.raises(UnknownNameError, match="unknown run"):
        find_run(tmp_path, "no-such-run")
    time.sleep(0.002)  # ids sort by the millisecond
    other = ask(tmp_path, "items:1")
    with pytest.raises(BadInputError, match="several runs"):
        find_run(tmp_path, path.stem[:4])
    assert find_run(tmp_path, "last") == other


@pytest.mark.parametrize(
    "text", ["", "no json\n", '{"line": "item"}\n', '{"line": "plan", "run_id": 3}\n', "[" * 5000 + "\n"]
)
def test_a_file_that_is_no_run_is_left_out_of_the_list(tmp_path: Path, text: str) -> None:
    good = ask(tmp_path, "items:1")
    bad = good.with_name("20200101-000000-bad.jsonl")
    bad.write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match="plan"):
        load_run(bad)
    assert [run.run_id for run in list_runs(tmp_path)] == [good.stem]


def test_the_end_of_a_file_tells_whether_a_run_is_over(tmp_path: Path) -> None:
    path = ask(tmp_path, "items:40")
    assert is_unfinished(path)
    work_off(path, FAKE)
    assert not is_unfinished(path)
    jobs.resume_run(ended := ask(tmp_path, "exit:1"))
    work_off(ended, FAKE)
    assert not is_unfinished(ended)
    jobs.resume_run(ended)
    assert is_unfinished(ended)
    with path.open("ab") as file:
        file.write(b'{"line": "item", "torn')
    assert not is_unfinished(path)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (plan_suites(MODEL, ("a",)), 30),
        (plan_suites(MODEL, ("a",), settings=EvalSettings(n_gpu_layers=0)), 10),
        (plan_suites(MODEL, ("a",), settings=EvalSettings(n_gpu_layers=5)), 30),
        (plan_divergence(MODEL, MODEL), 10),
        (plan_suites(TestedModel(ModelKind.ENDPOINT, "x", url="http://x"), ("a",)), None),
    ],
)
def test_a_run_may_take_what_the_machine_has_where_its_layers_go(plan: EvalPlan, expected: int | None) -> None:
    def make(name: str, kind: DeviceKind, usable_bytes: int) -> Device:
        return Device(name, kind, memory_bytes=100, usable_bytes=usable_bytes, bandwidth_bytes_per_s=None)

    machine = Machine("m", make("host", DeviceKind.CPU, 10), (make("card", DeviceKind.GPU, 20),))
    assert count_usable_bytes(machine, plan) == expected


def test_lines_of_another_version_are_passed_over(tmp_path: Path) -> None:
    path = ask(tmp_path, "items:2")
    work_off(path, FAKE)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"line": "item", "suite": "items:2"}\n{"line": "chosen"}\n{"line": "future"}\n"text"\n')
    run = load_run(path)
    assert (run.state, len(run.items)) == (RunState.DONE, 2)

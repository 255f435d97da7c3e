"""A sweep on a real Ray of this machine, a worker of it killed: every item once, and the scores of a sweep without."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from catalog.machine import detect_machine
from evals.eval_store import ingest_evals
from evals.jobs import work_off
from evals.plans import EvalSettings
from evals.ray_sweep import RayPlace, run_on_ray
from evals.run_files import RunState, find_run_path, load_run
from evals.sweep import load_cells, plan_sweep, score_sweep
from evals.sweep_run import run_here
from evals.tested_models import make_demo
from evals.user_store import UserStore

N_ITEMS = 40

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install -r requirements-ray.txt"),
]


def list_listening(pids: set[int]) -> set[str]:
    """The addresses on which these processes listen."""
    found = [c for c in psutil.net_connections("inet") if c.pid in pids and c.status == psutil.CONN_LISTEN]
    return {c.laddr.ip.removeprefix("::ffff:") for c in found}


def test_a_killed_worker_loses_nothing_and_counts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path))
    settings = EvalSettings(n_parallel=2, n_threads=1)
    model, suites, seeds = make_demo("Q4_K_M"), ("demo",), (1, 2)
    sweep = plan_sweep((model,), suites, seeds, settings=settings, limit=N_ITEMS)
    killed: list[int] = []
    heard: set[str] = set()

    def watch(path: Path, name: str) -> Callable[[], None]:
        def look() -> None:
            run = load_run(path)
            if not killed and 0 < len(run.items) < N_ITEMS:
                starts = [json.loads(x) for x in path.read_text(encoding="utf-8").splitlines() if '"start"' in x]
                worker = psutil.Process(starts[-1]["pid"]).parent()
                assert worker is not None and "ray" in " ".join(worker.cmdline())
                raylet = worker.parent()
                assert raylet is not None
                heard.update(list_listening({raylet.pid, worker.pid, *(p.pid for p in raylet.children())}))
                os.kill(worker.pid, signal.SIGKILL)
                killed.append(worker.pid)

        return look

    told: list[str] = []
    run_on_ray(tmp_path, sweep, RayPlace("local", 2), detect_machine, told.append, watch)
    assert len(killed) == 1 and sum("another goes on after" in line for line in told) == 1, told
    assert heard <= {"127.0.0.1"} and os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert capsys.readouterr().out == ""
    runs = load_cells(tmp_path, sweep)
    assert [run.state for run in runs if run is not None] == [RunState.DONE] * 2
    assert sorted(run.n_attempts for run in runs if run is not None) == [1, 2]
    for cell in sweep.cells:
        lines = find_run_path(tmp_path, cell.run_id).read_text(encoding="utf-8").splitlines()
        counts = Counter(r["item_id"] for r in map(json.loads, lines) if r["line"] == "item")
        assert len(counts) == N_ITEMS and set(counts.values()) == {1}
    assert ingest_evals(UserStore(tmp_path)) == 2 and not list((tmp_path / "sweep_cells").iterdir())

    alone = plan_sweep((model,), suites, seeds, settings=settings, limit=N_ITEMS)
    run_here(tmp_path, alone, lambda path, name: work_off(path), told.append)
    answers = [
        {(r.plan.settings.seed, i.item_id): (i.score, i.output) for r in load_cells(tmp_path, s) if r for i in r.items}
        for s in (sweep, alone)
    ]
    assert answers[0] == answers[1]
    assert score_sweep(sweep, runs) == score_sweep(alone, load_cells(tmp_path, alone))


def test_nothing_of_ray_is_loaded_before_a_sweep_asks_for_it() -> None:
    code = "import sys, evals.__main__; assert 'ray' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0

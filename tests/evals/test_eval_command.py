"""Evaluations from a shell, with the real worker, llama.cpp and lm-eval, on the demonstration model."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from evals.__main__ import main
from evals.demo.corpus import list_held_out_items
from evals.demo.measure import MODEL_FILE
from evals.jobs import work_off
from evals.plans import EvalSettings, plan_suites
from evals.run_files import RunState, create_run, list_runs, load_run
from evals.tested_models import make_demo
from evals.weightless import write_gguf_header

pytestmark = pytest.mark.engine

ONE = ("--threads", "1")
"""Threads that wait for each other by spinning are slow beyond measure where something else runs beside the tests."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path))
    return tmp_path


def test_two_quantizations_are_run_compared_listed_and_written(
    home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    items = tmp_path / "items.csv"
    assert main(["run", "--model", "demo", "--suite", "demo,demo_choice", *ONE, "--json", "--csv", str(items)]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["state"] == "done"
    by_suite = {score["suite"]: score for score in first["scores"]}
    # what this model is known to reach on all held-out items (evals/demo/README.md: 82% of 1,758) lies inside
    assert by_suite["demo"]["low"] < 0.82 < by_suite["demo"]["high"]
    assert by_suite["demo_choice"]["value"] > 0.8 > by_suite["demo_choice"]["chance"]
    assert len(first["items"]) == by_suite["demo"]["n_items"] + by_suite["demo_choice"]["n_items"]
    assert {row["suite"] for row in csv.DictReader(items.open(encoding="utf-8"))} == {"demo", "demo_choice"}
    facts = first["facts"]
    assert len(facts["file_sha256"]) == 64 and facts["file_bytes"] == MODEL_FILE.stat().st_size
    assert facts["engine"].startswith("llama-cpp-python") and len(facts["template_sha256"]) == 64
    assert facts["used_template"] and facts["machine"] and set(facts["suite_versions"]) == {"demo", "demo_choice"}
    assert first["decode_tokens_per_s"] > 0 and first["peak_bytes"] > 2**20

    assert main(["run", "--model", "demo:Q2_K", "--suite", "demo", *ONE]) == 0
    assert "Weighbridge Demo Q2_K, done" in capsys.readouterr().out
    newest, oldest = list_runs(home)
    assert newest.facts is not None and newest.facts.file_sha256 != facts["file_sha256"]
    assert main(["compare", oldest.run_id, "last", "--json"]) == 0
    found = {c["suite"]: c for c in json.loads(capsys.readouterr().out)["suites"]}
    assert found["demo"]["comparison"]["verdict"] == "a better"
    assert found["demo"]["comparison"]["n"] == by_suite["demo"]["n_items"]
    assert found["demo_choice"]["why_not"] == "only one of the runs has it"

    assert main(["runs"]) == 0
    assert capsys.readouterr().out.count("done") == 2
    assert main(["list", "--json"]) == 0
    assert {"demo", "demo_choice"} <= {s["name"] for s in json.loads(capsys.readouterr().out)["suites"]}


def test_the_answers_are_those_of_the_model_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """The same questions put to the model by other code, one chat each: the same ones are right."""
    from evals.demo.measure import list_items, measure_quant, open_child

    assert main(["run", "--model", "demo", "--suite", "demo", *ONE, "--json"]) == 0
    ours = json.loads(capsys.readouterr().out)["items"]
    wanted = {item.prompt: item for skill in ("arithmetic", "facts") for item in list_held_out_items(skill, 400)}
    asked = [wanted[p] for i in ours for p in wanted if i["category"] in ("arithmetic", "facts") and p in i["prompt"]]
    assert len(asked) >= 70 and list_items(1)
    with open_child() as child:
        theirs = measure_quant(child, MODEL_FILE, "F16", asked)
    n_ours = sum(i["score"] for i in ours if i["category"] in ("arithmetic", "facts"))
    assert n_ours == theirs.total.n_right


def test_a_real_worker_killed_twice_asks_nothing_twice(home: Path) -> None:
    plan = plan_suites(make_demo(), ("demo",), settings=EvalSettings(n_parallel=1, n_threads=1))
    path = create_run(home, plan)
    killed: list[int] = []

    def kill() -> None:
        run = load_run(path)
        if len(killed) < 2 and len(run.items) > 20 * (len(killed) + 1):
            pid = json.loads(next(x for x in reversed(path.read_text().splitlines()) if '"start"' in x))["pid"]
            if pid not in killed:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    run = work_off(path, watch=kill)
    assert len(killed) == 2
    assert (run.state, run.n_attempts) == (RunState.DONE, 3)
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    counts = Counter(r["item_id"] for r in records if r["line"] == "item")
    assert len(counts) == run.chosen[0].n_planned and set(counts.values()) == {1}
    alone = work_off(create_run(home, plan_suites(make_demo(), ("demo",), settings=plan.settings)))
    assert {i.item_id: i.output for i in run.items} == {i.item_id: i.output for i in alone.items}


def test_side_by_side_answers_are_those_of_one_at_a_time(home: Path) -> None:
    runs = [
        work_off(create_run(home, plan_suites(make_demo(), ("demo", "demo_choice"), settings=settings)))
        for settings in (EvalSettings(n_parallel=1, n_threads=1), EvalSettings(n_parallel=16, n_threads=1))
    ]
    one, many = ({(i.suite, i.item_id): (i.score, i.output) for i in run.items} for run in runs)
    assert one.keys() == many.keys()
    # log-likelihoods are told to three digits and batches round differently: scores must agree, and texts
    assert {key: value[0] for key, value in one.items()} == {key: value[0] for key, value in many.items()}
    assert {k: v for k, v in one.items() if k[0] == "demo"} == {k: v for k, v in many.items() if k[0] == "demo"}


def test_a_divergence_is_measured_kept_and_resumed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["divergence", "--reference", "demo", "--candidate", "demo:Q2_K", "--limit", "8", *ONE, "--json"]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["divergence"]["n_windows"] == 8 == told["n_done"]
    assert told["divergence"]["perplexity_ratio"]["low"] > 1.1
    (run,) = list_runs(home)
    lines = (home / "runs" / "evals" / f"{run.run_id}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    third = [i for i, line in enumerate(lines) if '"line": "window"' in line][2]
    path = home / "runs" / "evals" / f"{run.run_id}.jsonl"
    path.write_text("".join(lines[: third + 1]), encoding="utf-8")
    assert main(["resume", run.run_id, "--json"]) == 0
    assert len(load_run(path).windows) == 8
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [r["index"] for r in records if r["line"] == "window"] == list(range(8))
    assert main(["run", "--model", "demo", "--suite", "demo", "--limit", "1", *ONE]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "--model", "nowhere.gguf", "--suite", "demo"], 2, "--model wants a GGUF file"),
        (["run", "--model", "demo:Q9", "--suite", "demo"], 2, "Q9"),
        (["run", "--model", "demo:Q5_K_M", "--suite", "demo"], 2, "comes in"),
        (["run", "--model", "demo", "--suite", "demo@4096"], 2, "takes no context length"),
        (["run", "--model", "demo", "--suite", "needle@12"], 2, "1024"),
        (["run", "--model", "demo", "--suite", "own:none"], 2, "unknown own suite"),
        (["run", "--model", "demo", "--suite", ","], 2, "at least one suite"),
        (["run", "--model", "demo", "--suite", "demo", "--limit", "0"], 2, "limit"),
        (["run", "--model", "demo", "--suite", "demo", "--minutes", "nan"], 2, "minutes"),
        (["run", "--model", "demo", "--suite", "demo", "--limit", "3", "--minutes", "1"], 2, "one of them"),
        (["run", "--model", "demo", "--suite", "demo", "--parallel", "0"], 2, "parallel"),
        (["run", "--model", "demo", "--suite", "demo", "--kv-type", "q3"], 2, "q3"),
        (["run", "--model", "demo", "--suite", "demo", "--as", "no such model"], 2, "unknown model"),
        (["run", "--model", "http://169.254.169.254/v1", "--suite", "demo"], 2, "169.254.169.254"),
        (["run", "--model", "file:///etc/passwd", "--suite", "demo"], 2, "http"),
        (["run", "--model", "demo", "--suite", "demo", "--judge", "demo"], 2, "--judge wants the address"),
        (["divergence", "--reference", "demo", "--candidate", "demo:Q2_K", "--text", "none.txt"], 2, "--text wants"),
        (["compare", "a", "b"], 2, "unknown run"),
        (["resume", "../../etc"], 2, "unknown run"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    assert main(arguments) == code
    told = capsys.readouterr().err.strip()
    assert said in told and len(told.splitlines()) == 1
    assert not list_runs(home)


def test_a_file_that_is_no_model_is_refused_and_one_llama_cpp_does_not_know_fails_its_run(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / "no-model.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 2000)
    assert main(["run", "--model", str(path), "--suite", "demo"]) == 1
    said = capsys.readouterr().err.strip()
    assert "no-model.gguf: " in said and len(said.splitlines()) == 1
    assert not list_runs(home)
    write_gguf_header(path, [("general.architecture", "nonsense")], ())
    assert main(["run", "--model", str(path), "--suite", "demo"]) == 1
    (run,) = list_runs(home)
    assert run.state is RunState.FAILED and "does not know the architecture 'nonsense'" in run.reason


def test_a_divergence_stands_beside_what_others_published(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["divergence", "--reference", "demo", "--candidate", "demo:Q4_K_M", "--limit", "4", *ONE, "--json"]
    assert main(asked) == 0
    damage = json.loads(capsys.readouterr().out)["damage"]
    labels = {row["label"] for row in damage}
    assert {"measured here", "generic"} <= labels
    for row in damage:
        if row["label"] == "measured here":
            assert (row["texts"], row["sources"]) == (["demo"], [])
        else:
            assert row["sources"] and all(source.startswith("https://") for source in row["sources"])


def test_a_text_longer_than_the_model_knows_is_refused_with_numbers(home: Path) -> None:
    assert main(["run", "--model", "demo", "--suite", "needle@4096", "--limit", "2"]) == 1
    (run,) = list_runs(home)
    assert "was trained for 512 tokens" in run.reason


def test_too_little_memory_is_told_with_numbers(home: Path) -> None:
    settings = EvalSettings(context_tokens=1_000_000, n_parallel=2)
    path = create_run(home, plan_suites(make_demo(), ("demo",), settings=settings))
    run = work_off(path, usable_bytes=lambda plan: 300 * 2**20)
    assert run.state is RunState.FAILED
    # 4 layers x 2 KV heads x 64 wide x 2 bytes, K and V, for 1,000,192 tokens: 1.91 GiB of cache alone
    assert "would need" in run.reason and "300\u2009MiB are usable" in run.reason


def test_fewer_run_side_by_side_where_all_do_not_fit(home: Path) -> None:
    settings = EvalSettings(context_tokens=131_072, n_parallel=8, n_threads=1)
    run = work_off(
        create_run(home, plan_suites(make_demo(), ("demo",), settings=settings, limit=4)),
        usable_bytes=lambda plan: 2000 * 2**20,
    )
    assert run.state is RunState.DONE
    assert run.facts is not None and run.facts.n_parallel == 4  # 128 MiB of cache each; with eight, 3.1 GiB in all

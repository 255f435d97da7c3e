"""lm-eval's standard tasks by name, from a Hub on this machine with invented rows: the same items, prompts and scores
as lm-eval's own evaluator gives, the real command on the demonstration model, and failures that say what to do.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evals.__main__ import main
from evals.run_files import RunState, list_runs
from evals.standard_tasks import explain_failure
from evals.suite_tasks import wrap_standard
from sizing.errors import EngineError, UnsupportedError
from tests.evals.hub_rows import IN_SOCIAL_SCIENCES, build_repositories, make_science, make_sums
from tests.evals.hub_server import HubServer, build_repository

CHILD = Path(__file__).with_name("standard_child.py")
TOKEN = "hf_" + "NeverToBeShown" * 2
ONE = ("--threads", "1")
GROUP = "mmlu_social_sciences"
HAS_IFEVAL = (
    importlib.util.find_spec("langdetect") is not None and importlib.util.find_spec("immutabledict") is not None
)
"""Whether lm-eval[ifeval] is installed; the base set is without it."""

COMPARED = ("gsm8k", "arc_easy", "arc_challenge", "hellaswag", "wikitext", "winogrande", "lambada_openai", GROUP)
COMPARED += ("ifeval",) if HAS_IFEVAL else ()


def hub_environment(url: str, home: Path) -> dict[str, str]:
    return {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home / "hub"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_TOKEN": TOKEN,
    }


def ask_child(what: str, names: tuple[str, ...], url: str, home: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(CHILD), what, *names],
        env={**os.environ, **hub_environment(url, home)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, Any]]]:
    """Every task as we ran it and as lm-eval did, with the same model made of Python."""
    with HubServer(build_repositories()) as hub:
        told = ask_child("compare", COMPARED, hub.url, tmp_path_factory.mktemp("compared"))
    return {side: {record[side]: record for record in told if side in record} for side in ("ours", "stock")}


def test_each_item_has_the_metrics_that_lm_eval_gives_it(compared: dict[str, dict[str, dict[str, Any]]]) -> None:
    subjects = {f"mmlu_{subject}" for subject in IN_SOCIAL_SCIENCES}
    assert set(compared["ours"]) == set(compared["stock"]) == {*COMPARED, *subjects} - {GROUP}
    for name, stock in compared["stock"].items():
        ours = compared["ours"][name]["items"]
        theirs: dict[str, dict[str, Any]] = {place: {} for place in ours}
        for sample in stock["items"]:
            suffix = "" if sample["filter"] == "none" else f",{sample['filter']}"
            theirs[str(sample["place"])] |= {f"{m}{suffix}": v for m, v in sample["metrics"].items()}
        assert {place: item["metrics"] for place, item in ours.items()} == theirs, name
        assert compared["ours"][name]["version"] == f"lm-eval {stock['version']}"


def test_each_question_is_the_one_lm_eval_asks(compared: dict[str, dict[str, dict[str, Any]]]) -> None:
    for name, stock in compared["stock"].items():
        if name == "gsm8k":
            continue  # its examples are drawn for each question there, and once for all here
        theirs = {str(sample["place"]): sample["prompts"] for sample in stock["items"]}
        assert {place: item["prompts"] for place, item in compared["ours"][name]["items"].items()} == theirs
    ours, stock = (compared[side]["gsm8k"]["items"] for side in ("ours", "stock"))
    questions = {place: item["prompts"][0][0].rpartition("\n\n") for place, item in ours.items()}
    theirs = {str(s["place"]): s["prompts"][0][0].rpartition("\n\n")[2] for s in stock}
    assert {place: parts[2] for place, parts in questions.items()} == theirs
    (examples,) = {parts[0] for parts in questions.values()}
    assert examples.count("Question: ") == examples.count("####") == 5


@pytest.mark.parametrize(
    ("name", "metric", "chance"),
    [
        ("gsm8k", "exact_match", 0),
        ("arc_easy", "acc_norm", (3 / 3 + 3 / 4 + 2 / 5) / 8),  # eight questions of three, four and five choices
        ("arc_challenge", "acc_norm", (2 / 3 + 2 / 4 + 1 / 5) / 5),
        ("hellaswag", "acc_norm", 1 / 4),
        ("winogrande", "acc", 1 / 2),
        ("lambada_openai", "acc", 0),
        ("mmlu_sociology", "acc", 1 / 4),
        ("wikitext", "bits_per_byte", 0),
        *([("ifeval", "prompt_level_strict_acc", 0)] if HAS_IFEVAL else ()),
    ],
)
def test_the_chosen_metric_and_what_a_guess_scores(
    compared: dict[str, dict[str, dict[str, Any]]], name: str, metric: str, chance: float
) -> None:
    ours, stock = compared["ours"][name], compared["stock"][name]
    assert (ours["metric"], ours["chance"]) == (metric, pytest.approx(chance))
    assert ours["up"] == (name != "wikitext")
    scores = [item["score"] for item in ours["items"].values()]
    if name == "wikitext":
        pairs = [item["metrics"]["bits_per_byte"] for item in ours["items"].values()]
        assert scores == [pytest.approx(-nats / n_bytes / math.log(2)) for nats, n_bytes in pairs]
    else:
        filters = "flexible-extract" if name == "gsm8k" else "none"
        key = f"{metric},{filters}" if name == "gsm8k" else metric
        assert scores == [item["metrics"][key] for item in ours["items"].values()]
        assert sum(scores) / len(scores) == pytest.approx(stock["results"][f"{metric},{filters}"])


def test_the_choices_are_told_where_they_differ(compared: dict[str, dict[str, dict[str, Any]]]) -> None:
    """In winogrande a choice stands in the question; the words after it are the same for both."""
    for item in compared["ours"]["winogrande"]["items"].values():
        _, output, expected = item["told"]
        told = [line.split("  ")[-1] for line in output.splitlines()[1:]]
        assert len(set(told)) == 2 and expected in told
        first, second = (pair[0] for pair in item["prompts"])
        best = max(zip((float(line.split()[0]) for line in output.splitlines()[1:]), told, strict=True))[1]
        assert (best == expected) == (item["score"] == 1) and {first, second} == set(told)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path))
    with HubServer(build_repositories()) as server:
        for name, value in hub_environment(server.url, tmp_path).items():
            monkeypatch.setenv(name, value)
        yield server


def read_likelihoods(output: str) -> tuple[list[float], list[str]]:
    """The log-likelihoods and texts of an item's choices, as its answer tells them."""
    lines = [line.split("  ") for line in output.splitlines()[1:]]
    return [float(parts[-2]) for parts in lines], [parts[-1] for parts in lines]


@pytest.mark.engine
def test_the_demonstration_model_is_asked_by_name(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    suites = f"gsm8k,lm-eval:arc_easy,hellaswag,wikitext,mmlu_sociology,{GROUP}"
    assert main(["run", "--model", "demo", "--suite", suites, "--limit", "3", *ONE, "--json"]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    scores = {score["suite"]: score for score in told["scores"]}
    subjects = [f"mmlu_{subject}" for subject in IN_SOCIAL_SCIENCES]
    # a group is its tasks; one that was named by itself before is asked once
    expected = ["gsm8k", "arc_easy", "hellaswag", "wikitext", "mmlu_sociology"]
    assert list(scores) == [*expected, *(s for s in subjects if s != "mmlu_sociology")]
    assert {score["n_items"] for score in scores.values()} == {3}
    versions = told["facts"]["suite_versions"]
    assert versions["gsm8k"] == "lm-eval 3.0" and versions["mmlu_sociology"] == "lm-eval 1.0"
    assert {s["suite"]: s["metric"] for s in told["scores"]}["arc_easy"] == "acc_norm"

    items = {name: [i for i in told["items"] if i["suite"] == name] for name in scores}
    sums = {row["question"]: row["answer"] for row in make_sums(6)}
    beginnings = set()
    for item in items["gsm8k"]:
        assert item["prompt"].count("<|user|>") == 6 and "<|assistant|>" in item["prompt"]  # five examples as turns
        before, _, question = item["prompt"].rpartition("Question: ")
        beginnings.add(before)
        answer = sums[question.partition("\n")[0]].rpartition(" ")[2].replace(",", "")
        numbers = re.findall(r"-?[$0-9.,]{2,}|-?[0-9]+", item["output"])
        is_right = bool(numbers) and re.sub(r"[,$]|\.$", "", numbers[-1]) == answer
        assert item["score"] == float(is_right) == item["metrics"]["exact_match,flexible-extract"]
    assert len(beginnings) == 1
    science = make_science(8)
    for item in items["arc_easy"]:
        row = science[int(item["item_id"])]
        likelihoods, texts = read_likelihoods(item["output"])
        gold = row["choices"]["label"].index(row["answerKey"])
        assert texts == row["choices"]["text"] and item["expected"] == texts[gold]
        by_length = [nats / len(text) for nats, text in zip(likelihoods, texts, strict=True)]
        assert item["metrics"]["acc"] == float(likelihoods.index(max(likelihoods)) == gold)
        assert item["score"] == item["metrics"]["acc_norm"] == float(by_length.index(max(by_length)) == gold)
        assert item["prompt"] == f"Question: {row['question']}\nAnswer:"  # scored by log-likelihood: plain text
    for item in items["hellaswag"]:
        assert "[step]" not in item["output"] and item["prompt"].startswith("Trading: A cart")
    for item in items["wikitext"]:
        nats, n_bytes = item["metrics"]["bits_per_byte"]
        assert item["score"] == pytest.approx(-nats / n_bytes / math.log(2)) and 0.2 < item["score"] < 20
    # as lm-eval does: all bits over all bytes, whatever the pages' lengths
    nats, n_bytes = (sum(i["metrics"]["bits_per_byte"][k] for i in items["wikitext"]) for k in (0, 1))
    assert scores["wikitext"]["value"] == pytest.approx(-nats / n_bytes / math.log(2))
    assert scores["wikitext"]["low"] < scores["wikitext"]["value"] < scores["wikitext"]["high"]

    kept = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "runs").rglob("*.jsonl"))
    assert len(kept) > 10_000 and TOKEN not in kept + said.out + said.err
    assert any(TOKEN in headers.get("authorization", "") for _, _, headers in hub.asked)  # the Hub itself gets it

    # what was fetched once is there without the Hub
    n_asked = len(hub.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["run", "--model", "demo", "--suite", "hellaswag", "--limit", "3", *ONE, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["items"]
    assert [(i["item_id"], i["score"]) for i in again] == [(i["item_id"], i["score"]) for i in items["hellaswag"]]
    assert len(hub.asked) == n_asked


@pytest.mark.engine
def test_a_run_whose_data_is_refused_ends_in_one_line(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.gated = frozenset({"openai/gsm8k"})
    assert main(["run", "--model", "demo", "--suite", "gsm8k", "--limit", "2", *ONE]) == 1
    (run,) = list_runs(tmp_path)
    said = capsys.readouterr()
    assert run.state is RunState.FAILED and run.n_attempts == 1
    assert "(openai/gsm8k) is gated" in run.reason and "HF_TOKEN" in run.reason and run.reason in said.out
    kept = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "runs").rglob("*.jsonl"))
    for told in (said.out, said.err, kept):
        assert TOKEN not in told and "Traceback" not in told
        assert str(tmp_path) not in told.replace(run.plan.model.path or "no path", "")


def test_every_failure_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    repositories = build_repositories()
    repositories["allenai/sciq"] = {**build_repository({"default": {"train": []}}), "sciq.py": b"print(1)"}
    repositories["openai/gsm8k"]["main/test.jsonl"] = b'{"question": "cut sho'
    del repositories["EleutherAI/lambada_openai"]
    wanted = {
        "arc_easy": ("EngineError", "data of arc_easy (allenai/ai2_arc) is gated", "accept its terms", "HF_TOKEN"),
        "hellaswag": ("EngineError", "data of hellaswag (Rowan/hellaswag) is gated", "accept its terms", "HF_TOKEN"),
        "lambada_openai": ("EngineError", "(EleutherAI/lambada_openai) is not on the Hub", "HF_TOKEN"),
        "winogrande": ("EngineError", "the Hub could not be reached for the data of winogrande", "evals list"),
        "sciq": ("UnsupportedError", "data of sciq comes as a program", "another task"),
        "gsm8k": ("EngineError", "the data of gsm8k could not be prepared", "quotation mark", "evals list"),
        "humaneval": ("UnsupportedError", "outside a sandbox", "suite 'code'"),
        "hellaswg": ("UnknownNameError", "unknown suite 'hellaswg'; did you mean hellaswag"),
        "arithmetik": ("UnknownNameError", "did you mean arithmetic,"),
        "neddle": ("UnknownNameError", "did you mean needle"),
        "../arc/arc_easy.yaml": ("UnknownNameError", "unknown suite"),
    }
    if not HAS_IFEVAL:
        wanted["ifeval"] = ("UnsupportedError", "ifeval wants the package ", 'pip install "lm-eval[ifeval]"')
    with HubServer(
        repositories,
        gated=frozenset({"allenai/ai2_arc", "Rowan/hellaswag"}),
        shown=frozenset({"Rowan/hellaswag"}),
        broken=frozenset({"allenai/winogrande"}),
    ) as hub:
        told = ask_child("fail", tuple(wanted), hub.url, tmp_path)
    check_failures(told, wanted, tmp_path)
    # nobody listens there now
    check_failures(
        ask_child("fail", ("wikitext",), hub.url, tmp_path),
        {"wikitext": ("EngineError", "the Hub could not be reached", "(EleutherAI/wikitext_document_level)")},
        tmp_path,
    )


def check_failures(told: list[dict[str, Any]], wanted: dict[str, tuple[str, ...]], home: Path) -> None:
    assert [record["name"] for record in told] == list(wanted)
    for record in told:
        kind, *parts = wanted[record["name"]]
        assert record["kind"] == kind, record
        assert all(part in record["said"] for part in parts), record
        assert "\n" not in record["said"] and len(record["said"]) < 500
        assert TOKEN not in record["said"] and str(home) not in record["said"] and "site-packages" not in record["said"]


def test_an_error_nobody_foresaw_is_told_without_token_or_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "an odd one 77")
    told = f"bad\n reply to an odd one 77 or {TOKEN} in '/data/somebody/.cache/x/file.arrow' from https://a.b/c/d"
    error = explain_failure("gsm8k", RuntimeError(told))
    assert isinstance(error, EngineError) and str(error).startswith("the data of gsm8k could not be prepared")
    assert "bad reply to [token] or [token] in 'file.arrow' from https://a.b/c/d" in str(error)


@pytest.mark.parametrize(
    ("name", "module", "command"),
    [("ifeval", "immutabledict", 'install "lm-eval[ifeval]"'), ("bigtask", "odd.part", "install odd")],
)
def test_a_package_that_is_missing_is_named(name: str, module: str, command: str) -> None:
    error = explain_failure(name, ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert isinstance(error, UnsupportedError)
    assert str(error) == f"{name} wants the package {module}, which is not installed: python -m pip {command}"


class ShufflingTask:
    """As lm-eval's tasks with choices shuffled while items are made: other items for everyone who asks."""

    OUTPUT_TYPE, VERSION, _filters = "generate_until", 1, ()
    config = SimpleNamespace(task_alias=None)

    def __init__(self) -> None:
        self.n_asked = 0

    @property
    def eval_docs(self) -> list[dict[str, int]]:
        self.n_asked += 1
        return [{"what": 100 * self.n_asked + i} for i in range(5)]

    def aggregation(self) -> dict[str, Any]:
        return {}


def test_an_item_stays_what_it_was_when_it_was_asked() -> None:
    task = wrap_standard("shuffling", ShufflingTask(), 1)
    assert [task.find_doc(place)["what"] for place in (3, 3, 0)] == [103, 103, 100]

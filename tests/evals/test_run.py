"""One evaluation against a model made of Python: what is asked, kept, resumed, cut short, and how many items."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evals import run as run_module
from evals.answers import Listener, Usage
from evals.plans import EvalPlan, EvalSettings, ModelKind, TestedModel, plan_suites
from evals.results import sum_up
from evals.run import Cancelled, run_suites
from evals.run_files import EvalRun, ask_to_stop, create_run, load_run, open_run_file
from evals.suite_tasks import (
    Scored,
    SuiteTask,
    choose_metric,
    limit_generation,
    read_score,
    shorten,
    shuffle_places,
    wrap_own,
    wrap_standard,
)
from evals.suites import task_from_items
from evals.worker import find_context

MODEL = TestedModel(ModelKind.FILE, "fake", path="fake.gguf")


class FakeModel:
    """Answers at once, or after `seconds`; right where `knows` says so. Counts what it is asked."""

    max_length = 1000

    def __init__(self, knows: Callable[[str], bool] = lambda prompt: True, seconds: float = 0.0) -> None:
        self.listener: Listener | None = None
        self.knows = knows
        self.seconds = seconds
        self.asked: list[str] = []
        self.n_calls = 0

    def chat_template(self, wanted: bool = False) -> str:
        return "fake" if wanted else ""

    def apply_chat_template(self, turns: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return "".join(f"<{t['role']}>{t['content']}" for t in turns)

    def generate_until(self, requests: list[Any]) -> list[str]:
        self.n_calls += 1
        answers = []
        # the last asked is answered first: nobody may rely on the order
        for i in reversed(range(len(requests))):
            prompt, settings = requests[i].args
            self.asked.append(prompt)
            time.sleep(self.seconds)
            number = prompt.rpartition(" ")[2]
            answer = number if self.knows(prompt) else "wrong"
            answers.append(answer)
            assert self.listener is not None
            self.listener(i, answer, Usage(7, settings["max_gen_toks"], self.seconds, "stop"))
        return answers[::-1]

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        for i, request in enumerate(requests):
            self.asked.append(request.args[0])
            right = request.args[1].strip() == request.args[0].rpartition(" ")[2]
            assert self.listener is not None
            self.listener(i, (-1.0 if right else -5.0, right), Usage(7, 1, 0.0, "scored"))
        return []


def make_items(n: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"item-{i}",
            "prompt": f"say {i}",
            "system": "be brief" if i % 2 else "",
            "scorer": "exact",
            "expected": json.dumps({"answers": [str(i)]}),
            "category": "odd" if i % 2 else "even",
            "max_tokens": 20,
        }
        for i in range(n)
    ]


def make_task(n: int = 40, name: str = "own:numbers", seed: int = 1234) -> SuiteTask:
    return wrap_own(name, "Numbers", "v1", 0.0, task_from_items(name, "Numbers", make_items(n)), seed)


def do_run(
    home: Path, model: FakeModel, plan: EvalPlan, *tasks: SuiteTask, again: bool = False, **others: Any
) -> EvalRun:
    path = home / "runs" / "evals" / f"{plan.run_id}.jsonl" if again else create_run(home, plan)
    file = open_run_file(path)
    assert file is not None
    with file:
        before = load_run(path)
        file.append("start", {"at": "now", "pid": 1})
        with contextlib.suppress(Cancelled):
            run_suites(model, tasks, plan, file, before, **others)
    return load_run(path)


def make_plan(**others: Any) -> EvalPlan:
    return plan_suites(MODEL, ("own:numbers",), **others)


def test_every_item_is_asked_scored_and_kept_once(tmp_path: Path) -> None:
    model = FakeModel(knows=lambda prompt: not prompt.endswith("3"))
    run = do_run(tmp_path, model, make_plan(), make_task(40))
    assert Counter(item.item_id for item in run.items) == Counter({f"item-{i}": 1 for i in range(40)})
    wrong = {item.item_id for item in run.items if item.score == 0}
    assert wrong == {"item-3", "item-13", "item-23", "item-33"}
    (score,) = sum_up(run).scores
    assert (score.value, score.n_items, score.n_planned, score.why_n) == (0.9, 40, 40, "all there are")
    assert {c.category: c.value for c in score.categories} == {"even": 1.0, "odd": 0.8}
    told = next(item for item in run.items if item.item_id == "item-13")
    assert (told.output, told.prompt) == ("wrong", "<system>be brief<user>say 13")
    assert told.why and "13" in told.expected
    assert told.n_prompt_tokens == 7


def test_a_limit_takes_the_same_items_whatever_else_is_asked(tmp_path: Path) -> None:
    few = do_run(tmp_path, FakeModel(), make_plan(limit=10), make_task(40))
    many = do_run(tmp_path, FakeModel(), make_plan(limit=25), make_task(40))
    other = do_run(tmp_path, FakeModel(), make_plan(limit=10), make_task(40, seed=7))
    ids = [{item.item_id for item in run.items} for run in (few, many, other)]
    assert len(ids[0]) == 10 and ids[0] < ids[1]
    assert ids[0] != ids[2]


def test_a_resumed_run_asks_only_what_is_left(tmp_path: Path) -> None:
    plan = make_plan()
    path = create_run(tmp_path, plan)
    model = FakeModel()
    stop = {"after": 100}

    class Stopping(FakeModel):
        def generate_until(self, requests: list[Any]) -> list[str]:
            heard, self.listener = self.listener, self._count
            self._heard = heard
            return super().generate_until(requests)

        def _count(self, i: int, answer: Any, usage: Usage) -> None:
            stop["after"] -= 1
            if stop["after"] == 0:
                ask_to_stop(path)
            assert self._heard is not None
            self._heard(i, answer, usage)

    first = do_run(tmp_path, Stopping(), plan, make_task(150), again=True)
    assert len(first.items) == 100
    path.with_suffix(".cancel").unlink()
    second = do_run(tmp_path, model, plan, make_task(150), again=True)
    assert Counter(item.item_id for item in second.items) == Counter({f"item-{i}": 1 for i in range(150)})
    assert len(model.asked) == 50
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert Counter(x["item_id"] for x in lines if x["line"] == "item").most_common(1)[0][1] == 1


def test_whole_rounds_are_asked_so_that_a_score_in_between_is_a_fair_draw(tmp_path: Path) -> None:
    model = FakeModel()
    plan = make_plan(settings=EvalSettings(n_parallel=2))
    do_run(tmp_path, model, plan, make_task(40))
    assert model.n_calls == 3  # rounds of 2 x 8
    order = make_task(40).order
    asked = [int(prompt.rpartition(" ")[2]) for prompt in model.asked]
    assert set(asked[:16]) == set(order[:16])


def test_minutes_choose_how_many_items_from_the_pace_seen(tmp_path: Path) -> None:
    model = FakeModel(seconds=0.01)
    plan = make_plan(minutes=0.05, settings=EvalSettings(n_parallel=2))  # 3 s: about 300 items at 10 ms each
    started = time.monotonic()
    run = do_run(tmp_path, model, plan, make_task(2000))
    took = time.monotonic() - started
    (score,) = sum_up(run).scores
    assert score.n_items == score.n_planned == len(run.items)
    assert 60 <= score.n_items < 400
    assert took < 6
    assert "minutes allow at" in score.why_n and "points either way" in score.why_n


def test_minutes_are_shared_between_suites_and_never_less_than_the_first_items(tmp_path: Path) -> None:
    model = FakeModel(seconds=0.03)
    plan = plan_suites(MODEL, ("own:a", "own:b"), minutes=0.05, settings=EvalSettings(n_parallel=1))
    run = do_run(tmp_path, model, plan, make_task(500, "own:a"), make_task(500, "own:b"))
    a, b = (score.n_items for score in sum_up(run).scores)
    assert min(a, b) >= run_module.PILOT_ITEMS
    assert 0.5 < a / b < 2


def test_minutes_take_all_items_where_there_is_time(tmp_path: Path) -> None:
    run = do_run(tmp_path, FakeModel(), make_plan(minutes=1.0), make_task(30))
    (score,) = sum_up(run).scores
    assert (score.n_items, score.n_planned) == (30, 30)
    assert score.why_n.startswith("all there are")


def test_choices_are_scored_by_log_likelihood(tmp_path: Path) -> None:
    items = [
        {
            **item,
            "prompt": f"choose {'xyz'[i % 3]}",
            "scorer": "choice",
            "expected": json.dumps({"letter": "ABC"[i % 3], "choices": list("xyz")}),
        }
        for i, item in enumerate(make_items(9))
    ]
    task = wrap_own("own:c", "C", "v1", 1 / 3, task_from_items("own:c", "C", items, "multiple_choice"), 1)
    run = do_run(tmp_path, FakeModel(), make_plan(), task)
    (score,) = sum_up(run).scores
    assert (score.value, score.n_items, score.metric) == (1.0, 9, "score")
    assert "log-likelihood, choice" in run.items[0].output
    assert {item.expected for item in run.items} == {"x", "y", "z"}


def test_an_item_that_wants_a_judge_has_no_score_without_one_and_its_verdict_with_one(tmp_path: Path) -> None:
    items = [{**i, "scorer": "judge", "expected": json.dumps({"reference": "r", "rubric": ""})} for i in make_items(4)]
    task = wrap_own("own:j", "J", "v1", 0.0, task_from_items("own:j", "J", items), 1)
    bare = do_run(tmp_path, FakeModel(), make_plan(), task)
    assert [item.score for item in bare.items] == [None] * 4
    assert "judge" in bare.items[0].why
    judged = do_run(
        tmp_path, FakeModel(), make_plan(), task, judge=lambda doc, output: Scored(0.5, {"score": 0.5}, "half right")
    )
    assert {(item.score, item.why) for item in judged.items} == {(0.5, "half right")}


def test_a_model_that_fails_keeps_what_was_answered(tmp_path: Path) -> None:
    class Failing(FakeModel):
        def generate_until(self, requests: list[Any]) -> list[str]:
            super().generate_until(requests[:5])
            raise RuntimeError("gone")

    plan = make_plan()
    with pytest.raises(RuntimeError, match="gone"):
        do_run(tmp_path, Failing(), plan, make_task(40))
    run = load_run(tmp_path / "runs" / "evals" / f"{plan.run_id}.jsonl")
    assert len(run.items) == 5
    assert run.paces[-1].elapsed_s > 0


@pytest.mark.parametrize(
    ("settings", "doc", "asked", "max_length", "expected"),
    [
        (EvalSettings(), {"max_tokens": 20}, {"max_gen_toks": 99}, 1000, 20),
        (EvalSettings(max_output_tokens=64), {"max_tokens": 20}, {}, 1000, 64),
        (EvalSettings(), {}, {"max_gen_toks": 900}, 1000, 500),
        (EvalSettings(), {"max_tokens": 900}, {}, None, 900),
        (EvalSettings(), {}, {}, 1000, None),
    ],
)
def test_an_answers_limit_is_the_settings_then_the_items_then_the_tasks(
    settings: EvalSettings, doc: dict[str, Any], asked: dict[str, Any], max_length: int | None, expected: int | None
) -> None:
    limits = limit_generation(asked, doc, settings, max_length)
    assert limits.get("max_gen_toks") == expected
    assert (limits["do_sample"], limits["temperature"]) == (False, 0.0)


def test_a_temperature_samples() -> None:
    limits = limit_generation({"do_sample": False}, {}, EvalSettings(temperature=0.7), None)
    assert (limits["do_sample"], limits["temperature"]) == (True, 0.7)


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"exact_match,strict-match": 0, "exact_match,flexible-extract": 1}, "exact_match,flexible-extract"),
        ({"acc": 1, "acc_norm": 0}, "acc_norm"),
        ({"word_perplexity": (1, 2), "bits_per_byte": (-8.0, 4)}, "bits_per_byte"),
        ({"inst_level_strict_acc": [1], "prompt_level_strict_acc": True}, "prompt_level_strict_acc"),
        ({"odd": 0.3}, "odd"),
        ({}, ""),
    ],
)
def test_the_score_is_the_metric_people_quote(metrics: dict[str, Any], expected: str) -> None:
    assert choose_metric(metrics) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("acc", True, 1.0),
        ("bits_per_byte", (-8.0, 4), 2 / 0.6931471805599453),
        ("f1", ([1], [0]), None),
        ("acc", float("nan"), None),
        ("acc", None, None),
    ],
)
def test_a_score_is_a_number_or_none(name: str, value: object, expected: float | None) -> None:
    assert read_score(name, value) == (None if expected is None else pytest.approx(expected))


def test_places_are_shuffled_alike_for_everybody() -> None:
    assert shuffle_places("logic", 100, 1) == shuffle_places("logic", 100, 1)
    assert shuffle_places("logic", 100, 1) != shuffle_places("logic", 100, 2) != shuffle_places("json", 100, 2)
    assert sorted(shuffle_places("logic", 100, 1)) == list(range(100))


def test_a_long_text_loses_its_middle_and_says_so() -> None:
    assert shorten("a" * 10, 10) == "a" * 10
    told = shorten("a" * 500 + "b" * 1000 + "c" * 500, 1000)
    assert told.startswith("a" * 500) and told.endswith("c" * 500) and "1,000 characters left out" in told


def test_examples_before_a_question_are_the_same_for_every_item() -> None:
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    rows = [{"question": f"is {i} odd?", "answer": "yes" if i % 2 else "no"} for i in range(30)]
    config = {
        "task": "odd",
        "custom_dataset": lambda **_: {"train": Dataset.from_list(rows[:10]), "test": Dataset.from_list(rows[10:])},
        "training_split": "train",
        "test_split": "test",
        "fewshot_split": "train",
        "num_fewshot": 3,
        "output_type": "generate_until",
        "doc_to_text": "question",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    task = wrap_standard("odd", ConfigurableTask(config=config), 5)
    model, plain = FakeModel(), EvalSettings(template="none")
    prompts = [task.build_requests(place, model, plain)[0].args[0] for place in (7, 3, 7)]
    assert prompts[0] == prompts[2]
    shots = {prompt.rpartition("is ")[0] for prompt in prompts}
    assert len(shots) == 1 and shots.pop().count("odd?") == 3
    other = wrap_standard("odd", ConfigurableTask(config=config), 6)
    assert other.build_requests(7, model, plain)[0].args[0] != prompts[0]


@pytest.mark.parametrize(
    ("suites", "settings", "expected"),
    [
        (("logic",), EvalSettings(), (4096, 0)),
        (("needle@8192", "logic"), EvalSettings(), (8192, 8192)),  # the answer and the prompt around are within it
        (("needle@2048",), EvalSettings(), (4096, 2048)),
        (("needle@8192",), EvalSettings(max_output_tokens=1256), (9192, 9192)),  # 1,000 more than the suite's own 256
        (("needle@8192",), EvalSettings(context_tokens=6000), (6000, 8192)),
        (("gsm8k", "own:mine"), EvalSettings(), (4096, 0)),
    ],
)
def test_a_text_of_a_length_wants_just_that_length(
    suites: tuple[str, ...], settings: EvalSettings, expected: tuple[int, int]
) -> None:
    assert find_context(plan_suites(MODEL, suites, settings=settings)) == expected

# ruff: noqa: E501 (tables, a row a line)
"""The suites: stock lm-eval loads and runs them, their items are what their generators write, and their answers hold."""

from __future__ import annotations

import ast
import hashlib
import json
import operator
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import permutations, product
from typing import Any

import pytest

from evals.demo.corpus import Item as Question
from evals.demo.corpus import list_held_out_items
from evals.sandbox import find_sandbox_obstacle
from evals.scoring import judge
from evals.suites import Suite, find_suite, list_suites, load_items, load_task, task_from_items
from evals.suites.generate import list_plans, list_stale
from evals.suites.generators.base import Item, interleave
from evals.suites.generators.code import load_reference, read_arguments
from evals.suites.generators.code_tasks import TASKS
from evals.suites.haystack import TEMPLATE_TOKENS, make_paragraph
from evals.suites.listing import FOLDER, ITEM_FIELDS
from sizing.errors import BadInputError, UnknownNameError

NAMES = [suite.name for suite in list_suites()]
WANTED = {"arithmetic", "instructions", "json_extraction", "tool_calls", "code", "needle", "grounded", "multilingual", "logic",
          "classification", "demo", "demo_choice"}  # fmt: skip


def answer_perfectly(item: dict[str, Any]) -> str:
    """An answer built from what is expected, in plain words of the scorer's own kind."""
    expected = json.loads(item["expected"])
    if item["scorer"] in ("constraints", "language", "code"):
        return str(expected["reference"])
    return {
        "numeric": lambda: f"Answer: {expected['value']}",
        "exact": lambda: expected["answers"][0],
        "json_equal": lambda: json.dumps(expected),
        "json_schema_fields": lambda: json.dumps(expected["fields"]),
        "tool_call": lambda: json.dumps([{"name": c["name"], "arguments": c["arguments"]} for c in expected["calls"]]),
        "grounded": lambda: expected["answers"][0] if expected["answers"] else "Not in the passage.",
        "label": lambda: expected["label"],
    }[item["scorer"]]()


def test_the_suites_are_those_promised_and_large_enough() -> None:
    assert set(NAMES) >= WANTED and set(NAMES) == {plan.name for plan in list_plans()}
    assert all(suite.n_items >= 100 for suite in list_suites())
    assert [s.name for s in list_suites() if s.opt_in] == ["code"]
    assert [s.name for s in list_suites() if s.takes_context] == ["needle"]
    assert [s.name for s in list_suites() if s.needs == "loglikelihood"] == ["demo_choice"]


def test_listing_needs_neither_lm_eval_nor_datasets() -> None:
    code = "import sys; from evals.suites import list_suites; list_suites(); print([m for m in ('lm_eval', 'datasets') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=FOLDER.parent.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("suite", list_suites(), ids=lambda suite: suite.name)
def test_the_metadata_fit_the_items(suite: Suite) -> None:
    data = (FOLDER / suite.name / "items.jsonl").read_bytes()
    items = load_items(suite.name)
    assert hashlib.sha256(data).hexdigest() == suite.items_sha256
    assert suite.version.endswith(f".{suite.items_sha256[:8]}")
    assert len(items) == suite.n_items == len({item["id"] for item in items}) == len({item["prompt"] for item in items})
    assert max(item["max_tokens"] for item in items) == suite.max_output_tokens
    assert suite.measures and suite.does_not_measure and 0 <= suite.chance < 0.5
    for item in items:
        assert {key: type(value) for key, value in item.items()} == ITEM_FIELDS
        json.loads(item["expected"])


def test_the_committed_files_are_what_the_generators_write() -> None:
    assert list_stale(list_plans()) == []


def test_a_changed_file_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    plan = next(plan for plan in list_plans() if plan.name == "arithmetic")
    assert len(list_stale([replace(plan, seed=plan.seed + 1)])) == 2
    assert [path.suffix for path in list_stale([replace(plan, title="Other")])] == [".yaml"]


@pytest.mark.parametrize("name", NAMES)
def test_any_first_part_holds_the_categories_evenly(name: str) -> None:
    items = load_items(name)
    whole, part = (Counter(item["category"] for item in some) for some in (items, items[: len(items) // 2]))
    assert all(abs(part[category] - n / 2) <= 1.5 for category, n in whole.items())


def test_interleaving_keeps_every_item() -> None:
    items = [Item(str(i), "exact", "x", "a" if i < 7 else "b", 8) for i in range(10)]
    mixed = interleave(items)
    assert sorted(i.prompt for i in mixed) == sorted(i.prompt for i in items)
    assert [i.prompt for i in mixed if i.category == "a"] == [str(i) for i in range(7)]


class Oracle:
    """Answers from what is expected; made into lm-eval's LM inside the test that needs it."""

    def __new__(cls, answer: Callable[[dict[str, Any]], str]) -> Any:
        from lm_eval.api.model import LM

        class _Oracle(LM):  # type: ignore[misc]
            def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
                return [answer(request.doc) for request in requests]

            def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
                scores = []
                for request in requests:
                    expected = json.loads(request.doc["expected"])
                    right = expected["choices"][ord(expected["letter"]) - ord("A")]
                    is_right = request.args[1].strip() == right and bool(answer(request.doc) or True)
                    scores.append((-1.0 if is_right and answer is not answer_nothing else -2.0, False))
                return scores

            def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
                raise AssertionError("no suite asks this")

        return _Oracle()


def answer_nothing(item: dict[str, Any]) -> str:
    return ""


def answer_choice(item: dict[str, Any]) -> str:
    return "right"


def evaluate(task: Any, answer: Callable[[dict[str, Any]], str]) -> float:
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(FOLDER), include_defaults=False)
    results = simple_evaluate(
        model=Oracle(answer), tasks=[task], task_manager=manager, bootstrap_iters=0, log_samples=False
    )
    (values,) = results["results"].values()
    return float(values["score,none"])


@pytest.mark.parametrize("name", NAMES)
def test_lm_eval_scores_perfect_answers_one(name: str) -> None:
    if name == "code" and find_sandbox_obstacle():
        pytest.skip(find_sandbox_obstacle())
    perfect = answer_choice if name == "demo_choice" else answer_perfectly
    assert evaluate(name, perfect) == 1.0  # by name: stock TaskManager loads the task file


@pytest.mark.parametrize("name", NAMES)
def test_lm_eval_scores_empty_answers_as_chance(name: str) -> None:
    suite, _ = find_suite(name)
    score = evaluate(load_task(name), answer_nothing)
    if suite.needs == "loglikelihood":  # all choices alike: the first is taken, which is right about as often as chance
        assert abs(score - suite.chance) < 0.12
    else:
        assert score == 0.0


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("code", "demo_choice")])
def test_an_answer_to_another_item_rarely_counts(name: str) -> None:
    items = load_items(name)
    answers = [answer_perfectly(item) for item in items]
    score = sum(judge(item["scorer"], item["expected"], answers[i - 7]).score for i, item in enumerate(items)) / len(
        items
    )
    assert score < 0.45


def test_a_guess_scores_about_the_chance_stated() -> None:
    """Always one and the same word, the best of those tried, may not beat the stated chance by much."""
    for name, words in (
        ("classification", ("positive", "spam", "health", "immediate", "refund")),
        ("logic", ("Ada", "truth", "Bruno")),
    ):
        suite, _ = find_suite(name)
        for word in words:
            score = sum(judge(i["scorer"], i["expected"], word).score for i in load_items(name)) / suite.n_items
            assert score <= suite.chance + 0.05


def test_context_names_and_errors() -> None:
    suite, context_tokens = find_suite("needle@16384")
    assert (suite.name, context_tokens) == ("needle", 16384)
    assert find_suite("logic")[1] is None
    with pytest.raises(UnknownNameError) as caught:
        find_suite("arithmetics")
    assert "arithmetic" in caught.value.near
    for bad in (
        "needle@",
        "needle@x",
        "needle@12",
        "needle@99999999",
        "logic@4096",
        "needle@-1",
        "needle@\u0664\u0660\u0669\u0666",
    ):
        with pytest.raises(BadInputError):
            find_suite(bad)
    with pytest.raises(BadInputError):
        load_items("logic", context_tokens=4096)


OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Mod: operator.mod,
             ast.FloorDiv: operator.floordiv, ast.Pow: lambda a, b: a ** int(b)}  # fmt: skip


def calculate(node: ast.AST) -> Fraction:
    if isinstance(node, ast.Constant):
        return Fraction(node.value)
    assert isinstance(node, ast.BinOp)
    return Fraction(OPERATORS[type(node.op)](calculate(node.left), calculate(node.right)))


def test_arithmetic_values_follow_from_their_expressions() -> None:
    for item in load_items("arithmetic"):
        expected = json.loads(item["expected"])
        value = calculate(ast.parse(expected["expression"], mode="eval").body)
        assert float(value) == pytest.approx(expected["value"], rel=1e-12), item["prompt"]
        numbers = {n.replace(",", "") for n in re.findall(r"\d+", item["prompt"])}
        if not re.search(r"price|minute|time|machine|pond|hall|average|between|hour|library|divisible", item["prompt"]):
            used = {n for n in re.findall(r"\d+", expected["expression"]) if int(n) > 4}
            assert used <= numbers | {"100"}, item["prompt"]


def clue_holds(clue: Sequence[Any], place: dict[str, int]) -> bool:
    kind, a, *rest = clue
    at = place[a]
    others = [place[x] if isinstance(x, str) else x for x in rest]
    return {
        "before": lambda: at < others[0],
        "right_before": lambda: at == others[0] - 1,
        "not_next": lambda: at - others[0] not in (1, -1),
        "next": lambda: at - others[0] in (1, -1),
        "same": lambda: at == others[0],
        "different": lambda: at != others[0],
        "at": lambda: at == others[0],
        "not_at": lambda: at != others[0],
        "between": lambda: min(others) < at < max(others),
    }[kind]()


def statement_is_true(said: Sequence[Any], people: Sequence[bool]) -> bool:
    kind, *rest = said
    if kind == "exactly":
        return people.count(False) == rest[0]
    if kind == "same":
        return people[rest[0]] is people[rest[1]]
    return people[rest[0]] is (kind == "truthful")


def test_every_logic_puzzle_has_one_answer_and_it_is_the_one_expected() -> None:
    for item in load_items("logic"):
        expected = json.loads(item["expected"])
        puzzle = expected["puzzle"]
        if "statements" in puzzle:
            ways = [p for p in product([True, False], repeat=puzzle["n"])
                    if all(statement_is_true(s, p) is p[i] for i, s in enumerate(puzzle["statements"]))]  # fmt: skip
            assert len(ways) == 1
            assert expected["answers"][0] == ("truth" if ways[0][puzzle["ask"]] else "lie")
            continue
        places = [{name: i for i, name in enumerate(order, 1)} for order in permutations(puzzle["rows"][0])]
        for row in puzzle["rows"][1:]:
            places = [
                {**p, **{name: i for i, name in enumerate(order, 1)}} for p in places for order in permutations(row)
            ]
        for clue in puzzle["clues"]:
            places = [p for p in places if clue_holds(clue, p)]
        assert len(places) == 1, item["prompt"]
        first = {i: name for name, i in places[0].items() if name in puzzle["rows"][0]}
        asked = puzzle["ask"]
        if asked == "order":
            answer = ", ".join(first[i] for i in sorted(first))
        else:
            answer = first[asked if isinstance(asked, int) else places[0][asked]]
        assert expected["answers"][0] == answer


def test_extracted_fields_stand_in_the_text_and_totals_add_up() -> None:
    for item in load_items("json_extraction"):
        text = item["prompt"].partition("Text:\n")[2]
        fields = json.loads(item["expected"])["fields"]
        for key in ("name", "city", "email", "flight", "street", "customer", "number", "author", "host", "passenger"):
            assert key not in fields or fields[key] in text
        if "lines" in fields:
            assert sum(line["quantity"] * line["unit_price"] for line in fields["lines"]) == fields["total"]
            assert f"{fields['total']:.2f}" in text


def test_tool_calls_name_tools_shown_and_fit_their_schemas() -> None:
    from jsonschema import validate

    for item in load_items("tool_calls"):
        shown = [json.loads(line) for line in item["prompt"].splitlines() if line.startswith('{"name"')]
        tools = {tool["name"]: tool for tool in shown}
        assert len(tools) == len(shown) >= 4
        for call in json.loads(item["expected"])["calls"]:
            validate(call["arguments"], tools[call["name"]]["parameters"])
            assert set(call["arguments"]) <= set(tools[call["name"]]["parameters"]["properties"])
            assert not set(call.get("defaults", {})) & set(call["arguments"])


def test_grounded_answers_stand_in_the_passage_and_a_third_have_none() -> None:
    items = load_items("grounded")
    unanswered = [item for item in items if not json.loads(item["expected"])["answers"]]
    assert 0.28 < len(unanswered) / len(items) < 0.4
    for item in items:
        expected = json.loads(item["expected"])
        passage = item["prompt"].partition("\n\nQuestion")[0]
        if "join" not in item["category"] and expected["answers"]:
            assert expected["answers"][0] in passage and not set(expected["answers"]) & set(expected["traps"])
        years = [a for a in expected["answers"] if a.replace(",", "").isdigit() and a not in passage]
        for year in years:  # a difference: of two numbers of the passage
            numbers = [int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*\d", passage)]
            assert int(year.replace(",", "")) in {abs(a - b) for a in numbers for b in numbers}


def test_every_code_reference_gives_its_examples() -> None:
    assert len({task.name for task in TASKS}) == len(TASKS) >= 100
    for task in TASKS:
        function = load_reference(task)
        assert task.examples
        for call, value in task.examples:
            assert function(*read_arguments(call)) == ast.literal_eval(value), call


def test_code_that_only_knows_the_examples_fails() -> None:
    """Hidden cases reach beyond what is shown."""
    for item in load_items("code"):
        cases = json.loads(item["expected"])["cases"]
        shown = item["prompt"].count(" returns ") - item["prompt"].partition("\n\nExamples:")[0].count(" returns ")
        assert len(cases) >= shown + 3
        assert len({json.dumps(value) for _, value in cases}) >= 2


def test_demo_items_are_held_out_and_judged_as_the_corpus_judges() -> None:
    known: dict[str, Question] = {
        q.prompt: q
        for skill in ("arithmetic", "facts", "copying", "json", "instructions")
        for q in list_held_out_items(skill, 40)
    }
    for item in load_items("demo"):
        question = known[item["prompt"]]
        assert question.is_held_out
        for said in (question.answer, question.answer[:-1], "", "77", question.answer.upper() + "!"):
            assert (judge(item["scorer"], item["expected"], said).score == 1.0) == question.is_answered_by(said)


def test_choices_hold_the_answer_once() -> None:
    known = {q.prompt: q.answer for skill in ("facts", "instructions") for q in list_held_out_items(skill, 100)}
    letters: Counter[str] = Counter()
    chances = []
    for item in load_items("demo_choice"):
        expected = json.loads(item["expected"])
        assert len(set(expected["choices"])) == len(expected["choices"]) >= 2
        assert expected["choices"][ord(expected["letter"]) - ord("A")] == known[item["prompt"]]
        letters[expected["letter"]] += 1
        chances.append(1 / len(expected["choices"]))
    assert sum(chances) / len(chances) == pytest.approx(find_suite("demo_choice")[0].chance, abs=0.005)
    assert max(letters.values()) < 0.45 * sum(letters.values())


def count_by_words(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


@pytest.mark.parametrize("count_tokens", [None, count_by_words], ids=["estimate", "counted"])
@pytest.mark.parametrize("context_tokens", [1024, 4096, 20_000])
def test_needle_texts_fill_the_context_and_no_more(
    context_tokens: int, count_tokens: Callable[[str], int] | None
) -> None:
    count = count_tokens or (lambda text: -(-len(text) // 4))
    for item in load_items("needle", context_tokens, count_tokens, limit=8):
        n = count(item["prompt"]) + item["max_tokens"] + TEMPLATE_TOKENS
        assert context_tokens - 260 < n <= context_tokens


def test_needles_are_once_in_the_text_at_spread_depths() -> None:
    rows = [json.loads(line) for line in (FOLDER / "needle" / "items.jsonl").read_text().splitlines()]
    depths: dict[str, list[float]] = {}
    for row, item in zip(rows, load_items("needle", 4096)):
        text = item["prompt"]
        for fact in row["recipe"]["facts"]:
            assert text.count(fact["text"]) == 1
        first = row["recipe"]["facts"][0]
        assert abs(text.index(first["text"]) / len(text) - first["depth"]) < 0.12
        expected = json.loads(row["expected"])
        assert expected["answers"][0] in text and all(trap in text for trap in expected["traps"])
        depths.setdefault(row["category"], []).append(first["depth"])
    for some in depths.values():
        assert set(Counter(int(d * 5) for d in some)) == {0, 1, 2, 3, 4}
        assert set(Counter(int(d * 4) for d in some[:12])) == {0, 1, 2, 3}


def test_filler_is_varied() -> None:
    import random

    chance = random.Random(1)
    sentences = [s for _ in range(100) for s in make_paragraph(chance).split(". ")]
    assert len(set(sentences)) > 0.75 * len(sentences)


def test_needle_tasks_are_named_by_their_length() -> None:
    task = load_task("needle@2048")
    assert task.config.task == "needle@2048"
    assert len(task.test_docs()) == find_suite("needle")[0].n_items
    assert max(len(doc["prompt"]) for doc in task.test_docs()) < 2048 * 4


def own_items() -> list[dict[str, Any]]:
    choice = json.dumps({"letter": "B", "choices": ["no", "yes"]})
    base = {"system": "Be short.", "category": "mine", "max_tokens": 8, "scorer": "choice", "expected": choice}
    return [{**base, "id": str(i), "prompt": f"Is {i} even? {{{{x}}}}"} for i in (2, 4)]


def test_a_person_s_items_become_the_same_kind_of_task() -> None:
    task = task_from_items("mine", "My own", own_items())
    assert evaluate(task, lambda item: "Answer: B") == 1.0
    context = task.fewshot_context(own_items()[0], 0)
    assert context.startswith("Be short.") and context.endswith("Is 2 even? {{x}}")
    assert evaluate(task_from_items("mine", "My own", own_items(), "multiple_choice"), answer_choice) == 1.0


@pytest.mark.parametrize(
    "change", [{"id": "4"}, {"prompt": None}, {"max_tokens": "8"}, {"max_tokens": True}, {"expected": {"letter": "A"}}]
)  # fmt: skip
def test_items_that_break_the_schema_are_refused(change: dict[str, Any]) -> None:
    first, second = own_items()
    with pytest.raises(BadInputError):
        task_from_items("mine", "My own", [{**first, **change}, second])


def test_other_output_types_and_empty_lists_are_refused() -> None:
    with pytest.raises(BadInputError):
        task_from_items("mine", "My own", own_items(), "loglikelihood")
    with pytest.raises(BadInputError):
        task_from_items("mine", "My own", [])
    with pytest.raises(BadInputError):
        task_from_items("mine", "My own", [{**own_items()[0], "scorer": "exact"}], "multiple_choice")

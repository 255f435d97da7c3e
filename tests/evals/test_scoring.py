# ruff: noqa: E501 (tables, a row a line)
"""What a judge accepts and what it refuses, scorer by scorer, and that no output can break it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.answer_text import find_answer, list_numbers
from evals.constraints import CHECKS, count_sentences, list_broken
from evals.languages import NAMES, detect_language
from evals.scoring import SCORERS, judge, judge_likelihoods
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"type": "array"}},
          "required": ["name", "age"], "additionalProperties": False}  # fmt: skip
FIELDS = {"schema": SCHEMA, "fields": {"name": "Ada King", "age": 36}}
CALL = {"calls": [{"name": "f", "arguments": {"x": 1, "s": "Rome"}, "defaults": {"u": "c"}}]}
TWO = {"calls": [{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": {}}]}
LABELS = {"label": "spam", "labels": ["spam", "not spam"]}
CHOICE = {"letter": "B", "choices": ["red", "blue", "green", "white"]}
CODE = {"entry": "f", "cases": [[[2], 4], [[0], 0]]}
GERMAN = {"language": "de", "any_of": [["honig"]]}
ANSWERED, UNANSWERED = {"answers": ["1,708", "Mary Bell"], "traps": ["1,900"]}, {"answers": []}
RULES = {"constraints": [{"kind": "sentences", "n": 2}, {"kind": "lower"}]}

RIGHT: list[tuple[str, Any, str]] = [
    ("exact", "Paris", "Paris"), ("exact", "Paris", " paris. "), ("exact", "Paris", "**Paris**"), ("exact", "Paris", "The answer is Paris."),
    ("exact", ["lie", "liar"], "Reasoning first.\nAnswer: liar"), ("exact", "42", "`42`"), ("exact", 42, "42"), ("exact", "C++", "C++"),
    ("exact", {"answers": ["Paris"], "case_sensitive": True}, "Paris."), ("exact", "x", "<think>y or x</think>\nx"),
    ("exact", "x", "hmm, perhaps y</think>x"), ("exact", "a b", "a  b"), ("exact", "é", "e\u0301"), ("exact", ".", "."),
    ("exact", "x", "<|channel|>analysis<|message|>y<|end|><|start|>assistant<|channel|>final<|message|>x"),
    ("contains", "blue", "A Blue sky"), ("contains", {"any": ["red", "blue"], "none": ["green"]}, "blue"), ("contains", ["a b", "c"], "c a\n b"),
    ("regex", r"^\d{3}$", "123"), ("regex", {"pattern": "(?i)yes"}, "YES"),
    ("numeric", 42, "Answer: 42"), ("numeric", 42, "6 times 7 is 42."), ("numeric", 1234.5, "The total is $1,234.50"),
    ("numeric", -3, "Answer: \u22123"), ("numeric", 0.75, "3/4"), ("numeric", 42, "**Answer:** 42 apples in 3 boxes"),
    ("numeric", 42, r"\boxed{42}"), ("numeric", 42, "\u0664\u0662"), ("numeric", 42, "<think>41</think>42"), ("numeric", 200, "Answer: 2e2"),
    ("numeric", {"value": 3.14159, "tolerance": 0.01}, "3.14"), ("numeric", 80, "Answer: 80%"), ("numeric", 5, "x = 3, so\nAnswer:\n5"),
    ("choice", "B", "B"), ("choice", CHOICE, "(b)"), ("choice", CHOICE, "B) blue"), ("choice", CHOICE, "blue"), ("choice", CHOICE, "**B**"),
    ("choice", CHOICE, "The answer is B."), ("choice", CHOICE, "I think it is option B"), ("choice", CHOICE, "Final answer: **B. blue**"),
    ("json_equal", {"a": [1, None]}, '{"a": [1.0, null]}'), ("json_equal", [1], "Here:\n```json\n[1]\n```\nDone."), ("json_equal", 7, "7"),
    ("json_equal", {"a": 1, "b": 2}, '{"b":2,"a":1}'), ("json_schema_fields", FIELDS, '{"name": "ada king", "age": 36}'),
    ("json_schema_fields", FIELDS, '```json\n{"name": "Ada King", "age": 36.0, "tags": []}\n```'),
    ("tool_call", CALL, '{"name": "f", "arguments": {"x": 1, "s": "rome"}}'),
    ("tool_call", CALL, '<tool_call>\n{"name": "f", "arguments": {"x": 1, "s": "Rome", "u": "c"}}\n</tool_call>'),
    ("tool_call", CALL, '{"type": "function", "function": {"name": "f", "arguments": "{\\"x\\": 1, \\"s\\": \\"Rome\\"}"}}'),
    ("tool_call", TWO, '[{"name": "g", "arguments": {}}, {"name": "f", "parameters": {"x": 1}}]'),
    ("tool_call", TWO, '{"name": "f", "arguments": {"x": 1}}\n{"name": "g", "arguments": {}}'),
    ("tool_call", {"calls": []}, '{"name": "none", "arguments": {}}'), ("tool_call", {"calls": []}, "[]"),
    ("constraints", RULES, "one. two."), ("grounded", ANSWERED, "1708"), ("grounded", ANSWERED, "It lists **1,708** names."),
    ("grounded", ANSWERED, "mary bell"), ("grounded", UNANSWERED, "Not in the passage."), ("grounded", UNANSWERED, "That is not stated in the passage."),
    ("language", GERMAN, "Die Bienen machen aus Nektar den Honig."), ("label", LABELS, "Spam"), ("label", LABELS, "Label: spam"),
    ("label", LABELS, '{"label": "spam"}'), ("label", {**LABELS, "label": "not spam"}, "not_spam"),
    ("code", CODE, "```python\ndef f(x):\n    return 2 * x\n```"), ("code", CODE, "def f(x): return x + x"),
    ("code", CODE, "First:\n```\nprint(1)\n```\nthen\n```python\ndef f(x): return x * 2\n```\nIt doubles."),
]  # fmt: skip
WRONG: list[tuple[str, Any, str]] = [
    ("exact", "Paris", "Paris, London"), ("exact", "Paris", "The answer is not Paris"), ("exact", {"answers": ["Paris"], "case_sensitive": True}, "paris"),
    ("exact", "x", "<think>x"), ("exact", "x", "a</think><think>x"), ("exact", ".", "no"), ("contains", "blue", "red"), ("contains", {"none": ["x"]}, "x y"),
    ("contains", {"any": ["a"]}, "b"), ("regex", r"^\d{3}$", "1234"), ("regex", r"(a+)+$", "a" * 60 + "b"),
    ("numeric", 42, "Answer: 24"), ("numeric", 42, "It is 42, and then 7."), ("numeric", 42, "forty-two"), ("numeric", 42, "NaN"), ("numeric", 42, "1e999"),
    ("numeric", 42, "x42y"), ("numeric", 42, "4\u00b2"), ("numeric", 42, "42.5"), ("numeric", 0, "1/0 Answer: none"), ("numeric", 42, "<think>42"),
    ("choice", CHOICE, "A"), ("choice", CHOICE, "A or B"), ("choice", CHOICE, "Because it is so"), ("choice", CHOICE, "A blue one"), ("choice", CHOICE, "E"),
    ("json_equal", {"a": 1}, '{"a": true}'), ("json_equal", {"a": 1}, '{"a": 1} {"a": 1}'), ("json_equal", 1, "NaN"), ("json_equal", "x", "x"),
    ("json_equal", [1, 2], "[2, 1]"), ("json_schema_fields", FIELDS, '{"name": "Ada King", "age": "36"}'),
    ("json_schema_fields", FIELDS, '{"name": "Ada King", "age": 36, "extra": 1}'), ("json_schema_fields", FIELDS, "Ada King, 36"),
    ("json_schema_fields", FIELDS, '{"name": "Ada King", "age": NaN}'), ("tool_call", CALL, "f(x=1)"), ("tool_call", CALL, '{"name": "f", "arguments": {"x": "1", "s": "Rome"}}'),
    ("tool_call", CALL, '{"name": "f", "arguments": {"x": 1, "s": "Rome", "u": "k"}}'), ("tool_call", CALL, '{"name": "none", "arguments": {}}'),
    ("tool_call", TWO, '{"name": "f", "arguments": {"x": 1}}'), ("tool_call", {"calls": []}, '{"name": "f", "arguments": {}}'), ("tool_call", {"calls": []}, "none"),
    ("tool_call", TWO, '[{"name": "f", "arguments": {"x": 1}}, {"name": "f", "arguments": {"x": 1}}]'), ("tool_call", CALL, '{"name": ["f"], "arguments": 3}'),
    ("constraints", RULES, "One. Two."), ("constraints", RULES, "one."), ("grounded", ANSWERED, "1,900"), ("grounded", ANSWERED, "1,708 or 1,900"),
    ("grounded", ANSWERED, "17080"), ("grounded", ANSWERED, "Not in the passage."), ("grounded", UNANSWERED, "It is 12."),
    ("grounded", UNANSWERED, "Not in the passage. " + "But one may guess that it is so. " * 9), ("language", GERMAN, "The bees make honey, which is Honig in German."),
    ("language", GERMAN, "Die Bienen machen aus Nektar den Zucker."), ("label", LABELS, "not spam"), ("label", LABELS, "spam or not spam"), ("label", LABELS, "ham"),
    ("code", CODE, "```python\ndef f(x): return x\n```"), ("code", CODE, "def g(x): return 2 * x"), ("code", CODE, "I cannot do that."),
]  # fmt: skip


@pytest.mark.parametrize(("scorer", "expected", "output"), RIGHT)
def test_right_answers_are_accepted(scorer: str, expected: Any, output: str) -> None:
    verdict = judge(scorer, json.dumps(expected), output)
    assert (verdict.score, verdict.why) == (1.0, "")


@pytest.mark.parametrize(("scorer", "expected", "output"), WRONG)
def test_wrong_answers_are_refused_with_a_reason(scorer: str, expected: Any, output: str) -> None:
    verdict = judge(scorer, json.dumps(expected), output)
    assert verdict.score == 0.0 and 5 < len(verdict.why) < 400 and "\n" not in verdict.why


def test_every_scorer_is_in_both_tables() -> None:
    assert {row[0] for row in RIGHT} == {row[0] for row in WRONG} == set(SCORERS)


def test_fields_give_a_share() -> None:
    verdict = judge("json_schema_fields", json.dumps(FIELDS), '{"name": "Ada King", "age": 37}')
    assert verdict.score == 0.5 and "36" in verdict.why and "37" in verdict.why


def test_why_names_both_numbers() -> None:
    assert judge("numeric", "42", "It is 24").why == "expected 42, the number given is 24"


EXPECTED_OF = {scorer: json.dumps(next(row[1] for row in RIGHT if row[0] == scorer)) for scorer in SCORERS}
NASTY = ["", " \n\t", "\x00\x01\x1b[31m", "[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, "9" * 6000, "{" * 50_000, "a " * 300_000, "```" * 999,
         "NaN", "Infinity", "-", "1/0", "\ud800", "<think>" * 99, "</think>", '{"name": {"a": []}, "arguments": [NaN]}', "\u0669" * 500, "Answer:",
         "Answer: ", "\\boxed{}", "(" * 9999, "[[1], [2], {}]", '{"name": null}', "null", "🜁" * 200, "1e308" * 100, "e" * 9999 + "\u0301" * 9999]  # fmt: skip


@pytest.mark.parametrize("scorer", [s for s in SCORERS if s not in ("code", "regex")])
@pytest.mark.parametrize("at", range(len(NASTY)))
def test_nasty_outputs_score_nothing_and_break_nothing(scorer: str, at: int) -> None:
    verdict = judge(scorer, EXPECTED_OF[scorer], NASTY[at])
    assert verdict.score == 0.0 and len(verdict.why) < 400


@pytest.mark.parametrize("scorer", ["code", "regex"])
@pytest.mark.parametrize("at", [0, 2, 3, 5, 7, 13, 25])
def test_nasty_outputs_in_a_child(scorer: str, at: int) -> None:
    assert judge(scorer, EXPECTED_OF[scorer], NASTY[at]).score == 0.0


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(set(SCORERS) - {"code", "regex"})), st.text() | JSONS.map(json.dumps))
def test_no_output_raises(scorer: str, output: str) -> None:
    assert 0.0 <= judge(scorer, EXPECTED_OF[scorer], output).score <= 1.0


@settings(max_examples=150, deadline=None)
@given(JSONS.filter(lambda v: json.dumps(v).find("NaN") < 0 and json.dumps(v).find("Infinity") < 0))
def test_json_equals_itself_in_any_spelling(value: Any) -> None:
    assert judge("json_equal", json.dumps(value), json.dumps(value, indent=2)).score == 1.0
    assert judge("json_equal", json.dumps(value), f"```json\n{json.dumps(value)}\n```").score == 1.0


@settings(max_examples=150, deadline=None)
@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_a_number_is_right_only_where_it_is_the_number(a: int, b: int) -> None:
    assert judge("numeric", json.dumps(a), f"I get {b} first.\nAnswer: {a:,}").score == 1.0
    assert judge("numeric", json.dumps(a), f"I get {a} first.\nAnswer: {b}").score == float(a == b)


def test_numbers_are_read_as_people_write_them() -> None:
    assert list_numbers("1,234 and 1,23 and -5 and .5 and 3/4 and v2") == [1234, 1, 23, -5, 0.5, 0.75]


def test_reasoning_is_dropped_or_has_no_end() -> None:
    assert find_answer("<think>a</think>b") == "b"
    assert find_answer("a</think>b") == "b"
    assert find_answer("<think>a") is None
    assert find_answer("plain") == "plain"


def test_unknown_scorers_and_broken_expectations_are_the_caller_s_error() -> None:
    with pytest.raises(UnknownNameError) as caught:
        judge("numerc", "1", "1")
    assert caught.value.near[0] == "numeric"
    for scorer, expected in (
        ("exact", "{"),
        ("exact", "{}"),
        ("exact", "[]"),
        ("choice", "{}"),
        ("regex", '"("'),
        ("code", "{}"),
        ("contains", "{}"),
    ):
        with pytest.raises(BadInputError):
            judge(scorer, expected, "text")


def test_a_pattern_that_eats_memory_or_time_is_stopped() -> None:
    assert judge("regex", json.dumps("(.*)*(.*)*(.*)*z"), "a" * 5000).score == 0.0
    with pytest.raises(BadInputError):
        judge("regex", json.dumps("(a{1,99999999999999999999})"), "a")


def test_likelihoods_choose_the_highest() -> None:
    assert judge_likelihoods(json.dumps(CHOICE), [-3.0, -1.0, -2.0, -9.0]).score == 1.0
    wrong = judge_likelihoods(json.dumps(CHOICE), [-1.0, -3.0, -2.0, -9.0])
    assert wrong.score == 0.0 and "blue" in wrong.why and "red" in wrong.why
    with pytest.raises(BadInputError):
        judge_likelihoods(json.dumps(CHOICE), [-1.0])


KEPT = [
    ("words", {"n": 3}, "a well-known it's", "a b"), ("sentences", {"n": 2}, "Dr. No came. He left!", "One. Two. Three."), ("bullets", {"n": 2}, "- a\n* b", "- a"),
    ("numbered", {"n": 2}, "1. a\n2) b", "1. a\n3. b"), ("paragraphs", {"n": 2}, "a\n\nb", "a\nb"), ("lines", {"max": 2}, "a\n\nb", "a\nb\nc"),
    ("characters", {"max": 3}, " abc ", "abcd"), ("forbidden", {"words": ["it"]}, "its item", "Take it."), ("included", {"words": ["salt"], "times": 2}, "Salt, salt", "salt"),
    ("start", {"text": "Listen:"}, "Listen: x", "listen: x"), ("end", {"text": "The end."}, "x The end.", "The end. x"), ("lower", {}, "abc é 1", "aBc"),
    ("upper", {}, "ABC 1", "ABc"), ("without", {"characters": [","]}, "a; b", "a, b"), ("json", {"keys": ["a"], "types": {"a": "number"}}, '{"a": 1}', '{"a": true}'),
    ("title", {}, "<<T>>\nx", "T\nx"), ("quoted", {}, '"x"', 'x"'), ("line_starts", {"letters": ["R", "a"]}, "rain\nall", "all\nrain"),
    ("sorted_lines", {}, "- a\n- B\n- c", "b\na"), ("word_lengths", {"max": 3}, "abc de", "abcd"), ("without_letter", {"letter": "e"}, "all", "Else"),
    ("placeholders", {"min": 1}, "[name]", "name"), ("separated", {"mark": "***", "n": 2}, "a\n***\nb", "***\na\n***\nb"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "settings_", "kept", "broken"), KEPT)
def test_each_constraint_tells_kept_from_broken(kind: str, settings_: dict[str, Any], kept: str, broken: str) -> None:
    check = {"kind": kind, **settings_}
    assert list_broken([check], kept) == []
    assert len(list_broken([check], broken)) == 1 and len(list_broken([check], "")) == 1


def test_every_constraint_is_in_the_table() -> None:
    assert {row[0] for row in KEPT} == set(CHECKS)


def test_sentences_end_where_people_end_them() -> None:
    assert [count_sentences(t) for t in ("", "a", "A. B", "Is it 3.5? Yes!", "Wait... what?!", "他来。我去。")] == [
        0,
        1,
        2,
        2,
        2,
        2,
    ]


SENTENCES = {
    "en": ["The book is on the table in the kitchen.", "We have not seen it for years."],
    "de": ["Das Buch liegt auf dem Tisch in der Küche.", "Bienen machen aus Nektar Honig."],
    "fr": ["Le livre est sur la table de la cuisine.", "C'est le soleil qui nous éclaire."],
    "es": ["El libro está en la mesa de la cocina.", "Las abejas hacen miel."],
    "it": ["Il libro è sul tavolo della cucina.", "Una settimana ha sette giorni."],
    "pt": ["O livro está em cima da mesa, não na cozinha.", "As abelhas fazem mel."],
    "nl": ["Het boek ligt op de tafel in de keuken.", "Bijen maken honing van nectar."],
    "pl": ["Książka leży na stole w kuchni.", "Pszczoły robią miód."],
    "tr": ["Kitap mutfaktaki masanın üzerinde duruyor.", "Arılar bal yapar."],
    "ru": ["Книга лежит на столе.", "Пчёлы делают мёд."],
    "el": ["Το βιβλίο είναι στο τραπέζι.", "Ο ήλιος."],
    "ar": ["الكتاب على الطاولة.", "الشمس"],
    "hi": ["किताब मेज़ पर है।", "सूर्य"],
    "zh": ["书在桌子上。", "东京是日本的首都。"],
    "ja": ["本は机の上にあります。", "日本の首都は東京です。"],
    "ko": ["책은 책상 위에 있습니다.", "도쿄"],
}


@pytest.mark.parametrize("code", sorted(NAMES))
def test_languages_are_told_apart(code: str) -> None:
    assert [detect_language(text) for text in SENTENCES[code]] == [code, code]


@pytest.mark.parametrize("text", ["", "12345 !?", "Київ є столицею України, її люблять.", "Zxqv brrt"])
def test_what_is_no_known_language_has_no_code(text: str) -> None:
    assert detect_language(text) == ""


def test_code_that_no_sandbox_can_hold_has_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evals.sandbox.find_sandbox_obstacle", lambda: "made for Linux")
    with pytest.raises(UnsupportedError, match="made for Linux"):
        judge("code", json.dumps(CODE), "def f(x): return 2 * x")

"""Judge one answer: a score from 0 to 1 and a short sentence on why it is not 1.

`SCORERS` lists the ways by name. Each reads the expectation as JSON (written at each function) and the answer after its
reasoning. A judge never raises for what a model wrote; a broken expectation is the caller's error.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from evals.answer_text import (
    are_same_json,
    find_answer,
    find_code,
    find_final_number,
    find_statement,
    fold,
    has_phrase,
    list_json_values,
    read_json,
    unfence,
)
from evals.constraints import list_broken
from evals.languages import NAMES, detect_language
from evals.sandbox import Case, run_cases
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError

PATTERN_SECONDS = 2.0
"""A person's pattern may search one answer this long."""

PATTERN_CHILD = (
    "import json,re,sys\n"
    "try:\n"
    " import resource\n"
    " resource.setrlimit(resource.RLIMIT_AS,(2**29,2**29))\n"
    "except (ImportError,ValueError,OSError): pass\n"
    "job=json.load(sys.stdin)\n"
    "try: print('found' if re.search(job['pattern'],job['text']) else 'absent')\n"
    "except (re.error,MemoryError,OverflowError,RecursionError) as error: print('broken',error)\n"
)
NOT_THERE = re.compile(
    r"\bnot (?:\w+ ){0,3}in the (?:passage|text)\b|\bthe (?:passage|text) does not (?:say|state|mention)\b"
)
MOST_WORDS_OF_REFUSAL = 40
NO_TOOL_NAMES = ("none", "no_tool", "null", "")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement: `score` from 0 to 1; `why` is empty for a full score, else one short sentence."""

    score: float
    why: str


RIGHT = Verdict(1.0, "")


def wrong(why: str) -> Verdict:
    """No score, with the reason."""
    return Verdict(0.0, why)


def judge(scorer: str, expected_json: str, output: str, prompt: str = "") -> Verdict:
    """Judge `output` by the scorer of that name against an expectation written as JSON.

    Reasoning between <think> marks is dropped first; a block that never closes is no answer. `prompt` is for scorers
    that need the question (none at present). Raises UnknownNameError for a scorer nobody knows, BadInputError for an
    expectation that is not what the scorer wants.
    """
    if scorer not in SCORERS:
        raise UnknownNameError("scorer", scorer, SCORERS)
    try:
        expected = json.loads(expected_json)
    except ValueError as error:
        raise BadInputError(f"expected of scorer {scorer} must be JSON text, got {expected_json[:80]!r}") from error
    answer = find_answer(output)
    if answer is None:
        return wrong("the reasoning was never closed, so there is no answer")
    if not answer.strip():
        return wrong("the answer is empty")
    try:
        return SCORERS[scorer](expected, answer)
    except RecursionError:
        return wrong("the answer is nested too deep to be read")
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInputError(
            f"expected of scorer {scorer} is not what it wants ({type(error).__name__} {error}): {expected_json[:60]!r}"
        ) from error


def shorten(text: str, n: int = 60) -> str:
    """`text` on one line, quoted, cut after `n` characters."""
    line = " ".join(text.split())
    return repr(line if len(line) <= n else f"{line[: n - 3]}...")


def list_texts(expected: Any) -> list[str]:
    """The accepted texts: a text or number, a list of them, or an object with `answers`."""
    if isinstance(expected, dict):
        expected = expected["answers"]
    listed = expected if isinstance(expected, list) else [expected]
    if not listed or any(isinstance(x, dict | list | None.__class__) for x in listed):
        raise TypeError("a text or a list of texts is wanted")
    return [x if isinstance(x, str) else json.dumps(x) for x in listed]


def judge_exact(expected: Any, answer: str) -> Verdict:
    """A text, a list of accepted texts, or {"answers": [...], "case_sensitive": bool}.

    Spaces, quotation marks around, a final stop and "The answer is" before do not matter; nor does case, unless
    `case_sensitive`.
    """
    wanted = list_texts(expected)
    options = expected if isinstance(expected, dict) else {}
    statement = find_statement(answer)
    said = [answer, unfence(answer), *([statement] if statement else [])]
    if options.get("case_sensitive"):
        marks = " \t\r\n*_`\"'."
        matched = any(s.strip(marks) == w.strip(marks) for s in said for w in wanted)
    else:
        matched = any(s.strip() == w.strip() or (fold(w) and fold(s) == fold(w)) for s in said for w in wanted)
    return RIGHT if matched else wrong(f"expected {shorten(wanted[0])}, got {shorten(answer)}")


def judge_contains(expected: Any, answer: str) -> Verdict:
    """A text or a list, all of which must occur; or {"all": [...], "any": [...], "none": [...]}. Case is ignored."""
    rules = expected if isinstance(expected, dict) else {"all": list_texts(expected)}
    if not rules.keys() & {"all", "any", "none"}:
        raise KeyError("all, any or none")
    said = " ".join(answer.casefold().split())

    def is_said(text: str) -> bool:
        return " ".join(str(text).casefold().split()) in said

    missing = [text for text in rules.get("all", ()) if not is_said(text)]
    if missing:
        return wrong(f"{shorten(str(missing[0]))} does not occur in the answer")
    if rules.get("any") and not any(is_said(text) for text in rules["any"]):
        return wrong(f"none of {', '.join(shorten(str(t), 30) for t in rules['any'][:4])} occurs in the answer")
    used = [text for text in rules.get("none", ()) if is_said(text)]
    return wrong(f"{shorten(str(used[0]))} occurs in the answer and must not") if used else RIGHT


def judge_regex(expected: Any, answer: str) -> Verdict:
    """A pattern of Python's `re`, searched in the answer by a child process.

    The child may take `PATTERN_SECONDS` and, where the platform can hold it to that, 512 MiB. Raises BadInputError for
    what is no pattern.
    """
    pattern = expected["pattern"] if isinstance(expected, dict) else expected
    if not isinstance(pattern, str):
        raise TypeError("a pattern is wanted")
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", PATTERN_CHILD],
            input=json.dumps({"pattern": pattern, "text": answer.strip()}),
            capture_output=True,
            text=True,
            timeout=PATTERN_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return wrong(f"the pattern took longer than {PATTERN_SECONDS:g} seconds on this answer")
    said = done.stdout.strip()
    if said.startswith("broken"):
        raise BadInputError(f"the pattern {pattern!r} is not one of Python's: {said.removeprefix('broken ')}")
    return RIGHT if said == "found" else wrong(f"the pattern {shorten(pattern)} does not match {shorten(answer)}")


def judge_numeric(expected: Any, answer: str) -> Verdict:
    """A number, or {"value": n, "tolerance": absolute, "relative": share}.

    The number taken is the first after the last "Answer:" (or the like, or in \\boxed), else the last of the answer.
    """
    rules = expected if isinstance(expected, dict) else {"value": expected}
    value = float(rules["value"])
    allowed = max(float(rules.get("tolerance", 0.0)), abs(value) * float(rules.get("relative", 1e-9)), 1e-9)
    got = find_final_number(answer)
    if got is None:
        return wrong(f"expected {value:.12g}, there is no number in the answer")
    return RIGHT if abs(got - value) <= allowed else wrong(f"expected {value:.12g}, the number given is {got:.12g}")


def judge_choice(expected: Any, answer: str) -> Verdict:
    """A letter, or {"letter": "B", "choices": ["text of A", ...]}: the letter, marked as one, or the choice's text."""
    rules = expected if isinstance(expected, dict) else {"letter": expected}
    letter, choices = str(rules["letter"]).strip().upper(), [str(c) for c in rules.get("choices", ())]
    got = find_letter(answer, len(choices) or 26, choices)
    if not got:
        return wrong(f"expected {letter}, no single letter can be read from {shorten(answer)}")
    return RIGHT if got == letter else wrong(f"expected {letter}, got {got}")


def find_letter(answer: str, n_choices: int, choices: list[str]) -> str:
    """The letter chosen, or "" where none or more than one can be read."""
    last = chr(ord("A") + min(n_choices, 26) - 1)
    statement = find_statement(answer)
    for text in (statement, answer):
        if text is None:
            continue
        plain = text.strip().strip("*_`'\" ")
        match = re.match(rf"\(?([A-{last}a-{last.lower()}])(?:[).:,*\]]|\s*$|\s+[-–(])", plain.lstrip("([*"))
        if match:
            return match[1].upper()
        same = [i for i, choice in enumerate(choices) if fold(plain) == fold(choice)]
        if len(same) == 1:
            return chr(ord("A") + same[0])
        marked = re.findall(
            rf"(?:^|[\s(*])(?:option|choice)\s+([A-{last}])\b|\(([A-{last}])\)|\*\*([A-{last}])\b", text
        )
        letters = {"".join(groups) for groups in marked}
        if len(letters) == 1:
            return letters.pop()
    if re.search(rf"\b[A-{last}]\s*(?:or|and|/|,|&)\s*[A-{last}]\b", answer):
        return ""
    alone = set(re.findall(r"(?<![\w'])([B-HJ-Z])(?![\w'])", answer))
    return alone.pop() if len(alone) == 1 and alone <= set(map(chr, range(66, ord(last) + 1))) else ""


def judge_likelihoods(expected_json: str, loglikelihoods: list[float]) -> Verdict:
    """Judge a multiple choice by the log-likelihoods of its choices: right where the right one has the highest.

    `expected_json` is what scorer `choice` wants, with `choices`. Raises BadInputError where the counts differ.
    """
    expected = json.loads(expected_json)
    choices, right = expected["choices"], ord(expected["letter"]) - ord("A")
    if len(loglikelihoods) != len(choices) or not 0 <= right < len(choices):
        raise BadInputError(f"{len(choices)} choices need as many log-likelihoods, got {len(loglikelihoods)}")
    best = max(range(len(choices)), key=lambda i: loglikelihoods[i])
    if best == right:
        return RIGHT
    return wrong(f"expected {shorten(str(choices[right]))}, {shorten(str(choices[best]))} is more likely to the model")


def judge_json_equal(expected: Any, answer: str) -> Verdict:
    """Any JSON value; the answer holds one JSON value equal to it, alone, fenced or within text."""
    try:
        values = [read_json(unfence(answer))]
    except ValueError:
        values = list_json_values(answer)
    if not values:
        return wrong(f"there is no JSON in {shorten(answer)}")
    if len(values) > 1:
        return wrong(f"there are {len(values)} JSON values in the answer where one is asked")
    if are_same_json(values[0], expected):
        return RIGHT
    return wrong(f"expected {shorten(json.dumps(expected))}, got {shorten(json.dumps(values[0]))}")


def judge_fields(expected: Any, answer: str) -> Verdict:
    """{"schema": JSON schema, "fields": {...}}: the share of right fields where the schema holds, else 0.

    Texts are compared without case and outer marks, lists of scalars in any order.
    """
    validator = import_module("jsonschema").Draft202012Validator

    values = [value for value in list_json_values(answer) if isinstance(value, dict)]
    if not values:
        return wrong(f"there is no JSON object in {shorten(answer)}")
    got, fields = values[-1], expected["fields"]
    broken = next(iter(validator(expected["schema"]).iter_errors(got)), None)
    if broken is not None:
        return wrong(f"the JSON breaks the schema: {shorten(broken.message, 120)}")
    missed = [key for key, value in fields.items() if key not in got or not are_same_json(got[key], value, True)]
    if not missed:
        return RIGHT
    key = missed[0]
    why = f"{key}: expected {shorten(json.dumps(fields[key]))}, got {shorten(json.dumps(got.get(key)))}"
    return Verdict((len(fields) - len(missed)) / len(fields), why)


def list_calls(answer: str) -> list[dict[str, Any]] | None:
    """The tool calls of an answer as {"name", "arguments"}; None where it holds no JSON call."""
    values = list_json_values(answer)
    if not values:
        return None
    flat: list[Any] = []
    for value in values:
        flat += value if isinstance(value, list) else [value]
    calls = []
    for value in flat:
        inner = value.get("function") if isinstance(value, dict) else None
        call = inner if isinstance(inner, dict) else value
        if call is None:
            continue
        if not isinstance(call, dict) or "name" not in call:
            return None
        arguments = call.get("arguments", call.get("parameters", {}))
        if isinstance(arguments, str):
            try:
                arguments = read_json(arguments)
            except ValueError:
                return None
        name = call["name"] if call["name"] is not None else ""
        if not isinstance(name, str):
            return None
        if name.casefold() not in NO_TOOL_NAMES:
            calls.append({"name": call["name"], "arguments": arguments if arguments is not None else {}})
    return calls


def is_same_call(got: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """The same tool with the same arguments; an argument left at its default may be given or left out."""
    if got["name"] != wanted["name"] or not isinstance(got["arguments"], dict):
        return False
    defaults = wanted.get("defaults", {})
    given, asked = ({**defaults, **call["arguments"]} for call in (got, wanted))
    return are_same_json(given, asked, is_forgiving=True)


def judge_tool_call(expected: Any, answer: str) -> Verdict:
    """{"calls": [{"name", "arguments", "defaults"?}, ...]}: these calls in any order; [] means that none fits."""
    wanted = list(expected["calls"])
    got = list_calls(answer)
    if got is None:
        return wrong(f"there is no JSON call in {shorten(answer)}")
    if len(got) != len(wanted):
        return wrong(f"{len(got)} calls where {len(wanted)} are right")
    for call in got:
        match = next((i for i, one in enumerate(wanted) if is_same_call(call, one)), None)
        if match is None:
            names = {one["name"] for one in wanted}
            what = "arguments of" if call["name"] in names else "tool"
            return wrong(
                f"wrong {what} {shorten(json.dumps(call), 100)}, expected {shorten(json.dumps(wanted[0]), 100)}"
            )
        wanted.pop(match)
    return RIGHT


def judge_constraints(expected: Any, answer: str) -> Verdict:
    """{"constraints": [...]} of evals/constraints.py: 1 where all are kept, else 0."""
    rules = expected["constraints"]
    broken = list_broken(rules, answer)
    return wrong(f"{len(broken)} of {len(rules)} broken: {broken[0]}") if broken else RIGHT


def judge_grounded(expected: Any, answer: str) -> Verdict:
    """{"answers": [...], "traps": [...]}: names an answer, no trap; no answers: it must say so."""
    answers, refuses = expected["answers"], NOT_THERE.search(fold(answer)) is not None
    if not answers:
        if not refuses:
            return wrong(f"the passage does not say, yet it answers {shorten(answer)}")
        is_short = len(answer.split()) <= MOST_WORDS_OF_REFUSAL
        return RIGHT if is_short else wrong("it says that the passage does not say, and goes on at length")
    if refuses:
        return wrong(f"says it is not in the passage, where the passage says {shorten(answers[0])}")
    if not any(has_phrase(answer, text) for text in answers):
        return wrong(f"expected {shorten(answers[0])}, got {shorten(answer)}")
    trap = next((text for text in expected.get("traps", ()) if has_phrase(answer, text)), None)
    return wrong(f"names {shorten(trap)} beside the answer") if trap else RIGHT


def judge_language(expected: Any, answer: str) -> Verdict:
    """{"language": code, "any_of": [[forms], ...]}: in that language, and one form of each group occurs in it."""
    wanted = expected["language"]
    got = detect_language(answer)
    if got != wanted:
        return wrong(f"expected {NAMES[wanted]}, the answer looks like {NAMES.get(got, 'no language known here')}")
    said = fold(answer)
    for forms in expected.get("any_of", ()):
        if not any(fold(form) in said for form in forms):
            return wrong(f"in {NAMES[wanted]}, but {shorten(forms[0])} does not occur")
    return RIGHT


def judge_label(expected: Any, answer: str) -> Verdict:
    """{"label": x, "labels": [...]}: the one label named, after "Label:" where that is said."""
    label, labels = expected["label"], expected["labels"]
    statement = find_statement(answer)
    for text in (unfence(answer), *([statement] if statement else []), answer):
        named = list_labels(text, labels)
        if len(named) == 1:
            return RIGHT if named[0] == label else wrong(f"expected {label}, got {named[0]}")
    return wrong(f"expected {label}, {'several labels are named' if named else f'got {shorten(answer)}'}")


def list_labels(text: str, labels: list[str]) -> list[str]:
    """The labels named in a text, longer ones read first so that "not spam" is not "spam"."""
    left, named = fold(text).replace("_", " "), []
    for label in sorted(labels, key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(fold(label).replace('_', ' '))}(?!\w)"
        if re.search(pattern, left):
            named.append(label)
            left = re.sub(pattern, "\0", left)
    return named


def judge_code(expected: Any, answer: str) -> Verdict:
    """{"entry": function, "cases": [[arguments, value], ...]}: 1 where every case is right in the sandbox.

    Raises UnsupportedError where the sandbox cannot hold code on this machine: that is no fault of the answer.
    """
    entry = expected["entry"]
    cases = [Case(tuple(arguments), value) for arguments, value in expected["cases"]]
    result = run_cases(find_code(answer, entry), entry, cases)
    if result.kind == "refused":
        raise UnsupportedError(result.reason)
    if result.kind == "passed":
        return RIGHT
    return wrong(f"{result.n_passed} of {result.n_cases} tests pass: {result.reason}")


SCORERS: dict[str, Callable[[Any, str], Verdict]] = {
    "exact": judge_exact,
    "contains": judge_contains,
    "regex": judge_regex,
    "numeric": judge_numeric,
    "choice": judge_choice,
    "json_equal": judge_json_equal,
    "json_schema_fields": judge_fields,
    "tool_call": judge_tool_call,
    "constraints": judge_constraints,
    "grounded": judge_grounded,
    "language": judge_language,
    "label": judge_label,
    "code": judge_code,
}
"""The ways to judge, by the name an item's `scorer` field holds."""

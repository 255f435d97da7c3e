"""A person's own test: rows of their table made into items, scored the way they choose.

An item is the flat record our suites use: `id`, `prompt`, `system`, `scorer`, `expected` (JSON text, whose form the
scorer sets), `category`, `max_tokens`. A row that makes no item is named by its line with what is wrong; the others
are kept.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evals.own_pattern import find_pattern_problem
from evals.own_suites import OwnSuite, OwnSuiteHead, list_own_suites, load_own_suite, save_own_suite
from evals.own_table import Row, RowProblem, Table, read_table, read_table_file
from sizing.errors import BadInputError

__all__ = [
    "BuiltItems",
    "Mapping",
    "OwnSuite",
    "OwnSuiteHead",
    "Row",
    "RowProblem",
    "Table",
    "build_items",
    "list_own_suites",
    "load_own_suite",
    "read_table",
    "read_table_file",
    "save_own_suite",
    "suggest_mapping",
]

SCORERS = ("exact", "contains", "regex", "numeric", "choice", "json_equal", "judge")
ANSWER_FORMS = ("auto", "text", "letter", "index0", "index1")

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

PROMPT_NAMES = "prompt question input instruction query text problem".split()
EXPECTED_NAMES = "expected answer expected_answer output target reference label correct completion response".split()
CHOICES_NAMES = "choices options answers alternatives".split()
SYSTEM_NAMES = "system system_prompt instructions".split()
CATEGORY_NAMES = "category subject topic type group task".split()

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mapping:
    """What each column means and how answers are scored.

    `expected` is the column of the right answer ("" only for "judge"). `choices` is one column that holds a list (JSON,
    or parts between `separator` or line breaks), or several with one choice each; `answer_form` says how `expected`
    names the right one: its text, its letter, its place counted from 0 or 1; "auto" takes text or letter, and refuses
    what could be both. `separator`, where not "", divides several accepted answers in one cell ("exact": any of them,
    "contains": all of them); `ignore_case` is theirs too. `tolerance` of "numeric" is absolute, or a fraction of the
    value where `relative`.
    """

    prompt: str
    expected: str = ""
    choices: tuple[str, ...] = ()
    system: str = ""
    category: str = ""
    scorer: str = "exact"
    ignore_case: bool = True
    separator: str = ""
    tolerance: float = 0.0
    relative: bool = False
    answer_form: str = "auto"
    rubric: str = ""
    max_tokens: int = 256

    def __post_init__(self) -> None:
        if self.scorer not in SCORERS:
            raise BadInputError(f"a scorer is one of {', '.join(SCORERS)}, got {self.scorer!r}")
        if self.answer_form not in ANSWER_FORMS:
            raise BadInputError(f"answer_form is one of {', '.join(ANSWER_FORMS)}, got {self.answer_form!r}")
        if not self.prompt:
            raise BadInputError("say which column holds the prompt")
        if not self.expected and self.scorer != "judge":
            raise BadInputError(f"the scorer {self.scorer!r} needs the column with the expected answer")
        if bool(self.choices) != (self.scorer == "choice"):
            raise BadInputError("columns of choices belong to the scorer 'choice', and it needs at least one")
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise BadInputError(f"a tolerance is a number of at least 0, got {self.tolerance!r}")
        if not 1 <= self.max_tokens <= 100_000:
            raise BadInputError(f"max_tokens is 1 to 100,000, got {self.max_tokens!r}")

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is used."""
        named = (self.prompt, self.expected, *self.choices, self.system, self.category)
        return tuple(dict.fromkeys(column for column in named if column))


@dataclass(frozen=True, slots=True)
class BuiltItems:
    """The items of a table, in its order, and the rows that gave none (those the table could not read included)."""

    items: tuple[Item, ...]
    problems: tuple[RowProblem, ...]

    def preview(self, n_items: int = 5) -> tuple[Item, ...]:
        """The first items, as they will be asked."""
        return self.items[:n_items]


class _BadRow(Exception):
    """A row that makes no item; its text says why."""


def suggest_mapping(columns: Sequence[str]) -> Mapping:
    """The mapping that the columns' names suggest, to be looked at by a person: their usual names in data sets.

    Columns a, b, c ... or choice_1, option_2 ... are choices. BadInputError for fewer than two columns.
    """
    if len(columns) < 2:
        raise BadInputError("a test needs a column with prompts and one with expected answers")
    free = list(columns)

    def take(names: Sequence[str]) -> str:
        by_fold = {column.strip().casefold().replace(" ", "_").replace("-", "_"): column for column in free}
        found = next((by_fold[name] for name in names if name in by_fold), "")
        if found:
            free.remove(found)
        return found

    prompt = take(PROMPT_NAMES)
    choices = find_choice_columns(free)
    free = [column for column in free if column not in choices]
    listed = "" if choices else take(CHOICES_NAMES)
    choices = choices or ((listed,) if listed else ())
    expected = take(EXPECTED_NAMES)
    system, category = take(SYSTEM_NAMES), take(CATEGORY_NAMES)
    prompt = prompt or take([free[0].strip().casefold().replace(" ", "_").replace("-", "_")] if free else [])
    expected = expected or (free[0] if free else "")
    prompt = prompt or columns[0]
    if not expected:
        return Mapping(prompt, system=system, category=category, scorer="judge")
    return Mapping(prompt, expected, choices, system, category, scorer="choice" if choices else "exact")


def find_choice_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Columns that hold one choice each: A, B, C and on, or choice_a, option 1, answer_b; at least two of one kind."""
    groups: dict[str, list[str]] = {}
    for column in columns:
        match = re.fullmatch(r"(choice|option|answer|alternative|)[ _-]?([a-z]|\d{1,2})", column.strip().casefold())
        if match and (match.group(1) or match.group(2).isalpha()):
            groups.setdefault(match.group(1), []).append(column)
    return tuple(next((group for group in groups.values() if len(group) >= 2), ()))


def build_items(table: Table, mapping: Mapping) -> BuiltItems:
    """The items of a table under a mapping. BadInputError for a column it lacks, and when no row gives an item."""
    for column in mapping.columns:
        if column not in table.columns:
            raise BadInputError(f"the data has no column {column!r}; it has {', '.join(table.columns[:20])}")
    items, problems = [], list(table.problems)
    for row in table.rows:
        try:
            items.append(build_item(row, mapping))
        except _BadRow as problem:
            problems.append(RowProblem(row.line, str(problem)))
    problems.sort(key=lambda p: (p.line == 0, p.line))  # line 0 counts the rest
    if not items:
        first = "; ".join(f"line {p.line}: {p.what}" for p in problems[:3])
        raise BadInputError(f"no row makes an item, is the mapping right? {first}")
    return BuiltItems(tuple(items), tuple(problems))


def build_item(row: Row, mapping: Mapping) -> Item:
    """One row's item; `_BadRow` says why it makes none."""
    prompt = read_text(row, mapping.prompt)
    if not prompt.strip():
        raise _BadRow(f"the prompt (column {mapping.prompt!r}) is empty")
    expected = EXPECTATIONS[mapping.scorer](row, mapping)
    if mapping.scorer == "choice":
        prompt = write_choices(prompt, expected["choices"])
    item = {
        "prompt": prompt,
        "system": read_text(row, mapping.system) if mapping.system else "",
        "scorer": mapping.scorer,
        "expected": json.dumps(expected, ensure_ascii=False, sort_keys=True),
        "category": read_text(row, mapping.category).strip() if mapping.category else "",
        "max_tokens": mapping.max_tokens,
    }
    content = hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()
    return {"id": f"{row.line}-{content[:12]}", **item}


def read_text(row: Row, column: str) -> str:
    """A cell as text: itself, "" for none, numbers and other JSON as JSON writes them."""
    value = row.cells.get(column)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def read_expected(row: Row, mapping: Mapping) -> Any:
    """The expected cell; `_BadRow` where it is missing or blank."""
    value = row.cells.get(mapping.expected)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise _BadRow(f"the expected answer (column {mapping.expected!r}) is missing")
    return value


def read_parts(value: Any, separator: str) -> list[str]:
    """The texts in a cell: the entries of a list, the parts between separators, or the one text."""
    if isinstance(value, list):
        parts = [part if isinstance(part, str) else json.dumps(part, ensure_ascii=False) for part in value]
    elif isinstance(value, str):
        parts = value.split(separator) if separator else [value]
    else:
        parts = [json.dumps(value, ensure_ascii=False)]
    return [part.strip() for part in parts if part.strip()]


def expect_exact(row: Row, mapping: Mapping) -> dict[str, Any]:
    """Any of the accepted answers, and whether case counts."""
    answers = read_parts(read_expected(row, mapping), mapping.separator)
    if not answers:
        raise _BadRow("no accepted answer between the separators")
    return {"answers": answers, "ignore_case": mapping.ignore_case}


def expect_contains(row: Row, mapping: Mapping) -> dict[str, Any]:
    """Every text the answer has to contain, and whether case counts."""
    wanted = read_parts(read_expected(row, mapping), mapping.separator)
    if not wanted:
        raise _BadRow("no text to look for between the separators")
    return {"all": wanted, "ignore_case": mapping.ignore_case}


def expect_regex(row: Row, mapping: Mapping) -> dict[str, Any]:
    """A pattern that is sound and cannot run away (`own_pattern`); (?i) in it says that case does not count."""
    pattern = read_expected(row, mapping)
    if not isinstance(pattern, str):
        raise _BadRow(f"a pattern is text, got {pattern!r}")
    if problem := find_pattern_problem(pattern):
        raise _BadRow(problem)
    return {"pattern": pattern}


def expect_numeric(row: Row, mapping: Mapping) -> dict[str, Any]:
    """A number and how far the answer may be from it."""
    return {
        "value": read_number(read_expected(row, mapping)),
        "tolerance": mapping.tolerance,
        "relative": mapping.relative,
    }


def read_number(value: Any) -> float:
    """A finite number from a cell: "1,234.5" with commas between thousands, no units; `_BadRow` for anything else."""
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", text):
            text = text.replace(",", "")
        try:
            value = float(text) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII) else None
        except ValueError:
            value = None
        if value is None:
            raise _BadRow(f"{text[:60]!r} is no number; write it with a decimal point and without units")
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _BadRow(f"{str(value)[:60]} is no number that can be compared")
    return number


def expect_json(row: Row, mapping: Mapping) -> Any:
    """The JSON value an answer must equal: parsed from text, else the cell's own."""
    value = read_expected(row, mapping)
    if not isinstance(value, str):
        return value
    try:
        value = json.loads(value)
        json.dumps(value, allow_nan=False).encode()
    except (ValueError, RecursionError) as problem:
        raise _BadRow(f"the expected answer is no JSON ({problem})") from None
    return value


def expect_judged(row: Row, mapping: Mapping) -> dict[str, Any]:
    """What the judge is given beside question and answer; a missing reference is none."""
    return {"reference": read_text(row, mapping.expected) if mapping.expected else "", "rubric": mapping.rubric}


def expect_choice(row: Row, mapping: Mapping) -> dict[str, Any]:
    """The letter of the right choice, and all choices in their order."""
    choices = read_choices(row, mapping)
    return {"letter": LETTERS[find_right_choice(read_expected(row, mapping), choices, mapping)], "choices": choices}


def read_choices(row: Row, mapping: Mapping) -> list[str]:
    """A row's choices, 2 to 26 that differ. Empty cells of several columns are left out, but only at the end."""
    if len(mapping.choices) > 1:
        choices = [read_text(row, column).strip() for column in mapping.choices]
        while choices and not choices[-1]:
            choices.pop()
        if "" in choices:
            raise _BadRow(f"choice {LETTERS[choices.index('') % 26]} is empty though later ones are not")
    else:
        choices = read_choice_list(row.cells.get(mapping.choices[0]), mapping.separator)
    if not 2 <= len(choices) <= len(LETTERS):
        raise _BadRow(f"a question has 2 to {len(LETTERS)} choices, this one {len(choices)}")
    if len(set(choices)) < len(choices):
        raise _BadRow("two choices are the same")
    return choices


def read_choice_list(value: Any, separator: str) -> list[str]:
    """The choices in one cell: a list, a JSON list as text, or parts between `separator`, "|", ";" or line breaks."""
    if isinstance(value, dict) and isinstance(value.get("text"), list):  # as ARC and others ship them
        value = value["text"]
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _BadRow("the choices begin with [ but are no JSON list") from None
    if isinstance(value, str) and not separator:
        separator = next((mark for mark in ("\n", "|", ";") if mark in value), "")
    return read_parts(value, separator) if value is not None else []


def find_right_choice(answer: Any, choices: Sequence[str], mapping: Mapping) -> int:
    """The place, from 0, of the choice that `answer` names; `_BadRow` where it names none, or two."""
    text = (answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)).strip()
    places = {form: find_place(form, text, choices) for form in ANSWER_FORMS[1:]}
    if mapping.answer_form != "auto":
        found = {places[mapping.answer_form]} - {None}
    else:
        found = {places["text"], places["letter"]} - {None}
    if len(found) > 1:
        raise _BadRow(
            f"the answer {text[:60]!r} is the letter of one choice and the text of another; say which is meant"
        )
    if not found:
        counted = "; if it counts choices, say whether from 0 or 1" if text.isdigit() else ""
        raise _BadRow(f"the answer {text[:60]!r} is not among the {len(choices)} choices{counted}")
    return next(place for place in found if place is not None)


def find_place(form: str, text: str, choices: Sequence[str]) -> int | None:
    """The place, from 0, that `text` means when read as `form` of `ANSWER_FORMS`; None where it means none."""
    if form == "text":
        folded = [choice.casefold() for choice in choices]
        if text in choices:
            return choices.index(text)
        return folded.index(text.casefold()) if folded.count(text.casefold()) == 1 else None
    if form == "letter":
        match = re.fullmatch(r"\(?([A-Za-z])[).:]?", text)
        place = LETTERS.index(match.group(1).upper()) if match else len(choices)
    else:
        place = int(text) - int(form[-1]) if re.fullmatch(r"\d{1,3}", text, re.ASCII) else len(choices)
    return place if 0 <= place < len(choices) else None


def write_choices(prompt: str, choices: Sequence[str]) -> str:
    """The question with lettered choices and a request for the letter: the same text for every model."""
    lines = "\n".join(f"{letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
    return f"{prompt.rstrip()}\n\n{lines}\n\nAnswer with the letter of the right choice only."


EXPECTATIONS: dict[str, Callable[[Row, Mapping], dict[str, Any]]] = {
    "exact": expect_exact,
    "contains": expect_contains,
    "regex": expect_regex,
    "numeric": expect_numeric,
    "choice": expect_choice,
    "json_equal": expect_json,
    "judge": expect_judged,
}

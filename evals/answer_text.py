"""Reading an answer: what of a model's text is the answer, and the numbers, JSON and code in it.

Reading is forgiving where no one would quarrel (spaces, fences, "The answer is"), and never guesses content.
"""

from __future__ import annotations

import json
import math
import re
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

LONGEST_READ_CHARS = 200_000
"""No more of an answer than this is read."""

MOST_JSON_STARTS = 200
"""Places of an answer tried as the start of a JSON value."""

THINKING = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)
FINAL_CHANNEL = "<|channel|>final<|message|>"
FENCE = re.compile(r"```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
STATEMENT = re.compile(
    r"(?:final\s+answer|answer|label|result)\s*\**\s*(?:\bis\b\s*:?|:|=)[ \t*_]*(?:\n[ \t]*)?([^\n]+)", re.IGNORECASE
)
BOXED = re.compile(r"\\boxed\s*\{([^{}]*)\}")
NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-+]?)(?:[$€£]\s?)?(?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?P<part>\.\d+)?"
    r"(?P<power>[eE][-+]?\d{1,3})?(?:/(?P<below>\d{1,9}))?"
)
DECORATION = " \t\r\n*_`\"'“”‘’«»„"
MINUS_SIGNS = str.maketrans(
    {"−": "-", "–": "-", "‐": "-", "‑": "-", "﹣": "-", "－": "-", "\u00a0": " ", "\u202f": " "}
)


def find_answer(output: str) -> str | None:
    """The text after a model's reasoning; None where a block of reasoning was opened and never closed.

    A closing mark alone counts: some templates open the block themselves. At most `LONGEST_READ_CHARS` are read.
    """
    text = output.rpartition(FINAL_CHANNEL)[2] if FINAL_CHANNEL in output else output
    marks = list(THINKING.finditer(text))
    if marks and not marks[-1][1]:
        return None
    if marks:
        text = text[marks[-1].end() :]
    return text[:LONGEST_READ_CHARS]


def fold(text: str) -> str:
    """`text` for comparison: compatibility forms and case folded, spaces joined, quotes and marks around it dropped."""
    joined = " ".join(unicodedata.normalize("NFKC", text).split())
    return joined.strip(DECORATION).rstrip(".,;:!。").strip(DECORATION).casefold()


def find_statement(text: str) -> str | None:
    """What follows the last "Answer:", "The answer is" or the like, to the end of its line."""
    boxed = BOXED.findall(text)
    if boxed:
        return str(boxed[-1])
    found = STATEMENT.findall(text)
    return str(found[-1]).strip() if found else None


def write_plain_digits(text: str) -> str:
    """`text` with every decimal digit of any script as 0 to 9, and every kind of minus sign as a hyphen."""
    return "".join(
        c if c.isascii() or (n := unicodedata.decimal(c, None)) is None else str(n) for c in text.translate(MINUS_SIGNS)
    )


def list_numbers(text: str) -> list[float]:
    """The numbers of a text in order: 1,234.5 and $7 and 3/4 and 2e3 count; numbers beyond a float's range do not."""
    found: list[float] = []
    for match in NUMBER.finditer(write_plain_digits(text)):
        whole, part = match["whole"], match["part"]
        if not whole and not part:
            continue
        try:
            value = float(f"{match['sign']}{(whole or '0').replace(',', '')}{part or ''}{match['power'] or ''}")
            value = value / int(match["below"]) if match["below"] else value
        except (ValueError, ZeroDivisionError):
            continue
        if abs(value) < 1e300:
            found.append(value)
    return found


def find_final_number(text: str) -> float | None:
    """The first number of the final statement, else the last number of the text; None where there is none."""
    statement = find_statement(text)
    stated = list_numbers(statement) if statement else []
    if stated:
        return stated[0]
    numbers = list_numbers(text)
    return numbers[-1] if numbers else None


def read_json(text: str) -> Any:
    """`text` as strict JSON; ValueError for anything else, NaN and what is nested too deep included."""

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deep") from None


def unfence(text: str) -> str:
    """The inside of a fenced block where the whole text is one, else the text; outer spaces dropped."""
    stripped = text.strip()
    match = FENCE.fullmatch(stripped)
    return match[2].strip() if match else stripped


def list_json_values(text: str) -> list[Any]:
    """The JSON objects and arrays of an answer, in order: the whole text, else fenced blocks, else those within."""
    try:
        return [read_json(unfence(text))]
    except ValueError:
        pass
    fenced: list[Any] = []
    for match in FENCE.finditer(text):
        fenced += scan_json(match[2])
    return fenced or scan_json(text)


def scan_json(text: str) -> list[Any]:
    """Objects and arrays found in running text, those inside another left out."""

    def refuse(name: str) -> Any:
        raise ValueError(name)

    decoder = json.JSONDecoder(parse_constant=refuse)
    values: list[Any] = []
    at = 0
    for _ in range(MOST_JSON_STARTS):
        match = re.compile(r"[\[{]").search(text, at)
        if match is None:
            break
        try:
            value, at = decoder.raw_decode(text, match.start())
            values.append(value)
        except (ValueError, RecursionError):
            at = match.start() + 1
    return values


def find_code(text: str, entry: str) -> str:
    """The Python code of an answer: the last fenced block defining `entry`, else the first, else the text itself."""
    blocks = [match[2] for match in FENCE.finditer(text)]
    defining = [block for block in blocks if re.search(rf"^\s*(?:def|class)\s+{re.escape(entry)}\b", block, re.M)]
    if blocks:
        return defining[-1] if defining else blocks[0]
    begins = re.search(r"^(?:def |import |from |class |@)", text, re.MULTILINE)
    return text[begins.start() :] if begins else text


def has_phrase(text: str, phrase: str) -> bool:
    """Whether the folded `text` holds the folded `phrase` as whole words; commas within numbers do not matter."""
    within, wanted = (
        re.sub(r"(?<=\d),(?=\d{3})", "", fold(write_plain_digits(t)).replace("*", "")) for t in (text, phrase)
    )
    return bool(wanted) and re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", within) is not None


def clip(number: float) -> float:
    """A number as a float; a whole number beyond a float's range as the largest."""
    return float(max(-sys.float_info.max, min(sys.float_info.max, number)))


def are_same_json(a: Any, b: Any, is_forgiving: bool = False) -> bool:
    """Whether two JSON values are equal: 1 is 1.0, true is not 1, keys in any order.

    Forgiving: texts are compared folded (case, outer marks, final stop), lists of scalars in any order.
    """
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or (is_forgiving and math.isclose(clip(a), clip(b), rel_tol=1e-9))
    if isinstance(a, str) and isinstance(b, str):
        return a == b or (is_forgiving and fold(a) == fold(b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(are_same_json(a[key], b[key], is_forgiving) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        if is_forgiving and not any(isinstance(x, list | dict) for x in (*a, *b)):
            return are_same_set(a, b)
        return len(a) == len(b) and all(are_same_json(x, y, is_forgiving) for x, y in zip(a, b))
    return a is None and b is None


def are_same_set(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Whether two lists of scalars hold the same values, forgivingly, in any order."""
    left = list(b)
    for value in a:
        match = next((i for i, other in enumerate(left) if are_same_json(value, other, True)), None)
        if match is None:
            return False
        left.pop(match)
    return not left

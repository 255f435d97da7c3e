"""Whether a person's regular expression is sound, and cannot take forever on some answer.

Python's engine goes back and tries again, so `(a+)+$` takes exponential time on "aaaa...b". Such forms are refused:
a repeat inside a repeat, alternatives inside a repeat that may begin alike, back references inside a repeat, and more
than a few repeats without limit in a row (each raises the power of the answer's length by one).
"""

from __future__ import annotations

import re
import re._constants as codes  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterable, Iterator
from typing import Any

MAX_PATTERN_CHARACTERS = 1000
MAX_OPEN_REPEATS = 4
MANY = 32
"""Repeats up to this many times count as limited."""

_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)


def find_pattern_problem(pattern: str) -> str:
    """What is wrong with a pattern, "" for nothing."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        return f"a pattern of {len(pattern):,} characters; at most {MAX_PATTERN_CHARACTERS:,} are taken"
    try:
        re.compile(pattern)
        tree = parser.parse(pattern)
    except (re.error, OverflowError, RecursionError, ValueError) as problem:
        return f"the pattern {pattern[:60]!r} is none ({problem})"
    open_repeats = [body for op, body in walk(tree) if op in _REPEATS and is_open(body)]
    if any(is_risky(body[2]) for body in open_repeats):
        return f"the pattern {pattern[:60]!r} could take forever: no repeat, choice or reference inside a repeat"
    if len(open_repeats) > MAX_OPEN_REPEATS:
        return f"the pattern {pattern[:60]!r} could take forever: more than {MAX_OPEN_REPEATS} repeats such as * and +"
    return ""


def walk(tree: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Every operation of a parsed pattern, inner ones too."""
    for op, body in tree:
        yield op, body
        yield from (inner for part in list_inner(body) for inner in walk(part))


def list_inner(body: Any) -> Iterator[Any]:
    """The parsed patterns inside an operation's arguments."""
    if isinstance(body, parser.SubPattern):
        yield body
    elif isinstance(body, tuple | list):
        for part in body:
            yield from list_inner(part)


def is_open(body: Any) -> bool:
    """Whether a repeat may go on for long."""
    return bool(body[1] == codes.MAXREPEAT or body[1] > MANY)


def is_risky(repeated: Any) -> bool:
    """Whether what is repeated may match one text in several ways: varying lengths, like alternatives, references."""
    for op, body in walk(repeated):
        if op in _REPEATS and body[0] != body[1]:
            return True
        if op in (codes.GROUPREF, codes.GROUPREF_EXISTS):
            return True
        if op == codes.BRANCH and not begin_differently(body[1]):
            return True
    return False


def begin_differently(branches: Iterable[Any]) -> bool:
    """Whether every alternative begins with a character of its own."""
    starts = [branch[0] if len(branch) else None for branch in branches]
    letters = {start[1] for start in starts if start is not None and start[0] == codes.LITERAL}
    return len(letters) == len(starts)

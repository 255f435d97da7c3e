"""The suites by name, and their items. Reads the metadata of the task files only: lm-eval is not imported here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from evals.suites.haystack import build_needle_prompt
from sizing.errors import BadInputError, UnknownNameError

FOLDER = Path(__file__).parent
ITEMS_FILE = "items.jsonl"
DEFAULT_CONTEXT_TOKENS = 4096
SMALLEST_CONTEXT_TOKENS = 1024
LARGEST_CONTEXT_TOKENS = 1_048_576
ITEM_FIELDS = {
    "id": str,
    "prompt": str,
    "system": str,
    "scorer": str,
    "expected": str,
    "category": str,
    "max_tokens": int,
}
"""What an item holds: `expected` is JSON text for its scorer, `system` is "" where there is none, `max_tokens` is the
most an answer may take."""

CountTokens = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite. `chance` is the score of a guess (0 to 1); `needs` is "generate" or "loglikelihood"; `opt_in` suites
    run only when asked for by name; `takes_context` suites are built for a context length; `version` changes with
    the items, whose file has the SHA-256 `items_sha256`; `max_output_tokens` is the longest answer allowed."""

    name: str
    title: str
    measures: str
    does_not_measure: str
    version: str
    n_items: int
    items_sha256: str
    opt_in: bool
    takes_context: bool
    needs: str
    max_output_tokens: int
    chance: float
    seed: int


@lru_cache(maxsize=1)
def list_suites() -> tuple[Suite, ...]:
    """Every suite, by name; read from the `metadata` of the task files."""
    return tuple(read_suite(path) for path in sorted(FOLDER.glob("*/*.yaml")))


def read_suite(path: Path) -> Suite:
    """The suite a task file describes, its `!function` entries left unread."""
    yaml = import_module("yaml")

    class Loader(yaml.SafeLoader):  # type: ignore[misc,name-defined]
        """A safe loader of its own, so that the constructor below touches nobody else's."""

    Loader.add_constructor("!function", lambda loader, node: str(node.value))
    metadata = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)["metadata"]
    return Suite(**{field.name: metadata[field.name] for field in fields(Suite)})


def find_suite(name: str) -> tuple[Suite, int | None]:
    """The suite of that name and the context length asked for, as in "needle@16384"; None where none is named.

    Raises UnknownNameError with near names, BadInputError for a length that is no number, out of range, or asked of a
    suite that takes none.
    """
    base, at, length = name.partition("@")
    suites = {suite.name: suite for suite in list_suites()}
    if base not in suites:
        raise UnknownNameError("suite", name, suites)
    if not at:
        return suites[base], None
    if not suites[base].takes_context:
        raise BadInputError(f"suite {base} takes no context length, got {name!r}; write {base}")
    if not (length.isascii() and length.isdigit()):
        raise BadInputError(f"the context length after @ must be a whole number of tokens, got {name!r}")
    return suites[base], check_context_tokens(int(length))


def check_context_tokens(context_tokens: int) -> int:
    """The same number; BadInputError outside 1,024 to 1,048,576 tokens."""
    if not SMALLEST_CONTEXT_TOKENS <= context_tokens <= LARGEST_CONTEXT_TOKENS:
        raise BadInputError(
            f"context_tokens must be {SMALLEST_CONTEXT_TOKENS} to {LARGEST_CONTEXT_TOKENS}, got {context_tokens!r}"
        )
    return context_tokens


def load_items(
    name: str, context_tokens: int | None = None, count_tokens: CountTokens | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """The items of a suite in their fixed order, at most `limit`; any first part holds all categories about evenly.

    A suite that takes a context is built for `context_tokens` (that of the name, else 4,096) by `count_tokens`, or by
    four characters a token where there is none. Raises as `find_suite` does, and BadInputError for a context length
    given to a suite that takes none.
    """
    suite, named = find_suite(name)
    if context_tokens is not None and not suite.takes_context:
        raise BadInputError(f"suite {suite.name} takes no context length, got context_tokens={context_tokens!r}")
    items = read_rows(FOLDER / suite.name / ITEMS_FILE)[:limit]
    if not suite.takes_context:
        return items
    wanted = check_context_tokens(context_tokens or named or DEFAULT_CONTEXT_TOKENS)
    return [build_context(item, wanted, count_tokens) for item in items]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of an items file as they are."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def build_context(row: dict[str, Any], context_tokens: int, count_tokens: CountTokens | None) -> dict[str, Any]:
    """An item whose recipe has become a prompt that leaves room for its answer."""
    item = {key: row[key] for key in ITEM_FIELDS}
    room = context_tokens - item["max_tokens"]
    return {**item, "prompt": build_needle_prompt(row["recipe"], item["prompt"], room, count_tokens)}


def check_items(items: Sequence[dict[str, Any]]) -> None:
    """BadInputError where an item lacks a field, holds a wrong type, or two share an id."""
    if not items:
        raise BadInputError("at least one item is wanted, got none")
    seen: set[str] = set()
    for n, item in enumerate(items):
        for key, kind in ITEM_FIELDS.items():
            if not isinstance(item.get(key), kind) or isinstance(item.get(key), bool):
                raise BadInputError(f"item {n}: {key} must be {kind.__name__}, got {item.get(key)!r}")
        if item["id"] in seen:
            raise BadInputError(f"item {n}: the id {item['id']!r} is taken; give each item its own")
        seen.add(item["id"])

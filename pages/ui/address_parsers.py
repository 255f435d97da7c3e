"""How text of the address becomes a value: parsers that refuse nonsense with a sentence. No Streamlit.

Each maker gives a parser that raises BadInputError.
"""

from __future__ import annotations

from collections.abc import Callable

from sizing.errors import BadInputError

AUTO = "auto"
"""The word for leaving a setting to whoever has a default for it."""

MAX_QUOTED = 40
"""Characters of a refused number that are said back."""


def whole_parser(what: str, low: int, high: int) -> Callable[[str], int]:
    """A whole number from `low` to `high`, with or without separators."""

    def parse(text: str) -> int:
        try:
            value = int(text.replace(",", "").replace("_", ""))
        except ValueError:
            raise BadInputError(f"{what} wants a whole number from {low:,} to {high:,}, got {text!r}") from None
        if not low <= value <= high:
            raise BadInputError(f"{what} wants a whole number from {low:,} to {high:,}, got {value:,}")
        return value

    return parse


def number_parser(what: str, low: float, high: float) -> Callable[[str], float]:
    """A number from `low` to `high`."""

    def parse(text: str) -> float:
        try:
            value = float(text.replace(",", ""))
        except ValueError:
            raise BadInputError(f"{what} wants a number from {low:g} to {high:g}, got {text[:MAX_QUOTED]!r}") from None
        if not low <= value <= high:  # also refuses nan
            raise BadInputError(f"{what} wants a number from {low:g} to {high:g}, got {text[:MAX_QUOTED]!r}")
        return value

    return parse


def choice_parser(what: str, known: tuple[str, ...]) -> Callable[[str], str]:
    """One of the known words, whatever its case."""

    def parse(text: str) -> str:
        if text.lower() not in known:
            raise BadInputError(f"{what} wants one of {', '.join(known)}, got {text!r}")
        return text.lower()

    return parse


def text_parser(what: str, most: int = 200) -> Callable[[str], str]:
    """A name of at most `most` printable characters."""

    def parse(text: str) -> str:
        if len(text) > most or not text.isprintable():
            raise BadInputError(f"{what} wants a name of at most {most} plain characters")
        return text.strip()

    return parse


def several_parser(what: str) -> Callable[[str], tuple[str, ...]]:
    """A few names parted by '|'."""

    def parse(text: str) -> tuple[str, ...]:
        text_parser(what)(text[:200])
        if len(text) > 2000:
            raise BadInputError(f"{what} wants at most 2,000 characters, got {len(text):,}")
        return tuple(dict.fromkeys(part.strip() for part in text.split("|") if part.strip()))

    return parse


def list_parser(what: str) -> Callable[[str], tuple[str, ...]]:
    """Values parted by '|', of any length one by one: paths of files among them."""

    def parse(text: str) -> tuple[str, ...]:
        if len(text) > 8000 or not text.isprintable():
            raise BadInputError(f"{what} wants names parted by |, at most 8,000 plain characters in all")
        return tuple(dict.fromkeys(part.strip() for part in text.split("|") if part.strip()))

    return parse


def auto_or_whole(what: str, low: int, high: int) -> Callable[[str], int | None]:
    """A whole number, or None for the word that leaves it to whoever has a default for it."""
    number = whole_parser(what, low, high)

    def parse(text: str) -> int | None:
        if text.strip().lower() == AUTO:
            return None
        try:
            return number(text)
        except BadInputError as error:
            raise BadInputError(str(error).replace("wants a", f"wants {AUTO} or a")) from None

    return parse


def auto_or_number(what: str, low: float, high: float) -> Callable[[str], float | None]:
    """A number, or None for the word that leaves it to the engine."""
    number = number_parser(what, low, high)

    def parse(text: str) -> float | None:
        return None if text.strip().lower() == AUTO else number(text)

    return parse

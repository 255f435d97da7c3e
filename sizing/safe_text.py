"""Text of others that stays text: in a cell of a spreadsheet, in Markdown, in an address between angle brackets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

from sizing.units import THIN

_SPACES = str.maketrans({THIN: " ", "\u00a0": " "})
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the start of a formula (https://owasp.org/www-community/attacks/CSV_Injection)."""


def plain_spaces(text: str) -> str:
    """Text with ordinary spaces in place of thin and unbreakable ones.

    >>> plain_spaces("11.8\\u2009GiB")
    '11.8 GiB'
    """
    return text.translate(_SPACES)


def guard_formula(text: str) -> str:
    """Text that no spreadsheet takes for a formula: what looks like one gets a leading apostrophe.

    >>> [guard_formula(text) for text in ("=1+1", " @SUM(A1)", "Qwen3 14B")]
    ["'=1+1", "' @SUM(A1)", 'Qwen3 14B']
    """
    looks_like_one = text.startswith(_FORMULA_SIGNS) or text.lstrip().startswith(_FORMULA_SIGNS)
    return f"'{text}" if looks_like_one else text


def format_number(value: int | float) -> str:
    """A number with all its digits, a point, no separators and no exponent.

    >>> [format_number(x) for x in (12_670_000_000, 0.1, 5e-07, 3.0)]
    ['12670000000', '0.1', '0.0000005', '3']
    """
    if isinstance(value, int):
        return str(value)
    return str(int(value)) if value.is_integer() else f"{Decimal(repr(value)):f}"


def csv_cell(value: str | int | float | None) -> str:
    """One cell, quoted as RFC 4180 has it where it must be: numbers as they are, text guarded, None empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str):
        return format_number(value)
    text = guard_formula(plain_spaces(value))
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\r\n]', text) else text


def csv_line(values: Iterable[str | int | float | None]) -> str:
    """One line of a CSV file, without its end."""
    return ",".join(csv_cell(value) for value in values)


def markdown_text(text: str) -> str:
    """Text that shows as it is in Markdown: no link, no markup, no column of a table, on one line."""
    return re.sub(r"([\\`*_{}\[\]#|<>~])", r"\\\1", " ".join(plain_spaces(text).split()))


def plain_url(url: str) -> str:
    """An address that cannot leave its angle brackets."""
    return re.sub(r"[<>\s]", "", url)


def name_file(name: str) -> str:
    """The name of an exported file without its ending: letters, digits and hyphens.

    >>> name_file("eval_table")
    'weighbridge-eval-table'
    """
    kept = "".join(c if c.isascii() and (c.isalnum() or c == ".") else "-" for c in name)
    return "-".join(["weighbridge", *filter(None, kept.split("-"))])[:120].rstrip(".-")

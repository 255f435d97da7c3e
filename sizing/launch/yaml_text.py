"""YAML without a library: block maps and lists, every string in double quotes, so that none reads as structure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

Yaml = str | int | float | bool | None | Sequence["Yaml"] | Mapping[str, "Yaml"]
"""What can be written: maps, lists and scalars."""

PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
READ_AS_OTHER = frozenset("true false yes no on off y n null nan inf".split())
"""Plain words that YAML 1.1 reads as something else than text."""


def write_yaml(value: Yaml) -> str:
    r"""A YAML document, ending in a newline.

    >>> print(write_yaml({"a": ["x: y", 1], "b": {}}), end="")
    a:
      - "x: y"
      - 1
    b: {}
    """
    return "\n".join(_write_lines(value)) + "\n"


def write_documents(values: Sequence[Yaml]) -> str:
    """Several documents in one file, parted by '---'."""
    return "---\n".join(write_yaml(value) for value in values)


def quote_yaml(text: str) -> str:
    r"""A string as a double-quoted scalar on one line: whatever is not plainly printable is escaped.

    >>> print(quote_yaml('it\'s "a" $\\\n\u2028'))
    "it's \"a\" $\\\n\u2028"

    Escapes: https://yaml.org/spec/1.2.2/#57-escaped-characters
    """
    return '"' + "".join(_escape(c) for c in text) + '"'


def _escape(c: str) -> str:
    short = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(c)
    if short is not None:
        return short
    if c.isprintable():
        return c
    return f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"


def _write_lines(value: Yaml) -> Iterator[str]:
    """The lines of a value, not indented."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _write_item(f"{_write_key(key)}:", item, indent_lists=True)
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        for item in value:
            yield from _write_item("-", item, indent_lists=False)
    else:
        yield _write_scalar(value)


def _write_item(head: str, item: Yaml, indent_lists: bool) -> Iterator[str]:
    """A key or a dash with its value: on the same line where that is a scalar, a map after a dash, or empty."""
    lines = list(_write_lines(item))
    is_nested = isinstance(item, Mapping | Sequence) and not isinstance(item, str) and bool(item)
    if is_nested and indent_lists:
        yield head
        yield from (f"  {line}" for line in lines)
    else:
        yield f"{head} {lines[0]}"
        yield from (f"  {line}" for line in lines[1:])


def _write_key(key: str) -> str:
    is_plain = PLAIN_KEY.fullmatch(key) and key.casefold() not in READ_AS_OTHER
    return key if is_plain else quote_yaml(key)


def _write_scalar(value: Yaml) -> str:
    if isinstance(value, str):
        return quote_yaml(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        text = repr(value)
        return text.replace("e", ".0e") if "e" in text and "." not in text else text  # YAML 1.1 wants the point
    return "{}" if isinstance(value, Mapping) else "[]"

"""Reading fact files: every cell is checked against the table it will fill, and a fault is named with file and line."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sizing.errors import DataFileError

Cell = str | int | float | bool | None | list[str] | list[int]

AS_OF = re.compile(r"\d{4}(-(0[1-9]|1[0-2])(-([0-2]\d|3[01]))?)?")
SOURCE_URL = re.compile(r"https?://[^\s/]+\S*")
_BOOLEANS = {"true": True, "false": False}
_WANTS = {"BIGINT": "a whole number", "INTEGER": "a whole number", "DOUBLE": "a number", "BOOLEAN": "true or false"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its SQL type, and whether a cell may be empty."""

    name: str
    sql_type: str
    nullable: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One row for a table: where it stands (file, 1-based line) and its cells in the order of the columns."""

    file: str
    line: int
    cells: tuple[Cell, ...]


def load_csv(path: Path, columns: Sequence[Column]) -> tuple[Row, ...]:
    """Rows of the CSV file `path`, typed as `columns` want. A column called `line` is the row's own line.

    Raises DataFileError, with file and line, for a header that differs from the columns, a row of the wrong width,
    a missing source_url or as_of, an empty cell that must be filled, or a number that is none.
    """
    file = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataFileError(file, line, "wanted UTF-8 text, got other bytes; save the file as UTF-8") from error
    except OSError as error:
        raise DataFileError(file, 1, f"cannot be read ({error.strerror}); restore the data folder") from error
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    rows: list[Row] = []
    start = 1
    try:
        wanted = [c for c in columns if c.name != "line"]
        order = _read_header(file, next(reader, []), wanted)
        for row in reader:
            start, line = reader.line_num + 1, start
            line = max(line, 2)
            if not row:
                continue
            if len(row) != len(wanted):
                raise DataFileError(file, line, f"wanted {len(wanted)} cells, got {len(row)}; check commas and quotes")
            cells = [_read_cell(file, line, wanted[i], row[at]) for i, at in enumerate(order)]
            if len(wanted) < len(columns):
                cells.insert([c.name for c in columns].index("line"), line)
            rows.append(Row(file, line, tuple(cells)))
    except csv.Error as error:
        raise DataFileError(file, max(reader.line_num, 1), f"not CSV: {error}") from error
    return tuple(rows)


def _read_header(file: str, header: Sequence[str], columns: Sequence[Column]) -> tuple[int, ...]:
    """Where each column stands in the file."""
    names = [c.name for c in columns]
    missing = [n for n in names if n not in header]
    unknown = [n for n in header if n not in names]
    if missing or unknown or len(set(header)) != len(header):
        raise DataFileError(
            file,
            1,
            f"wanted the columns {', '.join(names)}; missing {', '.join(missing) or 'none'}, "
            f"unknown or repeated {', '.join(unknown) or 'none'}",
        )
    return tuple(header.index(n) for n in names)


def _read_cell(file: str, line: int, column: Column, text: str) -> Cell:
    value = text.strip()
    if not value:
        if column.nullable:
            return None
        hint = (
            "every row must say where it comes from and when" if column.name in ("source_url", "as_of") else "fill it"
        )
        raise DataFileError(file, line, f"{column.name} is empty; {hint}")
    if column.name == "source_url" and not SOURCE_URL.fullmatch(value):
        raise DataFileError(file, line, f"source_url wants an http(s) address, got {value!r}")
    if column.name == "as_of" and not AS_OF.fullmatch(value):
        raise DataFileError(file, line, f"as_of wants YYYY, YYYY-MM or YYYY-MM-DD, got {value!r}")
    if column.sql_type == "VARCHAR":
        return value
    parsed = _parse_value(column.sql_type, value)
    if parsed is None:
        raise DataFileError(file, line, f"{column.name} wants {_WANTS[column.sql_type]}, got {value!r}")
    return parsed


def _parse_value(sql_type: str, value: str) -> int | float | bool | None:
    """The value as its SQL type, None where it is not one (NaN and infinities are not numbers here)."""
    if sql_type == "BOOLEAN":
        return _BOOLEANS.get(value.lower())
    if "_" in value or not value.isascii():
        return None  # Python would take 1_000 and other scripts' digits
    try:
        if sql_type == "DOUBLE":
            number = float(value)
            return number if math.isfinite(number) else None
        whole = int(value)
    except ValueError:
        return None
    bits = 31 if sql_type == "INTEGER" else 63
    return whole if -(2**bits) <= whole < 2**bits else None

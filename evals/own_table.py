"""A person's own data, CSV or JSONL, read into a table: whatever the bytes are, with the bad rows named by line.

Everything is bounded: bytes, rows, columns, characters in a cell, depth of JSON. A file that cannot be read at all is a
BadInputError; a row that cannot is a `RowProblem` and the others are kept.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from sizing.errors import BadInputError

MAX_BYTES = 20 * 1000**2
MAX_ROWS = 5000
MAX_COLUMNS = 200
MAX_CELL_CHARACTERS = 100_000
MAX_LINE_CHARACTERS = 1_000_000
MAX_DEPTH = 32
MAX_PROBLEMS = 200
"""Problems that are listed; of more only the number is told."""

SAMPLE_CHARACTERS = 20_000
SAMPLE_ROWS = 40

DELIMITERS = ",;\t|"
CSV_SUFFIXES = (".csv", ".tsv", ".txt")
JSONL_SUFFIXES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True, slots=True)
class RowProblem:
    """What is wrong with the row that begins on `line` (1-based, in the file)."""

    line: int
    what: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the line it begins on, and its cells by column. Cells of a CSV are text, of JSONL any JSON value."""

    line: int
    cells: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """A file's columns in their order, its sound rows, and what was wrong with the others."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    problems: tuple[RowProblem, ...]


def read_table_file(path: Path) -> Table:
    """`read_table` of a file. BadInputError where it cannot be read or is larger than `MAX_BYTES`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as problem:
        raise BadInputError(f"{str(path)!r} cannot be read ({problem.strerror})") from None
    return read_table(data, path.name)


def read_table(data: bytes, name: str) -> Table:
    """The table in a file's bytes. Its name's ending decides between CSV and JSONL, else its first character.

    BadInputError: empty, above 20 MB, not UTF-8, no header, two columns of one name, no sound row.
    """
    if len(data) > MAX_BYTES:
        raise BadInputError(
            f"{name!r} is larger than {MAX_BYTES // 1000**2} MB; give a part of it, 5,000 rows are enough"
        )
    text = decode_text(data, name)
    suffix = Path(name).suffix.lower()
    is_json = suffix in JSONL_SUFFIXES or (suffix not in CSV_SUFFIXES and text.lstrip()[:1] == "{")
    table = read_jsonl(text, name) if is_json else read_csv(text, name)
    if not table.rows:
        first = "; ".join(f"line {p.line}: {p.what}" for p in table.problems[:3])
        raise BadInputError(f"{name!r} holds no row that can be used ({first or 'only a header'})")
    return table


def decode_text(data: bytes, name: str) -> str:
    """The text of UTF-8 bytes, a byte order mark left off. BadInputError names the line where it is something else."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise BadInputError(f"{name!r} is UTF-16; save it as UTF-8 (in Excel: CSV UTF-8)")
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise BadInputError(f"{name!r} holds a NUL byte on line {line}; it is no text file, or not UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data[: problem.start].count(b"\n") + 1
        raise BadInputError(f"{name!r} is not UTF-8 (line {line}); save it as UTF-8 (in Excel: CSV UTF-8)") from None
    if not text.strip():
        raise BadInputError(f"{name!r} is empty")
    return text


def read_csv(text: str, name: str) -> Table:
    """The table in CSV text whose first row names the columns. Quotes are double quotes, doubled inside a cell."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=find_delimiter(text), strict=True)
    records = read_records(reader)
    header = next((record for _, record in records if record), [])
    columns = check_header(header, name)
    rows: list[Row] = []
    problems: list[RowProblem] = []
    n_problems = 0
    for line, record in records:
        if isinstance(record, list) and not any(cell.strip() for cell in record):
            continue
        if len(rows) >= MAX_ROWS:
            problems.append(RowProblem(line, f"rows from here on are left out; {MAX_ROWS:,} are read"))
            break
        if what := record if isinstance(record, str) else find_record_problem(record, len(columns)):
            n_problems += 1
            problems += [RowProblem(line, what)] if n_problems <= MAX_PROBLEMS else []
        else:
            rows.append(Row(line, dict(zip(columns, record, strict=True))))
    return Table(columns, tuple(rows), (*problems, *count_others(n_problems)))


def read_records(reader: Any) -> Iterator[tuple[int, list[str] | str]]:
    """Each record of a CSV reader with the line it begins on, or what the reader could not read there."""
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            yield line, f"not CSV ({problem}); check the double quotes"
        else:
            yield line, record


def find_record_problem(record: list[str], n_columns: int) -> str:
    """What is wrong with the number or size of a record's cells, "" for nothing."""
    if len(record) != n_columns:
        return f"has {len(record):,} cells where the header has {n_columns:,}; put cells with the separator in quotes"
    longest = max(map(len, record))
    if longest > MAX_CELL_CHARACTERS:
        return f"a cell of {longest:,} characters; at most {MAX_CELL_CHARACTERS:,} are read"
    return ""


def check_header(header: list[str] | str, name: str) -> tuple[str, ...]:
    """The columns a header names. BadInputError for none, too many, empty, double or merely numeric names."""
    if isinstance(header, str):
        raise BadInputError(f"{name!r} has no header that can be read: {header}")
    columns = tuple(cell.strip() for cell in header)
    if len(columns) > MAX_COLUMNS:
        raise BadInputError(f"{name!r} has {len(columns):,} columns; at most {MAX_COLUMNS} are read")
    if not columns or not all(columns):
        raise BadInputError(f"{name!r} has a column without a name; its first row names columns")
    double = sorted({column[:60] for column in columns if columns.count(column) > 1})
    if double:
        raise BadInputError(f"{name!r} names columns twice: {', '.join(double)}; give each its own name")
    if all(is_number(column) for column in columns):
        raise BadInputError(f"{name!r} begins with numbers; its first row must name the columns")
    return columns


def is_number(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def find_delimiter(text: str) -> str:
    """What separates the cells: the candidate under which most of the first rows have as many cells as the header.

    Ties go to the one that makes more columns. (The standard library's Sniffer takes commas inside a sentence for
    separators and apostrophes for quotes.)
    """
    sample = text[:SAMPLE_CHARACTERS]
    return max(DELIMITERS, key=lambda delimiter: rate_delimiter(sample, delimiter))


def rate_delimiter(sample: str, delimiter: str) -> tuple[float, int]:
    """The share of the first rows with as many cells as the header, and its number of cells; nothing for one cell."""
    records = []
    try:
        for record in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter):
            records += [record] if record else []
    except csv.Error:
        pass
    if not records or len(records[0]) < 2:
        return 0.0, 0
    rows = records[1:SAMPLE_ROWS]
    if len(sample) == SAMPLE_CHARACTERS and len(rows) > 1:
        rows = rows[:-1]  # the last may be cut
    share = sum(len(row) == len(records[0]) for row in rows) / len(rows) if rows else 1.0
    return share, len(records[0])


def read_jsonl(text: str, name: str) -> Table:
    """The table in JSON lines, one object on each; columns are all names in the order they first appear.

    Raises BadInputError for too many names, and lines that are no objects.
    """
    rows: list[Row] = []
    problems: list[RowProblem] = []
    n_problems = 0
    columns: dict[str, None] = {}
    for line, source in enumerate(text.split("\n"), start=1):
        if not source.strip():
            continue
        if len(rows) >= MAX_ROWS:
            problems.append(RowProblem(line, f"rows from here on are left out; {MAX_ROWS:,} are read"))
            break
        found = parse_line(source)
        if isinstance(found, str):
            n_problems += 1
            problems += [RowProblem(line, found)] if n_problems <= MAX_PROBLEMS else []
            continue
        columns |= dict.fromkeys(found)
        if len(columns) > MAX_COLUMNS:
            raise BadInputError(f"{name!r} has more than {MAX_COLUMNS} different names in its objects (line {line})")
        rows.append(Row(line, found))
    return Table(tuple(columns), tuple(rows), (*problems, *count_others(n_problems)))


def parse_line(source: str) -> dict[str, Any] | str:
    """The object on one line, or what is wrong with it."""
    if len(source) > MAX_LINE_CHARACTERS:
        return f"a line of {len(source):,} characters; at most {MAX_LINE_CHARACTERS:,} are read"
    try:
        found = json.loads(source, parse_constant=refuse_constant, parse_float=read_float, object_pairs_hook=read_pairs)
        written = json.dumps(found, ensure_ascii=False)
        written.encode()  # half a surrogate pair is no text that can be stored or sent
    except RecursionError:
        return "JSON nested too deep"
    except UnicodeEncodeError:
        return "half a character (a lone surrogate such as \\ud800)"
    except ValueError as problem:
        hint = "; one object a line, without brackets or commas around" if source.lstrip()[:1] in "[]," else ""
        return f"not JSON ({problem}){hint}"
    if not isinstance(found, dict):
        return f"a JSON {type(found).__name__}, not an object; write one object a line"
    if "\\u0000" in written:
        return "a NUL character in a text"
    if len(found) > MAX_COLUMNS:
        return f"an object of {len(found):,} names; at most {MAX_COLUMNS} are read"
    if find_depth(found) > MAX_DEPTH:
        return f"JSON nested deeper than {MAX_DEPTH}"
    longest = max((len(value) for value in found.values() if isinstance(value, str)), default=0)
    if longest > MAX_CELL_CHARACTERS:
        return f"a text of {longest:,} characters; at most {MAX_CELL_CHARACTERS:,} are read"
    return found


def refuse_constant(word: str) -> NoReturn:
    """NaN and Infinity are no JSON, though Python reads them."""
    raise ValueError(f"{word} is no JSON number")


def read_float(digits: str) -> float:
    """A number of JSON; one too large for a float is an error, not infinity."""
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits[:20]} is too large a number")
    return value


def read_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's pairs; a name that stands twice is an error, for one value would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def find_depth(value: Any) -> int:
    """How deep lists and objects nest, counted without recursion."""
    depth, level = 0, [value]
    while level := [v for v in level if isinstance(v, dict | list)]:
        depth += 1
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
    return depth


def count_others(n_problems: int) -> tuple[RowProblem, ...]:
    """One line for the problems above the number that is listed."""
    n_others = n_problems - MAX_PROBLEMS
    return (RowProblem(0, f"{n_others:,} further rows have problems"),) if n_others > 0 else ()

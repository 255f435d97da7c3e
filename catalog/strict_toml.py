"""Reading fact files in TOML strictly: a key nobody reads, a missing key or a wrong type is refused with its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sizing.errors import DataFileError

Keys = Mapping[str, tuple[type, bool]]
"""Key -> (type, whether it must be there). The keys of a table are the only ones it may hold."""

AS_OF = r"\d{4}-\d{2}(-\d{2})?"
URL = r"https?://\S+"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands in its file, so that an error can name the line of the offending key."""

    file: str
    text: str
    line: int  # 1-based line of the record's header; 0 for the top of the file

    def error(self, key: str, problem: str, where: str = "") -> DataFileError:
        """The error to raise for `key`, at its own line where the record (or its sub-table `where`) has the key."""
        return DataFileError(self.file, self._line_of(key, where), problem)

    def _line_of(self, key: str, where: str) -> int:
        lines = self.text.splitlines()
        found, inside = max(self.line, 1), not where
        for number, line in enumerate(lines[self.line :], self.line + 1):
            if line.startswith("[["):
                break
            if where and line.startswith("["):
                inside = line.strip() == f"[{where}]"
                found = number if inside else found
            if inside and re.match(rf'\[?(\w+\.)?"?{re.escape(key)}"?\s*(=|\])', line):
                return number
        return found


def load_records(file: Path, array: str, top: Keys) -> tuple[Mapping[str, Any], list[tuple[Mapping[str, Any], Place]]]:
    """The document of a TOML file and its `[[array]]` records, each with its place.

    Raises DataFileError where the file cannot be read, is not TOML, or its top level breaks `top`.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise DataFileError(str(file), line, "wanted UTF-8 text, got other bytes; save the file as UTF-8") from error
    except OSError as error:
        raise DataFileError(str(file), 1, f"cannot be read ({error.strerror}); restore the data folder") from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        raise DataFileError(str(file), int(at[1]) if at else len(text.splitlines()), f"not TOML: {error}") from error
    check_keys(document, {**top, array: (list, True)}, Place(str(file), text, 0))
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.strip() == f"[[{array}]]"]
    places = [Place(str(file), text, line) for line in lines]
    if len(places) != len(document[array]):
        raise DataFileError(str(file), 1, f"wanted every record under a [[{array}]] line of its own")
    return document, list(zip(document[array], places, strict=True))


def check_keys(table: Mapping[str, Any], keys: Keys, place: Place, where: str = "") -> None:
    """Refuse unknown and missing keys, wrong types and empty texts; `where` names the sub-table, if any."""
    prefix = f"[{where}] " if where else ""
    for key in table:
        if key not in keys:
            raise place.error(key, f"{prefix}unknown key {key!r}; known are {', '.join(keys)}", where)
    for key, (kind, required) in keys.items():
        if key not in table:
            if required:
                raise place.error(key, f"{prefix}missing {key}; every record must state it", where)
            continue
        value = table[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise place.error(key, f"{prefix}{key} wants {kind.__name__}, got {value!r}", where)
        if isinstance(value, str) and not value.strip():
            raise place.error(key, f"{prefix}{key} is empty; every record must state it", where)


def check_form(record: Mapping[str, Any], forms: Mapping[str, str], place: Place) -> None:
    """Refuse texts that do not have the form (a regular expression) their key wants."""
    for key, form in forms.items():
        if key in record and not re.fullmatch(form, record[key]):
            raise place.error(key, f"{key} wants the form {form}, got {record[key]!r}")


def check_choice(record: Mapping[str, Any], choices: Mapping[str, tuple[str, ...]], place: Place) -> None:
    """Refuse values outside the few their key allows."""
    for key, allowed in choices.items():
        if record[key] not in allowed:
            raise place.error(key, f"{key} wants one of {', '.join(allowed)}, got {record[key]!r}")


def check_texts(record: Mapping[str, Any], names: tuple[str, ...], place: Place) -> None:
    """Refuse lists that hold anything but texts."""
    for key in names:
        if not all(isinstance(item, str) and item.strip() for item in record.get(key, [])):
            raise place.error(key, f"{key} wants a list of texts, got {record[key]!r}")

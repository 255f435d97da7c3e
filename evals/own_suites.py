"""A person's own suites on disk: one JSONL file each in `own_suites/` of their folder, a header line and the items.

The version is a hash of the items, so a result says exactly which ones were asked. Files are written whole or not at
all, and names cannot lead out of the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evals.suites.listing import ITEM_FIELDS
from sizing.errors import BadInputError, DataFileError, UnknownNameError, UserStoreError

FOLDER = "own_suites"
FORMAT = 1
MAX_NAME_CHARACTERS = 64
MAX_FILE_BYTES = 256 * 1000**2


@dataclass(frozen=True, slots=True)
class OwnSuiteHead:
    """What the list of suites shows. `problem` is "" for a sound file; of a broken one only name and path are known."""

    name: str
    version: str
    created_at: str
    note: str
    n_items: int
    path: Path
    problem: str = ""


@dataclass(frozen=True, slots=True)
class OwnSuite:
    """A suite and its items."""

    head: OwnSuiteHead
    items: tuple[dict[str, Any], ...]


def clean_name(name: str) -> str:
    """A name fit for a file on any system: letters, digits, "-", "_" and "." inside, at most 64 characters.

    BadInputError where nothing of it is left.

    >>> clean_name("../Support tickets, May")
    'Support-tickets-May'
    """
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    cleaned = re.sub(r"\.{2,}", ".", cleaned)[:MAX_NAME_CHARACTERS].strip("-._")
    if not cleaned:
        raise BadInputError(f"a suite's name needs a letter or digit of a-z and 0-9, got {name[:60]!r}")
    reserved = re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", cleaned)
    return f"suite-{cleaned}" if reserved else cleaned


def find_version(items: Sequence[Mapping[str, Any]]) -> str:
    """The SHA-256 of the items, their order included."""
    lines = "\n".join(json.dumps(dict(item), sort_keys=True) for item in items)
    return hashlib.sha256(lines.encode()).hexdigest()


def save_own_suite(home: Path, name: str, items: Sequence[Mapping[str, Any]], note: str = "") -> Path:
    """Write a suite and give its path. An older one of that name is replaced.

    BadInputError: no items, an item of another form, a name without a letter or digit. UserStoreError: cannot write.
    """
    cleaned = clean_name(name)
    if not items:
        raise BadInputError("a suite needs at least one item")
    for number, item in enumerate(items, start=1):
        if problem := find_item_problem(item):
            raise BadInputError(f"item {number} of the suite {name!r}: {problem}")
    head = {
        "format": FORMAT,
        "name": cleaned,
        "version": find_version(items),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "note": note,
        "n_items": len(items),
    }
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in (head, *map(dict, items)))
    path = home / FOLDER / f"{cleaned}.jsonl"
    write_whole(path, text)
    return path


def write_whole(path: Path, text: str) -> None:
    """Write a file beside its place and move it there. UserStoreError where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, written = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(written).replace(path)
        except BaseException:
            Path(written).unlink(missing_ok=True)
            raise
    except OSError as problem:
        raise UserStoreError(f"the suite {path.stem!r} cannot be written ({problem.strerror})") from None


def load_own_suite(home: Path, name: str) -> OwnSuite:
    """The suite of that name. UnknownNameError where there is none, DataFileError where its file was changed or cut."""
    path = home / FOLDER / f"{clean_name(name)}.jsonl"
    if not path.is_file():
        raise UnknownNameError("own suite", name, [head.name for head in list_own_suites(home)])
    return read_suite(path)


def read_suite(path: Path) -> OwnSuite:
    """The suite in a file, checked against the version in its header.

    Raises DataFileError with the line for a file that `save_own_suite` did not write so.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DataFileError(path.name, 1, f"larger than {MAX_FILE_BYTES // 1000**2} MB; not written by save_own_suite")
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
        except (ValueError, RecursionError) as problem:
            raise DataFileError(path.name, number, f"is no JSON ({problem})") from None
        if not isinstance(records[-1], dict):
            raise DataFileError(path.name, number, "is no JSON object")
        if number > 1 and (problem_text := find_item_problem(records[-1])):
            raise DataFileError(path.name, number, problem_text)
    if len(records) < 2 or records[0].get("format") != FORMAT:
        raise DataFileError(path.name, 1, "no header of a suite, or no items; save the suite again")
    head, items = records[0], tuple(records[1:])
    version = find_version(items)
    if head.get("version") != version:
        raise DataFileError(path.name, 1, "its items are not those of its version; save the suite again")
    made = str(head.get("created_at") or "")
    return OwnSuite(OwnSuiteHead(path.stem, version, made, str(head.get("note") or ""), len(items), path), items)


def list_own_suites(home: Path) -> tuple[OwnSuiteHead, ...]:
    """The suites in the folder by name; a broken file is listed with its problem."""
    heads = []
    for path in sorted((home / FOLDER).glob("*.jsonl")):
        try:
            heads.append(read_suite(path).head)
        except (DataFileError, OSError) as problem:
            heads.append(OwnSuiteHead(path.stem, "", "", "", 0, path, str(problem)))
    return tuple(heads)


def find_item_problem(item: Mapping[str, Any]) -> str:
    """What is wrong with an item's form, "" for nothing."""
    if set(item) != set(ITEM_FIELDS):
        return f"an item holds {', '.join(ITEM_FIELDS)}; got {', '.join(map(str, list(item)[:12]))}"
    wrong = [name for name, kind in ITEM_FIELDS.items() if type(item[name]) is not kind]
    if wrong:
        return f"{wrong[0]} of an item is {ITEM_FIELDS[wrong[0]].__name__}, got {item[wrong[0]]!r:.60}"
    try:
        json.loads(item["expected"])
    except (ValueError, RecursionError):
        return f"expected is JSON text, got {item['expected']!r:.60}"
    return ""

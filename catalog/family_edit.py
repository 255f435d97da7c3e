"""Accepted facts written into a family file: only the lines they stand on change, comments and order stay.

A file is edited as text, because a TOML writer would lose its comments and its layout. What comes out is parsed and
compared with what went in before it counts, and the whole catalog is read again after it was put in place.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

from catalog.facts import APPLICABLE, FactChange, FactValue
from catalog.models import DATA_DIR, load_families
from catalog.strict_toml import AS_OF, load_records
from sizing.errors import BadInputError, DataFileError, UnknownNameError

_AFTER = {"gated": "openness", "quant_native": "n_params_reported", "ffn_dim": "head_dim"}
"""Keys a record may lack, with the key they are written behind."""
_VALUE = r'"(?:[^"\\]|\\.)*"|[^\s#"\[{]+'
_TEXTS = ("license", "architecture", "quant_native")
_FLAGS = ("gated", "tied_embeddings")


def find_family_file(data_dir: Path | None, model_id: str) -> Path:
    """The file of `data_dir/families` that has the model's record; UnknownNameError, with near names, if none has."""
    folder = (data_dir or DATA_DIR) / "families"
    known: dict[str, Path] = {}
    for file in sorted(folder.glob("*.toml")):
        _, records = load_records(file, "model", {"family": (str, True), "org": (str, True)})
        for record, _ in records:
            known.setdefault(str(record.get("id")), file)
    if model_id not in known:
        raise UnknownNameError("model", model_id, known)
    return known[model_id]


def apply_changes(file: Path, model_id: str, changes: Iterable[FactChange], as_of: str) -> None:
    """Write accepted changes and the day they were read (`as_of`, YYYY-MM or YYYY-MM-DD) into one record.

    The new text is put in place at once and the catalog is read again; where that fails the old text is put back and
    DataFileError raised, as it is where the file cannot be written. Raises BadInputError, before anything is written,
    for a change that is not applicable, of a wrong type or made from a value the file no longer has, and
    UnknownNameError for a model the file has not.
    """
    accepted = list(changes)
    _check_changes(accepted, as_of)
    if file.parent.name != "families":
        raise BadInputError(f"a family file lies in a folder named families, got {str(file)!a}")
    old_text = _read(file)
    new_text = edit_record(old_text, model_id, accepted, as_of, str(file))
    _replace(file, new_text)
    try:
        load_families(file.parent.parent)
    except DataFileError as error:
        _replace(file, old_text)
        raise DataFileError(error.file, error.line, f"{error.problem}; the file was put back as it was") from error


def edit_record(text: str, model_id: str, changes: list[FactChange], as_of: str, file: str) -> str:
    """The text of a family file with the changes and the new day in one record, everything else as it was.

    Raises as `apply_changes` does; `file` is what an error names.
    """
    lines = text.splitlines(keepends=True)
    first, last = _find_record(lines, model_id, text)
    record = lines[first:last]
    for change in changes:
        _set_value(record, change.field, change.old, change.new, model_id)
    _set_value(record, "as_of", None, as_of, model_id, is_checked=False)
    edited = "".join(lines[:first] + record + lines[last:])
    wanted = {change.field: change.new for change in changes} | {"as_of": as_of}
    _check_edit(text, edited, model_id, wanted, file, first + 1)
    return edited


# ---------------------------------------------------------------- what is accepted


def _check_changes(changes: list[FactChange], as_of: str) -> None:
    if not changes:
        raise BadInputError("no change was accepted; there is nothing to write")
    if not re.fullmatch(AS_OF, as_of):
        raise BadInputError(f"as_of wants a day as YYYY-MM-DD or YYYY-MM, got {as_of!r}")
    fields = [change.field for change in changes]
    twice = next((field for field in fields if fields.count(field) > 1), None)
    if twice is not None:
        raise BadInputError(f"{twice} is changed twice; accept one value")
    for change in changes:
        if not change.is_applicable or change.field not in APPLICABLE:
            raise BadInputError(f"{change.field} cannot be changed from here; edit the family file by hand")
        kind: type = str if change.field in _TEXTS else bool if change.field in _FLAGS else int
        if not isinstance(change.new, kind) or (kind is int and isinstance(change.new, bool)):
            raise BadInputError(f"{change.field} wants {kind.__name__}, got {change.new!r}")
        if isinstance(change.new, str) and not (change.new.isprintable() and change.new.strip()):
            raise BadInputError(f"{change.field} wants a printable text on one line, got {change.new!a}")


# ---------------------------------------------------------------- the text


def _find_record(lines: list[str], model_id: str, text: str) -> tuple[int, int]:
    """First and last line (half open) of a record's plain values: from its header to its first table or the next."""
    heads = [number for number, line in enumerate(lines) if line.strip() == "[[model]]"]
    ids = [str(record.get("id")) for record in tomllib.loads(text).get("model", ())]
    if model_id not in ids or len(heads) != len(ids):
        raise UnknownNameError("model", model_id, ids)
    first = heads[ids.index(model_id)]
    tables = (n for n in range(first + 1, len(lines)) if re.match(r"\[\[?[A-Za-z]", lines[n]))
    return first, next(tables, len(lines))


def _set_value(
    record: list[str], key: str, old: FactValue, new: FactValue, model_id: str, *, is_checked: bool = True
) -> None:
    """Write one value in place, or a new line behind the key it belongs to."""
    form = re.compile(rf"(?P<head>{re.escape(key)}\s*=\s*)(?P<value>{_VALUE})(?P<tail>\s*(?:#.*)?)\Z", re.DOTALL)
    for number, line in enumerate(record):
        found = form.match(line)
        if found is None:
            continue
        if is_checked and tomllib.loads(f"x = {found['value']}")["x"] != old:
            raise BadInputError(
                f"{model_id}: the file has {key} = {found['value']}, the change was made from {old!r}; refresh again"
            )
        record[number] = f"{found['head']}{format_value(new)}{found['tail']}"
        return
    if is_checked and old is not None:
        raise BadInputError(f"{model_id}: the file has no {key}, the change was made from {old!r}; edit it by hand")
    _insert(record, key, new, model_id)


def _insert(record: list[str], key: str, new: FactValue, model_id: str) -> None:
    before = _AFTER.get(key)
    place = next((n for n, line in enumerate(record) if before and re.match(rf"{before}\s*=", line)), None)
    if place is None:
        raise BadInputError(f"{model_id}: the file has no {key} to change; write it by hand")
    ending = "\r\n" if record[place].endswith("\r\n") else "\n"
    record.insert(place + 1, f"{key} = {format_value(new)}{ending}")


def format_value(value: FactValue) -> str:
    """A value as the family files write it: whole numbers from 10,000 on with `_` between thousands.

    >>> format_value(4096), format_value(131072), format_value(True), format_value("mit")
    ('4096', '131_072', 'true', '"mit"')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:_}" if abs(value) >= 10_000 else str(value)
    return json.dumps(value, ensure_ascii=False)


def _check_edit(text: str, edited: str, model_id: str, wanted: dict[str, FactValue], file: str, line: int) -> None:
    """Refuse an edit whose parsed result is not just the old document with the wanted values in one record."""
    expected = tomllib.loads(text)
    for record in expected["model"]:
        if record.get("id") == model_id:
            record.update(wanted)
    try:
        is_right = tomllib.loads(edited) == expected
    except tomllib.TOMLDecodeError:
        is_right = False
    if not is_right:
        raise DataFileError(file, line, f"the record of {model_id} cannot be edited line by line; edit it by hand")


# ---------------------------------------------------------------- the file


def _read(file: Path) -> str:
    try:
        text = file.read_bytes().decode("utf-8")
        tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataFileError(str(file), 1, f"cannot be read as TOML ({error}); restore the data folder") from error
    return text


def _replace(file: Path, text: str) -> None:
    """Put a text in a file's place at once: whoever reads it sees the old one or the new one, never a part."""
    beside = file.with_name(f".{file.name}.new")
    try:
        with beside.open("wb") as out:
            out.write(text.encode("utf-8"))
            out.flush()
            os.fsync(out.fileno())
        beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise DataFileError(str(file), 1, f"cannot be written ({error.strerror}); check the folder's rights") from error

"""What was verified, as lines of `verifies.jsonl`: the record that stays whatever happens to the database."""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.lines import append_line, read_lines
from evals.verify import Difference, VerifyResult
from sizing.errors import UserStoreError
from sizing.store_problems import explain_store_problem
from sizing.workload import Workload

FILE_NAME = "verifies.jsonl"


@dataclass(frozen=True, slots=True)
class KeptVerify:
    """A comparison kept earlier; `checked_at` is UTC, ISO 8601. `line_id` is its line's, empty for one without."""

    checked_at: str
    result: VerifyResult
    line_id: str = ""


def append_verify(home: Path, result: VerifyResult, checked_at: str) -> KeptVerify:
    """Add a comparison, on disk when this returns. Raises UserStoreError with what to do."""
    kept = KeptVerify(checked_at, result, uuid.uuid4().hex)
    record = {"line_id": kept.line_id, "checked_at": checked_at, **dataclasses.asdict(result)}
    path = home / FILE_NAME
    try:
        append_line(path, record)
    except OSError as error:
        raise UserStoreError(explain_store_problem(str(path), str(error), "the next one is kept")) from error
    return kept


def load_verifies(home: Path) -> tuple[KeptVerify, ...]:
    """All comparisons, oldest first; lines that are torn or of another version are left out. Raises UserStoreError."""
    path = home / FILE_NAME
    try:
        records = read_lines(path)
    except OSError as error:
        raise UserStoreError(explain_store_problem(str(path), str(error), "the next one is kept")) from error
    found = []
    for record in records:
        with contextlib.suppress(TypeError, KeyError, ValueError):
            found.append(read_verify(record))
    return tuple({kept.line_id: kept for kept in found}.values())


def read_verify(record: Mapping[str, Any]) -> KeptVerify:
    """A line as a value. Raises TypeError, KeyError or ValueError for one of another form."""
    fields = dict(record)
    line_id, checked_at = str(fields.pop("line_id")), str(fields.pop("checked_at"))
    fields["workload"] = Workload(**fields["workload"])
    fields["differences"] = tuple(Difference(**difference) for difference in fields["differences"])
    fields["notes"] = tuple(fields["notes"])
    return KeptVerify(checked_at, VerifyResult(**fields), line_id)

"""Lines added to a file of the person's: whole and on disk, or not there at all."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Add one JSON object as a line, after what another process may be adding. Raises OSError; nothing is then added.

    A half line that an earlier death left at the end is closed first, so that it spoils no other.
    """
    line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            line = b"\n" + line
        write_or_undo(handle, line)
    finally:
        os.close(handle)


def write_or_undo(handle: int, data: bytes) -> None:
    """Write all of `data` at the end of an open file and flush it to disk; where that fails, cut off what was written.

    Raises OSError. A full disk takes the first half of a line and refuses the rest.
    """
    size = os.fstat(handle).st_size
    try:
        while data:
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(handle, size)
        raise


def read_lines(path: Path) -> tuple[dict[str, Any], ...]:
    """Every line that is a JSON object; none where there is no file. Raises OSError where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ()
    found = []
    for line in text.split("\n"):
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict):
                found.append(record)
    return tuple(found)

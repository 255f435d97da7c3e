"""A damaged file of imports: moved aside, so that it can be made anew and filled with what is left of the old one."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from sizing.store_problems import DAMAGE_MARK, name_aside


def find_inode(path: Path) -> int | None:
    """What tells a file from another that takes its place; None where there is none."""
    try:
        return path.stat().st_ino
    except OSError:
        return None


def move_aside(path: Path, inode: int | None) -> Path | None:
    """Move a damaged file and its log out of the way, and say where to; None where it is not the file seen before.

    `inode` is that of the file found damaged: another process may have moved it since and made a new one, which must
    stay. Raises OSError where the folder cannot be written.
    """
    with _hold(path.parent):
        if inode is None or find_inode(path) != inode:
            return None
        aside = path.with_name(name_aside(path.name, frozenset(entry.name for entry in path.parent.iterdir())))
        log = path.with_name(f"{path.name}.wal")
        if log.exists():
            log.rename(aside.with_name(f"{aside.name}.wal"))
        return path.rename(aside)


@contextlib.contextmanager
def _hold(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def list_aside(path: Path) -> tuple[Path, ...]:
    """The damaged files that were once in this place and are still there."""
    return tuple(sorted(path.parent.glob(f"{path.stem}{DAMAGE_MARK}*{path.suffix}")))

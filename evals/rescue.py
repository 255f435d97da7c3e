"""A damaged database: moved aside, made anew, and filled with what can still be read of the old one."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb

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


def rescue_rows(aside: Path, target: Path, schema: str, groups: Sequence[Sequence[str]]) -> int:
    """Make the database anew and copy what can be read of the old; how many rows were. Raises duckdb.Error.

    Tables of a group belong together: they are copied all or not at all. Each is read over a connection of its own,
    for a broken page spoils the connection that met it.
    """
    n_rows = 0
    with contextlib.closing(duckdb.connect(str(target))) as new:
        new.execute(schema)
        for tables in groups:
            with contextlib.suppress(duckdb.Error):
                found = {table: _read_table(aside, table) for table in tables}
                new.execute("BEGIN")
                for table, rows in found.items():
                    if rows:
                        marks = ", ".join("?" * len(rows[0]))
                        new.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", rows)
                new.execute("COMMIT")
                n_rows += sum(map(len, found.values()))
    return n_rows


def _read_table(path: Path, table: str) -> list[tuple[object, ...]]:
    with contextlib.closing(duckdb.connect(str(path), read_only=True)) as old:
        return old.execute(f"SELECT * FROM {table}").fetchall()

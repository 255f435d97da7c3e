"""What went wrong with a database file of the person's, told from the words of the database and the system.

Two rooms keep such a file each and neither may know the other, so the judgement is here and the files are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

DAMAGE_MARK = ".damaged-"
"""Stands in the name a damaged file is moved to: `user.damaged-1.duckdb`."""


class StoreProblem(StrEnum):
    """Why a database file cannot be used."""

    IN_USE = "in use"
    FULL = "full"
    UNWRITABLE = "unwritable"
    NEWER = "newer"
    DAMAGED = "damaged"
    OTHER = "other"


_SIGNS = (
    (StoreProblem.IN_USE, ("conflicting lock", "could not set lock")),
    (StoreProblem.FULL, ("no space left", "disk quota", "file too large")),
    (
        StoreProblem.UNWRITABLE,
        (
            *("permission denied", "read-only", "operation not permitted", "not a directory", "is a directory"),
            *("no such file or directory", "file exists"),
        ),
    ),
    (StoreProblem.NEWER, ("with version number", "newer version of duckdb")),
    (
        StoreProblem.DAMAGED,
        (
            *("not a valid duckdb database", "corrupt", "checksum", "could not read enough bytes"),
            *("serialization error", "failed to deserialize", "failed to load metadata pointer", "wal file"),
        ),
    ),
)
"""Words of DuckDB 2.0 and of POSIX's strerror, the first that fit count."""


def find_store_problem(said: str) -> StoreProblem:
    """What an error's words mean."""
    text = said.lower()
    return next((kind for kind, signs in _SIGNS if any(sign in text for sign in signs)), StoreProblem.OTHER)


def explain_store_problem(path: str, said: str, remedy: str) -> str:
    """What is wrong with the database at `path` and what to do, in one line.

    `said` are the words of the error, `remedy` what happens once the file is moved away ("it is made anew").
    """
    name, first = path.replace("\\", "/").rsplit("/", 1)[-1], (said.strip() or "no reason given").splitlines()[0]
    match find_store_problem(said):
        case StoreProblem.IN_USE:
            return f"{name} is in use by another process; close the other app and try again"
        case StoreProblem.FULL:
            return f"{path} cannot be written, for the disk is full ({first}); free some room, nothing kept is lost"
        case StoreProblem.UNWRITABLE:
            return f"{path} cannot be written ({first}); free it or name another folder in WEIGHBRIDGE_HOME"
        case StoreProblem.NEWER:
            return f"{path} was written by a newer version of this app ({first}); update the app, or move the file away"
        case StoreProblem.DAMAGED:
            return f"{path} is damaged ({first}); move it away and {remedy}"
    return f"{path} cannot be read ({first}); move it away and {remedy}"


def name_aside(name: str, taken: frozenset[str]) -> str:
    """Where a damaged file goes, beside its place: the first name of its kind that is not taken."""
    stem, dot, ending = name.rpartition(".")
    number = 1
    while (aside := f"{stem}{DAMAGE_MARK}{number}{dot}{ending}") in taken:
        number += 1
    return aside


def tell_aside(name: str, aside: Sequence[str], folder: str, kept: str, then: str) -> str:
    """What to say of damaged files still in `folder` under the names `aside`; "" where there are none.

    `kept` is what the new file holds, `then` what to do with the old one.
    """
    if not aside:
        return ""
    return f"{name} was damaged and made anew {kept}; the old one is {', '.join(aside)} in {folder}: {then}"

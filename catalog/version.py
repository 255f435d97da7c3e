"""Which facts an answer rests on: the day of the newest one and a short hash over all fact files."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import duckdb

from sizing.errors import BadInputError

FACT_FILES = ("*.csv", "*.toml", "*.parquet")
DIGEST_CHARACTERS = 8
_TEXT = re.compile(rf"(\d{{4}}(?:-\d{{2}}){{0,2}})\.([0-9a-f]{{{DIGEST_CHARACTERS}}})")


@dataclass(frozen=True, slots=True)
class CatalogVersion:
    """The state of the fact files: `newest` is the date of the newest fact, `digest` a hash over the files.

    It covers every CSV, TOML and Parquet file of the data folder by name and content. It covers neither what a person
    imported, nor what was measured on a machine, nor the formulas of the program.
    """

    newest: str
    digest: str

    @property
    def text(self) -> str:
        """The version as it is written: '2026-11-25.3fa9c1d2'."""
        return f"{self.newest}.{self.digest}"


def read_version(text: str) -> CatalogVersion:
    """A version as it is written. Raises BadInputError for a text that is none.

    >>> read_version("2026-11-25.3fa9c1d2").newest
    '2026-11-25'
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise BadInputError(f"catalog wants a version such as 2026-11-25.3fa9c1d2, got {text[:40]!r}")
    return CatalogVersion(match[1], match[2])


def find_version(connection: duckdb.DuckDBPyConnection, data_dir: Path) -> CatalogVersion:
    """The version of the fact files that a catalog was filled from; asked before imports come into it."""
    return CatalogVersion(find_newest(connection), hash_facts(data_dir))


def find_newest(connection: duckdb.DuckDBPyConnection) -> str:
    """The newest `as_of` of all tables, "0000" where none holds a fact."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM duckdb_columns() WHERE NOT internal AND column_name = 'as_of'")
        tables = [name for (name,) in cursor.fetchall()]
        union = " UNION ALL ".join(f"SELECT max(as_of) AS day FROM {name}" for name in tables)
        found = cursor.execute(f"SELECT max(day) FROM ({union})").fetchone()
    return str(found[0]) if found and found[0] else "0000"


def hash_facts(data_dir: Path) -> str:
    """A short hash over the fact files, the same on every system: text counts without its carriage returns."""
    digest = hashlib.sha256()
    for name, path in sorted((p.relative_to(data_dir).as_posix(), p) for f in FACT_FILES for p in data_dir.rglob(f)):
        content = path.read_bytes()
        if path.suffix != ".parquet":
            content = content.replace(b"\r\n", b"\n")
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:DIGEST_CHARACTERS]

"""The person's imported models, kept in `imports.duckdb` of their own folder.

A file of its own: whoever holds `user.duckdb` never keeps the catalog from opening. Every operation opens the file,
does one thing and closes it again, one at a time. What many models share (a shape, the bytes of a mix) is kept once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from catalog.import_rows import (
    ImportRows,
    Record,
    WeightReader,
    build_model,
    find_tensor_digest,
    read_types,
)
from catalog.imported import FileWeights, ImportedModel
from catalog.rescue import find_inode, list_aside, move_aside
from catalog.spec_json import Shape, read_shape
from sizing.errors import BadInputError, StoreRebuiltError, UserStoreError
from sizing.memory import WeightBytes
from sizing.specs import ModelSpec
from sizing.store_problems import StoreProblem, explain_store_problem, find_store_problem, tell_aside

FILE_NAME = "imports.duckdb"
SCHEMA_FILE = Path(__file__).with_name("import_schema.sql")
SCHEMA_VERSION = 1
TABLES = ("shapes", "weight_sets", "type_sets", "weighings", "models", "model_files", "file_parts")
"""In the order they are filled."""

OF_A_MODEL = ("models", "model_files", "file_parts")
"""Tables whose rows are one model's; the others hold what models share."""

LOCK_WAIT_S = 0.5
"""How long another process may hold the file before it is said: an operation takes a tenth of that."""

LOOK_EVERY_S = 0.02

_one_at_a_time = threading.RLock()


class ImportStore:
    """The imports in one folder. Every method raises UserStoreError, with what to do, where the file cannot be used."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / FILE_NAME

    def keep(self, model: ImportedModel) -> None:
        """Keep a model; one of the same id is replaced whole. Raises BadInputError for one that cannot be kept."""
        self.keep_many([model])

    def keep_many(self, models: Iterable[ImportedModel]) -> int:
        """Keep many models in one transaction, all or none; of several with one id the last counts. Says how many.

        Raises BadInputError, naming the model or the rule, for one that cannot be kept.
        """
        rows = ImportRows()
        last = {model.card.model_id: model for model in models}
        for model in last.values():
            rows.add(model)
        if not last:
            return 0
        with self.open(writing=True) as db:
            db.execute("BEGIN")
            try:
                _forget(db, list(last))
                for table in TABLES:
                    found = getattr(rows, table)
                    _insert(db, table, list(found.values()) if isinstance(found, dict) else found)
            except duckdb.ConstraintException as error:
                problem = str(error).strip().splitlines()[0]
                raise BadInputError(f"an import breaks a rule and none of {len(last)} is kept: {problem}") from error
            db.execute("COMMIT")
        return len(last)

    def forget(self, model_id: str) -> bool:
        """Drop a model and what only it used; whether it was there."""
        with self.open(writing=False) as db:
            if db is None or not db.execute("SELECT 1 FROM models WHERE model_id = ?", [model_id]).fetchall():
                return False
        with self.open(writing=True) as db:
            db.execute("BEGIN")
            _forget(db, [model_id])
            db.execute("COMMIT")
            _sweep(db)
        return True

    def list_ids(self) -> tuple[str, ...]:
        """The ids of all imported models, in their order."""
        with self.open(writing=False) as db:
            if db is None:
                return ()
            return tuple(row[0] for row in db.execute("SELECT model_id FROM models ORDER BY model_id").fetchall())

    def list_newest(self, limit: int) -> tuple[str, ...]:
        """The ids of the models imported last, the newest first, at most `limit`."""
        with self.open(writing=False) as db:
            if db is None:
                return ()
            newest = "SELECT model_id FROM models ORDER BY imported_at DESC, model_id LIMIT ?"
            return tuple(row[0] for row in db.execute(newest, [limit]).fetchall())

    def find_types(self, model_id: str, label: str) -> dict[str, str] | None:
        """The GGML type of every tensor of an imported file, by tensor name; None where no file goes by that label."""
        with self.open(writing=False) as db:
            if db is None:
                return None
            found = db.execute(
                "SELECT types FROM model_files JOIN type_sets USING (types_id) WHERE model_id = ? AND label = ?",
                [model_id, label],
            ).fetchall()
        return dict(read_types(found[0][0])) if found else None

    def find(self, model_id: str) -> ImportedModel | None:
        """The imported model of that id, as it was kept; None where there is none."""
        return next(iter(self.load([model_id])), None)

    def load(self, model_ids: Sequence[str] | None = None) -> tuple[ImportedModel, ...]:
        """Imported models with their weights and files, all of them or those of the ids given, in order of id."""
        with self.open(writing=False) as db:
            if db is None:
                return ()
            db.execute("CREATE TEMP TABLE asked AS SELECT unnest(?::VARCHAR[]) AS model_id", [list(model_ids or ())])
            chosen = "" if model_ids is None else "SEMI JOIN asked USING (model_id)"
            heads = _fetch(db, f"SELECT * FROM models {chosen} ORDER BY model_id")
            shapes = _fetch(db, f"SELECT shape_id, spec FROM shapes SEMI JOIN (FROM models {chosen}) USING (shape_id)")
            weighed = _fetch(db, f"{_WEIGHED} SEMI JOIN (FROM models {chosen}) USING (weighing_id) ORDER BY position")
            files = _fetch(db, f"{_FILES} {chosen} ORDER BY model_id, position")
            parts = _fetch(db, f"SELECT * FROM file_parts {chosen} ORDER BY model_id, label, part")
        return _build_models(heads, {s["shape_id"]: read_shape(s["spec"]) for s in shapes}, weighed, files, parts)

    def find_known_weights(self, spec: ModelSpec) -> tuple[WeightBytes, ...] | None:
        """What the engine once said of a model with just these tensors; None where it was not asked."""
        digest = find_tensor_digest(spec)
        if digest is None:
            return None
        with self.open(writing=False) as db:
            if db is None:
                return None
            found = _fetch(
                db,
                f"{_WEIGHED} WHERE weighing_id = (SELECT arg_max(m.weighing_id, m.imported_at) FROM models m "
                "JOIN shapes s USING (shape_id) WHERE s.tensor_digest = ? AND m.weighing_id IS NOT NULL) "
                "ORDER BY position",
                [digest],
            )
        reader = WeightReader()
        return tuple(_read_weights(reader, row) for row in found) or None

    @contextlib.contextmanager
    def open(self, *, writing: bool) -> Iterator[Any]:
        """A connection for one operation. To read where there is no file yet gives None.

        Raises UserStoreError; StoreRebuiltError where the file was damaged and has been made anew.
        """
        with _one_at_a_time, self._explained():
            if not writing and not self.path.exists():
                yield None
                return
            self.home.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(self._connect(writing)) as connection:
                _check_version(connection, "", self.path, writing=writing)
                yield connection

    @contextlib.contextmanager
    def attach(self, connection: duckdb.DuckDBPyConnection, name: str) -> Iterator[bool]:
        """Attach the file to another database under `name`, to read; whether there is a file. Raises as `open` does."""
        with _one_at_a_time, self._explained():
            if not self.path.exists():
                yield False
                return
            quoted = str(self.path).replace("'", "''")
            _wait_for_lock(lambda: connection.execute(f"ATTACH '{quoted}' AS {name} (READ_ONLY)"))
            try:
                _check_version(connection, f"{name}.", self.path, writing=False)
                yield True
            finally:
                connection.execute(f"DETACH {name}")

    def find_note(self) -> str:
        """What to say of damaged files that were moved aside and are still there; empty where there are none."""
        aside = [path.name for path in list_aside(self.path)]
        then = "import what is missing again, then delete it to end this note"
        return tell_aside(self.path.name, aside, str(self.home), "with what could be read of it", then)

    def _connect(self, writing: bool) -> duckdb.DuckDBPyConnection:
        return _wait_for_lock(lambda: duckdb.connect(str(self.path), read_only=not writing))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of the database and the disk, with what to do; a damaged file is moved aside and made anew."""
        inode = find_inode(self.path)
        try:
            yield
        except UserStoreError:
            raise
        except (duckdb.Error, OSError) as error:
            raise self._explain(error, inode) from error

    def _explain(self, error: Exception, inode: int | None) -> UserStoreError:
        told = explain_store_problem(str(self.path), str(error) or type(error).__name__, "import anew")
        if find_store_problem(str(error)) is not StoreProblem.DAMAGED:
            return UserStoreError(told)
        try:
            aside = move_aside(self.path, inode)
            if aside is None:
                return StoreRebuiltError(f"{self.path.name} was damaged and another process made it anew; ask again")
            n_kept = self._rescue(aside)
        except (duckdb.Error, OSError) as problem:
            return UserStoreError(f"{told}; the app could not do it itself ({str(problem).splitlines()[0]})")
        return StoreRebuiltError(
            f"{self.path.name} was damaged and made anew with {n_kept:,} models that could be read of the old one, "
            f"which is {aside.name}"
        )

    def _rescue(self, aside: Path) -> int:
        """Keep every model that can still be read of a damaged file; how many those were."""
        old = _Damaged(self.home, aside)
        found: list[ImportedModel] = []
        with contextlib.suppress(UserStoreError, BadInputError):
            for model_id in old.list_ids():
                with contextlib.suppress(UserStoreError, BadInputError, KeyError):
                    found += old.load([model_id])
        return self.keep_many(found)


class _Damaged(ImportStore):
    """A damaged file that was moved aside: read as far as it goes, and never moved again."""

    def __init__(self, home: Path, path: Path) -> None:
        super().__init__(home)
        self.path = path

    def _explain(self, error: Exception, inode: int | None) -> UserStoreError:
        return UserStoreError(str(error))


T = TypeVar("T")


def _wait_for_lock(act: Callable[[], T]) -> T:
    """What `act` gives, waiting a moment for another process that holds the file."""
    ends_s = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            return act()
        except duckdb.Error as error:
            is_held = find_store_problem(str(error)) is StoreProblem.IN_USE
            if not is_held or time.monotonic() > ends_s:
                raise
        time.sleep(LOOK_EVERY_S)


_BYTES = "weights_id, input_bytes, output_bytes, token_embedding_bytes, layer_bytes, layer_expert_bytes"
_WEIGHED = f"SELECT weighing_id, label, {_BYTES} FROM weighings JOIN weight_sets USING (weights_id)"
_FILES = (
    f"SELECT model_id, label, size_bytes, gap, types, {_BYTES} FROM model_files "
    "LEFT JOIN weight_sets USING (weights_id) LEFT JOIN type_sets USING (types_id)"
)


def _check_version(connection: duckdb.DuckDBPyConnection, prefix: str, path: Path, *, writing: bool) -> None:
    """Make the tables of a new file; refuse a file of a newer version."""
    if writing:
        there = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE NOT internal").fetchall()[0][0]
        if not there:
            schema = SCHEMA_FILE.read_text(encoding="utf-8")
            connection.execute(f"BEGIN; {schema}; INSERT INTO about VALUES (1, {SCHEMA_VERSION}); COMMIT")
            return
    found = connection.execute(f"SELECT schema_version FROM {prefix}about").fetchall()
    version = found[0][0] if found else 0
    if version != SCHEMA_VERSION:
        raise UserStoreError(
            f"{path} was written by another version of this app (its form is {version}, this one reads "
            f"{SCHEMA_VERSION}); update the app, or move the file away and import anew"
        )


def _forget(db: duckdb.DuckDBPyConnection, model_ids: list[str]) -> None:
    """Drop the rows of some models."""
    for table in OF_A_MODEL:
        db.execute(f"DELETE FROM {table} WHERE model_id IN (SELECT unnest(?::VARCHAR[]))", [model_ids])


def _sweep(db: duckdb.DuckDBPyConnection) -> None:
    """Drop what no model uses any more; users before what they use, each by itself."""
    for table, key, users in (
        ("weighings", "weighing_id", ("models",)),
        ("shapes", "shape_id", ("models",)),
        ("weight_sets", "weights_id", ("weighings", "model_files")),
        ("type_sets", "types_id", ("model_files",)),
    ):
        used = " UNION ".join(f"SELECT {key} FROM {user} WHERE {key} IS NOT NULL" for user in users)
        db.execute(f"DELETE FROM {table} WHERE {key} NOT IN ({used})")


def _insert(db: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Record]) -> None:
    """Insert rows, a column at a time; what is shared and there already stays."""
    if not rows:
        return
    columns = db.execute(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? AND NOT internal "
        "ORDER BY column_index",
        [table],
    ).fetchall()
    selected = ", ".join(f"unnest(?::{sql_type}[])" for _, sql_type in columns)
    ignore = "" if table in OF_A_MODEL else "OR IGNORE "
    db.execute(f"INSERT {ignore}INTO {table} SELECT {selected}", [[row[name] for row in rows] for name, _ in columns])


def _fetch(db: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[object] = ()) -> list[Record]:
    """Rows by column name."""
    cursor = db.execute(sql, parameters or None)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _read_weights(reader: WeightReader, row: Record) -> WeightBytes:
    return reader.read(
        row["label"],
        row["input_bytes"],
        row["output_bytes"],
        row["token_embedding_bytes"],
        row["layer_bytes"],
        row["layer_expert_bytes"],
    )


def _build_models(
    heads: Sequence[Record],
    shapes: Mapping[str, Shape],
    weighed: Sequence[Record],
    files: Sequence[Record],
    parts: Sequence[Record],
) -> tuple[ImportedModel, ...]:
    reader = WeightReader()
    weighings: dict[str, list[WeightBytes]] = {}
    for row in weighed:
        weighings.setdefault(row["weighing_id"], []).append(_read_weights(reader, row))
    own_parts: dict[tuple[str, str], list[Record]] = {}
    for part in parts:
        own_parts.setdefault((part["model_id"], part["label"]), []).append(part)
    own_files: dict[str, list[FileWeights]] = {}
    for row in files:
        own = own_parts.get((row["model_id"], row["label"]), [])
        own_files.setdefault(row["model_id"], []).append(_read_file(reader, row, own))
    return tuple(
        build_model(
            head,
            shapes[head["shape_id"]],
            weighings.get(head["weighing_id"], ()),
            own_files.get(head["model_id"], ()),
        )
        for head in heads
    )


def _read_file(reader: WeightReader, row: Record, parts: Sequence[Record]) -> FileWeights:
    lengths = [part["n_bytes"] for part in parts]
    return FileWeights(
        label=row["label"],
        paths=tuple(part["path"] for part in parts),
        size_bytes=row["size_bytes"],
        sha256=tuple(part["sha256"] for part in parts),
        weights=None if row["weights_id"] is None else _read_weights(reader, row),
        types=read_types(row["types"]),
        gap=row["gap"],
        part_bytes=() if None in lengths else tuple(lengths),
    )

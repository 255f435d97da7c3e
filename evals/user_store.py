"""The person's own database, `user.duckdb`: results of evaluations, and what was verified before it had a file.

Every operation opens the file, does one thing and closes it again, one at a time, and waits a moment for another
process that does the same. Nothing is only here: runs write JSON lines (`runs/evals/*.jsonl`), comparisons do
(`verifies.jsonl`), so a damaged file is moved aside, made anew and filled again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from evals.home import find_home
from evals.rescue import find_inode, list_aside, move_aside, rescue_rows
from evals.verify import Difference, VerifyResult
from evals.verify_file import KeptVerify, append_verify, load_verifies
from sizing.errors import StoreRebuiltError, UserStoreError
from sizing.store_problems import StoreProblem, explain_store_problem, find_store_problem, tell_aside
from sizing.workload import Workload

FILE_NAME = "user.duckdb"

LOCK_WAIT_S = 0.5
"""How long another process may hold the file before it is said: an operation takes a tenth of that."""

LOOK_EVERY_S = 0.02

_SCHEMA = """
CREATE TABLE IF NOT EXISTS verifies (
    verify_id BIGINT PRIMARY KEY,
    checked_at VARCHAR NOT NULL,
    model_id VARCHAR NOT NULL,
    quant VARCHAR NOT NULL,
    machine VARCHAR NOT NULL,
    engine VARCHAR NOT NULL,
    engine_s DOUBLE NOT NULL CHECK (engine_s >= 0),
    n_gpu_layers INTEGER NOT NULL,
    n_cpu_moe INTEGER NOT NULL,
    context_tokens BIGINT NOT NULL,
    n_parallel INTEGER NOT NULL,
    n_ubatch INTEGER NOT NULL,
    n_batch INTEGER NOT NULL,
    kv_type_k VARCHAR NOT NULL,
    kv_type_v VARCHAR NOT NULL,
    flash_attention BOOLEAN NOT NULL,
    kv_unified BOOLEAN NOT NULL,
    swa_full BOOLEAN NOT NULL
);
CREATE TABLE IF NOT EXISTS verify_differences (
    verify_id BIGINT NOT NULL,
    position INTEGER NOT NULL,
    device VARCHAR NOT NULL,
    device_index INTEGER NOT NULL,
    part VARCHAR NOT NULL,
    estimate_bytes BIGINT NOT NULL,
    engine_bytes BIGINT NOT NULL,
    is_rounded BOOLEAN NOT NULL,
    PRIMARY KEY (verify_id, position)
);
"""

_WORKLOAD_FIELDS = (
    "context_tokens",
    "n_parallel",
    "n_ubatch",
    "n_batch",
    "kv_type_k",
    "kv_type_v",
    "flash_attention",
    "kv_unified",
    "swa_full",
)

_RESCUED = (("verifies", "verify_differences"),)
"""Tables whose rows are in no other file; those of evaluations are taken in again from the files of the runs."""

_one_at_a_time = threading.Lock()


class UserStore:
    """The database in one folder. Every method raises UserStoreError with what to do."""

    def __init__(self, home: Path | None = None) -> None:
        """`home` None means the person's folder (`evals.home.find_home`)."""
        self.home = find_home() if home is None else home
        self.path = self.home / FILE_NAME

    def keep_verify(self, result: VerifyResult, checked_at: str | None = None) -> None:
        """Keep one comparison, now unless told otherwise."""
        append_verify(self.home, result, checked_at or datetime.now(UTC).isoformat(timespec="seconds"))

    def list_verifies(self, limit: int = 200) -> tuple[KeptVerify, ...]:
        """The comparisons kept, newest first."""
        newest = tuple(reversed(load_verifies(self.home)))
        try:
            older = self._list_older(limit)
        except StoreRebuiltError:
            older = self._list_older(limit)
        return (*newest, *older)[:limit]

    def _list_older(self, limit: int) -> tuple[KeptVerify, ...]:
        """Comparisons kept in the database, newest first."""
        with self.open(writing=False) as db:
            if db is None:
                return ()
            heads = db.execute(
                "SELECT verify_id, checked_at, model_id, quant, machine, engine, engine_s, n_gpu_layers, n_cpu_moe, "
                f"{', '.join(_WORKLOAD_FIELDS)} FROM verifies ORDER BY verify_id DESC LIMIT ?",
                [limit],
            ).fetchall()
            rows = db.execute(
                "SELECT verify_id, device, device_index, part, estimate_bytes, engine_bytes, is_rounded "
                "FROM verify_differences ORDER BY verify_id, position"
            ).fetchall()
        differences: dict[int, list[Difference]] = {}
        for number, *fields in rows:
            differences.setdefault(number, []).append(Difference(*fields))
        kept = []
        for number, when, model_id, quant, machine, engine, engine_s, gpu_layers, cpu_moe, *settings in heads:
            workload = Workload(**dict(zip(_WORKLOAD_FIELDS, settings, strict=True)))
            found = tuple(differences.get(number, ()))
            result = VerifyResult(
                model_id, quant, machine, workload, engine, engine_s, gpu_layers, cpu_moe, differences=found
            )
            kept.append(KeptVerify(when, result))
        return tuple(kept)

    @contextlib.contextmanager
    def open(self, *, writing: bool) -> Iterator[Any]:
        """A connection for one operation. To read where there is no file yet gives None.

        Raises UserStoreError; StoreRebuiltError where the file was damaged and has been made anew.
        """
        if not writing and not self.path.exists():
            yield None
            return
        with _one_at_a_time:
            connection: duckdb.DuckDBPyConnection | None = None
            inode = find_inode(self.path)
            try:
                connection = self._connect(writing)
                if writing:
                    connection.execute(_SCHEMA)
                yield connection
            except (duckdb.Error, OSError) as error:
                if connection is not None:
                    connection.close()
                raise self._explain(error, inode) from error
            finally:
                if connection is not None:
                    connection.close()

    def find_note(self) -> str:
        """What to say of damaged files that were moved aside and are still there; empty where there are none."""
        aside = [path.name for path in list_aside(self.path)]
        kept = "with the results of every run whose file is there"
        return tell_aside(self.path.name, aside, str(self.home), kept, "delete it to end this note")

    def _connect(self, writing: bool) -> duckdb.DuckDBPyConnection:
        """A connection, waiting a moment for another process that holds the file."""
        ends_s = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                return duckdb.connect(str(self.path), read_only=not writing)
            except duckdb.Error as error:
                is_held = find_store_problem(str(error)) is StoreProblem.IN_USE
                if not is_held or time.monotonic() > ends_s:
                    raise
            time.sleep(LOOK_EVERY_S)

    def _explain(self, error: Exception, inode: int | None) -> UserStoreError:
        """The error to raise, after the damaged file with this inode has been moved aside and made anew."""
        if isinstance(error, UserStoreError):
            return error
        told = explain_store_problem(str(self.path), str(error) or type(error).__name__, "it is made anew")
        if find_store_problem(str(error)) is not StoreProblem.DAMAGED:
            return UserStoreError(told)
        try:
            aside = move_aside(self.path, inode)
            if aside is None:
                return StoreRebuiltError(f"{self.path.name} was damaged and another process made it anew; ask again")
            rescue_rows(aside, self.path, _SCHEMA, _RESCUED)
        except (duckdb.Error, OSError) as problem:
            said = str(problem).splitlines()[0]
            return UserStoreError(f"{told}; the app could not do it itself ({said})")
        return StoreRebuiltError(f"{self.path.name} was damaged and made anew; the old one is {aside.name}")

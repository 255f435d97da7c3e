"""The person's own database, `user.duckdb`: what was verified, and the records of runs.

The app's process is the only writer. Every operation opens the file, does one thing and closes it again, one at a
time; runs write JSON lines of their own (`runs/*.jsonl`), which are taken in here as often as one likes.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from evals.home import find_home
from evals.verify import Difference, VerifyResult
from sizing.errors import UserStoreError
from sizing.workload import Workload

FILE_NAME = "user.duckdb"
RUNS_FOLDER = "runs"

_SCHEMA = """
CREATE SEQUENCE IF NOT EXISTS verify_numbers;
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
CREATE TABLE IF NOT EXISTS run_records (
    kind VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    record VARCHAR NOT NULL,
    PRIMARY KEY (kind, run_id)
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

_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class KeptVerify:
    """A comparison kept earlier; `checked_at` is UTC, ISO 8601."""

    checked_at: str
    result: VerifyResult


@dataclass(frozen=True, slots=True)
class Ingested:
    """What taking in run files did: new records, records known before, and lines that are no records."""

    n_new: int
    n_known: int
    n_broken: int


class UserStore:
    """The database in one folder. Every method raises UserStoreError with what to do."""

    def __init__(self, home: Path | None = None) -> None:
        """`home` None means the person's folder (`evals.home.find_home`)."""
        try:
            self.home = find_home() if home is None else home
        except OSError as error:
            raise UserStoreError(f"your folder cannot be made ({error}); name another in WEIGHBRIDGE_HOME") from error
        self.path = self.home / FILE_NAME

    def keep_verify(self, result: VerifyResult, checked_at: str | None = None) -> None:
        """Keep one comparison, now unless told otherwise."""
        when = checked_at or datetime.now(UTC).isoformat(timespec="seconds")
        with self.open(writing=True) as db:
            number = db.execute("SELECT nextval('verify_numbers')").fetchall()[0][0]
            settings = [getattr(result.workload, name) for name in _WORKLOAD_FIELDS]
            head = [number, when, result.model_id, result.quant, result.machine, result.engine, result.engine_s]
            values = [*head, result.n_gpu_layers, result.n_cpu_moe, *settings]
            db.execute("BEGIN")
            db.execute(f"INSERT INTO verifies VALUES ({', '.join('?' * len(values))})", values)
            rows = [
                [number, i, d.device, d.device_index, d.part, d.estimate_bytes, d.engine_bytes, d.is_rounded]
                for i, d in enumerate(result.differences)
            ]
            if rows:
                db.executemany("INSERT INTO verify_differences VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            db.execute("COMMIT")

    def list_verifies(self, limit: int = 200) -> tuple[KeptVerify, ...]:
        """The comparisons kept, newest first."""
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

    def ingest_runs(self) -> Ingested:
        """Take in every line of `runs/*.jsonl`. A run known already is left alone, a broken line is counted.

        The kind of a record is its file's name; a record is told from others by its `run_id`.
        """
        found: list[tuple[str, str, str]] = []
        n_broken = 0
        for path in sorted((self.home / RUNS_FOLDER).glob("*.jsonl")):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                run_id = find_run_id(line)
                if run_id is not None:
                    found.append((path.stem, run_id, line))
                elif line.strip():
                    n_broken += 1
        if not found:
            return Ingested(0, 0, n_broken)
        with self.open(writing=True) as db:
            before = db.execute("SELECT count(*) FROM run_records").fetchall()[0][0]
            db.executemany("INSERT OR IGNORE INTO run_records VALUES (?, ?, ?)", found)
            after = db.execute("SELECT count(*) FROM run_records").fetchall()[0][0]
        return Ingested(after - before, len(found) - (after - before), n_broken)

    def list_runs(self, kind: str) -> tuple[str, ...]:
        """The records of one kind as they were written, one JSON object each, in the order of their ids."""
        with self.open(writing=False) as db:
            if db is None:
                return ()
            rows = db.execute("SELECT record FROM run_records WHERE kind = ? ORDER BY run_id", [kind]).fetchall()
        return tuple(row[0] for row in rows)

    @contextlib.contextmanager
    def open(self, *, writing: bool) -> Iterator[Any]:
        """A connection for one operation. To read where there is no file yet gives None."""
        if not writing and not self.path.exists():
            yield None
            return
        with _one_at_a_time:
            connection: duckdb.DuckDBPyConnection | None = None
            try:
                connection = duckdb.connect(str(self.path), read_only=not writing)
                if writing:
                    connection.execute(_SCHEMA)
                yield connection
            except (duckdb.Error, OSError) as error:
                raise UserStoreError(explain_problem(self.path, error)) from error
            finally:
                if connection is not None:
                    connection.close()


def find_run_id(line: str) -> str | None:
    """The `run_id` of a line that is a JSON object with one, else None."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    run_id = record.get("run_id") if isinstance(record, dict) else None
    return run_id if isinstance(run_id, str) and run_id else None


def explain_problem(path: Path, error: Exception) -> str:
    """What is wrong with the database and what to do, in one line."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    text = str(error).lower()
    if ("lock" in text and "conflicting" in text) or "could not set lock" in text:
        return f"{path.name} is in use by another process; close the other app and try again"
    if "permission denied" in text or "read-only" in text or "no space left" in text:
        return f"{path} cannot be written ({said}); free it or name another folder in WEIGHBRIDGE_HOME"
    if "does not exist" in text and "table" in text:
        return f"{path} is not a database of this app ({said}); move it away and it is made anew"
    return f"{path} is damaged or of another version ({said}); move it away and it is made anew"

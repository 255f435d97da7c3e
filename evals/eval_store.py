"""Results of evaluations in the person's database: taken in from run files, as often as one likes, and asked of there.

A run's rows are those of its file: a file that has grown since (a run resumed) is taken in anew, whole, in one
transaction. Prompts and answers stay in the file.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.plans import RunKind
from evals.results import describe_run, sum_up
from evals.run_files import EvalRun, list_run_paths, load_run
from evals.user_store import UserStore
from sizing.candidate import MeasuredHere
from sizing.errors import BadInputError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS eval_runs (
    run_id VARCHAR PRIMARY KEY,
    n_bytes BIGINT NOT NULL,
    state VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    created_at VARCHAR NOT NULL,
    model_id VARCHAR NOT NULL,
    quant VARCHAR NOT NULL,
    file_sha256 VARCHAR NOT NULL,
    machine VARCHAR NOT NULL,
    record VARCHAR NOT NULL
);
CREATE TABLE IF NOT EXISTS eval_scores (
    run_id VARCHAR NOT NULL,
    suite VARCHAR NOT NULL,
    title VARCHAR NOT NULL,
    n_items INTEGER NOT NULL CHECK (n_items > 0),
    value DOUBLE NOT NULL,
    low DOUBLE NOT NULL CHECK (low <= value),
    high DOUBLE NOT NULL CHECK (high >= value),
    is_higher_better BOOLEAN NOT NULL,
    PRIMARY KEY (run_id, suite)
);
CREATE TABLE IF NOT EXISTS eval_items (
    run_id VARCHAR NOT NULL,
    suite VARCHAR NOT NULL,
    item_id VARCHAR NOT NULL,
    score DOUBLE,
    why VARCHAR,
    n_prompt_tokens BIGINT,
    n_output_tokens BIGINT,
    seconds DOUBLE,
    finish VARCHAR,
    answered_at VARCHAR,
    PRIMARY KEY (run_id, suite, item_id)
);
"""

_ITEM_COLUMNS = {
    "line": "VARCHAR",
    "suite": "VARCHAR",
    "item_id": "VARCHAR",
    "score": "DOUBLE",
    "why": "VARCHAR",
    "n_prompt_tokens": "BIGINT",
    "n_output_tokens": "BIGINT",
    "seconds": "DOUBLE",
    "finish": "VARCHAR",
    "at": "VARCHAR",
}


@dataclass(frozen=True, slots=True)
class MeasuredScore(MeasuredHere):
    """A score as the ranking takes it, with the run it is of; newest first in lists.

    `decode_tokens_per_s` is the run's own, None where it wrote nothing or a server did the work.
    """

    run_id: str
    decode_tokens_per_s: float | None


def ingest_evals(store: UserStore) -> int:
    """Take in every run that has ended and is new or has grown; how many were. Raises UserStoreError."""
    known = list_known(store)
    new: list[tuple[Path, int, EvalRun]] = []
    for path in list_run_paths(store.home):
        with contextlib.suppress(BadInputError, OSError):
            n_bytes = path.stat().st_size
            if known.get(path.stem) == n_bytes:
                continue
            run = load_run(path)
            if run.state.is_over:
                new.append((path, n_bytes, run))
    gone = known.keys() - {path.stem for path in list_run_paths(store.home)}
    if not new and not gone:
        return 0
    with store.open(writing=True) as db:
        db.execute(_SCHEMA)
        for run_id in gone:
            forget(db, run_id)
        for path, n_bytes, run in new:
            take_in(db, path, n_bytes, run)
    return len(new)


def list_known(store: UserStore) -> dict[str, int]:
    """The runs taken in, with the length their files had."""
    with store.open(writing=False) as db:
        if db is None or not has_tables(db):
            return {}
        return dict(db.execute("SELECT run_id, n_bytes FROM eval_runs").fetchall())


def has_tables(db: Any) -> bool:
    """Whether evaluations were ever taken in."""
    found = db.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'eval_runs'").fetchall()
    return bool(found[0][0])


def forget(db: Any, run_id: str) -> None:
    """Drop a run's rows."""
    for table in ("eval_items", "eval_scores", "eval_runs"):
        db.execute(f"DELETE FROM {table} WHERE run_id = ?", [run_id])


def take_in(db: Any, path: Path, n_bytes: int, run: EvalRun) -> None:
    """Replace a run's rows by what its file says now."""
    plan, facts = run.plan, run.facts
    quant = plan.model.quant or (facts.quant if facts is not None else "")
    sha256 = facts.file_sha256 if facts is not None else ""
    head = [run.run_id, n_bytes, run.state.value, plan.kind.value, plan.created_at, plan.model.model_id, quant]
    record = json.dumps(describe_run(run), ensure_ascii=False, default=str)
    db.execute("BEGIN")
    forget(db, run.run_id)
    db.execute("INSERT INTO eval_runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [*head, sha256, plan.machine, record])
    if plan.kind is RunKind.SUITES:
        for score in sum_up(run).scores:
            if score.value is not None and score.low is not None and score.high is not None:
                values = [score.n_items, score.value, score.low, score.high, score.is_higher_better]
                db.execute(
                    "INSERT INTO eval_scores VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [run.run_id, score.suite, score.title, *values],
                )
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in _ITEM_COLUMNS.items())
    db.execute(
        f"""INSERT INTO eval_items
        SELECT ?, suite, item_id, score, why, n_prompt_tokens, n_output_tokens, seconds, finish, "at"
        FROM read_json(?, format = 'newline_delimited', columns = {{{columns}}}, ignore_errors = true)
        WHERE line = 'item' AND suite IS NOT NULL AND item_id IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY suite, item_id ORDER BY "at") = 1""",
        [run.run_id, str(path)],
    )
    db.execute("COMMIT")


def list_measured(store: UserStore) -> tuple[MeasuredScore, ...]:
    """Every score measured here of a model the catalog knows, the newest of each model, quantization and suite."""
    with store.open(writing=False) as db:
        if db is None or not has_tables(db):
            return ()
        rows = db.execute(
            """SELECT r.model_id, r.quant, s.suite, s.title, s.n_items, s.value, s.low, s.high, s.is_higher_better,
                left(r.created_at, 10), r.run_id, TRY_CAST(r.record::JSON ->> 'decode_tokens_per_s' AS DOUBLE)
            FROM eval_scores s JOIN eval_runs r USING (run_id)
            WHERE r.model_id <> ''
            QUALIFY row_number() OVER (PARTITION BY r.model_id, r.quant, s.suite ORDER BY r.run_id DESC) = 1
            ORDER BY r.run_id DESC, s.suite"""
        ).fetchall()
    return tuple(MeasuredScore(*row) for row in rows)

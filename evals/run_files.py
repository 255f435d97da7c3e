"""Run files: everything a run said, one JSON object a line, each line on disk before it counts.

A run's file is `runs/evals/RUN_ID.jsonl` in the person's folder. It begins with the plan; a worker adds what it found,
one line for every finished item, and how it ended. Nothing is ever changed in it, so a run that was cut off anywhere
goes on from its last whole line. Whoever writes holds the file's lock; anyone may read at any time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from evals.lines import write_or_undo
from evals.plans import EvalPlan, find_now, read_plan, write_plan
from sizing.errors import BadInputError, UnknownNameError

RUNS_FOLDER = Path("runs") / "evals"
CANCEL_SUFFIX = ".cancel"
MAX_LINE_BYTES = 4 * 1024**2
TAIL_BYTES = 4096
"""An end's line is far shorter, whatever its reason."""
_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")


class RunState(StrEnum):
    """Where a run is. An interrupted one has neither ended nor anybody working on it."""

    QUEUED = "queued"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come unless a person asks for it."""
        return self in (RunState.DONE, RunState.CANCELLED, RunState.FAILED)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run found out about its model and its machine, before the first item.

    `file_sha256` is of the whole file (empty for an endpoint), `template_sha256` of its chat template (empty without
    one), `suite_versions` by suite. `machine` is one line; `engine` names the engine and its version.
    """

    file_sha256: str = ""
    file_bytes: int = 0
    quant: str = ""
    description: str = ""
    engine: str = ""
    template_sha256: str = ""
    used_template: bool = False
    machine: str = ""
    context_tokens: int = 0
    n_parallel: int = 0
    n_threads: int = 0
    suite_versions: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SuiteChosen:
    """How many items of a suite a run takes, out of how many, and why so many. `chance` is a guesser's score.

    `metric` names what the score is; `is_higher_better` which way it counts.
    """

    suite: str
    title: str
    version: str
    n_available: int
    n_planned: int
    chance: float
    metric: str
    is_higher_better: bool
    why: str


@dataclass(frozen=True, slots=True)
class ItemResult:
    """One finished item. `score` is 0 to 1 for suites that count right answers, None where an item has no score.

    `metrics` holds everything lm-eval computed for it, by name. `prompt` may be shortened in its middle.
    """

    suite: str
    item_id: str
    score: float | None
    metrics: Mapping[str, Any]
    category: str
    prompt: str
    output: str
    expected: str
    why: str
    n_prompt_tokens: int
    n_output_tokens: int
    seconds: float
    finish: str
    at: str


@dataclass(frozen=True, slots=True)
class Pace:
    """What an attempt has taken so far; the last one of each attempt counts.

    Seconds are of the clock; `prefill_tokens` were computed, so shared beginnings count once.
    """

    elapsed_s: float
    prefill_tokens: int
    prefill_s: float
    decode_tokens: int
    decode_s: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class EvalRun:
    """A run as its file tells it. `said` is the last word about what it is doing; `reason` why it ended, if oddly.

    `items` are in the order they were finished, each once. `windows` are those of a divergence, as they were written.
    """

    plan: EvalPlan
    state: RunState
    facts: RunFacts | None
    chosen: tuple[SuiteChosen, ...]
    items: tuple[ItemResult, ...]
    windows: tuple[Mapping[str, Any], ...]
    paces: tuple[Pace, ...]
    said: str
    reason: str
    started_at: str
    ended_at: str
    n_attempts: int

    @property
    def run_id(self) -> str:
        """The plan's."""
        return self.plan.run_id


def find_run_path(home: Path, run_id: str) -> Path:
    """Where a run's file is or would be. Raises BadInputError for what is no id of a run."""
    if not _RUN_ID.fullmatch(run_id):
        raise BadInputError(f"a run's id is letters, digits and '-', got {run_id!r}")
    return home / RUNS_FOLDER / f"{run_id}.jsonl"


def list_run_paths(home: Path) -> tuple[Path, ...]:
    """All run files, oldest first."""
    return tuple(sorted(p for p in (home / RUNS_FOLDER).glob("*.jsonl") if _RUN_ID.fullmatch(p.stem)))


def find_run(home: Path, name: str) -> Path:
    """The file of the run called `name`: its id, a beginning of it that only one has, or "last".

    Raises UnknownNameError with near ids, BadInputError where a beginning fits several.
    """
    paths = {path.stem: path for path in list_run_paths(home)}
    if name == "last" and paths:
        return paths[max(paths)]
    if name in paths:
        return paths[name]
    fitting = [path for run_id, path in paths.items() if name and run_id.startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise BadInputError(f"several runs begin with {name!r}: {', '.join(path.stem for path in fitting[:5])}")
    raise UnknownNameError("run", name, paths)


def create_run(home: Path, plan: EvalPlan) -> Path:
    """Put a new run in the queue: its file with the plan in it, complete before it has its name."""
    path = find_run_path(home, plan.run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        write_or_undo(handle, format_line("plan", write_plan(plan)))
        draft.rename(path)
    finally:
        os.close(handle)
        draft.unlink(missing_ok=True)
    return path


def format_line(kind: str, record: Mapping[str, Any]) -> bytes:
    """One line of a run file. Raises BadInputError when it would be longer than MAX_LINE_BYTES."""
    line = json.dumps({"line": kind, **record}, ensure_ascii=False, default=_plain).encode("utf-8", "replace") + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise BadInputError(f"a line of a run file may have {MAX_LINE_BYTES:,} bytes, this {kind} has {len(line):,}")
    return line


def _plain(value: Any) -> Any:
    """numpy's numbers and whatever else lm-eval hands out, as JSON takes it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


class RunFile:
    """A run's file open for writing, its lock held. Use as a context manager; `open_run_file` makes one."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle = handle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        os.close(self._handle)

    def append(self, kind: str, record: Mapping[str, Any]) -> None:
        """Add one line; it is on disk when this returns. Raises OSError; nothing is then added."""
        self.append_lines(format_line(kind, record))

    def append_lines(self, lines: bytes) -> None:
        """Add whole lines as another process wrote them to its copy of the run; on disk when this returns.

        Raises OSError; nothing is then added.
        """
        write_or_undo(self._handle, lines)

    def say(self, what: str) -> None:
        """What is being done now, for whoever watches."""
        self.append("say", {"at": find_now(), "what": what})

    def end(self, state: RunState, reason: str = "") -> None:
        """The run's end."""
        self.append("end", {"at": find_now(), "status": state.value, "reason": reason})

    def mend(self) -> int:
        """Cut off a last line that was torn while it was written; how many bytes went."""
        with self.path.open("rb") as file:
            data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._handle, whole)
        return len(data) - whole

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked the run to stop."""
        return self.path.with_suffix(CANCEL_SUFFIX).exists()


def open_run_file(path: Path) -> RunFile | None:
    """The file with its lock held and its end whole; None while another process holds it."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    file = RunFile(path, handle)
    file.mend()
    return file


def is_held(path: Path) -> bool:
    """Whether some process writes this run now."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def ask_to_stop(path: Path) -> None:
    """Ask whoever works on a run, or will, to end it."""
    path.with_suffix(CANCEL_SUFFIX).touch()


def forget_stop(path: Path) -> None:
    """Take such a wish back."""
    path.with_suffix(CANCEL_SUFFIX).unlink(missing_ok=True)


def iterate_lines(path: Path, n_bytes_before: int = 0) -> Iterator[dict[str, Any]]:
    """Every whole line of a run file that is an object, after so many bytes; a torn or strange one is left out."""
    with path.open("rb") as file:
        file.seek(n_bytes_before)
        for raw in file:
            if raw.endswith(b"\n"):
                with contextlib.suppress(ValueError, RecursionError):
                    record = json.loads(raw)
                    if isinstance(record, dict):
                        yield record


def is_unfinished(path: Path) -> bool:
    """Whether a run's last whole line is not its end; only the end of the file is read. Raises OSError."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        lines = file.read().split(b"\n")[:-1]
    return bool(lines) and not lines[-1].startswith(b'{"line": "end"')


def load_run(path: Path) -> EvalRun:
    """A run as its file tells it now. Raises BadInputError when the file does not begin with a plan."""
    held = is_held(path)
    run = collect_run(iterate_lines(path), path.name)
    if run.state is RunState.RUNNING and not held:
        return dataclasses.replace(run, state=RunState.INTERRUPTED)
    return run


def collect_run(lines: Iterator[dict[str, Any]], name: str) -> EvalRun:
    """A run from its lines. A run that was started and has not ended counts as running.

    Raises BadInputError when there is no plan.
    """
    plan: EvalPlan | None = None
    state, facts, said, reason, started_at, ended_at, n_attempts = RunState.QUEUED, None, "", "", "", "", 0
    chosen: dict[str, SuiteChosen] = {}
    items: dict[tuple[str, str], ItemResult] = {}
    windows: dict[int, Mapping[str, Any]] = {}
    paces: list[Pace] = []
    for record in lines:
        kind = record.pop("line", None)
        try:
            if kind == "plan" and plan is None:
                plan = read_plan(record)
            elif kind == "start":
                state, reason, n_attempts = RunState.RUNNING, "", n_attempts + 1
                started_at = started_at or str(record["at"])
                paces.append(Pace(0.0, 0, 0.0, 0, 0.0, 0))
            elif kind == "facts":
                facts = RunFacts(**record)
            elif kind == "chosen":
                chosen[str(record["suite"])] = SuiteChosen(**record)
            elif kind == "item":
                item = ItemResult(**record)
                items.setdefault((item.suite, item.item_id), item)
            elif kind == "window":
                windows.setdefault(int(record["index"]), record)
            elif kind == "pace" and paces:
                paces[-1] = Pace(**record)
            elif kind == "say":
                said = str(record["what"])
            elif kind == "again":
                state, reason, ended_at = RunState.QUEUED, "", ""
            elif kind == "end":
                state, reason, ended_at = RunState(record["status"]), str(record["reason"]), str(record["at"])
        except (TypeError, KeyError, ValueError):
            if kind == "plan":
                raise
            continue  # a line of another version: the others still count
    if plan is None:
        raise BadInputError(f"{name} is no run file: it does not begin with a plan")
    return EvalRun(
        plan,
        state,
        facts,
        tuple(chosen.values()),
        tuple(items.values()),
        tuple(windows[i] for i in sorted(windows)),
        tuple(paces),
        said,
        reason,
        started_at,
        ended_at,
        n_attempts,
    )


def list_runs(home: Path) -> tuple[EvalRun, ...]:
    """All runs, newest first; files that are none are left out."""
    found = []
    for path in reversed(list_run_paths(home)):
        with contextlib.suppress(BadInputError, OSError):
            found.append(load_run(path))
    return tuple(found)

"""The queue of evaluations: one run at a time, each in a worker process of its own, resumed after whatever happened.

The queue is the folder of run files: what was asked for and has not ended is yet to do, in the order of asking. A
thread of the app works it off. A worker that llama.cpp ends (an abort, a fault) fails its run with the reason; one that
was killed is started again and goes on; a run whose app is gone goes on when the app is back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from evals.endpoint_address import KEY_VARIABLE
from evals.plans import EvalPlan, ModelKind, RunKind, find_now
from evals.run_files import (
    CANCEL_SUFFIX,
    EvalRun,
    RunState,
    ask_to_stop,
    create_run,
    find_run_path,
    forget_stop,
    is_held,
    is_unfinished,
    iterate_lines,
    list_run_paths,
    load_run,
    open_run_file,
)
from sizing.errors import BadInputError
from sizing.hardware import Machine

WORKER_COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("worker.py")))
"""How a worker is started, with the run's file after it."""

MAX_ATTEMPTS = 3
"""How often a run that was killed is started by itself."""

CANCEL_GRACE_S = 10.0
"""How long a worker may take to stop by itself, one answer long, before it is ended."""

RELEASE_S = 10.0
"""How long a worker that has written its run's end may take to leave."""

LOOK_EVERY_S = 0.2
IDLE_S = 1.0

DISK_PAUSE_S = 10.0
"""How long the queue waits before it tries again where a run's file could not be written, as on a full disk."""

STDERR_BYTES = 8192

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})
"""Refusals of a disk that a person can mend: the run waits for that instead of failing."""

EXIT_HELD = 75
"""The exit code of a worker whose run another process holds (sysexits.h, EX_TEMPFAIL)."""

FATAL_SIGNALS = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS)
"""Signals by which native code ends itself; trying again would end the same way."""


UsableBytes = Callable[[EvalPlan], int | None]
"""The memory a run may take, asked when its worker starts; None sets no bound."""


def count_usable_bytes(machine: Machine, plan: EvalPlan) -> int | None:
    """What a machine has free for a plan: its host's memory, and its cards' where layers may go there.

    A model behind a server takes none of it.
    """
    if plan.model.kind is ModelKind.ENDPOINT:
        return None
    on_cards = plan.kind is RunKind.SUITES if plan.settings.n_gpu_layers is None else plan.settings.n_gpu_layers > 0
    return machine.usable_bytes if on_cards else machine.host.usable_bytes


class Worker:
    """One worker process and the last it wrote to its error stream."""

    def __init__(self, command: Sequence[str], path: Path, usable_bytes: int | None, key: str | None) -> None:
        environment = {**os.environ, "GGML_NO_BACKTRACE": "1"}
        if key:
            environment[KEY_VARIABLE] = key
        room = [] if usable_bytes is None else ["--usable-bytes", str(usable_bytes)]
        self.process = subprocess.Popen(
            [*command, str(path), *room],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self._tail = b""
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()

    def _drain(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            while piece := os.read(stream.fileno(), 1 << 14):
                self._tail = (self._tail + piece)[-STDERR_BYTES:]

    def stop(self) -> None:
        """End it and everything it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit code, once it and its error stream have ended."""
        code = self.process.wait()
        self.stop()  # whatever it left behind
        self._reader.join(timeout=5)
        return code

    def tell_last(self) -> str:
        """The line of its error stream that says most, without folders; empty where it said nothing."""
        text = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in self._tail.decode("utf-8", "replace"))
        lines = [re.sub(r"(?:/[^\s/:]+)+/", "", line).strip() for line in text.splitlines() if line.strip()]
        telling = [line for line in lines if "ASSERT" in line or "rror" in line]
        return (telling or lines or [""])[-1][:500]


def work_off(
    path: Path,
    command: Sequence[str] = WORKER_COMMAND,
    usable_bytes: UsableBytes = lambda plan: None,
    key: str | None = None,
    watch: Callable[[], None] = lambda: None,
) -> EvalRun:
    """Run one run to its end, whatever happens to its workers; the run as it then is.

    `watch` is called several times a second; what it raises ends the worker and leaves the run to be resumed. A run
    another process works on is only watched.
    """
    while True:
        run = load_run(path)
        if run.state.is_over:
            return run
        if is_held(path):
            watch()
            time.sleep(LOOK_EVERY_S)
            continue
        note_turn(path)
        n_bytes_before = path.stat().st_size
        worker = Worker(command, path, usable_bytes(run.plan), key)
        try:
            wait_for(worker, path, watch)
        except BaseException:
            worker.stop()
            worker.wait()
            raise
        code = worker.wait()
        close_run(path, code, worker.tell_last(), n_bytes_before)


def note_turn(path: Path) -> None:
    """Say in a run's file that its turn has come: on a full disk that fails, before a worker loads a model in vain.

    Raises OSError.
    """
    file = open_run_file(path)
    if file is not None:
        with file:
            file.say("starting")


def wait_for(worker: Worker, path: Path, watch: Callable[[], None]) -> None:
    """Until the worker ends; one that was asked to stop and does not is ended."""
    asked_s: float | None = None
    while worker.process.poll() is None:
        watch()
        if path.with_suffix(CANCEL_SUFFIX).exists():
            asked_s = asked_s or time.monotonic()
            if time.monotonic() - asked_s > CANCEL_GRACE_S:
                worker.stop()
        time.sleep(LOOK_EVERY_S)


def close_run(path: Path, code: int, last: str, n_bytes_before: int) -> None:
    """Write down how a worker ended where it could not do so itself. A killed one's run stays open for the next.

    `n_bytes_before` is the file's length when the worker began: what stands after it is this worker's.
    """
    file = None if code == EXIT_HELD else open_run_file(path)
    if file is None:
        return
    with file:
        if any(record.get("line") == "end" for record in iterate_lines(path, n_bytes_before)):
            return
        run = load_run(path)
        if file.is_cancelled:
            file.end(RunState.CANCELLED)
            return
        said = f": {last}" if last else ""
        if code < 0 and -code in FATAL_SIGNALS:
            file.end(RunState.FAILED, f"llama.cpp ended with {signal.Signals(-code).name}{said}")
        elif code >= 0:
            file.end(RunState.FAILED, f"the worker ended with exit code {code}{said}")
        elif run.n_attempts >= MAX_ATTEMPTS:
            how = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
            file.end(
                RunState.FAILED,
                f"the worker was killed {run.n_attempts} times ({how}), perhaps for want of memory{said}",
            )
        else:
            file.say("the worker was killed; starting again where it stopped")


class EvalQueue:
    """The evaluations of one person's folder, worked off by a thread of this process."""

    def __init__(
        self,
        home: Path,
        command: Sequence[str] = WORKER_COMMAND,
        usable_bytes: UsableBytes = lambda plan: None,
    ) -> None:
        self.home = home
        self.command = tuple(command)
        self.usable_bytes = usable_bytes
        self.running: str | None = None
        self.problem = ""
        """Why it does not go on, empty where it does."""
        self._keys: dict[str, str] = {}
        self._wake = threading.Event()
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = False

    def start(self) -> None:
        """Begin to work off whatever is to do, interrupted runs first; does nothing where that goes on already."""
        with self._turn:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="evaluations", daemon=True)
                self._thread.start()
        self._wake.set()

    def close(self) -> None:
        """Stop working; the run under way stays to be resumed."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def enqueue(self, plan: EvalPlan, key: str | None = None) -> Path:
        """Ask for a run; `key` is an endpoint's, kept in this process's memory only."""
        path = create_run(self.home, plan)
        if key:
            self._keys[plan.run_id] = key
        self.start()
        return path

    def cancel(self, run_id: str) -> None:
        """End a run, waiting or under way; what it finished stays."""
        path = find_run_path(self.home, run_id)
        ask_to_stop(path)
        file = open_run_file(path)
        if file is not None:  # nobody works on it
            with file:
                if not load_run(path).state.is_over:
                    file.end(RunState.CANCELLED)

    def resume(self, run_id: str, key: str | None = None) -> None:
        """Let a run that ended early go on. Raises BadInputError for one that is done."""
        resume_run(find_run_path(self.home, run_id))
        if key:
            self._keys[run_id] = key
        self.start()

    def remove(self, run_id: str) -> None:
        """Delete a run and its items for good. Raises BadInputError while somebody works on it."""
        path = find_run_path(self.home, run_id)
        if is_held(path):
            raise BadInputError(f"run {run_id} is under way; cancel it first")
        path.unlink(missing_ok=True)
        forget_stop(path)

    def _find_next(self) -> Path | None:
        for path in list_run_paths(self.home):
            with contextlib.suppress(BadInputError, OSError):
                if is_unfinished(path) and not load_run(path).state.is_over:
                    return path
        return None

    def _work(self) -> None:
        while not self._closing:
            self._wake.clear()
            path = self._find_next()
            if path is None:
                self.problem = ""
                self._wake.wait(IDLE_S)
                continue
            self.running = path.stem
            try:
                work_off(path, self.command, self.usable_bytes, self._keys.get(path.stem), self._check)
                self.problem = ""
            except Closing:
                return
            except Exception as error:  # a thread's last word: without one the run would wait for ever
                if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                    self.problem = f"evaluations wait: {path.name} cannot be written ({error.strerror}); free some room"
                    self._wake.wait(DISK_PAUSE_S)
                    continue
                fail_run(path, f"the run could not be worked on ({type(error).__name__}: {error})")
                time.sleep(IDLE_S)
            finally:
                self.running = None

    def _check(self) -> None:
        if self._closing:
            raise Closing


class Closing(Exception):
    """The queue is told to stop."""


def fail_run(path: Path, reason: str) -> None:
    """End a run with a reason, where its file can still be written."""
    with contextlib.suppress(OSError, BadInputError):
        file = open_run_file(path)
        if file is not None:
            with file:
                file.end(RunState.FAILED, reason)


def resume_run(path: Path) -> None:
    """Put a run that was cancelled, failed or interrupted back into the queue; one under way is left alone.

    Raises BadInputError for one that is done, or whose worker does not let go of it.
    """
    run = load_run(path)
    if run.state is RunState.DONE:
        raise BadInputError(f"run {path.stem} is done; start a new one")
    forget_stop(path)
    if not run.state.is_over:
        return
    ends_s = time.monotonic() + RELEASE_S
    while (file := open_run_file(path)) is None:  # its worker has written the end and is about to leave
        if time.monotonic() > ends_s:
            raise BadInputError(f"run {path.stem} is still held by its worker; try again in a moment")
        time.sleep(LOOK_EVERY_S / 4)
    with file:
        file.append("again", {"at": find_now()})

"""Downloads into the cache that all tools of the Hub share: a plan, the room for it, and a child that carries it out.

The child (`catalog.download_child`) can be ended at any moment: what has come stays beside its place, and the next
start goes on from there. The token goes to it over its standard input, so that it stands in no list of processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catalog.hub_cache import (
    count_present_bytes,
    find_cached_file,
    find_free_bytes,
)
from catalog.hub_names import check_commit, check_path, check_repo_id, check_revision
from catalog.hub_secret import Secret, check_endpoint, find_cache_dir, find_endpoint
from catalog.imported import HubFile
from sizing.errors import HubError
from sizing.units import GIB, format_bytes

SPEED_WINDOW_S = 5.0
STDERR_BYTES = 4000
KEPT_FREE_BYTES = GIB
KEPT_FREE_PERCENT = 2
ENDS = frozenset({"done", "failed", "stopped"})
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """Files of one repository at one commit. `ref` is the branch the commit was found at ("" for none).

    Raises HubError ("name", "size") for names that are refused, or a file whose length the Hub does not tell.
    """

    repo_id: str
    revision: str
    files: tuple[HubFile, ...]
    ref: str = ""

    def __post_init__(self) -> None:
        check_repo_id(self.repo_id)
        check_commit(self.revision)
        if self.ref:
            check_revision(self.ref)
        for file in self.files:
            check_path(file.path)
            if file.size_bytes is None:
                raise HubError("size", f"the Hub does not tell how long {file.path} is; it is not downloaded")
        if not self.files or len({file.path for file in self.files}) < len(self.files):
            raise HubError("name", "a download wants at least one file, and each once")

    @property
    def total_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes or 0 for file in self.files)


@dataclass(frozen=True, slots=True)
class Room:
    """What a plan still needs and what the disk has. `kept_bytes` are left free for everything else."""

    needed_bytes: int
    free_bytes: int
    kept_bytes: int

    @property
    def is_enough(self) -> bool:
        """Whether the plan fits, with what is to stay free. What is there already always does."""
        return self.needed_bytes == 0 or self.needed_bytes + self.kept_bytes <= self.free_bytes

    def describe(self) -> str:
        """The figures as one sentence."""
        needed, free, kept = map(format_bytes, (self.needed_bytes, self.free_bytes, self.kept_bytes))
        if self.is_enough:
            return f"{needed} are still to come, {free} are free"
        return f"{needed} are still to come, {free} are free on that disk and {kept} stay free; make room there"


@dataclass(frozen=True, slots=True)
class DownloadState:
    """How far a download is. `path` is the first file in its snapshot once it is done.

    `status` goes from "waiting" over "checking", "downloading" and "verifying" to one of `ENDS`; while "verifying",
    `n_bytes` are those looked through. Where it is "failed", `problem` says why in one line and `kind` is
    `HubError.kind`.
    """

    status: str = "waiting"
    n_bytes: int = 0
    total_bytes: int = 0
    bytes_per_s: float | None = None
    path: Path | None = None
    problem: str | None = None
    kind: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen without another start."""
        return self.status in ENDS

    @property
    def seconds_left(self) -> float | None:
        """Until all is there at this speed; None where there is none."""
        return (self.total_bytes - self.n_bytes) / self.bytes_per_s if self.bytes_per_s else None


FreeBytes = Callable[[Path], tuple[int, int]]


def check_room(plan: DownloadPlan, cache_dir: Path | None = None, find_free: FreeBytes = find_free_bytes) -> Room:
    """Whether the disk has room for what of a plan is not there yet."""
    folder = find_cache_dir() if cache_dir is None else cache_dir
    present = sum(count_present_bytes(folder, plan.repo_id, plan.revision, file) for file in plan.files)
    free_bytes, disk_bytes = find_free(folder)
    return Room(plan.total_bytes - present, free_bytes, min(KEPT_FREE_BYTES, disk_bytes * KEPT_FREE_PERCENT // 100))


def find_cached(plan: DownloadPlan, file: HubFile, cache_dir: Path | None = None) -> Path | None:
    """A file of the plan in the cache if it is there in its full length, else None."""
    return find_cached_file(find_cache_dir() if cache_dir is None else cache_dir, plan.repo_id, plan.revision, file)


class Download:
    """One plan being carried out by a child process. Threads may ask for `state` at any time.

    `cache_dir` None means the cache of the Hub's tools, `endpoint` None the Hub of HF_ENDPOINT, `token` None the one
    the child finds as `catalog.hub` does. `find_free` stands in for the disk in tests.
    """

    def __init__(
        self,
        plan: DownloadPlan,
        *,
        cache_dir: Path | None = None,
        endpoint: str | None = None,
        token: str | None = None,
        find_free: FreeBytes = find_free_bytes,
    ) -> None:
        self.plan = plan
        self.cache_dir = (find_cache_dir() if cache_dir is None else cache_dir).absolute()
        self._endpoint = find_endpoint() if endpoint is None else check_endpoint(endpoint)
        self._token = None if token is None else Secret(token)
        self._find_free = find_free
        self._lock = threading.Lock()
        self._state = DownloadState(total_bytes=plan.total_bytes)
        self._samples: deque[tuple[float, int]] = deque(maxlen=100)
        self._child: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._is_stopped = False

    def __repr__(self) -> str:
        return f"Download({self.plan.repo_id!r}, {self.state.status!r})"

    @property
    def state(self) -> DownloadState:
        """How far it is now."""
        with self._lock:
            return self._state

    def start(self) -> None:
        """Begin, or go on after a stop or a failure; nothing where it is under way. What goes wrong is in `state`."""
        with self._lock:
            if self._reader is not None and self._reader.is_alive():
                return
            self._is_stopped = False
            self._samples.clear()
            self._state = DownloadState("checking", total_bytes=self.plan.total_bytes)
            try:
                room = check_room(self.plan, self.cache_dir, self._find_free)
                if not room.is_enough:
                    raise HubError("disk", f"no room for {self.plan.repo_id}: {room.describe()}")
                self._child = self._spawn()
            except HubError as error:
                self._state = replace(self._state, status="failed", problem=str(error), kind=error.kind)
                return
            except OSError as error:
                problem = f"the download could not be started ({error.strerror})"
                self._state = replace(self._state, status="failed", problem=problem, kind="disk")
                return
            self._reader = threading.Thread(target=self._follow, args=(self._child,), daemon=True)
            self._reader.start()

    def stop(self) -> None:
        """End it. What has come stays, and the next start goes on from there. Returns when the child is gone."""
        with self._lock:
            child, reader = self._child, self._reader
            self._is_stopped = True
            if reader is None and not self._state.is_over:
                self._state = replace(self._state, status="stopped")
        if child is not None:
            _end(child)
        if reader is not None:
            reader.join(timeout=10)

    def wait(self, timeout_s: float | None = None) -> DownloadState:
        """Its state when it is over, or as it is when the time is up."""
        reader = self._reader
        if reader is not None:
            reader.join(timeout_s)
        return self.state

    def _spawn(self) -> subprocess.Popen[bytes]:
        """The child, with its orders on its way. Its standard input stays open: when this process ends, so does it."""
        hidden = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if self._token is not None else ()
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        child = subprocess.Popen(
            [sys.executable, "-m", "catalog.download_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once; the reader will say so
            child.stdin.write(self._write_orders())
            child.stdin.flush()
        return child

    def _write_orders(self) -> bytes:
        """What the child needs to know, as one line."""
        orders = {
            "repo_id": self.plan.repo_id,
            "revision": self.plan.revision,
            "ref": self.plan.ref,
            "files": [[file.path, file.size_bytes, file.sha256] for file in self.plan.files],
            "cache_dir": str(self.cache_dir),
            "endpoint": self._endpoint,
            "token": None if self._token is None else self._token.reveal(),
        }
        return json.dumps(orders).encode() + b"\n"

    def _follow(self, child: subprocess.Popen[bytes]) -> None:
        """Read what the child says until it ends."""
        tail: deque[bytes] = deque(maxlen=20)
        assert child.stdout is not None and child.stderr is not None and child.stdin is not None
        errors = threading.Thread(target=lambda stream: tail.extend(stream), args=(child.stderr,), daemon=True)
        errors.start()
        for line in child.stdout:
            self._hear(line)
        code = child.wait()
        errors.join(timeout=5)
        for stream in (child.stdin, child.stdout, child.stderr):
            with contextlib.suppress(OSError):
                stream.close()
        with self._lock:
            if self._state.status not in ("done", "failed"):
                self._state = self._judge_end(code, b"".join(tail)[-STDERR_BYTES:])

    def _judge_end(self, code: int, said: bytes) -> DownloadState:
        """The state after a child ended without saying how: stopped, or dead."""
        if self._is_stopped:
            return replace(self._state, status="stopped", bytes_per_s=None)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        lines = said.decode("utf-8", errors="replace").strip().splitlines()
        last = ascii(lines[-1][:200])[1:-1] if lines and code > 0 else ""
        last = last if self._token is None else self._token.redact(last)
        problem = f"the download's process ended by itself ({how}{': ' if last else ''}{last}); start it again, "
        problem += "it goes on where it was"
        return replace(self._state, status="failed", problem=problem, kind="lost", bytes_per_s=None)

    def _hear(self, line: bytes) -> None:
        """Take in one line of the child. What is none is passed over."""
        try:
            told: dict[str, Any] = json.loads(line)
            status, n_bytes = str(told["status"]), int(told["n_bytes"])
        except (ValueError, KeyError, TypeError):
            return
        with self._lock:
            speed = self._measure_speed(n_bytes) if status == "downloading" else None
            n_bytes = self._state.n_bytes if status == "failed" else n_bytes
            self._state = replace(self._state, status=status, n_bytes=n_bytes, bytes_per_s=speed)
            if status == "done":
                self._state = replace(self._state, path=Path(str(told["path"])))
            if status == "failed":
                problem = str(told["problem"])
                problem = problem if self._token is None else self._token.redact(problem)
                self._state = replace(self._state, problem=problem, kind=str(told["kind"]))

    def _measure_speed(self, n_bytes: int) -> float | None:
        """Bytes per second over the last `SPEED_WINDOW_S`; None until there are two moments, or after a step back."""
        now = time.monotonic()
        if self._samples and n_bytes < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, n_bytes))
        while len(self._samples) > 2 and now - self._samples[0][0] > SPEED_WINDOW_S:
            self._samples.popleft()
        (then, before), elapsed = self._samples[0], now - self._samples[0][0]
        return (n_bytes - before) / elapsed if elapsed > 0 and then < now else None


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child and everything it started."""
    for sign, patience_s in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
        if child.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(patience_s)

"""The app's second process, which works out what takes seconds, so that the interpreter that answers everybody is free.

Python has one interpreter lock: a calculation in a thread of the app slows down every page that anybody opens. In a
process of its own it takes another core (`pages.ui.calculations`). There is one such process, it works on one question
at a time, and whoever asks waits. An answer comes also without it: where it cannot be started, is killed, or meets an
error, the app works the question out itself.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from streamlit.runtime import Runtime, exists, get_instance

from sizing.errors import WeighbridgeError

_R = TypeVar("_R")
ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "pages.ui.calculations")
LONGEST_S = 180.0
"""A question that takes longer is given up: the process is ended, and the page says so."""


class TooLongError(WeighbridgeError, TimeoutError):
    """A calculation was given up."""


@dataclass(slots=True)
class SecondProcess:
    """A process that answers one question at a time, started when first asked."""

    command: tuple[str, ...] = COMMAND
    longest_s: float = LONGEST_S
    generation: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pid(self) -> int | None:
        """The process id, None while none runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start it where it does not run. Raises OSError where the system refuses."""
        if self.pid is None:
            # its own group: Ctrl-C is meant for the app, and the process ends with its input
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True
            )

    def ask(self, name: str, values: tuple[Any, ...], ask_here: Callable[[], _R]) -> _R:
        """The answer of a calculation by its name, from the process, or from `ask_here` where that gives none.

        Raises TooLongError, and whatever `ask_here` raises.
        """
        with self._turn:
            answered, answer = self._ask(name, values)
        return cast(_R, answer) if answered else ask_here()

    def _ask(self, name: str, values: tuple[Any, ...]) -> tuple[bool, object]:
        given_up = threading.Event()
        try:
            self.start()
            process = self._process
            assert process is not None and process.stdin is not None and process.stdout is not None
            watch = threading.Timer(self.longest_s, lambda: (given_up.set(), process.kill()))
            watch.daemon = True
            watch.start()
            try:
                pickle.dump((name, self.generation, values), process.stdin, pickle.HIGHEST_PROTOCOL)
                process.stdin.flush()
                reply: tuple[bool, object] = pickle.load(process.stdout)
                return reply
            finally:
                watch.cancel()
        except Exception:  # gone, refused, or an answer that cannot be read: all of them end in the app's own
            self.end()
            if given_up.is_set():
                raise TooLongError(
                    f"the calculation was given up after {self.longest_s:.0f} s; ask for less, or try again"
                ) from None
            return False, None

    def end(self) -> None:
        """End the process; the next question starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # a question that was never read
                    stream.close()


_second = SecondProcess()
atexit.register(_second.end)


def is_worth_it() -> bool:
    """Whether a server runs the app, of whose cores another is free for this."""
    is_served = exists() and type(get_instance()) is Runtime  # a test's stand-in passes for an instance
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return is_served and n_cores > 1


def start() -> None:
    """Start the process in good time, so that it has opened the catalog when it is first asked."""
    if is_worth_it():
        with contextlib.suppress(OSError):  # the app works everything out itself then
            _second.start()


def renew() -> None:
    """Have the process open the catalog anew before it next answers."""
    _second.generation += 1


def ask(name: str, values: tuple[Any, ...], ask_here: Callable[[], _R]) -> _R:
    """The answer of a calculation, see `SecondProcess.ask`; worked out by the app where no second core is free."""
    return _second.ask(name, values, ask_here) if is_worth_it() else ask_here()

"""One measurement at a time on a machine: two at once slow each other down manyfold, spinning for the same cores."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

LOCK_NAME = "bench.lock"
LOOK_EVERY_S = 0.5


@contextlib.contextmanager
def hold_turn(home: Path, wait: Callable[[], None] | None = None) -> Iterator[bool]:
    """Whether it is this process's turn, for as long as the block runs.

    Without `wait` the answer comes at once. With it, it is called twice a second until the turn comes; what it raises
    ends the waiting.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / LOCK_NAME).open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if wait is None:
                    yield False
                    return
            wait()
            time.sleep(LOOK_EVERY_S)
        yield True

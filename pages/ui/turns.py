"""What lets many people be served at once by one interpreter: long calculations take turns, and what stays for good is
not looked through for garbage.

A calculation keeps Python's one interpreter busy, so two side by side take as long as one after the other. Side by
side they would also work out twice what both need (a context's buffers, kept once they are known), and fifty of them
leave the thread that answers browsers no time at all.
"""

from __future__ import annotations

import atexit
import gc
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, TypeVar

_P, _R = ParamSpec("_P"), TypeVar("_R")
_TURN = threading.RLock()
_SWEEPING = threading.Lock()

SWEEP_EVERY_S = 60.0

atexit.register(gc.unfreeze)  # else what is out of sight would be told as leaked when Python ends


def one_at_a_time(work: Callable[_P, _R]) -> Callable[_P, _R]:
    """The same function, which waits while another thread is in one of these; one may call another."""

    @wraps(work)
    def wait_for_turn(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with _TURN:
            return work(*args, **kwargs)

    return wait_for_turn


def sweep() -> None:
    """Collect garbage once through everything, and take what is left out of the collector's sight until the next time.

    Walking through a catalog that never is garbage takes tenths of a second, in which nobody is answered. So Streamlit
    is told not to collect after every run of a page (.streamlit/config.toml, `postScriptGC`): Python collects what is
    new by itself, and this what became old.
    """
    _swept.at_s = time.monotonic()
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def sweep_if_due() -> None:
    """`sweep`, where the last time is `SWEEP_EVERY_S` ago: what sessions left behind since must not stay for ever.

    Of many who find it due one sweeps and none waits.
    """
    if time.monotonic() - _swept.at_s > SWEEP_EVERY_S and _SWEEPING.acquire(blocking=False):
        try:
            sweep()
        finally:
            _SWEEPING.release()


@dataclass(slots=True)
class _Swept:
    at_s: float = 0.0


_swept = _Swept()

"""Long calculations take turns, and garbage is looked for in everything once a minute, by one of all who are there."""

from __future__ import annotations

import gc
import threading
import time
import tomllib
import weakref
from pathlib import Path

import pytest

from pages.ui import turns

ROOT = Path(__file__).resolve().parents[2]


class Knot:
    """An object that refers to itself, which only the collector frees."""

    def __init__(self) -> None:
        self.self = self


def test_garbage_is_found_also_in_what_an_earlier_sweep_put_out_of_sight() -> None:
    knot = Knot()
    left = weakref.ref(knot)
    turns.sweep()
    del knot
    gc.collect()
    assert left() is not None, "what is out of sight is not looked through by every collection"
    turns.sweep()
    assert left() is None


def test_of_many_who_find_it_due_one_sweeps_and_none_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end, n_sweeps = threading.Event(), threading.Event(), []

    def sweep() -> None:
        n_sweeps.append(1)
        begun.set()
        may_end.wait(10)
        turns._swept.at_s = time.monotonic()

    monkeypatch.setattr(turns, "sweep", sweep)
    monkeypatch.setattr(turns._swept, "at_s", time.monotonic() - turns.SWEEP_EVERY_S - 1)
    first = threading.Thread(target=turns.sweep_if_due)
    first.start()
    assert begun.wait(10)
    for _ in range(5):
        turns.sweep_if_due()  # returns while the first one is still at it
    may_end.set()
    first.join()
    turns.sweep_if_due()
    assert len(n_sweeps) == 1


def test_streamlit_does_not_look_through_everything_after_every_run() -> None:
    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert settings["runner"]["postScriptGC"] is False

"""Scores measured on this box as the ranking takes them."""

from __future__ import annotations

from pathlib import Path

from evals.eval_store import ingest_evals, list_measured
from evals.user_store import UserStore
from sizing.candidate import MeasuredHere
from sizing.errors import StoreRebuiltError


def load_measured_here(home: Path) -> tuple[MeasuredHere, ...]:
    """The newest score of each catalog model, quantization and suite, after taking in runs that have ended.

    A damaged database is made anew and filled from the files of the runs. Raises UserStoreError where it cannot be
    opened.
    """
    store = UserStore(home)
    try:
        return _take_in_and_list(store)
    except StoreRebuiltError:
        return _take_in_and_list(store)


def _take_in_and_list(store: UserStore) -> tuple[MeasuredHere, ...]:
    ingest_evals(store)
    return list_measured(store)

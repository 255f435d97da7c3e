"""Scores measured on this box as the ranking takes them."""

from __future__ import annotations

from pathlib import Path

from evals.eval_store import ingest_evals, list_measured
from evals.user_store import UserStore
from sizing.candidate import MeasuredHere


def load_measured_here(home: Path) -> tuple[MeasuredHere, ...]:
    """The newest score of each catalog model, quantization and suite, after taking in runs that have ended.

    Raises UserStoreError where the person's database cannot be opened.
    """
    store = UserStore(home)
    ingest_evals(store)
    return list_measured(store)

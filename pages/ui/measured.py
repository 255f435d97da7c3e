"""Scores measured on this machine, as the ranking takes them: read again only when a run has ended or grown."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from evals.home import find_home_if_usable
from evals.run_files import list_run_paths
from sizing.candidate import MeasuredHere
from sizing.errors import UserStoreError

KEPT_S = 3
"""How long a failure stands before the database is tried again."""


def list_measured_here() -> tuple[MeasuredHere, ...]:
    """The newest score of each model, quantization and suite; none where the person's folder cannot be used."""
    asked = _find_runs()
    return () if asked is None or _find_problem(*asked) else _read(*asked)


def find_problem() -> str:
    """Why scores measured here cannot be read, empty where they can: every page says it, until it is over."""
    asked = _find_runs()
    return "" if asked is None else _find_problem(*asked)


def _find_runs() -> tuple[str, tuple[tuple[str, int], ...]] | None:
    """The person's folder and the state of its run files; None where there are none."""
    home = find_home_if_usable()
    if home is None:
        return None
    try:
        runs = tuple((path.name, path.stat().st_size) for path in list_run_paths(home))
    except OSError:
        return None
    return (str(home), runs) if runs else None


@st.cache_data(show_spinner=False, max_entries=4, ttl=KEPT_S)
def _find_problem(home: str, runs: tuple[tuple[str, int], ...]) -> str:
    try:
        _read(home, runs)
    except UserStoreError as error:
        return f"results measured here are left out: {error}"
    return ""


@st.cache_data(show_spinner=False, max_entries=4)
def _read(home: str, runs: tuple[tuple[str, int], ...]) -> tuple[MeasuredHere, ...]:
    from evals.measured_here import load_measured_here  # for those who have runs; the first page comes without

    return load_measured_here(Path(home))  # an error is not kept

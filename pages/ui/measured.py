"""Scores measured on this machine, as the ranking takes them: read again only when a run has ended or grown."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from evals.home import find_home_if_usable
from evals.measured_here import load_measured_here
from evals.run_files import list_run_paths
from sizing.candidate import MeasuredHere
from sizing.errors import UserStoreError


def list_measured_here() -> tuple[MeasuredHere, ...]:
    """The newest score of each model, quantization and suite; none where the person's folder cannot be used."""
    home = find_home_if_usable()
    if home is None:
        return ()
    try:
        runs = tuple((path.name, path.stat().st_size) for path in list_run_paths(home))
    except OSError:
        return ()
    return _read(str(home), runs) if runs else ()


@st.cache_data(show_spinner=False, max_entries=4)
def _read(home: str, runs: tuple[tuple[str, int], ...]) -> tuple[MeasuredHere, ...]:
    try:
        return load_measured_here(Path(home))
    except UserStoreError:
        return ()  # the Evaluate page says what is wrong with the database

"""The queue of evaluations in this process, as every page asks for it: few modules are loaded before there is a run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from catalog import queries
from evals.home import find_home
from evals.run_files import is_unfinished, list_run_paths
from pages.ui import cached
from pages.ui.inputs import THIS

if TYPE_CHECKING:
    from evals.jobs import EvalQueue
    from evals.plans import EvalPlan


@st.cache_resource(show_spinner=False)
def _queue(home: str) -> EvalQueue:
    from evals.jobs import EvalQueue, count_usable_bytes  # for those who have runs; the first page asks without

    catalog = cached.catalog()  # read here: the queue's thread knows no session

    def count_usable(plan: EvalPlan) -> int | None:
        return count_usable_bytes(queries.find_machine(catalog, THIS), plan)  # free memory as it is then

    queue = EvalQueue(Path(home), usable_bytes=count_usable)
    queue.start()
    _queues()[home] = queue
    return queue


@st.cache_resource(show_spinner=False)
def _queues() -> dict[str, EvalQueue]:
    """The queues made so far, by their folder."""
    return {}


def find_queue() -> EvalQueue:
    """The queue of this process, at work."""
    return _queue(str(find_home()))


def find_queue_problem() -> str:
    """Why the queue cannot go on, empty where it can."""
    return next((queue.problem for queue in _queues().values() if queue.problem), "")


def wake_queue() -> None:
    """Let runs go on that were waiting or at work when the app ended, whichever page is opened first."""
    with contextlib.suppress(OSError):
        _wake_once(str(find_home()))


@st.cache_resource(show_spinner=False)
def _wake_once(home: str) -> bool:
    unfinished = any(is_unfinished(path) for path in list_run_paths(Path(home)))
    if unfinished:
        _queue(home)
    return unfinished


def has_runs() -> bool:
    """Whether anything was ever evaluated here."""
    try:
        return bool(list_run_paths(find_home()))
    except OSError:
        return False

"""What the Import page sets to work: a row of imports in a thread, downloads in child processes, one of each at a time.

The network is asked only by what a person pressed. Jobs belong to the process, so every tab sees the same ones, and
leaving the page stops nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from catalog.downloads import Download, DownloadPlan, DownloadState
from pages.ui import cached
from sizing.errors import WeighbridgeError

if TYPE_CHECKING:
    from catalog.hub_answers import HubHit, HubQuery
    from catalog.importing import Outcome, Progress

MAX_DOWNLOADS_KEPT = 50


def search_hub(query: HubQuery) -> tuple[HubHit, ...]:
    """Repositories that answer a search. Raises HubError, BadInputError."""
    from catalog.hub import Hub  # what speaks to the Hub is loaded when it is asked, not with the first page

    return Hub().search(query)


class ImportJob:
    """A row of imports: what was asked, where it stands, how each one ended."""

    def __init__(self, repo_ids: Sequence[str]) -> None:
        from catalog.importing import Progress  # an import is begun on its own page, long after the first

        self.repo_ids = tuple(repo_ids)
        self.outcomes: list[Outcome] = []
        self.progress = Progress(0, len(self.repo_ids), self.repo_ids[0] if repo_ids else "", "starting")
        self.stop = threading.Event()
        self.is_over = False
        self.problem = ""
        self.started_s = time.monotonic()

    @property
    def n_kept(self) -> int:
        """Imports that were kept."""
        return sum(o.model is not None for o in self.outcomes)

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """Imports that were not."""
        return tuple(o for o in self.outcomes if o.model is None)


class Imports:
    """The row of imports at work, at most one in this process, and the last one that ended."""

    def __init__(self) -> None:
        self.job: ImportJob | None = None
        self.n_ended = 0
        self._turn = threading.Lock()

    def start(self, repo_ids: Sequence[str]) -> bool:
        """Begin in a thread of its own, and whether it did: not while another row is at work."""
        with self._turn:
            if self.is_busy or not repo_ids:
                return False
            self.job = ImportJob(repo_ids)
            worker = threading.Thread(target=self._work, args=(self.job,), name="imports", daemon=True)
        worker.start()
        return True

    @property
    def is_busy(self) -> bool:
        """Whether a row of imports is at work."""
        return self.job is not None and not self.job.is_over

    def stop(self) -> None:
        """End the row before its next step; what was kept stays."""
        if self.job is not None:
            self.job.stop.set()

    def _work(self, job: ImportJob) -> None:
        from catalog import importing
        from catalog.hub import Hub
        from evals.weigh import ask_weights

        def report(progress: Progress) -> None:
            job.progress = progress

        try:
            outcomes = importing.import_repositories(
                job.repo_ids, Hub(), cached.open_imports(), ask_weights, report=report, is_stopped=job.stop.is_set
            )
            for outcome in outcomes:
                job.outcomes.append(outcome)
        except (WeighbridgeError, OSError) as error:
            job.problem = str(error)
        except Exception as error:  # a thread's last word: without one the page would wait for ever
            logging.getLogger(__name__).error("an import failed: %s", type(error).__name__)
            job.problem = f"the import failed unexpectedly ({type(error).__name__})"
        finally:
            with self._turn:
                job.is_over = True
                self.n_ended += 1


@st.cache_resource(show_spinner=False)
def imports() -> Imports:
    """The imports of this process."""
    return Imports()


@dataclass(frozen=True, slots=True)
class Fetched:
    """One download of this process: what it is called, and its plan."""

    key: str
    title: str
    plan: DownloadPlan


class Downloads:
    """Downloads of this process, newest last. One of them is at work at a time; the others wait their turn."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[Fetched, Download]] = OrderedDict()
        self._turn = threading.Lock()

    def start(self, title: str, plan: DownloadPlan) -> str:
        """Begin, or go on with, a download; returns its key."""
        key = f"{plan.repo_id}@{plan.revision[:12]}:{plan.files[0].path}"
        with self._turn:
            known = self._known.pop(key, None)
            if known is not None and not known[1].state.is_over:
                self._known[key] = known
                return key
            download = Download(plan)
            self._known[key] = (Fetched(key, title, plan), download)
            while len(self._known) > MAX_DOWNLOADS_KEPT:
                self._known.popitem(last=False)
        download.start()
        return key

    def stop(self, key: str) -> None:
        """End a download; what came stays, and a later start goes on from there."""
        known = self._known.get(key)
        if known is not None:
            known[1].stop()

    def resume(self, key: str) -> None:
        """Go on with a download that stopped."""
        known = self._known.get(key)
        if known is not None:
            self.start(known[0].title, known[0].plan)

    def forget(self, key: str) -> None:
        """Take a download that is over off the list; its file stays."""
        with self._turn:
            known = self._known.get(key)
            if known is not None and not known[1].state.is_over:
                del self._known[key]

    def list_all(self) -> tuple[tuple[Fetched, DownloadState], ...]:
        """Every download with where it stands, newest first."""
        with self._turn:
            known = list(self._known.values())
        return tuple((fetched, download.state) for fetched, download in reversed(known))


@st.cache_resource(show_spinner=False)
def downloads() -> Downloads:
    """The downloads of this process."""
    return Downloads()

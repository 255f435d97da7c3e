"""The downloads of this process: how far each is, how fast, and what can be done about it."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import streamlit as st

from catalog.downloads import DownloadState
from pages.ui import frame, import_jobs
from pages.ui.charts import roomy
from pages.ui.markdown_text import escape_markdown
from sizing.units import THIN, format_bytes

LIVE_S = 0.5

STATE_WORDS = {
    "waiting": "Waiting",
    "checking": "Checking",
    "downloading": "Downloading",
    "verifying": "Comparing its SHA-256 with the Hub's",
    "done": "Here, and checked",
    "failed": "Failed",
    "stopped": "Stopped",
}


def show() -> None:
    """Every download, newest first, drawn anew while one is at work."""
    known = import_jobs.downloads().list_all()
    if not known:
        st.html(
            '<p class="wb-quiet">No file is being downloaded. Pick an imported model and one of its files, or take '
            "the file of an answer on Choose or Size.</p>"
        )
        return
    if any(not state.is_over for _, state in known):
        _draw_live()
    else:
        draw()


@st.fragment(run_every=LIVE_S)
def _draw_live() -> None:
    if not any(not state.is_over for _, state in import_jobs.downloads().list_all()):
        st.rerun()
    draw()


def draw() -> None:
    """One box a download."""
    for fetched, state in import_jobs.downloads().list_all():
        with st.container(border=True, key=f"download_{abs(hash(fetched.key))}", gap="small"):
            st.html(
                f'<p class="wb-figures">{escape(roomy(fetched.title))}</p>'
                f'<p class="wb-quiet">{escape(roomy(describe(state)))}</p>'
            )
            if not state.is_over:
                st.progress(min(1.0, state.n_bytes / state.total_bytes) if state.total_bytes else 0.0)
            if state.problem:
                st.warning(escape_markdown(frame.to_sentence(state.problem)), icon=":material/error:")
            show_actions(fetched.key, state)


def describe(state: DownloadState) -> str:
    """'Downloading: 3.2 of 9.8 GiB at 41 MiB/s, about 2 minutes left.'"""
    word = STATE_WORDS.get(state.status, state.status)
    if state.status == "done":
        return f"{word}: {format_bytes(state.total_bytes)}, {state.path}"
    told = f"{word}: {format_bytes(state.n_bytes)} of {format_bytes(state.total_bytes)}"
    if state.status == "downloading" and state.bytes_per_s:
        told += f" at {format_bytes(int(state.bytes_per_s))}/s, {describe_left(state.seconds_left or 0)} left"
    if state.status in ("failed", "stopped") and state.n_bytes:
        told += "; what came is kept, and going on starts there"
    return f"{told}."


def describe_left(seconds: float) -> str:
    """'about 2 minutes'."""
    if seconds < 90:
        return f"about {max(1, round(seconds))}{THIN}s"
    return f"about {round(seconds / 60)} minutes" if seconds < 5400 else f"about {seconds / 3600:.1f} hours"


def show_actions(key: str, state: DownloadState) -> None:
    """Cancel what is at work, go on with what stopped, test what is here."""
    jobs, mark = import_jobs.downloads(), abs(hash(key))

    def button(label: str, what: str, icon: str, act: Callable[[str], None]) -> None:
        st.button(label, key=f"{what}_{mark}", type="tertiary", icon=icon, on_click=act, args=(key,))

    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        if not state.is_over:
            button("Cancel", "stop", ":material/stop_circle:", jobs.stop)
            return
        if state.status == "done":
            frame.link_to_evaluate([state.path])
        else:
            button("Go on", "resume", ":material/resume:", jobs.resume)
        button("Take off the list", "forget", ":material/close:", jobs.forget)

"""How to start what was sized: one tool at a time, its text to copy or to save."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from pages.ui.charts import roomy
from pages.ui.markdown_text import escape_markdown
from sizing.launch import Launch

HEADING = "Start it like this"
MANY_LINES = 24
SCROLLED_PIXELS = 440
"""A text of more lines scrolls in a box so high, so that what stands below it stays in sight."""


def show(launches: Sequence[Launch], key: str) -> None:
    """A heading, a choice of tools where there are several, and the chosen one; nothing where there is none.

    `key` tells one place on a page from another. The choice is forgotten when the tools change.
    """
    if not launches:
        return
    st.subheader(HEADING, anchor=False)
    show_picked(launches, key)


def show_picked(launches: Sequence[Launch], key: str, beside: Callable[[], None] | None = None) -> Launch:
    """One row with the tools and a button that saves, then the picked tool's text; returns that one.

    `beside` draws what else stands in the row.
    """
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        picked = choose(launches, key)
        save_button(picked, key)
        if beside is not None:
            beside()
    show_text(picked)
    return picked


def choose(launches: Sequence[Launch], key: str) -> Launch:
    """The launch whose title is picked, the first until one is."""
    titles = [launch.title for launch in launches]
    if len(titles) == 1:
        return launches[0]
    picked = st.segmented_control(
        "Tool",
        titles,
        default=titles[0],
        required=True,
        wrap=True,
        key=f"{key}_tool_{'|'.join(titles)}",
        label_visibility="collapsed",
    )
    return next((launch for launch in launches if launch.title == picked), launches[0])


def show_text(launch: Launch) -> None:
    """The text with a copy button, and what to do with it."""
    is_long = launch.text.count("\n") > MANY_LINES
    st.code(launch.text, language=launch.language, wrap_lines=True, height=SCROLLED_PIXELS if is_long else "content")
    if launch.note:
        st.caption(roomy(escape_markdown(launch.note)))


def save_button(launch: Launch, key: str) -> None:
    """A quiet button that saves the text as a file."""
    st.download_button(
        "Save",
        launch.text if launch.text.endswith("\n") else f"{launch.text}\n",
        launch.file_name,
        "text/plain",
        key=f"{key}_save_{launch.title}",
        help=f"As {launch.file_name}",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )

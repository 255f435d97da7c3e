"""How to start what was sized: one tool at a time, its text to copy or to save."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from pages.ui.charts import roomy
from pages.ui.evaluate_words import escape_markdown
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
    show_chosen(choose(launches, key), key)


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


def show_chosen(launch: Launch, key: str) -> None:
    """The text with a copy button, what to do with it, and the file to save."""
    is_long = launch.text.count("\n") > MANY_LINES
    st.code(launch.text, language=launch.language, wrap_lines=True, height=SCROLLED_PIXELS if is_long else "content")
    if launch.note:
        st.caption(roomy(escape_markdown(launch.note)))
    st.download_button(
        f"Save as {launch.file_name}",
        launch.text if launch.text.endswith("\n") else f"{launch.text}\n",
        launch.file_name,
        "text/plain",
        key=f"{key}_save_{launch.title}",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )

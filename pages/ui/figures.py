"""One row of figures, each under a name that opens to how it was worked out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import streamlit as st

from pages.ui.charts import roomy
from sizing.units import format_bytes

STYLE = """<style>
.st-key-size_figures [data-testid="stPopover"] button { padding: 0; min-height: 1.6rem; }
.st-key-size_figures [data-testid="stMetricValue"] { padding: 0; }
</style>"""


@dataclass(frozen=True, slots=True)
class Figure:
    """A name, the figure with its unit, and what draws the way it was worked out."""

    name: str
    text: str
    explain: Callable[[], None]


def show(figures: Sequence[Figure], last: Callable[[], None], width: int = 155) -> None:
    """The figures side by side, each `width` pixels wide; `last` draws what stands at the row's end."""
    st.html(STYLE)
    row = st.container(horizontal=True, gap="medium", vertical_alignment="top", key="size_figures")
    for figure in figures:
        with row.container(width=width, gap=None, key=f"figure_{figure.name}"):
            with st.popover(figure.name, type="tertiary", help="How it is worked out"):
                figure.explain()
            st.metric(figure.name, roomy(figure.text), label_visibility="collapsed")
    with row.container(width="content", gap=None):
        last()


def list_sum_lines(parts: Iterable[tuple[str, int]]) -> list[str]:
    """Parts in bytes and their sum as the lines of a markdown table; empty parts are left out."""
    held = [(name, n_bytes) for name, n_bytes in parts if n_bytes]
    total = sum(n_bytes for _, n_bytes in held)
    return [
        "| part | size | bytes |",
        "|:--|--:|--:|",
        *(f"| {name} | {format_bytes(n_bytes)} | {n_bytes:,} |" for name, n_bytes in held),
        f"| **total** | **{format_bytes(total)}** | **{total:,}** |",
    ]

"""Sources: where every fact comes from, how many there are, and what nobody checked yet."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from catalog.models import ModelCard
from catalog.queries import Source
from pages.ui import cached, frame, tables

TABLE_WORDS = {
    "benchmarks": "published scores",
    "families": "families",
    "file_sizes": "file sizes",
    "hardware": "hardware",
    "license_clauses": "licence clauses",
    "licenses": "licences",
    "model_layers": "layers",
    "model_sources": "models",
    "models": "models",
    "quant_quality": "quantization loss",
    "weigh_gaps": "weights",
    "weights": "weights",
}

NAME_PIXELS = 190
"""Width of the column of names: on a phone something of the text beside it is to be seen."""
MAX_ROWS = 2000
"""Rows of each table that are listed; a catalog with thousands of imports has many more."""


def show() -> None:
    """Counts, then what is unverified, then the sources themselves."""
    cards = cached.list_cards()
    sources = cached.list_sources()
    unverified = [c for c in cards if c.confidence != "read" or c.unverified]
    st.html(
        f'<h1 class="wb-answer">{len(cards) - len(unverified)} of {len(cards)} models rest on facts read at a source; '
        f"{len(unverified)} hold something nobody checked yet.</h1>"
        f'<p class="wb-quiet">{sum(s.n_rows for s in sources):,} rows of fact from {len(sources):,} addresses, '
        f"read up to {max(s.as_of for s in sources)}. A row without a source is refused when the catalog is loaded.</p>"
    )
    show_unverified(unverified)
    show_sources(sources)
    version = cached.catalog().version.text
    st.caption(f"Catalog {version}: the day of the newest fact and a hash over all fact files, without your imports.")


def show_unverified(cards: Sequence[ModelCard]) -> None:
    """The models that hold something nobody checked, and what it is."""
    if not cards:
        return
    st.subheader(f"Unverified: {len(cards)} models", anchor=False)
    table = pd.DataFrame(
        {
            "Model": [c.spec.name for c in cards[:MAX_ROWS]],
            "What stays unverified": ["; ".join(c.unverified) or frame.RECALLED for c in cards[:MAX_ROWS]],
        }
    )
    config = {
        "Model": st.column_config.TextColumn(width=NAME_PIXELS),
        "What stays unverified": st.column_config.TextColumn(width="large"),
    }
    height = frame.table_height(len(cards), 360)
    tables.show_table(table, "unverified", name="unverified-facts", height=height, column_config=config)
    say_more(len(cards))


def show_sources(sources: Sequence[Source]) -> None:
    """Every address that facts were read at, those of most rows first."""
    st.subheader(f"Sources: {len(sources):,}", anchor=False)
    shown = sources[:MAX_ROWS]
    table = pd.DataFrame(
        {
            "Address": [s.source_url for s in shown],
            "Rows": [s.n_rows for s in shown],
            "Facts about": [", ".join(dict.fromkeys(TABLE_WORDS.get(t, t) for t in s.tables)) for s in shown],
            "Read": [s.as_of for s in shown],
        }
    )
    config = {
        "Address": st.column_config.LinkColumn(display_text=r"https?://(.*)", width="large"),
        "Rows": st.column_config.NumberColumn(format="localized", width="small", alignment="right"),
    }
    tables.show_table(table, "sources", height=frame.table_height(len(sources), 500), column_config=config)
    say_more(len(sources))


def say_more(n_rows: int) -> None:
    """How many rows of a long table are left out."""
    if n_rows > MAX_ROWS:
        st.caption(f"The first {MAX_ROWS:,} are listed, {n_rows - MAX_ROWS:,} more are counted.")


with frame.kind_errors():
    frame.open_page()
    show()

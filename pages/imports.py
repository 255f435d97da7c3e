"""Import: models from the Hub, model files and servers on this machine, and what is being downloaded."""

from __future__ import annotations

from html import escape

import streamlit as st

from pages.ui import cached, frame, import_downloads, import_here, import_hub
from pages.ui.charts import roomy

HUB, HERE, DOWNLOADS = "From the Hub", import_hub.HERE, "Downloads"


def show(question: frame.Question) -> None:
    """What was taken in so far, then the three places models come from."""
    import_here.take_in_wanted()
    show_headline()
    hub, here, downloads = st.tabs((HUB, HERE, DOWNLOADS))
    with hub:
        import_hub.show(question)
    with here:
        import_here.show(question)
    with downloads:
        import_downloads.show()


def show_headline() -> None:
    """How many models were imported, and where they stand now."""
    n = len(cached.list_imported_ids())
    if not n:
        st.html(
            '<h1 class="wb-answer">Nothing was imported yet.</h1><p class="wb-quiet">Search the Hub for a model, or '
            "pick a model file on this machine. What is taken in stands in Choose, Size and Catalog at once, also "
            "without a network.</p>"
        )
        return
    said = "1 model was imported" if n == 1 else f"{n:,} models were imported"
    curated = cached.catalog().n_curated
    st.html(
        f'<h1 class="wb-answer">{escape(roomy(said))}.</h1><p class="wb-quiet">They stand beside {curated:,} curated '
        "ones in Choose, Size and Catalog, also without a network.</p>"
    )


with frame.kind_errors():
    show(frame.open_page())

"""Sources: where every fact comes from, how many there are, and what nobody checked yet."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pages.ui import cached, frame


def show() -> None:
    """Counts, then what is unverified, then the sources themselves."""
    cards = cached.list_cards()
    unverified = [c for c in cards if c.confidence != "read" or c.unverified]
    st.html(
        f'<p class="wb-answer">{len(cards)} models, {len(cards) - len(unverified)} with every fact read from a source; '
        f"{len(unverified)} hold something nobody checked yet.</p>"
    )
    st.subheader("Unverified", anchor=False)
    st.dataframe(
        pd.DataFrame(
            {
                "Model": [c.spec.name for c in unverified],
                "What stays unverified": [
                    "; ".join(c.unverified) or "recalled, not read from the publisher's files" for c in unverified
                ],
            }
        ),
        hide_index=True,
        height=320,
        key="unverified",
        column_config={"What stays unverified": {"width": "large"}},
    )


frame.open_page()
with frame.kind_errors():
    show()

"""Evaluate: run these models on these suites for five minutes, and read what the answers are worth."""

from __future__ import annotations

import streamlit as st

from pages.ui import (
    evaluate_damage,
    evaluate_detail,
    evaluate_headline,
    evaluate_live,
    evaluate_own,
    evaluate_results,
    evaluate_setup,
    evaluation,
    frame,
    inputs,
)
from pages.ui.evaluate_fields import TAB_WORDS
from pages.ui.evaluate_words import STYLE


def show() -> None:
    """The headline, the sentence, the live list, then what was measured."""
    st.html(STYLE)
    summaries = evaluation.list_summaries()
    own = evaluation.list_own()
    titles = evaluation.title_suites(own)
    evaluate_headline.show(summaries)
    evaluate_setup.show(summaries, own)
    evaluate_live.show(titles)
    results, damage, data = inputs.tabs("eval_tab", TAB_WORDS)
    with results:
        evaluate_results.show(summaries, titles)
        evaluate_detail.show(summaries, titles)
    with damage:
        evaluate_damage.show(summaries)
    with data:
        evaluate_own.show(own)


with frame.kind_errors():
    asked = frame.open_page()
    show()
    frame.link_onward("evaluate", asked)

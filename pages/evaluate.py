"""Evaluate: run these models on these suites for five minutes, and read what the answers are worth."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from evals.results import RunSummary
from evals.run_files import RunState
from evals.stats import Verdict
from pages.ui import (
    evaluate_damage,
    evaluate_detail,
    evaluate_live,
    evaluate_own,
    evaluate_results,
    evaluate_setup,
    evaluation,
    frame,
)
from pages.ui.charts import roomy
from pages.ui.evaluate_words import (
    STYLE,
    describe_verdict,
    format_with_interval,
    lower_first,
    name_run,
)

RESULTS, DAMAGE, OWN = "Results", "Quantization damage", "Your own data"


def show() -> None:
    """The headline, the sentence, the live list, then what was measured."""
    st.html(STYLE)
    summaries = evaluation.list_summaries()
    own = evaluation.list_own()
    titles = evaluation.title_suites(own)
    show_headline(summaries)
    evaluate_setup.show(summaries, own)
    evaluate_live.show(titles)
    results, damage, data = st.tabs((RESULTS, DAMAGE, OWN))
    with results:
        evaluate_results.show(summaries, titles)
        evaluate_detail.show(summaries, titles)
    with damage:
        evaluate_damage.show(summaries)
    with data:
        evaluate_own.show(own)


def show_headline(summaries: Sequence[RunSummary]) -> None:
    """What was found last: two models against each other where both ran the same suite, else one score."""
    scored = evaluate_results.list_scored(summaries)
    done = [s for s in scored if s.state is RunState.DONE]
    if not done and any(s.state.is_over for s in scored):
        st.html('<h1 class="wb-answer">No run was finished on this machine yet; what was measured stands below.</h1>')
        return
    if not done:
        st.html(
            '<h1 class="wb-answer">Nothing was measured on this machine yet.</h1><p class="wb-quiet">Published scores '
            "choose candidates; a test here decides. The demonstration model needs no download.</p>"
        )
        return
    st.html(f'<h1 class="wb-answer">{escape(roomy(say_latest(done)))}.</h1>')


def say_latest(done: Sequence[RunSummary]) -> str:
    """The newest finished run in one sentence, against the newest comparable one where there is one."""
    newest = done[0]
    usual = evaluate_detail.find_usual(done)
    other = next((s for s in done if s.run.run_id == usual[0]), newest)
    if len(usual) == 2:
        for found in evaluation.compare_runs(other, newest):
            if found.comparison is not None:
                names = evaluate_detail.name_both(other, newest)
                said = describe_verdict(found.comparison, *names)
                if found.comparison.verdict is Verdict.NOT_DISTINGUISHABLE:
                    return f"{names[0]} and {names[1]} in {lower_first(found.title)}: {said[0].lower()}{said[1:]}"
                return f"{found.title}: {said}"
    score = next(s for s in newest.scores if s.value is not None)
    return f"{name_run(newest)}: {format_with_interval(score)} in {lower_first(score.title)}, n = {score.n_items:,}"


with frame.kind_errors():
    frame.open_page()
    show()

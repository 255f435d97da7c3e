"""What was found last, in one sentence: two models against each other where both ran a suite, else one score."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from evals.results import RunSummary
from evals.run_files import RunState
from evals.stats import Comparison, Verdict
from pages.ui import evaluate_detail, evaluate_results, evaluation, frame
from pages.ui.charts import roomy
from pages.ui.evaluate_words import (
    describe_verdict,
    format_percent,
    format_with_interval,
    lower_first,
    name_run,
    part_names,
)

MAX_OTHERS = 2
"""Further suites of the two runs that are told under the sentence; the others stand in the table of the pair."""


def show(summaries: Sequence[RunSummary]) -> None:
    """The sentence and the quiet line under it."""
    scored = evaluate_results.list_scored(summaries)
    done = [s for s in scored if s.state is RunState.DONE]
    told, under = say_latest(done) if done else say_nothing(any(s.state.is_over for s in scored))
    st.html(
        f'<h1 class="wb-answer">{escape(roomy(told))}.</h1>'
        + (f'<p class="wb-quiet">{escape(roomy(under))}</p>' if under else "")
    )


def say_nothing(has_unfinished: bool) -> tuple[str, str]:
    """What stands there before the first run is finished."""
    if has_unfinished:
        return "No run was finished on this machine yet", "What was measured stands below."
    return (
        "Nothing was measured on this machine yet",
        "Published scores choose candidates; a test here decides. The demonstration model needs no download.",
    )


def say_latest(done: Sequence[RunSummary]) -> tuple[str, str]:
    """The newest finished run, against the newest comparable one where there is one, and what else there is to say."""
    newest = done[0]
    usual = evaluate_detail.find_usual(done)
    other = next((s for s in done if s.run.run_id == usual[0]), newest)
    found = evaluation.compare_runs(other, newest) if len(usual) == 2 else ()
    compared = [(f.title, f.comparison) for f in found if f.comparison is not None]
    if compared:
        return say_pair(compared, *evaluate_detail.name_both(other, newest))
    score = next(s for s in newest.scores if s.value is not None)
    return (
        f"{name_run(newest)}: {format_with_interval(score)} in {lower_first(score.title)}",
        f"On {score.n_items:,} items; the 95% interval in brackets.",
    )


def say_pair(compared: Sequence[tuple[str, Comparison]], name_a: str, name_b: str) -> tuple[str, str]:
    """Which of two is better in the first suite, or that they are not distinguishable; under it every other suite."""
    stem, (a, b) = part_names((name_a, name_b))
    title, first = compared[0]
    low, high = sorted((format_percent(first.mean_a), format_percent(first.mean_b)), key=lambda t: float(t[:-1]))
    if first.verdict is Verdict.NOT_DISTINGUISHABLE:
        said = f"{a} and {b} are not distinguishable"
        figures = f"{format_percent(first.mean_a)} against {format_percent(first.mean_b)}"
        _, _, tail = describe_verdict(first, a, b).partition("; ")
    else:
        better, worse = (a, b) if first.verdict is Verdict.A_BETTER else (b, a)
        said, figures, tail = f"{better} is better than {worse}", f"{high} against {low}", ""
    head = f"{stem}: {said}" if stem else said
    others = [f"{t}: {lower_first(describe_verdict(c, a, b))}" for t, c in compared[1 : 1 + MAX_OTHERS]]
    more = len(compared) - 1 - len(others)
    under = [
        f"on {first.n:,} items that both answered" + (f"; {tail}" if tail else ""),
        *others,
        *([f"{more} more suites below"] if more else []),
    ]
    return f"{head} in {lower_first(title)}, {figures}", " ".join(frame.to_sentence(part) for part in under)

"""A quiet line where a model on another page was measured on this machine, and the way to the run."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import eval_queue, inputs
from pages.ui.charts import roomy
from sizing.units import THIN, format_figures

if TYPE_CHECKING:
    from evals.results import RunSummary, SuiteScore

MAX_SCORES = 3


def show(model_id: str, quant: str, *, with_link: bool = True) -> None:
    """What was measured here of a model in a quantization; nothing where nothing was."""
    if not eval_queue.has_runs():
        return
    from pages.ui import evaluation  # for those who have runs; the first page comes without

    found = evaluation.measured_here(model_id, quant)
    if not found:
        return
    st.html(f'<p class="wb-quiet">{escape(roomy(describe_measured(found)))}</p>')
    if with_link:
        st.page_link(
            "pages/evaluate.py",
            label="The answers it gave",
            icon=":material/fact_check:",
            query_params=inputs.address_of(runs=found[0][0].run.run_id),
        )


def describe_measured(found: tuple[tuple[RunSummary, SuiteScore], ...]) -> str:
    """'Measured here: 78% of arithmetic (71 to 84), 12.3 tokens/s, 2026-11-25': the newest score of each suite."""
    from pages.ui.evaluate_words import format_interval, format_moment, format_score, is_share, lower_first

    newest: dict[str, tuple[RunSummary, SuiteScore]] = {}
    for summary, score in found:
        newest.setdefault(score.suite, (summary, score))
    shown = list(newest.values())[:MAX_SCORES]
    parts = []
    for _, score in shown:
        of = "of" if is_share(score) else "in"
        parts.append(f"{format_score(score, score.value)} {of} {lower_first(score.title)} ({format_interval(score)})")
    summary = shown[0][0]
    if summary.decode_tokens_per_s:
        side = summary.run.facts.n_parallel if summary.run.facts else 0
        together = f" with {side} side by side" if side > 1 else ""
        parts.append(f"{format_figures(summary.decode_tokens_per_s)}{THIN}tokens/s{together}")
    parts.append(format_moment(summary.run.plan.created_at)[:10])
    return f"Measured here: {', '.join(parts)}."

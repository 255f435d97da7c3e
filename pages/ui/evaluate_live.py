"""The live list: what runs, what waits, what stopped before its end. Every tab reads the same run files."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import streamlit as st

from evals.plans import RunKind
from evals.results import RunSummary
from evals.run_files import RunState
from pages.ui import eval_queue, evaluate_endpoint, evaluation, frame, inputs
from pages.ui.charts import roomy
from pages.ui.evaluate_damage import describe_progress
from pages.ui.evaluate_words import STATE_WORDS, describe_pace, describe_suites, name_run, scores_html
from pages.ui.markdown_text import escape_markdown
from sizing.errors import WeighbridgeError

LIVE_S = 1.0
IDLE_S = 5.0
"""How often a page looks whether another tab or the command line has started something."""

MAX_STOPPED = 4
"""How many stopped runs are listed; the others are in the table of runs."""


def show(titles: Mapping[str, str]) -> None:
    """The list, drawn anew every second while something runs."""
    if any(evaluation.is_active(s) for s in evaluation.list_summaries()):
        _draw_live(titles, evaluation.find_signature())
    else:
        _draw_still(titles, evaluation.find_signature())


@st.fragment(run_every=LIVE_S)
def _draw_live(titles: Mapping[str, str], drawn: tuple[tuple[str, str], ...]) -> None:
    _draw(titles, drawn)


@st.fragment(run_every=IDLE_S)
def _draw_still(titles: Mapping[str, str], drawn: tuple[tuple[str, str], ...]) -> None:
    _draw(titles, drawn)


def _draw(titles: Mapping[str, str], drawn: tuple[tuple[str, str], ...]) -> None:
    """Everything that is not done; the whole page once a run began or ended since it was `drawn`."""
    if evaluation.find_signature() != drawn:
        st.rerun()
    summaries = evaluation.list_summaries()
    running = [s for s in summaries if s.state is RunState.RUNNING]
    waiting = [s for s in reversed(summaries) if s.state is RunState.QUEUED]
    stopped = [s for s in summaries if evaluation.needs_attention(s)][:MAX_STOPPED]
    if not (running or waiting or stopped):
        return
    with st.container(key="eval_live", gap="small"):
        problem = inputs.take("live_problem", "")
        if problem:
            st.warning(escape_markdown(frame.to_sentence(problem)), icon=":material/error:")
        for summary in running:
            show_running(summary, titles)
        for place, summary in enumerate(waiting, start=1):
            show_waiting(summary, titles, place)
        for summary in stopped:
            show_stopped(summary, titles)


def show_running(summary: RunSummary, titles: Mapping[str, str]) -> None:
    """The run at work: its pace, what it does, and every suite's running score."""
    run_id = summary.run.run_id
    with st.container(border=True, key=f"live_{run_id}", gap="small"):
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.html(
                f'<p class="wb-figures">{escape(name_run(summary))}</p>'
                f'<p class="wb-quiet">{escape(roomy(describe_pace(summary)))}</p>',
                width="stretch",
            )
            _button("Cancel", run_id, "cancel", ":material/stop_circle:")
        is_text = summary.run.plan.kind is RunKind.DIVERGENCE
        found = f"<p>{escape(roomy(describe_progress(summary)))}.</p>" if is_text else scores_html(summary)
        st.html(found + f'<p class="wb-quiet">{escape(frame.to_sentence(summary.run.said or "starting"))}</p>')


def show_waiting(summary: RunSummary, titles: Mapping[str, str], place: int) -> None:
    """One line for a run in the queue."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key=f"live_{summary.run.run_id}"):
        where = "next" if place == 1 else f"number {place}"
        told = f"{name_run(summary)} on {describe_suites(summary, titles)}"
        st.html(f"<p><b>Waiting, {where}:</b> {escape(told)}</p>", width="stretch")
        _button("Cancel", summary.run.run_id, "cancel", ":material/stop_circle:")


def show_stopped(summary: RunSummary, titles: Mapping[str, str]) -> None:
    """One line for a run that did not come to its end, why, and how to go on."""
    run = summary.run
    why = run.reason or ("the app or its worker ended" if run.state is RunState.INTERRUPTED else "")
    done = f"{summary.n_done:,} items are kept" if summary.n_done else "no item was finished"
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key=f"live_{run.run_id}"):
        told = f"{name_run(summary)} on {describe_suites(summary, titles)}"
        st.html(
            f"<p><b>{STATE_WORDS[run.state]}:</b> {escape(told)}<br>"
            f'<span class="wb-quiet">{escape(frame.to_sentence("; ".join(p for p in (why, done) if p)))}</span></p>',
            width="stretch",
        )
        _button("Resume", run.run_id, "resume", ":material/resume:")
        _button("Remove", run.run_id, "remove", ":material/delete:")


def _button(label: str, run_id: str, what: str, icon: str) -> None:
    st.button(label, key=f"{what}_{run_id}", type="tertiary", icon=icon, on_click=_act, args=(what, run_id))


def _act(what: str, run_id: str) -> None:
    inputs.remember("live_problem", act(what, run_id) or "")


def act(what: str, run_id: str) -> str | None:
    """Cancel, resume or remove a run; why that failed, if it did."""
    queue = eval_queue.find_queue()
    try:
        if what == "cancel":
            queue.cancel(run_id)
        elif what == "remove":
            queue.remove(run_id)
        else:
            plan = next(s.run.plan for s in evaluation.list_summaries() if s.run.run_id == run_id)
            address = plan.model.url or (plan.judge.url if plan.judge is not None else "")
            queue.resume(run_id, evaluate_endpoint.find_key(address) or None)
    except StopIteration:
        return "the run is gone; another tab has removed it"
    except (WeighbridgeError, OSError) as error:
        return str(error)
    return None

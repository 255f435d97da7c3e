"""The recommendation of the Choose page for an engine other than llama.cpp."""

from __future__ import annotations

from html import escape

import streamlit as st

from pages.ui import charts, decision_report, engine_answers, engine_words, evidence, frame, launches, words
from pages.ui.engine_answers import EngineAsk
from sizing.candidate import Needs
from sizing.engines import EngineEstimate
from sizing.launch import Launch
from sizing.options import Option
from sizing.recommend import Recommendation


def ask_again(option: Option, question: frame.Question) -> EngineEstimate:
    """The engine's whole answer behind an option: with capacity, split and differences."""
    asked = engine_answers.read_question(question.wishes)
    model_id = option.candidate.spec.model_id
    return engine_answers.size(EngineAsk(question.wishes.engine, model_id, option.quant, asked, question.machine))


def list_figures(option: Option, question: frame.Question) -> list[str]:
    """What an option costs and gives."""
    return engine_words.list_figures(ask_again(option, question), option.candidate.license_name)


def show_answer(best: Option, question: frame.Question, needs: Needs) -> None:
    """The recommendation: sentence, memory bar, reasons, how to start it."""
    answer = ask_again(best, question)
    figures = engine_words.list_figures(answer, best.candidate.license_name)
    st.html(frame.answer_html(best.name, f"{best.quant} in {answer.engine}", figures))
    bar = charts.memory_bar(words.order_devices(best.estimate))
    frame.show_chart(bar, "best_memory", words.describe_memory(best.estimate))
    items = "".join(f"<li>{escape(frame.to_sentence(reason))}</li>" for reason in best.reasons[:4])
    st.html(
        f'<p class="wb-verdict">{frame.format_verdict(best.verdict)}, {frame.describe_workload(needs.workload)}</p>'
        f'<ul class="wb-list">{items}</ul>'
    )
    starts = engine_answers.list_starts(best.candidate.spec.model_id, answer)
    start = launches.show_picked(starts, "choose") if starts else None
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        found = engine_answers.recommend(question.wishes, question.machine, needs)
        show_actions(best, found, question, needs, start)


def show_actions(
    best: Option, found: Recommendation, question: frame.Question, needs: Needs, start: Launch | None
) -> None:
    """What can be done with a recommendation, in a row of the page's: its figures, what it rests on, its report."""
    model_id = best.candidate.spec.model_id
    frame.link_to_size(model_id, best.quant, "Every figure of it")
    evidence.show_basis(model_id, needs.task, "best", best.estimate.memory.assumptions)
    decision_report.show(found, question, needs, start.text if start else "")

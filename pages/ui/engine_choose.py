"""The recommendation of the Choose page for an engine other than llama.cpp."""

from __future__ import annotations

from html import escape

import streamlit as st

from pages.ui import charts, engine_answers, engine_size, engine_words, evidence, frame, words
from pages.ui.engine_answers import EngineAsk
from sizing.candidate import Needs
from sizing.engines import EngineEstimate
from sizing.options import Option


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
    engine_size.show_starts(answer, engine_answers.list_starts(answer), "choose_starts")
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        frame.link_to_size(best.candidate.spec.model_id, best.quant, "Every figure of it")
        evidence.show(best.candidate.spec.model_id, needs.task, "best")
        frame.show_assumptions(best.estimate)

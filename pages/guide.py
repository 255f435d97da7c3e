"""Guide: what the words mean, taught with live figures of one example model on the machine in the bar."""

from __future__ import annotations

import streamlit as st

from pages.ui import (
    cached,
    frame,
    guide_cache,
    guide_context,
    guide_experts,
    guide_frame,
    guide_offload,
    guide_running,
    guide_weights,
    inputs,
)
from sizing.quants import QUANTS

TOPICS = {
    "openness": guide_weights.show_openness,
    "bits": guide_weights.show_bits,
    "quants": guide_weights.show_quants,
    "attention": guide_cache.show_attention,
    "windows": guide_context.show_windows,
    "recurrent": guide_context.show_recurrent,
    "rope": guide_context.show_rope,
    "experts": guide_experts.show_experts,
    "pages": guide_cache.show_pages,
    "buffers": guide_running.show_buffers,
    "roofline": guide_running.show_roofline,
    "offload": guide_offload.show_offload,
}


WITH_QUANT = frozenset({"bits", "quants", "experts", "pages", "roofline", "offload"})
"""Topics whose figures follow the quantization; the others do not ask for one."""


def show(question: frame.Question) -> None:
    """The topic and its example, then the chosen topic alone."""
    lesson = guide_frame.read_lesson(question)
    topic = inputs.read("topic")
    show_chosen(topic, lesson)
    TOPICS[topic](lesson)
    guide_frame.go_to_next(topic)


def show_chosen(topic: str, lesson: guide_frame.Lesson) -> None:
    """The topic, and the example all its figures follow: the model, and its quantization where it matters."""
    choices = cached.list_choices()
    names = choices.with_model(lesson.card)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        inputs.choice("topic", "Topic", tuple(TOPICS), inputs.TOPICS, width=230)
        shown, more = lesson.card.model_id, choices.has_more
        inputs.choice("model", "Example model", tuple(names), names, shown=shown, width=310, may_type=more)
        if topic in WITH_QUANT:
            known = tuple(w.quant for w in cached.list_weights(lesson.card.model_id))
            order = tuple(sorted(known, key=lambda q: -QUANTS[q].nominal_bits_per_weight if q in QUANTS else 0))
            inputs.choice("quant", "Quantization", order or (lesson.quant,), shown=lesson.quant, width=140)


with frame.kind_errors():
    show(frame.open_page())

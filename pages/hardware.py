"""Hardware: which machine runs a model fast enough, what more memory opens, and how much context one gives."""

from __future__ import annotations

from dataclasses import replace
from html import escape

import streamlit as st

from catalog.models import ModelCard
from pages.ui import (
    cached,
    engine_answers,
    engine_size,
    frame,
    hardware_answer,
    hardware_devices,
    hardware_memory,
    inputs,
    model_picker,
)
from pages.ui.markdown_text import escape_markdown
from sizing.engines import Engine, find_engine
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.inverse import GOOD_QUANTS
from sizing.workload import Workload

ANY_QUANT = ""


def show(question: frame.Question) -> None:
    """The model, the answer and its evidence, then the machine of the context bar, then every listed device."""
    if not question.wishes.is_llama_cpp:
        show_in_engine(find_engine(question.wishes.engine), question)
        hardware_devices.show_machine(question)
        hardware_devices.show_listed()
        return
    card = frame.find_chosen(question)
    known = tuple(w.quant for w in cached.list_weights(card.model_id))
    quant = choose_quant(known)
    show_knobs(card, "quant", "Quantization", model_picker.order_quants(known), quant or ANY_QUANT)
    if known:
        show_answers(card, quant, question)
    else:
        st.html(f'<h1 class="wb-answer">{escape(card.spec.name)} cannot be sized for llama.cpp.</h1>')
        st.markdown(f"{frame.to_sentence(cached.find_gap(card.model_id))} No machine is named in its place.")
    hardware_devices.show_machine(question)
    hardware_devices.show_listed()


def show_in_engine(engine: Engine, question: frame.Question) -> None:
    """The model, which machines run it in an engine other than llama.cpp, and contexts and users on the one here."""
    card = engine_size.find_chosen(question)
    known = tuple(w.quant for w in cached.list_weights(card.model_id)) if engine.takes_gguf else engine.formats
    named = inputs.read_size_choice().quant if engine.takes_gguf else inputs.read_engine_choice().weight_format
    chosen = next((name for name in known if name.casefold() == named.casefold()), "")
    if named and known and not chosen:
        hint = frame.say_near(named, known)
        st.warning(f"{escape_markdown(named)} is no format here.{hint} Taking any that fits instead.")
    if engine.takes_gguf:
        show_knobs(card, "quant", "Quantization", known, chosen)
    else:
        show_knobs(card, "format", "Weight format", known, chosen)
    wishes, asked = question.wishes, engine_answers.read_question(question.wishes)
    spill = inputs.read("offload") == "on"
    try:
        answer = engine_answers.find_hardware(engine.name, card.model_id, chosen, asked, wishes.min_tokens_per_s, spill)
    except (BadInputError, UnknownNameError) as error:
        st.warning(frame.to_sentence(str(error)), icon=":material/rule:")
        return
    workload = Workload(context_tokens=wishes.context_tokens, n_parallel=wishes.n_parallel)
    hardware_answer.show_sentence(card, chosen or None, answer, workload, question)
    told = answer.cheapest or next(iter(answer.unpriced), None)
    if told is not None:
        hardware_answer.show_found(card, answer)
    ask = engine_answers.EngineAsk(engine.name, card.model_id, chosen, asked, question.machine)
    ask = replace(ask, weight_format=engine_answers.choose_format(ask, chosen))
    try:
        grid = engine_answers.list_grid(ask)
    except (UnsupportedError, BadInputError) as error:
        st.subheader(f"Context times users on {hardware_memory.name_machine(question)}", anchor=False)
        st.caption(frame.to_sentence(str(error)))
        return
    hardware_memory.draw_grid(card, f"{ask.weight_format} in {engine.name}", grid, question)


def choose_quant(known: tuple[str, ...]) -> str | None:
    """The quantization in the address where the model has it; None for any good one."""
    chosen = inputs.read_size_choice().quant
    if chosen and known and chosen not in known:
        st.warning(frame.say_unlisted(chosen, known, "Taking any good quantization instead."))
    return chosen if chosen in known else None


def show_knobs(card: ModelCard, field: str, label: str, formats: tuple[str, ...], chosen: str) -> None:
    """One row: the model, its quantization or format, and whether part of it may run beside a card."""
    with st.container(horizontal=True, gap="small"):
        model_picker.show(card, width=380)
        inputs.choice(field, label, (ANY_QUANT, *formats), {ANY_QUANT: "Largest that fits"}, shown=chosen, width=190)
        inputs.choice("offload", "Part on the host", ("off", "on"), {"off": "Not allowed", "on": "Allowed"}, width=150)


def show_answers(card: ModelCard, quant: str | None, question: frame.Question) -> None:
    """Which machine does it; what memory opens; contexts and users on the machine in the bar."""
    wishes = question.wishes
    workload = Workload(context_tokens=wishes.context_tokens, n_parallel=wishes.n_parallel)
    spill = inputs.read("offload") == "on"
    try:
        answer = cached.find_hardware(card.model_id, quant, workload, wishes.min_tokens_per_s, spill)
    except BadInputError as error:
        st.warning(frame.to_sentence(str(error)), icon=":material/rule:")
        return
    told = answer.cheapest or next(iter(answer.unpriced), None)
    hardware_answer.show_sentence(card, quant, answer, workload, question)
    if told is not None:
        hardware_answer.show_found(card, answer)
    unlocks = cached.list_unlocks(card.model_id, quant, workload, spill, question.machine)
    here = next((u.quant for u in unlocks if u.quant), None) or (told.quant if told else GOOD_QUANTS[0])
    hardware_memory.show_unlocks(card, quant, unlocks, workload, question)
    hardware_memory.show_grid(card, quant or here, workload, question)


with frame.kind_errors():
    asked = frame.open_page(has_engine=True)
    show(asked)
    frame.link_onward("hardware", asked)

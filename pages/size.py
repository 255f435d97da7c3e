"""Size: one model in every quantization on one machine, every figure open to its formula."""

from __future__ import annotations

from functools import partial
from html import escape

import pandas as pd
import streamlit as st

from catalog.models import ModelCard
from pages.ui import (
    bench,
    best_way,
    by_hand,
    cached,
    charts,
    context_sweep,
    engine_alike,
    engine_answers,
    engine_size,
    evaluate_measured,
    figures,
    frame,
    get_file,
    inputs,
    launches,
    many_machines,
    model_picker,
    tables,
    words,
)
from sizing.engines.offers import EngineQuestion
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.estimate import Estimate
from sizing.explain import PartFormula
from sizing.hardware import Machine
from sizing.placement import Offload
from sizing.units import GIB, format_bytes, format_range

FALLBACK_QUANT = "Q4_K_M"


def show(question: frame.Question) -> None:
    """The whole page below the context bar."""
    if not question.wishes.is_llama_cpp:
        engine_size.show(question)
        return
    card, usual = find_chosen(question)
    weights = cached.list_weights(card.model_id)
    known = tuple(w.quant for w in weights)
    quant = choose_quant(known, usual)
    machine, choice = question.machine, inputs.read_size_choice()
    draft, has_projector = by_hand.read_beside(card)
    offload = by_hand.read_offload(card, machine)
    show_knobs(card, quant, known, machine, offload, draft)
    asked = EngineQuestion(question.wishes.context_tokens, question.wishes.n_parallel)
    if not weights:
        show_gap(card, cached.find_gap(card.model_id))
        engine_alike.show(card, asked, machine, quant)
        return
    setup, sized = None, None
    try:
        workload = choice.to_workload(question.wishes)
        setup = cached.Setup(card.model_id, quant, workload, machine, offload, draft, has_projector)
        sized = cached.size_setup(setup)
    except UnsupportedError as error:
        show_gap(card, str(error))
        return
    except (BadInputError, UnknownNameError) as error:
        st.warning(frame.to_sentence(str(error)), icon=":material/rule:")
    if setup is None or sized is None:
        best_way.show(best_way.reserve(), card.model_id, None, question, choice.n_ubatch)
        if setup is not None and setup.workload.context_tokens > card.spec.context_tokens:
            context_sweep.show(card, setup)
        return
    show_sized(card, setup, sized, question)
    engine_alike.show(card, asked, machine, quant)
    many_machines.show(card, quant, question)


def show_sized(card: ModelCard, setup: cached.Setup, sized: cached.Sized, question: frame.Question) -> None:
    """The answer for a configuration, and below it what else could be asked of the model here."""
    quant, workload, machine = setup.quant, setup.workload, setup.machine
    show_answer(card, setup, sized, question)
    place = best_way.reserve()
    left, right = st.columns(2, gap="large")
    with right:
        show_quants(card, setup, question)
    if sized.told.fit.runs:
        beside = by_hand.name_beside(sized, setup)
        starts = engine_answers.list_llama_cpp_starts(card.model_id, (quant, workload, machine), sized.main, beside)
        launches.show(starts, "size")
    best_way.show(place, card.model_id, setup, question, workload.n_ubatch)
    with left:  # what takes longest to work out comes last
        context_sweep.show(card, setup)


def find_chosen(question: frame.Question) -> tuple[ModelCard, str]:
    """The model in the address and its usual quantization; for none or an unknown one, the recommended pair."""
    chosen = inputs.read_size_choice().model
    if chosen:
        try:
            return cached.find_card(chosen), FALLBACK_QUANT
        except UnknownNameError as error:
            said = f"{frame.to_sentence(str(error))} Showing another model instead."
            st.warning(said, icon=":material/edit_location_alt:")
    best = cached.recommend(question.machine, cached.build_needs(question.wishes)).best
    if best is None:
        return cached.list_cards()[0], FALLBACK_QUANT
    return cached.find_card(best.candidate.spec.model_id), best.quant


def choose_quant(known: tuple[str, ...], usual: str) -> str:
    """The quantization in the address where the model has it, else the usual one."""
    chosen = inputs.read_size_choice().quant
    if chosen in known:
        return chosen
    if chosen and known:
        st.warning(frame.say_unlisted(chosen, known, "Showing another quantization instead."))
    return usual if usual in known or not known else known[0]


def show_knobs(
    card: ModelCard,
    quant: str,
    known: tuple[str, ...],
    machine: Machine,
    offload: Offload | None,
    draft: tuple[str, str] | None,
) -> None:
    """One row: the model and its quantization; the engine's settings folded."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        model_picker.show(card)
        inputs.choice("quant", "Quantization", model_picker.order_quants(known) or (quant,), shown=quant, width=140)
        by_hand.show_cache_knobs()
        by_hand.show_placement_knobs(card, machine, offload)
        by_hand.show_beside_knobs(card, draft)


def show_gap(card: ModelCard, reason: str) -> None:
    """A model the engine cannot weigh: no figure is made up for it."""
    st.html(f'<h1 class="wb-answer">{escape(card.spec.name)} cannot be sized for llama.cpp.</h1>')
    st.markdown(f"{frame.to_sentence(reason)} No figure is shown in its place.")


def show_answer(card: ModelCard, setup: cached.Setup, sized: cached.Sized, question: frame.Question) -> None:
    """The sentence, the figures with their formulas, the memory bar, and what llama.cpp says to it."""
    told, main, machine = sized.told, sized.main, question.machine
    verdict = frame.format_verdict(told.fit.verdict)
    reason = "; ".join(words.list_reasons(told))
    if not told.fit.runs and len(machine.accelerators) > 1 and setup.offload is None:
        reason += ". Divided as llama.cpp does by itself; another division may fit, see the best way below"
    st.html(
        f"{frame.answer_html(card.spec.name, setup.quant, words.list_figures(told, machine))}"
        f'<p><span class="wb-verdict">{verdict}, {frame.describe_workload(setup.workload)}.</span> '
        f'<span class="wb-quiet">{escape(frame.to_sentence(reason))}</span></p>'
    )
    bench.show_calibration(machine)
    evaluate_measured.show(card.model_id, setup.quant)
    figures.show(list_figures(setup, sized), lambda: frame.show_assumptions(told))
    bar = charts.memory_bar(words.order_devices(told), words.order_like_devices(sized.beside_bytes))
    frame.show_chart(
        bar, "size_memory", words.describe_memory(told), f"memory-{card.spec.name}-{setup.quant}-{machine.name}"
    )
    pinned = setup.offload if setup.draft is None and not setup.has_projector else main.offload
    about = "Asks about the model as it is placed here, not about its draft." if sized.pair else None
    links = partial(show_links, card.model_id, setup.quant)
    bench.show_checks(card.model_id, card.spec.name, setup.quant, setup.workload, question, pinned, about, beside=links)


def show_links(model_id: str, quant: str) -> None:
    """Where else the model can be taken from here."""
    frame.link_to_hardware(model_id, quant, "Which machines run it")
    frame.link_to_compare(model_id)
    get_file.show_for(model_id, quant)


def list_figures(setup: cached.Setup, sized: cached.Sized) -> list[figures.Figure]:
    """The total and its parts, each with its formula and the same with values."""
    parts, formulas = sized.main.memory.parts, cached.list_formulas(setup)
    cache = "KV cache and state" if parts.recurrent_state_bytes else "KV cache"
    shown: list[tuple[str, int, tuple[str, ...]]] = [
        ("Weights", parts.weight_bytes, ("weights",)),
        (cache, parts.kv_cache_bytes + parts.recurrent_state_bytes, ("KV cache", "recurrent state")),
        ("Compute", parts.compute_bytes + parts.output_bytes, ("compute", "output")),
    ]
    if sized.pair is not None:
        shown.append(("Draft", sum(sized.beside_bytes), ("draft",)))
    sums = [(f.part, f.n_bytes) for f in formulas]
    total = figures.Figure(
        "Total",
        format_bytes(sized.told.memory.total_bytes),
        lambda: st.markdown("\n".join(figures.list_sum_lines(sums))),
    )
    return [
        total,
        *(
            figures.Figure(name, format_bytes(n), partial(show_formulas, [f for f in formulas if f.part in keys]))
            for name, n, keys in shown
        ),
    ]


def show_formulas(formulas: list[PartFormula]) -> None:
    """Each part's formula and the same with values; parts of no bytes are left out."""
    for f in formulas:
        if f.n_bytes:
            st.markdown(f"**{frame.to_title(f.part)}** = {f.formula}")
            st.markdown("\n".join(f"- {line}" for line in f.with_values))
            st.caption(f"{f.n_bytes:,} bytes, {format_bytes(f.n_bytes)}")


def show_quants(card: ModelCard, setup: cached.Setup, question: frame.Question) -> None:
    """All quantizations of the model here, largest first."""
    rows = cached.list_quant_rows(setup)
    st.subheader(f"All {len(rows)} quantizations", anchor=False)
    picked = inputs.picked_row("quants")
    if picked is not None and picked < len(rows) and rows[picked].quant != setup.quant:
        frame.link_to_size(card.model_id, rows[picked].quant, f"Show {rows[picked].quant}")
    else:
        st.caption(
            "Largest first. Loss is in points of score against the unquantized model. Pick a row to see its figures."
        )
    table = pd.DataFrame(
        {
            "Quantization": [r.quant for r in rows],
            "Fit": [frame.format_verdict(r.estimate.fit.verdict) for r in rows],
            "Memory, GiB": [r.estimate.memory.total_bytes / GIB for r in rows],
            "Speed, tokens/s": [speed_text(r.estimate) for r in rows],
            "Loss, points": [r.loss_points if r.loss_points is not None else float("nan") for r in rows],
            "Loss from": [r.loss_label for r in rows],
        }
    )
    tables.show_table(
        words.style_table(table),
        height=330,
        key="quants",
        selection_mode="single-row",
        column_config=frame.right_aligned("Speed, tokens/s"),
    )


def speed_text(estimate: Estimate) -> str:
    """The decode interval, or why there is none."""
    decode = words.decode_of(estimate)
    if decode is not None:
        return format_range(decode.low, decode.high)
    return "does not run" if not estimate.fit.runs else words.UNKNOWN


with frame.kind_errors():
    asked = frame.open_page(has_engine=True)
    show(asked)
    frame.link_onward("size", asked)

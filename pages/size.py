"""Size: one model in every quantization on one machine, every figure open to its formula."""

from __future__ import annotations

from dataclasses import replace
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
    engine_alike,
    engine_answers,
    engine_size,
    evaluate_measured,
    frame,
    get_file,
    inputs,
    launches,
    many_machines,
    tables,
    words,
)
from sizing.engines.offers import EngineQuestion
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.estimate import Estimate
from sizing.explain import PartFormula
from sizing.hardware import Machine
from sizing.placement import Offload
from sizing.quants import KV_TYPES, QUANTS
from sizing.units import GIB, format_bytes, format_range, format_tokens
from sizing.workload import Workload

UBATCHES = tuple(str(2**n) for n in range(5, 13))
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
            show_context(card, setup)
        return
    show_sized(card, setup, sized, question)
    engine_alike.show(card, asked, machine, quant)
    many_machines.show(card, quant, question)


def show_sized(card: ModelCard, setup: cached.Setup, sized: cached.Sized, question: frame.Question) -> None:
    """The answer for a configuration, and below it what else could be asked of the model here."""
    quant, workload, machine = setup.quant, setup.workload, setup.machine
    show_answer(card, setup, sized, question)
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        frame.link_to_hardware(card.model_id, quant, "Which machines run it, and with how much context")
        frame.link_to_compare(card.model_id)
    get_file.show_for(card.model_id, quant)
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
        show_context(card, setup)


def find_chosen(question: frame.Question) -> tuple[ModelCard, str]:
    """The model in the address and its usual quantization; for none or an unknown one, the recommended pair."""
    chosen = inputs.read_size_choice().model
    if chosen:
        try:
            return cached.find_card(chosen), FALLBACK_QUANT
        except UnknownNameError as error:
            st.warning(
                frame.to_sentence(f"{error}. Showing another model instead"), icon=":material/edit_location_alt:"
            )
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
    """One row: the model, its quantization, and the engine's settings; the rarer ones folded."""
    choices = cached.list_choices()
    names = choices.with_model(card)
    order = tuple(sorted(known, key=lambda q: -QUANTS[q].nominal_bits_per_weight if q in QUANTS else 0))
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        inputs.choice("model", "Model", tuple(names), names, shown=card.model_id, width=310, may_type=choices.has_more)
        inputs.choice("quant", "Quantization", order or (quant,), shown=quant, width=140)
        inputs.choice("kv_k", "K cache", KV_TYPES, width=105)
        inputs.choice("kv_v", "V cache", KV_TYPES, width=105)
        inputs.choice("ubatch", "Micro-batch", with_present(UBATCHES, str(inputs.read("ubatch"))), width=105)
        inputs.choice("flash", "Flash attention", ("on", "off"), {"on": "On", "off": "Off"}, width=130)
        by_hand.show_placement_knobs(card, machine, offload)
        by_hand.show_beside_knobs(card, draft)


def with_present(options: tuple[str, ...], present: str) -> tuple[str, ...]:
    """The options, with a value from the address put in its place among them."""
    return tuple(sorted({*options, present}, key=int))


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
    parts = main.memory.parts
    formulas = cached.list_formulas(setup)
    figures = [
        ("Total", told.memory.total_bytes, tuple(f.part for f in formulas)),
        ("Weights", parts.weight_bytes, ("weights",)),
        (
            "KV cache" if not parts.recurrent_state_bytes else "KV cache and state",
            parts.kv_cache_bytes + parts.recurrent_state_bytes,
            ("KV cache", "recurrent state"),
        ),
        ("Compute", parts.compute_bytes + parts.output_bytes, ("compute", "output")),
    ]
    if sized.pair is not None:
        figures.append(("Draft", sum(sized.beside_bytes), ("draft",)))
    row = st.container(horizontal=True, gap="medium", vertical_alignment="bottom", key="size_figures")
    for name, n_bytes, keys in figures:
        with row.container(width=155, gap=None):
            st.metric(name, charts.roomy(format_bytes(n_bytes)))
            with st.popover("Formula", type="tertiary"):
                show_formulas([f for f in formulas if f.part in keys and f.n_bytes], name == "Total")
    with row.container(width="content", gap=None):
        frame.show_assumptions(told)
    bar = charts.memory_bar(words.order_devices(told), words.order_like_devices(sized.beside_bytes))
    frame.show_chart(bar, "size_memory", words.describe_memory(told))
    pinned = setup.offload if setup.draft is None and not setup.has_projector else main.offload
    about = "Asks about the model as it is placed here, not about its draft." if sized.pair else None
    bench.show_checks(card.model_id, card.spec.name, setup.quant, setup.workload, question, pinned, about)


def show_formulas(formulas: list[PartFormula], as_sum: bool) -> None:
    """Each part's formula and the same with values; for the total, only what is added."""
    if as_sum:
        lines = [f"| {f.part} | {format_bytes(f.n_bytes)} | {f.n_bytes:,} |" for f in formulas]
        total = sum(f.n_bytes for f in formulas)
        lines.append(f"| **total** | **{format_bytes(total)}** | **{total:,}** |")
        st.markdown("\n".join(["| part | size | bytes |", "|:--|--:|--:|", *lines]))
        return
    for f in formulas:
        st.markdown(f"**{frame.to_title(f.part)}** = {f.formula}")
        st.markdown("\n".join(f"- {line}" for line in f.with_values))
        st.caption(f"{f.n_bytes:,} bytes, {format_bytes(f.n_bytes)}")


def show_context(card: ModelCard, setup: cached.Setup) -> None:
    """Memory against context, the machine's limit, and the largest context that fits."""
    workload, machine = setup.workload, setup.machine
    at_most = min(workload.context_tokens, card.spec.context_tokens)
    sweep = cached.sweep_context(replace(setup, workload=replace(workload, context_tokens=at_most)))
    st.subheader("Memory against context", anchor=False)
    st.caption(describe_largest(sweep, workload) + " The draft counts as overhead here." * (setup.draft is not None))
    largest = [("Largest that fits", sweep.largest_tokens)]
    if sweep.largest_on_cards_tokens != sweep.largest_tokens:
        largest = [
            ("Largest with layers on the host", sweep.largest_tokens),
            ("Largest on cards alone", sweep.largest_on_cards_tokens),
        ]
    marks = [(what, tokens) for what, tokens in largest if tokens is not None]
    figure = charts.context_chart(sweep.points, machine.usable_bytes, workload.context_tokens, marks)
    frame.show_chart(figure, "context_memory", f"Memory against context. {describe_largest(sweep, workload)}")


def describe_largest(sweep: cached.ContextSweep, workload: Workload) -> str:
    """What limits the context, in one sentence."""
    slots = "" if workload.n_parallel == 1 else f" in each of {workload.n_parallel} slots"
    if sweep.largest_tokens is None:
        return "Not even 256 tokens of context fit on this machine."
    on_cards = ""
    if sweep.largest_on_cards_tokens is None:
        on_cards = " Part of the model runs on the host at any context."
    elif sweep.largest_on_cards_tokens != sweep.largest_tokens:
        on_cards = f" Past {format_tokens(sweep.largest_on_cards_tokens)}, part of the model moves to the host."
    if sweep.largest_tokens >= sweep.max_tokens:
        return f"The whole trained context of {format_tokens(sweep.max_tokens)} tokens{slots} fits.{on_cards}"
    return (
        f"{format_tokens(sweep.largest_tokens)} tokens{slots} is the most that fits here; "
        f"the model was trained for {format_tokens(sweep.max_tokens)}.{on_cards}"
    )


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
    show(frame.open_page(has_engine=True))

"""Size for an engine other than llama.cpp: its formats, its settings, what its cache holds, how it is started."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape

import pandas as pd
import streamlit as st

from catalog.models import ModelCard
from pages.ui import (
    cached,
    charts,
    charts_engines,
    engine_alike,
    engine_answers,
    engine_words,
    figures,
    frame,
    inputs,
    launches,
    many_machines,
    model_picker,
    tables,
    words,
)
from pages.ui.engine_answers import EngineAsk, FormatRow
from pages.ui.markdown_text import escape_markdown
from sizing.engines import Engine, EngineEstimate, EngineOptions, find_engine
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.units import GIB, format_bytes, format_figures, format_range, format_tokens


def show(question: frame.Question) -> None:
    """The whole page below the context bar."""
    engine = find_engine(question.wishes.engine)
    card = find_chosen(question)
    ask = build_ask(engine, card, question)
    show_knobs(engine, card, ask)
    try:
        answer = engine_answers.size(ask)
    except UnsupportedError as error:
        show_gap(engine, card, str(error))
    except (BadInputError, UnknownNameError) as error:
        st.warning(frame.to_sentence(str(error)), icon=":material/rule:")
        return
    else:
        show_answer(card, answer)
        left, right = st.columns([5, 6], gap="medium")
        with right:
            show_formats(engine, ask)
        launches.show(engine_answers.list_starts(card.model_id, answer), "size")
        with left:  # what takes longest to work out comes last
            show_lengths(engine, card, ask, answer)
    engine_alike.show(card, ask.question, question.machine, ask.weight_format)
    many_machines.show(card, ask.weight_format, question)


def find_chosen(question: frame.Question) -> ModelCard:
    """The model in the address; for none or an unknown one, the one this engine's ranking puts first."""
    if inputs.read_size_choice().model:
        return frame.find_chosen(question)
    needs = cached.build_needs(question.wishes)
    best = engine_answers.recommend(question.wishes, question.machine, needs).best
    return cached.find_card(best.candidate.spec.model_id) if best else cached.list_cards()[0]


def build_ask(engine: Engine, card: ModelCard, question: frame.Question) -> EngineAsk:
    """What the page asks; a format in the address that is none of the engine's is said and replaced."""
    choice = inputs.read_engine_choice()
    wanted = inputs.read_size_choice().quant if engine.takes_gguf else choice.weight_format
    ask = EngineAsk(engine.name, card.model_id, wanted, engine_answers.read_question(question.wishes), question.machine)
    known = [r.weight_format for r in engine_answers.list_format_rows(ask)]
    matched = next((name for name in known if name.casefold() == wanted.casefold()), wanted)
    chosen = engine_answers.choose_format(ask, matched)
    if wanted and known and matched not in known:
        what = "is not listed for this model" if engine.takes_gguf else f"is no format of {engine.name}"
        hint = frame.say_near(wanted, known)
        st.warning(f"{escape_markdown(wanted)} {what}.{hint} Showing {chosen} instead.")
    return EngineAsk(engine.name, card.model_id, chosen, ask.question, ask.machine)


def show_knobs(engine: Engine, card: ModelCard, ask: EngineAsk) -> None:
    """One row: the model, its format, the cache type; the engine's settings folded."""
    formats = tuple(r.weight_format for r in engine_answers.list_format_rows(ask))
    field, label = ("quant", "Quantization") if engine.takes_gguf else ("format", "Weight format")
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        model_picker.show(card)
        inputs.choice(field, label, formats or (ask.weight_format,), shown=ask.weight_format, width=150)
        kv_types = engine.kv_types if "auto" in engine.kv_types else ("auto", *engine.kv_types)
        present = ask.question.kv_type
        kv_types = kv_types if present in kv_types else (*kv_types, present)
        inputs.choice("kv_type", "Cache type", kv_types, {"auto": f"{engine.name}'s own"}, width=150)
        if engine.fills_memory:
            show_settings(engine, ask)


def show_settings(engine: Engine, ask: EngineAsk) -> None:
    """The settings a serving engine has, folded; empty means its own default."""
    is_set = ask.question.options != EngineOptions()
    label = f"Engine settings: {'changed' if is_set else 'defaults'}"
    with st.popover(label, type="tertiary", icon=":material/tune:", key="engine_settings"):
        st.caption(f"Empty means {engine.name}'s own default.")
        inputs.auto_or_number("gpu_share", "Share of each card it may take", 0.05, 1.0, 0.01)
        if len(ask.machine.accelerators) > 1:
            most = len(ask.machine.accelerators)
            inputs.auto_or_whole("tp", "Cards that share every matrix (tensor parallel)", most, low=1)
            inputs.auto_or_whole("pp", "Stages that share the layers (pipeline parallel)", most, low=1)
        inputs.auto_or_whole("batched_tokens", "Tokens one step works on", 2**20, low=1)
        inputs.auto_or_whole("sequences", "Requests at once at most", 65_536, low=1)
        inputs.switch("eager", "Eager: no graphs captured ahead")
        if is_set:
            st.button("Defaults again", key="engine_clear", type="tertiary", on_click=inputs.clear_engine_settings)


def show_gap(engine: Engine, card: ModelCard, reason: str) -> None:
    """A model the engine cannot run here at all: no figure is made up for it."""
    st.html(f'<h1 class="wb-answer">{escape(engine.name)} cannot run {escape(card.spec.name)} here.</h1>')
    st.markdown(f"{escape_markdown(frame.to_sentence(reason))} No figure is shown in its place.")


def show_answer(card: ModelCard, answer: EngineEstimate) -> None:
    """The sentence, the verdict, the figures with their formulas, the memory bar, and what is done otherwise here."""
    told, setup = answer.estimate, answer.setup
    asked = f"{format_tokens(setup.context_tokens)} tokens of context for " + (
        "1 user" if setup.n_parallel == 1 else f"each of {setup.n_parallel} users"
    )
    split = engine_words.say_split(answer)
    reason = "; ".join([*words.list_reasons(told), *([split] if split else [])])
    figures = engine_words.list_figures(answer)
    st.html(
        f"{frame.answer_html(card.spec.name, f'{setup.weight_format} in {answer.engine}', figures)}"
        f'<p><span class="wb-verdict">{frame.format_verdict(told.fit.verdict)}, {escape(asked)}.</span> '
        f'<span class="wb-quiet">{escape(frame.to_sentence(reason))}</span></p>'
    )
    show_figures(answer)
    bar = charts.memory_bar(words.order_devices(told))
    frame.show_chart(bar, "size_memory", words.describe_memory(told), f"memory-{name_file(answer)}")
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        frame.link_to_hardware(card.model_id, setup.weight_format, "Which machines run it")
        frame.link_to_compare(card.model_id)
        show_differences(answer)


def show_figures(answer: EngineEstimate) -> None:
    """One row of figures, each open to where it comes from."""
    parts, capacity = answer.estimate.memory.parts, answer.capacity
    cache = parts.kv_cache_bytes + parts.recurrent_state_bytes
    shown: list[tuple[str, str, Sequence[str]]] = [
        ("Total", format_bytes(answer.estimate.memory.total_bytes), list_total_lines(answer)),
        ("Weights", format_bytes(parts.weight_bytes), list_device_lines(answer, "weights")),
        ("KV cache", format_bytes(cache), list_device_lines(answer, "KV cache")),
        ("Compute", format_bytes(parts.compute_bytes + parts.output_bytes), list_device_lines(answer, "compute")),
    ]
    if capacity is not None:
        longest = format_tokens(capacity.largest_context_tokens) if capacity.largest_context_tokens else "none"
        shown += [
            ("Tokens of cache", f"{capacity.kv_tokens:,}", engine_words.explain_tokens(capacity)),
            ("Requests at once", format_figures(capacity.n_requests), engine_words.explain_requests(answer)),
            ("Longest that starts", longest, engine_words.explain_longest(answer)),
        ]
    figures.show(
        [figures.Figure(name, text, partial(show_lines, lines)) for name, text, lines in shown],
        lambda: frame.show_assumptions(answer.estimate),
        138,
    )


def show_lines(lines: Sequence[str]) -> None:
    """Lines of markdown as they are."""
    st.markdown(charts.roomy("\n".join(lines)))


def list_device_lines(answer: EngineEstimate, part: str) -> list[str]:
    """One part by device."""
    lines = engine_words.list_part_lines(answer, part)
    return [f"**{frame.to_title(part)}** by device", *(f"- {line}" for line in lines or ["none"])]


def list_total_lines(answer: EngineEstimate) -> list[str]:
    """The parts and their sum, as a table."""
    return figures.list_sum_lines((p.name, p.n_bytes) for p in charts.list_purposes(answer.estimate.memory.parts))


def show_differences(answer: EngineEstimate) -> None:
    """What the engine does otherwise than llama.cpp, each with the figure it explains, folded."""
    if not answer.differences:
        return
    items = "".join(f"<li>{escape(frame.to_sentence(line))}</li>" for line in answer.differences)
    with st.popover(f"What {answer.engine} does differently here", type="tertiary"):
        st.html(f'<ul class="wb-list">{items}</ul>')


def show_lengths(engine: Engine, card: ModelCard, ask: EngineAsk, answer: EngineEstimate) -> None:
    """Requests at once against their length for an engine that fills its cards, memory against context for others."""
    points = engine_answers.list_lengths(ask)
    if answer.capacity is not None:
        st.subheader("Requests at once against their length", anchor=False)
        drawn = [
            charts_engines.RequestPoint(p.context_tokens, p.n_requests) for p in points if p.n_requests is not None
        ]
        setup, capacity = answer.setup, answer.capacity
        asked = f"{engine_words.say_requests(capacity)} of {format_tokens(setup.context_tokens)} tokens"
        longest = capacity.largest_context_tokens
        told = f"{frame.to_title(asked)} find room at once; the longest single one is {format_tokens(longest)} tokens."
        if capacity.n_requests < 1:
            told = f"Not even one request of {format_tokens(setup.context_tokens)} tokens finds room"
            told += f"; the longest that starts is {format_tokens(longest)} tokens." if longest else "."
        st.caption(told)
        if not any(point.n_requests > 0 for point in drawn):
            return
        figure = charts_engines.requests_chart(drawn, setup.context_tokens, setup.n_parallel, longest)
        alt = f"Requests at once against their length. {told}"
        frame.show_chart(figure, "requests", alt, f"requests-{name_file(answer)}")
        return
    st.subheader("Memory against context", anchor=False)
    most = max((p.context_tokens for p in points if p.runs), default=None)
    told = f"{format_tokens(most)} tokens run here." if most else "No length runs here."
    st.caption(told)
    frame.show_chart(
        charts.context_chart(
            engine_answers.list_context_points(ask),
            sum(d.usable_bytes for d in ask.machine.accelerators) or ask.machine.usable_bytes,
            ask.question.context_tokens,
            [("Longest tried that runs", most)] if most else [],
        ),
        "context_memory",
        f"Memory against context of {card.spec.name} in {engine.name}. {told}",
        f"memory-against-context-{name_file(answer)}",
    )


def name_file(answer: EngineEstimate) -> str:
    """What a chart is of, for the name of its file."""
    setup = answer.setup
    return f"{setup.spec.name}-{setup.weight_format}-{answer.engine}-{setup.machine.name}"


def show_formats(engine: Engine, ask: EngineAsk) -> None:
    """All formats of the engine here, largest first."""
    rows = engine_answers.list_format_rows(ask)
    st.subheader(f"All {len(rows)} formats", anchor=False)
    picked = inputs.picked_row("formats")
    if picked is not None and picked < len(rows) and rows[picked].weight_format != ask.weight_format:
        frame.link_to_size(ask.model_id, rows[picked].weight_format, f"Show {rows[picked].weight_format}")
    else:
        st.caption(
            "Largest first. Loss is in points of score against the unquantized model, unknown where nobody published "
            "any. Pick a row to see its figures."
        )
    tables.show_table(
        words.style_table(build_format_table(rows, engine)),
        "formats",
        height=330,
        selection_mode="single-row",
        column_config=frame.right_aligned("Speed, tokens/s"),
    )


def build_format_table(rows: Sequence[FormatRow], engine: Engine) -> pd.DataFrame:
    """The formats as a table; what the engine cannot run says why."""
    nan = float("nan")

    def fit(row: FormatRow) -> str:
        return frame.format_verdict(row.answer.estimate.fit.verdict) if row.answer else "cannot run it"

    def speed(row: FormatRow) -> str:
        if row.answer is None or not row.answer.estimate.fit.runs:
            return "does not run"
        decode = words.decode_of(row.answer.estimate)
        return format_range(decode.low, decode.high) if decode else words.UNKNOWN

    columns: dict[str, list[object]] = {
        "Format": [r.weight_format for r in rows],
        "Fit": [fit(r) for r in rows],
        "Weights, GiB": [r.answer.estimate.memory.parts.weight_bytes / GIB if r.answer else nan for r in rows],
        "Speed, tokens/s": [speed(r) for r in rows],
    }
    if engine.fills_memory:
        columns["Requests at once"] = [
            r.answer.capacity.n_requests if r.answer and r.answer.capacity else nan for r in rows
        ]
    columns["Loss, points"] = [r.loss_points if r.loss_points is not None else nan for r in rows]
    columns["Loss from"] = [r.loss_label for r in rows]
    columns["Bits per weight"] = [r.bits_per_weight or nan for r in rows]
    if any(r.gap for r in rows):
        columns["Why not"] = [r.gap for r in rows]
    return pd.DataFrame(columns)

"""The same model on the same machine in every engine: one chart, a table with its numbers, and who cannot run it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import pandas as pd
import streamlit as st

from catalog.models import ModelCard
from pages.ui import cached, charts, charts_engines, engine_answers, frame, inputs, tables, words
from sizing.engines.alike import Alike
from sizing.engines.offers import EngineQuestion, Offer, count_bits_per_weight
from sizing.errors import UnsupportedError, WeighbridgeError
from sizing.hardware import Machine
from sizing.units import GIB, THIN, format_bytes, format_figures, format_range

HEADING = "The same model in every engine"


def show(card: ModelCard, asked: EngineQuestion, machine: Machine, quant: str) -> None:
    """The chart and its table; `quant` is the quantization or format on the page, whose size the others are near to."""
    st.subheader(HEADING, anchor=False)
    inputs.segments("alike", "Format of each engine", tuple(inputs.ALIKE_WORDS), inputs.ALIKE_WORDS)
    bits = find_bits(card, quant) if inputs.read("alike") == "bits" else None
    plain = EngineQuestion(asked.context_tokens, asked.n_parallel, options=asked.options)
    try:
        rows = engine_answers.list_engines_alike(card.model_id, machine, plain, bits)
    except WeighbridgeError as error:
        st.caption(frame.to_sentence(str(error)))
        return
    able = [r for r in rows if r.answer is not None]
    if able:
        near = f"near {format_figures(bits)} bits per weight, as {quant} has" if bits else "its largest that runs here"
        st.caption(
            f"Each engine with its own default cache and the format {near}. "
            "Engines that serve fill the cards with cache on purpose."
        )
        usable = sum(d.usable_bytes for d in machine.accelerators) or machine.host.usable_bytes
        figure = charts_engines.engines_chart([to_bar(r) for r in able], usable)
        name = f"engines-{card.spec.name}-{machine.name}"
        frame.show_chart(figure, "alike_chart", f"{HEADING}. {describe(able)}", name)
    gaps = list_gaps(rows)
    with st.expander(name_fold(len(able), len(gaps))):
        if able:
            tables.show_table(
                words.style_table(build_table(able)),
                "alike_table",
                name=f"engines-{card.spec.name}-{machine.name}",
                column_config=frame.right_aligned("Speed, tokens/s", "Requests at once"),
            )
        show_gaps(gaps)


def name_fold(n_able: int, n_gaps: int) -> str:
    """What the folded part holds: 'Figures of 6 engines, and why 3 do not run it'."""
    figures = f"Figures of {n_able} engine{'' if n_able == 1 else 's'}"
    why = f"why {n_gaps} {'does' if n_gaps == 1 else 'do'} not run it"
    if not n_able:
        return frame.to_title(why)
    return f"{figures}, and {why}" if n_gaps else figures


def find_bits(card: ModelCard, quant: str) -> float | None:
    """Bits per weight of the quantization or format on the page; None where its bytes are unknown."""
    weights = next((w for w in cached.list_weights(card.model_id) if w.quant == quant), None)
    try:
        return count_bits_per_weight(card.spec, Offer(quant, weights)) if quant else None
    except (UnsupportedError, LookupError):
        return None


def to_bar(row: Alike) -> charts_engines.EngineBar:
    """One engine's bar; only of those with an answer."""
    if row.answer is None:
        raise UnsupportedError(row.gap)
    told = row.answer.estimate
    speed = f", {format_speed(row)}{THIN}tokens/s" if told.speed else ""
    return charts_engines.EngineBar(row.engine.name, row.weight_format, told.memory.parts, str(told.fit.verdict), speed)


def format_speed(row: Alike) -> str:
    """The decode interval, or why there is none."""
    if row.answer is None or not row.answer.estimate.fit.runs:
        return "does not run"
    decode = words.decode_of(row.answer.estimate)
    return format_range(decode.low, decode.high) if decode else words.UNKNOWN


def build_table(rows: Sequence[Alike]) -> pd.DataFrame:
    """The numbers of the chart, and what its bars cannot show."""
    answers = [r.answer for r in rows if r.answer is not None]
    parts = [a.estimate.memory.parts for a in answers]
    return pd.DataFrame(
        {
            "Engine": [r.engine.name for r in rows],
            "Format": [r.weight_format for r in rows],
            "Fit": [frame.format_verdict(a.estimate.fit.verdict) for a in answers],
            "Speed, tokens/s": [format_speed(r) for r in rows],
            "Weights, GiB": [p.weight_bytes / GIB for p in parts],
            "KV cache, GiB": [(p.kv_cache_bytes + p.recurrent_state_bytes) / GIB for p in parts],
            "Compute, GiB": [(p.compute_bytes + p.output_bytes) / GIB for p in parts],
            "Overhead, GiB": [p.overhead_bytes / GIB for p in parts],
            "Total, GiB": [p.total_bytes / GIB for p in parts],
            "Requests at once": [format_figures(a.capacity.n_requests) if a.capacity else "as asked" for a in answers],
            "Bits per weight": [r.bits_per_weight for r in rows],
        }
    )


def describe(rows: Sequence[Alike]) -> str:
    """What the chart shows, for those who cannot see it."""
    return "; ".join(
        f"{r.engine.name} in {r.weight_format}: {format_bytes(r.answer.estimate.memory.total_bytes)}, "
        f"{r.answer.estimate.fit.verdict}"
        for r in rows
        if r.answer is not None
    )


def list_gaps(rows: Sequence[Alike]) -> list[tuple[str, str, str]]:
    """Engines that cannot run the model here or in which it does not fit: name, which of the two, and the reason."""
    told = []
    for row in rows:
        fit = row.answer.estimate.fit if row.answer is not None else None
        if fit is None:
            told.append((row.engine.name, "cannot run it", row.gap))
        elif not fit.runs:
            told.append((row.engine.name, "does not fit", fit.reasons[0] if fit.reasons else ""))
    return told


def show_gaps(gaps: Sequence[tuple[str, str, str]]) -> None:
    """The reasons as a list."""
    items = "".join(
        f"<li><b>{escape(name)}</b> {what}: {escape(charts.roomy(why.rstrip('.')))}.</li>" for name, what, why in gaps
    )
    if items:
        st.html(f'<ul class="wb-list">{items}</ul>')

"""Which listed machines run a model: the cheapest in a sentence, price against speed, and all of them as a table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import pandas as pd
import streamlit as st

from catalog.models import ModelCard
from pages.ui import cached, charts, charts_words, frame, inputs, tables, words
from sizing.hardware import Machine
from sizing.inverse import (
    PRICE_BASIS,
    HardwareAnswer,
    MachineAnswer,
    PriceSource,
    leave_out_surplus,
)
from sizing.inverse_record import find_source, format_price
from sizing.units import GIB, THIN, format_bytes, format_figures, format_gib, format_range
from sizing.workload import Workload

MIN_DRAWN = 2
"""Of fewer machines there is nothing to compare in a chart."""


def show_sentence(
    card: ModelCard, quant: str | None, answer: HardwareAnswer, workload: Workload, question: frame.Question
) -> None:
    """The cheapest machine that does it, in one sentence, and what its price is the price of."""
    best, asked = answer.cheapest, describe_asked(workload, question.wishes.min_tokens_per_s)
    if best is None:
        show_none(card, quant, answer, asked)
        return
    kept = [format_price(best.price_usd), *list_figures(best)]
    figures = ", ".join(f'<span class="wb-whole">{escape(charts.roomy(k))}</span>' for k in kept)
    price = say_price(best.machine, find_source(best, cached.list_price_sources()))
    verdict = frame.format_verdict(best.estimate.fit.verdict)
    st.html(
        f'<h1 class="wb-answer">{escape(frame.format_name(best.machine.name))} runs {escape(card.spec.name)} at '
        f'<span class="wb-whole">{best.quant}:</span> {figures}.</h1>'
        f'<p><span class="wb-verdict">{verdict}, {escape(charts.roomy(asked))}. The cheapest of known price.</span> '
        f'<span class="wb-quiet">{price} {escape(say_failures(answer))}</span></p>'
    )
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        link_to_machine(card, best, "Every figure of it")
        frame.show_assumptions(best.estimate)


def describe_asked(workload: Workload, min_tokens_per_s: float) -> str:
    """Context, users and the least speed in a few words."""
    asked = frame.describe_workload(workload)
    if min_tokens_per_s:
        asked += f", at least {format_figures(min_tokens_per_s)}{THIN}tokens/s in the middle of the interval"
    return asked


def show_none(card: ModelCard, quant: str | None, answer: HardwareAnswer, asked: str) -> None:
    """No machine of known price does it: what was asked, what the machines lack, and what to do."""
    at = f" at {quant}" if quant else ""
    which = "No listed machine of known price" if answer.unpriced else "No listed machine"
    way_out = say_way_out(answer)
    if answer.unpriced:
        smallest = answer.unpriced[0]
        told = ", ".join(list_figures(smallest))
        way_out = f"The smallest that does it: {frame.format_name(smallest.machine.name)} at {smallest.quant}, {told}."
    st.html(
        f'<h1 class="wb-answer">{which} runs {escape(card.spec.name)}{at} with these wishes.</h1>'
        f"<p>{escape(charts.roomy(way_out))}</p>"
        f'<p class="wb-quiet">Asked: {escape(charts.roomy(asked))}. {escape(say_failures(answer))}</p>'
    )


def say_price(machine: Machine, source: PriceSource | None) -> str:
    """What a price is the price of, and where it was read, as HTML: 'Launch price of 2025 without the host, ...'."""
    what = "of the whole computer" if machine.is_unified else "without the host around it"
    if source is None:
        return f"Launch price, {what}."
    address = escape(source.source_url, quote=True)
    link = f'<a href="{address}" target="_blank" rel="noopener" style="color: inherit">at its source</a>'
    return f"{escape(frame.to_title(source.name))}, {what}, {link}."


def say_failures(answer: HardwareAnswer) -> str:
    """How many of the asked machines do it, and what the others lack."""
    n_able = len(answer.priced) + len(answer.unpriced)
    lacks = (
        (answer.n_unsupported, "cannot run it in this engine"),
        (answer.n_short_of_memory, "lack memory"),
        (answer.n_too_slow, "are too slow"),
        (answer.n_speed_unknown, "have an unknown speed"),
    )
    others = ", ".join(f"{n:,} {what}" for n, what in lacks if n)
    return f"{n_able:,} of {answer.n_machines:,} machines asked do it" + (f"; {others}." if others else ".")


def say_way_out(answer: HardwareAnswer) -> str:
    """What to ask instead, by what most machines lack."""
    if answer.n_too_slow + answer.n_speed_unknown > answer.n_short_of_memory:
        return "Ask for a lower speed in the bar above, or a smaller quantization."
    return "Ask for a shorter context, fewer users or a smaller quantization, or allow part on the host."


def list_figures(answer: MachineAnswer) -> list[str]:
    """Memory taken and there, and speed."""
    used = f"{format_gib(answer.used_bytes)} of {format_bytes(answer.usable_bytes)}"
    return [used, words.format_speed(answer.decode_tokens_per_s)]


def link_to_machine(card: ModelCard, answer: MachineAnswer, label: str) -> None:
    """A link to the Size page with this machine in the bar."""
    frame.link_to_size(card.model_id, answer.quant, label, machine=answer.machine.name)


def show_found(card: ModelCard, answer: HardwareAnswer) -> None:
    """The machines that do it: price against speed where there is something to draw, and all of them."""
    useful = leave_out_surplus(answer.priced)
    points = [p for a in useful if (p := to_point(a, a is answer.cheapest)) is not None]
    if len(points) < MIN_DRAWN:
        show_machines(card, answer)
        return
    left, right = st.columns([5, 6], gap="medium")
    with left:
        show_price_chart(card, points, len(leave_out_surplus(answer.unpriced)))
    with right:
        show_machines(card, answer)


def show_price_chart(card: ModelCard, points: Sequence[charts.PricePoint], n_unpriced: int) -> None:
    """Price against speed of all that do it and whose price and speed are known."""
    st.subheader("Price against speed", anchor=False)
    missing = f" {n_unpriced} that do it are not drawn: their price is unknown." if n_unpriced else ""
    st.caption(f"{len(points)} machines; dot area is memory left.{missing}")
    alt = charts_words.describe_prices(points)
    frame.show_chart(charts.price_chart(points), "price_speed", alt, f"price-against-speed-{card.spec.name}")


def to_point(answer: MachineAnswer, is_best: bool) -> charts.PricePoint | None:
    """An answer on the price chart, None where its price or speed is unknown."""
    decode = answer.decode_tokens_per_s
    if answer.price_usd is None or decode is None:
        return None
    return charts.PricePoint(
        label=frame.format_name(answer.machine.name),
        quant=answer.quant,
        verdict=str(answer.estimate.fit.verdict),
        price_usd=answer.price_usd,
        speed_low=decode.low,
        speed_mid=decode.mid,
        speed_high=decode.high,
        headroom_bytes=answer.headroom_bytes,
        is_best=is_best,
    )


def show_machines(card: ModelCard, answer: HardwareAnswer) -> None:
    """Every machine that does it: known prices first, the cheapest on top; then unknown ones, the smallest on top."""
    useful = (*leave_out_surplus(answer.priced), *leave_out_surplus(answer.unpriced))
    st.subheader(f"{len(useful)} machines that do it", anchor=False)
    picked = inputs.picked_row("machines")
    if picked is not None and picked < len(useful):
        link_to_machine(card, useful[picked], f"Size it on {frame.format_name(useful[picked].machine.name)}")
    else:
        st.caption(
            "Cheapest first; those of unknown price last, smallest first. Cards beyond what gains anything are left "
            "out. Pick a row to size it."
        )
    nan, sources = float("nan"), cached.list_price_sources()
    read = [find_source(a, sources) for a in useful]
    table = pd.DataFrame(
        {
            "Machine": [frame.format_name(a.machine.name) for a in useful],
            "Price, US$": [a.price_usd if a.price_usd is not None else nan for a in useful],
            "Speed, tokens/s": [format_interval(a) for a in useful],
            "Fit": [frame.format_verdict(a.estimate.fit.verdict) for a in useful],
            "Quantization": [a.quant for a in useful],
            "Left, GiB": [a.headroom_bytes / GIB for a in useful],
            "Power, W": [a.power_watts if a.power_watts is not None else nan for a in useful],
            "Launched": [str(s.year) if s and s.year else words.UNKNOWN for s in read],
        }
    )
    if len(set(table["Quantization"])) == 1:  # the headline names it
        table = table.drop(columns="Quantization")
    tables.show_table(
        words.style_table(table),
        height=380,
        key="machines",
        selection_mode="single-row",
        name=f"machines-{card.spec.name}",
        column_config={
            **frame.right_aligned("Speed, tokens/s"),
            "Price, US$": st.column_config.NumberColumn(alignment="right", help=frame.to_sentence(PRICE_BASIS)),
            "Left, GiB": st.column_config.NumberColumn(alignment="right", help="Usable memory that stays free."),
        },
    )


def format_interval(answer: MachineAnswer) -> str:
    """The decode interval as a cell."""
    decode = answer.decode_tokens_per_s
    return format_range(decode.low, decode.high) if decode else words.UNKNOWN

"""The assumptions of a cost: each with its source and date, and a box to put one's own figure in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import streamlit as st

from catalog.cost_notes import say_machine_price, say_source
from catalog.cost_question import PlannedCost
from catalog.offers import HOST_USD, PUE_SOURCE
from catalog.own_prices import FILE_NAME, forget_own_price, save_own_price
from catalog.prices import OWN, Price
from evals.home import find_home_if_usable
from pages.ui import cost_fields, frame, inputs
from pages.ui.cost_plan import KnownPrices
from pages.ui.markdown_text import escape_markdown
from sizing.errors import WeighbridgeError
from sizing.units import format_figures

ASSUMED = "Assumed, no source."
PROBLEM = "prices_problem"
EDITED = {
    "buy": ("buy_usd",),
    "electricity": ("kwh_usd",),
    "rent": ("rent_usd", "reserved_usd"),
    "api": ("api_in_usd", "api_out_usd", "api_cached_usd"),
}
"""The fields that stand for a listed price, by the kind of price."""


def show(planned: PlannedCost, known: KnownPrices) -> None:
    """Every assumption in three groups, then what may be kept for good."""
    st.caption(
        "Every figure can be replaced: an empty box takes the listed one. Your figures are in the address of this "
        "page; keep prices for good below."
    )
    with st.expander("Your own machine", expanded=False):
        _show_own(planned, known)
    with st.expander("Renting", expanded=False):
        _show_rent(planned)
    with st.expander("The API", expanded=False):
        _show_api(planned)
    with st.expander("The load", expanded=False):
        _show_load()
    _show_keep(planned, known)


def _row(draw: Callable[[], None], said: str) -> None:
    """One assumption: the box, and beside it where its figure is from."""
    box, source = st.columns([2, 5], gap="medium", vertical_alignment="bottom")
    with box:
        draw()
    with source:
        st.caption(_link(said))


def _link(said: str) -> str:
    """Text of others as markdown, with the address in it as a link."""
    words = [
        f"<{w.rstrip(',.;')}>" if w.startswith("https://") and "<" not in w and ">" not in w else escape_markdown(w)
        for w in said.split(" ")
    ]
    return " ".join(words)


def _listed(value: float | None) -> str:
    return "unknown" if value is None else format_figures(value)


def _show_own(planned: PlannedCost, known: KnownPrices) -> None:
    plan, price = planned.plan, planned.machine_price
    _row(
        lambda: inputs.maybe_number("buy_usd", "Whole machine, US$", 0, 1e9, _listed(price.usd)),
        f"{frame.to_title(say_machine_price(price))}.",
    )
    _row(
        lambda: inputs.number("host_usd", "Computer around cards, US$", 0, 1e7, 100),
        f"{ASSUMED} US$ {format_figures(HOST_USD)} unless you say otherwise; nothing for unified memory.",
    )
    _row(
        lambda: inputs.number("years", "Written off over, years", 0.5, 20, 0.5),
        f"{ASSUMED} In a straight line.",
    )
    _row(
        lambda: inputs.number("residual", "Left of the price then, %", 0, 100, 5),
        f"{ASSUMED} Nothing is the careful answer.",
    )
    watts = plan.watts
    _row(
        lambda: inputs.maybe_number("watts", "Power at work, W", 0, 1e6, _listed(watts.load if watts else None)),
        "The limit of its devices as their maker states it, and 120 W for the computer around cards (assumed).",
    )
    _row(
        lambda: inputs.maybe_number("idle_watts", "Power idle, W", 0, 1e6, _listed(watts.idle if watts else None)),
        "A tenth of the devices' limit and 60 W for the computer: assumed, no source.",
    )
    _show_power(planned, known)
    _row(
        lambda: inputs.number("pue", "Room over machine, power", 1, 5, 0.05),
        f"1.58 is the mean of data centres in 2023; a desk without cooling has 1. Read {PUE_SOURCE.as_of} at "
        f"{PUE_SOURCE.source_url}",
    )
    _row(lambda: inputs.number("staff_hours", "Work, hours a month", 0, 10_000), f"{ASSUMED} None unless you say so.")
    _row(lambda: inputs.number("staff_usd", "An hour of it, US$", 0, 10_000, 5), ASSUMED)


def _show_power(planned: PlannedCost, prices: KnownPrices) -> None:
    """Where electricity is bought, and its price."""
    known = planned.electricity
    offers = tuple(dict.fromkeys(p.item for p in prices.prices if p.kind == "electricity"))
    present = inputs.read("power")
    _row(
        lambda: inputs.choice("power", "Electricity", offers, shown=present if present in offers else offers[0]),
        f"{frame.to_title(known.note)}." if known and known.note else "Yours.",
    )
    rate = f" Converted at {known.converted_at:g} US$." if known and known.converted_at else ""
    _row(
        lambda: inputs.maybe_number("kwh_usd", "A kWh, US$", 0, 100, _listed(known.usd_per_kwh if known else None)),
        f"{frame.to_title(say_source(known))}{rate if known and not known.is_own else ''}",
    )


def _show_rent(planned: PlannedCost) -> None:
    rents = planned.plan.rents
    if not rents:
        st.caption("No price by the hour is listed for this machine. Give one, for each of its cards:")
    else:
        names = tuple(dict.fromkeys(p.name for p in rents))
        _row(
            lambda: inputs.choice("rent", "Offer", names, shown=planned.rent_name),
            f"{frame.to_title(planned.rent.note)}." if planned.rent and planned.rent.note else "Yours.",
        )
    rent = planned.rent
    _row(
        lambda: inputs.maybe_number(
            "rent_usd", "A card and hour, US$", 0, 10_000, _listed(rent.usd_per_gpu_hour if rent else None)
        ),
        frame.to_title(say_source(rent)) if rent else "Unknown.",
    )
    _row(
        lambda: inputs.segments("rent_mode", "Paid", tuple(cost_fields.RENT_WORDS), cost_fields.RENT_WORDS, wrap=True),
        "By the minute: just as long as there is work, with the utilisation's room.",
    )
    _row(
        lambda: inputs.maybe_number(
            "reserved_usd",
            "Reserved, a card and hour, US$",
            0,
            10_000,
            _listed(rent.reserved_usd_per_gpu_hour if rent else None),
        ),
        frame.to_title(say_source(rent)) if rent and rent.reserved_usd_per_gpu_hour else "This offer states none.",
    )
    _row(
        lambda: inputs.number("reserved", "Hours at that price, %", 0, 100, 5),
        "Counts for offers that have such a price.",
    )


def _show_api(planned: PlannedCost) -> None:
    api = planned.api
    names = tuple(dict.fromkeys(p.name for p in planned.plan.apis))
    if names:
        _row(
            lambda: inputs.choice("api", "API", names, shown=planned.api_name),
            (f"{frame.to_title(api.note)}." if api and api.note else "Yours.")
            + ("" if inputs.read("api") else " In the middle of the vendors' prices for this load."),
        )
    for name, label, value in (
        ("api_in_usd", "A million input tokens, US$", api.usd_per_million_input if api else None),
        ("api_cached_usd", "A million cached ones, US$", api.usd_per_million_cached if api else None),
        ("api_out_usd", "A million output tokens, US$", api.usd_per_million_output if api else None),
    ):
        none = "billed as input" if name == "api_cached_usd" and value is None else _listed(value)
        _row(
            lambda name=name, label=label, none=none: inputs.maybe_number(name, label, 0, 100_000, none),
            frame.to_title(say_source(api)) if api else "Unknown.",
        )
    _row(lambda: inputs.number("cached", "Of the input cached, %", 0, 100, 5), f"{ASSUMED} None is the careful answer.")
    off = f"{api.batch_discount:.0%} off." if api and api.batch_discount else "This offer states no discount."
    _row(lambda: inputs.number("batch", "Can wait for a batch, %", 0, 100, 5), off)


def _show_load() -> None:
    _row(
        lambda: inputs.slider("busy", "Utilisation at the peak, %", 5, 100, 5),
        "The share of its time a machine may be busy in the busiest hour: the less, the shorter the queues and the "
        "more machines. 100% leaves no room. Assumed, no source.",
    )
    _row(
        lambda: inputs.number("peak", "Busiest hour over the mean", 1, 1000, 0.5),
        f"{ASSUMED} 1 is a load that never changes.",
    )
    _row(lambda: inputs.number("hours", "Hours a day with tokens", 1, 24), f"{ASSUMED} 24 unless you say otherwise.")
    st.caption(
        "Prompts are timed as long as the context in the bar and read anew each time; prompts and answers share the "
        "machine, so their seconds add up. A month is 365.25 / 12 days. Without tax."
    )


def list_edited(planned: PlannedCost, known: KnownPrices) -> tuple[Price, ...]:
    """The prices that stand edited in the address, as they would be kept today."""
    today = date.today().isoformat()
    out = []
    if inputs.read("buy_usd") is not None:
        out.append(Price("buy", planned.plan.machine.name, "", usd=inputs.read("buy_usd")))
    if inputs.read("kwh_usd") is not None:
        item = inputs.read("power")
        listed = next((p for p in known.prices if p.kind == "electricity" and p.item == item), None)
        provider = listed.provider if listed else ""
        out.append(Price("electricity", item, provider, usd_per_kwh=inputs.read("kwh_usd")))
    if planned.rent is not None and any(inputs.read(f) is not None for f in EDITED["rent"]):
        card = planned.plan.machine.accelerators[0].name if planned.plan.machine.accelerators else ""
        known = planned.rent if planned.rent.hardware else replace(planned.rent, item=card)
        if card:
            out.append(
                Price(
                    "rent",
                    known.item,
                    known.provider,
                    usd_per_gpu_hour=known.usd_per_gpu_hour,
                    reserved_usd_per_gpu_hour=known.reserved_usd_per_gpu_hour,
                )
            )
    if planned.api is not None and planned.api.is_own and any(inputs.read(f) is not None for f in EDITED["api"]):
        api = planned.api
        out.append(
            replace(
                Price("api", api.item, api.provider),
                usd_per_million_input=api.usd_per_million_input,
                usd_per_million_output=api.usd_per_million_output,
                usd_per_million_cached=api.usd_per_million_cached,
                batch_discount=api.batch_discount,
            )
        )
    return tuple(replace(p, confidence=OWN, as_of=today) for p in out)


def _show_keep(planned: PlannedCost, known: KnownPrices) -> None:
    """Keep what was edited in the person's folder, and forget what was kept."""
    edited, home = list_edited(planned, known), find_home_if_usable()
    if home is None:
        return
    problem = inputs.take(PROBLEM)
    if problem:
        st.error(frame.to_sentence(problem), icon=":material/error:")
    if edited:
        said = f"Keep {_count(len(edited))} in {FILE_NAME}"
        st.button(said, icon=":material/save:", key="keep_prices", on_click=_keep, args=(home, edited))
    if known.own:
        with st.expander(f"{_count(len(known.own))} of your own in {FILE_NAME}"):
            for price in known.own:
                told, forget = st.columns([5, 1], vertical_alignment="center")
                told.markdown(escape_markdown(f"{price.kind}: {price.name}, {_figures(price)}, {price.as_of}"))
                key = f"forget_{'_'.join(price.key)}"
                forget.button("Forget", key=key, type="tertiary", on_click=_forget, args=(home, price))


def _keep(home: Path, edited: tuple[Price, ...]) -> None:
    """Write prices, and take them out of the address, where they would hide the kept ones."""
    try:
        for price in edited:
            save_own_price(home, price)
    except WeighbridgeError as error:
        inputs.remember(PROBLEM, str(error))
        return
    inputs.set_fields({name: "" for price in edited for name in EDITED[price.kind]})


def _forget(home: Path, price: Price) -> None:
    try:
        forget_own_price(home, price.key)
    except WeighbridgeError as error:
        inputs.remember(PROBLEM, str(error))


def _count(n: int) -> str:
    return "1 price" if n == 1 else f"{n} prices"


def _figures(price: Price) -> str:
    """The numbers of a price in US dollars."""
    numbers = (
        ("", price.usd),
        (" an hour", price.usd_per_gpu_hour),
        (" reserved", price.reserved_usd_per_gpu_hour),
        (" a million in", price.usd_per_million_input),
        (" cached", price.usd_per_million_cached),
        (" out", price.usd_per_million_output),
        (" a kWh", price.usd_per_kwh),
    )
    return ", ".join(f"US$ {format_figures(value)}{what}" for what, value in numbers if value is not None)

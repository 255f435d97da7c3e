"""The answer of the Cost page: which way is the cheapest in a sentence, and what each of the three costs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from catalog.cost_question import PlannedCost
from catalog.models import ModelCard
from pages.ui import charts, frame, words
from sizing.cost_options import JudgedOption
from sizing.cost_record import QUALITY_NOTE, BreakEvens, CostAnswer, format_count, format_usd, say_break_even
from sizing.units import format_figures

THIS = "this machine"


def show(card: ModelCard, quant: str, answer: CostAnswer, name: str) -> None:
    """The sentence, what it is about, and one figure for each way."""
    told, under = charts.roomy(say_decision(answer, name)), charts.roomy(say_under(card, quant, answer))
    st.html(f'<h1 class="wb-answer">{escape(told)}</h1><p class="wb-quiet">{escape(under)}</p>')
    own_label = "This machine" if name == THIS else "Your own"
    none_listed = "No price by the hour is listed for it"
    with st.container(horizontal=True, gap="medium", key="cost_figures"):
        _show_figure(own_label, answer.own, say_own(answer, name))
        _show_figure("Rented", answer.rent, say_count(answer.rent, answer) if answer.rent else none_listed)
        _show_figure("The API", answer.api, say_api(answer))


def _show_figure(label: str, judged: JudgedOption | None, note: str) -> None:
    """What one way costs a month; unknown and ruled out with the reason under it."""
    value = format_usd(judged.usd_per_month) if judged else words.UNKNOWN
    if judged is not None and judged.ruled_out:
        value, note = "ruled out", "; ".join(judged.ruled_out)
    elif judged is not None and judged.usd_per_month is None and judged.option.unknown:
        note = judged.option.unknown
    with st.container(width=270, gap=None):
        st.metric(f"{label}, US$ a month", charts.roomy(value).replace("$", r"\$"))
        st.html(f'<p class="wb-quiet">{escape(charts.roomy(frame.to_title(note)))}</p>')


def say_decision(answer: CostAnswer, name: str) -> str:
    """Which of the three is the cheapest at the load, or which two only the machine's speed decides between."""
    at = f"At {format_count(answer.load.tokens_per_day)} tokens a day"
    spoken = [j for j in (answer.own, answer.rent, answer.api) if j is not None]
    found = [j for j in spoken if j.is_open]
    if not found:
        return f"{at} {_say_none(answer, spoken)}."
    best = min(found, key=lambda j: j.usd_per_month.mid if j.usd_per_month else 0.0)
    subject, cost = name_way(best, name), f"US$ {format_usd(best.usd_per_month)} a month"
    if len(found) == 1:
        only_open = all(j.ruled_out for j in spoken if j is not best)
        return f"{at} only {subject} {'is open' if only_open else 'has a known cost'}: {cost}."
    rivals = [name_way(j, name) for j in found if j is not best and not is_cheaper(best, j)]
    if rivals:
        return f"{at} {subject} or {' or '.join(rivals)} is cheapest: the machine's speed decides which."
    return f"{at} {subject} is cheapest: {cost}."


def _say_none(answer: CostAnswer, spoken: Sequence[JudgedOption]) -> str:
    """What is left where none of the three that are spoken of can be taken."""
    first = next((j for j in answer.options if j.is_open), None)
    if first is not None:
        return f"the cheapest way left is {first.option.name}: US$ {format_usd(first.usd_per_month)} a month"
    if spoken and all(j.ruled_out for j in spoken):
        return "your limits rule every way out"
    return "the cost is unknown"


def is_cheaper(a: JudgedOption, b: JudgedOption) -> bool:
    """Whether one way costs no more than another at every end of the machine's speed."""
    one, other = a.usd_per_month, b.usd_per_month
    if one is None or other is None:
        return False
    return one.low <= other.low and one.mid <= other.mid and one.high <= other.high


def name_way(judged: JudgedOption, name: str) -> str:
    """A way inside a sentence."""
    own = name if name == THIS else f"your own {name}"
    return {"own": own, "rent": "renting", "api": "the API"}[judged.option.kind]


def say_own(answer: CostAnswer, name: str) -> str:
    """Which machine, and how many of it."""
    if answer.own is None or name == THIS:
        return _say_machines(answer.own, answer)
    return ", ".join(filter(None, (name, _say_machines(answer.own, answer))))


def say_api(answer: CostAnswer) -> str:
    """Whose price is spoken of, and the cheapest of all ways where that is another API."""
    if answer.api is None:
        return "No vendor's price is listed"
    first, name = answer.options[0], answer.api.option.name
    if first is answer.api or first.option.kind != "api" or not first.is_open:
        return name
    return f"{name}; the cheapest is {first.option.name}, at {format_usd(first.usd_per_month)}"


def say_count(judged: JudgedOption, answer: CostAnswer) -> str:
    """An offer, and how many machines of it."""
    return ", ".join(filter(None, (judged.option.name, _say_machines(judged, answer))))


def _say_machines(judged: JudgedOption | None, answer: CostAnswer) -> str:
    """'1 to 2 machines'; nothing for one, or where nobody counts them."""
    band = judged.option.band if judged else None
    if band is None or band.low.is_linear:
        return ""
    fast, _, slow = band.count_machines(answer.load.tokens_per_day)
    if slow < 2:
        return ""
    return f"{slow} machines" if fast == slow else f"{fast} to {slow} machines"


def say_under(card: ModelCard, quant: str, answer: CostAnswer) -> str:
    """What the sentence is about, from where a machine of one's own pays, and what the figures leave out."""
    load = answer.load
    mix = f"{format_count(load.input_tokens_per_day)} in, {format_count(load.output_tokens_per_day)} out"
    said = [f"{card.spec.name} at {quant}, {mix}"]
    may_compare = answer.own is not None and answer.own.is_open and answer.api is not None and answer.api.is_open
    if may_compare and answer.own_break_even is not None:
        said.append(say_own_break_even(answer.own_break_even))
    said.append(QUALITY_NOTE)
    return " ".join(frame.to_sentence(part) for part in said)


def say_own_break_even(found: BreakEvens) -> str:
    """From which load on a machine of one's own costs less than the API."""
    return say_break_even(found).replace("it costs", "your own costs").replace("it never costs", "your own never costs")


def say_rent_break_even(answer: CostAnswer, planned: PlannedCost) -> str:
    """Where renting meets the API, and how busy a machine of one's own is where it does; "" where no API is open."""
    if answer.api is None or not answer.api.is_open:
        return ""
    told = []
    if answer.rent is not None and answer.rent_break_even is not None and answer.rent.is_open and planned.rent:
        told.append(f"Rented, {say_break_even(answer.rent_break_even)}.")
    if answer.own_utilisation is not None:
        told.append(
            f"Your own meets the API when it is busy {format_figures(100 * answer.own_utilisation)}% of the time."
        )
    return " ".join(told)

"""Cost: the model on a machine of your own, rented, or an API by the token, and where one becomes cheaper."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from catalog.cost_question import PlannedCost
from catalog.models import ModelCard
from pages.ui import (
    cached,
    charts,
    charts_cost,
    cost_answer,
    cost_assumptions,
    cost_fields,
    cost_plan,
    cost_routing,
    frame,
    inputs,
    tables,
    words,
)
from sizing.cost_options import KIND_WORDS, JudgedOption
from sizing.cost_record import CostAnswer, format_usd
from sizing.errors import BadInputError
from sizing.workload import Workload

MAX_TABLE_PIXELS = 420
LIMITS, ASSUMPTIONS, POLICY = "Hard limits", "What this rests on", "Send each request where it belongs"
WHY_NOT = "Why not, or what is unknown"


def show(question: frame.Question) -> None:
    """The answer, its chart and options, then limits, assumptions and the routing policy."""
    card = frame.find_chosen(question)
    workload = Workload(context_tokens=question.wishes.context_tokens, n_parallel=question.wishes.n_parallel)
    try:
        quant = cost_plan.choose_quant(card.model_id, inputs.read_size_choice().quant, workload, question.machine)
        asked_quant = inputs.read_size_choice().quant
        if asked_quant and asked_quant != quant:
            st.warning(f"{asked_quant} is not listed for this model. Taking {quant} instead.")
        if quant is None:
            show_unsized(card)
            return
        show_model(card, quant, workload, question)
    except BadInputError as error:
        show_knobs(card, tuple(w.quant for w in cached.list_weights(card.model_id)), None)
        st.warning(frame.to_sentence(str(error)), icon=":material/rule:")


def show_unsized(card: ModelCard) -> None:
    """A model the engine could not weigh has no speed and so no cost."""
    show_knobs(card, (), None)
    st.html(f'<h1 class="wb-answer">What {escape(card.spec.name)} costs is unknown.</h1>')
    st.markdown(f"It cannot be sized for llama.cpp: {frame.to_sentence(cached.find_gap(card.model_id))}")


def show_model(card: ModelCard, quant: str, workload: Workload, question: frame.Question) -> None:
    """Everything about one model in one quantization."""
    known = cost_plan.load_prices()
    load = cost_plan.read_load(workload.n_parallel)
    limits = cost_plan.read_limits(question.wishes.min_tokens_per_s)
    asked = cost_plan.read_question(load, limits)
    estimate = cost_plan.size(card.model_id, quant, workload, question.machine)
    planned = cost_plan.plan(asked, estimate, question.machine, card.model_id, known)
    for problem in (known.problem, *planned.problems):
        if problem:
            st.warning(frame.to_sentence(problem), icon=":material/edit_location_alt:")
    answer = cost_plan.answer(planned, asked)
    name = name_machine(question)
    cost_answer.show(card, quant, answer, name)
    show_knobs(card, tuple(w.quant for w in cached.list_weights(card.model_id)), quant)
    left, right = st.columns([5, 7], gap="medium")
    with left:
        show_chart(answer, planned, name)
    with right:
        show_options(answer, name)
    limits_tab, assumptions_tab, policy_tab = st.tabs((LIMITS, ASSUMPTIONS, POLICY))
    with limits_tab:
        show_limits()
    with assumptions_tab:
        cost_assumptions.show(planned, known)
    with policy_tab:
        cost_routing.show(card, quant, planned, asked, question, known)


def name_machine(question: frame.Question) -> str:
    """The machine in a sentence."""
    return cost_answer.THIS if question.wishes.machine == inputs.THIS else frame.format_machine(question.machine)


def show_knobs(card: ModelCard, known: tuple[str, ...], quant: str | None) -> None:
    """One row: the model, its quantization, the tokens of a day."""
    choices = cached.list_choices()
    names = choices.with_model(card)
    with st.container(horizontal=True, gap="small"):
        inputs.choice("model", "Model", tuple(names), names, shown=card.model_id, width=300, may_type=choices.has_more)
        if known and quant is not None:
            inputs.choice("quant", "Quantization", known, shown=quant, width=140)
        with st.container(width=190):
            inputs.millions("tokens_in", "Input, million tokens a day", 1e12)
        with st.container(width=190):
            inputs.millions("tokens_out", "Output, million tokens a day", 1e12)


def show_chart(answer: CostAnswer, planned: PlannedCost, name: str) -> None:
    """US$ a month against tokens a day for the three that are spoken of."""
    st.subheader("Where one becomes cheaper", anchor=False)
    curves = list_curves(answer, name)
    if not curves:
        st.caption(
            f"No way is open with a known cost. Give a price under {ASSUMPTIONS}, or loosen the {LIMITS.lower()}."
        )
        return
    st.caption(
        "Bands: the interval of the speed. A step: one more machine. A diamond: from here it costs less than the API."
    )
    told = "; ".join(f"{c.name}: US$ {format_usd(c.band.cost_per_month(answer.load.tokens_per_day))}" for c in curves)
    figure = charts_cost.cost_chart(curves, answer.load.tokens_per_day)
    alt = f"Cost a month against tokens a day. At the load asked about: {told}"
    frame.show_chart(figure, "cost_chart", alt, name="cost-against-tokens")
    said = cost_answer.say_rent_break_even(answer, planned)
    if said:
        st.caption(charts.roomy(said))


def list_curves(answer: CostAnswer, name: str) -> list[charts_cost.CostCurve]:
    """The curves of those with a known cost that are not ruled out."""
    out = []
    for judged, found in (
        (answer.own, answer.own_break_even),
        (answer.rent, answer.rent_break_even),
        (answer.api, None),
    ):
        if judged is None or judged.option.band is None or judged.ruled_out:
            continue
        kind = judged.option.kind
        said = {"own": f"Your own: {name}", "rent": f"Rented: {judged.option.name}", "api": judged.option.name}[kind]
        is_rivalled = answer.api is not None and answer.api.is_open
        at = found[1].tokens_per_day if found and is_rivalled else None
        out.append(charts_cost.CostCurve(kind, said, judged.option.band, (at,) if at else ()))
    return out


def show_options(answer: CostAnswer, name: str) -> None:
    """Every way, the cheapest that is not ruled out on top."""
    rows = answer.options
    n_open = sum(j.is_open for j in rows)
    st.subheader(f"{n_open} of {len(rows)} ways are open", anchor=False)
    last = "" if n_open == len(rows) else "; unknown costs and what your limits rule out last, with the reason"
    st.caption(f"The cheapest first{last}.")
    tables.show_table(
        tabulate_options(answer, name),
        "cost_options",
        name="cost-options",
        height=frame.table_height(len(rows), MAX_TABLE_PIXELS),
        column_config={
            "US$ a month": st.column_config.TextColumn(alignment="right", width=116),
            "US$ a million tokens": st.column_config.TextColumn(alignment="right", width=138),
            "Machines": st.column_config.TextColumn(alignment="right", width=84),
            "Option": st.column_config.TextColumn(width="medium"),
            "Kind": st.column_config.TextColumn(width=88),
            "Source": st.column_config.LinkColumn(display_text="open", width="small"),
        },
    )


def tabulate_options(answer: CostAnswer, name: str) -> pd.DataFrame:
    """A row for each way; a column of reasons only where there is one."""
    tokens, rows = answer.load.tokens_per_day, answer.options
    per_million = [format_usd(j.usd_per_million) if tokens or not j.option.band else "no tokens" for j in rows]
    doubts = [say_doubts(j) for j in rows]
    return pd.DataFrame(
        {
            "Option": [say_name(j, name) for j in rows],
            "Kind": [KIND_WORDS[j.option.kind] for j in rows],
            "US$ a month": [format_usd(j.usd_per_month) for j in rows],
            "US$ a million tokens": per_million,
            "Machines": [say_machines(j, tokens) for j in rows],
            **({WHY_NOT: doubts} if any(doubts) else {}),
            "Price as of": [j.option.as_of or ("see below" if j.option.kind == "own" else "yours") for j in rows],
            "Source": [j.option.source_url for j in rows],
        }
    )


def say_name(judged: JudgedOption, name: str) -> str:
    """An option's name."""
    return frame.to_title(name) if judged.option.kind == "own" else judged.option.name


def say_machines(judged: JudgedOption, tokens: float) -> str:
    """How many machines carry the load; "" where nobody counts them."""
    band = judged.option.band
    if judged.option.kind == "api":
        return "none"
    if band is None:
        return words.UNKNOWN
    if band.low.is_linear:
        return "as needed"
    fast, _, slow = band.count_machines(tokens)
    return f"{fast}" if fast == slow else f"{fast} to {slow}"


def say_doubts(judged: JudgedOption) -> str:
    """Why an option is ruled out, and what nobody knows about it."""
    return frame.to_title("; ".join((*judged.ruled_out, *filter(None, (judged.option.unknown,)), *judged.unchecked)))


def show_limits() -> None:
    """What rules an option out, whatever it costs."""
    st.caption("They rule ways out, whatever those cost. The slowest speed that will do is in the bar above.")
    with st.container(horizontal=True, gap="medium"):
        inputs.segments("stay", "Data must stay", cost_fields.REGIONS, cost_fields.REGION_WORDS, wrap=True)
        inputs.segments("third_party", "Third parties may hold it", ("on", "off"), {"on": "Yes", "off": "Nobody"})
        with st.container(width=230):
            inputs.number("first_token", "First token within, s (0: any)", 0, 100_000)


with frame.kind_errors():
    asked = frame.open_page()
    show(asked)
    frame.link_onward("cost", asked)

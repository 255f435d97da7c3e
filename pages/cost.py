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
from sizing.cost_record import (
    QUALITY_NOTE,
    BreakEvens,
    CostAnswer,
    format_count,
    format_usd,
    say_break_even,
)
from sizing.errors import BadInputError
from sizing.units import format_figures
from sizing.workload import Workload

MAX_TABLE_PIXELS = 420


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
    show_sentence(card, quant, answer, planned, name)
    show_knobs(card, tuple(w.quant for w in cached.list_weights(card.model_id)), quant)
    left, right = st.columns([6, 7], gap="medium")
    with left:
        show_chart(answer, name)
    with right:
        show_options(answer, name)
    show_limits()
    cost_assumptions.show(planned, known)
    cost_routing.show(card, quant, planned, asked, question, known)


def name_machine(question: frame.Question) -> str:
    """The machine in a sentence."""
    return "this machine" if question.wishes.machine == inputs.THIS else frame.format_machine(question.machine)


def show_sentence(card: ModelCard, quant: str, answer: CostAnswer, planned: PlannedCost, name: str) -> None:
    """What each way costs at the load, and from where a machine of one's own is the cheaper one."""
    tokens = answer.load.tokens_per_day
    parts = [say_own(answer, name), say_other("renting", answer.rent), say_other("the API", answer.api)]
    said = ", ".join(p for p in parts if p)
    may_compare = answer.own is not None and answer.own.is_open and answer.api is not None and answer.api.is_open
    meets = say_short_break_even(answer.own_break_even) if may_compare else ""
    told = f"At {format_count(tokens)} tokens a day {said}{'; ' + meets if meets else ''}."
    under = escape(say_under(card, quant, answer, planned))
    st.html(f'<h1 class="wb-answer">{escape(charts.roomy(told))}</h1><p class="wb-quiet">{under}</p>')


def say_own(answer: CostAnswer, name: str) -> str:
    """Your own machines, how many and what they cost."""
    own = answer.own
    if own is None or own.option.band is None:
        why = own.option.unknown if own else ""
        return f"what {'your own ' if name != 'this machine' else ''}{name} costs is unknown ({why})"
    fast, _, slow = own.option.band.count_machines(answer.load.tokens_per_day)
    subject = name if name == "this machine" else f"your own {name}"
    if slow > 1:
        count = f"{fast}" if fast == slow else f"{fast} to {slow}"
        subject = f"{count} machines of your own ({name} each)"
    if own.ruled_out:
        return f"{subject} {'are' if slow > 1 else 'is'} ruled out"
    return f"{subject} cost{'' if slow > 1 else 's'} US$ {format_usd(own.usd_per_month)} a month"


def say_other(what: str, judged: JudgedOption | None) -> str:
    """What renting or the API costs, or why not."""
    if judged is None:
        return f"{what} an unknown sum"
    if judged.ruled_out:
        return f"{what} is ruled out"
    return f"{what} {format_usd(judged.usd_per_month) if judged.usd_per_month else 'an unknown sum'}"


def say_short_break_even(found: BreakEvens | None) -> str:
    """From which load on your own is cheaper than the API; "" where nobody knows."""
    if found is None:
        return ""
    return say_break_even(found).replace("it costs", "your own costs").replace("it never costs", "your own never costs")


def say_under(card: ModelCard, quant: str, answer: CostAnswer, planned: PlannedCost) -> str:
    """What the sentence is about: the model, the offers, and what it leaves out."""
    load = answer.load
    mix = f"{format_count(load.input_tokens_per_day)} in, {format_count(load.output_tokens_per_day)} out"
    said = [f"{card.spec.name} at {quant}", mix]
    if planned.rent:
        said.append(f"rented: {planned.rent.name}")
    if planned.api:
        said.append(f"API: {planned.api.name}")
    told = f"{', '.join(said)}. {frame.to_sentence(QUALITY_NOTE)}"
    best = answer.options[0]
    if best.is_open and best not in (answer.own, answer.rent, answer.api):
        told += f" The cheapest way that is open: {best.option.name}, US$ {format_usd(best.usd_per_month)} a month."
    if answer.api is None or not answer.api.is_open:
        return charts.roomy(told)
    if answer.rent is not None and answer.rent_break_even is not None and answer.rent.is_open:
        told += f" Rented, {say_break_even(answer.rent_break_even)}."
    if answer.own_utilisation is not None:
        told += f" Your own meets the API when it is busy {format_figures(100 * answer.own_utilisation)}% of the time."
    return charts.roomy(told)


def show_knobs(card: ModelCard, known: tuple[str, ...], quant: str | None) -> None:
    """One row: the model, its quantization, the tokens of a day, how busy a machine may be."""
    choices = cached.list_choices()
    names = choices.with_model(card)
    with st.container(horizontal=True, gap="small"):
        inputs.choice("model", "Model", tuple(names), names, shown=card.model_id, width=300, may_type=choices.has_more)
        if known and quant is not None:
            inputs.choice("quant", "Quantization", known, shown=quant, width=140)
        with st.container(width=170):
            inputs.number("tokens_in", "Input tokens a day", 0, 1e12, step=100_000)
        with st.container(width=170):
            inputs.number("tokens_out", "Output tokens a day", 0, 1e12, step=100_000)
        with st.container(width=240):
            inputs.slider(
                "busy",
                "Utilisation at the peak, %",
                5,
                100,
                5,
                help="The share of its time a machine may be busy in the busiest hour: the less, the shorter the "
                "queues and the more machines. 100% leaves no room.",
            )


def show_chart(answer: CostAnswer, name: str) -> None:
    """US$ a month against tokens a day for the three that are spoken of."""
    st.subheader("Where one becomes cheaper", anchor=False)
    curves = list_curves(answer, name)
    if not curves:
        st.caption("No cost is known, so there is nothing to draw.")
        return
    st.caption(
        "Bands: the interval of the speed. A step: one more machine. A diamond: from here it costs less than the API."
    )
    told = "; ".join(f"{c.name}: US$ {format_usd(c.band.cost_per_month(answer.load.tokens_per_day))}" for c in curves)
    figure = charts_cost.cost_chart(curves, answer.load.tokens_per_day)
    frame.show_chart(figure, "cost_chart", f"Cost a month against tokens a day. At the load asked about: {told}")


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
    n_open = sum(j.is_open for j in answer.options)
    st.subheader(f"{n_open} of {len(answer.options)} ways are open", anchor=False)
    st.caption("The cheapest first, US$; unknown costs and what your limits rule out last, with the reason.")
    tokens = answer.load.tokens_per_day
    rows = answer.options
    table = pd.DataFrame(
        {
            "Option": [say_name(j, name) for j in rows],
            "Kind": [KIND_WORDS[j.option.kind] for j in rows],
            "A month": [format_usd(j.usd_per_month) for j in rows],
            "Per million": [
                format_usd(j.usd_per_million) if tokens or not j.option.band else "no tokens" for j in rows
            ],
            "Machines": [say_machines(j, tokens) for j in rows],
            "Why not, or what is unknown": [say_doubts(j) for j in rows],
            "Price as of": [j.option.as_of or ("see below" if j.option.kind == "own" else "yours") for j in rows],
            "Source": [j.option.source_url or None for j in rows],
        }
    )
    tables.show_table(
        table,
        "cost_options",
        name="cost-options",
        height=frame.table_height(len(rows), MAX_TABLE_PIXELS),
        column_config={
            "A month": st.column_config.TextColumn(alignment="right", width=116),
            "Per million": st.column_config.TextColumn(alignment="right", width=100),
            "Machines": st.column_config.TextColumn(alignment="right", width=84),
            "Option": st.column_config.TextColumn(width="medium"),
            "Kind": st.column_config.TextColumn(width=88),
            "Source": st.column_config.LinkColumn(display_text="open", width="small"),
        },
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
    st.subheader("Hard limits", anchor=False)
    st.caption("They rule options out, whatever those cost. The slowest speed that will do is in the bar above.")
    with st.container(horizontal=True, gap="medium"):
        inputs.segments("stay", "Data must stay", cost_fields.REGIONS, cost_fields.REGION_WORDS, wrap=True)
        inputs.segments("third_party", "Third parties may hold it", ("on", "off"), {"on": "Yes", "off": "Nobody"})
        with st.container(width=230):
            inputs.number("first_token", "First token within, s (0: any)", 0, 100_000)


with frame.kind_errors():
    show(frame.open_page())

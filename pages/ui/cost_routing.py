"""A hybrid policy on the Cost page: which requests go where, what that costs together, and the file of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pandas as pd
import streamlit as st

from catalog.cost_notes import say_source
from catalog.cost_question import CostQuestion, PlannedCost
from catalog.models import ModelCard
from catalog.offers import api_option
from catalog.routing_file import MAX_TEXT_BYTES, format_policy, read_policy
from pages.ui import cached, cost_fields, cost_plan, frame, inputs
from pages.ui.cost_plan import KnownPrices
from pages.ui.markdown_text import escape_markdown
from sizing.cost import CostBand
from sizing.cost_record import format_count, format_usd
from sizing.errors import BadInputError, UnknownNameError
from sizing.routing import TARGET_WORDS, TARGETS, BlendedCost, RoutingPolicy, Target, blend_cost
from sizing.workload import Workload

PENDING = "routes_read"


def show(
    card: ModelCard,
    quant: str,
    planned: PlannedCost,
    asked: CostQuestion,
    question: frame.Question,
    known: KnownPrices,
) -> None:
    """The table of classes, the blended cost, and its file."""
    st.caption(
        "Sensitive data stays here, volume goes to a small model, the hardest to an API. Shares are of all tokens and "
        "yours to change; each target carries its part on machines of its own."
    )
    _show_import()
    small = find_small(card, question)
    small_quant = cost_plan.choose_quant(small.model_id, "", _workload(question, small), question.machine)
    bands = list_bands(planned, asked, question, known, small, small_quant)
    models = name_models(card, quant, planned, small, small_quant)
    classes = _edit_table(models)
    policy = RoutingPolicy(classes, tuple((t, models[t]) for t in TARGETS if models[t]))
    tokens = asked.load.tokens_per_day
    blended = blend_cost(policy, bands, tokens)
    _show_total(blended, planned, tokens)
    text = format_policy(policy, list_header(blended, planned, tokens), list_notes(blended, planned))
    st.download_button(
        "Policy as YAML", text, "routing.yaml", "application/yaml", icon=":material/download:", on_click="ignore"
    )
    with st.expander("The file"):
        st.code(text, language="yaml", wrap_lines=True)


def _workload(question: frame.Question, card: ModelCard) -> Workload:
    """The bar's workload, no longer than the model's own context."""
    tokens = min(question.wishes.context_tokens, card.spec.context_tokens)
    return Workload(context_tokens=tokens, n_parallel=question.wishes.n_parallel)


def find_small(card: ModelCard, question: frame.Question) -> ModelCard:
    """The small model in the address, else the best recommended one of at most half the size, else the model itself."""
    chosen = inputs.read("small")
    if chosen:
        try:
            return cached.find_card(chosen)
        except UnknownNameError as error:
            st.warning(frame.to_sentence(f"{error}. Taking another small model instead"))
    ranked = cached.recommend(question.machine, cached.build_needs(question.wishes)).options
    half = card.spec.n_params / 2
    found = next((o.candidate.spec.model_id for o in ranked if o.candidate.spec.n_params <= half), card.model_id)
    return cached.find_card(found)


def list_bands(
    planned: PlannedCost,
    asked: CostQuestion,
    question: frame.Question,
    known: KnownPrices,
    small: ModelCard,
    small_quant: str | None,
) -> Mapping[Target, CostBand | None]:
    """What each target costs; None where that is not known."""
    small_band = None
    if small_quant is not None:
        estimate = cost_plan.size(small.model_id, small_quant, _workload(question, small), question.machine)
        small_band = cost_plan.local_band(cost_plan.plan(asked, estimate, question.machine, small.model_id, known))
    return {
        "local-small": small_band,
        "local-large": cost_plan.local_band(planned),
        "api": api_option(planned.plan, planned.api).band if planned.api else None,
    }


def name_models(
    card: ModelCard, quant: str, planned: PlannedCost, small: ModelCard, small_quant: str | None
) -> dict[Target, str]:
    """What stands behind each target."""
    return {
        "local-small": f"{small.spec.name} at {small_quant}" if small_quant else small.spec.name,
        "local-large": f"{card.spec.name} at {quant}",
        "api": planned.api_name,
    }


def _edit_table(models: Mapping[Target, str]) -> tuple[cost_fields.RequestClass, ...]:
    """The classes as a table to edit; what is no policy is said and not taken."""
    classes = inputs.read("routes")
    labels = {t: f"{TARGET_WORDS[t]}" for t in TARGETS}
    table = pd.DataFrame(
        {
            "Requests": [c.name for c in classes],
            "What": [c.description for c in classes],
            "Sensitive": ["stays here" if c.is_sensitive else "" for c in classes],
            "Share, %": [100 * c.share for c in classes],
            "Goes to": [labels[c.target] for c in classes],
        }
    )
    edited = st.data_editor(
        table,
        alt=f"Table of {len(table)} kinds of request and where each goes",
        hide_index=True,
        disabled=["Requests", "What", "Sensitive"],
        key=f"routes_{inputs.recall(PENDING, 0)}",
        column_config={
            "What": st.column_config.TextColumn(width="large"),
            "Share, %": st.column_config.NumberColumn(min_value=0, max_value=100, step=1, format="%g"),
            "Goes to": st.column_config.SelectboxColumn(options=list(labels.values()), required=True),
        },
    )
    st.caption("; ".join(f"{labels[t]}: {models[t] or 'none'}" for t in TARGETS))
    by_label = {label: t for t, label in labels.items()}
    try:
        shares = [float(s) for s in edited["Share, %"]]
        changed = cost_fields.change_route(classes, shares, [by_label.get(g, "") for g in edited["Goes to"]])
    except (BadInputError, TypeError) as error:
        st.warning(frame.to_sentence(f"{error}. Counting with what was there"), icon=":material/rule:")
        return tuple(classes)
    if changed != classes:
        inputs.set_field("routes", cost_fields.write_routes(changed))
        st.rerun()
    return changed


def _show_total(blended: BlendedCost, planned: PlannedCost, tokens: float) -> None:
    """The blended cost, and what the API alone would cost."""
    parts = [
        f"{TARGET_WORDS[t].lower() if t != 'api' else 'API'} {format_usd(cost)} for {share:.0%}"
        for t, share, cost in blended.by_target
        if share
    ]
    total = f"US$ {format_usd(blended.total)}" if blended.total else "an unknown sum"
    told = f"Together {total} a month: {', '.join(parts)}."
    if planned.api is not None:
        alone = api_option(planned.plan, planned.api).band
        told += f" All by the API: US$ {format_usd(alone.cost_per_month(tokens) if alone else None)}."
    st.markdown(f"**{escape_markdown(told)}**")


def list_header(blended: BlendedCost, planned: PlannedCost, tokens: float) -> list[str]:
    """Comments at the top of the file."""
    total = f"US$ {format_usd(blended.total)} a month" if blended.total else "an unknown sum"
    return [
        "Routing policy: classes are tried in order, each goes to its target",
        f"{format_count(tokens)} tokens a day cost {total} on {planned.plan.machine.name}",
        *planned.assumptions,
    ]


def list_notes(blended: BlendedCost, planned: PlannedCost) -> dict[Target, list[str]]:
    """Comments above each target: its part, its cost, and where its price stands."""
    notes: dict[Target, list[str]] = {}
    for target, share, cost in blended.by_target:
        said = [f"{share:.0%} of all tokens, US$ {format_usd(cost)} a month"]
        if target == "api" and planned.api is not None:
            api = planned.api
            said.append(
                f"US$ {api.usd_per_million_input} in and {api.usd_per_million_output} out per million tokens, "
                f"{say_source(api)}"
            )
        notes[target] = said
    return notes


def _show_import() -> None:
    """Read a policy from a file; its classes take the place of those in the table."""
    with st.popover("Read a policy", icon=":material/upload_file:", type="tertiary"):
        given = st.file_uploader("A policy as YAML", ["yaml", "yml"], key="routes_file")
        if given is None:
            return
        data = given.getvalue()
        mark = hashlib.sha256(data).hexdigest()
        if inputs.recall("routes_mark") == mark:
            return
        inputs.remember("routes_mark", mark)
        try:
            if len(data) > MAX_TEXT_BYTES:
                raise BadInputError(f"a policy wants at most {MAX_TEXT_BYTES // 1024} KiB")
            policy = read_policy(data.decode("utf-8", "replace"))
        except BadInputError as error:
            st.error(frame.to_sentence(str(error)), icon=":material/error:")
            return
    inputs.set_field("routes", cost_fields.write_routes(policy.classes))
    inputs.remember(PENDING, inputs.recall(PENDING, 0) + 1)
    st.rerun()

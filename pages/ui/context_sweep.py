"""Memory against context on the Size page: the chart, and what limits the context in one sentence."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from catalog.models import ModelCard
from pages.ui import cached, charts, frame
from sizing.units import format_tokens
from sizing.workload import Workload


def show(card: ModelCard, setup: cached.Setup) -> None:
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
    alt = f"Memory against context. {describe_largest(sweep, workload)}"
    name = f"memory-against-context-{card.spec.name}-{setup.quant}-{machine.name}"
    frame.show_chart(figure, "context_memory", alt, name)


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

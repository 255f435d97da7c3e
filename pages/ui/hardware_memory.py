"""What more memory opens for a model, and how much context for how many users one machine gives."""

from __future__ import annotations

import streamlit as st

from catalog.models import ModelCard
from pages.ui import cached, charts, frame, inputs
from sizing.engines import find_engine
from sizing.fit import Verdict
from sizing.hardware import Machine
from sizing.inverse import GOOD_QUANTS, GridRow, MemoryStep, Unlock
from sizing.units import THIN, format_bytes, format_tokens
from sizing.workload import Workload


def show_unlocks(
    card: ModelCard, quant: str | None, unlocks: tuple[Unlock, ...], workload: Workload, question: frame.Question
) -> None:
    """What more memory opens: for this model on any one card, and on the machine in the bar."""
    told = quant or next((u.quant for u in unlocks if u.quant), None) or GOOD_QUANTS[0]
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader(f"Memory each {'context' if quant else 'quantization'} needs", anchor=False)
        st.caption(f"{card.spec.name}{f' at {quant}' if quant else ''}, whole on one card: its usable memory.")
        steps = cached.list_memory_steps(card.model_id, told, quant is not None, workload)
        st.html(frame.facts_html([(format_bytes(s.usable_bytes), describe_step(s, quant)) for s in steps]))
    with right:
        st.subheader(f"What more memory opens on {name_machine(question)}", anchor=False)
        st.caption(say_where(question.machine))
        st.html(frame.facts_html(list_unlock_facts(unlocks)))


def describe_step(step: MemoryStep, quant: str | None) -> str:
    """What a memory step opens."""
    return f"{format_tokens(step.context_tokens)} tokens of context" if quant else step.quant


def say_where(machine: Machine) -> str:
    """Where additional memory would go."""
    if machine.accelerators:
        others = " and the other cards stay as they are" if len(machine.accelerators) > 1 else ""
        return f"Memory is added to {machine.accelerators[0].name}{others}."
    return "Memory is added to the RAM."


def list_unlock_facts(unlocks: tuple[Unlock, ...]) -> list[tuple[str, str]]:
    """The present state and each step that opens something, as name and text."""
    facts = []
    for step in unlocks:
        if step.extra_gib and not step.is_new:
            continue
        when = f"{step.extra_gib}{THIN}GiB more" if step.extra_gib else "Now"
        if step.quant is None:
            told = "no good quantization fits"
        elif step.largest_context_tokens:
            told = f"{step.quant}, up to {format_tokens(step.largest_context_tokens)} tokens for each user"
        else:
            told = step.quant
        facts.append((when, told))
    if len(facts) == 1:
        last = unlocks[-1].extra_gib
        facts.append((f"Up to {last}{THIN}GiB more", "opens nothing further"))
    return facts


def show_grid(card: ModelCard, quant: str, workload: Workload, question: frame.Question) -> None:
    """Contexts and users on the machine in the bar, as a heat map."""
    draw_grid(card, quant, cached.list_context_grid(card.model_id, quant, workload, question.machine), question)


def name_machine(question: frame.Question) -> str:
    """The machine of the bar within a sentence."""
    return "this machine" if question.wishes.machine == inputs.THIS else frame.format_machine(question.machine)


def draw_grid(card: ModelCard, quant: str, grid: tuple[GridRow, ...], question: frame.Question) -> None:
    """The heat map with what its cells say."""
    name = name_machine(question)
    st.subheader(f"Context times users on {name}", anchor=False)
    if not any(r.largest_anyhow_tokens for r in grid):
        st.caption(f"{card.spec.name} at {quant} does not fit here, however short the context.")
        return
    known = any(c.decode_tokens_per_s for r in grid for c in r.cells)
    unit = "tokens/s each user sees" if known else "speed unknown: no bandwidth is known here"
    beside = any(c.verdict is Verdict.OFFLOAD for r in grid for c in r.cells)
    mark = charts.MARKS["offload"]
    most = "the most for each user"
    if beside:
        most += f" with the model whole in the accelerators' memory, or {mark} with part of it on the host"
    queued = ""
    if find_engine(question.wishes.engine).fills_memory:
        queued = " Where not all find room at once the rest wait, and the speed is that of those at work."
    st.caption(f"{card.spec.name} at {quant}. In a cell: {unit}.{queued} Last column: {most}.")
    alt = f"Contexts and users of {card.spec.name} at {quant} on {name}: {say_grid(grid)}"
    file = f"context-times-users-{card.spec.name}-{quant}-{question.machine.name}"
    frame.show_chart(charts.context_grid_chart(grid), "context_grid", alt, file)


def say_grid(grid: tuple[GridRow, ...]) -> str:
    """The largest context for each number of users, in words."""
    told = ((r.n_parallel, r.largest_context_tokens or r.largest_anyhow_tokens) for r in grid)
    return "; ".join(f"{n} users: {format_tokens(most) if most else 'none'}" for n, most in told)

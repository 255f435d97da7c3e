"""Hardware: which machine runs a model fast enough, what more memory opens, and how much context one gives."""

from __future__ import annotations

from dataclasses import replace
from html import escape

import pandas as pd
import streamlit as st

from catalog.models import ModelCard
from pages.ui import cached, charts, charts_words, engine_answers, engine_size, frame, inputs, tables, words
from sizing.engines import Engine, find_engine
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.fit import Verdict
from sizing.hardware import Device, DeviceKind, Machine
from sizing.inverse import (
    GOOD_QUANTS,
    PRICE_BASIS,
    GridRow,
    HardwareAnswer,
    MachineAnswer,
    MemoryStep,
    PriceSource,
    Unlock,
    leave_out_surplus,
)
from sizing.inverse_record import find_source, format_price
from sizing.quants import QUANTS
from sizing.units import GIB, THIN, format_bytes, format_figures, format_gib, format_range, format_tokens
from sizing.workload import Workload

KIND_WORDS = {DeviceKind.CPU: "host", DeviceKind.GPU: "card", DeviceKind.UNIFIED: "unified memory"}
ANY_QUANT = ""


def show(question: frame.Question) -> None:
    """The model, the answer and its evidence, then the machine of the context bar, then every listed device."""
    if not question.wishes.is_llama_cpp:
        show_in_engine(find_engine(question.wishes.engine), question)
        show_machine(question)
        show_listed()
        return
    card = frame.find_chosen(question)
    known = tuple(w.quant for w in cached.list_weights(card.model_id))
    quant = choose_quant(known)
    show_knobs(card, known)
    if known:
        show_answers(card, quant, question)
    else:
        st.html(f'<h1 class="wb-answer">{escape(card.spec.name)} cannot be sized for llama.cpp.</h1>')
        st.markdown(f"{frame.to_sentence(cached.find_gap(card.model_id))} No machine is named in its place.")
    show_machine(question)
    show_listed()


def show_in_engine(engine: Engine, question: frame.Question) -> None:
    """The model, which machines run it in an engine other than llama.cpp, and contexts and users on the one here."""
    card = engine_size.find_chosen(question)
    known = tuple(w.quant for w in cached.list_weights(card.model_id)) if engine.takes_gguf else engine.formats
    named = inputs.read_size_choice().quant if engine.takes_gguf else inputs.read_engine_choice().weight_format
    chosen = next((name for name in known if name.casefold() == named.casefold()), "")
    if named and known and not chosen:
        hint = frame.say_near(named, known)
        st.warning(f"{frame.escape_markdown(named)} is no format here.{hint} Taking any that fits instead.")
    choices = cached.list_choices()
    names = choices.with_model(card)
    field, label = ("quant", "Quantization") if engine.takes_gguf else ("format", "Weight format")
    with st.container(horizontal=True, gap="small"):
        may_type = choices.has_more
        inputs.choice("model", "Model", tuple(names), names, shown=card.model_id, width=380, may_type=may_type)
        inputs.choice(field, label, ("", *known), {"": "Largest that fits"}, shown=chosen, width=190)
        inputs.choice("offload", "Part on the host", ("off", "on"), {"off": "Not allowed", "on": "Allowed"}, width=150)
    wishes, asked = question.wishes, engine_answers.read_question(question.wishes)
    spill = inputs.read("offload") == "on"
    try:
        answer = engine_answers.find_hardware(engine.name, card.model_id, chosen, asked, wishes.min_tokens_per_s, spill)
    except (BadInputError, UnknownNameError) as error:
        st.warning(frame.to_sentence(str(error)), icon=":material/rule:")
        return
    workload = Workload(context_tokens=wishes.context_tokens, n_parallel=wishes.n_parallel)
    show_sentence(card, chosen or None, answer, workload, question)
    told = answer.cheapest or next(iter(answer.unpriced), None)
    if told is not None:
        show_found(card, answer)
    ask = engine_answers.EngineAsk(engine.name, card.model_id, chosen, asked, question.machine)
    ask = replace(ask, weight_format=engine_answers.choose_format(ask, chosen))
    try:
        grid = engine_answers.list_grid(ask)
    except (UnsupportedError, BadInputError) as error:
        st.subheader(f"Context times users on {name_machine(question)}", anchor=False)
        st.caption(frame.to_sentence(str(error)))
        return
    draw_grid(card, f"{ask.weight_format} in {engine.name}", grid, question)


def choose_quant(known: tuple[str, ...]) -> str | None:
    """The quantization in the address where the model has it; None for any good one."""
    chosen = inputs.read_size_choice().quant
    if chosen and known and chosen not in known:
        st.warning(frame.say_unlisted(chosen, known, "Taking any good quantization instead."))
    return chosen if chosen in known else None


def show_knobs(card: ModelCard, known: tuple[str, ...]) -> None:
    """One row: the model, its quantization, and whether part of it may run beside a card."""
    choices = cached.list_choices()
    names = choices.with_model(card)
    order = tuple(sorted(known, key=lambda q: -QUANTS[q].nominal_bits_per_weight if q in QUANTS else 0))
    with st.container(horizontal=True, gap="small"):
        may_type = choices.has_more
        inputs.choice("model", "Model", tuple(names), names, shown=card.model_id, width=380, may_type=may_type)
        inputs.choice("quant", "Quantization", (ANY_QUANT, *order), {ANY_QUANT: "Largest that fits"}, width=190)
        inputs.choice("offload", "Part on the host", ("off", "on"), {"off": "Not allowed", "on": "Allowed"}, width=150)


def show_answers(card: ModelCard, quant: str | None, question: frame.Question) -> None:
    """Which machine does it; what memory opens; contexts and users on the machine in the bar."""
    wishes = question.wishes
    workload = Workload(context_tokens=wishes.context_tokens, n_parallel=wishes.n_parallel)
    spill = inputs.read("offload") == "on"
    try:
        answer = cached.find_hardware(card.model_id, quant, workload, wishes.min_tokens_per_s, spill)
    except BadInputError as error:
        st.warning(frame.to_sentence(str(error)), icon=":material/rule:")
        return
    told = answer.cheapest or next(iter(answer.unpriced), None)
    show_sentence(card, quant, answer, workload, question)
    if told is not None:
        show_found(card, answer)
    unlocks = cached.list_unlocks(card.model_id, quant, workload, spill, question.machine)
    here = next((u.quant for u in unlocks if u.quant), None) or (told.quant if told else GOOD_QUANTS[0])
    show_unlocks(card, quant, unlocks, workload, question)
    show_grid(card, quant or here, workload, question)


def show_sentence(
    card: ModelCard, quant: str | None, answer: HardwareAnswer, workload: Workload, question: frame.Question
) -> None:
    """The cheapest machine that does it, in one sentence, and what its price is the price of."""
    best, name = answer.cheapest, escape(card.spec.name)
    asked = frame.describe_workload(workload)
    if question.wishes.min_tokens_per_s:
        floor = format_figures(question.wishes.min_tokens_per_s)
        asked += f", at least {floor}{THIN}tokens/s in the middle of the interval"
    if best is None:
        at = f" at {quant}" if quant else ""
        which = "No listed machine of known price" if answer.unpriced else "No listed machine"
        st.html(f'<h1 class="wb-answer">{which} runs {name}{at} with these wishes.</h1>')
        st.html(f'<p class="wb-quiet">Asked: {escape(charts.roomy(asked))}. {escape(say_failures(answer))}</p>')
        if answer.unpriced:
            smallest = answer.unpriced[0]
            told = ", ".join(list_figures(smallest))
            name = frame.format_name(smallest.machine.name)
            st.markdown(charts.roomy(f"The smallest that does it: {name} at {smallest.quant}, {told}."))
        else:
            st.markdown(say_way_out(answer))
        return
    kept = [format_price(best.price_usd), *list_figures(best)]
    figures = ", ".join(f'<span class="wb-whole">{escape(charts.roomy(k))}</span>' for k in kept)
    source = find_source(best, cached.list_price_sources())
    verdict = frame.format_verdict(best.estimate.fit.verdict)
    st.html(
        f'<h1 class="wb-answer">{escape(frame.format_name(best.machine.name))} runs {name} at '
        f'<span class="wb-whole">{best.quant}:</span> {figures}.</h1>'
        f'<p><span class="wb-verdict">{verdict}, {escape(charts.roomy(asked))}. The cheapest of known price.</span> '
        f'<span class="wb-quiet">{say_price(source)} {escape(say_failures(answer))}</span></p>'
    )
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        link_to_machine(card, best, "Every figure of it")
        frame.show_assumptions(best.estimate)


def say_price(source: PriceSource | None) -> str:
    """What a price is the price of, when and where it was read, as HTML."""
    read = ""
    if source is not None:
        address = escape(source.source_url, quote=True)
        link = f'<a href="{address}" target="_blank" rel="noopener">at its source</a>'
        read = f" The {escape(source.name)} stands {link}."
    return f"{escape(frame.to_sentence(PRICE_BASIS))}{read}"


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


def show_price_chart(answer: HardwareAnswer) -> None:
    """Price against speed of all that do it and whose price and speed are known."""
    st.subheader("Price against speed", anchor=False)
    useful = leave_out_surplus(answer.priced)
    points = [p for a in useful if (p := to_point(a, a is answer.cheapest)) is not None]
    undrawn = len(leave_out_surplus(answer.unpriced))
    missing = f" {undrawn} that do it are not drawn: their price is unknown." if undrawn else ""
    if len(points) < 2:
        st.caption(f"Too few machines of known price do it to draw them.{missing}")
        return
    st.caption(f"{len(points)} machines; dot area is memory left.{missing}")
    frame.show_chart(charts.price_chart(points), "price_speed", charts_words.describe_prices(points))


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
            "The cheapest first; those of unknown price last, the smallest first. More cards that gain nothing are "
            "left out. Pick a row to size it."
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
    tables.show_table(
        words.style_table(table),
        height=380,
        key="machines",
        selection_mode="single-row",
        column_config=frame.right_aligned("Speed, tokens/s"),
    )


def format_interval(answer: MachineAnswer) -> str:
    """The decode interval as a cell."""
    decode = answer.decode_tokens_per_s
    return format_range(decode.low, decode.high) if decode else words.UNKNOWN


def show_unlocks(
    card: ModelCard, quant: str | None, unlocks: tuple[Unlock, ...], workload: Workload, question: frame.Question
) -> None:
    """What more memory opens: for this model on any one card, and on the machine in the bar."""
    told = quant or next((u.quant for u in unlocks if u.quant), None) or GOOD_QUANTS[0]
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("What each more gigabyte opens", anchor=False)
        if quant:
            st.caption(f"{card.spec.name} at {quant}, whole on one card: the usable memory each context needs.")
        else:
            st.caption(f"{card.spec.name}, whole on one card: the usable memory from which each quantization runs.")
        steps = cached.list_memory_steps(card.model_id, told, quant is not None, workload)
        st.html(frame.facts_html([(format_bytes(s.usable_bytes), describe_step(s, quant)) for s in steps]))
    with right:
        name = "this machine" if question.wishes.machine == inputs.THIS else frame.format_machine(question.machine)
        st.subheader(f"On {name}", anchor=False)
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


def show_found(card: ModelCard, answer: HardwareAnswer) -> None:
    """The machines that do it: price against speed, and all of them."""
    left, right = st.columns([5, 6], gap="medium")
    with left:
        show_price_chart(answer)
    with right:
        show_machines(card, answer)


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
    frame.show_chart(charts.context_grid_chart(grid), "context_grid", alt)


def say_grid(grid: tuple[GridRow, ...]) -> str:
    """The largest context for each number of users, in words."""
    told = ((r.n_parallel, r.largest_context_tokens or r.largest_anyhow_tokens) for r in grid)
    return "; ".join(f"{n} users: {format_tokens(most) if most else 'none'}" for n, most in told)


def show_machine(question: frame.Question) -> None:
    """Each device of the machine with its figures, and what is assumed or unknown about it."""
    machine = question.machine
    name, usable = frame.format_machine(machine), format_bytes(frame.main_bytes(machine))
    with st.expander(charts.roomy(f"{name}: {usable} for a model")):
        for device in list_parts(machine):
            st.html(f'<p class="wb-figures">{escape(device.name)}</p>{frame.facts_html(list_facts(device))}')
            if device.notes:
                st.caption("  \n".join(frame.to_sentence(n) for n in device.notes))
        if question.wishes.machine == inputs.THIS:
            st.caption("Read anew every five minutes: what other programs hold is not usable for a model.")


def list_parts(machine: Machine) -> tuple[Device, ...]:
    """The devices of a machine, cards first, several of one kind once; a unified pool stands for its host."""
    if machine.is_unified:
        return machine.accelerators
    return tuple(dict.fromkeys((*machine.accelerators, machine.host)))


def list_facts(device: Device) -> tuple[tuple[str, str], ...]:
    """What is known of a device, as name and text."""
    bandwidth, flops = device.bandwidth_bytes_per_s, device.fp16_flops
    facts = [
        ("Kind", KIND_WORDS[device.kind]),
        ("Memory", format_bytes(device.memory_bytes)),
        ("Usable", format_bytes(device.usable_bytes)),
        ("Bandwidth", f"{format_figures(bandwidth / 1e9)}{THIN}GB/s" if bandwidth else words.UNKNOWN),
        ("16-bit arithmetic", f"{format_figures(flops / 1e12)}{THIN}TFLOPS, dense" if flops else words.UNKNOWN),
        ("Backend", device.backend),
    ]
    if device.kind is DeviceKind.CPU:
        facts.append(("Physical cores", str(device.n_cores) if device.n_cores else words.UNKNOWN))
        facts.append(("Instruction sets", ", ".join(device.instruction_sets) or words.UNKNOWN))
    else:
        facts.append(("Power", f"{format_figures(device.power_watts)}{THIN}W" if device.power_watts else words.UNKNOWN))
        facts.append(("Price", format_price(device.price_usd).removeprefix("price ")))
    return tuple(facts)


def show_listed() -> None:
    """Every device the catalog lists, folded."""
    devices = cached.list_devices()
    with st.expander(f"{len(devices)} listed devices"):
        st.caption("Build a machine of them in the bar above: any cards, any number of each, in any host.")
        nan = float("nan")
        table = pd.DataFrame(
            {
                "Device": [d.name for d in devices],
                "Kind": [KIND_WORDS[d.kind] for d in devices],
                "Memory, GiB": [d.memory_bytes / GIB for d in devices],
                "Usable, GiB": [d.usable_bytes / GIB for d in devices],
                "Bandwidth, GB/s": [d.bandwidth_bytes_per_s / 1e9 if d.bandwidth_bytes_per_s else nan for d in devices],
                "16-bit, TFLOPS": [d.fp16_flops / 1e12 if d.fp16_flops else nan for d in devices],
                "Power, W": [d.power_watts if d.power_watts is not None else nan for d in devices],
                "Price, US$": [d.price_usd if d.price_usd is not None else nan for d in devices],
            }
        )
        tables.show_table(
            words.style_table(table),
            height=620,
            key="devices",
            column_config=frame.right_aligned(),
        )


with frame.kind_errors():
    show(frame.open_page(has_engine=True))

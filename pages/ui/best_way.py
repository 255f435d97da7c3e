"""The best way to run the model of the page here, what it gives up, and one click that takes it."""

from __future__ import annotations

from dataclasses import replace
from html import escape

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.ui import cached, charts, frame, get_file, inputs, words
from pages.ui.questions import write_layer_list
from sizing.errors import BadInputError, UnsupportedError
from sizing.hardware import Machine
from sizing.launch import format_solution_command
from sizing.solver import Asked, GivenUp, NoSolution, Solution
from sizing.units import THIN, format_figures, format_tokens

HEADING = "The best way to run it here"
TAKE = "Take it"
THIS_ONE = "This is the best way found to run it here."


def reserve() -> DeltaGenerator:
    """A place for the section, which may take longer to work out than what stands below it."""
    place = st.empty()
    with place.container():
        st.html('<p class="wb-quiet">Looking for the best way to run it: every quantization, cache and placement.</p>')
    return place


def show(
    place: DeltaGenerator, model_id: str, shown: cached.Setup | None, question: frame.Question, n_ubatch: int
) -> None:
    """Fill the place; `shown` is the configuration on the page, None where it cannot be sized."""
    wishes = question.wishes
    try:
        asked = Asked(wishes.context_tokens, wishes.n_parallel, wishes.min_tokens_per_s or None, n_ubatch=n_ubatch)
        found = cached.find_best_way(model_id, asked, question.machine)
    except (BadInputError, UnsupportedError):  # the page has said what is wrong
        place.empty()
        return
    with place.container():
        if isinstance(found.answer, NoSolution):
            show_none(model_id, found.answer, asked, question.machine)
        elif shown is not None and is_same(found.answer, shown):
            show_same(found.answer, shown)
        else:
            show_found(model_id, found, found.answer, shown, question)


def show_none(model_id: str, answer: NoSolution, asked: Asked, machine: Machine) -> None:
    """Why nothing runs, and what would help."""
    st.subheader(HEADING, anchor=False)
    name = cached.find_card(model_id).spec.name
    least = asked.min_decode_tokens_per_s
    advice = "More memory would help, or a smaller model."
    if least and "speed is unknown" in answer.reason:
        advice = "Give the machine's bandwidth by hand, or ask for any speed."
    elif least and "tokens/s" in answer.reason:
        said = f"{format_figures(least)}{THIN}tokens/s"
        advice = f"A least speed below {said} would help, or faster memory, or a smaller model."
    st.html(
        f'<p class="wb-figures">{escape(charts.roomy(name))} does not run on '
        f"{escape(charts.roomy(frame.format_machine(machine)))}.</p>"
        f"<p>{escape(frame.to_sentence(answer.reason))} {escape(charts.roomy(advice))}</p>"
    )
    frame.link_to_hardware(model_id, "", "Which machines run it")


def show_same(answer: Solution, shown: cached.Setup) -> None:
    """The page shows the best way already: that, and what it gives up."""
    st.html(f'<p class="wb-figures">{THIS_ONE}</p>{given_up_html(answer)}{beside_html(shown)}')


def show_found(
    model_id: str, found: cached.BestWay, answer: Solution, shown: cached.Setup | None, question: frame.Question
) -> None:
    """The configuration in one sentence, what it gives up, its command, and the way to take it."""
    st.subheader(HEADING, anchor=False)
    st.html(
        f'<p class="wb-figures">{escape(charts.roomy(describe(answer, question)))}</p>'
        f"{given_up_html(answer)}{beside_html(shown)}"
    )
    spec = cached.find_card(model_id).spec
    file = get_file.name_file(spec.model_id, answer.quant)
    command = format_solution_command(spec.name, answer, question.machine, file)
    if command is not None:
        st.code(command, language="bash", wrap_lines=True)
    st.button(
        TAKE,
        key="take_best_way",
        type="tertiary",
        icon=":material/check:",
        help="Puts this quantization, caches, context, users and placement on the page",
        on_click=inputs.set_fields,
        args=(list_fields(model_id, found, answer),),
    )


def is_same(answer: Solution, shown: cached.Setup) -> bool:
    """Whether the page shows just this configuration, whatever stands beside it."""
    main = cached.size_setup(shown).main
    return (answer.quant, replace(answer.workload, n_batch=1), answer.estimate.offload) == (
        shown.quant,
        replace(shown.workload, n_batch=1),
        main.offload,
    )


def list_fields(model_id: str, found: cached.BestWay, answer: Solution) -> dict[str, str]:
    """The address fields that put the configuration on the page."""
    workload, told = answer.workload, answer.estimate
    fields = {
        "model": model_id,
        "quant": answer.quant,
        "kv_k": workload.kv_type_k,
        "kv_v": workload.kv_type_v,
        "flash": "on",
        "context": str(workload.context_tokens),
        "users": str(workload.n_parallel),
        "gpu_layers": inputs.AUTO,
        "split": "",
        "cpu_moe": inputs.AUTO,
        "expert_layers": "",
    }
    if found.is_automatic:
        return fields
    return {
        **fields,
        "gpu_layers": str(told.n_gpu_layers),
        "split": ",".join(str(count) for count in told.tensor_split or ()),
        "cpu_moe": str(told.n_cpu_moe) if told.n_cpu_moe else inputs.AUTO,
        "expert_layers": write_layer_list(told.expert_layers),
    }


def describe(answer: Solution, question: frame.Question) -> str:
    """'IQ4_XS with f16 caches, all 80 layers on the card: ● fits, 16 to 20 tokens/s.'"""
    workload, told = answer.workload, answer.estimate
    caches = (
        f"{workload.kv_type_k} caches"
        if workload.kv_type_k == workload.kv_type_v
        else f"a {workload.kv_type_k} K and a {workload.kv_type_v} V cache"
    )
    wishes = question.wishes
    asked = ""
    if (workload.context_tokens, workload.n_parallel) != (wishes.context_tokens, wishes.n_parallel):
        users = "1 user" if workload.n_parallel == 1 else f"each of {workload.n_parallel} users"
        asked = f", {format_tokens(workload.context_tokens)} tokens for {users}"
    speed = ", ".join(words.format_speeds(told))
    where = describe_placement(answer, question.machine)
    return f"{answer.quant} with {caches}{asked}, {where}: {frame.format_verdict(told.fit.verdict).lower()}, {speed}."


def describe_placement(answer: Solution, machine: Machine) -> str:
    """Where the layers and the experts go."""
    told = answer.estimate
    if machine.is_unified:
        return "all in the shared memory"
    if not machine.accelerators:
        return "all on the host"
    n_layers = sum(d.n_layers for d in told.memory.devices)
    cards = "card" if len(machine.accelerators) == 1 else "cards"
    if not told.n_gpu_layers:
        return f"all {n_layers} layers on the host"
    on_cards = sum(d.n_layers for d in told.memory.devices[1:])
    count = f"all {n_layers}" if on_cards == n_layers else f"{on_cards} of {n_layers}"
    said = f"{count} layers on the {cards}"
    if told.tensor_split is not None:
        said += f", {format_split(told.tensor_split)} with the output as one"
    n_experts = len({*range(told.n_cpu_moe), *told.expert_layers})
    if n_experts:
        said += f", the experts of {n_experts} of them on the host"
    return said


def format_split(split: tuple[int, ...]) -> str:
    """'41 + 40', '10 or 11 on each', '8 to 20 on each'."""
    if len(split) <= 3:
        return " + ".join(str(count) for count in split)
    low, high = min(split), max(split)
    return f"{low} on each" if low == high else f"{low} {'or' if high == low + 1 else 'to'} {high} on each"


def given_up_html(answer: Solution) -> str:
    """What the configuration does without and why, as a short list."""
    if not answer.gave_up:
        return '<p class="wb-quiet">It gives up nothing.</p>'
    decode = words.decode_of(answer.estimate)
    each = " each" if answer.workload.n_parallel > 1 else ""
    speed = f" for about {format_figures(decode.mid)}{THIN}tokens/s{each}" if decode else ""
    items = "".join(f"<li>{given_up_item(given)}</li>" for given in answer.gave_up)
    return f'<p class="wb-quiet">{charts.roomy(f"What it gives up{speed}:")}</p><ul class="wb-list">{items}</ul>'


VERDICT_WORDS = {
    "fits": "it fits",
    "tight": "it is tight",
    "offload": "part of it runs on the host",
}


def given_up_item(given: GivenUp) -> str:
    """One thing given up: what instead of what, and what stood in the way."""
    head, colon, rest = given.why.partition(": ")
    verdict = VERDICT_WORDS.get(head) if colon else None
    instead = "With all there" if given.wanted == "all" else f"With {given.wanted}"
    why = f"{instead} {verdict}: {rest}" if verdict else f"{instead}, {given.why}"
    other = "" if given.wanted == "all" else f", not {given.wanted}"
    told = charts.roomy(f"{frame.to_title(given.what)}: {given.got}{other}.")
    return f'{escape(told)} <span class="wb-quiet">{escape(frame.to_sentence(why))}</span>'


def beside_html(shown: cached.Setup | None) -> str:
    """A word where something stands beside the model that the search knows nothing of."""
    if shown is None or (shown.draft is None and not shown.has_projector):
        return ""
    what = " and ".join(w for w, has in (("a draft", shown.draft), ("the projector", shown.has_projector)) if has)
    return f'<p class="wb-quiet">Worked out for the model alone, without {what} beside it.</p>'

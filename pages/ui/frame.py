"""What every page has around its answer: style, the context bar, and kind errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.pages_manager import PagesManager

from catalog.license_rules import NOT_LEGAL_ADVICE
from catalog.models import ModelCard
from catalog.queries import ASSUMED_HOST
from catalog.version import CatalogVersion, read_version
from pages.ui import (
    cached,
    chart_files,
    charts,
    charts_keys,
    eval_queue,
    faults,
    import_jobs,
    inputs,
    license_words,
    machine_builder,
    share_link,
    turns,
)
from pages.ui.markdown_text import escape_markdown
from pages.ui.questions import Wishes
from sizing.compare import MAX_MODELS
from sizing.engines import find_engine, list_engines
from sizing.errors import UnknownNameError, WeighbridgeError, find_near_names
from sizing.estimate import ENGINE, Estimate
from sizing.hardware import Device, DeviceKind, Machine
from sizing.license_profile import FIELDS_OF_USE, MAX_REVENUE_USD, MAX_USERS
from sizing.profile_words import FIELD_WORDS
from sizing.recommend import LICENSE_USES, TASKS
from sizing.units import THIN, format_bytes, format_figures, format_tokens
from sizing.workload import MAX_PARALLEL, Workload

_STYLE = """<style>
.stMainBlockContainer { padding: 4.25rem 2.5rem 3rem; max-width: 1480px; margin: 0 auto; }
.stApp { font-variant-numeric: tabular-nums; }
:is(h1, h2).wb-answer { font-size: 1.6rem; font-weight: 600; line-height: 1.25; margin: 0; padding: 0; }
.stMain:focus-visible { outline: 2px solid currentColor; outline-offset: -2px; }
[data-testid="stCaptionContainer"] { color: inherit; opacity: 0.75; }
[data-testid="stCode"] code span { color: inherit !important; }
[data-testid="stCaptionContainer"] a { color: inherit; }
[data-testid="stBaseButton-primary"] *, [data-tag], [data-tag] * {
  color: light-dark(#FFFFFF, #15181A) !important; }
.wb-whole { white-space: nowrap; }
.wb-figures { font-size: 1rem; font-weight: 600; margin: 0.1rem 0; }
.wb-quiet { font-size: 0.87rem; opacity: 0.75; margin: 0; }
.wb-list { margin: 0; padding-left: 1.1rem; }
.wb-list li { margin: 0.12rem 0; font-size: 1rem; }
.wb-verdict { font-size: 0.87rem; font-weight: 600; }
.wb-facts { width: 100%; border-collapse: collapse; font-size: 1rem; }
.wb-facts td { padding: 0.16rem 0; vertical-align: top; border: none; }
.wb-facts td:first-child { opacity: 0.75; padding-right: 1rem; width: 9.5rem; }
.st-key-context_bar { border-bottom: 1px solid color-mix(in srgb, currentColor 15%, transparent); }
.st-key-context_bar { padding-bottom: 0.4rem; }
.st-key-context_bar > :last-child { margin-left: auto; }
.st-key-onward { border-top: 1px solid color-mix(in srgb, currentColor 15%, transparent); padding-top: 0.6rem; }
.st-key-size_figures [data-testid="stColumn"] > div { gap: 0; }
.st-key-context_bar button { min-height: 2rem; padding: 0.1rem 0.6rem; }
.modebar:focus-within { opacity: 1 !important; }
.modebar .wb-chart-file { width: auto; padding: 0.1rem 0.35rem; font-size: 0.87rem !important; opacity: 0.75; }
.modebar .wb-chart-file:hover, .modebar .wb-chart-file:focus-visible { opacity: 1; text-decoration: underline; }
[data-testid="stElementToolbarButton"]:has(button[aria-label^="Download as CSV"]) { display: none; }
@media (max-width: 640px) { .stMainBlockContainer { padding: 4rem 1rem 2rem; } }
@media (max-width: 640px) { :is(h1, h2).wb-answer { font-size: 1.3rem; } }
</style>"""

RECALLED = "recalled from memory, not read at a source"

MARKS = charts.MARKS


@dataclass(frozen=True, slots=True)
class Question:
    """What the context bar holds, the machine it names, and the place in it for the page's link."""

    wishes: Wishes
    machine: Machine
    link: DeltaGenerator


@contextmanager
def kind_errors() -> Iterator[None]:
    """Turn an error raised on purpose into a sentence on the page; the page stays up."""
    try:
        yield
    except WeighbridgeError as error:
        st.error(to_sentence(str(error)), icon=":material/error:")


def open_page(*, has_engine: bool = False) -> Question:
    """Draw the frame and the context bar; returns the question it holds. With `has_engine` the engine is part of it.

    What the address got wrong is said under the bar and a default is used. An unknown machine falls back to the last
    one that was understood, at first this one.
    """
    _leave_folder_navigation()
    turns.sweep_if_due()
    eval_queue.wake_queue()
    if not import_jobs.imports().is_busy:  # while a row is at work, every model it keeps would renew the catalog
        cached.renew_if_changed()
    st.html(_STYLE + charts_keys.STYLE)
    version = cached.catalog().version
    problems = list(inputs.load_address(version.text))
    wishes = inputs.read_wishes()
    try:
        machine = cached.find_machine(wishes)
    except WeighbridgeError as error:
        last = inputs.return_to_machine()
        problems.append(inputs.say_refusal(error, "this machine" if last == inputs.THIS else last))
        wishes = inputs.read_wishes()
        machine = cached.find_machine(wishes)
    inputs.keep_machine(wishes.machine)
    question = Question(wishes, machine, _draw_context_bar(wishes, machine, has_engine))
    share_link.fill(question.link, wishes, machine)
    _say_other_catalog(version)
    for problem in problems:
        st.warning(to_sentence(problem), icon=":material/edit_location_alt:")
    for problem in faults.list_problems():
        st.warning(to_sentence(escape_markdown(problem)), icon=":material/database:")
    return question


def _say_other_catalog(here: CatalogVersion) -> None:
    """That a link was made with other facts than those that are here, until something is changed."""
    made_with = inputs.find_other_catalog()
    if made_with:
        day = read_version(made_with).newest
        st.caption(
            f":material/history: This link was made with catalog {made_with}; here is {here.text}, and figures may "
            f"differ. To see what its sender saw, go back to the program as it was when its newest fact was of {day}."
        )


def _leave_folder_navigation() -> None:
    """Start over through `app.py` when Streamlit took the `pages` folder for its navigation.

    It does so until `app.py` has run once in the process, so a link straight to a page, opened first after a start,
    would come without the app's frame (streamlit/runtime/pages_manager.py, `uses_pages_directory`).
    """
    if getattr(PagesManager, "uses_pages_directory", False):
        PagesManager.uses_pages_directory = False
        st.rerun()


def format_verdict(verdict: str) -> str:
    """A verdict as its mark and its word: '● Fits'."""
    return f"{MARKS.get(verdict, '?')} {verdict.capitalize()}"


def show_chart(figure: charts.Figure, key: str, alt: str, name: str = "") -> None:
    """A figure with its legend as text under it; `alt` says in words what it shows.

    It can be taken along as PNG or SVG; `name` names the file, the key where it is not given.
    """
    with st.container(gap=None):
        charts.write_in_theme(figure)
        st.plotly_chart(figure, config=chart_files.build_config(name or key), key=key, alt=alt)
        if keys := charts_keys.keys_html(figure):
            st.html(keys)
        st.html(chart_files.SCRIPT, unsafe_allow_javascript=True)


def show_assumptions(estimate: Estimate) -> None:
    """What an estimate takes for granted, one click away from it."""
    with st.popover("What was assumed", type="tertiary"):
        st.markdown("\n".join(f"- {to_sentence(a)}" for a in estimate.memory.assumptions))


def answer_html(name: str, quant: str, figures: Iterable[str]) -> str:
    """The headline: a model, its quantization, its figures, broken over lines only between them."""
    kept = [f'<span class="wb-whole">{escape(charts.roomy(part))}</span>' for part in figures]
    return f'<h1 class="wb-answer">{escape(name)} at <span class="wb-whole">{quant}:</span> {", ".join(kept)}.</h1>'


def find_chosen(question: Question) -> ModelCard:
    """The model in the address; for none or an unknown one, the one recommended for the machine in the bar."""
    chosen = inputs.read_size_choice().model
    if chosen:
        try:
            return cached.find_card(chosen)
        except UnknownNameError as error:
            said = f"{to_sentence(str(error))} Showing another model instead."
            st.warning(said, icon=":material/edit_location_alt:")
    best = cached.recommend(question.machine, cached.build_needs(question.wishes)).best
    return cached.find_card(best.candidate.spec.model_id) if best else cached.list_cards()[0]


def say_unlisted(quant: str, known: Iterable[str], instead: str) -> str:
    """That a model has no such quantization, with near names, and what is taken in its place."""
    return f"{escape_markdown(quant)} is not listed for this model.{say_near(quant, known)} {instead}"


def say_near(name: str, known: Iterable[str]) -> str:
    """' Near: Q4_K_M, Q4_K_S.', or nothing where nothing is near."""
    near = find_near_names(name, known)
    return f" Near: {', '.join(near)}." if near else ""


def describe_workload(workload: Workload) -> str:
    """What was asked, in a few words: '8,192 tokens of context for 1 user'."""
    users = "1 user" if workload.n_parallel == 1 else f"each of {workload.n_parallel} users"
    return f"{format_tokens(workload.context_tokens)} tokens of context for {users}"


def link_to_size(model_id: str, quant: str, label: str, **changes: object) -> None:
    """A quiet link to the Size page that takes the whole question along, with `changes` to it."""
    st.page_link(
        "pages/size.py",
        label=label,
        icon=":material/straighten:",
        query_params=inputs.address_of(model=model_id, **{**_address_of_quant(quant), **changes}),
    )


def _address_of_quant(quant: str) -> dict[str, str]:
    """A quantization or a weight format as the fields of the address that name it.

    A name that the engine of the address does not read is one of llama.cpp's.
    """
    engine = find_engine(inputs.read("engine"))
    if quant and quant in engine.formats:
        return {"format": quant}
    return {"quant": quant} if not quant or engine.takes_gguf else {"quant": quant, "engine": ENGINE}


ONWARD = {
    "choose": ("pages/size.py", "size it: memory, context, every quantization", ":material/straighten:"),
    "size": ("pages/hardware.py", "the machines that run it", ":material/developer_board:"),
    "hardware": ("pages/compare.py", "compare it with others", ":material/compare_arrows:"),
    "compare": ("pages/licenses.py", "what its licence allows you", ":material/gavel:"),
    "licenses": ("pages/evaluate.py", "evaluate it on your own machine", ":material/checklist:"),
    "evaluate": ("pages/cost.py", "what it costs, here, rented and by API", ":material/payments:"),
    "cost": ("pages/choose.py", "back to the recommendation and its report", ":material/flag:"),
}
"""The path through the app: where each of its pages leads on, and how that is said."""


def link_onward(page: str, question: Question) -> None:
    """The foot of a page of the path: one quiet link to the next, which takes the whole question along.

    A page that shows the recommended model, none being chosen, names it in this link and in its own.
    """
    shown = _find_shown(page, question)
    if shown and page != "choose":
        share_link.fill(question.link, question.wishes, question.machine, **shown)
    target, words, icon = ONWARD[page]
    model = shown.get("model") or inputs.read("model")
    if page == "hardware" and model and not inputs.read("compare"):
        shown["compare"] = model
    with st.container(key="onward"):
        st.page_link(target, label=f"Next: {words}", icon=icon, query_params=inputs.address_of(**shown))


def _find_shown(page: str, question: Question) -> dict[str, str]:
    """The fields that name the recommended model on a page that shows it because none is chosen."""
    if page not in ("choose", "size", "hardware", "cost") or inputs.read("model") or not question.wishes.is_llama_cpp:
        return {}
    best = cached.recommend(question.machine, cached.build_needs(question.wishes)).best
    if best is None:
        return {}
    model = {"model": best.candidate.spec.model_id}
    has_quant = page in ("choose", "size") and not inputs.read("quant")
    return {**model, "quant": best.quant} if has_quant else model


def link_to_hardware(model_id: str, quant: str, label: str) -> None:
    """A quiet link to the Hardware page that takes the whole question along."""
    st.page_link(
        "pages/hardware.py",
        label=label,
        icon=":material/developer_board:",
        query_params=inputs.address_of(model=model_id, **_address_of_quant(quant)),
    )


def link_to_compare(*model_ids: str) -> None:
    """A quiet link to the Compare page that adds models to those chosen there; where there is no room, it says so."""
    chosen = inputs.read("compare")
    new = tuple(dict.fromkeys((*chosen, *model_ids)))
    is_full = len(new) > MAX_MODELS
    st.page_link(
        "pages/compare.py",
        label=f"Compare: {len(chosen)} chosen, no room" if is_full else "Compare",
        icon=":material/compare_arrows:",
        query_params=inputs.address_of(compare="|".join(chosen if is_full else new)),
    )


def link_to_licenses(model_id: str, label: str) -> None:
    """A quiet link to the Licences page that takes the whole question along."""
    st.page_link(
        "pages/licenses.py", label=label, icon=":material/gavel:", query_params=inputs.address_of(model=model_id)
    )


def link_to_evaluate(paths: Iterable[object], label: str = "Evaluate it") -> None:
    """A quiet link to the Evaluate page with model files of this machine chosen there."""
    st.page_link(
        "pages/evaluate.py",
        label=label,
        icon=":material/checklist:",
        query_params=inputs.address_of(models="|".join(f"file:{path}" for path in paths)),
    )


def facts_html(facts: Iterable[tuple[str, str]]) -> str:
    """Facts as a quiet two-column table."""
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(charts.roomy(text))}</td></tr>" for name, text in facts)
    return f'<table class="wb-facts">{rows}</table>'


def right_aligned(*as_text: str) -> dict[str, Any]:
    """Column settings for the tables of estimates: figures to the right, those `as_text` too."""
    figures = (
        "Memory, GiB",
        "Weights, GiB",
        "Speed, tokens/s",
        "Quantization loss, points",
        "Longest context, tokens",
        "Usable, GiB",
        "Bandwidth, GB/s",
        "16-bit, TFLOPS",
        "Price, US$",
        "Left, GiB",
        "Power, W",
    )
    return {
        "Model": st.column_config.TextColumn(width="medium"),
        **{name: st.column_config.NumberColumn(alignment="right") for name in figures},
        **{name: st.column_config.TextColumn(alignment="right") for name in as_text},
    }


ROW_PIXELS = 35
"""Height of a row of `st.dataframe`, its header's too."""


def table_height(n_rows: int, most: int) -> int | Literal["content"]:
    """The height of a table that shows all its rows where that takes no more than `most` pixels."""
    return "content" if ROW_PIXELS * (n_rows + 1) <= most else most


def describe_device(device: Device) -> str:
    """One device in one line: memory, usable memory, bandwidth."""
    bandwidth = (
        f"{format_figures(device.bandwidth_bytes_per_s / 1e9)}{THIN}GB/s"
        if device.bandwidth_bytes_per_s
        else "bandwidth unknown"
    )
    return (
        f"**{device.name}**: {format_bytes(device.memory_bytes)}, "
        f"{format_bytes(device.usable_bytes)} usable, {bandwidth}"
    )


def _draw_context_bar(wishes: Wishes, machine: Machine, has_engine: bool) -> DeltaGenerator:
    """The question, each part a popover to change it; returns the place for the page's link."""
    users = "1 user" if wishes.n_parallel == 1 else f"{wishes.n_parallel} users"
    speed = (
        "Any speed"
        if not wishes.min_tokens_per_s
        else f"At least {format_figures(wishes.min_tokens_per_s)}{THIN}tokens/s"
    )
    name = "This machine" if wishes.machine == inputs.THIS else format_machine(machine)
    icon = ":material/developer_board:" if machine.accelerators else ":material/memory:"
    with st.container(key="context_bar", horizontal=True, gap="small"):
        with st.popover(charts.roomy(f"{name} · {format_bytes(main_bytes(machine))}"), icon=icon, type="tertiary"):
            _machine_panel(wishes, machine)
        if has_engine:
            with st.popover(wishes.engine, icon=":material/deployed_code:", type="tertiary"):
                _engine_panel()
        with st.popover(inputs.TASK_WORDS[wishes.task], icon=":material/task_alt:", type="tertiary"):
            inputs.segments("task", "Task", TASKS, inputs.TASK_WORDS)
        with st.popover(f"{format_tokens(wishes.context_tokens)} tokens", icon=":material/notes:", type="tertiary"):
            inputs.context_quick_picks()
            inputs.whole("context", "Another length", 1, inputs.MAX_CONTEXT_TOKENS, step=1024)
            st.caption(
                "What each user can hold at once: question, documents and answer together. Never shortened silently."
            )
        with st.popover(users, icon=":material/group:", type="tertiary"):
            inputs.whole("users", "Users at the same time", 1, MAX_PARALLEL)
            st.caption("Each user gets a slot with its own context.")
        with st.popover(inputs.LICENSE_WORDS[wishes.license_use], icon=":material/gavel:", type="tertiary"):
            inputs.segments("licence", "Licence must allow", LICENSE_USES, inputs.LICENSE_WORDS)
        profile = license_words.name_profile(wishes.license_profile)
        with st.popover(charts.roomy(profile), icon=":material/badge:", type="tertiary"):
            _license_panel()
        with st.popover(charts.roomy(speed), icon=":material/speed:", type="tertiary"):
            inputs.number("speed", "Slowest that will do, tokens/s", 0, 100_000)
            st.caption("0 means any speed. People read at about 5 to 10 tokens/s.")
        return share_link.draw_place()


def _engine_panel() -> None:
    """The engine, and in a line what each one is."""
    engines = list_engines()
    inputs.choice("engine", "Engine", tuple(e.name for e in engines))
    told = [f"**{e.name}**: {e.summary}" if e.summary else f"**{e.name}**" for e in engines]
    st.caption("  \n".join(told))


def _license_panel() -> None:
    """Who asks and what they do with a model: what licences turn on."""
    regions = license_words.list_regions(inputs.REGIONS, inputs.read("lic_region"))
    inputs.choice("lic_region", "Where you are", tuple(regions), regions, may_type=True)
    inputs.known_or_whole("lic_users", "Users a month, of all your products", MAX_USERS)
    inputs.known_or_whole("lic_revenue", "Revenue a year of the company, US$", MAX_REVENUE_USD)
    inputs.yes_no("lic_finetune", "Fine-tune it")
    inputs.yes_no("lic_redistribute", "Pass it or a changed model on")
    inputs.yes_no("lic_outputs", "Train another model on its outputs")
    inputs.several("lic_fields", "Fields of use", FIELDS_OF_USE, "None of these", FIELD_WORDS)
    st.caption(f"Empty means not known: it counts only where a licence turns on it. {NOT_LEGAL_ADVICE}")


def format_machine(machine: Machine) -> str:
    """A machine's name as people write it: '2 × RTX 4090'. The rates of one written out for a link are left out."""
    return format_name(re.sub(r"( at [\d.]+ GB/s)?( (and|at) [\d.]+ TFLOPS)? \([\d.]+ GiB usable\)", "", machine.name))


def format_name(name: str) -> str:
    """The text of a machine as people write it."""
    parts = name.split(" + ")
    return " + ".join(re.sub(r"^(.+)\*(\d+)( \(.+\))?$", r"\2 × \1\3", part) for part in parts)


def main_bytes(machine: Machine) -> int:
    """Usable bytes where models should live: the accelerators where there are any, else the host."""
    return sum(d.usable_bytes for d in machine.accelerators) or machine.host.usable_bytes


def _machine_panel(wishes: Wishes, machine: Machine) -> None:
    present = inputs.THIS if wishes.machine == inputs.THIS else machine.name
    machine_builder.show(cached.list_devices(), present, ASSUMED_HOST)
    lines: dict[str, int] = {}
    notes: list[str] = []
    for device in (machine.host, *machine.accelerators):
        if device.kind is DeviceKind.CPU and machine.is_unified:
            continue
        line = charts.roomy(describe_device(device))
        lines[line] = lines.get(line, 0) + 1
        notes += device.notes
    st.markdown("  \n".join(line if n == 1 else f"{n} × {line}" for line, n in lines.items()))
    if notes:
        st.caption("  \n".join(to_sentence(n) for n in dict.fromkeys(notes)))


def to_title(text: str) -> str:
    """Text with a capital."""
    return text[:1].upper() + text[1:]


def to_sentence(text: str) -> str:
    """Text with a capital and a full stop."""
    text = charts.roomy(text.strip())
    first = text.split(" ", 1)[0]
    if not any(c in "._-/" or c.isupper() for c in first[1:]):  # llama.cpp, vLLM and n_ubatch keep their own spelling
        text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else f"{text}."

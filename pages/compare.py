"""Compare: up to six models side by side, what differs between them, and the whole to take along."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from catalog.compare import Compared, CompareQuestion
from catalog.compare_rows import FILES, LONE_SCORES, build_comparison
from catalog.models import ModelCard
from pages.ui import cached, charts_compare, compare_table, frame, inputs, words
from pages.ui.charts import roomy
from pages.ui.license_verdict import find_verdict
from pages.ui.markdown_text import escape_markdown
from sizing.compare import MAX_MODELS, Comparison
from sizing.compare_text import format_csv, format_markdown
from sizing.errors import BadInputError, UnknownNameError
from sizing.hardware import Machine
from sizing.layer_strip import list_runs, say_experts, say_heads, say_kv_heads
from sizing.quants import QUANTS
from sizing.units import format_bytes, format_tokens

BEST_EACH = "The best that fits, for each"


def show(question: frame.Question) -> None:
    """The models that are compared, then the answer, the drawings and the table."""
    chosen = find_chosen()
    cards = chosen or list_proposed(question)
    show_pickers(chosen, cards)
    if not cards:
        show_nothing(question)
        return
    if not chosen:
        show_proposed(cards, question)
    quant = inputs.read("compare_quant") or None
    asked = CompareQuestion(cached.build_needs(question.wishes), question.machine, quant)
    models = cached.compare(tuple(c.model_id for c in cards), asked)
    comparison = build_comparison(models, asked, lambda model: find_verdict(model, question.wishes))
    show_answer(models, comparison, question)
    show_links(comparison)
    left, right = st.columns(2, gap="large")
    with left:
        show_layers(models, comparison)
    show_table(comparison)
    show_folded(comparison)
    show_exports(comparison)
    with right:  # what takes longest to work out comes last
        show_memory(models, comparison, question)


def find_chosen() -> tuple[ModelCard, ...]:
    """The models of the address, each once; an unknown one is said and left out."""
    found: dict[str, ModelCard] = {}
    for name in inputs.read("compare"):
        try:
            card = cached.find_card(name)
        except (UnknownNameError, BadInputError) as error:
            told = f"{error}{'' if str(error).endswith('?') else '.'} It is left out"
            st.warning(escape_markdown(frame.to_sentence(told)), icon=":material/edit_location_alt:")
        else:
            found[card.model_id] = card
    return tuple(found.values())


def show_pickers(chosen: Sequence[ModelCard], cards: Sequence[ModelCard]) -> None:
    """Which models, and in which quantization; `cards` are those on the page, chosen or not."""
    choices = cached.list_choices()
    names = {**choices.names, **{c.model_id: c.spec.name for c in chosen}}
    quant = inputs.read("compare_quant")
    known = {w.quant for card in cards for w in cached.list_weights(card.model_id)} | ({quant} if quant else set())
    order = {name: i for i, name in enumerate(QUANTS)}
    quants = tuple(sorted(known, key=lambda q: (order.get(q, len(order)), q)))
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        inputs.several(
            "compare",
            f"Models, up to {MAX_MODELS}",
            tuple(names),
            "Pick models to see them side by side",
            names,
            shown=tuple(c.model_id for c in chosen),
            most=MAX_MODELS,
            may_type=choices.has_more,
        )
    with right:
        inputs.choice("compare_quant", "Quantization", ("", *quants), {"": BEST_EACH})


def list_proposed(question: frame.Question) -> tuple[ModelCard, ...]:
    """The recommendation for the question in the bar and its runners-up: what stands here until models are chosen."""
    answer = cached.recommend(question.machine, cached.build_needs(question.wishes))
    options = ([answer.best] if answer.best else []) + list(answer.runners_up)
    return tuple(cached.find_card(option.candidate.spec.model_id) for option in options)


def name_task(task: str) -> str:
    """A task within a sentence: 'chat', 'RAG'."""
    word = inputs.TASK_WORDS[task]
    return word if word.isupper() else word.lower()


def show_nothing(question: frame.Question) -> None:
    """Nothing is chosen and nothing can be proposed: why, and what to do."""
    machine, task = frame.format_machine(question.machine), name_task(question.wishes.task)
    st.html(
        '<h1 class="wb-answer">No models are chosen yet.</h1>'
        f'<p class="wb-quiet">None is recommended for {escape(task)} on {escape(machine)} with these wishes. '
        "Pick some above, or ask for less in the bar.</p>"
    )


def say_proposed(n: int, task: str) -> str:
    """Where models come from that nobody chose, `n` of them."""
    kept = ("the recommendation", "the recommendation and its runner-up", "the recommendation and its two runners-up")
    return f"Nothing is chosen, so here {'is' if n == 1 else 'are'} {kept[n - 1]} for {name_task(task)}."


def show_proposed(cards: Sequence[ModelCard], question: frame.Question) -> None:
    """Say that nobody chose these, and offer them to be changed."""
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        st.html(f'<p class="wb-quiet">{escape(say_proposed(len(cards), question.wishes.task))}</p>', width="content")
        ids = "|".join(card.model_id for card in cards)
        st.button(
            "Start from these",
            type="tertiary",
            icon=":material/playlist_add:",
            key="compare_these",
            on_click=inputs.set_field,
            args=("compare", ids),
        )


def show_answer(models: Sequence[Compared], comparison: Comparison, question: frame.Question) -> None:
    """How many of them run here, and how each does."""
    machine = frame.format_machine(question.machine)
    items = "".join(f"<li>{describe(m, name, question)}</li>" for m, name in zip(models, comparison.names, strict=True))
    st.html(f'<h1 class="wb-answer">{escape(say_how_many(models, machine))}</h1><ul class="wb-list">{items}</ul>')
    if len(models) < 2:
        best = cached.recommend(question.machine, cached.build_needs(question.wishes)).best
        st.caption("Pick another model above to see where they differ.")
        if best is not None and best.candidate.spec.model_id != models[0].card.model_id:
            ids = f"{models[0].card.model_id}|{best.candidate.spec.model_id}"
            label = f"Compare it with {escape_markdown(best.name)}, recommended here"
            st.button(label, key="compare_best", on_click=inputs.set_field, args=("compare", ids))


def say_how_many(models: Sequence[Compared], machine: str) -> str:
    """The headline: how many of the models run on the machine."""
    n_running = sum(m.estimate is not None and m.estimate.fit.runs for m in models)
    if len(models) == 1:
        return f"{models[0].card.name} {'runs' if n_running else 'does not run'} on {machine}."
    if n_running == len(models):
        return f"{'Both' if n_running == 2 else f'All {n_running}'} models run on {machine}."
    return f"{n_running or 'None'} of {len(models)} models {'runs' if n_running < 2 else 'run'} on {machine}."


def describe(model: Compared, name: str, question: frame.Question) -> str:
    """One model in a line: quantization, memory, speed, verdict; or why there are no figures."""
    if model.estimate is None:
        return f"<b>{escape(name)}</b>: {escape(roomy(model.refusal))}"
    figures = ", ".join(words.list_figures(model.estimate, question.machine))
    verdict = frame.format_verdict(model.estimate.fit.verdict)
    return f"<b>{escape(name)}</b> at {escape(model.quant)}: {escape(roomy(figures))}, {verdict}"


def show_layers(models: Sequence[Compared], comparison: Comparison) -> None:
    """Every model's layers as a strip."""
    st.subheader("How they are built", anchor=False)
    strips = [
        charts_compare.LayerStrip(name, say_shape(m.card), list_runs(m.card.spec))
        for m, name in zip(models, comparison.names, strict=True)
    ]
    alt = "; ".join(f"{s.name}: {s.text}" for s in strips)
    frame.show_chart(charts_compare.layers_chart(strips), "compare_layers", alt, f"layers-{name_file(comparison)}")


def say_shape(card: ModelCard) -> str:
    """Layers, heads and experts in so few words that they fit a phone's width."""
    spec = card.spec
    kv = say_kv_heads(spec)
    kept = kv.replace("one ", "").replace(" wide", "") if "latent" in kv else f"{kv} KV heads"
    experts = f"; {say_experts(spec).split(' and ')[0].split(';')[0]} experts" if spec.is_moe else ""
    return f"{spec.n_layers} layers; {say_heads(spec)} heads, {kept}{experts}"


def show_table(comparison: Comparison) -> None:
    """The table of what matters most, with the toggle that leaves out what is equal."""
    main = [g for g in comparison.groups if g not in (LONE_SCORES, FILES)]
    several = len(comparison.names) > 1
    only = several and inputs.read("differs") == "on"
    st.subheader("Side by side", anchor=False)
    if several:
        inputs.switch("differs", "Only what differs")
        st.caption(
            f"{comparison.n_different} of {len(comparison.rows)} facts differ; those that are equal are pale. "
            "▲ marks the best of a row where one way is better and the intervals tell the values apart."
        )
    st.html(compare_table.STYLE + compare_table.table_html(comparison, main, only))


def show_folded(comparison: Comparison) -> None:
    """What is longer and decides less: files, and scores that only one of the models has."""
    for group in (FILES, LONE_SCORES):
        rows = comparison.of_group(group)
        if rows:
            with st.expander(f"{group}: {len(rows)}"):
                st.html(compare_table.STYLE + compare_table.table_html(comparison, [group], False))


def show_exports(comparison: Comparison) -> None:
    """One row under the table: the whole comparison as a file, what it takes for granted, where the facts were read."""
    stem = name_file(comparison)
    files = (
        ("Download as CSV", format_csv, "csv", "text/csv", "compare_csv"),
        ("Download as Markdown", format_markdown, "md", "text/markdown", "compare_markdown"),
    )
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        for label, write, end, mime, key in files:
            icon = ":material/download:"
            st.download_button(label, write(comparison), f"{stem}.{end}", mime, key=key, type="tertiary", icon=icon)
        with st.popover("What was assumed", type="tertiary"):
            st.markdown("\n".join(f"- {escape_markdown(frame.to_sentence(a))}" for a in comparison.assumptions))
        with st.popover(f"{len(comparison.sources)} sources", type="tertiary"):
            for name in dict.fromkeys(s.model for s in comparison.sources):
                own = [s for s in comparison.sources if s.model == name]
                st.html(f'<p class="wb-figures">{escape(name)}</p>{compare_table.sources_html(own)}')


def show_links(comparison: Comparison) -> None:
    """The way from each model to all its figures."""
    with st.container(horizontal=True, gap="medium"):
        for model_id, name in zip(comparison.model_ids, comparison.names, strict=True):
            frame.link_to_size(model_id, "", f"Size {escape_markdown(name)}")


def name_file(comparison: Comparison) -> str:
    """What a file of the comparison is called, without its ending."""
    return "comparison-" + "-".join(model_id.rsplit("/", 1)[-1] for model_id in comparison.model_ids)[:80]


def show_memory(models: Sequence[Compared], comparison: Comparison, question: frame.Question) -> None:
    """Memory against context, a line a model."""
    workload = cached.build_needs(question.wishes).workload
    lines = []
    for m, name in zip(models, comparison.names, strict=True):
        if m.estimate is None:
            continue
        has_projector = question.wishes.task == "vision"
        setup = cached.Setup(m.card.model_id, m.quant, workload, question.machine, has_projector=has_projector)
        points = cached.list_memory_points(setup)
        lines.append(charts_compare.MemoryLine(f"{name} at {m.quant}", points))
    if not lines:
        return
    st.subheader("Memory against context", anchor=False)
    absent = len(models) - len(lines)
    left_out = f" {absent} without figures {'is' if absent == 1 else 'are'} not drawn." if absent else ""
    asked = format_tokens(workload.context_tokens)
    st.caption(f"For each user; the thin line is at {asked} tokens. Lines end where training ended.{left_out}")
    alt = "Memory against context: " + "; ".join(
        f"{line.name} from {format_bytes(line.points[0][1])} to {format_bytes(line.points[-1][1])}" for line in lines
    )
    limits = list_limits(question.machine)
    figure = charts_compare.memory_lines_chart(lines, limits, workload.context_tokens)
    frame.show_chart(figure, "compare_memory", alt, f"memory-against-context-{name_file(comparison)}")


def list_limits(machine: Machine) -> tuple[tuple[str, int], ...]:
    """What is usable: of the cards alone where there are any, and of the whole machine."""
    whole = ("Usable on the machine", machine.usable_bytes)
    cards = ("Usable on the cards alone", frame.main_bytes(machine))
    return (whole,) if cards[1] >= machine.usable_bytes else (cards, whole)


with frame.kind_errors():
    asked = frame.open_page()
    show(asked)
    frame.link_onward("compare", asked)

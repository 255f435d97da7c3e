"""What every topic of the guide has: the example it speaks of, its answer, its formula, its way on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from catalog.models import ModelCard
from pages.ui import cached, charts, frame, inputs, tables, words
from pages.ui.markdown_text import escape_markdown
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.explain import PartFormula
from sizing.formula import Formula
from sizing.formulas import join_sources
from sizing.hardware import Device, Machine
from sizing.memory import WeightBytes
from sizing.specs import ModelSpec
from sizing.units import format_tokens
from sizing.workload import Workload

EXAMPLE, USUAL_QUANT = "meta-llama/Llama-3.1-8B-Instruct", "Q4_K_M"
"""What the guide speaks of where nothing is chosen: a model whose figures are widely published."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """The example of every topic: a model, its quantization (None where it was not weighed), and the question.

    `workload` holds the context and users of the bar, no longer than the model's own context.
    """

    card: ModelCard
    quant: str
    weights: WeightBytes | None
    workload: Workload
    question: frame.Question

    @property
    def spec(self) -> ModelSpec:
        """The model's shapes."""
        return self.card.spec

    @property
    def machine(self) -> Machine:
        """The machine of the bar."""
        return self.question.machine

    @property
    def device(self) -> Device:
        """Where a model should live on that machine: its first accelerator, else the host."""
        return (*self.machine.accelerators, self.machine.host)[0]

    @property
    def device_name(self) -> str:
        """That device as people call it."""
        return self.device.name if self.machine.accelerators else frame.format_machine(self.machine)

    def size(self, workload: Workload | None = None) -> cached.Sized | None:
        """Memory, speed and fit of the example here; None where the engine cannot be told of it."""
        try:
            return cached.size_setup(self.to_setup(workload))
        except (BadInputError, UnsupportedError):
            return None

    def to_setup(self, workload: Workload | None = None) -> cached.Setup:
        """The example as the Size page asks about it."""
        return cached.Setup(self.card.model_id, self.quant, workload or self.workload, self.machine)

    def list_formulas(self, *parts: str) -> tuple[PartFormula, ...]:
        """The Size page's own formulas of these parts; none where the example cannot be sized."""
        try:
            found = cached.list_formulas(self.to_setup())
        except (BadInputError, UnsupportedError):
            return ()
        return tuple(f for f in found if f.part in parts and f.n_bytes)


def read_lesson(question: frame.Question) -> Lesson:
    """The example in the address, or the usual one; what was put in its place is said."""
    choice = inputs.read_size_choice()
    card = cached.find_card(EXAMPLE)
    if choice.model:
        try:
            card = cached.find_card(choice.model)
        except UnknownNameError as error:
            said = frame.to_sentence(f"{error}. Showing another model instead")
            st.warning(said, icon=":material/edit_location_alt:")
    known = {w.quant: w for w in cached.list_weights(card.model_id)}
    quant = choose_quant(choice.quant, tuple(known))
    wishes = question.wishes
    context = min(wishes.context_tokens, card.spec.context_tokens)
    if context < wishes.context_tokens:
        st.caption(f"{card.name} was trained for {format_tokens(context)} tokens; the figures below use that context.")
    return Lesson(card, quant, known.get(quant), Workload(context, wishes.n_parallel), question)


def choose_quant(chosen: str, known: tuple[str, ...]) -> str:
    """The chosen quantization where the model has it, else the usual one, else the first; says what it replaces."""
    if chosen and known and chosen not in known:
        st.warning(f"{chosen} is not listed for this model. Showing another quantization instead.")
    if chosen in known:
        return chosen
    return USUAL_QUANT if USUAL_QUANT in known or not known else known[0]


def find_weights(model_id: str, quant: str) -> WeightBytes | None:
    """A comparison model's weights in the example's quantization, else in the usual one, else None."""
    known = {w.quant: w for w in cached.list_weights(model_id)}
    return known.get(quant) or known.get(USUAL_QUANT)


def with_context(workload: Workload, context_tokens: int) -> Workload:
    """The same question with another context."""
    return replace(workload, context_tokens=context_tokens)


def say(answer: str) -> None:
    """The answer, first and largest."""
    st.html(f'<h1 class="wb-answer">{escape(charts.roomy(answer))}</h1>')


def tell(*paragraphs: str) -> None:
    """A few sentences of prose, in markdown."""
    for paragraph in paragraphs:
        st.markdown(charts.roomy(paragraph))


def split() -> tuple[DeltaGenerator, DeltaGenerator]:
    """The place of the prose and, beside it or on a phone under it, that of its picture."""
    prose, picture = st.columns([5, 6], gap="medium")
    return prose, picture


def name_in_prose(name: str) -> str:
    """A model's name so that markdown shows it as it is."""
    return escape_markdown(name)


def show_formula(formulas: Sequence[Formula], parts: Iterable[PartFormula] = ()) -> None:
    """The formulas, folded; `parts` are those of the Size page with the example's values in them."""
    source = join_sources(formulas)
    with st.expander("The formula"):
        for formula in formulas:
            st.markdown(charts.roomy(formula.in_words))
        for part in parts:
            st.markdown(f"**{frame.to_title(part.part)}** = {part.formula}")
            st.markdown(charts.roomy("\n".join(f"- {line}" for line in part.with_values)))
        if source:
            st.caption(source)


def show_table(table: pd.DataFrame, key: str, *as_text: str, name: str) -> None:
    """A small table as high as its rows; figures to the right, those `as_text` too; `name` names its files."""
    tables.show_table(
        words.style_table(table),
        key,
        name=name,
        height=frame.table_height(len(table), 460),
        column_config=frame.right_aligned(*as_text),
    )


def say_not_weighed(lesson: Lesson) -> None:
    """That the example has no weights, and why."""
    gap = frame.to_sentence(cached.find_gap(lesson.card.model_id))
    tell(f"{name_in_prose(lesson.card.name)} was not weighed: {escape_markdown(gap)} Choose another example.")


def link_to_size(lesson: Lesson, label: str, **changes: object) -> None:
    """A link to the Size page about the example."""
    if lesson.weights is not None:
        frame.link_to_size(lesson.card.model_id, lesson.quant, label, **changes)


def link_to_catalog(label: str, **changes: object) -> None:
    """A link to the Catalog page with a filter."""
    st.page_link("pages/catalog.py", label=label, icon=":material/list:", query_params=inputs.address_of(**changes))


def go_to_next(topic: str) -> None:
    """A button to the topic after this one: Streamlit leaves the address as it was after a link to the same page."""
    order = tuple(inputs.TOPICS)
    at = order.index(topic) + 1
    if at < len(order):
        following = order[at]
        st.button(
            f"Next: {inputs.TOPICS[following].lower()}",
            key="guide_next",
            icon=":material/arrow_forward:",
            type="tertiary",
            on_click=inputs.set_field,
            args=("topic", following),
        )

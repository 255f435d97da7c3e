"""Answers and figures that are kept are found by equal questions, and by no others."""

from __future__ import annotations

from dataclasses import replace

import plotly.graph_objects as go

from catalog import machines
from pages.ui import cached, charts, words
from pages.ui.charts_kept import KEPT_WORDS, keep_figures, keep_words
from pages.ui.kept import BY_NUMBER, number_of
from sizing.workload import Workload


def ask(machine: str, context_tokens: int = 8192) -> cached.Setup:
    card = next(c for c in cached.list_own_cards() if c.spec.context_tokens >= 16384)
    quant = cached.list_weights(card.model_id)[-1].quant
    return cached.Setup(card.model_id, quant, Workload(context_tokens, 1), cached.find_named_machine(machine))


def test_equal_questions_have_one_number_and_different_ones_their_own() -> None:
    first, again = ask("24 GiB card"), replace(ask("24 GiB card"))
    assert first is not again and number_of(first) == number_of(again)
    others = [ask("25 GiB card"), ask("24 GiB card", 4096), replace(first, has_projector=True)]
    assert len({number_of(q) for q in (first, *others)}) == 1 + len(others)


def test_an_answer_is_kept_for_an_equal_question_and_not_given_for_another() -> None:
    first = cached.size_setup(ask("24 GiB card"))
    assert cached.size_setup(replace(ask("24 GiB card"))) is first
    other = cached.size_setup(ask("24 GiB card", 16384))
    assert other is not first and other.told.memory.total_bytes > first.told.memory.total_bytes


def test_every_kind_of_question_that_is_found_by_number_can_be_hashed() -> None:
    machine = machines.list_machines(cached.catalog())[0]
    assert all(isinstance(number_of(q), int) for q in (machine, ask("24 GiB card")))
    for kind in BY_NUMBER:
        if isinstance(kind, type):
            assert kind.__hash__ is not None, kind
            assert kind.__dataclass_params__.frozen, kind  # type: ignore[attr-defined]


def test_a_figure_is_drawn_once_for_equal_values() -> None:
    drawn = []

    @keep_figures
    def draw(values: list[float], title: str = "") -> go.Figure:
        drawn.append(values)
        return go.Figure(go.Bar(x=list(values), name=title))

    assert draw([1.0, 2.0], title="a") is draw([1.0, 2.0], title="a")
    assert draw([1.0, 3.0], title="a").data[0].x == (1.0, 3.0) and draw([1.0, 2.0], title="b").data[0].name == "b"
    assert len(drawn) == 3


def test_the_words_of_a_figure_are_its_own_even_after_many_others() -> None:
    told = []

    @keep_words
    def tell(figure: go.Figure) -> str:
        told.append(1)
        return str(figure.data[0].name)

    first = go.Figure(go.Bar(name="first"))
    assert tell(first) == tell(first) == "first" and len(told) == 1
    for n in range(2 * KEPT_WORDS):
        assert tell(go.Figure(go.Bar(name=f"bar {n}"))) == f"bar {n}"
    assert tell(first) == "first" and len(told) == 2 + 2 * KEPT_WORDS


def test_a_kept_figure_is_that_of_its_own_machine() -> None:
    bars = [charts.memory_bar(words.order_devices(cached.size_setup(ask(f"{n} GiB card")).told)) for n in (24, 48)]
    assert bars[0].to_json() != bars[1].to_json()

"""The two ways of playing the graph allocator are one rule, and small cases come out as worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizing import replay
from sizing.layers import LayerTable
from sizing.replay import Graph, replay_bytes


def chain(sizes: list[list[int]]) -> Graph:
    """Results that each need the one before; `sizes` has one row per result and one value per model."""
    graph = Graph(len(sizes[0]))
    last = graph.input(np.array(sizes[0]))
    for row in sizes[1:]:
        last = graph.op(np.array(row), last)
    last.is_kept = True
    graph.ask(last)
    return graph


def test_a_chain_needs_its_largest_pair_of_neighbours() -> None:
    # 64 + 128 live together, then 128 + 256: the last fits only behind both, or in front when the gap is large enough
    assert replay_bytes(chain([[64], [128]])).tolist() == [192]
    assert replay_bytes(chain([[64], [128], [32]])).tolist() == [192], "32 takes the gap that 64 left"
    assert replay_bytes(chain([[64], [128], [96]])).tolist() == [288], "96 does not fit into 64"
    assert replay_bytes(chain([[1], [1]])).tolist() == [64], "every place is whole 32 bytes"


def test_an_operation_may_write_over_what_dies() -> None:
    graph = Graph(1)
    x = graph.op(100, graph.input(100))
    y = graph.like(x)
    graph.ask(y)
    assert replay_bytes(graph).tolist() == [256]
    twice = Graph(1)
    x = twice.op(100, twice.input(100))
    y = twice.like(x)
    twice.ask(y, twice.op(32, x))
    assert replay_bytes(twice).tolist() == [288], "x is read again: y takes the gap in front, 32 the end"


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n_models=st.integers(1, 5), n_nodes=st.integers(1, 25))
def test_columns_and_single_models_agree(data: st.DataObject, n_models: int, n_nodes: int) -> None:
    size = st.lists(st.integers(1, 5000), min_size=n_models, max_size=n_models)
    sizes = [data.draw(size) for _ in range(n_nodes + 1)]
    picks = [data.draw(st.lists(st.integers(0, i), min_size=1, max_size=3)) for i in range(n_nodes)]

    def build() -> Graph:
        graph = Graph(n_models)
        made = [graph.input(np.array(sizes[0]))]
        for i, operands in enumerate(picks):
            made.append(graph.op(np.array(sizes[i + 1]), *(made[j] for j in operands)))
        graph.ask(*made[1:])
        return graph

    one_by_one = replay_bytes(build())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "FEW_MODELS", 0)
        together = replay_bytes(build())
    assert one_by_one.tolist() == together.tolist()


def test_models_are_taken_from_a_table_without_losing_a_layer() -> None:
    from tests.sizing.test_placement import model

    all_models = LayerTable.from_specs([model(3), model(5), model(7)])
    joined = all_models.take(np.array([2, 0, 2], dtype=np.int64))
    at_once = LayerTable.from_specs([model(7), model(3), model(7)])
    for name in ("first_row", "layer_rows", "first_layer"):
        assert getattr(joined, name).tolist() == getattr(at_once, name).tolist()
    assert {k: v.tolist() for k, v in joined.rows.items()} == {k: v.tolist() for k, v in at_once.rows.items()}
    assert {k: v.tolist() for k, v in joined.models.items()} == {k: v.tolist() for k, v in at_once.models.items()}


@settings(max_examples=80, deadline=None)
@given(data=st.data(), n_nodes=st.integers(1, 30))
def test_free_blocks_and_gaps_are_one_rule_without_empty_tensors(data: st.DataObject, n_nodes: int) -> None:
    sizes = data.draw(st.lists(st.integers(1, 5000), min_size=n_nodes + 1, max_size=n_nodes + 1))
    picks = [data.draw(st.lists(st.integers(0, i), min_size=1, max_size=3)) for i in range(n_nodes)]
    graph = Graph(1)
    made = [graph.input(sizes[0])]
    for i, operands in enumerate(picks):
        made.append(graph.op(sizes[i + 1], *(made[j] for j in operands)))
    graph.ask(*made[1:])
    schedule = replay.plan(graph)
    column = [int(size[0]) for size in schedule.sizes]
    assert replay._play_blocks(schedule, column) == replay._play_one(schedule, column)

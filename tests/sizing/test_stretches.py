"""What is kept of compute buffers is what playing them anew gives, at every context it answers for."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import queries
from catalog.store import open_catalog
from sizing.buffers import ComputeBuffers
from sizing.compute import Division, can_estimate_compute, estimate_compute_bytes, estimate_divided_compute_bytes
from sizing.layers import Ints, LayerTable
from sizing.replay import Schedule, play_alone
from sizing.specs import ModelSpec
from sizing.stretches import KeptBuffers, play_line
from sizing.workload import Workload

BYTES = st.sampled_from((0, 32, 64, 96, 160, 256, 256, 256, 416, 640))
SLOPES = st.sampled_from((0, 0, 0, 0, 32, 64, 128))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), n_events=st.integers(1, 40))
def test_a_line_is_what_playing_gives_at_each_of_its_steps(data: st.DataObject, n_events: int) -> None:
    schedule, live, sizes, slopes = Schedule(), [], [], []
    nothing = np.zeros(1, dtype=np.int64)
    for _ in range(n_events):
        if live and data.draw(st.booleans()):
            schedule.give_back(live.pop(data.draw(st.integers(0, len(live) - 1))))
            continue
        live.append(schedule.take(nothing))
        sizes.append(data.draw(BYTES))
        slopes.append(data.draw(SLOPES) if sizes[-1] else 0)
    line = play_line(schedule, sizes, slopes)
    assert line.least <= 0 <= line.most
    for d in range(max(line.least, -20), min(line.most, 20) + 1):
        moved = [size + slope * d for size, slope in zip(sizes, slopes, strict=True)]
        assert line.n_bytes + line.slope * d == play_alone(schedule, moved), d


@cache
def list_shapes() -> tuple[ModelSpec, ...]:
    """The shortest model of each architecture whose graph is described."""
    shortest: dict[str, ModelSpec] = {}
    for card in sorted(queries.list_models(open_catalog()), key=lambda c: c.spec.n_layers):
        if can_estimate_compute(card.spec.architecture):
            shortest.setdefault(card.spec.architecture, card.spec)
    return tuple(shortest.values())


def divide(n_layers: Ints, n_cards: int) -> Ints:
    """Bounds that leave a third of the layers to the host where there are two cards, and none where there is one."""
    everything = n_layers + 1
    first = np.zeros_like(n_layers) if n_cards == 1 else n_layers // 3
    return np.stack([first + (everything - first) * i // n_cards for i in range(n_cards + 1)], axis=1)


@pytest.mark.parametrize(
    ("workload", "max_stretches", "contexts"),
    [
        (Workload(1), 0, (8192, 9216, 2304, 300000)),
        (Workload(1, n_parallel=4), 5000, (8192, 9216)),
        (Workload(1, flash_attention=False), 5000, (8192, 300000)),
        (Workload(1, kv_type_k="f32", kv_type_v="f32"), 0, (4096, 40000)),
    ],
)
def test_what_one_context_teaches_of_others_is_what_playing_them_gives(
    workload: Workload, max_stretches: int, contexts: tuple[int, ...]
) -> None:
    layers = LayerTable.from_specs(list_shapes())
    kept = KeptBuffers(1000, max_stretches)
    every = np.arange(layers.n_models, dtype=np.int64)
    n_layers, none_moved = layers.models["n_layers"], np.zeros_like(every)
    for context_tokens in contexts:
        workload = replace(workload, context_tokens=context_tokens)
        buffers = ComputeBuffers(layers, workload, kept)
        assert buffers.alone(every).tolist() == estimate_compute_bytes(layers, workload).tolist(), context_tokens
        for n_cards in (1, 2):
            bounds = divide(n_layers, n_cards)
            anew = estimate_divided_compute_bytes(layers, workload, Division(bounds, none_moved))
            assert buffers.exact(every, bounds, none_moved).tolist() == anew.tolist(), (context_tokens, n_cards)


def test_of_too_much_the_oldest_is_forgotten_and_answers_stay() -> None:
    layers = LayerTable.from_specs(list_shapes()[:4])
    every = np.arange(4, dtype=np.int64)
    kept = KeptBuffers(max_recipes=2, max_stretches=3)
    for context_tokens in (4096, 4352, 8192, 4096):
        workload = Workload(context_tokens)
        found = ComputeBuffers(layers, workload, kept).alone(every)
        assert found.tolist() == estimate_compute_bytes(layers, workload).tolist()
    assert len(kept._recipes) <= 2 and kept._n_stretches <= 3

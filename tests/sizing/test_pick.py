"""The winner alone, found by sizing only what can win, is the winner of sizing everything."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from catalog.candidates import list_candidates
from catalog.store import open_catalog
from sizing.hardware import Calibration, Device, DeviceKind, Machine
from sizing.recommend import Needs, Ranker
from sizing.scoring import hope_points_against
from sizing.units import GB, GIB
from sizing.workload import Workload


@cache
def ranker() -> Ranker:
    """The catalog's own models, ranked for chat."""
    return Ranker(list_candidates(open_catalog(), "chat", "any"))


def host(n_gib: int, bandwidth: float | None = 60.0 * GB) -> Device:
    return Device("RAM", DeviceKind.CPU, n_gib * GIB, n_gib * GIB * 9 // 10, bandwidth, None, "cpu")


def card(n_gib: int, bandwidth: float | None = 900.0 * GB) -> Device:
    return Device("card", DeviceKind.GPU, n_gib * GIB, (n_gib - 1) * GIB, bandwidth, 150e12, "cuda")


FAST_HERE = Calibration("RAM", "fine", False, 1.7, None, 3, "2026-01-01")
POOL = Device("chip", DeviceKind.UNIFIED, 64 * GIB, 48 * GIB, 400.0 * GB, 30e12, "metal")
MACHINES = (
    Machine("nothing", host(1)),
    Machine("host", host(64)),
    Machine("host measured here", host(64), calibrations=(FAST_HERE,)),
    Machine("host of unknown speed", host(64, None)),
    Machine("one pool", host(64), (POOL,)),
    Machine("small card", host(32), (card(8, 300.0 * GB),)),
    Machine("card", host(64), (card(24),)),
    Machine("card of unknown speed", host(64), (card(24, None),)),
    Machine("card slower than its host", host(64), (card(24, 30.0 * GB),)),
    Machine("two cards", host(64), (card(24), card(12, 400.0 * GB))),
)
WORKLOADS = (Workload(8192), Workload(131072, 2), Workload(2048, 64))


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
@pytest.mark.parametrize("floor", [None, 15.0])
def test_what_is_picked_is_the_best_of_all_and_nothing_beats_its_hope(machine: Machine, floor: float | None) -> None:
    asked = ranker().evident
    for workload in WORKLOADS[: 2 if len(machine.accelerators) < 2 else 1]:
        needs = Needs("chat", workload, floor)
        result = asked.size(workload, machine)
        utility, _, decode = asked.score(result, needs)
        hope = hope_points_against(asked.table, machine, needs)
        assert (utility <= asked.cautious - hope[asked.columns.rows]).all()
        may = (asked.limits.find_kinds(needs) == "")[asked.columns.model_of]
        utility = np.where(may, utility, -np.inf)
        best, picked = int(np.argmax(utility)), asked.pick(machine, needs)
        if picked is None:
            assert utility[best] == -np.inf
            continue
        assert picked.model_id == asked.weighed[asked.columns.model_of[best]].spec.model_id
        assert picked.quant == asked.table.quant[asked.columns.rows[best]]
        assert picked.tokens_per_s == (None if np.isnan(decode[best]) else decode[best])


def test_little_is_sized_to_find_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, machine, sized = ranker().evident, MACHINES[6], []
    whole = type(asked.columns).size

    def count(self: object, *args: object, chosen: np.ndarray, **more: object) -> object:
        sized.extend(chosen.tolist())
        return whole(self, *args, chosen=chosen, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(type(asked.columns), "size", count)
    assert asked.pick(machine, replace(Needs("chat", WORKLOADS[0]), min_decode_tokens_per_s=5.0)) is not None
    assert 0 < len(set(sized)) < len(asked.table.quant) / 2

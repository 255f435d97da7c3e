"""What practitioners would run: the ranking's answer to each situation lies in the set argued for it beforehand."""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from catalog.candidates import list_candidates
from catalog.queries import find_machine, list_models, list_quality
from catalog.store import Catalog, open_catalog
from sizing.hardware import Machine
from sizing.memory import WeightBytes
from sizing.quants import QUANTS
from sizing.rank_columns import RankColumns
from sizing.recommend import TASKS, Needs, Ranker
from sizing.workload import Workload

FILE = Path(__file__).parents[1] / "golden" / "situations.toml"
GOLDEN: dict[str, Any] = tomllib.loads(FILE.read_text(encoding="utf-8"))
SITUATIONS: list[dict[str, Any]] = GOLDEN["situation"]


SHARED: list[RankColumns] = []


@cache
def shared_catalog() -> Catalog:
    return open_catalog()


@cache
def list_evident() -> frozenset[str]:
    """Models with published evidence for any task: the others are never recommended, so they need no sizing."""
    return frozenset(e.model_id for task in TASKS for e in list_quality(shared_catalog(), task))


LADDER = frozenset("Q8_0 Q6_K Q5_K_M Q4_K_M IQ4_XS MXFP4 Q3_K_M IQ3_M IQ3_XXS Q2_K IQ2_M".split())
"""Quantizations that are sized here, so that the tests are fast: the usual ones, and all that tempt below four bits."""


KEPT: dict[str, tuple[WeightBytes, ...]] = {}


def kept_weights(model_id: str, weights: tuple[WeightBytes, ...]) -> tuple[WeightBytes, ...]:
    """The same value for a model whatever the task, so that the columns are shared."""
    if model_id not in KEPT:
        KEPT[model_id] = tuple(w for w in weights if w.quant in LADDER)
    return KEPT[model_id]


@cache
def find_ranker(task: str, license_use: str, licenses: tuple[str, ...]) -> Ranker:
    """The evident models for the task under the licences asked for; all rankers share one set of columns."""
    license_of = {card.model_id: card.license_id for card in list_models(shared_catalog())}
    candidates = [
        replace(
            c,
            weights=kept_weights(c.spec.model_id, c.weights),
            license_allowed=c.license_allowed and (not licenses or license_of[c.spec.model_id] in licenses),
        )
        for c in list_candidates(shared_catalog(), task, license_use)
        if c.spec.model_id in list_evident()
    ]
    ranker = Ranker(candidates, SHARED[0] if SHARED else None)
    SHARED[:] = [ranker.columns]
    return ranker


def ask(situation: dict[str, Any]) -> tuple[Ranker, Machine, Needs]:
    workload = Workload(situation.get("context_tokens", 8192), n_parallel=situation.get("n_parallel", 1))
    use = situation.get("license_use", "any")
    needs = Needs(situation["task"], workload, situation.get("min_decode_tokens_per_s"), use)
    ranker = find_ranker(needs.task, use, tuple(situation.get("licenses", ())))
    return ranker, find_machine(shared_catalog(), situation["machine"]), needs


def list_acceptable(situation: dict[str, Any]) -> set[str]:
    groups = [GOLDEN["groups"][name] for name in situation.get("groups", ())]
    return {*situation.get("models", ()), *(model for group in groups for model in group)}


@pytest.mark.parametrize("situation", SITUATIONS, ids=[s["name"] for s in SITUATIONS])
def test_the_pick_is_one_a_practitioner_would_accept(situation: dict[str, Any]) -> None:
    ranker, machine, needs = ask(situation)
    pick = ranker.pick(machine, needs)
    assert pick is not None, situation["why"]
    assert pick.model_id in list_acceptable(situation), f"{pick}; accepted: {situation['why']}"
    least = situation.get("least_bits", GOLDEN["bits"]["least"])
    most = situation.get("most_bits", GOLDEN["bits"]["most"])
    assert least <= QUANTS[pick.quant].nominal_bits_per_weight <= most, f"{pick}; accepted: {situation['why']}"


def test_the_situations_cover_what_was_promised() -> None:
    assert len(SITUATIONS) >= 40
    assert len({s["name"] for s in SITUATIONS}) == len(SITUATIONS)
    assert {s["task"] for s in SITUATIONS} == set(TASKS)
    assert len({s["machine"] for s in SITUATIONS}) >= 30
    asked = Counter(key for s in SITUATIONS for key in s)
    assert min(asked[k] for k in ("licenses", "license_use", "n_parallel", "context_tokens")) >= 3
    assert all(len(s["why"]) > 40 for s in SITUATIONS)


def test_every_accepted_model_is_in_the_catalog_and_no_set_accepts_everything() -> None:
    known = {card.model_id for card in list_models(shared_catalog())}
    for situation in SITUATIONS:
        accepted = list_acceptable(situation)
        assert accepted <= known
        assert len(accepted) < len(known) / 6


@pytest.mark.parametrize("place", [0, 20, 45])
def test_a_pick_is_what_the_full_answer_puts_first(place: int) -> None:
    ranker, machine, needs = ask(SITUATIONS[place])
    pick, best = ranker.pick(machine, needs), ranker.recommend(machine, needs, sensitivity=False).best
    assert pick is not None and best is not None
    assert (pick.model_id, pick.quant) == (best.candidate.spec.model_id, best.quant)

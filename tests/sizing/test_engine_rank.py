"""Ranking for other engines: the same limits and points, the engine's own reasons."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizing.candidate import Candidate, Needs, QuantLoss
from sizing.engines.offers import Offer, count_bits_per_weight, find_format_loss
from sizing.engines.rank import MAX_SIZED_WITHOUT_EVIDENCE, EngineRanker
from sizing.engines.registry import find_engine
from sizing.hardware import Machine
from sizing.options import Recommendation
from sizing.recommend import Ranker
from sizing.workload import Workload
from tests.sizing.engine_cases import make_engine
from tests.sizing.test_recommend import candidate, machine


def shaped(name: str, n_layers: int, score: float | None, **changes: object) -> Candidate:
    """A candidate whose matrices hold about 0.22 billion parameters a layer beside 1 billion of vocabulary."""
    made = candidate(name, 1 + 0.218 * n_layers, score, **changes)
    group = replace(made.spec.groups[0], layers=tuple(range(n_layers)))
    weights = tuple(
        replace(w, layer_bytes=w.layer_bytes[:1] * n_layers, layer_expert_bytes=(0,) * n_layers) for w in made.weights
    )
    return replace(made, spec=replace(made.spec, groups=(group,)), weights=weights)


SMALL, MIDDLE, LARGE = shaped("small", 12, 40), shaped("middle", 60, 60), shaped("large", 320, 70)


def ask(candidates: list[Candidate], where: Machine, **needs: object) -> Recommendation:
    wanted = Needs(**{"task": "chat", "workload": Workload(8192), **needs})
    return EngineRanker(candidates, make_engine()).recommend(where, wanted)


def test_the_best_evidence_that_fits_wins_in_the_format_with_the_least_loss() -> None:
    answer = ask([SMALL, MIDDLE, LARGE], machine(64, 34))
    assert answer.best is not None
    assert (answer.best.name, answer.best.quant) == ("middle", "BF16")
    assert answer.best.estimate.memory.engine == "PaperEngine"
    reasons = {r.name: (r.kind, r.text) for r in answer.ruled_out}
    assert reasons["large"][0] == "memory" and "too much" in reasons["large"][1]


def test_a_published_loss_lets_a_smaller_format_win() -> None:
    known = replace(MIDDLE, losses=(QuantLoss("AWQ", 0.5, "generic"),))
    unknown = ask([MIDDLE], machine(64, 48)).best
    told = ask([known], machine(64, 48)).best
    assert unknown is not None and unknown.quant == "BF16"
    assert told is not None and told.quant == "AWQ" and told.loss is not None and told.loss.points == 0.5


def test_the_engines_own_reason_rules_out() -> None:
    answer = ask([candidate("alien", 3, 90), SMALL], machine(64, 24))
    assert [(r.name, r.kind, r.text) for r in answer.ruled_out] == [
        ("alien", "engine", "PaperEngine does not know this architecture")
    ]
    nothing = ask([SMALL], machine(64))
    assert nothing.best is None and dict(nothing.ruled_out_counts) == {"engine": 1}


def test_a_model_llama_cpp_cannot_weigh_is_no_obstacle_elsewhere() -> None:
    unweighed = candidate("new", 3, 50, weights=(), gap="llama.cpp does not know it")
    assert ask([unweighed], machine(64, 24)).best is not None


def test_hard_limits_are_those_of_every_engine() -> None:
    answer = ask(
        [
            candidate("closed", 3, 50, license_allowed=False, license_note="no commercial use"),
            candidate("short", 3, 50, context=4096),
            candidate("slow", 14, 90),
        ],
        machine(64, 48),
        min_decode_tokens_per_s=500.0,
    )
    assert {r.name: r.kind for r in answer.ruled_out} == {"closed": "licence", "short": "context", "slow": "speed"}


def test_only_the_most_downloaded_without_evidence_are_sized_and_that_is_said() -> None:
    many = [candidate(f"m{i}", 1, None, n_downloads=i) for i in range(MAX_SIZED_WITHOUT_EVIDENCE + 5)]
    answer = ask(many, machine(64, 24))
    names = {o.name for o in answer.options}
    assert "m0" not in names and f"m{len(many) - 1}" in names
    assert any("5 less downloaded" in note for note in answer.assumptions)


@pytest.mark.parametrize("where", [machine(64, 24), machine(64), machine(6)])
def test_llama_cpp_behind_the_contract_ranks_as_its_own_ranking(where: Machine) -> None:
    """The engine wrapper and the columns are one set of formulas: the same model in the same quantization first."""
    needs = Needs("chat", Workload(8192))
    own = Ranker([SMALL, MIDDLE, LARGE]).recommend(where, needs)
    same = EngineRanker([SMALL, MIDDLE, LARGE], find_engine("llama.cpp")).recommend(where, needs)
    assert [(o.name, o.quant) for o in same.options] == [(o.name, o.quant) for o in own.options]
    assert [o.utility for o in same.options] == pytest.approx([o.utility for o in own.options])
    assert same.ruled_out_counts == own.ruled_out_counts


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 96), st.integers(1, 64))
def test_more_memory_never_loses_an_option(gib: int, more: int) -> None:
    small = ask([SMALL, MIDDLE, LARGE], machine(64, gib))
    large = ask([SMALL, MIDDLE, LARGE], machine(64, gib + more))
    assert {o.name for o in small.options} <= {o.name for o in large.options}


def test_bits_per_weight_are_those_of_the_format() -> None:
    spec = SMALL.spec
    bits = [count_bits_per_weight(spec, Offer(name)) for name in ("BF16", "FP8", "AWQ")]
    assert bits[0] > bits[1] > bits[2] > 4


def test_a_loss_is_found_under_the_formats_own_name_alone() -> None:
    losses = (QuantLoss("FP8", 0.0, "same model"), QuantLoss("Q4_K_M", 0.8, "generic"))
    assert find_format_loss(losses, "FP8") == losses[0]
    assert find_format_loss(losses, "Q4_K_M") == losses[1]
    assert find_format_loss(losses, "AWQ") is None

"""Scores of this box reorder what was measured here and nothing else; the frontier is what nothing beats in all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizing.candidate import Candidate, MeasuredHere, Quality, QuantLoss, subtract_loss
from sizing.frontier import find_frontier
from sizing.measured import SUITE_TASKS, find_suite_tasks, is_clearly_better, take_measured
from sizing.recommend import TASKS, Needs, Ranker
from sizing.workload import Workload
from tests.sizing.test_recommend import candidate, machine


def measure(
    name: str, share: float, n: int = 120, suite: str = "arithmetic", half: float = 0.08, quant: str = "Q4_K_M"
) -> MeasuredHere:
    low, high = max(0.0, share - half), min(1.0, share + half)
    return MeasuredHere(f"org/{name}", quant, suite, suite.title(), n, share, low, high, True, "2026-11-25")


def scores(candidates: list[Candidate]) -> dict[str, float | None]:
    return {c.spec.name: c.quality.score if c.quality else None for c in candidates}


A, B, C = candidate("a", 8, 70), candidate("b", 8, 60), candidate("c", 8, 50)


def test_a_clear_measurement_swaps_places_on_the_published_scale() -> None:
    found = take_measured([A, B, C], [measure("a", 0.40), measure("b", 0.71)], "math")
    assert scores(found) == {"a": pytest.approx(60), "b": pytest.approx(70), "c": 50}
    assert found[0].quality is not None and found[0].quality.moved_points == pytest.approx(-10)
    assert found[2] == C, "what was not measured stays as it is"


def test_a_measurement_that_tells_nothing_apart_moves_nothing() -> None:
    found = take_measured([A, B], [measure("a", 0.66), measure("b", 0.71)], "math")
    assert scores(found) == scores([A, B])
    few = [measure("a", 0.0, n=5, half=0.05), measure("b", 1.0, n=5, half=0.05)]
    assert scores(take_measured([A, B], few, "math")) == scores([A, B])


def test_suites_speak_only_for_their_tasks_and_are_never_mixed() -> None:
    told = [measure("a", 0.40), measure("b", 0.71)]
    assert take_measured([A, B], told, "vision") == [A, B]
    apart = [measure("a", 0.40), measure("b", 0.71, suite="gsm8k")]
    assert scores(take_measured([A, B], apart, "math")) == scores([A, B]), "two suites are two scales"


def test_a_model_without_published_scores_is_given_none_but_its_measurement_is_told() -> None:
    unknown = candidate("u", 8, None)
    found = take_measured([A, unknown], [measure("a", 0.2), measure("u", 0.95)], "math")
    assert scores(found) == {"a": 70, "u": None}
    answer = Ranker(found).recommend(machine(64, 24), Needs("math", Workload(8192)))
    assert [o.name for o in answer.options] == ["a", "u"]
    assert any("measured here: 95% (87 to 100) on arithmetic, n = 120" in line for line in answer.options[1].reasons)


def test_what_was_measured_stands_in_the_reasons_and_decides_the_pick() -> None:
    needs, where = Needs("math", Workload(8192)), machine(64, 24)
    before = Ranker([A, B]).recommend(where, needs).best
    told = [measure("a", 0.40), measure("b", 0.71)]
    after = Ranker(take_measured([A, B], told, "math")).recommend(where, needs).best
    assert before is not None and after is not None
    assert (before.name, after.name) == ("a", "b")
    assert after.reasons[1] == "measured here: 71% (63 to 79) on arithmetic, n = 120, at Q4_K_M"
    assert "moved up 10.0 points by what was measured here" in after.reasons[0]


def test_the_loss_of_the_quantization_measured_is_taken_into_account() -> None:
    """At Q2_K, a's published 70 is 55 here: below b's 60, so a measurement that says so moves nothing."""
    heavy = replace(A, losses=(QuantLoss("Q2_K", 15.0, "generic"),))
    told = [measure("a", 0.40, quant="Q2_K"), measure("b", 0.71)]
    assert scores(take_measured([heavy, B], told, "math")) == {"a": 70, "b": 60}


MANY = [candidate(f"m{i}", 8, 40 + 5 * i) for i in range(6)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.none() | st.integers(0, 100), min_size=6, max_size=6))
def test_nobody_stays_above_one_who_did_clearly_better_here(shares: list[int | None]) -> None:
    told = [measure(f"m{i}", s / 100) for i, s in enumerate(shares) if s is not None]
    found = {c.spec.model_id: c for c in take_measured(MANY, told, "math")}
    for a in told:
        for b in told:
            if is_clearly_better(a, b):
                first, second = found[a.model_id].quality, found[b.model_id].quality
                assert first is not None and second is not None and first.score >= second.score - 1e-9
    values = sorted(c.quality.score for c in found.values() if c.quality)
    assert values == pytest.approx([40, 45, 50, 55, 60, 65]), "the scale is kept: scores only change hands"


def test_clearly_better_is_never_both_ways_and_turns_round_where_less_is_better() -> None:
    low, high = measure("a", 0.3), measure("b", 0.7)
    assert is_clearly_better(high, low) and not is_clearly_better(low, high)
    worse = [replace(m, is_higher_better=False) for m in (low, high)]
    assert is_clearly_better(worse[0], worse[1]) and not is_clearly_better(worse[1], worse[0])


@pytest.mark.parametrize(
    ("suite", "tasks"),
    [
        ("arithmetic", ("math",)),
        ("needle@16384", ("rag",)),
        ("gsm8k_cot", ("math",)),
        ("mmlu_pro_law", ("chat", "reasoning")),
        ("arithmetic_2da", ()),  # another suite of lm-eval's, not ours
        ("classification", ()),
        ("demo", ()),
        ("own:arithmetic", ()),
    ],
)
def test_suites_by_name(suite: str, tasks: tuple[str, ...]) -> None:
    assert find_suite_tasks(suite) == tasks


def test_every_suite_speaks_for_tasks_that_exist() -> None:
    assert {task for tasks in SUITE_TASKS.values() for task in tasks} <= set(TASKS)


@given(st.floats(5, 95), st.floats(0, 5), st.floats(0, 20), st.floats(0, 20))
def test_a_loss_lowers_a_score_and_never_narrows_its_interval(
    score: float, half: float, points: float, more: float
) -> None:
    whole = Quality(score, score - half, score + half, 3)
    left = subtract_loss(whole, QuantLoss("Q4_K_M", points, "generic", points + more, max(0.0, points - more)))
    assert left.score <= whole.score
    assert left.low <= max(0.0, whole.low - points) + 1e-9
    if left.low > 0:
        assert left.high - left.low >= whole.high - whole.low - 1e-9


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=25))
def test_the_frontier_is_what_no_other_beats(rows: list[tuple[int, int, int]]) -> None:
    table = np.array(rows, dtype=np.float64)
    marks = find_frontier(table[:, 0], table[:, 1], table[:, 2])
    assert marks.any()
    for i, (q, s, b) in enumerate(rows):
        beaten = any(q2 >= q and s2 >= s and b2 <= b and (q2, s2, b2) != (q, s, b) for q2, s2, b2 in rows)
        assert marks[i] == (not beaten)


def test_an_unknown_figure_is_on_no_frontier_and_beats_nobody() -> None:
    marks = find_frontier(np.array([90.0, 50.0]), np.array([np.nan, 5.0]), np.array([1.0, 2.0]))
    assert marks.tolist() == [False, True]


def test_the_pick_says_who_is_on_the_frontier() -> None:
    small, large = candidate("small", 3, 40), candidate("large", 14, 60)
    beaten = candidate("beaten", 14, 50)
    answer = Ranker([small, large, beaten]).recommend(machine(64, 24), Needs("chat", Workload(8192)))
    assert {o.name: o.on_frontier for o in answer.options} == {"small": True, "large": True, "beaten": False}

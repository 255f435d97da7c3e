"""Statistics: published worked examples, scipy, properties, and coverage by seeded simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from evals.intervals import bound_constant, find_t, find_z
from evals.stats import (
    Comparison,
    PairCounts,
    Verdict,
    adjust_comparisons,
    adjust_holm,
    bootstrap_mean,
    compare_paired,
    interval_of_scores,
    least_difference_binary,
    least_difference_mean,
    mcnemar_p,
    n_for_half_width,
    n_needed_binary,
    n_needed_mean,
    newcombe_interval,
    plan_interval,
    sign_flip_p,
    wilson_interval,
)
from sizing.errors import BadInputError

scores_01 = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=60)
scores = st.lists(st.floats(0, 1), min_size=1, max_size=40)


# R. G. Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3
@pytest.mark.parametrize(
    ("n_right", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_published_intervals(n_right: int, n: int, low: float, high: float) -> None:
    found = wilson_interval(n_right, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert found.value == n_right / n


@given(n=st.integers(1, 5000), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
def test_wilson_agrees_with_scipy(n: int, share: float, confidence: float) -> None:
    n_right = round(share * n)
    wanted = scipy.stats.binomtest(n_right, n).proportion_ci(confidence, method="wilson")
    found = wilson_interval(n_right, n, confidence)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize(("n", "share"), [(30, 0.5), (50, 0.2), (100, 0.5), (100, 0.8), (400, 0.95)])
def test_wilson_covers_what_it_says(n: int, share: float) -> None:
    chance = np.random.default_rng(n)
    drawn = chance.binomial(n, share, 20_000)
    inside = {k: wilson_interval(k, n).low <= share <= wilson_interval(k, n).high for k in set(drawn.tolist())}
    assert 0.93 <= np.mean([inside[k] for k in drawn.tolist()]) <= 0.97


@pytest.mark.parametrize("n", [20, 100])
def test_wilson_covers_what_it_says_on_average_over_all_rates(n: int) -> None:
    """Exactly, from the binomial's own weights; at one rate it swings with the whole numbers there are."""
    shares = np.linspace(0.002, 0.998, 499)
    weights = scipy.stats.binom.pmf(np.arange(n + 1)[:, None], n, shares)
    ends = [wilson_interval(k, n) for k in range(n + 1)]
    inside = np.array([(e.low <= shares) & (shares <= e.high) for e in ends])
    assert 0.945 <= float((weights * inside).sum(axis=0).mean()) <= 0.96


@pytest.mark.parametrize("wrong", [(-1, 3), (4, 3), (0, 0), (1.5, 3), (math.nan, 3)])
def test_a_rate_of_nothing_or_of_parts_is_refused(wrong: tuple[float, int]) -> None:
    with pytest.raises(BadInputError):
        wilson_interval(*wrong)


@pytest.mark.parametrize("n_free", [1, 2, 3, 4, 7, 20, 300])
def test_student_agrees_with_scipy(n_free: int) -> None:
    assert find_t(0.95, n_free) == pytest.approx(scipy.stats.t.ppf(0.975, n_free), rel=2e-3)
    assert find_z(0.95) == pytest.approx(scipy.stats.norm.ppf(0.975))


def test_bootstrap_is_close_to_scipys_where_the_sample_is_large() -> None:
    """Widening moves the ends by 1.5% of the half width at 100 values; the rest is the draw's own noise."""
    sample = np.random.default_rng(3).beta(2, 6, 100)
    wanted = scipy.stats.bootstrap(
        (sample,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    found = bootstrap_mean(sample, 5, n_resamples=20_000)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=0.06 * found.half_width)


@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        (lambda chance, n: chance.random(n), 0.5),
        (lambda chance, n: chance.beta(5, 1, n), 5 / 6),
        (lambda chance, n: chance.choice([0, 0.5, 1], n, p=[0.1, 0.2, 0.7]), 0.8),
    ],
)
@pytest.mark.parametrize("n", [20, 100])
def test_the_bootstrap_covers_what_it_says(
    draw: Callable[[np.random.Generator, int], np.ndarray], mean: float, n: int
) -> None:
    chance, inside = np.random.default_rng(n), 0
    for seed in range(500):
        found = bootstrap_mean(draw(chance, n), seed, n_resamples=500, span=(0, 1))
        inside += found.low <= mean <= found.high
    assert 0.92 <= inside / 500 <= 0.985


@given(values=scores, seed=st.integers(0, 5))
def test_an_interval_holds_its_mean_and_stays_in_the_span(values: list[float], seed: int) -> None:
    found = interval_of_scores(values, seed, n_resamples=200)
    assert 0 <= found.low <= found.value + 1e-12 and found.value - 1e-12 <= found.high <= 1
    assert found == interval_of_scores(values, seed, n_resamples=200)
    assert found.n == len(values)


@given(values=scores_01)
def test_right_and_wrong_take_wilson(values: list[float]) -> None:
    assert interval_of_scores(values, 0) == wilson_interval(sum(values), len(values))


def test_equal_partial_scores_are_not_certainty() -> None:
    few, many = interval_of_scores([0.5] * 5, 0), interval_of_scores([0.5] * 500, 0)
    assert few.low < 0.3 and few.high > 0.7 and "equal" in few.note
    assert few.half_width > many.half_width > 0
    one = interval_of_scores([0.25], 0)
    assert (one.low, one.high) == pytest.approx((0.25 * 0.025, 1 - 0.75 * 0.025)) and "one value" in one.note
    assert bootstrap_mean([3.0, 3.0], 0).low == -math.inf


@pytest.mark.parametrize("n", [1, 5, 30])
def test_the_bound_of_equal_values_holds_against_a_hidden_share(n: int) -> None:
    """If the others, all at the far end, were a larger share than the bound, n draws would rarely miss them all."""
    found = bound_constant(0.5, n, (0.0, 1.0))
    hidden = (found.high - 0.5) / 0.5
    assert (1 - hidden) ** n == pytest.approx(0.025)


@pytest.mark.parametrize("values", [[], [math.nan], [1.2], [0.5, -0.1]])
def test_values_outside_their_span_are_refused(values: list[float]) -> None:
    with pytest.raises(BadInputError):
        interval_of_scores(values, 0)


@given(n=st.integers(1, 3000), rate=st.sampled_from([0.1, 0.5, 0.8]))
def test_a_plan_is_the_width_a_run_will_have(n: int, rate: float) -> None:
    n_right = round(rate * n)
    if n_right / n == rate and 0 < n_right < n:
        assert plan_interval(n, rate) == pytest.approx(wilson_interval(n_right, n).half_width, abs=1e-9)
    assert plan_interval(n + 1, rate) < plan_interval(n, rate)


@given(half_width=st.floats(0.005, 0.45), rate=st.floats(0, 1))
def test_the_items_planned_are_the_fewest(half_width: float, rate: float) -> None:
    n = n_for_half_width(half_width, rate)
    assert plan_interval(n, rate) <= half_width * (1 + 1e-9)
    assert n == 1 or plan_interval(n - 1, rate) > half_width * (1 - 1e-9)


@given(only_a=st.integers(0, 400), only_b=st.integers(0, 400))
def test_mcnemar_is_the_binomial_test_of_the_one_sided(only_a: int, only_b: int) -> None:
    n = only_a + only_b
    wanted = scipy.stats.binomtest(only_a, n).pvalue if n else 1.0
    assert mcnemar_p(only_a, only_b) == pytest.approx(wanted, rel=1e-9)
    assert mcnemar_p(only_a, only_b) == mcnemar_p(only_b, only_a)


def test_mcnemar_gives_a_published_value() -> None:
    # M. W. Fagerland, S. Lydersen and P. Laake, Stat. Med. 33 (2014) 2850: airway hyper-responsiveness, exact test
    assert mcnemar_p(1, 7) == pytest.approx(0.070, abs=5e-4)


@pytest.mark.parametrize(
    ("counts", "low", "high", "digits"),
    [
        (PairCounts(20, 12, 2, 16), 0.0562, 0.3292, 4),  # R. G. Newcombe, Stat. Med. 17 (1998) 2635, method 10
        (PairCounts(1, 1, 7, 12), -0.507, -0.026, 3),  # Fagerland, Lydersen and Laake 2014, Newcombe's interval
        (PairCounts(8, 3, 1, 2), -0.1574, 0.4136, 4),  # M. Tang, M. Ling and G. Tian, Stat. Med. 29 (2010) 46
    ],
)
def test_newcombe_gives_published_intervals(counts: PairCounts, low: float, high: float, digits: int) -> None:
    found = newcombe_interval(counts)
    assert (round(found.low, digits), round(found.high, digits)) == (low, high)


@given(counts=st.tuples(*[st.integers(0, 50)] * 4).filter(any))
def test_newcombe_turns_round_with_the_runs(counts: tuple[int, int, int, int]) -> None:
    both, only_a, only_b, neither = counts
    there, back = newcombe_interval(PairCounts(*counts)), newcombe_interval(PairCounts(both, only_b, only_a, neither))
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-12)
    assert -1 <= there.low <= there.value <= there.high <= 1


@pytest.mark.parametrize(("n", "only_a", "only_b"), [(60, 0.2, 0.1), (150, 0.1, 0.05), (150, 0.15, 0.15)])
def test_newcombe_covers_what_it_says(n: int, only_a: float, only_b: float) -> None:
    drawn = np.random.default_rng(n).multinomial(n, [0.5, only_a, only_b, 0.5 - only_a - only_b], 4000)
    inside = 0
    for row in drawn.tolist():
        found = newcombe_interval(PairCounts(*row))
        inside += found.low <= only_a - only_b <= found.high
    assert 0.935 <= inside / 4000 <= 0.985


@pytest.mark.parametrize(("n", "one_sided"), [(50, 0.2), (200, 0.1), (400, 0.3)])
def test_mcnemar_alarms_falsely_at_most_as_often_as_said(n: int, one_sided: float) -> None:
    drawn = np.random.default_rng(n).multinomial(n, [one_sided / 2, one_sided / 2, 1 - one_sided], 20_000)
    assert _find_rejected_share(drawn) <= 0.05


@pytest.mark.parametrize(("only_a", "only_b"), [(0.1, 0.05), (0.15, 0.05), (0.3, 0.2), (0.08, 0.02)])
def test_the_items_needed_give_the_power_promised(only_a: float, only_b: float) -> None:
    n = n_needed_binary(only_a, only_b)
    assert n is not None
    drawn = np.random.default_rng(1).multinomial(n, [only_a, only_b, 1 - only_a - only_b], 20_000)
    assert 0.78 <= _find_rejected_share(drawn) <= 0.85
    assert least_difference_binary(n, only_a + only_b) == pytest.approx(only_a - only_b, rel=0.01)


def _find_rejected_share(drawn: np.ndarray) -> float:
    pairs = [(row[0], row[1]) for row in drawn.tolist()]
    p_values = {pair: mcnemar_p(*pair) for pair in set(pairs)}
    return float(np.mean([p_values[pair] <= 0.05 for pair in pairs]))


def test_connors_formula_without_the_correction() -> None:
    """Connor 1987 by hand: p = 0.3, d = 0.1, z 1.959964 and 0.841621: (1.0735 + 0.4532)^2 / 0.01 = 233.1."""
    n = n_needed_binary(0.2, 0.1)
    assert n is not None
    assert 233.1 < n < 233.1 + 2.5 / 0.1  # the correction adds about 2 items per unit of 1/d


def test_too_few_items_can_tell_nothing() -> None:
    assert least_difference_binary(5, 0.2) is None  # 2 * 0.5^5 is above 0.05: five items alike do not suffice
    assert mcnemar_p(5, 0) > 0.05 >= mcnemar_p(6, 0)
    assert least_difference_mean(1, math.inf) is None and least_difference_mean(10, 0.0) is None
    assert n_needed_binary(0.1, 0.1) is None and n_needed_mean(0.0, 1.0) is None


@pytest.mark.parametrize(("difference", "spread"), [(0.1, 0.3), (0.2, 0.4)])
def test_the_items_needed_for_partial_scores_give_the_power_promised(difference: float, spread: float) -> None:
    n = n_needed_mean(difference, spread)
    assert n is not None
    chance = np.random.default_rng(2)
    found = [sign_flip_p(chance.normal(difference, spread, n), seed)[1] <= 0.05 for seed in range(300)]
    assert 0.72 <= np.mean(found) <= 0.88
    assert least_difference_mean(n, spread) == pytest.approx(difference, rel=0.02)


def test_sign_flips_alarm_falsely_at_most_as_often_as_said() -> None:
    chance = np.random.default_rng(4)
    found = [sign_flip_p(chance.choice([-1, -0.5, 0, 0.5, 1], 12), 0)[1] <= 0.05 for _ in range(2000)]
    assert np.mean(found) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


@given(values=st.lists(st.floats(-1, 1).map(lambda x: round(x, 2)), min_size=2, max_size=9))
def test_sign_flips_agree_with_scipy(values: list[float]) -> None:
    moved = np.array([v for v in values if v])
    if len(moved) < 2:
        return
    wanted = scipy.stats.permutation_test(
        (moved, np.zeros(len(moved))), lambda x, y, axis: (x - y).sum(axis=axis),
        permutation_type="samples", n_resamples=np.inf, vectorized=True,
    )  # fmt: skip
    assert sign_flip_p(np.array(values), 0)[1] == pytest.approx(wanted.pvalue, abs=1e-9)


def test_drawn_sign_flips_come_near_all_of_them() -> None:
    moved = np.random.default_rng(8).normal(0.3, 1, 16)
    patterns = 1 - 2 * (np.arange(1 << 16)[:, None] >> np.arange(16) & 1)
    exact = np.mean(np.abs(patterns @ moved) >= abs(moved.sum()) - 1e-12)
    name, found = sign_flip_p(moved, 1)
    assert "drawn" in name and found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 10_000))


def test_two_runs_are_compared_on_what_they_share() -> None:
    a = {i: 1.0 if i < 80 else 0.0 for i in range(100)}
    b = {i: 1.0 if i < 60 else 0.0 for i in range(5, 120)}
    found = compare_paired(a, b)
    assert (found.n, found.n_left_out) == (95, 25)
    assert found.counts == PairCounts(55, 20, 0, 20)
    assert found.verdict is Verdict.A_BETTER and found.test == "exact McNemar"
    assert compare_paired(b, a).verdict is Verdict.B_BETTER
    assert found.difference.low > 0


def test_no_verdict_says_what_would_tell() -> None:
    a = {str(i): float(i % 3 == 0) for i in range(100)}
    b = {str(i): float(i % 4 == 0) for i in range(100)}
    found = compare_paired(a, b)
    assert found.verdict is Verdict.NOT_DISTINGUISHABLE
    assert found.n_needed is not None and found.n_needed > 100
    assert f"{found.n_needed:,} paired items" in found.sentence
    assert found.least_difference is not None and found.least_difference > abs(found.difference.value)
    same = compare_paired(a, a)
    assert same.n_needed is None and same.verdict is Verdict.NOT_DISTINGUISHABLE and same.p_value == 1


def test_partial_scores_are_compared_by_sign_flips() -> None:
    chance = np.random.default_rng(0)
    a = {i: float(v) for i, v in enumerate(chance.beta(6, 2, 80))}
    b = {i: max(0.0, v - 0.1 - 0.05 * float(chance.random())) for i, v in a.items()}
    found = compare_paired(a, b)
    assert (
        found.verdict is Verdict.A_BETTER and "sign flips" in found.test and found.difference.method.startswith("boot")
    )
    assert found == compare_paired(a, b)


@given(a=scores, b=scores)
def test_swapping_the_runs_swaps_the_verdict(a: list[float], b: list[float]) -> None:
    first, second = dict(enumerate(a)), dict(enumerate(b))
    there, back = (
        compare_paired(first, second, n_resamples=100),
        compare_paired(second, first, n_resamples=100),
    )
    swapped = {Verdict.A_BETTER: Verdict.B_BETTER, Verdict.B_BETTER: Verdict.A_BETTER}
    assert back.p_value == pytest.approx(there.p_value, abs=1e-9)
    assert back.verdict is swapped.get(there.verdict, there.verdict)


@pytest.mark.parametrize("wrong", [{1: 1.5}, {1: math.nan}, {2: 1.0}, {}])
def test_runs_that_cannot_be_compared_are_refused(wrong: dict[int, float]) -> None:
    with pytest.raises(BadInputError):
        compare_paired({1: 1.0}, wrong)


def test_holm_by_hand() -> None:
    # Holm's steps on 0.01, 0.04, 0.03, 0.005: 4 x 0.005, 3 x 0.01, 2 x 0.03, then no less than the one before
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert adjust_holm([]) == ()
    with pytest.raises(BadInputError):
        adjust_holm([0.1, 1.1])


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_raw_value_and_bonferroni(p_values: list[float]) -> None:
    for raw, adjusted in zip(p_values, adjust_holm(p_values), strict=True):
        assert raw <= adjusted <= min(1.0, raw * len(p_values)) + 1e-12


def test_many_comparisons_at_once_are_judged_together() -> None:
    def run(n_only_a: int) -> Comparison:
        a = {i: 1.0 if i < 50 + n_only_a else 0.0 for i in range(100)}
        return compare_paired(a, {i: float(i < 50) for i in range(100)})

    alone = run(6)
    assert alone.verdict is Verdict.A_BETTER
    weak, strong = adjust_comparisons([alone, run(20)])
    assert strong.verdict is Verdict.A_BETTER
    assert weak.verdict is Verdict.A_BETTER  # the largest p value of a family keeps its own size
    first, _, _ = adjust_comparisons([alone, run(6), run(0)])
    assert first.verdict is Verdict.NOT_DISTINGUISHABLE and first.p_value == alone.p_value

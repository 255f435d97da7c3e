"""Costs: examples worked by hand, and what has to hold whatever the numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizing.cost import (
    DAYS_PER_MONTH,
    HOURS_PER_MONTH,
    ApiTerms,
    Capacity,
    CostBand,
    CostLine,
    OwnTerms,
    RentTerms,
    TokenLoad,
    api_band,
    find_break_even,
    find_break_even_utilisation,
    find_capacity,
    own_band,
    rent_band,
)
from sizing.cost_options import ON_PREMISES, Limits, Option, judge_options, list_breaches
from sizing.errors import BadInputError
from sizing.throughput import Interval, SpeedEstimate

STEADY = Capacity(Interval(100, 100, 100), Interval(2000, 2000, 2000))
UNSURE = Capacity(Interval(50, 100, 200), Interval(1000, 2000, 4000))


# ---- worked by hand ----


def test_own_hardware_by_hand() -> None:
    """1.5 M in and 0.5 M out a day at 2000 and 100 tokens/s: 750 s + 5000 s = 5750 s of 86,400 s.

    Loss of value: 2400 x (1 - 0.25) / 36 months = 50. Idle: 0.1 kW x 730.5 h x 1.2 x 0.15 = 13.149.
    Work: 0.4 kW above idle x 5750 s / 3600 x 30.4375 days x 1.2 x 0.15 = 3.50031. Staff: 2 x 40 = 80.
    """
    load = TokenLoad(1_500_000, 500_000)
    terms = OwnTerms(2400, 3, 500, 100, 0.15, 0.25, 1.2, 2, 40)
    band = own_band(terms, STEADY, load)
    assert band.count_machines(load.tokens_per_day) == (1, 1, 1)
    assert band.cost_per_month(2e6).mid == pytest.approx(50 + 13.149 + 3.5003125 + 80, abs=1e-6)
    per_million = band.cost_per_million(2e6)
    assert per_million is not None and per_million.mid == pytest.approx(146.6493125 / 60.875)


def test_machines_follow_from_peak_and_utilisation_by_hand() -> None:
    """20 M tokens a day of that mix take 57,500 s; a peak of 3 at 60% busy wants 57,500 x 3 / (86,400 x 0.6) = 3.33."""
    load = TokenLoad(15e6, 5e6, peak_factor=3, max_utilisation=0.6)
    band = own_band(OwnTerms(3600, 3, 100, 100, 0.0), STEADY, load)
    assert band.count_machines(20e6) == (4, 4, 4)
    assert band.cost_per_month(20e6).mid == pytest.approx(4 * 100)


def test_rent_by_hand() -> None:
    """Two GPUs at 0.74: 1.48 x 730.5 h = 1081.14 always; in 8 hours a day a third; by the minute at 50% busy
    5750 s / 0.5 = 3.19444 h x 30.4375 days x 1.48 = 143.901."""
    load = TokenLoad(1_500_000, 500_000, max_utilisation=0.5)
    assert abs(HOURS_PER_MONTH - 730.5) < 1e-9
    assert rent_band(RentTerms(0.74, 2), STEADY, load).cost_per_month(2e6).mid == pytest.approx(1081.14)
    office = TokenLoad(1_500_000, 500_000, active_hours_per_day=8, max_utilisation=0.5)
    assert rent_band(RentTerms(0.74, 2, "hours"), STEADY, office).cost_per_month(2e6).mid == pytest.approx(360.38)
    scaled = rent_band(RentTerms(0.74, 2, "scaled"), STEADY, load)
    assert scaled.cost_per_month(2e6).mid == pytest.approx(143.901, abs=2e-3)
    assert scaled.cost_per_month(0).high == 0


def test_api_by_hand() -> None:
    """A month of 1.5 M in and 0.5 M out a day is 45.65625 M and 15.21875 M tokens.

    Of the input 40% at 0.20, 60% at 2: 45.65625 x 1.28 = 58.44; output x 12 = 182.625; together 241.065. A quarter of
    it at half price: x 0.875 = 210.931875.
    """
    load = TokenLoad(1_500_000, 500_000)
    plain = api_band(ApiTerms(2, 12, 0.2, cached_share=0.4), load)
    assert plain.cost_per_month(2e6).mid == pytest.approx(241.065)
    batched = api_band(ApiTerms(2, 12, 0.2, 0.4, batch_share=0.25, batch_discount=0.5), load)
    assert batched.cost_per_month(2e6).mid == pytest.approx(210.931875)


def test_break_even_by_hand() -> None:
    """Machines of 100 US$ that carry 1 M a day, staff 250, against 10 US$ per million: 304.375 a month and million.

    One machine full: 100 + 250 > 304.375. Two: 450 <= 608.75, at 450 / 304.375 = 1.47844 M. Three start at 2 M:
    550 <= 608.75. So it is cheaper for good from 1.47844 M on.
    """
    line = CostLine(0, 100, 250, 1e6, 1)
    found = find_break_even(line, CostLine(10))
    assert found.tokens_per_day == pytest.approx(450 / 304.375 * 1e6)
    assert found.steady_tokens_per_day == found.tokens_per_day


def test_a_further_machine_may_make_it_dearer_again() -> None:
    """Machines of 200 that carry 1 M, against 304.375: from 0.657 M; the second one costs 400 at 1 M, until 1.314 M;
    the third 600 at 2 M, below 608.75."""
    found = find_break_even(CostLine(0, 200, 0, 1e6, 1), CostLine(10))
    assert found.tokens_per_day == pytest.approx(200 / 304.375 * 1e6)
    assert found.steady_tokens_per_day == pytest.approx(400 / 304.375 * 1e6)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (CostLine(0, 400, 0, 1e6, 1), "all it can"),
        (CostLine(11, 1, 0, 1e6, 1), "running cost"),
        (CostLine(11), "every token"),
    ],
)
def test_never_has_a_reason(line: CostLine, said: str) -> None:
    found = find_break_even(line, CostLine(10))
    assert found.tokens_per_day is None and found.steady_tokens_per_day is None
    assert said in found.reason


def test_break_even_utilisation_by_hand() -> None:
    """5750 s for 2 M tokens: a machine always busy carries 30.0522 M a day, worth 304.375 x 30.0522 = 9147 a month at
    10 US$ per million; 914.7 a month are met at 10%."""
    load = TokenLoad(1_500_000, 500_000, peak_factor=4, max_utilisation=0.5)
    full = 86_400 / 5750 * 2e6
    carried = full * 0.5 / 4
    month = 0.1 * full * DAYS_PER_MONTH * 10 / 1e6
    assert find_break_even_utilisation(CostLine(0, month, 0, carried, 1), CostLine(10), load) == pytest.approx(0.1)
    assert find_break_even_utilisation(CostLine(0, month * 11, 0, carried, 1), CostLine(10), load) is None
    assert find_break_even_utilisation(CostLine(1), CostLine(10), load) is None


def test_more_users_than_slots_want_more_machines() -> None:
    capacity = Capacity(Interval(100, 100, 100), Interval(2000, 2000, 2000), n_parallel=4)
    terms = OwnTerms(3600, 3, 0, 0, 0)
    counts = [own_band(terms, capacity, TokenLoad(1, 1, n)).count_machines(2)[1] for n in (1, 4, 5, 8, 9)]
    assert counts == [1, 1, 2, 2, 3]


def test_zero_load() -> None:
    load = TokenLoad(0, 0)
    own = own_band(OwnTerms(3600, 3, 300, 0, 0.2), UNSURE, load)
    assert own.cost_per_month(0) == Interval(100, 100, 100)
    assert own.cost_per_million(0) is None
    assert api_band(ApiTerms(1, 1), load).cost_per_month(0).mid == 0


def test_an_unknown_rate_gives_no_capacity() -> None:
    assert find_capacity(None) is None
    assert find_capacity(SpeedEstimate(Interval(1, 2, 3), None, None, "")) is None
    found = find_capacity(SpeedEstimate(Interval(1, 2, 3), Interval(10, 20, 30), None, "", n_parallel=4))
    assert found == Capacity(Interval(4, 8, 12), Interval(10, 20, 30), 4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TokenLoad(-1, 0),
        lambda: TokenLoad(math.nan, 0),
        lambda: TokenLoad(math.inf, 0),
        lambda: TokenLoad(1, 1, peak_factor=0.5),
        lambda: TokenLoad(1, 1, max_utilisation=0),
        lambda: TokenLoad(1, 1, active_hours_per_day=25),
        lambda: OwnTerms(1, 0, 1, 1, 1),
        lambda: OwnTerms(1, 1, 100, 200, 1),
        lambda: OwnTerms(1, 1, 100, 0, 1, pue=0.9),
        lambda: RentTerms(-1),
        lambda: RentTerms(1, reserved_share=0.5),
        lambda: RentTerms(1, mode="sometimes"),  # type: ignore[arg-type]
        lambda: ApiTerms(1, 1, cached_share=2),
        lambda: Capacity(Interval(0, 1, 2), Interval(1, 1, 1)),
        lambda: Capacity(Interval(3, 2, 1), Interval(1, 1, 1)),
        lambda: find_break_even(CostLine(1), CostLine(1, 5)),
        lambda: Limits(residency=" "),
        lambda: Limits(max_first_token_s=0),
    ],
)
def test_nonsense_is_refused_in_words(make: object) -> None:
    with pytest.raises(BadInputError, match="want|break-even"):
        make()  # type: ignore[operator]


# ---- whatever the numbers ----

USD = st.floats(0, 1e5)
SHARE = st.floats(0, 1)
LOADS = st.builds(
    TokenLoad,
    st.floats(0, 1e9),
    st.floats(0, 1e9),
    st.integers(1, 64),
    st.floats(1, 20),
    st.floats(1, 24),
    st.floats(0.05, 1),
)


@st.composite
def intervals(draw: st.DrawFn, low: float, high: float) -> Interval:
    return Interval(*sorted(draw(st.floats(low, high)) for _ in range(3)))


CAPACITIES = st.builds(Capacity, intervals(1, 5000), intervals(10, 1e5), st.integers(1, 32))
OWN = st.builds(
    lambda price, years, load, idle, kwh, rest, pue, staff: OwnTerms(
        price, years, load, load * idle, kwh, rest, pue, staff, 30
    ),
    USD,
    st.floats(0.5, 10),
    st.floats(0, 5000),
    SHARE,
    st.floats(0, 1),
    SHARE,
    st.floats(1, 3),
    st.floats(0, 100),
)
RENTS = st.builds(
    RentTerms,
    st.floats(0, 100),
    st.integers(1, 16),
    st.sampled_from(("always", "hours", "scaled")),
    st.floats(0, 100),
    SHARE,
)
APIS = st.builds(ApiTerms, st.floats(0, 100), st.floats(0, 500), st.none() | st.floats(0, 100), SHARE, SHARE, SHARE)


def is_ordered(cost: Interval) -> bool:
    return 0 <= cost.low <= cost.mid * (1 + 1e-9) + 1e-9 and cost.mid <= cost.high * (1 + 1e-9) + 1e-9


@given(OWN, RENTS, APIS, CAPACITIES, LOADS, st.floats(1, 10))
def test_costs_are_ordered_and_rise_with_tokens(
    own: OwnTerms, rent: RentTerms, api: ApiTerms, capacity: Capacity, load: TokenLoad, more: float
) -> None:
    for band in (own_band(own, capacity, load), rent_band(rent, capacity, load), api_band(api, load)):
        now, then = band.cost_per_month(load.tokens_per_day), band.cost_per_month(load.tokens_per_day * more)
        assert is_ordered(now) and is_ordered(then)
        assert then.mid >= now.mid * (1 - 1e-12)
        fast, mid, slow = band.count_machines(load.tokens_per_day)
        assert fast <= mid <= slow


@given(OWN, CAPACITIES, LOADS, st.floats(0, 1e5), st.integers(1, 64))
def test_cost_rises_with_price_and_users(
    terms: OwnTerms, capacity: Capacity, load: TokenLoad, more_usd: float, more_users: int
) -> None:
    from dataclasses import replace

    tokens = load.tokens_per_day
    now = own_band(terms, capacity, load).cost_per_month(tokens)
    dearer = own_band(replace(terms, price_usd=terms.price_usd + more_usd), capacity, load).cost_per_month(tokens)
    busier = replace(load, n_users=load.n_users + more_users)
    assert dearer.mid >= now.mid * (1 - 1e-12)
    assert own_band(terms, capacity, busier).cost_per_month(tokens).mid >= now.mid * (1 - 1e-12)


@settings(max_examples=300)
@given(
    st.floats(0, 50), st.floats(0.1, 1e4), st.floats(0, 1e4), st.floats(1e4, 1e9), st.integers(1, 9), st.floats(0, 100)
)
def test_break_even_is_where_the_curves_cross(
    token: float, machine: float, fixed: float, carried: float, least: int, api_price: float
) -> None:
    line, api = CostLine(token, machine, fixed, carried, least), CostLine(api_price)
    found = find_break_even(line, api)
    if found.tokens_per_day is None:
        for n in (1, 2, 5, 50, 1000):
            assert line.cost_per_month(n * carried) > api.cost_per_month(n * carried) * (1 - 1e-6)
        return
    at, steady = found.tokens_per_day, found.steady_tokens_per_day
    assert steady is not None and steady >= at
    n = line.count_machines(at)
    assert line.cost_per_month(at) <= api.cost_per_month(at) * (1 + 1e-6) + (
        machine if at >= (n - 0.001) * carried else 0
    )
    for share in (0.1, 0.5, 0.9, 0.999):
        assert line.cost_per_month(at * share) >= api.cost_per_month(at * share) * (1 - 1e-6)
    for times in (1.001, 1.1, 1.7, 3, 10, 100):
        assert line.cost_per_month(steady * times) <= api.cost_per_month(steady * times) * (1 + 1e-6)


# ---- hard limits ----

CHEAP = CostBand(CostLine(1), CostLine(1), CostLine(1))
DEAR = CostBand(CostLine(9), CostLine(9), CostLine(9))
OPTIONS = (
    Option("api", "An API", CHEAP, region="US"),
    Option(
        "rent", "A rented card", DEAR, region="EU", first_token_s=Interval(1, 2, 3), tokens_per_s=Interval(5, 10, 20)
    ),
    Option("own", "A card", DEAR, first_token_s=Interval(1, 4, 6), tokens_per_s=Interval(5, 20, 30)),
    Option("own", "A card of unknown price", None, "its price is unknown"),
)


@pytest.mark.parametrize(
    ("limits", "out"),
    [
        (Limits(), set()),
        (Limits(residency=ON_PREMISES), {"An API", "A rented card"}),
        (Limits(no_third_party=True), {"An API", "A rented card"}),
        (Limits(residency="eu"), {"An API"}),
        (Limits(residency="JP"), {"An API", "A rented card"}),
        (Limits(max_first_token_s=3), {"A card"}),
        (Limits(min_tokens_per_s=15), {"A rented card"}),
    ],
)
def test_limits_rule_out_with_a_reason(limits: Limits, out: set[str]) -> None:
    judged = judge_options(OPTIONS, limits, 1e6)
    assert {j.option.name for j in judged if j.ruled_out} == out
    assert all(j.ruled_out == list_breaches(j.option, limits) for j in judged)
    open_ones = [j for j in judged if j.is_open]
    assert list(judged)[: len(open_ones)] == open_ones
    costs = [j.usd_per_month.mid for j in open_ones if j.usd_per_month]
    assert costs == sorted(costs)


def test_what_cannot_be_checked_is_said_not_assumed() -> None:
    api = judge_options(OPTIONS[:1], Limits(max_first_token_s=1, min_tokens_per_s=5), 1e6)[0]
    assert not api.ruled_out
    assert api.unchecked == ("time to the first token not known", "tokens/s not known")
    assert list_breaches(Option("api", "x", None), Limits(residency="EU")) == (
        "data must stay in EU: where the provider processes it is not known",
    )

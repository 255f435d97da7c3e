"""Hybrid policies: shares add up, sensitive data stays, and a policy costs what its parts cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.cost import CostBand, CostLine
from sizing.errors import BadInputError
from sizing.routing import GUIDE_CLASSES, TARGETS, RequestClass, RoutingPolicy, Target, blend_cost
from sizing.throughput import Interval

MODELS: tuple[tuple[Target, str], ...] = (("local-small", "S"), ("local-large", "L"), ("api", "A"))


def band(token: float, machine: float = 0.0) -> CostBand:
    lines = [CostLine(token * k, machine, 0, 1e6 if machine else float("inf"), int(machine > 0)) for k in (1, 2, 3)]
    return CostBand(*lines)


def test_the_guides_policy_holds() -> None:
    policy = RoutingPolicy(GUIDE_CLASSES, MODELS)
    assert [policy.share_of(t) for t in TARGETS] == pytest.approx([0.5, 0.4, 0.1])
    assert all(c.target != "api" for c in GUIDE_CLASSES if c.is_sensitive)


def test_a_blend_by_hand() -> None:
    """1 M tokens a day, 30.4375 M a month: half small, free but for a machine of 40; 0.4 large likewise 100;
    0.1 by the API at 20 per million: 60.875. Together 200.875."""
    bands: dict[Target, CostBand | None] = {
        "local-small": band(0, 40),
        "local-large": band(0, 100),
        "api": CostBand(CostLine(20), CostLine(20), CostLine(20)),
    }
    blended = blend_cost(RoutingPolicy(GUIDE_CLASSES, MODELS), bands, 1e6)
    assert blended.total is not None and blended.total.mid == pytest.approx(200.875)


def test_an_unknown_price_leaves_the_total_unknown_only_where_it_is_used() -> None:
    policy = RoutingPolicy((RequestClass("all", 1.0, "local-large"),), MODELS)
    known = blend_cost(policy, {"local-large": band(0, 100), "api": None}, 1e6)
    assert known.total == Interval(100, 100, 100)
    assert {t: c for t, _, c in known.by_target}["api"] == Interval(0, 0, 0)
    assert blend_cost(policy, {"local-large": None}, 1e6).total is None


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=8), st.floats(0, 1e9))
def test_the_total_is_the_sum_of_its_targets(weights: list[float], tokens: float) -> None:
    total = sum(weights)
    classes = tuple(RequestClass(f"c{i}", w / total, TARGETS[i % 3]) for i, w in enumerate(weights))
    bands: dict[Target, CostBand | None] = {t: band(i + 1, 10 * i) for i, t in enumerate(TARGETS)}
    blended = blend_cost(RoutingPolicy(classes, MODELS), bands, tokens)
    assert blended.total is not None
    assert blended.total.mid == pytest.approx(sum(c.mid for _, _, c in blended.by_target if c))
    assert blended.total.low <= blended.total.mid <= blended.total.high


@pytest.mark.parametrize(
    "make",
    [
        lambda: RequestClass("Secret", 0.5, "api"),
        lambda: RequestClass("a" * 41, 0.5, "api"),
        lambda: RequestClass("a", 1.5, "api"),
        lambda: RequestClass("a", float("nan"), "api"),
        lambda: RequestClass("a", 0.5, "cloud"),  # type: ignore[arg-type]
        lambda: RequestClass("a", 0.5, "api", is_sensitive=True),
        lambda: RequestClass("a", 0.5, "api", description="two\nlines"),
        lambda: RoutingPolicy((), MODELS),
        lambda: RoutingPolicy((RequestClass("a", 0.5, "api"),), MODELS),
        lambda: RoutingPolicy((RequestClass("a", 0.5, "api"), RequestClass("a", 0.5, "api")), MODELS),
        lambda: RoutingPolicy((RequestClass("a", 1.0, "api"),), MODELS[:2]),
    ],
)
def test_a_policy_that_is_none_is_refused(make: object) -> None:
    with pytest.raises(BadInputError, match="want|sensitive|no model"):
        make()  # type: ignore[operator]

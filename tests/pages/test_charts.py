"""Figures are built from values alone, so they are judged as values."""

from __future__ import annotations

from dataclasses import replace

import plotly.graph_objects as go
import pytest

from pages.ui import charts
from sizing.device_rows import fold_devices
from sizing.fit import Verdict
from sizing.inverse import GridCell, GridRow
from sizing.memory import DeviceUse, Parts
from sizing.throughput import Interval
from sizing.units import GIB, MIB

PARTS = Parts(
    weight_bytes=9 * GIB,
    kv_cache_bytes=GIB,
    recurrent_state_bytes=GIB,
    compute_bytes=300 * MIB,
    overhead_bytes=100 * MIB,
)


def trace(figure: go.Figure, start: str) -> charts.go.Bar:
    """The one trace whose name begins with `start`."""
    (found,) = [t for t in figure.data if t.name and t.name.startswith(start)]
    return found


def test_colours_are_the_fixed_okabe_ito_ones() -> None:
    purposes = charts.list_purposes(PARTS)
    assert [p.name for p in purposes] == ["Weights", "KV cache", "Compute", "Overhead"]
    assert [p.colour for p in purposes] == ["#0072B2", "#E69F00", "#009E73", "#8C8C8C"]
    assert charts.OVER == "#D55E00"


def test_purposes_add_up_to_the_total() -> None:
    assert sum(p.n_bytes for p in charts.list_purposes(PARTS)) == PARTS.total_bytes


def test_bar_stacks_parts_end_to_end_and_leaves_the_rest_free() -> None:
    device = DeviceUse("RAM", 16 * GIB, 15 * GIB, PARTS)
    figure = charts.memory_bar([device])
    at = 0.0
    for name in ("Weights", "KV cache", "Compute", "Overhead"):
        bar = trace(figure, name)
        assert bar.base[0] == pytest.approx(at)
        at += bar.x[0]
    free = trace(figure, "Free")
    assert free.base[0] == pytest.approx(at)
    assert at + free.x[0] == pytest.approx(15)
    assert figure.layout.shapes[0].x0 == 15  # the hairline stands at the usable limit
    assert figure.layout.xaxis.range[1] >= 16


def test_bar_shows_what_goes_over_the_limit_in_its_own_colour() -> None:
    figure = charts.memory_bar([DeviceUse("RAM", 10 * GIB, 8 * GIB, PARTS)])
    over = trace(figure, "Over the limit")
    assert over.base[0] == 8
    assert over.base[0] + over.x[0] == pytest.approx(PARTS.total_bytes / GIB)
    assert over.marker.color == "#D55E00"
    assert figure.layout.xaxis.range[1] > PARTS.total_bytes / GIB


def test_a_device_that_fits_has_no_overrun() -> None:
    figure = charts.memory_bar([DeviceUse("RAM", 16 * GIB, 15 * GIB, PARTS)])
    assert not [t for t in figure.data if t.name.startswith("Over the limit")]


def test_one_bar_per_device_even_when_names_repeat() -> None:
    card = DeviceUse("RTX 4090", 24 * GIB, 23 * GIB, PARTS)
    figure = charts.memory_bar([card, card])
    assert len(set(trace(figure, "Weights").y)) == 2


def test_context_chart_marks_limit_wish_and_largest() -> None:
    points = [
        charts.ContextPoint(c, Parts(weight_bytes=8 * GIB, kv_cache_bytes=c * 100_000)) for c in (512, 8192, 65536)
    ]
    figure = charts.context_chart(points, 12 * GIB, 8192, [("Largest that fits", 40_960)])
    assert set(trace(figure, "Usable").y) == {12}
    assert 8192 in {s.x0 for s in figure.layout.shapes}
    marked = trace(figure, "Largest that fits")
    assert marked.x[0] == 40_960
    # memory is a straight line in context, so the marker stands at weights plus 40,960 times the cost of a token
    assert marked.y[0] == pytest.approx((8 * GIB + 40_960 * 100_000) / GIB)


def test_context_chart_without_any_context_that_fits_has_no_marker() -> None:
    points = [charts.ContextPoint(c, Parts(weight_bytes=20 * GIB)) for c in (512, 1024)]
    figure = charts.context_chart(points, 12 * GIB, 512, [])
    assert not [t for t in figure.data if t.name.startswith("Largest")]


def point(label: str, speed: float, quality: float, family: str = "A") -> charts.FrontierPoint:
    """A point with an interval of one either way."""
    return charts.FrontierPoint(label, family, speed - 1, speed, speed + 1, quality, quality - 1, quality + 1, GIB)


def test_front_holds_only_what_nothing_beats_in_both() -> None:
    slow_good, beaten, fast_poor = point("slow", 5, 80), point("beaten", 4, 70), point("fast", 90, 40)
    assert charts.find_front([beaten, fast_poor, slow_good]) == (slow_good, fast_poor)


def test_frontier_draws_every_point_once_and_folds_rare_families() -> None:
    points = [point(f"m{i}", 10 + i, 50 + i, f"family {i % 12}") for i in range(30)]
    figure = charts.frontier_chart(points)
    drawn = [x for t in figure.data if t.mode == "markers" for x in t.x]
    assert sorted(drawn) == sorted(p.speed_mid for p in points)
    assert len([t for t in figure.data if t.mode == "markers"]) == 8
    assert trace(figure, "other families").marker.color == "#8C8C8C"


def test_legend_names_the_recommended_family_first_and_the_rest_last() -> None:
    points = [point(f"m{i}", 10 + i, 50 - i, f"family {i % 12}") for i in range(30)]
    best = charts.FrontierPoint("best", "family 11", 4, 5, 6, 90, 89, 91, GIB, is_best=True)
    names = [k.name for k in charts.list_keys(charts.frontier_chart([*points, best]))]
    assert names[:2] == ["not beaten in both", "family 11"]
    assert names[-1] == "other families"


def test_legend_of_a_bar_holds_every_part_and_the_free_outline() -> None:
    keys = charts.list_keys(charts.memory_bar([DeviceUse("RAM", 16 * GIB, 15 * GIB, PARTS)]))
    assert [k.name.split()[0] for k in keys] == ["Weights", "KV", "Compute", "Overhead", "Free", "Not"]
    assert [k.mark for k in keys].count("outline") == 1


def test_frontier_of_nothing_is_an_empty_chart() -> None:
    assert len(charts.frontier_chart([]).data) == 0


def price_point(label: str, price: int, speed: float, verdict: str = "fits", left: int = GIB) -> charts.PricePoint:
    return charts.PricePoint(label, "Q4_K_M", verdict, price, speed * 0.8, speed, speed * 1.2, left)


def test_the_price_front_holds_what_nothing_beats() -> None:
    points = [price_point("slow", 100, 5), price_point("dear", 300, 5), price_point("fast", 200, 20)]
    assert [p.label for p in charts.find_price_front(points)] == ["slow", "fast"]
    assert charts.find_price_front([]) == ()


def test_the_price_chart_tells_verdicts_by_word_mark_and_shape() -> None:
    points = [
        price_point("a", 100, 5),
        price_point("b", 300, 9, "tight"),
        price_point("c", 900, 20, "offload", left=0),
    ]
    figure = charts.price_chart(points)
    dots = [t for t in figure.data if t.mode == "markers"]
    assert [t.name for t in dots] == ["● Fits", "◐ Tight", "◒ Offload"]
    assert len({t.marker.symbol for t in dots}) == 3
    assert {k.mark for k in charts.list_keys(figure)} == {"dotted", "dot", "ring", "block"}
    assert "about $100" in dots[0].hovertext[0]
    assert [a.text for a in figure.layout.annotations] == ["a", "c"]
    assert [a.text for a in charts.price_chart(points[:1]).layout.annotations] == ["a"]


def test_the_grid_chart_says_mark_and_speed_in_every_cell_and_the_most_at_the_end() -> None:
    cells = (
        GridCell(4096, Verdict.FITS, Interval(40, 51.4, 60)),
        GridCell(8192, Verdict.OFFLOAD, Interval(1, 1.84, 3)),
        GridCell(16384, Verdict.TIGHT, None),
        GridCell(32768, Verdict.DOES_NOT_FIT, None),
    )
    figure = charts.context_grid_chart(
        [GridRow(1, 6144, 20480, cells), GridRow(2, None, 2**21, cells), GridRow(4, None, None, cells)]
    )
    heat = figure.data[0]
    assert list(heat.x) == ["4K", "8K", "16K", "32K", "most"]
    assert list(heat.y) == ["1 user", "2 users", "4 users"]
    assert list(heat.text[0]) == ["● 51", "◒ 1.8", "◐ ?", "○", "<b>6K</b>"]
    assert [row[-1] for row in heat.text[1:]] == ["<b>◒ 2M</b>", "<b>none</b>"]
    assert "40 to 60" in heat.hovertext[0][0]
    assert "20,480" in heat.hovertext[0][-1]
    assert "not at all" in heat.hovertext[2][-1]
    assert [k.name for k in charts.list_keys(figure)] == ["● Fits", "◐ Tight", "◒ Offload", "○ Does not fit"]
    assert {k.mark for k in charts.list_keys(figure)} == {"block"}


def test_equal_cards_of_like_use_are_one_bar_and_others_stay_apart() -> None:
    card = DeviceUse("RTX 3090", 24 * GIB, 23 * GIB, PARTS)
    fuller = replace(card, parts=replace(PARTS, weight_bytes=PARTS.weight_bytes + 3 * GIB))
    nearly = replace(card, parts=replace(PARTS, weight_bytes=PARTS.weight_bytes + GIB // 4))
    rows = fold_devices([fuller, *[card] * 6, nearly, DeviceUse("RAM", 64 * GIB, 60 * GIB, PARTS)])
    assert [(r.name, r.count) for r in rows] == [("RTX 3090 (1)", 1), ("Each of 7 × RTX 3090", 7), ("RAM", 1)]
    assert rows[1].use is nearly  # the fullest stands for all
    assert [r.count for r in fold_devices([card, card])] == [1, 1]


def test_a_card_beside_a_far_larger_host_has_a_bar_of_its_own_scale() -> None:
    card = DeviceUse("RTX 3090", 24 * GIB, 23 * GIB, PARTS)
    figure = charts.memory_bar([card, DeviceUse("RAM", 512 * GIB, 500 * GIB, PARTS)])
    weights = trace(figure, "Weights")
    assert weights.x[0] == pytest.approx(100 * 9 / 24) and weights.x[1] == pytest.approx(100 * 9 / 512)
    assert weights.y[0].replace("\xa0", " ") == "RTX 3090<br>of 24.0 GiB"
    alike = charts.memory_bar([card, DeviceUse("RAM", 64 * GIB, 60 * GIB, PARTS)])
    assert list(trace(alike, "Weights").x) == [9, 9]


def test_a_draft_is_a_segment_of_its_own_and_the_total_stays() -> None:
    device = DeviceUse("card", 24 * GIB, 23 * GIB, replace(PARTS, overhead_bytes=3 * GIB))
    figure = charts.memory_bar([device, device], (2 * GIB, 0))
    assert list(trace(figure, "Draft").x) == [2, 0]
    assert list(trace(figure, "Overhead").x) == [1, 3]
    assert trace(figure, "Free").base[0] == pytest.approx(device.parts.total_bytes / GIB)

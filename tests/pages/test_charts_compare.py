"""The Compare page's figures and table, judged as values."""

from __future__ import annotations

import pytest

from pages.ui import charts, compare_table
from pages.ui.charts_compare import (
    KIND_SERIES,
    KIND_WORDS,
    LayerStrip,
    MemoryLine,
    find_label_place,
    find_top_gib,
    layers_chart,
    memory_lines_chart,
    place_labels,
)
from sizing.compare import Cell, Comparison, Row, SourceLine
from sizing.layer_strip import LayerKind, LayerRun
from sizing.units import GIB

DENSE = LayerStrip("Dense", "3 layers; 32 heads", (LayerRun(0, 3, LayerKind.FULL, False, "GQA"),))
MIXED = LayerStrip(
    "<b>Mixed</b>",
    "6 layers",
    (
        LayerRun(0, 2, LayerKind.RECURRENT, False, "mamba2"),
        LayerRun(2, 1, LayerKind.FULL, True, "GQA; 8 of 128 experts"),
        LayerRun(3, 3, LayerKind.RECURRENT, True, "mamba2"),
    ),
)


def test_every_kind_has_a_colour_and_a_hatching_of_its_own() -> None:
    assert len({s.hatch for s in KIND_SERIES.values()}) == len(set(KIND_WORDS.values())) == len(LayerKind)
    assert set(KIND_SERIES) == set(KIND_WORDS) == set(LayerKind)


def test_strips_have_one_cell_a_layer_in_order() -> None:
    figure = layers_chart([DENSE, MIXED])
    cells = {trace.name: trace for trace in figure.data}
    full, recurrent = cells["Full attention (plain)"], cells["Recurrent (lined)"]
    assert [(y, int(base)) for y, base in zip(full.y, full.base, strict=True)] == [(0, 0), (0, 1), (0, 2), (1, 2)]
    assert [int(base) for base in recurrent.base] == [0, 1, 3, 4, 5]
    experts = cells["Chooses among experts (thin bar)"]
    assert list(zip(experts.base, experts.x, strict=True)) == [(2, 1), (3, 3)]
    assert figure.layout.xaxis.range[1] == 6
    assert [k.mark for k in charts.list_keys(figure)] == ["block"] * 3


def test_names_of_others_are_no_markup_in_a_chart() -> None:
    texts = [a.text for a in layers_chart([MIXED]).layout.annotations]
    assert "<b>&lt;b&gt;Mixed&lt;/b&gt;</b>" in texts


def test_dense_models_have_no_bar_of_experts() -> None:
    assert [t.name for t in layers_chart([DENSE]).data] == ["Full attention (plain)"]


LINE = MemoryLine("Small", ((512, 8 * GIB), (8192, 10 * GIB), (131072, 40 * GIB)))
HUGE = MemoryLine("Huge", ((512, 300 * GIB), (131072, 400 * GIB)))
LIMITS = (("Cards", 24 * GIB), ("Machine", 56 * GIB))


def test_memory_lines_are_numbered_and_the_limits_drawn() -> None:
    figure = memory_lines_chart([LINE, HUGE], LIMITS, 8192)
    assert [t.name for t in figure.data][:2] == ["1 Small", "2 Huge"]
    limits = [t for t in figure.data if t.mode == "lines"]
    assert [t.y[0] for t in limits] == [24, 56]
    assert {a.text for a in figure.layout.annotations} == {"<b>1</b>", "<b>2</b>"}


def test_the_axis_ends_where_the_last_line_leaves_the_chart() -> None:
    """Llama 4 Scout was trained for 10,485,760 tokens; a card is full long before."""
    long = MemoryLine("Long", ((512, 20 * GIB), (131072, 30 * GIB), (10_485_760, 900 * GIB)))
    figure = memory_lines_chart([long], (("Cards", 24 * GIB),), 8192)
    assert 131072 < 10 ** figure.layout.xaxis.range[1] < 1_048_576
    assert figure.layout.yaxis.range[1] == pytest.approx(1.6 * 24)


def test_what_is_far_past_the_limit_does_not_flatten_the_rest() -> None:
    assert find_top_gib([LINE, HUGE], [24 * GIB, 56 * GIB]) == pytest.approx(40 * 1.12)
    assert find_top_gib([HUGE], [24 * GIB]) > 300
    assert find_label_place(HUGE.points, 50.0) == (512, 50.0)
    assert find_label_place(LINE.points, 50.0) == (131072, 40.0)
    x, y = find_label_place(LINE.points, 20.0)
    assert y == 20 and 8192 < x < 131072


def test_numbers_that_would_cover_each_other_stand_together() -> None:
    placed = place_labels([LINE.points, LINE.points, ((512, GIB), (131072, 2 * GIB))], 50.0, 256)
    assert [numbers for _, _, numbers in placed] == [[1, 2], [3]]


def make(*rows: Row) -> Comparison:
    return Comparison(("a/one", "b/two"), ("One", "<i>Two</i>"), rows, (), ())


def test_the_table_escapes_marks_and_pales() -> None:
    best = Row("G", "Memory", (Cell("8", 8.0), Cell("9", 9.0)), "bytes", "less")
    equal = Row("G", "Kind", (Cell("<script>"), Cell("<script>")))
    html = compare_table.table_html(make(best, equal), ["G"], False)
    assert "<script>" not in html and "&lt;i&gt;Two" in html
    assert "▲ best" in html and html.count("▲") == 1
    assert 'class="wb-equal"' in html
    assert "Kind" not in compare_table.table_html(make(best, equal), ["G"], True)


def test_a_count_of_tokens_says_so_in_its_name() -> None:
    told = Row("G", "Trained context", (Cell("40,960", 40960), Cell("8,192", 8192)), "tokens", "more")
    speed = Row("G", "Speed", (Cell("9 tokens/s", 9), Cell("8 tokens/s", 8)), "tokens/s", "more")
    html = compare_table.table_html(make(told, speed), ["G"], False)
    assert ">Trained context, tokens<" in html and ">Speed<" in html


def test_a_group_without_a_row_left_has_no_heading() -> None:
    equal = Row("Quiet", "Kind", (Cell("x"), Cell("x")))
    assert "Quiet" not in compare_table.table_html(make(equal), ["Quiet"], True)


def test_a_long_text_folds_and_is_there_in_full() -> None:
    text = "keep the notice, " * 20
    html = compare_table.cell_html(text, "")
    assert "<details>" in html
    inside = html.replace("<td><details><summary>", "").replace(" …</summary>", "").replace("</details></td>", "")
    assert inside == text


def test_only_web_addresses_become_links() -> None:
    good = SourceLine("One", "facts", "https://example.org/a?b=1&c=2", "2026-11")
    assert 'href="https://example.org/a?b=1&amp;c=2"' in compare_table.source_html(good)
    assert "href" not in compare_table.source_html(SourceLine("One", "facts", "javascript:alert(1)", "2026-11"))

"""The charts of measured scores are built from values alone, so they are judged as values."""

from __future__ import annotations

from dataclasses import replace

from pages.ui import charts, charts_evaluate
from pages.ui.charts_evaluate import NOT_TOLD, ScoreDot, SpeedPoint, SuiteRow
from sizing.units import GIB

DOTS = (
    ScoreDot("Qwen3 14B at Q8_0", 0.9, 0.85, 0.94, 150),
    ScoreDot("Qwen3 14B at Q4_K_M", 0.88, 0.82, 0.92, 150),
    ScoreDot("A small model at Q8_0", 0.4, 0.32, 0.48, 150),
)
ROW = SuiteRow("Arithmetic", 0.25, DOTS, (True, False))
LOOKS = charts_evaluate.tell_models_apart([d.model for d in DOTS])


def dots_of(figure: charts.Figure) -> list:
    return [t for t in figure.data if t.mode == "markers"]


def texts_of(figure: charts.Figure) -> list[str]:
    return [a.text for a in figure.layout.annotations]


def test_each_dot_stands_at_its_score_with_its_own_whiskers() -> None:
    for trace, dot in zip(dots_of(charts_evaluate.score_chart([ROW], LOOKS)), DOTS, strict=True):
        assert trace.x[0] == 100 * dot.value
        assert abs(trace.x[0] + trace.error_x.array[0] - 100 * dot.high) < 1e-9
        assert abs(trace.x[0] - trace.error_x.arrayminus[0] - 100 * dot.low) < 1e-9
        assert (trace.marker.color, trace.marker.symbol) == (LOOKS[dot.model].colour, LOOKS[dot.model].symbol)
        assert "150 items" in trace.hovertext


def test_the_words_stand_between_the_pair_they_are_about() -> None:
    figure = charts_evaluate.score_chart([ROW], LOOKS)
    (note,) = [a for a in figure.layout.annotations if a.text == NOT_TOLD]
    first, second, _ = (t.y[0] for t in dots_of(figure))
    assert first < note.y < second
    assert NOT_TOLD not in texts_of(charts_evaluate.score_chart([replace(ROW, not_told=(False, False))], LOOKS))


def test_suites_stand_under_each_other_and_no_two_dots_share_a_row() -> None:
    figure = charts_evaluate.score_chart([ROW, replace(ROW, title="JSON", chance=0.0)], LOOKS)
    places = [t.y[0] for t in dots_of(figure)]
    assert places == sorted(places) and len(set(places)) == 6
    assert texts_of(figure)[0] == "<b>Arithmetic</b>" and "<b>JSON</b>" in texts_of(figure)
    assert figure.layout.yaxis.range[0] > max(places)


def test_what_guessing_gives_is_a_line_with_a_name() -> None:
    figure = charts_evaluate.score_chart([ROW], LOOKS)
    assert any(shape.x0 == shape.x1 == 25 for shape in figure.layout.shapes)
    assert [key.name for key in charts.list_keys(figure)] == ["what guessing gives"]
    assert not charts.list_keys(charts_evaluate.score_chart([replace(ROW, chance=0.0)], LOOKS))


def test_the_axis_begins_near_the_scores_and_guessing_below_it_is_said_in_words() -> None:
    high = replace(ROW, title="A suite whose title is far too long for a single line", chance=0.08, dots=DOTS[:2])
    figure = charts_evaluate.score_chart([replace(high, not_told=(True,))], LOOKS)
    assert figure.layout.xaxis.range[0] == 69 and not charts.list_keys(figure)
    assert texts_of(figure)[0].count("<b>") == 2 and texts_of(figure)[0].endswith("<br>guessing gives 8%")
    assert not any(shape.x0 == 8 for shape in figure.layout.shapes)
    low = replace(ROW, dots=(replace(DOTS[2], low=0.15),), not_told=())
    assert charts_evaluate.find_start([low]) == 0


def test_a_long_name_keeps_its_quantization() -> None:
    dot = replace(DOTS[0], model="A model whose name goes on for very long at Q4_K_M")
    figure = charts_evaluate.score_chart([replace(ROW, dots=(dot,), not_told=())], LOOKS)
    assert figure.layout.yaxis.ticktext[0].endswith("… Q4_K_M")


def test_a_name_is_text_and_no_markup() -> None:
    dot = replace(DOTS[0], model="<b>bold</b>")
    figure = charts_evaluate.score_chart([replace(ROW, title="<i>x</i>", dots=(dot,), not_told=())], LOOKS)
    assert "<b>bold" not in dots_of(figure)[0].hovertext and "<i>" not in texts_of(figure)[0]


def test_speed_points_have_an_area_of_their_memory_and_a_log_axis_only_where_needed() -> None:
    near = [SpeedPoint("a", 0.8, 0.7, 0.9, 10, GIB), SpeedPoint("b", 0.6, 0.5, 0.7, 20, 4 * GIB)]
    figure = charts_evaluate.speed_chart(near, LOOKS)
    small, large = (t.marker.size for t in dots_of(figure))
    assert small < large and figure.layout.xaxis.type != "log" and figure.layout.xaxis.range[0] == 0
    assert charts_evaluate.speed_chart([*near, replace(near[0], tokens_per_s=900)], LOOKS).layout.xaxis.type == "log"


def test_a_model_is_named_once_in_the_legend() -> None:
    point = SpeedPoint("a", 0.8, 0.7, 0.9, 10, 0)
    figure = charts_evaluate.speed_chart([point, replace(point, value=0.75)], LOOKS)
    assert [key.name for key in charts.list_keys(figure)] == ["a"]
    assert "peak memory unknown" in dots_of(figure)[0].hovertext


def test_past_seven_models_share_the_grey_ring() -> None:
    looks = charts_evaluate.tell_models_apart([str(n) for n in range(9)])
    assert looks["7"] == looks["8"] == charts.OTHERS
    assert len({look.symbol for look in looks.values()}) == 8

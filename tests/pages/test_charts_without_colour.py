"""Charts read without colour: in grey, to eyes that lack a kind of cone, and on the light and the dark page."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from pages.ui import (
    charts,
    charts_base,
    charts_compare,
    charts_cost,
    charts_engines,
    charts_evaluate,
    charts_finetune,
    charts_guide,
    charts_keys,
    charts_machines,
    charts_memory,
)
from pages.ui.charts_base import CLEAR, SERIES, THEME_TEXT
from sizing.cost import CostBand, CostLine
from sizing.finetune import TrainingUse
from sizing.finetune_memory import TrainingParts
from sizing.fit import Verdict
from sizing.inverse import GridCell, GridRow
from sizing.layer_strip import LayerKind, LayerRun
from sizing.memory import DeviceUse, Parts
from sizing.throughput import Interval
from sizing.units import GIB

ROOT = Path(__file__).resolve().parents[2]
LEAST_RATIO = 1.5
"""Contrast of two greys that are told apart where they lie side by side."""
LEAST_DISTANCE = 0.06
"""Distance in OKLab; 0.02 is about what is just seen side by side."""
FULL_VISION = np.eye(3)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
"""Linear RGB as it is seen: Machado, Oliveira and Fernandes 2009, doi:10.1109/TVCG.2009.113, severity 1.0."""
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
"""Linear RGB to OKLab: https://bottosson.github.io/posts/oklab/."""


def to_linear(colour: str) -> np.ndarray:
    """Linear RGB of '#RRGGBB'."""
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def find_luminance(colour: str) -> float:
    """Relative luminance, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    return float(np.array([0.2126, 0.7152, 0.0722]) @ to_linear(colour))


def find_contrast(a: str, b: str) -> float:
    """Contrast ratio, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""
    light, dark = sorted((find_luminance(a), find_luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def find_distance(a: str, b: str, sight: np.ndarray) -> float:
    """How far apart two colours are in OKLab, as somebody sees them."""
    seen = [TO_LAB @ np.cbrt(np.clip(TO_CONES @ np.clip(sight @ to_linear(c), 0, 1), 0, None)) for c in (a, b)]
    return float(np.linalg.norm(seen[0] - seen[1]))


def is_told_by_colour(a: str, b: str) -> bool:
    """Whether two colours are told apart in grey and by every eye."""
    if CLEAR in (a, b):
        return a != b
    sights = (FULL_VISION, PROTANOPIA, DEUTERANOPIA)
    return find_contrast(a, b) >= LEAST_RATIO and all(find_distance(a, b, s) >= LEAST_DISTANCE for s in sights)


def find_second_channel(trace: Any) -> tuple[str, ...]:
    """What tells a trace from others of its kind without its colour: symbol, dash, pattern or width, and the kind."""
    if trace.type == "bar":
        return ("bar", trace.marker.pattern.shape or "", str(trace.width))
    if trace.stackgroup is not None:
        return ("area", trace.fillpattern.shape or "")
    if "markers" in trace.mode:
        return ("marker", trace.marker.symbol or "circle")
    return ("line", trace.line.dash or "solid", str(trace.line.width))


def find_colour(trace: Any) -> str:
    return str(trace.line.color if trace.type == "scatter" and trace.mode == "lines" else trace.marker.color)


def list_alike(figure: go.Figure) -> list[tuple[str, str]]:
    """Pairs of named series that only full colour vision tells apart."""
    series = {t.name: t for t in figure.data if t.name and t.showlegend is not False}
    return [
        (a, b)
        for a, b in combinations(series, 2)
        if find_second_channel(series[a]) == find_second_channel(series[b])
        and not is_told_by_colour(find_colour(series[a]), find_colour(series[b]))
    ]


# ---- one figure of every kind, with as many series as it can have ----

PARTS = Parts(9 * GIB, 3 * GIB, GIB, 2 * GIB, 0, GIB)
CARD = DeviceUse("card", 20 * GIB, 18 * GIB, PARTS)
FULL = DeviceUse("card", 16 * GIB, 14 * GIB, PARTS)
TRAINED = TrainingUse("card", 80 * GIB, 78 * GIB, TrainingParts(15 * GIB, 15 * GIB, 30 * GIB, 3 * GIB, GIB))


def build_frontier() -> go.Figure:
    points = [
        charts.FrontierPoint(f"m{i}", f"family {i % 12}", 9 + i, 10 + i, 11 + i, 50 - i, 49 - i, 51 - i, GIB)
        for i in range(24)
    ]
    return charts.frontier_chart([replace(points[0], is_best=True), *points[1:]])


def build_prices() -> go.Figure:
    return charts_machines.price_chart(
        [
            charts_machines.PricePoint(name, "Q4_K_M", name, 100 * n, 4 * n, 5 * n, 6 * n, GIB)
            for n, name in enumerate(("fits", "tight", "offload"), 1)
        ]
    )


def build_costs() -> go.Figure:
    line = CostLine(0.1, 100.0)
    band = CostBand(line, line, line)
    return charts_cost.cost_chart([charts_cost.CostCurve(k, k, band) for k in ("own", "rent", "api")], 2e6)


def build_layers() -> go.Figure:
    runs = tuple(LayerRun(n, 1, kind, n == 1, "") for n, kind in enumerate(LayerKind))
    return charts_compare.layers_chart([charts_compare.LayerStrip("m", "", runs)])


def build_memory_lines() -> go.Figure:
    lines = [charts_compare.MemoryLine(f"m{n}", ((512, n * GIB), (8192, 2 * n * GIB))) for n in range(1, 7)]
    return charts_compare.memory_lines_chart(lines, (("card", 8 * GIB), ("all", 16 * GIB)), 4096)


def build_speeds() -> go.Figure:
    points = [charts_evaluate.SpeedPoint(f"m{n}", 0.5, 0.4, 0.6, 10.0 + n, GIB) for n in range(7)]
    return charts_evaluate.speed_chart(points, charts_evaluate.tell_models_apart([p.model for p in points]))


def build_requests() -> go.Figure:
    points = [charts_engines.RequestPoint(1024 * 2**n, 64 / 2**n) for n in range(6)]
    return charts_engines.requests_chart(points, 4096, 8, 65_536)


def build_losses() -> go.Figure:
    return charts_guide.loss_chart(
        [
            charts_guide.LossPoint(f"q{n}", family, GIB, 0.5, 0.2, 0.9, "this model", n == 0)
            for n, family in enumerate(charts_guide.FAMILY_WORDS)
        ]
    )


def build_context() -> go.Figure:
    points = [charts_memory.ContextPoint(c, replace(PARTS, kv_cache_bytes=c * 10**5)) for c in (512, 8192, 65_536)]
    return charts_memory.context_chart(points, 12 * GIB, 8192, [("on cards alone", 16_384), ("in all", 32_768)])


FIGURES = {
    "memory": lambda: charts_memory.memory_bar([CARD]),
    "memory with a draft": lambda: charts_memory.memory_bar([replace(CARD, parts=PARTS)], (GIB // 2,)),
    "too much memory": lambda: charts_memory.memory_bar([FULL]),
    "context": build_context,
    "training": lambda: charts_finetune.training_bar([TRAINED]),
    "engines": lambda: charts_engines.engines_chart([charts_engines.EngineBar("e", "f", PARTS, "fits", "")], 12 * GIB),
    "requests": build_requests,
    "frontier": build_frontier,
    "prices": build_prices,
    "costs": build_costs,
    "layers": build_layers,
    "memory lines": build_memory_lines,
    "speeds": build_speeds,
    "losses": build_losses,
    "lines": lambda: charts_guide.lines_chart(
        [charts_guide.Line(s.symbol, (1.0, 2.0), (1.0, 2.0), ("", ""), s) for s in (*SERIES, charts_base.OTHERS)],
        "x",
        "y",
    ),
    "roofline": lambda: charts_guide.roofline_chart(
        1e14, 1e12, [charts_guide.RoofPoint(str(n), 10.0 * n, 1e13, "") for n in range(1, 8)]
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_no_two_series_are_told_apart_by_full_colour_vision_alone(name: str) -> None:
    assert list_alike(FIGURES[name]()) == []


def test_the_check_finds_what_grey_and_what_an_eye_without_red_cones_confuse() -> None:
    figure = go.Figure()
    for label, colour in (("green", "#009E73"), ("grey", "#8C8C8C"), ("yellow", "#F0E442")):
        figure.add_bar(x=[1], y=[0], name=label, marker={"color": colour})
    assert list_alike(figure) == [("green", "grey")]
    figure.data[1].marker.pattern.shape = "."
    assert list_alike(figure) == []
    assert find_distance("#7A5FC8", "#5E7793", FULL_VISION) > find_distance("#9C4BA8", "#5E7793", DEUTERANOPIA)
    assert not is_told_by_colour("#C94F7C", "#009E73")  # rose and green to an eye without green cones


def test_a_cell_says_its_verdict_by_its_mark_and_grey_keeps_the_order() -> None:
    cells = tuple(GridCell(4096 * n, v, Interval(4, 5, 6)) for n, v in enumerate(Verdict, 1))
    heat = charts_machines.context_grid_chart([GridRow(1, None, None, cells)]).data[0]
    marks = [text.split(" ")[0] for text in heat.text[0][:-1]]
    assert marks == [charts.MARKS[v] for v in Verdict] and len(set(marks)) == len(marks)
    shades = [find_luminance(colour) for colour in charts_machines.CELL_COLOURS.values()]
    assert shades == sorted(shades) and list(charts_machines.CELL_COLOURS) == [str(v) for v in Verdict]


def test_scores_stand_beside_the_name_of_their_model() -> None:
    dots = tuple(charts_evaluate.ScoreDot(f"m{n}", 0.9 - n / 10, 0.1, 0.95, 100) for n in range(3))
    row = charts_evaluate.SuiteRow("Suite", 0.0, dots, (False, False))
    figure = charts_evaluate.score_chart([row], {})
    assert list(figure.layout.yaxis.ticktext) == ["m0", "m1", "m2"]
    assert list(figure.layout.yaxis.tickvals) == [t.y[0] for t in figure.data if t.mode == "markers"]


# ---- one meaning for each colour ----

MEANINGS = {
    "Weights": charts_base.WEIGHTS,
    "KV cache": charts_base.KV_CACHE,
    "Compute": charts_base.COMPUTE,
    "Activations": charts_base.COMPUTE,
    "Overhead": charts_base.OVERHEAD,
    "Over the limit": charts_base.OVER,
    "Free": CLEAR,
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_part_of_memory_has_its_colour_everywhere_and_nothing_else_has_it(name: str) -> None:
    own = {charts_base.WEIGHTS, charts_base.KV_CACHE, charts_base.COMPUTE}
    for trace in FIGURES[name]().data:
        meant = [colour for word, colour in MEANINGS.items() if (trace.name or "").startswith(word)]
        if meant:
            assert find_colour(trace) == meant[0], trace.name
        else:
            assert find_colour(trace) not in own, trace.name


def test_series_borrow_no_colour_of_memory() -> None:
    memory = {charts_base.WEIGHTS, charts_base.KV_CACHE, charts_base.COMPUTE, charts_base.OVER}
    memory |= {charts_base.DRAFT, charts_base.GRADIENTS}
    assert not {s.colour for s in SERIES} & memory
    for field in ("colour", "symbol", "dash", "hatch"):
        assert len({getattr(s, field) for s in (*SERIES, charts_base.OTHERS)}) == len(SERIES) + 1


# ---- light and dark ----


def list_pages() -> list[str]:
    """The background of the light and of the dark page."""
    theme = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
    return [theme[kind]["backgroundColor"] for kind in ("light", "dark")]


def list_drawn(figure: go.Figure) -> Iterator[tuple[str, str]]:
    """Colours of what is thin, lines, symbols, edges and words on the page itself, with what they belong to."""
    for trace in figure.data:
        if trace.type == "scatter" and not trace.stackgroup and trace.mode != "none" and trace.hoverinfo != "none":
            is_edged = trace.mode != "lines" and trace.marker.line.width == 2
            colour = trace.marker.line.color if is_edged else find_colour(trace)
            yield trace.name or "", str(colour)
        if trace.type == "bar" and trace.marker.color == CLEAR:
            yield f"edge of {trace.name}", str(trace.marker.line.color or trace.marker.pattern.fgcolor)
            if trace.textfont.color:
                yield f"words of {trace.name}", str(trace.textfont.color)
    for shape in figure.layout.shapes:
        yield "shape", str(shape.line.color)
    for note in figure.layout.annotations:
        if note.font.color:
            yield note.text, str(note.font.color)


@pytest.mark.parametrize("name", FIGURES)
def test_what_is_drawn_reads_on_the_light_and_on_the_dark_page(name: str) -> None:
    for what, colour in list_drawn(FIGURES[name]()):
        if colour in (THEME_TEXT, "None"):  # the theme's own
            continue
        for page in list_pages():
            assert find_contrast(colour, page) >= 3, (what, colour, page)


def test_words_inside_bars_and_cells_read_on_their_fill() -> None:
    purposes = [*charts_memory.list_purposes(PARTS), *charts_finetune.list_training_purposes(TRAINED.parts)]
    pairs = {(p.text_colour, p.colour) for p in purposes}
    pairs |= {(charts_base.ON_LIGHT, fill) for fill in (*charts_machines.CELL_COLOURS.values(), charts_machines.MOST)}
    over = next(t for t in FIGURES["too much memory"]().data if t.name.startswith("Over the"))
    pairs.add((over.textfont.color, over.marker.color))
    for words, fill in pairs:
        assert find_contrast(words, fill) >= 4.5, (words, fill)


def test_the_page_puts_the_themes_text_colour_where_a_chart_has_its_stand_in() -> None:
    rgb = ", ".join(str(int(THEME_TEXT[i : i + 2], 16)) for i in (1, 3, 5))
    assert f'text[style*="fill: rgb({rgb})"] {{ fill: currentColor' in charts_keys.STYLE
    assert f'path[style*="stroke: rgb({rgb})"] {{ stroke: currentColor' in charts_keys.STYLE
    figure = FIGURES["frontier"]()
    charts.write_in_theme(figure)
    axis = figure.layout.yaxis
    assert axis.tickfont.color == axis.title.font.color == figure.layout.annotations[0].font.color == THEME_TEXT
    assert axis.title.text.startswith("quality")


# ---- the legend ----


@pytest.mark.parametrize("name", FIGURES)
def test_the_legend_shows_both_channels_of_every_series(name: str) -> None:
    keys = charts_keys.list_keys(FIGURES[name]())
    assert keys
    looks = [(k.colour, k.mark, k.hatch, k.edge) for k in keys]
    assert len(set(looks)) == len(looks), looks
    html = charts_keys.keys_html(FIGURES[name]())
    for key in keys:
        for part in (key.mark, key.hatch):
            assert not part or f"wb-{part}" in html
            assert not part or f".wb-{part}" in charts_keys.STYLE or part == "block"

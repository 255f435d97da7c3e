"""Charts of the guide, in plotly alone: values in, figures out, no Streamlit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

import plotly.graph_objects as go

from pages.ui.charts_base import CLEAR, FONT_PX, OTHERS, OVERHEAD, SERIES, THEME_TEXT, Series, dot, fill, plain, roomy
from pages.ui.charts_kept import keep_figures
from sizing.units import GIB, THIN, format_bytes, format_figures, format_range, format_tokens

ROW_PX = 46
HOLLOW = CLEAR
"""What is reserved and empty, or would be: an outline, as what is free in a memory bar."""

FAMILY_WORDS = {"K": "K quants", "IQ": "IQ quants", "legacy": "older recipes", "mxfp": "MXFP4", "float": "16 bit"}
QUANT_SERIES = dict(zip(FAMILY_WORDS, (*SERIES[:4], OTHERS), strict=True))
NAMED_QUANTS = ("Q8_0", "Q6_K", "Q2_K", "IQ2_XXS", "IQ1_S")
"""Quantizations named on the chart beside the chosen one: more would lie over each other."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of a bar: what it is, how long, its colour, what is said on touching it, and a pattern of its own."""

    name: str
    value: float
    colour: str
    told: str
    hatch: str | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar with the line of text that stands over it."""

    title: str
    segments: tuple[Segment, ...]
    is_example: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its points, and for each of them what is said on touching it."""

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    told: tuple[str, ...]
    look: Series


@dataclass(frozen=True, slots=True)
class LossPoint:
    """One quantization: its size, the points of score it is expected to cost with their interval, its kind."""

    quant: str
    family: str
    n_bytes: int
    points: float
    low: float
    high: float
    label: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class RoofPoint:
    """One step on a roofline: operations per byte, and operations/s it can reach."""

    name: str
    flops_per_byte: float
    flops: float
    told: str


@keep_figures
def bars_chart(bars: Sequence[Bar], most: float | None = None) -> go.Figure:
    """Stacked bars from the top down, each under its own line of text, so that names cost no width on a phone.

    `most` is the length of the axis where it is not that of the longest bar.
    """
    figure = go.Figure()
    longest = max((sum(s.value for s in bar.segments) for bar in bars), default=1.0)
    span = max(most or 0.0, longest, 1e-12)
    seen: set[str] = set()
    for y, bar in enumerate(bars):
        start = 0.0
        for segment in bar.segments:
            figure.add_bar(
                x=[segment.value],
                y=[y],
                base=[start],
                orientation="h",
                name=segment.name,
                marker=fill(segment.colour, segment.hatch),
                hovertext=[roomy(f"{plain(bar.title)}<br>{segment.told}")],
                hoverinfo="text",
                showlegend=segment.name not in seen and bool(segment.name),
                width=0.42,
            )
            seen.add(segment.name)
            start += segment.value
        title = roomy(plain(bar.title))
        title = f"<b>{title}</b>" if bar.is_example else title
        figure.add_annotation(x=0, xanchor="left", y=y - 0.42, text=title, showarrow=False, font={"size": FONT_PX})
    figure.update_layout(
        barmode="overlay",
        height=8 + ROW_PX * len(bars),
        margin={"l": 0, "r": 0, "t": 4, "b": 0},
        showlegend=False,
        xaxis={"range": [0, span], "visible": False, "fixedrange": True},
        yaxis={"range": [len(bars) - 0.7, -0.75], "visible": False, "fixedrange": True},
    )
    return figure


@keep_figures
def lines_chart(
    lines: Sequence[Line],
    x_title: str,
    y_title: str,
    *,
    y_unit: str = "",
    x_ticks: Sequence[float] | None = None,
    is_log_x: bool = True,
    levels: Sequence[tuple[float, str]] = (),
) -> go.Figure:
    """Lines; `y_unit` 'bytes' or 'tokens' makes a logarithmic axis of the binary ladder, else it is linear from 0.

    `levels` are heights to point at, each with its words; an x axis on a log scale has `x_ticks` in tokens.
    """
    figure = go.Figure()
    for line in lines:
        figure.add_scatter(
            x=line.xs,
            y=line.ys,
            mode="lines",
            name=line.name,
            line={"width": 2, "color": line.look.colour, "dash": line.look.dash},
            hovertext=[roomy(f"{plain(line.name)}<br>{told}") for told in line.told],
            hoverinfo="text",
        )
    for y, words in levels:
        figure.add_hline(y=y, line={"width": 1, "dash": "dot", "color": OVERHEAD})
        figure.add_annotation(
            x=0, xref="paper", xanchor="left", y=log10(y) if y_unit else y, yanchor="bottom", text=words,
            showarrow=False,
        )  # fmt: skip
    ticks = list(x_ticks) if x_ticks else []
    figure.update_layout(
        height=320,
        margin={"l": 0, "r": 8, "t": 8, "b": 0},
        hovermode="closest",
        showlegend=False,
        xaxis={
            "type": "log" if is_log_x else "linear",
            "title": x_title,
            "tickvals": ticks or None,
            "ticktext": [_short(t) for t in ticks] or None,
            "fixedrange": True,
        },
        yaxis={"title": y_title, "fixedrange": True, **(_log_y(lines, y_unit) if y_unit else {"rangemode": "tozero"})},
    )
    return figure


@keep_figures
def loss_chart(points: Sequence[LossPoint]) -> go.Figure:
    """What each quantization costs against its size, both axes as the choice sees them; whiskers are the interval."""
    figure = go.Figure()
    for family, words in FAMILY_WORDS.items():
        kept = [p for p in points if p.family == family]
        if not kept:
            continue
        figure.add_scatter(
            x=[p.n_bytes / GIB for p in kept],
            y=[p.points for p in kept],
            mode="markers+text",
            name=words,
            text=[p.quant if p.is_chosen or p.quant in NAMED_QUANTS else "" for p in kept],
            textposition="top right",
            textfont={"size": FONT_PX - 2},
            cliponaxis=False,
            marker={
                "size": [14 if p.is_chosen else 9 for p in kept],
                "color": QUANT_SERIES[family].colour,
                "symbol": QUANT_SERIES[family].symbol,
                "line": {"width": [3 if p.is_chosen else 1 for p in kept], "color": _edge_colours(family, kept)},
            },
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [p.high - p.points for p in kept],
                "arrayminus": [p.points - p.low for p in kept],
                "thickness": 1,
                "width": 2,
            },
            hovertext=[
                roomy(
                    f"{p.quant}: {format_bytes(p.n_bytes)}<br>{format_figures(p.points)} points "
                    f"({format_range(p.low, p.high)})<br>measured on: {p.label}"
                )
                for p in kept
            ],
            hoverinfo="text",
        )
    figure.update_layout(
        height=360,
        margin={"l": 0, "r": 8, "t": 8, "b": 0},
        hovermode="closest",
        showlegend=False,
        xaxis={"title": "weights, GiB", "fixedrange": True},
        yaxis={
            "title": "points lost (log scale)",
            "type": "log",
            "tickvals": [0.01, 0.1, 1, 10, 100],
            "ticktext": ["0.01", "0.1", "1", "10", "100"],
            "fixedrange": True,
        },
    )
    return figure


def _edge_colours(family: str, points: Sequence[LossPoint]) -> list[str]:
    """The chosen quantization has an edge in the colour of text."""
    return [THEME_TEXT if p.is_chosen else QUANT_SERIES[family].colour for p in points]


@keep_figures
def roofline_chart(peak_flops: float, bandwidth_bytes_per_s: float, points: Sequence[RoofPoint]) -> go.Figure:
    """Operations/s a device can reach against operations per byte, and where steps of a model lie under its roof."""
    ridge = peak_flops / bandwidth_bytes_per_s
    low = min([p.flops_per_byte for p in points] + [ridge]) / 2
    high = max([p.flops_per_byte for p in points] + [ridge]) * 4
    figure = go.Figure()
    figure.add_scatter(
        x=[low, ridge, high],
        y=[low * bandwidth_bytes_per_s / 1e12, peak_flops / 1e12, peak_flops / 1e12],
        mode="lines",
        name="the most the device can do",
        line={"width": 2, "color": OVERHEAD, "dash": "solid"},
        hoverinfo="skip",
    )
    for point, look in zip(points, SERIES, strict=False):
        figure.add_scatter(
            x=[point.flops_per_byte],
            y=[point.flops / 1e12],
            mode="markers",
            name=point.name,
            marker=dot(look, 13),
            cliponaxis=False,
            hovertext=[roomy(f"{point.name}<br>{point.told}")],
            hoverinfo="text",
        )
    decades = range(-3, 7)
    figure.update_layout(
        height=330,
        margin={"l": 0, "r": 8, "t": 8, "b": 0},
        hovermode="closest",
        showlegend=False,
        xaxis={
            "type": "log",
            "title": "operations for each byte read (log scale)",
            "range": [log10(low), log10(high)],
            "tickvals": [10.0**n for n in decades],
            "ticktext": [f"{10.0**n:g}" for n in decades],
            "fixedrange": True,
        },
        yaxis={
            "type": "log",
            "title": f"10¹²{THIN}operations/s",
            "tickvals": [10.0**n for n in decades],
            "ticktext": [f"{10.0**n:g}" for n in decades],
            "fixedrange": True,
        },
    )
    return figure


def _log_y(lines: Sequence[Line], unit: str) -> dict[str, object]:
    """A logarithmic axis that has ticks on the binary ladder, a factor of four apart at least."""
    known = [y for line in lines for y in line.ys if y > 0] or [1.0]
    first, last = math.floor(math.log2(min(known))), math.ceil(math.log2(max(known)))
    step = 2 if last - first <= 14 else 4
    ticks = [2.0**n for n in range(first, last + 1) if n % step == 0]
    words = [
        roomy(format_bytes(t).replace(".00", "").replace(".0", "")) if unit == "bytes" else _short(t) for t in ticks
    ]
    return {"type": "log", "tickvals": ticks, "ticktext": words}


def _short(x: float) -> str:
    """A tick of an axis of tokens: whole below 1,024, in K and M of the binary ladder above."""
    if x >= 2**20 and x % 2**20 == 0:
        return f"{int(x) >> 20}M"
    if x >= 1024 and x % 1024 == 0:
        return f"{int(x) >> 10}K"
    return format_tokens(int(x))

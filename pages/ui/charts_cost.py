"""Cost charts, in plotly alone: values in, figures out, no Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log10

import plotly.graph_objects as go

from pages.ui.charts_base import FONT_PX, OVERHEAD, SERIES, THEME_TEXT, log_axis
from pages.ui.charts_kept import keep_figures
from sizing.cost import CostBand
from sizing.cost_record import format_count
from sizing.units import format_range

KINDS = dict(zip(("own", "rent", "api"), SERIES, strict=False))
"""One colour and one dash for each kind of option."""

N_POINTS = 160
MAX_STEPS = 40
"""Purchases of a further machine that are drawn as steps; beyond, the steps are finer than a line."""
DECADES_DOWN, DECADES_UP = 1.7, 1.7
NOTHING_YET = 1e5
"""The middle of the chart, in tokens a day, where no load was given."""
LEAST_USD = 0.01


@dataclass(frozen=True, slots=True)
class CostCurve:
    """One option on the chart; `meets_at` are the loads at which it starts to cost less than the API."""

    kind: str
    name: str
    band: CostBand
    meets_at: tuple[float, ...] = ()


@keep_figures
def cost_chart(curves: Sequence[CostCurve], tokens_per_day: float) -> go.Figure:
    """US$ a month against tokens a day, both on log scales: a line for the middle, a band for the speed's interval.

    A thin line stands at the load that was asked about, a diamond where a machine starts to cost less than the API.
    """
    figure = go.Figure()
    low, high = find_range(curves, tokens_per_day)
    seen: list[float] = []
    for curve in curves:
        loads = list_loads(curve.band, low, high)
        costs = [curve.band.cost_per_month(t) for t in loads]
        seen += [c for cost in costs for c in (cost.low, cost.high) if c > 0]
        _add_band(figure, curve, loads)
    bottom, top = max(min(seen, default=1.0), LEAST_USD), max([*seen, 1.0])
    bottom = max(bottom, top / 1e5)
    _add_meetings(figure, curves, low, high)
    if tokens_per_day > 0:
        figure.add_scatter(
            x=[tokens_per_day, tokens_per_day],
            y=[bottom, top],
            mode="lines",
            line={"width": 1, "dash": "solid", "color": OVERHEAD},
            name=f"{format_count(tokens_per_day)} tokens a day",
            hoverinfo="skip",
        )
    figure.update_layout(
        height=380,
        margin={"l": 0, "r": 12, "t": 8, "b": 0},
        showlegend=False,
        hovermode="closest",
        xaxis=_count_axis(low, high),
        yaxis=log_axis("US$ a month", bottom, top, ",.12g"),
        font={"size": FONT_PX},
    )
    return figure


def find_range(curves: Sequence[CostCurve], tokens_per_day: float) -> tuple[float, float]:
    """The loads to draw: around the one that was asked about, wide enough for every meeting within reach."""
    middle = tokens_per_day or NOTHING_YET
    low, high = middle / 10**DECADES_DOWN, middle * 10**DECADES_UP
    for at in (t for curve in curves for t in curve.meets_at if t > 0):
        if middle / 1e4 <= at <= middle * 1e4:
            low, high = min(low, at / 3), max(high, at * 3)
    return low, high


def list_loads(band: CostBand, low: float, high: float) -> list[float]:
    """Loads on a log scale, and both sides of every step where a further machine is bought, up to MAX_STEPS."""
    span = log10(high / low)
    loads = {low * 10 ** (span * i / (N_POINTS - 1)) for i in range(N_POINTS)}
    for line in (band.low, band.mid, band.high):
        carried = line.tokens_per_day_per_machine
        first = max(ceil(low / carried), line.min_machines, 1)
        for n in range(first, first + MAX_STEPS):
            if not low < n * carried < high:
                break
            loads |= {n * carried, n * carried * 1.0001}
    return sorted(loads)


def _add_band(figure: go.Figure, curve: CostCurve, loads: Sequence[float]) -> None:
    """The interval as a fill, the middle as a line that tells its figures."""
    costs = [curve.band.cost_per_month(t) for t in loads]
    series = KINDS[curve.kind]
    if curve.band.low != curve.band.high:
        outline = {"width": 0, "color": series.colour}
        figure.add_scatter(
            x=loads, y=[c.low for c in costs], mode="lines", line=outline, showlegend=False, hoverinfo="skip"
        )
        figure.add_scatter(
            x=loads,
            y=[c.high for c in costs],
            mode="lines",
            line=outline,
            fill="tonexty",
            fillcolor=_pale(series.colour),
            showlegend=False,
            hoverinfo="skip",
        )
    figure.add_scatter(
        x=loads,
        y=[c.mid for c in costs],
        mode="lines",
        line={"width": 2.5, "color": series.colour, "dash": series.dash},
        name=curve.name,
        hovertext=[
            f"{curve.name}<br>{format_count(t)} tokens a day<br>US$ {format_range(c.low, c.high)} a month"
            for t, c in zip(loads, costs, strict=True)
        ],
        hoverinfo="text",
    )


def _add_meetings(figure: go.Figure, curves: Sequence[CostCurve], low: float, high: float) -> None:
    points = [(curve, at) for curve in curves for at in curve.meets_at if low <= at <= high]
    if not points:
        return
    figure.add_scatter(
        x=[at for _, at in points],
        y=[curve.band.mid.cost_per_month(at) for curve, at in points],
        mode="markers",
        marker={
            "size": 11,
            "symbol": "diamond",
            "color": [KINDS[curve.kind].colour for curve, _ in points],
            "line": {"width": 2, "color": THEME_TEXT},
        },
        name="starts to cost less than the API",
        hovertext=[f"{curve.name} costs less<br>from {format_count(at)} tokens a day" for curve, at in points],
        hoverinfo="text",
        showlegend=False,
    )


def _count_axis(low: float, high: float) -> dict[str, object]:
    ticks = [10.0**n for n in range(-1, 17) if low <= 10.0**n <= high]
    return {
        "type": "log",
        "title": "tokens a day",
        "tickvals": ticks,
        "ticktext": [_short(t) for t in ticks],
        "range": [log10(low), log10(high)],
        "fixedrange": True,
    }


def _short(count: float) -> str:
    for unit, step in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if count >= step:
            return f"{count / step:g}{unit}"
    return f"{count:g}"


def _pale(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"

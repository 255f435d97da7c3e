"""The frontier of choices, in plotly alone; and every chart's name that pages use, whichever file draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from pages.ui.charts_base import (
    CLEAR,
    COMPUTE,
    DRAFT,
    FONT_PX,
    KV_CACHE,
    OTHERS,
    OVER,
    OVERHEAD,
    SERIES,
    THEME_TEXT,
    WEIGHTS,
    Figure,
    Series,
    log_axis,
    plain,
    roomy,
    to_log10,
    write_in_theme,
)
from pages.ui.charts_kept import keep_figures
from pages.ui.charts_keys import Key, keys_html, list_keys
from pages.ui.charts_machines import MARKS, PricePoint, context_grid_chart, find_price_front, price_chart
from pages.ui.charts_memory import NARROWEST_LABEL, ContextPoint, Purpose, context_chart, list_purposes, memory_bar
from sizing.units import THIN, format_bytes, format_figures, format_range

__all__ = [
    "CLEAR",
    "COMPUTE",
    "DRAFT",
    "FONT_PX",
    "KV_CACHE",
    "MARKS",
    "NARROWEST_LABEL",
    "OTHERS",
    "OVER",
    "OVERHEAD",
    "SERIES",
    "WEIGHTS",
    "ContextPoint",
    "Figure",
    "FrontierPoint",
    "Key",
    "PricePoint",
    "Purpose",
    "context_chart",
    "context_grid_chart",
    "find_front",
    "find_price_front",
    "frontier_chart",
    "keys_html",
    "list_keys",
    "list_purposes",
    "log_axis",
    "memory_bar",
    "plain",
    "price_chart",
    "roomy",
    "write_in_theme",
]

BEATEN_OPACITY = 0.4
"""Of choices that another beats in quality, speed and memory."""


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """One runnable choice: speed in tokens/s, quality on the latent 0 to 100 scale, both with their intervals.

    `on_frontier`: no other choice is as good, as fast and as small at once.
    """

    label: str
    family: str
    speed_low: float
    speed_mid: float
    speed_high: float
    quality: float
    quality_low: float
    quality_high: float
    total_bytes: int
    is_best: bool = False
    on_frontier: bool = True


@keep_figures
def frontier_chart(points: Sequence[FrontierPoint]) -> go.Figure:
    """Quality with its interval against decode speed; area of a dot is memory, colour and symbol are the family.

    The line joins the choices that no other beats in both. Families on
    that line are named first, then the most frequent; past seven they share a grey ring.
    """
    figure = go.Figure()
    counts: dict[str, int] = {}
    for p in points:
        counts[p.family] = counts.get(p.family, 0) + 1
    leading = list(dict.fromkeys(p.family for p in (*[p for p in points if p.is_best], *reversed(find_front(points)))))
    ranked = leading + sorted((f for f in counts if f not in leading), key=lambda f: (-counts[f], f))
    named = ranked[: len(SERIES)]
    largest = max((p.total_bytes for p in points), default=1)
    front = find_front(points)
    if len(front) > 1:
        figure.add_scatter(
            x=[p.speed_mid for p in front],
            y=[p.quality for p in front],
            mode="lines",
            line={"width": 1, "dash": "dot", "color": OVERHEAD},
            name="not beaten in both",
            hoverinfo="skip",
        )
    for family in [None, *reversed(named)]:  # the recommended family last, so that it lies on top
        group = [p for p in points if (p.family == family if family else p.family not in named)]
        if not group:
            continue
        look = SERIES[named.index(family)] if family else OTHERS
        figure.add_scatter(
            x=[p.speed_mid for p in group],
            y=[p.quality for p in group],
            mode="markers",
            name=family or "other families",
            legendrank=1 + (named.index(family) if family else len(named)),
            marker={
                "color": look.colour,
                "symbol": look.symbol,
                "size": [9 + 21 * (p.total_bytes / largest) ** 0.5 for p in group],
                "opacity": [0.95 if p.on_frontier else BEATEN_OPACITY for p in group],
                "line": {
                    "width": [3 if p.is_best else 1.5 for p in group],
                    "color": [_edge_colour(p, look) for p in group],
                },
            },
            error_y={
                "type": "data",
                "array": [p.quality_high - p.quality for p in group],
                "arrayminus": [p.quality - p.quality_low for p in group],
                "color": look.colour,
                "thickness": 1,
                "width": 0,
            },
            hovertext=[_describe(p) for p in group],
            hoverinfo="text",
        )
    for p in points:
        if p.is_best:
            figure.add_annotation(
                x=to_log10(p.speed_mid),
                y=p.quality,
                text=p.label,
                showarrow=True,
                arrowhead=0,
                ax=0,
                ay=-34,
                font={"size": FONT_PX},
            )
    speeds = [p.speed_mid for p in points] or [1.0]
    ticks = [t for t in (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000) if min(speeds) / 4 <= t <= max(speeds) * 4]
    figure.update_layout(
        height=380,
        margin={"l": 0, "r": 8, "t": 16, "b": 0},
        hovermode="closest",
        showlegend=False,
        xaxis={
            "type": "log",
            "title": "tokens/s when writing (log scale)",
            "tickvals": ticks,
            "ticktext": [f"{t:g}" for t in ticks],
            "fixedrange": True,
            "range": [to_log10(min(speeds) / 1.4), to_log10(max(speeds) * 1.4)],
        },
        yaxis={"title": "quality, published evidence (0 to 100)", "fixedrange": True, "nticks": 6},
    )
    return figure


def _edge_colour(p: FrontierPoint, look: Series) -> str:
    """The recommended choice has an edge in the colour of text."""
    return THEME_TEXT if p.is_best else look.colour


def find_front(points: Sequence[FrontierPoint]) -> tuple[FrontierPoint, ...]:
    """The points no other point beats in both speed and quality, slowest first."""
    best: list[FrontierPoint] = []
    top = float("-inf")
    for p in sorted(points, key=lambda q: (-q.speed_mid, -q.quality)):
        if p.quality > top:
            best.append(p)
            top = p.quality
    return tuple(reversed(best))


def _describe(p: FrontierPoint) -> str:
    return (
        f"{p.label}<br>{format_range(p.speed_low, p.speed_high)}{THIN}tokens/s, {format_bytes(p.total_bytes)}"
        f"<br>quality {format_figures(p.quality)} ({format_range(p.quality_low, p.quality_high)})"
        f"{'<br>on the frontier' if p.on_frontier else ''}"
    )

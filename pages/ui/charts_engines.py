"""Charts of engines, in plotly alone: one model in every engine side by side, and requests at once by their length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from pages.ui.charts_base import FONT_PX, OVER, OVERHEAD, SERIES, fill, log_axis, roomy
from pages.ui.charts_kept import keep_figures
from pages.ui.charts_machines import MARKS
from pages.ui.charts_memory import list_purposes
from sizing.memory import Parts
from sizing.units import GIB, format_bytes, format_figures, format_tokens


@dataclass(frozen=True, slots=True)
class EngineBar:
    """One engine's memory over all devices it uses: its parts, the verdict, and what is told beside it."""

    engine: str
    weight_format: str
    parts: Parts
    verdict: str
    speed: str


@keep_figures
def engines_chart(bars: Sequence[EngineBar], usable_bytes: int) -> go.Figure:
    """A stacked bar for each engine in the colours of the memory bar, and a line at what the machine's cards can hold.

    `usable_bytes` is the memory of the cards together, or of the host where there are none.
    """
    figure = go.Figure()
    names = [_name_row(bar) for bar in bars]
    purposes = [list_purposes(bar.parts) for bar in bars]
    starts = [0.0] * len(bars)
    for index in range(4):
        column = [row[index] for row in purposes]
        widths = [p.n_bytes / GIB for p in column]
        figure.add_bar(
            y=names,
            x=widths,
            base=list(starts),
            orientation="h",
            name=column[0].name if column else "",
            marker=fill(column[0].colour if column else OVERHEAD),
            hovertext=[
                f"{bar.engine}, {bar.weight_format}<br>{p.name}: {roomy(format_bytes(p.n_bytes))}"
                for bar, p in zip(bars, column, strict=True)
            ],
            hoverinfo="text",
            showlegend=any(p.n_bytes for p in column),
        )
        starts = [a + b for a, b in zip(starts, widths, strict=True)]
    limit = usable_bytes / GIB
    span = max([*starts, limit]) * 1.02
    figure.add_scatter(
        x=[limit, limit],
        y=[names[0], names[-1]] if names else [],
        mode="lines",
        line={"width": 0, "dash": "dash", "color": OVER},
        name=roomy(f"Usable: {format_bytes(usable_bytes)}"),
        hoverinfo="skip",
    )
    figure.add_shape(
        type="line",
        xref="x",
        yref="paper",
        x0=limit,
        x1=limit,
        y0=0,
        y1=1,
        line={"width": 1.5, "dash": "dash", "color": OVER},
    )
    figure.update_layout(
        barmode="overlay",
        bargap=0.35,
        height=48 + 50 * len(bars),
        margin={"l": 0, "r": 4, "t": 4, "b": 0},
        showlegend=False,
        xaxis={"range": [0, span], "title": "GiB, all devices together", "fixedrange": True, "showgrid": True},
        yaxis={
            "autorange": "reversed",
            "showgrid": False,
            "fixedrange": True,
            "title": None,
            "tickfont": {"size": FONT_PX},
        },
    )
    return figure


def _name_row(bar: EngineBar) -> str:
    return roomy(f"<b>{bar.engine}</b>, {bar.weight_format}<br>{MARKS[bar.verdict]} {bar.verdict}{bar.speed}")


@dataclass(frozen=True, slots=True)
class RequestPoint:
    """How many requests of one length a serving engine holds at once."""

    context_tokens: int
    n_requests: float


@keep_figures
def requests_chart(
    points: Sequence[RequestPoint], context_tokens: int, n_parallel: int, largest_tokens: int
) -> go.Figure:
    """Requests at once against their length, both on log scales; lines at the length and the number asked for.

    Below one request an engine does not start: the curve ends there.
    """
    figure = go.Figure()
    drawn = [p for p in points if p.n_requests >= 1]
    figure.add_scatter(
        x=[p.context_tokens for p in drawn],
        y=[p.n_requests for p in drawn],
        mode="lines+markers",
        line={"width": 2, "color": SERIES[0].colour},
        marker={"size": 5, "color": SERIES[0].colour},
        name="Requests at once",
        hoverinfo="text",
        hovertext=[
            f"{format_tokens(p.context_tokens)} tokens each<br>{format_figures(p.n_requests)} requests at once"
            for p in drawn
        ],
    )
    most = max([p.n_requests for p in drawn] or [1.0])
    low = min(p.context_tokens for p in points)
    high = max(p.context_tokens for p in points)
    _add_line(figure, [context_tokens] * 2, [1, most], "dash", f"Asked: {format_tokens(context_tokens)} tokens")
    if n_parallel > 1:
        _add_line(figure, [low, high], [n_parallel] * 2, "dot", f"Asked: {n_parallel} users")
    if largest_tokens:
        figure.add_scatter(
            x=[largest_tokens],
            y=[1],
            mode="markers",
            marker={"symbol": "diamond", "size": 11, "color": OVER},
            name=f"Longest that starts: {format_tokens(largest_tokens)} tokens",
            hoverinfo="name",
        )
    figure.update_layout(
        height=330,
        margin={"l": 0, "r": 8, "t": 8, "b": 0},
        showlegend=False,
        hovermode="closest",
        xaxis=_token_axis(low, high),
        yaxis=log_axis("requests at once (log scale)", 1, max(most, n_parallel), ",.6g"),
        font={"size": FONT_PX},
    )
    return figure


def _add_line(figure: go.Figure, x: list[float], y: list[float], dash: str, name: str) -> None:
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"width": 1, "dash": dash, "color": OVERHEAD}, name=name, hoverinfo="skip"
    )


def _token_axis(low: float, high: float) -> dict[str, object]:
    """Powers of four in multiples of 1,024 tokens."""
    axis = log_axis("length of each request, tokens, K = 1,024", low, high, ",")
    ticks = [1024 * 4**n for n in range(12) if low / 1.5 <= 1024 * 4**n <= high * 1.5]
    words = [f"{t // 1024}K" if t < 2**20 else f"{t // 2**20}M" for t in ticks]
    return {**axis, "tickvals": ticks, "ticktext": words}

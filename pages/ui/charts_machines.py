"""Charts of machines, in plotly alone: price against speed, and contexts times users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from pages.ui.charts_base import FONT_PX, ON_LIGHT, OTHERS, OVERHEAD, SERIES, log_axis, to_log10
from pages.ui.charts_kept import keep_figures
from sizing.fit import Verdict
from sizing.inverse import GridCell, GridRow
from sizing.units import THIN, format_bytes, format_figures, format_range, format_tokens

MARKS = {"fits": "●", "tight": "◐", "offload": "◒", "does not fit": "○"}
"""One mark per verdict; the word always stands beside it."""
VERDICT_COLOURS = {"fits": SERIES[0].colour, "tight": SERIES[0].colour, "offload": OTHERS.colour}
"""Verdicts are told by mark and symbol: filled, open, grey; the colours of memory are no verdicts."""
CELL_COLOURS = {"fits": "#A89AE0", "tight": "#C9C0EE", "offload": "#E3DFF5", "does not fit": "#F4F4F5"}
"""One hue from strong to faint, so that grey keeps the order, and light enough for dark text in either theme; MOST is
for a cell that is no verdict."""
MOST = "#D9DCDF"
VERDICT_SYMBOLS = {"fits": "circle", "tight": "circle-open", "offload": "square"}


@dataclass(frozen=True, slots=True)
class PricePoint:
    """One machine that does it: its price, speed in tokens/s with its interval, memory left, verdict and quant."""

    label: str
    quant: str
    verdict: str
    price_usd: int
    speed_low: float
    speed_mid: float
    speed_high: float
    headroom_bytes: int
    is_best: bool = False


@keep_figures
def price_chart(points: Sequence[PricePoint]) -> go.Figure:
    """Decode speed against price, both on log scales; area of a dot is memory left, colour and shape the verdict.

    The line joins the machines that no other beats in both. The cheapest and the fastest on it are named.
    """
    figure = go.Figure()
    front = find_price_front(points)
    if len(front) > 1:
        figure.add_scatter(
            x=[p.price_usd for p in front],
            y=[p.speed_mid for p in front],
            mode="lines",
            line={"width": 1, "dash": "dot", "color": OVERHEAD, "shape": "hv"},
            name="not beaten in price and speed",
            hoverinfo="skip",
        )
    largest = max((p.headroom_bytes for p in points), default=1) or 1
    for verdict, symbol in VERDICT_SYMBOLS.items():
        group = [p for p in points if p.verdict == verdict]
        if not group:
            continue
        colour = VERDICT_COLOURS[verdict]
        figure.add_scatter(
            x=[p.price_usd for p in group],
            y=[p.speed_mid for p in group],
            mode="markers",
            name=f"{MARKS[verdict]} {verdict.capitalize()}",
            marker={
                "color": colour,
                "symbol": symbol,
                "size": [8 + 20 * (max(p.headroom_bytes, 0) / largest) ** 0.5 for p in group],
                "opacity": 0.8,
                "line": {"width": [3 if p.is_best else 1.5 for p in group], "color": colour},
            },
            hovertext=[_describe_price(p) for p in group],
            hoverinfo="text",
        )
    for p in dict.fromkeys((*front[:1], *front[-1:])):
        figure.add_annotation(
            x=to_log10(p.price_usd),
            y=to_log10(p.speed_mid),
            text=p.label,
            showarrow=True,
            arrowhead=0,
            ax=0,
            ay=-30 if p is front[-1] or p.speed_mid > 0.5 * front[-1].speed_mid else -110,
            xanchor="right" if p is front[-1] and len(front) > 1 else "left",
            font={"size": FONT_PX},
        )
    prices = [p.price_usd for p in points] or [1]
    speeds = [p.speed_mid for p in points] or [1.0]
    figure.update_layout(
        height=380,
        margin={"l": 0, "r": 8, "t": 16, "b": 0},
        hovermode="closest",
        showlegend=False,
        xaxis=log_axis("price of the devices, US dollars (log scale)", min(prices), max(prices), ",", "$"),
        yaxis=log_axis("tokens/s for each user (log scale)", min(speeds), max(speeds), "g"),
    )
    return figure


def find_price_front(points: Sequence[PricePoint]) -> tuple[PricePoint, ...]:
    """The points no other point beats in both price and speed, cheapest first."""
    kept: list[PricePoint] = []
    for p in sorted(points, key=lambda q: (q.price_usd, -q.speed_mid)):
        if not kept or p.speed_mid > kept[-1].speed_mid:
            kept.append(p)
    return tuple(kept)


def _describe_price(p: PricePoint) -> str:
    return (
        f"{p.label}<br>{p.quant}, {MARKS[p.verdict]} {p.verdict}<br>about ${format_figures(p.price_usd)}"
        f"<br>{format_range(p.speed_low, p.speed_high)}{THIN}tokens/s<br>{format_bytes(p.headroom_bytes)} left"
    )


@keep_figures
def context_grid_chart(rows: Sequence[GridRow]) -> go.Figure:
    """Context per user against users: each cell coloured by its verdict, with its mark and what each user sees.

    A last column gives the largest context each user can have with the model whole in the accelerators' memory, or
    with part of it on the host where it cannot be whole.
    """
    contexts = [c.context_tokens for c in rows[0].cells]
    columns = [*(_short_tokens(t) for t in contexts), "most"]
    order = list(CELL_COLOURS)
    names = ["1 user" if r.n_parallel == 1 else f"{r.n_parallel} users" for r in rows]
    fills = [*CELL_COLOURS.values(), MOST]
    scale = [[(i + end) / len(fills), fill] for i, fill in enumerate(fills) for end in (0, 1)]
    figure = go.Figure()
    figure.add_heatmap(
        x=columns,
        y=names,
        z=[[*(order.index(c.verdict) for c in r.cells), len(order)] for r in rows],
        zmin=-0.5,
        zmax=len(order) + 0.5,
        colorscale=scale,
        showscale=False,
        xgap=2,
        ygap=2,
        text=[[*(_cell_text(c) for c in r.cells), f"<b>{_say_most(r)}</b>"] for r in rows],
        texttemplate="%{text}",
        textfont={"color": ON_LIGHT, "size": FONT_PX if len(columns) <= 7 else FONT_PX - 2},
        hoverinfo="text",
        hovertext=[[_describe_cell(r, i) for i in range(len(columns))] for r in rows],
        showlegend=False,
    )
    shown = [v for v in order if any(c.verdict == v for r in rows for c in r.cells)]
    for verdict in shown:
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=f"{MARKS[verdict]} {verdict.capitalize()}",
            marker={"color": CELL_COLOURS[verdict], "symbol": "square"},
        )
    figure.update_layout(
        height=64 + 34 * len(rows),
        margin={"l": 0, "r": 0, "t": 8, "b": 0},
        showlegend=False,
        xaxis={
            "title": "context for each user, K = 1,024 tokens",
            "type": "category",
            "fixedrange": True,
            "showgrid": False,
            "tickangle": 0,
        },
        yaxis={"type": "category", "autorange": "reversed", "fixedrange": True, "showgrid": False, "title": None},
    )
    return figure


def _cell_text(cell: GridCell) -> str:
    """The mark and the middle of the speed, whole from ten on: a cell is narrow on a phone."""
    mid = cell.decode_tokens_per_s.mid if cell.decode_tokens_per_s else 0.0
    speed = f" {mid:,.0f}" if mid >= 9.5 else f" {mid:.2g}" if mid else ""
    if not speed and cell.verdict is not Verdict.DOES_NOT_FIT:
        speed = " ?"
    return f"{MARKS[cell.verdict]}{speed}"


def _say_most(row: GridRow) -> str:
    """The largest context, with the mark of offload where part of the model must be on the host for it."""
    if row.largest_context_tokens:
        return _short_tokens(row.largest_context_tokens)
    return f"{MARKS['offload']} {_short_tokens(row.largest_anyhow_tokens)}" if row.largest_anyhow_tokens else "none"


def _describe_cell(row: GridRow, index: int) -> str:
    users = "1 user" if row.n_parallel == 1 else f"{row.n_parallel} users"
    if index >= len(row.cells):
        whole, anyhow = row.largest_context_tokens, row.largest_anyhow_tokens
        lines = [f"{users}: the most for each"]
        lines.append(f"whole in the accelerators' memory: {format_tokens(whole)} tokens" if whole else "never whole")
        lines.append(f"with part on the host: {format_tokens(anyhow)} tokens" if anyhow else "not at all")
        return "<br>".join(lines)
    cell = row.cells[index]
    speed = cell.decode_tokens_per_s
    told = f"{format_range(speed.low, speed.high)}{THIN}tokens/s each" if speed else "speed unknown"
    if cell.verdict is Verdict.DOES_NOT_FIT:
        told = ""
    tokens = format_tokens(cell.context_tokens)
    return f"{users}, {tokens} tokens each<br>{MARKS[cell.verdict]} {cell.verdict}" + (f"<br>{told}" if told else "")


def _short_tokens(n_tokens: int) -> str:
    """Tokens in multiples of 1,024 and of 1,048,576: '0.5K', '40K', '10M'."""
    thousands = n_tokens / 1024
    if thousands >= 1000:
        return f"{thousands / 1024:.3g}M"
    return f"{int(thousands)}K" if thousands >= 100 else f"{thousands:.3g}K"

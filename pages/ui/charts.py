"""Charts, in plotly alone: values in, figures out, no Streamlit.

Colours are Okabe and Ito's set, readable without colour vision
(https://jfly.uni-koeln.de/color/), one fixed colour per purpose everywhere in the app.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log10

import plotly.graph_objects as go

from pages.ui.charts_kept import keep_figures
from sizing.device_rows import BarRow, fold_devices
from sizing.fit import Verdict
from sizing.inverse import GridCell, GridRow
from sizing.memory import DeviceUse, Parts
from sizing.units import GIB, THIN, format_bytes, format_figures, format_range, format_tokens

WEIGHTS, KV_CACHE, COMPUTE, OVERHEAD, OVER = "#0072B2", "#E69F00", "#009E73", "#8C8C8C", "#D55E00"
DRAFT = "#CC79A7"
FAMILY_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B3A800")
OTHER_FAMILY = "#8C8C8C"
CLEAR = "rgba(0,0,0,0)"
FONT_PX = 13
NARROWEST_LABEL = 0.08
"""Share of the axis below which a segment has no text; plotly hides what is still too wide on a small screen."""

Figure = go.Figure


def roomy(text: str) -> str:
    """Text with no-break spaces for thin ones, which the app's font draws too narrow to part a number from its unit."""
    return text.replace(THIN, "\u00a0")


MARKS = {"fits": "●", "tight": "◐", "offload": "◒", "does not fit": "○"}
"""One mark per verdict; the word always stands beside it."""
VERDICT_COLOURS = {"fits": "#009E73", "tight": "#E69F00", "offload": "#56B4E9", "does not fit": "#8C8C8C"}
CELL_COLOURS = {"fits": "#8FD3BE", "tight": "#F3CF85", "offload": "#ADDBF4", "does not fit": "#D2D5D7"}
"""The same, light enough for dark text in either theme; MOST is for a cell that is no verdict."""
MOST, CELL_TEXT = "#ECEEF0", "#1A1A1A"
VERDICT_SYMBOLS = {"fits": "circle", "tight": "circle-open", "offload": "square"}


@dataclass(frozen=True, slots=True)
class Purpose:
    """One segment of a memory bar: what it is called, its colour, the colour of text on it, its bytes."""

    name: str
    colour: str
    text_colour: str
    n_bytes: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a figure's legend. `mark` is 'block', 'outline', 'line', 'dash', 'dot', 'ring' or 'diamond'."""

    name: str
    colour: str
    mark: str


@dataclass(frozen=True, slots=True)
class ContextPoint:
    """Memory parts of one model at one context, in tokens per slot."""

    context_tokens: int
    parts: Parts


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


def list_purposes(parts: Parts) -> tuple[Purpose, ...]:
    """The four segments of a memory bar in their fixed order: weights, KV cache, compute, overhead.

    Recurrent state counts as cache and the output buffer as compute; both are named in the segment's detail.
    """
    cache = parts.kv_cache_bytes + parts.recurrent_state_bytes
    cache_detail = (
        f"KV cache {format_bytes(parts.kv_cache_bytes)}, recurrent state {format_bytes(parts.recurrent_state_bytes)}"
        if parts.recurrent_state_bytes
        else ""
    )
    compute = parts.compute_bytes + parts.output_bytes
    compute_detail = f"buffers {format_bytes(parts.compute_bytes)}, output {format_bytes(parts.output_bytes)}"
    return (
        Purpose("Weights", WEIGHTS, "#FFFFFF", parts.weight_bytes),
        Purpose("KV cache", KV_CACHE, "#1A1A1A", cache, cache_detail),
        Purpose("Compute", COMPUTE, "#FFFFFF", compute, compute_detail if parts.output_bytes else ""),
        Purpose("Overhead", OVERHEAD, "#1A1A1A", parts.overhead_bytes),
    )


def list_keys(figure: go.Figure) -> tuple[Key, ...]:
    """The legend of a figure as values; pages draw it as text, which wraps on a narrow screen where plotly's clips."""
    keys = []
    for trace in sorted(figure.data, key=lambda t: t.legendrank or 0):
        if trace.showlegend is False or not trace.name:
            continue
        if trace.type == "bar":
            outline = trace.marker.color == CLEAR
            keys.append(Key(trace.name, OVERHEAD if outline else trace.marker.color, "outline" if outline else "block"))
        elif trace.stackgroup:
            keys.append(Key(trace.name, trace.line.color, "block"))
        elif trace.mode == "lines":
            keys.append(Key(trace.name, trace.line.color, "line" if trace.line.dash == "solid" else "dash"))
        else:
            marks = {"diamond": "diamond", "square": "block", "circle-open": "ring"}
            keys.append(Key(trace.name, trace.marker.color, marks.get(trace.marker.symbol, "dot")))
    return tuple(keys)


FURTHEST_SCALE = 6
"""Devices of which one is more than this many times another do not share a scale: the small one would be a sliver."""


@keep_figures
def memory_bar(devices: Sequence[DeviceUse], draft_bytes: Sequence[int] = ()) -> go.Figure:
    """One stacked horizontal bar per device, in GiB: parts, free memory as an outline, a hairline at the usable limit.

    What overruns the limit is hatched over. Devices keep the given order from the top down; equal ones of like use are
    one bar. Where the largest device is many times the smallest, each bar is its own device's memory and says how much.
    `draft_bytes` is what a draft takes of each device; it is within the devices' overhead and drawn apart.
    """
    folded = fold_devices(devices, draft_bytes)
    several = len(devices) > 1
    devices = [r.use for r in folded]
    lengths = [max(d.memory_bytes, d.parts.total_bytes) for d in devices]
    is_own_scale = max(lengths) > FURTHEST_SCALE * min(lengths)
    units = [n / 100 if is_own_scale else GIB for n in lengths]
    rows = [r.name + f"<br>of {roomy(format_bytes(r.use.memory_bytes))}" * is_own_scale for r in folded]
    if not several:
        rows = [""]
    span = max(n / unit for n, unit in zip(lengths, units, strict=True)) * 1.005
    figure = go.Figure()
    starts = [0.0] * len(devices)
    by_device = [_with_draft(r) if any(draft_bytes) else list_purposes(r.use.parts) for r in folded]
    for index in range(len(by_device[0])):
        column = [purposes[index] for purposes in by_device]
        widths = [p.n_bytes / unit for p, unit in zip(column, units, strict=True)]
        total = sum(p.n_bytes for p in column)
        name = column[0].name if several else f"{column[0].name} {format_bytes(total)}"
        figure.add_bar(
            y=rows,
            x=widths,
            base=list(starts),
            orientation="h",
            name=name,
            marker={"color": column[0].colour, "line": {"width": 0}},
            text=[
                _inside(p.name, p.n_bytes, span * unit) if (start + width) * unit <= d.usable_bytes else ""
                for p, d, unit, start, width in zip(column, devices, units, starts, widths, strict=True)
            ],
            textfont={"color": column[0].text_colour, "size": FONT_PX},
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            hovertext=[
                f"{r.name if several else r.use.name}{', the fullest' if r.count > 1 else ''}"
                f"<br>{p.name}: {format_bytes(p.n_bytes)}" + (f"<br>{p.detail}" if p.detail else "")
                for r, p in zip(folded, column, strict=True)
            ],
            hoverinfo="text",
            showlegend=total > 0,
        )
        starts = [a + b for a, b in zip(starts, widths, strict=True)]
    _add_free(figure, devices, rows, units, span)
    _add_overrun(figure, devices, rows, units, span)
    _add_unusable(figure, devices, rows, units)
    for i, device in enumerate(devices):
        limit = device.usable_bytes / units[i]
        figure.add_shape(
            type="line",
            xref="x",
            yref="y",
            x0=limit,
            x1=limit,
            y0=i - 0.48,
            y1=i + 0.48,
            line={"width": 1.5, "color": OVERHEAD},
        )
    height = 12 + 46 * len(devices)
    figure.update_layout(
        barmode="overlay",
        bargap=0.3,
        height=height,
        margin={"l": 0, "r": 0, "t": 4, "b": 0},
        uniformtext={"minsize": 12, "mode": "hide"},
        showlegend=False,
        xaxis={"range": [0, span], "visible": False, "fixedrange": True},
        yaxis={
            "autorange": "reversed",
            "showgrid": False,
            "fixedrange": True,
            "title": None,
            "tickfont": {"size": FONT_PX},
        },
    )
    if not several:
        figure.update_yaxes(visible=False)
    return figure


def _with_draft(row: BarRow) -> tuple[Purpose, ...]:
    """The segments of a device with the draft's part of the overhead as one of its own."""
    *parts, overhead = list_purposes(row.use.parts)
    draft = Purpose("Draft", DRAFT, "#1A1A1A", row.draft_bytes)
    return (*parts, draft, replace(overhead, n_bytes=overhead.n_bytes - row.draft_bytes))


def _add_free(
    figure: go.Figure, devices: Sequence[DeviceUse], rows: list[str], units: Sequence[float], span: float
) -> None:
    """The outline of usable memory that stays free."""
    free = [max(d.headroom_bytes, 0) for d in devices]
    total = sum(free)
    figure.add_bar(
        y=rows,
        x=[f / unit for f, unit in zip(free, units, strict=True)],
        base=[min(d.parts.total_bytes, d.usable_bytes) / unit for d, unit in zip(devices, units, strict=True)],
        orientation="h",
        name="Free" if len(devices) > 1 else f"Free {format_bytes(total)}",
        marker={"color": CLEAR, "line": {"width": 1, "color": OVERHEAD}},
        text=[_inside("Free", f, span * unit) for f, unit in zip(free, units, strict=True)],
        textfont={"size": FONT_PX, "color": "#7A7A7A"},
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        hovertext=[f"{d.name}<br>Free: {format_bytes(f)}" for d, f in zip(devices, free, strict=True)],
        hoverinfo="text",
        showlegend=total > 0,
    )


def _add_overrun(
    figure: go.Figure, devices: Sequence[DeviceUse], rows: list[str], units: Sequence[float], span: float
) -> None:
    """The stretch that goes past the usable limit, in the one colour kept for it."""
    over = [max(-d.headroom_bytes, 0) for d in devices]
    if not any(over):
        return
    figure.add_bar(
        y=rows,
        x=[o / unit for o, unit in zip(over, units, strict=True)],
        base=[d.usable_bytes / unit for d, unit in zip(devices, units, strict=True)],
        orientation="h",
        name=f"Over the limit by {format_bytes(max(over))}",
        marker={"color": OVER, "line": {"width": 1, "color": OVER}},
        text=[_inside("Over", o, span * unit) for o, unit in zip(over, units, strict=True)],
        textfont={"size": FONT_PX, "color": "#FFFFFF"},
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        hovertext=[f"{d.name}<br>Over the limit by {format_bytes(o)}" for d, o in zip(devices, over, strict=True)],
        hoverinfo="text",
    )


def _add_unusable(figure: go.Figure, devices: Sequence[DeviceUse], rows: list[str], units: Sequence[float]) -> None:
    """Memory that is built in but not for a model: taken by the system now, or kept for it."""
    ends = [max(d.usable_bytes, d.parts.total_bytes) for d in devices]
    rest = [max(d.memory_bytes - end, 0) for d, end in zip(devices, ends, strict=True)]
    total = sum(rest)
    figure.add_bar(
        y=rows,
        x=[r / unit for r, unit in zip(rest, units, strict=True)],
        base=[end / unit for end, unit in zip(ends, units, strict=True)],
        orientation="h",
        name="Not usable" if len(devices) > 1 else f"Not usable {format_bytes(total)}",
        marker={"color": "rgba(140,140,140,0.16)", "line": {"width": 0}},
        hovertext=[f"{d.name}<br>Not for the model: {format_bytes(r)}" for d, r in zip(devices, rest, strict=True)],
        hoverinfo="text",
        showlegend=total > 0,
    )


@keep_figures
def context_chart(
    points: Sequence[ContextPoint], limit_bytes: int, context_tokens: int, largest: Sequence[tuple[str, int]]
) -> go.Figure:
    """Memory in GiB against context in tokens per slot, stacked by purpose, with the machine's limit as a line.

    `context_tokens` is the asked context; `largest` the contexts to mark, each with what it is the largest of.
    """
    figure = go.Figure()
    xs = [p.context_tokens for p in points]
    columns = [list_purposes(p.parts) for p in points]
    for index in range(4):
        sizes = [column[index].n_bytes for column in columns]
        figure.add_scatter(
            x=xs,
            y=[s / GIB for s in sizes],
            stackgroup="memory",
            name=columns[0][index].name,
            mode="lines",
            line={"width": 0.5, "color": columns[0][index].colour},
            fillcolor=_faded(columns[0][index].colour),
            hovertext=[f"{columns[0][index].name} {format_bytes(s)}" for s in sizes],
            hoverinfo="x+text",
        )
    top = max(max(p.parts.total_bytes for p in points), limit_bytes) / GIB * 1.12
    figure.add_scatter(
        x=[xs[0], xs[-1]],
        y=[limit_bytes / GIB] * 2,
        mode="lines",
        line={"width": 2, "color": OVER, "dash": "dash"},
        name=f"Usable {format_bytes(limit_bytes)}",
        hoverinfo="skip",
    )
    figure.add_vline(x=context_tokens, line={"width": 1, "dash": "dot", "color": OVERHEAD})
    for (what, tokens), fill in zip(largest, ("#FFFFFF", "#F0E442"), strict=False):
        figure.add_scatter(
            x=[tokens],
            y=[min(limit_bytes / GIB, _total_at(points, tokens))],
            mode="markers",
            cliponaxis=False,
            marker={"size": 11, "symbol": "diamond", "color": fill, "line": {"width": 2, "color": OVER}},
            name=f"{what}: {format_tokens(tokens)}",
            hovertext=f"{what}: {format_tokens(tokens)} tokens",
            hoverinfo="text",
        )
    ticks = [x for x in (2**n for n in range(9, 24)) if xs[0] <= x <= xs[-1]]
    ticks = ticks if len(ticks) < 9 else ticks[::2]
    figure.update_layout(
        height=300,
        margin={"l": 0, "r": 8, "t": 10, "b": 0},
        hovermode="x unified",
        showlegend=False,
        xaxis={
            "type": "log",
            "title": "context, tokens per slot (log scale)",
            "tickvals": ticks,
            "ticktext": [format_tokens(t) for t in ticks],
            "hoverformat": ",",
            "range": [_log10(xs[0]), _log10(xs[-1])],
            "fixedrange": True,
        },
        yaxis={"title": "GiB", "range": [0, top], "fixedrange": True, "nticks": 6},
    )
    return figure


@keep_figures
def frontier_chart(points: Sequence[FrontierPoint]) -> go.Figure:
    """Quality with its interval against decode speed; area of a dot is memory, colour is the family.

    The line joins the choices that no other beats in both. Families on
    that line are named first, then the most frequent; past seven they share one grey.
    """
    figure = go.Figure()
    counts: dict[str, int] = {}
    for p in points:
        counts[p.family] = counts.get(p.family, 0) + 1
    leading = list(dict.fromkeys(p.family for p in (*[p for p in points if p.is_best], *reversed(find_front(points)))))
    ranked = leading + sorted((f for f in counts if f not in leading), key=lambda f: (-counts[f], f))
    named = ranked[: len(FAMILY_COLOURS)]
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
        colour = FAMILY_COLOURS[named.index(family)] if family else OTHER_FAMILY
        figure.add_scatter(
            x=[p.speed_mid for p in group],
            y=[p.quality for p in group],
            mode="markers",
            name=family or "other families",
            legendrank=1 + (named.index(family) if family else len(named)),
            marker={
                "color": colour,
                "size": [9 + 21 * (p.total_bytes / largest) ** 0.5 for p in group],
                "opacity": [0.95 if p.on_frontier else BEATEN_OPACITY for p in group],
                "line": {"width": [3 if p.is_best else 0.5 for p in group], "color": "#FFFFFF"},
            },
            error_y={
                "type": "data",
                "array": [p.quality_high - p.quality for p in group],
                "arrayminus": [p.quality - p.quality_low for p in group],
                "color": colour,
                "thickness": 1,
                "width": 0,
            },
            hovertext=[_describe(p) for p in group],
            hoverinfo="text",
        )
    for p in points:
        if p.is_best:
            figure.add_annotation(
                x=_log10(p.speed_mid),
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
            "range": [_log10(min(speeds) / 1.4), _log10(max(speeds) * 1.4)],
        },
        yaxis={"title": "quality, published evidence (0 to 100)", "fixedrange": True, "nticks": 6},
    )
    return figure


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
            x=_log10(p.price_usd),
            y=_log10(p.speed_mid),
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


def log_axis(title: str, low: float, high: float, form: str, prefix: str = "") -> dict[str, object]:
    """A logarithmic axis with ticks at 1, 2 and 5, or at 1 and 3 where the range is wide."""
    steps = (1, 2, 5) if high / max(low, 1e-9) < 60 else (1, 3)
    ticks = [m * 10.0**n for n in range(-2, 7) for m in steps if low / 1.5 <= m * 10.0**n <= high * 1.5]
    return {
        "type": "log",
        "title": title,
        "tickvals": ticks,
        "ticktext": [f"{prefix}{t:{form}}".replace(".0", "") for t in ticks],
        "range": [_log10(low / 1.5), _log10(high * 1.5)],
        "fixedrange": True,
    }


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
        textfont={"color": CELL_TEXT, "size": FONT_PX if len(columns) <= 7 else FONT_PX - 2},
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


def _inside(name: str, n_bytes: int, span_bytes: float) -> str:
    """The text of a segment, empty where it is too narrow to hold one."""
    return roomy(f"{name} {format_bytes(n_bytes)}") if n_bytes > NARROWEST_LABEL * span_bytes else ""


def _total_at(points: Sequence[ContextPoint], context_tokens: int) -> float:
    """Total GiB at a context, straight between the two nearest points."""
    before = [p for p in points if p.context_tokens <= context_tokens] or [points[0]]
    after = [p for p in points if p.context_tokens >= context_tokens] or [points[-1]]
    a, b = before[-1], after[0]
    if b.context_tokens <= a.context_tokens:
        return a.parts.total_bytes / GIB
    share = (context_tokens - a.context_tokens) / (b.context_tokens - a.context_tokens)
    return (a.parts.total_bytes + share * (b.parts.total_bytes - a.parts.total_bytes)) / GIB


def _faded(colour: str) -> str:
    """A colour that lets grid and lines show through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.8)"


def _log10(x: float) -> float:
    return log10(max(x, 1e-9))

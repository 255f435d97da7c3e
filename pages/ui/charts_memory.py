"""Memory bars and memory against context, in plotly alone: values in, figures out, no Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import plotly.graph_objects as go

from pages.ui.charts_base import (
    CLEAR,
    COMPUTE,
    DRAFT,
    FONT_PX,
    HATCHES,
    KV_CACHE,
    ON_DARK,
    ON_LIGHT,
    OVER,
    OVERHEAD,
    THEME_TEXT,
    WEIGHTS,
    fill,
    hatch,
    roomy,
    to_log10,
)
from pages.ui.charts_kept import keep_figures
from sizing.device_rows import BarRow, fold_devices
from sizing.memory import DeviceUse, Parts
from sizing.units import GIB, format_bytes, format_tokens

NARROWEST_LABEL = 0.08
"""Share of the axis below which a segment has no text; plotly hides what is still too wide on a small screen."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """One segment of a memory bar: what it is called, its colour, the colour of text on it, its bytes."""

    name: str
    colour: str
    text_colour: str
    n_bytes: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ContextPoint:
    """Memory parts of one model at one context, in tokens per slot."""

    context_tokens: int
    parts: Parts


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
        Purpose("Weights", WEIGHTS, ON_DARK, parts.weight_bytes),
        Purpose("KV cache", KV_CACHE, ON_LIGHT, cache, cache_detail),
        Purpose("Compute", COMPUTE, ON_LIGHT, compute, compute_detail if parts.output_bytes else ""),
        Purpose("Overhead", OVERHEAD, ON_LIGHT, parts.overhead_bytes),
    )


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
            marker=fill(column[0].colour),
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
    draft = Purpose("Draft", DRAFT, ON_LIGHT, row.draft_bytes)
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
        marker=fill(CLEAR),
        text=[_inside("Free", f, span * unit) for f, unit in zip(free, units, strict=True)],
        textfont={"size": FONT_PX, "color": THEME_TEXT},
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
        marker=fill(OVER),
        text=[_inside("Over", o, span * unit) for o, unit in zip(over, units, strict=True)],
        textfont={"size": FONT_PX, "color": ON_LIGHT},
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
        marker={"color": CLEAR, "line": {"width": 0}, "pattern": hatch("/", OVERHEAD)},
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
            fillpattern=hatch(HATCHES.get(columns[0][index].colour, "")),
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
    for (what, tokens), symbol in zip(largest, ("diamond", "circle"), strict=False):
        figure.add_scatter(
            x=[tokens],
            y=[min(limit_bytes / GIB, _total_at(points, tokens))],
            mode="markers",
            cliponaxis=False,
            marker={"size": 11, "symbol": symbol, "color": ON_DARK, "line": {"width": 2, "color": OVER}},
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
            "range": [to_log10(xs[0]), to_log10(xs[-1])],
            "fixedrange": True,
        },
        yaxis={"title": "GiB", "range": [0, top], "fixedrange": True, "nticks": 6},
    )
    return figure


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

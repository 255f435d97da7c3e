"""The memory bar of training, in plotly alone: values in, a figure out, no Streamlit.

Colours are fixed: weights, activations (compute) and overhead as in every memory bar, gradients and optimizer states
with colours of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from pages.ui.charts_base import (
    CLEAR,
    COMPUTE,
    FONT_PX,
    GRADIENTS,
    ON_DARK,
    ON_LIGHT,
    OPTIMIZER,
    OVER,
    OVERHEAD,
    THEME_TEXT,
    WEIGHTS,
    fill,
    roomy,
)
from pages.ui.charts_kept import keep_figures
from pages.ui.charts_memory import NARROWEST_LABEL, Purpose
from sizing.finetune import TrainingUse
from sizing.finetune_memory import TrainingParts
from sizing.units import GIB, format_bytes


def list_training_purposes(parts: TrainingParts) -> tuple[Purpose, ...]:
    """The five segments of a bar in their fixed order."""
    return (
        Purpose("Weights", WEIGHTS, ON_DARK, parts.weight_bytes),
        Purpose("Gradients", GRADIENTS, ON_LIGHT, parts.gradient_bytes),
        Purpose("Optimizer", OPTIMIZER, ON_LIGHT, parts.optimizer_bytes),
        Purpose("Activations", COMPUTE, ON_LIGHT, parts.activation_bytes),
        Purpose("Overhead", OVERHEAD, ON_LIGHT, parts.overhead_bytes),
    )


@keep_figures
def training_bar(devices: Sequence[TrainingUse]) -> go.Figure:
    """One stacked bar for each kind of device, in GiB, with what is free and a hairline at the usable limit.

    Equal devices are one bar that says how many; what goes past the limit is in the colour kept for it.
    """
    uses = tuple(dict.fromkeys(devices))
    rows = [_name_row(devices, u) for u in uses] if len(uses) > 1 or len(devices) > 1 else [""]
    span = max(max(u.memory_bytes, u.parts.total_bytes) for u in uses) / GIB * 1.005
    figure = go.Figure()
    starts = [0.0] * len(uses)
    for column in zip(*(list_training_purposes(u.parts) for u in uses), strict=True):
        widths = [p.n_bytes / GIB for p in column]
        shown = [w if start < u.usable_bytes / GIB else 0.0 for w, start, u in zip(widths, starts, uses, strict=True)]
        _add(figure, column, rows, shown, starts, span, uses)
        starts = [a + b for a, b in zip(starts, widths, strict=True)]
    _add_rest(figure, rows, uses, span)
    for i, use in enumerate(uses):
        limit = use.usable_bytes / GIB
        hairline = {"width": 1.5, "color": OVERHEAD}
        figure.add_shape(type="line", x0=limit, x1=limit, y0=i - 0.48, y1=i + 0.48, line=hairline)
    figure.update_layout(
        barmode="overlay",
        bargap=0.3,
        height=12 + 46 * len(uses),
        margin={"l": 0, "r": 0, "t": 4, "b": 0},
        uniformtext={"minsize": 12, "mode": "hide"},
        showlegend=False,
        xaxis={"range": [0, span], "visible": False, "fixedrange": True},
        yaxis={"autorange": "reversed", "showgrid": False, "fixedrange": True, "title": None},
        font={"size": FONT_PX},
    )
    return figure


def _name_row(devices: Sequence[TrainingUse], use: TrainingUse) -> str:
    count = sum(d == use for d in devices)
    return use.name if count == 1 else f"each of {count} {use.name}"


def _add(
    figure: go.Figure,
    column: Sequence[Purpose],
    rows: list[str],
    widths: Sequence[float],
    starts: Sequence[float],
    span: float,
    uses: Sequence[TrainingUse],
) -> None:
    """One purpose on every bar, cut off at the usable limit."""
    first = column[0]
    limits = [u.usable_bytes / GIB for u in uses]
    widths = [min(w, max(limit - s, 0.0)) for w, s, limit in zip(widths, starts, limits, strict=True)]
    name = first.name if len(uses) > 1 else f"{first.name} {format_bytes(first.n_bytes)}"
    figure.add_bar(
        y=rows,
        x=widths,
        base=list(starts),
        orientation="h",
        name=name,
        marker=fill(first.colour),
        text=[
            roomy(f"{p.name} {format_bytes(p.n_bytes)}") if w > NARROWEST_LABEL * span else ""
            for p, w in zip(column, widths, strict=True)
        ],
        textfont={"color": first.text_colour, "size": FONT_PX},
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        hovertext=[f"{u.name}<br>{p.name}: {format_bytes(p.n_bytes)}" for u, p in zip(uses, column, strict=True)],
        hoverinfo="text",
        showlegend=any(p.n_bytes for p in column),
    )


def _add_rest(figure: go.Figure, rows: list[str], uses: Sequence[TrainingUse], span: float) -> None:
    """What is free as an outline, what is missing in the colour of the limit."""
    free = [max(u.headroom_bytes, 0) / GIB for u in uses]
    over = [max(-u.headroom_bytes, 0) / GIB for u in uses]
    for name, widths, colour, starts, text_colour in (
        ("Free", free, CLEAR, [u.parts.total_bytes / GIB for u in uses], THEME_TEXT),
        ("Over the limit", over, OVER, [u.usable_bytes / GIB for u in uses], ON_LIGHT),
    ):
        if not any(widths):
            continue
        figure.add_bar(
            y=rows,
            x=widths,
            base=starts,
            orientation="h",
            name=name if len(uses) > 1 else f"{name} {format_bytes(widths[0] * GIB)}",
            marker=fill(colour),
            text=[roomy(f"{name} {format_bytes(w * GIB)}") if w > NARROWEST_LABEL * span else "" for w in widths],
            textfont={"color": text_colour, "size": FONT_PX},
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            hovertext=[f"{u.name}<br>{name}: {format_bytes(w * GIB)}" for u, w in zip(uses, widths, strict=True)],
            hoverinfo="text",
        )

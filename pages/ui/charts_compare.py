"""Charts of the Compare page, in plotly alone: layers as strips, and memory against context, a line a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log2

import plotly.graph_objects as go

from pages.ui.charts_base import FONT_PX, OTHERS, OVER, OVERHEAD, SERIES, fill, plain, roomy
from pages.ui.charts_kept import keep_figures
from sizing.layer_strip import LayerKind, LayerRun
from sizing.units import GIB, format_bytes, format_tokens

Figure = go.Figure

KIND_WORDS = {
    LayerKind.FULL: "plain",
    LayerKind.SLIDING: "slanted",
    LayerKind.CHUNKED: "crossed",
    LayerKind.LATENT: "dotted",
    LayerKind.RECURRENT: "lined",
    LayerKind.BOTH: "squared",
    LayerKind.NEITHER: "barred",
}
"""The word for the pattern of each kind, which stands beside its colour: strips read without colour vision."""
KIND_SERIES = dict(zip(KIND_WORDS, SERIES, strict=True))
HIGHEST_SHARE = 1.6
"""How far past the machine's limit memory is drawn: further up, nothing is decided."""


@dataclass(frozen=True, slots=True)
class LayerStrip:
    """One model's strip: its name, its shapes in words, and its layers."""

    name: str
    text: str
    runs: tuple[LayerRun, ...]

    @property
    def n_layers(self) -> int:
        """How many layers the strip has."""
        return sum(run.count for run in self.runs)


@dataclass(frozen=True, slots=True)
class MemoryLine:
    """One model's memory: its name with the quantization, and (context in tokens, bytes) from short to long."""

    name: str
    points: tuple[tuple[int, int], ...]


@keep_figures
def layers_chart(strips: Sequence[LayerStrip]) -> go.Figure:
    """Every model's layers from the first on the left, one cell a layer, coloured and hatched by kind of attention.

    A thin bar under the cells marks the layers that choose among experts. Models keep their order from the top down.
    """
    figure = go.Figure()
    present = {run.kind for strip in strips for run in strip.runs}
    for kind in [k for k in LayerKind if k in present]:
        cells = [
            (place, run.first + i, f"{strip.name}, layer {run.first + i}<br>{kind}<br>{run.text}")
            for place, strip in enumerate(strips)
            for run in strip.runs
            if run.kind is kind
            for i in range(run.count)
        ]
        figure.add_bar(
            y=[place for place, _, _ in cells],
            x=[0.86] * len(cells),
            base=[layer + 0.07 for _, layer, _ in cells],
            width=0.34,
            orientation="h",
            name=f"{kind.capitalize()} ({KIND_WORDS[kind]})",
            marker=fill(KIND_SERIES[kind].colour, KIND_SERIES[kind].hatch),
            hovertext=[text for _, _, text in cells],
            hoverinfo="text",
        )
    _add_experts(figure, strips)
    for place, strip in enumerate(strips):
        for text, y in ((f"<b>{plain(strip.name)}</b>", place - 0.44), (plain(roomy(strip.text)), place - 0.27)):
            figure.add_annotation(
                x=0, xref="paper", xanchor="left", y=y, text=text, showarrow=False, font={"size": FONT_PX - 1}
            )
    figure.update_layout(
        barmode="overlay",
        height=30 + 86 * len(strips),
        margin={"l": 0, "r": 0, "t": 4, "b": 0},
        showlegend=False,
        xaxis={
            "range": [0, max(s.n_layers for s in strips)],
            "title": "layers, the first on the left",
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        },
        yaxis={"range": [len(strips) - 0.65, -0.6], "visible": False, "fixedrange": True},
    )
    return figure


def _add_experts(figure: go.Figure, strips: Sequence[LayerStrip]) -> None:
    """The thin bar under the layers that choose among experts."""
    runs = [(place, run) for place, strip in enumerate(strips) for run in strip.runs if run.is_moe]
    if not runs:
        return
    figure.add_bar(
        y=[place + 0.23 for place, _ in runs],
        x=[run.count for _, run in runs],
        base=[run.first for _, run in runs],
        width=0.06,
        orientation="h",
        name="Chooses among experts (thin bar)",
        marker={"color": OTHERS.colour, "line": {"width": 0}},
        hoverinfo="skip",
    )


@keep_figures
def memory_lines_chart(
    lines: Sequence[MemoryLine], limits: Sequence[tuple[str, int]], context_tokens: int
) -> go.Figure:
    """Memory in GiB against context in tokens, a numbered line a model, with the machine's limits as dashed lines.

    `limits` are named, in bytes, the largest last. Lines end at each model's trained context. What is far past the
    limits is cut off, and a model that is wholly there stands with its number at the top edge.
    """
    figure = go.Figure()
    top = find_top_gib(lines, [n_bytes for _, n_bytes in limits])
    low = min(line.points[0][0] for line in lines)
    high = max(2.0 * low, context_tokens, *(find_label_place(line.points, top)[0] for line in lines))
    for number, line in enumerate(lines, 1):
        series = SERIES[(number - 1) % len(SERIES)]
        name = f"{number} {line.name}"
        figure.add_scatter(
            x=[tokens for tokens, _ in line.points],
            y=[n_bytes / GIB for _, n_bytes in line.points],
            mode="lines+markers",
            line={"color": series.colour, "width": 2},
            marker={"color": series.colour, "size": 7, "symbol": series.symbol},
            name=name,
            hovertext=[f"{plain(name)}<br>{format_tokens(c)} tokens: {format_bytes(b)}" for c, b in line.points],
            hoverinfo="text",
        )
    labels = [
        (x, y, ", ".join(map(str, numbers)))
        for x, y, numbers in place_labels([line.points for line in lines], top, high / low)
    ]
    for x, y, told in labels:
        figure.add_annotation(
            x=log2(x) / log2(10),
            y=y,
            text=f"<b>{told}</b>",
            showarrow=False,
            xanchor="left",
            yshift=0 if y < top else -8,
            font={"size": FONT_PX},
        )
    for (name, n_bytes), dash in zip(limits, ("dash", "dot"), strict=False):
        figure.add_scatter(
            x=[low, high],
            y=[n_bytes / GIB] * 2,
            mode="lines",
            line={"color": OVER, "width": 2, "dash": dash},
            name=f"{name}: {format_bytes(n_bytes)}" + (", further up" if n_bytes / GIB > top else ""),
            hoverinfo="skip",
        )
    figure.add_vline(x=context_tokens, line={"width": 1, "color": OVERHEAD})
    ticks = [t for t in (2**n for n in range(9, 24)) if low <= t <= high]
    ticks = ticks if len(ticks) < 8 else ticks[::2]
    figure.update_layout(
        height=360,
        margin={"l": 0, "r": max(16, 8 * max(len(told) for _, _, told in labels)), "t": 10, "b": 0},
        hovermode="closest",
        showlegend=False,
        xaxis={
            "type": "log",
            "title": "context, tokens per user (log scale)",
            "tickvals": ticks,
            "ticktext": [format_tokens(t) for t in ticks],
            "range": [log2(low) / log2(10), log2(high * 1.12) / log2(10)],
            "fixedrange": True,
        },
        yaxis={"title": "GiB", "range": [0, top], "fixedrange": True, "nticks": 6},
    )
    return figure


def find_top_gib(lines: Sequence[MemoryLine], limits_bytes: Sequence[int]) -> float:
    """The upper end of the memory axis in GiB: over the smallest limit and over every line that starts below all."""
    most = HIGHEST_SHARE * max(limits_bytes)
    within = [line.points[-1][1] for line in lines if line.points[0][1] < max(limits_bytes)]
    if not within:
        return 1.15 * min(line.points[0][1] for line in lines) / GIB
    return min(most, max(1.12 * max(within), 1.2 * min(limits_bytes))) / GIB


def place_labels(
    lines: Sequence[Sequence[tuple[int, int]]], top_gib: float, span: float
) -> list[tuple[float, float, list[int]]]:
    """Where the numbers of lines stand: context, GiB, numbers; those that would cover each other stand together.

    `span` is the longest context drawn over the shortest.
    """
    placed: list[tuple[float, float, list[int]]] = []
    for number, points in enumerate(lines, 1):
        x, y = find_label_place(points, top_gib)
        near = (p for p in placed if abs(log2(p[0] / x)) < 0.04 * log2(span) and abs(p[1] - y) < 0.045 * top_gib)
        found = next(near, None)
        if found is None:
            placed.append((x, y, [number]))
        else:
            found[2].append(number)
    return placed


def find_label_place(points: Sequence[tuple[int, int]], top_gib: float) -> tuple[float, float]:
    """Where a line's number stands: at its end, or where it leaves the chart at the top."""
    if points[0][1] / GIB >= top_gib:
        return float(points[0][0]), top_gib
    for (x0, b0), (x1, b1) in pairwise(points):
        y0, y1 = b0 / GIB, b1 / GIB
        if y1 > top_gib:
            share = (top_gib - y0) / (y1 - y0)
            return x0 * (x1 / x0) ** share, top_gib
    return float(points[-1][0]), points[-1][1] / GIB

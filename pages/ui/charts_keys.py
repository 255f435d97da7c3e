"""The legend of a chart as values, so that a page can write it as text, which wraps on a narrow screen."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from pages.ui.charts_base import CLEAR, OVERHEAD


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a figure's legend. `mark` is 'block', 'outline', 'line', 'dash', 'dot', 'ring' or 'diamond'."""

    name: str
    colour: str
    mark: str


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

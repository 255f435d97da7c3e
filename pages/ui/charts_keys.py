"""The legend of a chart as text under it, which wraps on a narrow screen where plotly's clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import plotly.graph_objects as go

from pages.ui.charts_base import CLEAR, OVERHEAD, roomy
from pages.ui.charts_kept import keep_words

SYMBOL_MARKS = {
    "circle": "dot",
    "circle-open": "ring",
    "square": "block",
    "diamond": "diamond",
    "triangle-up": "up",
    "triangle-down": "down",
    "cross": "plus",
    "star": "star",
}
DASH_MARKS = {"solid": "line", "dot": "dotted", "dash": "dash", "longdash": "long", "dashdot": "mixed"}
DASH_OTHER = "short"
HATCH_MARKS = {
    "/": "slanted",
    "\\": "backward",
    "x": "crossed",
    ".": "stippled",
    "-": "lined",
    "+": "squared",
    "|": "barred",
}

STYLE = """<style>
.wb-keys { display: flex; flex-wrap: wrap; gap: 0.1rem 1.1rem; margin: 0; font-size: 0.87rem; }
.wb-key { display: inline-flex; align-items: center; gap: 0.4rem; white-space: nowrap; }
.wb-key i { width: 0.75rem; height: 0.75rem; background: var(--mark); display: inline-block; flex: none; }
.wb-key i.wb-outline { background: none; border: 1px solid var(--mark); }
.wb-key i.wb-dot { border-radius: 50%; }
.wb-key i.wb-ring { border-radius: 50%; background: none; border: 2px solid var(--mark); }
.wb-key i.wb-diamond { transform: rotate(45deg) scale(0.8); }
.wb-key i.wb-up { clip-path: polygon(50% 0, 100% 100%, 0 100%); }
.wb-key i.wb-down { clip-path: polygon(0 0, 100% 0, 50% 100%); }
.wb-key i.wb-plus { clip-path: polygon(33% 0, 67% 0, 67% 33%, 100% 33%, 100% 67%, 67% 67%, 67% 100%, 33% 100%, 33% 67%,
  0 67%, 0 33%, 33% 33%); }
.wb-key i.wb-star { clip-path: polygon(50% 0, 62% 38%, 100% 38%, 69% 60%, 81% 100%, 50% 75%, 19% 100%, 31% 60%, 0 38%,
  38% 38%); }
.wb-key i.wb-edged { box-sizing: border-box; border: 2px solid var(--edge); }
.wb-key i:is(.wb-line, .wb-dash, .wb-dotted, .wb-long, .wb-mixed, .wb-short) { width: 1.6rem; height: 2px; }
.wb-key i.wb-dash { background: repeating-linear-gradient(90deg, var(--mark) 0 6px, transparent 6px 9px); }
.wb-key i.wb-dotted { background: repeating-linear-gradient(90deg, var(--mark) 0 2px, transparent 2px 4px); }
.wb-key i.wb-long { background: repeating-linear-gradient(90deg, var(--mark) 0 10px, transparent 10px 13px); }
.wb-key i.wb-mixed { background: repeating-linear-gradient(90deg, var(--mark) 0 5px, transparent 5px 7px,
  var(--mark) 7px 9px, transparent 9px 11px); }
.wb-key i.wb-short { background: repeating-linear-gradient(90deg, var(--mark) 0 3px, transparent 3px 5px); }
.wb-key i.wb-slanted { background-image: repeating-linear-gradient(135deg, transparent 0 2px, var(--ink) 2px 3px); }
.wb-key i.wb-backward { background-image: repeating-linear-gradient(45deg, transparent 0 2px, var(--ink) 2px 3px); }
.wb-key i.wb-crossed { background-image: repeating-linear-gradient(135deg, transparent 0 3px, var(--ink) 3px 4px),
  repeating-linear-gradient(45deg, transparent 0 3px, var(--ink) 3px 4px); }
.wb-key i.wb-stippled { background-image: radial-gradient(var(--ink) 30%, transparent 32%); background-size: 4px 4px; }
.wb-key i.wb-lined { background-image: repeating-linear-gradient(0deg, transparent 0 2px, var(--ink) 2px 3px); }
.wb-key i.wb-barred { background-image: repeating-linear-gradient(90deg, transparent 0 2px, var(--ink) 2px 3px); }
.wb-key i.wb-squared { background-image: repeating-linear-gradient(0deg, transparent 0 2px, var(--ink) 2px 3px),
  repeating-linear-gradient(90deg, transparent 0 2px, var(--ink) 2px 3px); }
.js-plotly-plot .main-svg text[style*="fill: rgb(38, 39, 48)"] { fill: currentColor !important; }
.js-plotly-plot .main-svg path[style*="stroke: rgb(38, 39, 48)"] { stroke: currentColor !important; }
</style>"""
"""What the page needs for legends, and for what a chart draws in `charts_base.THEME_TEXT`."""


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a figure's legend.

    `mark` is 'block', 'outline', a line ('line', 'dash', 'dotted', 'long', 'mixed', 'short') or a symbol ('dot',
    'ring', 'diamond', 'up', 'down', 'plus', 'star'). `hatch` is the pattern over a block, in the colour `ink`; `edge`
    the colour of a symbol's outline.
    """

    name: str
    colour: str
    mark: str
    hatch: str = ""
    ink: str = ""
    edge: str = ""


def list_keys(figure: go.Figure) -> tuple[Key, ...]:
    """The legend of a figure as values, in its order."""
    traces = sorted(figure.data, key=lambda t: t.legendrank or 0)
    return tuple(_read_key(trace) for trace in traces if trace.showlegend is not False and trace.name)


def _read_key(trace: go.Bar | go.Scatter) -> Key:
    if trace.type == "bar":
        return _read_bar(trace)
    if trace.stackgroup:
        pattern = trace.fillpattern
        return Key(trace.name, trace.line.color, "block", HATCH_MARKS.get(pattern.shape, ""), pattern.fgcolor or "")
    if trace.mode == "lines":
        return Key(trace.name, trace.line.color, DASH_MARKS.get(trace.line.dash, DASH_OTHER))
    edge = trace.marker.line.color if trace.marker.line.width == 2 else ""
    return Key(trace.name, trace.marker.color, SYMBOL_MARKS.get(trace.marker.symbol, "dot"), edge=edge)


def _read_bar(trace: go.Bar) -> Key:
    pattern = trace.marker.pattern
    shape = HATCH_MARKS.get(pattern.shape, "")
    if trace.marker.color == CLEAR and not shape:
        return Key(trace.name, OVERHEAD, "outline")
    return Key(trace.name, trace.marker.color, "block", shape, pattern.fgcolor or "")


@keep_words
def keys_html(figure: go.Figure) -> str:
    """The legend of a figure as one paragraph; empty where it has none."""
    entries = "".join(
        f'<span class="wb-key"><i class="{_name_classes(key)}" style="{_write_colours(key)}"></i>'
        f"{escape(roomy(key.name))}</span>"
        for key in list_keys(figure)
    )
    return f'<p class="wb-keys">{entries}</p>' if entries else ""


def _name_classes(key: Key) -> str:
    names = (key.mark, key.hatch, "edged" if key.edge else "")
    return " ".join(f"wb-{name}" for name in names if name)


def _write_colours(key: Key) -> str:
    colours: Mapping[str, str] = {"mark": key.colour, "ink": key.ink, "edge": key.edge}
    return "; ".join(f"--{name}: {colour}" for name, colour in colours.items() if colour)

"""What all charts share: the colours and what they mean, text that plotly shows as it is, logarithmic axes.

Nothing is told by colour alone. Colours of memory are Okabe and Ito's, readable without colour vision
(https://jfly.uni-koeln.de/color/), one fixed colour per purpose everywhere in the app.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log10

import plotly.graph_objects as go

from sizing.units import THIN

WEIGHTS, KV_CACHE, COMPUTE, OVERHEAD, OVER = "#0072B2", "#E69F00", "#009E73", "#8C8C8C", "#D55E00"
DRAFT, GRADIENTS, OPTIMIZER = "#CC79A7", "#56B4E9", "#CC79A7"
HATCHES = {OVERHEAD: ".", OVER: "x", DRAFT: "-", GRADIENTS: "/"}
"""What tells parts of memory apart where their colours are equally light: plotly's names of patterns."""
CLEAR = "rgba(0,0,0,0)"
THEME_TEXT = "#262730"
"""Words and edges on the page itself. On a page `charts_keys.STYLE` puts the theme's text colour in its place, so that
it follows a switch from light to dark; a chart taken along is dark on white."""
ON_DARK, ON_LIGHT = "#FFFFFF", "#1A1A1A"
FONT_PX = 13


@dataclass(frozen=True, slots=True)
class Series:
    """How one of several equals is told from the others: by colour, and again by a symbol, a dash and a pattern."""

    colour: str
    symbol: str
    dash: str
    hatch: str


SERIES = (
    Series("#7A5FC8", "circle", "solid", ""),
    Series("#85841F", "square", "dash", "/"),
    Series("#C94F7C", "diamond", "dot", "x"),
    Series("#20808F", "triangle-up", "dashdot", "."),
    Series("#9A6236", "cross", "longdash", "-"),
    Series("#9C4BA8", "triangle-down", "2px,6px", "+"),
    Series("#5E7793", "star", "8px,2px", "|"),
)
"""Models, families, providers and the like. No colour is one of the parts of memory, and each has a contrast of 3 to 1
against the light and the dark page, so that they are about equally light: in grey the second channel tells them."""
OTHERS = Series("#8C8C8C", "circle-open", "4px,1px", "\\")
"""What is left over, together."""

Figure = go.Figure


def roomy(text: str) -> str:
    """Text with no-break spaces for thin ones, which the app's font draws too narrow to part a number from its unit."""
    return text.replace(THIN, "\u00a0")


def plain(text: str) -> str:
    """Text of a person's or a model's, without plotly's own markup: it reads a few tags of HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def dot(look: Series, size: float) -> dict[str, object]:
    """A marker of a series; an open symbol is its edge alone."""
    edge = {"width": 2.5 if look.symbol.endswith("-open") else 0, "color": look.colour}
    return {"color": look.colour, "symbol": look.symbol, "size": size, "line": edge}


def write_in_theme(figure: go.Figure) -> None:
    """Give axes and notes the theme's text colour: Streamlit writes them too faint for the light page."""
    if figure.layout.font.color == THEME_TEXT:
        return
    figure.update_layout(font={"color": THEME_TEXT})
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(tickfont={"color": THEME_TEXT}, title={"font": {"color": THEME_TEXT}})
    figure.update_annotations(font={"color": THEME_TEXT})


def hatch(shape: str, ink: str = ON_DARK) -> dict[str, object]:
    """Plotly's pattern over a fill; an empty shape is a plain one."""
    return {"shape": shape, "fillmode": "overlay", "fgcolor": ink, "size": 5, "solidity": 0.25}


def fill(colour: str, shape: str | None = None) -> dict[str, object]:
    """A bar's filling: the colour with the pattern of its meaning, or with `shape`; an outline where it is clear."""
    if colour == CLEAR:
        return {"color": CLEAR, "line": {"width": 1, "color": OVERHEAD}}
    shape = HATCHES.get(colour, "") if shape is None else shape
    return {"color": colour, "line": {"width": 0}, "pattern": hatch(shape)}


def log_axis(title: str, low: float, high: float, form: str, prefix: str = "") -> dict[str, object]:
    """A logarithmic axis with ticks at 1, 2 and 5, or at 1 and 3 where the range is wide."""
    steps = (1, 2, 5) if high / max(low, 1e-9) < 60 else (1, 3)
    ticks = [m * 10.0**n for n in range(-2, 7) for m in steps if low / 1.5 <= m * 10.0**n <= high * 1.5]
    return {
        "type": "log",
        "title": title,
        "tickvals": ticks,
        "ticktext": [f"{prefix}{t:{form}}".replace(".0", "") for t in ticks],
        "range": [to_log10(low / 1.5), to_log10(high * 1.5)],
        "fixedrange": True,
    }


def to_log10(x: float) -> float:
    """The exponent that plotly wants on a logarithmic axis; finite for zero too."""
    return log10(max(x, 1e-9))

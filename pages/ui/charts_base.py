"""What all charts share: the colours and what they mean, text that plotly shows as it is, logarithmic axes.

Colours of memory are Okabe and Ito's, readable without colour vision (https://jfly.uni-koeln.de/color/), one fixed
colour per purpose everywhere in the app.
"""

from __future__ import annotations

from math import log10

import plotly.graph_objects as go

from sizing.units import THIN

WEIGHTS, KV_CACHE, COMPUTE, OVERHEAD, OVER = "#0072B2", "#E69F00", "#009E73", "#8C8C8C", "#D55E00"
DRAFT = "#CC79A7"
FAMILY_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B3A800")
OTHER_FAMILY = "#8C8C8C"
CLEAR = "rgba(0,0,0,0)"
FONT_PX = 13

Figure = go.Figure


def roomy(text: str) -> str:
    """Text with no-break spaces for thin ones, which the app's font draws too narrow to part a number from its unit."""
    return text.replace(THIN, "\u00a0")


def plain(text: str) -> str:
    """Text of a person's or a model's, without plotly's own markup: it reads a few tags of HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


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

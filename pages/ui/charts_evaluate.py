"""Charts of measured scores, in plotly alone: values in, figures out, no Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor
from textwrap import wrap

import plotly.graph_objects as go

from pages.ui.charts_base import FONT_PX, OTHERS, OVERHEAD, SERIES, Series, dot, log_axis, plain, roomy
from sizing.units import THIN, format_bytes, format_figures

NOT_TOLD = "not distinguishable"
MAX_NAME_CHARACTERS = 30
ROW_PX = 44
CLOSE_ROW = 0.62
"""The step to the next model where nothing is written between the two."""
FURTHEST_LINEAR = 6.0
NEAR_ZERO = 20.0
"""An axis that would begin at this many percent or below begins at zero."""
TITLE_CHARACTERS, TITLE_LINE = 40, 0.4
"""How long a line of a suite's title may be, and how far down a further one moves what follows, in rows."""


@dataclass(frozen=True, slots=True)
class ScoreDot:
    """One model's score in a suite with its interval, all shares from 0 to 1."""

    model: str
    value: float
    low: float
    high: float
    n_items: int


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """One suite: its models in the order drawn, and between which neighbours the items tell no difference.

    `not_told[i]` is about dots i and i + 1: True where they were compared and are not distinguishable.
    """

    title: str
    chance: float
    dots: tuple[ScoreDot, ...]
    not_told: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class SpeedPoint:
    """One run: its score (0 to 1) with its interval, decode speed in tokens/s and peak memory (0: unknown)."""

    model: str
    value: float
    low: float
    high: float
    tokens_per_s: float
    peak_bytes: int


def tell_models_apart(models: Sequence[str]) -> dict[str, Series]:
    """A colour and a symbol for each model, in the order they come; past seven they share the grey ones."""
    names = list(dict.fromkeys(models))
    return {name: SERIES[i] if i < len(SERIES) else OTHERS for i, name in enumerate(names)}


def score_chart(
    suites: Sequence[SuiteRow], looks: dict[str, Series], labels: Mapping[str, str] | None = None
) -> go.Figure:
    """Dots and whiskers in percent, suite under suite, each model a row; a bracket across pairs not told apart.

    `labels` are shorter names for the rows. The axis begins below the lowest whisker; what guessing gives is a line
    where it falls on the axis and words where it does not.
    """
    figure = go.Figure()
    at, places, names = 0.0, [], []
    start = find_start(suites)
    for suite in suites:
        lines = _list_title(suite, start)
        at += 0.8 + TITLE_LINE * (len(lines) - 1)
        _write_title(figure, lines, start, at - 0.5)
        first = at
        for i, score in enumerate(suite.dots):
            y = at
            places.append(y)
            names.append(_shorten((labels or {}).get(score.model, score.model)))
            _add_dot(figure, suite, score, y, looks.get(score.model, OTHERS))
            bracketed = i + 1 < len(suite.dots) and suite.not_told[i]
            if bracketed:
                _add_bracket(figure, score, suite.dots[i + 1], y, start)
            at += 1 if bracketed else CLOSE_ROW
        if _is_drawn(suite, start):
            _add_chance(figure, suite, first, at - CLOSE_ROW)
    if any(_is_drawn(suite, start) for suite in suites):
        line = {"width": 1, "dash": "dash", "color": OVERHEAD}
        figure.add_scatter(x=[None], y=[None], mode="lines", line=line, name="what guessing gives", hoverinfo="skip")
    figure.update_layout(
        height=int(40 + ROW_PX * at),
        margin={"l": 0, "r": 12, "t": 0, "b": 0},
        showlegend=False,
        hovermode="closest",
        xaxis={
            "range": [start - 1, 101],
            "title": "right, %",
            "fixedrange": True,
            "zeroline": False,
            "dtick": 20 if start < 50 else 10,
        },
        yaxis={
            "range": [at, 0],
            "tickvals": places,
            "ticktext": names,
            "tickfont": {"size": FONT_PX},
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
            "title": None,
            "automargin": True,
        },
    )
    return figure


def find_start(suites: Sequence[SuiteRow]) -> float:
    """Where the axis of scores begins, in percent: the ten below the lowest whisker, zero where that is near it."""
    lowest = 100 * min((dot.low for suite in suites for dot in suite.dots), default=0.0)
    start = 10.0 * floor((lowest - 3) / 10)
    return start if start > NEAR_ZERO else 0.0


def _is_drawn(suite: SuiteRow, start: float) -> bool:
    """Whether what guessing gives falls on the axis."""
    return start <= 100 * suite.chance < 100 and suite.chance > 0


def _list_title(suite: SuiteRow, start: float) -> list[str]:
    """The lines of a suite's title: its name, broken for a phone, and what guessing gives where no line shows it."""
    lines = [f"<b>{plain(line)}</b>" for line in wrap(suite.title, TITLE_CHARACTERS)] or [""]
    if 0 < suite.chance < 1 and not _is_drawn(suite, start):
        lines.append(f"guessing gives {100 * suite.chance:.0f}%")
    return lines


def _write_title(figure: go.Figure, lines: Sequence[str], x: float, y: float) -> None:
    figure.add_annotation(
        x=x,
        xanchor="left",
        y=y,
        yanchor="bottom",
        yshift=-10,
        text="<br>".join(lines),
        align="left",
        showarrow=False,
        font={"size": FONT_PX},
    )


def _add_dot(figure: go.Figure, suite: SuiteRow, score: ScoreDot, y: float, look: Series) -> None:
    said = (
        f"{plain(score.model)}<br>{plain(suite.title)}: {100 * score.value:.1f}%"
        f" ({100 * score.low:.1f} to {100 * score.high:.1f})<br>{score.n_items:,} items"
    )
    figure.add_scatter(
        x=[100 * score.value],
        y=[y],
        mode="markers",
        name=score.model,
        showlegend=False,
        marker=dot(look, 11),
        error_x={
            "type": "data",
            "array": [100 * (score.high - score.value)],
            "arrayminus": [100 * (score.value - score.low)],
            "color": look.colour,
            "thickness": 2,
            "width": 5,
        },
        hovertext=said,
        hoverinfo="text",
    )


def _add_bracket(figure: go.Figure, upper: ScoreDot, lower: ScoreDot, y: float, start: float) -> None:
    """A dotted line from one dot to the next with the words in its middle."""
    line = {"width": 1, "dash": "dot", "color": OVERHEAD}
    figure.add_shape(
        type="line", x0=100 * upper.value, x1=100 * lower.value, y0=y + 0.16, y1=y + 0.84, line=line, layer="below"
    )
    middle = 50 * (upper.value + lower.value)
    left = middle > start + 0.6 * (100 - start)
    figure.add_annotation(
        x=middle,
        y=y + 0.5,
        text=NOT_TOLD,
        showarrow=False,
        xanchor="right" if left else "left",
        xshift=-8 if left else 8,
        font={"size": FONT_PX - 1},
    )


def _add_chance(figure: go.Figure, suite: SuiteRow, y: float, last: float) -> None:
    x = 100 * suite.chance
    figure.add_shape(
        type="line",
        x0=x,
        x1=x,
        y0=y - 0.35,
        y1=last + 0.3,
        line={"width": 1, "dash": "dash", "color": OVERHEAD},
        layer="below",
    )


def speed_chart(points: Sequence[SpeedPoint], looks: dict[str, Series]) -> go.Figure:
    """Score in percent with its interval against decode speed; the area of a dot is peak memory."""
    figure = go.Figure()
    largest = max((p.peak_bytes for p in points), default=0)
    for p in points:
        look = looks.get(p.model, OTHERS)
        size = 11 + 19 * (p.peak_bytes / largest) ** 0.5 if largest else 13
        memory = f"{format_bytes(p.peak_bytes)} at its peak" if p.peak_bytes else "peak memory unknown"
        figure.add_scatter(
            x=[p.tokens_per_s],
            y=[100 * p.value],
            mode="markers",
            name=p.model,
            showlegend=p is next(q for q in points if q.model == p.model),
            marker={**dot(look, size), "opacity": 0.9},
            error_y={
                "type": "data",
                "array": [100 * (p.high - p.value)],
                "arrayminus": [100 * (p.value - p.low)],
                "color": look.colour,
                "thickness": 1.5,
                "width": 4,
            },
            hovertext=(
                f"{plain(p.model)}<br>{100 * p.value:.1f}% ({100 * p.low:.1f} to {100 * p.high:.1f})"
                f"<br>{format_figures(p.tokens_per_s)}{THIN}tokens/s<br>{memory}"
            ),
            hoverinfo="text",
        )
    speeds = [p.tokens_per_s for p in points] or [1.0]
    lowest = min((p.low for p in points), default=0.0)
    highest = max((p.high for p in points), default=1.0)
    figure.update_layout(
        height=320,
        margin={"l": 0, "r": 12, "t": 12, "b": 0},
        showlegend=False,
        hovermode="closest",
        xaxis=_speed_axis(min(speeds), max(speeds)),
        yaxis={
            "title": "right, %",
            "range": [max(-3.0, 100 * lowest - 8), min(103.0, 100 * highest + 8)],
            "fixedrange": True,
            "nticks": 6,
        },
    )
    return figure


def _speed_axis(low: float, high: float) -> dict[str, object]:
    """From zero where speeds are near each other, logarithmic where one is many times another."""
    if high > FURTHEST_LINEAR * low:
        return log_axis("tokens/s written in all (log scale)", low, high, "g")
    return {"title": "tokens/s written in all", "range": [0, 1.15 * high], "fixedrange": True, "nticks": 6}


def _shorten(text: str) -> str:
    name, at, quant = text.rpartition(" at ")
    room = MAX_NAME_CHARACTERS - len(at + quant)
    if len(text) > MAX_NAME_CHARACTERS and name and room > 8:  # the quantization tells files of one model apart
        text = name[: room - 1].rstrip() + "… " + quant
    elif len(text) > MAX_NAME_CHARACTERS:
        text = text[: MAX_NAME_CHARACTERS - 1].rstrip() + "…"
    return roomy(plain(text))

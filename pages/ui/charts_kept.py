"""Figures drawn before are not drawn again: a page is run anew at every click, mostly with the same charts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec

import plotly.graph_objects as go

from pages.ui.charts_base import write_in_theme

_P = ParamSpec("_P")

KEPT_FIGURES = 64
"""Of each kind. A figure is some tens of kilobytes."""

KEPT_WORDS = 128
"""Figures of all kinds of which words are kept."""


def keep_figures(draw: Callable[_P, go.Figure]) -> Callable[_P, go.Figure]:
    """The same function, which gives the figure it made of equal values before. Nobody may change what it gives."""

    @lru_cache(maxsize=KEPT_FIGURES)
    def find(args: tuple[Any, ...], settings: tuple[tuple[str, Any], ...]) -> go.Figure:
        figure = draw(*args, **dict(settings))  # type: ignore[call-arg, arg-type]
        write_in_theme(figure)
        return figure

    @wraps(draw)
    def draw_or_find(*args: _P.args, **settings: _P.kwargs) -> go.Figure:
        named = tuple((name, _to_values(value)) for name, value in settings.items())
        return find(tuple(map(_to_values, args)), named)

    return draw_or_find


def keep_words(tell: Callable[[go.Figure], str]) -> Callable[[go.Figure], str]:
    """The same function, which tells of a kept figure once; its attributes are slow to read."""
    told: OrderedDict[int, tuple[go.Figure, str]] = OrderedDict()

    @wraps(tell)
    def tell_or_find(figure: go.Figure) -> str:
        found = told.get(id(figure))
        if found is None:
            found = told[id(figure)] = (figure, tell(figure))  # with the figure, so that its id stays its own
            while len(told) > KEPT_WORDS:
                told.popitem(last=False)
        return found[1]

    return tell_or_find


def _to_values(value: Any) -> Any:
    """Lists as tuples, so that what they hold can be compared."""
    return tuple(map(_to_values, value)) if isinstance(value, list | tuple) else value

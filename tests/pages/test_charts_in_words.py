"""Every chart says in words what it shows, with its figures, for those who cannot see it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.ui import charts, charts_words
from pages.ui.charts_guide import LossPoint
from sizing.device_rows import fold_devices
from sizing.memory import DeviceUse, Parts
from sizing.units import GIB

PAGES = Path(__file__).resolve().parents[2] / "pages"
FIGURE = re.compile(r"(?<![\w.])\d[\d,.]*(?=(?: to [\d,.]+)?(?: of [\d,.]+)? (?:GiB|tokens/s))")
DRAWERS = {"show_chart": 2, "plotly_chart": None, "altair_chart": None, "pyplot": None, "image": None}
"""Calls that draw, with the place of the alternative among their arguments; None where it is given by name alone."""
PAIR = "Qwen/Qwen3-14B|google/gemma-3-12b-it"


def list_drawings() -> Iterator[tuple[str, ast.Call, int | None]]:
    """Every call of a page that draws a chart or a picture."""
    for path in sorted(PAGES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in DRAWERS:
                yield f"{path.relative_to(PAGES)}:{node.lineno}", node, DRAWERS[node.func.attr]


def find_alternative(call: ast.Call, place: int | None) -> ast.expr | None:
    """The expression that gives the text alternative, None where there is none."""
    named = {k.arg: k.value for k in call.keywords}
    if "alt" in named:
        return named["alt"]
    return call.args[place] if place is not None and place < len(call.args) else None


def test_every_drawing_has_an_alternative_made_from_what_it_draws() -> None:
    drawings = list(list_drawings())
    assert len(drawings) > 25
    for where, call, place in drawings:
        told = find_alternative(call, place)
        assert told is not None, f"{where} draws without an alternative"
        assert not isinstance(told, ast.Constant), f"{where} says {ast.unparse(told)} of every chart alike"


def test_a_drawing_without_words_and_one_of_fixed_words_are_found() -> None:
    bare, fixed = (
        ast.parse(text, mode="eval").body for text in ("st.plotly_chart(f)", "frame.show_chart(f, 'k', 'a')")
    )
    assert isinstance(bare, ast.Call) and isinstance(fixed, ast.Call)
    assert find_alternative(bare, None) is None
    assert isinstance(find_alternative(fixed, 2), ast.Constant)


def list_figures(text: str) -> set[str]:
    """The figures of a headline that stand beside a unit: '21.2', '40.4', '102'."""
    plain = re.sub(r"[\u2009\u00a0]", " ", unescape(re.sub(r"<[^>]*>", "", text)))
    return {
        n.rstrip(".,")
        for n in re.findall(r"(?<![\w.])\d[\d,.]*(?=(?: to [\d,.]+)?(?: of [\d,.]+)? (?:GiB|tokens/s))", plain)
    }


@pytest.mark.parametrize(
    ("page", "key", "address"),
    [
        ("choose", "best_memory", {}),
        ("choose", "frontier", {}),
        ("size", "size_memory", {"model": "Qwen/Qwen3-14B", "quant": "Q4_K_M"}),
        ("hardware", "price_speed", {"model": "Qwen/Qwen3-14B"}),
        ("finetune", "finetune_memory", {"model": "Qwen/Qwen3-14B"}),
    ],
)
def test_the_alternative_of_a_pages_first_charts_holds_the_headlines_figures(
    open_page: Callable[..., AppTest], page: str, key: str, address: dict[str, str]
) -> None:
    app = open_page(page, machine="RTX 4090", **address)
    headline = next(e.proto.body for e in app.get("html") if "wb-answer" in e.proto.body)
    (alt,) = [e.proto.alt for e in app.get("plotly_chart") if e.proto.id.endswith(key)]
    told = re.sub(r"[\u2009\u00a0]", " ", alt)
    figures = list_figures(headline)
    shared = {f for f in figures if re.search(rf"(?<![\d.]){re.escape(f)}(?![\d])", told)}
    assert figures and len(shared) >= 2, (figures, told)


@pytest.mark.parametrize("page", ["choose", "size", "hardware", "compare", "cost", "finetune", "guide"])
def test_every_chart_that_is_drawn_says_figures(open_page: Callable[..., AppTest], page: str) -> None:
    app = open_page(page, machine="RTX 4090", **({"compare": PAIR} if page == "compare" else {}))
    alts = [e.proto.alt for e in app.get("plotly_chart")]
    assert alts
    for alt in alts:
        assert len(alt) > 30 and re.search(r"\d", alt), alt


CARD = DeviceUse("card", 24 * GIB, 20 * GIB, Parts(9 * GIB, 3 * GIB, GIB, 2 * GIB, 0, GIB))


def test_a_memory_bar_is_told_part_by_part_and_says_what_is_missing() -> None:
    told = charts_words.describe_memory_bars(fold_devices([CARD, DeviceUse("RAM", 8 * GIB, 6 * GIB, CARD.parts)]))
    assert told.replace("\u2009", " ").startswith(
        "card: 16.0 GiB of 20.0 GiB usable: weights 9.00 GiB, KV cache 4.00 GiB, compute 2.00 GiB, "
        "overhead 1.00 GiB, 4.00 GiB free. RAM: "
    )
    assert "10.0 GiB over the limit" in told.replace("\u2009", " ")


def test_the_frontier_names_the_recommended_and_both_ends() -> None:
    def point(name: str, speed: float, quality: float) -> charts.FrontierPoint:
        return charts.FrontierPoint(name, "f", speed, speed, speed, quality, quality, quality, GIB, name == "middle")

    told = charts_words.describe_frontier([point("good", 5, 80), point("middle", 40, 60), point("fast", 90, 20)])
    assert "of 3 models; recommended: middle, quality 60.0, 40.0" in told
    assert told.index("best of all: good") < told.index("fastest not beaten: fast")
    assert charts_words.describe_frontier([]) == "Quality against speed of 0 models"


def test_losses_are_told_from_the_largest_down() -> None:
    points = [LossPoint(q, "K", n * GIB, p, p, p, "", False) for q, n, p in (("Q2_K", 2, 9.0), ("Q8_0", 8, 0.1))]
    told = charts_words.describe_losses("A model", points).replace("\u2009", " ")
    assert told.endswith("2 quantizations: Q8_0 8.00 GiB, 0.1 points; Q2_K 2.00 GiB, 9.00 points")

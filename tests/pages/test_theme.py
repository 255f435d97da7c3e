"""The theme: words can be read on every background, light and dark, and there are three sizes of type."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from pages.ui import frame

THEME = tomllib.loads((Path(__file__).parents[2] / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["theme"]
QUIET = 0.75
"""The opacity of what is said in passing, as the style has it."""


def channels(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def luminance(rgb: list[float]) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(colour: str, ground: str, opacity: float = 1.0) -> float:
    behind = channels(ground)
    seen = [opacity * c + (1 - opacity) * b for c, b in zip(channels(colour), behind, strict=True)]
    light, dark = sorted((luminance(seen), luminance(behind)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_measure_knows_black_on_white() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("ground", ["backgroundColor", "secondaryBackgroundColor", "dataframeHeaderBackgroundColor"])
def test_words_and_actions_can_be_read(mode: str, ground: str) -> None:
    theme = THEME[mode]
    assert contrast(theme["textColor"], theme[ground]) > 7
    assert contrast(theme["textColor"], theme[ground], QUIET) > 4.5
    assert contrast(theme["primaryColor"], theme[ground]) > 4.5


def test_what_is_quiet_is_as_quiet_as_was_measured() -> None:
    faded = {float(text) for text in re.findall(r"opacity: (0\.\d+)", frame._STYLE)}
    assert faded == {QUIET}
    assert "stCaptionContainer" in frame._STYLE


def test_there_are_three_sizes_of_type() -> None:
    wide = frame._STYLE.split("@media")[0]
    sizes = {*re.findall(r"font-size: ([\d.]+)rem", wide), *(s.removesuffix("rem") for s in THEME["headingFontSizes"])}
    sizes |= {THEME[name].removesuffix("rem") for name in ("codeFontSize", "metricValueFontSize")}
    assert {float(size) for size in sizes} == {1.6, 1.0, 0.87}

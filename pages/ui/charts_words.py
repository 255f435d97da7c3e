"""What a chart shows, in words with its main figures, for those who cannot see it: values in, a sentence out."""

from __future__ import annotations

from collections.abc import Sequence

from pages.ui.charts import FrontierPoint, find_front
from pages.ui.charts_guide import Bar, Line, LossPoint
from pages.ui.charts_machines import PricePoint, find_price_front
from pages.ui.charts_memory import list_purposes
from sizing.device_rows import BarRow
from sizing.units import THIN, format_bytes, format_figures, format_range


def describe_memory_bars(rows: Sequence[BarRow]) -> str:
    """Each device with what is taken of it, part by part, and what is free or missing."""
    return ". ".join(_describe_row(row) for row in rows)


def _describe_row(row: BarRow) -> str:
    use = row.use
    parts = [f"{p.name.lower() if p.name != 'KV cache' else p.name} {format_bytes(p.n_bytes)}"
             for p in list_purposes(use.parts) if p.n_bytes]  # fmt: skip
    left = use.headroom_bytes
    rest = f"{format_bytes(left)} free" if left >= 0 else f"{format_bytes(-left)} over the limit"
    held = f"{row.name}: {format_bytes(use.parts.total_bytes)} of {format_bytes(use.usable_bytes)} usable"
    return f"{held}: {', '.join([*parts, rest])}"


def describe_frontier(points: Sequence[FrontierPoint]) -> str:
    """How many choices, the recommended one, and both ends of what nothing beats."""
    front = find_front(points)
    told = [f"Quality against speed of {len(points)} models"]
    told += [f"recommended: {_describe_choice(p)}" for p in points if p.is_best]
    if front:
        told += [f"best of all: {_describe_choice(front[0])}", f"fastest not beaten: {_describe_choice(front[-1])}"]
    return "; ".join(told)


def _describe_choice(p: FrontierPoint) -> str:
    speed = f"{format_range(p.speed_low, p.speed_high)}{THIN}tokens/s"
    return f"{p.label}, quality {format_figures(p.quality)}, {speed}, {format_bytes(p.total_bytes)}"


def describe_prices(points: Sequence[PricePoint]) -> str:
    """How many machines, and those that no other beats in price and speed."""
    front = [
        f"{p.label}, about ${format_figures(p.price_usd)}, {format_range(p.speed_low, p.speed_high)}{THIN}tokens/s"
        for p in find_price_front(points)
    ]
    return f"Price against speed of {len(points)} machines; not beaten in both: {'; '.join(front)}"


def describe_losses(name: str, points: Sequence[LossPoint]) -> str:
    """What each quantization of a model weighs and is expected to cost, the largest first."""
    told = (
        f"{p.quant} {format_bytes(p.n_bytes)}, {format_figures(p.points)} points"
        for p in sorted(points, key=lambda p: -p.n_bytes)
    )
    return f"Points lost against size of {name} in {len(points)} quantizations: {'; '.join(told)}"


def describe_bars(bars: Sequence[Bar]) -> str:
    """Every bar's own line of text."""
    return "; ".join(bar.title for bar in bars)


def describe_lines(lines: Sequence[Line]) -> str:
    """Every line's name with its first and its last figure."""
    return "; ".join(f"{line.name}: {line.told[0]}, {line.told[-1]}" for line in lines if line.told)

"""Sentences and tables of estimates: values in, text and frames out. Numbers are shown, never worked out, here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from pages.ui.charts_words import describe_memory_bars
from pages.ui.shown_table import ShownTable
from sizing.device_rows import fold_devices, used_of
from sizing.estimate import Estimate
from sizing.hardware import Machine
from sizing.memory import DeviceUse
from sizing.recommend import Option
from sizing.throughput import Interval
from sizing.units import GIB, THIN, format_bytes, format_figures, format_gib, format_range

UNKNOWN = "unknown"
SHORT_LICENSES = {
    "Apache License 2.0": "Apache-2.0",
    "MIT License": "MIT",
    "Creative Commons Attribution-NonCommercial 4.0": "CC-BY-NC-4.0",
}


def format_speed(speed: Interval | None) -> str:
    """Tokens per second as an interval with its unit, or that it is unknown."""
    return f"{format_range(speed.low, speed.high)}{THIN}tokens/s" if speed else "speed unknown"


def format_speeds(estimate: Estimate) -> list[str]:
    """What a user sees; with several, what each sees while all write, and what all get together."""
    speed = estimate.speed
    if speed is None or speed.n_parallel < 2:
        return [format_speed(decode_of(estimate))]
    total = speed.total_decode_tokens_per_s
    return [f"{format_speed(speed.decode_tokens_per_s)} each", f"{format_range(total.low, total.high)} together"]


def decode_of(estimate: Estimate) -> Interval | None:
    """The decode interval, None for what cannot run or cannot be timed."""
    return estimate.speed.decode_tokens_per_s if estimate.speed else None


def order_devices(estimate: Estimate) -> tuple[DeviceUse, ...]:
    """The devices of an estimate as a reader wants them: cards first, the host last."""
    host, *cards = estimate.memory.devices
    return (*cards, host)


MANY = 3
"""From this many devices of one name on only the fullest is told in words; the bars show them all."""


def list_reasons(estimate: Estimate) -> list[str]:
    """The reasons of a verdict; of many devices of one name only that of the fullest."""
    names = [d.name for d in estimate.memory.devices]
    many = {name for name in names if names.count(name) >= MANY}
    out, told = [], set()
    for reason in estimate.fit.reasons:
        name = next((n for n in many if reason.startswith((f"{n} holds", f"{n} has", f"{n} would"))), None)
        if name in told:
            continue
        if name is not None:
            told.add(name)
            reason = f"the fullest {reason}"
        out.append(reason)
    return out


def order_like_devices(n_bytes: Sequence[int]) -> tuple[int, ...]:
    """Bytes by device, host first, in the order of `order_devices`."""
    return (*n_bytes[1:], *n_bytes[:1])


def describe_memory(estimate: Estimate) -> str:
    """What a memory bar shows, for those who cannot see it."""
    return describe_memory_bars(fold_devices(order_devices(estimate)))


def shorten_license(name: str) -> str:
    """A licence by the short name people know it by, where there is one (https://spdx.org/licenses/)."""
    return SHORT_LICENSES.get(name, name)


def list_figures(estimate: Estimate, machine: Machine, license_name: str | None = None) -> list[str]:
    """'11.8 of 15.6 GiB', '31 to 44 tokens/s', 'Apache-2.0': what an answer costs and gives."""
    used, usable = used_of(estimate, machine)
    parts = [f"{format_gib(used)} of {format_bytes(usable)}"]
    if estimate.fit.runs:
        parts.extend(format_speeds(estimate))
    if license_name:
        parts.append(shorten_license(license_name))
    return parts


def options_table(
    options: Sequence[Option], marks: Callable[[str], str], task: str, *, by_weights: bool = False
) -> ShownTable:
    """Runnable options as a table, best first: figures as numbers underneath, so that sorting works.

    With `by_weights` the weights stand for the memory, of engines that fill their cards whatever is asked.
    """
    rows = []
    texts = []
    for option in options:
        decode, quality = decode_of(option.estimate), option.quality
        rows.append(
            {
                "Model": option.name,
                "Format" if by_weights else "Quantization": option.quant,
                "Fit": marks(option.verdict),
                "Frontier": "on it" if option.on_frontier else "",
                "Weights, GiB" if by_weights else "Memory, GiB": size_of(option, by_weights=by_weights) / GIB,
                "Speed, tokens/s": decode.mid if decode else math.nan,
                f"Quality for {task}, 0 to 100": quality.score if quality else math.nan,
                "Quantization loss, points": option.loss.points if option.loss else math.nan,
                "Licence": shorten_license(option.candidate.license_name),
                "Longest context, tokens": option.candidate.spec.context_tokens,
            }
        )
        texts.append((_interval(decode), _quality(option)))
    frame = pd.DataFrame(rows)
    shown = [(("Speed, tokens/s", a), (f"Quality for {task}, 0 to 100", b)) for a, b in texts]
    return style_table(frame, shown)


def size_of(option: Option, *, by_weights: bool) -> int:
    """Bytes an option takes, or its weights alone."""
    memory = option.estimate.memory
    return memory.parts.weight_bytes if by_weights else memory.total_bytes


def style_table(frame: pd.DataFrame, shown: Sequence[Sequence[tuple[str, str]]] = ()) -> ShownTable:
    """Numbers to three significant figures, counts with separators, missing as 'unknown'.

    `shown[i]` gives (column, text) pairs that stand for the number in row i, such as an interval for its middle.
    """
    texts = {}
    for column in frame.columns:
        if column.endswith("tokens"):
            write = _write_count
        else:
            write = _write_figures if pd.api.types.is_numeric_dtype(frame[column]) else _write_plain
        texts[column] = [write(value) for value in frame[column].tolist()]
    for row, pairs in enumerate(shown):
        for column, text in pairs:
            texts[column][row] = text
    return ShownTable(frame, texts)


def _write_count(value: Any) -> str:
    return UNKNOWN if pd.isna(value) else f"{int(value):,}"


def _write_figures(value: Any) -> str:
    return UNKNOWN if pd.isna(value) else format_figures(float(value))


def _write_plain(value: Any) -> str:
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _interval(interval: Interval | None) -> str:
    return format_range(interval.low, interval.high) if interval else UNKNOWN


def _quality(option: Option) -> str:
    quality = option.quality
    if quality is None:
        return UNKNOWN
    return f"{format_figures(quality.score)} ({format_range(quality.low, quality.high)})"

"""Byte units and the one formatter. Bytes are ints; the binary ladder is KiB, MiB, GiB, TiB.

Decimal GB appears only where a vendor's or a file listing's own figure is decimal, and the name says so.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024**2
GIB = 1024**3
TIB = 1024**4
GB = 1000**3

THIN = "\u2009"
"""Thin space between number and unit."""


def format_bytes(n_bytes: float | None) -> str:
    """Bytes as text with at most three significant figures: 'unknown', '512 B', '11.8 GiB', '-1.25 GiB'.

    >>> format_bytes(12_670_000_000).replace(THIN, ' ')
    '11.8 GiB'
    >>> format_bytes(None)
    'unknown'
    """
    if n_bytes is None:
        return "unknown"
    sign = "-" if n_bytes < 0 else ""
    size = abs(float(n_bytes))
    for unit, step in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        # 999.5 of a unit would print as four figures, so it moves up the ladder
        if size >= step or size >= 999.5 * step / 1024:
            return f"{sign}{format_figures(size / step)}{THIN}{unit}"
    return f"{sign}{int(size)}{THIN}B"


def format_gib(n_bytes: float) -> str:
    """Bytes in GiB without the unit, three significant figures, for columns whose header names the unit."""
    return format_figures(n_bytes / GIB)


def format_figures(x: float) -> str:
    """A number with at most three significant figures and no exponent.

    >>> [format_figures(v) for v in (0, 0.0456, 4.567, 45.67, 456.7, 4567.0)]
    ['0', '0.0456', '4.57', '45.7', '457', '4,570']
    """
    if x == 0:
        return "0"
    if abs(x) >= 1000:
        digits = len(str(int(abs(x)))) - 3
        return f"{int(round(x, -digits)):,}"
    if abs(x) >= 99.95:
        return f"{x:.0f}"
    if abs(x) >= 9.995:
        return f"{x:.1f}"
    if abs(x) >= 0.9995:
        return f"{x:.2f}"
    return f"{x:.3g}"


WIDE = 0.05
"""Share of its upper end that an interval has to span for its ends to be told in two figures: a third would say
nothing."""


def format_range(low: float, high: float) -> str:
    """An interval as text: three figures where its ends are close, else two. Equal ends collapse to one number.

    >>> format_range(30.8, 44.2), format_range(40.35, 41.02), format_range(0.853, 1.89), format_range(1234, 5678)
    ('31 to 44', '40.4 to 41.0', '0.85 to 1.9', '1,200 to 5,700')
    """
    is_wide = abs(high - low) > WIDE * max(abs(low), abs(high))
    a, b = (_format_two_figures(x) if is_wide else format_figures(x) for x in (low, high))
    return a if a == b else f"{a} to {b}"


def _format_two_figures(x: float) -> str:
    if abs(x) >= 99.5:
        return f"{int(round(x, 2 - len(str(int(abs(x) + 0.5))))):,}"
    return f"{x:.0f}" if abs(x) >= 9.95 else f"{x:.1f}" if abs(x) >= 0.995 else f"{x:.2g}"


def format_params(n_params: float | None) -> str:
    """A parameter count as people say it: '8.03 B', '270 M'."""
    if n_params is None:
        return "unknown"
    if n_params >= 999.5e9:
        return f"{format_figures(n_params / 1e12)}{THIN}T"
    if n_params >= 999.5e6:
        return f"{format_figures(n_params / 1e9)}{THIN}B"
    return f"{format_figures(n_params / 1e6)}{THIN}M"


def format_tokens(n_tokens: int) -> str:
    """A token count with thousands separators."""
    return f"{n_tokens:,}"

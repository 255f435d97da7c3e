"""Fields of the Cost page in the address: name, default, and how text becomes a value. No Streamlit."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from catalog.cost_question import ELECTRICITY
from catalog.offers import HOST_USD, PUE
from pages.ui.address_parsers import number_parser
from sizing.cost import RENT_MODES
from sizing.errors import BadInputError
from sizing.routing import GUIDE_CLASSES, TARGETS, RequestClass, Target

MAX_TEXT_CHARACTERS = 200
MAX_ROUTES_CHARACTERS = 2000
RENT_WORDS = {"always": "Round the clock", "hours": "In active hours", "scaled": "By the minute"}
REGIONS = ("any", "premises", "EU", "US", "CN")
REGION_WORDS = {"any": "Anywhere", "premises": "On my premises"}


def _maybe(name: str, low: float, high: float) -> Callable[[str], float | None]:
    number = number_parser(name, low, high)

    def parse(text: str) -> float | None:
        return number(text) if text.strip() else None

    return parse


def _one_of(name: str, known: Sequence[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        found = next((k for k in known if k.casefold() == text.casefold()), None)
        if found is None:
            raise BadInputError(f"{name} wants one of {', '.join(known)}, got {text[:40]!r}")
        return found

    return parse


def _text(name: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if len(text) > MAX_TEXT_CHARACTERS or not (text or " ").isprintable():
            raise BadInputError(f"{name} wants at most {MAX_TEXT_CHARACTERS} plain characters")
        return text.strip()

    return parse


_ROUTE = re.compile(r"([a-z0-9][a-z0-9-]{0,39})=(\d{1,3}(?:\.\d{1,8})?):([a-z-]+)(:private)?")
_DESCRIPTIONS = {c.name: c.description for c in GUIDE_CLASSES}


def read_routes(text: str) -> tuple[RequestClass, ...]:
    """Request classes of an address, the guide's own for an empty text. Raises BadInputError.

    >>> [(c.name, c.share, c.target, c.is_sensitive) for c in read_routes("a=25:local-large:private|b=75:api")]
    [('a', 0.25, 'local-large', True), ('b', 0.75, 'api', False)]
    """
    if not text.strip():
        return GUIDE_CLASSES
    if len(text) > MAX_ROUTES_CHARACTERS:
        raise BadInputError(f"routes wants at most {MAX_ROUTES_CHARACTERS} characters, got {len(text):,}")
    classes = []
    for part in text.split("|"):
        found = _ROUTE.fullmatch(part.strip())
        if found is None:
            raise BadInputError(f"routes wants name=percent:target, such as simple=50:local-small, got {part[:60]!r}")
        target = next((t for t in TARGETS if t == found[3]), None)
        if target is None:
            raise BadInputError(f"routes wants a target of {', '.join(TARGETS)}, got {found[3][:40]!r}")
        said = _DESCRIPTIONS.get(found[1], "")
        classes.append(RequestClass(found[1], float(found[2]) / 100, target, found[4] is not None, said))
    return check_routes(tuple(classes))


def check_routes(classes: tuple[RequestClass, ...]) -> tuple[RequestClass, ...]:
    """The same classes. Raises BadInputError where their shares do not add up or names repeat."""
    total = sum(c.share for c in classes)
    if abs(total - 1) > 1e-6:
        raise BadInputError(f"the shares want to add up to 100%, they add up to {100 * total:.6g}%")
    if len({c.name for c in classes}) != len(classes):
        raise BadInputError("request classes want names of their own")
    return classes


def write_routes(classes: Sequence[RequestClass]) -> str:
    """Request classes as the address holds them; empty for the guide's own."""
    bare = [replace(c, description="") for c in classes]
    if bare == [replace(c, description="") for c in GUIDE_CLASSES]:
        return ""
    return "|".join(
        f"{c.name}={100 * c.share:.8f}".rstrip("0").rstrip(".") + f":{c.target}{':private' if c.is_sensitive else ''}"
        for c in classes
    )


def change_route(
    classes: Sequence[RequestClass], shares: Sequence[float], targets: Sequence[str]
) -> tuple[RequestClass, ...]:
    """The classes with other shares (percent) and targets. Raises BadInputError for what is no policy."""
    known: dict[str, Target] = {t: t for t in TARGETS}
    changed = [
        replace(c, share=share / 100, target=known.get(target, c.target))
        for c, share, target in zip(classes, shares, targets, strict=True)
    ]
    return check_routes(tuple(changed))


COST_FIELDS: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("tokens_in", "1500000", number_parser("tokens_in (a day)", 0, 1e12)),
    ("tokens_out", "500000", number_parser("tokens_out (a day)", 0, 1e12)),
    ("peak", "3", number_parser("peak (times the mean)", 1, 1000)),
    ("busy", "60", number_parser("busy (%)", 5, 100)),
    ("hours", "24", number_parser("hours (a day)", 1, 24)),
    ("buy_usd", "", _maybe("buy_usd (US$)", 0, 1e9)),
    ("host_usd", f"{HOST_USD:g}", number_parser("host_usd (US$)", 0, 1e7)),
    ("years", "3", number_parser("years", 0.5, 20)),
    ("residual", "0", number_parser("residual (%)", 0, 100)),
    ("watts", "", _maybe("watts", 0, 1e6)),
    ("idle_watts", "", _maybe("idle_watts", 0, 1e6)),
    ("power", ELECTRICITY, _text("power")),
    ("kwh_usd", "", _maybe("kwh_usd (US$)", 0, 100)),
    ("pue", f"{PUE:g}", number_parser("pue", 1, 5)),
    ("staff_hours", "0", number_parser("staff_hours (a month)", 0, 10_000)),
    ("staff_usd", "50", number_parser("staff_usd (an hour)", 0, 10_000)),
    ("rent", "", _text("rent")),
    ("rent_usd", "", _maybe("rent_usd (an hour)", 0, 10_000)),
    ("reserved_usd", "", _maybe("reserved_usd (an hour)", 0, 10_000)),
    ("rent_mode", "always", _one_of("rent_mode", RENT_MODES)),
    ("reserved", "0", number_parser("reserved (%)", 0, 100)),
    ("api", "", _text("api")),
    ("api_in_usd", "", _maybe("api_in_usd (per million)", 0, 100_000)),
    ("api_out_usd", "", _maybe("api_out_usd (per million)", 0, 100_000)),
    ("api_cached_usd", "", _maybe("api_cached_usd (per million)", 0, 100_000)),
    ("cached", "0", number_parser("cached (%)", 0, 100)),
    ("batch", "0", number_parser("batch (%)", 0, 100)),
    ("stay", "any", _one_of("stay", REGIONS)),
    ("third_party", "on", _one_of("third_party", ("on", "off"))),
    ("first_token", "0", number_parser("first_token (s)", 0, 100_000)),
    ("small", "", _text("small")),
    ("routes", "", read_routes),
)

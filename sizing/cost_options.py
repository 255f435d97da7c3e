"""Ways to run a load side by side: what each costs, which hard limits rule it out, and which is cheapest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sizing.cost import CostBand
from sizing.errors import BadInputError
from sizing.throughput import Interval

Kind = Literal["own", "rent", "api"]
KIND_WORDS: dict[Kind, str] = {"own": "your own", "rent": "rented", "api": "API"}

ANYWHERE, ON_PREMISES = "any", "premises"
"""Where data may be: anywhere, or in your own rooms alone; any other text is a region such as 'EU'."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a way has to keep to, whatever it costs.

    `residency` is where data has to stay: ANYWHERE, ON_PREMISES or a region. With `no_third_party` nobody else may hold
    it. `max_first_token_s` and `min_tokens_per_s` are what each user has to see, None for anything.
    """

    residency: str = ANYWHERE
    no_third_party: bool = False
    max_first_token_s: float | None = None
    min_tokens_per_s: float | None = None

    def __post_init__(self) -> None:
        if not self.residency.strip():
            raise BadInputError("residency wants any, premises or a region, got nothing")
        for name in ("max_first_token_s", "min_tokens_per_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e9:
                raise BadInputError(f"{name} wants a number above 0, or none, got {value!r}")


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run the load.

    `band` is None where a price or speed is unknown, which `unknown` then names. `region` is where a provider processes
    data, "" where it is not known. Latency is None where nobody knows it: of APIs no figure is claimed.
    """

    kind: Kind
    name: str
    band: CostBand | None
    unknown: str = ""
    region: str = ""
    first_token_s: Interval | None = None
    tokens_per_s: Interval | None = None
    source_url: str = ""
    as_of: str = ""


@dataclass(frozen=True, slots=True)
class JudgedOption:
    """An option with its cost at the load (None: unknown) and why it is ruled out (empty: it is not).

    `unchecked` names limits that could not be checked for want of a figure.
    """

    option: Option
    usd_per_month: Interval | None
    usd_per_million: Interval | None
    ruled_out: tuple[str, ...]
    unchecked: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it may be taken and its cost is known."""
        return not self.ruled_out and self.usd_per_month is not None


def list_breaches(option: Option, limits: Limits) -> tuple[str, ...]:
    """Why limits rule an option out, a phrase each.

    >>> list_breaches(Option("api", "An API", None), Limits(residency="premises"))
    ('data must stay on your premises',)
    """
    out = []
    if option.kind != "own":
        if limits.no_third_party:
            out.append("a third party would hold the data")
        if limits.residency == ON_PREMISES:
            out.append("data must stay on your premises")
        elif limits.residency != ANYWHERE and option.region.casefold() != limits.residency.casefold():
            where = f"it is in {option.region}" if option.region else "where the provider processes it is not known"
            out.append(f"data must stay in {limits.residency}: {where}")
    first, speed = option.first_token_s, option.tokens_per_s
    if limits.max_first_token_s is not None and first is not None and first.mid > limits.max_first_token_s:
        out.append(f"the first token takes {first.mid:.3g} s, at most {limits.max_first_token_s:g} s are wanted")
    if limits.min_tokens_per_s is not None and speed is not None and speed.mid < limits.min_tokens_per_s:
        out.append(f"a user sees {speed.mid:.3g} tokens/s, at least {limits.min_tokens_per_s:g} are wanted")
    return tuple(out)


def list_unchecked(option: Option, limits: Limits) -> tuple[str, ...]:
    """Limits that nobody can check for this option, a phrase each."""
    out = []
    if limits.max_first_token_s is not None and option.first_token_s is None:
        out.append("time to the first token not known")
    if limits.min_tokens_per_s is not None and option.tokens_per_s is None:
        out.append("tokens/s not known")
    return tuple(out)


def judge_option(option: Option, limits: Limits, tokens_per_day: float) -> JudgedOption:
    """An option's cost at a load and what the limits say to it."""
    band = option.band
    return JudgedOption(
        option,
        band.cost_per_month(tokens_per_day) if band else None,
        band.cost_per_million(tokens_per_day) if band else None,
        list_breaches(option, limits),
        list_unchecked(option, limits),
    )


def judge_options(options: Sequence[Option], limits: Limits, tokens_per_day: float) -> tuple[JudgedOption, ...]:
    """All options: open ones first, the cheapest on top; then unknown costs; those ruled out last."""

    def rank(judged: JudgedOption) -> tuple[bool, bool, float]:
        cost = judged.usd_per_month
        return bool(judged.ruled_out), cost is None, cost.mid if cost else 0.0

    return tuple(sorted((judge_option(o, limits, tokens_per_day) for o in options), key=rank))

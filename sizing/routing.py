"""A hybrid policy: which kinds of requests go to which model, and what that costs together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sizing.cost import CostBand
from sizing.errors import BadInputError
from sizing.throughput import Interval

Target = Literal["local-small", "local-large", "api"]
TARGETS: tuple[Target, ...] = ("local-small", "local-large", "api")
TARGET_WORDS: dict[Target, str] = {
    "local-small": "Small model here",
    "local-large": "Large model here",
    "api": "API",
}

MAX_CLASSES = 20
MAX_NAME_CHARACTERS = 40
MAX_TEXT_CHARACTERS = 200
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class RequestClass:
    """One kind of request: its share of all tokens (0 to 1) and where it goes.

    `is_sensitive` data never goes to an API, whatever it costs.
    """

    name: str
    share: float
    target: Target
    is_sensitive: bool = False
    description: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or len(self.name) > MAX_NAME_CHARACTERS:
            raise BadInputError(
                f"a request class wants a name of small letters, digits and -, at most {MAX_NAME_CHARACTERS}, "
                f"got {self.name[:60]!r}"
            )
        if not 0 <= self.share <= 1:
            raise BadInputError(f"the share of {self.name} wants a number from 0 to 1, got {self.share!r}")
        if self.target not in TARGETS:
            raise BadInputError(f"{self.name} wants to go to one of {', '.join(TARGETS)}, got {self.target!r}")
        if len(self.description) > MAX_TEXT_CHARACTERS or not (self.description or " ").isprintable():
            raise BadInputError(
                f"the description of {self.name} wants at most {MAX_TEXT_CHARACTERS} printable characters"
            )
        if self.is_sensitive and self.target == "api":
            raise BadInputError(f"{self.name} holds sensitive data and cannot go to an API; choose a model here")


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """Request classes in the order they are tried, and what stands behind each target (a model's name)."""

    classes: tuple[RequestClass, ...]
    models: tuple[tuple[Target, str], ...]

    def __post_init__(self) -> None:
        names = [c.name for c in self.classes]
        if not 1 <= len(names) <= MAX_CLASSES:
            raise BadInputError(f"a policy wants 1 to {MAX_CLASSES} request classes, got {len(names)}")
        if len(set(names)) != len(names):
            raise BadInputError(f"request classes want names of their own, got {', '.join(names)}")
        total = sum(c.share for c in self.classes)
        if abs(total - 1) > 1e-6:
            raise BadInputError(f"the shares want to add up to 1, they add up to {total:.6g}")
        behind = dict(self.models)
        if len(behind) != len(self.models) or any(t not in TARGETS for t in behind):
            raise BadInputError(f"models want one entry for each of {', '.join(TARGETS)} at most")
        missing = sorted({c.target for c in self.classes if c.share and not behind.get(c.target)})
        if missing:
            raise BadInputError(f"no model is named for {', '.join(missing)}")

    def share_of(self, target: Target) -> float:
        """The share of all tokens that goes to a target."""
        return min(sum(c.share for c in self.classes if c.target == target), 1.0)


GUIDE_CLASSES = (
    RequestClass("sensitive", 0.2, "local-large", True, "personal or confidential data: never leaves this machine"),
    RequestClass("simple", 0.5, "local-small", False, "high volume: classify, extract, summarise"),
    RequestClass("complex", 0.1, "api", False, "hard reasoning, newest multimodal"),
    RequestClass("other", 0.2, "local-large", False, "everything else"),
)
"""Where to start: personal data stays, volume goes to a small model, the hardest to an API, the rest stays. The shares
are a placeholder for your own traffic."""


@dataclass(frozen=True, slots=True)
class BlendedCost:
    """US$ a month by target (None: unknown) and together (None where one that is used is unknown)."""

    by_target: tuple[tuple[Target, float, Interval | None], ...]
    total: Interval | None


def blend_cost(policy: RoutingPolicy, bands: Mapping[Target, CostBand | None], tokens_per_day: float) -> BlendedCost:
    """What a policy costs: each target carries its share alone, on machines of its own.

    A target that gets nothing costs nothing: no machine is bought for it.
    """
    parts: list[tuple[Target, float, Interval | None]] = []
    for target in TARGETS:
        share = policy.share_of(target)
        band = bands.get(target)
        if not share:
            parts.append((target, 0.0, Interval(0.0, 0.0, 0.0)))
        else:
            parts.append((target, share, band.cost_per_month(tokens_per_day * share) if band else None))
    known = [cost for _, _, cost in parts if cost is not None]
    total = None
    if len(known) == len(parts):
        total = Interval(sum(c.low for c in known), sum(c.mid for c in known), sum(c.high for c in known))
    return BlendedCost(tuple(parts), total)

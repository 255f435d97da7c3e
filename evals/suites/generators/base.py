"""Items and the texts about a suite, before they are written to files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Item:
    """One item before it has an id. `expected` is the value its scorer wants, `recipe` only for built contexts."""

    prompt: str
    scorer: str
    expected: Any
    category: str
    max_tokens: int
    system: str = ""
    recipe: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A suite as its generator knows it: what is said about it and what makes its items from the seed.

    `release` is raised by hand when the meaning of a score changes (prompts, scorer); the version in the task file is
    the release and the first digits of the items' hash, so it changes with any item by itself.
    """

    name: str
    title: str
    measures: str
    does_not_measure: str
    release: int
    seed: int
    chance: float
    make_items: Callable[[int], list[Item]]
    opt_in: bool = False
    takes_context: bool = False
    output_type: str = "generate_until"


def interleave(items: Sequence[Item]) -> list[Item]:
    """The items with their categories mixed evenly, order within a category kept: any first part is a fair sample."""
    sizes: dict[str, int] = {}
    for item in items:
        sizes[item.category] = sizes.get(item.category, 0) + 1
    seen = dict.fromkeys(sizes, 0)
    keyed = []
    for n, item in enumerate(items):
        keyed.append(((seen[item.category] + 0.5) / sizes[item.category], n, item))
        seen[item.category] += 1
    return [item for _, _, item in sorted(keyed, key=lambda entry: entry[:2])]


def write_rows(plan: Plan) -> str:
    """The text of the items file: one JSON object a line, ids by place."""
    lines = []
    for n, item in enumerate(interleave(plan.make_items(plan.seed)), 1):
        row: dict[str, Any] = {
            "id": f"{plan.name}-{n:03d}",
            "prompt": item.prompt,
            "system": item.system,
            "scorer": item.scorer,
            "expected": json.dumps(item.expected, ensure_ascii=False),
            "category": item.category,
            "max_tokens": item.max_tokens,
        }
        if item.recipe is not None:
            row["recipe"] = item.recipe
        lines.append(json.dumps(row, ensure_ascii=False))
    return "\n".join(lines) + "\n"

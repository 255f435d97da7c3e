"""Facts to find in a long text: one alone, one among look-alikes, two or three to join."""

from __future__ import annotations

import hashlib
import random
from typing import Any

from evals.suites.generators.base import Item, Plan
from evals.suites.haystack import build_needle_prompt

SYSTEM = "Answer from the given text, with the value alone and no sentence around it."
MAX_TOKENS = 256
COLOURS = (
    "amber",
    "azure",
    "crimson",
    "ivory",
    "jade",
    "olive",
    "scarlet",
    "silver",
    "violet",
    "teal",
    "umber",
    "coral",
)
VAULTS = ("cabinet", "locker", "strongbox", "drawer", "chest")
FIRST = ("Mirela", "Tobin", "Ansa", "Casimir", "Delphine", "Eskil", "Fenna", "Gaspar", "Ilse", "Jorun", "Kasper", "Liv")
LAST = (
    "Okafor",
    "Lindqvist",
    "Marchetti",
    "Novak",
    "Orsini",
    "Petrov",
    "Quill",
    "Rask",
    "Sato",
    "Tamm",
    "Ueda",
    "Varga",
)
SHIPS = (
    "Heron",
    "Kestrel",
    "Magpie",
    "Osprey",
    "Plover",
    "Swift",
    "Tern",
    "Wagtail",
    "Curlew",
    "Dunlin",
    "Siskin",
    "Avocet",
)
CITIES = (
    "Aldrin",
    "Bexholm",
    "Corvane",
    "Dunmarsh",
    "Elvatown",
    "Farrowick",
    "Gostray",
    "Hartlund",
    "Isemoor",
    "Jorvale",
)
CARGOES = ("cork", "slate", "linseed", "tin", "nutmeg", "wool", "resin", "chalk", "saffron", "copper wire")


def pick_code(chance: random.Random) -> str:
    """A number of six digits."""
    return str(chance.randrange(100_000, 999_999))


def spread(chance: random.Random, texts: list[str], depth: float) -> list[dict[str, Any]]:
    """The first text at `depth`, the others anywhere."""
    return [{"text": texts[0], "depth": round(depth, 3)}] + [
        {"text": text, "depth": round(chance.random(), 3)} for text in texts[1:]
    ]


def make_single(chance: random.Random, depth: float) -> Item:
    """One fact, nothing like it beside."""
    colour, vault, code = chance.choice(COLOURS), chance.choice(VAULTS), pick_code(chance)
    facts = spread(chance, [f"The code of the {colour} {vault} is {code}."], depth)
    question = f"What is the code of the {colour} {vault}?"
    return make_needle(chance, "one fact", facts, question, code, [])


def make_among_others(chance: random.Random, depth: float) -> Item:
    """One fact among five that differ in one word."""
    vaults = chance.sample([(c, v) for c in COLOURS for v in VAULTS], 1)
    colour, vault = vaults[0]
    others = [(c, vault) for c in chance.sample([c for c in COLOURS if c != colour], 3)]
    others += [(colour, v) for v in chance.sample([v for v in VAULTS if v != vault], 2)]
    codes = [pick_code(chance) for _ in range(6)]
    texts = [f"The code of the {c} {v} is {code}." for (c, v), code in zip([(colour, vault), *others], codes)]
    question = f"What is the code of the {colour} {vault}?"
    return make_needle(chance, "among look-alikes", spread(chance, texts, depth), question, codes[0], codes[1:])


def make_two_hops(chance: random.Random, depth: float) -> Item:
    """A person's ship, and the ship's cargo."""
    people = [f"{a} {b}" for a, b in zip(chance.sample(FIRST, 3), chance.sample(LAST, 3))]
    ships, cargoes = chance.sample(SHIPS, 3), chance.sample(CARGOES, 3)
    texts = [f"The captain of the {ship} is {person}." for person, ship in zip(people, ships)]
    texts = [texts[0], *(f"The {ship} carries {cargo}." for ship, cargo in zip(ships, cargoes)), *texts[1:]]
    question = f"What does the ship of captain {people[0]} carry?"
    return make_needle(chance, "two facts to join", spread(chance, texts, depth), question, cargoes[0], cargoes[1:])


def make_three_hops(chance: random.Random, depth: float) -> Item:
    """A cargo's ship, the ship's captain, the captain's birthplace."""
    people = [f"{a} {b}" for a, b in zip(chance.sample(FIRST, 3), chance.sample(LAST, 3))]
    ships, cargoes, cities = chance.sample(SHIPS, 3), chance.sample(CARGOES, 3), chance.sample(CITIES, 3)
    texts = [f"The captain of the {ship} is {person}." for person, ship in zip(people, ships)]
    texts += [f"The {ship} carries {cargo}." for ship, cargo in zip(ships, cargoes)]
    texts += [f"{person} was born in {city}." for person, city in zip(people, cities)]
    question = f"In which town was the captain of the ship that carries {cargoes[0]} born?"
    return make_needle(chance, "three facts to join", spread(chance, texts, depth), question, cities[0], cities[1:])


def make_needle(
    chance: random.Random, level: str, facts: list[dict[str, Any]], question: str, answer: str, traps: list[str]
) -> Item:
    """An item with its recipe; the hash of a sample text makes the suite's version follow the filler too."""
    recipe: dict[str, Any] = {"seed": chance.randrange(2**31), "facts": facts}
    sample = build_needle_prompt(recipe, question, 1024)
    recipe["sample_sha256"] = hashlib.sha256(sample.encode()).hexdigest()[:16]
    return Item(question, "grounded", {"answers": [answer], "traps": traps}, level, MAX_TOKENS, SYSTEM, recipe)


MAKERS = ((make_single, 40), (make_among_others, 40), (make_two_hops, 40), (make_three_hops, 30))
GOLDEN_STEP = 0.618033988749895
"""Depths step by the golden ratio: any first part of a level covers the whole length about evenly."""


def make_items(seed: int) -> list[Item]:
    """All items, the depth of the asked fact spread over the whole length within each level."""
    chance = random.Random(seed)
    items = []
    for make, n_items in MAKERS:
        items += [make(chance, (0.5 + i * GOLDEN_STEP) % 1.0) for i in range(n_items)]
    return items


PLANS = (
    Plan(
        name="needle",
        title="Finding facts in a long text",
        measures="Finding one fact, one among look-alikes, and joining two or three, at a chosen context length.",
        does_not_measure="Summaries or understanding of long texts; the filler around the facts has no meaning.",
        release=1,
        seed=5104,
        chance=0.0,
        make_items=make_items,
        takes_context=True,
    ),
)

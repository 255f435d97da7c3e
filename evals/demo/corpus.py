"""The demonstration model's text: questions with one right answer, generated from a seed.

Five skills, each judged by its exact answer. Every item has a key, and the key alone decides whether the item may be
trained on or is held out: the two sets cannot meet, whatever the seed. All names and facts are invented here.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass

HELD_OUT_ONE_IN = 10
"""One key in this many is held out."""

HELD_OUT_ONE_IN_FACTS = 4
"""Of the wordings of facts, which are few, more."""

CONSONANTS = "bdfgklmnprstvz"
VOWELS = "aeiou"
COLOURS = ("red", "blue", "green", "white", "black", "gold", "grey", "pink", "brown", "violet")
CROPS = ("wheat", "apples", "rice", "plums", "barley", "beans", "olives", "hops", "pears", "oats", "grapes", "figs")
NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ida", "Jonas", "Karla", "Leo", "Mira")
N_TOWNS = 32
N_RIVERS = 16
WORLD_SEED = 7
"""The invented towns and their facts are drawn once; a corpus seed does not change them."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question. `chance` is the share a guess among the plausible answers gets right; `key` decides the split."""

    skill: str
    prompt: str
    answer: str
    chance: float
    key: str

    @property
    def is_held_out(self) -> bool:
        """True where the item may never be trained on: decided by its key alone."""
        one_in = HELD_OUT_ONE_IN_FACTS if self.skill == "facts" else HELD_OUT_ONE_IN
        return int.from_bytes(hashlib.sha256(f"{self.skill}:{self.key}".encode()).digest()[:4]) % one_in == 0

    def is_answered_by(self, text: str) -> bool:
        """Whether `text` is the right answer: equal but for outer spaces; for JSON, the same object in any spelling."""
        if self.skill != "json":
            return text.strip() == self.answer
        try:
            said: object = json.loads(text)
        except (ValueError, RecursionError):
            return False
        return bool(said == json.loads(self.answer))


@dataclass(frozen=True, slots=True)
class Town:
    """An invented town and what is true of it."""

    name: str
    river: str
    colour: str
    crop: str
    founded: int


def invent_word(chance: random.Random, n_syllables: int) -> str:
    """A word nobody uses, of consonant-vowel syllables."""
    return "".join(chance.choice(CONSONANTS) + chance.choice(VOWELS) for _ in range(n_syllables))


def invent_world() -> tuple[Town, ...]:
    """The towns, the same in every corpus; no name occurs twice."""
    chance = random.Random(WORLD_SEED)
    names: list[str] = []
    while len(names) < N_TOWNS + N_RIVERS:
        name = invent_word(chance, 2).capitalize() + chance.choice("lnrsk")
        if name not in names:
            names.append(name)
    rivers = names[N_TOWNS:]
    return tuple(
        Town(name, chance.choice(rivers), chance.choice(COLOURS), chance.choice(CROPS), chance.randrange(1100, 1900))
        for name in names[:N_TOWNS]
    )


WORLD = invent_world()

FACT_QUESTIONS = {
    "river": (
        "Which river flows through {town}?",
        "What is the river of {town}?",
        "{town} lies on which river?",
        "Name the river of {town}.",
        "Tell me the river in {town}.",
    ),
    "colour": (
        "What colour is the flag of {town}?",
        "Which colour has the flag of {town}?",
        "The flag of {town} has which colour?",
        "Name the colour of the flag of {town}.",
        "Tell me the flag colour of {town}.",
    ),
    "crop": (
        "What is grown in {town}?",
        "Which crop is grown in {town}?",
        "{town} grows which crop?",
        "Name the crop of {town}.",
        "Tell me the crop grown in {town}.",
    ),
    "founded": (
        "In which year was {town} founded?",
        "When was {town} founded?",
        "{town} was founded in which year?",
        "Name the year in which {town} was founded.",
        "Tell me the founding year of {town}.",
    ),
}
FACT_CHANCE = {"river": 1 / N_RIVERS, "colour": 1 / len(COLOURS), "crop": 1 / len(CROPS), "founded": 1 / 800}


def make_arithmetic(chance: random.Random) -> Item:
    """A sum of two numbers below 100. Held out as a pair, whatever its order and wording."""
    a, b = chance.randrange(100), chance.randrange(100)
    prompt = chance.choice(("{} + {} =", "What is {} + {}?")).format(a, b)
    return Item("arithmetic", prompt, str(a + b), 1 / 199, f"{min(a, b)} {max(a, b)}")


def make_fact(chance: random.Random) -> Item:
    """A fact of an invented town. Facts are trained in some wordings and held out in others."""
    town, kind = chance.choice(WORLD), chance.choice(tuple(FACT_QUESTIONS))
    prompt = chance.choice(FACT_QUESTIONS[kind]).format(town=town.name)
    return Item("facts", prompt, str(getattr(town, kind)), FACT_CHANCE[kind], prompt)


def make_copy(chance: random.Random) -> Item:
    """Two to five invented words to repeat."""
    text = " ".join(invent_word(chance, chance.choice((2, 2, 3))) for _ in range(chance.randint(2, 5)))
    return Item("copying", chance.choice(("Repeat: {}", "Copy this: {}")).format(text), text, 0.0, text)


def make_json(chance: random.Random) -> Item:
    """Two or three fields to write as a JSON object, in the order given."""
    fields: dict[str, str | int] = {
        "name": chance.choice(NAMES),
        "age": chance.randrange(10, 100),
        "town": chance.choice(WORLD).name,
        "colour": chance.choice(COLOURS),
        "code": invent_word(chance, 2),
    }
    kinds = chance.sample(list(fields), chance.randint(2, 3))
    said = ", ".join(f"{kind} {fields[kind]}" for kind in kinds)
    return Item("json", f"Write as JSON: {said}", json.dumps({kind: fields[kind] for kind in kinds}), 0.0, said)


def make_instruction(chance: random.Random) -> Item:
    """A short order: the first, last or number of some words, their reverse order, the larger of two numbers."""
    order = chance.choice(("first", "last", "count", "reverse", "larger"))
    if order == "larger":
        a, b = chance.sample(range(100), 2)
        return Item(
            "instructions", f"Which is larger, {a} or {b}?", str(max(a, b)), 0.5, f"larger {min(a, b)} {max(a, b)}"
        )
    words = [invent_word(chance, 2) for _ in range(chance.randint(2, 4))]
    text = " ".join(words)
    prompt, answer, guess = {
        "first": (f"Give the first word: {text}", words[0], 1 / len(words)),
        "last": (f"Give the last word: {text}", words[-1], 1 / len(words)),
        "count": (f"Count the words: {text}", str(len(words)), 1 / 3),
        "reverse": (f"Reverse the word order: {text}", " ".join(reversed(words)), 0.0),
    }[order]
    return Item("instructions", prompt, answer, guess, f"{order} {text}")


SKILLS: dict[str, Callable[[random.Random], Item]] = {
    "arithmetic": make_arithmetic,
    "facts": make_fact,
    "copying": make_copy,
    "json": make_json,
    "instructions": make_instruction,
}
TRAINING_SHARES = {"arithmetic": 30, "facts": 26, "copying": 12, "json": 12, "instructions": 20}
"""How often a skill is drawn for training, in percent: sums and facts need the most examples."""


def list_training_items(seed: int, n_items: int) -> list[Item]:
    """`n_items` items for training, in the order of the draw; none of them is held out. They may repeat."""
    chance = random.Random(seed)
    skills, shares = list(TRAINING_SHARES), list(TRAINING_SHARES.values())
    items: list[Item] = []
    while len(items) < n_items:
        item = SKILLS[chance.choices(skills, shares)[0]](chance)
        if not item.is_held_out:
            items.append(item)
    return items


def list_held_out_items(skill: str, n_items: int, seed: int = 1) -> list[Item]:
    """The first `n_items` different held-out items of one skill under this seed; fewer where a skill has no more."""
    chance = random.Random(f"{seed}:{skill}")
    items: dict[str, Item] = {}
    for _ in range(n_items * HELD_OUT_ONE_IN * 20):
        item = SKILLS[skill](chance)
        if item.is_held_out:
            items.setdefault(item.prompt, item)
        if len(items) == n_items:
            break
    return list(items.values())

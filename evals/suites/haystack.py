# ruff: noqa: E501 (a list of phrases stands as it is)
"""Long contexts built on the spot: varied prose of no meaning, with the facts of one item laid into it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sizing.errors import BadInputError

CHARACTERS_A_TOKEN = 4
"""The estimate where nobody counts tokens."""

TEMPLATE_TOKENS = 48
"""Left free for what a chat template adds."""

PLACES = tuple(
    "the harbour|the old mill|the north gate|a narrow lane|the market hall|the weather station|the ferry landing|the "
    "orchard|the tram depot|the quarry|the reading room|the upper bridge|the greenhouse|the signal box|the boathouse|the "
    "brickworks|the cattle pen|the stone quay|the bell tower|the drying loft".split("|")
)
PEOPLE = tuple(
    "the clerk|a retired pilot|two surveyors|the baker's daughter|a travelling tailor|the night guard|an apprentice|the "
    "beekeeper|a group of students|the ferryman|a widow from the coast|the new teacher|a glassblower|the road crew|an old "
    "cellist|the postmistress|three cousins|a visiting botanist|the caretaker|the youngest carpenter".split("|")
)
ACTS = tuple(
    "counted the crates again|argued about the weather|repaired a cracked window|waited for the late bus|wrote a long "
    "letter home|carried sacks of grain upstairs|painted the railing grey|compared two faded maps|fed the stray cats|swept "
    "the leaves into heaps|tuned a borrowed violin|sorted buttons by colour|listened to the rain|boiled water for "
    "tea|untangled the fishing nets|tested the new lantern|read the notices aloud|polished the brass plate|sketched the "
    "far hills|looked for a lost glove".split("|")
)
TIMES = tuple(
    "Early in the morning|Shortly before noon|On a windy afternoon|Late in the evening|After the first frost|During the "
    "quiet season|Once the fog had lifted|While the shops were closed|On the second day|A little later|As so often in "
    "spring|When the lamps were lit|Between two showers|Long after midnight".split("|")
)
ENDINGS = tuple(
    "and nobody found it strange|though it took longer than planned|because there was little else to do|as the custom "
    "had always been|which pleased the neighbours|until the light was gone|and said nothing more of it|while a dog barked "
    "somewhere|so that the work was half done by dusk|without hurry|and then went home on foot|although the door stayed "
    "shut|for the third time that week|and a few onlookers nodded".split("|")
)
REMARKS = tuple(
    "The air smelled of tar and wet wood.|Prices had gone up a little, as they tend to.|Somebody had left a bicycle "
    "against the wall.|From the hill one could hear a train.|The paint was older than most of the people there.|It was "
    "not the kind of day that ends up in a diary.|Such things were settled slowly in those parts.|A flock of starlings "
    "turned over the roofs.|Nothing in the ledger hinted at it.|The path was muddy up to the second stile.|Most windows "
    "were still dark.|There was talk of a festival, but no date.".split("|")
)


def make_sentence(chance: random.Random) -> str:
    """One sentence of filler; it holds no number, so that a fact's figures are its own."""
    if chance.random() < 0.2:
        return chance.choice(REMARKS)
    time, person, act, place = (chance.choice(words) for words in (TIMES, PEOPLE, ACTS, PLACES))
    shape = chance.randrange(4)
    if shape == 0:
        return f"{time} {person} {act} near {place}, {chance.choice(ENDINGS)}."
    if shape == 1:
        return f"Near {place} {person} {act}, {chance.choice(ENDINGS)}."
    if shape == 2:
        other, act_too = chance.choice(PEOPLE), chance.choice(ACTS)
        return f"{time} {person} {act}, and by {place} {other} {act_too}."
    return f"{person[0].upper()}{person[1:]} {act} by {place}, {chance.choice(ENDINGS)}."


def make_paragraph(chance: random.Random) -> str:
    """Three to six sentences."""
    return " ".join(make_sentence(chance) for _ in range(chance.randint(3, 6)))


def estimate_tokens(text: str) -> int:
    """Tokens of a text at `CHARACTERS_A_TOKEN`, rounded up."""
    return -(-len(text) // CHARACTERS_A_TOKEN)


def make_filler(seed: int, room: int, count: Callable[[str], int]) -> list[str]:
    """Paragraphs that together count at most `room` tokens, drawn from the seed."""
    chance = random.Random(seed)
    paragraphs: list[str] = []
    used = 0
    while True:
        paragraph = make_paragraph(chance)
        n = count(paragraph + "\n\n")
        if used + n > room:
            return paragraphs
        paragraphs.append(paragraph)
        used += n


def lay_facts(paragraphs: Sequence[str], facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The paragraphs with each fact as one of its own at its `depth`: 0 is the beginning, 1 the end."""
    laid = list(paragraphs)
    for fact in sorted(facts, key=lambda fact: float(fact["depth"]), reverse=True):
        laid.insert(round(float(fact["depth"]) * len(paragraphs)), str(fact["text"]))
    return laid


def build_needle_prompt(
    recipe: Mapping[str, Any], question: str, context_tokens: int, count_tokens: Callable[[str], int] | None = None
) -> str:
    """The prompt of one item: an introduction, filler with the recipe's facts laid in, and the question.

    It counts at most `context_tokens` less `TEMPLATE_TOKENS` by `count_tokens` (by four characters a token where there
    is none) and fills that up to about a paragraph. The same arguments give the same text. Raises BadInputError where
    the facts alone do not fit.
    """
    count = count_tokens or estimate_tokens
    opening = "Read the following text. A question about it comes at the end.\n\n"
    facts = "\n\n".join(str(fact["text"]) for fact in recipe["facts"])
    closing = f"\n\nEnd of the text.\n\n{question}"
    room = context_tokens - TEMPLATE_TOKENS
    left = room - count(opening + facts + closing) - 2 * len(recipe["facts"])
    if left < 0:
        raise BadInputError(f"context_tokens leaves no room for the facts of this item: {context_tokens!r}")
    paragraphs = make_filler(int(recipe["seed"]), left, count)
    while True:
        prompt = opening + "\n\n".join(lay_facts(paragraphs, recipe["facts"])) + closing
        excess = count(prompt) - room
        if excess <= 0 or not paragraphs:
            return prompt
        # joined paragraphs may count a little more than apart
        paragraphs = paragraphs[: max(0, len(paragraphs) - 1 - excess // 120)]

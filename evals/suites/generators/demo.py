"""The demonstration model's own small world: its held-out questions, to be written out or chosen among."""

from __future__ import annotations

import json
import random
from itertools import permutations

from evals.demo.corpus import SKILLS, WORLD, list_held_out_items
from evals.demo.corpus import Item as Question
from evals.suites.generators.base import Item, Plan

MAX_TOKENS = 48
PER_SKILL = 40
PER_CHOICE_SKILL = 75
CORPUS_SEED = 1
N_CHOICES = 4
FACT_KINDS = {"river": "river", "colour": "colour", "flag": "colour", "crop": "crop", "grown": "crop", "grows": "crop"}


def make_items(seed: int) -> list[Item]:
    """Forty held-out questions of each skill."""
    items = []
    for skill in SKILLS:
        for question in list_held_out_items(skill, PER_SKILL, CORPUS_SEED):
            is_json = skill == "json"
            expected = (
                json.loads(question.answer) if is_json else {"answers": [question.answer], "case_sensitive": True}
            )
            items.append(Item(question.prompt, "json_equal" if is_json else "exact", expected, skill, MAX_TOKENS))
    return items


def list_wrong_answers(question: Question) -> list[str]:
    """Answers of the right kind that are wrong, at least one."""
    if question.skill == "facts":
        kind = next(
            (kind for word, kind in FACT_KINDS.items() if word in question.prompt.split("?")[0].split()), "founded"
        )
        values = {str(getattr(town, kind)) for town in WORLD}
    elif question.prompt.startswith("Which is larger"):
        values = set(question.prompt.removeprefix("Which is larger, ").rstrip("?").split(" or "))
    elif question.prompt.startswith("Count"):
        values = {"2", "3", "4"}
    else:
        words = question.prompt.partition(": ")[2].split()
        is_reversal = question.prompt.startswith("Reverse")
        values = {" ".join(order) for order in permutations(words)} if is_reversal else set(words)
    return sorted(values - {question.answer})


def make_choice_items(seed: int) -> list[Item]:
    """Held-out facts and orders, each with the right answer among up to four."""
    chance = random.Random(seed)
    items = []
    for skill in ("facts", "instructions"):
        for question in list_held_out_items(skill, PER_CHOICE_SKILL, CORPUS_SEED):
            wrong = list_wrong_answers(question)
            choices = [question.answer, *chance.sample(wrong, min(len(wrong), N_CHOICES - 1))]
            chance.shuffle(choices)
            expected = {"letter": chr(ord("A") + choices.index(question.answer)), "choices": choices}
            items.append(Item(question.prompt, "choice", expected, skill, MAX_TOKENS))
    return items


PLANS = (
    Plan(
        name="demo",
        title="The demonstration model's world",
        measures="What Weighbridge Demo was trained for, on questions kept from it. Only that model knows this world.",
        does_not_measure="Anything about any other model: its facts are invented and told to nobody else.",
        release=1,
        seed=5105,
        chance=0.08,
        make_items=make_items,
    ),
    Plan(
        name="demo_choice",
        title="The demonstration model's world, multiple choice",
        measures="The right answer among up to four by log-likelihood. Only Weighbridge Demo knows this world.",
        does_not_measure="Anything about any other model: its facts are invented and told to nobody else.",
        release=1,
        seed=5106,
        chance=0.315,
        make_items=make_choice_items,
        output_type="multiple_choice",
    ),
)

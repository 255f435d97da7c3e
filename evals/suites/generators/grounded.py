# ruff: noqa: E501 (a text and its data stand on one line)
"""Questions to a passage about invented places and firms; about a third have no answer in it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from evals.suites.generators.base import Item, Plan

MAX_TOKENS = 256
SYSTEM = (
    "Answer the question from the passage alone, with the answer and no sentence around it. If the passage does not "
    'give the answer, say exactly: "Not in the passage."'
)
SYLLABLES = "bra vel mor tan quil sed har lom fen gar wick dal os per tun mar lis kor ven ald".split()
FIRST = (
    "Aurelia",
    "Bertil",
    "Cosima",
    "Dag",
    "Evander",
    "Florin",
    "Gudrun",
    "Hedda",
    "Isidor",
    "Jutta",
    "Kilian",
    "Lorna",
)
LAST = (
    "Abendroth",
    "Bickford",
    "Castellan",
    "Drummond",
    "Eklund",
    "Fairweather",
    "Granger",
    "Holloway",
    "Ivers",
    "Jessop",
)
STONES = ("slate", "sandstone", "granite", "red brick", "limestone", "oak")
GOODS = ("bells", "ropes", "umbrellas", "clocks", "saddles", "lenses", "organ pipes", "kites", "lanterns", "gloves")
COLOURS = ("green", "yellow", "dark blue", "orange", "white", "purple")


@dataclass(frozen=True, slots=True)
class Fact:
    """A kind of fact: how it is told (two ways), how it is asked, and what values it has."""

    key: str
    told: tuple[str, ...]
    asked: str
    values: tuple[str, ...] = ()
    is_year: bool = False
    is_count: bool = False
    is_person: bool = False


TOWN_FACTS = (
    Fact(
        "founded",
        ("{n} received its charter in {v}.", "The charter of {n} dates from {v}."),
        "In which year did {n} receive its charter?",
        is_year=True,
    ),
    Fact(
        "people",
        ("About {v} people live in {n} today.", "{n} counts {v} inhabitants."),
        "How many people live in {n}?",
        is_count=True,
    ),
    Fact(
        "mayor",
        ("{v} has been mayor of {n} since the last vote.", "The mayor of {n} is called {v}."),
        "Who is the mayor of {n}?",
        is_person=True,
    ),
    Fact(
        "hall",
        ("The town hall of {n} is built of {v}.", "Visitors to {n} notice that its town hall is all {v}."),
        "What is the town hall of {n} built of?",
        STONES,
    ),
    Fact(
        "bridge",
        ("The bridge at {n} was finished in {v}.", "Since {v} a bridge has crossed the river at {n}."),
        "In which year was the bridge at {n} finished?",
        is_year=True,
    ),
    Fact(
        "known",
        ("Far beyond the valley {n} is known for its {v}.", "Most families in {n} once made {v}."),
        "What is {n} known for making?",
        GOODS,
    ),
    Fact(
        "bus",
        ("The buses of {n} are {v}.", "In {n} every bus is painted {v}."),
        "What colour are the buses of {n}?",
        COLOURS,
    ),
)
FIRM_FACTS = (
    Fact("started", ("{n} was started in {v}.", "Over the door of {n} one reads {v}, the year it was started."), "In which year was {n} started?", is_year=True),
    Fact("staff", ("{n} employs {v} people.", "The payroll of {n} lists {v} names."), "How many people does {n} employ?", is_count=True),
    Fact("founder", ("{n} goes back to {v}, who sold the first pieces from a handcart.", "The founder of {n} was {v}."), "Who founded {n}?", is_person=True),
    Fact("makes", ("{n} makes {v} and nothing else.", "From the workshops of {n} come {v}."), "What does {n} make?", GOODS),
    Fact("head", ("Today {v} runs {n}.", "{n} is now led by {v}."), "Who runs {n} today?", is_person=True),
    Fact("van", ("The vans of {n} are {v}.", "One knows {n} by its {v} vans."), "What colour are the vans of {n}?", COLOURS),
    Fact("moved", ("In {v} {n} moved to its present building.", "The present building has housed {n} since {v}."), "In which year did {n} move to its present building?", is_year=True),
)  # fmt: skip
FILLERS = (
    "The road between them is steep and often closed in winter.", "A short film about both was shown last autumn.",
    "Older visitors come mostly for the quiet.", "Not everyone agrees on what should be kept.",
    "The local paper has written about it more than once.", "Guided walks begin at the fountain.",
    "School classes are welcome on weekdays.", "There are plans, but no money for them.",
)  # fmt: skip
HARDER = (
    ("age", "How old is the mayor or head of {n}?"), ("twin", "With which foreign town does {n} have a partnership?"),
    ("cost", "How much did the last repair at {n} cost?"), ("anthem", "Who wrote the song of {n}?"),
    ("holiday", "On which day does {n} stay closed?"), ("phone", "What is the telephone number of {n}?"),
)  # fmt: skip


def invent_name(chance: random.Random, taken: set[str], ending: str = "") -> str:
    """A name nobody has, not like one taken."""
    while True:
        name = "".join(chance.sample(SYLLABLES, 2)).capitalize() + ending
        if name[:3] not in {other[:3] for other in taken}:
            taken.add(name)
            return name


def draw_value(chance: random.Random, fact: Fact, used: set[str]) -> str:
    """A value of this kind that nothing else in the passage has."""
    while True:
        if fact.is_year:
            value = str(chance.randrange(1640, 1990))
        elif fact.is_count:
            n = chance.randrange(120, 9800)
            value = f"{n:,}"
        elif fact.is_person:
            value = f"{chance.choice(FIRST)} {chance.choice(LAST)}"
        else:
            value = chance.choice(fact.values)
        if value not in used:
            used.add(value)
            return value


@dataclass(slots=True)
class Passage:
    """Two named things, what is told of each, and the text."""

    names: tuple[str, str]
    facts: tuple[dict[str, str], dict[str, str]]
    kinds: dict[str, Fact]
    text: str


def write_passage(chance: random.Random, n_told: int) -> Passage:
    """Two towns or firms with `n_told` kinds of facts each, of which some are told of one alone."""
    is_town = chance.random() < 0.5
    table = TOWN_FACTS if is_town else FIRM_FACTS
    taken: set[str] = set()
    endings = ("", "") if is_town else (" & Sons", " Works")
    names = (invent_name(chance, taken, endings[0]), invent_name(chance, taken, endings[1]))
    used: set[str] = set()
    told = [chance.sample(table, n_told) for _ in range(2)]
    facts = tuple({fact.key: draw_value(chance, fact, used) for fact in some} for some in told)
    kinds = {fact.key: fact for fact in table}
    sentences = [
        chance.choice(kinds[key].told).format(n=name, v=value)
        for name, some in zip(names, facts)
        for key, value in some.items()
    ]
    sentences += chance.sample(FILLERS, 2)
    chance.shuffle(sentences)
    opening = (
        f"{names[0]} and {names[1]} are two {'towns of the same valley' if is_town else 'firms of the same street'}."
    )
    return Passage(names, (facts[0], facts[1]), kinds, " ".join([opening, *sentences]))


def list_answers(fact: Fact, value: str) -> list[str]:
    """The value; for a person, the last name alone as well."""
    return [value, value.split()[1]] if fact.is_person else [value]


def ask(passage: Passage, question: str, answers: list[str], traps: list[str], level: str) -> Item:
    """One item on a passage."""
    expected = {"answers": answers, "traps": traps}
    return Item(f"Passage:\n{passage.text}\n\nQuestion: {question}", "grounded", expected, level, MAX_TOKENS, SYSTEM)


def make_stated(chance: random.Random) -> Item | None:
    """A fact told of one, nothing of the kind told of the other."""
    passage = write_passage(chance, 3)
    mine, other = passage.facts
    free = sorted(mine.keys() - other.keys())
    if not free:
        return None
    key = chance.choice(free)
    fact = passage.kinds[key]
    return ask(passage, fact.asked.format(n=passage.names[0]), list_answers(fact, mine[key]), [], "stated")


def make_beside(chance: random.Random) -> Item | None:
    """A fact told of both; the other's value is the trap."""
    passage = write_passage(chance, 5)
    shared = sorted(passage.facts[0].keys() & passage.facts[1].keys())
    if not shared:
        return None
    key, i = chance.choice(shared), chance.randrange(2)
    fact, trap = passage.kinds[key], passage.facts[1 - i][key]
    traps = [] if fact.is_person else [trap]
    answers = list_answers(fact, passage.facts[i][key])
    if fact.is_person and trap.split()[1] == answers[1]:
        return None
    return ask(passage, fact.asked.format(n=passage.names[i]), answers, traps, "one of two")


def make_compared(chance: random.Random) -> Item | None:
    """Two numbers or years compared, or an age worked out: two facts to join."""
    passage = write_passage(chance, 5)
    both = [
        k
        for k in sorted(passage.facts[0].keys() & passage.facts[1].keys())
        if passage.kinds[k].is_year or passage.kinds[k].is_count
    ]
    if not both:
        return None
    key = chance.choice(both)
    fact = passage.kinds[key]
    a, b = (int(some[key].replace(",", "")) for some in passage.facts)
    if chance.random() < 0.5:
        what = "How many years lie between" if fact.is_year else "What is the difference between"
        question = f"{what} the two answers to this question: {fact.asked.format(n='each of the two')}"
        return ask(passage, question, [f"{abs(a - b):,}"], [], "two facts to join")
    first, order = (0 if a < b else 1), ("earlier" if fact.is_year else "smaller")
    question = f"For which of the two is the answer to this question the {order} one: {fact.asked.format(n='it')} Give its name."
    names = passage.names
    short = [names[first], names[first].split()[0]]
    return ask(passage, question, short, [names[1 - first].split()[0]], "two facts to join")


def make_unstated(chance: random.Random) -> Item | None:
    """Something the passage says nothing of at all."""
    passage = write_passage(chance, 4)
    question = chance.choice(HARDER)[1].format(n=chance.choice(passage.names))
    return ask(passage, question, [], [], "not in the passage")


def make_unstated_beside(chance: random.Random) -> Item | None:
    """A fact told of the other alone."""
    passage = write_passage(chance, 4)
    i = chance.randrange(2)
    missing = sorted(passage.facts[1 - i].keys() - passage.facts[i].keys())
    if not missing:
        return None
    fact = passage.kinds[chance.choice(missing)]
    return ask(passage, fact.asked.format(n=passage.names[i]), [], [], "told of the other alone")


MAKERS = ((make_stated, 30), (make_beside, 40), (make_compared, 36), (make_unstated, 22), (make_unstated_beside, 32))


def make_items(seed: int) -> list[Item]:
    """All items; no prompt occurs twice."""
    chance = random.Random(seed)
    items: dict[str, Item] = {}
    for make, n_items in MAKERS:
        wanted = len(items) + n_items
        while len(items) < wanted:
            item = make(chance)
            if item is not None:
                items.setdefault(item.prompt, item)
    return list(items.values())


PLANS = (
    Plan(
        name="grounded",
        title="Answers from a passage",
        measures="Answering from a given passage alone, and saying so where it holds no answer (a third of the items).",
        does_not_measure="Retrieval, citations, long documents; the passages are short and about invented things.",
        release=1,
        seed=5109,
        chance=0.0,
        make_items=make_items,
    ),
)

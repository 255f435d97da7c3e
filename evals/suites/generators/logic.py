# ruff: noqa: E501 (a text and its data stand on one line)
"""Ordering and logic puzzles, each with exactly one answer.

A puzzle is kept as data beside its text: the candidates for every unknown and the clues as small tuples. `solve` tries
every arrangement, so uniqueness is proven when the item is made and again in the tests, from the data alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import permutations, product
from typing import Any

from evals.suites.generators.base import Item, Plan

ENDING = '\n\nEnd your reply with "Answer: " and the answer alone.'
RUNNERS = ("Ada", "Bruno", "Chloe", "Dmitri", "Esra", "Finn", "Gita", "Hakim")
BOOKS = (
    "the red book",
    "the blue book",
    "the green book",
    "the grey book",
    "the white book",
    "the brown book",
    "the black book",
)
DRINKS = ("tea", "coffee", "milk", "juice", "water")
PETS = ("a cat", "a dog", "a parrot", "a hamster", "a tortoise")
MAX_TOKENS = 1024

Clue = tuple[Any, ...]


def holds(clue: Clue, place: dict[str, int]) -> bool:
    """Whether a clue is true where `place` gives the position of each thing, from 1."""
    kind, *names = clue
    if kind == "before":
        return place[names[0]] < place[names[1]]
    if kind == "right_before":
        return place[names[0]] + 1 == place[names[1]]
    if kind == "not_next":
        return abs(place[names[0]] - place[names[1]]) != 1
    if kind == "next":
        return abs(place[names[0]] - place[names[1]]) == 1
    if kind == "same":
        return place[names[0]] == place[names[1]]
    if kind == "different":
        return place[names[0]] != place[names[1]]
    if kind == "at":
        return bool(place[names[0]] == names[1])
    if kind == "not_at":
        return bool(place[names[0]] != names[1])
    if kind == "between":
        return (
            place[names[1]] < place[names[0]] < place[names[2]] or place[names[2]] < place[names[0]] < place[names[1]]
        )
    raise ValueError(f"no such clue: {kind!r}")


def solve_order(rows: Sequence[Sequence[str]], clues: Sequence[Clue]) -> list[dict[str, int]]:
    """Every arrangement of each row of things on places 1 to n that keeps all clues, by trying all."""
    found = []
    for orders in product(*(permutations(row) for row in rows)):
        place = {name: i for order in orders for i, name in enumerate(order, 1)}
        if all(holds(clue, place) for clue in clues):
            found.append(place)
    return found


def solve_liars(n: int, statements: Sequence[Clue]) -> list[tuple[bool, ...]]:
    """Every way to be truthful (True) or a liar under which truthful people say true things and liars false ones."""
    return [
        people
        for people in product((True, False), repeat=n)
        if all(people[speaker] == is_true(said, people) for speaker, said in enumerate(statements))
    ]


def is_true(said: Clue, people: tuple[bool, ...]) -> bool:
    """Whether a statement about who is truthful is true."""
    kind, *rest = said
    if kind == "lies":
        return not people[rest[0]]
    if kind == "truthful":
        return people[rest[0]]
    if kind == "same":
        return people[rest[0]] == people[rest[1]]
    if kind == "exactly":
        return bool(sum(not person for person in people) == rest[0])
    raise ValueError(f"no such statement: {kind!r}")


def pick_clues(chance: random.Random, rows: Sequence[Sequence[str]], pool: list[Clue]) -> list[Clue] | None:
    """True clues until one arrangement is left, then those that are not needed taken out again; None where none is."""
    chance.shuffle(pool)
    clues: list[Clue] = []
    everything = candidates = solve_order(rows, [])
    for clue in pool:
        left = [place for place in candidates if holds(clue, place)]
        if len(left) < len(candidates):
            clues.append(clue)
            candidates = left
        if len(candidates) == 1:
            break
    if len(candidates) != 1:
        return None
    for clue in list(clues):
        rest = [other for other in clues if other != clue]
        if sum(all(holds(one, place) for one in rest) for place in everything) == 1:
            clues = rest
    return clues


def tell_race(clue: Clue) -> str:
    """A clue about a race as a sentence."""
    kind, *n = clue
    return {
        "before": "{0} finished before {1}.",
        "right_before": "{1} finished right after {0}.",
        "not_next": "{0} and {1} did not finish one right after the other.",
        "not_at": "{0} did not finish in place {1}.",
        "between": "{0} finished somewhere between {1} and {2}.",
    }[kind].format(*n)


def make_race(chance: random.Random, n: int) -> Item:
    """An order of finish from comparisons; the question is one place or the whole order."""
    names = chance.sample(RUNNERS, n)
    place = {name: i for i, name in enumerate(names, 1)}
    shown = sorted(names)
    pool: list[Clue] = []
    for a in shown:
        pool += [("not_at", a, i) for i in range(1, n + 1) if n > 4 and place[a] != i]
        for b in shown:
            if a != b:
                kinds = ("before", "not_next") if n > 4 else ("before",)
                pool += [(kind, a, b) for kind in kinds if holds((kind, a, b), place) and (kind != "not_next" or a < b)]
                if holds(("right_before", a, b), place) and chance.random() < 0.3:
                    pool.append(("right_before", a, b))
        pool += [("between", a, b, c) for b in shown for c in shown if b < c and a not in (b, c) and n > 4
                 if holds(("between", a, b, c), place)]  # fmt: skip
    clues = pick_clues(chance, [shown], pool)
    assert clues is not None  # the comparisons alone fix an order
    told = "\n".join(f"- {tell_race(clue)}" for clue in clues)
    asked = chance.randrange(1, n + 1)
    record = {"rows": [shown], "clues": clues}
    if n > 4 and chance.random() < 0.4:
        question = "Name all of them in the order of finish, first to last, separated by commas."
        answer, record["ask"] = ", ".join(names), "order"
    else:
        question, answer, record["ask"] = f"Who finished in place {asked}?", names[asked - 1], asked
    text = f"{n} people ran a race ({', '.join(shown)}), and no two finished together.\n{told}\n{question}{ENDING}"
    level = "order, 4 things" if n == 4 else "order, 5 to 7 things"
    return Item(text, "exact", {"answers": [answer], "puzzle": record}, level, MAX_TOKENS)


def tell_shelf(clue: Clue) -> str:
    """A clue about a shelf as a sentence."""
    kind, *n = clue
    text = {
        "before": "{0} is somewhere to the left of {1}.",
        "next": "{0} and {1} stand next to each other.",
        "not_next": "{0} and {1} do not stand next to each other.",
        "not_at": "{0} is not in position {1} from the left.",
    }[kind].format(*n)
    return text[0].upper() + text[1:]


def make_shelf(chance: random.Random, n: int) -> Item:
    """Books on a shelf from neighbourhoods; the question is what stands at a position."""
    books = chance.sample(BOOKS, n)
    place = {name: i for i, name in enumerate(books, 1)}
    shown = sorted(books)
    pool: list[Clue] = [
        ("before", a, b) for a in shown for b in shown if a != b and place[a] < place[b] and chance.random() < 0.4
    ]
    pool += [
        (kind, a, b)
        for a in shown
        for b in shown
        if a < b
        for kind in ("next", "not_next")
        if holds((kind, a, b), place)
    ]
    pool += [("not_at", a, i) for a in shown for i in range(1, n + 1) if place[a] != i and chance.random() < 0.3]
    clues = pick_clues(chance, [shown], pool)
    if clues is None:
        return make_shelf(chance, n)
    asked = chance.randrange(1, n + 1)
    told = "\n".join(f"- {tell_shelf(clue)}" for clue in clues)
    text = (
        f"{n} books stand in a row on a shelf: {', '.join(shown)}.\n{told}\n"
        f"Which book is in position {asked} from the left?{ENDING}"
    )
    answer = books[asked - 1]
    answers = [answer, answer.removeprefix("the "), answer.removeprefix("the ").removesuffix(" book")]
    record = {"rows": [shown], "clues": clues, "ask": asked}
    return Item(text, "exact", {"answers": answers, "puzzle": record}, "order, 5 to 7 things", MAX_TOKENS)


def make_grid(chance: random.Random, n: int) -> Item:
    """People in houses 1 to n, each with a drink and a pet."""
    rows = [sorted(chance.sample(pool, n)) for pool in (RUNNERS, DRINKS, PETS)]
    orders = [chance.sample(row, n) for row in rows]
    place = {name: i for order in orders for i, name in enumerate(order, 1)}
    pool: list[Clue] = []
    for first, second in ((0, 1), (0, 2), (1, 2)):
        for a in rows[first]:
            for b in rows[second]:
                kinds = ("same", "different", "right_before", "next")
                pool += [(kind, a, b) for kind in kinds if holds((kind, a, b), place)]
    pool += [("at", name, place[name]) for name in chance.sample(sorted(place), 2)]
    clues = pick_clues(chance, rows, pool)
    if clues is None:
        return make_grid(chance, n)
    told = "\n".join(f"- {tell_house(clue, rows)}" for clue in clues)
    thing = chance.choice(rows[1] + rows[2])
    owner = orders[0][place[thing] - 1]
    question = f"Who drinks {thing}?" if thing in rows[1] else f"Who keeps {thing}?"
    text = (
        f"Houses 1 to {n} stand in a row from left to right. In each lives one person: {', '.join(rows[0])}. Each drinks "
        f"one thing ({', '.join(rows[1])}) and keeps one pet ({', '.join(rows[2])}), all different.\n{told}\n"
        f"{question}{ENDING}"
    )
    record = {"rows": rows, "clues": clues, "ask": thing}
    return Item(text, "exact", {"answers": [owner], "puzzle": record}, f"houses, {n}", MAX_TOKENS)


def tell_house(clue: Clue, rows: Sequence[Sequence[str]]) -> str:
    """A clue about the houses as a sentence."""
    kind, a, b = clue

    def person(name: str) -> str:
        if name in rows[0]:
            return name
        return f"the person who drinks {name}" if name in rows[1] else f"the person who keeps {name}"

    def act(name: str) -> str:
        return f"drinks {name}" if name in rows[1] else f"keeps {name}"

    def refuse(name: str) -> str:
        return f"does not drink {name}" if name in rows[1] else f"does not keep {name}"

    text = {
        "same": lambda: f"{person(a)} {act(b)}.",
        "different": lambda: f"{person(a)} {refuse(b)}.",
        "right_before": lambda: f"{person(a)} lives right next to {person(b)}, on the left.",
        "next": lambda: f"{person(a)} lives right next to {person(b)}.",
        "at": lambda: f"{person(a)} lives in house {b}.",
    }[kind]()
    return text[0].upper() + text[1:]


def make_liars(chance: random.Random, n: int) -> Item:
    """Truthful people and liars who speak of each other."""
    names = sorted(chance.sample(RUNNERS, n))
    while True:
        people = tuple(chance.random() < 0.5 for _ in range(n))
        statements = [pick_statement(chance, speaker, people) for speaker in range(n)]
        if len(solve_liars(n, statements)) == 1:
            break
    told = "\n".join(f"- {names[i]} says: {tell_statement(said, names)}" for i, said in enumerate(statements))
    asked = chance.randrange(n)
    text = (
        f"Each of {n} people either always tells the truth or always lies.\n{told}\n"
        f"Does {names[asked]} tell the truth or lie? Answer with one word: truth or lie.{ENDING}"
    )
    answers = ["truth", "tells the truth", "truthful", "truth-teller"] if people[asked] else ["lie", "lies", "liar"]
    record = {"n": n, "statements": statements, "ask": asked}
    return Item(text, "exact", {"answers": answers, "puzzle": record}, "truth and lies", MAX_TOKENS)


def pick_statement(chance: random.Random, speaker: int, people: tuple[bool, ...]) -> Clue:
    """Something this speaker may say: true where truthful, false where a liar."""
    n = len(people)
    others = [i for i in range(n) if i != speaker]
    said: list[Clue] = [("lies", i) for i in others] + [("truthful", i) for i in others]
    said += [("same", i, j) for i in others for j in others if i < j] + [("exactly", k) for k in range(1, n)]
    return chance.choice([one for one in said if is_true(one, people) == people[speaker]])


def tell_statement(said: Clue, names: Sequence[str]) -> str:
    """A statement as a sentence."""
    kind, *rest = said
    if kind == "exactly":
        return f"Exactly {rest[0]} of us {'lies' if rest[0] == 1 else 'lie'}."
    if kind == "same":
        return f"{names[rest[0]]} and {names[rest[1]]} are of the same kind."
    return f"{names[rest[0]]} {'lies' if kind == 'lies' else 'tells the truth'}."


def make_items(seed: int) -> list[Item]:
    """All items, easy kinds first; no text occurs twice."""
    chance = random.Random(seed)
    makers = [(make_race, 4, 36), (make_race, 5, 20), (make_race, 6, 16), (make_shelf, 5, 20), (make_shelf, 6, 8)]
    makers += [(make_grid, 3, 24), (make_grid, 4, 12), (make_liars, 3, 16), (make_liars, 4, 12)]
    items: dict[str, Item] = {}
    for make, n_things, n_items in makers:
        wanted = len(items) + n_items
        while len(items) < wanted:
            item = make(chance, n_things)
            items.setdefault(item.prompt, item)
    return list(items.values())


PLANS = (
    Plan(
        name="logic",
        title="Ordering and logic puzzles",
        measures="Orders, neighbours, houses and liars: finding the only arrangement that keeps all clues.",
        does_not_measure="Common sense, formal proofs, or reasoning about the real world.",
        release=1,
        seed=5102,
        chance=0.26,
        make_items=make_items,
    ),
)

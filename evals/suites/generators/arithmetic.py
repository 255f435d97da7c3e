# ruff: noqa: E501 (a text and its data stand on one line)
"""Sums and word problems. Each item carries, beside its value, an expression that gives it in another way."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from itertools import count
from math import gcd

from evals.suites.generators.base import Item, Plan

ENDING = '\n\nEnd your reply with "Answer: N", where N is the number alone.'
NAMES = ("Anouk", "Bela", "Carmen", "Dario", "Elif", "Farah", "Goran", "Hana", "Ivo", "Jelena", "Kofi", "Lena", "Mina")
THINGS = ("stamps", "marbles", "postcards", "seedlings", "candles", "tiles", "badges", "walnuts", "screws", "tickets")
MAX_TOKENS = 768

Problem = tuple[str, Fraction | int, str]
"""The question, its value found step by step, and a closed expression of the same value."""


def make_sum(chance: random.Random) -> Problem:
    """Two numbers of two or three digits added or subtracted."""
    a, b = chance.randrange(100, 1000), chance.randrange(11, 1000)
    if chance.random() < 0.5:
        return f"What is {a} + {b}?", a + b, f"{a}+{b}"
    return f"What is {a} - {b}?", a - b, f"{a}-{b}"


def make_one_step(chance: random.Random) -> Problem:
    """One operation in a story."""
    name, thing = chance.choice(NAMES), chance.choice(THINGS)
    a, b = chance.randrange(12, 90), chance.randrange(3, 12)
    kind = chance.randrange(3)
    if kind == 0:
        return f"{name} has {a} {thing} and is given {b} more. How many {thing} are there now?", a + b, f"{a}+{b}"
    if kind == 1:
        text = f"{name} packs {a * b} {thing} into bags of {b}. How many bags are filled?"
        return text, len(range(0, a * b, b)), f"{a * b}/{b}"
    text = f"{name} buys {b} boxes with {a} {thing} in each. How many {thing} is that?"
    return text, sum(a for _ in range(b)), f"{a}*{b}"


def make_product(chance: random.Random) -> Problem:
    """A product of two numbers of two or three digits."""
    a, b = chance.randrange(13, 100), chance.randrange(101, 1000)
    return f"What is {a} * {b}?", sum(b for _ in range(a)), f"{a}*{b}"


def make_order_of_operations(chance: random.Random) -> Problem:
    """Mixed operations with brackets."""
    a, b, c, d, e = (chance.randrange(2, 40) for _ in range(5))
    inner = b - c
    value = a * inner + d * e - c
    return f"What is {a} * ({b} - {c}) + {d} * {e} - {c}?", value, f"{a}*({b}-{c})+{d}*{e}-{c}"


def make_two_step(chance: random.Random) -> Problem:
    """Two operations in a story."""
    name, thing = chance.choice(NAMES), chance.choice(THINGS)
    a, b = chance.randrange(6, 25), chance.randrange(6, 25)
    c = chance.randrange(5, a * b - 5)
    if chance.random() < 0.5:
        text = f"{name} fills {a} trays with {b} {thing} each and then sells {c} of them. How many {thing} are left?"
        return text, a * b - c, f"{a}*{b}-{c}"
    price, paid = chance.randrange(3, 15), 20 * chance.randrange(10, 20)
    text = f"A ticket costs {price} euros. {name} buys {a} tickets and pays with {paid} euros. How much change is due?"
    return text, paid - price * a, f"{paid}-{price}*{a}"


def make_percentage(chance: random.Random) -> Problem:
    """A share of a whole, or a price raised and lowered."""
    base, p, q = 200 * chance.randrange(2, 30), 5 * chance.randrange(1, 10), 5 * chance.randrange(1, 8)
    if chance.random() < 0.4:
        whole = 20 * chance.randrange(5, 60)
        return f"What is {p} percent of {whole}?", Fraction(whole * p, 100), f"{whole}*{p}/100"
    raised = base + Fraction(base * p, 100)
    text = (
        f"A machine costs {base} euros. Its price rises by {p} percent and later falls by {q} percent of the new price. "
        "What does it cost in the end, in euros?"
    )
    return text, raised - raised * q / 100, f"{base}*(100+{p})*(100-{q})/10000"


def make_remainder(chance: random.Random) -> Problem:
    """What is left over when packing."""
    size, n = chance.choice((6, 7, 8, 9, 11, 12, 13)), chance.randrange(150, 999)
    left = n
    while left >= size:
        left -= size
    text = f"A farm packs {n} eggs into boxes of {size}. Only full boxes are sold. How many eggs are left over?"
    return text, left, f"{n}%{size}"


def make_distractor(chance: random.Random) -> Problem:
    """A story with numbers that do not matter."""
    shelves, books, lent = chance.randrange(8, 30), chance.randrange(15, 45), chance.randrange(20, 100)
    year, hours = chance.randrange(1890, 1990), chance.randrange(5, 10)
    text = (
        f"A library that opened in {year} has {shelves} shelves with room for {books + 12} books each, but only {books} "
        f"books stand on each. The {hours} rooms are open to all. Today {lent} books are lent out and "
        f"{lent // 4} are brought back. How many books stand on the shelves tonight?"
    )
    return text, shelves * books - lent + lent // 4, f"{shelves}*{books}-{lent}+{lent // 4}"


def make_journey(chance: random.Random) -> Problem:
    """Passengers who board and leave, one stop halving them."""
    a, b, c, d = (
        2 * chance.randrange(40, 90),
        2 * chance.randrange(5, 20),
        2 * chance.randrange(3, 20),
        chance.randrange(3, 30),
    )
    on_board = a - b
    on_board += c
    on_board //= 2
    on_board += d
    text = (
        f"A train leaves with {a} passengers. At the first stop {b} get off and {c} get on. At the second stop half of "
        f"the passengers get off and {d} get on. How many are on the train then?"
    )
    return text, on_board, f"({a}-{b}+{c})/2+{d}"


def make_clock(chance: random.Random) -> Problem:
    """Minutes between two times of a day, a break taken out."""
    start, length = chance.randrange(8 * 60, 12 * 60), chance.randrange(130, 400)
    pause = chance.randrange(10, 50)
    end = start + length
    text = (
        f"A shift begins at {start // 60}:{start % 60:02d} and ends at {end // 60}:{end % 60:02d} on the same day, with a "
        f"break of {pause} minutes that is not paid. How many minutes are paid?"
    )
    return text, length - pause, f"{end}-{start}-{pause}"


def make_thought_number(chance: random.Random) -> Problem:
    """A number to be found backwards."""
    x, a, c = chance.randrange(4, 60), chance.randrange(3, 9), chance.randrange(2, 7)
    b = chance.randrange(1, 60)
    b += (-(x * a + b)) % c
    d = (x * a + b) // c
    found = next(n for n in count() if n * a + b == d * c)
    text = f"I think of a number, multiply it by {a}, add {b} and divide by {c}. I get {d}. What is my number?"
    return text, found, f"({d}*{c}-{b})/{a}"


def make_heads_and_legs(chance: random.Random) -> Problem:
    """Two kinds counted together."""
    hens, goats = chance.randrange(5, 60), chance.randrange(5, 60)
    heads, legs = hens + goats, 2 * hens + 4 * goats
    found = next(g for g in range(heads + 1) if 2 * (heads - g) + 4 * g == legs)
    text = f"On a farm there are only hens and goats. Together they have {heads} heads and {legs} legs. How many goats are there?"
    return text, found, f"({legs}-2*{heads})/2"


def make_meeting_buses(chance: random.Random) -> Problem:
    """A least common multiple in a story."""
    a, b = chance.sample((6, 8, 9, 10, 12, 14, 15, 16, 18, 20, 21, 24, 25, 28), 2)
    found = next(n for n in count(1) if n % a == 0 and n % b == 0)
    text = (
        f"Two buses leave a square together. One leaves again every {a} minutes, the other every {b} minutes. "
        "After how many minutes do they next leave together?"
    )
    return text, found, f"{a}*{b}/{gcd(a, b)}"


def make_average(chance: random.Random) -> Problem:
    """A missing value from two averages."""
    n, before, after = chance.randrange(4, 9), chance.randrange(60, 80), chance.randrange(62, 82)
    total, wanted = sum(before for _ in range(n)), sum(after for _ in range(n + 1))
    text = (
        f"After {n} tests a pupil has an average of {before} points. After one more test the average is {after}. "
        "How many points did that test bring?"
    )
    return text, wanted - total, f"{after}*({n}+1)-{before}*{n}"


def make_workers(chance: random.Random) -> Problem:
    """Work shared by another number of people, some of whom come later."""
    painters, days, done = chance.randrange(3, 9), chance.randrange(8, 20), chance.randrange(2, 6)
    more = chance.randrange(1, 6)
    left = painters * days
    for _ in range(done):
        left -= painters
    text = (
        f"{painters} painters would need {days} days for a house, all at the same pace. After {done} days {more} more "
        "painters join them. How many more days does the rest take? Give an exact number or fraction."
    )
    return text, Fraction(left, painters + more), f"{painters}*({days}-{done})/({painters}+{more})"


def make_machines(chance: random.Random) -> Problem:
    """Two rates added over a time in another unit."""
    per_a, minutes_a = chance.randrange(3, 12), chance.choice((2, 3, 4, 5))
    per_b, minutes_b, hours = chance.randrange(3, 12), chance.choice((6, 10, 12, 15)), chance.randrange(2, 9)
    value = sum(per_a * (60 // minutes_a) + per_b * (60 // minutes_b) for _ in range(hours))
    text = (
        f"One machine makes {per_a} parts every {minutes_a} minutes, another {per_b} parts every {minutes_b} minutes. "
        f"How many parts do both make in {hours} hours?"
    )
    return text, value, f"{hours}*60*{per_a}/{minutes_a}+{hours}*60*{per_b}/{minutes_b}"


def make_series(chance: random.Random) -> Problem:
    """A row of numbers added up."""
    first, step, n = chance.randrange(2, 20), chance.randrange(3, 12), chance.randrange(12, 31)
    text = (
        f"A hall has {n} rows of seats. The first row has {first} seats and each further row has {step} more than the row "
        "before. How many seats are there?"
    )
    return text, sum(first + step * i for i in range(n)), f"{n}*(2*{first}+({n}-1)*{step})/2"


def make_growth(chance: random.Random) -> Problem:
    """Repeated tripling with a loss each round."""
    start, loss, rounds = chance.randrange(3, 12), chance.randrange(1, 6), chance.randrange(4, 7)
    n = start
    for _ in range(rounds):
        n = 3 * n - loss
    text = (
        f"A pond holds {start} water plants. Each month their number triples, and then {loss} are taken out. "
        f"How many plants are there after {rounds} months?"
    )
    return text, n, f"{start}*3**{rounds}-{loss}*(3**{rounds}-1)/2"


def make_pairs(chance: random.Random) -> Problem:
    """Pairs counted, some left out."""
    n, couples = chance.randrange(9, 30), chance.randrange(2, 5)
    pairs = sum(1 for i in range(n) for j in range(i)) - couples
    text = (
        f"At a meeting of {n} people everyone shakes hands once with everyone else, except that {couples} couples do not "
        "shake hands with their own partner. How many handshakes are there?"
    )
    return text, pairs, f"{n}*({n}-1)/2-{couples}"


def make_long_product(chance: random.Random) -> Problem:
    """A product of two numbers of four digits."""
    a, b = chance.randrange(1234, 9876), chance.randrange(1234, 9876)
    value = sum(int(digit) * b * 10**i for i, digit in enumerate(reversed(str(a))))
    return f"What is {a} * {b}?", value, f"{a}*{b}"


def make_power_remainder(chance: random.Random) -> Problem:
    """What a large power leaves when divided."""
    base, power, modulus = chance.randrange(3, 20), chance.randrange(15, 60), chance.choice((7, 11, 13, 17, 19))
    value = 1
    for _ in range(power):
        value = value * base % modulus
    return f"What is the remainder when {base}^{power} is divided by {modulus}?", value, f"{base}**{power}%{modulus}"


def make_divisible_count(chance: random.Random) -> Problem:
    """Numbers of a range divisible by one of two numbers, not by both."""
    a, b = chance.sample((4, 6, 8, 9, 10, 12, 14, 15), 2)
    n = chance.randrange(300, 900)
    value = sum((i % a == 0) != (i % b == 0) for i in range(1, n + 1))
    both = a * b // gcd(a, b)
    text = f"How many whole numbers from 1 to {n} are divisible by {a} or by {b}, but not by both?"
    return text, value, f"{n}//{a}+{n}//{b}-2*({n}//{both})"


LEVELS: dict[str, tuple[int, tuple[Callable[[random.Random], Problem], ...]]] = {
    "easy": (43, (make_sum, make_one_step, make_product, make_two_step)),
    "middle": (60, (make_order_of_operations, make_percentage, make_remainder, make_distractor, make_journey, make_clock)),
    "hard": (63, (make_thought_number, make_heads_and_legs, make_meeting_buses, make_average, make_workers,
             make_machines, make_series, make_growth, make_pairs)),
    "very hard": (24, (make_long_product, make_power_remainder, make_divisible_count)),
}  # fmt: skip
"""How many items of each level, and the kinds they are taken from in turn."""


def make_items(seed: int) -> list[Item]:
    """All items; no question occurs twice, and every value is a whole number or a fraction below 10 digits."""
    chance = random.Random(seed)
    items: dict[str, Item] = {}
    for level, (n_items, kinds) in LEVELS.items():
        wanted = len(items) + n_items
        turn = 0
        while len(items) < wanted:
            text, value, expression = kinds[turn % len(kinds)](chance)
            if text not in items:
                number = Fraction(value)
                said: int | float = number.numerator if number.denominator == 1 else float(number)
                expected = {
                    "value": said,
                    "relative": 1e-3 if number.denominator > 1 else 1e-9,
                    "expression": expression,
                }
                items[text] = Item(text + ENDING, "numeric", expected, level, MAX_TOKENS)
                turn += 1
    return list(items.values())


PLANS = (
    Plan(
        name="arithmetic",
        title="Arithmetic and word problems",
        measures="Sums, percentages, rates and stories of one to several steps; only the final number counts.",
        does_not_measure="Proofs, algebra beyond school, geometry; nor whether the way to the number was sound.",
        release=1,
        seed=5101,
        chance=0.0,
        make_items=make_items,
    ),
)

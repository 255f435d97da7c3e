# ruff: noqa: E501 (a text and its data stand on one line)
"""Texts of everyday kinds and the fields to take from them, to a JSON schema given in the prompt."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from evals.suites.generators.base import Item, Plan

MAX_TOKENS = 768
SYSTEM = "Answer with one JSON object that fits the given JSON schema, and nothing else."
FIRST = ("Marta", "Ulrich", "Noemi", "Pavel", "Ingrid", "Tariq", "Beatriz", "Olaf", "Sunita", "Renzo", "Yara", "Klaus")
LAST = (
    "Hollander",
    "Brandt",
    "Ferreira",
    "Kowal",
    "Nilsen",
    "Adeyemi",
    "Moreau",
    "Tanaka",
    "Weiss",
    "Costa",
    "Lund",
    "Bauer",
)
CITIES = (
    "Antwerp",
    "Turin",
    "Gdansk",
    "Porto",
    "Leipzig",
    "Bergen",
    "Graz",
    "Lyon",
    "Utrecht",
    "Malmo",
    "Bilbao",
    "Brno",
)
STREETS = ("Mill Lane", "Station Road", "Castle Street", "Harbour Walk", "Orchard Way", "Chapel Row", "Bridge Street")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
GOODS = (
    "desk lamp",
    "office chair",
    "toner cartridge",
    "extension cable",
    "filing box",
    "whiteboard",
    "wall clock",
    "keyboard",
)
NUMBER_WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 12: "twelve"}

Extract = tuple[str, dict[str, Any], dict[str, Any], str]
"""The text, the schema's properties, the right fields, the level."""


def text_type(about: str = "") -> dict[str, Any]:
    """A text field; what `about` says is for the model to read."""
    return {"type": "string", **({"description": about} if about else {})}


def date_type() -> dict[str, Any]:
    """A date as YYYY-MM-DD."""
    return {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$", "description": "YYYY-MM-DD"}


def or_null(kind: Mapping[str, Any]) -> dict[str, Any]:
    """The same type, or null where the text does not say."""
    about = f"{kind.get('description', '')}; null where the text does not say".removeprefix("; ")
    return {**kind, "type": [kind["type"], "null"], "description": about}


def list_of(kind: Mapping[str, Any]) -> dict[str, Any]:
    """A list of that type."""
    return {"type": "array", "items": dict(kind)}


def object_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    """An object with exactly these fields."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


INTEGER, NUMBER, BOOLEAN = {"type": "integer"}, {"type": "number"}, {"type": "boolean"}


def pick_person(chance: random.Random) -> str:
    """A first and a last name."""
    return f"{chance.choice(FIRST)} {chance.choice(LAST)}"


def pick_date(chance: random.Random) -> tuple[str, str]:
    """A date as people write it, and as YYYY-MM-DD."""
    year, month, day = chance.randrange(2019, 2027), chance.randrange(1, 13), chance.randrange(1, 29)
    name = MONTHS[month - 1]
    said = chance.choice((f"{day} {name} {year}", f"{name} {day}, {year}", f"the {day}. of {name} {year}"))
    return said, f"{year}-{month:02d}-{day:02d}"


def make_contact(chance: random.Random) -> Extract:
    """Who wrote, and how to reach them."""
    name, city, extension = pick_person(chance), chance.choice(CITIES), chance.randrange(100, 999)
    mail = f"{name.split()[1].lower()}{chance.randrange(10, 99)}@example.org"
    text = chance.choice((
        f"Hello,\n\nplease send the brochure to me. My name is {name}, I live in {city}, and {mail} reaches me best. In "
        f"the office it is extension {extension}.",
        f"From the visitors' book: {name} from {city} ({mail}) asks to be called back, extension {extension}.",
        f"Extension {extension} again. That was {name}. If nobody picks up, write to {mail}; the parcel goes to {city}.",
    ))  # fmt: skip
    kinds = {"name": text_type(), "city": text_type(), "email": text_type(), "extension": INTEGER}
    return text, kinds, {"name": name, "city": city, "email": mail, "extension": extension}, "easy"


def make_event(chance: random.Random) -> Extract:
    """An announcement with a date, a time and perhaps a price."""
    (said, iso), city, host = pick_date(chance), chance.choice(CITIES), pick_person(chance)
    hour, minute, price = chance.randrange(8, 22), chance.choice((0, 15, 30, 45)), chance.choice((None, 8, 12.5, 20))
    what = chance.choice(("Lantern walk", "Repair cafe", "Choir rehearsal", "Seed exchange", "Open workshop"))
    cost = "" if price is None else f" Tickets are {price:.2f} euros."
    clock = f"{hour % 12 or 12}:{minute:02d} {'am' if hour < 12 else 'pm'}"
    text = chance.choice((
        f"{what} in {city}! We meet on {said} at {clock}. {host} leads the evening.{cost} Bring friends.",
        f"Dear members, {host} invites you to the next meeting in {city}.{cost} Title: {what}. It starts at {clock} on {said}.",
    ))  # fmt: skip
    kinds = {"title": text_type(), "date": date_type(), "time": text_type("HH:MM, 24 hours"), "city": text_type(), "host": text_type(),
             "price_euros": or_null(NUMBER)}  # fmt: skip
    fields = {
        "title": what,
        "date": iso,
        "time": f"{hour:02d}:{minute:02d}",
        "city": city,
        "host": host,
        "price_euros": price,
    }
    return text, kinds, fields, "middle"


def make_flight(chance: random.Random) -> Extract:
    """A journey with times, a class and yes or no questions."""
    start, end = chance.sample(CITIES, 2)
    (said, iso), name, bags = pick_date(chance), pick_person(chance), chance.choice((1, 2, 3))
    number, window, meal = (
        f"{chance.choice(('QX', 'BV', 'ZT'))}{chance.randrange(100, 999)}",
        chance.random() < 0.5,
        chance.random() < 0.5,
    )
    seat = "by the window" if window else "on the aisle"
    text = (
        f"{name} is booked on {number} from {start} to {end} on {said}, {seat}, with {NUMBER_WORDS.get(bags, 'one')} "
        f"bag{'s' if bags > 1 else ''} to check in. "
        f"{'A vegetarian meal has been ordered.' if meal else 'No special meal was asked for.'} "
        f"{'The change from the earlier flight was free.' if chance.random() < 0.5 else 'The fare cannot be refunded.'}"
    )
    kinds = {"passenger": text_type(), "flight": text_type(), "from": text_type(), "to": text_type(), "date": date_type(),
             "window_seat": BOOLEAN, "checked_bags": INTEGER, "special_meal": BOOLEAN}  # fmt: skip
    fields = {"passenger": name, "flight": number, "from": start, "to": end, "date": iso, "window_seat": window,
              "checked_bags": bags, "special_meal": meal}  # fmt: skip
    return text, kinds, fields, "middle"


def make_property(chance: random.Random) -> Extract:
    """A flat to let, some of whose facts may be missing."""
    rooms, area, rent = chance.randrange(2, 6), chance.randrange(38, 140), 10 * chance.randrange(45, 190)
    street, city = chance.choice(STREETS), chance.choice(CITIES)
    floor, pets = chance.choice((None, 1, 2, 3, 4)), chance.choice((None, True, False))
    where = "" if floor is None else f" on floor {floor}"
    animals = {None: "", True: " Pets are welcome.", False: " Sorry, no pets."}[pets]
    text = chance.choice((
        f"To let: flat{where} in {street}, {city}. {NUMBER_WORDS.get(rooms, rooms)} rooms, {area} square metres, rent "
        f"{rent} euros a month plus heating.{animals}",
        f"We are leaving {city} and look for someone to take over our {rooms}-room flat ({street}{where}). It has {area} m2. "
        f"We pay {rent} a month.{animals} The kitchen was done last year.",
    ))  # fmt: skip
    kinds = {"street": text_type(), "city": text_type(), "rooms": INTEGER, "area_m2": NUMBER, "monthly_rent_euros": NUMBER,
             "floor": or_null(INTEGER), "pets_allowed": or_null(BOOLEAN)}  # fmt: skip
    fields = {"street": street, "city": city, "rooms": rooms, "area_m2": area, "monthly_rent_euros": rent, "floor": floor,
              "pets_allowed": pets}  # fmt: skip
    return text, kinds, fields, "middle"


def make_recipe(chance: random.Random) -> Extract:
    """A recipe's numbers and its list of things needed."""
    needs = chance.sample(
        ("flour", "butter", "lentils", "onions", "cream", "leeks", "rice", "almonds", "honey", "thyme"), 4
    )
    serves, minutes, heat = chance.choice((2, 4, 6, 8)), 5 * chance.randrange(4, 18), 10 * chance.randrange(15, 23)
    dish = chance.choice(("Harbour stew", "Sunday bake", "Miller's pan", "Garden pie"))
    hours = f"{minutes} minutes" if minutes < 60 else f"an hour{f' and {minutes - 60} minutes' if minutes > 60 else ''}"
    text = (
        f"{dish}. For {NUMBER_WORDS[serves]} people you need {needs[0]}, {needs[1]} and {needs[2]}; {needs[3]} is added at the "
        f"end. Leave out the pepper, whatever others say. It stands in the oven at {heat} degrees for {hours}."
    )
    kinds = {
        "dish": text_type(),
        "serves": INTEGER,
        "ingredients": list_of(text_type()),
        "oven_celsius": INTEGER,
        "minutes": INTEGER,
    }
    fields = {"dish": dish, "serves": serves, "ingredients": needs, "oven_celsius": heat, "minutes": minutes}
    return text, kinds, fields, "middle"


def make_invoice(chance: random.Random) -> Extract:
    """Lines of goods, of which one is taken off again."""
    goods = chance.sample(GOODS, 3)
    lines: list[dict[str, Any]] = [
        {"item": item, "quantity": chance.choice(list(NUMBER_WORDS)), "unit_price": chance.randrange(4, 90) + 0.5}
        for item in goods
    ]
    number, (said, iso), buyer = f"R-{chance.randrange(1000, 9999)}", pick_date(chance), pick_person(chance)
    told = [
        f"{NUMBER_WORDS[line['quantity']]} of the {line['item']} at {line['unit_price']:.2f} each" for line in lines
    ]
    dropped = chance.randrange(3) if chance.random() < 0.5 else None
    change = (
        "" if dropped is None else f" The {goods[dropped]} was sent back and is no longer charged; please leave it out."
    )
    kept = [line for i, line in enumerate(lines) if i != dropped]
    total = sum(line["quantity"] * line["unit_price"] for line in kept)
    text = f"Invoice {number} of {said} for {buyer}: {told[0]}, {told[1]}, and {told[2]}.{change} The sum due is {total:.2f} euros."
    line_kind = object_of({"item": text_type(), "quantity": INTEGER, "unit_price": NUMBER})
    kinds = {
        "number": text_type(),
        "date": date_type(),
        "customer": text_type(),
        "lines": list_of(line_kind),
        "total": NUMBER,
    }
    return text, kinds, {"number": number, "date": iso, "customer": buyer, "lines": kept, "total": total}, "hard"


def make_incident(chance: random.Random) -> Extract:
    """A report told out of order and corrected later."""
    reporter, other = (pick_person(chance) for _ in range(2))
    hour, minute, hurt = chance.randrange(6, 21), chance.randrange(10, 59), chance.choice((0, 2, 3))
    (said, iso), city = pick_date(chance), chance.choice(CITIES)
    cause = chance.choice(("a loose cable", "a wet floor", "a faulty brake", "an open gate"))
    wrong = f"{hour + 1}:{minute:02d}"
    people = "Nobody was hurt" if not hurt else f"{NUMBER_WORDS[hurt].capitalize()} people were hurt"
    text = (
        f"Report from the {city} depot. {other} first noted {wrong} as the time, which is wrong: the camera shows "
        f"{hour}:{minute:02d}. It happened on {said}. {people}. The first guess was ice; in the end it was {cause}. "
        f"Written by {reporter}, who was not there. Repairs are still to be priced."
    )
    kinds = {"site": text_type("name of the town"), "date": date_type(), "time": text_type("HH:MM, 24 hours"), "injured": INTEGER,
             "cause": text_type("without article"), "author": text_type(), "repair_cost": or_null(NUMBER)}  # fmt: skip
    fields = {"site": city, "date": iso, "time": f"{hour:02d}:{minute:02d}", "injured": hurt, "cause": cause.split(" ", 1)[1],
              "author": reporter, "repair_cost": None}  # fmt: skip
    return text, kinds, fields, "hard"


def make_team(chance: random.Random) -> Extract:
    """People and their roles, told with pronouns and a change at the end."""
    names = [f"{a} {b}" for a, b in zip(chance.sample(FIRST, 3), chance.sample(LAST, 3))]
    roles = chance.sample(("treasurer", "secretary", "chair", "archivist", "press officer"), 3)
    years = [chance.randrange(2, 9) for _ in range(3)]
    swapped = chance.random() < 0.5
    now = [roles[1], roles[0], roles[2]] if swapped else roles
    change = (
        f" From this month {names[0].split()[0]} and {names[1].split()[0]} have swapped their offices."
        if swapped
        else ""
    )
    text = (
        f"The board has three members. {names[0]}, with us for {years[0]} years, was elected {roles[0]}. The {roles[1]} is "
        f"{names[1]}, who joined {years[1]} years ago. {names[2]} has {years[2]} years behind them and serves as {roles[2]}."
        f"{change} Guests are welcome on Tuesdays."
    )
    member = object_of({"name": text_type(), "role": text_type(), "years": INTEGER})
    fields = [{"name": name, "role": role, "years": n} for name, role, n in zip(names, now, years)]
    return text, {"members": list_of(member), "n_members": INTEGER}, {"members": fields, "n_members": 3}, "hard"


MAKERS: tuple[tuple[Callable[[random.Random], Extract], int], ...] = (
    (make_contact, 30), (make_event, 20), (make_flight, 18), (make_property, 18), (make_recipe, 14), (make_invoice, 24),
    (make_incident, 18), (make_team, 18),
)  # fmt: skip


def make_items(seed: int) -> list[Item]:
    """All items; no text occurs twice."""
    chance = random.Random(seed)
    items: dict[str, Item] = {}
    for make, n_items in MAKERS:
        wanted = len(items) + n_items
        while len(items) < wanted:
            text, kinds, fields, level = make(chance)
            schema = object_of(kinds)
            prompt = f"Take the fields from the text.\n\nJSON schema:\n{json.dumps(schema)}\n\nText:\n{text}"
            items[prompt] = Item(
                prompt, "json_schema_fields", {"schema": schema, "fields": fields}, level, MAX_TOKENS, SYSTEM
            )
    return list(items.values())


PLANS = (
    Plan(
        name="json_extraction",
        title="Extracting fields to JSON",
        measures="Valid JSON to a given schema from short texts; the score of an item is the share of right fields.",
        does_not_measure="Long documents, tables, scans; schemas deeper than lists of objects.",
        release=1,
        seed=5107,
        chance=0.0,
        make_items=make_items,
    ),
)

# ruff: noqa: E501 (a text and its data stand on one line)
"""Requests and the tools that may serve them: the right tool with the right arguments, several calls, or none."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from evals.suites.generators.base import Item, Plan

MAX_TOKENS = 384
SYSTEM = (
    'Answer the request with a tool call and nothing else: one JSON object {"name": tool name, "arguments": {...}}. If '
    "several calls are needed, answer with a JSON list of such objects. Leave out optional arguments that the request "
    "does not speak of. If no tool can do what is asked, answer "
    '{"name": "none", "arguments": {}}.'
)


def tool(name: str, about: str, required: str, optional: str = "", **fields: dict[str, Any]) -> dict[str, Any]:
    """A tool as a JSON schema; `required` and `optional` name its arguments, `fields` say more of some of them."""
    names = [*required.split(), *optional.split()]
    properties = {key: fields.get(key, {"type": "string"}) for key in names}
    parameters = {"type": "object", "properties": properties, "required": required.split()}
    return {"name": name, "description": about, "parameters": parameters}


INTEGER, NUMBER = {"type": "integer"}, {"type": "number"}
DATE = {"type": "string", "description": "YYYY-MM-DD"}
TIME = {"type": "string", "description": "HH:MM, 24 hours"}
TOOLS = {
    one["name"]: one
    for one in (
        tool("get_weather", "The weather forecast for a city on a day.", "city date", "unit", date=DATE,
             unit={"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"}),
        tool("get_weather_history", "The weather measured in a city on a past day.", "city date", date=DATE),
        tool("create_event", "Put a new event into the calendar.", "title date start", "minutes", date=DATE, start=TIME,
             minutes={"type": "integer", "description": "length", "default": 60}),
        tool("move_event", "Move an event that is already in the calendar.", "title new_date new_start", new_date=DATE,
             new_start=TIME),
        tool("cancel_event", "Remove an event from the calendar.", "title date", date=DATE),
        tool("send_email", "Send an email at once.", "to subject body"),
        tool("draft_email", "Save an email as a draft without sending it.", "to subject body"),
        tool("convert_currency", "Convert an amount of money.", "amount from_currency to_currency", amount=NUMBER,
             from_currency={"type": "string", "description": "ISO code"}, to_currency={"type": "string", "description": "ISO code"}),
        tool("set_timer", "Start a countdown.", "seconds", "label", seconds=INTEGER),
        tool("set_alarm", "Ring at a time of day.", "time", "label", time=TIME),
        tool("search_products", "Search the shop.", "query", "max_price sort", max_price=NUMBER,
             sort={"type": "string", "enum": ["relevance", "price", "rating"], "default": "relevance"}),
        tool("order_status", "Where an order is.", "order_id"),
        tool("refund_order", "Pay an order back.", "order_id amount", amount=NUMBER),
        tool("turn_on_light", "Switch a light on.", "room", "brightness",
             brightness={"type": "integer", "description": "percent", "default": 100}),
        tool("set_thermostat", "Set the temperature of a room.", "room celsius", celsius=NUMBER),
        tool("book_table", "Book a table in a restaurant.", "restaurant date time n_people", date=DATE, time=TIME, n_people=INTEGER),
        tool("find_route", "A route between two places.", "start end mode",
             mode={"type": "string", "enum": ["walk", "bike", "car", "train"]}),
        tool("translate_text", "Translate a text.", "text target_language",
             target_language={"type": "string", "description": "ISO 639-1 code, such as de"}),
    )
}  # fmt: skip
SIMILAR = {
    "get_weather": ["get_weather_history"], "create_event": ["move_event", "cancel_event"],
    "move_event": ["create_event", "cancel_event"], "cancel_event": ["move_event", "create_event"],
    "send_email": ["draft_email"], "draft_email": ["send_email"], "set_timer": ["set_alarm"], "set_alarm": ["set_timer"],
    "order_status": ["refund_order", "search_products"], "refund_order": ["order_status"], "get_weather_history": ["get_weather"],
    "turn_on_light": ["set_thermostat"], "set_thermostat": ["turn_on_light"],
}  # fmt: skip
CITIES = ("Lisbon", "Oslo", "Vienna", "Dublin", "Prague", "Athens", "Riga", "Geneva")
ROOMS = ("kitchen", "bedroom", "study", "hallway", "living room")
MONTHS = ("March", "April", "May", "June", "July", "September", "October", "November")
MONTH_NUMBERS = {"March": 3, "April": 4, "May": 5, "June": 6, "July": 7, "September": 9, "October": 10, "November": 11}
MEETINGS = ("Budget review", "Dentist", "Piano lesson", "Team lunch", "House viewing", "Parents evening")
PEOPLE = ("nora@example.org", "li@example.org", "sam@example.org", "ruth@example.org")
LANGUAGES = {"German": "de", "French": "fr", "Spanish": "es", "Polish": "pl", "Japanese": "ja"}
CURRENCIES = {
    "US dollars": "USD",
    "euros": "EUR",
    "Swiss francs": "CHF",
    "Japanese yen": "JPY",
    "Swedish kronor": "SEK",
}

Call = dict[str, Any]
Request = tuple[str, Call]
"""A request as said, and the call that serves it."""


def call(name: str, defaults: dict[str, Any] | None = None, **arguments: Any) -> Call:
    """A call; `defaults` are the optional arguments that may be left out or given at these values."""
    return {"name": name, "arguments": arguments, **({"defaults": defaults} if defaults else {})}


def pick_date(chance: random.Random) -> tuple[str, str]:
    """A day as said and as YYYY-MM-DD."""
    month, day, year = chance.choice(MONTHS), chance.randrange(1, 29), chance.choice((2027, 2028))
    return (
        f"{chance.choice((f'{day} {month} {year}', f'{month} {day}, {year}'))}",
        f"{year}-{MONTH_NUMBERS[month]:02d}-{day:02d}",
    )


def pick_time(chance: random.Random) -> tuple[str, str]:
    """A time of day as said and as HH:MM."""
    hour, minute = chance.randrange(7, 22), chance.choice((0, 15, 30, 45))
    iso = f"{hour:02d}:{minute:02d}"
    return chance.choice((iso, f"{hour % 12 or 12}:{minute:02d} {'am' if hour < 12 else 'pm'}")), iso


def ask_weather(chance: random.Random) -> Request:
    """A forecast, its unit sometimes named."""
    (said, iso), city = pick_date(chance), chance.choice(CITIES)
    if chance.random() < 0.4:
        return f"What will the weather be in {city} on {said}? In Fahrenheit, please.", call(
            "get_weather", city=city, date=iso, unit="fahrenheit"
        )
    return f"Will I need a coat in {city} on {said}?", call("get_weather", {"unit": "celsius"}, city=city, date=iso)


def ask_history(chance: random.Random) -> Request:
    """Weather gone by."""
    day, city = chance.randrange(1, 29), chance.choice(CITIES)
    return f"How warm did it get in {city} on {day} May 2019?", call(
        "get_weather_history", city=city, date=f"2019-05-{day:02d}"
    )


def ask_event(chance: random.Random) -> Request:
    """A new event, its length sometimes named."""
    (said, iso), (clock, start), title = pick_date(chance), pick_time(chance), chance.choice(MEETINGS)
    if chance.random() < 0.5:
        text = f'Please put "{title}" into my calendar for {said}, {clock}. It takes an hour and a half.'
        return text, call("create_event", title=title, date=iso, start=start, minutes=90)
    return f"New entry on {said} at {clock}: {title}.", call(
        "create_event", {"minutes": 60}, title=title, date=iso, start=start
    )


def ask_move(chance: random.Random) -> Request:
    """An event that is moved."""
    (said, iso), (clock, start), title = pick_date(chance), pick_time(chance), chance.choice(MEETINGS)
    text = f'"{title}" cannot stay where it is in my calendar. Make it {said} at {clock} instead.'
    return text, call("move_event", title=title, new_date=iso, new_start=start)


def ask_cancel(chance: random.Random) -> Request:
    """An event that is dropped."""
    (said, iso), title = pick_date(chance), chance.choice(MEETINGS)
    return f'I will not make it to "{title}" on {said}; take it off my calendar.', call(
        "cancel_event", title=title, date=iso
    )


def ask_email(chance: random.Random) -> Request:
    """A mail, to be sent or kept."""
    to, subject = chance.choice(PEOPLE), chance.choice(("Keys", "Invoice", "Friday", "Photos"))
    body = chance.choice(("I will be late.", "See you at the gate.", "The copy is on its way.", "Please call me."))
    keeps = chance.random() < 0.5
    ending = "Do not send it yet, I want to read it again." if keeps else "Send it right away."
    text = f'Write to {to}, subject "{subject}", text "{body}" {ending}'
    return text, call("draft_email" if keeps else "send_email", to=to, subject=subject, body=body)


def ask_currency(chance: random.Random) -> Request:
    """Money converted."""
    (a, code_a), (b, code_b) = chance.sample(sorted(CURRENCIES.items()), 2)
    amount = chance.randrange(20, 5000)
    text = chance.choice((f"How much is {amount} {a} in {b}?", f"I need {b}. What do I get for {amount} {a}?"))
    return text, call("convert_currency", amount=amount, from_currency=code_a, to_currency=code_b)


def ask_timer(chance: random.Random) -> Request:
    """A countdown in minutes."""
    minutes = chance.randrange(2, 45)
    if chance.random() < 0.5:
        what = chance.choice(("rice", "laundry", "bread"))
        return f'Start a {minutes} minute countdown labelled "{what}".', call(
            "set_timer", seconds=minutes * 60, label=what
        )
    return f"Tell me when {minutes} and a half minutes are over.", call("set_timer", seconds=minutes * 60 + 30)


def ask_alarm(chance: random.Random) -> Request:
    """A time to ring at."""
    clock, time = pick_time(chance)
    return f"Wake me at {clock}.", call("set_alarm", time=time)


def ask_products(chance: random.Random) -> Request:
    """A search with a limit and an order."""
    what, limit = (
        chance.choice(("hiking boots", "rain jacket", "desk lamp", "tea kettle", "bike lock")),
        chance.randrange(20, 120),
    )
    if chance.random() < 0.5:
        text = f'Show me a {what} for at most {limit} euros, the best rated first. Search for exactly "{what}".'
        return text, call("search_products", query=what, max_price=limit, sort="rating")
    return f'Search the shop for "{what}", cheapest first.', call("search_products", query=what, sort="price")


def ask_status(chance: random.Random) -> Request:
    """Where an order is."""
    number = f"A{chance.randrange(10_000, 99_999)}"
    return f"My parcel {number} should have been here days ago. Where is it?", call("order_status", order_id=number)


def ask_refund(chance: random.Random) -> Request:
    """Money back in part."""
    number, amount = f"A{chance.randrange(10_000, 99_999)}", chance.randrange(5, 60) + 0.5
    text = f"The customer of order {number} gets {amount:.2f} euros back for the dent, not the whole price."
    return text, call("refund_order", order_id=number, amount=amount)


def ask_light(chance: random.Random) -> Request:
    """A light, dimmed or not."""
    room, percent = chance.choice(ROOMS), chance.choice((20, 30, 40, 60))
    if chance.random() < 0.5:
        return f"Light in the {room}, but only at {percent} percent.", call(
            "turn_on_light", room=room, brightness=percent
        )
    return f"It is dark in the {room}. Switch the light on.", call("turn_on_light", {"brightness": 100}, room=room)


def ask_thermostat(chance: random.Random) -> Request:
    """A temperature for a room."""
    room, degrees = chance.choice(ROOMS), chance.choice((17, 18.5, 20, 21.5, 23))
    return f"Make the {room} {degrees} degrees warm.", call("set_thermostat", room=room, celsius=degrees)


def ask_table(chance: random.Random) -> Request:
    """A table for some people."""
    (said, iso), (clock, time), n = pick_date(chance), pick_time(chance), chance.randrange(2, 8)
    where = chance.choice(("Olive Branch", "Blue Door", "Casa Verde", "The Anchor"))
    text = f"My partner, {n} friends and I want to eat at {where} on {said} at {clock}. Get us a table."
    return text, call("book_table", restaurant=where, date=iso, time=time, n_people=n + 2)


def ask_route(chance: random.Random) -> Request:
    """A way between two towns."""
    (start, end), (mode, said) = (
        chance.sample(CITIES, 2),
        chance.choice((("bike", "by bicycle"), ("car", "driving"), ("train", "by rail"))),
    )
    return f"How do I get to {end} from {start} {said}?", call("find_route", start=start, end=end, mode=mode)


def ask_translation(chance: random.Random) -> Request:
    """A sentence in another language."""
    language = chance.choice(sorted(LANGUAGES))
    text = chance.choice(("Where is the station?", "The soup is cold.", "We close at six.", "Mind the step."))
    return f'How do you say "{text}" in {language}?', call(
        "translate_text", text=text, target_language=LANGUAGES[language]
    )


ASKS: tuple[Callable[[random.Random], Request], ...] = (
    ask_weather, ask_history, ask_event, ask_move, ask_cancel, ask_email, ask_currency, ask_timer, ask_alarm, ask_products,
    ask_status, ask_refund, ask_light, ask_thermostat, ask_table, ask_route, ask_translation,
)  # fmt: skip
OTHER_WISHES = (
    "Book me a flight from {city} to Madrid.", "Play some quiet piano music in the {room}.", "What is the meaning of the word ledger?",
    "Transfer 40 euros to my sister.", "Take a photo with the front camera.", "How tall is the tower in {city}?", "Delete all my files.",
    "Order a taxi to the airport in {city}.", "Lock the door of the {room}.", "Remind me to drink more water, every day.",
    "Print the last page twice.", "Vacuum the {room} now.",
)  # fmt: skip


def choose_tools(chance: random.Random, names: Sequence[str], n: int, with_similar: bool) -> list[str]:
    """The tools shown: those needed, those like them where wanted, and others up to `n`."""
    shown = list(dict.fromkeys(names))
    if with_similar:
        shown = list(dict.fromkeys([*shown, *(other for name in names for other in SIMILAR.get(name, []))]))
    like = {other for name in names for other in SIMILAR.get(name, [])}
    rest = [name for name in TOOLS if name not in shown and name not in like]
    shown += chance.sample(rest, max(0, n - len(shown)))
    chance.shuffle(shown)
    return shown


def write_item(level: str, request: str, calls: list[Call], shown: Sequence[str]) -> Item:
    """One item with its tools as JSON, one a line."""
    tools = "\n".join(json.dumps(TOOLS[name]) for name in shown)
    return Item(f"Tools:\n{tools}\n\nRequest: {request}", "tool_call", {"calls": calls}, level, MAX_TOKENS, SYSTEM)


def make_one(chance: random.Random, turn: int, n_tools: int, level: str) -> Item:
    """One call; among look-alikes where the level says so."""
    request, one = ASKS[turn % len(ASKS)](chance)
    return write_item(level, request, [one], choose_tools(chance, [one["name"]], n_tools, level != "one tool fits"))


def make_several(chance: random.Random, turn: int, n_tools: int, level: str) -> Item:
    """Two or three calls in one request, sometimes of the same tool."""
    first = ASKS[turn % len(ASKS)]
    asks = [first, first] if chance.random() < 0.3 else [first, *chance.sample([a for a in ASKS if a is not first], 1)]
    if chance.random() < 0.3:
        asks.append(chance.choice(ASKS))
    made = [ask(chance) for ask in asks]
    request = " Also: ".join(text for text, _ in made)
    return write_item(
        level, request, [one for _, one in made], choose_tools(chance, [one["name"] for _, one in made], n_tools, True)
    )


def make_none(chance: random.Random, turn: int, n_tools: int, level: str) -> Item:
    """A wish that none of the tools shown serves: of another kind, or one whose tool is missing."""
    if turn % 2:
        request = OTHER_WISHES[turn // 2 % len(OTHER_WISHES)].format(
            city=chance.choice(CITIES), room=chance.choice(ROOMS)
        )
        return write_item(
            level, request, [], chance.sample([t for t in TOOLS if t not in ("set_alarm", "create_event")], n_tools)
        )
    request, one = ASKS[turn // 2 % len(ASKS)](chance)
    near = SIMILAR.get(one["name"], [])
    shown = [name for name in choose_tools(chance, [one["name"]], n_tools + 1, False) if name != one["name"]]
    if one["name"] in ("get_weather", "set_timer", "order_status", "turn_on_light") and near:
        shown = [near[0], *shown[1:]]
    return write_item(level, request, [], shown)


LEVELS: dict[str, tuple[Callable[[random.Random, int, int, str], Item], int, int]] = {
    "one tool fits": (make_one, 4, 40),
    "similar tools": (make_one, 8, 40),
    "several calls": (make_several, 9, 45),
    "no tool fits": (make_none, 5, 35),
}
"""Of each level: what makes an item, how many tools are shown, how many items."""


def make_items(seed: int) -> list[Item]:
    """All items; no prompt occurs twice, and no request asks for the same call twice."""
    chance = random.Random(seed)
    items: dict[str, Item] = {}
    for level, (make, n_tools, n_items) in LEVELS.items():
        made: list[Item] = []
        turn = 0
        while len(made) < n_items:
            item = make(chance, turn, n_tools, level)
            calls = [json.dumps(one, sort_keys=True) for one in item.expected["calls"]]
            if item.prompt not in items and len(set(calls)) == len(calls):
                items[item.prompt] = item
                made.append(item)
                turn += 1
    return list(items.values())


PLANS = (
    Plan(
        name="tool_calls",
        title="Calling tools",
        measures="Choosing among described tools and filling their arguments; several calls; saying that none fits.",
        does_not_measure="A model's own tool format, talks over several turns, or acting on a tool's result.",
        release=1,
        seed=5108,
        chance=0.0,
        make_items=make_items,
    ),
)

# ruff: noqa: E501 (a text and its data stand on one line)
"""Short texts with one label from a closed list: sentiment, topic, intent, urgency, spam."""

from __future__ import annotations

import random
from itertools import cycle

from evals.suites.generators.base import Item, Plan

MAX_TOKENS = 256
SYSTEM = "Answer with one label from the list and nothing else."
SLOTS = {
    "thing": ("kettle", "headset", "rucksack", "desk lamp", "blender", "pair of boots", "travel mug", "keyboard"),
    "shop": ("corner shop", "web shop", "market stall", "outlet", "department store"),
    "name": ("Ms Adler", "Mr Okoro", "Ms Silva", "Mr Haas", "Ms Lindgren", "Mr Petrov"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"),
    "place": ("the north office", "the second floor", "the depot", "the branch in Graz", "the main hall"),
    "n": ("two", "three", "four", "six", "eight", "ten"),
    "city": ("Porto", "Bergen", "Lyon", "Krakow", "Galway", "Trieste"),
}
TASKS: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "sentiment": (
        "What does the writer think of it in the end?",
        {
            "positive": (
                "I expected little of this {thing} and was wrong on every count.",
                "After {n} weeks the {thing} still does what it should. I would not give it back.",
                "The parcel came late and the box was torn, but the {thing} itself makes up for all of it.",
                "My neighbour laughed at the price. Now she has ordered the same {thing}.",
                "Not a single complaint about the {thing} in {n} months, and I complain a lot.",
                "Everyone told me to send the {thing} back. I am glad that I did not listen.",
                "The manual is hopeless. Luckily the {thing} needs none, it simply works.",
            ),
            "negative": (
                "The {thing} looks lovely in the picture, and that is where it should have stayed.",
                "Great colour, quick delivery, friendly staff. A pity that the {thing} broke on day {n}.",
                "I wanted to like this {thing}. I really tried, for {n} weeks.",
                "If you need something to hold a door open, this {thing} may serve you.",
                "The second {thing} they sent me failed just like the first. At least they are consistent.",
                "For half the money I had a better {thing} before, and I should have kept it.",
                "Wonderful, another {thing} that lasts exactly as long as its guarantee.",
            ),
            "neutral": (
                "The {thing} comes in a brown box with a cable and a leaflet in {n} languages.",
                "I bought this {thing} on {day}; I have not used it yet.",
                "Some will find the {thing} too heavy, others will want it that way. I can see both.",
                "This {thing} replaces the model from two years ago. The size is the same.",
                "The {thing} is neither better nor worse than the other {n} I have had.",
                "Question to the shop: does the {thing} also exist in grey?",
                "It is a {thing}. It does what such things do, no more, no less.",
            ),
        },
    ),
    "topic": (
        "What is the text about?",
        {
            "health": (
                "After {n} weeks in plaster the wrist had grown thin, and she was told to squeeze a ball each evening.",
                "The practice in {city} now sees people without an appointment before nine.",
                "He cut out salt, slept more, and his readings came down within {n} months.",
                "A rash that comes back every spring should be looked at before pollen season in {city}.",
            ),
            "money": (
                "Whoever paid off early in {city} was charged a fee; a court has now called that unlawful.",
                "They put aside the same sum every {day}, and after {n} years it covered the roof.",
                "The rate was fixed for {n} years, which looked foolish then and wise today.",
                "Savers in {city} moved to shorter terms while the curve was upside down.",
            ),
            "sport": (
                "The visitors from {city} led until the last {n} minutes and then lost their nerve.",
                "She dropped her racket, shook hands and left the court to {n} minutes of applause.",
                "With {n} new players and no keeper, the club from {city} begins again in the third division.",
                "He took the bend too wide, lost a second, and with it the yellow shirt.",
            ),
            "technology": (
                "After the update, {n} of the readers at the gate in {city} no longer knew the old cards.",
                "The fault sat in one line that had been copied from another project {n} years before.",
                "They moved the records from a cupboard in {city} to a rented machine far away.",
                "It charges in {n} minutes, but only with the plug that came in the box.",
            ),
            "culture": (
                "The curtain in {city} went up {n} minutes late, and the second act had been cut.",
                "Her late canvases, long kept in a barn near {city}, hang in daylight for the first time.",
                "The novel follows {n} sisters who never say what they mean.",
                "The choir had rehearsed in a garage; on {day} it filled the cathedral of {city}.",
            ),
            "travel": (
                "From {city} the night boat takes {n} hours; ask for a bunk away from the engine.",
                "The pass is closed until May, so the way round by {city} adds half a day.",
                "We had {n} hours between trains, left the bags at the station and walked along the river.",
                "Rooms with a view of {city} cost double; the hostel on the hill has the same view.",
            ),
        },
    ),
    "intent": (
        "What does the customer want?",
        {
            "refund": (
                "The {thing} went back to you on {day}. I am still waiting to see that on my account.",
                "I was charged for {n} although I took one. Please put that right on my card.",
                "No replacement, thank you. I would rather have back what I paid for the {thing}.",
            ),
            "order status": (
                "You wrote that the {thing} would leave the warehouse on {day}. Has it?",
                "It has been {n} days. Should I stay at home tomorrow for the {thing} or not?",
                "The link you sent me for the {thing} shows an empty page. Where is it now?",
            ),
            "cancel order": (
                "If the {thing} has not been packed yet, please do not pack it at all.",
                "My wife bought the same {thing} on {day}. We no longer need the one we asked you for.",
                "I clicked twice by mistake. One {thing} is enough, please drop the second before it ships.",
            ),
            "technical help": (
                "The {thing} blinks {n} times and then goes dark. I have tried another socket.",
                "Since {day} my {thing} hums as soon as I touch it. What can I do?",
                "How do I get the lid of the {thing} off to clean it? It does not move.",
            ),
            "change address": (
                "We are moving to {city} on {day}; everything from then on should come there.",
                "Please note that I no longer live above the bakery. New street below, same town.",
                "The house number you have for me is from {n} years ago.",
            ),
            "complaint": (
                "Your colleague laughed when I asked about the {thing}. I do not expect anything, but you should know.",
                "I have been passed on {n} times today, and nobody could even spell my name.",
                "In {n} years as a customer nobody has ever spoken to me like the man in {place}.",
            ),
        },
    ),
    "urgency": (
        "How soon must someone act?",
        {
            "immediate": (
                "There is smoke from the cabinet in {place} and nobody there picks up.",
                "The gate does not open and {n} people are locked in, one of them feels faint.",
                "Water is running down the wall onto the sockets in {place} as I write.",
                "{name} cut a hand on the press and it does not stop bleeding.",
            ),
            "this week": (
                "The inspector comes to {place} on {day} and the papers have not been signed yet.",
                "We have paper for about {n} more days, the supplier needs two to deliver.",
                "{name} is on leave from {day}; before that somebody has to take over the keys.",
                "The spare fan in {place} is gone. The one in use is loud but still turns for now.",
            ),
            "no hurry": (
                "When somebody is in {place} anyway, the clock there is {n} minutes fast.",
                "An idea for next year: a second bicycle stand near {place}.",
                "The old shelves in {place} could be painted one day. {name} says grey.",
                "Just so that it is written down: the {n} chairs from {place} are in the cellar now.",
            ),
        },
    ),
    "spam": (
        "Is the message spam?",
        {
            "spam": (
                "Your mailbox in {city} is almost full. Keep your messages by confirming your password on the page below.",
                "Dear friend, {name} left a sum without heirs, and your surname fits. A small fee opens the file.",
                "Only {n} people were chosen this {day}, and you are one. Tell us your card number to cover the postage.",
                "We called {n} times about the guarantee of your car. This is the last notice before it lapses.",
                "Hi, it was nice to meet you in {city}! I lost my phone, here is my new number. Can you lend me some money today?",
                "Your parcel is held at the border near {city}. Pay the open duty of 1.99 within {n} hours by this link.",
                "Work from home, {n} hours a week, no skills asked. Send a copy of your passport to begin.",
            ),
            "not spam": (
                "Your mailbox is almost full, as you asked me to warn you. I can move the old folders on {day}. Regards, {name}",
                "The prize draw of the allotment club is on {day}. You have ticket {n}; you need not be there.",
                "{name} here from {place}. You left your card at the till, it is in the drawer with your name on it.",
                "The guarantee of your {thing} ends this month. Nothing to do for you, the next check is booked anyway.",
                "Nice to meet you in {city}! As promised, the slides of my talk. No need to answer.",
                "Your parcel could not be left with the neighbours. It waits for you at the post office, bring your passport.",
                "We look for {n} people to help at the counter on {day}. Paid by the hour, ask {name} if you like.",
            ),
        },
    ),
}
PER_TASK = 36


def fill(chance: random.Random, template: str) -> str:
    """A template with each slot drawn."""
    return template.format(**{slot: chance.choice(words) for slot, words in SLOTS.items()})


def make_task(chance: random.Random, task: str) -> list[Item]:
    """The items of one task: labels in turn, each template of a label used about equally often."""
    question, labels = TASKS[task]
    turns = {label: cycle(chance.sample(templates, len(templates))) for label, templates in labels.items()}
    items: dict[str, Item] = {}
    names = list(labels)
    while len(items) < PER_TASK:
        label = names[len(items) % len(names)]
        text = fill(chance, next(turns[label]))
        shown = chance.sample(names, len(names))
        prompt = f"{question}\nLabels: {', '.join(shown)}\n\nText: {text}"
        if not any(item.prompt.endswith(f"Text: {text}") for item in items.values()):
            items[text] = Item(prompt, "label", {"label": label, "labels": names}, task, MAX_TOKENS, SYSTEM)
    return list(items.values())


def make_items(seed: int) -> list[Item]:
    """All items, task after task."""
    chance = random.Random(seed)
    return [item for task in TASKS for item in make_task(chance, task)]


PLANS = (
    Plan(
        name="classification",
        title="Classification",
        measures="Choosing one label from a closed list for a short text: sentiment, topic, intent, urgency, spam.",
        does_not_measure="Long texts, several labels at once, label sets of one trade; the texts come from about 90 templates.",
        release=1,
        seed=5110,
        chance=0.3,
        make_items=make_items,
    ),
)

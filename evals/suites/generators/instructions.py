# ruff: noqa: E501 (a text and its data stand on one line)
"""Instructions that code can check. Each item is made around a reply that keeps to all of them, so none is impossible."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from evals.constraints import count_phrase, count_sentences, list_broken, list_words
from evals.suites.generators.base import Item, Plan

MAX_TOKENS = 512
TOPICS = (
    "a rainy morning", "a bicycle", "an old library", "a train station", "home cooking", "a vegetable garden", "the sea",
    "a long walk", "a village market", "a lighthouse", "a school play", "winter clothes", "a wooden chair", "a cup of tea",
    "a night bus", "a river ferry", "a mountain hut", "a street musician", "an empty theatre", "a bakery", "a chess club",
    "a broken umbrella", "a quiet neighbour", "a paper map", "a public park", "a small island",
)  # fmt: skip
SENTENCES = (
    "Many people enjoy {t} more than they say.",
    "There is a calm side to {t} that is easy to miss.",
    "You can learn a lot from {t} in one hour.",
    "Some days feel better with {t} in mind.",
    "It costs little to look at {t} with fresh eyes.",
    "My aunt still tells stories about {t}.",
    "Nothing about {t} needs to be grand.",
    "A good friend once spoke of {t} for a whole evening.",
    "Children often see {t} in a new light.",
    "We remember {t} by its sounds and smells.",
)
SHORT = ("calm and slow", "worth a second look", "best in good company", "never quite the same", "older than it looks",
         "kind to tired people", "part of daily life", "full of small sounds")  # fmt: skip
EXTRA_WORDS = ("lantern", "copper", "harvest", "whisper", "compass", "velvet", "thunder", "pepper", "mirror", "feather")
COMMON_WORDS = ("very", "nice", "beautiful", "great", "always", "perfect", "really", "important", "happy", "wonderful")
STARTS = ("To begin with,", "Strange but true:", "Here is the short version:", "Listen:", "First things first:")
ENDS = ("That is all.", "Nothing more to add.", "The end.", "And so it goes.", "Try it yourself.")
ACROSTICS = ("RAIN", "STONE", "CLOUD", "BREAD", "LAMP", "RIVER", "SALT", "WINTER")
LINES_BY_LETTER = {
    "a": "a slow start", "b": "bread on the table", "c": "clouds over the hill", "d": "doors left open", "e": "early light",
    "i": "ink on old paper", "l": "long shadows", "m": "many small steps", "n": "nobody in a hurry", "o": "open windows",
    "p": "paths through wet grass", "r": "rain on the roof", "s": "steam from a cup", "t": "tall trees", "u": "umbrellas",
    "v": "voices far away", "w": "warm hands",
}  # fmt: skip
PLACES_SORTED = ("apples", "buckets", "candles", "doormats", "envelopes", "flour", "gloves", "hammers", "ink", "jars")


@dataclass(slots=True)
class Draft:
    """A reply in the making: what is asked, the rules so far as sentences and as checks, and a reply that keeps them."""

    ask: str
    reply: str
    rules: list[str] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)

    def add(self, rule: str, **check: Any) -> None:
        """One more rule."""
        self.rules.append(rule)
        self.checks.append(check)


def write_sentences(chance: random.Random, topic: str, n: int) -> list[str]:
    """`n` different sentences about a topic."""
    return [sentence.format(t=topic) for sentence in chance.sample(SENTENCES, n)]


def draft_sentences(chance: random.Random, topic: str) -> Draft:
    """A number of sentences."""
    n = chance.randint(2, 6)
    draft = Draft(f"Write about {topic}.", " ".join(write_sentences(chance, topic, n)))
    draft.add(f"Write exactly {n} sentences.", kind="sentences", n=n)
    return draft


def draft_bullets(chance: random.Random, topic: str) -> Draft:
    """A bulleted list and nothing else."""
    n = chance.randint(3, 6)
    draft = Draft(f"What comes to mind about {topic}?", "\n".join(f"- {x}" for x in chance.sample(SHORT, n)))
    draft.add(f'Answer with exactly {n} bullet points, each on a line that begins with "- ".', kind="bullets", n=n)
    draft.add("Write no line outside the list.", kind="lines", n=n)
    return draft


def draft_numbered(chance: random.Random, topic: str) -> Draft:
    """A numbered list."""
    n = chance.randint(3, 7)
    lines = [f"{i}. {x}" for i, x in enumerate(chance.sample(SHORT, n), 1)]
    draft = Draft(f"List what one could say about {topic}.", "\n".join(lines))
    draft.add(f"Answer with a list numbered 1. to {n}.", kind="numbered", n=n)
    return draft


def draft_paragraphs(chance: random.Random, topic: str) -> Draft:
    """Paragraphs with empty lines between."""
    n = chance.randint(2, 4)
    draft = Draft(f"Write about {topic}.", "\n\n".join(write_sentences(chance, topic, n)))
    draft.add(f"Write exactly {n} paragraphs, separated by an empty line.", kind="paragraphs", n=n)
    return draft


def draft_acrostic(chance: random.Random, topic: str) -> Draft:
    """Lines that begin with given letters."""
    word = chance.choice(ACROSTICS)
    draft = Draft(f"Write an acrostic on the word {word}. Its theme is {topic}.",
                  "\n".join(LINES_BY_LETTER[letter] for letter in word.lower()))  # fmt: skip
    rule = f"Write {len(word)} lines and nothing else; they begin with the letters {', '.join(word)}, in this order."
    draft.add(rule, kind="line_starts", letters=list(word))
    return draft


def draft_parts(chance: random.Random, topic: str) -> Draft:
    """Parts with a mark between."""
    n, mark = chance.randint(2, 3), chance.choice(("***", "===", "~~~"))
    draft = Draft(f"Give different short texts about {topic}.", f"\n{mark}\n".join(write_sentences(chance, topic, n)))
    rule = f"Give exactly {n} texts, with a line holding only {mark} between them (not before the first or after the last)."
    draft.add(rule, kind="separated", mark=mark, n=n)
    return draft


def draft_sorted(chance: random.Random, topic: str) -> Draft:
    """Things in alphabetical order."""
    n = chance.randint(4, 8)
    draft = Draft(f"List things that could be seen near {topic}.", "\n".join(sorted(chance.sample(PLACES_SORTED, n))))
    draft.add(f"Write exactly {n} lines, one thing on each, and nothing else.", kind="lines", n=n)
    draft.add("Put the lines in alphabetical order.", kind="sorted_lines")
    return draft


def draft_json(chance: random.Random, topic: str) -> Draft:
    """A JSON object and nothing else."""
    kinds = {"title": ("string", '"calm"'), "mood": ("string", '"quiet"'), "score": ("number", "7"), "year": ("number", "1950"),
             "tags": ("list", '["old", "slow"]'), "indoors": ("boolean", "false"), "colours": ("list", '["grey"]')}  # fmt: skip
    keys = chance.sample(list(kinds), chance.randint(2, 5))
    reply = "{" + ", ".join(f'"{key}": {kinds[key][1]}' for key in keys) + "}"
    draft = Draft(f"Describe {topic} as data. Make the values up.", reply)
    wanted = ", ".join(f'"{key}" ({kinds[key][0]})' for key in keys)
    rule = f"Answer with one JSON object and nothing else. It has exactly these keys: {wanted}."
    draft.add(rule, kind="json", keys=keys, types={key: kinds[key][0] for key in keys})
    return draft


def add_word_range(chance: random.Random, draft: Draft) -> bool:
    """Between two numbers of words."""
    n = len(list_words(draft.reply))
    low, high = max(1, n - chance.randint(3, 8)), n + chance.randint(3, 8)
    draft.add(f"Use between {low} and {high} words in all.", kind="words", min=low, max=high)
    return True


def add_included(chance: random.Random, draft: Draft) -> bool:
    """Words that must occur, here by a sentence or line of their own kind put before the last."""
    words = chance.sample(EXTRA_WORDS, chance.randint(1, 3))
    if not replace_word(draft, words):
        return False
    draft.add(f"Use each of these words: {', '.join(words)}.", kind="included", words=words)
    return True


def replace_word(draft: Draft, words: list[str]) -> bool:
    """Put the words behind the first of "a", "and" or "more" in the reply, so that its shape stays the same."""
    for anchor in (" and ", " a ", " in ", " of ", " to "):
        at = draft.reply.find(anchor)
        if at >= 0:
            draft.reply = draft.reply[:at] + " " + " ".join(words) + draft.reply[at:]
            return True
    return False


def add_repeated(chance: random.Random, draft: Draft) -> bool:
    """One word exactly so often."""
    word, times = chance.choice(EXTRA_WORDS), chance.randint(2, 3)
    if count_phrase(draft.reply, word) or not replace_word(draft, [word] * times):
        return False
    draft.add(f'Use the word "{word}" exactly {times} times.', kind="included", words=[word], times=times)
    return True


def add_forbidden(chance: random.Random, draft: Draft) -> bool:
    """Words that must not occur."""
    free = [word for word in (*COMMON_WORDS, "the", "is", "it") if not count_phrase(draft.reply, word)]
    words = chance.sample(free, 3)
    draft.add(f"Do not use any of these words: {', '.join(words)}.", kind="forbidden", words=words)
    return True


def add_start(chance: random.Random, draft: Draft) -> bool:
    """A given beginning."""
    text = chance.choice(STARTS)
    draft.reply = f"{text} {draft.reply}"
    draft.add(f'Begin your reply with exactly these words: "{text}"', kind="start", text=text)
    return True


def add_end(chance: random.Random, draft: Draft) -> bool:
    """A given ending, which is a sentence of its own."""
    text = chance.choice(ENDS)
    draft.reply = f"{draft.reply} {text}"
    draft.add(f'End your reply with exactly these words and nothing after them: "{text}"', kind="end", text=text)
    return True


def add_lower(chance: random.Random, draft: Draft) -> bool:
    """Small letters only."""
    draft.reply = draft.reply.lower()
    draft.add("Write everything in lower case, without any capital letter.", kind="lower")
    return True


def add_upper(chance: random.Random, draft: Draft) -> bool:
    """Capital letters only."""
    draft.reply = draft.reply.upper()
    draft.add("Write everything in capital letters.", kind="upper")
    return True


def add_no_commas(chance: random.Random, draft: Draft) -> bool:
    """No comma anywhere."""
    draft.reply = draft.reply.replace(",", "")
    draft.add("Do not use any commas.", kind="without", characters=[","])
    return True


def add_title(chance: random.Random, draft: Draft) -> bool:
    """A title on top."""
    draft.reply = f"<<Some notes>>\n{draft.reply}"
    draft.add("Put a title within double angle brackets, like <<title>>, on a first line of its own.", kind="title")
    return True


def add_quoted(chance: random.Random, draft: Draft) -> bool:
    """Within quotation marks."""
    draft.reply = f'"{draft.reply}"'
    draft.add("Put your whole reply in double quotation marks.", kind="quoted")
    return True


def add_placeholders(chance: random.Random, draft: Draft) -> bool:
    """Places to fill in."""
    n = chance.randint(2, 4)
    if not replace_word(draft, [f"[{name}]" for name in ("name", "date", "place", "colour")[:n]]):
        return False
    draft.add(f"Have at least {n} placeholders in square brackets, such as [date].", kind="placeholders", min=n)
    return True


def add_without_letter(chance: random.Random, draft: Draft) -> bool:
    """A letter that must not occur: the commonest that the reply happens to lack."""
    letter = next(c for c in "dhlcumwfgypbvkjxqz" if c not in draft.reply.casefold())
    draft.add(f'Do not use the letter "{letter}" anywhere.', kind="without_letter", letter=letter)
    return True


def add_short_words(chance: random.Random, draft: Draft) -> bool:
    """No long words."""
    longest = max(len(word) for word in list_words(draft.reply))
    draft.add(f"Use no word of more than {longest} letters.", kind="word_lengths", max=longest)
    return True


def add_character_limit(chance: random.Random, draft: Draft) -> bool:
    """A most of characters."""
    limit = (len(draft.reply) // 20 + 2) * 20
    draft.add(f"Use at most {limit} characters in all, spaces included.", kind="characters", max=limit)
    return True


Draw = Callable[[random.Random, str], Draft]
Add = Callable[[random.Random, Draft], bool]
PROSE: tuple[Draw, ...] = (draft_sentences, draft_paragraphs, draft_parts)
LISTS: tuple[Draw, ...] = (draft_bullets, draft_numbered, draft_acrostic, draft_sorted, draft_json)
# In this order: what changes words first, then case, then what wraps the reply, limits last.
ADDITIONS: tuple[Add, ...] = (
    add_included, add_repeated, add_placeholders, add_forbidden, add_no_commas, add_lower, add_upper, add_start, add_end,
    add_title, add_quoted, add_without_letter, add_short_words, add_word_range, add_character_limit,
)  # fmt: skip
LEVELS = {"one rule": (0, 40), "two rules": (1, 50), "three rules": (2, 40), "four or five rules": (4, 40)}
"""Of each level: how many rules are added to the shape of the reply, and how many items."""


def is_sound(draft: Draft) -> bool:
    """Whether the reply keeps its own rules and no two rules are of the same kind."""
    kinds = [check["kind"] for check in draft.checks]
    return len(set(kinds)) == len(kinds) and not list_broken(draft.checks, draft.reply)


def make_item(chance: random.Random, level: str, draw: Draw) -> Item:
    """One item of a level; drafts whose rules clash are thrown away."""
    while True:
        draft = draw(chance, chance.choice(TOPICS))
        chosen = set(chance.sample(ADDITIONS, LEVELS[level][0])) if LEVELS[level][0] else set()
        added = [add(chance, draft) for add in ADDITIONS if add in chosen]
        if draw is draft_sentences and any(c["kind"] == "sentences" for c in draft.checks):
            n = count_sentences(draft.reply)
            draft.checks[0]["n"], draft.rules[0] = n, f"Write exactly {n} sentences."
        if all(added) and is_sound(draft):
            break
    rules = "\n".join(f"- {rule}" for rule in draft.rules)
    prompt = f"{draft.ask} Keep to {'this rule' if len(draft.rules) == 1 else 'all of these rules'}:\n{rules}"
    expected = {"constraints": draft.checks, "reference": draft.reply}
    return Item(prompt, "constraints", expected, level, MAX_TOKENS)


def make_items(seed: int) -> list[Item]:
    """All items; no prompt occurs twice."""
    chance = random.Random(seed)
    items: dict[str, Item] = {}
    for level, (n_added, n_items) in LEVELS.items():
        wanted = len(items) + n_items
        shapes = (*PROSE, *LISTS) if n_added < 2 else (*PROSE, *PROSE, draft_bullets, draft_numbered)
        turn = 0
        while len(items) < wanted:
            item = make_item(chance, level, shapes[turn % len(shapes)])
            turn += item.prompt not in items
            items.setdefault(item.prompt, item)
    return list(items.values())


PLANS = (
    Plan(
        name="instructions",
        title="Following instructions",
        measures="Keeping to rules that code can check: counts, shape, wording, case; an item counts when all are kept.",
        does_not_measure="Whether the text is good, true or about the topic.",
        release=1,
        seed=5103,
        chance=0.0,
        make_items=make_items,
    ),
)

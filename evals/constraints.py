"""Instructions that code can check: each kind tells whether a reply keeps to it, and if not, how it fails.

A constraint is a JSON object with a `kind` and that kind's own settings, as named at each function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evals.answer_text import read_json, unfence

WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
SENTENCE_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s|$)|[。！？]+")
ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|e\.g|i\.e|etc|vs|No)\.(?=\s)")
BULLET = re.compile(r"^[ \t]*[-*•][ \t]+\S", re.MULTILINE)
NUMBERED = re.compile(r"^[ \t]*(\d+)[.)][ \t]+\S", re.MULTILINE)

Check = Callable[[str, Mapping[str, Any]], str]


def list_words(text: str) -> list[str]:
    """The words of a text: runs of letters and digits, inner hyphens and apostrophes included."""
    return WORD.findall(text)


def count_sentences(text: str) -> int:
    """Sentences by their end marks; a last one without a mark counts, common abbreviations do not end one."""
    plain = ABBREVIATION.sub("X", text.strip())
    ends = list(SENTENCE_END.finditer(plain))
    rest = plain[ends[-1].end() :] if ends else plain
    return len(ends) + bool(WORD.search(rest))


def count_phrase(text: str, phrase: str) -> int:
    """How often a word or phrase occurs as whole words, case ignored."""
    return len(re.findall(rf"(?<!\w){re.escape(phrase.casefold())}(?!\w)", text.casefold()))


def compare_count(what: str, n: int, settings: Mapping[str, Any]) -> str:
    """A complaint where `n` is not `n`, below `min` or above `max` of the settings, whichever are given."""
    if "n" in settings and n != settings["n"]:
        return f"{n} {what} where exactly {settings['n']} are asked"
    if "min" in settings and n < settings["min"]:
        return f"{n} {what} where at least {settings['min']} are asked"
    if "max" in settings and n > settings["max"]:
        return f"{n} {what} where at most {settings['max']} are asked"
    return ""


def check_forbidden(text: str, settings: Mapping[str, Any]) -> str:
    """`words`: none of them may occur."""
    used = [word for word in settings["words"] if count_phrase(text, word)]
    return f"uses the forbidden word {used[0]!r}" if used else ""


def check_included(text: str, settings: Mapping[str, Any]) -> str:
    """`words`: each must occur, with `times` exactly that often."""
    for word in settings["words"]:
        n = count_phrase(text, word)
        if not n or n != settings.get("times", n):
            return f"uses {word!r} {n} times" if n else f"does not use {word!r}"
    return ""


def check_start(text: str, settings: Mapping[str, Any]) -> str:
    """`text`: the reply begins with it, case as given."""
    return "" if text.strip().startswith(settings["text"]) else f"does not begin with {settings['text']!r}"


def check_end(text: str, settings: Mapping[str, Any]) -> str:
    """`text`: the reply ends with it, case as given."""
    return "" if text.strip().endswith(settings["text"]) else f"does not end with {settings['text']!r}"


def check_lower(text: str, settings: Mapping[str, Any]) -> str:
    """No capital letter."""
    return "" if text == text.lower() else "has capital letters"


def check_upper(text: str, settings: Mapping[str, Any]) -> str:
    """No small letter."""
    return "" if text == text.upper() else "has small letters"


def check_without(text: str, settings: Mapping[str, Any]) -> str:
    """`characters`: none of them may occur."""
    used = [c for c in settings["characters"] if c in text]
    return f"has the character {used[0]!r}" if used else ""


def check_json(text: str, settings: Mapping[str, Any]) -> str:
    """The whole reply is one JSON object, fenced or not, with exactly `keys`; `types` by key where given."""
    try:
        value = read_json(unfence(text))
    except ValueError:
        return "is not JSON and nothing else"
    if not isinstance(value, dict) or set(value) != set(settings["keys"]):
        return f"is not an object with exactly the keys {', '.join(settings['keys'])}"
    kinds: dict[str, Any] = {"number": (int, float), "string": str, "list": list, "boolean": bool}
    for key, kind in settings.get("types", {}).items():
        if not isinstance(value[key], kinds[kind]) or (kind == "number" and isinstance(value[key], bool)):
            return f"has at {key!r} no {kind}"
    return ""


def check_bullets(text: str, settings: Mapping[str, Any]) -> str:
    """`n`, `min`, `max`: lines that begin with a hyphen, star or bullet."""
    return compare_count("bullet points", len(BULLET.findall(text)), settings)


def check_numbered(text: str, settings: Mapping[str, Any]) -> str:
    """`n`: lines numbered 1 to n in order, and no more."""
    got = [int(number[:6]) for number in NUMBERED.findall(text)]
    return "" if got == list(range(1, settings["n"] + 1)) else f"is not a list numbered 1 to {settings['n']}"


def check_paragraphs(text: str, settings: Mapping[str, Any]) -> str:
    """`n`, `min`, `max`: blocks of text with an empty line between."""
    return compare_count("paragraphs", len([p for p in re.split(r"\n\s*\n", text.strip()) if p.strip()]), settings)


def check_lines(text: str, settings: Mapping[str, Any]) -> str:
    """`n`, `min`, `max`: lines that are not empty."""
    return compare_count("lines", len([line for line in text.splitlines() if line.strip()]), settings)


def check_words(text: str, settings: Mapping[str, Any]) -> str:
    """`n`, `min`, `max`: words."""
    return compare_count("words", len(list_words(text)), settings)


def check_sentences(text: str, settings: Mapping[str, Any]) -> str:
    """`n`, `min`, `max`: sentences."""
    return compare_count("sentences", count_sentences(text), settings)


def check_characters(text: str, settings: Mapping[str, Any]) -> str:
    """`n`, `min`, `max`: characters, outer spaces left out."""
    return compare_count("characters", len(text.strip()), settings)


def check_title(text: str, settings: Mapping[str, Any]) -> str:
    """The first line is a title within double angle brackets."""
    return "" if re.match(r"\s*<<[^<>\n]+>>[ \t]*(?:\n|$)", text) else "has no title in double angle brackets on top"


def check_quoted(text: str, settings: Mapping[str, Any]) -> str:
    """The whole reply stands in double quotation marks."""
    inside = text.strip()
    is_quoted = len(inside) > 2 and inside[0] in '"“' and inside[-1] in '"”'
    return "" if is_quoted else "does not stand in double quotation marks"


def check_line_starts(text: str, settings: Mapping[str, Any]) -> str:
    """`letters`: the lines begin with these letters, in order, case ignored."""
    starts = [line.strip()[0].casefold() for line in text.splitlines() if line.strip()]
    wanted = [letter.casefold() for letter in settings["letters"]]
    return "" if starts == wanted else f"has lines that begin with {''.join(starts)[:40]!r}"


def check_sorted_lines(text: str, settings: Mapping[str, Any]) -> str:
    """The lines stand in alphabetical order, list marks and case ignored."""
    lines = [re.sub(r"^[\s*•\d.)-]+", "", line).casefold() for line in text.splitlines() if line.strip()]
    return "" if lines == sorted(lines) else "is not in alphabetical order"


def check_word_lengths(text: str, settings: Mapping[str, Any]) -> str:
    """`max`: no word has more letters than this."""
    long = [word for word in list_words(text) if len(word) > settings["max"]]
    return f"has the word {long[0][:40]!r}, longer than {settings['max']} letters" if long else ""


def check_without_letter(text: str, settings: Mapping[str, Any]) -> str:
    """`letter`: it occurs nowhere, case ignored."""
    return f"has the letter {settings['letter']!r}" if settings["letter"].casefold() in text.casefold() else ""


def check_placeholders(text: str, settings: Mapping[str, Any]) -> str:
    """`n`, `min`, `max`: places to fill in, written in square brackets."""
    return compare_count("placeholders", len(re.findall(r"\[[^\[\]\n]+\]", text)), settings)


def check_separated(text: str, settings: Mapping[str, Any]) -> str:
    """`mark`, `n`: that many parts with the mark on a line of its own between."""
    parts = re.split(rf"^[ \t]*{re.escape(settings['mark'])}[ \t]*$", text.strip(), flags=re.MULTILINE)
    n_full = len([part for part in parts if part.strip()])
    return (
        "" if n_full == len(parts) == settings["n"] else f"is not {settings['n']} parts separated by {settings['mark']}"
    )


CHECKS: dict[str, Check] = {
    "words": check_words,
    "sentences": check_sentences,
    "paragraphs": check_paragraphs,
    "lines": check_lines,
    "characters": check_characters,
    "bullets": check_bullets,
    "numbered": check_numbered,
    "forbidden": check_forbidden,
    "included": check_included,
    "start": check_start,
    "end": check_end,
    "lower": check_lower,
    "upper": check_upper,
    "without": check_without,
    "json": check_json,
    "title": check_title,
    "quoted": check_quoted,
    "line_starts": check_line_starts,
    "sorted_lines": check_sorted_lines,
    "word_lengths": check_word_lengths,
    "without_letter": check_without_letter,
    "placeholders": check_placeholders,
    "separated": check_separated,
}


def list_broken(constraints: Sequence[Mapping[str, Any]], reply: str) -> list[str]:
    """A complaint for each constraint the reply does not keep; an empty reply keeps none."""
    text = reply.strip()
    if not text:
        return ["the reply is empty"] * max(1, len(constraints))
    return [complaint for c in constraints if (complaint := CHECKS[c["kind"]](text, c))]

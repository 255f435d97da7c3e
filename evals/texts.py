"""Texts to measure a quantization's damage on where the person gives none, by name.

Nothing is shipped for it: a text is put together when it is asked for, the same each time for one version of this
project. Its hash is kept with the result (`DivergenceSetting.text_sha256`); perplexities compare only under the same
hash, divergences of one pair of files move little with the text. None of these is WikiText-2: published figures on that
text stand beside ours as measured on another.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from evals.demo.corpus import SKILLS, list_held_out_items
from evals.demo.vocabulary import ASSISTANT, END, USER
from sizing.errors import UnknownNameError

ROOT = Path(__file__).resolve().parents[1]

OWN_TEXT_BYTES = 300_000
"""About the length of the project's own text: some 75,000 tokens, 150 windows of 512."""

PASSAGE_BYTES = 3_000
"""Passages are about this long, so that what is said early in one still matters at its end."""

N_ITEMS_OF_SKILL = 400


@dataclass(frozen=True, slots=True)
class Text:
    """A text by name: what it is and is not, whether its '<|...|>' are the model's own tokens, and how it is made."""

    name: str
    description: str
    parse_special: bool
    build: Callable[[], str]


def build_own_text() -> str:
    """Passages of this project's own pages and modules, mixed by a fixed seed, about `OWN_TEXT_BYTES` long."""
    files, chance = list_own_files(), random.Random(0)
    pages = [passage for path in files if path.suffix == ".md" for passage in list_passages(path)]
    modules = [passage for path in files if path.suffix == ".py" for passage in list_passages(path)]
    chance.shuffle(modules)
    taken, n_bytes = [], 0
    for passage in pages + modules:  # every page, and as many modules as there is room for
        if n_bytes >= OWN_TEXT_BYTES:
            break
        taken.append(passage)
        n_bytes += len(passage.encode())
    chance.shuffle(taken)
    return "\n\n".join(taken) + "\n"


def list_own_files() -> list[Path]:
    """The pages and modules we wrote, in the order of their names. The licence is not ours and is left out."""
    found = [ROOT / "README.md", ROOT / "CHANGELOG.md"]
    for room in ("sizing", "catalog", "evals"):
        found += [path for kind in ("*.md", "*.py") for path in sorted((ROOT / room).rglob(kind))]
    return [path for path in found if path.is_file()]


def list_passages(path: Path) -> Iterator[str]:
    """A file in passages of about `PASSAGE_BYTES`, cut between paragraphs or definitions."""
    passage = ""
    for part in path.read_text(encoding="utf-8").split("\n\n"):
        passage = f"{passage}\n\n{part}" if passage else part
        if len(passage) >= PASSAGE_BYTES:
            yield passage.strip("\n")
            passage = ""
    if len(passage) > PASSAGE_BYTES // 4:
        yield passage.strip("\n")


def build_demo_text() -> str:
    """Chats the demonstration model was not trained on, in its own format, all skills mixed by a fixed seed."""
    items = [item for skill in SKILLS for item in list_held_out_items(skill, N_ITEMS_OF_SKILL)]
    random.Random(0).shuffle(items)
    return "".join(f"{USER}{item.prompt}{END}{ASSISTANT}{item.answer}{END}" for item in items)


TEXTS = {
    text.name: text
    for text in (
        Text(
            "own",
            "This project's own pages and modules, about 300 KB: technical English, Python, tables. No other "
            "languages, no chat, no fiction.",
            False,
            build_own_text,
        ),
        Text(
            "demo",
            "Held-out chats of the demonstration model, in its own format, about 140 KB. For that model only: it knows "
            "nothing else.",
            True,
            build_demo_text,
        ),
    )
}


def find_text(name: str) -> Text:
    """The text of this name. Raises UnknownNameError."""
    if name not in TEXTS:
        raise UnknownNameError("text", name, TEXTS)
    return TEXTS[name]

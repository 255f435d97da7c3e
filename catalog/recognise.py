"""Which model of the catalog a file is, by what its header says."""

from __future__ import annotations

from collections.abc import Iterable

from catalog.gguf_header import GgufHeader
from catalog.models import ModelCard

_REPOSITORY_KEYS = ("source.huggingface.repository", "repo_url")
"""Where the model itself came from. `base_model` is left out: a fine-tune names the model it is not."""


def recognise(header: GgufHeader, cards: Iterable[ModelCard]) -> ModelCard | None:
    """The model a file says it is, by its name or that of the repository it was made from; None where none fits.

    A header is written by whoever made the file: what it says is a proposal, to be shown before it counts.
    """
    known: dict[str, ModelCard] = {}
    for card in cards:
        for name in (card.spec.name, card.model_id.rsplit("/", 1)[-1]):
            known.setdefault(_fold(name), card)
    return next((known[name] for name in map(_fold, list_names(header)) if name in known), None)


def list_names(header: GgufHeader) -> tuple[str, ...]:
    """What a header calls its model, the surest first: repository, name, then base name with size and finetune."""

    def find(key: str) -> str:
        value = header.find(f"general.{key}")
        return value if isinstance(value, str) else ""

    base, size, finetune = find("basename"), find("size_label"), find("finetune")
    names = [find(key).rstrip("/").rsplit("/", 1)[-1] for key in _REPOSITORY_KEYS]
    names.append(find("name"))
    if base and size:
        names.append(f"{base} {size} {finetune}" if finetune else f"{base} {size}")
    return tuple(name for name in names if _fold(name))


def _fold(text: str) -> str:
    """Letters and digits alone: spaces, dots and dashes are written as people like."""
    return "".join(c for c in text.casefold() if c.isalnum())

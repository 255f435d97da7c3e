"""The boxes that choose a model and its quantization, as several pages have them."""

from __future__ import annotations

from collections.abc import Iterable

from catalog.models import ModelCard
from pages.ui import cached, inputs
from sizing.quants import QUANTS


def show(card: ModelCard, *, width: int = 310) -> None:
    """A select box over the models of the catalog, `card` being the one on the page."""
    choices = cached.list_choices()
    names = choices.with_model(card)
    inputs.choice("model", "Model", tuple(names), names, shown=card.model_id, width=width, may_type=choices.has_more)


def order_quants(known: Iterable[str]) -> tuple[str, ...]:
    """Quantizations by their bits per weight, most first; those of no listed kind last."""
    return tuple(sorted(known, key=lambda q: -QUANTS[q].nominal_bits_per_weight if q in QUANTS else 0))

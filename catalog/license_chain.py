"""What a model was made from, as far as is known, and what all those licences together mean for a profile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from catalog.license_rules import Link, Outcome, Verdict, evaluate_model
from catalog.licenses import BaseLicense, License, load_base_licenses
from catalog.models import ModelCard
from catalog.store import Catalog, once_per_catalog
from sizing.license_profile import LicenseProfile

MAX_LINKS = 24
"""Models of a chain that are followed; a merge of more is judged by the first."""


@dataclass(frozen=True, slots=True)
class Known:
    """What chains are looked up in: cards by id in lower case, licences by id, bases outside the catalog."""

    cards: Mapping[str, ModelCard]
    licenses: Mapping[str, License]
    bases: tuple[BaseLicense, ...]

    def find_base(self, model_id: str) -> BaseLicense | None:
        """What is known of a repository outside the catalog, by the longest beginning of its name."""
        name = model_id.casefold()
        return next((b for b in self.bases if name.startswith(b.prefix.casefold())), None)


@once_per_catalog
def find_known(catalog: Catalog) -> Known:
    """What the chains of a catalog are looked up in."""
    return Known(
        {card.model_id.casefold(): card for card in catalog.cards},
        {x.license_id: x for x in catalog.licenses},
        load_base_licenses(catalog.data_dir),
    )


def list_chain(catalog: Catalog, card: ModelCard) -> tuple[Link, ...]:
    """A model with its own licence, then everything it was made from, the nearest first; each model once."""
    known = find_known(catalog)
    links = [Link(card.model_id, known.licenses[card.license_id], is_multimodal(card), "itself", card.source_url)]
    seen, waiting = {card.model_id.casefold()}, list(card.base_models)
    while waiting and len(links) < MAX_LINKS:
        model_id = waiting.pop(0)
        if model_id.casefold() in seen:
            continue
        seen.add(model_id.casefold())
        link, further = _find_link(known, model_id, links[0].is_multimodal)
        links.append(link)
        waiting += further
    return tuple(links)


def _find_link(known: Known, model_id: str, as_model: bool | None) -> tuple[Link, tuple[str, ...]]:
    """One base of a chain, and what that was made from."""
    card = known.cards.get(model_id.casefold())
    if card is not None:
        terms = known.licenses[card.license_id]
        return Link(card.model_id, terms, is_multimodal(card), "its base", card.source_url), card.base_models
    base = known.find_base(model_id)
    address = f"https://huggingface.co/{model_id}"
    if base is None:
        return Link(model_id, None, as_model, "its base, not in the catalog", address), ()
    return Link(model_id, known.licenses[base.license_id], as_model, "its base", base.source_url), ()


def is_multimodal(card: ModelCard) -> bool | None:
    """Whether a model reads or makes more than text; None where its card does not say."""
    return any(m != "text" for m in card.modalities) if card.modalities else None


def judge_model(catalog: Catalog, card: ModelCard, profile: LicenseProfile) -> Verdict:
    """What a model's licence and those of its bases mean for a profile."""
    return evaluate_model(list_chain(catalog, card), profile)


def judge_models(
    catalog: Catalog, cards: Iterable[ModelCard], profile: LicenseProfile
) -> dict[str, tuple[Outcome, str]]:
    """The verdict of each model and its reason, by id; models of one licence and the same bases share one answer."""
    answers: dict[object, tuple[Outcome, str]] = {}
    found = {}
    for card in cards:
        key = (card.license_id, is_multimodal(card), card.base_models)
        if key not in answers:
            verdict = judge_model(catalog, card, profile)
            answers[key] = verdict.outcome, verdict.reason
        found[card.model_id] = answers[key]
    return found


def count_outcomes(judged: Mapping[str, tuple[Outcome, str]]) -> dict[Outcome, int]:
    """How many models there are of each verdict, the mildest first; verdicts without a model are 0."""
    counts = Counter(outcome for outcome, _ in judged.values())
    return {outcome: counts[outcome] for outcome in Outcome}

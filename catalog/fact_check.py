"""Whether the fact files agree with themselves: what a person who added a model, a card or a licence wants to hear.

Loading the catalog already refuses a row that breaks a rule of its table, naming file and line. What is looked at here
needs several rows at once: a model's count against its shapes, weights that were not asked for yet, a licence that
does not say the first thing one asks of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from catalog.models import ModelCard
from catalog.queries import find_weigh_gap, list_devices, list_models
from catalog.store import NOT_WEIGHED, Catalog
from sizing.errors import UnsupportedError
from sizing.hardware import Device, DeviceKind
from sizing.modules import list_modules

COUNT_TOLERANCE = 1e-5
"""Rope tables and the like, of at most a few hundred values, are part of some publishers' counts."""


@dataclass(frozen=True, slots=True)
class FactCount:
    """How many facts of a kind there are."""

    kind: str
    n_facts: int


@dataclass(frozen=True, slots=True)
class FactProblem:
    """Something that does not agree: what about, in words, and the command that mends it where there is one."""

    name: str
    text: str


def count_facts(catalog: Catalog) -> tuple[FactCount, ...]:
    """How many facts of each kind the catalog holds, by the name of their table."""
    tables = catalog.fetch(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY table_name"
    )
    return tuple(FactCount(name, catalog.fetch(f'SELECT count(*) FROM "{name}"')[0][0]) for (name,) in tables)


def list_fact_problems(catalog: Catalog) -> tuple[FactProblem, ...]:
    """Everything in the fact files that does not agree, models first; empty when all does."""
    models = [problem for card in list_models(catalog) for problem in _check_model(catalog, card)]
    return (*models, *_check_openness(catalog), *_check_cards(catalog), *_check_licenses(catalog))


def _check_model(catalog: Catalog, card: ModelCard) -> Iterator[FactProblem]:
    spec = card.spec
    try:
        counted = sum(m.n_params for m in list_modules(spec))
    except UnsupportedError as error:
        if find_weigh_gap(catalog, card.model_id) in (None, NOT_WEIGHED):
            yield FactProblem(card.model_id, f"{error}, and no gap says why it has no weights")
        return
    if abs(counted - spec.n_params) > COUNT_TOLERANCE * spec.n_params:
        difference = counted - spec.n_params
        yield FactProblem(
            card.model_id, f"n_params is {spec.n_params:,}, its shapes hold {counted:,} ({difference:+,})"
        )
    if find_weigh_gap(catalog, card.model_id) == NOT_WEIGHED:
        yield FactProblem(card.model_id, f"not weighed yet; run `python -m evals weigh --model {card.model_id}`")


def _check_openness(catalog: Catalog) -> Iterator[FactProblem]:
    """A model is as open as its licence: one that forbids commerce is no open weight, one that limits it no source."""
    known = dict(catalog.fetch("SELECT license_id, commercial FROM licenses"))
    for card in list_models(catalog):
        commercial = known.get(card.license_id)
        if commercial == "no" and card.openness != "restricted weight":
            yield FactProblem(card.model_id, f"openness is {card.openness!r}, {card.license_id} forbids commercial use")
        if commercial != "yes" and card.openness == "open source":
            yield FactProblem(card.model_id, f"openness is 'open source', {card.license_id} limits commercial use")


def _check_cards(catalog: Catalog) -> Iterator[FactProblem]:
    """A rate that all cards of a generation have and one lacks, or the reverse."""
    generations: dict[str, list[Device]] = defaultdict(list)
    for device in list_devices(catalog):
        if device.kind is not DeviceKind.CPU and device.architecture:
            generations[device.architecture].append(device)
    for generation, devices in generations.items():
        for column in ("bf16_flops", "fp8_flops"):
            having = [d for d in devices if getattr(d, column) is not None]
            lacking = [d for d in devices if getattr(d, column) is None]
            if len(devices) > 2 and 1 in (len(having), len(lacking)):
                (odd,) = having if len(having) == 1 else lacking
                said = "is stated" if having == [odd] else "is empty"
                yield FactProblem(odd.name, f"{column} {said}, unlike for every other device of {generation!r}")


def _check_licenses(catalog: Catalog) -> Iterator[FactProblem]:
    unclear = catalog.fetch("SELECT license_id FROM licenses WHERE commercial = 'unknown' ORDER BY license_id")
    for (license_id,) in unclear:
        yield FactProblem(license_id, "no clause says whether commercial use is allowed")

"""The catalog as the ranking sees it: every model with its weights, its licence answer and its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from catalog.format_loss import estimate_format_loss
from catalog.license_chain import judge_models
from catalog.license_rules import make_profile
from catalog.models import ModelCard
from catalog.quality import QualityEvidence
from catalog.quant_loss import (
    OTHER_FORMATS,
    LossModel,
    QuantRow,
    estimate_quant_loss,
    fit_losses,
    list_measured_families,
    load_quant_rows,
)
from catalog.quant_tasks import TaskFactor, fit_task_factors, scale_loss
from catalog.queries import all_weights, find_weigh_gap, list_downloads, list_models, list_quality
from catalog.store import Catalog
from sizing.compute import can_estimate_compute
from sizing.errors import UnknownNameError
from sizing.license_profile import LicenseProfile
from sizing.measured import take_measured
from sizing.memory import WeightBytes
from sizing.quants import QUANTS
from sizing.recommend import LICENSE_USES, TASKS, Candidate, MeasuredHere, Quality, QuantLoss

PROJECTOR_BYTES_PER_PARAM = 2
"""Projectors are published as F16 files."""


def list_candidates(
    catalog: Catalog,
    task: str,
    license_use: str,
    profile: LicenseProfile | None = None,
    measured: Sequence[MeasuredHere] = (),
) -> tuple[Candidate, ...]:
    """Every model of the catalog as a candidate for `task` under `license_use`, for the default profile unless given.

    A model is allowed where its licence and those of its bases are, with duties or without; "any" allows all.

    `measured` are scores of this box: they reorder what they were measured of (`sizing.measured`). Raises
    UnknownNameError for a task or a use nobody knows.
    """
    if task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    if license_use not in LICENSE_USES:
        raise UnknownNameError("license use", license_use, LICENSE_USES)
    evidence = {e.model_id: weigh_evidence(e) for e in list_quality(catalog, task)}
    weights, downloads = all_weights(catalog), list_downloads(catalog)
    names = {x.license_id: x.name for x in catalog.licenses}
    cards = list_models(catalog)
    judged = judge_models(catalog, cards, make_profile(license_use, profile))
    candidates = [
        build_candidate(
            catalog,
            card,
            task,
            weights.get(card.model_id, ()),
            evidence.get(card.model_id),
            license_name=names[card.license_id],
            license_allowed=license_use == "any" or judged[card.model_id][0].is_allowed,
            license_note=judged[card.model_id][1],
            n_downloads=downloads.get(card.model_id),
        )
        for card in cards
    ]
    return tuple(take_measured(candidates, measured, task))


def weigh_evidence(evidence: QualityEvidence) -> Quality:
    """A model's evidence for a task as the ranking weighs it, 0 to 100 with its interval."""
    e = evidence
    return Quality(e.score, e.low, e.high, e.n_scores, n_independent=e.n_independent)


@lru_cache(maxsize=4)
def find_loss_model(data_dir: Path) -> LossModel:
    """What published measurements say about every quantization, fitted once per data folder."""
    return fit_losses(load_quant_rows(data_dir / "quant_quality.csv"))


@lru_cache(maxsize=4)
def find_quant_rows(data_dir: Path) -> tuple[QuantRow, ...]:
    """Every published measurement of a quantization or format, read once per data folder."""
    return load_quant_rows(data_dir / "quant_quality.csv")


@lru_cache(maxsize=4)
def find_task_factors(data_dir: Path) -> dict[str, TaskFactor]:
    """How much more a quantization costs in each task than in MMLU, fitted once per data folder."""
    return fit_task_factors(load_quant_rows(data_dir / "quant_quality.csv"))


def list_quant_losses(catalog: Catalog, card: ModelCard, task: str = "") -> tuple[QuantLoss, ...]:
    """The points each quantization is expected to cost this model; quantizations nobody measured are left out.

    Points are those of `task`, of MMLU where none is named.
    Models that nobody measured share one answer where they share a measured family and the native format.
    """
    models, families = _list_measured(catalog.data_dir)
    model_id = card.model_id if card.model_id in models else ""
    family = card.family if card.family in families else ""
    return _list_losses(catalog.data_dir, model_id, family, card.quant_native, task)


@lru_cache(maxsize=4)
def _list_measured(data_dir: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Models and families that measurements of quantizations speak of."""
    rows = find_loss_model(data_dir).rows
    return frozenset(row.model_id for row in rows if row.model_id), list_measured_families(rows)


@lru_cache(maxsize=2048)
def _list_losses(
    data_dir: Path, model_id: str, family: str, quant_native: str | None, task: str
) -> tuple[QuantLoss, ...]:
    model = find_loss_model(data_dir)
    found = [estimate_quant_loss(model, name, model_id, family, quant_native) for name in QUANTS]
    found += [estimate_format_loss(find_quant_rows(data_dir), name, quant_native) for name in sorted(OTHER_FORMATS)]
    known = [e for e in found if e is not None]
    if task:
        known = [scale_loss(e, find_task_factors(data_dir)[task]) for e in known]
    return tuple(QuantLoss(e.quant, e.points, e.label, e.high, e.low) for e in known)


def build_candidate(
    catalog: Catalog,
    card: ModelCard,
    task: str,
    weights: tuple[WeightBytes, ...],
    quality: Quality | None,
    *,
    license_name: str = "",
    license_allowed: bool = True,
    license_note: str = "",
    n_downloads: int | None = None,
) -> Candidate:
    """One model as the ranking weighs it for `task`, with its losses; allowed unless its licence is judged."""
    spec = card.spec
    gap = find_weigh_gap(catalog, spec.model_id)
    if weights and not can_estimate_compute(spec.architecture):
        gap, weights = f"no compute formula for architecture {spec.architecture!r} yet", ()
    return Candidate(
        spec=spec,
        weights=weights,
        family=card.family,
        license_name=license_name,
        license_allowed=license_allowed,
        license_note=license_note,
        tasks=card.tasks,
        modalities=card.modalities,
        quality=quality,
        losses=list_quant_losses(catalog, card, task),
        gap=gap,
        projector_bytes=(spec.n_params_projector or 0) * PROJECTOR_BYTES_PER_PARAM,
        n_downloads=n_downloads,
    )

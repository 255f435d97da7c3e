"""What a comparison needs to know of each model: facts, evidence, files, and how it runs on the chosen machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from catalog.candidates import PROJECTOR_BYTES_PER_PARAM, build_candidate, list_quant_losses, weigh_evidence
from catalog.file_sizes import FileSize, list_file_sizes, list_imported_sizes
from catalog.imported import ImportedModel
from catalog.license_rules import Outcome, Verdict
from catalog.licenses import License, find_license
from catalog.models import ModelCard
from catalog.quality import QualityEvidence, ScoreRow
from catalog.queries import find_weigh_gap, list_quality, list_scores, list_weights
from catalog.store import Catalog
from sizing.compute import can_estimate_compute
from sizing.errors import BadInputError
from sizing.estimate import Estimate, check_workload, estimate, search_context
from sizing.hardware import Machine
from sizing.layer_strip import estimate_kv_growth_bytes
from sizing.memory import WeightBytes
from sizing.recommend import TASKS, Needs, QuantLoss, Ranker
from sizing.throughput import Interval


@dataclass(frozen=True, slots=True)
class CompareQuestion:
    """What the models are compared for: needs, machine, and one quantization for all (None: the best of each)."""

    needs: Needs
    machine: Machine
    quant: str | None = None


@dataclass(frozen=True, slots=True)
class LicenseWord:
    """A licence's verdict for a use in two words, and its reason with the duties."""

    word: str
    reason: str


@dataclass(frozen=True, slots=True)
class Compared:
    """One model of a comparison. `estimate` is None where it cannot be sized as asked, and `refusal` says why.

    `quality` has one entry a task of `TASKS`, None without evidence. `weights` are those the figures are for;
    `largest_context_tokens` is the most that runs on the machine in them, None where nothing does.
    """

    card: ModelCard
    license: License
    quality: tuple[QualityEvidence | None, ...]
    scores: tuple[ScoreRow, ...]
    files: tuple[FileSize, ...]
    kv_growth_bytes: int
    weights: WeightBytes | None = None
    loss: QuantLoss | None = None
    estimate: Estimate | None = None
    refusal: str = ""
    largest_context_tokens: int | None = None

    @property
    def quant(self) -> str:
        """The quantization the figures are for; "" where there is none."""
        return self.weights.quant if self.weights else ""


def say_verdict(verdict: Verdict, use: str) -> LicenseWord:
    """What a model's licence, and those of its bases, mean for a use ("commercial", "research" or "any")."""
    told = [verdict.reason]
    if verdict.outcome is Outcome.DUTIES:
        told = [f"{verdict.license_name}: {verdict.outcome}", *verdict.duties]
    told += [f"not reached: {clause.says}" for clause in verdict.watch]
    return LicenseWord("not asked" if use == "any" else str(verdict.outcome), "; ".join(told))


def compare_models(
    catalog: Catalog,
    cards: Sequence[ModelCard],
    question: CompareQuestion,
    find_import: Callable[[str], ImportedModel | None] = lambda _: None,
) -> tuple[Compared, ...]:
    """Everything about each model that a comparison shows, in the order of `cards`."""
    by_task = [{e.model_id: e for e in list_quality(catalog, task)} for task in TASKS]
    out = []
    for card in cards:
        known = Compared(
            card=card,
            license=find_license(catalog.licenses, card.license_id),
            quality=tuple(found.get(card.model_id) for found in by_task),
            scores=list_scores(catalog, card.model_id),
            files=(*list_file_sizes(catalog, card.model_id), *list_imported_sizes(find_import(card.model_id))),
            kv_growth_bytes=estimate_kv_growth_bytes(card.spec, question.needs.workload),
        )
        out.append(_size(catalog, known, question))
    return tuple(out)


def _size(catalog: Catalog, known: Compared, question: CompareQuestion) -> Compared:
    """The same model with its figures on the machine, or with the reason why there are none."""
    card, workload = known.card, question.needs.workload
    weights, gap = list_weights(catalog, card.model_id), find_weigh_gap(catalog, card.model_id)
    if not weights:
        return replace(known, refusal=f"cannot be sized for llama.cpp: {gap}")
    if not can_estimate_compute(card.spec.architecture):
        return replace(known, refusal=f"no compute formula for architecture {card.spec.architecture!r} yet")
    losses = list_quant_losses(catalog, card)
    try:
        check_workload(card.spec, workload)
        chosen = find_quantization(catalog, known, weights, question)
    except BadInputError as error:
        return replace(known, refusal=str(error))
    projector_bytes = find_projector_bytes(card, question)
    return replace(
        known,
        weights=chosen,
        loss=next((x for x in losses if x.quant == chosen.quant), None),
        estimate=estimate(card.spec, chosen, workload, question.machine, projector_bytes=projector_bytes),
        largest_context_tokens=find_longest(card, chosen, question),
    )


def find_longest(card: ModelCard, weights: WeightBytes, question: CompareQuestion) -> int | None:
    """The longest context in tokens per user that runs on the machine, None where none does."""
    workload, projector_bytes = question.needs.workload, find_projector_bytes(card, question)

    def runs(context_tokens: int) -> bool:
        asked = replace(workload, context_tokens=context_tokens)
        return estimate(card.spec, weights, asked, question.machine, projector_bytes=projector_bytes).fit.runs

    return search_context(card.spec.context_tokens, runs)


def find_projector_bytes(card: ModelCard, question: CompareQuestion) -> int:
    """Bytes of the vision tower where pictures are what is asked for, as the ranking counts it; else 0."""
    return (card.spec.n_params_projector or 0) * PROJECTOR_BYTES_PER_PARAM if question.needs.task == "vision" else 0


def find_quantization(
    catalog: Catalog, known: Compared, weights: Sequence[WeightBytes], question: CompareQuestion
) -> WeightBytes:
    """The weights to show: in the quantization asked for, else the one the ranking would pick here.

    Where none runs it is the smallest, which tells how far away the machine is. Raises BadInputError for a
    quantization the model does not have.
    """
    card, task = known.card, question.needs.task
    if question.quant is not None:
        found = next((w for w in weights if w.quant == question.quant), None)
        if found is None:
            raise BadInputError(f"{card.name} has no {question.quant} here; leave the choice to each model's best")
        return found
    quality = weigh_evidence(evidence) if (evidence := known.quality[TASKS.index(task)]) else None
    ranker = Ranker((build_candidate(catalog, card, task, tuple(weights), quality),))
    sized = ranker.size(question.needs.workload, question.machine, with_projector=task == "vision")
    utility, _, _ = ranker.score(sized, replace(question.needs, min_decode_tokens_per_s=None))
    best = int(ranker.columns.best_of_each(utility)[0])
    if np.isneginf(utility[best]):
        return min(weights, key=lambda w: w.tensor_bytes)
    quant = ranker.table.quant[int(ranker.columns.rows[best])]
    return next(w for w in weights if w.quant == quant)


_NUMBER = r"(\d{1,5}(?:\.\d{1,3})?)"
_RATING = re.compile(rf"\bCI {_NUMBER}-{_NUMBER}(?:$|[;,\s])")
_AGAINST = re.compile(rf"^win rate against a model rated {_NUMBER}, from the rating$")


def find_score_interval(row: ScoreRow) -> Interval | None:
    """A published score's interval, None where the source tells none.

    LMArena tells a 95% interval of the rating; the score is the win rate against a fixed rating by Elo's formula,
    `100 / (1 + 10^((fixed - rating) / 400))`, and so are its ends.
    """
    rating, fixed = _RATING.search(row.setting), _AGAINST.match(row.metric)
    if rating is None or fixed is None:
        return None
    low, high = (100 / (1 + 10 ** ((float(fixed[1]) - float(end)) / 400)) for end in rating.groups())
    return Interval(low, row.score, high) if low <= row.score <= high else None

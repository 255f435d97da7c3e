"""A model as the ranking sees it, what a person needs, and the hard limits that need no sizing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import hypot

import numpy as np
from numpy.typing import NDArray

from sizing.errors import BadInputError, UnknownNameError
from sizing.license_profile import PURPOSES, LicenseProfile
from sizing.memory import WeightBytes
from sizing.specs import ModelSpec
from sizing.units import format_tokens
from sizing.weights import Ints
from sizing.workload import Workload

TASKS = ("chat", "code", "math", "reasoning", "multilingual", "vision", "rag")
LICENSE_USES = (*PURPOSES, "any")
"""What a licence must allow: one of the purposes, or anything."""

MAX_RULED_OUT_TEXTS = 200
"""Models of each kind of reason that are told why they are out; more are counted."""

EMBEDDING_TASKS = frozenset({"embedding", "embeddings", "rerank"})

Bools = NDArray[np.bool_]
Texts = NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Quality:
    """Published evidence for a task: latent score 0..100 with its 80% interval and the number of scores behind it.

    `moved_points` is by how much measurements on this box moved it (`sizing.measured`). `n_independent` of the scores
    are not their model's publisher's, None where that is not said.
    """

    score: float
    low: float
    high: float
    n_scores: int
    moved_points: float = 0.0
    n_independent: int | None = None

    @property
    def cautious(self) -> float:
        """Half-way to the low end: what the ranking counts, so that one lucky score does not lead it."""
        return (self.score + self.low) / 2


@dataclass(frozen=True, slots=True)
class QuantLoss:
    """Points of score a quantization costs, the ends of its interval, and whose measurements say so.

    `label` is 'same model', 'same family' or 'generic'.
    """

    quant: str
    points: float
    label: str
    high: float | None = None
    low: float | None = None

    @property
    def cautious(self) -> float:
        """Half-way to the high end: what the ranking counts, since small models lose more than the measured ones."""
        return self.points if self.high is None else (self.points + self.high) / 2


def subtract_loss(quality: Quality, loss: QuantLoss | None) -> Quality:
    """What is left of a score in a quantization; the uncertainty of both adds up in squares, as they are unrelated.

    Without a known loss the score stays as it is.
    """
    if loss is None:
        return quality
    score = quality.score - loss.points
    more = 0.0 if loss.high is None else loss.high - loss.points
    less = 0.0 if loss.low is None else loss.points - loss.low
    low, high = score - hypot(quality.score - quality.low, more), score + hypot(quality.high - quality.score, less)
    return replace(quality, score=max(0.0, score), low=max(0.0, low), high=min(100.0, high))


@dataclass(frozen=True, slots=True)
class MeasuredHere:
    """A model's score on a suite, measured on this box in one quantization, with its 95% interval.

    `value`, `low` and `high` are shares 0..1 where `is_higher_better` and the suite counts right answers; other suites
    have their own unit. `measured_on` is a date.
    """

    model_id: str
    quant: str
    suite: str
    title: str
    n_items: int
    value: float
    low: float
    high: float
    is_higher_better: bool
    measured_on: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model as the ranking sees it: shapes, weights per quant, licence answer and evidence.

    `gap` says why the engine could not weigh it (then `weights` is empty). `license_note` is the reason or the duties.
    `n_downloads` orders models of which nothing else is known. `measured` are scores of this box for the task.
    """

    spec: ModelSpec
    weights: tuple[WeightBytes, ...]
    family: str
    license_name: str
    license_allowed: bool
    license_note: str
    tasks: tuple[str, ...]
    modalities: tuple[str, ...]
    quality: Quality | None = None
    losses: tuple[QuantLoss, ...] = ()
    gap: str | None = None
    projector_bytes: int = 0
    n_downloads: int | None = None
    measured: tuple[MeasuredHere, ...] = ()


@dataclass(frozen=True, slots=True)
class Needs:
    """What the person asked for. `min_decode_tokens_per_s` None sets no hard limit on speed.

    `license_profile` is who asks; its purpose gives way to `license_use`.
    """

    task: str
    workload: Workload
    min_decode_tokens_per_s: float | None = None
    license_use: str = "any"
    license_profile: LicenseProfile = field(default_factory=LicenseProfile)

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UnknownNameError("task", self.task, TASKS)
        if self.license_use not in LICENSE_USES:
            raise UnknownNameError("license use", self.license_use, LICENSE_USES)
        if self.min_decode_tokens_per_s is not None and not 0 <= self.min_decode_tokens_per_s < 1e6:
            raise BadInputError(f"minimum speed wants 0 or more tokens/s, got {self.min_decode_tokens_per_s!r}")


@dataclass(frozen=True, slots=True)
class RuledOut:
    """A model that cannot be recommended. `kind` groups reasons; `text` is the reason with its numbers."""

    model_id: str
    name: str
    kind: str
    text: str


def pick_some_of_each(kinds: Texts) -> list[int]:
    """Places of the first `MAX_RULED_OUT_TEXTS` of each kind, in order; the empty kind is none."""
    chosen = [np.flatnonzero(kinds == kind)[:MAX_RULED_OUT_TEXTS] for kind in np.unique(kinds) if kind]
    return sorted(np.concatenate(chosen).tolist()) if chosen else []


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """What the hard limits that need no sizing look at, as columns over candidates."""

    only_embeds: Bools
    reads_images: Bools
    is_allowed: Bools
    context_tokens: Ints
    has_weights: Bools

    @classmethod
    def build(cls, candidates: Sequence[Candidate]) -> Limits:
        """The columns of these candidates."""

        def flags(values: Iterable[bool]) -> Bools:
            return np.fromiter(values, dtype=np.bool_, count=len(candidates))

        return cls(
            only_embeds=flags(set(c.tasks) <= EMBEDDING_TASKS and bool(c.tasks) for c in candidates),
            reads_images=flags("image" in c.modalities for c in candidates),
            is_allowed=flags(c.license_allowed for c in candidates),
            context_tokens=np.array([c.spec.context_tokens for c in candidates], dtype=np.int64),
            has_weights=flags(bool(c.weights) for c in candidates),
        )

    def find_kinds(self, needs: Needs) -> Texts:
        """The first limit each candidate breaks, "" where it breaks none."""
        is_task = self.only_embeds | (~self.reads_images if needs.task == "vision" else False)
        is_short = self.context_tokens < needs.workload.context_tokens
        return np.select(
            [is_task, ~self.is_allowed, is_short, ~self.has_weights], ["task", "licence", "context", "engine"], ""
        )


def say_limit(candidate: Candidate, kind: str, needs: Needs) -> RuledOut:
    """A limit of `Limits` that a candidate breaks, with its numbers."""
    spec = candidate.spec
    if kind == "task":
        embeds = bool(candidate.tasks) and set(candidate.tasks) <= EMBEDDING_TASKS
        text = "makes embeddings, does not generate text" if embeds else "does not read images"
    elif kind == "licence":
        text = f"{candidate.license_name}: {candidate.license_note}"
    elif kind == "context":
        wanted = format_tokens(needs.workload.context_tokens)
        text = f"trained for {format_tokens(spec.context_tokens)} tokens, {wanted} asked for"
    else:
        text = candidate.gap or "not weighed yet: run `python -m evals weigh`"
    return RuledOut(spec.model_id, spec.name, str(kind), text)

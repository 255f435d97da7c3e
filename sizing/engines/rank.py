"""Which model, in which format, for an engine other than llama.cpp: the same limits, evidence and points.

llama.cpp's own ranking sizes the whole catalog in one pass of columns (`sizing.recommend`). Other engines are asked
model by model and format by format; each running format gets the same utility, and the best one stands for its model.
An engine that takes GGUF is asked about the quantizations llama.cpp's ranking puts first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import hypot

import numpy as np

from sizing.candidate import Candidate, Limits, Needs, QuantLoss, RuledOut, pick_some_of_each, say_limit
from sizing.engines.base import NO_OPTIONS, Engine, EngineEstimate, EngineOptions
from sizing.engines.offers import EngineQuestion, Offer, count_offer_bytes, find_format_loss, list_offers
from sizing.errors import BadInputError, UnsupportedError
from sizing.estimate import Estimate
from sizing.hardware import Machine
from sizing.options import Option, Recommendation, list_reasons, mark_frontier
from sizing.recommend import Ranker
from sizing.scoring import MAX_UNRANKED, count_estimate_points, find_comfort, find_unknown_loss, order_models
from sizing.units import format_figures

MAX_SIZED_WITHOUT_EVIDENCE = MAX_UNRANKED
"""Models without evidence that are sized, the most downloaded: no more of them are shown anyway."""

ALIKE_BYTES = 0.05
"""Formats whose weights differ by no more than this share are of one size."""

N_GGUF_TRIED = 2
"""Quantizations of each model that an engine with GGUF is asked about, those llama.cpp's ranking likes best."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One format of a model: the engine's answer and its points, or why there is no answer."""

    offer: Offer
    loss: QuantLoss | None = None
    answer: EngineEstimate | None = None
    utility: float = -np.inf
    gap: str = ""

    @property
    def estimate(self) -> Estimate:
        """Memory, speed and fit. Only of what has an answer."""
        if self.answer is None:
            raise UnsupportedError(self.gap)
        return self.answer.estimate

    @property
    def decode_tokens_per_s(self) -> float | None:
        """Middle decode speed, None where unknown."""
        speed = self.estimate.speed
        return None if speed is None else speed.decode_tokens_per_s.mid


class EngineRanker:
    """A set of candidates for one engine, asked many times."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        engine: Engine,
        options: EngineOptions = NO_OPTIONS,
        kv_type: str = "auto",
        gguf: Ranker | None = None,
    ) -> None:
        """`gguf` is llama.cpp's ranking of the same candidates, where an engine with GGUF may share it."""
        self.candidates = tuple(candidates)
        self.engine, self.options, self.kv_type = engine, options, kv_type
        self._given_gguf = gguf

    @cached_property
    def gguf(self) -> Ranker:
        """llama.cpp's ranking of the candidates."""
        return self._given_gguf or Ranker(self.candidates)

    @cached_property
    def limits(self) -> Limits:
        """What the hard limits look at; that llama.cpp could not weigh a model stops only engines with GGUF."""
        limits = Limits.build(self.candidates)
        if self.engine.takes_gguf:
            return limits
        return replace(limits, has_weights=np.ones_like(limits.has_weights))

    def recommend(self, machine: Machine, needs: Needs) -> Recommendation:
        """The recommendation for `needs` on `machine` with this engine, with what was ruled out and why."""
        kinds = self.limits.find_kinds(needs)
        ruled = [say_limit(self.candidates[i], kinds[i], needs) for i in pick_some_of_each(kinds)]
        counts = Counter(kind for kind in kinds.tolist() if kind)
        allowed = [self.candidates[i] for i in np.flatnonzero(kinds == "")]
        sized, n_left = pick_sized(allowed)
        offers = self._list_gguf_offers(machine, needs) if self.engine.takes_gguf else {}
        options: list[Option] = []
        late: list[RuledOut] = []
        for candidate in sized:
            found = self._weigh(candidate, offers.get(candidate.spec.model_id, ()), machine, needs)
            if isinstance(found, Option):
                options.append(found)
            else:
                late.append(found)
        counts.update(r.kind for r in late)
        ordered = self._arrange(options, needs)
        notes = ordered[0].estimate.memory.assumptions if ordered else ()
        if n_left:
            notes = (
                *notes,
                f"{n_left:,} less downloaded models without evidence were not sized for {self.engine.name}",
            )
        late_kinds = np.array([r.kind for r in late], dtype=np.str_)
        told = [late[i] for i in pick_some_of_each(late_kinds)]
        return Recommendation(ordered, (*ruled, *told), notes, ruled_out_counts=tuple(counts.most_common()))

    def _arrange(self, options: Sequence[Option], needs: Needs) -> tuple[Option, ...]:
        """Best first, with reasons and the frontier; what has no evidence keeps no points."""
        if not options:
            return ()
        values = np.array([o.utility for o in options], dtype=np.float64)
        order, _ = order_models([o.candidate for o in options], values)
        chosen = [options[i] for i in order]
        told = [
            replace(o, utility=o.utility if o.candidate.quality is not None else None, reasons=list_reasons(o, needs))
            for o in chosen
        ]
        return mark_frontier(told, by_weights=self.engine.fills_memory)

    def _list_gguf_offers(self, machine: Machine, needs: Needs) -> dict[str, tuple[Offer, ...]]:
        """Of each model the quantizations llama.cpp's ranking puts first, and the smallest where none runs."""
        ranker = self.gguf
        if not ranker.weighed:
            return {}
        result = ranker.size(needs.workload, machine, with_projector=needs.task == "vision")
        utility, _, _ = ranker.score(result, needs)
        first, out = ranker.columns.first, {}
        for m, candidate in enumerate(ranker.weighed):
            values = utility[first[m] : first[m + 1]]
            order = [int(i) for i in np.argsort(-values, kind="stable")[:N_GGUF_TRIED] if values[i] > -np.inf]
            if not order:
                order = [min(range(len(candidate.weights)), key=lambda i: candidate.weights[i].tensor_bytes)]
            chosen = [candidate.weights[i] for i in order]
            out[candidate.spec.model_id] = tuple(Offer(w.quant, w) for w in chosen)
        return out

    def _weigh(
        self, candidate: Candidate, offers: Sequence[Offer], machine: Machine, needs: Needs
    ) -> Option | RuledOut:
        """A model in its best format, or what stands in its way."""
        known = offers or list_offers(self.engine, candidate.spec, candidate.weights)
        asked = [
            a for group in group_offers(candidate, known) for a in self._ask_group(candidate, group, machine, needs)
        ]
        best = max(asked, key=lambda a: a.utility, default=None)
        if best is None or best.utility == -np.inf:
            return explain_limit(candidate, asked, needs, self.engine.name)
        return Option(candidate, best.offer.weight_format, best.estimate, best.loss, best.utility)

    def _ask_group(
        self, candidate: Candidate, group: Sequence[Offer], machine: Machine, needs: Needs
    ) -> Iterator[Asked]:
        """What the engine says to formats of one loss, one by one until it answers."""
        for offer in group:
            found = self.ask(candidate, offer, machine, needs)
            yield found
            if found.answer is not None:
                return

    def ask(self, candidate: Candidate, offer: Offer, machine: Machine, needs: Needs) -> Asked:
        """What the engine says to one format of a model, with its utility; -inf where it does not do."""
        load = needs.workload
        question = EngineQuestion(load.context_tokens, load.n_parallel, self.kv_type, self.options)
        loss = find_format_loss(candidate.losses, offer.weight_format)
        setup = question.build_setup(candidate.spec, offer, machine)
        try:  # it says why it cannot run it, as `find_gap` would
            answer = self.engine.estimate(setup)
        except (UnsupportedError, BadInputError) as error:
            return Asked(offer, loss, gap=str(error))
        utility = count_utility(candidate, offer.weight_format, loss, answer.estimate, needs)
        return Asked(offer, loss, answer, utility)


def group_offers(candidate: Candidate, offers: Sequence[Offer]) -> list[tuple[Offer, ...]]:
    """Formats of one loss together, each group in the order to try them: one answer of a group speaks for it.

    At the same loss fewer bytes are faster and leave more room, so the smallest goes first; of those within
    `ALIKE_BYTES` of each other the one the engine lists first.
    """
    if all(o.weights is not None for o in offers):
        return [(o,) for o in offers]
    groups: dict[float, list[tuple[int, int, Offer]]] = {}
    for place, offer in enumerate(offers):
        loss = find_format_loss(candidate.losses, offer.weight_format)
        points = find_unknown_loss(offer.weight_format) if loss is None else loss.cautious
        try:
            n_bytes = count_offer_bytes(candidate.spec, offer)
        except UnsupportedError:
            n_bytes = 0  # the engine says what is wrong
        groups.setdefault(points, []).append((n_bytes, place, offer))
    out = []
    for group in groups.values():
        band = min(n for n, _, _ in group) * (1 + ALIKE_BYTES)
        group.sort(key=lambda entry: (0 if entry[0] <= band else entry[0], entry[1]))
        out.append(tuple(offer for _, _, offer in group))
    return out


def count_utility(
    candidate: Candidate, weight_format: str, loss: QuantLoss | None, estimate: Estimate, needs: Needs
) -> float:
    """Points of the task score: cautious score less loss and what counts against the run; -inf for what does not do.

    A model without evidence counts from 0, which orders its formats only.
    """
    speed, floor = estimate.speed, needs.min_decode_tokens_per_s
    if not estimate.fit.runs or (floor is not None and (speed is None or speed.decode_tokens_per_s.mid < floor)):
        return -np.inf
    quality = candidate.quality
    score, below = (quality.score, quality.score - quality.low) if quality else (0.0, 0.0)
    points = find_unknown_loss(weight_format) if loss is None else loss.points
    above = 0.0 if loss is None or not loss.high else max(0.0, loss.high - loss.points)
    return score - points - hypot(below, above) / 2 - count_estimate_points(estimate, find_comfort(needs.task))


def pick_sized(candidates: Sequence[Candidate]) -> tuple[tuple[Candidate, ...], int]:
    """The candidates that are worth sizing one by one, in their order, and how many are left out.

    All with evidence or measured here, and of the others the most downloaded.
    """
    plain = [i for i, c in enumerate(candidates) if c.quality is None and not c.measured]
    plain.sort(key=lambda i: -(candidates[i].n_downloads or 0))
    left = set(plain[MAX_SIZED_WITHOUT_EVIDENCE:])
    return tuple(c for i, c in enumerate(candidates) if i not in left), len(left)


def explain_limit(candidate: Candidate, asked: Sequence[Asked], needs: Needs, engine: str) -> RuledOut:
    """Why a model that may be used does not run in an engine here, or not fast enough."""
    spec = candidate.spec
    answered = [a for a in asked if a.answer is not None]
    if not answered:
        gaps = Counter(a.gap for a in asked)
        text = gaps.most_common(1)[0][0] if gaps else f"{engine} reads none of its formats"
        return RuledOut(spec.model_id, spec.name, "engine", text)
    running = [a for a in answered if a.estimate.fit.runs]
    if not running:
        least = min(answered, key=lambda a: -a.estimate.fit.headroom_bytes)
        reasons = least.estimate.fit.reasons
        text = f"{least.offer.weight_format}: {reasons[0] if reasons else least.estimate.fit.verdict}"
        return RuledOut(spec.model_id, spec.name, "memory", text)
    speeds = [(a.decode_tokens_per_s, a.offer.weight_format) for a in running if a.decode_tokens_per_s is not None]
    if not speeds:
        return RuledOut(spec.model_id, spec.name, "speed", "runs, but its speed here is unknown")
    speed, best = max(speeds)
    floor = format_figures(needs.min_decode_tokens_per_s or 0.0)
    text = f"about {format_figures(speed)} tokens/s at best ({best}), under {floor}"
    return RuledOut(spec.model_id, spec.name, "speed", text)

"""Which model, in which format, for an engine other than llama.cpp: the same limits, evidence and points.

llama.cpp's own ranking sizes the whole catalog in one pass of columns (`sizing.recommend`). Other engines are asked
model by model and format by format; each running format gets the same utility, and the best one stands for its model.
An engine that takes GGUF shares llama.cpp's formulas and its ranking; the first options are then asked of it.
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
from sizing.formats import find_format
from sizing.hardware import Machine
from sizing.options import Option, Recommendation, list_reasons, mark_frontier
from sizing.quants import QUANTS
from sizing.recommend import N_EXACT, Ranker
from sizing.scoring import MAX_UNRANKED, count_estimate_points, find_comfort, find_unknown_loss, order_models
from sizing.units import format_figures

MAX_SIZED_WITHOUT_EVIDENCE = MAX_UNRANKED
"""Models without evidence that are sized, the most downloaded: no more of them are shown anyway."""

ALIKE_BYTES = 0.05
"""Formats whose weights differ by no more than this share are of one size."""


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
        """Memory, speed and fit. Only of what has an answer. Raises UnsupportedError with the gap of one without."""
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
        """What the hard limits look at; that llama.cpp could not weigh a model stops only itself."""
        limits = Limits.build(self.candidates)
        return replace(limits, has_weights=np.ones_like(limits.has_weights))

    def recommend(self, machine: Machine, needs: Needs) -> Recommendation:
        """The recommendation for `needs` on `machine` with this engine, with what was ruled out and why."""
        if self.engine.takes_gguf:
            return self._recommend_gguf(machine, needs)
        kinds = self.limits.find_kinds(needs)
        ruled = [say_limit(self.candidates[i], kinds[i], needs) for i in pick_some_of_each(kinds)]
        counts = Counter(kind for kind in kinds.tolist() if kind)
        allowed = [self.candidates[i] for i in np.flatnonzero(kinds == "")]
        sized, n_left = pick_sized(allowed)
        options: list[Option] = []
        late: list[RuledOut] = []
        for candidate in sized:
            found = self._weigh(candidate, machine, needs)
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

    def _recommend_gguf(self, machine: Machine, needs: Needs) -> Recommendation:
        """llama.cpp's ranking, whose formulas engines with GGUF share; the first options as the engine places them."""
        load = needs.workload
        if self.kv_type != "auto":
            load = replace(load, kv_type_k=self.kv_type, kv_type_v=self.kv_type)
        asked = replace(needs, workload=load)
        found = self.gguf.recommend(machine, asked, sensitivity=False)
        options: list[Option] = []
        late: list[RuledOut] = []
        for option in found.options:
            told = self._tell_gguf(option, machine, needs, is_exact=len(options) < N_EXACT)
            if isinstance(told, Option):
                options.append(told)
            else:
                late.append(told)
        first = self._arrange(options[:N_EXACT], needs)
        rest = tuple(replace(o, on_frontier=False) for o in options[N_EXACT:])
        ordered = mark_frontier((*first, *rest))
        counts = Counter(dict(found.ruled_out_counts))
        counts.update(r.kind for r in late)
        notes = ordered[0].estimate.memory.assumptions if ordered else ()
        if rest:
            notes = (*notes, f"from place {N_EXACT + 1} on, layers are placed as llama.cpp's own server does")
        return Recommendation(
            ordered, (*found.ruled_out, *late), notes, (), tuple(counts.most_common()), 0 if late else found.n_more
        )

    def _tell_gguf(self, option: Option, machine: Machine, needs: Needs, *, is_exact: bool) -> Option | RuledOut:
        """An option of llama.cpp's ranking as this engine runs it, or why it does not."""
        candidate = option.candidate
        offer = Offer(option.quant, next(w for w in candidate.weights if w.quant == option.quant))
        if is_exact:
            asked = self.ask(candidate, offer, machine, needs)
            if asked.utility == -np.inf:
                return explain_limit(candidate, [asked], needs, self.engine.name)
            return replace(option, estimate=asked.estimate, utility=asked.utility)
        gap = self.engine.find_gap(self._question(needs).build_setup(candidate.spec, offer, machine))
        return option if gap is None else RuledOut(candidate.spec.model_id, option.name, "engine", gap)

    def _question(self, needs: Needs) -> EngineQuestion:
        return EngineQuestion(needs.workload.context_tokens, needs.workload.n_parallel, self.kv_type, self.options)

    def _weigh(self, candidate: Candidate, machine: Machine, needs: Needs) -> Option | RuledOut:
        """A model in its best format, or what stands in its way."""
        groups = group_offers(candidate, list_offers(self.engine, candidate.spec, candidate.weights))
        asked = [a for group in groups for a in self._ask_group(candidate, group, machine, needs)]
        best = max(asked, key=lambda a: a.utility, default=None)
        if best is None or best.utility == -np.inf:
            return explain_limit(candidate, asked, needs, self.engine.name)
        return Option(candidate, best.offer.weight_format, best.estimate, best.loss, best.utility)

    def _ask_group(
        self, candidate: Candidate, group: Sequence[Offer], machine: Machine, needs: Needs
    ) -> Iterator[Asked]:
        """What the engine says to formats of one loss, one by one until one does what is needed."""
        for offer in group:
            found = self.ask(candidate, offer, machine, needs)
            yield found
            if found.utility > -np.inf:
                return

    def ask(self, candidate: Candidate, offer: Offer, machine: Machine, needs: Needs) -> Asked:
        """What the engine says to one format of a model, with its utility; -inf where it does not do."""
        loss = find_format_loss(candidate.losses, offer.weight_format)
        setup = self._question(needs).build_setup(candidate.spec, offer, machine)
        try:  # it says why it cannot run it, as `find_gap` would
            answer = self.engine.estimate(setup)
        except (UnsupportedError, BadInputError) as error:
            return Asked(offer, loss, gap=str(error))
        utility = count_utility(candidate, offer.weight_format, loss, answer.estimate, needs)
        return Asked(offer, loss, answer, utility)


def group_offers(candidate: Candidate, offers: Sequence[Offer]) -> list[tuple[Offer, ...]]:
    """Formats of one loss together, each group in the order to try them: one answer of a group speaks for it.

    At the same published loss fewer bytes are faster and leave more room, so the smallest goes first; of those within
    `ALIKE_BYTES` of each other the one the engine lists first. Of formats nobody measured the largest goes first:
    fewer bits can only lose more.
    """
    groups: dict[float | None, list[tuple[int, int, Offer]]] = {}
    for place, offer in enumerate(offers):
        loss = find_format_loss(candidate.losses, offer.weight_format)
        is_unknown = loss is None and find_unknown_loss(offer.weight_format) > 0
        try:
            n_bytes = count_offer_bytes(candidate.spec, offer)
        except UnsupportedError:
            n_bytes = 0  # the engine says what is wrong
        points = None if is_unknown else 0.0 if loss is None else loss.cautious
        groups.setdefault(points, []).append((n_bytes, place, offer))
    out = []
    for points, group in groups.items():
        if points is None:
            group.sort(key=lambda entry: (-entry[0], entry[1]))
        else:
            band = min(n for n, _, _ in group) * (1 + ALIKE_BYTES)
            group.sort(key=lambda entry: (0 if entry[0] <= band else entry[0], entry[1]))
        out.append(tuple(offer for _, _, offer in group))
    return out


def count_unknown_points(candidate: Candidate, weight_format: str) -> float:
    """Points set against a format nobody measured: the stated penalty, more where GGUF of as few bits loses more.

    Nobody published the loss of 2 bits in such a format, but that of 2 bits in GGUF is known, and it is heavy.
    """
    least = find_unknown_loss(weight_format)
    if not least or weight_format in QUANTS:
        return least
    bits = find_format(weight_format).bits
    known = [
        (abs(QUANTS[x.quant].nominal_bits_per_weight - bits), x.points) for x in candidate.losses if x.quant in QUANTS
    ]
    return max(least, min(known)[1]) if known else least


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
    points = count_unknown_points(candidate, weight_format) if loss is None else loss.points
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

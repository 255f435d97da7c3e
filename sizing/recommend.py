"""Which model, in which quantization: hard limits first, then evidence for the task, then speed and headroom.

One vectorised pass sizes every model in every quantization; what remains is ordered by a utility in points of the
task score: `utility = cautious score - speed shortfall - verdict`. The cautious score lies half-way to the low end of
the interval of the score less quantization loss, whose uncertainties add up in squares. A model without evidence for
the task has no score, is never given one, and stands below every model that has evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

import numpy as np

from sizing.candidate import (
    LICENSE_USES,
    MAX_RULED_OUT_TEXTS,
    TASKS,
    Candidate,
    Limits,
    MeasuredHere,
    Needs,
    Quality,
    QuantLoss,
    RuledOut,
    pick_some_of_each,
    say_limit,
    subtract_loss,
)
from sizing.estimate import Estimate, TableEstimate, describe, estimate
from sizing.fit import TIGHT_SHARE, Verdict, judge
from sizing.frontier import find_frontier
from sizing.hardware import Machine, add_memory
from sizing.rank_columns import RankColumns
from sizing.units import GIB, format_bytes, format_figures, format_range, format_tokens
from sizing.weights import Floats, Ints, WeightTable
from sizing.workload import Workload

__all__ = [
    "LICENSE_USES",
    "MAX_RULED_OUT_TEXTS",
    "TASKS",
    "Candidate",
    "MeasuredHere",
    "Needs",
    "Option",
    "Pick",
    "Quality",
    "QuantLoss",
    "Ranker",
    "Recommendation",
    "RuledOut",
]

COMFORTABLE_TOKENS_PER_S = {"code": 30.0, "math": 30.0, "reasoning": 40.0}
"""Decode speed below which a task starts to drag: one reads at 5 to 10 tokens/s, and skims; reasoning writes more."""
DEFAULT_COMFORTABLE_TOKENS_PER_S = 20.0
POINTS_PER_HALVING = 5.0
"""Score points lost each time the speed halves below comfort. A judgement, stated: it orders, it does not measure."""
READING_TOKENS_PER_S = 10.0
"""Decode speed below which each halving costs twice that: slower than one reads, every word is waited for."""
POINTS_PER_DOUBLING = 0.5
"""Score points gained each time the speed doubles above comfort, up to three times: half the bytes for next to no loss
is the better quantization."""
CROWDED_POINTS, OFFLOAD_POINTS = 3.0, 2.0
"""Points against a device with next to nothing to spare, and against prompts that wait for the host. Judgements too."""
UNKNOWN_LOSS_POINTS = 8.0
"""Points set against a quantization whose loss nobody published, so that it is not preferred for being unknown."""
N_EXACT = 8
"""Options whose placement over host and cards is worked out exactly: those a page shows in full, and some more."""

MORE_USERS, MAX_USERS_ASKED = 4, 64
"""How many times as many people what would change is asked for, and up to how many."""

MAX_MEASURED_TOLD = 2
"""Scores measured here that an option's reasons tell; the Evaluate page has all."""

MAX_UNRANKED = 200
"""Options without evidence that are described; more are counted."""


@dataclass(frozen=True, slots=True)
class Option:
    """One model in its best quantization for these needs. `utility` is None without evidence for the task.

    `on_frontier`: no other option is at least as good, as fast and as small, and better in one of the three.
    """

    candidate: Candidate
    quant: str
    estimate: Estimate
    loss: QuantLoss | None
    utility: float | None
    reasons: tuple[str, ...] = ()
    on_frontier: bool = False

    @property
    def quality(self) -> Quality | None:
        """Evidence for the task less what this quantization costs, with both uncertainties; None without evidence."""
        return None if self.candidate.quality is None else subtract_loss(self.candidate.quality, self.loss)

    @property
    def name(self) -> str:
        """The model's display name."""
        return self.candidate.spec.name

    @property
    def verdict(self) -> Verdict:
        """Fits, tight or offload."""
        return self.estimate.fit.verdict


@dataclass(frozen=True, slots=True)
class Pick:
    """A recommendation by name. Two picks of one model and quantization are equal, whatever their speed."""

    model_id: str
    name: str
    quant: str
    tokens_per_s: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answer: `options` best first (with evidence before without), and what was ruled out.

    Of what runs without evidence the first are options and `n_more` are only counted; of what was ruled out, the first
    of each kind are told and `ruled_out_counts` counts all, most first.
    """

    options: tuple[Option, ...]
    ruled_out: tuple[RuledOut, ...]
    assumptions: tuple[str, ...]
    what_would_change: tuple[str, ...] = ()
    ruled_out_counts: tuple[tuple[str, int], ...] = ()
    n_more: int = 0

    @property
    def n_running(self) -> int:
        """How many models run here."""
        return len(self.options) + self.n_more

    @property
    def n_ruled_out(self) -> int:
        """How many models cannot be recommended."""
        return sum(n for _, n in self.ruled_out_counts)

    @property
    def best(self) -> Option | None:
        """The recommendation: the first option that has evidence, None when nothing with evidence runs."""
        return self.options[0] if self.options and self.options[0].utility is not None else None

    @property
    def runners_up(self) -> tuple[Option, ...]:
        """The two next options that have evidence, of other families where there are any."""
        if self.best is None:
            return ()
        rest = [o for o in self.options[1:] if o.utility is not None]
        families = {self.best.candidate.family}
        picked: list[Option] = []
        for option in rest:
            if option.candidate.family not in families and len(picked) < 2:
                picked.append(option)
                families.add(option.candidate.family)
        picked += [o for o in rest if o not in picked][: 2 - len(picked)]
        return tuple(picked)


def count_points_against(
    result: TableEstimate, comfort_tokens_per_s: float, min_decode_tokens_per_s: float | None
) -> tuple[Floats, Ints, Floats]:
    """Points against how each row runs, its verdict code and its middle decode speed.

    Slowness, crowded devices and what is left to the host count against a row, speed above comfort for it; what does
    not run, or not fast enough, has infinite points against it.
    """
    verdict, _ = judge(result.placement)
    usable = np.array([d.usable_bytes for d in result.placement.devices], dtype=np.int64)
    close = (result.placement.headroom < TIGHT_SHARE * usable[None, :]) & (result.placement.total > 0)
    # where part is on the host, the cards are filled on purpose: what counts is the room left on the host
    crowded = np.where(verdict == 2, close[:, 0], close.any(axis=1))
    decode: Floats = result.speed.decode_tokens_per_s[:, 1]
    speed = np.where(np.isnan(decode), comfort_tokens_per_s, np.maximum(decode, 1e-9))
    doublings = np.log2(speed / comfort_tokens_per_s)
    waits = np.maximum(0.0, np.log2(READING_TOKENS_PER_S / speed))
    against = POINTS_PER_HALVING * (np.maximum(0.0, -doublings) + waits)
    against = against - POINTS_PER_DOUBLING * np.clip(doublings, 0.0, 3.0)
    against = against + np.where(crowded, CROWDED_POINTS, 0.0) + np.where(verdict == 2, OFFLOAD_POINTS, 0.0)
    out = verdict == 3
    if min_decode_tokens_per_s is not None:
        out |= ~(np.nan_to_num(decode, nan=0.0) >= min_decode_tokens_per_s)
    return np.where(out, np.inf, against), verdict, decode


class Ranker:
    """A set of candidates, built once and asked many times."""

    def __init__(self, candidates: Sequence[Candidate], columns: RankColumns | None = None) -> None:
        """`columns` may be those of a ranker of the same models under other evidence or licences."""
        self.candidates = tuple(candidates)
        self.weighed = tuple(c for c in self.candidates if c.weights)
        is_same = columns is not None and columns.serves(self.weighed)
        self.columns: RankColumns = columns if columns is not None and is_same else RankColumns.build(self.weighed)

    @property
    def table(self) -> WeightTable:
        """Every distinct shape in every distinct quantization."""
        return self.columns.table

    @cached_property
    def losses(self) -> tuple[Floats, Floats]:
        """Quantization loss of each model in each of its quantizations, and how far its high end lies above that.

        A stated penalty, which is cautious already, stands where nothing is published.
        """
        quants, columns = self.table.quant, self.columns
        known: dict[tuple[int, int], list[tuple[float, float]]] = {}
        out: list[list[tuple[float, float]]] = []
        for m, candidate in enumerate(self.weighed):
            key = (id(candidate.losses), id(candidate.weights))
            if key not in known:
                points = {x.quant: (x.points, max(0.0, (x.high or x.points) - x.points)) for x in candidate.losses}
                rows = columns.rows[columns.first[m] : columns.first[m + 1]]
                known[key] = [points.get(quants[row], (_unknown_loss(quants[row]), 0.0)) for row in rows]
            out.append(known[key])
        pairs = np.array(list(chain.from_iterable(out)), dtype=np.float64).reshape(len(columns.rows), 2)
        return pairs[:, 0], pairs[:, 1]

    @cached_property
    def quality(self) -> tuple[Floats, Floats]:
        """Score of each weighed model and how far its low end lies below, 0 where there is no evidence."""
        pairs = [(c.quality.score, c.quality.score - c.quality.low) if c.quality else (0.0, 0.0) for c in self.weighed]
        columns = np.array(pairs, dtype=np.float64).reshape(len(self.weighed), 2)
        return columns[:, 0], columns[:, 1]

    @cached_property
    def limits(self) -> Limits:
        """What the hard limits look at, as columns over all candidates."""
        return Limits.build(self.candidates)

    def size(self, workload: Workload, machine: Machine, *, with_projector: bool = False) -> TableEstimate:
        """Memory, placement and speed of every distinct shape in every distinct quantization: one pass."""
        return self.columns.size(workload, machine, with_projector=with_projector)

    def score(self, result: TableEstimate, needs: Needs) -> tuple[Floats, Ints, Floats]:
        """Utility, verdict code and middle decode speed of each model in each of its quantizations, laid end to end.

        Utility is -inf for what is ruled out; for a model without evidence it orders its quantizations only.
        """
        comfort = COMFORTABLE_TOKENS_PER_S.get(needs.task, DEFAULT_COMFORTABLE_TOKENS_PER_S)
        against, verdict, decode = count_points_against(result, comfort, needs.min_decode_tokens_per_s)
        rows, model = self.columns.rows, self.columns.model_of
        (score, below), (loss, above) = self.quality, self.losses
        cautious = score[model] - loss - np.hypot(below[model], above) / 2
        return cautious - against[rows], verdict[rows], decode[rows]

    def recommend(self, machine: Machine, needs: Needs, *, sensitivity: bool = True) -> Recommendation:
        """The recommendation for `needs` on `machine`, with what was ruled out and why."""
        kinds = self.limits.find_kinds(needs)
        ruled = [say_limit(self.candidates[i], kinds[i], needs) for i in pick_some_of_each(kinds)]
        counts = Counter(kind for kind in kinds.tolist() if kind)
        if not self.weighed:
            return Recommendation((), tuple(ruled), (), ruled_out_counts=_sort_counts(counts))
        result = self.size(needs.workload, machine, with_projector=needs.task == "vision")
        utility, verdict, decode = self.score(result, needs)
        best = self.columns.best_of_each(utility)
        may = (kinds == "")[self.limits.has_weights]
        runs = utility[best] > -np.inf
        late = np.where(self.columns.count_of_each(verdict != 3) > 0, "speed", "memory")
        late = np.where(may & ~runs, late, "")
        counts.update(kind for kind in late.tolist() if kind)
        ruled += [self._explain_limit(m, result, verdict, decode, needs, machine) for m in pick_some_of_each(late)]
        chosen, n_more = self._order(np.flatnonzero(may & runs), utility[best])
        options = [self._describe(int(m), int(best[m]), result, utility, needs, machine) for m in chosen]
        exact = [self._make_exact(o, machine, needs) if i < N_EXACT else o for i, o in enumerate(options)]
        ordered = mark_frontier([replace(o, reasons=_list_reasons(o, needs)) for o in exact])
        answer = Recommendation(
            ordered,
            tuple(ruled),
            ordered[0].estimate.memory.assumptions if ordered else (),
            ruled_out_counts=_sort_counts(counts),
            n_more=n_more,
        )
        return replace(answer, what_would_change=self.find_changes(machine, needs)) if sensitivity else answer

    def _order(self, models: Ints, utility: Floats) -> tuple[Ints, int]:
        """Models best first, those with evidence before those without, and how many of the latter are left out."""
        unknown = np.array([self.weighed[m].quality is None for m in models], dtype=np.bool_)
        downloads = np.array([self.weighed[m].n_downloads or 0 for m in models], dtype=np.int64)
        unmeasured = np.array(
            [unknown[i] and not self.weighed[m].measured for i, m in enumerate(models)], dtype=np.bool_
        )
        tie = np.where(unknown, downloads, 0)
        order = np.lexsort((-tie, -utility[models], unmeasured, unknown))
        n_shown = int((~unknown).sum()) + min(MAX_UNRANKED, int(unknown.sum()))
        return models[order[:n_shown]], len(models) - n_shown

    def _describe(
        self, model: int, offer: int, result: TableEstimate, utility: Floats, needs: Needs, machine: Machine
    ) -> Option:
        """One model in one of its quantizations as an option."""
        candidate, row = self.weighed[model], int(self.columns.rows[offer])
        quant = self.table.quant[row]
        loss = next((x for x in candidate.losses if x.quant == quant), None)
        told = describe(result, row, candidate.spec, quant, needs.workload, machine)
        return Option(candidate, quant, told, loss, float(utility[offer]) if candidate.quality is not None else None)

    def _make_exact(self, option: Option, machine: Machine, needs: Needs) -> Option:
        """An option sized exactly, where the ranking's quick placement over several devices may be a little off."""
        if option.verdict is not Verdict.OFFLOAD and len(machine.accelerators) < 2:
            return option
        candidate = option.candidate
        weights = next(w for w in candidate.weights if w.quant == option.quant)
        projector_bytes = candidate.projector_bytes if needs.task == "vision" else 0
        told = estimate(candidate.spec, weights, needs.workload, machine, projector_bytes=projector_bytes)
        return replace(option, estimate=told) if told.fit.runs else option

    def _explain_limit(
        self, model: int, result: TableEstimate, verdict: Ints, decode: Floats, needs: Needs, machine: Machine
    ) -> RuledOut:
        """Why a model that may be used does not run here, or not fast enough."""
        spec = self.weighed[model].spec
        offers = np.arange(self.columns.first[model], self.columns.first[model + 1], dtype=np.int64)
        rows, quants = self.columns.rows, self.table.quant
        runs = offers[verdict[offers] != 3]
        if len(runs) == 0:
            needed = result.placement.take(rows[offers]).total.sum(axis=1)
            least = int(np.argmin(needed))
            text = (
                f"needs at least {format_bytes(int(needed[least]))} ({quants[rows[offers[least]]]}) at this context; "
                f"{machine.name} has {format_bytes(machine.usable_bytes)} usable"
            )
            return RuledOut(spec.model_id, spec.name, "memory", text)
        known = runs[~np.isnan(decode[runs])]
        if len(known) == 0:
            return RuledOut(
                spec.model_id, spec.name, "speed", "runs, but its speed here is unknown (bandwidth unknown)"
            )
        best = int(known[np.argmax(decode[known])])
        floor = format_figures(needs.min_decode_tokens_per_s or 0.0)
        text = f"about {format_figures(float(decode[best]))} tokens/s at best ({quants[rows[best]]}), under {floor}"
        return RuledOut(spec.model_id, spec.name, "speed", text)

    @cached_property
    def evident(self) -> Ranker:
        """The candidates with evidence alone: only they are ever recommended."""
        chosen = np.flatnonzero([c.quality is not None for c in self.weighed])
        return Ranker([self.weighed[m] for m in chosen], self.columns.part(chosen))

    def find_changes(self, machine: Machine, needs: Needs) -> tuple[str, ...]:
        """What else would be recommended with more memory, half the context, more users or twice the speed."""
        ranker, load = self.evident, needs.workload
        now = ranker.pick(machine, needs)
        half = replace(load, context_tokens=max(1, load.context_tokens // 2))
        asked: list[tuple[str, Machine, Needs]] = []
        for extra in (4, 8, 16, 24, 48, 96):
            larger = add_memory(machine, extra * GIB)
            if ranker.pick(larger, needs) not in (None, now):
                asked.append((f"with {extra} GiB more", larger, needs))
                break
        less = f"with {format_tokens(half.context_tokens)} tokens of context"
        asked.append((less, machine, replace(needs, workload=half)))
        if load.n_parallel * MORE_USERS <= MAX_USERS_ASKED:
            many = replace(load, n_parallel=load.n_parallel * MORE_USERS)
            asked.append((f"for {many.n_parallel} people at once", machine, replace(needs, workload=many)))
        if now is not None and now.tokens_per_s is not None:
            floor = float(f"{2 * now.tokens_per_s:.2g}")
            faster = replace(needs, min_decode_tokens_per_s=floor)
            asked.append((f"for at least {format_figures(floor)} tokens/s", machine, faster))
        found = [(words, ranker.pick(where, what)) for words, where, what in asked]
        return tuple(f"{words}: {p.name} at {p.quant}" for words, p in found if p is not None and p != now)

    def pick(self, machine: Machine, needs: Needs) -> Pick | None:
        """The recommendation alone, nothing else worked out; None where nothing runs within the limits.

        Asked of `evident` it is what `recommend` puts first.
        """
        if not self.weighed:
            return None
        may = (self.limits.find_kinds(needs) == "")[self.limits.has_weights]
        result = self.size(needs.workload, machine, with_projector=needs.task == "vision")
        values, _, decode = self.score(result, needs)
        utility = np.where(may[self.columns.model_of], values, -np.inf)
        offer = int(np.argmax(utility))
        if utility[offer] == -np.inf:
            return None
        model = int(np.searchsorted(self.columns.first, offer, side="right")) - 1
        spec, speed = self.weighed[model].spec, float(decode[offer])
        quant = self.table.quant[int(self.columns.rows[offer])]
        return Pick(spec.model_id, spec.name, quant, None if np.isnan(speed) else speed)


def mark_frontier(options: Sequence[Option]) -> tuple[Option, ...]:
    """The options, with those marked that no other beats in quality, speed and memory at once."""
    speeds = [o.estimate.speed.decode_tokens_per_s.mid if o.estimate.speed else np.nan for o in options]
    scores = [o.quality.score if o.quality else np.nan for o in options]
    sizes = [float(o.estimate.memory.total_bytes) for o in options]
    marks = find_frontier(np.array(scores), np.array(speeds), np.array(sizes))
    return tuple(replace(o, on_frontier=bool(mark)) for o, mark in zip(options, marks, strict=True))


def _unknown_loss(quant: str) -> float:
    return 0.0 if quant in ("F16", "BF16") else UNKNOWN_LOSS_POINTS


def _sort_counts(counts: Counter[str]) -> tuple[tuple[str, int], ...]:
    """Kinds with their counts, most first."""
    return tuple(counts.most_common())


def _list_reasons(option: Option, needs: Needs) -> tuple[str, ...]:
    speed, fit = option.estimate.speed, option.estimate.fit
    out = [_tell_quality(option, needs.task)]
    out += [tell_measured(m) for m in option.candidate.measured[:MAX_MEASURED_TOLD]]
    out.append(_tell_loss(option))
    if speed is None:
        out.append("speed unknown: this machine's bandwidth is not known")
    else:
        mid = format_range(speed.decode_tokens_per_s.low, speed.decode_tokens_per_s.high)
        out.append(f"{mid} tokens/s, bound by {speed.bound}")
    out.append(f"{fit.verdict}: {fit.reasons[0]}" if fit.reasons else str(fit.verdict))
    return tuple(line for line in out if line)


def _tell_quality(option: Option, task: str) -> str:
    quality = option.candidate.quality
    if quality is None:
        return f"quality for {task}: unknown, no published score in the catalog"
    scores = "score" if quality.n_scores == 1 else "scores"
    of_these = _tell_independent(quality)
    moved = ""
    if abs(quality.moved_points) >= 0.05:
        way = "up" if quality.moved_points > 0 else "down"
        moved = f"; moved {way} {format_figures(abs(quality.moved_points))} points by what was measured here"
    return (
        f"{task} evidence {format_figures(quality.score)} of 100 "
        f"({format_range(quality.low, quality.high)}) from {quality.n_scores} published {scores}{of_these}{moved}"
    )


def _tell_independent(quality: Quality) -> str:
    """How many of the scores are not the publisher's own, '' where that is not known."""
    n = quality.n_independent
    if n is None:
        return ""
    if n == 0:
        return ", the publisher's own"
    return ", independent" if n == quality.n_scores else f", {n} of them independent"


def _tell_loss(option: Option) -> str:
    loss, left = option.loss, option.quality
    if loss is None:
        return "" if option.quant in ("F16", "BF16") else f"{option.quant}: quantization loss unknown"
    text = f"{option.quant} costs about {format_figures(loss.points)} points"
    if loss.low is not None and loss.high is not None and loss.high > loss.low:
        text += f" ({format_range(loss.low, loss.high)})"
    text += f", published, {loss.label}"
    return text if left is None else f"{text}; {format_range(left.low, left.high)} is left"


def tell_measured(score: MeasuredHere) -> str:
    """'measured here: 71% (63 to 78) on arithmetic, n = 120', with the quantization that was measured."""
    share = score.is_higher_better and score.low >= 0 and score.high <= 1
    ends = (score.value, score.low, score.high)
    value, low, high = (f"{100 * x:.0f}" if share else format_figures(x) for x in ends)
    unit = "%" if share else ""
    title = score.title[:1].lower() + score.title[1:]
    return f"measured here: {value}{unit} ({low} to {high}) on {title}, n = {score.n_items:,}, at {score.quant}"

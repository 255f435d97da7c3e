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
)
from sizing.estimate import TableEstimate, describe, estimate
from sizing.fit import Verdict
from sizing.hardware import Machine, add_memory
from sizing.options import Option, Recommendation, list_reasons, mark_frontier
from sizing.rank_columns import RankColumns
from sizing.scoring import (
    MAX_UNRANKED,
    POINTS_PER_DOUBLING,
    UNKNOWN_LOSS_POINTS,
    count_points_against,
    find_comfort,
    find_unknown_loss,
    hope_points_against,
    order_models,
)
from sizing.units import GIB, format_bytes, format_figures, format_tokens
from sizing.weights import Floats, Ints, WeightTable
from sizing.workload import Workload

__all__ = [
    "LICENSE_USES",
    "MAX_RULED_OUT_TEXTS",
    "MAX_UNRANKED",
    "POINTS_PER_DOUBLING",
    "TASKS",
    "UNKNOWN_LOSS_POINTS",
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
    "count_points_against",
]

N_EXACT = 8
"""Options whose placement over host and cards is worked out exactly: those a page shows in full, and some more."""

FIRST_PICKS = 64
"""Quantizations sized first where only the best is asked for; then as many again as were."""

MORE_USERS, MAX_USERS_ASKED = 4, 64
"""How many times as many people what would change is asked for, and up to how many."""


@dataclass(frozen=True, slots=True)
class Pick:
    """A recommendation by name. Two picks of one model and quantization are equal, whatever their speed."""

    model_id: str
    name: str
    quant: str
    tokens_per_s: float | None = field(default=None, compare=False)


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
                known[key] = [points.get(quants[row], (find_unknown_loss(quants[row]), 0.0)) for row in rows]
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
        against, verdict, decode = self._count_against(result, needs)
        rows = self.columns.rows
        return self.cautious - against[rows], verdict[rows], decode[rows]

    def _count_against(self, result: TableEstimate, needs: Needs) -> tuple[Floats, Ints, Floats]:
        """Points against how each sized row runs, its verdict code and its middle decode speed."""
        return count_points_against(result, find_comfort(needs.task), needs.min_decode_tokens_per_s)

    @cached_property
    def cautious(self) -> Floats:
        """The cautious score of each model in each of its quantizations, laid end to end."""
        model, (score, below), (loss, above) = self.columns.model_of, self.quality, self.losses
        points: Floats = score[model] - loss - np.hypot(below[model], above) / 2
        return points

    def recommend(self, machine: Machine, needs: Needs, *, sensitivity: bool = True) -> Recommendation:
        """The recommendation for `needs` on `machine`, with what was ruled out and why."""
        kinds = self.limits.find_kinds(needs)
        ruled = [say_limit(self.candidates[i], kinds[i], needs) for i in pick_some_of_each(kinds)]
        counts = Counter(kind for kind in kinds.tolist() if kind)
        if not self.weighed:
            return Recommendation((), tuple(ruled), (), ruled_out_counts=tuple(counts.most_common()))
        result = self.size(needs.workload, machine, with_projector=needs.task == "vision")
        utility, verdict, decode = self.score(result, needs)
        best = self.columns.best_of_each(utility)
        may = (kinds == "")[self.limits.has_weights]
        runs = utility[best] > -np.inf
        late = np.where(self.columns.count_of_each(verdict != 3) > 0, "speed", "memory")
        late = np.where(may & ~runs, late, "")
        counts.update(kind for kind in late.tolist() if kind)
        ruled += [self._explain_limit(m, result, verdict, decode, needs, machine) for m in pick_some_of_each(late)]
        running = np.flatnonzero(may & runs)
        order, n_more = order_models([self.weighed[m] for m in running], utility[best][running])
        chosen = running[order]
        options = [self._describe(int(m), int(best[m]), result, utility, needs, machine) for m in chosen]
        exact = [self._make_exact(o, machine, needs) if i < N_EXACT else o for i, o in enumerate(options)]
        ordered = mark_frontier([replace(o, reasons=list_reasons(o, needs)) for o in exact])
        answer = Recommendation(
            ordered,
            tuple(ruled),
            ordered[0].estimate.memory.assumptions if ordered else (),
            ruled_out_counts=tuple(counts.most_common()),
            n_more=n_more,
        )
        return replace(answer, what_would_change=self.find_changes(machine, needs)) if sensitivity else answer

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

        Asked of `evident` it is what `recommend` puts first. What cannot win is not sized: best hopes go first, and
        the rest only while they hope for as much as the best that was found.
        """
        if not self.weighed:
            return None
        may = (self.limits.find_kinds(needs) == "")[self.limits.has_weights]
        hope = hope_points_against(self.table, machine, needs)
        rows, cautious = self.columns.rows, self.cautious
        hoped = np.where(may[self.columns.model_of], cautious - hope[rows], -np.inf)
        order = np.argsort(-hoped, kind="stable")
        utility = np.full(len(rows), -np.inf)
        speed = np.full(len(self.table.quant), np.nan)
        against = np.full(len(self.table.quant), np.inf)
        start, best = 0, -np.inf
        while start < len(order) and hoped[order[start]] > -np.inf and hoped[order[start]] >= best:
            offers = order[start : start + max(FIRST_PICKS, start)]
            offers = offers[hoped[offers] > -np.inf]
            chosen = np.unique(rows[offers])
            result = self.columns.size(needs.workload, machine, with_projector=needs.task == "vision", chosen=chosen)
            against[chosen], _, speed[chosen] = self._count_against(result, needs)
            utility[offers] = cautious[offers] - against[rows[offers]]
            start, best = start + len(offers), float(utility.max())
        offer = int(np.argmax(utility))
        if utility[offer] == -np.inf:
            return None
        model = int(np.searchsorted(self.columns.first, offer, side="right")) - 1
        spec, decode = self.weighed[model].spec, float(speed[rows[offer]])
        return Pick(spec.model_id, spec.name, self.table.quant[int(rows[offer])], None if np.isnan(decode) else decode)

"""Which model, in which quantization: hard limits first, then evidence for the task, then speed and headroom.

One vectorised pass sizes every model in every quantization; what remains is ordered by a utility in points of the
task score: `utility = cautious score - quantization loss - speed shortfall - verdict`. A model without evidence for
the task has no score, is never given one, and stands below every model that has evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sizing.errors import BadInputError, UnknownNameError
from sizing.estimate import Estimate, TableEstimate, describe, estimate, estimate_model_bytes, estimate_table
from sizing.fit import TIGHT_SHARE, Verdict, judge
from sizing.hardware import Machine, add_memory
from sizing.layers import LayerTable
from sizing.memory import WeightBytes
from sizing.placement import ModelBytes
from sizing.specs import ModelSpec
from sizing.units import GIB, format_bytes, format_figures, format_range, format_tokens
from sizing.weights import Floats, Ints, WeightTable
from sizing.workload import Workload

TASKS = ("chat", "code", "math", "reasoning", "multilingual", "vision", "rag")
LICENSE_USES = ("commercial", "research", "any")

COMFORTABLE_TOKENS_PER_S = {"code": 30.0, "math": 30.0, "reasoning": 40.0}
"""Decode speed below which a task starts to drag: one reads at 5 to 10 tokens/s, and skims; reasoning writes more."""
DEFAULT_COMFORTABLE_TOKENS_PER_S = 20.0
POINTS_PER_HALVING = 5.0
"""Score points lost each time the speed halves below comfort. A judgement, stated: it orders, it does not measure."""
POINTS_PER_DOUBLING = 0.5
"""Score points gained each time the speed doubles above comfort, up to three times: half the bytes for next to no loss
is the better quantization."""
CROWDED_POINTS, OFFLOAD_POINTS = 3.0, 2.0
"""Points against a device with next to nothing to spare, and against prompts that wait for the host. Judgements too."""
UNKNOWN_LOSS_POINTS = 8.0
"""Points set against a quantization whose loss nobody published, so that it is not preferred for being unknown."""
N_EXACT = 8
"""Options whose placement over host and cards is worked out exactly: those a page shows in full, and some more."""

KEPT_WORKLOADS = 16
"""Workloads whose costs a ranker remembers."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Published evidence for a task: latent score 0..100 with its 80% interval and the number of scores behind it."""

    score: float
    low: float
    high: float
    n_scores: int

    @property
    def cautious(self) -> float:
        """Half-way to the low end: what the ranking counts, so that one lucky score does not lead it."""
        return (self.score + self.low) / 2


@dataclass(frozen=True, slots=True)
class QuantLoss:
    """Points of score a quantization costs, its high end, and whose measurements say so.

    `label` is 'same model', 'same family' or 'generic'.
    """

    quant: str
    points: float
    label: str
    high: float | None = None

    @property
    def cautious(self) -> float:
        """Half-way to the high end: what the ranking counts, since small models lose more than the measured ones."""
        return self.points if self.high is None else (self.points + self.high) / 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model as the ranking sees it: shapes, weights per quant, licence answer and evidence.

    `gap` says why the engine could not weigh it (then `weights` is empty). `license_note` is the reason or the duties.
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


@dataclass(frozen=True, slots=True)
class Needs:
    """What the person asked for. `min_decode_tokens_per_s` None sets no hard limit on speed."""

    task: str
    workload: Workload
    min_decode_tokens_per_s: float | None = None
    license_use: str = "any"

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


@dataclass(frozen=True, slots=True)
class Option:
    """One model in its best quantization for these needs. `utility` is None without evidence for the task."""

    candidate: Candidate
    quant: str
    estimate: Estimate
    loss: QuantLoss | None
    utility: float | None
    reasons: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The model's display name."""
        return self.candidate.spec.name

    @property
    def verdict(self) -> Verdict:
        """Fits, tight or offload."""
        return self.estimate.fit.verdict


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answer: `options` best first (with evidence before without), and everything that was ruled out."""

    options: tuple[Option, ...]
    ruled_out: tuple[RuledOut, ...]
    assumptions: tuple[str, ...]
    what_would_change: tuple[str, ...] = ()

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
    against = POINTS_PER_HALVING * np.maximum(0.0, -doublings) - POINTS_PER_DOUBLING * np.clip(doublings, 0.0, 3.0)
    against = against + np.where(crowded, CROWDED_POINTS, 0.0) + np.where(verdict == 2, OFFLOAD_POINTS, 0.0)
    out = verdict == 3
    if min_decode_tokens_per_s is not None:
        out |= ~(np.nan_to_num(decode, nan=0.0) >= min_decode_tokens_per_s)
    return np.where(out, np.inf, against), verdict, decode


class Ranker:
    """The columns of a set of candidates, built once and asked many times."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates = tuple(candidates)
        weighed = [c for c in self.candidates if c.weights]
        self.weighed = tuple(weighed)
        self.layers = LayerTable.from_specs([c.spec for c in weighed])
        self.table = WeightTable.from_models([(c.spec, c.weights) for c in weighed])
        self.n_active_params: Ints = np.array([c.spec.n_active_params for c in weighed], dtype=np.int64)
        self._kept: dict[tuple[Workload, bool], ModelBytes] = {}

    @cached_property
    def loss_points(self) -> Floats:
        """Quantization loss of each row in points; a stated penalty where nothing is published."""
        by_model = [{x.quant: x.cautious for x in c.losses} for c in self.weighed]
        return np.array(
            [
                by_model[m].get(q, 0.0 if q in ("F16", "BF16") else UNKNOWN_LOSS_POINTS)
                for m, q in zip(self.table.model_row, self.table.quant, strict=True)
            ]
        )

    def size(self, workload: Workload, machine: Machine, *, with_projector: bool = False) -> TableEstimate:
        """Memory, placement and speed of every model in every quantization: one pass."""
        models = self._cost(workload, with_projector)
        return estimate_table(self.table, models, self.n_active_params, workload, machine)

    def _cost(self, workload: Workload, with_projector: bool) -> ModelBytes:
        """What a workload costs each model besides weights; it does not depend on the machine and is kept."""
        key = (workload, with_projector)
        if key not in self._kept:
            projector = np.array([c.projector_bytes if with_projector else 0 for c in self.weighed], dtype=np.int64)
            while len(self._kept) >= KEPT_WORKLOADS:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = estimate_model_bytes(self.layers, workload, projector)
        return self._kept[key]

    def score(self, result: TableEstimate, needs: Needs) -> tuple[Floats, Ints, Floats]:
        """Utility, verdict code and middle decode speed of every row; utility is -inf for what is ruled out.

        For a model without evidence the utility orders its quantizations only.
        """
        comfort = COMFORTABLE_TOKENS_PER_S.get(needs.task, DEFAULT_COMFORTABLE_TOKENS_PER_S)
        against, verdict, decode = count_points_against(result, comfort, needs.min_decode_tokens_per_s)
        quality = np.array([c.quality.cautious if c.quality else 0.0 for c in self.weighed])[self.table.model_row]
        return quality - self.loss_points - against, verdict, decode

    def recommend(self, machine: Machine, needs: Needs, *, sensitivity: bool = True) -> Recommendation:
        """The recommendation for `needs` on `machine`, with what was ruled out and why."""
        ruled = [r for c in self.candidates if (r := _rule_out(c, needs)) is not None]
        if not self.weighed:
            return Recommendation((), tuple(ruled), ())
        result = self.size(needs.workload, machine, with_projector=needs.task == "vision")
        utility, verdict, decode = self.score(result, needs)
        gone = {r.model_id for r in ruled}
        options: list[tuple[float, Option]] = []
        for m, candidate in enumerate(self.weighed):
            if candidate.spec.model_id in gone:
                continue
            rows = np.flatnonzero(self.table.model_row == m)
            row = int(rows[np.argmax(utility[rows])])
            if utility[row] == -np.inf:
                ruled.append(self._explain_limit(candidate, rows, result, verdict, decode, needs, machine))
                continue
            quant = self.table.quant[row]
            loss = next((x for x in candidate.losses if x.quant == quant), None)
            told = describe(result, row, candidate.spec, quant, needs.workload, machine)
            known = candidate.quality is not None
            option = Option(candidate, quant, told, loss, float(utility[row]) if known else None)
            options.append((float(utility[row]) if known else -1e6 + float(utility[row]), option))
        options.sort(key=lambda pair: -pair[0])
        exact = [self._make_exact(o, machine, needs) if i < N_EXACT else o for i, (_, o) in enumerate(options)]
        ordered = tuple(replace(o, reasons=_list_reasons(o, needs)) for o in exact)
        answer = Recommendation(ordered, tuple(ruled), ordered[0].estimate.memory.assumptions if ordered else ())
        return replace(answer, what_would_change=self._find_changes(answer, machine, needs)) if sensitivity else answer

    def _make_exact(self, option: Option, machine: Machine, needs: Needs) -> Option:
        """An option sized exactly, where the ranking's quick placement of a model in parts may be a layer off."""
        if option.verdict is not Verdict.OFFLOAD:
            return option
        candidate = option.candidate
        weights = next(w for w in candidate.weights if w.quant == option.quant)
        projector_bytes = candidate.projector_bytes if needs.task == "vision" else 0
        told = estimate(candidate.spec, weights, needs.workload, machine, projector_bytes=projector_bytes)
        return replace(option, estimate=told) if told.fit.runs else option

    def _explain_limit(
        self,
        candidate: Candidate,
        rows: Ints,
        result: TableEstimate,
        verdict: Ints,
        decode: Floats,
        needs: Needs,
        machine: Machine,
    ) -> RuledOut:
        spec = candidate.spec
        runs = rows[verdict[rows] != 3]
        if len(runs) == 0:
            least = int(rows[np.argmin(result.placement.total[rows].sum(axis=1))])
            need = int(result.placement.total[least].sum())
            text = (
                f"needs at least {format_bytes(need)} ({self.table.quant[least]}) at this context; "
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
        text = f"about {format_figures(float(decode[best]))} tokens/s at best ({self.table.quant[best]}), under {floor}"
        return RuledOut(spec.model_id, spec.name, "speed", text)

    def _find_changes(self, answer: Recommendation, machine: Machine, needs: Needs) -> tuple[str, ...]:
        lines = []
        now = (answer.best.candidate.spec.model_id, answer.best.quant) if answer.best else None
        for extra in (4, 8, 16, 24, 48, 96):
            other = self.recommend(add_memory(machine, extra * GIB), needs, sensitivity=False).best
            if other is not None and now != (other.candidate.spec.model_id, other.quant):
                lines.append(f"with {extra} GiB more: {other.name} at {other.quant}")
                break
        half = replace(needs.workload, context_tokens=max(1, needs.workload.context_tokens // 2))
        other = self.recommend(machine, replace(needs, workload=half), sensitivity=False).best
        if other is not None and now != (other.candidate.spec.model_id, other.quant):
            lines.append(f"with {format_tokens(half.context_tokens)} tokens of context: {other.name} at {other.quant}")
        return tuple(lines)


def _rule_out(candidate: Candidate, needs: Needs) -> RuledOut | None:
    """The first hard limit a candidate breaks before anything is sized."""
    spec = candidate.spec

    def out(kind: str, text: str) -> RuledOut:
        return RuledOut(spec.model_id, spec.name, kind, text)

    if set(candidate.tasks) <= {"embedding", "embeddings", "rerank"}:
        return out("task", "makes embeddings, does not generate text")
    if needs.task == "vision" and "image" not in candidate.modalities:
        return out("task", "does not read images")
    if not candidate.license_allowed:
        return out("licence", f"{candidate.license_name}: {candidate.license_note}")
    if needs.workload.context_tokens > spec.context_tokens:
        wanted = format_tokens(needs.workload.context_tokens)
        return out("context", f"trained for {format_tokens(spec.context_tokens)} tokens, {wanted} asked for")
    if not candidate.weights:
        return out("engine", candidate.gap or "not weighed yet: run `python -m evals weigh`")
    return None


def _list_reasons(option: Option, needs: Needs) -> tuple[str, ...]:
    quality, speed, fit = option.candidate.quality, option.estimate.speed, option.estimate.fit
    out = []
    if quality is None:
        out.append(f"quality for {needs.task}: unknown, no published score in the catalog")
    else:
        scores = "score" if quality.n_scores == 1 else "scores"
        out.append(
            f"{needs.task} evidence {format_figures(quality.score)} of 100 "
            f"({format_range(quality.low, quality.high)}) from {quality.n_scores} published {scores}"
        )
    if option.loss is not None:
        out.append(
            f"{option.quant} costs about {format_figures(option.loss.points)} points (published, {option.loss.label})"
        )
    elif option.quant not in ("F16", "BF16"):
        out.append(f"{option.quant}: quantization loss unknown")
    if speed is None:
        out.append("speed unknown: this machine's bandwidth is not known")
    else:
        mid = format_range(speed.decode_tokens_per_s.low, speed.decode_tokens_per_s.high)
        out.append(f"{mid} tokens/s, bound by {speed.bound}")
    out.append(f"{fit.verdict}: {fit.reasons[0]}" if fit.reasons else str(fit.verdict))
    return tuple(out)

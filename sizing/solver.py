"""The best way to run one model on one machine: quantization, layers, split, experts, caches, context and slots.

Everything the engine lets one choose is tried, the whole list of quantizations in one pass; what runs is ordered by
points, those of `sizing.recommend`: quantization loss, slowness, crowding, and what else is given up. Context and
slots are given up only when nothing else helps. The answer is exact (`place(exact=True)`), no card is overrun, and each
thing given up comes with what stood in its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sizing.errors import BadInputError
from sizing.estimate import Estimate, TableEstimate, check_workload, describe, estimate_model_bytes, estimate_table
from sizing.fit import judge
from sizing.hardware import Machine
from sizing.kv_cache import find_cache_refusal
from sizing.layers import LayerTable
from sizing.memory import WeightBytes
from sizing.placement import ModelBytes, Offload
from sizing.recommend import (
    POINTS_PER_DOUBLING,
    UNKNOWN_LOSS_POINTS,
    count_points_against,
)
from sizing.specs import ModelSpec
from sizing.units import format_figures, format_tokens
from sizing.weights import Floats, Ints, WeightTable
from sizing.workload import Workload

CACHE_POINTS = {"f16": 0.0, "q8_0": 0.75, "q4_0": 5.0}
"""Points a cache type costs for keys and values together. A judgement: llama.cpp's own measurements find q8_0 next to
lossless and q4_0 not (https://github.com/ggml-org/llama.cpp/pull/7412)."""

READING_TOKENS_PER_S = 10.0
"""As fast as people read (5 to 10 tokens/s): who has chosen a model wants its quality first, and no waiting."""

SHORTER_POINTS, FEWER_POINTS = 40.0, 45.0
"""Points for half the context and for half the users: more than any quantization costs, so they go last."""

LEAST_CONTEXT_TOKENS = 2048
"""No answer gives up context below this, or below what was asked where that is less."""

MAX_MOVES = 200
"""Layers moved between cards at most while a split is balanced."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted of a model: context and users as hard as can be, a least speed, and what may not be changed.

    `quants` None tries all there are. `min_decode_tokens_per_s` None sets no limit; `comfortable_tokens_per_s` is
    where more speed stops to matter much.
    """

    context_tokens: int
    n_parallel: int = 1
    min_decode_tokens_per_s: float | None = None
    quants: tuple[str, ...] | None = None
    comfortable_tokens_per_s: float = READING_TOKENS_PER_S
    n_ubatch: int = 512

    def __post_init__(self) -> None:
        if self.min_decode_tokens_per_s is not None and not 0 <= self.min_decode_tokens_per_s < 1e6:
            raise BadInputError(f"minimum speed wants 0 or more tokens/s, got {self.min_decode_tokens_per_s!r}")
        self.to_workload()

    def to_workload(self) -> Workload:
        """The workload as it was asked for, with f16 caches."""
        n_batch = max(2048, self.n_ubatch)  # as llama-server is started
        return Workload(self.context_tokens, self.n_parallel, n_ubatch=self.n_ubatch, n_batch=n_batch)


@dataclass(frozen=True, slots=True)
class GivenUp:
    """One thing the answer does without: what it is, what was wanted, what it is now, and what stood in its way."""

    what: str
    wanted: str
    got: str
    why: str


@dataclass(frozen=True, slots=True)
class Solution:
    """The best configuration, exactly sized; `points` is what it costs."""

    quant: str
    workload: Workload
    estimate: Estimate
    points: float
    gave_up: tuple[GivenUp, ...]


@dataclass(frozen=True, slots=True)
class NoSolution:
    """Nothing runs, however small: the reason of what came closest."""

    reason: str


class _Problem:
    """One model on one machine: its columns, and what was sized already."""

    def __init__(
        self, spec: ModelSpec, weights: Sequence[WeightBytes], losses: Mapping[str, float], machine: Machine
    ) -> None:
        self.spec, self.machine = spec, machine
        self.weights = tuple(weights)
        self.layers = LayerTable.from_specs([spec])
        self.table = WeightTable.from_models([(spec, self.weights)])
        self.n_active = np.array([spec.n_active_params], dtype=np.int64)
        self.losses: Floats = np.array(
            [losses.get(w.quant, 0.0 if w.quant in ("F16", "BF16") else UNKNOWN_LOSS_POINTS) for w in self.weights]
        )
        self._bytes: dict[Workload, ModelBytes] = {}

    def size(self, workload: Workload, row: int | None = None, offload: Offload | None = None) -> TableEstimate:
        """All quantizations at once, or exactly the one of `row`."""
        table = self.table if row is None else self.table.take(np.array([row], dtype=np.int64))
        return estimate_table(
            table, self.cost(workload), self.n_active, workload, self.machine, offload, exact=row is not None
        )

    def cost(self, workload: Workload) -> ModelBytes:
        """What a workload costs the model besides weights."""
        if workload not in self._bytes:
            self._bytes[workload] = estimate_model_bytes(self.layers, workload)
        return self._bytes[workload]

    def tell(self, workload: Workload, row: int, offload: Offload | None = None) -> Estimate:
        """One configuration in words and figures."""
        sized = self.size(workload, row, offload)
        return describe(sized, 0, self.spec, self.weights[row].quant, workload, self.machine)


def solve(
    spec: ModelSpec, weights: Sequence[WeightBytes], losses: Mapping[str, float], machine: Machine, asked: Asked
) -> Solution | NoSolution:
    """The best runnable configuration of a model on a machine, or why there is none.

    `weights` are those of every quantization, `losses` the points each costs (an unknown one costs
    `UNKNOWN_LOSS_POINTS`). Raises BadInputError for a context above the model's own or no weights to choose from.
    """
    workload = asked.to_workload()
    check_workload(spec, workload)
    chosen = [w for w in weights if asked.quants is None or w.quant in asked.quants]
    if not chosen:
        raise BadInputError(f"{spec.name} has no weights in {asked.quants!r}; it has {[w.quant for w in weights]!r}")
    problem = _Problem(spec, chosen, losses, machine)
    for candidate in sorted(_list_candidates(problem, asked), key=lambda c: c.points):
        answer = candidate.placed or _make_exact(problem, candidate.workload, candidate.row, asked)
        if answer is not None:
            gave_up = tuple(_list_given_up(problem, asked, candidate, answer))
            quant = chosen[candidate.row].quant
            return Solution(quant, candidate.workload, answer, candidate.points, gave_up)
    smallest = int(np.argmin(problem.table.tensor_bytes))
    least = replace(asked.to_workload(), context_tokens=_shortest(asked), n_parallel=1)
    told = problem.tell(least, smallest)
    if told.fit.runs and told.speed is not None and asked.min_decode_tokens_per_s:
        reason = f"{_say_speed(told)} at the most, {format_figures(asked.min_decode_tokens_per_s)} tokens/s wanted"
    elif told.fit.runs:
        reason = "its speed is unknown here, and a least speed was asked for"
    else:
        reason = told.fit.reasons[0]
    return NoSolution(f"even {chosen[smallest].quant} with {format_tokens(least.context_tokens)} tokens: {reason}")


def _shortest(asked: Asked) -> int:
    return min(asked.context_tokens, LEAST_CONTEXT_TOKENS)


def _list_workloads(spec: ModelSpec, asked: Asked) -> Iterator[tuple[float, Workload]]:
    """Workloads from the one asked for to the least that is still an answer, with the points they cost."""
    contexts, slots = [asked.context_tokens], [asked.n_parallel]
    while contexts[-1] > _shortest(asked):
        contexts.append(max(contexts[-1] // 2, _shortest(asked)))
    while slots[-1] > 1:
        slots.append(slots[-1] // 2)
    for i, context in enumerate(contexts):
        for j, n_parallel in enumerate(slots):
            for kind, points in CACHE_POINTS.items():
                workload = replace(
                    asked.to_workload(), context_tokens=context, n_parallel=n_parallel, kv_type_k=kind, kv_type_v=kind
                )
                if kind == "f16" or find_cache_refusal(spec, workload) is None:
                    yield points + i * SHORTER_POINTS + j * FEWER_POINTS, workload


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A configuration that may be the answer; `placed` where it was worked out exactly already."""

    points: float
    workload: Workload
    row: int
    placed: Estimate | None = None


def _list_candidates(problem: _Problem, asked: Asked) -> Iterator[_Candidate]:
    """What runs, with its points: all quantizations of one workload after another, until giving up more cannot help."""
    best = np.inf
    for given, workload in sorted(_list_workloads(problem.spec, asked), key=lambda pair: pair[0]):
        if given - MOST_BONUS_POINTS > best:
            return
        sized = problem.size(workload)
        points = given + _count_points(sized, problem.losses, asked)
        for row in np.flatnonzero(np.isfinite(points)).tolist():
            yield _Candidate(float(points[row]), workload, row)
        best = min(best, float(points.min()))
        for row, placed, exact in _list_balanced(problem, workload, sized):
            balanced = given + float(_count_points(exact, problem.losses[row : row + 1], asked)[0])
            if np.isfinite(balanced):
                best = min(best, balanced)
                yield _Candidate(balanced, workload, row, placed)


def _list_balanced(
    problem: _Problem, workload: Workload, sized: TableEstimate
) -> Iterator[tuple[int, Estimate, TableEstimate]]:
    """Rows that another split improves: those the cards could hold together, all where one card is much faster, and
    the best of those that need the host."""
    cards = problem.machine.accelerators
    if len(cards) < 2 or problem.machine.is_unified:
        return
    whole = problem.size(workload, offload=Offload(problem.spec.n_layers + 1))
    needs = whole.placement.total[:, 1:].sum(axis=1)
    usable = sum(d.usable_bytes for d in cards)
    n_filled = 0
    for row in np.argsort(problem.losses, kind="stable").tolist():
        placed: Estimate | None = None
        if needs[row] <= usable:
            if int(judge(sized.placement)[0][row]) >= 2 or _find_faster(problem.machine) is not None:
                placed = _balance(problem, workload, row)
        elif n_filled < MOST_FILLED and problem.table.tensor_bytes[row] <= problem.machine.usable_bytes:
            placed = _fill_cards(problem, workload, row, sized)
            n_filled += placed is not None
        if placed is not None:
            yield row, placed, problem.size(workload, row, placed.offload)


MOST_FILLED = 4
"""Quantizations that are divided between cards and host with care, the best first."""


MOST_BONUS_POINTS = 3.0 * POINTS_PER_DOUBLING
"""The most that speed can add to the points of a workload."""


def _count_points(sized: TableEstimate, losses: Floats, asked: Asked) -> Floats:
    """Points of every row; infinite for what does not run or is too slow."""
    against, _, _ = count_points_against(sized, asked.comfortable_tokens_per_s, asked.min_decode_tokens_per_s)
    return losses + against


def _make_exact(problem: _Problem, workload: Workload, row: int, asked: Asked) -> Estimate | None:
    """The configuration with exact buffers; None where it does not hold after all."""
    told = problem.tell(workload, row)
    if not told.fit.runs:
        return None
    if asked.min_decode_tokens_per_s:
        speed = told.speed
        if speed is None or speed.decode_tokens_per_s.mid < asked.min_decode_tokens_per_s:
            return None
    return told


def _balance(problem: _Problem, workload: Workload, row: int) -> Estimate | None:
    """A split of whole layers that puts everything on the cards, and more of it on the faster ones; None for none.

    llama.cpp divides by free memory and counts neither the output nor compute buffers, so the last card may overrun
    while another has room; and a slow card gets as much as a fast one. Layers are moved one by one from the card with
    the least room to the one with the most, then from the slowest to the fastest while they fit.
    """
    cards = problem.machine.accelerators
    if len(cards) < 2 or problem.machine.is_unified:
        return None
    everything = problem.spec.n_layers + 1
    usable: Ints = np.array([max(d.usable_bytes, 1) for d in cards], dtype=np.int64)
    counts = _share_out(everything, usable)

    def attempt(layers: Ints) -> Estimate:
        return problem.tell(workload, row, Offload(everything, tuple(float(count) for count in layers)))

    def headroom(estimate: Estimate) -> Ints:
        return np.array([d.headroom_bytes for d in estimate.memory.devices[1:]], dtype=np.int64)

    best = attempt(counts)
    if sum(d.parts.total_bytes for d in best.memory.devices[1:]) > int(usable.sum()):
        return None
    for _ in range(MAX_MOVES):
        room = headroom(best)
        lacking, roomy = int(np.argmin(room / usable)), int(np.argmax(room / usable))
        moved = counts.copy()
        moved[lacking] -= 1
        moved[roomy] += 1
        if moved[lacking] < 0:
            break
        trial = attempt(moved)
        if (headroom(trial) / usable).min() <= (room / usable).min():
            break
        counts, best = moved, trial
    if not best.fit.runs:
        return None
    return _speed_up(problem, counts, best, attempt)


def _fill_cards(problem: _Problem, workload: Workload, row: int, sized: TableEstimate) -> Estimate | None:
    """As much as the cards hold when each is filled before the next, the rest on the host; None where that overruns.

    With llama.cpp's own shares a mixture of experts that leaves experts of its first layers to the host empties the
    first card while the last stays full; here the first card gets more of the light layers instead.
    """
    w, n, cards = problem.weights[row], problem.spec.n_layers, problem.machine.accelerators
    models, zero = problem.cost(workload), np.zeros(1, dtype=np.int64)
    state = [
        int(models.kv.between(zero + i, zero + i + 1)[0] + models.recurrent.between(zero + i, zero + i + 1)[0])
        for i in range(n)
    ]
    output = w.output_bytes + (w.token_embedding_bytes if problem.spec.tied_embeddings else 0)
    room = [d.usable_bytes - int(sized.placement.compute[row, 1:].max()) for d in cards]

    def counts_for(kept: int) -> tuple[int, ...] | None:
        """How many layers each card takes when experts, or layers, of the first `kept` layers stay on the host."""
        if problem.spec.is_moe:
            sizes = [w.layer_bytes[i] - (w.layer_expert_bytes[i] if i < kept else 0) + state[i] for i in range(n)]
        else:
            sizes = [w.layer_bytes[i] + state[i] for i in range(kept, n)]
        return _fill([*sizes, output], room)

    for _ in range(MOST_REFILLS):
        low, high = 0, n
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if counts_for(middle) is not None else (middle + 1, high)
        counts = counts_for(low)
        if counts is None:
            return None
        split = tuple(float(count) for count in counts)
        offload = Offload(n + 1, split, low) if problem.spec.is_moe else Offload(n + 1 - low, split)
        told = problem.tell(workload, row, offload)
        lacking = [min(d.headroom_bytes, 0) for d in told.memory.devices[1:]]
        if not any(lacking):
            return told if told.fit.runs else None
        room = [r + less for r, less in zip(room, lacking, strict=True)]
    return None


MOST_REFILLS = 6
"""Times the cards are filled anew at most, with the room that drivers and buffers turned out to take."""


def _fill(sizes: Sequence[int], room: Sequence[int]) -> tuple[int, ...] | None:
    """How many of `sizes`, in order, go into each of `room` when each is filled before the next; None if not all do."""
    counts, place = [0] * len(room), 0
    left = list(room)
    for size in sizes:
        while place < len(left) and size > left[place]:
            place += 1
        if place == len(left):
            return None
        left[place] -= size
        counts[place] += 1
    return tuple(counts)


def _share_out(n: int, usable: Ints) -> Ints:
    """`n` layers over cards in proportion to their memory, whole ones, the rest to the largest remainders."""
    ideal = n * usable / max(int(usable.sum()), 1)
    counts = np.floor(ideal).astype(np.int64)
    for d in np.argsort(counts - ideal, kind="stable")[: n - int(counts.sum())]:
        counts[d] += 1
    return counts


def _find_faster(machine: Machine) -> tuple[int, int] | None:
    """The slowest and the fastest card where they differ by a tenth at least; None where they do not."""
    rates = [d.bandwidth_bytes_per_s or 0.0 for d in machine.accelerators]
    slow, fast = int(np.argmin(rates)), int(np.argmax(rates))
    return (slow, fast) if 0 < 1.1 * rates[slow] <= rates[fast] else None


def _speed_up(
    problem: _Problem,
    counts: Ints,
    best: Estimate,
    attempt: Callable[[Ints], Estimate],
) -> Estimate:
    """Move as many layers as fit from the slowest card to the fastest, by bisection."""
    pair = _find_faster(problem.machine)
    if pair is None:
        return best
    slow, fast = pair
    low, high = 0, int(counts[slow])
    while low < high:
        middle = (low + high + 1) // 2
        moved = counts.copy()
        moved[slow] -= middle
        moved[fast] += middle
        trial = attempt(moved)
        if all(d.headroom_bytes >= 0 for d in trial.memory.devices):
            low, best = middle, trial
        else:
            high = middle - 1
    return best


def _say_speed(told: Estimate) -> str:
    if told.speed is None:
        return "speed unknown"
    return f"about {format_figures(told.speed.decode_tokens_per_s.mid)} tokens/s"


def _obstacle(told: Estimate, asked: Asked) -> str:
    """What speaks against a configuration: that it does not fit, is too slow, or only that it is worse."""
    if not told.fit.runs:
        return told.fit.reasons[0]
    reason = f"{told.fit.verdict}: {told.fit.reasons[0]}; {_say_speed(told)}"
    if asked.min_decode_tokens_per_s and told.speed is not None:
        wanted = asked.min_decode_tokens_per_s
        if told.speed.decode_tokens_per_s.mid < wanted:
            return f"{_say_speed(told)}, {format_figures(wanted)} wanted"
    return reason


def _list_given_up(problem: _Problem, asked: Asked, answer: _Candidate, told: Estimate) -> Iterator[GivenUp]:
    """Each thing that is less than could be wished, with what happens when it alone is put back."""
    workload, row = answer.workload, answer.row

    def without(other: Workload, other_row: int, pinned: Offload | None = None) -> str:
        return _obstacle(problem.tell(other, other_row, pinned), asked)

    quant = problem.weights[row].quant
    n_bytes = problem.table.tensor_bytes
    heavier = [r for r in range(len(n_bytes)) if problem.losses[r] < problem.losses[row] and n_bytes[r] > n_bytes[row]]
    if heavier:
        better = min(heavier, key=lambda r: int(n_bytes[r]))
        yield GivenUp("quantization", problem.weights[better].quant, quant, without(workload, better))
    if workload.kv_type_k != "f16":
        full = replace(workload, kv_type_k="f16", kv_type_v="f16")
        yield GivenUp("cache type", "f16", workload.kv_type_k, without(full, row))
    if workload.context_tokens < asked.context_tokens:
        longer = replace(workload, context_tokens=asked.context_tokens)
        wanted, got = (f"{format_tokens(c)} tokens" for c in (asked.context_tokens, workload.context_tokens))
        yield GivenUp("context", wanted, got, without(longer, row))
    if workload.n_parallel < asked.n_parallel:
        more = replace(workload, n_parallel=asked.n_parallel)
        yield GivenUp("users at once", str(asked.n_parallel), str(workload.n_parallel), without(more, row))
    if not problem.machine.accelerators or problem.machine.is_unified:
        return
    n, everything = problem.spec.n_layers, problem.spec.n_layers + 1
    if told.n_cpu_moe:
        pinned = replace(told.offload, gpu_layers=everything, cpu_moe=None)
        got = f"experts of {told.n_cpu_moe} of {n} layers on the host"
        yield GivenUp("experts on the cards", "all", got, without(workload, row, pinned))
    if told.n_gpu_layers < everything:
        pinned = replace(told.offload, gpu_layers=everything)
        got = f"{told.n_gpu_layers} of {everything}, the output counted as one"
        yield GivenUp("layers on the cards", "all", got, without(workload, row, pinned))

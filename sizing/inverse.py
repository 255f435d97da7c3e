"""The questions the other way round: which machine runs a model, what more memory opens, how much context one gives.

A machine does it when one of the quantizations that will do runs on it whole in its accelerators' memory (or its
RAM, where it has no accelerator), fast enough in the middle of the speed's interval. Where several do, it is credited
with the largest. Prices are those of the devices alone; a machine without one is listed apart, never as free.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sizing.errors import BadInputError, UnknownNameError
from sizing.estimate import (
    Estimate,
    TableEstimate,
    check_workload,
    describe,
    estimate,
    estimate_model_bytes,
    find_largest_context,
    make_busy,
    time_table,
)
from sizing.fit import VERDICTS, Verdict, judge
from sizing.hardware import Device, DeviceKind, Machine, add_memory
from sizing.layers import LayerTable
from sizing.memory import WeightBytes
from sizing.placement import ModelBytes, Offload, Placement, place
from sizing.specs import ModelSpec
from sizing.throughput import Interval
from sizing.units import GIB
from sizing.weights import Floats, Ints, WeightTable
from sizing.workload import Workload

GOOD_QUANTS = ("Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "IQ4_XS", "MXFP4")
"""The quantizations taken where none is named, of which a larger one loses less. A judgement: below four bits the loss
grows fast, above eight it is next to nothing for twice the bytes. Any other is taken when it is named."""

USERS = (1, 2, 4, 8, 16, 32)
"""Users at once that the grid of contexts asks about."""

EXTRA_GIB = (4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Steps of additional memory in GiB: modules and cards as they are sold."""

PRICE_BASIS = (
    "launch price of the devices that carry the model: of cards without the host around them, of unified memory the "
    "whole computer; what shops ask today differs"
)

WHOLE = (Verdict.FITS, Verdict.TIGHT)
ANYHOW = (Verdict.FITS, Verdict.TIGHT, Verdict.OFFLOAD)


@dataclass(frozen=True, slots=True)
class HardwareNeeds:
    """What a machine has to do.

    `weights` holds the quantizations that will do, at least one. `min_decode_tokens_per_s` is what each user must
    see, None for any speed. `allow_offload` lets part of the model run on the host beside a card.
    """

    spec: ModelSpec
    weights: tuple[WeightBytes, ...]
    workload: Workload
    min_decode_tokens_per_s: float | None = None
    allow_offload: bool = False

    def __post_init__(self) -> None:
        if not self.weights:
            raise BadInputError(f"{self.spec.name}: at least one quantization is wanted, got none")
        if self.min_decode_tokens_per_s is not None and not 0 <= self.min_decode_tokens_per_s < 1e6:
            raise BadInputError(f"minimum speed wants 0 or more tokens/s, got {self.min_decode_tokens_per_s!r}")
        check_workload(self.spec, self.workload)

    def find_weights(self, quant: str) -> WeightBytes:
        """The weights of one of the quantizations that will do. Raises UnknownNameError."""
        for weights in self.weights:
            if weights.quant == quant:
                return weights
        raise UnknownNameError("quant", quant, [w.quant for w in self.weights])

    @property
    def accept(self) -> tuple[Verdict, ...]:
        """The verdicts that count as doing it."""
        return ANYHOW if self.allow_offload else WHOLE


@dataclass(frozen=True, slots=True)
class PriceSource:
    """Where a device's launch price was read, the year of the launch where known, and when the facts were read."""

    source_url: str
    as_of: str
    year: int | None = None

    @property
    def name(self) -> str:
        """What kind of price it is: 'launch price of 2022'."""
        return f"launch price of {self.year}" if self.year else "launch price, year unknown"


@dataclass(frozen=True, slots=True)
class MachineAnswer:
    """One machine that does it, in the largest quantization it does it with.

    `price_usd` and `power_watts` add up the accelerators, or are the host's where there are none; None where one is
    unknown. Bytes used, usable and left are those of the devices that carry the model.
    """

    machine: Machine
    quant: str
    estimate: Estimate
    price_usd: int | None
    power_watts: int | None

    @property
    def decode_tokens_per_s(self) -> Interval | None:
        """Speed each user sees; None where the bandwidth is unknown."""
        return self.estimate.speed.decode_tokens_per_s if self.estimate.speed else None

    @property
    def used_bytes(self) -> int:
        """Memory taken on the devices that carry the model."""
        return sum(d.parts.total_bytes for d in self.estimate.memory.devices[self._first_carrier :])

    @property
    def usable_bytes(self) -> int:
        """Memory a model may take on those devices."""
        return sum(d.usable_bytes for d in self.estimate.memory.devices[self._first_carrier :])

    @property
    def headroom_bytes(self) -> int:
        """What stays free of it."""
        return self.usable_bytes - self.used_bytes

    @property
    def _first_carrier(self) -> int:
        on_cards = len(self.estimate.memory.devices) > 1 and self.estimate.fit.verdict is not Verdict.OFFLOAD
        return 1 if on_cards else 0


@dataclass(frozen=True, slots=True)
class HardwareAnswer:
    """Which machines do it: `priced` cheapest first, `unpriced` smallest first (fewest devices, then least memory),
    and how many do not, by reason.

    `frontier` are the priced machines that no other beats in price, speed and headroom together.
    """

    priced: tuple[MachineAnswer, ...]
    unpriced: tuple[MachineAnswer, ...]
    frontier: tuple[MachineAnswer, ...]
    n_short_of_memory: int
    n_too_slow: int
    n_speed_unknown: int
    n_unsupported: int = 0
    """Machines another engine than llama.cpp cannot run the model on at all."""

    @property
    def cheapest(self) -> MachineAnswer | None:
        """The cheapest machine of known price, None where no such machine does it."""
        return self.priced[0] if self.priced else None

    @property
    def n_machines(self) -> int:
        """How many machines were asked about."""
        failed = self.n_short_of_memory + self.n_too_slow + self.n_speed_unknown + self.n_unsupported
        return len(self.priced) + len(self.unpriced) + failed


def choose_weights(weights: Sequence[WeightBytes], quant: str | None = None) -> tuple[WeightBytes, ...]:
    """The quantizations that will do: the named one, or those of `GOOD_QUANTS`, else all there are."""
    if quant is not None:
        return tuple(w for w in weights if w.quant == quant)
    return tuple(w for w in weights if w.quant in GOOD_QUANTS) or tuple(weights)


def find_hardware(needs: HardwareNeeds, machines: Sequence[Machine]) -> HardwareAnswer:
    """Which of `machines` do what is needed. Every quantization is sized on a machine in one pass."""
    sizer = _Sizer.build(needs)
    return arrange_answers([sizer.answer(machine) for machine in machines])


def arrange_answers(answers: Sequence[MachineAnswer | str]) -> HardwareAnswer:
    """What machines answered, in order: answers by price, and the failures counted by their word.

    The words are 'memory', 'speed', 'unknown' (its speed) and 'engine' (cannot run it at all).
    """
    found = [a for a in answers if isinstance(a, MachineAnswer)]
    failed = Counter(a for a in answers if isinstance(a, str))
    priced = [a for a in found if a.price_usd is not None]
    priced.sort(key=lambda a: (a.price_usd or 0, -_speed(a), -a.headroom_bytes, a.machine.name))
    unpriced = [a for a in found if a.price_usd is None]
    unpriced.sort(key=lambda a: (len(a.machine.accelerators), a.usable_bytes, -_speed(a), a.machine.name))
    return HardwareAnswer(
        tuple(priced),
        tuple(unpriced),
        find_frontier(priced),
        n_short_of_memory=failed["memory"],
        n_too_slow=failed["speed"],
        n_speed_unknown=failed["unknown"],
        n_unsupported=failed["engine"],
    )


def leave_out_surplus(answers: Sequence[MachineAnswer]) -> tuple[MachineAnswer, ...]:
    """The answers without those that only add cards: fewer of the same card do as well in quantization and speed."""
    kept: list[MachineAnswer] = []
    least: dict[str, list[MachineAnswer]] = {}
    for a in sorted(answers, key=lambda a: len(a.machine.accelerators)):
        names = {d.name for d in a.machine.accelerators}
        same = least.setdefault(names.pop(), []) if len(names) == 1 else []
        if not any(k.quant == a.quant and _speed(k) >= 0.99 * _speed(a) for k in same):
            same.append(a)
            kept.append(a)
    order = {id(a): i for i, a in enumerate(answers)}
    return tuple(sorted(kept, key=lambda a: order[id(a)]))


def find_frontier(answers: Sequence[MachineAnswer]) -> tuple[MachineAnswer, ...]:
    """The answers no other beats in price, speed and headroom at once, cheapest first.

    An answer without a price or a speed is left out: nothing can be said about it. Of equals the first stays.
    """
    known = [
        (a, _speed(a), a.headroom_bytes)
        for a in answers
        if a.price_usd is not None and a.decode_tokens_per_s is not None
    ]
    kept: list[tuple[MachineAnswer, float, int]] = []
    for a, speed, headroom in sorted(known, key=lambda x: (x[0].price_usd or 0, -x[1], -x[2])):
        if not any(k_speed >= speed and k_headroom >= headroom for _, k_speed, k_headroom in kept):
            kept.append((a, speed, headroom))
    return tuple(a for a, _, _ in kept)


def price_of(machine: Machine) -> int | None:
    """What the devices that carry a model cost together: the accelerators, or the host alone; None where unknown."""
    return _sum_known([d.price_usd for d in machine.accelerators or (machine.host,)])


def power_of(machine: Machine) -> int | None:
    """The power limits of those devices together in watts; None where one is unknown."""
    return _sum_known([d.power_watts for d in machine.accelerators or (machine.host,)])


def _sum_known(values: Sequence[int | None]) -> int | None:
    known = [v for v in values if v is not None]
    return sum(known) if len(known) == len(values) else None


def _speed(answer: MachineAnswer) -> float:
    decode = answer.decode_tokens_per_s
    return decode.mid if decode else 0.0


@dataclass(frozen=True, slots=True)
class _Placed:
    """Every quantization, or one, on devices of some size, and each one's place in `VERDICTS`."""

    placement: Placement
    verdict: Ints


@dataclass(frozen=True, slots=True)
class _Sizer:
    """The columns of one question: one row a quantization, what the workload costs worked out once.

    `table` counts the experts all users read together. `placed` is what was placed, by the sizes of devices, the
    offload and the row: many machines differ in speed alone. `rows` holds rows as tables of their own.
    """

    needs: HardwareNeeds
    table: WeightTable
    models: ModelBytes
    tensor_bytes: Ints
    n_active_params: Ints
    placed: dict[tuple[tuple[tuple[DeviceKind, str, int], ...], Offload | None, int | None], _Placed] = field(
        default_factory=dict
    )
    rows: dict[int, WeightTable] = field(default_factory=dict)

    @classmethod
    def build(cls, needs: HardwareNeeds) -> _Sizer:
        table = WeightTable.from_models([(needs.spec, needs.weights)])
        return cls(
            needs,
            make_busy(table, needs.workload),
            estimate_model_bytes(LayerTable.from_specs([needs.spec]), needs.workload),
            table.tensor_bytes,
            np.array([needs.spec.n_active_params], dtype=np.int64),
        )

    def answer(self, machine: Machine) -> MachineAnswer | str:
        """The machine in its largest quantization that does it, or what it lacks: memory, speed, or a known speed."""
        needs = self.needs
        if int(self.tensor_bytes.min()) > machine.usable_bytes:
            return "memory"
        answer = self._place(machine, Offload(gpu_layers=needs.spec.n_layers + 1))
        settled = not needs.allow_offload or not has_cards(machine)
        if settled or (isinstance(answer, MachineAnswer) and answer.quant == self._largest_quant):
            return answer  # nothing larger to gain from the host
        return self._place(machine, None)

    @property
    def _largest_quant(self) -> str:
        return self.table.quant[int(np.argmax(self.tensor_bytes))]

    def _place(self, machine: Machine, offload: Offload | None) -> MachineAnswer | str:
        needs = self.needs
        found = self._find_placed(machine, offload)
        runs = np.isin(found.verdict, [VERDICTS.index(v) for v in needs.accept])
        if not runs.any():
            return "memory"
        if needs.min_decode_tokens_per_s:
            decode: Floats = self._time(self.table, found, machine).speed.decode_tokens_per_s[:, 1]
            fast = runs & (np.nan_to_num(decode, nan=0.0) >= needs.min_decode_tokens_per_s)
            if not fast.any():
                return "unknown" if np.isnan(decode[runs]).all() else "speed"
            runs = fast
        row = int(np.argmax(np.where(runs, self.tensor_bytes, -1)))
        if has_cards(machine) and (offload is None or len(machine.accelerators) > 1):  # its own division played
            own = self._find_placed(machine, offload, row)
        else:
            own = replace(found, placement=found.placement.take(np.array([row], dtype=np.int64)))
        result = self._time(self._find_row(row), own, machine)
        told = describe(result, 0, needs.spec, self.table.quant[row], needs.workload, machine)
        return MachineAnswer(machine, told.memory.quant, told, price_of(machine), power_of(machine))

    def _find_placed(self, machine: Machine, offload: Offload | None, row: int | None = None) -> _Placed:
        """Every quantization on a machine, or one of them played exactly; what was placed on such devices is kept."""
        devices = (machine.host, *machine.accelerators)
        key = (tuple((d.kind, d.backend, d.usable_bytes) for d in devices), offload, row)
        found = self.placed.get(key)
        if found is None:
            table = self.table if row is None else self._find_row(row)
            placement = place(table, self.models, machine, offload, exact=row is not None)
            found = self.placed[key] = _Placed(placement, judge(placement)[0])
            return found
        used = devices[:1] if not machine.accelerators else devices[1:2] if machine.is_unified else devices
        return replace(found, placement=replace(found.placement, devices=used))

    def _find_row(self, row: int) -> WeightTable:
        """One quantization as a table."""
        if row not in self.rows:
            self.rows[row] = self.table.take(np.array([row], dtype=np.int64))
        return self.rows[row]

    def _time(self, table: WeightTable, placed: _Placed, machine: Machine) -> TableEstimate:
        return time_table(table, placed.placement, self.n_active_params, self.needs.workload, machine)


# ---- what more memory opens ----


@dataclass(frozen=True, slots=True)
class MemoryStep:
    """With `usable_bytes` on one device a model runs whole in `quant` at `context_tokens` for each of the slots."""

    usable_bytes: int
    quant: str
    context_tokens: int
    verdict: Verdict = Verdict.FITS


def list_quant_steps(needs: HardwareNeeds) -> tuple[MemoryStep, ...]:
    """The memory at which each larger quantization starts to run on one card, smallest first.

    A quantization that needs no less memory than a larger one opens nothing and is left out.
    """
    steps: list[MemoryStep] = []
    for weights in sorted(needs.weights, key=lambda w: w.tensor_bytes):
        need = _need_on_one_card(needs.spec, weights, needs.workload)
        while steps and steps[-1].usable_bytes >= need:
            steps.pop()
        steps.append(MemoryStep(need, weights.quant, needs.workload.context_tokens))
    return tuple(steps)


def list_context_steps(
    needs: HardwareNeeds, weights: WeightBytes, contexts: Sequence[int] | None = None
) -> tuple[MemoryStep, ...]:
    """The memory that one quantization needs on one card at each context, in rising order."""
    asked = sorted(set(contexts or list_contexts(needs.spec)))
    return tuple(
        MemoryStep(
            _need_on_one_card(needs.spec, weights, replace(needs.workload, context_tokens=tokens)),
            weights.quant,
            tokens,
        )
        for tokens in asked
        if tokens <= needs.spec.context_tokens
    )


def _need_on_one_card(spec: ModelSpec, weights: WeightBytes, workload: Workload) -> int:
    """Bytes on a card that holds the whole model, its driver's share included."""
    host = Device("host", DeviceKind.CPU, 2**50, 2**50)
    card = Device("card", DeviceKind.GPU, 2**50, 2**50, backend="cuda")
    told = estimate(spec, weights, workload, Machine("any card", host, (card,)))
    return told.memory.devices[1].parts.total_bytes


def list_contexts(spec: ModelSpec, first: int = 4096) -> tuple[int, ...]:
    """Powers of two from `first` up to the model's own maximum, which is always the last."""
    powers = [first * 2**n for n in range(24) if first * 2**n < spec.context_tokens]
    return (*powers, spec.context_tokens)


@dataclass(frozen=True, slots=True)
class Unlock:
    """What a machine does with `extra_gib` more: its largest quantization, and that one's largest context.

    `quant` is None where it still runs none that will do. `largest_context_tokens` is for `quant`, whole in the
    accelerators' memory. `is_new` marks a step that opens a larger quantization or a longer context.
    """

    extra_gib: int
    quant: str | None
    largest_context_tokens: int | None
    is_new: bool


def list_unlocks(needs: HardwareNeeds, machine: Machine, extra_gib: Sequence[int] = EXTRA_GIB) -> tuple[Unlock, ...]:
    """What the next gigabytes open on `machine`, the present state first (0 GiB more).

    The memory goes to the first accelerator, or to the RAM where there is none. Speed is not asked for. More memory
    never opens less: what ran before runs with the former split of layers.
    """
    still = replace(needs, min_decode_tokens_per_s=None)
    order = sorted(needs.weights, key=lambda w: w.tensor_bytes)
    place = {w.quant: i for i, w in enumerate(order)}
    best, longest = -1, 0
    steps: list[Unlock] = []
    sizer = _Sizer.build(still)
    for extra in sorted({0, *extra_gib}):
        larger = add_memory(machine, extra * GIB)
        answer = sizer.answer(larger)
        here = best if isinstance(answer, str) else place[answer.quant]
        is_new = here > best
        if is_new:
            best, longest = here, 0
        if best >= 0:
            most = _find_most(needs.spec, order[best], needs.workload, larger, needs.accept) or 0
            is_new = is_new or most > longest
            longest = max(longest, most)
        quant = order[best].quant if best >= 0 else None
        steps.append(Unlock(extra, quant, longest or None, is_new))
    return tuple(steps)


def _find_most(
    spec: ModelSpec, weights: WeightBytes, workload: Workload, machine: Machine, accept: tuple[Verdict, ...]
) -> int | None:
    """The largest context whose verdict is in `accept`; where it must be whole, no other placement is tried."""
    offload = Offload(gpu_layers=spec.n_layers + 1) if accept == WHOLE else None
    return find_largest_context(spec, weights, workload, machine, offload, accept=accept)


# ---- how much context for how many users ----


@dataclass(frozen=True, slots=True)
class GridCell:
    """One context for one number of users: whether it runs, and what each user sees (None: it does not, or unknown)."""

    context_tokens: int
    verdict: Verdict
    decode_tokens_per_s: Interval | None


@dataclass(frozen=True, slots=True)
class GridRow:
    """The contexts for one number of users.

    `largest_context_tokens` is the most each user can have with the model whole in the accelerators' memory,
    `largest_anyhow_tokens` with part of it on the host; None where there is none.
    """

    n_parallel: int
    largest_context_tokens: int | None
    largest_anyhow_tokens: int | None
    cells: tuple[GridCell, ...] = field(default=())


def has_cards(machine: Machine) -> bool:
    """Whether a model can be spread over cards and a host."""
    return bool(machine.accelerators) and not machine.is_unified


def _estimate_cell(spec: ModelSpec, weights: WeightBytes, workload: Workload, machine: Machine) -> Estimate:
    """The estimate of one cell; another placement is tried only where the model is not whole on the cards."""
    whole = estimate(spec, weights, workload, machine, Offload(gpu_layers=spec.n_layers + 1))
    if whole.fit.verdict in WHOLE or not has_cards(machine):
        return whole
    return estimate(spec, weights, workload, machine)


def list_context_grid(
    spec: ModelSpec,
    weights: WeightBytes,
    workload: Workload,
    machine: Machine,
    users: Sequence[int] = USERS,
    contexts: Sequence[int] | None = None,
) -> tuple[GridRow, ...]:
    """The largest context per user for each number of users on a machine, with verdict and speed on the way there."""
    asked = tuple(contexts or list_contexts(spec))
    rows = []
    for n_parallel in users:
        shared = replace(workload, n_parallel=n_parallel)
        cells = []
        for tokens in asked:
            told = _estimate_cell(spec, weights, replace(shared, context_tokens=tokens), machine)
            decode = told.speed.decode_tokens_per_s if told.speed else None
            cells.append(GridCell(tokens, told.fit.verdict, decode))
        whole = _find_most(spec, weights, shared, machine, WHOLE)
        anyhow = whole
        if whole != spec.context_tokens and has_cards(machine):
            anyhow = find_largest_context(spec, weights, shared, machine)
        rows.append(GridRow(n_parallel, whole, anyhow, tuple(cells)))
    return tuple(rows)

"""Which models in which quantizations and placements are tried on the accelerators of a machine. Runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from evals.bench_room import estimate_workload
from sizing.compute import can_estimate_compute
from sizing.hardware import Device, Machine
from sizing.memory import WeightBytes
from sizing.placement import Offload
from sizing.specs import AttentionKind, ModelSpec
from sizing.units import GIB
from sizing.weights import has_head
from sizing.workload import Workload

CONTEXT_TOKENS = 8192
QUANTS = ("Q4_K_M", "Q8_0", "IQ4_XS")
SMALL_QUANTS = ("Q4_K_M", "Q8_0", "F16")
SMALL = "small and tied"
SMALL_PARAMS = 2_000_000_000

ALL, HALF, EXPERTS = "all layers", "half of the layers", "experts of half the layers on the host"
"""Placements: all but the input on the cards; half of the layers on the host; only their routed experts there."""

FindWeights = Callable[[str], Mapping[str, WeightBytes]]
"""Weights of a model id by quantization; empty where it was not weighed."""


@dataclass(frozen=True, slots=True)
class Case:
    """One model in one quantization and placement. `shape` is the kind of architecture it stands for (`find_shape`)."""

    shape: str
    spec: ModelSpec
    quant: str
    placement: str
    offload: Offload

    @property
    def name(self) -> str:
        """What a line of progress calls it."""
        return f"{self.spec.model_id} {self.quant}, {self.placement}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The cases in the order in which they are run, and in words what had to be left out."""

    cases: tuple[Case, ...]
    gaps: tuple[str, ...]


def find_shape(spec: ModelSpec) -> str | None:
    """The kind of architecture a model stands for; None for one that stands for none of SHAPES."""
    kinds = {g.attention.kind for g in spec.groups if g.attention is not None and g.attention.has_cache}
    if not kinds or not has_head(spec):
        return None
    if any(g.recurrent is not None for g in spec.groups):
        return "hybrid with recurrent state"
    if AttentionKind.LATENT in kinds:
        return "MLA"
    if spec.is_moe:
        return "mixture of experts"
    if kinds & {AttentionKind.SLIDING, AttentionKind.CHUNKED}:
        return "sliding windows"
    if spec.tied_embeddings:
        return SMALL if spec.n_params <= SMALL_PARAMS else None
    names = {g.attention.name for g in spec.groups if g.attention is not None}
    return "dense GQA" if names == {"GQA"} else None


SHAPES = ("dense GQA", "sliding windows", "mixture of experts", "MLA", "hybrid with recurrent state", SMALL)


def list_quants(shape: str, chosen: Sequence[str] = ()) -> tuple[str, ...]:
    """The quantizations a shape is tried in: those chosen, else three."""
    return tuple(chosen) or (SMALL_QUANTS if shape == SMALL else QUANTS)


def find_split(cards: Sequence[Device]) -> tuple[float, ...] | None:
    """Each card's share in whole GiB of usable memory, so that every engine divides alike; None for a single card."""
    return tuple(float(max(d.usable_bytes // GIB, 1)) for d in cards) if len(cards) > 1 else None


def find_offload(spec: ModelSpec, placement: str, machine: Machine) -> Offload:
    """The layers and experts a placement keeps on the host; half of an odd number of layers is rounded down."""
    split, n, half = find_split(machine.accelerators), spec.n_layers, spec.n_layers // 2
    if placement == HALF:
        return Offload(n - half + 1, split)
    return Offload(n + 1, split, half if placement == EXPERTS else None)


def does_fit(spec: ModelSpec, weights: WeightBytes, machine: Machine, offload: Offload, workload: Workload) -> bool:
    """Whether no device would be overrun, by the estimate."""
    devices = estimate_workload(spec, weights, workload, machine, offload).memory.devices
    return all(d.headroom_bytes >= 0 for d in devices)


def build_plan(
    specs: Iterable[ModelSpec],
    find_weights: FindWeights,
    machine: Machine,
    quants: Sequence[str] = (),
    *,
    are_named: bool = False,
    context_tokens: int = CONTEXT_TOKENS,
) -> Plan:
    """The largest model of each shape that fits in all its quantizations, else in the first; all where `are_named`.

    Each is tried with all layers on the cards in every quantization, and in the first with half of the layers on the
    host; of a mixture of experts also with only the experts of half the layers there. First come all shapes once, so
    that a run cut short has seen each. On unified memory there is nothing to divide.
    """
    usable = [s for s in specs if can_estimate_compute(s.architecture)]
    gaps: list[str] = []
    chosen: list[tuple[str, ModelSpec]] = []

    def fits(spec: ModelSpec, shape: str, quant: str, placement: str = ALL) -> bool:
        weights = find_weights(spec.model_id).get(quant)
        workload = Workload(min(context_tokens, spec.context_tokens))
        offload = find_offload(spec, placement, machine)
        return weights is not None and does_fit(spec, weights, machine, offload, workload)

    if are_named:
        chosen = [(find_shape(s) or s.architecture, s) for s in usable]
    else:
        for shape in SHAPES:
            sized = sorted((s for s in usable if find_shape(s) == shape), key=lambda s: (-s.n_params, s.model_id))
            wanted = list_quants(shape, quants)
            found = next((s for s in sized if all(fits(s, shape, q) for q in wanted)), None)
            found = found or next((s for s in sized if fits(s, shape, wanted[0])), None)
            if found is None:
                gaps.append(f"{shape}: no model of the catalog fits in {wanted[0]}")
            else:
                chosen.append((shape, found))
    rounds: list[list[Case]] = [[] for _ in range(5)]
    for shape, spec in chosen:
        for at, quant, placement in _list_tries(shape, spec, list_quants(shape, quants), machine):
            if fits(spec, shape, quant, placement):
                case = Case(shape, spec, quant, placement, find_offload(spec, placement, machine))
                rounds[min(at, len(rounds) - 1)].append(case)
            else:
                gaps.append(f"{spec.model_id} {quant}, {placement}: does not fit or was not weighed")
    return Plan(tuple(case for some in rounds for case in some), tuple(gaps))


def _list_tries(shape: str, spec: ModelSpec, quants: Sequence[str], machine: Machine) -> Iterator[tuple[int, str, str]]:
    """Round, quantization and placement of everything that is tried with one model."""
    yield 0, quants[0], ALL
    if not machine.is_unified:
        yield 1, quants[0], HALF
        if spec.is_moe and shape != "hybrid with recurrent state":
            yield 2, quants[0], EXPERTS
    for i, quant in enumerate(quants[1:]):
        yield 3 + i, quant, ALL

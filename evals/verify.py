"""Formula beside engine: one configuration estimated and asked, compared part by part on every device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from evals.dry_run import DEFAULT_TIMEOUT_S, DryRunFailure
from evals.measure import ROUNDED_BYTES, Measured, measure_memory
from sizing.hardware import Machine
from sizing.memory import MemoryEstimate, WeightBytes
from sizing.placement import Offload
from sizing.specs import ModelSpec
from sizing.workload import Workload

PARTS = ("weight_bytes", "kv_cache_bytes", "recurrent_state_bytes", "compute_bytes", "output_bytes")
"""What the engine can be asked for. The overhead is assumed on both sides and says nothing."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One part on one device, in bytes. `device_index` tells apart devices of one name; the host comes first.

    `is_rounded`: the engine's figure was read in its log, to 0.01 MiB.
    """

    device: str
    device_index: int
    part: str
    estimate_bytes: int
    engine_bytes: int
    is_rounded: bool = False

    @property
    def difference_bytes(self) -> int:
        """The formula less the engine: positive where the formula asks for more."""
        return self.estimate_bytes - self.engine_bytes

    @property
    def is_equal(self) -> bool:
        """Equal to the byte, or within what the log rounds away."""
        return abs(self.difference_bytes) <= (ROUNDED_BYTES if self.is_rounded else 0)


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """One configuration, formula beside engine. `engine` names the engine and its version; `notes` say what was
    assumed or left out of the question."""

    model_id: str
    quant: str
    machine: str
    workload: Workload
    engine: str
    engine_s: float
    n_gpu_layers: int
    n_cpu_moe: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether every part of every device is equal."""
        return all(d.is_equal for d in self.differences)

    @property
    def difference_bytes(self) -> int:
        """The formula's total less the engine's."""
        return sum(d.difference_bytes for d in self.differences)

    @property
    def engine_bytes(self) -> int:
        """The engine's total, without overhead."""
        return sum(d.engine_bytes for d in self.differences)

    @property
    def worst(self) -> Difference | None:
        """The largest difference that rounding does not explain; None where all is equal."""
        return max((d for d in self.differences if not d.is_equal), key=lambda d: abs(d.difference_bytes), default=None)


def compare_devices(estimate: MemoryEstimate, engine: MemoryEstimate) -> Iterator[Difference]:
    """Every part of every device that either of the two holds. Both name the same devices in the same order."""
    has_state = engine.parts.recurrent_state_bytes > 0
    has_cache = engine.parts.kv_cache_bytes > 0
    logged = {"output_bytes"} | ({"kv_cache_bytes", "recurrent_state_bytes"} if has_state and has_cache else set())
    for i, (ours, theirs) in enumerate(zip(estimate.devices, engine.devices, strict=True)):
        for part in PARTS:
            a, b = getattr(ours.parts, part), getattr(theirs.parts, part)
            if a or b:
                yield Difference(ours.name, i, part, a, b, part in logged)


def describe_verify(answer: Measured, workload: Workload, machine: Machine) -> VerifyResult:
    """The engine's answer against the formulas' for the same placement."""
    formula, engine = answer.formula, answer.estimate
    return VerifyResult(
        model_id=formula.memory.model_id,
        quant=formula.memory.quant,
        machine=machine.name,
        workload=workload,
        engine=answer.engine,
        engine_s=answer.engine_s,
        n_gpu_layers=engine.n_gpu_layers,
        n_cpu_moe=engine.n_cpu_moe,
        differences=tuple(compare_devices(formula.memory, engine.memory)),
        notes=engine.memory.assumptions,
    )


def verify(
    spec: ModelSpec,
    weights: WeightBytes,
    workload: Workload,
    machine: Machine,
    offload: Offload | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    types: Mapping[str, str] | None = None,
) -> VerifyResult | DryRunFailure:
    """Ask the engine about one configuration and compare. `types` and errors are those of
    `evals.measure.measure_memory`."""
    answer = measure_memory(spec, weights, workload, machine, offload, timeout_s, types)
    return answer if isinstance(answer, DryRunFailure) else describe_verify(answer, workload, machine)

"""What a bench is asked for, and whether there is memory for it: the part that runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evals.bench_result import BenchRefusal, ExpectedSpeed, RefusalReason, Skipped
from evals.dry_run import DryRunFailure, EngineChild, list_context_params
from evals.weightless import write_weightless_gguf
from sizing.compute import can_estimate_compute
from sizing.errors import BadInputError
from sizing.estimate import Estimate, estimate
from sizing.hardware import Machine
from sizing.memory import WeightBytes
from sizing.placement import Offload
from sizing.specs import ModelSpec
from sizing.units import format_bytes, format_tokens
from sizing.workload import Workload

PREFILL_TOKENS = 512
DEPTHS_TOKENS = (0, 2048, 8192)

ROOM_TOKENS = 256
"""Cells beyond the deepest depth, for the tokens decoded there."""


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What to time and for how long. `n_threads` None takes every physical core this process may use.

    `max_seconds` bounds everything, loading included; what does not fit into it is skipped with its reason.
    """

    depths_tokens: tuple[int, ...] = DEPTHS_TOKENS
    prefill_tokens: int = PREFILL_TOKENS
    repetitions: int = 5
    max_seconds: float = 120.0
    n_threads: int | None = None
    copy_cache: bool = True
    workload: Workload = field(default_factory=lambda: Workload(1))

    def __post_init__(self) -> None:
        depths = self.depths_tokens
        if not depths or any(not 0 <= d <= 2**20 for d in depths) or len(set(depths)) != len(depths):
            raise BadInputError(f"depths wants different numbers of tokens from 0 to {2**20:,}, got {depths!r}")
        if not 1 <= self.prefill_tokens <= self.workload.n_batch:
            raise BadInputError(f"prefill wants 1 to {self.workload.n_batch} tokens, got {self.prefill_tokens!r}")
        if not 1 <= self.repetitions <= 100:
            raise BadInputError(f"repetitions wants 1 to 100, got {self.repetitions!r}")
        if not 1 <= self.max_seconds <= 86_400:
            raise BadInputError(f"the time limit wants 1 second to a day, got {self.max_seconds!r} s")
        if self.n_threads is not None and not 1 <= self.n_threads <= 512:
            raise BadInputError(f"threads wants 1 to 512, got {self.n_threads!r}")

    def count_context_tokens(self, deepest_tokens: int) -> int:
        """The context that the deepest decode and one prefill need, in llama.cpp's steps of 256 cells."""
        wanted = max(deepest_tokens + ROOM_TOKENS, self.prefill_tokens)
        return -(-wanted // 256) * 256


@dataclass(frozen=True, slots=True)
class Subject:
    """What is run: a ghost or a file, with all that is known about it beforehand."""

    kind: str
    path: str
    unlink: str | None
    file_bytes: int
    disk_bytes: int
    model_id: str
    quant: str
    spec: ModelSpec | None
    weights: WeightBytes | None


@dataclass(frozen=True, slots=True)
class Room:
    """The context that fits: its tokens, the bytes expected for it, layers offloaded, and depths left out of it."""

    n_ctx_tokens: int
    expected_bytes: int
    n_gpu_layers: int
    skipped: tuple[Skipped, ...]


def limit_machine(machine: Machine, about: Mapping[str, Any]) -> Machine:
    """The machine as the engine can use it: accelerators only where this build reaches any."""
    return machine if about["can_offload"] else replace(machine, accelerators=())


def find_room(
    subject: Subject, plan: BenchPlan, machine: Machine, engine: EngineChild, types: Mapping[str, str] | None
) -> Room | BenchRefusal:
    """The largest context the plan asks for that the model knows and the machine holds, or why none is."""
    skipped: list[Skipped] = []
    refusal = BenchRefusal(RefusalReason.ENGINE, f"{subject.model_id}: no depth can be measured")
    for depth in sorted(plan.depths_tokens, reverse=True):
        n_ctx = plan.count_context_tokens(depth)
        trained = subject.spec.context_tokens if subject.spec is not None else n_ctx
        if depth and depth + ROOM_TOKENS > trained:
            skipped.append(Skipped("decode", depth, f"the model was trained for {format_tokens(trained)} tokens"))
            continue
        room = _size_context(subject, replace(plan.workload, context_tokens=n_ctx), machine, engine, types)
        if isinstance(room, Room):
            return replace(room, skipped=tuple(skipped))
        refusal = room
        if room.reason is not RefusalReason.TOO_LARGE or room.needed_bytes is None or room.usable_bytes is None:
            return room
        needed, usable = format_bytes(room.needed_bytes), format_bytes(room.usable_bytes)
        skipped.append(Skipped("decode", depth, f"would need {needed} of memory, {usable} are usable"))
    return refusal


def _size_context(
    subject: Subject, workload: Workload, machine: Machine, engine: EngineChild, types: Mapping[str, str] | None
) -> Room | BenchRefusal:
    """What one context takes: by the closed forms where the shape is known to them, else by a dry run of the file."""
    spec, weights = subject.spec, subject.weights
    if spec is not None and weights is not None and can_estimate_compute(spec.architecture):
        guess = estimate_workload(spec, weights, workload, machine)
        needed = guess.memory.total_bytes
        if guess.fit.runs:
            layers = guess.n_gpu_layers if machine.accelerators and not guess.n_cpu_moe else 0
            expected = needed - guess.memory.parts.overhead_bytes
            return Room(workload.n_ctx_tokens, expected, layers, ())
    else:
        sized = _ask_size(subject, workload, engine, types)
        if isinstance(sized, BenchRefusal):
            return sized
        needed = sized
        if needed <= machine.host.usable_bytes:
            return Room(workload.n_ctx_tokens, needed, 0, ())
    usable = machine.usable_bytes
    what = f"{subject.model_id} in {subject.quant}" if subject.quant else subject.model_id
    return BenchRefusal(
        RefusalReason.TOO_LARGE,
        f"{what} would need {format_bytes(needed)} of memory with {format_tokens(workload.n_ctx_tokens)} tokens of "
        f"context, and {format_bytes(usable)} are usable now; choose a smaller model or quantization, or close "
        "other programs",
        needed,
        usable,
    )


def estimate_workload(
    spec: ModelSpec, weights: WeightBytes, workload: Workload, machine: Machine, offload: Offload | None = None
) -> Estimate:
    """The estimate, also for the last cells of a context that is rounded up beyond what the model was trained for."""
    longer = replace(spec, context_tokens=max(spec.context_tokens, workload.context_tokens))
    return estimate(longer, weights, workload, machine, offload)


def _ask_size(
    subject: Subject, workload: Workload, engine: EngineChild, types: Mapping[str, str] | None
) -> int | BenchRefusal:
    """Bytes by a dry run: of the file, or of a weightless one with these types."""
    path = subject.path
    if subject.spec is not None and types is not None:
        path = str(engine.path("sized.gguf"))
        write_weightless_gguf(subject.spec, Path(path), types)
    reply = engine.ask({"kind": "load", "path": path, "contexts": [list_context_params(workload)]})
    if isinstance(reply, DryRunFailure):
        return BenchRefusal(RefusalReason.ENGINE, f"{subject.model_id}: {reply.message}")
    context = reply["contexts"][0]
    if "refused" in context:
        return BenchRefusal(RefusalReason.ENGINE, f"{subject.model_id}: llama.cpp made no context for it")
    if context["breakdown"]:
        return sum(sum(sizes) for sizes in context["breakdown"].values())
    return int(reply["model_bytes"])


def list_expected(subject: Subject, plan: BenchPlan, machine: Machine) -> tuple[ExpectedSpeed, ...]:
    """What the formulas say for each thing timed; empty where the model's shape or the bandwidth is not known.

    The middle of an estimate stands for a half-full cache, so a depth is asked for as half of a context.
    """
    if subject.spec is None or subject.weights is None or not can_estimate_compute(subject.spec.architecture):
        return ()
    out = []
    for depth in plan.depths_tokens:
        workload = replace(plan.workload, context_tokens=max(2 * depth, 256))
        speed = estimate_workload(subject.spec, subject.weights, workload, _widen(machine)).speed
        if speed is not None:
            out.append(ExpectedSpeed("decode", depth, speed.decode_tokens_per_s))
            if depth == min(plan.depths_tokens) and speed.prefill_tokens_per_s is not None:
                out.append(ExpectedSpeed("prefill", 0, speed.prefill_tokens_per_s))
    return tuple(out)


def _widen(machine: Machine) -> Machine:
    """The same machine with all memory usable and nothing learnt of it.

    A speed is asked for whether or not twice the depth would fit, and by the estimate that is to be corrected.
    """
    host = machine.host if machine.accelerators else replace(machine.host, memory_bytes=2**60, usable_bytes=2**60)
    return replace(machine, host=host, calibrations=())

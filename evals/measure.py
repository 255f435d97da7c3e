"""llama.cpp asked for one configuration on one machine, in the shape of an estimate.

The formulas choose only what a person leaves open (how many layers go to the accelerators); every byte but the
overhead is llama.cpp's own. Accelerators are imagined (`evals.imagined`), so the machine need not be this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from evals.dry_run import DEFAULT_TIMEOUT_S, DryRun, DryRunFailure, EngineChild, FailureReason, ask_dry_runs
from evals.imagined import MAX_DEVICES, find_rpc_gap, open_imagined_machine
from sizing.errors import EngineError
from sizing.estimate import Estimate, TableEstimate, check_workload, describe, estimate_model_bytes, estimate_table
from sizing.hardware import Machine
from sizing.layers import LayerTable
from sizing.memory import Parts, WeightBytes
from sizing.placement import Offload, Placement
from sizing.specs import ModelSpec
from sizing.weights import WeightTable
from sizing.workload import Workload

ROUNDED_BYTES = 5_243
"""llama.cpp's log rounds to 0.01 MiB: a figure read there is off by at most this many bytes."""


@dataclass(frozen=True, slots=True)
class Measured:
    """llama.cpp's answer: `estimate` with its bytes (its speed is None: nothing ran), and the seconds it worked.

    `formula` is the estimate of the same placement. `engine` names llama-cpp-python and its version.
    """

    estimate: Estimate
    formula: Estimate
    dry_run: DryRun
    engine: str
    engine_s: float


def find_llama_cpp_version() -> str:
    """The installed llama-cpp-python. Raises EngineError when there is none."""
    try:
        return version("llama-cpp-python")
    except PackageNotFoundError:
        raise EngineError("llama-cpp-python is not installed; compile it with: make engine") from None


def measure_memory(
    spec: ModelSpec,
    weights: WeightBytes,
    workload: Workload,
    machine: Machine,
    offload: Offload | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    types: Mapping[str, str] | None = None,
) -> Measured | DryRunFailure:
    """What llama.cpp would take on `machine`, or why it gave no answer.

    `types` is the mix of a file whose `weights` these are, GGML type by tensor name; without it `weights.quant` is the
    recipe that llama.cpp is asked about.

    Where the build has no RPC the accelerators are left out and the answer, for the host alone, says so. Raises
    BadInputError for a context above the model's own or an offload that contradicts the machine, UnsupportedError
    for an architecture whose graph no formula describes, EngineError when there is no llama.cpp.
    """
    check_workload(spec, workload)
    engine = f"llama-cpp-python {find_llama_cpp_version()}"
    notes: tuple[str, ...] = ()
    if machine.accelerators:
        gap = find_rpc_gap()
        if gap is not None:
            machine, offload = Machine(machine.name, machine.host), None
            notes = (f"answered for the host alone: {gap}",)
        elif len(machine.accelerators) > MAX_DEVICES:
            said = f"llama.cpp imagines at most {MAX_DEVICES} accelerators, {machine.name} has "
            return DryRunFailure(FailureReason.NO_DEVICES, f"{said}{len(machine.accelerators)}")
    table = _estimate_row(spec, weights, workload, machine, offload)
    formula = describe(table, 0, spec, weights.quant, workload, machine)
    placed = _choose_offload(formula, machine, offload)
    asked = _ask(spec, weights.quant, workload, machine, placed, timeout_s, types)
    if isinstance(asked, DryRunFailure):
        return asked
    answer, parts, engine_s = asked
    told = describe(
        replace(table, placement=_replace_bytes(table.placement, parts)), 0, spec, weights.quant, workload, machine
    )
    kept = tuple(line for line in told.memory.assumptions if not line.startswith("speed"))
    memory = replace(told.memory, assumptions=(*notes, *list_claims(engine, machine, placed, offload), *kept))
    return Measured(replace(told, memory=memory, speed=None), formula, answer, engine, engine_s)


def list_claims(engine: str, machine: Machine, placed: Offload, wished: Offload | None) -> tuple[str, ...]:
    """What the engine's answer rests on, in words."""
    claims = [f"weights, caches, compute and output are what {engine} would allocate; overhead is assumed"]
    if machine.accelerators and not machine.is_unified:
        who = "as asked" if wished is not None and wished.gpu_layers is not None else "chosen by the formulas"
        claims.append(f"{placed.gpu_layers} layers on the accelerators, the output counted as one: {who}")
    if machine.accelerators:
        claims.append(
            "accelerators are imagined over RPC and lay tensors out as a CPU does; a driver's padding is not in"
        )
    claims.append("recurrent states beside a KV cache and the output are read in the log, rounded to 0.01 MiB")
    claims.append("speed: not asked, a dry run computes nothing")
    return tuple(claims)


def _estimate_row(
    spec: ModelSpec, weights: WeightBytes, workload: Workload, machine: Machine, offload: Offload | None
) -> TableEstimate:
    return estimate_table(
        WeightTable.from_models([(spec, [weights])]),
        estimate_model_bytes(LayerTable.from_specs([spec]), workload),
        np.array([spec.n_active_params], dtype=np.int64),
        workload,
        machine,
        offload,
        exact=True,
    )


def _choose_offload(formula: Estimate, machine: Machine, wished: Offload | None) -> Offload:
    """The layers the formulas put on the accelerators, and each accelerator's share."""
    if not machine.accelerators:
        return Offload(gpu_layers=0)
    shares = wished.tensor_split if wished is not None else None
    usable = tuple(float(max(d.usable_bytes, 1)) for d in machine.accelerators)
    return replace(formula.offload, tensor_split=shares or formula.offload.tensor_split or usable)


def _ask(
    spec: ModelSpec,
    quant: str,
    workload: Workload,
    machine: Machine,
    offload: Offload,
    timeout_s: float,
    types: Mapping[str, str] | None,
) -> tuple[DryRun, tuple[Parts, ...], float] | DryRunFailure:
    """The dry run, its parts per device in the estimate's order, and the seconds the engine worked."""
    if not machine.accelerators:
        with EngineChild() as engine:
            answer = ask_dry_runs(spec, quant, [workload], engine, timeout_s, types=types)[0]
            return answer if isinstance(answer, DryRunFailure) else (answer, (_sum_parts(answer),), engine.engine_s)
    try:
        with open_imagined_machine(len(machine.accelerators)) as imagined:
            answer = ask_dry_runs(spec, quant, [workload], imagined.engine, timeout_s, offload, types)[0]
            if isinstance(answer, DryRunFailure):
                return answer
            engine_s = imagined.engine.engine_s
            if machine.is_unified:  # one pool: a file's tensors are there once, whoever reads them
                return answer, (replace(_sum_parts(answer), weight_bytes=answer.tensor_bytes),), engine_s
            if not answer.buffers:
                said = "sizes per device can be read on x86-64 Linux only; ask for the host or for unified memory"
                return DryRunFailure(FailureReason.NO_DEVICES, said)
            return answer, list_parts(answer, imagined.endpoints), engine_s
    except EngineError as error:
        return DryRunFailure(FailureReason.NO_DEVICES, str(error))


def _sum_parts(answer: DryRun) -> Parts:
    return Parts(
        weight_bytes=answer.weight_bytes,
        kv_cache_bytes=answer.kv_cache_bytes,
        recurrent_state_bytes=answer.recurrent_state_bytes,
        compute_bytes=answer.compute_bytes,
        output_bytes=answer.output_bytes,
    )


def list_parts(answer: DryRun, endpoints: Sequence[str]) -> tuple[Parts, ...]:
    """Parts of the host, then of each device at `endpoints`. The output buffer is the host's."""
    has_kv = any(c.kind == "kv" and c.n_bytes for c in answer.caches)

    def parts_of(names: Sequence[str], mark: str, output_bytes: int) -> Parts:
        buffers = [b for b in answer.buffers if b.name in names]
        cache = sum(b.cache_bytes for b in buffers)
        state = min(answer.find_recurrent_bytes(mark), cache) if has_kv else cache * bool(answer.recurrent_state_bytes)
        return Parts(
            weight_bytes=sum(b.weight_bytes for b in buffers),
            kv_cache_bytes=cache - state,
            recurrent_state_bytes=state,
            compute_bytes=sum(b.compute_bytes for b in buffers),
            output_bytes=output_bytes,
        )

    marks = [f"[{e}]" for e in endpoints]
    host = [b.name for b in answer.buffers if not any(mark in b.name for mark in marks)]
    rest = [parts_of([b.name for b in answer.buffers if mark in b.name], mark, 0) for mark in marks]
    return (parts_of(host, "CPU", answer.output_bytes), *rest)


def _replace_bytes(placement: Placement, parts: Sequence[Parts]) -> Placement:
    """The placement with the engine's bytes in its only row; the overhead stays the formula's."""

    def row(name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return np.array([[getattr(p, name) for p in parts]], dtype=np.int64)

    return replace(
        placement,
        weights=row("weight_bytes"),
        kv=row("kv_cache_bytes"),
        recurrent=row("recurrent_state_bytes"),
        compute=row("compute_bytes"),
        output=row("output_bytes"),
    )

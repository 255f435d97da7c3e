"""One question, one answer: a model in a quantization under a workload on a machine.

The same columns serve one model and the whole catalog: `estimate_table` places and times every row of a
`WeightTable`; `estimate` is that table with one row, told in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from sizing.buffers import ComputeBuffers
from sizing.compute import estimate_output_bytes
from sizing.errors import BadInputError
from sizing.fit import VERDICTS, Fit, Verdict, explain_fit, judge
from sizing.hardware import DeviceKind, Machine
from sizing.kv_cache import estimate_kv_cache_bytes, find_cache_refusal
from sizing.layers import LayerTable
from sizing.memory import DeviceUse, MemoryEstimate, Parts, WeightBytes
from sizing.placement import (
    ACCELERATOR_OVERHEAD_BYTES,
    HOST_COPY_BACKENDS,
    HOST_OVERHEAD_BYTES,
    ModelBytes,
    Offload,
    Placement,
    place,
)
from sizing.specs import ModelSpec
from sizing.stretches import KeptBuffers
from sizing.throughput import SpeedColumns, SpeedEstimate, estimate_speed
from sizing.units import format_bytes, format_tokens
from sizing.weights import Ints, Spans, WeightTable
from sizing.workload import Workload

ENGINE = "llama.cpp"
NO_PROJECTOR = "the vision or audio projector is a separate file and is not counted"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Memory, speed (None for what cannot run or cannot be timed) and fit of one configuration.

    `n_gpu_layers` counts the output as one layer; `n_cpu_moe` is the number of layers whose routed experts stay on
    the host, `expert_layers` further ones. `tensor_split` counts the layers of each of several cards, None for fewer.
    """

    memory: MemoryEstimate
    speed: SpeedEstimate | None
    fit: Fit
    n_gpu_layers: int
    n_cpu_moe: int
    expert_layers: tuple[int, ...] = ()
    tensor_split: tuple[int, ...] | None = None

    @property
    def offload(self) -> Offload:
        """What places the model again just so."""
        split = None if self.tensor_split is None else tuple(float(count) for count in self.tensor_split)
        return Offload(self.n_gpu_layers, split, self.n_cpu_moe or None, self.expert_layers)


@dataclass(frozen=True, slots=True)
class TableEstimate:
    """The answer for every row of a weight table."""

    placement: Placement
    speed: SpeedColumns


def check_workload(spec: ModelSpec, workload: Workload) -> None:
    """Raises BadInputError for what the model cannot do.

    That is a slot that holds more than the model was trained for, or cache types llama.cpp refuses for it.
    """
    check_context(spec, workload.context_tokens)
    refusal = find_cache_refusal(spec, workload)
    if refusal is not None:
        raise BadInputError(f"llama.cpp refuses these cache types for {spec.name}: {refusal}")


def check_context(spec: ModelSpec, context_tokens: int) -> None:
    """Raises BadInputError for more tokens than the model was trained for, whichever engine runs it."""
    if context_tokens > spec.context_tokens:
        raise BadInputError(
            f"{spec.name} was trained for at most {format_tokens(spec.context_tokens)} tokens of context, "
            f"{format_tokens(context_tokens)} were asked for; ask for less or choose another model"
        )


def estimate_model_bytes(
    layers: LayerTable,
    workload: Workload,
    projector_bytes: Ints | None = None,
    kept: KeptBuffers | None = None,
) -> ModelBytes:
    """Everything a workload costs each model of `layers` besides its weights, in bytes.

    `projector_bytes` is a column over models, None for none. Compute buffers are worked out when they are asked for;
    `kept` is what other workloads learnt of those of the same models.
    """
    cache = estimate_kv_cache_bytes(layers, workload)
    return ModelBytes(
        kv=_spans(layers, cache.row_kv_cache_bytes),
        recurrent=_spans(layers, cache.row_recurrent_state_bytes),
        buffers=ComputeBuffers(layers, workload, kept),
        output=estimate_output_bytes(layers, workload),
        extra=projector_bytes if projector_bytes is not None else np.zeros(layers.n_models, dtype=np.int64),
    )


@lru_cache(maxsize=1024)
def _estimate_one(spec: ModelSpec, workload: Workload, projector_bytes: int) -> ModelBytes:
    """The same for one model; what was worked out of its buffers is kept for other machines and divisions."""
    layers, kept = _find_layers(spec)
    return estimate_model_bytes(layers, workload, np.array([projector_bytes], dtype=np.int64), kept)


@lru_cache(maxsize=256)
def _find_table(spec: ModelSpec, weights: WeightBytes) -> WeightTable:
    """One model in one quantization as a table."""
    return WeightTable.from_models([(spec, [weights])])


@lru_cache(maxsize=64)
def _find_layers(spec: ModelSpec) -> tuple[LayerTable, KeptBuffers]:
    """The layers of one model as a table, and what any workload learns of its buffers."""
    return LayerTable.from_specs([spec]), KeptBuffers(max_recipes=100, max_stretches=4000)


def _spans(layers: LayerTable, row_bytes: Ints) -> Spans:
    return Spans.from_flat(row_bytes[layers.layer_rows], layers.first_layer[:-1])


def estimate_table(
    table: WeightTable,
    models: ModelBytes,
    n_active_params: Ints,
    workload: Workload,
    machine: Machine,
    offload: Offload | None = None,
    *,
    exact: bool = False,
) -> TableEstimate:
    """Place and time every row; `models` and `n_active_params` are columns over models, `exact` is `place`'s."""
    busy = make_busy(table, workload)
    placement = place(busy, models, machine, offload, exact=exact)
    return time_table(busy, placement, n_active_params, workload, machine)


def make_busy(table: WeightTable, workload: Workload) -> WeightTable:
    """The table with the experts that all users of a workload together read for one token of each."""
    return replace(table, active_expert_share=1.0 - (1.0 - table.active_expert_share) ** workload.n_parallel)


def time_table(
    busy: WeightTable, placement: Placement, n_active_params: Ints, workload: Workload, machine: Machine
) -> TableEstimate:
    """Time every row of a busy table where it is placed; `n_active_params` is a column over models."""
    n_active = n_active_params[busy.model_row].astype(float)
    return TableEstimate(placement, estimate_speed(busy, placement, n_active, machine.calibrations, workload))


def estimate(
    spec: ModelSpec,
    weights: WeightBytes,
    workload: Workload,
    machine: Machine,
    offload: Offload | None = None,
    projector_bytes: int = 0,
) -> Estimate:
    """The full answer for one model in one quantization; `projector_bytes` is a vision or audio tower beside it.

    Raises BadInputError for a context above the model's maximum. "Does not fit" is a verdict, not an error.
    """
    check_workload(spec, workload)
    result = estimate_table(
        _find_table(spec, weights),
        _estimate_one(spec, workload, projector_bytes),
        np.array([spec.n_active_params], dtype=np.int64),
        workload,
        machine,
        offload,
        exact=True,
    )
    told = describe(result, 0, spec, weights.quant, workload, machine)
    if not projector_bytes:
        return told
    note = f"the projector's {format_bytes(projector_bytes)} are on the first device; its buffers are not counted"
    kept = (a for a in told.memory.assumptions if a != NO_PROJECTOR)
    return replace(told, memory=replace(told.memory, assumptions=(*kept, note)))


def _list_placement_notes(placement: Placement, row: int) -> Iterator[str]:
    """What the placement of one row takes for granted beyond what every estimate does."""
    is_parted = placement.n_layers[row, 0] > 0 or placement.n_cpu_moe[row] > 0 or bool(placement.expert_layers)
    cards = placement.devices[1:]
    if cards and placement.n_gpu_layers[row] and is_parted and cards[0].backend in HOST_COPY_BACKENDS:
        yield (
            f"prompts run the host's weights on {cards[0].name}, copied there one by one: that place counts as "
            "overhead, assumed at 45% of the heaviest layer; --no-op-offload does without"
        )


def describe(
    result: TableEstimate,
    row: int,
    spec: ModelSpec,
    quant: str,
    workload: Workload,
    machine: Machine,
) -> Estimate:
    """One row of a table's answer as the values a page or a command line shows."""
    p = result.placement
    fit = explain_fit(p, row)
    speed = result.speed.at(row, p, workload.context_tokens) if fit.runs else None
    memory = MemoryEstimate(
        model_id=spec.model_id,
        quant=quant,
        engine=ENGINE,
        devices=tuple(
            DeviceUse(
                name=device.name,
                memory_bytes=device.memory_bytes,
                usable_bytes=device.usable_bytes,
                parts=Parts(
                    weight_bytes=int(p.weights[row, d]),
                    kv_cache_bytes=int(p.kv[row, d]),
                    recurrent_state_bytes=int(p.recurrent[row, d]),
                    compute_bytes=int(p.compute[row, d]),
                    output_bytes=int(p.output[row, d]),
                    overhead_bytes=int(p.overhead[row, d]),
                ),
                n_layers=int(p.n_layers[row, d]),
            )
            for d, device in enumerate(p.devices)
        ),
        assumptions=(
            *list_assumptions(spec, workload, machine, speed.basis if speed else ""),
            *_list_placement_notes(p, row),
        ),
    )
    return Estimate(
        memory,
        speed,
        fit,
        int(p.n_gpu_layers[row]),
        int(p.n_cpu_moe[row]),
        p.expert_layers,
        None if p.split is None or p.split.shape[1] < 2 or not p.split[row].any() else tuple(p.split[row].tolist()),
    )


def list_assumptions(spec: ModelSpec, workload: Workload, machine: Machine, basis: str = "") -> tuple[str, ...]:
    """What an estimate takes for granted, in words; `basis` is what its speed rests on."""
    tokens = format_tokens(workload.context_tokens)
    shared = "one shared pool" if workload.kv_unified else "split per slot"
    out = [
        f"one slot of {tokens} tokens"
        if workload.n_parallel == 1
        else f"{workload.n_parallel} slots of {tokens} tokens each, {shared}: -c {workload.n_ctx_tokens}",
        f"llama-server's defaults: flash attention {'on' if workload.flash_attention else 'off'}, "
        f"n_ubatch {workload.n_ubatch}, sliding windows kept small (swa_full off)",
        f"overhead: {format_bytes(HOST_OVERHEAD_BYTES)} for the server process"
        + "".join(
            f", {format_bytes(ACCELERATOR_OVERHEAD_BYTES[b])} for each {b} device's driver context"
            for b in sorted({d.backend for d in machine.accelerators if d.kind is DeviceKind.GPU})
            if b in ACCELERATOR_OVERHEAD_BYTES
        )
        + " (assumed)",
        f"speed: {basis or 'not estimated'}; 8 of 10 should lie inside, cache half full in the middle; "
        + (say_calibration(machine) or "not measured here"),
    ]
    if workload.n_parallel > 1:
        out.append(f"speed is what each of {workload.n_parallel} users sees while all of them generate")
    if spec.n_params_projector:
        out.append(NO_PROJECTOR)
    for device in (machine.host, *machine.accelerators):
        out.extend(device.notes)
    return tuple(out)


def say_calibration(machine: Machine) -> str | None:
    """When and for what the speed of this machine was measured, in words; None where it was not."""
    if not machine.calibrations or machine.accelerators:
        return None
    newest = max(c.measured_on for c in machine.calibrations)
    kinds = sorted({f"{c.quant_class} {'MoE' if c.is_moe else 'dense'}" for c in machine.calibrations})
    return f"calibrated here on {newest} for {', '.join(kinds)} models"


def find_largest_context(
    spec: ModelSpec,
    weights: WeightBytes,
    workload: Workload,
    machine: Machine,
    offload: Offload | None = None,
    *,
    accept: Sequence[Verdict] = (Verdict.FITS, Verdict.TIGHT, Verdict.OFFLOAD),
) -> int | None:
    """The largest context in tokens per slot whose verdict is in `accept`, in steps of 256; None when none is.

    Never above the model's own maximum. Memory rises with context, so bisection finds it.
    """

    check_workload(spec, replace(workload, context_tokens=spec.context_tokens))
    table = _find_table(spec, weights)

    def good(tokens: int) -> bool:
        asked = replace(workload, context_tokens=tokens)
        placement = place(table, _estimate_one(spec, asked, 0), machine, offload, exact=True)
        return VERDICTS[int(judge(placement)[0][0])] in accept

    return search_context(spec.context_tokens, good)


def search_context(most: int, good: Callable[[int], bool]) -> int | None:
    """The largest context up to `most` that is good, in steps of 256 tokens, where being good falls with context."""
    step = 256
    if good(most):
        return most
    low, high = 0, most // step
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if good(middle * step) else (low, middle - 1)
    return low * step or None

"""Two models on one machine: a main model and a small one that drafts its next tokens (speculative decoding).

llama-server loads the draft model as a second model with a context of its own, over the same devices by the same rules
(https://github.com/ggml-org/llama.cpp/blob/master/docs/speculative.md). The draft is placed first, whole on the
cards; the main model has what is left. How much faster decoding gets depends on how many drafts are accepted, which
nobody can say beforehand: no speed is claimed for the pair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sizing.errors import BadInputError
from sizing.estimate import Estimate, check_workload, estimate
from sizing.fit import judge_devices
from sizing.hardware import Device, Machine
from sizing.memory import DeviceUse, MemoryEstimate, WeightBytes
from sizing.placement import Offload
from sizing.specs import ModelSpec
from sizing.workload import Workload


@dataclass(frozen=True, slots=True)
class PairEstimate:
    """The main model as it runs beside its draft, and the draft; each device's usable memory is what the other left."""

    main: Estimate
    draft: Estimate

    @property
    def total_bytes(self) -> int:
        """Both models together, the server and drivers counted once."""
        return self.together.memory.total_bytes

    @property
    def draft_bytes(self) -> tuple[int, ...]:
        """What the draft takes of each device, the server and drivers left out."""
        return tuple(_taken(d) for d in self.draft.memory.devices)

    @property
    def together(self) -> Estimate:
        """The main model's estimate with the draft among the overhead of each device, against all of its memory."""
        devices = tuple(
            replace(
                m,
                usable_bytes=d.usable_bytes,
                parts=replace(m.parts, overhead_bytes=max(m.parts.overhead_bytes, d.parts.overhead_bytes) + _taken(d)),
            )
            for m, d in zip(self.main.memory.devices, self.draft.memory.devices, strict=True)
        )
        fit = judge_devices(devices, self.main.n_gpu_layers, self.main.n_cpu_moe, self.main.expert_layers)
        memory = replace(self.main.memory, devices=devices)
        return replace(self.main, memory=memory, fit=fit, speed=self.main.speed if fit.runs else None)


def _taken(use: DeviceUse) -> int:
    """What a model takes of a device besides the server and drivers that are there already."""
    return use.parts.total_bytes - use.parts.overhead_bytes


def leave_room(machine: Machine, memory: MemoryEstimate) -> Machine:
    """The machine with what a model takes gone from its usable memory; overhead, which is there once, is not taken."""
    taken = [_taken(d) for d in memory.devices]

    def less(device: Device, n_bytes: int) -> Device:
        return replace(device, usable_bytes=max(device.usable_bytes - n_bytes, 0))

    if machine.is_unified:
        return replace(machine, accelerators=tuple(less(d, taken[0]) for d in machine.accelerators))
    cards = tuple(less(d, n) for d, n in zip(machine.accelerators, taken[1:], strict=True))
    return replace(machine, host=less(machine.host, taken[0]), accelerators=cards)


def estimate_pair(
    main: tuple[ModelSpec, WeightBytes],
    draft: tuple[ModelSpec, WeightBytes],
    workload: Workload,
    machine: Machine,
    offload: Offload | None = None,
    projector_bytes: int = 0,
) -> PairEstimate:
    """A main model beside a draft with the same context and slots.

    Raises BadInputError where the vocabularies differ in size by more than 128 entries, which llama.cpp refuses
    (common/speculative.cpp, SPEC_VOCAB_MAX_SIZE_DIFFERENCE), or where the draft cannot hold the context.
    """
    (spec, weights), (small, small_weights) = main, draft
    if abs(spec.vocab_size - small.vocab_size) > MAX_VOCABULARY_DIFFERENCE:
        raise BadInputError(
            f"a draft wants the main model's vocabulary: {spec.name} has {spec.vocab_size:,} entries, "
            f"{small.name} {small.vocab_size:,}"
        )
    check_workload(small, workload)
    cards = bool(machine.accelerators) and not machine.is_unified
    whole = Offload(gpu_layers=small.n_layers + 1) if cards else None
    told = estimate(small, small_weights, workload, machine, whole)
    answer = estimate(spec, weights, workload, leave_room(machine, told.memory), offload, projector_bytes)
    if answer.tensor_split is not None:  # --tensor-split holds for both models
        shares = tuple(float(count) for count in answer.tensor_split)
        told = estimate(small, small_weights, workload, machine, Offload(small.n_layers + 1, shares))
        pinned = answer.offload if offload is None else replace(offload, tensor_split=shares)
        answer = estimate(spec, weights, workload, leave_room(machine, told.memory), pinned, projector_bytes)
    note = f"beside {small.name} at {small_weights.quant} as its draft; the speed is without it"
    return PairEstimate(
        replace(answer, memory=replace(answer.memory, assumptions=(*answer.memory.assumptions, note))), told
    )


MAX_VOCABULARY_DIFFERENCE = 128

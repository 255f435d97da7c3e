"""Fine-tuning: what a run holds, whether it fits, how long it takes and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass

from sizing.finetune_memory import TrainingParts, count_card_parts, count_host_bytes, count_trained
from sizing.finetune_setup import METHOD_WORDS, FineTuneSetup, check_setup
from sizing.finetune_speed import TrainingSpeed, estimate_speed
from sizing.fit import TIGHT_SHARE, Fit, Verdict
from sizing.hardware import Device
from sizing.modules import Role, list_modules
from sizing.placement import ACCELERATOR_OVERHEAD_BYTES, HOST_OVERHEAD_BYTES
from sizing.units import format_bytes, format_params


@dataclass(frozen=True, slots=True)
class TrainingUse:
    """What one device holds during training. `headroom_bytes` is negative where it overruns."""

    name: str
    memory_bytes: int
    usable_bytes: int
    parts: TrainingParts

    @property
    def headroom_bytes(self) -> int:
        """Usable memory left; negative when it overruns."""
        return self.usable_bytes - self.parts.total_bytes


@dataclass(frozen=True, slots=True)
class FineTuneEstimate:
    """An answer. `devices` are the cards that train; `host` holds what was moved out of them, None for nothing.

    `n_trainable` of `n_params` are trained. `speed` is None where nobody knows the cards' arithmetic.
    """

    setup: FineTuneSetup
    n_params: int
    n_trainable: int
    devices: tuple[TrainingUse, ...]
    host: TrainingUse | None
    fit: Fit
    speed: TrainingSpeed | None
    assumptions: tuple[str, ...]

    @property
    def fullest(self) -> TrainingUse:
        """The device with the least left."""
        return min(self.devices, key=lambda d: d.headroom_bytes)


def estimate_finetune(setup: FineTuneSetup) -> FineTuneEstimate:
    """Memory, fit and speed of a fine-tuning run.

    Raises UnsupportedError where the method cannot run there at all, BadInputError or UnknownNameError for a setting.
    """
    check_setup(setup)
    uses = tuple(_use(d, count_card_parts(setup, _overhead(d))) for d in setup.devices)
    spilled = count_host_bytes(setup)
    host = _use(setup.machine.host, TrainingParts(optimizer_bytes=spilled)) if spilled else None
    n_params = sum(m.n_params for m in list_modules(setup.spec))
    return FineTuneEstimate(
        setup=setup,
        n_params=n_params,
        n_trainable=count_trained(setup).n_values,
        devices=uses,
        host=host,
        fit=_judge((*uses, *((host,) if host else ()))),
        speed=estimate_speed(setup),
        assumptions=tuple(_list_assumptions(setup)),
    )


def _overhead(device: Device) -> int:
    return ACCELERATOR_OVERHEAD_BYTES.get(device.backend, HOST_OVERHEAD_BYTES)


def _use(device: Device, parts: TrainingParts) -> TrainingUse:
    return TrainingUse(device.name, device.memory_bytes, device.usable_bytes, parts)


def _judge(uses: tuple[TrainingUse, ...]) -> Fit:
    """The verdict: it fits where every device holds its part; close where one has little left."""
    least = min(u.headroom_bytes for u in uses)
    is_close = any(u.headroom_bytes < TIGHT_SHARE * u.usable_bytes for u in uses)
    verdict = Verdict.DOES_NOT_FIT if least < 0 else Verdict.TIGHT if is_close else Verdict.FITS
    reasons = []
    for use in sorted(dict.fromkeys(uses), key=lambda u: u.headroom_bytes):
        need, have = format_bytes(use.parts.total_bytes), format_bytes(use.usable_bytes)
        count = sum(u == use for u in uses)
        name = use.name if count == 1 else f"each of {count} {use.name}"
        if use.headroom_bytes < 0:
            reasons.append(f"{name} would need {need} of {have} usable, {format_bytes(-use.headroom_bytes)} too much")
        else:
            reasons.append(f"{name} holds {need} of {have} usable")
    return Fit(verdict, least, (*reasons, _largest_part(uses[0])))


def _largest_part(use: TrainingUse) -> str:
    names = {
        "weight_bytes": "weights",
        "gradient_bytes": "gradients",
        "optimizer_bytes": "optimizer states",
        "activation_bytes": "activations",
    }
    largest = max(names, key=lambda n: int(getattr(use.parts, n)))
    return f"most of it is {names[largest]}, {format_bytes(getattr(use.parts, largest))}"


def _list_assumptions(setup: FineTuneSetup) -> list[str]:
    """What the figures rest on, in words."""
    out = [_say_weights(setup)]
    if setup.is_lora:
        out.append(
            f"adapters, their gradients and optimizer states in {8 * setup.adapter_bytes} bits, "
            f"{'as trl makes them' if not setup.adapter_bits else 'as asked'}"
        )
    if any(t.is_expert for t in setup.find_targets()):
        out.append("peft adapts every expert, with twice the rank where gate and up are one matrix")
    elif setup.spec.is_moe and setup.is_lora:
        out.append(
            "experts are stacked parameters in transformers 5, which these targets do not reach: they stay as they are"
        )
    if setup.method == "qlora" and any(m.role is Role.EXPERT for m in list_modules(setup.spec)):
        out.append("bitsandbytes quantizes nn.Linear alone: the stacked experts of transformers 5 stay in 16 bits")
    out.append(
        "each layer keeps its input and is computed again backwards (gradient checkpointing)"
        if setup.checkpointing
        else "every layer keeps what its backward pass wants (no checkpointing)"
    )
    out.append(
        "the loss is worked out in tiles, as trl 1.16 and Liger do"
        if setup.loss == "chunked"
        else "the loss holds the logits of all tokens in 32 bits, as transformers' own does"
    )
    if any(g.recurrent is not None for g in setup.spec.groups):
        out.append("recurrent layers count the inputs and outputs of their matrices, not their scan: a lower bound")
    if setup.spec.n_params_projector:
        out.append("the vision or audio tower is left out")
    if "paged" in setup.optimizer:
        out.append("a paged optimizer's state may all move to the host, where it is counted; each move costs time")
    if len(setup.devices) > 1:
        out.append(f"{len(setup.devices)} cards each work on their own sequences; {_SHARED[setup.sharding]}")
    out.append(
        "a driver context on each card as the engine's; what the allocator leaves unused between tensors is not counted"
    )
    return out


_SHARED = {
    "ddp": "each holds everything, and its gradients a second time in the buckets they are exchanged in",
    "zero1": "they share out the optimizer's states (ZeRO 1)",
    "zero2": "they share out optimizer states and gradients (ZeRO 2)",
    "zero3": "they share out weights, gradients and optimizer states (ZeRO 3, FSDP), two layers whole at a time",
}


def _say_weights(setup: FineTuneSetup) -> str:
    n = format_params(sum(m.n_params for m in list_modules(setup.spec)))
    name = METHOD_WORDS[setup.method]
    if setup.method == "qlora":
        return f"{name}: {n} frozen, matrices in NF4 with double quantization, the rest in BF16"
    if setup.method == "lora":
        return f"{name}: {n} frozen in BF16"
    words = {
        "mixed": "BF16 weights and gradients, a 32-bit copy and the optimizer's states beside them",
        "autocast": "32-bit weights, gradients and states, cast to BF16 for each operation",
        "bf16": "everything in BF16, the optimizer's states too",
    }
    return f"{name}: {n} trained, {words[setup.precision]}"

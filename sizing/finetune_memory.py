"""Bytes a fine-tuning run holds on each card: weights, gradients, optimizer states, activations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from sizing.finetune_activations import (
    HALF,
    WHOLE,
    LayerKept,
    StepShape,
    count_head_bytes,
    count_input_bytes,
    count_loss_bytes,
    list_layers,
)
from sizing.finetune_setup import FineTuneSetup
from sizing.formats import find_format
from sizing.modules import Module, Role, list_modules

NF4 = replace(find_format("NF4"), quantizes=frozenset({Role.LINEAR}))
"""bitsandbytes replaces nn.Linear alone, so stacked experts stay in 16 bits (https://github.com/huggingface/
transformers/blob/v5.24.0/src/transformers/integrations/bitsandbytes.py, `replace_with_bnb_linear`)."""

BLOCK_8BIT = 256
"""Values of an 8-bit state that share a 32-bit scale (https://github.com/bitsandbytes-foundation/bitsandbytes/blob/
main/bitsandbytes/optim/optimizer.py)."""

PREFETCHED_LAYERS = 2
"""Layers whose whole weights a card holds at a time under ZeRO-3 or FSDP: the one at work and the next
(https://docs.pytorch.org/docs/stable/fsdp.html, backward_prefetch)."""


@dataclass(frozen=True, slots=True)
class TrainingParts:
    """Bytes by purpose at the moment a step holds most."""

    weight_bytes: int = 0
    gradient_bytes: int = 0
    optimizer_bytes: int = 0
    activation_bytes: int = 0
    overhead_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """The sum of the parts."""
        return sum(getattr(self, f.name) for f in fields(self))


@dataclass(frozen=True, slots=True)
class Trained:
    """Values that are trained and the bytes of all of them: weights, gradients, optimizer state."""

    n_values: int
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int


def step_shape(setup: FineTuneSetup) -> StepShape:
    """How the setup computes a step."""
    wide = setup.method == "full" and setup.precision == "autocast"
    casts = wide or (setup.is_lora and setup.adapter_bytes == WHOLE)
    is_eager = setup.attention == "eager"
    rank = setup.rank if setup.is_lora else 0
    return StepShape(not setup.is_lora, casts, wide, is_eager, setup.dropout and setup.is_lora, rank)


def count_base_bytes(setup: FineTuneSetup) -> int:
    """Bytes of the model's own weights before they are shared out."""
    modules = list_modules(setup.spec)
    if setup.method == "qlora":
        return sum(NF4.count_bytes(m) * m.count for m in modules)
    each = WHOLE if setup.method == "full" and setup.precision == "autocast" else HALF
    return each * sum(m.n_params for m in modules)


def count_trained(setup: FineTuneSetup) -> Trained:
    """What is trained, before it is shared out."""
    if setup.is_lora:
        n = sum(t.count_trainable(setup.rank) for t in setup.find_targets())
        each = setup.adapter_bytes
        return Trained(n, n * each, n * each, _optimizer_bytes(setup, n, each))
    n = sum(m.n_params for m in list_modules(setup.spec))
    each = WHOLE if setup.precision == "autocast" else HALF
    master = WHOLE * n if setup.precision == "mixed" else 0
    own = WHOLE if setup.precision == "mixed" else each
    return Trained(n, n * each, n * each, master + _optimizer_bytes(setup, n, own))


def _optimizer_bytes(setup: FineTuneSetup, n: int, value_bytes: int) -> int:
    """Bytes of an optimizer's state of n values: torch keeps the values' own type, bitsandbytes 32 or 8 bits."""
    if setup.optimizer == "sgd":
        return 0
    if setup.optimizer == "adafactor":
        return WHOLE * sum(_count_factors(setup))
    if "8bit" in setup.optimizer:
        return 2 * n + 2 * WHOLE * -(-n // BLOCK_8BIT)
    return 2 * n * (WHOLE if "paged" in setup.optimizer else value_bytes)


def _count_factors(setup: FineTuneSetup) -> Iterator[int]:
    """Values of Adafactor's second moments: a row and a column for each matrix (arXiv:1804.04235, section 3)."""
    if not setup.is_lora:
        for m in list_modules(setup.spec):
            yield m.count * m.n_stacked * (m.n_in + m.n_out if m.n_in > 1 else m.n_out)
        return
    for t in setup.find_targets():
        yield t.count * t.n_stacked * (t.n_in + t.n_out + 2 * setup.rank * t.rank_factor)


@dataclass(frozen=True, slots=True)
class Peak:
    """Activations and gradients when both together are most."""

    activation_bytes: int
    gradient_bytes: int


def count_layer_bytes(setup: FineTuneSetup) -> tuple[int, ...]:
    """What each layer keeps of a micro batch for the backward pass, without checkpointing."""

    def count(kept: LayerKept) -> int:
        pairs = setup.micro_batch * setup.sequence_tokens**2
        return kept.token_bytes * setup.n_tokens + kept.pair_bytes * pairs

    return tuple(map(count, list_layers(setup.spec, setup.find_targets(), step_shape(setup))))


def count_saved_bytes(setup: FineTuneSetup) -> int:
    """What the forward pass leaves for the backward pass, loss included."""
    shape, layers = step_shape(setup), count_layer_bytes(setup)
    loss = count_loss_bytes(setup.spec, setup.n_tokens, shape, setup.loss == "chunked")
    kept = sum(layers)
    if setup.checkpointing:
        kept = len(layers) * count_input_bytes(setup.spec, shape) * setup.n_tokens
    return kept + count_head_bytes(setup.spec, shape) * setup.n_tokens + loss.kept + sum(_cast_bytes(setup))


def _cast_bytes(setup: FineTuneSetup) -> tuple[int, int]:
    """BF16 copies of 32-bit weights that autocast leaves for the backward pass: of the layers, of the head."""
    if not step_shape(setup).wide_stream:
        return 0, 0
    matrices = [m for m in list_modules(setup.spec) if m.is_matrix]
    layers = HALF * sum(m.n_params for m in matrices if m.layers)
    return (0 if setup.checkpointing else layers), HALF * setup.spec.hidden_dim * setup.spec.vocab_size


def count_working_bytes(setup: FineTuneSetup) -> int:
    """Gradients of a layer's own values while it is differentiated: two of its widest, in 32 bits for 32-bit adapters.

    QLoRA adds the largest matrix, widened to 16 bits while it is multiplied with (arXiv:2305.14314, section 3).
    """
    spec = setup.spec
    widest = max(
        (
            f.ffn_dim + f.shared_expert_ffn_dim + f.n_active_experts * f.expert_ffn_dim
            for f in (g.ffn for g in spec.groups)
            if f is not None
        ),
        default=spec.hidden_dim,
    )
    each = 2 * WHOLE if step_shape(setup).autocast else 2 * HALF
    return each * max(widest, spec.hidden_dim) * setup.n_tokens + _widened_bytes(setup)


def _widened_bytes(setup: FineTuneSetup) -> int:
    if setup.method != "qlora":
        return 0
    return HALF * max((m.n_in * m.n_out for m in list_modules(setup.spec) if NF4.stores(m)), default=0)


def count_layer_peak(setup: FineTuneSetup) -> int:
    """Activations while the last layer is differentiated: what all layers saved and what it works on."""
    shape, layers = step_shape(setup), count_layer_bytes(setup)
    loss = count_loss_bytes(setup.spec, setup.n_tokens, shape, setup.loss == "chunked")
    one = max(layers) if setup.checkpointing else 0
    return count_saved_bytes(setup) - loss.kept + one + count_working_bytes(setup)


def find_peak(setup: FineTuneSetup, gradient_bytes: int) -> Peak:
    """The largest moment of a micro batch: at the loss, or while a layer is differentiated.

    With accumulation the gradients of earlier micro batches are there throughout; without, they come as layers end, the
    embedding's last.
    """
    shape, layers = step_shape(setup), count_layer_bytes(setup)
    loss = count_loss_bytes(setup.spec, setup.n_tokens, shape, setup.loss == "chunked")
    saved = count_saved_bytes(setup)
    at_loss = saved + loss.working + (HALF * setup.spec.n_params if shape.wide_stream and setup.checkpointing else 0)
    at_layer = count_layer_peak(setup)
    if setup.accumulation > 1 or setup.is_lora:
        return Peak(max(at_loss, at_layer), gradient_bytes)
    looked_up = gradient_bytes * setup.spec.hidden_dim * setup.spec.vocab_size // setup.spec.n_params
    again = 2 * looked_up if setup.spec.tied_embeddings else 0  # the head's gradient, the embedding's and their sum
    moments = (
        Peak(at_loss, 0),
        Peak(at_layer, looked_up),  # of the head
        Peak(max(layers) + count_working_bytes(setup), gradient_bytes - (0 if again else looked_up)),
        Peak(again, gradient_bytes),
    )
    return max(moments, key=lambda p: p.activation_bytes + p.gradient_bytes)


def count_card_parts(setup: FineTuneSetup, overhead_bytes: int) -> TrainingParts:
    """What each card holds. Every card holds the same, since each works on its own sequences."""
    n, trained, base = len(setup.devices), count_trained(setup), count_base_bytes(setup)
    stage = {"ddp": 0, "zero1": 1, "zero2": 2, "zero3": 3}[setup.sharding] if n > 1 else 0
    weights = base + (trained.weight_bytes if setup.is_lora else 0)
    if stage >= 3:
        weights = -(-weights // n) + _gathered_bytes(setup, n)
    gradients = -(-trained.gradient_bytes // n) if stage >= 2 else trained.gradient_bytes
    peak = find_peak(setup, gradients)
    buckets = trained.gradient_bytes if n > 1 and stage == 0 else 0
    optimizer = -(-trained.optimizer_bytes // n) if stage >= 1 else trained.optimizer_bytes
    if is_on_host(setup):
        optimizer = 0
    return TrainingParts(weights, peak.gradient_bytes + buckets, optimizer, peak.activation_bytes, overhead_bytes)


def _gathered_bytes(setup: FineTuneSetup, n: int) -> int:
    """The whole weights of the layers at work, less the share a card holds anyway."""

    def layer_bytes(modules: list[Module], layer: int) -> int:
        held = [m for m in modules if layer in m.layers]
        if setup.method == "qlora":
            return sum(NF4.count_bytes(m) for m in held)
        return HALF * sum(m.layer_params for m in held)

    modules = list(list_modules(setup.spec))
    largest = max(layer_bytes(modules, g.layers[0]) for g in setup.spec.groups)
    return PREFETCHED_LAYERS * largest * (n - 1) // n


def is_on_host(setup: FineTuneSetup) -> bool:
    """Whether the optimizer's state is kept in the host's memory: offloaded, or paged out as far as need be."""
    has_card = bool(setup.machine.accelerators) and not setup.machine.is_unified
    return has_card and (setup.offload_optimizer or "paged" in setup.optimizer)


def count_host_bytes(setup: FineTuneSetup) -> int:
    """Optimizer states of all cards in the host's memory."""
    if not is_on_host(setup):
        return 0
    copies = len(setup.devices) if setup.sharding == "ddp" else 1
    return copies * count_trained(setup).optimizer_bytes

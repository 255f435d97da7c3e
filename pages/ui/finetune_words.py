"""The formulas of the Fine-tune page, with this run's numbers in them. No Streamlit."""

from __future__ import annotations

from sizing.finetune import FineTuneEstimate
from sizing.finetune_memory import count_layer_bytes, count_trained
from sizing.units import format_bytes, format_tokens

Lines = tuple[str, ...]


def explain(answer: FineTuneEstimate) -> dict[str, Lines]:
    """For each part of a card's memory, how it is worked out, as sentences with the figures in them."""
    return {
        "Weights": _weights(answer),
        "Gradients": _gradients(answer),
        "Optimizer": _optimizer(answer),
        "Activations": _activations(answer),
        "Overhead": (
            f"a driver context and its libraries before the first tensor: "
            f"{format_bytes(answer.fullest.parts.overhead_bytes)}, assumed",
        ),
    }


def _weights(answer: FineTuneEstimate) -> Lines:
    setup = answer.setup
    bits = {"full": "2 bytes a parameter, 4 in 32 bits", "lora": "2 bytes a parameter"}
    lines = [
        f"{format_tokens(answer.n_params)} parameters: "
        + bits.get(setup.method, "4.127 bits for each value of a quantized matrix, 16 for embeddings, head and norms")
    ]
    if setup.is_lora:
        each = setup.adapter_bytes
        lines.append(f"adapters: {format_tokens(answer.n_trainable)} × {each} bytes")
        lines += [
            f"{t.name}: {t.count * t.n_stacked:,} × rank {setup.rank * t.rank_factor} × "
            f"({t.n_in:,} + {t.n_out:,}) = {t.count_trainable(setup.rank):,}"
            for t in setup.find_targets()
        ]
    if len(answer.devices) > 1 and setup.sharding == "zero3":
        lines.append(f"shared by {len(answer.devices)} cards, and two layers whole at a time")
    return tuple(lines)


def _gradients(answer: FineTuneEstimate) -> Lines:
    trained = count_trained(answer.setup)
    each = trained.gradient_bytes // trained.n_values
    lines = [f"{format_tokens(trained.n_values)} trained × {each} bytes"]
    if len(answer.devices) > 1:
        said = {"ddp": "twice: the buckets cards exchange hold them again", "zero1": "whole on each card"}
        lines.append(said.get(answer.setup.sharding, f"shared by {len(answer.devices)} cards"))
    return tuple(lines)


def _optimizer(answer: FineTuneEstimate) -> Lines:
    setup, trained = answer.setup, count_trained(answer.setup)
    per = trained.optimizer_bytes / trained.n_values
    lines = [f"{format_tokens(trained.n_values)} trained × {per:.3g} bytes ({setup.optimizer})"]
    if setup.method == "full" and setup.precision == "mixed":
        lines.append("4 of them are the 32-bit copy of the weights")
    if answer.host is not None:
        lines.append(f"in the host's memory: {format_bytes(answer.host.parts.optimizer_bytes)}")
    return tuple(lines)


def _activations(answer: FineTuneEstimate) -> Lines:
    setup = answer.setup
    layers = count_layer_bytes(setup)
    lines = [
        f"{format_tokens(setup.n_tokens)} tokens at once on a card",
        f"a layer keeps up to {format_bytes(max(layers))} for its backward pass, all {len(layers)} keep "
        f"{format_bytes(sum(layers))}",
    ]
    if setup.checkpointing:
        lines.append("checkpointing keeps each layer's input and one layer at a time")
    lines.append(
        "the loss in tiles" if setup.loss == "chunked" else f"the loss: 12 bytes × {setup.spec.vocab_size:,} × tokens"
    )
    if setup.method == "qlora":
        lines.append("and the largest matrix widened to 16 bits")
    return tuple(lines)

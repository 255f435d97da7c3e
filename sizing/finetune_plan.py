"""From a fine-tuning run that was sized to the program that does it."""

from __future__ import annotations

from sizing.errors import UnsupportedError
from sizing.finetune_lora import ALL_LINEAR
from sizing.finetune_setup import FineTuneSetup
from sizing.launch import TrainingPlan

OPTIMIZER_NAMES = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw": "paged_adamw_32bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
    "adafactor": "adafactor",
    "sgd": "sgd",
}
"""Names of the optimizers in transformers (https://github.com/huggingface/transformers/blob/v5.24.0/src/transformers/
training_args.py, `OptimizerNames`)."""

USUAL_DROPOUT = 0.05
"""QLoRA's for models up to 13B (arXiv:2305.14314, appendix B.2)."""


def plan_training(setup: FineTuneSetup) -> TrainingPlan:
    """The plan of a trl program that holds what was sized.

    Raises UnsupportedError with the reason where a setting has no counterpart in it, so that no program is shown that
    would hold something else.
    """
    n = len(setup.devices)
    gap = find_gap(setup)
    if gap:
        raise UnsupportedError(gap)
    return TrainingPlan(
        setup.spec.model_id,
        setup.method,
        setup.sequence_tokens,
        micro_batch=setup.micro_batch,
        accumulation=setup.accumulation,
        rank=setup.rank,
        alpha=2 * setup.rank,
        dropout=USUAL_DROPOUT if setup.dropout else 0.0,
        targets=() if setup.targets == (ALL_LINEAR,) else setup.targets,
        checkpointing=setup.checkpointing,
        optimizer=OPTIMIZER_NAMES[setup.optimizer],
        weights_dtype="float32" if setup.method == "full" and setup.precision == "autocast" else "bfloat16",
        sharding=setup.sharding if n > 1 else "none",
        n_cards=n,
    )


def find_gap(setup: FineTuneSetup) -> str:
    """Why no program of trl holds what was sized; "" where one does."""
    is_zero = len(setup.devices) > 1 and setup.sharding.startswith("zero")
    if setup.method == "full" and setup.precision == "mixed" and not is_zero:
        return "trl keeps BF16 weights beside a 32-bit copy only under ZeRO; size another precision for a program"
    if setup.offload_optimizer:
        return "the program keeps the optimizer on the card; size it there for a program"
    if setup.adapter_bits:
        return "trl chooses the bits of adapters itself; size what trl does for a program"
    if setup.attention == "eager":
        return "the program takes the attention that saves memory; size flash attention for a program"
    if setup.loss == "full":
        return "trl works the loss out in tiles; size that for a program"
    return ""

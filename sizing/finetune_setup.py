"""What is asked of a fine-tuning run."""

from __future__ import annotations

from dataclasses import dataclass

from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.finetune_lora import ALL_LINEAR, LoraTarget, check_rank, find_targets
from sizing.hardware import Device, Machine
from sizing.specs import ModelSpec

METHODS = ("full", "lora", "qlora")
METHOD_WORDS = {"full": "Full", "lora": "LoRA", "qlora": "QLoRA"}

PRECISIONS = ("mixed", "autocast", "bf16")
"""Of full fine-tuning. mixed: BF16 weights and gradients beside a 32-bit copy (arXiv:1910.02054, section 3.1);
autocast: 32-bit weights cast to BF16 for each operation, trl's default; bf16: everything in BF16, the optimizer's state
too."""

OPTIMIZERS = ("adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "adafactor", "sgd")
SHARDINGS = ("ddp", "zero1", "zero2", "zero3")
ATTENTIONS = ("flash", "eager")
LOSSES = ("chunked", "full")
MAX_TOKENS, MAX_BATCH = 2**24, 65_536

BITSANDBYTES_BACKENDS = frozenset({"cuda", "rocm", "sycl", "hpu", "cpu"})
"""Where bitsandbytes runs NF4 (https://huggingface.co/docs/bitsandbytes/main/en/installation)."""


@dataclass(frozen=True, slots=True)
class FineTuneSetup:
    """One way to fine-tune a model; each card takes `micro_batch` sequences of `sequence_tokens` at a time.

    `rank`, `targets`, `adapter_bits` and `dropout` are LoRA's, `precision` that of full fine-tuning. `adapter_bits` 0
    is what trl does: 32 for LoRA, 16 for QLoRA. `accumulation` micro batches make a step. `sharding` says what several
    cards share out; 'zero3' is FSDP's full shard. `offload_optimizer` keeps the optimizer's state in the host's memory.
    """

    spec: ModelSpec
    machine: Machine
    method: str = "lora"
    rank: int = 16
    targets: tuple[str, ...] = (ALL_LINEAR,)
    sequence_tokens: int = 2048
    micro_batch: int = 1
    accumulation: int = 8
    optimizer: str = "adamw"
    precision: str = "mixed"
    adapter_bits: int = 0
    dropout: bool = False
    checkpointing: bool = True
    attention: str = "flash"
    loss: str = "chunked"
    sharding: str = "ddp"
    offload_optimizer: bool = False

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("fine-tuning method", self.method, METHODS),
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("precision", self.precision, PRECISIONS),
            ("sharding", self.sharding, SHARDINGS),
            ("attention", self.attention, ATTENTIONS),
            ("loss", self.loss, LOSSES),
        ):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        check_rank(self.rank)
        _check_whole("sequence_tokens", self.sequence_tokens, MAX_TOKENS)
        _check_whole("micro_batch", self.micro_batch, MAX_BATCH)
        _check_whole("accumulation", self.accumulation, MAX_BATCH)
        if self.adapter_bits not in (0, 16, 32):
            raise BadInputError(f"adapter_bits wants 16, 32 or 0 for what trl does, got {self.adapter_bits!r}")

    @property
    def devices(self) -> tuple[Device, ...]:
        """The cards that train, the host where there are none."""
        return self.machine.accelerators or (self.machine.host,)

    @property
    def is_lora(self) -> bool:
        """Whether the model's own weights stay as they are."""
        return self.method != "full"

    @property
    def adapter_bytes(self) -> int:
        """Bytes of one value of an adapter."""
        return (self.adapter_bits or (16 if self.method == "qlora" else 32)) // 8

    @property
    def n_tokens(self) -> int:
        """Tokens of a micro batch on one card."""
        return self.micro_batch * self.sequence_tokens

    @property
    def tokens_per_step(self) -> int:
        """Tokens of an optimizer step on all cards."""
        return self.n_tokens * self.accumulation * len(self.devices)

    def find_targets(self) -> tuple[LoraTarget, ...]:
        """What has adapters; nothing in full fine-tuning. Raises as `sizing.finetune_lora.find_targets`."""
        return find_targets(self.spec, self.targets) if self.is_lora else ()


def _check_whole(name: str, value: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise BadInputError(f"{name} wants a whole number from 1 to {most:,}, got {value!r}")


def check_setup(setup: FineTuneSetup) -> None:
    """Raises UnsupportedError with the reason where this cannot be run at all, whatever the memory.

    Raises BadInputError for a sequence longer than the model's context.
    """
    wrong = next((d for d in setup.devices if d.backend not in BITSANDBYTES_BACKENDS), None)
    if wrong is not None and (setup.method == "qlora" or "8bit" in setup.optimizer or "paged" in setup.optimizer):
        what = "QLoRA" if setup.method == "qlora" else f"the optimizer {setup.optimizer}"
        raise UnsupportedError(f"{what} wants bitsandbytes, which does not run on {wrong.name} ({wrong.backend})")
    if setup.sequence_tokens > setup.spec.context_tokens:
        raise BadInputError(
            f"sequence_tokens {setup.sequence_tokens:,} is longer than the {setup.spec.context_tokens:,} tokens "
            f"{setup.spec.name} was trained on"
        )
    setup.find_targets()

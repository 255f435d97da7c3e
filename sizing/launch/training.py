"""A fine-tuning run as a program for TRL and PEFT, and what spreads it over several cards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sizing.errors import BadInputError, UnknownNameError
from sizing.launch.base import Launch, check_argument, format_shell
from sizing.launch.yaml_text import Yaml, write_yaml
from sizing.units import format_tokens

METHODS = ("full", "lora", "qlora")
SHARDINGS = ("none", "ddp", "fsdp", "zero1", "zero2", "zero3")
DTYPES = ("bfloat16", "float32")
PACKAGES = "torch==2.13.0 transformers==5.24.0 trl==1.16.0 peft==0.21.2 accelerate==1.15.0 datasets==5.2.0"
"""What the programs were run with."""

BITSANDBYTES_PACKAGE = "bitsandbytes==0.50.2"
DEEPSPEED_PACKAGE = "deepspeed==0.19.8"
"""https://pypi.org/project/bitsandbytes/ and https://pypi.org/project/deepspeed/"""

LEARNING_RATES = {"full": 2e-5, "lora": 2e-4, "qlora": 2e-4}
"""Where to begin: SFTConfig's default (https://huggingface.co/docs/trl/sft_trainer); for adapters what QLoRA's authors
took for 7B and 13B models (https://arxiv.org/abs/2305.14314, table 9)."""

ALL_LINEAR = "all-linear"
"""PEFT's name for every linear layer but the head: https://huggingface.co/docs/peft/package_reference/lora"""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """One way to fine-tune a model.

    Each of `n_cards` works on `micro_batch` sequences of at most `sequence_tokens`, `accumulation` times a step.
    `rank`, `alpha`, `dropout` and `targets` (names of modules; none for all linear layers) are the adapter's and not
    read for 'full'. `optimizer` is a name of transformers.training_args.OptimizerNames. `weights_dtype` is what the
    weights are held in that are not quantized. `sharding` says what the cards share: 'ddp' nothing, 'zero1' optimizer
    states, 'zero2' gradients too, 'zero3' and 'fsdp' weights too.
    """

    model_id: str
    method: str
    sequence_tokens: int
    micro_batch: int = 1
    accumulation: int = 1
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    checkpointing: bool = True
    optimizer: str = "adamw_torch_fused"
    weights_dtype: str = "bfloat16"
    sharding: str = "none"
    n_cards: int = 1
    double_quantization: bool = True
    learning_rate: float | None = None
    epochs: float = 1.0

    def __post_init__(self) -> None:
        check_argument("model_id", self.model_id)
        for name, known in (("method", METHODS), ("sharding", SHARDINGS), ("weights_dtype", DTYPES)):
            if getattr(self, name) not in known:
                raise UnknownNameError(name, getattr(self, name), known)
        for name in ("sequence_tokens", "micro_batch", "accumulation", "rank", "alpha", "n_cards"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise BadInputError(f"{name} wants a whole number of at least 1, got {value!r}")
        if not 0 <= self.dropout < 1:
            raise BadInputError(f"dropout wants a share of at least 0 and below 1, got {self.dropout!r}")
        if (self.n_cards > 1) != (self.sharding != "none"):
            raise BadInputError(
                f"{self.n_cards} cards and sharding {self.sharding!r} contradict each other; "
                "one card has nothing to share, several want 'ddp' or more"
            )


def list_training_launches(plan: TrainingPlan) -> tuple[Launch, ...]:
    """The program, the command that starts it, and, for several cards, accelerate's configuration."""
    return tuple(_list_launches(plan))


def _list_launches(plan: TrainingPlan) -> Iterator[Launch]:
    packages = [PACKAGES]
    packages += [BITSANDBYTES_PACKAGE] if plan.method == "qlora" or _has_8bit_optimizer(plan) else []
    packages += [DEEPSPEED_PACKAGE] if plan.sharding.startswith("zero") else []
    data = 'Reads train.jsonl: one {"messages": [...]} or {"text": "..."} a line.'
    start = ["python", "train.py"]
    if plan.n_cards > 1:
        start = ["accelerate", "launch", "--config_file", "accelerate.yaml", "train.py"]
    needs = f"Needs pip install {' '.join(packages)}."
    yield Launch("Python, TRL and PEFT", "python", write_training(plan), "train.py", f"{data} {needs}")
    yield Launch("Start the training", "bash", format_shell(start), "train.sh", f"{data} {_say_batch(plan)}")
    if plan.n_cards > 1:
        note = f"accelerate's configuration for {plan.n_cards} cards of one machine; keep it beside train.py."
        yield Launch("accelerate config", "yaml", write_accelerate_config(plan), "accelerate.yaml", note)


def _say_batch(plan: TrainingPlan) -> str:
    n = plan.micro_batch * plan.accumulation * plan.n_cards
    tokens = format_tokens(plan.sequence_tokens)
    return f"A step learns from {n} sequence{'s' if n > 1 else ''} of at most {tokens} tokens."


def _has_8bit_optimizer(plan: TrainingPlan) -> bool:
    return "8bit" in plan.optimizer or plan.optimizer.startswith("paged")


def write_training(plan: TrainingPlan) -> str:
    """The program.

    Sources: https://huggingface.co/docs/trl/sft_trainer, https://huggingface.co/docs/peft/package_reference/lora
    """
    imports = ["from datasets import load_dataset"]
    imports += ["from peft import LoraConfig"] if plan.method != "full" else []
    imports += ["from transformers import BitsAndBytesConfig"] if plan.method == "qlora" else []
    imports.append("from trl import SFTConfig, SFTTrainer")
    extra = "".join(f"    {line}\n" for line in _list_trainer_lines(plan))
    settings = "".join(f"        {name}={value},\n" for name, value in list_settings(plan).items())
    return "\n".join(imports) + (
        f"\n\nMODEL = {plan.model_id!r}\n\n"
        'dataset = load_dataset("json", data_files="train.jsonl", split="train")\n'
        "trainer = SFTTrainer(\n"
        "    model=MODEL,\n"
        f"    args=SFTConfig(\n{settings}    ),\n"
        "    train_dataset=dataset,\n"
        f"{extra})\n"
        "trainer.train()\n"
        "trainer.save_model()\n"
    )


def list_settings(plan: TrainingPlan) -> dict[str, str]:
    """Arguments of SFTConfig as Python writes them, in the order they are shown."""
    rate = plan.learning_rate if plan.learning_rate is not None else LEARNING_RATES[plan.method]
    settings: dict[str, object] = {
        "output_dir": f"trained-{plan.method}",
        "max_length": plan.sequence_tokens,
        "per_device_train_batch_size": plan.micro_batch,
        "gradient_accumulation_steps": plan.accumulation,
        "activation_checkpointing": plan.checkpointing,
        "optim": plan.optimizer,
        "learning_rate": rate,
        "num_train_epochs": plan.epochs,
        "bf16": True,
        "model_init_kwargs": {"dtype": plan.weights_dtype},
    }
    return {name: repr(value) for name, value in settings.items()}


def list_adapter(plan: TrainingPlan) -> dict[str, str]:
    """Arguments of LoraConfig as Python writes them."""
    targets: object = list(plan.targets) if plan.targets else ALL_LINEAR
    settings: dict[str, object] = {
        "r": plan.rank,
        "lora_alpha": plan.alpha,
        "lora_dropout": plan.dropout,
        "target_modules": targets,
        "bias": "none",
        "task_type": "CAUSAL_LM",
    }
    return {name: repr(value) for name, value in settings.items()}


def list_quantization(plan: TrainingPlan) -> dict[str, str]:
    """Arguments of BitsAndBytesConfig as Python writes them.

    Shards of weights are cut from 16-bit storage: https://huggingface.co/docs/bitsandbytes/fsdp_qlora
    """
    settings: dict[str, object] = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": plan.double_quantization,
        "bnb_4bit_compute_dtype": "bfloat16",
    }
    if plan.sharding in ("fsdp", "zero3"):
        settings["bnb_4bit_quant_storage"] = "bfloat16"
    return {name: repr(value) for name, value in settings.items()}


def _list_trainer_lines(plan: TrainingPlan) -> Iterator[str]:
    calls = {
        "quantization_config=BitsAndBytesConfig": list_quantization(plan) if plan.method == "qlora" else {},
        "peft_config=LoraConfig": list_adapter(plan) if plan.method != "full" else {},
    }
    for name, arguments in calls.items():
        if arguments:
            yield f"{name}("
            yield from (f"    {key}={value}," for key, value in arguments.items())
            yield "),"


def write_accelerate_config(plan: TrainingPlan) -> str:
    """accelerate's configuration file.

    Source: https://huggingface.co/docs/accelerate/package_reference/cli and TRL's own files,
    https://github.com/huggingface/trl/tree/main/trl/accelerate_configs
    """
    config: dict[str, Yaml] = {
        "compute_environment": "LOCAL_MACHINE",
        "debug": False,
        "distributed_type": "MULTI_GPU",
        "machine_rank": 0,
        "main_training_function": "main",
        "mixed_precision": "bf16",
        "num_machines": 1,
        "num_processes": plan.n_cards,
        "rdzv_backend": "static",
        "same_network": True,
        "use_cpu": False,
    }
    if plan.sharding == "fsdp":
        config |= {"distributed_type": "FSDP", "fsdp_config": _write_fsdp()}
    elif plan.sharding.startswith("zero"):
        config |= {"distributed_type": "DEEPSPEED", "deepspeed_config": _write_zero(plan)}
    return write_yaml(config)


def _write_fsdp() -> Yaml:
    return {
        "fsdp_version": 2,
        "fsdp_reshard_after_forward": True,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_cpu_ram_efficient_loading": True,
        "fsdp_offload_params": False,
        "fsdp_activation_checkpointing": False,  # the trainer checkpoints where it is asked to
        "fsdp_state_dict_type": "FULL_STATE_DICT",
    }


def _write_zero(plan: TrainingPlan) -> Yaml:
    stage = int(plan.sharding[-1])
    config: dict[str, Yaml] = {
        "zero_stage": stage,
        "gradient_accumulation_steps": plan.accumulation,
        "offload_optimizer_device": "none",
        "offload_param_device": "none",
        "zero3_init_flag": stage == 3,
        "deepspeed_multinode_launcher": "standard",
    }
    return {**config, "zero3_save_16bit_model": True} if stage == 3 else config

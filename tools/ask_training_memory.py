"""Ask torch what one training step holds: `python -m tools.ask_training_memory > tests/golden/training_memory.csv`.

Needs requirements-train.txt. Models keep their published widths and lose most of their layers; tensors are fake, so a
step costs no memory and no card is needed: every tensor torch makes and drops is added up. "flash" is the operation
torch runs on a card, asked by its shapes; sequences are full, so there is no mask.
"""

from __future__ import annotations

import csv
import json
import sys
import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import astuple, dataclass, fields
from typing import Any

from tools.ask_peft import CONFIG_FILES, GOLDEN

MODELS = (
    "meta-llama/Meta-Llama-3.1-8B",
    "Qwen/Qwen2.5-0.5B",
    "Qwen/Qwen3-8B",
    "mistralai/Mistral-7B-Instruct-v0.3",
    "google/gemma-2-9b",
    "microsoft/phi-4",
    "allenai/Olmo-3.1-32B-Instruct",
    "CohereLabs/c4ai-command-r-v01",
    "google/gemma-3-1b-it",
)


@dataclass(frozen=True, slots=True)
class Question:
    """One training step of a model cut to `n_layers`: `rank` 0 trains everything.

    `dtype` is that of the weights, `adapters` that of LoRA's. `n_logits` 0: the loss of every token.
    """

    n_layers: int
    method: str
    dtype: str
    adapters: str
    autocast: bool
    checkpointing: bool
    attention: str
    rank: int
    targets: str
    batch: int
    sequence: int
    n_logits: int = 0


ALL = "all-linear"
QUESTIONS = (
    Question(4, "full", "bf16", "", False, False, "flash", 0, "", 1, 2048),
    Question(4, "full", "bf16", "", False, True, "flash", 0, "", 1, 2048),
    Question(4, "full", "fp32", "", True, False, "flash", 0, "", 1, 2048),
    Question(4, "full", "fp32", "", True, True, "flash", 0, "", 1, 2048),
    Question(4, "lora", "bf16", "fp32", True, False, "flash", 16, ALL, 1, 2048),
    Question(4, "lora", "bf16", "fp32", True, True, "flash", 16, ALL, 1, 2048),
    Question(4, "lora", "bf16", "bf16", False, False, "flash", 16, ALL, 1, 2048),
    Question(4, "lora", "bf16", "bf16", False, True, "flash", 16, ALL, 1, 2048),
    Question(4, "lora", "bf16", "bf16", False, False, "flash", 64, ALL, 4, 1024),
    Question(4, "lora", "bf16", "bf16", False, False, "flash", 16, "q_proj+v_proj", 1, 2048),
    Question(4, "full", "bf16", "", False, True, "flash", 0, "", 2, 4096, n_logits=1),
    Question(4, "lora", "bf16", "bf16", False, True, "flash", 16, ALL, 2, 4096, n_logits=1),
    Question(4, "lora", "bf16", "fp32", True, True, "flash", 16, ALL, 2, 4096, n_logits=1),
    Question(4, "full", "bf16", "", False, False, "eager", 0, "", 1, 2048),
    Question(4, "lora", "bf16", "bf16", False, False, "eager", 16, ALL, 1, 1024),
    Question(8, "full", "bf16", "", False, True, "flash", 0, "", 2, 4096),
    Question(8, "lora", "bf16", "bf16", False, True, "flash", 16, ALL, 2, 4096),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Trained parameters, then bytes: of weights, gradients and optimizer states; what the forward pass left for the
    backward pass; the most that both made at once, gradients among it."""

    n_trained: int
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    saved_bytes: int
    peak_bytes: int


def find_config(config_of: str) -> dict[str, Any]:
    """A published config by its model. Raises KeyError for one that is not in `tests/golden`."""
    for name in CONFIG_FILES:
        for line in (GOLDEN / name).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["config_of"] == config_of:
                return dict(row["config"])
    raise KeyError(config_of)


def build_model(config: dict[str, Any], asked: Question) -> Any:
    """The model with fewer layers on the meta device, with adapters where asked."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register("torch_on_a_card", attend)
    attention = {"flash": "torch_on_a_card"}.get(asked.attention, asked.attention)
    kept = {k: v for k, v in config.items() if k not in ("model_type", "auto_map", "quantization_config")}
    read = AutoConfig.for_model(config["model_type"], **kept).get_text_config()
    read.num_hidden_layers = asked.n_layers
    if getattr(read, "layer_types", None):
        read.layer_types = read.layer_types[: asked.n_layers]
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(read, dtype=dtype[asked.dtype], attn_implementation=attention)
    model.config.use_cache = False
    if asked.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    if asked.method == "lora":
        targets = ALL if asked.targets == ALL else asked.targets.split("+")
        lora = LoraConfig(r=asked.rank, target_modules=targets, task_type="CAUSAL_LM")
        widened = asked.adapters == "fp32"
        model = get_peft_model(model, lora, autocast_adapter_dtype=widened, low_cpu_mem_usage=True)
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.data = parameter.data.to(dtype[asked.adapters])
    return model.train()


def attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None, **_: Any
) -> tuple[Any, None]:
    """Flash attention as torch runs it on a card, in the form transformers wants of an attention function."""
    import torch

    if torch.is_autocast_enabled("cpu"):  # as autocast does for this operation
        query, key, value = (t.to(torch.bfloat16) for t in (query, key, value))
    ask = torch.ops.aten._scaled_dot_product_flash_attention
    return ask(query, key, value, 0.0, True, False, scale=scaling)[0].transpose(1, 2).contiguous(), None


def fill(model: Any) -> None:
    """Give every parameter and buffer on the meta device a tensor of the mode in force."""
    import torch

    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                empty = torch.empty(value.shape, dtype=value.dtype)
                module._parameters[name] = torch.nn.Parameter(empty, requires_grad=value.requires_grad)
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = torch.empty(value.shape, dtype=value.dtype)
    model.tie_weights()


def ask_step(config: dict[str, Any], asked: Question) -> Answer:
    """What the second of two training steps holds: the optimizer has its state by then."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    model = build_model(config, asked)
    with FakeTensorMode(allow_non_fake_inputs=True):
        fill(model)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained)
        tokens = torch.randint(0, 1000, (asked.batch, asked.sequence))
        saved = peak = 0
        for _ in range(2):
            with count_live_bytes() as live:
                with torch.autocast("cpu", torch.bfloat16) if asked.autocast else nullcontext():
                    loss = ask_loss(model, tokens, asked.n_logits)
                saved = live.now
                loss.backward()
                peak = live.peak
            gradients = sum(p.grad.nbytes for p in trained if p.grad is not None)
            optimizer.step()
            optimizer.zero_grad()
        states = sum(v.nbytes for state in optimizer.state.values() for v in state.values() if v.ndim)
        weights = sum(p.nbytes for p in model.parameters())
    return Answer(sum(p.numel() for p in trained), weights, gradients, states, saved, peak)


def ask_loss(model: Any, tokens: Any, n_logits: int) -> Any:
    """transformers' own loss of all tokens; with `n_logits` the sum of the last logits, so that layers show alone."""
    if n_logits:
        return model(input_ids=tokens, use_cache=False, logits_to_keep=n_logits).logits.float().sum()
    return model(input_ids=tokens, labels=tokens, use_cache=False).loss


def count_live_bytes() -> Any:
    """A mode that counts the bytes of every storage made under it, those alive `now` and the most at once, `peak`."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class LiveBytes(TorchDispatchMode):  # type: ignore[misc]
        now = 0
        peak = 0

        def __init__(self) -> None:
            super().__init__()
            self._watched: dict[int, Any] = {}

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
            out = func(*args, **(kwargs or {}))
            for leaf in tree_leaves(out):
                if isinstance(leaf, torch.Tensor):
                    self._watch(leaf.untyped_storage(), given)
            return out

        def _watch(self, storage: Any, given: set[int]) -> None:
            key = id(storage)
            if key in self._watched or key in given:
                return
            size = storage.nbytes()
            self.now += size
            self.peak = max(self.peak, self.now)

            def forget(_: Any) -> None:
                self.now -= size
                self._watched.pop(key, None)

            self._watched[key] = weakref.ref(storage, forget)

    return LiveBytes()


def list_answers() -> Iterator[tuple[Any, ...]]:
    """One row for each model and question torch can answer."""
    for config_of in MODELS:
        config = find_config(config_of)
        for asked in QUESTIONS:
            try:
                answer = ask_step(config, asked)
            except (RuntimeError, ValueError, NotImplementedError) as error:
                print(f"{config_of} {asked}: {str(error)[:200]}", file=sys.stderr)
                continue
            yield (config_of, *astuple(asked), *astuple(answer))


if __name__ == "__main__":
    import torch
    import transformers

    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns = (*(f.name for f in fields(Question)), *(f.name for f in fields(Answer)))
    writer.writerow(("config_of", *columns, "torch", "transformers"))
    for row in list_answers():
        writer.writerow((*row, torch.__version__, transformers.__version__))
        sys.stdout.flush()

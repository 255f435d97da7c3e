"""Ask Transformers itself what its models store, cache and hold while they read a prompt, and which card gets what.

`python tools/ask_transformers.py` writes tests/golden/transformers_layers.csv and transformers_device_maps.csv. It
wants torch, transformers and accelerate, which the project does not install, and no weights: models are built from
their published shapes as fake tensors, on which every operation runs and counts its memory but computes nothing.
"""

from __future__ import annotations

import csv
import sys
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
CARD_BYTES = 10**13
"""Memory of a card that is never the limit, so that only the balance decides."""

_MOE = {"n_group": 1, "topk_group": 1}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "meta-llama/Llama-3.1-8B-Instruct": (
        "llama",
        {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
        },
    ),
    "Qwen/Qwen2.5-7B-Instruct": (
        "qwen2",
        {
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152064,
        },
    ),
    "Qwen/Qwen3-8B": (
        "qwen3",
        {
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
        },
    ),
    "Qwen/Qwen3-30B-A3B-Instruct-2507": (
        "qwen3_moe",
        {
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "moe_intermediate_size": 768,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 48,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "vocab_size": 151936,
        },
    ),
    "mistralai/Mixtral-8x7B-Instruct-v0.1": (
        "mixtral",
        {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 32000,
            "sliding_window": None,
        },
    ),
    "google/gemma-3-12b-it": (
        "gemma3_text",
        {
            "hidden_size": 3840,
            "intermediate_size": 15360,
            "num_hidden_layers": 48,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 256,
            "sliding_window": 1024,
            "vocab_size": 262208,
        },
    ),
    "deepseek-ai/DeepSeek-V3": (
        "deepseek_v3",
        {
            "hidden_size": 7168,
            "intermediate_size": 18432,
            "moe_intermediate_size": 2048,
            "n_routed_experts": 256,
            "num_experts_per_tok": 8,
            "n_group": 8,
            "topk_group": 4,
            "first_k_dense_replace": 3,
            "num_hidden_layers": 61,
            "num_attention_heads": 128,
            "num_key_value_heads": 128,
            "kv_lora_rank": 512,
            "q_lora_rank": 1536,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "vocab_size": 129280,
        },
    ),
    "openai/gpt-oss-20b": (
        "gpt_oss",
        {
            "hidden_size": 2880,
            "intermediate_size": 2880,
            "num_local_experts": 32,
            "num_experts_per_tok": 4,
            "num_hidden_layers": 24,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "sliding_window": 128,
            "vocab_size": 201088,
        },
    ),
    "Qwen/Qwen3-Next-80B-A3B-Instruct": (
        "qwen3_next",
        {
            "hidden_size": 2048,
            "intermediate_size": 5120,
            "moe_intermediate_size": 512,
            "num_experts": 512,
            "num_experts_per_tok": 10,
            "shared_expert_intermediate_size": 512,
            "num_hidden_layers": 48,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "head_dim": 256,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 32,
            "linear_key_head_dim": 128,
            "linear_value_head_dim": 128,
            "linear_conv_kernel_dim": 4,
            "vocab_size": 151936,
        },
    ),
    "LiquidAI/LFM2-1.2B": (
        "lfm2",
        {
            "hidden_size": 2048,
            "intermediate_size": 12288,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 65536,
            "conv_L_cache": 3,
            "tie_word_embeddings": True,
            "layer_types": ["full_attention" if i in (2, 5, 8, 10, 12, 14) else "conv" for i in range(16)],
        },
    ),
    "tiiuae/Falcon-H1-1.5B-Instruct": (
        "falcon_h1",
        {
            "hidden_size": 2048,
            "intermediate_size": 4608,
            "num_hidden_layers": 24,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "head_dim": 128,
            "mamba_d_ssm": 3072,
            "mamba_n_heads": 48,
            "mamba_d_head": 64,
            "mamba_n_groups": 1,
            "mamba_d_state": 256,
            "vocab_size": 65537,
        },
    ),
    "allenai/OLMo-2-1124-7B-Instruct": (
        "olmo2",
        {
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "vocab_size": 100352,
        },
    ),
    "microsoft/phi-4": (
        "phi3",
        {
            "hidden_size": 5120,
            "intermediate_size": 17920,
            "num_hidden_layers": 40,
            "num_attention_heads": 40,
            "num_key_value_heads": 10,
            "vocab_size": 100352,
            "pad_token_id": 0,
            "sliding_window": None,
        },
    ),
}
"""Model types and numbers of config.json on https://huggingface.co by repository."""

ASKED = ((1, 2048), (1, 4096), (3, 2048))
"""Requests and tokens of each."""


class Tracker:
    """Counts the bytes of storages that are alive among the results of operations, and the most there were."""

    def __init__(self, torch: Any, known: Sequence[Any]) -> None:
        from torch.utils._python_dispatch import TorchDispatchMode
        from torch.utils._pytree import tree_leaves

        self.live = {x.untyped_storage()._cdata: 0 for x in known}
        self.now = self.peak = 0
        outer = self

        class Mode(TorchDispatchMode):  # type: ignore[misc]
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                out = func(*args, **(kwargs or {}))
                for x in tree_leaves(out):
                    if isinstance(x, torch.Tensor):
                        outer.add(x.untyped_storage())
                return out

        self.mode = Mode()

    def add(self, storage: Any) -> None:
        """Count a storage from now until it is freed."""
        key = storage._cdata
        if key not in self.live:
            self.live[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.drop, key)

    def drop(self, key: int) -> None:
        """A storage that is gone."""
        self.now -= self.live.pop(key, 0)


def list_cache_tensors(torch: Any, cache: Any) -> Iterator[Any]:
    """Every tensor a cache holds: keys, values, and the states of layers that keep some."""
    for layer in cache.layers:
        for name in ("keys", "values", "indexer_keys"):
            value = getattr(layer, name, None)
            if isinstance(value, torch.Tensor):
                yield value
        for name in ("conv_states", "recurrent_states"):
            for value in (getattr(layer, name, None) or {}).values():
                if isinstance(value, torch.Tensor):
                    yield value


def build_model(model_type: str, numbers: dict[str, Any]) -> Any:
    """A model of the published shape, with fused attention where it has it."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config = CONFIG_MAPPING[model_type](**numbers)
    for attention in ("sdpa", "eager"):
        try:
            return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation=attention).eval()
        except ValueError:
            continue
    raise ValueError(f"{model_type} has neither fused nor plain attention")


def ask_layers(model_id: str) -> Iterator[dict[str, Any]]:
    """Parameters, cache and peak of one model for every pair of ASKED."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers import DynamicCache

    with FakeTensorMode(allow_non_fake_inputs=True):
        model = build_model(*CONFIGS[model_id])
        n_params = sum(p.numel() for p in model.parameters())
        for n_requests, n_tokens in ASKED:
            ids = torch.zeros(n_requests, n_tokens, dtype=torch.long)
            cache = DynamicCache(config=model.config)
            tracker = Tracker(torch, [*model.parameters(), *model.buffers(), ids])
            with torch.no_grad(), tracker.mode:
                model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cached = sum(x.numel() * x.element_size() for x in list_cache_tensors(torch, cache))
            yield {
                "model_id": model_id,
                "attention": model.config._attn_implementation,
                "n_requests": n_requests,
                "n_tokens": n_tokens,
                "n_params": n_params,
                "cache_bytes": cached,
                "peak_less_cache_bytes": tracker.peak - cached,
            }


def ask_device_map(model_id: str, n_cards: int) -> dict[str, Any]:
    """How many layers each of `n_cards` equal cards gets, and which has the embedding and the output head."""
    import torch
    from transformers.integrations import accelerate

    with torch.device("meta"):
        model = build_model(*CONFIGS[model_id])
    model.tie_weights()
    cards: dict[int | str, int | str] = dict.fromkeys(range(n_cards), CARD_BYTES)
    accelerate.get_max_memory = lambda max_memory=None: dict(max_memory or cards)
    balanced = accelerate.get_balanced_memory(model, dict(cards), no_split_module_classes=model._no_split_modules)
    placed = accelerate.infer_auto_device_map(
        model, max_memory=balanced, no_split_module_classes=model._no_split_modules, clean_result=False
    )
    layers = [0] * n_cards
    for i in range(model.config.num_hidden_layers):
        at = {d for name, d in placed.items() if name == f"model.layers.{i}" or name.startswith(f"model.layers.{i}.")}
        layers[at.pop()] += 1
    return {"model_id": model_id, "n_cards": n_cards, "layers": " ".join(map(str, layers))}


def write(path: Path, rows: Sequence[dict[str, Any]], versions: str) -> None:
    """A table with what answered in its last column."""
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, [*rows[0], "asked"], lineterminator="\n")
        out.writeheader()
        out.writerows({**row, "asked": versions} for row in rows)
    print(f"wrote {path.name}: {len(rows)} rows")


def main() -> int:
    """Run the command; its exit status."""
    import accelerate  # type: ignore[import-not-found]
    import torch
    import transformers

    versions = (
        f"transformers {transformers.__version__}, torch {torch.__version__}, accelerate {accelerate.__version__}"
    )
    layers = [row for model_id in CONFIGS for row in ask_layers(model_id)]
    write(GOLDEN / "transformers_layers.csv", layers, versions)
    maps = [ask_device_map(model_id, n) for model_id in CONFIGS for n in (2, 3, 4, 8)]
    write(GOLDEN / "transformers_device_maps.csv", maps, versions)
    return 0


if __name__ == "__main__":
    sys.exit(main())

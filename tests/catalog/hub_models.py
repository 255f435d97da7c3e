"""Repositories for the import's tests: real shapes without weights, and the demonstration model with its weights."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from catalog.gguf_header import load_header
from catalog.models import load_families
from evals.weightless import is_kept_f32, write_weightless_gguf
from sizing.specs import ModelSpec
from sizing.tensors import list_tensors
from tests.catalog.model_hub import ModelFile, ModelRepository

DEMO = Path(__file__).parents[2] / "evals" / "demo" / "weighbridge-demo.gguf"
SMALL = "HuggingFaceTB/SmolLM2-135M-Instruct"
SMALL_CONFIG: Mapping[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rope_theta": 100000,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 49152,
}
"""As published at https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct/blob/main/config.json."""

SMALL_PARAMS = 134_515_008
"""As the Hub states for that repository's safetensors file."""


def find_spec(model_id: str) -> ModelSpec:
    """The shape of a curated model."""
    return next(card.spec for card in load_families() if card.model_id == model_id)


def mix_types(spec: ModelSpec, matrix: str, embedding: str) -> dict[str, str]:
    """A mix no recipe makes: every matrix in one type, the token embedding in another."""
    return {
        t.name: embedding if t.name == "token_embd.weight" else matrix for t in list_tensors(spec) if not is_kept_f32(t)
    }


def make_gguf(spec: ModelSpec, types: Mapping[str, str] | None = None) -> ModelFile:
    """A GGUF file of a shape: its header, then zeros as long as the weights would be."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        n_bytes = write_weightless_gguf(spec, path, types)
        header = load_header(path)
        with path.open("rb") as file:
            return ModelFile(file.read(header.data_offset), n_bytes)


def make_small(repo_id: str = "ada/Small-135M", **changes: object) -> ModelRepository:
    """A fine-tune of a real small model: config.json and a stated number of parameters, no weights."""
    config = {**SMALL_CONFIG, **changes}
    return ModelRepository(
        repo_id,
        {"config.json": json.dumps(config).encode(), "model.safetensors": ModelFile(b"", 269_060_552)},
        card={"license": "apache-2.0", "base_model": SMALL},
        tags=(f"base_model:finetune:{SMALL}",),
        safetensors={"BF16": SMALL_PARAMS},
    )


def make_small_gguf(repo_id: str = "ada/Small-135M-GGUF") -> ModelRepository:
    """The same in two mixes and a split one, beside a projector."""
    spec = find_spec(SMALL)
    return ModelRepository(
        repo_id,
        {
            "small-Q8_0.gguf": make_gguf(spec, mix_types(spec, "q8_0", "q8_0")),
            "small-UD-Q4_K_XL.gguf": make_gguf(spec, mix_types(spec, "q4_0", "q8_0")),
            "mmproj-small-F16.gguf": ModelFile(b"GGUF", 4096),
            "README.md": b"# Small",
        },
        card={"license": "apache-2.0", "base_model": "ada/Small-135M"},
        tags=("base_model:quantized:ada/Small-135M", f"base_model:quantized:{SMALL}"),
        library="gguf",
    )


def make_demo(repo_id: str = "weighbridge/demo-GGUF") -> ModelRepository:
    """The demonstration model, whole: it can be fetched and run."""
    return ModelRepository(
        repo_id, {"weighbridge-demo-F16.gguf": DEMO.read_bytes()}, card={"license": "apache-2.0"}, library="gguf"
    )

"""Tiny models of random weights with real tokenizers, of every shape that shares and forgets in a way of its own.

Weights are scaled so that a token far back still moves the logits: a mistake in what is shared must show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from evals.demo.measure import MODEL_FILE
from evals.demo.vocabulary import USER
from sizing.specs import (
    Attention,
    AttentionKind,
    FeedForward,
    LayerGroup,
    ModelSpec,
    Recurrent,
    RecurrentKind,
)
from sizing.tensors import list_tensors, metadata

N_BPE = 768
WORDS = "the a of and to in is was for on that with as at by from this have not are one two red blue river town".split()
SPM_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    "<turn>{{ m.role }}\n{{ m.content | trim }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
WINDOW = 24


def list_spm_pieces() -> list[tuple[str, float, int]]:
    """Text, score and type of each token of a sentence-piece vocabulary that falls back to bytes."""
    special = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("<turn>", 0.0, 3), ("<end>", 0.0, 3)]
    raw = [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    letters = ["▁", *(chr(c) for c in range(33, 127)), "é", "ü"]
    prefixes = {"▁" + word[:n] for word in WORDS for n in range(1, len(word) + 1)}
    suffixes = {word[n:] for word in WORDS for n in range(1, len(word) - 1)}
    longer = sorted((prefixes | suffixes) - set(letters), key=lambda piece: (len(piece), piece))
    return [*special, *raw, *((piece, -float(i), 1) for i, piece in enumerate([*longer, *letters]))]


def add_spm(writer: Any) -> None:
    pieces = list_spm_pieces()
    writer.add_tokenizer_model("llama")
    writer.add_token_list([piece for piece, _, _ in pieces])
    writer.add_token_scores([score for _, score, _ in pieces])
    writer.add_token_types([kind for _, _, kind in pieces])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(True)
    writer.add_chat_template(SPM_TEMPLATE)


def add_bpe(writer: Any) -> None:
    """The demonstration model's byte-level pairs; here a beginning of text is added."""
    fields = gguf.GGUFReader(MODEL_FILE).fields
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    for name in ("tokens", "token_type", "merges"):
        writer.add_array(f"tokenizer.ggml.{name}", fields[f"tokenizer.ggml.{name}"].contents())
    tokens = fields["tokenizer.ggml.tokens"].contents()
    writer.add_bos_token_id(tokens.index(USER))
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(True)


def make_spec(architecture: str, groups: tuple[LayerGroup, ...], vocab_size: int, **extras: Any) -> ModelSpec:
    return ModelSpec(
        f"tiny/{architecture}",
        architecture,
        architecture,
        groups,
        hidden_dim=64,
        vocab_size=vocab_size,
        context_tokens=512,
        tied_embeddings=architecture in ("gemma3",),
        n_params=1,
        n_active_params=1,
        extras=tuple(extras.items()),
    )


FULL = Attention(AttentionKind.FULL, n_heads=2, n_kv_heads=1, head_dim=32)
DENSE = FeedForward(ffn_dim=96)


def make_llama() -> ModelSpec:
    return make_spec("llama", (LayerGroup((0, 1), FULL, None, DENSE),), len(list_spm_pieces()))


def make_window() -> ModelSpec:
    sliding = replace(FULL, kind=AttentionKind.SLIDING, window_tokens=WINDOW)
    groups = (LayerGroup((0, 1, 3), sliding, None, DENSE), LayerGroup((2,), FULL, None, DENSE))
    return make_spec("gemma3", groups, len(list_spm_pieces()))


def make_hybrid() -> ModelSpec:
    mamba = Recurrent(
        RecurrentKind.MAMBA2,
        conv_kernel=4,
        d_inner=64,
        d_state=16,
        n_groups=1,
        n_heads=2,
        head_dim=32,
        conv_elements=3 * (64 + 2 * 16),
        state_elements=64 * 16,
    )
    spec = make_spec("falcon-h1", (LayerGroup((0, 1), FULL, mamba, DENSE),), N_BPE)
    return replace(spec, extras=(("ssm.norm", False),))


def make_moe() -> ModelSpec:
    experts = FeedForward(n_experts=8, n_active_experts=2, expert_ffn_dim=32)
    return make_spec("qwen3moe", (LayerGroup((0, 1), FULL, None, experts),), N_BPE)


def list_mamba() -> tuple[list[tuple[str, Any]], list[tuple[str, tuple[int, ...]]]]:
    """Keys and tensors of a purely recurrent model (llama-model.cpp, LLM_ARCH_MAMBA)."""
    width, inner, state, rank, conv = 64, 128, 16, 4, 4
    sizes = {"ssm.conv_kernel": conv, "ssm.inner_size": inner, "ssm.state_size": state, "ssm.time_step_rank": rank}
    shape = {"context_length": 512, "embedding_length": width, "block_count": 2, "feed_forward_length": 0}
    keys = [(f"mamba.{k}", v) for k, v in {**shape, **sizes, "attention.head_count": 0}.items()]
    keys.append(("mamba.attention.layer_norm_rms_epsilon", 1e-5))
    tensors: list[tuple[str, tuple[int, ...]]] = [
        ("token_embd.weight", (width, N_BPE)),
        ("output_norm.weight", (width,)),
    ]
    for layer in range(2):
        parts = {
            "attn_norm.weight": (width,),
            "ssm_in.weight": (width, 2 * inner),
            "ssm_conv1d.weight": (conv, inner),
            "ssm_conv1d.bias": (inner,),
            "ssm_x.weight": (inner, rank + 2 * state),
            "ssm_dt.weight": (rank, inner),
            "ssm_dt.bias": (inner,),
            "ssm_a": (state, inner),
            "ssm_d": (inner,),
            "ssm_out.weight": (inner, width),
        }
        tensors += [(f"blk.{layer}.{name}", dims) for name, dims in parts.items()]
    return [("general.architecture", "mamba"), *keys], tensors


def make_values(name: str, shape: tuple[int, ...], chance: np.random.Generator) -> np.ndarray:
    """Values in numpy's order: norms of one, decays that forget slowly, matrices that keep the variance."""
    dims = shape[::-1]
    if "norm" in name and len(shape) == 1:
        values = chance.uniform(0.7, 1.3, dims)
    elif name.endswith("ssm_a"):
        values = -chance.uniform(0.02, 0.3, dims)
    elif name.endswith(("ssm_d", "ssm_dt.bias")):
        values = chance.uniform(0.5, 1.0, dims)
    elif name == "token_embd.weight":
        values = chance.normal(0, 0.35, dims)
    else:
        values = chance.normal(0, 1.3 / np.sqrt(shape[0]), dims)
    return values.astype(np.float32)


def write_model(
    path: Path,
    keys: list[tuple[str, Any]],
    tensors: list[tuple[str, tuple[int, ...]]],
    add_vocabulary: Callable[[Any], None],
) -> None:
    writer = gguf.GGUFWriter(path, dict(keys)["general.architecture"])
    for key, value in keys:
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, tuple):
            writer.add_array(key, list(value))
        elif key != "general.architecture":
            writer.add_string(key, value)
    add_vocabulary(writer)
    chance = np.random.default_rng(5)
    for name, shape in tensors:
        writer.add_tensor(name, make_values(name, shape, chance))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_tiny(kind: str, path: Path) -> None:
    """One of `KINDS`."""
    if kind == "recurrent":
        keys, tensors = list_mamba()
        write_model(path, keys, tensors, add_bpe)
        return
    spec, add = {
        "spm": (make_llama, add_spm),
        "window": (make_window, add_spm),
        "hybrid": (make_hybrid, add_bpe),
        "moe": (make_moe, add_bpe),
    }[kind]
    built = spec()
    write_model(path, list(metadata(built)), [(t.name, t.shape) for t in list_tensors(built)], add)


KINDS = ("spm", "window", "hybrid", "moe", "recurrent")

"""The demonstration model as a GGUF file: its shape, and how its tensors and vocabulary are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from evals.demo.vocabulary import CHAT_TEMPLATE, SPECIALS, Vocabulary


@dataclass(frozen=True, slots=True)
class Shape:
    """The model's widths. Rows are whole blocks of 256 values, so that every K-quantization applies."""

    n_layers: int = 4
    hidden_dim: int = 256
    ffn_dim: int = 512
    n_heads: int = 4
    n_kv_heads: int = 2
    head_dim: int = 64
    vocab_size: int = 768
    context_tokens: int = 512
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5


SHAPE = Shape()


def list_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every tensor's name in the file and its shape, rows first (outputs, inputs)."""
    hidden, q_dim, kv_dim = shape.hidden_dim, shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (shape.vocab_size, hidden)}
    for i in range(shape.n_layers):
        shapes |= {
            f"blk.{i}.attn_norm.weight": (hidden,),
            f"blk.{i}.attn_q.weight": (q_dim, hidden),
            f"blk.{i}.attn_k.weight": (kv_dim, hidden),
            f"blk.{i}.attn_v.weight": (kv_dim, hidden),
            f"blk.{i}.attn_output.weight": (hidden, q_dim),
            f"blk.{i}.ffn_norm.weight": (hidden,),
            f"blk.{i}.ffn_gate.weight": (shape.ffn_dim, hidden),
            f"blk.{i}.ffn_up.weight": (shape.ffn_dim, hidden),
            f"blk.{i}.ffn_down.weight": (hidden, shape.ffn_dim),
        }
    return shapes | {"output_norm.weight": (hidden,), "output.weight": (shape.vocab_size, hidden)}


def write_model(
    path: Path, shape: Shape, vocabulary: Vocabulary, tensors: Mapping[str, npt.NDArray[np.float32]], seed: int
) -> None:
    """Write an F16 file of llama architecture: matrices in half precision, norms in single. Replaces `path`."""
    writer: Any = gguf.GGUFWriter(str(path), "llama")
    writer.add_type("model")
    writer.add_name("Weighbridge Demo")
    writer.add_author("Weighbridge")
    writer.add_license("apache-2.0")
    writer.add_description(f"Trained by evals/demo/train.py on generated text, seed {seed}; see its README.md")
    writer.add_languages(["en"])
    writer.add_block_count(shape.n_layers)
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.hidden_dim)
    writer.add_feed_forward_length(shape.ffn_dim)
    writer.add_head_count(shape.n_heads)
    writer.add_head_count_kv(shape.n_kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(shape.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    add_vocabulary(writer, vocabulary)
    for name, expected in list_shapes(shape).items():
        values = tensors[name]
        if values.shape != expected:
            raise ValueError(f"{name} has shape {values.shape}, wanted {expected}")
        writer.add_tensor(name, values.astype(np.float16 if values.ndim > 1 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    """The tokenizer's metadata. The end of a turn ends generation, starts a text and fills gaps; none is added."""
    n_specials = len(SPECIALS)
    kinds = [gguf.TokenType.CONTROL] * n_specials + [gguf.TokenType.NORMAL] * (len(vocabulary.tokens) - n_specials)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{a} {b}" for a, b in vocabulary.merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)

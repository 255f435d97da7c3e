"""The matrices of a model as its published checkpoint names them, and how tensor parallelism cuts each.

GGUF and the original checkpoints hold the same values under other names. The tensor table (`sizing.tensors`) is the
one list of shapes; this module reads it as engines other than llama.cpp do: which matrix is quantized, which one LoRA
can adapt, what a rank of a tensor-parallel group holds. Rope factors, which no checkpoint stores, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import prod

from sizing.architectures import TensorInfo
from sizing.errors import UnsupportedError
from sizing.specs import Attention, ModelSpec
from sizing.tensors import list_tensors


class Role(StrEnum):
    """What a group of values does, which decides whether engines quantize it."""

    EMBEDDING = "embedding"  # looked up, one row a token
    HEAD = "head"  # the output head, where it is a matrix of its own
    LINEAR = "linear"  # multiplied with every token
    EXPERT = "expert"  # multiplied with the tokens routed to it; all experts of a layer are stacked
    ROUTER = "router"  # chooses experts, always kept in 16 bits
    SMALL = "small"  # norms, biases, convolutions, gates: vectors that nobody quantizes


class Shard(StrEnum):
    """How a tensor-parallel group divides a matrix (Megatron-LM, arXiv:1909.08053, section 3)."""

    COLUMN = "column"  # each rank holds a part of the outputs
    ROW = "row"  # each rank holds a part of the inputs
    VOCAB = "vocab"  # each rank holds a part of the vocabulary
    WHOLE = "whole"  # each rank holds all of it


@dataclass(frozen=True, slots=True)
class Module:
    """Equal matrices of some layers (none named: of the model's ends), `n_stacked` of them in each layer.

    `name` is the last part of its name in the checkpoint, such as 'q_proj'; `tensor` that of its GGUF tensor, such as
    'attn_q' ('attn_q.bias' for a bias). A vector has `n_out` values and `n_in` 1. `kv_out` of the outputs belong to
    `n_kv_heads` heads of keys or values: where there are more ranks than such heads, ranks hold copies.
    """

    name: str
    tensor: str
    role: Role
    shard: Shard
    n_in: int
    n_out: int
    n_stacked: int = 1
    layers: tuple[int, ...] = ()
    kv_out: int = 0
    n_kv_heads: int = 0

    @property
    def count(self) -> int:
        """How many layers hold it, 1 for the model's ends."""
        return len(self.layers) or 1

    @property
    def layer_params(self) -> int:
        """Values in one layer."""
        return self.n_in * self.n_out * self.n_stacked

    @property
    def n_params(self) -> int:
        """Values in the model."""
        return self.layer_params * self.count

    @property
    def is_matrix(self) -> bool:
        """Whether it is multiplied with tokens: what can be quantized or adapted."""
        return self.role in (Role.LINEAR, Role.EXPERT, Role.HEAD, Role.ROUTER)

    def rank_shape(self, n_ranks: int) -> tuple[int, int]:
        """Inputs and outputs of one matrix on one of `n_ranks` ranks, the largest share where they differ."""
        if self.shard is Shard.ROW:
            return -(-self.n_in // n_ranks), self.n_out
        if self.shard is Shard.WHOLE:
            return self.n_in, self.n_out
        kv_ranks = min(n_ranks, self.n_kv_heads) if self.kv_out else 1
        return self.n_in, -(-(self.n_out - self.kv_out) // n_ranks) + -(-self.kv_out // kv_ranks)


_COLUMN = {
    "attn_q": "q_proj",
    "attn_k": "k_proj",
    "attn_v": "v_proj",
    "attn_qkv": "qkv_proj",
    "attn_gate": "g_proj",
    "attn_q_b": "q_b_proj",
    "attn_k_b": "kv_b_proj",
    "attn_v_b": "kv_b_proj",
    "attn_output_a": "wo_a",
    "ffn_gate": "gate_proj",
    "ffn_up": "up_proj",
    "ffn_gate_shexp": "gate_proj",
    "ffn_up_shexp": "up_proj",
    "ssm_in": "in_proj",
    "ssm_ba": "in_proj_ba",
    "ssm_alpha": "in_proj_a",
    "ssm_beta": "in_proj_b",
    "ssm_f_b": "f_b_proj",
    "ssm_g": "g_proj",
    "ssm_g_b": "g_b_proj",
    "shortconv.in_proj": "in_proj",
}
_ROW = {
    "attn_output": "o_proj",
    "attn_output_b": "wo_b",
    "ffn_down": "down_proj",
    "ffn_down_shexp": "down_proj",
    "ssm_out": "out_proj",
    "shortconv.out_proj": "out_proj",
}
_WHOLE = {
    "attn_q_a": "q_a_proj",
    "attn_kv_a_mqa": "kv_a_proj_with_mqa",
    "attn_kv": "wkv",
    "attn_compressor_kv": "wkv",
    "attn_compressor_gate": "wgate",
    "indexer_compressor_kv": "wkv",
    "indexer_compressor_gate": "wgate",
    "indexer.attn_k": "wk",
    "indexer.attn_q_b": "wq_b",
    "indexer.proj": "weights_proj",
    "indexer.k_proj": "k_proj",
    "indexer.q_proj": "q_proj",
    "ssm_f_a": "f_a_proj",
    "ssm_g_a": "g_a_proj",
    "ffn_latent_down": "fc1_latent_proj",
    "ffn_latent_up": "fc2_latent_proj",
    "ffn_routed_down": "routed_down_proj",
    "ffn_routed_up": "routed_up_proj",
    "inp_gate": "per_layer_input_gate",
    "proj": "per_layer_projection",
    "laurel_l": "linear_left",
    "laurel_r": "linear_right",
    "per_layer_model_proj": "per_layer_model_projection",
}
_EXPERTS = {
    "ffn_gate_exps": ("gate_proj", Shard.COLUMN),
    "ffn_up_exps": ("up_proj", Shard.COLUMN),
    "ffn_gate_up_exps": ("gate_up_proj", Shard.COLUMN),
    "ffn_down_exps": ("down_proj", Shard.ROW),
}
_ROUTERS = {"ffn_gate_inp": "gate", "ffn_gate_inp_shexp": "shared_expert_gate"}
_SMALL_MATRICES = frozenset(
    "altup_correct_coef altup_predict_coef altup_proj altup_router altup_unembd_proj attn_compressor_ape "
    "indexer_compressor_ape hc_attn_fn hc_ffn_fn output_hc_fn ffn_gate_tid2eid token_types".split()
)
_LOOKED_UP = {"token_embd": "embed_tokens", "per_layer_token_embd": "embed_tokens_per_layer"}
_NO_CHECKPOINT = ("rope_freqs", "rope_factors_long", "rope_factors_short")

_RENAMED = {
    "phi3": {"ffn_up": "gate_up_proj"},
    "falcon": {
        "attn_qkv": "query_key_value",
        "attn_output": "dense",
        "ffn_up": "dense_h_to_4h",
        "ffn_down": "dense_4h_to_h",
    },
    "gptneox": {
        "attn_qkv": "query_key_value",
        "attn_output": "dense",
        "ffn_up": "dense_h_to_4h",
        "ffn_down": "dense_4h_to_h",
    },
    "nomic-bert": {
        "attn_qkv": "Wqkv",
        "attn_output": "out_proj",
        "ffn_gate": "fc12",
        "ffn_up": "fc11",
        "ffn_down": "fc2",
    },
    "qwen35": {"attn_qkv": "in_proj_qkv", "attn_gate": "in_proj_z"},
    "qwen35moe": {"attn_qkv": "in_proj_qkv", "attn_gate": "in_proj_z"},
    "qwen3next": {"attn_qkv": "in_proj_qkvz", "attn_gate": "in_proj_qkvz"},
    "kimi-k3": {"ssm_beta": "b_proj"},
    "glm5-next": {"ssm_beta": "b_proj"},
    "llama4": {"ffn_gate_inp": "router"},
    "gpt-oss": {"ffn_gate_inp": "router"},
    "lfm2": {"attn_output": "out_proj", "ffn_gate": "w1", "ffn_up": "w3", "ffn_down": "w2"},
    "lfm2moe": {"attn_output": "out_proj", "ffn_gate": "w1", "ffn_up": "w3", "ffn_down": "w2"},
}
"""Names in the checkpoints that are not the common ones, by architecture and GGUF tensor (the modeling_*.py files of
https://github.com/huggingface/transformers/tree/v5.24.0/src/transformers/models). A name that stands twice is one
matrix there that GGUF keeps as two."""

_FUSED_WITH_KV = frozenset({"phi3", "falcon", "gptneox", "nomic-bert"})

_TENSOR = re.compile(r"(?:blk\.(\d+)\.)?(.+?)(?:\.weight)?")


def _split_name(name: str) -> tuple[int | None, str]:
    found = _TENSOR.fullmatch(name)
    if found is None:
        raise UnsupportedError(f"tensor {name!a} has no name that is known here")
    return (None if found[1] is None else int(found[1])), found[2]


def _classify(stem: str, tensor: TensorInfo, architecture: str) -> tuple[str, Role, Shard]:
    """The checkpoint's name, the role and the shard of a tensor. Raises UnsupportedError for one nobody described."""
    name = _RENAMED.get(architecture, {}).get(stem)
    if stem in _LOOKED_UP:
        return _LOOKED_UP[stem], Role.EMBEDDING, Shard.VOCAB
    if stem == "output":
        return "lm_head", Role.HEAD, Shard.VOCAB
    if stem in _EXPERTS:
        plain, shard = _EXPERTS[stem]
        return name or plain, Role.EXPERT, shard
    if stem in _ROUTERS:
        return name or _ROUTERS[stem], Role.ROUTER, Shard.WHOLE
    if len([n for n in tensor.shape if n > 1]) < 2 or "conv1d" in stem or stem.endswith(".conv"):
        return stem, Role.SMALL, Shard.COLUMN if stem.startswith(("ssm_", "shortconv")) else Shard.WHOLE
    for names, shard in ((_COLUMN, Shard.COLUMN), (_ROW, Shard.ROW), (_WHOLE, Shard.WHOLE)):
        if stem in names:
            return name or names[stem], Role.LINEAR, shard
    if stem in _SMALL_MATRICES or stem.endswith((".bias", ".scale", "_norm", "ssm_norm")):
        return stem, Role.SMALL, Shard.WHOLE
    raise UnsupportedError(f"tensor {tensor.name!a} of architecture {architecture!r} has no counterpart known here")


def _find_kv(stem: str, attention: Attention | None, architecture: str, n_out: int) -> tuple[int, int]:
    """How many outputs belong to heads of keys and values, and how many such heads there are."""
    if attention is None or attention.latent is not None or not attention.n_kv_heads:
        return 0, 0
    if stem in ("attn_k", "attn_v"):
        return n_out, attention.n_kv_heads
    if stem == "attn_qkv" and architecture in _FUSED_WITH_KV:
        return attention.n_kv_heads * (attention.head_dim + attention.head_dim_v), attention.n_kv_heads
    return 0, 0


def _describe(spec: ModelSpec, tensor: TensorInfo) -> tuple[int | None, Module]:
    layer, stem = _split_name(tensor.name)
    name, role, shard = _classify(stem, tensor, spec.architecture)
    if role is Role.SMALL:
        return layer, Module(name, stem, role, shard, 1, tensor.n_elements)
    shape, stacked = tensor.shape, 1
    if role is Role.EXPERT:
        shape, stacked = shape[:2], prod(shape[2:])
    elif stem in ("attn_k_b", "attn_v_b"):  # one matrix a head in GGUF, all heads in one matrix in the checkpoint
        rank = shape[1] if stem == "attn_k_b" else shape[0]
        shape = (rank, tensor.n_elements // rank)
    n_in, n_out = shape[0], prod(shape[1:])
    kv_out, n_kv_heads = _find_kv(
        stem, spec.by_layer[layer].attention if layer is not None else None, spec.architecture, n_out
    )
    return layer, Module(name, stem, role, shard, n_in, n_out, stacked, (), kv_out, n_kv_heads)


def _group(spec: ModelSpec) -> Iterator[Module]:
    layers: dict[Module, list[int]] = {}
    for tensor in list_tensors(spec):
        if tensor.name.split(".", 1)[0] in _NO_CHECKPOINT:
            continue
        layer, module = _describe(spec, tensor)
        layers.setdefault(module, []).extend([] if layer is None else [layer])
    for m, of in layers.items():
        yield Module(m.name, m.tensor, m.role, m.shard, m.n_in, m.n_out, m.n_stacked, tuple(of), m.kv_out, m.n_kv_heads)


@lru_cache(maxsize=1024)
def list_modules(spec: ModelSpec) -> tuple[Module, ...]:
    """Every matrix and vector of a model, equal ones of several layers together, in file order.

    Their `n_params` add up to the checkpoint's parameters (a tied head is the embedding and counts once; a vision or
    audio tower is not among them). Raises UnsupportedError for an architecture or a tensor that is not described.
    """
    return tuple(_group(spec))

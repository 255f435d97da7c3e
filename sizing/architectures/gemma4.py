"""Gemma 3n and Gemma 4: sliding windows, layers that borrow keys and values, and embeddings per layer.

Read from llama.cpp's src/models/gemma3n.cpp and gemma4.cpp and from conversion/gemma.py, both at the version
llama-cpp-python 0.3.36 vendors.
"""

from __future__ import annotations

from collections.abc import Iterator

from sizing.architectures.base import (
    Architecture,
    KeyValue,
    Rules,
    TensorInfo,
    find_attention,
    is_windowed,
    list_common_metadata,
    list_decoder_tensors,
    list_dense_ffn,
    list_linear,
    list_model_ends,
    list_norm,
    register,
)
from sizing.architectures.latent import find_extra_number
from sizing.errors import UnsupportedError
from sizing.specs import Attention, LayerGroup, ModelSpec

NORMS = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
LAUREL_RANK = 64
"""Rank of Gemma 3n's augmented residual, fixed in llama.cpp (llama-hparams.h, `laurel_rank`)."""


def _list_layer_embeddings(spec: ModelSpec, width: int) -> Iterator[TensorInfo]:
    """Embeddings of `width` values per token and layer, and the projection of the token embedding beside them."""
    yield TensorInfo("per_layer_token_embd.weight", (width * spec.n_layers, spec.vocab_size))
    yield from list_linear("per_layer_model_proj", spec.hidden_dim, width * spec.n_layers)
    yield from list_norm("per_layer_proj_norm", width)


def _list_layer_input(prefix: str, hidden_dim: int, width: int) -> Iterator[TensorInfo]:
    """How a layer takes its embedding in."""
    yield from list_linear(f"{prefix}inp_gate", hidden_dim, width)
    yield from list_linear(f"{prefix}proj", width, hidden_dim)
    yield from list_norm(f"{prefix}post_norm", hidden_dim)


def _list_window_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    """Which layers see a window, how many at the end borrow keys and values, and the embeddings per layer."""
    yield "attention.sliding_window_pattern", tuple(is_windowed(g) for g in spec.by_layer)
    yield "attention.shared_kv_layers", sum(g.attention is not None and g.attention.shares_kv for g in spec.by_layer)
    yield "embedding_length_per_layer_input", find_extra_number(spec, "embedding_length_per_layer_input")


# ---------------------------------------------------------------- Gemma 3n


def _list_gemma3n_ends(spec: ModelSpec) -> Iterator[TensorInfo]:
    n_streams = find_extra_number(spec, "altup.num_inputs")
    yield from _list_layer_embeddings(spec, find_extra_number(spec, "embedding_length_per_layer_input"))
    for name in ("altup_proj", "altup_unembd_proj"):
        yield TensorInfo(f"{name}.weight", (spec.hidden_dim, spec.hidden_dim, n_streams - 1))


def _list_gemma3n_block(spec: ModelSpec, layer: int, group: LayerGroup) -> Iterator[TensorInfo]:
    """Alternating updates of the residual streams (arXiv:2301.13310) and the low-rank augmented residual."""
    prefix, hidden_dim = f"blk.{layer}.", spec.hidden_dim
    n = find_extra_number(spec, "altup.num_inputs")
    yield from _list_layer_input(prefix, hidden_dim, find_extra_number(spec, "embedding_length_per_layer_input"))
    yield TensorInfo(f"{prefix}altup_correct_coef.weight", (n, n))
    yield TensorInfo(f"{prefix}altup_correct_scale.weight", (hidden_dim,))
    yield TensorInfo(f"{prefix}altup_predict_coef.weight", (n, n * n))
    yield from list_linear(f"{prefix}altup_router", hidden_dim, n)
    yield from list_norm(f"{prefix}altup_router_norm", hidden_dim)
    yield from list_linear(f"{prefix}laurel_l", hidden_dim, LAUREL_RANK)
    yield from list_linear(f"{prefix}laurel_r", LAUREL_RANK, hidden_dim)
    yield from list_norm(f"{prefix}laurel_post_norm", hidden_dim)


_GEMMA3N = Rules(norms=NORMS, qk_norm="head", more_in_block=_list_gemma3n_block, more_in_model=_list_gemma3n_ends)


def _list_gemma3n_tensors(spec: ModelSpec) -> Iterator[TensorInfo]:
    return list_decoder_tensors(spec, _GEMMA3N)


def _list_gemma3n_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    yield from list_common_metadata(spec)
    yield from _list_window_metadata(spec)


register(Architecture("gemma3n", _list_gemma3n_metadata, _list_gemma3n_tensors))


# ---------------------------------------------------------------- Gemma 4


def _list_gemma4_attention(spec: ModelSpec, prefix: str, attention: Attention) -> Iterator[TensorInfo]:
    """Layers that borrow keys and values store projections of their own all the same, unused.

    Some full layers take their values from the keys.
    """
    q_width = attention.n_heads * attention.head_dim
    kv_width = attention.n_kv_heads * attention.head_dim
    yield from list_linear(f"{prefix}attn_q", spec.hidden_dim, q_width)
    yield from list_norm(f"{prefix}attn_q_norm", attention.head_dim)
    yield from list_linear(f"{prefix}attn_output", q_width, spec.hidden_dim)
    yield from list_linear(f"{prefix}attn_k", spec.hidden_dim, kv_width)
    yield from list_norm(f"{prefix}attn_k_norm", attention.head_dim)
    if attention.window_tokens is not None or spec.extra("attention.k_eq_v") is not True:
        yield from list_linear(f"{prefix}attn_v", spec.hidden_dim, kv_width)


def _list_gemma4_experts(spec: ModelSpec, prefix: str, group: LayerGroup) -> Iterator[TensorInfo]:
    """Routed experts beside the dense feed-forward, gate and up stored as one."""
    ffn = group.ffn
    if ffn is None or not ffn.is_moe:
        return
    yield from list_linear(f"{prefix}ffn_gate_inp", spec.hidden_dim, ffn.n_experts)
    yield TensorInfo(f"{prefix}ffn_gate_inp.scale", (spec.hidden_dim,))
    for norm in ("pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"):
        yield from list_norm(prefix + norm, spec.hidden_dim)
    yield TensorInfo(f"{prefix}ffn_gate_up_exps.weight", (spec.hidden_dim, 2 * ffn.expert_ffn_dim, ffn.n_experts))
    yield TensorInfo(f"{prefix}ffn_down_exps.weight", (ffn.expert_ffn_dim, spec.hidden_dim, ffn.n_experts))
    yield TensorInfo(f"{prefix}ffn_down_exps.scale", (ffn.n_experts,))


def _list_gemma4_block(spec: ModelSpec, layer: int, group: LayerGroup) -> Iterator[TensorInfo]:
    prefix = f"blk.{layer}."
    if group.attention is None or group.ffn is None:
        raise UnsupportedError(f"{spec.model_id}: gemma4 wants attention and a feed-forward on every layer")
    for norm in NORMS:
        yield from list_norm(prefix + norm, spec.hidden_dim)
    yield TensorInfo(f"{prefix}layer_output_scale.weight", (1,))
    yield from _list_gemma4_attention(spec, prefix, group.attention)
    yield from list_dense_ffn(prefix, spec.hidden_dim, group.ffn.ffn_dim, "gated")
    yield from _list_gemma4_experts(spec, prefix, group)
    width = find_extra_number(spec, "embedding_length_per_layer_input")
    if width:
        yield from _list_layer_input(prefix, spec.hidden_dim, width)


def _list_gemma4_tensors(spec: ModelSpec) -> Iterator[TensorInfo]:
    """Full layers rotate a part of each head, which the file says as frequency factors for half a head."""
    yield from list_model_ends(spec, Rules())
    yield TensorInfo("rope_freqs.weight", (find_attention(spec).head_dim // 2,))
    width = find_extra_number(spec, "embedding_length_per_layer_input")
    if width:
        yield from _list_layer_embeddings(spec, width)
    for layer, group in enumerate(spec.by_layer):
        yield from _list_gemma4_block(spec, layer, group)


def _list_gemma4_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    windowed = next((g.attention for g in spec.by_layer if g.attention is not None and is_windowed(g)), None)
    if windowed is None:
        raise UnsupportedError(f"{spec.model_id}: gemma4 wants sliding-window layers, got none")
    yield from list_common_metadata(spec)
    yield from _list_window_metadata(spec)
    yield "attention.key_length_swa", windowed.head_dim
    yield "attention.value_length_swa", windowed.head_dim_v
    yield "rope.dimension_count_swa", windowed.head_dim


register(Architecture("gemma4", _list_gemma4_metadata, _list_gemma4_tensors))

"""DeepSeek V4: one shared key per token, compressed further with distance, parallel residual streams, hashed routing.

Read from llama.cpp's src/models/deepseek4.cpp and conversion/deepseek.py at the version llama-cpp-python 0.3.36
vendors. Published files hold the experts in MXFP4; any other recipe is a requantization of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from sizing.architectures.base import (
    Architecture,
    KeyValue,
    Rules,
    TensorInfo,
    list_common_metadata,
    list_ffn,
    list_linear,
    list_model_ends,
    list_norm,
    register,
)
from sizing.architectures.latent import (
    find_extra_number,
    find_indexer,
    list_hyper_connection_metadata,
    list_hyper_connections,
    list_indexer_metadata,
)
from sizing.errors import UnsupportedError
from sizing.specs import Attention, LayerGroup, ModelSpec

SQRT_SOFTPLUS = 4
"""`expert_gating_func` of DeepSeek V4's routers."""


def find_native_table(tensor: TensorInfo) -> str | None:
    """The table that sends token ids to experts holds whole numbers (DeepSeek V4's first layers)."""
    return "i32" if tensor.name.endswith(".ffn_gate_tid2eid.weight") else None


def _list_ends(spec: ModelSpec) -> Iterator[TensorInfo]:
    """The head that folds the residual streams into one."""
    streams = find_extra_number(spec, "hyper_connection.count")
    yield TensorInfo("output_hc_fn.weight", (streams * spec.hidden_dim, streams))
    yield TensorInfo("output_hc_base.weight", (streams,))
    yield TensorInfo("output_hc_scale.weight", (1,))


def find_compress_ratio(spec: ModelSpec, layer: int) -> int:
    """How many tokens DeepSeek V4 folds into one compressed key on this layer: 0 (none), 4 or 128.

    Raises UnsupportedError where the record does not give one for each layer.
    """
    ratios = spec.extra("attention.compress_ratios")
    if not isinstance(ratios, tuple) or len(ratios) < spec.n_layers:
        raise UnsupportedError(f"{spec.model_id}: attention.compress_ratios wants one per layer, got {ratios!r}")
    return int(ratios[layer])


def _list_attention(spec: ModelSpec, prefix: str, attention: Attention) -> Iterator[TensorInfo]:
    """Shared keys and values of one head, low-rank queries, and a grouped low-rank output."""
    q_rank = find_extra_number(spec, "attention.q_lora_rank")
    out_rank = find_extra_number(spec, "attention.output_lora_rank")
    n_out_groups = find_extra_number(spec, "attention.output_group_count")
    q_width = attention.n_heads * attention.head_dim
    yield TensorInfo(f"{prefix}attn_sinks.weight", (attention.n_heads,))
    yield from list_linear(f"{prefix}attn_q_a", spec.hidden_dim, q_rank)
    yield from list_norm(f"{prefix}attn_q_a_norm", q_rank)
    yield from list_linear(f"{prefix}attn_q_b", q_rank, q_width)
    yield from list_linear(f"{prefix}attn_kv", spec.hidden_dim, attention.head_dim)
    yield from list_norm(f"{prefix}attn_kv_a_norm", attention.head_dim)
    yield from list_linear(f"{prefix}attn_output_a", q_width // n_out_groups, out_rank * n_out_groups)
    yield from list_linear(f"{prefix}attn_output_b", n_out_groups * out_rank, spec.hidden_dim)


def _list_compressor(spec: ModelSpec, name: str, head_dim: int, ratio: int, overlap: int) -> Iterator[TensorInfo]:
    """What folds `ratio` tokens into one key; overlapping folds keep two of everything but the norm."""
    width = overlap * head_dim
    yield from list_linear(f"{name}_kv", spec.hidden_dim, width)
    yield from list_linear(f"{name}_gate", spec.hidden_dim, width)
    yield TensorInfo(f"{name}_ape.weight", (width, ratio))
    yield from list_norm(f"{name}_norm", head_dim)


def _list_block(spec: ModelSpec, layer: int, group: LayerGroup) -> Iterator[TensorInfo]:
    prefix = f"blk.{layer}."
    attention, ffn = group.attention, group.ffn
    if attention is None or ffn is None or not ffn.is_moe:
        raise UnsupportedError(f"{spec.model_id}: deepseek4 wants attention and experts on every layer")
    yield from list_norm(f"{prefix}attn_norm", spec.hidden_dim)
    yield from list_norm(f"{prefix}ffn_norm", spec.hidden_dim)
    yield from list_hyper_connections(spec, prefix)
    yield from _list_attention(spec, prefix, attention)
    ratio = find_compress_ratio(spec, layer)
    if ratio:
        yield from _list_compressor(spec, f"{prefix}attn_compressor", attention.head_dim, ratio, 2 if ratio == 4 else 1)
    if ratio == 4:
        indexer = find_indexer(spec)
        q_rank = find_extra_number(spec, "attention.q_lora_rank")
        yield from list_linear(f"{prefix}indexer.proj", spec.hidden_dim, indexer.n_heads)
        yield from list_linear(f"{prefix}indexer.attn_q_b", q_rank, indexer.n_heads * indexer.head_dim)
        yield from _list_compressor(spec, f"{prefix}indexer_compressor", indexer.head_dim, ratio, 2)
    hashed = layer < find_extra_number(spec, "hash_layer_count")
    if hashed:
        yield TensorInfo(f"{prefix}ffn_gate_tid2eid.weight", (ffn.n_active_experts, spec.vocab_size))
    yield from list_ffn(prefix, spec.hidden_dim, ffn, Rules(router_bias="" if hashed else "exp_probs_b"))


def _list_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    """Scales, clamps and the second rope base are DeepSeek V4's published ones; they take no memory."""
    yield from list_common_metadata(spec)
    yield from list_indexer_metadata(spec)
    yield from list_hyper_connection_metadata(spec)
    yield "expert_gating_func", SQRT_SOFTPLUS
    yield "expert_weights_scale", 1.5
    yield "expert_weights_norm", True
    yield "swiglu_clamp_exp", (10.0,) * spec.n_layers
    yield "attention.compress_rope_freq_base", 160_000.0
    yield "embedding_length_out", spec.hidden_dim * find_extra_number(spec, "hyper_connection.count")


def _list_tensors(spec: ModelSpec) -> Iterator[TensorInfo]:
    yield from list_model_ends(spec, Rules())
    yield from _list_ends(spec)
    for layer, group in enumerate(spec.by_layer):
        yield from _list_block(spec, layer, group)


register(Architecture("deepseek4", _list_metadata, _list_tensors, find_native_table))

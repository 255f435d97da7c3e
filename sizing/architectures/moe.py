"""Mixtures of experts over plain attention. Each entry is read from llama.cpp's src/models/<name>.cpp.

Prediction layers (multi-token heads some publishers ship beside the model) are left out: llama.cpp skips them
unless it is asked to draft with them (`load_mtp` in llama_model_params).
"""

from __future__ import annotations

from collections.abc import Iterable

from sizing.architectures.base import (
    KeyValue,
    Rules,
    TensorInfo,
    is_windowed,
    list_linear,
    list_qk_norm,
    register_decoder,
)
from sizing.architectures.dense import list_rope_freqs
from sizing.specs import LayerGroup, ModelSpec


def _list_sinks(spec: ModelSpec, layer: int, group: LayerGroup) -> Iterable[TensorInfo]:
    """One learned sink per head, beside the softmax (gpt-oss)."""
    if group.attention is not None:
        yield TensorInfo(f"blk.{layer}.attn_sinks.weight", (group.attention.n_heads,))


def _list_window_sinks(spec: ModelSpec, layer: int, group: LayerGroup) -> Iterable[TensorInfo]:
    """MiMo-V2 has sinks in its sliding-window layers only (config key `add_swa_attention_sink_bias`)."""
    if is_windowed(group):
        yield from _list_sinks(spec, layer, group)


GLM_LARGE_LAYERS = 92


def _list_glm_norms(spec: ModelSpec, layer: int, group: LayerGroup) -> Iterable[TensorInfo]:
    """GLM-4.5 and its successors of 92 layers norm queries and keys, the Air variant does not (`use_qk_norm`)."""
    if spec.n_layers >= GLM_LARGE_LAYERS and group.attention is not None:
        yield from list_qk_norm(f"blk.{layer}.", group.attention, "head")


def _list_head_gate(spec: ModelSpec, layer: int, group: LayerGroup) -> Iterable[TensorInfo]:
    """Step 3.5 gates every attention head by one value (`g_proj`)."""
    if group.attention is not None:
        yield from list_linear(f"blk.{layer}.attn_gate", spec.hidden_dim, group.attention.n_heads)


def _list_moe_step(spec: ModelSpec) -> Iterable[KeyValue]:
    """Every how many layers there are experts: the first such layer closes the first step."""
    first = next(i for i, g in enumerate(spec.by_layer) if g.ffn is not None and g.ffn.is_moe)
    yield "interleave_moe_layer_step", first + 1


def _list_ernie_keys(spec: ModelSpec) -> Iterable[KeyValue]:
    yield "interleave_moe_layer_step", 1


def _list_cohere_keys(spec: ModelSpec) -> Iterable[KeyValue]:
    yield "logit_scale", 1.0
    yield "leading_dense_block_count", sum(1 for g in spec.by_layer if g.ffn is not None and not g.ffn.is_moe)


def find_native_mxfp4(tensor: TensorInfo) -> str | None:
    """Routed experts published in MXFP4 stay so in every recipe: llama-quantize refuses to requantize them."""
    return "mxfp4" if tensor.name.endswith("_exps.weight") else None


register_decoder("qwen3moe", Rules(qk_norm="head"))
register_decoder("qwen3vlmoe", Rules(qk_norm="head"))
register_decoder("olmoe", Rules(qk_norm="full"))
register_decoder("hunyuan-moe", Rules(qk_norm="head"))
register_decoder("minimax-m2", Rules(qk_norm="full", router_bias="exp_probs_b"))
register_decoder("ernie4_5-moe", Rules(router_bias="exp_probs_b", more_metadata=_list_ernie_keys))
register_decoder("llama4", Rules(more_in_model=list_rope_freqs, more_metadata=_list_moe_step))
register_decoder("cohere2moe", Rules(norms=("attn_norm",), rms=False, more_metadata=_list_cohere_keys))
register_decoder("mimo2", Rules(router_bias="exp_probs_b", more_in_block=_list_window_sinks))
register_decoder("step35", Rules(qk_norm="head", router_bias="exp_probs_b", more_in_block=_list_head_gate))
register_decoder(
    "glm4moe",
    Rules(
        norms=("attn_norm", "post_attention_norm"),
        q_bias=True,
        kv_bias=True,
        router_bias="exp_probs_b",
        more_in_block=_list_glm_norms,
    ),
)
register_decoder(
    "gpt-oss",
    Rules(
        norms=("attn_norm", "post_attention_norm"),
        q_bias=True,
        kv_bias=True,
        out_bias=True,
        expert_bias=True,
        router_weight_bias=True,
        more_in_block=_list_sinks,
        find_native_type=find_native_mxfp4,
    ),
)

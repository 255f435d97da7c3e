"""Attention mixed with recurrence: Qwen3-Next and 3.5, Granite 4 H, Falcon-H1, Nemotron-H, LFM2.

Each table is read from llama.cpp's src/models/<name>.cpp, what the file stores from its converters
(conversion/qwen.py, granite.py, falcon_h1.py, nemotron.py, lfm2.py), both at the version llama-cpp-python 0.3.36
vendors. Prediction layers (`nextn`) are left out: llama.cpp neither needs nor runs them to generate text.
"""

from __future__ import annotations

from collections.abc import Iterator

from sizing.architectures.base import (
    Architecture,
    KeyValue,
    Rules,
    TensorInfo,
    find_attention,
    list_attention,
    list_common_metadata,
    list_ffn,
    list_linear,
    list_model_ends,
    list_norm,
    per_layer,
    register,
)
from sizing.architectures.latent import SIGMOID
from sizing.errors import UnsupportedError
from sizing.specs import Attention, LayerGroup, ModelSpec, Recurrent


def find_recurrent(spec: ModelSpec) -> Recurrent:
    """The recurrence of the first layer that has one; UnsupportedError where none does."""
    for group in spec.by_layer:
        if group.recurrent is not None:
            return group.recurrent
    raise UnsupportedError(f"{spec.model_id}: {spec.architecture} wants recurrent layers, got none")


def list_state_space_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    """Sizes of Mamba-2 and of the gated delta net, which llama.cpp keeps under the same keys."""
    recurrent = find_recurrent(spec)
    yield "ssm.conv_kernel", recurrent.conv_kernel
    yield "ssm.inner_size", recurrent.d_inner
    yield "ssm.state_size", recurrent.d_state
    yield "ssm.time_step_rank", recurrent.n_heads
    yield "ssm.group_count", recurrent.n_groups


def list_hybrid_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    """The common keys; query heads are one number, key heads are 0 where a layer does not attend."""
    yield from list_common_metadata(spec)
    yield "attention.head_count", find_attention(spec).n_heads
    yield "attention.head_count_kv", per_layer([g.attention.n_kv_heads if g.attention else 0 for g in spec.by_layer])


def list_mamba2(prefix: str, hidden_dim: int, recurrent: Recurrent, has_norm: bool = True) -> Iterator[TensorInfo]:
    """A Mamba-2 mixer (arXiv:2405.21060): one input projection for gate, x, B, C and time steps, then a convolution."""
    d_inner, n_heads, n_groups = recurrent.d_inner, recurrent.n_heads, recurrent.n_groups
    conv_dim = d_inner + 2 * n_groups * recurrent.d_state
    yield from list_linear(f"{prefix}ssm_in", hidden_dim, d_inner + conv_dim + n_heads)
    yield from list_linear(f"{prefix}ssm_conv1d", recurrent.conv_kernel, conv_dim, bias=True)
    yield TensorInfo(f"{prefix}ssm_dt.bias", (n_heads,))
    yield TensorInfo(f"{prefix}ssm_a", (1, n_heads))
    yield TensorInfo(f"{prefix}ssm_d", (1, n_heads))
    if has_norm:
        yield TensorInfo(f"{prefix}ssm_norm.weight", (d_inner // n_groups, n_groups))
    yield from list_linear(f"{prefix}ssm_out", d_inner, hidden_dim)


# ---------------------------------------------------------------- Qwen3-Next, Qwen3.5


def _list_gated_attention(prefix: str, hidden_dim: int, attention: Attention) -> Iterator[TensorInfo]:
    """Attention whose query projection also gives a gate as wide as the queries."""
    q_width = attention.n_heads * attention.head_dim
    yield from list_linear(f"{prefix}attn_q", hidden_dim, 2 * q_width)
    yield from list_linear(f"{prefix}attn_k", hidden_dim, attention.n_kv_heads * attention.head_dim)
    yield from list_linear(f"{prefix}attn_v", hidden_dim, attention.n_kv_heads * attention.head_dim_v)
    yield from list_linear(f"{prefix}attn_output", q_width, hidden_dim)
    yield from list_norm(f"{prefix}attn_q_norm", attention.head_dim)
    yield from list_norm(f"{prefix}attn_k_norm", attention.head_dim)


def _list_delta_net(prefix: str, hidden_dim: int, recurrent: Recurrent, fused_decay: bool) -> Iterator[TensorInfo]:
    """A gated delta net (arXiv:2412.06464); `fused_decay`: decay and step share one projection."""
    key_width = recurrent.n_groups * recurrent.d_state
    n_heads, value_width = recurrent.n_heads, recurrent.d_inner
    yield from list_linear(f"{prefix}attn_qkv", hidden_dim, 2 * key_width + value_width)
    yield from list_linear(f"{prefix}attn_gate", hidden_dim, value_width)
    yield from list_linear(f"{prefix}ssm_conv1d", recurrent.conv_kernel, 2 * key_width + value_width)
    yield TensorInfo(f"{prefix}ssm_dt.bias", (n_heads,))
    yield TensorInfo(f"{prefix}ssm_a", (n_heads,))
    if fused_decay:
        yield from list_linear(f"{prefix}ssm_ba", hidden_dim, 2 * n_heads)
    else:
        yield from list_linear(f"{prefix}ssm_beta", hidden_dim, n_heads)
        yield from list_linear(f"{prefix}ssm_alpha", hidden_dim, n_heads)
    yield from list_norm(f"{prefix}ssm_norm", recurrent.d_state)
    yield from list_linear(f"{prefix}ssm_out", value_width, hidden_dim)


def _list_qwen_block(spec: ModelSpec, layer: int, group: LayerGroup) -> Iterator[TensorInfo]:
    prefix = f"blk.{layer}."
    yield from list_norm(f"{prefix}attn_norm", spec.hidden_dim)
    yield from list_norm(f"{prefix}post_attention_norm", spec.hidden_dim)
    if group.attention is not None:
        yield from _list_gated_attention(prefix, spec.hidden_dim, group.attention)
    if group.recurrent is not None:
        yield from _list_delta_net(prefix, spec.hidden_dim, group.recurrent, spec.architecture == "qwen3next")
    if group.ffn is not None:
        yield from list_ffn(prefix, spec.hidden_dim, group.ffn, Rules(shared_expert_gate=True))


def _list_qwen_tensors(spec: ModelSpec) -> Iterator[TensorInfo]:
    yield from list_model_ends(spec, Rules())
    for layer, group in enumerate(spec.by_layer):
        yield from _list_qwen_block(spec, layer, group)


def _list_qwen_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    """Key heads are written as one number here; which layers recur is a list of its own."""
    yield from list_hybrid_metadata(spec)
    yield from list_state_space_metadata(spec)
    yield "attention.head_count_kv", find_attention(spec).n_kv_heads
    yield "attention.recurrent_layers", tuple(g.recurrent is not None for g in spec.by_layer)
    yield "rope.dimension_count", find_attention(spec).head_dim // 4
    if spec.architecture != "qwen3next":
        yield "rope.dimension_sections", (11, 11, 10, 0)


for _name in ("qwen3next", "qwen35", "qwen35moe"):
    register(Architecture(_name, _list_qwen_metadata, _list_qwen_tensors))


# ---------------------------------------------------------------- Granite 4 H, Falcon-H1


def _list_granite_tensors(spec: ModelSpec) -> Iterator[TensorInfo]:
    yield from list_model_ends(spec, Rules())
    for layer, group in enumerate(spec.by_layer):
        prefix = f"blk.{layer}."
        yield from list_norm(f"{prefix}attn_norm", spec.hidden_dim)
        yield from list_norm(f"{prefix}ffn_norm", spec.hidden_dim)
        if group.recurrent is not None:
            yield from list_mamba2(prefix, spec.hidden_dim, group.recurrent)
        if group.attention is not None:
            yield from list_attention(prefix, spec.hidden_dim, group.attention, Rules())
        if group.ffn is not None:
            yield from list_ffn(prefix, spec.hidden_dim, group.ffn, Rules())


def _list_granite_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    yield from list_hybrid_metadata(spec)
    yield from list_state_space_metadata(spec)


register(Architecture("granitehybrid", _list_granite_metadata, _list_granite_tensors))


def _list_falcon_tensors(spec: ModelSpec) -> Iterator[TensorInfo]:
    """Attention and Mamba-2 side by side; some sizes norm the mixer's output (`mamba_rms_norm` in their config).

    The feed-forward norm's name has no `.weight` here.
    """
    yield from list_model_ends(spec, Rules())
    for layer, group in enumerate(spec.by_layer):
        prefix = f"blk.{layer}."
        yield from list_norm(f"{prefix}attn_norm", spec.hidden_dim)
        yield TensorInfo(f"{prefix}ffn_norm", (spec.hidden_dim,))
        if group.recurrent is not None:
            yield from list_mamba2(prefix, spec.hidden_dim, group.recurrent, spec.extra("ssm.norm") is True)
        if group.attention is not None:
            yield from list_attention(prefix, spec.hidden_dim, group.attention, Rules())
        if group.ffn is not None:
            yield from list_ffn(prefix, spec.hidden_dim, group.ffn, Rules())


register(Architecture("falcon-h1", _list_granite_metadata, _list_falcon_tensors))


# ---------------------------------------------------------------- Nemotron-H


def _list_nemotron_experts(spec: ModelSpec, prefix: str, group: LayerGroup) -> Iterator[TensorInfo]:
    """Ungated experts, in a narrower space than the model where the model says so."""
    ffn = group.ffn
    if ffn is None:
        return
    if not ffn.is_moe:
        yield from list_linear(f"{prefix}ffn_up", spec.hidden_dim, ffn.ffn_dim)
        yield from list_linear(f"{prefix}ffn_down", ffn.ffn_dim, spec.hidden_dim)
        return
    latent = spec.extra("moe_latent_size", 0)
    width = latent if isinstance(latent, int) and latent else spec.hidden_dim
    yield from list_linear(f"{prefix}ffn_gate_inp", spec.hidden_dim, ffn.n_experts)
    yield TensorInfo(f"{prefix}exp_probs_b.bias", (ffn.n_experts,))
    if width != spec.hidden_dim:
        yield from list_linear(f"{prefix}ffn_latent_down", spec.hidden_dim, width)
        yield from list_linear(f"{prefix}ffn_latent_up", width, spec.hidden_dim)
    yield TensorInfo(f"{prefix}ffn_down_exps.weight", (ffn.expert_ffn_dim, width, ffn.n_experts))
    yield TensorInfo(f"{prefix}ffn_up_exps.weight", (width, ffn.expert_ffn_dim, ffn.n_experts))
    yield from list_linear(f"{prefix}ffn_down_shexp", ffn.shared_expert_ffn_dim, spec.hidden_dim)
    yield from list_linear(f"{prefix}ffn_up_shexp", spec.hidden_dim, ffn.shared_expert_ffn_dim)


def _list_nemotron_tensors(spec: ModelSpec) -> Iterator[TensorInfo]:
    """One block per layer: a mixer, attention or a feed-forward, each behind one norm."""
    yield from list_model_ends(spec, Rules())
    for layer, group in enumerate(spec.by_layer):
        prefix = f"blk.{layer}."
        yield from list_norm(f"{prefix}attn_norm", spec.hidden_dim)
        if group.recurrent is not None:
            yield from list_mamba2(prefix, spec.hidden_dim, group.recurrent)
        if group.attention is not None:
            yield from list_attention(prefix, spec.hidden_dim, group.attention, Rules())
        yield from _list_nemotron_experts(spec, prefix, group)


def _list_nemotron_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    """A layer without feed-forward width and without key heads is a mixer."""
    yield from _list_granite_metadata(spec)
    yield "attention.layer_norm_epsilon", 1e-5


for _name in ("nemotron_h", "nemotron_h_moe"):
    register(Architecture(_name, _list_nemotron_metadata, _list_nemotron_tensors))


# ---------------------------------------------------------------- LFM2


def _list_lfm2_tensors(spec: ModelSpec) -> Iterator[TensorInfo]:
    """Short convolutions between a few layers of attention; the final norm has a name of its own."""
    rules = Rules(qk_norm="head", router_bias="exp_probs_b")
    yield from list_model_ends(spec, Rules(output_norm=False))
    yield from list_norm("token_embd_norm", spec.hidden_dim)
    for layer, group in enumerate(spec.by_layer):
        prefix = f"blk.{layer}."
        yield from list_norm(f"{prefix}attn_norm", spec.hidden_dim)
        yield from list_norm(f"{prefix}ffn_norm", spec.hidden_dim)
        if group.recurrent is not None:
            yield from list_linear(f"{prefix}shortconv.conv", group.recurrent.conv_kernel, spec.hidden_dim)
            yield from list_linear(f"{prefix}shortconv.in_proj", spec.hidden_dim, 3 * spec.hidden_dim)
            yield from list_linear(f"{prefix}shortconv.out_proj", spec.hidden_dim, spec.hidden_dim)
        if group.attention is not None:
            yield from list_attention(prefix, spec.hidden_dim, group.attention, rules)
        if group.ffn is not None:
            yield from list_ffn(prefix, spec.hidden_dim, group.ffn, rules)


def _list_lfm2_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    yield from list_hybrid_metadata(spec)
    yield "shortconv.l_cache", find_recurrent(spec).conv_kernel
    if spec.is_moe:
        yield "expert_gating_func", SIGMOID


for _name in ("lfm2", "lfm2moe"):
    register(Architecture(_name, _list_lfm2_metadata, _list_lfm2_tensors))

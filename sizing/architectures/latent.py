"""Multi-head latent attention and its relatives: DeepSeek V2 to V3.2, GLM-5, Kimi K3, MiniMax M3, Mistral 4.

Each table is read from llama.cpp's src/models/<name>.cpp, what the file stores from its converters
(conversion/deepseek.py, glm.py, kimi_k3.py, minimax.py), both at the version llama-cpp-python 0.3.36 vendors.
Prediction layers (`nextn`) are left out: llama.cpp neither needs nor runs them to generate text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from sizing.architectures.base import (
    Architecture,
    KeyValue,
    Rules,
    TensorInfo,
    find_attention,
    list_common_metadata,
    list_ffn,
    list_linear,
    list_model_ends,
    list_norm,
    register,
    register_decoder,
)
from sizing.errors import UnsupportedError
from sizing.specs import Attention, Indexer, Latent, LayerGroup, ModelSpec, Recurrent

SIGMOID = 2
"""`expert_gating_func` of routers with a bias per expert (enum llama_expert_gating_func_type, llama-hparams.h)."""

Block = Callable[[ModelSpec, int, LayerGroup], Iterable[TensorInfo]]


def find_extra_number(spec: ModelSpec, key: str) -> int:
    """A whole number among the spec's extras; UnsupportedError, naming the key, where it is missing."""
    value = spec.extra(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UnsupportedError(f"{spec.model_id}: {spec.architecture} wants a whole number for {key}, got {value!r}")
    return value


def find_latent(spec: ModelSpec, attention: Attention) -> Latent:
    """The latent widths of an attention; UnsupportedError where it has none."""
    if attention.latent is None:
        raise UnsupportedError(f"{spec.model_id}: {spec.architecture} wants latent attention, got {attention.name}")
    return attention.latent


def list_latent_attention(prefix: str, spec: ModelSpec, attention: Attention) -> Iterator[TensorInfo]:
    """Compressed queries and keys, with the decompression split in two as absorbed attention wants it."""
    latent = find_latent(spec, attention)
    key_dim = latent.nope_head_dim + latent.rope_head_dim
    if latent.q_lora_rank:
        yield from list_linear(f"{prefix}attn_q_a", spec.hidden_dim, latent.q_lora_rank)
        yield from list_norm(f"{prefix}attn_q_a_norm", latent.q_lora_rank)
        yield from list_linear(f"{prefix}attn_q_b", latent.q_lora_rank, attention.n_heads * key_dim)
    else:
        yield from list_linear(f"{prefix}attn_q", spec.hidden_dim, attention.n_heads * key_dim)
    yield from list_linear(f"{prefix}attn_kv_a_mqa", spec.hidden_dim, latent.kv_lora_rank + latent.rope_head_dim)
    yield from list_norm(f"{prefix}attn_kv_a_norm", latent.kv_lora_rank)
    yield TensorInfo(f"{prefix}attn_k_b.weight", (latent.nope_head_dim, latent.kv_lora_rank, attention.n_heads))
    yield TensorInfo(f"{prefix}attn_v_b.weight", (latent.kv_lora_rank, latent.v_head_dim, attention.n_heads))
    yield from list_linear(f"{prefix}attn_output", attention.n_heads * latent.v_head_dim, spec.hidden_dim)


def list_indexer(prefix: str, spec: ModelSpec, attention: Attention) -> Iterator[TensorInfo]:
    """The lightning indexer of a layer that owns one (DeepSeek V3.2); nothing for a layer that borrows."""
    indexer = attention.indexer
    if indexer is None:
        return
    q_lora_rank = find_latent(spec, attention).q_lora_rank or 0
    yield from list_norm(f"{prefix}indexer.k_norm", indexer.head_dim, bias=True)
    yield from list_linear(f"{prefix}indexer.proj", spec.hidden_dim, indexer.n_heads)
    yield from list_linear(f"{prefix}indexer.attn_k", spec.hidden_dim, indexer.head_dim)
    yield from list_linear(f"{prefix}indexer.attn_q_b", q_lora_rank, indexer.n_heads * indexer.head_dim)


def list_latent_block(spec: ModelSpec, layer: int, group: LayerGroup) -> Iterator[TensorInfo]:
    """A layer of latent attention, with an indexer where it owns one, and its feed-forward."""
    prefix = f"blk.{layer}."
    yield from list_norm(f"{prefix}attn_norm", spec.hidden_dim)
    yield from list_norm(f"{prefix}ffn_norm", spec.hidden_dim)
    if group.attention is not None:
        yield from list_latent_attention(prefix, spec, group.attention)
        yield from list_indexer(prefix, spec, group.attention)
    yield from list_latent_ffn(spec, prefix, group)


def list_latent_ffn(spec: ModelSpec, prefix: str, group: LayerGroup) -> Iterator[TensorInfo]:
    """Dense or routed feed-forward; sigmoid routers carry a bias per expert."""
    rules = Rules(router_bias="exp_probs_b" if spec.extra("expert_gating_func") == SIGMOID else "")
    if group.ffn is not None:
        yield from list_ffn(prefix, spec.hidden_dim, group.ffn, rules)


def list_latent_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    """The common keys as latent attention fills them: one key head as wide as what is cached."""
    attention = find_attention(spec)
    latent = find_latent(spec, attention)
    yield from list_common_metadata(spec)
    yield "attention.head_count", attention.n_heads
    yield "attention.head_count_kv", 1
    yield "attention.key_length", latent.kv_lora_rank + latent.rope_head_dim
    yield "attention.value_length", latent.kv_lora_rank
    yield "attention.key_length_mla", latent.nope_head_dim + latent.rope_head_dim
    yield "attention.value_length_mla", latent.v_head_dim
    yield "attention.kv_lora_rank", latent.kv_lora_rank
    if latent.q_lora_rank:
        yield "attention.q_lora_rank", latent.q_lora_rank
    yield "rope.dimension_count", latent.rope_head_dim


def find_indexer(spec: ModelSpec) -> Indexer:
    """The indexer of the first layer that owns one; UnsupportedError where none does."""
    found = [g.attention.indexer for g in spec.by_layer if g.attention is not None and g.attention.indexer is not None]
    if not found:
        raise UnsupportedError(f"{spec.model_id}: {spec.architecture} wants an indexer, no layer has one")
    return found[0]


def list_indexer_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    """Sizes of the indexer."""
    indexer = find_indexer(spec)
    yield "attention.indexer.head_count", indexer.n_heads
    yield "attention.indexer.key_length", indexer.head_dim
    yield "attention.indexer.top_k", indexer.top_k


def _list_sparse_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    """Latent attention with an indexer: DeepSeek V3.2 and GLM-5, which says per layer who owns one."""
    yield from list_latent_metadata(spec)
    yield from list_indexer_metadata(spec)
    yield "expert_gating_func", SIGMOID
    if spec.architecture == "glm-dsa":
        owns = (g.attention is not None and g.attention.indexer is not None for g in spec.by_layer)
        yield "attention.indexer.types", tuple(owns)


def _register_blocks(
    name: str,
    list_metadata: Callable[[ModelSpec], Iterable[KeyValue]],
    list_block: Block,
    list_more: Callable[[ModelSpec], Iterable[TensorInfo]] = lambda spec: (),
) -> None:
    """Register an architecture by the function that lists one layer."""

    def list_tensors(spec: ModelSpec) -> Iterator[TensorInfo]:
        yield from list_model_ends(spec, Rules())
        yield from list_more(spec)
        for layer, group in enumerate(spec.by_layer):
            yield from list_block(spec, layer, group)

    register(Architecture(name, list_metadata, list_tensors))


_register_blocks("deepseek2", list_latent_metadata, list_latent_block)
_register_blocks("mistral4", list_latent_metadata, list_latent_block)
_register_blocks("deepseek32", _list_sparse_metadata, list_latent_block)
_register_blocks("glm-dsa", _list_sparse_metadata, list_latent_block)


def list_hyper_connections(spec: ModelSpec, prefix: str) -> Iterator[TensorInfo]:
    """Weights that mix the parallel residual streams around attention and feed-forward."""
    streams = find_extra_number(spec, "hyper_connection.count")
    mixes = (2 + streams) * streams
    for part in ("attn", "ffn"):
        yield TensorInfo(f"{prefix}hc_{part}_fn.weight", (streams * spec.hidden_dim, mixes))
        yield TensorInfo(f"{prefix}hc_{part}_base.weight", (mixes,))
        yield TensorInfo(f"{prefix}hc_{part}_scale.weight", (3,))


def list_hyper_connection_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    """Number of residual streams; iterations and epsilon are those of the published configurations."""
    yield "hyper_connection.count", find_extra_number(spec, "hyper_connection.count")
    yield "hyper_connection.sinkhorn_iterations", 20
    yield "hyper_connection.epsilon", 1e-6


def list_kimi_delta(prefix: str, hidden_dim: int, recurrent: Recurrent, full_rank_gate: bool) -> Iterator[TensorInfo]:
    """Kimi delta attention: convolved queries, keys and values, decay, and an output gate of full or low rank."""
    head_dim, n_heads = recurrent.head_dim, recurrent.n_heads
    d_inner = head_dim * n_heads
    for part in ("q", "k", "v"):
        yield TensorInfo(f"{prefix}ssm_conv1d_{part}.weight", (recurrent.conv_kernel, 1, d_inner, 1))
        yield from list_linear(f"{prefix}attn_{part}", hidden_dim, d_inner)
    yield from list_linear(f"{prefix}ssm_f_a", hidden_dim, head_dim)
    yield from list_linear(f"{prefix}ssm_f_b", head_dim, d_inner)
    yield from list_linear(f"{prefix}ssm_beta", hidden_dim, n_heads)
    yield TensorInfo(f"{prefix}ssm_a", (n_heads,))
    yield TensorInfo(f"{prefix}ssm_dt.bias", (d_inner,))
    if full_rank_gate:
        yield from list_linear(f"{prefix}ssm_g", hidden_dim, d_inner)
    else:
        yield from list_linear(f"{prefix}ssm_g_a", hidden_dim, head_dim)
        yield from list_linear(f"{prefix}ssm_g_b", head_dim, d_inner)
    yield from list_norm(f"{prefix}ssm_norm", head_dim)
    yield from list_linear(f"{prefix}attn_output", d_inner, hidden_dim)


def list_kimi_delta_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    """Latent attention on some layers, delta attention on the others: those have no key heads.

    Raises UnsupportedError without delta attention.
    """
    recurrent = next((g.recurrent for g in spec.groups if g.recurrent is not None), None)
    if recurrent is None:
        raise UnsupportedError(f"{spec.model_id}: {spec.architecture} wants recurrent layers, got none")
    yield from list_latent_metadata(spec)
    yield "attention.head_count_kv", tuple(int(g.recurrent is None) for g in spec.by_layer)
    yield "ssm.conv_kernel", recurrent.conv_kernel
    yield "kda.head_dim", recurrent.head_dim
    yield "expert_gating_func", SIGMOID


def _list_glm5_next_block(spec: ModelSpec, layer: int, group: LayerGroup) -> Iterator[TensorInfo]:
    prefix = f"blk.{layer}."
    yield from list_norm(f"{prefix}attn_norm", spec.hidden_dim)
    yield from list_norm(f"{prefix}ffn_norm", spec.hidden_dim)
    yield from list_hyper_connections(spec, prefix)
    if group.recurrent is not None:
        yield from list_kimi_delta(prefix, spec.hidden_dim, group.recurrent, full_rank_gate=False)
    if group.attention is not None:
        yield from list_latent_attention(prefix, spec, group.attention)
        yield from list_indexer(prefix, spec, group.attention)
        if group.attention.indexer is not None:
            head_dim, pool = group.attention.indexer.head_dim, find_extra_number(spec, "attention.indexer.kpool")
            yield from list_linear(f"{prefix}indexer_compressor_gate", spec.hidden_dim, head_dim)
            yield TensorInfo(f"{prefix}indexer_compressor_ape.weight", (head_dim, pool))
    yield from list_latent_ffn(spec, prefix, group)


def _list_glm5_next_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    yield from list_kimi_delta_metadata(spec)
    yield from list_indexer_metadata(spec)
    yield from list_hyper_connection_metadata(spec)


_register_blocks("glm5-next", _list_glm5_next_metadata, _list_glm5_next_block)


def _list_kimi_k3_block(spec: ModelSpec, layer: int, group: LayerGroup) -> Iterator[TensorInfo]:
    prefix = f"blk.{layer}."
    for norm in ("attn_norm", "ffn_norm", "attn_res_score", "ffn_res_score"):
        yield from list_norm(prefix + norm, spec.hidden_dim)
    if group.recurrent is not None:
        yield from list_kimi_delta(prefix, spec.hidden_dim, group.recurrent, full_rank_gate=True)
    if group.attention is not None:
        yield from list_latent_attention(prefix, spec, group.attention)
        latent = find_latent(spec, group.attention)
        yield from list_linear(f"{prefix}attn_gate", spec.hidden_dim, group.attention.n_heads * latent.v_head_dim)
    yield from _list_kimi_k3_ffn(spec, prefix, group)


def _list_kimi_k3_ffn(spec: ModelSpec, prefix: str, group: LayerGroup) -> Iterator[TensorInfo]:
    """Routed experts work in a narrower space than the model; shared experts do not."""
    ffn = group.ffn
    if ffn is None or not ffn.is_moe:
        yield from list_latent_ffn(spec, prefix, group)
        return
    width = find_extra_number(spec, "expert_latent_length")
    yield from list_linear(f"{prefix}ffn_gate_inp", spec.hidden_dim, ffn.n_experts)
    yield TensorInfo(f"{prefix}exp_probs_b.bias", (ffn.n_experts,))
    for name, n_in, n_out in (
        ("ffn_gate_exps", width, ffn.expert_ffn_dim),
        ("ffn_down_exps", ffn.expert_ffn_dim, width),
        ("ffn_up_exps", width, ffn.expert_ffn_dim),
    ):
        yield TensorInfo(f"{prefix}{name}.weight", (n_in, n_out, ffn.n_experts))
    yield from list_linear(f"{prefix}ffn_routed_down", spec.hidden_dim, width)
    yield from list_linear(f"{prefix}ffn_routed_up", width, spec.hidden_dim)
    yield from list_norm(f"{prefix}ffn_routed_norm", width)
    yield from list_linear(f"{prefix}ffn_gate_shexp", spec.hidden_dim, ffn.shared_expert_ffn_dim)
    yield from list_linear(f"{prefix}ffn_down_shexp", ffn.shared_expert_ffn_dim, spec.hidden_dim)
    yield from list_linear(f"{prefix}ffn_up_shexp", spec.hidden_dim, ffn.shared_expert_ffn_dim)


def _list_kimi_k3_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    """Activation constants are those of Kimi K3's configuration; they take no memory."""
    yield from list_kimi_delta_metadata(spec)
    yield "attn_res.block_size", 12
    yield "activation.situ_beta", 4.0
    yield "activation.situ_linear_beta", 25.0


_register_blocks(
    "kimi-k3",
    _list_kimi_k3_metadata,
    _list_kimi_k3_block,
    lambda spec: list_norm("output_res_score", spec.hidden_dim),
)


def _list_block_indexer(spec: ModelSpec, layer: int, group: LayerGroup) -> Iterator[TensorInfo]:
    """MiniMax M3 chooses blocks of keys with projections of its own, straight from the hidden state."""
    if group.attention is None or group.attention.indexer is None:
        return
    indexer, prefix = group.attention.indexer, f"blk.{layer}.indexer."
    yield from list_linear(f"{prefix}q_proj", spec.hidden_dim, indexer.n_heads * indexer.head_dim)
    yield from list_linear(f"{prefix}k_proj", spec.hidden_dim, indexer.head_dim)
    yield from list_norm(f"{prefix}q_norm", indexer.head_dim)
    yield from list_norm(f"{prefix}k_norm", indexer.head_dim)


def _list_block_indexer_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    yield from list_indexer_metadata(spec)
    yield "expert_gating_func", SIGMOID
    yield "attention.indexer.block_size", 128
    yield "attention.indexer.local_blocks", 1


register_decoder(
    "minimax-m3",
    Rules(
        qk_norm="head",
        router_bias="exp_probs_b",
        more_in_block=_list_block_indexer,
        more_metadata=_list_block_indexer_metadata,
    ),
)

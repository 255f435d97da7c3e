"""Dense decoders. Each entry is read from llama.cpp's src/models/<name>.cpp (ggml-org/llama.cpp, MIT)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sizing.architectures.base import (
    KeyValue,
    Rules,
    TensorInfo,
    find_attention,
    list_norm,
    list_qk_norm,
    register_decoder,
)
from sizing.specs import LayerGroup, ModelSpec


def list_rope_freqs(spec: ModelSpec) -> Iterator[TensorInfo]:
    """Llama 3's rope scaling, stored as one factor per pair of rotated values (extra `rope_freqs`)."""
    if spec.extra("rope_freqs"):
        yield TensorInfo("rope_freqs.weight", (find_attention(spec).head_dim // 2,))


def _list_long_rope(spec: ModelSpec) -> Iterator[TensorInfo]:
    """Long and short rope factors, half of the rotated width each (extra `rope_factors`)."""
    if spec.extra("rope_factors"):
        rotated = spec.extra("rope.dimension_count", find_attention(spec).head_dim)
        width = int(rotated) // 2 if isinstance(rotated, int) else 0
        yield TensorInfo("rope_factors_long.weight", (width,))
        yield TensorInfo("rope_factors_short.weight", (width,))


def _list_command_r_norms(spec: ModelSpec, layer: int, group: LayerGroup) -> Iterable[TensorInfo]:
    """Command R+ norms every head of queries and keys; llama.cpp knows it by its 64 layers (command-r.cpp)."""
    if spec.n_layers >= 64 and group.attention is not None:
        yield from list_qk_norm(f"blk.{layer}.", group.attention, "per_head")


def _list_falcon_norm(spec: ModelSpec, layer: int, group: LayerGroup) -> Iterable[TensorInfo]:
    """Falcon 40B and 180B, which have several KV heads, norm attention and feed-forward separately."""
    if group.attention is not None and group.attention.n_kv_heads > 1:
        yield from list_norm(f"blk.{layer}.attn_norm_2", spec.hidden_dim, bias=True)


def _list_logit_scale(spec: ModelSpec) -> Iterable[KeyValue]:
    """A key the loader insists on; its value changes no size."""
    yield "logit_scale", 1.0


def _list_neox_keys(spec: ModelSpec) -> Iterable[KeyValue]:
    yield "use_parallel_residual", True


def _list_bert_keys(spec: ModelSpec) -> Iterable[KeyValue]:
    yield "attention.causal", False
    yield "pooling_type", 1
    yield "tokenizer.ggml.token_type_count", _BERT_TOKEN_TYPES


_BERT_TOKEN_TYPES = 2


def _list_bert_ends(spec: ModelSpec) -> Iterator[TensorInfo]:
    yield TensorInfo("token_types.weight", (spec.hidden_dim, _BERT_TOKEN_TYPES))
    yield from list_norm("token_embd_norm", spec.hidden_dim, bias=True)


def _list_bert_norms(spec: ModelSpec, layer: int, group: LayerGroup) -> Iterable[TensorInfo]:
    for norm in ("attn_output_norm", "layer_output_norm"):
        yield from list_norm(f"blk.{layer}.{norm}", spec.hidden_dim, bias=True)


FOUR_NORMS = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")

# Mixtral is a llama with experts in llama.cpp, so this entry serves both
register_decoder("llama", Rules(more_in_model=list_rope_freqs))
register_decoder("mistral3", Rules())
register_decoder("deci", Rules(more_in_model=list_rope_freqs))
register_decoder("smollm3", Rules())
register_decoder("granite", Rules(more_metadata=_list_logit_scale))
register_decoder("ernie4_5", Rules())
register_decoder("qwen2", Rules(q_bias=True, kv_bias=True))
register_decoder("qwen2vl", Rules(q_bias=True, kv_bias=True))
register_decoder("qwen3", Rules(qk_norm="head"))
register_decoder("qwen3vl", Rules(qk_norm="head"))
register_decoder("hunyuan-dense", Rules(qk_norm="head"))
register_decoder("gemma", Rules())
register_decoder("gemma2", Rules(norms=FOUR_NORMS))
register_decoder("gemma3", Rules(norms=FOUR_NORMS, qk_norm="head"))
register_decoder("phi3", Rules(qkv="fused", ffn="fused", more_in_model=_list_long_rope))
register_decoder("seed_oss", Rules(norms=("attn_norm", "post_attention_norm"), q_bias=True, kv_bias=True))
register_decoder("command-r", Rules(norms=("attn_norm",), rms=False, more_in_block=_list_command_r_norms))
register_decoder("cohere2", Rules(norms=("attn_norm",), rms=False, more_metadata=_list_logit_scale))
register_decoder("olmo", Rules(norms=(), rms=False, output_norm=False))
register_decoder("olmo2", Rules(norms=("post_attention_norm", "post_ffw_norm"), qk_norm="full"))
register_decoder(
    "falcon",
    Rules(
        norms=("attn_norm",),
        rms=False,
        norm_bias=True,
        qkv="fused",
        ffn="plain",
        more_in_block=_list_falcon_norm,
    ),
)
register_decoder(
    "gptneox",
    Rules(
        rms=False,
        norm_bias=True,
        qkv="fused",
        q_bias=True,
        out_bias=True,
        ffn="plain",
        ffn_bias=True,
        more_metadata=_list_neox_keys,
    ),
)
register_decoder(
    "nomic-bert",
    Rules(
        norms=(),
        rms=False,
        output_norm=False,
        output_head=False,
        qkv="fused",
        more_in_model=_list_bert_ends,
        more_in_block=_list_bert_norms,
        more_metadata=_list_bert_keys,
    ),
)

"""The other way round: a config.json as a publisher would write it, from a card of the catalog.

Written from the configuration classes of transformers 5.24.0 (src/transformers/models/*/configuration_*.py) and,
where a model type is not there, from the converters of llama.cpp (conversion/*.py). It shares nothing with the reader
under test: key names and defaults are stated anew. A key whose value is the class's default is left out, as it may be.
"""

from __future__ import annotations

from typing import Any

from catalog.models import ModelCard
from sizing.specs import Attention, AttentionKind, FeedForward, ModelSpec, Recurrent

Config = dict[str, Any]


def build_config(card: ModelCard) -> Config:
    """A config.json of the model, by the architecture's own function."""
    model_type, config = WRITERS[card.spec.architecture](card.spec)
    defaults = DEFAULTS.get(model_type, {})
    kept = {key: value for key, value in config.items() if key not in defaults or defaults[key] != value}
    return {"model_type": model_type, **kept}


# ---------------------------------------------------------------- what the writers share


def full_attention(spec: ModelSpec) -> Attention:
    wide = (AttentionKind.FULL, AttentionKind.LATENT)
    attending = [g.attention for g in spec.by_layer if g.attention is not None]
    return next((a for a in attending if a.kind in wide), attending[0])


def windowed(spec: ModelSpec) -> Attention:
    return next(g.attention for g in spec.by_layer if g.attention is not None and g.attention.window_tokens)


def experts(spec: ModelSpec) -> FeedForward:
    return next(g.ffn for g in spec.by_layer if g.ffn is not None and g.ffn.is_moe)


def dense_width(spec: ModelSpec) -> int:
    return next((g.ffn.ffn_dim for g in spec.by_layer if g.ffn is not None and g.ffn.ffn_dim), 0)


def recurrence(spec: ModelSpec) -> Recurrent:
    return next(g.recurrent for g in spec.by_layer if g.recurrent is not None)


def sparse_layers(spec: ModelSpec) -> list[bool]:
    return [g.ffn is not None and g.ffn.is_moe for g in spec.by_layer]


def layer_types(spec: ModelSpec, recurrent: str = "linear_attention") -> list[str]:
    names = []
    for group in spec.by_layer:
        if group.attention is None:
            names.append(recurrent)
        else:
            windows = {AttentionKind.SLIDING: "sliding_attention", AttentionKind.CHUNKED: "chunked_attention"}
            names.append(windows.get(group.attention.kind, "full_attention"))
    return names


def base(spec: ModelSpec) -> Config:
    attention = full_attention(spec)
    return {
        "num_hidden_layers": spec.n_layers,
        "hidden_size": spec.hidden_dim,
        "num_attention_heads": attention.n_heads,
        "num_key_value_heads": attention.n_kv_heads,
        "vocab_size": spec.vocab_size,
        "max_position_embeddings": spec.context_tokens,
        "tie_word_embeddings": spec.tied_embeddings,
        **rope(spec),
    }


def rope(spec: ModelSpec) -> Config:
    out: Config = {}
    if (theta := spec.extra("rope.freq_base")) is not None:
        out["rope_theta"] = theta
    original = spec.extra("rope.scaling.original_context_length")
    if spec.extra("rope_freqs"):
        out["rope_scaling"] = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": original}
    elif (kind := spec.extra("rope.scaling.type")) in ("yarn", "linear"):
        out["rope_scaling"] = {"type": kind, "factor": spec.extra("rope.scaling.factor")}
        if original is not None:
            out["rope_scaling"]["original_max_position_embeddings"] = original
    return out


def dense(spec: ModelSpec) -> Config:
    return {**base(spec), "intermediate_size": dense_width(spec)}


def with_head_dim(spec: ModelSpec) -> Config:
    return {**dense(spec), "head_dim": full_attention(spec).head_dim}


def latent(spec: ModelSpec) -> Config:
    found = full_attention(spec).latent
    assert found is not None
    return {
        **base(spec),
        "intermediate_size": dense_width(spec) or experts(spec).expert_ffn_dim,
        "kv_lora_rank": found.kv_lora_rank,
        "q_lora_rank": found.q_lora_rank,
        "qk_rope_head_dim": found.rope_head_dim,
        "qk_nope_head_dim": found.nope_head_dim,
        "v_head_dim": found.v_head_dim,
    }


def routed(spec: ModelSpec) -> Config:
    """Experts as DeepSeek's classes and their followers write them."""
    ffn, sparse = experts(spec), sparse_layers(spec)
    out: Config = {
        "n_routed_experts": ffn.n_experts,
        "num_experts_per_tok": ffn.n_active_experts,
        "moe_intermediate_size": ffn.expert_ffn_dim,
        "n_shared_experts": ffn.n_shared_experts,
        "first_k_dense_replace": sparse.index(True),
        "moe_layer_freq": 1,
        "scoring_func": {1: "softmax", 2: "sigmoid", 4: "sqrtsoftplus"}[int(str(spec.extra("expert_gating_func", 1)))],
        "norm_topk_prob": spec.extra("expert_weights_norm") is True,
        "routed_scaling_factor": spec.extra("expert_weights_scale", 1.0),
        "n_group": spec.extra("expert_group_count", 1),
        "topk_group": spec.extra("expert_group_used_count", 1),
    }
    if (count := spec.extra("published_nextn_predict_layers")) is not None:
        out["num_nextn_predict_layers"] = count
    return out


def indexed(spec: ModelSpec) -> Config:
    owners = [g.attention.indexer for g in spec.by_layer if g.attention is not None]
    found = next(i for i in owners if i is not None)
    out: Config = {"index_n_heads": found.n_heads, "index_head_dim": found.head_dim, "index_topk": found.top_k}
    if not all(owners):
        out["indexer_types"] = ["full" if owner else "shared" for owner in owners]
    return out


def qwen_experts(spec: ModelSpec) -> Config:
    ffn = experts(spec)
    return {
        "num_experts": ffn.n_experts,
        "num_experts_per_tok": ffn.n_active_experts,
        "moe_intermediate_size": ffn.expert_ffn_dim,
    }


def delta_net(spec: ModelSpec) -> Config:
    found = recurrence(spec)
    return {
        "head_dim": full_attention(spec).head_dim,
        "layer_types": layer_types(spec),
        "linear_conv_kernel_dim": found.conv_kernel,
        "linear_num_value_heads": found.n_heads,
        "linear_value_head_dim": found.d_inner // found.n_heads,
        "linear_num_key_heads": found.n_groups,
        "linear_key_head_dim": found.d_state,
    }


def mamba(spec: ModelSpec) -> Config:
    found = recurrence(spec)
    return {
        "mamba_n_heads": found.n_heads,
        "mamba_d_head": found.head_dim,
        "mamba_n_groups": found.n_groups,
        "mamba_d_state": found.d_state,
        "mamba_d_conv": found.conv_kernel,
        "mamba_conv_bias": True,
        "mamba_proj_bias": False,
    }


def sections(spec: ModelSpec) -> list[int]:
    found = spec.extra("rope.dimension_sections")
    assert isinstance(found, tuple)
    return [int(n) for n in found if n]


# ---------------------------------------------------------------- one writer an architecture


def write_llama(spec: ModelSpec) -> tuple[str, Config]:
    if spec.is_moe:
        ffn = experts(spec)
        more = {"num_local_experts": ffn.n_experts, "num_experts_per_tok": ffn.n_active_experts}
        return "mixtral", {**base(spec), "intermediate_size": ffn.expert_ffn_dim, **more}
    if full_attention(spec).head_dim * full_attention(spec).n_heads != spec.hidden_dim:
        return "llama", with_head_dim(spec)
    return "llama", dense(spec)


def write_mistral3(spec: ModelSpec) -> tuple[str, Config]:
    return "mistral3", {
        "architectures": ["Mistral3ForConditionalGeneration"],
        "text_config": {"model_type": "ministral3", **with_head_dim(spec)},
        "vision_config": {"model_type": "pixtral"},
    }


def write_deci(spec: ModelSpec) -> tuple[str, Config]:
    n_heads, blocks = full_attention(spec).n_heads, []
    for group in spec.by_layer:
        attention = {"n_heads_in_group": None, "no_op": True, "replace_with_linear": False}
        if group.attention is not None:
            attention |= {"n_heads_in_group": n_heads // group.attention.n_kv_heads, "no_op": False}
        width = group.ffn.ffn_dim if group.ffn else 0
        mult = width * 3 / 2 / spec.hidden_dim
        blocks.append(
            {"attention": attention, "ffn": {"ffn_mult": mult, "no_op": not width, "replace_with_linear": False}}
        )
    config = base(spec) | {"num_key_value_heads": None, "intermediate_size": None, "block_configs": blocks}
    return "nemotron-nas", config


def write_qwen2vl(spec: ModelSpec) -> tuple[str, Config]:
    return "qwen2_vl", {
        **dense(spec),
        "rope_scaling": {"type": "mrope", "mrope_section": sections(spec)},
        "use_sliding_window": False,
        "sliding_window": 32_768,
        "vision_config": {"depth": 32},
    }


def write_qwen3vl(spec: ModelSpec) -> tuple[str, Config]:
    text = {"model_type": "qwen3_vl_text", **with_head_dim(spec), "rope_parameters": {"mrope_section": sections(spec)}}
    return "qwen3_vl", {"text_config": text, "vision_config": {"deepstack_visual_indexes": [8, 16, 24]}}


def write_qwen3vlmoe(spec: ModelSpec) -> tuple[str, Config]:
    text = {**base(spec), "head_dim": full_attention(spec).head_dim, **qwen_experts(spec)}
    return "qwen3_vl_moe", {"text_config": {"model_type": "qwen3_vl_moe_text", **text}, "vision_config": {}}


def write_phi3(spec: ModelSpec) -> tuple[str, Config]:
    config = dense(spec)
    if spec.extra("rope_factors"):
        rotated = int(str(spec.extra("rope.dimension_count", full_attention(spec).head_dim)))
        config["original_max_position_embeddings"] = spec.extra("rope.scaling.original_context_length")
        factors = [1.0] * (rotated // 2)
        config["rope_scaling"] = {"type": "longrope", "long_factor": factors, "short_factor": factors}
        if rotated != full_attention(spec).head_dim:
            config["partial_rotary_factor"] = rotated / full_attention(spec).head_dim
    if (window := spec.extra("attention.sliding_window")) is not None:
        config["sliding_window"] = window
    return "phi3", config


def write_gemma(spec: ModelSpec) -> tuple[str, Config]:
    return "gemma", with_head_dim(spec)


def write_gemma2(spec: ModelSpec) -> tuple[str, Config]:
    caps = {key: spec.extra(key) for key in ("attn_logit_softcapping", "final_logit_softcapping")}
    return "gemma2", {**with_head_dim(spec), **caps, "sliding_window": windowed(spec).window_tokens}


def write_gemma3(spec: ModelSpec) -> tuple[str, Config]:
    window = {"sliding_window": windowed(spec).window_tokens, "sliding_window_pattern": 6}
    return "gemma3_text", {**with_head_dim(spec), **window}


def write_gemma3n(spec: ModelSpec) -> tuple[str, Config]:
    shared = sum(g.attention is not None and g.attention.shares_kv for g in spec.by_layer)
    text = {
        **with_head_dim(spec),
        "intermediate_size": [dense_width(spec)] * spec.n_layers,
        "layer_types": layer_types(spec),
        "sliding_window": windowed(spec).window_tokens,
        "num_kv_shared_layers": shared,
        "hidden_size_per_layer_input": spec.extra("embedding_length_per_layer_input"),
        "altup_num_inputs": spec.extra("altup.num_inputs"),
        "laurel_rank": 64,
    }
    return "gemma3n", {"text_config": {"model_type": "gemma3n_text", **text}, "vision_config": {}, "audio_config": {}}


def write_gemma4(spec: ModelSpec) -> tuple[str, Config]:
    full, window = full_attention(spec), windowed(spec)
    shared = sum(g.attention is not None and g.attention.shares_kv for g in spec.by_layer)
    text = {
        **dense(spec),
        "head_dim": window.head_dim,
        "num_key_value_heads": window.n_kv_heads,
        "global_head_dim": full.head_dim,
        "num_global_key_value_heads": full.n_kv_heads if full.n_kv_heads != window.n_kv_heads else None,
        "attention_k_eq_v": spec.extra("attention.k_eq_v") is True,
        "layer_types": layer_types(spec),
        "sliding_window": window.window_tokens,
        "num_kv_shared_layers": shared,
        "use_double_wide_mlp": len({g.ffn.ffn_dim for g in spec.groups if g.ffn}) > 1,
        "hidden_size_per_layer_input": spec.extra("embedding_length_per_layer_input"),
        "final_logit_softcapping": spec.extra("final_logit_softcapping"),
    }
    if spec.is_moe:
        ffn = experts(spec)
        text |= {"enable_moe_block": True, "num_experts": ffn.n_experts, "top_k_experts": ffn.n_active_experts}
        text["moe_intermediate_size"] = ffn.expert_ffn_dim
    return "gemma4", {"text_config": {"model_type": "gemma4_text", **text}, "vision_config": {}}


def write_granite_hybrid(spec: ModelSpec) -> tuple[str, Config]:
    config = {**base(spec), **mamba(spec), "mamba_expand": 2, "layer_types": layer_types(spec, "mamba")}
    if not spec.is_moe:
        return "granitemoehybrid", {**config, "num_local_experts": 0, "shared_intermediate_size": dense_width(spec)}
    ffn = experts(spec)
    more = {"num_local_experts": ffn.n_experts, "num_experts_per_tok": ffn.n_active_experts}
    more |= {"intermediate_size": ffn.expert_ffn_dim, "shared_intermediate_size": ffn.shared_expert_ffn_dim}
    return "granitemoehybrid", {**config, **more}


def write_falcon_h1(spec: ModelSpec) -> tuple[str, Config]:
    more = {"mamba_d_ssm": recurrence(spec).d_inner, "mamba_rms_norm": spec.extra("ssm.norm"), **mamba(spec)}
    return "falcon_h1", {**with_head_dim(spec), **more}


def write_falcon(spec: ModelSpec) -> tuple[str, Config]:
    config = base(spec) | {"num_kv_heads": full_attention(spec).n_kv_heads, "new_decoder_architecture": True}
    del config["num_key_value_heads"]
    return "falcon", {**config, "ffn_hidden_size": dense_width(spec), "bias": False, "alibi": False}


def write_command_r(spec: ModelSpec) -> tuple[str, Config]:
    config = dense(spec) | {"model_max_length": spec.context_tokens, "max_position_embeddings": 8192}
    return "cohere", {**config, "use_qk_norm": spec.n_layers >= 64}


def write_cohere2(spec: ModelSpec) -> tuple[str, Config]:
    return "cohere2", {**dense(spec), "sliding_window": windowed(spec).window_tokens, "sliding_window_pattern": 4}


def write_cohere2_moe(spec: ModelSpec) -> tuple[str, Config]:
    ffn = experts(spec)
    text = {
        **base(spec),
        "head_dim": full_attention(spec).head_dim,
        "intermediate_size": ffn.expert_ffn_dim,
        "num_experts": ffn.n_experts,
        "num_experts_per_tok": ffn.n_active_experts,
        "num_shared_experts": ffn.n_shared_experts,
        "layer_types": layer_types(spec),
        "sliding_window": windowed(spec).window_tokens,
    }
    return "cohere2_vision", {"text_config": {"model_type": "cohere2_moe", **text}, "vision_config": {}}


def write_olmo2(spec: ModelSpec) -> tuple[str, Config]:
    if all(g.attention is not None and g.attention.window_tokens is None for g in spec.groups):
        return "olmo2", dense(spec)
    return "olmo3", {**dense(spec), "sliding_window": windowed(spec).window_tokens}


def write_olmoe(spec: ModelSpec) -> tuple[str, Config]:
    ffn = experts(spec)
    more = {"num_experts": ffn.n_experts, "num_experts_per_tok": ffn.n_active_experts}
    return "olmoe", {**base(spec), "intermediate_size": ffn.expert_ffn_dim, **more}


def write_gpt_neox(spec: ModelSpec) -> tuple[str, Config]:
    config = dense(spec)
    del config["num_key_value_heads"]
    return "gpt_neox", config


def write_gpt_oss(spec: ModelSpec) -> tuple[str, Config]:
    ffn = experts(spec)
    config = {**base(spec), "head_dim": full_attention(spec).head_dim, "intermediate_size": ffn.expert_ffn_dim}
    more = {"num_local_experts": ffn.n_experts, "num_experts_per_tok": ffn.n_active_experts}
    return "gpt_oss", {**config, **more, "sliding_window": windowed(spec).window_tokens}


def write_glm4_moe(spec: ModelSpec) -> tuple[str, Config]:
    more = {"attention_bias": True, "use_qk_norm": spec.n_layers >= 92}
    return "glm4_moe", {**with_head_dim(spec), **routed(spec), **more}


def write_deepseek2(spec: ModelSpec) -> tuple[str, Config]:
    config = {**latent(spec), **routed(spec)}
    if spec.extra("expert_gating_func") == 1:
        return "deepseek_v2", config
    return "deepseek_v3", config


def write_mistral4(spec: ModelSpec) -> tuple[str, Config]:
    return "mistral3", {"text_config": {"model_type": "mistral4", **latent(spec), **routed(spec)}, "vision_config": {}}


def write_deepseek4(spec: ModelSpec) -> tuple[str, Config]:
    ratios = spec.extra("attention.compress_ratios")
    assert isinstance(ratios, tuple)
    config = {
        **base(spec),
        **routed(spec),
        **indexed(spec),
        "head_dim": full_attention(spec).head_dim,
        "sliding_window": windowed(spec).window_tokens,
        "compress_ratios": list(ratios),
        "q_lora_rank": spec.extra("attention.q_lora_rank"),
        "o_lora_rank": spec.extra("attention.output_lora_rank"),
        "o_groups": spec.extra("attention.output_group_count"),
        "hc_mult": spec.extra("hyper_connection.count"),
        "num_hash_layers": spec.extra("hash_layer_count"),
        "qk_rope_head_dim": spec.extra("rope.dimension_count"),
        "compress_rope_theta": spec.extra("attention.compress_rope_freq_base"),
    }
    return "deepseek_v4", config


def kimi_delta(spec: ModelSpec) -> Config:
    found = recurrence(spec)
    full = [layer + 1 for layer, group in enumerate(spec.by_layer) if group.recurrent is None]
    table = {"full_attn_layers": full, "num_heads": found.n_heads, "head_dim": found.head_dim}
    return {
        **table,
        "short_conv_kernel_size": found.conv_kernel,
        "gate_lower_bound": spec.extra("kda.gate_lower_bound"),
    }


def write_kimi_k3(spec: ModelSpec) -> tuple[str, Config]:
    ffn = experts(spec)
    text = {
        **latent(spec),
        "num_experts": ffn.n_experts,
        "num_experts_per_token": ffn.n_active_experts,
        "moe_intermediate_size": ffn.expert_ffn_dim,
        "num_shared_experts": ffn.n_shared_experts,
        "first_k_dense_replace": sparse_layers(spec).index(True),
        "moe_renormalize": True,
        "moe_router_activation_func": "sigmoid",
        "mla_use_nope": True,
        "linear_attn_config": {**kimi_delta(spec), "use_full_rank_gate": True},
        "routed_expert_hidden_size": spec.extra("expert_latent_length"),
        "attn_res_block_size": spec.extra("attn_res.block_size"),
        "activation_situ_beta": spec.extra("activation.situ_beta"),
        "activation_situ_linear_beta": spec.extra("activation.situ_linear_beta"),
    }
    return "kimi_k3", {"text_config": {"model_type": "kimi_linear", **text}, "vision_config": {}}


def write_glm5_next(spec: ModelSpec) -> tuple[str, Config]:
    text = {
        **latent(spec),
        **routed(spec),
        "index_n_heads": 32,
        "layer_types": layer_types(spec),
        "linear_attn_config": kimi_delta(spec),
        "index_kpool": spec.extra("attention.indexer.kpool"),
        "index_kpool_always_select_tail": spec.extra("attention.indexer.kpool_select_tail"),
        "hc_mult": spec.extra("hyper_connection.count"),
        "hc_eps": spec.extra("hyper_connection.epsilon"),
    }
    return "glm5_next", {"text_config": {"model_type": "glm5_next_text", **text}, "vision_config": {}}


def write_minimax_m2(spec: ModelSpec) -> tuple[str, Config]:
    ffn = experts(spec)
    config = {**base(spec), "head_dim": full_attention(spec).head_dim, "intermediate_size": ffn.expert_ffn_dim}
    more = {"num_local_experts": ffn.n_experts, "num_experts_per_tok": ffn.n_active_experts, "use_qk_norm": True}
    return "minimax_m2", {**config, **more, "scoring_func": "sigmoid", "shared_intermediate_size": 0}


def write_minimax_m3(spec: ModelSpec) -> tuple[str, Config]:
    ffn = experts(spec)
    found = next(g.attention.indexer for g in spec.by_layer if g.attention is not None and g.attention.indexer)
    text = {
        **base(spec),
        "head_dim": full_attention(spec).head_dim,
        "intermediate_size": ffn.expert_ffn_dim,
        "dense_intermediate_size": dense_width(spec),
        "shared_intermediate_size": ffn.shared_expert_ffn_dim,
        "n_shared_experts": ffn.n_shared_experts,
        "num_local_experts": ffn.n_experts,
        "num_experts_per_tok": ffn.n_active_experts,
        "mlp_layer_types": ["sparse" if sparse else "dense" for sparse in sparse_layers(spec)],
        "layer_types": [
            "minimax_m3_sparse" if g.attention is not None and g.attention.indexer else "full_attention"
            for g in spec.by_layer
        ],
        "index_n_heads": found.n_heads,
        "index_head_dim": found.head_dim,
        "index_topk_blocks": found.top_k,
        "num_nextn_predict_layers": spec.extra("published_nextn_predict_layers"),
    }
    return "minimax_m3_vl", {"text_config": {"model_type": "minimax_m3_vl_text", **text}, "vision_config": {}}


def write_mimo2(spec: ModelSpec) -> tuple[str, Config]:
    attention, window, sparse = full_attention(spec), windowed(spec), sparse_layers(spec)
    config = {
        **with_head_dim(spec),
        **routed(spec),
        "n_shared_experts": None,
        "v_head_dim": attention.head_dim_v,
        "hybrid_layer_pattern": [
            int(g.attention is not None and g.attention.window_tokens is not None) for g in spec.by_layer
        ],
        "moe_layer_freq": [int(flag) for flag in sparse],
        "sliding_window": window.window_tokens,
        "swa_num_key_value_heads": window.n_kv_heads,
        "partial_rotary_factor": 0.334,
        "add_swa_attention_sink_bias": True,
    }
    return "mimo_v2_flash", config


def write_step35(spec: ModelSpec) -> tuple[str, Config]:
    attention, window, ffn = full_attention(spec), windowed(spec), experts(spec)
    text = {
        **with_head_dim(spec),
        "num_attention_groups": attention.n_kv_heads,
        "layer_types": layer_types(spec) + ["full_attention"] * 3,
        "sliding_window": window.window_tokens,
        "attention_other_setting": {"num_attention_heads": window.n_heads, "num_attention_groups": window.n_kv_heads},
        "moe_num_experts": ffn.n_experts,
        "moe_top_k": ffn.n_active_experts,
        "moe_intermediate_size": ffn.expert_ffn_dim,
        "share_expert_dim": ffn.shared_expert_ffn_dim,
        "moe_layers_enum": ",".join(str(layer) for layer, flag in enumerate(sparse_layers(spec)) if flag),
        "rope_theta": [5e6] * spec.n_layers,
        "num_nextn_predict_layers": spec.extra("published_nextn_predict_layers"),
    }
    del text["num_key_value_heads"]
    return "step3p7", {"text_config": {"model_type": "step3p5", **text}, "vision_config": {}}


def write_ernie_moe(spec: ModelSpec) -> tuple[str, Config]:
    ffn = experts(spec)
    more = {
        "head_dim": full_attention(spec).head_dim,
        "intermediate_size": dense_width(spec),
        "moe_num_experts": ffn.n_experts,
        "moe_k": ffn.n_active_experts,
        "moe_intermediate_size": ffn.expert_ffn_dim,
        "moe_num_shared_experts": ffn.n_shared_experts,
        "moe_layer_start_index": sparse_layers(spec).index(True),
        "moe_layer_end_index": spec.n_layers - 1,
        "use_bias": False,
        "num_nextn_predict_layers": spec.extra("published_nextn_predict_layers", 0),
    }
    return "ernie4_5_moe", {**base(spec), **more}


def write_hunyuan_moe(spec: ModelSpec) -> tuple[str, Config]:
    ffn, n = experts(spec), spec.n_layers
    more = {
        "head_dim": full_attention(spec).head_dim,
        "intermediate_size": ffn.shared_expert_ffn_dim,
        "num_experts": ffn.n_experts,
        "moe_topk": [ffn.n_active_experts] * n,
        "moe_intermediate_size": [ffn.expert_ffn_dim] * n,
        "num_shared_expert": [ffn.n_shared_experts] * n,
        "use_qk_norm": True,
        "rope_scaling": {"type": "dynamic", "alpha": 1000.0},
    }
    return "hunyuan_v1_moe", {**base(spec), **more}


def lfm(spec: ModelSpec) -> Config:
    return {**base(spec), "layer_types": layer_types(spec, "conv"), "conv_L_cache": recurrence(spec).conv_kernel}


def write_lfm2(spec: ModelSpec) -> tuple[str, Config]:
    """Liquid's files state one and a half times the width, to be adjusted and rounded."""
    config = {**lfm(spec), "block_ff_dim": dense_width(spec) * 3 // 2, "block_auto_adjust_ff_dim": True}
    return "lfm2", {**config, "tie_embedding": config.pop("tie_word_embeddings")}


def write_lfm2_moe(spec: ModelSpec) -> tuple[str, Config]:
    more = {"num_dense_layers": sparse_layers(spec).index(True), "use_expert_bias": True, "norm_topk_prob": True}
    return "lfm2_moe", {**lfm(spec), "intermediate_size": dense_width(spec), **qwen_experts(spec), **more}


def write_nemotron(spec: ModelSpec) -> tuple[str, Config]:
    found, signs = recurrence(spec), []
    for group in spec.by_layer:
        is_moe = group.ffn is not None and group.ffn.is_moe
        signs.append("M" if group.recurrent else "*" if group.attention else "E" if is_moe else "-")
    config = {
        **base(spec),
        "head_dim": full_attention(spec).head_dim,
        "hybrid_override_pattern": "".join(signs),
        "mamba_num_heads": found.n_heads,
        "mamba_head_dim": found.head_dim,
        "n_groups": found.n_groups,
        "ssm_state_size": found.d_state,
        "conv_kernel": found.conv_kernel,
        "intermediate_size": dense_width(spec),
    }
    if spec.is_moe:
        ffn = experts(spec)
        config |= {
            "n_routed_experts": ffn.n_experts,
            "num_experts_per_tok": ffn.n_active_experts,
            "moe_intermediate_size": ffn.expert_ffn_dim,
            "n_shared_experts": ffn.n_shared_experts,
            "moe_shared_expert_intermediate_size": ffn.shared_expert_ffn_dim,
            "moe_latent_size": spec.extra("moe_latent_size"),
        }
    return "nemotron_h", config


def write_llama4(spec: ModelSpec) -> tuple[str, Config]:
    ffn = experts(spec)
    text = {
        **base(spec),
        "head_dim": full_attention(spec).head_dim,
        "intermediate_size": ffn.expert_ffn_dim,
        "intermediate_size_mlp": dense_width(spec) or 16_384,
        "num_local_experts": ffn.n_experts,
        "num_experts_per_tok": ffn.n_active_experts,
        "interleave_moe_layer_step": sparse_layers(spec).index(True) + 1,
        "attention_chunk_size": windowed(spec).window_tokens,
    }
    return "llama4", {"text_config": {"model_type": "llama4_text", **text}, "vision_config": {}}


def write_nomic(spec: ModelSpec) -> tuple[str, Config]:
    """Nomic's own file has the key names of GPT-2, and a context it was not trained on."""
    return "nomic_bert", {
        "architectures": ["NomicBertModel"],
        "n_layer": spec.n_layers,
        "n_embd": spec.hidden_dim,
        "n_head": full_attention(spec).n_heads,
        "n_inner": dense_width(spec),
        "n_positions": 8192,
        "max_trained_positions": 2048,
        "vocab_size": spec.vocab_size,
        "activation_function": "swiglu",
        "qkv_proj_bias": False,
        "type_vocab_size": 2,
    }


WRITERS = {
    "llama": write_llama,
    "mistral3": write_mistral3,
    "mistral4": write_mistral4,
    "deci": write_deci,
    "smollm3": lambda spec: ("smollm3", dense(spec)),
    "granite": lambda spec: ("granite", dense(spec)),
    "ernie4_5": lambda spec: ("ernie4_5", with_head_dim(spec)),
    "qwen2": lambda spec: ("qwen2", dense(spec)),
    "qwen2vl": write_qwen2vl,
    "qwen3": lambda spec: ("qwen3", with_head_dim(spec)),
    "qwen3vl": write_qwen3vl,
    "hunyuan-dense": lambda spec: ("hunyuan_v1_dense", with_head_dim(spec)),
    "gemma": write_gemma,
    "gemma2": write_gemma2,
    "gemma3": write_gemma3,
    "gemma3n": write_gemma3n,
    "gemma4": write_gemma4,
    "phi3": write_phi3,
    "seed_oss": lambda spec: ("seed_oss", {**with_head_dim(spec), "attention_bias": True, "attention_out_bias": False}),
    "command-r": write_command_r,
    "cohere2": write_cohere2,
    "cohere2moe": write_cohere2_moe,
    "olmo": lambda spec: ("olmo", dense(spec)),
    "olmo2": write_olmo2,
    "olmoe": write_olmoe,
    "falcon": write_falcon,
    "falcon-h1": write_falcon_h1,
    "gptneox": write_gpt_neox,
    "gpt-oss": write_gpt_oss,
    "nomic-bert": write_nomic,
    "qwen3moe": lambda spec: (
        "qwen3_moe",
        {**base(spec), "head_dim": full_attention(spec).head_dim, **qwen_experts(spec)},
    ),
    "qwen3vlmoe": write_qwen3vlmoe,
    "qwen3next": lambda spec: (
        "qwen3_next",
        {
            **base(spec),
            **delta_net(spec),
            **qwen_experts(spec),
            "shared_expert_intermediate_size": experts(spec).shared_expert_ffn_dim,
        },
    ),
    "qwen35": lambda spec: (
        "qwen3_5",
        {"text_config": {"model_type": "qwen3_5_text", **dense(spec), **delta_net(spec), **mrope(spec)}},
    ),
    "qwen35moe": lambda spec: (
        "qwen3_5_moe",
        {
            "text_config": {
                "model_type": "qwen3_5_moe_text",
                **base(spec),
                **delta_net(spec),
                **qwen_experts(spec),
                **mrope(spec),
                "shared_expert_intermediate_size": experts(spec).shared_expert_ffn_dim,
            }
        },
    ),
    "hunyuan-moe": write_hunyuan_moe,
    "minimax-m2": write_minimax_m2,
    "minimax-m3": write_minimax_m3,
    "ernie4_5-moe": write_ernie_moe,
    "llama4": write_llama4,
    "mimo2": write_mimo2,
    "step35": write_step35,
    "glm4moe": write_glm4_moe,
    "granitehybrid": write_granite_hybrid,
    "nemotron_h": write_nemotron,
    "nemotron_h_moe": write_nemotron,
    "lfm2": write_lfm2,
    "lfm2moe": write_lfm2_moe,
    "deepseek2": write_deepseek2,
    "deepseek32": lambda spec: ("deepseek_v32", {**latent(spec), **routed(spec), **indexed(spec)}),
    "glm-dsa": lambda spec: ("glm_moe_dsa", {**latent(spec), **routed(spec), **indexed(spec)}),
    "deepseek4": write_deepseek4,
    "glm5-next": write_glm5_next,
    "kimi-k3": write_kimi_k3,
}


def mrope(spec: ModelSpec) -> Config:
    table: Config = {"mrope_section": sections(spec), "partial_rotary_factor": 0.25, "rope_type": "default"}
    if (theta := spec.extra("rope.freq_base")) is not None:
        table["rope_theta"] = theta
    return {"rope_parameters": table}


# What the classes fill in, as far as the writers above state it; transformers 5.24.0, one class a line.
DEFAULTS: dict[str, Config] = {
    "mistral": {"num_key_value_heads": 8, "tie_word_embeddings": False},
    "llama": {"tie_word_embeddings": False},
    "mixtral": {
        "num_key_value_heads": 8,
        "tie_word_embeddings": False,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    },
    "qwen2": {"tie_word_embeddings": False},
    "qwen3": {"tie_word_embeddings": False, "head_dim": 128},
    "qwen3_moe": {
        "tie_word_embeddings": False,
        "num_key_value_heads": 4,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
    },
    "qwen3_next": {
        "tie_word_embeddings": False,
        "head_dim": 256,
        "num_key_value_heads": 2,
        "num_experts": 512,
        "num_experts_per_tok": 10,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
    },
    "gemma": {"tie_word_embeddings": True, "head_dim": 256, "num_key_value_heads": 16, "max_position_embeddings": 8192},
    "gemma2": {
        "tie_word_embeddings": True,
        "head_dim": 256,
        "num_key_value_heads": 4,
        "max_position_embeddings": 8192,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    "gemma3_text": {
        "tie_word_embeddings": True,
        "head_dim": 256,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 262_208,
        "max_position_embeddings": 131_072,
        "sliding_window_pattern": 6,
    },
    "phi3": {"tie_word_embeddings": False, "max_position_embeddings": 4096},
    "granite": {"tie_word_embeddings": False},
    "granitemoehybrid": {"tie_word_embeddings": False, "mamba_n_groups": 1, "mamba_d_conv": 4, "mamba_expand": 2},
    "falcon_h1": {"tie_word_embeddings": False, "mamba_n_groups": 1, "mamba_d_conv": 4, "mamba_d_state": 256},
    "falcon": {"bias": False, "alibi": False, "max_position_embeddings": 2048},
    "cohere": {"tie_word_embeddings": True, "max_position_embeddings": 8192, "use_qk_norm": False},
    "cohere2": {"tie_word_embeddings": True, "sliding_window": 4096, "sliding_window_pattern": 4},
    "olmo": {"tie_word_embeddings": False},
    "olmo2": {"tie_word_embeddings": False},
    "olmo3": {"tie_word_embeddings": False, "sliding_window": 4096},
    "olmoe": {
        "tie_word_embeddings": False,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "max_position_embeddings": 4096,
    },
    "gpt_neox": {"tie_word_embeddings": False},
    "gpt_oss": {
        "tie_word_embeddings": False,
        "head_dim": 64,
        "num_key_value_heads": 8,
        "sliding_window": 128,
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "max_position_embeddings": 131_072,
    },
    "glm4_moe": {
        "tie_word_embeddings": False,
        "num_key_value_heads": 8,
        "n_routed_experts": 128,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 1408,
        "first_k_dense_replace": 1,
        "norm_topk_prob": True,
        "scoring_func": "sigmoid",
        "use_qk_norm": False,
    },
    "deepseek_v2": {
        "tie_word_embeddings": False,
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 128,
        "v_head_dim": 128,
        "n_shared_experts": 2,
        "norm_topk_prob": False,
        "scoring_func": "softmax",
    },
    "deepseek_v3": {
        "tie_word_embeddings": False,
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 128,
        "v_head_dim": 128,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 2048,
        "first_k_dense_replace": 3,
        "norm_topk_prob": True,
        "scoring_func": "sigmoid",
        "routed_scaling_factor": 2.5,
        "n_group": 8,
        "topk_group": 4,
    },
    "deepseek_v32": {"index_n_heads": 64, "index_head_dim": 128, "index_topk": 2048, "tie_word_embeddings": False},
    "deepseek_v4": {
        "num_key_value_heads": 1,
        "head_dim": 512,
        "sliding_window": 128,
        "hc_mult": 4,
        "scoring_func": "sqrtsoftplus",
        "norm_topk_prob": True,
        "index_n_heads": 64,
        "index_head_dim": 128,
        "num_hash_layers": 3,
        "tie_word_embeddings": False,
    },
    "glm_moe_dsa": {
        "tie_word_embeddings": False,
        "kv_lora_rank": 512,
        "q_lora_rank": 2048,
        "qk_nope_head_dim": 192,
        "v_head_dim": 256,
        "index_n_heads": 32,
        "first_k_dense_replace": 3,
    },
    "minimax_m2": {"num_key_value_heads": 8, "head_dim": 128, "num_local_experts": 256, "num_experts_per_tok": 8},
    "mimo_v2_flash": {"num_key_value_heads": 4, "head_dim": 192, "v_head_dim": 128, "n_routed_experts": 256},
    "ernie4_5": {"tie_word_embeddings": True, "head_dim": 128, "num_key_value_heads": 2},
    "ernie4_5_moe": {"tie_word_embeddings": True, "num_key_value_heads": 4, "moe_num_experts": 64, "moe_k": 6},
    "hunyuan_v1_dense": {"tie_word_embeddings": False},
    "hunyuan_v1_moe": {"tie_word_embeddings": False},
    "seed_oss": {"tie_word_embeddings": False, "head_dim": 128, "num_key_value_heads": 8, "attention_bias": True},
    "smollm3": {"tie_word_embeddings": True, "num_key_value_heads": 4},
    "lfm2": {"tie_embedding": True, "num_key_value_heads": 8, "conv_L_cache": 3, "max_position_embeddings": 128_000},
    "lfm2_moe": {"tie_word_embeddings": True, "num_experts": 32, "num_experts_per_tok": 4, "num_dense_layers": 2},
    "nemotron_h": {"tie_word_embeddings": False, "num_key_value_heads": 8, "head_dim": 128, "n_groups": 8},
}

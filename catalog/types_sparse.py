"""Model types of the Hub with experts or latent attention. See `catalog.config_types`."""

from __future__ import annotations

from catalog import config_experts, config_parts
from catalog.config_kinds import (
    HEADS,
    RATIO,
    RATIO_GQA8,
    RATIO_MHA,
    UNBIASED,
    UNBIASED_ALL,
    ModelType,
    Values,
    make_dense,
)
from catalog.config_shapes import (
    Part,
    deepseek_moe,
    note_window,
    plain_moe,
    qwen_moe,
    read_ffn,
    read_gating,
    read_indexer,
    read_kimi_delta,
    read_latent,
    read_rope,
    read_widths,
    refuse_llama3_rope,
    windows,
)
from catalog.types_dense import COHERE_ENDS

_QWEN_EXPERTS: Values = {"num_experts_per_tok": 8, "num_experts": 128, "decoder_sparse_step": 1}
QWEN3_MOE = ModelType(
    "qwen3moe",
    "qwen3_moe",
    (read_widths, qwen_moe, read_rope, refuse_llama3_rope),
    {"num_key_value_heads": 4, "head_dim": RATIO, "moe_intermediate_size": 768, **_QWEN_EXPERTS},
    UNBIASED,
)
QWEN3_VL_MOE = ModelType(
    "qwen3vlmoe",
    "qwen3_vl_moe",
    (read_widths, qwen_moe, read_rope, refuse_llama3_rope, config_parts.qwen3_vl),
    {
        "num_key_value_heads": 16,
        "head_dim": RATIO,
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 1408,
        "decoder_sparse_step": 1,
    },
    UNBIASED,
)

COHERE2_MOE = ModelType(
    "cohere2moe",
    "cohere2_moe",
    (read_widths, read_rope, refuse_llama3_rope, config_experts.cohere2_windows, config_experts.cohere2_moe),
    {
        "num_key_value_heads": HEADS,
        "head_dim": 128,
        **COHERE_ENDS,
        "sliding_window": 4096,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "num_shared_experts": 0,
        "first_k_dense_replace": 0,
        "prefix_dense_sliding_window_pattern": 1,
        "sliding_window_pattern": 4,
    },
    UNBIASED,
)

OLMOE = ModelType(
    "olmoe",
    "olmoe",
    (read_widths, plain_moe, read_rope, refuse_llama3_rope),
    {**RATIO_MHA, "num_experts": 64, "num_experts_per_tok": 8, "max_position_embeddings": 4096},
    UNBIASED,
)
MIXTRAL = ModelType(
    "llama",
    "mixtral",
    (read_widths, plain_moe, read_rope, note_window),
    {**RATIO_GQA8, "num_local_experts": 8, "num_experts_per_tok": 2},
)
GPT_OSS = ModelType(
    "gpt-oss",
    "gpt_oss",
    (read_widths, plain_moe, read_rope, refuse_llama3_rope, windows(2)),
    {
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131_072,
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "sliding_window": 128,
        "attention_bias": True,
    },
    {"attention_bias": True},
)

# A router of DeepSeek V3 and its followers is a sigmoid with a bias per expert (modeling code of the same folders).
_SIGMOID: Values = {"scoring_func": "sigmoid", "norm_topk_prob": True}
GLM4_MOE = ModelType(
    "glm4moe",
    "glm4_moe",
    (read_widths, read_ffn, deepseek_moe, read_gating, read_rope, refuse_llama3_rope, config_experts.glm4_moe),
    {
        "num_key_value_heads": 8,
        "head_dim": RATIO,
        "partial_rotary_factor": 0.5,
        "moe_intermediate_size": 1408,
        "num_experts_per_tok": 8,
        "n_shared_experts": 1,
        "n_routed_experts": 128,
        "first_k_dense_replace": 1,
        **_SIGMOID,
    },
    {"attention_bias": True},
)

_LATENT_PARTS: tuple[Part, ...] = (
    read_widths,
    read_ffn,
    read_latent,
    deepseek_moe,
    read_gating,
    read_rope,
    refuse_llama3_rope,
)
_LATENT: Values = {"num_key_value_heads": HEADS, "head_dim": 64, "kv_lora_rank": 512, "qk_rope_head_dim": 64}
DEEPSEEK_V2 = ModelType(
    "deepseek2",
    "deepseek_v2",
    _LATENT_PARTS,
    {
        **_LATENT,
        "qk_nope_head_dim": 128,
        "v_head_dim": 128,
        "q_lora_rank": 1536,
        "n_routed_experts": 64,
        "n_shared_experts": 2,
        "first_k_dense_replace": 0,
        "moe_intermediate_size": 1407,
    },
    UNBIASED_ALL,
)
_DEEPSEEK_V3_DEFAULTS: Values = {
    **_LATENT,
    **_SIGMOID,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "q_lora_rank": 1536,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "moe_intermediate_size": 2048,
    "n_group": 8,
    "topk_group": 4,
    "routed_scaling_factor": 2.5,
}
DEEPSEEK_V3 = ModelType("deepseek2", "deepseek_v3", _LATENT_PARTS, _DEEPSEEK_V3_DEFAULTS, UNBIASED_ALL)
_SPARSE: Values = {"index_topk": 2048, "index_head_dim": 128}
DEEPSEEK_V32 = ModelType(
    "deepseek32",
    "deepseek_v32",
    (*_LATENT_PARTS, read_indexer),
    {**_DEEPSEEK_V3_DEFAULTS, **_SPARSE, "index_n_heads": 64},
    UNBIASED_ALL,
)
GLM4_MOE_LITE = ModelType(
    "deepseek2",
    "glm4_moe_lite",
    _LATENT_PARTS,
    {
        **_LATENT,
        **_SIGMOID,
        "qk_nope_head_dim": 192,
        "v_head_dim": 256,
        "q_lora_rank": 768,
        "n_routed_experts": 64,
        "n_shared_experts": 1,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 1536,
        "first_k_dense_replace": 1,
        "routed_scaling_factor": 1.8,
        "max_position_embeddings": 202_752,
    },
    UNBIASED,
)
GLM_DSA = ModelType(
    "glm-dsa",
    "glm_moe_dsa",
    (*_LATENT_PARTS, read_indexer),
    {
        **_LATENT,
        **_SIGMOID,
        **_SPARSE,
        "qk_nope_head_dim": 192,
        "v_head_dim": 256,
        "q_lora_rank": 2048,
        "index_n_heads": 32,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 2048,
        "first_k_dense_replace": 3,
        "routed_scaling_factor": 2.5,
        "max_position_embeddings": 202_752,
    },
    UNBIASED_ALL,
)
MISTRAL4 = ModelType(
    "mistral4",
    "mistral4",
    _LATENT_PARTS,
    {
        **_LATENT,
        "kv_lora_rank": 256,
        "qk_nope_head_dim": 64,
        "v_head_dim": 128,
        "q_lora_rank": 1024,
        "n_routed_experts": 128,
        "n_shared_experts": 1,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 2048,
        "intermediate_size": 12_288,
        "first_k_dense_replace": 0,
        "norm_topk_prob": True,
        "max_position_embeddings": 1_048_576,
    },
    UNBIASED,
)
DEEPSEEK_V4 = ModelType(
    "deepseek4",
    "deepseek_v4",
    (read_widths, read_gating, read_rope, refuse_llama3_rope, config_experts.deepseek4),
    {
        "num_key_value_heads": 1,
        "head_dim": 512,
        "scoring_func": "sqrtsoftplus",
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.5,
        "qk_rope_head_dim": 64,
        "sliding_window": 128,
        "hc_mult": 4,
        "num_hash_layers": 3,
        "n_shared_experts": 1,
        "index_n_heads": 64,
        "index_head_dim": 128,
        "index_topk": 512,
    },
    UNBIASED_ALL,
)
KIMI_K3 = ModelType(
    "kimi-k3",
    "the publisher's configuration_kimi_k3.py as conversion/kimi_k3.py of llama.cpp reads it",
    (
        read_widths,
        read_ffn,
        read_latent,
        deepseek_moe,
        read_gating,
        read_rope,
        refuse_llama3_rope,
        read_kimi_delta,
        config_experts.kimi_k3,
    ),
    {"num_key_value_heads": HEADS, "head_dim": 64, "scoring_func": "sigmoid", "first_k_dense_replace": 1},
    {**UNBIASED, "mla_use_nope": True},
)
GLM5_NEXT = ModelType(
    "glm5-next",
    "glm5_next",
    (
        read_widths,
        read_ffn,
        read_latent,
        deepseek_moe,
        read_gating,
        read_kimi_delta,
        read_indexer,
        config_experts.glm5_next,
    ),
    {
        "num_key_value_heads": HEADS,
        "head_dim": 64,
        **_SIGMOID,
        **_SPARSE,
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "qk_rope_head_dim": 0,
        "qk_nope_head_dim": 256,
        "v_head_dim": 256,
        "index_n_heads": 32,
        "index_kpool": 16,
        "index_kpool_always_select_tail": True,
        "hc_mult": 4,
        "hc_sinkhorn_iters": 20,
        "n_routed_experts": 288,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 2048,
        "first_k_dense_replace": 3,
        "routed_scaling_factor": 2.5,
        "max_position_embeddings": 1_048_576,
    },
    UNBIASED,
)

MINIMAX_M2 = ModelType(
    "minimax-m2",
    "minimax_m2",
    (read_widths, plain_moe, read_gating, read_rope, refuse_llama3_rope),
    {
        "num_key_value_heads": 8,
        "head_dim": 128,
        "num_local_experts": 256,
        "num_experts_per_tok": 8,
        "scoring_func": "sigmoid",
        "use_qk_norm": True,
    },
    {"use_qk_norm": True},
)
MINIMAX_M3 = ModelType(
    "minimax-m3",
    "minimax_m3_vl",
    (read_widths, read_gating, config_experts.minimax_m3, read_rope, refuse_llama3_rope),
    {
        "num_key_value_heads": 4,
        "head_dim": 128,
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "n_shared_experts": 1,
        "intermediate_size": 3072,
        "dense_intermediate_size": 12_288,
        "shared_intermediate_size": 3072,
        "first_k_dense_replace": 0,
        "rotary_dim": 64,
        "index_n_heads": 4,
        "index_head_dim": 128,
        "index_block_size": 128,
        "index_topk_blocks": 16,
        "index_local_blocks": 1,
        "routed_scaling_factor": 2.0,
        "max_position_embeddings": 524_288,
        **_SIGMOID,
    },
)
MIMO2 = ModelType(
    "mimo2",
    "mimo_v2_flash",
    (read_widths, read_ffn, read_gating, read_rope, refuse_llama3_rope, config_experts.mimo2),
    {
        "num_key_value_heads": 4,
        "head_dim": 192,
        "v_head_dim": 128,
        "n_routed_experts": 256,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 2048,
        "first_k_dense_replace": 1,
        "add_swa_attention_sink_bias": True,
        **_SIGMOID,
    },
    {**UNBIASED, "add_swa_attention_sink_bias": True, "add_full_attention_sink_bias": False},
)
STEP35 = ModelType(
    "step35",
    "step3p7",
    (read_widths, read_ffn, config_experts.step35),
    {
        "num_key_value_heads": 8,
        "head_dim": 128,
        "share_expert_dim": 1280,
        "first_k_dense_replace": 3,
    },
    UNBIASED_ALL,
)
ERNIE_MOE = make_dense(
    "ernie4_5-moe",
    "ernie4_5_moe",
    {
        "tie_word_embeddings": True,
        "num_key_value_heads": 4,
        "head_dim": RATIO,
        "moe_num_experts": 64,
        "moe_k": 6,
        "moe_intermediate_size": 1536,
        "moe_num_shared_experts": 2,
        "moe_layer_start_index": 1,
        "moe_layer_end_index": -1,
        "moe_layer_interval": 1,
    },
    {"use_bias": False},
    config_experts.ernie_moe,
)
HUNYUAN_MOE = ModelType(
    "hunyuan-moe",
    "hunyuan_v1_moe",
    (read_widths, config_experts.hunyuan_moe, read_rope, refuse_llama3_rope),
    {**RATIO_MHA, "use_qk_norm": True, "num_shared_expert": 1, "use_mixed_mlp_moe": True},
    {**UNBIASED, "use_qk_norm": True, "use_cla": False, "use_mixed_mlp_moe": True},
)
LLAMA4 = ModelType(
    "llama4",
    "llama4",
    (read_widths, config_parts.llama4, read_rope),
    {
        "num_key_value_heads": 8,
        "head_dim": 128,
        "num_local_experts": 16,
        "num_experts_per_tok": 1,
        "interleave_moe_layer_step": 1,
        "no_rope_layer_interval": 4,
        "attention_chunk_size": 8192,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16_384,
    },
    UNBIASED,
)

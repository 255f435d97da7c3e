"""Model types of the Hub that mix attention with recurrence. See `catalog.config_types`."""

from __future__ import annotations

from catalog import config_hybrids
from catalog.config_kinds import (
    RATIO,
    RATIO_MHA,
    UNBIASED,
    UNBIASED_ALL,
    ModelType,
    Values,
    make_dense,
)
from catalog.config_shapes import (
    qwen_moe,
    read_delta_net,
    read_ffn,
    read_mamba2,
    read_rope,
    read_short_conv,
    read_widths,
    refuse_llama3_rope,
)

_DELTA: Values = {
    "head_dim": 256,
    "partial_rotary_factor": 0.25,
    "full_attention_interval": 4,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
}
QWEN3_NEXT = ModelType(
    "qwen3next",
    "qwen3_next",
    (read_widths, qwen_moe, read_rope, refuse_llama3_rope, read_delta_net),
    {
        **_DELTA,
        "num_key_value_heads": 2,
        "decoder_sparse_step": 1,
        "num_experts": 512,
        "num_experts_per_tok": 10,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
    },
    UNBIASED,
)
QWEN35 = make_dense("qwen35", "qwen3_5", {**_DELTA, "num_key_value_heads": 4}, UNBIASED, read_delta_net)
QWEN35_MOE = ModelType(
    "qwen35moe",
    "qwen3_5_moe",
    (read_widths, qwen_moe, read_rope, refuse_llama3_rope, read_delta_net),
    {
        **_DELTA,
        "num_key_value_heads": 2,
        "decoder_sparse_step": 1,
        "num_experts": 256,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
    },
    UNBIASED,
)

_MAMBA: Values = {"mamba_n_heads": 128, "mamba_n_groups": 1, "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_expand": 2}
_MAMBA_FIXED: Values = {"mamba_conv_bias": True, "mamba_proj_bias": False, **UNBIASED}
GRANITE_HYBRID = ModelType(
    "granitehybrid",
    "granitemoehybrid",
    (read_widths, read_rope, refuse_llama3_rope, config_hybrids.granite_hybrid),
    {
        **RATIO_MHA,
        **_MAMBA,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "shared_intermediate_size": 1024,
        "mamba_conv_bias": True,
    },
    _MAMBA_FIXED,
)
FALCON_H1 = make_dense(
    "falcon-h1",
    "falcon_h1",
    {
        **_MAMBA,
        "num_key_value_heads": 8,
        "head_dim": RATIO,
        "mamba_d_ssm": 1024,
        "mamba_conv_bias": True,
        "max_position_embeddings": 8192,
    },
    {**_MAMBA_FIXED, "mlp_bias": False, "projectors_bias": False},
    read_mamba2,
    config_hybrids.falcon_h1,
)
_LFM: Values = {
    "tie_word_embeddings": True,
    "num_key_value_heads": 8,
    "head_dim": RATIO,
    "conv_L_cache": 3,
    "max_position_embeddings": 128_000,
}
LFM2 = ModelType(
    "lfm2",
    "lfm2",
    (read_widths, config_hybrids.lfm2_ffn, read_rope, refuse_llama3_rope, read_short_conv),
    {
        **_LFM,
        "block_auto_adjust_ff_dim": True,
        "block_ffn_dim_multiplier": 1.0,
        "block_multiple_of": 256,
    },
    {"conv_bias": False},
)
LFM2_MOE = ModelType(
    "lfm2moe",
    "lfm2_moe",
    (read_widths, read_ffn, config_hybrids.lfm2_moe, read_rope, refuse_llama3_rope, read_short_conv),
    {
        **_LFM,
        "num_dense_layers": 2,
        "num_experts": 32,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 1792,
        "use_expert_bias": True,
    },
    {"conv_bias": False, "use_expert_bias": True},
)
NEMOTRON_H = ModelType(
    "nemotron_h",
    "nemotron_h",
    (config_hybrids.nemotron_widths, read_rope, refuse_llama3_rope, config_hybrids.nemotron_h),
    {
        "num_key_value_heads": 8,
        "head_dim": 128,
        "ssm_state_size": 128,
        "mamba_num_heads": 128,
        "mamba_head_dim": 64,
        "n_groups": 8,
        "conv_kernel": 4,
        "n_shared_experts": 1,
        "use_conv_bias": True,
    },
    {**UNBIASED_ALL, "use_bias": False, "mamba_proj_bias": False, "use_conv_bias": True},
)

"""Dense model types of the Hub: their defaults as transformers 5.24.0 has them, and their parts.

See `catalog.config_types` for what the tables hold and where they were read.
"""

from __future__ import annotations

from catalog import config_parts
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
    note_window,
    read_ffn,
    read_rope,
    read_widths,
    refuse_llama3_rope,
    windows,
)

LLAMA = ModelType("llama", "llama", (read_widths, read_ffn, read_rope), RATIO_MHA, UNBIASED_ALL)
MISTRAL = make_dense("llama", "mistral", RATIO_GQA8, {}, note_window)
MINISTRAL3 = make_dense("mistral3", "ministral3", {"num_key_value_heads": 8, "head_dim": 128}, {}, note_window)
QWEN2 = make_dense("qwen2", "qwen2", {"num_key_value_heads": 32, "head_dim": RATIO}, {}, note_window)
QWEN2_VL = make_dense("qwen2vl", "qwen2_vl", {**RATIO_GQA8, "rope_theta": 1e6}, {}, note_window)
QWEN3 = make_dense("qwen3", "qwen3", {"num_key_value_heads": 32, "head_dim": 128}, UNBIASED, note_window)

QWEN3_VL = make_dense(
    "qwen3vl", "qwen3_vl", {"num_key_value_heads": 32, "head_dim": 128}, UNBIASED, config_parts.qwen3_vl
)
_GEMMA: Values = {"tie_word_embeddings": True, "head_dim": 256, "max_position_embeddings": 8192}
GEMMA1 = make_dense("gemma", "gemma", {**_GEMMA, "num_key_value_heads": 16}, UNBIASED)
GEMMA2 = make_dense(
    "gemma2",
    "gemma2",
    {
        **_GEMMA,
        "num_key_value_heads": 4,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    UNBIASED,
    windows(2),
    config_parts.softcaps,
)
GEMMA3 = make_dense(
    "gemma3",
    "gemma3",
    {
        **_GEMMA,
        "vocab_size": 262_208,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    },
    UNBIASED,
    windows(6),
)
GEMMA3N = ModelType(
    "gemma3n",
    "gemma3n",
    (read_widths, read_rope, refuse_llama3_rope, windows(5), config_parts.gemma3n),
    {
        **_GEMMA,
        "vocab_size": 262_400,
        "hidden_size": 2048,
        "intermediate_size": 16_384,
        "num_hidden_layers": 35,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32_768,
        "sliding_window": 512,
        "hidden_size_per_layer_input": 256,
        "altup_num_inputs": 4,
        "altup_active_idx": 0,
        "num_kv_shared_layers": 15,
        "laurel_rank": 64,
    },
    UNBIASED,
)
_GEMMA4_DEFAULTS: Values = {
    **_GEMMA,
    "vocab_size": 262_144,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 30,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "global_head_dim": 512,
    "max_position_embeddings": 131_072,
    "sliding_window": 512,
    "hidden_size_per_layer_input": 256,
    "num_kv_shared_layers": 0,
}
_GEMMA4_PARTS: tuple[Part, ...] = (read_widths, windows(6), config_parts.gemma4)
GEMMA4 = ModelType("gemma4", "gemma4", _GEMMA4_PARTS, _GEMMA4_DEFAULTS, UNBIASED)
GEMMA4_UNIFIED = ModelType(
    "gemma4",
    "gemma4_unified",
    _GEMMA4_PARTS,
    {
        **_GEMMA4_DEFAULTS,
        "max_position_embeddings": 262_144,
        "sliding_window": 1024,
        "hidden_size_per_layer_input": 0,
    },
    UNBIASED,
)

PHI3 = make_dense(
    "phi3", "phi3", {**RATIO_MHA, "max_position_embeddings": 4096}, UNBIASED, config_parts.phi3, note_window
)
PHI4_MM = make_dense(
    "phi3",
    "phi4_multimodal",
    {**RATIO_GQA8, "max_position_embeddings": 131_072, "original_max_position_embeddings": 4096},
    UNBIASED,
    config_parts.phi3,
    note_window,
)

FALCON = ModelType(
    "falcon",
    "falcon",
    (read_widths, read_rope, refuse_llama3_rope, config_parts.falcon),
    {
        **RATIO_MHA,
        "tie_word_embeddings": True,
        "multi_query": True,
        "parallel_attn": True,
        "max_position_embeddings": 2048,
        "num_kv_heads": HEADS,
    },
    {"parallel_attn": True, "alibi": False, "bias": False},
)

COHERE_ENDS: Values = {"tie_word_embeddings": True, "max_position_embeddings": 8192}
COHERE = make_dense("command-r", "cohere", {**RATIO_MHA, **COHERE_ENDS}, UNBIASED, config_parts.command_r)
COHERE2 = make_dense("cohere2", "cohere2", {**RATIO_MHA, **COHERE_ENDS, "sliding_window": 4096}, UNBIASED, windows(4))
OLMO = make_dense("olmo", "olmo", RATIO_MHA, UNBIASED)
OLMO2 = make_dense("olmo2", "olmo2", RATIO_MHA, UNBIASED)
OLMO3 = make_dense("olmo2", "olmo3", {**RATIO_MHA, "sliding_window": 4096}, UNBIASED, windows(4))
GPT_NEOX = make_dense(
    "gptneox",
    "gpt_neox",
    {**RATIO_MHA, "rotary_pct": 0.25, "attention_bias": True, "use_parallel_residual": True},
    {"attention_bias": True},
    config_parts.ungated,
)
ERNIE = make_dense(
    "ernie4_5",
    "ernie4_5",
    {"tie_word_embeddings": True, "head_dim": 128, "num_key_value_heads": 2},
    {"use_bias": False},
)
HUNYUAN = make_dense(
    "hunyuan-dense", "hunyuan_v1_dense", {**RATIO_MHA, "use_qk_norm": True}, {**UNBIASED, "use_qk_norm": True}
)
SEED = make_dense(
    "seed_oss",
    "seed_oss",
    {"num_key_value_heads": 8, "head_dim": 128, "attention_bias": True},
    {"attention_bias": True, "attention_out_bias": False, "mlp_bias": False},
)
SMOLLM3 = make_dense(
    "smollm3",
    "smollm3",
    {"tie_word_embeddings": True, "num_key_value_heads": 4, "head_dim": RATIO, "use_sliding_window": False},
    UNBIASED_ALL,
    note_window,
)
GRANITE = make_dense("granite", "granite", RATIO_MHA, UNBIASED_ALL)
DECI = ModelType(
    "deci",
    "the publisher's configuration_decilm.py as conversion/deci.py of llama.cpp reads it",
    (read_widths, read_rope, config_parts.deci),
    RATIO_MHA,
    UNBIASED_ALL,
)
NOMIC = ModelType(
    "nomic-bert",
    "nomic_bert",
    (read_widths, config_parts.nomic_bert),
    {
        **RATIO_MHA,
        "tie_word_embeddings": True,
        "max_trained_positions": 2048,
        "max_position_embeddings": 2048,
        "activation_function": "swiglu",
        "type_vocab_size": 2,
    },
    {"qkv_proj_bias": False, "mlp_fc1_bias": False, "mlp_fc2_bias": False, "prenorm": False},
)

"""Every model type of the Hub that has a tensor table here, by name.

How each is read stands in `catalog.types_dense`, `types_hybrid` and `types_sparse`. `defaults` there are what the
type's configuration class fills in where config.json leaves a key out, read in transformers 5.24.0
(src/transformers/models/<folder>/configuration_<folder>.py, the folder in `source`), or in the publisher's own class
where `source` says so. Widths of the whole model (layers, hidden size, heads) have no default where a file always
states them: a config without them is broken, not small. `fixed` is what the tensor table takes for granted (a bias
that is there or not); a config that says otherwise is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping

from catalog import types_dense, types_hybrid, types_sparse
from catalog.config_kinds import ModelType

MODEL_TYPES: Mapping[str, ModelType] = {
    "llama": types_dense.LLAMA,
    "mistral": types_dense.MISTRAL,
    "ministral3": types_dense.MINISTRAL3,
    "mistral4": types_sparse.MISTRAL4,
    "mixtral": types_sparse.MIXTRAL,
    "qwen2": types_dense.QWEN2,
    "qwen2_vl_text": types_dense.QWEN2_VL,
    "qwen2_5_vl_text": types_dense.QWEN2_VL,
    "qwen3": types_dense.QWEN3,
    "qwen3_moe": types_sparse.QWEN3_MOE,
    "qwen3_vl_text": types_dense.QWEN3_VL,
    "qwen3_vl_moe_text": types_sparse.QWEN3_VL_MOE,
    "qwen3_next": types_hybrid.QWEN3_NEXT,
    "qwen3_5_text": types_hybrid.QWEN35,
    "qwen3_5_moe_text": types_hybrid.QWEN35_MOE,
    "gemma": types_dense.GEMMA1,
    "gemma2": types_dense.GEMMA2,
    "gemma3_text": types_dense.GEMMA3,
    "gemma3n_text": types_dense.GEMMA3N,
    "gemma4_text": types_dense.GEMMA4,
    "gemma4_unified_text": types_dense.GEMMA4_UNIFIED,
    "phi3": types_dense.PHI3,
    "phi4mm": types_dense.PHI4_MM,
    "phi4_multimodal": types_dense.PHI4_MM,
    "granite": types_dense.GRANITE,
    "granitemoehybrid": types_hybrid.GRANITE_HYBRID,
    "falcon": types_dense.FALCON,
    "falcon_h1": types_hybrid.FALCON_H1,
    "cohere": types_dense.COHERE,
    "cohere2": types_dense.COHERE2,
    "cohere2_moe": types_sparse.COHERE2_MOE,
    "olmo": types_dense.OLMO,
    "olmo2": types_dense.OLMO2,
    "olmo3": types_dense.OLMO3,
    "olmoe": types_sparse.OLMOE,
    "gpt_neox": types_dense.GPT_NEOX,
    "gpt_oss": types_sparse.GPT_OSS,
    "glm4_moe": types_sparse.GLM4_MOE,
    "glm4v_moe_text": types_sparse.GLM4_MOE,
    "glm4_moe_lite": types_sparse.GLM4_MOE_LITE,
    "glm_moe_dsa": types_sparse.GLM_DSA,
    "glm5_next_text": types_sparse.GLM5_NEXT,
    "deepseek_v2": types_sparse.DEEPSEEK_V2,
    "deepseek_v3": types_sparse.DEEPSEEK_V3,
    "kimi_k2": types_sparse.DEEPSEEK_V3,
    "deepseek_v32": types_sparse.DEEPSEEK_V32,
    "deepseek_v4": types_sparse.DEEPSEEK_V4,
    "kimi_linear": types_sparse.KIMI_K3,
    "minimax_m2": types_sparse.MINIMAX_M2,
    "minimax_m3": types_sparse.MINIMAX_M3,
    "minimax_m3_vl_text": types_sparse.MINIMAX_M3,
    "mimo_v2_flash": types_sparse.MIMO2,
    "mimo_v2": types_sparse.MIMO2,
    "step3p5": types_sparse.STEP35,
    "ernie4_5": types_dense.ERNIE,
    "ernie4_5_moe": types_sparse.ERNIE_MOE,
    "hunyuan_v1_dense": types_dense.HUNYUAN,
    "hunyuan_v1_moe": types_sparse.HUNYUAN_MOE,
    "seed_oss": types_dense.SEED,
    "smollm3": types_dense.SMOLLM3,
    "lfm2": types_hybrid.LFM2,
    "lfm2_moe": types_hybrid.LFM2_MOE,
    "nemotron_h": types_hybrid.NEMOTRON_H,
    "nemotron-nas": types_dense.DECI,
    "llama4_text": types_sparse.LLAMA4,
    "nomic_bert": types_dense.NOMIC,
}
"""Model type of a text model -> how its config is read."""

WRAPPERS: Mapping[str, str] = {
    "mistral3": "mistral",
    "llava": "llama",
    "idefics3": "llama",
    "smolvlm": "llama",
    "voxtral": "llama",
    "internvl_chat": "qwen2",
    "qwen2_audio": "qwen2",
    "aya_vision": "cohere2",
    "kimi_vl": "deepseek_v3",
    "qwen2_vl": "qwen2_vl_text",
    "qwen2_5_vl": "qwen2_5_vl_text",
    "qwen3_vl": "qwen3_vl_text",
    "qwen3_vl_moe": "qwen3_vl_moe_text",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
    "paligemma": "gemma",
    "gemma3": "gemma3_text",
    "gemma3n": "gemma3n_text",
    "gemma4": "gemma4_text",
    "gemma4_unified": "gemma4_unified_text",
    "cohere2_vision": "cohere2",
    "glm4v_moe": "glm4v_moe_text",
    "glm5_next": "glm5_next_text",
    "kimi_k25": "deepseek_v3",
    "kimi_k3": "kimi_linear",
    "minimax_m3_vl": "minimax_m3_vl_text",
    "step3p7": "step3p5",
    "lfm2_vl": "lfm2",
    "llama4": "llama4_text",
}
"""Model type of a model with more than text -> that of its text model where `text_config` does not name one."""

CLASS_TYPES: Mapping[str, str] = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "MixtralForCausalLM": "mixtral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3_moe",
    "GemmaForCausalLM": "gemma",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3_text",
    "Phi3ForCausalLM": "phi3",
    "DeepseekV3ForCausalLM": "deepseek_v3",
    "GptOssForCausalLM": "gpt_oss",
}
"""Classes in `architectures` that stand for one model type; asked only where a config names no model type."""

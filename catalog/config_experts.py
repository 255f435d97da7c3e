"""Parts of a model record for single families of experts. Sources as in `catalog.config_shapes`."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.config_fields import MAX_LAYERS, MAX_TOKENS, Fields
from catalog.config_shapes import (
    Record,
    add_moe,
    every,
    list_letters,
    list_sparse,
)
from sizing.errors import BadInputError, UnsupportedError


def glm4_moe(fields: Fields, record: Record) -> None:
    """The tensor table knows the variant with normed queries and keys by its 92 layers.

    Raises UnsupportedError where flag and layers disagree.
    """
    if fields.flag("use_qk_norm") != (record["n_layers"] >= 92):
        raise UnsupportedError(f"use_qk_norm {fields.flag('use_qk_norm')} with {record['n_layers']} layers")


def ernie_moe(fields: Fields, record: Record) -> None:
    """Experts from `moe_layer_start_index` on; shared ones are as wide as that many routed ones."""
    n_layers: int = record["n_layers"]
    start = fields.number("moe_layer_start_index", low=0, high=MAX_LAYERS)
    end = fields.number("moe_layer_end_index", low=-1, high=MAX_LAYERS)
    step = fields.number("moe_layer_interval", high=MAX_LAYERS)
    last = n_layers - 1 if end == -1 else end
    sparse = [start <= i <= last and (i + 1) % step == 0 for i in range(n_layers)]
    width = fields.number("moe_intermediate_size")
    shared = fields.maybe_number("moe_num_shared_experts", low=0) or 0
    n_experts, n_active = fields.number("moe_num_experts"), fields.number("moe_k")
    more = {"n_shared_experts": shared, "shared_expert_ffn_dim": shared * width}
    add_moe(record, n_experts, n_active, width, sparse, **more)
    record["extras"]["interleave_moe_layer_step"] = step


def hunyuan_moe(fields: Fields, record: Record) -> None:
    """Experts on every layer and one shared expert of `intermediate_size` (conversion/hunyuan.py, HunYuanMoEModel).

    Raises UnsupportedError for several shared experts.
    """
    shared = fields.one_number("num_shared_expert", low=0)
    if shared != 1:
        raise UnsupportedError(f"num_shared_expert {shared}; one is known")
    width = fields.number("intermediate_size")
    expert = width if fields.find("moe_intermediate_size") is None else fields.one_number("moe_intermediate_size")
    n_experts, n_active = fields.one_number("num_experts"), fields.one_number("moe_topk")
    sparse = [True] * record["n_layers"]
    add_moe(record, n_experts, n_active, expert, sparse, n_shared_experts=1, shared_expert_ffn_dim=width)


def cohere2_windows(fields: Fields, record: Record) -> None:
    """Windows on all but each fourth layer; leading dense layers have a pattern of their own before that begins.

    See transformers models/cohere2_moe.
    """
    n_layers: int = record["n_layers"]
    leading = min(fields.number("first_k_dense_replace", low=0, high=MAX_LAYERS), n_layers)
    first = fields.number("prefix_dense_sliding_window_pattern", high=MAX_LAYERS)
    then = fields.number("sliding_window_pattern", high=MAX_LAYERS)
    types = every(leading, first, "sliding_attention", "full_attention")
    types += every(n_layers - leading, then, "sliding_attention", "full_attention")
    record["layers"] = list_letters(fields, record, "FS", types)
    if "S" in record["layers"]:
        record["window"] = {"kind": "sliding", "tokens": fields.number("sliding_window", high=MAX_TOKENS)}


def cohere2_moe(fields: Fields, record: Record) -> None:
    """Experts as wide as `intermediate_size`, all shared ones stored as one, after the first dense layers."""
    n_layers: int = record["n_layers"]
    sparse = list_sparse(fields, n_layers)
    if not all(sparse):
        record["ffn_dim"] = fields.number("prefix_dense_intermediate_size", "intermediate_size")
    width, shared = fields.number("intermediate_size"), fields.number("num_shared_experts", low=0)
    n_experts, n_active = fields.number("num_experts"), fields.number("num_experts_per_tok")
    more = {"n_shared_experts": shared, "shared_expert_ffn_dim": shared * width}
    add_moe(record, n_experts, n_active, width, sparse, **more)


def minimax_m3(fields: Fields, record: Record) -> None:
    """Experts and block-sparse attention on the layers their lists name; `sparse_attention_config` in older files.

    Raises UnsupportedError where no layer has sparse attention.
    """
    n_layers: int = record["n_layers"]
    table = fields.table("sparse_attention_config")
    record["ffn_dim"] = fields.number("dense_intermediate_size")
    width = fields.number("intermediate_size")
    shared = fields.number("n_shared_experts", low=0) * fields.number("shared_intermediate_size", low=0)
    n_experts, n_active = fields.number("num_local_experts"), fields.number("num_experts_per_tok")
    more = {"n_shared_experts": int(shared > 0), "shared_expert_ffn_dim": shared}
    add_moe(record, n_experts, n_active, width, list_sparse(fields, n_layers), **more)
    chosen = _list_sparse_attention(fields, table, n_layers)
    if not chosen:
        raise UnsupportedError("no layer has sparse attention; minimax-m3 wants it")
    local = Fields({**fields.values, **table.values}, fields.defaults, table.where)
    record["indexer"] = {
        "n_heads": local.number("sparse_num_index_heads", "index_n_heads"),
        "head_dim": local.number("sparse_index_dim", "index_head_dim"),
        "top_k": local.number("sparse_topk_blocks", "index_topk_blocks"),
        "layers": chosen,
    }
    record["extras"] |= {
        "attention.indexer.block_size": local.number("sparse_block_size", "index_block_size"),
        "attention.indexer.local_blocks": local.number("sparse_local_block", "index_local_blocks", low=0),
        "rope.dimension_count": fields.number("rotary_dim", high=record["head_dim"]),
    }


def _list_sparse_attention(fields: Fields, table: Fields, n_layers: int) -> list[int]:
    frequency = table.numbers("sparse_attention_freq", high=1)
    if frequency is not None:
        if len(frequency) != n_layers:
            raise table.wrong("sparse_attention_freq", f"{n_layers} entries", len(frequency))
        return [layer for layer, flag in enumerate(frequency) if flag]
    types = fields.words("layer_types")
    return [layer for layer, name in enumerate(types or ()) if name == "minimax_m3_sparse" and layer < n_layers]


def mimo2(fields: Fields, record: Record) -> None:
    """Windowed layers with key heads of their own (conversion/mimo.py, MimoV2Model). It has no shared experts.

    Raises UnsupportedError for shared experts and for windowed layers whose heads have other widths.
    """
    n_layers: int = record["n_layers"]
    listed = fields.numbers("hybrid_layer_pattern", high=1)
    default = None if listed is None else ["sliding_attention" if f else "full_attention" for f in listed]
    record["layers"] = list_letters(fields, record, "FS", default)
    record["head_dim_v"] = fields.number("v_head_dim")
    if fields.maybe_number("n_shared_experts", low=0):
        raise UnsupportedError("n_shared_experts: the tensor table of mimo2 has none")
    for key, same in (("swa_head_dim", "head_dim"), ("swa_v_head_dim", "v_head_dim")):
        if fields.states(key) and fields.number(key) != fields.number(same):
            raise UnsupportedError(f"{key} other than {same}: llama.cpp's converter refuses it")
    if "S" in record["layers"]:
        record["window"] = {
            "kind": "sliding",
            "tokens": fields.number("sliding_window", "sliding_window_size", high=MAX_TOKENS),
            "n_kv_heads": fields.number("swa_num_key_value_heads"),
        }
    n_experts, n_active = fields.number("n_routed_experts"), fields.number("num_experts_per_tok")
    add_moe(record, n_experts, n_active, fields.number("moe_intermediate_size"), list_sparse(fields, n_layers))


def step35(fields: Fields, record: Record) -> None:
    """Windowed layers with more query heads, experts on the layers `moe_layers_enum` lists (conversion/step3.py).

    Rotation is left out: bases stand there per layer, and the frequency table some files add is optional to the loader.
    """
    n_layers: int = record["n_layers"]
    record["layers"] = list_letters(fields, record, "FS")
    record["n_kv_heads"] = fields.number("num_attention_groups", "num_key_value_heads")
    other = fields.table("attention_other_setting")
    if "S" in record["layers"]:
        record["window"] = {
            "kind": "sliding",
            "tokens": fields.number("sliding_window", high=MAX_TOKENS),
            "n_heads": other.maybe_number("num_attention_heads") or record["n_heads"],
            "n_kv_heads": other.maybe_number("num_attention_groups") or record["n_kv_heads"],
        }
    width, shared = (
        fields.number("moe_intermediate_size"),
        fields.number("share_expert_dim", "share_expert_dims", low=0),
    )
    n_experts, n_active = (
        fields.number("moe_num_experts", "num_experts"),
        fields.number("moe_top_k", "num_experts_per_tok"),
    )
    more = {"n_shared_experts": int(shared > 0), "shared_expert_ffn_dim": shared}
    add_moe(record, n_experts, n_active, width, _list_step_experts(fields, n_layers), **more)
    record["extras"]["expert_gating_func"] = 2


def _list_step_experts(fields: Fields, n_layers: int) -> Sequence[bool]:
    if not fields.states("moe_layers_enum"):
        return list_sparse(fields, n_layers)
    if isinstance(fields.find("moe_layers_enum"), str):
        text = fields.word("moe_layers_enum") or ""
        parts = [part.strip() for part in text.split(",")]
        if len(parts) > 2 * MAX_LAYERS or not all(p.isascii() and p.isdigit() and len(p) < 5 for p in parts):
            raise fields.wrong("moe_layers_enum", "layer numbers with commas between", text)
        listed: tuple[int, ...] = tuple(int(part) for part in parts)
    else:
        listed = fields.numbers("moe_layers_enum", high=2 * MAX_LAYERS) or ()
    return [layer in listed for layer in range(n_layers)]


def deepseek4(fields: Fields, record: Record) -> None:
    """One key head in a window on every layer, compressed by the ratio each layer names (conversion/deepseek.py)."""
    record["layers"] = "S"
    record["window"] = {"kind": "sliding", "tokens": fields.number("sliding_window", high=MAX_TOKENS)}
    record["indexer"] = {
        "n_heads": fields.number("index_n_heads"),
        "head_dim": fields.number("index_head_dim"),
        "top_k": fields.number("index_topk"),
    }
    width, shared = fields.number("moe_intermediate_size"), fields.number("n_shared_experts", low=0)
    n_experts, n_active = fields.number("n_routed_experts"), fields.number("num_experts_per_tok")
    more = {"n_shared_experts": shared, "shared_expert_ffn_dim": shared * width}
    add_moe(record, n_experts, n_active, width, [True] * record["n_layers"], **more)
    ratios = fields.numbers("compress_ratios", high=4096)
    if ratios is None or not record["n_layers"] <= len(ratios) <= record["n_layers"] + 16:
        raise fields.wrong("compress_ratios", f"a list of {record['n_layers']} whole numbers", ratios)
    n_streams = fields.number("hc_mult", high=64)
    record["extras"] |= {
        "attention.compress_ratios": list(ratios),
        "attention.q_lora_rank": fields.number("q_lora_rank"),
        "attention.output_lora_rank": fields.number("o_lora_rank"),
        "attention.output_group_count": _count_output_groups(fields, record),
        "hyper_connection.count": n_streams,
        "hash_layer_count": fields.number("num_hash_layers", low=0, high=MAX_LAYERS),
        "rope.dimension_count": fields.number("qk_rope_head_dim", high=record["head_dim"]),
    }
    if (base := fields.real("compress_rope_theta")) is not None:
        record["extras"]["attention.compress_rope_freq_base"] = base


def _count_output_groups(fields: Fields, record: Record) -> int:
    groups = fields.number("o_groups")
    if (record["n_heads"] * record["head_dim"]) % groups:
        raise BadInputError(f"config.json: {fields.where}o_groups {groups} does not divide the heads' width")
    return groups


def kimi_k3(fields: Fields, record: Record) -> None:
    """Kimi K3 is the Kimi Linear whose experts work in a narrower space (conversion/kimi_k3.py).

    Raises UnsupportedError for any other Kimi Linear.
    """
    if not fields.states("routed_expert_hidden_size"):
        raise UnsupportedError(
            "model type 'kimi_linear' without routed_expert_hidden_size: only Kimi K3 has a tensor table"
        )
    if not fields.table("linear_attn_config").flag("use_full_rank_gate"):
        raise UnsupportedError("linear_attn_config.use_full_rank_gate false: not in the tensor table of kimi-k3")
    record["extras"] |= {
        "expert_latent_length": fields.number("routed_expert_hidden_size"),
        "attn_res.block_size": fields.number("attn_res_block_size"),
    }
    for key, extra in (
        ("activation_situ_beta", "activation.situ_beta"),
        ("activation_situ_linear_beta", "activation.situ_linear_beta"),
    ):
        if (value := fields.real(key)) is not None:
            record["extras"][extra] = value


def glm5_next(fields: Fields, record: Record) -> None:
    """Residual streams and pooled index keys beside Kimi delta attention (conversion/glm.py, Glm5NextModel)."""
    record["extras"] |= {
        "attention.indexer.kpool": fields.number("index_kpool", high=4096),
        "attention.indexer.kpool_select_tail": fields.flag("index_kpool_always_select_tail"),
        "hyper_connection.count": fields.number("hc_mult", high=64),
        "hyper_connection.sinkhorn_iterations": fields.number("hc_sinkhorn_iters", high=4096),
    }
    if (epsilon := fields.real("hc_eps")) is not None:
        record["extras"]["hyper_connection.epsilon"] = epsilon

"""Parts of a model record that only one family's config.json needs. Sources as in `catalog.config_shapes`."""

from __future__ import annotations

from collections.abc import Mapping

from catalog.config_fields import MAX_LAYERS, MAX_TOKENS, Fields
from catalog.config_shapes import (
    Record,
    add_moe,
    every,
    find_rope,
    list_letters,
)
from sizing.errors import BadInputError, UnsupportedError

# ---------------------------------------------------------------- Llama 4, Nemotron NAS, Phi 3, Falcon, Command R


def llama4(fields: Fields, record: Record) -> None:
    """Chunked attention but on each fourth layer, and experts on each `interleave_moe_layer_step`-th.

    Expert width is `intermediate_size`, dense width `intermediate_size_mlp` (conversion/llama.py, Llama4Model).
    """
    step = fields.number("no_rope_layer_interval", high=MAX_LAYERS)
    default = every(record["n_layers"], step, "chunked_attention", "full_attention")
    record["layers"] = list_letters(fields, record, "CF", default)
    if "C" in record["layers"]:
        record["window"] = {"kind": "chunked", "tokens": fields.number("attention_chunk_size", high=MAX_TOKENS)}
    moe_step = fields.number("interleave_moe_layer_step", high=MAX_LAYERS)
    listed = fields.numbers("moe_layers", high=MAX_LAYERS)
    sparse = [(i + 1) % moe_step == 0 if listed is None else i in listed for i in range(record["n_layers"])]
    width = fields.number("intermediate_size")
    if not all(sparse):
        record["ffn_dim"] = fields.number("intermediate_size_mlp")
    n_experts, n_active = fields.number("num_local_experts"), fields.number("num_experts_per_tok")
    add_moe(record, n_experts, n_active, width, sparse, n_shared_experts=1, shared_expert_ffn_dim=width)


def deci(fields: Fields, record: Record) -> None:
    """Layers whose attention and feed-forward were pruned one by one (conversion/deci.py, DeciModel).

    Raises BadInputError for blocks that are not one table a layer, UnsupportedError where none attends.
    """
    blocks = fields.items("block_configs")
    if blocks is None or len(blocks) != record["n_layers"]:
        raise fields.wrong("block_configs", f"a list of {record['n_layers']} tables", blocks)
    letters, kv_heads, widths = "", [], []
    for index, block in enumerate(blocks):
        if not isinstance(block, Mapping):
            raise fields.wrong("block_configs", "a list of tables", block)
        table = Fields(block, {}, f"{fields.where}block_configs[{index}].")
        heads = _find_deci_kv_heads(table.table("attention"), record["n_heads"])
        letters += "F" if heads else "N"
        kv_heads.append(heads or record["n_heads"])
        widths.append(_find_deci_width(table.table("ffn"), record["hidden_dim"]))
    attending = {heads for heads, letter in zip(kv_heads, letters) if letter == "F"}
    if not attending:
        raise UnsupportedError("block_configs: no layer attends")
    record["layers"] = letters
    record["ffn_dim_by_layer"] = [[1, width] for width in widths]
    record["n_kv_heads"] = max(attending)
    if len(attending) > 1:
        record["n_kv_heads_by_layer"] = kv_heads


def _find_deci_kv_heads(attention: Fields, n_heads: int) -> int:
    """Key heads of one block, 0 where it does not attend."""
    if attention.flag("replace_with_linear"):
        raise UnsupportedError("block_configs: attention replaced by a linear layer")
    if attention.maybe_number("window_length") is not None:
        raise UnsupportedError("block_configs: a window on single layers")
    group = attention.maybe_number("n_heads_in_group")
    if attention.flag("no_op") or group is None:
        return 0
    if n_heads % group:
        raise BadInputError(f"config.json: {attention.where}n_heads_in_group {group} does not divide {n_heads} heads")
    return n_heads // group


def _find_deci_width(ffn: Fields, hidden_dim: int) -> int:
    """Width from a multiplier of two thirds of the model's, rounded up to 256; 0 where there is no feed-forward."""
    if ffn.flag("replace_with_linear"):
        raise UnsupportedError("block_configs: feed-forward replaced by a linear layer")
    scale = ffn.real("ffn_mult")
    if ffn.flag("no_op") or scale is None:
        return 0
    if not 0 < scale <= 64:
        raise ffn.wrong("ffn_mult", "a number above 0, at most 64", scale)
    return -(-int(2 * scale * hidden_dim / 3) // 256) * 256


def phi3(fields: Fields, record: Record) -> None:
    """Long and short rope factors must be as many as half the rotated values; a window is written but not followed.

    Raises BadInputError for another number of factors.
    """
    extras = record["extras"]
    if extras.get("rope_factors"):
        factors = find_rope(fields).items("long_factor")
        if factors is None:
            del extras["rope_factors"]
            return
        rotated = extras.get("rope.dimension_count", record["head_dim"])
        if len(factors) != rotated // 2:
            raise BadInputError(f"config.json: long_factor has {len(factors)} entries, {rotated // 2} are wanted")
    tokens = fields.maybe_number("sliding_window", low=0, high=MAX_TOKENS)
    if tokens and tokens < record["context_tokens"]:
        extras["attention.sliding_window"] = tokens


def falcon(fields: Fields, record: Record) -> None:
    """Key heads by generation: `num_kv_heads` in the new decoder, one in the old (conversion/falcon.py).

    The context is 2048 where the config does not say, as the converter writes it. Raises UnsupportedError for the
    variants that the tensor table does not know.
    """
    if fields.flag("new_decoder_architecture"):
        record["n_kv_heads"] = fields.number("num_kv_heads", "n_head_kv")
        if fields.maybe_number("num_ln_in_parallel_attn") == 1 and record["n_kv_heads"] > 1:
            raise UnsupportedError(
                "num_ln_in_parallel_attn 1: the tensor table of falcon has two norms for several heads"
            )
    elif fields.flag("multi_query"):
        record["n_kv_heads"] = 1
    else:
        raise UnsupportedError("multi_query false without new_decoder_architecture: not in the tensor table of falcon")
    record["ffn_dim"] = fields.maybe_number("ffn_hidden_size") or 4 * record["hidden_dim"]
    record["ffn_gated"] = False


def command_r(fields: Fields, record: Record) -> None:
    """Context is `model_max_length` where stated; the tensor table knows the normed variant by its 64 layers.

    Raises UnsupportedError where flag and layers disagree.
    """
    record["context_tokens"] = fields.number("model_max_length", "max_position_embeddings", high=MAX_TOKENS)
    if fields.flag("use_qk_norm") != (record["n_layers"] >= 64):
        raise UnsupportedError(f"use_qk_norm {fields.flag('use_qk_norm')} with {record['n_layers']} layers")


def ungated(fields: Fields, record: Record) -> None:
    """A feed-forward of two matrices."""
    record["ffn_gated"] = False


def nomic_bert(fields: Fields, record: Record) -> None:
    """An encoder. It was trained on 2048 tokens and says 8192 (conversion/bert.py, NomicBertModel).

    Raises UnsupportedError for experts.
    """
    if fields.maybe_number("moe_every_n_layers", low=0):
        raise UnsupportedError("moe_every_n_layers: the tensor table of nomic-bert has no experts")
    trained = fields.number("max_trained_positions", high=MAX_TOKENS)
    record["context_tokens"] = min(record["context_tokens"], trained)
    record["layers"] = "X"
    record["ffn_dim"] = fields.number("intermediate_size")
    record["extras"]["attention.causal"] = False


def qwen3_vl(fields: Fields, record: Record) -> None:
    """Image features enter several layers (conversion/qwen3vl.py); positions have three parts.

    Both have defaults in the classes of transformers: `deepstack_visual_indexes` 8, 16, 24 of the vision tower, and
    `mrope_section` 24, 20, 20 of the rotation (models/qwen3_vl).
    """
    levels = fields.table("vision_config").numbers("deepstack_visual_indexes", high=4096)
    record["extras"]["n_deepstack_layers"] = 3 if levels is None else len(levels)
    record["extras"].setdefault("rope.dimension_sections", [24, 20, 20, 0])


# ---------------------------------------------------------------- Gemma 3n and 4


def gemma3n(fields: Fields, record: Record) -> None:
    """Residual streams, embeddings per layer, shared keys at the end, one feed-forward width or one a layer.

    Raises UnsupportedError for another rank of the residual streams, BadInputError for widths that are not one a layer.
    """
    width = fields.find("intermediate_size")
    if isinstance(width, (list, tuple)):
        widths = fields.numbers("intermediate_size", low=1) or ()
        if len(widths) != record["n_layers"]:
            raise fields.wrong("intermediate_size", f"one width or {record['n_layers']}", len(widths))
        if len(set(widths)) > 1:
            record["ffn_dim_by_layer"] = [[1, w] for w in widths]
        record["ffn_dim"] = widths[0]
    else:
        record["ffn_dim"] = fields.number("intermediate_size")
    record["n_shared_kv_layers"] = fields.number("num_kv_shared_layers", low=0, high=record["n_layers"])
    if fields.number("laurel_rank") != 64:
        raise UnsupportedError(f"laurel_rank {fields.number('laurel_rank')}; llama.cpp knows 64")
    record["extras"] |= {
        "altup.num_inputs": fields.number("altup_num_inputs", low=2, high=64),
        "altup.active_idx": fields.number("altup_active_idx", low=0, high=63),
        "laurel_rank": 64,
        "embedding_length_per_layer_input": fields.number("hidden_size_per_layer_input"),
    }


def gemma4(fields: Fields, record: Record) -> None:
    """Wider heads on full layers, keys that double as values there, shared keys at the end, experts beside the rest."""
    record["layers"] = record["layers"][:-1] + "F"  # the class forces the last layer to full attention
    full: dict[str, int] = {"head_dim": fields.number("global_head_dim")}
    same = fields.flag("attention_k_eq_v")
    heads = fields.maybe_number("num_global_key_value_heads")
    if same and heads is not None:
        full["n_kv_heads"] = heads
    record["full_attention"] = full
    n_shared = fields.number("num_kv_shared_layers", low=0, high=record["n_layers"])
    record["n_shared_kv_layers"] = n_shared
    width = fields.number("intermediate_size")
    record["ffn_dim"] = width
    if fields.flag("use_double_wide_mlp") and n_shared:
        record["ffn_dim_by_layer"] = [[record["n_layers"] - n_shared, width], [n_shared, 2 * width]]
    extras = record["extras"]
    extras["embedding_length_per_layer_input"] = fields.number("hidden_size_per_layer_input", low=0)
    if same:
        extras["attention.k_eq_v"] = True
    if (cap := fields.real("final_logit_softcapping")) is not None:
        extras["final_logit_softcapping"] = cap
    if fields.flag("enable_moe_block"):
        n_experts, n_active = fields.number("num_experts"), fields.number("top_k_experts")
        expert = fields.number("moe_intermediate_size", "expert_intermediate_size")
        add_moe(record, n_experts, n_active, expert, [True] * record["n_layers"], beside_dense=True)


def softcaps(fields: Fields, record: Record) -> None:
    """Caps on attention and output scores (Gemma 2)."""
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if (cap := fields.real(key)) is not None:
            record["extras"][key] = cap

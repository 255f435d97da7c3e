"""Parts of a config.json turned into parts of a model record: widths, windows, experts, latent attention, recurrence.

A part reads keys and writes what `catalog.spec_builder` understands, so that the pattern of layers is written in one
language for the catalog's own files and for the Hub's. What the keys mean follows the converters of ggml-org/llama.cpp
(conversion/*.py at the version llama-cpp-python 0.3.36 vendors) and the configuration classes of transformers 5.24.0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from catalog.config_fields import MAX_LAYERS, MAX_TOKENS, Fields, show
from sizing.errors import BadInputError, UnsupportedError

Record = dict[str, Any]
Part = Callable[[Fields, Record], None]

_LETTER_OF = {
    "full_attention": "F",
    "attention": "F",
    "indexed_attention": "F",
    "sliding_attention": "S",
    "chunked_attention": "C",
    "linear_attention": "R",
    "mamba": "R",
    "conv": "R",
}
GATING = {"softmax": 1, "sigmoid": 2, "sqrtsoftplus": 4}
"""Router activations as llama.cpp numbers them (enum llama_expert_gating_func_type, llama-hparams.h)."""


def read_widths(fields: Fields, record: Record) -> None:
    """What every decoder states: layers, widths, heads, vocabulary and context."""
    record["n_layers"] = fields.number("num_hidden_layers", high=MAX_LAYERS)
    record["hidden_dim"] = fields.number("hidden_size")
    record["vocab_size"] = fields.number("vocab_size")
    record["n_heads"] = fields.number("num_attention_heads")
    null = fields.states_null("num_key_value_heads")
    record["n_kv_heads"] = record["n_heads"] if null else fields.number("num_key_value_heads")
    record["head_dim"] = fields.number("head_dim")
    record["context_tokens"] = fields.number("max_position_embeddings", high=MAX_TOKENS)
    record.setdefault("extras", {})


def read_ffn(fields: Fields, record: Record) -> None:
    """One dense feed-forward width for all layers that are dense."""
    record["ffn_dim"] = fields.number("intermediate_size")


# ---------------------------------------------------------------- rotation


def read_rope(fields: Fields, record: Record) -> None:
    """Base, scaling and rotated width, from `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling`."""
    rope = find_rope(fields)
    extras = record["extras"]
    base = rope.real("rope_theta") or fields.real("rope_theta", "rotary_emb_base")
    if base:
        extras["rope.freq_base"] = base
    share = rope.real("partial_rotary_factor") or fields.real("partial_rotary_factor", "rotary_pct")
    if share is not None and share != 1.0 and "rope.dimension_count" not in extras:
        extras["rope.dimension_count"] = _check_rotated(int(record["head_dim"] * share), record)
    sections = rope.numbers("mrope_section")
    if sections is not None:
        extras["rope.dimension_sections"] = list((*sections, 0, 0, 0, 0)[:4])
    _read_scaling(fields, rope, extras)


def _check_rotated(width: int, record: Record) -> int:
    if not 2 <= width <= record["head_dim"]:
        raise BadInputError(f"config.json: partial_rotary_factor leaves {width} of {record['head_dim']} values rotated")
    return width


def find_rope(fields: Fields) -> Fields:
    """The table that says how the full layers rotate; empty where the config has none."""
    key = "rope_parameters" if fields.states("rope_parameters") else "rope_scaling"
    rope = fields.table(key)
    return rope.table("full_attention") if rope.states("full_attention") else rope


def _read_scaling(fields: Fields, rope: Fields, extras: dict[str, Any]) -> None:
    kind = (rope.word("rope_type", "type") or "default").lower()
    original = rope.maybe_number("original_max_position_embeddings", high=MAX_TOKENS)
    if kind == "llama3":
        extras["rope_freqs"] = True
        extras["rope.scaling.original_context_length"] = original or 8192
    elif kind in ("yarn", "linear"):
        extras["rope.scaling.type"] = kind
        factor = rope.real("factor")
        if factor is not None:
            extras["rope.scaling.factor"] = factor
        if original is not None:
            extras["rope.scaling.original_context_length"] = original
    elif kind in ("longrope", "su"):
        original = original or fields.maybe_number("original_max_position_embeddings", high=MAX_TOKENS)
        extras["rope.scaling.type"] = "longrope"
        extras["rope_factors"] = True
        if original is not None:
            extras["rope.scaling.original_context_length"] = original


def refuse_llama3_rope(fields: Fields, record: Record) -> None:
    """Llama 3's frequency table is a tensor of the file, which only some tensor tables have.

    Raises UnsupportedError for the others.
    """
    if record["extras"].get("rope_freqs"):
        raise UnsupportedError("rope_type 'llama3' adds a tensor that this architecture's tensor table does not know")


# ---------------------------------------------------------------- which layers do what


def list_letters(fields: Fields, record: Record, allowed: str, default: Sequence[str] | None = None) -> str:
    """One letter a layer from `layer_types`, else from `default`; types that `allowed` lacks are refused by name.

    Raises BadInputError for a list of another length than the layers, UnsupportedError for such a type.
    """
    n_layers: int = record["n_layers"]
    named = fields.words("layer_types") or fields.words("layers_block_type") or default
    if named is None:
        raise fields.wrong("layer_types", f"a list of {n_layers} texts", None)
    if not n_layers <= len(named) <= n_layers + 16:  # some lists go on with the prediction layers
        raise BadInputError(f"config.json: {fields.where}layer_types names {len(named)} layers of {n_layers}")
    letters = "".join(_LETTER_OF.get(name, "?") for name in named[:n_layers])
    unknown = next((name for name, letter in zip(named, letters) if letter not in allowed), None)
    if unknown is not None:
        raise UnsupportedError(
            f"layer type {show(unknown)} in {fields.where}layer_types: no tensor table knows it here"
        )
    return letters


def every(n_layers: int, step: int, often: str, last: str) -> tuple[str, ...]:
    """Layer types where each `step`-th layer is `last` and the others are `often`."""
    return tuple(last if (layer + 1) % step == 0 else often for layer in range(n_layers))


def windows(step: int, key: str = "sliding_window_pattern") -> Part:
    """Sliding windows on all but each `step`-th layer, unless `layer_types` or the key says otherwise."""

    def part(fields: Fields, record: Record) -> None:
        count = fields.number(key, high=MAX_LAYERS) if fields.states(key) else step
        default = every(record["n_layers"], count, "sliding_attention", "full_attention")
        record["layers"] = list_letters(fields, record, "FS", default)
        if "S" in record["layers"]:
            record["window"] = {"kind": "sliding", "tokens": fields.number("sliding_window", high=MAX_TOKENS)}

    return part


def note_window(fields: Fields, record: Record) -> None:
    """A window that llama.cpp does not follow for this architecture: every layer caches the whole context."""
    uses = fields.flag("use_sliding_window") if fields.find("use_sliding_window") is not None else True
    tokens = fields.maybe_number("sliding_window", low=0, high=MAX_TOKENS)
    if tokens and uses and tokens < record["context_tokens"]:
        record["notes"].append(
            f"the config has a sliding window of {tokens:,} tokens; llama.cpp caches the whole context all the same"
        )


# ---------------------------------------------------------------- experts


def find_moe_pattern(is_sparse: Sequence[bool]) -> dict[str, int]:
    """Which layers have experts, as a record says it: after some dense ones, or each n-th. Else UnsupportedError."""
    leading = next((i for i, sparse in enumerate(is_sparse) if sparse), len(is_sparse))
    if all(is_sparse[leading:]):
        return {"leading_dense_layers": leading} if leading else {}
    step = leading + 1
    if all(sparse == ((i + 1) % step == 0) for i, sparse in enumerate(is_sparse)):
        return {"every": step}
    raise UnsupportedError("experts on layers that follow no pattern: neither after some dense ones nor on each n-th")


def list_sparse(fields: Fields, n_layers: int) -> list[bool]:
    """Which layers have experts: `mlp_layer_types`, a list in `moe_layer_freq`, or those after the first dense ones.

    As DeepSeek's classes and those that follow them read it (transformers models/deepseek_v3, glm_moe_dsa).
    """
    types = fields.words("mlp_layer_types")
    if types is not None:
        return _check_length(fields, "mlp_layer_types", [name != "dense" for name in types], n_layers)
    if isinstance(fields.find("moe_layer_freq"), (list, tuple)):
        found = fields.numbers("moe_layer_freq", high=1) or ()
        return _check_length(fields, "moe_layer_freq", [flag == 1 for flag in found], n_layers)
    if fields.find("moe_layer_freq") is not None:
        fields.number("moe_layer_freq", high=1)
    leading = fields.number("first_k_dense_replace", low=0, high=MAX_LAYERS)
    return [layer >= leading for layer in range(n_layers)]


def _check_length(fields: Fields, key: str, found: list[bool], n_layers: int) -> list[bool]:
    if not n_layers <= len(found) <= n_layers + 16:
        raise BadInputError(f"config.json: {fields.where}{key} names {len(found)} layers of {n_layers}")
    return found[:n_layers]


def add_moe(record: Record, n_experts: int, n_active: int, width: int, sparse: Sequence[bool], **more: Any) -> None:
    """The record's table of experts. Raises UnsupportedError where no layer has them, or they follow no pattern."""
    if not any(sparse):
        raise UnsupportedError("no layer has experts, and a mixture of experts is no architecture without them")
    record["moe"] = {
        "n_experts": n_experts,
        "n_active_experts": n_active,
        "expert_ffn_dim": width,
        **find_moe_pattern(sparse),
        **{key: value for key, value in more.items() if value},
    }


def read_gating(fields: Fields, record: Record) -> None:
    """How the router scores and weighs its experts; a sigmoid router has a bias per expert.

    Raises UnsupportedError for another activation.
    """
    extras = record["extras"]
    scoring = fields.word("scoring_func", "moe_router_activation_func") or "softmax"
    if scoring not in GATING:
        raise UnsupportedError(f"router activation {show(scoring)}; known are {', '.join(GATING)}")
    extras["expert_gating_func"] = GATING[scoring]
    if fields.flag("norm_topk_prob") or fields.flag("moe_renormalize"):
        extras["expert_weights_norm"] = True
    scale = fields.real("routed_scaling_factor", "moe_router_scaling_factor")
    if scale is not None and scale != 1.0:
        extras["expert_weights_scale"] = scale
    groups = fields.maybe_number("n_group", "num_expert_group")
    if groups is not None and groups > 1:
        extras["expert_group_count"] = groups
        extras["expert_group_used_count"] = fields.number("topk_group")


def deepseek_moe(fields: Fields, record: Record) -> None:
    """Routed and shared experts of one width, after the first dense layers."""
    if fields.find("n_routed_experts", "num_experts") is None:
        return
    width = fields.number("moe_intermediate_size")
    shared = fields.maybe_number("n_shared_experts", "num_shared_experts", low=0) or 0
    add_moe(
        record,
        fields.number("n_routed_experts", "num_experts"),
        fields.number("num_experts_per_tok", "num_experts_per_token"),
        width,
        list_sparse(fields, record["n_layers"]),
        n_shared_experts=shared,
        shared_expert_ffn_dim=shared * width,
    )


def qwen_moe(fields: Fields, record: Record) -> None:
    """Experts on each `decoder_sparse_step`-th layer but `mlp_only_layers`, with a shared one where it has a width."""
    step = fields.number("decoder_sparse_step", high=MAX_LAYERS)
    dense = set(fields.numbers("mlp_only_layers") or ())
    sparse = [layer not in dense and (layer + 1) % step == 0 for layer in range(record["n_layers"])]
    shared = fields.maybe_number("shared_expert_intermediate_size", low=0) or 0
    if not all(sparse):
        record["ffn_dim"] = fields.number("intermediate_size")
    add_moe(
        record,
        fields.number("num_experts", "num_local_experts"),
        fields.number("num_experts_per_tok"),
        fields.number("moe_intermediate_size"),
        sparse,
        n_shared_experts=int(shared > 0),
        shared_expert_ffn_dim=shared,
    )


def plain_moe(fields: Fields, record: Record) -> None:
    """Experts as wide as `intermediate_size` on every layer (Mixtral, OLMoE, gpt-oss, MiniMax M2).

    Raises UnsupportedError for a shared expert.
    """
    count = fields.number("num_local_experts", "num_experts")
    width = fields.number("intermediate_size")
    if fields.maybe_number("shared_intermediate_size", low=0):
        raise UnsupportedError("shared_intermediate_size: this architecture's tensor table has no shared expert")
    add_moe(record, count, fields.number("num_experts_per_tok"), width, [True] * record["n_layers"])


# ---------------------------------------------------------------- latent attention, indexers, recurrence


def read_latent(fields: Fields, record: Record) -> None:
    """Multi-head latent attention; a head is as wide as its rotated and its unrotated part together."""
    rope, nope = fields.number("qk_rope_head_dim", low=0), fields.number("qk_nope_head_dim")
    record["head_dim"] = rope + nope
    record["mla"] = {
        "kv_lora_rank": fields.number("kv_lora_rank"),
        "rope_head_dim": rope,
        "nope_head_dim": nope,
        "v_head_dim": fields.number("v_head_dim"),
    }
    rank = None if fields.states_null("q_lora_rank") else fields.maybe_number("q_lora_rank")
    if rank is not None:
        record["mla"]["q_lora_rank"] = rank


def read_indexer(fields: Fields, record: Record) -> None:
    """The indexer of sparse attention, on all attending layers or on those `indexer_types` calls full.

    Where the list is left out, GLM-5's own rule stands (transformers models/glm_moe_dsa): each `index_topk_freq`-th
    after an offset.
    """
    table: dict[str, Any] = {
        "n_heads": fields.number("index_n_heads"),
        "head_dim": fields.number("index_head_dim"),
        "top_k": fields.number("index_topk"),
    }
    types = fields.words("indexer_types")
    if types is None and (pattern := fields.word("index_topk_pattern")) is not None:
        types = tuple("full" if letter == "F" else "shared" for letter in pattern)
    if types is None and (step := fields.maybe_number("index_topk_freq")) is not None and step > 1:
        stated = fields.maybe_number("index_skip_topk_offset", low=0)
        offset = 2 if stated is None else stated
        types = tuple(
            "full" if max(layer - offset + 1, 0) % step == 0 else "shared" for layer in range(record["n_layers"])
        )
    if types is not None:
        owners = _check_length(fields, "indexer_types", [t == "full" for t in types], record["n_layers"])
        if not all(owners):
            table["layers"] = [layer for layer, owns in enumerate(owners) if owns]
    record["indexer"] = table


def read_delta_net(fields: Fields, record: Record) -> None:
    """A gated delta net on all layers that do not attend (Qwen3-Next, Qwen3.5)."""
    step = fields.number("full_attention_interval", high=MAX_LAYERS)
    default = every(record["n_layers"], step, "linear_attention", "full_attention")
    record["layers"] = list_letters(fields, record, "FR", default)
    record["extras"]["full_attention_interval"] = step
    n_heads, head_dim = fields.number("linear_num_value_heads"), fields.number("linear_value_head_dim")
    record["recurrent"] = {
        "kind": "gated_delta_net",
        "conv_kernel": fields.number("linear_conv_kernel_dim", high=256),
        "n_heads": n_heads,
        "head_dim": head_dim,
        "n_groups": fields.number("linear_num_key_heads"),
        "d_state": fields.number("linear_key_head_dim"),
        "d_inner": n_heads * head_dim,
    }


def read_kimi_delta(fields: Fields, record: Record) -> None:
    """Kimi delta attention on the layers that do not attend: `linear_attn_config`, its layers counted from 1."""
    table = fields.table("linear_attn_config")
    full = table.numbers("full_attn_layers", low=1, high=MAX_LAYERS)
    if full is not None:
        default = tuple("full_attention" if i + 1 in full else "linear_attention" for i in range(record["n_layers"]))
    else:
        default = every(record["n_layers"], 4, "linear_attention", "full_attention")
    record["layers"] = list_letters(fields, record, "FR", default)
    record["recurrent"] = {
        "kind": "kimi_delta",
        "conv_kernel": table.number("short_conv_kernel_size", high=256),
        "n_heads": table.number("num_heads"),
        "head_dim": table.number("head_dim"),
    }
    bound = table.real("gate_lower_bound")
    if bound is not None:
        record["extras"]["kda.gate_lower_bound"] = bound


def read_mamba2(fields: Fields, record: Record) -> None:
    """A Mamba-2 mixer with keys that start in `mamba_` (Granite 4 H, Falcon-H1).

    Raises BadInputError for heads that do not fill the inner width.
    """
    n_heads = fields.number("mamba_n_heads")
    stated = None if fields.states_null("mamba_d_ssm") else fields.maybe_number("mamba_d_ssm")
    d_inner = stated or fields.number("mamba_expand", high=64) * record["hidden_dim"]
    is_auto = fields.find("mamba_d_head") in (None, "auto")
    head_dim = d_inner // n_heads if is_auto else fields.number("mamba_d_head")
    if head_dim * n_heads != d_inner:
        raise BadInputError(f"config.json: {n_heads} Mamba heads of {head_dim} do not make an inner width of {d_inner}")
    record["recurrent"] = {
        "kind": "mamba2",
        "conv_kernel": fields.number("mamba_d_conv", high=256),
        "n_heads": n_heads,
        "head_dim": head_dim,
        "n_groups": fields.number("mamba_n_groups"),
        "d_state": fields.number("mamba_d_state"),
        "d_inner": d_inner,
    }


def read_short_conv(fields: Fields, record: Record) -> None:
    """Short convolutions on the layers that do not attend (LFM2): `layer_types`, or `full_attn_idxs`."""
    full = fields.numbers("full_attn_idxs")
    default = tuple("full_attention" if i in full else "conv" for i in range(record["n_layers"])) if full else None
    record["layers"] = list_letters(fields, record, "FR", default)
    record["recurrent"] = {"kind": "short_conv", "conv_kernel": fields.number("conv_L_cache", high=256)}

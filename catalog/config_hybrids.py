"""Parts of a model record for families that mix attention with recurrence. Sources as in `catalog.config_shapes`."""

from __future__ import annotations

from catalog.config_fields import MAX_LAYERS, Fields
from catalog.config_shapes import (
    Record,
    add_moe,
    list_letters,
    read_mamba2,
    read_widths,
)
from sizing.errors import BadInputError, UnsupportedError


def lfm2_ffn(fields: Fields, record: Record) -> None:
    """The feed-forward width is two thirds of the stated one, scaled and rounded up (conversion/lfm2.py, LFM2Model)."""
    width = fields.number("block_ff_dim", "intermediate_size")
    if fields.flag("block_auto_adjust_ff_dim"):
        scale, multiple = fields.real("block_ffn_dim_multiplier"), fields.number("block_multiple_of")
        if scale is not None and not 0 < scale <= 64:
            raise fields.wrong("block_ffn_dim_multiplier", "a number above 0, at most 64", scale)
        width = int((1.0 if scale is None else scale) * int(2 * width / 3))
        width = -(-width // multiple) * multiple
    record["ffn_dim"] = width


def lfm2_moe(fields: Fields, record: Record) -> None:
    """Experts after the first `num_dense_layers`; their router is a sigmoid with a bias."""
    leading = fields.number("num_dense_layers", low=0, high=MAX_LAYERS)
    sparse = [layer >= leading for layer in range(record["n_layers"])]
    n_experts, n_active = fields.number("num_experts"), fields.number("num_experts_per_tok")
    add_moe(record, n_experts, n_active, fields.number("moe_intermediate_size"), sparse)
    record["extras"]["expert_gating_func"] = 2


def granite_hybrid(fields: Fields, record: Record) -> None:
    """Mamba-2 with some attention; without Mamba it is a plain Granite (conversion/granite.py, GraniteHybridModel).

    Raises UnsupportedError for experts without Mamba.
    """
    record["layers"] = list_letters(fields, record, "FR", ("mamba",) * record["n_layers"])
    if "R" in record["layers"]:
        read_mamba2(fields, record)
    else:
        record["architecture"] = "granite"
    n_experts = fields.number("num_local_experts", low=0)
    shared = fields.number("shared_intermediate_size", low=0)
    if not n_experts:
        record["ffn_dim"] = shared
        return
    if record["architecture"] == "granite":
        raise UnsupportedError("experts without Mamba layers make a granitemoe, which has no tensor table")
    n_active, width = fields.number("num_experts_per_tok"), fields.number("intermediate_size")
    more = {"n_shared_experts": int(shared > 0), "shared_expert_ffn_dim": shared}
    add_moe(record, n_experts, n_active, width, [True] * record["n_layers"], **more)


def falcon_h1(fields: Fields, record: Record) -> None:
    """Attention and Mamba-2 side by side on every layer; some sizes norm the mixer's output."""
    record["layers"] = "P"
    record["extras"]["ssm.norm"] = fields.flag("mamba_rms_norm")


_NEMOTRON_LETTERS = {"M": "R", "*": "F", "-": "N", "E": "N"}
_NEMOTRON_TYPES = {
    "mamba": "M",
    "linear_attention": "M",
    "attention": "*",
    "full_attention": "*",
    "mlp": "-",
    "moe": "E",
}


def find_nemotron_pattern(fields: Fields) -> str:
    """The pattern of a Nemotron-H, one sign a layer: M a mixer, * attention, - a feed-forward, E experts."""
    pattern = fields.word("hybrid_override_pattern")
    if pattern is None:
        types = fields.words("layers_block_type") or fields.words("layer_types")
        if types is None:
            raise fields.wrong("hybrid_override_pattern", "a text with one sign a layer", None)
        pattern = "".join(_NEMOTRON_TYPES.get(name, "?") for name in types)
    if not 1 <= len(pattern) <= MAX_LAYERS or set(pattern) - set(_NEMOTRON_LETTERS):
        raise fields.wrong("hybrid_override_pattern", f"1 to {MAX_LAYERS} signs of M, *, - and E", pattern)
    return pattern


def nemotron_widths(fields: Fields, record: Record) -> None:
    """Widths as every decoder states them; newer files leave the number of layers to the pattern."""
    layers = {"num_hidden_layers": len(find_nemotron_pattern(fields))}
    read_widths(Fields(fields.values, {**fields.defaults, **layers}, fields.where), record)


def nemotron_h(fields: Fields, record: Record) -> None:
    """One block a layer: a mixer, attention, a feed-forward or experts (conversion/nemotron.py, NemotronHModel).

    Raises BadInputError for a pattern of another length than the layers, UnsupportedError for experts and dense
    feed-forwards in one.
    """
    pattern = find_nemotron_pattern(fields)
    if fields.states("num_hidden_layers") and record["n_layers"] != len(pattern):
        raise BadInputError(f"config.json: {len(pattern)} signs in the layer pattern for {record['n_layers']} layers")
    if "E" in pattern and "-" in pattern:
        raise UnsupportedError("hybrid_override_pattern has both experts (E) and dense feed-forwards (-)")
    n_heads, head_dim = fields.number("mamba_num_heads"), fields.number("mamba_head_dim")
    record |= {
        "n_layers": len(pattern),
        "layers": "".join(_NEMOTRON_LETTERS[sign] for sign in pattern),
        "one_block_per_layer": True,
        "ffn_gated": False,
        "recurrent": {
            "kind": "mamba2",
            "conv_kernel": fields.number("conv_kernel", "mamba_d_conv", high=256),
            "n_heads": n_heads,
            "head_dim": head_dim,
            "n_groups": fields.number("n_groups", "mamba_n_groups"),
            "d_state": fields.number("ssm_state_size"),
            "d_inner": n_heads * head_dim,
        },
    }
    if "E" in pattern:
        _add_nemotron_experts(fields, record)
    elif "-" in pattern:
        record["ffn_dim"] = fields.number("intermediate_size")


def _add_nemotron_experts(fields: Fields, record: Record) -> None:
    """Ungated experts and one shared feed-forward, in a narrower space where `moe_latent_size` says so."""
    record["architecture"] = "nemotron_h_moe"
    if (latent := fields.maybe_number("moe_latent_size")) is not None:
        record["extras"]["moe_latent_size"] = latent
    more = {
        "n_shared_experts": fields.number("n_shared_experts", low=0),
        "shared_expert_ffn_dim": fields.number("moe_shared_expert_intermediate_size", low=0),
    }
    n_experts, n_active = fields.number("n_routed_experts"), fields.number("num_experts_per_tok")
    width = fields.number("moe_intermediate_size")
    add_moe(record, n_experts, n_active, width, [True] * record["n_layers"], **more)

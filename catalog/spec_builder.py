"""One record of a family file -> `sizing.specs.ModelSpec`: the pattern of layers is written out, nothing is guessed.

Where a model's own files and llama.cpp disagree on what a layer keeps, llama.cpp's reading is followed, since its
memory is what gets estimated (src/llama-hparams.cpp and src/models/*.cpp of ggml-org/llama.cpp).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sizing.errors import BadInputError
from sizing.specs import (
    Attention,
    AttentionKind,
    ExtraValue,
    FeedForward,
    Indexer,
    Latent,
    LayerGroup,
    ModelSpec,
    Recurrent,
    RecurrentKind,
)

LAYER_LETTERS = {
    "F": "full attention (or latent, where the record has an mla table)",
    "S": "sliding-window attention",
    "C": "chunked attention",
    "R": "recurrent, no attention",
    "P": "attention and recurrence side by side",
    "N": "neither: the layer is its feed-forward alone",
    "X": "attention that caches none of the text's keys (to an image, or in an encoder)",
}

Record = Mapping[str, Any]
Parts = tuple[Attention | None, Recurrent | None, FeedForward | None]


def build_spec(record: Record) -> ModelSpec:
    """The shapes of one `[[model]]` record, layer by layer.

    Raises BadInputError when the pattern of layers does not fit the number of layers, or a letter needs a table
    that is absent.
    """
    n_layers = int(record["n_layers"])
    letters = expand_pattern(str(record.get("layers", "F")), n_layers)
    ffn_dims = expand_ffn_dims(record, n_layers)
    alike: dict[tuple[object, ...], list[int]] = {}
    for layer, letter in enumerate(letters):
        alike.setdefault((letter, ffn_dims[layer], *_tell_apart(record, letter, layer)), []).append(layer)
    members: dict[Parts, list[int]] = {}
    for layers in alike.values():
        parts = _build_parts(record, letters[layers[0]], layers[0], ffn_dims[layers[0]])
        members.setdefault(parts, []).extend(layers)
    groups = tuple(LayerGroup(tuple(sorted(layers)), *parts) for parts, layers in members.items())
    return ModelSpec(
        model_id=record["id"],
        name=record["name"],
        architecture=record["architecture"],
        groups=groups,
        hidden_dim=record["hidden_dim"],
        vocab_size=record["vocab_size"],
        context_tokens=record["context_tokens"],
        tied_embeddings=record["tied_embeddings"],
        n_params=record["n_params"],
        n_active_params=record["n_active_params"],
        n_params_projector=record.get("n_params_projector"),
        extras=tuple((key, _freeze(value)) for key, value in record.get("extras", {}).items()),
    )


def _tell_apart(record: Record, letter: str, layer: int) -> tuple[object, ...]:
    """What a layer's number decides of it; with its letter and width, layers that agree are alike and built once."""
    by_layer = record.get("n_kv_heads_by_layer")
    return (
        by_layer and by_layer[layer],
        has_indexer(record, layer),
        shares_kv(record, letter, layer),
        chooses_experts(record, layer),
    )


def _build_parts(record: Record, letter: str, layer: int, ffn_dim: int) -> Parts:
    """Attention, recurrence and feed-forward of one layer."""
    attention = build_attention(record, letter, layer)
    recurrent = build_recurrent(record["recurrent"], int(record["hidden_dim"])) if letter in "RP" else None
    skips_ffn = bool(record.get("one_block_per_layer", False)) and letter != "N"
    return attention, recurrent, None if skips_ffn else build_ffn(record, layer, ffn_dim)


def expand_pattern(pattern: str, n_layers: int) -> str:
    """One letter per layer: the pattern repeated until `n_layers` are named.

    Raises BadInputError for other letters, none, or more than there are layers.

    >>> expand_pattern("SSSSSF", 8)
    'SSSSSFSS'
    """
    unknown = sorted(set(pattern) - set(LAYER_LETTERS))
    if not pattern or unknown or len(pattern) > n_layers:
        raise BadInputError(
            f"layers wants 1 to {n_layers} letters of {''.join(LAYER_LETTERS)}, got {pattern!r}; "
            "write the shortest repeating part, or every layer"
        )
    return (pattern * (n_layers // len(pattern) + 1))[:n_layers]


def expand_ffn_dims(record: Record, n_layers: int) -> tuple[int, ...]:
    """Dense feed-forward width of every layer, from `ffn_dim` or from runs of `[count, width]`; 0 where none.

    Raises BadInputError for runs that cover another number of layers.
    """
    runs = record.get("ffn_dim_by_layer")
    if runs is None:
        return (int(record.get("ffn_dim", 0)),) * n_layers
    dims = tuple(int(width) for count, width in runs for _ in range(int(count)))
    if len(dims) != n_layers:
        raise BadInputError(f"ffn_dim_by_layer covers {len(dims)} layers, the model has {n_layers}")
    return dims


def build_attention(record: Record, letter: str, layer: int) -> Attention | None:
    """Attention of a layer of this letter, or None where the layer has none.

    `n_kv_heads_by_layer` stands only in records read from a config whose layers were pruned one by one (Nemotron NAS).
    Raises BadInputError for a windowed letter without a window table.
    """
    if letter in "RN":
        return None
    windowed = letter in "SC"
    if windowed and "window" not in record:
        raise BadInputError(f"layers has {letter!r} but the record has no window table")
    own: Record = record.get("window" if windowed else "full_attention", {})
    latent = build_latent(record["mla"]) if "mla" in record and not windowed else None
    head_dim = int(own.get("head_dim", record["head_dim"]))
    n_kv_heads = own.get("n_kv_heads", record["n_kv_heads"])
    if "n_kv_heads_by_layer" in record and not windowed:
        n_kv_heads = record["n_kv_heads_by_layer"][layer]
    kind = AttentionKind.LATENT if latent else AttentionKind.FULL
    if windowed:
        kind = AttentionKind.SLIDING if letter == "S" else AttentionKind.CHUNKED
    return Attention(
        kind=kind,
        n_heads=int(own.get("n_heads", record["n_heads"])),
        n_kv_heads=int(n_kv_heads),
        head_dim=head_dim,
        head_dim_v=latent.v_head_dim if latent else int(own.get("head_dim_v", record.get("head_dim_v", head_dim))),
        window_tokens=int(own["tokens"]) if windowed else None,
        latent=latent,
        indexer=build_indexer(record, layer),
        shares_kv=shares_kv(record, letter, layer),
    )


def shares_kv(record: Record, letter: str, layer: int) -> bool:
    """Whether a layer attends to keys that another one keeps: the last `n_shared_kv_layers` do, and letter X."""
    return letter == "X" or layer >= int(record["n_layers"]) - int(record.get("n_shared_kv_layers", 0))


def has_indexer(record: Record, layer: int) -> bool:
    """Whether an attending layer owns an indexer: every one does, unless the table lists those that do."""
    table: Record | None = record.get("indexer")
    return table is not None and layer in table.get("layers", (layer,))


def build_indexer(record: Record, layer: int) -> Indexer | None:
    """The indexer of one layer, None where it owns none."""
    if not has_indexer(record, layer):
        return None
    table: Record = record["indexer"]
    return Indexer(table["n_heads"], table["head_dim"], table["top_k"])


def build_latent(table: Record) -> Latent:
    """Widths of multi-head latent attention."""
    return Latent(
        kv_lora_rank=table["kv_lora_rank"],
        rope_head_dim=table["rope_head_dim"],
        nope_head_dim=table["nope_head_dim"],
        v_head_dim=table["v_head_dim"],
        q_lora_rank=table.get("q_lora_rank"),
    )


def build_recurrent(table: Record, hidden_dim: int) -> Recurrent:
    """A recurrent layer with the element counts of its two states, as llama.cpp counts them per sequence.

    Formulas: `n_embd_r()` and `n_embd_s()` in src/llama-hparams.cpp of ggml-org/llama.cpp.
    """
    kind = RecurrentKind(table["kind"])
    conv = int(table["conv_kernel"])
    n_heads, head_dim = int(table.get("n_heads", 0)), int(table.get("head_dim", 0))
    d_inner, d_state, n_groups = (int(table.get(key, 0)) for key in ("d_inner", "d_state", "n_groups"))
    if kind is RecurrentKind.SHORT_CONV:
        conv_elements, state_elements = hidden_dim * (conv - 1), 0
    elif kind is RecurrentKind.KIMI_DELTA:
        conv_elements, state_elements = 3 * (conv - 1) * n_heads * head_dim, head_dim * head_dim * n_heads
    else:
        conv_elements, state_elements = (conv - 1) * (d_inner + 2 * n_groups * d_state), d_state * d_inner
    return Recurrent(kind, conv, d_inner, d_state, n_groups, n_heads, head_dim, conv_elements, state_elements)


def build_ffn(record: Record, layer: int, ffn_dim: int) -> FeedForward | None:
    """Feed-forward of one layer: dense, mixture of experts, or both; None where the layer has none."""
    gated = bool(record.get("ffn_gated", True))
    if not chooses_experts(record, layer):
        return FeedForward(ffn_dim=ffn_dim, gated=gated) if ffn_dim else None
    moe: Record = record["moe"]
    return FeedForward(
        ffn_dim=ffn_dim if moe.get("beside_dense", False) else 0,
        gated=gated,
        n_experts=moe["n_experts"],
        n_active_experts=moe["n_active_experts"],
        expert_ffn_dim=moe["expert_ffn_dim"],
        n_shared_experts=moe.get("n_shared_experts", 0),
        shared_expert_ffn_dim=moe.get("shared_expert_ffn_dim", 0),
    )


def chooses_experts(record: Record, layer: int) -> bool:
    """Whether a layer is a mixture of experts: those after the leading dense ones, or every few, where the model is."""
    moe: Record | None = record.get("moe")
    return moe is not None and layer >= moe.get("leading_dense_layers", 0) and (layer + 1) % moe.get("every", 1) == 0


def _freeze(value: Any) -> ExtraValue:
    return tuple(value) if isinstance(value, list) else value

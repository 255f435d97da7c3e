"""Facts as flat names and plain values: those of a shape, and how one of them changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sizing.specs import Attention, AttentionKind, FeedForward, ModelSpec, Recurrent

FactValue = str | int | float | bool | None

APPLICABLE = (
    "license",
    "gated",
    "architecture",
    "n_layers",
    "hidden_dim",
    "n_heads",
    "n_kv_heads",
    "head_dim",
    "ffn_dim",
    "vocab_size",
    "context_tokens",
    "tied_embeddings",
    "n_params",
    "n_active_params",
    "n_params_reported",
    "quant_native",
)
"""Plain values of a record itself. What stands in its tables and lists is edited by hand."""


@dataclass(frozen=True, slots=True)
class FactChange:
    """One fact that is not what it was: `old` is None where nothing was known, `new` where the Hub says it no longer.

    `field` is the key in the family file (`window.tokens` for one in a table), or a word for what has no key there.
    `is_applicable` tells whether it can be taken over without a person editing the file; `note` says what to mind.
    """

    field: str
    old: FactValue
    new: FactValue
    source_url: str
    is_applicable: bool
    note: str = ""


def list_shape_facts(spec: ModelSpec) -> dict[str, FactValue]:
    """Every number of a spec by the name a family file has for it; those of a table are `table.key`.

    `ffn_dim` is the width of the dense layers; where they differ, `ffn_dim_by_layer` says so as one text of runs. The
    pattern of layers is one text of letters (see `catalog.spec_builder.LAYER_LETTERS`), its shortest repeating part.
    """
    return dict(_list_facts(spec))


def _list_facts(spec: ModelSpec) -> Iterator[tuple[str, FactValue]]:
    yield "architecture", spec.architecture
    yield "n_layers", spec.n_layers
    yield "hidden_dim", spec.hidden_dim
    yield "vocab_size", spec.vocab_size
    yield "context_tokens", spec.context_tokens
    yield "tied_embeddings", spec.tied_embeddings
    yield "n_params", spec.n_params
    yield "n_active_params", spec.n_active_params
    yield from _list_attention_facts(spec)
    yield from _list_width_facts(spec)
    moe = next((g.ffn for g in spec.by_layer if g.ffn is not None and g.ffn.is_moe), None)
    if moe is not None:
        yield from _list_expert_facts(moe, spec)
    recurrent = next((g.recurrent for g in spec.by_layer if g.recurrent is not None), None)
    if recurrent is not None:
        yield from _list_recurrent_facts(recurrent)
    yield "layers", find_pattern("".join(_find_letter(g.attention, g.recurrent) for g in spec.by_layer))


def _list_attention_facts(spec: ModelSpec) -> Iterator[tuple[str, FactValue]]:
    attending = [g.attention for g in spec.by_layer if g.attention is not None]
    windowed = next((a for a in attending if a.window_tokens is not None), None)
    full = next((a for a in attending if a.window_tokens is None), windowed)
    if full is None:
        return
    yield "n_heads", full.n_heads
    yield "n_kv_heads", full.n_kv_heads
    yield "head_dim", full.head_dim
    if windowed is not None:
        yield "window.tokens", windowed.window_tokens
        yield "window.n_heads", windowed.n_heads
        yield "window.n_kv_heads", windowed.n_kv_heads
        yield "window.head_dim", windowed.head_dim
    if full.latent is not None:
        yield "mla.kv_lora_rank", full.latent.kv_lora_rank
        yield "mla.q_lora_rank", full.latent.q_lora_rank
        yield "mla.rope_head_dim", full.latent.rope_head_dim
        yield "mla.nope_head_dim", full.latent.nope_head_dim
        yield "mla.v_head_dim", full.latent.v_head_dim
    indexer = next((a.indexer for a in attending if a.indexer is not None), None)
    if indexer is not None:
        yield "indexer.n_heads", indexer.n_heads
        yield "indexer.head_dim", indexer.head_dim
        yield "indexer.top_k", indexer.top_k
    yield "n_shared_kv_layers", sum(a.shares_kv for a in attending)


def _list_width_facts(spec: ModelSpec) -> Iterator[tuple[str, FactValue]]:
    widths = [g.ffn.ffn_dim for g in spec.by_layer if g.ffn is not None and g.ffn.ffn_dim]
    if len(set(widths)) == 1:
        yield "ffn_dim", widths[0]
    elif widths:
        yield "ffn_dim_by_layer", " ".join(str(g.ffn.ffn_dim if g.ffn is not None else 0) for g in spec.by_layer)


def _list_expert_facts(moe: FeedForward, spec: ModelSpec) -> Iterator[tuple[str, FactValue]]:
    yield "moe.n_experts", moe.n_experts
    yield "moe.n_active_experts", moe.n_active_experts
    yield "moe.expert_ffn_dim", moe.expert_ffn_dim
    yield "moe.n_shared_experts", moe.n_shared_experts
    yield "moe.shared_expert_ffn_dim", moe.shared_expert_ffn_dim
    yield "moe layers", sum(g.ffn is not None and g.ffn.is_moe for g in spec.by_layer)


def _list_recurrent_facts(recurrent: Recurrent) -> Iterator[tuple[str, FactValue]]:
    yield "recurrent.kind", str(recurrent.kind)
    yield "recurrent.conv_kernel", recurrent.conv_kernel
    yield "recurrent.n_heads", recurrent.n_heads
    yield "recurrent.head_dim", recurrent.head_dim
    yield "recurrent.n_groups", recurrent.n_groups
    yield "recurrent.d_state", recurrent.d_state
    yield "recurrent.d_inner", recurrent.d_inner


def _find_letter(attention: Attention | None, recurrent: Recurrent | None) -> str:
    if attention is None:
        return "N" if recurrent is None else "R"
    if recurrent is not None:
        return "P"
    if attention.kind is AttentionKind.SLIDING:
        return "S"
    return "C" if attention.kind is AttentionKind.CHUNKED else "F"


def find_pattern(letters: str) -> str:
    """The shortest part that gives the letters when it is repeated and cut to their length.

    >>> find_pattern("SSSSSFSS"), find_pattern("FFFF"), find_pattern("RFFR")
    ('SSSSSF', 'F', 'RFF')
    """
    n = len(letters)
    return next(letters[:size] for size in range(1, n + 1) if (letters[:size] * (n // size + 1))[:n] == letters)

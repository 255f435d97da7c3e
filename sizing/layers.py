"""The long table: layer groups of one or many models as numpy columns, the form every memory formula takes.

One row is one layer group (layers of one kind) of one model; sums per model are segment sums over rows. A single
`ModelSpec` is a table with one model, so one model and a whole catalog go through the same formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from sizing.specs import AttentionKind, LayerGroup, ModelSpec, RecurrentKind

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

COMPRESS_RATIOS = "attention.compress_ratios"
"""GGUF key of DeepSeek-V4's cache compression per layer; layers of one group are split by it."""

MODEL_EXTRAS = {
    "n_altup": ("altup.num_inputs", 0),
    "laurel_rank": ("laurel_rank", 0),
    "per_layer_dim": ("embedding_length_per_layer_input", 0),
    "hyper_connections": ("hyper_connection.count", 0),
    "output_lora_rank": ("attention.output_lora_rank", 0),
    "indexer_pool": ("attention.indexer.kpool", 0),
    "n_expert_groups": ("expert_group_count", 0),
    "n_groups_used": ("expert_group_used_count", 0),
    "moe_latent_dim": ("expert_latent_length|moe_latent_size", 0),
    "q_lora_rank": ("attention.q_lora_rank", 0),
    "n_output_groups": ("attention.output_group_count", 8),
    "n_deepstack": ("n_deepstack_layers", 0),
    "residual_block": ("attn_res.block_size", 0),
    "gating": ("expert_gating_func", 0),
    "experts_normed": ("expert_weights_norm", 0),
    "hash_layers": ("hash_layer_count", 3),
    "ropes": ("rope.scaling.finetuned", 1),
}
"""Columns per model that come from a spec's extras: column, (GGUF key or keys, value where absent)."""

KIND_COLUMNS = ("kind", "recurrent", "n_active_experts", "compress_ratio", "shares_kv", "qk_norm")
"""Columns that decide what a layer does, not how large it is."""

FLAG_COLUMNS = (
    "n_experts",
    "window_tokens",
    "n_heads",
    "n_kv_heads",
    "indexer_dim",
    "q_lora_rank",
    "ffn_dim",
    "shared_expert_ffn_dim",
)
"""Columns whose being zero or not decides what a layer does."""

SHAPING_EXTRAS = (
    "per_layer_dim",
    "moe_latent_dim",
    "n_altup",
    "hyper_connections",
    "indexer_pool",
    "n_expert_groups",
    "n_output_groups",
    "n_deepstack",
    "residual_block",
    "hash_layers",
    "experts_normed",
    "ropes",
    "gating",
)
"""Columns per model that decide what its layers do."""


@dataclass(frozen=True, slots=True)
class LayerTable:
    """Columns over layer groups (rows) and over models.

    Per row, `model` points into the columns per model and `count` says how many layers the row stands for; widths
    are elements per token. Absent things are 0. Per model, `first_row[m]:first_row[m + 1]` are its rows, and
    `layer_rows[first_layer[m]:first_layer[m + 1]]` names the row of each of its layers, in layer order. Models with
    one number in column `graph` have the same architecture and the same kinds of layers in the same order.
    """

    model_ids: tuple[str, ...]
    architectures: tuple[str, ...]
    rows: dict[str, Ints]
    models: dict[str, Ints]
    first_row: Ints
    layer_rows: Ints
    first_layer: Ints

    @classmethod
    def from_specs(cls, specs: Sequence[ModelSpec]) -> LayerTable:
        """The table of the given models, in the order given."""
        grouped = [_split_groups(spec) for spec in specs]
        row_values = [_row(spec, g, ratio) for spec, groups in zip(specs, grouped, strict=True) for g, ratio in groups]
        counts = [len(groups) for groups in grouped]
        first_row = _starts(counts)
        layer_rows = np.zeros(sum(spec.n_layers for spec in specs), dtype=np.int64)
        first_layer = _starts([spec.n_layers for spec in specs])
        for m, groups in enumerate(grouped):
            for r, (g, _) in enumerate(groups):
                layer_rows[first_layer[m] + np.array(g.layers, dtype=np.int64)] = first_row[m] + r
        rows = {k: np.array([v[k] for v in row_values], dtype=np.int64) for k in (row_values[0] if row_values else ())}
        rows["model"] = np.repeat(np.arange(len(specs), dtype=np.int64), counts)
        models = {
            "hidden_dim": np.array([s.hidden_dim for s in specs], dtype=np.int64),
            "vocab_size": np.array([s.vocab_size for s in specs], dtype=np.int64),
            "n_layers": np.array([s.n_layers for s in specs], dtype=np.int64),
        }
        for column, (key, default) in MODEL_EXTRAS.items():
            models[column] = np.array([_extra(s, key, default) for s in specs], dtype=np.int64)
        models["graph"] = np.array(
            [
                _graph_number(
                    spec, row_values[first_row[m] : first_row[m + 1]], layer_rows[first_layer[m] : first_layer[m + 1]]
                )
                for m, spec in enumerate(specs)
            ],
            dtype=np.int64,
        )
        return cls(
            model_ids=tuple(s.model_id for s in specs),
            architectures=tuple(s.architecture for s in specs),
            rows=rows,
            models=models,
            first_row=first_row,
            layer_rows=layer_rows,
            first_layer=first_layer,
        )

    def take(self, models: Ints) -> LayerTable:
        """A table of the models at these indices, in this order; they may repeat."""
        rows, first_row = _gather(self.first_row, models)
        layers, first_layer = _gather(self.first_layer, models)
        shift = first_row[:-1] - self.first_row[:-1][models]
        taken = {k: column[rows] for k, column in self.rows.items()}
        taken["model"] = np.repeat(np.arange(len(models), dtype=np.int64), np.diff(first_row))
        return LayerTable(
            model_ids=tuple(self.model_ids[m] for m in models),
            architectures=tuple(self.architectures[m] for m in models),
            rows=taken,
            models={k: column[models] for k, column in self.models.items()},
            first_row=first_row,
            layer_rows=self.layer_rows[layers] + np.repeat(shift, np.diff(first_layer)),
            first_layer=first_layer,
        )

    @property
    def n_models(self) -> int:
        """How many models the table holds."""
        return len(self.model_ids)

    def sum_rows(self, values: Ints) -> Ints:
        """Per model, the exact sum of a column over its rows. Every model has at least one row."""
        return np.add.reduceat(values, self.first_row[:-1]) if self.n_models else values[:0]

    def max_rows(self, values: Ints) -> Ints:
        """Per model, the largest value of a column over its rows."""
        return np.maximum.reduceat(values, self.first_row[:-1]) if self.n_models else values[:0]

    def has_architecture(self, names: frozenset[str]) -> Bools:
        """Per model, whether its architecture is one of `names`."""
        return np.array([a in names for a in self.architectures], dtype=np.bool_)


def _gather(starts: Ints, models: Ints) -> tuple[Ints, Ints]:
    """Indices of all items of the given models, laid end to end, and where each model's begin."""
    counts = np.diff(starts)[models]
    first = _starts(counts.tolist())
    return np.repeat(starts[:-1][models] - first[:-1], counts) + np.arange(first[-1], dtype=np.int64), first


def _starts(counts: Sequence[int]) -> Ints:
    return np.concatenate(([0], np.cumsum(np.array(counts, dtype=np.int64)))).astype(np.int64)


def _graph_number(spec: ModelSpec, rows: Sequence[dict[str, int]], layer_rows: Ints) -> int:
    """A number that models share when their graphs differ in sizes only."""
    kinds = [(*(row[c] for c in KIND_COLUMNS), *(row[c] > 0 for c in FLAG_COLUMNS)) for row in rows]
    extras = [_extra(spec, *MODEL_EXTRAS[name]) for name in SHAPING_EXTRAS]
    order = (layer_rows - layer_rows.min()).tobytes()
    digest = blake2b(repr((spec.architecture, kinds, extras)).encode() + order, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _extra(spec: ModelSpec, keys: str, default: int) -> int:
    """A whole number among a spec's extras under the first of `keys` that is there."""
    found = next((v for k in keys.split("|") if (v := spec.extra(k)) is not None), default)
    return int(found) if isinstance(found, (int, float)) else default


def _split_groups(spec: ModelSpec) -> list[tuple[LayerGroup, int]]:
    """The groups of a spec with their compression ratio, split where layers of one group differ in it."""
    ratios = spec.extra(COMPRESS_RATIOS)
    if not isinstance(ratios, tuple):
        return [(g, 0) for g in spec.groups]
    out = []
    for g in spec.groups:
        for ratio in sorted({int(ratios[i]) for i in g.layers}):
            out.append((replace(g, layers=tuple(i for i in g.layers if int(ratios[i]) == ratio)), ratio))
    return out


KIND_NUMBER = {kind: n + 1 for n, kind in enumerate(AttentionKind)}
"""Attention kinds as numbers; 0 is no attention."""

RECURRENT_NUMBER = {kind: n + 1 for n, kind in enumerate(RecurrentKind)}
"""Recurrent kinds as numbers; 0 is none."""


def _row(spec: ModelSpec, g: LayerGroup, ratio: int) -> dict[str, int]:
    a, r, f = g.attention, g.recurrent, g.ffn
    latent = a.latent if a else None
    indexer = a.indexer if a else None
    is_hybrid = any(other.recurrent is not None for other in spec.groups)
    return {
        "count": g.count,
        "qk_norm": int(spec.architecture == "command-r" and spec.n_layers >= 64),
        "kind": KIND_NUMBER[a.kind] if a else 0,
        "n_heads": a.n_heads if a else 0,
        "n_kv_heads": a.n_kv_heads if a else 0,
        "head_dim": a.head_dim if a else 0,
        "head_dim_v": a.head_dim_v if a else 0,
        "window_tokens": (a.window_tokens or 0) if a else 0,
        "k_width": a.cached_k_width if a else 0,
        "v_width": a.cached_v_width if a else 0,
        # llama.cpp keeps a slot in the cache for every layer unless the layer shares another's or a filter drops it
        "has_slot": int(a is not None and not a.shares_kv) if is_hybrid or a else 1,
        "shares_kv": int(a is not None and a.shares_kv),
        "kv_lora_rank": latent.kv_lora_rank if latent else 0,
        "rope_head_dim": latent.rope_head_dim if latent else 0,
        "nope_head_dim": latent.nope_head_dim if latent else 0,
        "latent_v_head_dim": latent.v_head_dim if latent else 0,
        "q_lora_rank": (latent.q_lora_rank or 0) if latent else 0,
        "indexer_heads": indexer.n_heads if indexer else 0,
        "indexer_dim": indexer.head_dim if indexer else 0,
        "indexer_top_k": indexer.top_k if indexer else 0,
        "compress_ratio": ratio,
        "recurrent": RECURRENT_NUMBER[r.kind] if r else 0,
        "conv_kernel": r.conv_kernel if r else 0,
        "d_inner": r.d_inner if r else 0,
        "d_state": r.d_state if r else 0,
        "n_groups": r.n_groups if r else 0,
        "recurrent_heads": r.n_heads if r else 0,
        "recurrent_head_dim": r.head_dim if r else 0,
        "conv_elements": r.conv_elements if r else 0,
        "state_elements": r.state_elements if r else 0,
        "ffn_dim": f.ffn_dim if f else 0,
        "n_experts": f.n_experts if f else 0,
        "n_active_experts": f.n_active_experts if f else 0,
        "expert_ffn_dim": f.expert_ffn_dim if f else 0,
        "n_shared_experts": f.n_shared_experts if f else 0,
        "shared_expert_ffn_dim": f.shared_expert_ffn_dim if f else 0,
    }

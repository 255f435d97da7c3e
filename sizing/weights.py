"""Weights of many models in many quantizations as one table of columns.

One row is one (model, quantization). Bytes of layers are kept as running sums, so that the bytes of any span of
layers, for all rows at once, is one subtraction. A single model in a single quantization is a table with one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sizing.errors import UnsupportedError
from sizing.memory import WeightBytes
from sizing.specs import ModelSpec
from sizing.tensor_groups import Crumbs, count_crumbs
from sizing.tensors import list_tensors

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


ENCODERS = frozenset({"nomic-bert"})
"""Architectures that hand back states instead of logits."""


@dataclass(frozen=True, slots=True)
class Spans:
    """Running sums over the layers of all rows, laid end to end: `between(first, last)` adds layers first..last-1."""

    sums: Ints
    offsets: Ints

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int]]) -> Spans:
        """Spans over rows of per-layer bytes."""
        flat = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
        starts = np.concatenate(([0], np.cumsum([len(row) for row in rows])))
        return cls.from_flat(flat, starts.astype(np.int64)[:-1])

    @classmethod
    def from_flat(cls, per_layer: Ints, first_layer: Ints) -> Spans:
        """Spans over per-layer bytes laid end to end, each row starting at its `first_layer`."""
        return cls(np.concatenate(([0], np.cumsum(per_layer))).astype(np.int64), first_layer)

    def between(self, first: Ints, last: Ints) -> Ints:
        """Bytes of layers first..last-1 of every row; 0 where the span is empty."""
        low = np.minimum(first, last)
        total: Ints = self.sums[self.offsets + last] - self.sums[self.offsets + low]
        return total

    def take(self, rows: Ints) -> Spans:
        """The same sums seen from other rows (rows may repeat)."""
        return Spans(self.sums, self.offsets[rows])


@dataclass(frozen=True, slots=True)
class WeightTable:
    """Columns over rows (model, quantization); in bytes unless said.

    `model_row` points into the list of models the table was built for. `largest_layer_bytes` and
    `largest_expert_bytes` are those of the heaviest layer. `padding`, `output_padding` and `shared_bytes` are the
    crumbs of `sizing.tensor_groups`. `active_expert_share` is the part of the routed experts that one token reads.
    `tied` marks rows whose output head is the token embedding. `n_lookup_params` are parameters that are looked up,
    never multiplied (embeddings), `n_head_params` those of the output head. `attention` holds three columns: elements
    of keys and values that one token's heads meet in each cell of the layers that see the whole context, the same of
    layers with a window, and that window in tokens.
    """

    model_row: Ints
    quant: tuple[str, ...]
    n_layers: Ints
    input_bytes: Ints
    token_embedding_bytes: Ints
    output_bytes: Ints
    layers: Spans
    experts: Spans
    largest_layer_bytes: Ints
    largest_expert_bytes: Ints
    active_expert_share: Floats
    tied: NDArray[np.bool_]
    is_moe: NDArray[np.bool_]
    padding: Spans
    output_padding: Ints
    shared_bytes: Ints
    n_lookup_params: Floats
    n_head_params: Floats
    attention: Floats

    @classmethod
    def from_models(cls, models: Sequence[tuple[ModelSpec, Sequence[WeightBytes]]]) -> WeightTable:
        """The table of all quantizations of all models, in the order given."""
        specs = [spec for spec, _ in models]
        flat = [w for _, weights in models for w in weights]
        crumbs = [find_crumbs(spec) for spec in specs]
        model_row = np.repeat(np.arange(len(models), dtype=np.int64), [len(weights) for _, weights in models])
        layers, largest_layer_bytes = _share_rows([w.layer_bytes for w in flat])
        experts, largest_expert_bytes = _share_rows([w.layer_expert_bytes for w in flat])

        def by_row(name: str) -> Ints:
            return np.array([getattr(w, name) for w in flat], dtype=np.int64)

        def by_model(values: Sequence[float] | Sequence[tuple[float, ...]]) -> Floats:
            column: Floats = np.array(values, dtype=np.float64)[model_row] if len(values) else np.zeros(0)
            return column

        return cls(
            model_row=model_row,
            quant=tuple(w.quant for w in flat),
            n_layers=np.array([len(w.layer_bytes) for w in flat], dtype=np.int64),
            input_bytes=by_row("input_bytes"),
            token_embedding_bytes=by_row("token_embedding_bytes"),
            output_bytes=by_row("output_bytes"),
            layers=layers,
            experts=experts,
            largest_layer_bytes=largest_layer_bytes,
            largest_expert_bytes=largest_expert_bytes,
            active_expert_share=by_model([active_expert_share(spec) for spec in specs]),
            tied=by_model([spec.tied_embeddings and has_head(spec) for spec in specs]).astype(np.bool_),
            is_moe=by_model([spec.is_moe for spec in specs]).astype(np.bool_),
            padding=Spans.from_rows([c.layer_padding for c in crumbs]).take(model_row),
            output_padding=np.array([c.output_padding for c in crumbs], dtype=np.int64)[model_row],
            shared_bytes=np.array([c.shared_bytes for c in crumbs], dtype=np.int64)[model_row],
            n_lookup_params=by_model([float(count_lookup_params(spec)) for spec in specs]),
            n_head_params=by_model([float(spec.vocab_size * spec.hidden_dim) for spec in specs]),
            attention=by_model([attention_widths(spec) for spec in specs]).reshape(-1, 3),
        )

    def count_attention_flops(self, depth_tokens: float) -> Floats:
        """Operations of attention for one token of each row that sees `depth_tokens` tokens before it.

        Two (a product and a sum) for each element of the keys and of the values that a head meets.
        """
        full, windowed, window = self.attention.T
        flops: Floats = 2.0 * (full * depth_tokens + windowed * np.minimum(window, depth_tokens))
        return flops

    def take(self, rows: Ints) -> WeightTable:
        """The table of some rows, in this order; they may repeat."""

        def part(column: Any) -> Any:
            if isinstance(column, Spans):
                return column.take(rows)
            return tuple(column[i] for i in rows) if isinstance(column, tuple) else column[rows]

        return WeightTable(**{f.name: part(getattr(self, f.name)) for f in fields(self)})

    @property
    def tensor_bytes(self) -> Ints:
        """Bytes of all tensors of each row."""
        zero = np.zeros_like(self.n_layers)
        return self.input_bytes + self.output_bytes + self.layers.between(zero, self.n_layers)


def has_head(spec: ModelSpec) -> bool:
    """Whether a model computes logits; an encoder hands back states."""
    return spec.architecture not in ENCODERS


def _share_rows(rows: Sequence[tuple[int, ...]]) -> tuple[Spans, Ints]:
    """Running sums and the largest value of each row; equal rows share theirs."""
    number: dict[tuple[int, ...], int] = {}
    which = np.array([number.setdefault(row, len(number)) for row in rows], dtype=np.int64)
    largest = np.array([max(row) for row in number], dtype=np.int64)
    return Spans.from_rows(list(number)).take(which), largest[which]


KEPT_CRUMBS = 8192
"""Shapes whose crumbs are remembered: counting them walks a model's whole tensor table."""


def find_crumbs(spec: ModelSpec) -> Crumbs:
    """The crumbs of a model; none where its tensor table is unknown or is not that of these layers.

    They are the shape's, whatever the model is called and whatever context it was trained for.
    """
    return find_shape_crumbs(
        replace(spec, model_id="", name="", context_tokens=1, n_params=1, n_active_params=1, n_params_projector=None)
    )


@lru_cache(maxsize=KEPT_CRUMBS)
def find_shape_crumbs(shape: ModelSpec) -> Crumbs:
    """The crumbs of a shape without a name."""
    try:
        return count_crumbs(list_tensors(shape), shape.n_layers, shape.architecture)
    except UnsupportedError:
        return Crumbs(0, (0,) * shape.n_layers, 0)


def active_expert_share(spec: ModelSpec) -> float:
    """The share of a model's routed experts that one token reads; 1.0 for a dense model."""
    shares = [g.ffn.n_active_experts / g.ffn.n_experts for g in spec.groups if g.ffn is not None and g.ffn.is_moe]
    return shares[0] if shares else 1.0


def count_lookup_params(spec: ModelSpec) -> int:
    """Parameters a token looks up and never multiplies: the token embedding unless it is the head, and per-layer ones.

    Gemma 3n and 4 keep a small embedding for every layer (GGUF key `embedding_length_per_layer_input`).
    """
    per_layer = spec.extra("embedding_length_per_layer_input")
    extra = int(per_layer) * spec.n_layers if isinstance(per_layer, int) else 0
    return spec.vocab_size * (extra + (0 if spec.tied_embeddings else spec.hidden_dim))


def attention_widths(spec: ModelSpec) -> tuple[float, float, float]:
    """The three columns of `WeightTable.attention` of one model; MLA multiplies its compressed rows with every head."""
    full = windowed = window = 0.0
    for group in spec.groups:
        a = group.attention
        if a is None:
            continue
        width = a.head_dim + a.head_dim_v
        if a.latent is not None:
            width = 2 * a.latent.kv_lora_rank + a.latent.rope_head_dim
        if a.window_tokens:
            windowed += group.count * a.n_heads * width
            window = max(window, float(a.window_tokens))
        else:
            full += group.count * a.n_heads * width
    return full, windowed, window

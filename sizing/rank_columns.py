"""The columns behind a ranking: every distinct shape once, every distinct mix of bytes once, whoever offers it.

Most models are fine-tunes of a few hundred shapes and are quantized by the same recipes. What is equal is sized once,
and each model points to the rows of its quantizations. Nothing is approximated: equal shapes and equal bytes cost the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from sizing.buffers import KEPT_RECIPES
from sizing.estimate import TableEstimate, estimate_model_bytes, estimate_table
from sizing.hardware import Machine
from sizing.layers import LayerTable
from sizing.memory import WeightBytes
from sizing.placement import ModelBytes
from sizing.specs import ModelSpec
from sizing.stretches import KeptBuffers
from sizing.weights import Floats, Ints, WeightTable
from sizing.workload import Workload

KEPT_WORKLOADS = 16
"""Workloads whose costs are remembered."""


class Offered(Protocol):
    """What the columns read of a model: its shapes, its bytes in every quantization, and its projector's."""

    @property
    def spec(self) -> ModelSpec:
        """The model's shapes."""

    @property
    def weights(self) -> tuple[WeightBytes, ...]:
        """Its bytes in every quantization."""

    @property
    def projector_bytes(self) -> int:
        """Bytes of its vision or audio tower."""


@dataclass(frozen=True, slots=True)
class Alone:
    """A model to size by itself, without evidence or licence."""

    spec: ModelSpec
    weights: tuple[WeightBytes, ...]
    projector_bytes: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class RankColumns:
    """`layers`, `n_active_params` and `projector_bytes` are columns over distinct shapes, `table` over distinct rows.

    `rows[first[m]:first[m + 1]]` are the rows of model m's quantizations in the model's own order. `sources` are the
    shapes and weights of the models this was built for; `kept` is what workloads cost each shape, `buffers` what they
    learnt of its compute buffers.
    """

    sources: tuple[tuple[ModelSpec, tuple[WeightBytes, ...], int], ...]
    layers: LayerTable
    table: WeightTable
    n_active_params: Ints
    projector_bytes: Ints
    rows: Ints
    first: Ints
    kept: dict[tuple[Workload, bool], ModelBytes] = field(default_factory=dict)
    buffers: KeptBuffers = field(default_factory=lambda: KeptBuffers(KEPT_RECIPES))

    @classmethod
    def build(cls, models: Sequence[Offered]) -> RankColumns:
        """The columns of these models, each of which has weights."""
        shapes, shape_of = _number_shapes(models)
        weights: list[dict[WeightBytes, int]] = [{} for _ in shapes]
        places: list[tuple[int, list[int]]] = []
        seen: dict[tuple[int, int], list[int]] = {}
        for model, shape in zip(models, shape_of, strict=True):
            key = (shape, id(model.weights))  # the models hold their weights, so an id stays one thing's
            if key not in seen:
                known = weights[shape]
                seen[key] = [known.setdefault(w, len(known)) for w in model.weights]
            places.append((shape, seen[key]))
        start = _starts([len(known) for known in weights])
        counts = [len(within) for _, within in places]
        rows = np.fromiter((i for _, within in places for i in within), dtype=np.int64, count=sum(counts))
        specs = [shape.spec for shape in shapes]
        return cls(
            sources=tuple((m.spec, m.weights, m.projector_bytes) for m in models),
            layers=LayerTable.from_specs(specs),
            table=WeightTable.from_models([(s, tuple(w)) for s, w in zip(specs, weights, strict=True)]),
            n_active_params=np.array([spec.n_active_params for spec in specs], dtype=np.int64),
            projector_bytes=np.array([shape.projector_bytes for shape in shapes], dtype=np.int64),
            rows=rows + np.repeat(start[:-1][np.array(shape_of, dtype=np.int64)], counts),
            first=_starts(counts),
        )

    def serves(self, models: Sequence[Offered]) -> bool:
        """Whether these are the columns of these models too: the same shapes and weights, whatever else is said."""
        return len(models) == len(self.sources) and all(
            m.spec is spec and m.weights is weights and m.projector_bytes == projector
            for m, (spec, weights, projector) in zip(models, self.sources, strict=True)
        )

    def part(self, models: Ints) -> RankColumns:
        """The columns of some of the models, with only their rows; what workloads cost is worked out once for both."""
        counts = np.diff(self.first)[models]
        chosen = [self.rows[self.first[m] : self.first[m + 1]] for m in models]
        used, rows = np.unique(np.concatenate(chosen) if chosen else self.rows[:0], return_inverse=True)
        return replace(
            self,
            sources=tuple(self.sources[m] for m in models),
            table=self.table.take(used),
            rows=rows.reshape(-1),
            first=_starts(counts.tolist()),
        )

    @property
    def model_of(self) -> Ints:
        """The model of each of its quantizations, laid end to end."""
        return np.repeat(np.arange(len(self.first) - 1, dtype=np.int64), np.diff(self.first))

    def size(
        self, workload: Workload, machine: Machine, *, with_projector: bool = False, chosen: Ints | None = None
    ) -> TableEstimate:
        """Memory, placement and speed of every row, or of the chosen ones: one pass."""
        models = self._cost(workload, with_projector)
        table = self.table if chosen is None else self.table.take(chosen)
        return estimate_table(table, models, self.n_active_params, workload, machine)

    def _cost(self, workload: Workload, with_projector: bool) -> ModelBytes:
        """What a workload costs each shape besides weights; it does not depend on the machine and is kept."""
        key = (workload, with_projector)
        found = self.kept.get(key)
        if found is None:
            extra = self.projector_bytes if with_projector else np.zeros_like(self.projector_bytes)
            found = estimate_model_bytes(self.layers, workload, extra, self.buffers)
            while len(self.kept) >= KEPT_WORKLOADS:
                self.kept.pop(next(iter(self.kept)))
            self.kept[key] = found
        return found

    def best_of_each(self, values: Floats) -> Ints:
        """Of each model, where its largest value is among all quantizations laid end to end; the first among equals."""
        starts = self.first[:-1]
        if not len(starts):
            return starts
        is_largest = values == np.repeat(np.maximum.reduceat(values, starts), np.diff(self.first))
        places = np.where(is_largest, np.arange(len(values), dtype=np.int64), len(values))
        best: Ints = np.minimum.reduceat(places, starts)
        return best

    def count_of_each(self, flags: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Ints:
        """Of each model, in how many of its quantizations a flag is set."""
        counts: Ints = (
            np.add.reduceat(flags.astype(np.int64), self.first[:-1]) if len(self.first) > 1 else self.first[:0]
        )
        return counts


def _number_shapes(models: Sequence[Offered]) -> tuple[list[Offered], list[int]]:
    """One model of each distinct shape, and the shape of each model."""
    shapes: list[Offered] = []
    by_part: dict[tuple[object, ...], int] = {}
    by_content: dict[tuple[object, ...], int] = {}
    out = []
    for model in models:
        s = model.spec
        rest = (s.architecture, s.hidden_dim, s.vocab_size, s.tied_embeddings, s.n_active_params, model.projector_bytes)
        part = (id(s.groups), id(s.extras), rest)  # most share their groups: no need to look inside
        number = by_part.get(part)
        if number is None:
            number = by_content.setdefault((s.groups, s.extras, rest), len(shapes))
            if number == len(shapes):
                shapes.append(model)
            by_part[part] = number
        out.append(number)
    return shapes, out


def _starts(counts: Sequence[int]) -> Ints:
    return np.concatenate(([0], np.cumsum(np.array(counts, dtype=np.int64)))).astype(np.int64)

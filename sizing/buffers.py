"""Compute buffers of many models in many divisions over one machine, each division played once.

Which layers lie on which device depends on the model and on how many layers are offloaded, not on the quantization, so
rows share what was played. A search over numbers of layers asks for `likely` sizes, which take one division whole and
one in part for all of them; what is shown is `exact`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sizing.compute import (
    Division,
    count_pads,
    estimate_compute_bytes,
    estimate_divided_compute_bytes,
    find_setting,
)
from sizing.layers import Bools, Ints, LayerTable
from sizing.stretches import KeptBuffers, Recipe
from sizing.workload import Workload

Question = tuple[tuple[int, ...], int, bytes]
"""A division of a model: layers whose experts stay on the host, one more than the accelerators, and the model, bounds
and leading layers whose experts stay, as bytes."""


KEPT_RECIPES = 2000
"""Graphs remembered of one table's models, some ten KiB each."""


class ComputeBuffers:
    """The compute buffers of the models of `layers` under `workload`, in bytes.

    Where a question has rows, `models` names the model of each; bounds and experts are those of `Division`.
    """

    def __init__(self, layers: LayerTable, workload: Workload, kept: KeptBuffers | None = None) -> None:
        """`kept` is what other workloads learnt of the same models."""
        self.layers = layers
        self.workload = workload
        self._kept = KeptBuffers(KEPT_RECIPES) if kept is None else kept
        self._setting = find_setting(workload)
        self._n_pads = count_pads(workload)
        self._played: dict[Question, tuple[int, ...]] = {}
        self._alone = np.zeros(layers.n_models, dtype=np.int64)
        self._is_alone_known = np.zeros(layers.n_models, dtype=np.bool_)
        self._references: dict[tuple[str, int], tuple[Ints, Bools]] = {}

    def alone(self, models: Ints) -> Ints:
        """The buffer of a host that does everything, for each row's model; each model's is played once."""
        if not self._is_alone_known.all():
            is_asked = np.zeros_like(self._is_alone_known)
            is_asked[models] = True
            new = np.flatnonzero(is_asked & ~self._is_alone_known)
            for model in new.tolist():
                known = self._kept.find(self._setting, model, self._n_pads)
                if known is not None:
                    self._alone[model], self._is_alone_known[model] = known[0], True
            new = new[~self._is_alone_known[new]]
            if len(new):
                recipes: dict[int, Recipe] = {}
                self._alone[new] = estimate_compute_bytes(self.layers.take(new), self.workload, recipes)
                self._is_alone_known[new] = True
                for i, recipe in recipes.items():
                    self._alone[new[i]] = self._kept.keep(self._setting, int(new[i]), recipe)[0]
        return self._alone[models]

    def exact(self, models: Ints, bounds: Ints, n_cpu_moe: Ints, expert_layers: tuple[int, ...] = ()) -> Ints:
        """Buffers of each row, shape (rows, 1 + accelerators), the host's first, each division played in full."""
        if not len(models):
            return np.zeros((0, bounds.shape[1]), dtype=np.int64)
        first, which = find_equal_rows((models, *bounds.T, n_cpu_moe))
        asked = np.stack((models[first], *bounds[first].T, n_cpu_moe[first]), axis=1)
        keys = [(expert_layers, bounds.shape[1], row.tobytes()) for row in asked]
        for key in keys:
            if key not in self._played:
                known = self._kept.find(self._setting, key, self._n_pads)
                if known is not None:
                    self._played[key] = known
        missing = np.array([i for i, key in enumerate(keys) if key not in self._played], dtype=np.int64)
        if len(missing):
            self._play(asked[missing], [keys[i] for i in missing.tolist()])
        return np.array([self._played[key] for key in keys], dtype=np.int64)[which]

    def _play(self, asked: Ints, keys: Sequence[Question]) -> None:
        """Play divisions that are not known: their model, bounds and experts, and what each is called."""
        division = Division(asked[:, 1:-1], asked[:, -1], keys[0][0])
        recipes: dict[int, Recipe] = {}
        models = self.layers.take(asked[:, 0])
        found = estimate_divided_compute_bytes(models, self.workload, division, recipes)
        self._played.update(zip(keys, map(tuple, found.tolist()), strict=True))
        self._played.update({keys[i]: self._kept.keep(self._setting, keys[i], r) for i, r in recipes.items()})

    def likely(self, models: Ints, bounds: Ints, n_cpu_moe: Ints) -> Ints:
        """About what `exact` says, from reference divisions that do not depend on how much which card can hold.

        With one card the reference is the whole model on it; a host that works takes at most as much besides what it
        hands over. With several it is the whole model, or half of it, in equal shares over them: a card with the output
        takes what the reference's card with it takes, another one the most of the others.
        """
        n_cards = bounds.shape[1] - 1
        n = self.layers.models["n_layers"][models]
        host_only = bounds[:, 0] > n
        is_whole = (bounds[:, 0] == 0) & (n_cpu_moe == 0)
        in_part = ~(is_whole | host_only)
        out = np.zeros((len(models), bounds.shape[1]), dtype=np.int64)
        if host_only.any():
            out[host_only] = self._refer("host", n_cards, models[host_only])
        for rows, reference in ((is_whole, "whole"), (in_part, "half")):
            if not rows.any():
                continue
            if n_cards == 1:
                found = self._refer("whole", n_cards, models[rows])
                host = found[:, 0] if rows is is_whole else found.sum(axis=1)
                out[rows] = np.stack([host, found[:, 1]], axis=1)
            else:
                found = self._refer(reference, n_cards, models[rows])
                equal = _refer_bounds(reference, n[rows], n_cards)
                out[rows] = _by_role(found, equal, bounds[rows], n[rows])
        return out

    def _refer(self, reference: str, n_cards: int, models: Ints) -> Ints:
        """Buffers of a reference division of each row's model; each model's is played once."""
        n = self.layers.models["n_layers"]
        key = (reference, n_cards)
        if key not in self._references:
            self._references[key] = np.zeros((len(n), 1 + n_cards), np.int64), np.zeros(len(n), np.bool_)
        found, is_known = self._references[key]
        is_asked = np.zeros(len(n), dtype=np.bool_)
        is_asked[models] = True
        new = np.flatnonzero(is_asked & ~is_known)
        if len(new):
            found[new] = self.exact(new, _refer_bounds(reference, n[new], n_cards), np.zeros_like(new))
            is_known[new] = True
        return found[models]


def find_equal_rows(columns: Sequence[Ints]) -> tuple[Ints, Ints]:
    """The first of each set of rows that are equal in all columns of whole numbers, and the set of each row."""
    code = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        _, of_column = np.unique(column, return_inverse=True)
        width = np.int64(of_column.max()) + 1
        _, code = np.unique(code * width + of_column, return_inverse=True)
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    return first, which


def _refer_bounds(reference: str, n_layers: Ints, n_cards: int) -> Ints:
    """Bounds of everything on the host, or of the whole or half of each model in equal shares over the cards."""
    everything = n_layers + 1
    if reference == "host":
        return np.repeat(everything[:, None], n_cards + 1, axis=1)
    return _share_equally(everything if reference == "whole" else everything // 2, everything, n_cards)


def _share_equally(layers: Ints, everything: Ints, n_cards: int) -> Ints:
    """Bounds of the last `layers` of `everything` over cards in equal shares."""
    parts = np.arange(n_cards + 1, dtype=np.int64)
    return (everything - layers)[:, None] + -(-parts[None, :] * layers[:, None] // n_cards)


def _by_role(found: Ints, reference: Ints, bounds: Ints, n_layers: Ints) -> Ints:
    """What cards of a division take, from the cards of a reference division of the same kind."""

    def has_output(b: Ints) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        return (b[:, :-1] <= n_layers[:, None]) & (n_layers[:, None] < b[:, 1:])

    cards = found[:, 1:]
    last = np.where(has_output(reference), cards, 0).max(axis=1)
    inner = np.where(has_output(reference), 0, cards).max(axis=1)
    inner = np.where(inner > 0, inner, last)
    used = bounds[:, 1:] > bounds[:, :-1]
    out = np.where(has_output(bounds), last[:, None], inner[:, None])
    return np.concatenate((found[:, :1], np.where(used, out, 0)), axis=1)

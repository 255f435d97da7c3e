"""Compute buffers of many models in many divisions over one machine, each division played once.

Which layers lie on which device depends on the model and on how many layers are offloaded, not on the quantization, so
rows share what was played. A search over numbers of layers asks for `likely` sizes, which take one division whole and
one in part for all of them; what is shown is `exact`.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from sizing.compute import Division, estimate_compute_bytes, estimate_divided_compute_bytes
from sizing.layers import Ints, LayerTable
from sizing.workload import Workload


class ComputeBuffers:
    """The compute buffers of the models of `layers` under `workload`, in bytes.

    Where a question has rows, `models` names the model of each; bounds and experts are those of `Division`.
    """

    def __init__(self, layers: LayerTable, workload: Workload) -> None:
        self.layers = layers
        self.workload = workload
        self._played: dict[tuple[object, ...], Ints] = {}

    @cached_property
    def alone(self) -> Ints:
        """Per model, the buffer of a host that does everything."""
        return estimate_compute_bytes(self.layers, self.workload)

    def exact(self, models: Ints, bounds: Ints, n_cpu_moe: Ints, expert_layers: tuple[int, ...] = ()) -> Ints:
        """Buffers of each row, shape (rows, 1 + accelerators), the host's first, each division played in full."""
        keys = [
            (int(m), tuple(b), int(c), expert_layers)
            for m, b, c in zip(models, bounds.tolist(), n_cpu_moe, strict=True)
        ]
        missing = list(dict.fromkeys(key for key in keys if key not in self._played))
        if missing:
            chosen = self.layers.take(np.array([key[0] for key in missing], dtype=np.int64))
            division = Division(
                np.array([key[1] for key in missing], dtype=np.int64),
                np.array([key[2] for key in missing], dtype=np.int64),
                expert_layers,
            )
            found = estimate_divided_compute_bytes(chosen, self.workload, division)
            self._played.update(zip(missing, found, strict=True))
        return np.stack([self._played[key] for key in keys]) if keys else np.zeros((0, bounds.shape[1]), np.int64)

    def likely(self, models: Ints, bounds: Ints, n_cpu_moe: Ints) -> Ints:
        """About what `exact` says, from reference divisions that do not depend on how much which card can hold.

        With one card the reference is the whole model on it; a host that works takes at most as much besides what it
        hands over. With several it is the whole model, or half of it, in equal shares over them: a card with the output
        takes what the reference's card with it takes, another one the most of the others.
        """
        n = self.layers.models["n_layers"][models]
        host_only = bounds[:, 0] > n
        is_whole = (bounds[:, 0] == 0) & (n_cpu_moe == 0)
        in_part = ~(is_whole | host_only)
        out = np.zeros((len(models), bounds.shape[1]), dtype=np.int64)
        zero = np.zeros_like(n)
        if host_only.any():
            out[host_only] = self.exact(models[host_only], bounds[host_only], zero[host_only])
        for rows, layers in ((is_whole, n + 1), (in_part, (n + 1) // 2)):
            if not rows.any():
                continue
            if bounds.shape[1] == 2:
                whole = np.stack([zero, n + 1], axis=1)[rows]
                found = self.exact(models[rows], whole, zero[rows])
                host = found[:, 0] if rows is is_whole else found.sum(axis=1)
                out[rows] = np.stack([host, found[:, 1]], axis=1)
            else:
                equal = _share_equally(layers, n + 1, bounds.shape[1] - 1)[rows]
                out[rows] = _by_role(self.exact(models[rows], equal, zero[rows]), equal, bounds[rows], n[rows])
        return out


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

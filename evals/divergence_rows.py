"""Two models' logits at the same positions, brought to sums that add up over a text. Pure numpy, run in the child.

The logs of probabilities are taken in float64 from the engine's float32 logits, some rows at a time. Quantiles of the
divergence come from a sketch of fixed size: geometric bins in which every value is known to 2% (C. Masson, J. Rim and
H. Lee, "DDSketch", Proc. VLDB Endowment 12 (2019) 2195), so that windows add up and a long text takes no more room.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Logits = npt.NDArray[np.float32]

SKETCH_ERROR = 0.02
"""How far a quantile may lie from the true one, relative to it."""

LEAST_NATS = 1e-9
"""Divergences below are counted as none: they are the arithmetic's own."""

ZERO_BIN = -10_000
"""The bin of divergences that are none; below every other."""

BLOCK_VALUES = 1 << 20
"""Logits taken to float64 at once."""

_LOG_GAMMA = math.log((1 + SKETCH_ERROR) / (1 - SKETCH_ERROR))


@dataclass(slots=True)
class RowSums:
    """Sums over positions, in nats: -log p of the true token, KL(reference || candidate), p differences, agreement.

    `n_agree` counts positions whose most probable token is the same; `shift_sum` sums the candidate's probability of
    the true token less the reference's; `bins` is the sketch of the divergences.
    """

    n_tokens: int = 0
    nll_reference: float = 0.0
    nll_candidate: float = 0.0
    kl_sum: float = 0.0
    kl_squares: float = 0.0
    kl_max: float = 0.0
    n_agree: int = 0
    shift_sum: float = 0.0
    shift_squares: float = 0.0
    bins: Counter[int] | None = None

    def to_record(self) -> dict[str, Any]:
        """The sums as JSON takes them, the bins as pairs in rising order."""
        record = {name: getattr(self, name) for name in self.__slots__ if name != "bins"}
        return {**record, "kl_bins": sorted((self.bins or Counter()).items())}


def add_rows(sums: RowSums, reference: Logits, candidate: Logits, targets: npt.NDArray[np.int64]) -> None:
    """Add positions to `sums`: logits (positions x vocabulary) of both, and the token that really came."""
    step = max(1, BLOCK_VALUES // reference.shape[1])
    for first in range(0, len(targets), step):
        part = slice(first, first + step)
        _add_block(sums, _find_log_p(reference[part]), _find_log_p(candidate[part]), targets[part])


def _find_log_p(logits: Logits) -> Array:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def _add_block(sums: RowSums, reference: Array, candidate: Array, targets: npt.NDArray[np.int64]) -> None:
    rows = np.arange(len(targets))
    true_reference, true_candidate = reference[rows, targets], candidate[rows, targets]
    agree = reference.argmax(axis=1) == candidate.argmax(axis=1)
    # never below zero but for the last bits of the sum
    kl = np.maximum((np.exp(reference) * (reference - candidate)).sum(axis=1), 0.0)
    shift = np.exp(true_candidate) - np.exp(true_reference)
    sums.n_tokens += len(targets)
    sums.nll_reference -= float(true_reference.sum())
    sums.nll_candidate -= float(true_candidate.sum())
    sums.kl_sum += float(kl.sum())
    sums.kl_squares += float((kl * kl).sum())
    sums.kl_max = max(sums.kl_max, float(kl.max()))
    sums.n_agree += int(agree.sum())
    sums.shift_sum += float(shift.sum())
    sums.shift_squares += float((shift * shift).sum())
    sums.bins = (sums.bins or Counter()) + count_bins(kl)


def count_bins(values: Array) -> Counter[int]:
    """The sketch of `values`, none below zero: how many fall in each bin. Bin i holds (gamma^(i-1), gamma^i]."""
    large = values[values >= LEAST_NATS]
    bins = Counter(np.ceil(np.log(large) / _LOG_GAMMA).astype(int).tolist())
    if len(large) < len(values):
        bins[ZERO_BIN] = len(values) - len(large)
    return bins


def find_bin_value(number: int) -> float:
    """The value a bin stands for, within `SKETCH_ERROR` of all in it."""
    return 0.0 if number == ZERO_BIN else math.exp(number * _LOG_GAMMA) * (1 - SKETCH_ERROR)


def find_quantile_place(cumulated: Sequence[float] | npt.NDArray[Any], share: float) -> int:
    """Where in the cumulated counts of rising bins the quantile lies."""
    counts = np.asarray(cumulated, dtype=np.float64)
    place = int(np.searchsorted(counts, share * counts[-1] - 1e-9, side="left"))
    return min(place, len(counts) - 1)

"""From rows of logits to log-likelihoods and tokens, in numpy; no loop over a vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sizing.errors import BadInputError, EngineError

Rows = NDArray[np.float32]

PIECE_ELEMENTS = 1 << 19
"""Logits taken at a time, so that the intermediate stays in the processor's cache."""


NOT_FINITE = "the model's logits are not finite; the file may be damaged or its quantization overflows"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen: the most likely one where `temperature` is 0, else drawn.

    Drawing takes, in this order: the logits divided by `temperature`; the `top_k` most likely (0: all); the fewest of
    those whose probability reaches `top_p`; and of those, tokens at least `min_p` times as likely as the likeliest.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature >= 0):
            raise BadInputError(f"temperature wants a number of at least 0, got {self.temperature!r}")
        if self.top_k < 0 or not 0 < self.top_p <= 1 or not 0 <= self.min_p <= 1:
            raise BadInputError(
                f"top_k wants 0 or more, top_p more than 0 up to 1, min_p 0 to 1; got {self.top_k!r}, {self.top_p!r}, "
                f"{self.min_p!r}"
            )


def normalize(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The logarithm of each row's sum of exponentials, and the place of its largest value.

    Raises EngineError where a row holds no finite number: the model computed nonsense.
    """
    n_rows, n_vocab = rows.shape
    sums = np.empty(n_rows, dtype=np.float64)
    best = np.empty(n_rows, dtype=np.int64)
    step = max(1, PIECE_ELEMENTS // n_vocab)
    for first in range(0, n_rows, step):
        piece = rows[first : first + step]
        largest = piece.argmax(axis=1)
        top = piece[np.arange(len(piece)), largest]
        powers = piece - top[:, None]
        np.exp(powers, out=powers)
        sums[first : first + step] = top + np.log(powers.sum(axis=1, dtype=np.float64))
        best[first : first + step] = largest
    if not np.isfinite(sums).all():
        raise EngineError(NOT_FINITE)
    return sums, best


def draw(row: Rows, sampling: Sampling, chance: np.random.Generator) -> int:
    """One token of a row of logits by `sampling`; `chance` decides."""
    if sampling.temperature == 0:
        return int(row.argmax())
    scaled = row.astype(np.float64) / sampling.temperature
    if 0 < sampling.top_k < len(scaled):
        kept = np.argpartition(scaled, -sampling.top_k)[-sampling.top_k :]
    else:
        kept = np.arange(len(scaled))
    kept = kept[np.lexsort((kept, -scaled[kept]))]
    weights = np.exp(scaled[kept] - scaled[kept[0]])
    if sampling.top_p < 1:
        shares = np.cumsum(weights) / weights.sum()
        weights = weights[: int(np.searchsorted(shares, sampling.top_p)) + 1]
    weights = weights[weights >= sampling.min_p * weights[0]]
    bounds = np.cumsum(weights)
    return int(kept[min(int(np.searchsorted(bounds, chance.random() * bounds[-1], side="right")), len(bounds) - 1)])

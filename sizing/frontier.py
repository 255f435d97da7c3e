"""What no other choice beats in everything at once: the Pareto frontier over quality, speed and memory."""

from __future__ import annotations

import numpy as np

from sizing.weights import Floats


def find_frontier(quality: Floats, tokens_per_s: Floats, n_bytes: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows no other row beats: at least as good, as fast and as small, and better in one of the three.

    A row with an unknown figure (NaN) is on no frontier and beats nobody. Equal rows do not beat each other.
    """
    rows = np.column_stack([quality, tokens_per_s, -np.asarray(n_bytes, dtype=np.float64)])
    known = ~np.isnan(rows).any(axis=1)
    out = np.zeros(len(rows), dtype=np.bool_)
    for i in np.flatnonzero(known):
        others = rows[known]
        beaten = np.all(others >= rows[i], axis=1) & np.any(others > rows[i], axis=1)
        out[i] = not beaten.any()
    return out

"""How sure a score is: intervals for one run's mean, and how many items an interval wants.

Rates of right answers (every score 0 or 1) take Wilson's interval. Means of partial scores take the bootstrap,
bias-corrected and accelerated, its levels widened for small samples. A sample without spread is not taken as certainty:
it gets the bound that so many equal values allow. Two runs on the same items are compared in `evals.paired`, whose
names are exported here too.

Everything is numpy and the standard library, and depends on nothing but its arguments and seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from sizing.errors import BadInputError

Array = npt.NDArray[np.float64]

CONFIDENCE = 0.95
"""Confidence of an interval where none is asked for."""

N_RESAMPLES = 2000
"""Bootstrap samples; an end of a 95% interval then moves by about 2% of the half width from seed to seed."""

SCORE_SPAN = (0.0, 1.0)
"""Between what an item's score lies."""

CHUNK_VALUES = 1 << 20
"""Values drawn at once, so that memory does not grow with the number of resamples."""

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where the mean over all such items lies, at `confidence`.

    `method` names the formula in words; `note` is empty or says what the reader must know of this one. `low` and `high`
    are infinite only where nothing bounds them: a bootstrap without spread, of values whose span was not told.
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    confidence: float = CONFIDENCE
    note: str = ""

    @property
    def half_width(self) -> float:
        """Half the distance from `low` to `high`."""
        return (self.high - self.low) / 2


def find_z(confidence: float) -> float:
    """The standard normal's point that leaves (1 - confidence) / 2 above it. Raises BadInputError outside (0, 1)."""
    if not 0 < confidence < 1:
        raise BadInputError(f"a confidence wants a number between 0 and 1, got {confidence!r}")
    return _NORMAL.inv_cdf((1 + confidence) / 2)


def find_t(confidence: float, n_free: int) -> float:
    """Student's two-sided point for `n_free` degrees of freedom, within 0.2% from 3 degrees on at 95%.

    Exact for 1 and 2; above, the expansion of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    Raises BadInputError below one degree.
    """
    z, level = find_z(confidence), (1 + confidence) / 2
    if n_free < 1:
        raise BadInputError(f"Student's distribution wants at least 1 degree of freedom, got {n_free!r}")
    if n_free == 1:
        return math.tan(math.pi * (level - 0.5))
    if n_free == 2:
        return (2 * level - 1) * math.sqrt(2 / (1 - (2 * level - 1) ** 2))
    parts = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(part / n_free ** (i + 1) for i, part in enumerate(parts))


def wilson_interval(n_right: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The score interval of a rate: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209, doi 10.2307/2276774.

    For items that are right or wrong. `n_right` is a whole number: partial credit has another spread and takes
    `bootstrap_mean`. Raises BadInputError unless 0 <= n_right <= n, n_right is whole and n > 0.
    """
    if n < 1 or not 0 <= n_right <= n or n_right != int(n_right):
        raise BadInputError(f"a rate wants a whole number right of at least one item, got {n_right!r} of {n!r}")
    z = find_z(confidence)
    share = n_right / n
    middle, reach = (share + z * z / (2 * n)) / (1 + z * z / n), _find_wilson_reach(share, n, z)
    low = 0.0 if n_right == 0 else max(0.0, middle - reach)
    high = 1.0 if n_right == n else min(1.0, middle + reach)
    return Interval(share, low, high, n, "Wilson", confidence)


def _find_wilson_reach(share: float, n: float, z: float) -> float:
    return z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))


def bootstrap_mean(
    values: Sequence[float] | Array,
    seed: int,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    span: tuple[float, float] | None = None,
) -> Interval:
    """The mean and its bootstrap interval, the same for the same seed.

    BCa (B. Efron, J. Am. Stat. Assoc. 82 (1987) 171) follows a skewed sample, which plain percentiles do not; like
    them it is too narrow for few values, so its levels are widened as T. Hesterberg's expanded percentile interval is
    (The American Statistician 69 (2015) 371, section 3.3.2). `span` are the least and greatest value there can be: it
    bounds the interval, and gives one to a sample whose values are all equal (`bound_constant`). Fewer than ten values,
    or a rare large one not seen, still make any bootstrap too sure; the note says so below ten.

    Raises BadInputError for no values, one that is not finite or outside `span`, or fewer than 100 resamples.
    """
    sample = _read_values(values, span)
    z = find_z(confidence)
    if n_resamples < 100:
        raise BadInputError(f"a bootstrap wants at least 100 resamples, got {n_resamples!r}")
    n, mean = len(sample), float(sample.mean())
    if n == 1 or float(np.ptp(sample)) == 0.0:
        return bound_constant(float(sample[0]), n, span, confidence)
    means = np.sort(_resample_means(sample, seed, n_resamples))
    low, high = (float(np.quantile(means, level)) for level in _find_levels(sample, means, z, confidence))
    if span is not None:
        low, high = max(low, span[0]), min(high, span[1])
    note = f"only {n} values: the interval may be too narrow" if n < 10 else ""
    return Interval(mean, min(low, mean), max(high, mean), n, "bootstrap BCa", confidence, note)


def _read_values(values: Sequence[float] | Array, span: tuple[float, float] | None) -> Array:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample):
        raise BadInputError(f"a mean wants at least one value in one row, got an array of shape {sample.shape!r}")
    low, high = (-math.inf, math.inf) if span is None else span
    wrong = sample[~np.isfinite(sample) | (sample < low) | (sample > high)]
    if len(wrong):
        raise BadInputError(f"a mean wants finite values from {low:g} to {high:g}, got {float(wrong[0])!r}")
    return sample


def _resample_means(sample: Array, seed: int, n_resamples: int) -> Array:
    chance = np.random.default_rng(seed)
    n, out = len(sample), np.empty(n_resamples)
    step = max(1, CHUNK_VALUES // n)
    for first in range(0, n_resamples, step):
        rows = min(step, n_resamples - first)
        out[first : first + rows] = sample[chance.integers(0, n, (rows, n))].mean(axis=1)
    return out


def _find_levels(sample: Array, means: Array, z: float, confidence: float) -> tuple[float, float]:
    """The two quantiles of the resampled means: Efron's correction of the widened pair."""
    n, mean = len(sample), sample.mean()
    # half of the ties count as below: scores of few steps tie often
    below = (np.count_nonzero(means < mean) + np.count_nonzero(means <= mean)) / (2 * len(means))
    bias = _NORMAL.inv_cdf(min(max(below, 1 / len(means)), 1 - 1 / len(means)))
    off = (sample - mean) / np.ptp(sample)  # scaled, so that no power of it is too small for a float
    acceleration = float((off**3).sum() / (6 * (off**2).sum() ** 1.5))  # the jackknife's, which for a mean is this
    wide = math.sqrt(n / (n - 1)) * find_t(confidence, n - 1)
    wide = min(wide, 4 * z)  # two values: the quantile is the end of the resampled means anyway

    def correct(point: float) -> float:
        shifted = bias + point
        scale = 1 - acceleration * shifted
        return _NORMAL.cdf(bias + shifted / scale) if scale > 0 else float(shifted > 0)

    return correct(-wide), correct(wide)


def bound_constant(value: float, n: int, span: tuple[float, float] | None, confidence: float = CONFIDENCE) -> Interval:
    """What `n` equal values say of the mean of all: a share of others may hide, none of them drawn.

    Were a share above p = 1 - ((1 - confidence) / 2)^(1/n) of other values, n draws would miss them all less often
    than (1 - confidence) / 2 (the reasoning of the rule of three); they lie anywhere in `span`. Without a span the
    ends are infinite. Raises BadInputError below one value.
    """
    if n < 1:
        raise BadInputError(f"a bound wants at least 1 value, got {n!r}")
    find_z(confidence)
    said = "one value says nothing of the spread" if n == 1 else f"all {n} values are equal"
    if span is None:
        return Interval(value, -math.inf, math.inf, n, "unbounded", confidence, f"{said}: there is no interval")
    hidden = 1 - ((1 - confidence) / 2) ** (1 / n)
    low, high = value - hidden * (value - span[0]), value + hidden * (span[1] - value)
    return Interval(value, low, high, n, "equal values", confidence, f"{said}: the interval is what may hide unseen")


def interval_of_scores(
    scores: Sequence[float] | Array,
    seed: int,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    span: tuple[float, float] = SCORE_SPAN,
) -> Interval:
    """The mean score of a run and its interval: Wilson's where every score is 0 or 1, else the bootstrap's.

    Raises BadInputError for no scores, or one that is not finite or outside `span`.
    """
    sample = _read_values(scores, span)
    if is_binary(sample):
        return wilson_interval(int(sample.sum()), len(sample), confidence)
    return bootstrap_mean(sample, seed, confidence, n_resamples, span)


def is_binary(sample: Array) -> bool:
    """Whether every score is 0 or 1."""
    return bool(np.isin(sample, (0.0, 1.0)).all())


def plan_interval(n: int, rate: float = 0.5, confidence: float = CONFIDENCE) -> float:
    """Half the width of the Wilson interval that `n` items will give, as a share: 0.1 is 10 points to either side.

    `rate` is the share expected right; 0.5 is the widest. Raises BadInputError below one item or outside 0..1.
    """
    if n < 1:
        raise BadInputError(f"a plan wants at least 1 item, got {n!r}")
    if not 0 <= rate <= 1:
        raise BadInputError(f"a rate wants a number from 0 to 1, got {rate!r}")
    return _find_wilson_reach(rate, n, find_z(confidence))


def n_for_half_width(half_width: float, rate: float = 0.5, confidence: float = CONFIDENCE) -> int:
    """The fewest items whose Wilson interval reaches at most `half_width` to either side.

    Solves z / (1 + z^2/n) * sqrt(rate (1 - rate) / n + z^2 / 4n^2) <= half_width, a quadratic in n.
    Raises BadInputError unless 0 < half_width < 0.5 and 0 <= rate <= 1.
    """
    if not 0 < half_width < 0.5:
        raise BadInputError(f"half a width wants a number above 0 and below 0.5, got {half_width!r}")
    if not 0 <= rate <= 1:
        raise BadInputError(f"a rate wants a number from 0 to 1, got {rate!r}")
    square, spread, wanted = find_z(confidence) ** 2, rate * (1 - rate), half_width**2
    # wanted n^2 + (2 wanted square - spread square) n + (wanted square^2 - square^2 / 4) = 0
    linear, constant = square * (2 * wanted - spread), square * square * (wanted - 0.25)
    n = (-linear + math.sqrt(linear * linear - 4 * wanted * constant)) / (2 * wanted)
    n_items = max(1, math.ceil(n - 1e-9))
    return n_items if plan_interval(n_items, rate, confidence) <= half_width * (1 + 1e-12) else n_items + 1

"""The statistics of runs: intervals of one (from `evals.intervals`), and two on the same items against each other.

Right or wrong items are judged by the exact McNemar test, partial scores by a sign-flip permutation test. A difference
that is not significant is not "no difference": the verdict says how many paired items would tell the one that was seen,
and the smallest that these items could have told.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

import numpy as np

from evals.intervals import (
    CHUNK_VALUES,
    CONFIDENCE,
    N_RESAMPLES,
    SCORE_SPAN,
    Array,
    Interval,
    bootstrap_mean,
    find_z,
    interval_of_scores,
    is_binary,
    n_for_half_width,
    plan_interval,
    wilson_interval,
)
from sizing.errors import BadInputError

__all__ = [
    "CONFIDENCE",
    "Comparison",
    "Interval",
    "PairCounts",
    "Verdict",
    "adjust_comparisons",
    "adjust_holm",
    "bootstrap_mean",
    "compare_paired",
    "interval_of_scores",
    "judge",
    "least_difference_binary",
    "least_difference_mean",
    "mcnemar_p",
    "n_for_half_width",
    "n_needed_binary",
    "n_needed_mean",
    "newcombe_interval",
    "plan_interval",
    "sign_flip_p",
    "wilson_interval",
]

POWER = 0.8
"""How often the number of items that is named would tell the difference it is named for."""

EXACT_UP_TO = 14
"""Items with a difference up to which all patterns of signs are tried (2^13 of them, by symmetry)."""

N_FLIPS = 10_000
"""Patterns of signs drawn above that; the smallest p value there is is 1 in this many."""


ItemId = TypeVar("ItemId", bound=Hashable)


class Verdict(StrEnum):
    """What the items say."""

    A_BETTER = "a better"
    B_BETTER = "b better"
    NOT_DISTINGUISHABLE = "not distinguishable at this n"


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Items by who was right; together all items both runs have. Of partial scores: by who scored higher.

    Then `both` counts equal scores above zero, `neither` equal scores of zero.
    """

    both: int
    only_a: int
    only_b: int
    neither: int

    @property
    def n(self) -> int:
        """All items."""
        return self.both + self.only_a + self.only_b + self.neither


@dataclass(frozen=True, slots=True)
class Comparison:
    """Run a against run b on the items both have.

    `difference` is the mean of a's scores less that of b's, with its paired interval. `p_value` is two-sided;
    `p_adjusted` is the one the verdict rests on, larger where several comparisons were made at once. `n_needed`: about
    how many paired items would tell the difference seen, with 80% power at the same level; None where none was seen.
    `least_difference`: the smallest difference these items would have told with that power; None where none would.
    """

    n: int
    n_left_out: int
    mean_a: float
    mean_b: float
    difference: Interval
    counts: PairCounts
    test: str
    p_value: float
    p_adjusted: float
    verdict: Verdict
    n_needed: int | None
    least_difference: float | None

    @property
    def sentence(self) -> str:
        """The verdict in one line, with what would distinguish."""
        seen = f"a {self.mean_a:.1%}, b {self.mean_b:.1%} on {self.n:,} shared items (p = {self.p_adjusted:.2g})"
        if self.verdict is not Verdict.NOT_DISTINGUISHABLE:
            return f"{self.verdict}: {seen}"
        parts = [f"{self.verdict}: {seen}"]
        if self.n_needed is not None:
            parts.append(f"about {self.n_needed:,} paired items would tell a difference like the one seen")
        if self.least_difference is not None:
            parts.append(f"these could have told {100 * self.least_difference:.1f} points")
        else:
            parts.append("these are too few to tell any difference")
        return "; ".join(parts)


def compare_paired(
    a: Mapping[ItemId, float],
    b: Mapping[ItemId, float],
    seed: int = 0,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
) -> Comparison:
    """Compare two runs, each a score from 0 to 1 per item, on the items both have; the others are counted and left out.

    The verdict rests on the p value at 1 - confidence. The interval comes from another formula (Newcombe's or the
    bootstrap), so near the border it may exclude zero where the exact test, which never alarms too often, does not yet.

    Raises BadInputError where no item is shared or a score is not between 0 and 1.
    """
    shared = [item for item in a if item in b]
    if not shared:
        raise BadInputError(f"two runs of {len(a)} and {len(b)} items share none; compare runs of the same suite")
    pair = np.array([[a[item], b[item]] for item in shared], dtype=np.float64)
    wrong = pair[~((pair >= SCORE_SPAN[0]) & (pair <= SCORE_SPAN[1]))]  # so that what is no number is wrong too
    if len(wrong):
        raise BadInputError(f"scores want 0 to 1, got {float(wrong[0])!r}; divide each by the most it can be")
    differences, counts = pair[:, 0] - pair[:, 1], count_pairs(pair)
    if is_binary(pair):
        test, p_value = "exact McNemar", mcnemar_p(counts.only_a, counts.only_b)
        interval = newcombe_interval(counts, confidence)
        needed = n_needed_binary(counts.only_a / counts.n, counts.only_b / counts.n, confidence)
        least = least_difference_binary(counts.n, (counts.only_a + counts.only_b) / counts.n, confidence)
    else:
        test, p_value = sign_flip_p(differences, seed)
        interval = bootstrap_mean(differences, seed, confidence, n_resamples, (-1.0, 1.0))
        spread = float(differences.std(ddof=1)) if len(differences) > 1 else math.inf
        needed = n_needed_mean(float(differences.mean()), spread, confidence)
        least = least_difference_mean(len(differences), spread, confidence)
    return Comparison(
        n=len(shared),
        n_left_out=len(a) + len(b) - 2 * len(shared),
        mean_a=float(pair[:, 0].mean()),
        mean_b=float(pair[:, 1].mean()),
        difference=interval,
        counts=counts,
        test=test,
        p_value=p_value,
        p_adjusted=p_value,
        verdict=judge(p_value, interval.value, confidence),
        n_needed=needed,
        least_difference=least,
    )


def judge(p_value: float, difference: float, confidence: float = CONFIDENCE) -> Verdict:
    """The verdict of a p value and the sign of a difference (a less b)."""
    if p_value > 1 - confidence or difference == 0:
        return Verdict.NOT_DISTINGUISHABLE
    return Verdict.A_BETTER if difference > 0 else Verdict.B_BETTER


def count_pairs(pair: Array) -> PairCounts:
    """Counts of two columns of scores, a and b."""
    a, b = pair[:, 0], pair[:, 1]
    more, less, none = int((a > b).sum()), int((a < b).sum()), int(((a == b) & (a == 0)).sum())
    return PairCounts(len(pair) - more - less - none, more, less, none)


def mcnemar_p(only_a: int, only_b: int) -> float:
    """The exact two-sided p value of McNemar's test: the binomial test of the items only one run got right.

    Q. McNemar, Psychometrika 12 (1947) 153; exact as in F. Mosteller, Biometrics 8 (1952) 220. 1 without such items.
    Raises BadInputError for a negative count.
    """
    if min(only_a, only_b) < 0:
        raise BadInputError(f"counts of items want 0 or more, got {only_a!r} and {only_b!r}")
    n = only_a + only_b
    term, tail = 1, 0
    for k in range(min(only_a, only_b) + 1):
        tail += term
        term = term * (n - k) // (k + 1)
    return min(1.0, 2 * tail / (1 << n))


def sign_flip_p(differences: Array, seed: int) -> tuple[str, float]:
    """The test's name and two-sided p value: how often flipped signs give a sum as far from zero as the one seen.

    R. A. Fisher, The Design of Experiments (1935), section 21. All patterns up to 14 differences that are not zero;
    above, seeded draws, where p = (1 + as far) / (1 + draws) never understates (B. Phipson and G. Smyth, Stat. Appl.
    Genet. Mol. Biol. 9 (2010) 39).
    """
    moved = differences[differences != 0]
    n = len(moved)
    if n == 0:
        return "sign flips, all", 1.0
    far = abs(float(moved.sum())) - 1e-9 * float(np.abs(moved).sum())
    if n <= EXACT_UP_TO:
        patterns = np.arange(1 << (n - 1))[:, None] >> np.arange(n) & 1  # the first bits' mirror images count alike
        sums = (1 - 2 * patterns) @ moved
        return "sign flips, all", float(np.mean(np.abs(sums) >= far))
    chance, hits = np.random.default_rng(seed), 0
    step = max(1, CHUNK_VALUES // n)
    for first in range(0, N_FLIPS, step):
        rows = min(step, N_FLIPS - first)
        signs = chance.integers(0, 2, (rows, n), dtype=np.int8) * 2 - 1
        hits += int(np.count_nonzero(np.abs(signs @ moved) >= far))
    return f"sign flips, {N_FLIPS:,} drawn", (1 + hits) / (1 + N_FLIPS)


def newcombe_interval(counts: PairCounts, confidence: float = CONFIDENCE) -> Interval:
    """The interval of the difference of two paired rates: R. G. Newcombe, Stat. Med. 17 (1998) 2635, method 10.

    Squares of Wilson's reaches are added, less what the two rates share by their correlation, which is corrected
    for continuity. Raises BadInputError without items.
    """
    e, f, g, h, n = counts.both, counts.only_a, counts.only_b, counts.neither, counts.n
    first, second = wilson_interval(e + f, n, confidence), wilson_interval(e + g, n, confidence)
    product = (e + f) * (g + h) * (e + g) * (f + h)
    surplus = float(e * h - f * g)
    if surplus > 0:
        surplus = max(surplus - n / 2, 0.0)
    phi = surplus / math.sqrt(product) if product else 0.0

    def add(up: float, down: float) -> float:
        return math.sqrt(max(up * up - 2 * phi * up * down + down * down, 0.0))

    seen = (f - g) / n
    low = seen - add(first.value - first.low, second.high - second.value)
    high = seen + add(first.high - first.value, second.value - second.low)
    return Interval(seen, max(low, -1.0), min(high, 1.0), n, "Newcombe paired", confidence)


def n_needed_binary(only_a: float, only_b: float, confidence: float = CONFIDENCE, power: float = POWER) -> int | None:
    """Paired items with which McNemar's exact test tells these rates of one-sided items; None for equal rates.

    R. J. Connor, Biometrics 43 (1987) 207: n = (z_a sqrt(p) + z_b sqrt(p - d^2))^2 / d^2 with p the sum of the two
    rates and d their difference. The exact test behaves as the test with continuity correction, which moves d n by
    one item: d n - 1 = z_a sqrt(p n) + z_b sqrt((p - d^2) n), solved for n. It rests on the rates seen, which are
    uncertain themselves: an order of size, not a promise. With no item on one side it asks up to a fifth too many.
    Raises BadInputError for rates outside 0..1.
    """
    if min(only_a, only_b) < 0 or only_a + only_b > 1 + 1e-12:
        raise BadInputError(f"rates of one-sided items want 0..1 together, got {only_a!r} and {only_b!r}")
    total, gap = only_a + only_b, abs(only_a - only_b)
    if gap == 0:
        return None
    reach = find_z(confidence) * math.sqrt(total) + _find_power_z(power) * math.sqrt(max(total - gap * gap, 0.0))
    return math.ceil(((reach + math.sqrt(reach * reach + 4 * gap)) / (2 * gap)) ** 2 - 1e-9)


def least_difference_binary(
    n: int, one_sided: float, confidence: float = CONFIDENCE, power: float = POWER
) -> float | None:
    """The smallest difference of two paired rates that `n` items tell; None where none can be told.

    `one_sided` is the share of items that only one run got right; a larger difference than that takes a share as large
    as itself. The same equation as `n_needed_binary`, solved for d by bisection.
    """
    z_a, z_b = find_z(confidence), _find_power_z(power)

    def surplus(gap: float) -> float:
        total = max(one_sided, gap)
        return n * gap - 1 - z_a * math.sqrt(total * n) - z_b * math.sqrt(max(total - gap * gap, 0.0) * n)

    low, high = 0.0, 1.0
    if surplus(high) < 0:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if surplus(middle) < 0 else (low, middle)
    return high


def n_needed_mean(difference: float, spread: float, confidence: float = CONFIDENCE, power: float = POWER) -> int | None:
    """Paired items with which a test of the mean tells `difference`; None where it is zero or the spread unknown.

    `spread` is the standard deviation of the items' differences. W. C. Guenther, The American Statistician 35 (1981)
    243: n = ((z_a + z_b) spread / difference)^2 + z_a^2 / 2.
    """
    if difference == 0 or not math.isfinite(spread):
        return None
    z_a, z_b = find_z(confidence), _find_power_z(power)
    return math.ceil(((z_a + z_b) * spread / difference) ** 2 + z_a * z_a / 2)


def least_difference_mean(n: int, spread: float, confidence: float = CONFIDENCE, power: float = POWER) -> float | None:
    """The smallest mean difference that `n` items with this spread tell: Guenther's formula turned round.

    None where `n` is too small for any, where the spread is unknown, or is zero and so says nothing.
    """
    z_a, z_b = find_z(confidence), _find_power_z(power)
    room = n - z_a * z_a / 2
    if room <= 0 or not math.isfinite(spread) or spread == 0:
        return None
    return (z_a + z_b) * spread / math.sqrt(room)


def _find_power_z(power: float) -> float:
    if not 0.5 <= power < 1:
        raise BadInputError(f"a power wants a number from 0.5 to below 1, got {power!r}")
    return find_z(2 * power - 1) if power > 0.5 else 0.0


def adjust_holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Each p value as if it were the only one: S. Holm, Scand. J. Stat. 6 (1979) 65, in the order given.

    Judged at one level, they then give a false alarm in that share of all rounds at most. Raises BadInputError for
    a value outside 0..1.
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise BadInputError(f"p values want numbers from 0 to 1, got {list(p_values)!r}")
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return tuple(adjusted)


def adjust_comparisons(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Comparisons made at once, each judged anew by its Holm-adjusted p value; intervals stay as they are."""
    adjusted = adjust_holm([c.p_value for c in comparisons])
    return tuple(
        replace(c, p_adjusted=p, verdict=judge(p, c.difference.value, c.difference.confidence))
        for c, p in zip(comparisons, adjusted, strict=True)
    )

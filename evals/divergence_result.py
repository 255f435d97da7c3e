"""What measuring a quantization's damage gives: sums per window of text, and from them figures with standard errors.

Tokens of one window share their context, so they err together, and an error computed as if each were drawn alone is
too small. The window is the unit here: every mean's standard error is the cluster-robust one of a ratio of sums (W. G.
Cochran, Sampling Techniques, 3rd ed. 1977, section 6.3; A. C. Cameron and D. L. Miller, J. Human Resources 50 (2015)
317), intervals use Student's distribution with one degree of freedom fewer than windows, and quantiles resample whole
windows. Neighbouring windows of one document still resemble each other, which these errors do not see.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from evals.divergence_rows import find_bin_value, find_quantile_place
from evals.intervals import CONFIDENCE, find_t, wilson_interval
from sizing.errors import BadInputError

Array = npt.NDArray[np.float64]

N_QUANTILE_RESAMPLES = 400
"""Times the windows are drawn anew for the error of a quantile: it is then known to about 4%."""


@dataclass(frozen=True, slots=True)
class WindowResult:
    """The sums of one window of text, small enough to keep each on disk; a run goes on from those it has.

    `index` counts windows from 0; `tokens_hash` is of the window's token numbers, so that another text or tokenizer is
    noticed. Sums are in nats over `n_tokens` scored tokens, as in `evals.divergence_rows.RowSums`; `kl_bins` is the
    sketch of the divergences as pairs (bin, count); `seconds` what both models took.
    """

    index: int
    tokens_hash: str
    n_tokens: int
    nll_reference: float
    nll_candidate: float
    kl_sum: float
    kl_squares: float
    kl_max: float
    n_agree: int
    shift_sum: float
    shift_squares: float
    kl_bins: tuple[tuple[int, int], ...]
    seconds: float

    def to_record(self) -> dict[str, Any]:
        """The window as JSON takes it; `read_window` turns it back."""
        return asdict(self)


def read_window(record: Mapping[str, Any]) -> WindowResult:
    """A window from its record. Raises BadInputError where a field is missing or is none of a window's."""
    names = {f.name for f in fields(WindowResult)}
    if set(record) != names:
        wrong = ", ".join(sorted(names ^ set(record)))
        raise BadInputError(f"a window's record wants its {len(names)} fields, these differ: {wrong}")
    bins = tuple((int(number), int(count)) for number, count in record["kl_bins"])
    return WindowResult(**{**record, "kl_bins": bins})


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, its standard error and 95% interval over windows; None for all three where one window says nothing."""

    value: float
    stderr: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class DivergenceSetting:
    """What was measured how. `ended` is why no further window was read: 'text', 'max_tokens' or 'max_seconds'."""

    text_sha256: str
    text_bytes: int
    context_tokens: int
    n_vocab: int
    n_threads: int
    n_gpu_layers: int
    candidate_kv_type_k: str
    candidate_kv_type_v: str
    reference_description: str
    candidate_description: str
    reference_bytes: int
    candidate_bytes: int
    llama_cpp_version: str
    peak_bytes: int
    ended: str


@dataclass(frozen=True, slots=True)
class DivergenceResult:
    """How far the candidate is from the reference on a text.

    Perplexities are exp of the mean -log p of the tokens that came; `kl_*` are of KL(reference || candidate) per token
    in nats, quantiles to 2%, `kl_max` the largest seen; `top_agreement` is the share of tokens (0..1) whose most
    probable choice is the same; `shift_*` are the candidate's probability of the true token less the reference's,
    mean and root mean square. `n_tokens` are those scored.
    """

    n_windows: int
    n_tokens: int
    seconds: float
    perplexity_reference: Estimate
    perplexity_candidate: Estimate
    perplexity_ratio: Estimate
    kl_mean: Estimate
    kl_median: Estimate
    kl_p90: Estimate
    kl_p99: Estimate
    kl_max: float
    top_agreement: Estimate
    shift_mean: Estimate
    shift_rms: Estimate
    setting: DivergenceSetting | None = None

    @property
    def warning(self) -> str:
        """What makes these figures say little of the quantization, empty where nothing does.

        A perplexity above the number of tokens is worse than guessing among all of them: on such a text damage may
        even raise the probability of what comes.
        """
        if self.setting is not None and self.perplexity_reference.value > self.setting.n_vocab:
            found = f"perplexity {self.perplexity_reference.value:,.0f} with {self.setting.n_vocab:,} tokens"
            return f"the reference guesses this text worse than blindly ({found}); give one of the kind it was made for"
        return ""


def sum_up(windows: Sequence[WindowResult], seed: int = 0) -> DivergenceResult:
    """The figures of these windows, in whatever order they came. Raises BadInputError for none, or one given twice."""
    if not windows or len({w.index for w in windows}) < len(windows):
        raise BadInputError(f"figures want at least one window, each once, got {[w.index for w in windows]!r}")
    ordered = sorted(windows, key=lambda w: w.index)
    sizes = _column(ordered, "n_tokens")
    reference, candidate = _column(ordered, "nll_reference"), _column(ordered, "nll_candidate")
    quantiles = estimate_quantiles(ordered, (0.5, 0.9, 0.99), seed)
    return DivergenceResult(
        n_windows=len(ordered),
        n_tokens=int(sizes.sum()),
        seconds=math.fsum(w.seconds for w in ordered),
        perplexity_reference=_take_exp(estimate_mean(reference, sizes)),
        perplexity_candidate=_take_exp(estimate_mean(candidate, sizes)),
        perplexity_ratio=_take_exp(estimate_mean(candidate - reference, sizes)),
        kl_mean=_hold(estimate_mean(_column(ordered, "kl_sum"), sizes), 0.0, math.inf),
        kl_median=quantiles[0],
        kl_p90=quantiles[1],
        kl_p99=quantiles[2],
        kl_max=max(w.kl_max for w in ordered),
        top_agreement=_estimate_agreement(_column(ordered, "n_agree"), sizes),
        shift_mean=estimate_mean(_column(ordered, "shift_sum"), sizes),
        shift_rms=_take_root(estimate_mean(_column(ordered, "shift_squares"), sizes)),
    )


def _column(windows: Sequence[WindowResult], name: str) -> Array:
    return np.array([getattr(w, name) for w in windows], dtype=np.float64)


def estimate_mean(sums: Array, sizes: Array) -> Estimate:
    """The mean per token from each window's sum and number of tokens, its error from how far the windows differ.

    stderr^2 = W / (W - 1) * sum((sum_w - mean * size_w)^2) / (sum of sizes)^2 over W windows.
    """
    n_windows, mean = len(sums), float(sums.sum() / sizes.sum())
    if n_windows < 2:
        return Estimate(mean, None, None, None)
    off = sums - mean * sizes
    stderr = math.sqrt(n_windows / (n_windows - 1) * float((off * off).sum())) / float(sizes.sum())
    return _spread(mean, stderr, n_windows)


def _spread(value: float, stderr: float, n_windows: int) -> Estimate:
    reach = find_t(CONFIDENCE, n_windows - 1) * stderr
    return Estimate(value, stderr, value - reach, value + reach)


def _hold(found: Estimate, least: float, most: float) -> Estimate:
    """The interval cut to where the figure can be."""
    if found.low is None or found.high is None:
        return found
    return Estimate(found.value, found.stderr, max(found.low, least), min(found.high, most))


def _take_exp(found: Estimate) -> Estimate:
    """exp of an estimate: ends are transformed, the error to first order."""
    value = math.exp(min(found.value, 700.0))
    if found.stderr is None or found.low is None or found.high is None:
        return Estimate(value, None, None, None)
    return Estimate(value, value * found.stderr, math.exp(found.low), math.exp(min(found.high, 700.0)))


def _take_root(found: Estimate) -> Estimate:
    """The root of an estimate of squares: ends are transformed, the error to first order."""
    value = math.sqrt(found.value)
    if found.stderr is None or found.low is None or found.high is None:
        return Estimate(value, None, None, None)
    stderr = found.stderr / (2 * value) if value else 0.0
    return Estimate(value, stderr, math.sqrt(max(found.low, 0.0)), math.sqrt(found.high))


def _estimate_agreement(agreed: Array, sizes: Array) -> Estimate:
    """The share of tokens that agree. Where all do, Wilson's bound of so many tokens stands in for no spread."""
    found = _hold(estimate_mean(agreed, sizes), 0.0, 1.0)
    if found.stderr != 0.0 or found.value != 1.0:
        return found
    return Estimate(1.0, 0.0, wilson_interval(int(agreed.sum()), int(sizes.sum())).low, 1.0)


def estimate_quantiles(windows: Sequence[WindowResult], shares: Sequence[float], seed: int) -> list[Estimate]:
    """Quantiles of the divergence from the windows' sketches; errors by drawing whole windows anew, seeded."""
    numbers = sorted({number for w in windows for number, _ in w.kl_bins})
    place = {number: i for i, number in enumerate(numbers)}
    counts = np.zeros((len(windows), len(numbers)))
    for i, window in enumerate(windows):
        for number, count in window.kl_bins:
            counts[i, place[number]] += count
    values = [find_bin_value(number) for number in numbers]

    def read(cumulated: Array) -> list[float]:
        return [values[find_quantile_place(cumulated, share)] for share in shares]

    seen, n = read(counts.sum(axis=0).cumsum()), len(windows)
    if n < 2:
        return [Estimate(value, None, None, None) for value in seen]
    draws = np.random.default_rng(seed).multinomial(n, [1 / n] * n, N_QUANTILE_RESAMPLES)
    drawn = np.array([read(row) for row in (draws @ counts).cumsum(axis=1)])
    errors = drawn.std(axis=0, ddof=1) * math.sqrt(n / (n - 1))
    return [_hold(_spread(value, float(error), n), 0.0, math.inf) for value, error in zip(seen, errors, strict=True)]

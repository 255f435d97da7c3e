"""From logits to figures, without an engine: sums against scipy, the sketch, errors over windows by simulation."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from catalog.quant_loss import list_published_losses, load_quant_rows
from evals.damage import LABELS, METRICS, MeasuredDamage, line_up_damage, list_measured
from evals.divergence_result import WindowResult, estimate_mean, read_window, sum_up
from evals.divergence_rows import SKETCH_ERROR, RowSums, add_rows, count_bins, find_bin_value, find_quantile_place
from evals.texts import OWN_TEXT_BYTES, TEXTS, build_demo_text, build_own_text, find_text
from sizing.errors import BadInputError, UnknownNameError

N_VOCAB = 50


def make_logits(seed: int, n_rows: int, spread: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, (n_rows, N_VOCAB)).astype(np.float32)


def make_window(index: int, seed: int = 0, n_rows: int = 40, noise: float = 0.3) -> WindowResult:
    reference = make_logits(seed + index, n_rows)
    candidate = reference + make_logits(1000 + seed + index, n_rows, noise)
    sums = RowSums()
    add_rows(sums, reference, candidate, np.random.default_rng(index).integers(0, N_VOCAB, n_rows))
    return read_window(json.loads(json.dumps({"index": index, "tokens_hash": "x", "seconds": 0.5, **sums.to_record()})))


def test_sums_agree_with_scipy() -> None:
    reference, candidate = make_logits(1, 300), make_logits(2, 300)
    targets = np.random.default_rng(3).integers(0, N_VOCAB, 300)
    sums = RowSums()
    for part in (slice(0, 7), slice(7, 300)):  # in whatever pieces
        add_rows(sums, reference[part], candidate[part], targets[part])
    p, q = (scipy.special.softmax(x.astype(float), axis=1) for x in (reference, candidate))
    kl = scipy.stats.entropy(p, q, axis=1)
    rows = np.arange(300)
    assert sums.n_tokens == 300
    assert sums.nll_reference == pytest.approx(-np.log(p[rows, targets]).sum())
    assert sums.nll_candidate == pytest.approx(-np.log(q[rows, targets]).sum())
    assert (sums.kl_sum, sums.kl_max) == pytest.approx((kl.sum(), kl.max()))
    assert sums.kl_squares == pytest.approx((kl**2).sum())
    assert sums.n_agree == (p.argmax(1) == q.argmax(1)).sum()
    assert sums.shift_sum == pytest.approx((q - p)[rows, targets].sum())
    assert sums.shift_squares == pytest.approx(((q - p)[rows, targets] ** 2).sum())


def test_far_logits_do_not_overflow() -> None:
    far = np.array([[1e4, -1e4, 0.0]], dtype=np.float32)
    sums = RowSums()
    add_rows(sums, far, -far, np.array([1]))
    assert sums.nll_reference == pytest.approx(2e4) and sums.kl_sum == pytest.approx(2e4)


def test_nothing_diverges_from_itself() -> None:
    logits, sums = make_logits(5, 100), RowSums()
    add_rows(sums, logits, logits.copy(), np.zeros(100, dtype=np.int64))
    assert sums.kl_sum == 0 and sums.kl_max == 0 and sums.n_agree == 100 and sums.shift_squares == 0


def find_quantile(bins: Counter[int], share: float) -> float:
    """The value a sketch gives for a quantile."""
    numbers = sorted(bins)
    return find_bin_value(numbers[find_quantile_place(np.cumsum([bins[n] for n in numbers]), share)])


@given(
    values=st.lists(st.floats(1e-8, 50), min_size=1, max_size=200),
    split=st.integers(0, 200),
    share=st.sampled_from([0.1, 0.5, 0.9, 0.99]),
)
def test_a_quantile_of_added_sketches_is_near_the_true_one(values: list[float], split: int, share: float) -> None:
    bins = count_bins(np.array(values[:split])) + count_bins(np.array(values[split:]))
    true = float(np.quantile(values, share, method="inverted_cdf"))
    assert find_quantile(bins, share) == pytest.approx(true, rel=SKETCH_ERROR + 1e-9)


def test_what_does_not_diverge_counts_in_a_quantile() -> None:
    bins = count_bins(np.array([0.0, 0.0, 0.0, 5.0]))
    assert find_quantile(bins, 0.5) == 0.0 and find_quantile(bins, 0.9) == pytest.approx(5, rel=SKETCH_ERROR)


def test_a_window_comes_back_from_json() -> None:
    window = make_window(3)
    assert read_window(json.loads(json.dumps(window.to_record()))) == window
    with pytest.raises(BadInputError, match="kl_max"):
        read_window({k: v for k, v in window.to_record().items() if k != "kl_max"})


def test_figures_are_those_of_all_tokens_together() -> None:
    windows = [make_window(i, n_rows=20 + 5 * i) for i in range(8)]
    found, n = sum_up(windows), sum(20 + 5 * i for i in range(8))
    assert (found.n_windows, found.n_tokens, found.seconds) == (8, n, 4.0)
    assert found.kl_mean.value == pytest.approx(sum(w.kl_sum for w in windows) / n)
    assert found.perplexity_candidate.value == pytest.approx(math.exp(sum(w.nll_candidate for w in windows) / n))
    assert found.perplexity_ratio.value == pytest.approx(
        found.perplexity_candidate.value / found.perplexity_reference.value
    )
    assert found.kl_max == max(w.kl_max for w in windows)
    assert found.kl_median.value <= found.kl_p90.value <= found.kl_p99.value <= found.kl_max * (1 + SKETCH_ERROR)
    together: Counter[int] = sum((Counter(dict(w.kl_bins)) for w in windows), Counter())
    assert found.kl_p90.value == pytest.approx(find_quantile(together, 0.9))
    assert sum_up(windows[::-1]) == found
    one = sum_up(windows[:1])
    assert one.kl_mean.stderr is None and one.kl_p99.low is None and one.kl_mean.value > 0


def test_full_agreement_is_not_certainty() -> None:
    windows = [replace(make_window(i), n_agree=40) for i in range(5)]
    found = sum_up(windows).top_agreement
    # Wilson's lower end for 200 of 200 at 95%: n / (n + z^2)
    assert found.low == pytest.approx(200 / (200 + 1.959964**2), abs=1e-6)
    assert found.value == found.high == 1


@pytest.mark.parametrize("windows", [[], [make_window(1), make_window(1)]])
def test_no_windows_or_one_twice_is_refused(windows: list[WindowResult]) -> None:
    with pytest.raises(BadInputError):
        sum_up(windows)


@pytest.mark.parametrize("n_windows", [8, 40])
def test_errors_over_windows_cover_where_errors_over_tokens_do_not(n_windows: int) -> None:
    """Tokens of a window share an offset: as if each were alone, three in ten intervals or more would miss."""
    chance, n_tokens, rounds = np.random.default_rng(n_windows), 50, 1000
    here = alone = 0
    for _ in range(rounds):
        values = chance.normal(0, 1, (n_windows, n_tokens)) + chance.normal(0, 0.5, (n_windows, 1))
        found = estimate_mean(values.sum(axis=1), np.full(n_windows, float(n_tokens)))
        assert found.low is not None and found.high is not None
        here += found.low <= 0 <= found.high
        alone += abs(found.value) <= 1.96 * values.std() / math.sqrt(values.size)
    assert 0.93 <= here / rounds <= 0.97
    assert alone / rounds < 0.7


def test_the_error_of_a_quantile_is_that_of_drawing_windows_anew() -> None:
    """The median of many texts drawn alike spreads as one text's error says."""

    @dataclass
    class Sketch:
        kl_bins: tuple[tuple[int, int], ...]

    from evals.divergence_result import estimate_quantiles

    chance, medians, errors = np.random.default_rng(2), [], []
    for _ in range(60):
        windows = [Sketch(tuple(count_bins(chance.lognormal(chance.normal(0, 0.5), 1, 60)).items())) for _ in range(30)]
        found = estimate_quantiles(windows, (0.5,), 0)[0]  # type: ignore[arg-type]
        medians.append(found.value)
        errors.append(found.stderr)
    assert np.mean(errors) == pytest.approx(np.std(medians), rel=0.3)


def test_published_losses_carry_the_nearest_label() -> None:
    rows = load_quant_rows()
    found = list_published_losses(rows, "Q4_K_M", "Qwen/Qwen3.6-27B", "Qwen3.6")
    # huggingface.co/sokann/Qwen3.6-27B-GGUF-5.076bpw: 94.203% same top token at Q4_K_M
    same = [x for x in found if x.label == "same model"]
    assert {(x.metric, x.value) for x in same} >= {("same_top_percent", 94.203)}
    assert [x.label for x in found] == sorted((x.label for x in found), key=LABELS.index)
    kin = list_published_losses(rows, "Q4_K_M", "meta-llama/Llama-3.1-8B", "Llama 3.1")
    assert {x.model for x in kin if x.label == "same family"} == {"Llama 3 8B"}
    assert list_published_losses(rows, "Q9_X", "a/b", "c") == ()
    nobody = list_published_losses(rows, "Q4_K_M", "", "")
    assert {x.label for x in nobody} == {"generic"} and len(nobody) == len(found)


def test_published_losses_leave_quantized_caches_out() -> None:
    rows = [row for row in load_quant_rows() if (row.kv_type_k, row.kv_type_v) != ("f16", "f16")]
    assert rows
    assert all(list_published_losses(rows, row.quant, "", "") == () for row in rows)


def test_measured_and_published_stand_side_by_side() -> None:
    result = sum_up([make_window(i) for i in range(6)])
    measured = list_measured(result, "own")
    published = list_published_losses(load_quant_rows(), "Q4_K_M", "Qwen/Qwen3.6-27B", "Qwen3.6")
    rows = line_up_damage(measured, published)
    assert [(r.metric, r.label) for r in rows] == sorted(
        ((r.metric, r.label) for r in rows), key=lambda x: (list(METRICS).index(x[0]), LABELS.index(x[1]))
    )
    here = {r.metric: r for r in rows if r.label == "measured here"}
    assert here["same_top_percent"].value == pytest.approx(100 * result.top_agreement.value)
    assert here["kl_divergence"].stderr == result.kl_mean.stderr and here["kl_divergence"].n == result.n_tokens
    assert here["kl_divergence"].texts == ("own",)
    generic = next(r for r in rows if (r.label, r.metric) == ("generic", "kl_divergence"))
    values = sorted(x.value for x in published if (x.label, x.metric) == ("generic", "kl_divergence"))
    assert (generic.low, generic.high, generic.n) == (values[0], values[-1], len(values))
    assert generic.value == np.median(values) and generic.sources and generic.models


def test_unknown_metrics_and_labels_are_refused() -> None:
    with pytest.raises(BadInputError, match="metric"):
        line_up_damage([MeasuredDamage("speed", 1.0, None, None, None, 1, "own")], [])
    own = list_published_losses(load_quant_rows(), "Q4_K_M", "", "")[0]
    with pytest.raises(BadInputError, match="label"):
        line_up_damage([], [replace(own, label="measured here")])


def test_texts_are_the_same_each_time_and_long_enough() -> None:
    own = build_own_text()
    assert own == build_own_text()
    assert OWN_TEXT_BYTES <= len(own.encode()) < 1.05 * OWN_TEXT_BYTES
    assert "# Weighbridge" in own and "def " in own
    lines = Counter(line for line in own.splitlines() if len(line) > 60)
    assert max(lines.values()) <= 3  # no passage twice
    assert build_demo_text() == build_demo_text() and build_demo_text().count("<|user|>") > 1000
    assert TEXTS["demo"].parse_special and not TEXTS["own"].parse_special
    with pytest.raises(UnknownNameError, match="own"):
        find_text("owm")

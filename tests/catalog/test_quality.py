"""Published scores on one scale: nothing invented, missing scores do not punish, orders that practitioners know."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from catalog.quality import (
    BENCHMARKS,
    QualityEvidence,
    ScoreRow,
    list_traits,
    load_scores,
    rate_models,
    to_score,
)
from catalog.queries import list_models
from catalog.store import Catalog
from sizing.errors import BadInputError, DataFileError
from sizing.evidence import Score, Traits, fit_abilities, rate_tasks, tabulate_scores
from sizing.evidence_holdout import hold_out, order_agreement
from sizing.recommend import TASKS


@pytest.fixture(scope="module")
def scores() -> tuple[ScoreRow, ...]:
    return load_scores()


@pytest.fixture(scope="module")
def evidence(scores: tuple[ScoreRow, ...]) -> dict[str, tuple[QualityEvidence, ...]]:
    return rate_models(scores)


def score_of(evidence: dict[str, tuple[QualityEvidence, ...]], task: str, model_id: str) -> float:
    return next(e.score for e in evidence[task] if e.model_id == model_id)


def test_every_row_says_where_and_when(scores: tuple[ScoreRow, ...]) -> None:
    assert len(scores) > 800
    for row in scores:
        assert row.source_url.startswith("https://")
        assert row.as_of[:2] == "20"
        assert 0 < row.score <= 100


def test_no_score_is_told_twice(scores: tuple[ScoreRow, ...]) -> None:
    keys = Counter((r.model_id, r.benchmark, r.variant, r.mode, r.setting, r.score, r.reported_by) for r in scores)
    assert [key for key, n in keys.items() if n > 1] == []


@pytest.mark.parametrize(
    ("model_id", "benchmark", "variant", "score"),
    [
        # Llama 3.1 model card, instruction-tuned table
        ("meta-llama/Llama-3.1-8B-Instruct", "IFEval", "", 80.4),
        ("meta-llama/Llama-3.1-70B-Instruct", "MMLU", "0-shot CoT", 86.0),
        # DeepSeek-R1 README, distilled models
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "AIME 2024", "", 70.0),
        # EvalPlus leaderboard
        ("Qwen/Qwen2.5-Coder-32B-Instruct", "HumanEval+", "", 87.2),
    ],
)
def test_known_scores_are_there(
    scores: tuple[ScoreRow, ...], model_id: str, benchmark: str, variant: str, score: float
) -> None:
    found = [r.score for r in scores if (r.model_id, r.benchmark, r.variant) == (model_id, benchmark, variant)]
    assert score in found


@pytest.mark.parametrize(
    ("model_id", "benchmark", "score"),
    [
        ("google/gemma-2-9b-it", "HumanEval", 40.2),  # the pretrained table of the Gemma 2 card
        ("Qwen/Qwen3-235B-A22B", "MMLU-Pro", 68.18),  # Qwen3-235B-A22B-Base in the technical report
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", "MATH", 61.2),  # pretrained table of the Llama 4 card
        ("Qwen/Qwen2.5-14B-Instruct", "HumanEval+", 51.2),  # Qwen2.5-14B base in the release post
        ("deepseek-ai/DeepSeek-V3", "MMLU-Pro", 64.4),  # DeepSeek-V3-Base in the README
        ("Qwen/QwQ-32B", "MATH-500", 90.6),  # QwQ-32B-Preview, another model
        ("moonshotai/Kimi-K2-Instruct", "MultiPL-E", 71.6),  # SWE-bench Verified with several attempts
    ],
)
def test_scores_of_base_models_are_not_lent_to_chat_models(
    scores: tuple[ScoreRow, ...], model_id: str, benchmark: str, score: float
) -> None:
    assert not [r for r in scores if r.model_id == model_id and r.benchmark == benchmark and r.score == score]


def test_publisher_and_others_are_told_apart(scores: tuple[ScoreRow, ...]) -> None:
    arena = [r for r in scores if r.reported_by == "LMArena"]
    assert arena
    assert all(r.independent for r in arena)
    own = [r for r in scores if r.reported_by == "Meta" and r.model_id.startswith("meta-llama/")]
    assert own
    assert not any(r.independent for r in own)


def test_arena_rating_is_a_win_rate(scores: tuple[ScoreRow, ...]) -> None:
    # Elo: a model rated 400 above another wins 10 of 11 games; 1300 is the reference of the data file.
    row = next(r for r in scores if r.model_id == "deepseek-ai/DeepSeek-R1" and r.benchmark == "LMArena Text")
    rating = float(row.setting.removeprefix("rating ").split(";")[0])
    assert row.score == pytest.approx(100 / (1 + 10 ** ((1300 - rating) / 400)), abs=0.01)


@pytest.mark.parametrize(
    ("task", "better", "worse"),
    [
        ("chat", "Qwen/Qwen3-32B", "Qwen/Qwen2.5-7B-Instruct"),
        ("code", "Qwen/Qwen3-32B", "Qwen/Qwen2.5-7B-Instruct"),
        ("math", "Qwen/Qwen3-32B", "Qwen/Qwen2.5-7B-Instruct"),
        ("chat", "meta-llama/Llama-3.1-70B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("code", "meta-llama/Llama-3.1-70B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("reasoning", "meta-llama/Llama-3.1-70B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("math", "deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-V3"),
        ("math", "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"),
        ("chat", "google/gemma-3-27b-it", "google/gemma-3-4b-it"),
        ("vision", "google/gemma-3-27b-it", "google/gemma-3-4b-it"),
        ("chat", "zai-org/GLM-4.5", "meta-llama/Llama-3.2-1B-Instruct"),
    ],
)
def test_orders_that_practitioners_know(
    evidence: dict[str, tuple[QualityEvidence, ...]], task: str, better: str, worse: str
) -> None:
    assert score_of(evidence, task, better) > score_of(evidence, task, worse)


def test_evidence_only_where_a_row_speaks(
    evidence: dict[str, tuple[QualityEvidence, ...]], scores: tuple[ScoreRow, ...]
) -> None:
    for task in TASKS:
        speak = {r.model_id for r in scores if r.benchmark in BENCHMARKS and task in BENCHMARKS[r.benchmark].tasks}
        assert {e.model_id for e in evidence[task]} == speak
        for e in evidence[task]:
            assert e.n_scores == len(e.rows) >= 1
            assert e.n_independent == sum(r.independent for r in e.rows)
            assert 0 <= e.low < e.score < e.high <= 100


def test_no_rows_no_evidence() -> None:
    assert rate_models(()) == dict.fromkeys(TASKS, ())


def test_uncounted_benchmarks_move_nothing(scores: tuple[ScoreRow, ...]) -> None:
    extra = ScoreRow("org/new", "HellaSwag", 95.0, "org", False, "https://example.org", "2025-01-01")
    assert all("org/new" not in {e.model_id for e in found} for found in rate_models((*scores, extra)).values())


def synthetic(n_models: int, *, seed: int, share: float = 1.0) -> tuple[list[Score], np.ndarray]:
    """Scores of `n_models` on six benchmarks of known difficulty; each is published with probability `share`."""
    rng = np.random.default_rng(seed)
    ability = rng.normal(0, 1, n_models)
    ease = np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0])
    found = []
    for m, a in enumerate(ability):
        for i, e in enumerate(ease):
            if rng.random() < share:
                score = 100 / (1 + np.exp(-(a + e + rng.normal(0, 0.1))))
                found.append(Score(f"m{m:02}", f"b{i}", ("chat",), float(score)))
    return found, ability


def test_who_reports_only_easy_benchmarks_gains_nothing() -> None:
    found, ability = synthetic(30, seed=1)
    weak = int(np.argsort(ability)[8])
    kept = [s for s in found if s.model != f"m{weak:02}" or s.item in ("b4", "b5")]
    full = {r.model: r for r in rate_tasks(found, ("chat",))}
    thin = {r.model: r for r in rate_tasks(kept, ("chat",))}
    name = f"m{weak:02}"
    assert thin[name].score == pytest.approx(full[name].score, abs=4)
    assert np.mean([s.score for s in kept if s.model == name]) > thin[name].score + 10


def test_interval_widens_with_fewer_scores() -> None:
    found, _ = synthetic(20, seed=2)
    widths = []
    for n in (6, 3, 1):
        kept = [s for s in found if s.model != "m00" or int(s.item[1]) < n]
        rating = next(r for r in rate_tasks(kept, ("chat",)) if r.model == "m00")
        widths.append(rating.high - rating.low)
    assert widths[0] < widths[1] < widths[2]


def test_publishers_own_scores_count_less() -> None:
    found, _ = synthetic(20, seed=3)
    base = [s for s in found if s.model != "m00"]
    own = Score("m00", "b2", ("chat",), 80.0, by_publisher=True)
    other = Score("m00", "b2", ("chat",), 80.0)
    widths = []
    for s in (own, other):
        rating = next(r for r in rate_tasks([*base, s], ("chat",)) if r.model == "m00")
        widths.append(rating.high - rating.low)
    assert widths[0] > widths[1]


def test_recovers_the_order_from_a_third_of_the_scores() -> None:
    found, ability = synthetic(40, seed=4, share=0.35)
    ratings = {r.model: r.score for r in rate_tasks(found, ("chat",))}
    names = sorted(ratings)
    truth = [ability[int(n[1:])] for n in names]
    guess = [ratings[n] for n in names]
    ranks = [np.argsort(np.argsort(v)) for v in (truth, guess)]
    assert np.corrcoef(*ranks)[0, 1] > 0.9


def test_thinking_off_is_not_held_against_the_model() -> None:
    found, _ = synthetic(20, seed=5)
    on = [Score(f"t{m}", s.item, ("chat",), s.score) for m in range(6) for s in found if s.model == f"m0{m}"]
    off = [Score(s.model, s.item, s.tasks, s.score * 0.7, no_thinking=True) for s in on]
    alone = [Score("t9", "b2", ("chat",), 50.0, no_thinking=True), Score("t8", "b2", ("chat",), 50.0)]
    ratings = {r.model: r.score for r in rate_tasks([*found, *on, *off, *alone], ("chat",))}
    assert ratings["t9"] > ratings["t8"] + 3


def test_every_benchmark_says_why_it_speaks_for_its_tasks() -> None:
    assert "code" in BENCHMARKS["SWE-bench Verified"].tasks
    assert all(use.why and set(use.tasks) <= set(TASKS) for use in BENCHMARKS.values())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"score": "n/a"}, "score wants a number"),
        ({"score": "1134"}, "score wants 0..100"),
        ({"source_url": ""}, "source_url is empty"),
        ({"mode": "fast"}, "mode wants"),
        ({"independent": "maybe"}, "independent wants"),
    ],
)
def test_bad_rows_are_named_with_their_line(tmp_path: Path, change: dict[str, str], problem: str) -> None:
    header = "model_id,benchmark,variant,score,mode,setting,metric,reported_by,independent,source_url,source_note,as_of"
    good = dict.fromkeys(header.split(","), "")
    good |= {"model_id": "a/b", "benchmark": "MMLU", "score": "50", "reported_by": "x", "independent": "true"}
    good |= {"source_url": "https://example.org", "as_of": "2025"}
    file = tmp_path / "benchmarks.csv"
    file.write_text("\n".join([header, ",".join(good.values()), ",".join((good | change).values())]) + "\n")
    with pytest.raises(DataFileError, match=problem) as caught:
        load_scores(file)
    assert caught.value.line == 3


@pytest.fixture(scope="module")
def traits(catalog: Catalog) -> Traits:
    return list_traits(list_models(catalog))


def test_held_out_scores_are_ordered_and_covered(scores: tuple[ScoreRow, ...], traits: Traits) -> None:
    counted = [s for row in scores if (s := to_score(row)) is not None]
    result = hold_out(counted, TASKS, share=0.2, seed=1, traits=traits)
    assert result.n_pairs > 300
    assert result.ordered_right > 0.8
    assert result.n_clear > 100
    assert result.clear_ordered_right >= 0.85, "what was promised of pairs more than two standard errors apart"
    assert 0.7 < result.coverage < 0.9
    assert result.mean_error_points < 9


def test_a_pair_is_clear_only_beyond_two_standard_errors() -> None:
    model, item = np.array([0, 1, 2]), np.zeros(3, dtype=np.int64)
    truth, guess = np.array([50.0, 60.0, 90.0]), np.array([0.3, 0.1, 0.2])
    right, total, clear_right, clear = order_agreement(model, truth, guess, item, np.full(3, 0.28))
    # log-odds 0, 0.41 and 2.20; two errors of a difference are 2 x 0.28 x sqrt(2) = 0.79: only pairs with 90 are clear
    assert (total, clear) == (3, 2)
    assert (right, clear_right) == (1, 1)
    noisy = order_agreement(model, truth, guess, item, np.full(3, 1.0))
    assert noisy == (1, 3, 0, 0)


def test_publishers_optimism_is_found_where_it_was_put() -> None:
    found, _ = synthetic(40, seed=7)
    independent = [s for s in found if s.item in ("b0", "b2", "b4")]
    lifted = [
        Score(s.model, s.item, s.tasks, float(100 / (1 + np.exp(-(np.log(s.score / (100 - s.score)) + 0.3)))), True)
        for s in found
        if s.item in ("b1", "b2", "b3")
    ]
    table, _, _ = tabulate_scores([*independent, *lifted], ("chat",))
    assert fit_abilities(table).optimism == pytest.approx(0.3, abs=0.1)


def test_one_lucky_score_is_tempered_by_size_and_date_and_ten_are_not() -> None:
    found, _ = synthetic(40, seed=8)
    size = {s.model: (float(int(s.model[1:]) % 4),) for s in found}
    lucky = [Score("new", f"b{i}", ("chat",), 97.0) for i in range(6)]
    small = size | {"new": (0.0,)}

    def rate(n: int, traits: Traits | None) -> float:
        return next(r.score for r in rate_tasks([*found, *lucky[:n]], ("chat",), traits=traits) if r.model == "new")

    few, many = rate(1, None) - rate(1, small), rate(6, None) - rate(6, small)
    assert few > many >= -0.5


def test_ability_that_grows_with_size_is_learnt_but_never_lent_to_a_model_without_scores() -> None:
    rng = np.random.default_rng(3)
    size = {f"m{m:02}": (float(m % 8),) for m in range(40)}
    found = [
        Score(m, f"b{i}", ("chat",), float(100 / (1 + np.exp(-(0.5 * x - 2 + rng.normal(0, 0.3))))))
        for m, (x,) in size.items()
        for i in range(3)
    ]
    table, _, _ = tabulate_scores(found, ("chat",), size)
    assert fit_abilities(table).trait_weights[0] == pytest.approx(0.5, abs=0.1)
    assert "huge" not in {r.model for r in rate_tasks(found, ("chat",), traits=size | {"huge": (99.0,)})}


def test_a_pull_is_what_the_rating_would_lose_without_the_row() -> None:
    found, _ = synthetic(30, seed=9)
    high = Score("m00", "b9", ("chat",), 99.0)
    peers = [Score(f"m{m:02}", "b9", ("chat",), 50.0) for m in range(1, 30)]
    rating = next(r for r in rate_tasks([*found, high, *peers], ("chat",)) if r.model == "m00")
    without = next(r for r in rate_tasks([*found, *peers], ("chat",)) if r.model == "m00")
    assert len(rating.pulls) == 7
    assert rating.pulls[-1] == max(rating.pulls) > 0
    assert rating.pulls[-1] == pytest.approx(rating.score - without.score, rel=0.35)


def test_every_row_behind_a_rating_has_its_pull(evidence: dict[str, tuple[QualityEvidence, ...]]) -> None:
    for found in evidence.values():
        for e in found:
            assert len(e.pulls) == len(e.rows)
            assert all(np.isfinite(p) and abs(p) < 60 for p in e.pulls)


def test_held_out_share_is_checked() -> None:
    with pytest.raises(BadInputError, match="between 0 and 1"):
        hold_out(synthetic(5, seed=6)[0], ("chat",), share=1.0)

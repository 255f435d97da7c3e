"""What runs amount to: scores, comparisons, records, and the person's database."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest

from evals.eval_store import ingest_evals, list_measured
from evals.plans import EvalSettings, ModelKind, TestedModel, plan_suites, read_plan, write_plan
from evals.results import compare_runs, score_suite, sum_up, write_csv, write_json
from evals.run_files import (
    EvalRun,
    ItemResult,
    Pace,
    RunFacts,
    RunState,
    SuiteChosen,
    create_run,
    load_run,
    open_run_file,
)
from evals.stats import Verdict
from evals.user_store import UserStore
from sizing.errors import BadInputError

MODEL = TestedModel(ModelKind.FILE, "qwen3-4b", path="qwen3-4b.gguf", model_id="Qwen/Qwen3-4B", quant="Q4_K_M")


def make_item(suite: str, n: int, score: float | None, **others: object) -> ItemResult:
    item = ItemResult(
        suite, str(n), score, {"score": score}, "ab"[n % 2], "p", "o", "e", "w", 10, 5, 0.2, "stop", "2026-11-25"
    )
    return dataclasses.replace(item, **others)  # type: ignore[arg-type]


def make_run(
    home: Path,
    scores: dict[str, list[float | None]],
    *,
    version: str = "1",
    state: RunState | None = RunState.DONE,
    model: TestedModel = MODEL,
    n_planned: int | None = None,
) -> Path:
    path = create_run(home, plan_suites(model, tuple(scores)))
    file = open_run_file(path)
    assert file is not None
    with file:
        file.append("start", {"at": "2026-11-25T10:00:00+00:00", "pid": 1})
        file.append("facts", dataclasses.asdict(RunFacts(file_sha256="ab" * 32, quant="Q4_K_M")))
        for suite, values in scores.items():
            n = n_planned or len(values)
            chosen = SuiteChosen(suite, suite.title(), version, 200, n, 0.1, "score", True, "why")
            file.append("chosen", dataclasses.asdict(chosen))
            for i, value in enumerate(values):
                file.append("item", dataclasses.asdict(make_item(suite, i, value)))
        file.append("pace", dataclasses.asdict(Pace(10.0, 2000, 4.0, 100, 5.0, 2**30)))
        if state is not None:
            file.end(state)
    return path


def test_a_score_has_wilsons_interval_and_its_categories(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path, {"logic": [1.0] * 30 + [0.0] * 10}))
    summary = sum_up(run)
    (score,) = summary.scores
    assert (score.n_items, score.value) == (40, 0.75)
    # Wilson at 95% for 30 of 40, by hand: (0.75 + 1.9208/40) / (1 + 3.8415/40) = 0.7281, reach 0.1304
    assert score.low == pytest.approx(0.5981, abs=2e-4)
    assert score.high == pytest.approx(0.8582, abs=2e-4)
    assert [(c.category, c.n_items, c.value) for c in score.categories] == [("a", 20, 0.75), ("b", 20, 0.75)]
    assert (summary.prefill_tokens_per_s, summary.decode_tokens_per_s, summary.peak_bytes) == (500.0, 20.0, 2**30)


def test_attempts_add_up_and_time_left_is_told_while_it_runs(tmp_path: Path) -> None:
    path = make_run(tmp_path, {"logic": [1.0] * 10}, state=None, n_planned=30)
    file = open_run_file(path)
    assert file is not None
    with file:
        file.append("start", {"at": "2026-11-25T11:00:00+00:00", "pid": 2})
        file.append("pace", dataclasses.asdict(Pace(10.0, 1000, 6.0, 300, 5.0, 2**20)))
        summary = sum_up(load_run(path))  # the file is held, so somebody works on it
    assert summary.state is RunState.RUNNING
    assert summary.elapsed_s == 20.0
    assert summary.decode_tokens_per_s == 40.0
    assert summary.seconds_left == pytest.approx(40.0)  # 10 items took 20 s, 20 are left
    assert sum_up(load_run(path)).seconds_left is None  # nobody works on it now


def test_items_without_a_score_do_not_count_as_wrong(tmp_path: Path) -> None:
    (score,) = sum_up(load_run(make_run(tmp_path, {"own": [1.0, None, 1.0, 0.0]}))).scores
    assert (score.n_items, score.value) == (3, pytest.approx(2 / 3))


def test_a_run_without_items_has_no_score(tmp_path: Path) -> None:
    (score,) = sum_up(load_run(make_run(tmp_path, {"logic": []}))).scores
    assert (score.value, score.low, score.n_items) == (None, None, 0)


def test_two_runs_are_compared_on_the_items_both_have(tmp_path: Path) -> None:
    a = load_run(make_run(tmp_path, {"logic": [1.0] * 100, "code": [1.0, 0.0] * 20}))
    b = load_run(make_run(tmp_path, {"logic": [1.0] * 60 + [0.0] * 30, "code": [0.0, 1.0] * 20}))
    logic, code = compare_runs(a, b)
    assert logic.comparison is not None and code.comparison is not None
    assert (logic.comparison.n, logic.comparison.verdict) == (90, Verdict.A_BETTER)
    assert logic.comparison.difference.value == pytest.approx(30 / 90)
    assert len(logic.disagreements) == 30
    assert code.comparison.verdict is Verdict.NOT_DISTINGUISHABLE
    assert logic.comparison.p_adjusted == pytest.approx(2 * logic.comparison.p_value)  # Holm over two suites


def test_what_cannot_be_compared_says_why(tmp_path: Path) -> None:
    a = load_run(make_run(tmp_path, {"logic": [1.0], "code": [1.0]}))
    b = load_run(make_run(tmp_path, {"logic": [1.0], "json": [1.0]}, version="2"))
    found = {c.suite: (c.comparison, c.why_not) for c in compare_runs(a, b)}
    assert found["logic"] == (None, "its items differ: version 1 and 2")
    assert found["code"] == found["json"] == (None, "only one of the runs has it")


def test_bits_per_byte_are_not_compared_as_shares(tmp_path: Path) -> None:
    a, b = (load_run(make_run(tmp_path, {"wikitext": [1.2, 3.4]})) for _ in range(2))
    (found,) = compare_runs(a, b)
    assert found.comparison is None and "no share" in found.why_not
    (score,) = sum_up(a).scores
    assert score.value == pytest.approx(2.3)


def test_bits_per_byte_of_a_suite_are_all_bits_over_all_bytes() -> None:
    """Long documents weigh more, as in lm-eval; the interval is that of resampling documents and dividing anew."""
    drawn = np.random.default_rng(3)
    lengths = drawn.integers(50, 5000, 60)
    bits = lengths * (drawn.normal(0.6, 0.1, 60) + lengths / 50_000)  # below one bit per byte, as good models are
    pairs = [[-float(b * np.log(2)), int(n)] for b, n in zip(bits, lengths, strict=True)]
    items = [
        make_item("text", i, float(bits[i] / lengths[i]), metrics={"bits_per_byte": pair})
        for i, pair in enumerate(pairs)
    ]
    chosen = SuiteChosen("text", "Text", "1", 60, 60, 0.0, "bits_per_byte", False, "why")
    score = score_suite(chosen, items, 1234)
    assert score.value == pytest.approx(bits.sum() / lengths.sum())
    assert score.value != pytest.approx((bits / lengths).mean(), rel=0.005)
    places = drawn.integers(0, 60, (4000, 60))
    ratios = bits[places].sum(axis=1) / lengths[places].sum(axis=1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    assert score.low is not None and score.high is not None
    near = 0.12 * (high - low)  # the levels of a bootstrap of 60 are widened on purpose
    assert (score.low, score.high) == (pytest.approx(low, abs=near), pytest.approx(high, abs=near))
    plain = score_suite(chosen, [dataclasses.replace(item, metrics={}) for item in items], 1234)
    assert plain.value == pytest.approx((bits / lengths).mean())


def test_csv_and_json_hold_every_item_and_no_formula(tmp_path: Path) -> None:
    path = make_run(tmp_path, {"logic": [1.0, 0.0]})
    file = open_run_file(path)
    assert file is not None
    with file:
        odd = make_item("logic", 7, 0.0, output='=HYPERLINK("http://x")', prompt='a,"b"\nc\ud800')
        file.append("item", dataclasses.asdict(odd))
    run = load_run(path)
    rows = list(csv.DictReader(io.StringIO(write_csv(run))))
    assert [row["item_id"] for row in rows] == ["0", "1", "7"]
    assert rows[2]["output"] == '\'=HYPERLINK("http://x")'
    assert rows[2]["prompt"].startswith('a,"b"\nc')
    record = json.loads(write_json(run))
    assert record["scores"][0]["n_items"] == 3
    assert len(record["items"]) == 3


def test_the_database_takes_runs_in_once_and_anew_when_they_grow(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    path = make_run(tmp_path, {"logic": [1.0, 0.0, 1.0, 1.0]}, state=RunState.CANCELLED)
    make_run(tmp_path, {"logic": [1.0]}, state=None)  # under way: not yet
    assert (ingest_evals(store), ingest_evals(store)) == (1, 0)
    (found,) = list_measured(store)
    assert (found.model_id, found.quant, found.value, found.n_items) == ("Qwen/Qwen3-4B", "Q4_K_M", 0.75, 4)
    assert found.decode_tokens_per_s == 20.0
    file = open_run_file(path)
    assert file is not None
    with file:
        file.append("again", {"at": "2026-11-25"})
        file.append("item", dataclasses.asdict(make_item("logic", 4, 0.0)))
        file.append("item", dataclasses.asdict(make_item("logic", 0, 0.0)))  # twice: the first counts
        file.end(RunState.DONE)
    assert ingest_evals(store) == 1
    (found,) = list_measured(store)
    assert (found.value, found.n_items) == (0.6, 5)
    with store.open(writing=False) as db:
        assert db.execute("SELECT count(*), sum(score) FROM eval_items").fetchall() == [(5, 3.0)]
    path.unlink()
    assert ingest_evals(store) == 0
    assert list_measured(store) == ()


def test_the_newest_run_of_a_model_counts_and_unknown_models_do_not(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    make_run(tmp_path, {"logic": [0.0, 0.0]})
    make_run(tmp_path, {"logic": [1.0, 1.0, 0.0, 1.0]})
    make_run(tmp_path, {"logic": [1.0]}, model=dataclasses.replace(MODEL, model_id=""))
    assert ingest_evals(store) == 3
    assert [(m.value, m.n_items) for m in list_measured(store)] == [(0.75, 4)]


def test_a_plan_survives_its_json() -> None:
    settings = EvalSettings(context_tokens=8192, temperature=0.7, kv_type_k="q8_0", kv_type_v="q8_0")
    judge = TestedModel(ModelKind.ENDPOINT, "judge", url="http://127.0.0.1:8080/v1")
    plan = plan_suites(MODEL, ("logic", "needle@8192"), minutes=5.0, settings=settings, judge=judge, machine="m")
    assert read_plan(json.loads(json.dumps(write_plan(plan)))) == plan


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("suites", []),
        ("suites", ["logic", "logic"]),
        ("limit", 0),
        ("limit", True),
        ("minutes", 0.0),
        ("minutes", float("nan")),
        ("minutes", "5"),
        ("kind", "other"),
        ("model", {"kind": "file", "name": "x"}),
        ("model", {"kind": "endpoint", "name": "x", "url": "http://x", "api": "soap"}),
        ("settings", {"n_parallel": 0}),
        ("settings", {"seed": -1}),
        ("settings", {"template": "mine"}),
        ("settings", {"nonsense": 1}),
        ("judge", 3),
    ],
)
def test_a_plan_out_of_range_is_refused_by_name(field: str, value: object) -> None:
    record = {**write_plan(plan_suites(MODEL, ("logic",))), field: value}
    with pytest.raises(BadInputError):
        read_plan(record)


def load_both(home: Path, *scores: list[float | None]) -> tuple[EvalRun, ...]:
    return tuple(load_run(make_run(home, {"logic": values})) for values in scores)


def test_the_same_answers_are_not_distinguishable(tmp_path: Path) -> None:
    a, b = load_both(tmp_path, [1.0, 0.0] * 50, [1.0, 0.0] * 50)
    (found,) = compare_runs(a, b)
    assert found.comparison is not None
    assert (found.comparison.verdict, found.comparison.p_value) == (Verdict.NOT_DISTINGUISHABLE, 1.0)
    assert found.disagreements == ()

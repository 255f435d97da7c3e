"""The accuracy ledger: its arithmetic on cases written by hand, and a sample of it held to the engine as a gate."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import evals.__main__ as command_line
from catalog.queries import all_weights
from catalog.store import open_catalog
from evals.check import Checked, compare, list_workloads
from evals.dry_run import EngineChild, ask_dry_runs
from evals.ledger import (
    COLUMNS,
    ENGINE,
    LEDGER_FILE,
    PUBLISHED,
    UNANSWERED,
    LedgerCase,
    build_ledger,
    find_percentile,
    format_summary,
    list_engine_cases,
    load_ledger,
    sum_up_parts,
    write_ledger,
)
from sizing.errors import DataFileError
from sizing.layers import LayerTable
from sizing.specs import ModelSpec
from sizing.workload import Workload


def case(error: int | None, model: str = "a/b", part: str = "compute", **others: int) -> LedgerCase:
    return LedgerCase(ENGINE, "llama", part, model, f"{model} {error}", error, **others)


def test_the_worst_case_is_named_with_its_sign_and_its_share() -> None:
    cases = [case(0), case(-300, "c/d", reference_bytes=1000), case(5), case(200)]
    (row,) = build_ledger(cases, "engine 1", "2026-01-02")
    assert (row.n_models, row.n_cases, row.n_equal) == (2, 4, 1)
    assert (row.median_bytes, row.p95_bytes) == (5, 300)
    assert (row.worst_bytes, row.worst_percent, row.worst_case) == (-300, -30.0, "c/d -300")


def test_rounding_is_no_error() -> None:
    (row,) = build_ledger([case(-4, rounded_bytes=5), case(5, rounded_bytes=5)], "engine 1", "2026-01-02")
    assert (row.n_equal, row.worst_bytes, row.p95_bytes, row.worst_case) == (2, 0, 0, "")


def test_what_was_not_answered_is_counted_and_says_why() -> None:
    silent = Checked("a/b", "mllama", "F16", Workload(4096), failure="unknown architecture: nobody knows it")
    (row,) = build_ledger(list_engine_cases(silent), "engine 1", "2026-01-02")
    assert (row.part, row.n_cases, row.n_equal) == (UNANSWERED, 1, 0)
    assert row.worst_case == "unknown architecture: nobody knows it"


def test_parts_that_only_one_side_knows_are_left_out() -> None:
    half = Checked("a/b", "llama", "F16", Workload(4096), cache_error_bytes=0, output_error_bytes=9)
    assert [(c.part, c.error_bytes) for c in list_engine_cases(half)] == [("caches", 0), ("output", 9)]


@pytest.mark.parametrize(
    ("values", "share", "found"),
    # nearest rank: the smallest value with at least that share at or below it
    [([], 0.5, 0), ([7], 0.95, 7), ([1, 2, 3, 4], 0.5, 2), ([1, 2, 3], 0.5, 2), (list(range(1, 101)), 0.95, 95)],
)
def test_percentiles_by_nearest_rank(values: list[int], share: float, found: int) -> None:
    assert find_percentile(values, share) == found


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    published = LedgerCase(PUBLISHED, "llama", "device_total", "a/b", "somebody's, with a comma", 7, 100)
    rows = build_ledger([published, case(0), case(-3, part="weights")], "engine 1", "2026-01-02")
    write_ledger(tmp_path / "ledger.csv", rows)
    assert load_ledger(tmp_path / "ledger.csv") == rows
    assert [r.compared_with for r in rows] == [ENGINE, ENGINE, PUBLISHED]
    assert "(+7.00%): somebody's, with a comma" in format_summary(rows)
    assert load_ledger(tmp_path / "absent.csv") == ()


def test_a_broken_table_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    write_ledger(path, build_ledger([case(0), case(0, part="weights")], "engine 1", "2026-01-02"))
    path.write_text(path.read_text().replace("weights,1,1", "weights,1,many"))
    with pytest.raises(DataFileError, match=r"ledger\.csv:3: no ledger row"):
        load_ledger(path)


def list_sample(specs: dict[str, ModelSpec]) -> Iterator[ModelSpec]:
    """The smallest model of each architecture."""
    for name in sorted({s.architecture for s in specs.values()}):
        yield min((s for s in specs.values() if s.architecture == name), key=lambda s: s.n_params)


@pytest.mark.engine
def test_a_sample_is_no_worse_than_the_ledger_says(engine: EngineChild, specs: dict[str, ModelSpec]) -> None:
    """The gate: for every architecture, errors stay within the worst that the published table admits."""
    admitted = {(r.architecture, r.part): abs(r.worst_bytes) for r in load_ledger() if r.compared_with == ENGINE}
    tensor_bytes = {(m, w.quant): w.tensor_bytes for m, weights in all_weights(open_catalog()).items() for w in weights}
    n_compared = 0
    for spec in list_sample(specs):
        table = LayerTable.from_specs([spec])
        first, *_, last = [w for w in list_workloads(spec.context_tokens) if w.context_tokens <= 32_768]
        workloads = [first, last]
        answers = ask_dry_runs(spec, "Q4_K_M", workloads, engine)
        for workload, answer in zip(workloads, answers, strict=True):
            checked = compare(table, spec, "Q4_K_M", workload, answer, tensor_bytes.get((spec.model_id, "Q4_K_M")))
            for found in list_engine_cases(checked):
                if found.error_bytes is None:
                    assert (spec.architecture, UNANSWERED) in admitted, found.case
                else:
                    worst = admitted[found.architecture, found.part]
                    assert found.is_equal or abs(found.error_bytes) <= worst, found.case
                    n_compared += 1
    assert n_compared > 4 * 2 * 40


def test_the_published_table_covers_the_catalog_and_names_its_worst(specs: dict[str, ModelSpec]) -> None:
    rows = load_ledger()
    assert {r.architecture for r in rows} == {s.architecture for s in specs.values()}
    assert all(r.worst_case for r in rows if r.worst_bytes or r.part == UNANSWERED)
    summary = {(s.compared_with, s.part): s for s in sum_up_parts(rows)}
    caches = summary[ENGINE, "caches"]
    assert caches.n_models >= 180
    assert caches.n_equal == caches.n_cases, caches.worst
    with LEDGER_FILE.open(newline="") as file:
        assert tuple(next(csv.reader(file))) == COLUMNS


@pytest.mark.parametrize(("part", "words"), [("weights", "weights"), ("caches", "KV caches"), ("compute", "compute")])
def test_the_readme_tells_the_ledgers_figures(part: str, words: str) -> None:
    (summary,) = [s for s in sum_up_parts(load_ledger()) if (s.compared_with, s.part) == (ENGINE, part)]
    readme = (LEDGER_FILE.parent.parent / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in readme.splitlines() if line.startswith(f"| {words}")]
    assert f"| {summary.n_equal:,} of {summary.n_cases:,} |" in line
    named = summary.worst.worst_case.split(" at ")[0].rsplit("/", 1)[-1] if summary.worst else "none"
    assert named in line


@pytest.mark.engine
def test_the_command_writes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ledger.csv"
    assert command_line.main(["ledger", "--model", "gpt-oss-20b", "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    rows = load_ledger(out)
    assert said["n_models"] == 1 and len(said["rows"]) == len(rows)
    by_part = {(r.compared_with, r.part): r for r in rows}
    # 96 and 24 MiB of cache, read in a log (github.com/ggml-org/llama.cpp/issues/17643)
    assert by_part[PUBLISHED, "kv_cache"].n_equal == 1
    assert by_part[ENGINE, "caches"].n_cases > 18
    placed = by_part[ENGINE, "device_caches"]  # all layers over two cards, half of them, half of the experts
    assert placed.n_equal == placed.n_cases == 2 + 3 + 2
    assert abs(by_part[ENGINE, "device_weights"].worst_bytes) <= 4096  # each card holds copies of small vectors
    assert by_part[ENGINE, "device_compute"].n_cases == 3 * 3


def test_a_sample_of_none_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["ledger", "--sample", "0"]) == 2
    assert "--sample wants a whole number of at least 1, got 0" in capsys.readouterr().err

"""The formulas against llama.cpp itself, live, over a sample of architectures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from evals.__main__ import main
from evals.check import Checked, check_models, compare, list_workloads, report_architectures
from evals.dry_run import DryRun, DryRunFailure, EngineChild, FailureReason, ask_dry_runs
from sizing.layers import LayerTable
from sizing.specs import ModelSpec
from sizing.units import MIB
from sizing.workload import Workload

SAMPLE = (
    "meta-llama/Llama-3.2-1B-Instruct",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "Qwen/Qwen2.5-7B-Instruct",
    "Qwen/Qwen3-30B-A3B",
    "google/gemma-2-9b-it",
    "google/gemma-3-4b-it",
    "google/gemma-3n-E2B-it",
    "openai/gpt-oss-20b",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "microsoft/Phi-3.5-mini-instruct",
    "deepseek-ai/DeepSeek-V3.1",
    "zai-org/GLM-4.5-Air",
    "tiiuae/Falcon-H1-7B-Instruct",
    "ibm-granite/granite-4.0-h-tiny",
    "nvidia/NVIDIA-Nemotron-Nano-9B-v2",
    "LiquidAI/LFM2-1.2B",
    "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "CohereLabs/c4ai-command-a-03-2025",
    "XiaomiMiMo/MiMo-V2-Flash",
)


@pytest.mark.engine
@pytest.mark.parametrize("model_id", SAMPLE)
def test_caches_and_compute_equal_the_engine(model_id: str, engine: EngineChild, specs: dict[str, ModelSpec]) -> None:
    cases = list(check_models([specs[model_id]], {}, engine, ["F16"]))
    assert len(cases) >= 12
    assert [c.failure for c in cases if c.failure] == []
    assert {c.cache_error_bytes for c in cases} == {0}
    assert {c.compute_error_bytes for c in cases} == {0}


@pytest.mark.engine
@pytest.mark.parametrize(
    "workload",
    [Workload(8192, n_ubatch=128), Workload(8192, n_ubatch=1024), Workload(2048, 3, kv_unified=True), Workload(100)],
    ids=lambda w: f"{w.context_tokens}-{w.n_parallel}-{w.n_ubatch}",
)
def test_batches_and_pools_equal_the_engine(
    workload: Workload, engine: EngineChild, specs: dict[str, ModelSpec]
) -> None:
    for model_id in ("meta-llama/Llama-3.1-8B-Instruct", "google/gemma-3-4b-it", "Qwen/Qwen3-30B-A3B"):
        spec = specs[model_id]
        (answer,) = ask_dry_runs(spec, "F16", [workload], engine)
        assert isinstance(answer, DryRun)
        case = compare(LayerTable.from_specs([spec]), spec, "F16", workload, answer, answer.tensor_bytes)
        assert (case.cache_error_bytes, case.compute_error_bytes, case.weight_error_bytes) == (0, 0, 0), model_id


def case(**fields: object) -> Checked:
    known = {"model_id": "m", "architecture": "a", "quant": "F16", "workload": Workload(4096)}
    return Checked(**{**known, **fields})  # type: ignore[arg-type]


def test_tolerance_is_eight_mib_or_two_percent_whichever_is_larger() -> None:
    assert case(compute_error_bytes=8 * MIB, compute_engine_bytes=100 * MIB).is_compute_close
    assert not case(compute_error_bytes=-8 * MIB - 1, compute_engine_bytes=100 * MIB).is_compute_close
    assert case(compute_error_bytes=20 * MIB, compute_engine_bytes=1000 * MIB).is_compute_close
    assert case(weight_error_bytes=1).is_wrong
    assert case(cache_error_bytes=-1).is_wrong
    assert not case(failure="refused").is_wrong


def test_reports_count_cases_and_name_failures(specs: dict[str, ModelSpec]) -> None:
    spec = specs["openai/gpt-oss-20b"]
    workload = list_workloads(spec.context_tokens)[0]
    died = compare(
        LayerTable.from_specs([spec]), spec, "F16", workload, DryRunFailure(FailureReason.ABORTED, "signal 6"), None
    )
    cases = [
        case(cache_error_bytes=0, compute_error_bytes=-3 * MIB, compute_engine_bytes=300 * MIB),
        case(failure="x"),
        died,
    ]
    first, second = report_architectures(cases)
    assert (first.architecture, first.n_cases, first.n_answered, first.n_caches_equal) == ("a", 2, 1, 1)
    assert (first.worst_compute_mib, first.worst_compute_share, first.n_compute_equal) == (3.0, 0.01, 0)
    assert second.failures == (("aborted: signal 6", 1),)


@pytest.mark.engine
def test_the_command_compares_and_writes_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.csv"
    arguments = ["check", "--model", "Llama-3.2-1B-Instruct", "--quant", "q4_k_m", "--out", str(out), "--json"]
    assert main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["n_models"], answer["n_wrong"]) == (1, 0)
    assert answer["n_cases"] == answer["n_answered"] == 18
    (architecture,) = answer["architectures"]
    assert architecture["n_weights_equal"] == architecture["n_caches_equal"] == architecture["n_compute_equal"] == 18
    (row,) = csv.DictReader(out.open())
    assert (row["architecture"], row["n_cases"], row["n_compute_within_tolerance"]) == ("llama", "18", "18")
    assert row["llama_cpp_python_version"] == answer["llama_cpp_version"]


def test_a_sample_below_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--sample", "0"]) == 2
    assert "--sample" in capsys.readouterr().err

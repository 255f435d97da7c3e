"""llama.cpp's own answers, and every way it can fail to give one."""

from __future__ import annotations

import csv
import dataclasses
import sys
import time
from pathlib import Path

import pytest

from evals.dry_run import (
    CHILD_COMMAND,
    DryRun,
    DryRunFailure,
    EngineChild,
    FailureReason,
    ask_dry_run,
    ask_dry_runs,
    describe_refusal,
    read_caches,
)
from evals.weightless import write_gguf_header
from sizing.architectures import ARCHITECTURES
from sizing.errors import UnknownNameError
from sizing.specs import ModelSpec
from sizing.tensors import count_params
from sizing.units import MIB
from sizing.workload import Workload

LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
MIXTRAL = "mistralai/Mixtral-8x7B-Instruct-v0.1"
GOLDEN = Path(__file__).parents[1] / "golden" / "engine_llama_3_1_8b.csv"
ROUNDING = 0.005 * MIB  # the log states hundredths of a MiB


def with_extras(spec: ModelSpec, **extras: int) -> ModelSpec:
    return dataclasses.replace(spec, extras=(*spec.extras, *extras.items()))


@pytest.mark.engine
@pytest.mark.parametrize("row", list(csv.DictReader(GOLDEN.open())), ids=lambda r: "-".join(list(r.values())[:4]))
def test_llama_3_1_8b_takes_what_was_read_in_its_log(
    row: dict[str, str], engine: EngineChild, specs: dict[str, ModelSpec]
) -> None:
    workload = Workload(
        context_tokens=int(row["context_tokens"]),
        n_ubatch=int(row["n_ubatch"]),
        kv_type_k=row["kv_type"],
        kv_type_v=row["kv_type"],
        flash_attention=row["flash_attention"] == "on",
    )
    answer = ask_dry_run(specs[LLAMA_8B], "Q4_K_M", workload, engine)
    assert isinstance(answer, DryRun)
    assert answer.tensor_bytes == 4_912_898_304
    assert answer.kv_cache_bytes == float(row["kv_cache_mib"]) * MIB
    assert answer.recurrent_state_bytes == 0
    if row["compute_mib"]:
        assert abs(answer.compute_bytes - float(row["compute_mib"]) * MIB) <= ROUNDING


@pytest.mark.engine
def test_exact_sums_agree_with_the_log(engine: EngineChild, specs: dict[str, ModelSpec]) -> None:
    workloads = [Workload(32_768, n_parallel=4), Workload(8192, kv_type_k="q8_0")]
    for model_id in (LLAMA_8B, "google/gemma-3-4b-it", "tiiuae/Falcon-H1-0.5B-Instruct"):
        for answer in ask_dry_runs(specs[model_id], "Q4_K_M", workloads, engine):
            assert isinstance(answer, DryRun)
            assert abs(sum(c.n_bytes for c in answer.caches) - answer.cache_bytes) <= ROUNDING * len(answer.caches)
            assert abs(sum(n for _, n in answer.compute) - answer.compute_bytes) <= ROUNDING
            assert answer.kv_cache_bytes + answer.recurrent_state_bytes == answer.cache_bytes


@pytest.mark.engine
def test_a_sliding_window_model_has_two_caches(engine: EngineChild, specs: dict[str, ModelSpec]) -> None:
    answer = ask_dry_run(specs["google/gemma-3-1b-it"], "Q4_0", Workload(32_768), engine)
    assert isinstance(answer, DryRun)
    # 26 layers, every sixth full (huggingface.co/google/gemma-3-1b-it, config.json: sliding_window_pattern 6)
    assert [(c.kind, c.n_layers) for c in answer.caches] == [("kv", 4), ("kv", 22)]
    # the window of 512 and one batch of 512 tokens, padded to 256 cells (llama-kv-cache-iswa.cpp)
    assert [c.n_cells for c in answer.caches] == [32_768, 1024]


@pytest.mark.engine
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_the_loader_takes_every_tensor_table(
    architecture: str, engine: EngineChild, specs: dict[str, ModelSpec]
) -> None:
    """No tensor missing, none of a wrong shape, none too many: llama.cpp's loader refuses all three."""
    models = [s for s in specs.values() if s.architecture == architecture]
    for spec in [*models[:1], *[s for s in models[1:] if s.tied_embeddings != models[0].tied_embeddings][:1]]:
        answer = ask_dry_run(spec, "F16", Workload(4096), engine)
        assert isinstance(answer, DryRun), answer
        assert answer.n_params == count_params(spec)


@pytest.mark.engine
def test_an_abort_loses_only_its_own_question(engine: EngineChild, specs: dict[str, ModelSpec]) -> None:
    deadly = with_extras(specs[MIXTRAL], expert_used_count=9)
    answer = ask_dry_run(deadly, "F16", Workload(4096), engine)
    assert isinstance(answer, DryRunFailure)
    assert answer.reason is FailureReason.ABORTED
    assert "n_expert_used_max <= hparams.n_expert" in answer.message
    assert "/" not in answer.message.partition("GGML_ASSERT")[0]  # no folder of the machine that compiled it
    assert isinstance(ask_dry_run(specs[MIXTRAL], "F16", Workload(4096), engine), DryRun)


@pytest.mark.engine
def test_an_architecture_llama_cpp_does_not_know(engine: EngineChild, specs: dict[str, ModelSpec]) -> None:
    answer = ask_dry_run(specs["meta-llama/Llama-3.2-11B-Vision-Instruct"], "Q4_K_M", Workload(4096), engine)
    assert isinstance(answer, DryRunFailure)
    assert answer.reason is FailureReason.UNKNOWN_ARCHITECTURE
    assert answer.message == "the installed llama.cpp does not know the architecture 'mllama'"


@pytest.mark.engine
def test_an_architecture_only_llama_cpp_knows(engine: EngineChild, specs: dict[str, ModelSpec]) -> None:
    answer = ask_dry_run(dataclasses.replace(specs[LLAMA_8B], architecture="bloom"), "F16", Workload(4096), engine)
    assert isinstance(answer, DryRunFailure)
    assert answer.reason is FailureReason.NO_TENSOR_TABLE


@pytest.mark.engine
def test_a_refused_model_gives_the_loaders_reason(engine: EngineChild) -> None:
    path = engine.path("empty.gguf")
    write_gguf_header(path, [("general.architecture", "llama")], ())
    answer = engine.ask({"kind": "load", "path": str(path), "contexts": []})
    assert isinstance(answer, DryRunFailure)
    assert answer.reason is FailureReason.REFUSED
    assert "llama.context_length" in answer.message


def test_a_missing_llama_cpp_is_a_value_that_says_what_to_do(specs: dict[str, ModelSpec]) -> None:
    bare = (sys.executable, "-S", *CHILD_COMMAND[1:])  # -S: no installed packages
    with EngineChild(bare) as child:
        answer = ask_dry_run(specs[LLAMA_8B], "F16", Workload(4096), child)
    assert isinstance(answer, DryRunFailure)
    assert answer.reason is FailureReason.MISSING_ENGINE
    assert "No module named 'llama_cpp'" in answer.message
    assert "make engine" in answer.message


def test_a_hang_ends_with_the_time_allowed(specs: dict[str, ModelSpec]) -> None:
    with EngineChild((sys.executable, "-c", "import time; time.sleep(60)")) as child:
        started = time.monotonic()
        answer = ask_dry_run(specs[LLAMA_8B], "F16", Workload(4096), child, timeout_s=0.2)
        assert time.monotonic() - started < 5
    assert isinstance(answer, DryRunFailure)
    assert answer.reason is FailureReason.TIMED_OUT


def test_a_child_that_dies_at_once_is_an_abort(specs: dict[str, ModelSpec]) -> None:
    with EngineChild((sys.executable, "-c", "raise SystemExit('error: gone')")) as child:
        answer = ask_dry_run(specs[LLAMA_8B], "F16", Workload(4096), child)
    assert isinstance(answer, DryRunFailure)
    assert answer.reason is FailureReason.ABORTED
    assert "exit status 1" in answer.message and "gone" in answer.message


def test_an_unknown_quant_is_an_error_with_near_names(specs: dict[str, ModelSpec]) -> None:
    with EngineChild() as child, pytest.raises(UnknownNameError, match="Q4_K_M"):
        ask_dry_runs(specs[LLAMA_8B], "Q4_KM", [Workload(4096)], child)


def test_cache_lines_of_a_log() -> None:
    log = (
        "llama_kv_cache: size =  512.00 MiB (  4096 cells,  32 layers,  1/1 seqs), "
        "K (f16):  256.00 MiB, V (f16):  256.00 MiB\n"
        "llama_memory_recurrent: size =   52.03 MiB (     1 cells,  28 layers,  1 seqs  0 rs_seq), "
        "R (f32):    2.41 MiB, S (f32):   49.62 MiB, P (f32):    0.00 MiB\n"
    )
    kv, recurrent = read_caches(log)
    assert (kv.kind, kv.n_cells, kv.n_layers, kv.n_bytes) == ("kv", 4096, 32, 512 * MIB)
    assert kv.parts == (("K", "f16", 256 * MIB), ("V", "f16", 256 * MIB))
    assert (recurrent.kind, recurrent.n_cells, recurrent.n_layers) == ("recurrent", 1, 28)


def test_a_refusal_without_a_reason_says_so() -> None:
    assert describe_refusal("").message == "llama.cpp refused the model: no reason given"

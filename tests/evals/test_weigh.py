"""Weights of every model in every quantization: the file in the repository against a fresh weighing."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

import evals.__main__ as command_line
from catalog.models import DATA_DIR
from evals.dry_run import DryRun, EngineChild, ask_dry_run
from evals.weigh import Weighing, count_tensor_bytes, group_weight_bytes, weigh_model, write_weights
from sizing.architectures import TensorInfo
from sizing.errors import BadInputError, DataFileError, EngineError
from sizing.memory import WeightBytes
from sizing.quants import QUANTS, find_quant
from sizing.specs import ModelSpec
from sizing.tensors import digest_tensors, list_tensors
from sizing.workload import Workload

WEIGHTS = DATA_DIR / "weights.parquet"
SAMPLE = (  # one of each kind: tied and small, sliding window, MXFP4 experts, latent attention, state space, pruned
    "Qwen/Qwen2.5-0.5B-Instruct",
    "google/gemma-3-1b-it",
    "openai/gpt-oss-20b",
    "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct",
    "tiiuae/Falcon-H1-0.5B-Instruct",
    "nvidia/Llama-3_3-Nemotron-Super-49B-v1_5",
)


def read_rows(path: Path, model_id: str) -> dict[str, tuple[object, ...]]:
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT quant, input_bytes, output_bytes, token_embedding_bytes, layer_bytes, layer_expert_bytes, "
            "tensor_bytes FROM read_parquet(?) WHERE model_id = ?",
            [str(path), model_id],
        ).fetchall()
    return {row[0]: row[1:] for row in rows}


def as_row(w: WeightBytes) -> tuple[object, ...]:
    layers = list(w.layer_bytes), list(w.layer_expert_bytes)
    return (w.input_bytes, w.output_bytes, w.token_embedding_bytes, *layers, w.tensor_bytes)


@pytest.mark.engine
@pytest.mark.parametrize("model_id", SAMPLE)
def test_a_fresh_weighing_equals_the_file(model_id: str, engine: EngineChild, specs: dict[str, ModelSpec]) -> None:
    weighing = weigh_model(specs[model_id], engine)
    assert {w.quant: as_row(w) for w in weighing.weights} == read_rows(WEIGHTS, model_id)


def test_every_model_has_rows_of_its_present_tensor_table_or_a_reason(specs: dict[str, ModelSpec]) -> None:
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT model_id, list(DISTINCT tensor_digest), count(quant), any_value(gap) "
            "FROM read_parquet(?) GROUP BY model_id",
            [str(WEIGHTS)],
        ).fetchall()
    found = {row[0]: row[1:] for row in rows}
    assert set(found) == set(specs)
    for model_id, (digests, n_quants, gap) in found.items():
        if gap is None:
            assert digests == [digest_tensors(specs[model_id])], f"{model_id} has changed: python -m evals weigh"
            assert n_quants == (len(QUANTS) if specs[model_id].is_moe else len(QUANTS) - 1)
        else:
            assert (n_quants, "does not know the architecture" in gap) == (0, True), (model_id, gap)


@pytest.mark.engine
@pytest.mark.parametrize("quant", ["F16", "Q8_0", "Q4_K_M", "IQ2_XS"])
@pytest.mark.parametrize("model_id", ["google/gemma-3-1b-it", "openai/gpt-oss-20b"])
def test_the_sum_is_what_llama_cpp_loads(
    model_id: str, quant: str, engine: EngineChild, specs: dict[str, ModelSpec]
) -> None:
    (weighed,) = weigh_model(specs[model_id], engine, [find_quant(quant)]).weights
    answer = ask_dry_run(specs[model_id], quant, Workload(4096), engine)
    assert isinstance(answer, DryRun)
    assert weighed.tensor_bytes == answer.tensor_bytes


def test_mixtral_in_f16_by_hand(specs: dict[str, ModelSpec]) -> None:
    """Shapes from huggingface.co/mistralai/Mixtral-8x7B-Instruct-v0.1, config.json."""
    tensors = list_tensors(specs["mistralai/Mixtral-8x7B-Instruct-v0.1"])
    types = {t.name: "f32" if "norm" in t.name or "gate_inp" in t.name else "f16" for t in tensors}
    weights = group_weight_bytes("F16", tensors, types, 32, "llama")
    attention = (2 * 4096 * 4096 + 2 * 4096 * 1024) * 2
    experts = 8 * 3 * 4096 * 14336 * 2
    norms_and_router = 2 * 4096 * 4 + 4096 * 8 * 4
    assert weights.input_bytes == weights.token_embedding_bytes == 32000 * 4096 * 2
    assert weights.output_bytes == 32000 * 4096 * 2 + 4096 * 4
    assert weights.layer_expert_bytes == (experts,) * 32
    assert weights.layer_bytes == (attention + experts + norms_and_router,) * 32


def test_tensors_of_no_layer_go_where_llama_cpp_keeps_them() -> None:
    names = (
        "token_embd.weight",
        "per_layer_token_embd.weight",
        "rope_freqs.weight",
        "output_norm.weight",
        "blk.1.x.weight",
    )
    tensors = [TensorInfo(name, (10**i,)) for i, name in enumerate(names)]
    weights = group_weight_bytes("F16", tensors, dict.fromkeys(names, "f32"), 2, "gemma4")
    assert (weights.input_bytes, weights.token_embedding_bytes) == (44, 4)
    assert weights.layer_bytes == (400, 40_000)
    assert weights.output_bytes == 4000
    norm = [TensorInfo("token_embd_norm.weight", (8,))]
    assert group_weight_bytes("F16", norm, {norm[0].name: "f32"}, 1, "lfm2").output_bytes == 32
    assert group_weight_bytes("F16", norm, {norm[0].name: "f32"}, 1, "nomic-bert").layer_bytes == (32,)


@pytest.mark.engine
def test_an_importance_matrix_changes_the_recipes_it_is_said_to_change(
    engine: EngineChild, specs: dict[str, ModelSpec]
) -> None:
    """With one, the first 4 of 32 down projections become Q4_1 in a Q4_0 file (llama-quant.cpp): 2 bytes more a block.

    The published pair agrees: bartowski's DeepSeek-R1-Distill-Llama-8B-Q4_0.gguf (made with one) has 4,675,894,112
    bytes, GPT4All's Llama-3.1-8B Q4_0 of the same shapes (made without) 4,661,212,096; their vocabularies differ by
    less than 4 KiB.
    """
    weighing = weigh_model(specs["deepseek-ai/DeepSeek-R1-Distill-Llama-8B"], engine, [find_quant("Q4_0")])
    more_bytes = dict(weighing.imatrix_tensor_bytes)["Q4_0"] - weighing.weights[0].tensor_bytes
    assert more_bytes == 4 * 4096 * 14336 // 32 * 2
    assert abs(more_bytes - (4_675_894_112 - 4_661_212_096)) < 4096
    every = weigh_model(specs["Qwen/Qwen2.5-0.5B-Instruct"], engine)
    plain = {w.quant: w.tensor_bytes for w in every.weights}
    assert [q for q, n in every.imatrix_tensor_bytes if n == plain[q]] == []


def test_bytes_of_one_tensor_are_whole_blocks() -> None:
    assert count_tensor_bytes(TensorInfo("a", (256, 3)), "q4_K") == 3 * 144
    with pytest.raises(BadInputError, match="whole blocks"):
        count_tensor_bytes(TensorInfo("a", (100, 3)), "q4_K")


def test_writing_keeps_the_rows_of_models_not_weighed_now(tmp_path: Path) -> None:
    path = tmp_path / "w.parquet"
    one = WeightBytes("F16", 1, 2, (3, 4), (0, 0), 1)
    write_weights(path, [Weighing("a/a", "d", (one,)), Weighing("b/b", "", gap="unknown")], "0.3.36", "2026-11-23")
    again = WeightBytes("F16", 5, 2, (3, 4), (0, 0), 5)
    assert write_weights(path, [Weighing("a/a", "e", (again,))], "0.3.36", "2026-11-24") == 2
    assert read_rows(path, "a/a") == {"F16": (5, 2, 5, [3, 4], [0, 0], 14)}
    assert read_rows(path, "b/b") == {None: (None,) * 6}
    assert [p.name for p in tmp_path.iterdir()] == ["w.parquet"]


def test_a_file_that_is_no_weights_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.parquet"
    path.write_text("hello")
    with pytest.raises(DataFileError, match=r"w\.parquet:1: not a weights file"):
        write_weights(path, [], "0.3.36", "2026-11-23")


@pytest.mark.engine
def test_the_command_says_in_json_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "w.parquet"
    names = ["--model", "qwen2.5-0.5b-instruct", "--model", "Llama-3.2-11B-Vision-Instruct"]
    assert command_line.main(["weigh", *names, "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["n_models"], said["n_weighed"], said["n_rows"]) == (2, 1, len(QUANTS))
    assert [gap["model"] for gap in said["gaps"]] == ["meta-llama/Llama-3.2-11B-Vision-Instruct"]
    assert read_rows(out, "Qwen/Qwen2.5-0.5B-Instruct") == read_rows(WEIGHTS, "Qwen/Qwen2.5-0.5B-Instruct")


@pytest.mark.engine
def test_dry_run_command(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--model", "Llama-3.1-8B-Instruct", "--quant", "q4_k_m", "--context", "4096", "--json"]
    assert command_line.main(["dry-run", *asked]) == 0
    parts = json.loads(capsys.readouterr().out)["parts"]
    assert (parts["weight_bytes"], parts["kv_cache_bytes"]) == (4_912_898_304, 512 * 1024**2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["weigh", "--model", "Llama-3.1-8B-Instrukt"], "unknown model 'Llama-3.1-8B-Instrukt'; did you mean "),
        (["weigh", "--out", "/no/such/folder/w.parquet"], "--out wants a file in a folder that exists"),
        (["dry-run", "--model", "Llama-3.1-8B-Instruct", "--quant", "Q9", "--context", "1"], "unknown quant 'Q9'"),
        (["dry-run", "--model", "Llama-3.1-8B-Instruct", "--quant", "F16", "--context", "0"], "context_tokens wants"),
    ],
)
def test_wrong_usage_is_exit_2_and_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_no_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command_line.main([])
    assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_engine_is_exit_1_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def find_nothing() -> str:
        raise EngineError("llama-cpp-python is not installed; compile it with: make engine")

    monkeypatch.setattr(command_line, "find_llama_cpp_version", find_nothing)
    assert command_line.main(["weigh"]) == 1
    assert capsys.readouterr().err == "evals weigh: llama-cpp-python is not installed; compile it with: make engine\n"

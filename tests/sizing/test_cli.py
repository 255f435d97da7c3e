"""`python -m sizing`: stable shapes, one line on stderr, exit codes."""

from __future__ import annotations

import json

import pytest

from sizing.__main__ import main

LLAMA = ["estimate", "--model", "meta-llama/Llama-3.1-8B-Instruct", "--quant", "Q4_K_M", "--context", "8192"]


def ask(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, object]:
    assert main([*argv, "--json"]) == 0
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_estimate_prints_the_agreed_shape(capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, *LLAMA, "--hardware", "RTX 4090*2")
    keys = "model quant engine context_tokens parts total_bytes devices verdict speed assumptions".split()
    assert set(keys) <= set(answer)
    parts = answer["parts"]
    assert isinstance(parts, dict)
    assert list(parts) == [
        f"{name}_bytes" for name in ("weight", "kv_cache", "recurrent_state", "compute", "output", "overhead")
    ]
    # llama.cpp itself (llama-cpp-python 0.3.36): 4,912,898,304 bytes of tensors, of which the second card holds 64
    # rope factors of 4 bytes again, 1 GiB of KV
    assert parts["kv_cache_bytes"] == 2**30
    assert parts["weight_bytes"] == 4_912_898_304 + 256
    assert answer["total_bytes"] == sum(parts.values())
    devices = answer["devices"]
    assert isinstance(devices, list) and len(devices) == 3
    assert sum(d["total_bytes"] for d in devices) == answer["total_bytes"]
    assert all(d["headroom_bytes"] == d["usable_bytes"] - d["total_bytes"] for d in devices)
    assert answer["verdict"] == "fits"
    speed = answer["speed"]
    assert isinstance(speed, dict)
    for name in ("decode_tokens_per_s", "prefill_tokens_per_s", "time_to_first_token_s"):
        assert speed[name]["low"] <= speed[name]["mid"] <= speed[name]["high"]


def test_what_does_not_fit_is_an_answer_without_a_speed(capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(
        capsys,
        "estimate",
        "--model",
        "Llama-3.1-405B-Instruct",
        "--quant",
        "F16",
        "--context",
        "8192",
        "--hardware",
        "RTX 3060",
    )
    assert answer["verdict"] == "does not fit" and answer["speed"] is None
    assert isinstance(answer["headroom_bytes"], int) and answer["headroom_bytes"] < 0


def test_gpu_layers_tensor_split_and_cpu_moe_reach_the_placement(capsys: pytest.CaptureFixture[str]) -> None:
    split = ask(capsys, *LLAMA, "--hardware", "RTX 4090*2", "--tensor-split", "3,1")
    devices = split["devices"]
    assert isinstance(devices, list) and [d["n_layers"] for d in devices] == [0, 25, 7]
    half = ask(capsys, *LLAMA, "--hardware", "RTX 4090", "--gpu-layers", "16")
    assert half["verdict"] == "offload" and half["n_gpu_layers"] == 16
    moe = ask(
        capsys,
        "estimate",
        "--model",
        "Qwen3-30B-A3B",
        "--quant",
        "Q4_K_M",
        "--context",
        "4096",
        "--hardware",
        "RTX 4090",
        "--cpu-moe",
        "10",
    )
    assert moe["n_cpu_moe"] == 10 and moe["verdict"] == "offload"


def test_recommend_answers_and_says_what_was_ruled_out(capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(
        capsys, "recommend", "--hardware", "RTX 4090", "--task", "code", "--limit", "3", "--license-use", "commercial"
    )
    options, ruled_out = answer["options"], answer["ruled_out"]
    assert isinstance(options, list) and len(options) == 3 and answer["best"] == options[0]
    assert options[0]["command"].startswith("llama-server ")
    assert options[0]["quality"]["n_scores"] >= 1
    assert isinstance(ruled_out, list) and all(r["reason"] for r in ruled_out)
    assert "licence" in {r["kind"] for r in ruled_out}


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        ([*LLAMA[:2], "Lama-3.1-8B-Instruct", *LLAMA[3:]], 2, "meta-llama/Llama-3.1-8B-Instruct"),
        ([*LLAMA[:4], "Q4KM", *LLAMA[5:]], 2, "Q4_K_M"),
        ([*LLAMA[:6], "200000"], 2, "131,072"),
        ([*LLAMA[:6], "0"], 2, "context_tokens"),
        ([*LLAMA[:6], "many"], 2, "invalid int"),
        ([*LLAMA, "--parallel", "-3"], 2, "n_parallel"),
        ([*LLAMA, "--ubatch", "0"], 2, "n_ubatch"),
        ([*LLAMA, "--kv-type-v", "q8_0", "--flash-attention", "off"], 2, "flash attention"),
        ([*LLAMA, "--kv-type-k", "q9"], 2, "KV cache type"),
        (
            ["estimate", "--model", "DeepSeek-V3", *LLAMA[3:], "--kv-type-k", "q8_0"],
            2,
            "latent attention keeps one cache",
        ),
        ([*LLAMA, "--hardware", "RTX 9999"], 2, "RTX"),
        ([*LLAMA, "--hardware", "RTX 4090*0"], 2, "0"),
        ([*LLAMA, "--gpu-layers", "some"], 2, "--gpu-layers"),
        ([*LLAMA, "--tensor-split", "a,b"], 2, "--tensor-split"),
        ([*LLAMA, "--engine", "abacus"], 2, "engine"),
        (["estimate", "--model", "Llama-3.2-11B-Vision-Instruct", "--quant", "Q8_0", "--context", "4096"], 1, "mllama"),
        (["recommend", "--task", "poetry"], 2, "task"),
        (["recommend", "--limit", "0"], 2, "--limit"),
        (["recommend", "--min-speed", "-1"], 2, "minimum speed"),
        (["fly"], 2, "invalid choice"),
        ([], 2, "required"),
    ],
)
def test_wrong_usage_is_one_line_with_its_exit_code(
    capsys: pytest.CaptureFixture[str], argv: list[str], code: int, said: str
) -> None:
    try:
        got = main(argv)
    except SystemExit as stop:
        got = int(stop.code or 0)
    caught = capsys.readouterr()
    assert got == code
    assert said in caught.err and caught.err.count("\n") == 1 and "Traceback" not in caught.err
    assert caught.out == ""

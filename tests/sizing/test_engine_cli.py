"""`python -m sizing --engine` and `engines`: stable shapes, the engine's own reasons, one line of complaint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sizing.__main__ import main
from sizing.engines import ENGINES
from tests.sizing.engine_cases import NAME, make_engine

MODEL = ["--model", "Llama-3.1-8B-Instruct"]
CARD = ["--hardware", "RTX 4090"]


@pytest.fixture(autouse=True)
def _paper_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(ENGINES, NAME, make_engine())
    yield


def ask(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_engines_lists_formats_caches_and_backends(capsys: pytest.CaptureFixture[str]) -> None:
    listed = {e["engine"]: e for e in ask(capsys, "engines")}
    assert listed["llama.cpp"]["takes_gguf"] and listed["llama.cpp"]["formats"] == []
    assert listed[NAME]["formats"] == ["BF16", "FP8", "AWQ"] and listed[NAME]["fills_memory"]
    assert main(["engines"]) == 0
    assert "GGUF quantizations" in capsys.readouterr().out


def test_one_model_side_by_side_names_those_that_cannot_run_it(capsys: pytest.CaptureFixture[str]) -> None:
    told = ask(capsys, "engines", *MODEL, *CARD, "--context", "4096")
    rows = {e["engine"]: e for e in told["engines"]}
    assert rows["llama.cpp"]["format"] == "Q4_K_M" and rows[NAME]["format"] == "AWQ"
    assert rows["llama.cpp"]["bits_per_weight"] == pytest.approx(told["bits_per_weight"], rel=1e-3)
    assert rows[NAME]["answer"]["capacity"]["n_requests"] > 1
    host = ask(capsys, "engines", *MODEL, "--hardware", "PC DDR5-5600 32GB")
    assert {e["engine"]: e["gap"] for e in host["engines"]}[NAME] == f"{NAME} wants a card"


def test_estimate_with_an_engine_has_llama_cpps_fields_and_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    own = ask(capsys, "estimate", *MODEL, "--format", "fp8", "--context", "8192", *CARD, "--engine", NAME.lower())
    plain = ask(capsys, "estimate", *MODEL, "--quant", "Q8_0", "--context", "8192", *CARD)
    assert set(plain) - set(own) == {"n_ctx_tokens"}
    assert {"kv_type", "tensor_parallel", "pipeline_parallel", "capacity", "differences"} <= set(own)
    assert own["engine"] == NAME and own["quant"] == "FP8"
    assert own["total_bytes"] == sum(own["parts"].values())


def test_recommend_and_hardware_for_ask_the_engine(capsys: pytest.CaptureFixture[str]) -> None:
    best = ask(capsys, "recommend", "--engine", NAME, *CARD)["best"]
    assert best["quant"] in ("BF16", "FP8", "AWQ")
    which = ask(capsys, "hardware-for", *MODEL, "--engine", NAME, "--context", "8192")
    assert which["engine"] == NAME and which["cheapest"]["quant"] in ("BF16", "FP8", "AWQ")
    assert which["ruled_out"]["engine"] > 0, "machines without a card"
    named = ask(capsys, "hardware-for", *MODEL, "--engine", NAME, "--context", "8192", "--format", "AWQ")
    assert {m["quant"] for m in named["machines"]} == {"AWQ"}
    assert named["cheapest"]["price_usd"] <= which["cheapest"]["price_usd"]


def test_kv_type_is_both_of_llama_cpps(capsys: pytest.CaptureFixture[str]) -> None:
    half = ask(capsys, "estimate", *MODEL, "--quant", "Q4_K_M", "--context", "8192", *CARD, "--kv-type", "q8_0")
    assert half["parts"]["kv_cache_bytes"] == 2**30 * 34 // 64


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["estimate", *MODEL, "--quant", "AWQ", "--context", "99", "--engine", "abacus"], 2, "unknown engine 'abacus'"),
        (["estimate", *MODEL, "--format", "FP9", "--context", "99", "--engine", NAME, *CARD], 2, "did you mean FP8"),
        (["estimate", *MODEL, "--format", "AWQ", "--context", "999999", "--engine", NAME, *CARD], 2, "131,072"),
        (
            [
                "estimate",
                *MODEL,
                "--format",
                "AWQ",
                "--context",
                "99",
                "--engine",
                NAME,
                "--hardware",
                "PC DDR5-5600 32GB",
            ],
            1,
            "card",
        ),
        (["recommend", "--engine", NAME, "--gpu-memory-utilization", "1.5"], 2, "gpu_memory_utilization"),
        (["engines", *MODEL, *CARD, "--bits", "0"], 2, "--bits"),
        (["estimate", *MODEL, "--format", "AWQ", "--context", "99", "--engine", NAME, "--projector"], 2, "llama.cpp"),
    ],
)
def test_complaints_are_one_line(capsys: pytest.CaptureFixture[str], argv: list[str], code: int, said: str) -> None:
    assert main(argv) == code
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1

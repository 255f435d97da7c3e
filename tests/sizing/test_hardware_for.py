"""`python -m sizing hardware-for`: stable fields, the cheapest first, one line for what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sizing.__main__ import main

ASK = ["hardware-for", "--model", "Qwen3-14B", "--context", "16384", "--parallel", "2", "--min-speed", "20"]
FIELDS = (
    "model quant quants context_tokens n_parallel min_decode_tokens_per_s allow_offload cheapest machines "
    "price_unknown frontier n_machines n_price_unknown ruled_out quant_steps context_steps price_basis assumptions"
).split()
MACHINE_FIELDS = (
    "machine quant verdict price_usd price_year price_source_url price_as_of power_watts used_bytes usable_bytes "
    "headroom_bytes total_bytes n_gpu_layers n_cpu_moe speed on_frontier"
).split()


def ask(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main([*argv, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_the_fields_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, *ASK, "--quant", "Q5_K_M", "--limit", "7")
    assert list(answer) == FIELDS
    assert (answer["model"], answer["quant"], answer["quants"]) == ("Qwen/Qwen3-14B", "Q5_K_M", ["Q5_K_M"])
    every = [*answer["machines"], *answer["price_unknown"], *answer["frontier"]]
    assert all(list(m) == MACHINE_FIELDS for m in every)
    assert len(answer["machines"]) == len(answer["price_unknown"]) == 7
    assert answer["cheapest"] == answer["machines"][0]
    prices = [m["price_usd"] for m in answer["machines"]]
    assert prices == sorted(prices)
    assert all(m["price_as_of"] and m["price_source_url"].startswith("http") for m in answer["machines"])
    assert all(m["price_usd"] is None and m["price_as_of"] is None for m in answer["price_unknown"])
    for m in every:
        assert m["speed"]["decode_tokens_per_s"]["mid"] >= 20
        assert m["headroom_bytes"] == m["usable_bytes"] - m["used_bytes"] >= 0
        assert m["verdict"] in ("fits", "tight")
    assert "without the host" in answer["price_basis"]


def test_without_a_quantization_each_machine_gets_its_largest(capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, *ASK)
    assert answer["quant"] is None
    assert {m["quant"] for m in answer["frontier"]} >= {"Q8_0"}
    assert [s["usable_bytes"] for s in answer["quant_steps"]] == sorted(
        s["usable_bytes"] for s in answer["quant_steps"]
    )


def test_part_on_the_host_only_where_it_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ("hardware-for", "--model", "Qwen3-30B-A3B", "--quant", "Q4_K_M", "--limit", "1")
    whole, spilled = ask(capsys, *argv), ask(capsys, *argv, "--allow-offload")
    assert spilled["cheapest"]["price_usd"] < whole["cheapest"]["price_usd"]
    assert spilled["cheapest"]["verdict"] == "offload"


def test_the_text_says_price_date_source_and_what_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASK, "--limit", "2"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("1. ") and "\n2. " in text and "\n3. " not in text
    for said in ("about $", "launch price of 20", "https://", "price unknown: ", "ruled out of ", "without the host"):
        assert said in text


def test_nobody_is_fast_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hardware-for", "--model", "Qwen3-14B", "--min-speed", "99999"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("no machine of known price runs Qwen3 14B")
    answer = ask(capsys, "hardware-for", "--model", "Qwen3-14B", "--min-speed", "99999")
    assert answer["cheapest"] is None and answer["machines"] == [] and answer["assumptions"] == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--model", "Qwen3-14X"), "Qwen/Qwen3-14B"),
        (("--model", "Qwen3-14B", "--quant", "Q4"), "Q4_K_M"),
        (("--model", "Qwen3-14B", "--context", "0"), "whole number"),
        (("--model", "Qwen3-14B", "--context", "100000"), "40,960"),
        (("--model", "Qwen3-14B", "--parallel", "0"), "n_parallel"),
        (("--model", "Qwen3-14B", "--min-speed", "-1"), "minimum speed"),
        (("--model", "Qwen3-14B", "--min-speed", "nan"), "minimum speed"),
        (("--model", "Qwen3-14B", "--limit", "0"), "--limit"),
    ],
)
def test_wrong_usage_is_one_line(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], said: str) -> None:
    assert main(["hardware-for", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err and err.count("\n") == 1

"""`python -m sizing cost`: stable fields, sources with every price, one line for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sizing.__main__ import main

ASK = ["cost", "--model", "Qwen3-8B", "--hardware", "RTX 4090"]
LOAD = ["--tokens-in-per-day", "1500000", "--tokens-out-per-day", "500000"]
FIELDS = (
    "input_tokens_per_day output_tokens_per_day n_users peak_factor active_hours_per_day max_utilisation own rent api "
    "own_break_even rent_break_even own_break_even_utilisation options assumptions"
).split()


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path))
    return tmp_path


def ask(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert main([*ASK, *LOAD, *more, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_the_fields_and_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, "--api", "GPT-5.6 Terra", "--rent", "RTX 4090, RunPod Secure")
    assert list(answer) == FIELDS
    for kind in ("own", "rent", "api"):
        cost = answer[kind]["usd_per_month"]
        assert 0 < cost["low"] <= cost["mid"] <= cost["high"]
    assert answer["api"]["usd_per_month"]["mid"] == pytest.approx(45.65625 * 2 + 15.21875 * 12)
    assert answer["rent"]["usd_per_month"]["mid"] == pytest.approx(0.74 * 730.5)
    assert all(o["source_url"].startswith("https://") and o["as_of"] for o in answer["options"] if o["kind"] != "own")
    assert any("https://" in line for line in answer["assumptions"])
    low, mid, high = answer["own_break_even"]["tokens_per_day"]
    assert 0 < low <= mid <= high


def test_limits_rule_out(capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, "--residency", "premises")
    assert [o["kind"] for o in answer["options"] if not o["ruled_out"]] == ["own"]
    assert answer["options"][0]["kind"] == "own"


def test_own_prices_are_taken_from_the_persons_folder(capsys: pytest.CaptureFixture[str], own_home: Path) -> None:
    (own_home / "prices.toml").write_text(
        '[[price]]\nkind = "buy"\nitem = "RTX 4090"\nusd = 100\nas_of = "2026-11-25"\n'
    )
    assert "your own price" in " ".join(ask(capsys)["assumptions"])


def test_text_names_the_break_even_and_unknown_is_not_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASK[:3], "--hardware", "24 GiB card at 936 GB/s", *LOAD]) == 0
    said = capsys.readouterr().out
    assert "24 GiB card at 936 GB/s (your own): unknown" in said
    assert "the price of the machine is not known" in said
    assert main([*ASK, *LOAD]) == 0
    assert "it costs less than the API from" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--tokens-in-per-day", "-5"], "input_tokens_per_day wants a number from 0"),
        (["--tokens-out-per-day", "nan"], "output_tokens_per_day wants a number"),
        (["--utilisation", "2"], "max_utilisation wants"),
        (["--peak", "0"], "peak_factor wants"),
        (["--years", "0"], "years wants"),
        (["--idle-watts", "9000"], "no more idle than at work"),
        (["--limit", "0"], "--limit wants 1 or more"),
        (["--context", "99999999"], "trained for at most"),
        (["--hardware", "RTX 4091"], "did you mean"),
    ],
)
def test_nonsense_is_one_line(capsys: pytest.CaptureFixture[str], more: list[str], said: str) -> None:
    assert main([*ASK, *LOAD, *more]) == 2
    told = capsys.readouterr().err.strip()
    assert said in told and "\n" not in told


def test_a_broken_file_of_own_prices_is_named(capsys: pytest.CaptureFixture[str], own_home: Path) -> None:
    (own_home / "prices.toml").write_text("[[price]]\n")
    assert main([*ASK, *LOAD]) == 1
    assert "prices.toml:1: missing kind" in capsys.readouterr().err

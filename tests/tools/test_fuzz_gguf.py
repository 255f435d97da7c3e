"""The fuzzing script: the same seed makes the same files, and what a broken reader does is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import fuzz_gguf


def test_a_run_reports_what_it_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz_gguf.main(["--count", "200", "--seed", "5"]) == 0
    said = capsys.readouterr()
    assert "seed 5: 200 headers in" in said.out and "0 findings" in said.out
    assert said.err.startswith("200 of 200, ")


def test_one_header_can_be_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "again.gguf"
    assert fuzz_gguf.main(["--seed", "5", "--only", "17", "--out", str(out)]) == 0
    assert out.read_bytes() == fuzz_gguf.make_hostile(5, 17).header
    assert capsys.readouterr().out.splitlines()[-1] in ("header", "refused", "needs more")
    assert fuzz_gguf.make_hostile(6, 17) != fuzz_gguf.make_hostile(5, 17)


@pytest.mark.parametrize("error", [IndexError("out of range"), MemoryError(), RecursionError(), AssertionError("gap")])
def test_any_other_error_is_a_finding(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(data: bytes, file_bytes: int) -> None:
        raise error

    monkeypatch.setattr(fuzz_gguf, "parse_header", fail)
    assert fuzz_gguf.main(["--count", "3"]) == 1
    said = capsys.readouterr().out
    assert f"number 2 (lie_about_an_array): {type(error).__name__}" in said and "3 findings" in said


def test_a_slow_header_is_a_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(fuzz_gguf, "SLOW_S", 0.0)
    assert fuzz_gguf.main(["--count", "2"]) == 1
    assert "took 0.0 s" in capsys.readouterr().out

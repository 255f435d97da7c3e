"""`python -m catalog` as a shell sees it: exit codes, one line on stderr, stable JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from catalog import __main__ as command_line
from catalog.store import open_catalog

ROOT = Path(__file__).resolve().parents[2]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        code = command_line.main(list(arguments))
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def ask_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code, out, _ = run(capsys, *arguments, "--json")
    assert code == 0
    return json.loads(out)


def test_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "catalog", "show", "qwen3-8b", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["model"] == "Qwen/Qwen3-8B"


def test_list_everything(capsys: pytest.CaptureFixture[str]) -> None:
    records = ask_json(capsys, "list")
    assert len(records) >= 190
    assert all(r["sources"] and r["as_of"] and r["n_params"] > 0 for r in records)
    code, out, err = run(capsys, "list")
    assert code == 0
    assert len(out.splitlines()) == len(records)
    assert err == f"{len(records)} models\n"


def test_list_a_family_whatever_its_case(capsys: pytest.CaptureFixture[str]) -> None:
    records = ask_json(capsys, "list", "--family", "QWEN3")
    assert {r["family"] for r in records} == {"Qwen3"}
    assert "Qwen/Qwen3-8B" in {r["model"] for r in records}


def test_list_by_licence_use(capsys: pytest.CaptureFixture[str]) -> None:
    """Llama 3.1's licence allows commercial use under conditions, Codestral's does not.

    https://www.llama.com/llama3_1/license/ and https://mistral.ai/static/licenses/MNPL-0.1.md
    """
    every = {r["model"] for r in ask_json(capsys, "list")}
    commercial = {r["model"] for r in ask_json(capsys, "list", "--license-use", "commercial")}
    assert commercial < every
    assert "meta-llama/Llama-3.1-8B-Instruct" in commercial
    assert "mistralai/Codestral-22B-v0.1" in every - commercial


def test_show_a_known_model(capsys: pytest.CaptureFixture[str]) -> None:
    """https://huggingface.co/Qwen/Qwen3-8B/blob/main/config.json"""
    record = ask_json(capsys, "show", "Qwen/Qwen3-8B")
    assert (record["n_layers"], record["hidden_dim"], record["vocab_size"]) == (36, 4096, 151936)
    (group,) = record["layers"]
    assert (group["n_heads"], group["n_kv_heads"], group["head_dim"], group["ffn_dim"]) == (32, 8, 128, 12288)
    assert record["license"]["id"] == "apache-2.0"
    assert bool(record["weights"]) == (record["weigh_gap"] is None)
    code, out, _ = run(capsys, "show", "qwen3 8B")
    assert code == 0
    assert "36\u2009×\u2009GQA, dense 12288" in out


def test_show_every_model(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_catalog()
    monkeypatch.setattr(command_line, "open_catalog", lambda imports=None: opened)
    for card in opened.cards:
        code, out, err = run(capsys, "show", card.model_id)
        assert (code, err) == (0, "")
        assert card.name in out
        assert ask_json(capsys, "show", card.model_id)["model"] == card.model_id


def test_sources(capsys: pytest.CaptureFixture[str]) -> None:
    records = ask_json(capsys, "sources")
    assert records
    assert all(r["source_url"].startswith("http") and r["tables"] and r["n_rows"] > 0 for r in records)
    assert len(run(capsys, "sources")[1].splitlines()) == len(records)


def test_detect(capsys: pytest.CaptureFixture[str]) -> None:
    record = ask_json(capsys, "detect")
    assert record["host"]["memory_bytes"] >= record["host"]["usable_bytes"] >= 0
    code, out, _ = run(capsys, "detect")
    assert code == 0
    assert record["name"] in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "Qwen3-8"], "did you mean"),
        (["show", "nothing like it at all"], "unknown model 'nothing like it at all'"),
        (["list", "--family", "Qwen33"], "Qwen3"),
        (["list", "--license-use", "resale"], "choose from 'commercial', 'research', 'personal', 'any'"),
        (["show"], "required: MODEL"),
        (["sell"], "invalid choice: 'sell'"),
        ([], "required"),
        (["detect", "--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_wrong_usage_is_one_line_and_2(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_broken_data_is_one_line_and_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, data_copy: Path
) -> None:
    file = data_copy / "hardware.csv"
    file.write_text(file.read_text() + "no source,,x,gpu,1,1,1,,,,cuda,ada,gddr,,,,,,,,\n")
    monkeypatch.setattr(command_line, "open_catalog", lambda imports=None: open_catalog(data_copy))
    code, out, err = run(capsys, "list")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "hardware.csv:" in err
    assert "source_url is empty" in err


def test_a_reader_that_leaves_is_no_error() -> None:
    """`python -m catalog sources | head -1`"""
    with subprocess.Popen(
        [sys.executable, "-m", "catalog", "list", "--json"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as shell:
        assert shell.stdout is not None
        assert shell.stderr is not None
        shell.stdout.readline()
        shell.stdout.close()
        said = shell.stderr.read().decode()
    assert "Traceback" not in said

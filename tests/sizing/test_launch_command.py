"""`python -m sizing launch`: texts to save, notes apart from them, exit codes."""

from __future__ import annotations

import json
import subprocess

import pytest

from sizing.__main__ import main
from tests.sizing.launch_cases import words_of
from tests.sizing.test_launch import value_of
from tests.sizing.test_launch_containers import check_compose, check_kubernetes

LLAMA = "launch --model meta-llama/Llama-3.1-8B-Instruct --context 8192 --parallel 4 --hardware".split()


def ask(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[str, str]:
    assert main([*LLAMA, *argv]) == 0
    shown = capsys.readouterr()
    return shown.out, shown.err


def test_one_text_alone_can_be_saved_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = ask(capsys, "RTX 4090", "--engine", "vLLM", "--quant", "FP8", "--as", "compose")
    assert check_compose(out)["command"][1] == "meta-llama/Llama-3.1-8B-Instruct" and "docker compose up" in err
    out, _ = ask(capsys, "H100 SXM*2", "--engine", "sglang", "--quant", "BF16", "--as", "kubernetes")
    assert set(check_kubernetes(out)) == {"PersistentVolumeClaim", "Deployment", "Service"}
    out, _ = ask(capsys, "RTX 4090", "--engine", "Ollama", "--quant", "Q4_K_M", "--as", "config", "--file", "/m/x.gguf")
    assert out.splitlines()[:2] == ["FROM /m/x.gguf", "PARAMETER num_ctx 8192"]


def test_several_are_headed_by_their_names_and_are_a_shell_script(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = ask(capsys, "RTX 4090", "--quant", "Q4_K_M", "--as", "shell", "--repository", "a/b-GGUF")
    heads = [line for line in out.splitlines() if line.startswith("# ") and ", to be saved as " in line]
    assert heads[0] == "# llama-server, to be saved as llama-server.sh" and len(heads) > 2
    subprocess.run(["bash", "-n"], input=out.encode(), check=True, timeout=20)


def test_json_carries_every_text(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = ask(capsys, "RTX 4090", "--quant", "Q4_K_M", "--file", "/m/x.gguf", "--kv-type", "q8_0", "--json")
    launches = {row["title"]: row for row in json.loads(out)}
    words = words_of(launches["llama-server"]["text"])
    assert (
        value_of(words, "-m") == "/m/x.gguf" and value_of(words, "-c") == "32768" and value_of(words, "-ctv") == "q8_0"
    )
    assert launches["Kubernetes"]["file_name"] == "llama-server.yaml"


def test_what_does_not_fit_and_what_is_unknown_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*LLAMA, "RTX 4090", "--engine", "vLLM", "--quant", "BF16", "--context", "131072"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("it does not fit: ") and err.count("\n") == 1
    assert main([*LLAMA, "RTX 4090", "--quant", "Q4_K_M", "--as", "helm"]) == 2
    assert "unknown kind of launch 'helm'" in capsys.readouterr().err
    assert main([*LLAMA, "RTX 4090", "--quant", "Q4_K_M", "--file=-rf"]) == 2
    assert "does not begin with '-'" in capsys.readouterr().err
    assert main([*LLAMA, "Apple M4 Max", "--quant", "Q4_K_M", "--as", "docker"]) != 0

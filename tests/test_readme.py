"""The README is run: its commands work, its exact figures are the ones printed, its make targets and files exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```\n\$ (python -m [^\n]+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def run_example(command: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "WEIGHBRIDGE_HOME": home}
        return subprocess.run(
            [sys.executable, *words[1:]], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100
        )


def find_byte_lines(text: str) -> list[list[str]]:
    """The lines that give a part in exact bytes, as words."""
    return [line.replace("\u2009", " ").split() for line in text.splitlines() if re.search(r"[\d,]+ bytes$", line)]


@pytest.mark.parametrize(("command", "printed"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_an_example_prints_what_it_says(command: str, printed: str) -> None:
    done = run_example(command)
    told_error = printed.startswith("python -m")
    assert done.returncode == (2 if told_error else 0), done.stderr
    assert find_byte_lines(done.stdout) == find_byte_lines(printed)
    if told_error:
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith(printed.split(";")[0])


def test_there_are_examples_and_one_of_them_gives_bytes() -> None:
    assert len(EXAMPLES) >= 3
    assert any(find_byte_lines(printed) for _, printed in EXAMPLES)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`(python -m (?:sizing|catalog|evals) [a-z-]+)", README))))
def test_a_command_of_the_table_exists(command: str) -> None:
    done = run_example(f"{command} --help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage:")


@pytest.mark.parametrize("room", ["sizing", "catalog", "evals"])
def test_every_command_is_told_of(room: str) -> None:
    usage = run_example(f"python -m {room} --help").stdout
    listed = re.search(r"\{([\w,-]+)\}|^ +([\w-]+(?:\|[\w-]+)+)$", usage, flags=re.MULTILINE)
    assert listed, usage
    row = "\n".join(line for line in README.splitlines() if line.startswith(f"| `python -m {room}"))
    missing = [name for name in re.split(r"[,|]", listed[1] or listed[2]) if not re.search(rf"[` ]{name}[` ]", row)]
    assert missing == []


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake\s+([a-z]+)\b(?=[\s`#])", README))
    assert {"run", "test", "check"} <= named
    assert named <= targets


def test_every_picture_and_link_exists() -> None:
    named = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []

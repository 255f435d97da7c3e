"""What is installed is what was pinned and looked up: every requirement one exact version, each named once."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PINNED = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>\d+(\.\d+)+([a-z]+\d+)?)( --config-settings=.*)?"
)
TRAINING_ONLY = {"numpy"}  # held by what needs it, in requirements-demo.txt


def list_requirements(name: str) -> list[str]:
    lines = (line.split("#", 1)[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("-r ")]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-demo.txt"])
def test_every_requirement_is_one_exact_version_from_the_usual_index(name: str) -> None:
    loose = [line for line in list_requirements(name) if not PINNED.fullmatch(line) and line not in TRAINING_ONLY]
    assert loose == []  # no range, no address, no branch, no other index


def test_no_requirement_is_named_twice() -> None:
    lines = list_requirements("requirements.txt") + list_requirements("requirements-dev.txt")
    names = [re.split(r"==", line)[0].lower().replace("_", "-") for line in lines]
    assert len(names) == len(set(names))


def test_what_is_installed_is_what_is_pinned() -> None:
    other = {}
    for line in list_requirements("requirements.txt"):
        found = PINNED.fullmatch(line)
        assert found is not None
        try:
            installed = version(found["name"])
        except PackageNotFoundError:
            continue  # the engine is not everywhere
        if installed != found["version"]:
            other[found["name"]] = installed
    assert other == {}


def test_the_audit_looks_at_what_is_installed_and_passes_nothing_it_could_not_look_up() -> None:
    asked = ["make", "-n", "-o", "set-up-app", "audit"]
    told = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "pip-audit==" in told and "--strict --path" in told and "purelib" in told

"""What CONTRIBUTING and the architecture page name is there: files, commands, make targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "docs/ARCHITECTURE.md")}


@pytest.mark.parametrize("page", PAGES)
def test_every_path_exists(page: str) -> None:
    named = set(re.findall(r"`((?:sizing|catalog|evals|pages|tests|tools|benchmarks|docs)/[\w./-]*)`", PAGES[page]))
    linked = {str(Path(page).parent / link) for link in re.findall(r"\]\((?!http)([^)#]+)\)", PAGES[page])}
    assert len(named) >= 5
    assert [path for path in sorted(named | linked) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_module_that_is_run_exists(page: str) -> None:
    for module in re.findall(r"python -m ([\w.]+)", PAGES[page]):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", PAGES[page], flags=re.MULTILINE)) <= targets


def test_every_room_stands_on_the_architecture_page() -> None:
    rooms = [p.name for p in ROOT.iterdir() if (p / "__init__.py").is_file() or (p / "__main__.py").is_file()]
    assert {"sizing", "catalog", "evals"} <= set(rooms)
    assert [room for room in rooms if f"`{room}/`" not in PAGES["docs/ARCHITECTURE.md"]] == []


def test_every_fact_file_is_told_how_to_add_to() -> None:
    files = {p.name for p in (ROOT / "catalog" / "data").iterdir() if p.suffix in (".csv", ".toml")}
    told_elsewhere = {"file_sizes.csv", "speed_hosts.csv"}  # what others published, to compare with
    assert [name for name in sorted(files - told_elsewhere) if name not in PAGES["CONTRIBUTING.md"]] == []

"""Hygiene of the repository: nothing of one person's machine in a tracked file, nothing public without a docstring."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PERSONAL_PATH = re.compile(r"(?<![\w.~/:-])/(?:home|root|Users|work|tmp)/[\w.-]+")
TOKEN = re.compile(r"\b(?:hf_[A-Za-z0-9]{30,}|ghp_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9]{32,})\b")


def find_personal_text(text: str) -> list[str]:
    """Absolute paths of somebody's machine and things shaped like access tokens."""
    return [match[0] for pattern in (PERSONAL_PATH, TOKEN) for match in pattern.finditer(text)]


def list_tracked_files() -> list[Path]:
    """The files git tracks. Skips the test where this is not a git clone."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git clone, so there are no tracked files to look at")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_holds_a_path_of_one_machine() -> None:
    found = []
    for path in list_tracked_files():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        if path != Path(__file__).resolve() and "\0" not in text:
            found += [f"{path.relative_to(ROOT)}: {what}" for what in find_personal_text(text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text", ["see /home/ada/x", "'/root/.cache'", "cd /work/main", "open('/tmp/x')", "hf_" + "a" * 34]
)
def test_personal_text_is_caught(text: str) -> None:
    assert find_personal_text(text)


@pytest.mark.parametrize(
    "text", ["https://example.org/home/ada", "docs/work/x", "~/work/x", "/proc/cpuinfo", "/usr/bin/env", "hf_hub"]
)
def test_ordinary_text_passes(text: str) -> None:
    assert not find_personal_text(text)


def test_nothing_set_up_or_generated_is_tracked() -> None:
    unwanted = re.compile(r"(^|/)(\.venv|\.wheels|\.setup|__pycache__|\.mypy_cache|node_modules)/|\.(pyc|gguf|whl)$")
    meant = {"evals/demo/weighbridge-demo.gguf"}  # the small trained model that evaluations are shown with
    names = {str(path.relative_to(ROOT)) for path in list_tracked_files()}
    assert sorted(name for name in names - meant if unwanted.search(name)) == []


def find_undocumented(source: str, path: str) -> Iterator[str]:
    """Public functions, classes and methods without a docstring. An overridden method needs none of its own."""

    def visit(body: list[ast.stmt]) -> Iterator[str]:
        for node in body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            decorators = {ast.unparse(d).split("(")[0].split(".")[-1] for d in node.decorator_list}
            if ast.get_docstring(node) is None and not decorators & {"override", "overload"}:
                yield f"{path}:{node.lineno}: {node.name}"
            if isinstance(node, ast.ClassDef):
                yield from visit(node.body)

    tree = ast.parse(source)
    if ast.get_docstring(tree) is None and tree.body:
        yield f"{path}:1: the module itself"
    yield from visit(tree.body)


@pytest.mark.parametrize("room", ["sizing", "catalog", "evals"])
def test_everything_public_says_what_it_is(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    found = [line for f in files for line in find_undocumented(f.read_text("utf-8"), str(f.relative_to(ROOT)))]
    assert not found, "without a docstring:\n" + "\n".join(found)


def test_a_missing_docstring_is_caught() -> None:
    source = '"""M."""\nclass A:\n    """A."""\n    def b(self): ...\n    def _c(self): ...\ndef d():\n    """D."""\n'
    assert list(find_undocumented(source, "m.py")) == ["m.py:4: b"]

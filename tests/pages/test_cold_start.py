"""What the first page does without: modules that only other pages, a click, or somebody with runs of their own need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LOAD = """
import ast, importlib, json, sys

tree = ast.parse(open(sys.argv[1], encoding="utf-8").read())
for node in tree.body:
    if isinstance(node, ast.Import):
        for alias in node.names:
            importlib.import_module(alias.name)
    elif isinstance(node, ast.ImportFrom):
        room = importlib.import_module(node.module)
        for alias in node.names:
            if not hasattr(room, alias.name):
                importlib.import_module(f"{node.module}.{alias.name}")
print(json.dumps(sorted(sys.modules)))
"""
"""Load what a page's file imports, without drawing the page, and tell everything that came along."""

UNWANTED_PACKAGES = (
    "datasets gguf httpx2 huggingface_hub jsonschema llama_cpp lm_eval psutil pynvml ray scipy sklearn torch "
    "transformers yaml plotly.express"
).split()

UNWANTED_HERE = (
    "catalog.hub catalog.importing catalog.gguf_header evals.jobs evals.lm evals.own_data evals.results evals.stats "
    "evals.suites evals.weigh pages.ui.evaluation pages.ui.evaluate_words pages.ui.import_hub"
).split()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """Modules of an interpreter that has loaded what the Choose page imports, and nothing else."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "WEIGHBRIDGE_HOME": str(tmp_path_factory.mktemp("home"))}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, "pages/choose.py"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return frozenset(json.loads(done.stdout))


def test_the_first_page_is_loaded_with_what_it_draws(loaded: frozenset[str]) -> None:
    assert {"pages.ui.frame", "pages.ui.bench", "pages.ui.evaluate_measured", "catalog.store"} <= loaded


@pytest.mark.parametrize("name", [*UNWANTED_PACKAGES, *UNWANTED_HERE])
def test_the_first_page_does_not_wait_for(name: str, loaded: frozenset[str]) -> None:
    assert name not in loaded, f"{name} is loaded before the first page; import it where it is used"

"""Who may import whom: the rooms' import table, enforced on the syntax tree of every file.

Imports inside functions, under TYPE_CHECKING and through `import_module("...")` count like any other.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("sizing", "catalog", "evals", "pages")

OUTSIDE_WORLD = frozenset(
    "asyncio datetime fcntl ftplib getpass glob http io locale logging mmap multiprocessing os pathlib platform random "
    "resource secrets select shutil signal smtplib socket sqlite3 ssl subprocess sys tempfile threading time urllib "
    "uuid webbrowser".split()
)
"""Standard modules that reach files, clocks, the environment or chance: none of `sizing`'s business."""

OUTSIDE_CALLS = frozenset({"open", "print", "input", "exec", "eval"})


@dataclass(frozen=True, slots=True)
class Rules:
    """What one file may import beside the standard library."""

    rooms: frozenset[str]
    packages: frozenset[str] = frozenset()
    lazy_packages: frozenset[str] = frozenset()
    pure: bool = False


# numpy: the table gives it to sizing; catalog and evals hand its columns over, so they may hold it too.
SIZING = Rules(rooms=frozenset({"sizing"}), packages=frozenset({"numpy"}), pure=True)
CATALOG = Rules(
    rooms=frozenset({"sizing", "catalog"}), packages=frozenset({"numpy", "duckdb", "psutil", "pynvml", "platformdirs"})
)
# the Hub's own library is loaded where it is needed only; httpx2 is its transport, used for what it cannot cap
HUB = Rules(CATALOG.rooms, CATALOG.packages, frozenset({"huggingface_hub", "httpx2"}))
# PyYAML is loaded where a routing policy is read; nothing else of the catalog is YAML
ROUTING_FILE = Rules(CATALOG.rooms, CATALOG.packages, frozenset({"yaml"}))
EVALS = Rules(
    rooms=frozenset({"sizing", "evals"}),
    packages=frozenset({"numpy", "duckdb", "gguf", "platformdirs"}),
    lazy_packages=frozenset({"llama_cpp", "lm_eval", "datasets", "httpx2", "jsonschema", "yaml"}),
)
# classes that lm-eval calls derive from its own, so these modules hold it; only a worker process imports them
LM_MODULES = ("evals/lm.py", "evals/endpoint_lm.py")
LM = Rules(EVALS.rooms, EVALS.packages | {"lm_eval"}, EVALS.lazy_packages - {"lm_eval"})
# Ray is an optional extra: one module holds it, and loads it when a sweep is asked for a cluster
RAY = Rules(EVALS.rooms, EVALS.packages, EVALS.lazy_packages | {"ray"})
TRAINING = Rules(rooms=EVALS.rooms, packages=EVALS.packages, lazy_packages=frozenset({"torch"}))
PAGES = Rules(rooms=frozenset(ROOMS), packages=frozenset({"streamlit", "pandas"}))
CHARTS = Rules(rooms=frozenset(ROOMS), packages=frozenset({"plotly"}))
APP = Rules(rooms=frozenset(), packages=frozenset({"streamlit"}))
STDLIB_ONLY = Rules(rooms=frozenset())
FREE = None


def find_rules(path: str) -> Rules | None:
    """The rules for a file by its path in the repository; None where the table says nothing (tests, benchmarks)."""
    room = path.split("/", 1)[0]
    if path == "app.py":
        return APP
    if path == "catalog/hub.py":
        return HUB
    if path == "catalog/routing_file.py":
        return ROUTING_FILE
    if path == "evals/demo/train.py":
        return TRAINING
    if path == "evals/ray_sweep.py":
        return RAY
    if path in LM_MODULES:
        return LM
    if path.startswith("pages/ui/charts"):
        return CHARTS
    if path in ("tools/bootstrap.py", "tools/run_app.py"):
        return STDLIB_ONLY
    rules = {"sizing": SIZING, "catalog": CATALOG, "evals": EVALS, "pages": PAGES}.get(room, FREE)
    if rules is not None and path.endswith("/__main__.py"):  # a shell: any room, and it may print
        return Rules(frozenset(ROOMS) - {"pages"}, rules.packages, rules.lazy_packages)
    if path == "sizing/command_line.py":  # what the three shells share
        return Rules(SIZING.rooms, SIZING.packages)
    return rules


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module: its full name, where, and whether only a function call reaches it."""

    module: str
    line: int
    lazy: bool


def find_imports(tree: ast.AST, path: str) -> Iterator[Import]:
    """Every import of a file, relative ones made absolute."""
    package = path.removesuffix(".py").split("/")[:-1]

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            yield Import(".".join([*base, *([node.module] if node.module else [])]), node.lineno, lazy)
        elif isinstance(node, ast.Call) and name_of(node.func).split(".")[-1] in ("import_module", "__import__"):
            named = node.args[0] if node.args else None
            if isinstance(named, ast.Constant) and isinstance(named.value, str):
                yield Import(named.value, node.lineno, lazy)
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    return visit(tree, False)


def name_of(node: ast.expr) -> str:
    """The dotted name an expression spells, or an empty string."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}".lstrip(".")
    return node.id if isinstance(node, ast.Name) else ""


def find_violations(source: str, path: str) -> list[str]:
    """What a file does against the table, one line each, named with path and line."""
    rules = find_rules(path)
    if rules is None:
        return []
    tree = ast.parse(source)
    found = []
    for entry in find_imports(tree, path):
        if complaint := judge_import(entry, rules):
            found.append(f"{path}:{entry.line}: {complaint}")
    if rules.pure:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and name_of(node.func) in OUTSIDE_CALLS:
                found.append(f"{path}:{node.lineno}: calls {name_of(node.func)}(), which a pure room leaves to others")
    return found + find_state_readers(tree, path)


def judge_import(entry: Import, rules: Rules) -> str | None:
    """What is wrong with one import under these rules, or None."""
    root = entry.module.split(".")[0]
    if root in sys.stdlib_module_names or root == "__future__":
        return (
            f"imports {entry.module}, which a pure room leaves to others"
            if rules.pure and root in OUTSIDE_WORLD
            else None
        )
    if root in ROOMS:
        return None if root in rules.rooms else f"imports the room {root}"
    if root in rules.lazy_packages:
        return None if entry.lazy else f"imports {root} at the top; import it inside the function that needs it"
    return None if root in rules.packages else f"imports {root or 'its own top level'}"


def find_state_readers(tree: ast.AST, path: str) -> list[str]:
    """Pages that read widget or query-parameter state themselves: only `pages/ui/inputs.py` does.

    `pages/ui/machine_builder.py` reads its own widgets and writes through `inputs`; it may not read the address.
    """
    if not path.startswith("pages/") or path == "pages/ui/inputs.py":
        return []
    return [
        f"{path}:{node.lineno}: reads {node.attr}; only pages/ui/inputs.py does"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("session_state", "query_params")
        and (path, node.attr) != ("pages/ui/machine_builder.py", "session_state")
    ]


def list_sources() -> list[str]:
    """Every Python file of the product, as paths in the repository."""
    files = [ROOT / "app.py", *(f for room in (*ROOMS, "tools") for f in (ROOT / room).rglob("*.py"))]
    return sorted(str(f.relative_to(ROOT)) for f in files if f.exists())


@pytest.mark.parametrize("path", list_sources())
def test_every_file_keeps_to_the_import_table(path: str) -> None:
    violations = find_violations((ROOT / path).read_text(encoding="utf-8"), path)
    assert not violations, "\n".join(violations)


def test_all_four_rooms_are_looked_at() -> None:
    assert {path.split("/")[0] for path in list_sources()} >= set(ROOMS)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("sizing/fit.py", "import duckdb"),
        ("sizing/fit.py", "from catalog import store"),
        ("sizing/fit.py", "from catalog.store import open_catalog"),
        ("sizing/fit.py", "def f():\n    import pandas"),
        ("sizing/fit.py", "import time"),
        ("sizing/fit.py", "from os import environ"),
        ("sizing/fit.py", "import pathlib"),
        ("sizing/fit.py", "def f():\n    return open('x').read()"),
        ("sizing/fit.py", "print('fits')"),
        ("sizing/fit.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from evals import dry_run"),
        ("sizing/fit.py", "import importlib\nimportlib.import_module('catalog.store')"),
        ("sizing/architectures/base.py", "from ...evals import dry_run"),
        ("catalog/store.py", "import streamlit as st"),
        ("catalog/store.py", "def f():\n    import streamlit"),
        ("catalog/store.py", "from evals import dry_run"),
        ("catalog/store.py", "import pages.ui"),
        ("catalog/store.py", "import huggingface_hub"),
        ("catalog/store.py", "def f():\n    from huggingface_hub import HfApi"),
        ("catalog/store.py", "def f():\n    import httpx2"),
        ("catalog/hub.py", "from huggingface_hub import HfApi"),
        ("catalog/store.py", "import llama_cpp"),
        ("catalog/store.py", "def f():\n    import yaml"),
        ("catalog/routing_file.py", "import yaml"),
        ("evals/dry_run.py", "import llama_cpp"),
        ("evals/dry_run.py", "from llama_cpp import Llama"),
        ("evals/dry_run.py", "if True:\n    import lm_eval"),
        ("evals/dry_run.py", "class A:\n    import llama_cpp"),
        ("evals/lm.py", "import llama_cpp"),
        ("evals/ray_sweep.py", "import ray"),
        ("evals/sweep_node.py", "def f():\n    import ray"),
        ("evals/dry_run.py", "from catalog.models import load_families"),
        ("evals/dry_run.py", "import streamlit"),
        ("evals/demo/train.py", "import torch"),
        ("evals/demo/measure.py", "def f():\n    import torch"),
        ("pages/choose.py", "import duckdb"),
        ("pages/choose.py", "def f():\n    import llama_cpp"),
        ("pages/choose.py", "import huggingface_hub"),
        ("pages/choose.py", "import lm_eval"),
        ("pages/choose.py", "import plotly.express as px"),
        ("pages/choose.py", "import streamlit as st\nst.session_state['a'] = 1"),
        ("pages/ui/cached.py", "import streamlit as st\nst.query_params"),
        ("pages/ui/machine_builder.py", "import streamlit as st\nst.query_params"),
        ("pages/ui/charts.py", "import streamlit"),
        ("pages/ui/charts_compare.py", "import streamlit"),
        ("app.py", "from catalog.store import open_catalog"),
        ("app.py", "import pandas"),
        ("catalog/__main__.py", "import streamlit"),
        ("catalog/__main__.py", "from pages.ui import cached"),
        ("evals/__main__.py", "import llama_cpp"),
        ("tools/bootstrap.py", "import numpy"),
    ],
)
def test_a_violation_is_caught(path: str, source: str) -> None:
    assert len(find_violations(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("sizing/fit.py", "import math\nimport numpy as np\nfrom sizing.specs import ModelSpec"),
        ("sizing/architectures/base.py", "from . import dense\nfrom ..specs import ModelSpec"),
        ("sizing/__main__.py", "import sys\nfrom catalog.store import open_catalog\nprint('x')"),
        ("catalog/store.py", "import duckdb\nfrom pathlib import Path\nfrom sizing.specs import ModelSpec"),
        ("catalog/machine.py", "import psutil, pynvml, subprocess"),
        ("catalog/hub.py", "def f():\n    import httpx2\n    from huggingface_hub import get_token"),
        ("catalog/routing_file.py", "def f():\n    import yaml"),
        ("evals/engine_child.py", "def f():\n    import llama_cpp\n    import lm_eval"),
        ("evals/lm.py", "from lm_eval.api.model import TemplateLM"),
        ("evals/ray_sweep.py", "def f():\n    import ray"),
        ("evals/demo/train.py", "def f():\n    import torch"),
        ("evals/__main__.py", "from catalog.store import open_catalog"),
        (
            "pages/choose.py",
            "import streamlit as st\nimport pandas as pd\nfrom sizing.fit import Fit\nimport catalog, evals",
        ),
        ("pages/ui/inputs.py", "import streamlit as st\nst.session_state\nst.query_params"),
        ("pages/ui/machine_builder.py", "import streamlit as st\nst.session_state"),
        ("pages/ui/charts.py", "import plotly.graph_objects as go"),
        ("pages/ui/charts_compare.py", "import plotly.graph_objects as go"),
        ("app.py", "import streamlit as st"),
        ("tests/test_x.py", "import anything"),
    ],
)
def test_what_the_table_allows_passes(path: str, source: str) -> None:
    assert find_violations(source, path) == []


def test_a_violation_names_file_line_and_reason() -> None:
    assert find_violations("import math\n\nimport streamlit", "catalog/store.py") == [
        "catalog/store.py:3: imports streamlit"
    ]

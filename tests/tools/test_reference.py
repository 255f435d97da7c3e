"""The formulas and the reference: every formula has its function and its figure, and the pages show both."""

from __future__ import annotations

import ast
import math
import os
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from sizing.errors import BadInputError
from sizing.formulas import find_formulas, join_sources
from tools.formula_examples import EXAMPLES, list_formulas, work_out

ROOT = Path(__file__).resolve().parents[2]
FORMULAS = list_formulas()


def need_makers() -> None:
    """Skip with a reason, or in CI fail, where pdoc or latex2mathml is not installed."""
    missing = [name for name in ("pdoc", "latex2mathml") if find_spec(name) is None]
    reason = f"{' and '.join(missing)} not installed; requirements-dev.txt has them: make check"
    if missing and os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    if missing:
        pytest.skip(reason)


@pytest.mark.parametrize("name", FORMULAS)
def test_the_function_of_a_formula_gives_what_its_equation_gives(name: str) -> None:
    for example in work_out(name):
        assert example.value > 0 or example.value < 0
        if example.by_hand is not None:
            assert math.isclose(example.by_hand, example.value, rel_tol=1e-9), example


def test_one_formula_alone_has_no_closed_form() -> None:
    played = [name for name in FORMULAS if any(e.by_hand is None for e in work_out(name))]
    assert played == ["compute"]


def test_every_formula_has_an_example_and_a_public_function() -> None:
    assert set(EXAMPLES) == set(FORMULAS)
    for formula in FORMULAS.values():
        module, _, name = formula.function.rpartition(".")
        owner = import_module(module) if find_spec_of(module) else None
        if owner is None:
            module, _, owner_name = module.rpartition(".")
            owner = getattr(import_module(module), owner_name)
        assert getattr(owner, name).__doc__ and not name.startswith("_"), formula.function


def find_spec_of(name: str) -> bool:
    """Whether a dotted name is a module of ours, not a class in one."""
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_every_symbol_stands_in_its_equation() -> None:
    for name, formula in FORMULAS.items():
        for signs, meaning in formula.symbols:
            assert meaning, name
            letters = re.findall(
                r"\\[a-z]+(?=\b|_)|(?<![a-z\\{])[A-Za-z](?![a-z])", re.sub(r"\\text\{\w+\}", "", signs)
            )
            assert letters and all(letter in formula.tex for letter in letters), (name, signs)


def test_no_page_has_a_formula_of_its_own() -> None:
    """The guide's topics hand over formulas of the registry: no equation is written out in a call."""
    calls = [
        call
        for path in sorted((ROOT / "pages" / "ui").glob("guide_*.py"))
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "guide_frame.show_formula"
    ]
    assert len(calls) >= 9
    for call in calls:
        assert re.match(r"find_formulas\(|\(LOSS_FORMULAS\[", ast.unparse(call.args[0]))


def test_sources_are_told_once() -> None:
    told = join_sources(find_formulas("reach", "operations", "ridge"))
    assert told.count("Williams") == 1 and join_sources(find_formulas("bits")) == ""


def test_the_page_of_a_module_shows_its_formulas_with_their_figures(tmp_path: Path) -> None:
    need_makers()
    from tools.reference import build_reference

    out = tmp_path / "reference"
    assert build_reference(out, ["sizing.kv_cache"]) == ("cache", "state", "cells", "window")
    page, first = ((out / path).read_text(encoding="utf-8") for path in ("sizing/kv_cache.html", "index.html"))
    for text in (page, first):
        assert text.count('data-formula="cache"') == 1 and "1,073,741,824 bytes" in text
        assert "<math" in text and "\\frac" not in text and "MathJax" not in text
        assert not re.search(r'<(?:script|img|link)[^>]+(?:src|href)="https?:', text)
    assert "sizing/kv_cache.html#estimate_kv_cache_bytes" in first
    assert 'data-formula="wilson"' not in first  # no page of its module was made
    build_reference(out, ["sizing.fit"])
    assert not (out / "sizing" / "kv_cache.html").exists()


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    need_makers()
    from tools.reference import build_reference

    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(BadInputError, match="something else"):
        build_reference(tmp_path, ["sizing.fit"])
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_every_formula_has_a_page_among_all_modules() -> None:
    need_makers()
    from tools.reference import ROOMS, list_modules

    modules = {name for room in ROOMS for name in list_modules(room)}
    assert {"sizing.kv_cache", "catalog.store", "evals.intervals"} <= modules
    assert not {name for name in modules if name.endswith(("__main__", "_child"))}
    for formula in FORMULAS.values():
        parts = formula.function.split(".")
        assert any(".".join(parts[:n]) in modules for n in range(1, len(parts))), formula.function

"""`python -m catalog compare` as a shell sees it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

import pytest

from catalog import __main__ as command_line
from catalog.import_store import ImportStore
from catalog.store import open_catalog
from evals.home import find_home
from tests.catalog.import_cases import make_import
from tests.catalog.test_cli import run

RTX = ("--hardware", "RTX 4090")
PAIR = ("Qwen3 14B", "google/gemma-3-12b-it")


@pytest.fixture(autouse=True, scope="module")
def opened_once() -> Iterator[None]:
    known = open_catalog()
    patch = pytest.MonkeyPatch()
    patch.setattr(command_line, "open_catalog", lambda imports=None: known)
    yield
    patch.undo()


def test_text_names_both_and_marks_what_is_equal_and_best(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "compare", *PAIR, *RTX)
    assert (code, err) == (0, "")
    assert "Qwen3 14B" in out.splitlines()[0] and "Gemma 3 12B" in out.splitlines()[0]
    assert "= Facts" in out and "On the machine" in out and "* " in out


def test_json_is_one_record_with_assumptions_and_sources(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "compare", *PAIR, *RTX, "--context", "4096", "--json")
    record = json.loads(out)
    assert code == 0
    assert [m["model"] for m in record["models"]] == ["Qwen/Qwen3-14B", "google/gemma-3-12b-it"]
    assert any("4,096 tokens" in text for text in record["assumptions"])
    assert all(s["source_url"].startswith("http") for s in record["sources"])
    context = next(r for r in record["rows"] if r["label"] == "Trained context")
    assert context["best"] == ["google/gemma-3-12b-it"] and context["differs"] is True


def test_one_quantization_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "compare", *PAIR, *RTX, "--quant", "q4_k_m", "--json")
    quants = next(r for r in json.loads(out)["rows"] if r["label"] == "Quantization")
    assert code == 0 and [c["text"] for c in quants["cells"]] == ["Q4_K_M", "Q4_K_M"]


def test_markdown_and_csv(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "compare", *PAIR, *RTX, "--markdown")
    assert code == 0 and "## Sources" in out and "| Trained context | 40,960 |" in out
    code, out, _ = run(capsys, "compare", *PAIR, *RTX, "--csv")
    rows = list(csv.reader(io.StringIO(out)))
    assert code == 0 and ["40960", "131072"] in [row[6:] for row in rows]


def test_an_import_is_compared_with_its_files(capsys: pytest.CaptureFixture[str]) -> None:
    store, known = ImportStore(find_home()), open_catalog()
    store.keep(make_import(known, "someone/tuned-8b"))
    patch = pytest.MonkeyPatch()
    patch.setattr(command_line, "open_catalog", lambda imports=None: open_catalog(imports=imports))
    try:
        code, out, err = run(capsys, "compare", "someone/tuned-8b", "Qwen3 8B", *RTX, "--quant", "ud-q4_k_xl", "--json")
    finally:
        patch.undo()
        store.path.unlink()
    assert (code, err) == (0, "")
    rows = {r["label"]: r["cells"] for r in json.loads(out)["rows"]}
    assert rows["UD-Q4_K_XL"][0]["text"].endswith("by someone/tuned-8b")
    assert rows["Quantization"][0]["text"] == "UD-Q4_K_XL"
    assert "has no UD-Q4_K_XL" in rows["Fit"][1]["text"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare"], "MODEL"),
        (["compare", "Qwen3 14B"], "2 to 6 models, got 1"),
        (["compare", "Qwen3 14B", "Qwen/Qwen3-14B"], "2 to 6 models, got 1"),
        (["compare", *["Qwen3 14B"] * 7], "2 to 6 models, got 7"),
        (["compare", "Qwen3 14C", "Qwen3 14B"], "did you mean"),
        (["compare", *PAIR, "--context", "0"], "context_tokens"),
        (["compare", *PAIR, "--quant", "Q9"], "Q9"),
        (["compare", *PAIR, "--hardware", "RTX 4O9O"], "RTX 4090"),
        (["compare", *PAIR, "--task", "poetry"], "invalid choice"),
        (["compare", *PAIR, "--json", "--markdown"], "one form"),
        (["compare", *PAIR, "--csv", "--markdown"], "not allowed with"),
    ],
)
def test_wrong_usage_is_one_line_and_2(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err and len(err.splitlines()) == 1

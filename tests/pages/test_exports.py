"""Tables as CSV and JSON, charts as PNG and SVG: what is in the files, and that every page offers them."""

from __future__ import annotations

import ast
import csv
import io
import json
import math
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from pages.ui import chart_files, tables, words
from sizing.safe_text import csv_cell, guard_formula, name_file

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "app.py"


def read_csv(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_numbers_are_plain_and_what_is_unknown_is_empty() -> None:
    table = words.style_table(
        pd.DataFrame({"Model": ["A", "B"], "Memory, GiB": [11.83712, math.nan], "Context, tokens": [131072, 8192]})
    )
    assert read_csv(tables.write_csv(table)) == [
        ["Model", "Memory, GiB", "Context, tokens"],
        ["A", "11.83712", "131072"],
        ["B", "", "8192"],
    ]
    assert json.loads(tables.write_json(table)) == [
        {"Model": "A", "Memory, GiB": 11.83712, "Context, tokens": 131072},
        {"Model": "B", "Memory, GiB": None, "Context, tokens": 8192},
    ]


def test_an_interval_that_stands_for_a_number_is_a_column_of_its_own() -> None:
    frame = pd.DataFrame({"Model": ["A", "B"], "Speed, tokens/s": [30.5, math.nan]})
    table = words.style_table(frame, [(("Speed, tokens/s", "25 to 40"),), (("Speed, tokens/s", words.UNKNOWN),)])
    assert read_csv(tables.write_csv(table))[1:] == [["A", "30.5", "25 to 40"], ["B", "", ""]]
    assert json.loads(tables.write_json(table))[1] == {
        "Model": "B",
        "Speed, tokens/s": None,
        "Speed, tokens/s, as shown": None,
    }


def test_the_browser_is_told_the_words_of_every_cell_and_the_numbers_under_them() -> None:
    def draw() -> None:
        import pandas

        from pages.ui import tables, words

        frame = pandas.DataFrame(
            {"Model": ["A", "B"], "Speed, tokens/s": [30.5, float("nan")], "Context, tokens": [131072, 8192]}
        )
        tables.show_table(words.style_table(frame, [(("Speed, tokens/s", "25 to 40"),), ()]), key="one")

    drawn = AppTest.from_function(draw).run()
    assert not drawn.exception
    sent = drawn.dataframe[0].proto.arrow_data
    shown = pa.ipc.open_stream(sent.styler.display_values).read_pandas()
    assert shown.to_dict("list") == {
        "Model": ["A", "B"],
        "Speed, tokens/s": ["25 to 40", "unknown"],
        "Context, tokens": ["131,072", "8,192"],
    }
    under = pa.ipc.open_stream(sent.data).read_pandas()
    assert under["Context, tokens"].tolist() == [131072, 8192] and under["Speed, tokens/s"][0] == 30.5
    first, again = (AppTest.from_function(draw).run().dataframe[0].proto.SerializeToString() for _ in range(2))
    assert first == again, "what has not changed is not sent again"


@pytest.mark.parametrize("text", ["=1+1", "+SUM(A1)", "-2+3", "@now", "\tcmd", "\r=1", " =1", "-", "=HYPERLINK(1)"])
def test_text_that_looks_like_a_formula_gets_an_apostrophe(text: str) -> None:
    table = pd.DataFrame({text: [text]})
    assert read_csv(tables.write_csv(table)) == [[f"'{text}"], [f"'{text}"]]
    assert json.loads(tables.write_json(table)) == [{text: text}]


@pytest.mark.parametrize(
    ("cell", "told"), [(-2.5, "-2.5"), (-3, "-3"), (5e-07, "0.0000005"), (10**15, "1000000000000000")]
)
def test_a_number_stays_a_number(cell: object, told: str) -> None:
    assert read_csv(tables.write_csv(pd.DataFrame({"x": [cell]})))[1] == [told]


def test_values_that_json_does_not_know_become_plain() -> None:
    cells = [None, math.inf, pd.NaT, date(2026, 7, 1), ["a", "b"], "unknown", True]
    rows = json.loads(tables.write_json(pd.DataFrame({"x": pd.Series(cells, dtype=object)})))
    assert [row["x"] for row in rows] == [None, None, None, "2026-07-01", "a, b", None, True]


@given(st.text())
def test_no_text_starts_a_formula_and_none_is_lost(text: str) -> None:
    guarded = guard_formula(text)
    assert guarded.removeprefix("'") == text or guarded == text
    if not guarded.startswith("'"):
        assert guarded.lstrip()[:1] not in ("=", "+", "-", "@") and guarded[:1] not in ("\t", "\r")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_itself(value: float) -> None:
    told = csv_cell(value)
    assert float(told) == value and "e" not in told.lower()


@given(st.lists(st.tuples(st.text(), st.one_of(st.none(), st.integers(), st.floats())), min_size=1, max_size=5))
def test_every_row_comes_through(rows: list[tuple[str, object]]) -> None:
    table = pd.DataFrame({"a": [r[0] for r in rows], "b": pd.Series([r[1] for r in rows], dtype=object)})
    assert len(read_csv(tables.write_csv(table))) == 1 + len(rows)
    assert [list(row) for row in json.loads(tables.write_json(table))] == [["a", "b"]] * len(rows)


@pytest.mark.parametrize("name", ["../../etc/passwd", "Qwen/Qwen3 14B", "a" * 500, "<script>", "..."])
def test_a_file_name_holds_nothing_but_letters_digits_points_and_hyphens(name: str) -> None:
    told = name_file(name)
    assert told.startswith("weighbridge") and len(told) <= 120
    assert all(c.isascii() and (c.isalnum() or c in "-.") for c in told) and "/" not in told


def list_bare_tables() -> list[str]:
    """Where a page draws a table without offering its export."""
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "pages").rglob("*.py")
        if path.name != "tables.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("dataframe", "plotly_chart")
        if not (path.name == "frame.py" and node.attr == "plotly_chart")
    ]


def test_every_table_and_chart_of_every_page_can_be_taken_along() -> None:
    assert list_bare_tables() == []


def test_a_page_offers_its_table_as_csv_and_json() -> None:
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.switch_page("pages/sources.py").run()
    assert not app.exception
    keys = {button.key for button in app.get("download_button") if button.key}
    assert {"export_sources_csv", "export_sources_json"} <= keys


def test_a_chart_offers_its_file_by_a_name_that_tells_what_it_is() -> None:
    config = chart_files.build_config("context_memory")
    assert config["modeBarButtons"] == [["toImage"]]
    options = config["toImageButtonOptions"]
    assert isinstance(options, dict) and options["filename"] == "weighbridge-context-memory"
    json.dumps(config)

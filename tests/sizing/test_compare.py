"""Rows of a comparison: which differ, which value is best, and what leaves the app as CSV, Markdown and text."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.compare import Cell, Comparison, Row, SourceLine, check_count, mark_best
from sizing.compare_text import comparison_record, format_csv, format_markdown, format_text
from sizing.errors import BadInputError

NUMBERS = st.floats(-1e12, 1e12, allow_nan=False)
PLAIN = st.builds(lambda v: Cell(str(v), v), NUMBERS)
UNKNOWN = st.just(Cell("unknown"))
WIDE = st.builds(lambda v, a, b: Cell(f"about {v}", v, v - a, v + b), NUMBERS, st.floats(0, 1e9), st.floats(0, 1e9))
CELLS = st.lists(st.one_of(PLAIN, UNKNOWN, WIDE), min_size=1, max_size=6)


def row(*values: float | None, better: str | None = "more") -> Row:
    cells = tuple(Cell("unknown") if v is None else Cell(f"{v:g}", v) for v in values)
    return Row("Group", "Fact", cells, "units", better)  # type: ignore[arg-type]


def make(*rows: Row, names: tuple[str, ...] = ("One", "Two")) -> Comparison:
    ids = tuple(f"org/{name}" for name in names)
    source = SourceLine(names[0], "facts", "https://example.org/a", "2026-11")
    return Comparison(ids, names, rows, ("one slot of 8,192 tokens",), (source,))


@pytest.mark.parametrize(
    ("values", "better", "best"),
    [
        ((1, 2, 3), "more", {2}),
        ((1, 2, 3), "less", {0}),
        ((3, 2, 3), "more", {0, 2}),
        ((2, 2, 2), "more", set()),
        ((1, None), "more", set()),
        ((None, 5, 7), "more", {2}),
        ((1, 2), None, set()),
        ((-5, -7), "less", {1}),
    ],
)
def test_the_best_is_marked_only_where_something_is_better(
    values: tuple[float | None, ...], better: str | None, best: set[int]
) -> None:
    assert row(*values, better=better).best == best


def test_intervals_that_reach_the_best_one_are_level_with_it() -> None:
    cells = (Cell("a", 60.0, 55.0, 65.0), Cell("b", 62.0, 58.0, 66.0), Cell("c", 40.0, 38.0, 42.0))
    told = Row("Quality", "chat", cells, "points", "more")
    assert told.best == {0, 1}
    assert [mark_best(told, i) for i in range(3)] == ["among the best", "among the best", ""]
    assert Row("Quality", "chat", cells[:2], "points", "more").best == frozenset(), "nothing tells these two apart"


def reorder_rows(comparison: Comparison, order: list[int]) -> tuple[Row, ...]:
    """The rows as they must be with the models in another order."""
    return tuple(replace(row, cells=tuple(row.cells[i] for i in order)) for row in comparison.rows)


@given(CELLS, st.sampled_from(["more", "less", None]), st.randoms())
def test_the_order_of_models_changes_nothing_but_their_places(cells: list[Cell], better: str | None, random) -> None:  # type: ignore[no-untyped-def]
    names = tuple(f"M{i}" for i in range(len(cells)))
    before = make(Row("G", "F", tuple(cells), "u", better), names=names)  # type: ignore[arg-type]
    order = list(range(len(cells)))
    random.shuffle(order)
    (a,), (b,) = before.rows, reorder_rows(before, order)
    assert a.differs == b.differs
    assert {names[i] for i in a.best} == {names[order[i]] for i in b.best}


@given(CELLS, st.sampled_from(["more", "less"]))
def test_a_best_value_is_never_beaten(cells: list[Cell], better: str) -> None:
    told = Row("G", "F", tuple(cells), "u", better)  # type: ignore[arg-type]
    known = {i: c.value for i, c in enumerate(cells) if c.value is not None}
    if told.best:
        top = max(known.values()) if better == "more" else min(known.values())
        assert top in {known[i] for i in told.best}
        assert len(told.best) < len(known)


def test_equal_rows_do_not_differ() -> None:
    assert not row(1, 1).differs
    assert not row(None, None).differs
    assert row(1, None).differs
    shown = make(row(1, 1), row(1, 2)).of_group("Group", only_different=True)
    assert shown == (row(1, 2),)


@pytest.mark.parametrize(("n", "least", "said"), [(7, 0, "at most 6 models, got 7"), (1, 2, "2 to 6 models, got 1")])
def test_too_many_and_too_few_are_refused_in_words(n: int, least: int, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        check_count(n, least)
    check_count(6, 2)


def test_csv_holds_exact_numbers_assumptions_and_sources() -> None:
    exact = Row("Machine", "Memory", (Cell("11.8 GiB", 12_670_000_000), Cell("unknown")), "bytes", "less")
    wide = Row("Machine", "Speed", (Cell("31 to 44\u2009tokens/s", 37.0, 31.0, 44.0), Cell("does not run")), "tokens/s")
    rows = list(csv.reader(io.StringIO(format_csv(make(exact, wide)))))
    assert rows[0][-2:] == ["One", "Two"] and rows[1][-2:] == ["org/One", "org/Two"]
    assert rows[2] == ["Machine", "Memory", "bytes", "less", "yes", "", "12670000000", "unknown"]
    assert rows[3][-2:] == ["31 to 44 tokens/s", "does not run"]
    assert ["assumed", "one slot of 8,192 tokens"] in rows
    assert ["source", "One", "facts", "https://example.org/a", "2026-11"] in rows


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", '"a",b', "two\nlines"])
def test_csv_keeps_hostile_names_as_text(name: str) -> None:
    rows = list(csv.reader(io.StringIO(format_csv(make(row(1, 2), names=(name, "Two"))), newline="")))
    assert rows[0][6].lstrip("'") == name
    assert not rows[0][6].startswith(("=", "+", "-", "@"))
    assert len(rows[0]) == len(rows[2]) == 8


def test_markdown_is_tables_with_the_best_in_words() -> None:
    text = format_markdown(make(row(1, 2), names=("a|b", "![x](http://e.org)")))
    assert "| Fact | 1 | **2** (best) |" in text
    assert "a\\|b" in text and "![x](" not in text
    assert "## Assumed" in text and "<https://example.org/a>" in text


def test_text_says_what_is_equal_and_what_is_best() -> None:
    lines = format_text(make(row(1, 1), row(1, 2))).splitlines()
    assert any(line.startswith("= Fact") for line in lines)
    assert any(line.startswith("  Fact") and "* 2" in line for line in lines)


def test_the_record_names_the_best_by_model() -> None:
    record = comparison_record(make(row(1, 2), row(1, 1)))
    assert record["n_different"] == 1
    assert record["rows"][0]["best"] == ["org/Two"] and record["rows"][1]["best"] == []

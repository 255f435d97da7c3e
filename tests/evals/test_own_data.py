"""A person's own table: whatever the bytes, bad rows are named by line, good ones become items any suite could hold."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from evals import own_table
from evals.own_data import (
    BuiltItems,
    Mapping,
    build_items,
    list_own_suites,
    load_own_suite,
    read_table,
    read_table_file,
    save_own_suite,
    suggest_mapping,
)
from evals.own_pattern import find_pattern_problem
from evals.own_suites import ITEM_FIELDS, clean_name
from sizing.errors import BadInputError, DataFileError, UnknownNameError, WeighbridgeError

QA = Mapping("q", "a")


def read_csv(text: str) -> own_table.Table:
    return read_table(text.encode(), "data.csv")


def read_lines(*rows: Any) -> own_table.Table:
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    return read_table(text.encode(), "data.jsonl")


def build(mapping: Mapping, *rows: Any) -> BuiltItems:
    return build_items(read_lines(*rows), mapping)


def expected_of(mapping: Mapping, row: dict[str, Any]) -> Any:
    return json.loads(build(mapping, row).items[0]["expected"])


def problem_of(mapping: Mapping, row: dict[str, Any]) -> str:
    """What is wrong with the second row; the first is sound so that the build succeeds."""
    good = {"q": "x", "a": "1", "b": "2", "c": ["1", "2"], "n": 1}
    built = build(mapping, good, row)
    assert len(built.items) == 1
    assert [p.line for p in built.problems] == [2]
    return built.problems[0].what


# tables --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_csv_is_read_with_its_own_separator(delimiter: str) -> None:
    table = read_csv(f'q{delimiter}a\n"what, is;\t|it"{delimiter}it\'s\n')
    assert table.columns == ("q", "a")
    assert table.rows[0].cells == {"q": "what, is;\t|it", "a": "it's"}


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("id;the question, in full;answer\n1;a;b\n", ("id", "the question, in full", "answer")),
        ("one, two; three\nx, y; z\n", ("one", "two; three")),
        ("q,a|b\n'tis,1\nit's,2\n", ("q", "a|b")),
        ("q\nx,y\nz\n", ("q",)),
        ("a,b;c\n1;2\n3;4,5\n", ("a,b", "c")),
    ],
)
def test_a_header_with_several_signs_is_told_by_its_rows(text: str, columns: tuple[str, ...]) -> None:
    assert read_csv(text).columns == columns


def test_lines_are_those_of_the_file_with_breaks_inside_cells() -> None:
    table = read_csv('\nq,a\n"one\ntwo",1\n\nthree,3\nfour\n"five",5,5\n"six",6\n')
    assert [(row.line, row.cells["q"]) for row in table.rows] == [(3, "one\ntwo"), (6, "three"), (9, "six")]
    assert [p.line for p in table.problems] == [7, 8]
    assert "1 cells where the header has 2" in table.problems[0].what


def test_a_byte_order_mark_and_crlf_are_nothing_special() -> None:
    assert read_table("\ufeffq,a\r\nä,ö\r\n".encode(), "x.CSV").rows[0].cells == {"q": "ä", "a": "ö"}


def test_json_lines_are_read_by_name_or_by_their_first_character() -> None:
    data = b'{"q": "x", "a": [1, 2]}\n\n{"q": "y", "z": null}\n'
    for name in ("x.jsonl", "x.ndjson", "x.json", "upload"):
        table = read_table(data, name)
        assert table.columns == ("q", "a", "z")
        assert [(row.line, row.cells) for row in table.rows] == [
            (1, {"q": "x", "a": [1, 2]}),
            (3, {"q": "y", "z": None}),
        ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b" \n ", "empty"),
        ("q,a\nx,y\n".encode("utf-16"), "UTF-16"),
        ("q,a\nx,y\n".encode("utf-16-le"), "NUL byte on line 1"),
        (b"q,a\nx,y\nx,\x00\n", "NUL byte on line 3"),
        ("q,a\nx,y\nx,é\n".encode("latin-1"), "not UTF-8 .line 3"),
        (b"q,a\n", "only a header"),
        (b"q,q\nx,y\n", "twice: q"),
        (b"q,\nx,y\n", "without a name"),
        (b"1,2\n3,4\n", "first row must name"),
        (b'"q,a\nx,y\n', "no header that can be read"),
        (b",".join(b"c%d" % i for i in range(1_000_000)) + b"\n1\n", "1,000,000 columns"),
        (b"x" * 10_000_000, "no header that can be read"),
        (b"q,a\n" + b"x" * 10_000_000 + b",1\n", "line 2: not CSV"),
        (b"\x89PNG\r\n\x1a\n\x00", "NUL"),
    ],
)
def test_a_csv_that_cannot_be_read_says_why(data: bytes, words: str) -> None:
    with pytest.raises(BadInputError, match=words) as raised:
        read_table(data, "data.csv")
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "not JSON"),
        ('[{"q": "x"}]', "a JSON list"),
        ('{"q": 1},', "not JSON"),
        ("[", "one object a line"),
        ("3", "a JSON int"),
        ('{"q": NaN}', "NaN"),
        ('{"q": 1e999}', "too large"),
        ('{"q": ' + "9" * 5000 + "}", "not JSON"),
        ('{"q": "a", "q": "b"}', "twice"),
        ('{"q": "\\ud800"}', "surrogate"),
        ('{"q": "a\\u0000b"}', "NUL"),
        ('{"q": ' + "[" * 100_000 + "]" * 100_000 + "}", "too deep"),
        ('{"q": ' + "[" * 40 + "]" * 40 + "}", "deeper than 32"),
        (json.dumps({f"c{i}": 1 for i in range(50_000)}), "50,000 names"),
        ('{"q": "' + "x" * 10_000_000 + '"}', "a line of 10,000,009"),
        ('{"q": "' + "x" * 100_001 + '"}', "100,001"),
    ],
)
def test_a_json_line_that_cannot_be_read_is_named_and_the_others_kept(line: str, words: str) -> None:
    table = read_lines({"q": "good"}, line, {"q": "also"})
    assert [row.line for row in table.rows] == [1, 3]
    assert [p.line for p in table.problems] == [2]
    assert words in table.problems[0].what
    assert len(table.problems[0].what) < 300


def test_what_is_too_much_is_cut_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_table, "MAX_ROWS", 3)
    monkeypatch.setattr(own_table, "MAX_PROBLEMS", 2)
    for table in (read_csv("q,a\n" + "x\n" * 4 + "x,y\n" * 5), read_lines(*"1234", *[{"q": "x"}] * 5)):
        assert len(table.rows) == 3
        assert len(table.problems) == 4
        assert "2 further rows" in table.problems[-1].what
        assert "left out" in table.problems[2].what
    monkeypatch.setattr(own_table, "MAX_BYTES", 10)
    with pytest.raises(BadInputError, match="larger than"):
        read_csv("q,a\nlonger,row\n")


def test_objects_with_too_many_different_names_are_refused() -> None:
    with pytest.raises(BadInputError, match="different names"):
        read_lines(*({f"c{i}": 1} for i in range(300)))


def test_a_file_is_read_like_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("q,a\nx,y\n", encoding="utf-8")
    assert read_table_file(path) == read_table(path.read_bytes(), "t.csv")
    for wrong in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(BadInputError, match="cannot be read"):
            read_table_file(wrong)


# mappings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["Question", "Answer"], Mapping("Question", "Answer")),
        (
            ["id", "prompt", "target", "System Prompt", "topic"],
            Mapping("prompt", "target", (), "System Prompt", "topic"),
        ),
        (["question", "A", "B", "C", "answer"], Mapping("question", "answer", ("A", "B", "C"), scorer="choice")),
        (
            ["question", "choice 1", "choice 2", "label"],
            Mapping("question", "label", ("choice 1", "choice 2"), scorer="choice"),
        ),
        (["question", "choices", "answer"], Mapping("question", "answer", ("choices",), scorer="choice")),
        (["eins", "zwei"], Mapping("eins", "zwei")),
        (["prompt", "system"], Mapping("prompt", system="system", scorer="judge")),
    ],
)
def test_a_mapping_is_suggested_by_the_names(columns: list[str], expected: Mapping) -> None:
    assert suggest_mapping(columns) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": ""},
        {"expected": ""},
        {"scorer": "vibes"},
        {"scorer": "choice"},
        {"choices": ("c",)},
        {"answer_form": "maybe"},
        {"tolerance": -1},
        {"tolerance": float("inf")},
        {"tolerance": float("nan")},
        {"max_tokens": 0},
    ],
)
def test_a_mapping_that_contradicts_itself_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        Mapping(**{"prompt": "q", "expected": "a", **wrong})


def test_a_column_the_data_lacks_is_named() -> None:
    with pytest.raises(BadInputError, match="no column 'b'; it has q, a"):
        build_items(read_csv("q,a\n1,2\n"), Mapping("q", "b"))


# items ---------------------------------------------------------------------------------------------------------------


def test_an_item_holds_what_every_suite_holds() -> None:
    mapping = Mapping("q", "a", system="s", category="k", max_tokens=9)
    built = build_items(read_csv("q,a,s,k\n what? , yes ,be kind,logic\n"), mapping)
    (item,) = built.items
    assert {name: type(value) for name, value in item.items()} == ITEM_FIELDS
    assert (item["prompt"], item["system"], item["scorer"], item["category"], item["max_tokens"]) == (
        " what? ",
        "be kind",
        "exact",
        "logic",
        9,
    )
    assert json.loads(item["expected"]) == {"answers": ["yes"], "ignore_case": True}
    assert re.fullmatch(r"2-[0-9a-f]{12}", item["id"])


def test_ids_follow_line_and_content() -> None:
    first, second = build_items(read_csv("q,a\nx,1\nx,1\n"), QA).items
    again = build_items(read_csv("q,a\nx,1\nx,2\n"), QA).items
    assert first["id"] == again[0]["id"]
    assert len({first["id"], second["id"], again[1]["id"]}) == 3
    assert second["id"].split("-")[1] == first["id"].split("-")[1] != again[1]["id"].split("-")[1]


def test_bad_rows_are_named_in_order_and_good_ones_kept() -> None:
    built = build_items(read_csv("q,a\n,1\nx,\nz\ny,2\n"), QA)
    assert [item["prompt"] for item in built.items] == ["y"]
    assert [p.line for p in built.problems] == [2, 3, 4]
    assert "prompt" in built.problems[0].what and "missing" in built.problems[1].what
    assert built.preview(3) == built.items


def test_no_good_row_is_an_error_with_the_first_reasons() -> None:
    with pytest.raises(BadInputError, match="line 1: .*missing"):
        build(QA, {"q": "x", "a": None}, {"q": "y", "a": " "})


@pytest.mark.parametrize(
    ("mapping", "row", "expected"),
    [
        (QA, {"q": "x", "a": ["one", "1"]}, {"answers": ["one", "1"], "ignore_case": True}),
        (QA, {"q": "x", "a": 7}, {"answers": ["7"], "ignore_case": True}),
        (
            Mapping("q", "a", separator="|", ignore_case=False),
            {"q": "x", "a": "b | c|"},
            {"answers": ["b", "c"], "ignore_case": False},
        ),
        (
            Mapping("q", "a", scorer="contains", separator=","),
            {"q": "x", "a": "b,c"},
            {"all": ["b", "c"], "ignore_case": True},
        ),
        (Mapping("q", "a", scorer="regex"), {"q": "x", "a": r"^\d+$"}, {"pattern": r"^\d+$"}),
        (
            Mapping("q", "a", scorer="numeric", tolerance=0.5, relative=True),
            {"q": "x", "a": "-1,234.5"},
            {"value": -1234.5, "tolerance": 0.5, "relative": True},
        ),
        (
            Mapping("q", "a", scorer="numeric"),
            {"q": "x", "a": "1e3"},
            {"value": 1000.0, "tolerance": 0.0, "relative": False},
        ),
        (Mapping("q", "a", scorer="json_equal"), {"q": "x", "a": '{"b": [1]}'}, {"b": [1]}),
        (Mapping("q", "a", scorer="json_equal"), {"q": "x", "a": {"b": None}}, {"b": None}),
        (Mapping("q", "a", scorer="judge", rubric="R"), {"q": "x", "a": "ref"}, {"reference": "ref", "rubric": "R"}),
        (Mapping("q", "a", scorer="judge"), {"q": "x", "a": ""}, {"reference": "", "rubric": ""}),
    ],
)
def test_each_scorer_gets_its_expectation(mapping: Mapping, row: dict[str, Any], expected: Any) -> None:
    assert expected_of(mapping, row) == expected


@pytest.mark.parametrize(
    ("scorer", "answer", "words"),
    [
        ("numeric", "twelve", "no number"),
        ("numeric", "3,5", "no number"),
        ("numeric", "12 km", "no number"),
        ("numeric", "nan", "no number"),
        ("numeric", "1e999", "no number that can be compared"),
        ("numeric", "٣", "no number"),
        ("numeric", True, "no number that can be compared"),
        ("numeric", 10**400, "no number that can be compared"),
        ("regex", "(", "is none"),
        ("regex", 3, "a pattern is text"),
        ("regex", "(a+)+$", "forever"),
        ("regex", "a" * 1001, "1,001"),
        ("json_equal", "{", "no JSON"),
        ("json_equal", "NaN", "no JSON"),
        ("exact", None, "missing"),
        ("exact", [], "no accepted"),
        ("contains", [""], "no text"),
    ],
)
def test_an_expectation_without_sense_is_named(scorer: str, answer: Any, words: str) -> None:
    assert words in problem_of(Mapping("q", "a", scorer=scorer), {"q": "x", "a": answer})


CHOICE = Mapping("q", "a", ("c",), scorer="choice")


@pytest.mark.parametrize(
    ("choices", "answer", "form", "letter"),
    [
        (["red", "blue"], "blue", "auto", "B"),
        (["red", "blue"], "BLUE", "auto", "B"),
        (["red", "blue"], "b", "auto", "B"),
        (["red", "blue"], "(A)", "auto", "A"),
        (["1", "2", "3"], "2", "auto", "B"),
        (["1", "2", "3"], 2, "text", "B"),
        (["1", "2", "3"], 2, "index0", "C"),
        (["1", "2", "3"], "2", "index1", "B"),
        (["B", "A"], "A", "letter", "A"),
        (["B", "A"], "A", "text", "B"),
        (["A", "B"], "A", "auto", "A"),
        ('["x, y", "z"]', "z", "auto", "B"),
        ("x|y|z", "z", "auto", "C"),
        ("x\ny; still y", "y; still y", "auto", "B"),
        ({"text": ["x", "y"], "label": ["A", "B"]}, "B", "auto", "B"),
    ],
)
def test_the_right_choice_is_found(choices: Any, answer: Any, form: str, letter: str) -> None:
    mapping = Mapping("q", "a", ("c",), scorer="choice", answer_form=form)
    assert expected_of(mapping, {"q": "x", "a": answer, "c": choices})["letter"] == letter


@pytest.mark.parametrize(
    ("choices", "answer", "words"),
    [
        (["red", "blue"], "green", "not among"),
        (["red", "blue"], "C", "not among"),
        (["red", "blue"], 1, "from 0 or 1"),
        (["B", "A"], "A", "letter of one choice and the text of another"),
        (["red"], "red", "2 to 26"),
        (["red", "red"], "red", "the same"),
        ([str(i) for i in range(27)], "3", "2 to 26"),
        ("[broken", "A", "no JSON list"),
        (None, "A", "2 to 26"),
    ],
)
def test_a_question_without_one_right_choice_is_named(choices: Any, answer: Any, words: str) -> None:
    assert words in problem_of(CHOICE, {"q": "x", "a": answer, "c": choices})


def test_choices_are_lettered_under_the_question() -> None:
    table = read_csv("q,one,two,three,a\nWhich? ,x,y,,y\nWhich?,x,,z,x\n")
    built = build_items(table, Mapping("q", "a", ("one", "two", "three"), scorer="choice"))
    (item,) = built.items
    assert item["prompt"].startswith("Which?\n\nA) x\nB) y\n\n")
    assert "letter" in item["prompt"].splitlines()[-1]
    assert json.loads(item["expected"]) == {"letter": "B", "choices": ["x", "y"]}
    assert "choice B is empty" in built.problems[0].what


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+", "(a*)*b", r"(\w+\s?)+$", "(a|aa)+", "(.*,){40,}x", r"(x+x+)+y", ".*" * 5, r"(a)(\1)*", "(a{1,50})*"],
)
def test_a_pattern_that_may_run_away_is_refused(pattern: str) -> None:
    assert "forever" in find_pattern_problem(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^\s*(\d+)\s*$",
        "(foo|bar)*",
        r"(\d{3}-)+\d{4}",
        "(a|b)+",
        r"(?i)yes|no",
        r"\b\w+@\w+\.\w+\b",
        "(a{1,3}){1,5}",
        "",
    ],
)
def test_a_harmless_pattern_is_taken(pattern: str) -> None:
    assert find_pattern_problem(pattern) == ""


# suites on disk ------------------------------------------------------------------------------------------------------


def make_items(n_items: int = 3) -> tuple[dict[str, Any], ...]:
    return build(QA, *({"q": f"é {i}\u2028", "a": str(i)} for i in range(n_items))).items


def test_a_suite_comes_back_as_saved(tmp_path: Path) -> None:
    path = save_own_suite(tmp_path, "My tickets", make_items(), "from May")
    suite = load_own_suite(tmp_path, "My tickets")
    assert suite.items == make_items()
    assert (suite.head.name, suite.head.note, suite.head.n_items, suite.head.path) == (
        "My-tickets",
        "from May",
        3,
        path,
    )
    assert list_own_suites(tmp_path) == (suite.head,)
    assert [file.name for file in path.parent.iterdir()] == ["My-tickets.jsonl"]


def test_the_version_is_that_of_the_items(tmp_path: Path) -> None:
    for name, items in (("a", make_items()), ("b", make_items()), ("c", make_items()[::-1]), ("d", make_items(4))):
        save_own_suite(tmp_path, name, items, note=name)
    versions = [head.version for head in list_own_suites(tmp_path)]
    assert versions[0] == versions[1]
    assert len(set(versions)) == 3
    assert all(re.fullmatch("[0-9a-f]{64}", version) for version in versions)


@pytest.mark.parametrize(
    "name", ["../up", "/etc/x", "..", "a/../../b", "C:\\x", ".hidden", "a\0b", "x" * 300, "NUL", "ünï"]
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    try:
        save_own_suite(home, name, make_items())
    except BadInputError:
        assert not any(tmp_path.rglob("*.jsonl"))
        return
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.parent for path in written] == [home / "own_suites"]
    assert load_own_suite(home, name).items == make_items()
    assert not written[0].name.startswith(".") and len(written[0].name) < 80 and written[0].stem.upper() != "NUL"


@pytest.mark.parametrize("name", ["", "...", "日本", "/"])
def test_a_name_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(BadInputError):
        clean_name(name)


def test_a_missing_suite_names_near_ones(tmp_path: Path) -> None:
    save_own_suite(tmp_path, "tickets", make_items())
    with pytest.raises(UnknownNameError, match="did you mean tickets"):
        load_own_suite(tmp_path, "ticket")
    assert list_own_suites(tmp_path / "elsewhere") == ()


def test_a_changed_or_broken_file_is_named(tmp_path: Path) -> None:
    path = save_own_suite(tmp_path, "s", make_items())
    sound = path.read_text()
    for broken in (
        sound.replace("\\u00e9 1", "other"),
        sound[: len(sound) // 2],
        "\n".join(sound.splitlines()[:-1]),
        "\n".join(sound.splitlines()[1:]),
        "",
        "{}\n",
        sound + "[1]\n",
        sound + '{"id": 3}\n',
        "\x00\xff",
        "[" * 100_000,
    ):
        assert broken != sound
        path.write_text(broken, encoding="latin-1")
        with pytest.raises(DataFileError):
            load_own_suite(tmp_path, "s")
        assert list_own_suites(tmp_path)[0].problem


@pytest.mark.parametrize(
    "change", [{"max_tokens": "9"}, {"max_tokens": True}, {"expected": "{"}, {"extra": 1}, {"prompt": None}]
)
def test_items_of_another_form_are_not_saved(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        save_own_suite(tmp_path, "s", [{**make_items()[0], **change}])
    assert not any(tmp_path.rglob("*.jsonl"))


def test_a_suite_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "own_suites").write_text("in the way")
    with pytest.raises(WeighbridgeError, match="cannot be written"):
        save_own_suite(tmp_path, "s", make_items())
    with pytest.raises(BadInputError):
        save_own_suite(tmp_path, "s", [])

"""Your own data as a suite: upload a table, say what its columns mean, look at the first items, save it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from html import escape

import pandas as pd
import streamlit as st

from evals.own_data import (
    BuiltItems,
    Mapping,
    RowProblem,
    Table,
    build_items,
    read_table,
    save_own_suite,
    suggest_mapping,
)
from evals.plans import OWN_PREFIX
from pages.ui import frame, inputs, tables
from pages.ui.evaluate_words import shorten
from pages.ui.evaluation import OwnSuite, find_home
from pages.ui.markdown_text import escape_markdown
from sizing.errors import WeighbridgeError

SCORER_WORDS = {
    "exact": "The whole answer, exactly",
    "contains": "The answer contains it",
    "regex": "A pattern (regex) matches",
    "numeric": "A number, with a tolerance",
    "choice": "Multiple choice",
    "json_equal": "Equal JSON",
    "judge": "A model judges it",
}
NONE = ""
ANSWER_WORDS = {
    "auto": "its text or its letter",
    "text": "its text",
    "letter": "its letter",
    "index0": "its place, from 0",
    "index1": "its place, from 1",
}
MAX_PROBLEMS_SHOWN = 50
N_PREVIEW = 5


def show(own: Sequence[OwnSuite]) -> None:
    """What was saved before, and the way to one more."""
    said = inputs.take("own_saved", "")
    if said:
        st.success(said, icon=":material/check:")
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.subheader("A table of questions", anchor=False)
        file = st.file_uploader(
            "CSV or JSONL, one question a row",
            type=["csv", "tsv", "txt", "jsonl", "ndjson", "json"],
            key="own_file",
        )
        st.caption("It stays on this machine. 150 rows tell a score to about 8 points, 600 to about 4.")
        table = None if file is None else read(file.getvalue(), file.name)
    if table is None or file is None:
        with right:
            show_saved(own)
        return
    mark = hashlib.sha256(file.getvalue()).hexdigest()[:12]
    with left:
        mapping = choose_mapping(table, mark)
        built = None if mapping is None else build(table, mapping)
        if built is not None:
            show_save(built, file.name, mark)
    with right:
        if built is not None:
            show_preview(built)
        show_problems(built.problems if built is not None else table.problems)


def read(data: bytes, name: str) -> Table | None:
    """The table of an upload; None where there is none, which is said."""
    try:
        return read_table(data, name)
    except WeighbridgeError as error:
        _warn(str(error))
    return None


def _warn(text: str) -> None:
    """A sentence that may quote the person's file, which is not read as Markdown."""
    st.warning(escape_markdown(frame.to_sentence(text)), icon=":material/table:")


def choose_mapping(table: Table, mark: str) -> Mapping | None:
    """What each column means, preset by the columns' names; None where that cannot be, which is said."""
    try:
        usual = suggest_mapping(table.columns)
    except WeighbridgeError as error:
        _warn(str(error))
        return None
    columns, optional = table.columns, (NONE, *table.columns)
    prompt = st.selectbox("Question", columns, columns.index(usual.prompt), key=f"own_prompt_{mark}")
    scorers = tuple(SCORER_WORDS)
    scorer = st.selectbox(
        "Right when",
        scorers,
        scorers.index(usual.scorer),
        format_func=SCORER_WORDS.__getitem__,
        key=f"own_scorer_{mark}",
    )
    expected = st.selectbox(
        "Expected answer" if scorer != "judge" else "Reference answer for the judge",
        optional,
        optional.index(usual.expected),
        format_func=_name_column,
        key=f"own_expected_{mark}",
    )
    more = choose_details(table, usual, scorer, mark)
    with st.popover("More columns", type="tertiary", icon=":material/tune:"):
        system = st.selectbox(
            "System text", optional, optional.index(usual.system), format_func=_name_column, key=f"own_system_{mark}"
        )
        category = st.selectbox(
            "Category", optional, optional.index(usual.category), format_func=_name_column, key=f"own_category_{mark}"
        )
        most = st.number_input("Longest answer, tokens", 1, 100_000, usual.max_tokens, key=f"own_tokens_{mark}")
    try:
        return Mapping(prompt, expected, system=system, category=category, scorer=scorer, max_tokens=most, **more)
    except WeighbridgeError as error:
        _warn(str(error))
    return None


def _name_column(column: str) -> str:
    return column or "none"


def choose_details(table: Table, usual: Mapping, scorer: str, mark: str) -> dict[str, object]:
    """What only one way of scoring asks for."""
    if scorer == "choice":
        choices = st.multiselect(
            "Choices: one column with a list, or one for each", table.columns, usual.choices, key=f"own_choices_{mark}"
        )
        form = st.selectbox(
            "The right one is named by",
            tuple(ANSWER_WORDS),
            format_func=ANSWER_WORDS.__getitem__,
            key=f"own_form_{mark}",
        )
        return {"choices": tuple(choices), "answer_form": form}
    if scorer == "numeric":
        tolerance = st.number_input("May be off by", 0.0, None, 0.0, format="%g", key=f"own_tolerance_{mark}")
        relative = st.checkbox("as a share of the value", key=f"own_relative_{mark}")
        return {"tolerance": tolerance, "relative": relative}
    if scorer in ("exact", "contains"):
        separator = st.text_input(
            "Several answers in a cell are parted by",
            key=f"own_separator_{mark}",
            placeholder="one answer",
            max_chars=5,
        )
        return {"separator": separator, "ignore_case": not st.checkbox("Case counts", key=f"own_case_{mark}")}
    if scorer == "judge":
        return {"rubric": st.text_area("What the judge looks at", key=f"own_rubric_{mark}", max_chars=4000)}
    return {}


def build(table: Table, mapping: Mapping) -> BuiltItems | None:
    """The items; None where no row makes one, which is said."""
    try:
        return build_items(table, mapping)
    except WeighbridgeError as error:
        _warn(str(error))
    return None


def show_save(built: BuiltItems, file_name: str, mark: str) -> None:
    """A name and the button that makes it a suite."""
    name = st.text_input("Save as", file_name.rsplit(".", 1)[0][:40], key=f"own_name_{mark}", max_chars=60)
    st.button(
        f"Save {len(built.items):,} questions as a suite",
        key="own_save",
        icon=":material/save:",
        on_click=inputs.remember,
        args=("own_wanted", True),
    )
    if inputs.take("own_wanted"):
        save(name, built, file_name)


def save(name: str, built: BuiltItems, file_name: str) -> None:
    """Save the suite and choose it; what went wrong is said."""
    try:
        path = save_own_suite(find_home(), name, built.items, f"from {file_name[:100]}")
    except (WeighbridgeError, OSError) as error:
        _warn(str(error))
        return
    inputs.remember("own_saved", f"{len(built.items):,} questions are saved; the suite is chosen above.")
    inputs.add_value("suites", f"{OWN_PREFIX}{path.stem}")
    st.rerun()


def show_preview(built: BuiltItems) -> None:
    """The first items as they will be asked."""
    st.subheader(f"The first of {len(built.items):,} questions, as they will be asked", anchor=False)
    for item in built.preview(N_PREVIEW):
        system = f"[system] {item['system']}\n\n" if item["system"] else ""
        st.code(f"{system}{shorten_long(item['prompt'])}", language=None, wrap_lines=True)
        expected = shorten(describe_expected(item["scorer"], item["expected"]), 300)
        st.html(f'<p class="wb-quiet">Expected: {escape(expected)}</p>')


def describe_expected(scorer: str, text: str) -> str:
    """What an item's scorer wants, as a person wrote it. `text` is the item's JSON, in its scorer's form."""
    wanted = json.loads(text)
    if scorer == "exact":
        return " or ".join(wanted["answers"])
    if scorer == "contains":
        return " and ".join(wanted["all"])
    if scorer == "numeric":
        share = " of it" if wanted["relative"] else ""
        within = f", within {wanted['tolerance']:g}{share}" if wanted["tolerance"] else ""
        return f"{wanted['value']:g}{within}"
    name = {"choice": "letter", "regex": "pattern", "judge": "reference"}.get(scorer)
    if name is None:
        return json.dumps(wanted, ensure_ascii=False)
    return str(wanted[name]) or "what the judge finds good"


def shorten_long(text: str, most: int = 1200) -> str:
    """Text cut in its middle, line breaks kept."""
    return text if len(text) <= most else f"{text[: most // 2]}\n[...]\n{text[-most // 2 :]}"


def show_problems(problems: Sequence[RowProblem]) -> None:
    """Rows that make no item, by their line in the file."""
    if not problems:
        return
    st.subheader(f"{len(problems):,} rows are left out", anchor=False)
    shown = problems[:MAX_PROBLEMS_SHOWN]
    table = pd.DataFrame({"Line": [p.line or None for p in shown], "What is wrong": [p.what for p in shown]})
    tables.show_table(
        table,
        "own_problems",
        name="rows-left-out",
        height="content" if len(shown) < 9 else 320,
        column_config={"What is wrong": st.column_config.TextColumn(width="large")},
    )
    if len(problems) > len(shown):
        st.caption(f"And {len(problems) - len(shown):,} more.")


def show_saved(own: Sequence[OwnSuite]) -> None:
    """The suites of earlier uploads, or what a table may look like."""
    if not own:
        st.subheader("What a table looks like", anchor=False)
        st.code(
            "question,answer,topic\n"
            '"Which form do I file for a refund?",R-12,forms\n'
            '"How many days are there to appeal?",30,deadlines',
            language=None,
        )
        st.caption(
            "Names of columns are recognised; each can be changed. Nothing is uploaded anywhere but to this app."
        )
        return
    st.subheader(f"Saved here: {len(own)}", anchor=False)
    table = pd.DataFrame(
        {
            "Suite": [o.title for o in own],
            "Questions": [o.n_items for o in own],
            "Note": [o.note for o in own],
            "Saved": [o.created_at[:16].replace("T", " ") for o in own],
        }
    )
    tables.show_table(table, "own_table", name="own-suites", column_config=frame.right_aligned("Questions"))

"""A table as every page shows it, with a quiet way to take it along as CSV or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

import pandas as pd
import streamlit as st

from pages.ui import words
from pages.ui.shown_table import ShownTable
from sizing.safe_text import csv_line, name_file, plain_spaces

Table = pd.DataFrame | ShownTable
Value = str | int | float | bool | None
"""What an exported cell may hold; None is what is not known."""

AS_SHOWN = "as shown"
"""How the column is called that holds the words shown for a number, such as an interval for its middle."""


def show_table(
    table: Table,
    key: str,
    *,
    name: str = "",
    height: int | Literal["auto", "content", "stretch"] = "auto",
    width: int | Literal["stretch", "content"] = "stretch",
    column_config: Mapping[str, Any] | None = None,
    selection_mode: Literal["single-row", "multi-row"] | None = None,
    in_popover: bool = False,
) -> None:
    """A table without row numbers, and under it the button that exports it.

    `key` names the widget; `name` the files, the key where it is not given. With a `selection_mode` rows can be picked
    and `inputs.picked_rows` tells which. What is not known is shown as 'unknown' and exported empty. A table that
    stands `in_popover` has its two buttons side by side: a popover cannot hold another.
    """
    with st.container(gap="xsmall"):
        st.dataframe(
            table.to_styler() if isinstance(table, ShownTable) else table,
            hide_index=True,
            key=key,
            height=height,
            width=width,
            column_config=column_config,
            alt=describe_table(table.data if isinstance(table, ShownTable) else table),
            placeholder=words.UNKNOWN if isinstance(table, ShownTable) else None,
            on_select="rerun" if selection_mode else "ignore",
            selection_mode=selection_mode or "multi-row",
        )
        show_export(table, key, name or key, in_popover=in_popover)


def describe_table(frame: pd.DataFrame) -> str:
    """A table in words, for who cannot see it: its rows and the names of its columns."""
    return f"Table of {len(frame.index)} rows: {', '.join(map(str, frame.columns))}"


def show_export(table: Table, key: str, name: str, *, in_popover: bool = False) -> None:
    """A quiet button that opens to a table's two files; they are written when one is asked for."""
    stem = name_file(name)
    place = (
        st.container(horizontal=True, gap="small")
        if in_popover
        else st.popover("Export", type="tertiary", icon=":material/download:", key=f"export_{key}")
    )
    for label, mime, write in (("CSV", "text/csv", write_csv), ("JSON", "application/json", write_json)):
        place.download_button(
            label,
            lambda write=write: write(table),
            f"{stem}.{label.lower()}",
            mime,
            key=f"export_{key}_{label.lower()}",
            type="tertiary",
            on_click="ignore",
        )


def write_csv(table: Table) -> str:
    """A table as CSV (RFC 4180): the names shown with their units, then a line a row.

    Numbers are plain, what is not known is empty, and text that a spreadsheet would take for a formula begins with an
    apostrophe.
    """
    columns = list_columns(table)
    lines = [csv_line(name for name, _ in columns)]
    lines += [csv_line(row) for row in zip(*(values for _, values in columns), strict=True)]
    return "".join(f"{line}\r\n" for line in lines)


def write_json(table: Table) -> str:
    """A table as JSON: a list of rows, each with every column under the name shown, null for what is not known."""
    columns = list_columns(table)
    names = [name for name, _ in columns]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*(values for _, values in columns), strict=True)]
    return json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def list_columns(table: Table) -> list[tuple[str, list[Value]]]:
    """The columns of a table, its name and its plain values.

    A number that is shown as more than itself has a second column, with the words shown.
    """
    data = table.data if isinstance(table, ShownTable) else table
    shown = table.texts if isinstance(table, ShownTable) else {}
    found: list[tuple[str, list[Value]]] = []
    for place, name in enumerate(data.columns):
        values = [to_value(x) for x in data.iloc[:, place].tolist()]
        found.append((plain_spaces(str(name)), values))
        texts = [plain_spaces(text) for text in shown.get(str(name), ())]
        is_number = any(isinstance(x, int | float) for x in values)
        if is_number and len(texts) == len(values) and any(map(_says_more, values, texts)):
            found.append((f"{plain_spaces(str(name))}, {AS_SHOWN}", [None if t == words.UNKNOWN else t for t in texts]))
    return found


def to_value(cell: Any) -> Value:
    """A cell as a plain value: None for what is not known, dates as ISO text, lists joined by commas."""
    if isinstance(cell, list | tuple | set | frozenset):
        return ", ".join(str(part) for part in cell)
    if cell is None or cell is pd.NaT or cell is pd.NA or (isinstance(cell, float) and not math.isfinite(cell)):
        return None
    if isinstance(cell, bool | int | float):
        return cell
    if pd.api.types.is_integer(cell):
        return int(cell)
    if isinstance(cell, date):
        return cell.isoformat()
    text = plain_spaces(str(cell))
    return None if text in ("", words.UNKNOWN) else text


def _says_more(value: Value, text: str) -> bool:
    """Whether the words shown for a number are more than the number itself, written short."""
    if value is None:
        return text not in ("", words.UNKNOWN)
    try:
        float(text.replace(",", ""))
    except ValueError:
        return True
    return False

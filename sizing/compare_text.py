"""A comparison as CSV, as Markdown, as text for a terminal and as a JSON record, each with assumptions and sources.

Names and licences are others' words: they are quoted so that they stay text in a spreadsheet and in Markdown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sizing.compare import Cell, Comparison, Row, mark_best
from sizing.safe_text import csv_line, markdown_text, plain_url


def format_csv(comparison: Comparison) -> str:
    """A row a fact, a column a model; exact numbers where there are any, then the assumptions and the sources.

    Quoting as RFC 4180 has it; text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    head = ["group", "fact", "unit", "better", "differs", "best", *comparison.names]
    ids = ["", "repository", "", "", "", "", *comparison.model_ids]
    lines = [csv_line(head), csv_line(ids)]
    for row in comparison.rows:
        best = " | ".join(comparison.names[i] for i in sorted(row.best))
        told = [row.group, row.label, row.unit, row.better or "", "yes" if row.differs else "no", best]
        lines.append(csv_line([*told, *map(_csv_cell, row.cells)]))
    lines += [csv_line(["assumed", text]) for text in comparison.assumptions]
    lines += [csv_line(["source", s.model, s.what, s.url, s.as_of]) for s in comparison.sources]
    return "".join(f"{line}\r\n" for line in lines)


def _csv_cell(cell: Cell) -> str | float:
    """The number where it is certain, else the words."""
    if cell.value is None or cell.low is not None or cell.high is not None:
        return cell.text
    return int(cell.value) if float(cell.value).is_integer() else float(f"{cell.value:.6g}")


def format_markdown(comparison: Comparison) -> str:
    """A table a group, the best of a row in bold with its word, then assumptions and sources."""
    lines = ["# " + " and ".join(map(markdown_text, comparison.names)), ""]
    for group in comparison.groups:
        lines += [f"## {markdown_text(group)}", ""]
        lines.append("| | " + " | ".join(map(markdown_text, comparison.names)) + " |")
        lines.append("|:--" * (1 + len(comparison.names)) + "|")
        lines += [_markdown_row(row) for row in comparison.of_group(group)]
        lines.append("")
    lines += ["## Assumed", "", *(f"- {markdown_text(text)}" for text in comparison.assumptions), ""]
    lines += ["## Sources", ""]
    lines += [f"- {markdown_text(f'{s.model}, {s.what}')}, {s.as_of}: <{plain_url(s.url)}>" for s in comparison.sources]
    return "\n".join(lines) + "\n"


def _markdown_row(row: Row) -> str:
    texts = []
    for place, cell in enumerate(row.cells):
        word, text = mark_best(row, place), markdown_text(cell.text)
        texts.append(f"**{text}** ({word})" if word else text)
    return f"| {markdown_text(row.label)} | {' | '.join(texts)} |"


def format_text(comparison: Comparison) -> str:
    """The comparison for a terminal: columns side by side, `*` before a best value, `=` before a row that is equal."""
    width = max(len(row.label) for row in comparison.rows)
    texts = [[_terminal_text(row, i) for i in range(len(comparison.names))] for row in comparison.rows]
    wide = [
        max(len(name), *(min(len(t[i]), 44) for t in texts)) if texts else len(name)
        for i, name in enumerate(comparison.names)
    ]
    lines = [f"  {'':<{width}}  " + _columns(comparison.names, wide)]
    group = ""
    for row, told in zip(comparison.rows, texts, strict=True):
        if row.group != group:
            group = row.group
            lines += ["", group]
        lines.append(f"{' ' if row.differs else '='} {row.label:<{width}}  {_columns(told, wide)}")
    lines += ["", "* best of its row where one way is better and the intervals tell; = the models are alike", ""]
    return "\n".join([*lines, *(f"- {text}" for text in comparison.assumptions)])


def _terminal_text(row: Row, place: int) -> str:
    return ("* " if place in row.best else "") + row.cells[place].text


def _columns(texts: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{text:<{width}}" for text, width in zip(texts, widths, strict=True)).rstrip()


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON; a best value is named by its model."""
    return {
        "models": [
            {"model": model_id, "name": name}
            for model_id, name in zip(comparison.model_ids, comparison.names, strict=True)
        ],
        "n_different": comparison.n_different,
        "rows": [_row_record(row, comparison.model_ids) for row in comparison.rows],
        "assumptions": list(comparison.assumptions),
        "sources": [
            {"model": s.model, "what": s.what, "source_url": s.url, "as_of": s.as_of} for s in comparison.sources
        ],
    }


def _row_record(row: Row, model_ids: Sequence[str]) -> dict[str, Any]:
    return {
        "group": row.group,
        "label": row.label,
        "unit": row.unit,
        "better": row.better,
        "differs": row.differs,
        "best": [model_ids[i] for i in sorted(row.best)],
        "cells": [{"text": c.text, "value": c.value, "low": c.low, "high": c.high} for c in row.cells],
    }

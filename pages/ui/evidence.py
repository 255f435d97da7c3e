"""The published scores behind a model's place in a task, each with its source and how far it pulls."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from catalog import queries
from catalog.quality import QualityEvidence, ScoreRow
from pages.ui import cached, frame, tables, words
from sizing.units import format_figures, format_range

MOST_PIXELS = 420

PULL_HELP = (
    "Points by which the model's score would fall without this row (below zero: by which it would rise), all other "
    "rows and the scale held."
)


def find_evidence(model_id: str, task: str) -> QualityEvidence | None:
    """What is published of a model for a task, None where nothing is."""
    return next((e for e in queries.list_quality(cached.catalog(), task) if e.model_id == model_id), None)


def show(model_id: str, task: str, key: str) -> None:
    """A quiet button that opens to the rows behind a model's evidence; nothing where there is none."""
    evidence = find_evidence(model_id, task)
    if evidence is None:
        return
    scores = "score" if evidence.n_scores == 1 else "scores"
    with st.popover(f"{evidence.n_scores} {scores} behind it", type="tertiary"):
        show_rows(evidence, key)


def show_basis(model_id: str, task: str, key: str, assumptions: Sequence[str]) -> None:
    """A quiet button that opens to what an answer rests on: the rows behind its evidence, and what was assumed."""
    evidence = find_evidence(model_id, task)
    with st.popover("What it rests on", type="tertiary", icon=":material/fact_check:"):
        if evidence is not None:
            show_rows(evidence, key)
        st.markdown("\n".join(["**Assumed**", "", *(f"- {frame.to_sentence(text)}" for text in assumptions)]))


def show_rows(evidence: QualityEvidence, key: str) -> None:
    """The rows as a table with one sentence that says how they became one score."""
    link = st.column_config.LinkColumn(display_text=r"https?://(?:www\.)?([^/]+)")
    st.caption(describe(evidence))
    tables.show_table(
        words.style_table(build_table(evidence)),
        f"evidence_{key}",
        name=f"scores-{evidence.model_id}-{evidence.task}",
        width=760,
        height=frame.table_height(evidence.n_scores, MOST_PIXELS),
        column_config={"Source": link, "Pulls, points": st.column_config.NumberColumn(help=PULL_HELP)},
        in_popover=True,
    )


def describe(evidence: QualityEvidence) -> str:
    """'chat: 81 of 100 (75 to 85, 80% interval), from 4 scores, 1 independent', and what was done to them."""
    scores = "score" if evidence.n_scores == 1 else "scores"
    return (
        f"{evidence.task.capitalize()}: {format_figures(evidence.score)} of 100 "
        f"({format_range(evidence.low, evidence.high)}, an 80% interval), from {evidence.n_scores} {scores}, "
        f"{evidence.n_independent} independent. Benchmarks of unlike difficulty are brought to one scale by all "
        "models' scores at once; publishers' own scores count less and are lowered by what they usually overstate; few "
        "scores are tempered by what models of the same size and date reach."
    )


def build_table(evidence: QualityEvidence) -> pd.DataFrame:
    """One row a score, the strongest pull first."""
    pairs = sorted(zip(evidence.rows, evidence.pulls, strict=True), key=lambda pair: -abs(pair[1]))
    return pd.DataFrame(
        {
            "Benchmark": [" ".join(filter(None, (row.benchmark, row.variant))) for row, _ in pairs],
            "Score": [row.score for row, _ in pairs],
            "Pulls, points": [pull for _, pull in pairs],
            "Setting": [describe_setting(row) for row, _ in pairs],
            "Reported by": [name_reporter(row) for row, _ in pairs],
            "As of": [row.as_of for row, _ in pairs],
            "Source": [row.source_url for row, _ in pairs],
        }
    )


def describe_setting(row: ScoreRow) -> str:
    """How a score was taken, as far as its source says: 'thinking, 5-shot, pass@1'."""
    return ", ".join(filter(None, (row.mode, row.setting, row.metric)))


def name_reporter(row: ScoreRow) -> str:
    """'LMArena, independent' or 'Qwen, the publisher'."""
    return f"{row.reported_by}, {'independent' if row.independent else 'the publisher'}"

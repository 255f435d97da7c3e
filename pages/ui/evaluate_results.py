"""What was measured here: every score in a table, dots and whiskers, and score against speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import streamlit as st

from evals.plans import RunKind
from evals.results import RunSummary, SuiteScore
from evals.stats import Verdict
from pages.ui import charts_evaluate, evaluation, frame, tables
from pages.ui.charts_base import Series
from pages.ui.charts_evaluate import ScoreDot, SpeedPoint, SuiteRow
from pages.ui.evaluate_words import is_share, name_run, part_names, tabulate_scores, title_of

MAX_SUITES_DRAWN = 6
MAX_DOTS = 8
"""Models drawn in each suite: the newest measured; the table holds all."""

Found = tuple[RunSummary, SuiteScore]


def list_scored(summaries: Sequence[RunSummary]) -> tuple[RunSummary, ...]:
    """Runs of suites that have a score, newest first."""
    return tuple(
        s for s in summaries if s.run.plan.kind is RunKind.SUITES and any(x.value is not None for x in s.scores)
    )


def show(summaries: Sequence[RunSummary], titles: Mapping[str, str]) -> None:
    """Charts of the newest score of each model, then the table of all."""
    scored = list_scored(summaries)
    if not scored:
        st.markdown(
            "Nothing was measured yet. Choose above what to run and press Start; results stand here as they come."
        )
        return
    by_suite = group_newest(scored)
    drawn = dict(list(by_suite.items())[:MAX_SUITES_DRAWN])
    order = order_models(drawn)
    looks = charts_evaluate.tell_models_apart([name for s in reversed(scored) if (name := name_run(s)) in order])
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Scores", anchor=False)
        rows = [build_row(found, titles, order) for found in drawn.values()]
        st.caption(describe_chart(rows, order, len(by_suite) - len(drawn)))
        if rows:
            told = "; ".join(
                f"{r.title}: " + ", ".join(f"{d.model} {100 * d.value:.0f}%" for d in r.dots) for r in rows
            )
            figure = charts_evaluate.score_chart(rows, looks, dict(zip(order, part_names(order)[1], strict=True)))
            frame.show_chart(figure, "eval_scores", told, name="scores-measured-here")
    with right:
        show_speed(drawn, looks, order)
    st.subheader("All measured here", anchor=False)
    st.caption("Newest first. Speed and peak memory are those of the whole run, with its questions side by side.")
    tables.show_table(
        tabulate_scores(scored),
        "eval_table",
        name="scores-measured-here",
        column_config={
            "Model": st.column_config.TextColumn(width="medium"),
            **frame.right_aligned("Score", "95% interval", "Items", "Writes, tokens/s", "Peak, GiB"),
        },
    )


def group_newest(scored: Sequence[RunSummary]) -> dict[str, tuple[Found, ...]]:
    """By suite, the newest share of each model, suites measured last first."""
    out: dict[str, dict[str, Found]] = {}
    for summary in scored:
        for score in summary.scores:
            if score.value is not None and is_share(score):
                out.setdefault(score.suite, {}).setdefault(name_run(summary), (summary, score))
    return {suite: tuple(list(found.values())[:MAX_DOTS]) for suite, found in out.items()}


def order_models(by_suite: Mapping[str, tuple[Found, ...]]) -> tuple[str, ...]:
    """The models drawn, the best on average first: one order for every suite, so that rows can be compared."""
    values: dict[str, list[float]] = {}
    for found in by_suite.values():
        for summary, score in found:
            values.setdefault(name_run(summary), []).append(score.value or 0.0)
    return tuple(sorted(values, key=lambda name: -sum(values[name]) / len(values[name])))


def describe_chart(rows: Sequence[SuiteRow], order: Sequence[str], n_left_out: int) -> str:
    """What the chart of scores shows, whose scores they are, and what no test here tells apart."""
    stem, _ = part_names(order)
    told = [f"The newest score of each {'quantization of ' + stem if stem else 'model'}; whiskers are 95% intervals."]
    if any(any(row.not_told) for row in rows):
        told.append("A dotted line joins two that are not distinguishable.")
    if n_left_out > 0:
        told.append(f"{n_left_out} more suites stand in the table.")
    return " ".join(told)


def build_row(found: Sequence[Found], titles: Mapping[str, str], order: Sequence[str] = ()) -> SuiteRow:
    """One suite's dots in an order, by itself from the best down, and which neighbours are not told apart."""
    ordered = sorted(found, key=lambda pair: -(pair[1].value or 0.0))
    if order:
        ordered = sorted(ordered, key=lambda pair: order.index(name_run(pair[0])))
    suite, first = ordered[0][1].suite, ordered[0][1]
    dots = tuple(
        ScoreDot(name_run(s), x.value or 0.0, x.low or 0.0, x.high if x.high is not None else 1.0, x.n_items)
        for s, x in ordered
    )
    not_told = tuple(is_not_told(a, b, suite) for (a, _), (b, _) in pairwise(ordered))
    return SuiteRow(first.title or title_of(suite, titles), first.chance, dots, not_told)


def is_not_told(a: RunSummary, b: RunSummary, suite: str) -> bool:
    """Whether two runs were compared on shared items and cannot be told apart."""
    comparison = evaluation.find_comparison(a, b, suite)
    return comparison is not None and comparison.verdict is Verdict.NOT_DISTINGUISHABLE


def show_speed(by_suite: Mapping[str, tuple[Found, ...]], looks: dict[str, Series], order: Sequence[str]) -> None:
    """Score against speed, one suite at a time."""
    st.subheader("Score against speed", anchor=False)
    st.caption("Measured in the same runs; the area of a dot is peak memory.")
    names = {suite: found[0][1].title or suite for suite, found in by_suite.items()}
    suite = next(iter(names), None)
    if len(names) > 1:
        suite = st.selectbox("Suite", tuple(names), format_func=names.__getitem__, key="eval_speed_suite", width=320)
    found = sorted(by_suite.get(suite or "", ()), key=lambda pair: order.index(name_run(pair[0])))
    points = [p for s, x in found if (p := build_point(s, x)) is not None]
    if not points:
        st.markdown("No speed was measured in these runs: an endpoint may not tell how many tokens it wrote.")
        return
    told = ", ".join(f"{p.model}: {100 * p.value:.0f}% at {p.tokens_per_s:.3g} tokens/s" for p in points)
    frame.show_chart(charts_evaluate.speed_chart(points, looks), "eval_speed", told, name="score-against-speed")


def build_point(summary: RunSummary, score: SuiteScore) -> SpeedPoint | None:
    """A run in the speed chart, None without a speed."""
    if score.value is None or score.low is None or score.high is None or not summary.decode_tokens_per_s:
        return None
    return SpeedPoint(
        name_run(summary), score.value, score.low, score.high, summary.decode_tokens_per_s, summary.peak_bytes
    )

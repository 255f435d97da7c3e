"""One run in detail, or two side by side: facts, categories, and every item as plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from evals.results import RunSummary
from evals.run_files import ItemResult, RunState
from pages.ui import evaluation, frame, inputs, tables
from pages.ui.charts import roomy
from pages.ui.evaluate_results import list_scored
from pages.ui.evaluate_words import (
    PARTLY,
    RIGHT,
    UNSCORED,
    WRONG,
    describe_pace,
    format_with_interval,
    judge_item,
    label_runs,
    list_facts,
    name_run,
    part_names,
    shorten,
    tabulate_categories,
    tabulate_items,
    title_of,
    verdict_html,
)
from pages.ui.markdown_text import escape_markdown

ALL = "all"
MAX_TEXT_CHARACTERS = 20_000


def show(summaries: Sequence[RunSummary], titles: Mapping[str, str]) -> None:
    """The runs in the address, by themselves the newest ones: one in detail, two side by side."""
    known = {s.run.run_id: s for s in list_scored(summaries)}
    if not known:
        return
    wanted: tuple[str, ...] = inputs.read("runs")
    missing = [run_id for run_id in wanted if run_id not in known]
    chosen = tuple(run_id for run_id in wanted if run_id in known) or find_usual(tuple(known.values()))
    st.subheader("A run in detail, or two side by side", anchor=False)
    if missing:
        st.warning(f"No finished items of the run {', '.join(missing)} are on this machine.", icon=":material/search:")
    inputs.several(
        "runs",
        "Runs",
        tuple(known),
        "Choose one run, or two to compare",
        label_runs(tuple(known.values()), titles),
        shown=chosen,
        separator=",",
        most=inputs.MAX_RUNS_SHOWN,
    )
    if len(chosen) == 2:
        show_two(known[chosen[0]], known[chosen[1]], titles)
    else:
        show_one(known[chosen[0]], titles)


def find_usual(scored: Sequence[RunSummary]) -> tuple[str, ...]:
    """What is shown unasked: the newest run, beside the newest earlier one of another model with a suite of its own."""
    done = [s for s in scored if s.state is RunState.DONE]
    scored = done or scored
    newest = scored[0]
    suites = {s.suite for s in newest.scores}
    for other in scored[1:]:
        if name_run(other) != name_run(newest) and suites & {s.suite for s in other.scores if s.n_items}:
            return (other.run.run_id, newest.run.run_id)
    return (newest.run.run_id,)


# ---- one ----


def show_one(summary: RunSummary, titles: Mapping[str, str]) -> None:
    """Facts and scores by category, then the items."""
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.html(frame.facts_html(list_facts(summary)))
        show_exports(summary)
    with right:
        for score in summary.scores:
            if score.value is None:
                continue
            st.html(
                f'<p class="wb-figures">{frame.escape(score.title)}: {frame.escape(format_with_interval(score))}</p>'
                f'<p class="wb-quiet">{frame.escape(roomy(describe_score(score)))}</p>'
            )
            if len(score.categories) > 1:
                tables.show_table(
                    tabulate_categories(score),
                    f"categories_{score.suite}",
                    height="content" if len(score.categories) < 8 else 300,
                    column_config=frame.right_aligned("Items", "Score"),
                )
    show_items(summary, titles)


def describe_score(score: evaluation.SuiteScore) -> str:
    """How a score was counted, in one line."""
    parts = [f"{score.n_items:,} of {score.n_planned:,} items", score.method and f"interval: {score.method}"]
    if 0 < score.chance < 1:
        parts.append(f"guessing gives {100 * score.chance:.0f}%")
    if score.n_cut:
        parts.append(f"{score.n_cut:,} answers were cut at their limit of tokens")
    if score.why_n:
        parts.append(score.why_n)
    return frame.to_sentence("; ".join(p for p in parts if p))


def show_exports(summary: RunSummary) -> None:
    """The items as CSV and the whole run as JSON."""
    run_id = summary.run.run_id
    with st.container(horizontal=True, gap="small"):
        for name, mime, write in (
            ("CSV", "text/csv", evaluation.write_csv),
            ("JSON", "application/json", evaluation.write_json),
        ):
            st.download_button(
                f"{name}",
                lambda write=write: write(summary),
                f"{run_id}.{name.lower()}",
                mime,
                key=f"export_{name}_{run_id}",
                type="tertiary",
                icon=":material/download:",
                on_click="ignore",
                help="Every item of the run" if name == "CSV" else "The run with its facts, scores and items",
            )


def show_items(summary: RunSummary, titles: Mapping[str, str]) -> None:
    """The items, by suite and by result, and the picked one in full."""
    run = summary.run
    suites = tuple(dict.fromkeys(i.suite for i in run.items))
    results = tuple(r for r in (RIGHT, PARTLY, WRONG, UNSCORED) if any(judge_item(i) == r for i in run.items))
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        suite = ALL
        if len(suites) > 1:
            suite = st.selectbox(
                "Suite",
                (ALL, *suites),
                format_func=lambda v: "All suites" if v == ALL else title_of(v, titles),
                key=f"items_suite_{run.run_id}",
                width=300,
            )
        result = st.segmented_control(
            "Result", (ALL, *results), default=ALL, required=True, format_func=str.capitalize, key=f"items_{run.run_id}"
        )
    items = [i for i in run.items if suite in (ALL, i.suite) and result in (ALL, judge_item(i))]
    key = f"table_{run.run_id}"
    picked = inputs.picked_row(key)
    if picked is None or picked >= len(items):
        st.caption(f"{len(items):,} items. Pick a row to read it in full.")
    tables.show_table(
        tabulate_items(items, titles),
        key,
        name=f"items-{run.run_id}",
        height=320,
        selection_mode="single-row",
        column_config={
            "Prompt": st.column_config.TextColumn(width="large"),
            "Seconds": st.column_config.TextColumn(alignment="right"),
        },
    )
    if picked is not None and picked < len(items):
        show_item(items[picked], titles)


def show_item(item: ItemResult, titles: Mapping[str, str]) -> None:
    """One item: what was asked, what came, what was wanted, and why it counts as it does."""
    counts = f"{item.n_prompt_tokens:,} tokens read, {item.n_output_tokens:,} written in {item.seconds:.3g} s"
    cut = ", cut at its limit of tokens" if item.finish == "length" else ""
    why = f" {frame.to_sentence(item.why)}" if item.why else ""
    st.html(
        f'<p class="wb-figures">{frame.escape(title_of(item.suite, titles))}, item {frame.escape(item.item_id)}: '
        f"{judge_item(item)}.{frame.escape(why)}</p>"
        f'<p class="wb-quiet">{frame.escape(counts + cut)}.</p>'
    )
    left, right = st.columns(2, gap="large")
    with left:
        show_text("Prompt", item.prompt)
    with right:
        show_text("Output", item.output)
        show_text("Expected", item.expected)


def show_text(label: str, text: str) -> None:
    """Text as it is, never as Markdown or HTML."""
    st.caption(label)
    cut = text[:MAX_TEXT_CHARACTERS] + ("\n[cut here]" if len(text) > MAX_TEXT_CHARACTERS else "")
    st.code(cut or "(nothing)", language=None, wrap_lines=True, height="content" if len(cut) < 1500 else 360)


# ---- two ----


def show_two(a: RunSummary, b: RunSummary, titles: Mapping[str, str]) -> None:
    """Suite by suite the difference and its verdict, then the items on which the two disagree."""
    found = evaluation.compare_runs(a, b)
    names = name_both(a, b)
    _, short = part_names(names)
    if not found:
        st.markdown("These two runs have no suite in common, so nothing can be compared.")
    else:
        st.html(verdict_html([(c.title, c.comparison, c.why_not) for c in found], *short))
        if any(c.comparison is not None for c in found):
            st.caption(
                "On the items both have, 95% intervals; p is two-sided"
                + (", adjusted for the number of suites." if len(found) > 1 else ".")
            )
    with st.container(horizontal=True, gap="small"):
        for summary, name in ((a, names[0]), (b, names[1])):
            with st.popover(f"How {escape_markdown(name)} was made", type="tertiary", icon=":material/info:"):
                st.html(frame.facts_html((*list_facts(summary), ("Progress", roomy(describe_pace(summary))))))
                show_exports(summary)
    if found:
        show_disagreements(a, b, (short[0], short[1]), titles)


def name_both(a: RunSummary, b: RunSummary) -> tuple[str, str]:
    """The names of two runs, told apart by their times where they are the same."""
    names = (name_run(a), name_run(b))
    if names[0] != names[1]:
        return names
    times = [s.run.plan.created_at[5:16].replace("T", " ") for s in (a, b)]
    return f"{names[0]}, {times[0]}", f"{names[1]}, {times[1]}"


def list_disagreements(a: RunSummary, b: RunSummary) -> tuple[tuple[ItemResult, ItemResult], ...]:
    """Items both runs have whose scores differ, the largest differences first."""
    theirs = {(i.suite, i.item_id): i for i in b.run.items if i.score is not None}
    pairs = [
        (i, other)
        for i in a.run.items
        if i.score is not None and (other := theirs.get((i.suite, i.item_id))) is not None and other.score != i.score
    ]
    return tuple(sorted(pairs, key=lambda p: -abs((p[0].score or 0.0) - (p[1].score or 0.0))))


def show_disagreements(a: RunSummary, b: RunSummary, names: tuple[str, str], titles: Mapping[str, str]) -> None:
    """A row for each item on which the two disagree, and the picked one with both outputs."""
    pairs = list_disagreements(a, b)
    if not pairs:
        st.markdown("The two agree on every item they share.")
        return
    key = f"pairs_{a.run.run_id}_{b.run.run_id}"
    picked = inputs.picked_row(key)
    st.caption(f"{len(pairs):,} items on which they disagree. Pick a row to read both answers.")
    several = len({i.suite for i, _ in pairs}) > 1
    table = pd.DataFrame(
        {
            "Item": [i.item_id for i, _ in pairs],
            **({"Suite": [title_of(i.suite, titles) for i, _ in pairs]} if several else {}),
            "Prompt": [shorten(i.prompt[-400:]) for i, _ in pairs],
            "Expected": [shorten(i.expected) for i, _ in pairs],
            names[0]: [f"{judge_item(i)}: {shorten(i.output, 80)}" for i, _ in pairs],
            names[1]: [f"{judge_item(o)}: {shorten(o.output, 80)}" for _, o in pairs],
        }
    )
    tables.show_table(
        table,
        key,
        height=min(320, 75 + 35 * len(pairs)),
        selection_mode="single-row",
        column_config={"Prompt": st.column_config.TextColumn(width="large")},
    )
    if picked is not None and picked < len(pairs):
        show_pair(pairs[picked], names)


def show_pair(pair: tuple[ItemResult, ItemResult], names: tuple[str, str]) -> None:
    """One item with both outputs beside each other."""
    show_text("Prompt", pair[0].prompt)
    show_text("Expected", pair[0].expected)
    for column, item, name in zip(st.columns(2, gap="large"), pair, names, strict=True):
        with column:
            why = f" {frame.to_sentence(item.why)}" if item.why else ""
            st.html(f'<p class="wb-figures">{frame.escape(name)}: {judge_item(item)}.{frame.escape(why)}</p>')
            show_text("Output", item.output)

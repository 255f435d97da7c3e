"""Accuracy: how far the formulas are from llama.cpp and from what others measured, the worst case named."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from catalog.memory_logs import CLOSE_SHARE, LogComparison, compare_memory_logs
from catalog.serving_logs import TARGETS, Measure, ServingComparison, compare_serving_logs, sum_up
from evals.ledger import (
    ENGINE,
    UNANSWERED,
    LedgerRow,
    PartSummary,
    describe_workload,
    load_ledger,
    sum_up_parts,
)
from evals.user_store import KeptVerify, UserStore
from pages.ui import cached, frame, inputs, tables, words
from pages.ui.markdown_text import escape_markdown
from pages.ui.verify import BUTTON, PART_WORDS
from sizing.errors import UserStoreError
from sizing.units import MIB, format_bytes, format_tokens

LEDGER_PARTS = {
    "weights": "Weights",
    "caches": "KV caches and recurrent states",
    "kv_cache": "KV cache",
    "compute": "Compute buffers",
    "device_weights": "Weights, device by device",
    "device_caches": "Caches, device by device",
    "device_compute": "Compute buffers, device by device",
    "device_total": "All on a card, sampled",
    "output": "Output buffer",
    UNANSWERED: "llama.cpp gave no answer",
}

HEADLINE = {"weights": "weights", "caches": "caches", "compute": "compute buffers"}


def show() -> None:
    """The ledger's sum and what was verified here, then all other figures, folded under what they come to."""
    rows = load_ledger()
    summary = sum_up_parts(rows)
    show_headline(summary, rows)
    show_parts(summary, rows)
    show_kept()
    show_published()
    show_serving()
    show_rows(rows)


def show_headline(summary: tuple[PartSummary, ...], rows: tuple[LedgerRow, ...]) -> None:
    """The two figures that matter, with the worst of each named."""
    engine = {s.part: s for s in summary if s.compared_with == ENGINE}
    if "caches" not in engine or "compute" not in engine:
        st.html('<h1 class="wb-answer">The formulas were not compared yet.</h1>')
        st.markdown("`make ledger` compares them with llama.cpp over the whole catalog.")
        return
    st.html(
        f'<h1 class="wb-answer">{escape(say_equal([engine[part] for part in HEADLINE if part in engine]))}</h1>'
        f'<p class="wb-quiet">{engine["caches"].n_models} models in every quantization, under contexts, users, '
        f"cache types and flash attention on and off; {escape(rows[0].engine_version)}, {rows[0].as_of}. "
        "Every case asked llama.cpp itself, without weights.</p>"
        f"{worst_html(engine)}"
    )


def say_equal(parts: list[PartSummary]) -> str:
    """In how many cases each part equals the engine's, said once where it is all of them."""
    n_cases = max(p.n_cases for p in parts)
    if all(p.n_equal == n_cases for p in parts):
        *first, last = (HEADLINE[p.part] for p in parts)
        names = f"{', '.join(first)} and {last}" if first else last
        return f"{frame.to_title(names)} equal llama.cpp's to the byte in all {n_cases:,} cases."
    told = ", ".join(f"{HEADLINE[p.part]} in {p.n_equal:,}" for p in parts)
    return f"Of {n_cases:,} cases these equal llama.cpp's to the byte: {told}."


def worst_html(engine: dict[str, PartSummary]) -> str:
    """The largest difference of all parts, named."""
    named = [s.worst for s in engine.values() if s.worst is not None]
    if not named:
        return ""
    worst = max(named, key=lambda row: abs(row.worst_bytes))
    told = f"{describe_worst(worst)} at {LEDGER_PARTS[worst.part].lower()}: {worst.worst_case}"
    return f'<p class="wb-quiet">The worst of all: {escape(told)}.</p>'


def show_parts(summary: tuple[PartSummary, ...], rows: tuple[LedgerRow, ...]) -> None:
    """One line per part against the engine, the worst case in full; what got no answer says why."""
    parts = [s for s in summary if s.compared_with == ENGINE and s.part != UNANSWERED]
    if not parts:
        return
    st.subheader("Against llama.cpp", anchor=False)
    table = pd.DataFrame(
        {
            "Part": [LEDGER_PARTS[s.part] for s in parts],
            "Models": [s.n_models for s in parts],
            "Cases": [s.n_cases for s in parts],
            "Equal": [s.n_equal for s in parts],
            "Worst difference": [describe_worst(s.worst) for s in parts],
            "Worst case": [s.worst.worst_case if s.worst else "" for s in parts],
        }
    )
    config = dict.fromkeys(("Models", "Cases", "Equal"), COUNT)
    config |= {"Worst difference": RIGHT, "Worst case": WIDE}
    tables.show_table(table, "parts", name="accuracy-by-part", column_config=config)
    if silent := [r for r in rows if r.part == UNANSWERED]:
        why = "; ".join(f"{r.architecture}, {r.n_cases} cases: {r.worst_case}" for r in silent)
        st.caption(frame.to_sentence(f"llama.cpp gave no answer for {escape_markdown(why)}"))


@st.cache_resource(show_spinner="Comparing with published figures")
def list_published() -> tuple[LogComparison, ...]:
    """Every published figure beside ours."""
    return compare_memory_logs(cached.catalog())


def show_published() -> None:
    """Every published figure, farthest first, with what is known to differ."""
    found = sorted(list_published(), key=lambda c: -abs(c.share))
    if not found:
        return
    close = sum(c.is_close for c in found)
    what = "Read by others in a log or on a card, where the setting was told completely enough. Farthest first."
    table = pd.DataFrame(
        {
            "Part": [LEDGER_PARTS[c.log.part] for c in found],
            "Model": [c.log.model_id for c in found],
            "Quantization": [c.log.quant or "any" for c in found],
            "Setting": [f"{describe_workload(c.log.workload)}, {c.log.backend}" for c in found],
            "Published, MiB": [c.log.published_mib for c in found],
            "Ours, MiB": [c.estimate_bytes / MIB for c in found],
            "Difference, %": [100 * c.share for c in found],
            "What may differ": [c.log.mind or "" for c in found],
            "Source": [c.log.source_url for c in found],
        }
    )
    address = st.column_config.LinkColumn(display_text=r"https?://(.*)", width="medium")
    config = {"What may differ": WIDE, "Source": address}
    with st.expander(f"Against {len(found)} published figures: {close} within {CLOSE_SHARE:.0%}"):
        st.caption(what)
        tables.show_table(
            words.style_table(table), "published", name="accuracy-against-published", height=400, column_config=config
        )


MEASURE_WORDS = {
    Measure.WEIGHTS: "Weights on a card",
    Measure.CACHE: "Tokens in the cache memory they print",
    Measure.REQUESTS: "Requests at once in that memory",
    Measure.WHOLE: "Tokens from the card and its share alone",
}


@st.cache_resource(show_spinner="Comparing with what servers printed")
def list_serving() -> tuple[ServingComparison, ...]:
    """Every figure a server printed, beside ours."""
    return compare_serving_logs(cached.catalog())


def show_serving() -> None:
    """What vLLM and SGLang printed at start: medians with their targets and worst rows, then every figure."""
    found = list_serving()
    if not found:
        return
    summary = sum_up(found)
    overall = {s.measure: s for s in summary if s.rows == "all"}
    logs = len({c.log for c in found})
    weights, whole = overall[Measure.WEIGHTS], overall[Measure.WHOLE]
    table = pd.DataFrame(
        {
            "What": [MEASURE_WORDS[s.measure] for s in summary],
            "Cards": [s.rows for s in summary],
            "Figures": [s.n_rows for s in summary],
            "Median error, %": [round(100 * s.median_error, 2) for s in summary],
            "Target, %": [round(100 * TARGETS[s.measure]) for s in summary],
            "Worst, %": [round(100 * s.worst.share, 2) for s in summary],
            "Worst figure": [f"{s.worst.log.checkpoint}, {describe_serving(s.worst)}" for s in summary],
        }
    )
    with st.expander(
        f"Against {logs} starts of vLLM and SGLang: half of the weights within {weights.median_error:.2%}, half of "
        f"the caches within {whole.median_error:.1%}"
    ):
        st.caption(
            "Caches from the card and its share alone. Bytes of libraries and of sampling are fitted on NVIDIA rows; "
            "H100 and AMD rows judge them."
        )
        tables.show_table(
            table,
            "serving",
            name="accuracy-of-vllm-and-sglang",
            height="content",
            column_config={"Worst figure": WIDE},
        )
        show_serving_rows(found)


def show_serving_rows(found: tuple[ServingComparison, ...]) -> None:
    """Every figure, farthest first, with what is known to be off."""
    rows = sorted(found, key=lambda c: -abs(c.share))
    st.caption("Every figure they printed, farthest first.")
    table = pd.DataFrame(
        {
            "What": [MEASURE_WORDS[c.measure] for c in rows],
            "Checkpoint": [c.log.checkpoint for c in rows],
            "Setting": [describe_serving(c) for c in rows],
            "Printed": [describe_figure(c, c.published) for c in rows],
            "Ours": [describe_figure(c, c.ours) for c in rows],
            "Difference, %": [round(100 * c.share, 2) for c in rows],
            "What may differ": [c.log.mind or "" for c in rows],
            "Source": [c.log.source_url for c in rows],
        }
    )
    address = st.column_config.LinkColumn(display_text=r"https?://(.*)", width="medium")
    config = {"What may differ": WIDE, "Source": address, "Printed": RIGHT, "Ours": RIGHT}
    tables.show_table(table, "serving-rows", name="vllm-and-sglang-figures", height=400, column_config=config)


def describe_serving(comparison: ServingComparison) -> str:
    """Engine, version, cards and share of one log."""
    log = comparison.log
    engine = f"{log.engine} {log.engine_version}" if log.engine_version else log.engine
    share = "" if log.utilization is None else f", share {log.utilization:g}"
    return f"{engine} on {log.n_cards} x {log.hardware}{share}"


def describe_figure(comparison: ServingComparison, value: float) -> str:
    """A figure with its unit."""
    if comparison.measure is Measure.WEIGHTS:
        return f"{value / MIB:,.0f} MiB"
    return f"{value:.2f} requests" if comparison.measure is Measure.REQUESTS else f"{format_tokens(int(value))} tokens"


WIDE = st.column_config.TextColumn(width="large")
RIGHT = st.column_config.TextColumn(alignment="right")
COUNT = st.column_config.NumberColumn(format="localized", alignment="right")


def describe_worst(worst: LedgerRow | None) -> str:
    """The largest error with its sign and its share, in words where there is none."""
    if worst is None:
        return "none"
    sign = "+" if worst.worst_bytes > 0 else "-"
    share = "" if worst.worst_percent is None else f" ({worst.worst_percent:+.3g}%)"
    return f"{sign}{format_bytes(abs(worst.worst_bytes))}{share}"


def show_kept() -> None:
    """What was verified on this machine, newest first."""
    try:
        kept = UserStore().list_verifies()
    except UserStoreError as error:
        st.warning(frame.to_sentence(str(error)), icon=":material/database:")
        return
    if not kept:
        st.subheader("Nothing was verified here yet", anchor=False)
        st.caption(f'Press "{BUTTON}" on Choose or Size: llama.cpp is asked about what they show.')
        choice = inputs.read_size_choice()
        frame.link_to_size(choice.model, choice.quant, "Go to Size")
        return
    st.subheader(f"Verified here: {len(kept)}", anchor=False)
    table = pd.DataFrame(
        {
            "When": [k.checked_at[:16].replace("T", " ") for k in kept],
            "Model": [k.result.model_id for k in kept],
            "Quantization": [k.result.quant for k in kept],
            "Machine": [k.result.machine for k in kept],
            "Context, tokens": [format_tokens(k.result.workload.context_tokens) for k in kept],
            "Users": [k.result.workload.n_parallel for k in kept],
            "Difference, bytes": [k.result.difference_bytes for k in kept],
            "Largest": [describe_largest(k) for k in kept],
            "Engine": [k.result.engine for k in kept],
        }
    )
    config = {"Context, tokens": RIGHT, "Difference, bytes": COUNT}
    tables.show_table(table, "kept", name="verified-here", column_config=config)


def describe_largest(kept: KeptVerify) -> str:
    """The largest difference of one comparison, or that all is equal."""
    worst = kept.result.worst
    if worst is None:
        return "all equal"
    sign = "+" if worst.difference_bytes > 0 else "-"
    return f"{sign}{format_bytes(abs(worst.difference_bytes))}, {PART_WORDS[worst.part].lower()} on {worst.device}"


def show_rows(rows: tuple[LedgerRow, ...]) -> None:
    """The whole table: one row per reference, architecture and part."""
    if not rows:
        return
    table = pd.DataFrame(
        {
            "Against": [r.compared_with for r in rows],
            "Architecture": [r.architecture for r in rows],
            "Part": [LEDGER_PARTS.get(r.part, r.part) for r in rows],
            "Cases": [r.n_cases for r in rows],
            "Equal": [r.n_equal for r in rows],
            "Median, bytes": [r.median_bytes for r in rows],
            "95%, bytes": [r.p95_bytes for r in rows],
            "Worst, bytes": [r.worst_bytes for r in rows],
            "Worst case": [r.worst_case for r in rows],
        }
    )
    figures = ("Cases", "Equal", "Median, bytes", "95%, bytes", "Worst, bytes")
    with st.expander(f"By architecture and part: {len(rows)} lines"):
        st.caption("Differences are formula less reference; median and 95th percentile are of their sizes.")
        tables.show_table(
            table,
            "ledger",
            name="accuracy-ledger",
            height=600,
            column_config={"Worst case": WIDE, **dict.fromkeys(figures, COUNT)},
        )


with frame.kind_errors():
    frame.open_page()
    show()

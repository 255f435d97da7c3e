"""What a quantization does to a model, measured on a text, beside what others published."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from html import escape

import pandas as pd
import streamlit as st

from evals.damage import LABELS, METRICS, DamageRow
from evals.divergence_result import DivergenceResult, Estimate
from evals.plans import EvalPlan, RunKind, TestedModel, plan_divergence
from evals.results import RunSummary
from evals.tested_models import make_demo
from pages.ui import evaluation, frame, inputs, tables
from pages.ui.charts import roomy
from pages.ui.evaluate_fields import FIRST_REFERENCE, TEXT_WORDS, TIME_WORDS
from pages.ui.evaluate_words import STATE_WORDS, format_moment, name_run
from pages.ui.evaluation import DEMO_QUANTS, name_model
from pages.ui.markdown_text import escape_markdown
from sizing.errors import WeighbridgeError
from sizing.units import format_figures

_FILE = "file:"
METRIC_WORDS = {
    "perplexity_ratio": "Perplexity, times the reference's",
    "kl_divergence": "KL divergence per token, nats",
    "same_top_percent": "Same most probable token, %",
}


def show(summaries: Sequence[RunSummary]) -> None:
    """The way to a measurement, then the newest one beside published losses, then all."""
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.subheader("Hold a file against another", anchor=False)
        show_form(summaries)
    found = [s for s in summaries if s.run.plan.kind is RunKind.DIVERGENCE and s.run.windows]
    with right:
        if not found:
            st.subheader("What it tells", anchor=False)
            st.markdown(
                "Both files read the same text. Where the quantized one would write another token than the "
                "reference, or is less sure, quality was lost: a far finer measure than a few hundred questions. "
                "Take the 16-bit or Q8_0 file as the reference."
            )
            return
        show_result(choose_result(found))
    if len(found) > 1:
        st.subheader("All measured here", anchor=False)
        tables.show_table(
            tabulate_runs(found),
            "damage_runs",
            name="quantization-damage",
            column_config={
                **frame.right_aligned(*METRIC_WORDS.values()),
                "Tokens": st.column_config.NumberColumn(format="localized", alignment="right"),
            },
        )


# ---- asking ----


def list_files(summaries: Sequence[RunSummary], wanted: Sequence[str]) -> dict[str, TestedModel]:
    """Everything that can be held against something, by its name in the address: the demonstration model and files."""
    models = {f"demo:{quant}": make_demo(quant) for quant in DEMO_QUANTS}
    named = (name.removeprefix(_FILE) for name in wanted if name.startswith(_FILE))
    for path in dict.fromkeys((*evaluation.list_known_paths(summaries), *named)):
        facts = evaluation.read_file_facts(path)
        if not facts.problem:
            models[f"{_FILE}{path}"] = evaluation.build_file_model(facts, facts.model_id)
    return models


def choose_files(summaries: Sequence[RunSummary]) -> tuple[TestedModel, list[TestedModel]]:
    """The reference and what is held against it; what the address names and is not there is said."""
    wanted, against = inputs.read("damage_reference"), inputs.read("damage_against")
    files = list_files(summaries, (wanted, *against))
    words = {name: name_file(model) for name, model in files.items()}
    reference = wanted if wanted in files else FIRST_REFERENCE
    inputs.choice("damage_reference", "Reference", tuple(files), words, shown=reference)
    if reference != wanted:
        _warn_unknown(wanted, f"using {words[reference]} instead")
    others = tuple(name for name in files if name != reference)
    inputs.several("damage_against", "Held against it", others, "Choose files", words)
    for name in against:
        if name not in files:
            _warn_unknown(name, "it is left out")
    return files[reference], [files[name] for name in against if name in others]


def _warn_unknown(name: str, instead: str) -> None:
    """Why what the address names cannot be read, and what happens without it."""
    why = f"there is no model called {name!r} here"
    if name.startswith(_FILE):
        why = evaluation.read_file_facts(name.removeprefix(_FILE)).problem
    st.warning(escape_markdown(f"{frame.to_sentence(why)} {frame.to_sentence(instead)}"), icon=":material/draft:")


def name_file(model: TestedModel) -> str:
    """A model by name, and by its file where it has one, so that no two are called the same."""
    return f"{name_model(model)} ({model.path})" if model.path else name_model(model)


def show_form(summaries: Sequence[RunSummary]) -> None:
    """Reference, candidates, text and time."""
    reference, candidates = choose_files(summaries)
    inputs.choice("damage_text", "Both read", tuple(TEXT_WORDS), TEXT_WORDS)
    text, data = inputs.read("damage_text"), None
    if text == "yours":
        file = st.file_uploader("Plain text, UTF-8", type=["txt", "md"], key="damage_file")
        data = None if file is None else file.getvalue()
    inputs.segments("damage_minutes", "For", tuple(TIME_WORDS), TIME_WORDS)
    minutes = inputs.read("damage_minutes")
    missing = find_missing(candidates, text, data)
    st.button(
        "Measure",
        key="damage_start",
        icon=":material/difference:",
        disabled=bool(missing),
        on_click=inputs.remember,
        args=("damage_wanted", True),
    )
    if inputs.take("damage_wanted") and not missing:
        problem = start(reference, candidates, text, data, None if minutes == "all" else float(minutes))
        if problem is None:
            st.rerun()
        st.error(escape_markdown(frame.to_sentence(problem)), icon=":material/error:")
    if missing:
        st.caption(frame.to_sentence(missing))


def find_missing(candidates: Sequence[TestedModel], text: str, data: bytes | None) -> str:
    """What has to be chosen first; empty when all is."""
    if not candidates:
        return "choose at least one file to hold against the reference"
    return "upload a text of some pages" if text == "yours" and not data else ""


def start(
    reference: TestedModel, candidates: Sequence[TestedModel], text: str, data: bytes | None, minutes: float | None
) -> str | None:
    """Put one run for each candidate into the queue; why that failed, if it did."""
    try:
        source = keep_text(data) if text == "yours" and data else text
        plans: list[EvalPlan] = [plan_divergence(reference, c, text=source, minutes=minutes) for c in candidates]
    except (WeighbridgeError, OSError) as error:
        return str(error)
    return evaluation.start(plans, [""] * len(plans))


def keep_text(data: bytes) -> str:
    """Where an uploaded text is kept, so that an interrupted run can go on with it."""
    folder = evaluation.find_home() / "texts"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(data).hexdigest()[:16]}.txt"
    if not path.exists():
        path.write_bytes(data)
    return str(path)


# ---- reading ----


def choose_result(found: Sequence[RunSummary]) -> RunSummary:
    """The measurement to read, by itself the newest."""
    labels = {s.run.run_id: f"{name_run(s)}, {format_moment(s.run.plan.created_at)}" for s in found}
    st.subheader("Measured beside published", anchor=False)
    wanted = inputs.read("damage_run")
    run_id = wanted if wanted in labels else found[0].run.run_id
    if wanted and wanted != run_id:
        st.warning(
            f"No measurement {escape_markdown(wanted)} is on this machine. The newest is shown instead.",
            icon=":material/search:",
        )
    if len(found) > 1:
        inputs.choice("damage_run", "Measurement", tuple(labels), labels, shown=run_id)
    return next(s for s in found if s.run.run_id == run_id)


def show_result(summary: RunSummary) -> None:
    """One sentence, the figures beside published ones under their labels, and how far they carry."""
    result = evaluation.find_divergence(summary)
    if isinstance(result, str):
        st.warning(frame.to_sentence(result), icon=":material/difference:")
        return
    st.html(f'<p class="wb-figures">{escape(roomy(describe_result(result)))}.</p>')
    rows = evaluation.line_up(summary, result)
    st.html(damage_html(rows))
    st.html(f'<p class="wb-quiet">{escape(roomy(describe_basis(summary, result)))}</p>')
    sources = [(row.label, row.models, row.sources) for row in rows if row.label != LABELS[0]]
    if sources:
        with st.popover("Where the published figures come from", type="tertiary", icon=":material/link:"):
            st.html(sources_html(rows))


def describe_progress(summary: RunSummary) -> str:
    """What a measurement under way has found so far, in one line."""
    result = evaluation.find_divergence(summary) if summary.run.windows else "no window was read yet"
    return result if isinstance(result, str) else describe_result(result)


def describe_result(result: DivergenceResult) -> str:
    """What was found, in one sentence."""
    agreement = result.top_agreement
    same = f"{100 * agreement.value:.3g}%{_interval(agreement, 100)}"
    ratio = result.perplexity_ratio
    return (
        f"The most probable next token is the same at {same} of {result.n_tokens:,} tokens; "
        f"perplexity is {ratio.value:.3f} times the reference's"
    )


def _interval(found: Estimate, scale: float = 1.0) -> str:
    if found.low is None or found.high is None:
        return ""
    low, high = format_damage(scale * found.low), format_damage(scale * found.high)
    return f" ({low} to {high})" if low != high else ""


def damage_html(rows: Sequence[DamageRow]) -> str:
    """A line per metric, a column per label from the nearest to the farthest."""
    shown = [label for label in LABELS if any(r.label == label for r in rows)]
    head = "".join(f'<th class="wb-n">{escape(label.capitalize())}</th>' for label in shown)
    body = ""
    for metric in METRICS:
        cells = ""
        for label in shown:
            row = next((r for r in rows if (r.label, r.metric) == (label, metric)), None)
            cells += f'<td class="wb-n">{describe_row(row) if row else "not published"}</td>'
        body += f"<tr><td>{escape(METRIC_WORDS[metric])}</td>{cells}</tr>"
    return f'<div class="wb-scroll"><table class="wb-scores wb-damage"><tr><th></th>{head}</tr>{body}</table></div>'


def describe_row(row: DamageRow) -> str:
    """A figure with its interval below it, or with the range of so many published ones."""
    value = f"<b>{format_damage(row.value)}</b>"
    if row.low is None or row.high is None:
        count = "one figure" if row.label != LABELS[0] else ""
        return value + (f'<br><span class="wb-quiet">{count}</span>' if count else "")
    spread = f"{format_damage(row.low)} to {format_damage(row.high)}"
    of = f", {row.n} figures" if row.label != LABELS[0] else ""
    return f'{value}<br><span class="wb-quiet">{spread}{of}</span>'


def format_damage(value: float) -> str:
    """A ratio near 1 to three decimals, anything else to three figures."""
    return f"{value:.3f}" if 0.9 <= value < 10 else f"{value:.3g}"


def describe_basis(summary: RunSummary, result: DivergenceResult) -> str:
    """On what a measurement rests."""
    text = summary.run.plan.text
    read = TEXT_WORDS.get(text, "your text")
    state = "" if summary.state.is_over and not summary.run.reason else f" {STATE_WORDS[summary.state]}."
    quant = name_model(summary.run.plan.model)
    return (
        f"{quant} on: {read.lower() if text not in TEXT_WORDS else read}. {result.n_windows:,} windows, "
        f"95% intervals over windows.{state} Published figures are medians of others' measurements of the same "
        "quantization on other texts; generic ones are of any model."
    )


def sources_html(rows: Sequence[DamageRow]) -> str:
    """Addresses and models of the published figures, as text."""
    lines = []
    for label in LABELS[1:]:
        models = dict.fromkeys(m for r in rows if r.label == label for m in r.models)
        addresses = dict.fromkeys(a for r in rows if r.label == label for a in r.sources)
        if models:
            names = ", ".join(list(models)[:8]) + (f" and {len(models) - 8} more" if len(models) > 8 else "")
            lines.append(
                f'<p><b>{escape(label.capitalize())}</b>: {escape(names)}<br><span class="wb-quiet">'
                f"{'<br>'.join(escape(a) for a in addresses)}</span></p>"
            )
    return f'<div style="min-width: min(30rem, 80vw)">{"".join(lines)}</div>'


def tabulate_runs(found: Sequence[RunSummary]) -> pd.DataFrame:
    """A row for each measurement, newest first."""
    results = [(s, r) for s in found if not isinstance(r := evaluation.find_divergence(s), str)]
    return pd.DataFrame(
        {
            "Model": [name_model(s.run.plan.model) for s, _ in results],
            "Against": [name_model(s.run.plan.reference) if s.run.plan.reference else "" for s, _ in results],
            METRIC_WORDS["perplexity_ratio"]: [
                f"{format_damage(r.perplexity_ratio.value)}{_interval(r.perplexity_ratio)}" for _, r in results
            ],
            METRIC_WORDS["kl_divergence"]: [f"{r.kl_mean.value:.3g}{_interval(r.kl_mean)}" for _, r in results],
            METRIC_WORDS["same_top_percent"]: [
                f"{format_figures(100 * r.top_agreement.value)}{_interval(r.top_agreement, 100)}" for _, r in results
            ],
            "Tokens": [r.n_tokens for _, r in results],
            "When": [format_moment(s.run.plan.created_at) for s, _ in results],
        }
    )

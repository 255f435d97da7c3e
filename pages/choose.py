"""Choose: one clear recommendation for this machine and this wish, with its evidence and what was ruled out."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.ui import (
    bench,
    cached,
    charts,
    charts_words,
    engine_answers,
    engine_choose,
    evaluate_measured,
    evidence,
    frame,
    get_file,
    inputs,
    launches,
    tables,
    words,
)
from sizing.engines import find_engine
from sizing.recommend import Needs, Option, Recommendation

RULED_OUT_WORDS = {
    "task": "Not made for this task",
    "licence": "Licence does not allow it",
    "context": "Context too short",
    "engine": "The engine cannot run it",
    "memory": "Needs more memory",
    "speed": "Too slow, or speed unknown",
}
WAYS_OUT = {
    "licence": "Most are stopped by their licence: say where you are, or ask for research use or any licence.",
    "context": "Most are trained for less context: ask for a shorter one.",
    "memory": "Most need more memory: ask for a shorter context or fewer users, or choose a larger machine.",
    "engine": "This engine cannot run most of them here: choose another one, or another machine, in the bar above.",
    "speed": "Most are too slow, or the bandwidth here is unknown: lower the speed, or give the bandwidth by hand.",
}
"""What to do, by the reason that stops most models."""


def show(question: frame.Question) -> None:
    """The whole page below the context bar."""
    needs = cached.build_needs(question.wishes)
    answer = find_answer(question, needs)
    left, right = st.columns([2, 1], gap="medium")
    changes = None
    with left, st.container(border=True, key="answer"):
        if answer.best is None:
            show_no_answer(answer, needs)
        else:
            changes = show_answer(answer.best, question, needs)
    with right:
        show_runners_up(answer, question, needs)
    if answer.options:
        by_weights = find_engine(question.wishes.engine).fills_memory
        show_frontier(answer, needs, by_weights)
        show_alternatives(answer, needs, by_weights)
    show_ruled_out(answer, question.wishes.engine)
    frame.link_onward("choose", question)
    if changes is not None:
        found = cached.find_changes(question.machine, needs)
        told = (
            "; ".join(found) or "neither more memory, nor half the context, nor more people, nor twice the speed would"
        )
        changes.html(f'<p class="wb-quiet">What would change this: {escape(told)}.</p>')


def find_answer(question: frame.Question, needs: Needs) -> Recommendation:
    """What the engine of the context bar makes of the whole catalog here."""
    if question.wishes.is_llama_cpp:
        return cached.recommend(question.machine, needs)
    return engine_answers.recommend(question.wishes, question.machine, needs)


def show_answer(best: Option, question: frame.Question, needs: Needs) -> DeltaGenerator | None:
    """The recommendation: sentence, memory bar, reasons, how to start it.

    Returns the place for what would change it, which takes longer to find than the answer itself; None for engines
    other than llama.cpp, of which that is not worked out.
    """
    if not question.wishes.is_llama_cpp:
        engine_choose.show_answer(best, question, needs)
        return None
    figures = words.list_figures(best.estimate, question.machine, best.candidate.license_name)
    st.html(frame.answer_html(best.name, best.quant, figures))
    bench.show_calibration(question.machine)
    frame.show_chart(
        charts.memory_bar(words.order_devices(best.estimate)), "best_memory", words.describe_memory(best.estimate)
    )
    items = "".join(
        f"<li>{escape(frame.to_sentence(r))}</li>" for r in best.reasons[: 3 + min(2, len(best.candidate.measured))]
    )
    st.html(
        f'<p class="wb-verdict">{frame.format_verdict(best.verdict)}, {frame.describe_workload(needs.workload)}</p>'
        f'<ul class="wb-list">{items}</ul>'
    )
    evaluate_measured.show(best.candidate.spec.model_id, best.quant)
    changes = st.empty()
    changes.html('<p class="wb-quiet">What would change this: working it out.</p>')
    asked = (best.quant, needs.workload, question.machine)
    starts = engine_answers.list_llama_cpp_starts(best.candidate.spec.model_id, asked, best.estimate)
    spec = best.candidate.spec
    start = launches.show_picked(starts, "choose", lambda: get_file.show_for(spec.model_id, best.quant))

    def show_actions() -> None:
        engine_choose.show_actions(best, cached.recommend(question.machine, needs), question, needs, start)

    bench.show_checks(spec.model_id, spec.name, best.quant, needs.workload, question, beside=show_actions)
    return changes


def show_no_answer(answer: Recommendation, needs: Needs) -> None:
    """Nothing with evidence runs: say so, say what stands in the way, say what to do."""
    if answer.options:
        sentence = f"{answer.n_running:,} models run here, but none has published evidence for {needs.task}."
        advice = "They stand in the table below, without a rank that would have to be invented."
    else:
        sentence = "Nothing in the catalog runs here with these wishes."
        most = answer.ruled_out_counts[0][0] if answer.ruled_out_counts else ""
        advice = WAYS_OUT.get(most, "Ask for less in the bar above.")
    st.html(f'<h1 class="wb-answer">{sentence}</h1><p class="wb-figures">{advice}</p>')
    if answer.ruled_out_counts:
        st.html(
            '<ul class="wb-list">'
            + "".join(
                f"<li>{RULED_OUT_WORDS.get(k, k.capitalize())}: {n:,} models</li>" for k, n in answer.ruled_out_counts
            )
            + "</ul>"
        )


def show_runners_up(answer: Recommendation, question: frame.Question, needs: Needs) -> None:
    """The two next answers as small cards."""
    for i, option in enumerate(answer.runners_up):
        with st.container(border=True, key=f"runner_up_{i}"):
            line = ", ".join(list_figures(option, question))
            st.html(
                f'<p class="wb-quiet">{"Next" if i == 0 else "Then"}</p>'
                f'<p class="wb-figures">{escape(option.name)} at {option.quant}</p>'
                f"<p>{frame.format_verdict(option.verdict)}, {escape(charts.roomy(line))}</p>"
                f'<p class="wb-quiet">{escape(frame.to_sentence(option.reasons[0]))}</p>'
            )
            evaluate_measured.show(option.candidate.spec.model_id, option.quant, with_link=False)
            model_id = option.candidate.spec.model_id
            with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
                frame.link_to_size(model_id, option.quant, "Size it")
                frame.link_to_compare(*([answer.best.candidate.spec.model_id] if answer.best else []), model_id)
                evidence.show(model_id, needs.task, f"runner_up_{i}")
    if answer.best is not None and not answer.runners_up:
        st.caption("No other model with evidence for this task runs here.")


def list_figures(option: Option, question: frame.Question) -> list[str]:
    """What an option costs and gives, by the engine of the context bar."""
    if question.wishes.is_llama_cpp:
        return words.list_figures(option.estimate, question.machine, option.candidate.license_name)
    return engine_choose.list_figures(option, question)


def show_frontier(answer: Recommendation, needs: Needs, by_weights: bool) -> None:
    """Quality against speed of everything that runs and has evidence."""
    points = [p for o in answer.options if (p := to_point(o, o is answer.best, by_weights)) is not None]
    missing = answer.n_running - len(points)
    if len(points) < 2:
        return
    st.subheader("Quality against speed", anchor=False)
    n_front = sum(p.on_frontier for p in points)
    note = f" {missing:,} that run are not drawn: their quality or speed is unknown." if missing else ""
    area = "the weights" if by_weights else "memory"
    st.caption(
        f"{len(points)} models, each in its best quantization here; whiskers are 80% intervals of published evidence "
        f"for {needs.task}, less what the quantization costs; dot area is {area}. {n_front} are on the frontier, drawn "
        f"full: no other is as good, as fast and as small at once.{note}"
    )
    frame.show_chart(charts.frontier_chart(points), "frontier", charts_words.describe_frontier(points))


def to_point(option: Option, is_best: bool, by_weights: bool) -> charts.FrontierPoint | None:
    """An option on the frontier chart, None where its quality or speed is unknown."""
    quality, decode = option.quality, words.decode_of(option.estimate)
    if quality is None or decode is None:
        return None
    return charts.FrontierPoint(
        label=f"{option.name} at {option.quant}",
        family=option.candidate.family,
        speed_low=decode.low,
        speed_mid=decode.mid,
        speed_high=decode.high,
        quality=quality.score,
        quality_low=quality.low,
        quality_high=quality.high,
        total_bytes=words.size_of(option, by_weights=by_weights),
        is_best=is_best,
        on_frontier=option.on_frontier,
    )


def show_alternatives(answer: Recommendation, needs: Needs, by_weights: bool) -> None:
    """Everything that runs, best first; models without evidence at the end."""
    st.subheader(f"Everything that runs here: {answer.n_running:,} models", anchor=False)
    picked = inputs.picked_row("alternatives")
    if picked is not None and picked < len(answer.options):
        option = answer.options[picked]
        with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
            frame.link_to_size(option.candidate.spec.model_id, option.quant, f"Size {option.name} at {option.quant}")
            evidence.show(option.candidate.spec.model_id, needs.task, "picked")
    else:
        st.caption(
            "Ordered by evidence for the task, less quantization loss and slowness. Pick a row to size it and to see "
            "its scores."
        )
    tables.show_table(
        words.options_table(answer.options, frame.format_verdict, needs.task, by_weights=by_weights),
        key="alternatives",
        selection_mode="single-row",
        column_config=frame.right_aligned(),
    )
    if answer.n_more:
        st.caption(f"And {answer.n_more:,} more without evidence run here: narrow the catalog to see them.")


def show_ruled_out(answer: Recommendation, engine: str) -> None:
    """What cannot be recommended, folded, one fold a reason; of very many some are told and the rest counted."""
    if not answer.ruled_out_counts:
        return
    st.subheader(f"Ruled out: {answer.n_ruled_out:,} models", anchor=False)
    for kind, count in answer.ruled_out_counts:
        said = f"{engine} cannot run it" if kind == "engine" else RULED_OUT_WORDS.get(kind, kind.capitalize())
        with st.expander(f"{said}: {count:,}"):
            items = [r for r in answer.ruled_out if r.kind == kind]
            table = pd.DataFrame({"Model": [r.name for r in items], "Why": [frame.to_sentence(r.text) for r in items]})
            wide = {"Why": st.column_config.TextColumn(width="large")}
            tables.show_table(table, key=f"ruled_out_{kind}", column_config=wide)
            if count > len(items):
                st.caption(f"And {count - len(items):,} more for the same reason.")


with frame.kind_errors():
    show(frame.open_page(has_engine=True))

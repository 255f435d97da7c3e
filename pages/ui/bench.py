"""Time the model on the page on this machine, without its weights, while the page stays usable."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape

import pandas as pd
import streamlit as st

from catalog import queries
from catalog.store import Catalog
from evals.bench_result import (
    BUSY_SHARE,
    BenchRefusal,
    BenchResult,
    Measurement,
    RefusalReason,
    append_result,
    calibrate,
)
from evals.bench_room import BenchPlan
from evals.home import find_home
from pages.ui import cached, charts, frame, tables, verify
from pages.ui.inputs import THIS
from sizing.errors import WeighbridgeError
from sizing.estimate import say_calibration
from sizing.hardware import Machine
from sizing.placement import Offload
from sizing.throughput import Interval
from sizing.units import THIN, format_bytes, format_figures, format_range, format_tokens
from sizing.workload import Workload

BUTTON = "Try its speed here"
STOP_BUTTON = "Stop measuring"
MAX_SECONDS = 60.0
MAX_KEPT = 64
LATEST_S = 600.0
"""How long the last measurement is still told where another configuration is on the page."""

STOPPED = "The measurement was stopped; nothing of it was kept."
REFUSAL_WORDS = {
    RefusalReason.TOO_LARGE: "It was not tried, for it would not fit",
    RefusalReason.NO_ROOM: "It was not tried, for the disk is full",
    RefusalReason.BUSY: "It was not tried",
    RefusalReason.ENGINE: "llama.cpp could not run it",
}


class Stopped(Exception):
    """The person asked a measurement to stop."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be timed. Of the workload only the engine's settings count: depths have their own lengths."""

    model_id: str
    name: str
    quant: str
    workload: Workload

    @property
    def title(self) -> str:
        """The model and its quantization."""
        return f"{self.name} at {self.quant}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a measurement ended: a result, or why there is none, and what went wrong with keeping it.

    `teaches` says whether speeds on this machine follow it from now on; `ended_s` is a monotonic clock's.
    """

    result: BenchResult | None
    problem: str | None
    teaches: bool
    ended_s: float


class Run:
    """One measurement on its way: what it said so far, and whether it should stop."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.started_s = time.monotonic()
        self.said: list[str] = ["asking llama.cpp for the model's shape"]
        self.stop = threading.Event()

    def tell(self, said: str) -> None:
        """Keep one line of progress; raises Stopped when the person has had enough."""
        if self.stop.is_set():
            raise Stopped
        self.said.append(said)


class Benches:
    """The measurement that runs, at most one in this process, and how the last ones ended."""

    def __init__(self) -> None:
        self.running: Run | None = None
        self.outcomes: OrderedDict[Asked, Outcome] = OrderedDict()
        self._turn = threading.Lock()

    def start(self, asked: Asked, catalog: Catalog) -> bool:
        """Begin in a thread of its own, and whether it did: not while another one runs."""
        with self._turn:
            if self.running is not None:
                return False
            self.running = Run(asked)
            worker = threading.Thread(target=self._work, args=(self.running, catalog), name="bench", daemon=True)
        worker.start()
        return True

    def stop(self) -> None:
        """Ask the one that runs to end after its present step."""
        run = self.running
        if run is not None:
            run.stop.set()

    def _work(self, run: Run, catalog: Catalog) -> None:
        outcome = measure(run, catalog)
        with self._turn:
            self.outcomes.pop(run.asked, None)
            self.outcomes[run.asked] = outcome
            while len(self.outcomes) > MAX_KEPT:
                self.outcomes.popitem(last=False)
            self.running = None


@st.cache_resource(show_spinner=False)
def benches() -> Benches:
    """The measurements of this process."""
    return Benches()


def measure(run: Run, catalog: Catalog) -> Outcome:
    """Time what was asked and keep the result in the person's folder. Nothing is raised: a failure is a sentence."""
    result, problem, teaches = None, None, False
    try:
        from evals.bench import measure_ghost  # needs a Unix; without one the pages still open

        machine = queries.find_machine(catalog, THIS)  # free memory as it is now
        spec = queries.find_model(catalog, run.asked.model_id).spec
        home = find_home()
        types = queries.find_file_types(catalog, home, spec.model_id, run.asked.quant)
        told = measure_ghost(spec, run.asked.quant, machine, home, build_plan(run.asked), run.tell, types=types)
        if run.stop.is_set():
            raise Stopped
        if isinstance(told, BenchRefusal):
            problem = f"{REFUSAL_WORDS[told.reason]}: {told.message}"
        else:
            result = told
            problem, teaches = keep(result, machine)
    except Stopped:
        problem = STOPPED
    except ImportError as error:
        problem = f"Speed cannot be measured on this system ({error})"
    except (WeighbridgeError, OSError) as error:
        problem = f"Nothing was measured: {error}"
    except Exception as error:  # a thread's last word: without one the page would wait for ever
        logging.getLogger(__name__).exception("a measurement failed")
        problem = f"The measurement failed unexpectedly ({type(error).__name__}: {error}); the app's log has more"
    return Outcome(result, problem, teaches, time.monotonic())


def build_plan(asked: Asked) -> BenchPlan:
    """The usual depths in about a minute, with the engine's settings as asked."""
    return BenchPlan(max_seconds=MAX_SECONDS, workload=asked.workload)


def keep(result: BenchResult, machine: Machine) -> tuple[str | None, bool]:
    """Keep a result: why that failed, if it did, and whether speeds here follow it from now on."""
    try:
        append_result(find_home(), result)
    except OSError as error:
        return f"The result was not kept, and speeds here do not follow it: {error}", False
    cached.detected_machine.clear()
    return None, bool(calibrate([result], machine.host))


def show_checks(
    model_id: str,
    name: str,
    quant: str,
    workload: Workload,
    question: frame.Question,
    offload: Offload | None = None,
    about: str | None = None,
    beside: Callable[[], None] | None = None,
) -> None:
    """The two quiet buttons under an answer and what came of them: ask the engine, and time it on this machine.

    `beside` draws what stands in one row with them.
    """
    if question.wishes.machine != THIS:
        verify.show_verify(model_id, quant, workload, question.machine, offload, beside, about)
        return
    asked = build_asked(model_id, name, quant, workload)

    def show_row() -> None:
        show_button(asked)
        if beside is not None:
            beside()

    verify.show_verify(model_id, quant, workload, question.machine, offload, show_row, about)
    show_bench(asked)


def build_asked(model_id: str, name: str, quant: str, workload: Workload) -> Asked:
    """The question of a page, whose lengths a measurement chooses itself."""
    return Asked(model_id, name, quant, replace(workload, context_tokens=1, n_parallel=1))


def show_button(asked: Asked) -> None:
    """A quiet button that starts a measurement; not while one runs."""
    st.button(
        BUTTON,
        key="bench",
        type="tertiary",
        icon=":material/speed:",
        disabled=benches().running is not None,
        help=f"Runs a file of the model's exact shape, without its weights, for at most about {MAX_SECONDS:.0f} s. "
        "Nothing is downloaded.",
        on_click=_start,
        args=(asked,),
    )


def _start(asked: Asked) -> None:
    benches().start(asked, cached.catalog())
    st.rerun()  # the whole page: progress is drawn outside the button's own part of it


def show_bench(asked: Asked) -> None:
    """What runs now, else what was measured for just this configuration, else one line about the last one."""
    if benches().running is not None:
        show_progress(asked)
        return
    outcomes = benches().outcomes
    outcome = outcomes.get(asked)
    if outcome is not None:
        show_outcome(outcome)
        return
    latest = next(reversed(outcomes), None)
    if latest is not None and time.monotonic() - outcomes[latest].ended_s < LATEST_S:
        show_latest(latest, outcomes[latest])


@st.fragment(run_every=1.0)
def show_progress(asked: Asked) -> None:
    """The steps of the one that runs, anew every second; the whole page once it has ended."""
    run = benches().running
    if run is None:
        st.rerun()
    past_s = time.monotonic() - run.started_s
    what = f"{run.asked.title}, {past_s:.0f} s of at most about {MAX_SECONDS:.0f}"
    head = "Measuring" if run.asked == asked else "One at a time: measuring"
    said = tuple(run.said)
    items = "".join(f"<li>{escape(frame.to_sentence(line))}</li>" for line in said[:-1])
    last = (
        "stopping after this step, which may take a minute for a large model"
        if run.stop.is_set()
        else f"{said[-1]} ..."
    )
    with st.container(key="bench_progress", gap="small"):
        st.html(
            f'<p class="wb-verdict">{head} {escape(what)}</p><ul class="wb-list">{items}'
            f"<li>{escape(frame.to_title(last))}</li></ul>"
        )
        st.button(
            STOP_BUTTON,
            key="bench_stop",
            type="tertiary",
            icon=":material/stop_circle:",
            disabled=run.stop.is_set(),
            on_click=benches().stop,
        )


def show_outcome(outcome: Outcome) -> None:
    """The result beside what was estimated, or why there is none."""
    if outcome.problem == STOPPED:
        st.html(f'<p class="wb-quiet">{STOPPED}</p>')
    elif outcome.problem is not None:
        st.warning(frame.to_sentence(outcome.problem), icon=":material/speed:")
    if outcome.result is not None:
        show_result(outcome.result, outcome.teaches)


def show_latest(asked: Asked, outcome: Outcome) -> None:
    """One line about a measurement of another configuration than the one on the page."""
    result = outcome.result
    decode = None if result is None else result.find("decode")
    if result is not None and decode is not None:
        told = f"Measured last: {asked.title}, {describe_rate(decode)}{', too low' if is_busy(result) else ''}."
        st.html(f'<p class="wb-quiet">{escape(charts.roomy(told))}</p>')
        frame.link_to_size(asked.model_id, asked.quant, f"The measurement of {asked.name}")


def show_result(result: BenchResult, teaches: bool) -> None:
    """One sentence, a row per thing timed, the memory, and how it was measured."""
    if is_busy(result):
        st.warning(
            "Other programs kept the processor busy, so these figures are too low. Close them and measure again.",
            icon=":material/hourglass_top:",
        )
    st.html(f'<p class="wb-verdict">{escape(charts.roomy(describe_result(result)))}</p>')
    tables.show_table(
        tabulate(result),
        "bench_result",
        name="speed-measured-here",
        column_config=frame.right_aligned("Median", "Slowest to fastest", "Estimated before"),
    )
    said = [describe_memory(result)]
    if result.subject == "ghost":
        said.append("The real file may be a few percent faster than this one without weights.")
    said.append(
        "Speeds of models like it now follow this measurement." if teaches else "Speeds shown here do not follow it."
    )
    st.html(f'<p class="wb-quiet">{escape(charts.roomy(" ".join(said)))}</p>')
    with st.popover("How it was measured", type="tertiary"):
        st.markdown("\n".join(f"- {frame.to_sentence(note)}" for note in list_notes(result)))


def is_busy(result: BenchResult) -> bool:
    """Whether other programs kept the threads waiting, so that figures are too low."""
    return any(m.cpu_share < BUSY_SHARE for m in result.measurements)


def describe_rate(measurement: Measurement) -> str:
    """'45.2 tokens/s when writing'."""
    doing = "writing" if measurement.kind == "decode" else "reading"
    return f"{format_figures(measurement.tokens_per_s)}{THIN}tokens/s when {doing}"


def describe_result(result: BenchResult) -> str:
    """What was measured, when and with what, in one sentence."""
    rates = [describe_rate(m) for m in (result.find("decode"), result.find("prefill")) if m is not None]
    rates = rates or [describe_rate(result.measurements[0])]
    threads = "1 thread" if result.n_threads == 1 else f"{result.n_threads} threads"
    return f"Measured here on {result.measured_at[:10]} in {result.elapsed_s:.0f} s, {threads}: {', '.join(rates)}."


def describe_memory(result: BenchResult) -> str:
    """The peak beside the estimate."""
    use = result.memory
    expected = f"{format_bytes(use.expected_bytes)} were estimated"
    if use.peak_bytes <= use.before_bytes:
        return f"Peak memory could not be read; {expected}."
    return f"Peak memory {format_bytes(use.taken_bytes)}, {expected} for {format_tokens(result.n_ctx_tokens)} tokens."


def list_notes(result: BenchResult) -> tuple[str, ...]:
    """How it was measured, then what was not."""
    how = f"{result.llama_cpp_version and f'llama-cpp-python {result.llama_cpp_version}: '}medians over repetitions"
    skipped = (f"{name_step(s.kind, s.depth_tokens)} was not measured: {s.reason}" for s in result.skipped)
    estimated = "estimated before: what the formulas say without any measurement here" if result.expected else ""
    return tuple(note for note in (how, *result.notes, estimated, *skipped) if note)


def name_step(kind: str, depth_tokens: int, n_tokens: int | None = None) -> str:
    """'Writing after 2,048 tokens', 'Reading 512 tokens'."""
    if kind == "prefill":
        return f"Reading {format_tokens(n_tokens)} tokens" if n_tokens else "Reading"
    return f"Writing after {format_tokens(depth_tokens)} tokens" if depth_tokens else "Writing from the start"


def tabulate(result: BenchResult) -> pd.DataFrame:
    """A row per thing timed, in tokens per second, beside the interval estimated for it."""
    expected = {(e.kind, e.depth_tokens): e.tokens_per_s for e in result.expected}
    rows = [(m, expected.get((m.kind, m.depth_tokens))) for m in result.measurements]
    return pd.DataFrame(
        {
            "Tokens/s": [name_step(m.kind, m.depth_tokens, m.n_tokens) for m, _ in rows],
            "Median": [format_figures(m.tokens_per_s) for m, _ in rows],
            "Slowest to fastest": [format_range(m.low_tokens_per_s, m.high_tokens_per_s) for m, _ in rows],
            "Estimated before": [format_range(e.low, e.high) if e else "unknown" for _, e in rows],
            "": [compare(m, e) for m, e in rows],
        }
    )


def compare(measurement: Measurement, estimated: Interval | None) -> str:
    """Where the median lies: 'within', 'faster' or 'slower' than estimated; empty without an estimate."""
    if estimated is None:
        return ""
    if measurement.tokens_per_s > estimated.high:
        return "faster"
    return "slower" if measurement.tokens_per_s < estimated.low else "within"


def show_calibration(machine: Machine) -> None:
    """A quiet line where speeds follow what was measured on the machine."""
    told = say_calibration(machine)
    if told is not None:
        st.html(f'<p class="wb-quiet">Speed {escape(told)}.</p>')

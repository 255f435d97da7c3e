"""The button that times a model on this machine: every end it can come to, while the page stays up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from evals.bench import Progress
from evals.bench_result import (
    BenchRefusal,
    BenchResult,
    ExpectedSpeed,
    Measurement,
    MemoryUse,
    RefusalReason,
    Skipped,
    load_results,
)
from evals.bench_room import BenchPlan
from pages.ui import bench, cached
from pages.ui.bench import BUTTON, STOP_BUTTON, benches, compare, describe_memory, list_notes, tabulate
from sizing.hardware import Machine
from sizing.specs import ModelSpec
from sizing.throughput import Interval
from sizing.units import GIB

OpenPage = Callable[..., AppTest]
MODEL, QUANT = "SmolLM2-135M-Instruct", "Q8_0"
SMALL = {"model": MODEL, "quant": QUANT, "context": "2048"}
RESULT = BenchResult(
    run_id="a",
    measured_at="2026-01-02T03:04:05+00:00",
    subject="ghost",
    model_id="somebody/a-model",
    quant=QUANT,
    is_moe=False,
    description="a model",
    file_bytes=GIB,
    disk_bytes=4096,
    n_ctx_tokens=2304,
    n_threads=2,
    n_gpu_layers=0,
    host_name="a host",
    bandwidth_bytes_per_s=40e9,
    llama_cpp_version="1.2.3",
    load_s=0.5,
    elapsed_s=12.0,
    repacked=False,
    memory=MemoryUse(2 * GIB, GIB, 4 * GIB, GIB, GIB),
    measurements=(
        Measurement("decode", 0, 10, (0.5, 0.4, 0.25), "empty", 0.99),
        Measurement("prefill", 0, 512, (2.0, 1.0, 4.0), "empty", 0.99),
        Measurement("decode", 2048, 8, (1.0, 1.0), "copied", 0.99),
    ),
    skipped=(Skipped("decode", 8192, "would take about 80 s and 20 of 60 s are left"),),
    expected=(
        ExpectedSpeed("decode", 0, Interval(30.0, 40.0, 50.0)),
        ExpectedSpeed("prefill", 0, Interval(200.0, 250.0, 300.0)),
    ),
    notes=("measured with a file of the model's shape; the real one may be a few percent faster",),
)

Answer = BenchResult | BenchRefusal | Exception


class FakeEngine:
    """Stands in for `measure_ghost`: says its lines, waits where it is told to, and ends with an answer."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str, BenchPlan]] = []
        self.said = threading.Event()
        self.go_on = threading.Event()

    def __call__(
        self,
        spec: ModelSpec,
        quant: str,
        machine: Machine,
        home: Path,
        plan: BenchPlan,
        progress: Progress,
        types: Mapping[str, str] | None = None,
    ) -> BenchResult | BenchRefusal:
        self.asked.append((spec.model_id, quant, plan))
        progress("writing a file of the model's shape")
        progress("loading")
        self.said.set()
        assert self.go_on.wait(20)
        progress("decode: 25 tokens/s, 3 times")
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, BenchRefusal):
            return self.answer
        return replace(self.answer, model_id=spec.model_id, quant=quant, host_name=machine.host.name)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path))
    benches.clear()
    cached.detected_machine.clear()
    yield tmp_path
    cached.detected_machine.clear()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], FakeEngine]]:
    """Put a fake in place of the engine, which is let go on at the end whatever happens."""
    made: list[FakeEngine] = []

    def put(answer: Answer) -> FakeEngine:
        made.append(FakeEngine(answer))
        monkeypatch.setattr("evals.bench.measure_ghost", made[-1])
        return made[-1]

    yield put
    for fake in made:
        fake.go_on.set()
    wait_for_end()


PutEngine = Callable[[Answer], FakeEngine]


def find_button(app: AppTest, label: str) -> list[object]:
    return [b for b in app.button if b.label == label]


def press(app: AppTest, label: str) -> AppTest:
    (button,) = [b for b in app.button if b.label == label]
    return button.click().run()


def wait_for_end(at_most_s: float = 20.0) -> None:
    deadline = time.monotonic() + at_most_s
    while benches().running is not None:
        assert time.monotonic() < deadline, "the measurement did not end"
        time.sleep(0.02)


def html_of(app: AppTest) -> str:
    return " ".join(e.proto.body for e in app.get("html"))


def warnings_of(app: AppTest) -> str:
    return " ".join(w.value for w in app.warning)


def tables_of(app: AppTest) -> list[list[str]]:
    return [list(d.value["Median"]) for d in app.dataframe if "Median" in d.value.columns]


# What is shown of a result


def test_the_table_gives_median_and_range_beside_the_estimate() -> None:
    table = tabulate(RESULT)
    # ten tokens in 0.5, 0.4 and 0.25 s are 20, 25 and 40 a second; 512 in 1, 2 and 4 s are 512, 256 and 128
    assert list(table["Tokens/s"]) == ["Writing from the start", "Reading 512 tokens", "Writing after 2,048 tokens"]
    assert list(table["Median"]) == ["25.0", "256", "8.00"]
    assert list(table["Slowest to fastest"]) == ["20 to 40", "130 to 510", "8.00"]
    assert list(table["Estimated before"]) == ["30 to 50", "200 to 300", "unknown"]
    assert list(table[""]) == ["slower", "within", ""]
    assert compare(RESULT.measurements[0], Interval(1, 2, 3)) == "faster"


def test_memory_is_the_peak_less_what_the_engine_takes_without_a_model() -> None:
    told = describe_memory(RESULT).replace("\u2009", " ")
    assert "Peak memory 3.00 GiB, 2.00 GiB were estimated" in told
    unread = replace(RESULT, memory=replace(RESULT.memory, peak_bytes=0))
    assert "could not be read" in describe_memory(unread)


def test_what_was_not_measured_is_said_with_its_reason() -> None:
    notes = list_notes(RESULT)
    assert any("few percent faster" in note for note in notes)
    assert "Writing after 8,192 tokens was not measured: would take about 80 s and 20 of 60 s are left" in notes


# The button


@pytest.mark.parametrize("page", ["choose", "size"])
def test_only_this_machine_can_be_tried(open_page: OpenPage, page: str) -> None:
    assert not find_button(open_page(page, machine="RTX 4090"), BUTTON)
    assert find_button(open_page(page, context="2048"), BUTTON)


def test_progress_then_a_result_that_is_kept_and_calibrates(open_page: OpenPage, engine: PutEngine, home: Path) -> None:
    fake = engine(RESULT)
    app = open_page("size", **SMALL, kv_k="q8_0")
    assert "calibrated here" not in html_of(app)
    app = press(app, BUTTON)
    assert fake.said.wait(20)
    app.run()
    assert "Loading ..." in html_of(app) and "Writing a file of the model&#x27;s shape." in html_of(app)
    assert find_button(app, STOP_BUTTON) and not tables_of(app)
    assert app.button(key="bench").disabled
    fake.go_on.set()
    wait_for_end()
    app.run()
    assert not app.exception
    assert tables_of(app) == [["25.0", "256", "8.00"]]
    assert "now follow this measurement" in html_of(app)
    assert "Speed calibrated here on 2026-01-02" in html_of(app)
    assert not app.button(key="bench").disabled
    ((model_id, quant, plan),) = fake.asked
    assert (model_id.rsplit("/")[-1], quant) == (MODEL, QUANT)
    assert plan.max_seconds <= 60 and plan.workload.kv_type_k == "q8_0"
    (kept,) = load_results(home)
    assert kept.model_id == model_id and kept.measurements == RESULT.measurements


def test_another_configuration_tells_of_the_last_one_in_a_line(open_page: OpenPage, engine: PutEngine) -> None:
    engine(RESULT).go_on.set()
    press(open_page("size", **SMALL), BUTTON)
    wait_for_end()
    app = open_page("size", **{**SMALL, "quant": "Q4_K_M"})
    assert not tables_of(app)
    assert "Measured last: SmolLM2 135M Instruct at Q8_0" in html_of(app)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (RefusalReason.TOO_LARGE, "It was not tried, for it would not fit"),
        (RefusalReason.NO_ROOM, "for the disk is full"),
        (RefusalReason.BUSY, "It was not tried"),
        (RefusalReason.ENGINE, "llama.cpp could not run it"),
    ],
)
def test_a_refusal_is_a_kind_sentence(
    open_page: OpenPage, engine: PutEngine, home: Path, reason: RefusalReason, told: str
) -> None:
    engine(BenchRefusal(reason, "why it is so, and what to do")).go_on.set()
    app = press(open_page("size", **SMALL), BUTTON)
    wait_for_end()
    app.run()
    assert told in warnings_of(app) and "why it is so, and what to do." in warnings_of(app)
    assert not tables_of(app) and not load_results(home)
    assert not app.button(key="bench").disabled


def test_an_unforeseen_failure_leaves_the_page_up_and_the_turn_free(open_page: OpenPage, engine: PutEngine) -> None:
    engine(ZeroDivisionError("of all things")).go_on.set()
    app = press(open_page("size", **SMALL), BUTTON)
    wait_for_end()
    app.run()
    assert "failed unexpectedly" in warnings_of(app) and "of all things" in warnings_of(app)
    assert not app.exception and not app.button(key="bench").disabled


def test_stopping_keeps_nothing(open_page: OpenPage, engine: PutEngine, home: Path) -> None:
    fake = engine(RESULT)
    app = press(open_page("size", **SMALL), BUTTON)
    assert fake.said.wait(20)
    app.run()
    app = press(app, STOP_BUTTON)
    assert "Stopping after this step" in html_of(app)
    fake.go_on.set()
    wait_for_end()
    app.run()
    assert "was stopped; nothing of it was kept" in html_of(app) and not warnings_of(app)
    assert not tables_of(app) and not load_results(home)


def test_two_presses_at_once_are_one_measurement(open_page: OpenPage, engine: PutEngine) -> None:
    fake = engine(RESULT)
    first, second = open_page("size", **SMALL), open_page("size", **{**SMALL, "quant": "Q4_K_M"})
    press(first, BUTTON)
    assert fake.said.wait(20)
    second = press(second, BUTTON)
    assert "One at a time: measuring SmolLM2 135M Instruct at Q8_0" in html_of(second)
    fake.go_on.set()
    wait_for_end()
    assert [quant for _, quant, _ in fake.asked] == [QUANT]


def test_a_result_that_cannot_be_kept_is_shown_all_the_same(open_page: OpenPage, engine: PutEngine, home: Path) -> None:
    (home / "runs").write_text("a file where the folder should be")
    engine(RESULT).go_on.set()
    app = press(open_page("size", **SMALL), BUTTON)
    wait_for_end()
    app.run()
    assert "The result was not kept" in warnings_of(app)
    assert tables_of(app) == [["25.0", "256", "8.00"]]
    assert "now follow this measurement" not in html_of(app)


def test_a_busy_machine_is_said_and_teaches_nothing(open_page: OpenPage, engine: PutEngine) -> None:
    busy = tuple(replace(m, cpu_share=0.4) for m in RESULT.measurements)
    engine(replace(RESULT, measurements=busy)).go_on.set()
    app = press(open_page("size", **SMALL), BUTTON)
    wait_for_end()
    app.run()
    assert "these figures are too low" in warnings_of(app)
    assert "now follow" not in html_of(app) and "calibrated here" not in html_of(app)


@pytest.mark.engine
def test_a_small_model_is_really_timed(open_page: OpenPage, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = BenchPlan(depths_tokens=(0,), prefill_tokens=32, repetitions=1, max_seconds=30, n_threads=1)
    monkeypatch.setattr(bench, "build_plan", lambda asked: quick)
    app = press(open_page("size", **SMALL), BUTTON)
    wait_for_end(60)
    app.run()
    assert not app.exception
    assert len(tables_of(app)) == 1, warnings_of(app)
    (shown,) = tables_of(app)
    (kept,) = load_results(home)
    assert len(shown) == len(kept.measurements) >= 1
    assert all(m.tokens_per_s > 0 for m in kept.measurements)
    assert not list((home / "ghosts").iterdir())

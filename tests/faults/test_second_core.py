"""The second process: its answers are the app's, and none is lost when it is killed, hangs or cannot start."""

from __future__ import annotations

import io
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
from streamlit.testing.v1 import AppTest

from catalog import queries
from catalog.store import Catalog, open_catalog
from pages.ui import calculations, second_core
from pages.ui.second_core import SecondProcess, TooLongError
from sizing import inverse
from sizing.workload import Workload

Grid = tuple[object, ...]
CONTEXTS = (4096, 8192)


@pytest.fixture(scope="module")
def known() -> Catalog:
    return open_catalog()


@pytest.fixture(scope="module")
def values(known: Catalog) -> Grid:
    """What a grid of contexts and users is asked with."""
    card = next(c for c in known.cards if c.spec.context_tokens >= 8192 and queries.list_weights(known, c.model_id))
    weights = queries.list_weights(known, card.model_id)[0]
    return (card.spec, weights, Workload(8192, 1), queries.find_machine(known, "24 GiB card at 936 GB/s"), CONTEXTS)


@pytest.fixture(scope="module")
def expected(values: Grid) -> object:
    spec, weights, workload, machine, contexts = values
    return inverse.list_context_grid(spec, weights, workload, machine, contexts=contexts)  # type: ignore[arg-type]


@pytest.fixture
def process() -> Iterator[SecondProcess]:
    made = SecondProcess()
    yield made
    made.end()


def never() -> object:
    raise AssertionError("the app was to work it out itself")


def test_its_answers_are_those_of_the_app_and_it_stays_for_the_next_question(
    process: SecondProcess, values: Grid, expected: object
) -> None:
    assert process.ask("list_context_grid", values, never) == expected
    first = process.pid
    assert process.ask("list_context_grid", values, never) == expected and process.pid == first


def test_killed_between_two_questions_it_is_replaced(process: SecondProcess, values: Grid, expected: object) -> None:
    process.start()
    killed = process.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    psutil.Process(killed).wait(10)
    assert process.ask("list_context_grid", values, never) == expected
    assert process.pid not in (None, killed)


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.stdin.buffer.read(9)",
        "import os, sys; sys.stdin.buffer.read(9); os.kill(os.getpid(), 9)",
        "import sys; sys.stdin.buffer.read(9); sys.stdout.write('no pickle at all'); sys.stdout.flush()",
        "raise SystemExit(1)",
    ],
    ids=["ends", "is killed", "answers nonsense", "cannot start"],
)
def test_where_it_gives_no_answer_the_app_works_it_out(code: str) -> None:
    process = SecondProcess(command=(sys.executable, "-c", code))
    assert process.ask("find_hardware", ((),), lambda: "worked out here") == "worked out here"
    assert process.pid is None


def test_where_there_is_no_such_program_the_app_works_it_out() -> None:
    process = SecondProcess(command=("/no/such/python",))
    assert process.ask("find_hardware", ((),), lambda: "worked out here") == "worked out here"


def test_an_error_in_it_is_met_again_in_the_app_and_it_goes_on(
    process: SecondProcess, values: Grid, expected: object
) -> None:
    def refuse() -> object:
        raise ValueError("as the app says it")

    with pytest.raises(ValueError, match="as the app says it"):
        process.ask("list_context_grid", ("no", "such", "values", "at", "all"), refuse)
    assert process.pid is not None
    assert process.ask("list_context_grid", values, never) == expected


def test_a_calculation_that_hangs_is_given_up_with_a_sentence() -> None:
    process = SecondProcess(command=(sys.executable, "-c", "import time; time.sleep(60)"), longest_s=1)
    begun = time.monotonic()
    with pytest.raises(TooLongError, match="given up after 1 s; ask for less, or try again"):
        process.ask("find_hardware", ((),), never)
    assert time.monotonic() - begun < 30 and process.pid is None


def test_it_ends_when_the_app_lets_go_of_its_input(process: SecondProcess, values: Grid) -> None:
    process.ask("list_context_grid", values, never)
    assert process._process is not None and process._process.stdin is not None
    process._process.stdin.close()
    assert process._process.wait(20) == 0


def test_it_opens_the_catalog_anew_for_a_newer_generation_only(
    monkeypatch: pytest.MonkeyPatch, known: Catalog, values: Grid, expected: object
) -> None:
    opened = []
    monkeypatch.setattr(calculations, "open_catalog", lambda imports: opened.append(imports) or known)
    asked = io.BytesIO(b"".join(pickle.dumps(("list_context_grid", n, values)) for n in (0, 0, 1, 1)))
    answers = io.BytesIO()
    calculations.answer_all(asked, answers)
    assert len(opened) == 2
    answers.seek(0)
    assert [pickle.load(answers) for _ in range(4)] == [(True, expected)] * 4


def test_without_a_server_the_app_works_everything_out_itself() -> None:
    def draw() -> None:
        import streamlit

        from pages.ui import second_core

        second_core.start()
        streamlit.write(second_core.ask("find_hardware", ((),), lambda: "worked out here"))

    drawn = AppTest.from_function(draw).run()
    assert not drawn.exception and drawn.markdown[0].value == "worked out here"
    assert second_core.ask("find_hardware", ((),), lambda: "here") == "here"
    assert second_core._second.pid is None


def test_it_does_without_streamlit(process: SecondProcess) -> None:
    process.command = (
        sys.executable,
        "-c",
        "import pickle, sys, pages.ui.calculations; sys.stdin.buffer.read(9);"
        "pickle.dump((True, {'streamlit', 'pandas', 'plotly'} & set(sys.modules)), sys.stdout.buffer)",
    )
    assert process.ask("", (), never) == set()

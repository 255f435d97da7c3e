"""What is set on the Evaluate page lasts: in the address, through another page, and in a link to somebody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from evals.plans import EvalSettings
from pages.ui import evaluation
from tests.pages.eval_runs import FakeQueue
from tests.pages.test_pages import html_of, warnings_of

OpenPage = Callable[..., AppTest]

ASKED = {
    "eval_context": "2048",
    "eval_parallel": "3",
    "eval_kv_k": "q8_0",
    "eval_kv_v": "q4_0",
    "eval_layers": "0",
    "eval_seed": "77",
    "eval_plain": "on",
}
"""Every setting of how models are asked, none as it is by itself."""
AS_SETTINGS = EvalSettings(2048, 3, "q8_0", "q4_0", n_gpu_layers=0, seed=77, template="none")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def queue(monkeypatch: pytest.MonkeyPatch) -> FakeQueue:
    fake = FakeQueue()
    monkeypatch.setattr(evaluation, "_queue", lambda home: fake)
    return fake


@pytest.fixture
def evaluate() -> OpenPage:
    """Open the page straight from a link."""

    def run(**address: str) -> AppTest:
        app = AppTest.from_file(str(Path(__file__).resolve().parents[2] / "app.py"), default_timeout=60)
        app.switch_page("pages/evaluate.py")
        for name, value in address.items():
            app.query_params[name] = value
        return app.run()

    return run


def go_away_and_back(app: AppTest) -> AppTest:
    """Open another page from the navigation, whose address is bare, and come back the same way."""
    for page in ("guide", "evaluate"):
        app.switch_page(f"pages/{page}.py")
        app.query_params.clear()
        app = app.run()
        assert not app.exception
    return app


def address_of(app: AppTest) -> dict[str, str]:
    """The address without the version of the catalog, which every page has."""
    found = {k: v[0] if isinstance(v, list) else v for k, v in app.query_params.items()}
    return {k: v for k, v in found.items() if k != "catalog"}


def start(app: AppTest) -> AppTest:
    """Press Start."""
    return app.button(key="eval_start").click().run()


# How models are asked


def test_how_models_are_asked_is_in_the_address_and_survives_another_page(evaluate: OpenPage, queue: FakeQueue) -> None:
    app = evaluate()
    assert address_of(app) == {}
    app.number_input(key="field_eval_context").set_value(2048)
    app.number_input(key="field_eval_parallel").set_value(3)
    app.selectbox(key="field_eval_kv_k").select("q8_0")
    app.selectbox(key="field_eval_kv_v").select("q4_0")
    app.number_input(key="field_eval_layers").set_value(0)
    app.number_input(key="field_eval_seed").set_value(77)
    app.toggle(key="field_eval_plain").set_value(True)
    app = app.run()
    assert address_of(app) == ASKED
    app = go_away_and_back(app)
    assert address_of(app) == ASKED
    start(app)
    assert [p.settings for p in queue.plans] == [AS_SETTINGS]


def test_a_link_asks_models_as_it_says_and_the_page_says_so_unopened(evaluate: OpenPage, queue: FakeQueue) -> None:
    app = evaluate(**ASKED)
    assert not app.exception and not app.warning
    told = "2,048 tokens of context, 3 side by side, K cache q8_0, V cache q4_0, 0 layers on the accelerator, seed 77"
    assert f"Asked with {told}, plain text." in html_of(app)
    start(app)
    assert [p.settings for p in queue.plans] == [AS_SETTINGS]


def test_nothing_set_asks_as_the_engine_room_does_by_itself(evaluate: OpenPage, queue: FakeQueue) -> None:
    app = start(evaluate())
    assert [p.settings for p in queue.plans] == [EvalSettings()]
    assert "Asked with" not in html_of(app)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("eval_context", "63", "eval_context (tokens) wants auto or a whole number from 64 to 4,194,304, got 63"),
        ("eval_parallel", "many", "eval_parallel (questions) wants a whole number from 1 to 256, got 'many'"),
        ("eval_kv_k", "q9_9", "q9_9"),
        ("eval_kv_v", "f64", "f64"),
        ("eval_layers", "-1", "eval_layers wants auto or a whole number from 0 to 10,000, got -1"),
        ("eval_seed", str(2**32), "eval_seed wants a whole number from 0 to 4,294,967,295, got 4,294,967,296"),
        ("eval_plain", "maybe", "eval_plain wants one of on, off, got 'maybe'"),
    ],
)
def test_a_setting_that_cannot_be_is_said_and_replaced(
    evaluate: OpenPage, queue: FakeQueue, name: str, text: str, said: str
) -> None:
    app = evaluate(**{name: text})
    told = warnings_of(app).replace("\\", "").casefold()
    assert not app.exception and said.casefold() in told and "instead" in told
    assert address_of(app) == {}
    start(app)
    assert [p.settings for p in queue.plans] == [EvalSettings()]

"""What is set on the Evaluate page lasts: in the address, through another page, and in a link to somebody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from evals.demo.measure import MODEL_FILE
from evals.own_data import Mapping, build_items, read_table, save_own_suite
from evals.plans import EvalSettings
from pages.ui import eval_queue, inputs
from tests.pages.eval_runs import DEMO, DEMO_2, QWEN, QWEN_ID, FakeQueue, write_divergence
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
    monkeypatch.setattr(eval_queue, "_queue", lambda home: fake)
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


# Which model a file is, who judges, and what was agreed to


def test_which_model_a_file_is_stays_said_and_a_link_says_it_too(evaluate: OpenPage, queue: FakeQueue) -> None:
    app = evaluate(models=f"file:{MODEL_FILE}")
    (box,) = [s for s in app.selectbox if s.label.endswith(" is")]
    assert box.value == ""
    app = go_away_and_back(box.select(QWEN_ID).run())
    address = address_of(app)
    assert address["file_is"].endswith(f"={QWEN_ID}") and str(MODEL_FILE) not in address["file_is"]
    start(app)
    start(evaluate(**address))
    assert [p.model.model_id for p in queue.plans] == [QWEN_ID, QWEN_ID]
    (box,) = [s for s in app.selectbox if s.label.endswith(" is")]
    assert "file_is" not in address_of(box.select("").run()), "what the file itself says is not written"


def test_a_model_nobody_knows_is_said_of_a_file_and_left_out(evaluate: OpenPage, queue: FakeQueue) -> None:
    app = evaluate(models=f"file:{MODEL_FILE}")
    (box,) = [s for s in app.selectbox if s.label.endswith(" is")]
    said = address_of(box.select(QWEN_ID).run())["file_is"].replace(QWEN_ID, "Nobody/Knows-9B")
    app = evaluate(models=f"file:{MODEL_FILE}", file_is=said)
    assert not app.exception and "Knows" in warnings_of(app) and "not in the catalog instead" in warnings_of(app)
    start(app)
    assert [p.model.model_id for p in queue.plans] == [""]


def add_server(app: AppTest, name: str, port: int) -> AppTest:
    """Put a server among the models of the session."""
    app.text_input(key="endpoint_url").set_value(f"http://127.0.0.1:{port}/v1")
    app.text_input(key="endpoint_model").set_value(name)
    app.text_input(key="endpoint_key").set_value("sk-very-secret")
    app = app.button(key="endpoint_add").click().run()
    return app.multiselect(key="field_models").set_value(["demo:Q8_0"]).run()


def save_judged_suite(home: Path) -> None:
    """A suite of the person's own that a model judges."""
    table = read_table(b"question,answer\nSay hello nicely,Hello\n", "kind.csv")
    save_own_suite(home, "kind", build_items(table, Mapping("question", "answer", scorer="judge")).items, "")


def test_who_judges_is_in_the_address_and_its_key_is_not(evaluate: OpenPage, home: Path, queue: FakeQueue) -> None:
    save_judged_suite(home)
    app = add_server(add_server(evaluate(suites="own:kind"), "first", 8), "second", 9)
    assert "judge" not in address_of(app)
    app = go_away_and_back(app.selectbox(key="field_judge").select("second").run())
    assert address_of(app)["judge"] == "second"
    start(app)
    judge = queue.plans[0].judge
    assert judge is not None and judge.name == "second" and queue.keys == ["sk-very-secret"]
    assert "sk-very-secret" not in str(app.query_params)


def test_a_judge_of_another_session_is_said_and_replaced(evaluate: OpenPage, home: Path) -> None:
    save_judged_suite(home)
    app = add_server(evaluate(suites="own:kind", judge="gone"), "first", 8)
    assert "The judge gone is not known in this session" in warnings_of(app) and "Using first" in warnings_of(app)
    assert app.selectbox(key="field_judge").value == "first"


def test_consent_lasts_in_the_session_and_no_link_gives_it(evaluate: OpenPage, queue: FakeQueue) -> None:
    app = evaluate(suites="code", allow_code="on", agree="on")
    assert app.button(key="eval_start").disabled and not app.checkbox(key="allow_code").value
    app = go_away_and_back(app.checkbox(key="allow_code").check().run())
    assert app.checkbox(key="allow_code").value
    assert address_of(app) == {"suites": "code"}
    start(app)
    assert [p.allow_code for p in queue.plans] == [True]
    assert not evaluate(suites="code").checkbox(key="allow_code").value, "another session was not asked"


# Quantization damage, and the open tab


def test_what_is_held_against_what_survives_another_page_and_is_a_link(evaluate: OpenPage, queue: FakeQueue) -> None:
    app = evaluate()
    app = app.selectbox(key="field_damage_reference").select("demo:Q8_0").run()
    app.multiselect(key="field_damage_against").set_value(["demo:Q2_K", "demo:F16"])
    app.selectbox(key="field_damage_text").select("demo")
    app.segmented_control(key="field_damage_minutes").set_value("all")
    app = go_away_and_back(app.run())
    address = address_of(app)
    assert address == {
        "damage_reference": "demo:Q8_0",
        "damage_against": "demo:Q2_K|demo:F16",
        "damage_text": "demo",
        "damage_minutes": "all",
    }
    for page in (app, evaluate(**address)):
        page.button(key="damage_start").click().run()
    asked = [(p.reference.quant if p.reference else "", p.model.quant, p.text, p.minutes) for p in queue.plans]
    assert asked == [("Q8_0", "Q2_K", "demo", None), ("Q8_0", "F16", "demo", None)] * 2


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ({"damage_reference": "demo:Q9_X"}, "no model called 'demo:Q9_X' here. Using Weighbridge Demo at F16 instead."),
        ({"damage_reference": "file:/nowhere/a.gguf"}, "no file at /nowhere/a.gguf; check the path. Using Weighbridge"),
        (
            {"damage_against": "demo:Q2_K|file:/nowhere/b.gguf"},
            "no file at /nowhere/b.gguf; check the path. It is left",
        ),
        ({"damage_text": "novel"}, "wants one of own, demo, yours, got 'novel'. Using own instead."),
        ({"damage_minutes": "5"}, "wants one of 2, 10, all, got '5'. Using 2 instead."),
        ({"eval_tab": "secret"}, "wants one of results, damage, own, got 'secret'. Using results instead."),
        ({"file_is": "zz=Qwen/Qwen3-14B"}, "pairs of a file's mark and a model, parted by |, got 'zz=Qwen/Qwen3-14B'"),
    ],
)
def test_nonsense_about_damage_is_said_and_replaced(evaluate: OpenPage, address: dict[str, str], said: str) -> None:
    app = evaluate(**address)
    assert not app.exception and said in warnings_of(app).replace("\\", "").replace("`", "")
    assert app.selectbox(key="field_damage_reference").value == "demo:F16"
    assert "/nowhere" not in str(app.multiselect(key="field_damage_against").value)


def test_the_measurement_that_is_read_is_a_link(evaluate: OpenPage, home: Path) -> None:
    older = write_divergence(home, DEMO_2, DEMO)
    newer = write_divergence(home, QWEN, DEMO, number=1)
    app = evaluate()
    assert app.selectbox(key="field_damage_run").value == newer and address_of(app) == {}
    app = go_away_and_back(app.selectbox(key="field_damage_run").select(older).run())
    assert address_of(app) == {"damage_run": older}
    app = evaluate(damage_run=older)
    assert app.selectbox(key="field_damage_run").value == older and "Q2_K on:" in html_of(app)
    app = evaluate(damage_run="../../etc")
    assert "No measurement ../../etc is on this machine" in warnings_of(app).replace("\\", "")
    assert app.selectbox(key="field_damage_run").value == newer


def test_the_open_tab_is_in_the_address(evaluate: OpenPage) -> None:
    for name, index in (("results", 0), ("damage", 1), ("own", 2)):
        app = evaluate(eval_tab=name)
        (block,) = app.get("tab_container")
        assert block.proto.tab_container.default_tab_index == index
        assert address_of(go_away_and_back(app)) == ({} if name == "results" else {"eval_tab": name})


# For somebody else


def test_a_link_for_another_computer_leaves_out_what_is_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    set_here = {
        **ASKED,
        "judge": "my server",
        "file_is": "0123456789ab=Qwen/Qwen3-14B",
        "damage_reference": "file:/srv/private/q8.gguf",
        "damage_against": "demo:Q2_K|file:/srv/private/q4.gguf",
        "damage_run": "20261125-130000-abcdef",
        "eval_tab": "damage",
    }
    monkeypatch.setattr("streamlit.session_state", {"address": set_here})
    given = inputs.page_address("evaluate", "RTX 4090")
    assert {k: given.get(k) for k in ASKED} == ASKED and given["eval_tab"] == "damage"
    assert given["damage_against"] == "demo:Q2_K"
    assert not {"judge", "file_is", "damage_run", "damage_reference"} & set(given)
    assert not set(set_here) & set(inputs.page_address("size", "RTX 4090")), "other pages ask nothing of this"

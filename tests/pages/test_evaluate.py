"""The Evaluate page over run files: the sentence, the live list, results, details, and what else it offers."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from evals.demo.measure import MODEL_FILE
from evals.own_data import list_own_suites
from evals.plans import ModelKind, RunKind, TestedModel
from evals.run_files import RunState, find_run_path
from pages.ui import (
    eval_queue,
    evaluate_damage,
    evaluate_endpoint,
    evaluate_own,
    evaluate_results,
    evaluate_setup,
    evaluation,
)
from pages.ui.evaluate_words import format_percent, format_time_left, round_up
from pages.ui.markdown_text import escape_markdown
from tests.pages.eval_runs import DEMO, DEMO_2, QWEN, QWEN_ID, SHA, FakeQueue, write_divergence, write_run
from tests.pages.test_pages import html_of, warnings_of

OpenPage = Callable[..., AppTest]

GOOD = [i % 10 != 0 for i in range(100)]
"""90 of 100 right."""
BAD = [i % 2 == 0 and i % 10 != 0 for i in range(100)]
"""40 of 100 right, all of them items that GOOD has right too."""
NEAR = [i % 10 not in (0, 1) or i == 1 for i in range(100)]
"""81 of 100 right: nine items fewer than GOOD, which a paired test tells from it."""
SAME = [not r if i in (0, 1) else r for i, r in enumerate(GOOD)]
"""90 of 100 right: one item won and one lost against GOOD."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def queue(monkeypatch: pytest.MonkeyPatch) -> FakeQueue:
    fake = FakeQueue()
    monkeypatch.setattr(eval_queue, "_queue", lambda home: fake)
    evaluation._compare.clear()  # tests give runs the same ids, which the app never does
    evaluation._sum_up_windows.clear()
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


@pytest.fixture
def held() -> Iterator[Callable[[Path], None]]:
    """Hold a run's file as a worker does."""
    handles = []

    def hold(path: Path) -> None:
        handle = os.open(path, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        handles.append(handle)

    yield hold
    for handle in handles:
        os.close(handle)


def answer_of(app: AppTest) -> str:
    return html_of(app).split('<h1 class="wb-answer">')[1].split("</h1>")[0]


def texts_of(app: AppTest) -> list[str]:
    return [c.value for c in app.code if "catalog=" not in c.value]


def table_of(app: AppTest, column: str) -> list[dict[str, object]]:
    (found,) = [d.value for d in app.dataframe if column in d.value.columns]
    return found.to_dict("records")


def button_of(app: AppTest, label: str):
    (button,) = [b for b in app.button if b.label == label]
    return button


# Nothing measured yet


def test_an_empty_page_says_what_to_do_and_can_start_at_once(evaluate: OpenPage, queue: FakeQueue) -> None:
    app = evaluate()
    assert not app.exception and not app.warning
    assert answer_of(app) == "Nothing was measured on this machine yet."
    assert "press Start" in " ".join(m.value for m in app.markdown)
    assert "The first items will tell" in html_of(app).replace("the first", "The first")
    app = button_of(app, "Start").click().run()
    (plan,) = queue.plans
    assert plan.model == DEMO and plan.suites == ("demo",) and plan.minutes == 5.0 and plan.limit is None


def test_one_run_for_each_model_with_every_suite(evaluate: OpenPage, queue: FakeQueue) -> None:
    app = evaluate(models="demo:F16|demo:Q2_K", suites="demo|arithmetic", take="items", items="30", tasks="gsm8k, mmlu")
    assert "2 runs, one after the other" in html_of(app)
    button_of(app, "Start").click().run()
    assert [p.model.quant for p in queue.plans] == ["F16", "Q2_K"]
    assert all(p.suites == ("demo", "arithmetic", "gsm8k", "mmlu") for p in queue.plans)
    assert all(p.limit == 30 and p.minutes is None for p in queue.plans)
    assert queue.plans[0].run_id < queue.plans[1].run_id


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ({"models": ""}, "Choose at least one model"),
        ({"suites": ""}, "Choose at least one suite"),
        ({"suites": "needle", "needle": ""}, "Choose a context to search"),
        ({"suites": "code"}, "agree to it, or leave it out"),
    ],
)
def test_what_is_missing_is_said_and_nothing_can_start(evaluate: OpenPage, address: dict[str, str], said: str) -> None:
    app = evaluate(**address)
    assert button_of(app, "Start").disabled
    assert said in html_of(app)


def test_code_runs_only_with_consent_in_words(evaluate: OpenPage, queue: FakeQueue) -> None:
    app = evaluate(suites="code")
    assert any("without network" in c.value for c in app.caption)
    app = app.checkbox(key="allow_code").check().run()
    button_of(app, "Start").click().run()
    assert [p.allow_code for p in queue.plans] == [True]


def test_a_needle_is_looked_for_at_each_context(evaluate: OpenPage, queue: FakeQueue) -> None:
    button_of(evaluate(suites="needle", needle="2048,8192"), "Start").click().run()
    assert queue.plans[0].suites == ("needle@2048", "needle@8192")


@pytest.mark.parametrize("address", [{"tasks": "rm -rf /"}, {"runs": "../../etc"}, {"needle": "7"}, {"take": "soon"}])
def test_nonsense_in_the_address_is_said(evaluate: OpenPage, address: dict[str, str]) -> None:
    app = evaluate(**address)
    assert not app.exception and next(iter(address.values())).split()[0] in warnings_of(app)


# Models


def test_a_typed_path_is_checked_before_it_is_offered(evaluate: OpenPage, tmp_path: Path) -> None:
    stranger = tmp_path / "notes.gguf"
    stranger.write_text("not a model at all")
    app = evaluate()
    for path, said in (
        ("/nowhere/model.gguf", "there is no file"),
        (str(stranger), "is no usable GGUF file"),
        ("model.gguf", "the whole path"),
        (str(tmp_path), "name ends in .gguf"),
    ):
        app = app.text_input(key="eval_path").set_value(path).run()
        assert said in warnings_of(app).replace("There", "there").replace("The whole", "the whole")
        assert not any(path in o for o in app.multiselect(key="field_models").options)


def test_a_file_is_chosen_by_its_path_with_its_size_and_quantization(evaluate: OpenPage, queue: FakeQueue) -> None:
    app = evaluate(models="")
    app = app.text_input(key="eval_path").set_value(str(MODEL_FILE)).run()
    assert not app.warning
    assert any("5.28 MiB" in o.replace("\u00a0", " ") for o in app.multiselect(key="field_models").options)
    (identity,) = [s for s in app.selectbox if s.label.endswith(" is")]
    assert identity.value == ""
    app = identity.select(QWEN_ID).run()
    button_of(app, "Start").click().run()
    model = queue.plans[0].model
    assert (model.kind, model.path, model.quant) == (ModelKind.FILE, str(MODEL_FILE), "F16")
    assert (model.model_id, model.name) == (QWEN_ID, "Qwen3 14B")


def test_files_in_the_folder_and_of_earlier_runs_are_offered(evaluate: OpenPage, home: Path) -> None:
    (home / "models").mkdir()
    (home / "models" / "mine.gguf").symlink_to(MODEL_FILE)
    (home / "models" / "broken.gguf").write_bytes(b"GGUF")
    options = " ".join(evaluate().multiselect(key="field_models").options)
    assert "mine.gguf" in options and "broken.gguf" not in options


def test_a_server_needs_a_sound_address_and_its_key_is_never_kept(
    evaluate: OpenPage, queue: FakeQueue, home: Path
) -> None:
    app = evaluate(models="")
    app.text_input(key="endpoint_url").set_value("ftp://there")
    app = app.button(key="endpoint_add").click().run()
    assert "ftp" in warnings_of(app) and button_of(app, "Start").disabled
    app.text_input(key="endpoint_url").set_value("http://127.0.0.1:9/v1")
    app.text_input(key="endpoint_model").set_value("big-model")
    app.text_input(key="endpoint_key").set_value("sk-very-secret")
    app = app.button(key="endpoint_add").click().run()
    app = button_of(app, "Start").click().run()
    assert queue.plans[0].model.remote_name == "big-model" and queue.keys == ["sk-very-secret"]
    assert "sk-very-secret" not in html_of(app) + str(app.query_params) + repr(queue.plans)
    assert not any("sk-very-secret" in p.read_text(errors="replace") for p in home.rglob("*") if p.is_file())


def test_probing_a_server_that_is_not_there_says_so(evaluate: OpenPage) -> None:
    app = evaluate()
    app.text_input(key="endpoint_url").set_value("http://127.0.0.1:9/v1")
    app = app.button(key="endpoint_probe").click().run(timeout=60)
    assert not app.exception and "127" in warnings_of(app)


def test_a_server_of_another_session_is_said(evaluate: OpenPage) -> None:
    assert "add it again: gone" in warnings_of(evaluate(models="endpoint:gone")).replace("\\", "")


# What the time gives


def test_earlier_runs_tell_how_many_items_a_time_gives(home: Path) -> None:
    write_run(home, DEMO, GOOD)  # 100 items in 50 s
    found = evaluation.expect_items(DEMO, ("arithmetic",), 1.0, evaluation.list_summaries(), ())
    assert found is not None and found.n_items == 120
    # Wilson's half width at a half, n = 120: 1.96 / (1 + 3.84 / 120) * sqrt(1 / 480 + 3.84 / 57600) = 0.0881
    assert found.half_width == pytest.approx(0.0881, abs=2e-4)
    two = evaluation.expect_items(DEMO, ("arithmetic", "unknown"), 1.0, evaluation.list_summaries(), ())
    assert two is not None and two.n_items == 60
    assert evaluation.expect_items(DEMO_2, ("arithmetic",), 1.0, evaluation.list_summaries(), ()) is None


# The live list


def test_a_running_run_shows_its_score_and_can_be_cancelled(
    evaluate: OpenPage, home: Path, held: Callable[[Path], None], queue: FakeQueue
) -> None:
    run_id = write_run(home, DEMO, GOOD[:40], state=RunState.RUNNING, n_planned=120)
    held(find_run_path(home, run_id))
    app = evaluate()
    shown = html_of(app).replace("\u00a0", " ")
    assert "40 of 120 items, 50.0 tokens/s, 120 items/min, about 40 s left" in shown
    assert "90% (77 to 96)" in shown  # Wilson of 36 of 40
    assert "Answering arithmetic." in shown
    button_of(app, "Cancel").click().run()
    assert queue.asked == [("cancel", run_id)]


def test_waiting_runs_stand_in_their_order(evaluate: OpenPage, home: Path) -> None:
    for number, model in ((1, DEMO), (2, QWEN)):
        write_run(home, model, [], number=number, state=RunState.QUEUED)
    shown = html_of(evaluate())
    assert shown.index("Waiting, next:") < shown.index("Waiting, number 2:") < shown.index("Qwen3 14B at Q4_K_M")


@pytest.mark.parametrize(
    ("state", "word", "why"),
    [
        (RunState.RUNNING, "Interrupted", "The app or its worker ended; 7 items are kept."),
        (RunState.FAILED, "Failed", "out of memory"),
        (RunState.CANCELLED, "Cancelled", "7 items are kept"),
    ],
)
def test_a_stopped_run_says_why_and_can_go_on_or_go(
    evaluate: OpenPage, home: Path, queue: FakeQueue, state: RunState, word: str, why: str
) -> None:
    reason = "out of memory" if state is RunState.FAILED else ""
    run_id = write_run(home, DEMO, GOOD[:7], state=state, reason=reason)
    app = evaluate()
    assert f"<b>{word}:</b>" in html_of(app) and why.lower() in html_of(app).lower()
    button_of(app, "Resume").click().run()
    button_of(app, "Remove").click().run()
    assert queue.asked == [("resume", run_id), ("remove", run_id)]


def test_an_unfinished_run_wakes_the_queue_whichever_page_is_opened(
    open_page: OpenPage, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    monkeypatch.setattr(eval_queue, "_queue", woken.append)
    write_run(home, DEMO, GOOD[:7])
    eval_queue._wake_once.clear()
    open_page("sources")
    assert woken == []
    write_run(home, DEMO, GOOD[:7], number=2, state=RunState.RUNNING)
    eval_queue._wake_once.clear()
    open_page("sources")
    assert woken == [str(home)]


# Results


def test_the_headline_is_the_difference_that_was_found(evaluate: OpenPage, home: Path) -> None:
    write_run(home, DEMO, GOOD, number=1)
    app = evaluate()
    assert answer_of(app) == "Weighbridge Demo at Q8_0: 90% (83 to 94) in arithmetic."
    write_run(home, DEMO_2, BAD, number=2)
    app = evaluate()
    assert answer_of(app) == "Weighbridge Demo: Q8_0 is better than Q2_K in arithmetic, 90% against 40%."
    assert "On 100 items that both answered." in html_of(app)


def test_the_table_holds_every_score_newest_first(evaluate: OpenPage, home: Path) -> None:
    write_run(home, DEMO, GOOD, number=1)
    write_run(home, QWEN, BAD, number=2)
    first, second = table_of(evaluate(), "95% interval")
    assert (first["Model"], first["Quantization"], first["Score"], first["95% interval"]) == (
        "Qwen3 14B",
        "Q4_K_M",
        "40%",
        "31 to 50",
    )
    assert (second["Score"], second["Items"], second["Engine"]) == ("90%", 100, "llama-cpp-python 0.3.36")
    assert (second["Writes, tokens/s"], second["Peak, GiB"], second["When"]) == ("50.0", "3.00", "2026-11-25 12:00")


def test_two_runs_that_cannot_be_told_apart_are_said_to_be(evaluate: OpenPage, home: Path) -> None:
    write_run(home, DEMO, GOOD, number=1)
    write_run(home, DEMO_2, SAME, number=2)
    app = evaluate()
    assert answer_of(app) == "Weighbridge Demo: Q8_0 and Q2_K are not distinguishable in arithmetic, 90% against 90%."
    assert any("not distinguishable" in c.value for c in app.caption)
    assert "+0.0 (" in html_of(app)
    rows = table_of(app, "Expected")
    assert sorted(r["Item"] for r in rows) == ["item-000", "item-001"]


def test_the_chart_writes_not_distinguishable_only_across_such_pairs(home: Path) -> None:
    for number, (model, right) in enumerate(((DEMO, GOOD), (DEMO_2, SAME), (QWEN, BAD))):
        write_run(home, model, right, number=number)
    scored = evaluate_results.list_scored(evaluation.list_summaries())
    (found,) = evaluate_results.group_newest(scored).values()
    row = evaluate_results.build_row(found, {})
    assert [d.value for d in row.dots] == [0.9, 0.9, 0.4]
    assert row.not_told == (True, False)


def test_every_suite_of_the_chart_has_the_models_in_one_order(home: Path) -> None:
    for number, (model, right) in enumerate(((DEMO, GOOD), (DEMO_2, BAD))):
        write_run(home, model, right, number=number)
    scored = evaluate_results.list_scored(evaluation.list_summaries())
    (found,) = evaluate_results.group_newest(scored).values()
    swapped = tuple((s, replace(x, value=1 - (x.value or 0.0))) for s, x in found)  # who is better here is worse there
    order = evaluate_results.order_models({"a": found, "b": found, "c": swapped})
    assert order == ("Weighbridge Demo at Q8_0", "Weighbridge Demo at Q2_K")
    for each in (found, swapped):
        assert tuple(d.model for d in evaluate_results.build_row(each, {}, order).dots) == order


def test_a_model_measured_again_is_drawn_once_with_its_newest_score(home: Path) -> None:
    write_run(home, DEMO, BAD, number=1)
    newest = write_run(home, DEMO, GOOD, number=2)
    (found,) = evaluate_results.group_newest(evaluate_results.list_scored(evaluation.list_summaries())).values()
    assert [s.run.run_id for s, _ in found] == [newest]


# Details


def test_one_run_tells_how_it_was_made(evaluate: OpenPage, home: Path) -> None:
    run_id = write_run(home, DEMO, GOOD)
    shown = html_of(evaluate(runs=run_id))
    assert SHA[:12] in shown and SHA not in shown
    for said in ("llama-cpp-python 0.3.36", "not used: plain text", "seed 1234", "a machine", "exact"):
        assert said in shown or said == "exact"


def test_items_are_filtered_by_what_came_of_them(evaluate: OpenPage, home: Path) -> None:
    run_id = write_run(home, DEMO, GOOD)
    app = evaluate(runs=run_id)
    assert len(table_of(app, "Seconds")) == 100
    (result,) = [s for s in app.segmented_control if s.label == "Result"]
    rows = table_of(result.set_value("wrong").run(), "Seconds")
    assert len(rows) == 10 and {r["Result"] for r in rows} == {"wrong"}


def test_an_opened_item_is_plain_text(evaluate: OpenPage, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = write_run(home, DEMO, GOOD)
    monkeypatch.setattr("pages.ui.inputs.picked_row", lambda key: 0 if key == f"table_{run_id}" else None)
    app = evaluate(runs=run_id)
    assert "How many pears? <b id='bad'>bold</b> **bold** $x$" in texts_of(app)
    assert texts_of(app).count("41") == 1 and "a guess" in texts_of(app)
    assert "item item-000: wrong." in html_of(app) and "The last number is not 41." in html_of(app)
    assert "id='bad'" not in html_of(app) and not any("pears" in m.value for m in app.markdown)


def test_two_answers_to_one_question_stand_side_by_side(
    evaluate: OpenPage, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = write_run(home, DEMO, GOOD, number=1), write_run(home, DEMO_2, BAD, number=2)
    monkeypatch.setattr("pages.ui.inputs.picked_row", lambda key: 0 if key == f"pairs_{a}_{b}" else None)
    app = evaluate(runs=f"{a},{b}")
    assert {"41", "a guess"} <= set(texts_of(app))
    assert "Q2_K: wrong." in html_of(app)


def test_runs_without_a_suite_in_common_are_not_compared(evaluate: OpenPage, home: Path) -> None:
    a = write_run(home, DEMO, GOOD, number=1)
    b = write_run(home, DEMO_2, BAD, number=2, suite="demo", title="Demo")
    shown = html_of(evaluate(runs=f"{a},{b}"))
    assert "only one of the runs has it" in shown and "is better than" not in shown


def test_a_run_that_is_gone_is_said(evaluate: OpenPage, home: Path) -> None:
    write_run(home, DEMO, GOOD)
    app = evaluate(runs="20200101-000000-aaaaaa")
    assert "20200101-000000-aaaaaa" in warnings_of(app) and not app.exception


def test_a_run_is_exported_whole(home: Path) -> None:
    write_run(home, DEMO, GOOD)
    (summary,) = evaluation.list_summaries()
    assert len(json.loads(evaluation.write_json(summary))["items"]) == 100
    assert evaluation.write_csv(summary).count("item-") == 100


def test_a_changed_file_is_read_again_and_a_removed_one_is_forgotten(home: Path) -> None:
    run_id = write_run(home, DEMO, GOOD[:5], state=RunState.RUNNING)
    (before,) = evaluation.list_summaries()
    assert before.state is RunState.INTERRUPTED and before.n_done == 5
    assert evaluation.list_summaries()[0] is before
    find_run_path(home, run_id).unlink()
    write_run(home, DEMO, GOOD[:9])
    (after,) = evaluation.list_summaries()
    assert after.n_done == 9
    (home / "runs" / "evals" / "20260101-000000-strange.jsonl").write_text("{}\n")
    assert len(evaluation.list_summaries()) == 1


# Damage


def test_damage_stands_beside_published_figures_under_their_labels(evaluate: OpenPage, home: Path) -> None:
    reference = TestedModel(ModelKind.FILE, "Qwen3 14B", path="/nowhere/q8.gguf", model_id=QWEN_ID, quant="Q8_0")
    write_divergence(home, QWEN, reference)
    shown = html_of(evaluate())
    assert "The most probable next token is the same at 90%" in shown
    assert '<th class="wb-n">Measured here</th>' in shown and '<th class="wb-n">Generic</th>' in shown
    # 20 to 21 nats over 200 tokens: exp(0.1025) is 1.108
    assert "perplexity is 1.108 times the reference" in shown


def test_damage_is_asked_for_one_run_a_candidate(evaluate: OpenPage, queue: FakeQueue) -> None:
    app = evaluate()
    assert app.button(key="damage_start").disabled
    app = app.multiselect(key="field_damage_against").set_value(["demo:Q4_K_M", "demo:Q2_K"]).run()
    app.button(key="damage_start").click().run()
    assert [(p.kind, p.model.quant) for p in queue.plans] == [
        (RunKind.DIVERGENCE, "Q4_K_M"),
        (RunKind.DIVERGENCE, "Q2_K"),
    ]
    assert all(p.reference is not None and p.reference.quant == "F16" and p.text == "own" for p in queue.plans)


def test_an_uploaded_text_is_kept_for_a_run_to_go_on_with(home: Path) -> None:
    path = Path(evaluate_damage.keep_text("grüße".encode()))
    assert path.is_relative_to(home) and path.read_text(encoding="utf-8") == "grüße"
    assert evaluate_damage.keep_text("grüße".encode()) == str(path)


# Own data


def test_a_table_becomes_a_suite_with_its_bad_rows_named(evaluate: OpenPage, home: Path, queue: FakeQueue) -> None:
    app = evaluate(suites="")
    data = b"question,answer\nWhat is 1+1?,2\nWhat is missing?,\nCapital of France?,Paris\n"
    app = app.file_uploader(key="own_file").set_value(("sums.csv", data, "text/csv")).run()
    assert not app.exception
    assert any("What is 1+1?" in text for text in texts_of(app))
    (problem,) = table_of(app, "What is wrong")
    assert problem["Line"] == 3 and "missing" in str(problem["What is wrong"])
    app = app.button(key="own_save").click().run()
    (head,) = list_own_suites(home)
    assert (head.name, head.n_items) == ("sums", 2)
    button_of(app, "Start").click().run()
    assert queue.plans[0].suites == ("own:sums",)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("empty.csv", b"", "empty"),
        ("binary.csv", b"\xff\xfe\x00\x01\x02", "UTF"),
        ("one.csv", b"question\nWhy?\n", "column"),
        ("broken.jsonl", b"{not json}\n", "row"),
    ],
)
def test_a_bad_upload_is_a_sentence(evaluate: OpenPage, name: str, data: bytes, said: str) -> None:
    app = evaluate().file_uploader(key="own_file").set_value((name, data, "text/plain")).run()
    assert not app.exception and said in warnings_of(app)


def test_a_judged_suite_wants_a_server_that_judges(evaluate: OpenPage, home: Path, queue: FakeQueue) -> None:
    app = evaluate(suites="")
    data = b"question,answer\nSay hello nicely,Hello\n"
    app = app.file_uploader(key="own_file").set_value(("kind.csv", data, "text/csv")).run()
    (scorer,) = [s for s in app.selectbox if s.label == "Right when"]
    app = scorer.select("judge").run()
    app = app.button(key="own_save").click().run()
    assert button_of(app, "Start").disabled and "add its server" in html_of(app)
    app.text_input(key="endpoint_url").set_value("http://127.0.0.1:9/v1")
    app = app.button(key="endpoint_add").click().run()
    app = app.multiselect(key="field_models").set_value(["demo:Q8_0"]).run()
    button_of(app, "Start").click().run()
    assert queue.plans[0].judge is not None and queue.plans[0].judge.kind is ModelKind.ENDPOINT


def test_a_key_goes_to_no_other_server_than_its_own() -> None:
    here = evaluation.Endpoint("here", "http://127.0.0.1:1/v1", "chat", "m", "sk-here")
    judge = evaluation.Endpoint("judge", "http://127.0.0.1:2/v1", "chat", "j", "sk-judge")
    plain = evaluation.Endpoint("plain", "http://127.0.0.1:3/v1", "chat", "p")
    find = evaluate_setup.find_key_conflict
    assert "one key" in find((here.model,), (here.key,), judge)
    assert "one key" in find((plain.model,), ("",), judge) and "one key" in find((here.model,), (here.key,), plain)
    assert find((here.model,), (here.key,), here) == find((DEMO,), ("",), judge) == ""
    assert find((plain.model,), ("",), None) == find((here.model,), (here.key,), None) == ""


# Other pages


def test_choose_and_size_say_what_was_measured_here(open_page: OpenPage, home: Path) -> None:
    write_run(home, QWEN, GOOD)
    shown = html_of(open_page("size", model=QWEN_ID, quant="Q4_K_M")).replace("\u00a0", " ")
    assert "Measured here: 90% of arithmetic (83 to 94), 50.0 tokens/s, 2026-11-25." in shown
    assert "Measured here" not in html_of(open_page("size", model=QWEN_ID, quant="Q5_K_M"))
    assert "Measured here" not in html_of(open_page("size", model="Qwen/Qwen3-8B", quant="Q4_K_M"))


def test_the_recommended_model_shows_its_measurement(open_page: OpenPage, home: Path) -> None:
    from pages.ui import cached
    from pages.ui.questions import Wishes

    wishes = Wishes("RTX 4090", "chat", 8192, 1, 0.0, "commercial")
    best = cached.recommend(cached.find_machine(wishes), cached.build_needs(wishes)).best
    assert best is not None
    spec = best.candidate.spec
    model = TestedModel(ModelKind.FILE, spec.name, path="/x.gguf", model_id=spec.model_id, quant=best.quant)
    write_run(home, model, GOOD)
    app = open_page("choose", machine="RTX 4090")
    assert "Measured here: 90% of arithmetic" in html_of(app)


# Words


def test_figures_are_never_more_certain_than_they_are() -> None:
    assert [format_percent(v) for v in (0, 0.001, 0.784, 0.997, 1)] == ["0%", "0.1%", "78%", "99.7%", "100%"]
    assert [round_up(n) for n in (7, 99, 101, 352, 1011)] == [7, 99, 110, 360, 1100]
    assert format_time_left(4000).startswith("about 67")


@pytest.mark.parametrize(
    ("scorer", "wanted", "said"),
    [
        ("exact", {"answers": ["2", "two"], "ignore_case": True}, "2 or two"),
        ("contains", {"all": ["a", "b"], "ignore_case": True}, "a and b"),
        ("numeric", {"value": 3.5, "tolerance": 0.1, "relative": True}, "3.5, within 0.1 of it"),
        ("choice", {"letter": "B", "choices": ["x", "y"]}, "B"),
        ("regex", {"pattern": "^a+$"}, "^a+$"),
        ("json_equal", {"answers": 1}, '{"answers": 1}'),
        ("judge", {"reference": "", "rubric": "kind"}, "what the judge finds good"),
    ],
)
def test_what_is_expected_is_told_without_its_scorers_form(scorer: str, wanted: dict[str, object], said: str) -> None:
    assert evaluate_own.describe_expected(scorer, json.dumps(wanted)) == said


def test_text_of_others_is_no_markdown() -> None:
    assert escape_markdown("a_b*c[d](e)") == "a\\_b\\*c\\[d\\]\\(e\\)"
    assert evaluate_endpoint.shorten_url("https://host:8000/v1") == "host:8000"


def test_an_address_with_names_nobody_knows_says_which(evaluate: OpenPage) -> None:
    app = evaluate(models="nonsense", suites="demo|zzz")
    said = warnings_of(app)
    assert "The model is not known: nonsense." in said and "called zzz" in said
    assert not app.exception and button_of(app, "Start").disabled

"""The Verify button and the Accuracy page, over a person's folder of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from evals import verify_file
from evals.user_store import FILE_NAME, UserStore
from evals.verify import Difference, VerifyResult
from pages.ui.verify import BUTTON, answers, describe_result, tabulate
from sizing.workload import Workload

OpenPage = Callable[..., AppTest]
RESULT = VerifyResult(
    "somebody/a-model",
    "Q4_K_M",
    "two cards",
    Workload(8192),
    "llama-cpp-python 1.2.3",
    0.25,
    33,
    0,
    (
        Difference("card", 1, "weight_bytes", 2048, 1024),
        Difference("card", 2, "weight_bytes", 7, 7),
        Difference("host", 0, "output_bytes", 9, 5, is_rounded=True),
    ),
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path))
    answers.clear()
    return tmp_path


def press_verify(app: AppTest) -> AppTest:
    (button,) = [b for b in app.button if b.label == BUTTON]
    return button.click().run()


def test_a_table_numbers_devices_of_one_name_and_says_how_each_compares() -> None:
    table = tabulate(RESULT)
    assert list(table["Device"]) == ["card (1)", "card (2)", "host"]
    assert list(table["Difference, bytes"]) == [1024, 0, 4]
    assert list(table[""]) == ["differs", "equal", "rounded"]
    assert "2 of 3 figures are equal" in describe_result(RESULT)
    assert "more at weights on card" in describe_result(RESULT)


@pytest.mark.engine
@pytest.mark.parametrize("page", ["choose", "size"])
def test_the_button_asks_shows_and_keeps(open_page: OpenPage, page: str, home: Path) -> None:
    app = press_verify(open_page(page, machine="RTX 4090"))
    assert not app.exception
    (table,) = [d.value for d in app.dataframe if "llama.cpp, bytes" in d.value.columns]
    assert set(table["Part"]) >= {"Weights", "KV cache", "Compute", "Output"}
    (kept,) = UserStore(home).list_verifies()
    assert kept.result.machine.startswith("RTX 4090")
    assert sum(d.engine_bytes for d in kept.result.differences) == table["llama.cpp, bytes"].sum()


@pytest.mark.engine
def test_the_engine_is_asked_about_the_placement_by_hand(open_size: OpenPage, home: Path) -> None:
    app = open_size(model="Llama-3.2-1B-Instruct", quant="Q8_0", machine="RTX 3090*2", split="5,3")
    app = press_verify(app)
    assert not app.exception
    (kept,) = UserStore(home).list_verifies()
    assert kept.result.n_gpu_layers == 8
    weights = [d for d in kept.result.differences if d.part == "weight_bytes"]
    assert len(weights) == 3 and all(d.is_equal for d in weights)


@pytest.mark.engine
def test_an_answer_that_cannot_be_kept_is_shown_all_the_same(open_page: OpenPage, home: Path) -> None:
    (home / verify_file.FILE_NAME).mkdir()  # no line can be added to a folder
    app = press_verify(open_page("size", model="Llama-3.2-1B-Instruct", quant="Q8_0"))
    assert any("The answer was not kept" in w.value and "verifies.jsonl" in w.value for w in app.warning)
    assert any("llama.cpp, bytes" in d.value.columns for d in app.dataframe)


def test_the_accuracy_page_shows_the_ledger_and_what_was_kept(open_page: OpenPage, home: Path) -> None:
    UserStore(home).keep_verify(RESULT, "2026-01-02T03:04:05+00:00")
    app = open_page("accuracy")
    assert not app.exception
    assert "Verified here: 1" in [s.value for s in app.subheader]
    kept = next(d.value for d in app.dataframe if "When" in d.value.columns)
    assert list(kept["When"]) == ["2026-01-02 03:04"]
    assert kept["Largest"][0].endswith("weights on card")
    ledger = next(d.value for d in app.dataframe if "Architecture" in d.value.columns)
    assert len(ledger) > 150
    worst = next(d.value for d in app.dataframe if "Worst difference" in d.value.columns)
    assert worst["Worst case"].str.len().max() > 20
    published = next(d.value for d in app.dataframe if "Published, MiB" in d.value.columns)
    assert len(published) >= 45
    assert (published["Source"].str.startswith("https://")).all()


def test_before_anything_was_verified_the_accuracy_page_says_how(open_page: OpenPage) -> None:
    app = open_page("accuracy")
    assert "Nothing was verified here yet" in [s.value for s in app.subheader]
    assert any('"Verify with the engine"' in c.value for c in app.caption)


def test_parts_without_an_answer_are_told_in_words_and_are_no_row_of_the_table(open_page: OpenPage) -> None:
    app = open_page("accuracy")
    parts = next(d.value for d in app.dataframe if "Worst difference" in d.value.columns)
    assert (parts["Equal"] > 0).all()
    (silent,) = [c.value for c in app.caption if "gave no answer" in c.value]
    assert "mllama, 36 cases" in silent.replace("\\", "")


def test_the_accuracy_page_shows_what_servers_printed(open_page: OpenPage) -> None:
    app = open_page("accuracy")
    assert not app.exception
    assert any("starts of vLLM and SGLang" in e.label for e in app.expander)
    summary = next(d.value for d in app.dataframe if "Median error, %" in d.value.columns)
    assert set(summary["Cards"]) >= {"all", "NVIDIA H100", "AMD"}
    assert (summary["Median error, %"] <= summary["Target, %"]).all()
    assert summary["Worst figure"].str.contains(" on 1 x | on 2 x ").any()
    rows = next(d.value for d in app.dataframe if "Printed" in d.value.columns)
    assert len(rows) > 100
    assert rows["Source"].str.startswith("https://").all()
    assert list(rows["Difference, %"].abs()) == sorted(rows["Difference, %"].abs(), reverse=True)
    far = rows[rows["Difference, %"].abs() > 4]
    assert (far["What may differ"] != "").all()


def test_a_damaged_database_leaves_the_accuracy_page_up(open_page: OpenPage, home: Path) -> None:
    (home / FILE_NAME).write_bytes(b"no database" * 1000)
    app = open_page("accuracy").run()  # what this page was the first to find is said from the next look on
    assert not app.exception
    assert any("was damaged and made anew" in w.value for w in app.warning)
    assert any(e.label.startswith("By architecture and part") for e in app.expander)

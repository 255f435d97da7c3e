"""Every page answers, whatever the address says, and says in words what it refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

OpenPage = Callable[..., AppTest]
PAGES = ("choose", "size", "hardware", "compare", "catalog", "sources")
RTX = {"machine": "RTX 4090"}


def html_of(app: AppTest) -> str:
    """All raw HTML a page wrote."""
    return " ".join(e.proto.body for e in app.get("html"))


def warnings_of(app: AppTest) -> str:
    """All warnings and errors on a page."""
    return " ".join(e.value for e in [*app.warning, *app.error])


@pytest.mark.parametrize("page", PAGES)
def test_page_renders_with_defaults(open_page: OpenPage, page: str) -> None:
    app = open_page(page)
    assert not app.exception
    assert not app.error
    assert "wb-answer" in html_of(app)


def test_a_deep_link_opened_first_still_runs_the_app_around_the_page() -> None:
    from streamlit.runtime.pages_manager import PagesManager

    PagesManager.uses_pages_directory = True  # as in a fresh process, before `app.py` ran
    app = AppTest.from_file(open_page_file(), default_timeout=30)
    app.switch_page("pages/sources.py").run()
    assert not app.exception
    assert PagesManager.uses_pages_directory is False
    assert "wb-answer" in html_of(app)


def test_choose_names_model_quant_memory_speed_and_licence(open_page: OpenPage) -> None:
    app = open_page(**RTX)
    answer = html_of(app).split('<h1 class="wb-answer">')[1].split("</h1>")[0]
    assert " at " in answer
    assert " of " in answer
    assert "GiB" in answer
    assert "tokens/s" in answer
    assert app.code[1].value.startswith("llama-server ")
    assert "-c 8192 " in app.code[1].value
    tables = [d.value for d in app.dataframe]
    assert max(len(t) for t in tables if "Quantization" in t.columns) > 10


def test_every_score_opens_to_the_rows_behind_it(open_page: OpenPage) -> None:
    app = open_page(**RTX)
    behind = [d.value for d in app.dataframe if "Pulls, points" in d.value.columns]
    assert len(behind) == 3, "the answer and two runners-up"
    for table in behind:
        assert len(table) >= 1
        assert table["Source"].str.startswith("https://").all()
        assert table["Reported by"].str.contains("independent|publisher").all()
    options = next(d.value for d in app.dataframe if "Frontier" in d.value.columns)
    assert 2 <= (options["Frontier"] == "on it").sum() < len(options)


def test_ruled_out_models_are_counted_by_reason(open_page: OpenPage) -> None:
    app = open_page(**RTX)
    (total,) = [s.value for s in app.subheader if s.value.startswith("Ruled out")]
    folded = [int(e.label.rsplit(": ", 1)[1]) for e in app.expander if e.label.rsplit(": ", 1)[-1].isdigit()]
    assert sum(folded) == int(total.split()[2])


def test_context_above_a_models_maximum_rules_it_out_and_is_never_shortened(open_page: OpenPage) -> None:
    app = open_page(context="1000000", **RTX)
    assert not app.exception
    assert any(e.label.startswith("Context too short") for e in app.expander)
    runs = [d.value for d in app.dataframe if "Longest context, tokens" in d.value]
    assert all((table["Longest context, tokens"] >= 1_000_000).all() for table in runs)


def test_nothing_runs_with_a_speed_nobody_reaches(open_page: OpenPage) -> None:
    app = open_page(speed="90000", **RTX)
    assert not app.exception
    assert "Nothing in the catalog runs here" in html_of(app)
    assert all("catalog=" in c.value for c in app.code), "nothing to start but a link to take along"


@pytest.mark.parametrize("page", PAGES)
def test_nonsense_in_the_address_is_said_and_replaced_by_defaults(open_page: OpenPage, page: str) -> None:
    app = AppTest.from_file(open_page_file(), default_timeout=30)
    app.query_params["context"] = "lots"
    app.query_params["users"] = "-3"
    app.query_params["task"] = "poetry"
    app.run()
    assert not app.exception
    assert "context wants a whole number" in warnings_of(app).lower()
    assert "users wants" in warnings_of(app).lower()
    assert "'poetry'" in warnings_of(app)
    app.switch_page(f"pages/{page}.py").run()
    assert not app.exception
    assert "context" not in app.query_params


def open_page_file() -> str:
    """The app's own file."""
    from tests.pages.conftest import APP

    return str(APP)


@pytest.mark.parametrize("page", PAGES)
def test_an_unknown_machine_falls_back_to_this_one_with_near_names(open_page: OpenPage, page: str) -> None:
    app = open_page(page, machine="RTX 4091")
    assert not app.exception
    assert "RTX 4090" in warnings_of(app)


def test_an_unknown_model_is_said_with_near_names_and_another_shown(open_page: OpenPage) -> None:
    app = open_page("size", model="Qwen3 14C")
    assert not app.exception
    assert "unknown model 'Qwen3 14C'" in warnings_of(app).lower().replace("qwen3 14c", "Qwen3 14C")
    assert "wb-answer" in html_of(app)


def test_size_shows_four_figures_and_every_quantization(open_page: OpenPage) -> None:
    app = open_page("size", model="Qwen/Qwen3-14B", quant="Q5_K_M", **RTX)
    assert [m.label for m in app.metric] == ["Total", "Weights", "KV cache", "Compute"]
    table = app.dataframe[0].value
    assert "Q5_K_M" in set(table["Quantization"])
    assert len(table) > 20


def test_what_does_not_run_shows_no_speed(open_page: OpenPage) -> None:
    app = open_page("size", model="meta-llama/Llama-3.1-405B-Instruct", quant="F16", machine="RTX 4090")
    table = app.dataframe[0].value
    stuck = table[table["Fit"].str.contains("Does not fit")]
    assert len(stuck) > 0
    assert set(stuck["Speed, tokens/s"]) == {"does not run"}
    assert "tokens/s" not in html_of(app).split('<h1 class="wb-answer">')[1].split("</h1>")[0]


def test_size_explains_quantized_v_without_flash_attention(open_page: OpenPage) -> None:
    app = open_page("size", model="Qwen/Qwen3-14B", quant="Q4_K_M", kv_v="q8_0", flash="off")
    assert not app.exception
    assert "flash attention" in warnings_of(app)


def test_size_explains_a_context_above_the_maximum_and_still_draws_the_sweep(open_page: OpenPage) -> None:
    app = open_page("size", model="Qwen/Qwen3-14B", quant="Q4_K_M", context="1000000", **RTX)
    assert not app.exception
    assert "trained for at most 40,960 tokens" in warnings_of(app)
    assert not app.metric
    assert len(app.get("plotly_chart")) == 1


def test_the_question_follows_from_page_to_page(open_page: OpenPage) -> None:
    app = open_page(context="16384", users="2", **RTX)
    app.switch_page("pages/size.py").run()
    assert app.query_params["context"] == "16384"
    assert app.query_params["users"] == "2"


def test_changing_a_knob_writes_the_address(open_page: OpenPage) -> None:
    app = open_page(**RTX)
    app.number_input(key="field_users").set_value(4).run()
    assert app.query_params["users"] == "4"
    assert "-np 4" in app.code[1].value
    app.number_input(key="field_users").set_value(1).run()
    assert "users" not in app.query_params


def test_a_machine_by_hand_without_bandwidth_shows_unknown_speed(open_page: OpenPage) -> None:
    app = open_page(machine="hand", kind="gpu", ram="64", cards="1", card="24")
    assert not app.exception
    assert "speed unknown" in html_of(app)
    assert "tokens/s" not in html_of(app).split('<h1 class="wb-answer">')[1].split("</h1>")[0]


def test_hardware_names_what_is_unknown(open_page: OpenPage) -> None:
    app = open_page("hardware", machine="hand", kind="cpu", ram="48")
    assert "48.0" in html_of(app)
    assert "unknown" in html_of(app)


def test_an_unknown_model_in_the_catalog_is_said(open_page: OpenPage) -> None:
    app = open_page("catalog", model="Qwen3 14C")
    assert not app.exception
    assert "Qwen3 14C" in warnings_of(app)


def test_catalog_filters_narrow_the_list(open_page: OpenPage) -> None:
    app = open_page("catalog", find="qwen3 14b")
    table = app.dataframe[0].value
    assert "Qwen3 14B" in set(table["Model"])
    assert len(table) < 10


def test_catalog_without_a_match_says_so(open_page: OpenPage) -> None:
    app = open_page("catalog", find="no such model at all", family="Qwen3")
    assert not app.exception
    assert "No model matches" in html_of(app)
    next(b for b in app.button if b.label == "Clear all").click().run()
    assert "No model matches" not in html_of(app) and len(app.dataframe[0].value) > 100
    assert "find" not in app.query_params and "family" not in app.query_params
    assert not any(b.label == "Clear all" for b in app.button)


def test_a_broken_data_file_is_a_sentence_and_the_app_stays_up(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    import streamlit as st

    from pages.ui import cached
    from sizing.errors import DataFileError

    def broken(imports: object = None) -> None:
        raise DataFileError("hardware.csv", 7, "memory_gib wants a number")

    st.cache_resource.clear()
    monkeypatch.setattr(cached, "open_catalog", broken)
    app = open_page()
    assert not app.exception
    assert "hardware.csv:7" in app.error[0].value
    st.cache_resource.clear()

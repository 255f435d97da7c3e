"""The Compare page as Streamlit runs it: models from the address, refusals in words, what differs, the export."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from streamlit.testing.v1 import AppTest

from catalog.import_store import ImportStore
from catalog.queries import find_weigh_gap, list_weights
from catalog.store import open_catalog
from evals.home import find_home
from pages.ui import cached, inputs
from tests.catalog.import_cases import make_file, make_import
from tests.pages.conftest import APP
from tests.pages.test_pages import html_of, warnings_of

OpenCompare = Callable[..., AppTest]
RTX = {"machine": "RTX 4090"}
PAIR = "Qwen/Qwen3-14B|google/gemma-3-12b-it"
SIX = f"{PAIR}|openai/gpt-oss-20b|meta-llama/Llama-3.1-8B-Instruct|Qwen/Qwen3-8B|Qwen/Qwen3-30B-A3B"


@pytest.fixture
def open_compare() -> OpenCompare:
    """Open the page straight from a link."""

    def run(**address: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=60)
        app.switch_page("pages/compare.py")
        for name, value in {**RTX, **address}.items():
            app.query_params[name] = value
        return app.run()

    return run


def answer_of(app: AppTest) -> str:
    return html_of(app).split('<h1 class="wb-answer">')[1].split("</h1>")[0]


def table_of(app: AppTest) -> str:
    """The first table of the page."""
    return html_of(app).split('<div class="wb-compare"')[1].split("</table>")[0]


def test_two_models_side_by_side(open_compare: OpenCompare) -> None:
    app = open_compare(compare=PAIR)
    assert not app.exception and not app.error and not app.warning
    assert answer_of(app) == "Both models run on RTX 4090."
    table = table_of(app)
    for text in ("Qwen3 14B", "Gemma 3 12B", "40,960", "131,072", "8 full attention, 40 sliding window of 1,024", "▲"):
        assert text in table
    assert "For commercial use" in table and "allowed with duties" in table
    assert [s.value for s in app.subheader] == ["How they are built", "Memory against context", "Side by side"]
    assert len(app.get("plotly_chart")) == 2
    assert [b.proto.label for b in app.get("download_button")] == ["Download as CSV", "Download as Markdown"]


def test_six_models(open_compare: OpenCompare) -> None:
    app = open_compare(compare=SIX)
    assert not app.exception and not app.error and not app.warning
    assert answer_of(app) == "All 6 models run on RTX 4090."
    assert table_of(app).split("</thead>")[0].count("<th>") == 6


def test_seven_are_refused_in_words(open_compare: OpenCompare) -> None:
    app = open_compare(compare=f"{SIX}|Qwen/Qwen3-4B")
    assert not app.exception
    assert "at most 6 models, got 7" in warnings_of(app)
    assert "compare" not in app.query_params


@pytest.mark.parametrize("names", ["x" * 300 + "|Qwen/Qwen3-14B", "a\x00b", "|".join(["y" * 190] * 5)])
def test_nonsense_in_the_address_leaves_the_page_up(open_compare: OpenCompare, names: str) -> None:
    app = open_compare(compare=names)
    assert not app.exception
    assert warnings_of(app)
    assert "wb-answer" in html_of(app)


def test_an_unknown_model_is_said_with_near_names_and_left_out(open_compare: OpenCompare) -> None:
    app = open_compare(compare=f"{PAIR}|Qwen3 14C")
    assert not app.exception
    assert "Qwen3 14C" in warnings_of(app) and "left out" in warnings_of(app)
    assert answer_of(app) == "Both models run on RTX 4090."


def test_one_model_asks_for_another(open_compare: OpenCompare) -> None:
    app = open_compare(compare="Qwen3 14B")
    assert not app.exception
    assert answer_of(app) == "Qwen3 14B runs on RTX 4090."
    assert not app.toggle
    app.button(key="compare_best").click().run()
    assert answer_of(app) == "Both models run on RTX 4090."
    assert "Qwen/Qwen3-14B|" in app.query_params["compare"]


def test_the_same_model_twice_is_one(open_compare: OpenCompare) -> None:
    app = open_compare(compare="Qwen3 14B|qwen/qwen3-14b")
    assert answer_of(app) == "Qwen3 14B runs on RTX 4090."


def test_until_models_are_chosen_the_recommendation_and_its_runners_up_stand_there(open_compare: OpenCompare) -> None:
    app = open_compare()
    assert not app.exception and not app.warning
    assert "here are the recommendation and its two runners-up for chat." in html_of(app)
    assert answer_of(app) == "All 3 models run on RTX 4090."
    assert "compare" not in app.query_params and app.multiselect(key="field_compare").value == []
    proposed = table_of(app)
    app.button(key="compare_these").click().run()
    assert not app.exception
    assert table_of(app) == proposed and "Nothing is chosen" not in html_of(app)
    ids = app.query_params["compare"].split("|")
    assert app.multiselect(key="field_compare").value == ids and cached.find_card(ids[0]).name in proposed
    app.multiselect(key="field_compare").set_value(["Qwen/Qwen3-14B"]).run()
    assert answer_of(app) == "Qwen3 14B runs on RTX 4090."
    app.multiselect(key="field_compare").set_value([]).run()
    assert "Nothing is chosen" in html_of(app) and table_of(app) == proposed


def test_what_is_proposed_follows_the_question(open_compare: OpenCompare) -> None:
    large, small = open_compare(), open_compare(machine="8 GB DDR4-3200", task="code")
    assert "for code." in html_of(small)
    assert table_of(large).split("</thead>")[0] != table_of(small).split("</thead>")[0]


def test_where_nothing_can_be_proposed_it_says_what_to_do(open_compare: OpenCompare) -> None:
    app = open_compare(speed="90000")
    assert not app.exception
    assert answer_of(app) == "No models are chosen yet."
    assert "Pick some above, or ask for less in the bar." in html_of(app)


def test_only_what_differs_hides_what_is_equal(open_compare: OpenCompare) -> None:
    address = "Qwen/Qwen3-14B|Qwen/Qwen3-8B"
    app = open_compare(compare=address)
    assert "qwen3" in table_of(app) and "wb-equal" in table_of(app)
    app.toggle[0].set_value(True).run()
    assert app.query_params["differs"] == "on"
    assert "wb-equal" not in table_of(app) and "Architecture in llama.cpp" not in table_of(app)
    assert "Parameters" in table_of(app)


def test_one_quantization_for_all(open_compare: OpenCompare) -> None:
    app = open_compare(compare=PAIR, compare_quant="Q4_K_M")
    assert not app.exception
    assert html_of(app).count("</b> at Q4_K_M:") == 2


def test_a_model_llama_cpp_cannot_size_says_why_and_is_not_drawn(open_compare: OpenCompare) -> None:
    known = open_catalog()
    gap = next(c for c in known.cards if find_weigh_gap(known, c.model_id))
    app = open_compare(compare=f"{gap.model_id}|Qwen/Qwen3-14B")
    assert not app.exception and not app.error
    assert answer_of(app) == "1 of 2 models runs on RTX 4090."
    assert "cannot be sized for llama.cpp" in html_of(app) and "not sized" in table_of(app)
    assert any("1 without figures is not drawn" in c.value for c in app.caption)


def test_a_context_past_training_is_said(open_compare: OpenCompare) -> None:
    app = open_compare(compare=PAIR, context="65536")
    assert not app.exception
    assert "trained for at most 40,960 tokens" in html_of(app)


@pytest.mark.parametrize("licence", ["commercial", "research", "any"])
def test_the_verdict_follows_the_context_bar(open_compare: OpenCompare, licence: str) -> None:
    app = open_compare(compare=PAIR, licence=licence)
    assert not app.exception
    assert ("For a use that was not named" if licence == "any" else f"For {licence} use") in table_of(app)


@pytest.fixture
def imports() -> Iterator[None]:
    store, known = ImportStore(find_home()), open_catalog()
    weights = {w.quant: w for w in list_weights(known, "Qwen/Qwen3-8B")}
    own = make_import(known, "someone/<b>only</b>", weighed=(), files=(make_file("UD-Q4_K_XL", weights["Q4_K_M"]),))
    store.keep_many([make_import(known, "someone/tuned-8b"), own])
    cached.renew_catalog()
    yield
    store.path.unlink()
    cached.renew_catalog()


@pytest.mark.usefixtures("imports")
def test_imported_models_with_their_files(open_compare: OpenCompare) -> None:
    app = open_compare(compare="someone/tuned-8b|someone/<b>only</b>|Qwen/Qwen3-8B")
    assert not app.exception and not app.error
    assert answer_of(app) == "All 3 models run on RTX 4090."
    assert "by someone/tuned-8b" in html_of(app)
    assert "someone/<b>only</b>" not in html_of(app)
    assert any(e.label.startswith("Real file sizes") for e in app.expander)


@pytest.mark.usefixtures("imports")
def test_with_many_imports_others_are_typed(open_compare: OpenCompare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "MAX_LISTED_IMPORTS", 1)
    cached.list_choices.clear()
    app = open_compare(compare="someone/tuned-8b|Qwen/Qwen3-8B")
    assert not app.exception
    assert app.multiselect(key="field_compare").value == ["someone/tuned-8b", "Qwen/Qwen3-8B"]
    assert app.multiselect(key="field_compare").proto.accept_new_options
    cached.list_choices.clear()


@pytest.mark.parametrize(
    ("page", "address", "wanted"),
    [
        ("catalog", {"model": "Qwen/Qwen3-14B", "compare": "google/gemma-3-12b-it"}, "gemma-3-12b-it|Qwen/Qwen3-14B"),
        ("size", {"model": "Qwen/Qwen3-14B"}, "Qwen/Qwen3-14B"),
        ("catalog", {"model": "Qwen/Qwen3-4B", "compare": SIX}, "no room"),
    ],
)
def test_other_pages_add_to_it(page: str, address: dict[str, str], wanted: str) -> None:
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.switch_page(f"pages/{page}.py")
    for name, value in {**RTX, **address}.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    (link,) = [e.proto for e in app.get("page_link") if e.proto.label.startswith("Compare")]
    assert wanted in link.label + link.query_string.replace("%2F", "/").replace("%7C", "|")


def test_a_runner_up_is_compared_with_the_recommendation(open_page: OpenCompare) -> None:
    app = open_page(**RTX)
    links = [e.proto for e in app.get("page_link") if e.proto.label == "Compare"]
    assert len(links) == 2
    assert all("%7C" in link.query_string.split("compare=")[1] for link in links)


def test_the_address_takes_six_names_of_any_kind() -> None:
    assert inputs.FIELDS["compare"].parse(SIX) == tuple(SIX.split("|"))
    assert inputs.FIELDS["compare"].parse(" | ") == ()

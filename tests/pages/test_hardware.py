"""The Hardware page answers first; a machine is built in the bar by picks and lives in the address as one text."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.test_pages import html_of, open_page_file, warnings_of

OpenPage = Callable[..., AppTest]
QWEN = {"model": "Qwen/Qwen3-14B", "context": "16384", "machine": "RTX 3090*2 + 64 GB DDR5-5600"}


def headline_of(app: AppTest) -> str:
    """The first sentence of a page."""
    return html_of(app).split('<h1 class="wb-answer">')[1].split("</h1>")[0].replace("\u00a0", " ")


def test_the_answer_is_a_sentence_with_machine_price_memory_and_speed(open_page: OpenPage) -> None:
    app = open_page("hardware", quant="Q5_K_M", speed="20", **QWEN)
    assert not app.exception
    said = headline_of(app)
    for part in (" runs Qwen3 14B at ", "Q5_K_M", "about $", " GiB", "tokens/s"):
        assert part in said
    assert "without the host" in html_of(app)
    assert "at its source" in html_of(app)
    assert len(app.get("plotly_chart")) == 2


def test_the_cheapest_stands_first_and_unknown_prices_last(open_page: OpenPage) -> None:
    app = open_page("hardware", **QWEN)
    table = app.dataframe[0].value
    prices = table["Price, US$"]
    known = prices.dropna()
    assert list(known) == sorted(known)
    assert prices.iloc[: len(known)].notna().all() and prices.iloc[len(known) :].isna().all()
    assert (known > 0).all()
    assert str(table["Machine"].iloc[0]) in headline_of(app)
    assert set(table["Launched"][prices.isna()]) == {"unknown"}


def test_every_verdict_has_its_mark_and_word(open_page: OpenPage) -> None:
    app = open_page("hardware", **QWEN)
    assert set(app.dataframe[0].value["Fit"]) <= {"● Fits", "◐ Tight"}
    app = open_page("hardware", offload="on", **QWEN)
    assert "◒ Offload" in set(app.dataframe[0].value["Fit"])


def test_nobody_does_it_is_said_with_what_to_do(open_page: OpenPage) -> None:
    app = open_page("hardware", speed="90000", **QWEN)
    assert not app.exception
    assert "No listed machine runs Qwen3 14B" in headline_of(app)
    assert "lower speed" in html_of(app)


def test_what_more_memory_opens_and_how_much_context_for_how_many(open_page: OpenPage) -> None:
    app = open_page("hardware", machine="RTX 3060 + 64 GB DDR5-5600", model="Qwen/Qwen3-14B")
    shown = html_of(app)
    assert "Now" in shown and "GiB more" in shown.replace("\u2009", " ").replace("\u00a0", " ")
    assert any(s.value.startswith("Context times users on RTX 3060") for s in app.subheader)


def test_a_model_that_cannot_be_sized_gets_no_machine(open_page: OpenPage) -> None:
    from pages.ui import cached

    unsized = next(c for c in cached.list_cards() if not cached.list_weights(c.model_id))
    app = open_page("hardware", model=unsized.model_id)
    assert not app.exception
    assert "cannot be sized" in headline_of(app)


def test_a_context_above_the_maximum_is_said(open_page: OpenPage) -> None:
    app = open_page("hardware", **{**QWEN, "context": "1000000"})
    assert not app.exception
    assert "40,960" in warnings_of(app)


def test_an_unlisted_quantization_is_said_and_any_good_one_taken(open_page: OpenPage) -> None:
    app = open_page("hardware", model="Qwen/Qwen3-14B", quant="MXFP4", machine="RTX 4090")
    assert not app.exception
    assert "MXFP4 is not listed" in warnings_of(app)


@pytest.mark.parametrize("page", ["choose", "size"])
@pytest.mark.parametrize(
    "machine",
    [
        "2 x 3090 + 64 GB DDR5",
        "24 GiB card + 64 GB RAM",
        "this + RTX 4090",
        "128 GiB unified at 273 GB/s",
        "128 GB DDR5-4800 x8ch",
        "RTX 4090 (3 GiB used) + RTX 3060",
    ],
)
def test_any_machine_of_the_grammar_serves_every_page(open_page: OpenPage, page: str, machine: str) -> None:
    app = open_page(page, machine=machine, model="Qwen/Qwen3-14B", quant="Q4_K_M")
    assert not app.exception
    assert not app.error
    assert "Using" not in warnings_of(app)
    assert app.query_params["machine"] == machine


def test_two_cards_and_ram_are_built_in_three_picks(open_page: OpenPage) -> None:
    app = open_page("choose")
    app.selectbox(key="machine_card_0").set_value("RTX 3090").run()
    assert app.query_params["machine"] == "RTX 3090"
    app.segmented_control(key="machine_count_0").set_value(2).run()
    app.selectbox(key="machine_ram").set_value("64 GB DDR5-5600").run()
    assert not app.exception
    assert app.query_params["machine"] == "RTX 3090*2 + 64 GB DDR5-5600"
    assert "of 47.0" in headline_of(app)
    again = open_page("choose", machine=app.query_params["machine"])
    assert headline_of(again) == headline_of(app)


def test_a_further_card_memory_in_use_and_back_again(open_page: OpenPage) -> None:
    app = open_page("choose", machine="RTX 3090*2 + 64 GB DDR5-5600")
    app.selectbox(key="machine_card_1").set_value("RTX 3060 12GB").run()
    assert app.query_params["machine"] == "RTX 3090*2 + RTX 3060 12GB + 64 GB DDR5-5600"
    app.number_input(key="machine_used_0").set_value(1.5).run()
    app.number_input(key="machine_used_ram").set_value(8.0).run()
    assert app.query_params["machine"] == "RTX 3090*2 (1.5 GiB used) + RTX 3060 12GB + 64 GB DDR5-5600 (8 GiB used)"
    app.selectbox(key="machine_card_1").set_value(None).run()
    app.selectbox(key="machine_ram").set_value(None).run()
    assert app.query_params["machine"] == "RTX 3090*2 (1.5 GiB used)"
    app.selectbox(key="machine_card_0").set_value("none").run()
    assert app.query_params["machine"] == "PC DDR5-5600 32GB"
    app.selectbox(key="machine_card_0").set_value("Apple M4 Max 64GB").run()
    assert app.query_params["machine"] == "Apple M4 Max 64GB"
    app.selectbox(key="machine_card_0").set_value("this").run()
    assert "machine" not in app.query_params
    assert not app.exception


def test_this_machine_with_a_further_card_by_picks(open_page: OpenPage) -> None:
    app = open_page("choose")
    app.selectbox(key="machine_card_1").set_value("RTX 3090").run()
    assert app.query_params["machine"] == "this + RTX 3090"
    app.segmented_control(key="machine_count_1").set_value(2).run()
    assert app.query_params["machine"] == "this + RTX 3090*2"
    assert not app.exception


def test_a_machine_typed_as_text(open_page: OpenPage) -> None:
    app = open_page("choose", machine="RTX 4090")
    app.text_input(key="machine_text").set_value("24 GiB card at 936 GB/s*2 + 128 GB DDR5-4800 x8ch").run()
    assert app.query_params["machine"] == "24 GiB card at 936 GB/s*2 + 128 GB DDR5-4800 x8ch"
    assert not app.warning
    assert app.selectbox(key="machine_ram").value == "128 GB DDR5-4800 x8ch"


@pytest.mark.parametrize("text", ["THIS", "this machine", "This "])
def test_this_machine_by_any_spelling_is_this_machine(open_page: OpenPage, text: str) -> None:
    app = open_page("choose", machine=text)
    assert not app.exception and not app.warning
    assert app.selectbox(key="machine_card_0").value == "this"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("RTX 4091", "RTX 4090"),
        ("24 GiB crad", "24 GiB card at 936 GB/s"),
        ("RTX 4090 (99 GiB used)", "nothing is left"),
        ("RTX 4090*900", "1 to 15"),
        ("64 GB RAM + 32 GB RAM", "one host"),
        ("<script>alert(1)</script>", "unknown device"),
        ("*", "wants"),
    ],
)
def test_what_is_typed_wrong_is_said_and_the_machine_before_stays(open_page: OpenPage, typed: str, said: str) -> None:
    app = open_page("choose", machine="RTX 3090*2")
    app.text_input(key="machine_text").set_value(typed).run()
    assert not app.exception
    assert said in warnings_of(app).replace("Unknown", "unknown")
    assert "RTX 3090*2" in warnings_of(app)
    assert app.query_params["machine"] == "RTX 3090*2"


@pytest.mark.parametrize(
    ("address", "machine"),
    [
        (
            {"kind": "gpu", "ram": "64", "cards": "2", "card": "24", "card_bandwidth": "936"},
            "24 GiB card at 936 GB/s*2",
        ),
        ({"kind": "cpu", "ram": "48"}, "48 GB RAM"),
        ({"kind": "unified", "ram": "128", "ram_bandwidth": "273"}, "128 GiB unified at 273 GB/s"),
        ({}, "24 GiB card + 32 GB RAM"),
    ],
)
def test_an_old_link_to_a_machine_by_hand_still_works(
    open_page: OpenPage, address: dict[str, str], machine: str
) -> None:
    app = open_page("choose", machine="hand", **address)
    assert not app.exception and not app.warning
    assert app.query_params["machine"].startswith(machine)
    assert not set(address) & set(app.query_params)


def test_a_bad_number_in_an_old_link_is_said() -> None:
    app = AppTest.from_file(open_page_file(), default_timeout=30)
    for name, value in {"machine": "hand", "kind": "toaster", "ram": "-5", "cards": "x"}.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    for said in ("kind wants", "ram", "cards wants"):
        assert said in warnings_of(app).lower()
    assert app.query_params["machine"] == "24 GiB card + 32 GB RAM"


def test_a_column_that_says_the_same_everywhere_is_left_out(open_page: OpenPage) -> None:
    asked = open_page("hardware", quant="Q5_K_M", **QWEN)
    assert not asked.exception
    assert "Quantization" not in asked.dataframe[0].value.columns
    assert len(set(open_page("hardware", **QWEN).dataframe[0].value["Quantization"])) > 1

"""The Cost page answers first; figures can be replaced, unknown stays unknown, the policy comes back from its file."""

from __future__ import annotations

from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from catalog.own_prices import FILE_NAME, load_own_prices
from catalog.routing_file import read_policy
from pages.ui import cached
from pages.ui.charts_cost import CostCurve, cost_chart, find_range, list_loads
from pages.ui.cost_fields import COST_FIELDS, change_route, read_routes, write_routes
from sizing.cost import CostBand, CostLine
from sizing.errors import BadInputError
from sizing.routing import GUIDE_CLASSES, RequestClass

APP = Path(__file__).resolve().parents[2] / "app.py"
OpenCost = Callable[..., AppTest]
CARD = {"machine": "RTX 4090", "model": "Qwen/Qwen3-8B", "quant": "Q4_K_M"}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own; what is kept between reruns does not depend on it."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(home))
    return home


@pytest.fixture
def open_cost() -> OpenCost:
    """Open the page straight from a link."""

    def run(**address: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=90)
        app.switch_page("pages/cost.py")
        for name, value in address.items():
            app.query_params[name] = value
        return app.run()

    return run


def headline(app: AppTest) -> str:
    found = next(e.proto.body for e in app.get("html") if '<h1 class="wb-answer">' in e.proto.body)
    return unescape(found.split('<h1 class="wb-answer">')[1].split("</h1>")[0]).replace("\u00a0", " ")


def figures_of(app: AppTest) -> dict[str, str]:
    """What stands large under each way's name."""
    return {m.label.removesuffix(", US$ a month"): m.value.replace("\\", "").replace("\u00a0", " ") for m in app.metric}


def quiet_of(app: AppTest) -> str:
    return " ".join(e.proto.body for e in app.get("html")).replace("\u00a0", " ")


def said_by(app: AppTest) -> str:
    return " ".join(e.value for e in [*app.warning, *app.error])


def options_of(app: AppTest):  # type: ignore[no-untyped-def]
    return app.dataframe[0].value


def test_the_answer_is_a_decision_with_three_costs_and_the_break_even(open_cost: OpenCost) -> None:
    app = open_cost(**CARD, api="GPT-5.6 Terra", rent="RTX 4090, RunPod Secure")
    assert not app.exception and not said_by(app)
    told = headline(app)
    assert told.startswith("At 2 million tokens a day your own RTX 4090 is cheapest: US$ ")
    figures = figures_of(app)
    assert (figures["Rented"], figures["The API"]) == ("541", "274")  # 0.74 x 730.5; 45.65625 x 2 + 15.21875 x 12
    assert figures["Your own"] in told
    assert "Your own costs less than the API from" in quiet_of(app)
    assert len(app.get("plotly_chart")) == 1
    table = options_of(app)
    cheapest = table.iloc[0]
    assert cheapest["Kind"] == "API"
    assert f"the cheapest is {cheapest['Option']}, at {cheapest['US$ a month']}" in quiet_of(app)
    assert set(table["Kind"]) == {"your own", "rented", "API"}
    assert all(
        str(s).startswith("https://") for s, k in zip(table["Source"], table["Kind"], strict=True) if k != "your own"
    )


def test_it_opens_with_nothing_in_the_address(open_cost: OpenCost) -> None:
    app = open_cost()
    assert not app.exception
    assert headline(app).startswith("At 2 million tokens a day only the API has a known cost: US$ ")
    assert figures_of(app)["This machine"] == "unknown"


def test_nonsense_in_the_address_is_said_and_the_default_used(open_cost: OpenCost) -> None:
    bad = {"tokens_in": "-5", "busy": "lots", "years": "0", "pue": "nan", "stay": "Mars", "routes": "a=1", "watts": "x"}
    app = open_cost(**CARD, **bad)
    assert not app.exception
    for name in bad:
        assert name in said_by(app).lower(), name
    assert headline(app).startswith("At 2 million tokens a day")


def test_offers_nobody_knows_and_contradictions_are_said(open_cost: OpenCost) -> None:
    app = open_cost(**CARD, rent="RTX 4090, RunPod Secur", power="Mars")
    assert "RunPod Secure" in said_by(app) and "Mars" in said_by(app)
    app = open_cost(**CARD, idle_watts="5000")
    assert not app.exception and "no more idle than at work" in said_by(app)
    app = open_cost(**CARD, context="1000000")
    assert not app.exception and "trained for at most" in said_by(app)


def test_an_unknown_price_is_unknown_until_it_is_given(open_cost: OpenCost) -> None:
    card = {**CARD, "machine": "24 GiB card at 936 GB/s"}
    app = open_cost(**card)
    assert not app.exception
    figures = figures_of(app)
    assert (figures["Your own"], figures["Rented"]) == ("unknown", "unknown")
    assert "the price of the machine is not known" in quiet_of(app)
    assert "No price by the hour is listed for it" in quiet_of(app)
    own = options_of(app).set_index("Kind").loc["your own"]
    assert own["US$ a month"] == "unknown" and own["Machines"] == "unknown"


def test_zero_tokens_cost_a_machine_and_no_api(open_cost: OpenCost) -> None:
    app = open_cost(**CARD, tokens_in="0", tokens_out="0")
    assert not app.exception
    assert headline(app) == "At 0 tokens a day the API is cheapest: US$ 0 a month."
    assert float(figures_of(app)["Your own"]) > 0
    assert set(options_of(app)["US$ a million tokens"]) == {"no tokens"}


def test_limits_rule_out_with_their_reason(open_cost: OpenCost) -> None:
    app = open_cost(**CARD, stay="premises", third_party="off")
    assert "only your own RTX 4090 is open: US$ " in headline(app)
    assert (figures_of(app)["Rented"], figures_of(app)["The API"]) == ("ruled out", "ruled out")
    table = options_of(app)
    others = table[table["Kind"] != "your own"]["Why not, or what is unknown"]
    assert all("third party" in why and "premises" in why for why in others)
    assert table["Kind"].iloc[0] == "your own"


def test_a_model_that_cannot_be_sized_has_no_cost(open_cost: OpenCost) -> None:
    unsized = next(c for c in cached.list_cards() if not cached.list_weights(c.model_id))
    app = open_cost(model=unsized.model_id)
    assert not app.exception and "is unknown" in headline(app)


def test_own_prices_are_kept_used_and_forgotten(open_cost: OpenCost, own_home: Path) -> None:
    app = open_cost(**CARD, rent="RTX 4090, RunPod Secure", rent_usd="0.5", buy_usd="900")
    assert figures_of(app)["Rented"] == "365"  # 0.5 x 730.5
    keep = next(b for b in app.button if b.label.startswith("Keep 2 prices"))
    keep.click().run()
    assert {(p.kind, p.item, p.provider) for p in load_own_prices(own_home)} == {
        ("buy", "RTX 4090", ""),
        ("rent", "RTX 4090", "RunPod Secure"),
    }
    assert "rent_usd" not in app.query_params
    again = open_cost(**CARD)
    assert figures_of(again)["Rented"] == "365"
    for _ in range(2):
        next(b for b in again.button if b.label == "Forget").click().run()
    assert load_own_prices(own_home) == ()
    assert figures_of(again)["Rented"] == "212"


def test_a_broken_file_of_own_prices_is_named_and_the_page_stays(open_cost: OpenCost, own_home: Path) -> None:
    (own_home / FILE_NAME).write_text('[[price]]\nkind = "rent"\n')
    app = open_cost(**CARD)
    assert not app.exception
    assert f"{FILE_NAME}:1: missing item" in said_by(app).replace("\\", "")
    assert "is cheapest: US$" in headline(app)


def test_the_policy_is_written_with_its_figures_and_comes_back(open_cost: OpenCost) -> None:
    app = open_cost(**CARD, routes="secret=30:local-large:private|bulk=70:local-small")
    text = next(c.value for c in app.code if c.value.startswith("# Routing policy"))
    policy = read_policy(text)
    assert [(c.name, c.share, c.target, c.is_sensitive) for c in policy.classes] == [
        ("secret", 0.3, "local-large", True),
        ("bulk", 0.7, "local-small", False),
    ]
    assert "US$" in text and "https://" in text and "# machine: " in text
    assert any("Together US" in m.value for m in app.markdown)


def test_an_unknown_price_leaves_the_blend_unknown(open_cost: OpenCost) -> None:
    app = open_cost(**{**CARD, "machine": "24 GiB card at 936 GB/s"})
    assert any("Together an unknown sum" in m.value for m in app.markdown)


def test_what_only_the_speed_decides_is_no_decision(open_cost: OpenCost) -> None:
    app = open_cost(**{**CARD, "model": "Qwen/Qwen3-14B", "quant": "Q8_0"}, api_in_usd="1", api_out_usd="1")
    low, high = (float(part) for part in figures_of(app)["Your own"].replace(",", "").split(" to "))
    between = (low + high) / 2 / 60.875  # two million tokens a day are 60.875 million a month
    app = open_cost(
        **{**CARD, "model": "Qwen/Qwen3-14B", "quant": "Q8_0"},
        api_in_usd=f"{between:.4f}",
        api_out_usd=f"{between:.4f}",
    )
    assert "the machine's speed decides which" in headline(app)
    assert "your own RTX 4090" in headline(app) and "the API" in headline(app)


def test_a_column_without_a_word_in_it_is_left_out(open_cost: OpenCost) -> None:
    assert "Why not, or what is unknown" not in options_of(open_cost(**CARD)).columns
    assert "Why not, or what is unknown" in options_of(open_cost(**CARD, stay="EU")).columns


def test_tokens_are_typed_in_millions_and_kept_whole_in_the_address(open_cost: OpenCost) -> None:
    app = open_cost(**CARD, tokens_in="1234567")
    box = next(n for n in app.number_input if n.label == "Input, million tokens a day")
    assert box.value == 1.234567
    box.set_value(2.5).run()
    assert app.query_params["tokens_in"] in ("2500000", ["2500000"])
    assert headline(app).startswith("At 3 million tokens a day")


# ---- fields and chart ----


def test_every_default_is_understood() -> None:
    for name, default, parse in COST_FIELDS:
        parse(default)
        with pytest.raises(BadInputError):
            parse("\x00" * 3000)
        assert name.islower()


def test_routes_go_through_the_address() -> None:
    assert write_routes(GUIDE_CLASSES) == "" and read_routes("") == GUIDE_CLASSES
    thirds = tuple(RequestClass(f"c{i}", 1 / 3, "local-small", i == 0) for i in range(3))
    assert [c.is_sensitive for c in read_routes(write_routes(thirds))] == [True, False, False]
    changed = change_route(GUIDE_CLASSES, [10, 60, 10, 20], ["local-large", "local-small", "api", "api"])
    assert read_routes(write_routes(changed)) == changed
    with pytest.raises(BadInputError, match="sensitive"):
        change_route(GUIDE_CLASSES, [20, 50, 10, 20], ["api", "local-small", "api", "api"])
    with pytest.raises(BadInputError, match="110"):
        change_route(GUIDE_CLASSES, [30, 50, 10, 20], [c.target for c in GUIDE_CLASSES])


@pytest.mark.parametrize(
    "text", ["a", "a=50:api", "a=100:cloud", "a=100:api:private", "A=100:api", "a=50:api|a=50:api"]
)
def test_routes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(BadInputError):
        read_routes(text)


def test_the_chart_draws_steps_bands_and_the_meeting() -> None:
    lines = [CostLine(0.1, 100, 0, carried, 1) for carried in (2e6, 1e6, 5e5)]
    own = CostCurve("own", "Own", CostBand(*lines), (1.5e6,))
    line = CostLine(5)
    api = CostCurve("api", "API", CostBand(line, line, line))
    figure = cost_chart([own, api], 2e6)
    named = [t.name for t in figure.data if t.name]
    assert named == ["Own", "API", "starts to cost less than the API", "2 million tokens a day"]
    assert sum(t.fill == "tonexty" for t in figure.data) == 1
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    drawn = next(t for t in figure.data if t.name == "Own")
    assert list(drawn.x) == sorted(drawn.x) and all(y > 0 for y in drawn.y)
    loads = list_loads(own.band, 1e5, 1e8)
    assert {1e6, 2e6, 5e5} <= set(loads) and len(loads) < 500
    low, high = find_range([own, api], 0)
    assert low < 1e5 < high and cost_chart([own, api], 0).data

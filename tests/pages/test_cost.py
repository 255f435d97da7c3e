"""The Cost page answers first; figures can be replaced, unknown stays unknown, the policy comes back from its file."""

from __future__ import annotations

from collections.abc import Callable
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
    return found.split('<h1 class="wb-answer">')[1].split("</h1>")[0].replace("\u00a0", " ")


def said_by(app: AppTest) -> str:
    return " ".join(e.value for e in [*app.warning, *app.error])


def options_of(app: AppTest):  # type: ignore[no-untyped-def]
    return app.dataframe[0].value


def test_the_answer_is_a_sentence_with_three_costs_and_the_break_even(open_cost: OpenCost) -> None:
    app = open_cost(**CARD, api="GPT-5.6 Terra", rent="RTX 4090, RunPod Secure")
    assert not app.exception and not said_by(app)
    told = headline(app)
    assert told.startswith("At 2 million tokens a day your own RTX 4090 costs US$ ")
    assert "renting 541, the API 274" in told  # 0.74 x 730.5, and 45.65625 x 2 + 15.21875 x 12
    assert "your own costs less than the API from" in told
    assert len(app.get("plotly_chart")) == 1
    table = options_of(app)
    assert set(table["Kind"]) == {"your own", "rented", "API"}
    assert all(
        str(s).startswith("https://") for s, k in zip(table["Source"], table["Kind"], strict=True) if k != "your own"
    )


def test_it_opens_with_nothing_in_the_address(open_cost: OpenCost) -> None:
    app = open_cost()
    assert not app.exception
    assert headline(app).startswith("At 2 million tokens a day what this machine costs is unknown")


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
    assert "is unknown (" in headline(app) and "the price of the machine is not known" in headline(app)
    assert "renting an unknown sum" in headline(app)
    own = options_of(app).set_index("Kind").loc["your own"]
    assert own["A month"] == "unknown" and own["Machines"] == "unknown"


def test_zero_tokens_cost_a_machine_and_no_api(open_cost: OpenCost) -> None:
    app = open_cost(**CARD, tokens_in="0", tokens_out="0")
    assert not app.exception
    assert headline(app).startswith("At 0 tokens a day your own RTX 4090 costs US$ ")
    assert "the API 0" in headline(app)
    assert set(options_of(app)["Per million"]) == {"no tokens"}


def test_limits_rule_out_with_their_reason(open_cost: OpenCost) -> None:
    app = open_cost(**CARD, stay="premises", third_party="off")
    assert headline(app).endswith("renting is ruled out, the API is ruled out.")
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
    assert "renting 365" in headline(app)  # 0.5 x 730.5
    keep = next(b for b in app.button if b.label.startswith("Keep 2 prices"))
    keep.click().run()
    assert {(p.kind, p.item, p.provider) for p in load_own_prices(own_home)} == {
        ("buy", "RTX 4090", ""),
        ("rent", "RTX 4090", "RunPod Secure"),
    }
    assert "rent_usd" not in app.query_params
    again = open_cost(**CARD)
    assert "renting 365" in headline(again)
    for _ in range(2):
        next(b for b in again.button if b.label == "Forget").click().run()
    assert load_own_prices(own_home) == ()
    assert "renting 212" in headline(again)


def test_a_broken_file_of_own_prices_is_named_and_the_page_stays(open_cost: OpenCost, own_home: Path) -> None:
    (own_home / FILE_NAME).write_text('[[price]]\nkind = "rent"\n')
    app = open_cost(**CARD)
    assert not app.exception
    assert f"{FILE_NAME}:1: missing item" in said_by(app).replace("\\", "")
    assert "costs US$" in headline(app)


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

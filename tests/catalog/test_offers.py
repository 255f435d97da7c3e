"""From prices to plans: what is listed, what a person gives in its place, and what stays unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog.cost_notes import say_source
from catalog.cost_question import CostQuestion, PlannedCost, plan_cost
from catalog.machines import list_price_sources
from catalog.offers import HOST_USD, find_machine_price, find_watts, list_options, list_rents
from catalog.prices import OWN, Price, list_prices
from catalog.queries import find_machine, find_model, find_weights
from catalog.store import Catalog, open_catalog
from sizing.cost import TokenLoad
from sizing.cost_options import Limits
from sizing.cost_record import answer_cost
from sizing.errors import BadInputError
from sizing.estimate import estimate
from sizing.workload import Workload

LOAD = TokenLoad(1_500_000, 500_000, peak_factor=3, max_utilisation=0.6)


@pytest.fixture(scope="module")
def opened() -> Catalog:
    return open_catalog()


def plan(opened: Catalog, machine: str = "RTX 4090", model: str = "Qwen3-8B", **asked: object) -> PlannedCost:
    found, card = find_machine(opened, machine), find_model(opened, model)
    told = estimate(card.spec, find_weights(opened, card, "Q4_K_M"), Workload(8192), found)
    question = replace(CostQuestion(LOAD), **asked)  # type: ignore[arg-type]
    return plan_cost(question, told, found, card.model_id, list_prices(opened), list_price_sources(opened))


def test_a_machines_price_and_power_by_hand(opened: Catalog) -> None:
    """Two RTX 4090 launched at 1600 each in a computer of 1000; 2 x 450 W and 120 W, idle 2 x 45 W and 60 W."""
    planned = plan(opened, "RTX 4090*2")
    assert planned.plan.machine_usd == 4200
    assert planned.machine_price.source_url.startswith("https://") and planned.machine_price.as_of
    assert planned.plan.watts is not None
    assert (planned.plan.watts.load, planned.plan.watts.idle) == (1020, 150)


def test_rents_are_of_the_machines_own_card(opened: Catalog) -> None:
    prices = list_prices(opened)
    two = list_rents(prices, find_machine(opened, "H100 SXM 80GB*2"))
    assert len(two) > 5 and {p.hardware for p in two} == {"H100 SXM 80GB"}
    costs = [p.usd_per_gpu_hour for p in two]
    assert costs == sorted(costs, key=lambda c: c or 0)
    assert list_rents(prices, find_machine(opened, "RTX 4090 + RTX 3090")) == ()
    assert list_rents(prices, find_machine(opened, "PC DDR5-5600 32GB")) == ()


def test_two_cards_rent_for_twice_as_much(opened: Catalog) -> None:
    one = plan(opened, "RTX 4090", rent="RTX 4090, RunPod Secure")
    two = plan(opened, "RTX 4090*2", rent="RTX 4090, RunPod Secure")
    costs = []
    for planned in (one, two):
        answer = answer_cost(list_options(planned.plan), Limits(), LOAD, planned.rent_name, planned.api_name)
        assert answer.rent is not None and answer.rent.usd_per_month is not None
        costs.append(answer.rent.usd_per_month.mid)
    assert costs == pytest.approx([0.74 * 730.5, 2 * 0.74 * 730.5])


def test_what_a_person_gives_takes_the_place_of_what_is_listed(opened: Catalog) -> None:
    planned = plan(
        opened,
        machine_usd=5000.0,
        load_watts=700.0,
        idle_watts=50.0,
        usd_per_kwh=0.5,
        rent_usd=9.0,
        api="GPT-6 Sol",
        api_output_usd=99.0,
    )
    assert (planned.plan.machine_usd, planned.plan.usd_per_kwh) == (5000, 0.5)
    assert planned.rent is not None and planned.rent.is_own and planned.rent.usd_per_gpu_hour == 9
    assert planned.api is not None
    assert (planned.api.usd_per_million_input, planned.api.usd_per_million_output) == (2, 99)
    assert say_source(planned.api) == say_source(planned.electricity) == "given by you"
    with pytest.raises(BadInputError, match="no more idle than at work"):
        plan(opened, load_watts=100.0, idle_watts=200.0)


def test_an_offer_nobody_knows_is_said_and_another_taken(opened: Catalog) -> None:
    planned = plan(opened, rent="RTX 4090, RunPod Secur", electricity="Mars")
    assert planned.rent is not None and planned.electricity is not None
    assert any("RunPod Secure" in p for p in planned.problems) and any("'Mars'" in p for p in planned.problems)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ("24 GiB card at 936 GB/s", "the price of the machine is not known"),
        ("GTX 1650", "the model does not fit"),
    ],
)
def test_what_is_not_known_is_unknown_never_nothing(opened: Catalog, machine: str, said: str) -> None:
    planned = plan(opened, machine, "Qwen3-14B" if "936" in machine else "Llama-3.1-405B-Instruct")
    own = list_options(planned.plan)[0]
    assert own.band is None and said in own.unknown
    answer = answer_cost(list_options(planned.plan), Limits(), LOAD)
    assert answer.own is not None and answer.own.usd_per_month is None and answer.own_break_even is None


def test_a_persons_price_of_a_card_or_of_the_whole_machine_goes_first(opened: Catalog) -> None:
    machine = find_machine(opened, "RTX 4090*2")
    card = Price("buy", "rtx 4090", "", usd=1800, confidence=OWN, as_of="2026-11")
    whole = Price("buy", "RTX 4090*2", "", usd=3000, confidence=OWN, as_of="2026-11")
    assert find_machine_price(machine, [card], {}).usd == 3600 + HOST_USD
    assert find_machine_price(machine, [card, whole], {}).usd == 3000


def test_a_machine_of_unknown_power_has_unknown_watts(opened: Catalog) -> None:
    assert find_watts(find_machine(opened, "24 GiB card at 936 GB/s")) is None

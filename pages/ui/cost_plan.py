"""From the address to a planned cost: the question, the prices, the model on the machine."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.cost_question import CostQuestion, PlannedCost, plan_cost
from catalog.offers import list_options, own_cost, rent_option
from catalog.own_prices import load_own_prices
from catalog.prices import Price, list_prices, merge_prices
from evals.home import find_home_if_usable
from pages.ui import cached, inputs
from sizing.cost import CostBand, TokenLoad
from sizing.cost_options import Limits
from sizing.cost_record import CostAnswer, answer_cost
from sizing.errors import DataFileError
from sizing.estimate import Estimate
from sizing.hardware import Machine
from sizing.inverse import GOOD_QUANTS
from sizing.workload import Workload


@dataclass(frozen=True, slots=True)
class KnownPrices:
    """All prices, a person's own first; `problem` says why theirs could not be read, "" where they could."""

    prices: tuple[Price, ...]
    own: tuple[Price, ...]
    problem: str = ""


def load_prices() -> KnownPrices:
    """The catalog's prices and the person's own, read anew each time: the file is theirs to edit."""
    listed = list_prices(cached.catalog())
    home = find_home_if_usable()
    if home is None:
        return KnownPrices(listed, ())
    try:
        own = load_own_prices(home)
    except DataFileError as error:
        return KnownPrices(listed, (), f"{error}. Going on without your own prices")
    return KnownPrices(merge_prices(listed, own), own)


def read_load(n_users: int) -> TokenLoad:
    """The load in the address."""
    return TokenLoad(
        inputs.read("tokens_in"),
        inputs.read("tokens_out"),
        n_users,
        inputs.read("peak"),
        inputs.read("hours"),
        inputs.read("busy") / 100,
    )


def read_limits(min_tokens_per_s: float) -> Limits:
    """The hard limits in the address and the slowest speed of the context bar."""
    return Limits(
        residency=inputs.read("stay"),
        no_third_party=inputs.read("third_party") == "off",
        max_first_token_s=inputs.read("first_token") or None,
        min_tokens_per_s=min_tokens_per_s or None,
    )


def read_question(load: TokenLoad, limits: Limits) -> CostQuestion:
    """Everything in the address that is about costs."""
    return CostQuestion(
        load=load,
        limits=limits,
        machine_usd=inputs.read("buy_usd"),
        load_watts=inputs.read("watts"),
        idle_watts=inputs.read("idle_watts"),
        electricity=inputs.read("power"),
        usd_per_kwh=inputs.read("kwh_usd"),
        host_usd=inputs.read("host_usd"),
        years=inputs.read("years"),
        residual_share=inputs.read("residual") / 100,
        pue=inputs.read("pue"),
        staff_hours_per_month=inputs.read("staff_hours"),
        staff_usd_per_hour=inputs.read("staff_usd"),
        rent=inputs.read("rent"),
        rent_usd=inputs.read("rent_usd"),
        reserved_usd=inputs.read("reserved_usd"),
        rent_mode=inputs.read("rent_mode"),
        reserved_share=inputs.read("reserved") / 100,
        api=inputs.read("api"),
        api_input_usd=inputs.read("api_in_usd"),
        api_output_usd=inputs.read("api_out_usd"),
        api_cached_usd=inputs.read("api_cached_usd"),
        cached_share=inputs.read("cached") / 100,
        batch_share=inputs.read("batch") / 100,
    )


def choose_quant(model_id: str, asked: str, workload: Workload, machine: Machine) -> str | None:
    """The asked quantization where the model has it, else the largest good one that runs whole, else any that runs.

    None for a model without weights.
    """
    known = cached.list_weights(model_id)
    names = [w.quant for w in known]
    if not names or asked in names:
        return asked if asked in names else None
    rows = cached.list_quant_rows(cached.Setup(model_id, names[0], workload, machine))
    whole = [r.quant for r in rows if r.estimate.fit.verdict in ("fits", "tight") and r.quant in GOOD_QUANTS]
    running = [r.quant for r in rows if r.estimate.fit.runs]
    return next(iter(whole or running), "Q4_K_M" if "Q4_K_M" in names else names[0])


def size(model_id: str, quant: str, workload: Workload, machine: Machine) -> Estimate:
    """The model on the machine. Raises BadInputError for a context above its own."""
    return cached.size_setup(cached.Setup(model_id, quant, workload, machine)).told


def plan(
    question: CostQuestion, estimate: Estimate, machine: Machine, model_id: str, known: KnownPrices
) -> PlannedCost:
    """The planned cost of a question."""
    return plan_cost(question, estimate, machine, model_id, known.prices, cached.list_price_sources())


def answer(planned: PlannedCost, question: CostQuestion) -> CostAnswer:
    """Every way judged."""
    options = list_options(planned.plan)
    return answer_cost(options, question.limits, question.load, planned.rent_name, planned.api_name)


def local_band(planned: PlannedCost) -> CostBand | None:
    """What a model here costs: on machines of one's own where that is known, else rented."""
    own = own_cost(planned.plan)
    if own is not None or planned.rent is None:
        return own
    return rent_option(planned.plan, planned.rent).band

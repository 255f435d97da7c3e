"""A question about costs, with what a person gives in place of a listed price, made into a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from catalog.cost_notes import list_cost_assumptions
from catalog.offers import (
    HOST_USD,
    PUE,
    CostPlan,
    MachinePrice,
    Watts,
    find_machine_price,
    find_middle_api,
    find_watts,
    list_apis,
    list_electricity,
    list_rents,
)
from catalog.prices import OWN, Price
from sizing.cost import RentMode, TokenLoad
from sizing.cost_options import Limits
from sizing.errors import BadInputError, UnknownNameError
from sizing.estimate import Estimate
from sizing.hardware import Machine
from sizing.inverse import PriceSource

ELECTRICITY = "US business"
"""Where electricity is bought unless a person says otherwise."""

GIVEN = "your own figure"


@dataclass(frozen=True, slots=True)
class CostQuestion:
    """What is asked. None leaves a figure to the listed price, "" an offer to the default.

    `electricity`, `rent` and `api` name offers. Shares are from 0 to 1, watts are of the whole machine at the socket.
    """

    load: TokenLoad
    limits: Limits = field(default_factory=Limits)
    machine_usd: float | None = None
    load_watts: float | None = None
    idle_watts: float | None = None
    electricity: str = ELECTRICITY
    usd_per_kwh: float | None = None
    host_usd: float = HOST_USD
    years: float = 3.0
    residual_share: float = 0.0
    pue: float = PUE
    staff_hours_per_month: float = 0.0
    staff_usd_per_hour: float = 0.0
    rent: str = ""
    rent_usd: float | None = None
    reserved_usd: float | None = None
    rent_mode: RentMode = "always"
    reserved_share: float = 0.0
    api: str = ""
    api_input_usd: float | None = None
    api_output_usd: float | None = None
    api_cached_usd: float | None = None
    cached_share: float = 0.0
    batch_share: float = 0.0


@dataclass(frozen=True, slots=True)
class PlannedCost:
    """A plan with the prices behind it; `rent` and `api` are the ones that are spoken of, None where there is none."""

    plan: CostPlan
    machine_price: MachinePrice
    electricity: Price | None
    rent: Price | None
    api: Price | None
    problems: tuple[str, ...] = ()

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the figures rest on."""
        return list_cost_assumptions(self.plan, self.machine_price, self.electricity)

    @property
    def rent_name(self) -> str:
        """The rent that is spoken of."""
        return self.rent.name if self.rent else ""

    @property
    def api_name(self) -> str:
        """The API that is spoken of."""
        return self.api.name if self.api else ""


def plan_cost(
    asked: CostQuestion,
    estimate: Estimate,
    machine: Machine,
    model_id: str,
    prices: Sequence[Price],
    sources: Mapping[str, PriceSource],
) -> PlannedCost:
    """The plan of a question; an offer nobody knows is said in `problems` and another one taken."""
    problems: list[str] = []
    power = _pick(list_electricity(prices), asked.electricity, "electricity", problems)
    if asked.usd_per_kwh is not None:
        power = Price("electricity", GIVEN, "", usd_per_kwh=asked.usd_per_kwh, confidence=OWN)
    rents, rent = _rents(asked, list_rents(prices, machine), problems)
    apis, api = _apis(asked, list_apis(prices, model_id), problems)
    price = find_machine_price(machine, prices, dict(sources), asked.host_usd)
    if asked.machine_usd is not None:
        price = MachinePrice(asked.machine_usd, 0.0, GIVEN)
    plan = CostPlan(
        load=asked.load,
        estimate=estimate,
        machine=machine,
        machine_usd=price.usd,
        watts=_watts(asked, find_watts(machine)),
        usd_per_kwh=power.usd_per_kwh if power else None,
        years=asked.years,
        residual_share=asked.residual_share,
        pue=asked.pue,
        staff_hours_per_month=asked.staff_hours_per_month,
        staff_usd_per_hour=asked.staff_usd_per_hour,
        rents=rents,
        rent_mode=asked.rent_mode,
        reserved_share=asked.reserved_share,
        apis=apis,
        cached_share=asked.cached_share,
        batch_share=asked.batch_share,
    )
    return PlannedCost(plan, price, power, rent, api, tuple(problems))


def _pick(offers: Sequence[Price], name: str, kind: str, problems: list[str]) -> Price | None:
    """The offer of this name, by its item or with its provider; the first one for a name nobody knows."""
    if not name:
        return None
    wanted = name.strip().casefold()
    for offer in offers:
        if wanted in (offer.name.casefold(), offer.item.casefold()):
            return offer
    if offers:
        error = UnknownNameError(kind, name, [o.name for o in offers])
        problems.append(f"{error}. Taking {offers[0].name} instead")
    return offers[0] if offers else None


def _rents(
    asked: CostQuestion, offers: tuple[Price, ...], problems: list[str]
) -> tuple[tuple[Price, ...], Price | None]:
    """All rents and the one that is spoken of: the named one, else the cheapest; with the person's price in it."""
    chosen = _pick(offers, asked.rent, "rent", problems) if asked.rent else next(iter(offers), None)
    if asked.rent_usd is None and asked.reserved_usd is None:
        return offers, chosen
    before = chosen or Price("rent", GIVEN, "", confidence=OWN)
    usd = before.usd_per_gpu_hour if asked.rent_usd is None else asked.rent_usd
    reserved = before.reserved_usd_per_gpu_hour if asked.reserved_usd is None else asked.reserved_usd
    given = replace(
        before,
        usd_per_gpu_hour=usd,
        reserved_usd_per_gpu_hour=reserved,
        confidence=OWN,
        source_url="",
        as_of="",
    )
    return (given, *(o for o in offers if o != chosen)), given


def _apis(
    asked: CostQuestion, offers: tuple[Price, ...], problems: list[str]
) -> tuple[tuple[Price, ...], Price | None]:
    """All APIs and the one that is spoken of: the named one, else the middle one; with the person's prices in it."""
    chosen = _pick(offers, asked.api, "API", problems) if asked.api else find_middle_api(offers, asked.load)
    given = (asked.api_input_usd, asked.api_output_usd, asked.api_cached_usd)
    if all(value is None for value in given):
        return offers, chosen
    before = chosen or Price("api", GIVEN, "", confidence=OWN)
    new = replace(
        before,
        usd_per_million_input=before.usd_per_million_input if given[0] is None else given[0],
        usd_per_million_output=before.usd_per_million_output if given[1] is None else given[1],
        usd_per_million_cached=before.usd_per_million_cached if given[2] is None else given[2],
        confidence=OWN,
        source_url="",
        as_of="",
    )
    if new.usd_per_million_input is None or new.usd_per_million_output is None:
        return offers, chosen
    return (new, *(o for o in offers if o != chosen)), new


def _watts(asked: CostQuestion, known: Watts | None) -> Watts | None:
    """The person's watts over the listed ones; idle never above work. Raises BadInputError for a contradiction."""
    load = asked.load_watts if asked.load_watts is not None else known.load if known else None
    if load is None:
        return None
    if asked.idle_watts is not None:
        if asked.idle_watts > load:
            raise BadInputError(
                f"a machine draws no more idle than at work, got {asked.idle_watts:g} W idle and {load:g} W at work"
            )
        return Watts(load, asked.idle_watts)
    return Watts(load, min(known.idle, load) if known else 0.1 * load)

"""From a model on a machine and the prices around it to the ways to run a load: your own, rented, an API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from catalog.prices import Price
from sizing.cost import (
    ApiTerms,
    Capacity,
    CostBand,
    OwnTerms,
    RentMode,
    RentTerms,
    TokenLoad,
    api_band,
    find_capacity,
    own_band,
    rent_band,
)
from sizing.cost_options import Option
from sizing.estimate import Estimate
from sizing.hardware import DeviceKind, Machine
from sizing.inverse import PriceSource

HOST_USD = 1000.0
"""A computer to put cards into, without them. Assumed: no source."""

HOST_IDLE_WATTS, HOST_LOAD_WATTS = 60.0, 120.0
"""What that computer draws. Assumed: no source."""

CARD_IDLE_SHARE = 0.1
"""What a card draws with a model loaded and nothing to do, as a share of its limit. Assumed: no source."""

PUE = 1.58
"""Mean power of a data centre over that of its machines in 2023 (Uptime Institute); 1 for a desk without cooling."""
PUE_SOURCE = PriceSource(
    "https://intelligence.uptimeinstitute.com/resource/large-data-centers-are-mostly-more-efficient-analysis-confirms",
    "2023-11",
)


@dataclass(frozen=True, slots=True)
class MachinePrice:
    """What a machine costs to buy: its devices (None: unknown) and the computer around them, each with its source."""

    devices_usd: float | None
    host_usd: float
    basis: str
    source_url: str = ""
    as_of: str = ""

    @property
    def usd(self) -> float | None:
        """The whole machine."""
        return None if self.devices_usd is None else self.devices_usd + self.host_usd


def find_machine_price(
    machine: Machine, prices: Iterable[Price], sources: dict[str, PriceSource], host_usd: float = HOST_USD
) -> MachinePrice:
    """The price of the devices that carry a model, a person's own before the launch price; a host is added to cards."""
    devices = machine.accelerators or (machine.host,)
    cards = all(d.kind is DeviceKind.GPU for d in devices)
    around = host_usd if cards else 0.0
    own = {p.item.casefold(): p for p in prices if p.kind == "buy" and p.usd is not None}
    whole = own.get(machine.name.casefold())
    if whole is not None:
        return MachinePrice(whole.usd, 0.0, "your own price of the whole machine", whole.source_url, whole.as_of)
    total, basis, source, as_of = 0.0, "", "", ""
    for device in devices:
        mine = own.get(device.name.casefold())
        usd = mine.usd if mine else device.price_usd
        if usd is None:
            return MachinePrice(None, around, f"the price of {device.name} is not known")
        listed = sources.get(device.name)
        total += usd
        if mine is not None:
            basis, source, as_of = "your own price", mine.source_url, mine.as_of
        elif listed is not None:
            basis, source, as_of = listed.name, listed.source_url, listed.as_of
    return MachinePrice(total, around, basis or "listed price", source, as_of)


@dataclass(frozen=True, slots=True)
class Watts:
    """What a machine draws at the socket, working and idle; None where a device's limit is unknown."""

    load: float
    idle: float


def find_watts(machine: Machine) -> Watts | None:
    """Power of a machine: its cards at their limit when working, a computer around them; None where one is unknown."""
    devices = machine.accelerators or (machine.host,)
    limits = [d.power_watts for d in devices]
    if any(w is None for w in limits):
        return None
    limit = float(sum(w for w in limits if w is not None))
    if all(d.kind is DeviceKind.GPU for d in devices):
        return Watts(limit + HOST_LOAD_WATTS, limit * CARD_IDLE_SHARE + HOST_IDLE_WATTS)
    return Watts(limit, limit * CARD_IDLE_SHARE)


def list_rents(prices: Sequence[Price], machine: Machine) -> tuple[Price, ...]:
    """Offers of a machine's card by the hour, a person's own first, then the cheapest; none for mixed cards."""
    names = {d.name for d in machine.accelerators if d.kind is DeviceKind.GPU}
    if len(names) != 1 or len(machine.accelerators) < 1:
        return ()
    name = next(iter(names)).casefold()
    found = [p for p in prices if p.kind == "rent" and name in (p.hardware.casefold(), p.item.casefold())]
    return tuple(sorted(found, key=lambda p: (not p.is_own, p.usd_per_gpu_hour or 0.0)))


def list_apis(prices: Sequence[Price], model_id: str) -> tuple[Price, ...]:
    """APIs to hold a model against: a person's own, the same model at a host, proprietary ones; other hosts are not."""
    own = [p for p in prices if p.kind == "api" and p.is_own]
    same = [p for p in prices if p.kind == "api" and not p.is_own and p.model_id == model_id]
    vendors = [p for p in prices if p.kind == "api" and not p.is_own and p.provider_class == "vendor"]
    return tuple(dict.fromkeys((*own, *same, *vendors)))


def find_middle_api(apis: Sequence[Price], load: TokenLoad) -> Price | None:
    """The API in the middle of the vendors' prices for a load, so that nothing dear or cheap speaks for all."""
    vendors = [p for p in apis if p.provider_class == "vendor"] or list(apis)
    ranked = sorted(vendors, key=lambda p: (api_terms(p).usd_per_million(load), p.name))
    return ranked[len(ranked) // 2] if ranked else None


def list_electricity(prices: Sequence[Price]) -> tuple[Price, ...]:
    """Where electricity is bought, a person's own first."""
    return tuple(p for p in prices if p.kind == "electricity")


def api_terms(price: Price, cached_share: float = 0.0, batch_share: float = 0.0) -> ApiTerms:
    """An API's terms from its price; where it gives nothing off for batches, none is taken off."""
    return ApiTerms(
        price.usd_per_million_input or 0.0,
        price.usd_per_million_output or 0.0,
        price.usd_per_million_cached,
        cached_share,
        batch_share,
        price.batch_discount or 0.0,
    )


@dataclass(frozen=True, slots=True)
class CostPlan:
    """A load, the model on a machine, and everything a person may say of their costs.

    `machine_usd` and `watts` are None where they are not known: the cost of an own machine is then not either.
    """

    load: TokenLoad
    estimate: Estimate
    machine: Machine
    machine_usd: float | None
    watts: Watts | None
    usd_per_kwh: float | None
    years: float = 3.0
    residual_share: float = 0.0
    pue: float = PUE
    staff_hours_per_month: float = 0.0
    staff_usd_per_hour: float = 0.0
    rents: tuple[Price, ...] = ()
    rent_mode: RentMode = "always"
    reserved_share: float = 0.0
    apis: tuple[Price, ...] = ()
    cached_share: float = 0.0
    batch_share: float = 0.0
    notes: tuple[str, ...] = field(default=())

    @property
    def capacity(self) -> Capacity | None:
        """What one machine does; None where the model does not run there or a rate is unknown."""
        return find_capacity(self.estimate.speed) if self.estimate.fit.runs else None

    @property
    def why_no_capacity(self) -> str:
        """Why no number of machines is known; "" where it is."""
        if self.capacity is not None:
            return ""
        if not self.estimate.fit.runs:
            return "the model does not fit on this machine"
        return "the speed of this machine is not known"


def own_option(plan: CostPlan) -> Option:
    """The machine of one's own."""
    speed = plan.estimate.speed
    lacks = [
        what
        for what, is_lacking in (
            (plan.why_no_capacity, plan.capacity is None),
            ("the price of the machine is not known", plan.machine_usd is None),
            ("its power draw is not known", plan.watts is None),
            ("the price of electricity is not known", plan.usd_per_kwh is None),
        )
        if is_lacking
    ]
    return Option(
        "own",
        plan.machine.name,
        None if lacks else own_cost(plan),
        "; ".join(lacks),
        first_token_s=speed.time_to_first_token_s if speed else None,
        tokens_per_s=speed.decode_tokens_per_s if speed else None,
    )


def own_cost(plan: CostPlan) -> CostBand | None:
    """The cost of machines of one's own; None where something of it is unknown."""
    if plan.capacity is None or plan.machine_usd is None or plan.watts is None or plan.usd_per_kwh is None:
        return None
    terms = OwnTerms(
        plan.machine_usd,
        plan.years,
        plan.watts.load,
        plan.watts.idle,
        plan.usd_per_kwh,
        plan.residual_share,
        plan.pue,
        plan.staff_hours_per_month,
        plan.staff_usd_per_hour,
    )
    return own_band(terms, plan.capacity, plan.load)


def rent_option(plan: CostPlan, price: Price) -> Option:
    """A rented machine with the same cards; reserved hours only where the offer has a price for them."""
    speed = plan.estimate.speed
    band = None
    if plan.capacity is not None and price.usd_per_gpu_hour is not None:
        reserved = price.reserved_usd_per_gpu_hour
        terms = RentTerms(
            price.usd_per_gpu_hour,
            len(plan.machine.accelerators),
            plan.rent_mode,
            reserved,
            plan.reserved_share if reserved is not None else 0.0,
        )
        band = rent_band(terms, plan.capacity, plan.load)
    return Option(
        "rent",
        price.name,
        band,
        plan.why_no_capacity,
        price.region,
        speed.time_to_first_token_s if speed else None,
        speed.decode_tokens_per_s if speed else None,
        price.source_url,
        price.as_of,
    )


def api_option(plan: CostPlan, price: Price) -> Option:
    """An API; of its latency no figure is claimed."""
    terms = api_terms(price, plan.cached_share, plan.batch_share)
    band = api_band(terms, plan.load)
    return Option("api", price.name, band, "", price.region, source_url=price.source_url, as_of=price.as_of)


def list_options(plan: CostPlan) -> tuple[Option, ...]:
    """Every way: the machine of one's own, each rent, each API."""
    rents = [rent_option(plan, price) for price in plan.rents]
    return (own_option(plan), *rents, *(api_option(plan, price) for price in plan.apis))

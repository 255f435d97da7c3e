"""What others ask for, each price with where and when it was read; a person's own prices go before the catalog's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from catalog.store import Catalog, once_per_catalog

KINDS = ("buy", "rent", "api", "electricity")
"""What a price is for: a device to buy, a card by the hour, an API by the token, electricity by the kWh."""

OWN = "your own"


@dataclass(frozen=True, slots=True)
class Price:
    """One offer, in US dollars.

    `item` is a device, an API's model or a place where electricity is bought. `hardware` and `model_id` are the
    catalog's names, "" where it has none; `region` is where a provider processes data, "" where it is not known.
    `confidence` is 'read' (at `source_url`), 'recalled' (never checked) or 'your own'. `converted_at` is what a unit of
    the currency of the source was worth, None for dollars.
    """

    kind: str
    item: str
    provider: str
    provider_class: str = ""
    hardware: str = ""
    model_id: str = ""
    region: str = ""
    usd: float | None = None
    usd_per_gpu_hour: float | None = None
    reserved_usd_per_gpu_hour: float | None = None
    usd_per_million_input: float | None = None
    usd_per_million_cached: float | None = None
    usd_per_million_output: float | None = None
    batch_discount: float | None = None
    usd_per_kwh: float | None = None
    converted_at: float | None = None
    confidence: str = "read"
    note: str = ""
    source_url: str = ""
    as_of: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two prices the same offer."""
        return self.kind, self.item.casefold(), self.provider.casefold()

    @property
    def name(self) -> str:
        """How it is picked: 'RTX 4090, RunPod Secure'."""
        return f"{self.item}, {self.provider}" if self.provider else self.item

    @property
    def is_own(self) -> bool:
        """Whether the person gave it."""
        return self.confidence == OWN


_ASKED = [f.name for f in fields(Price) if f.name not in ("usd", "usd_per_kwh", "converted_at")]


@once_per_catalog
def list_prices(catalog: Catalog) -> tuple[Price, ...]:
    """The catalog's prices in the order of their file, those in another currency at the rate the same file gives.

    A price whose currency has no rate is left out.
    """
    rates: dict[str, float] = dict(catalog.fetch("SELECT item, usd_per_currency FROM prices WHERE kind = 'exchange'"))
    rows = catalog.fetch(
        f"SELECT {', '.join(_ASKED)}, per_kwh, currency FROM prices WHERE kind <> 'exchange' ORDER BY line"
    )
    prices = []
    for *cells, per_kwh, currency in rows:
        rate = 1.0 if currency == "USD" else rates.get(currency)
        if rate is None:
            continue
        known = {name: cell for name, cell in zip(_ASKED, cells, strict=True) if cell is not None}
        price = Price(**known, converted_at=None if currency == "USD" else rate)
        prices.append(price if per_kwh is None else replace(price, usd_per_kwh=per_kwh * rate))
    return tuple(prices)


def merge_prices(listed: Iterable[Price], own: Iterable[Price]) -> tuple[Price, ...]:
    """All prices, a person's own in place of the same offer and before the others.

    Of an offer they take over, own prices keep what the person did not say: the device, the model, the region.
    """
    by_key = {price.key: price for price in listed}
    mine = []
    for price in own:
        before = by_key.pop(price.key, None)
        mine.append(price if before is None else _fill(price, before))
    return (*mine, *by_key.values())


def _fill(price: Price, before: Price) -> Price:
    kept = {
        name: getattr(before, name)
        for name in ("provider_class", "hardware", "model_id", "region")
        if not getattr(price, name)
    }
    return replace(price, **kept)

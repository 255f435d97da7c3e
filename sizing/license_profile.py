"""Who asks and what for: what a model's licence is held against. A value that knows no licence."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sizing.errors import BadInputError

PURPOSES = ("commercial", "research", "personal")
FIELDS_OF_USE = ("hosting", "military", "medical", "law enforcement", "automated decisions")
"""Uses that licences single out. "hosting" is selling access to the model itself, as an API."""

EUROPEAN_UNION = "EU"
EU_COUNTRIES = {
    "AT": "Austria",
    "BE": "Belgium",
    "BG": "Bulgaria",
    "HR": "Croatia",
    "CY": "Cyprus",
    "CZ": "Czechia",
    "DK": "Denmark",
    "EE": "Estonia",
    "FI": "Finland",
    "FR": "France",
    "DE": "Germany",
    "GR": "Greece",
    "HU": "Hungary",
    "IE": "Ireland",
    "IT": "Italy",
    "LV": "Latvia",
    "LT": "Lithuania",
    "LU": "Luxembourg",
    "MT": "Malta",
    "NL": "Netherlands",
    "PL": "Poland",
    "PT": "Portugal",
    "RO": "Romania",
    "SK": "Slovakia",
    "SI": "Slovenia",
    "ES": "Spain",
    "SE": "Sweden",
}
"""Member states by ISO 3166-1 code (https://european-union.europa.eu/principles-countries-history/eu-countries_en)."""

REGION_NAMES = {
    EUROPEAN_UNION: "European Union",
    "US": "United States",
    "GB": "United Kingdom",
    "CA": "Canada",
    "CN": "China",
    "IN": "India",
    "JP": "Japan",
    "KR": "South Korea",
    "BR": "Brazil",
    "AU": "Australia",
    "CH": "Switzerland",
    **EU_COUNTRIES,
}
"""Regions that can be told by name; any other country by its code."""

MAX_USERS = 10**10
MAX_REVENUE_USD = 10**14


@dataclass(frozen=True, slots=True)
class LicenseProfile:
    """A person or company and what they want to do with a model.

    `users_per_month` are the monthly active users of all their products, `revenue_usd_per_year` that of the whole
    company; None is unknown. `region` is the ISO code of the country of residence or principal place of business, "EU"
    for any member state, "" for unknown. The three flags are None where unknown. `fields` are of FIELDS_OF_USE. The
    defaults describe a small company that uses a model in a product of its own.
    """

    purpose: str = "commercial"
    users_per_month: int | None = 10_000
    revenue_usd_per_year: int | None = 1_000_000
    region: str = ""
    fine_tunes: bool | None = False
    redistributes: bool | None = False
    trains_on_outputs: bool | None = False
    fields: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.purpose not in PURPOSES:
            raise BadInputError(f"a purpose is one of {', '.join(PURPOSES)}, got {self.purpose!r}")
        _check_amount("users a month", self.users_per_month, MAX_USERS)
        _check_amount("US dollars of revenue a year", self.revenue_usd_per_year, MAX_REVENUE_USD)
        if self.region:
            read_region(self.region)
        unknown = self.fields - set(FIELDS_OF_USE)
        if unknown:
            raise BadInputError(f"a field of use is one of {', '.join(FIELDS_OF_USE)}, got {sorted(unknown)[0]!r}")

    @property
    def is_in_eu(self) -> bool:
        """Whether the region is a member state of the European Union or the Union itself."""
        return self.region == EUROPEAN_UNION or self.region in EU_COUNTRIES


def read_region(text: str) -> str:
    """A region as its code: two letters of ISO 3166-1, EU, or one of REGION_NAMES. Raises BadInputError otherwise.

    >>> read_region("de"), read_region("UK"), read_region("Germany")
    ('DE', 'GB', 'DE')
    """
    named = {name.casefold(): code for code, name in REGION_NAMES.items()}
    code = named.get(text.strip().casefold(), text.strip().upper())
    if not re.fullmatch("[A-Z]{2}", code):
        wanted = "EU, a country's two letters such as US or DE, or the name of one that is listed"
        raise BadInputError(f"a region is {wanted}; got {text[:40]!a}")
    return "GB" if code == "UK" else code


def _check_amount(what: str, amount: int | None, most: int) -> None:
    if amount is not None and not 0 <= amount <= most:
        raise BadInputError(f"{what} wants 0 to {most:,}, got {amount!r}")

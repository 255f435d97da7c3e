"""Licences of the catalog's models: what each allows, its duties in our own words, and where that was read.

This is a summary to choose by, not legal advice; every licence carries the address of its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.models import DATA_DIR
from catalog.strict_toml import AS_OF, URL, Place, check_choice, check_form, check_keys, check_texts, load_records
from sizing.errors import BadInputError, DataFileError, UnknownNameError
from sizing.recommend import LICENSE_USES

COMMERCIAL = ("yes", "conditional", "no")
UNKNOWN = "unknown"
"""What an imported model's licence allows where the catalog does not know it: nothing is claimed either way."""

_LICENSE: dict[str, tuple[type, bool]] = {
    "id": (str, True),
    "name": (str, True),
    "commercial": (str, True),
    "research": (bool, True),
    "conditions": (list, True),
    "url": (str, True),
    "quote": (str, False),
    "verified": (bool, True),
    "source_url": (str, True),
    "as_of": (str, True),
}


@dataclass(frozen=True, slots=True)
class License:
    """One licence. `conditions` are duties and limits in our own words, `quote` a short passage of the text itself.

    `commercial` is one of COMMERCIAL, or UNKNOWN for a licence that only an imported model names.
    `verified` is False where the summary is from memory or from what others wrote about the text.
    """

    license_id: str
    name: str
    commercial: str
    research: bool
    url: str
    quote: str | None
    conditions: tuple[str, ...]
    source_url: str
    as_of: str
    verified: bool


@dataclass(frozen=True, slots=True)
class LicenseAnswer:
    """Whether a use is allowed, under which duties, and why."""

    allowed: bool
    duties: tuple[str, ...]
    reason: str


def load_licenses(data_dir: Path | None = None) -> tuple[License, ...]:
    """Every licence of `data_dir/licenses.toml`, in the order of the file.

    Raises DataFileError, with file and line, for a record that breaks the rules or a licence named twice.
    """
    file = (data_dir or DATA_DIR) / "licenses.toml"
    _, records = load_records(file, "license", {})
    licenses: dict[str, License] = {}
    for record, place in records:
        found = _parse_license(record, place)
        if found.license_id in licenses:
            raise DataFileError(str(file), place.line, f"licence {found.license_id!r} is there twice; keep one")
        licenses[found.license_id] = found
    return tuple(licenses.values())


def find_license(licenses: tuple[License, ...], license_id: str) -> License:
    """The licence of that id. Raises UnknownNameError with near ids."""
    for found in licenses:
        if found.license_id == license_id:
            return found
    raise UnknownNameError("licence", license_id, [x.license_id for x in licenses])


def allows(license: License, use: str) -> LicenseAnswer:
    """Whether `license` allows a use ("commercial", "research" or "any"), and with which duties.

    A conditional licence allows commercial use to whoever meets its conditions: the duties say which. Raises
    BadInputError for another use.
    """
    if use not in LICENSE_USES:
        raise BadInputError(f"a licence is asked for one of {', '.join(LICENSE_USES)}, got {use!r}")
    note = "" if license.verified else " (not checked against the text)"
    if use == "any":
        return LicenseAnswer(True, license.conditions, f"{license.name}: shown whatever it allows{note}")
    if license.commercial == UNKNOWN:
        return LicenseAnswer(
            False, license.conditions, f"{license.name}: what it allows is not in the catalog; read it"
        )
    if use == "research":
        verdict = "allows research" if license.research else "does not allow research"
        return LicenseAnswer(license.research, license.conditions, f"{license.name} {verdict}{note}")
    verdict = {
        "yes": "allows commercial use",
        "conditional": "allows commercial use under conditions",
        "no": "does not allow commercial use",
    }[license.commercial]
    return LicenseAnswer(license.commercial != "no", license.conditions, f"{license.name} {verdict}{note}")


def make_unknown_license(license_id: str, name: str, url: str, source_url: str, as_of: str) -> License:
    """A licence that the catalog has no terms of: it is named, and allows nothing before somebody reads it."""
    duty = "read the licence yourself: its terms are not in the catalog"
    return License(license_id, name, UNKNOWN, False, url, None, (duty,), source_url, as_of, verified=False)


def _parse_license(record: Mapping[str, Any], place: Place) -> License:
    check_keys(record, _LICENSE, place)
    check_choice(record, {"commercial": COMMERCIAL}, place)
    check_form(record, {"url": URL, "source_url": URL, "as_of": AS_OF}, place)
    check_texts(record, ("conditions",), place)
    if record["commercial"] == "conditional" and not record["conditions"]:
        raise place.error("conditions", "a conditional licence must state its conditions")
    return License(
        license_id=record["id"],
        name=record["name"],
        commercial=record["commercial"],
        research=record["research"],
        url=record["url"],
        quote=record.get("quote"),
        conditions=tuple(record["conditions"]),
        source_url=record["source_url"],
        as_of=record["as_of"],
        verified=record["verified"],
    )

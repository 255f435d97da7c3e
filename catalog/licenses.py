"""Licences as clauses: what each allows, forbids and asks for, in our own words, with a short quote and its source.

This is a summary to choose by, not legal advice; every licence carries the address of its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.models import DATA_DIR
from catalog.strict_toml import AS_OF, URL, Keys, Place, check_choice, check_form, check_keys, check_texts, load_records
from sizing.errors import DataFileError, UnknownNameError
from sizing.license_profile import FIELDS_OF_USE, PURPOSES, read_region

UNKNOWN = "unknown"
"""What an imported model's licence allows where the catalog does not know it: nothing is claimed either way."""

KINDS = (
    "commercial",
    "research_only",
    "monthly_active_users",
    "revenue",
    "region_excluded",
    "field_of_use",
    "acceptable_use",
    "attribution",
    "naming",
    "train_on_outputs",
    "redistribution",
    "derivatives_inherit",
    "notice",
    "patent",
    "unread",
)
EFFECTS = ("grant", "duty", "ask", "forbid")
"""What a clause does where it applies: it allows, it allows with a duty, counsel must say, it does not allow."""

ACTIONS = ("fine_tunes", "redistributes", "trains_on_outputs")
PERIODS = ("year", "month")
MAX_QUOTE_WORDS = 25

_QUIET_KINDS = frozenset({"notice", "attribution", "patent", "derivatives_inherit"})
"""Duties of these kinds leave a licence unconditional: every open-source licence has some."""

_LICENSE: Keys = {
    "id": (str, True),
    "name": (str, True),
    "aliases": (list, False),
    "url": (str, True),
    "source_url": (str, True),
    "as_of": (str, True),
    "clause": (list, True),
}
_CLAUSE: Keys = {
    "kind": (str, True),
    "effect": (str, True),
    "says": (str, True),
    "quote": (str, False),
    "verified": (bool, True),
    "source_url": (str, False),
    "as_of": (str, False),
    "purposes": (list, False),
    "when": (list, False),
    "fields": (list, False),
    "regions": (list, False),
    "users_above": (int, False),
    "revenue_above_usd": (int, False),
    "revenue_per": (str, False),
    "counted_on": (str, False),
    "multimodal_only": (bool, False),
}


@dataclass(frozen=True, slots=True)
class Clause:
    """One rule of a licence. It applies where all its conditions hold; a clause without any always applies.

    `says` is the rule in our own words, `quote` a few words of the text. `purposes` are those it concerns (empty: all),
    `when` the actions of which one must be done, `fields` the fields of use of which one must be meant, `regions` those
    it excludes. Of `users_above` (users a month) and `revenue_above_usd` (a `revenue_per` period) one must be exceeded.
    `counted_on` is the day on which the users count, "" for any month. `multimodal_only` concerns models that read or
    make more than text. `verified` is False where the rule is from memory or from what others wrote about the text.
    """

    kind: str
    effect: str
    says: str
    source_url: str
    as_of: str
    verified: bool
    quote: str | None = None
    purposes: tuple[str, ...] = ()
    when: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    users_above: int | None = None
    revenue_above_usd: int | None = None
    revenue_per: str = "year"
    counted_on: str = ""
    multimodal_only: bool = False

    @property
    def has_limit(self) -> bool:
        """Whether it depends on users or revenue."""
        return self.users_above is not None or self.revenue_above_usd is not None

    @property
    def depends(self) -> bool:
        """Whether it depends on anything but the purpose."""
        return bool(self.has_limit or self.when or self.fields or self.regions or self.multimodal_only)


@dataclass(frozen=True, slots=True)
class License:
    """One licence: its clauses, the address of its text (`url`), where it was read (`source_url`) and when (`as_of`).

    `aliases` are other names that models' cards give it.
    """

    license_id: str
    name: str
    url: str
    source_url: str
    as_of: str
    clauses: tuple[Clause, ...]
    aliases: tuple[str, ...] = ()

    @property
    def commercial(self) -> str:
        """Whether it allows commercial use: "yes", "conditional" or "no", UNKNOWN for a licence that nobody read."""
        if self.is_unread:
            return UNKNOWN
        if any(_forbids(c, "commercial") for c in self.clauses):
            return "no"
        return "conditional" if any(_is_condition(c) for c in self.clauses) else "yes"

    @property
    def research(self) -> bool:
        """Whether it allows research; False for a licence that nobody read."""
        return not self.is_unread and not any(_forbids(c, "research") for c in self.clauses)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Duties and limits in our own words."""
        return tuple(c.says for c in self.clauses if c.effect != "grant")

    @property
    def quote(self) -> str | None:
        """A short passage of the text: the first clause's that has one."""
        return next((c.quote for c in self.clauses if c.quote), None)

    @property
    def verified(self) -> bool:
        """Whether every clause was read in the text or a word-for-word copy."""
        return all(c.verified for c in self.clauses)

    @property
    def is_unread(self) -> bool:
        """Whether the catalog has no terms of it."""
        return any(c.kind == "unread" for c in self.clauses)


def _forbids(clause: Clause, purpose: str) -> bool:
    """Whether a clause rules out a purpose whatever else holds."""
    return clause.effect == "forbid" and not clause.depends and (not clause.purposes or purpose in clause.purposes)


def _is_condition(clause: Clause) -> bool:
    if clause.effect == "grant":
        return False
    quiet = clause.kind in _QUIET_KINDS and not clause.has_limit and not clause.purposes
    return clause.effect != "duty" or not quiet


def load_licenses(data_dir: Path | None = None) -> tuple[License, ...]:
    """Every licence of `data_dir/licenses.toml`, in the order of the file.

    Raises DataFileError, with file and line, for a record that breaks the rules or a licence named twice.
    """
    file = (data_dir or DATA_DIR) / "licenses.toml"
    _, records = load_records(file, "license", {"base": (list, False)})
    text = file.read_text(encoding="utf-8")
    clause_places = iter(list_places(file, text, "license.clause"))
    licenses: dict[str, License] = {}
    names: set[str] = set()
    for record, place in records:
        check_keys(record, _LICENSE, place)
        places = [next(clause_places, place) for _ in record["clause"]]
        found = _parse_license(record, place, places)
        for name in (found.license_id, *found.aliases):
            if name in names:
                raise DataFileError(str(file), place.line, f"licence {name!r} is there twice; keep one")
            names.add(name)
        licenses[found.license_id] = found
    return tuple(licenses.values())


def list_places(file: Path, text: str, array: str) -> list[Place]:
    """The places of all `[[array]]` records of a TOML text, in order."""
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.strip() == f"[[{array}]]"]
    return [Place(str(file), text, line) for line in lines]


def find_license(licenses: Iterable[License], license_id: str) -> License:
    """The licence of that id or alias. Raises UnknownNameError with near ids."""
    known = tuple(licenses)
    for found in known:
        if found.license_id == license_id:
            return found
    for found in known:
        if license_id.casefold() in (found.license_id.casefold(), *found.aliases):
            return found
    raise UnknownNameError("licence", license_id, [x.license_id for x in known])


def list_license_names(licenses: Iterable[License]) -> dict[str, str]:
    """Every id and alias of the licences, each with the id it means."""
    return {name: x.license_id for x in licenses for name in (*x.aliases, x.license_id)}


def record_license(license: License) -> dict[str, object]:
    """A licence's facts by the names of their columns, without its clauses."""
    return {
        "license_id": license.license_id,
        "name": license.name,
        "commercial": license.commercial,
        "research": license.research,
        "verified": license.verified,
        "url": license.url,
        "quote": license.quote,
        "conditions": list(license.conditions),
        "source_url": license.source_url,
        "as_of": license.as_of,
    }


def make_unknown_license(license_id: str, name: str, url: str, source_url: str, as_of: str) -> License:
    """A licence that the catalog has no terms of: it is named, and allows nothing before somebody reads it."""
    says = "read the licence yourself: what it allows is not in the catalog"
    clause = Clause("unread", "ask", says, source_url, as_of, verified=False)
    return License(license_id, name, url, source_url, as_of, (clause,))


def _parse_license(record: Mapping[str, Any], place: Place, places: Iterable[Place]) -> License:
    check_form(record, {"url": URL, "source_url": URL, "as_of": AS_OF}, place)
    check_texts(record, ("aliases",), place)
    if not record["clause"]:
        raise place.error("clause", "a licence must state at least one clause")
    aliases = tuple(record.get("aliases", ()))
    if any(alias != alias.casefold() for alias in aliases):
        raise place.error("aliases", "aliases are written in lower case")
    return License(
        license_id=record["id"],
        name=record["name"],
        url=record["url"],
        source_url=record["source_url"],
        as_of=record["as_of"],
        clauses=tuple(_parse_clause(c, record, p) for c, p in zip(record["clause"], places, strict=True)),
        aliases=aliases,
    )


def _parse_clause(record: Mapping[str, Any], license: Mapping[str, Any], place: Place) -> Clause:
    check_keys(record, _CLAUSE, place)
    check_choice(record, {"kind": KINDS[:-1], "effect": EFFECTS}, place)
    check_form(record, {"source_url": URL, "as_of": AS_OF, "counted_on": r"\d{4}-\d{2}-\d{2}"}, place)
    if "revenue_per" in record:
        check_choice(record, {"revenue_per": PERIODS}, place)
    _check_members(record, {"purposes": PURPOSES, "when": ACTIONS, "fields": FIELDS_OF_USE}, place)
    check_texts(record, ("regions",), place)
    if any(len(code) != 2 or read_region(code) != code for code in record.get("regions", ())):
        raise place.error("regions", f"regions wants ISO codes or EU, got {record['regions']!r}")
    _check_amounts(record, place)
    _check_quote(record, place)
    return Clause(
        kind=record["kind"],
        effect=record["effect"],
        says=record["says"],
        source_url=record.get("source_url", license["source_url"]),
        as_of=record.get("as_of", license["as_of"]),
        verified=record["verified"],
        quote=record.get("quote"),
        purposes=tuple(record.get("purposes", ())),
        when=tuple(record.get("when", ())),
        fields=tuple(record.get("fields", ())),
        regions=tuple(record.get("regions", ())),
        users_above=record.get("users_above"),
        revenue_above_usd=record.get("revenue_above_usd"),
        revenue_per=record.get("revenue_per", "year"),
        counted_on=record.get("counted_on", ""),
        multimodal_only=record.get("multimodal_only", False),
    )


def _check_members(record: Mapping[str, Any], choices: Mapping[str, tuple[str, ...]], place: Place) -> None:
    """Refuse lists that hold anything outside the few their key allows."""
    for key, allowed in choices.items():
        for item in record.get(key, ()):
            if item not in allowed:
                raise place.error(key, f"{key} wants some of {', '.join(allowed)}, got {item!r}")


def _check_amounts(record: Mapping[str, Any], place: Place) -> None:
    for key in ("users_above", "revenue_above_usd"):
        if record.get(key, 1) <= 0:
            raise place.error(key, f"{key} wants more than 0, got {record[key]!r}")
    wanted = {"monthly_active_users": "users_above", "revenue": "revenue_above_usd", "region_excluded": "regions"}
    must = wanted.get(record["kind"])
    if must is not None and must not in record:
        raise place.error("kind", f"a clause of kind {record['kind']} must state {must}")


def _check_quote(record: Mapping[str, Any], place: Place) -> None:
    quote = record.get("quote")
    if record["verified"] and quote is None:
        raise place.error("verified", "a verified clause quotes the words that were read")
    if quote is not None and len(quote.split()) > MAX_QUOTE_WORDS:
        raise place.error("quote", f"quote wants at most {MAX_QUOTE_WORDS} words, got {len(quote.split())}")


@dataclass(frozen=True, slots=True)
class BaseLicense:
    """The licence of the repositories whose names begin with `prefix`, which models are made from."""

    prefix: str
    license_id: str
    source_url: str
    as_of: str
    verified: bool


_BASE: Keys = {
    "prefix": (str, True),
    "license": (str, True),
    "source_url": (str, True),
    "as_of": (str, True),
    "verified": (bool, True),
}


def load_base_licenses(data_dir: Path | None = None) -> tuple[BaseLicense, ...]:
    """The licences of well-known repositories by the beginning of their names, the longest first.

    Raises DataFileError for a record that breaks the rules or names a licence that is not in the file.
    """
    file = (data_dir or DATA_DIR) / "licenses.toml"
    document, records = load_records(file, "license", {"base": (list, False)})
    known = {record["id"] for record, _ in records}
    places = list_places(file, file.read_text(encoding="utf-8"), "base")
    found = []
    for record, place in zip(document.get("base", ()), places, strict=True):
        check_keys(record, _BASE, place)
        check_form(record, {"source_url": URL, "as_of": AS_OF, "prefix": r"[\w.-]+/[\w.-]*"}, place)
        if record["license"] not in known:
            raise place.error("license", f"no licence {record['license']!r} is in this file")
        source, as_of = record["source_url"], record["as_of"]
        found.append(BaseLicense(record["prefix"], record["license"], source, as_of, record["verified"]))
    return tuple(sorted(found, key=lambda base: -len(base.prefix)))

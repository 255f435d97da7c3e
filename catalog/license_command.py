"""`python -m catalog license MODEL|LICENSE`: what a licence, or a model's chain of them, means for who asks."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from catalog.license_chain import judge_model
from catalog.license_rules import NOT_LEGAL_ADVICE, Finding, Outcome, Verdict, evaluate
from catalog.licenses import Clause, License, find_license
from catalog.queries import find_model
from catalog.store import Catalog
from sizing.command_line import EXIT_DONE, print_json
from sizing.errors import BadInputError, UnknownNameError
from sizing.license_profile import FIELDS_OF_USE, PURPOSES, LicenseProfile, read_region

NOT_KNOWN = "unknown"
_FLAGS = {"yes": True, "no": False, NOT_KNOWN: None}


def add_license_command(commands: Any, open_here: Callable[[], Catalog]) -> argparse.ArgumentParser:
    """Register the command with its options."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "license", help="what a model's licence and those of its bases allow to a profile"
    )
    parser.add_argument(
        "name", metavar="MODEL|LICENSE", help="a model as in `show`, or a licence's id, such as llama3.1"
    )
    parser.add_argument("--purpose", choices=PURPOSES, default="commercial", help="default commercial")
    add_profile_options(parser)
    parser.set_defaults(run=lambda args: run_license(args, open_here()))
    return parser


def add_profile_options(parser: argparse.ArgumentParser) -> None:
    """The options that say who asks, whatever for."""
    plain = LicenseProfile()
    users, revenue = plain.users_per_month, plain.revenue_usd_per_year
    parser.add_argument("--users", default=str(users), help=f"monthly users, or {NOT_KNOWN}; default {users}")
    parser.add_argument("--revenue", default=str(revenue), help=f"US dollars a year, or {NOT_KNOWN}; default {revenue}")
    parser.add_argument("--region", default="", help="ISO country code or EU; left out: not known")
    for flag, what in (("fine-tune", "it"), ("redistribute", "it"), ("train-on-outputs", "of another model")):
        parser.add_argument(f"--{flag}", choices=tuple(_FLAGS), default="no", help=f"{what}; default no")
    parser.add_argument(
        "--field", action="append", choices=FIELDS_OF_USE, default=[], help="may be given several times"
    )


def run_license(args: argparse.Namespace, catalog: Catalog) -> int:
    """Print the verdict. Raises UnknownNameError for neither a model nor a licence, BadInputError for nonsense."""
    profile = read_profile(args, args.purpose)
    name, verdict = judge_named(catalog, args.name, profile)
    if args.json:
        print_json(verdict_record(name, profile, verdict))
    else:
        print_verdict(name, verdict)
    return EXIT_DONE


def read_profile(args: argparse.Namespace, purpose: str) -> LicenseProfile:
    """The profile that the options of `add_profile_options` describe, for a purpose. Raises BadInputError."""
    return LicenseProfile(
        purpose=purpose,
        users_per_month=_read_amount("--users", args.users),
        revenue_usd_per_year=_read_amount("--revenue", args.revenue),
        region=read_region(args.region) if args.region else "",
        fine_tunes=_FLAGS[args.fine_tune],
        redistributes=_FLAGS[args.redistribute],
        trains_on_outputs=_FLAGS[args.train_on_outputs],
        fields=frozenset(args.field),
    )


def _read_amount(option: str, text: str) -> int | None:
    if text.strip().casefold() == NOT_KNOWN:
        return None
    digits = text.replace(",", "").replace("_", "").strip()
    if not digits.isdecimal() or not digits.isascii():
        raise BadInputError(f"{option} wants a whole number or {NOT_KNOWN}, got {text[:40]!a}")
    return int(digits[:20])


def judge_named(catalog: Catalog, name: str, profile: LicenseProfile) -> tuple[str, Verdict]:
    """The verdict on a licence or a model, whichever is called so, with its full name.

    Raises UnknownNameError, with near names of both, for neither.
    """
    try:
        terms = find_license(catalog.licenses, name)
    except UnknownNameError:
        pass
    else:
        return terms.name, evaluate(terms, profile)
    try:
        card = find_model(catalog, name)
    except UnknownNameError as error:
        known = [*error.near, *(x.license_id for x in catalog.licenses)]
        raise UnknownNameError("model or licence", name, known) from None
    return card.model_id, judge_model(catalog, card, profile)


_OUTCOME_WORDS = {Outcome.DUTIES: "duty", Outcome.ASK: "ask counsel", Outcome.NO: "ruled out"}


def print_verdict(name: str, verdict: Verdict) -> None:
    """The verdict, what decided it, what else applies, what to watch."""
    print(f"{name}: {verdict.outcome} ({verdict.license_name})")
    if verdict.is_inherited:
        print(f"decided by {verdict.decided_by}, which it was made from")
    for link in verdict.links[1:]:
        terms = link.license.name if link.license else "licence not known"
        print(f"made from {link.model_id}: {terms}")
    for finding in verdict.findings:
        doubt = "" if finding.clause.verified else " (not checked against the text)"
        print(f"- {_OUTCOME_WORDS[finding.outcome]}: {finding.why}{doubt}")
        if finding.clause.source_url:
            print(f"  {finding.clause.source_url}")
    for clause in verdict.watch:
        print(f"- not reached yet: {clause.says}")
    print(NOT_LEGAL_ADVICE)


def verdict_record(name: str, profile: LicenseProfile, verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON; what is not known is null."""
    return {
        "name": name,
        "outcome": str(verdict.outcome),
        "license": verdict.license_id,
        "verified": verdict.verified,
        "decided_by": verdict.decided_by or None,
        "profile": profile_record(profile),
        "chain": [{"model": x.model_id, "license": _id_of(x.license)} for x in verdict.links],
        "findings": [finding_record(finding) for finding in verdict.findings],
        "watch": [clause_record(clause) for clause in verdict.watch],
        "note": NOT_LEGAL_ADVICE,
    }


def _id_of(license: License | None) -> str | None:
    return license.license_id if license else None


def profile_record(profile: LicenseProfile) -> dict[str, Any]:
    """A profile as JSON."""
    return {
        "purpose": profile.purpose,
        "users_per_month": profile.users_per_month,
        "revenue_usd_per_year": profile.revenue_usd_per_year,
        "region": profile.region or None,
        "fine_tunes": profile.fine_tunes,
        "redistributes": profile.redistributes,
        "trains_on_outputs": profile.trains_on_outputs,
        "fields": sorted(profile.fields),
    }


def finding_record(finding: Finding) -> dict[str, Any]:
    """A clause that applies, as JSON."""
    return {
        "outcome": str(finding.outcome),
        "why": finding.why,
        "model": finding.model_id or None,
        "license": finding.license_id or None,
        **clause_record(finding.clause),
    }


def clause_record(clause: Clause) -> dict[str, Any]:
    """A clause as JSON."""
    return {
        "kind": clause.kind,
        "effect": clause.effect,
        "says": clause.says,
        "quote": clause.quote,
        "verified": clause.verified,
        "source_url": clause.source_url or None,
        "as_of": clause.as_of or None,
    }

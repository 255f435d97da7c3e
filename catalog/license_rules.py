"""What a licence means for one profile: allowed, allowed with duties, a question for counsel, or not allowed.

Every verdict names the clauses that decided. A fact of the profile that is unknown counts only where a clause turns on
it; then the answer is to ask. Nothing here is legal advice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

from catalog.licenses import UNKNOWN, Clause, License
from sizing.candidate import LICENSE_USES
from sizing.errors import BadInputError
from sizing.license_profile import EU_COUNTRIES, EUROPEAN_UNION, LicenseProfile

__all__ = [
    "NOT_LEGAL_ADVICE",
    "Finding",
    "LicenseAnswer",
    "LicenseProfile",
    "Link",
    "Outcome",
    "Verdict",
    "allows",
    "evaluate",
    "evaluate_model",
    "make_profile",
]

NOT_LEGAL_ADVICE = "This is a reading aid, not legal advice: the text of the licence decides."

MONTHS_PER_YEAR = 12


class Outcome(StrEnum):
    """A verdict in words, the mildest first."""

    ALLOWED = "allowed"
    DUTIES = "allowed with duties"
    ASK = "ask counsel"
    NO = "not allowed"

    @property
    def severity(self) -> int:
        """Its rank among verdicts, 0 for the mildest."""
        return list(Outcome).index(self)

    @property
    def is_allowed(self) -> bool:
        """Whether the use may start without asking anybody."""
        return self in (Outcome.ALLOWED, Outcome.DUTIES)


class _Holds(IntEnum):
    """Whether a condition holds; the middle is unknown. The least of several is their 'and', the most their 'or'."""

    NO = 0
    MAYBE = 1
    YES = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """A clause that applies, or may: what follows from it, and why, in words. `model_id` is whose licence it is of."""

    clause: Clause
    outcome: Outcome
    why: str
    license_id: str
    license_name: str
    model_id: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A model and the licence it is under; the first of a chain is the model itself, then what it was made from.

    `license` is None for a base whose licence nobody knows. `relation` says in words what it is to the model.
    """

    model_id: str
    license: License | None
    is_multimodal: bool | None = None
    relation: str = ""
    source_url: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a licence, or a chain of them, means for a profile.

    `findings` are the clauses that apply, strictest first; `watch` those whose limit is not reached yet. `decided_by`
    is the model of the chain whose licence decided, "" for a licence alone. `verified` is False where a deciding
    clause, or where none decided one that could stand in the way, was not checked against the text.
    """

    outcome: Outcome
    license_id: str
    license_name: str
    findings: tuple[Finding, ...]
    watch: tuple[Clause, ...]
    verified: bool
    decided_by: str = ""
    links: tuple[Link, ...] = ()

    @property
    def decided(self) -> tuple[Finding, ...]:
        """The clauses that made the verdict what it is; none where everything is allowed."""
        return tuple(f for f in self.findings if f.outcome is self.outcome)

    @property
    def duties(self) -> tuple[str, ...]:
        """What must be done, in words, each once."""
        return tuple(dict.fromkeys(f.clause.says for f in self.findings if f.outcome is Outcome.DUTIES))

    @property
    def is_allowed(self) -> bool:
        """Whether the use may start without asking anybody."""
        return self.outcome.is_allowed

    @property
    def reason(self) -> str:
        """The verdict in one line, with the first clause that decided."""
        doubt = "" if self.verified else " (not checked against the text)"
        first = next(iter(self.decided), None)
        if first is None or self.outcome is Outcome.ALLOWED:
            return f"{self.license_name}: allowed{doubt}"
        owner = f"{first.license_name}, through {first.model_id}" if self.is_inherited else first.license_name
        said = first.clause.says if self.outcome is Outcome.DUTIES else first.why
        more = f" and {len(self.decided) - 1} more" if len(self.decided) > 1 else ""
        return f"{owner}: {self.outcome}, {said}{more}{doubt}"

    @property
    def is_inherited(self) -> bool:
        """Whether a base of the model decided, not its own licence."""
        return bool(self.links) and self.decided_by != self.links[0].model_id


@dataclass(frozen=True, slots=True)
class LicenseAnswer:
    """Whether a use is allowed, under which duties, and why."""

    allowed: bool
    duties: tuple[str, ...]
    reason: str


def make_profile(license_use: str, profile: LicenseProfile | None = None) -> LicenseProfile:
    """A profile for one of LICENSE_USES; "any" is judged as commercial use. Raises BadInputError for another."""
    if license_use not in LICENSE_USES:
        raise BadInputError(f"a licence is asked for one of {', '.join(LICENSE_USES)}, got {license_use!r}")
    purpose = "commercial" if license_use == "any" else license_use
    return replace(profile or LicenseProfile(), purpose=purpose)


def allows(license: License, use: str) -> LicenseAnswer:
    """Whether `license` allows one of LICENSE_USES to the default profile, with all its duties and limits.

    "any" is always allowed: it filters nothing. Raises BadInputError for another use.
    """
    verdict = evaluate(license, make_profile(use))
    note = "" if verdict.verified else " (not checked against the text)"
    if use == "any":
        return LicenseAnswer(True, license.conditions, f"{license.name}: shown whatever it allows{note}")
    if license.commercial == UNKNOWN:
        return LicenseAnswer(
            False, license.conditions, f"{license.name}: what it allows is not in the catalog; read it"
        )
    does = {
        Outcome.ALLOWED: f"allows {use} use",
        Outcome.DUTIES: f"allows {use} use with duties",
        Outcome.ASK: f"leaves {use} use to be asked about",
        Outcome.NO: f"does not allow {use} use",
    }[verdict.outcome]
    return LicenseAnswer(verdict.is_allowed, license.conditions, f"{license.name} {does}{note}")


def evaluate(license: License, profile: LicenseProfile, is_multimodal: bool | None = False) -> Verdict:
    """What a licence means for a profile, of a model that reads and makes text alone unless `is_multimodal`.

    A clause that may apply, since the profile does not say, makes it a question for counsel where it would forbid.
    """
    findings, watch = [], []
    for clause in license.clauses:
        holds, why = _judge_clause(clause, profile, is_multimodal)
        outcome = _follow(clause, holds)
        if outcome is not None:
            findings.append(Finding(clause, outcome, why, license.license_id, license.name))
        elif clause.has_limit and clause.effect != "grant" and _concerns(clause, profile):
            watch.append(clause)
    findings.sort(key=lambda f: -f.outcome.severity)
    outcome = findings[0].outcome if findings else Outcome.ALLOWED
    limits = [c for c in license.clauses if c.effect in ("forbid", "ask") or c.has_limit]
    deciding = [f.clause for f in findings if f.outcome is outcome] or limits or list(license.clauses)
    return Verdict(
        outcome, license.license_id, license.name, tuple(findings), tuple(watch), all(c.verified for c in deciding)
    )


def evaluate_model(links: Sequence[Link], profile: LicenseProfile) -> Verdict:
    """What a model's licence and those of its bases mean for a profile: the strictest of the chain.

    The first link is the model itself. A base whose licence is unknown is a question for counsel in commercial use,
    else something to find out: a fine-tune cannot give more than it was given. Raises BadInputError for an empty chain
    or a model without a licence.
    """
    if not links or links[0].license is None:
        raise BadInputError("a model's verdict wants the model with its own licence first")
    own = links[0].license
    verdicts = [_judge_link(link, profile) for link in links]
    strictest = max(range(len(links)), key=lambda i: (verdicts[i].outcome.severity, -i))
    findings = [replace(f, model_id=link.model_id) for link, v in zip(links, verdicts, strict=True) for f in v.findings]
    findings.sort(key=lambda f: -f.outcome.severity)
    if strictest:  # where a base decides, it is told first
        findings.sort(key=lambda f: (-f.outcome.severity, f.model_id != links[strictest].model_id))
    return Verdict(
        outcome=verdicts[strictest].outcome,
        license_id=own.license_id,
        license_name=own.name,
        findings=tuple(findings),
        watch=tuple(dict.fromkeys(clause for v in verdicts for clause in v.watch)),
        verified=verdicts[strictest].verified,
        decided_by=links[strictest].model_id,
        links=tuple(links),
    )


def _judge_link(link: Link, profile: LicenseProfile) -> Verdict:
    if link.license is not None:
        return evaluate(link.license, profile, link.is_multimodal)
    says = f"find out the licence of {link.model_id}, which this model was made from"
    clause = Clause("unread", "ask", says, link.source_url, "", verified=False)
    why = f"the licence of its base {link.model_id} is not known here; import that model too, or read its card"
    outcome = Outcome.ASK if profile.purpose == "commercial" else Outcome.DUTIES
    finding = Finding(clause, outcome, why, "", "unknown licence", link.model_id)
    return Verdict(outcome, "", "unknown licence", (finding,), (), verified=False)


def _follow(clause: Clause, holds: _Holds) -> Outcome | None:
    """What a clause does when it holds so; None where nothing follows."""
    if holds is _Holds.NO or clause.effect == "grant":
        return None
    if clause.effect == "duty":
        return Outcome.DUTIES
    return Outcome.NO if clause.effect == "forbid" and holds is _Holds.YES else Outcome.ASK


Judged = tuple[_Holds, str]


def _judge_clause(clause: Clause, profile: LicenseProfile, is_multimodal: bool | None) -> Judged:
    """Whether a clause applies, and why in words: of a question, what is not known; else what makes it apply."""
    parts = [judge(clause, profile) for judge in _CONDITIONS]
    parts.append(_judge_modality(clause, is_multimodal))
    holds = min((part[0] for part in parts), default=_Holds.YES)
    told = [why for held, why in parts if why and held is holds]
    if holds is _Holds.MAYBE:
        return holds, f"{clause.says}; not known: {', '.join(told)}"
    return holds, f"{clause.says} ({'; '.join(told)})" if told else clause.says


def _judge_purpose(clause: Clause, profile: LicenseProfile) -> Judged:
    holds = not clause.purposes or profile.purpose in clause.purposes
    return (_Holds.YES if holds else _Holds.NO), ""


def _judge_actions(clause: Clause, profile: LicenseProfile) -> Judged:
    """One of the actions must be done."""
    if not clause.when:
        return _Holds.YES, ""
    done: dict[str, bool | None] = {action: getattr(profile, action) for action in clause.when}
    if any(done.values()):
        return _Holds.YES, ""
    unknown = [_ACTION_WORDS[action] for action, value in done.items() if value is None]
    return (_Holds.MAYBE, " or ".join(unknown)) if unknown else (_Holds.NO, "")


_ACTION_WORDS = {
    "fine_tunes": "whether you fine-tune it",
    "redistributes": "whether you pass it on",
    "trains_on_outputs": "whether you train on its outputs",
}


def _judge_fields(clause: Clause, profile: LicenseProfile) -> Judged:
    if not clause.fields:
        return _Holds.YES, ""
    meant = sorted(set(clause.fields) & profile.fields)
    return (_Holds.YES, f"you named {', '.join(meant)}") if meant else (_Holds.NO, "")


def _judge_region(clause: Clause, profile: LicenseProfile) -> Judged:
    if not clause.regions:
        return _Holds.YES, ""
    if not profile.region:
        return _Holds.MAYBE, "your region"
    inside = profile.region in clause.regions or (EUROPEAN_UNION in clause.regions and profile.is_in_eu)
    if not inside and profile.region == EUROPEAN_UNION and EU_COUNTRIES.keys() & set(clause.regions):
        return _Holds.MAYBE, "your country in the European Union"
    return (_Holds.YES, f"you are in {profile.region}") if inside else (_Holds.NO, "")


def _judge_limits(clause: Clause, profile: LicenseProfile) -> Judged:
    """One of the limits must be exceeded."""
    if not clause.has_limit:
        return _Holds.YES, ""
    parts = []
    if clause.users_above is not None:
        parts.append(_judge_users(clause.users_above, clause.counted_on, profile.users_per_month))
    if clause.revenue_above_usd is not None:
        parts.append(_judge_revenue(clause.revenue_above_usd, clause.revenue_per, profile.revenue_usd_per_year))
    holds = max(part[0] for part in parts)
    return holds, ", ".join(why for held, why in parts if held is holds and why)


def _judge_users(limit: int, counted_on: str, users: int | None) -> Judged:
    if users is None:
        return _Holds.MAYBE, "your users a month"
    if users <= limit:
        return _Holds.NO, ""
    day = f", counted on {counted_on}" if counted_on else ""
    return _Holds.YES, f"{users:,} users a month, more than {limit:,}{day}"


def _judge_revenue(limit: int, period: str, revenue: int | None) -> Judged:
    """Revenue is known by the year: a limit on one month is surely passed only where twelve such months are."""
    if revenue is None:
        return _Holds.MAYBE, "your revenue"
    if revenue <= limit:
        return _Holds.NO, ""
    if period == "month" and revenue <= limit * MONTHS_PER_YEAR:
        return _Holds.MAYBE, f"whether one month of your US${revenue:,} a year passed US${limit:,}"
    return _Holds.YES, f"US${revenue:,} a year, more than US${limit:,} a {period}"


def _judge_modality(clause: Clause, is_multimodal: bool | None) -> Judged:
    if not clause.multimodal_only:
        return _Holds.YES, ""
    if is_multimodal is None:
        return _Holds.MAYBE, "whether the model reads or makes more than text"
    return (_Holds.YES if is_multimodal else _Holds.NO), ""


_CONDITIONS: tuple[Callable[[Clause, LicenseProfile], Judged], ...] = (
    _judge_purpose,
    _judge_actions,
    _judge_fields,
    _judge_region,
    _judge_limits,
)


def _concerns(clause: Clause, profile: LicenseProfile) -> bool:
    """Whether a clause whose limit is not reached would hold with more users or revenue."""
    return all(judge(clause, profile)[0] for judge in _CONDITIONS if judge is not _judge_limits)

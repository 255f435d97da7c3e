"""Licences in words: profiles, verdicts, clauses and chains as text and HTML. Values in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from catalog.license_rules import Finding, Link, Outcome, Verdict
from catalog.licenses import Clause, License
from pages.ui.charts import roomy
from sizing.license_profile import LicenseProfile
from sizing.profile_words import ACTION_WORDS, REGION_WORDS, say_amount, say_money

OUTCOME_MARKS = {Outcome.ALLOWED: "●", Outcome.DUTIES: "◐", Outcome.ASK: "?", Outcome.NO: "○"}
"""One mark per verdict; the word always stands beside it."""

KIND_WORDS = {
    "commercial": "Commercial use",
    "research_only": "Research only",
    "monthly_active_users": "Users a month",
    "revenue": "Revenue",
    "region_excluded": "Region",
    "field_of_use": "Field of use",
    "acceptable_use": "Acceptable use",
    "attribution": "Attribution",
    "naming": "Naming",
    "train_on_outputs": "Training on outputs",
    "redistribution": "Passing it on",
    "derivatives_inherit": "What is made from it",
    "notice": "Notices",
    "patent": "Patents",
    "unread": "Not read",
}
EFFECT_WORDS = {"grant": "allows", "duty": "asks for", "ask": "leaves open", "forbid": "rules out"}


def format_outcome(outcome: Outcome) -> str:
    """A verdict as its mark and its word: '◐ Allowed with duties'."""
    return f"{OUTCOME_MARKS[outcome]} {outcome.capitalize()}"


def list_regions(offered: Sequence[str], present: str) -> dict[str, str]:
    """Regions by code with their names; a code without one stands for itself."""
    return {code: REGION_WORDS.get(code, code) for code in dict.fromkeys((*offered, present))}


def name_profile(profile: LicenseProfile) -> str:
    """A profile in the context bar: where, and what differs from the default."""
    plain = LicenseProfile(profile.purpose)
    parts = [REGION_WORDS.get(profile.region, profile.region) if profile.region else "Region not said"]
    if profile.users_per_month != plain.users_per_month:
        parts.append(say_amount(profile.users_per_month, "users"))
    if profile.revenue_usd_per_year != plain.revenue_usd_per_year:
        parts.append(say_money(profile.revenue_usd_per_year, "a year"))
    more = sum(
        getattr(profile, name) != getattr(plain, name)
        for name in ("fine_tunes", "redistributes", "trains_on_outputs", "fields")
    )
    return ", ".join([*parts, *([f"{more} more"] if more else [])])


def say_counts(counts: Mapping[Outcome, int]) -> str:
    """'Of 196 models, 141 are allowed for this profile, 33 with duties; counsel must be asked about 9, ...'."""
    n = sum(counts.values())
    allowed = counts[Outcome.ALLOWED] + counts[Outcome.DUTIES]
    return (
        f"Of {n:,} models, {allowed:,} are allowed for this profile, {counts[Outcome.DUTIES]:,} of them with duties; "
        f"{counts[Outcome.ASK]:,} are a question for counsel and {counts[Outcome.NO]:,} are not allowed."
    )


def verdict_html(verdict: Verdict, name: str, kind: str = "wb-answer") -> str:
    """The answer about a model or a licence, and what decided it; `kind` is the class of text the answer has."""
    because = ""
    if verdict.is_inherited:
        because = f" Decided by {verdict.decided_by}, which it was made from."
    doubt = "" if verdict.verified else " What decides was not checked against the text."
    whose = f"{verdict.license_name}." if verdict.license_name != name else ""
    outcome = f'<span class="wb-whole">{escape(format_outcome(verdict.outcome))}</span>'
    return (
        f'<h2 class="{kind}">{escape(name)}: {outcome}</h2>'
        f'<p class="wb-quiet">{escape(roomy(f"{whose}{because}{doubt}".strip()))}</p>'
    )


def list_findings(findings: Iterable[Finding], names_models: bool) -> list[str]:
    """What applies, one markdown line each, with its words and its link, and whose licence says so."""
    return [
        f"**{KIND_WORDS[f.clause.kind]}**{f' of {_plain(f.model_id)}' if names_models else ''}: "
        f"{_plain(f.why)}.{_words_of(f.clause)}"
        for f in findings
    ]


def list_clauses(terms: License) -> list[str]:
    """Every clause of a licence, one markdown line each: what it does, when, its words, where they were read."""
    return [
        f"**{KIND_WORDS[c.kind]}** {EFFECT_WORDS[c.effect]}{_condition(c)}: {_plain(c.says)}.{_words_of(c)}"
        for c in terms.clauses
    ]


def _condition(clause: Clause) -> str:
    parts = []
    if clause.purposes:
        parts.append(f"in {' or '.join(clause.purposes)} use")
    if clause.when:
        parts.append("where " + " or ".join(ACTION_WORDS[action] for action in clause.when))
    if clause.fields:
        parts.append("for " + ", ".join(clause.fields))
    if clause.regions:
        parts.append("in " + ", ".join(clause.regions))
    limits = []
    if clause.users_above is not None:
        day = f" on {clause.counted_on}" if clause.counted_on else ""
        limits.append(f"more than {clause.users_above:,} users a month{day}")
    if clause.revenue_above_usd is not None:
        limits.append(f"more than {clause.revenue_above_usd:,} US dollars a {clause.revenue_per}")
    if limits:
        parts.append("with " + " or ".join(limits))
    if clause.multimodal_only:
        parts.append("multimodal models only")
    return f" ({_plain('; '.join(parts))})" if parts else ""


def _words_of(clause: Clause) -> str:
    """The quoted words of a clause and where they were read, as markdown."""
    quote = f" “{_plain(clause.quote)}”" if clause.quote else ""
    link = f" [Source]({clause.source_url})" if clause.source_url.startswith("http") else ""
    day = f", {clause.as_of}" if link and clause.as_of else ""
    doubt = "" if clause.verified else " Not checked against the text."
    return f"{quote}{link}{day}.{doubt}" if quote or link else doubt


def list_links(links: Iterable[Link]) -> list[tuple[str, str]]:
    """A chain as name and text: each model and its licence."""
    return [(link.relation.capitalize(), f"{link.model_id}: {_licence_of(link)}") for link in links]


def _licence_of(link: Link) -> str:
    return link.license.name if link.license else "its licence is not known here"


def _plain(text: str) -> str:
    """Text that others wrote, so that markdown shows it as it is."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+!|<>~$:" else c for c in text)

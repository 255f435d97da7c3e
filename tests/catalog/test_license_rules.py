"""Verdicts: golden ones argued one by one from the licences' words, and what must hold for all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.license_rules import (
    LicenseProfile,
    Link,
    Outcome,
    allows,
    evaluate,
    evaluate_model,
    make_profile,
)
from catalog.licenses import License, load_licenses, make_unknown_license
from sizing.candidate import LICENSE_USES
from sizing.errors import BadInputError
from sizing.license_profile import EU_COUNTRIES, FIELDS_OF_USE, MAX_REVENUE_USD, MAX_USERS, PURPOSES, read_region

LICENSES = load_licenses()
BY_ID = {found.license_id: found for found in LICENSES}
OK, DUTIES, ASK, NO = Outcome.ALLOWED, Outcome.DUTIES, Outcome.ASK, Outcome.NO

COMPANY = LicenseProfile(region="US")
LAB = LicenseProfile(purpose="research", region="US")
HOBBY = LicenseProfile(purpose="personal", users_per_month=0, revenue_usd_per_year=0, region="US")
GERMANY = replace(COMPANY, region="DE")
MILLION = 10**6


@dataclass(frozen=True)
class Golden:
    """A licence, who asks, what follows, the kind of clause that decides ("" for none), and why.

    `where` is the passage, in the text at the licence's `source_url`.
    """

    license_id: str
    profile: LicenseProfile
    outcome: Outcome
    kind: str
    where: str
    is_multimodal: bool = False


def company(**changes: Any) -> LicenseProfile:
    return replace(COMPANY, **changes)


def lab(**changes: Any) -> LicenseProfile:
    return replace(LAB, **changes)


LLAMA_2 = "Llama 3.1 agreement, section 2: more than 700 million on the release date"
GOLDEN = [
    Golden(
        "apache-2.0", COMPANY, OK, "", "section 2: perpetual, worldwide grant; section 4 speaks of redistribution only"
    ),
    Golden("apache-2.0", company(redistributes=True), DUTIES, "notice", "section 4(a)"),
    Golden("apache-2.0", company(users_per_month=None, revenue_usd_per_year=None, region=""), OK, "", "no limit"),
    Golden("mit", COMPANY, OK, "", "to deal in the Software without restriction"),
    Golden("mit", company(fine_tunes=True, trains_on_outputs=True), OK, "", "asks for nothing but the notice"),
    Golden("llama3.1", COMPANY, DUTIES, "attribution", "section 1.b.i(B): Built with Llama"),
    Golden("llama3.1", company(users_per_month=800 * MILLION), NO, "monthly_active_users", LLAMA_2),
    Golden("llama3.1", company(users_per_month=700 * MILLION), DUTIES, "attribution", "greater than 700 million"),
    Golden("llama3.1", company(users_per_month=None), ASK, "monthly_active_users", LLAMA_2),
    Golden("llama3.1", lab(users_per_month=800 * MILLION), NO, "monthly_active_users", "section 2 has no purpose"),
    Golden("llama3.1", LAB, DUTIES, "acceptable_use", "section 1.b.iv"),
    Golden("llama3.1", company(trains_on_outputs=True), DUTIES, "naming", "section 1.b.i, last sentence"),
    Golden("llama3.1", company(fields=frozenset({"military"})), NO, "field_of_use", "use policy: military"),
    Golden("llama3", company(trains_on_outputs=True), NO, "train_on_outputs", "section 1.b.v"),
    Golden("llama3", company(trains_on_outputs=None), ASK, "train_on_outputs", "section 1.b.v"),
    Golden("llama2", company(trains_on_outputs=True), NO, "train_on_outputs", "section 1.b.v"),
    Golden("llama3.2", GERMANY, NO, "region_excluded", "use policy, last paragraph: European Union", True),
    Golden("llama3.2", GERMANY, DUTIES, "attribution", "the paragraph speaks of multimodal models only", False),
    Golden("llama3.2", company(region=""), ASK, "region_excluded", "where you are decides", True),
    Golden("llama3.2", company(region=""), DUTIES, "attribution", "a text model: where you are is all one"),
    Golden("llama4", company(region="GB"), DUTIES, "attribution", "the United Kingdom is not in the Union", True),
    Golden("llama4", company(region="EU"), NO, "region_excluded", "use policy, last paragraph", True),
    Golden("gemma", COMPANY, DUTIES, "acceptable_use", "section 3.2"),
    Golden(
        "gemma",
        company(users_per_month=2 * 10**9, revenue_usd_per_year=10**11),
        DUTIES,
        "redistribution",
        "no limit of size",
    ),
    Golden("gemma", company(trains_on_outputs=True), DUTIES, "derivatives_inherit", "section 1.1(e)"),
    Golden("gemma", company(fields=frozenset({"medical"})), ASK, "field_of_use", "policy 2(b): unlicensed practice"),
    Golden("qwen", COMPANY, OK, "", "section 4: only above 100 million users"),
    Golden("qwen", company(users_per_month=101 * MILLION), NO, "monthly_active_users", "section 4"),
    Golden("qwen", lab(users_per_month=101 * MILLION), OK, "", "section 4: if you are commercially using"),
    Golden("tongyi-qianwen", lab(trains_on_outputs=True), NO, "train_on_outputs", "section 5.b"),
    Golden("qwen-research", COMPANY, NO, "research_only", "section 2.a: FOR NON-COMMERCIAL PURPOSES ONLY"),
    Golden("qwen-research", LAB, OK, "", "section 1.i: research or evaluation"),
    Golden("cc-by-nc-4.0", COMPANY, NO, "commercial", "section 2(a)(1) with the definition in 1(i)"),
    Golden("cc-by-nc-4.0", HOBBY, OK, "", "section 3 asks for credit where it is shared"),
    Golden("cc-by-nc-4.0", lab(redistributes=True), DUTIES, "attribution", "section 3(a)"),
    Golden("cc-by-nc-sa-4.0", lab(redistributes=True), DUTIES, "derivatives_inherit", "section 3(b)"),
    Golden("cc-by-4.0", company(redistributes=True), DUTIES, "attribution", "section 3(a)"),
    Golden("mrl", COMPANY, NO, "research_only", "section 3.2 with the definition of Research Purposes"),
    Golden("mrl", LAB, OK, "", "section 3.2"),
    Golden("mrl", HOBBY, ASK, "research_only", "definition: personal, scientific or academic research"),
    Golden("mnpl-0.1", COMPANY, NO, "commercial", "section 3.2: in the course of a commercial activity"),
    Golden("mnpl-0.1", HOBBY, DUTIES, "research_only", "section 3.2: Personal, in Non-Production Environments"),
    Golden("modified-mit-mistral", COMPANY, OK, "", "below the month's revenue"),
    Golden("modified-mit-mistral", company(revenue_usd_per_year=300 * MILLION), NO, "revenue", "exceeds $20 million"),
    Golden(
        "modified-mit-mistral", company(revenue_usd_per_year=100 * MILLION), ASK, "revenue", "some month may exceed it"
    ),
    Golden("modified-mit-mistral", lab(revenue_usd_per_year=300 * MILLION), NO, "revenue", "any rights: research too"),
    Golden("modified-mit-kimi", COMPANY, OK, "", "the only modification has a limit"),
    Golden("modified-mit-kimi", company(users_per_month=101 * MILLION), DUTIES, "attribution", "prominently display"),
    Golden("modified-mit-kimi", company(revenue_usd_per_year=300 * MILLION), DUTIES, "attribution", "users or revenue"),
    Golden(
        "kimi-k3",
        company(revenue_usd_per_year=30 * MILLION),
        DUTIES,
        "attribution",
        "section 3; section 2 is for services",
    ),
    Golden(
        "kimi-k3", company(revenue_usd_per_year=30 * MILLION, fields=frozenset({"hosting"})), NO, "revenue", "section 2"
    ),
    Golden("kimi-k3", company(fields=frozenset({"hosting"})), OK, "", "section 2: exceeds 20 million"),
    Golden("modified-mit-minimax-m2.5", COMPANY, DUTIES, "attribution", "any commercial product"),
    Golden("minimax-m2.7", COMPANY, NO, "commercial", "item 3: prohibited without authorization"),
    Golden("minimax-m2.7", LAB, OK, "", "for non-commercial purposes"),
    Golden("minimax-community", company(revenue_usd_per_year=21 * MILLION), NO, "revenue", "above US$20 million"),
    Golden("deepseek", COMPANY, DUTIES, "acceptable_use", "section 5"),
    Golden("deepseek", lab(fields=frozenset({"military"})), NO, "field_of_use", "attachment A"),
    Golden("deepseek", company(trains_on_outputs=True), DUTIES, "derivatives_inherit", "definition of Derivatives"),
    Golden("falcon-180b", company(fields=frozenset({"hosting"})), ASK, "field_of_use", "introductory note"),
    Golden("nvidia-open-model-license", COMPANY, DUTIES, "acceptable_use", "section 2.1: guardrails"),
    Golden("nvidia-nemotron-open-model-license", COMPANY, OK, "", "preamble: Works are commercially usable"),
    Golden("lfm1.0", company(revenue_usd_per_year=11 * MILLION), NO, "revenue", "section 5(b)"),
    Golden("lfm1.0", lab(revenue_usd_per_year=11 * MILLION), OK, "", "section 5 limits commercial use"),
    Golden("tencent-hunyuan-community", COMPANY, DUTIES, "acceptable_use", "section 5(a)"),
    Golden("tencent-hunyuan-community", GERMANY, NO, "region_excluded", "preamble and section 1(l)"),
    Golden("tencent-hunyuan-community", replace(HOBBY, region="KR"), NO, "region_excluded", "preamble: South Korea"),
    Golden("tencent-hunyuan-community", company(region=""), ASK, "region_excluded", "where you are decides"),
    Golden("openrail", company(fields=frozenset({"medical"})), NO, "field_of_use", "attachment A(l)"),
    Golden("yi-license", COMPANY, ASK, "commercial", "section 2: contact the Licensor in advance"),
    Golden("stabilityai-ai-community", COMPANY, DUTIES, "notice", "section III: must register; 1,000,000 is not more"),
    Golden(
        "stabilityai-ai-community",
        replace(HOBBY, revenue_usd_per_year=2 * MILLION),
        NO,
        "revenue",
        "any licenses shall terminate",
    ),
    Golden("exaone", COMPANY, NO, "research_only", "section 3.1"),
    Golden("gpl-3.0", COMPANY, OK, "", "section 2: covered works that you do not convey"),
    Golden("gpl-3.0", company(redistributes=True), DUTIES, "derivatives_inherit", "section 5(c)"),
    Golden("agpl-3.0", company(fine_tunes=True), DUTIES, "derivatives_inherit", "section 13"),
]


def test_the_golden_table_is_large_enough() -> None:
    assert len(GOLDEN) >= 70 and len({g.license_id for g in GOLDEN}) >= 30
    assert len({(g.license_id, g.profile, g.is_multimodal) for g in GOLDEN}) == len(GOLDEN)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda g: f"{g.license_id}-{g.outcome}-{g.where[:24]}")
def test_a_verdict_is_what_the_text_says(golden: Golden) -> None:
    verdict = evaluate(BY_ID[golden.license_id], golden.profile, golden.is_multimodal)
    kinds = {finding.clause.kind for finding in verdict.decided}
    assert verdict.outcome is golden.outcome, verdict.reason
    assert golden.kind in kinds if golden.kind else not kinds
    assert all(finding.why and finding.clause.source_url for finding in verdict.findings)
    assert golden.license_id in BY_ID and golden.where


def test_what_decides_says_the_figures_and_the_day() -> None:
    (finding,) = evaluate(BY_ID["llama3.1"], replace(COMPANY, users_per_month=800 * MILLION)).decided
    assert "800,000,000 users a month" in finding.why and "counted on 2024-07-23" in finding.why
    asked = evaluate(BY_ID["tencent-hunyuan-community"], LicenseProfile())
    assert "your region" in asked.reason
    assert evaluate(BY_ID["llama3.1"], COMPANY).watch[0].users_above == 700 * MILLION


def test_a_licence_nobody_read_is_a_question_whatever_the_purpose() -> None:
    unread = make_unknown_license("hub:x", "x", "https://e.org", "https://e.org", "2026-11")
    for purpose in PURPOSES:
        assert evaluate(unread, LicenseProfile(purpose=purpose)).outcome is ASK
    assert not allows(unread, "commercial").allowed and allows(unread, "any").allowed


PROFILES = st.builds(
    LicenseProfile,
    purpose=st.sampled_from(PURPOSES),
    users_per_month=st.none() | st.integers(0, MAX_USERS),
    revenue_usd_per_year=st.none() | st.integers(0, MAX_REVENUE_USD),
    region=st.sampled_from(["", "EU", "DE", "US", "GB", "KR", "CN"]),
    fine_tunes=st.none() | st.booleans(),
    redistributes=st.none() | st.booleans(),
    trains_on_outputs=st.none() | st.booleans(),
    fields=st.frozensets(st.sampled_from(FIELDS_OF_USE)),
)
MODALITY = st.none() | st.booleans()
ANY_LICENSE = st.sampled_from(LICENSES)


@given(ANY_LICENSE, PROFILES, st.integers(0, MAX_USERS), st.integers(0, MAX_USERS), MODALITY)
@settings(max_examples=150, deadline=None)
def test_more_users_never_make_a_verdict_milder(
    license: License, profile: LicenseProfile, few: int, more: int, modality: bool | None
) -> None:
    few, more = sorted((few, more))
    before = evaluate(license, replace(profile, users_per_month=few), modality)
    after = evaluate(license, replace(profile, users_per_month=more), modality)
    assert after.outcome.severity >= before.outcome.severity


@given(ANY_LICENSE, PROFILES, st.integers(0, MAX_REVENUE_USD), st.integers(0, MAX_REVENUE_USD), MODALITY)
@settings(max_examples=150, deadline=None)
def test_more_revenue_never_makes_a_verdict_milder(
    license: License, profile: LicenseProfile, few: int, more: int, modality: bool | None
) -> None:
    few, more = sorted((few, more))
    before = evaluate(license, replace(profile, revenue_usd_per_year=few), modality)
    after = evaluate(license, replace(profile, revenue_usd_per_year=more), modality)
    assert after.outcome.severity >= before.outcome.severity


@given(ANY_LICENSE, PROFILES, st.sampled_from(("fine_tunes", "redistributes", "trains_on_outputs")), MODALITY)
@settings(max_examples=150, deadline=None)
def test_doing_more_never_makes_a_verdict_milder(
    license: License, profile: LicenseProfile, action: str, modality: bool | None
) -> None:
    before = evaluate(license, replace(profile, **{action: False}), modality)
    after = evaluate(license, replace(profile, **{action: True}), modality)
    assert after.outcome.severity >= before.outcome.severity


@given(ANY_LICENSE, PROFILES, MODALITY)
@settings(max_examples=200, deadline=None)
def test_not_saying_lies_between_the_answers(license: License, profile: LicenseProfile, modality: bool | None) -> None:
    """Leaving users or the region open is never milder than the mildest answer nor counts as a ban nobody set."""
    open_ended = evaluate(license, replace(profile, users_per_month=None), modality).outcome.severity
    answers = [
        evaluate(license, replace(profile, users_per_month=n), modality).outcome.severity for n in (0, MAX_USERS)
    ]
    assert min(answers) <= open_ended <= max(answers)
    placed = [
        evaluate(license, replace(profile, region=r), modality).outcome.severity for r in ("US", "DE", "GB", "KR")
    ]
    unplaced = evaluate(license, replace(profile, region=""), modality).outcome.severity
    assert min(placed) <= unplaced <= max(placed)


CHAINS = st.lists(st.sampled_from([*LICENSES, None]), max_size=4)


@given(ANY_LICENSE, CHAINS, PROFILES)
@settings(max_examples=150, deadline=None)
def test_a_chain_is_as_strict_as_its_strictest_link(
    own: License, bases: list[License | None], profile: LicenseProfile
) -> None:
    links = [Link(f"m/{i}", terms, False) for i, terms in enumerate((own, *bases))]
    verdict = evaluate_model(links, profile)
    alone = [evaluate(terms, profile).outcome.severity for terms in (own, *bases) if terms is not None]
    assert verdict.outcome.severity >= max(alone)
    assert None in bases or verdict.outcome.severity == max(alone)
    assert verdict.decided_by in {link.model_id for link in links}
    assert all(finding.model_id for finding in verdict.findings)
    if verdict.outcome is not OK:
        assert verdict.decided[0].model_id == verdict.decided_by


def test_a_fine_tune_of_a_research_model_stays_closed_to_companies_and_says_through_what() -> None:
    links = (Link("a/tune", BY_ID["apache-2.0"], False), Link("mistralai/base", BY_ID["mrl"], False))
    verdict = evaluate_model(links, COMPANY)
    assert (verdict.outcome, verdict.decided_by, verdict.license_id) == (NO, "mistralai/base", "apache-2.0")
    assert verdict.is_inherited and "through mistralai/base" in verdict.reason
    assert evaluate_model(links[:1], COMPANY).outcome is OK
    with pytest.raises(BadInputError, match="own licence first"):
        evaluate_model((), COMPANY)


def test_an_unknown_base_is_a_question_in_commercial_use_and_never_silent() -> None:
    links = (Link("a/tune", BY_ID["mit"], False), Link("who/knows", None))
    asked = evaluate_model(links, COMPANY)
    assert asked.outcome is ASK and "who/knows" in asked.reason
    assert evaluate_model(links, LAB).outcome is DUTIES


def test_allows_is_evaluate_for_the_default_profile() -> None:
    for found, use in product(LICENSES, LICENSE_USES):
        answer = allows(found, use)
        assert answer.allowed == (use == "any" or evaluate(found, make_profile(use)).is_allowed)
        assert answer.duties == found.conditions


@pytest.mark.parametrize(
    "wrong",
    [
        {"purpose": "piracy"},
        {"users_per_month": -1},
        {"users_per_month": MAX_USERS + 1},
        {"revenue_usd_per_year": -5},
        {"region": "Europe"},
        {"region": "1A"},
        {"fields": frozenset({"gardening"})},
    ],
)
def test_a_profile_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        LicenseProfile(**wrong)


def test_regions() -> None:
    assert len(EU_COUNTRIES) == 27
    assert [read_region(text) for text in ("uk", " eu ", "us", "Germany", "south korea")] == [
        "GB",
        "EU",
        "US",
        "DE",
        "KR",
    ]
    assert LicenseProfile(region="FR").is_in_eu and not LicenseProfile(region="CH").is_in_eu

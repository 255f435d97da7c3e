"""Licences: every model has one, and what each allows is what its text says."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.license_rules import allows
from catalog.licenses import License, find_license, load_base_licenses, load_licenses
from catalog.models import load_families
from sizing.errors import BadInputError, DataFileError, UnknownNameError

LICENSES = load_licenses()
CARDS = load_families()


def test_every_models_licence_is_known() -> None:
    assert {card.license_id for card in CARDS} <= {found.license_id for found in LICENSES}


def test_the_tags_of_the_hub_that_fine_tunes_carry_are_known() -> None:
    """Tags of https://huggingface.co/docs/hub/repositories-licenses, and names that cards give under `other`."""
    tags = "llama2 llama3 cc-by-4.0 cc-by-sa-4.0 cc-by-nc-sa-4.0 openrail bigscience-openrail-m bigcode-openrail-m"
    names = "bsd-3-clause gpl-3.0 agpl-3.0 yi-license stabilityai-ai-community exaone health-ai-developer-foundations"
    for name in (tags + " " + names).split():
        assert find_license(LICENSES, name).clauses
    assert find_license(LICENSES, "bigscience-openrail-m").license_id == "openrail"


@pytest.mark.parametrize("license_id", ["cc-by-nc-4.0", "mrl", "mnpl-0.1", "qwen-research", "minimax-m2.7"])
def test_non_commercial_licences_refuse_commercial_use_and_allow_research(license_id: str) -> None:
    found = find_license(LICENSES, license_id)
    assert not allows(found, "commercial").allowed
    assert "does not allow commercial use" in allows(found, "commercial").reason
    assert allows(found, "research").allowed


@pytest.mark.parametrize("license_id", ["llama3.1", "llama3.2", "llama3.3", "llama4"])
def test_llama_licences_allow_commercial_use_with_the_700_million_duty(license_id: str) -> None:
    answer = allows(find_license(LICENSES, license_id), "commercial")
    assert answer.allowed
    assert any("700 million" in duty for duty in answer.duties)
    assert any("Built with Llama" in duty for duty in answer.duties)


@pytest.mark.parametrize("license_id", ["mit", "apache-2.0"])
def test_permissive_licences_allow_everything(license_id: str) -> None:
    found = find_license(LICENSES, license_id)
    assert found.commercial == "yes"
    assert all(allows(found, use).allowed for use in ("commercial", "research", "any"))


@pytest.mark.parametrize(
    ("license_id", "figure"),
    [
        ("qwen", "100 million"),
        ("lfm1.0", "10 million"),
        ("modified-mit-mistral", "20 million"),
        ("kimi-k3", "20 million"),
    ],
)
def test_thresholds_are_duties(license_id: str, figure: str) -> None:
    answer = allows(find_license(LICENSES, license_id), "commercial")
    assert answer.allowed and any(figure in duty for duty in answer.duties)


@pytest.mark.parametrize("found", LICENSES, ids=lambda found: found.license_id)
def test_a_licence_is_whole(found: License) -> None:
    assert found.url.startswith("https://") and found.source_url.startswith("https://")
    assert found.commercial == "yes" or found.conditions
    assert allows(found, "any").allowed
    assert all(clause.quote for clause in found.clauses if clause.verified)
    assert all(len(clause.quote.split()) <= 25 for clause in found.clauses if clause.quote)


def test_what_decided_unchecked_says_so() -> None:
    unread = allows(find_license(LICENSES, "minimax-community"), "commercial")
    assert "not checked against the text" in unread.reason
    assert "not checked" not in allows(find_license(LICENSES, "llama3.1"), "commercial").reason


def test_most_clauses_were_read() -> None:
    clauses = [clause for found in LICENSES for clause in found.clauses]
    assert sum(clause.verified for clause in clauses) >= 0.75 * len(clauses) > 100


def test_bases_outside_the_catalog_name_a_known_licence_the_longest_first() -> None:
    bases = load_base_licenses()
    assert {base.license_id for base in bases} <= {found.license_id for found in LICENSES}
    lengths = [len(base.prefix) for base in bases]
    assert lengths == sorted(lengths, reverse=True)


def test_openness_agrees_with_the_licence() -> None:
    by_id = {found.license_id: found for found in LICENSES}
    for card in CARDS:
        commercial = by_id[card.license_id].commercial
        if card.openness == "open source":
            assert commercial == "yes", card.model_id
        if commercial == "no":
            assert card.openness == "restricted weight", card.model_id


def test_fully_open_models_are_called_open_source() -> None:
    """Weights, code and data out: Pythia (arXiv:2304.01373), OLMo (arXiv:2402.00838), SmolLM2 (arXiv:2502.02737)."""
    families = {card.family for card in CARDS if card.openness == "open source"}
    assert {"OLMo", "OLMo 2", "OLMo 3", "Pythia", "SmolLM2", "SmolLM3"} <= families
    assert not families & {"Llama 3.1", "Qwen3", "Gemma 3", "gpt-oss", "DeepSeek V3"}


def test_an_unknown_licence_names_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"llama3\.1"):
        find_license(LICENSES, "llama3.9")


def test_an_unknown_use_is_refused() -> None:
    with pytest.raises(BadInputError, match="'military'"):
        allows(LICENSES[0], "military")


GOOD = """\
[[license]]
id = "toy"
name = "Toy License"
url = "https://example.org/license"
source_url = "https://example.org"
as_of = "2026-11"

[[license.clause]]
kind = "revenue"
effect = "forbid"
says = "no use above 5 dollars"
quote = "more than five dollars"
verified = true
revenue_above_usd = 5
purposes = ["commercial"]

[[base]]
prefix = "toys/"
license = "toy"
source_url = "https://example.org"
as_of = "2026-11"
verified = false
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('source_url = "https://example.org"\n', "", 1, "missing source_url"),
        ('url = "https://example.org/license"', 'url = "on request"', 4, "url wants the form"),
        ('name = "Toy License"\n', 'name = "Toy License"\naliases = ["Toy"]\n', 4, "lower case"),
        ('kind = "revenue"', 'kind = "rumour"', 9, "kind wants one of commercial"),
        ('kind = "revenue"', 'kind = "unread"', 9, "kind wants one of commercial"),
        ('effect = "forbid"', 'effect = "maybe"', 10, "effect wants one of grant, duty, ask, forbid"),
        ('quote = "more than five dollars"\n', "", 12, "quotes the words"),
        ('"more than five dollars"', f'"{"word " * 26}"', 12, "at most 25 words"),
        ("revenue_above_usd = 5\n", "", 9, "must state revenue_above_usd"),
        ("revenue_above_usd = 5", "revenue_above_usd = 0", 14, "more than 0"),
        ('["commercial"]', '["piracy"]', 15, "purposes wants some of"),
        ("verified = true", 'verified = true\nregions = ["Europe"]', 14, "regions wants ISO codes"),
        ("verified = true", 'verified = true\ncounted_on = "2024"', 14, "counted_on wants the form"),
        ("verified = true", "verified = true\ncolour = 1", 14, "unknown key 'colour'"),
    ],
)
def test_a_broken_licence_is_refused_with_file_and_line(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    assert old in GOOD
    (tmp_path / "licenses.toml").write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataFileError) as refused:
        load_licenses(tmp_path)
    assert refused.value.line == line
    assert says in refused.value.problem


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('license = "toy"', 'license = "joy"', "no licence 'joy'"),
        ('prefix = "toys/"', 'prefix = "toys"', "prefix wants the form"),
        ("verified = false", "verified = false\nrank = 1", "unknown key 'rank'"),
    ],
)
def test_a_broken_base_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    (tmp_path / "licenses.toml").write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataFileError) as refused:
        load_base_licenses(tmp_path)
    assert says in refused.value.problem and refused.value.line >= 17


def test_the_toy_licence_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "licenses.toml").write_text(GOOD, encoding="utf-8")
    (found,) = load_licenses(tmp_path)
    (clause,) = found.clauses
    assert (clause.source_url, clause.as_of, clause.revenue_per) == ("https://example.org", "2026-11", "year")
    assert found.commercial == "conditional" and found.research and found.verified
    assert load_base_licenses(tmp_path)[0].prefix == "toys/"


def test_a_licence_named_twice_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="restore the data folder"):
        load_licenses(tmp_path)
    (tmp_path / "licenses.toml").write_text(GOOD + "\n" + GOOD, encoding="utf-8")
    with pytest.raises(DataFileError, match="there twice"):
        load_licenses(tmp_path)

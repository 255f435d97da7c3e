"""Licences: every model has one, and what each allows is what its text says."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.licenses import License, allows, find_license, load_licenses
from catalog.models import load_families
from sizing.errors import BadInputError, DataFileError, UnknownNameError

LICENSES = load_licenses()
CARDS = load_families()


def test_every_models_licence_is_known_and_every_licence_is_used() -> None:
    assert {card.license_id for card in CARDS} == {found.license_id for found in LICENSES}


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
    if not found.verified:
        assert "not checked against the text" in allows(found, "commercial").reason


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
        find_license(LICENSES, "llama3")


def test_an_unknown_use_is_refused() -> None:
    with pytest.raises(BadInputError, match="'military'"):
        allows(LICENSES[0], "military")


GOOD = """\
[[license]]
id = "toy"
name = "Toy License"
commercial = "conditional"
research = true
conditions = ["be kind"]
url = "https://example.org/license"
verified = true
source_url = "https://example.org"
as_of = "2026-11"
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('source_url = "https://example.org"\n', "", 1, "missing source_url"),
        ('commercial = "conditional"', 'commercial = "maybe"', 4, "commercial wants one of yes, conditional, no"),
        ('conditions = ["be kind"]', "conditions = []", 6, "must state its conditions"),
        ("research = true", "research = 1", 5, "research wants bool"),
        ('url = "https://example.org/license"', 'url = "on request"', 7, "url wants the form"),
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


def test_a_licence_named_twice_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="restore the data folder"):
        load_licenses(tmp_path)
    (tmp_path / "licenses.toml").write_text(GOOD + "\n" + GOOD, encoding="utf-8")
    with pytest.raises(DataFileError, match="there twice"):
        load_licenses(tmp_path)

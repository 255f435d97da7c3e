"""`python -m catalog license` and the options of the profile, as a shell sees them; chains of the real catalog."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.import_store import ImportStore
from catalog.license_chain import MAX_LINKS, count_outcomes, find_known, judge_model, judge_models, list_chain
from catalog.license_rules import NOT_LEGAL_ADVICE, LicenseProfile, Outcome
from catalog.store import Catalog, open_catalog
from tests.catalog.import_cases import make_import
from tests.catalog.test_cli import ask_json, run

DISTILL = "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"
HOME = LicenseProfile(region="US")


def test_a_licence_by_its_id_and_by_another_name(capsys: pytest.CaptureFixture[str]) -> None:
    found = ask_json(capsys, "license", "llama3.1", "--users", "800,000,000", "--region", "us")
    assert (found["outcome"], found["license"], found["profile"]["region"]) == ("not allowed", "llama3.1", "US")
    assert found["findings"][0]["kind"] == "monthly_active_users" and found["findings"][0]["quote"]
    assert found["note"] == NOT_LEGAL_ADVICE
    assert ask_json(capsys, "license", "bigscience-openrail-m")["license"] == "openrail"


def test_a_model_through_its_base(capsys: pytest.CaptureFixture[str]) -> None:
    found = ask_json(capsys, "license", DISTILL)
    assert found["outcome"] == "allowed with duties" and found["license"] == "mit"
    assert found["decided_by"] == "meta-llama/Llama-3.3-70B-Instruct"
    assert [link["license"] for link in found["chain"]] == ["mit", "llama3.3"]
    code, out, _ = run(capsys, "license", DISTILL)
    assert code == 0 and "decided by meta-llama" in out and out.splitlines()[-1] == NOT_LEGAL_ADVICE


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ([], "ask counsel"),
        (["--region", "FR"], "not allowed"),
        (["--region", "EU"], "not allowed"),
        (["--region", "US"], "allowed with duties"),
        (["--region", "US", "--train-on-outputs", "yes"], "not allowed"),
        (["--region", "US", "--train-on-outputs", "unknown"], "ask counsel"),
        (["--region", "US", "--users", "unknown"], "ask counsel"),
        (["--region", "US", "--field", "military"], "not allowed"),
        (["--region", "KR", "--purpose", "personal"], "not allowed"),
    ],
)
def test_every_option_counts(capsys: pytest.CaptureFixture[str], options: list[str], outcome: str) -> None:
    assert ask_json(capsys, "license", "tencent-hunyuan-community", *options)["outcome"] == outcome


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["license", "lama3.1"], "did you mean llama3.1"),
        (["license", "mit", "--users", "many"], "--users wants a whole number or unknown, got 'many'"),
        (["license", "mit", "--revenue", "-5"], "--revenue"),
        (["license", "mit", "--users", "9" * 30], "0 to 10,000,000,000"),
        (["license", "mit", "--region", "Europe"], "two letters"),
        (["license", "mit", "--fine-tune", "perhaps"], "invalid choice"),
        (["license"], "required"),
    ],
)
def test_wrong_usage_is_one_line_and_2(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert said in err


def test_the_list_is_filtered_by_the_profile(capsys: pytest.CaptureFixture[str]) -> None:
    def ids(*options: str) -> set[str]:
        return {r["model"] for r in ask_json(capsys, "list", "--license-use", "commercial", *options)}

    unsaid, home, abroad = ids(), ids("--region", "US"), ids("--region", "DE")
    assert unsaid == abroad < home
    assert "meta-llama/Llama-4-Scout-17B-16E-Instruct" in home - abroad
    assert not any(model.startswith("CohereLabs/c4ai-command-r") for model in home)


def test_every_curated_base_is_known_and_every_verdict_counted(catalog: Catalog) -> None:
    for card in catalog.cards:
        chain = list_chain(catalog, card)
        assert all(link.license is not None for link in chain), card.model_id
        assert len(chain) == 1 + len(card.base_models)
    counts = count_outcomes(judge_models(catalog, catalog.cards, HOME))
    assert sum(counts.values()) == len(catalog.cards) and counts[Outcome.ASK] == 0
    for card in catalog.cards[::7]:
        verdict = judge_model(catalog, card, HOME)
        assert judge_models(catalog, [card], HOME)[card.model_id] == (verdict.outcome, verdict.reason)


@pytest.fixture(scope="module")
def tuned(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Imports of every descent: of a research model, twice removed, of themselves, of nobody, and a long chain."""
    store = ImportStore(tmp_path_factory.mktemp("licences"))
    many = [f"x/{i}" for i in range(2 * MAX_LINKS)]
    descents = {
        "a/tune": ("mistralai/Mistral-Large-Instruct-2411",),
        "a/merge": ("Qwen/Qwen3-8B", "a/tune"),
        "a/outside": ("QWEN/qwen2.5-3B-instruct-base",),
        "a/nobody": ("nobody/knows",),
        "a/self": ("a/self", "a/loop"),
        "a/loop": ("a/self",),
        "a/long": tuple(many),
    }
    store.keep_many([make_import(catalog, name, base_models=bases) for name, bases in descents.items()])
    return open_catalog(imports=store.home)


@pytest.mark.parametrize(
    ("model", "outcome", "decided_by"),
    [
        ("a/tune", Outcome.NO, "mistralai/Mistral-Large-Instruct-2411"),
        ("a/merge", Outcome.NO, "mistralai/Mistral-Large-Instruct-2411"),
        ("a/outside", Outcome.NO, "QWEN/qwen2.5-3B-instruct-base"),
        ("a/nobody", Outcome.ASK, "nobody/knows"),
        ("a/self", Outcome.ALLOWED, "a/self"),
        ("a/loop", Outcome.ALLOWED, "a/loop"),
        ("a/long", Outcome.ASK, "x/0"),
    ],
)
def test_what_a_base_forbids_no_fine_tune_gives(tuned: Catalog, model: str, outcome: Outcome, decided_by: str) -> None:
    card = find_known(tuned).cards[model]
    verdict = judge_model(tuned, card, HOME)
    assert card.license_id == "apache-2.0"
    assert (verdict.outcome, verdict.decided_by) == (outcome, decided_by)
    assert len(verdict.links) <= MAX_LINKS


def test_licences_that_imports_name_otherwise_are_found(catalog: Catalog, tmp_path: Path) -> None:
    store = ImportStore(tmp_path)
    names = {
        "b/one": ("other", "Mistral AI Research License"),
        "b/two": ("bigscience-openrail-m", ""),
        "b/3": ("yi", ""),
    }
    store.keep_many(
        [make_import(catalog, m, license_tag=t, license_name=n, base_models=()) for m, (t, n) in names.items()]
    )
    opened = open_catalog(imports=tmp_path)
    cards = find_known(opened).cards
    assert [cards[m].license_id for m in names] == ["mrl", "openrail", "yi-license"]
    assert {x.license_id for x in opened.licenses} == {x.license_id for x in catalog.licenses}

"""The Licences page, the profile in the context bar, and how both reach Choose and Catalog."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from catalog.license_rules import NOT_LEGAL_ADVICE, LicenseProfile, Outcome
from pages.ui import cached, inputs, license_words
from sizing.errors import BadInputError
from sizing.profile_words import describe_profile
from tests.pages.conftest import APP
from tests.pages.test_pages import html_of, warnings_of

OpenPage = Callable[..., AppTest]
DISTILL = "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"
RTX = {"machine": "RTX 4090"}


@pytest.fixture
def open_page() -> OpenPage:
    """Open a page straight from a link: one run of the script, no other page before it."""

    def run(page: str = "licenses", **address: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=90)
        app.switch_page(f"pages/{page}.py")
        for name, value in {**RTX, **address}.items():
            app.query_params[name] = value
        return app.run()

    return run


def text_of(app: AppTest) -> str:
    return "\n".join(element.value for element in app.markdown)


def headline_of(app: AppTest) -> tuple[int, ...]:
    """The numbers of the first sentence: all, allowed, with duties, to ask about, not allowed."""
    first = html_of(app).split('<h1 class="wb-answer">')[1].split("</h1>")[0]
    return tuple(int(n.replace(",", "")) for n in re.findall(r"[\d,]*\d", first))


def test_the_answer_counts_every_model_once(open_page: OpenPage) -> None:
    app = open_page()
    assert not app.exception and not app.error and not warnings_of(app)
    n, allowed, duties, ask, no = headline_of(app)
    assert n == len(cached.list_cards()) == allowed + ask + no and 0 < duties < allowed
    assert NOT_LEGAL_ADVICE in html_of(app)
    (table,) = [frame.value for frame in app.dataframe]
    assert table["Models"].sum() == n and table["Stopped"].sum() == ask + no
    assert set(table["Verdict"]) <= {license_words.format_outcome(o) for o in Outcome}


def test_the_profile_of_the_address_changes_the_counts(open_page: OpenPage) -> None:
    home = headline_of(open_page(lic_region="US"))
    big = headline_of(open_page(lic_region="DE", lic_users="800000000", lic_revenue="50000000000"))
    assert home[3] == 0 and big[4] > home[4] + 10
    research = headline_of(open_page(licence="research", lic_region="US"))
    assert research[4] == 0 and research[1] == research[0]


def test_a_distill_is_explained_through_its_base(open_page: OpenPage) -> None:
    app = open_page(model=DISTILL)
    assert "Decided by meta-llama/Llama-3.3-70B-Instruct" in html_of(app)
    assert "Built with Llama" in text_of(app) and "700 million" in text_of(app)


def test_the_licence_of_the_address_opens_its_clauses_with_words_and_sources(open_page: OpenPage) -> None:
    app = open_page(terms="tencent-hunyuan-community", lic_region="FR")
    assert "○ Not allowed" in html_of(app)
    assert "THIS LICENSE AGREEMENT DOES NOT APPLY IN THE EUROPEAN UNION" in text_of(app)
    assert "https://huggingface.co/tencent/Hunyuan-MT-7B/blob/main/License.txt" in text_of(app)


@pytest.mark.parametrize("address", [{"model": "no/such"}, {"terms": "no-such"}, {"lic_region": "Europe"}])
def test_what_is_not_known_is_said_and_the_page_stays_up(open_page: OpenPage, address: dict[str, str]) -> None:
    app = open_page(**address)
    assert not app.exception and not app.error and warnings_of(app)


@pytest.mark.parametrize("licence", ["commercial", "research", "personal", "any"])
def test_choose_follows_every_use_and_the_profile(open_page: OpenPage, licence: str) -> None:
    app = open_page("choose", licence=licence, lic_users="unknown", lic_region="EU")
    assert not app.exception and not app.error and not warnings_of(app)


def test_the_ranking_filters_by_the_profile() -> None:
    model = "meta-llama/Llama-4-Scout-17B-16E-Instruct"

    def is_allowed(profile: LicenseProfile) -> bool:
        ranker = cached.ranker("vision", "commercial", profile)
        return next(c.license_allowed for c in ranker.candidates if c.spec.model_id == model)

    assert is_allowed(LicenseProfile(region="US")) and not is_allowed(LicenseProfile(region="DE"))
    assert cached.find_verdict(model, LicenseProfile(region="DE")).outcome is Outcome.NO


def test_the_card_of_the_catalog_says_what_follows_for_the_profile(open_page: OpenPage) -> None:
    app = open_page("catalog", model="meta-llama/Llama-3.2-11B-Vision-Instruct", lic_region="IT")
    assert not app.exception
    assert "For your profile" in html_of(app) and "○ Not allowed" in html_of(app)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lic_users", "-1"),
        ("lic_users", "many"),
        ("lic_revenue", "1e9"),
        ("lic_region", "Europe"),
        ("lic_finetune", "maybe"),
        ("lic_fields", "gardening"),
    ],
)
def test_nonsense_about_the_profile_is_refused(name: str, text: str) -> None:
    with pytest.raises(BadInputError):
        inputs.FIELDS[name].parse(text)


def test_what_is_not_known_is_a_value_of_its_own() -> None:
    assert inputs.FIELDS["lic_users"].parse("unknown") is None
    assert inputs.FIELDS["lic_outputs"].parse("unknown") is None
    assert inputs.FIELDS["lic_region"].parse("uk") == "GB"
    assert inputs.FIELDS["lic_fields"].parse("medical|hosting") == ("medical", "hosting")


def test_profiles_in_words() -> None:
    assert license_words.name_profile(LicenseProfile()) == "Region not said"
    told = license_words.name_profile(
        LicenseProfile(region="DE", users_per_month=800_000_000, revenue_usd_per_year=None, redistributes=True)
    )
    assert told == "Germany, 800 million users, revenue a year not known, 1 more"
    assert "research use in European Union" in describe_profile(LicenseProfile("research", region="EU"))

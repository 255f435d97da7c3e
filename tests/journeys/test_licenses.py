"""A team lead learns that a licence refuses them: in which words, where it says so, and what the ranking does then."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tools.running_app import RunningApp, wait_until_drawn

pytestmark = pytest.mark.browser

LLAMA_4 = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
IN_ITS_WORDS = "domiciled in, or a company with a principal place of business in, the European Union"


def count_refused(page: Page, query: str) -> int:
    """How many models the first page rules out for their licence."""
    page.goto(query)
    wait_until_drawn(page)
    told = page.get_by_text(re.compile(r"^Licence does not allow it: \d+")).inner_text()
    return int(told.rsplit(" ", 1)[1])


def test_a_region_the_licence_leaves_out_is_refused_in_the_licences_own_words(
    page: Page, running_app: RunningApp
) -> None:
    page.goto(f"{running_app.url}/licenses?machine=RTX+3090*4&model={LLAMA_4}")
    wait_until_drawn(page)
    verdict = page.locator(".st-key-license_verdict")
    expect(verdict).not_to_contain_text("Not allowed")
    page.get_by_role("button", name=re.compile("Region not said")).click()
    box = page.get_by_role("combobox", name=re.compile("Where you are"))
    box.click()
    box.fill("Germany")
    page.get_by_role("option", name=re.compile("Germany")).first.click()
    expect(verdict).to_contain_text("○ Not allowed")
    expect(verdict).to_contain_text(IN_ITS_WORDS)
    source = verdict.get_by_role("link", name=re.compile("Source")).first.get_attribute("href") or ""
    assert urlsplit(source).scheme == "https"
    assert parse_qs(urlsplit(page.url).query)["lic_region"] == ["DE"]
    page.keyboard.press("Escape")

    page.get_by_role("link", name="Choose", exact=True).click()
    expect(page.get_by_text(re.compile("^Ruled out"))).to_be_visible()
    assert parse_qs(urlsplit(page.url).query)["lic_region"] == ["DE"]
    expect(page.locator(".wb-answer").first).not_to_contain_text("Llama 4")
    at_home = count_refused(page, f"{running_app.url}/?machine=RTX+3090*4&lic_region=US")
    assert count_refused(page, f"{running_app.url}/?machine=RTX+3090*4&lic_region=DE") > at_home
    assert running_app.read_tracebacks() == ""

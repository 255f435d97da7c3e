"""A fresh user sizes a 70B for two cards in vLLM, in a real browser."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tools.running_app import RunningApp, wait_until_drawn

pytestmark = pytest.mark.browser

CARDS = "?machine=A100+80GB*2&model=meta-llama/Llama-3.3-70B-Instruct"


@pytest.mark.parametrize("width", [1440, 400])
def test_size_a_70b_for_two_cards_in_vllm_and_read_command_and_requests(
    page: Page, running_app: RunningApp, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{running_app.url}/size{CARDS}")
    wait_until_drawn(page)
    page.get_by_role("button", name=re.compile(r"llama\.cpp")).first.click()
    picker = page.get_by_role("combobox", name=re.compile("Engine"))
    picker.click()
    page.get_by_role("option", name="vLLM", exact=True).click()
    page.keyboard.press("Escape")
    headline = page.locator(".wb-answer").first
    expect(headline).to_contain_text("in vLLM")
    wait_until_drawn(page)
    assert parse_qs(urlsplit(page.url).query)["engine"] == ["vLLM"]
    requests = page.locator(".st-key-figure_Requests-at-once")
    assert float(requests.locator("[data-testid='stMetricValue']").inner_text()) > 1
    command = page.locator("[data-testid='stCode']").first
    expect(command).to_contain_text("vllm serve")
    expect(command).to_contain_text("--tensor-parallel-size 2")
    expect(page.get_by_role("heading", name="The same model in every engine")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert running_app.read_tracebacks() == ""

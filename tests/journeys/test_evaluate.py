"""A person evaluates the demonstration model in two quantizations and reads what the difference is worth."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tools.running_app import RunningApp, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.engine]

RUN_MS = 240_000
"""How long two short runs may take on a busy machine: each starts a worker, which loads lm-eval and the engine."""


def test_two_quantizations_are_run_watched_and_compared(page: Page, running_app: RunningApp) -> None:
    page.goto(f"{running_app.url}/evaluate?models=demo:Q8_0|demo:Q2_K&take=items&items=60")
    wait_until_drawn(page)
    expect(page.locator(".wb-answer").first).to_have_text("Nothing was measured on this machine yet.")
    page.get_by_role("button", name="Start").click()

    live = page.locator(".st-key-eval_live")
    expect(live).to_contain_text("Weighbridge Demo at Q8_0")
    expect(live).to_contain_text(re.compile(r"Waiting, next:.*Weighbridge Demo at Q2_K"))

    assert page.context.browser is not None
    other = page.context.browser.new_context().new_page()  # a second tab, which started nothing
    other.goto(f"{running_app.url}/evaluate")
    wait_until_drawn(other)
    expect(other.locator(".st-key-eval_live")).to_contain_text("Weighbridge Demo")
    other.context.close()

    verdict = re.compile(r"^Weighbridge Demo: (Q8_0 is better than Q2_K|Q8_0 and Q2_K are not distinguishable) in ")
    expect(page.locator(".wb-answer").first).to_have_text(verdict, timeout=RUN_MS)
    expect(live).to_have_count(0)
    expect(page.locator(".wb-scores").first).to_contain_text("Difference, points")
    expect(page.locator(".js-plotly-plot")).to_have_count(2)
    expect(page.locator(".wb-verdict").first).to_be_visible()
    assert running_app.read_tracebacks() == ""


def test_a_wrong_path_and_a_wrong_address_are_said(page: Page, running_app: RunningApp) -> None:
    page.goto(f"{running_app.url}/evaluate")
    wait_until_drawn(page)
    page.get_by_role("button", name=re.compile("A file")).click()
    box = page.get_by_label("Path of a GGUF file on this machine")
    box.fill("/nowhere/model.gguf")
    box.press("Enter")
    expect(page.locator("[data-testid='stAlert']").first).to_contain_text("no file at /nowhere/model.gguf")
    page.keyboard.press("Escape")
    page.get_by_role("button", name=re.compile("A server")).click()
    page.get_by_label("Address").fill("ftp://there")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("[data-testid='stAlert']").filter(has_text="http").first).to_be_visible()
    assert running_app.read_tracebacks() == ""


@pytest.mark.parametrize("width", [1440, 400])
def test_nothing_is_wider_than_the_window(page: Page, running_app: RunningApp, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{running_app.url}/evaluate")
    wait_until_drawn(page)
    for name in ("Results", "Quantization damage", "Your own data"):
        page.get_by_role("tab", name=name).click()
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0
    expect(page.get_by_role("button", name="Start")).to_have_count(1)
    assert running_app.read_tracebacks() == ""

"""What a load costs, on a phone and on a laptop, in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tools.running_app import RunningApp, wait_until_drawn

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("width", [400])
def test_the_answer_its_chart_and_a_figure_of_ones_own_fit_a_phone(
    page: Page, running_app: RunningApp, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 860})
    page.goto(f"{running_app.url}/cost?model=Qwen/Qwen3-8B&quant=Q4_K_M&machine=RTX+4090&api=GPT-5.6+Terra")
    wait_until_drawn(page)
    answer = page.locator(".wb-answer").first
    cheapest = re.compile(r"^At 2 million tokens a day your own RTX 4090 is cheapest: US\$ .+ a month\.$")
    expect(answer).to_have_text(cheapest)
    figures = page.locator(".st-key-cost_figures")
    expect(figures).to_contain_text("274")
    expect(page.locator(".js-plotly-plot")).to_have_count(1)
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    page.get_by_role("tab", name="What this rests on").click()
    page.get_by_text("Your own machine", exact=True).click()
    box = page.get_by_label("Whole machine, US$")
    box.fill("7200")
    box.press("Enter")
    expect(page).to_have_url(re.compile("buy_usd=7200"))
    expect(answer).to_have_text(re.compile(r"2\d\d a month"))  # 200 a month and its power
    assert running_app.read_tracebacks() == ""

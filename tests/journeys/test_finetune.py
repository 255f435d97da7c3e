"""What training takes, on a phone, in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tools.running_app import RunningApp, wait_until_drawn

pytestmark = pytest.mark.browser


def test_another_method_changes_the_answer_and_the_address_on_a_phone(page: Page, running_app: RunningApp) -> None:
    page.set_viewport_size({"width": 400, "height": 860})
    page.goto(f"{running_app.url}/finetune?model=meta-llama/Llama-3.1-70B-Instruct&machine=A100+SXM+80GB")
    wait_until_drawn(page)
    answer = page.locator(".wb-answer").first
    expect(answer).to_have_text(re.compile(r"^QLoRA of Llama 3\.1 70B Instruct at rank 16: .+ of 78\.4.GiB\.$"))
    expect(page.locator(".js-plotly-plot")).to_have_count(1)
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    page.get_by_role("radio", name="LoRA", exact=True).click()
    expect(page).to_have_url(re.compile("method=lora"))
    expect(answer).to_have_text(re.compile(r"^LoRA of Llama 3\.1 70B"))
    expect(page.get_by_text("Does not fit").first).to_be_visible()
    assert running_app.read_tracebacks() == ""

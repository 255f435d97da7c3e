"""A person opens the app and asks which model to run, in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tools.running_app import ROOT, RunningApp, wait_until_drawn

pytestmark = pytest.mark.browser


def list_pages() -> list[str]:
    """The address of every page the app's own navigation names."""
    names = re.findall(r'st\.Page\("pages/(\w+)\.py"', (ROOT / "app.py").read_text())
    return ["" if name == "choose" else name for name in names]


ANSWER = re.compile(r"^.+ at [A-Z0-9_]+: .+GiB.+\.$")
"""A headline that is an answer: 'Qwen3 14B at Q5_K_M: 11.8 of 15.6 GiB, 31 to 44 tokens/s, Apache-2.0.'"""


def open_choose(page: Page, app: RunningApp, query: str = "") -> str:
    """Open the first page and return its headline."""
    page.goto(f"{app.url}/{query}")
    wait_until_drawn(page)
    return page.locator(".wb-answer").first.inner_text()


def choose_context(page: Page, shown: str, wanted: str) -> None:
    """Open the context popover and pick another length."""
    page.get_by_role("button", name=re.compile(rf"\b{shown} tokens$")).click()
    page.get_by_role("radio", name=wanted, exact=True).click()


def test_the_first_page_answers_for_this_machine(page: Page, running_app: RunningApp) -> None:
    headline = open_choose(page, running_app)
    assert ANSWER.match(headline), headline
    expect(page.get_by_text(re.compile(r"8,192 tokens of context")).first).to_be_visible()
    expect(page.locator("[data-testid='stCode']").first).to_contain_text("llama-server")
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    assert running_app.read_tracebacks() == ""


def test_another_context_gives_another_answer(page: Page, running_app: RunningApp) -> None:
    before = open_choose(page, running_app, "?machine=RTX+4090")
    assert ANSWER.match(before), before
    choose_context(page, "8,192", "131,072")
    expect(page.get_by_text(re.compile(r"131,072 tokens of context")).first).to_be_visible()
    headline = page.locator(".wb-answer").first
    expect(headline).not_to_have_text(before)
    expect(headline).to_have_text(ANSWER)
    assert "context=131072" in page.url
    assert running_app.read_tracebacks() == ""


def test_what_was_ruled_out_says_why(page: Page, running_app: RunningApp) -> None:
    open_choose(page, running_app, "?machine=RTX+4090")
    fold = page.get_by_text(re.compile(r"^Needs more memory: \d+$"))
    fold.scroll_into_view_if_needed()
    expect(fold).to_be_visible()


def test_a_wrong_address_is_said_and_the_page_stays_up(page: Page, running_app: RunningApp) -> None:
    headline = open_choose(page, running_app, "?context=-5&machine=RTX+4O9O")
    assert ANSWER.match(headline), headline
    warnings = page.locator("[data-testid='stAlert']")
    expect(warnings.filter(has_text="'-5'").or_(warnings.filter(has_text="-5")).first).to_be_visible()
    expect(warnings.filter(has_text="RTX 4O9O").first).to_be_visible()
    assert running_app.read_tracebacks() == ""


def test_nothing_is_asked_of_any_other_machine(page: Page, running_app: RunningApp) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_choose(page, running_app)
    elsewhere = [url for url in asked if not url.startswith((running_app.url, "data:", "blob:", "ws://127.0.0.1"))]
    assert elsewhere == []


@pytest.mark.parametrize("path", list_pages())
def test_a_page_begins_with_the_context_bar(page: Page, running_app: RunningApp, path: str) -> None:
    """Nothing stands above it: a text left bare in a page's source would be drawn there by Streamlit."""
    page.goto(f"{running_app.url}/{path}")
    wait_until_drawn(page)
    top = page.locator("[data-testid='stMainBlockContainer']").inner_text().strip()
    bar = page.locator(".st-key-context_bar").inner_text().strip()
    assert top.startswith(bar), top[:200]
    assert running_app.read_tracebacks() == ""

"""A person builds a machine by clicks, shares it by link, and asks what runs a model, in a real browser."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tools.running_app import RunningApp, wait_until_drawn

pytestmark = pytest.mark.browser

BUILT = "RTX 3090*2 + 64 GB DDR5-5600"


def pick(page: Page, label: str, text: str) -> None:
    """One pick in a select box of the machine's panel."""
    box = page.locator("[data-testid='stPopoverBody']").get_by_role("combobox", name=re.compile(label))
    box.click()
    box.fill(text)
    page.get_by_role("option", name=text, exact=True).first.click()


def bar_of(page: Page) -> str:
    """What the context bar says of the machine, without its icons."""
    return page.locator(".st-key-context_bar button p").first.inner_text()


def machine_of(page: Page) -> str:
    """The machine in the address."""
    return parse_qs(urlsplit(page.url).query).get("machine", [""])[0]


@pytest.mark.parametrize("width", [1440, 400])
def test_two_cards_and_ram_in_three_picks_and_the_link_opens_the_same(
    page: Page, running_app: RunningApp, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 860})
    page.goto(f"{running_app.url}/hardware?model=Qwen/Qwen3-14B")
    wait_until_drawn(page)
    page.locator(".st-key-context_bar button").first.click()
    pick(page, "Card or machine", "RTX 3090")
    panel = page.locator("[data-testid='stPopoverBody']")
    panel.get_by_role("radio", name="2", exact=True).click()
    expect(page.locator(".st-key-context_bar")).to_contain_text("2 × RTX 3090")
    pick(page, "RAM", "64 GB DDR5-5600")
    expect(page.locator(".st-key-context_bar")).to_contain_text("64 GB DDR5-5600")
    assert panel.is_visible(), "the panel stays open while a machine is built"
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    wait_until_drawn(page)
    assert machine_of(page) == BUILT

    said = bar_of(page)
    assert page.context.browser is not None
    other = page.context.browser.new_context()  # nothing remembered
    opened = other.new_page()
    opened.goto(page.url)
    wait_until_drawn(opened)
    assert bar_of(opened) == said
    assert machine_of(opened) == BUILT
    expect(opened.get_by_role("heading", name=re.compile("^Context times users on 2 × RTX 3090"))).to_be_visible()
    other.close()
    assert running_app.read_tracebacks() == ""


def test_a_card_that_is_not_listed_is_described_in_its_box(page: Page, running_app: RunningApp) -> None:
    page.goto(f"{running_app.url}/hardware?model=Qwen/Qwen3-14B&machine=RTX+3090*2")
    wait_until_drawn(page)
    page.locator(".st-key-context_bar button").first.click()
    for label, text in (("Card or machine", "20 GiB card at 700 GB/s"), ("RAM", "128 GB DDR5-4800 x8ch")):
        box = page.locator("[data-testid='stPopoverBody']").get_by_role("combobox", name=re.compile(label))
        box.click()
        box.fill(text)
        box.press("Enter")
        expect(page.locator(".st-key-context_bar")).to_contain_text(text)
    wait_until_drawn(page)
    assert machine_of(page) == "20 GiB card at 700 GB/s*2 + 128 GB DDR5-4800 x8ch"
    assert running_app.read_tracebacks() == ""


def test_the_page_answers_and_its_table_and_charts_are_drawn(page: Page, running_app: RunningApp) -> None:
    page.goto(f"{running_app.url}/hardware?model=Qwen/Qwen3-14B&speed=20&machine=RTX+4090")
    wait_until_drawn(page)
    expect(page.locator(".wb-answer").first).to_have_text(
        re.compile(r"^.+ runs Qwen3 14B at \w+: about \$[\d,]+, .+GiB, .+tokens/s\.$")
    )
    expect(page.locator(".js-plotly-plot")).to_have_count(2)
    expect(page.get_by_role("link", name="at its source")).to_have_attribute("href", re.compile("^https://"))
    page.get_by_role("link", name="Every figure of it").click()
    expect(page.locator("[data-testid='stMetric']").first).to_be_visible()
    assert running_app.read_tracebacks() == ""


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ("RTX+4091", "RTX 4090"),
        ("24+GiB+crad", "24 GiB card at 936 GB/s"),
        ("RTX+4090+(99+GiB+used)", "nothing is left"),
    ],
)
def test_a_wrong_machine_in_the_link_is_said(page: Page, running_app: RunningApp, machine: str, said: str) -> None:
    page.goto(f"{running_app.url}/hardware?model=Qwen/Qwen3-14B&machine={machine}")
    wait_until_drawn(page)
    expect(page.locator("[data-testid='stAlert']").first).to_contain_text(said)
    expect(page.locator(".wb-answer").first).to_be_visible()
    assert running_app.read_tracebacks() == ""

"""A person picks a model and reads what it weighs, in a real browser."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tools.running_app import RunningApp, wait_until_drawn

pytestmark = pytest.mark.browser


def open_size(page: Page, app: RunningApp, query: str) -> str:
    """Open the Size page and return its headline."""
    page.goto(f"{app.url}/size{query}")
    wait_until_drawn(page)
    return page.locator(".wb-answer").first.inner_text()


def test_picking_a_model_shows_its_memory_against_context(page: Page, running_app: RunningApp) -> None:
    open_size(page, running_app, "?machine=RTX+4090&context=4096")
    picker = page.get_by_role("combobox", name=re.compile("Model")).first
    picker.click()
    picker.fill("Llama 3.1 8B")
    page.get_by_role("option", name=re.compile(r"Llama 3\.1 8B")).first.click()
    headline = page.locator(".wb-answer").first
    expect(headline).to_contain_text("Llama 3.1 8B")
    expect(page.locator(".js-plotly-plot")).to_have_count(3)
    assert "model=" in page.url
    assert running_app.read_tracebacks() == ""


def test_the_kv_cache_is_the_engines_to_the_figure(page: Page, running_app: RunningApp) -> None:
    """llama.cpp logs 512 MiB of f16 KV cache for Llama 3.1 8B at 4,096 tokens: 32 layers, 8 heads of 128, K and V."""
    open_size(page, running_app, "?machine=RTX+4090&context=4096&model=meta-llama/Llama-3.1-8B-Instruct&quant=Q4_K_M")
    cache = page.locator(".st-key-figure_KV-cache")
    expect(cache).to_contain_text("512")
    expect(cache).to_contain_text("MiB")


def test_a_figure_opens_to_its_formula(page: Page, running_app: RunningApp) -> None:
    open_size(page, running_app, "?machine=RTX+4090&context=4096&model=meta-llama/Llama-3.1-8B-Instruct&quant=Q4_K_M")
    page.get_by_role("button", name=re.compile("^KV cache")).click()
    expect(page.locator("[data-testid='stPopoverBody']")).to_contain_text("4,096")


def test_a_context_above_the_models_maximum_is_refused_in_words(page: Page, running_app: RunningApp) -> None:
    query = "?machine=RTX+4090&context=1000000&model=meta-llama/Llama-3.1-8B-Instruct"
    page.goto(f"{running_app.url}/size{query}")
    wait_until_drawn(page)
    expect(page.locator("[data-testid='stAlert']").first).to_contain_text("131,072")
    assert running_app.read_tracebacks() == ""


@pytest.mark.parametrize("width", [1440, 400])
def test_size_a_70b_for_two_cards_take_the_best_way_and_copy_its_command(
    page: Page, running_app: RunningApp, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=running_app.url)
    query = "?model=meta-llama/Llama-3.3-70B-Instruct&machine=RTX+3090*2&context=16384&quant=Q6_K"
    open_size(page, running_app, query)
    expect(page.get_by_role("heading", name="The best way to run it here")).to_be_visible()
    expect(page.locator("[data-testid='stCode']")).to_have_count(2)
    best = page.locator("[data-testid='stCode']").first.inner_text().strip()
    assert "-c 16384" in best and "-ts " in best
    page.get_by_role("button", name="Take it").click()
    expect(page.get_by_text("This is the best way found to run it here.")).to_be_visible()
    wait_until_drawn(page)
    code = page.locator("[data-testid='stCode']")
    expect(code).to_have_count(1)
    code.hover()
    code.get_by_role("button").click()
    copied = page.evaluate("navigator.clipboard.readText()").strip()
    assert copied == best
    assert f"-{parse_qs(urlsplit(page.url).query)['quant'][0]}.gguf" in copied
    expect(page.locator(".wb-answer").first).to_contain_text("tokens/s")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert running_app.read_tracebacks() == ""


def test_layers_typed_by_hand_are_in_the_command_and_in_the_link(page: Page, running_app: RunningApp) -> None:
    open_size(page, running_app, "?model=meta-llama/Llama-3.3-70B-Instruct&machine=RTX+3090*2&quant=IQ4_XS")
    page.get_by_role("button", name=re.compile("Placement: automatic")).click()
    box = page.get_by_role("textbox", name=re.compile("Layers of each of 2 cards"))
    box.fill("40,30")
    box.press("Enter")
    expect(page.get_by_role("button", name=re.compile("Placement: by hand"))).to_be_visible()
    expect(page.locator("[data-testid='stCode']").last).to_contain_text("-ngl 70 -ts 40,30")
    assert parse_qs(urlsplit(page.url).query)["split"] == ["40,30"]
    box = page.get_by_role("textbox", name=re.compile("Layers of each of 2 cards"))
    box.fill("forty")
    box.press("Enter")
    expect(page.locator("[data-testid='stAlert']").first).to_contain_text("Split wants a whole number of layers")
    assert running_app.read_tracebacks() == ""

"""A person picks a model and reads what it weighs, in a real browser."""

from __future__ import annotations

import re

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
    expect(page.locator(".js-plotly-plot")).to_have_count(2)
    assert "model=" in page.url
    assert running_app.read_tracebacks() == ""


def test_the_kv_cache_is_the_engines_to_the_figure(page: Page, running_app: RunningApp) -> None:
    """llama.cpp logs 512 MiB of f16 KV cache for Llama 3.1 8B at 4,096 tokens: 32 layers, 8 heads of 128, K and V."""
    open_size(page, running_app, "?machine=RTX+4090&context=4096&model=meta-llama/Llama-3.1-8B-Instruct&quant=Q4_K_M")
    cache = page.locator("[data-testid='stMetric']").filter(has_text="KV cache")
    expect(cache).to_contain_text("512")
    expect(cache).to_contain_text("MiB")


def test_a_figure_opens_to_its_formula(page: Page, running_app: RunningApp) -> None:
    open_size(page, running_app, "?machine=RTX+4090&context=4096&model=meta-llama/Llama-3.1-8B-Instruct&quant=Q4_K_M")
    page.get_by_role("button", name="Formula").nth(2).click()
    expect(page.locator("[data-testid='stPopoverBody']")).to_contain_text("4,096")


def test_a_context_above_the_models_maximum_is_refused_in_words(page: Page, running_app: RunningApp) -> None:
    query = "?machine=RTX+4090&context=1000000&model=meta-llama/Llama-3.1-8B-Instruct"
    page.goto(f"{running_app.url}/size{query}")
    wait_until_drawn(page)
    expect(page.locator("[data-testid='stAlert']").first).to_contain_text("131,072")
    assert running_app.read_tracebacks() == ""

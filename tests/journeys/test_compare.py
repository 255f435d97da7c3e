"""A person picks three models, reads where they differ, and takes the comparison along, in a real browser."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tools.running_app import RunningApp, wait_until_drawn

pytestmark = pytest.mark.browser


def pick(page: Page, name: str) -> None:
    """One more model in the picker."""
    box = page.get_by_role("combobox", name=re.compile("^Models"))
    box.click()
    box.fill(name)
    page.get_by_role("option", name=name, exact=True).first.click()
    page.keyboard.press("Escape")


def test_pick_three_see_what_differs_and_take_it_along(page: Page, running_app: RunningApp, tmp_path: Path) -> None:
    page.goto(f"{running_app.url}/compare?machine=RTX+4090")
    wait_until_drawn(page)
    expect(page.locator(".wb-answer").first).to_have_text("All 3 models run on RTX 4090.")
    expect(page.get_by_text("Nothing is chosen, so here are the recommendation")).to_be_visible()
    pick(page, "Qwen3 14B")
    expect(page.locator(".wb-answer").first).to_have_text("Qwen3 14B runs on RTX 4090.")
    pick(page, "Qwen3 8B")
    expect(page.locator(".wb-answer").first).to_have_text("Both models run on RTX 4090.")
    pick(page, "Qwen3 1.7B")
    expect(page.locator(".wb-answer").first).to_have_text("All 3 models run on RTX 4090.")
    expect(page.locator(".js-plotly-plot")).to_have_count(2)

    table = page.locator(".wb-compare").first
    expect(table.locator("thead")).to_contain_text("Qwen3 14B")
    expect(table.get_by_role("row", name=re.compile("^Architecture in llama.cpp"))).to_be_visible()
    smaller = table.get_by_role("row", name=re.compile("^KV cache for 1,024 more tokens")).locator(".wb-best")
    expect(smaller).to_contain_text("best")
    page.locator("[data-testid='stCheckbox']").filter(has_text="Only what differs").locator("label").click()
    expect(table.get_by_role("row", name=re.compile("^Architecture in llama.cpp"))).to_have_count(0)
    expect(table.get_by_role("row", name=re.compile("^Parameters"))).to_be_visible()
    wait_until_drawn(page)
    assert "differs=on" in page.url and "Qwen3-8B" in page.url

    with page.expect_download() as told:
        page.get_by_role("button", name="Download as CSV").click()
    told.value.save_as(tmp_path / "taken.csv")
    with (tmp_path / "taken.csv").open(encoding="utf-8", newline="") as text:
        rows = list(csv.reader(text))
    assert rows[0][-3:] == ["Qwen3 14B", "Qwen3 8B", "Qwen3 1.7B"]
    assert any(row[1] == "Architecture in llama.cpp" for row in rows), "the export has what the page hides"
    assert any(row[0] == "assumed" for row in rows) and any(row[0] == "source" for row in rows)
    with page.expect_download() as told:
        page.get_by_role("button", name="Download as Markdown").click()
    assert told.value.suggested_filename == "comparison-Qwen3-14B-Qwen3-8B-Qwen3-1.7B.md"
    assert running_app.read_tracebacks() == ""


def test_on_a_phone_the_table_scrolls_and_the_page_does_not(page: Page, running_app: RunningApp) -> None:
    page.set_viewport_size({"width": 400, "height": 900})
    page.goto(
        f"{running_app.url}/compare?machine=RTX+4090&compare=Qwen/Qwen3-14B|google/gemma-3-12b-it|openai/gpt-oss-20b"
    )
    wait_until_drawn(page)
    expect(page.locator(".wb-compare").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    inside = page.evaluate("(e => e.scrollWidth - e.clientWidth)(document.querySelector('.wb-compare'))")
    assert inside > 0
    assert running_app.read_tracebacks() == ""

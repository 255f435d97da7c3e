"""A person reads the guide from topic to topic, in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from pages.ui.inputs import TOPICS
from tools.running_app import RunningApp, wait_until_drawn

pytestmark = pytest.mark.browser


def test_every_topic_is_one_click_further_and_no_phone_scrolls_sideways(page: Page, running_app: RunningApp) -> None:
    page.set_viewport_size({"width": 400, "height": 900})
    page.goto(f"{running_app.url}/guide?machine=RTX+4090")
    wait_until_drawn(page)
    for topic, words in list(TOPICS.items())[1:]:
        page.get_by_role("button", name=f"Next: {words.lower()}").click()
        expect(page).to_have_url(re.compile(rf"topic={topic}\b"))
        expect(page.get_by_role("combobox", name="Topic")).to_have_value(words)
        wait_until_drawn(page)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, topic
    expect(page.get_by_role("button", name=re.compile("Next: "))).to_have_count(0)
    assert running_app.read_tracebacks() == ""

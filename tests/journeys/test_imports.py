"""A person imports from a Hub, reads what a file weighs, fetches it, and finds it on the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.catalog.hub_models import DEMO, make_demo, make_small, make_small_gguf
from tests.catalog.model_hub import ModelHub, ModelRepository
from tools.running_app import RunningApp, start_app, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.engine]

LONG_MS = 90_000


@pytest.fixture(scope="module")
def hub_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """The app with a Hub, a cache and a person of its own."""
    place = tmp_path_factory.mktemp("imports")
    (place / "person").mkdir()
    broken = ModelRepository("eve/broken", {"config.json": b"<html>sign in</html>"})
    with ModelHub([make_small(), make_small_gguf(), make_demo(), broken]) as hub:
        environment = {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_CACHE": str(place / "cache"),
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            "HF_TOKEN": "",
            "HOME": str(place / "person"),
        }
        with start_app(environment=environment) as app:
            yield app


def import_by_name(page: Page, *names: str) -> None:
    page.get_by_role("button", name="By name").click()
    page.get_by_role("textbox", name="Repositories, one a line").fill("\n".join(names))
    page.get_by_role("button", name="Import these").click()
    page.keyboard.press("Escape")


def test_search_import_size_fetch_and_find(page: Page, hub_app: RunningApp) -> None:
    page.goto(f"{hub_app.url}/imports")
    wait_until_drawn(page)
    expect(page.locator(".wb-answer")).to_have_text("Nothing was imported yet.")
    box = page.get_by_role("textbox", name="Search the Hub")
    box.fill("small")
    box.press("Enter")
    expect(page.get_by_text("2 repositories. Pick rows to import them")).to_be_visible()
    import_by_name(page, "ada/Small-135M", "weighbridge/demo-GGUF", "eve/broken")
    expect(page.get_by_text("2 of 3 repositories imported, 1 refused.")).to_be_visible(timeout=LONG_MS)
    expect(page.locator(".wb-answer")).to_have_text("2 models were imported.")
    expect(page.locator(".st-key-import_job")).to_contain_text("eve/broken")

    page.goto(f"{hub_app.url}/size?model=ada/Small-135M&quant=Q4_K_M&machine=RTX+4090")
    wait_until_drawn(page)
    expect(page.locator(".wb-answer").first).to_contain_text("Small-135M at Q4_K_M")

    page.goto(f"{hub_app.url}/size?model=weighbridge/demo-GGUF&quant=F16&context=512")
    wait_until_drawn(page)
    page.get_by_role("button", name="Verify with the engine").click()
    expect(page.get_by_text("figures are equal")).to_be_visible(timeout=LONG_MS)
    page.get_by_role("button", name="Download F16").click()
    page.get_by_role("link", name="Downloads").click()
    page.get_by_role("tab", name="Downloads").click()
    expect(page.get_by_text("Here, and checked")).to_be_visible(timeout=LONG_MS)
    page.get_by_role("link", name="Evaluate it").click()
    expect(page.get_by_role("button", name="Start")).to_be_enabled()
    assert "weighbridge-demo-F16.gguf" in page.url
    page.goto(f"{hub_app.url}/imports")
    wait_until_drawn(page)
    page.get_by_role("tab", name="On this machine").click()
    expect(page.get_by_text("1 model in files on this machine.")).to_be_visible()
    assert hub_app.read_tracebacks() == ""


def test_a_folder_of_ones_own_is_looked_through_and_a_wrong_one_is_said(
    page: Page, hub_app: RunningApp, tmp_path: Path
) -> None:
    (tmp_path / "own-F16.gguf").write_bytes(DEMO.read_bytes())
    page.goto(f"{hub_app.url}/imports")
    wait_until_drawn(page)
    page.get_by_role("tab", name="On this machine").click()
    page.get_by_role("button", name="Add a folder").click()
    box = page.get_by_role("textbox", name="Folder with GGUF files")
    box.fill("/nowhere")
    page.get_by_role("button", name="Look there too").click()
    expect(page.locator("[data-testid='stAlert']").first).to_contain_text("no folder at /nowhere")
    box.fill(str(tmp_path))
    page.get_by_role("button", name="Look there too").click()
    expect(page.get_by_role("button", name="Leave out")).to_be_visible()
    assert "folders=" in page.url
    assert hub_app.read_tracebacks() == ""


@pytest.mark.parametrize("width", [1440, 400])
def test_no_width_scrolls_sideways(page: Page, hub_app: RunningApp, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{hub_app.url}/imports")
    wait_until_drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0

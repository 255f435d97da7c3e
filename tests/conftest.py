"""What tests share: the engine and the browser, each asked for by its marker.

A missing engine or browser skips a test with its reason on a person's machine. With CI set it fails: there, a test
that did not run proves nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tools.running_app import CHROMIUM_NAMES, RunningApp, find_chromium, open_browser, start_app


def find_missing_engine() -> str | None:
    """Why the engine cannot be asked here, or None. Nothing native is loaded to find out."""
    spec = find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        return "llama-cpp-python is not installed; compile it with: make engine"
    if not any((Path(spec.origin).parent / "lib").glob("libggml-rpc.*")):
        return "llama-cpp-python was built without RPC; compile it with: make engine"
    return None


PATIENCE_S = 30
"""How long a journey waits for something to appear; a busy machine is slow, not broken."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or in CI fail, a test whose marker names something that is not here."""
    reason = None
    if item.get_closest_marker("engine"):
        reason = find_missing_engine()
    if reason is None and item.get_closest_marker("browser") and find_chromium() is None:
        reason = f"no Chromium here (looked for {', '.join(CHROMIUM_NAMES)})"
    if reason and os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def home_of_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of its own for what the app keeps of a person, so that no test reads or writes anybody's."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEIGHBRIDGE_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One headless Chromium for all journeys; the test carries the marker `browser`."""
    with open_browser() as chromium:
        yield chromium


@pytest.fixture(scope="session")
def running_app() -> Iterator[RunningApp]:
    """The app started anew in a process of its own on a free port, stopped at the end."""
    with start_app() as app:
        yield app


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh browser tab of a laptop's size, with nothing remembered."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE_S * 1e3)
    expect.set_options(timeout=PATIENCE_S * 1e3)
    yield context.new_page()
    context.close()

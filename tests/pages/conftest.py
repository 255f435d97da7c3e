"""What the page tests share: the app as Streamlit itself would run it, caches emptied in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

APP = Path(__file__).resolve().parents[2] / "app.py"


@pytest.fixture(autouse=True)
def _fresh_address_caches() -> Iterator[None]:
    """Answers of one test must not serve another."""
    st.cache_data.clear()
    yield


@pytest.fixture
def open_page() -> Callable[..., AppTest]:
    """Open a page with query parameters: `open_page("size", model="Qwen3 14B")`."""

    def run(page: str = "choose", **address: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=30)
        for name, value in address.items():
            app.query_params[name] = value
        app.run()
        if page != "choose":
            app.switch_page(f"pages/{page}.py")
            for name, value in address.items():
                app.query_params[name] = value
            app.run()
        return app

    return run


@pytest.fixture
def open_size() -> Callable[..., AppTest]:
    """Open the Size page straight from a link: one run of the script, no other page before it."""

    def run(**address: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=90)
        app.switch_page("pages/size.py")
        for name, value in address.items():
            app.query_params[name] = value
        return app.run()

    return run

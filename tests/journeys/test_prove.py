"""A person has the engine confirm a figure, and times a model that was never downloaded, in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from evals.bench_result import load_results
from tools.running_app import RunningApp, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.engine]

SMALL = "model=HuggingFaceTB/SmolLM2-135M-Instruct&quant=Q8_0&context=2048"
ENGINE_MS = 60_000
MEASURED_MS = 100_000
ASKED = re.compile(r"^llama\.cpp \(llama-cpp-python .+\) was asked and worked .+ figures are equal\.$")


def test_the_engine_confirms_every_figure_of_the_page(page: Page, running_app: RunningApp) -> None:
    page.goto(f"{running_app.url}/size?{SMALL}")
    wait_until_drawn(page)
    page.get_by_role("button", name="Verify with the engine").click()
    told = page.get_by_text(ASKED)
    expect(told).to_contain_text(re.compile(r"all \d+ figures are equal"), timeout=ENGINE_MS)
    kept = (running_app.home / "verifies.jsonl").read_text(encoding="utf-8")
    assert "SmolLM2-135M-Instruct" in kept
    page.reload()
    wait_until_drawn(page)
    expect(page.get_by_text(ASKED)).to_be_visible()
    assert running_app.read_tracebacks() == ""


def test_the_speed_of_a_model_nobody_downloaded_is_measured(page: Page, running_app: RunningApp) -> None:
    page.goto(f"{running_app.url}/size?{SMALL}")
    wait_until_drawn(page)
    page.get_by_role("button", name="Try its speed here").click()
    expect(page.get_by_text(re.compile(r"^Measuring SmolLM2 135M Instruct at Q8_0"))).to_be_visible()
    expect(page.get_by_role("button", name="Stop measuring")).to_be_enabled()
    measured = page.get_by_text(re.compile(r"^Measured here on \d{4}-\d\d-\d\d in .+tokens/s when writing"))
    expect(measured).to_be_visible(timeout=MEASURED_MS)
    result = load_results(running_app.home)[-1]
    decode = result.find("decode")
    assert result.subject == "ghost" and decode is not None and decode.tokens_per_s > 0
    assert not list((running_app.home / "ghosts").glob("*.gguf")), "the file without weights is taken away again"
    assert running_app.read_tracebacks() == ""

"""A person takes things along: the decision report, a chart as an image, a table as a file, in a real browser."""

from __future__ import annotations

import csv
import io
import json
import re
import struct
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Download, Locator, Page

from tools.running_app import RunningApp, wait_until_drawn

pytestmark = pytest.mark.browser

FIGURES = re.compile(r"^(?P<model>.+) at (?P<quant>\w+): (?P<gib>[\d.,]+ of [\d.,]+.GiB)")


def save(page: Page, button: Locator, folder: Path) -> Path:
    """Click a download button and keep the file under the name it comes with."""
    with page.expect_download() as waiting:
        button.click()
    download: Download = waiting.value
    target = folder / download.suggested_filename
    download.save_as(target)
    return target


def open_choose(page: Page, app: RunningApp) -> re.Match[str]:
    """Open the first page with a question of its own and return what its headline says."""
    page.goto(f"{app.url}/?machine=RTX+3090*2&context=16384&lic_region=DE")
    wait_until_drawn(page)
    headline = FIGURES.match(page.locator(".wb-answer").first.inner_text())
    assert headline is not None
    return headline


def test_the_report_says_what_the_page_says_and_fits_one_sheet(
    page: Page, running_app: RunningApp, tmp_path: Path
) -> None:
    headline = open_choose(page, running_app)
    page.get_by_role("button", name="Decision report").click()
    made = save(page, page.get_by_role("button", name="HTML", exact=True), tmp_path)
    text = save(page, page.get_by_role("button", name="Markdown", exact=True), tmp_path)
    assert made.suffix == ".html" and text.suffix == ".md"
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(made.as_uri())
    assert page.locator("h1").inner_text() == f"{headline['model']} at {headline['quant']}"
    gib = re.sub(r"\s", " ", headline["gib"])
    assert gib in re.sub(r"\s", " ", page.locator(".summary").inner_text())
    assert gib in re.sub(r"\s", " ", text.read_text(encoding="utf-8"))
    assert asked == [made.as_uri()]
    sheets = re.findall(rb"/Type\s*/Page[^s]", page.pdf(prefer_css_page_size=True))
    assert len(sheets) == 1
    link = page.locator("footer a").get_attribute("href")
    assert link is not None and link.startswith(running_app.url)
    fields = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}
    assert (fields["machine"], fields["context"], fields["lic_region"]) == ("RTX 3090*2", "16384", "DE")
    assert {"catalog", "task", "users", "speed", "licence", "engine", "lic_users"} <= set(fields), "as spelled"
    assert not {"folders", "models", "hub", "model"} & set(fields)
    page.goto(link)
    wait_until_drawn(page)
    assert page.locator(".wb-answer").first.inner_text() == headline.string
    assert running_app.read_tracebacks() == ""


def read_png_size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG (https://www.w3.org/TR/png-3/#11IHDR)."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and data.rstrip()[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def test_a_chart_arrives_as_png_and_as_svg(page: Page, running_app: RunningApp, tmp_path: Path) -> None:
    open_choose(page, running_app)
    chart = page.locator(".js-plotly-plot").first
    chart.hover()
    png = save(page, chart.get_by_role("button", name="Download as PNG"), tmp_path)
    svg = save(page, chart.get_by_role("button", name="Download as SVG"), tmp_path)
    assert png.name.startswith("weighbridge-") and png.name.endswith("memory.png") and svg.stem == png.stem
    width, height = read_png_size(png.read_bytes())
    box = chart.bounding_box()
    assert box is not None and width == pytest.approx(2 * box["width"], abs=4) and height > box["height"]
    drawing = ElementTree.fromstring(svg.read_text(encoding="utf-8"))
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    words = " ".join(drawing.itertext())
    assert "KV cache" in words and "RTX 3090" in words
    assert running_app.read_tracebacks() == ""


def test_a_table_arrives_as_csv_and_as_json(page: Page, running_app: RunningApp, tmp_path: Path) -> None:
    page.goto(f"{running_app.url}/licenses")
    wait_until_drawn(page)
    table = page.locator("[data-testid='stDataFrame']").first
    table.hover()
    table.get_by_role("button", name="Search").wait_for(state="visible")
    assert not table.get_by_role("button", name="Download as CSV").is_visible()  # Streamlit's own guards no formula
    page.get_by_role("button", name="Export").first.click()
    made = save(page, page.get_by_role("button", name="CSV", exact=True), tmp_path)
    rows = list(csv.DictReader(io.StringIO(made.read_text(encoding="utf-8"))))
    page.get_by_role("button", name="JSON", exact=True).wait_for()
    same = json.loads(
        save(page, page.get_by_role("button", name="JSON", exact=True), tmp_path).read_text(encoding="utf-8")
    )
    assert made.name == "weighbridge-licences.csv" and len(rows) == len(same) > 5
    assert list(same[0]) == list(rows[0]) and {row["Licence"] for row in rows} == {row["Licence"] for row in same}
    assert running_app.read_tracebacks() == ""

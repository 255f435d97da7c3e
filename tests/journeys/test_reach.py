"""Every page is within reach: on a phone's width, with the keyboard alone, by its words, in light and in dark."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import CDPSession, Page

from tools.running_app import RunningApp, wait_until_drawn

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
ASKED = {
    "compare": "&compare=Qwen%2FQwen3-14B%7Cgoogle%2Fgemma-3-12b-it",
    "finetune": "&model=meta-llama%2FLlama-3.1-8B-Instruct",
}
"""What a page is asked beside the machine, so that its charts are there."""
MAX_TABS = 220
NAMED_ROLES = {
    "button", "link", "textbox", "combobox", "checkbox", "radio", "switch", "slider", "spinbutton", "tab", "heading",
    "figure", "dialog", "radiogroup", "DisclosureTriangle",
}  # fmt: skip
"""Roles of the accessibility tree that mean nothing without a name."""

SCRIPT = (Path(__file__).with_name("reach.js")).read_text(encoding="utf-8")


def list_pages() -> list[str]:
    """The addresses of all pages, as app.py names them; '' is the one that opens by itself."""
    found = []
    for node in ast.walk(ast.parse((ROOT / "app.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "Page":
            path = ast.literal_eval(node.args[0])
            is_first = any(k.arg == "default" for k in node.keywords)
            found.append("" if is_first else Path(path).stem)
    return found


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the accessibility tree that a screen reader speaks of."""

    role: str
    name: str
    level: int


def list_nodes(cdp: CDPSession) -> list[Node]:
    """The page as a screen reader is told of it, in its order."""
    nodes = {n["nodeId"]: n for n in cdp.send("Accessibility.getFullAXTree")["nodes"]}
    found: list[Node] = []

    def walk(node: dict[str, Any]) -> None:
        if not node.get("ignored"):
            level = next((p["value"]["value"] for p in node.get("properties", []) if p["name"] == "level"), 0)
            found.append(Node(node["role"]["value"], node.get("name", {}).get("value", "").strip(), level))
        for child in node.get("childIds", []):
            if child in nodes:
                walk(nodes[child])

    walk(next(n for n in nodes.values() if "parentId" not in n))
    return found


def check_width(page: Page) -> list[str]:
    """What scrolls sideways."""
    sizes = page.evaluate(
        "[document.scrollingElement, document.querySelector('[data-testid=stMain]')]"
        ".map((e) => [e.scrollWidth, e.clientWidth])"
    )
    return [f"{wide} pixels are wanted of {room}" for wide, room in sizes if wide > room]


def check_names(nodes: list[Node]) -> list[str]:
    """Controls, charts and tables without a name."""
    return [f"a {n.role} has no name" for n in nodes if n.role in NAMED_ROLES and not n.name]


def check_headings(nodes: list[Node]) -> list[str]:
    """One heading of the first rank, before all others."""
    levels = [n.level for n in nodes if n.role == "heading"]
    return [] if levels[:1] == [1] and levels.count(1) == 1 else [f"headings have the ranks {levels}"]


def check_charts(page: Page, nodes: list[Node]) -> list[str]:
    """Charts and tables whose words are missing from the accessibility tree."""
    n_charts = page.locator(".js-plotly-plot").count()
    n_tables = page.locator("[data-testid='stDataFrame']").filter(visible=True).count()
    charts = [n for n in nodes if n.role == "figure" and re.search(r"\d", n.name)]
    tables = [n for n in nodes if n.name.startswith("Table of ")]
    wrong = [f"{n_charts} charts, {len(charts)} with words and figures"] if len(charts) < n_charts else []
    return wrong + ([f"{n_tables} tables, {len(tables)} with a name"] if len(tables) < n_tables else [])


def check_keyboard(page: Page) -> list[str]:
    """Controls that Tab does not reach, or reaches without anything to be seen.

    A page that draws itself anew on the way takes the focus along, so what is wrong is looked at once more.
    """
    wrong = walk_with_tab(page)
    if wrong:
        page.wait_for_timeout(2000)
        wrong = walk_with_tab(page)
    return wrong


def walk_with_tab(page: Page) -> list[str]:
    """Press Tab from the top of the page until it comes to its end."""
    page.evaluate("reach.markControls()")
    unseen = []
    for _ in range(MAX_TABS):
        page.keyboard.press("Tab")
        visit = page.evaluate("reach.visitFocused()")
        if visit["isOver"]:
            break
        if visit["unseen"]:
            page.wait_for_timeout(300)  # it may fade in
            still = page.evaluate("reach.describeUnseen()")
            unseen += [f"focus is not seen on {still}"] if still else []
    return unseen + [f"Tab does not reach {html}" for html in page.evaluate("reach.listMissed()")]


def check_contrast(page: Page, theme: str) -> list[str]:
    """Text that is too faint in a theme."""
    page.emulate_media(color_scheme=theme)
    page.wait_for_function("(dark) => reach.isDark() === dark", arg=theme == "dark")
    page.wait_for_timeout(300)
    return [f"{theme}: {line}" for line in page.evaluate("reach.listFaint()")]


@pytest.mark.parametrize("path", list_pages())
def test_a_page_is_within_reach(page: Page, running_app: RunningApp, path: str) -> None:
    page.set_viewport_size({"width": 400, "height": 900})
    page.emulate_media(color_scheme="light")
    page.goto(f"{running_app.url}/{path}?machine=RTX+4090{ASKED.get(path, '')}")
    wait_until_drawn(page)
    page.wait_for_selector("[data-testid='stSkeleton']", state="detached")
    page.evaluate(SCRIPT)
    nodes = list_nodes(page.context.new_cdp_session(page))
    wrong = check_width(page) + check_names(nodes) + check_headings(nodes) + check_charts(page, nodes)
    wrong += check_contrast(page, "light") + check_keyboard(page) + check_contrast(page, "dark")
    assert not wrong, "\n".join(wrong)
    assert running_app.read_tracebacks() == ""


def test_every_page_of_the_app_is_looked_at() -> None:
    assert {name or "choose" for name in list_pages()} == {p.stem for p in (ROOT / "pages").glob("[!_]*.py")}

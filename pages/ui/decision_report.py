"""The decision report of the Choose page: the recommendation with its evidence on one page, to send to others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import PurePath
from urllib.parse import urlencode, urlsplit, urlunsplit

import streamlit as st

from catalog.report import find_evidence
from pages.ui import cached, frame, inputs
from pages.ui.measured import list_measured_here
from sizing.launch import format_command
from sizing.recommend import Needs, Recommendation
from sizing.report import Occasion, Report, build_report
from sizing.report_command import format_report_command
from sizing.report_html import format_html
from sizing.report_markdown import format_markdown
from sizing.safe_text import name_file


def show(answer: Recommendation, question: frame.Question, needs: Needs, file: str | None = None) -> None:
    """A quiet button that opens to the report as HTML and as Markdown; it is written when it is asked for.

    `file` is what the launch command loads, where it is known.
    """
    best = answer.best
    stem = name_file(f"report-{best.name}-{best.quant}" if best else f"report-{needs.task}")
    occasion = find_occasion(answer, question, needs, file)

    def writer(write: Callable[[Report], str]) -> Callable[[], str]:
        return lambda: write(build(answer, question, needs, occasion))

    with st.popover("Decision report", type="tertiary", icon=":material/description:"):
        st.caption("One page to send on: the question, the answer, its evidence and its sources.")
        for label, ending, mime, write in (
            ("HTML", "html", "text/html", format_html),
            ("Markdown", "md", "text/markdown", format_markdown),
        ):
            st.download_button(
                label,
                writer(write),
                f"{stem}.{ending}",
                mime,
                key=f"report_{ending}",
                type="tertiary",
                icon=":material/download:",
                on_click="ignore",
            )


def find_occasion(answer: Recommendation, question: frame.Question, needs: Needs, file: str | None) -> Occasion:
    """When and where the report is made, and how to ask the same again."""
    best, machine = answer.best, question.machine
    # a path would tell the reader whose machine this is; the name is what they need
    name = None if file is None else PurePath(file).name
    return Occasion(
        made_on=date.today().isoformat(),
        machine_name="this machine" if question.wishes.machine == inputs.THIS else frame.format_machine(machine),
        launch=""
        if best is None
        else format_command(best.name, best.quant, best.estimate, needs.workload, machine, gguf_file=name),
        link=build_link(st.context.url, inputs.question_address()),
        command=format_report_command(question.wishes.machine, needs),
    )


def build_link(page_url: str | None, address: dict[str, str]) -> str:
    """The page's address with the question in it; "" where the page does not know its own.

    Of the page's address the host and the path are kept: names and passwords before the host are not for others.
    """
    parts = urlsplit(page_url or "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    host = parts.netloc.rsplit("@", 1)[-1]
    return urlunsplit((parts.scheme, host, parts.path or "/", urlencode(address), ""))


def build(answer: Recommendation, question: frame.Question, needs: Needs, occasion: Occasion) -> Report:
    """The report on an answer, with what would change it, as the page says it."""
    changed = replace(answer, what_would_change=cached.find_changes(question.machine, needs))
    found = find_evidence(cached.catalog(), answer, question.machine, needs)
    return build_report(changed, question.machine, needs, found, occasion, list_measured_here())

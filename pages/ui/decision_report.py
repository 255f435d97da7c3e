"""The decision report of the Choose page: the recommendation with its evidence on one page, to send to others."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import streamlit as st

from catalog.report import find_evidence
from pages.ui import cached, frame, inputs, share_link
from pages.ui.measured import list_measured_here
from sizing.estimate import ENGINE
from sizing.recommend import Needs, Recommendation
from sizing.report import Occasion, Report, build_report
from sizing.report_command import format_report_command
from sizing.report_html import format_html
from sizing.report_markdown import format_markdown
from sizing.safe_text import name_file


def show(answer: Recommendation, question: frame.Question, needs: Needs, launch: str = "") -> None:
    """A quiet button that opens to the report as HTML and as Markdown; it is written when it is asked for.

    `launch` starts the answer, as the page says it.
    """
    best = answer.best
    stem = name_file(f"report-{best.name}-{best.quant}" if best else f"report-{needs.task}")
    occasion = find_occasion(question, needs, launch)

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


def find_occasion(question: frame.Question, needs: Needs, launch: str) -> Occasion:
    """When and where the report is made, and how to ask the same again."""
    shared = share_link.share(question.wishes, question.machine)
    return Occasion(
        made_on=date.today().isoformat(),
        machine_name="this machine"
        if question.wishes.machine == inputs.THIS
        else frame.format_machine(question.machine),
        launch=shorten_paths(launch),
        link=share_link.build_link(st.context.url, inputs.question_address(shared.text)),
        command=format_report_command(question.wishes.machine, needs, question.wishes.engine),
    )


def shorten_paths(launch: str) -> str:
    """A command with the names of files in place of their paths, which would tell the reader whose machine this is.

    >>> shorten_paths("llama-server -m /srv/models/Qwen3-14B-Q5_K_M.gguf -c 8192")
    'llama-server -m Qwen3-14B-Q5_K_M.gguf -c 8192'
    """
    return re.sub(r"(?<![^\s'\"=])(?:[A-Za-z]:)?[/\\][^\n'\"]*?([^/\\\s'\"]+\.gguf)", r"\1", launch)


def build(answer: Recommendation, question: frame.Question, needs: Needs, occasion: Occasion) -> Report:
    """The report on an answer, with what would change it, as the page says it."""
    changed = answer
    if answer.best is not None and answer.best.estimate.memory.engine == ENGINE:  # of others it is not worked out
        changed = replace(answer, what_would_change=cached.find_changes(question.machine, needs))
    found = find_evidence(cached.catalog(), answer, question.machine, needs)
    return build_report(changed, question.machine, needs, found, occasion, list_measured_here())

"""A decision report as Markdown: plain headings, tables and lists that any reader shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sizing.report import MEMORY_COLUMNS, Fact, Report, list_memory
from sizing.safe_text import markdown_text, plain_spaces, plain_url
from sizing.units import format_gib


def format_markdown(report: Report) -> str:
    """The whole page. What others wrote stands as text: markup and the bars of tables are escaped."""
    lines = [markdown_text(report.occasion), "", f"# {markdown_text(report.title)}", ""]
    lines += [f"**{markdown_text(report.summary)}**.", ""]
    lines += _section("The question", _facts(report.question))
    lines += _section("Why" if report.is_answered else "What stood in the way", _items(report.reasons))
    lines += _section("Memory, GiB", list(_memory(report)))
    lines += _section("Speed", _facts(report.speed))
    scores = [(s.benchmark, f"{s.score:g}", s.reporter) for s in report.scores]
    quality = _facts(report.quality)
    if scores:
        quality += ["", *_table(("Benchmark", "Score", "Reported by"), scores)]
    lines += _section("Quality", quality)
    clauses = _items(report.clauses)
    lines += _section("Licence", [*_facts(report.license), *([""] if clauses else []), *clauses])
    lines += _section("Measured here", _items(report.measured))
    lines += _section("What would change this", _items(report.changes))
    rows = [(r.name, r.verdict, r.memory, r.speed, r.quality, r.licence) for r in report.runners_up]
    columns = ("Model", "Fit", "Memory", "Speed", "Quality", "Licence")
    lines += _section("Runners-up", list(_table(columns, rows)) if rows else [])
    lines += _section("Start it", _code(report.launch) if report.launch else [])
    lines += _section("Assumed", _items(report.assumptions))
    sources = [f"- {markdown_text(s.what)}, {markdown_text(s.as_of)}: {_link(s.url)}" for s in report.sources]
    lines += _section("Sources", sources)
    lines += _section("Ask again", list(_again(report)))
    return "\n".join([*lines, f"{markdown_text(report.made_of)}.", ""])


def _section(title: str, body: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *body, ""] if body else []


def _items(texts: Iterable[str]) -> list[str]:
    return [f"- {markdown_text(text)}" for text in texts]


def _facts(facts: Iterable[Fact]) -> list[str]:
    return [f"- **{markdown_text(name)}**: {markdown_text(text)}" for name, text in facts]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], n_text: int = 0) -> Iterator[str]:
    """A table, the first `n_text` columns to the left, all where it is 0."""
    n_text = n_text or len(columns)
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "|".join([":--"] * n_text + ["--:"] * (len(columns) - n_text)) + "|"
    for row in rows:
        yield "| " + " | ".join(markdown_text(cell) for cell in row) + " |"


def _memory(report: Report) -> Iterator[str]:
    if report.devices:
        rows = [(d.name, *map(format_gib, list_memory(d))) for d in report.devices]
        yield from _table(("Device", *MEMORY_COLUMNS), rows, n_text=1)


def _code(text: str) -> list[str]:
    """A block of code, fenced with more backticks than the text has in a row."""
    fence = "```"
    while fence in text:
        fence += "`"
    return [f"{fence}sh", plain_spaces(text), fence]


def _link(url: str) -> str:
    """An address as a link where it is one of the web, else as text."""
    return f"<{plain_url(url)}>" if url.startswith(("https://", "http://")) else markdown_text(url)


def _again(report: Report) -> Iterator[str]:
    if report.link:
        yield _link(report.link)
    if report.command:
        if report.link:
            yield ""
        yield from _code(report.command)

"""The table of the Compare page: values in, HTML out. It scrolls within itself; the page does not."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pages.ui.charts import roomy
from sizing.compare import Comparison, Row, SourceLine, mark_best

STYLE = """<style>
.wb-compare { overflow-x: auto; max-width: 100%; }
.wb-compare table { border-collapse: collapse; font-size: 0.87rem; min-width: 100%; }
.wb-compare th, .wb-compare td { text-align: left; vertical-align: top; padding: 0.3rem 0.9rem 0.3rem 0; border: none;
  border-bottom: 1px solid color-mix(in srgb, currentColor 10%, transparent); }
.wb-compare th.wb-fact { font-weight: 400; width: 12rem; min-width: 8.5rem; position: sticky; left: 0; z-index: 1;
  background: light-dark(#FFFFFF, #15181A); color: color-mix(in srgb, currentColor 75%, transparent); }
.wb-compare td, .wb-compare thead th { min-width: 9.5rem; }
.wb-compare thead th { font-weight: 600; }
.wb-compare tr.wb-group th { font-weight: 600; padding-top: 1rem; }
.wb-compare tr.wb-group span { position: sticky; left: 0; display: inline-block; }
.wb-compare tr.wb-equal td { color: color-mix(in srgb, currentColor 70%, transparent); }
.wb-compare .wb-best { font-weight: 600; }
.wb-compare .wb-best small { font-weight: 400; white-space: nowrap; }
.wb-compare summary { cursor: pointer; }
@media (max-width: 640px) { .wb-compare th.wb-fact { width: 7rem; min-width: 7rem; } }
</style>"""

LONGEST = 110
"""Characters of a cell that are shown at once; the rest opens with a click."""


def table_html(comparison: Comparison, groups: Sequence[str], only_different: bool) -> str:
    """The rows of some groups; equal rows are quiet, the best of a row carries a mark and its word."""
    heads = "".join(f"<th>{escape(name)}</th>" for name in comparison.names)
    body = []
    for group in groups:
        rows = comparison.of_group(group, only_different=only_different)
        if rows:
            span = len(comparison.names) + 1
            body.append(f'<tr class="wb-group"><th colspan="{span}"><span>{escape(group)}</span></th></tr>')
            body += [row_html(row) for row in rows]
    return (
        f'<div class="wb-compare" tabindex="0"><table><thead><tr><th class="wb-fact"></th>{heads}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def row_html(row: Row) -> str:
    """One fact of every model."""
    cells = "".join(cell_html(cell.text, mark_best(row, place)) for place, cell in enumerate(row.cells))
    kind = "" if row.differs or len(row.cells) < 2 else ' class="wb-equal"'
    return f'<tr{kind}><th class="wb-fact" scope="row">{escape(name_row(row))}</th>{cells}</tr>'


def name_row(row: Row) -> str:
    """A fact with the unit that its cells leave out: 'Trained context, tokens'."""
    return f"{row.label}, tokens" if row.unit == "tokens" else row.label


def cell_html(text: str, word: str) -> str:
    """One value, with the word for a best one; a long text is folded after its first words."""
    shown = escape(roomy(text))
    if len(text) > LONGEST:
        start = text[:LONGEST].rsplit(" ", 1)[0].rstrip(",;")
        shown = f"<details><summary>{escape(roomy(start))} …</summary>{escape(roomy(text[len(start) :]))}</details>"
    return f'<td class="wb-best">{shown} <small>▲ {word}</small></td>' if word else f"<td>{shown}</td>"


def sources_html(sources: Sequence[SourceLine]) -> str:
    """The addresses of a model as a list of links; an address that is none is shown as text."""
    return f'<ul class="wb-list">{"".join(f"<li>{source_html(s)}</li>" for s in sources)}</ul>'


def source_html(source: SourceLine) -> str:
    """One source: what was read, where and when."""
    what = f"{escape(source.what)}, {escape(source.as_of)}: "
    short = escape(source.url.partition("://")[2][:90])
    if not source.url.startswith(("https://", "http://")):
        return what + escape(source.url)
    link = f'href="{escape(source.url)}" target="_blank" rel="noopener noreferrer" style="color: inherit"'
    return f"{what}<a {link}>{short}</a>"

"""A decision report as one HTML file for one A4 page: its own style, a drawn memory bar, no script, nothing loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from sizing.memory import DeviceUse
from sizing.report import MEMORY_COLUMNS, Fact, Report, ReportSource, list_memory
from sizing.units import format_bytes, format_gib

COLOURS = {"Weights": "#0072B2", "KV cache": "#E69F00", "Compute": "#009E73", "Overhead": "#8C8C8C"}
"""One colour per part, Okabe and Ito's, as everywhere in the app (https://jfly.uni-koeln.de/color/)."""
OVER = "#D55E00"

STYLE = """
@page { size: A4; margin: 9mm 12mm; }
* { box-sizing: border-box; }
html { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
body { margin: 0 auto; padding: 8mm 0; max-width: 186mm; color: #22272B; background: #fff;
  font: 7.9pt/1.3 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
@media print { body { padding: 0; max-width: none; } }
@media screen and (max-width: 190mm) { body { padding: 5mm; } }
header p { margin: 0; color: #5A636B; }
h1 { font-size: 16pt; line-height: 1.15; margin: 0.4mm 0 0.6mm; }
.summary { font-size: 10pt; font-weight: 600; margin: 0 0 1.4mm; }
h2 { font-size: 8.2pt; margin: 1.7mm 0 0.5mm; padding-top: 0.9mm; border-top: 0.25mm solid #DDE1E4; color: #2F5D8A; }
ul { margin: 0; padding-left: 3.4mm; }
li { margin: 0.1mm 0; }
table { border-collapse: collapse; width: 100%; }
td, th { padding: 0.2mm 0 0.2mm 2.4mm; text-align: right; font-weight: 400; vertical-align: top; }
td:first-child, th:first-child { padding-left: 0; text-align: left; }
th { color: #5A636B; white-space: nowrap; }
tbody tr { border-top: 0.2mm solid #EDEFF1; }
.text td, .text th { text-align: left; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.15mm 3mm; margin: 0; }
dt { color: #5A636B; } dd { margin: 0; }
.question { grid-template-columns: max-content 1fr max-content 1fr; }
.question dt.long { grid-column: 1; } .question dd.long { grid-column: 2 / -1; }
dl + table, dl + ul { margin-top: 0.6mm; }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 0 7mm; align-items: start; }
pre { margin: 0; padding: 0.8mm 2mm; background: #F4F5F6; font: 7.4pt/1.3 ui-monospace, Consolas, monospace;
  white-space: pre-wrap; }
svg { display: block; width: 100%; height: auto; margin: 0.4mm 0 0.6mm; }
.keys span { display: inline-block; margin-right: 4mm; color: #5A636B; white-space: nowrap; }
.keys svg { display: inline-block; width: 2.3mm; height: 2.3mm; margin: 0 1mm 0 0; }
.small, .small li { font-size: 6.4pt; line-height: 1.24; color: #454D54; }
.split { columns: 2; column-gap: 7mm; }
.split li { break-inside: avoid; }
.bare { list-style: none; padding: 0; }
a { color: inherit; text-decoration-color: #AAB2B9; }
footer { margin-top: 1.6mm; padding-top: 0.9mm; border-top: 0.25mm solid #DDE1E4; }
footer p { margin: 0; }
.dense { font-size: 7.2pt; line-height: 1.25; }
.dense h1 { font-size: 14pt; } .dense .summary { font-size: 9pt; margin-bottom: 1mm; }
.dense h2 { font-size: 7.6pt; margin: 1.2mm 0 0.3mm; padding-top: 0.7mm; }
.dense pre { font-size: 6.8pt; }
.dense .small, .dense .small li { font-size: 5.8pt; line-height: 1.2; }
.denser { font-size: 6.6pt; line-height: 1.2; } .denser .small, .denser .small li { font-size: 5.3pt; }
.denser h2 { margin-top: 0.7mm; padding-top: 0.5mm; } .denser td, .denser th { padding-top: 0; padding-bottom: 0; }
.denser dl { row-gap: 0; } .denser li { margin: 0; }
"""


def format_html(report: Report) -> str:
    """The whole page. Everything that is not this module's own is escaped; only http addresses become links."""
    why = "Why" if report.is_answered else "What stood in the way"
    body = [
        f"<header><p>{escape(report.occasion)}</p><h1>{escape(report.title)}</h1></header>",
        f'<p class="summary">{escape(report.summary)}.</p>',
        _section("The question", _question(report.question)),
        _section("Memory, GiB", _memory(report.devices)),
        '<div class="two"><div>',
        _section(why, _items(report.reasons)),
        _section("Speed", _facts(report.speed)),
        _section("Measured here", _items(report.measured)),
        _section("What would change this", _items(report.changes)),
        "</div><div>",
        _section("Quality", _quality(report)),
        _section("Licence", _facts(report.license) + _items(report.clauses)),
        "</div></div>",
        _section("Runners-up", _runners_up(report)),
        _section("Start it", f"<pre>{escape(report.launch)}</pre>" if report.launch else ""),
        _section("Assumed", _items(report.assumptions, "small split")),
        _section("Sources", _sources(report.sources)),
        _footer(report),
    ]
    text = "\n".join(filter(None, body))
    n = count_text(text)
    crowded = ' class="dense denser"' if n > DENSER_CHARACTERS else ' class="dense"' if n > DENSE_CHARACTERS else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(report.title)}: decision report</title>\n<style>{STYLE}</style>\n</head>\n<body{crowded}>\n"
        f"{text}\n</body>\n</html>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


DENSE_CHARACTERS, DENSER_CHARACTERS = 4_150, 5_300
"""A report with more text than this is set in smaller letters, so that it stays on one page."""


def count_text(page: str) -> int:
    """Characters of a page that are read, without its tags."""
    return len(re.sub(r"<[^>]*>", "", page))


def _question(facts: Sequence[Fact]) -> str:
    """The facts of the question, the short ones first, side by side."""
    told: list[tuple[str, str]] = []
    for name, text in facts:
        kind = "" if len(text) <= SHORT_CHARACTERS else ' class="long"'
        told.append((kind, f"<dt{kind}>{escape(name)}</dt><dd{kind}>{escape(text)}</dd>"))
    told.sort(key=lambda pair: pair[0])
    return f'<dl class="question">{"".join(row for _, row in told)}</dl>'


SHORT_CHARACTERS = 34


def _items(texts: Sequence[str], kind: str = "") -> str:
    marked = f' class="{kind}"' if kind else ""
    return f"<ul{marked}>{''.join(f'<li>{escape(t)}</li>' for t in texts)}</ul>" if texts else ""


def _facts(facts: Sequence[Fact]) -> str:
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    return f"<dl>{told}</dl>" if told else ""


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]], kind: str = "") -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    marked = f' class="{kind}"' if kind else ""
    return f"<table{marked}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _quality(report: Report) -> str:
    rows = [(s.benchmark, f"{s.score:g}", s.reporter) for s in report.scores]
    table = _table(("Benchmark", "Score", "Reported by"), rows, "text") if rows else ""
    return _facts(report.quality) + table


def _runners_up(report: Report) -> str:
    rows = [(r.name, r.verdict, r.memory, r.speed, r.quality, r.licence) for r in report.runners_up]
    return _table(("Model", "Fit", "Memory", "Speed", "Quality", "Licence"), rows, "text") if rows else ""


def _memory(devices: Sequence[DeviceUse]) -> str:
    if not devices:
        return ""
    rows = [(d.name, *map(format_gib, list_memory(d))) for d in devices]
    keys = "".join(
        f'<span><svg viewBox="0 0 10 10" aria-hidden="true"><rect width="10" height="10" fill="{colour}"/></svg>'
        f"{escape(name)}</span>"
        for name, colour in COLOURS.items()
    )
    free = '<svg viewBox="0 0 10 10" aria-hidden="true"><rect x="0.5" y="0.5" width="9" height="9" fill="none" '
    keys += f'<span>{free}stroke="#8C8C8C"/></svg>Free</span><span>line: the usable limit</span>'
    return f'{draw_memory(devices)}<div class="keys">{keys}</div>' + _table(("Device", *MEMORY_COLUMNS), rows)


LABEL_WIDTH, BAR_WIDTH, BAR_HEIGHT, ROW_HEIGHT = 210.0, 790.0, 16.0, 23.0


def draw_memory(devices: Sequence[DeviceUse]) -> str:
    """One stacked bar a device as SVG, each on its own memory: parts, what is free, a line at the usable limit."""
    told = "; ".join(
        f"{d.name}: {format_bytes(d.parts.total_bytes)} of {format_bytes(d.usable_bytes)} usable" for d in devices
    )
    size = f"{LABEL_WIDTH + BAR_WIDTH:.0f} {ROW_HEIGHT * len(devices):.0f}"
    bars = "".join(_draw_bar(device, ROW_HEIGHT * i) for i, device in enumerate(devices))
    return f'<svg viewBox="0 0 {size}" role="img" aria-label="{escape(told)}"><title>{escape(told)}</title>{bars}</svg>'


def _draw_bar(device: DeviceUse, top: float) -> str:
    """One bar with its name; what goes over the usable limit is marked under it."""
    scale = BAR_WIDTH / max(device.memory_bytes, device.parts.total_bytes, 1)
    shapes = [f'<text x="0" y="{top + 14:.1f}" font-size="13.5" fill="#22272B">{escape(device.name)}</text>']
    limit, x = LABEL_WIDTH + device.usable_bytes * scale, LABEL_WIDTH
    beyond = (device.memory_bytes - device.usable_bytes) * scale
    shapes.append(_rect(limit, top + 1, beyond, BAR_HEIGHT, 'fill="#ECEEF0"'))
    for colour, n_bytes in zip(COLOURS.values(), list_memory(device), strict=False):
        shapes.append(_rect(x, top + 1, n_bytes * scale, BAR_HEIGHT, f'fill="{colour}"'))
        x += n_bytes * scale
    outline = 'fill="none" stroke="#8C8C8C" stroke-width="1"'
    shapes.append(_rect(LABEL_WIDTH, top + 1.5, device.usable_bytes * scale, BAR_HEIGHT - 1, outline))
    if device.headroom_bytes < 0:
        shapes.append(_rect(limit, top + BAR_HEIGHT + 2, x - limit, 3, f'fill="{OVER}"'))
    shapes.append(_rect(min(limit, LABEL_WIDTH + BAR_WIDTH - 2), top, 2, BAR_HEIGHT + 4, 'fill="#22272B"'))
    return "".join(shapes)


def _rect(x: float, y: float, width: float, height: float, look: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" {look}/>'


def _sources(sources: Sequence[ReportSource]) -> str:
    told = "".join(f"<li>{escape(s.what)}, {escape(s.as_of)}: {link_html(s.url)}</li>" for s in sources)
    return f'<ul class="small split bare">{told}</ul>' if told else ""


def link_html(url: str) -> str:
    """An address as a link where it is one of the web, else as text."""
    if not url.startswith(("https://", "http://")):
        return escape(url)
    # GitHub finds a commit by the beginning of its name, and a reader of paper has less to type
    shown = re.sub(r"[0-9a-f]{40}", lambda m: m[0][:10], url.removeprefix("https://"))
    return f'<a href="{escape(url)}">{escape(shown)}</a>'


def _footer(report: Report) -> str:
    parts = [f"<p>{escape(report.made_of)}.</p>"]
    if report.link:
        parts.append(f"<p>The same question again: {link_html(report.link)}</p>")
    if report.command:
        parts.append(f"<p>In a shell: {escape(report.command)}</p>")
    return f'<footer class="small">{"".join(parts)}</footer>'

"""The decision report: what it says, that nothing in it can run or break out, and that it holds no secret."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import report as catalog_report
from catalog.candidates import list_candidates
from catalog.queries import find_machine, list_scores
from catalog.store import Catalog, open_catalog
from pages.ui import decision_report, share_link
from sizing.candidate import MeasuredHere, Needs
from sizing.recommend import Ranker, Recommendation
from sizing.report import Evidence, Occasion, Report, ReportSource, ScoreLine, build_report, list_memory
from sizing.report_html import format_html, link_html
from sizing.report_markdown import format_markdown
from sizing.units import format_gib
from sizing.workload import Workload

HARDWARE = "RTX 3090*2 + 128 GB DDR5-4800 x8ch"
NEEDS = Needs("chat", Workload(context_tokens=16384, n_parallel=2), 5.0, "commercial")
OCCASION = Occasion("2026-11-26", "2 × RTX 3090", "llama-server -m a.gguf", "http://127.0.0.1:8501/?task=chat", "run")
HOSTILE = """</title></svg><script>alert(1)</script>"'><img src=x onerror=alert(1)> | `x` [a](javascript:b)"""

VOID = {"meta", "img", "br", "hr", "link", "input", "rect"}


class Reader(HTMLParser):
    """Every element and attribute of a page, and the text; raises where elements do not close as they opened."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def read_page(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return open_catalog()


@pytest.fixture(scope="module")
def answer(catalog: Catalog) -> Recommendation:
    machine = find_machine(catalog, HARDWARE)
    return Ranker(list_candidates(catalog, NEEDS.task, NEEDS.license_use)).recommend(machine, NEEDS, sensitivity=False)


@pytest.fixture(scope="module")
def evidence(catalog: Catalog, answer: Recommendation) -> Evidence:
    return catalog_report.find_evidence(catalog, answer, find_machine(catalog, HARDWARE), NEEDS)


@pytest.fixture(scope="module")
def report(catalog: Catalog, answer: Recommendation, evidence: Evidence) -> Report:
    return build_report(answer, find_machine(catalog, HARDWARE), NEEDS, evidence, OCCASION)


def measure(model_id: str, suite: str = "arithmetic") -> MeasuredHere:
    return MeasuredHere(model_id, "Q4_K_M", suite, "Arithmetic", 120, 0.71, 0.63, 0.78, True, "2026-11-20")


def poison(report: Report) -> Report:
    """The report with hostile text wherever others' words may stand."""
    return replace(
        report,
        title=HOSTILE,
        occasion=HOSTILE,
        summary=HOSTILE,
        question=((HOSTILE, HOSTILE),),
        reasons=(HOSTILE,),
        devices=tuple(replace(d, name=HOSTILE) for d in report.devices),
        scores=(ScoreLine(HOSTILE, 1.0, HOSTILE),),
        license=((HOSTILE, HOSTILE),),
        clauses=(HOSTILE,),
        runners_up=tuple(replace(r, name=HOSTILE, licence=HOSTILE) for r in report.runners_up),
        launch=HOSTILE + "\n```\n# out",
        sources=(ReportSource(HOSTILE, "javascript:alert(1)", HOSTILE), ReportSource("x", "https://a/" + HOSTILE, "y")),
        link=HOSTILE,
        command=HOSTILE,
    )


def test_both_forms_say_the_answer_its_memory_and_its_speed(answer: Recommendation, report: Report) -> None:
    best = answer.best
    assert best is not None
    page = " ".join(read_page(format_html(report)).text)
    text = format_markdown(report).replace("\\", "")
    for told in (page, text):
        assert f"{best.name} at {best.quant}" in told
        for device in best.estimate.memory.devices:
            assert format_gib(device.parts.total_bytes) in told and format_gib(device.usable_bytes) in told
        assert "tokens/s" in told and best.candidate.license_name in told
        assert "16,384 tokens" in told and "Nothing measured here yet" in told
        assert all(option.name in told for option in answer.runners_up)
        assert "llama-server -m a.gguf" in told


def test_memory_adds_up_on_the_page(report: Report) -> None:
    for device in report.devices:
        *parts, used, usable, left = list_memory(device)
        assert sum(parts) == used and usable - used == left


def test_the_bar_is_as_long_as_the_memory_it_draws(report: Report) -> None:
    widths = re.findall(r'width="([\d.]+)" height="16.0" fill="#0072B2"', format_html(report))
    for width, device in zip(widths, report.devices, strict=True):
        share = device.parts.weight_bytes / device.memory_bytes
        assert float(width) == pytest.approx(790 * share, abs=0.06)


def test_every_score_licence_price_and_device_has_its_source(
    catalog: Catalog, answer: Recommendation, report: Report
) -> None:
    best = answer.best
    assert best is not None
    known = {source.url for source in report.sources}
    used = catalog_report.find_quality(catalog, best.candidate.spec.model_id, NEEDS.task)
    assert used is not None and {row.source_url for row in used.rows} <= known
    assert {row.source_url for row in used.rows} <= {s.source_url for s in list_scores(catalog)}
    (device,) = catalog.fetch("SELECT source_url, price_source_url FROM hardware WHERE name = 'RTX 3090'")
    assert set(device) <= known
    assert any("license" in url.lower() for url in known)
    assert len(known) == len(report.sources)
    for page in (format_html(report), format_markdown(report)):
        assert all(url in page for url in known)


def test_own_results_of_the_model_are_told_and_no_others(
    catalog: Catalog, answer: Recommendation, evidence: Evidence
) -> None:
    best = answer.best
    assert best is not None
    own = (measure(best.candidate.spec.model_id), measure("someone/else", "other"))
    made = build_report(answer, find_machine(catalog, HARDWARE), NEEDS, evidence, OCCASION, own)
    assert made.measured == ("Arithmetic: 71.0% (63 to 78), 120 items, at Q4_K_M, 2026-11-20",)


def test_nothing_that_runs_is_said_with_its_reasons(catalog: Catalog, evidence: Evidence) -> None:
    nothing = Recommendation((), (), (), ruled_out_counts=(("memory", 190), ("licence", 6)))
    made = build_report(nothing, find_machine(catalog, HARDWARE), NEEDS, replace(evidence, scores=()), OCCASION)
    assert not made.is_answered
    for told in (" ".join(read_page(format_html(made)).text), format_markdown(made)):
        assert "No recommendation for chat" in told and "190 models are ruled out by memory" in told
        assert "Runners-up" not in told and "What stood in the way" in told


def test_a_hostile_name_stays_text(report: Report) -> None:
    reader = read_page(format_html(poison(report)))
    assert "script" not in reader.tags and "img" not in reader.tags
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    links = [value for name, value in reader.attributes if name == "href"]
    assert links and all(link.startswith(("https://", "http://")) for link in links)
    assert HOSTILE in "".join(reader.text)


def test_nothing_is_loaded_and_nothing_runs(report: Report) -> None:
    page = format_html(report)
    reader = read_page(page)
    assert not {"script", "img", "iframe", "link", "object", "form"} & set(reader.tags)
    assert "@import" not in page and "url(" not in page
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in reader.attributes


def test_markdown_tables_keep_their_columns(report: Report) -> None:
    for made in (report, poison(report)):
        lines = format_markdown(made).splitlines()
        tables = [line for line in lines if line.startswith("|")]
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in tables}
        assert tables and counts <= {4, 7, 9}
        prose = re.sub(r"^(`{3,})sh\n.*?\n\1$", "", "\n".join(lines), flags=re.DOTALL | re.MULTILINE)
        assert not re.search(r"(?<!\\)<(?!https?://)", prose) and "# out" not in prose


@pytest.mark.parametrize(
    ("launch", "told"),
    [
        ("llama-server -m '/srv/ann b/x y.gguf' -c 1", "llama-server -m 'y.gguf' -c 1"),
        ("FROM /srv/ann/Qwen3.gguf\nPARAMETER num_ctx 8192", "FROM Qwen3.gguf\nPARAMETER num_ctx 8192"),
        ("llama-server -m Qwen3.gguf -c 1", "llama-server -m Qwen3.gguf -c 1"),
        ("vllm serve Qwen/Qwen3-14B --max-model-len 8192", "vllm serve Qwen/Qwen3-14B --max-model-len 8192"),
    ],
)
def test_the_command_does_not_tell_whose_folder_it_is(launch: str, told: str) -> None:
    assert decision_report.shorten_paths(launch) == told


def test_the_link_holds_the_question_and_no_secret() -> None:
    address = {"machine": "RTX 4090", "task": "code"}
    link = share_link.build_link("https://user:secret@models.example:8443/app/?token=secret#secret", address)
    assert link == "https://models.example:8443/app/?machine=RTX+4090&task=code"
    assert share_link.build_link(None, address) == ""
    assert share_link.build_link("javascript:alert(1)", address) == ""


@given(st.text())
def test_only_addresses_of_the_web_become_links(url: str) -> None:
    reader = read_page(f"<p>{link_html(url)}</p>")
    assert reader.tags == (["p", "a"] if url.startswith(("https://", "http://")) else ["p"])

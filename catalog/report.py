"""What a decision report needs from the catalog: the licence's verdict, the scores, the prices, and every source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from catalog.candidates import find_loss_model
from catalog.license_chain import judge_model
from catalog.license_rules import Verdict, make_profile
from catalog.licenses import Clause
from catalog.machines import list_price_sources
from catalog.models import ModelCard
from catalog.quality import QualityEvidence, ScoreRow
from catalog.quant_loss import estimate_quant_loss
from catalog.queries import find_model, list_quality
from catalog.store import Catalog
from sizing.candidate import Needs
from sizing.hardware import Machine
from sizing.recommend import Option, Recommendation
from sizing.report import MAX_CLAUSES, MAX_SCORES, Evidence, ReportSource, ScoreLine


def find_evidence(catalog: Catalog, answer: Recommendation, machine: Machine, needs: Needs) -> Evidence:
    """What the catalog knows of an answer: of its licence, its scores, the machine's price, and the sources of it all.

    Raises UnknownNameError for a model that left the catalog since.
    """
    prices = tuple(list_listed_prices(catalog, machine))
    best = answer.best
    if best is None:
        sources = merge_sources(_list_device_sources(catalog, machine))
        return Evidence(catalog.version.text, len(catalog.cards), prices=prices, sources=sources)
    card = find_model(catalog, best.candidate.spec.model_id)
    verdict = judge_model(catalog, card, make_profile(needs.license_use, needs.license_profile))
    return Evidence(
        catalog_version=catalog.version.text,
        n_models=len(catalog.cards),
        license_name=verdict.license_name,
        license_outcome=say_outcome(verdict, needs.license_use),
        clauses=tuple(list_clauses(verdict)),
        license_notes=tuple(list_notes(verdict)),
        scores=tuple(list_score_lines(find_quality(catalog, card.model_id, needs.task))),
        prices=prices,
        sources=merge_sources(_list_all(catalog, answer, card, best, verdict, machine, needs)),
    )


def say_outcome(verdict: Verdict, license_use: str) -> str:
    """The verdict, and that it was not asked for where any licence would do."""
    return f"{verdict.outcome} for commercial use; any licence would do" if license_use == "any" else verdict.outcome


def list_clauses(verdict: Verdict) -> Iterator[str]:
    """The clauses that decided, or those that grant where none had to; of many the first are told."""
    decided = verdict.decided
    if not decided and verdict.links and verdict.links[0].license is not None:
        grants = [c for c in verdict.links[0].license.clauses if c.effect == "grant" and c.kind == "commercial"]
        yield from (say_clause(c.says, c) for c in grants[:1])
    for finding in decided[:MAX_CLAUSES]:
        yield say_clause(finding.why, finding.clause)
    if len(decided) > MAX_CLAUSES:
        yield f"and {len(decided) - MAX_CLAUSES} more clauses of the same kind"


def say_clause(told: str, clause: Clause) -> str:
    """What a clause comes to and its words."""
    quote = f" (“{clause.quote}”)" if clause.quote else ""
    doubt = "" if clause.verified else ", not checked against the text"
    return f"{told}{quote}{doubt}"


def list_notes(verdict: Verdict) -> Iterator[str]:
    """Whose licence decided where it is not the model's own, and which limit is not reached yet."""
    if verdict.is_inherited:
        yield f"decided by {verdict.decided_by}, which it was made from"
    for clause in verdict.watch[:1]:
        yield f"not reached yet: {clause.says}"


def find_quality(catalog: Catalog, model_id: str, task: str) -> QualityEvidence | None:
    """The published evidence of one model for a task, None where there is none."""
    return next((e for e in list_quality(catalog, task) if e.model_id == model_id), None)


def list_score_lines(evidence: QualityEvidence | None) -> Iterator[ScoreLine]:
    """The scores behind the evidence, those that pull most first."""
    if evidence is None:
        return
    pairs = sorted(zip(evidence.rows, evidence.pulls, strict=True), key=lambda pair: -abs(pair[1]))
    for row, _ in pairs[:MAX_SCORES]:
        whose = "independent" if row.independent else "the publisher"
        yield ScoreLine(name_benchmark(row), row.score, f"{row.reported_by}, {whose}, {row.as_of}")


def name_benchmark(row: ScoreRow) -> str:
    """A benchmark with its variant."""
    return " ".join(filter(None, (row.benchmark, row.variant)))


def list_listed_prices(catalog: Catalog, machine: Machine) -> Iterator[str]:
    """What the machine's devices were listed at, each kind once."""
    known = list_price_sources(catalog)
    devices = (machine.host, *machine.accelerators)
    for device in dict.fromkeys(d for d in devices if d.price_usd is not None and d.name in known):
        each = " each" if devices.count(device) > 1 else ""
        launched = known[device.name].year
        since = f", launched {launched}" if launched else ""
        yield f"{device.name} US${device.price_usd:,}{each} ({known[device.name].as_of}{since})"


def merge_sources(sources: Iterable[ReportSource]) -> tuple[ReportSource, ...]:
    """Each address once, with everything that was read there and the newest day."""
    found: dict[str, list[ReportSource]] = {}
    for source in sources:
        if source.url:
            found.setdefault(source.url, []).append(source)
    return tuple(
        ReportSource(", ".join(dict.fromkeys(s.what for s in same)), url, max(s.as_of for s in same))
        for url, same in found.items()
    )


def _list_all(
    catalog: Catalog,
    answer: Recommendation,
    card: ModelCard,
    best: Option,
    verdict: Verdict,
    machine: Machine,
    needs: Needs,
) -> Iterator[ReportSource]:
    """Every address behind the report: facts, licence, scores, loss, weights, devices, then the runners-up's."""
    yield from (ReportSource(f"facts of {card.name}", url, card.as_of) for url in card.sources)
    for link in verdict.links:
        if link.license is not None:
            yield ReportSource(link.license.name, link.license.url, link.license.as_of)
    for finding in verdict.decided[:MAX_CLAUSES]:
        yield ReportSource(f"clause of {finding.license_name}", finding.clause.source_url, finding.clause.as_of)
    yield from _list_score_sources(find_quality(catalog, card.model_id, needs.task), best.name)
    loss = estimate_quant_loss(
        find_loss_model(catalog.data_dir), best.quant, card.model_id, card.family, card.quant_native
    )
    yield from (ReportSource(f"what {best.quant} costs", r.source_url, r.as_of) for r in (loss.rows if loss else ()))
    for url, as_of in catalog.fetch(
        "SELECT source_url, as_of FROM weights WHERE model_id = ? AND quant = ?", [card.model_id, best.quant]
    ):
        yield ReportSource("bytes of the weights", url, as_of)
    yield from _list_device_sources(catalog, machine)
    for option in answer.runners_up:
        evidence = find_quality(catalog, option.candidate.spec.model_id, needs.task)
        yield from _list_score_sources(evidence, option.name)


def _list_score_sources(evidence: QualityEvidence | None, name: str) -> Iterator[ReportSource]:
    for row in evidence.rows if evidence else ():
        yield ReportSource(f"scores of {name}", row.source_url, row.as_of)


def _list_device_sources(catalog: Catalog, machine: Machine) -> Iterator[ReportSource]:
    """Where the machine's listed devices and their prices were read; one described by hand has no source."""
    for name in dict.fromkeys(d.name for d in (*machine.accelerators, machine.host)):
        for url, as_of, price_url in catalog.fetch(
            "SELECT source_url, as_of, price_source_url FROM hardware WHERE name = ?", [name]
        ):
            yield ReportSource(name, url, as_of)
            if price_url:
                yield ReportSource(f"price of {name}", price_url, as_of)

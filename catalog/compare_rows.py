"""The rows of a comparison: each fact of every model as a reader sees it, with the number behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from catalog.compare import Compared, CompareQuestion, LicenseWord, find_score_interval
from catalog.file_sizes import list_labels
from catalog.models import ModelCard
from catalog.quality import ScoreRow
from sizing.compare import Better, Cell, Comparison, Row, SourceLine
from sizing.estimate import Estimate
from sizing.layer_strip import say_experts, say_heads, say_kinds, say_kv_heads
from sizing.quants import QUANTS
from sizing.recommend import TASKS
from sizing.throughput import Interval, SpeedEstimate
from sizing.units import THIN, format_bytes, format_figures, format_params, format_range, format_tokens

UNKNOWN = "unknown"
MODEL, TERMS = "The model", "Terms"
QUALITY = "Quality from published scores, 0 to 100"
RUNS = "On the machine"
SCORES, LONE_SCORES = "Published scores", "Published scores of one model alone"
FILES = "Real file sizes"
VERDICT = {"commercial": "For commercial use", "research": "For research use", "any": "For a use that was not named"}

Judge = Callable[[Compared], LicenseWord]


def build_comparison(models: Sequence[Compared], question: CompareQuestion, judge: Judge) -> Comparison:
    """All rows, assumptions and sources; `judge` says what a licence means for the person's use."""
    rows = (
        *_model_rows(models),
        *_term_rows(models, question, judge),
        *_quality_rows(models),
        *_machine_rows(models),
        *_score_rows(models),
        *_file_rows(models),
    )
    return Comparison(
        model_ids=tuple(m.card.model_id for m in models),
        names=name_apart([m.card for m in models]),
        rows=rows,
        assumptions=_list_assumptions(models, question),
        sources=_list_sources(models),
    )


def name_apart(cards: Sequence[ModelCard]) -> tuple[str, ...]:
    """The names of models, with the repository where two have one name."""
    names = [c.name for c in cards]
    return tuple(c.name if names.count(c.name) == 1 else f"{c.name} ({c.model_id})" for c in cards)


def _row(
    group: str,
    label: str,
    models: Sequence[Compared],
    cell: Callable[[Compared], Cell],
    unit: str = "",
    better: Better | None = None,
) -> Row:
    return Row(group, label, tuple(cell(m) for m in models), unit, better)


def _words(text: Callable[[ModelCard], str]) -> Callable[[Compared], Cell]:
    return lambda m: Cell(text(m.card) or UNKNOWN)


def _count(value: Callable[[ModelCard], int], say: Callable[[int], str] = format_tokens) -> Callable[[Compared], Cell]:
    return lambda m: Cell(say(value(m.card)), value(m.card))


def _model_rows(models: Sequence[Compared]) -> Iterator[Row]:
    def row(label: str, cell: Callable[[Compared], Cell], unit: str = "", better: Better | None = None) -> Row:
        return _row(MODEL, label, models, cell, unit, better)

    yield row("Parameters", _count(lambda c: c.spec.n_params, format_params), "parameters")
    yield row("Active for each token", _count(lambda c: c.spec.n_active_params, format_params), "parameters")
    yield row("Trained context", _count(lambda c: c.spec.context_tokens), "tokens", "more")
    yield row("Layers", _count(lambda c: c.spec.n_layers), "layers")
    yield row("Layers by kind", _words(lambda c: say_kinds(c.spec)))
    yield row("Heads", _words(lambda c: say_heads(c.spec)))
    yield row("KV heads", _words(lambda c: say_kv_heads(c.spec)))
    yield row("Experts", _words(lambda c: say_experts(c.spec)))
    yield row("Width", _count(lambda c: c.spec.hidden_dim), "elements")
    yield row("Vocabulary", _count(lambda c: c.spec.vocab_size), "entries")
    yield row("Architecture in llama.cpp", _words(lambda c: c.spec.architecture))
    yield row("Reads and makes", _words(lambda c: ", ".join(c.modalities)))
    yield row("Made for", _words(lambda c: ", ".join(c.tasks)))
    growth = "KV cache for 1,024 more tokens, windows full"
    yield row(growth, lambda m: Cell(format_bytes(m.kv_growth_bytes), m.kv_growth_bytes), "bytes", "less")


def _term_rows(models: Sequence[Compared], question: CompareQuestion, judge: Judge) -> Iterator[Row]:
    def row(label: str, cell: Callable[[Compared], Cell]) -> Row:
        return _row(TERMS, label, models, cell)

    gated = {True: "yes, accept the terms first", False: "no", None: UNKNOWN}
    yield row("Licence", lambda m: Cell(m.license.name))
    yield row(VERDICT[question.needs.license_use], lambda m: Cell(judge(m).word))
    yield row("Its reason and duties", lambda m: Cell(judge(m).reason))
    yield row("Openness", _words(lambda c: c.openness))
    yield row("Gated download", _words(lambda c: gated[c.gated]))
    yield row("Released", _words(lambda c: c.release))
    yield row("Publisher", _words(lambda c: c.org))
    yield row("Published in", _words(lambda c: c.quant_native or "16 bit, nothing else stated"))
    yield row("Facts", _words(lambda c: "read at a source" if c.confidence == "read" else "partly unverified"))


def _quality_rows(models: Sequence[Compared]) -> Iterator[Row]:
    for place, task in enumerate(TASKS):

        def cell(m: Compared, place: int = place) -> Cell:
            found = m.quality[place]
            if found is None:
                return Cell("no published score")
            scores = "1 score" if found.n_scores == 1 else f"{found.n_scores} scores"
            text = f"{format_figures(found.score)} ({format_range(found.low, found.high)}), {scores}"
            return Cell(text, found.score, found.low, found.high)

        yield _row(QUALITY, task.upper() if task == "rag" else task.capitalize(), models, cell, "points", "more")


def _machine_rows(models: Sequence[Compared]) -> Iterator[Row]:
    def row(label: str, cell: Callable[[Estimate], Cell], unit: str = "", better: Better | None = None) -> Row:
        return _row(RUNS, label, models, lambda m: cell(m.estimate) if m.estimate else Cell("not sized"), unit, better)

    def size(value: Callable[[Estimate], int]) -> Callable[[Estimate], Cell]:
        return lambda e: Cell(format_bytes(value(e)) if value(e) else "none", value(e))

    yield _row(RUNS, "Quantization", models, lambda m: Cell(m.quant or "none"))
    yield _row(RUNS, "Fit", models, _fit)
    yield row("Memory in all", size(lambda e: e.memory.total_bytes), "bytes", "less")
    yield row("of it weights", size(lambda e: e.memory.parts.weight_bytes), "bytes")
    yield row("of it KV cache", size(lambda e: e.memory.parts.kv_cache_bytes), "bytes", "less")
    if any(m.estimate and m.estimate.memory.parts.recurrent_state_bytes for m in models):
        yield row("of it recurrent state", size(lambda e: e.memory.parts.recurrent_state_bytes), "bytes")
    yield row(
        "of it compute and output",
        size(lambda e: e.memory.parts.compute_bytes + e.memory.parts.output_bytes),
        "bytes",
    )
    yield row("Speed of each user", _interval(lambda s: s.decode_tokens_per_s, "tokens/s"), "tokens/s", "more")
    yield row("Reading a full prompt", _interval(lambda s: s.prefill_tokens_per_s, "tokens/s"), "tokens/s", "more")
    first = _interval(lambda s: s.time_to_first_token_s, "s")
    yield row("First token after a full prompt", first, "seconds", "less")
    yield _row(RUNS, "Quantization loss, points of score", models, _loss, "points", "less")
    yield _row(RUNS, "Longest context that runs", models, _longest, "tokens", "more")


def _fit(m: Compared) -> Cell:
    if m.estimate is None:
        return Cell(m.refusal)
    reasons = m.estimate.fit.reasons
    return Cell(f"{m.estimate.fit.verdict}: {reasons[0]}" if reasons else str(m.estimate.fit.verdict))


def _interval(pick: Callable[[SpeedEstimate], Interval | None], unit: str) -> Callable[[Estimate], Cell]:
    """An interval of the speed estimate as a cell; why there is none, where there is none."""

    def cell(e: Estimate) -> Cell:
        if not e.fit.runs:
            return Cell("does not run")
        found = pick(e.speed) if e.speed else None
        if found is None:
            return Cell(UNKNOWN)
        low, high = sorted((found.low, found.high))
        return Cell(f"{format_range(low, high)}{THIN}{unit}", found.mid, low, high)

    return cell


def _loss(m: Compared) -> Cell:
    if m.estimate is None:
        return Cell("not sized")
    if m.loss is None:
        return Cell(UNKNOWN)
    high = m.loss.points if m.loss.high is None else m.loss.high
    text = f"{format_range(m.loss.points, high)}, {m.loss.label}"
    return Cell(text, m.loss.points, m.loss.points, high)


def _longest(m: Compared) -> Cell:
    if m.estimate is None:
        return Cell("not sized")
    if m.largest_context_tokens is None:
        return Cell("none")
    whole = ", all it was trained for" if m.largest_context_tokens >= m.card.spec.context_tokens else ""
    return Cell(f"{format_tokens(m.largest_context_tokens)}{whole}", m.largest_context_tokens)


def _score_rows(models: Sequence[Compared]) -> Iterator[Row]:
    """A row a benchmark, those that most models have first; what one model alone has comes last."""
    keys = {(s.benchmark, s.variant) for m in models for s in m.scores}
    n_having = {k: sum(any((s.benchmark, s.variant) == k for s in m.scores) for m in models) for k in keys}
    for key in sorted(keys, key=lambda k: (n_having[k] < 2, -n_having[k], k)):
        found = [tuple(s for s in m.scores if (s.benchmark, s.variant) == key) for m in models]
        group = SCORES if n_having[key] > 1 else LONE_SCORES
        yield Row(
            group,
            " ".join(filter(None, key)),
            tuple(_score(scores) for scores in found),
            "points",
            "more" if can_compare([s for scores in found for s in scores], len(models)) else None,
        )


def can_compare(scores: Sequence[ScoreRow], n_models: int) -> bool:
    """Whether scores of one benchmark tell which model is better.

    They do where one party reported them all by one metric in one mode, and no model has two.
    """
    alike = len({(s.reported_by, s.metric, s.mode) for s in scores}) == 1
    return alike and len({s.model_id for s in scores}) == len(scores) <= n_models


def _score(scores: Sequence[ScoreRow]) -> Cell:
    """One model's scores of one benchmark with who reported them; a number only where there is one."""
    if not scores:
        return Cell("none published")
    told = "; ".join(_say_score(s) for s in scores)
    if len(scores) > 1:
        return Cell(told)
    interval = find_score_interval(scores[0])
    return Cell(told, scores[0].score, interval.low if interval else None, interval.high if interval else None)


def _say_score(score: ScoreRow) -> str:
    interval = find_score_interval(score)
    ends = f" ({format_range(interval.low, interval.high)})" if interval else ""
    by = score.reported_by if score.independent else f"{score.reported_by}, its publisher"
    mode = f", {score.mode}" if score.mode else ""
    return f"{format_figures(score.score)}{ends} by {by}{mode}"


def _file_rows(models: Sequence[Compared]) -> Iterator[Row]:
    """A row a quantization that some file is in, the largest recipe first, other labels after them by name."""
    order = {name: i for i, name in enumerate(QUANTS)}
    labels = {label for m in models for label in list_labels(m.files)}
    for label in sorted(labels, key=lambda q: (order.get(q, len(order)), q)):

        def cell(m: Compared, label: str = label) -> Cell:
            files = [f for f in m.files if f.quant == label]
            if not files:
                return Cell("no file known")
            told = "; ".join(f"{format_bytes(f.size_bytes)} by {f.publisher}" for f in files)
            return Cell(told, files[0].size_bytes if len(files) == 1 else None)

        yield _row(FILES, label, models, cell, "bytes")


def _list_assumptions(models: Sequence[Compared], question: CompareQuestion) -> tuple[str, ...]:
    """What the figures take for granted; what only some models' figures do is said with their names."""
    by_text: dict[str, list[str]] = {}
    for m in models:
        for text in m.estimate.memory.assumptions if m.estimate else ():
            by_text.setdefault(text, []).append(m.card.name)
    n_sized = sum(m.estimate is not None for m in models)
    shared = [text for text, names in by_text.items() if len(names) == n_sized]
    own = sorted(f"{', '.join(sorted(names))}: {text}" for text, names in by_text.items() if len(names) < n_sized)
    chosen = (
        "each in the quantization that the ranking would pick for it here, the smallest where none runs"
        if question.quant is None
        else f"all in {question.quant}"
    )
    return (
        f"figures are for {question.machine.name}, {chosen}",
        *shared,
        *own,
        "KV cache for 1,024 more tokens: past the trained context, for one user, in f16",
        "quality is the mean score a model would be expected to reach over a task's benchmarks, with 80% intervals",
        "best is marked only where one way is better, and for every value whose interval reaches the best one's",
        "scores are marked only where one party reported all of them by one metric",
        "a licence's verdict is a summary to choose by, not legal advice",
    )


def _list_sources(models: Sequence[Compared]) -> tuple[SourceLine, ...]:
    """Every address behind the rows, by model: facts, licence, scores, files."""
    lines: list[SourceLine] = []
    for m in models:
        name = m.card.name
        lines += [SourceLine(name, "facts", url, m.card.as_of) for url in m.card.sources]
        lines.append(SourceLine(name, "licence", m.license.url, m.license.as_of))
        lines += [SourceLine(name, f"score by {s.reported_by}", s.source_url, s.as_of) for s in m.scores]
        lines += [SourceLine(name, "file sizes", f.source_url, f.as_of) for f in m.files if f.source_url]
    return tuple(dict.fromkeys(lines))

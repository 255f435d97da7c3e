"""What is known about a model's quality: published scores per task, brought to one scale with their uncertainty.

Nothing here is invented: a model without a published score for a task has no evidence for it. Which benchmark speaks
for which task, and why, is `BENCHMARKS`; the statistics behind the scale are in `sizing.evidence`.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalog.models import ModelCard
from sizing.errors import DataFileError
from sizing.evidence import EvidencePrior, Score, Traits, rate_tasks
from sizing.recommend import TASKS

DATA_DIR = Path(__file__).parent / "data"
MODES = ("", "thinking", "non-thinking")


@dataclass(frozen=True, slots=True)
class BenchmarkUse:
    """A benchmark, the tasks it speaks for, and why."""

    benchmark: str
    tasks: tuple[str, ...]
    why: str


_PREFERENCE = "people or a judge model compare open-ended answers"
_INSTRUCTIONS = "whether stated constraints on the answer are kept"
_CODE = "programs are run against tests"
_REPOSITORY = "changes to real repositories must pass their tests"
_MATH = "final answers of mathematics problems are checked"
_KNOWLEDGE = "hard questions that need knowledge and several steps"
_LANGUAGES = "the same kind of question in many languages"
_PICTURES = "questions about pictures, charts or documents"
_GROUNDED = "answers must come from the text given, or from a long one"
_TOOLS = "the right function is called with the right arguments, which retrieval pipelines rest on"


def _uses(names: str, tasks: tuple[str, ...], why: str) -> dict[str, BenchmarkUse]:
    return {name: BenchmarkUse(name, tasks, why) for name in names.split("; ")}


BENCHMARKS: dict[str, BenchmarkUse] = {
    **_uses(
        "LMArena Text; Arena-Hard; AlpacaEval 2.0; MT-Bench; WildBench; AlignBench; Creative Writing v3; WritingBench",
        ("chat",),
        _PREFERENCE,
    ),
    **_uses("LMArena Coding", ("code",), _PREFERENCE),
    **_uses("LMArena Math", ("math",), _PREFERENCE),
    **_uses("IFEval", ("chat", "rag"), _INSTRUCTIONS),
    **_uses("Multi-IF", ("chat", "multilingual"), _INSTRUCTIONS),
    **_uses(
        "HumanEval; HumanEval+; HumanEval-Mul; MBPP; MBPP+; LiveCodeBench; MultiPL-E; BigCodeBench; OJBench; SciCode; "
        "Natural2Code; Bird-SQL",
        ("code",),
        _CODE,
    ),
    **_uses(
        "Aider code editing; Aider polyglot; SWE-bench Verified; SWE-bench Multilingual; Terminal-Bench",
        ("code",),
        _REPOSITORY,
    ),
    **_uses("GSM8K; MATH; MATH-500; AIME 2024; AIME 2025; AIME 2026; HMMT 2025; HiddenMath", ("math",), _MATH),
    **_uses("PolyMATH", ("math", "multilingual"), _LANGUAGES),
    **_uses("MGSM", ("math", "multilingual"), _LANGUAGES),
    **_uses(
        "GPQA; GPQA Diamond; SuperGPQA; Humanity's Last Exam; BBH; BBEH; MuSR; ZebraLogic; ARC-C",
        ("reasoning",),
        _KNOWLEDGE,
    ),
    **_uses("MMLU; MMLU-Pro; MMLU-Redux; LiveBench", ("chat", "reasoning"), _KNOWLEDGE),
    **_uses(
        "AA Intelligence Index",
        ("chat", "code", "math", "reasoning"),
        "one index over knowledge, reasoning, mathematics, code and tool use, run by one party on all models",
    ),
    **_uses(
        "C-Eval; CMMLU; MMMLU; MMLU-ProX; Global-MMLU; Global-MMLU-Lite; INCLUDE; WMT24++; EuroEval European",
        ("multilingual",),
        _LANGUAGES,
    ),
    **_uses(
        "MMMU; MMMU-Pro; MathVista; MathVision; ChartQA; DocVQA; InfoVQA; TextVQA; AI2D; OCRBench; MMBench; MMVet; "
        "MTVQA; VQAv2",
        ("vision",),
        _PICTURES,
    ),
    **_uses(
        "Vectara factual consistency; RULER; LongBench v2; InfiniteBench; Needle in a haystack; FACTS Grounding; "
        "FRAMES; DROP",
        ("rag",),
        _GROUNDED,
    ),
    **_uses(
        "BFCL; Nexus; tau-bench retail; tau-bench airline; tau2-bench retail; tau2-bench airline; tau2-bench telecom; "
        "tau2-bench average",
        ("rag",),
        _TOOLS,
    ),
}
"""Benchmarks that count. Those of the data file that are not here (HellaSwag, Winogrande, TruthfulQA, SimpleQA) are
shown but do not count: they are saturated, or measure memory of facts rather than a task of this list."""


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One published score as its source tells it. `score` is 0..100; `independent`: not from the model's publisher.

    `mode` is 'thinking' or 'non-thinking' for models that can do both, empty otherwise.
    """

    model_id: str
    benchmark: str
    score: float
    reported_by: str
    independent: bool
    source_url: str
    as_of: str
    variant: str = ""
    mode: str = ""
    setting: str = ""
    metric: str = ""
    source_note: str = ""


@dataclass(frozen=True, slots=True)
class QualityEvidence:
    """What published scores say about a model in a task: latent score 0..100, 80% interval, and the rows behind it.

    The score is the mean score the model would be expected to reach over the task's benchmarks, run independently.
    `pulls` are, row by row, the points by which the score would fall without that row (negative: rise).
    """

    model_id: str
    task: str
    score: float
    low: float
    high: float
    n_scores: int
    n_independent: int
    rows: tuple[ScoreRow, ...]
    pulls: tuple[float, ...] = ()


def load_scores(path: Path | None = None) -> tuple[ScoreRow, ...]:
    """The rows of `benchmarks.csv`. Raises DataFileError, with the line, for a row that breaks its own rules."""
    file = path or DATA_DIR / "benchmarks.csv"
    rows: list[ScoreRow] = []
    with file.open(encoding="utf-8", newline="") as text:
        reader = csv.DictReader(text)
        try:
            for cells in reader:
                rows.append(_read_row(cells, str(file), reader.line_num))
        except (KeyError, csv.Error) as error:
            raise DataFileError(str(file), reader.line_num, f"column or quoting is wrong: {error}") from error
    return tuple(rows)


def _read_row(cells: dict[str, str], file: str, line: int) -> ScoreRow:
    try:
        score = float(cells["score"])
    except ValueError:
        raise DataFileError(file, line, f"score wants a number, got {cells['score']!r}") from None
    if not 0 <= score <= 100:
        raise DataFileError(file, line, f"score wants 0..100, got {score!r}")
    if cells["mode"] not in MODES:
        raise DataFileError(file, line, f"mode wants one of {', '.join(map(repr, MODES))}, got {cells['mode']!r}")
    if cells["independent"] not in ("true", "false"):
        raise DataFileError(file, line, f"independent wants true or false, got {cells['independent']!r}")
    for column in ("model_id", "benchmark", "reported_by", "source_url", "as_of"):
        if not cells[column]:
            raise DataFileError(file, line, f"{column} is empty; every row must say it")
    return ScoreRow(
        model_id=cells["model_id"],
        benchmark=cells["benchmark"],
        score=score,
        reported_by=cells["reported_by"],
        independent=cells["independent"] == "true",
        source_url=cells["source_url"],
        as_of=cells["as_of"],
        variant=cells["variant"],
        mode=cells["mode"],
        setting=cells["setting"],
        metric=cells["metric"],
        source_note=cells["source_note"],
    )


def to_score(row: ScoreRow) -> Score | None:
    """The row as the rating takes it; None for a benchmark that counts for no task."""
    use = BENCHMARKS.get(row.benchmark)
    if use is None:
        return None
    item = f"{row.benchmark} {row.variant}".strip()
    return Score(row.model_id, item, use.tasks, row.score, not row.independent, row.mode == "non-thinking")


def list_traits(cards: Iterable[ModelCard]) -> Traits:
    """What a model's general ability goes with: doublings of its parameters, of its active ones, and its year.

    A model whose release is unknown has none; it is then compared with the mean of all.
    """
    return {
        card.model_id: (math.log2(card.spec.n_params), math.log2(card.spec.n_active_params), year)
        for card in cards
        if (year := _read_year(card.release)) is not None
    }


def _read_year(release: str | None) -> float | None:
    """'2025-07' or '2025-07-30' as a year with its months as a fraction; the middle of '2025'; None for no date."""
    year, _, rest = (release or "").partition("-")
    month = rest[:2]
    if not year.isdecimal():
        return None
    return int(year) + ((int(month) - 1) / 12 if month.isdecimal() else 0.5)


def rate_models(
    rows: Sequence[ScoreRow], prior: EvidencePrior | None = None, traits: Traits | None = None
) -> dict[str, tuple[QualityEvidence, ...]]:
    """Evidence per task, best first, from all rows at once (abilities of one task lend weight to the others).

    Takes about a second for a thousand rows; callers keep the answer.
    """
    kept = [(row, score) for row in rows if (score := to_score(row)) is not None]
    behind: defaultdict[tuple[str, str], list[ScoreRow]] = defaultdict(list)
    for row, score in kept:
        for task in score.tasks:
            behind[row.model_id, task].append(row)
    found: dict[str, list[QualityEvidence]] = {task: [] for task in TASKS}
    for rating in rate_tasks([score for _, score in kept], TASKS, prior, traits):
        own = tuple(behind[rating.model, rating.task])
        found[rating.task].append(
            QualityEvidence(
                model_id=rating.model,
                task=rating.task,
                score=rating.score,
                low=rating.low,
                high=rating.high,
                n_scores=len(own),
                n_independent=sum(row.independent for row in own),
                rows=own,
                pulls=rating.pulls,
            )
        )
    return {task: tuple(sorted(evidence, key=lambda e: -e.score)) for task, evidence in found.items()}

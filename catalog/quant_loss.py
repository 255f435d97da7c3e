"""What a quantization costs in quality, from published measurements against 16 bit.

Measurements come in three kinds: divergence of the token probabilities, ratio of perplexities, and benchmark scores.
They are brought to one unit, points of score: on the one pair of models where the same files have both a divergence
and a benchmark, points are proportional to the divergence up to about half a nat (`fit_points_per_nat`).

Models differ in how much they lose and measurements cover few quantizations each, so the loss is explained as
`log(points) = quantization + model`, and a model takes a share of the part of its measured relatives.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sizing.errors import DataFileError
from sizing.evidence import Z_80
from sizing.formats import FORMATS
from sizing.quants import QUANTS

DATA_DIR = Path(__file__).parent / "data"

DIVERGENCE_MODEL, BENCHMARK_MODEL = "Llama 3 8B", "Llama 3 8B Instruct"
"""The base model's divergences and its chat version's MMLU scores: the one pair that shares 21 quantizations."""
YARDSTICK = "MMLU"
"""The benchmark whose points a loss is given in."""
NEAR_ZERO_POINTS = 0.02
"""Losses below this are noise of the measurement; they are held here so that logarithms stay finite."""
RELATIVES = {"Llama 3": ("Llama 3.1", "Llama 3.2", "Llama 3.3"), "Qwen3": ("Qwen3-Coder",)}
"""Families of the same architecture and training lineage as a measured one, though of another name."""


OTHER_FORMATS = frozenset(FORMATS) - frozenset(QUANTS)
"""Weight formats of engines that do not read GGUF."""

RELATIVES_SHRINKAGE = 2
"""A family's part is taken by n / (n + 2) of its n measured models, as a model's is of its quantizations: the measured
relatives of one family (8B and 70B of Llama 3, two 27B of Qwen) differ as much as models of different families."""


@dataclass(frozen=True, slots=True)
class QuantRow:
    """One published measurement of a quantization. Absent measurements are None.

    `perplexity_ratio` and `kl_divergence` (mean, in nats) are against the 16-bit model; `benchmark_base` is its score.
    """

    model: str
    family: str
    quant: str
    source_url: str
    as_of: str
    model_id: str = ""
    imatrix: str = ""
    test: str = ""
    perplexity_ratio: float | None = None
    kl_divergence: float | None = None
    same_top_percent: float | None = None
    benchmark: str = ""
    benchmark_score: float | None = None
    benchmark_base: float | None = None
    kv_type_k: str = "f16"
    kv_type_v: str = "f16"
    source_note: str = ""


@dataclass(frozen=True, slots=True)
class QuantLossEstimate:
    """Points of score (0..100) a quantization is expected to cost, and the measurements it rests on.

    `label` is 'same model', 'same family' or 'generic': whose measurements of this quantization `rows` are.
    `low` and `high` are an 80% interval: of the noise alone where this very model was measured, else of the spread
    between models too.
    `same_top_percent` is the median share of tokens
    whose most probable choice is unchanged, `perplexity_ratio` the median ratio, both over `rows`.
    """

    quant: str
    label: str
    points: float
    low: float
    high: float
    same_top_percent: float | None
    perplexity_ratio: float | None
    n_models: int
    rows: tuple[QuantRow, ...]


@dataclass(frozen=True, slots=True)
class PublishedLoss:
    """One published figure of a quantization against 16 bit, and how near its model is to the one asked about.

    `label` as in `QuantLossEstimate`; `metric` is 'perplexity_ratio', 'kl_divergence' (mean, nats) or
    'same_top_percent'; `test` is the text it was measured on.
    """

    label: str
    metric: str
    value: float
    model: str
    quant: str
    test: str
    imatrix: str
    source_url: str
    as_of: str


@dataclass(frozen=True, slots=True)
class LossModel:
    """`log(points)` of every measured quantization, of every measured model what it adds, and the noise around both.

    `noise` is the standard deviation of log(points) that the two parts leave unexplained, `spread` that of the models'
    parts.
    """

    rows: tuple[QuantRow, ...]
    points_per_nat: float
    quant_part: Mapping[str, float]
    model_part: Mapping[str, float]
    noise: float
    spread: float


def load_quant_rows(path: Path | None = None) -> tuple[QuantRow, ...]:
    """The rows of `quant_quality.csv`. Raises DataFileError, with the line, for a row that breaks its own rules."""
    file = path or DATA_DIR / "quant_quality.csv"
    rows: list[QuantRow] = []
    with file.open(encoding="utf-8", newline="") as text:
        reader = csv.DictReader(text)
        for cells in reader:
            line = reader.line_num
            try:
                row = QuantRow(
                    model=cells["model"],
                    family=cells["family"],
                    quant=cells["quant"],
                    source_url=cells["source_url"],
                    as_of=cells["as_of"],
                    model_id=cells["model_id"],
                    imatrix=cells["imatrix"],
                    test=cells["test"],
                    perplexity_ratio=_read_number(cells["perplexity_ratio"]),
                    kl_divergence=_read_number(cells["kl_divergence"]),
                    same_top_percent=_read_number(cells["same_top_percent"]),
                    benchmark=cells["benchmark"],
                    benchmark_score=_read_number(cells["benchmark_score"]),
                    benchmark_base=_read_number(cells["benchmark_base"]),
                    kv_type_k=cells["kv_type_k"],
                    kv_type_v=cells["kv_type_v"],
                    source_note=cells["source_note"],
                )
            except KeyError as error:
                raise DataFileError(str(file), 1, f"wanted a column {error}; restore the header") from error
            except ValueError as error:
                raise DataFileError(str(file), line, f"a measurement wants a number: {error}") from error
            if not (row.model and row.quant and row.source_url and row.as_of):
                raise DataFileError(str(file), line, "model, quant, source_url and as_of must be filled")
            if row.kl_divergence is None and row.perplexity_ratio is None and row.benchmark_score is None:
                raise DataFileError(str(file), line, "wanted a divergence, a perplexity ratio or a score, got none")
            rows.append(row)
    return tuple(rows)


def _read_number(text: str) -> float | None:
    return float(text) if text else None


def fit_points_per_nat(rows: Sequence[QuantRow]) -> float:
    """MMLU points lost per nat of divergence, least squares through the origin on the pair of models that has both.

    Divergences above 0.6 nat are left out: there the score nears guessing and falls no further. Importance-matrix
    rows are preferred, as the benchmarked files were made with one. Raises DataFileError where no row matches.
    """
    nats: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    for row in rows:
        if row.model == DIVERGENCE_MODEL and row.kl_divergence is not None and _is_weights_only(row):
            nats[row.quant].append((bool(row.imatrix), row.kl_divergence))
    pairs: list[tuple[float, float]] = []
    for row in rows:
        if row.model == BENCHMARK_MODEL and row.benchmark_score is not None and row.benchmark_base is not None:
            known = nats.get(row.quant, [])
            chosen = [d for made, d in known if made] or [d for _, d in known]
            if chosen and median(chosen) <= 0.6:
                pairs.append((median(chosen), row.benchmark_base - row.benchmark_score))
    if not pairs:
        raise DataFileError("quant_quality.csv", 1, f"no quantization has rows of {BENCHMARK_MODEL} and a divergence")
    return sum(d * p for d, p in pairs) / sum(d * d for d, _ in pairs)


def _is_weights_only(row: QuantRow) -> bool:
    return row.kv_type_k == "f16" and row.kv_type_v == "f16"


def _to_points(row: QuantRow, points_per_nat: float) -> float:
    if row.benchmark_score is not None and row.benchmark_base is not None:
        return max(NEAR_ZERO_POINTS, row.benchmark_base - row.benchmark_score)
    if row.kl_divergence is not None:
        return max(NEAR_ZERO_POINTS, points_per_nat * row.kl_divergence)
    ratio = row.perplexity_ratio or 1.0
    return max(NEAR_ZERO_POINTS, points_per_nat * math.log(ratio))


def list_studied_models(rows: Iterable[QuantRow]) -> frozenset[str]:
    """Models whose quantizations were run on benchmarks other than MMLU too."""
    of_gguf = (row for row in rows if row.quant not in OTHER_FORMATS)
    return frozenset(row.model for row in of_gguf if row.benchmark and row.benchmark != YARDSTICK)


def fit_losses(rows: Sequence[QuantRow]) -> LossModel:
    """Explain all measurements on weights at once: one part per quantization, one per model, in turns.

    A model's part is shrunk by n / (n + 2) over its n quantizations, so that one odd measurement decides nothing.
    Models of `list_studied_models` are left out: their scores differ by less than their own noise at four bits, and
    say how tasks differ (`catalog.quant_tasks`). Formats that are not GGUF share no model with these and are told
    apart (`catalog.format_loss`).
    """
    studied = list_studied_models(rows)
    kept = tuple(
        row for row in rows if _is_weights_only(row) and row.model not in studied and row.quant not in OTHER_FORMATS
    )
    rate = fit_points_per_nat(rows)
    cells: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in kept:
        cells[row.quant, row.model].append(math.log(_to_points(row, rate)))
    logs = {key: median(values) for key, values in cells.items()}
    quants, models = sorted({q for q, _ in logs}), sorted({m for _, m in logs})
    quant_part, model_part = dict.fromkeys(quants, 0.0), dict.fromkeys(models, 0.0)
    for _ in range(100):
        for q in quants:
            rest = [v - model_part[m] for (k, m), v in logs.items() if k == q]
            quant_part[q] = sum(rest) / len(rest)
        for m in models:
            rest = [v - quant_part[q] for (q, k), v in logs.items() if k == m]
            model_part[m] = sum(rest) / (len(rest) + 2)
    left = [v - quant_part[q] - model_part[m] for (q, m), v in logs.items()]
    noise = math.sqrt(sum(e * e for e in left) / max(1, len(left) - len(quants) - len(models)))
    spread = math.sqrt(sum(v * v for v in model_part.values()) / max(1, len(models) - 1))
    return LossModel(kept, rate, quant_part, model_part, noise, spread)


def _is_family(row: QuantRow, family: str) -> bool:
    return bool(row.family) and (row.family == family or family in RELATIVES.get(row.family, ()))


def list_measured_families(rows: Iterable[QuantRow]) -> frozenset[str]:
    """Families whose own measurements speak for them, or those of a family near to them."""
    families = {row.family for row in rows if row.family}
    return frozenset(families.union(*(RELATIVES.get(family, ()) for family in families)))


METRICS = ("perplexity_ratio", "kl_divergence", "same_top_percent")


def list_published_losses(
    rows: Sequence[QuantRow], quant: str, model_id: str, family: str
) -> tuple[PublishedLoss, ...]:
    """Every published figure of `quant`'s weights, nearest models first, each with its label; empty where none is.

    A row counts under its nearest label only. Benchmark scores are left out: they are of another kind. Rows that give
    the cache another type than f16 are left out too.
    """
    found: dict[str, list[PublishedLoss]] = {"same model": [], "same family": [], "generic": []}
    for row in rows:
        if row.quant != quant or not _is_weights_only(row):
            continue
        same = bool(model_id) and row.model_id == model_id
        label = "same model" if same else "same family" if _is_family(row, family) else "generic"
        for metric in METRICS:
            value = getattr(row, metric)
            if value is not None:
                found[label].append(
                    PublishedLoss(
                        label, metric, value, row.model, quant, row.test, row.imatrix, row.source_url, row.as_of
                    )
                )
    return tuple(loss for losses in found.values() for loss in losses)


def estimate_quant_loss(
    losses: LossModel, quant: str, model_id: str, family: str, quant_native: str | None = None
) -> QuantLossEstimate | None:
    """The expected loss of `quant` for a model, None for a quantization nobody measured.

    A model in no measurement, `model_id` "" among them, takes those of its family. `quant_native` is the format the
    publisher released: that costs nothing, by definition.
    """
    if quant == quant_native:
        return QuantLossEstimate(quant, "same model", 0.0, 0.0, 0.0, None, None, 1, ())
    if quant not in losses.quant_part:
        return None
    of_quant = [row for row in losses.rows if row.quant == quant]
    same = [row for row in of_quant if model_id and row.model_id == model_id]
    kin = [row for row in of_quant if _is_family(row, family)]
    label, rows = ("same model", same) if same else ("same family", kin) if kin else ("generic", of_quant)
    own = {row.model for row in losses.rows if model_id and row.model_id == model_id}
    near = own or {row.model for row in losses.rows if _is_family(row, family)}
    part = losses.model_part
    here = sum(part[m] for m in near) / (len(near) if own else len(near) + RELATIVES_SHRINKAGE) if near else 0.0
    centre = losses.quant_part[quant]
    spread = Z_80 * (losses.noise if own else math.hypot(losses.noise, losses.spread))
    tops = [row.same_top_percent for row in rows if row.same_top_percent is not None]
    ratios = [row.perplexity_ratio for row in rows if row.perplexity_ratio is not None]
    return QuantLossEstimate(
        quant=quant,
        label=label,
        points=math.exp(centre + here),
        low=math.exp(centre + here - spread),
        high=math.exp(centre + here + spread),
        same_top_percent=median(tops) if tops else None,
        perplexity_ratio=median(ratios) if ratios else None,
        n_models=len({row.model for row in rows}),
        rows=tuple(rows),
    )

"""What serving engines printed at start, beside what their rules here say for the same setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from catalog.queries import find_machine, find_model
from catalog.store import Catalog
from sizing.engines.base import EngineOptions, EngineSetup
from sizing.engines.serving import Split, list_stage_weight_bytes
from sizing.engines.serving_answer import Serving
from sizing.engines.serving_cache import CachePlan, plan_cache
from sizing.engines.sglang import plan_tokens, serve_sglang
from sizing.engines.vllm import serve_vllm
from sizing.formats import find_format
from sizing.hardware import Machine
from sizing.specs import ModelSpec
from sizing.units import MIB

GRAPHS_INSIDE_SINCE = (0, 21)
"""From this vLLM on, captured graphs are taken out of the share (https://github.com/vllm-project/vllm/pull/30515)."""

LEAST_STEP_TOKENS = 2048
"""What a step works on where the card does not decide more (vllm/engine/arg_utils.py)."""

LEFT_OUT = (
    ("16", "state one peak of a card as its user read it, which the engine fills to its share whatever the model"),
    ("2", "are of models the catalog does not hold"),
    ("1", "states memory for the cache and no tokens; the bytes of sampling are fitted on it"),
    ("1", "is of another maker's fork, for processors that are not sized"),
)
"""Published rows of vLLM and SGLang that are not compared: how many, and why."""


class Measure(StrEnum):
    """What of a log is compared."""

    WEIGHTS = "weights"  # bytes on one card
    CACHE = "cache rule"  # tokens, from the published memory of the cache
    REQUESTS = "requests"  # at the log's length, from the published memory of the cache
    WHOLE = "whole rule"  # tokens, from the card and its share alone; published as tokens, or as memory for them


TARGETS = {Measure.WEIGHTS: 0.02, Measure.CACHE: 0.10, Measure.REQUESTS: 0.10, Measure.WHOLE: 0.10}
"""The most that the median error may be."""


@dataclass(frozen=True, slots=True)
class ServingLog:
    """One start of a server. MiB are per card; `utilization` None: what decides the cache is not told completely."""

    model_id: str
    checkpoint: str
    weight_format: str
    engine: str
    engine_version: str | None
    hardware: str
    n_cards: int
    n_stages: int
    utilization: float | None
    context_tokens: int
    max_sequences: int | None
    weights_mib: float | None
    kv_mib: float | None
    kv_tokens: int | None
    requests: float | None
    mind: str | None
    source_url: str
    source_note: str | None

    @property
    def split(self) -> Split:
        """Ranks and stages of its cards."""
        return Split(self.n_cards // self.n_stages, self.n_stages)

    @property
    def has_graphs_inside(self) -> bool:
        """Whether its version takes captured graphs out of the share."""
        parts = (self.engine_version or "").split(".")
        numbers = tuple(int(p) for p in parts[:2] if p.isdigit())
        return numbers >= GRAPHS_INSIDE_SINCE


@dataclass(frozen=True, slots=True)
class ServingComparison:
    """One published figure beside ours: bytes, tokens or requests. `backend` is the card's."""

    log: ServingLog
    measure: Measure
    backend: str
    published: float
    ours: float

    @property
    def share(self) -> float:
        """Ours less the published figure, as a share of that."""
        return self.ours / self.published - 1


@dataclass(frozen=True, slots=True)
class MeasureSummary:
    """The errors of one measure over some rows, as shares without sign; `worst` is the row farthest off."""

    measure: Measure
    rows: str
    n_rows: int
    median_error: float
    worst: ServingComparison

    @property
    def is_within_target(self) -> bool | None:
        """Whether the median is within its target; None where there is none."""
        target = TARGETS.get(self.measure)
        return None if target is None else self.median_error <= target


def list_serving_logs(catalog: Catalog) -> tuple[ServingLog, ...]:
    """Every log, in the order of the file."""
    rows = catalog.fetch(
        "SELECT model_id, checkpoint, weight_format, engine, engine_version, hardware, n_cards, n_stages, utilization, "
        "context_tokens, max_sequences, weights_mib, kv_mib, kv_tokens, requests, mind, source_url, source_note "
        "FROM serving_logs ORDER BY line"
    )
    return tuple(ServingLog(*row) for row in rows)


def compare_serving_logs(catalog: Catalog) -> tuple[ServingComparison, ...]:
    """Every figure of every log beside ours, log by log."""
    return tuple(c for log in list_serving_logs(catalog) for c in compare_serving_log(catalog, log))


def compare_serving_log(catalog: Catalog, log: ServingLog) -> tuple[ServingComparison, ...]:
    """The figures of one log beside ours."""
    spec = find_model(catalog, log.model_id).spec
    machine = find_machine(catalog, f"{log.n_cards}x {log.hardware}")
    card, split = machine.accelerators[0], log.split
    found: list[tuple[Measure, float, float]] = []
    if log.weights_mib is not None:
        stages = list_stage_weight_bytes(spec, find_format(log.weight_format), split, card.backend)
        found.append((Measure.WEIGHTS, log.weights_mib * MIB, stages[0]))
    serving = _serve(spec, machine, log) if log.utilization is not None else None
    plan = serving.plan if serving is not None else _plan(spec, split, log, card.architecture)
    step = serving.step_tokens if serving is not None else LEAST_STEP_TOKENS
    held = None if log.kv_mib is None else round(log.kv_mib * MIB)
    if held is not None and log.kv_tokens is not None:
        found.append((Measure.CACHE, log.kv_tokens, plan.count_tokens(held)))
    if held is not None and log.requests is not None:
        found.append((Measure.REQUESTS, log.requests, plan.count_requests(held, log.context_tokens, step)))
    tokens = log.kv_tokens or (plan.count_tokens(held) if held is not None else None)
    if serving is not None and tokens is not None:
        found.append((Measure.WHOLE, tokens, plan.count_tokens(serving.kv_bytes)))
    return tuple(ServingComparison(log, measure, card.backend, theirs, ours) for measure, theirs, ours in found)


def _serve(spec: ModelSpec, machine: Machine, log: ServingLog) -> Serving:
    """What the engine decides under a log's settings."""
    options = EngineOptions(
        log.utilization, log.split.tensor_parallel, log.split.pipeline_parallel, None, log.max_sequences
    )
    setup = EngineSetup(spec, log.weight_format, log.context_tokens, 1, machine, options=options)
    if log.engine == "SGLang":
        return serve_sglang(setup)
    return serve_vllm(setup, graphs_inside=log.has_graphs_inside)


def _plan(spec: ModelSpec, split: Split, log: ServingLog, architecture: str) -> CachePlan:
    if log.engine == "SGLang":
        return plan_tokens(spec, split, "auto")
    return plan_cache(spec, split, "auto", architecture)


GROUPS: tuple[tuple[str, Callable[[ServingComparison], bool]], ...] = (
    ("all", lambda c: True),
    ("NVIDIA", lambda c: c.backend == "cuda"),
    ("NVIDIA H100", lambda c: "H100" in c.log.hardware),
    ("AMD", lambda c: c.backend == "rocm"),
    ("AMD, vLLM 0.13", lambda c: c.backend == "rocm" and not is_old_rocm(c)),
)
"""Rows that are summed up together. The bytes of libraries are fitted on vLLM 0.12 on NVIDIA cards other than the H100,
those of sampling on one H100 row that is left out; H100 and AMD rows judge both."""


def is_old_rocm(comparison: ServingComparison) -> bool:
    """Whether a row is of vLLM 0.11 on AMD cards, whose start takes 1 to 2 GiB that later versions do not."""
    return comparison.backend == "rocm" and (comparison.log.engine_version or "").startswith("0.11")


def sum_up(comparisons: Sequence[ServingComparison]) -> tuple[MeasureSummary, ...]:
    """Medians and worst cases by measure and group of rows, empty ones left out."""
    return tuple(
        s
        for measure in Measure
        for name, belongs in GROUPS
        if (s := _sum_up_rows(measure, name, (c for c in comparisons if c.measure is measure and belongs(c))))
    )


def _sum_up_rows(measure: Measure, name: str, rows: Iterable[ServingComparison]) -> MeasureSummary | None:
    found = tuple(rows)
    if not found:
        return None
    errors = [abs(c.share) for c in found]
    return MeasureSummary(measure, name, len(found), median(errors), max(found, key=lambda c: abs(c.share)))

"""Formula against engine: the closed forms of `sizing` held to llama.cpp's own answers, over many models.

Every case is one model in one quantization under one workload. Weights and caches must be equal to the byte, the
compute buffer within 2% or 8 MiB, whichever is larger. What the engine refuses is counted by its reason.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.dry_run import DryRun, DryRunFailure, EngineChild, ask_dry_runs
from sizing.compute import can_estimate_compute, estimate_compute_bytes, estimate_output_bytes
from sizing.kv_cache import estimate_kv_cache_bytes
from sizing.layers import LayerTable
from sizing.specs import ModelSpec
from sizing.units import MIB
from sizing.workload import Workload

QUANTS = ("Q4_K_M", "Q8_0", "F16")
CONTEXTS = (4_096, 32_768)
SLOTS = (1, 4)
CACHES = (("f16", True), ("q8_0", True), ("f16", False))
"""Cache type and flash attention."""

COMPUTE_SHARE = 0.02
COMPUTE_BYTES = 8 * MIB


@dataclass(frozen=True, slots=True)
class Checked:
    """One case: bytes the formula said less bytes the engine said, None where one of them said nothing.

    `failure` is why the engine gave no answer, `compute_engine_bytes` its compute buffer.
    """

    model_id: str
    architecture: str
    quant: str
    workload: Workload
    weight_error_bytes: int | None = None
    cache_error_bytes: int | None = None
    output_error_bytes: int | None = None
    compute_error_bytes: int | None = None
    compute_engine_bytes: int = 0
    failure: str | None = None

    @property
    def is_weight_equal(self) -> bool | None:
        """Weights equal to the byte."""
        return None if self.weight_error_bytes is None else self.weight_error_bytes == 0

    @property
    def is_cache_equal(self) -> bool | None:
        """Caches and recurrent states equal to the byte."""
        return None if self.cache_error_bytes is None else self.cache_error_bytes == 0

    @property
    def is_compute_close(self) -> bool | None:
        """Compute buffer within tolerance."""
        if self.compute_error_bytes is None:
            return None
        return abs(self.compute_error_bytes) <= max(COMPUTE_SHARE * self.compute_engine_bytes, COMPUTE_BYTES)

    @property
    def is_wrong(self) -> bool:
        """Outside tolerance in any part; what could not be compared is not wrong."""
        return False in (self.is_weight_equal, self.is_cache_equal, self.is_compute_close)


@dataclass(frozen=True, slots=True)
class ArchitectureReport:
    """All cases of one architecture, counted; worst compute errors over its cases."""

    architecture: str
    n_models: int
    n_cases: int
    n_answered: int
    n_weights_equal: int
    n_caches_equal: int
    n_compute_close: int
    n_compute_equal: int
    worst_compute_share: float
    worst_compute_mib: float
    n_wrong: int
    failures: tuple[tuple[str, int], ...]


def list_workloads(context_tokens: int) -> tuple[Workload, ...]:
    """The workloads of the check for a model trained for `context_tokens`."""
    contexts = sorted({min(c, context_tokens) for c in (*CONTEXTS, context_tokens)})
    return tuple(
        Workload(context, slots, kv_type_k=kind, kv_type_v=kind, flash_attention=flash)
        for context in contexts
        for slots in SLOTS
        for kind, flash in CACHES
    )


def check_models(
    specs: Sequence[ModelSpec],
    weight_bytes: Mapping[tuple[str, str], int],
    engine: EngineChild,
    quants: Sequence[str] = QUANTS,
) -> Iterator[Checked]:
    """Ask the engine about every model, quantization and workload, and compare. Cases come as they are answered.

    `weight_bytes` holds the tensor bytes of (model id, quant) that the formula side works with.
    """
    for spec in specs:
        workloads = list_workloads(spec.context_tokens)
        table = LayerTable.from_specs([spec])
        for quant in quants:
            answers = ask_dry_runs(spec, quant, workloads, engine)
            for workload, answer in zip(workloads, answers, strict=True):
                yield compare(table, spec, quant, workload, answer, weight_bytes.get((spec.model_id, quant)))


def compare(
    table: LayerTable,
    spec: ModelSpec,
    quant: str,
    workload: Workload,
    answer: DryRun | DryRunFailure,
    tensor_bytes: int | None,
) -> Checked:
    """One case: formula less engine, part by part."""
    if isinstance(answer, DryRunFailure):
        said = f"{answer.reason}: {answer.message}"
        return Checked(spec.model_id, spec.architecture, quant, workload, failure=said)
    caches = estimate_kv_cache_bytes(table, workload)
    cache_bytes = int(caches.kv_cache_bytes[0] + caches.recurrent_state_bytes[0])
    compute = None
    if can_estimate_compute(spec.architecture):
        compute = int(estimate_compute_bytes(table, workload)[0]) - answer.compute_bytes
    return Checked(
        model_id=spec.model_id,
        architecture=spec.architecture,
        quant=quant,
        workload=workload,
        weight_error_bytes=None if tensor_bytes is None else tensor_bytes - answer.tensor_bytes,
        cache_error_bytes=cache_bytes - answer.cache_bytes,
        output_error_bytes=int(estimate_output_bytes(table, workload)[0]) - answer.output_bytes,
        compute_error_bytes=compute,
        compute_engine_bytes=answer.compute_bytes,
    )


def report_architectures(cases: Sequence[Checked]) -> tuple[ArchitectureReport, ...]:
    """The cases counted by architecture, in alphabetic order."""
    names = sorted({c.architecture for c in cases})
    return tuple(report_architecture(name, [c for c in cases if c.architecture == name]) for name in names)


def report_architecture(name: str, cases: Sequence[Checked]) -> ArchitectureReport:
    """The cases of one architecture, counted."""
    answered = [c for c in cases if c.failure is None]
    errors = [
        (abs(c.compute_error_bytes), c.compute_engine_bytes) for c in answered if c.compute_error_bytes is not None
    ]
    return ArchitectureReport(
        architecture=name,
        n_models=len({c.model_id for c in cases}),
        n_cases=len(cases),
        n_answered=len(answered),
        n_weights_equal=sum(c.is_weight_equal is True for c in answered),
        n_caches_equal=sum(c.is_cache_equal is True for c in answered),
        n_compute_close=sum(c.is_compute_close is True for c in answered),
        n_compute_equal=sum(c.compute_error_bytes == 0 for c in answered),
        worst_compute_share=max((e / b for e, b in errors if b), default=0.0),
        worst_compute_mib=max((e / MIB for e, _ in errors), default=0.0),
        n_wrong=sum(c.is_wrong for c in cases),
        failures=tuple(Counter(c.failure for c in cases if c.failure is not None).most_common()),
    )


def format_report(reports: Sequence[ArchitectureReport]) -> str:
    """The reports as a table of text, failures below it."""
    columns = ("answered", "weights=", "caches=", "compute~", "compute=", "worst %")
    head = f"{'architecture':16} {'models':>6} {'cases':>6} " + " ".join(f"{c:>8}" for c in columns)
    lines = [f"{head} {'worst MiB':>9}"]
    for r in reports:
        lines.append(
            f"{r.architecture:16} {r.n_models:6} {r.n_cases:6} {r.n_answered:8} {r.n_weights_equal:8} "
            f"{r.n_caches_equal:8} {r.n_compute_close:8} {r.n_compute_equal:8} {100 * r.worst_compute_share:8.3f} "
            f"{r.worst_compute_mib:9.2f}"
        )
    lines += [f"{r.architecture}: {n} x {reason}" for r in reports for reason, n in r.failures]
    return "\n".join(lines)


RECORD_COLUMNS = (
    "architecture",
    "n_models",
    "n_cases",
    "n_answered",
    "n_weights_equal",
    "n_caches_equal",
    "n_compute_within_tolerance",
    "n_compute_equal",
    "worst_compute_percent",
    "worst_compute_MiB",
    "failures",
    "llama_cpp_python_version",
    "as_of",
)


def write_report(path: Path, reports: Sequence[ArchitectureReport], llama_cpp_version: str, as_of: str) -> None:
    """Write the reports as CSV, one row per architecture, with the engine's version and the date of the run."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(RECORD_COLUMNS)
        for r in reports:
            writer.writerow(
                [
                    r.architecture,
                    r.n_models,
                    r.n_cases,
                    r.n_answered,
                    r.n_weights_equal,
                    r.n_caches_equal,
                    r.n_compute_close,
                    r.n_compute_equal,
                    f"{100 * r.worst_compute_share:.4f}",
                    f"{r.worst_compute_mib:.3f}",
                    "; ".join(f"{n} x {reason}" for reason, n in r.failures),
                    llama_cpp_version,
                    as_of,
                ]
            )

"""Memory that others published for fine-tuning, beside what the formulas say for the same setting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from catalog.data_files import Column, load_csv
from catalog.models import DATA_DIR
from catalog.queries import find_machine, find_model
from catalog.store import Catalog
from sizing.errors import DataFileError
from sizing.finetune import estimate_finetune
from sizing.finetune_setup import METHODS, FineTuneSetup
from sizing.units import GB

FILE = "finetune_memory.csv"
KINDS = ("measured", "minimum")
CARD = "H200"
"""The card figures are worked out for; what a card holds does not depend on its size."""

_COLUMNS = (
    Column("model_id", "VARCHAR", False),
    Column("method", "VARCHAR", False),
    Column("rank", "INTEGER", False),
    Column("sequence_tokens", "INTEGER", False),
    Column("micro_batch", "INTEGER", False),
    Column("optimizer", "VARCHAR", False),
    Column("adapter_bits", "INTEGER", False),
    Column("published_gb", "DOUBLE", False),
    Column("kind", "VARCHAR", False),
    Column("mind", "VARCHAR", False),
    Column("source_url", "VARCHAR", False),
    Column("as_of", "VARCHAR", False),
)


@dataclass(frozen=True, slots=True)
class TrainingLog:
    """One published figure in GB, of one card with all linear modules adapted and checkpointing on.

    `kind` is 'measured' or 'minimum' (what a maker says it takes at least). `adapter_bits` 0 is what trl does. `mind`
    says what is not stated or known to differ.
    """

    model_id: str
    method: str
    rank: int
    sequence_tokens: int
    micro_batch: int
    optimizer: str
    adapter_bits: int
    published_gb: float
    kind: str
    mind: str
    source_url: str
    as_of: str


@dataclass(frozen=True, slots=True)
class TrainingCheck:
    """A published figure and ours, in GB."""

    log: TrainingLog
    ours_gb: float

    @property
    def error(self) -> float:
        """How far ours is off, as a share of theirs: 0.1 is a tenth too much."""
        return self.ours_gb / self.log.published_gb - 1


def load_training_logs(data_dir: Path | None = None) -> tuple[TrainingLog, ...]:
    """The published figures. Raises DataFileError with file and line for a row that says nothing usable."""
    out = []
    for row in load_csv((data_dir or DATA_DIR) / FILE, _COLUMNS):
        cells: Any = row.cells
        log = TrainingLog(*cells)
        if log.kind not in KINDS or log.method not in METHODS or log.published_gb <= 0:
            raise DataFileError(row.file, row.line, f"wanted a method, a kind of {KINDS} and GB above 0, got {log!r}")
        out.append(log)
    return tuple(out)


def check_training_logs(catalog: Catalog) -> tuple[TrainingCheck, ...]:
    """Every published figure beside ours."""
    machine = find_machine(catalog, CARD)
    out = []
    for log in load_training_logs(catalog.data_dir):
        setup = FineTuneSetup(
            find_model(catalog, log.model_id).spec,
            machine,
            method=log.method,
            rank=log.rank,
            sequence_tokens=log.sequence_tokens,
            micro_batch=log.micro_batch,
            optimizer=log.optimizer,
            adapter_bits=log.adapter_bits,
        )
        out.append(TrainingCheck(log, estimate_finetune(setup).devices[0].parts.total_bytes / GB))
    return tuple(out)


def format_training_checks(checks: tuple[TrainingCheck, ...]) -> str:
    """The figures as lines of text, and the median of the errors."""
    lines = [
        f"{c.log.model_id:<36} {c.log.method:<6} {c.log.kind:<9} published {c.log.published_gb:>6.4g} GB, "
        f"ours {c.ours_gb:>6.4g} GB, {100 * c.error:+.1f}%"
        for c in checks
    ]
    middle = median(abs(c.error) for c in checks)
    lines.append(f"{len(checks)} figures; median of the errors without their sign {100 * middle:.1f}%")
    return "\n".join(lines)

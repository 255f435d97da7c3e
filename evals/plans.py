"""What a person asks to be evaluated: a model, suites, how long, and with which settings. Values only."""

from __future__ import annotations

import dataclasses
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sizing.errors import BadInputError
from sizing.quants import find_kv_type

OWN_PREFIX = "own:"
"""Before the name of a suite made of a person's own data."""

MAX_MINUTES = 7 * 24 * 60.0
MAX_ITEMS = 1_000_000
MAX_CONTEXT_TOKENS = 2**22


class ModelKind(StrEnum):
    """Where a tested model is: a GGUF file, the demonstration model in a quantization, or behind a server."""

    FILE = "file"
    DEMO = "demo"
    ENDPOINT = "endpoint"


class RunKind(StrEnum):
    """What a run does: suites of items, or one file held against another, token by token."""

    SUITES = "suites"
    DIVERGENCE = "divergence"


@dataclass(frozen=True, slots=True)
class TestedModel:
    """A model as a run names it. `name` is for people; `model_id` and `quant` say what it is where that is known.

    A file has a `path` (the first part of a split one), an endpoint a `url`, an `api` ("chat" or "completion") and the
    `remote_name` the server knows it by. No key is ever part of it.
    """

    __test__ = False  # not a test, whatever pytest makes of its name

    kind: ModelKind
    name: str
    path: str = ""
    url: str = ""
    api: str = "chat"
    remote_name: str = ""
    model_id: str = ""
    quant: str = ""

    def __post_init__(self) -> None:
        if self.kind is ModelKind.FILE and not self.path:
            raise BadInputError(f"a model file wants a path, got none for {self.name!r}")
        if self.kind is ModelKind.ENDPOINT and not self.url:
            raise BadInputError(f"an endpoint wants an address, got none for {self.name!r}")
        if self.api not in ("chat", "completion"):
            raise BadInputError(f"api wants 'chat' or 'completion', got {self.api!r}")

    @property
    def title(self) -> str:
        """Name and quantization."""
        return f"{self.name} {self.quant}" if self.quant and self.quant not in self.name else self.name


@dataclass(frozen=True, slots=True)
class EvalSettings:
    """How a model is asked. None leaves a figure to the model or the machine.

    `context_tokens` is one sequence's; `n_parallel` sequences (or requests to a server) are answered side by side.
    `n_gpu_layers` None puts every layer on an accelerator where llama.cpp was built for one; a divergence uses none.
    `template` "auto" uses the model's chat template where it has one, "none" gives it plain text.
    """

    context_tokens: int | None = None
    n_parallel: int = 8
    kv_type_k: str = "f16"
    kv_type_v: str = "f16"
    flash_attention: bool = True
    n_threads: int | None = None
    n_gpu_layers: int | None = None
    seed: int = 1234
    temperature: float = 0.0
    template: str = "auto"
    max_output_tokens: int | None = None
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        check_whole("context (tokens)", self.context_tokens, 64, MAX_CONTEXT_TOKENS)
        check_whole("parallel", self.n_parallel, 1, 256)
        check_whole("threads", self.n_threads, 1, 512)
        check_whole("GPU layers", self.n_gpu_layers, 0, 10_000)
        check_whole("seed", self.seed, 0, 2**32 - 1)
        check_whole("output (tokens)", self.max_output_tokens, 1, 131_072)
        find_kv_type(self.kv_type_k)
        find_kv_type(self.kv_type_v)
        if self.template not in ("auto", "none"):
            raise BadInputError(f"template wants 'auto' or 'none', got {self.template!r}")
        if not 0 <= self.temperature <= 2:
            raise BadInputError(f"temperature wants 0 to 2, got {self.temperature!r}")
        if not 1 <= self.timeout_s <= 3600:
            raise BadInputError(f"the time limit of a request wants 1 to 3,600 s, got {self.timeout_s!r}")


@dataclass(frozen=True, slots=True)
class EvalPlan:
    """One run. `suites` are names, `needle@8192` and `own:NAME` among them.

    `limit` caps the items of each suite; `minutes` lets the measured speed choose how many. For a divergence
    `reference` is the file the model is held against, and `text` what both read: the name of a text of ours ("own",
    "demo") or a file's path. `judge` is an endpoint that scores items which want one; `machine` names where the run was
    asked for.
    """

    run_id: str
    created_at: str
    kind: RunKind
    model: TestedModel
    suites: tuple[str, ...] = ()
    limit: int | None = None
    minutes: float | None = None
    settings: EvalSettings = field(default_factory=EvalSettings)
    allow_code: bool = False
    reference: TestedModel | None = None
    text: str = "own"
    judge: TestedModel | None = None
    machine: str = ""

    def __post_init__(self) -> None:
        if self.kind is RunKind.SUITES and not self.suites:
            raise BadInputError("an evaluation wants at least one suite; `python -m evals list` names them")
        if self.kind is RunKind.DIVERGENCE and self.reference is None:
            raise BadInputError("a divergence wants a reference file to hold the model against")
        if len(set(self.suites)) != len(self.suites):
            raise BadInputError(f"each suite once, got {', '.join(self.suites)}")
        check_whole("limit (items)", self.limit, 1, MAX_ITEMS)
        if self.minutes is not None and not 0.05 <= self.minutes <= MAX_MINUTES:
            raise BadInputError(f"minutes wants 0.05 to {MAX_MINUTES:,.0f}, got {self.minutes!r}")


def check_whole(what: str, value: int | None, low: int, high: int) -> None:
    """Raises BadInputError unless `value` is None or a whole number from `low` to `high`."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high):
        raise BadInputError(f"{what} wants a whole number from {low:,} to {high:,}, got {value!r}")


def find_now() -> str:
    """The time, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def name_run() -> str:
    """A new run's id: its time to the millisecond, so that ids sort by it, and six random characters."""
    return f"{datetime.now(UTC).strftime('%Y%m%d-%H%M%S%f')[:-3]}-{uuid.uuid4().hex[:6]}"


def plan_suites(model: TestedModel, suites: tuple[str, ...], **others: Any) -> EvalPlan:
    """A new run of suites; `others` are further fields of EvalPlan. Raises BadInputError."""
    return EvalPlan(name_run(), find_now(), RunKind.SUITES, model, suites, **others)


def plan_divergence(reference: TestedModel, candidate: TestedModel, **others: Any) -> EvalPlan:
    """A new run that holds `candidate` against `reference`. Raises BadInputError."""
    return EvalPlan(name_run(), find_now(), RunKind.DIVERGENCE, candidate, reference=reference, **others)


def write_plan(plan: EvalPlan) -> dict[str, Any]:
    """The plan as JSON takes it."""
    return dataclasses.asdict(plan)


def read_plan(record: Mapping[str, Any]) -> EvalPlan:
    """A plan from its JSON. Raises BadInputError naming what is wrong with it."""
    try:
        values = dict(record)
        values["kind"] = RunKind(values["kind"])
        values["suites"] = tuple(str(name) for name in values["suites"])
        values["settings"] = EvalSettings(**values["settings"])
        for name in ("model", "reference", "judge"):
            model = values.get(name)
            values[name] = TestedModel(**{**model, "kind": ModelKind(model["kind"])}) if model is not None else None
        minutes = values.get("minutes")
        if minutes is not None and not (isinstance(minutes, int | float) and math.isfinite(minutes)):
            raise BadInputError(f"minutes wants a number, got {minutes!r}")
        return EvalPlan(**values)
    except BadInputError:
        raise
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise BadInputError(f"this is no plan of a run ({type(error).__name__}: {error})") from error

"""What the Evaluate page asks of `evals`: runs and their summaries, suites, models, speeds.

Run files are the truth, and every tab reads the same ones. A file that has not changed is not read again.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import streamlit as st

from catalog.candidates import find_loss_model
from catalog.gguf_header import GgufHeader, load_header
from catalog.gguf_weights import find_quant_label
from catalog.quant_loss import list_published_losses
from catalog.recognise import recognise
from evals import divergence_result, results
from evals.damage import DamageRow, line_up_damage, list_measured
from evals.divergence_result import DivergenceResult
from evals.home import find_home
from evals.own_data import list_own_suites, load_own_suite
from evals.plans import OWN_PREFIX, EvalPlan, ModelKind, TestedModel
from evals.results import RunSummary, SuiteScore
from evals.run_files import MAX_LINE_BYTES, RunState, is_held, list_run_paths, load_run
from evals.stats import Comparison, plan_interval
from evals.suites import Suite, list_suites
from pages.ui import cached, eval_queue, reach
from sizing.errors import BadInputError, GgufError, UnknownNameError, WeighbridgeError

DEMO_QUANTS = ("F16", "Q8_0", "Q4_K_M", "Q2_K")
MODELS_FOLDER = "models"
MAX_FILES_SEEN = 40


class RunShelf:
    """Every run's summary, each read anew only when its file or who writes it has changed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._kept: dict[Path, tuple[tuple[int, int, bool], RunSummary | None]] = {}
        self._models: dict[Path, str] = {}
        self._turn = threading.Lock()

    def list_runs(self) -> tuple[RunSummary, ...]:
        """All runs, newest first; files that are none are left out."""
        with self._turn:
            paths = list_run_paths(self.home)
            for gone in set(self._kept) - set(paths):
                del self._kept[gone]
            found = [self._read(path) for path in reversed(paths)]
        return tuple(summary for summary in found if summary is not None)

    def list_of(self, model_id: str) -> tuple[RunSummary, ...]:
        """Runs of one catalog model, newest first; of the others only the plan is read, once."""
        with self._turn:
            paths = [path for path in list_run_paths(self.home) if self._find_model(path) == model_id]
            found = [self._read(path) for path in reversed(paths)]
        return tuple(summary for summary in found if summary is not None)

    def _find_model(self, path: Path) -> str:
        if path not in self._models:
            try:
                with path.open("rb") as file:
                    self._models[path] = str(json.loads(file.readline(MAX_LINE_BYTES))["model"]["model_id"])
            except (OSError, ValueError, KeyError, TypeError):
                return ""
        return self._models[path]

    def _read(self, path: Path) -> RunSummary | None:
        try:
            told = path.stat()
            state = (told.st_mtime_ns, told.st_size, is_held(path))
            kept = self._kept.get(path)
            if kept is None or kept[0] != state:
                self._kept[path] = (state, results.sum_up(load_run(path)))
        except BadInputError:
            self._kept[path] = (state, None)
        except OSError:
            return None
        return self._kept[path][1]


@st.cache_resource(show_spinner=False)
def _shelf(home: str) -> RunShelf:
    return RunShelf(Path(home))


def list_summaries() -> tuple[RunSummary, ...]:
    """Every run on this machine, newest first."""
    return _shelf(str(find_home())).list_runs()


def is_active(summary: RunSummary) -> bool:
    """Whether a run waits or is at work."""
    return summary.state in (RunState.QUEUED, RunState.RUNNING)


def needs_attention(summary: RunSummary) -> bool:
    """Whether a run stopped before its end and could go on."""
    return summary.state in (RunState.INTERRUPTED, RunState.FAILED, RunState.CANCELLED)


def find_signature() -> tuple[tuple[str, str], ...]:
    """Which runs there are and where each stands: what a page is drawn anew for."""
    return tuple((s.run.run_id, s.state.value) for s in list_summaries())


def name_model(model: TestedModel) -> str:
    """'Qwen3 14B at Q5_K_M': a model and its quantization, once."""
    return model.name if not model.quant or model.quant in model.name else f"{model.name} at {model.quant}"


# ---- suites ----


@dataclass(frozen=True, slots=True)
class OwnSuite:
    """A suite made of the person's own data."""

    name: str
    title: str
    n_items: int
    note: str = ""
    created_at: str = ""
    needs_judge: bool = False

    @property
    def suite(self) -> str:
        """Its name in a plan."""
        return f"{OWN_PREFIX}{self.name}"


@st.cache_resource(show_spinner="Reading the suites")
def find_suites() -> dict[str, Suite]:
    """The shipped suites by name."""
    return {suite.name: suite for suite in list_suites()}


def list_own() -> tuple[OwnSuite, ...]:
    """Suites of the person's own data."""
    found = (head for head in list_own_suites(find_home()) if not head.problem)
    return tuple(
        OwnSuite(h.name, h.name, h.n_items, h.note, h.created_at, _needs_judge(h.name, h.version, str(find_home())))
        for h in found
    )


@st.cache_resource(show_spinner=False, max_entries=256)
def _needs_judge(name: str, version: str, home: str) -> bool:
    with contextlib.suppress(WeighbridgeError, OSError):
        return any(item["scorer"] == "judge" for item in load_own_suite(Path(home), name).items)
    return False


def title_suites(own: Sequence[OwnSuite]) -> dict[str, str]:
    """What each suite is called, in the order they are offered; the person's own first."""
    titles = {o.suite: f"{o.title} (your data)" for o in own}
    return titles | {name: suite.title for name, suite in find_suites().items()}


def name_suites(chosen: Sequence[str], contexts: Sequence[int], tasks: Sequence[str]) -> tuple[str, ...]:
    """The chosen suites as a plan names them: one for each context of those that take one, then lm-eval's tasks."""
    out: list[str] = []
    for name in chosen:
        suite = find_suites().get(name)
        out += [f"{name}@{n}" for n in contexts] if suite is not None and suite.takes_context else [name]
    return tuple(dict.fromkeys((*out, *tasks)))


def count_items(name: str, own: Sequence[OwnSuite]) -> int | None:
    """How many items a suite of a plan has, None where only lm-eval knows."""
    suite = find_suites().get(name.split("@", 1)[0])
    if suite is not None:
        return suite.n_items
    return next((o.n_items for o in own if o.suite == name), None)


# ---- models ----


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a model file says of itself, or why it is not offered (`problem`)."""

    path: str
    name: str
    quant: str = ""
    n_bytes: int = 0
    model_id: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server as this session knows it. The key is never written anywhere."""

    name: str
    url: str
    api: str
    remote_name: str
    key: str = field(default="", repr=False)

    @property
    def model(self) -> TestedModel:
        """The server's model for a plan."""
        return TestedModel(ModelKind.ENDPOINT, self.name, url=self.url, api=self.api, remote_name=self.remote_name)


def read_file_facts(text: str) -> FileFacts:
    """What stands at a path: a GGUF file's name, quantization and size, or why it cannot be used. Nothing is raised."""
    path = Path(text).expanduser()
    name = path.name or text
    if not text.strip():
        return FileFacts(text, "", problem="a path is wanted, such as /models/qwen3-14b-q5_k_m.gguf")
    if len(text) > 1000 or "|" in text:
        return FileFacts(text, name, problem="a path of at most 1,000 characters and without '|' is wanted")
    try:
        if not path.is_absolute():
            return FileFacts(text, name, problem=f"the whole path is wanted, beginning with /, got {text!r}")
        if refusal := reach.find_file_refusal(path):
            return FileFacts(text, name, problem=f"{name} cannot be used: {refusal}")
        told = path.stat()
    except (OSError, ValueError):
        return FileFacts(text, name, problem=f"there is no file at {text}; check the path")
    return _read_header(str(path), told.st_mtime_ns, told.st_size, len(cached.list_cards()))


@st.cache_resource(show_spinner=False, max_entries=128)
def _read_header(text: str, mtime_ns: int, n_bytes: int, n_models: int) -> FileFacts:
    """What a file says of itself; `n_models` is there so that it is read again once there are more to recognise."""
    path = Path(text)
    if path.is_dir():
        return FileFacts(text, path.name, problem=f"{path.name} is a folder; name the file in it")
    try:
        header = load_header(path)
    except (GgufError, OSError) as error:
        return FileFacts(text, path.name, n_bytes=n_bytes, problem=f"{path.name} is no usable GGUF file: {error}")
    if header.missing_bytes:
        problem = f"{path.name} is incomplete: {header.missing_bytes:,} bytes are missing; fetch it again"
        return FileFacts(text, path.name, n_bytes=n_bytes, problem=problem)
    card = recognise(header, cached.catalog().cards)
    name = card.spec.name if card is not None else find_header_name(header) or path.stem
    return FileFacts(text, name[:80], find_quant_label((header,)), n_bytes, "" if card is None else card.model_id)


def find_header_name(header: GgufHeader) -> str:
    """The name a file gives itself, empty where it gives none."""
    name = header.find("general.name")
    return " ".join(name.split()) if isinstance(name, str) and name.isprintable() else ""


def list_known_paths(summaries: Sequence[RunSummary]) -> tuple[str, ...]:
    """Model files in the person's folder, then those of earlier runs that are still there."""
    folder = find_home() / MODELS_FOLDER
    found = [str(p) for p in sorted(folder.glob("*.gguf"))]
    plans = [s.run.plan for s in summaries]
    seen = [m.path for p in plans for m in (p.model, p.reference) if m is not None and m.kind is ModelKind.FILE]
    found += [path for path in dict.fromkeys(seen) if Path(path).is_file()]
    return tuple(dict.fromkeys(found))[:MAX_FILES_SEEN]


def build_file_model(facts: FileFacts, model_id: str) -> TestedModel:
    """A file for a plan, as the catalog model it is said to be (empty: unknown)."""
    name = facts.name
    if model_id != facts.model_id and model_id:
        with contextlib.suppress(UnknownNameError):
            name = cached.find_card(model_id).spec.name
    return TestedModel(ModelKind.FILE, name, path=facts.path, model_id=model_id, quant=facts.quant)


# ---- what a run will give ----


@dataclass(frozen=True, slots=True)
class Expected:
    """What a time gives: items of each suite, and half the width of the interval of a score of half right, 0 to 1."""

    n_items: int
    half_width: float
    is_capped: bool


def expect_items(
    model: TestedModel, suites: Sequence[str], minutes: float, summaries: Sequence[RunSummary], own: Sequence[OwnSuite]
) -> Expected | None:
    """What `minutes` give, by the newest earlier run of the same model with suites of these; None without one."""
    bases = {name.split("@", 1)[0] for name in suites}
    for summary in summaries:
        ran = {s.suite.split("@", 1)[0] for s in summary.scores if s.n_items}
        if summary.run.plan.model == model and summary.items_per_s and ran & bases:
            return _spread(summary.items_per_s * minutes * 60, suites, own)
    return None


def _spread(n_all: float, suites: Sequence[str], own: Sequence[OwnSuite]) -> Expected | None:
    most = min((n for n in (count_items(name, own) for name in suites) if n), default=None)
    n = int(n_all / max(1, len(suites)))
    if n < 1:
        return None
    shown = n if most is None else min(n, most)
    return Expected(shown, plan_interval(shown), most is not None and n >= most)


# ---- two runs ----


@st.cache_resource(show_spinner=False, max_entries=256)
def _compare(a: tuple[str, int], b: tuple[str, int], _a: Any, _b: Any) -> tuple[Any, ...]:
    return tuple(results.compare_runs(_a, _b))


def compare_runs(a: RunSummary, b: RunSummary) -> tuple[Any, ...]:
    """Each suite both have, compared item by item."""
    return _compare((a.run.run_id, len(a.run.items)), (b.run.run_id, len(b.run.items)), a.run, b.run)


def find_comparison(a: RunSummary, b: RunSummary, suite: str) -> Comparison | None:
    """The comparison of one suite, None where the two share no items of it."""
    return next((c.comparison for c in compare_runs(a, b) if c.suite == suite and c.comparison is not None), None)


def write_csv(summary: RunSummary) -> str:
    """A run's items as CSV."""
    return results.write_csv(summary.run)


def write_json(summary: RunSummary) -> str:
    """A run as JSON."""
    return results.write_json(summary.run)


# ---- quantization damage ----


@st.cache_resource(show_spinner=False, max_entries=64)
def _sum_up_windows(run_id: str, n_windows: int, _windows: Any) -> DivergenceResult | str:
    try:
        return divergence_result.sum_up([divergence_result.read_window(dict(w)) for w in _windows])
    except (WeighbridgeError, TypeError, ValueError) as error:
        return f"the windows of this run cannot be read: {error}"


def find_divergence(summary: RunSummary) -> DivergenceResult | str:
    """The figures of a divergence run so far, or why there are none."""
    return _sum_up_windows(summary.run.run_id, len(summary.run.windows), summary.run.windows)


def line_up(summary: RunSummary, result: DivergenceResult) -> tuple[DamageRow, ...]:
    """What was measured beside what was published of the same quantization, under its labels."""
    model = rename_quant(summary)
    rows = find_loss_model(cached.catalog().data_dir).rows
    family = cached.find_card(model.model_id).family if model.model_id else ""
    published = list_published_losses(rows, model.quant, model.model_id, family)
    return line_up_damage(list_measured(result, summary.run.plan.text), published)


# ---- what is asked of the queue ----


def start(plans: Sequence[EvalPlan], keys: Sequence[str]) -> str | None:
    """Put runs into the queue in their order, each with the key of its server or none; why that failed, if it did."""
    ids = sorted(plan.run_id for plan in plans)  # made within a millisecond they differ by chance, and the queue sorts
    machine = cached.detected_machine().name
    plans = [replace(plan, run_id=run_id, machine=machine) for plan, run_id in zip(plans, ids, strict=True)]
    try:
        for plan, key in zip(plans, keys, strict=True):
            eval_queue.find_queue().enqueue(plan, key or None)
    except OSError as error:
        return f"the run could not be written to {find_home()}: {error}"
    return None


def measured_here(model_id: str, quant: str) -> tuple[tuple[RunSummary, SuiteScore], ...]:
    """Scores measured on this machine of a catalog model in a quantization, newest first."""
    found = []
    with contextlib.suppress(OSError):
        for summary in _shelf(str(find_home())).list_of(model_id):
            if rename_quant(summary).quant == quant:
                found += [(summary, score) for score in summary.scores if score.value is not None]
    return tuple(found)


def rename_quant(summary: RunSummary) -> TestedModel:
    """The model of a run with the quantization its file turned out to have, where the plan did not know."""
    model, facts = summary.run.plan.model, summary.run.facts
    return model if model.quant or facts is None or not facts.quant else replace(model, quant=facts.quant)


def probe_endpoint(asked: Endpoint) -> str:
    """Who answers at a server, in one sentence. Raises WeighbridgeError with what to do."""
    from evals.endpoint import EndpointClient, EndpointPlan, Secret

    plan = EndpointPlan(asked.url, asked.remote_name, asked.api, concurrency=1, timeout_s=15.0, n_retries=0)
    with EndpointClient(plan, Secret(asked.key)) as client:
        facts = client.probe()
    kind = "a server of unknown kind" if facts.kind == "unknown" else facts.kind
    version = f" {facts.engine_version}" if facts.engine_version else ""
    context = f", {facts.context_tokens:,} tokens of context" if facts.context_tokens else ""
    if facts.model:
        return f"{kind}{version} answers with {facts.model}{context}"
    names = ", ".join(facts.models[:5]) or "none"
    return f"{kind}{version} answers{context}; name one of its models: {names}"

"""A run that holds one file against another, token by token, in the queue like any other run.

Each window of the text is a line of the run's file, so an interrupted run goes on from the windows it has.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from evals.divergence import DivergenceFailure, DivergencePlan, measure_divergence
from evals.divergence_result import DivergenceResult, WindowResult, read_window, sum_up
from evals.plans import EvalPlan, ModelKind, TestedModel
from evals.run import Cancelled
from evals.run_files import EvalRun, Pace, RunFacts, RunFile, SuiteChosen
from evals.tested_models import Say, find_model_path, hash_files, refuse_other_files
from evals.texts import TEXTS
from sizing.errors import BadInputError, EngineError

SUITE = "divergence"
"""The name under which a divergence's windows are counted in its run."""

CHARACTERS_A_TOKEN = 4
"""For the number of windows to come, before the text has been read: most languages have more tokens than this says."""


def run_divergence(before: EvalRun, file: RunFile, home: Path, usable_bytes: int | None) -> None:
    """Measure what is left of a divergence and keep each window. Raises Cancelled, EngineError with what to do."""
    plan, reference = before.plan, before.plan.reference
    assert reference is not None
    paths = [find_file(model, home, file.say) for model in (reference, plan.model)]
    files = [hash_files(path, home, file.say) for path in paths]
    both = "+".join(f.sha256 for f in files)
    refuse_other_files(before, both)
    text, parse_special = find_text_of(plan)
    n_characters = len(text) if isinstance(text, str) else text.stat().st_size
    setting = make_plan(plan, parse_special, usable_bytes)
    windows = tuple(read_window(record) for record in before.windows)
    facts = RunFacts(
        file_sha256=both,
        file_bytes=files[1].n_bytes,
        quant=plan.model.quant,
        description=f"{plan.model.title} against {reference.title}",
        machine=plan.machine,
        context_tokens=setting.context_tokens,
        suite_versions={SUITE: plan.text if plan.text in TEXTS else Path(plan.text).name},
    )
    file.append("facts", dataclasses.asdict(facts))
    n_planned = count_windows(setting, n_characters)
    chosen = SuiteChosen(SUITE, "Windows of text", "1", n_planned, n_planned, 0.0, "windows", True, "about")
    file.append("chosen", dataclasses.asdict(chosen))
    file.say(f"reading the text with {reference.title} and {plan.model.title}")
    started_s = time.monotonic()

    def keep(window: WindowResult) -> None:
        file.append("window", dataclasses.asdict(window))
        file.append("pace", dataclasses.asdict(Pace(round(time.monotonic() - started_s, 3), 0, 0.0, 0, 0.0, 0)))
        if file.is_cancelled:
            raise Cancelled

    told = measure_divergence(paths[0], paths[1], text, setting, keep, windows)
    if isinstance(told, DivergenceFailure):
        raise EngineError(told.message)
    peak = told.setting.peak_bytes if told.setting is not None else 0
    engine = f"llama-cpp-python {told.setting.llama_cpp_version}" if told.setting is not None else ""
    threads = told.setting.n_threads if told.setting is not None else 0
    file.append("facts", dataclasses.asdict(dataclasses.replace(facts, engine=engine, n_threads=threads)))
    file.append("chosen", dataclasses.asdict(dataclasses.replace(chosen, n_planned=told.n_windows, why="all read")))
    file.append("pace", dataclasses.asdict(Pace(round(time.monotonic() - started_s, 3), 0, 0.0, 0, 0.0, peak)))


def find_file(model: TestedModel, home: Path, say: Say) -> Path:
    """A model's file. Raises BadInputError for a model behind a server, whose logits nobody here sees."""
    if model.kind is ModelKind.ENDPOINT:
        raise BadInputError(f"a divergence wants two files on this machine, {model.title!r} is behind a server")
    return find_model_path(model, home, say)


def find_text_of(plan: EvalPlan) -> tuple[str | Path, bool]:
    """The text of a plan, and whether its '<|...|>' are the model's own tokens. Raises BadInputError for no file."""
    if plan.text in TEXTS:
        return TEXTS[plan.text].build(), TEXTS[plan.text].parse_special
    path = Path(plan.text)
    if not path.is_file():
        raise BadInputError(f"text wants one of {', '.join(TEXTS)} or a file, got {plan.text!r}")
    return path, False


def make_plan(plan: EvalPlan, parse_special: bool, usable_bytes: int | None) -> DivergencePlan:
    """How a divergence is measured, from the run's plan: `limit` are windows, `minutes` of reading."""
    settings = plan.settings
    context_tokens = settings.context_tokens or 512
    return DivergencePlan(
        context_tokens=context_tokens,
        max_tokens=None if plan.limit is None else max(plan.limit, 2) * context_tokens,
        max_seconds=None if plan.minutes is None else 60 * plan.minutes,
        n_threads=settings.n_threads,
        n_gpu_layers=settings.n_gpu_layers or 0,
        parse_special=parse_special,
        candidate_kv_type_k=settings.kv_type_k,
        candidate_kv_type_v=settings.kv_type_v,
        memory_bytes=usable_bytes,
    )


def count_windows(setting: DivergencePlan, n_characters: int) -> int:
    """About how many windows there will be."""
    about = max(n_characters // (CHARACTERS_A_TOKEN * setting.context_tokens), 2)
    return about if setting.max_windows is None else min(about, setting.max_windows)


def find_result(run: EvalRun) -> DivergenceResult | None:
    """What a divergence has come to so far; None before its second window."""
    windows = tuple(read_window(record) for record in run.windows)
    return sum_up(windows) if len(windows) > 1 else None

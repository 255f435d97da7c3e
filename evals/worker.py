"""The process that works on one run. Started by `evals.jobs` with the run's file; never import it to call it.

It alone holds both lm-eval and llama.cpp. All it says goes into the run's file, whose lock it holds; it writes the end
itself where it can, and its parent writes it where native code ended it. It ends when its parent does.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import re
import resource
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evals.plans import EvalPlan
    from evals.run_files import EvalRun, RunFacts, RunFile
    from evals.suite_tasks import Judge, SuiteTask

FILE_LIMIT_BYTES = 16 * 1024**3
"""The largest file a worker may write; the data of standard tasks is kept on disk by the Hub's own client."""

OWN_BYTES = 1024**3
"""Private memory that Python, lm-eval and the data of tasks may take beside the model."""

MIN_CONTEXT_TOKENS = 4096
"""Context of one sequence where no suite wants more, as far as the model was trained for it."""


def find_context(plan: EvalPlan) -> tuple[int, int]:
    """Tokens of one sequence that the suites of a plan want, and those without which one of them means nothing.

    A text of a chosen length has the prompt around it and the longest answer its suite allows within that length.
    """
    from evals.suites import find_suite, list_suites

    own = {suite.name for suite in list_suites()}
    least = 0
    for name in plan.suites:
        if name.partition("@")[0] not in own:
            continue
        suite, text_tokens = find_suite(name)
        if text_tokens:
            longer = max((plan.settings.max_output_tokens or 0) - suite.max_output_tokens, 0)
            least = max(least, text_tokens + longer)
    return plan.settings.context_tokens or max(MIN_CONTEXT_TOKENS, least), least


def load_tasks(plan: EvalPlan, model: Any, home: Path, file: RunFile) -> list[SuiteTask]:
    """A plan's tasks, in its order. Raises UnknownNameError, BadInputError, EngineError, UnsupportedError."""
    from evals.own_data import load_own_suite
    from evals.plans import OWN_PREFIX
    from evals.sandbox import find_sandbox_obstacle
    from evals.standard_tasks import load_standard
    from evals.suite_tasks import wrap_own
    from evals.suites import find_suite, list_suites, load_task, task_from_items
    from sizing.errors import BadInputError, UnsupportedError

    seed = plan.settings.seed
    known = {suite.name for suite in list_suites()}
    tasks: list[SuiteTask] = []
    for name in plan.suites:
        if name.startswith(OWN_PREFIX):
            own = load_own_suite(home, name.removeprefix(OWN_PREFIX))
            task = task_from_items(name, own.head.name, own.items)
            tasks.append(wrap_own(name, own.head.name, own.head.version, 0.0, task, seed))
        elif name.partition("@")[0] in known:
            suite, context_tokens = find_suite(name)
            if suite.opt_in and not plan.allow_code:
                raise BadInputError(f"{suite.title} runs code a model wrote; allow that first (--allow-code)")
            if suite.opt_in and (obstacle := find_sandbox_obstacle()):
                raise UnsupportedError(obstacle)
            file.say(f"preparing {suite.title}")
            task = load_task(suite.name, context_tokens, getattr(model, "count_tokens", None))
            version = f"{suite.version} {suite.items_sha256[:12]}"
            tasks.append(wrap_own(name, suite.title, version, suite.chance, task, seed))
        else:
            found = load_standard(name.removeprefix("lm-eval:"), seed, file.say)
            # a group may hold a task that is also named by itself: it is asked once
            tasks += [task for task in found if task.name not in {known_task.name for known_task in tasks}]
    return tasks


def work(path: Path, file: RunFile, usable_bytes: int | None) -> None:
    """Work on the run to its end. Raises Cancelled, and the project's errors with what to do."""
    from evals.plans import ModelKind, RunKind, find_now
    from evals.run import Cancelled
    from evals.run_files import load_run
    from evals.turn import hold_turn

    home = path.parents[2]
    before = load_run(path)
    file.append("start", {"at": find_now(), "pid": os.getpid()})

    said: list[str] = []

    def wait() -> None:
        if file.is_cancelled:
            raise Cancelled
        if not said:
            said.append("waiting for another measurement to end")
            file.say(said[0])

    with hold_turn(home, wait):
        if before.plan.kind is RunKind.DIVERGENCE:
            from evals.divergence_run import run_divergence

            run_divergence(before, file, home, usable_bytes)
        elif before.plan.model.kind is ModelKind.ENDPOINT:
            work_on_endpoint(before, file, home)
        else:
            work_on_file(before, file, home, usable_bytes)


def work_on_file(before: EvalRun, file: RunFile, home: Path, usable_bytes: int | None) -> None:
    """A run of suites on a file of this machine."""
    from evals.run import run_suites
    from evals.tested_models import find_model_path, find_room, hash_files, open_file_model, refuse_other_files
    from sizing.units import format_tokens

    plan = before.plan
    model_path = find_model_path(plan.model, home, file.say)
    files = hash_files(model_path, home, file.say)
    refuse_other_files(before, files.sha256)
    wanted_tokens, least_tokens = find_context(plan)
    file.say(f"asking llama.cpp what {format_tokens(wanted_tokens)} tokens of context take")
    room = find_room(model_path, plan.settings, wanted_tokens, least_tokens, usable_bytes)
    file.say(f"loading {plan.model.title}")
    model = open_file_model(plan, model_path, room.context_tokens, room.n_parallel)
    with contextlib.closing(model):
        tasks = load_tasks(plan, model, home, file)
        told = model.facts()
        facts = describe_facts(plan, tasks, model)
        facts = dataclasses.replace(
            facts,
            file_sha256=files.sha256,
            file_bytes=files.n_bytes,
            description=told.description,
            engine=told.engine,
            template_sha256=told.template_sha256 or "",
            context_tokens=told.context_tokens,
            n_parallel=told.n_seq,
            n_threads=told.n_threads,
        )
        file.append("facts", dataclasses.asdict(facts))
        run_suites(model, tasks, plan, file, before, find_judge(plan))


def work_on_endpoint(before: EvalRun, file: RunFile, home: Path) -> None:
    """A run of suites on a model behind a server."""
    from evals.endpoint_address import read_key
    from evals.endpoint_lm import EndpointLM
    from evals.run import run_suites

    plan = before.plan
    file.say(f"asking {plan.model.url} what it serves")
    model = EndpointLM(plan_endpoint(plan), read_key())
    with contextlib.closing(model):
        told = model.client.probe()
        tasks = load_tasks(plan, model, home, file)
        facts = describe_facts(plan, tasks, model)
        facts = dataclasses.replace(
            facts,
            description=told.model,
            engine=" ".join(part for part in (told.kind, told.engine_version) if part),
            context_tokens=told.context_tokens or 0,
            n_parallel=plan.settings.n_parallel,
        )
        file.append("facts", dataclasses.asdict(facts))
        run_suites(model, tasks, plan, file, before, find_judge(plan))


def plan_endpoint(plan: EvalPlan) -> Any:
    """How the plan's model is reached."""
    from evals.endpoint import EndpointPlan

    model, settings = plan.model, plan.settings
    return EndpointPlan(
        url=model.url,
        model=model.remote_name,
        api=model.api,
        concurrency=settings.n_parallel,
        timeout_s=settings.timeout_s,
        seed=settings.seed,
    )


def find_judge(plan: EvalPlan) -> Judge | None:
    """The plan's judge as a function of an item and its answer; None where it names none."""
    if plan.judge is None:
        return None
    from evals.endpoint import EndpointClient, EndpointPlan
    from evals.endpoint_address import read_key
    from evals.judge import JudgePlan, judge_answer
    from evals.suite_tasks import Scored, parse_expected

    judge_plan = JudgePlan(EndpointPlan(url=plan.judge.url, model=plan.judge.remote_name, api=plan.judge.api))
    client = EndpointClient(judge_plan.endpoint, read_key())

    def judge(doc: Mapping[str, Any], output: str) -> Scored:
        wanted = parse_expected(doc)
        told = judge_answer(client, judge_plan, doc["prompt"], output, wanted["reference"], wanted["rubric"])
        return Scored(told.score, {} if told.score is None else {"score": told.score}, told.why)

    return judge


def describe_facts(plan: EvalPlan, tasks: list[SuiteTask], model: Any) -> RunFacts:
    """What is known of any model and its suites."""
    from evals.run_files import RunFacts
    from evals.suite_tasks import uses_template

    used = any(uses_template(t.task.OUTPUT_TYPE, t.is_ours, model, plan.settings) for t in tasks)
    versions = {task.name: task.version for task in tasks}
    return RunFacts(quant=plan.model.quant, used_template=used, machine=plan.machine, suite_versions=versions)


def set_limits(usable_bytes: int | None) -> None:
    """Bound this process's memory and files, and end it with its parent."""
    from evals.engine_child import go_first, watch

    go_first()
    for what, top in ((resource.RLIMIT_FSIZE, FILE_LIMIT_BYTES), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (top if hard == resource.RLIM_INFINITY else min(top, hard),) * 2)
    watch(2**62 if usable_bytes is None else usable_bytes + OWN_BYTES, "this evaluation")


def tell_error(error: BaseException) -> str:
    """An unexpected error in one line, without folders."""
    said = " ".join(str(error).split())[:400]
    return re.sub(r"(?:/[^\s/:'\"]+)+/", "", f"{type(error).__name__}: {said}")


def main() -> int:
    """Work on the run named on the command line; 0 when its end is in its file."""
    sys.path.append(str(Path(__file__).parents[1]))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("run_file", type=Path)
    parser.add_argument("--usable-bytes", type=int)
    asked = parser.parse_args()

    from evals.jobs import EXIT_HELD
    from evals.run import Cancelled
    from evals.run_files import RunState, open_run_file
    from sizing.errors import WeighbridgeError

    set_limits(asked.usable_bytes)
    file = open_run_file(asked.run_file)
    if file is None:
        return EXIT_HELD
    with file:
        try:
            work(asked.run_file, file, asked.usable_bytes)
        except Cancelled:
            file.end(RunState.CANCELLED)
        except WeighbridgeError as error:
            file.end(RunState.FAILED, str(error))
        except Exception as error:
            file.end(RunState.FAILED, f"the run failed unexpectedly ({tell_error(error)})")
        else:
            file.end(RunState.DONE)
    return 0


if __name__ == "__main__":
    sys.exit(main())

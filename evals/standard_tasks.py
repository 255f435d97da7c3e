"""The standard tasks of lm-eval by name: found, their data fetched from the Hub, and every failure told in one line.

Only a worker imports lm-eval, so everything here does so when it is called.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from evals.suite_tasks import SuiteTask, wrap_standard
from sizing.errors import EngineError, UnknownNameError, UnsupportedError, WeighbridgeError

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
"""Where the Hub's client looks for a token."""

UNREACHABLE = frozenset(
    {"ConnectionError", "LocalEntryNotFoundError", "OfflineModeIsEnabled", "HTTPError", "TimeoutException"}
)
"""Errors of the Hub's client and of its transport that mean no answer, or one that says nothing."""

TOLD_CHARACTERS = 300

OFFLINE_HINT = "our own suites need no network: python -m evals list"


def load_standard(name: str, seed: int, say: Callable[[str], None]) -> list[SuiteTask]:
    """lm-eval's task of this name; all of its tasks where the name is a group's or a tag's.

    Raises UnknownNameError for a name neither lm-eval nor we know, EngineError where the data cannot be had,
    UnsupportedError for what is not run here or wants a package that is not installed.
    """
    path = find_task_file(name)
    if path is not None:
        refuse_unsafe(name, path)
    manager = open_tasks(path is None, say)
    if path is None and name not in manager.task_index:
        raise tell_unknown(name, manager.all_tasks)
    say(f"fetching the data of {name}")
    seed_as_lm_eval()
    try:
        tasks = manager.load([name if path is None else str(path)])["tasks"]
    except Exception as error:  # whatever a task's own code, the Hub client or the network raises
        raise explain_failure(name, error) from error
    return [wrap_standard(each, task, seed) for each, task in tasks.items()]


def find_task_file(name: str) -> Path | None:
    """The file that declares a task of this name, None where there is none or it is a group's, a tag's or not alone.

    Reading the lines that name tasks takes half a second; lm-eval's own list parses 14,000 files, 10 s and more.
    """
    import lm_eval.tasks

    wanted = name.encode()
    line = re.compile(
        rb"^[\"']?(task|group)[\"']?[ \t]*:[ \t]*[\"']?" + re.escape(wanted) + rb"[\"']?[ \t]*(?:#.*)?\r?$", re.M
    )
    found: list[tuple[bytes, Path]] = []
    for path in Path(str(lm_eval.tasks.__file__)).parent.rglob("*.yaml"):
        text = path.read_bytes()
        if wanted in text:
            found += [(kind, path) for kind in line.findall(text)]
    return found[0][1] if len(found) == 1 and found[0][0] == b"task" else None


def refuse_unsafe(name: str, path: Path) -> None:
    """Raises UnsupportedError for a task that runs what a model wrote, before its code is loaded."""
    from lm_eval.tasks._yaml_loader import load_yaml

    if load_yaml(path, resolve_func=False).get("unsafe_code"):
        raise UnsupportedError(f"{name} runs a model's code outside a sandbox; the suite 'code' runs it inside one")


def open_tasks(is_whole: bool, say: Callable[[str], None]) -> Any:
    """lm-eval's task manager, with its whole list where a name wants it; that one is kept."""
    from lm_eval.tasks import TaskManager

    if not is_whole:
        return TaskManager(include_defaults=False)
    say("reading lm-eval's list of tasks")
    return read_whole_list()


def seed_as_lm_eval() -> None:
    """Seed what a task may draw from while it makes its items, as lm-eval's evaluator does whatever the run's seed.

    Tasks that shuffle their choices (gpqa) so have the same items in every run, and those of lm-eval itself.
    """
    import numpy as np
    from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)


@cache
def read_whole_list() -> Any:
    """A task manager that knows every task, group and tag of lm-eval."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def tell_unknown(name: str, known: list[str]) -> UnknownNameError:
    """That no suite is called so, with near names, our own suites' first."""
    from evals.suites import list_suites

    return UnknownNameError("suite", name, known, first=[suite.name for suite in list_suites()])


def list_causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it says it was raised from, each once."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        seen.append(at)
        yield at
        at = at.__cause__


def explain_failure(name: str, error: Exception) -> WeighbridgeError:
    """Why a task's data could not be had and what to do, without token or folder."""
    causes = list(list_causes(error))
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    told = " ".join(str(error).split())
    repository = find_repository(told)
    if "ImportError" in kinds:
        return UnsupportedError(tell_missing_package(name, causes))
    if "Dataset scripts are no longer supported" in told:
        return UnsupportedError(
            f"the data of {name} comes as a program, which the datasets package no longer runs; take another task"
        )
    if "GatedRepoError" in kinds or "gated dataset" in told:
        return EngineError(
            f"the data of {name}{repository} is gated: accept its terms on its page at the Hub, and set HF_TOKEN to a "
            "token of that account"
        )
    if kinds & {"DatasetNotFoundError", "RepositoryNotFoundError"}:
        return EngineError(
            f"the data of {name}{repository} is not on the Hub, or only for those allowed in; a private one wants "
            "HF_TOKEN set to a token that may read it, and a token that has expired hides public ones too"
        )
    # datasets tells some of them in its text only
    if (kinds | set(re.findall(r"\w+", told))) & UNREACHABLE or "check your connection" in told:
        return EngineError(
            f"the Hub could not be reached for the data of {name}{repository}; data fetched once is kept, a first "
            f"time wants the network (HF_HUB_OFFLINE unset, HF_ENDPOINT right); {OFFLINE_HINT}"
        )
    last = causes[-1]
    return EngineError(
        f"the data of {name} could not be prepared ({type(last).__name__}: {clean(' '.join(str(last).split()))}); "
        f"{OFFLINE_HINT}"
    )


def find_repository(told: str) -> str:
    """The data set that an error's text names in quotes, as ' (owner/name)'; empty where it names none."""
    found = re.search(r"['\"]([\w.-]+/[\w.-]+)['\"]", told)
    return f" ({found.group(1)})" if found else ""


def tell_missing_package(name: str, causes: list[BaseException]) -> str:
    """Which package a task wants, and how it is installed: all it wants at once where lm-eval lists them."""
    modules = [str(cause.name) for cause in causes if isinstance(cause, ImportError) and cause.name]
    if not modules:
        return f"{name} wants a package that is not installed ({clean(' '.join(str(causes[0]).split()))})"
    try:
        extras = metadata("lm_eval").get_all("Provides-Extra") or []
    except PackageNotFoundError:
        extras = []
    wanted = f'"lm-eval[{name}]"' if name in extras else modules[-1].partition(".")[0]
    return f"{name} wants the package {modules[-1]}, which is not installed: python -m pip install {wanted}"


def clean(text: str) -> str:
    """A text without tokens and folders, not longer than a line or three."""
    for token in (os.environ.get(variable) for variable in TOKEN_VARIABLES):
        text = text.replace(token, "[token]") if token else text
    text = re.sub(r"\bhf_\w{6,}", "[token]", text)
    return re.sub(r"(?<![\w/:.])(?:~|[A-Za-z]:)?[/\\][^\s'\":]*[/\\]", "", text)[:TOLD_CHARACTERS]

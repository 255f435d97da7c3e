"""Python functions to write, each with hidden cases that run in the sandbox.

A task is told in words with examples written by hand; the hidden cases are what the reference gives for the inputs
listed. The tests hold every reference to its examples.
"""

from __future__ import annotations

import ast
import random
from typing import Any

from evals.suites.generators.base import Item, Plan
from evals.suites.generators.code_task import Task
from evals.suites.generators.code_tasks import TASKS

MAX_TOKENS = 1024
SYSTEM = "Answer with Python code in one fenced block. Use the standard library only; do not read files or print."


def load_reference(task: Task) -> Any:
    """The reference function of a task: our own code, run here while items are generated."""
    names: dict[str, Any] = {}
    exec(compile(task.reference, task.name, "exec"), names)
    return names[task.name]


def list_cases(task: Task) -> list[list[Any]]:
    """Arguments and values of the hidden cases; the examples' own arguments come first."""
    function = load_reference(task)
    calls = [*(read_arguments(example) for example, _ in task.examples), *task.inputs]
    return [[list(arguments), function(*arguments)] for arguments in calls]


def read_arguments(example: str) -> tuple[Any, ...]:
    """The arguments of a call such as "f(1, [2])", which holds literals only."""
    call = ast.parse(example, mode="eval").body
    assert isinstance(call, ast.Call)  # the examples are written beside this file
    return tuple(ast.literal_eval(argument) for argument in call.args)


def make_item(task: Task) -> Item:
    """One item."""
    examples = "\n".join(f"{call} returns {value}" for call, value in task.examples)
    prompt = f"Write a Python function `{task.name}({task.parameters})`. {task.about}\n\nExamples:\n{examples}"
    expected = {"entry": task.name, "cases": list_cases(task), "reference": f"```python\n{task.reference.strip()}\n```"}
    return Item(prompt, "code", expected, task.level, MAX_TOKENS, SYSTEM)


def make_items(seed: int) -> list[Item]:
    """All tasks, shuffled within their levels."""
    tasks = list(TASKS)
    random.Random(seed).shuffle(tasks)
    return [make_item(task) for task in tasks]


PLANS = (
    Plan(
        name="code",
        title="Writing Python functions",
        measures="Short functions from a description and examples; an item counts when every hidden case is right.",
        does_not_measure="Programs of several files, other languages, style, speed beyond a few seconds.",
        release=1,
        seed=5112,
        chance=0.0,
        make_items=make_items,
        opt_in=True,
    ),
)

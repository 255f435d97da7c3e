"""Suites as lm-eval tasks: what the task files name, and task objects made without a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from evals.scoring import judge, judge_likelihoods
from evals.suites.listing import (
    FOLDER,
    ITEM_FIELDS,
    CountTokens,
    check_items,
    find_suite,
    load_items,
)
from sizing.errors import BadInputError

OUTPUT_TYPES = ("generate_until", "multiple_choice")


def load_dataset(**metadata: Any) -> dict[str, Any]:
    """What lm-eval's `custom_dataset` calls with a task's metadata: the suite `name`, and `context_tokens` if any."""
    return as_dataset(load_items(metadata["name"], metadata.get("context_tokens")))


def as_dataset(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Items as the one split lm-eval reads."""
    rows = [{key: item[key] for key in ITEM_FIELDS} for item in items]
    return {"test": import_module("datasets").Dataset.from_list(rows)}


def score_answer(doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
    """lm-eval's `process_results` for a generated answer."""
    return {"score": judge(doc["scorer"], doc["expected"], str(results[0]), doc["prompt"]).score}


def score_choice(doc: dict[str, Any], results: Sequence[Any]) -> dict[str, float]:
    """lm-eval's `process_results` for log-likelihoods, one (log-likelihood, is greedy) for each choice."""
    return {"score": judge_likelihoods(doc["expected"], [float(result[0]) for result in results]).score}


def list_choices(doc: dict[str, Any]) -> list[str]:
    """The texts of a multiple choice, in order."""
    return [str(choice) for choice in json.loads(doc["expected"])["choices"]]


def find_right_choice(doc: dict[str, Any]) -> int:
    """The place of the right choice, from 0."""
    return ord(json.loads(doc["expected"])["letter"]) - ord("A")


def load_task(name: str, context_tokens: int | None = None, count_tokens: CountTokens | None = None) -> Any:
    """A suite as an lm-eval task object, made from its task file. Raises as `load_items` does.

    The task of a suite built for a context is named with its length, as in "needle@16384".
    """
    suite, named = find_suite(name)
    items = load_items(name, context_tokens, count_tokens)
    wanted = context_tokens or named
    load_yaml = import_module("lm_eval.tasks._yaml_loader").load_yaml
    config = load_yaml(FOLDER / suite.name / f"{suite.name}.yaml")
    config["custom_dataset"] = lambda **metadata: as_dataset(items)
    if wanted:
        config["task"] = f"{suite.name}@{wanted}"
    return import_module("lm_eval.api.task").ConfigurableTask(config=config)


def task_from_items(
    name: str,
    title: str,
    items: Sequence[dict[str, Any]],
    output_type: str = "generate_until",
    max_output_tokens: int | None = None,
) -> Any:
    """The same kind of lm-eval task object for any items of the schema, such as a person's own data.

    `output_type` "multiple_choice" compares the log-likelihoods of the choices and needs items of scorer `choice` with
    `choices`. `max_output_tokens` is the longest `max_tokens` of the items unless given. Raises BadInputError for an
    unknown output type and for items that break the schema.
    """
    if output_type not in OUTPUT_TYPES:
        raise BadInputError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}, got {output_type!r}")
    check_items(items)
    config: dict[str, Any] = {
        "task": name,
        "task_alias": title,
        "custom_dataset": lambda **metadata: as_dataset(items),
        "test_split": "test",
        "output_type": output_type,
        "description": "{{system}}",
        "doc_to_text": "prompt",
        "metric_list": [{"metric": "score", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": "1", "name": name, "title": title},
    }
    if output_type == "multiple_choice":
        check_choices(items)
        config |= {"doc_to_choice": list_choices, "doc_to_target": find_right_choice, "process_results": score_choice}
    else:
        longest = max_output_tokens or max(item["max_tokens"] for item in items)
        generation: dict[str, Any] = {"until": [], "do_sample": False, "temperature": 0.0, "max_gen_toks": longest}
        config |= {"doc_to_target": "expected", "process_results": score_answer, "generation_kwargs": generation}
    return import_module("lm_eval.api.task").ConfigurableTask(config=config)


def check_choices(items: Sequence[dict[str, Any]]) -> None:
    """BadInputError where an item has no choices to compare."""
    for item in items:
        expected = json.loads(item["expected"]) if item["scorer"] == "choice" else None
        if not isinstance(expected, dict) or len(expected.get("choices", ())) < 2:
            raise BadInputError(f"item {item['id']!r}: a multiple choice needs scorer choice and at least two choices")

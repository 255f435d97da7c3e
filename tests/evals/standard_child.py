"""The child of tests/evals/test_standard_tasks.py that imports lm-eval with HF_ENDPOINT set: one line of JSON each.

`compare NAME...` runs tasks twice with a model made of Python: through `evals.standard_tasks` and `SuiteTask`, and by
lm-eval's own `simple_evaluate`. `fail NAME...` says how loading each fails.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from lm_eval.api.model import LM

from evals.plans import EvalSettings
from evals.standard_tasks import load_standard, read_whole_list
from evals.suite_tasks import SuiteTask, plain_metric
from sizing.errors import WeighbridgeError

SEED = 1234


def draw(text: str) -> float:
    """0 to 1, by the text."""
    return hashlib.sha256(text.encode()).digest()[0] / 255


class FakeModel(LM):  # type: ignore[misc] # lm-eval ships no types
    """Answers by a hash of the question alone, so that other examples before it change nothing."""

    max_length = 4096

    def chat_template(self, wanted: bool | str = False) -> str:
        """It has none."""
        return ""

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """Longer continuations are less likely, so that the score by length differs."""
        return [
            (-5 * draw("".join(r.args)) - 0.4 * len(r.args[1]), draw("greedy" + "".join(r.args)) > 0.5)
            for r in requests
        ]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """By the length and a hash."""
        return [-len(r.args[0]) * (1 + draw(r.args[0])) for r in requests]

    def generate_until(self, requests: list[Any]) -> list[str]:
        """Right and well formed, right only as the last number, or wrong."""
        return [self.write(r.args[0].rpartition("Question: ")[2]) for r in requests]

    def write(self, question: str) -> str:
        """One answer."""
        numbers = [int(part.strip("?")) for part in question.split() if part.strip("?").isdigit()]
        total = sum(numbers)
        kinds = (f"Add them.\n#### {total}", f"It is ${total:,}.", f"#### {total}, or rather {total + 1}", "No idea.")
        return kinds[total // 4 % len(kinds)]


def ask(task: SuiteTask, model: FakeModel, place: int) -> dict[str, Any]:
    """One item through our own path."""
    requests = task.build_requests(place, model, EvalSettings(template="none"))
    kind = requests[0].request_type
    for request, answer in zip(requests, getattr(model, kind)(requests), strict=True):
        request.resps.append(answer)
    scored = task.score(place, requests)
    return {
        "score": scored.score,
        "metrics": scored.metrics,
        "prompts": [plain_metric(r.args) for r in requests],
        "told": task.tell_answer(place, requests),
    }


def compare(names: list[str]) -> None:
    """Each task our way, then all of them lm-eval's way."""
    from lm_eval.evaluator import simple_evaluate

    model = FakeModel()
    for name in names:
        for task in load_standard(name, SEED, lambda said: None):
            items = {place: ask(task, model, place) for place in task.order}
            about = {"chance": task.chance, "metric": task.metric, "version": task.version, "title": task.title}
            print(json.dumps({"ours": task.name, "items": items, **about, "up": task.is_higher_better}))
    told = simple_evaluate(model, tasks=names, task_manager=read_whole_list(), bootstrap_iters=0, verbosity="ERROR")
    for name, samples in told["samples"].items():
        items = [
            {
                "place": s["doc_id"],
                "filter": s["filter"],
                "metrics": {m: plain_metric(s[m]) for m in s["metrics"]},
                "prompts": [plain_metric(a) for a in s["arguments"]],
            }
            for s in samples
        ]
        version = told["versions"][name]
        results = {k: v for k, v in told["results"][name].items() if isinstance(v, float | int)}
        print(json.dumps({"stock": name, "items": items, "version": version, "results": results}))


def fail(names: list[str]) -> None:
    """How loading each name fails; the Hub client's waits are left out."""
    time.sleep = lambda seconds: None  # type: ignore[assignment]
    for name in names:
        try:
            tasks = load_standard(name, SEED, lambda said: None)
        except WeighbridgeError as error:
            print(json.dumps({"name": name, "kind": type(error).__name__, "said": str(error)}))
        else:
            print(json.dumps({"name": name, "kind": "", "said": f"{len(tasks)} tasks"}))


if __name__ == "__main__":
    {"compare": compare, "fail": fail}[sys.argv[1]](sys.argv[2:])

"""Run files as a worker would have left them, written through the run files' own door."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from evals.plans import EvalPlan, ModelKind, RunKind, TestedModel
from evals.run_files import ItemResult, Pace, RunFacts, RunState, SuiteChosen, create_run, open_run_file

DEMO = TestedModel(ModelKind.DEMO, "Weighbridge Demo", quant="Q8_0")
DEMO_2 = TestedModel(ModelKind.DEMO, "Weighbridge Demo", quant="Q2_K")
QWEN_ID = "Qwen/Qwen3-14B"
QWEN = TestedModel(ModelKind.FILE, "Qwen3 14B", path="/nowhere/qwen3-14b.gguf", model_id=QWEN_ID, quant="Q4_K_M")
SHA = "0123456789abcdef" * 4
PROMPT = "How many pears? <b id='bad'>bold</b> **bold** $x$"


class FakeQueue:
    """Stands in for the queue: remembers what it was asked to do and does nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []
        self.plans: list[EvalPlan] = []
        self.keys: list[str | None] = []

    def enqueue(self, plan: EvalPlan, key: str | None = None) -> None:
        self.plans.append(plan)
        self.keys.append(key)

    def cancel(self, run_id: str) -> None:
        self.asked.append(("cancel", run_id))

    def resume(self, run_id: str, key: str | None = None) -> None:
        self.asked.append(("resume", run_id))

    def remove(self, run_id: str) -> None:
        self.asked.append(("remove", run_id))


def write_run(
    home: Path,
    model: TestedModel,
    right: Sequence[bool],
    *,
    number: int = 1,
    suite: str = "arithmetic",
    title: str = "Arithmetic",
    state: RunState = RunState.DONE,
    reason: str = "",
    n_planned: int | None = None,
) -> str:
    """A run of one suite whose items were right or wrong as given; returns its id. `number` orders runs in time."""
    run_id = f"20261125-1200{number:02}-abcdef"
    plan = EvalPlan(run_id, f"2026-11-25T12:00:{number:02}+00:00", RunKind.SUITES, model, (suite,), minutes=5.0)
    path = create_run(home, plan)
    if state is RunState.QUEUED:
        return run_id
    file = open_run_file(path)
    assert file is not None
    with file:
        file.append("start", {"at": plan.created_at})
        facts = RunFacts(SHA, 10 * 1024**2, model.quant, engine="llama-cpp-python 0.3.36", machine="a machine")
        file.append("facts", asdict(facts))
        chosen = SuiteChosen(suite, title, "1", 500, n_planned or len(right), 0.0, "exact match", True, "5 minutes")
        file.append("chosen", asdict(chosen))
        for index, is_right in enumerate(right):
            file.append("item", asdict(build_item(suite, index, is_right)))
        # 12 tokens and half a second an item; a token takes a fiftieth of a second
        n = len(right)
        file.append("pace", asdict(Pace(n / 2, 40 * n, n / 100, 12 * n, 12 * n / 50, 3 * 1024**3)))
        file.say("answering arithmetic")
        if state in (RunState.DONE, RunState.FAILED, RunState.CANCELLED):
            file.end(state, reason)
    return run_id


def build_item(suite: str, index: int, is_right: bool) -> ItemResult:
    """One item, two categories in turn; a wrong one says why."""
    return ItemResult(
        suite=suite,
        item_id=f"item-{index:03}",
        score=float(is_right),
        metrics={},
        category=("sums", "words")[index % 2],
        prompt=PROMPT,
        output="41" if is_right else "a guess",
        expected="41",
        why="" if is_right else "the last number is not 41",
        n_prompt_tokens=40,
        n_output_tokens=12,
        seconds=0.5,
        finish="stop",
        at="2026-11-25T12:01:00+00:00",
    )


def write_divergence(
    home: Path, model: TestedModel, reference: TestedModel, n_windows: int = 20, number: int = 0
) -> str:
    """A finished divergence: about 0.1 nats lost per token, nine tokens of ten the same. `number` orders in time."""
    run_id = f"20261125-1300{number:02}-abcdef"
    plan = EvalPlan(run_id, f"2026-11-25T13:00:{number:02}+00:00", RunKind.DIVERGENCE, model, reference=reference)
    file = open_run_file(create_run(home, plan))
    assert file is not None
    chance = random.Random(1)
    with file:
        file.append("start", {"at": plan.created_at})
        for index in range(n_windows):
            n, loss = 200, 20 + chance.random()
            window = {
                "index": index,
                "tokens_hash": str(index),
                "n_tokens": n,
                "nll_reference": 400.0,
                "nll_candidate": 400.0 + loss,
                "kl_sum": loss,
                "kl_squares": loss,
                "kl_max": 2.0,
                "n_agree": 178 + index % 5,
                "shift_sum": -1.0,
                "shift_squares": 1.0,
                "kl_bins": [[-60, n]],
                "seconds": 0.1,
            }
            file.append("window", window)
        file.end(RunState.DONE)
    return run_id

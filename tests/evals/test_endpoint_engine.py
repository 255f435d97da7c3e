"""Against llama.cpp itself, served as llama_cpp.server serves it: scores are the engine's, or are refused."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evals.demo.measure import MODEL_FILE
from evals.endpoint import EndpointClient, EndpointPlan, Secret
from sizing.errors import UnsupportedError

pytestmark = pytest.mark.engine

PAIRS = [
    ("What is 2 + 3?", " 5"),
    ("What is 2 + 3? ", "5"),
    ("The capital", " of the town"),
    ("one two", " three, four."),
    ("é and ", "日本"),
    ("{", '"a": 1}'),
]


@contextlib.contextmanager
def serve(begins: bool) -> Iterator[EndpointClient]:
    """A client of a child that serves the demonstration model, with or without a beginning token."""
    script = Path(__file__).with_name("llama_server_child.py")
    command = [sys.executable, str(script), str(MODEL_FILE), str(int(begins))]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout is not None
    try:
        port = int(child.stdout.readline())
        plan = EndpointPlan(f"http://127.0.0.1:{port}", api="completion", n_retries=0)
        with EndpointClient(plan, Secret()) as client:
            yield client
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_scores_are_those_of_the_engines_logits() -> None:
    with serve(begins=True) as client:
        assert client.probe().kind == "llama_cpp.server"
        for prompt, continuation in PAIRS:
            blanks = prompt[len(prompt.rstrip()) :]
            asked = {"prompt": prompt.rstrip(), "continuation": blanks + continuation}
            expected = client.ask("/weigh", asked).body
            scored = client.score(prompt, continuation)
            assert scored.log_likelihood == pytest.approx(expected["log_likelihood"], abs=1e-3), (prompt, continuation)
            assert scored.is_greedy == expected["is_greedy"]
            assert scored.n_scored_tokens == expected["n_tokens"]


def test_numbers_listed_one_token_late_are_refused() -> None:
    """Without a beginning token llama_cpp.server pairs each token with the row of logits after it."""
    with serve(begins=False) as client, pytest.raises(UnsupportedError, match="shifted"):
        client.score("What is 2 + 3?", " 5")


def test_text_is_generated() -> None:
    with serve(begins=False) as client:
        reply = client.complete("What is 2 + 3?", max_tokens=3)
        assert reply.n_output_tokens is not None and 0 <= reply.n_output_tokens <= 3
        assert (reply.n_prompt_tokens or 0) > 3

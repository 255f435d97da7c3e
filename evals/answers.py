"""What a model under test says of one request, and to whom: shared by the file on this machine and the endpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    """What one answered request took.

    `n_prompt_tokens` is the whole prompt, shared parts included; `n_output_tokens` what was generated, or scored where
    `finish` is "scored". `finish` is "stop" (the model or a stop sequence ended it), "length" (it was cut at its limit
    of tokens) or "scored". `seconds` is the time from the request to its answer, queueing at the model included.
    """

    n_prompt_tokens: int
    n_output_tokens: int
    seconds: float
    finish: str


Listener = Callable[[int, Any, Usage], None]
"""Told of each answer the moment it is known: the request's place in the present call, the answer as lm-eval wants it
(log-likelihood and greediness, a number, or text), and what it took. What it raises ends the call."""

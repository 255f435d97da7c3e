"""The largest rank, sequence and micro batch that fit, each with everything else as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sizing.errors import UnsupportedError
from sizing.finetune import FineTuneEstimate, estimate_finetune
from sizing.finetune_lora import MAX_RANK
from sizing.finetune_setup import MAX_BATCH, METHODS, FineTuneSetup, check_setup


@dataclass(frozen=True, slots=True)
class Largest:
    """The largest values that fit, 0 where none does; `rank` is None for full fine-tuning."""

    rank: int | None
    sequence_tokens: int
    micro_batch: int


def find_largest(setup: FineTuneSetup) -> Largest:
    """The largest of each alone. Memory grows with each, so halving finds it. Raises as `estimate_finetune`."""
    check_setup(setup)
    most_rank = min(MAX_RANK, setup.spec.hidden_dim)  # a higher rank than the matrix has says nothing more
    return Largest(
        rank=search(most_rank, lambda n: replace(setup, rank=n)) if setup.is_lora else None,
        sequence_tokens=search(setup.spec.context_tokens, lambda n: replace(setup, sequence_tokens=n)),
        micro_batch=search(MAX_BATCH, lambda n: replace(setup, micro_batch=n)),
    )


def search(most: int, change: Callable[[int], FineTuneSetup]) -> int:
    """The largest whole number from 1 to `most` whose setup fits, 0 where 1 does not."""

    def fits(value: int) -> bool:
        return estimate_finetune(change(value)).fit.runs

    if not fits(1):
        return 0
    if fits(most):
        return most
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class MethodAnswer:
    """One method beside the others: its estimate, or why it cannot be run."""

    method: str
    estimate: FineTuneEstimate | None
    gap: str = ""


def compare_methods(setup: FineTuneSetup) -> tuple[MethodAnswer, ...]:
    """The same run by every method, everything else as it is."""
    out = []
    for method in METHODS:
        try:
            out.append(MethodAnswer(method, estimate_finetune(replace(setup, method=method))))
        except UnsupportedError as error:
            out.append(MethodAnswer(method, None, str(error)))
    return tuple(out)

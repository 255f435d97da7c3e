"""Rows of logits against plain formulas, and drawing against its rules."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evals.sampling import Sampling, draw, normalize
from sizing.errors import BadInputError, EngineError


def test_normalizers_are_those_of_the_plain_formula() -> None:
    rows = np.random.default_rng(0).normal(0, 20, (7, 500)).astype(np.float32)
    sums, best = normalize(rows)
    for row, found, place in zip(rows.tolist(), sums, best, strict=True):
        assert found == pytest.approx(max(row) + math.log(math.fsum(math.exp(x - max(row)) for x in row)), abs=1e-5)
        assert place == row.index(max(row))


def test_large_logits_do_not_overflow_and_nonsense_is_an_error() -> None:
    sums, _ = normalize(np.asarray([[3e4, 3e4, -3e4]], dtype=np.float32))
    assert sums[0] == pytest.approx(3e4 + math.log(2))
    with pytest.raises(EngineError, match="not finite"):
        normalize(np.asarray([[1.0, math.nan]], dtype=np.float32))


def count(row: list[float], sampling: Sampling, n: int = 4000) -> dict[int, float]:
    chance = np.random.default_rng(1)
    drawn = [draw(np.asarray(row, dtype=np.float32), sampling, chance) for _ in range(n)]
    return {token: drawn.count(token) / n for token in set(drawn)}


def test_drawing_follows_the_probabilities() -> None:
    shares = count([math.log(0.1), math.log(0.6), math.log(0.3)], Sampling(1.0))
    assert shares == pytest.approx({0: 0.1, 1: 0.6, 2: 0.3}, abs=0.04)
    colder = count([math.log(0.1), math.log(0.6), math.log(0.3)], Sampling(0.5))
    assert colder[1] == pytest.approx(0.36 / (0.36 + 0.09 + 0.01), abs=0.04)


@pytest.mark.parametrize(
    ("sampling", "left"),
    [
        (Sampling(1.0, top_k=2), {1, 2}),
        (Sampling(1.0, top_p=0.5), {1}),
        (Sampling(1.0, top_p=0.7), {1, 2}),
        (Sampling(1.0, min_p=0.4), {1, 2}),
        (Sampling(0.0), {1}),
        (Sampling(1.0, top_k=99), {0, 1, 2}),
    ],
)
def test_what_is_cut_is_never_drawn(sampling: Sampling, left: set[int]) -> None:
    assert set(count([math.log(0.1), math.log(0.6), math.log(0.3)], sampling)) == left


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"top_p": 0}, {"top_k": -1}, {"min_p": 2}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInputError):
        Sampling(**wrong)  # type: ignore[arg-type]

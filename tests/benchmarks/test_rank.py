"""The ranking benchmark measures what it says: distinct models, and the same bytes both ways."""

from __future__ import annotations

import pytest

from benchmarks.rank import Turns, example_machine, main, make_candidates, measure
from catalog.candidates import list_candidates
from catalog.store import open_catalog
from sizing.recommend import Candidate, Needs, Ranker
from sizing.workload import Workload

NEEDS = Needs("chat", Workload(context_tokens=2048))


@pytest.fixture(scope="module")
def originals() -> list[Candidate]:
    return [c for c in list_candidates(open_catalog(), "chat", "any") if c.weights][:6]


def test_copies_differ_in_their_bytes(originals: list[Candidate]) -> None:
    ranker = Ranker(make_candidates(originals, 2 * len(originals)))
    totals = ranker.size(NEEDS.workload, example_machine()).placement.total.sum(axis=1)
    first = [totals[ranker.table.model_row == m].max() for m in range(2 * len(originals))]
    assert len(set(first)) == 2 * len(originals)


def test_pass_and_loop_are_timed_over_the_same_rows(originals: list[Candidate]) -> None:
    timing = measure(make_candidates(originals, 12), example_machine(), "chat", repeat=1)
    assert (timing.n_models, timing.n_looped) == (12, 12)
    assert timing.n_rows == sum(len(c.weights) for c in originals) * 2
    assert timing.new_context.pass_s > 0 and timing.same_context.loop_s > 0


def test_the_ratio_is_loop_over_pass() -> None:
    assert Turns(pass_s=0.5, loop_s=4.0).ratio == 8.0


def test_the_command_prints_the_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--models", "3", "--repeat", "1"]) == 0
    out = capsys.readouterr().out
    assert "3 models" in out and "ratio" in out

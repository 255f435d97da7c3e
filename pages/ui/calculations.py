"""Long calculations, worked out in a second process beside the app: `python -m pages.ui.calculations`.

The process reads questions from its input and writes answers to its output, one after the other, both pickled: it is
the app's own child, and nobody else holds the ends. It opens the catalog itself, and anew when a question comes of a
newer generation. It ends when its input does, so with the app.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from catalog import machines
from catalog.candidates import list_candidates
from catalog.store import Catalog, open_catalog
from evals.home import find_home_if_usable
from sizing import inverse
from sizing.hardware import Machine
from sizing.inverse import GridRow, HardwareAnswer, HardwareNeeds
from sizing.license_profile import LicenseProfile
from sizing.memory import WeightBytes
from sizing.rank_columns import RankColumns
from sizing.recommend import MeasuredHere, Needs, Ranker
from sizing.specs import ModelSpec
from sizing.workload import Workload

KEPT_RANKERS = 8

Question = tuple[str, int, tuple[Any, ...]]
"""The name of a calculation (`CALCULATIONS`), the generation of the catalog it is asked of, and its values."""


def build_ranker(
    known: Catalog,
    columns: RankColumns | None,
    task: str,
    license_use: str,
    profile: LicenseProfile | None,
    measured: tuple[MeasuredHere, ...],
) -> Ranker:
    """The whole catalog for a task, a licence use and who asks; `columns` of an earlier one are shared."""
    return Ranker(list_candidates(known, task, license_use, profile, measured), columns)


@dataclass(slots=True)
class Bench:
    """What the second process keeps between questions."""

    known: Catalog
    rankers: dict[tuple[Any, ...], Ranker] = field(default_factory=dict)
    machines: tuple[Machine, ...] = ()

    def find_changes(self, machine: Machine, needs: Needs, measured: tuple[MeasuredHere, ...]) -> tuple[str, ...]:
        """What else would be recommended with more memory, half the context, more people or twice the speed."""
        return self.find_ranker(needs, measured).find_changes(machine, needs)

    def find_hardware(self, needs: HardwareNeeds) -> HardwareAnswer:
        """Which listed machines do it."""
        self.machines = self.machines or machines.list_machines(self.known)
        return inverse.find_hardware(needs, self.machines)

    def list_context_grid(
        self, spec: ModelSpec, weights: WeightBytes, workload: Workload, machine: Machine, contexts: tuple[int, ...]
    ) -> tuple[GridRow, ...]:
        """The largest context for each number of users on a machine."""
        return inverse.list_context_grid(spec, weights, workload, machine, contexts=contexts)

    def find_ranker(self, needs: Needs, measured: tuple[MeasuredHere, ...]) -> Ranker:
        """The ranker of a question, kept among the newest `KEPT_RANKERS`."""
        asked = (needs.task, needs.license_use, needs.license_profile, measured)
        found = self.rankers.pop(asked, None)
        if found is None:
            newest = next(reversed(self.rankers.values()), None)
            found = build_ranker(self.known, newest.columns if newest else None, *asked)
        self.rankers[asked] = found
        for oldest in list(self.rankers)[:-KEPT_RANKERS]:
            del self.rankers[oldest]
        return found


CALCULATIONS: dict[str, Callable[..., object]] = {
    "find_changes": Bench.find_changes,
    "find_hardware": Bench.find_hardware,
    "list_context_grid": Bench.list_context_grid,
}


def answer_all(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the questions end: True and the answer, or False where an error was raised.

    The app then asks itself, and so meets the same error where it can be told.
    """
    bench, opened = Bench(open_catalog(imports=find_home_if_usable())), 0
    while True:
        try:
            name, generation, values = pickle.load(questions)
        except EOFError:
            return
        try:
            if generation != opened:
                bench, opened = Bench(open_catalog(imports=find_home_if_usable())), generation
            reply: tuple[bool, object] = (True, CALCULATIONS[name](bench, *values))
        except Exception:
            reply = (False, None)
        pickle.dump(reply, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


def main() -> None:
    """Answer on the standard streams; whatever prints goes to the error stream."""
    answers, sys.stdout = sys.stdout.buffer, sys.stderr
    try:
        answer_all(sys.stdin.buffer, answers)
    except BrokenPipeError:  # the app is gone
        sys.stderr.close()


if __name__ == "__main__":
    main()

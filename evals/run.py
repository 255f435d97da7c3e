"""One evaluation as it goes: items asked in turn, scored the moment they are answered, and kept at once.

`run_suites` asks a model (`evals.lm`, `evals.endpoint_lm`, or anything like them) what a plan wants and appends every
finished item to the run's file. Items the file holds already are not asked again.
"""

from __future__ import annotations

import dataclasses
import resource
import sys
import time
from collections.abc import Sequence
from typing import Any

from evals.answers import Usage
from evals.intervals import plan_interval
from evals.plans import EvalPlan, find_now
from evals.run_files import EvalRun, ItemResult, Pace, RunFile
from evals.suite_tasks import Judge, SuiteTask
from sizing.units import format_figures

PILOT_ITEMS = 4
"""Items a time-boxed run asks before it says how many there will be; as many as run side by side, if that is more."""

ROUND_ITEMS = 8
"""Items asked at once, for each that runs side by side. Within a round easy or short ones may finish first, so a score
in between leans on them; whole rounds are a fair draw, however early a run ends."""

SPARE = 0.92
"""How much of the time left is filled, for the last items run on."""

PACE_EVERY_S = 2.0


class Cancelled(Exception):
    """Somebody asked the run to stop."""


class Recorder:
    """Writes what happens to the run's file: items as they finish, and the pace."""

    def __init__(self, file: RunFile, model: Any) -> None:
        self.file = file
        self._model = model
        self._started_s = time.monotonic()
        self._told_s = 0.0

    def keep(self, item: ItemResult) -> None:
        """One finished item. Raises Cancelled when the run is to stop."""
        self.file.append("item", dataclasses.asdict(item))
        self.keep_pace()
        self.check()

    def check(self) -> None:
        """Raises Cancelled when the run is to stop."""
        if self.file.is_cancelled:
            raise Cancelled

    def keep_pace(self, *, now: bool = False) -> None:
        """The speed so far, every two seconds or when told to."""
        elapsed_s = time.monotonic() - self._started_s
        if not now and elapsed_s - self._told_s < PACE_EVERY_S:
            return
        self._told_s = elapsed_s
        self.file.append("pace", dataclasses.asdict(measure_pace(self._model, elapsed_s)))


def measure_pace(model: Any, elapsed_s: float) -> Pace:
    """What a model has done so far. A server's own work is not seen from here: its tokens and memory are zero."""
    if not hasattr(model, "facts"):
        return Pace(round(elapsed_s, 3), 0, 0.0, 0, 0.0, 0)
    told = model.facts()
    return Pace(
        round(elapsed_s, 3),
        told.n_prefilled_tokens,
        round(told.prefill_s, 3),
        told.n_decoded_tokens,
        round(told.decode_s, 3),
        find_peak_bytes(),
    )


def find_peak_bytes() -> int:
    """The most memory this process ever held, its mapped files included."""
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): kibibytes on Linux, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def run_suites(
    model: Any, tasks: Sequence[SuiteTask], plan: EvalPlan, file: RunFile, before: EvalRun, judge: Judge | None = None
) -> None:
    """Ask every task's items and keep them. `before` is what the file held when this attempt began.

    Raises Cancelled when asked to stop, and whatever the model raises; items kept until then stay.
    """
    recorder = Recorder(file, model)
    known = {(item.suite, item.item_id) for item in before.items}
    planned = {chosen.suite: chosen.n_planned for chosen in before.chosen}
    ends_s = None if plan.minutes is None else time.monotonic() + 60 * plan.minutes - count_spent_s(before)
    try:
        for n_before, task in enumerate(tasks):
            recorder.check()
            asker = Asker(model, task, plan, recorder, known, judge)
            if plan.minutes is None or ends_s is None:
                n_items = min(len(task.order), plan.limit or len(task.order))
                asker.choose(n_items, "as asked" if plan.limit else "all there are")
                asker.ask_first(n_items)
            else:
                share_s = max(ends_s - time.monotonic(), 0.0) / (len(tasks) - n_before)
                asker.ask_for(share_s, min(len(task.order), plan.limit or len(task.order)), planned.get(task.name))
    finally:
        recorder.keep_pace(now=True)


def count_spent_s(before: EvalRun) -> float:
    """Seconds that earlier attempts of a run took."""
    return sum(pace.elapsed_s for pace in before.paces)


class Asker:
    """Asks one task's items of a model and keeps them."""

    def __init__(
        self,
        model: Any,
        task: SuiteTask,
        plan: EvalPlan,
        recorder: Recorder,
        known: set[tuple[str, str]],
        judge: Judge | None,
    ) -> None:
        self.model = model
        self.task = task
        self.plan = plan
        self.recorder = recorder
        self.judge = judge
        self.n_known = 0
        self._known = known

    def choose(self, n_items: int, why: str) -> None:
        """Say how many items there will be, and why."""
        self.recorder.file.append("chosen", dataclasses.asdict(self.task.choose(n_items, why)))

    def ask_first(self, n_items: int) -> None:
        """Ask the first `n_items` of the order, those known already left out."""
        places = [p for p in self.task.order[:n_items] if (self.task.name, self.task.find_id(p)) not in self._known]
        self.n_known = n_items - len(places)
        if not places:
            return
        self.recorder.file.say(f"{self.task.title}: {len(places):,} items")
        size = ROUND_ITEMS * self.plan.settings.n_parallel
        for first in range(0, len(places), size):
            self.ask(places[first : first + size])

    def ask_for(self, share_s: float, n_most: int, n_planned: int | None) -> None:
        """Ask as many items as `share_s` seconds allow, told by the first ones; at least the first ones.

        Half of the time is planned by the pace of the first items, the rest by the pace of that half, so that the
        number does not hang on a few. Which items come next never depends on how long they take.
        """
        started_s = time.monotonic()
        pilot = min(max(PILOT_ITEMS, self.plan.settings.n_parallel), n_most)
        n_done = 0
        for part, of_the_time in ((pilot, 0.0), (0, 0.5), (0, 1.0)):
            left_s = share_s * of_the_time - (time.monotonic() - started_s)
            n_next = part if not of_the_time else self.count_affordable(n_done, started_s, left_s)
            if n_done == 0 and n_planned:
                n_next = max(n_next, min(n_planned, n_most))  # a resumed run keeps what it had promised
            n_goal = min(n_done + n_next, n_most)
            if n_goal == n_done:
                continue
            self.choose(n_goal, self.explain(n_goal, n_most, share_s, n_done, started_s))
            self.ask_first(n_goal)
            n_done = n_goal

    def count_affordable(self, n_done: int, started_s: float, left_s: float) -> int:
        """How many more items the time left allows at the pace so far; a resumed run's known items cost nothing."""
        n_fresh = n_done - self.n_known
        if n_fresh <= 0:
            return 0 if left_s <= 0 else max(PILOT_ITEMS, self.plan.settings.n_parallel)
        each_s = (time.monotonic() - started_s) / n_fresh
        return max(int(SPARE * left_s / each_s), 0) if each_s > 0 else 0

    def explain(self, n_goal: int, n_most: int, share_s: float, n_done: int, started_s: float) -> str:
        """Why so many items, and how far off the score may be with them."""
        reach = f"a score near a half will be known to {100 * plan_interval(n_goal):.0f} points either way"
        if n_done == 0:
            return f"the first items, to learn the pace; with {n_goal} of them {reach}"
        each_s = (time.monotonic() - started_s) / max(n_done - self.n_known, 1)
        why = "all there are" if n_goal == n_most else f"what {format_figures(share_s / 60)} minutes allow"
        return f"{why} at {format_figures(each_s)} s an item; {reach}"

    def ask(self, places: Sequence[int]) -> None:
        """Ask these items, all at once, and keep each as its last answer comes."""
        requests: list[tuple[int, Any]] = []
        mine: dict[int, list[Any]] = {}
        for place in places:
            built = self.task.build_requests(place, self.model, self.plan.settings)
            mine[place] = built
            requests += [(place, request) for request in built]
        waiting = {place: len(built) for place, built in mine.items()}
        used: dict[int, list[Usage]] = {place: [] for place in places}
        for kind in dict.fromkeys(request.request_type for _, request in requests):
            of_kind = [(place, request) for place, request in requests if request.request_type == kind]

            def hear(i: int, answer: Any, usage: Usage, of_kind: list[tuple[int, Any]] = of_kind) -> None:
                place, request = of_kind[i]
                request.resps.append(answer)
                used[place].append(usage)
                waiting[place] -= 1
                if waiting[place] == 0:
                    self.keep(place, mine[place], used[place])
                else:
                    self.recorder.check()

            self.model.listener = hear
            try:
                getattr(self.model, kind)([request for _, request in of_kind])
            finally:
                self.model.listener = None

    def keep(self, place: int, requests: Sequence[Any], used: Sequence[Usage]) -> None:
        """Score one item and write it down."""
        scored = self.task.score(place, requests, self.judge)
        prompt, output, expected = self.task.tell_answer(place, requests)
        doc = self.task.find_doc(place)
        finish = "length" if any(u.finish == "length" for u in used) else used[0].finish
        item_id = self.task.find_id(place)
        self.recorder.keep(
            ItemResult(
                self.task.name,
                item_id,
                scored.score,
                scored.metrics,
                str(doc.get("category", "")) if self.task.is_ours else "",
                prompt,
                output,
                expected,
                scored.why,
                sum(u.n_prompt_tokens for u in used),
                sum(u.n_output_tokens for u in used),
                round(max(u.seconds for u in used), 3),
                finish,
                find_now(),
            )
        )
        self._known.add((self.task.name, item_id))

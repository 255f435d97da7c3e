"""Compute buffers over stretches of context: played once, known for every context whose graph is played alike.

Of all that enters a graph only the cells of the cache move with the context, and sizes move with them in straight
lines, but for the bends that `sizing.graphs` names. `play_line` plays a buffer like `sizing.replay` and keeps, of
every choice between gaps, for which contexts it would be made again; between these bounds the end of the buffer is a
straight line as well. Contexts are counted in pads of `CELL_PAD` cells of one stream.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sizing.graphs.frame import Straight
from sizing.replay import NO_GAP, Ints, Schedule, Steps, play_alone

ANY_LENGTH = 2**40
"""More pads than any context has."""


@dataclass(frozen=True, slots=True)
class Line:
    """The end of a buffer, `n_bytes + slope * d`, where sizes are those played plus their slopes times d.

    True for every whole d from `least` to `most`; d = 0 is what was played.
    """

    n_bytes: int
    slope: int
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Buffers of one model by device at every `step`-th context around `at`, from `least` to `most` pads."""

    at: int
    step: int
    least: int
    most: int
    n_bytes: tuple[int, ...]
    slopes: tuple[int, ...]

    def find(self, n_pads: int) -> tuple[int, ...] | None:
        """The buffers at a context, None where it is outside the stretch."""
        steps, rest = divmod(n_pads - self.at, self.step)
        if rest or not self.least <= n_pads <= self.most:
            return None
        return tuple(n + slope * steps for n, slope in zip(self.n_bytes, self.slopes, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """What is placed and freed in one buffer of one model, with its sizes at one context and their slopes per step."""

    steps: Steps
    sizes: Ints
    slopes: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """The buffers of one model by device at `at` pads, good for all contexts over which their sizes are `straight`."""

    at: int
    straight: Straight
    buffers: tuple[Buffer, ...]

    def count_steps(self, n_pads: int) -> int | None:
        """How many steps a context is away; None where sizes bend on the way there."""
        straight, (steps, rest) = self.straight, divmod(n_pads - self.at, self.straight.step)
        return None if rest or not straight.least <= n_pads <= straight.most else steps

    def play(self, steps: int) -> tuple[int, ...]:
        """The buffers some steps away, in bytes by device."""
        return tuple(play_alone(b.steps, (b.sizes + steps * b.slopes).tolist()) for b in self.buffers)

    def stretch(self, steps: int) -> Stretch:
        """The same with all contexts around for which the buffers are played alike."""
        straight, at = self.straight, self.at + steps * self.straight.step
        lines = [play_line(b.steps, (b.sizes + steps * b.slopes).tolist(), b.slopes.tolist()) for b in self.buffers]
        return Stretch(
            at=at,
            step=straight.step,
            least=max(straight.least, *(at + line.least * straight.step for line in lines)),
            most=min(straight.most, *(at + line.most * straight.step for line in lines)),
            n_bytes=tuple(line.n_bytes for line in lines),
            slopes=tuple(line.slope for line in lines),
        )


def list_recipes(
    schedules: Sequence[Schedule], n_models: int, at: int, straight: Straight, per_step: int
) -> list[Recipe]:
    """The recipe of each model from the schedules of all devices.

    Their columns are those of the models at one context, followed by the same `per_step` steps on (1 or -1), or by none
    where no other context is straight.
    """
    steps = [schedule.list_steps() for schedule in schedules]
    columns = []
    for schedule in schedules:
        sizes = np.stack(schedule.sizes) if schedule.sizes else np.zeros((0, 2 * n_models), dtype=np.int64)
        here, beside = sizes[:, :n_models], sizes[:, n_models:]
        slopes = (beside - here) * per_step if beside.shape == here.shape else np.zeros_like(here)
        columns.append((here.T.copy(), slopes.T.copy()))
    return [
        Recipe(at, straight, tuple(Buffer(s, here[m], slopes[m]) for s, (here, slopes) in zip(steps, columns)))
        for m in range(n_models)
    ]


class _Bounds:
    """The whole numbers d for which all that was asked to stay zero or more does."""

    __slots__ = ("least", "most")

    def __init__(self) -> None:
        self.least, self.most = -ANY_LENGTH, ANY_LENGTH

    def keep(self, value: int, slope: int) -> None:
        """`value + slope * d` stays zero or more, as it is at d = 0."""
        if slope < 0:
            self.most = min(self.most, value // -slope)
        elif slope > 0:
            self.least = max(self.least, -(value // slope))


class _Gaps:
    """The free places of a buffer in order, each with the slopes of its start and size; behind `end` all is free."""

    __slots__ = ("end", "end_slope", "size_slopes", "sizes", "start_slopes", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.sizes: list[int] = []
        self.start_slopes: list[int] = []
        self.size_slopes: list[int] = []
        self.end = self.end_slope = 0

    def choose(self, size: int) -> int:
        """The smallest gap that fits, the last among equals; -1 where none does."""
        best, place = NO_GAP, -1
        for i, gap in enumerate(self.sizes):
            if size <= gap <= best:
                best, place = gap, i
        return place

    def bind(self, place: int, size: int, slope: int, bounds: _Bounds) -> None:
        """Bound the steps for which `choose` says the same and leaves as much as nothing, or more, as it does now."""
        best, best_slope = (self.sizes[place], self.size_slopes[place]) if place >= 0 else (size, slope)
        for i, (gap, gap_slope) in enumerate(zip(self.sizes, self.size_slopes, strict=True)):
            if i == place:
                if gap == size and gap_slope != slope:
                    bounds.least = bounds.most = 0
                bounds.keep(gap - size - (gap != size), gap_slope - slope)
            elif gap < size:
                bounds.keep(size - gap - 1, slope - gap_slope)
            else:
                bounds.keep(gap - best - (i > place), gap_slope - best_slope)

    def take(self, place: int, size: int, slope: int) -> tuple[int, int]:
        """Fill the start of a gap, or the end of the buffer; returns the start and its slope."""
        if place < 0:
            start, start_slope = self.end, self.end_slope
            self.end, self.end_slope = start + size, start_slope + slope
            return start, start_slope
        start, start_slope = self.starts[place], self.start_slopes[place]
        if self.sizes[place] == size:
            self._drop(place)
        else:
            self.starts[place] += size
            self.start_slopes[place] += slope
            self.sizes[place] -= size
            self.size_slopes[place] -= slope
        return start, start_slope

    def give_back(self, start: int, start_slope: int, size: int, slope: int) -> None:
        """Free a place: it joins the first gap that ends or starts there and that one's neighbour, as ggml does."""
        until = start + size
        for i, begin in enumerate(self.starts):
            if begin + self.sizes[i] == start:
                self.sizes[i] += size
                self.size_slopes[i] += slope
                self._join_next(i)
                return
            if begin == until:
                self.starts[i], self.start_slopes[i] = start, start_slope
                self.sizes[i] += size
                self.size_slopes[i] += slope
                if i and self.starts[i - 1] + self.sizes[i - 1] == start:
                    self._join_next(i - 1)
                return
        if until == self.end:
            self.end, self.end_slope = start, start_slope
            if self.starts and self.starts[-1] + self.sizes[-1] == start:
                self._join_next(len(self.starts) - 1)
            return
        place = next((i for i, begin in enumerate(self.starts) if begin >= start), len(self.starts))
        self.starts.insert(place, start)
        self.start_slopes.insert(place, start_slope)
        self.sizes.insert(place, size)
        self.size_slopes.insert(place, slope)

    def _join_next(self, place: int) -> None:
        """Join a gap and what is free right behind it."""
        until = self.starts[place] + self.sizes[place]
        if place + 1 < len(self.starts):
            if self.starts[place + 1] == until:
                self.sizes[place] += self.sizes[place + 1]
                self.size_slopes[place] += self.size_slopes[place + 1]
                self._drop(place + 1)
        elif until == self.end:
            self.end, self.end_slope = self.starts[place], self.start_slopes[place]
            self._drop(place)

    def _drop(self, place: int) -> None:
        del self.starts[place], self.start_slopes[place], self.sizes[place], self.size_slopes[place]


def play_line(schedule: Schedule | Steps, sizes: Sequence[int], slopes: Sequence[int]) -> Line:
    """The end of one buffer for one model as a line; sizes in bytes as played, slopes in bytes per step."""
    if not any(slopes):
        return Line(play_alone(schedule, sizes), 0, -ANY_LENGTH, ANY_LENGTH)
    if not all(sizes):  # a tensor of no size may lie in the midst of what is free: what joins then depends on the sizes
        return Line(play_alone(schedule, sizes), 0, 0, 0)
    gaps, bounds = _Gaps(), _Bounds()
    held: list[tuple[int, int, int, int]] = [(0, 0, 0, 0)] * schedule.n_slots
    top = top_slope = 0
    for event in schedule.events:
        if event < 0:
            gaps.give_back(*held[-1 - event])
            continue
        size, slope = sizes[event], slopes[event]
        place = gaps.choose(size)
        if slope or any(gaps.size_slopes):
            gaps.bind(place, size, slope, bounds)
            bounds.keep(size - 1 if slope else 0, slope)
        start, start_slope = gaps.take(place, size, slope)
        held[schedule.slots[event]] = (start, start_slope, size, slope)
        until, until_slope = start + size, start_slope + slope
        if until > top:
            bounds.keep(until - top, until_slope - top_slope)
            top, top_slope = until, until_slope
        else:
            bounds.keep(top - until, top_slope - until_slope)
    return Line(top, top_slope, bounds.least, bounds.most)


class KeptBuffers:
    """What was learnt of the buffers of one table's models: recipes by what is asked besides the context, and by model
    and division, and stretches where neighbouring contexts will be asked for. Of more than so many the oldest go."""

    def __init__(self, max_recipes: int, max_stretches: int = 0) -> None:
        self._max_recipes, self._max_stretches = max_recipes, max_stretches
        self._recipes: dict[Hashable, Recipe] = {}
        self._stretches: dict[Hashable, list[Stretch]] = {}
        self._n_stretches = 0

    def find(self, setting: Hashable, question: Hashable, n_pads: int) -> tuple[int, ...] | None:
        """The buffers of a question at a context by device, None where nothing kept tells."""
        key = (setting, question)
        for stretch in self._stretches.get(key, ()):
            found = stretch.find(n_pads)
            if found is not None:
                return found
        recipe = self._recipes.get(key)
        steps = None if recipe is None else recipe.count_steps(n_pads)
        return None if recipe is None or steps is None else self._play(key, recipe, steps)

    def keep(self, setting: Hashable, question: Hashable, recipe: Recipe) -> tuple[int, ...]:
        """Remember a recipe; returns the buffers at the context it was written down for."""
        key = (setting, question)
        while len(self._recipes) >= self._max_recipes:
            self._recipes.pop(_find_first(self._recipes), None)
        self._recipes[key] = recipe
        return self._play(key, recipe, 0)

    def _play(self, key: Hashable, recipe: Recipe, steps: int) -> tuple[int, ...]:
        if not self._max_stretches:
            return recipe.play(steps)
        stretch = recipe.stretch(steps)
        while self._n_stretches >= self._max_stretches and self._stretches:
            self._n_stretches -= len(self._stretches.pop(_find_first(self._stretches), ()))
        self._stretches.setdefault(key, []).append(stretch)
        self._n_stretches += 1
        return stretch.n_bytes


def _find_first(kept: Mapping[Hashable, object]) -> Hashable:
    """The oldest key. The keys are copied in one go, since other threads may add some meanwhile."""
    return next(iter(list(kept)), None)

"""How much memory a compute graph needs: llama.cpp's graph allocator, replayed for many models at once.

llama.cpp reserves one buffer for all intermediate results and lets tensors reuse each other's place. The buffer's size
follows from the order of the operations and from three rules (ggml/src/ggml-alloc.c, as vendored by llama-cpp-python
0.3.36, https://github.com/abetlen/llama-cpp-python/tree/v0.3.36/vendor): a tensor is freed after its last use, some
operations write over their operand, and a new tensor takes the smallest gap it fits in, else the end. `Graph` records
operations with their sizes as numpy columns (one value per model), `replay_bytes` plays them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

ALIGNMENT = 32
"""Bytes every tensor of the CPU buffer starts on (ggml/src/ggml-impl.h, TENSOR_ALIGNMENT)."""

ANYWHERE = -1
"""No device of its own: an operation without weights runs where its neighbours do."""

_FAR = np.int64(2**62)
NO_GAP = int(np.iinfo(np.int64).max)


@dataclass(slots=True, eq=False)
class Tensor:
    """A recorded result. `n_bytes` has one value per model; a view shows them without holding them.

    `reuse` are the operands this operation may write over. `is_kept` marks results handed back to the caller, `is_look`
    a view that computes nothing, `is_scratch` a leaf the graph fills itself; `span` is what a copy of a view takes.
    `home` is the device whose weights or cache the operation uses, `device` the one it runs on (`sizing.scheduler`).
    """

    n_bytes: Ints
    operands: tuple[Tensor, ...] = ()
    reuse: tuple[Tensor, ...] = ()
    root: Tensor | None = None
    is_view: bool = False
    is_leaf: bool = False
    is_scratch: bool = False
    is_kept: bool = False
    seen: bool = False
    n_uses: int = 0
    n_views: int = 0
    slot: int = -1
    is_look: bool = False
    span: Ints | None = None
    home: int = ANYWHERE
    device: int = 0


@dataclass(slots=True)
class Graph:
    """Operations in the order llama.cpp runs them: operands first, left to right, when a result is asked for.

    `n_models` is the length of every size column. Model weights and caches are outside the graph and not recorded;
    `weight_home` and `expert_home` say on which device those of the present layer are.
    """

    n_models: int
    weight_home: int = ANYWHERE
    expert_home: int = ANYWHERE
    nodes: list[Tensor] = field(default_factory=list)
    leaves: list[Tensor] = field(default_factory=list)
    _rows: dict[tuple[int, int], tuple[Ints | int, Ints]] = field(default_factory=dict)

    def input(self, n_bytes: Ints | int) -> Tensor:
        """A tensor that the host fills before the graph runs."""
        return Tensor(self._sized(n_bytes), is_leaf=True)

    def scratch(self, n_bytes: Ints | int) -> Tensor:
        """A tensor that the graph itself fills, there from the start on the device that fills it."""
        return Tensor(self._sized(n_bytes), is_leaf=True, is_scratch=True)

    def op(self, n_bytes: Ints | int, *operands: Tensor, home: int = ANYWHERE) -> Tensor:
        """A result in a place of its own."""
        return Tensor(self._sized(n_bytes), operands, home=home)

    def rows(self, width: Ints | int, n_bytes: int, *operands: Tensor, home: int = ANYWHERE) -> Tensor:
        """A result in a place of its own of `width` values, each of which takes `n_bytes` over all rows."""
        found = self._rows.get((id(width), n_bytes))
        if found is None:  # layers share their widths: a width is held here, so that its id stays its own
            found = self._rows[id(width), n_bytes] = width, self._sized(n_bytes * np.asarray(width))
        return Tensor(found[1], operands, home=home)

    def like(self, first: Tensor, *more: Tensor, also_over: Tensor | None = None, home: int = ANYWHERE) -> Tensor:
        """A result as large as its first operand, written over it where that dies here; else over `also_over`."""
        reuse = (first,) if also_over is None else (first, also_over)
        return Tensor(first.n_bytes, (first, *more), reuse, home=home)

    def view(self, of: Tensor, n_bytes: Ints | int | None = None, *, is_strided: bool = False) -> Tensor:
        """Another look at a tensor, or at the part of it that holds `n_bytes`.

        `is_strided`: the part is the same few columns of every row, so that a copy of it spans the whole.
        """
        shown = of.n_bytes if n_bytes is None else self._sized(n_bytes)
        span = of.n_bytes if is_strided else shown
        return Tensor(shown, (of,), root=of.root or of, is_view=True, is_look=True, span=span)

    def cached(self, n_bytes: Ints | int, home: int) -> Tensor:
        """A look at `n_bytes` of a cache, which lies outside the graph on the device `home`."""
        nothing = np.zeros(self.n_models, dtype=np.int64)
        return Tensor(nothing, is_view=True, is_look=True, span=self._sized(n_bytes), home=home)

    def write(self, into: Tensor, *values: Tensor) -> Tensor:
        """Values written into a tensor of the graph: a view of it."""
        return Tensor(into.n_bytes, (*values, into), root=into.root or into, is_view=True)

    def overwrite(self, into: Tensor, *values: Tensor) -> Tensor:
        """An operation told to write over its first operand: a view of it."""
        return Tensor(into.n_bytes, (into, *values), root=into.root or into, is_view=True)

    def store(self, *values: Tensor) -> Tensor:
        """Values written to memory outside the graph (a cache, a recurrent state)."""
        return Tensor(np.zeros(self.n_models, dtype=np.int64), values, is_view=True, home=self.weight_home)

    def ask(self, *results: Tensor) -> None:
        """Append the operations that `results` need and that are not there yet."""
        for result in results:
            self._visit(result)

    def _visit(self, tensor: Tensor) -> None:
        if tensor.seen:
            return
        tensor.seen = True
        for operand in tensor.operands:
            if not operand.seen:
                self._visit(operand)
        (self.leaves if tensor.is_leaf else self.nodes).append(tensor)

    def _sized(self, n_bytes: Ints | int) -> Ints:
        if not isinstance(n_bytes, np.ndarray) or n_bytes.shape != (self.n_models,):
            n_bytes = np.full(self.n_models, n_bytes, dtype=np.int64)
        padded: Ints = (n_bytes + (ALIGNMENT - 1)) & -ALIGNMENT
        return padded


FEW_MODELS = 24
"""Up to this many models are played one after the other on plain numbers, which is then faster than on columns."""


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """The events and slots of a `Schedule` without the sizes."""

    events: Sequence[int]
    slots: Sequence[int]
    n_slots: int


@dataclass(slots=True)
class Schedule:
    """What is placed and freed in one buffer, in order: the same for all models of a graph.

    `events` holds a slot to give back as `-1 - slot`, and a place to take as the row of `sizes` it needs; `slots` is
    the slot each row of `sizes` goes to.
    """

    events: list[int] = field(default_factory=list)
    sizes: list[Ints] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    free: list[int] = field(default_factory=list)
    n_slots: int = 0

    def take(self, n_bytes: Ints) -> int:
        """Place a tensor; returns its slot."""
        if not self.free:
            self.free.append(self.n_slots)
            self.n_slots += 1
        slot = self.free.pop()
        self.events.append(len(self.sizes))
        self.sizes.append(n_bytes)
        self.slots.append(slot)
        return slot

    def give_back(self, slot: int) -> None:
        """Free a tensor's place."""
        self.events.append(-1 - slot)
        self.free.append(slot)

    def list_steps(self) -> Steps:
        """What happens, in as little memory as it takes."""
        return Steps(array("i", self.events), array("i", self.slots), self.n_slots)


def replay_bytes(graph: Graph) -> Ints:
    """Bytes of the buffer that holds the graph's intermediate results, one value per model."""
    return play(plan(graph), graph.n_models)


def play(schedule: Schedule, n_models: int) -> Ints:
    """The end of one buffer after all that happens in it, in bytes, one value per model."""
    if not schedule.sizes:
        return np.zeros(n_models, dtype=np.int64)
    sizes = np.stack(schedule.sizes)
    if n_models > FEW_MODELS and sizes.all():
        return _play_columns(schedule, n_models)
    return np.array([play_alone(schedule, column) for column in sizes.T.tolist()], dtype=np.int64)


def play_alone(schedule: Schedule | Steps, sizes: Sequence[int]) -> int:
    """The end of one buffer for one model, in bytes."""
    return _play_one(schedule, sizes) if all(sizes) else _play_blocks(schedule, sizes)


def _play_one(schedule: Schedule | Steps, sizes: Sequence[int]) -> int:
    """The end of the buffer for one model: each tensor in the smallest gap that fits, the last among equals."""
    begins: list[int] = []  # gaps between live places, in order; behind the last of them everything is free
    ends: list[int] = []
    at = [0] * schedule.n_slots
    held = [0] * schedule.n_slots
    end = top = 0
    for event in schedule.events:
        if event < 0:
            begin = at[-1 - event]
            until = begin + held[-1 - event]
            i = bisect_left(begins, begin)
            if i and ends[i - 1] == begin:
                i -= 1
                begin = begins.pop(i)
                del ends[i]
            if until == end:
                end = begin
            elif i < len(begins) and begins[i] == until:
                begins[i] = begin
            else:
                begins.insert(i, begin)
                ends.insert(i, until)
            continue
        size, slot, place = sizes[event], schedule.slots[event], -1
        best = NO_GAP
        for i, begin in enumerate(begins):
            gap = ends[i] - begin
            if size <= gap <= best:
                best, place = gap, i
        held[slot] = size
        if place < 0:
            at[slot], end = end, end + size
            top = max(top, end)
        elif best == size:
            at[slot] = begins.pop(place)
            del ends[place]
        else:
            at[slot] = begins[place]
            begins[place] += size
    return top


def _play_blocks(schedule: Schedule | Steps, sizes: Sequence[int]) -> int:
    """The same with the allocator's own list of free blocks, which a tensor of no size may leave split in two.

    A block joins the one it touches first and that one's neighbour, no more; so where an empty block stands between
    two others they stay apart, and the end of the buffer begins later than what is free.
    """
    blocks = [[0, NO_GAP]]  # start, size; the last is the end of the buffer
    starts = [0] * schedule.n_slots
    held = [0] * schedule.n_slots
    top = 0
    for event in schedule.events:
        if event < 0:
            _free_block(blocks, starts[-1 - event], held[-1 - event])
            continue
        size, slot = sizes[event], schedule.slots[event]
        chosen, best = len(blocks) - 1, NO_GAP
        for i in range(len(blocks) - 1):
            if size <= blocks[i][1] <= best:
                chosen, best = i, blocks[i][1]
        block = blocks[chosen]
        starts[slot], held[slot] = block[0], size
        top = max(top, block[0] + size)
        block[0] += size
        block[1] -= size
        if not block[1]:
            del blocks[chosen]
    return top


def _free_block(blocks: list[list[int]], start: int, size: int) -> None:
    """Give a place back: to the first block that ends or begins there, else as a block of its own."""
    for i, block in enumerate(blocks):
        if block[0] + block[1] == start:
            block[1] += size
            if i + 1 < len(blocks) and block[0] + block[1] == blocks[i + 1][0]:
                block[1] += blocks.pop(i + 1)[1]
            return
        if start + size == block[0]:
            block[0] = start
            block[1] += size
            if i and blocks[i - 1][0] + blocks[i - 1][1] == start:
                blocks[i - 1][1] += blocks.pop(i)[1]
            return
    place = next((i for i, block in enumerate(blocks) if block[0] >= start), len(blocks))
    blocks.insert(place, [start, size])


def _play_columns(schedule: Schedule, n_models: int) -> Ints:
    """The same for all models at once, one column of places per slot."""
    starts = np.full((n_models, schedule.n_slots + 1), _FAR, dtype=np.int64)  # one slot stays free: the end
    ends = starts.copy()
    top = np.zeros(n_models, dtype=np.int64)
    for event in schedule.events:
        if event < 0:
            starts[:, -1 - event] = _FAR
            ends[:, -1 - event] = _FAR
            continue
        n_bytes, slot = schedule.sizes[event], schedule.slots[event]
        befores = np.zeros_like(ends)
        befores[:, 1:] = np.sort(ends, axis=1)[:, :-1]
        gaps = np.sort(starts, axis=1) - befores
        gaps[gaps < n_bytes[:, None]] = NO_GAP
        last = gaps.shape[1] - 1 - np.argmin(gaps[:, ::-1], axis=1)
        begin = np.take_along_axis(befores, last[:, None], axis=1)[:, 0]
        starts[:, slot] = begin
        ends[:, slot] = begin + n_bytes
        np.maximum(top, begin + n_bytes, out=top)
    return top


def plan(graph: Graph) -> Schedule:
    """When each result needs a place and when it gives it back, all in one buffer."""
    schedule = Schedule()
    for leaf in graph.leaves:
        leaf.slot = schedule.take(leaf.n_bytes)
    run((schedule,), graph.nodes)
    return schedule


def run(schedules: Sequence[Schedule], nodes: Sequence[Tensor]) -> None:
    """Place and free the results of `nodes`, each in the buffer of the device it runs on; inputs are placed already."""
    for node in nodes:
        if node.root is not None:
            node.root.n_views += 1
        for operand in node.operands:
            operand.n_uses += 1
    for node in nodes:
        if not node.is_view and node.slot < 0:
            node.slot = _inherit(node)
            if node.slot < 0:
                node.slot = schedules[node.device].take(node.n_bytes)
        for operand in node.operands:
            operand.n_uses -= 1
            if not operand.n_uses and not operand.n_views:
                _release(operand, schedules)


def _inherit(node: Tensor) -> int:
    """The place of the first operand that may be written over and has no other use; -1 where there is none."""
    for operand in node.reuse:
        if operand.slot >= 0 and operand.n_uses == 1 and operand.n_views == 0 and not operand.is_kept:
            slot, operand.slot = operand.slot, -1
            return slot
    return -1


def _release(operand: Tensor, schedules: Sequence[Schedule]) -> None:
    """Free what nobody will look at again: an operand without a further use or view, or what it is a view of."""
    if operand.is_view:
        if operand.root is None:
            return
        operand.root.n_views -= 1
        operand = operand.root
        if operand.n_uses or operand.n_views:
            return
    if operand.slot >= 0 and not operand.is_kept:
        schedules[operand.device].give_back(operand.slot)
        operand.slot = -1

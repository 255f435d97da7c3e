"""One compute graph over several devices: llama.cpp's scheduler, replayed.

The scheduler (ggml/src/ggml-backend.cpp, `ggml_backend_sched_split_graph`, as vendored by llama-cpp-python 0.3.36,
https://github.com/abetlen/llama-cpp-python/tree/v0.3.36/vendor) runs an operation where its weights or its cache are,
spreads accelerators over neighbours without any, cuts the graph where the device changes, and copies what crosses a
cut. Each device then has a buffer of its own, filled by the allocator of `sizing.replay`. The host is the last device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sizing.replay import ANYWHERE, Graph, Schedule, Tensor, run

PIPELINE_COPIES = 4
"""Copies of inputs with pipeline parallelism (ggml-backend.cpp, GGML_SCHED_MAX_COPIES)."""


def plan_split(graph: Graph, n_devices: int, n_copies: int = 1) -> tuple[Schedule, ...]:
    """When each result needs a place in the buffer of its device and gives it back, by device, the host's last.

    `n_devices` counts the host. `n_copies` is PIPELINE_COPIES where llama.cpp pipelines batches over devices, else 1.
    """
    _assign(graph, n_devices - 1)
    schedules = tuple(Schedule() for _ in range(n_devices))
    nodes, copies = _cut(graph, n_devices - 1)
    ahead = graph.leaves
    if n_copies > 1:  # what is there several times comes first, then what the graph fills itself
        inputs = [leaf for leaf in graph.leaves if not leaf.is_scratch]
        ahead = [*inputs, *copies, *(leaf for leaf in graph.leaves if leaf.is_scratch)]
    for tensor in ahead:
        _place_input(tensor, schedules, n_copies)
    run(schedules, nodes)
    return schedules


def _place_input(tensor: Tensor, schedules: Sequence[Schedule], n_copies: int) -> None:
    """Place a tensor before the graph runs; where there are several copies they stay to the end."""
    tensor.slot = schedules[tensor.device].take(tensor.n_bytes)
    for _ in range(0 if tensor.is_scratch else n_copies - 1):
        schedules[tensor.device].take(tensor.n_bytes)
        tensor.is_kept = True


def _assign(graph: Graph, host: int) -> None:
    """The device of every operation: its home, else an accelerator's next to it, else the host's, else its root's."""
    for leaf in graph.leaves:
        leaf.device = ANYWHERE if leaf.is_scratch else host
    working = [node for node in graph.nodes if not node.is_look]
    for node in graph.nodes:
        node.device = node.home
    for order, spreads_host in ((working, False), (working[::-1], False), (working, True), (working[::-1], True)):
        _spread(order, host, spreads_host)
    for node in graph.nodes:
        if node.device == ANYWHERE:
            node.device = host if node.root is None else node.root.device
        for operand in node.operands:
            if operand.device == ANYWHERE:
                operand.device = node.device


def _spread(order: Iterable[Tensor], host: int, spreads_host: bool) -> None:
    """Give operations without a device that of the one before them; the host's only where `spreads_host`."""
    present = ANYWHERE
    for node in order:
        if node.device == ANYWHERE:
            node.device = present
        else:
            present = node.device if spreads_host or node.device != host else ANYWHERE


def _is_strided(tensor: Tensor) -> bool:
    """Whether a copy keeps gaps between its rows, so that no result has the same layout."""
    return tensor.span is not None and tensor.span is not tensor.n_bytes


def _cut(graph: Graph, host: int) -> tuple[list[Tensor], list[Tensor]]:
    """The graph with the copies that cross devices at the start of each part, and these copies.

    A tensor is copied once to each device that wants it. What is copied is held until its copy is made.
    """
    known: dict[tuple[Tensor, int], Tensor] = {}
    copies: list[Tensor] = []
    nodes: list[Tensor] = []
    part: list[Tensor] = []
    wanted: list[tuple[Tensor, Tensor]] = []
    present = next((node.device for node in graph.nodes if not node.is_look), host)

    def close() -> None:
        for source, copy in wanted:
            nodes.append(Tensor(source.n_bytes, (source,), is_view=True, is_look=True, device=source.device))
            nodes.append(copy)
        nodes.extend(part)
        wanted.clear()
        part.clear()

    for node in graph.nodes:
        if not node.is_look:
            if node.device != present:
                close()
                present = node.device
            fetched = {}
            for operand in node.operands:
                if operand.device != present:
                    if (operand, present) not in known:
                        copy = Tensor(operand.n_bytes if operand.span is None else operand.span, device=present)
                        known[operand, present] = copy
                        copies.append(copy)
                        wanted.append((operand, copy))
                    fetched[operand] = known[operand, present]
            if fetched:
                node.operands = tuple(fetched.get(o, o) for o in node.operands)
                node.reuse = tuple(fetched.get(o, o) for o in node.reuse if not _is_strided(o))
        part.append(node)
    close()
    return nodes, copies

"""The buffers llama.cpp says it has allocated, read line by line in the log of a real load.

The lines are those of llama-model.cpp (`model buffer size`), llama-kv-cache.cpp (`KV`), llama-memory-recurrent.cpp
(`RS`) and llama-context.cpp (`output`, `compute`). Names are those of buffer types: `CUDA0` is a card, `CUDA_Host`
pinned memory of the host, `CPU_Mapped` pages of the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sizing.memory import Parts
from sizing.units import MIB

_LINE = re.compile(r"(\S+) +(model|KV|RS|compute|output) buffer size += +([\d.]+) MiB")
_COPIES = re.compile(r"sched copies += +(\d+)|pipeline parallelism enabled \(n_copies=(\d+)\)")

REPLACED = ("compute", "output")
"""Parts of which a later line replaces an earlier one: such a buffer is reserved anew where it must grow."""


@dataclass(frozen=True, slots=True)
class LoggedBuffer:
    """One buffer: the name of its type, its part ('model', 'KV', 'RS', 'compute', 'output'), bytes to 0.01 MiB."""

    name: str
    part: str
    n_bytes: int


def read_buffers(log: str) -> tuple[LoggedBuffer, ...]:
    """Every buffer once, in the order of the log.

    Several lines of one name add up (files in parts, two caches of a model with windows), but see `REPLACED`.
    """
    sums: dict[tuple[str, str], int] = {}
    for name, part, mib in _LINE.findall(log):
        before = 0 if part in REPLACED else sums.get((name, part), 0)
        sums[name, part] = before + round(float(mib) * MIB)
    return tuple(LoggedBuffer(name, part, n_bytes) for (name, part), n_bytes in sums.items())


def read_copies(log: str) -> int:
    """How many copies of its inputs the scheduler keeps: above one where batches are pipelined over devices."""
    found = _COPIES.findall(log)
    return int(found[-1][0] or found[-1][1]) if found else 1


def is_buffer_of(name: str, device: str) -> bool:
    """Whether a buffer type is a device's own: `CUDA1`, `MTL0_Mapped`, `RPC0[HOST:PORT]`, but not `CUDA10`."""
    return name == device or name.startswith((f"{device}_", f"{device}["))


def read_parts(log: str, breakdown: Mapping[str, Sequence[int]] | None, devices: Sequence[str]) -> tuple[Parts, ...]:
    """Bytes by part on the host, then on each of `devices` (llama.cpp's names of them).

    Exact where the `breakdown` (weights, caches and compute by buffer type) is there, else the log's. The output buffer
    is the host's; recurrent states beside a cache are the log's either way.
    """
    logged = read_buffers(log)

    def place(name: str) -> int:
        return next((i for i, device in enumerate(devices, start=1) if is_buffer_of(name, device)), 0)

    def sum_up(at: int, part: str) -> int:
        return sum(b.n_bytes for b in logged if b.part == part and place(b.name) == at)

    out = []
    for at in range(len(devices) + 1):
        state, output = sum_up(at, "RS"), sum_up(at, "output")
        weights, cache, compute = sum_up(at, "model"), sum_up(at, "KV") + state, sum_up(at, "compute")
        if breakdown:
            mine = [sizes for name, sizes in breakdown.items() if place(name) == at]
            weights, cache, compute = (sum(sizes[i] for sizes in mine) for i in range(3))
            state = min(state, cache) if sum_up(at, "KV") else cache * bool(state)
        out.append(Parts(weights, cache - state, state, compute, output))
    return tuple(out)

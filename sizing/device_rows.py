"""The devices of an estimate as rows for a reader: many alike are one row, that of the fullest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sizing.estimate import Estimate
from sizing.fit import Verdict
from sizing.hardware import DeviceKind, Machine
from sizing.memory import DeviceUse

ALIKE_SHARE = 0.02
"""Cards of one kind whose use differs by at most this share of their memory are drawn as one bar."""

FEWEST_FOLDED = 3


@dataclass(frozen=True, slots=True)
class BarRow:
    """One bar: the use it draws, the draft's bytes within its overhead, its name, and how many cards it stands for."""

    use: DeviceUse
    draft_bytes: int
    name: str
    count: int = 1


def fold_devices(devices: Sequence[DeviceUse], draft_bytes: Sequence[int] = ()) -> tuple[BarRow, ...]:
    """Bars for devices in their order: from three equal neighbours of like use on, one bar, that of the fullest."""
    drafts = [*draft_bytes, *[0] * (len(devices) - len(draft_bytes))]
    runs: list[list[int]] = []
    for i, device in enumerate(devices):
        if runs and are_alike([devices[j] for j in runs[-1]], device):
            runs[-1].append(i)
        else:
            runs.append([i])
    groups = [g for run in runs for g in ([run] if len(run) >= FEWEST_FOLDED else [[i] for i in run])]
    names = [_shorten(d.name, 26) for d in devices]
    rows = []
    for group in groups:
        first = group[0]
        fullest = max(group, key=lambda i: devices[i].parts.total_bytes)
        name = names[first]
        if len(group) > 1:
            name = f"Each of {len(group)} × {name}"
        elif names.count(name) > 1:
            name = f"{name} ({names[: first + 1].count(name)})"
        rows.append(BarRow(devices[fullest], drafts[fullest], name, len(group)))
    return tuple(rows)


def are_alike(group: Sequence[DeviceUse], other: DeviceUse) -> bool:
    """Whether a device is of the same kind as a group and its use differs from none of it by much."""
    first = group[0]
    if (first.name, first.memory_bytes, first.usable_bytes) != (other.name, other.memory_bytes, other.usable_bytes):
        return False
    totals = [d.parts.total_bytes for d in (*group, other)]
    return max(totals) - min(totals) <= ALIKE_SHARE * other.memory_bytes


def _shorten(text: str, n: int) -> str:
    return text if len(text) <= n else text[: n - 1].rstrip() + "…"


def used_of(estimate: Estimate, machine: Machine) -> tuple[int, int]:
    """Bytes needed and bytes usable where the model mainly lives.

    That is the accelerators when it fits on them, every device when it is spread, else the host.
    """
    devices = estimate.memory.devices
    cards = {d.name for d in machine.accelerators if d.kind is DeviceKind.GPU}
    if cards and estimate.fit.verdict in (Verdict.FITS, Verdict.TIGHT):
        devices = tuple(d for d in devices if d.name in cards)
    return sum(d.parts.total_bytes for d in devices), sum(d.usable_bytes for d in devices)

"""Whether it runs, as a value with a reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from sizing.memory import DeviceUse
from sizing.placement import Placement
from sizing.units import format_bytes

TIGHT_SHARE = 0.05
"""Less than this share of a device's usable memory left is called tight."""


class Verdict(StrEnum):
    """Does it run, and how comfortably."""

    FITS = "fits"
    TIGHT = "tight"
    OFFLOAD = "offload"
    DOES_NOT_FIT = "does not fit"


VERDICTS = tuple(Verdict)


@dataclass(frozen=True, slots=True)
class Fit:
    """The verdict, the least memory left on any device in bytes (negative: what is missing), and why."""

    verdict: Verdict
    headroom_bytes: int
    reasons: tuple[str, ...]

    @property
    def runs(self) -> bool:
        """Whether it runs at all."""
        return self.verdict is not Verdict.DOES_NOT_FIT


def judge(placement: Placement) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Verdict (index into `VERDICTS`) and least headroom in bytes of every row."""
    headroom = placement.headroom
    usable = np.array([d.usable_bytes for d in placement.devices], dtype=np.int64)
    least = headroom.min(axis=1)
    close = ((headroom < TIGHT_SHARE * usable[None, :]) & (placement.total > 0)).any(axis=1)
    if len(placement.devices) > 1:
        everything = placement.n_layers.sum(axis=1) + 1
        spilled = (placement.n_gpu_layers < everything) | (placement.n_cpu_moe > 0) | bool(placement.expert_layers)
    else:
        spilled = np.zeros(len(least), dtype=np.bool_)
    code = np.where(least < 0, 3, np.where(spilled, 2, np.where(close, 1, 0))).astype(np.int64)
    return code, least


def explain_fit(placement: Placement, row: int) -> Fit:
    """The verdict of one row in words."""
    placement, row = placement.take(np.array([row], dtype=np.int64)), 0  # of very many rows the others say nothing here
    code, least = judge(placement)
    verdict = VERDICTS[int(code[row])]
    devices = [
        (device.name, int(placement.total[row, d]), device.usable_bytes) for d, device in enumerate(placement.devices)
    ]
    reasons = list(_explain_devices(devices))
    if verdict is Verdict.OFFLOAD:
        n_layers, on_host = int(placement.n_layers[row].sum()), int(placement.n_layers[row, 0])
        reasons += _explain_offload(n_layers, on_host, int(placement.n_cpu_moe[row]), placement.expert_layers)
    return Fit(verdict, int(least[row]), tuple(reasons))


def judge_devices(
    devices: Sequence[DeviceUse], n_gpu_layers: int, n_cpu_moe: int, expert_layers: Sequence[int] = ()
) -> Fit:
    """The verdict over devices as they are, the host first where there are several; the rest as an estimate says it."""
    n_layers = sum(d.n_layers for d in devices)
    is_spilled = len(devices) > 1 and (n_gpu_layers <= n_layers or n_cpu_moe > 0 or bool(expert_layers))
    used = [d for d in devices if d.parts.total_bytes]
    least = min(d.headroom_bytes for d in devices)
    if least < 0:
        verdict = Verdict.DOES_NOT_FIT
    elif is_spilled:
        verdict = Verdict.OFFLOAD
    else:
        is_close = any(d.headroom_bytes < TIGHT_SHARE * d.usable_bytes for d in used)
        verdict = Verdict.TIGHT if is_close else Verdict.FITS
    reasons = list(_explain_devices([(d.name, d.parts.total_bytes, d.usable_bytes) for d in devices]))
    if verdict is Verdict.OFFLOAD:
        reasons += _explain_offload(n_layers, devices[0].n_layers, n_cpu_moe, expert_layers)
    return Fit(verdict, least, tuple(reasons))


def _explain_devices(devices: Sequence[tuple[str, int, int]]) -> Iterator[str]:
    """What each device (name, bytes held, bytes usable) that holds something says, the most constrained first."""
    for name, held, usable in sorted(devices, key=lambda d: (d[2] - d[1]) / max(d[2], 1)):
        left, need, have = usable - held, format_bytes(held), format_bytes(usable)
        if held == 0:
            continue
        if left < 0:
            yield f"{name} would need {need} of {have} usable, {format_bytes(-left)} too much"
        elif left < TIGHT_SHARE * usable:
            yield f"{name} has only {format_bytes(left)} of {have} left"
        else:
            yield f"{name} holds {need} of {have} usable"


def _explain_offload(n_layers: int, on_host: int, n_cpu_moe: int, expert_layers: Sequence[int]) -> Iterator[str]:
    """What runs on the host."""
    if n_cpu_moe:
        yield f"the routed experts of {n_cpu_moe} of {n_layers} layers run on the host"
    if expert_layers:
        yield f"the routed experts of chosen layers run on the host: {len(set(expert_layers))}"
    elif on_host or not n_cpu_moe:
        yield f"{on_host} of {n_layers} layers run on the host"

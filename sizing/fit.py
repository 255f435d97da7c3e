"""Whether it runs, as a value with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

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
    code, least = judge(placement)
    verdict = VERDICTS[int(code[row])]
    headroom, total = placement.headroom[row], placement.total[row]
    reasons: list[str] = []
    share_left = headroom / np.maximum([d.usable_bytes for d in placement.devices], 1)
    for d in np.argsort(share_left, kind="stable").tolist():  # the most constrained device first
        device = placement.devices[d]
        if total[d] == 0:
            continue
        left = int(headroom[d])
        name, need, have = device.name, format_bytes(int(total[d])), format_bytes(device.usable_bytes)
        if left < 0:
            reasons.append(f"{name} would need {need} of {have} usable, {format_bytes(-left)} too much")
        elif left < TIGHT_SHARE * device.usable_bytes:
            reasons.append(f"{name} has only {format_bytes(left)} of {have} left")
        else:
            reasons.append(f"{name} holds {need} of {have} usable")
    if verdict is Verdict.OFFLOAD:
        n_layers, on_host = int(placement.n_layers[row].sum()), int(placement.n_layers[row, 0])
        if placement.n_cpu_moe[row]:
            reasons.append(
                f"the routed experts of {int(placement.n_cpu_moe[row])} of {n_layers} layers run on the host"
            )
        if placement.expert_layers:
            reasons.append(f"the routed experts of chosen layers run on the host: {len(set(placement.expert_layers))}")
        elif on_host or not placement.n_cpu_moe[row]:
            reasons.append(f"{on_host} of {n_layers} layers run on the host")
    return Fit(verdict, int(least[row]), tuple(reasons))

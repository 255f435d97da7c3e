"""Points of the task score set against how a configuration runs, the same for every engine, and for unknown losses.

`utility = cautious score - quantization loss - points against`: slowness, crowded devices and what is left to the host.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sizing.candidate import Candidate, Needs
from sizing.estimate import Estimate, TableEstimate, make_busy
from sizing.fit import TIGHT_SHARE, VERDICTS, Verdict, judge
from sizing.hardware import Calibration, Device, Machine
from sizing.placement import active_bytes
from sizing.throughput import find_shares
from sizing.weights import Floats, Ints, WeightTable

OFFLOADED, UNFIT = 2, 3
"""Places of 'offload' and 'does not fit' in `sizing.fit.VERDICTS`."""

COMFORTABLE_TOKENS_PER_S = {"code": 30.0, "math": 30.0, "reasoning": 40.0}
"""Decode speed below which a task starts to drag: one reads at 5 to 10 tokens/s, and skims; reasoning writes more."""
DEFAULT_COMFORTABLE_TOKENS_PER_S = 20.0
POINTS_PER_HALVING = 5.0
"""Score points lost each time the speed halves below comfort. A judgement, stated: it orders, it does not measure."""
READING_TOKENS_PER_S = 10.0
"""Decode speed below which each halving costs twice that: slower than one reads, every word is waited for."""
POINTS_PER_DOUBLING = 0.5
"""Score points gained each time the speed doubles above comfort, up to three times: half the bytes for next to no loss
is the better quantization."""
CROWDED_POINTS, OFFLOAD_POINTS = 3.0, 2.0
"""Points against a device with next to nothing to spare, and against prompts that wait for the host. Judgements too."""
UNKNOWN_LOSS_POINTS = 8.0
"""Points set against a quantization whose loss nobody published, so that it is not preferred for being unknown."""
MAX_UNRANKED = 200
"""Options without evidence that are described; more are counted."""


def count_run_points(
    decode_tokens_per_s: Floats, verdict: Ints, crowded: NDArray[np.bool_], comfort_tokens_per_s: float
) -> Floats:
    """Points against how each row runs; speed above comfort counts for it, an unknown speed (NaN) as comfort.

    `verdict` holds places in `sizing.fit.VERDICTS`; `crowded` marks rows with next to nothing to spare.
    """
    decode = decode_tokens_per_s
    speed = np.where(np.isnan(decode), comfort_tokens_per_s, np.maximum(decode, 1e-9))
    doublings = np.log2(speed / comfort_tokens_per_s)
    waits = np.maximum(0.0, np.log2(READING_TOKENS_PER_S / speed))
    against = POINTS_PER_HALVING * (np.maximum(0.0, -doublings) + waits)
    against = against - POINTS_PER_DOUBLING * np.clip(doublings, 0.0, 3.0)
    out: Floats = against + np.where(crowded, CROWDED_POINTS, 0.0) + np.where(verdict == OFFLOADED, OFFLOAD_POINTS, 0.0)
    return out


def count_points_against(
    result: TableEstimate, comfort_tokens_per_s: float, min_decode_tokens_per_s: float | None
) -> tuple[Floats, Ints, Floats]:
    """Points against how each row runs, its verdict code and its middle decode speed.

    Slowness, crowded devices and what is left to the host count against a row, speed above comfort for it; what does
    not run, or not fast enough, has infinite points against it.
    """
    verdict, _ = judge(result.placement)
    usable = np.array([d.usable_bytes for d in result.placement.devices], dtype=np.int64)
    close = (result.placement.headroom < TIGHT_SHARE * usable[None, :]) & (result.placement.total > 0)
    # where part is on the host, the cards are filled on purpose: what counts is the room left on the host
    crowded = np.where(verdict == OFFLOADED, close[:, 0], close.any(axis=1))
    decode: Floats = result.speed.decode_tokens_per_s[:, 1]
    against = count_run_points(decode, verdict, crowded, comfort_tokens_per_s)
    out = verdict == UNFIT
    if min_decode_tokens_per_s is not None:
        out |= ~(np.nan_to_num(decode, nan=0.0) >= min_decode_tokens_per_s)
    return np.where(out, np.inf, against), verdict, decode


ROUNDING = 1e-9
"""What sums of many numbers may be off by, as a share of them."""


def hope_points_against(table: WeightTable, machine: Machine, needs: Needs) -> Floats:
    """The fewest points that can count against how each row runs, from its weights alone: infinite where it cannot run.

    Points grow with every other cost, so nothing is better than this, wherever its layers and caches go.
    """
    devices = _list_places(machine)
    usable = np.array([d.usable_bytes for d in devices], dtype=np.int64)
    body = table.tensor_bytes - table.input_bytes
    needs_host = body > usable[1:].sum() if len(devices) > 1 else np.zeros(len(body), dtype=np.bool_)
    speed = _find_top_speed(make_busy(table, needs.workload), devices, machine.calibrations)
    verdict = np.where(needs_host, OFFLOADED, 0).astype(np.int64)
    against = count_run_points(speed, verdict, np.zeros(len(body), dtype=np.bool_), find_comfort(needs.task))
    is_out = table.tensor_bytes > usable.sum()
    if needs.min_decode_tokens_per_s is not None:
        is_out |= speed < needs.min_decode_tokens_per_s
    return np.where(is_out, np.inf, against - ROUNDING)


def _list_places(machine: Machine) -> tuple[Device, ...]:
    """The devices weights can lie on, the host first where there are cards."""
    if machine.is_unified:
        return machine.accelerators[:1]
    return (machine.host, *machine.accelerators)


def _find_top_speed(table: WeightTable, devices: Sequence[Device], calibrations: Sequence[Calibration]) -> Floats:
    """Decode speed in tokens/s that no placement exceeds: the fastest device reads all it can hold, and so on.

    Any speed where a bandwidth is unknown, since an unknown speed counts as comfort. `table` counts the experts all
    users read.
    """
    if not all(d.bandwidth_bytes_per_s for d in devices):
        return np.full(len(table.quant), 1e12)
    zero = np.zeros_like(table.n_layers)
    head = np.where(table.tied, table.token_embedding_bytes, 0)
    experts = table.experts.between(zero, table.n_layers)
    body = table.tensor_bytes - table.input_bytes + head
    left = active_bytes(body, experts, table.active_expert_share) - len(devices) - 1.0  # each device rounds its own
    usable = np.array([d.usable_bytes for d in devices], dtype=np.float64)
    bandwidth = np.array([d.bandwidth_bytes_per_s for d in devices], dtype=np.float64)
    cost = 1.0 / (bandwidth * find_shares(table, devices).decode)
    seconds = np.zeros(len(left))
    for place in np.argsort(cost, axis=1).T:
        part = np.minimum(left, usable[place])
        seconds += part * np.take_along_axis(cost, place[:, None], axis=1)[:, 0]
        left = left - part
    faster = max([1.0, *(c.decode_ratio for c in calibrations)])
    top: Floats = (1.0 + ROUNDING) * faster / np.maximum(seconds, 1e-12)
    return top


def count_estimate_points(estimate: Estimate, comfort_tokens_per_s: float) -> float:
    """Points against how one estimate runs, by the same rules, whichever engine it is of.

    What fills its cards on purpose is crowded only where its own verdict says tight.
    """
    fit = estimate.fit
    host = estimate.memory.devices[0]
    is_crowded = fit.verdict is Verdict.TIGHT
    if fit.verdict is Verdict.OFFLOAD and host.parts.total_bytes:
        is_crowded = host.headroom_bytes < TIGHT_SHARE * host.usable_bytes
    decode = np.nan if estimate.speed is None else estimate.speed.decode_tokens_per_s.mid
    verdict = np.array([VERDICTS.index(fit.verdict)], dtype=np.int64)
    points = count_run_points(np.array([decode]), verdict, np.array([is_crowded]), comfort_tokens_per_s)
    return float(points[0])


def find_unknown_loss(quant: str) -> float:
    """Points set against a quantization without a published loss; none against 16 bit."""
    return 0.0 if quant in ("F16", "BF16") else UNKNOWN_LOSS_POINTS


def find_comfort(task: str) -> float:
    """The decode speed in tokens/s below which a task starts to drag."""
    return COMFORTABLE_TOKENS_PER_S.get(task, DEFAULT_COMFORTABLE_TOKENS_PER_S)


def order_models(models: Sequence[Candidate], utility: Floats) -> tuple[Ints, int]:
    """Places of models best first, those with evidence before those without, and how many of the latter are left out.

    Of models without evidence those measured here go first, then the most downloaded.
    """
    unknown = np.array([m.quality is None for m in models], dtype=np.bool_)
    downloads = np.array([m.n_downloads or 0 for m in models], dtype=np.int64)
    unmeasured = np.array([unknown[i] and not m.measured for i, m in enumerate(models)], dtype=np.bool_)
    tie = np.where(unknown, downloads, 0)
    order = np.lexsort((-tie, -utility, unmeasured, unknown))
    n_shown = int((~unknown).sum()) + min(MAX_UNRANKED, int(unknown.sum()))
    return order[:n_shown], len(models) - n_shown

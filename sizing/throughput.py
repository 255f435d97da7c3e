"""Speed before anything is measured: decoding is bound by memory traffic, prefill by arithmetic.

Decode: every token reads the active weights and the cache once, on each device in turn:
`t = sum over devices (active_weight_bytes + kv_read_bytes) / (bandwidth x efficiency) + n_layers x step_cost`.
Prefill: `2 x active parameters` operations per token over `fp16_flops x efficiency`.

Efficiencies are the 10th, 50th and 90th percentile of published single-stream measurements (dense models of known
size, one device, depth at most 2,048) by class of device; their sources are the rows of the project's measured-speed
table. They are intervals on purpose: one flat factor does not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sizing.hardware import Calibration, Device, DeviceKind
from sizing.placement import Placement
from sizing.quants import find_quant_class
from sizing.weights import Floats, WeightTable


@dataclass(frozen=True, slots=True)
class Interval:
    """Low, middle and high of an uncertain number, in that order."""

    low: float
    mid: float
    high: float


@dataclass(frozen=True, slots=True)
class SpeedEstimate:
    """Tokens per second of one stream, and seconds to the first token of a prompt that fills the context.

    `prefill_tokens_per_s` and `time_to_first_token_s` are None where a device's arithmetic rate is unknown.
    `bound` names what limits decoding: 'memory bandwidth' of a device, by name.
    """

    decode_tokens_per_s: Interval
    prefill_tokens_per_s: Interval | None
    time_to_first_token_s: Interval | None
    bound: str


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Share of peak that is reached: decode for coarse (8 bits and more) and fine (K, IQ) quants, and prefill.

    `step_s` is the fixed cost of one layer per token (kernel launches, thread barriers).
    """

    coarse: Interval
    fine: Interval
    prefill: Interval
    step_s: float


_EFFICIENCY = {
    "card": Efficiency(Interval(0.75, 0.85, 0.91), Interval(0.50, 0.68, 0.82), Interval(0.35, 0.70, 1.0), 8e-6),
    "server": Efficiency(Interval(0.38, 0.48, 0.70), Interval(0.30, 0.42, 0.60), Interval(0.22, 0.36, 0.55), 8e-6),
    "unified": Efficiency(Interval(0.70, 0.82, 0.90), Interval(0.48, 0.64, 0.82), Interval(0.10, 0.35, 0.70), 12e-6),
    "cpu": Efficiency(Interval(0.50, 0.70, 0.90), Interval(0.43, 0.60, 0.80), Interval(0.20, 0.45, 0.80), 15e-6),
}
_SERVER_CARDS = frozenset(
    (
        "A100",
        "A800",
        "H100",
        "H200",
        "H800",
        "H20",
        "B100",
        "B200",
        "B300",
        "GH200",
        "GB200",
        "MI210",
        "MI250",
        "MI250X",
        "MI300",
        "MI300X",
        "MI325X",
        "MI350X",
        "MI355X",
    )
)
_SPARSE = Interval(0.50, 0.62, 0.85)
"""What is left of these efficiencies for a mixture of experts: many small matrices at scattered places. From the same
measurements, models of 3 to 5 billion active parameters on six devices."""
_LOOKUP_ON_CPU = Interval(0.40, 0.60, 0.90)
"""What is left on a CPU for IQ quantizations, whose values are looked up in tables: arithmetic, not memory, is the
limit there (llama.cpp's own notes on them say slower on CPU). A judgement until measured here."""
_FLOPS_PER_CORE = (("AVX-512", 300e9), ("AVX2", 150e9), ("NEON", 100e9))
"""Arithmetic of one core in operations/s by its widest vectors: about two 16-bit-class fused operations per lane and
cycle near 3 GHz. With the CPU's prefill efficiency it spans the 136 to 166 G operations/s per core measured with
AVX-512 (Llama 3.2 1B on 2 cores, Llama models on a Ryzen 7 7840HS)."""
_CALIBRATED = Interval(0.85, 1.0, 1.15)
"""Spread around what was measured here: other models of the same class, and other programs running."""


def find_efficiency(device: Device) -> Efficiency:
    """The class a device's efficiencies come from: CPU, unified memory, server card or card."""
    if device.kind is DeviceKind.CPU:
        return _EFFICIENCY["cpu"]
    if device.kind is DeviceKind.UNIFIED:
        return _EFFICIENCY["unified"]
    is_server = bool(_SERVER_CARDS & set(device.name.upper().replace("-", " ").split()))
    return _EFFICIENCY["server" if is_server else "card"]


def find_flops(device: Device) -> float | None:
    """A device's arithmetic rate in operations/s: its own figure, else for a CPU what its cores can do, else None."""
    if device.fp16_flops is not None or device.kind is not DeviceKind.CPU or device.n_cores is None:
        return device.fp16_flops
    rates = [rate for name, rate in _FLOPS_PER_CORE if name in device.instruction_sets]
    return device.n_cores * rates[0] if rates else None


@dataclass(frozen=True, slots=True)
class SpeedColumns:
    """Low, mid, high by row (shape rows x 3); NaN where unknown. `bound_device` indexes the placement's devices."""

    decode_tokens_per_s: Floats
    prefill_tokens_per_s: Floats
    bound_device: np.ndarray

    def at(self, row: int, placement: Placement, prompt_tokens: int) -> SpeedEstimate | None:
        """The estimate of one row, None where the bandwidth is unknown."""
        decode = self.decode_tokens_per_s[row]
        if np.isnan(decode).any():
            return None
        prefill = None if np.isnan(self.prefill_tokens_per_s[row]).any() else _interval(self.prefill_tokens_per_s[row])
        first = None
        if prefill is not None:
            first = Interval(
                *(
                    prompt_tokens / p + 1 / d
                    for p, d in zip(
                        (prefill.high, prefill.mid, prefill.low), (decode[2], decode[1], decode[0]), strict=True
                    )
                )
            )
        device = placement.devices[int(self.bound_device[row])]
        return SpeedEstimate(_interval(decode), prefill, first, f"memory bandwidth of {device.name}")


def _interval(values: Floats) -> Interval:
    return Interval(float(values[0]), float(values[1]), float(values[2]))


def estimate_speed(
    table: WeightTable,
    placement: Placement,
    n_active_params: Floats,
    calibrations: Sequence[Calibration] = (),
) -> SpeedColumns:
    """Single-stream speed of every placed row; `n_active_params` is a column over rows (parameters per token).

    The low end reads a full cache at the low efficiency, the middle a half-full one, the high end an empty one. Where
    all is on the host, `calibrations` of a row's class replace the efficiency by the measured middle.
    """
    rows = len(table.n_layers)
    classes = np.array([find_quant_class(q) for q in table.quant])
    decode_ratio, prefill_ratio = _find_ratios(table, placement, classes, calibrations)
    decode_s, prefill_s = np.zeros((rows, 3)), np.zeros((rows, 3))
    by_device = np.zeros((rows, len(placement.devices)))
    for d, device in enumerate(placement.devices):
        used = placement.active_weights[:, d] > 0
        share = find_efficiency(device)
        bandwidth = device.bandwidth_bytes_per_s or np.nan
        flops = find_flops(device) or np.nan
        weight_total = np.maximum(placement.active_weights.sum(axis=1), 1)
        part = placement.active_weights[:, d] / weight_total
        for i, (end, fill) in enumerate((("low", 1.0), ("mid", 0.5), ("high", 0.0))):
            spread = getattr(_CALIBRATED, end)
            decode_eff = _calibrated(
                _decode_efficiency(device, classes, table, end),
                _decode_efficiency(device, classes, table, "mid") * decode_ratio * spread,
            )
            prefill_eff = _calibrated(
                np.full(rows, getattr(share.prefill, end)), share.prefill.mid * prefill_ratio * spread
            )
            traffic = placement.active_weights[:, d] + placement.kv[:, d] * fill + 2 * placement.recurrent[:, d]
            seconds = traffic / (bandwidth * decode_eff) + placement.n_layers[:, d] * share.step_s * (2.0 - i * 0.5)
            decode_s[:, i] += np.where(used, seconds, 0.0)
            prefill_s[:, i] += np.where(used, 2.0 * n_active_params * part / (flops * prefill_eff), 0.0)
            if i == 1:
                by_device[:, d] = np.where(used, seconds, 0.0)
    with np.errstate(divide="ignore"):
        return SpeedColumns(1.0 / decode_s, 1.0 / prefill_s, by_device.argmax(axis=1))


def _decode_efficiency(device: Device, classes: NDArray[np.str_], table: WeightTable, end: str) -> Floats:
    """Share of the bandwidth that decoding reaches on a device, by row, at one end of the interval."""
    share = find_efficiency(device)
    out: Floats = np.where(classes == "coarse", getattr(share.coarse, end), getattr(share.fine, end))
    out = out * np.where(table.is_moe, getattr(_SPARSE, end), 1.0)
    if device.kind is DeviceKind.CPU:
        out = out * np.where(classes == "looked up", getattr(_LOOKUP_ON_CPU, end), 1.0)
    return out


def _find_ratios(
    table: WeightTable, placement: Placement, classes: NDArray[np.str_], calibrations: Sequence[Calibration]
) -> tuple[Floats, Floats]:
    """Measured over estimated for each row, NaN where nothing of its class was measured or a card does part."""
    decode, prefill = np.full(len(classes), np.nan), np.full(len(classes), np.nan)
    if len(placement.devices) == 1 and placement.devices[0].kind is DeviceKind.CPU:
        for known in calibrations:
            if known.host_name == placement.devices[0].name:
                rows = (classes == known.quant_class) & (table.is_moe == known.is_moe)
                decode[rows] = known.decode_ratio
                prefill[rows] = np.nan if known.prefill_ratio is None else known.prefill_ratio
    return decode, prefill


def _calibrated(guess: Floats, measured: Floats) -> Floats:
    """What was measured where it was, else the guess."""
    return np.where(np.isnan(measured), guess, measured)

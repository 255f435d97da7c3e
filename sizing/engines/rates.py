"""What a fit says of one engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineRates:
    """Fitted on the rows of one engine.

    `decode_share` is a part of the bandwidth, `step_s` and `reduce_s` are seconds of a layer and of an all-reduce,
    `sparse_step` a factor on the layer's for a mixture of experts. `prefill_share` is a part of the 16-bit arithmetic
    rate, None where no row tells and llama.cpp's of the device's class is taken. Spreads are the 10th and 90th
    percentile of log(measured time / estimated time) on what was left out. `n_devices` counts devices by class.
    """

    decode_share: float
    step_s: float
    sparse_step: float
    reduce_s: float
    prefill_share: float | None
    spread: tuple[float, float]
    prefill_spread: tuple[float, float]
    n_rows: int
    n_devices: dict[str, int]
    n_prefill_rows: int

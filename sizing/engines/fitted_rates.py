"""What engines reach of a device's peak. Written by `python -m tools.fit_engine_speed`: change that instead."""

from __future__ import annotations

from sizing.engines.rates import EngineRates

RATES: dict[str, EngineRates] = {
    "MLX": EngineRates(
        decode_share=0.869,
        step_s=8.69e-05,
        sparse_step=1.65,
        reduce_s=2e-05,
        prefill_share=None,
        spread=(-0.157, 0.278),
        prefill_spread=(-0.343, 0.858),
        n_rows=39,
        n_devices={"apple": 4},
        n_prefill_rows=0,
    ),
    "vLLM": EngineRates(
        decode_share=0.788,
        step_s=4.16e-05,
        sparse_step=1.29,
        reduce_s=2.08e-05,
        prefill_share=None,
        spread=(-0.568, 0.356),
        prefill_spread=(-0.343, 0.858),
        n_rows=59,
        n_devices={"cuda": 2},
        n_prefill_rows=0,
    ),
    "Transformers": EngineRates(
        decode_share=0.804,
        step_s=0.000574,
        sparse_step=1.5,
        reduce_s=2e-05,
        prefill_share=None,
        spread=(-0.224, 0.586),
        prefill_spread=(-0.343, 0.858),
        n_rows=12,
        n_devices={"cuda hbm": 1},
        n_prefill_rows=0,
    ),
    "AutoAWQ": EngineRates(
        decode_share=0.778,
        step_s=5.66e-05,
        sparse_step=1.5,
        reduce_s=2e-05,
        prefill_share=0.362,
        spread=(-0.248, 0.385),
        prefill_spread=(-0.314, 0.71),
        n_rows=18,
        n_devices={"cuda": 1},
        n_prefill_rows=6,
    ),
}

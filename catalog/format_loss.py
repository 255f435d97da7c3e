"""What a weight format that is not GGUF costs in quality, from published scores of the same models in it and in BF16.

These measurements share no quantizations with those of GGUF, so they are not part of that fit
(`catalog.quant_loss`): the loss is the mean of the differences, its interval that of their scatter between models.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev

from catalog.quant_loss import QuantLossEstimate, QuantRow
from sizing.evidence import Z_80

NATIVE_FORMATS = {"FP8": ("FP8", "FP8-block"), "MXFP4": ("MXFP4",), "NVFP4": ("NVFP4",)}
"""Formats in which a publisher's own release costs nothing, by how the catalog names the release."""

FEWEST_MODELS = 2
"""One model alone says nothing of how others differ."""


def estimate_format_loss(
    rows: Sequence[QuantRow], weight_format: str, quant_native: str | None = None
) -> QuantLossEstimate | None:
    """The points of score a format is expected to cost: of MMLU, or of the mean of OpenLLM's six suites.

    None where fewer than two models were measured in it.

    `quant_native` is the format the publisher released: that costs nothing, by definition. A mean gain is none: the
    points are never below 0, its interval is kept.
    """
    if weight_format in NATIVE_FORMATS.get(quant_native or "", ()):
        return QuantLossEstimate(weight_format, "same model", 0.0, 0.0, 0.0, None, None, 1, ())
    of_format = [r for r in rows if r.quant == weight_format and r.benchmark_score is not None]
    lost = [r.benchmark_base - r.benchmark_score for r in of_format if r.benchmark_base and r.benchmark_score]
    if len(lost) < FEWEST_MODELS:
        return None
    middle = fmean(lost)
    spread = Z_80 * stdev(lost) * sqrt(1 + 1 / len(lost))
    return QuantLossEstimate(
        quant=weight_format,
        label="generic",
        points=max(0.0, middle),
        low=max(0.0, middle - spread),
        high=max(0.0, middle + spread),
        same_top_percent=None,
        perplexity_ratio=None,
        n_models=len({r.model for r in of_format}),
        rows=tuple(of_format),
    )

"""The formula of what a quantization costs, written once; the others are in `sizing/formulas.py`."""

from __future__ import annotations

from catalog.quant_loss import estimate_quant_loss
from sizing.formula import Formula

FORMULAS = {
    "points": Formula(
        "log(points lost)",
        "part of the quantization + part of the model, fitted to published measurements",
        r"\ln P = q + m",
        (
            ("P", "points of MMLU lost"),
            ("q", "part of the quantization, the mean over the models it was measured of"),
            ("m", "part of the model, shrunk by n / (n + 2) over its n quantizations; 0 where nothing is known of it"),
        ),
        estimate_quant_loss,
        "Divergences and perplexities count in points of score by the pair of models that has both; an interval holds "
        "8 of 10.",
    ),
}
"""By a short name, as `sizing.formulas.FORMULAS` is."""

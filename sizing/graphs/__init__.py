"""Compute graphs by architecture, for the compute buffer's size."""

from __future__ import annotations

from sizing.graphs import deepseek4, delta, dense, encoder, gemma, hyper, latent, minimax, recurrent
from sizing.graphs.frame import Program

PROGRAMS: dict[str, Program] = {
    **dense.PROGRAMS,
    **recurrent.PROGRAMS,
    **latent.PROGRAMS,
    **gemma.PROGRAMS,
    **delta.PROGRAMS,
    **minimax.PROGRAMS,
    **hyper.PROGRAMS,
    **deepseek4.PROGRAMS,
    **encoder.PROGRAMS,
}
"""The graph of each architecture, by GGUF name."""

"""The commands and files that start what was computed, with every figure of it pinned."""

from __future__ import annotations

from sizing.engines.base import EngineEstimate
from sizing.launch.base import Launch, ModelFiles
from sizing.launch.llama_cpp import (
    NOTHING_BESIDE,
    Beside,
    format_command,
    format_llama_server_command,
    format_solution_command,
    list_llama_cpp_launches,
    workload_of,
)

__all__ = [
    "NOTHING_BESIDE",
    "Beside",
    "Launch",
    "ModelFiles",
    "format_command",
    "format_llama_server_command",
    "format_solution_command",
    "list_launches",
    "list_llama_cpp_launches",
    "workload_of",
]


def list_launches(answer: EngineEstimate, files: ModelFiles) -> tuple[Launch, ...]:
    """Every way to start an engine just as it was sized; empty where it does not run or nobody told how to start it."""
    if not answer.estimate.fit.runs:
        return ()
    if answer.engine == "llama.cpp":
        return list_llama_cpp_launches(answer.estimate, workload_of(answer.setup), answer.setup.machine, files)
    return ()

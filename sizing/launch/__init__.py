"""The commands and files that start what was computed, with every figure of it pinned."""

from __future__ import annotations

from collections.abc import Iterator

from sizing.engines.base import EngineEstimate
from sizing.engines.llama_cpp import build_workload
from sizing.launch.base import Launch, ModelFiles
from sizing.launch.gguf import list_llama_cpp_launches
from sizing.launch.llama_cpp import (
    NOTHING_BESIDE,
    Beside,
    format_command,
    format_llama_server_command,
    format_solution_command,
)
from sizing.launch.local import list_exllama_launches, list_mlx_launches, list_transformers_launches
from sizing.launch.ollama import list_ollama_launches
from sizing.launch.serving import SERVERS, list_serving_launches
from sizing.launch.training import TrainingPlan, list_training_launches

__all__ = [
    "NOTHING_BESIDE",
    "Beside",
    "Launch",
    "ModelFiles",
    "TrainingPlan",
    "format_command",
    "format_llama_server_command",
    "format_solution_command",
    "list_launches",
    "list_llama_cpp_launches",
    "list_training_launches",
]


def list_launches(answer: EngineEstimate, files: ModelFiles) -> tuple[Launch, ...]:
    """Every way to start an engine just as it was sized; empty where it does not run, or for an engine unknown here.

    llama.cpp's K and V caches are of one type here and nothing stands beside the model; where they differ,
    `list_llama_cpp_launches` takes them.
    """
    return tuple(_list_launches(answer, files)) if answer.estimate.fit.runs else ()


def _list_launches(answer: EngineEstimate, files: ModelFiles) -> Iterator[Launch]:
    if answer.engine == "llama.cpp":
        setup = answer.setup
        yield from list_llama_cpp_launches(answer.estimate, build_workload(setup), setup.machine, files)
    elif answer.engine == "Ollama":
        yield from list_ollama_launches(answer, files)
    elif answer.engine in SERVERS:
        yield from list_serving_launches(answer, files)
    elif answer.engine == "Transformers":
        yield from list_transformers_launches(answer, files)
    elif answer.engine in ("ExLlamaV2", "ExLlamaV3"):
        yield from list_exllama_launches(answer, files)
    elif answer.engine == "MLX":
        yield from list_mlx_launches(answer, files)

"""Engines other people run models with: each one's own rule for weights, cache, buffers and what it refuses.

Importing this package registers them all; `find_engine` finds one by name.
"""

from sizing.engines import exllama as exllama
from sizing.engines import llama_cpp as llama_cpp
from sizing.engines import mlx as mlx
from sizing.engines import ollama as ollama
from sizing.engines import transformers as transformers
from sizing.engines.base import Capacity, Engine, EngineEstimate, EngineOptions, EngineSetup
from sizing.engines.registry import ENGINES, find_engine, list_engines, register_engine
from sizing.engines.sglang import SGLANG
from sizing.engines.tgi import TGI
from sizing.engines.vllm import VLLM

__all__ = [
    "ENGINES",
    "SGLANG",
    "TGI",
    "VLLM",
    "Capacity",
    "Engine",
    "EngineEstimate",
    "EngineOptions",
    "EngineSetup",
    "find_engine",
    "list_engines",
    "register_engine",
]

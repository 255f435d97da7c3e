"""The engines by name, in the order pages list them."""

from __future__ import annotations

from sizing.engines.base import Engine
from sizing.errors import UnknownNameError

ENGINES: dict[str, Engine] = {}
"""Every engine that can be sized, by name."""

ORDER = ("llama.cpp", "Ollama", "vLLM", "SGLang", "TGI", "Transformers", "ExLlamaV2", "ExLlamaV3", "MLX")


def register_engine(engine: Engine) -> Engine:
    """Make an engine known under its name. Raises ValueError when the name is taken."""
    if engine.name in ENGINES:
        raise ValueError(f"engine {engine.name!r} is registered twice")
    ENGINES[engine.name] = engine
    return engine


def list_engines() -> tuple[Engine, ...]:
    """Every engine, in the order pages list them."""
    return tuple(sorted(ENGINES.values(), key=lambda e: ORDER.index(e.name) if e.name in ORDER else len(ORDER)))


def find_engine(name: str) -> Engine:
    """The engine called `name`, whatever its case. Raises UnknownNameError with near names."""
    for engine in ENGINES.values():
        if engine.name.casefold() == name.casefold():
            return engine
    raise UnknownNameError("engine", name, ENGINES)

"""What is asked of an engine and what it answers, the same for every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sizing.errors import BadInputError
from sizing.estimate import Estimate
from sizing.hardware import Machine
from sizing.memory import WeightBytes
from sizing.specs import ModelSpec


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Settings some engines have; None is the engine's own default. An engine without a setting ignores it.

    `gpu_memory_utilization` is the share of each card the engine may take (vLLM; SGLang's mem-fraction-static, TGI's
    cuda-memory-fraction). `tensor_parallel` ranks share every matrix, `pipeline_parallel` stages share the layers;
    None spreads over all cards in the way the engine can. `max_batched_tokens` is what one step works on.
    """

    gpu_memory_utilization: float | None = None
    tensor_parallel: int | None = None
    pipeline_parallel: int | None = None
    max_batched_tokens: int | None = None
    max_sequences: int | None = None
    eager: bool = False

    def __post_init__(self) -> None:
        share = self.gpu_memory_utilization
        if share is not None and not 0 < share <= 1:
            raise BadInputError(f"gpu_memory_utilization wants a share above 0 and at most 1, got {share!r}")
        for name in ("tensor_parallel", "pipeline_parallel", "max_batched_tokens", "max_sequences"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise BadInputError(f"{name} wants a whole number of at least 1, got {value!r}")


NO_OPTIONS = EngineOptions()


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """One way to run a model on an engine.

    `weight_format` is a name of `sizing.formats.FORMATS`, or a GGUF quantization for llama.cpp and Ollama, which also
    want its `weights`. Each of `n_parallel` requests at once may be `context_tokens` long. `kv_type` is one of the
    engine's own names, 'auto' its default.
    """

    spec: ModelSpec
    weight_format: str
    context_tokens: int
    n_parallel: int
    machine: Machine
    kv_type: str = "auto"
    weights: WeightBytes | None = None
    options: EngineOptions = NO_OPTIONS

    def __post_init__(self) -> None:
        for name in ("context_tokens", "n_parallel"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 2**31 - 1:
                raise BadInputError(f"{name} wants a whole number of at least 1, got {value!r}")


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the cache of a serving engine holds once it has started.

    `kv_tokens` over all requests; `n_requests` of the asked length at once (a fraction below 1: not even one);
    `largest_context_tokens` is the longest single request with which the engine starts, 0 for none.
    """

    kv_bytes: int
    kv_tokens: int
    n_requests: float
    largest_context_tokens: int
    block_tokens: int


@dataclass(frozen=True, slots=True)
class EngineEstimate:
    """An engine's answer. `estimate` holds memory by device, speed and fit as for llama.cpp.

    `capacity` is None for engines that reserve what they are asked for instead of filling the card. `differences` says
    what this engine does otherwise than llama.cpp and what follows here, each with the figure it explains.
    """

    setup: EngineSetup
    engine: str
    estimate: Estimate
    capacity: Capacity | None = None
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that can be sized.

    `formats` are names of `sizing.formats.FORMATS`; empty with `takes_gguf`. `kv_types` are its cache types, the first
    its default. `backends` are those of `Device.backend` it runs on. `find_gap` says why it cannot run a model in a
    format on a machine at all ("does not know this architecture", "cannot divide 40 heads by 3 cards"), None where it
    can; memory is not its business. `estimate` raises UnsupportedError with that reason, BadInputError for a setting
    the engine refuses.
    """

    name: str
    formats: tuple[str, ...]
    kv_types: tuple[str, ...]
    backends: frozenset[str]
    estimate: Callable[[EngineSetup], EngineEstimate]
    find_gap: Callable[[EngineSetup], str | None]
    source_url: str
    takes_gguf: bool = False
    summary: str = ""
    fills_memory: bool = field(default=False)  # takes a share of the card whatever is asked, and caches in the rest

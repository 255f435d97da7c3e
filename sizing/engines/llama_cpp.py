"""llama.cpp, the engine the core is written after: `sizing.estimate` behind the contract of all engines."""

from __future__ import annotations

from sizing.engines.base import Engine, EngineEstimate, EngineSetup
from sizing.engines.registry import register_engine
from sizing.errors import BadInputError, UnsupportedError
from sizing.estimate import ENGINE, Estimate, estimate
from sizing.kv_cache import find_cache_refusal
from sizing.memory import WeightBytes
from sizing.quants import KV_TYPES
from sizing.workload import MAX_PARALLEL, Workload

LLAMA_CPP_KV_TYPES = ("f16", *(name for name in KV_TYPES if name != "f16"))
"""Cache types, the default first."""

BACKENDS = frozenset({"cpu", "cuda", "rocm", "vulkan", "metal", "sycl"})
"""What llama.cpp is built for, by `Device.backend` (https://github.com/ggml-org/llama.cpp#supported-backends)."""


def find_gguf_weights(setup: EngineSetup) -> WeightBytes:
    """The bytes of the GGUF file a setup is about. Raises BadInputError without them or for another quantization's."""
    if setup.weights is None:
        raise BadInputError(f"a GGUF engine wants the bytes of {setup.weight_format!r} by layer, got no weights")
    if setup.weights.quant.casefold() != setup.weight_format.casefold():
        raise BadInputError(
            f"the setup asks for {setup.weight_format!r} and brings the weights of {setup.weights.quant!r}; "
            "give both the same name"
        )
    return setup.weights


def build_workload(setup: EngineSetup, n_ubatch: int = 512, n_batch: int = 2048) -> Workload:
    """The workload a setup is for llama.cpp: one cache type for K and V, `max_batched_tokens` its physical batch.

    Raises BadInputError or UnknownNameError for what llama.cpp does not take.
    """
    asked = setup.options.max_batched_tokens or n_ubatch
    kv_type = LLAMA_CPP_KV_TYPES[0] if setup.kv_type == "auto" else setup.kv_type.lower()
    return Workload(
        setup.context_tokens,
        setup.n_parallel,
        n_ubatch=asked,
        n_batch=max(n_batch, asked),
        kv_type_k=kv_type,
        kv_type_v=kv_type,
    )


def find_llama_cpp_gap(setup: EngineSetup) -> str | None:
    """Why llama.cpp cannot run this at all, or None."""
    unknown = sorted({d.backend for d in setup.machine.accelerators} - BACKENDS)
    if unknown:
        return f"llama.cpp has no backend for {', '.join(unknown)}"
    if setup.weights is None:
        return f"there is no GGUF file in {setup.weight_format} whose bytes are known"
    if setup.n_parallel > MAX_PARALLEL:
        return f"llama.cpp takes at most {MAX_PARALLEL} slots, {setup.n_parallel} were asked for"
    return find_cache_refusal(setup.spec, build_workload(setup))


def estimate_gguf(setup: EngineSetup, workload: Workload) -> Estimate:
    """llama.cpp's answer for the setup's model, weights and machine under `workload`."""
    return estimate(setup.spec, find_gguf_weights(setup), workload, setup.machine)


def estimate_llama_cpp(setup: EngineSetup) -> EngineEstimate:
    """What the core says, with no difference to name. Raises UnsupportedError for what llama.cpp cannot run."""
    gap = find_llama_cpp_gap(setup)
    if gap is not None:
        raise UnsupportedError(gap)
    return EngineEstimate(setup, ENGINE, estimate_gguf(setup, build_workload(setup)))


LLAMA_CPP = register_engine(
    Engine(
        name=ENGINE,
        formats=(),
        kv_types=LLAMA_CPP_KV_TYPES,
        backends=BACKENDS,
        estimate=estimate_llama_cpp,
        find_gap=find_llama_cpp_gap,
        source_url="https://github.com/ggml-org/llama.cpp",
        takes_gguf=True,
        summary="GGUF files on any card, processor or a mix of both; reserves the context asked for",
    )
)

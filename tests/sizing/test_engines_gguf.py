"""llama.cpp and Ollama behind the contract of all engines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog.queries import find_machine, find_model, list_weights
from catalog.store import open_catalog
from sizing import Workload, estimate
from sizing.engines import EngineOptions, EngineSetup, find_engine, list_engines
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError

CATALOG = open_catalog()


def build_setup(name: str, quant: str = "Q4_K_M", context: int = 8192, slots: int = 1, gpu: str = "RTX 4090"):
    spec = find_model(CATALOG, name).spec
    weights = next(w for w in list_weights(CATALOG, spec.model_id) if w.quant == quant)
    return EngineSetup(spec, quant, context, slots, find_machine(CATALOG, gpu), weights=weights)


def test_llama_cpp_is_the_core_s_own_answer():
    setup = build_setup("Llama-3.1-8B-Instruct", slots=2)
    asked = find_engine("LLAMA.CPP").estimate(replace(setup, kv_type="q8_0"))
    assert asked.estimate == estimate(
        setup.spec, setup.weights, Workload(8192, 2, kv_type_k="q8_0", kv_type_v="q8_0"), setup.machine
    )
    assert asked.engine == "llama.cpp" and asked.differences == ()


def test_llama_cpp_takes_the_batch_that_options_name():
    setup = replace(build_setup("Llama-3.1-8B-Instruct"), options=EngineOptions(max_batched_tokens=2048))
    assert find_engine("llama.cpp").estimate(setup).estimate == estimate(
        setup.spec, setup.weights, Workload(8192, n_ubatch=2048), setup.machine
    )


def test_what_llama_cpp_cannot_run_is_said_and_raised():
    setup = build_setup("Llama-3.1-8B-Instruct")
    engine = find_engine("llama.cpp")
    for wrong, said in (
        (replace(setup, weights=None), "no GGUF file in Q4_K_M"),
        (replace(setup, n_parallel=257), "at most 256 slots"),
    ):
        assert said in engine.find_gap(wrong)
        with pytest.raises(UnsupportedError, match=said):
            engine.estimate(wrong)
    assert engine.find_gap(setup) is None
    with pytest.raises(BadInputError, match="'Q8_0' and brings the weights of 'Q4_K_M'"):
        engine.estimate(replace(setup, weight_format="Q8_0"))
    with pytest.raises(UnknownNameError, match="KV cache type"):
        engine.estimate(replace(setup, kv_type="fp8"))


def test_engines_stand_in_the_order_of_the_pages():
    assert next(e.name for e in list_engines()) == "llama.cpp"
    with pytest.raises(UnknownNameError, match="did you mean llama.cpp"):
        find_engine("llama_cpp")

"""llama.cpp and Ollama behind the contract of all engines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog.queries import find_machine, find_model, list_weights
from catalog.store import open_catalog
from sizing import Workload, estimate
from sizing.engines import EngineOptions, EngineSetup, find_engine, list_engines
from sizing.engines.ollama import find_default_context
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.units import format_bytes

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


# server logs of Ollama 0.19 to 0.34, "vram-based default context": 7.8, 11.9, 17.8, 22.0, 23.5 and 102.2 GiB
@pytest.mark.parametrize(
    ("machine", "tokens"),
    [
        ("RTX 3060", 4096),
        ("A10", 4096),
        ("RTX 4090", 32768),
        ("RTX 4090 * 2", 262144),
        ("RTX 6000 Ada", 262144),
        ("Apple M4 Max 128GB", 262144),
        ("64 GB DDR5-5600", 4096),
    ],
)
def test_ollama_s_default_context_is_that_of_its_logs(machine, tokens):
    assert find_default_context(find_machine(CATALOG, machine)) == tokens


def test_ollama_is_llama_cpp_with_its_settings_and_says_when_num_ctx_must_be_set():
    setup = build_setup("Llama-3.1-8B-Instruct", context=65536)
    found = find_engine("Ollama").estimate(setup)
    same = estimate(setup.spec, setup.weights, Workload(65536, n_batch=512), setup.machine)
    assert found.estimate.memory.parts == same.memory.parts and found.estimate.fit == same.fit
    assert found.estimate.memory.engine == "Ollama"
    # 32 layers x 2 x 8 heads x 128 x 2 bytes: 128 KiB a token
    context = next(d for d in found.differences if d.startswith("context"))
    assert "32,768 tokens" in context and f"{format_bytes(2**32)} of cache, {format_bytes(2**33)} for" in context
    assert "set num_ctx 65536" in context and "loses its beginning" in context


def test_ollama_at_its_own_default_has_nothing_to_say_about_context():
    found = find_engine("Ollama").estimate(build_setup("Llama-3.1-8B-Instruct", context=32768))
    assert not any(d.startswith("context") for d in found.differences)


def test_ollama_takes_one_card_where_all_fits_and_all_cards_where_it_does_not():
    one = find_engine("Ollama").estimate(build_setup("Llama-3.1-8B-Instruct", gpu="RTX 4090 * 2")).estimate
    assert one.tensor_split == (33, 0) and one.memory.devices[2].parts.total_bytes == 0
    both = find_engine("Ollama").estimate(build_setup("Llama-3.3-70B-Instruct", gpu="RTX 4090 * 2")).estimate
    assert both.fit.runs and min(d.parts.weight_bytes for d in both.memory.devices[1:]) > 15e9


def test_ollama_s_refusals():
    setup = build_setup("Llama-3.1-8B-Instruct")
    with pytest.raises(UnknownNameError, match="Ollama KV cache type 'q5_1'"):
        find_engine("Ollama").estimate(replace(setup, kv_type="q5_1"))
    intel = replace(setup, machine=find_machine(CATALOG, "Intel Arc A770"))
    with pytest.raises(UnsupportedError, match="SYCL"):
        find_engine("Ollama").estimate(intel)

"""Whole answers for real models of the catalog, held to figures from elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog.queries import find_machine, find_model, list_weights
from catalog.store import Catalog, open_catalog
from sizing import Device, DeviceKind, Machine, ModelSpec, Offload, Verdict, WeightBytes, Workload
from sizing.errors import BadInputError
from sizing.estimate import estimate, find_largest_context
from sizing.explain import explain_parts
from sizing.units import GIB, MIB


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return open_catalog()


def find(catalog: Catalog, name: str, quant: str) -> tuple[ModelSpec, WeightBytes]:
    spec = find_model(catalog, name).spec
    return spec, next(w for w in list_weights(catalog, spec.model_id) if w.quant == quant)


def host(gib: float) -> Machine:
    return Machine("box", Device("host", DeviceKind.CPU, int(gib * GIB), int(gib * GIB), 60e9))


# llama.cpp's dry run on a CPU, llama-cpp-python 0.3.36: file bytes without vocabulary, KV cache and compute in MiB
ENGINE_FIGURES = [
    ("Llama-3.1-8B-Instruct", Workload(4096), 512.0, 266.50),
    ("Llama-3.1-8B-Instruct", Workload(131072), 16384.0, 266.50),
    ("Llama-3.1-8B-Instruct", Workload(32768, flash_attention=False), 4096.0, 2156.01),
    ("Llama-3.1-8B-Instruct", Workload(8192, n_ubatch=2048), 1024.0, 1066.01),
    ("Llama-3.1-8B-Instruct", Workload(32768, kv_type_k="q8_0", kv_type_v="q8_0"), 2176.0, 274.50),
]


@pytest.mark.parametrize(("name", "workload", "kv_mib", "compute_mib"), ENGINE_FIGURES)
def test_parts_are_the_engines(
    catalog: Catalog, name: str, workload: Workload, kv_mib: float, compute_mib: float
) -> None:
    spec, weights = find(catalog, name, "Q4_K_M")
    parts = estimate(spec, weights, workload, host(64)).memory.parts
    assert parts.kv_cache_bytes == kv_mib * MIB
    assert parts.compute_bytes / MIB == pytest.approx(compute_mib, abs=0.02)


# the same source: bytes of all tensors; Llama 3's rope factors (256 bytes) are a tensor of the published files
@pytest.mark.parametrize(
    ("name", "quant", "tensor_bytes"),
    [
        ("Llama-3.1-405B-Instruct", "Q4_K_M", 243_061_788_064),
        ("Mixtral-8x7B-Instruct-v0.1", "Q4_K_M", 28_447_748_928),
        ("Llama-3.2-1B-Instruct", "Q4_K_M", 799_872_192),
    ],
)
def test_weights_are_the_quantizers_within_its_header(
    catalog: Catalog, name: str, quant: str, tensor_bytes: int
) -> None:
    _, weights = find(catalog, name, quant)
    # the figures are whole files without vocabulary: the header and tensor table are less than 256 KiB of them
    assert 0 <= tensor_bytes - weights.tensor_bytes < 256 * 1024


def test_context_above_the_models_maximum_is_refused_with_both_numbers(catalog: Catalog) -> None:
    spec, weights = find(catalog, "gemma-2-9b-it", "Q4_K_M")
    with pytest.raises(BadInputError, match="8,192 tokens of context, 8,193"):
        estimate(spec, weights, Workload(8193), host(64))


def test_a_sliding_window_needs_less_cache_than_the_whole_context(catalog: Catalog) -> None:
    spec, weights = find(catalog, "gemma-3-12b-it", "Q4_K_M")
    windowed = estimate(spec, weights, Workload(131072), host(64)).memory.parts.kv_cache_bytes
    whole = estimate(spec, weights, Workload(131072, swa_full=True), host(64)).memory.parts.kv_cache_bytes
    # 48 layers, every sixth sees everything: 8 full layers of 131,072 cells and 40 of 1,024 + 512 (8 KV heads of 256)
    per_cell = 2 * 8 * 256 * 2
    assert windowed == per_cell * (8 * 131072 + 40 * 1536)
    assert whole == per_cell * 48 * 131072


def test_the_largest_context_fits_and_the_next_step_does_not(catalog: Catalog) -> None:
    spec, weights = find(catalog, "Llama-3.1-8B-Instruct", "Q4_K_M")
    machine, workload = host(10), Workload(8192)
    largest = find_largest_context(spec, weights, workload, machine)
    assert largest is not None and largest % 256 == 0

    def verdict(tokens: int) -> Verdict:
        return estimate(spec, weights, replace(workload, context_tokens=tokens), machine).fit.verdict

    assert verdict(largest) is not Verdict.DOES_NOT_FIT
    assert verdict(largest + 256) is Verdict.DOES_NOT_FIT
    assert find_largest_context(spec, weights, workload, host(2)) is None
    assert find_largest_context(spec, weights, workload, host(64)) == spec.context_tokens


@pytest.mark.parametrize(
    "name", ["Llama-3.1-8B-Instruct", "gemma-3-12b-it", "DeepSeek-V3", "Falcon-H1-7B-Instruct", "Qwen3-30B-A3B"]
)
def test_memory_rises_with_context_slots_and_bits(catalog: Catalog, name: str) -> None:
    spec, small = find(catalog, name, "Q4_K_M")
    _, large = find(catalog, name, "Q8_0")

    def total(weights: WeightBytes, workload: Workload) -> int:
        return estimate(spec, weights, workload, host(4096)).memory.total_bytes

    base = total(small, Workload(4096))
    assert total(small, Workload(16384)) > base
    assert total(small, Workload(4096, n_parallel=4)) > base
    assert total(large, Workload(4096)) > base
    assert total(small, Workload(4096, kv_type_k="q8_0", kv_type_v="q8_0")) < base or name == "Falcon-H1-7B-Instruct"


def test_formulas_add_up_to_the_estimate(catalog: Catalog) -> None:
    machine = find_machine(catalog, "RTX 3090*2")
    for name in ("Llama-3.1-8B-Instruct", "Falcon-H1-7B-Instruct", "gpt-oss-20b", "DeepSeek-V3"):
        spec, weights = find(catalog, name, "Q4_K_M")
        workload = Workload(8192, n_parallel=2)
        answer = estimate(spec, weights, workload, machine, Offload(gpu_layers=10))
        told = explain_parts(spec, weights, workload, answer)
        assert [p.part for p in told] == ["weights", "KV cache", "recurrent state", "compute", "output", "overhead"]
        assert sum(p.n_bytes for p in told) == answer.memory.total_bytes
        assert all(p.formula and p.with_values for p in told)


def test_the_formula_of_the_cache_says_its_numbers(catalog: Catalog) -> None:
    spec, weights = find(catalog, "Llama-3.1-8B-Instruct", "Q4_K_M")
    workload = Workload(131072)
    told = explain_parts(spec, weights, workload, estimate(spec, weights, workload, host(64)))
    cache = next(p for p in told if p.part == "KV cache")
    # the guide's own check: Llama 3.1 8B at 128K in 16 bit is about 17.2 GB
    assert cache.n_bytes / 1e9 == pytest.approx(17.2, abs=0.05)
    assert "32 layers x 131,072 cells x (1,024" in cache.with_values[0]

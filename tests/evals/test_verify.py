"""Formula beside engine, part by part and device by device."""

from __future__ import annotations

import pytest

from catalog.queries import find_machine, find_model, list_weights
from catalog.store import Catalog, open_catalog
from evals.dry_run import DryRunFailure, FailureReason
from evals.verify import VerifyResult, compare_devices, verify
from sizing.errors import UnsupportedError
from sizing.memory import DeviceUse, MemoryEstimate, Parts
from sizing.workload import Workload


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return open_catalog()


def estimate_of(*parts: Parts) -> MemoryEstimate:
    devices = tuple(DeviceUse(f"device {i}", 10**12, 10**12, p) for i, p in enumerate(parts))
    return MemoryEstimate("a/model", "F16", "llama.cpp", devices)


def test_only_what_somebody_holds_is_compared_and_never_the_overhead() -> None:
    ours = estimate_of(Parts(weight_bytes=100, overhead_bytes=7), Parts(weight_bytes=50, compute_bytes=9))
    theirs = estimate_of(Parts(weight_bytes=100, overhead_bytes=9), Parts(weight_bytes=60, kv_cache_bytes=4))
    found = {(d.device_index, d.part): d.difference_bytes for d in compare_devices(ours, theirs)}
    assert found == {
        (0, "weight_bytes"): 0,
        (1, "weight_bytes"): -10,
        (1, "kv_cache_bytes"): -4,
        (1, "compute_bytes"): 9,
    }


def test_a_state_beside_a_cache_is_rounded_a_lone_one_is_not() -> None:
    both = estimate_of(Parts(kv_cache_bytes=10, recurrent_state_bytes=10, output_bytes=1))
    lone = estimate_of(Parts(recurrent_state_bytes=10, output_bytes=1))
    rounded = {d.part: d.is_rounded for d in compare_devices(both, both)}
    assert rounded == {"kv_cache_bytes": True, "recurrent_state_bytes": True, "output_bytes": True}
    assert {d.part: d.is_rounded for d in compare_devices(lone, lone)} == {
        "recurrent_state_bytes": False,
        "output_bytes": True,
    }


@pytest.mark.engine
@pytest.mark.parametrize("model", ["Llama-3.1-8B-Instruct", "gemma-3-4b-it", "Falcon-H1-0.5B-Instruct"])
def test_on_this_host_formula_and_engine_are_equal(model: str, catalog: Catalog) -> None:
    card = find_model(catalog, model)
    weights = next(w for w in list_weights(catalog, card.model_id) if w.quant == "Q4_K_M")
    result = verify(card.spec, weights, Workload(8192, 2), find_machine(catalog, "this"))
    assert isinstance(result, VerifyResult)
    assert result.is_equal, result.worst
    assert result.engine.startswith("llama-cpp-python ")
    assert {d.part for d in result.differences} >= {"weight_bytes", "kv_cache_bytes", "compute_bytes", "output_bytes"}


@pytest.mark.engine
def test_an_engine_that_takes_too_long_is_a_value(catalog: Catalog) -> None:
    card = find_model(catalog, "Llama-3.1-8B-Instruct")
    weights = next(w for w in list_weights(catalog, card.model_id) if w.quant == "Q4_K_M")
    result = verify(card.spec, weights, Workload(4096), find_machine(catalog, "this"), timeout_s=0.001)
    assert isinstance(result, DryRunFailure)
    assert result.reason is FailureReason.TIMED_OUT


def test_a_model_no_formula_describes_is_refused_with_its_architecture(catalog: Catalog) -> None:
    card = find_model(catalog, "meta-llama/Llama-3.2-11B-Vision-Instruct")
    weights = list_weights(catalog, find_model(catalog, "Llama-3.1-8B-Instruct").model_id)[0]
    with pytest.raises(UnsupportedError, match="mllama"):
        verify(card.spec, weights, Workload(4096), find_machine(catalog, "this"))

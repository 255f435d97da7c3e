"""Formula beside engine, part by part and device by device."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.gguf_header import load_header
from catalog.gguf_spec import read_header_spec
from catalog.queries import find_machine, find_model, list_weights
from catalog.store import Catalog, open_catalog
from evals.dry_run import DryRun, DryRunFailure, FailureReason, ask_dry_run
from evals.verify import VerifyResult, compare_devices, verify
from evals.weigh import group_weight_bytes
from evals.weightless import is_kept_f32, write_weightless_gguf
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.memory import DeviceUse, MemoryEstimate, Parts
from sizing.specs import ModelSpec
from sizing.tensors import list_tensors
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


def mix_types(spec: ModelSpec) -> dict[str, str]:
    """A mix that no recipe of llama.cpp makes: another type in every other layer, f32 where a converter keeps it."""
    of_layer = ("q6_K", "iq4_xs", "q8_0", "q5_K")
    types = {}
    for tensor in list_tensors(spec):
        layer = int(tensor.name.split(".")[1]) if tensor.name.startswith("blk.") else 0
        types[tensor.name] = "f32" if is_kept_f32(tensor) else of_layer[layer % 4]
    return types | {"token_embd.weight": "q3_K"}


@pytest.mark.engine
def test_a_file_s_own_mix_is_asked_about_to_the_byte(catalog: Catalog) -> None:
    spec = find_model(catalog, "Llama-3.2-1B-Instruct").spec
    types = mix_types(spec)
    weights = group_weight_bytes("UD-MADE-UP", list_tensors(spec), types, spec.n_layers, spec.architecture)
    result = verify(spec, weights, Workload(4096), find_machine(catalog, "this"), types=types)
    assert isinstance(result, VerifyResult)
    assert result.is_equal, result.worst
    assert result.quant == "UD-MADE-UP"
    asked = ask_dry_run(spec, "UD-MADE-UP", Workload(4096), types=types)
    assert isinstance(asked, DryRun)
    assert (asked.quant, asked.tensor_bytes) == ("UD-MADE-UP", weights.tensor_bytes)


@pytest.mark.engine
def test_a_header_s_reading_is_enough_to_ask_the_engine(catalog: Catalog, tmp_path: Path) -> None:
    """From a file's header alone: the model, its weights and its mix, all equal to what llama.cpp says."""
    original = find_model(catalog, "gemma-3-1b-it").spec
    path = tmp_path / "model.gguf"
    write_weightless_gguf(original, path, {t.name: "q8_0" for t in list_tensors(original) if "ffn_down" in t.name})
    reading = read_header_spec([load_header(path)], "someone/from-a-file", label="odd")
    result = verify(
        reading.spec, reading.weights, Workload(8192), find_machine(catalog, "this"), types=dict(reading.types)
    )
    assert isinstance(result, VerifyResult)
    assert result.is_equal, result.worst
    assert (result.model_id, result.quant) == ("someone/from-a-file", "odd")


def test_a_label_that_is_no_recipe_wants_its_types(catalog: Catalog) -> None:
    card = find_model(catalog, "Llama-3.2-1B-Instruct")
    with pytest.raises(UnknownNameError):
        ask_dry_run(card.spec, "UD-MADE-UP", Workload(4096))
    with pytest.raises(BadInputError, match="wants a GGML type, got 'q9_Z'"):
        ask_dry_run(card.spec, "UD-MADE-UP", Workload(4096), types={"token_embd.weight": "q9_Z"})


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

"""ExLlamaV2 and V3: figures their own sources state, and what must hold for any model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.queries import find_machine, find_model
from catalog.store import open_catalog
from sizing.engines import EngineOptions, EngineSetup, find_engine
from sizing.engines.exllama import V2, V3, find_kv_bits, hold_weights, make_cache_rule
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.formats import WeightFormat
from sizing.modules import Role, list_modules
from sizing.units import GIB

CATALOG = open_catalog()


def build(
    model: str = "Llama-3.1-8B-Instruct",
    weight_format: str = "EXL3-4.0",
    context: int = 8192,
    cards: str = "RTX 4090",
    kv_type: str = "auto",
    options: EngineOptions | None = None,
) -> EngineSetup:
    return EngineSetup(
        find_model(CATALOG, model).spec,
        weight_format,
        context,
        1,
        find_machine(CATALOG, cards),
        kv_type,
        options=options or EngineOptions(),
    )


# exllamav3/cache/mla.py: "Per token at 512/64: fp16 1152 B; Q8 672 B; Q6 544 B; Q4 416 B"
@pytest.mark.parametrize(("kv_type", "row_bytes"), [("fp16", 1152), ("q8", 672), ("q6", 544), ("q4", 416)])
def test_a_latent_row_is_what_exllamav3_states(kv_type, row_bytes):
    attention = find_model(CATALOG, "DeepSeek-V3").spec.groups[0].attention
    rule = make_cache_rule(V3, find_kv_bits(V3, kv_type))
    assert rule.count_row_bytes(attention.cached_k_width, attention.cached_v_width, attention) == row_bytes


# exllamav2/cache.py: one byte a key and half a byte a value for Q6, a 16-bit scale for 32 values
@pytest.mark.parametrize(("kv_type", "bits"), [("fp16", 32), ("q8", 17), ("q6", 13), ("q4", 9)])
def test_a_key_and_a_value_of_exllamav2_take_these_bits_together(kv_type, bits):
    attention = find_model(CATALOG, "Llama-3.1-8B-Instruct").spec.groups[0].attention
    rule = make_cache_rule(V2, find_kv_bits(V2, kv_type))
    assert rule.count_row_bytes(1024, 1024, attention) == 1024 * bits / 8


def test_exllamav3_takes_keys_and_values_of_different_widths_and_v2_does_not():
    assert find_kv_bits(V3, "q8/q4") == (8, 4)
    for engine, wrong in ((V2, "q8/q4"), (V3, "q9/q4"), (V3, "f16")):
        with pytest.raises(UnknownNameError, match="cache type"):
            find_kv_bits(engine, wrong)


def test_a_70b_at_1_6_bits_runs_in_16_gb_as_exllamav3_s_readme_says():
    # README.md: "coherent at 1.6 bpw. With the output layer quantized to 3 bpw and a 4096-token cache, inference is
    # possible in under 16 GB of VRAM"
    spec = find_model(CATALOG, "Llama-3.3-70B-Instruct").spec
    wanted = WeightFormat("EXL3-1.6", "", 1.6, "", row_bits=16, head_bits=3)
    weights = sum(wanted.count_bytes(m) * m.count for m in list_modules(spec) if m.role is not Role.EMBEDDING)
    cache = (
        find_engine("ExLlamaV3").estimate(replace(build(context=4096), spec=spec)).estimate.memory.parts.kv_cache_bytes
    )
    assert 14e9 < weights + cache < 16e9


def test_bits_are_of_the_layers_the_head_has_its_own_and_the_embedding_is_on_the_host():
    found = find_engine("ExLlamaV2").estimate(build(weight_format="EXL2-4.0")).estimate.memory
    linear = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    norms = (2 * 32 + 1) * 4096 * 2
    assert found.devices[1].parts.weight_bytes == linear * 4 // 8 + 128256 * 4096 * 6 // 8 + norms
    assert found.devices[0].parts.total_bytes > 128256 * 4096 * 2


def test_a_tied_head_is_a_copy_of_its_own():
    spec = find_model(CATALOG, "Llama-3.2-1B-Instruct").spec
    assert hold_weights(spec, "EXL3-4.0").head_bytes == 128256 * 2048 * 6 // 8


def test_cards_fill_one_after_another():
    found = find_engine("ExLlamaV3").estimate(build("Llama-3.1-8B-Instruct", cards="RTX 4090 * 2")).estimate
    assert found.tensor_split == (32, 0) and found.memory.devices[2].parts.total_bytes == 0
    both = find_engine("ExLlamaV3").estimate(build("Llama-3.3-70B-Instruct", cards="RTX 4090 * 2")).estimate
    assert both.tensor_split[0] > both.tensor_split[1] > 0 and sum(both.tensor_split) == 80


def test_tensor_parallelism_halves_weights_and_cache_and_is_faster():
    turn = find_engine("ExLlamaV3").estimate(build("Llama-3.3-70B-Instruct", cards="RTX 4090 * 2"))
    ranks = find_engine("ExLlamaV3").estimate(
        build("Llama-3.3-70B-Instruct", cards="RTX 4090 * 2", options=EngineOptions(tensor_parallel=2))
    )
    first, second = (d.parts for d in ranks.estimate.memory.devices[1:])
    assert first == second and ranks.tensor_parallel == 2 and ranks.estimate.fit.verdict != "offload"
    assert first.kv_cache_bytes * 2 == turn.estimate.memory.parts.kv_cache_bytes
    assert ranks.estimate.speed.decode_tokens_per_s.mid > 1.3 * turn.estimate.speed.decode_tokens_per_s.mid


def test_windows_are_cached_whole():
    found = find_engine("ExLlamaV2").estimate(build("gemma-3-12b-it", "EXL2-4.0", 32768))
    # 48 layers of 8 heads of 256, keys and values in 16 bits
    assert found.estimate.memory.parts.kv_cache_bytes == 48 * 2 * 8 * 256 * 2 * 32768
    assert any("window" in d for d in found.differences)


def test_what_they_do_not_run_is_said():
    for engine, setup, said in (
        ("ExLlamaV2", build("DeepSeek-V3", "EXL2-4.0"), "does not know the architecture"),
        ("ExLlamaV2", build(weight_format="EXL3-4.0"), "does not read EXL3-4.0"),
        ("ExLlamaV3", build(cards="RX 7900 XTX"), "CUDA only"),
        ("ExLlamaV3", build(cards="64 GB DDR5-5600"), "wants an NVIDIA card"),
        ("ExLlamaV3", build("gemma-3n-E4B-it"), "does not know"),
        ("ExLlamaV3", build("gemma-4-E4B-it"), "an embedding for every layer"),
        ("ExLlamaV3", build(cards="RTX 4090 * 3", options=EngineOptions(tensor_parallel=2)), "all 3 cards or none"),
        (
            "ExLlamaV2",
            build("gemma-3-12b-it", "EXL2-4.0", cards="RTX 4090 * 2", options=EngineOptions(tensor_parallel=2)),
            "no tensor parallelism for gemma3",
        ),
    ):
        assert said in find_engine(engine).find_gap(setup)
        with pytest.raises(UnsupportedError, match=said):
            find_engine(engine).estimate(setup)
    with pytest.raises(BadInputError, match="no pipeline_parallel"):
        find_engine("ExLlamaV3").estimate(build(options=EngineOptions(pipeline_parallel=2)))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["Llama-3.1-8B-Instruct", "Qwen3-30B-A3B-Instruct-2507", "gemma-3-12b-it", "Qwen3.5-9B"]),
    st.integers(256, 120_000),
    st.sampled_from([2.0, 3.0, 4.0, 6.0, 8.0]),
)
def test_memory_rises_with_context_and_bits(model, context, bits):
    def total(tokens: int, width: float) -> int:
        setup = replace(build(model, f"EXL3-{width}", tokens, "H200"), n_parallel=2)
        return find_engine("ExLlamaV3").estimate(setup).estimate.memory.total_bytes

    assert total(context, bits) <= total(context + 256, bits)
    assert total(context, bits) > total(context, 2.0) or bits == 2.0


def test_a_quantized_cache_of_v2_keeps_a_plain_layer_on_each_card():
    plain = find_engine("ExLlamaV2").estimate(build(weight_format="EXL2-4.0", context=32768)).estimate.memory.parts
    packed = (
        find_engine("ExLlamaV2")
        .estimate(build(weight_format="EXL2-4.0", context=32768, kv_type="Q4"))
        .estimate.memory.parts
    )
    assert packed.kv_cache_bytes == plain.kv_cache_bytes * 4.5 / 16
    assert packed.compute_bytes - plain.compute_bytes == plain.kv_cache_bytes // 32  # one of 32 layers
    assert plain.kv_cache_bytes == 4 * GIB

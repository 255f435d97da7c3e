"""MLX: published peaks, and the rules of its caches."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog.queries import find_machine, find_model
from catalog.store import open_catalog
from sizing.engines import EngineOptions, EngineSetup, find_engine, list_engines
from sizing.errors import UnknownNameError, UnsupportedError

CATALOG = open_catalog()


def build(
    model: str = "Llama-3.1-8B-Instruct",
    weight_format: str = "MLX-4bit",
    context: int = 8192,
    machine: str = "Apple M4 Max 128GB",
):
    return EngineSetup(find_model(CATALOG, model).spec, weight_format, context, 1, find_machine(CATALOG, machine))


def count_arrays(setup: EngineSetup) -> int:
    p = find_engine("MLX").estimate(setup).estimate.memory.parts
    return p.total_bytes - p.overhead_bytes


def test_the_published_peak_of_a_72b_is_met():
    # https://github.com/ml-explore/mlx-examples/issues/1281: 34 tokens of prompt, 642 generated, peak 59.349 GB
    assert count_arrays(build("Qwen2.5-72B-Instruct", "MLX-6bit", 676)) == pytest.approx(59.349e9, rel=0.005)


# other programs on MLX, which hold more than mlx_lm's arrays: a vision tower (mlx-vlm), a prefix cache (Rapid-MLX)
@pytest.mark.parametrize(
    ("model", "weight_format", "context", "published"),
    [("Qwen3.5-9B", "MLX-8bit", 2176, 11.18e9), ("Phi-4-mini-instruct", "MLX-4bit", 2560, 3.5e9)],
)
def test_published_peaks_of_other_programs_are_not_undercut_by_more_than_a_quarter(
    model, weight_format, context, published
):
    ours = count_arrays(build(model, weight_format, context))
    assert 0.75 * published < ours < 1.02 * published


def test_every_matrix_is_quantized_with_half_a_bit_of_scales():
    parts = find_engine("MLX").estimate(build()).estimate.memory.parts
    assert parts.weight_bytes == pytest.approx(8_030_261_248 * 4.5 / 8, rel=1e-3)


def test_the_cache_grows_in_steps_and_quantizes_in_groups():
    # 32 layers x 2 x 8 heads x 128 values
    per_token = 32 * 2 * 8 * 128
    engine = find_engine("MLX")
    assert engine.estimate(build(context=1000)).estimate.memory.parts.kv_cache_bytes == 1024 * per_token * 2
    packed = engine.estimate(replace(build(context=1000), kv_type="q4")).estimate.memory.parts.kv_cache_bytes
    assert packed == 1024 * per_token * 4.5 / 8


def test_windows_rotate_but_hold_a_prompt_s_last_chunk():
    found = find_engine("MLX").estimate(build("gemma-3-12b-it", context=65536))
    row = 2 * 8 * 256 * 2
    assert found.estimate.memory.parts.kv_cache_bytes == row * (8 * 65536 + 40 * (1024 + 2048 - 1))
    assert any("window" in d for d in found.differences)
    assert "RotatingKVCache" in find_engine("MLX").find_gap(replace(build("gemma-3-12b-it"), kv_type="q8"))


def test_latent_attention_caches_its_compressed_row():
    parts = (
        find_engine("MLX")
        .estimate(build("DeepSeek-V3", "MLX-4bit", 4096, "Apple M3 Ultra 512GB"))
        .estimate.memory.parts
    )
    assert parts.kv_cache_bytes == 61 * (512 + 64) * 2 * 4096


def test_smaller_steps_of_a_prompt_need_less():
    whole = find_engine("MLX").estimate(build()).estimate.memory.parts.compute_bytes
    small = replace(build(), options=EngineOptions(max_batched_tokens=256))
    assert find_engine("MLX").estimate(small).estimate.memory.parts.compute_bytes < whole / 4


def test_what_mlx_does_not_run_is_said():
    for setup, said in (
        (build(machine="RTX 4090"), "Apple chips"),
        (build(weight_format="AWQ"), "does not read AWQ"),
        (build(weight_format="MXFP4"), "gpt-oss's"),
    ):
        assert said in find_engine("MLX").find_gap(setup)
        with pytest.raises(UnsupportedError, match=said):
            find_engine("MLX").estimate(setup)
    with pytest.raises(UnknownNameError, match="MLX cache type"):
        find_engine("MLX").estimate(replace(build(), kv_type="fp8"))


def test_speed_is_near_what_was_measured_with_it():
    # https://github.com/ml-explore/mlx-examples/issues/1281, the same run: 7.919 tokens/s
    speed = find_engine("MLX").estimate(build("Qwen2.5-72B-Instruct", "MLX-6bit", 676)).estimate.speed
    assert speed.decode_tokens_per_s.low < 7.919 < speed.decode_tokens_per_s.high
    assert "measured rows of MLX" in speed.basis


def test_a_pool_that_is_nearly_full_is_warned_about():
    found = find_engine("MLX").estimate(build("gemma-3-27b-it", context=8192, machine="Apple M4 Pro 24GB"))
    assert any("90% of what Metal" in d for d in found.differences)


def test_all_engines_stand_in_the_order_of_the_pages():
    assert [e.name for e in list_engines()] == [
        "llama.cpp", "Ollama", "vLLM", "SGLang", "TGI", "Transformers", "ExLlamaV2", "ExLlamaV3", "MLX",
    ]  # fmt: skip

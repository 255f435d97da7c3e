"""Transformers: held to what Transformers itself answered, and to published measurements."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from catalog.queries import find_machine, find_model
from catalog.store import open_catalog
from sizing import Device, DeviceKind
from sizing.engines import EngineOptions, EngineSetup, find_engine
from sizing.engines.cache_bytes import list_layer_states
from sizing.engines.model_bytes import count_format_bytes
from sizing.engines.prompt_bytes import count_expansion_bytes, count_prompt_bytes, count_score_bytes
from sizing.engines.transformers import estimate_transformers, hold_weights, make_cache_rule, split_layers
from sizing.errors import UnknownNameError, UnsupportedError
from sizing.units import GIB
from tools.engine_samples import build_spec, load_shapes

CATALOG = open_catalog()
GOLDEN = Path(__file__).parent.parent / "golden"


def read(name: str) -> list[dict[str, str]]:
    with (GOLDEN / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


LAYERS = read("transformers_layers.csv")
MAPS = read("transformers_device_maps.csv")
# their reference code for machines without a card keeps scores or scans that kernels on cards do not
WITHOUT_KERNELS = ("gemma-3", "DeepSeek", "Qwen3-Next", "Falcon-H1")
# GGUF has a tensor more or less for these: V3's expert bias is a buffer there, Falcon-H1's scales are folded
OTHER_COUNT = ("DeepSeek", "Falcon-H1")


def name(row: dict[str, str]) -> str:
    return "-".join(row[k] for k in ("model_id", "n_requests", "n_tokens", "n_cards") if k in row)


@pytest.mark.parametrize("row", LAYERS, ids=name)
def test_parameters_and_cache_are_what_transformers_holds(row):
    spec, n, tokens = find_model(CATALOG, row["model_id"]).spec, int(row["n_requests"]), int(row["n_tokens"])
    held = count_format_bytes(spec, "BF16").total_bytes / 2
    assert held == pytest.approx(int(row["n_params"]), rel=1e-4 if any(m in name(row) for m in OTHER_COUNT) else 0)
    states = list_layer_states(spec, make_cache_rule("bf16"), tokens, n)
    assert sum(s.cache_bytes + s.state_bytes for s in states) == int(row["cache_bytes"])


@pytest.mark.parametrize("row", [r for r in LAYERS if not any(m in r["model_id"] for m in WITHOUT_KERNELS)], ids=name)
def test_the_peak_of_a_prompt_is_near_what_transformers_holds(row):
    spec, n, tokens = find_model(CATALOG, row["model_id"]).spec, int(row["n_requests"]), int(row["n_tokens"])
    ours = count_prompt_bytes(spec, n * tokens) + count_expansion_bytes(spec, n, tokens)
    if row["attention"] == "eager":
        ours += count_score_bytes(spec, n, tokens, tokens)
    assert ours == pytest.approx(int(row["peak_less_cache_bytes"]), rel=0.10)


@pytest.mark.parametrize("row", MAPS, ids=name)
def test_layers_go_to_the_cards_that_transformers_chooses(row):
    spec, n = find_model(CATALOG, row["model_id"]).spec, int(row["n_cards"])
    cards = [Device(f"card {i}", DeviceKind.GPU, 10**13, 10**13) for i in range(n)]
    placed = split_layers(hold_weights(spec, "BF16"), cards)[1:-1]
    assert [placed.count(i) for i in range(n)] == [int(x) for x in row["layers"].split()]


# https://github.com/QwenLM/Qwen README.md, GB of memory while generating 2,048 tokens from 1, one A100 (72B: the sum
# over two for BF16 and Int8): allocations of PyTorch, so without driver, workspace and the process
QWEN_GB = [
    ("Qwen-1.8B-Chat", "BF16", 4.23),
    ("Qwen-1.8B-Chat", "GPTQ-8bit", 3.48),
    ("Qwen-1.8B-Chat", "GPTQ", 2.91),
    ("Qwen-7B-Chat", "BF16", 16.99),
    ("Qwen-7B-Chat", "GPTQ-8bit", 11.20),
    ("Qwen-7B-Chat", "GPTQ", 8.21),
    ("Qwen-14B-Chat", "BF16", 30.15),
    ("Qwen-14B-Chat", "GPTQ-8bit", 18.81),
    ("Qwen-14B-Chat", "GPTQ", 13.01),
    ("Qwen-72B-Chat", "BF16", 144.69),
    ("Qwen-72B-Chat", "GPTQ-8bit", 81.27),
    ("Qwen-72B-Chat", "GPTQ", 48.86),
]
SHAPES = load_shapes()


def compare_qwen() -> list[float]:
    errors = []
    for model, weight_format, published in QWEN_GB:
        machine = find_machine(CATALOG, "A100 SXM 80GB * 2" if "72B" in model else "A100 SXM 80GB")
        setup = EngineSetup(SHAPES[model], weight_format, 2048, 1, machine, options=EngineOptions(max_batched_tokens=1))
        p = estimate_transformers(setup).estimate.memory.parts
        ours = p.weight_bytes + p.kv_cache_bytes + p.compute_bytes
        errors.append(ours / (published * 1e9) - 1)
    return errors


def test_published_memory_of_qwen_is_near():
    # GPTQ of 2023 took about one more 16-bit output head than weights, cache and activations explain: up to a fifth
    errors = compare_qwen()
    assert median(abs(e) for e in errors) < 0.05
    assert max(abs(e) for e in errors) < 0.20
    in_16_bits = [abs(e) for e, (_, weight_format, _) in zip(errors, QWEN_GB, strict=True) if weight_format == "BF16"]
    assert max(in_16_bits) < 0.04


# https://github.com/casper-hansen/AutoAWQ README.md, GiB on an RTX 4090 after 64 + 64 tokens, kernels "GEMM" and
# "GEMV": its own modules beside Transformers', with the cache for the batch allocated as asked
AWQ_GIB = [
    ("mistralai/Mistral-7B-Instruct-v0.3", 4.35),
    ("Vicuna 7B", 4.50),
    ("TinyLlama 1B", 0.86),
    ("Llama 2 13B", 8.47),
    ("CodeLlama 34B", 19.05),
    ("DeepSeek 33B", 18.92),
]


def test_published_memory_of_awq_models_is_near():
    errors = []
    for model, published in AWQ_GIB:
        spec = SHAPES[model] if model in SHAPES else find_model(CATALOG, model).spec
        setup = EngineSetup(spec, "AWQ", 128, 1, find_machine(CATALOG, "RTX 4090"))
        p = estimate_transformers(setup).estimate.memory.parts
        errors.append((p.weight_bytes + p.kv_cache_bytes + p.compute_bytes) / (published * GIB) - 1)
    assert median(abs(e) for e in errors) < 0.12  # all below what was published: its fused modules hold buffers


def build(
    model: str = "Llama-3.1-8B-Instruct", weight_format: str = "BF16", context: int = 8192, card: str = "RTX 4090"
):
    return EngineSetup(find_model(CATALOG, model).spec, weight_format, context, 1, find_machine(CATALOG, card))


def test_a_prompt_read_in_steps_needs_less_at_once():
    whole = find_engine("Transformers").estimate(build(context=32768, card="A100 SXM 80GB"))
    steps = find_engine("Transformers").estimate(
        replace(build(context=32768, card="A100 SXM 80GB"), options=EngineOptions(max_batched_tokens=512))
    )
    assert steps.estimate.memory.parts.compute_bytes < whole.estimate.memory.parts.compute_bytes / 10
    assert steps.estimate.memory.parts.kv_cache_bytes == whole.estimate.memory.parts.kv_cache_bytes
    assert any("prefill_chunk_size=512" in d for d in whole.differences)


def test_bitsandbytes_leaves_stacked_experts_in_16_bits():
    found = find_engine("Transformers").estimate(build("Qwen3-30B-A3B-Instruct-2507", "NF4", card="H100 SXM 80GB"))
    # 48 layers of 128 experts of three matrices 2048 x 768 in 16 bits
    assert found.estimate.memory.parts.weight_bytes > 48 * 128 * 3 * 2048 * 768 * 2
    assert any("experts stay in 16 bits" in d for d in found.differences)


def test_nf4_of_a_dense_model_is_a_little_over_four_bits():
    parts = find_engine("Transformers").estimate(build(weight_format="NF4")).estimate.memory.parts
    # https://arxiv.org/abs/2305.14314: 0.127 bits of constants a parameter; embedding and head stay in 16 bits
    linear, ends = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336), 2 * 128256 * 4096
    assert parts.weight_bytes == pytest.approx(linear * 4.127 / 8 + ends * 2, rel=1e-3)


def test_a_quantized_cache_is_smaller_and_unpacked_layer_by_layer():
    plain = find_engine("Transformers").estimate(build(context=65536, card="H100 SXM 80GB")).estimate.memory.parts
    packed = (
        find_engine("Transformers")
        .estimate(replace(build(context=65536, card="H100 SXM 80GB"), kv_type="int4"))
        .estimate.memory.parts
    )
    assert packed.kv_cache_bytes == plain.kv_cache_bytes * 4.5 / 16


def test_what_transformers_cannot_run_is_said():
    engine = find_engine("Transformers")
    for setup, said in (
        (build("Qwen3-30B-A3B-Instruct-2507", "AWQ"), "experts are one stacked tensor"),
        (build(weight_format="MXFP4"), "gpt-oss only"),
        (build(weight_format="EXL2-4.0"), "not sized for EXL2-4.0"),
        (build(weight_format="NF4", card="Apple M4 Max 128GB"), "no kernels for Metal"),
    ):
        assert said in engine.find_gap(setup)
        with pytest.raises(UnsupportedError, match=said):
            engine.estimate(setup)
    with pytest.raises(UnknownNameError, match="cache type 'q8_0'"):
        engine.estimate(replace(build(), kv_type="q8_0"))


def test_what_does_not_fit_is_a_value_without_speed():
    found = find_engine("Transformers").estimate(build("Llama-3.3-70B-Instruct")).estimate
    assert not found.fit.runs and found.speed is None and found.fit.headroom_bytes < 0


def test_a_spec_from_numbers_counts_as_the_published_model():
    # https://huggingface.co/Qwen/Qwen-7B: 7,721,324,544 parameters in the index of its checkpoint
    assert build_spec("q", "qwen2", (32, 4096, 11008, 32, 32, 151936), False).n_params == 7_721_324_544

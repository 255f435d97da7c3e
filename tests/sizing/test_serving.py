"""vLLM's rules: ranks, blocks and refusals, held to what vLLM itself printed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.queries import find_machine, find_model
from catalog.store import open_catalog
from sizing.engines import EngineOptions, EngineSetup, find_engine
from sizing.engines.serving import Split, count_allocated_bytes, list_stage_weight_bytes, list_stages
from sizing.engines.serving_cache import plan_cache
from sizing.engines.vllm import serve_vllm
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.fit import Verdict
from sizing.formats import find_format
from sizing.units import GIB, MIB

CATALOG = open_catalog()
VLLM = find_engine("vLLM")


def spec_of(model: str):
    return find_model(CATALOG, model).spec


def ask(model: str, fmt: str, machine: str, context: int = 8192, n: int = 1, kv_type: str = "auto", **options):
    chosen = EngineOptions(**options)
    return EngineSetup(spec_of(model), fmt, context, n, find_machine(CATALOG, machine), kv_type, None, chosen)


def weigh(model: str, fmt: str, ranks: int = 1, stages: int = 1, backend: str = "cuda") -> tuple[int, ...]:
    return list_stage_weight_bytes(spec_of(model), find_format(fmt), Split(ranks, stages), backend)


LOGGED_WEIGHTS = [
    # 'Model loading took', GiB per card; source of each in catalog/data/serving_logs.csv
    ("meta-llama/Llama-3.1-8B-Instruct", "BF16", 1, 14.9889),
    ("Qwen/Qwen3-14B", "FP8", 1, 15.3388),
    ("deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", "BF16", 2, 13.947),
    ("meta-llama/Llama-3.1-70B-Instruct", "INT8", 1, 67.7229),
    ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "W4A16", 1, 15.6116),
    ("openai/gpt-oss-20b", "MXFP4", 1, 13.7194),
    ("openai/gpt-oss-120b", "MXFP4", 1, 67548 / 1024),
]


@pytest.mark.parametrize(("model", "fmt", "ranks", "logged_gib"), LOGGED_WEIGHTS)
def test_a_rank_weighs_what_vllm_logged(model, fmt, ranks, logged_gib):
    assert weigh(model, fmt, ranks)[0] / GIB == pytest.approx(logged_gib, rel=0.003)


LOGGED_CACHES = [
    # 'Available KV cache memory' in GiB, 'GPU KV cache size' in tokens, 'Maximum concurrency' at a length
    ("meta-llama/Llama-3.1-8B-Instruct", 1, 14.31, 117_232, 65_536, 1.79),
    ("google/gemma-3-12b-it", 1, 16.25, 44_368, 9_900, 10.51),
    ("google/gemma-3-27b-it", 2, 14.58, 54_464, 28_900, 8.04),
    ("openai/gpt-oss-20b", 1, 15.77, 344_560, 32_768, 19.71),
    ("openai/gpt-oss-20b", 2, 22.75, 993_760, 32_768, 56.85),
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", 2, 7.09, 154_496, 16_384, 33.47),
    ("Qwen/Qwen3-Coder-30B-A3B-Instruct", 2, 22.22, 485_344, 24_576, 19.75),
]


@pytest.mark.parametrize(("model", "ranks", "gib", "tokens", "length", "requests"), LOGGED_CACHES)
def test_cache_memory_holds_the_tokens_and_requests_vllm_logged(model, ranks, gib, tokens, length, requests):
    plan, kv_bytes = plan_cache(spec_of(model), Split(ranks), "auto"), round(gib * GIB)
    assert plan.count_tokens(kv_bytes) == pytest.approx(tokens, rel=0.003)
    assert plan.count_requests(kv_bytes, length, 2048) == pytest.approx(requests, rel=0.003)


def test_states_share_pages_with_attention_whose_blocks_grow():
    # vLLM logs 'Setting attention block size to 544 tokens' for this split
    plan = plan_cache(spec_of("Qwen/Qwen3-Next-80B-A3B-Instruct"), Split(2), "auto")
    assert (plan.block_tokens, len(plan.groups)) == (544, 4)


def test_every_rank_keeps_the_whole_latent_row():
    spec = spec_of("deepseek-ai/DeepSeek-V3")
    assert plan_cache(spec, Split(8), "auto").block_bytes == plan_cache(spec, Split(1), "auto").block_bytes
    assert plan_cache(spec, Split(1), "auto").block_bytes == 61 * 16 * 576 * 2


def test_heads_of_keys_are_copied_where_ranks_outnumber_them():
    spec = spec_of("Qwen/Qwen3-30B-A3B")  # 4 KV heads
    sizes = [plan_cache(spec, Split(n), "auto").block_bytes for n in (1, 2, 4, 8)]
    assert sizes == [sizes[0], sizes[0] // 2, sizes[0] // 4, sizes[0] // 4]


def test_fp8_cache_holds_twice_the_tokens():
    plan = [plan_cache(spec_of("Qwen/Qwen3-14B"), Split(), kind) for kind in ("auto", "fp8")]
    assert plan[0].block_bytes == 2 * plan[1].block_bytes


def test_stages_divide_layers_and_the_last_gets_no_remainder():
    assert [len(s) for s in list_stages(61, 4)] == [15, 15, 16, 15]
    first, last = weigh("meta-llama/Llama-3.1-8B-Instruct", "BF16", 1, 2)
    assert first + last == pytest.approx(weigh("meta-llama/Llama-3.1-8B-Instruct", "BF16")[0], rel=0.003)
    ends = weigh("meta-llama/Llama-3.2-1B-Instruct", "BF16", 1, 2)  # tied: both ends hold the embedding
    assert sum(ends) > weigh("meta-llama/Llama-3.2-1B-Instruct", "BF16")[0] + 128_256 * 2048 * 2


def test_large_tensors_take_whole_segments():
    assert count_allocated_bytes(25 * MIB) == 26 * MIB
    assert count_allocated_bytes(round(24.5 * MIB)) == round(24.5 * MIB)
    assert count_allocated_bytes(1000) == 1024


GAPS = [
    ("Qwen/Qwen3-14B", "FP8", "3x RTX 4090", {"tensor_parallel": 3}, "cannot divide 40 attention heads by 3 cards"),
    ("Qwen/Qwen3-14B", "FP8", "2x RTX 4090", {"tensor_parallel": 4}, "want 4 cards, not 2"),
    ("Qwen/Qwen3-14B", "FP8", "M2 Max", {}, "there is metal"),
    ("Qwen/Qwen3-14B", "INT8", "RTX 5090", {}, "no kernels for INT8 activations on blackwell"),
    ("Qwen/Qwen3-14B", "MXFP4", "T4", {}, "wants compute capability 8.0"),
    ("Qwen/Qwen3-14B", "BF16", "GTX 1080 Ti", {}, "older than compute capability 7.5"),
    ("Qwen/Qwen3-14B", "NF4", "MI300X", {}, "no kernels for NF4 on AMD"),
    ("Qwen/Qwen3-235B-A22B", "FP8-block", "8x H100", {"tensor_parallel": 8}, "not whole groups of 128"),
    ("Qwen/Qwen3-14B", "Q4_K_M", "RTX 4090", {}, "does not take Q4_K_M"),
]


@pytest.mark.parametrize(("model", "fmt", "machine", "options", "why"), GAPS)
def test_what_vllm_cannot_run_is_a_reason(model, fmt, machine, options, why):
    setup = ask(model, fmt, machine, **options)
    gap = VLLM.find_gap(setup)
    assert gap is not None and why in gap
    with pytest.raises(UnsupportedError, match="."):
        VLLM.estimate(setup)


def test_cards_that_do_not_divide_heads_share_layers():
    told = VLLM.estimate(ask("openai/gpt-oss-20b", "MXFP4", "3x RTX 3090"))
    assert (told.tensor_parallel, told.pipeline_parallel) == (1, 3)


def test_settings_vllm_refuses():
    with pytest.raises(BadInputError, match="trained for at most"):
        VLLM.estimate(ask("Qwen/Qwen3-14B", "FP8", "H100", context=1_000_000))
    with pytest.raises(UnknownNameError, match="q8_0"):
        VLLM.estimate(ask("Qwen/Qwen3-14B", "FP8", "H100", kv_type="q8_0"))


def test_weights_that_do_not_fit_say_so():
    fit = VLLM.estimate(ask("meta-llama/Llama-3.1-70B-Instruct", "BF16", "H100")).estimate.fit
    assert fit.verdict is Verdict.DOES_NOT_FIT and "the weights alone take" in fit.reasons[0]


def test_too_long_a_request_names_the_length_that_starts():
    # https://github.com/vllm-project/vllm/issues/13061: refused 131,072, started 81,536
    setup = ask(
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
        "BF16",
        "2x RTX 4090",
        context=131_072,
        gpu_memory_utilization=0.98,
    )
    told = VLLM.estimate(setup)
    assert told.capacity is not None and told.capacity.largest_context_tokens == pytest.approx(81_536, rel=0.1)
    assert told.estimate.fit.verdict is Verdict.DOES_NOT_FIT
    assert f"{told.capacity.largest_context_tokens:,}" in told.estimate.fit.reasons[0]
    shorter = replace(setup, context_tokens=told.capacity.largest_context_tokens)
    assert VLLM.estimate(shorter).estimate.fit.runs


def test_gpt_oss_120b_does_not_start_on_one_h100_by_default():
    # https://github.com/vllm-project/vllm/issues/23278
    assert not VLLM.estimate(ask("openai/gpt-oss-120b", "MXFP4", "H100")).estimate.fit.runs


def test_the_cache_fills_what_the_share_leaves():
    told = VLLM.estimate(ask("Qwen/Qwen3-14B", "FP8", "2x RTX 4090"))
    cards = [d for d in told.estimate.memory.devices if d.parts.total_bytes]
    assert len(cards) == 2
    for card in cards:
        inside = card.parts.total_bytes - 450 * MIB  # the driver's context is beside the share
        assert 0.9 * card.usable_bytes - inside == pytest.approx(0, abs=2 * MIB)


@settings(deadline=None, max_examples=30)
@given(share=st.floats(0.5, 0.95), more=st.floats(0, 0.05), context=st.integers(1, 32_768))
def test_a_larger_share_never_holds_less(share, more, context):
    def hold(x: float):
        told = VLLM.estimate(ask("Qwen/Qwen3-14B", "FP8", "RTX 5090", context, gpu_memory_utilization=x))
        assert told.capacity is not None
        return told.capacity

    small, large = hold(share), hold(share + more)
    assert small.kv_tokens <= large.kv_tokens
    assert small.largest_context_tokens <= large.largest_context_tokens
    assert small.n_requests <= large.n_requests


def test_graphs_are_outside_the_share_before_0_21():
    setup = ask("Qwen/Qwen3-14B", "FP8", "RTX 5090")
    eager = replace(setup, options=EngineOptions(eager=True))
    assert serve_vllm(setup).kv_bytes < serve_vllm(setup, graphs_inside=False).kv_bytes == serve_vllm(eager).kv_bytes

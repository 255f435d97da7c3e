"""Speed of engines other than llama.cpp: what the formula must keep to, and published speeds it did not see."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.queries import find_machine, find_model
from catalog.store import open_catalog
from sizing import Device, DeviceKind
from sizing.engines import EngineSetup
from sizing.engines.fitted_rates import RATES
from sizing.engines.model_bytes import count_format_bytes, fill_devices, find_expert_share
from sizing.engines.speed import (
    SpeedWork,
    Stage,
    describe_engine_basis,
    estimate_engine_speed,
    find_link_bytes_per_s,
    list_step_terms,
)
from sizing.units import GIB
from tools.engine_samples import EngineReader
from tools.fit_engine_speed import fit_engine, format_module, hold_out

CATALOG = open_catalog()
CARD = find_machine(CATALOG, "RTX 3090").accelerators[0]


def build(name: str = "Llama-3.1-8B-Instruct", weight_format: str = "AWQ", context: int = 8192, n: int = 1):
    return EngineSetup(find_model(CATALOG, name).spec, weight_format, context, n, find_machine(CATALOG, "RTX 3090 * 2"))


def test_a_step_reads_every_weight_but_the_looked_up_ones():
    spec = find_model(CATALOG, "Llama-3.1-8B-Instruct").spec
    found = count_format_bytes(spec, "BF16")
    # 8,030,261,248 parameters, of which the embedding (128256 x 4096) is looked up; the last norm (4096) is no matter
    assert found.total_bytes == 2 * 8_030_261_248
    assert found.count_read_bytes(1.0) == 2 * (8_030_261_248 - 128256 * 4096 - 4096)


def test_a_tied_head_is_read_though_it_is_stored_once():
    spec = find_model(CATALOG, "Llama-3.2-1B-Instruct").spec
    found = count_format_bytes(spec, "BF16")
    assert found.total_bytes == 2 * 1_235_814_400
    assert found.count_read_bytes(1.0) == 2 * (1_235_814_400 - 2048)


def test_tokens_together_meet_more_experts_but_never_more_than_all():
    spec = find_model(CATALOG, "Qwen3-30B-A3B-Instruct-2507").spec
    assert find_expert_share(spec, 1) == 8 / 128
    assert find_expert_share(spec, 2) == pytest.approx(1 - (120 / 128) ** 2)
    assert find_expert_share(spec, 10**6) == pytest.approx(1.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 64), st.integers(256, 131072))
def test_more_requests_and_longer_ones_are_never_faster_for_each(n, context):
    setup = build(context=context, n=n)
    one = estimate_engine_speed(setup, "vLLM", [Stage(CARD)], 131072.0 * context * n)
    more = estimate_engine_speed(replace(setup, n_parallel=n + 1), "vLLM", [Stage(CARD)], 131072.0 * context * (n + 1))
    assert one.decode_tokens_per_s.low < one.decode_tokens_per_s.mid < one.decode_tokens_per_s.high
    assert more.decode_tokens_per_s.mid <= one.decode_tokens_per_s.mid


def test_tensor_parallelism_is_faster_than_layers_in_turn_and_slower_than_twice_as_fast():
    setup = build("Qwen2.5-32B-Instruct", "AWQ")
    turn = estimate_engine_speed(setup, "vLLM", [Stage(CARD, 0.5)] * 2, 2e9).decode_tokens_per_s.mid
    both = estimate_engine_speed(setup, "vLLM", [Stage(CARD, 1.0, 2)], 1e9).decode_tokens_per_s.mid
    assert turn < both < 2 * turn


def test_what_does_not_run_or_has_no_bandwidth_has_no_speed():
    setup = build()
    assert estimate_engine_speed(setup, "vLLM", [Stage(CARD)], 1e9, runs=False) is None
    assert estimate_engine_speed(setup, "vLLM", [Stage(replace(CARD, bandwidth_bytes_per_s=None))], 1e9) is None


def test_without_an_arithmetic_rate_there_is_decode_and_no_prefill():
    found = estimate_engine_speed(build(), "vLLM", [Stage(replace(CARD, fp16_flops=None))], 1e9)
    assert found.prefill_tokens_per_s is None and found.time_to_first_token_s is None


def test_an_engine_without_rows_says_whose_it_takes_and_is_wider():
    own = estimate_engine_speed(build(), "vLLM", [Stage(CARD)], 1e9).decode_tokens_per_s
    lent = estimate_engine_speed(build(), "SGLang", [Stage(CARD)], 1e9)
    assert lent.basis.startswith("no measurement of SGLang: fitted on") and "of vLLM" in lent.basis
    assert lent.decode_tokens_per_s.mid == own.mid
    assert lent.decode_tokens_per_s.high >= own.high  # the bandwidth may be the end of both
    assert lent.decode_tokens_per_s.low < own.low


def test_a_class_that_was_not_measured_is_named():
    card = find_machine(CATALOG, "H100 SXM 80GB").accelerators[0]
    assert "none of this class (NVIDIA card with HBM)" in describe_engine_basis("vLLM", [Stage(card)])
    assert find_link_bytes_per_s(card) == 450e9  # NVLink 4: 900 GB/s both ways


def test_the_fast_end_is_within_the_bandwidth():
    setup = build(weight_format="BF16")
    found = estimate_engine_speed(setup, "MLX", [Stage(CARD)], 0.0)
    terms = list_step_terms(SpeedWork(setup.spec, "BF16", 1, 0.0), [Stage(CARD)], 0.0)
    assert found.decode_tokens_per_s.high <= 1 / terms.weight_s


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.lists(st.integers(1, 200), min_size=1, max_size=5))
def test_blocks_fill_devices_in_order(blocks, limits):
    placed = fill_devices(tuple(blocks), tuple(limits))
    assert list(placed) == sorted(placed) and len(placed) == len(blocks)
    for d, limit in enumerate(limits[:-1]):
        assert sum(b for b, p in zip(blocks, placed, strict=True) if p == d) <= limit


@pytest.fixture(scope="module")
def samples():
    return EngineReader().read()


def test_shipped_rates_are_what_the_tool_makes_of_the_rows(samples):
    decode, prefill = samples
    for name in ("vLLM", "MLX", "Transformers", "AutoAWQ"):
        rates, _ = fit_engine([s for s in decode if s.engine == name], [s for s in prefill if s.engine == name])
        shipped = RATES[name]
        assert rates.decode_share == pytest.approx(shipped.decode_share, rel=0.02)
        assert rates.step_s == pytest.approx(shipped.step_s, rel=0.05)
        assert rates.n_rows == shipped.n_rows and rates.n_devices == shipped.n_devices
    assert "RATES" in format_module(RATES)


@pytest.mark.parametrize(("engine", "most"), [("MLX", 0.10), ("vLLM", 0.30)])
def test_speeds_of_devices_left_out_are_near(samples, engine, most):
    rest, left_out = hold_out([s for s in samples[0] if s.engine == engine])
    assert left_out == "devices"
    assert sorted(abs(rest))[len(rest) // 2] < most


def test_an_unknown_device_is_no_error():
    card = Device("thing", DeviceKind.GPU, 24 * GIB, 23 * GIB, 5e11, None, "vulkan")
    assert estimate_engine_speed(build(), "TGI", [Stage(card)], 1e9).prefill_tokens_per_s is None

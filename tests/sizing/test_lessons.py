"""The guide's arithmetic: equal to published figures, lawful in between, and the same as what the other pages use."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.models import load_families
from catalog.queries import list_weights
from catalog.store import Catalog, open_catalog
from sizing.errors import BadInputError
from sizing.estimate import estimate_model_bytes, estimate_table
from sizing.hardware import Device, DeviceKind, Machine
from sizing.layers import LayerTable
from sizing.lessons import (
    BLOCK_LAYOUTS,
    Work,
    as_multi_head,
    as_multi_query,
    count_decode_work,
    count_layer_kinds,
    count_prefill_work,
    count_read_bytes,
    estimate_caches,
    estimate_growth,
    expect_draft_tokens,
    find_expert_share,
    find_ridge,
    find_wavelengths,
    honours_windows,
    read_rope,
    reserve_pages,
    reserve_slots,
    spread_lengths,
)
from sizing.memory import WeightBytes
from sizing.quants import GGML_TYPES
from sizing.specs import ModelSpec
from sizing.units import GIB, KIB
from sizing.weights import WeightTable
from sizing.workload import Workload

SPECS = {card.model_id: card.spec for card in load_families()}
LLAMA = SPECS["meta-llama/Llama-3.1-8B-Instruct"]
DEEPSEEK = SPECS["deepseek-ai/DeepSeek-V3"]
GEMMA = SPECS["google/gemma-3-12b-it"]
MOE = SPECS["Qwen/Qwen3-30B-A3B"]
HOST = Device("host", DeviceKind.CPU, 2048 * GIB, 2048 * GIB, 100e9)
LENGTHS = st.lists(st.integers(1, 4096), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return open_catalog(imports=None)


def weigh(catalog: Catalog, spec: ModelSpec, quant: str = "Q4_K_M") -> WeightBytes:
    return next(w for w in list_weights(catalog, spec.model_id) if w.quant == quant)


@pytest.mark.parametrize("kind", [t for t in GGML_TYPES.values() if t.block_elements > 1], ids=lambda t: t.name)
def test_every_block_is_the_sum_of_its_parts(kind) -> None:
    layout = BLOCK_LAYOUTS[kind.name]
    assert layout.value_bits + layout.scale_bits + layout.outer_bits == 8 * kind.block_bytes
    assert kind.block_elements % layout.scaled_elements == 0


def test_bits_of_q4_k_by_hand() -> None:
    """256 values of 4 bits, 8 blocks with a scale and an offset of 6 bits each, two 16-bit factors: 4.5 bits each."""
    layout = BLOCK_LAYOUTS["q4_K"]
    assert (layout.value_bits, layout.scale_bits, layout.outer_bits) == (256 * 4, 8 * (6 + 6), 2 * 16)
    assert layout.per_value(256 * 4 + 8 * 12 + 32) == 4.5


@pytest.mark.parametrize(
    ("spec", "by_hand"),
    [
        (LLAMA, 32 * 2 * 8 * 128 * 2),  # layers, K and V, KV heads, width, f16: 128 KiB (arXiv:2407.21783, table 3)
        (DEEPSEEK, 61 * (512 + 64) * 2),  # layers, compressed row and rotated part, f16 (arXiv:2412.19437, section 4.2)
        (GEMMA, 8 * 2 * 8 * 256 * 2),  # past the window only the 8 global layers grow
    ],
)
def test_growth_of_the_cache_by_hand(spec: ModelSpec, by_hand: int) -> None:
    assert estimate_growth(spec, Workload(32_768)) == by_hand


def test_golden_growth_in_kib() -> None:
    assert estimate_growth(LLAMA, Workload(8192)) / KIB == 128
    assert round(estimate_growth(DEEPSEEK, Workload(8192)) / KIB, 1) == 68.6


def test_sharing_heads_divides_the_cache() -> None:
    """32 query heads to 8 heads of keys and values is a factor of 4, to 1 a factor of 32."""
    many, own, one = estimate_caches([as_multi_head(LLAMA), LLAMA, as_multi_query(LLAMA)], Workload(8192))
    assert many.kv_bytes == 4 * own.kv_bytes == 32 * one.kv_bytes


def test_a_latent_cache_against_the_heads_it_stands_for() -> None:
    """128 heads of 192 key and 128 value elements against one row of 576: a factor of 71."""
    many, own = estimate_caches([as_multi_head(DEEPSEEK), DEEPSEEK], Workload(8192))
    assert many.kv_bytes / own.kv_bytes == pytest.approx(128 * (192 + 128) / 576)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_every_model_can_be_taught_with(spec: ModelSpec) -> None:
    assert sum(count_layer_kinds(spec).values()) == spec.n_layers
    many, own, one = estimate_caches([as_multi_head(spec), spec, as_multi_query(spec)], Workload(4096))
    assert one.total_bytes <= many.total_bytes
    assert own.total_bytes <= many.total_bytes or not any(g.attention for g in spec.groups)
    assert estimate_growth(spec, Workload(4096)) >= 0
    rope = read_rope(spec)
    if rope.freq_base is not None:
        assert len(find_wavelengths(rope.freq_base, rope.n_dims)) == rope.n_dims // 2


def test_kinds_of_layers_are_named() -> None:
    assert count_layer_kinds(GEMMA) == {"GQA sliding 1024": 40, "GQA": 8}
    assert honours_windows(GEMMA) and not honours_windows(LLAMA)
    assert count_layer_kinds(SPECS["Qwen/Qwen3.5-9B"]) == {"gated_delta_net": 24, "GQA": 8}


@given(LENGTHS, st.integers(1, 512))
def test_pages_waste_less_than_one_page_each(lengths: list[int], block: int) -> None:
    paged = reserve_pages(lengths, block)
    assert 0 <= paged.empty_tokens <= len(lengths) * (block - 1)
    assert paged.used_tokens == sum(lengths)
    assert reserve_pages(lengths, 1).empty_tokens == 0


@given(LENGTHS)
def test_pages_never_take_more_than_slots_of_whole_pages(lengths: list[int]) -> None:
    assert reserve_pages(lengths).reserved_tokens <= reserve_slots(lengths, 4096).reserved_tokens


@given(st.integers(1, 256), st.integers(512, 131_072))
def test_spread_lengths_are_about_half_of_the_context_on_average(n_users: int, context: int) -> None:
    lengths = spread_lengths(n_users, context)
    assert len(lengths) == n_users and lengths[0] >= 1 and lengths[-1] <= context
    assert reserve_slots(lengths, context).used_share == pytest.approx(0.5, abs=0.13)
    gaps = [b - a for a, b in zip((0, *lengths), (*lengths, context), strict=True)]
    assert max(gaps) <= 3 * context / (n_users + 1)


def test_what_is_no_request_is_refused() -> None:
    for refused in (lambda: reserve_slots([9], 8), lambda: reserve_pages([0]), lambda: reserve_pages([]),
                    lambda: spread_lengths(0, 10), lambda: find_wavelengths(10000.0, 3), lambda: find_ridge(0.0, 1.0),
                    lambda: expect_draft_tokens(1.5, 4)):  # fmt: skip
        with pytest.raises(BadInputError):
            refused()


def test_the_slowest_rotation_by_hand() -> None:
    """Base 10,000 and heads of 128: 2 pi x 10000^(126/128) is about 54,410 tokens."""
    assert find_wavelengths(10_000.0, 128)[-1] == pytest.approx(54_410, rel=1e-3)
    assert find_wavelengths(10_000.0, 128)[0] == pytest.approx(2 * math.pi)


def test_a_record_says_how_its_context_was_stretched() -> None:
    llama, deepseek = read_rope(LLAMA), read_rope(DEEPSEEK)
    assert (llama.scaling, llama.original_tokens, llama.n_dims) == ("by frequency", 8192, 128)
    assert (deepseek.scaling, deepseek.factor, deepseek.n_dims) == ("yarn", 40.0, 64)
    assert not read_rope(SPECS["mistralai/Mistral-7B-Instruct-v0.3"]).is_stretched


@pytest.mark.parametrize("spec", [LLAMA, MOE, GEMMA, DEEPSEEK], ids=lambda s: s.name)
@pytest.mark.parametrize("users", [1, 8])
def test_bytes_read_are_those_the_speed_rests_on(catalog: Catalog, spec: ModelSpec, users: int) -> None:
    weights, workload = weigh(catalog, spec), Workload(1024, users)
    table = WeightTable.from_models([(spec, [weights])])
    models = estimate_model_bytes(LayerTable.from_specs([spec]), workload)
    told = estimate_table(table, models, np.array([spec.n_active_params]), workload, Machine("host", HOST), exact=True)
    assert count_read_bytes(spec, weights, users) == int(told.placement.active_weights.sum())


def test_a_token_reads_its_own_experts_only(catalog: Catalog) -> None:
    """8 of 128 experts: the routed part shrinks by 16, and many tokens together meet nearly all of them."""
    weights = weigh(catalog, MOE)
    experts = sum(weights.layer_expert_bytes)
    saved = count_read_bytes(MOE, weights, 10_000) - count_read_bytes(MOE, weights)
    assert saved == pytest.approx(experts * 120 / 128, rel=1e-6)
    assert find_expert_share(MOE, 1) == 8 / 128
    assert find_expert_share(LLAMA, 1) == 1.0


@given(st.integers(1, 64), st.integers(1, 63))
def test_more_users_do_more_work_for_each_byte(users: int, more: int) -> None:
    weights = WeightBytes("Q8_0", 10**8, 10**8, (10**8,) * 32, (0,) * 32, 10**8)
    few = count_decode_work(LLAMA, weights, Workload(1024, users))
    many = count_decode_work(LLAMA, weights, Workload(1024, min(users + more, 256)))
    assert many.n_flops > few.n_flops and many.flops_per_byte > few.flops_per_byte


def test_a_prompt_does_far_more_for_each_byte_than_an_answer(catalog: Catalog) -> None:
    weights = weigh(catalog, LLAMA)
    decode = count_decode_work(LLAMA, weights, Workload(4096))
    prefill = count_prefill_work(LLAMA, weights, Workload(4096, n_ubatch=512))
    assert prefill.flops_per_byte > 300 * decode.flops_per_byte
    assert decode.n_bytes == count_read_bytes(LLAMA, weights) + 131_072 * 4096 / 2


@given(st.floats(1e9, 1e15), st.floats(1e9, 1e13), st.floats(0.01, 1e6))
def test_the_roof_is_the_lower_of_two_limits(peak: float, bandwidth: float, intensity: float) -> None:
    reached = Work(intensity * 1e9, 1e9).reach_flops(peak, bandwidth)
    assert reached <= peak and reached <= intensity * bandwidth * (1 + 1e-9)
    if abs(intensity / find_ridge(peak, bandwidth) - 1) > 1e-6:
        assert (reached == peak) == (intensity > find_ridge(peak, bandwidth))


@given(st.floats(0, 0.999), st.integers(0, 16))
def test_drafts_yield_between_one_token_and_all(acceptance: float, n_draft: int) -> None:
    expected = expect_draft_tokens(acceptance, n_draft)
    assert 1 <= expected <= n_draft + 1
    assert expected == pytest.approx((1 - acceptance ** (n_draft + 1)) / (1 - acceptance))

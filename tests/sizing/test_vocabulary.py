"""Units, errors, quants, workloads and specs: the words everything else is said in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.errors import BadInputError, UnknownNameError, find_near_names
from sizing.hardware import Device, DeviceKind, Machine
from sizing.quants import GGML_TYPES, QUANTS, find_kv_type, find_quant
from sizing.specs import Attention, AttentionKind, FeedForward, Latent, LayerGroup, ModelSpec
from sizing.units import GIB, MIB, THIN, format_bytes, format_figures, format_params, format_range
from sizing.workload import Workload


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "0.999 KiB"),  # 1,023 would be four figures
        (512 * MIB, "512 MiB"),
        (int(11.8 * GIB), "11.8 GiB"),
        (1000 * MIB, "0.977 GiB"),
        (243_061_788_064, "226 GiB"),  # Llama 3.1 405B Q4_K_M, as llama.cpp's dry run sizes it
        (-int(1.25 * GIB), "-1.25 GiB"),
        (None, "unknown"),
    ],
)
def test_bytes_read_with_three_figures_on_the_binary_ladder(n_bytes: int | None, text: str) -> None:
    assert format_bytes(n_bytes).replace(THIN, " ") == text


@given(st.floats(min_value=1e-6, max_value=1e15))
def test_a_formatted_number_is_within_half_a_percent(x: float) -> None:
    assert float(format_figures(x).replace(",", "")) == pytest.approx(x, rel=0.0051)


def test_ranges_and_parameter_counts_read_as_people_say_them() -> None:
    assert format_range(31.2, 44.4) == "31 to 44"
    assert format_range(43.2, 44.4) == "43.2 to 44.4"
    assert format_range(5.0, 5.0) == "5.00"
    assert format_params(8_030_261_248).replace(THIN, " ") == "8.03 B"
    assert format_params(268_098_176).replace(THIN, " ") == "268 M"
    assert format_params(None) == "unknown"


def test_near_names_find_a_misspelt_tail() -> None:
    known = ["meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-14B", "google/gemma-2-9b-it"]
    assert find_near_names("lama-3.1-8b-instruct", known)[0] == "meta-llama/Llama-3.1-8B-Instruct"
    assert find_near_names("zzzzzz", known) == ()
    error = UnknownNameError("quant", "Q4KM", QUANTS)
    assert "Q4_K_M" in str(error) and "'Q4KM'" in str(error)
    assert isinstance(error, LookupError)


# bytes per 256 values, from the block structs of ggml-common.h, counted by hand
BLOCK_BYTES_PER_256 = {
    "f16": 512,
    "q8_0": 8 * (2 + 32),
    "q4_0": 8 * (2 + 16),
    "q4_1": 8 * (2 + 2 + 16),
    "q5_0": 8 * (2 + 4 + 16),
    "q5_1": 8 * (2 + 2 + 4 + 16),
    "q2_K": 16 + 64 + 2 * 2,
    "q3_K": 32 + 64 + 12 + 2,
    "q4_K": 2 * 2 + 12 + 128,
    "q5_K": 2 * 2 + 12 + 32 + 128,
    "q6_K": 128 + 64 + 16 + 2,
    "iq4_xs": 2 + 2 + 4 + 128,
    "iq3_xxs": 2 + 3 * 32,
    "iq2_xxs": 2 + 64,
    "mxfp4": 8 * (1 + 16),
}


@pytest.mark.parametrize(("name", "n_bytes"), BLOCK_BYTES_PER_256.items())
def test_block_sizes_are_those_of_the_structs(name: str, n_bytes: int) -> None:
    assert GGML_TYPES[name].row_bytes(256) == n_bytes


def test_a_row_of_partial_blocks_is_refused() -> None:
    with pytest.raises(BadInputError, match="blocks of 256"):
        GGML_TYPES["q4_K"].row_bytes(100)


def test_names_are_found_whatever_their_case_and_refused_with_near_ones() -> None:
    assert find_quant("q4_k_m").name == "Q4_K_M"
    assert find_kv_type("Q8_0").name == "q8_0"
    with pytest.raises(UnknownNameError, match="Q4_K_M"):
        find_quant("Q4_K_X")
    with pytest.raises(UnknownNameError, match="KV cache type"):
        find_kv_type("q6_K")


def test_every_quantization_asked_for_is_known() -> None:
    wanted = "Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K Q8_0 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 MXFP4"
    wanted += " IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ3_XXS IQ3_XS IQ3_S IQ3_M IQ4_XS IQ4_NL"
    assert set(wanted.split()) <= set(QUANTS)


@pytest.mark.parametrize("field", ["context_tokens", "n_parallel", "n_ubatch", "n_batch"])
@pytest.mark.parametrize("bad", [0, -1, 2**40, 1.5, True])
def test_a_workload_refuses_numbers_out_of_range(field: str, bad: object) -> None:
    with pytest.raises(BadInputError, match=field):
        Workload(**{"context_tokens": 4096, field: bad})


def test_a_quantized_v_cache_wants_flash_attention() -> None:
    with pytest.raises(BadInputError, match="flash attention"):
        Workload(4096, kv_type_v="q8_0", flash_attention=False)
    assert Workload(4096, kv_type_k="q8_0", flash_attention=False).type_k.name == "q8_0"


def test_the_engines_context_is_the_sum_of_the_slots() -> None:
    assert Workload(8192, n_parallel=4).n_ctx_tokens == 32768


def attention(**changes: object) -> Attention:
    return Attention(**{"kind": AttentionKind.FULL, "n_heads": 32, "n_kv_heads": 8, "head_dim": 128, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"n_heads": 0},
        {"n_kv_heads": 5},
        {"head_dim": 0},
        {"kind": AttentionKind.SLIDING},
        {"window_tokens": 512},
        {"kind": AttentionKind.LATENT},
        {"latent": Latent(512, 64, 128, 128)},
    ],
)
def test_contradictory_attention_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(BadInputError):
        attention(**changes)


def test_attention_says_what_it_caches() -> None:
    assert (attention().name, attention(n_kv_heads=32).name, attention(n_kv_heads=1).name) == ("GQA", "MHA", "MQA")
    assert (attention().cached_k_width, attention().cached_v_width) == (1024, 1024)
    assert attention(n_kv_heads=0).has_cache is False and attention(n_kv_heads=0).cached_k_width == 0
    assert attention(shares_kv=True).cached_v_width == 0
    mla = attention(kind=AttentionKind.LATENT, latent=Latent(512, 64, 128, 128), n_kv_heads=1)
    # DeepSeek-V2, section 2.1: one latent of 512 and a shared rope key of 64 per token
    assert (mla.cached_k_width, mla.cached_v_width, mla.name) == (576, 0, "MLA")


def spec(*groups: LayerGroup) -> ModelSpec:
    return ModelSpec("a/b", "B", "llama", groups, 64, 100, 4096, False, 1000, 1000)


def test_layers_must_be_covered_once_each() -> None:
    good = spec(LayerGroup((0, 2), attention()), LayerGroup((1,), ffn=FeedForward(256)))
    assert good.n_layers == 3 and good.by_layer[1].attention is None
    with pytest.raises(BadInputError, match="0..n-1"):
        spec(LayerGroup((0, 2), attention()))
    with pytest.raises(BadInputError, match="n_active_experts"):
        FeedForward(n_experts=8, n_active_experts=9, expert_ffn_dim=10)


def test_a_device_keeps_usable_within_built_in_memory() -> None:
    with pytest.raises(BadInputError, match="usable"):
        Device("x", DeviceKind.GPU, 10, 11)
    host, card = Device("h", DeviceKind.CPU, 10, 8), Device("g", DeviceKind.GPU, 5, 5)
    assert Machine("m", host, (card, card)).usable_bytes == 18
    pool = Device("p", DeviceKind.UNIFIED, 10, 7)
    assert Machine("m", host, (pool,)).usable_bytes == 7

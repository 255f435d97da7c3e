"""The speed model: properties that must hold for any model and machine, and figures others measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.queries import find_machine, find_model, find_weights
from catalog.speeds import load_speed_devices
from catalog.store import Catalog, open_catalog
from sizing.estimate import Estimate, estimate, estimate_model_bytes
from sizing.hardware import Device, DeviceKind, Machine
from sizing.layers import LayerTable
from sizing.placement import Offload, place
from sizing.quants import QUANTS
from sizing.throughput import (
    CLASSES,
    FAMILIES,
    FITTED,
    Interval,
    SpeedEstimate,
    describe_basis,
    estimate_speed,
    find_family,
    find_prefill_class,
    find_speed_class,
    find_spread,
    widen,
)
from sizing.units import GIB
from sizing.weights import WeightTable, attention_widths, count_lookup_params
from sizing.workload import Workload


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return open_catalog()


def card(bandwidth: float = 1000e9, flops: float | None = 100e12, name: str = "RTX 9999") -> Device:
    return Device(name, DeviceKind.GPU, 96 * GIB, 96 * GIB, bandwidth, flops, "cuda", memory_type="gddr")


def machine(*cards: Device) -> Machine:
    return Machine("m", Device("host", DeviceKind.CPU, 256 * GIB, 256 * GIB, 60e9, 1e12), cards)


def answer(
    catalog: Catalog,
    name: str = "Llama-3.1-8B-Instruct",
    quant: str = "Q4_K_M",
    workload: Workload | None = None,
    on: Machine | None = None,
    offload: Offload | None = None,
) -> Estimate:
    found = find_model(catalog, name)
    on = on or machine(card())
    return estimate(found.spec, find_weights(catalog, found, quant), workload or Workload(4096), on, offload)


def told(catalog: Catalog, **asked: object) -> SpeedEstimate:
    speed = answer(catalog, **asked).speed  # type: ignore[arg-type]
    assert speed is not None
    return speed


def ordered(interval: Interval | None) -> bool:
    return interval is not None and 0 < interval.low < interval.mid < interval.high


@settings(max_examples=25, deadline=None)
@given(
    context=st.sampled_from([512, 4096, 32768]),
    bandwidth=st.floats(50e9, 8e12),
    quant=st.sampled_from(["F16", "Q8_0", "Q4_K_M", "Q2_K", "IQ1_S"]),
    n=st.sampled_from([1, 2, 7]),
)
def test_intervals_are_ordered_and_under_the_bandwidths_own_bound(
    context: int, bandwidth: float, quant: str, n: int
) -> None:
    catalog = open_once()
    estimated = answer(catalog, quant=quant, workload=Workload(context, n), on=machine(card(bandwidth)))
    speed = estimated.speed
    assert speed is not None
    assert ordered(speed.decode_tokens_per_s) and ordered(speed.prefill_tokens_per_s)
    assert ordered(speed.time_to_first_token_s)
    found = find_model(catalog, "Llama-3.1-8B-Instruct")
    read = find_weights(catalog, found, quant)
    assert speed.decode_tokens_per_s.high <= bandwidth / (read.tensor_bytes - read.input_bytes) * 1.0001


_OPENED: list[Catalog] = []


def open_once() -> Catalog:
    if not _OPENED:
        _OPENED.append(open_catalog())
    return _OPENED[0]


def test_speed_falls_with_context_in_every_part(catalog: Catalog) -> None:
    speeds = [told(catalog, workload=Workload(c)) for c in (1024, 8192, 32768, 131072)]
    for name in ("low", "mid"):
        decode = [getattr(s.decode_tokens_per_s, name) for s in speeds]
        assert decode == sorted(decode, reverse=True) and decode[0] > 1.5 * decode[-1]
    prefill = [s.prefill_tokens_per_s.mid for s in speeds if s.prefill_tokens_per_s]
    assert prefill == sorted(prefill, reverse=True) and prefill[0] > 1.5 * prefill[-1]
    first = [s.time_to_first_token_s.mid for s in speeds if s.time_to_first_token_s]
    assert first == sorted(first)
    assert first[-1] > 128 * first[0], "attention makes a long prompt dearer by the token"


def test_a_full_cache_is_slower_than_an_empty_one_and_quantizing_it_helps(catalog: Catalog) -> None:
    full = told(catalog, workload=Workload(65536))
    small = told(catalog, workload=Workload(65536, kv_type_k="q8_0", kv_type_v="q8_0"))
    assert full.decode_tokens_per_s.high > full.decode_tokens_per_s.mid > full.decode_tokens_per_s.low
    assert small.decode_tokens_per_s.mid > full.decode_tokens_per_s.mid
    off = told(catalog, workload=Workload(65536, flash_attention=False))
    assert off.decode_tokens_per_s.mid < full.decode_tokens_per_s.mid


@settings(max_examples=20, deadline=None)
@given(bandwidth=st.floats(50e9, 4e12), more=st.floats(1.0, 5.0), flops=st.floats(1e12, 1e15))
def test_a_better_device_is_never_slower(bandwidth: float, more: float, flops: float) -> None:
    catalog, workload = open_once(), Workload(8192, 4)
    slow = told(catalog, workload=workload, on=machine(card(bandwidth, flops)))
    wide = told(catalog, workload=workload, on=machine(card(bandwidth * more, flops)))
    quick = told(catalog, workload=workload, on=machine(card(bandwidth, flops * more)))
    for better in (wide, quick):
        for name in ("low", "mid", "high"):
            assert getattr(better.decode_tokens_per_s, name) >= getattr(slow.decode_tokens_per_s, name) * 0.9999
    assert slow.prefill_tokens_per_s is not None and quick.prefill_tokens_per_s is not None
    assert quick.prefill_tokens_per_s.mid >= slow.prefill_tokens_per_s.mid * 0.9999


@pytest.mark.parametrize("name", ["Llama-3.1-8B-Instruct", "Qwen3-30B-A3B", "NVIDIA-Nemotron-3-Nano-4B-BF16"])
def test_with_more_users_the_total_rises_and_each_gets_less(catalog: Catalog, name: str) -> None:
    speeds = [told(catalog, name=name, workload=Workload(4096, n)) for n in (1, 2, 4, 8, 16, 32)]
    each = [s.decode_tokens_per_s.mid for s in speeds]
    total = [s.total_decode_tokens_per_s.mid for s in speeds]
    assert each == sorted(each, reverse=True)
    assert total == sorted(total)
    assert total[0] == each[0] and total[3] == pytest.approx(8 * each[3])
    assert total[-1] < 32 * total[0]


def test_what_limits_decoding_is_named(catalog: Catalog) -> None:
    assert told(catalog).bound == "memory bandwidth of RTX 9999"
    many = Workload(512, 256)
    assert told(catalog, workload=many, on=machine(card(2000e9, 5e12))).bound == "arithmetic of RTX 9999"
    small = told(catalog, name="SmolLM2-135M-Instruct", quant="Q4_K_M")
    assert small.bound == "per-layer overhead of RTX 9999"
    part = told(catalog, offload=Offload(8))
    assert part.bound == "memory bandwidth of host"
    assert "processor" in part.basis and "NVIDIA card" in part.basis


def test_cards_work_one_after_another(catalog: Catalog) -> None:
    one = told(catalog, quant="F16").decode_tokens_per_s.mid
    two = told(catalog, quant="F16", on=machine(card(), card())).decode_tokens_per_s.mid
    assert 1 / two == pytest.approx(1 / one + FITTED.hop_s)
    mixed = told(catalog, quant="F16", on=machine(card(), card(500e9))).decode_tokens_per_s.mid
    assert mixed < two


def test_unknown_stays_unknown_and_what_cannot_run_has_no_speed(catalog: Catalog) -> None:
    blind = replace(card(), bandwidth_bytes_per_s=None)
    assert answer(catalog, on=machine(blind)).speed is None
    assert answer(catalog, name="Llama-3.1-405B-Instruct", quant="F16").speed is None
    slow = told(catalog, on=machine(card(flops=None)))
    assert slow.prefill_tokens_per_s is None and slow.time_to_first_token_s is None


def test_the_basis_says_how_much_was_measured() -> None:
    assert describe_basis(card()).startswith("decode fitted on ")
    assert f"{FITTED.n_devices['decode']['cuda']} devices (NVIDIA card with GDDR)" in describe_basis(card())
    arc = Device("Arc B580", DeviceKind.GPU, 12 * GIB, 12 * GIB, 456e9, 1e14, "sycl", memory_type="gddr")
    assert describe_basis(arc).startswith("no decode measurement of this class (Intel card)")
    instinct = Device("Instinct MI300X", DeviceKind.GPU, 192 * GIB, 192 * GIB, 5e12, 1e15, "rocm", memory_type="hbm")
    assert "taken from NVIDIA card with HBM" in describe_basis(instinct)


def test_an_interval_is_wider_where_less_was_measured(catalog: Catalog) -> None:
    def width(device: Device) -> float:
        decode = told(catalog, workload=Workload(256), on=machine(device)).decode_tokens_per_s
        return decode.mid / decode.low

    arc = Device("Arc", DeviceKind.GPU, 96 * GIB, 96 * GIB, 1000e9, 1e14, "sycl", memory_type="gddr")
    assert width(arc) > 1.2 * width(card())
    assert widen(1000) == pytest.approx(1.0, abs=1e-3)
    assert [widen(n) for n in (0, 1, 2, 5)] == sorted((widen(n) for n in (0, 1, 2, 5)), reverse=True)
    dense = np.zeros(1, dtype=np.bool_)
    one, many = (find_spread([card()], dense, "decode", n)[0, 0] for n in (1, 8))
    assert many[0] > one[0] and many[2] < one[2], "several streams were measured on one device"


@pytest.mark.parametrize(
    ("name", "decode", "prefill"),
    [
        ("RTX 4090", "cuda", "cuda"),
        ("RTX 6000 Ada", "cuda", "cuda workstation"),
        ("L40S", "cuda", "cuda workstation"),
        ("RTX PRO 6000 Blackwell", "cuda", "cuda workstation"),
        ("A100 SXM 80GB", "cuda hbm", "cuda hbm"),
        ("V100 PCIe 16GB", "cuda hbm", "cuda hbm"),
        ("DGX Spark 128GB", "cuda unified", "cuda unified"),
        ("RX 7900 XTX", "amd", "amd"),
        ("Instinct MI300X", "amd hbm", "amd hbm"),
        ("Ryzen AI Max+ 395 128GB", "amd unified", "amd unified"),
        ("Arc B580", "intel", "intel"),
        ("Apple M4 Max 128GB", "apple", "apple"),
        ("PC DDR5-5600 64GB", "cpu", "cpu"),
        ("Server Epyc 9004 DDR5-4800 768GB", "cpu many", "cpu many"),
    ],
)
def test_a_device_is_of_its_class_with_and_without_its_memory_type(name: str, decode: str, prefill: str) -> None:
    device = load_speed_devices()[name]
    assert (find_speed_class(device), find_prefill_class(device)) == (decode, prefill)
    if device.kind is not DeviceKind.CPU:
        assert find_speed_class(replace(device, memory_type="")) == decode
    assert decode in CLASSES


def test_every_quantization_has_a_family_and_every_class_a_share_of_it() -> None:
    assert {find_family(q) for q in QUANTS} == set(FAMILIES)
    assert [find_family(q) for q in ("BF16", "Q8_0", "Q4_K_M", "MXFP4", "IQ4_XS", "Q2_K", "IQ3_S", "IQ2_XXS")] == [
        *("16 bit", "8 bit", "4 to 6 bit", "4 to 6 bit", "4 to 6 bit", "3 bit", "3 bit", "2 bit")
    ]
    for shares in (FITTED.decode_share, FITTED.prefill_share):
        assert {c for c, _ in shares} <= {*CLASSES, "cuda workstation"}
        assert all(0.02 < share < 1.0 for share in shares.values())
        assert all((c, f) in shares for c, _ in shares for f in FAMILIES)


def test_lookups_and_attention_are_counted_from_the_shape(catalog: Catalog) -> None:
    llama = find_model(catalog, "Llama-3.1-8B-Instruct").spec
    assert count_lookup_params(llama) == 128256 * 4096
    assert attention_widths(llama) == (32 * 32 * 256, 0.0, 0.0)
    gemma = find_model(catalog, "gemma-3-4b-it").spec
    full, windowed, window = attention_widths(gemma)
    assert count_lookup_params(gemma) == 0, "its head is its embedding"
    assert windowed > 4 * full and window == 1024
    deepseek = find_model(catalog, "DeepSeek-V3").spec
    assert attention_widths(deepseek)[0] == 61 * 128 * (2 * 512 + 64)


# Measured by others with llama-bench (backend, model, recipe, generation near an empty cache): tokens/s. The fit has
# seen these; they hold the units and the terms, not the accuracy. XiongjieDai/GPU-Benchmarks-on-LLM-Inference README
# and ggml-org/llama.cpp benches/dgx-spark/dgx-spark.md.
MEASURED = [
    ("RTX 4090", "Llama-3.1-8B-Instruct", "Q4_K_M", 127.74),
    ("RTX 4090", "Llama-3.1-8B-Instruct", "F16", 54.34),
    ("RTX 3090", "Llama-3.1-8B-Instruct", "Q4_K_M", 111.74),
    ("A100 SXM 80GB", "Llama-3.1-70B-Instruct", "Q4_K_M", 24.33),
    ("DGX Spark 128GB", "Qwen2.5-7B-Instruct", "Q8_0", 29.43),
    ("DGX Spark 128GB", "gpt-oss-20b", "MXFP4", 83.43),
]


@pytest.mark.parametrize(("device", "name", "quant", "measured"), MEASURED)
def test_a_published_speed_is_inside_the_interval(
    catalog: Catalog, device: str, name: str, quant: str, measured: float
) -> None:
    speed = told(catalog, name=name, quant=quant, workload=Workload(512), on=find_machine(catalog, device))
    assert speed.decode_tokens_per_s.low <= measured <= speed.decode_tokens_per_s.high
    assert speed.decode_tokens_per_s.mid == pytest.approx(measured, rel=0.25)


def test_a_cpus_prefill_follows_its_cores_and_vectors(catalog: Catalog) -> None:
    def prefill(n_cores: int | None, *sets: str) -> Interval | None:
        cpu = Device("cpu", DeviceKind.CPU, 64 * GIB, 64 * GIB, 30e9, None, "cpu", n_cores, sets)
        asked = {"name": "Llama-3.2-1B-Instruct", "workload": Workload(512), "on": Machine("m", cpu)}
        return told(catalog, **asked).prefill_tokens_per_s

    two, eight = prefill(2, "AVX2", "AVX-512"), prefill(8, "AVX2", "AVX-512")
    assert two is not None and eight is not None
    assert eight.mid == pytest.approx(4 * two.mid, rel=0.05), "layers also cost something for each batch"
    # measured on 2 AVX-512 cores: Llama 3.2 1B reads its prompt at 101 to 110 tokens/s
    assert two.low < 105 < 1.05 * two.high
    assert prefill(2, "SSE4.2") is None and prefill(None, "AVX2") is None


def test_experts_left_on_the_host_are_copied_for_a_prompt_where_that_is_faster(catalog: Catalog) -> None:
    def prefill(link: float) -> float:
        on = machine(replace(card(), link_bytes_per_s=link))
        asked = {"name": "Qwen3-30B-A3B", "on": on, "offload": Offload(cpu_moe=48), "workload": Workload(4096)}
        speed = told(catalog, **asked).prefill_tokens_per_s
        assert speed is not None
        return speed.mid

    assert prefill(64e9) > prefill(12e9) > 0
    assert prefill(1e6) == pytest.approx(prefill(1e3)), "without a link worth using the host computes"


def test_the_whole_catalog_is_one_pass_and_the_same_as_each_alone(catalog: Catalog) -> None:
    names = ("Llama-3.1-8B-Instruct", "Qwen3-30B-A3B", "gemma-3-4b-it")
    cards = [find_model(catalog, n) for n in names]
    quants = ("Q4_K_M", "F16")
    workload = Workload(8192, 2)
    table = WeightTable.from_models([(c.spec, [find_weights(catalog, c, q) for q in quants]) for c in cards])
    share = 1.0 - (1.0 - table.active_expert_share) ** 2
    table = replace(table, active_expert_share=share)
    layers = LayerTable.from_specs([c.spec for c in cards])
    on = machine(card())
    placed = place(table, estimate_model_bytes(layers, workload), on)
    active = np.array([c.spec.n_active_params for c in cards], dtype=float)[table.model_row]
    columns = estimate_speed(table, placed, active, (), workload)
    for row, (name, quant) in enumerate((n, q) for n in names for q in quants):
        alone = told(catalog, name=name, quant=quant, workload=workload, on=on)
        assert columns.at(row, placed, 8192) == alone

"""Answers from the catalog: names as people write them, near names, machines in words, sources."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.devices import fold_device_name, load_devices
from catalog.queries import (
    ASSUMED_HOST,
    all_weights,
    find_machine,
    find_model,
    list_devices,
    list_models,
    list_published_repositories,
    list_quality,
    list_scores,
    list_sources,
    list_weights,
)
from catalog.store import Catalog
from sizing.errors import BadInputError, UnknownNameError
from sizing.hardware import DeviceKind
from sizing.quants import QUANTS
from sizing.units import GIB


@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("qwen/QWEN3-8b", "Qwen/Qwen3-8B"),
        ("qwen3-8b", "Qwen/Qwen3-8B"),
        ("Qwen3 8B", "Qwen/Qwen3-8B"),
        ("  llama-3.1-8b-instruct ", "meta-llama/Llama-3.1-8B-Instruct"),
        ("Gemma 2 9B IT", "google/gemma-2-9b-it"),
    ],
)
def test_find_model_by_id_tail_or_display_name(catalog: Catalog, name: str, model_id: str) -> None:
    assert find_model(catalog, name).model_id == model_id


@pytest.mark.parametrize(
    ("name", "near"),
    [("Qwen3-8", "Qwen3-8B"), ("llama 3.1 8b", "Llama 3.1 8B Instruct"), ("gpt oss 20b", "gpt-oss 20B")],
)
def test_unknown_model_names_its_neighbours(catalog: Catalog, name: str, near: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        find_model(catalog, name)
    assert any(near.casefold() in known.casefold() for known in caught.value.near)
    assert caught.value.kind == "model"


@pytest.mark.parametrize("name", ["", "   ", "zzzzzz", "'; DROP TABLE models; --", "%"])
def test_nonsense_is_an_unknown_model(catalog: Catalog, name: str) -> None:
    with pytest.raises(UnknownNameError):
        find_model(catalog, name)
    assert len(list_models(catalog)) >= 190


def test_every_model_is_found_by_all_its_names(catalog: Catalog) -> None:
    for card in list_models(catalog):
        for name in (card.model_id, card.model_id.rsplit("/", 1)[-1], card.name):
            assert find_model(catalog, name.upper()).model_id == card.model_id


# Memory and bandwidth as the makers state them, chips in GiB:
# RTX 4090 https://www.techpowerup.com/gpu-specs/geforce-rtx-4090.c3889, RTX 5060 128 bit x 28 Gbit/s
# https://www.techpowerup.com/gpu-specs/geforce-rtx-5060.c4219, H100 https://www.nvidia.com/en-us/data-center/h100/,
# M4 Max https://www.macrumors.com/2024/10/30/apple-announces-m4-max-chip/, RX 7900 XTX
# https://www.techpowerup.com/gpu-specs/radeon-rx-7900-xtx.c3941, B580
# https://www.intel.com/content/www/us/en/products/sku/241598/intel-arc-b580-graphics/specifications.html
KNOWN = [
    ("RTX 4090", 24, 1008e9, "cuda"),
    ("nvidia geforce rtx 4090", 24, 1008e9, "cuda"),
    ("RTX 5090", 32, 1792e9, "cuda"),
    ("RTX 5060", 8, 128 * 28e9 / 8, "cuda"),
    ("RTX 3060", 12, 360e9, "cuda"),
    ("RTX 3060 8 GB", 8, 240e9, "cuda"),
    ("3090", 24, 936.2e9, "cuda"),
    ("RTX 4060 Ti 16GB", 16, 288e9, "cuda"),
    ("H100 SXM 80GB", 80, 3350e9, "cuda"),
    ("A100 PCIe 80GB", 80, 1935e9, "cuda"),
    ("H200", 141, 4800e9, "cuda"),
    ("AMD Radeon RX 7900 XTX", 24, 960e9, "rocm"),
    ("Instinct MI300X", 192, 5300e9, "rocm"),
    ("Intel Arc B580", 12, 456e9, "sycl"),
    ("Apple M4 Max 64GB", 64, 546e9, "metal"),
    ("M1 Max 32 GB", 32, 400e9, "metal"),
    ("DGX Spark", 128, 273e9, "cuda"),
    ("Strix Halo 64GB", 64, 256e9, "rocm"),
]


@pytest.mark.parametrize(("name", "memory_gib", "bandwidth", "backend"), KNOWN)
def test_known_devices(catalog: Catalog, name: str, memory_gib: int, bandwidth: float, backend: str) -> None:
    machine = find_machine(catalog, name)
    (device,) = machine.accelerators
    assert device.memory_bytes == memory_gib * GIB
    assert device.bandwidth_bytes_per_s == bandwidth
    assert device.backend == backend
    assert 0 < device.usable_bytes < device.memory_bytes


def test_enough_good_devices_of_every_maker(catalog: Catalog) -> None:
    devices = list_devices(catalog)
    assert sum(d.kind is not DeviceKind.CPU and d.bandwidth_bytes_per_s is not None for d in devices) >= 150
    makers = {m for (m,) in catalog.fetch("SELECT DISTINCT vendor FROM hardware")}
    assert makers >= {"NVIDIA", "AMD", "Intel", "Apple"}
    assert {d.kind for d in devices} == set(DeviceKind)


def test_bandwidth_of_every_device_is_plausible(catalog: Catalog) -> None:
    """From the slowest (Jetson Nano class, tens of GB/s) to the fastest part sold (8 TB/s)."""
    for device in list_devices(catalog):
        assert device.bandwidth_bytes_per_s is not None, device.name
        assert 30e9 <= device.bandwidth_bytes_per_s <= 8e12, device.name
        assert device.fp16_flops is None or 1e12 <= device.fp16_flops <= 3e15, device.name


# Dense 16-bit rates with 32-bit sums from NVIDIA's architecture papers (GA102, Ada, Turing, Blackwell) and data sheets.
@pytest.mark.parametrize(
    ("name", "tflops"),
    [("RTX 3090", 71), ("RTX 4090", 165.2), ("RTX 5090", 209.5), ("T4", 65), ("A100 SXM 80GB", 312), ("A30", 165)],
)
def test_compute_is_dense_tensor_throughput(catalog: Catalog, name: str, tflops: float) -> None:
    (device,) = find_machine(catalog, name).accelerators
    assert device.fp16_flops == pytest.approx(tflops * 1e12, rel=0.01)


def test_names_of_devices_never_collide() -> None:
    seen: dict[str, str] = {}
    for named in load_devices():
        for name in {fold_device_name(n) for n in (named.device.name, *named.aliases)}:
            assert name not in seen, f"{name!r} means {seen[name]} and {named.device.name}"
            seen[name] = named.device.name


def test_every_device_is_found_by_all_its_names(catalog: Catalog) -> None:
    for named in load_devices():
        for name in (named.device.name, named.device.name.lower(), *named.aliases):
            machine = find_machine(catalog, name)
            found = machine.accelerators[0] if machine.accelerators else machine.host
            assert found.name == named.device.name


def test_apple_working_set_follows_the_size(catalog: Catalog) -> None:
    """Two thirds up to 36 GiB, three quarters above."""
    (small,) = find_machine(catalog, "Apple M1 16GB").accelerators
    (large,) = find_machine(catalog, "Apple M4 Max 128GB").accelerators
    assert small.usable_bytes == pytest.approx(16 * GIB * 2 / 3, abs=1024**2)
    assert large.usable_bytes == 96 * GIB


def test_several_cards(catalog: Catalog) -> None:
    machine = find_machine(catalog, " rtx 3090 * 2 ")
    assert [d.name for d in machine.accelerators] == ["RTX 3090", "RTX 3090"]
    assert machine.name == "RTX 3090*2"
    assert machine.host.name == ASSUMED_HOST
    assert any(note.startswith("assumed host") for note in machine.host.notes)


def test_cards_of_two_kinds_with_a_named_host(catalog: Catalog) -> None:
    machine = find_machine(catalog, "RTX 4090 + RTX 3060*2 + PC DDR5-5600 64GB")
    assert [d.name for d in machine.accelerators] == ["RTX 4090", "RTX 3060 12GB", "RTX 3060 12GB"]
    assert machine.host.memory_bytes == 64 * GIB
    # two channels of 8 bytes at 5600 MT/s (JESD79-5)
    assert machine.host.bandwidth_bytes_per_s == 2 * 8 * 5600e6
    assert not any("assumed host" in note for note in machine.host.notes)


def test_a_host_alone_has_no_accelerator(catalog: Catalog) -> None:
    machine = find_machine(catalog, "32GB DDR4")
    assert machine.accelerators == ()
    assert machine.host.kind is DeviceKind.CPU
    assert machine.usable_bytes == machine.host.usable_bytes < 32 * GIB


def test_unified_memory_is_counted_once(catalog: Catalog) -> None:
    machine = find_machine(catalog, "Apple M4 Max 64GB")
    assert machine.is_unified
    assert machine.usable_bytes == machine.accelerators[0].usable_bytes


def test_a_name_that_leaves_the_size_open_says_what_it_took(catalog: Catalog) -> None:
    (device,) = find_machine(catalog, "RTX 4060 Ti").accelerators
    assert device.name == "RTX 4060 Ti 8GB"
    assert any("RTX 4060 Ti 16GB" in note for note in device.notes)


def test_this_machine(catalog: Catalog) -> None:
    machine = find_machine(catalog, "This")
    assert machine.host.memory_bytes > 0


@pytest.mark.parametrize(
    ("text", "near"), [("RTX 4099", "RTX 4090"), ("Apple M4 Mux 64GB", "Apple M4 Max 64GB"), ("MI300Z", "MI300X")]
)
def test_unknown_device_names_its_neighbours(catalog: Catalog, text: str, near: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        find_machine(catalog, text)
    assert near in caught.value.near


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "*2",
        "RTX 4090*0",
        "RTX 4090*-1",
        "RTX 4090*1000",
        "RTX 4090 +",
        "Apple M4 Max 64GB*2",
        "Apple M4 Max 64GB + RTX 4090",
        "32GB DDR4 + 64GB DDR5",
        "32GB DDR4*2",
        "RTX 4090*two",
        "RTX 4090*",
        "RTX 4090*2*2.5",
        "RTX 4090*99999999999999999999",
        "x" * 100_000,
    ],
)
def test_contradictions_are_bad_input(catalog: Catalog, text: str) -> None:
    with pytest.raises(BadInputError):
        find_machine(catalog, text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.text(max_size=60) | st.lists(st.sampled_from(["RTX 4090", "*", "+", " ", "2", "0", "DDR5"])).map("".join))
def test_any_text_is_a_machine_or_a_named_error(catalog: Catalog, text: str) -> None:
    try:
        machine = find_machine(catalog, text)
    except (UnknownNameError, BadInputError) as error:
        assert str(error)
    else:
        assert machine.host.memory_bytes > 0


def test_weights_are_ordered_and_whole(catalog: Catalog) -> None:
    weighed = all_weights(catalog)
    order = list(QUANTS)
    by_id = {card.model_id: card for card in catalog.cards}
    for model_id, weights in weighed.items():
        positions = [order.index(w.quant) for w in weights]
        assert positions == sorted(set(positions)), model_id
        assert {len(w.layer_bytes) for w in weights} == {by_id[model_id].spec.n_layers}
    assert list_weights(catalog, "Qwen/Qwen3-8B") == weighed.get("Qwen/Qwen3-8B", ())


def test_answers_are_not_shared_for_change(catalog: Catalog) -> None:
    n_weighed = len(all_weights(catalog))
    all_weights(catalog).clear()
    assert len(all_weights(catalog)) == n_weighed


def test_sources_count_every_row_once(catalog: Catalog) -> None:
    tables = [t for (t,) in catalog.fetch("SELECT table_name FROM duckdb_tables() WHERE NOT internal")]
    n_rows = sum(catalog.fetch(f"SELECT count(*) FROM {t}")[0][0] for t in tables)
    sources = list_sources(catalog)
    assert sum(s.n_rows for s in sources) == n_rows
    assert len({s.source_url for s in sources}) == len(sources)
    assert all(s.source_url.startswith("http") and s.as_of for s in sources)


def test_scores_belong_to_the_model_asked_for(catalog: Catalog) -> None:
    every = list_scores(catalog)
    (n_rows,) = catalog.fetch("SELECT count(*) FROM benchmarks")[0]
    assert len(every) == n_rows
    one = every[0].model_id
    assert list_scores(catalog, one) == tuple(s for s in every if s.model_id == one)
    assert list_scores(catalog, "nobody/nothing") == ()


def test_quality_is_never_invented(catalog: Catalog) -> None:
    scored = {s.model_id for s in list_scores(catalog)}
    evidence = list_quality(catalog, "code")
    assert evidence
    assert {e.model_id for e in evidence} <= scored
    assert all(0 <= e.low <= e.score <= e.high <= 100 and e.n_scores == len(e.rows) > 0 for e in evidence)
    with pytest.raises(UnknownNameError, match="task"):
        list_quality(catalog, "cooking")


def test_many_threads_ask_at_once(catalog: Catalog) -> None:
    """One connection is shared, each query has a cursor of its own."""
    failures: list[BaseException] = []
    counts: list[int] = []

    def ask() -> None:
        try:
            for _ in range(20):
                counts.append(catalog.fetch("SELECT count(*) FROM models")[0][0])
                list_weights(catalog, "Qwen/Qwen3-8B")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert counts == [len(catalog.cards)] * 120


def test_repositories_known_to_hold_a_models_files_come_with_the_quantization_first(catalog: Catalog) -> None:
    found = list_published_repositories(catalog, "Qwen/Qwen3-14B", "Q5_K_M")
    assert found[0] == "bartowski/Qwen_Qwen3-14B-GGUF"
    assert all(name.count("/") == 1 and " " not in name for name in found)
    assert list_published_repositories(catalog, "no/such", "Q4_K_M") == ()

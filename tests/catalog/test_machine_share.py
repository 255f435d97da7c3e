"""A machine read here, asked for elsewhere: the same answer, or words for what is not the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog.machine import detect_machine, unified_machine
from catalog.machine_share import SharedMachine, share_machine
from catalog.queries import find_machine, list_weights
from catalog.store import Catalog
from sizing.estimate import estimate
from sizing.hardware import Calibration, Device, DeviceKind, Machine
from sizing.units import GB, GIB
from sizing.workload import Workload

EPYC = Device(
    "AMD EPYC",
    DeviceKind.CPU,
    int(23.5 * GIB),
    int(20.9 * GIB),
    12.8 * GB,
    n_cores=2,
    instruction_sets=("AVX2", "AVX-512"),
)
INTEL = Device(
    "13th Gen Intel(R) Core(TM) i9-13900K", DeviceKind.CPU, 64 * GIB, int(61.7 * GIB), 71.25 * GB, n_cores=24
)


def card(catalog: Catalog, name: str, usable_gib: float) -> Device:
    (listed,) = find_machine(catalog, name).accelerators
    return replace(listed, name=f"NVIDIA GeForce {name}", usable_bytes=int(usable_gib * GIB), notes=("driver 550",))


def estimates(catalog: Catalog, machine: Machine) -> tuple[object, ...]:
    """What a person would read of two models on it."""
    told = []
    for model_id, quant in (("Qwen/Qwen3-8B", "Q4_K_M"), ("Qwen/Qwen3-30B-A3B", "Q4_K_M")):
        spec = next(c.spec for c in catalog.cards if c.model_id == model_id)
        weights = next(w for w in list_weights(catalog, model_id) if w.quant == quant)
        found = estimate(spec, weights, Workload(8192), machine)
        speed = found.speed
        told.append((found.fit.verdict, found.memory.total_bytes, speed and round(speed.decode_tokens_per_s.mid, 1)))
        told.append(speed and speed.prefill_tokens_per_s and round(speed.prefill_tokens_per_s.mid / 5))
    return tuple(told)


@pytest.mark.parametrize("host", [EPYC, INTEL, replace(INTEL, bandwidth_bytes_per_s=None)], ids=lambda d: d.name)
def test_a_host_alone_is_the_same_machine_elsewhere(catalog: Catalog, host: Device) -> None:
    machine = Machine(host.name, host)
    shared = share_machine(catalog, "this", machine)
    assert shared.lost == ()
    assert estimates(catalog, find_machine(catalog, shared.text)) == estimates(catalog, machine)


def test_cards_go_by_their_listed_names(catalog: Catalog) -> None:
    cards = (card(catalog, "RTX 4090", 23.1), card(catalog, "RTX 4090", 22.9))
    machine = Machine("two", INTEL, cards)
    shared = share_machine(catalog, "this machine", machine)
    assert shared.text.startswith("RTX 4090 (23.1 GiB usable) + RTX 4090 (22.9 GiB usable) + 64 GB RAM of 13th Gen")
    assert shared.lost == ()
    assert estimates(catalog, find_machine(catalog, shared.text)) == estimates(catalog, machine)


def test_a_card_nobody_lists_is_described(catalog: Catalog) -> None:
    odd = Device("Vexing 9000", DeviceKind.GPU, 20 * GIB, 19 * GIB, 700 * GB, 50e12, backend="rocm")
    machine = Machine("odd", INTEL, (odd,))
    shared = share_machine(catalog, "this + RTX 3090", machine)
    assert shared.text.startswith("20 GiB rocm card at 700 GB/s and 50 TFLOPS (19 GiB usable) + ")
    assert shared.lost == ()


def test_one_pool_of_memory_stays_one(catalog: Catalog) -> None:
    pool = find_machine(catalog, "Apple M4 Max 64GB").accelerators[0]
    machine = unified_machine(replace(pool, name="Apple M4 Max", usable_bytes=int(50.5 * GIB)), INTEL)
    shared = share_machine(catalog, "this", machine)
    assert shared == SharedMachine("Apple M4 Max 64GB (50.5 GiB usable)")
    assert estimates(catalog, find_machine(catalog, shared.text)) == estimates(catalog, machine)


def test_what_a_text_cannot_say_is_said(catalog: Catalog) -> None:
    threads = replace(INTEL, name="Custom", n_cores=64, fp16_flops=2e12)
    told = share_machine(catalog, "this", Machine("many", threads)).lost
    assert any("another class" in text for text in told)
    calibrated = Machine("here", INTEL, calibrations=(Calibration(INTEL.name, "fine", False, 1.2, None, 3, "2026-11"),))
    assert any("benches" in text for text in share_machine(catalog, "this", calibrated).lost)
    tiny = Machine("tiny", replace(INTEL, memory_bytes=GIB // 8, usable_bytes=GIB // 16))
    shared = share_machine(catalog, "this", tiny)
    assert shared.text == "this" and "no text of its own" in shared.lost[0]


@pytest.mark.parametrize("text", ["RTX 4090*2", "Apple M4 Max 64GB", "64 GB DDR5-5600"])
def test_a_machine_that_is_named_stays_as_it_is(catalog: Catalog, text: str) -> None:
    assert share_machine(catalog, text, find_machine(catalog, text)) == SharedMachine(text)


def test_the_machine_the_tests_run_on_can_be_shared(catalog: Catalog) -> None:
    machine = detect_machine()
    shared = share_machine(catalog, "this", machine)
    again = find_machine(catalog, shared.text)
    assert abs(again.usable_bytes - machine.usable_bytes) < GIB // 1000
    assert [d.name for d in again.accelerators] == [d.name for d in machine.accelerators] or machine.accelerators

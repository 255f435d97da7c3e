"""The hardware table against what makers publish: physics, golden figures and kinds that belong together.

`tests/golden/hardware_sheets.csv` holds figures of makers' data sheets and `hardware_chips.csv` bus widths, clocks and
units as a public database lists them: two sources that know nothing of the table, and of one another.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from catalog.devices import DEVICE_COLUMNS, build_device, fold_device_name, load_devices
from catalog.models import DATA_DIR
from catalog.store import Catalog
from sizing.hardware import Device, DeviceKind
from sizing.units import GIB, MIB

GOLDEN = Path(__file__).resolve().parents[1] / "golden"

DEVICES = {named.device.name: named.device for named in load_devices()}
ACCELERATORS = [d for d in DEVICES.values() if d.kind is not DeviceKind.CPU]


def read_rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


TABLE = read_rows(DATA_DIR / "hardware.csv")
SHEETS = read_rows(GOLDEN / "hardware_sheets.csv")
CHIPS = read_rows(GOLDEN / "hardware_chips.csv")

# AI TOPS are counted with sparsity, in the narrowest type a generation has, with its fastest sums. Dense 16 bit with
# 32-bit sums is an eighth on GeForce RTX 40 (FP8, and half rate for the sums: 2 x 2 x 2) and on RTX PRO and GB10 (FP4),
# a sixteenth on GeForce RTX 50 (FP4, and half rate for the sums).
AI_TOPS_PER_FLOP = {"RTX 50": 16, "RTX 40": 8, "RTX PR": 8, "DGX Sp": 8}


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda s: s["name"])
def test_agrees_with_its_data_sheet(sheet: dict[str, str]) -> None:
    """Sheets round to two or three digits."""
    device = DEVICES[sheet["name"]]
    assert device.bandwidth_bytes_per_s == pytest.approx(float(sheet["bandwidth_gb_s"]) * 1e9, rel=0.006)
    for column, rate in (("fp16_tflops", device.fp16_flops), ("fp8_tflops", device.fp8_flops)):
        if sheet[column]:
            assert rate == pytest.approx(float(sheet[column]) * 1e12, rel=0.015), column
    if sheet["ai_tops"]:
        share = AI_TOPS_PER_FLOP[device.name[:6]]
        assert device.fp16_flops == pytest.approx(float(sheet["ai_tops"]) * 1e12 / share, rel=0.01)
    if sheet["power_watts"]:
        assert device.power_watts == int(sheet["power_watts"])


def test_enough_sheets_of_every_maker() -> None:
    vendor = {row["name"]: row["vendor"] for row in TABLE}
    counts = Counter(vendor[sheet["name"]] for sheet in SHEETS)
    assert counts["NVIDIA"] >= 60
    assert min(counts["AMD"], counts["Apple"], counts["Intel"]) >= 10
    assert all(s["source_url"].startswith("http") and s["as_of"] and s["how"] in ("read", "recalled") for s in SHEETS)


# The maker states another rate than the listed memory clock gives.
STATED_BANDWIDTH = {"H200 NVL 141GB", "Instinct MI25"}


@pytest.mark.parametrize("chip", CHIPS, ids=lambda c: c["name"])
def test_bandwidth_is_bus_width_times_data_rate(chip: dict[str, str]) -> None:
    expected = int(chip["bus_bits"]) * float(chip["gbit_per_s_per_pin"]) * 1e9 / 8
    if chip["name"] not in STATED_BANDWIDTH:
        assert DEVICES[chip["name"]].bandwidth_bytes_per_s == pytest.approx(expected, rel=0.012)


# Operations per clock of one tensor core (NVIDIA) or one shader (others) in 16 bit with 32-bit sums, two for each
# multiply-add. Sums in 32 bit run at half rate on GeForce.
RATE = {
    "volta": 128,
    "turing": 128,
    "ampere": 256,
    "ada": 256,
    "blackwell": 256,
    "gcn4": 2,
    "gcn5": 4,
    "rdna1": 4,
    "rdna2": 4,
    "rdna3": 8,
    "rdna4": 16,
    "cdna1": 16,
    "cdna2": 16,
    "alchemist": 16,
    "battlemage": 16,
    "xe-hpc": 32,
}
# Their rate is what the maker states, not units x clock; notes or hardware.md say why.
STATED_RATE = {
    "A10G",
    "L4",
    "L20",
    "L40",
    "L40S",
    "Instinct MI50 16GB",
    "Instinct MI50 32GB",
    "RTX 5090 D",
    "RTX 5090 D V2",
    "RTX PRO 4000 SFF Blackwell",
    "RTX PRO 4500 Blackwell",
    "RTX PRO 5000 Blackwell 48GB",
    "RTX PRO 5000 Blackwell 72GB",
    "Radeon PRO W7700",
    "Arc A750",
    "Arc A770 8GB",
}


def _ops_per_clock(device: Device) -> float:
    rate: float = RATE[device.architecture]
    if device.name.startswith(("A30", "A100", "A800", "Jetson AGX Orin", "Jetson Orin")):
        return 2 * rate  # the data-centre chip of Ampere and the Jetsons have tensor cores twice as wide
    if device.name.startswith(("RTX 20", "RTX 30", "RTX 40", "RTX 50", "TITAN RTX")) and " Ada" not in device.name:
        return rate / 2  # GeForce
    return rate


@pytest.mark.parametrize("chip", CHIPS, ids=lambda c: c["name"])
def test_rate_per_unit_and_clock_is_that_of_its_generation(chip: dict[str, str]) -> None:
    device = DEVICES[chip["name"]]
    if device.architecture not in RATE or device.name in STATED_RATE or "T4000" in device.name or "Thor" in device.name:
        return
    if chip["units"] == "0":  # GTX 16: packed arithmetic of the shaders
        assert any("packed" in note for note in device.notes)
        return
    expected = int(chip["units"]) * float(chip["boost_mhz"]) * 1e6 * _ops_per_clock(device)
    # Jetson rates are stated in whole TOPS
    assert device.fp16_flops == pytest.approx(expected, rel=0.03 if "Jetson" in device.name else 0.006)


@pytest.mark.parametrize("chip", [c for c in CHIPS if c["interface"]], ids=lambda c: c["name"])
def test_link_is_that_of_its_interface(chip: dict[str, str]) -> None:
    """GB/s per lane after encoding: https://en.wikipedia.org/wiki/PCI_Express"""
    generation, lanes = chip["interface"].removeprefix("PCIe ").split(" x")
    per_lane = {"3.0": 15.754 / 16, "4.0": 31.508 / 16, "5.0": 63.015 / 16}[generation]
    assert DEVICES[chip["name"]].link_bytes_per_s == pytest.approx(per_lane * int(lanes) * 1e9, rel=0.001)


def test_sparse_rates_never_enter() -> None:
    """The fastest parts sold do 2.5 PFLOPS dense in 16 bit and 5 in 8 bit (GB200, MI355X)."""
    for device in ACCELERATORS:
        assert device.fp16_flops is None or device.fp16_flops <= 2.52e15, device.name
        assert device.fp8_flops is None or device.fp8_flops <= 5.04e15, device.name


HAS_BF16 = {"ampere", "ada", "hopper", "blackwell", "rdna3", "rdna3.5", "rdna4", "cdna1", "cdna2", "cdna3", "cdna4"} | {
    "alchemist",
    "battlemage",
    "xe-hpc",
    "gaudi2",
    "gaudi3",
}
HAS_FP8 = {"ada", "hopper", "blackwell", "rdna4", "cdna3", "cdna4", "gaudi2", "gaudi3"}


@pytest.mark.parametrize("device", ACCELERATORS, ids=lambda d: d.name)
def test_types_are_those_of_the_generation(device: Device) -> None:
    assert (device.bf16_flops is not None) == (device.architecture in HAS_BF16)
    assert (device.fp8_flops is not None) == (device.architecture in HAS_FP8)
    if device.bf16_flops and device.fp16_flops and device.architecture != "cdna1":
        assert device.bf16_flops == device.fp16_flops
    if device.fp8_flops and device.fp16_flops:
        assert device.fp8_flops == pytest.approx(2 * device.fp16_flops, rel=0.015)


BACKENDS = {
    "cuda": {"maxwell", "pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell"},
    "rocm": {"gcn5", "rdna2", "rdna3", "rdna3.5", "rdna4", "cdna1", "cdna2", "cdna3", "cdna4"},
    "vulkan": {"gcn4", "rdna1", "rdna3.5"},
    "sycl": {"alchemist", "battlemage", "xe-hpc"},
    "hpu": {"gaudi2", "gaudi3"},
    "metal": {"m1", "m2", "m3", "m4", "m5"},
}
VENDORS = {"cuda": "NVIDIA", "rocm": "AMD", "vulkan": "AMD", "sycl": "Intel", "hpu": "Intel", "metal": "Apple"}


@pytest.mark.parametrize("row", TABLE, ids=lambda r: r["name"])
def test_what_belongs_together(row: dict[str, str]) -> None:
    device = DEVICES[row["name"]]
    if device.kind is DeviceKind.CPU:
        assert device.memory_type in ("ddr", "lpddr")
        assert (row["vendor"] == "generic") == (device.architecture == "")
        return
    assert device.architecture in BACKENDS[device.backend]
    assert row["vendor"] == VENDORS[device.backend]
    if device.kind is DeviceKind.GPU:
        assert device.memory_type in ("hbm", "gddr")
        if device.memory_bytes > 96 * GIB:
            assert device.memory_type == "hbm"
    else:
        assert device.memory_type == ("hbm" if device.name == "Instinct MI300A" else "lpddr")
        assert device.link_bytes_per_s is None
        assert 0.3 <= device.usable_bytes / device.memory_bytes <= 0.95 or device.memory_bytes < 8 * GIB
    assert device.power_watts is not None
    assert device.power_watts <= 1400


def test_apple_may_use_two_thirds_or_three_quarters() -> None:
    """recommendedMaxWorkingSetSize as reported: hardware.md names where."""
    for device in ACCELERATORS:
        if device.backend == "metal":
            share = 2 / 3 if device.memory_bytes <= 36 * GIB else 3 / 4
            assert device.usable_bytes == pytest.approx(device.memory_bytes * share, abs=MIB), device.name


# The memory sizes each chip was sold with in Macs: https://support.apple.com/specs
APPLE_SIZES = {
    "M1": (8, 16),
    "M1 Pro": (16, 32),
    "M1 Max": (32, 64),
    "M1 Ultra": (64, 128),
    "M2": (8, 16, 24),
    "M2 Pro": (16, 32),
    "M2 Max": (32, 64, 96),
    "M2 Ultra": (64, 128, 192),
    "M3": (8, 16, 24),
    "M3 Pro": (18, 36),
    "M3 Max": (36, 48, 64, 96, 128),
    "M3 Ultra": (96, 256, 512),
    "M4": (16, 24, 32),
    "M4 Pro": (24, 48, 64),
    "M4 Max": (36, 48, 64, 128),
    "M5": (16, 24, 32),
    "M5 Pro": (24, 48, 64),
    "M5 Max": (36, 48, 64, 128),
    "M5 Ultra": (96, 256),
}


def test_apple_chips_in_each_memory_size() -> None:
    listed = {name for name in DEVICES if name.startswith("Apple ")}
    assert listed == {f"Apple {chip} {size}GB" for chip, sizes in APPLE_SIZES.items() for size in sizes}


# Bus widths in bits and LPDDR rates in Gbit/s per pin: https://en.wikipedia.org/wiki/Apple_silicon.
# Apple rounds, mostly down.
APPLE_BUS = {
    "Apple M1 16GB": (128, 4.266),
    "Apple M1 Max 64GB": (512, 6.4),
    "Apple M1 Ultra 128GB": (1024, 6.4),
    "Apple M2 16GB": (128, 6.4),
    "Apple M2 Pro 32GB": (256, 6.4),
    "Apple M3 Pro 36GB": (192, 6.4),
    "Apple M3 Max 36GB": (384, 6.4),
    "Apple M3 Max 128GB": (512, 6.4),
    "Apple M3 Ultra 512GB": (1024, 6.4),
    "Apple M4 16GB": (128, 7.5),
    "Apple M4 Pro 48GB": (256, 8.533),
    "Apple M4 Max 36GB": (384, 8.533),
    "Apple M4 Max 128GB": (512, 8.533),
    "Apple M5 16GB": (128, 9.6),
    "Apple M5 Pro 48GB": (256, 9.6),
    "Apple M5 Max 36GB": (384, 9.6),
    "Apple M5 Max 128GB": (512, 9.6),
    "Apple M5 Ultra 256GB": (1024, 9.6),
    "DGX Spark 128GB": (256, 8.533),
    "Ryzen AI Max+ 395 128GB": (256, 8.0),
    "Ryzen AI 9 HX 370 32GB": (128, 7.5),
}


@pytest.mark.parametrize("name", APPLE_BUS)
def test_bandwidth_of_shared_memory_is_bus_times_rate(name: str) -> None:
    bits, rate = APPLE_BUS[name]
    peak = bits * rate * 1e9 / 8
    bandwidth = DEVICES[name].bandwidth_bytes_per_s
    assert bandwidth is not None
    assert 0.97 * peak <= bandwidth <= 1.002 * peak


@pytest.mark.parametrize("row", [r for r in TABLE if r["kind"] == "cpu"], ids=lambda r: r["name"])
def test_hosts_are_channels_times_speed(row: dict[str, str]) -> None:
    channels, _, rest = row["notes"].partition(" channels of 64 bit at ")
    speed = rest.split(" MT/s")[0]
    assert int(row["bandwidth_bytes_per_s"]) == int(channels) * 8 * int(speed) * 10**6
    assert f"-{speed}" in row["name"]


# Channels a socket has: AMD https://en.wikipedia.org/wiki/Epyc and https://en.wikipedia.org/wiki/Threadripper,
# Intel https://en.wikipedia.org/wiki/Xeon
CHANNELS = {
    "Epyc 7002": 8,
    "Epyc 7003": 8,
    "Epyc 8004": 6,
    "Epyc 9004": 12,
    "Epyc 9005": 12,
    "Threadripper 7000": 4,
    "Threadripper 9000": 4,
    "Threadripper PRO": 8,
    "Xeon Scalable 2nd Gen": 6,
    "Xeon Scalable 3rd Gen": 8,
    "Xeon Scalable 4th Gen": 8,
    "Xeon Scalable 5th Gen": 8,
    "Xeon 6700": 8,
    "Xeon 6900": 12,
    "Xeon W-2400": 4,
    "Xeon W-3400": 8,
    "PC DDR": 2,
}


@pytest.mark.parametrize("family", CHANNELS)
def test_hosts_have_the_channels_of_their_socket(family: str) -> None:
    found = [d for d in DEVICES.values() if family in d.name and d.kind is DeviceKind.CPU]
    assert found
    assert all(d.notes[0].startswith(f"{CHANNELS[family]} channels") for d in found)


def test_enough_devices_of_every_sort() -> None:
    kinds = Counter((row["vendor"], row["kind"]) for row in TABLE)
    assert sum(kinds.values()) >= 400
    assert kinds["NVIDIA", "gpu"] >= 150
    assert kinds["AMD", "gpu"] >= 60
    assert kinds["Intel", "gpu"] >= 20
    assert kinds["Apple", "unified"] >= 50
    assert sum(n for (_, kind), n in kinds.items() if kind == "cpu") >= 80


def test_unknown_is_empty_never_zero() -> None:
    for row in TABLE:
        for column in ("bandwidth_bytes_per_s", "fp16_flops", "bf16_flops", "fp8_flops", "link_bytes_per_s"):
            assert not row[column] or float(row[column]) > 1e9, (row["name"], column)
        for column in ("power_watts", "price_usd"):
            assert not row[column] or int(row[column]) > 0, (row["name"], column)
        assert "nan" not in row["fp16_flops"].lower()


def test_prices_have_a_source_and_are_plausible() -> None:
    """Within what such parts cost: a card below 50 dollars or above 60,000 is a slip of a digit."""
    for row in TABLE:
        assert bool(row["price_usd"]) == bool(row["price_source_url"]), row["name"]
        assert not row["price_usd"] or 50 <= int(row["price_usd"]) <= 60000, row["name"]
        if "laptop" in row["name"].lower():
            assert not row["price_usd"], "a laptop's GPU is not sold alone"


def test_a_row_fills_every_field_of_a_device(catalog: Catalog) -> None:
    (row,) = catalog.fetch(f"SELECT {', '.join(DEVICE_COLUMNS)} FROM hardware WHERE name = 'RTX 4090'")
    named = build_device(row)
    assert named.device == DEVICES["RTX 4090"]
    assert (named.device.architecture, named.device.memory_type) == ("ada", "gddr")
    assert (named.device.power_watts, named.device.price_usd) == (450, 1600)
    assert named.device.link_bytes_per_s == 31508e6
    assert (named.device.bf16_flops, named.device.fp8_flops) == (1.652e14, 3.304e14)


# As NVML, amdgpu and Metal give them, from public logs.
@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100 SXM 80GB"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM 80GB"),
        ("NVIDIA H100 PCIe", "H100 PCIe 80GB"),
        ("NVIDIA GH200 480GB", "GH200 96GB"),
        ("NVIDIA GB10", "DGX Spark 128GB"),
        ("Tesla V100-SXM2-32GB", "V100 SXM2 32GB"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000 Blackwell Server"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000 Blackwell"),
        ("NVIDIA RTX 3500 Ada Generation Laptop GPU", "RTX 3500 Ada Laptop"),
        ("NVIDIA RTX A3000 12GB Laptop GPU", "RTX A3000 Laptop 12GB"),
        ("NVIDIA GeForce RTX 3050 6GB Laptop GPU", "RTX 3050 Laptop 6GB"),
        ("AMD Radeon RX 9070 XT", "RX 9070 XT"),
        ("AMD Instinct MI300X", "Instinct MI300X"),
        ("Intel(R) Arc(TM) B580 Graphics", "Arc B580"),
    ],
)
def test_names_that_drivers_give_are_found(said: str, name: str) -> None:
    names = {fold_device_name(n): k.device.name for k in load_devices() for n in (k.device.name, *k.aliases)}
    assert names[fold_device_name(said)] == name

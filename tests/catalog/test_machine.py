"""Machine detection against captured descriptions of real systems, laid out as file trees and fake libraries."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from catalog import probes
from catalog.bandwidth import best_rate, measure_host_bandwidth
from catalog.machine import detect_machine, reserve_bytes
from catalog.system import Nvml, System, run_command
from sizing.hardware import DeviceKind, Machine
from sizing.units import GIB, KIB, MIB

X86_CPUINFO = """\
processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD Ryzen 9 7950X 16-Core Processor
physical id\t: 0
core id\t\t: 0
flags\t\t: fpu sse4_2 avx f16c fma avx2 avx512f avx512_vnni avx512_bf16

processor\t: 1
model name\t: AMD Ryzen 9 7950X 16-Core Processor
physical id\t: 0
core id\t\t: 1
flags\t\t: fpu sse4_2 avx f16c fma avx2 avx512f avx512_vnni avx512_bf16

processor\t: 2
model name\t: AMD Ryzen 9 7950X 16-Core Processor
physical id\t: 0
core id\t\t: 0
flags\t\t: fpu sse4_2 avx f16c fma avx2 avx512f avx512_vnni avx512_bf16

processor\t: 3
model name\t: AMD Ryzen 9 7950X 16-Core Processor
physical id\t: 0
core id\t\t: 1
flags\t\t: fpu sse4_2 avx f16c fma avx2 avx512f avx512_vnni avx512_bf16
"""
ARM_CPUINFO = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes asimdhp asimddp

processor\t: 1
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes asimdhp asimddp

Hardware\t: BCM2835
"""
MEMINFO = "MemTotal:       32768000 kB\nMemFree:         2000000 kB\nMemAvailable:   28672000 kB\nBuffers: 1 kB\n"

# amdgpu.ids of libdrm: https://gitlab.freedesktop.org/mesa/drm/-/blob/main/data/amdgpu.ids
AMDGPU_IDS = """\
# List of AMDGPU IDs
1.0.0
744C,\tC8,\tAMD Radeon RX 7900 XTX
744C,\tCC,\tAMD Radeon RX 7900 XT
1586,\tC1,\tAMD Radeon 8060S Graphics
15BF,\t04,\tAMD Radeon 780M Graphics
"""


@dataclass
class FakeMemory:
    total: int
    free: int


@dataclass
class FakeCard:
    name: str | bytes
    total: int = 0
    free: int = 0
    clock: int | None = None
    width: int | None = None


@dataclass
class FakeNvml:
    """Answers as pynvml does; a value of None raises, like a card that does not support the question."""

    cards: Sequence[FakeCard] = ()
    init_error: Exception | None = None
    driver: str | bytes = "580.95.05"
    closed: list[bool] = field(default_factory=list)

    def nvmlInit(self) -> None:
        if self.init_error:
            raise self.init_error

    def nvmlShutdown(self) -> None:
        self.closed.append(True)

    def nvmlSystemGetDriverVersion(self) -> str | bytes:
        return self.driver

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        return self.cards[index]

    def nvmlDeviceGetName(self, handle: Any) -> str | bytes:
        name: str | bytes = handle.name
        return name

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:
        if handle.total == 0:
            raise RuntimeError("Not Supported")
        return FakeMemory(handle.total, handle.free)

    def nvmlDeviceGetMaxClockInfo(self, handle: Any, kind: int) -> int:
        assert kind == 2  # NVML_CLOCK_MEM in nvml.h
        if handle.clock is None:
            raise RuntimeError("Not Supported")
        return int(handle.clock)

    def nvmlDeviceGetMemoryBusWidth(self, handle: Any) -> int:
        if handle.width is None:
            raise RuntimeError("Not Supported")
        return int(handle.width)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def lay_out(tmp_path: Path, files: dict[str, str] | None = None, **changes: Any) -> System:
    """A Linux PC with 31.25 GiB of RAM and no cards, plus the given files and other changes."""
    write(tmp_path, {"proc/cpuinfo": X86_CPUINFO, "proc/meminfo": MEMINFO, "amdgpu.ids": AMDGPU_IDS, **(files or {})})
    values: dict[str, Any] = {
        "os_name": "linux",
        "processor": "x86_64",
        "proc": tmp_path / "proc",
        "sys": tmp_path / "sys",
        "amdgpu_ids": tmp_path / "amdgpu.ids",
        "run": lambda command: None,
        "nvml": lambda: None,
        "bandwidth": lambda: 60e9,
    }
    return System(**{**values, **changes})


def with_nvml(tmp_path: Path, nvml: Nvml) -> System:
    return lay_out(tmp_path, {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64"}, nvml=lambda: nvml)


def drm(card: str, **files: str) -> dict[str, str]:
    return {f"sys/class/drm/{card}/device/{name}": text for name, text in files.items()}


def notes_of(machine: Machine) -> str:
    return "\n".join(note for d in (machine.host, *machine.accelerators) for note in d.notes)


# the host


def test_cpu_of_a_desktop() -> None:
    cpu = probes.parse_cpuinfo(X86_CPUINFO)
    assert cpu.name == "AMD Ryzen 9 7950X 16-Core Processor"
    assert (cpu.n_cores, cpu.n_threads) == (2, 4)
    assert cpu.instruction_sets == (
        "SSE4.2",
        "AVX",
        "F16C",
        "FMA",
        "AVX2",
        "AVX-512",
        "AVX512-VNNI",
        "AVX512-BF16",
    )


def test_cpu_of_a_small_arm_board() -> None:
    cpu = probes.parse_cpuinfo(ARM_CPUINFO)
    assert cpu.name == "BCM2835"
    assert (cpu.n_cores, cpu.n_threads) == (None, 2)
    assert cpu.instruction_sets == ("NEON", "DOTPROD")


@pytest.mark.parametrize("text", ["", "\n\n", "nonsense", "processor\n: :\n"])
def test_cpu_of_nonsense_is_unknown(text: str) -> None:
    cpu = probes.parse_cpuinfo(text)
    assert (cpu.name, cpu.n_cores, cpu.instruction_sets) == (None, None, ())


def test_memory_of_old_and_new_kernels() -> None:
    assert probes.parse_meminfo(MEMINFO) == probes.MemoryInfo(32768000 * KIB, 28672000 * KIB)
    old = "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 20 kB\nCached: 300 kB\n"
    assert probes.parse_meminfo(old) == probes.MemoryInfo(1000 * KIB, 420 * KIB)
    assert probes.parse_meminfo("") is None


def test_host_of_a_desktop(tmp_path: Path) -> None:
    machine = detect_machine(system=lay_out(tmp_path))
    host = machine.host
    assert machine.accelerators == ()
    assert machine.name == host.name == "AMD Ryzen 9 7950X 16-Core Processor"
    assert host.memory_bytes == 32768000 * KIB
    assert host.usable_bytes == 28672000 * KIB - reserve_bytes(32768000 * KIB)
    assert host.n_cores == 2
    assert "AVX2" in host.instruction_sets
    assert host.bandwidth_bytes_per_s == 60e9


def test_reserve_is_a_share_within_bounds() -> None:
    assert reserve_bytes(2 * GIB) == 512 * MIB
    assert reserve_bytes(40 * GIB) == 2 * GIB
    assert reserve_bytes(1024 * GIB) == 4 * GIB


def test_container_limit_of_version_2(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/system.slice/app"
    files = {
        "proc/self/cgroup": "0::/system.slice/app\n",
        f"{group}/memory.max": "max\n",
        "sys/fs/cgroup/system.slice/memory.max": str(8 * GIB),
        "sys/fs/cgroup/system.slice/memory.current": str(3 * GIB),
        "sys/fs/cgroup/system.slice/memory.stat": f"anon 5\ninactive_file {1 * GIB}\n",
    }
    system = lay_out(tmp_path, files)
    assert probes.read_memory_limit(system.proc, system.sys) == probes.MemoryLimit(8 * GIB, 2 * GIB)
    host = detect_machine(system=system).host
    assert host.memory_bytes == 8 * GIB
    assert host.usable_bytes == 6 * GIB - reserve_bytes(8 * GIB)
    assert "container limit of 8.00" in notes_of(detect_machine(system=system))


def test_container_limit_of_version_2_inside_the_container(tmp_path: Path) -> None:
    """Inside, the group's own path is hidden and its files stand at the root of the tree."""
    files = {
        "proc/self/cgroup": "0::/../../docker/abc\n",
        "sys/fs/cgroup/memory.max": str(4 * GIB),
        "sys/fs/cgroup/memory.current": str(1 * GIB),
        "sys/fs/cgroup/cpu.max": "150000 100000\n",
    }
    system = lay_out(tmp_path, files)
    host = detect_machine(system=system).host
    assert host.memory_bytes == 4 * GIB
    assert probes.read_cpu_quota(system.sys) == 1.5
    assert any("1.5 processors" in note for note in host.notes)


def test_container_limit_of_version_1(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "11:cpu,cpuacct:/\n4:memory:/docker/abc\n",
        "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": str(2 * GIB),
        "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": str(1 * GIB),
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
    }
    system = lay_out(tmp_path, files)
    assert probes.read_memory_limit(system.proc, system.sys) == probes.MemoryLimit(2 * GIB, 1 * GIB)


@pytest.mark.parametrize("limit", ["max", "9223372036854771712", "", "garbage"])
def test_no_container_limit(tmp_path: Path, limit: str) -> None:
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": limit}
    system = lay_out(tmp_path, files)
    assert probes.read_memory_limit(system.proc, system.sys) is None
    assert detect_machine(system=system).host.memory_bytes == 32768000 * KIB


def test_container_already_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": str(1 * GIB),
        "sys/fs/cgroup/memory.current": str(2 * GIB),
    }
    assert detect_machine(system=lay_out(tmp_path, files)).host.usable_bytes == 0


# NVIDIA


def test_nvidia_card_with_all_answers(tmp_path: Path) -> None:
    """10501 MHz and 384 bit are the 1008 GB/s of the RTX 4090's data sheet; nvidia-smi shows 24,564 MiB."""
    nvml = FakeNvml([FakeCard("NVIDIA GeForce RTX 4090", 24564 * MIB, 23900 * MIB, clock=10501, width=384)])
    machine = detect_machine(system=with_nvml(tmp_path, nvml))
    (card,) = machine.accelerators
    assert card.kind is DeviceKind.GPU
    assert card.backend == "cuda"
    assert (card.memory_bytes, card.usable_bytes) == (24564 * MIB, 23900 * MIB)
    assert card.bandwidth_bytes_per_s == pytest.approx(1008e9, rel=0.001)
    assert card.fp16_flops == pytest.approx(165.2e12, rel=0.01)
    assert (card.architecture, card.memory_type, card.power_watts, card.price_usd) == ("ada", "gddr", 450, None)
    assert card.fp8_flops == pytest.approx(330.3e12, rel=0.01)
    assert "driver 580.95.05" in card.notes
    assert machine.name.endswith("with NVIDIA GeForce RTX 4090")
    assert nvml.closed == [True]


@pytest.mark.parametrize(
    ("clock", "width", "bandwidth"),
    [(9751, 384, 936.2e9), (2619, 5120, 3352e9), (14001, 512, 1792e9), (5001, 256, 320e9), (3996, 7680, 7672e9)],
    ids=["RTX 3090", "H100 SXM", "RTX 5090", "T4", "B200"],
)
def test_nvidia_bandwidth_from_clock_and_width(tmp_path: Path, clock: int, width: int, bandwidth: float) -> None:
    """Clocks as nvidia-smi shows them, bandwidth as the data sheets state it."""
    nvml = FakeNvml([FakeCard("Some card", 8 * GIB, 8 * GIB, clock, width)])
    (card,) = detect_machine(system=with_nvml(tmp_path, nvml)).accelerators
    assert card.bandwidth_bytes_per_s == pytest.approx(bandwidth, rel=0.001)


def test_nvidia_card_that_keeps_its_clock_secret_is_looked_up(tmp_path: Path) -> None:
    nvml = FakeNvml([FakeCard(b"NVIDIA GeForce RTX 3090", 24 * GIB, 20 * GIB)], driver=b"470.1")
    (card,) = detect_machine(system=with_nvml(tmp_path, nvml)).accelerators
    assert card.bandwidth_bytes_per_s == 936.2e9
    assert {"driver 470.1", "bandwidth from the hardware table"} <= set(card.notes)


@pytest.mark.parametrize(
    ("name", "memory_mib", "bandwidth"),
    [("NVIDIA GeForce RTX 3060", 12288, 360e9), ("NVIDIA GeForce RTX 3060", 8192, 240e9), ("Tesla T4", 15360, 320e9)],
)
def test_nvidia_card_is_looked_up_in_its_memory_size(
    tmp_path: Path, name: str, memory_mib: int, bandwidth: float
) -> None:
    """The RTX 3060 was sold with 192 and with 128 bit; the T4 shows 15 of its 16 GiB."""
    nvml = FakeNvml([FakeCard(name, memory_mib * MIB, memory_mib * MIB)])
    (card,) = detect_machine(system=with_nvml(tmp_path, nvml)).accelerators
    assert card.bandwidth_bytes_per_s == bandwidth


def test_unlisted_nvidia_card_has_unknown_speed(tmp_path: Path) -> None:
    nvml = FakeNvml([FakeCard("NVIDIA Prototype 9000", 24 * GIB, 20 * GIB)])
    (card,) = detect_machine(system=with_nvml(tmp_path, nvml)).accelerators
    assert (card.bandwidth_bytes_per_s, card.fp16_flops) == (None, None)
    assert "bandwidth unknown" in notes_of(detect_machine(system=with_nvml(tmp_path, nvml)))


def test_two_nvidia_cards_of_which_one_is_silent(tmp_path: Path) -> None:
    nvml = FakeNvml([FakeCard("NVIDIA GeForce RTX 3090", 24 * GIB, 24 * GIB), FakeCard("NVIDIA Broken")])
    machine = detect_machine(system=with_nvml(tmp_path, nvml))
    assert [d.name for d in machine.accelerators] == ["NVIDIA GeForce RTX 3090"]
    assert "NVIDIA Broken: its driver does not tell its memory" in notes_of(machine)


def test_dgx_spark_shares_the_hosts_memory(tmp_path: Path) -> None:
    """NVML does not tell the memory of a GB10."""
    machine = detect_machine(system=with_nvml(tmp_path, FakeNvml([FakeCard("NVIDIA GB10")])))
    assert machine.is_unified
    assert machine.accelerators[0].memory_bytes == 32768000 * KIB
    assert machine.accelerators[0].bandwidth_bytes_per_s == 273e9


def test_nvidia_driver_that_does_not_answer_is_said(tmp_path: Path) -> None:
    machine = detect_machine(system=with_nvml(tmp_path, FakeNvml(init_error=OSError("driver/library mismatch"))))
    assert machine.accelerators == ()
    assert "does not answer: driver/library mismatch" in notes_of(machine)


def test_no_nvidia_driver_is_not_worth_a_word(tmp_path: Path) -> None:
    system = lay_out(tmp_path, nvml=lambda: FakeNvml(init_error=RuntimeError("NVML Shared Library Not Found")))
    assert "NVIDIA" not in notes_of(detect_machine(system=system))


# AMD


def amd_card(card: str, device: str, revision: str, vram: int, used: int, gtt: int) -> dict[str, str]:
    return drm(
        card,
        vendor="0x1002\n",
        device=f"{device}\n",
        revision=f"{revision}\n",
        mem_info_vram_total=f"{vram}\n",
        mem_info_vram_used=f"{used}\n",
        mem_info_gtt_total=f"{gtt}\n",
    )


def test_amd_card(tmp_path: Path) -> None:
    files = amd_card("card1", "0x744c", "0xc8", 24 * GIB, 1 * GIB, 16 * GIB)
    files |= {"sys/class/drm/card1-DP-1/status": "connected", "sys/class/drm/renderD128/dev": "226:128"}
    (card,) = detect_machine(system=lay_out(tmp_path, files)).accelerators
    assert card.name == "AMD Radeon RX 7900 XTX"
    assert card.kind is DeviceKind.GPU
    assert card.backend == "rocm"
    assert (card.memory_bytes, card.usable_bytes) == (24 * GIB, 23 * GIB)
    assert card.bandwidth_bytes_per_s == 960e9


def test_unknown_amd_card_keeps_its_number(tmp_path: Path) -> None:
    files = amd_card("card0", "0xffff", "0x00", 16 * GIB, 0, 16 * GIB)
    (card,) = detect_machine(system=lay_out(tmp_path, files)).accelerators
    assert card.name == "AMD GPU 0xffff"
    assert card.bandwidth_bytes_per_s is None
    assert any("unknown" in note for note in card.notes)


def test_small_integrated_graphics_are_said_and_not_counted(tmp_path: Path) -> None:
    files = amd_card("card0", "0x15bf", "0x04", 512 * MIB, 0, 15 * GIB)
    machine = detect_machine(system=lay_out(tmp_path, files))
    assert machine.accelerators == ()
    assert "AMD Radeon 780M Graphics shares RAM" in notes_of(machine)


def test_strix_halo_is_one_pool(tmp_path: Path) -> None:
    """4 GiB set aside in firmware and 96 GiB the driver may share (https://github.com/noamsto/nix-amd-ai/issues/42)."""
    files = amd_card("card1", "0x1586", "0xc1", 4 * GIB, 0, 96 * GIB)
    files["proc/meminfo"] = f"MemTotal: {124 * GIB // KIB} kB\nMemAvailable: {120 * GIB // KIB} kB\n"
    machine = detect_machine(system=lay_out(tmp_path, files))
    assert machine.is_unified
    (pool,) = machine.accelerators
    assert pool.memory_bytes == 128 * GIB
    assert pool.usable_bytes == 100 * GIB
    assert pool.bandwidth_bytes_per_s == 256e9
    assert machine.usable_bytes == 100 * GIB


def test_integrated_graphics_beside_a_card_do_not_count(tmp_path: Path) -> None:
    files = amd_card("card0", "0x1586", "0xc1", 4 * GIB, 0, 16 * GIB)
    files |= amd_card("card1", "0x744c", "0xc8", 24 * GIB, 0, 16 * GIB)
    machine = detect_machine(system=lay_out(tmp_path, files))
    assert [d.name for d in machine.accelerators] == ["AMD Radeon RX 7900 XTX"]
    assert "not counted beside the cards" in notes_of(machine)


def test_amd_card_without_memory_figures_is_said(tmp_path: Path) -> None:
    files = drm("card0", vendor="0x1002", device="0x744c", revision="0xc8", mem_info_vram_total="not a number")
    machine = detect_machine(system=lay_out(tmp_path, files))
    assert machine.accelerators == ()
    assert "RX 7900 XTX: its driver does not tell its memory" in notes_of(machine)


# Intel


@pytest.mark.parametrize(
    ("device", "window", "name", "memory", "bandwidth"),
    [
        ("0xe20b", 16 * GIB, "Intel Arc B580", 12 * GIB, 456e9),
        ("0x56a0", 16 * GIB, "Intel Arc A770", 16 * GIB, 560e9),
        ("0x56a0", 8 * GIB, "Intel Arc A770", 8 * GIB, None),
        ("0x56a1", 256 * MIB, "Intel Arc A750", 8 * GIB, 512e9),
    ],
    ids=["window wider than the card", "window as wide", "the smaller version", "window not resized"],
)
def test_intel_arc(tmp_path: Path, device: str, window: int, name: str, memory: int, bandwidth: float | None) -> None:
    """PCI windows are powers of two, so a card of 12 GiB shows one of 16."""
    start = 1 << 36
    resource = f"0x0000000050000000 0x0000000050ffffff 0x140204\n0x{start:x} 0x{start + window - 1:x} 0x14220c\n"
    files = drm("card0", vendor="0x8086", device=device, resource=resource)
    (card,) = detect_machine(system=lay_out(tmp_path, files)).accelerators
    assert (card.name, card.memory_bytes, card.backend) == (name, memory, "sycl")
    assert card.bandwidth_bytes_per_s == bandwidth
    assert any("free memory could not be read" in note for note in card.notes)
    assert 0 < card.usable_bytes < memory


def test_intel_driver_that_tells_its_memory(tmp_path: Path) -> None:
    files = drm("card0", vendor="0x8086", device="0x56a5") | {"sys/class/drm/card0/lmem_total_bytes": str(5 * GIB)}
    (card,) = detect_machine(system=lay_out(tmp_path, files)).accelerators
    assert card.memory_bytes == 5 * GIB
    assert "memory size from the hardware table" not in card.notes


def test_intel_integrated_graphics_are_said_and_not_counted(tmp_path: Path) -> None:
    machine = detect_machine(system=lay_out(tmp_path, drm("card0", vendor="0x8086", device="0x46a6")))
    assert machine.accelerators == ()
    assert "Intel graphics 0x46a6 share RAM" in notes_of(machine)


# Apple


def run_sysctl(values: dict[str, str]) -> Callable[[Sequence[str]], str | None]:
    return lambda command: values.get(command[-1])


def mac(tmp_path: Path, values: dict[str, str]) -> System:
    return lay_out(tmp_path, {"proc/cpuinfo": ""}, os_name="darwin", processor="arm64", run=run_sysctl(values))


def test_apple_chip(tmp_path: Path) -> None:
    values = {
        "machdep.cpu.brand_string": "Apple M4 Max\n",
        "hw.memsize": f"{64 * GIB}\n",
        "iogpu.wired_limit_mb": "0\n",
    }
    machine = detect_machine(system=mac(tmp_path, values))
    (gpu,) = machine.accelerators
    assert machine.is_unified
    assert machine.name == gpu.name == "Apple M4 Max"
    assert gpu.backend == "metal"
    assert (gpu.memory_bytes, gpu.usable_bytes) == (64 * GIB, 48 * GIB)
    assert gpu.bandwidth_bytes_per_s == 546e9
    assert machine.host.instruction_sets == ("NEON",)


def test_apple_wired_limit_wins(tmp_path: Path) -> None:
    """`sudo sysctl iogpu.wired_limit_mb=26000` on 32 GiB: https://github.com/AlexsJones/llmfit/issues/570"""
    values = {"machdep.cpu.brand_string": "Apple M1 Max", "hw.memsize": str(32 * GIB), "iogpu.wired_limit_mb": "26000"}
    (gpu,) = detect_machine(system=mac(tmp_path, values)).accelerators
    assert gpu.usable_bytes == 26000 * MIB


def test_apple_chip_of_tomorrow(tmp_path: Path) -> None:
    values = {"machdep.cpu.brand_string": "Apple M9", "hw.memsize": str(16 * GIB)}
    (gpu,) = detect_machine(system=mac(tmp_path, values)).accelerators
    assert gpu.usable_bytes == 16 * GIB * 2 // 3
    assert any("not in the hardware table" in note for note in gpu.notes)


def test_apple_working_set_by_size() -> None:
    """10.67 of 16 GiB: https://github.com/exo-explore/exo/pull/1672"""
    assert probes.apple_working_set_bytes(16 * GIB) == pytest.approx(10.67 * GIB, rel=0.001)
    assert probes.apple_working_set_bytes(36 * GIB) == 24 * GIB
    assert probes.apple_working_set_bytes(128 * GIB) == 96 * GIB
    assert probes.apple_working_set_bytes(16 * GIB, 99 * KIB) == 16 * GIB


# never raises


def fail(*_: Any, **__: Any) -> Any:
    raise PermissionError("no")


@pytest.mark.parametrize("part", ["run", "nvml", "bandwidth"])
def test_a_part_that_fails_costs_only_itself(tmp_path: Path, part: str) -> None:
    machine = detect_machine(system=lay_out(tmp_path, **{part: fail}))
    assert machine.host.memory_bytes > 0
    if part == "nvml":
        assert "NVIDIA cards could not be read: no" in notes_of(machine)
        assert machine.host.memory_bytes == 32768000 * KIB


def test_an_empty_system_still_gives_a_machine(tmp_path: Path) -> None:
    empty = lay_out(tmp_path / "full", proc=tmp_path / "nothing", sys=tmp_path / "nothing", bandwidth=lambda: None)
    machine = detect_machine(system=empty)
    assert machine.host.memory_bytes > 0
    assert "memory bandwidth could not be measured" in notes_of(machine)


def test_this_machine_is_read(tmp_path: Path) -> None:
    machine = detect_machine()
    total = probes.parse_meminfo(Path("/proc/meminfo").read_text())
    assert total is not None
    assert 0 < machine.host.memory_bytes <= total.total_bytes
    assert 0 <= machine.host.usable_bytes < machine.host.memory_bytes
    assert machine.host.n_cores is None or machine.host.n_cores >= 1


def test_commands_that_hang_fail_or_are_missing_give_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_command(["a-command-that-does-not-exist"]) is None
    assert run_command(["false"]) is None
    assert run_command(["echo", "hello"]) == "hello\n"
    monkeypatch.setattr("catalog.system.COMMAND_TIMEOUT_S", 0.1)
    began = time.perf_counter()
    assert run_command(["sleep", "5"]) is None
    assert time.perf_counter() - began < 3
    monkeypatch.setattr(subprocess, "run", fail)
    assert run_command(["echo", "hello"]) is None


# bandwidth


def test_best_rate_counts_whole_windows_only() -> None:
    """Windows of 0.05 s: two scans, then one, then one in a window that is not over."""
    assert best_rate(10.0, [10.01, 10.04, 10.07, 10.12], 100) == pytest.approx(2 * 100 / 0.05)
    assert best_rate(10.0, [10.01], 100) is None
    assert best_rate(10.0, [], 100) is None


def test_bandwidth_is_measured_quickly_and_plausibly() -> None:
    """Slower than 0.5 GB/s or faster than 2 TB/s no machine of today reads its RAM."""
    measure_host_bandwidth.cache_clear()
    began = time.perf_counter()
    measured = measure_host_bandwidth()
    spent = time.perf_counter() - began
    assert measured is None or 0.5e9 < measured < 2e12
    assert spent < 3
    assert measure_host_bandwidth() == measured


# by hand

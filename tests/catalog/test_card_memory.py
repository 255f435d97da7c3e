"""What drivers tell of the memory taken on their cards."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.card_memory import CardMemory, read_card_memory, read_driver_version
from catalog.system import System
from sizing.units import GIB


@dataclass
class Answer:
    """An object with whatever fields pynvml's would have."""

    total: int = 0
    free: int = 0
    busId: str | bytes = b""
    pid: int = 0
    usedGpuMemory: int | None = None


@dataclass
class FakeNvml:
    """Two cards; the second tells neither its address nor its processes."""

    is_broken: bool = False
    closed: list[bool] = field(default_factory=list)

    def nvmlInit(self) -> None:
        if self.is_broken:
            raise RuntimeError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:
        self.closed.append(True)

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.95.05"

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Answer:
        return Answer(total=24 * GIB, free=(20 - handle) * GIB)

    def nvmlDeviceGetPciInfo(self, handle: int) -> Answer:
        if handle:
            raise RuntimeError("Not Supported")
        return Answer(busId=b"00000000:C1:00.0")

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Answer]:
        if handle:
            raise RuntimeError("Insufficient Permissions")
        return [Answer(pid=7, usedGpuMemory=3 * GIB), Answer(pid=8, usedGpuMemory=None)]


def make_system(tmp_path: Path, nvml: Any = None) -> System:
    return System(os_name="linux", proc=tmp_path / "proc", sys=tmp_path / "sys", nvml=lambda: nvml)


def test_nvidia_cards_tell_what_a_process_holds(tmp_path: Path) -> None:
    nvml = FakeNvml()
    found = read_card_memory(7, make_system(tmp_path, nvml))
    assert found == (CardMemory("0000:c1:00.0", 4 * GIB, 3 * GIB), CardMemory("", 5 * GIB, None))
    assert nvml.closed == [True]


def test_a_process_that_is_not_listed_or_not_told_of_is_unknown(tmp_path: Path) -> None:
    for pid in (None, 8, 9):
        assert [c.process_bytes for c in read_card_memory(pid, make_system(tmp_path, FakeNvml()))] == [None, None]


def test_a_driver_that_does_not_answer_is_no_card(tmp_path: Path) -> None:
    assert read_card_memory(7, make_system(tmp_path, FakeNvml(is_broken=True))) == ()
    assert read_card_memory(7, make_system(tmp_path)) == ()
    assert read_driver_version(make_system(tmp_path, FakeNvml(is_broken=True))) == ""


def test_amd_cards_tell_what_is_taken_by_all(tmp_path: Path) -> None:
    folder = tmp_path / "sys" / "class" / "drm" / "card0" / "device"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text("0x1002\n")
    (folder / "mem_info_vram_total").write_text(f"{24 * GIB}\n")
    (folder / "mem_info_vram_used").write_text(f"{2 * GIB}\n")
    module = tmp_path / "sys" / "module" / "amdgpu"
    module.mkdir(parents=True)
    (module / "version").write_text("6.12.12\n")
    system = make_system(tmp_path)
    assert read_card_memory(7, system) == (CardMemory("", 2 * GIB),)
    assert read_driver_version(system) == "amdgpu 6.12.12"


def test_the_driver_has_a_version(tmp_path: Path) -> None:
    assert read_driver_version(make_system(tmp_path, FakeNvml())) == "NVIDIA 580.95.05"

"""How much of each card's memory is taken now, and by whom, as its driver tells it.

NVIDIA through NVML, AMD through the files of its Linux driver. Other drivers do not tell.
"""

from __future__ import annotations

from dataclasses import dataclass

from catalog import probes
from catalog.accelerators import AMD, ask, to_text
from catalog.system import Nvml, System


@dataclass(frozen=True, slots=True)
class CardMemory:
    """One card: its PCI address ('0000:01:00.0', '' where unknown) and bytes taken by everybody.

    `process_bytes` is what the driver books to the process asked about; None where it does not say, as in a container
    that numbers its processes anew.
    """

    bus_id: str
    used_bytes: int
    process_bytes: int | None = None


def read_card_memory(pid: int | None = None, system: System | None = None) -> tuple[CardMemory, ...]:
    """All cards that tell, in the order of their drivers; `pid` is the process asked about. Never raises."""
    system = system or System()
    return (*_read_nvidia(system.nvml(), pid), *_read_amd(system))


def read_driver_version(system: System | None = None) -> str:
    """The version of the accelerators' driver in words; '' where none tells it. Never raises."""
    system = system or System()
    nvml = system.nvml()
    if nvml is not None and _open(nvml):
        version = ask(lambda: to_text(nvml.nvmlSystemGetDriverVersion()))
        ask(nvml.nvmlShutdown)
        if version:
            return f"NVIDIA {version}"
    amd = probes.read_text(system.sys / "module" / "amdgpu" / "version")
    return f"amdgpu {amd}" if amd else ""


def _open(nvml: Nvml) -> bool:
    try:
        nvml.nvmlInit()
    except Exception:  # pynvml raises its own tree, and OSError where the driver is half installed
        return False
    return True


def _read_nvidia(nvml: Nvml | None, pid: int | None) -> tuple[CardMemory, ...]:
    if nvml is None or not _open(nvml):
        return ()
    try:
        found = (_read_nvidia_card(nvml, i, pid) for i in range(ask(nvml.nvmlDeviceGetCount) or 0))
        return tuple(card for card in found if card is not None)
    finally:
        ask(nvml.nvmlShutdown)


def _read_nvidia_card(nvml: Nvml, index: int, pid: int | None) -> CardMemory | None:
    handle = ask(lambda: nvml.nvmlDeviceGetHandleByIndex(index))
    memory = None if handle is None else ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    if memory is None:
        return None
    address = ask(lambda: to_text(nvml.nvmlDeviceGetPciInfo(handle).busId)) or ""
    running = ask(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle)) or ()
    booked = [p.usedGpuMemory for p in running if p.pid == pid and p.usedGpuMemory is not None]
    # NVML writes the domain with eight digits, others with four
    used = int(memory.total) - int(memory.free)
    return CardMemory(address.lower()[-12:], used, sum(booked) if booked else None)


def _read_amd(system: System) -> tuple[CardMemory, ...]:
    return tuple(
        CardMemory("", card.vram_used_bytes)
        for card in probes.list_drm_cards(system.sys)
        if card.vendor == AMD and card.vram_used_bytes is not None
    )

"""This machine: its memory, processor and accelerators.

Every part is optional. What cannot be read is said in the notes of the device it belongs to, and nothing raises: a
wrong guess about hardware is worse than none, and a page that fails to open is worse than both.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from catalog import probes
from catalog.accelerators import detect_amd, detect_apple, detect_intel, detect_nvidia
from catalog.devices import NamedDevice, load_devices
from catalog.system import System
from sizing.hardware import Device, DeviceKind, Machine
from sizing.units import GIB, MIB, format_bytes

T = TypeVar("T")

HOST_RESERVE = (0.05, 512 * MIB, 4 * GIB)
"""Share of RAM left to the system beyond what it uses now, at least and at most: room for it to breathe."""


def detect_machine(known: Sequence[NamedDevice] | None = None, system: System | None = None) -> Machine:
    """The machine this program runs on. Never raises: what could not be read is in the notes.

    `known` names devices whose bandwidth and compute are looked up (the catalog's own unless given). Takes up to half
    a second, most of it to measure memory bandwidth; callers keep the answer.
    """
    system = system or System()
    notes: list[str] = []
    if known is None:
        known = _try(load_devices, tuple[NamedDevice, ...](), notes, "the hardware table")
    host = _try(lambda: detect_host(system), _unknown_host(), notes, "memory and processor")
    apple = _try(lambda: detect_apple(system, host, known), None, notes, "the Apple GPU")
    if apple is not None:
        return unified_machine(apple, host)
    found: list[Device] = []
    nothing: tuple[list[Device], list[str]] = ([], [])
    for label, detect in (("NVIDIA", detect_nvidia), ("AMD", detect_amd), ("Intel", detect_intel)):
        devices, said = _try(partial(detect, system, host, known), nothing, notes, f"{label} cards")
        found += devices
        notes += said
    cards = tuple(d for d in found if d.kind is DeviceKind.GPU)
    unified = [d for d in found if d.kind is DeviceKind.UNIFIED]
    if unified and not cards:
        return unified_machine(unified[0], _add_notes(host, notes))
    notes += [f"{d.name} shares RAM and is not counted beside the cards" for d in unified]
    names = " + ".join(dict.fromkeys(d.name for d in cards))
    name = f"{host.name} with {len(cards)} x {names}" if len(cards) > 1 else f"{host.name} with {names}"
    return Machine(name if cards else host.name, _add_notes(host, notes), cards)


def detect_host(system: System) -> Device:
    """Main memory and processor. `memory_bytes` honours a container's limit.

    Usable is what could be taken now without swapping, less `HOST_RESERVE`.
    """
    notes: list[str] = []
    memory = probes.parse_meminfo(probes.read_text(system.proc / "meminfo") or "")
    if memory is None:
        memory = _read_memory_by_psutil()
    total, available = memory.total_bytes, memory.available_bytes
    limit = probes.read_memory_limit(system.proc, system.sys) if system.os_name.startswith("linux") else None
    if limit is not None and limit.limit_bytes < total:
        notes.append(
            f"a container limit of {format_bytes(limit.limit_bytes)} of {format_bytes(total)} RAM is respected"
        )
        total = limit.limit_bytes
        available = min(available, limit.limit_bytes - limit.used_bytes)
    cpu = probes.parse_cpuinfo(probes.read_text(system.proc / "cpuinfo") or "")
    name = cpu.name or (system.run(["sysctl", "-n", "machdep.cpu.brand_string"]) or "").strip() or platform.processor()
    n_cores = cpu.n_cores or _count_cores()
    if not name:
        notes.append("the processor's name could not be read")
    if n_cores is None:
        notes.append("the number of physical cores could not be read")
    if not cpu.instruction_sets and system.processor.lower() in ("x86_64", "amd64"):
        notes.append("the processor's instruction sets could not be read")
    is_arm = system.processor.lower() in ("arm64", "aarch64")
    quota = probes.read_cpu_quota(system.sys)
    if quota is not None and quota < (n_cores or os.cpu_count() or 1):
        notes.append(f"a container limit of {quota:g} processors applies")
    bandwidth = system.bandwidth()
    notes.append("memory bandwidth was measured" if bandwidth else "memory bandwidth could not be measured")
    usable = max(min(available, total) - reserve_bytes(total), 0)
    notes.append(
        f"usable: {format_bytes(max(available, 0))} free now, less {format_bytes(reserve_bytes(total))} reserve"
    )
    return Device(
        name=" ".join(name.split()) or "CPU",
        kind=DeviceKind.CPU,
        memory_bytes=total,
        usable_bytes=usable,
        bandwidth_bytes_per_s=bandwidth,
        n_cores=n_cores,
        instruction_sets=cpu.instruction_sets or (("NEON",) if is_arm else ()),
        notes=tuple(notes),
    )


def reserve_bytes(memory_bytes: int) -> int:
    """What is left to the system beyond its present use: `HOST_RESERVE`."""
    share, least, most = HOST_RESERVE
    return min(max(int(memory_bytes * share), least), most)


def unified_machine(device: Device, host: Device | None = None) -> Machine:
    """A machine whose host and accelerator are one pool; `host` gives the processor where it is known."""
    shared = Device(
        name=host.name if host else f"{device.name} (CPU)",
        kind=DeviceKind.CPU,
        memory_bytes=max(device.memory_bytes, host.memory_bytes if host else 0),
        usable_bytes=host.usable_bytes if host else device.usable_bytes,
        bandwidth_bytes_per_s=(host.bandwidth_bytes_per_s if host else None) or device.bandwidth_bytes_per_s,
        n_cores=host.n_cores if host else None,
        instruction_sets=host.instruction_sets if host else (),
        notes=(*(host.notes if host else ()), f"shares its memory with {device.name}"),
    )
    return Machine(device.name, shared, (device,))


def _add_notes(device: Device, notes: Sequence[str]) -> Device:
    return replace(device, notes=(*device.notes, *notes))


def _unknown_host() -> Device:
    return Device("CPU", DeviceKind.CPU, GIB, 0)


def _read_memory_by_psutil() -> probes.MemoryInfo:
    import psutil

    memory = psutil.virtual_memory()
    return probes.MemoryInfo(int(memory.total), int(memory.available))


def _count_cores() -> int | None:
    import psutil

    count: int | None = psutil.cpu_count(logical=False)
    return count or None


def _try(question: Callable[[], T], otherwise: T, notes: list[str], what: str) -> T:
    """The answer, or `otherwise` with a note: detection goes on whatever one part of a machine does."""
    try:
        return question()
    except Exception as error:
        notes.append(f"{what} could not be read: {error}")
        return otherwise

"""This machine's accelerators: NVIDIA through NVML, AMD and Intel through Linux's file tree, Apple through sysctl.

Each answer is the devices and, in words, what could not be read or is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from catalog import probes
from catalog.devices import NamedDevice, find_device, fold_device_name
from catalog.system import Nvml, System
from sizing.errors import UnknownNameError
from sizing.hardware import Device, DeviceKind
from sizing.units import GIB, format_bytes

T = TypeVar("T")

AMD, INTEL = "0x1002", "0x8086"
NVML_CLOCK_MEM = 2


def detect_nvidia(system: System, host: Device, known: Sequence[NamedDevice]) -> tuple[list[Device], list[str]]:
    """NVIDIA cards through NVML, and what could not be read.

    Bandwidth is memory clock x 2 x bus width, which gives the data sheets' figures (10501 MHz and 384 bit: 1008 GB/s);
    where NVML does not tell, that of the card's name.
    """
    nvml = system.nvml()
    present = (system.proc / "driver" / "nvidia" / "version").exists()
    if nvml is None:
        return [], ["NVIDIA cards were not asked for: nvidia-ml-py is not installed"] if present else []
    try:
        nvml.nvmlInit()
    except Exception as error:  # pynvml raises its own tree, and OSError where the driver is half installed
        return [], [f"an NVIDIA driver is there but does not answer: {error}"] if present else []
    devices, notes = [], []
    try:
        driver = ask(lambda: to_text(nvml.nvmlSystemGetDriverVersion()))
        for index in range(ask(nvml.nvmlDeviceGetCount) or 0):
            device = _read_nvidia(nvml, index, driver, host, known)
            if isinstance(device, Device):
                devices.append(device)
            else:
                notes.append(device)
    finally:
        ask(nvml.nvmlShutdown)
    return devices, notes


def _read_nvidia(
    nvml: Nvml, index: int, driver: str | None, host: Device, known: Sequence[NamedDevice]
) -> Device | str:
    handle = ask(lambda: nvml.nvmlDeviceGetHandleByIndex(index))
    if handle is None:
        return f"NVIDIA card {index} does not answer"
    name = ask(lambda: to_text(nvml.nvmlDeviceGetName(handle))) or f"NVIDIA card {index}"
    memory = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    notes = [f"driver {driver}"] if driver else []
    total, free = (int(memory.total), int(memory.free)) if memory is not None else (0, 0)
    listed = _look_up(known, name, total)
    if total <= 0:
        if listed is not None and listed.kind is DeviceKind.UNIFIED:
            return _share_host(listed, host, (*notes, "shares the host's RAM, as its driver says"))
        return f"{name}: its driver does not tell its memory, so it is left out"
    clock = ask(lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, NVML_CLOCK_MEM))
    width = ask(lambda: nvml.nvmlDeviceGetMemoryBusWidth(handle))
    bandwidth = clock * 1e6 * 2 * width / 8 if clock and width else None
    if bandwidth is None:
        bandwidth = listed.bandwidth_bytes_per_s if listed else None
        notes.append(
            "bandwidth from the hardware table" if bandwidth else "bandwidth unknown: the driver does not tell it"
        )
    notes += [] if listed and listed.fp16_flops else ["compute speed unknown: not in the hardware table"]
    notes.append(f"usable: {format_bytes(free)} free now of {format_bytes(total)}")
    kind = listed.kind if listed is not None and listed.kind is DeviceKind.UNIFIED else DeviceKind.GPU
    card = Device(name, kind, total, max(min(free, total), 0), bandwidth, backend="cuda", notes=tuple(notes))
    return _add_listed(card, listed)


def detect_amd(system: System, host: Device, known: Sequence[NamedDevice]) -> tuple[list[Device], list[str]]:
    """AMD cards through the files of their Linux driver, and what could not be read.

    A processor's own graphics count only where the hardware table knows them as a machine with shared memory.
    """
    devices: list[Device] = []
    notes: list[str] = []
    ids = probes.read_text(system.amdgpu_ids) or ""
    for card in probes.list_drm_cards(system.sys):
        if card.vendor != AMD:
            continue
        name = card.name or probes.find_amd_name(ids, card.device_id, card.revision)
        total, used = card.vram_total_bytes, card.vram_used_bytes or 0
        listed = _look_up(known, name or "", total or 0)
        listed = listed or _look_up_unified(known, f"{name or ''} {host.name}", host)
        name = name or f"AMD GPU {card.device_id}"
        if listed is not None and listed.kind is DeviceKind.UNIFIED:
            shared = card.shared_total_bytes or 0
            pool = (total or 0) - used + min(shared, host.usable_bytes)
            whole = max(host.memory_bytes + (total or 0), 1)
            note = f"usable: {format_bytes(total)} set aside and {format_bytes(shared)} of RAM the driver may share"
            pooled = _share_host(listed, host, [note])
            devices.append(replace(pooled, name=name, memory_bytes=whole, usable_bytes=min(pool, whole)))
        elif total is None:
            notes.append(f"{name}: its driver does not tell its memory, so it is left out")
        elif _is_integrated(card):
            notes.append(f"{name} shares RAM with the processor and is not counted")
        else:
            said = [f"usable: {format_bytes(total - used)} free now of {format_bytes(total)}"]
            said += [] if listed else ["bandwidth and compute speed unknown: not in the hardware table"]
            found = Device(
                name=name,
                kind=DeviceKind.GPU,
                memory_bytes=total,
                usable_bytes=max(total - used, 0),
                bandwidth_bytes_per_s=listed.bandwidth_bytes_per_s if listed else None,
                backend=listed.backend if listed else "rocm",
                notes=tuple(said),
            )
            devices.append(_add_listed(found, listed))
    return devices, notes


def _is_integrated(card: probes.DrmCard) -> bool:
    """Whether a card's own memory is only a slice of RAM: small, beside a larger shared part."""
    return (card.vram_total_bytes or 0) <= 4 * GIB and (card.shared_total_bytes or 0) > 2 * (card.vram_total_bytes or 0)


def detect_intel(system: System, host: Device, known: Sequence[NamedDevice]) -> tuple[list[Device], list[str]]:
    """Discrete Intel Arc cards by PCI id, and what could not be read.

    The driver does not tell free memory: usable is what the hardware table says of a card of that size.
    """
    devices: list[Device] = []
    notes: list[str] = []
    for card in probes.list_drm_cards(system.sys):
        if card.vendor != INTEL:
            continue
        name = probes.INTEL_ARC_NAMES.get(card.device_id.lower())
        if name is None:
            notes.append(f"Intel graphics {card.device_id} share RAM with the processor and are not counted")
            continue
        listed = _look_up(known, name)
        total = card.vram_total_bytes or _fit_window(listed, card.bar_bytes)
        if total is None:
            notes.append(f"Intel {name}: its memory could not be read, so it is left out")
            continue
        share = listed.usable_bytes / listed.memory_bytes if listed else 0.95
        said = [f"free memory could not be read; {share:.0%} is taken as usable"]
        if card.vram_total_bytes is None:
            said.append("memory size from the hardware table")
        rate = listed.bandwidth_bytes_per_s if listed and total == listed.memory_bytes else None
        if rate is None:
            said.append("bandwidth unknown: a card of this size is not in the hardware table")
        found = Device(
            name=f"Intel {name}",
            kind=DeviceKind.GPU,
            memory_bytes=total,
            usable_bytes=int(total * share),
            bandwidth_bytes_per_s=rate,
            backend="sycl",
            notes=tuple(said),
        )
        devices.append(_add_listed(found, listed))
    return devices, notes


def _fit_window(listed: Device | None, window_bytes: int | None) -> int | None:
    """The listed memory of a card, unless its PCI window shows a smaller version (an Arc A770 of 8 GiB).

    Windows are powers of two: one of 16 GiB is all there is to see of a card of 12. One below 4 GiB was not resized
    and says nothing.
    """
    if listed is None or window_bytes is None or window_bytes < 4 * GIB:
        return listed.memory_bytes if listed else None
    return min(listed.memory_bytes, window_bytes)


def detect_apple(system: System, host: Device, known: Sequence[NamedDevice]) -> Device | None:
    """The GPU of an Apple chip, None on other machines. Usable is Metal's working-set limit."""
    if system.os_name != "darwin" or system.processor != "arm64":
        return None
    chip = (system.run(["sysctl", "-n", "machdep.cpu.brand_string"]) or host.name).strip()
    size = (system.run(["sysctl", "-n", "hw.memsize"]) or "").strip()
    memory = int(size) if size.isdigit() and int(size) > 0 else host.memory_bytes
    wired = (system.run(["sysctl", "-n", "iogpu.wired_limit_mb"]) or "").strip()
    listed = _look_up(known, f"{chip} {round(memory / GIB)}GB") or _look_up(known, chip)
    notes = ["usable: what Metal lets a program take; other programs' memory is not subtracted"]
    if listed is None:
        notes.append("bandwidth and compute speed unknown: not in the hardware table")
    found = Device(
        name=chip or "Apple",
        kind=DeviceKind.UNIFIED,
        memory_bytes=memory,
        usable_bytes=probes.apple_working_set_bytes(memory, int(wired) if wired.isdigit() else None),
        bandwidth_bytes_per_s=listed.bandwidth_bytes_per_s if listed else host.bandwidth_bytes_per_s,
        backend="metal",
        notes=tuple(notes),
    )
    return _add_listed(found, listed)


def _add_listed(found: Device, listed: Device | None) -> Device:
    """`found` with what no driver tells: rates, generation, memory type, link and power. Not the price of a new one."""
    if listed is None:
        return found
    return replace(
        found,
        fp16_flops=listed.fp16_flops,
        bf16_flops=listed.bf16_flops,
        fp8_flops=listed.fp8_flops,
        architecture=listed.architecture,
        memory_type=listed.memory_type,
        link_bytes_per_s=listed.link_bytes_per_s,
        power_watts=listed.power_watts,
    )


def _look_up(known: Sequence[NamedDevice], name: str, memory_bytes: int = 0) -> Device | None:
    """The listed device of this name, None where there is none; of several sizes, that of `memory_bytes`.

    A driver shows a little less than the chips have, which rounds to their size except where error correction takes
    a share.
    """
    if not name.strip():
        return None
    for wanted in (f"{name} {round(memory_bytes / GIB)}GB", name) if memory_bytes else (name,):
        try:
            return find_device(known, wanted)
        except UnknownNameError:
            continue
    return None


def _look_up_unified(known: Sequence[NamedDevice], text: str, host: Device) -> Device | None:
    """A listed machine with shared memory whose name, less its size, is in `text`; the size nearest to the host's."""
    folded = fold_device_name(text)
    fits = [
        k.device
        for k in known
        if k.device.kind is DeviceKind.UNIFIED
        and any(fold_device_name(n).rsplit(" ", 1)[0] in folded for n in (k.device.name, *k.aliases) if " " in n)
    ]
    return min(fits, key=lambda d: abs(d.memory_bytes - host.memory_bytes), default=None)


def _share_host(listed: Device, host: Device, notes: Sequence[str]) -> Device:
    found = Device(
        name=listed.name,
        kind=DeviceKind.UNIFIED,
        memory_bytes=host.memory_bytes,
        usable_bytes=host.usable_bytes,
        bandwidth_bytes_per_s=listed.bandwidth_bytes_per_s,
        backend=listed.backend,
        notes=tuple(notes),
    )
    return _add_listed(found, listed)


def ask(question: Callable[[], T]) -> T | None:
    """The answer of a driver, None where it refuses or does not know (each card and driver lacks something else)."""
    try:
        return question()
    except Exception:
        return None


def to_text(value: str | bytes) -> str:
    """What pynvml tells, which older versions give as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value

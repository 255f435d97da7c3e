"""A machine that was read here, written so that it can be asked for elsewhere, and what no text can say of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from catalog.devices import NamedDevice, find_device
from catalog.machine_text import (
    CARD_BACKENDS,
    MAX_TEXT_CHARACTERS,
    THIS_NAMES,
    UNIFIED_BACKENDS,
    Described,
    MachinePart,
    read_parts,
    write_parts,
)
from catalog.queries import find_machine, list_named_devices
from catalog.store import Catalog
from sizing.errors import BadInputError, UnknownNameError
from sizing.hardware import Device, DeviceKind, Machine
from sizing.throughput import find_flops, find_prefill_class, find_speed_class
from sizing.units import GIB, MIB, THIN, format_bytes, format_figures

TOLERANCE = 0.005
"""Share of a rate that the text may round away unsaid."""


@dataclass(frozen=True, slots=True)
class SharedMachine:
    """The text of a machine for somebody else's program, and in words what of it is lost there."""

    text: str
    lost: tuple[str, ...] = ()


def share_machine(catalog: Catalog, text: str, machine: Machine) -> SharedMachine:
    """`machine` is what `text` means here. A text that names no "this" machine means the same everywhere.

    Where a machine cannot be written at all the text stays as it is, and what is lost says so.
    """
    if not any(part.name.casefold() in THIS_NAMES for part in read_parts(text)):
        return SharedMachine(text)
    named = list_named_devices(catalog)
    try:
        written = write_machine(machine, named)
        again = find_machine(catalog, written)
    except (BadInputError, UnknownNameError) as error:
        return SharedMachine(text, (f"this machine has no text of its own ({error}): its reader's machine is shown",))
    return SharedMachine(written, tuple(list_lost(machine, again)))


def write_machine(machine: Machine, named: Sequence[NamedDevice]) -> str:
    """A machine in the grammar of `catalog.machine_text`: devices by their listed name where that says more.

    Raises BadInputError for figures the grammar does not take.
    """
    if machine.is_unified:
        text = write_parts([_write_device(machine.accelerators[0], named)])
    else:
        text = write_parts([_write_device(d, named) for d in (*machine.accelerators, machine.host)])
    if len(text) > MAX_TEXT_CHARACTERS:
        raise BadInputError(f"a machine's name has at most {MAX_TEXT_CHARACTERS} characters, got {len(text):,}")
    return text


def _write_device(device: Device, named: Sequence[NamedDevice]) -> MachinePart:
    thousandths = min(round(device.usable_bytes / GIB * 1000), int(device.memory_bytes / GIB * 1000))
    usable = thousandths * GIB // 1000 or 1
    listed = None if device.kind is DeviceKind.CPU else _find_listed(device, named)
    return MachinePart(listed.name if listed else _describe(device).text, usable_bytes=usable)


def _find_listed(device: Device, named: Sequence[NamedDevice]) -> Device | None:
    """The listed device of this name, kind and size."""
    for name in (f"{device.name} {round(device.memory_bytes / GIB)}GB", device.name):
        try:
            found = find_device(named, name)
        except UnknownNameError:
            continue
        if found.kind is device.kind and device.usable_bytes <= found.memory_bytes:
            return found
    return None


def _describe(device: Device) -> Described:
    known = {DeviceKind.GPU: CARD_BACKENDS, DeviceKind.UNIFIED: UNIFIED_BACKENDS}.get(device.kind, ())
    name = re.sub(r"\((R|TM|C)\)", "", device.name, flags=re.IGNORECASE)
    is_host = device.kind is DeviceKind.CPU
    return Described(
        device.kind,
        -(-device.memory_bytes * 100 // GIB) * GIB // 100,  # to a hundredth of a GiB, upwards: usable must find room
        device.bandwidth_bytes_per_s,
        find_flops(device),
        backend=device.backend if device.backend in known else "",
        processor=" ".join(re.sub(r"[^\w .@/-]", " ", name).split())[:80] if is_host else "",
    )


def list_lost(machine: Machine, again: Machine) -> Iterator[str]:
    """What the machine is and the one read from its text is not, as far as estimates look at it."""
    for device, other in zip((*machine.accelerators, machine.host), (*again.accelerators, again.host), strict=True):
        if machine.is_unified and device.kind is DeviceKind.CPU:
            continue
        yield from (f"{device.name}: {text}" for text in _list_differences(device, other))
    if machine.calibrations:
        yield "what benches measured here: speeds are estimated"


def _list_differences(device: Device, other: Device) -> Iterator[str]:
    if abs(device.usable_bytes - other.usable_bytes) > MIB:
        yield f"{format_bytes(device.usable_bytes)} usable become {format_bytes(other.usable_bytes)}"
    for what, unit, step, one, two in (
        ("bandwidth", "GB/s", 1e9, device.bandwidth_bytes_per_s, other.bandwidth_bytes_per_s),
        ("arithmetic", "TFLOPS", 1e12, find_flops(device), find_flops(other)),
    ):
        if abs((one or 0) - (two or 0)) > TOLERANCE * max(one or 0, two or 0):
            told = [f"{format_figures(rate / step)}{THIN}{unit}" if rate else "unknown" for rate in (one, two)]
            yield f"its {what}, {told[0]}, becomes {told[1]}"
    classes = [(find_speed_class(d), find_prefill_class(d)) for d in (device, other)]
    if classes[0] != classes[1]:
        yield "its speed is estimated as that of another class of device"

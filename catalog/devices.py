"""Devices by name: how names are compared, and which device a name means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catalog.data_files import Column, load_csv
from catalog.models import DATA_DIR
from sizing.errors import UnknownNameError
from sizing.hardware import Device, DeviceKind

DEVICE_COLUMNS = (
    "name",
    "kind",
    "memory_bytes",
    "usable_bytes",
    "bandwidth_bytes_per_s",
    "fp16_flops",
    "bf16_flops",
    "fp8_flops",
    "backend",
    "architecture",
    "memory_type",
    "link_bytes_per_s",
    "power_watts",
    "price_usd",
    "notes",
    "aliases",
)
"""The columns of the hardware table that make a device, in the order `build_device` takes them."""

_FILE_COLUMNS = (
    Column("line", "INTEGER", False),
    Column("name", "VARCHAR", False),
    Column("aliases", "VARCHAR", True),
    Column("vendor", "VARCHAR", False),
    Column("kind", "VARCHAR", False),
    Column("memory_bytes", "BIGINT", False),
    Column("usable_bytes", "BIGINT", False),
    Column("bandwidth_bytes_per_s", "BIGINT", True),
    Column("fp16_flops", "DOUBLE", True),
    Column("bf16_flops", "DOUBLE", True),
    Column("fp8_flops", "DOUBLE", True),
    Column("backend", "VARCHAR", False),
    Column("architecture", "VARCHAR", True),
    Column("memory_type", "VARCHAR", False),
    Column("link_bytes_per_s", "BIGINT", True),
    Column("power_watts", "INTEGER", True),
    Column("price_usd", "INTEGER", True),
    Column("price_source_url", "VARCHAR", True),
    Column("release_year", "INTEGER", True),
    Column("notes", "VARCHAR", True),
    Column("source_url", "VARCHAR", False),
    Column("as_of", "VARCHAR", False),
)

_MAKERS = re.compile(r"\b(nvidia|geforce|amd|radeon|intel|apple|graphics|tesla|instinct|corporation)\b|\((r|tm)\)|[®™]")


@dataclass(frozen=True, slots=True)
class NamedDevice:
    """A device and the other names it goes by."""

    device: Device
    aliases: tuple[str, ...] = ()


def build_device(row: Sequence[Any]) -> NamedDevice:
    """A device from the values of `DEVICE_COLUMNS`; notes and aliases are lists separated by ';'."""
    cells = dict(zip(DEVICE_COLUMNS, row, strict=True))
    aliases = _split(cells.pop("aliases"))
    for rate in ("bandwidth_bytes_per_s", "link_bytes_per_s"):
        cells[rate] = None if cells[rate] is None else float(cells[rate])
    cells |= {
        "kind": DeviceKind(cells["kind"]),
        "architecture": cells["architecture"] or "",
        "notes": _split(cells["notes"]),
    }
    return NamedDevice(Device(**cells), aliases)


def load_devices(data_dir: Path | None = None) -> tuple[NamedDevice, ...]:
    """The devices of `hardware.csv` without opening the catalog. Raises DataFileError with file and line."""
    rows = load_csv((data_dir or DATA_DIR) / "hardware.csv", _FILE_COLUMNS)
    at = [[c.name for c in _FILE_COLUMNS].index(name) for name in DEVICE_COLUMNS]
    return tuple(build_device([row.cells[i] for i in at]) for row in rows)


def find_device(known: Sequence[NamedDevice], name: str) -> Device:
    """The device of this name, whatever the case and with or without the maker's name.

    A name without its memory size means the usual version where the data says so, else the smallest; the device's
    notes then name the others. Raises UnknownNameError with near names.
    """
    wanted = fold_device_name(name)
    for named in known:
        if wanted == fold_device_name(named.device.name):
            return named.device
    versions = [k.device for k in known if re.sub(r" ?\d+gb$", "", fold_device_name(k.device.name)) == wanted]
    for named in known:
        if wanted in map(fold_device_name, named.aliases):
            return _note_versions(named.device, versions)
    series = [k.device for k in known if re.sub(r"^(rtx|gtx|rx|arc) ", "", fold_device_name(k.device.name)) == wanted]
    if len(series) == 1:
        return series[0]
    if versions:
        return _note_versions(min(versions, key=lambda d: d.memory_bytes), versions)
    raise UnknownNameError("device", name, [n for k in known for n in (k.device.name, *k.aliases)])


def fold_device_name(name: str) -> str:
    """A device name as it is compared: lower case, no maker's or series' name, single spaces, '16gb' in one word.

    >>> fold_device_name("NVIDIA GeForce RTX 4060 Ti  16 GB")
    'rtx 4060 ti 16gb'
    >>> fold_device_name("NVIDIA GeForce RTX 4090 Laptop GPU")
    'rtx 4090 laptop'
    """
    text = _MAKERS.sub(" ", name.casefold().replace("laptop gpu", "laptop"))
    return " ".join(re.sub(r"(\d+) ?gi?b\b", r"\1gb", text).split())


def _note_versions(device: Device, versions: Iterable[Device]) -> Device:
    others = [d.name for d in versions if d.name != device.name]
    if not others:
        return device
    return replace(device, notes=(*device.notes, f"{device.name} is assumed; there is also {', '.join(others)}"))


def _split(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(";") if part.strip())

"""Machines one could buy: every listed card in one or several pieces, every unified machine, every host alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from catalog.devices import find_device
from catalog.machine import unified_machine
from catalog.queries import ASSUMED_HOST, list_devices, list_named_devices
from catalog.store import Catalog
from sizing.hardware import DeviceKind, Machine
from sizing.inverse import PriceSource
from sizing.placement import WITHOUT_BACKEND

CARD_COUNTS = (1, 2, 4, 8)


def list_machines(catalog: Catalog, counts: Sequence[int] = CARD_COUNTS) -> tuple[Machine, ...]:
    """Candidates for a purchase: cards in `counts` pieces beside the assumed host, unified machines, hosts alone.

    Devices llama.cpp has no backend for are left out. A laptop's card is there once. A machine's name finds it again
    with `find_machine`.
    """
    host = find_device(list_named_devices(catalog), ASSUMED_HOST)
    host = replace(host, notes=(f"assumed host: {host.name}; name yours after a '+'", *host.notes))
    machines: list[Machine] = []
    for device in list_devices(catalog):
        if device.backend in WITHOUT_BACKEND:
            continue
        if device.kind is DeviceKind.UNIFIED:
            machines.append(unified_machine(device))
        elif device.kind is DeviceKind.CPU:
            machines.append(Machine(device.name, device))
        else:
            pieces = (1,) if "laptop" in device.name.casefold() else counts
            machines += [Machine(device.name if n == 1 else f"{device.name}*{n}", host, (device,) * n) for n in pieces]
    return tuple(machines)


def list_price_sources(catalog: Catalog) -> dict[str, PriceSource]:
    """Where each device's price was read, by the device's name; devices without a price are left out."""
    rows = catalog.fetch("SELECT name, price_source_url, as_of, release_year FROM hardware WHERE price_usd IS NOT NULL")
    return {name: PriceSource(url, as_of, year) for name, url, as_of, year in rows}

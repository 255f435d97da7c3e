"""Speeds that others measured, and the devices they were measured on. What was done to the rows: data/speeds.md."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from catalog.data_files import Column, load_csv
from catalog.devices import load_devices
from catalog.models import DATA_DIR
from sizing.hardware import Device, DeviceKind

_TYPES = {"str": "VARCHAR", "int": "INTEGER", "float": "DOUBLE", "bool": "BOOLEAN"}


@dataclass(frozen=True, slots=True)
class MeasuredSpeed:
    """One published figure.

    `device` is a name of the hardware table or of speed_hosts.csv and `model_id` one of the catalog, None where there
    is none; the `_text` fields are as published. `quant` is the llama.cpp recipe nearest to `quant_text`, `file_gib`
    the published size of the weights in GiB. `metric` is 'decode' (of all streams together), 'prefill' or 'total'.
    `prompt_tokens` were read after `depth_tokens` (prefill); `depth_tokens` is the mean depth while decoding.
    `context_tokens` is what room was made for. `left_out` says why the figure teaches nothing, None where it does.
    """

    device: str | None
    device_text: str
    n_devices: int
    host: str | None
    backend: str | None
    engine: str
    engine_version: str | None
    model_id: str | None
    model_text: str
    quant: str | None
    quant_text: str | None
    file_gib: float | None
    metric: str
    prompt_tokens: int | None
    depth_tokens: int | None
    context_tokens: int | None
    n_parallel: int | None
    kv_type: str | None
    flash_attention: bool | None
    tokens_per_s: float
    left_out: str | None
    source_url: str
    source_note: str | None
    as_of: str


_SPEED_COLUMNS = tuple(
    Column(f.name, _TYPES[str(f.type).split(" |")[0]], "None" in str(f.type)) for f in fields(MeasuredSpeed)
)
_HOST_COLUMNS = (
    Column("name", "VARCHAR", False),
    Column("kind", "VARCHAR", False),
    Column("memory_bytes", "BIGINT", False),
    Column("bandwidth_bytes_per_s", "BIGINT", False),
    Column("fp16_flops", "DOUBLE", True),
    Column("backend", "VARCHAR", False),
    Column("n_cores", "INTEGER", True),
    Column("instruction_sets", "VARCHAR", True),
    Column("notes", "VARCHAR", True),
    Column("source_url", "VARCHAR", False),
    Column("as_of", "VARCHAR", False),
)


def load_speeds(data_dir: Path | None = None) -> tuple[MeasuredSpeed, ...]:
    """Every published figure, in the order of the file. Raises DataFileError with file and line."""
    rows: list[Any] = [row.cells for row in load_csv((data_dir or DATA_DIR) / "speeds.csv", _SPEED_COLUMNS)]
    return tuple(MeasuredSpeed(*cells) for cells in rows)


def load_speed_devices(data_dir: Path | None = None) -> dict[str, Device]:
    """The devices figures were measured on, by name: the hardware table and the hosts of speed_hosts.csv."""
    devices = {named.device.name: named.device for named in load_devices(data_dir)}
    for row in load_csv((data_dir or DATA_DIR) / "speed_hosts.csv", _HOST_COLUMNS):
        name, kind, memory, bandwidth, flops, backend, n_cores, sets, notes, *_ = row.cells
        values: Any = {
            "name": name,
            "memory_bytes": memory,
            "usable_bytes": memory,
            "fp16_flops": flops,
            "backend": backend,
            "n_cores": n_cores,
        }
        devices[str(name)] = Device(
            kind=DeviceKind(str(kind)),
            bandwidth_bytes_per_s=float(str(bandwidth)),
            instruction_sets=tuple(str(sets or "").split(";")),
            notes=tuple(str(notes or "").split(";")),
            **values,
        )
    return devices

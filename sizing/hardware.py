"""Machines: a host and any list of accelerators, or one pool of unified memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from sizing.errors import BadInputError


class DeviceKind(StrEnum):
    """Where a device's memory is."""

    CPU = "cpu"  # the host and its RAM
    GPU = "gpu"  # a card with its own memory
    UNIFIED = "unified"  # an accelerator that shares the host's RAM (Apple, DGX Spark, Strix Halo)


@dataclass(frozen=True, slots=True)
class Device:
    """One place weights can live.

    `memory_bytes` is what is built in, `usable_bytes` what a model may take (free RAM less a reserve, a driver's
    working-set limit). Bandwidth in bytes/s and `fp16_flops`, `bf16_flops`, `fp8_flops` in dense operations/s are None
    where unknown or not supported. `backend` is 'cpu', 'cuda', 'rocm', 'vulkan', 'metal', 'sycl' or 'hpu'.
    `architecture` is the maker's generation in lower case ('ampere', 'ada', 'rdna3', 'm2', 'zen4'), `memory_type` one
    of 'hbm', 'gddr', 'lpddr', 'ddr'; both are empty where unknown. `link_bytes_per_s` is the one-way bandwidth to the
    host. `power_watts` is the board's or package's limit, `price_usd` a dated street or launch price. `n_cores` are
    physical cores of a CPU and `instruction_sets` its vector extensions. `notes` says what could not be read.
    """

    name: str
    kind: DeviceKind
    memory_bytes: int
    usable_bytes: int
    bandwidth_bytes_per_s: float | None = None
    fp16_flops: float | None = None
    backend: str = "cpu"
    n_cores: int | None = None
    instruction_sets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    bf16_flops: float | None = None
    fp8_flops: float | None = None
    architecture: str = ""
    memory_type: str = ""
    link_bytes_per_s: float | None = None
    power_watts: int | None = None
    price_usd: int | None = None

    def __post_init__(self) -> None:
        if self.memory_bytes < 1 or not 0 <= self.usable_bytes <= self.memory_bytes:
            raise BadInputError(
                f"{self.name}: memory must be positive and usable memory within it, "
                f"got {self.memory_bytes!r} and {self.usable_bytes!r} bytes"
            )


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a machine's host compares with the estimate: measured over estimated middle, for one class of model.

    `quant_class` is 'coarse' (8 bits and more), 'fine' (K and older recipes) or 'looked up' (IQ), see
    `sizing.quants.find_quant_class`. Ratios are medians over `n_results` measurements, `measured_on` the newest date.
    """

    host_name: str
    quant_class: str
    is_moe: bool
    decode_ratio: float
    prefill_ratio: float | None
    n_results: int
    measured_on: str

    def __post_init__(self) -> None:
        for ratio in (self.decode_ratio, self.prefill_ratio):
            if ratio is not None and not 0 < ratio < 1e6:
                raise BadInputError(f"a calibration wants a ratio above zero, got {ratio!r}")


@dataclass(frozen=True, slots=True)
class Machine:
    """A host and its accelerators. With a UNIFIED accelerator, host and accelerator are one pool.

    `calibrations` is what was measured on this very machine; it counts for what runs on the host alone.
    """

    name: str
    host: Device
    accelerators: tuple[Device, ...] = ()
    calibrations: tuple[Calibration, ...] = ()

    @property
    def is_unified(self) -> bool:
        """Whether host and accelerator share one memory."""
        return any(d.kind is DeviceKind.UNIFIED for d in self.accelerators)

    @property
    def usable_bytes(self) -> int:
        """All memory a model may take, each pool counted once."""
        if self.is_unified:
            return max(d.usable_bytes for d in self.accelerators)
        return self.host.usable_bytes + sum(d.usable_bytes for d in self.accelerators)


def add_memory(machine: Machine, extra_bytes: int) -> Machine:
    """The machine with more memory on its first accelerator, or in its host where there is none."""

    def grow(device: Device) -> Device:
        return replace(
            device,
            memory_bytes=device.memory_bytes + extra_bytes,
            usable_bytes=device.usable_bytes + extra_bytes,
        )

    if machine.accelerators:
        return replace(machine, accelerators=(grow(machine.accelerators[0]), *machine.accelerators[1:]))
    return replace(machine, host=grow(machine.host))

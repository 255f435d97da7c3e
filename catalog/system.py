"""Where a machine is read from: file trees, commands, the NVIDIA library. A test gives its own."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from catalog.bandwidth import measure_host_bandwidth

COMMAND_TIMEOUT_S = 5.0


class Nvml(Protocol):
    """The part of pynvml that is asked (https://docs.nvidia.com/deploy/nvml-api)."""

    def nvmlInit(self) -> None:
        """Open the library."""

    def nvmlShutdown(self) -> None:
        """Close the library."""

    def nvmlSystemGetDriverVersion(self) -> str | bytes:
        """The driver's version."""

    def nvmlDeviceGetCount(self) -> int:
        """How many cards there are."""

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        """A handle to ask about card `index`."""

    def nvmlDeviceGetName(self, handle: Any) -> str | bytes:
        """The card's name."""

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:
        """An object with `total` and `free` bytes."""

    def nvmlDeviceGetPciInfo(self, handle: Any) -> Any:
        """An object with `busId`, the card's PCI address."""

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> Any:
        """Objects with `pid` and `usedGpuMemory` in bytes, None where the driver does not tell."""

    def nvmlDeviceGetMaxClockInfo(self, handle: Any, kind: int) -> int:
        """The highest clock of a kind (2 is memory), in MHz."""

    def nvmlDeviceGetMemoryBusWidth(self, handle: Any) -> int:
        """Width of the memory bus in bits."""


def run_command(command: Sequence[str]) -> str | None:
    """A command's output; None where it is missing, fails, or takes longer than `COMMAND_TIMEOUT_S`."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return done.stdout if done.returncode == 0 else None


def open_nvml() -> Nvml | None:
    """The NVIDIA management library, None where its Python binding is missing."""
    try:
        import pynvml
    except ImportError:
        return None
    library: Nvml = pynvml
    return library


@dataclass(frozen=True, slots=True)
class System:
    """Where a machine is read from. A test gives its own folders and commands."""

    os_name: str = sys.platform
    processor: str = field(default_factory=platform.machine)
    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    amdgpu_ids: Path = Path("/usr/share/libdrm/amdgpu.ids")
    run: Callable[[Sequence[str]], str | None] = run_command
    nvml: Callable[[], Nvml | None] = open_nvml
    bandwidth: Callable[[], float | None] = measure_host_bandwidth

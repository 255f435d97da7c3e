"""Machines one does not own: accelerators offered by child processes, so that llama.cpp itself places layers on them.

Each imagined device is an RPC server on the loopback address with this machine's CPU behind it. llama.cpp takes it
for an accelerator and divides layers, caches and compute buffers by its own rules. Buffer sizes are those of a device
that lays tensors out as the CPU does; a real card's own padding is not in them.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence

from evals.dry_run import CHILD_COMMAND, BufferUse, DryRun, DryRunFailure, EngineChild, ask_dry_runs
from sizing.errors import EngineError
from sizing.placement import Offload
from sizing.quants import Quant
from sizing.specs import ModelSpec
from sizing.workload import Workload

START_TIMEOUT_S = 20.0


class ImaginedMachine:
    """A host with imagined accelerators. Made by `open_imagined_machine`."""

    def __init__(self, engine: EngineChild, endpoints: Sequence[str]) -> None:
        self.engine = engine
        self.endpoints = tuple(endpoints)

    def ask(self, spec: ModelSpec, quant: str | Quant, workload: Workload, offload: Offload) -> DryRun | DryRunFailure:
        """One dry run with layers offloaded as `offload` says."""
        return ask_dry_runs(spec, quant, [workload], self.engine, offload=offload)[0]

    def list_devices(self, answer: DryRun) -> tuple[BufferUse, ...]:
        """The sizes of the answer per device: the host first, then each accelerator in order."""
        sums = {name: [0, 0, 0] for name in ("host", *self.endpoints)}
        for buffer in answer.buffers:
            place = next((e for e in self.endpoints if e in buffer.name), "host")
            for i, n_bytes in enumerate((buffer.weight_bytes, buffer.cache_bytes, buffer.compute_bytes)):
                sums[place][i] += n_bytes
        names = ("host", *(f"device {i}" for i in range(len(self.endpoints))))
        return tuple(BufferUse(name, *sizes) for name, sizes in zip(names, sums.values(), strict=True))


@contextlib.contextmanager
def open_imagined_machine(n_devices: int) -> Iterator[ImaginedMachine]:
    """A machine with `n_devices` imagined accelerators, for as long as the block runs.

    Raises EngineError when llama.cpp is missing, was built without RPC, or a device does not start.
    """
    with contextlib.ExitStack() as stack:
        endpoints = [stack.enter_context(_serve_device()) for _ in range(n_devices)]
        engine = stack.enter_context(EngineChild())
        reply = engine.ask({"kind": "devices", "endpoints": endpoints}, START_TIMEOUT_S)
        if isinstance(reply, DryRunFailure):
            raise EngineError(f"no imagined devices: {reply.message}")
        yield ImaginedMachine(engine, endpoints)


@contextlib.contextmanager
def _serve_device() -> Iterator[str]:
    """One RPC server in a child process; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{probe.getsockname()[1]}"
    with subprocess.Popen(
        (*CHILD_COMMAND, "--serve", endpoint),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            _wait_for(endpoint, process)
            yield endpoint
        finally:
            process.kill()


def _wait_for(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    host, port = endpoint.split(":")
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = process.stderr.read().decode("utf-8", "replace").strip().splitlines() if process.stderr else []
            raise EngineError(f"an imagined device ended at its start: {said[-1] if said else process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return
        time.sleep(0.05)
    raise EngineError(f"an imagined device did not answer at {endpoint} within {START_TIMEOUT_S:.0f} s")

"""Machines one does not own: accelerators offered by child processes, so that llama.cpp itself places layers on them.

Each imagined device is an RPC server on the loopback address with this machine's CPU behind it. llama.cpp takes it
for an accelerator and divides layers, caches and compute buffers by its own rules. Buffer sizes are those of a device
that lays tensors out as the CPU does; a real card's own padding is not in them. A server ends when the pipe to its
parent closes, so also when the parent is killed.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from evals.dry_run import CHILD_COMMAND, BufferUse, DryRun, DryRunFailure, EngineChild, ask_dry_runs
from sizing.errors import BadInputError, EngineError
from sizing.placement import Offload
from sizing.quants import Quant
from sizing.specs import ModelSpec
from sizing.workload import Workload

START_TIMEOUT_S = 20.0

MAX_DEVICES = 16
"""llama.cpp takes at most this many RPC devices (ggml-rpc.h, GGML_RPC_MAX_SERVERS)."""


def find_rpc_gap() -> str | None:
    """Why no device can be imagined here, or None. Nothing native is loaded to find out."""
    found = find_spec("llama_cpp")
    if found is None or found.origin is None:
        return "llama-cpp-python is not installed; compile it with: make engine"
    if not any((Path(found.origin).parent / "lib").glob("libggml-rpc.*")):
        return "llama.cpp was built without RPC; compile it with: make engine"
    return None


class ImaginedMachine:
    """A host with imagined accelerators. Made by `open_imagined_machine`."""

    def __init__(self, engine: EngineChild, endpoints: Sequence[str], pids: Sequence[int]) -> None:
        self.engine = engine
        self.endpoints = tuple(endpoints)
        self.pids = tuple(pids)  # of the servers

    def ask(self, spec: ModelSpec, quant: str | Quant, workload: Workload, offload: Offload) -> DryRun | DryRunFailure:
        """One dry run with layers offloaded as `offload` says."""
        return ask_dry_runs(spec, quant, [workload], self.engine, offload=offload)[0]

    def list_devices(self, answer: DryRun) -> tuple[BufferUse, ...]:
        """The sizes of the answer per device: the host first, then each accelerator in order."""
        sums = {name: [0, 0, 0] for name in ("host", *self.endpoints)}
        for buffer in answer.buffers:
            place = next((e for e in self.endpoints if f"[{e}]" in buffer.name), "host")
            for i, n_bytes in enumerate((buffer.weight_bytes, buffer.cache_bytes, buffer.compute_bytes)):
                sums[place][i] += n_bytes
        names = ("host", *(f"device {i}" for i in range(len(self.endpoints))))
        return tuple(BufferUse(name, *sizes) for name, sizes in zip(names, sums.values(), strict=True))


@contextlib.contextmanager
def open_imagined_machine(n_devices: int) -> Iterator[ImaginedMachine]:
    """A machine with `n_devices` imagined accelerators, for as long as the block runs.

    Raises BadInputError for more than MAX_DEVICES, EngineError when llama.cpp is missing, was built without RPC, or a
    device does not start.
    """
    if not 0 <= n_devices <= MAX_DEVICES:
        raise BadInputError(f"imagined accelerators are 0 to {MAX_DEVICES}, got {n_devices}")
    gap = find_rpc_gap()
    if gap is not None:
        raise EngineError(f"no imagined devices: {gap}")
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(_start_server()) for _ in range(n_devices)]
        engine = stack.enter_context(EngineChild())
        for endpoint, process in servers:
            _wait_for(endpoint, process)
        endpoints = [endpoint for endpoint, _ in servers]
        engine.endpoints = tuple(endpoints)
        reply = engine.ask({"kind": "devices", "endpoints": endpoints}, START_TIMEOUT_S)
        if isinstance(reply, DryRunFailure):
            raise EngineError(f"no imagined devices: {reply.message}")
        engine.engine_s = 0.0
        yield ImaginedMachine(engine, endpoints, [process.pid for _, process in servers])


@contextlib.contextmanager
def _start_server() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """One RPC server in a child process, and its address. It may not listen yet.

    The port is held by a socket of our own that never listens, so that nobody else is given it meanwhile.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{held.getsockname()[1]}"
        with subprocess.Popen(
            (*CHILD_COMMAND, "--serve", endpoint),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                yield endpoint, process
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
        time.sleep(0.02)
    raise EngineError(f"an imagined device did not answer at {endpoint} within {START_TIMEOUT_S:.0f} s")

"""Layers placed on imagined accelerators: llama.cpp's own placement against this project's."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evals.dry_run import DryRun
from evals.imagined import ImaginedMachine, open_imagined_machine
from evals.weigh import weigh_model
from sizing.errors import BadInputError
from sizing.estimate import estimate
from sizing.hardware import Device, DeviceKind, Machine
from sizing.placement import Offload
from sizing.quants import find_quant
from sizing.specs import ModelSpec
from sizing.units import GIB, MIB
from sizing.workload import Workload

ROOT = Path(__file__).parents[2]
LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
SMALL_COPIES = 4096
"""Rope factors and other shared vectors that every device keeps a copy of, in bytes."""

OWNED = Machine(
    "two large cards",
    Device("host", DeviceKind.CPU, 1000 * GIB, 1000 * GIB, 1e11, 1e12),
    tuple(Device(f"card {i}", DeviceKind.GPU, 500 * GIB, 500 * GIB, 1e12, 1e14, backend="vulkan") for i in range(2)),
)


@pytest.fixture(scope="module")
def machine() -> Iterator[ImaginedMachine]:
    with open_imagined_machine(2) as two_cards:
        yield two_cards


@pytest.mark.engine
@pytest.mark.parametrize(
    ("gpu_layers", "compute_mib"),
    # read in llama.cpp's log on two RPC devices: host, first, second; llama-cpp-python 0.3.36, 2026-11
    [(33, (72.05, 172.04, 354.55)), (20, (124.01, 108.01, 258.50))],
)
def test_compute_buffers_per_device(
    gpu_layers: int, compute_mib: tuple[float, ...], machine: ImaginedMachine, specs: dict[str, ModelSpec]
) -> None:
    answer = machine.ask(specs[LLAMA_8B], "Q4_K_M", Workload(8192), Offload(gpu_layers))
    assert isinstance(answer, DryRun)
    found = [d.compute_bytes / MIB for d in machine.list_devices(answer)]
    assert found == pytest.approx(compute_mib, abs=0.005)


@pytest.mark.engine
@pytest.mark.parametrize("split", [(1.0, 1.0), (3.0, 1.0)])
@pytest.mark.parametrize(
    "model_id",
    [
        LLAMA_8B,
        "meta-llama/Llama-3.2-1B-Instruct",  # the tied head is held twice once the output is offloaded
        "google/gemma-3-4b-it",  # two caches, windows of 1024
        "openai/gpt-oss-20b",
        "tiiuae/Falcon-H1-0.5B-Instruct",  # a cache and a state in every layer
    ],
)
def test_weights_and_caches_lie_where_llama_cpp_puts_them(
    model_id: str, split: tuple[float, ...], machine: ImaginedMachine, specs: dict[str, ModelSpec]
) -> None:
    spec = specs[model_id]
    (weights,) = weigh_model(spec, machine.engine, [find_quant("Q4_K_M")]).weights
    for gpu_layers in (0, spec.n_layers // 2, spec.n_layers + 1):
        offload = Offload(gpu_layers, split)
        answer = machine.ask(spec, "Q4_K_M", Workload(8192), offload)
        assert isinstance(answer, DryRun)
        ours = estimate(spec, weights, Workload(8192), OWNED, offload).memory.devices
        for device, use in zip(machine.list_devices(answer), ours, strict=True):
            assert device.cache_bytes == use.parts.kv_cache_bytes + use.parts.recurrent_state_bytes
            assert 0 <= device.weight_bytes - use.parts.weight_bytes <= SMALL_COPIES


@pytest.mark.engine
@pytest.mark.parametrize(
    "model_id",
    ["openai/gpt-oss-20b", "mistralai/Mixtral-8x7B-Instruct-v0.1", "zai-org/GLM-4.5-Air"],
)
def test_experts_kept_on_the_host_lie_where_llama_cpp_puts_them(
    model_id: str, machine: ImaginedMachine, specs: dict[str, ModelSpec]
) -> None:
    spec = specs[model_id]
    (weights,) = weigh_model(spec, machine.engine, [find_quant("Q4_K_M")]).weights
    for cpu_moe in (1, 7, spec.n_layers + 3):  # llama.cpp's --n-cpu-moe takes more than there are
        offload = Offload(spec.n_layers + 1, (2.0, 1.0), cpu_moe)
        answer = machine.ask(spec, "Q4_K_M", Workload(8192), offload)
        assert isinstance(answer, DryRun)
        ours = estimate(spec, weights, Workload(8192), OWNED, offload).memory.devices
        for device, use in zip(machine.list_devices(answer), ours, strict=True):
            assert device.cache_bytes == use.parts.kv_cache_bytes
            assert 0 <= device.weight_bytes - use.parts.weight_bytes <= SMALL_COPIES


def test_too_many_devices_are_refused_before_any_is_started() -> None:
    with pytest.raises(BadInputError, match="0 to 16, got 17"), open_imagined_machine(17):
        pass


FORGETFUL = """
import signal
from evals.imagined import open_imagined_machine
with open_imagined_machine(2) as machine:
    pids = [machine.engine._process.pid, *machine.pids]
    print(*pids, flush=True)
    signal.pause()
"""


def is_running(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.engine
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_stays_behind_when_the_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", FORGETFUL], stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 3 and all(is_running(pid) for pid in pids)
        parent.kill()
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in pids)


@pytest.mark.engine
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_stays_behind_after_the_block() -> None:
    with open_imagined_machine(2) as machine:
        pids = machine.pids
        assert all(is_running(pid) for pid in pids)
    assert not any(is_running(pid) for pid in pids)

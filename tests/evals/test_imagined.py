"""Layers placed on imagined accelerators: llama.cpp's own placement against this project's."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import evals.__main__ as command_line
from evals.dry_run import DryRun
from evals.imagined import ImaginedMachine, open_imagined_machine
from evals.weigh import weigh_model
from sizing.errors import UnsupportedError
from sizing.estimate import estimate
from sizing.hardware import Device, DeviceKind, Machine
from sizing.placement import Offload
from sizing.quants import find_quant
from sizing.specs import ModelSpec
from sizing.units import GIB, MIB
from sizing.workload import Workload

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
def test_experts_on_the_host_are_refused_not_ignored(machine: ImaginedMachine, specs: dict[str, ModelSpec]) -> None:
    with pytest.raises(UnsupportedError, match="cpu_moe"):
        machine.ask(specs["openai/gpt-oss-20b"], "F16", Workload(4096), Offload(cpu_moe=3))


@pytest.mark.engine
def test_dry_run_command_on_two_devices(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["dry-run", "--model", "Llama-3.2-1B-Instruct", "--quant", "Q8_0", "--context", "4096", "--json"]
    assert command_line.main([*asked, "--devices", "2", "--tensor-split", "1,1"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [d["name"] for d in said["devices"]] == ["host", "device 0", "device 1"]
    assert sum(d["cache_bytes"] for d in said["devices"]) == said["parts"]["kv_cache_bytes"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--devices", "2", "--tensor-split", "1"], "--tensor-split wants one number for each of 2 devices, got '1'"),
        (["--devices", "2", "--tensor-split", "a,b"], "--tensor-split wants one number for each of 2 devices"),
        (["--devices", "99"], "--devices wants 0 to 16, got 99"),
        (["--gpu-layers", "-1"], "gpu_layers wants 0 or more, got -1"),
    ],
)
def test_a_wrong_machine_is_exit_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["dry-run", "--model", "Llama-3.2-1B-Instruct", "--quant", "Q8_0", "--context", "4096"]
    assert command_line.main([*asked, *arguments]) == 2
    assert said in capsys.readouterr().err

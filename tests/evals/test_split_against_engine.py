"""Layers over imagined devices: every part on every device held against llama.cpp, over a sample of the catalog."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator

import pytest

from catalog.queries import all_weights
from catalog.store import open_catalog
from evals.dry_run import DryRun, DryRunFailure
from evals.imagined import ImaginedMachine, open_imagined_machine
from evals.measure import list_parts
from sizing.compute import can_estimate_compute
from sizing.estimate import estimate
from sizing.hardware import Device, DeviceKind, Machine
from sizing.memory import WeightBytes
from sizing.placement import Offload
from sizing.specs import ModelSpec
from sizing.units import GIB, MIB
from sizing.workload import Workload

SEED = 20261125
CASES_PER_ARCHITECTURE = 2
N_DEVICES = (1, 2, 3)
COMPUTE_SHARE, COMPUTE_BYTES = 0.03, 16 * MIB
UNSURE = {"glm5-next": 0.10}
"""Graphs whose buffers on one of several devices are known to be off, and by what share of the buffer at most: streams
around experts on the host."""

Case = tuple[ModelSpec, WeightBytes, Workload, Offload]


def list_cases(n_devices: int) -> list[Case]:
    """Two cases of every architecture: contexts, slots, caches, layers offloaded, experts kept, shares by lot."""
    lot = random.Random(SEED + n_devices)
    catalog = open_catalog()
    weights = all_weights(catalog)
    by_architecture: dict[str, list[ModelSpec]] = defaultdict(list)
    for card in catalog.cards:
        if card.spec.model_id in weights and can_estimate_compute(card.spec.architecture):
            by_architecture[card.spec.architecture].append(card.spec)
    cases = []
    for _, specs in sorted(by_architecture.items()):
        for _ in range(CASES_PER_ARCHITECTURE):
            spec = lot.choice(specs)
            kind = lot.choice(("f16", "f16", "q8_0"))
            workload = Workload(
                min(lot.choice((2048, 8192, 32768)), spec.context_tokens),
                lot.choice((1, 1, 4)),
                kv_type_k=kind,
                kv_type_v=kind,
                flash_attention=kind != "f16" or lot.random() < 0.8,
            )
            n = spec.n_layers
            gpu_layers = lot.choice((n + 1, n + 1, n // 2, lot.randrange(n + 2)))
            kept = lot.choice((0, n // 2, n)) if spec.is_moe and gpu_layers == n + 1 else 0
            shares = tuple(float(lot.choice((1, 1, 2, 3))) for _ in range(n_devices))
            chosen = lot.choice([w for w in weights[spec.model_id] if w.quant in ("Q4_K_M", "Q8_0", "IQ4_XS")])
            cases.append((spec, chosen, workload, Offload(gpu_layers, shares, kept or None)))
    return cases


def describe(case: Case) -> str:
    spec, weights, w, offload = case
    return (
        f"{spec.name} {weights.quant}, {w.context_tokens} x {w.n_parallel} {w.kv_type_k}, "
        f"flash attention {w.flash_attention}, {offload}"
    )


def find_faults(case: Case, machine: ImaginedMachine) -> Iterator[str] | None:
    """What differs beyond tolerance on each device; None where llama.cpp gave no answer."""
    spec, weights, workload, offload = case
    answer = machine.ask(spec, weights.quant, workload, offload)
    if isinstance(answer, DryRunFailure):
        return None
    return _list_faults(case, answer, machine)


def _list_faults(case: Case, answer: DryRun, machine: ImaginedMachine) -> Iterator[str]:
    spec, weights, workload, offload = case
    n = len(machine.endpoints)
    cards = tuple(Device(f"card {i}", DeviceKind.GPU, 9000 * GIB, 9000 * GIB, 1e12, backend="rpc") for i in range(n))
    owned = Machine("owned", Device("host", DeviceKind.CPU, 9000 * GIB, 9000 * GIB, 1e11), cards)
    ours = estimate(spec, weights, workload, owned, offload).memory.devices
    for use, theirs in zip(ours, list_parts(answer, machine.endpoints), strict=True):
        mine = use.parts
        if mine.weight_bytes != theirs.weight_bytes:
            yield f"{use.name}: weights {mine.weight_bytes - theirs.weight_bytes:+,}"
        caches = [p.kv_cache_bytes + p.recurrent_state_bytes for p in (mine, theirs)]
        if caches[0] != caches[1]:
            yield f"{use.name}: caches {caches[0] - caches[1]:+,}"
        error = mine.compute_bytes - theirs.compute_bytes
        share = UNSURE.get(spec.architecture, COMPUTE_SHARE)
        if abs(error) > max(share * theirs.compute_bytes, COMPUTE_BYTES):
            yield f"{use.name}: compute {error / MIB:+,.1f} of {theirs.compute_bytes / MIB:,.1f} MiB"


@pytest.mark.engine
@pytest.mark.timeout(300)
@pytest.mark.parametrize("n_devices", N_DEVICES)
def test_every_part_on_every_device_is_the_engines(n_devices: int) -> None:
    cases = list_cases(n_devices)
    answered, faults = 0, []
    with open_imagined_machine(n_devices) as machine:
        for case in cases:
            found = find_faults(case, machine)
            answered += found is not None
            faults += [f"{describe(case)}: {fault}" for fault in found or ()]
    assert answered >= 0.95 * len(cases) and len(cases) * len(N_DEVICES) >= 200
    assert not faults, "\n".join(faults)

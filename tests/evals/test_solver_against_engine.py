"""Every answer of the solver is asked of llama.cpp: none may overrun a device."""

from __future__ import annotations

import random

import pytest

from catalog.candidates import list_quant_losses
from catalog.queries import all_weights, find_machine
from catalog.store import open_catalog
from evals.dry_run import DryRunFailure
from evals.imagined import open_imagined_machine
from evals.measure import list_parts
from sizing.compute import can_estimate_compute
from sizing.solver import Asked, NoSolution, Solution, solve

SEED = 7
CASES = 25
MACHINES = {
    1: ("RTX 3060 12GB", "RTX 4070", "RTX 4090 + PC DDR5-5600 64GB", "RX 7900 XTX", "A100 80GB"),
    2: (
        "RTX 3090*2",
        "RTX 4090 + RTX 3060 12GB",
        "RTX 3090*2 + PC DDR5-5600 128GB",
        "RTX 4060 Ti 16GB + RTX 3060 12GB",
    ),
}


@pytest.mark.engine
@pytest.mark.timeout(300)
@pytest.mark.parametrize("n_cards", MACHINES)
def test_no_answer_overruns_a_device(n_cards: int) -> None:
    lot = random.Random(SEED + n_cards)
    catalog = open_catalog()
    weights = all_weights(catalog)
    cards = [c for c in catalog.cards if c.model_id in weights and can_estimate_compute(c.spec.architecture)]
    faults, solved = [], 0
    with open_imagined_machine(n_cards) as imagined:
        for _ in range(CASES):
            card = lot.choice(cards)
            machine = find_machine(catalog, lot.choice(MACHINES[n_cards]))
            context = min(lot.choice((4096, 16384, 65536)), card.spec.context_tokens)
            asked = Asked(context, lot.choice((1, 1, 4)))
            losses = {x.quant: x.cautious for x in list_quant_losses(catalog, card)}
            found = solve(card.spec, weights[card.model_id], losses, machine, asked)
            if isinstance(found, NoSolution):
                continue
            answer = imagined.ask(card.spec, found.quant, found.workload, found.estimate.offload)
            if isinstance(answer, DryRunFailure):
                faults.append(f"{card.name} on {machine.name}: {answer.message}")
                continue
            solved += 1
            faults += [
                f"{card.name} {found.quant} on {machine.name}: {fault}" for fault in _overruns(found, answer, imagined)
            ]
    assert solved >= CASES // 2
    assert not faults, "\n".join(faults)


def _overruns(found: Solution, answer: object, imagined: object) -> list[str]:
    faults = []
    parts = list_parts(answer, imagined.endpoints)  # type: ignore[arg-type,attr-defined]
    for use, theirs in zip(found.estimate.memory.devices, parts, strict=True):
        needed = theirs.total_bytes + use.parts.overhead_bytes
        if use.parts.total_bytes and needed > use.usable_bytes:
            faults.append(f"{use.name} needs {needed:,} of {use.usable_bytes:,}")
    return faults

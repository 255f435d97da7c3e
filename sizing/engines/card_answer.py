"""From parts by card to the answer every engine gives, for engines that reserve or grow to what they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sizing.engines.base import EngineEstimate, EngineSetup
from sizing.engines.model_bytes import FormatBytes
from sizing.engines.speed import Stage, estimate_engine_speed
from sizing.estimate import Estimate
from sizing.fit import judge_devices
from sizing.hardware import Device
from sizing.memory import DeviceUse, MemoryEstimate, Parts


@dataclass(frozen=True, slots=True)
class CardUse:
    """What an engine holds on one card and how many layers run there; `n_ranks` cards divide each of these layers."""

    device: Device
    parts: Parts
    n_layers: int
    n_ranks: int = 1


def list_cards(setup: EngineSetup) -> tuple[Device, ...]:
    """The devices an engine computes on: the accelerators, or the host where there are none."""
    return setup.machine.accelerators or (setup.machine.host,)


def list_layer_stages(spec_layers: int, cards: Sequence[CardUse]) -> tuple[Stage, ...]:
    """The stages a token passes: one for each card that holds layers; ranks of one stage count once."""
    stages, at = [], 0
    while at < len(cards):
        card = cards[at]
        if card.n_layers:
            stages.append(Stage(card.device, card.n_layers / spec_layers, card.n_ranks))
        at += card.n_ranks
    return tuple(stages)


def build_answer(
    setup: EngineSetup,
    engine: str,
    cards: Sequence[CardUse],
    *,
    host_bytes: int = 0,
    assumptions: Sequence[str] = (),
    differences: Sequence[str] = (),
    tensor_parallel: int = 1,
    held: FormatBytes | None = None,
) -> EngineEstimate:
    """Devices, verdict and speed of a model whose every layer is on `cards`.

    `host_bytes` are the engine's own on a host that is not one of the cards. The caches of `cards` are those of all
    requests at their full length; what does not fit has no speed. `held` is what is stored where the format alone does
    not tell.
    """
    uses = [DeviceUse(c.device.name, c.device.memory_bytes, c.device.usable_bytes, c.parts, c.n_layers) for c in cards]
    host = setup.machine.host
    if setup.machine.accelerators and not setup.machine.is_unified:
        uses.insert(0, DeviceUse(host.name, host.memory_bytes, host.usable_bytes, Parts(overhead_bytes=host_bytes)))
    fit = judge_devices(uses, sum(u.n_layers for u in uses) + 1, 0)
    stages = list_layer_stages(setup.spec.n_layers, cards)
    parts = [c.parts for c in cards]
    speed = estimate_engine_speed(
        setup,
        engine,
        stages,
        sum(p.kv_cache_bytes for p in parts) / tensor_parallel,
        sum(p.recurrent_state_bytes for p in parts) / tensor_parallel,
        runs=fit.runs,
        held=held,
    )
    said = (
        f"speed: {speed.basis if speed else 'not estimated'}; 8 of 10 should lie inside, cache half full in the middle"
    )
    memory = MemoryEstimate(
        setup.spec.model_id,
        setup.weight_format,
        engine,
        tuple(uses),
        (*assumptions, said, *(n for d in (host, *setup.machine.accelerators) for n in d.notes)),
    )
    split = tuple(c.n_layers for c in cards) if len(cards) > 1 and tensor_parallel == 1 else None
    estimate = Estimate(memory, speed, fit, setup.spec.n_layers + 1 if setup.machine.accelerators else 0, 0, (), split)
    return EngineEstimate(
        setup,
        engine,
        estimate,
        tensor_parallel=tensor_parallel,
        pipeline_parallel=max(len(stages), 1),
        differences=tuple(differences),
    )

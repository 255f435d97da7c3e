"""From a server's division of its cards to the answer every engine gives: devices, verdict, capacity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sizing.engines.base import Capacity, EngineEstimate, EngineSetup
from sizing.engines.serving import Split, list_stages
from sizing.engines.serving_cache import CachePlan, count_request_bytes
from sizing.engines.speed import Stage, estimate_engine_speed
from sizing.estimate import Estimate
from sizing.fit import TIGHT_SHARE, Fit, Verdict
from sizing.hardware import Device
from sizing.memory import DeviceUse, MemoryEstimate, Parts
from sizing.throughput import SpeedEstimate
from sizing.units import format_bytes, format_figures, format_tokens


@dataclass(frozen=True, slots=True)
class CardRoom:
    """How a server divides one card. `budget_bytes` is what weights, activations and cache may take together.

    `card_bytes` is the memory the driver tells the server of, before anybody takes any.
    `beside_bytes` are the driver's, outside that budget; `beside_compute_bytes` activations and graphs outside it.
    """

    device: Device
    card_bytes: int
    budget_bytes: int
    weight_bytes: int
    activation_bytes: int
    graph_bytes: int
    library_bytes: int
    beside_bytes: int
    beside_compute_bytes: int = 0

    @property
    def unshared_bytes(self) -> int:
        """What the card has left outside the budget; negative when the driver and what runs there overrun it."""
        return self.card_bytes - self.budget_bytes - self.beside_bytes - self.beside_compute_bytes

    @property
    def kv_bytes(self) -> int:
        """What is left for the cache; negative when the rest alone is too much."""
        taken = self.weight_bytes + self.activation_bytes + self.graph_bytes + self.library_bytes
        return self.budget_bytes - taken


@dataclass(frozen=True, slots=True)
class Serving:
    """Everything a server decided: the split, its cards, the cache's layout and how much one step works on."""

    engine: str
    split: Split
    rooms: tuple[CardRoom, ...]
    plan: CachePlan
    step_tokens: int
    share_name: str

    @property
    def kv_bytes(self) -> int:
        """The cache of the card that has least room: all ranks hold as many blocks as it."""
        return min(room.kv_bytes for room in self.rooms)


def answer(
    setup: EngineSetup, serving: Serving, differences: tuple[str, ...], assumptions: tuple[str, ...]
) -> EngineEstimate:
    """The engine's answer in the form of all engines, what its speed rests on added to the assumptions."""
    capacity = measure_capacity(setup, serving)
    fit = judge(setup, serving, capacity)
    speed = _estimate_speed(setup, serving, capacity) if fit.runs else None
    notes = dict.fromkeys(note for room in serving.rooms for note in room.device.notes)
    memory = MemoryEstimate(
        setup.spec.model_id,
        setup.weight_format,
        serving.engine,
        tuple(_list_devices(setup, serving)),
        (*assumptions, f"speed: {speed.basis if speed else 'not estimated'}", *notes),
    )
    estimate = Estimate(memory, speed, fit, setup.spec.n_layers + 1, 0)
    split = serving.split
    return EngineEstimate(
        setup, serving.engine, estimate, capacity, split.tensor_parallel, split.pipeline_parallel, differences
    )


def _estimate_speed(setup: EngineSetup, serving: Serving, capacity: Capacity) -> SpeedEstimate | None:
    """What each of the requests that run at once sees: those asked for, or as many as the cache holds."""
    at_once = max(min(setup.n_parallel, int(capacity.n_requests)), 1)
    cache, state = count_request_bytes(setup.spec, serving.split, setup.kv_type, setup.context_tokens)
    layers = list_stages(setup.spec.n_layers, serving.split.pipeline_parallel)
    ranks = serving.split.tensor_parallel
    stages = tuple(
        Stage(serving.rooms[i * ranks].device, len(held) / setup.spec.n_layers, ranks) for i, held in enumerate(layers)
    )
    running = replace(setup, n_parallel=at_once)
    return estimate_engine_speed(running, serving.engine, stages, at_once * cache, at_once * state)


def measure_capacity(setup: EngineSetup, serving: Serving) -> Capacity:
    """What the cache holds over all cards.

    Where layers keep different tokens (windows, states), the tokens are those of requests of the asked length, as vLLM
    prints since 0.20: what it printed before counts every token in every layer, and may be less than one request.
    """
    plan, kv_bytes = serving.plan, max(serving.kv_bytes, 0)
    n_requests = plan.count_requests(kv_bytes, setup.context_tokens, serving.step_tokens)
    is_mixed = len(plan.groups) > 1 and n_requests >= 1
    return Capacity(
        kv_bytes=plan.count_blocks(kv_bytes) * plan.block_bytes * serving.split.n_cards,
        kv_tokens=int(n_requests * setup.context_tokens) if is_mixed else plan.count_tokens(kv_bytes),
        n_requests=n_requests,
        largest_context_tokens=plan.find_largest_context(kv_bytes, setup.spec.context_tokens, serving.step_tokens),
        block_tokens=plan.block_tokens,
    )


def _list_devices(setup: EngineSetup, serving: Serving) -> Iterator[DeviceUse]:
    """The host, which holds nothing, and each card with its share; unused cards stay empty."""
    machine, split = setup.machine, serving.split
    if not machine.is_unified:
        yield DeviceUse(machine.host.name, machine.host.memory_bytes, machine.host.usable_bytes, Parts())
    blocks = serving.plan.count_blocks(serving.kv_bytes) * serving.plan.block_bytes
    stages = list_stages(setup.spec.n_layers, split.pipeline_parallel)
    rooms = iter(enumerate(serving.rooms))
    for device in machine.accelerators:
        rank, room = next(rooms, (0, None)) if device.backend == serving.rooms[0].device.backend else (0, None)
        if room is None:
            yield DeviceUse(device.name, device.memory_bytes, device.usable_bytes, Parts())
            continue
        parts = Parts(
            weight_bytes=room.weight_bytes,
            kv_cache_bytes=blocks,
            compute_bytes=room.activation_bytes + room.graph_bytes + room.beside_compute_bytes,
            overhead_bytes=room.library_bytes + room.beside_bytes,
        )
        layers = len(stages[rank // split.tensor_parallel])
        yield DeviceUse(device.name, device.memory_bytes, max(device.usable_bytes, room.card_bytes), parts, layers)


def judge(setup: EngineSetup, serving: Serving, capacity: Capacity) -> Fit:
    """Whether it starts, and whether all requests find room at once.

    Headroom is the cache beyond what the asked requests need at full length on one card, negative for what is missing.
    """
    room = min(serving.rooms, key=lambda r: r.kv_bytes)
    plan, kv_bytes = serving.plan, serving.kv_bytes
    blocks = plan.count_request_blocks(setup.context_tokens, serving.step_tokens)
    beside = min(r.unshared_bytes for r in serving.rooms)
    headroom = kv_bytes - blocks * plan.block_bytes * setup.n_parallel
    if kv_bytes <= 0 or capacity.n_requests < 1:
        missing = kv_bytes - blocks * plan.block_bytes
        return Fit(Verdict.DOES_NOT_FIT, missing, tuple(_explain_refusal(setup, serving, room, capacity, missing)))
    if beside < 0:
        return Fit(Verdict.DOES_NOT_FIT, beside, (_explain_overrun(serving, room, beside),))
    held = (
        f"{room.device.name}: {format_bytes(room.weight_bytes)} of weights leave {format_bytes(kv_bytes)} of cache, "
        f"{format_tokens(capacity.kv_tokens)} tokens"
    )
    at_once = f"{format_figures(capacity.n_requests)} requests of {format_tokens(setup.context_tokens)} tokens at once"
    if headroom < 0:
        return Fit(Verdict.TIGHT, headroom, (f"only {at_once}, {setup.n_parallel} were asked for: the rest wait", held))
    if headroom < TIGHT_SHARE * kv_bytes:
        return Fit(Verdict.TIGHT, headroom, (f"{at_once}: hardly more than the {setup.n_parallel} asked for", held))
    return Fit(Verdict.FITS, headroom, (held, at_once))


def _explain_refusal(
    setup: EngineSetup, serving: Serving, room: CardRoom, capacity: Capacity, missing: int
) -> Iterator[str]:
    """Why it does not start: the weights, what runs beside them, or a request longer than the cache."""
    budget = f"the {format_bytes(room.budget_bytes)} of {room.device.name} that {serving.share_name} allows"
    if room.weight_bytes >= room.budget_bytes:
        yield f"the weights alone take {format_bytes(room.weight_bytes)} of {budget}"
    elif room.kv_bytes <= 0:
        rest = room.activation_bytes + room.graph_bytes + room.library_bytes
        yield (
            f"{format_bytes(room.weight_bytes)} of weights and {format_bytes(rest)} of activations and graphs "
            f"leave no cache in {budget}"
        )
    else:
        largest = capacity.largest_context_tokens
        starts = f"the largest length that starts is {format_tokens(largest)}" if largest else "no length starts"
        yield (
            f"one request of {format_tokens(setup.context_tokens)} tokens needs {format_bytes(-missing)} more cache "
            f"than the {format_bytes(room.kv_bytes)} left on {room.device.name}; {starts}"
        )


def _explain_overrun(serving: Serving, room: CardRoom, beside: int) -> str:
    return (
        f"{serving.share_name} leaves too little of {room.device.name} for the driver and what the engine takes "
        f"outside its share: {format_bytes(-beside)} too much"
    )

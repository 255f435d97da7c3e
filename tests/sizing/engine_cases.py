"""An engine made up for tests: weights by the real formats on the first card, a cache of one figure, plain speed."""

from __future__ import annotations

from sizing.engines.base import Capacity, Engine, EngineEstimate, EngineSetup
from sizing.engines.offers import Offer, count_offer_bytes
from sizing.errors import UnsupportedError
from sizing.estimate import Estimate
from sizing.fit import judge_devices
from sizing.memory import DeviceUse, MemoryEstimate, Parts
from sizing.throughput import Interval, SpeedEstimate
from sizing.units import MIB

KV_BYTES_PER_TOKEN = MIB // 8
NAME = "PaperEngine"


def find_gap(setup: EngineSetup) -> str | None:
    """It wants a card, and knows no model named after aliens."""
    if not setup.machine.accelerators:
        return f"{NAME} wants a card"
    return f"{NAME} does not know this architecture" if "alien" in setup.spec.name else None


def estimate(setup: EngineSetup) -> EngineEstimate:
    """All of it on the first card; speed is bandwidth over weights."""
    gap = find_gap(setup)
    if gap:
        raise UnsupportedError(gap)
    card = setup.machine.accelerators[0]
    weights = count_offer_bytes(setup.spec, Offer(setup.weight_format, setup.weights))
    cache = KV_BYTES_PER_TOKEN * setup.context_tokens * setup.n_parallel
    parts = Parts(weight_bytes=weights, kv_cache_bytes=cache, overhead_bytes=512 * MIB)
    layers = setup.spec.n_layers
    use = DeviceUse(card.name, card.memory_bytes, card.usable_bytes, parts, layers)
    host = DeviceUse(setup.machine.host.name, setup.machine.host.memory_bytes, setup.machine.host.usable_bytes, Parts())
    fit = judge_devices((host, use), layers + 1, 0)
    speed = None
    if card.bandwidth_bytes_per_s and fit.runs:
        mid = card.bandwidth_bytes_per_s / (weights + cache)
        speed = SpeedEstimate(Interval(0.8 * mid, mid, 1.1 * mid), None, None, "bandwidth", "made up", setup.n_parallel)
    memory = MemoryEstimate(setup.spec.model_id, setup.weight_format, NAME, (host, use), ("made up for a test",))
    left = max(0, card.usable_bytes - weights - 512 * MIB)
    tokens = left // KV_BYTES_PER_TOKEN
    capacity = Capacity(left, tokens, tokens / setup.context_tokens, tokens, 16)
    told = Estimate(memory, speed, fit, layers + 1, 0)
    return EngineEstimate(setup, NAME, told, capacity, differences=("it is made up: nothing is real",))


def make_engine(name: str = NAME, formats: tuple[str, ...] = ("BF16", "FP8", "AWQ")) -> Engine:
    """The engine, not registered."""
    return Engine(
        name, formats, ("auto", "fp8"), frozenset({"cuda"}), estimate, find_gap, "https://example.org", False, "", True
    )

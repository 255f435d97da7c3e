"""Speed of engines other than llama.cpp: bytes read and operations done over what an engine reaches of a card's peak.

Decode, one step for all requests, summed over the stages, which work one after another:
`t = max(weights / (bandwidth x share), requests x 2 x params / (flops x prompt share))
   + cache / (bandwidth x cache share) + n_layers x step + 2 x n_layers x all-reduce`,
where the ranks of a tensor-parallel stage divide weights, cache and operations and meet twice a layer (Megatron-LM,
arXiv:1909.08053, section 3). Weights are read once for all requests, experts as far as the tokens of a step choose
them. Prefill of a prompt that fills the context, per token:
`t = 2 x params / (flops x prompt share) + attention / (flops x prompt share) + n_layers x step / batch`.

Shares, steps and intervals are fitted from published measurements by `python -m tools.fit_engine_speed`, which writes
`sizing/engines/fitted_rates.py` and prints how far estimates are off on devices the fit has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp

from sizing import efficiencies
from sizing.engines.base import EngineSetup
from sizing.engines.fitted_rates import RATES
from sizing.engines.model_bytes import FormatBytes, count_format_bytes, find_expert_share
from sizing.engines.rates import EngineRates
from sizing.hardware import Device
from sizing.specs import ModelSpec
from sizing.throughput import CLASSES, Interval, SpeedEstimate, find_flops, find_prefill_class, find_speed_class, widen
from sizing.units import format_tokens
from sizing.weights import attention_widths, count_lookup_params

CACHE_SHARE = 0.75
"""Part of the bandwidth that reading the cache reaches: what llama.cpp's flash attention does (`sizing.efficiencies`,
CACHE_SHARE); rows of other engines are too few to tell."""

ARITHMETIC_SHARE = 0.4
"""Part of the 16-bit arithmetic rate that many requests at once reach where no row tells: the mean of what llama.cpp's
prompts do over classes of cards (`sizing.efficiencies`, PREFILL_SHARE_UNKNOWN) with tuned kernels' advance of a fifth.
Assumed."""

PROMPT_BATCH = 2048
"""Tokens of a prompt that one step takes: vLLM's default for serving before its automatic rise, mlx-lm's
`prefill_step_size` and ExLlama's `max_chunk_size` alike."""

NVLINK_BYTES_PER_S = {"volta": 150e9, "ampere": 300e9, "hopper": 450e9, "blackwell": 900e9}
"""One way between cards on a board (SXM) by generation (https://www.nvidia.com/en-us/data-center/nvlink/, halved)."""

LINK_BYTES_PER_S = 12e9
"""Assumed between cards where nothing is known: PCIe 3.0 with 16 lanes, as `sizing.throughput.LINK_BYTES_PER_S`."""

NEAREST = {
    "SGLang": "vLLM",
    "TGI": "vLLM",
    "ExLlamaV2": "AutoAWQ",
    "ExLlamaV3": "AutoAWQ",
}
"""The engine whose rates one without measurements takes: serving engines with the same kernels; ExLlama's fused 4-bit
kernels of one process are nearest to AutoAWQ's."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Equal cards that hold `layer_share` of the layers; `n_ranks` of them divide each layer among themselves."""

    device: Device
    layer_share: float = 1.0
    n_ranks: int = 1


@dataclass(frozen=True, slots=True)
class SpeedWork:
    """What one step moves and computes, on one rank of each stage.

    `cache_bytes` is the cache that all requests fill at their full length and `state_bytes` their recurrent state, on
    one rank of a stage that holds all layers. `n_tokens` are computed at once, one for each request. `held` is what the
    engine stores where that is not plainly the format.
    """

    spec: ModelSpec
    weight_format: str
    n_tokens: int
    cache_bytes: float
    state_bytes: float = 0.0
    held: FormatBytes | None = None

    def count_read_bytes(self, n_ranks: int, expert_share: float) -> float:
        """Bytes of weights one rank reads."""
        if self.held is not None:
            return self.held.count_read_bytes(expert_share) / n_ranks
        return count_format_bytes(self.spec, self.weight_format, n_ranks).count_read_bytes(expert_share)


@dataclass(frozen=True, slots=True)
class StepTerms:
    """Seconds of one decode step before shares of the peak; `layers` and `reduces` are counts."""

    weight_s: float
    arithmetic_s: float | None
    cache_s: float
    state_s: float
    layers: int
    reduces: int
    link_s: float
    is_sparse: bool


def find_link_bytes_per_s(device: Device) -> float:
    """One-way bandwidth between two cards of a kind: NVLink on SXM boards, else the card's link to the host."""
    if device.memory_type == "hbm" and ("SXM" in device.name or "GB200" in device.name):
        return NVLINK_BYTES_PER_S.get(device.architecture, LINK_BYTES_PER_S)
    return device.link_bytes_per_s or LINK_BYTES_PER_S


def list_step_terms(work: SpeedWork, stages: Sequence[Stage], fill: float) -> StepTerms | None:
    """The terms of one step with caches filled to the share `fill`; None where a bandwidth is unknown.

    A ring all-reduce of n ranks sends 2 (n - 1) / n of the hidden states of the step's tokens.
    """
    spec, share = work.spec, find_expert_share(work.spec, work.n_tokens)
    flops_of_step = 2.0 * _count_products(spec) * work.n_tokens
    weight = cache = state = link = arithmetic = 0.0
    reduces, counts_flops = 0, True
    for stage in stages:
        bandwidth, flops, part = stage.device.bandwidth_bytes_per_s, find_flops(stage.device), stage.layer_share
        if bandwidth is None:
            return None
        weight += part * work.count_read_bytes(stage.n_ranks, share) / bandwidth
        cache += part * work.cache_bytes * fill / bandwidth
        state += part * 2.0 * work.state_bytes / bandwidth
        counts_flops = counts_flops and flops is not None
        arithmetic += part * flops_of_step / ((flops or 1.0) * stage.n_ranks)
        if stage.n_ranks > 1:
            reduces += round(2 * part * spec.n_layers)
            link += 2 * part * spec.n_layers * work.n_tokens * _reduce_seconds(spec, stage)
    return StepTerms(
        weight, arithmetic if counts_flops else None, cache, state, spec.n_layers, reduces, link, spec.is_moe
    )


def _reduce_seconds(spec: ModelSpec, stage: Stage) -> float:
    """Seconds one token's hidden state in 16 bits takes on the links in a ring all-reduce."""
    sent = 2 * (stage.n_ranks - 1) / stage.n_ranks * spec.hidden_dim * 2
    return sent / find_link_bytes_per_s(stage.device)


@lru_cache(maxsize=1024)
def _count_products(spec: ModelSpec) -> float:
    """Parameters one token is multiplied with."""
    return float(max(spec.n_active_params - count_lookup_params(spec), 0))


def count_prompt_flops(spec: ModelSpec, tokens: int) -> float:
    """Operations of one token of a prompt of `tokens` tokens: products and attention over half of it, not the head."""
    full, windowed, window = attention_widths(spec)
    attention = 2.0 * (full * tokens / 2 + windowed * min(window, tokens / 2))
    return 2.0 * max(_count_products(spec) - spec.vocab_size * spec.hidden_dim, 0.0) + attention


def find_rates(engine: str) -> tuple[EngineRates, str]:
    """An engine's rates and the name of the engine they were fitted on."""
    name = engine if engine in RATES else NEAREST.get(engine, "vLLM")
    return RATES[name], name


def add_up_step(terms: StepTerms, rate: EngineRates) -> float:
    """Seconds of one decode step."""
    reading = terms.weight_s / rate.decode_share
    if terms.arithmetic_s is not None:
        reading = max(reading, terms.arithmetic_s / (rate.prefill_share or ARITHMETIC_SHARE))
    memory = (terms.cache_s + terms.state_s) / CACHE_SHARE
    step_s = rate.step_s * (rate.sparse_step if terms.is_sparse else 1.0)
    return reading + memory + terms.layers * step_s + terms.reduces * rate.reduce_s + terms.link_s


def estimate_engine_speed(
    setup: EngineSetup,
    engine: str,
    stages: Sequence[Stage],
    cache_bytes: float,
    state_bytes: float = 0.0,
    *,
    runs: bool = True,
    held: FormatBytes | None = None,
) -> SpeedEstimate | None:
    """Speed of each of the setup's requests on `engine`; None where it does not run or a bandwidth is unknown.

    `cache_bytes` and `state_bytes` are those of all requests at their full length on one rank, over all layers.
    `held` is what the engine stores where that is not plainly the format.
    The slow end has caches full, the middle half full, the fast end empty. A device class or an engine that was not
    measured has a wider interval, and `basis` says so.
    """
    work = SpeedWork(setup.spec, setup.weight_format, setup.n_parallel, cache_bytes, state_bytes, held)
    rate, source = find_rates(engine)
    if not runs or not stages:
        return None
    seconds = []
    wide = widen(_count_devices(rate, engine, source, stages))
    for fill, end in ((1.0, rate.spread[1]), (0.5, 0.0), (0.0, rate.spread[0])):
        terms = list_step_terms(work, stages, fill)
        if terms is None:
            return None
        floor = terms.weight_s + terms.cache_s if fill == 0.0 else 0.0
        seconds.append(max(add_up_step(terms, rate) * exp(end * wide), floor))
    decode = Interval(1 / seconds[0], 1 / seconds[1], 1 / seconds[2])
    prefill = estimate_engine_prefill(setup, engine, stages)
    middle = list_step_terms(work, stages, 0.5)
    assert middle is not None
    return SpeedEstimate(
        decode,
        prefill,
        None if prefill is None else _estimate_first_token(prefill, decode, setup.context_tokens),
        _name_bound(middle, rate, stages),
        describe_engine_basis(engine, stages),
        setup.n_parallel,
    )


def estimate_engine_prefill(setup: EngineSetup, engine: str, stages: Sequence[Stage]) -> Interval | None:
    """Tokens per second of one prompt that fills the context; None where an arithmetic rate is unknown."""
    rate, source = find_rates(engine)
    spec, tokens = setup.spec, setup.context_tokens
    seconds = spec.n_layers * rate.step_s / min(PROMPT_BATCH, tokens)
    for stage in stages:
        flops = find_flops(stage.device)
        if flops is None:
            return None
        reached = rate.prefill_share or _find_prompt_share(stage.device)
        seconds += stage.layer_share * count_prompt_flops(spec, tokens) / (flops * stage.n_ranks * reached)
        if stage.n_ranks > 1:
            seconds += 2 * stage.layer_share * spec.n_layers * _reduce_seconds(spec, stage)
    wide = widen(_count_devices(rate, engine, source, stages) if rate.n_prefill_rows else 0)
    slow, fast = (seconds * exp(end * wide) for end in (rate.prefill_spread[1], rate.prefill_spread[0]))
    return Interval(1 / slow, 1 / seconds, 1 / fast)


def _find_prompt_share(device: Device) -> float:
    """What llama.cpp's prompts in 16 bit reach of a device's arithmetic rate, by its class."""
    unknown = efficiencies.PREFILL_SHARE_UNKNOWN["16 bit"]
    return efficiencies.PREFILL_SHARE.get((find_prefill_class(device), "16 bit"), unknown)


def _estimate_first_token(prefill: Interval, decode: Interval, prompt_tokens: int) -> Interval:
    """Seconds to read a prompt and to say the first token."""
    pairs = ((prefill.high, decode.high), (prefill.mid, decode.mid), (prefill.low, decode.low))
    return Interval(*(prompt_tokens / p + 1 / d for p, d in pairs))


def _count_devices(rate: EngineRates, engine: str, source: str, stages: Sequence[Stage]) -> int:
    """Measured devices of the least measured class in use; none for an engine that borrows its rates."""
    if engine != source:
        return 0
    return min(rate.n_devices.get(find_speed_class(s.device), 0) for s in stages)


def _name_bound(terms: StepTerms, rate: EngineRates, stages: Sequence[Stage]) -> str:
    """What takes most of a step, in words."""
    name = stages[0].device.name
    reading, arithmetic = (
        terms.weight_s / rate.decode_share,
        (terms.arithmetic_s or 0.0) / (rate.prefill_share or ARITHMETIC_SHARE),
    )
    memory = (terms.cache_s + terms.state_s) / CACHE_SHARE
    costs = {
        f"memory bandwidth of {name}": memory + (reading if reading >= arithmetic else 0.0),
        f"arithmetic of {name}": arithmetic if arithmetic > reading else 0.0,
        f"per-layer overhead of {name}": terms.layers * rate.step_s,
        "the links between devices": terms.reduces * rate.reduce_s + terms.link_s,
    }
    return max(costs, key=lambda k: costs[k])


def describe_engine_basis(engine: str, stages: Sequence[Stage]) -> str:
    """What an estimate rests on, in words: rows and devices, or from where it is borrowed."""
    rate, source = find_rates(engine)
    n_devices = sum(rate.n_devices.values())
    said = f"fitted on {format_tokens(rate.n_rows)} measured rows of {source} on {n_devices} " + (
        "device" if n_devices == 1 else "devices"
    )
    if engine != source:
        return f"no measurement of {engine}: {said}, with a wider interval"
    unseen = sorted(
        {CLASSES[find_speed_class(s.device)] for s in stages if not rate.n_devices.get(find_speed_class(s.device), 0)}
    )
    return f"{said}; none of this class ({', '.join(unseen)}), so with a wider interval" if unseen else said

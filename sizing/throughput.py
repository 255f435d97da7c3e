"""Speed of any placed row, from bytes moved and operations done over what a class of devices reaches of its peak.

Decode, one step for all `n_parallel` streams, summed over the devices, which work one after another:
`t = weight_bytes / (bandwidth x share) + cache_bytes / (bandwidth x cache share) + n_layers x step
   + (n_parallel - 1) x 2 x params / (flops x prompt share) + hops`.
Weights are read once for all streams, every stream's own cache is read; the operations of the first stream hide behind
the reading, those of the others are added, so that a large number of streams is bound by arithmetic.

Prefill of a prompt that fills the context, per token and device:
`t = 2 x params / (flops x prompt share) + attention / (flops x attention share) + n_layers x step / n_ubatch`,
where attention grows with the square of the prompt: per token 2 x heads x (key + value width) x the tokens before it.

Shares, steps and intervals are fitted from published measurements by `python -m tools.fit_speed`, which writes
`sizing/efficiencies.py` and prints how far estimates are off on devices the fit has not seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sizing import efficiencies
from sizing.hardware import Calibration, Device, DeviceKind
from sizing.placement import Placement
from sizing.quants import find_quant_class
from sizing.weights import Floats, WeightTable
from sizing.workload import Workload

FAMILIES = ("16 bit", "8 bit", "4 to 6 bit", "3 bit", "2 bit")
"""What speed tells apart among quantizations. The fewer the bits, the more of the time goes into unpacking them, and
the smaller the share of the bandwidth that is reached: 3 bit are Q2_K, Q3 and IQ3 recipes, 2 bit IQ2 and IQ1."""

CLASSES = {
    "cpu": "processor",
    "cpu many": "processor of many cores",
    "apple": "Apple chip",
    "cuda": "NVIDIA card with GDDR",
    "cuda hbm": "NVIDIA card with HBM",
    "cuda unified": "NVIDIA chip with shared memory",
    "amd": "AMD card with GDDR",
    "amd hbm": "AMD card with HBM",
    "amd unified": "AMD chip with shared memory",
    "intel": "Intel card",
    "intel unified": "Intel chip with shared memory",
    "other": "accelerator of another kind",
}
"""Classes of devices, and how a sentence calls them."""

_LIKE = {"amd hbm": "cuda hbm"}
"""Where a class without a measurement borrows its shares; all others take the mean over classes."""

_HBM = re.compile(r"\b(A100|A800|A30|H100|H200|H800|H20|B[123]00|G[HB][23]00|P100|[TG]?V100|MI\d{2,3}X?|Radeon VII)\b")
_MANY_CORES = re.compile(r"\b(Epyc|Xeon|Threadripper PRO|AmpereOne|Altra|Graviton)\b", re.IGNORECASE)
_GEFORCE = re.compile(r"^(?:NVIDIA )?(?:GeForce )?(?:(?:RTX|GTX) \d{4}|TITAN|MX\d)(?!.*\b(?:Ada|Blackwell|PRO)\b)")

MANY_CORES = 32
"""From this many cores on a processor counts as one of many: every operation waits for all threads to meet."""

LOOKED_UP_ON_CPU = 0.6
"""What is left on a processor for IQ quantizations, whose values are looked up in tables (llama.cpp's own notes call
them slower on CPU). Assumed: no measurement of one is at hand."""

LINK_BYTES_PER_S = 12e9
"""Assumed link to the host where a device's own is unknown: what PCIe 3.0 with 16 lanes carries one way, less framing
(https://pcisig.com/specifications: 8 GT/s x 16 lanes, 128b/130b)."""

_FLOPS_PER_CORE = (("AVX-512", 300e9), ("AVX2", 150e9), ("NEON", 100e9))
"""Arithmetic of one core in operations/s by its widest vectors: about two 16-bit-class fused operations per lane and
cycle near 3 GHz."""

_STREAM_SPREAD = (2.0, 1.0, 0.5)
"""Factors on the operations of further streams at the low, middle and high speed. Assumed: they were measured on one
device, where models with recurrent layers took far more and small dense ones less."""
_CALIBRATED = (1.15, 1.0, 0.85)
"""Times at the low, middle and high speed around what was measured here: other models of the same class, and other
programs running."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Low, middle and high of an uncertain number, in that order."""

    low: float
    mid: float
    high: float


@dataclass(frozen=True, slots=True)
class SpeedEstimate:
    """Tokens per second of one stream, and seconds to the first token of a prompt that fills the context.

    Intervals are meant to hold the true figure eight times of ten. `decode_tokens_per_s` is what each of `n_parallel`
    users sees while all of them generate. `prefill_tokens_per_s` and `time_to_first_token_s` are None where a device's
    arithmetic rate is unknown; they are of one prompt alone. `bound` names what limits decoding at the middle: the
    memory bandwidth of a device, its arithmetic, its per-layer overhead, or the links between devices. `basis` says
    what measurements the interval rests on.
    """

    decode_tokens_per_s: Interval
    prefill_tokens_per_s: Interval | None
    time_to_first_token_s: Interval | None
    bound: str
    basis: str = ""
    n_parallel: int = 1

    @property
    def total_decode_tokens_per_s(self) -> Interval:
        """Tokens per second of all users together."""
        one, n = self.decode_tokens_per_s, self.n_parallel
        return Interval(one.low * n, one.mid * n, one.high * n)


@dataclass(frozen=True, slots=True)
class SpeedFit:
    """Fitted constants, by class of device unless said. Shares are parts of the peak, steps are seconds.

    `decode_share` is by (class, family), `decode_share_unknown` by family for a class that was not measured.
    `cache_share` is that of reading the cache with flash attention; `no_flash` what is left of it without.
    `sparse_share` and `sparse_step` are factors for a mixture of experts. `stream_factor` is how much dearer a token of
    a further stream is than one of a prompt. `hop_s` is one crossing from device to device.
    `spread` holds the 10th and 90th percentile of log(measured time / estimated time), by kind ('decode', 'sparse',
    'prefill'), for a class of many devices. `n_rows` and `n_devices` count what the fit saw, by kind then class.
    """

    decode_share: dict[tuple[str, str], float]
    decode_share_unknown: dict[str, float]
    step_s: dict[str, float]
    step_s_unknown: float
    cache_share: float
    no_flash: float
    sparse_share: float
    sparse_step: float
    prefill_share: dict[tuple[str, str], float]
    prefill_share_unknown: dict[str, float]
    prefill_sparse: float
    prefill_step_s: float
    attention_share: float
    stream_factor: float
    hop_s: float
    spread: dict[str, tuple[float, float]]
    n_rows: dict[str, dict[str, int]]
    n_devices: dict[str, dict[str, int]]


FITTED = SpeedFit(
    decode_share=efficiencies.DECODE_SHARE,
    decode_share_unknown=efficiencies.DECODE_SHARE_UNKNOWN,
    step_s=efficiencies.STEP_S,
    step_s_unknown=efficiencies.STEP_S_UNKNOWN,
    cache_share=efficiencies.CACHE_SHARE,
    no_flash=efficiencies.NO_FLASH,
    sparse_share=efficiencies.SPARSE_SHARE,
    sparse_step=efficiencies.SPARSE_STEP,
    prefill_share=efficiencies.PREFILL_SHARE,
    prefill_share_unknown=efficiencies.PREFILL_SHARE_UNKNOWN,
    prefill_sparse=efficiencies.PREFILL_SPARSE,
    prefill_step_s=efficiencies.PREFILL_STEP_S,
    attention_share=efficiencies.ATTENTION_SHARE,
    stream_factor=efficiencies.STREAM_FACTOR,
    hop_s=efficiencies.HOP_S,
    spread=efficiencies.SPREAD,
    n_rows=efficiencies.N_ROWS,
    n_devices=efficiencies.N_DEVICES,
)
"""The constants that ship, fitted on all measured devices."""


@lru_cache(maxsize=4096)
def find_speed_class(device: Device) -> str:
    """The class (a key of CLASSES) a device's shares of its peak come from."""
    if device.kind is DeviceKind.CPU:
        many = (device.n_cores or 0) >= MANY_CORES or _MANY_CORES.search(device.name)
        return "cpu many" if many else "cpu"
    maker = _find_maker(device)
    if device.kind is DeviceKind.UNIFIED:
        return {"apple": "apple", "cuda": "cuda unified", "amd": "amd unified", "intel": "intel unified"}.get(
            maker, "other"
        )
    stacked = device.memory_type == "hbm" if device.memory_type else _HBM.search(device.name) is not None
    if maker in ("cuda", "amd"):
        return f"{maker} hbm" if stacked else maker
    return "intel" if maker == "intel" else "other"


def _find_maker(device: Device) -> str:
    """'apple', 'cuda', 'amd', 'intel', or '' where neither backend nor name tells."""
    by_backend = {"metal": "apple", "cuda": "cuda", "rocm": "amd", "sycl": "intel"}.get(device.backend, "")
    if by_backend:
        return by_backend
    if re.search(r"\b(Arc|Intel|Iris)\b", device.name):
        return "intel"
    if re.search(r"\b(RX|Radeon|Instinct|Ryzen|AMD)\b", device.name):
        return "amd"
    return "cuda" if re.search(r"\b(RTX|GTX|NVIDIA|GeForce|Tesla|Quadro)\b", device.name) else ""


@lru_cache(maxsize=4096)
def find_prefill_class(device: Device) -> str:
    """The class prefill is measured by: NVIDIA's workstation and server cards with GDDR apart from GeForce.

    A GeForce multiplies with 32-bit sums at half the rate of the same chip on a workstation card, which is why its
    stated rate is half; llama.cpp's kernels do not gain from the full rate.
    """
    found = find_speed_class(device)
    return "cuda workstation" if found == "cuda" and not _GEFORCE.search(device.name) else found


@lru_cache(maxsize=1024)
def find_family(quant: str) -> str:
    """The family of FAMILIES a quantization belongs to."""
    if find_quant_class(quant) == "coarse":
        return "8 bit" if quant == "Q8_0" else "16 bit"
    if quant.startswith(("IQ1", "IQ2")):
        return "2 bit"
    return "3 bit" if quant.startswith(("Q2", "Q3", "IQ3")) else "4 to 6 bit"


def find_flops(device: Device) -> float | None:
    """A device's arithmetic rate in operations/s: its own figure, else for a CPU what its cores can do, else None."""
    if device.fp16_flops is not None or device.kind is not DeviceKind.CPU or device.n_cores is None:
        return device.fp16_flops
    rates = [rate for name, rate in _FLOPS_PER_CORE if name in device.instruction_sets]
    return device.n_cores * rates[0] if rates else None


def describe_basis(device: Device, kind: str = "decode", fit: SpeedFit = FITTED) -> str:
    """What an estimate for this device rests on, in words; `kind` is 'decode' or 'prefill'."""
    found = find_prefill_class(device) if kind == "prefill" else find_speed_class(device)
    named = CLASSES.get(found, "NVIDIA workstation card")
    n_devices = fit.n_devices[kind].get(found, 0)
    if n_devices:
        noun = "device" if n_devices == 1 else "devices"
        return f"{kind} fitted on {fit.n_rows[kind][found]:,} measured rows of {n_devices} {noun} ({named})"
    like = _LIKE.get(found)
    source = f"taken from {CLASSES[like]}" if like in fit.n_devices[kind] and like else "the mean over all classes"
    return f"no {kind} measurement of this class ({named}): {source}, with a wider interval"


@dataclass(frozen=True, slots=True)
class SpeedTerms:
    """What one decode step costs each row on each device (rows x devices), before shares of the peak.

    `weight_s` and `cache_s` are seconds at full bandwidth, `arithmetic_s` seconds at the full arithmetic rate for one
    token (NaN where unknown), `n_layers` the layers run there, `used` whether the row uses the device at all.
    """

    weight_s: Floats
    cache_s: Floats
    arithmetic_s: Floats
    n_layers: Floats
    used: NDArray[np.bool_]


def list_decode_terms(table: WeightTable, placement: Placement, n_active_params: Floats, fill: float) -> SpeedTerms:
    """The terms of one step with caches filled to the share `fill`; `n_active_params` is a column over rows.

    Recurrent state is read and written each step whatever the fill.
    """
    bandwidth = np.array([d.bandwidth_bytes_per_s or np.nan for d in placement.devices])
    flops = np.array([find_flops(d) or np.nan for d in placement.devices])
    active = placement.active_weights.astype(float)
    used = active > 0
    part = active / np.maximum(active.sum(axis=1, keepdims=True), 1.0)
    operations = 2.0 * np.maximum(n_active_params - table.n_lookup_params, 0.0)
    return SpeedTerms(
        weight_s=active / bandwidth,
        cache_s=(placement.kv * fill + 2.0 * placement.recurrent) / bandwidth,
        arithmetic_s=part * operations[:, None] / flops,
        n_layers=placement.n_layers.astype(float),
        used=used,
    )


def find_ubatch(workload: Workload | None) -> int:
    """Tokens of a prompt that are computed together: the physical batch, or the whole of a shorter prompt."""
    return min(workload.n_ubatch, workload.context_tokens) if workload else 512


def list_prefill_terms(
    table: WeightTable, placement: Placement, n_active_params: Floats, workload: Workload | None
) -> SpeedTerms:
    """The terms of one token of a prompt that fills the context, in the same columns.

    `weight_s` are the products with weights, `cache_s` attention over half the context (what a token sees on average),
    both in seconds at the full arithmetic rate; `n_layers` is a token's part of a physical batch's layers. The output
    head works once a prompt and is not counted.
    """
    flops = np.array([find_flops(d) or np.nan for d in placement.devices])
    active = placement.active_weights.astype(float)
    part = active / np.maximum(active.sum(axis=1, keepdims=True), 1.0)
    layer_part = placement.n_layers / np.maximum(table.n_layers, 1)[:, None]
    lookup = table.n_lookup_params + table.n_head_params
    products = 2.0 * np.maximum(n_active_params - lookup, 0.0)
    attention = table.count_attention_flops(workload.context_tokens / 2.0 if workload else 0.0)
    return SpeedTerms(
        weight_s=part * products[:, None] / flops,
        cache_s=layer_part * attention[:, None] / flops,
        arithmetic_s=part * products[:, None] / flops,
        n_layers=placement.n_layers / find_ubatch(workload),
        used=active > 0,
    )


@dataclass(frozen=True, slots=True)
class Shares:
    """What is reached, by row and device: `decode` and `prefill` as parts of the peak, `step_s` seconds per layer."""

    decode: Floats
    prefill: Floats
    step_s: Floats


def find_shares(table: WeightTable, devices: Sequence[Device], fit: SpeedFit = FITTED) -> Shares:
    """The fitted shares of every row on every device."""
    index = {quant: i for i, quant in enumerate(dict.fromkeys(table.quant))}
    families = [find_family(quant) for quant in index]
    rows = np.array([index[quant] for quant in table.quant], dtype=np.int64)
    sparse = table.is_moe
    kinds, kind_of = _number_equal(devices)
    decode, prefill, step = [], [], []
    for device in kinds:
        found, prompt = find_speed_class(device), find_prefill_class(device)
        found = found if (found, FAMILIES[0]) in fit.decode_share else _LIKE.get(found, found)
        prompt = prompt if (prompt, FAMILIES[0]) in fit.prefill_share else _LIKE.get(prompt, prompt)
        decode.append(
            [
                fit.decode_share.get((found, f), fit.decode_share_unknown[f])
                * (LOOKED_UP_ON_CPU if device.kind is DeviceKind.CPU and quant.startswith("IQ") else 1.0)
                for quant, f in zip(index, families, strict=True)
            ]
        )
        prefill.append([fit.prefill_share.get((prompt, f), fit.prefill_share_unknown[f]) for f in families])
        step.append(fit.step_s.get(found, fit.step_s_unknown))

    def by_row(shares: list[list[float]], of_sparse: float) -> Floats:
        by_quant = np.array([shares[kind] for kind in kind_of]).T
        return np.ascontiguousarray(by_quant[rows] * np.where(sparse, of_sparse, 1.0)[:, None])

    steps = np.array([step[kind] for kind in kind_of]) * np.where(sparse, fit.sparse_step, 1.0)[:, None]
    return Shares(by_row(decode, fit.sparse_share), by_row(prefill, fit.prefill_sparse), steps)


def _number_equal(devices: Sequence[Device]) -> tuple[list[Device], list[int]]:
    """The distinct ones among devices, and which of them each is; many a machine has several of one card."""
    kinds: list[Device] = []
    which = []
    for device in devices:
        found = next((i for i, kind in enumerate(kinds) if kind is device or kind == device), len(kinds))
        if found == len(kinds):
            kinds.append(device)
        which.append(found)
    return kinds, which


def find_spread(
    devices: Sequence[Device], sparse: NDArray[np.bool_], kind: str, n_parallel: int = 1, fit: SpeedFit = FITTED
) -> Floats:
    """Factors on a device's time at the low, middle and high speed (rows x devices x 3).

    The percentiles of the fit, widened by `widen` where few devices of the class were measured. Several streams count
    as not measured: they were on one device only.
    """
    kinds, kind_of = _number_equal(devices)
    factors = np.ones((2, len(kinds), 3))
    for d, device in enumerate(kinds):
        found = find_prefill_class(device) if kind == "prefill" else find_speed_class(device)
        n_devices = fit.n_devices[kind].get(found, 0)
        wide = widen(n_devices if n_parallel == 1 else 0)
        for of_moe in (False, True):
            fast, slow = fit.spread["sparse" if of_moe and kind == "decode" else kind]
            factors[int(of_moe), d] = (np.exp(slow * wide), 1.0, np.exp(fast * wide))
    out: Floats = factors[:, kind_of][sparse.astype(np.int64)]
    return out


def widen(n_devices: int) -> float:
    """How much wider an interval is for a class of which `n_devices` were measured.

    A mean over n devices is itself off by 1/sqrt(n) of what one device is off, so the sum of both grows as
    sqrt(1 + 1/n); a class that was not measured counts as a third of a device.
    """
    return float(np.sqrt(1.0 + 1.0 / max(n_devices, 1 / 3)))


@dataclass(frozen=True, slots=True)
class SpeedColumns:
    """Low, mid, high by row (shape rows x 3); NaN where unknown. Decode is of each of `n_parallel` streams.

    `bound_device` indexes the placement's devices, `bound_kind` BOUNDS.
    """

    decode_tokens_per_s: Floats
    prefill_tokens_per_s: Floats
    bound_device: np.ndarray
    bound_kind: np.ndarray
    n_parallel: int = 1
    measured_here: np.ndarray | None = None

    def at(self, row: int, placement: Placement, prompt_tokens: int) -> SpeedEstimate | None:
        """The estimate of one row, None where the bandwidth is unknown."""
        decode = self.decode_tokens_per_s[row]
        if np.isnan(decode).any():
            return None
        prefill = None if np.isnan(self.prefill_tokens_per_s[row]).any() else _interval(self.prefill_tokens_per_s[row])
        device = placement.devices[int(self.bound_device[row])]
        return SpeedEstimate(
            _interval(decode),
            prefill,
            None if prefill is None else _estimate_first_token(prefill, _interval(decode), prompt_tokens),
            BOUNDS[int(self.bound_kind[row])].format(device.name),
            self._find_basis(row, placement),
            self.n_parallel,
        )

    def _find_basis(self, row: int, placement: Placement) -> str:
        if self.measured_here is not None and self.measured_here[row]:
            return "measured on this machine"
        used = placement.active_weights[row] > 0
        return "; ".join(dict.fromkeys(describe_basis(d) for d, u in zip(placement.devices, used, strict=True) if u))


BOUNDS = (
    "memory bandwidth of {}",
    "arithmetic of {}",
    "per-layer overhead of {}",
    "the links between devices",
)
"""What can limit decoding."""


def _interval(values: Floats) -> Interval:
    return Interval(float(values[0]), float(values[1]), float(values[2]))


def _estimate_first_token(prefill: Interval, decode: Interval, prompt_tokens: int) -> Interval:
    """Seconds to read a prompt of `prompt_tokens` and to say the first token."""
    pairs = ((prefill.high, decode.high), (prefill.mid, decode.mid), (prefill.low, decode.low))
    return Interval(*(prompt_tokens / p + 1 / d for p, d in pairs))


def estimate_speed(
    table: WeightTable,
    placement: Placement,
    n_active_params: Floats,
    calibrations: Sequence[Calibration] = (),
    workload: Workload | None = None,
    *,
    fills: tuple[float, float, float] = (1.0, 0.5, 0.0),
    fit: SpeedFit = FITTED,
) -> SpeedColumns:
    """Speed of every placed row; `n_active_params` is a column over rows (parameters per token).

    The low end has its caches filled to the share `fills[0]` and the slow end of what the class reaches, the middle
    `fills[1]`, the high end `fills[2]` and the fast end. Without a `workload` there is one stream, flash attention and
    a prompt too short for attention to count. Where all is on the host, `calibrations` of a row's class replace the
    fitted share by the measured middle.
    """
    decode_ratio, prefill_ratio = _find_ratios(table, placement, calibrations)
    shares = find_shares(table, placement.devices, fit)
    parts = [
        _decode_parts(list_decode_terms(table, placement, n_active_params, fill), shares, workload, fit)
        for fill in dict.fromkeys(fills)
    ]
    by_fill = dict(zip(dict.fromkeys(fills), parts, strict=True))
    n_parallel = workload.n_parallel if workload else 1
    spread = find_spread(placement.devices, table.is_moe, "decode", n_parallel, fit)
    decode_s = np.stack(
        [_add_up(by_fill[fill], i, spread[:, :, i], decode_ratio) for i, fill in enumerate(fills)], axis=1
    )
    fastest_s = np.where(by_fill[fills[2]].used, by_fill[fills[2]].floor_s, 0.0).sum(axis=1)
    decode_s = np.maximum(decode_s, fastest_s[:, None])
    prefill_s = _prefill_seconds(table, placement, n_active_params, workload, prefill_ratio, shares, fit)
    middle = by_fill[fills[1]]
    costs = np.where(middle.used[:, :, None], middle.costs_s, 0.0)
    worst = np.nan_to_num(costs).reshape(len(costs), -1).argmax(axis=1)
    with np.errstate(divide="ignore"):
        return SpeedColumns(
            1.0 / decode_s,
            1.0 / prefill_s,
            worst // costs.shape[2],
            worst % costs.shape[2],
            n_parallel,
            ~np.isnan(decode_ratio),
        )


@dataclass(frozen=True, slots=True)
class _DecodeParts:
    """Seconds of one step by row, device and cost (in the order of BOUNDS), and the bandwidth's own floor."""

    costs_s: Floats
    floor_s: Floats
    used: NDArray[np.bool_]


def _decode_parts(terms: SpeedTerms, shares: Shares, workload: Workload | None, fit: SpeedFit) -> _DecodeParts:
    cache_share = fit.cache_share * (1.0 if workload is None or workload.flash_attention else fit.no_flash)
    others = (workload.n_parallel if workload else 1) - 1
    arithmetic = np.zeros_like(terms.weight_s)
    if others:
        arithmetic = others * fit.stream_factor * terms.arithmetic_s / shares.prefill
        # a class whose arithmetic rate is unknown cannot be told to be bound by it: a floor, not a NaN
        arithmetic = np.nan_to_num(arithmetic)
    n_used = terms.used.sum(axis=1, keepdims=True)
    crossings = np.maximum(n_used - 1, 0) * terms.used / np.maximum(n_used, 1)
    return _DecodeParts(
        np.stack(
            [
                terms.weight_s / shares.decode + terms.cache_s / cache_share,
                arithmetic,
                terms.n_layers * shares.step_s,
                crossings * fit.hop_s,
            ],
            axis=2,
        ),
        terms.weight_s + terms.cache_s,
        terms.used,
    )


def _add_up(parts: _DecodeParts, end: int, spread: Floats, ratio: Floats) -> Floats:
    """Seconds of one step by row: the devices' own times, each at its end of the spread; what was measured instead."""
    factors = np.array([1.0, _STREAM_SPREAD[end], 1.0, 1.0])
    own = (parts.costs_s * factors).sum(axis=2)
    guessed = np.where(parts.used, own * spread, 0.0).sum(axis=1)
    measured = np.where(parts.used, own, 0.0).sum(axis=1) / ratio * _CALIBRATED[end]
    seconds: Floats = np.where(np.isnan(ratio), guessed, measured)
    return seconds


def _prefill_seconds(
    table: WeightTable,
    placement: Placement,
    n_active_params: Floats,
    workload: Workload | None,
    ratio: Floats,
    shares: Shares,
    fit: SpeedFit,
) -> Floats:
    """Seconds per token of a prompt that fills the context, low, mid and high speed (rows x 3).

    Weights that stay on the host beside an accelerator are copied over the link once per physical batch where that is
    faster than computing there (ggml-backend.cpp hands operations of large batches to the accelerator).
    """
    n_ubatch = find_ubatch(workload)
    spread = find_spread(placement.devices, table.is_moe, "prefill", fit=fit)
    terms = list_prefill_terms(table, placement, n_active_params, workload)
    used = terms.used
    seconds = (
        terms.weight_s / shares.prefill + terms.cache_s / fit.attention_share + terms.n_layers * fit.prefill_step_s
    )
    links = [d.link_bytes_per_s or LINK_BYTES_PER_S for d in placement.devices[1:]]
    if links and placement.devices[0].kind is DeviceKind.CPU:
        seconds[:, 0] = np.fmin(seconds[:, 0], placement.weights[:, 0] / (max(links) * n_ubatch))
    guessed = np.where(used[:, :, None], seconds[:, :, None] * spread, 0.0).sum(axis=1)
    middle = np.where(used, seconds, 0.0).sum(axis=1)
    measured = (middle / ratio)[:, None] * np.array(_CALIBRATED)[None, :]
    out: Floats = np.where(np.isnan(ratio)[:, None], guessed, measured)
    return out


def _find_ratios(
    table: WeightTable, placement: Placement, calibrations: Sequence[Calibration]
) -> tuple[Floats, Floats]:
    """Measured over estimated for each row, NaN where nothing of its class was measured or a card does part."""
    decode, prefill = np.full(len(table.quant), np.nan), np.full(len(table.quant), np.nan)
    if calibrations and len(placement.devices) == 1 and placement.devices[0].kind is DeviceKind.CPU:
        classes = np.array([find_quant_class(q) for q in table.quant])
        for known in calibrations:
            if known.host_name == placement.devices[0].name:
                rows = (classes == known.quant_class) & (table.is_moe == known.is_moe)
                decode[rows] = known.decode_ratio
                prefill[rows] = np.nan if known.prefill_ratio is None else known.prefill_ratio
    return decode, prefill

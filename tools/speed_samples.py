"""Published speeds as columns a fit can take: which rows teach something, and what each moved and computed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from catalog.queries import all_weights, list_models
from catalog.speeds import MeasuredSpeed, load_speed_devices, load_speeds
from catalog.store import open_catalog
from sizing.buffers import ComputeBuffers
from sizing.hardware import Device, DeviceKind, Machine
from sizing.kv_cache import estimate_kv_cache_bytes
from sizing.layers import LayerTable
from sizing.placement import ModelBytes, Offload, Placement, place
from sizing.quants import QUANTS
from sizing.throughput import (
    FAMILIES,
    SpeedTerms,
    find_family,
    find_flops,
    find_prefill_class,
    find_speed_class,
    list_decode_terms,
    list_prefill_terms,
)
from sizing.units import GIB
from sizing.weights import Floats, Ints, Spans, WeightTable
from sizing.workload import Workload

DEVICE_MODELS = 6
"""A device counts for at most this many models, so that one with hundreds of rows does not decide a class."""
DRIVER_BYTES = 8 * GIB // 10
"""Taken off a card's memory before its weights: driver context and buffers, as the placement assumes."""
USUAL_CONTEXT = 4096
"""Room made for this many tokens where a figure does not say: llama.cpp's own default."""
EMPTY_TOKENS = 1024
"""Below this depth the cache hardly counts, and whether flash attention was on does not matter."""
UNLIMITED = 2**55
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that share device, context and workload, placed together: what one call of `estimate_speed` answers."""

    rows: Ints
    table: WeightTable
    placement: Placement
    n_active_params: Floats
    workload: Workload
    fill: float


@dataclass(frozen=True, slots=True)
class Samples:
    """Columns over the figures of one kind. Seconds at full rates; `device` is an index into `devices`.

    `time_s` is measured: of one step (all streams) or of one prompt token. Decode: `weight_s`, `cache_s`, `layers`.
    Prefill: `weight_s` are its products, `cache_s` its attention, `layers` layers per token of a physical batch.
    """

    kind: str
    measured: tuple[MeasuredSpeed, ...]
    groups: tuple[Group, ...]
    devices: tuple[str, ...]
    device: Ints
    speed_class: NDArray[np.str_]
    family: Ints
    sparse: Bools
    model: Ints
    n_parallel: Floats
    n_used: Floats
    weight_s: Floats
    cache_s: Floats
    arithmetic_s: Floats
    layers: Floats
    time_s: Floats

    def __len__(self) -> int:
        return len(self.time_s)

    def take(self, keep: Bools) -> Samples:
        """The figures for which `keep` holds."""
        number = np.cumsum(keep) - 1
        groups = []
        for group in self.groups:
            here = keep[group.rows]
            if here.any():
                at = np.flatnonzero(here)
                groups.append(replace(take_group(group, at), rows=number[group.rows[at]]))
        columns = {
            name: getattr(self, name)[keep]
            for name in (
                "device speed_class family sparse model n_parallel n_used weight_s cache_s arithmetic_s layers time_s"
            ).split()
        }
        measured = tuple(m for m, k in zip(self.measured, keep, strict=True) if k)
        return replace(self, measured=measured, groups=tuple(groups), **columns)

    def weigh(self) -> Floats:
        """One for each pair of device and model, shared by its rows; at most DEVICE_MODELS for a device."""
        pair = self.device * 100_000 + self.model
        _, inverse, counts = np.unique(pair, return_inverse=True, return_counts=True)
        weight: Floats = 1.0 / counts[inverse]
        total = np.bincount(self.device, weight, minlength=len(self.devices))
        return weight * np.minimum(1.0, DEVICE_MODELS / np.maximum(total, 1e-9))[self.device]

    def count_by_class(self) -> tuple[dict[str, int], dict[str, int]]:
        """Rows and devices of each class."""
        rows = Counter(str(c) for c in self.speed_class)
        pairs = {(str(c), int(d)) for c, d in zip(self.speed_class, self.device, strict=True)}
        return dict(sorted(rows.items())), dict(sorted(Counter(c for c, _ in pairs).items()))


def take_group(group: Group, rows: Ints) -> Group:
    """The group with some of its members, in the order given."""
    return replace(
        group,
        rows=group.rows[rows],
        table=group.table.take(rows),
        placement=group.placement.take(rows),
        n_active_params=group.n_active_params[rows],
    )


class _NoBuffers(ComputeBuffers):
    """Compute buffers that take nothing: what was measured ran, so only the placement of weights matters."""

    def exact(self, models: Ints, bounds: Ints, n_cpu_moe: Ints, expert_layers: tuple[int, ...] = ()) -> Ints:
        """Nothing on every device."""
        return np.zeros((len(models), bounds.shape[1]), dtype=np.int64)

    def alone(self, models: Ints) -> Ints:
        """Nothing on the host."""
        return np.zeros(len(models), dtype=np.int64)


class Reader:
    """Turns published figures into samples, counting why the others are left out."""

    def __init__(self) -> None:
        catalog = open_catalog()
        weights = all_weights(catalog)
        self.cards = [c for c in list_models(catalog) if c.model_id in weights]
        self.devices = load_speed_devices()
        self.measured = load_speeds()
        self.table = WeightTable.from_models([(c.spec, weights[c.model_id]) for c in self.cards])
        self.layers = LayerTable.from_specs([c.spec for c in self.cards])
        self.tensor_bytes = self.table.tensor_bytes
        self.active = np.array([c.spec.n_active_params for c in self.cards], dtype=float)
        ids = [c.model_id for c in self.cards]
        self.row_of = {
            (ids[m], q): i for i, (m, q) in enumerate(zip(self.table.model_row, self.table.quant, strict=True))
        }
        self.left_out: Counter[str] = Counter()
        self.without_flash: list[tuple[Group, Floats, Floats]] = []

    def read(self) -> tuple[Samples, Samples]:
        """Decode and prefill samples of everything that can be placed on its devices."""
        kept: dict[str, list[MeasuredSpeed]] = {"decode": [], "prefill": []}
        for m in self.measured:
            reason = self.find_reason(m)
            if reason:
                self.left_out[reason] += 1
            else:
                kept[m.metric].append(m)
        return self._sample("decode", kept["decode"]), self._sample("prefill", kept["prefill"])

    def find_reason(self, m: MeasuredSpeed) -> str | None:
        """Why a figure teaches nothing before it is placed, None where it may."""
        if m.left_out:
            return m.left_out
        if m.model_id is None:
            return "the model is not in the catalog"
        if m.quant not in QUANTS:
            return "the quantization is not told, or not one of llama.cpp"
        if (m.model_id, m.quant) not in self.row_of:
            return "the model was not weighed in this quantization"
        if m.device is None or self.devices[m.device].bandwidth_bytes_per_s is None:
            return "the bandwidth is not known"
        if m.metric == "prefill" and find_flops(self.devices[m.device]) is None:
            return "prefill: the arithmetic rate is not known"
        return None

    def _sample(self, kind: str, measured: Sequence[MeasuredSpeed]) -> Samples:
        by_setting: dict[tuple[object, ...], list[MeasuredSpeed]] = {}
        for m in measured:
            by_setting.setdefault(setting_of(m), []).append(m)
        groups: list[Group] = []
        kept: list[MeasuredSpeed] = []
        parts: list[list[Floats]] = []
        for members in by_setting.values():
            group, terms = self._place(kind, members)
            time_s = np.array([time_of(m) for m in members])
            bound_s = (terms.weight_s + terms.cache_s).sum(axis=1)
            good = ~self._list_oversized(group, members)
            self.left_out["weights and cache do not fit the device: part was elsewhere"] += int((~good).sum())
            impossible = good & (time_s < bound_s * (0.98 if kind == "decode" else 0.7))
            if kind == "decode":
                impossible &= np.array([m.n_parallel in (None, 1) for m in members])
            self.left_out[f"{kind}: faster than the device allows"] += int(impossible.sum())
            blind = np.array([m.flash_attention is False and (m.depth_tokens or 0) >= EMPTY_TOKENS for m in members])
            good &= ~impossible
            self.left_out[f"{kind}: a cache read without flash attention (one device only)"] += int(
                (good & blind).sum()
            )
            if kind == "decode" and (good & blind).any():
                at = np.flatnonzero(good & blind)
                self.without_flash.append((take_group(group, at), columns_of(terms)[1][at], time_s[at]))
            at = np.flatnonzero(good & ~blind)
            if len(at):
                start = len(kept)
                kept += [members[int(i)] for i in at]
                groups.append(replace(take_group(group, at), rows=np.arange(start, len(kept), dtype=np.int64)))
                parts.append([x[at] for x in columns_of(terms)] + [time_s[at], group.table.is_moe[at].astype(float)])
        return self._join(kind, kept, groups, parts)

    def _join(
        self, kind: str, kept: Sequence[MeasuredSpeed], groups: Sequence[Group], parts: Sequence[list[Floats]]
    ) -> Samples:
        joined = [np.concatenate([p[i] for p in parts]) for i in range(7)]
        chips = [name_chip(str(m.device)) for m in kept]
        names = sorted(set(chips))
        ids = [c.model_id for c in self.cards]
        find_class = find_speed_class if kind == "decode" else find_prefill_class
        return Samples(
            kind=kind,
            measured=tuple(kept),
            groups=tuple(groups),
            devices=tuple(names),
            device=np.array([names.index(c) for c in chips], dtype=np.int64),
            speed_class=np.array([find_class(self.devices[str(m.device)]) for m in kept]),
            family=np.array([FAMILIES.index(find_family(str(m.quant))) for m in kept], dtype=np.int64),
            sparse=joined[6].astype(bool),
            model=np.array([ids.index(str(m.model_id)) for m in kept], dtype=np.int64),
            n_parallel=np.array([float(m.n_parallel or 1) for m in kept]),
            n_used=joined[4],
            weight_s=joined[0],
            cache_s=joined[1],
            arithmetic_s=joined[2],
            layers=joined[3],
            time_s=joined[5],
        )

    def _place(self, kind: str, members: Sequence[MeasuredSpeed]) -> tuple[Group, SpeedTerms]:
        first = members[0]
        rows = np.array([self.row_of[str(m.model_id), str(m.quant)] for m in members], dtype=np.int64)
        table = self.table.take(rows)
        workload, fill = workload_of(first)
        share = 1.0 - (1.0 - table.active_expert_share) ** workload.n_parallel
        table = replace(table, active_expert_share=share)
        machine = machine_of(self.devices[str(first.device)], first.n_devices)
        offload = Offload() if not machine.accelerators or machine.is_unified else Offload(10**6, cpu_moe=0)
        placement = place(table, self._costs(workload), machine, offload)
        scale = np.array([(m.file_gib or 0) * GIB for m in members]) / self.tensor_bytes[rows]
        scale = np.where(scale > 0, scale, 1.0)[:, None]
        placement = replace(placement, active_weights=np.rint(placement.active_weights * scale).astype(np.int64))
        n_active = self.active[table.model_row]
        group = Group(np.arange(len(rows)), table, placement, n_active, workload, fill)
        if kind == "decode":
            return group, list_decode_terms(table, placement, n_active, fill)
        return group, list_prefill_terms(table, placement, n_active, workload)

    def _costs(self, workload: Workload) -> ModelBytes:
        cache = estimate_kv_cache_bytes(self.layers, workload)
        zero = np.zeros(self.layers.n_models, dtype=np.int64)

        def spans(row_bytes: Ints) -> Spans:
            return Spans.from_flat(row_bytes[self.layers.layer_rows], self.layers.first_layer[:-1])

        return ModelBytes(
            kv=spans(cache.row_kv_cache_bytes),
            recurrent=spans(cache.row_recurrent_state_bytes),
            buffers=_NoBuffers(self.layers, workload),
            output=zero,
            extra=zero,
        )

    def _list_oversized(self, group: Group, members: Sequence[MeasuredSpeed]) -> Bools:
        """Whether weights and the cache that room was made for exceed the memory of the devices together."""
        first = members[0]
        device = self.devices[str(first.device)]
        reached = (first.depth_tokens or 0) + (first.prompt_tokens or 0)
        room = first.context_tokens or max(USUAL_CONTEXT, reached)
        cache = estimate_kv_cache_bytes(self.layers, replace(group.workload, context_tokens=max(256, room)))
        rows = np.array([self.row_of[str(m.model_id), str(m.quant)] for m in members], dtype=np.int64)
        file_bytes = np.array([(m.file_gib or 0) * GIB for m in members])
        weights = np.where(file_bytes > 0, file_bytes, self.tensor_bytes[rows])
        taken = weights + cache.kv_cache_bytes[group.table.model_row]
        extra = DRIVER_BYTES if device.kind is DeviceKind.GPU else 0
        return np.asarray(taken / first.n_devices + extra > device.memory_bytes * 0.98)


def columns_of(terms: SpeedTerms) -> list[Floats]:
    """The sums over devices of a placement's terms, in the order `Samples` takes them."""

    def total(values: Floats) -> Floats:
        out: Floats = np.where(terms.used, values, 0.0).sum(axis=1)
        return out

    used = terms.used.sum(axis=1).astype(float)
    return [total(terms.weight_s), total(terms.cache_s), total(terms.arithmetic_s), total(terms.n_layers), used]


def setting_of(m: MeasuredSpeed) -> tuple[object, ...]:
    """What rows of one group share."""
    return (
        m.device,
        m.n_devices,
        m.depth_tokens,
        m.prompt_tokens,
        m.context_tokens,
        m.n_parallel,
        m.kv_type,
        m.flash_attention,
    )


def workload_of(m: MeasuredSpeed) -> tuple[Workload, float]:
    """The workload under which an estimate has the measured depth, and the share of its cache that is filled.

    A prompt of p tokens after d others sees d + p / 2 tokens on average, as one of 2 d + p tokens from the start.
    """
    depth = m.depth_tokens or 0
    tokens = 2 * depth + (m.prompt_tokens or 512) if m.metric == "prefill" else max(256, depth)
    kind = m.kv_type if m.kv_type in ("q8_0", "q4_0") else "f16"
    flash = m.flash_attention is not False or kind != "f16"
    workload = Workload(tokens, m.n_parallel or 1, kv_type_k=kind, kv_type_v=kind, flash_attention=flash, n_ubatch=512)
    return workload, depth / tokens


def machine_of(device: Device, n_devices: int) -> Machine:
    """The device alone, or several of it, with memory without end: whether all fits is looked at elsewhere."""
    device = replace(device, memory_bytes=UNLIMITED, usable_bytes=UNLIMITED)
    if device.kind is DeviceKind.CPU:
        return Machine(device.name, device)
    host = Device("host", DeviceKind.CPU, UNLIMITED, UNLIMITED, 1e11)
    return Machine(device.name, host, (device,) * n_devices)


def name_chip(device: str) -> str:
    """A device's name without its memory size: versions of one chip are one device to a split."""
    return re.sub(r" \d+GB$", "", device)


def time_of(m: MeasuredSpeed) -> float:
    """Seconds of one decode step of all streams, or of one token of a prompt."""
    return (m.n_parallel or 1) / m.tokens_per_s if m.metric == "decode" else 1.0 / m.tokens_per_s

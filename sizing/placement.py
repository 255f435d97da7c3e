"""Placement: which layer lives on which device, by llama.cpp's own rule, for all rows at once.

llama.cpp (llama-model.cpp, `load_tensors`): the last `n_gpu_layers` of the layers, counted with the output as one
more layer, go to the accelerators; among those, layer j of g goes to the first device whose cumulative share exceeds
j/g; shares are the devices' free memory, or `tensor_split`. The token embedding stays on the host. `--n-cpu-moe N`
keeps the routed experts of the first N layers on the host. A layer's cache lives with the layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sizing.errors import BadInputError
from sizing.hardware import Device, DeviceKind, Machine
from sizing.units import MIB
from sizing.weights import Floats, Ints, Spans, WeightTable

PIPELINE_COPIES = 4
"""Copies of inputs with pipeline parallelism (ggml-backend.cpp, GGML_SCHED_MAX_COPIES)."""

HOST_OVERHEAD_BYTES = 100 * MIB
"""Assumed: the server process itself, without model or buffers (resident size of an idle llama-server)."""

ACCELERATOR_OVERHEAD_BYTES = {"cuda": 450 * MIB, "rocm": 400 * MIB, "vulkan": 200 * MIB, "sycl": 300 * MIB}
"""Assumed: what a driver context and its libraries take on a card before the first tensor, by backend."""


@dataclass(frozen=True, slots=True)
class ModelBytes:
    """What a workload costs each model besides weights. Columns over models, in bytes.

    `kv` and `recurrent` are per layer; `compute` is the compute buffer of a host that does everything,
    `compute_inner` the same without the output's logits, `inputs` one batch of embedded tokens, `masks` its attention
    masks; `output` the output buffer; `extra` a fixed extra on the first device (a vision projector).
    """

    kv: Spans
    recurrent: Spans
    compute: Ints
    compute_inner: Ints
    inputs: Ints
    masks: Ints
    output: Ints
    extra: Ints

    def on_host(self, models: Ints, works: NDArray[np.bool_], outputs: NDArray[np.bool_], copies: Ints) -> Ints:
        """Compute buffer of the host: all of it, the layers' part, or only what it hands to the accelerators."""
        inputs, masks = self.inputs[models], self.masks[models]
        handed = np.where(copies > 1, inputs + copies * (inputs + masks), 2 * inputs + masks)
        return np.where(outputs, self.compute[models], np.where(works, self.compute_inner[models], handed))

    def on_card(self, models: Ints, outputs: NDArray[np.bool_], copies: Ints) -> Ints:
        """Compute buffer of an accelerator that holds layers, with the output or without it.

        Pipeline parallelism keeps `copies` of what crosses from device to device (ggml-backend.cpp,
        GGML_SCHED_MAX_COPIES). The terms reproduce what llama.cpp logs for imagined devices over RPC.
        """
        inputs, masks = self.inputs[models], self.masks[models]
        piped = copies > 1
        last = self.compute[models] - inputs + np.where(piped, copies * (2 * inputs + masks), 0)
        inner = self.compute_inner[models] - 2 * inputs
        inner = inner + np.where(piped, inputs - masks + copies * (inputs + masks), 0)
        return np.maximum(np.where(outputs, last, inner), 0)


@dataclass(frozen=True, slots=True)
class Placement:
    """Bytes by row (first axis) and device (second axis; the host is device 0, accelerators follow)."""

    devices: tuple[Device, ...]
    weights: Ints
    active_weights: Ints
    kv: Ints
    recurrent: Ints
    compute: Ints
    output: Ints
    overhead: Ints
    n_layers: Ints
    n_gpu_layers: Ints
    n_cpu_moe: Ints

    @property
    def total(self) -> Ints:
        """All bytes of each row on each device."""
        return self.weights + self.kv + self.recurrent + self.compute + self.output + self.overhead

    @property
    def headroom(self) -> Ints:
        """Usable memory left on each device, negative where it overruns."""
        usable = np.array([d.usable_bytes for d in self.devices], dtype=np.int64)
        return usable[None, :] - self.total


@dataclass(frozen=True, slots=True)
class Offload:
    """How much goes to the accelerators: None lets the placement choose the most that fits.

    `gpu_layers` counts the output as one layer. `tensor_split` gives each accelerator's share. `cpu_moe` is the
    number of leading layers whose routed experts stay on the host.
    """

    gpu_layers: int | None = None
    tensor_split: tuple[float, ...] | None = None
    cpu_moe: int | None = None

    def __post_init__(self) -> None:
        for name in ("gpu_layers", "cpu_moe"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise BadInputError(f"{name} wants 0 or more, got {value!r}")
        if self.tensor_split is not None and (min(self.tensor_split) < 0 or sum(self.tensor_split) <= 0):
            raise BadInputError(
                f"tensor_split wants shares of 0 or more with a positive sum, got {self.tensor_split!r}"
            )


def place(table: WeightTable, models: ModelBytes, machine: Machine, offload: Offload | None = None) -> Placement:
    """Place every row of `table` on `machine`.

    With no accelerator all is on the host; with unified memory all is one pool. Otherwise the rule of the module's
    head applies with the given or the largest fitting number of layers; a mixture of experts that does not fit whole
    first moves routed experts to the host, then layers. Raises BadInputError where `offload` contradicts the machine.
    """
    offload = offload or Offload()
    if offload.tensor_split is not None and len(offload.tensor_split) != len(machine.accelerators):
        raise BadInputError(
            f"tensor_split wants {len(machine.accelerators)} shares, one per accelerator of {machine.name}, "
            f"got {len(offload.tensor_split)}"
        )
    if not machine.accelerators:
        return _place_in_one_pool(table, models, machine.host)
    if machine.is_unified:
        return _place_in_one_pool(table, models, machine.accelerators[0])
    return _place_over_cards(table, models, machine, offload)


def active_bytes(weight_bytes: Ints, expert_bytes: Ints, share: Floats) -> Ints:
    """Bytes one token reads: everything but the routed experts it does not choose."""
    return weight_bytes - np.rint(expert_bytes * (1.0 - share)).astype(np.int64)


def _place_in_one_pool(table: WeightTable, models: ModelBytes, pool: Device) -> Placement:
    zero, m = np.zeros_like(table.n_layers), table.model_row
    layers = table.layers.between(zero, table.n_layers)
    experts = table.experts.between(zero, table.n_layers)
    head = np.where(table.tied, table.token_embedding_bytes, 0)
    on_card = pool.kind is DeviceKind.UNIFIED
    weights = table.input_bytes + layers + table.output_bytes

    def column(values: Ints) -> Ints:
        return values[:, None]

    return Placement(
        devices=(pool,),
        weights=column(weights),
        active_weights=column(active_bytes(layers + table.output_bytes + head, experts, table.active_expert_share)),
        kv=column(models.kv.take(m).between(zero, table.n_layers)),
        recurrent=column(models.recurrent.take(m).between(zero, table.n_layers)),
        compute=column(models.compute[m] + (models.inputs[m] + models.masks[m] if on_card else 0)),
        output=column(models.output[m]),
        overhead=column(models.extra[m] + HOST_OVERHEAD_BYTES),
        n_layers=column(table.n_layers),
        n_gpu_layers=table.n_layers + 1 if on_card else zero,
        n_cpu_moe=zero,
    )


def split_bounds(shares: Floats, gpu_layers: Ints) -> Ints:
    """First offloaded index of each device and the end, shape (rows, devices + 1).

    Index j of g goes to the first device whose cumulative share exceeds j/g (std::upper_bound in llama.cpp, in f32).
    """
    cumulative = np.cumsum(shares.astype(np.float32)) / np.float32(shares.sum())
    ends = np.ceil(np.round(cumulative[None, :].astype(np.float64) * gpu_layers[:, None], 5)).astype(np.int64)
    ends[:, -1] = gpu_layers
    return np.concatenate([np.zeros((len(gpu_layers), 1), np.int64), np.minimum(ends, gpu_layers[:, None])], axis=1)


def _place_over_cards(table: WeightTable, models: ModelBytes, machine: Machine, offload: Offload) -> Placement:
    cards = machine.accelerators
    shares = np.array(offload.tensor_split or [max(d.usable_bytes, 1) for d in cards], dtype=np.float64)
    overhead = np.array([ACCELERATOR_OVERHEAD_BYTES.get(d.backend, 0) for d in cards], dtype=np.int64)
    usable = np.array([d.usable_bytes for d in cards], dtype=np.int64)
    n, m = table.n_layers, table.model_row
    everything = n + 1

    def settle(gpu_layers: Ints, cpu_moe: Ints) -> Placement:
        first = everything - gpu_layers
        bounds = split_bounds(shares, gpu_layers) + first[:, None]
        columns: dict[str, list[Ints]] = {
            k: [] for k in ("weights", "active", "kv", "recurrent", "compute", "output", "overhead", "layers")
        }

        def add(**values: Ints) -> None:
            for key, value in values.items():
                columns[key].append(value)

        kept = np.minimum(first, n)  # layers that stay on the host
        host_experts = table.experts.between(np.zeros_like(n), np.maximum(kept, np.minimum(cpu_moe, n)))
        moved = host_experts - table.experts.between(np.zeros_like(n), kept)
        output_on_host = gpu_layers == 0
        piped = (gpu_layers == everything) & (cpu_moe == 0) & (len(cards) > 1)
        copies = np.where(piped, PIPELINE_COPIES, 1)
        head = np.where(table.tied, table.token_embedding_bytes, 0)
        host_layers = table.layers.between(np.zeros_like(n), kept) + moved
        host_out = np.where(output_on_host, table.output_bytes, 0)
        add(
            weights=table.input_bytes + host_layers + host_out,
            active=active_bytes(
                host_layers + host_out + np.where(output_on_host, head, 0), host_experts, table.active_expert_share
            ),
            kv=models.kv.take(m).between(np.zeros_like(n), kept),
            recurrent=models.recurrent.take(m).between(np.zeros_like(n), kept),
            compute=models.on_host(m, (kept > 0) | (moved > 0), output_on_host, copies),
            output=models.output[m],
            overhead=np.full_like(n, HOST_OVERHEAD_BYTES),
            layers=kept,
        )
        for d in range(len(cards)):
            start, end = bounds[:, d], bounds[:, d + 1]
            used = end > start
            has_output = (end == everything) & used
            a, b = np.minimum(start, n), np.minimum(end, n)
            kept_experts = table.experts.between(a, b) - table.experts.between(a, np.minimum(b, cpu_moe))
            layer_bytes = table.layers.between(a, b) - (table.experts.between(a, b) - kept_experts)
            out = np.where(has_output, table.output_bytes + head, 0)
            add(
                weights=layer_bytes + out,
                active=active_bytes(layer_bytes + out, kept_experts, table.active_expert_share),
                kv=models.kv.take(m).between(a, b),
                recurrent=models.recurrent.take(m).between(a, b),
                compute=np.where(used, models.on_card(m, has_output, copies), 0),
                output=np.zeros_like(n),
                overhead=used * (overhead[d] + (models.extra[m] if d == 0 else 0)),
                layers=b - a,
            )

        def stack(key: str) -> Ints:
            return np.stack(columns[key], axis=1)

        return Placement(
            devices=(machine.host, *cards),
            weights=stack("weights"),
            active_weights=stack("active"),
            kv=stack("kv"),
            recurrent=stack("recurrent"),
            compute=stack("compute"),
            output=stack("output"),
            overhead=stack("overhead"),
            n_layers=stack("layers"),
            n_gpu_layers=gpu_layers,
            n_cpu_moe=cpu_moe,
        )

    def cards_fit(gpu_layers: Ints, cpu_moe: Ints) -> NDArray[np.bool_]:
        return np.asarray((settle(gpu_layers, cpu_moe).total[:, 1:] <= usable[None, :]).all(axis=1))

    zero = np.zeros_like(n)
    if offload.gpu_layers is not None or offload.cpu_moe is not None:
        cpu_moe = np.minimum(np.full_like(n, offload.cpu_moe or 0), n)
        if offload.gpu_layers is None:
            return settle(_largest(zero, everything, lambda g: cards_fit(g, cpu_moe)), cpu_moe)
        return settle(np.minimum(np.full_like(n, offload.gpu_layers), everything), cpu_moe)
    # experts first: the fewest leading layers whose experts leave, with every layer on the cards
    spared = _largest(zero, n, lambda k: cards_fit(everything, n - k))
    experts_suffice = table.is_moe & cards_fit(everything, n)
    cpu_moe = np.where(experts_suffice, n - spared, 0)
    gpu_layers = np.where(
        experts_suffice, everything, _largest(zero, everything, lambda g: cards_fit(g, np.zeros_like(n)))
    )
    return settle(gpu_layers, cpu_moe)


def _largest(low: Ints, high: Ints, fits: Callable[[Ints], NDArray[np.bool_]]) -> Ints:
    """The largest k in low..high that fits, row by row, where fitting falls with k; `low` where none does."""
    low, high = low.copy(), high.copy()
    while (low < high).any():
        middle = (low + high + 1) // 2
        good = fits(middle)
        low = np.where(good, middle, low)
        high = np.where(good, high, middle - 1)
    return low

"""Placement: which layer lives on which device, by llama.cpp's own rule, for all rows at once.

llama.cpp (llama-model.cpp, `load_tensors`): the last `n_gpu_layers` of the layers, counted with the output as one
more layer, go to the accelerators; among those, layer j of g goes to the first device whose cumulative share exceeds
j/g; shares are the devices' free memory, or `tensor_split`. The token embedding stays on the host. `--n-cpu-moe N`
keeps the routed experts of the first N layers on the host. A layer's cache lives with the layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sizing.buffers import ComputeBuffers
from sizing.errors import BadInputError, UnsupportedError
from sizing.hardware import Device, DeviceKind, Machine
from sizing.tensor_groups import ALIGNMENT
from sizing.units import MIB
from sizing.weights import Floats, Ints, Spans, WeightTable

HOST_OVERHEAD_BYTES = 100 * MIB
"""Assumed: the server process itself, without model or buffers (resident size of an idle llama-server)."""

ACCELERATOR_OVERHEAD_BYTES = {"cuda": 450 * MIB, "rocm": 400 * MIB, "vulkan": 200 * MIB, "sycl": 300 * MIB}
"""Assumed: what a driver context and its libraries take on a card before the first tensor, by backend."""


WITHOUT_BACKEND = frozenset({"hpu"})
"""Backends of devices that llama.cpp cannot use (https://github.com/ggml-org/llama.cpp#supported-backends)."""

HOST_COPY_BACKENDS = frozenset({"cuda", "rocm", "vulkan", "sycl"})
"""Backends that run prompts on the card with weights of the host, copied there one tensor at a time (ggml-backend.cpp,
`op_offload`; the backends' `offload_op`). llama.cpp's devices over RPC do not, so a dry run cannot show it."""

HOST_COPY_TOKENS = 32
"""Batches of fewer tokens are left to the host (ggml-cuda.cu, `op_offload_min_batch_size`)."""

LARGEST_TENSOR_SHARE = 0.45
"""Assumed: the largest tensor's part of its layer's weights or of its experts: one of three matrices, in a heavier type
than the others."""


@dataclass(frozen=True, slots=True)
class ModelBytes:
    """What a workload costs each model besides weights. Columns over models, in bytes.

    `kv` and `recurrent` are per layer; `buffers` the compute buffers; `output` the output buffer; `extra` a fixed extra
    on the first device (a vision projector).
    """

    kv: Spans
    recurrent: Spans
    buffers: ComputeBuffers
    output: Ints
    extra: Ints


@dataclass(frozen=True, slots=True)
class Placement:
    """Bytes by row (first axis) and device (second axis; the host is device 0, accelerators follow).

    `split` counts each accelerator's layers, the output as one: llama.cpp's `--tensor-split`; None without cards.
    """

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
    expert_layers: tuple[int, ...] = ()
    split: Ints | None = None

    @property
    def total(self) -> Ints:
        """All bytes of each row on each device."""
        return self.weights + self.kv + self.recurrent + self.compute + self.output + self.overhead

    def take(self, rows: Ints) -> Placement:
        """The placement of some rows, in this order."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        part: dict[str, Any] = {k: v[rows] if isinstance(v, np.ndarray) else v for k, v in columns.items()}
        return Placement(**part)

    @property
    def headroom(self) -> Ints:
        """Usable memory left on each device, negative where it overruns."""
        usable = np.array([d.usable_bytes for d in self.devices], dtype=np.int64)
        return usable[None, :] - self.total


@dataclass(frozen=True, slots=True)
class Offload:
    """How much goes to the accelerators: None lets the placement choose the most that fits.

    `gpu_layers` counts the output as one layer. `tensor_split` gives each accelerator's share. `cpu_moe` is the
    number of leading layers whose routed experts stay on the host, `expert_layers` names further ones by index.
    """

    gpu_layers: int | None = None
    tensor_split: tuple[float, ...] | None = None
    cpu_moe: int | None = None
    expert_layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("gpu_layers", "cpu_moe"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise BadInputError(f"{name} wants 0 or more, got {value!r}")
        if any(i < 0 for i in self.expert_layers):
            raise BadInputError(f"expert_layers wants indices of 0 or more, got {self.expert_layers!r}")
        if self.tensor_split is not None and (min(self.tensor_split) < 0 or sum(self.tensor_split) <= 0):
            raise BadInputError(
                f"tensor_split wants shares of 0 or more with a positive sum, got {self.tensor_split!r}"
            )


def place(
    table: WeightTable, models: ModelBytes, machine: Machine, offload: Offload | None = None, *, exact: bool = False
) -> Placement:
    """Place every row of `table` on `machine`.

    With no accelerator all is on the host; with unified memory all is one pool. Otherwise the rule of the module's
    head applies with the given or the largest fitting number of layers; a mixture of experts that does not fit whole
    first moves routed experts to the host, then layers. Without `exact`, compute buffers of models that are only partly
    on the cards are those of a like division (`sizing.buffers`): fast for a whole catalog, a few MiB off; with it they
    are played row by row and no card is overrun. Raises BadInputError where `offload` contradicts the machine,
    UnsupportedError for a device that llama.cpp has no backend for.
    """
    offload = offload or Offload()
    foreign = next((d.name for d in machine.accelerators if d.backend in WITHOUT_BACKEND), None)
    if foreign is not None:
        raise UnsupportedError(f"llama.cpp has no backend for {foreign}; choose another device")
    if offload.tensor_split is not None and len(offload.tensor_split) != len(machine.accelerators):
        raise BadInputError(
            f"tensor_split wants {len(machine.accelerators)} shares, one per accelerator of {machine.name}, "
            f"got {len(offload.tensor_split)}"
        )
    if not machine.accelerators:
        return _place_in_one_pool(table, models, machine.host)
    if machine.is_unified:
        return _place_in_one_pool(table, models, machine.accelerators[0])
    return _place_over_cards(table, models, machine, offload, exact)


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
        compute=column(_pool_compute(models, m, table.n_layers) if on_card else models.buffers.alone(m)),
        output=column(models.output[m]),
        overhead=column(models.extra[m] + HOST_OVERHEAD_BYTES),
        n_layers=column(table.n_layers),
        n_gpu_layers=table.n_layers + 1 if on_card else zero,
        n_cpu_moe=zero,
    )


def _pool_compute(models: ModelBytes, m: Ints, n_layers: Ints) -> Ints:
    """Compute buffers of a host and one accelerator that share a pool and hold everything on the accelerator."""
    bounds = np.stack([np.zeros_like(n_layers), n_layers + 1], axis=1)
    together: Ints = models.buffers.exact(m, bounds, np.zeros_like(n_layers)).sum(axis=1)
    return together


def pad(n_bytes: Ints) -> Ints:
    """What padding adds to a tensor of this size in a buffer of its device."""
    return -n_bytes % ALIGNMENT


def split_bounds(shares: Floats, gpu_layers: Ints) -> Ints:
    """First offloaded index of each device and the end, shape (rows, devices + 1).

    Index j of g goes to the first device whose cumulative share exceeds j/g (std::upper_bound in llama.cpp, in f32).
    """
    cumulative = np.cumsum(shares.astype(np.float32)) / np.float32(shares.sum())
    ends = np.ceil(np.round(cumulative[None, :].astype(np.float64) * gpu_layers[:, None], 5)).astype(np.int64)
    ends[:, -1] = gpu_layers
    return np.concatenate([np.zeros((len(gpu_layers), 1), np.int64), np.minimum(ends, gpu_layers[:, None])], axis=1)


def _place_over_cards(
    table: WeightTable, models: ModelBytes, machine: Machine, offload: Offload, exact: bool
) -> Placement:
    cards = machine.accelerators
    shares = np.array(offload.tensor_split or [max(d.usable_bytes, 1) for d in cards], dtype=np.float64)
    overhead = np.array([ACCELERATOR_OVERHEAD_BYTES.get(d.backend, 0) for d in cards], dtype=np.int64)
    usable = np.array([d.usable_bytes for d in cards], dtype=np.int64)
    copies_weights = cards[0].backend in HOST_COPY_BACKENDS and _reserved_tokens(models) >= HOST_COPY_TOKENS
    n, m = table.n_layers, table.model_row
    everything, zero = n + 1, np.zeros_like(n)
    kept_by_name = np.array(sorted(set(offload.expert_layers)), dtype=np.int64)

    def host_expert_bytes(first: Ints, last: Ints, cpu_moe: Ints) -> Ints:
        """Routed experts of layers first..last-1 that stay on the host though the layer does not."""
        total = table.experts.between(np.minimum(first, cpu_moe), np.minimum(last, cpu_moe))
        for i in kept_by_name:
            counts = (first <= i) & (i < last) & (i >= cpu_moe)
            total = total + np.where(counts, table.experts.between(np.minimum(i, n), np.minimum(i + 1, n)), 0)
        return total

    def settle(gpu_layers: Ints, cpu_moe: Ints, exactly: bool) -> Placement:
        first = everything - gpu_layers
        bounds = split_bounds(shares, gpu_layers) + first[:, None]
        columns: dict[str, list[Ints]] = {
            k: [] for k in ("weights", "active", "kv", "recurrent", "output", "overhead", "layers")
        }

        def add(**values: Ints) -> None:
            for key, value in values.items():
                columns[key].append(value)

        kept = np.minimum(first, n)  # layers that stay on the host
        moved = host_expert_bytes(kept, n, cpu_moe)
        out_padding = table.output_padding + pad(table.output_bytes + table.output_padding)
        host_experts = table.experts.between(zero, kept) + moved
        output_on_host = gpu_layers == 0
        head = np.where(table.tied, table.token_embedding_bytes, 0)
        host_layers = table.layers.between(zero, kept) + moved
        host_out = np.where(output_on_host, table.output_bytes, 0)
        add(
            weights=table.input_bytes
            + host_layers
            + host_out
            + pad(table.token_embedding_bytes)
            + table.padding.between(zero, kept)
            + np.where(output_on_host, out_padding, 0),
            active=active_bytes(
                host_layers + host_out + np.where(output_on_host, head, 0), host_experts, table.active_expert_share
            ),
            kv=models.kv.take(m).between(zero, kept),
            recurrent=models.recurrent.take(m).between(zero, kept),
            output=models.output[m],
            overhead=np.full_like(n, HOST_OVERHEAD_BYTES),
            layers=kept,
        )
        copied = np.where(kept > 0, table.largest_layer_bytes, np.where(moved > 0, table.largest_expert_bytes, 0))
        copied = np.where(gpu_layers > 0, np.rint(copied * LARGEST_TENSOR_SHARE), 0).astype(np.int64) * copies_weights
        for d in range(len(cards)):
            start, end = bounds[:, d], bounds[:, d + 1]
            used = end > start
            has_output = (end == everything) & used
            a, b = np.minimum(start, n), np.minimum(end, n)
            moved_here = host_expert_bytes(a, b, cpu_moe)
            layer_bytes = table.layers.between(a, b) - moved_here
            out = np.where(has_output, table.output_bytes + head, 0)
            extra = copied + (gpu_layers > 0) * models.extra[m] if d == 0 else 0
            add(
                weights=layer_bytes
                + out
                + table.padding.between(a, b)
                + np.where(has_output, out_padding + pad(head), 0)
                + np.where((b > a) & (a > 0), table.shared_bytes, 0),
                active=active_bytes(
                    layer_bytes + out, table.experts.between(a, b) - moved_here, table.active_expert_share
                ),
                kv=models.kv.take(m).between(a, b),
                recurrent=models.recurrent.take(m).between(a, b),
                output=zero,
                overhead=used * overhead[d] + extra,
                layers=b - a,
            )
        buffers = models.buffers
        compute = (
            buffers.exact(m, bounds, np.minimum(cpu_moe, n) * table.is_moe, offload.expert_layers)
            if exactly
            else buffers.likely(m, bounds, np.minimum(cpu_moe, n) * table.is_moe)
        )

        def stack(key: str) -> Ints:
            return np.stack(columns[key], axis=1)

        return Placement(
            devices=(machine.host, *cards),
            weights=stack("weights"),
            active_weights=stack("active"),
            kv=stack("kv"),
            recurrent=stack("recurrent"),
            compute=compute,
            output=stack("output"),
            overhead=stack("overhead"),
            n_layers=stack("layers"),
            n_gpu_layers=gpu_layers,
            n_cpu_moe=cpu_moe,
            expert_layers=offload.expert_layers,
            split=np.diff(bounds, axis=1),
        )

    def cards_fit(gpu_layers: Ints, cpu_moe: Ints, exactly: bool = False) -> NDArray[np.bool_]:
        placed = settle(gpu_layers, cpu_moe, exactly)
        return np.asarray((placed.total[:, 1:] <= usable[None, :]).all(axis=1))

    if offload.gpu_layers is not None:
        cpu_moe = np.minimum(np.full_like(n, offload.cpu_moe or 0), n)
        return settle(np.minimum(np.full_like(n, offload.gpu_layers), everything), cpu_moe, exact)
    moves_experts = np.zeros_like(table.is_moe)
    if offload.cpu_moe is not None or offload.expert_layers:
        cpu_moe = np.minimum(np.full_like(n, offload.cpu_moe or 0), n)
        gpu_layers = _largest(zero, everything, lambda g: cards_fit(g, cpu_moe))
    else:
        # experts first: the fewest leading layers whose experts leave, with every layer on the cards
        is_whole = cards_fit(everything, zero)
        if not is_whole.all():
            moves_experts = table.is_moe & ~is_whole & cards_fit(everything, np.where(is_whole, 0, n) * table.is_moe)
        least = np.where(moves_experts, 0, n)
        cpu_moe = n - _largest(least, n, lambda k: cards_fit(everything, n - k))
        stays = is_whole | moves_experts
        gpu_layers = _largest(np.where(stays, everything, 0), everything, lambda g: cards_fit(g, cpu_moe))
    if exact:
        gpu_layers, cpu_moe = _step_to_fit(
            gpu_layers, cpu_moe, moves_experts, n, lambda g, c: cards_fit(g, c, exactly=True)
        )
    return settle(gpu_layers, cpu_moe, exact)


def _reserved_tokens(models: ModelBytes) -> int:
    return min(models.buffers.workload.n_ubatch, models.buffers.workload.n_ctx_tokens)


LONGEST_STEPS = 12
"""Steps from a likely division to an exact one at most; likely sizes are a few MiB off, a layer is more."""


def _step_to_fit(
    gpu_layers: Ints,
    cpu_moe: Ints,
    moves_experts: NDArray[np.bool_],
    n: Ints,
    fits: Callable[[Ints, Ints], NDArray[np.bool_]],
) -> tuple[Ints, Ints]:
    """The nearest division that fits exactly: less on the cards while they overrun, else more while they do not.

    A row moves experts of one more layer where `moves_experts`, else one layer. Where the last step still overruns,
    everything goes to the host.
    """

    def step(g: Ints, c: Ints, less: int) -> tuple[Ints, Ints]:
        layers = np.where(moves_experts, 0, less)
        return np.clip(g - layers, 0, n + 1), np.clip(c + np.where(moves_experts, less, 0), 0, n)

    good = fits(gpu_layers, cpu_moe)
    settled = good.copy()
    for _ in range(LONGEST_STEPS):
        if settled.all():
            break
        g, c = step(gpu_layers, cpu_moe, 1)
        gpu_layers, cpu_moe = np.where(settled, gpu_layers, g), np.where(settled, cpu_moe, c)
        settled |= fits(gpu_layers, cpu_moe)
    gpu_layers, cpu_moe = np.where(settled, gpu_layers, 0), np.where(settled, cpu_moe, 0)
    growing = good
    for _ in range(LONGEST_STEPS):
        g, c = step(gpu_layers, cpu_moe, -1)
        growing = growing & ((g != gpu_layers) | (c != cpu_moe))
        if not growing.any():
            break
        growing = growing & fits(np.where(growing, g, gpu_layers), np.where(growing, c, cpu_moe))
        gpu_layers, cpu_moe = np.where(growing, g, gpu_layers), np.where(growing, c, cpu_moe)
    return gpu_layers, cpu_moe


def _largest(low: Ints, high: Ints, fits: Callable[[Ints], NDArray[np.bool_]]) -> Ints:
    """The largest k in low..high that fits, row by row, where fitting falls with k; `low` where none does."""
    low, high = low.copy(), high.copy()
    while (low < high).any():
        middle = (low + high + 1) // 2
        good = fits(middle)
        low = np.where(good, middle, low)
        high = np.where(good, high, middle - 1)
    return low

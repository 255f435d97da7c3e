"""Memory that others published, beside what the formulas say for the same setting."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.queries import find_model, list_weights
from catalog.store import Catalog
from sizing.estimate import estimate
from sizing.hardware import Device, DeviceKind, Machine
from sizing.kv_cache import estimate_kv_cache_bytes
from sizing.layers import LayerTable
from sizing.memory import WeightBytes
from sizing.specs import ModelSpec
from sizing.units import GIB, MIB
from sizing.workload import Workload

CLOSE_SHARE = 0.05
"""A published figure within this share of ours is called close: logs round, drivers differ by hundreds of MiB."""

ANY_QUANT = "Q4_K_M"
"""Caches and compute buffers do not depend on the quantization."""


@dataclass(frozen=True, slots=True)
class MemoryLog:
    """One published figure in MiB. `part` is 'weights' (all tensors), 'kv_cache', 'device_compute' (the compute
    buffer of the card that holds the output) or 'device_total' (everything on one card).

    `flash_attention` None: not stated. `mind`: what is known to differ from the setting that is compared.
    """

    model_id: str
    quant: str | None
    workload: Workload
    flash_attention: bool | None
    backend: str
    part: str
    published_mib: float
    mind: str | None
    engine_version: str | None
    source_url: str
    source_note: str | None


@dataclass(frozen=True, slots=True)
class LogComparison:
    """A published figure beside ours, in bytes."""

    log: MemoryLog
    architecture: str
    estimate_bytes: int

    @property
    def published_bytes(self) -> int:
        """What was published."""
        return round(self.log.published_mib * MIB)

    @property
    def difference_bytes(self) -> int:
        """Ours less the published figure."""
        return self.estimate_bytes - self.published_bytes

    @property
    def share(self) -> float:
        """The difference as a share of the published figure."""
        return self.difference_bytes / self.published_bytes

    @property
    def is_close(self) -> bool:
        """Within CLOSE_SHARE."""
        return abs(self.share) <= CLOSE_SHARE


def list_memory_logs(catalog: Catalog) -> tuple[MemoryLog, ...]:
    """Every published figure, in the order of the file."""
    rows = catalog.fetch(
        "SELECT model_id, quant, context_tokens, n_parallel, n_ubatch, kv_type, flash_attention, kv_unified, swa_full, "
        "backend, part, published_mib, mind, engine_version, source_url, source_note FROM memory_logs ORDER BY line"
    )
    logs = []
    for model_id, quant, context, slots, ubatch, kv_type, flash, unified, swa_full, *rest in rows:
        workload = Workload(
            context,
            slots,
            n_ubatch=ubatch,
            kv_type_k=kv_type,
            kv_type_v=kv_type,
            flash_attention=flash is not False,
            kv_unified=unified,
            swa_full=swa_full,
        )
        logs.append(MemoryLog(model_id, quant, workload, flash, *rest))
    return tuple(logs)


def compare_memory_logs(catalog: Catalog) -> tuple[LogComparison, ...]:
    """Every published figure whose model is weighed, beside ours."""
    found = []
    for log in list_memory_logs(catalog):
        card = find_model(catalog, log.model_id)
        weights = {w.quant: w for w in list_weights(catalog, card.model_id)}
        chosen = weights.get(log.quant or ANY_QUANT)
        if chosen is not None:
            found.append(LogComparison(log, card.spec.architecture, _estimate_part(card.spec, chosen, log)))
    return tuple(found)


def imagine_card(backend: str) -> Machine:
    """A machine with one card that holds anything, driven by `backend`."""
    host = Device("host", DeviceKind.CPU, 4096 * GIB, 4096 * GIB)
    return Machine("one large card", host, (Device("card", DeviceKind.GPU, 4096 * GIB, 4096 * GIB, backend=backend),))


def _estimate_part(spec: ModelSpec, weights: WeightBytes, log: MemoryLog) -> int:
    """The part a log names, in bytes, with every layer on one card."""
    if log.part == "weights":
        return weights.tensor_bytes
    if log.part == "kv_cache":
        return int(estimate_kv_cache_bytes(LayerTable.from_specs([spec]), log.workload).kv_cache_bytes[0])
    card = estimate(spec, weights, log.workload, imagine_card(log.backend)).memory.devices[1]
    return card.parts.compute_bytes if log.part == "device_compute" else card.parts.total_bytes

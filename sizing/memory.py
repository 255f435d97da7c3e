"""The parts of memory and their sums. Parts are stored, totals derived."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """Bytes of a model's tensors in one quantization, grouped as placement needs them.

    `input_bytes`: token (and per-layer) embeddings, which llama.cpp keeps on the host. `output_bytes`: final norm
    and output head; a tied head is counted here only when the engine duplicates it. `layer_bytes[i]` is all of
    repeating layer i, of which `layer_expert_bytes[i]` are routed experts. `tensor_bytes` is the sum the file holds.
    `token_embedding_bytes` is the token embedding alone: what a tied head costs a second time on an accelerator.
    """

    quant: str
    input_bytes: int
    output_bytes: int
    layer_bytes: tuple[int, ...]
    layer_expert_bytes: tuple[int, ...]
    token_embedding_bytes: int = 0

    @property
    def tensor_bytes(self) -> int:
        """All tensors together: the size of the file without its header and vocabulary."""
        return self.input_bytes + self.output_bytes + sum(self.layer_bytes)


@dataclass(frozen=True, slots=True)
class Parts:
    """Bytes by purpose."""

    weight_bytes: int = 0
    kv_cache_bytes: int = 0
    recurrent_state_bytes: int = 0
    compute_bytes: int = 0
    output_bytes: int = 0  # the output buffer: logits and embeddings handed back to the caller
    overhead_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """The sum of the parts."""
        return sum(getattr(self, f.name) for f in fields(self))


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """What one device holds. `headroom_bytes` is usable memory less what is used, negative when it overruns."""

    name: str
    memory_bytes: int
    usable_bytes: int
    parts: Parts
    n_layers: int = 0

    @property
    def headroom_bytes(self) -> int:
        """Usable memory left; negative when it overruns."""
        return self.usable_bytes - self.parts.total_bytes


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Parts over all devices, the devices, and what was assumed, in words."""

    model_id: str
    quant: str
    engine: str
    devices: tuple[DeviceUse, ...]
    assumptions: tuple[str, ...] = ()

    @property
    def parts(self) -> Parts:
        """The parts of all devices added up."""
        return Parts(**{f.name: sum(getattr(d.parts, f.name) for d in self.devices) for f in fields(Parts)})

    @property
    def total_bytes(self) -> int:
        """Everything, everywhere."""
        return self.parts.total_bytes

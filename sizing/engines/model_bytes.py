"""What a model in a weight format holds and reads, block by block, for engines that load the published checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from sizing.formats import find_format
from sizing.modules import Role, list_modules
from sizing.specs import ModelSpec


@dataclass(frozen=True, slots=True)
class FormatBytes:
    """Bytes of one tensor-parallel rank.

    `layer_bytes[i]` is all of layer i, `expert_bytes[i]` its routed experts. `embedding_bytes` are looked-up tables,
    `end_bytes` the final norm and an output head that is a matrix of its own. `head_bytes` is what a token reads for
    its logits: the head, or the embedding where the head is tied to it. `largest_matrix` counts the values of the
    largest matrix of a layer that the format quantizes (one expert counts alone), 0 for none.
    """

    embedding_bytes: int
    layer_bytes: tuple[int, ...]
    expert_bytes: tuple[int, ...]
    end_bytes: int
    head_bytes: int
    largest_matrix: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.embedding_bytes + sum(self.layer_bytes) + self.end_bytes

    def count_read_bytes(self, expert_share: float) -> float:
        """Bytes one step reads where the tokens of the step meet `expert_share` of the routed experts."""
        experts = sum(self.expert_bytes)
        return sum(self.layer_bytes) - experts * (1.0 - expert_share) + self.head_bytes


@lru_cache(maxsize=4096)
def count_format_bytes(spec: ModelSpec, weight_format: str, n_ranks: int = 1) -> FormatBytes:
    """The model in a format of `sizing.formats.FORMATS`.

    Raises UnknownNameError for another format, UnsupportedError for an architecture that is not described.
    """
    wanted = find_format(weight_format)
    layers, experts = [0] * spec.n_layers, [0] * spec.n_layers
    embedding = end = head = largest = 0
    for module in list_modules(spec):
        n_bytes = wanted.count_bytes(module, n_ranks)
        for layer in module.layers:
            layers[layer] += n_bytes
            if module.role is Role.EXPERT:
                experts[layer] += n_bytes
        if module.layers and wanted.stores(module):
            largest = max(largest, module.n_in * module.n_out)
        if module.role is Role.EMBEDDING and not module.layers:
            embedding += n_bytes
            if spec.tied_embeddings and module.name == "embed_tokens":
                head = n_bytes
        elif not module.layers:
            end += n_bytes
            if module.role is Role.HEAD:
                head = n_bytes
    return FormatBytes(embedding, tuple(layers), tuple(experts), end, head, largest)


def keep_experts_whole(held: FormatBytes, whole: FormatBytes) -> FormatBytes:
    """The model in a format whose routed experts stay as they are in `whole`."""
    layers = tuple(a - e + w for a, e, w in zip(held.layer_bytes, held.expert_bytes, whole.expert_bytes, strict=True))
    return replace(held, layer_bytes=layers, expert_bytes=whole.expert_bytes)


def find_expert_share(spec: ModelSpec, n_tokens: int) -> float:
    """The share of the routed experts that at least one of `n_tokens` tokens chooses, each at random; 1 for dense."""
    shares = [g.ffn.n_active_experts / g.ffn.n_experts for g in spec.groups if g.ffn is not None and g.ffn.is_moe]
    return 1.0 - (1.0 - shares[0]) ** n_tokens if shares else 1.0


def fill_devices(block_bytes: tuple[int, ...], limits: tuple[int, ...]) -> tuple[int, ...]:
    """The device of each block, in order: the next one once the limit of the present would be passed.

    The last device takes what is left, whether it fits or not.
    """
    placed: list[int] = []
    device = used = 0
    for n_bytes in block_bytes:
        while device < len(limits) - 1 and used + n_bytes > limits[device]:
            device, used = device + 1, 0
        placed.append(device)
        used += n_bytes
    return tuple(placed)

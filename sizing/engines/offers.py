"""What an engine can be offered of a model: its weight formats, or GGUF files, each with its bytes and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from sizing.candidate import QuantLoss
from sizing.engines.base import NO_OPTIONS, Engine, EngineOptions, EngineSetup
from sizing.errors import UnsupportedError
from sizing.formats import find_format
from sizing.hardware import Machine
from sizing.memory import WeightBytes
from sizing.modules import list_modules
from sizing.quants import QUANTS
from sizing.specs import ModelSpec

UNQUANTIZED = frozenset({"BF16", "F16"})


@dataclass(frozen=True, slots=True)
class Offer:
    """A model in one weight format; `weights` are a GGUF file's bytes, None for formats that are not GGUF."""

    weight_format: str
    weights: WeightBytes | None = None


@dataclass(frozen=True, slots=True)
class EngineQuestion:
    """What an engine is asked besides the model and the machine. `kv_type` 'auto' is the engine's default."""

    context_tokens: int
    n_parallel: int = 1
    kv_type: str = "auto"
    options: EngineOptions = NO_OPTIONS

    def build_setup(self, spec: ModelSpec, offer: Offer, machine: Machine) -> EngineSetup:
        """The same as a setup of one model on one machine. Raises BadInputError."""
        return EngineSetup(
            spec,
            offer.weight_format,
            self.context_tokens,
            self.n_parallel,
            machine,
            self.kv_type,
            offer.weights,
            self.options,
        )


def list_offers(engine: Engine, spec: ModelSpec, weights: Sequence[WeightBytes]) -> tuple[Offer, ...]:
    """Every format an engine reads, in its order; for one that takes GGUF the model's files in theirs.

    A format that would leave this model as it is, such as one for experts alone where there are none, is left out.
    """
    if engine.takes_gguf:
        return tuple(Offer(w.quant, w) for w in weights)
    return tuple(Offer(name) for name in engine.formats if name in UNQUANTIZED or changes_anything(spec, name))


@lru_cache(maxsize=8192)
def changes_anything(spec: ModelSpec, weight_format: str) -> bool:
    """Whether a format stores any matrix of a model otherwise than in 16 bits; taken to where nobody can tell."""
    stored = find_format(weight_format)
    try:
        return any(stored.stores(m) for m in list_modules(spec))
    except UnsupportedError:
        return True


@lru_cache(maxsize=8192)
def count_format_bytes(spec: ModelSpec, weight_format: str) -> int:
    """Bytes of a model's checkpoint in a format of `sizing.formats`. Raises UnknownNameError, UnsupportedError."""
    stored = find_format(weight_format)
    return sum(stored.count_bytes(m) * m.count for m in list_modules(spec))


def count_offer_bytes(spec: ModelSpec, offer: Offer) -> int:
    """Bytes of an offer's weights. Raises UnsupportedError for an architecture whose matrices are not described."""
    return offer.weights.tensor_bytes if offer.weights is not None else count_format_bytes(spec, offer.weight_format)


def count_bits_per_weight(spec: ModelSpec, offer: Offer) -> float:
    """Bits of storage for each parameter, everything the file holds counted. Raises UnsupportedError."""
    return 8 * count_offer_bytes(spec, offer) / spec.n_params


def find_format_loss(losses: Sequence[QuantLoss], weight_format: str) -> QuantLoss | None:
    """The published loss of a format: its own, or that of the quantization its figures stand under; None where unknown.

    A GGUF quantization is looked up by its name.
    """
    own = next((x for x in losses if x.quant == weight_format), None)
    if own is not None or weight_format in QUANTS:
        return own
    known_as = find_format(weight_format).loss_quant
    return next((x for x in losses if x.quant == known_as), None) if known_as else None

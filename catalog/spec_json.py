"""A model's shape as text and back: what the import store keeps once for all models that share it.

A shape is a `ModelSpec` without what may differ between fine-tunes of one model: its names, the context it was trained
for and how many parameters were counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

from sizing.errors import BadInputError
from sizing.specs import (
    Attention,
    AttentionKind,
    ExtraValue,
    FeedForward,
    Indexer,
    Latent,
    LayerGroup,
    ModelSpec,
    Recurrent,
    RecurrentKind,
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides a model's tensors and its memory: shared by all fine-tunes of a model."""

    architecture: str
    groups: tuple[LayerGroup, ...]
    hidden_dim: int
    vocab_size: int
    tied_embeddings: bool
    extras: tuple[tuple[str, ExtraValue], ...]


def shape_of(spec: ModelSpec) -> Shape:
    """The shape of a model."""
    return Shape(spec.architecture, spec.groups, spec.hidden_dim, spec.vocab_size, spec.tied_embeddings, spec.extras)


def write_shape(shape: Shape) -> str:
    """A shape as JSON, the same text for equal shapes."""
    record = {
        "architecture": shape.architecture,
        "hidden_dim": shape.hidden_dim,
        "vocab_size": shape.vocab_size,
        "tied_embeddings": shape.tied_embeddings,
        "groups": [{k: v for k, v in asdict(group).items() if v is not None} for group in shape.groups],
        "extras": [[key, value] for key, value in shape.extras],
    }
    return json.dumps(record, separators=(",", ":"), ensure_ascii=True)


def digest_text(text: str) -> str:
    """Twenty-four hexadecimal digits that stand for a text."""
    return blake2b(text.encode("utf-8", "backslashreplace"), digest_size=12).hexdigest()


def read_shape(text: str) -> Shape:
    """The shape that `write_shape` wrote. Raises BadInputError for any other text."""
    try:
        record = json.loads(text)
        return Shape(
            architecture=str(record["architecture"]),
            groups=tuple(_read_group(group) for group in record["groups"]),
            hidden_dim=int(record["hidden_dim"]),
            vocab_size=int(record["vocab_size"]),
            tied_embeddings=bool(record["tied_embeddings"]),
            extras=tuple((str(key), _read_extra(value)) for key, value in record["extras"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInputError(f"wanted a model's shape as JSON, got {text[:60]!a}: {error}") from error


def _read_extra(value: object) -> ExtraValue:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"a number, text or list was wanted, got {value!r}")


def _read_group(record: Mapping[str, Any]) -> LayerGroup:
    attention, recurrent, ffn = record.get("attention"), record.get("recurrent"), record.get("ffn")
    return LayerGroup(
        layers=tuple(record["layers"]),
        attention=None if attention is None else _read_attention(attention),
        recurrent=None if recurrent is None else Recurrent(**{**recurrent, "kind": RecurrentKind(recurrent["kind"])}),
        ffn=None if ffn is None else FeedForward(**ffn),
    )


def _read_attention(record: Mapping[str, Any]) -> Attention:
    latent, indexer = record.get("latent"), record.get("indexer")
    parts = {
        "kind": AttentionKind(record["kind"]),
        "latent": None if latent is None else Latent(**latent),
        "indexer": None if indexer is None else Indexer(**indexer),
    }
    return Attention(**{**record, **parts})

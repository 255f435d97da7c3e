"""The tensor table of a model: which tensors its GGUF file holds, and the metadata that goes with them.

Both are pure functions of a `ModelSpec`. llama.cpp's loader proves them in both directions: a missing tensor, a wrong
shape or one tensor too many is an error there, and exact parameter counts prove what the loader calls optional.
"""

from __future__ import annotations

import hashlib

from sizing.architectures import ARCHITECTURES, Architecture, KeyValue, TensorInfo
from sizing.errors import UnsupportedError, find_near_names
from sizing.specs import ModelSpec

__all__ = [
    "KeyValue",
    "TensorInfo",
    "count_params",
    "find_architecture",
    "list_native_types",
    "list_tensors",
    "metadata",
]

NOT_GGUF = (
    "rope_freqs",
    "rope_factors",
    "published_nextn_predict_layers",
    "attention.k_eq_v",
    "ssm.norm",
    "laurel_rank",
)
"""Extras that steer the tensor table here and are no keys of a GGUF file."""


def find_architecture(spec: ModelSpec) -> Architecture:
    """The registered architecture of a spec. Raises UnsupportedError, with near names, when there is none."""
    found = ARCHITECTURES.get(spec.architecture)
    if found is None:
        near = find_near_names(spec.architecture, ARCHITECTURES)
        hint = f"; near: {', '.join(near)}" if near else ""
        raise UnsupportedError(
            f"{spec.model_id}: no tensor table for architecture {spec.architecture!r}; its size cannot be counted{hint}"
        )
    return found


def list_tensors(spec: ModelSpec) -> tuple[TensorInfo, ...]:
    """All tensors of the model's GGUF file, in file order. Raises UnsupportedError for an unknown architecture."""
    return tuple(find_architecture(spec).list_tensors(spec))


def metadata(spec: ModelSpec) -> tuple[KeyValue, ...]:
    """The GGUF keys llama.cpp needs to size the model, `general.architecture` first.

    The spec's own extras overrule what is derived from its shape. Raises UnsupportedError for an unknown architecture.
    """
    architecture = find_architecture(spec)
    keys = dict(architecture.list_metadata(spec))
    keys.update(spec.extras)
    named = tuple(
        (key if key.startswith("tokenizer.") else f"{architecture.name}.{key}", value)
        for key, value in keys.items()
        if key not in NOT_GGUF
    )
    return (("general.architecture", architecture.name), *named)


def list_native_types(spec: ModelSpec) -> tuple[tuple[str, str], ...]:
    """Names and GGML types of the tensors published quantized, which every recipe keeps; empty for most models."""
    find = find_architecture(spec).find_native_type
    return tuple((t.name, native) for t in list_tensors(spec) if (native := find(t)) is not None)


def digest_tensors(spec: ModelSpec) -> str:
    """Twelve hexadecimal digits that change with any tensor's name, shape or native type."""
    native = dict(list_native_types(spec))
    lines = (f"{t.name} {t.shape} {native.get(t.name, '')}" for t in list_tensors(spec))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def count_params(spec: ModelSpec) -> int:
    """Values in all tensors of the file. Raises UnsupportedError for an unknown architecture."""
    return sum(t.n_elements for t in list_tensors(spec))

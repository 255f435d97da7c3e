"""GGUF headers in memory, drawn from a spec as a converter would write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from catalog.gguf_header import TENSOR_TYPES, GgufHeader, GgufKey, GgufTensor, Scalar
from evals.weightless import is_kept_f32
from sizing.specs import ExtraValue, ModelSpec
from sizing.tensors import list_native_types, list_tensors, metadata

ALIGNMENT = 32


def draw_key(name: str, value: ExtraValue | tuple[str, ...], n_items: int | None = None) -> GgufKey:
    """A key as the header reader gives it."""
    first: Scalar = (value[0] if value else 0) if isinstance(value, tuple) else value
    kinds = ((bool, "bool"), (int, "u32"), (float, "f32"), (str, "str"))
    type_name = next(name for kind, name in kinds if isinstance(first, kind))
    is_array = isinstance(value, tuple)
    return GgufKey(name, type_name, is_array, value, (len(value) if isinstance(value, tuple) else 1), 4)


def draw_header(spec: ModelSpec, types: Mapping[str, str] | None = None) -> GgufHeader:
    """The header of the spec's file in F16, or in the types given by tensor name."""
    chosen = {**(types or {}), **dict(list_native_types(spec))}
    tensors, offset = [], 0
    for tensor in list_tensors(spec):
        kind = TENSOR_TYPES[chosen.get(tensor.name) or ("f32" if is_kept_f32(tensor) else "f16")]
        n_bytes = tensor.n_elements // kind.block_elements * kind.block_bytes
        tensors.append(GgufTensor(tensor.name, kind.name, tensor.shape, offset, n_bytes))
        offset += -(-n_bytes // ALIGNMENT) * ALIGNMENT
    keys = tuple(draw_key(name, value) for name, value in metadata(spec))
    return GgufHeader(3, ALIGNMENT, keys, tuple(tensors), 4096, None)


def change_keys(header: GgufHeader, drop: Iterable[str] = (), **changed: ExtraValue | tuple[str, ...]) -> GgufHeader:
    """The header without some keys and with others set; names without the architecture, `__` for a dot."""
    prefix = f"{header.architecture}."
    news = {prefix + name.replace("__", "."): value for name, value in changed.items()}
    gone = {prefix + name for name in drop} | set(news)
    kept = tuple(key for key in header.keys if key.name not in gone)
    return replace(header, keys=kept + tuple(draw_key(name, value) for name, value in news.items()))


def change_tensors(header: GgufHeader, drop: Iterable[str] = (), **reshaped: tuple[int, ...]) -> GgufHeader:
    """The header without some tensors and with others in another shape; `__` for a dot."""
    shapes = {name.replace("__", "."): shape for name, shape in reshaped.items()}
    gone = set(drop)
    kept = tuple(replace(t, shape=shapes.get(t.name, t.shape)) for t in header.tensors if t.name not in gone)
    return replace(header, tensors=kept)

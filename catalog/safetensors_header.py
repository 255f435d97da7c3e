"""The header of a safetensors file: names, types and shapes of its tensors, read without trusting a number in it.

Eight bytes of length, then JSON, then the data (https://github.com/huggingface/safetensors#format). Counting the values
in the shapes gives a model's exact parameters where the Hub does not tell them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sizing.errors import HubError

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 25_000_000
"""The longest header the Hub's own library reads (huggingface_hub/constants.py, `SAFETENSORS_MAX_HEADER_LENGTH`)."""

MAX_DIMS = 16
MAX_VALUES = 10**15

TYPE_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
}
"""Bytes of one value, for the types of whole bytes (safetensors/src/tensor.rs, `Dtype`)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One tensor of a file: its type and how many values it holds."""

    name: str
    type_name: str
    n_values: int


def parse_length(start: bytes, what: str) -> int:
    """Bytes of the file's start up to its data, from its first eight. Raises HubError ("shape")."""
    n_bytes = int.from_bytes(start[:LENGTH_BYTES], "little")
    if len(start) < LENGTH_BYTES or not 2 <= n_bytes <= MAX_HEADER_BYTES:
        raise HubError("shape", f"{what} is no safetensors file: its header would take {n_bytes:,} bytes")
    return LENGTH_BYTES + n_bytes


def parse_shapes(start: bytes, what: str, file_bytes: int | None = None) -> tuple[Shape, ...]:
    """The tensors of a file out of its first bytes, which hold the whole header. Raises HubError ("shape")."""
    end = parse_length(start, what)
    try:
        told = json.loads(start[LENGTH_BYTES:end].decode("utf-8"))
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or len(start) < end:
        raise HubError("shape", f"{what} is no safetensors file: its header is no JSON table")
    data_bytes = None if file_bytes is None else file_bytes - end
    return tuple(_read_shape(name, entry, what, data_bytes) for name, entry in told.items() if name != "__metadata__")


def parse_index(told: Any, what: str) -> tuple[str, ...]:
    """The files that model.safetensors.index.json names, each once. Raises HubError ("shape")."""
    by_tensor = told.get("weight_map") if isinstance(told, dict) else None
    if not isinstance(by_tensor, dict) or not all(isinstance(path, str) for path in by_tensor.values()):
        raise HubError("shape", f"{what} names no files")
    return tuple(dict.fromkeys(by_tensor.values()))


def _read_shape(name: str, entry: Any, what: str, data_bytes: int | None) -> Shape:
    told: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
    type_name, dims, place = told.get("dtype"), told.get("shape"), told.get("data_offsets")
    is_sound = (
        isinstance(type_name, str)
        and re.fullmatch(r"[A-Z0-9_]{1,16}", type_name)
        and _is_numbers(dims, MAX_DIMS)
        and _is_numbers(place, 2)
        and len(place or ()) == 2
    )
    if not is_sound or type_name is None or dims is None or place is None:
        raise HubError("shape", f"{what} is broken: the tensor {name[:60]!a} has no type, shape or place")
    n_values, n_bytes = math.prod(dims), place[1] - place[0]
    width = TYPE_BYTES.get(type_name)
    if n_values > MAX_VALUES or n_bytes < 0 or (width is not None and n_bytes != n_values * width):
        raise HubError(
            "shape", f"{what} is broken: the tensor {name[:60]!a} of {n_values:,} values has {n_bytes:,} bytes"
        )
    if data_bytes is not None and place[1] > data_bytes:
        raise HubError("size", f"{what} is cut short: the tensor {name[:60]!a} ends behind the file's end")
    return Shape(name, type_name, n_values)


def _is_numbers(value: Any, most: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= most
        and all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= MAX_VALUES * 8 for n in value)
    )

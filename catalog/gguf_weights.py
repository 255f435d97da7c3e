"""What a GGUF file weighs, from its own tensor table: exact bytes per layer, whatever mix of types its maker chose.

A model may be split over several files (`split.*` keys, llama.cpp's `gguf-split`); all parts are given together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from catalog.gguf_header import GgufHeader
from sizing.errors import BadInputError, GgufError, UnsupportedError
from sizing.memory import WeightBytes
from sizing.quants import QUANTS
from sizing.tensor_groups import group_tensor_bytes

MAX_LAYERS = 512
"""LLAMA_MAX_LAYERS, llama-hparams.h."""

GUESSED_FTYPE = 1024
"""Added to a file type that was not stated (LLAMA_FTYPE_GUESSED, llama.h)."""


def count_weight_bytes(parts: Sequence[GgufHeader]) -> WeightBytes:
    """Bytes of a model's tensors by where llama.cpp places them, added up over all parts of the model.

    Raises BadInputError for parts that do not belong together, GgufError for keys that cannot be true,
    UnsupportedError for a file that holds no language model (a projector, an adapter).
    """
    first = check_parts(parts)
    architecture = first.architecture
    if architecture is None:
        raise UnsupportedError("the file does not say its architecture (general.architecture); is it a model?")
    n_layers = first.find(f"{architecture}.block_count")
    if not isinstance(n_layers, int) or isinstance(n_layers, bool):
        raise UnsupportedError(f"the file does not say how many layers it has ({architecture[:60]!a}.block_count)")
    if not 0 < n_layers <= MAX_LAYERS:
        raise GgufError(f"the file claims {n_layers:,} layers; llama.cpp reads models of 1 to {MAX_LAYERS}")
    tensors = [(tensor.name, tensor.n_bytes) for part in parts for tensor in part.tensors]
    return group_tensor_bytes(find_quant_label(parts), tensors, n_layers, architecture)


def check_parts(parts: Sequence[GgufHeader]) -> GgufHeader:
    """The part that holds the model's keys: the only one, or the first of a complete set in order.

    Raises BadInputError when a part is missing, doubled or of another model.
    """
    if not parts:
        raise BadInputError("wanted the headers of a model's file or files, got none")
    n_expected = _find_count(parts[0], "split.count") or 1
    numbers = [_find_count(part, "split.no") for part in parts]
    if len(parts) != n_expected:
        raise BadInputError(
            f"the model is split over {n_expected:,} files; got {len(parts)}: give all of them together"
        )
    if len(parts) > 1 and numbers != list(range(len(parts))):
        raise BadInputError(f"wanted parts 0 to {len(parts) - 1} in order, got {', '.join(map(str, numbers))}")
    names = Counter(tensor.name for part in parts for tensor in part.tensors)
    doubled = next((name for name, n in names.items() if n > 1), None)
    if doubled is not None:
        raise BadInputError(f"two parts hold the tensor {doubled!a}; are they of one model?")
    claimed = _find_count(parts[0], "split.tensors.count")
    if claimed and claimed != len(names):
        raise BadInputError(
            f"the model has {claimed:,} tensors, its parts together {len(names):,}; are they of one model?"
        )
    return parts[0]


def find_quant_label(parts: Sequence[GgufHeader]) -> str:
    """The quantization a file calls itself (`general.file_type`), or the GGML type that takes most of its bytes."""
    stated = parts[0].find("general.file_type")
    if isinstance(stated, int):
        ftype = stated & ~GUESSED_FTYPE
        found = next((quant.name for quant in QUANTS.values() if quant.ftype == ftype), None)
        if found is not None:
            return found
    by_type = count_type_bytes(parts)
    return by_type[0][0].upper() if by_type else "unknown"


def count_type_bytes(parts: Sequence[GgufHeader]) -> tuple[tuple[str, int, int], ...]:
    """GGML type, number of tensors and their bytes, the most bytes first."""
    n_tensors: Counter[str] = Counter()
    n_bytes: Counter[str] = Counter()
    for part in parts:
        for tensor in part.tensors:
            n_tensors[tensor.type_name] += 1
            n_bytes[tensor.type_name] += tensor.n_bytes
    return tuple((name, n_tensors[name], size) for name, size in n_bytes.most_common())


def _find_count(header: GgufHeader, key: str) -> int | None:
    """A whole number of the header, None where there is none."""
    value = header.find(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None

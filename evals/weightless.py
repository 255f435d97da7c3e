"""GGUF files without weights: metadata and a tensor table, then a hole as long as the weights would be.

llama.cpp reads such a file as it reads any other. The hole costs no disk (the file is sparse) and reads as zeros.
No tokenizer is written (`no_vocab`), so the header is smaller than a published file's by its vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sizing.architectures import KeyValue, TensorInfo
from sizing.errors import BadInputError
from sizing.specs import ModelSpec
from sizing.tensors import list_native_types, list_tensors, metadata

ALIGNMENT = 32
"""Bytes every tensor starts on (GGUF_DEFAULT_ALIGNMENT, ggml/include/gguf.h)."""

KEPT_F32 = (
    "ffn_gate_inp.weight",
    "ffn_gate_inp_shexp.weight",
    "ssm_conv1d.weight",
    "ssm_conv1d_q.weight",
    "ssm_conv1d_k.weight",
    "ssm_conv1d_v.weight",
    "shortconv.conv.weight",
    "altup_correct_coef.weight",
    "altup_predict_coef.weight",
    "indexer.proj.weight",
    "indexer.q_proj.weight",  # MiniMax M3 and the following: `tensor_force_quant` of the model's own converter
    "indexer.k_proj.weight",
    "hc_attn_fn.weight",
    "hc_ffn_fn.weight",
    "indexer_compressor_gate.weight",
    "indexer_compressor_ape.weight",
)
"""Matrices that llama.cpp's converter keeps in f32 whatever the file type (conversion/base.py, `prepare_tensors`)."""


def is_kept_f32(tensor: TensorInfo) -> bool:
    """Whether the converter writes this tensor in f32 in an f16 or bf16 file (conversion/base.py, `prepare_tensors`).

    Vectors, norms, everything not called `.weight`, and the list `KEPT_F32`.
    """
    name = tensor.name
    return (
        len(tensor.shape) <= 1
        or name.endswith("_norm.weight")
        or not name.endswith(".weight")
        or name.split(".", 2)[-1] in KEPT_F32
    )


def write_weightless_gguf(spec: ModelSpec, path: Path, types: Mapping[str, str] | None = None) -> int:
    """Write `spec` as a sparse GGUF file; returns its length in bytes.

    `types` gives GGML types by tensor name, as `evals.dry_run.ask_tensor_types` answers or a file's own header says; a
    tensor it does not name is what the converter writes in f16. Raises UnsupportedError for an architecture without a
    tensor table, BadInputError for a type that the gguf package does not know.
    """
    chosen = {**dict(list_native_types(spec)), **(types or {})}
    return write_gguf_header(path, metadata(spec), list_tensors(spec), chosen)


def write_gguf_header(
    path: Path, keys: Sequence[KeyValue], tensors: Sequence[TensorInfo], types: Mapping[str, str] | None = None
) -> int:
    """Write keys and tensor table, extend the file over the missing data; returns its length in bytes.

    `keys` must hold `general.architecture`. Raises BadInputError for a value GGUF cannot hold or a type name that is
    no GGML type.
    """
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(None, str(dict(keys)["general.architecture"]))
    writer.add_tokenizer_model("no_vocab")
    for key, value in keys:
        if key != "general.architecture":
            _add_key(writer, key, value)
    n_data_bytes = 0
    for tensor in tensors:
        name = (types or {}).get(tensor.name) or ("f32" if is_kept_f32(tensor) else "f16")
        try:
            raw_type = gguf.GGMLQuantizationType[name.upper()]
        except KeyError:
            raise BadInputError(f"tensor {tensor.name} wants a GGML type, got {name!r}") from None
        block_elements, block_bytes = gguf.GGML_QUANT_SIZES[raw_type]
        n_bytes = tensor.n_elements // block_elements * block_bytes
        # the writer wants numpy's order, the contiguous axis last; a given raw type is taken before the numpy one
        writer.add_tensor_info(tensor.name, tensor.shape[::-1], np.dtype(np.float16), n_bytes, raw_type)
        n_data_bytes += -(-n_bytes // ALIGNMENT) * ALIGNMENT
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    header_bytes = -(-path.stat().st_size // ALIGNMENT) * ALIGNMENT
    os.truncate(path, header_bytes + n_data_bytes)
    return header_bytes + n_data_bytes


def _add_key(writer: Any, key: str, value: object) -> None:
    """Add one key in the GGUF type llama.cpp's loader reads it as: whole numbers u32, or i32 when negative."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value) if value >= 0 else writer.add_int32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, tuple):
        writer.add_array(key, list(value))
    else:
        raise BadInputError(f"metadata key {key} wants a number, text, flag or tuple of those, got {value!r}")

"""Where llama.cpp places each tensor of a file: with the input, with the output, or in a repeating layer."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from sizing.architectures import TensorInfo
from sizing.errors import UnsupportedError
from sizing.memory import WeightBytes

INPUT_TENSORS = ("token_embd.weight", "position_embd.weight", "token_types.weight", "per_layer_token_embd.weight")
"""Tensors llama.cpp keeps with the input, on the host (llama-arch.cpp, LLM_TENSOR_LAYER_INPUT)."""

OUTPUT_TENSORS = ("output", "output_norm", "output_res_score", "altup_proj", "altup_unembd_proj", "cls")
"""First parts of names that llama.cpp keeps with the output (llama-arch.cpp, LLM_TENSOR_LAYER_OUTPUT)."""

LFM2_OUTPUT_NORM = "token_embd_norm.weight"
"""LFM2's final norm goes by another norm's name (llama-arch.cpp, LLM_TENSOR_OUTPUT_NORM_LFM2)."""

ALIGNMENT = 32
"""Bytes a tensor's place is padded to in a buffer (ggml/src/ggml-impl.h, TENSOR_ALIGNMENT); cards pad by a bit more."""

_LAYER = re.compile(r"blk\.([0-9]+)\.")


def is_output_tensor(name: str, architecture: str) -> bool:
    """Whether llama.cpp keeps this tensor with the output head."""
    if name == LFM2_OUTPUT_NORM:
        return architecture.startswith("lfm2")
    return name.split(".", 1)[0] in OUTPUT_TENSORS or name.startswith("output_hc_")


@dataclass(frozen=True, slots=True)
class Crumbs:
    """Bytes a model takes beside its tensors once it lies in the buffers of several devices.

    `shared_bytes` are tensors that every device with layers keeps a copy of (rope factors). `layer_padding` and
    `output_padding` are what padding adds to small tensors.
    """

    shared_bytes: int
    layer_padding: tuple[int, ...]
    output_padding: int


def count_crumbs(tensors: Iterable[TensorInfo], n_layers: int, architecture: str) -> Crumbs:
    """The crumbs of a model whose tensor table this is. Only vectors are counted, which stay f32 in every quantization;
    matrices fill whole places."""
    shared, output, layers = 0, 0, [0] * n_layers
    for tensor in tensors:
        is_vector = len(tensor.shape) == 1
        if not is_vector and not tensor.name.startswith("rope_f"):
            continue
        n_bytes = 4 * math.prod(tensor.shape)
        padding = -n_bytes % ALIGNMENT if is_vector else 0
        layer = _LAYER.match(tensor.name)
        if layer is not None:
            layers[int(layer[1])] += padding
        elif tensor.name.startswith("rope_f"):
            shared += n_bytes + padding
            layers[0] += padding
        elif is_output_tensor(tensor.name, architecture):
            output += padding
    return Crumbs(shared, tuple(layers), output)


def group_tensor_bytes(quant: str, tensors: Iterable[tuple[str, int]], n_layers: int, architecture: str) -> WeightBytes:
    """Add tensors, given as names and bytes, up by where llama.cpp places them.

    A tensor without a layer number that all layers use (rope factors) counts with the first layer. The sum over all
    groups is what the file holds, and what `llama_model_size` answers. Raises UnsupportedError for a tensor of a layer
    that is not among the `n_layers`.
    """
    input_bytes = output_bytes = embedding_bytes = 0
    layer_bytes, expert_bytes = [0] * n_layers, [0] * n_layers
    for name, n_bytes in tensors:
        layer = _LAYER.match(name)
        if layer is None and name in INPUT_TENSORS:
            input_bytes += n_bytes
            embedding_bytes += n_bytes if name == "token_embd.weight" else 0
        elif layer is None and is_output_tensor(name, architecture):
            output_bytes += n_bytes
        else:
            i = int(layer[1]) if layer else 0
            if i >= n_layers:
                raise UnsupportedError(f"tensor {name!a} is of layer {i}; the model has {n_layers} layers")
            layer_bytes[i] += n_bytes
            expert_bytes[i] += n_bytes if "_exps." in name else 0
    return WeightBytes(
        quant, input_bytes, output_bytes, tuple(layer_bytes), tuple(expert_bytes), token_embedding_bytes=embedding_bytes
    )

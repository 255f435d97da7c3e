"""The keys of a model's GGUF file, read as whole numbers and flags within bounds, nothing taken on trust.

Keys are named without the architecture's prefix (`attention.head_count`). What llama.cpp reads as one number for all
layers or one per layer (`get_key_or_arr`, src/llama-model-loader.cpp) is read so here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from catalog.gguf_header import GgufHeader, GgufKey, GgufTensor
from catalog.gguf_weights import MAX_LAYERS
from sizing.errors import GgufError, UnsupportedError

MAX_WIDTH = 2**24
"""Widths, experts' widths and vocabularies beyond this belong to no model."""

MAX_HEADS = 2**16
MAX_CONTEXT = 2**31 - 1
MAX_EXPERTS = 4096
"""Four times LLAMA_MAX_EXPERTS (llama-hparams.h)."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What the readers of shapes look at: the architecture's keys, and the tensor table.

    `n_layers` counts the layers that generate text, `n_prediction_layers` those behind them that only draft ahead
    (`nextn_predict_layers`), which llama.cpp leaves out unless it is asked to draft with them.
    """

    architecture: str
    keys: Mapping[str, GgufKey]
    tensors: Mapping[str, GgufTensor]
    n_layers: int
    n_prediction_layers: int
    n_tokens_listed: int | None

    def number(self, name: str, most: int, default: int | None = None, least: int = 1) -> int:
        """A whole number from `least` to `most`, or `default` where the file has no such key.

        Raises GgufError for anything else, and for a missing key without a default.
        """
        key = self.keys.get(name)
        if key is None:
            if default is None:
                raise GgufError(f"the file lacks {self._full(name)}, which llama.cpp needs for this architecture")
            return default
        return self._whole(name, None if key.is_array else key.value, least, most)

    def per_layer(
        self, name: str, most: int, default: tuple[int, ...] | None = None, least: int = 0
    ) -> tuple[int, ...]:
        """One whole number per layer that generates text; the file holds one for all or one for each.

        Raises GgufError for another number of values.
        """
        key = self.keys.get(name)
        if key is None or not key.is_array:
            if key is None and default is not None:
                return default
            return (self.number(name, most, least=least),) * self.n_layers
        n_all = self.n_layers + self.n_prediction_layers
        if not isinstance(key.value, tuple) or key.n_items not in (self.n_layers, n_all):
            raise GgufError(f"{self._full(name)} holds {key.n_items:,} values; wanted one, or {n_all:,} for the layers")
        return tuple(self._whole(name, value, least, most) for value in key.value[: self.n_layers])

    def flags(self, name: str) -> tuple[bool, ...] | None:
        """One flag per layer, False where the list ends early; None where the file has no such list.

        Raises GgufError for what is no list of flags.
        """
        key = self.keys.get(name)
        if key is None or not key.is_array:
            return None
        if not isinstance(key.value, tuple) or key.n_items > MAX_LAYERS or isinstance((*key.value, 0)[0], str):
            raise GgufError(
                f"{self._full(name)} wants flags for at most {MAX_LAYERS} layers, got {key.n_items:,} values"
            )
        given = tuple(bool(value) for value in key.value[: self.n_layers])
        return given + (False,) * (self.n_layers - len(given))

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, () where the file has none of that name."""
        tensor = self.tensors.get(name)
        return tensor.shape if tensor is not None else ()

    def has(self, name: str) -> bool:
        """Whether the file holds a tensor of that name."""
        return name in self.tensors

    def _full(self, name: str) -> str:
        return f"{self.architecture}.{name}"

    def _whole(self, name: str, value: object, least: int, most: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise GgufError(
                f"{self._full(name)} must be a whole number from {least:,} to {most:,}, got {ascii(value)[:60]}"
            )
        return value


def open_model_file(parts: tuple[GgufHeader, ...], architecture: str) -> ModelFile:
    """A model's keys and tensors, out of the headers of all its parts; keys are the first part's.

    Raises GgufError for a number of layers that no model has, UnsupportedError where the file holds no tensors.
    """
    prefix = f"{architecture}."
    keys = {key.name[len(prefix) :]: key for key in parts[0].keys if key.name.startswith(prefix)}
    tensors = {tensor.name: tensor for part in parts for tensor in part.tensors}
    if not tensors:
        raise UnsupportedError("the file holds no tensors: it is a vocabulary, or the first part of a split model")
    tokens = next((key for key in parts[0].keys if key.name == "tokenizer.ggml.tokens" and key.is_array), None)
    n_tokens = tokens.n_items if tokens is not None and 0 < tokens.n_items <= MAX_WIDTH else None
    whole = ModelFile(architecture, keys, tensors, MAX_LAYERS, 0, n_tokens)
    n_all = whole.number("block_count", MAX_LAYERS)
    n_ahead = whole.number("nextn_predict_layers", n_all - 1, default=0, least=0)
    file = ModelFile(architecture, keys, tensors, n_all - n_ahead, n_ahead, n_tokens)
    stored = {name.split(".", 2)[1] for name in tensors if name.startswith("blk.")}
    empty = next((i for i in range(file.n_layers) if str(i) not in stored), None)
    if empty is not None and architecture != "deci":  # some of its layers are pruned of all they had
        raise GgufError(
            f"the file claims {n_all} layers and holds no tensor of layer {empty}; is it a part of a model?"
        )
    return file

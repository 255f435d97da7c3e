"""Dense decoders. Each entry is read from llama.cpp's src/models/<name>.cpp."""

from __future__ import annotations

from collections.abc import Iterator

from sizing.architectures.base import Rules, TensorInfo, find_attention, register_decoder
from sizing.specs import ModelSpec


def _list_rope_freqs(spec: ModelSpec) -> Iterator[TensorInfo]:
    """Llama 3.1's rope scaling is stored as factors, half a head's worth (conversion of `rope_type: llama3`)."""
    if spec.extra("rope.scaling.type") == "llama3":
        yield TensorInfo("rope_freqs.weight", (find_attention(spec).head_dim // 2,))


# Mixtral is a llama with experts in llama.cpp, so this entry serves both
register_decoder("llama", Rules(more_in_model=_list_rope_freqs))
register_decoder("qwen2", Rules(q_bias=True, kv_bias=True))

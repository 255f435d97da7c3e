"""Compute graph of encoders without a cache: nomic-bert.

The order of operations follows llama.cpp's src/models/bert.cpp.
"""

from __future__ import annotations

from sizing.graphs.dense import join
from sizing.graphs.frame import F16, F32, Frame, Layer, Program
from sizing.replay import Tensor


def start_normed(f: Frame) -> Tensor:
    """Embeddings behind a LayerNorm."""
    embedded = f.graph.like(f.embed())
    f.graph.weight_home = f.first_home
    return f.layer_norm(embedded)


def attend_batch(f: Frame, layer: Layer, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of the batch's tokens to each other."""
    g, n = f.graph, f.reserve.n_tokens
    width = layer.n_heads * layer.head_dim_v
    mask = f.input("mask", f.reserve.mask_bytes * n * n)
    g.ask(q, k, v)
    seen = g.view(g.view(q))
    if f.reserve.flash_attention:
        keys = g.op(F16 * n * layer.n_kv_heads * layer.head_dim, g.view(k))
        values = g.op(F16 * n * layer.n_kv_heads * layer.head_dim_v, g.view(v))
        cur = g.view(f.free(width, seen, keys, values, mask))
    else:
        scores = g.op(F32 * n * n * layer.n_heads, g.view(k), seen)
        turned = g.op(v.n_bytes, g.view(g.view(v)))
        weighted = f.free(width, turned, g.like(scores, mask))
        cur = g.op(weighted.n_bytes, g.view(weighted))
    g.ask(cur)
    return f.wide(f.hidden, cur)


def nomic_bert(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Attention and a gated feed-forward, LayerNorms after each."""
    q, k, v = f.split_qkv(layer, x, fused=True)
    h = f.layer_norm(join(f, layer, x, attend_batch(f, layer, f.rope(q), f.rope(k), v)))
    return f.layer_norm(f.add(f.ffn(h, layer.ffn_dim), h))


def head_states(f: Frame, x: Tensor) -> None:
    """An encoder hands back states, not logits."""
    x.is_kept = True
    f.graph.ask(x)


PROGRAMS: dict[str, Program] = {
    "nomic-bert": Program(nomic_bert, start=start_normed, head=head_states, is_causal=False)
}

"""Compute graphs with latent attention (MLA): DeepSeek-V2 and V3, Mistral 4, and the sparse ones with an indexer.

Each follows the order of operations in llama.cpp's src/models (deepseek2.cpp, deepseek32.cpp, glm-dsa.cpp).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sizing.graphs.dense import join
from sizing.graphs.frame import F16, F32, I32, I64, Frame, Layer, Program, Reserve, Straight
from sizing.kv_cache import CELL_PAD
from sizing.replay import Ints, Tensor

GATING = {1: "softmax", 2: "sigmoid", 4: "sqrt_softplus"}
"""Routing functions by number (llama.h, `llama_expert_gating_func_type`)."""


def low_rank_query(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Compressed queries, normed; x itself where queries are not compressed."""
    return f.rms_norm(f.wide(layer.q_lora_rank, x)) if layer.has("q_lora_rank") else x


def query_width(layer: Layer) -> Ints:
    """Values per token of all heads' queries before absorption."""
    return layer.n_heads * (layer.nope_head_dim + layer.rope_head_dim)


def latent_qkv(f: Frame, layer: Layer, x: Tensor, q: Tensor, *, ropes: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Queries in the latent space, the compressed row with its rope part, and the compressed row alone."""
    g, n = f.graph, f.reserve.n_tokens
    rank, rope_dim, n_heads = layer.kv_lora_rank, layer.rope_head_dim, layer.n_heads
    compressed = f.wide(rank + rope_dim, x)
    k_rope = g.view(compressed, F32 * n * rope_dim)
    q_rope = g.view(q, F32 * n * rope_dim * n_heads)
    if ropes:
        k_rope, q_rope = f.rope(k_rope), f.rope(q_rope)
    row = f.rms_norm(g.view(compressed, F32 * n * rank))
    absorbed = g.view(f.wide(rank * n_heads, g.view(g.view(q))))
    queries = f.free((rank + rope_dim) * n_heads, absorbed, q_rope)
    values = g.view(row)
    return queries, f.free(rank + rope_dim, values, k_rope), values


def attend_latent(f: Frame, layer: Layer, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Store the compressed row, attend in the latent space, go back to heads."""
    f.graph.ask(q, v, k)
    f.graph.ask(f.store_k(layer, k))
    return attend_stored(f, layer, q, mask)


def attend_stored(f: Frame, layer: Layer, q: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention over compressed rows; its result is brought back to heads by the absorbed matrix."""
    g, n = f.graph, f.reserve.n_tokens
    rank, n_heads, out_width = layer.kv_lora_rank, layer.n_heads, layer.n_heads * layer.latent_v_head_dim
    seen = g.view(g.view(q))
    mask = mask or f.mask(layer)
    rows, compressed = f.cached_k(layer, layer.k_width), f.cached_k(layer, rank)
    if f.reserve.flash_attention:
        block = f.reserve.k_block
        cur = f.free(rank * n_heads, seen, f.halve(rows, block), f.halve(compressed, block), mask)
        cur = f.wide(out_width, g.view(cur))
    else:
        turned = g.op(f.reserve.k_value_bytes * rank * layer.n_kv_tokens * f.reserve.n_streams, compressed)
        scores = g.op(F32 * layer.n_kv_tokens * n * n_heads, rows, seen)
        cur = f.wide(out_width, f.free(rank * n_heads, turned, g.like(scores, mask)))
    cur = g.view(g.op(cur.n_bytes, g.view(cur)))
    g.ask(cur)
    return cur


def experts(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Dense feed-forward in leading layers, then routed and shared experts."""
    if not layer.is_moe:
        return f.ffn(x, layer.ffn_dim)
    gating = GATING.get(f.extra("gating"), "sigmoid")
    groups = f.extra("n_expert_groups")
    routed = f.moe(
        layer,
        x,
        gating=gating,
        biased=gating == "sigmoid",
        groups=max(groups, 1),
        normed=f.extra("experts_normed") > 0,
        scaled=True,
    )
    return f.add(routed, f.ffn(x, layer.shared_expert_ffn_dim))


def deepseek2(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Latent attention over the whole context."""
    normed = f.rms_norm(x)
    q = f.graph.view(f.wide(query_width(layer), low_rank_query(f, layer, normed)))
    attended = attend_latent(f, layer, *latent_qkv(f, layer, normed, q))
    h = join(f, layer, x, f.wide(f.hidden, attended))
    return f.add(experts(f, layer, f.rms_norm(h)), h)


def choose_rows(f: Frame, layer: Layer, x: Tensor, low: Tensor) -> Tensor:
    """The indexer's choice of rows per token: its keys are stored, scores over the cache taken, the best kept."""
    g, r = f.graph, f.reserve
    dim, n_heads = layer.indexer_dim, layer.indexer_heads
    side = f.input("indexer_rotation", F32 * dim * dim)
    q = f.rope(g.view(f.wide(dim * n_heads, low)))
    k = f.rope(g.view(f.layer_norm(f.wide(dim, x))))
    q, k = g.op(q.n_bytes, side, q), g.op(k.n_bytes, side, k)
    g.ask(g.store(g.view(k), f.input("indexer_rows", I64 * r.n_tokens)))
    weights = g.like(g.view(f.wide(n_heads, x)))
    mask = f.input("indexer_mask", F16 * layer.n_kv_tokens * r.n_tokens)
    scores = g.op(F32 * layer.n_kv_tokens * r.n_tokens, g.view(q), weights, mask)
    n_best = np.minimum(layer.n_kv_tokens, layer.indexer_top_k)
    best = g.op(I32 * n_best * r.n_tokens, scores)
    return g.op(best.n_bytes, best)


def mask_all_but(f: Frame, mask: Tensor, best: Tensor, value_bytes: int = F32) -> Tensor:
    """The attention mask with everything hidden but the chosen rows."""
    g = f.graph
    zeros = g.like(g.scratch(best.n_bytes // I32 * value_bytes))
    hidden = g.view(g.like(mask))
    return g.like(g.view(g.write(hidden, zeros, g.view(best))), mask, also_over=mask)


def sparse(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Latent attention over the rows an indexer chose; layers without an indexer reuse the last choice."""
    normed = f.rms_norm(x)
    low = low_rank_query(f, layer, normed)
    if layer.has("indexer_dim"):
        f.kept["best"] = choose_rows(f, layer, normed, low)
    q = f.wide(query_width(layer), low)
    q, k, v = latent_qkv(f, layer, normed, q)
    f.graph.ask(q, v, k)
    f.graph.ask(f.store_k(layer, k))
    mask = mask_all_but(f, f.mask(layer), f.kept["best"])
    attended = attend_stored(f, layer, q, mask)
    h = join(f, layer, x, f.wide(f.hidden, attended))
    return f.add(experts(f, layer, f.rms_norm(h)), h)


def find_sparse_straight(layers: Sequence[Layer], models: dict[str, Ints], reserve: Reserve, n_pads: int) -> Straight:
    """An indexer keeps no more rows than the cache has."""
    out = Straight()
    for top_k in {int(k) for layer in layers for k in layer.indexer_top_k}:
        out = out.beside(n_pads, top_k // CELL_PAD, -(-top_k // CELL_PAD))
    return out


PROGRAMS: dict[str, Program] = {
    **dict.fromkeys(("deepseek2", "mistral4"), Program(deepseek2)),
    **dict.fromkeys(("deepseek32", "glm-dsa"), Program(sparse, every_layer=True, find_straight=find_sparse_straight)),
}

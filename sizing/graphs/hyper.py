"""Compute graphs of models with hyper-connections: GLM-5-Next, and what DeepSeek-V4 shares with it.

The order of operations follows llama.cpp's src/models/glm5-next.cpp and deepseek4.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sizing.graphs.delta import kimi_delta
from sizing.graphs.frame import F16, F32, I32, I64, Frame, Layer, Program, Reserve, Straight
from sizing.graphs.latent import attend_stored, low_rank_query, query_width
from sizing.kv_cache import CELL_PAD
from sizing.replay import Ints, Tensor

POOL_PAD = 64
"""Pools of the indexer are padded to this many, one at least unused (llama-memory-hybrid-idx.cpp, `kpool_pad`)."""


def merge(f: Frame, streams: Tensor, n: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The streams mixed into one, with the shares that will spread its result and mix the streams again."""
    g, n_streams = f.graph, f.extra("hyper_connections")
    mixes = f.wide((2 + n_streams) * n_streams, f.rms_norm(g.view(streams), weighted=False), n=n)
    before = g.like(g.view(mixes, F32 * f.reserve.n_tokens * n_streams))
    after = g.like(g.view(mixes, F32 * f.reserve.n_tokens * n_streams))
    among = f.wide(n_streams * n_streams, mixes)
    return f.free(f.hidden, streams, before), after, among


def spread(f: Frame, result: Tensor, streams: Tensor, after: Tensor, among: Tensor) -> Tensor:
    """A result added to every stream, the streams mixed among themselves."""
    return f.graph.op(streams.n_bytes, result, streams, after, among)


def spread_stepwise(f: Frame, result: Tensor, streams: Tensor, after: Tensor, among: Tensor) -> Tensor:
    """The same in small steps, stream by stream.

    llama.cpp falls back to it for the whole model when the fused operation of one layer would run on another's device
    (src/llama-context.cpp, `resolve_fused_ops`), as it would where host and accelerator meet.
    """
    g, n, n_streams = f.graph, f.reserve.n_tokens, f.extra("hyper_connections")
    one = F32 * n * f.hidden
    out: Tensor | None = None
    for _ in range(n_streams):
        cur = g.op(one, result, g.view(after, F32 * n, is_strided=True))
        for _ in range(n_streams):
            part = g.view(streams, one, is_strided=True)
            cur = f.add(cur, g.op(one, part, g.view(among, F32 * n, is_strided=True)))
        shaped = g.view(cur)
        out = shaped if out is None else g.op(out.n_bytes + one, out, shaped)
    return out or result


def glm5_experts(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Dense feed-forward in leading layers, then routed and shared experts."""
    if not layer.is_moe:
        return f.ffn(x, layer.ffn_dim)
    routed = f.moe(layer, x, gating="sigmoid", biased=True, scaled=True)
    return f.add(routed, f.ffn(x, layer.shared_expert_ffn_dim))


def count_pools(f: Frame, layer: Layer) -> tuple[Ints, Ints]:
    """Pools of the whole cache, real and padded."""
    real = layer.n_kv_tokens // f.extra("indexer_pool") * f.reserve.n_seqs
    return real, np.maximum(POOL_PAD, -(-(real + 1) // POOL_PAD) * POOL_PAD)


def start_glm5(f: Frame) -> Tensor:
    """Streams, and the indexer's inputs, which are there from the start."""
    g, n, pool = f.graph, f.reserve.n_tokens, f.extra("indexer_pool")
    embedded = f.embed()
    layer = f.attending
    _, n_pools = count_pools(f, layer)
    best = np.minimum(n_pools, layer.indexer_top_k // pool)
    chosen = pool * best + pool - 1
    g.ask(f.input("pool_cells", I32 * n_pools), f.input("pool_rows", I32 * pool * n_pools))
    g.ask(f.input("pool_mask", F16 * n_pools * n), f.input("tail_rows", I32 * (pool - 1) * n))
    g.ask(f.input("chosen_mask", F32 * chosen * n))
    return f.free(f.extra("hyper_connections") * f.hidden, g.view(embedded))


def pooled_keys(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """The indexer's keys of all pools: new rows stored, their pools averaged by gates, all pools read back."""
    g, n, pool, dim = f.graph, f.reserve.n_tokens, f.extra("indexer_pool"), layer.indexer_dim
    n_real, n_pools = count_pools(f, layer)
    key, gate = f.layer_norm(f.wide(dim, x)), f.wide(dim, x)
    zeros = g.like(g.scratch(F32 * n * dim))
    packed = g.view(f.free(3 * dim, f.free(2 * dim, key, gate), zeros))
    g.ask(g.store(g.view(packed), f.input("indexer_rows", I64 * n)))
    members = g.view(f.input("new_pool_rows", I32 * pool * n_real))
    rows = g.view(g.op(F32 * 2 * dim * pool * n_real, members))
    one = F32 * dim * pool * n_real
    shares = g.op(one, g.view(g.like(g.view(rows, one))))
    shares = g.view(g.like(g.view(shares)))
    keys = g.op(one, g.view(g.view(rows, one)))
    new = g.view(g.op(F32 * dim * n_real, g.like(shares, keys, also_over=keys)))
    g.ask(g.store(new, f.input("new_pool_places", I64 * n_real)))
    return g.view(g.op(F32 * dim * n_pools, f.input("pool_cells", 0)))


def choose_pools(f: Frame, layer: Layer, x: Tensor, low: Tensor) -> Tensor:
    """The attention mask with only the rows of the best pools, and the newest ones, open."""
    g, n, pool = f.graph, f.reserve.n_tokens, f.extra("indexer_pool")
    _, n_pools = count_pools(f, layer)
    q = g.view(f.wide(layer.indexer_dim * layer.indexer_heads, low))
    keys = pooled_keys(f, layer, x)
    weights = g.like(f.wide(layer.indexer_heads, x))
    scores = f.free(n_pools, q, keys, weights, f.input("pool_mask", 0))
    n_best = np.minimum(n_pools, layer.indexer_top_k // pool)
    best = f.free(n_best, scores)
    order = f.free(n_best, g.view(f.free(n_best, g.view(scores), best)))
    best = f.free(n_best, g.view(f.free(n_best, best)), order)
    best = f.free(n_best, f.free(n_best, g.view(best)))
    rows = g.view(f.free(pool * n_best, f.input("pool_rows", 0), g.view(best)))
    n_chosen = pool * n_best + pool - 1
    rows = f.free(n_chosen, rows, f.input("tail_rows", 0))
    seed = g.op(F32, g.view(rows, F32))
    mask_seed = g.op(F16, seed) if f.reserve.flash_attention else seed
    shut = g.view(g.op(f.reserve.mask_bytes * (layer.n_kv_tokens + n_chosen) * n, g.like(mask_seed)))
    zeros = g.view(f.free(n_chosen, g.like(seed)))
    live = g.like(g.view(f.input("chosen_mask", 0)))
    dump = g.op(F32 * n_chosen)
    moved = f.free(n_chosen, rows)
    moved = g.like(g.like(g.like(moved, dump), live), dump)
    target = g.view(f.free(n_chosen, moved))
    opened = g.view(g.write(shut, zeros, target), f.reserve.mask_bytes * layer.n_kv_tokens * n)
    return g.like(opened, g.view(f.mask(layer)))


def sparse_latent(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Latent attention without rope over the rows of chosen pools."""
    g = f.graph
    low = low_rank_query(f, layer, x)
    q = g.view(f.wide(query_width(layer), low))
    row = g.view(f.rms_norm(f.wide(layer.kv_lora_rank, x)))
    absorbed = g.view(f.wide(layer.kv_lora_rank * layer.n_heads, g.view(q)))
    if layer.has("indexer_dim"):
        f.kept["chosen"] = choose_pools(f, layer, x, low)
    g.ask(absorbed, row)
    g.ask(f.store_k(layer, row))
    return f.wide(f.hidden, attend_stored(f, layer, absorbed, g.view(f.kept["chosen"])))


def glm5_next(f: Frame, layer: Layer, streams: Tensor) -> Tensor:
    """Delta layers with a sparse latent one now and then, each half between a merge and a spread."""
    join_streams = spread_stepwise if f.is_parted else spread
    merged, after, among = merge(f, streams)
    normed = f.rms_norm(merged)
    f.graph.ask(normed)
    if layer.is_recurrent:
        mixed = kimi_delta(f, layer, normed, low_rank_gate=True)
    else:
        mixed = sparse_latent(f, layer, normed)
    streams = join_streams(f, mixed, streams, after, among)
    merged, after, among = merge(f, streams)
    return join_streams(f, glm5_experts(f, layer, f.rms_norm(merged)), streams, after, among)


def head_mean(f: Frame, streams: Tensor) -> None:
    """The mean of the streams, norm, logits."""
    g = f.graph
    one = F32 * f.reserve.n_outputs * f.hidden
    rows = g.view(f.output_rows(g.view(streams)))
    mean = g.view(rows, one, is_strided=True)
    for _ in range(f.extra("hyper_connections") - 1):
        mean = g.like(mean, g.view(rows, one, is_strided=True))
    f.logits(f.rms_norm(mean))


def find_pooled_straight(layers: Sequence[Layer], models: dict[str, Ints], reserve: Reserve, n_pads: int) -> Straight:
    """Whole pads of pools per pad of cells move straight, up to the most that are chosen and from there on."""
    pool = int(models["indexer_pool"][0])
    per_pad = CELL_PAD // pool * reserve.n_seqs
    if CELL_PAD % pool or per_pad % POOL_PAD:
        return Straight(least=n_pads, most=n_pads)
    out = Straight()
    for top_k in {int(k) for layer in layers for k in layer.indexer_top_k}:
        room = top_k // pool - POOL_PAD
        out = out.beside(n_pads, room // per_pad, -(-room // per_pad))
    return out


PROGRAMS: dict[str, Program] = {
    "glm5-next": Program(
        glm5_next, start=start_glm5, head=head_mean, every_layer=True, find_straight=find_pooled_straight
    )
}

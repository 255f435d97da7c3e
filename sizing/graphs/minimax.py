"""Compute graph of MiniMax-M3: attention over blocks of the context that an indexer chose.

The order of operations follows llama.cpp's src/models/minimax-m3.cpp.
"""

from __future__ import annotations

from sizing.graphs.dense import feed_forward, join
from sizing.graphs.frame import F16, F32, I32, I64, Frame, Layer, Program
from sizing.replay import Tensor

RESERVED_POSITIONS = 256
"""Positions the graph is reserved for while the cache is empty (llama-kv-cache-msa.cpp, `get_n_pos`)."""

BLOCK_TOKENS = 128
"""Tokens per block (src/models/minimax-m3.cpp, `msa_p.blk`)."""


def minimax_m3(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Leading dense layers, then layers that attend to chosen blocks where flash attention and split slots allow."""
    normed = f.rms_norm(x)
    q, k, v = f.split_qkv(layer, normed)
    q, k = f.rope(f.rms_norm(q)), f.rope(f.rms_norm(k))
    slots_are_split = f.reserve.n_seqs == 1 or f.reserve.n_streams > 1
    if layer.has("indexer_dim") and f.reserve.flash_attention and slots_are_split:
        attended = attend_blocks(f, layer, normed, q, k, v)
    else:
        attended = f.attend(layer, q, k, v)
    h = join(f, layer, x, attended)
    return f.add(feed_forward(f, layer, f.rms_norm(h), gating="sigmoid", biased=True), h)


def attend_blocks(f: Frame, layer: Layer, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Store keys of the indexer and of attention, then choose blocks and attend, stream by stream."""
    g, n = f.graph, f.reserve.n_tokens
    heads, dim = layer.indexer_heads, layer.indexer_dim
    choose = f.rope(f.rms_norm(g.view(f.wide(heads * dim, x))))
    key = f.rope(f.rms_norm(g.view(f.wide(dim, x))))
    g.ask(g.store(g.view(key), f.input("indexer_rows", I64 * n)))
    q, k, v = f.rotate(q, "k"), f.rotate(k, "k"), f.rotate(v, "v")
    g.ask(q, k, v, f.store_k(layer, k), f.store_v(layer, v))
    mask = f.kept.get("mask_f32")
    if mask is None:
        mask = f.kept["mask_f32"] = g.op(F32 * layer.n_kv_tokens * n, f.mask(layer))
    outs = [attend_stream(f, layer, choose, q, mask) for _ in range(f.reserve.n_streams)]
    joined = outs[0]
    for out in outs[1:]:
        joined = g.op(joined.n_bytes + out.n_bytes, joined, out)
    return f.wide(f.hidden, f.rotate(joined, "v"))


def attend_stream(f: Frame, layer: Layer, choose: Tensor, q: Tensor, mask: Tensor) -> Tensor:
    """One slot: score blocks, keep the best, spread the choice over cells, attend under that mask."""
    g, r = f.graph, f.reserve
    n = r.n_tokens // r.n_streams
    n_blocks = RESERVED_POSITIONS // BLOCK_TOKENS
    heads, dim, cells = layer.indexer_heads, layer.indexer_dim, layer.n_kv_tokens
    cell_of = g.view(f.input("cell_of_position", I32 * RESERVED_POSITIONS * r.n_streams), I32 * RESERVED_POSITIONS)
    keys = g.op(F32 * dim * RESERVED_POSITIONS, cell_of)
    scores = g.op(F32 * RESERVED_POSITIONS * heads * n, keys, g.view(g.view(choose)))
    hidden = g.view(f.input("position_mask", F32 * RESERVED_POSITIONS * r.n_tokens), F32 * RESERVED_POSITIONS * n)
    scores = g.overwrite(g.view(scores), hidden)
    bias = g.view(f.input("block_bias", F32 * n_blocks * r.n_tokens), F32 * n_blocks * n)
    by_block = g.like(g.op(F32 * n_blocks * heads * n, scores), bias)
    n_best = layer.indexer_top_k.clip(max=n_blocks)
    best = g.op(I32 * n_best * heads * n, by_block)
    shut = g.op(F16 * n_blocks * n, g.like(bias))
    shut = g.op(F16 * n_blocks * heads * n, shut)
    zeros = g.like(g.op(F32 * n_best * heads * n, best))
    opened = g.view(g.write(g.view(shut), g.view(zeros), g.view(best)))
    opened = g.op(opened.n_bytes, g.view(opened))
    turned = g.op(opened.n_bytes, g.view(g.view(opened)))
    block_of = g.view(f.input("block_of_cell", I32 * cells * r.n_streams), I32 * cells)
    by_cell = g.op(F32 * n * heads * cells, turned, block_of)
    by_cell = g.view(g.op(by_cell.n_bytes, g.view(by_cell)))
    combined = g.overwrite(by_cell, g.view(mask, F32 * cells * n))
    final = g.op(F16 * cells * n * heads, g.view(combined))
    width = layer.n_heads * layer.head_dim_v
    out = g.op(F32 * n * width, g.view(g.view(g.view(q))), final)
    return g.view(g.op(out.n_bytes, g.view(out)))


PROGRAMS: dict[str, Program] = {"minimax-m3": Program(minimax_m3, every_layer=True)}

"""Compute graph of DeepSeek-V4: windowed keys beside compressed ones, an indexer, hyper-connections.

The order of operations follows llama.cpp's src/models/deepseek4.cpp; the reserved numbers of blocks and rows are
those of src/llama-kv-cache-dsv4.cpp, `dsv4_build_reserve_comp_plan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sizing.graphs.frame import F16, F32, I32, I64, Frame, Layer, Program, Reserve, Straight
from sizing.graphs.hyper import merge, spread
from sizing.graphs.latent import low_rank_query, mask_all_but
from sizing.kv_cache import CELL_PAD, DSV4_RATIO_INDEXED, DSV4_RATIO_PLAIN
from sizing.replay import Ints, Tensor


@dataclass(frozen=True, slots=True)
class Compression:
    """One compressed cache in the graph: its name, ratio, rows of the compressor's state, widths per token."""

    name: str
    ratio: int
    state_rows: int
    out_width: Ints
    in_width: Ints
    overlaps: bool
    rotation: int

    def n_blocks(self, f: Frame) -> int:
        """Blocks of tokens that one batch may complete."""
        return f.reserve.n_tokens // self.ratio + f.reserve.n_seqs


def compressed_cells(f: Frame, ratio: int) -> Ints:
    """Cells per sequence of a compressed cache."""
    n_rows = (f.n_kv_tokens + ratio - 1) // ratio
    cells: Ints = (n_rows + CELL_PAD - 1) // CELL_PAD * CELL_PAD
    return cells


def list_compressions(f: Frame, layer: Layer) -> tuple[Compression, ...]:
    """The compressed caches of a layer: one, two with an indexer, or none."""
    dim, small, rotation = layer.head_dim, layer.indexer_dim, f.rotation["k_window"]
    if layer.compress_ratio[0] == DSV4_RATIO_INDEXED:
        ratio = DSV4_RATIO_INDEXED
        return (
            Compression("csa", ratio, 2 * ratio, dim, 2 * dim, True, rotation),
            Compression("lid", ratio, 2 * ratio, small, 2 * small, True, int(small[0])),
        )
    if layer.compress_ratio[0] == DSV4_RATIO_PLAIN:
        ratio = DSV4_RATIO_PLAIN
        return (Compression("hca", ratio, ratio, dim, dim, False, rotation),)
    return ()


def rotate_keys(f: Frame, c: Compression, x: Tensor) -> Tensor:
    """The rotation before a compressed cache."""
    if not c.rotation:
        return x
    side = f.input(f"{c.name}_rotation", F32 * c.rotation * c.rotation)
    return f.graph.view(f.graph.op(x.n_bytes, side, f.graph.view(x)))


def join_state(f: Frame, c: Compression, fresh: Tensor) -> Tensor:
    """The compressor's state with this batch's rows behind it."""
    n_rows = c.state_rows * f.reserve.n_seqs + f.reserve.n_tokens
    return f.graph.op(F32 * n_rows * c.in_width, fresh)


def compress(f: Frame, c: Compression, keys: Tensor, scores: Tensor) -> Tensor:
    """Blocks of keys averaged by their scores."""
    values = gather_blocks(f, c, keys)
    weights = f.graph.like(gather_blocks(f, c, scores))
    g, one = f.graph, F32 * c.n_blocks(f) * c.out_width
    averaged = g.op(one, g.like(values, weights, also_over=weights))
    normed = f.rms_norm(g.op(one, g.view(averaged)))
    return rotate_keys(f, c, g.like(normed, f.input(f"{c.name}_positions", I32 * c.n_blocks(f))))


def gather_blocks(f: Frame, c: Compression, rows: Tensor) -> Tensor:
    """Rows laid out by block; with overlap each block sees the one before it too."""
    g, n_read = f.graph, c.ratio * c.n_blocks(f)
    ids = f.input(f"{c.name}_read", I32 * n_read * (2 if c.overlaps else 1))
    if not c.overlaps:
        found = g.view(g.op(F32 * n_read * c.in_width, rows, ids))
        return g.op(found.n_bytes, g.view(found))
    blank = g.view(g.op(F32 * c.in_width, g.view(rows)))
    rows = g.op(rows.n_bytes + F32 * c.in_width, rows, blank)
    found = g.op(2 * F32 * n_read * c.in_width, rows, ids)
    before, now = (g.view(g.op(F32 * n_read * c.out_width, g.view(found))) for _ in range(2))
    both = g.op(2 * F32 * n_read * c.out_width, before, now)
    return g.op(both.n_bytes, g.view(both))


def fill_caches(f: Frame, layer: Layer, x: Tensor) -> None:
    """Compress what is complete, store it, keep the rest as the compressor's state."""
    g, r = f.graph, f.reserve
    for c in list_compressions(f, layer):
        keys, scores = f.wide(c.in_width, x), f.wide(c.in_width, x)
        places = f.wide(c.in_width, f.input(f"{c.name}_places", I32 * r.n_tokens))
        scores = g.like(scores, places, also_over=places)
        done = compress(f, c, join_state(f, c, keys), join_state(f, c, scores))
        g.ask(g.store(g.view(done), f.input(f"{c.name}_write", I64 * c.n_blocks(f))))
        n_kept = min(r.n_tokens, c.state_rows * r.n_seqs)
        source = f.input(f"{c.name}_kept_rows", I32 * n_kept)
        target = f.input(f"{c.name}_kept_places", I32 * n_kept)
        for fresh in (keys, scores):
            g.ask(g.store(f.free(c.in_width, fresh, source, n=n_kept), target))


def choose_blocks(f: Frame, layer: Layer, x: Tensor, low: Tensor) -> Tensor:
    """The compressed rows an indexer picks per token."""
    g, n = f.graph, f.reserve.n_tokens
    cells = compressed_cells(f, DSV4_RATIO_INDEXED)
    indexer = list_compressions(f, layer)[1]
    q = rotate_keys(f, indexer, f.rope(g.view(f.wide(layer.indexer_dim * layer.indexer_heads, low))))
    weights = g.view(g.like(f.wide(layer.indexer_heads, x)))
    scores = f.free(cells, g.view(q), weights, f.input("lid_mask", F16 * cells * n))
    best = g.op(I32 * np.minimum(cells, layer.indexer_top_k) * n, scores)
    return g.op(best.n_bytes, best)


def attend_all(f: Frame, layer: Layer, x: Tensor, low: Tensor, q: Tensor, row: Tensor) -> Tensor:
    """Attention over the window's rows and the compressed ones."""
    g, n, mask_bytes = f.graph, f.reserve.n_tokens, f.reserve.mask_bytes
    q, row = f.rotate(q, "k_window"), f.rotate(row, "k_window")
    compressions = list_compressions(f, layer)
    best = choose_blocks(f, layer, x, low) if len(compressions) == 2 else None
    g.ask(q, row)
    g.ask(f.store_k(layer, row))
    cells, mask = layer.n_kv_tokens, f.mask(layer)
    keys: tuple[Tensor, ...] = ()
    if compressions:
        c = compressions[0]
        more = compressed_cells(f, c.ratio)
        cells = cells + more
        keys = (g.op(f.reserve.k_row_bytes(layer.head_dim) * cells * f.reserve.n_seqs),)
        theirs = f.input(f"{c.name}_mask", mask_bytes * more * n)
        if best is not None:
            theirs = mask_all_but(f, theirs, best, mask_bytes)
        mask = g.op(mask_bytes * cells * n, mask, theirs)
    width = layer.n_heads * layer.head_dim
    seen = g.view(g.view(q))
    if f.reserve.flash_attention:
        size = F16 * layer.head_dim * cells * f.reserve.n_seqs
        is_whole = f.reserve.k_block == (1, F32)
        seen_keys = [g.op(size, *keys) for _ in range(2)] if is_whole else list(keys)
        cur = g.view(f.free(width, seen, *seen_keys, mask))
    else:
        scores = g.op(F32 * cells * n * layer.n_heads, *keys, seen)
        turned = g.op(f.reserve.k_row_bytes(layer.head_dim) * cells * f.reserve.n_seqs, *keys)
        weighted = f.free(width, turned, g.like(scores, mask))
        cur = g.op(weighted.n_bytes, g.view(weighted))
    g.ask(cur)
    return f.rotate(cur, "k_window")


def attention(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Queries and one row for all heads, compressed caches filled, attention, a grouped projection back."""
    g = f.graph
    low = low_rank_query(f, layer, x) if layer.has("q_lora_rank") else f.rms_norm(f.wide(f.models["q_lora_rank"], x))
    q = f.rope(f.rms_norm(g.view(f.wide(layer.n_heads * layer.head_dim, low)), weighted=False))
    row = f.rope(g.view(f.rms_norm(f.wide(layer.head_dim, x))))
    fill_caches(f, layer, x)
    out = f.rope(g.view(attend_all(f, layer, x, low, q, row)))
    narrow = f.wide(f.models["output_lora_rank"] * f.extra("n_output_groups"), g.view(g.view(out)))
    return f.wide(f.hidden, g.op(narrow.n_bytes, g.view(narrow)))


def experts(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Routed and shared experts; leading layers choose by token, not by state."""
    chosen = None
    if layer.index < f.extra("hash_layers"):
        size, home = I32 * layer.n_active_experts * f.reserve.n_tokens, f.graph.weight_home
        chosen = f.graph.op(size, f.input("tokens", 0), home=home)
    routed = f.moe(layer, x, gating="sqrt_softplus", biased=chosen is None, scaled=True, chosen=chosen)
    return f.add(routed, f.ffn(x, layer.shared_expert_ffn_dim))


def start(f: Frame) -> Tensor:
    """Streams; the window's mask is there from the start."""
    embedded = f.embed()
    f.graph.ask(f.mask(f.attending))
    return f.free(f.extra("hyper_connections") * f.hidden, f.graph.view(embedded))


def deepseek4(f: Frame, layer: Layer, streams: Tensor) -> Tensor:
    """Attention, then experts, each between a merge and a spread of the streams."""
    merged, after, among = merge(f, streams)
    streams = spread(f, attention(f, layer, f.rms_norm(merged)), streams, after, among)
    merged, after, among = merge(f, streams)
    f.graph.ask(streams, after, among)
    return spread(f, experts(f, layer, f.rms_norm(merged)), streams, after, among)


def head(f: Frame, streams: Tensor) -> None:
    """The streams of output tokens weighted into one, norm, logits."""
    g, n = f.graph, f.reserve.n_outputs
    rows = g.view(f.output_rows(g.view(streams)))
    n_streams = f.extra("hyper_connections")
    shares = g.like(f.wide(n_streams, f.rms_norm(g.view(rows), weighted=False), n=n))
    one = F32 * n * f.hidden
    merged = g.like(g.view(rows, one, is_strided=True), g.view(shares))
    for _ in range(n_streams - 1):
        merged = f.add(merged, g.like(g.view(rows, one, is_strided=True), g.view(shares)))
    f.logits(f.rms_norm(merged))


def find_compressed_straight(
    layers: Sequence[Layer], models: dict[str, Ints], reserve: Reserve, n_pads: int
) -> Straight:
    """A compressed cache grows by a pad when its ratio of pads is full: the finer one at every fourth pad, the coarser
    one at none between two of its own. An indexer keeps no more rows than its cache has."""
    fine, coarse = DSV4_RATIO_INDEXED, DSV4_RATIO_PLAIN
    start = (n_pads - 1) // coarse * coarse
    out = Straight(step=fine, least=start + 1, most=start + coarse)
    for top_k in {int(k) for layer in layers for k in layer.indexer_top_k}:
        first_over = fine * (-(-top_k // CELL_PAD) - 1) + 1
        out = out.beside(n_pads, fine * (top_k // CELL_PAD), first_over)
    return out


PROGRAMS: dict[str, Program] = {
    "deepseek4": Program(deepseek4, start=start, head=head, every_layer=True, find_straight=find_compressed_straight)
}

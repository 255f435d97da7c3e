"""Compute graphs of Gemma 3n and Gemma 4: per-layer inputs, alternating updates, shared caches.

Each follows the order of operations in llama.cpp's src/models/gemma3n.cpp and gemma4.cpp.
"""

from __future__ import annotations

from sizing.graphs.dense import head_after_norm
from sizing.graphs.frame import F32, I32, Frame, Layer, Program
from sizing.replay import Ints, Tensor

N_SPARSE = 10
"""Leading layers whose feed-forward drops small gates (src/models/models.h, gemma3n `n_layer_sparsity`)."""


def start_per_layer(f: Frame, width: Ints) -> Tensor:
    """Embeddings, and beside them an input for every layer: looked up, projected, summed, laid out by layer."""
    g, n = f.graph, f.reserve.n_tokens
    x = f.embed_scaled()
    total = width * f.models["n_layers"]
    looked_up = g.like(g.view(f.wide(total, g.input(I32 * n))))
    g.ask(looked_up)
    g.weight_home = f.first_home
    projected = f.rms_norm(g.view(f.wide(total, x)))
    summed = f.add(projected, looked_up)
    f.kept["per_layer"] = f.free(total, g.view(summed))
    return x


def per_layer_input(f: Frame, width: Ints) -> Tensor:
    """The part of the per-layer inputs that belongs to one layer."""
    return f.graph.view(f.kept["per_layer"], F32 * f.reserve.n_tokens * width)


def start_gemma4(f: Frame) -> Tensor:
    """Embeddings; per-layer inputs where the model has them."""
    return start_per_layer(f, f.models["per_layer_dim"]) if f.extra("per_layer_dim") else f.embed_scaled()


def attend_shared(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Attention with normed queries, keys and values; layers that share a cache bring queries only."""
    g = f.graph
    q_width, k_width, v_width = f.qkv_widths(layer)
    q = f.rope(f.rms_norm(g.view(f.wide(q_width, x))))
    if layer.has("shares_kv"):
        return f.attend(layer, q, None, None)
    k = f.rope(f.rms_norm(g.view(f.wide(k_width, x))))
    return f.attend(layer, q, k, f.rms_norm(g.view(f.wide(v_width, x)), weighted=False))


def gemma4(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Norms around everything, experts beside a dense feed-forward, a gated per-layer input at the end."""
    g = f.graph
    attended = attend_shared(f, layer, f.rms_norm(x))
    h = f.add(f.rms_norm(attended), x)
    if layer.is_moe:
        dense = f.rms_norm(f.ffn(f.rms_norm(h), layer.ffn_dim))
        logits = f.wide(layer.n_experts, f.rms_norm(h))
        routed = f.rms_norm(f.moe(layer, f.rms_norm(h), logits=logits, form="merged"))
        out = f.add(dense, routed)
    else:
        out = f.ffn(f.rms_norm(h), layer.ffn_dim)
    cur = f.add(f.rms_norm(out), h)
    if f.extra("per_layer_dim"):
        width = f.models["per_layer_dim"]
        gated = g.like(g.like(f.wide(width, cur)), per_layer_input(f, width))
        projected = f.rms_norm(f.wide(f.hidden, gated))
        cur = f.add(cur, projected)
    return g.like(cur, home=g.weight_home)


def start_gemma3n(f: Frame) -> Tensor:
    """Embeddings, per-layer inputs, and the copies of the stream that take turns (AltUp)."""
    g = f.graph
    n_more = f.extra("n_altup") - 1
    x = start_per_layer(f, f.models["per_layer_dim"])
    target = magnitude(f, x)
    more = f.wide(n_more * f.hidden, f.free(n_more * f.hidden, x), home=f.output_home)
    scaled = g.like(g.like(more, target), magnitude(f, more))
    return f.free((n_more + 1) * f.hidden, x, scaled)


def magnitude(f: Frame, x: Tensor) -> Tensor:
    """The length of each token's vector."""
    g = f.graph
    return g.like(g.op(x.n_bytes // f.hidden, g.like(x)))


def route_streams(f: Frame, x: Tensor) -> Tensor:
    """Which copy of the stream matters, from the active one."""
    return f.graph.like(f.wide(f.models["n_altup"], f.rms_norm(x)))


def predict(f: Frame, streams: Tensor) -> Tensor:
    """Predictions of all copies from each other."""
    g, n_copies = f.graph, f.models["n_altup"]
    modalities = route_streams(f, active(f, streams))
    coefficients = g.view(f.wide(n_copies * n_copies, modalities))
    mixed = g.op(streams.n_bytes, g.op(streams.n_bytes, g.view(streams)), coefficients)
    return g.like(g.op(streams.n_bytes, g.view(mixed)), streams)


def correct(f: Frame, predictions: Tensor, activated: Tensor) -> Tensor:
    """All copies moved by what the active one learned."""
    g, n_copies = f.graph, f.models["n_altup"]
    modalities = route_streams(f, activated)
    news = g.like(activated, active(f, predictions))
    raw = g.view(g.like(f.wide(n_copies, modalities)))
    coefficients = g.op(raw.n_bytes, raw)
    return g.like(g.like(g.op(predictions.n_bytes, news), coefficients), predictions, also_over=predictions)


def active(f: Frame, streams: Tensor) -> Tensor:
    """The copy of the stream that the layer works on."""
    return f.graph.view(streams, F32 * f.reserve.n_tokens * f.hidden)


def gemma3n(f: Frame, layer: Layer, streams: Tensor) -> Tensor:
    """One layer works on one copy of the stream; the others follow by prediction and correction."""
    g, width = f.graph, f.models["per_layer_dim"]
    predictions = predict(f, streams)
    one = active(f, predictions)
    normed = f.rms_norm(one)
    detour = f.rms_norm(f.wide(f.hidden, f.wide(f.models["laurel_rank"], normed)))
    detour = f.add(detour, normed)
    attended = f.add(f.rms_norm(attend_shared(f, layer, normed)), one)
    h = f.add(attended, detour)
    mid = f.rms_norm(h)
    up, gate = f.wide(layer.ffn_dim, mid), f.wide(layer.ffn_dim, mid)
    if layer.index < N_SPARSE:
        gate = cut_below(f, gate)
    out = f.rms_norm(f.wide(f.hidden, g.like(up, g.like(gate))))
    corrected = correct(f, predictions, f.add(out, h))
    first = g.like(active(f, corrected))
    first = g.like(g.like(f.wide(width, first)), per_layer_input(f, width))
    first = f.rms_norm(f.wide(f.hidden, first))
    rest = g.like(g.view(corrected, corrected.n_bytes - first.n_bytes), first)
    return g.op(corrected.n_bytes, active(f, corrected), rest)


def cut_below(f: Frame, gate: Tensor) -> Tensor:
    """Gates below a cut, taken from their mean and spread, are dropped."""
    g = f.graph
    mean = f.free(1, gate)
    spread = g.like(g.like(f.free(1, g.like(g.like(gate, mean)))))
    cut = g.like(mean, g.like(spread))
    return g.like(g.like(gate, cut))


def head_gemma3n(f: Frame, streams: Tensor) -> None:
    """The copies of the stream brought together, then norm and logits."""
    g, n = f.graph, f.reserve.n_tokens
    n_more = f.extra("n_altup") - 1
    target = magnitude(f, active(f, streams))
    others = f.wide(n_more * f.hidden, g.view(streams, F32 * n * n_more * f.hidden))
    scaled = g.like(g.like(others, target), magnitude(f, others))
    cur = active(f, streams)
    for _ in range(n_more):
        cur = g.like(cur, g.view(scaled, F32 * n * f.hidden))
    f.logits(f.rms_norm(f.output_rows(cur)))


PROGRAMS: dict[str, Program] = {
    "gemma4": Program(gemma4, start=start_gemma4, head=head_after_norm),
    "gemma3n": Program(gemma3n, start=start_gemma3n, head=head_gemma3n),
}

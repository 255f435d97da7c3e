"""Compute graphs of hybrids: Mamba-2, gated delta nets and short convolutions beside attention.

Each follows the order of operations in llama.cpp's src/models (mamba-base.cpp, delta-net-base.cpp and the
architectures' own files).
"""

from __future__ import annotations

from functools import partial

from sizing.graphs.dense import feed_forward, head_after_norm, join
from sizing.graphs.frame import F32, I32, Frame, Layer, Program
from sizing.replay import Ints, Tensor


def state_ids(f: Frame) -> Tensor:
    """Which state belongs to which sequence: one look that all layers share."""
    if "states" not in f.kept:
        f.kept["states"] = f.graph.view(f.input("states", I32 * f.reserve.n_seqs))
    return f.kept["states"]


def read_state(f: Frame, n_elements: Ints) -> Tensor:
    """A layer's state of every sequence, copied out of the recurrent memory (llama-graph.cpp, `build_rs`)."""
    state = f.graph.op(F32 * n_elements * f.reserve.n_seqs, state_ids(f), home=f.graph.weight_home)
    f.graph.ask(state)
    keep_other_states(f)
    return state


def keep_other_states(f: Frame) -> None:
    """The states of sequences outside the batch, which are none: an empty tensor that may split free memory."""
    if "other_states" not in f.kept:
        f.kept["other_states"] = f.graph.view(f.input("states", 0), 0)
    f.graph.ask(f.graph.store(f.graph.op(0, f.kept["other_states"])))


def convolve(f: Frame, state: Tensor, x: Tensor, channels: Ints, kernel: Ints) -> Tensor:
    """A short convolution over the state and the new tokens; the last of them become the new state."""
    g, r = f.graph, f.reserve
    n_rows = (kernel - 1) * r.n_seqs + r.n_tokens
    joined = g.op(F32 * n_rows * channels, g.view(state), g.view(x))
    g.ask(g.store(g.view(joined)))
    return f.wide(channels, joined)


def mamba2(f: Frame, layer: Layer, x: Tensor, *, normed: bool = True) -> Tensor:
    """A Mamba-2 mixer (src/models/mamba-base.cpp, `build_mamba2_layer`)."""
    g, r = f.graph, f.reserve
    inner, n_heads = layer.d_inner, layer.recurrent_heads
    channels = inner + 2 * layer.n_groups * layer.d_state
    conv_state = read_state(f, layer.conv_elements)
    mixed = f.wide(2 * inner + 2 * layer.n_groups * layer.d_state + n_heads, x)
    shaped = g.view(mixed)
    z, to_conv, dt = g.view(shaped, F32 * r.n_tokens * inner, is_strided=True), g.view(shaped), g.view(shaped)
    convolved = g.like(convolve(f, conv_state, to_conv, channels, layer.conv_kernel))
    inputs = g.view(convolved, F32 * r.n_tokens * inner)
    steps = f.free(n_heads, dt)
    scanned = g.op(
        F32 * (inner * r.n_tokens + layer.state_elements * r.n_seqs),
        inputs,
        steps,
        g.view(convolved),
        g.view(convolved),
        state_ids(f),
        home=g.weight_home,
    )
    g.ask(scanned)
    keep_other_states(f)
    g.ask(g.store(g.view(scanned)))
    skipped = g.like(inputs, home=g.weight_home)
    y = g.view(scanned, F32 * r.n_tokens * inner)
    y = g.like(y, skipped, also_over=skipped)
    y = f.free(inner, f.free(inner, z), y)
    if normed:
        y = f.rms_norm(g.view(y))
    return f.wide(f.hidden, g.view(y))


def falcon_h1(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Attention and a Mamba-2 mixer side by side in every layer."""
    q, k, v = f.split_qkv(layer, f.rms_norm(x))
    attended = f.attend(layer, f.rope(q), f.rope(k), v)
    mixed = mamba2(f, layer, f.rms_norm(x), normed=False)
    (h,) = f.keep_outputs(layer, f.add(f.add(attended, mixed), x))
    return f.add(f.ffn(f.rms_norm(h), layer.ffn_dim), h)


def granite_hybrid(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Mamba-2 layers with an attention layer now and then, each with a feed-forward."""
    normed = f.rms_norm(x)
    if layer.is_recurrent:
        mixed = mamba2(f, layer, normed)
    else:
        q, k, v = f.split_qkv(layer, normed)
        if f.extra("ropes"):
            q, k = f.rope(q), f.rope(k)
        mixed = f.attend(layer, q, k, v)
    h = join(f, layer, x, mixed)
    return f.add(feed_forward(f, layer, f.rms_norm(h)), h)


def nemotron_h(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """One thing per layer: a Mamba-2 mixer, attention without rope, or a feed-forward."""
    normed = f.rms_norm(x)
    if layer.is_recurrent:
        mixed = mamba2(f, layer, normed)
    elif layer.has_attention:
        mixed = f.attend(layer, *f.split_qkv(layer, normed))
    elif layer.is_moe:
        mixed = latent_experts(f, layer, normed)
    else:
        mixed = f.ffn(normed, layer.ffn_dim, "plain")
    return f.add(mixed, x)


def latent_experts(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Experts without gates, on a narrower stream where the model has one, and shared experts on the wide one."""
    narrow = f.models["moe_latent_dim"] if f.extra("moe_latent_dim") else None
    inner = x if narrow is None else f.wide(narrow, x)
    logits = f.wide(layer.n_experts, x)
    routed = f.moe(layer, inner, gating="sigmoid", biased=True, scaled=True, form="plain", logits=logits, width=narrow)
    if narrow is not None:
        routed = f.wide(f.hidden, routed)
    return f.add(routed, f.ffn(x, layer.shared_expert_ffn_dim, "plain"))


def lfm2(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Gated short convolutions with an attention layer now and then."""
    g, normed = f.graph, f.rms_norm(x)
    if layer.is_recurrent:
        mixed = short_conv(f, layer, normed)
    else:
        q, k, v = f.split_qkv(layer, normed)
        mixed = f.attend(layer, f.rope(f.rms_norm(q)), f.rope(f.rms_norm(k)), v)
    mixed, x = f.keep_outputs(layer, mixed, x)
    h = g.like(x, mixed, also_over=mixed)
    out = feed_forward(f, layer, f.rms_norm(h), gating="sigmoid", biased=True)
    return g.like(h, out, also_over=out)


def short_conv(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """LFM2's gated short convolution (src/models/lfm2.cpp)."""
    g = f.graph
    chunks = f.wide(3 * f.hidden, g.view(x))
    b, c, signal = (g.view(chunks, F32 * f.reserve.n_tokens * f.hidden) for _ in range(3))
    gated = g.like(b, signal)
    conv_state = read_state(f, layer.conv_elements)
    out = convolve(f, conv_state, g.view(gated), f.hidden, layer.conv_kernel)
    return g.view(f.wide(f.hidden, g.like(c, out, also_over=out)))


def qwen_next(f: Frame, layer: Layer, x: Tensor, *, repeats: bool) -> Tensor:
    """Gated delta nets with a gated attention layer now and then; all tokens go through the last layer."""
    normed = f.rms_norm(x)
    f.graph.ask(normed)
    if layer.is_recurrent:
        mixed = delta_net(f, layer, normed, repeats=repeats)
    else:
        mixed = gated_attention(f, layer, normed)
    h = f.add(mixed, x)
    return f.add(gated_experts(f, layer, f.rms_norm(h)), h)


def gated_attention(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Attention whose result is gated by the second half of a doubled query."""
    g, (q_width, k_width, v_width) = f.graph, f.qkv_widths(layer)
    doubled = g.view(f.wide(2 * q_width, x))
    q = f.rope(f.rms_norm(g.view(doubled, F32 * f.reserve.n_tokens * q_width)))
    k = f.rope(f.rms_norm(g.view(f.wide(k_width, x))))
    attended = f.attend(layer, q, k, g.view(f.wide(v_width, x)), project=False)
    gate = g.like(f.free(q_width, g.view(doubled)))
    return f.wide(f.hidden, g.like(attended, gate, also_over=gate))


def gated_experts(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Dense feed-forward, or routed experts and a shared one behind a gate."""
    if not layer.is_moe:
        return f.ffn(x, layer.ffn_dim)
    routed = f.moe(layer, x)
    shared = f.ffn(x, layer.shared_expert_ffn_dim)
    return f.add(routed, f.graph.like(shared, f.graph.like(f.wide(1, x))))


def delta_net(f: Frame, layer: Layer, x: Tensor, *, repeats: bool) -> Tensor:
    """A gated delta net in its fused form (src/models/qwen3next.cpp, `build_layer_attn_linear`).

    `repeats`: keys and queries are repeated to as many heads as values have, and both gates come from one matrix.
    """
    g, r = f.graph, f.reserve
    k_width, v_width = layer.n_groups * layer.d_state, layer.d_inner
    n_heads = layer.recurrent_heads
    mixed = g.view(f.wide(2 * k_width + v_width, x))
    z = f.wide(v_width, x)
    if repeats:
        both = g.view(f.wide(2 * n_heads, x))
        beta, alpha = g.view(g.like(f.free(n_heads, g.view(both)))), f.free(n_heads, g.view(both))
    else:
        beta, alpha = g.like(g.view(f.wide(n_heads, x))), g.like(g.view(f.wide(n_heads, x)))
    decay = g.view(alpha)
    conv_state = read_state(f, layer.conv_elements)
    raw = convolve(f, conv_state, g.view(mixed), 2 * k_width + v_width, layer.conv_kernel)
    state = g.view(read_state(f, layer.state_elements))
    convolved = g.like(raw)
    q, k = (f.rms_norm(g.view(convolved, F32 * r.n_tokens * k_width), weighted=False) for _ in range(2))
    v = g.view(convolved)
    if repeats and bool((layer.n_groups != n_heads).any()):
        q, k = (g.view(f.free(n_heads * layer.d_state, g.view(t))) for t in (q, k))
    attended = g.op(F32 * (v_width * r.n_tokens + layer.state_elements * r.n_seqs), q, k, v, decay, beta, state)
    g.ask(g.store(g.view(attended)))
    out = f.rms_norm(g.view(attended, F32 * r.n_tokens * v_width))
    gated = g.like(out, g.like(g.view(z)))
    return g.view(f.wide(f.hidden, g.view(gated)))


PROGRAMS: dict[str, Program] = {
    "falcon-h1": Program(falcon_h1),
    "granitehybrid": Program(granite_hybrid),
    **dict.fromkeys(("nemotron_h", "nemotron_h_moe"), Program(nemotron_h, head=head_after_norm)),
    **dict.fromkeys(("lfm2", "lfm2moe"), Program(lfm2)),
    "qwen3next": Program(partial(qwen_next, repeats=True), head=head_after_norm),
    **dict.fromkeys(("qwen35", "qwen35moe"), Program(partial(qwen_next, repeats=False), head=head_after_norm)),
}

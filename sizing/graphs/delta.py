"""Compute graphs of Kimi K3: Kimi delta attention and latent attention over a stream with checkpoints.

The order of operations follows llama.cpp's src/models/kimi-k3.cpp.
"""

from __future__ import annotations

from sizing.graphs.frame import F32, Frame, Layer, Program
from sizing.graphs.latent import attend_latent, latent_qkv, low_rank_query, query_width
from sizing.graphs.recurrent import read_state
from sizing.replay import Ints, Tensor


def kimi_delta(f: Frame, layer: Layer, x: Tensor, *, low_rank_gate: bool) -> Tensor:
    """Kimi delta attention: three convolutions, a decay per channel, the fused delta net, a gated norm."""
    g, n_seqs, n = f.graph, f.reserve.n_seqs, f.reserve.n_tokens
    head_dim, n_heads = layer.recurrent_head_dim, layer.recurrent_heads
    inner = head_dim * n_heads
    conv_state = read_state(f, layer.conv_elements)
    q, k, v = (convolved(f, layer, conv_state, x, inner) for _ in range(3))
    decay = g.view(g.like(g.view(f.wide(inner, f.wide(head_dim, x)))))
    beta = g.like(g.view(f.wide(n_heads, x)))
    state = g.view(read_state(f, layer.state_elements))
    q, k = f.rms_norm(q, weighted=False), f.rms_norm(k, weighted=False)
    attended = g.op(F32 * (inner * n + layer.state_elements * n_seqs), q, k, v, decay, beta, state)
    g.ask(g.store(g.view(attended)))
    out = f.free(inner, g.view(attended))
    gate = f.wide(inner, f.wide(head_dim, x) if low_rank_gate else g.view(g.view(x)))
    gated = g.like(f.rms_norm(g.view(out)), g.like(g.view(gate)))
    return f.wide(f.hidden, f.free(inner, gated))


def convolved(f: Frame, layer: Layer, conv_state: Tensor, x: Tensor, inner: Ints) -> Tensor:
    """A projection, its convolution over state and tokens, an activation."""
    g, r = f.graph, f.reserve
    n_rows = (layer.conv_kernel - 1) * r.n_seqs + r.n_tokens
    joined = g.op(F32 * n_rows * inner, g.view(conv_state), g.view(g.view(f.wide(inner, x))))
    g.ask(g.store(g.view(joined)))
    return g.view(g.like(g.view(f.wide(inner, joined))))


def push_checkpoint(f: Frame, x: Tensor) -> None:
    """The stream as it is joins the stack of checkpoints."""
    seen = f.graph.view(x)
    stack = f.kept.get("stack")
    f.kept["stack"] = seen if stack is None else f.graph.op(stack.n_bytes + x.n_bytes, stack, seen)


def mix_checkpoints(f: Frame, x: Tensor) -> Tensor:
    """The stream and all checkpoints, weighted by their scores."""
    g, stack = f.graph, f.kept.get("stack")
    if stack is None:
        return x
    n_stacked = int(stack.n_bytes[0] // x.n_bytes[0])
    stack_scores = g.view(f.wide(n_stacked, g.like(g.like(stack))))
    own_score = f.wide(1, g.like(g.like(x)))
    shares = g.like(f.free(n_stacked + 1, stack_scores, own_score))
    of_stack, of_own = f.free(n_stacked, g.view(shares)), f.free(1, g.view(shares))
    mixed = f.free(f.hidden, stack, of_stack)
    return f.add(mixed, g.like(x, of_own))


def situ(f: Frame, gate: Tensor, up: Tensor) -> Tensor:
    """Kimi's activation: a bounded gate times its sigmoid times a bounded signal."""
    g = f.graph
    bounded = g.like(g.like(g.like(gate)))
    opened = g.like(bounded, g.like(gate))
    return g.like(opened, g.like(g.like(g.like(up))))


def situ_ffn(f: Frame, x: Tensor, width: Ints) -> Tensor:
    """A feed-forward with Kimi's activation."""
    return f.wide(f.hidden, situ(f, f.wide(width, x), f.wide(width, x)))


def kimi_experts(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Routed experts on a narrower stream, shared experts on the wide one."""
    narrow = f.models["moe_latent_dim"]
    inner = f.wide(narrow, x)
    logits = f.wide(layer.n_experts, x)
    routed = f.moe(layer, inner, gating="sigmoid", biased=True, logits=logits, width=narrow, activate=situ)
    routed = f.wide(f.hidden, f.rms_norm(routed))
    return f.add(routed, situ_ffn(f, x, layer.shared_expert_ffn_dim))


def gated_latent(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Latent attention without rope, gated by its own input."""
    g = f.graph
    q = f.wide(query_width(layer), low_rank_query(f, layer, x))
    attended = attend_latent(f, layer, *latent_qkv(f, layer, x, q, ropes=False))
    gate = g.like(f.wide(layer.n_heads * layer.latent_v_head_dim, x))
    return f.wide(f.hidden, g.like(attended, gate, also_over=gate))


def kimi_k3(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Delta layers with a latent one now and then; every few layers the stream is banked and starts anew."""
    cur = mix_checkpoints(f, x)
    is_banked = layer.index % f.extra("residual_block") == 0
    if is_banked:
        push_checkpoint(f, x)
    normed = f.rms_norm(cur)
    f.graph.ask(normed)
    if layer.is_recurrent:
        mixed = kimi_delta(f, layer, normed, low_rank_gate=False)
    else:
        mixed = gated_latent(f, layer, normed)
    stream = mixed if is_banked else f.add(x, mixed)
    cur = f.rms_norm(mix_checkpoints(f, stream))
    out = kimi_experts(f, layer, cur) if layer.is_moe else situ_ffn(f, cur, layer.ffn_dim)
    return f.add(stream, out)


def head_kimi(f: Frame, x: Tensor) -> None:
    """The stream and its checkpoints mixed a last time."""
    f.logits(f.rms_norm(f.output_rows(mix_checkpoints(f, x))))


PROGRAMS: dict[str, Program] = {"kimi-k3": Program(kimi_k3, head=head_kimi, every_layer=True)}

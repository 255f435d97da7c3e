"""Compute graphs of decoders with plain attention, dense or mixture of experts, one short function per shape.

Each follows the order of operations in llama.cpp's src/models/<architecture>.cpp; what they share is in `frame`.
"""

from __future__ import annotations

from functools import partial

from sizing.graphs.frame import F32, Frame, Layer, Program
from sizing.replay import Tensor

SMOLLM3_ROPE_STEP = 4
"""Every fourth layer has no rope (src/models/smollm3.cpp, `n_no_rope_layer_step`)."""


def join(f: Frame, layer: Layer, x: Tensor, attended: Tensor) -> Tensor:
    """Attention's result joins the stream; in the last layer only output tokens go on."""
    attended, x = f.keep_outputs(layer, attended, x)
    return f.add(attended, x)


def feed_forward(
    f: Frame, layer: Layer, x: Tensor, *, gating: str = "softmax", biased: bool = False, normed: bool = True
) -> Tensor:
    """The layer's feed-forward: dense, or routed experts with shared ones beside them."""
    if not layer.is_moe:
        return f.ffn(x, layer.ffn_dim)
    routed = f.moe(layer, x, gating=gating, biased=biased, normed=normed)
    return f.add(routed, f.ffn(x, layer.shared_expert_ffn_dim)) if layer.has("shared_expert_ffn_dim") else routed


def llama(
    f: Frame, layer: Layer, x: Tensor, *, gating: str = "softmax", biased: bool = False, fused: bool = False
) -> Tensor:
    """Norm, rope, attention, norm, feed-forward: llama and the many that follow it."""
    q, k, v = f.split_qkv(layer, f.rms_norm(x), fused)
    h = join(f, layer, x, f.attend(layer, f.rope(q), f.rope(k), v, v_is_contiguous=not fused))
    return f.add(feed_forward(f, layer, f.rms_norm(h), gating=gating, biased=biased), h)


def qwen3(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Like llama, with queries and keys normed per head before rope."""
    q, k, v = f.split_qkv(layer, f.rms_norm(x))
    h = join(f, layer, x, f.attend(layer, f.rope(f.rms_norm(q)), f.rope(f.rms_norm(k)), v))
    return f.add(feed_forward(f, layer, f.rms_norm(h)), h)


def start_deepstack(f: Frame) -> Tensor:
    """Embeddings with room for the vision tower's deeper layers beside them (qwen3vl)."""
    n, width = f.reserve.n_tokens, f.hidden * (1 + f.extra("n_deepstack"))
    rows = f.free(width, f.wide(f.hidden, f.input("tokens", 4 * n)))
    f.kept["embedded"] = rows
    f.graph.ask(rows, f.input("embeddings", F32 * n * width))
    return f.graph.view(rows, F32 * n * f.hidden)


def qwen3vl(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Like qwen3; the first layers add what the vision tower saw."""
    out = qwen3(f, layer, x)
    if layer.index >= f.extra("n_deepstack"):
        return out
    return f.graph.like(out, f.graph.view(f.kept["embedded"], out.n_bytes))


def glm4moe(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Sigmoid routing with a bias; queries and keys normed where the model has the weights for it."""
    q, k, v = f.split_qkv(layer, f.rms_norm(x))
    h = join(f, layer, x, f.attend(layer, f.rope(q), f.rope(k), v))
    return f.add(feed_forward(f, layer, f.rms_norm(h), gating="sigmoid", biased=True), h)


def hunyuan(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Queries and keys normed after rope."""
    q, k, v = f.split_qkv(layer, f.rms_norm(x))
    h = join(f, layer, x, f.attend(layer, f.rms_norm(f.rope(q)), f.rms_norm(f.rope(k)), v))
    return f.add(feed_forward(f, layer, f.rms_norm(h)), h)


def gemma2(f: Frame, layer: Layer, x: Tensor, *, qk_norm: bool = False) -> Tensor:
    """Norms before and after attention and feed-forward."""
    q, k, v = f.split_qkv(layer, f.rms_norm(x))
    if qk_norm:
        q, k = f.rms_norm(q), f.rms_norm(k)
    attended, x = f.keep_outputs(layer, f.attend(layer, f.rope(q), f.rope(k), v), x)
    h = f.add(f.rms_norm(attended), x)
    return f.add(f.rms_norm(f.ffn(f.rms_norm(h), layer.ffn_dim)), h)


def olmo(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """LayerNorms without weights."""
    q, k, v = f.split_qkv(layer, f.layer_norm(x, weighted=False))
    h = join(f, layer, x, f.attend(layer, f.rope(q), f.rope(k), v))
    return f.add(f.ffn(f.layer_norm(h, weighted=False), layer.ffn_dim), h)


def flat_normed(f: Frame, layer: Layer, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys normed over all heads at once, then shaped."""
    q, k, v = f.split_qkv(layer, x, shaped=False)
    g = f.graph
    return f.rope(g.view(f.rms_norm(q))), f.rope(g.view(f.rms_norm(k))), g.view(v)


def olmo2(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Norms only after attention and feed-forward."""
    attended, x = f.keep_outputs(layer, f.attend(layer, *flat_normed(f, layer, x)), x)
    h = f.add(f.rms_norm(attended), x)
    return f.add(f.rms_norm(f.ffn(h, layer.ffn_dim)), h)


def flat(f: Frame, layer: Layer, x: Tensor, *, gating: str, biased: bool, normed: bool) -> Tensor:
    """Mixtures of experts with norms over all heads at once: olmoe, minimax-m2."""
    h = join(f, layer, x, f.attend(layer, *flat_normed(f, layer, f.rms_norm(x))))
    return f.add(feed_forward(f, layer, f.rms_norm(h), gating=gating, biased=biased, normed=normed), h)


def cohere(f: Frame, layer: Layer, x: Tensor, *, ropes_all: bool, late: bool = False) -> Tensor:
    """Attention and feed-forward side by side behind one LayerNorm; without rope where the context is whole."""
    normed = f.layer_norm(x)
    q, k, v = f.split_qkv(layer, normed)
    if ropes_all and layer.has("qk_norm"):
        q, k = f.layer_norm(q), f.layer_norm(k)
    if ropes_all or layer.is_windowed or (layer.index == 0 and not layer.is_moe and late):
        q, k = f.rope(q), f.rope(k)
    attended = f.attend(layer, q, k, v)
    if not late:
        attended, x, normed = f.keep_outputs(layer, attended, x, normed)
    out = feed_forward(f, layer, normed, gating="sigmoid", normed=f.extra("experts_normed") > 0)
    return f.graph.like(f.add(out, x), attended, also_over=attended)


def falcon(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Attention and a plain feed-forward side by side, each behind a LayerNorm of its own."""
    feed = f.layer_norm(x)
    q, k, v = f.split_qkv(layer, f.layer_norm(x), fused=True)
    attended = f.attend(layer, f.rope(q), f.rope(k), v, v_is_contiguous=False)
    attended, x, feed = f.keep_outputs(layer, attended, x, feed)
    f.graph.ask(feed) if layer.is_last else None
    return f.add(f.add(f.ffn(feed, layer.ffn_dim, "plain"), attended), x)


def gptneox(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Attention and a plain feed-forward side by side (pythia's parallel residual)."""
    q, k, v = f.split_qkv(layer, f.layer_norm(x), fused=True)
    attended = f.attend(layer, f.rope(q), f.rope(k), v, v_is_contiguous=False)
    attended, x = f.keep_outputs(layer, attended, x)
    return f.add(f.add(f.ffn(f.layer_norm(x), layer.ffn_dim, "plain"), x), attended)


def phi3(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """One matrix for queries, keys and values, one for gate and up."""
    q, k, v = f.split_qkv(layer, f.rms_norm(x), fused=True)
    h = join(f, layer, x, f.attend(layer, f.rope(q), f.rope(k), v, v_is_contiguous=False))
    return f.add(h, f.ffn(f.rms_norm(h), layer.ffn_dim, "fused"))


def smollm3(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Like llama, without rope in every fourth layer."""
    q, k, v = f.split_qkv(layer, f.rms_norm(x))
    if (layer.index + 1) % SMOLLM3_ROPE_STEP:
        q, k = f.rope(q), f.rope(k)
    h = join(f, layer, x, f.attend(layer, q, k, v))
    return f.add(f.ffn(f.rms_norm(h), layer.ffn_dim), h)


def llama4(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Chunked layers with rope, whole ones with scaled queries; experts weigh their inputs."""
    q, k, v = f.split_qkv(layer, f.rms_norm(x))
    if layer.is_windowed:
        q, k = f.rope(q), f.rope(k)
    else:
        q = f.graph.like(q, f.input("attention_scale", F32 * f.reserve.n_tokens))
    h = join(f, layer, x, f.attend(layer, q, k, v))
    normed = f.rms_norm(h)
    if not layer.is_moe:
        return f.add(f.ffn(normed, layer.ffn_dim), h)
    routed = f.moe(layer, normed, gating="sigmoid", normed=False, weight_first=True)
    return f.add(f.add(routed, f.ffn(normed, layer.shared_expert_ffn_dim)), h)


def gpt_oss(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Softmax over the chosen experts; every operation runs on all tokens, the last layer's too."""
    q, k, v = f.split_qkv(layer, f.rms_norm(x))
    h = f.add(f.attend(layer, f.rope(q), f.rope(k), v), x)
    return f.add(f.moe(layer, f.rms_norm(h), gating="after", normed=False), h)


def step35(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Norms per head, a gate per head over attention's result."""
    g, normed = f.graph, f.rms_norm(x)
    q, k, v = f.split_qkv(layer, normed)
    q, k = f.rope(f.rms_norm(q)), f.rope(f.rms_norm(k))
    attended = g.view(f.attend(layer, q, k, v, project=False))
    gated = g.like(attended, g.view(g.like(f.wide(layer.n_heads, normed))))
    h = f.add(f.wide(f.hidden, g.view(gated)), x)
    return f.add(feed_forward(f, layer, f.rms_norm(h), gating="sigmoid", biased=True), h)


def deci(f: Frame, layer: Layer, x: Tensor) -> Tensor:
    """Layers may lack attention, or have a single matrix in its place, or lack a feed-forward."""
    cur = x
    if layer.has("n_heads"):
        cur = f.rms_norm(x)
        if layer.has("n_kv_heads"):
            q, k, v = f.split_qkv(layer, cur)
            cur = f.attend(layer, f.rope(q), f.rope(k), v)
        else:
            cur = f.wide(f.hidden, cur)
    cur, residual = f.keep_outputs(layer, cur, x)
    if not layer.has("ffn_dim"):
        return x
    h = f.add(cur, residual) if layer.has("n_heads") else cur
    return f.add(f.ffn(f.rms_norm(h), layer.ffn_dim), h)


def head_layer_norm(f: Frame, x: Tensor, *, weighted: bool = True) -> None:
    """Final LayerNorm and logits."""
    f.logits(f.layer_norm(x, weighted))


def head_late(f: Frame, x: Tensor) -> None:
    """States of all tokens stay for the caller; output rows are taken before the norm."""
    x.is_kept = True
    f.logits(f.rms_norm(f.output_rows(x)))


def head_after_norm(f: Frame, x: Tensor, *, layer_norm: bool = False) -> None:
    """States of all tokens stay for the caller; output rows are taken after the norm."""
    normed = f.layer_norm(x) if layer_norm else f.rms_norm(x)
    normed.is_kept = True
    f.logits(f.output_rows(normed))


_LLAMA = Program(llama)
_LAYER_NORM = partial(Program, head=head_layer_norm)

PROGRAMS: dict[str, Program] = {
    **dict.fromkeys(("llama", "qwen2", "qwen2vl", "ernie4_5", "granite", "mistral3", "seed_oss"), _LLAMA),
    "gemma": Program(llama, start=Frame.embed_scaled),
    "ernie4_5-moe": Program(partial(llama, biased=True)),
    "mimo2": Program(partial(llama, gating="sigmoid", biased=True)),
    **dict.fromkeys(("qwen3", "qwen3moe"), Program(qwen3)),
    **dict.fromkeys(("qwen3vl", "qwen3vlmoe"), Program(qwen3vl, start=start_deepstack)),
    "glm4moe": Program(glm4moe),
    **dict.fromkeys(("hunyuan-dense", "hunyuan-moe"), Program(hunyuan)),
    "gemma2": Program(gemma2, start=Frame.embed_scaled),
    "gemma3": Program(partial(gemma2, qk_norm=True), start=Frame.embed_scaled),
    "olmo": Program(olmo, head=partial(head_layer_norm, weighted=False)),
    "olmo2": Program(olmo2),
    "olmoe": Program(partial(flat, gating="softmax", biased=False, normed=False)),
    "minimax-m2": Program(partial(flat, gating="sigmoid", biased=True, normed=True)),
    "command-r": _LAYER_NORM(partial(cohere, ropes_all=True)),
    "cohere2": _LAYER_NORM(partial(cohere, ropes_all=False)),
    "cohere2moe": Program(partial(cohere, ropes_all=False, late=True), head=partial(head_after_norm, layer_norm=True)),
    "falcon": _LAYER_NORM(falcon),
    "gptneox": _LAYER_NORM(gptneox),
    "phi3": Program(phi3),
    "smollm3": Program(smollm3),
    "llama4": Program(llama4),
    "gpt-oss": Program(gpt_oss, head=head_late),
    "step35": Program(step35, head=head_late),
    "deci": Program(deci),
}

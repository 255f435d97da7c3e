"""What computing many tokens of a prompt at once holds, for engines on PyTorch and MLX.

Asked of Transformers 5.24 itself (`tools/ask_transformers.py`, tests/golden/transformers_layers.csv): the most that
lives at once is in one layer, either its attention or its feed-forward, and grows with the tokens computed together.
Recurrent layers are meant with their own kernels installed; PyTorch's reference code for them takes ten times as much.
"""

from __future__ import annotations

from sizing.specs import Attention, FeedForward, ModelSpec

SCORE_BYTES = 10
"""Bytes of one attention score without a fused kernel: in 16 bits, with the mask added, its softmax in 32 bits, and
back in 16 (modeling_llama.py, `eager_attention_forward`)."""

SINK_SCORE_BYTES = 6
"""The same of gpt-oss, whose softmax stays in 16 bits, with sinks put beside the scores (modeling_gpt_oss.py)."""


def count_attention_elements(hidden: int, attention: Attention) -> float:
    """Values of 16 bits that attention holds for each token: hidden states, and queries before and after rotation."""
    q = attention.n_heads * attention.head_dim
    kv = attention.n_kv_heads * attention.head_dim
    if attention.latent is not None:
        latent = attention.latent
        q = attention.n_heads * (latent.nope_head_dim + latent.rope_head_dim)
        kv = 0  # expanded over the whole cache: counted by `count_expansion_bytes`
    return 2 * hidden + 4.5 * q + kv


def count_ffn_elements(hidden: int, ffn: FeedForward, is_fused: bool) -> float:
    """Values of 16 bits that a feed-forward holds for each token: gate, its activation and up beside hidden states.

    Routed tokens are copied once for each expert they go to.
    """
    dense = (3 if ffn.gated else 2) + (1 if is_fused else 0)
    elements = float(dense * (ffn.ffn_dim or ffn.shared_expert_ffn_dim))
    if ffn.is_moe:
        k = ffn.n_active_experts
        elements = max(elements, 4 * k * ffn.expert_ffn_dim + k * hidden, 4 * k * hidden)
    return 4 * hidden + elements


def count_prompt_bytes(spec: ModelSpec, n_tokens: int) -> int:
    """Bytes of activations while `n_tokens` are computed together with fused attention, on the device that has most."""
    is_fused = spec.architecture == "phi3"
    most, head_dim = 0.0, 0
    for group in spec.groups:
        if group.attention is not None:
            most = max(most, count_attention_elements(spec.hidden_dim, group.attention))
            head_dim = max(head_dim, group.attention.head_dim)
        if group.recurrent is not None:
            channels = group.recurrent.conv_elements // max(group.recurrent.conv_kernel - 1, 1)
            most = max(most, 4.0 * spec.hidden_dim + 3.0 * channels)
        if group.ffn is not None:
            most = max(most, count_ffn_elements(spec.hidden_dim, group.ffn, is_fused))
    return round(n_tokens * 2 * (most + 2 * head_dim + 4))


def count_score_bytes(spec: ModelSpec, n_requests: int, queries: int, keys: int) -> int:
    """Bytes of one layer's attention scores where they are all kept: `queries` x `keys` for each head and request."""
    heads = max((g.attention.n_heads for g in spec.groups if g.attention is not None), default=0)
    each = SINK_SCORE_BYTES if spec.architecture == "gpt-oss" else SCORE_BYTES
    return heads * n_requests * queries * keys * each


def count_expansion_bytes(spec: ModelSpec, n_requests: int, keys: int) -> int:
    """Bytes of one latent layer's keys and values expanded for all heads, in 16 bits; 0 without latent attention."""
    widths = [
        g.attention.n_heads
        * (2 * g.attention.latent.nope_head_dim + g.attention.latent.rope_head_dim + g.attention.latent.v_head_dim)
        for g in spec.groups
        if g.attention is not None and g.attention.latent is not None
    ]
    return max(widths, default=0) * 2 * n_requests * keys

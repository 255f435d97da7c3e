"""Blocks that tensor tables are composed of, and the metadata every architecture shares.

Names are those of llama.cpp (gguf-py `constants.py`, TENSOR_NAMES); shapes are in GGML order, the contiguous axis
first, as `create_tensor` states them in llama.cpp's src/models (read at the version llama-cpp-python 0.3.36 vendors,
https://github.com/abetlen/llama-cpp-python/tree/v0.3.36). A decoder is described by `Rules`: which norms stand
where, how queries, keys and values are stored, what the feed-forward looks like. Whatever a rule cannot say is a
small function of the architecture's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import prod

from sizing.errors import UnsupportedError
from sizing.specs import Attention, AttentionKind, ExtraValue, FeedForward, LayerGroup, ModelSpec

KeyValue = tuple[str, ExtraValue]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: its GGUF name and its shape in GGML order (`shape[0]` is contiguous)."""

    name: str
    shape: tuple[int, ...]

    @property
    def n_elements(self) -> int:
        """Number of values."""
        return prod(self.shape)


def _no_native(tensor: TensorInfo) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Architecture:
    """How a GGUF architecture turns a spec into metadata and tensors.

    `name` is llama.cpp's name; keys are given without the `<name>.` prefix. `find_native_type` names the GGML type of
    a tensor that is published quantized and that no recipe changes, None for every other.
    """

    name: str
    list_metadata: Callable[[ModelSpec], Iterable[KeyValue]]
    list_tensors: Callable[[ModelSpec], Iterable[TensorInfo]]
    find_native_type: Callable[[TensorInfo], str | None] = _no_native


ARCHITECTURES: dict[str, Architecture] = {}
"""Every architecture whose tensors can be named, by GGUF name."""


def register(architecture: Architecture) -> Architecture:
    """Make an architecture known under its name. Raises ValueError when the name is taken."""
    if architecture.name in ARCHITECTURES:
        raise ValueError(f"architecture {architecture.name!r} is registered twice")
    ARCHITECTURES[architecture.name] = architecture
    return architecture


BlockHook = Callable[[ModelSpec, int, LayerGroup], Iterable[TensorInfo]]
ModelHook = Callable[[ModelSpec], Iterable[TensorInfo]]
MetadataHook = Callable[[ModelSpec], Iterable[KeyValue]]


def _no_block(spec: ModelSpec, layer: int, group: LayerGroup) -> Iterable[TensorInfo]:
    return ()


def _no_model(spec: ModelSpec) -> Iterable[TensorInfo]:
    return ()


def _no_metadata(spec: ModelSpec) -> Iterable[KeyValue]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one decoder architecture stores per layer and around the layers.

    `norms`: per-layer norms of `hidden_dim` values, by tensor name. `rms`: root-mean-square norms (else LayerNorm).
    `qkv`: 'split' or 'fused'. `qk_norm`: '' none, 'head' one vector of head_dim for all heads, 'full' one value per
    row, 'per_head' a matrix of head_dim x heads.
    `ffn`: 'gated' (gate, up, down), 'fused' (gate and up in one), 'plain' (up, down).
    `router_bias`: name of the experts' bias on routing, '' where there is none.
    `shared_expert_gate`: shared experts behind a scalar gate. `output_head` False: the model ends in embeddings.
    """

    norms: tuple[str, ...] = ("attn_norm", "ffn_norm")
    rms: bool = True
    norm_bias: bool = False
    output_norm: bool = True
    output_bias: bool = False
    output_head: bool = True
    qkv: str = "split"
    q_bias: bool = False
    kv_bias: bool = False
    out_bias: bool = False
    qk_norm: str = ""
    ffn: str = "gated"
    ffn_bias: bool = False
    router_bias: str = ""
    expert_bias: bool = False
    router_weight_bias: bool = False
    shared_expert_gate: bool = False
    more_in_block: BlockHook = field(default=_no_block)
    more_in_model: ModelHook = field(default=_no_model)
    more_metadata: MetadataHook = field(default=_no_metadata)
    find_native_type: Callable[[TensorInfo], str | None] = field(default=_no_native)


def list_norm(name: str, width: int, bias: bool = False) -> Iterator[TensorInfo]:
    """A norm's weight and, where it has one, its bias."""
    yield TensorInfo(f"{name}.weight", (width,))
    if bias:
        yield TensorInfo(f"{name}.bias", (width,))


def list_linear(name: str, n_in: int, n_out: int, bias: bool = False) -> Iterator[TensorInfo]:
    """A matrix from `n_in` to `n_out` and, where it has one, its bias."""
    yield TensorInfo(f"{name}.weight", (n_in, n_out))
    if bias:
        yield TensorInfo(f"{name}.bias", (n_out,))


def list_attention(prefix: str, hidden_dim: int, attention: Attention, rules: Rules) -> Iterator[TensorInfo]:
    """Grouped-query attention: projections, their biases, norms on queries and keys."""
    q_width = attention.n_heads * attention.head_dim
    k_width = attention.n_kv_heads * attention.head_dim
    v_width = attention.n_kv_heads * attention.head_dim_v
    if rules.qkv == "fused":
        yield from list_linear(f"{prefix}attn_qkv", hidden_dim, q_width + k_width + v_width, rules.q_bias)
    else:
        yield from list_linear(f"{prefix}attn_q", hidden_dim, q_width, rules.q_bias)
        yield from list_linear(f"{prefix}attn_k", hidden_dim, k_width, rules.kv_bias)
        yield from list_linear(f"{prefix}attn_v", hidden_dim, v_width, rules.kv_bias)
    yield from list_linear(f"{prefix}attn_output", attention.n_heads * attention.head_dim_v, hidden_dim, rules.out_bias)
    yield from list_qk_norm(prefix, attention, rules.qk_norm)


def list_qk_norm(prefix: str, attention: Attention, form: str) -> Iterator[TensorInfo]:
    """Norms on queries and keys in the form `Rules.qk_norm` names."""
    if not form:
        return
    for name, heads in (("attn_q_norm", attention.n_heads), ("attn_k_norm", attention.n_kv_heads)):
        shape: tuple[int, ...] = (attention.head_dim,)
        if form == "full":
            shape = (attention.head_dim * heads,)
        elif form == "per_head":
            shape = (attention.head_dim, heads)
        yield TensorInfo(f"{prefix}{name}.weight", shape)


def list_dense_ffn(prefix: str, hidden_dim: int, ffn_dim: int, form: str, bias: bool = False) -> Iterator[TensorInfo]:
    """A dense feed-forward: 'gated', 'fused' (gate and up in one matrix) or 'plain'."""
    if form == "gated":
        yield from list_linear(f"{prefix}ffn_gate", hidden_dim, ffn_dim, bias)
    yield from list_linear(f"{prefix}ffn_up", hidden_dim, 2 * ffn_dim if form == "fused" else ffn_dim, bias)
    yield from list_linear(f"{prefix}ffn_down", ffn_dim, hidden_dim, bias)


def list_experts(prefix: str, hidden_dim: int, ffn: FeedForward, rules: Rules) -> Iterator[TensorInfo]:
    """Router, routed experts (stacked in one tensor per matrix) and shared experts."""
    n, dim = ffn.n_experts, ffn.expert_ffn_dim
    yield from list_linear(f"{prefix}ffn_gate_inp", hidden_dim, n, rules.router_weight_bias)
    if rules.router_bias:
        yield TensorInfo(f"{prefix}{rules.router_bias}.bias", (n,))
    matrices = [("ffn_up_exps", hidden_dim, dim), ("ffn_down_exps", dim, hidden_dim)]
    if ffn.gated:
        matrices.insert(0, ("ffn_gate_exps", hidden_dim, dim))
    for name, n_in, n_out in matrices:
        yield TensorInfo(f"{prefix}{name}.weight", (n_in, n_out, n))
        if rules.expert_bias:
            yield TensorInfo(f"{prefix}{name}.bias", (n_out, n))
    shared = ffn.shared_expert_ffn_dim
    if shared:
        if rules.shared_expert_gate:
            yield TensorInfo(f"{prefix}ffn_gate_inp_shexp.weight", (hidden_dim,))
        if ffn.gated:
            yield from list_linear(f"{prefix}ffn_gate_shexp", hidden_dim, shared)
        yield from list_linear(f"{prefix}ffn_up_shexp", hidden_dim, shared)
        yield from list_linear(f"{prefix}ffn_down_shexp", shared, hidden_dim)


def list_ffn(prefix: str, hidden_dim: int, ffn: FeedForward, rules: Rules) -> Iterator[TensorInfo]:
    """A layer's feed-forward, dense, mixture of experts, or both in parallel."""
    if ffn.is_moe:
        yield from list_experts(prefix, hidden_dim, ffn, rules)
    if ffn.ffn_dim:
        yield from list_dense_ffn(prefix, hidden_dim, ffn.ffn_dim, rules.ffn, rules.ffn_bias)


def list_decoder_block(spec: ModelSpec, layer: int, group: LayerGroup, rules: Rules) -> Iterator[TensorInfo]:
    """One transformer layer by its rules."""
    prefix = f"blk.{layer}."
    for norm in rules.norms:
        # a layer pruned of its attention or feed-forward has lost that part's norms too
        if (group.ffn if "ff" in norm else group.attention or group.recurrent) is not None:
            yield from list_norm(prefix + norm, spec.hidden_dim, rules.norm_bias)
    if group.attention is not None:
        yield from list_attention(prefix, spec.hidden_dim, group.attention, rules)
    if group.ffn is not None:
        yield from list_ffn(prefix, spec.hidden_dim, group.ffn, rules)
    yield from rules.more_in_block(spec, layer, group)


def list_model_ends(spec: ModelSpec, rules: Rules) -> Iterator[TensorInfo]:
    """Token embedding, final norm, and the output head where it is a tensor of its own."""
    yield TensorInfo("token_embd.weight", (spec.hidden_dim, spec.vocab_size))
    if rules.output_norm:
        yield from list_norm("output_norm", spec.hidden_dim, rules.norm_bias)
    if rules.output_head and not spec.tied_embeddings:
        yield TensorInfo("output.weight", (spec.hidden_dim, spec.vocab_size))
    if rules.output_bias:
        yield TensorInfo("output.bias", (spec.vocab_size,))


def list_decoder_tensors(spec: ModelSpec, rules: Rules) -> Iterator[TensorInfo]:
    """All tensors of a decoder by its rules."""
    yield from list_model_ends(spec, rules)
    yield from rules.more_in_model(spec)
    for layer, group in enumerate(spec.by_layer):
        yield from list_decoder_block(spec, layer, group, rules)


def find_attention(spec: ModelSpec) -> Attention:
    """The attention of the first layer that has full attention, else of the first that attends at all.

    Raises UnsupportedError where none does.
    """
    found = [g.attention for g in spec.groups if g.attention is not None]
    if not found:
        raise UnsupportedError(f"{spec.model_id}: no layer attends; {spec.architecture} wants attention")
    full = [a for a in found if a.kind in (AttentionKind.FULL, AttentionKind.LATENT)]
    return (full or found)[0]


def per_layer(values: list[int]) -> int | tuple[int, ...]:
    """One number where all layers agree, else one per layer, as GGUF keys want it."""
    return values[0] if len(set(values)) == 1 else tuple(values)


def is_windowed(group: LayerGroup) -> bool:
    """Whether this layer attends only to a window."""
    return group.attention is not None and group.attention.window_tokens is not None


def list_common_metadata(spec: ModelSpec, rms: bool = True) -> Iterator[KeyValue]:
    """The keys every decoder has: sizes, heads, feed-forward widths, experts, windows.

    Feed-forward width is that of dense layers where there are any, else of the experts.
    """
    attention = find_attention(spec)
    layers = spec.by_layer
    yield "vocab_size", spec.vocab_size
    yield "context_length", spec.context_tokens
    yield "embedding_length", spec.hidden_dim
    yield "block_count", spec.n_layers
    yield "feed_forward_length", per_layer(_list_ffn_widths(spec))
    yield "attention.head_count", per_layer([g.attention.n_heads if g.attention else 0 for g in layers])
    yield "attention.head_count_kv", per_layer([g.attention.n_kv_heads if g.attention else 0 for g in layers])
    yield "attention.key_length", attention.head_dim
    yield "attention.value_length", attention.head_dim_v
    yield "attention.layer_norm_rms_epsilon" if rms else "attention.layer_norm_epsilon", 1e-5
    yield "rope.dimension_count", attention.head_dim
    yield from list_expert_metadata(spec)
    yield from list_window_metadata(spec, attention)


def list_window_metadata(spec: ModelSpec, full: Attention) -> Iterator[KeyValue]:
    """The window, which layers have it, and their head widths where these are not those of `full`."""
    windowed = next((g.attention for g in spec.groups if g.attention is not None and is_windowed(g)), None)
    if windowed is None or windowed.window_tokens is None:
        return
    yield "attention.sliding_window", windowed.window_tokens
    yield "attention.sliding_window_pattern", tuple(is_windowed(g) for g in spec.by_layer)
    if windowed.head_dim != full.head_dim:
        yield "attention.key_length_swa", windowed.head_dim
    if windowed.head_dim_v != full.head_dim_v:
        yield "attention.value_length_swa", windowed.head_dim_v


def _list_ffn_widths(spec: ModelSpec) -> list[int]:
    """Dense width per layer; a layer of experts takes the dense layers' width, or the experts' where all are."""
    dense = [g.ffn.ffn_dim for g in spec.groups if g.ffn is not None and g.ffn.ffn_dim]
    widths = []
    for group in spec.by_layer:
        if group.ffn is None:
            widths.append(0)
        else:
            widths.append(group.ffn.ffn_dim or (dense[0] if dense else group.ffn.expert_ffn_dim))
    return widths


def list_expert_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
    """The keys of a mixture of experts; nothing for a dense model."""
    moe = next((g.ffn for g in spec.groups if g.ffn is not None and g.ffn.is_moe), None)
    if moe is None:
        return
    yield "expert_count", moe.n_experts
    yield "expert_used_count", moe.n_active_experts
    yield "expert_feed_forward_length", moe.expert_ffn_dim
    if moe.n_shared_experts:
        yield "expert_shared_count", moe.n_shared_experts
    if moe.shared_expert_ffn_dim:
        yield "expert_shared_feed_forward_length", moe.shared_expert_ffn_dim
    leading = next(i for i, g in enumerate(spec.by_layer) if g.ffn is not None and g.ffn.is_moe)
    if leading:
        yield "leading_dense_block_count", leading


def register_decoder(name: str, rules: Rules) -> Architecture:
    """Register an architecture that `Rules` describe completely."""

    def list_metadata(spec: ModelSpec) -> Iterator[KeyValue]:
        yield from list_common_metadata(spec, rules.rms)
        yield from rules.more_metadata(spec)

    def list_all_tensors(spec: ModelSpec) -> Iterator[TensorInfo]:
        return list_decoder_tensors(spec, rules)

    return register(Architecture(name, list_metadata, list_all_tensors, rules.find_native_type))

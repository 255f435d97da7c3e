"""What each layer of a GGUF file is: from its keys as llama.cpp reads them, from its tensors where keys leave it open.

Defaults and patterns are those of `load_hparams` (src/llama-model.cpp) and `load_arch_hparams` (src/models/<name>.cpp)
of the llama.cpp that llama-cpp-python 0.3.36 vendors. Which layers hold experts is left to tensors there ("not
required"), so it is read from the tensor table here.
"""

from __future__ import annotations

from catalog.gguf_keys import MAX_EXPERTS, MAX_HEADS, MAX_WIDTH, ModelFile
from catalog.spec_builder import build_recurrent
from sizing.errors import GgufError, UnsupportedError
from sizing.kv_cache import CHUNK_TOKENS
from sizing.specs import (
    Attention,
    AttentionKind,
    FeedForward,
    Indexer,
    Latent,
    LayerGroup,
    Recurrent,
    RecurrentKind,
)

Mixer = tuple[Attention | None, Recurrent | None]

WINDOW_PERIODS = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "cohere2": 4,
    "cohere2moe": 4,
    "gpt-oss": 2,
    "llama4": 4,
    "olmo2": 4,
}
"""Every how many layers one sees the whole context, where the file does not say (`load_swa_pattern`, src/models)."""

FULL_FIRST = frozenset({"cohere2moe"})
"""Architectures whose pattern begins with the full layer; all others end with it."""

PATTERN_NEEDED = frozenset({"gemma4", "mimo2", "step35"})
"""Architectures whose files must list the windowed layers."""

ALL_WINDOWED = frozenset({"deepseek4", "lfm2"})
"""Architectures where every layer that attends is windowed once there is a window."""

WINDOW_OPTIONAL = frozenset({"gemma3", "olmo2", "lfm2"})
WINDOW_DEFAULTS = {"gemma2": 4096}

GEMMA3N_OWN_KV = 20
"""Layers of Gemma 3n with keys of their own (src/models/gemma3n.cpp, `n_layer_kv_from_start`)."""

LATENT = frozenset({"deepseek2", "mistral4", "deepseek32", "glm-dsa", "glm5-next", "kimi-k3"})
INDEXED = frozenset({"deepseek32", "deepseek4", "glm-dsa", "glm5-next", "minimax-m3"})
INDEXED_BY_TABLE = frozenset({"glm-dsa", "minimax-m3"})
UNGATED = frozenset({"falcon", "gptneox", "nemotron_h", "nemotron_h_moe"})
ENCODERS = frozenset({"nomic-bert"})

NO_HEADS_NO_ATTENTION = frozenset({"deci", "nemotron_h", "nemotron_h_moe"})
"""Architectures where a layer without key heads does not attend, and one without feed-forward width has none."""

ALL_EXPERTS = frozenset(
    "deepseek4 gpt-oss hunyuan-moe minimax-m2 olmoe qwen35moe qwen3moe qwen3next qwen3vlmoe".split()
)
"""Architectures where every layer routes to experts."""

RECURRENT_KINDS = {
    "qwen3next": RecurrentKind.GATED_DELTA_NET,
    "qwen35": RecurrentKind.GATED_DELTA_NET,
    "qwen35moe": RecurrentKind.GATED_DELTA_NET,
    "granitehybrid": RecurrentKind.MAMBA2,
    "falcon-h1": RecurrentKind.MAMBA2,
    "nemotron_h": RecurrentKind.MAMBA2,
    "nemotron_h_moe": RecurrentKind.MAMBA2,
    "lfm2": RecurrentKind.SHORT_CONV,
    "lfm2moe": RecurrentKind.SHORT_CONV,
    "kimi-k3": RecurrentKind.KIMI_DELTA,
    "glm5-next": RecurrentKind.KIMI_DELTA,
}
"""What a layer that does not attend does instead."""

FULL_EVERY = 4
"""Every how many layers Qwen3-Next and Qwen3.5 attend where the file does not say (src/models/qwen3next.cpp)."""


def list_layer_groups(file: ModelFile, hidden_dim: int) -> tuple[LayerGroup, ...]:
    """Layers of one kind together, in the order in which each kind first comes.

    Raises GgufError for keys that cannot be true, BadInputError where they contradict each other.
    """
    members: dict[tuple[Attention | None, Recurrent | None, FeedForward | None], list[int]] = {}
    for layer, (mixer, ffn) in enumerate(zip(list_mixers(file, hidden_dim), list_feed_forwards(file), strict=True)):
        members.setdefault((*mixer, ffn), []).append(layer)
    return tuple(LayerGroup(tuple(layers), *parts) for parts, layers in members.items())


def list_mixers(file: ModelFile, hidden_dim: int) -> tuple[Mixer, ...]:
    """Attention and recurrence of every layer."""
    attends, recurs = find_attending(file), find_recurring(file)
    attention = list_attention(file, hidden_dim, attends)
    recurrent = find_recurrent(file, hidden_dim) if any(recurs) else None
    return tuple((a if attends[i] else None, recurrent if recurs[i] else None) for i, a in enumerate(attention))


# ---------------------------------------------------------------- which layer does what


def list_kv_heads(file: ModelFile) -> tuple[int, ...]:
    """Key heads of every layer: those of the queries where the file does not say."""
    may_be_none = file.architecture in NO_HEADS_NO_ATTENTION or file.architecture in RECURRENT_KINDS
    heads = list_heads(file)
    return file.per_layer("attention.head_count_kv", MAX_HEADS, default=heads, least=0 if may_be_none else 1)


def list_heads(file: ModelFile) -> tuple[int, ...]:
    """Query heads of every layer; a layer that does not attend may have none."""
    may_be_none = file.architecture in NO_HEADS_NO_ATTENTION or file.architecture in RECURRENT_KINDS
    return file.per_layer("attention.head_count", MAX_HEADS, least=0 if may_be_none else 1)


def find_recurring(file: ModelFile) -> tuple[bool, ...]:
    """Which layers keep a state of fixed size."""
    kind = RECURRENT_KINDS.get(file.architecture)
    if kind is None:
        return (False,) * file.n_layers
    if file.architecture == "falcon-h1":
        return (True,) * file.n_layers
    if kind is RecurrentKind.GATED_DELTA_NET:
        every = file.number("full_attention_interval", file.n_layers + 1, default=FULL_EVERY)
        pattern = tuple((i + 1) % every != 0 for i in range(file.n_layers))
        return file.flags("attention.recurrent_layers") or pattern
    has_none = tuple(n == 0 for n in list_kv_heads(file))
    if file.architecture in NO_HEADS_NO_ATTENTION:
        return tuple(none and width == 0 for none, width in zip(has_none, list_ffn_widths(file), strict=True))
    return has_none


def find_attending(file: ModelFile) -> tuple[bool, ...]:
    """Which layers attend."""
    if file.architecture in NO_HEADS_NO_ATTENTION:
        return tuple(n > 0 for n in list_kv_heads(file))
    if file.architecture == "falcon-h1":
        return (True,) * file.n_layers
    return tuple(not recurs for recurs in find_recurring(file))


# ---------------------------------------------------------------- attention


def list_attention(file: ModelFile, hidden_dim: int, attends: tuple[bool, ...]) -> tuple[Attention | None, ...]:
    """Attention of every layer, None where a layer does not attend.

    Raises GgufError where no layer attends, or one that does has no heads.
    """
    heads, kv_heads = list_heads(file), list_kv_heads(file)
    if not any(attends):
        raise GgufError(f"no layer of the file attends; {file.architecture} wants some that do")
    if not all(heads[i] for i, attending in enumerate(attends) if attending):
        raise GgufError(f"{file.architecture}.attention.head_count is 0 on a layer that attends")
    windows, indexers = list_windows(file), list_indexers(file)
    latent = find_latent(file) if file.architecture in LATENT else None
    n_own = count_own_kv_layers(file)
    dims = find_head_dims(file, hidden_dim, next(n for n, attending in zip(heads, attends, strict=True) if attending))
    return tuple(
        build_attention(file, (heads[i], kv_heads[i]), dims, windows[i], latent, indexers[i], i >= n_own)
        if attends[i]
        else None
        for i in range(file.n_layers)
    )


def build_attention(
    file: ModelFile,
    heads: tuple[int, int],
    dims: tuple[int, int, int, int],
    window: int,
    latent: Latent | None,
    indexer: Indexer | None,
    shares_kv: bool,
) -> Attention:
    """One layer's attention; latent attention is told with the heads it has once it is unfolded."""
    n_heads, n_kv_heads = heads
    if latent is not None:
        width = latent.nope_head_dim + latent.rope_head_dim
        return Attention(
            AttentionKind.LATENT, n_heads, n_heads, width, latent.v_head_dim, latent=latent, indexer=indexer
        )
    kind = AttentionKind.FULL
    if window:
        kind = AttentionKind.CHUNKED if file.architecture == "llama4" else AttentionKind.SLIDING
    head_dim, head_dim_v = dims[2:] if window else dims[:2]
    return Attention(
        kind, n_heads, n_kv_heads, head_dim, head_dim_v, window or None, indexer=indexer, shares_kv=shares_kv
    )


def find_head_dims(file: ModelFile, hidden_dim: int, n_heads: int) -> tuple[int, int, int, int]:
    """Width of keys and values per head, on full and on windowed layers; llama.cpp divides where the file is silent.

    Raises GgufError for more heads than the width has values.
    """
    even = hidden_dim // n_heads
    k = file.number("attention.key_length", MAX_HEADS, default=even)
    v = file.number("attention.value_length", MAX_HEADS, default=even)
    if not k or not v:
        raise GgufError(f"{n_heads:,} heads share a width of {hidden_dim:,}: nothing is left for each")
    k_windowed = file.number("attention.key_length_swa", MAX_HEADS, default=k)
    return k, v, k_windowed, file.number("attention.value_length_swa", MAX_HEADS, default=v)


def count_own_kv_layers(file: ModelFile) -> int:
    """How many layers, from the first on, keep keys and values of their own."""
    if file.architecture in ENCODERS:
        return 0
    if file.architecture == "gemma3n":
        return GEMMA3N_OWN_KV
    if file.architecture == "gemma4":
        return file.n_layers - file.number("attention.shared_kv_layers", file.n_layers - 1, default=0, least=0)
    return file.n_layers


def list_windows(file: ModelFile) -> tuple[int, ...]:
    """Tokens of every layer's window, 0 where it sees the whole context."""
    tokens = find_window_tokens(file)
    windowed = find_windowed(file) if tokens else (False,) * file.n_layers
    return tuple(tokens if is_windowed else 0 for is_windowed in windowed)


def find_window_tokens(file: ModelFile) -> int:
    """The window in tokens, 0 where llama.cpp keeps none. Llama 4's is fixed there, and off where a file says 0."""
    name, architecture = "attention.sliding_window", file.architecture
    if architecture == "llama4":
        return CHUNK_TOKENS if file.number(name, MAX_WIDTH, default=CHUNK_TOKENS, least=0) else 0
    if architecture in WINDOW_OPTIONAL:
        return file.number(name, MAX_WIDTH, default=0, least=0)
    if architecture in WINDOW_PERIODS or architecture in PATTERN_NEEDED or architecture in ALL_WINDOWED:
        return file.number(name, MAX_WIDTH, default=WINDOW_DEFAULTS.get(architecture))
    return 0


def find_windowed(file: ModelFile) -> tuple[bool, ...]:
    """Which layers are windowed: listed, or by a period.

    Raises GgufError where an architecture wants the list and the file lacks it.
    """
    name, architecture = "attention.sliding_window_pattern", file.architecture
    if architecture in ALL_WINDOWED:
        return (True,) * file.n_layers
    listed = file.flags(name)
    if listed is not None:
        return listed
    if architecture in PATTERN_NEEDED:
        raise GgufError(f"the file lacks {architecture}.{name}, a list of the windowed layers; convert the model anew")
    period = file.number(name, MAX_WIDTH, default=WINDOW_PERIODS[architecture], least=0)
    if period == 0:
        return (True,) * file.n_layers
    full = 0 if architecture in FULL_FIRST else period - 1
    return tuple(i % period != full for i in range(file.n_layers))


def find_latent(file: ModelFile) -> Latent:
    """Widths of latent attention. Raises UnsupportedError for a file from before llama.cpp split the decompression.

    Raises GgufError for a key no wider than its rotated part.
    """
    if "attention.key_length_mla" not in file.keys:
        raise UnsupportedError(
            f"this {file.architecture} file is an old conversion without attention.key_length_mla: its cache is many "
            "times as large, and no table of tensors describes it; fetch a newer conversion"
        )
    rope = file.number("rope.dimension_count", MAX_HEADS, least=0)
    key = file.number("attention.key_length_mla", MAX_HEADS)
    if key <= rope:
        raise GgufError(f"attention.key_length_mla {key:,} must exceed rope.dimension_count {rope:,}")
    return Latent(
        kv_lora_rank=file.number("attention.kv_lora_rank", MAX_HEADS),
        rope_head_dim=rope,
        nope_head_dim=key - rope,
        v_head_dim=file.number("attention.value_length_mla", MAX_HEADS),
        q_lora_rank=file.number("attention.q_lora_rank", MAX_HEADS, default=0, least=0) or None,
    )


def list_indexers(file: ModelFile) -> tuple[Indexer | None, ...]:
    """The indexer of every layer: all own one, unless the file lists those that do or only some have its tensors."""
    if file.architecture not in INDEXED:
        return (None,) * file.n_layers
    indexer = Indexer(
        n_heads=file.number("attention.indexer.head_count", MAX_HEADS),
        head_dim=file.number("attention.indexer.key_length", MAX_HEADS),
        top_k=file.number("attention.indexer.top_k", MAX_WIDTH),
    )
    owns = file.flags("attention.indexer.types")
    if owns is None and file.architecture in INDEXED_BY_TABLE:
        names = ("attn_k.weight", "k_proj.weight")
        owns = tuple(any(file.has(f"blk.{i}.indexer.{name}") for name in names) for i in range(file.n_layers))
    return tuple(indexer if owns is None or owns[i] else None for i in range(file.n_layers))


# ---------------------------------------------------------------- recurrence


def find_recurrent(file: ModelFile, hidden_dim: int) -> Recurrent:
    """The recurrence that all recurrent layers of a file share."""
    kind = RECURRENT_KINDS[file.architecture]
    if kind is RecurrentKind.SHORT_CONV:
        return build_recurrent({"kind": kind, "conv_kernel": file.number("shortconv.l_cache", MAX_HEADS)}, hidden_dim)
    table = {"kind": kind, "conv_kernel": file.number("ssm.conv_kernel", MAX_HEADS)}
    if kind is RecurrentKind.KIMI_DELTA:
        table |= {"n_heads": max(list_heads(file)), "head_dim": file.number("kda.head_dim", MAX_HEADS)}
        return build_recurrent(table, hidden_dim)
    d_inner, n_heads = file.number("ssm.inner_size", MAX_WIDTH), file.number("ssm.time_step_rank", MAX_HEADS)
    table |= {"d_inner": d_inner, "n_heads": n_heads, "head_dim": d_inner // n_heads}
    table |= {
        "d_state": file.number("ssm.state_size", MAX_HEADS),
        "n_groups": file.number("ssm.group_count", MAX_HEADS),
    }
    return build_recurrent(table, hidden_dim)


# ---------------------------------------------------------------- feed-forward


def list_ffn_widths(file: ModelFile) -> tuple[int, ...]:
    """Dense feed-forward width of every layer, 0 where the file gives none."""
    return file.per_layer("feed_forward_length", MAX_WIDTH, default=(0,) * file.n_layers)


def list_feed_forwards(file: ModelFile) -> tuple[FeedForward | None, ...]:
    """Feed-forward of every layer: experts where there is a router, else dense, else none.

    Raises GgufError where a router is missing that the architecture wants.
    """
    n_experts = file.number("expert_count", MAX_EXPERTS, default=0, least=0)
    if n_experts == 1 and file.architecture == "hunyuan-dense":
        n_experts = 0
    n_used = file.per_layer("expert_used_count", MAX_EXPERTS, default=(0,) * file.n_layers)
    widths = list_ffn_widths(file)
    gated = file.architecture not in UNGATED
    found: list[FeedForward | None] = []
    for layer in range(file.n_layers):
        if n_experts and file.has(f"blk.{layer}.ffn_gate_inp.weight"):
            found.append(build_experts(file, layer, widths[layer], n_experts, n_used[layer], gated))
        else:
            found.append(FeedForward(ffn_dim=widths[layer], gated=gated) if widths[layer] else None)
    if file.architecture in ALL_EXPERTS:
        bare = next((i for i, ffn in enumerate(found) if ffn is None or not ffn.is_moe), None)
        if bare is not None:
            raise GgufError(f"layer {bare} has no router (blk.{bare}.ffn_gate_inp.weight), as {file.architecture} must")
    return tuple(found)


def build_experts(file: ModelFile, layer: int, ffn_dim: int, n_experts: int, n_used: int, gated: bool) -> FeedForward:
    """A mixture of experts. Widths come from the keys, and from the tensors where keys are silent."""
    prefix = f"blk.{layer}."
    stored = (*file.shape(f"{prefix}ffn_down_exps.weight"), ffn_dim)[0]
    width = file.per_layer("expert_feed_forward_length", MAX_WIDTH, default=(stored,) * file.n_layers)
    shared = file.shape(f"{prefix}ffn_up_shexp.weight")
    n_shared, shared_dim = 0, 0
    if len(shared) > 1:
        n_shared = file.number("expert_shared_count", MAX_EXPERTS, default=1)
        shared_dim = file.number("expert_shared_feed_forward_length", MAX_WIDTH, default=shared[1])
    return FeedForward(
        ffn_dim=ffn_dim if file.has(f"{prefix}ffn_down.weight") else 0,
        gated=gated,
        n_experts=n_experts,
        n_active_experts=n_used,
        expert_ffn_dim=width[layer],
        n_shared_experts=n_shared,
        shared_expert_ffn_dim=shared_dim,
    )

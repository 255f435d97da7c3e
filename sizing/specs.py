"""What a model is, as far as memory and speed care: layers in groups, each able to say the truth about itself.

A `ModelSpec` holds shapes only. Licence, tasks, scores and sources are catalog facts and live elsewhere.
Nothing is guessed from a ratio: `head_dim` is its own field, a layer without a cache says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from sizing.errors import BadInputError


class AttentionKind(StrEnum):
    """How a layer attends, which is how it caches."""

    FULL = "full"  # MHA, GQA or MQA over the whole context
    SLIDING = "sliding"  # the last `window_tokens` tokens only
    CHUNKED = "chunked"  # the current chunk of `window_tokens` tokens only (Llama 4)
    LATENT = "latent"  # MLA: one compressed row per token, shared by all heads


class RecurrentKind(StrEnum):
    """Fixed-size memory of a layer, whatever the context."""

    MAMBA = "mamba"
    MAMBA2 = "mamba2"
    GATED_DELTA_NET = "gated_delta_net"
    KIMI_DELTA = "kimi_delta"
    SHORT_CONV = "short_conv"


@dataclass(frozen=True, slots=True)
class Latent:
    """Multi-head latent attention widths (DeepSeek-V2 paper, arXiv:2405.04434, section 2.1)."""

    kv_lora_rank: int
    rope_head_dim: int
    nope_head_dim: int
    v_head_dim: int
    q_lora_rank: int | None = None  # None: queries are not compressed


@dataclass(frozen=True, slots=True)
class Indexer:
    """Sparse-attention indexer (DeepSeek-V3.2): its own small key cache per layer."""

    n_heads: int
    head_dim: int
    top_k: int


@dataclass(frozen=True, slots=True)
class Attention:
    """One layer's attention. `n_kv_heads` 0 or `shares_kv` means no cache here.

    `head_dim` is the key width per head, `head_dim_v` the value width (equal unless given).
    """

    kind: AttentionKind
    n_heads: int
    n_kv_heads: int
    head_dim: int
    head_dim_v: int = 0
    window_tokens: int | None = None
    latent: Latent | None = None
    indexer: Indexer | None = None
    shares_kv: bool = False

    def __post_init__(self) -> None:
        if self.head_dim_v == 0:
            object.__setattr__(self, "head_dim_v", self.head_dim)
        if self.n_heads < 1 or self.n_kv_heads < 0 or self.head_dim < 1 or self.head_dim_v < 1:
            raise BadInputError(f"attention wants positive heads and widths, got {self!r}")
        if self.n_kv_heads and self.n_heads % self.n_kv_heads:
            raise BadInputError(f"n_heads {self.n_heads} is not a multiple of n_kv_heads {self.n_kv_heads}")
        if (self.kind in (AttentionKind.SLIDING, AttentionKind.CHUNKED)) != (self.window_tokens is not None):
            raise BadInputError(f"{self.kind} attention and window_tokens={self.window_tokens!r} contradict each other")
        if (self.kind is AttentionKind.LATENT) != (self.latent is not None):
            raise BadInputError(f"{self.kind} attention and latent={self.latent!r} contradict each other")

    @property
    def has_cache(self) -> bool:
        """Whether this layer keeps keys or values of its own."""
        return not self.shares_kv and (self.n_kv_heads > 0 or self.latent is not None)

    @property
    def cached_k_width(self) -> int:
        """Elements of the K cache per token and layer (llama.cpp keeps MLA's compressed row and its rope part in K)."""
        if not self.has_cache:
            return 0
        if self.latent is not None:
            return self.latent.kv_lora_rank + self.latent.rope_head_dim
        return self.n_kv_heads * self.head_dim

    @property
    def cached_v_width(self) -> int:
        """Elements of the V cache per token and layer; 0 for MLA, whose values are rebuilt from K."""
        if not self.has_cache or self.latent is not None:
            return 0
        return self.n_kv_heads * self.head_dim_v

    @property
    def name(self) -> str:
        """What people call it: MHA, GQA, MQA, MLA, with the window where there is one."""
        if self.latent is not None:
            return "MLA"
        if self.n_kv_heads == 0:
            return "none"
        base = "MHA" if self.n_kv_heads == self.n_heads else "MQA" if self.n_kv_heads == 1 else "GQA"
        return f"{base} {self.kind} {self.window_tokens}" if self.window_tokens else base


@dataclass(frozen=True, slots=True)
class Recurrent:
    """One layer's fixed-size state, kept in f32 per sequence by llama.cpp.

    `conv_elements` and `state_elements` are what llama.cpp calls n_embd_r and n_embd_s
    (llama-hparams.cpp, `n_embd_r()` and `n_embd_s()`).
    """

    kind: RecurrentKind
    conv_kernel: int
    d_inner: int = 0
    d_state: int = 0
    n_groups: int = 0
    n_heads: int = 0
    head_dim: int = 0
    conv_elements: int = 0
    state_elements: int = 0


@dataclass(frozen=True, slots=True)
class FeedForward:
    """One layer's feed-forward: dense (`ffn_dim`), mixture of experts (`n_experts` > 0), or both in parallel."""

    ffn_dim: int = 0
    gated: bool = True
    n_experts: int = 0
    n_active_experts: int = 0
    expert_ffn_dim: int = 0
    n_shared_experts: int = 0
    shared_expert_ffn_dim: int = 0  # of all shared experts together

    def __post_init__(self) -> None:
        if self.n_experts and not 0 < self.n_active_experts <= self.n_experts:
            raise BadInputError(
                f"n_active_experts {self.n_active_experts} is not within 1 and n_experts {self.n_experts}"
            )
        if self.n_experts and self.expert_ffn_dim < 1:
            raise BadInputError("a mixture of experts wants expert_ffn_dim of at least 1")

    @property
    def is_moe(self) -> bool:
        """Whether tokens choose among experts here."""
        return self.n_experts > 0


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """Layers of one kind, by index. Attention, recurrence and feed-forward may each be absent or together."""

    layers: tuple[int, ...]
    attention: Attention | None = None
    recurrent: Recurrent | None = None
    ffn: FeedForward | None = None

    @property
    def count(self) -> int:
        """How many layers are of this kind."""
        return len(self.layers)


ExtraValue = int | float | str | bool | tuple[int, ...] | tuple[float, ...] | tuple[bool, ...]


@dataclass(frozen=True)
class ModelSpec:
    """A model's shapes. Units: counts of parameters, layers, heads, elements and tokens.

    `architecture` is the GGUF architecture name, or a name llama.cpp does not know (then it cannot be asked).
    `n_params` counts the language model that the GGUF file holds; `n_params_projector` the vision or audio tower
    that llama.cpp keeps in a separate file, None where unknown.
    `context_tokens` is the trained maximum. `extras` holds further architecture numbers by GGUF-like key.
    """

    model_id: str
    name: str
    architecture: str
    groups: tuple[LayerGroup, ...]
    hidden_dim: int
    vocab_size: int
    context_tokens: int
    tied_embeddings: bool
    n_params: int
    n_active_params: int
    n_params_projector: int | None = None
    extras: tuple[tuple[str, ExtraValue], ...] = field(default=())

    def __post_init__(self) -> None:
        indices = sorted(i for g in self.groups for i in g.layers)
        if indices != list(range(len(indices))) or not indices:
            raise BadInputError(
                f"{self.model_id}: layer groups must cover 0..n-1 once each, got {len(indices)} indices"
            )
        for name in ("hidden_dim", "vocab_size", "context_tokens", "n_params", "n_active_params"):
            if getattr(self, name) < 1:
                raise BadInputError(f"{self.model_id}: {name} must be at least 1, got {getattr(self, name)!r}")

    @property
    def n_layers(self) -> int:
        """Number of repeating layers."""
        return sum(g.count for g in self.groups)

    @cached_property
    def by_layer(self) -> tuple[LayerGroup, ...]:
        """The group of each layer, in layer order."""
        out: dict[int, LayerGroup] = {i: g for g in self.groups for i in g.layers}
        return tuple(out[i] for i in range(len(out)))

    @property
    def is_moe(self) -> bool:
        """Whether any layer chooses among experts."""
        return any(g.ffn is not None and g.ffn.is_moe for g in self.groups)

    def extra(self, key: str, default: ExtraValue | None = None) -> ExtraValue | None:
        """An architecture number by key, or `default`."""
        return dict(self.extras).get(key, default)

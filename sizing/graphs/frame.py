"""The blocks compute graphs are made of, as llama.cpp's src/llama-graph.cpp builds them.

A `Frame` is one graph under construction for a batch of models that share an architecture and an order of layers;
sizes are columns over these models. Operations that write over their operand and change no size (scaling a tensor
that is already this graph's own, adding a bias) are left out: they take no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sizing.replay import ANYWHERE, Graph, Ints, Tensor

F32 = 4
F16 = 2
I32 = 4
I64 = 8


@dataclass(frozen=True, slots=True)
class Reserve:
    """The graph llama.cpp reserves for: tokens of one physical batch, all of them outputs, over the whole cache
    (src/llama-context.cpp, `sched_reserve`).

    `k_value_bytes`: one value of an unquantized K cache; `k_block`, `v_block`: elements and bytes of one block of K
    and V.
    """

    n_tokens: int
    n_outputs: int
    n_seqs: int
    n_streams: int
    flash_attention: bool
    k_value_bytes: int = F16
    k_block: tuple[int, int] = (1, F16)
    v_block: tuple[int, int] = (1, F16)

    def k_row_bytes(self, width: Ints) -> Ints:
        """Bytes of a row of keys in the cache's own type."""
        elements, n_bytes = self.k_block
        return -(-width // elements) * n_bytes

    def v_row_bytes(self, width: Ints) -> Ints:
        """Bytes of a row of values in the cache's own type."""
        elements, n_bytes = self.v_block
        return -(-width // elements) * n_bytes

    @property
    def mask_bytes(self) -> int:
        """Bytes of one mask value: flash attention wants f16."""
        return F16 if self.flash_attention else F32


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the batch: its columns (see `sizing.layers`), its place, whether it is the last, its device."""

    columns: dict[str, Ints]
    index: int
    is_last: bool
    n_kv_tokens: Ints
    is_windowed: bool
    home: int = 0

    def __getattr__(self, name: str) -> Ints:
        return self.columns[name]

    def has(self, column: str) -> bool:
        """Whether a column is above zero here (the same for every model of the batch)."""
        return bool(self.columns[column][0] > 0)

    @property
    def is_moe(self) -> bool:
        """Whether tokens choose among experts here (the same for every model of the batch)."""
        return bool(self.columns["n_experts"][0] > 0)

    @property
    def has_attention(self) -> bool:
        """Whether this layer attends."""
        return bool(self.columns["kind"][0] > 0)

    @property
    def is_recurrent(self) -> bool:
        """Whether this layer keeps a recurrent state."""
        return bool(self.columns["recurrent"][0] > 0)


@dataclass(slots=True)
class Frame:
    """A compute graph under construction.

    `rotation` says how wide the rotation of keys and values is before a quantized cache, by cache: 'k', 'v',
    'k_window', 'v_window'; 0 where there is none. `separate_windows`: windowed layers have a cache of their own.
    `n_kv_tokens` is what one stream of the cache holds. `output_home` and `first_home` are the devices of the output
    and of the first layer; `is_parted`: some layers are the host's and some an accelerator's.
    """

    graph: Graph
    reserve: Reserve
    hidden: Ints
    vocab: Ints
    widest_v: Ints
    models: dict[str, Ints]
    rotation: dict[str, int]
    separate_windows: bool
    n_positions: int
    layers: tuple[Layer, ...]
    n_kv_tokens: Ints
    output_home: int = 0
    first_home: int = 0
    is_parted: bool = False
    inputs: dict[str, Tensor] = field(default_factory=dict)
    kept: dict[str, Tensor] = field(default_factory=dict)

    @property
    def attending(self) -> Layer:
        """The first layer that attends."""
        return next(layer for layer in self.layers if layer.has_attention)

    def extra(self, name: str) -> int:
        """A whole number of the model that shapes its graph (the same for every model of the batch)."""
        return int(self.models[name][0])

    def tokens(self, x: Tensor) -> int:
        """Tokens a hidden-wide tensor holds."""
        return int(x.n_bytes[0] // (F32 * int(self.hidden[0])))

    def input(self, name: str, n_bytes: Ints | int) -> Tensor:
        """The graph's input of that name, made on first use."""
        if name not in self.inputs:
            self.inputs[name] = self.graph.input(n_bytes)
        return self.inputs[name]

    # -- small steps ---------------------------------------------------------------------------------------------

    def wide(self, width: Ints | int, *operands: Tensor, n: int | None = None, home: int | None = None) -> Tensor:
        """A new result of `width` values per token, from a matrix of the layer unless `home` says otherwise."""
        where = self.graph.weight_home if home is None else home
        return self.graph.rows(width, F32 * (n or self.reserve.n_tokens), *operands, home=where)

    def free(self, width: Ints | int, *operands: Tensor, n: int | None = None) -> Tensor:
        """A new result of `width` values per token that takes no weights, so runs where its neighbours do."""
        return self.wide(width, *operands, n=n, home=ANYWHERE)

    def embed(self) -> Tensor:
        """Token embeddings; the second input, embeddings given by the caller, is held for the whole graph."""
        n = self.reserve.n_tokens
        tokens = self.input("tokens", I32 * n)
        rows = self.wide(self.hidden, tokens)
        self.graph.ask(rows, self.input("embeddings", F32 * n * self.hidden))
        return rows

    def embed_scaled(self) -> Tensor:
        """Token embeddings times a number, on the device of the first layer."""
        return self.graph.like(self.embed())

    def rms_norm(self, x: Tensor, weighted: bool = True) -> Tensor:
        """Root-mean-square norm; it may write over what it reads."""
        g = self.graph
        if not weighted:
            return g.like(x)
        return g.like(g.like(x), home=g.weight_home)

    def layer_norm(self, x: Tensor, weighted: bool = True) -> Tensor:
        """LayerNorm; it never writes over what it reads."""
        g = self.graph
        if not weighted:
            return g.op(x.n_bytes, x)
        return g.like(g.op(x.n_bytes, x), home=g.weight_home)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """The sum of two tensors of one shape."""
        return self.graph.like(a, b, also_over=b)

    def rope(self, x: Tensor) -> Tensor:
        """Rotary positions."""
        return self.graph.like(x, self.input("positions", I32 * self.reserve.n_tokens * self.n_positions))

    def keep_outputs(self, layer: Layer, *xs: Tensor) -> tuple[Tensor, ...]:
        """In the last layer only the rows of output tokens go on."""
        if not layer.is_last:
            return xs
        return tuple(self.output_rows(x) for x in xs)

    # -- attention -----------------------------------------------------------------------------------------------

    def split_qkv(self, layer: Layer, x: Tensor, fused: bool = False, shaped: bool = True) -> tuple[Tensor, ...]:
        """Queries, keys and values of one layer, from three matrices or one.

        `shaped` False: they stay flat (models that norm them over all heads), which copies them out of a fused one.
        """
        widths = self.qkv_widths(layer)
        if fused:
            one = self.wide(sum(widths), x)
            parts = tuple(self.graph.view(one, F32 * self.reserve.n_tokens * w) for w in widths)
            return parts if shaped else tuple(self.graph.op(p.n_bytes, p) for p in parts)
        made = tuple(self.wide(w, x) for w in widths)
        return tuple(self.graph.view(m) for m in made) if shaped else made

    def qkv_widths(self, layer: Layer) -> tuple[Ints, Ints, Ints]:
        """Values per token of queries, keys and values."""
        return (
            layer.n_heads * layer.head_dim,
            layer.n_kv_heads * layer.head_dim,
            layer.n_kv_heads * layer.head_dim_v,
        )

    def mask(self, layer: Layer) -> Tensor:
        """The attention mask over this layer's cache: one for the whole context, one for windows."""
        name = "mask_window" if layer.is_windowed else "mask"
        return self.input(name, self.reserve.mask_bytes * layer.n_kv_tokens * self.reserve.n_tokens)

    def store_k(self, layer: Layer, k: Tensor) -> Tensor:
        """Keys on their way into the cache."""
        name = "k_rows_window" if layer.is_windowed else "k_rows"
        return self.graph.store(self.graph.view(k), self.input(name, I64 * self.reserve.n_tokens))

    def store_v(self, layer: Layer, v: Tensor, is_contiguous: bool = True) -> Tensor:
        """Values on their way into the cache; without flash attention it is transposed and padded to the widest."""
        g, n = self.graph, self.reserve.n_tokens
        name = "v_rows_window" if layer.is_windowed else "v_rows"
        if self.reserve.flash_attention:
            return g.store(g.view(v), self.input(name, I64 * n))
        flat = g.view(v) if is_contiguous else g.op(v.n_bytes, v)
        width = layer.n_kv_heads * layer.head_dim_v
        if bool((width < self.widest_v).any()):
            flat = g.op(F32 * n * self.widest_v, flat)
        return g.store(g.view(flat), self.input(name, I64 * n * self.widest_v))

    def rotate(self, x: Tensor, which: str) -> Tensor:
        """The rotation that precedes a quantized cache (src/llama-impl.h, `llama_mul_mat_hadamard`)."""
        side = self.rotation[which]
        if not side:
            return x
        matrix = self.input(f"{which}_rotation", F32 * side * side)
        return self.graph.view(self.graph.op(x.n_bytes, matrix, self.graph.view(x)))

    def attend(
        self,
        layer: Layer,
        q: Tensor,
        k: Tensor | None,
        v: Tensor | None,
        *,
        v_is_contiguous: bool = True,
        project: bool = True,
    ) -> Tensor:
        """Store keys and values, attend over the cache, project back to the hidden width."""
        g = self.graph
        cache = "_window" if layer.is_windowed else ""
        q = self.rotate(q, "k" + cache)
        if k is not None:
            k = self.rotate(k, "k" + cache)
        if v is not None and self.rotation["v" + cache]:
            v = self.rotate(v if v_is_contiguous else g.op(v.n_bytes, v), "v" + cache)
            v_is_contiguous = True
        late = (k, v) if self.separate_windows else (v, k)
        g.ask(q, *(t for t in late if t is not None))
        if k is not None:
            g.ask(self.store_k(layer, k))
        if v is not None:
            g.ask(self.store_v(layer, v, v_is_contiguous))
        cur = self.attend_cached(layer, q, layer.n_heads, layer.head_dim_v)
        cur = self.rotate(cur, "v" + cache)
        return self.wide(self.hidden, cur) if project else cur

    def cache_home(self, layer: Layer) -> int:
        """The device of the cache a layer reads: its own, or that of the last layer like it that has one."""
        if not layer.has("shares_kv"):
            return layer.home
        own = [x.home for x in self.layers if x.is_windowed == layer.is_windowed and not x.has("shares_kv")]
        return own[-1] if own else layer.home

    def cached_k(self, layer: Layer, width: Ints) -> Tensor:
        """A look at `width` values of each row of a layer's K cache, over all streams."""
        cells = layer.n_kv_tokens * self.reserve.n_streams
        return self.graph.cached(cells * self.reserve.k_row_bytes(width), self.cache_home(layer))

    def cached_v(self, layer: Layer, width: Ints) -> Tensor:
        """A look at `width` values of each row of a layer's V cache, over all streams."""
        cells = layer.n_kv_tokens * self.reserve.n_streams
        return self.graph.cached(cells * self.reserve.v_row_bytes(width), self.cache_home(layer))

    def halve(self, seen: Tensor, block: tuple[int, int]) -> Tensor:
        """What is read of a cache with blocks of this kind: itself, or its copy in f16 where it is kept in f32, which
        flash attention cannot read."""
        if block != (1, F32) or seen.span is None:
            return seen
        return self.graph.op(seen.span // 2, seen)

    def attend_cached(self, layer: Layer, q: Tensor, n_heads: Ints, v_dim: Ints, mask: Tensor | None = None) -> Tensor:
        """Attention over the cache: with flash attention its result alone, without it all scores of all heads."""
        g, n = self.graph, self.reserve.n_tokens
        seen = g.view(g.view(q))
        mask = mask or self.mask(layer)
        keys = self.cached_k(layer, layer.n_kv_heads * layer.head_dim)
        values = self.cached_v(layer, layer.n_kv_heads * layer.head_dim_v)
        if self.reserve.flash_attention:
            keys, values = self.halve(keys, self.reserve.k_block), self.halve(values, self.reserve.v_block)
            cur = g.view(self.free(n_heads * v_dim, seen, keys, values, mask))
        else:
            scores = g.op(F32 * layer.n_kv_tokens * n * n_heads, keys, seen)
            weighted = self.free(n_heads * v_dim, values, g.like(scores, mask))
            cur = g.op(weighted.n_bytes, g.view(weighted))
        g.ask(cur)
        return cur

    # -- feed-forward --------------------------------------------------------------------------------------------

    def ffn(self, x: Tensor, width: Ints, form: str = "gated", out: Ints | None = None) -> Tensor:
        """A feed-forward block: 'gated' (two matrices in), 'fused' (both in one), 'plain' (one, activation over it)."""
        n = self.tokens(x) if out is None else self.reserve.n_tokens
        g = self.graph
        if form == "gated":
            gate, up = self.wide(width, x, n=n), self.wide(width, x, n=n)
            mid = self.free(width, gate, up, n=n)
        elif form == "fused":
            mid = self.free(width, self.wide(2 * width, x, n=n), n=n)
        else:
            mid = g.like(self.wide(width, x, n=n))
        return self.wide(self.hidden if out is None else out, mid, n=n)

    def moe(
        self,
        layer: Layer,
        x: Tensor,
        *,
        gating: str = "softmax",
        biased: bool = False,
        normed: bool = True,
        scaled: bool = False,
        form: str = "gated",
        groups: int = 1,
        logits: Tensor | None = None,
        weight_first: bool = False,
        width: Ints | None = None,
        activate: Callable[[Frame, Tensor, Tensor], Tensor] | None = None,
        chosen: Tensor | None = None,
    ) -> Tensor:
        """Routed experts (llama-graph.cpp, `build_moe_ffn`): choose, weigh, run the chosen, add them up.

        `gating` 'softmax', 'sigmoid', 'sqrt_softplus' or 'after' (softmax over the chosen); `biased`: a bias takes
        part in the choice only; `normed`: weights of the chosen sum to one; `scaled`: and are scaled;
        `form` 'gated', 'merged' (gate and up in one) or 'plain'; `weight_first`: inputs are weighted, not outputs.
        `width` is the width experts work on, the hidden width unless given. `activate` joins gate and up where that
        is not one operation. `chosen`: the experts are given.
        """
        g = self.graph
        hidden = self.hidden if width is None else width
        n = int(x.n_bytes[0] // (F32 * int(hidden[0]))) if logits is None else self.reserve.n_tokens
        n_experts, n_active, ffn = layer.n_experts, layer.n_active_experts, layer.expert_ffn_dim
        logits = logits or self.wide(n_experts, x, n=n)
        probs = logits if gating == "after" else g.like(logits)
        if gating == "sqrt_softplus":
            probs = g.like(probs)
        choice = g.like(probs) if biased else probs
        if groups > 1:
            choice = self._mask_groups(layer, choice, n, groups)
        if weight_first:
            choice = logits
        if chosen is None:
            order = self.free(n_experts, choice, n=n)
            chosen = g.view(order, I32 * n * n_active, is_strided=True)
        weights = self.free(n_active, g.view(probs), chosen, n=n)
        if gating == "after":
            weights = g.view(g.like(g.view(weights)))
        if normed:
            flat = g.view(weights)
            total = g.like(g.op(F32 * n, flat))
            weights = g.view(g.like(flat, total))
        if scaled:
            weights = g.like(weights)
        g.ask(weights)
        cur = g.view(x)
        if weight_first:
            cur = g.like(g.op(F32 * n * n_active * hidden, cur), weights)
        per_expert = n_active * ffn
        there = g.expert_home
        if form == "merged":
            both = self.wide(2 * per_expert, cur, chosen, n=n, home=there)
            mid = self.free(per_expert, g.view(both), g.view(both), n=n)
        elif form == "gated":
            gate, up = (self.wide(per_expert, cur, chosen, n=n, home=there) for _ in range(2))
            mid = activate(self, gate, up) if activate else self.free(per_expert, gate, up, n=n)
        else:
            mid = g.like(self.wide(per_expert, cur, chosen, n=n, home=there))
        experts = self.wide(n_active * hidden, mid, chosen, n=n, home=there)
        if not weight_first:
            experts = g.like(experts, weights)
        g.ask(experts)
        return self._sum_experts(experts, int(n_active[0]), hidden, n)

    def _sum_experts(self, experts: Tensor, n_active: int, hidden: Ints, n: int) -> Tensor:
        g = self.graph
        parts = [g.view(experts, F32 * n * hidden) for _ in range(n_active)]
        g.ask(*parts)
        total = parts[0]
        for part in parts[1:]:
            total = g.like(total, part)
            g.ask(total)
        return g.op(total.n_bytes, total) if n_active == 1 else total

    def _mask_groups(self, layer: Layer, choice: Tensor, n: int, groups: int) -> Tensor:
        """Experts outside the best groups are masked out of the choice."""
        g = self.graph
        grouped = g.view(choice)

        def wide(width: Ints | int, *operands: Tensor) -> Tensor:
            return self.free(width, *operands, n=n)

        best_two = g.view(wide(layer.n_experts, grouped))
        scores = g.view(wide(groups, g.view(wide(2 * groups, g.view(grouped), best_two))))
        best = g.view(wide(groups, scores))
        n_used = self.models["n_groups_used"]
        kept = self.free(layer.n_experts // groups * n_used, grouped, best, n=n)
        return g.view(g.write(g.like(grouped), kept, best))

    # -- head ----------------------------------------------------------------------------------------------------

    def output_rows(self, x: Tensor) -> Tensor:
        """The rows of output tokens."""
        n = self.reserve.n_outputs
        return self.graph.op(x.n_bytes // self.reserve.n_tokens * n, x, self.input("output_ids", I32 * n))

    def logits(self, normed: Tensor) -> None:
        """Logits of normed states; both stay for the caller."""
        normed.is_kept = True
        logits = self.wide(self.vocab, normed, n=self.reserve.n_outputs)
        logits.is_kept = True
        self.graph.ask(logits)


@dataclass(frozen=True, slots=True)
class Straight:
    """Contexts over which all sizes of a graph move in straight lines: every `step`-th from `least` to `most`.

    Counted in pads of cells of one stream (`sizing.kv_cache.CELL_PAD`).
    """

    step: int = 1
    least: int = 1
    most: int = 2**40

    def within(self, least: int, most: int) -> Straight:
        """The part of it between two contexts."""
        return Straight(self.step, max(self.least, least), min(self.most, most))

    def beside(self, n_pads: int, last_under: int, first_over: int) -> Straight:
        """The side of a bend that a context is on: up to `last_under`, from `first_over`, or between them alone."""
        if n_pads >= first_over:
            return self.within(first_over, self.most)
        if n_pads <= last_under:
            return self.within(1, last_under)
        return self.within(n_pads, n_pads)


def never_bends(layers: Sequence[Layer], models: dict[str, Ints], reserve: Reserve, n_pads: int) -> Straight:
    """Every size is a number plus another one times the cells of the cache."""
    return Straight()


@dataclass(frozen=True, slots=True)
class Program:
    """An architecture's graph: how it starts, what one layer does, how it ends.

    `every_layer`: runs of equal layers may not be cut, for each layer holds memory from the start. `is_causal` False:
    tokens see those behind them too, so a batch is not bound by the context. `find_straight` says, for models that
    share a graph, over which contexts around one all sizes move in straight lines.
    """

    step: Callable[[Frame, Layer, Tensor], Tensor]
    start: Callable[[Frame], Tensor] = Frame.embed
    head: Callable[[Frame, Tensor], None] = lambda f, x: f.logits(f.rms_norm(x))
    every_layer: bool = False
    is_causal: bool = True
    find_straight: Callable[[Sequence[Layer], dict[str, Ints], Reserve, int], Straight] = never_bends

"""ExLlamaV2 and ExLlamaV3: quantized weights of any average width on NVIDIA cards, with a quantized cache.

Read from https://github.com/turboderp-org/exllamav2 (exllamav2/cache.py, architecture.py, linear.py) and
https://github.com/turboderp-org/exllamav3 (README.md, doc/convert.md, exllamav3/cache/quant.py, cache/mla.py,
architecture/architectures.py) as of November 2026. Both reserve the cache when they load, keep every token whatever a
layer's window, leave the token embedding in the host's memory and fill one card after another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sizing.engines.base import Engine, EngineEstimate, EngineSetup
from sizing.engines.cache_bytes import (
    CacheRule,
    LayerState,
    find_indexer_width,
    has_compressed_cache,
    has_latent,
    has_window,
    keep_all,
    list_layer_states,
)
from sizing.engines.card_answer import CardUse, build_answer
from sizing.engines.model_bytes import FormatBytes, count_format_bytes, fill_devices
from sizing.engines.prompt_bytes import count_prompt_bytes
from sizing.engines.registry import register_engine
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.formats import EXL2_BITS, EXL3_BITS, EXL_HEAD_BITS
from sizing.hardware import Device
from sizing.memory import Parts
from sizing.placement import ACCELERATOR_OVERHEAD_BYTES
from sizing.specs import Attention, ModelSpec
from sizing.tensors import find_architecture
from sizing.units import GIB, format_bytes, format_tokens

PAGE_TOKENS = 256
"""Tokens of a cache page in both (`PAGE_SIZE`)."""

CHUNK_TOKENS = 2048
"""Tokens of a prompt read at once (`max_input_len` of V2, `max_chunk_size` of V3)."""

GROUP = 32
"""Values of a cache row that share a scale of 16 bits."""

PROCESS_BYTES = 1 * GIB
"""Assumed: Python with PyTorch and the engine loaded, in the host's memory."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What sets the two apart.

    `kv_bits` gives bits of keys and of values by cache type, scales not counted. `keeps_plain_layer` is true where a
    quantized cache is unpacked into one plain layer for each card. `parallel` are GGUF architectures that can be
    divided by tensor parallelism, None for all.
    """

    name: str
    architectures: frozenset[str]
    formats: tuple[str, ...]
    kv_bits: dict[str, tuple[int, int]]
    keeps_plain_layer: bool
    parallel: frozenset[str] | None
    source_url: str
    summary: str


V2 = Generation(
    "ExLlamaV2",
    frozenset(
        "llama qwen2 qwen2vl qwen3 qwen3moe gemma gemma2 gemma3 command-r cohere2 phi3 granite deci mistral3".split()
    ),
    (*(f"EXL2-{b}" for b in EXL2_BITS), "GPTQ", "BF16"),
    {"fp16": (16, 16), "q8": (8, 8), "q6": (8, 4), "q4": (4, 4)},
    True,
    frozenset({"llama", "qwen2", "deci"}),
    "https://github.com/turboderp-org/exllamav2",
    "EXL2 files on NVIDIA cards: older models, any width from 2 to 8 bits",
)
V3 = Generation(
    "ExLlamaV3",
    frozenset(
        "llama qwen2 qwen2vl qwen3 qwen3moe qwen3next qwen35 qwen35moe qwen3vl qwen3vlmoe gemma2 gemma3 gemma4 "
        "command-r cohere2 deci deepseek2 ernie4_5 ernie4_5-moe glm4moe glm-dsa gpt-oss lfm2 lfm2moe minimax-m2 "
        "mistral3 nemotron_h nemotron_h_moe phi3 seed_oss smollm3 step35".split()
    ),
    (*(f"EXL3-{b}" for b in EXL3_BITS), "BF16"),
    {"fp16": (16, 16), "q8": (8, 8), "q6": (6, 6), "q5": (5, 5), "q4": (4, 4), "q3": (3, 3), "q2": (2, 2)},
    False,
    None,
    "https://github.com/turboderp-org/exllamav3",
    "EXL3 files on NVIDIA cards: the smallest weights for their quality, tensor parallel on any cards",
)
"""GGUF names of the architectures each README and architecture table lists; Q6 of V2 keeps keys in 8 bits and values
in 4 (cache.py, `ExLlamaV2Cache_Q6`). V3 takes any pair from 2 to 8 bits."""


def find_exllama_gap(setup: EngineSetup, engine: Generation) -> str | None:
    """Why the engine cannot run this at all, or None."""
    if not setup.machine.accelerators:
        return f"{engine.name} wants an NVIDIA card; it computes nothing on a processor"
    other = sorted({d.backend for d in setup.machine.accelerators} - {"cuda"})
    if other:
        return f"{engine.name} has kernels for CUDA only, not for {', '.join(other)}"
    if setup.spec.architecture not in engine.architectures:
        return f"{engine.name} does not know the architecture of {setup.spec.name} ({setup.spec.architecture})"
    if setup.spec.extra("embedding_length_per_layer_input") is not None:
        return f"{engine.name} does not run models with an embedding for every layer"
    if setup.weight_format not in engine.formats:
        return f"{engine.name} does not read {setup.weight_format}; it reads {', '.join(engine.formats)}"
    try:
        find_architecture(setup.spec)
    except UnsupportedError as error:
        return str(error)
    if has_compressed_cache(setup.spec):
        return f"the compressed cache of {setup.spec.name} is not described for {engine.name}"
    return _find_split_gap(setup, engine)


def _find_split_gap(setup: EngineSetup, engine: Generation) -> str | None:
    n_ranks, n_cards = setup.options.tensor_parallel or 1, len(setup.machine.accelerators)
    if n_ranks not in (1, n_cards):
        return f"{engine.name} divides a model over all {n_cards} cards or none, not over {n_ranks}"
    if n_ranks > 1 and engine.parallel is not None and setup.spec.architecture not in engine.parallel:
        return f"{engine.name} has no tensor parallelism for {setup.spec.architecture}"
    return None


def find_kv_bits(engine: Generation, kv_type: str) -> tuple[int, int]:
    """Bits of keys and values: a name of the engine, 'auto', or for V3 a pair such as 'q6/q4'.

    Raises UnknownNameError.
    """
    name = "fp16" if kv_type == "auto" else kv_type.lower()
    if name in engine.kv_bits:
        return engine.kv_bits[name]
    k, slash, v = name.partition("/")
    widths = {f"q{b}": b for b in range(2, 9)}
    if engine is V3 and slash and k in widths and v in widths:
        return widths[k], widths[v]
    raise UnknownNameError(f"{engine.name} cache type", kv_type, engine.kv_bits)


def make_cache_rule(engine: Generation, kv_bits: tuple[int, int]) -> CacheRule:
    """How the engine caches: pages of 256 tokens, a 16-bit scale for 32 values where they are quantized.

    V3 keeps the rotary part of latent attention in 16 bits, and quantizes the latent row with the keys' bits.
    """
    k_bits, v_bits = (b + (16 / GROUP if b < 16 else 0) for b in kv_bits)

    def count_row_bytes(k: int, v: int, attention: Attention) -> float:
        if attention.latent is not None:
            plain = attention.latent.rope_head_dim
            return ((k - plain) * k_bits + plain * 16) / 8 + find_indexer_width(attention) * 2
        return (k * k_bits + v * v_bits) / 8

    def count_tokens(tokens: int, attention: Attention) -> int:
        return keep_all(-(-tokens // PAGE_TOKENS) * PAGE_TOKENS, attention)

    return CacheRule(count_row_bytes, count_tokens, lambda r: r.conv_kernel)


def hold_weights(spec: ModelSpec, weight_format: str, n_ranks: int = 1) -> FormatBytes:
    """What the engine keeps. A tied head is a quantized copy of its own; the embedding stays in 16 bits on the host."""
    held = count_format_bytes(spec, weight_format, n_ranks)
    if not spec.tied_embeddings or not weight_format.startswith("EXL"):
        return held
    head = round(-(-spec.vocab_size // n_ranks) * spec.hidden_dim * EXL_HEAD_BITS / 8)
    return replace(held, end_bytes=held.end_bytes + head, head_bytes=head)


def count_compute_bytes(setup: EngineSetup, engine: Generation, kv_bits: tuple[int, int]) -> int:
    """What lives beside weights and cache on each card: a chunk of a prompt, a matrix unpacked, a layer unpacked.

    Products of many tokens run in 16 bits: the largest matrix is unpacked first (V2 linear.py `temp_dq`, V3 likewise).
    V2 keeps one layer's cache in 16 bits on each card where the cache is quantized (cache.py, `temp_tensors`).
    """
    spec = setup.spec
    tokens = min(setup.context_tokens * setup.n_parallel, setup.options.max_batched_tokens or CHUNK_TOKENS)
    largest = count_format_bytes(spec, setup.weight_format).largest_matrix if setup.weight_format != "BF16" else 0
    plain = 0
    if engine.keeps_plain_layer and min(kv_bits) < 16:
        rule = make_cache_rule(engine, (16, 16))
        plain = max(s.cache_bytes for s in list_layer_states(spec, rule, setup.context_tokens, setup.n_parallel))
    return count_prompt_bytes(spec, tokens) + 2 * largest + plain + spec.vocab_size * setup.n_parallel * 4


def estimate_exllama(setup: EngineSetup, engine: Generation) -> EngineEstimate:
    """Memory by card, speed and fit. Raises UnsupportedError for what cannot run, UnknownNameError for a cache type."""
    gap = find_exllama_gap(setup, engine)
    if gap is not None:
        raise UnsupportedError(gap)
    if setup.options.pipeline_parallel is not None:
        raise BadInputError(f"{engine.name} has no pipeline_parallel; it fills cards in turn or takes tensor_parallel")
    n_ranks, kv_bits = setup.options.tensor_parallel or 1, find_kv_bits(engine, setup.kv_type)
    held, whole = (hold_weights(setup.spec, setup.weight_format, n) for n in (n_ranks, 1))
    states = list_layer_states(setup.spec, make_cache_rule(engine, kv_bits), setup.context_tokens, setup.n_parallel)
    compute = count_compute_bytes(setup, engine, kv_bits)
    cards = setup.machine.accelerators
    if n_ranks > 1:
        uses = [_use_rank(d, held, states, compute, n_ranks, setup.spec) for d in cards]
    else:
        uses = _fill_cards(cards, held, states, compute)
    return build_answer(
        setup,
        engine.name,
        uses,
        host_bytes=PROCESS_BYTES + whole.embedding_bytes,
        assumptions=tuple(list_assumptions(setup, whole)),
        differences=tuple(list_differences(setup, engine, whole, states, kv_bits)),
        tensor_parallel=n_ranks,
        held=whole,
    )


def _overhead(device: Device) -> int:
    return ACCELERATOR_OVERHEAD_BYTES.get(device.backend, 0)


def _fill_cards(
    cards: Sequence[Device], held: FormatBytes, states: Sequence[LayerState], compute: int
) -> list[CardUse]:
    """Layers with their caches fill one card after another (`load_autosplit`); the head follows the last."""
    blocks = tuple(w + s.cache_bytes + s.state_bytes for w, s in zip(held.layer_bytes, states, strict=True))
    limits = tuple(d.usable_bytes - _overhead(d) - compute for d in cards)
    placed = fill_devices((*blocks, held.end_bytes), limits)
    uses = []
    for card, device in enumerate(cards):
        layers = [i for i, at in enumerate(placed[:-1]) if at == card]
        is_used = bool(layers) or placed[-1] == card
        parts = Parts(
            weight_bytes=sum(held.layer_bytes[i] for i in layers) + (held.end_bytes if placed[-1] == card else 0),
            kv_cache_bytes=sum(states[i].cache_bytes for i in layers),
            recurrent_state_bytes=sum(states[i].state_bytes for i in layers),
            compute_bytes=compute if is_used else 0,
            overhead_bytes=_overhead(device) if is_used else 0,
        )
        uses.append(CardUse(device, parts, len(layers)))
    return uses


def _use_rank(
    device: Device, held: FormatBytes, states: Sequence[LayerState], compute: int, n_ranks: int, spec: ModelSpec
) -> CardUse:
    """One rank: its part of every matrix, of the heads' caches and of states; a latent cache is whole on each."""
    cache = 0
    for group in spec.groups:
        heads = group.attention.n_kv_heads if group.attention is not None else 0
        whole = sum(states[i].cache_bytes for i in group.layers)
        latent = group.attention is not None and group.attention.latent is not None
        cache += whole if latent else round(whole * -(-heads // n_ranks) / max(heads, 1))
    parts = Parts(
        weight_bytes=sum(held.layer_bytes) + held.end_bytes,
        kv_cache_bytes=cache,
        recurrent_state_bytes=sum(-(-s.state_bytes // n_ranks) for s in states),
        compute_bytes=compute,
        overhead_bytes=_overhead(device),
    )
    return CardUse(device, parts, spec.n_layers, n_ranks)


def list_assumptions(setup: EngineSetup, held: FormatBytes) -> Iterator[str]:
    """What the figures take for granted."""
    yield (
        f"{setup.n_parallel} requests of {format_tokens(setup.context_tokens)} tokens each, prompts read in steps of "
        f"{format_tokens(setup.options.max_batched_tokens or CHUNK_TOKENS)}"
    )
    yield (
        f"on the host: {format_bytes(PROCESS_BYTES)} for the process (assumed) and the token embedding, "
        f"{format_bytes(held.embedding_bytes)}"
    )
    if setup.spec.n_params_projector:
        yield "the vision or audio tower is part of the checkpoint and is not counted"


def list_differences(
    setup: EngineSetup,
    engine: Generation,
    held: FormatBytes,
    states: Sequence[LayerState],
    kv_bits: tuple[int, int],
) -> Iterator[str]:
    """What the engine does otherwise than llama.cpp here, each with its figure."""
    cache = sum(s.cache_bytes for s in states)
    k, v = kv_bits
    if min(kv_bits) < 16:
        plain = list_layer_states(setup.spec, make_cache_rule(engine, (16, 16)), setup.context_tokens, setup.n_parallel)
        yield (
            f"cache of {k} and {v} bits with a scale for every {GROUP} values: {format_bytes(cache)} instead of "
            f"{format_bytes(sum(s.cache_bytes for s in plain))} in 16 bits"
        )
    if has_window(setup.spec):
        yield f"layers with a window cache every token too, where llama.cpp keeps windows: {format_bytes(cache)} in all"
    if setup.weight_format.startswith("EXL"):
        head = f"{format_bytes(held.head_bytes)} of output head in {EXL_HEAD_BITS:.0f} bits"
        yield (
            f"the average of {setup.weight_format.partition('-')[2]} bits is over the layers' matrices; beside them "
            f"{head}, and {format_bytes(held.embedding_bytes)} of embedding in 16 bits in the host's memory"
        )
    if has_latent(setup.spec) and (setup.options.tensor_parallel or 1) > 1:
        yield f"latent attention's cache cannot be divided: each card holds all {format_bytes(cache)}"
    yield "nothing runs on the host's processor: what does not fit the cards does not load"


def _register(engine: Generation) -> Engine:
    return register_engine(
        Engine(
            name=engine.name,
            formats=engine.formats,
            kv_types=tuple(engine.kv_bits),
            backends=frozenset({"cuda"}),
            estimate=lambda setup: estimate_exllama(setup, engine),
            find_gap=lambda setup: find_exllama_gap(setup, engine),
            source_url=engine.source_url,
            summary=engine.summary,
        )
    )


EXLLAMA_V2 = _register(V2)
EXLLAMA_V3 = _register(V3)

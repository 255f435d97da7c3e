"""Hugging Face Transformers: `from_pretrained(..., device_map="auto")` and `generate`.

Read from Transformers 5.24 (https://github.com/huggingface/transformers/tree/v5.24.0/src/transformers): cache_utils.py
(what each kind of layer caches), integrations/accelerate.py (which layer goes to which card), integrations/
bitsandbytes.py and awq.py (only `nn.Linear` is replaced), generation/utils.py (logits of the last token only, the
whole prompt at once unless `prefill_chunk_size`). tests/golden/transformers_*.csv hold what it answers itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sizing.engines.base import Engine, EngineEstimate, EngineSetup
from sizing.engines.cache_bytes import (
    CacheRule,
    LayerState,
    find_indexer_width,
    has_compressed_cache,
    has_latent,
    has_window,
    keep_all,
    keep_window,
    list_layer_states,
)
from sizing.engines.card_answer import CardUse, build_answer, check_context, list_cards
from sizing.engines.model_bytes import FormatBytes, count_format_bytes, fill_devices, keep_experts_whole
from sizing.engines.prompt_bytes import count_expansion_bytes, count_prompt_bytes, count_score_bytes
from sizing.engines.registry import register_engine
from sizing.errors import UnknownNameError, UnsupportedError
from sizing.formats import find_format
from sizing.hardware import Device, DeviceKind
from sizing.memory import Parts
from sizing.placement import ACCELERATOR_OVERHEAD_BYTES
from sizing.specs import Attention, ModelSpec
from sizing.tensors import find_architecture
from sizing.units import GIB, MIB, format_bytes, format_tokens
from sizing.weights import has_head

NAME = "Transformers"
FORMATS = ("BF16", "LLM.int8", "NF4", "NF4-single", "AWQ", "GPTQ", "GPTQ-8bit", "MXFP4")
BITSANDBYTES = frozenset({"LLM.int8", "NF4", "NF4-single"})
CALIBRATED = frozenset({"AWQ", "GPTQ", "GPTQ-8bit"})
BACKENDS = frozenset({"cpu", "cuda", "rocm", "metal", "sycl", "hpu"})
"""Devices PyTorch computes on, by `Device.backend`."""

KV_BITS = {"bf16": 16.0, "fp8": 8.0, "int8": 8.5, "int4": 4.5}
"""Bits of a cached value: `cache_implementation="quantized"` with FP8 (one scale a tensor), or HQQ and Quanto in
groups of 64 with a scale and a zero point of 16 bits (cache_utils.py, `QuantizedLayer`)."""

EAGER_ONLY = frozenset({"gemma2", "gpt-oss"})
"""GGUF names of architectures that have no fused attention in PyTorch (`_supports_sdpa` is not set), so that all scores
of a layer are kept unless the flash-attn package is installed."""

ONE_CARD_SHARE = 0.9
"""Share of a single card that `device_map="auto"` gives weights (integrations/accelerate.py, `get_balanced_memory`)."""
BNB_SHARE = 0.9
"""Share of each card's allowance that bitsandbytes leaves them (quantizers/quantizer_bnb_4bit.py)."""
LIMIT_SLACK = 1.25
"""What a card may hold beyond its even part, in sizes of the largest block (`get_balanced_memory`)."""

PROCESS_BYTES = 1 * GIB
"""Assumed: Python with PyTorch and Transformers loaded, in the host's memory."""
WORKSPACE_BYTES = 32 * MIB
"""cuBLAS workspace of a card, `CUBLAS_WORKSPACE_CONFIG` of Hopper; older cards take 8 MiB
(https://docs.nvidia.com/cuda/cublas/#cublassetworkspace)."""
ROUNDING_BYTES = 1 * MIB
"""Half of the 2 MiB that PyTorch's allocator rounds large blocks up to, for each tensor of a cache
(https://pytorch.org/docs/stable/notes/cuda.html#memory-management)."""


def find_transformers_gap(setup: EngineSetup) -> str | None:
    """Why Transformers cannot run this at all, or None."""
    unknown = sorted({d.backend for d in list_cards(setup)} - BACKENDS)
    if unknown:
        return f"PyTorch has no backend for {', '.join(unknown)}"
    try:
        find_architecture(setup.spec)
    except UnsupportedError as error:
        return str(error)
    if has_compressed_cache(setup.spec):
        return f"the compressed cache of {setup.spec.name} is not described for Transformers"
    if setup.weight_format not in FORMATS:
        return f"Transformers is not sized for {setup.weight_format} here; it is for {', '.join(FORMATS)}"
    return _find_format_gap(setup)


def _find_format_gap(setup: EngineSetup) -> str | None:
    backends = {d.backend for d in list_cards(setup)}
    if setup.weight_format in BITSANDBYTES and "metal" in backends:
        return "bitsandbytes has no kernels for Metal"
    if setup.weight_format in CALIBRATED | {"MXFP4"} and backends & {"cpu", "metal"}:
        return f"the {setup.weight_format} kernels want a CUDA, ROCm or XPU card"
    if setup.weight_format in CALIBRATED and setup.spec.is_moe:
        return (
            f"experts are one stacked tensor in Transformers 5, which its {setup.weight_format} loader does not replace"
        )
    if setup.weight_format == "MXFP4" and setup.spec.architecture != "gpt-oss":
        return "Transformers loads MXFP4 of gpt-oss only"
    return None


def hold_weights(spec: ModelSpec, weight_format: str) -> FormatBytes:
    """What Transformers keeps: bitsandbytes replaces linear layers only, experts are stacked tensors and stay whole."""
    held = count_format_bytes(spec, weight_format)
    if weight_format in BITSANDBYTES and spec.is_moe:
        return keep_experts_whole(held, count_format_bytes(spec, "BF16"))
    return held


def make_cache_rule(kv_type: str) -> CacheRule:
    """How `generate` caches: windows are honoured by a plain cache, a quantized one keeps every token.

    Latent attention caches its compressed row. Convolutions keep as many columns as their kernel is long.
    """
    bits = KV_BITS[kv_type]

    def count_row_bytes(k: int, v: int, attention: Attention) -> float:
        return (k + v) * bits / 8 + find_indexer_width(attention) * 2

    def count_tokens(tokens: int, attention: Attention) -> int:
        return keep_window(tokens, attention, -1) if kv_type == "bf16" else keep_all(tokens, attention)

    return CacheRule(count_row_bytes, count_tokens, lambda r: r.conv_kernel)


def find_kv_type(kv_type: str) -> str:
    """The cache type, the default for 'auto'. Raises UnknownNameError."""
    found = "bf16" if kv_type == "auto" else kv_type.lower()
    if found not in KV_BITS:
        raise UnknownNameError("Transformers cache type", kv_type, KV_BITS)
    return found


def list_layer_caches(setup: EngineSetup) -> tuple[LayerState, ...]:
    """Cache and state of each layer with every request at its full length."""
    rule = make_cache_rule(find_kv_type(setup.kv_type))
    return list_layer_states(setup.spec, rule, setup.context_tokens, setup.n_parallel)


def split_layers(held: FormatBytes, cards: Sequence[Device], weight_format: str = "BF16") -> tuple[int, ...]:
    """The card of the embedding, of each layer and of the output end, as `device_map="auto"` gives them.

    Each card but the last may hold its even part and 1.25 of the largest block; the first leaves room for the largest
    that is still to come, the head unless it is the embedding.
    """
    blocks = (held.embedding_bytes, *held.layer_bytes, held.end_bytes)
    layer = max(held.layer_bytes)
    even = held.total_bytes // len(cards) + int(LIMIT_SLACK * max(layer, held.embedding_bytes, held.head_bytes))
    scale = BNB_SHARE if weight_format in BITSANDBYTES else 1.0
    limits = [int(min(even, d.usable_bytes) * scale) for d in cards]
    if len(cards) > 1:
        limits[0] -= max(layer, held.end_bytes)
    return fill_devices(blocks, tuple(limits))


def count_compute_bytes(setup: EngineSetup, caches: Sequence[LayerState]) -> int:
    """Most that lives beside weights and cache on a card: a prompt's activations, or one step's copies.

    A prompt is read whole, or in steps of `max_batched_tokens` (`prefill_chunk_size`). The cache of a layer is copied
    each time it grows by a token, keys first; a quantized one is unpacked; a latent one is expanded for all heads.
    """
    spec, n = setup.spec, setup.n_parallel
    queries = min(setup.context_tokens, setup.options.max_batched_tokens or setup.context_tokens)
    prompt = count_prompt_bytes(spec, n * queries) + count_expansion_bytes(spec, n, setup.context_tokens)
    if spec.architecture in EAGER_ONLY:
        prompt += count_score_bytes(spec, n, queries, setup.context_tokens)
    elif n > 1:
        prompt += n * queries * setup.context_tokens  # the mask of padded prompts, a byte a pair
    held_format = find_format(setup.weight_format)
    if setup.weight_format in BITSANDBYTES and held_format.bits < 8:
        prompt += 2 * count_format_bytes(spec, setup.weight_format).largest_matrix
    logits = spec.vocab_size * n * 6 if has_head(spec) else 0
    bits = KV_BITS[find_kv_type(setup.kv_type)]
    layer = max((c.cache_bytes for c in caches), default=0)
    step = round(layer * 16 / bits) if bits < 16 else layer // 2
    return max(prompt, step + count_expansion_bytes(spec, n, setup.context_tokens)) + logits


def estimate_transformers(setup: EngineSetup) -> EngineEstimate:
    """Memory by card, speed and fit.

    Raises UnsupportedError for what cannot run, BadInputError for too long a context, UnknownNameError for a cache.
    """
    gap = find_transformers_gap(setup)
    if gap is not None:
        raise UnsupportedError(gap)
    check_context(setup)
    cards, held, caches = list_cards(setup), hold_weights(setup.spec, setup.weight_format), list_layer_caches(setup)
    placed = split_layers(held, cards, setup.weight_format)
    compute = count_compute_bytes(setup, caches)
    uses = [_use_card(d, i, held, caches, placed, compute) for i, d in enumerate(cards)]
    differences = tuple(list_differences(setup, held, caches, compute, placed))
    return build_answer(
        setup,
        NAME,
        uses,
        host_bytes=PROCESS_BYTES,
        assumptions=tuple(list_assumptions(setup)),
        differences=differences,
        held=held,
    )


def _use_card(
    device: Device,
    card: int,
    held: FormatBytes,
    caches: Sequence[LayerState],
    placed: Sequence[int],
    compute: int,
) -> CardUse:
    layers = [i for i, at in enumerate(placed[1:-1]) if at == card]
    ends = (held.embedding_bytes if placed[0] == card else 0) + (held.end_bytes if placed[-1] == card else 0)
    is_host = device.kind is not DeviceKind.GPU
    driver = PROCESS_BYTES if is_host else ACCELERATOR_OVERHEAD_BYTES.get(device.backend, 0) + WORKSPACE_BYTES
    is_used = bool(layers) or ends > 0
    return CardUse(
        device,
        Parts(
            weight_bytes=sum(held.layer_bytes[i] for i in layers) + ends,
            kv_cache_bytes=sum(caches[i].cache_bytes for i in layers),
            recurrent_state_bytes=sum(caches[i].state_bytes for i in layers),
            compute_bytes=compute + 2 * len(layers) * ROUNDING_BYTES if is_used else 0,
            overhead_bytes=driver if is_used else 0,
        ),
        len(layers),
    )


def list_assumptions(setup: EngineSetup) -> Iterator[str]:
    """What the figures take for granted."""
    chunk = setup.options.max_batched_tokens
    how = f"in steps of {format_tokens(chunk)} (prefill_chunk_size)" if chunk else "at once"
    yield (
        f"{setup.n_parallel} requests of {format_tokens(setup.context_tokens)} tokens each in one batch, prompts of "
        f"that length read {how}"
    )
    yield (
        f"overhead: {format_bytes(PROCESS_BYTES)} for the process on the host, the driver's context and "
        f"{format_bytes(WORKSPACE_BYTES)} of workspace on each card (assumed)"
    )
    if setup.spec.n_params_projector:
        yield "the vision or audio tower is part of the checkpoint and is not counted"


def list_differences(
    setup: EngineSetup,
    held: FormatBytes,
    caches: Sequence[LayerState],
    compute: int,
    placed: Sequence[int],
) -> Iterator[str]:
    """What Transformers does otherwise than llama.cpp here, each with its figure."""
    spec, n = setup.spec, setup.n_parallel
    cache = sum(c.cache_bytes for c in caches)
    per_token = sum(c.cache_bytes for c in list_layer_states(spec, make_cache_rule("bf16"), 1, n))
    yield (
        f"the cache grows as it goes: {format_bytes(per_token)} a token, {format_bytes(cache)} only when "
        f"{format_tokens(setup.context_tokens)} tokens are reached; llama.cpp reserves it at the start"
    )
    if setup.options.max_batched_tokens is None:
        chunked = count_prompt_bytes(spec, 512 * n)
        yield (
            f"a prompt is read at once: {format_bytes(compute)} of activations where it fills the context, "
            f"{format_bytes(chunked)} with prefill_chunk_size=512"
        )
    if spec.architecture in EAGER_ONLY:
        scores = count_score_bytes(spec, n, setup.context_tokens, setup.context_tokens)
        yield f"no fused attention without the flash-attn package: {format_bytes(scores)} of scores for one layer"
    if has_latent(spec):
        yield (
            "latent attention caches the compressed row as llama.cpp does, but expands it for all heads at each step: "
            f"{format_bytes(count_expansion_bytes(spec, n, setup.context_tokens))} of a layer's keys and values"
        )
    if has_window(spec) and find_kv_type(setup.kv_type) != "bf16":
        yield "a quantized cache keeps every token of layers with a window too"
    if setup.weight_format in BITSANDBYTES and spec.is_moe:
        yield (
            "bitsandbytes replaces linear layers only: the experts stay in 16 bits, "
            f"{format_bytes(sum(held.expert_bytes))} of the {format_bytes(held.total_bytes)}"
        )
    cards = list_cards(setup)
    if len(cards) == 1 and held.total_bytes > ONE_CARD_SHARE * cards[0].usable_bytes:
        yield (
            f'device_map="auto" gives weights {ONE_CARD_SHARE:.0%} of a single card, '
            f"{format_bytes(ONE_CARD_SHARE * cards[0].usable_bytes)} here: pass the device itself"
        )
    if len(set(placed)) > 1:
        yield "cards work one after another, each on its own layers (device_map), as llama.cpp's layer split"
    yield "layers that do not fit the cards go to the host's memory at a great loss of speed: not sized here"


TRANSFORMERS = register_engine(
    Engine(
        name=NAME,
        formats=FORMATS,
        kv_types=tuple(KV_BITS),
        backends=BACKENDS,
        estimate=estimate_transformers,
        find_gap=find_transformers_gap,
        source_url="https://github.com/huggingface/transformers",
        summary="the published checkpoint in PyTorch: first to run a new model, slow at one request",
    )
)

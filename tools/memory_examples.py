"""The formulas of memory worked out for known models; what `tools/formula_examples.py` says of all holds here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from catalog.queries import find_model
from catalog.queries import find_weights as load_weights
from catalog.store import Catalog, open_catalog
from sizing.compute import estimate_compute_bytes, estimate_output_bytes
from sizing.engines.offers import Offer, count_bits_per_weight
from sizing.kv_cache import count_stream_cells, estimate_kv_cache_bytes
from sizing.layers import LayerTable
from sizing.lessons import (
    VLLM_BLOCK_TOKENS,
    count_batch_logit_bytes,
    count_batch_score_bytes,
    estimate_growth,
    find_wavelengths,
    reserve_pages,
    reserve_slots,
)
from sizing.memory import WeightBytes
from sizing.quants import GGML_TYPES
from sizing.specs import Attention, ModelSpec
from sizing.workload import Workload

DENSE, SPARSE, LATENT = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-30B-A3B", "deepseek-ai/DeepSeek-V3"
WINDOWED, RECURRENT = "google/gemma-3-12b-it", "tiiuae/Falcon-H1-7B-Instruct"
QUANT, CONTEXT_TOKENS = "Q4_K_M", 8192


@dataclass(frozen=True, slots=True)
class Example:
    """One formula worked out: of what, with which numbers, what the equation gives and what the function says.

    `by_hand` is None where there is no closed form, only a rule that the function plays through. `unit` is in words.
    """

    of_what: str
    with_numbers: str
    by_hand: float | None
    value: float
    unit: str


@cache
def open_facts() -> Catalog:
    """The catalog, opened once."""
    return open_catalog()


def load_spec(model: str = DENSE) -> ModelSpec:
    """A model's shapes."""
    return find_model(open_facts(), model).spec


def load_model_weights(model: str = DENSE, quant: str = QUANT) -> WeightBytes:
    """A model's weights in a quantization."""
    return load_weights(open_facts(), find_model(open_facts(), model), quant)


def find_attention(spec: ModelSpec) -> Attention:
    """The attention of a model's first layers that attend."""
    found = next(g.attention for g in spec.groups if g.attention is not None)
    assert found is not None
    return found


def _row() -> tuple[Example, ...]:
    kind, n = GGML_TYPES["q4_K"], load_spec().hidden_dim
    numbers = f"{n:,} / {kind.block_elements} × {kind.block_bytes}"
    by_hand = n / kind.block_elements * kind.block_bytes
    return (Example(f"a row of {n:,} values in {kind.name}", numbers, by_hand, kind.row_bytes(n), "bytes"),)


def _weight_bytes() -> tuple[Example, ...]:
    w = load_model_weights()
    layers = sum(w.layer_bytes)
    numbers = f"{w.input_bytes:,} + {layers:,} + {w.output_bytes:,}"
    by_hand = w.input_bytes + layers + w.output_bytes
    return (Example(f"Llama 3.1 8B at {QUANT}", numbers, by_hand, w.tensor_bytes, "bytes"),)


def _bits() -> tuple[Example, ...]:
    spec, w = load_spec(), load_model_weights()
    numbers = f"8 × {w.tensor_bytes:,} / {spec.n_params:,}"
    value = count_bits_per_weight(spec, Offer(QUANT, w))
    return (Example(f"Llama 3.1 8B at {QUANT}", numbers, 8 * w.tensor_bytes / spec.n_params, value, "bits"),)


def _width() -> tuple[Example, ...]:
    a, latent = find_attention(load_spec()), find_attention(load_spec(LATENT))
    assert latent.latent is not None
    row, rotated = latent.latent.kv_lora_rank, latent.latent.rope_head_dim
    heads = f"{a.n_kv_heads} × {a.head_dim}"
    return (
        Example("Llama 3.1 8B, GQA", heads, a.n_kv_heads * a.head_dim, a.cached_k_width, "values"),
        Example("DeepSeek V3, MLA", f"{row} + {rotated}", row + rotated, latent.cached_k_width, "values"),
    )


def _token() -> tuple[Example, ...]:
    spec = load_spec()
    a = find_attention(spec)
    numbers = f"{spec.n_layers} × ({a.cached_k_width:,} + {a.cached_v_width:,}) × 2"
    by_hand = spec.n_layers * (a.cached_k_width + a.cached_v_width) * 2
    value = estimate_growth(spec, Workload(CONTEXT_TOKENS))
    return (Example("Llama 3.1 8B, f16", numbers, by_hand, value, "bytes"),)


def _cache() -> tuple[Example, ...]:
    spec = load_spec()
    found = []
    for kv_type, bits in (("f16", 16.0), ("q8_0", 8.5)):
        workload = Workload(CONTEXT_TOKENS, kv_type_k=kv_type, kv_type_v=kv_type)
        width = find_attention(spec).cached_k_width
        numbers = f"{spec.n_layers} × {CONTEXT_TOKENS:,} × ({width:,} × {bits / 8:g} + {width:,} × {bits / 8:g})"
        by_hand = spec.n_layers * CONTEXT_TOKENS * 2 * width * bits / 8
        value = int(estimate_kv_cache_bytes(LayerTable.from_specs([spec]), workload).kv_cache_bytes[0])
        found.append(Example(f"Llama 3.1 8B, {CONTEXT_TOKENS:,} tokens, {kv_type}", numbers, by_hand, value, "bytes"))
    return tuple(found)


def _cells() -> tuple[Example, ...]:
    value = int(count_stream_cells(LayerTable.from_specs([load_spec()]), Workload(5000))[0])
    return (Example("Llama 3.1 8B, 5,000 tokens", "256 × ⌈5,000 / 256⌉", 256 * math.ceil(5000 / 256), value, "cells"),)


def _window() -> tuple[Example, ...]:
    spec, workload = load_spec(WINDOWED), Workload(32_768)
    table = LayerTable.from_specs([spec])
    row = int(np.argmax(table.rows["window_tokens"]))
    window = int(table.rows["window_tokens"][row])
    numbers = f"256 × ⌈min(32,768, {window:,} + {workload.n_ubatch}) / 256⌉"
    by_hand = 256 * math.ceil(min(32_768, window + workload.n_ubatch) / 256)
    value = int(count_stream_cells(table, workload)[row])
    return (Example("Gemma 3 12B, 32,768 tokens", numbers, by_hand, value, "cells"),)


def _state() -> tuple[Example, ...]:
    spec = load_spec(RECURRENT)
    (group,) = (g for g in spec.groups if g.recurrent is not None)
    assert group.recurrent is not None
    conv, state = group.recurrent.conv_elements, group.recurrent.state_elements
    numbers = f"4 × 1 × {group.count} × ({conv:,} + {state:,})"
    found = estimate_kv_cache_bytes(LayerTable.from_specs([spec]), Workload(CONTEXT_TOKENS))
    by_hand, value = 4 * group.count * (conv + state), int(found.recurrent_state_bytes[0])
    return (Example("Falcon H1 7B, one user", numbers, by_hand, value, "bytes"),)


def _slots() -> tuple[Example, ...]:
    value = reserve_slots([1000, 3000], CONTEXT_TOKENS).reserved_tokens
    return (
        Example("two users of 1,000 and 3,000 tokens", f"2 × {CONTEXT_TOKENS:,}", 2 * CONTEXT_TOKENS, value, "tokens"),
    )


def _pages() -> tuple[Example, ...]:
    page, value = VLLM_BLOCK_TOKENS, reserve_pages([1000, 3000]).reserved_tokens
    by_hand = page * math.ceil(1000 / page) + page * math.ceil(3000 / page)
    numbers = f"{page} × ⌈1,000 / {page}⌉ + {page} × ⌈3,000 / {page}⌉"
    return (Example("two users of 1,000 and 3,000 tokens", numbers, by_hand, value, "tokens"),)


def _turn() -> tuple[Example, ...]:
    base, width = load_spec().extra("rope.freq_base"), find_attention(load_spec()).head_dim
    assert isinstance(base, (int, float))
    last = width // 2 - 1
    by_hand, value = 2 * math.pi * base ** (2 * last / width), find_wavelengths(float(base), width)[last]
    numbers = f"2π × {base:,.0f}^(2 × {last} / {width})"
    return (Example("Llama 3.1 8B, its slowest pair", numbers, by_hand, value, "tokens"),)


def _compute() -> tuple[Example, ...]:
    value = int(estimate_compute_bytes(LayerTable.from_specs([load_spec()]), Workload(CONTEXT_TOKENS))[0])
    played = "the graph of 512 tokens, played through the allocator"
    return (Example(f"Llama 3.1 8B, {CONTEXT_TOKENS:,} tokens, on a processor", played, None, value, "bytes"),)


def _logits() -> tuple[Example, ...]:
    spec, workload = load_spec(), Workload(CONTEXT_TOKENS)
    by_hand = 4 * workload.n_ubatch * spec.vocab_size
    numbers = f"4 × {workload.n_ubatch} × {spec.vocab_size:,}"
    return (Example("Llama 3.1 8B", numbers, by_hand, count_batch_logit_bytes(spec, workload), "bytes"),)


def _scores() -> tuple[Example, ...]:
    spec, workload = load_spec(), Workload(CONTEXT_TOKENS, flash_attention=False)
    heads = find_attention(spec).n_heads
    by_hand = 4 * workload.n_ubatch * CONTEXT_TOKENS * heads
    numbers = f"4 × {workload.n_ubatch} × {CONTEXT_TOKENS:,} × {heads}"
    return (Example("Llama 3.1 8B", numbers, by_hand, count_batch_score_bytes(spec, workload), "bytes"),)


def _output() -> tuple[Example, ...]:
    spec = load_spec()
    value = int(estimate_output_bytes(LayerTable.from_specs([spec]), Workload(CONTEXT_TOKENS, 4))[0])
    return (Example("Llama 3.1 8B, 4 users", f"4 × 4 × {spec.vocab_size:,}", 16 * spec.vocab_size, value, "bytes"),)


MEMORY: dict[str, Callable[[], tuple[Example, ...]]] = {
    "row": _row,
    "weights": _weight_bytes,
    "bits": _bits,
    "width": _width,
    "token": _token,
    "cache": _cache,
    "cells": _cells,
    "window": _window,
    "state": _state,
    "slots": _slots,
    "pages": _pages,
    "turn": _turn,
    "compute": _compute,
    "logits": _logits,
    "scores": _scores,
    "output": _output,
}

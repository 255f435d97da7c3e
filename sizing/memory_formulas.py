"""The formulas of memory: weights, caches and buffers, each in words and in TeX."""

from __future__ import annotations

from sizing.compute import estimate_compute_bytes, estimate_output_bytes
from sizing.engines.offers import count_bits_per_weight
from sizing.formula import Formula
from sizing.kv_cache import CELL_PAD, count_stream_cells, estimate_kv_cache_bytes
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
from sizing.quants import GgmlType
from sizing.specs import Attention

WEIGHTS = {
    "row": Formula(
        "bytes of a row of a tensor",
        "values of the row / values of a block x bytes of a block",
        r"B_\text{row} = \frac{n}{e}\, s",
        (("n", "values of the row"), ("e", "values of a block of the type"), ("s", "bytes of a block")),
        GgmlType.row_bytes,
        "ggml/src/ggml-common.h of llama.cpp, `block_q4_K` and its kin.",
    ),
    "weights": Formula(
        "weights",
        "token embedding + layers + output head, each tensor in the type llama.cpp's own quantizer gives it",
        r"B_\text{weights} = B_\text{embedding} + \sum_{l=1}^{L} B_l + B_\text{head}",
        (
            (r"B_\text{embedding}", "bytes of the token embedding"),
            ("B_l", "bytes of layer l of L, experts included"),
            (r"B_\text{head}", "bytes of the final norm and the output head; of a tied head the norm alone"),
        ),
        WeightBytes.tensor_bytes,
    ),
    "bits": Formula(
        "bits for each weight",
        "8 x bytes of all tensors / parameters",
        r"b = \frac{8\, B_\text{weights}}{N}",
        ((r"B_\text{weights}", "bytes of all tensors"), ("N", "parameters of the model")),
        count_bits_per_weight,
    ),
}

CACHES = {
    "width": Formula(
        "K width = V width",
        "KV heads x width of a head; for MLA one row, kept once",
        r"w_K = \begin{cases} h_\text{KV}\, d & \text{MHA, GQA, MQA} \\ r + d_\text{rope} & \text{MLA} \end{cases}",
        (
            ("w_K", "values of K for a token and layer; V likewise, and none for MLA"),
            (r"h_\text{KV}", "heads of keys and values: all heads for MHA, one for MQA"),
            ("d", "width of a head"),
            ("r", "rank of the compressed row"),
            (r"d_\text{rope}", "width of its rotated part"),
        ),
        Attention.cached_k_width,
        "GQA: arXiv:2305.13245; MQA: arXiv:1911.02150; MLA: arXiv:2405.04434, section 2.1.",
    ),
    "token": Formula(
        "bytes for a token",
        "layers x (K width + V width) x bytes of the type",
        r"B_\text{token} = \sum_{g} n_g \left( w_{K,g} + w_{V,g} \right) \beta",
        (
            ("n_g", "layers of kind g"),
            ("w_{K,g}, w_{V,g}", "values of K and of V for a token and layer"),
            (r"\beta", "bytes of a value in the cache's type: 2 for f16"),
        ),
        estimate_growth,
    ),
    "cache": Formula(
        "KV cache",
        "layers x cells x (K width x bytes of K + V width x bytes of V), for each kind of layer",
        r"B_\text{KV} = \sum_{g} n_g\, c_g \left( w_{K,g}\, \beta_K + w_{V,g}\, \beta_V \right)",
        (
            ("n_g", "layers of kind g"),
            ("c_g", "cells of such a layer over all slots"),
            ("w_{K,g}, w_{V,g}", "values of K and of V for a token and layer"),
            (r"\beta_K, \beta_V", "bytes of a value of K and of V"),
        ),
        estimate_kv_cache_bytes,
        "src/llama-kv-cache.cpp of llama.cpp.",
    ),
    "cells": Formula(
        "cells of a layer that sees the whole context",
        "context, in pads of 256",
        rf"c = {CELL_PAD} \left\lceil \frac{{T}}{{{CELL_PAD}}} \right\rceil",
        (("T", "tokens of context of one slot"),),
        count_stream_cells,
        "src/llama-context.cpp of llama.cpp, constructor.",
    ),
    "window": Formula(
        "cells of a layer with a window",
        "window + micro-batch, in pads of 256, never more than the context",
        rf"c = {CELL_PAD} \left\lceil \frac{{\min(c_T,\; W + u)}}{{{CELL_PAD}}} \right\rceil",
        (("c_T", "cells of the whole context"), ("W", "tokens of the window"), ("u", "tokens of the micro-batch")),
        count_stream_cells,
        "src/llama-kv-cache-iswa.cpp of llama.cpp, `size_swa`.",
    ),
    "state": Formula(
        "recurrent state",
        "layers x users x (convolution + state elements) x 4 bytes",
        r"B_\text{state} = 4\, U \sum_{g} n_g \left( e_{\text{conv},g} + e_{\text{state},g} \right)",
        (
            ("U", "users, each with a state of their own"),
            ("n_g", "recurrent layers of kind g"),
            (r"e_\text{conv}, e_\text{state}", "values of the convolution's and of the recurrence's state, in 32 bits"),
        ),
        estimate_kv_cache_bytes,
        "Mamba-2: arXiv:2405.21060; gated delta networks: arXiv:2412.06464.",
    ),
    "slots": Formula(
        "cache places in slots",
        "users x context",
        r"P_\text{slots} = U\, T",
        (("U", "users"), ("T", "tokens of a slot")),
        reserve_slots,
        "arXiv:2309.06180, section 3.",
    ),
    "pages": Formula(
        "cache places in pages",
        f"the sum of each length rounded up to whole pages; less than {VLLM_BLOCK_TOKENS} of a user are empty",
        r"P_\text{pages} = \sum_{u=1}^{U} p \left\lceil \frac{l_u}{p} \right\rceil",
        (("l_u", "tokens user u has now"), ("p", f"tokens of a page, {VLLM_BLOCK_TOKENS} in vLLM")),
        reserve_pages,
        "arXiv:2309.06180, sections 4.3 and 7.2; 16 tokens is vLLM's default (vllm/config/cache.py).",
    ),
    "turn": Formula(
        "tokens for one turn of pair i",
        "2 pi x base^(2i / width)",
        r"\lambda_i = 2 \pi\, \theta^{2i / d}",
        ((r"\theta", "base of the rotation"), ("d", "values of a head that are rotated"), ("i", "pair, from 0")),
        find_wavelengths,
        "Su et al. 2021, arXiv:2104.09864, section 3.2.2; YaRN: arXiv:2309.00071.",
    ),
}

BUFFERS = {
    "compute": Formula(
        "compute",
        "the largest of the graph's phases (logits, attention, feed-forward) for one batch of n_ubatch tokens",
        r"B_\text{compute} = \max_{i} \left( o_i + s_i \right)",
        (
            ("i", "tensors of the graph of one batch"),
            ("o_i", "where llama.cpp's allocator, replayed, puts tensor i: the best free place at that moment"),
            ("s_i", "bytes of tensor i, padded"),
        ),
        estimate_compute_bytes,
        "ggml/src/ggml-alloc.c of llama.cpp.",
    ),
    "logits": Formula(
        "logits",
        "n_ubatch x vocabulary x 4 bytes",
        r"B_\text{logits} = 4\, u\, V",
        (("u", "tokens computed at once, n_ubatch"), ("V", "entries of the vocabulary")),
        count_batch_logit_bytes,
    ),
    "scores": Formula(
        "scores",
        "n_ubatch x context x heads x 4 bytes",
        r"B_\text{scores} = 4\, u\, T\, h",
        (("u", "tokens computed at once"), ("T", "tokens of context"), ("h", "heads of queries")),
        count_batch_score_bytes,
    ),
    "output": Formula(
        "output",
        "slots x vocabulary x 4 bytes: the logits handed back",
        r"B_\text{output} = 4\, U\, V",
        (("U", "slots"), ("V", "entries of the vocabulary")),
        estimate_output_bytes,
        "src/llama-context.cpp of llama.cpp, `output_reserve`.",
    ),
}

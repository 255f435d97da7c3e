"""KV cache and recurrent state as llama.cpp allocates them, to the byte, for one model or a whole catalog.

Read from the source that llama-cpp-python 0.3.36 vendors: src/llama-context.cpp (padding of the context),
src/llama-kv-cache.cpp (slots, streams, transposed V), src/llama-kv-cache-iswa.cpp (window cells),
src/llama-kv-cache-dsa.cpp, -msa.cpp, -dsv4.cpp and src/llama-memory-hybrid-idx.cpp (indexer keys, compressed
caches), src/llama-memory-recurrent.cpp. https://github.com/abetlen/llama-cpp-python/tree/v0.3.36/vendor
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sizing.layers import Ints, LayerTable
from sizing.quants import GgmlType
from sizing.specs import ModelSpec
from sizing.workload import Workload

CELL_PAD = 256
"""Cells are padded to this many tokens (llama-context.cpp, `GGML_PAD(cparams.n_ctx, 256)`)."""

STATE_BYTES = 4
"""Recurrent and compressor states are f32 whatever the cache types (llama-model.cpp, `create_memory`)."""

CHUNK_TOKENS = 8192
"""Llama 4's attention chunk, fixed in llama.cpp (src/models/llama4.cpp)."""

_WINDOWED = """
    afmoe cohere2 cohere2moe deepseek4 dots3note exaone-moe exaone4 gemma2 gemma3 gemma3n gemma4 gpt-oss granite-swa
    laguna lfm2 lfm2moe llama4 maple mellum mimo2 muse-glimmer olmo2 plamo3 smallthinker step35
"""
WINDOWED = frozenset(_WINDOWED.split())
"""Architectures whose windows llama.cpp honours (src/models, `swa_type`); all others cache the whole context."""

DSV4_RATIO_INDEXED, DSV4_RATIO_PLAIN = 4, 128
"""DeepSeek-V4's two compressions (llama-kv-cache-dsv4.cpp, `DSV4_CSA_RATIO`, `DSV4_HCA_RATIO`)."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Token cells of a workload, all in tokens.

    `n_ctx` is the engine's whole context, `n_ctx_seq` the cells of one stream, `n_streams` how many of them,
    `n_ubatch` the physical batch after the engine's limits.
    """

    n_ctx: int
    n_ctx_seq: int
    n_streams: int
    n_seqs: int
    n_ubatch: int

    @classmethod
    def from_workload(cls, workload: Workload) -> Cells:
        """What llama.cpp makes of the request (llama-context.cpp, constructor)."""
        n_batch = min(workload.n_ctx_tokens, workload.n_batch)
        n_ctx = pad(workload.n_ctx_tokens)
        n_ctx_seq = n_ctx if workload.kv_unified else pad(n_ctx // workload.n_parallel)
        return cls(
            n_ctx=n_ctx if workload.kv_unified else n_ctx_seq * workload.n_parallel,
            n_ctx_seq=n_ctx_seq,
            n_streams=1 if workload.kv_unified else workload.n_parallel,
            n_seqs=workload.n_parallel,
            n_ubatch=min(n_batch, workload.n_ubatch),
        )


@dataclass(frozen=True, slots=True)
class KvCacheBytes:
    """Bytes per model, and bytes of ONE layer per row of the table (rows stand for `count` layers)."""

    kv_cache_bytes: Ints
    recurrent_state_bytes: Ints
    row_kv_cache_bytes: Ints
    row_recurrent_state_bytes: Ints


def pad(n_tokens: int) -> int:
    """Tokens rounded up to whole pads of cells."""
    return -(-n_tokens // CELL_PAD) * CELL_PAD


def estimate_kv_cache_bytes(table: LayerTable, workload: Workload) -> KvCacheBytes:
    """KV cache and recurrent state of every model of the table under one workload, in bytes.

    K is `cells x streams x k_width` in the K type; V likewise, and with flash attention off every layer's V is as
    wide as the widest (the cache is stored transposed). MLA has no V. Indexers add their own cache of keys.
    """
    cells = Cells.from_workload(workload)
    row_cells = count_row_cells(table, workload)
    v_width = _v_width(table, workload)
    per_layer = row_cells * (
        _row_bytes(workload.type_k, table.rows["k_width"]) + _row_bytes(workload.type_v, v_width)
    ) + _indexer_bytes(table, workload, cells)
    per_layer += _compressed_bytes(table, workload, cells)
    state = (
        STATE_BYTES
        * cells.n_seqs
        * (table.rows["conv_elements"] + table.rows["state_elements"] + _compressor_state_elements(table))
    )
    count = table.rows["count"]
    return KvCacheBytes(
        kv_cache_bytes=table.sum_rows(per_layer * count),
        recurrent_state_bytes=table.sum_rows(state * count),
        row_kv_cache_bytes=per_layer,
        row_recurrent_state_bytes=state,
    )


def count_row_cells(table: LayerTable, workload: Workload) -> Ints:
    """Cells of the main cache of one layer, over all streams: the context, or what a sliding window needs."""
    return count_stream_cells(table, workload) * _streams(table, Cells.from_workload(workload))


def count_stream_cells(table: LayerTable, workload: Workload, n_stream_cells: int | None = None) -> Ints:
    """Cells of the main cache of one layer in one stream (llama-kv-cache-iswa.cpp, `size_swa`).

    `n_stream_cells` is what a stream holds, if it is not what the workload's context comes to.
    """
    cells = Cells.from_workload(workload)
    n_ctx_seq = cells.n_ctx_seq if n_stream_cells is None else n_stream_cells
    full = np.full_like(table.rows["count"], n_ctx_seq)
    if workload.swa_full:
        return full
    in_model = table.rows["model"]
    is_llama4 = table.has_architecture(frozenset({"llama4"}))[in_model]
    window = np.where(is_llama4, CHUNK_TOKENS, table.rows["window_tokens"])
    keeps_one_stream = table.has_architecture(frozenset({"deepseek4"}))[in_model] | (not workload.kv_unified)
    wanted = window * np.where(keeps_one_stream, 1, cells.n_seqs) + cells.n_ubatch
    windowed = -(-np.minimum(n_ctx_seq, wanted) // CELL_PAD) * CELL_PAD
    honoured = table.has_architecture(WINDOWED)[in_model] & (table.rows["window_tokens"] > 0)
    return np.where(honoured, windowed, full)


def _streams(table: LayerTable, cells: Cells) -> Ints:
    """Streams of a row's cache: DeepSeek-V4 keeps one per sequence even when the cache is unified."""
    is_dsv4 = table.has_architecture(frozenset({"deepseek4"}))[table.rows["model"]]
    return np.where(is_dsv4, cells.n_seqs, cells.n_streams)


def _v_width(table: LayerTable, workload: Workload) -> Ints:
    """Elements of V per token and layer; transposed caches pad every layer to the model's widest."""
    width = np.where(table.has_architecture(frozenset({"deepseek4"}))[table.rows["model"]], 0, table.rows["v_width"])
    if workload.flash_attention:
        return width
    padded: Ints = table.max_rows(width)[table.rows["model"]] * table.rows["has_slot"]
    return np.where(table.rows["kv_lora_rank"] == 0, padded, 0)


def _row_bytes(kind: GgmlType, width: Ints) -> Ints:
    """Bytes of one token's row of `width` elements, in whole blocks."""
    return -(-width // kind.block_elements) * kind.block_bytes


def _indexer_bytes(table: LayerTable, workload: Workload, cells: Cells) -> Ints:
    """Keys of a sparse-attention indexer, one head per token and layer, in the K type.

    MiniMax-M3's indexer cache carries values as well; GLM-5-Next's holds key, gate and pooled values.
    """
    in_model = table.rows["model"]
    dim = table.rows["indexer_dim"]
    pooled = (table.has_architecture(frozenset({"glm5-next"})) & (table.models["indexer_pool"] > 0))[in_model]
    with_values = table.has_architecture(frozenset({"minimax-m3"}))[in_model]
    compressed = table.has_architecture(frozenset({"deepseek4"}))[in_model]
    k = _row_bytes(workload.type_k, np.where(compressed, 0, dim * np.where(pooled, 3, 1)))
    v = _row_bytes(workload.type_v, np.where(with_values & (dim > 0), table.rows["head_dim_v"], 0))
    return (k + v) * cells.n_ctx_seq * cells.n_streams


def _compressed_bytes(table: LayerTable, workload: Workload, cells: Cells) -> Ints:
    """DeepSeek-V4's compressed keys: the context over the layer's ratio, and the indexer's at the finer ratio."""
    ratio = table.rows["compress_ratio"]
    compressed = (cells.n_ctx_seq + ratio - 1) // np.maximum(ratio, 1)
    n_cells = (compressed + CELL_PAD - 1) // CELL_PAD * CELL_PAD * cells.n_seqs
    width = _row_bytes(workload.type_k, table.rows["k_width"])
    indexed = np.where(ratio == DSV4_RATIO_INDEXED, _row_bytes(workload.type_k, table.rows["indexer_dim"]), 0)
    return np.where(ratio > 0, n_cells * (width + indexed), 0)


def _compressor_state_elements(table: LayerTable) -> Ints:
    """DeepSeek-V4's compressor states per sequence: keys and scores of the tokens not yet compressed."""
    ratio, k_width = table.rows["compress_ratio"], table.rows["k_width"]
    indexed = 2 * (2 * DSV4_RATIO_INDEXED) * 2 * (k_width + table.rows["indexer_dim"])
    plain = 2 * DSV4_RATIO_PLAIN * k_width
    return np.where(ratio == DSV4_RATIO_INDEXED, indexed, np.where(ratio == DSV4_RATIO_PLAIN, plain, 0))


def find_cache_refusal(spec: ModelSpec, workload: Workload) -> str | None:
    """Why llama.cpp refuses these cache types for a model, or None (llama-context.cpp, `llama_init_from_model`).

    Latent attention keeps one cache, so K and V must have one type; quantized types need heads of whole blocks.
    """
    attends = [g.attention for g in spec.groups if g.attention is not None]
    if workload.kv_type_k != workload.kv_type_v and (
        spec.architecture == "deepseek4" or any(a.latent is not None for a in attends)
    ):
        asked = f"K ({workload.kv_type_k}) and V ({workload.kv_type_v})"
        return f"{asked} must have one type: latent attention keeps one cache"
    for a in attends:
        for side, kind, width in (("K", workload.type_k, a.head_dim), ("V", workload.type_v, a.head_dim_v)):
            if a.latent is None and width % kind.block_elements:
                return (
                    f"{side} in {kind.name} needs heads of whole blocks of {kind.block_elements}, they are {width} wide"
                )
    return None

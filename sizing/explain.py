"""Every figure opens to its formula, with the values put in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sizing.estimate import Estimate
from sizing.formulas import FORMULAS
from sizing.kv_cache import count_row_cells, estimate_kv_cache_bytes
from sizing.layers import LayerTable
from sizing.lessons import count_batch_logit_bytes, count_batch_score_bytes
from sizing.memory import DeviceUse, WeightBytes
from sizing.specs import ModelSpec
from sizing.units import format_bytes, format_tokens
from sizing.workload import Workload


@dataclass(frozen=True, slots=True)
class PartFormula:
    """One part of the memory: its formula in words, the same with values, and the bytes it comes to."""

    part: str
    formula: str
    with_values: tuple[str, ...]
    n_bytes: int


def explain_parts(
    spec: ModelSpec, weights: WeightBytes, workload: Workload, estimate: Estimate
) -> tuple[PartFormula, ...]:
    """The formulas behind an estimate, part by part, in the order of the memory bar."""
    parts = estimate.memory.parts
    return (
        PartFormula(
            "weights",
            FORMULAS["weights"].words,
            _weight_lines(spec, weights, parts.weight_bytes),
            parts.weight_bytes,
        ),
        PartFormula(
            "KV cache",
            FORMULAS["cache"].words,
            _kv_lines(spec, workload),
            parts.kv_cache_bytes,
        ),
        PartFormula(
            "recurrent state",
            FORMULAS["state"].words,
            _recurrent_lines(spec, workload),
            parts.recurrent_state_bytes,
        ),
        PartFormula(
            "compute",
            FORMULAS["compute"].words,
            _compute_lines(spec, workload, estimate.memory.devices),
            parts.compute_bytes,
        ),
        PartFormula(
            "output",
            FORMULAS["output"].words,
            (f"{workload.n_parallel} x {spec.vocab_size:,} x 4 = {format_bytes(parts.output_bytes)}",),
            parts.output_bytes,
        ),
        PartFormula(
            "overhead",
            "server process, driver contexts, and host weights copied to a card for prompts (assumed)",
            tuple(f"{d.name}: {format_bytes(d.parts.overhead_bytes)}" for d in estimate.memory.devices),
            parts.overhead_bytes,
        ),
    )


def _weight_lines(spec: ModelSpec, weights: WeightBytes, placed_bytes: int) -> tuple[str, ...]:
    bits = 8 * weights.tensor_bytes / spec.n_params
    lines = [
        f"embedding {weights.input_bytes:,} + {len(weights.layer_bytes)} layers {sum(weights.layer_bytes):,} "
        f"+ output {weights.output_bytes:,} = {weights.tensor_bytes:,} bytes",
        f"{spec.n_params:,} parameters at {bits:.2f} bits each on average",
    ]
    experts = sum(weights.layer_expert_bytes)
    if experts:
        lines.append(f"of the layers, routed experts are {format_bytes(experts)}")
    more = placed_bytes - weights.tensor_bytes
    if spec.tied_embeddings and more >= weights.token_embedding_bytes:
        lines.append(
            f"the tied output head is held a second time on the accelerator: {weights.token_embedding_bytes:,} bytes"
        )
        more -= weights.token_embedding_bytes
    if more > 0:
        lines.append(f"small vectors held on several devices, and padding: {more:,} bytes")
    return tuple(lines)


def _kv_lines(spec: ModelSpec, workload: Workload) -> tuple[str, ...]:
    table = LayerTable.from_specs([spec])
    cells = count_row_cells(table, workload)
    cache = estimate_kv_cache_bytes(table, workload).row_kv_cache_bytes
    k, v = workload.type_k, workload.type_v
    lines = []
    for row in range(len(cells)):
        count, each = int(table.rows["count"][row]), int(cache[row])
        if not each:
            continue
        k_width, v_width = int(table.rows["k_width"][row]), int(table.rows["v_width"][row])
        line = (
            f"{count} layers x {int(cells[row]):,} cells x ({k_width:,} x {k.bits_per_element / 8:g} ({k.name})"
            f" + {v_width:,} x {v.bits_per_element / 8:g} ({v.name})) bytes"
        )
        plain = int(cells[row]) * (k.row_bytes(k_width) + (v.row_bytes(v_width) if v_width else 0))
        if plain != each:
            line += f" and {format_bytes(count * (each - plain))} of indexer, compressed or padded cache"
        lines.append(f"{line} = {format_bytes(count * each)}")
    without = sum(g.count for g in spec.groups if g.attention is None or not g.attention.has_cache)
    if without:
        lines.append(f"{without} layers keep no cache of their own")
    return tuple(lines) or ("no layer keeps a cache",)


def _recurrent_lines(spec: ModelSpec, workload: Workload) -> tuple[str, ...]:
    lines = []
    for group in spec.groups:
        state = group.recurrent
        if state is not None:
            n_bytes = 4 * group.count * workload.n_parallel * (state.conv_elements + state.state_elements)
            lines.append(
                f"{group.count} layers x {workload.n_parallel} x "
                f"({state.conv_elements:,} + {state.state_elements:,}) x 4 = {format_bytes(n_bytes)}"
            )
    return tuple(lines) or ("no layer is recurrent",)


def _compute_lines(spec: ModelSpec, workload: Workload, devices: Sequence[DeviceUse]) -> tuple[str, ...]:
    tokens = min(workload.n_ubatch, workload.n_ctx_tokens)
    logits = count_batch_logit_bytes(spec, workload)
    lines = [f"logits: {tokens} tokens x {spec.vocab_size:,} vocabulary x 4 = {format_bytes(logits)}"]
    if not workload.flash_attention:
        heads = max((g.attention.n_heads for g in spec.groups if g.attention), default=0)
        scores = count_batch_score_bytes(spec, workload)
        lines.append(
            f"attention scores without flash attention: {tokens} x {format_tokens(workload.context_tokens)}"
            f" x {heads} heads x 4 = {format_bytes(scores)} (twice where softmax copies them)"
        )
    used = [d for d in devices if d.parts.compute_bytes]
    for device in used if len(used) > 1 else ():
        lines.append(f"{device.name}: {format_bytes(device.parts.compute_bytes)}")
    total = sum(d.parts.compute_bytes for d in devices)
    lines.append(
        "llama.cpp's scheduler and allocator, replayed over the graph: what each device's operations need at once, "
        f"copies that cross devices included, over all devices = {format_bytes(total)}"
    )
    return tuple(lines)

"""Answers as JSON records and as text: the stable shapes that the command lines print."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sizing.beside import PairEstimate
from sizing.estimate import Estimate
from sizing.memory import Parts
from sizing.recommend import Option, Recommendation
from sizing.throughput import Interval, SpeedEstimate
from sizing.units import format_bytes, format_range, format_tokens
from sizing.workload import Workload


def parts_record(parts: Parts) -> dict[str, int]:
    """The parts in bytes, by name."""
    return {
        "weight_bytes": parts.weight_bytes,
        "kv_cache_bytes": parts.kv_cache_bytes,
        "recurrent_state_bytes": parts.recurrent_state_bytes,
        "compute_bytes": parts.compute_bytes,
        "output_bytes": parts.output_bytes,
        "overhead_bytes": parts.overhead_bytes,
    }


def interval_record(interval: Interval | None) -> dict[str, float] | None:
    """An interval with four significant figures, or None."""
    if interval is None:
        return None
    return {name: float(f"{getattr(interval, name):.4g}") for name in ("low", "mid", "high")}


def speed_record(speed: SpeedEstimate | None) -> dict[str, Any] | None:
    """The speed of one stream, or None for what cannot run or is unknown."""
    if speed is None:
        return None
    return {
        "decode_tokens_per_s": interval_record(speed.decode_tokens_per_s),
        "prefill_tokens_per_s": interval_record(speed.prefill_tokens_per_s),
        "time_to_first_token_s": interval_record(speed.time_to_first_token_s),
        "bound": speed.bound,
    }


def estimate_record(estimate: Estimate, workload: Workload) -> dict[str, Any]:
    """One configuration as `python -m sizing estimate --json` prints it."""
    memory = estimate.memory
    return {
        "model": memory.model_id,
        "quant": memory.quant,
        "engine": memory.engine,
        "context_tokens": workload.context_tokens,
        "n_parallel": workload.n_parallel,
        "n_ctx_tokens": workload.n_ctx_tokens,
        **answer_record(estimate),
    }


def answer_record(estimate: Estimate) -> dict[str, Any]:
    """Memory by part and device, fit and speed: what an estimate says of any engine."""
    memory = estimate.memory
    return {
        "parts": parts_record(memory.parts),
        "total_bytes": memory.total_bytes,
        "devices": [
            {
                "name": d.name,
                "memory_bytes": d.memory_bytes,
                "usable_bytes": d.usable_bytes,
                **parts_record(d.parts),
                "total_bytes": d.parts.total_bytes,
                "headroom_bytes": d.headroom_bytes,
                "n_layers": d.n_layers,
            }
            for d in memory.devices
        ],
        "n_gpu_layers": estimate.n_gpu_layers,
        "n_cpu_moe": estimate.n_cpu_moe,
        "expert_layers": list(estimate.expert_layers),
        "tensor_split": None if estimate.tensor_split is None else list(estimate.tensor_split),
        "verdict": str(estimate.fit.verdict),
        "headroom_bytes": estimate.fit.headroom_bytes,
        "reasons": list(estimate.fit.reasons),
        "speed": speed_record(estimate.speed),
        "assumptions": list(memory.assumptions),
    }


def pair_record(pair: PairEstimate, workload: Workload) -> dict[str, Any]:
    """A model beside its draft as `python -m sizing estimate --draft --json` prints it."""
    return {
        **estimate_record(pair.main, workload),
        "draft": estimate_record(replace(pair.draft, speed=None), workload),
        "together_bytes": pair.total_bytes,
    }


def format_pair(pair: PairEstimate, workload: Workload) -> str:
    """A model beside its draft as text: the main model, then what the draft takes of each device."""
    draft = pair.draft.memory
    lines = [format_estimate(pair.main, workload)]
    lines.append(f"draft {draft.model_id} {draft.quant}: together {format_bytes(pair.total_bytes)}")
    lines += [
        f"  {d.name} holds {format_bytes(d.parts.total_bytes - d.parts.overhead_bytes)} of it"
        for d in draft.devices
        if d.parts.total_bytes > d.parts.overhead_bytes
    ]
    return "\n".join(lines)


def format_estimate(answer: Estimate, workload: Workload) -> str:
    """One configuration as text, the answer first."""
    memory, fit = answer.memory, answer.fit
    lines = [f"{memory.model_id} {memory.quant} on {memory.engine}: {format_bytes(memory.total_bytes)}, {fit.verdict}"]
    lines += [f"  {reason}" for reason in fit.reasons]
    slots = "1 slot" if workload.n_parallel == 1 else f"{workload.n_parallel} slots"
    lines.append(f"context {format_tokens(workload.context_tokens)} tokens x {slots}")
    return "\n".join([*lines, *list_figures(answer), *(f"- {line}" for line in memory.assumptions)])


def list_figures(answer: Estimate) -> list[str]:
    """The parts of the memory and the speed, a line each."""
    lines, fit = [], answer.fit
    for name, value in parts_record(answer.memory.parts).items():
        label = name.removesuffix("_bytes").replace("_", " ")
        lines.append(f"  {label:<16} {format_bytes(value):>12}  {value:>18,} bytes")
    if answer.speed is None:
        lines.append("speed: unknown" if fit.runs else "speed: none, it does not run")
    else:
        decode, prefill = answer.speed.decode_tokens_per_s, answer.speed.prefill_tokens_per_s
        told = "unknown" if prefill is None else f"{format_range(prefill.low, prefill.high)} tokens/s"
        lines.append(f"decode {format_range(decode.low, decode.high)} tokens/s, {answer.speed.bound}; prefill {told}")
    return lines


def option_record(option: Option, command: str) -> dict[str, Any]:
    """One option of a recommendation."""
    quality = option.candidate.quality
    left = option.quality
    return {
        "model": option.candidate.spec.model_id,
        "name": option.name,
        "quant": option.quant,
        "verdict": str(option.verdict),
        "total_bytes": option.estimate.memory.total_bytes,
        "headroom_bytes": option.estimate.fit.headroom_bytes,
        "license": option.candidate.license_name,
        "quality": None
        if quality is None
        else {"score": quality.score, "low": quality.low, "high": quality.high, "n_scores": quality.n_scores},
        "quant_loss_points": None if option.loss is None else option.loss.points,
        "quality_left": None if left is None else {"score": left.score, "low": left.low, "high": left.high},
        "on_frontier": option.on_frontier,
        "measured_here": [
            {"suite": m.suite, "quant": m.quant, "value": m.value, "low": m.low, "high": m.high, "n_items": m.n_items}
            for m in option.candidate.measured
        ],
        "utility": option.utility,
        "speed": speed_record(option.estimate.speed),
        "reasons": list(option.reasons),
        "command": command,
    }


def recommendation_record(answer: Recommendation, commands: list[str], limit: int) -> dict[str, Any]:
    """A recommendation as `python -m sizing recommend --json` prints it; `commands` go with the options in order."""
    options = [option_record(o, c) for o, c in zip(answer.options[:limit], commands[:limit], strict=True)]
    return {
        "best": options[0] if answer.best is not None and options else None,
        "options": options,
        "ruled_out": [{"model": r.model_id, "kind": r.kind, "reason": r.text} for r in answer.ruled_out],
        "ruled_out_counts": dict(answer.ruled_out_counts),
        "n_running": answer.n_running,
        "what_would_change": list(answer.what_would_change),
        "assumptions": list(answer.assumptions),
    }

"""A solver's answer as JSON and as text: the stable shapes that the command line prints."""

from __future__ import annotations

from typing import Any

from sizing.hardware import Machine
from sizing.record import estimate_record
from sizing.solver import GivenUp, NoSolution, Solution
from sizing.units import format_bytes, format_range, format_tokens


def solution_record(answer: Solution | NoSolution, command: str | None) -> dict[str, Any]:
    """An answer as `python -m sizing solve --json` prints it."""
    if isinstance(answer, NoSolution):
        return {"runs": False, "reason": answer.reason}
    workload = answer.workload
    return {
        "runs": True,
        "quant": answer.quant,
        "kv_type_k": workload.kv_type_k,
        "kv_type_v": workload.kv_type_v,
        "context_tokens": workload.context_tokens,
        "n_parallel": workload.n_parallel,
        "points": round(answer.points, 3),
        "gave_up": [{"what": g.what, "wanted": g.wanted, "got": g.got, "why": g.why} for g in answer.gave_up],
        "estimate": estimate_record(answer.estimate, workload),
        "command": command,
    }


def format_given_up(given: GivenUp) -> str:
    """One thing given up, in a line: 'quantization: Q4_K_S, not Q4_K_M (RTX 4090 would need ...)'."""
    return f"{given.what}: {given.got}, not {given.wanted} ({given.why})"


def format_solution(name: str, machine: Machine, answer: Solution | NoSolution, command: str | None) -> str:
    """An answer as text: the configuration, what it takes and gives, what it does without, the command."""
    if isinstance(answer, NoSolution):
        return f"{name} does not run on {machine.name}: {answer.reason}"
    told, workload = answer.estimate, answer.workload
    slots = "1 user" if workload.n_parallel == 1 else f"{workload.n_parallel} users"
    lines = [
        f"{name} on {machine.name}: {answer.quant}, {format_tokens(workload.context_tokens)} tokens for {slots}, "
        f"{workload.kv_type_k} cache, {told.fit.verdict}"
    ]
    for device in told.memory.devices:
        used, usable = format_bytes(device.parts.total_bytes), format_bytes(device.usable_bytes)
        lines.append(f"  {device.name} holds {used} of {usable} usable, {device.n_layers} layers")
    if told.speed is None:
        lines.append("  speed unknown")
    else:
        decode = told.speed.decode_tokens_per_s
        lines.append(f"  {format_range(decode.low, decode.high)} tokens/s, bound by {told.speed.bound}")
    lines += [f"gave up {format_given_up(given)}" for given in answer.gave_up]
    if not answer.gave_up:
        lines.append("gave up nothing")
    return "\n".join([*lines, command or ""])

"""A plan over several machines as JSON and as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sizing.cluster import Across, ClusterPlan, ClusterRow, describe_fit
from sizing.launch.base import Launch
from sizing.units import format_bytes, format_figures, format_range, format_tokens

ACROSS_WORDS = {
    Across.LAYERS: "each machine holds a group of layers",
    Across.MATRICES: "every layer is shared by all machines",
}


def plan_record(plan: ClusterPlan, launches: Sequence[Launch] = ()) -> dict[str, Any]:
    """A plan for JSON."""
    speed, alone = plan.estimate.speed, plan.speed_without_network
    return {
        "engine": plan.engine,
        "model": plan.setup.spec.model_id,
        "format": plan.setup.weight_format,
        "context_tokens": plan.setup.context_tokens,
        "n_parallel": plan.setup.n_parallel,
        "node": plan.cluster.node.name,
        "n_nodes": plan.cluster.n_nodes,
        "interconnect": asdict(plan.cluster.interconnect),
        "across": plan.across.value,
        "tensor_parallel": plan.tensor_parallel,
        "pipeline_parallel": plan.pipeline_parallel,
        "verdict": plan.estimate.fit.verdict.value,
        "reasons": list(plan.estimate.fit.reasons),
        "total_bytes": plan.estimate.memory.total_bytes,
        "nodes": [
            {
                "number": node.number,
                "total_bytes": node.total_bytes,
                "devices": [
                    {"name": d.name, "usable_bytes": d.usable_bytes, "n_layers": d.n_layers, **asdict(d.parts)}
                    for d in node.devices
                ],
            }
            for node in plan.nodes
        ],
        "largest_context_tokens": plan.largest_context_tokens,
        "speed": None if speed is None else asdict(speed),
        "speed_without_network": None if alone is None else asdict(alone),
        "network": asdict(plan.network),
        "network_share": plan.network_share,
        "launches": [asdict(launch) for launch in launches],
    }


def row_record(row: ClusterRow) -> dict[str, Any]:
    """One row of a table for JSON; `plan` is None where the engine cannot, `reason` says why."""
    plan = None if row.plan is None else plan_record(row.plan)
    return {"n_nodes": row.n_nodes, "engine": row.engine, "reason": row.reason, "plan": plan}


def say_plan(plan: ClusterPlan) -> str:
    """The answer in one sentence."""
    n_nodes, link = plan.cluster.n_nodes, plan.cluster.interconnect.name
    over = f"{n_nodes} machines over {link}" if n_nodes > 1 else "one machine"
    what = f"{plan.setup.spec.name} at {plan.setup.weight_format} in {plan.engine}"
    if not plan.estimate.fit.runs:
        return f"{what} does not fit on {over}."
    speed = plan.estimate.speed
    if speed is None:
        return f"{what} runs on {over}."
    decode = speed.decode_tokens_per_s
    each = "" if plan.setup.n_parallel == 1 else f" for each of {plan.setup.n_parallel} users"
    return f"{what} runs on {over} at {format_range(decode.low, decode.high)} tokens/s{each}."


def list_network_lines(plan: ClusterPlan) -> Iterator[str]:
    """What the network costs, line by line; nothing for one machine."""
    cost, share = plan.network, plan.network_share
    if plan.cluster.n_nodes == 1 or not cost.step_bytes:
        return
    part = "" if share is None else f", {format_figures(100 * share)}% of a step"
    yield (
        f"{plan.cluster.interconnect.label} adds {format_figures(1000 * cost.step_s)} ms to every token{part}: "
        f"{format_bytes(cost.step_bytes)} cross it"
    )
    prompt = format_tokens(plan.setup.context_tokens)
    yield f"a prompt of {prompt} tokens takes {format_figures(cost.prompt_s)} s longer for it"
    if cost.load_s:
        yield f"loading sends the other machines' weights in {format_figures(cost.load_s)} s, the first time"


def format_plan(plan: ClusterPlan, launches: Sequence[Launch] = ()) -> str:
    """A plan as text."""
    lines = [say_plan(plan)]
    if plan.cluster.n_nodes > 1:
        split = f", tensor parallel {plan.tensor_parallel}, pipeline parallel {plan.pipeline_parallel}"
        lines.append(f"  {ACROSS_WORDS[plan.across]}{split if plan.answer is not None else ''}")
    lines.append(f"  {plan.estimate.fit.verdict}: {describe_fit(plan.estimate.fit)}")
    for node in plan.nodes:
        held = ", ".join(f"{d.name} {format_bytes(d.parts.total_bytes)}" for d in node.devices if d.parts.total_bytes)
        lines.append(f"  machine {node.number}: {format_bytes(node.total_bytes)} ({held or 'idle'})")
    lines += [f"  {line}" for line in list_network_lines(plan)]
    if plan.largest_context_tokens:
        lines.append(f"  up to {format_tokens(plan.largest_context_tokens)} tokens of context fit")
    for launch in launches:
        lines += [f"\n# {launch.title} ({launch.file_name})", f"# {launch.note}", launch.text]
    return "\n".join(lines)


def format_rows(rows: Sequence[ClusterRow]) -> str:
    """A table of numbers of machines as text."""
    cells = [("machines", "engine", "verdict", "tokens/s", "network", "largest context", "")]
    for row in rows:
        if row.plan is None:
            cells.append((str(row.n_nodes), row.engine, "cannot", "", "", "", row.reason))
            continue
        plan, speed = row.plan, row.plan.estimate.speed
        decode = "" if speed is None else format_range(speed.decode_tokens_per_s.low, speed.decode_tokens_per_s.high)
        share = "" if not plan.network_share else f"{format_figures(100 * plan.network_share)}%"
        largest = format_tokens(plan.largest_context_tokens) if plan.largest_context_tokens else "none"
        verdict = str(plan.estimate.fit.verdict)
        cells.append((str(row.n_nodes), row.engine, verdict, decode, share, largest, ""))
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)

"""Sentences and formulas of engines' answers: values in, text out. Nothing is worked out here but a quotient."""

from __future__ import annotations

from pages.ui import words
from sizing.engines import Capacity, EngineEstimate
from sizing.units import THIN, format_bytes, format_figures, format_tokens


def list_figures(answer: EngineEstimate, license_name: str | None = None) -> list[str]:
    """What an answer costs and gives: memory and speed, and for a serving engine weights, cache and requests."""
    told, machine = answer.estimate, answer.setup.machine
    if answer.capacity is None:
        return words.list_figures(told, machine, license_name)
    parts = [f"{format_bytes(told.memory.parts.weight_bytes)} of weights"]
    if told.fit.runs:
        parts.append(f"{say_requests(answer.capacity)} of {format_tokens(answer.setup.context_tokens)} tokens at once")
        parts.extend(words.format_speeds(told))
    if license_name:
        parts.append(words.shorten_license(license_name))
    return parts


def say_requests(capacity: Capacity) -> str:
    """'18.2 requests', of one '1 request'."""
    n = format_figures(capacity.n_requests)
    return f"{n} request{'' if n == '1' else 's'}"


def list_part_lines(answer: EngineEstimate, part: str) -> list[str]:
    """What each device holds of 'weights', 'KV cache' or 'compute', one line a device, empty ones left out."""

    def count(device: int) -> int:
        p = answer.estimate.memory.devices[device].parts
        return {
            "weights": p.weight_bytes,
            "KV cache": p.kv_cache_bytes + p.recurrent_state_bytes,
            "compute": p.compute_bytes + p.output_bytes,
            "overhead": p.overhead_bytes,
        }[part]

    devices = answer.estimate.memory.devices
    return [f"{d.name}: {format_bytes(count(i))}, {count(i):,} bytes" for i, d in enumerate(devices) if count(i)]


def explain_tokens(capacity: Capacity) -> list[str]:
    """How bytes of cache become tokens."""
    if not capacity.kv_tokens:
        return ["Nothing is left for the cache."]
    each = capacity.kv_bytes / capacity.kv_tokens
    return [
        "**Tokens of cache** = bytes of cache / bytes of one token, in whole blocks",
        f"- {capacity.kv_bytes:,} bytes over all cards, {format_bytes(capacity.kv_bytes)}",
        f"- {format_figures(each / 1024)}{THIN}KiB a token on average, blocks of {capacity.block_tokens} tokens",
        f"- = {capacity.kv_tokens:,} tokens",
    ]


def explain_requests(answer: EngineEstimate) -> list[str]:
    """How tokens of cache become requests at once."""
    capacity, setup = answer.capacity, answer.setup
    if capacity is None or capacity.n_requests <= 0:
        return ["Not one request finds room."]
    held = capacity.kv_tokens / capacity.n_requests
    lines = [
        "**Requests at once** = tokens of cache / tokens one request holds at its full length",
        f"- {capacity.kv_tokens:,} / {held:,.0f} = {format_figures(capacity.n_requests)}",
    ]
    if held < 0.98 * setup.context_tokens:
        lines.append(f"- of {format_tokens(setup.context_tokens)} tokens, layers with a window keep fewer")
    lines.append("- Shorter requests share the same cache: more of them run at once, further ones wait.")
    return lines


def explain_longest(answer: EngineEstimate) -> list[str]:
    """What limits the length of a single request."""
    capacity, spec = answer.capacity, answer.setup.spec
    if capacity is None or not capacity.largest_context_tokens:
        return ["No length starts."]
    trained = format_tokens(spec.context_tokens)
    if capacity.largest_context_tokens >= spec.context_tokens:
        return [f"The whole cache holds one request of all {trained} tokens the model was trained for."]
    return [
        f"One request may fill the whole cache: {format_tokens(capacity.largest_context_tokens)} of the {trained} "
        "tokens the model was trained for. Asked for more, the engine does not start."
    ]


def say_split(answer: EngineEstimate) -> str:
    """How the cards share the model, empty for one card."""
    parts = []
    if answer.tensor_parallel > 1:
        parts.append(f"{answer.tensor_parallel} cards share every matrix")
    if answer.pipeline_parallel > 1:
        parts.append(f"{answer.pipeline_parallel} stages share the layers")
    return ", ".join(parts)

"""The guide on running a model: what its buffers follow, and what bounds prompts and answers."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from catalog.models import ModelCard
from pages.ui import cached, charts_guide, frame, guide_frame
from pages.ui.charts_base import COMPUTE, OTHERS, SERIES, Series
from pages.ui.charts_guide import Bar, Line, RoofPoint, Segment
from pages.ui.charts_words import describe_bars, describe_lines
from pages.ui.guide_frame import Lesson, say, tell
from sizing.errors import UnsupportedError
from sizing.formulas import find_formulas
from sizing.lessons import Work, count_decode_work, count_prefill_work, find_ridge
from sizing.memory import WeightBytes
from sizing.throughput import find_flops
from sizing.units import format_bytes, format_figures, format_range, format_tokens
from sizing.weights import has_head
from sizing.workload import Workload

VOCABULARIES = (
    "mistralai/Mistral-7B-Instruct-v0.3",
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen3-8B",
    "google/gemma-3-12b-it",
)
UBATCHES = (32, 128, 512, 2048)
USERS = (1, 8, 64)


def compute_of(model_id: str, workload: Workload) -> int | None:
    """A model's compute buffer, None where its graph is not described."""
    try:
        return cached.size_compute(model_id, workload)
    except UnsupportedError:
        return None


def show_buffers(lesson: Lesson) -> None:
    """Why the compute buffer is not a constant: batch, vocabulary, context."""
    workload = replace(lesson.workload, n_parallel=1)
    sizes = {n: compute_of(lesson.card.model_id, replace(workload, n_ubatch=n)) for n in UBATCHES}
    small, large = sizes[512], sizes[2048]
    if small is None or large is None:
        say(f"The graph of {lesson.card.name} is not described here, so its buffers are unknown.")
        return
    say(
        f"{lesson.card.name} needs {format_bytes(small)} to compute 512 tokens at once and {format_bytes(large)} for "
        f"2,048: the buffer follows the batch."
    )
    left, right = guide_frame.split()
    with left:
        without = compute_of(lesson.card.model_id, replace(workload, flash_attention=False)) or 0
        logits = 512 * lesson.spec.vocab_size * 4
        tell(
            "A prompt is computed in batches of n_ubatch tokens. The widest step in between decides the buffer, and "
            f"that is often the last one: a number for each of {lesson.spec.vocab_size:,} entries of the vocabulary "
            f"and each token, {format_bytes(logits)} at 512.",
            "Without flash attention the scores of every token against the whole context are written out, and the "
            f"buffer grows with the context: {format_bytes(without)} at {format_tokens(workload.context_tokens)} "
            f"tokens, {format_bytes(small)} with it.",
            "A smaller n_ubatch saves memory and makes prompts slower; answers stay as they are.",
        )
        guide_frame.show_formula(find_formulas("logits", "scores"), lesson.list_formulas("compute", "output"))
        guide_frame.link_to_size(lesson, "The example with another micro-batch")
    with right:
        st.subheader(f"Buffer against micro-batch, {format_tokens(workload.context_tokens)} tokens", anchor=False)
        lines = list_buffer_lines(lesson, workload)
        figure = charts_guide.lines_chart(
            lines, "n_ubatch, tokens (log scale)", "memory (log scale)", y_unit="bytes", x_ticks=UBATCHES
        )
        alt = f"Buffer against micro-batch. {describe_lines(lines)}"
        frame.show_chart(figure, "guide_buffers", alt, name=f"compute-buffer-{lesson.card.name}")
        st.subheader("Like models, other vocabularies, 512 tokens at once", anchor=False)
        bars = [b for c in cached.find_cards(VOCABULARIES) if (b := draw_vocabulary(c)) is not None]
        alt = describe_bars(bars)
        frame.show_chart(charts_guide.bars_chart(bars), "guide_vocabularies", alt, name="buffers-by-vocabulary")


def list_buffer_lines(lesson: Lesson, workload: Workload) -> list[Line]:
    """The example's buffer with and without flash attention, and its logits alone."""
    lines = []
    for name, is_flash, look in (
        ("flash attention on", True, SERIES[0]),
        ("flash attention off", False, SERIES[1]),
    ):
        asked = replace(workload, flash_attention=is_flash)
        sizes = [(n, compute_of(lesson.card.model_id, replace(asked, n_ubatch=n)) or 0) for n in UBATCHES]
        lines.append(_line(name, sizes, look))
    logits = [(n, n * lesson.spec.vocab_size * 4) for n in UBATCHES]
    return [*lines, _line("logits alone", logits, OTHERS)]


def _line(name: str, sizes: list[tuple[int, int]], look: Series) -> Line:
    told = tuple(f"{format_bytes(b)} for {n:,} tokens at once" for n, b in sizes)
    return Line(name, tuple(n for n, _ in sizes), tuple(float(b) for _, b in sizes), told, look)


def draw_vocabulary(card: ModelCard) -> Bar | None:
    """A model's buffer as a bar, with its vocabulary."""
    size = compute_of(card.model_id, Workload(min(8192, card.spec.context_tokens)))
    if size is None:
        return None
    title = f"{card.name}, {card.spec.vocab_size:,} entries: {format_bytes(size)}"
    return Bar(title, (Segment("compute buffer", size, COMPUTE, format_bytes(size)),))


def show_roofline(lesson: Lesson) -> None:
    """Prefill against decode: bound by arithmetic or by memory, on the device of the bar."""
    device, weights = lesson.device, lesson.weights
    if weights is None:
        say("A prompt is bound by arithmetic, an answer by memory.")
        guide_frame.say_not_weighed(lesson)
        return
    if not has_head(lesson.spec):
        say(f"{lesson.card.name} reads text and writes none, so there is no answer to compare. Choose another example.")
        return
    peak, bandwidth = find_flops(device), device.bandwidth_bytes_per_s
    steps = list_steps(lesson, weights)
    if peak is None or bandwidth is None:
        lacks = "arithmetic rate" if peak is None else "memory bandwidth"
        say(f"The {lacks} of {lesson.device_name} is unknown, so its limits cannot be drawn.")
        tell(*(f"{name}: {format_figures(w.flops_per_byte)} operations for each byte read." for name, w in steps))
        return
    ridge, answer, prompt = find_ridge(peak, bandwidth), steps[0][1], steps[-1][1]
    say(
        f"An answer of {lesson.card.name} does {format_figures(answer.flops_per_byte)} operations for each byte it "
        f"reads, a prompt {format_figures(prompt.flops_per_byte)}; {lesson.device_name} is balanced at "
        f"{format_figures(ridge)}."
    )
    left, right = guide_frame.split()
    with left:
        tell(
            "An answer comes word by word, and each word reads all weights in use once: memory bandwidth decides. A "
            f"prompt is computed {min(lesson.workload.n_ubatch, lesson.workload.context_tokens):,} tokens at a time, "
            "each byte read serves them all: arithmetic decides. Users who write at the same time share the reading, "
            "which moves an answer to the right.",
            *say_speed(lesson, answer, prompt, peak, bandwidth),
        )
        guide_frame.show_formula(find_formulas("reach", "operations", "ridge"))
        guide_frame.link_to_size(lesson, "The example's estimated speed")
    with right:
        points = [draw_step(name, work, peak, bandwidth) for name, work in steps]
        alt = "; ".join(f"{p.name}: {p.told}" for p in points)
        figure = charts_guide.roofline_chart(peak, bandwidth, points)
        frame.show_chart(figure, "guide_roofline", alt, name=f"roofline-{lesson.card.name}")


def list_steps(lesson: Lesson, weights: WeightBytes) -> list[tuple[str, Work]]:
    """An answer for several numbers of users, then a prompt."""
    steps = [
        (
            "an answer, 1 user" if n == 1 else f"answers, {n} users",
            count_decode_work(lesson.spec, weights, replace(lesson.workload, n_parallel=n)),
        )
        for n in USERS
    ]
    return [*steps, ("a prompt", count_prefill_work(lesson.spec, weights, lesson.workload))]


def draw_step(name: str, work: Work, peak: float, bandwidth: float) -> RoofPoint:
    """One step as a point under the roof."""
    reached = work.reach_flops(peak, bandwidth)
    bound = "arithmetic" if reached >= peak else "memory"
    told = f"{format_figures(work.flops_per_byte)} operations for each byte, bound by {bound}"
    return RoofPoint(name, work.flops_per_byte, reached, told)


def say_speed(lesson: Lesson, answer: Work, prompt: Work, peak: float, bandwidth: float) -> tuple[str, ...]:
    """What the roof allows, and what the app expects: kernels do not reach the roof."""
    n_tokens = min(lesson.workload.n_ubatch, lesson.workload.context_tokens)
    most = 1 / answer.find_seconds(peak, bandwidth)
    read = n_tokens / prompt.find_seconds(peak, bandwidth)
    roof = (
        f"The roof allows {format_figures(most)} tokens/s of an answer and {format_figures(read)} of a prompt, were "
        "the model whole on this device."
    )
    sized = lesson.size(replace(lesson.workload, n_parallel=1))
    speed = sized.told.speed if sized else None
    if speed is None:
        return (roof, "It does not run there as a whole, so no speed is expected.")
    decode, prefill = speed.decode_tokens_per_s, speed.prefill_tokens_per_s
    told = f"Expected here: {format_range(decode.low, decode.high)} tokens/s"
    if prefill is not None:
        told += f", and {format_range(prefill.low, prefill.high)} of a prompt"
    return (roof, f"{told}, by what devices of its class were measured to reach.")

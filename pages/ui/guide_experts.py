"""The guide on mixtures of experts: what is held, what a token reads, and why speed follows the second."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from catalog.models import ModelCard
from pages.ui import cached, charts_guide, frame, guide_frame
from pages.ui.charts_base import WEIGHTS
from pages.ui.charts_guide import HOLLOW, Bar, Segment
from pages.ui.charts_words import describe_bars
from pages.ui.guide_frame import Lesson, name_in_prose, say, tell
from sizing.formulas import find_formulas
from sizing.lessons import count_read_bytes, find_decode_ceiling, find_expert_share
from sizing.memory import WeightBytes
from sizing.units import GB, GIB, THIN, format_bytes, format_figures, format_params

EXPERT_PAIRS = (
    "Qwen/Qwen3-30B-A3B",
    "Qwen/Qwen3-32B",
    "openai/gpt-oss-20b",
    "mistralai/Mistral-Small-3.2-24B-Instruct-2506",
    "zai-org/GLM-4.5-Air",
    "meta-llama/Llama-3.3-70B-Instruct",
)
"""Mixtures of experts, each followed by a dense model of like kind or size."""


def show_experts(lesson: Lesson) -> None:
    """Total against active parameters: what is in memory, what a token reads, and why speed follows the second."""
    spec = lesson.spec
    shown = lesson if spec.is_moe and lesson.weights else None
    card = lesson.card if shown else cached.find_card(EXPERT_PAIRS[0])
    weights = lesson.weights if shown else guide_frame.find_weights(card.model_id, lesson.quant)
    if weights is None:
        guide_frame.say_not_weighed(lesson)
        return
    held, read = weights.tensor_bytes, count_read_bytes(card.spec, weights)
    said = (
        f"{card.name} holds {format_params(card.spec.n_params)} parameters and uses "
        f"{format_params(card.spec.n_active_params)} for a token: {format_bytes(held)} in memory, "
        f"{format_bytes(read)} read."
    )
    say(said if shown else f"{lesson.card.name} is {'not weighed' if spec.is_moe else 'dense'}. {said}")
    left, right = guide_frame.split()
    with left:
        tell(
            "In a mixture of experts a layer has many feed-forward parts, and each token is sent through a few of "
            "them. Which ones, nobody knows beforehand, so all must be at hand: memory follows the total. A token "
            "reads those it was sent to only: speed follows the active part.",
            f"Users choose by themselves. A step for 8 of them meets {find_expert_share(card.spec, 8):.0%} of "
            f"{name_in_prose(card.name)}'s experts, for one {find_expert_share(card.spec, 1):.0%}, so sharing a step "
            "saves less than with a dense model.",
            "Experts are also what is best left on the host beside a card: many bytes, few of them read.",
        )
        guide_frame.show_formula(find_formulas("read", "ceiling", "experts"))
        frame.link_to_hardware(card.model_id, weights.quant, "Which machines run it")
    with right:
        rows = list_experts(lesson)
        longest = max(w.tensor_bytes for _, w in rows)
        bars = [draw_read(c, w, c.model_id == lesson.card.model_id) for c, w in rows]
        figure = charts_guide.bars_chart(bars, longest)
        frame.show_chart(figure, "guide_experts", describe_bars(bars), name="read-and-held-weights")
    show_ceilings(lesson, rows)


def list_experts(lesson: Lesson) -> list[tuple[ModelCard, WeightBytes]]:
    """The example and the pairs, with weights in its quantization or the usual one."""
    cards = {c.model_id: c for c in (lesson.card, *cached.find_cards(EXPERT_PAIRS))}
    found = ((c, guide_frame.find_weights(c.model_id, lesson.quant)) for c in cards.values())
    return [(c, w) for c, w in found if w is not None]


def draw_read(card: ModelCard, weights: WeightBytes, is_example: bool) -> Bar:
    """A model as a bar: what one token reads of what is held."""
    read = count_read_bytes(card.spec, weights)
    rest = weights.tensor_bytes - read
    title = f"{card.name}: {format_bytes(read)} read of {format_bytes(weights.tensor_bytes)}"
    return Bar(
        title,
        (
            Segment("read for a token", read, WEIGHTS, f"read for a token: {format_bytes(read)}"),
            Segment("held only", max(rest, 0), HOLLOW, f"held only: {format_bytes(rest)}"),
        ),
        is_example,
    )


def show_ceilings(lesson: Lesson, rows: list[tuple[ModelCard, WeightBytes]]) -> None:
    """The same as figures, with the most tokens/s that the device's memory allows."""
    bandwidth = lesson.device.bandwidth_bytes_per_s
    where = lesson.device_name
    rate = f"{format_figures(bandwidth / GB)}{THIN}GB/s" if bandwidth else "unknown"
    quants = {w.quant for _, w in rows}
    alike = f" All at {quants.pop()}." if len(quants) == 1 else ""
    st.caption(f"Tokens/s at most: what the memory of {where} can feed ({rate}), were all of it on that device.{alike}")
    nan = float("nan")
    read = [count_read_bytes(c.spec, w) for c, w in rows]
    table = pd.DataFrame(
        {
            "Model": [c.name for c, _ in rows],
            "Total, B": [c.spec.n_params / 1e9 for c, _ in rows],
            "Active, B": [c.spec.n_active_params / 1e9 for c, _ in rows],
            **({} if alike else {"Quantization": [w.quant for _, w in rows]}),
            "Held, GiB": [w.tensor_bytes / GIB for _, w in rows],
            "Read, GiB": [n / GIB for n in read],
            "At most, tokens/s": [find_decode_ceiling(c.spec, w, bandwidth) if bandwidth else nan for c, w in rows],
        }
    )
    guide_frame.show_table(table, "guide_ceilings", name="mixtures-and-dense-models")

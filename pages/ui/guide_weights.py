"""The guide on weights: what is published, what a parameter weighs, what a quantization does."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import streamlit as st

from catalog.formulas import FORMULAS as LOSS_FORMULAS
from catalog.models import ModelCard
from catalog.quant_loss import QuantLossEstimate
from pages.ui import cached, charts_guide, frame, guide_frame, words
from pages.ui.charts_base import OTHERS, SERIES, WEIGHTS
from pages.ui.charts_guide import Bar, LossPoint, Segment
from pages.ui.charts_words import describe_bars, describe_losses
from pages.ui.guide_frame import Lesson, name_in_prose, say, tell
from sizing.formulas import find_formulas
from sizing.lessons import BLOCK_LAYOUTS, BlockLayout
from sizing.memory import WeightBytes
from sizing.quants import GGML_TYPES, QUANTS
from sizing.throughput import LOOKED_UP_ON_CPU
from sizing.units import GB, format_bytes, format_figures, format_params, format_range

OPENNESS_WORDS = {
    "open source": "weights, training code and data: it could be trained again",
    "open weight": "weights under a licence without limits of use; how they were made is not published",
    "restricted weight": "weights to download; the licence limits who may use them or for what",
}

NAMED_LICENCES = 5

QUOTED_GB = (
    ("google/gemma-2-2b-it", "F16", 3),
    ("meta-llama/Llama-3.1-8B-Instruct", "Q4_K_M", 5),
    ("mistralai/Mistral-7B-Instruct-v0.3", "Q4_K_M", 5),
    ("google/gemma-2-27b-it", "Q4_K_M", 16),
    ("mistralai/Mixtral-8x7B-Instruct-v0.1", "Q4_K_M", 26),
    ("meta-llama/Llama-3.1-70B-Instruct", "Q2_K", 24),
    ("meta-llama/Llama-3.1-70B-Instruct", "Q4_K_M", 40),
    ("meta-llama/Llama-3.1-70B-Instruct", "BF16", 140),
    ("meta-llama/Llama-3.1-405B-Instruct", "Q4_K_M", 200),
)
"""Sizes as round figures go about, in decimal GB: from the landscape guide of March 2026 this project began with."""

DRAWN_TYPES = ("q8_0", "q6_K", "q5_K", "q4_K", "q4_0", "iq4_xs", "mxfp4", "q3_K", "q2_K", "iq2_xxs")


def show_openness(lesson: Lesson) -> None:
    """Open source, open weight, restricted weight: how many models of each, under which licences."""
    cards = cached.list_own_cards()
    counts = Counter(c.openness for c in cards)
    say(
        f"Of the catalog's {len(cards)} models {counts['open source']} are open source; "
        f"{counts['open weight']} are open weight and {counts['restricted weight']} restricted weight."
    )
    left, right = guide_frame.split()
    with left:
        card = lesson.card
        tell(
            *(f"**{frame.to_title(kind)}**: {what}." for kind, what in OPENNESS_WORDS.items()),
            f"The licence alone does not tell: {say_shared_licence(cards)}",
            f"{name_in_prose(card.name)} is {card.openness}, under the "
            f"{name_in_prose(cached.find_license(card.license_id).name)}.",
        )
        guide_frame.link_to_catalog("The open-source models", openness="open source")
    with right:
        bars = list_openness(cards)
        frame.show_chart(
            charts_guide.bars_chart(bars), "guide_openness", describe_bars(bars), name="openness-by-licence"
        )


def say_shared_licence(cards: tuple[ModelCard, ...]) -> str:
    """The licence most open-source models have, and how many open-weight models have it too."""
    licences = Counter(c.license_id for c in cards if c.openness == "open source")
    (most, n), *_ = licences.most_common(1)
    same = sum(c.license_id == most for c in cards if c.openness == "open weight")
    name = name_in_prose(cached.find_license(most).name)
    return f"{n} open-source models have the {name}, and so have {same} that publish weights only."


def list_openness(cards: tuple[ModelCard, ...]) -> list[Bar]:
    """One bar for each kind of openness: its models by licence, the common ones named."""
    common = [name for name, _ in Counter(c.license_id for c in cards).most_common(NAMED_LICENCES)]
    looks = dict(zip(common, SERIES, strict=False))
    bars = []
    for kind in OPENNESS_WORDS:
        licences = Counter(c.license_id if c.license_id in looks else "" for c in cards if c.openness == kind)
        segments = tuple(
            Segment(name, licences[key], look.colour, f"{name}: {licences[key]} models", look.hatch)
            for key in (*common, "")
            if licences[key]
            for name in (words.shorten_license(cached.find_license(key).name) if key else "other licences",)
            for look in (looks.get(key, OTHERS),)
        )
        bars.append(Bar(f"{frame.to_title(kind)}: {sum(licences.values())} models", segments))
    return bars


def show_bits(lesson: Lesson) -> None:
    """Parameters, bytes and bits per weight, and round figures beside what llama.cpp says."""
    spec, weights = lesson.spec, lesson.weights
    if weights is None:
        say(f"{lesson.card.name} has {format_params(spec.n_params)} parameters.")
        guide_frame.say_not_weighed(lesson)
        return
    bits = 8 * weights.tensor_bytes / spec.n_params
    say(
        f"{lesson.card.name} at {lesson.quant} keeps {format_params(spec.n_params)} parameters in "
        f"{format_bytes(weights.tensor_bytes)}: {bits:.2f} bits each."
    )
    left, right = guide_frame.split()
    with left:
        tell(
            f"A parameter is a number. In 16 bit it takes 2 bytes, so an F16 file weighs twice the count: "
            f"{format_bytes(2 * spec.n_params)} here. A quantization stores each number in fewer bits, and not all "
            f"tensors alike: a recipe gives some of them more, so the average is its own for each model.",
            "Files are listed in GB of 10⁹ bytes, memory is counted in GiB of 2³⁰: 7% more for each.",
        )
        guide_frame.show_formula(find_formulas("bits"), lesson.list_formulas("weights"))
        guide_frame.link_to_size(lesson, "Every figure of the example")
    with right:
        bars = [draw_weights(w, spec.n_params, w.quant == lesson.quant) for w in pick_weights(lesson)]
        alt = f"Weights of {lesson.card.name}: {describe_bars(bars)}"
        frame.show_chart(charts_guide.bars_chart(bars), "guide_bits", alt, name=f"weights-{lesson.card.name}")
    st.subheader("Round figures beside the engine's", anchor=False)
    st.caption(
        "Sizes as they go about, from a guide of March 2026, and the weights llama.cpp gives. "
        "Cache and buffers come on top."
    )
    guide_frame.show_table(list_quoted(), "guide_quoted", "Quoted, GB", name="round-figures")


def pick_weights(lesson: Lesson) -> list[WeightBytes]:
    """16 bit, 8 bit and the chosen quantization, largest first, as far as the model has them."""
    known = cached.list_weights(lesson.card.model_id)
    return [w for w in known if w.quant in ("F16", "Q8_0", lesson.quant)]


def draw_weights(weights: WeightBytes, n_params: int, is_chosen: bool) -> Bar:
    """One quantization as a bar: embeddings, layers, routed experts, output."""
    experts = sum(weights.layer_expert_bytes)
    parts = (
        ("token embeddings", weights.input_bytes, "."),
        ("layers", sum(weights.layer_bytes) - experts, ""),
        ("routed experts", experts, "/"),
        ("output head", weights.output_bytes, "x"),
    )
    title = f"{weights.quant}: {format_bytes(weights.tensor_bytes)}, "
    title += f"{8 * weights.tensor_bytes / n_params:.2f} bits"
    segments = tuple(Segment(n, b, WEIGHTS, f"{n}: {format_bytes(b)}", pattern) for n, b, pattern in parts if b)
    return Bar(title, segments, is_chosen)


def list_quoted() -> pd.DataFrame:
    """Round figures and the engine's, in decimal GB."""
    rows = []
    for model_id, quant, quoted in QUOTED_GB:
        found = next((w for w in cached.list_weights(model_id) if w.quant == quant), None)
        if found is None:
            continue
        exact = found.tensor_bytes / GB
        told = "too small" if quoted < 0.95 * exact else "too large" if quoted > 1.05 * exact else "about right"
        rows.append(
            {
                "Model": cached.find_card(model_id).name,
                "Quantization": quant,
                "Quoted, GB": str(quoted),
                "llama.cpp, GB": exact,
                "The quoted figure is": told,
            }
        )
    return pd.DataFrame(rows)


def show_quants(lesson: Lesson) -> None:
    """What each quantization does: how a block is laid out, what it costs, how large one model becomes."""
    weights = lesson.weights
    if weights is None:
        say("A quantization stores weights in blocks of few bits with a shared scale.")
        guide_frame.say_not_weighed(lesson)
        show_blocks()
        return
    losses = {e.quant: e for e in cached.list_loss_estimates(lesson.card.model_id)}
    say(say_cost(lesson, weights, losses.get(lesson.quant)))
    left, right = guide_frame.split()
    with left:
        tell(*list_kinds())
        guide_frame.show_formula((LOSS_FORMULAS["points"],))
        guide_frame.link_to_size(lesson, "All quantizations of the example, with their speed")
    with right:
        st.subheader("What it saves and what it costs", anchor=False)
        points = list_loss_points(lesson, losses)
        alt = describe_losses(lesson.card.name, points)
        frame.show_chart(charts_guide.loss_chart(points), "guide_losses", alt, name=f"size-and-loss-{lesson.card.name}")
    show_blocks()


def say_cost(lesson: Lesson, weights: WeightBytes, loss: QuantLossEstimate | None) -> str:
    """What the chosen quantization makes of the example, and what it is expected to lose."""
    full = next((w for w in cached.list_weights(lesson.card.model_id) if w.quant == "F16"), None)
    instead = f" instead of {format_bytes(full.tensor_bytes)}" if full and full.quant != weights.quant else ""
    size = f"{lesson.quant} stores {lesson.card.name} in {format_bytes(weights.tensor_bytes)}{instead}"
    if loss is None:
        return f"{size}; nobody published what it costs."
    if not loss.points:
        return f"{size} and costs nothing: it is what the publisher released."
    where = "other models" if loss.label == "generic" else f"the {loss.label}"
    interval = format_range(loss.low, loss.high)
    cost = f"{format_figures(loss.points)} points of score ({interval})"
    return f"{size} and is expected to cost {cost}, measured on {where}."


def list_kinds() -> tuple[str, ...]:
    """A sentence or two for each kind of quantization."""
    wanting = [q.name for q in QUANTS.values() if q.wants_imatrix]
    native = sum(c.quant_native == "MXFP4" for c in cached.list_own_cards())
    k = BLOCK_LAYOUTS["q4_K"]
    return (
        f"**Q4_0 and its kin**, the oldest: {GGML_TYPES['q4_0'].block_elements} values share a 16-bit scale; "
        "names with _1 add an offset.",
        f"**K quants**: {k.n_elements} values in one super-block. In Q4_K each {k.scaled_elements} share a scale of 6 "
        "bits, and two 16-bit factors serve them all. S, M and L tell how many tensors get more bits.",
        "**IQ quants**: values point into a table of patterns, which makes the most of 2 to 4 bits. Looking up is "
        f"slower on a processor: about {LOOKED_UP_ON_CPU:.0%} of a K quant's speed (assumed).",
        f"**MXFP4**: {GGML_TYPES['mxfp4'].block_elements} values of 4-bit floating point share a power of two. "
        f"{native} models of the catalog were released in it.",
        "**An importance matrix** tells from sample text which weights matter, and rounding spares those; the size "
        f"stays the same. llama.cpp makes {len(wanting)} recipes with one only: {wanting[0]} to {wanting[-1]}.",
    )


def list_loss_points(lesson: Lesson, losses: dict[str, QuantLossEstimate]) -> list[LossPoint]:
    """The example's quantizations that somebody measured, as points."""
    labels = {"same model": "this model", "same family": "its family", "generic": "other models"}
    return [
        LossPoint(
            w.quant, QUANTS[w.quant].family, w.tensor_bytes, e.points, e.low, e.high, labels[e.label],
            w.quant == lesson.quant,
        )
        for w in cached.list_weights(lesson.card.model_id)
        if w.quant in QUANTS and (e := losses.get(w.quant)) is not None and e.points > 0
    ]  # fmt: skip


def show_blocks() -> None:
    """How a block of each common type is laid out, in bits for each value."""
    st.subheader("Where the bits of a weight go", anchor=False)
    layouts = [BLOCK_LAYOUTS[name] for name in DRAWN_TYPES]
    bars = [draw_layout(layout) for layout in layouts]
    alt = f"Bits for each weight: {describe_bars(bars)}"
    frame.show_chart(charts_guide.bars_chart(bars), "guide_blocks", alt, name="bits-of-a-weight")


def draw_layout(layout: BlockLayout) -> Bar:
    """One block type as a bar of bits for each value."""
    parts = (
        ("values", layout.value_bits, ""),
        ("scales and offsets of blocks" if layout.has_offset else "scales of blocks", layout.scale_bits, "/"),
        ("factors of the super-block", layout.outer_bits, "x"),
    )
    bits = GGML_TYPES[layout.type_name].bits_per_element
    offset = " and an offset" if layout.has_offset else ""
    name = layout.type_name.upper()
    title = f"{name}: {format_figures(bits)} bits; {layout.scaled_elements} values share a scale{offset}"
    return Bar(
        title,
        tuple(
            Segment(
                "scales and offsets of blocks" if "of blocks" in what else what,
                layout.per_value(n),
                WEIGHTS,
                f"{what}: {n:,} of {layout.value_bits + layout.scale_bits + layout.outer_bits:,} bits",
                pattern,
            )
            for what, n, pattern in parts
            if n
        ),
    )

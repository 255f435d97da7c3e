"""The guide on long contexts: windows, states that do not grow, and how positions are stretched."""

from __future__ import annotations

from collections import defaultdict

import pandas as pd
import streamlit as st

from catalog.models import ModelCard
from pages.ui import cached, charts_guide, frame, guide_frame
from pages.ui.charts_base import OTHERS, SERIES, Series
from pages.ui.charts_guide import Line
from pages.ui.charts_words import describe_lines
from pages.ui.guide_frame import Lesson, name_in_prose, say, tell
from sizing.formulas import find_formulas
from sizing.lessons import (
    CacheBytes,
    Rope,
    count_recurrent_layers,
    count_windowed_layers,
    estimate_caches,
    find_wavelengths,
    honours_windows,
    read_rope,
)
from sizing.specs import ModelSpec
from sizing.units import format_bytes, format_range, format_tokens
from sizing.workload import Workload

WINDOWED_MODELS = ("google/gemma-3-12b-it", "openai/gpt-oss-20b", "meta-llama/Llama-4-Scout-17B-16E-Instruct")
RECURRENT_MODELS = ("Qwen/Qwen3.5-9B", "nvidia/NVIDIA-Nemotron-Nano-9B-v2", "Qwen/Qwen3-8B")
LONG_TOKENS = 131_072
CONTEXTS = tuple(2 ** (n / 2) for n in range(20, 35))
TICKS = (1024, 4096, 16_384, 65_536)

SCALING_WORDS = {
    "linear": "all positions pressed together alike",
    "yarn": "slow rotations pressed together, fast ones left",
    "longrope": "a factor of its own for every rotation",
    "by frequency": "slow rotations pressed together (Llama 3's rule)",
}


def cache_of(spec: ModelSpec, context_tokens: int, swa_full: bool = False) -> CacheBytes:
    """One user's caches at a context."""
    return estimate_caches([spec], Workload(context_tokens, swa_full=swa_full))[0]


def draw_cache(card: ModelCard, look: Series, *, swa_full: bool = False, most: int = LONG_TOKENS) -> Line:
    """A model's cache against its context as a line that ends where its training does."""
    tokens = sorted({int(c) // 256 * 256 for c in CONTEXTS if c <= min(most, card.spec.context_tokens)} or {1024})
    sizes = [cache_of(card.spec, t, swa_full).total_bytes for t in tokens]
    told = tuple(f"{format_bytes(n)} at {format_tokens(t)} tokens" for t, n in zip(tokens, sizes, strict=True))
    name = f"{card.name} without its windows" if swa_full else card.name
    return Line(name, tuple(tokens), tuple(map(float, sizes)), told, look)


def show_windows(lesson: Lesson) -> None:
    """Sliding windows and chunks: the cache against the context, lines that bend."""
    windowed = [c for c in cached.list_own_cards() if count_windowed_layers(c.spec)]
    honoured = sum(honours_windows(c.spec) for c in windowed)
    shown = lesson.card if honours_windows(lesson.spec) else cached.find_card(WINDOWED_MODELS[0])
    say(say_windows(lesson, shown))
    left, right = guide_frame.split()
    with left:
        tell(
            "A layer with a sliding window looks at the last so many tokens; what is older it may forget, so its cache "
            "stops growing there. A layer with chunks (Llama 4) looks at the present chunk only. Some layers keep the "
            "whole context, and only those go on growing: the line bends and rises more slowly.",
            f"{len(windowed)} models of the catalog have windows; llama.cpp keeps small caches for "
            f"{'all' if honoured == len(windowed) else honoured} of them. "
            "`--swa-full` keeps everything, so that an earlier prompt can be taken up again at any place.",
        )
        guide_frame.show_formula(find_formulas("window", "cells"), lesson.list_formulas("KV cache"))
        guide_frame.link_to_size(lesson, "The example's memory against context")
    with right:
        st.subheader("Cache against context, one user, f16", anchor=False)
        others = [c for c in cached.find_cards(WINDOWED_MODELS) if c.model_id != lesson.card.model_id]
        cards = [lesson.card, *others]
        lines = [draw_cache(c, look) for c, look in zip(cards, SERIES, strict=False)]
        lines.append(draw_cache(shown, OTHERS, swa_full=True))
        show_cache_lines(lines, "guide_windows", f"cache-with-windows-{lesson.card.name}")


def say_windows(lesson: Lesson, shown: ModelCard) -> str:
    """What the windows of a model save at the example's context, or at a long one."""
    spec = shown.spec
    windows = {g.attention.window_tokens for g in spec.groups if g.attention and g.attention.window_tokens}
    tokens = min(LONG_TOKENS, spec.context_tokens)
    small, whole = cache_of(spec, tokens).total_bytes, cache_of(spec, tokens, swa_full=True).total_bytes
    told = (
        f"{count_windowed_layers(spec)} of {shown.name}'s {spec.n_layers} layers see {format_tokens(max(windows))} "
        f"tokens only: at {format_tokens(tokens)} its cache is {format_bytes(small)} instead of {format_bytes(whole)}."
    )
    if shown.model_id == lesson.card.model_id:
        return told
    if count_windowed_layers(lesson.spec):
        return f"{lesson.card.name} has windows, but llama.cpp keeps its whole context. {told}"
    return f"{lesson.card.name} has no windows. {told}"


def show_cache_lines(lines: list[Line], key: str, name: str) -> None:
    """Lines of caches over contexts; `name` names the file."""
    figure = charts_guide.lines_chart(
        lines, "context, tokens (log scale)", "memory (log scale)", y_unit="bytes", x_ticks=TICKS
    )
    frame.show_chart(figure, key, f"Cache against context. {describe_lines(lines)}", name=name)


def show_recurrent(lesson: Lesson) -> None:
    """Recurrent and hybrid layers: a state that does not grow."""
    hybrid = sum(count_recurrent_layers(c.spec) > 0 for c in cached.list_own_cards())
    own = count_recurrent_layers(lesson.spec) > 0
    shown = lesson.card if own else cached.find_card(RECURRENT_MODELS[0])
    cache = cache_of(shown.spec, min(LONG_TOKENS, shown.spec.context_tokens))
    said = (
        f"{count_recurrent_layers(shown.spec)} of {shown.name}'s {shown.spec.n_layers} layers keep a state of "
        f"{format_bytes(cache.state_bytes)} for each user, however long the text."
    )
    say(said if own else f"{lesson.card.name} has no recurrent layers. {said}")
    left, right = guide_frame.split()
    with left:
        tell(
            "A recurrent layer does not look back. It carries a state of fixed size from word to word, as one who "
            "takes notes instead of reading again. Such layers cost the same at any length, but what the notes left "
            "out is gone, so most models mix them with a few layers of attention.",
            f"{hybrid} models of the catalog have recurrent layers. Their states are kept in 32 bit for each user and "
            "are read and written for every token.",
        )
        guide_frame.show_formula(find_formulas("state"), lesson.list_formulas("recurrent state"))
        guide_frame.link_to_size(lesson, "The example's memory against context")
    with right:
        st.subheader("Cache and state against context, one user", anchor=False)
        others = [c for c in cached.find_cards(RECURRENT_MODELS) if c.model_id != lesson.card.model_id]
        cards = [lesson.card, *others]
        lines = [draw_cache(c, look) for c, look in zip(cards, SERIES, strict=False)]
        show_cache_lines(lines, "guide_recurrent", f"cache-and-state-{lesson.card.name}")


def show_rope(lesson: Lesson) -> None:
    """RoPE and the trained context: how far each rotation reaches, and how contexts were stretched."""
    rope, name = read_rope(lesson.spec), lesson.card.name
    say(say_rope(lesson, rope))
    left, right = guide_frame.split()
    with left:
        tell(
            "Positions are told by turning pairs of numbers: some turn fast, some need many thousand tokens for one "
            "turn. A model that never saw a slow pair come round does not know what that means, so it cannot simply be "
            "asked for a longer text. Scaling presses new positions into the turns it knows, with some training after.",
            say_turns(rope, lesson),
            "This app never sizes a context above the one a model was trained or stretched for.",
        )
        guide_frame.show_formula(find_formulas("turn"))
        guide_frame.link_to_catalog("Models of 128K tokens and more", at_least=LONG_TOKENS)
    with right:
        if rope.freq_base is not None and rope.n_dims >= 2:
            st.subheader("Tokens for one turn of each pair", anchor=False)
            alt = f"Rotations of {name}. {say_turns(rope, lesson)}"
            frame.show_chart(draw_turns(lesson, rope, rope.freq_base), "guide_rope", alt, name=f"turns-{name}")
        else:
            st.caption(f"The rotation base of {name_in_prose(name)} is not in the catalog, so its turns are not drawn.")
    st.subheader("How the catalog's models were stretched", anchor=False)
    st.caption("As their publishers' files say it; unknown where they do not.")
    guide_frame.show_table(list_scalings(), "guide_scalings", "Models", "Times as far", name="context-scaling")


def say_rope(lesson: Lesson, rope: Rope) -> str:
    """The trained context and what it was stretched from."""
    name, context = lesson.card.name, lesson.spec.context_tokens
    if rope.is_stretched and rope.original_tokens and rope.original_tokens < context:
        factor = f"{context / rope.original_tokens:.3g}"
        return (
            f"{name} learned on {format_tokens(rope.original_tokens)} tokens and was stretched to "
            f"{format_tokens(context)}, {factor} times as far."
        )
    if rope.is_stretched:
        return f"{name} holds {format_tokens(context)} tokens, after stretching by {rope.scaling} scaling."
    return f"{name} holds {format_tokens(context)} tokens; its files name no scaling."


def say_turns(rope: Rope, lesson: Lesson) -> str:
    """How many rotations come round within the context, where the base is known."""
    if rope.freq_base is None or rope.n_dims < 2:
        return ""
    waves = find_wavelengths(rope.freq_base, rope.n_dims)
    first = rope.original_tokens or lesson.spec.context_tokens
    slow = sum(w > first for w in waves)
    return (
        f"With a base of {rope.freq_base:,.0f} the slowest of {len(waves)} pairs needs "
        f"{format_tokens(round(waves[-1]))} tokens; {slow} do not come round within {format_tokens(first)}."
    )


def draw_turns(lesson: Lesson, rope: Rope, freq_base: float) -> charts_guide.go.Figure:
    """The wavelength of each pair of the example, with its contexts as levels."""
    waves = find_wavelengths(freq_base, rope.n_dims)
    told = tuple(f"pair {i}: one turn in {format_tokens(round(w))} tokens" for i, w in enumerate(waves))
    line = Line("tokens for one turn", tuple(range(len(waves))), waves, told, SERIES[0])
    context = lesson.spec.context_tokens
    levels = [(float(context), f"context: {format_tokens(context)}")]
    if rope.original_tokens and rope.original_tokens < context:
        levels.append((float(rope.original_tokens), f"learned on: {format_tokens(rope.original_tokens)}"))
    return charts_guide.lines_chart(
        [line], "pair of elements", "tokens (log scale)", is_log_x=False, y_unit="tokens", levels=levels
    )


def list_scalings() -> pd.DataFrame:
    """Kinds of scaling in the catalog: how many models, how far, for instance which."""
    kinds: dict[str, list[tuple[ModelCard, Rope]]] = defaultdict(list)
    for card in cached.list_own_cards():
        rope = read_rope(card.spec)
        kinds[rope.scaling or "none named"].append((card, rope))
    rows = []
    for kind, kept in sorted(kinds.items(), key=lambda pair: (pair[0] == "none named", -len(pair[1]))):
        spans = [c.spec.context_tokens / r.original_tokens for c, r in kept if r.original_tokens and r.is_stretched]
        far = "unknown" if not spans else format_range(min(spans), max(spans))
        longest, _ = max(kept, key=lambda pair: pair[0].spec.context_tokens)
        rows.append(
            {
                "Scaling": kind,
                "What it does": SCALING_WORDS.get(kind, "no stretching named in the files"),
                "Models": f"{len(kept):,}",
                "Times as far": far if kind != "none named" else "",
                "Longest": f"{longest.name}: {format_tokens(longest.spec.context_tokens)}",
            }
        )
    return pd.DataFrame(rows)

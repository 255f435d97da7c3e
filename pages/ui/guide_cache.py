"""The guide on the KV cache: whose keys and values are kept, and what many users take of it."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from catalog.models import ModelCard
from pages.ui import cached, charts_guide, frame, guide_frame, words
from pages.ui.charts_base import KV_CACHE
from pages.ui.charts_guide import HOLLOW, Bar, Segment
from pages.ui.charts_words import describe_bars
from pages.ui.guide_frame import Lesson, name_in_prose, say, tell
from sizing.fit import Verdict
from sizing.formulas import find_formulas
from sizing.lessons import (
    VLLM_BLOCK_TOKENS,
    CacheBytes,
    Reserved,
    as_multi_head,
    as_multi_query,
    count_layer_kinds,
    estimate_caches,
    estimate_growth,
    reserve_pages,
    reserve_slots,
    spread_lengths,
)
from sizing.specs import Attention, ModelSpec
from sizing.units import GIB, format_bytes, format_tokens
from sizing.workload import Workload

COMPARED = (
    "microsoft/Phi-3.5-mini-instruct",
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen3-14B",
    "google/paligemma-3b-mix-224",
    "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct",
    "deepseek-ai/DeepSeek-V3",
)
"""Models without windows or recurrence, by kind: MHA, GQA twice, MQA, MLA twice."""

FEW_USERS, MANY_USERS = 1, 8
"""With one user there is nothing to share, so the guide then speaks of eight."""


def find_attention(spec: ModelSpec) -> Attention | None:
    """The attention of a model's layers that see the most: those without a window where there are any."""
    attends = [g.attention for g in spec.groups if g.attention is not None and g.attention.has_cache]
    return min(attends, key=lambda a: a.window_tokens is not None) if attends else None


def describe_heads(attention: Attention) -> str:
    """Who shares keys and values, in words."""
    if attention.latent is not None:
        row = attention.latent.kv_lora_rank + attention.latent.rope_head_dim
        return f"{attention.n_heads} heads rebuild keys and values from one row of {row}"
    if attention.n_kv_heads == attention.n_heads:
        return f"each of {attention.n_heads} heads keeps its own keys and values"
    if attention.n_kv_heads == 1:
        return f"all {attention.n_heads} heads share one head of keys and values"
    return f"{attention.n_heads} heads share {attention.n_kv_heads} heads of keys and values"


def show_attention(lesson: Lesson) -> None:
    """MHA, GQA, MQA, MLA: the same context in real models, and the example as it might have been."""
    attention = find_attention(lesson.spec)
    if attention is None:
        say(f"{lesson.card.name} keeps no keys or values at all.")
    else:
        say(say_heads(lesson, attention))
    left, right = guide_frame.split()
    with left:
        tell(
            "To write the next word a model looks back at every word before it. What it needs of them, their keys and "
            "values, is kept: that is the KV cache. How much there is of it depends on who shares.",
            "**MHA**: every head keeps its own. **GQA**: groups of heads share. **MQA**: all heads share one. "
            "**MLA**: keys and values are kept as one short row and rebuilt when needed.",
            "K and V types of 8 or 4 bits shrink the cache further; the Size page offers them.",
        )
        guide_frame.show_formula(find_formulas("token", "width"), lesson.list_formulas("KV cache"))
        guide_frame.link_to_size(lesson, "The example's cache in other types and contexts")
    with right:
        workload = guide_frame.with_context(lesson.workload, lesson.workload.context_tokens)
        tokens = format_tokens(workload.context_tokens)
        st.subheader(f"Bytes for one token past {tokens}, f16", anchor=False)
        bars = [*list_variants(lesson, workload), *list_compared(lesson, workload)]
        frame.show_chart(
            charts_guide.bars_chart(bars),
            "guide_attention",
            describe_bars(bars),
            name=f"cache-of-a-token-{lesson.card.name}",
        )


def say_heads(lesson: Lesson, attention: Attention) -> str:
    """The example's kind of attention, and its bytes for a token against those of MHA."""
    growth = estimate_growth(lesson.spec, lesson.workload)
    many = estimate_growth(as_multi_head(lesson.spec), lesson.workload)
    kind = attention.name.split(" ")[0]
    told = f"{lesson.card.name} uses {kind}: {describe_heads(attention)}. A token costs {format_bytes(growth)} of cache"
    if many > growth:
        return f"{told}, {many / growth:.3g} times less than with MHA."
    return f"{told}."


def list_variants(lesson: Lesson, workload: Workload) -> list[Bar]:
    """The example as MHA and as MQA would have it, where it is neither."""
    own = estimate_growth(lesson.spec, workload)
    found = []
    for kind, spec in (("MHA", as_multi_head(lesson.spec)), ("MQA", as_multi_query(lesson.spec))):
        growth = estimate_growth(spec, workload)
        if growth != own:
            title = f"{lesson.card.name} if it were {kind}: {format_bytes(growth)}"
            found.append(Bar(title, (Segment("as it might have been", growth, HOLLOW, f"{format_bytes(growth)}"),)))
    return found


def list_compared(lesson: Lesson, workload: Workload) -> list[Bar]:
    """The example and real models of every kind, the heaviest cache first."""
    cards = {c.model_id: c for c in (lesson.card, *cached.find_cards(COMPARED))}
    grown = [(estimate_growth(c.spec, workload), c) for c in cards.values()]
    ranked = sorted(grown, key=lambda pair: -pair[0])
    return [draw_growth(card, n, workload, card.model_id == lesson.card.model_id) for n, card in ranked]


def draw_growth(card: ModelCard, growth: float, workload: Workload, is_example: bool) -> Bar:
    """One model's bytes for a token as a bar, its whole cache on touching it."""
    (cache,) = estimate_caches([card.spec], workload)
    kinds = ", ".join(f"{n} x {kind}" for kind, n in count_layer_kinds(card.spec).items())
    attention = find_attention(card.spec)
    kind = attention.name.split(" ")[0] if attention else "none"
    told = f"{kinds}<br>{format_bytes(cache.total_bytes)} at {format_tokens(workload.context_tokens)} tokens"
    title = f"{card.name}, {kind}: {format_bytes(growth)}"
    segment = Segment("a model of the catalog", growth, KV_CACHE, told)
    return Bar(title, (segment,), is_example)


def show_pages(lesson: Lesson) -> None:
    """Slots of the whole context against pages taken as needed, for the users of the bar."""
    workload = lesson.workload
    n_users = workload.n_parallel if workload.n_parallel > FEW_USERS else MANY_USERS
    context = workload.context_tokens
    (slot,) = estimate_caches([lesson.spec], Workload(context))
    if not slot.kv_bytes:
        say(f"{lesson.card.name} keeps no keys or values, so its users share nothing but the weights.")
        return
    lengths = spread_lengths(n_users, context)
    slots, pages = reserve_slots(lengths, context), reserve_pages(lengths)
    per_token = slot.kv_bytes / context
    say(
        f"{n_users} users of {lesson.card.name} reserve {format_bytes(slots.reserved_tokens * per_token)} of cache in "
        f"slots of {format_tokens(context)} tokens, and {format_bytes(pages.reserved_tokens * per_token)} in pages of "
        f"{VLLM_BLOCK_TOKENS}."
    )
    left, right = guide_frame.split()
    with left:
        tell(
            "A slot reserves the whole context for its user, who may need a tenth of it. PagedAttention cuts the cache "
            "into pages that are handed out as text grows, so only the last page of each user has empty places.",
            "In systems before it 20.4% to 38.2% of the cache held tokens (Kwon et al. 2023). In this example: "
            f"{slots.used_share:.1%} in slots, {pages.used_share:.1%} in pages; the users' lengths are assumed to be "
            f"spread evenly from {format_tokens(lengths[0])} to {format_tokens(lengths[-1])} tokens.",
            "vLLM pages. llama-server has slots, or one pool that its slots share (`--kv-unified`); the figures of "
            "this app are for slots.",
        )
        guide_frame.show_formula(find_formulas("slots", "pages"))
        guide_frame.link_to_size(lesson, f"The example with {n_users} users", users=n_users)
    with right:
        bars = [
            draw_reserved("Slots", slots, per_token),
            draw_reserved(f"Pages of {VLLM_BLOCK_TOKENS} tokens", pages, per_token),
        ]
        frame.show_chart(
            charts_guide.bars_chart(bars),
            "guide_pages",
            describe_bars(bars),
            name=f"slots-and-pages-{lesson.card.name}",
        )
        show_room(lesson, slot, pages.reserved_tokens * per_token / n_users)


def draw_reserved(what: str, reserved: Reserved, per_token: float) -> Bar:
    """What is taken as a bar: what holds tokens, and what is empty."""
    used, empty = reserved.used_tokens * per_token, reserved.empty_tokens * per_token
    title = f"{what}: {format_bytes(reserved.reserved_tokens * per_token)}, {reserved.used_share:.1%} of it used"
    segments = (
        Segment("holds tokens", used, KV_CACHE, f"holds tokens: {format_bytes(used)}"),
        Segment("reserved and empty", empty, HOLLOW, f"reserved and empty: {format_bytes(empty)}"),
    )
    return Bar(title, segments)


def show_room(lesson: Lesson, slot: CacheBytes, paged_bytes: float) -> None:
    """How many such users the machine of the bar has room for, by slots and by pages."""
    sized = lesson.size(Workload(lesson.workload.context_tokens))
    if lesson.weights is None or sized is None or sized.told.fit.verdict not in (Verdict.FITS, Verdict.TIGHT):
        st.caption(f"On {lesson.device_name} even one user does not fit beside the weights.")
        return
    used, usable = words.used_of(sized.told, lesson.machine)
    room = usable - used + slot.total_bytes
    by_slots = room // max(slot.total_bytes, 1)
    by_pages = int(room // max(paged_bytes + slot.state_bytes, 1))
    table = pd.DataFrame(
        {
            "Way": ["Slots", "Pages"],
            "Each user, GiB": [slot.total_bytes / GIB, (paged_bytes + slot.state_bytes) / GIB],
            "Users with room": [f"{by_slots:,}", f"{by_pages:,}"],
        }
    )
    st.caption(
        f"{format_bytes(room)} are free for caches on {lesson.device_name} beside {name_in_prose(lesson.card.name)} at "
        f"{lesson.quant}; buffers as for one user."
    )
    guide_frame.show_table(table, "guide_room", "Users with room", name=f"users-with-room-{lesson.card.name}")

"""Building a machine part by part: widgets over the one field that holds its text.

Like `pages.ui.inputs` it reads what was picked; what lasts is the text in the address.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from catalog.machine_text import MAX_TEXT_CHARACTERS, THIS, MachinePart, read_described, read_parts, write_parts
from pages.ui import inputs
from pages.ui.questions import MachineDraft, read_draft
from sizing.errors import BadInputError
from sizing.hardware import Device, DeviceKind
from sizing.units import GIB

COMMON_RAM = (
    *(f"{gib} GB DDR5-5600" for gib in (16, 32, 48, 64, 96, 128, 192, 256)),
    *(f"{gib} GB DDR4-3200" for gib in (16, 32, 64, 128)),
)
CARD_COUNTS = (1, 2, 3, 4, 6, 8)
NO_CARD = "none"


def show(devices: tuple[Device, ...], present: str, assumed_host: str) -> None:
    """Build a machine: a card, how many, the RAM; further cards, memory in use and the text itself under 'More'.

    `present` is the text of the machine shown, with every device by its full name. Each pick writes the address.
    """
    cards = tuple(d.name for d in devices if d.kind is DeviceKind.GPU)
    pools = tuple(d.name for d in devices if d.kind is DeviceKind.UNIFIED)
    hosts = tuple(d.name for d in devices if d.kind is DeviceKind.CPU)
    draft = read_draft(present, {h.casefold() for h in hosts})
    first = draft.cards[0].name if draft.cards else NO_CARD
    alone = first == THIS or _is_pool(first, pools)

    _first_picker(draft, first, (THIS, *cards, *pools, NO_CARD), pools, assumed_host)
    for index, card in enumerate(draft.cards):
        if index:
            _card_picker(draft, index, cards)
        if card.name != THIS and not _is_pool(card.name, pools):
            _count_picker(draft, index)
    if not alone:
        _ram_picker(draft, (*COMMON_RAM, *hosts), assumed_host)
    with st.expander("More: another card, memory in use, as text", key="machine_more"):
        if draft.cards and not _is_pool(first, pools):
            _card_picker(draft, len(draft.cards), cards)
        for index, part in enumerate(draft.cards):
            if part.name != THIS:
                _used_picker(part, f"machine_used_{index}", lambda new, i=index: draft.with_card(i, new))
        if draft.host is not None:
            _used_picker(draft.host, "machine_used_ram", lambda new: replace(draft, host=new))
        _machine_text(present)


def _first_picker(
    draft: MachineDraft, first: str, options: tuple[str, ...], pools: tuple[str, ...], assumed_host: str
) -> None:
    """The first card, this machine, a unified one, or no card at all."""
    key = "machine_card_0"
    st.session_state[key] = first

    def write() -> None:
        new = st.session_state[key] or THIS
        if new == NO_CARD:
            inputs.set_field("machine", (draft.host or MachinePart(assumed_host)).text)
            return
        parts = _typed_parts(new)
        if parts is None:
            return
        if len(parts) > 1:  # a whole machine was typed into the box
            inputs.set_field("machine", write_parts(parts))
        elif new == THIS or _is_pool(new, pools):
            inputs.set_field("machine", new)
        else:
            kept = draft.cards[0] if draft.cards and draft.cards[0].name not in (THIS, *pools) else None
            count = kept.count if kept and parts[0].count == 1 else parts[0].count
            inputs.set_field("machine", draft.with_card(0, replace(parts[0], count=count)).text)

    st.selectbox(
        "Card or machine",
        options if first in options else (first, *options),
        key=key,
        format_func=lambda v: {THIS: "This machine", NO_CARD: "No card, processor alone"}.get(v, v),
        on_change=write,
        help="Type to search, or describe one that is not listed: 24 GiB card at 936 GB/s, 128 GiB unified at 273 GB/s",
        accept_new_options=True,
    )


def _card_picker(draft: MachineDraft, index: int, cards: tuple[str, ...]) -> None:
    """A further card: picked, replaced, or cleared away."""
    key = f"machine_card_{index}"
    present = draft.cards[index] if index < len(draft.cards) else None
    st.session_state[key] = present.name if present else None

    def write() -> None:
        new = st.session_state[key]
        if new is None:
            inputs.set_field("machine", draft.with_card(index, None).text)
            return
        parts = _typed_parts(new)
        if parts is not None:
            count = present.count if present and parts[0].count == 1 else parts[0].count
            inputs.set_field("machine", draft.with_card(index, replace(parts[0], count=count)).text)

    st.selectbox(
        "And" if present else "Another kind of card",
        cards if present is None or present.name in cards else (present.name, *cards),
        index=None,
        key=key,
        placeholder="None",
        on_change=write,
        accept_new_options=True,
    )


def _count_picker(draft: MachineDraft, index: int) -> None:
    """How many of a card."""
    key, card = f"machine_count_{index}", draft.cards[index]
    st.session_state[key] = card.count

    def write() -> None:
        inputs.set_field("machine", draft.with_card(index, replace(card, count=st.session_state[key] or 1)).text)

    st.segmented_control(
        f"How many {card.name}",
        tuple(sorted({*CARD_COUNTS, card.count})),
        key=key,
        required=True,
        on_change=write,
    )


def _ram_picker(draft: MachineDraft, options: tuple[str, ...], assumed_host: str) -> None:
    """The RAM by size and kind, or a listed host."""
    key = "machine_ram"
    present = draft.host.name if draft.host else None
    st.session_state[key] = present

    def write() -> None:
        new = st.session_state[key]
        parts = _typed_parts(new) if new else ()
        if parts is not None:
            inputs.set_field("machine", replace(draft, host=parts[0] if parts else None).text)

    st.selectbox(
        "RAM",
        options if present is None or present in options else (present, *options),
        index=None,
        key=key,
        placeholder=f"{assumed_host} (assumed)",
        on_change=write,
        help="Type to search, or describe it: 128 GB DDR5-4800 x8ch, 64 GB RAM at 60 GB/s",
        accept_new_options=True,
    )


def _used_picker(part: MachinePart, key: str, change: Callable[[MachinePart], MachineDraft]) -> None:
    """Memory of one device that other programs hold."""
    st.session_state[key] = part.used_bytes / GIB
    each = "on each " if part.count > 1 else "on "

    def write() -> None:
        held = int((st.session_state[key] or 0.0) * GIB)
        inputs.set_field("machine", change(replace(part, used_bytes=held, usable_bytes=0)).text)

    st.number_input(
        f"Held by other programs {each}{part.name}, GiB", 0.0, 65_536.0, step=0.5, format="%g", key=key, on_change=write
    )


def _machine_text(present: str) -> None:
    """The machine as text, to read, change and share."""
    key = "machine_text"
    st.session_state[key] = present

    def write() -> None:
        inputs.set_field("machine", st.session_state[key].strip()[:MAX_TEXT_CHARACTERS] or THIS)

    st.text_input("As text", key=key, on_change=write)
    st.caption("Parts with +, such as 24 GiB card at 936 GB/s*2 (1 GiB used) + 128 GB DDR5-4800 x8ch")


def _typed_parts(text: str) -> tuple[MachinePart, ...] | None:
    """The parts of what was picked or typed; None where it cannot be read, which the page then says."""
    try:
        return read_parts(text)
    except BadInputError:
        inputs.set_field("machine", text[:MAX_TEXT_CHARACTERS])
        return None


def _is_pool(name: str, pools: tuple[str, ...]) -> bool:
    """Whether a part is unified memory, listed or described."""
    try:
        described = read_described(name)
    except BadInputError:
        described = None
    return name in pools or (described is not None and described.kind is DeviceKind.UNIFIED)

"""What the person asked for: the only reader of widgets and of the address (query parameters).

The address is the truth. Every field has one name there, a default that stays out of the address, and a parser that
refuses nonsense with a sentence. Widgets write the address; pages read frozen values. Fields survive a change of page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st

from pages.ui.questions import CatalogFilter, HandMachine, SizeChoice, Wishes
from sizing.errors import BadInputError, UnknownNameError
from sizing.hardware import Device, DeviceKind
from sizing.quants import find_kv_type, find_quant
from sizing.recommend import LICENSE_USES, TASKS
from sizing.units import format_tokens
from sizing.workload import MAX_PARALLEL

TASK_WORDS = {t: t.upper() if t == "rag" else t.capitalize() for t in TASKS}
LICENSE_WORDS = {"commercial": "Commercial use", "research": "Research use", "any": "Any licence"}
COMMON_CONTEXTS = (4096, 8192, 16384, 32768, 65536, 131072)
MAX_CONTEXT_TOKENS = 2**27
THIS, LISTED, BY_HAND = "this", "listed", "hand"
HAND_KINDS = ("gpu", "cpu", "unified")
HAND_WORDS = {"gpu": "With graphics cards", "cpu": "Processor only", "unified": "Unified memory"}
OPENNESS = ("open source", "open weight", "restricted weight")
VERIFIED_WORDS = {"all": "All facts", "read": "Read from the publisher's files", "recalled": "Partly unverified"}


@dataclass(frozen=True, slots=True)
class Field:
    """One input: its name in the address, its default as text, how text becomes a value."""

    name: str
    default: str
    parse: Callable[[str], Any]


def _whole(what: str, low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text.replace(",", "").replace("_", ""))
        except ValueError:
            raise BadInputError(f"{what} wants a whole number from {low:,} to {high:,}, got {text!r}") from None
        if not low <= value <= high:
            raise BadInputError(f"{what} wants a whole number from {low:,} to {high:,}, got {value:,}")
        return value

    return parse


def _number(what: str, low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text.replace(",", ""))
        except ValueError:
            raise BadInputError(f"{what} wants a number from {low:g} to {high:g}, got {text!r}") from None
        if not low <= value <= high:  # also refuses nan
            raise BadInputError(f"{what} wants a number from {low:g} to {high:g}, got {text!r}")
        return value

    return parse


def _one_of(what: str, known: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in known:
            raise BadInputError(f"{what} wants one of {', '.join(known)}, got {text!r}")
        return text.lower()

    return parse


def _text(what: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if len(text) > 200 or not text.isprintable():
            raise BadInputError(f"{what} wants a name of at most 200 plain characters")
        return text.strip()

    return parse


def _several(what: str) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        _text(what)(text[:200])
        if len(text) > 2000:
            raise BadInputError(f"{what} wants at most 2,000 characters, got {len(text):,}")
        return tuple(dict.fromkeys(part.strip() for part in text.split("|") if part.strip()))

    return parse


_FIELDS = (
    Field("machine", THIS, _text("machine")),
    Field("kind", "gpu", _one_of("kind", HAND_KINDS)),
    Field("ram", "32", _number("ram (GiB)", 0.5, 65_536)),
    Field("cards", "1", _whole("cards", 1, 16)),
    Field("card", "24", _number("card (GiB)", 0.5, 1_024)),
    Field("card_bandwidth", "0", _number("card_bandwidth (GB/s)", 0, 100_000)),
    Field("ram_bandwidth", "0", _number("ram_bandwidth (GB/s)", 0, 100_000)),
    Field("task", "chat", _one_of("task", TASKS)),
    Field("context", "8192", _whole("context", 1, MAX_CONTEXT_TOKENS)),
    Field("users", "1", _whole("users", 1, MAX_PARALLEL)),
    Field("speed", "0", _number("speed (tokens/s)", 0, 100_000)),
    Field("licence", "commercial", _one_of("licence", LICENSE_USES)),
    Field("model", "", _text("model")),
    Field("quant", "", lambda text: find_quant(text).name if text else ""),
    Field("ubatch", "512", _whole("ubatch", 1, 65_536)),
    Field("kv_k", "f16", lambda text: find_kv_type(text).name),
    Field("kv_v", "f16", lambda text: find_kv_type(text).name),
    Field("flash", "on", _one_of("flash", ("on", "off"))),
    Field("find", "", _text("find")),
    Field("family", "", _several("family")),
    Field("licence_id", "", _several("licence_id")),
    Field("openness", "", _several("openness")),
    Field("modality", "", _several("modality")),
    Field("suits", "", _several("suits")),
    Field("at_least", "0", _whole("at_least (tokens)", 0, MAX_CONTEXT_TOKENS)),
    Field("facts", "all", _one_of("facts", ("all", "read", "recalled"))),
)
FIELDS = {f.name: f for f in _FIELDS}
_STORE = "address"


def load_address() -> tuple[str, ...]:
    """Bring the address and what was chosen before together; returns what was refused, one sentence each.

    A value in the address wins over one kept from another page. A refused value falls back to its default.
    """
    kept: dict[str, str] = dict(st.session_state.get(_STORE, {}))
    problems = []
    for name in st.query_params:
        field = FIELDS.get(name)
        if field is None:
            continue
        text = st.query_params[name]
        try:
            field.parse(text)
        except (BadInputError, UnknownNameError) as error:
            kept.pop(name, None)
            problems.append(f"{error}. Using {field.default or 'the default'} instead.")
        else:
            kept[name] = text
    _keep(kept)
    return tuple(problems)


def set_field(name: str, text: str) -> None:
    """Write one field, here and in the address."""
    _keep({**st.session_state.get(_STORE, {}), name: text})


def read(name: str) -> Any:
    """The parsed value of a field; its default where nothing valid was given."""
    field = FIELDS[name]
    return field.parse(st.session_state.get(_STORE, {}).get(name, field.default))


def read_wishes() -> Wishes:
    """The question in the context bar."""
    hand = HandMachine(
        read("kind"), read("ram"), read("cards"), read("card"), read("card_bandwidth"), read("ram_bandwidth")
    )
    return Wishes(
        machine=read("machine") or THIS,
        hand=hand,
        task=read("task"),
        context_tokens=read("context"),
        n_parallel=read("users"),
        min_tokens_per_s=read("speed"),
        license_use=read("licence"),
    )


def read_size_choice() -> SizeChoice:
    """The knobs of the Size page."""
    return SizeChoice(
        model=read("model"),
        quant=read("quant"),
        n_ubatch=read("ubatch"),
        kv_type_k=read("kv_k"),
        kv_type_v=read("kv_v"),
        flash_attention=read("flash") == "on",
    )


def read_catalog_filter() -> CatalogFilter:
    """What the Catalog page is asked to show."""
    return CatalogFilter(
        text=read("find"),
        families=read("family"),
        licenses=read("licence_id"),
        openness=read("openness"),
        modalities=read("modality"),
        tasks=read("suits"),
        min_context_tokens=read("at_least"),
        confidence=read("facts"),
    )


def address_of(**changes: object) -> dict[str, str]:
    """Query parameters of the present question with `changes`, for a link to another page."""
    kept = {**st.session_state.get(_STORE, {}), **{k: str(v) for k, v in changes.items()}}
    return {k: v for k, v in kept.items() if v != FIELDS[k].default}


# ---- widgets: each shows one field and writes it back when changed ----


def choice(
    name: str,
    label: str,
    options: tuple[str, ...],
    words: dict[str, str] | None = None,
    *,
    shown: str | None = None,
    width: int | Literal["stretch"] = "stretch",
) -> None:
    """A select box over the values of a field, in `words`; `shown` is what the page shows if not the field's value.

    `width` is in pixels of the screen.
    """
    _seed(name, lambda v: shown if shown is not None else str(v))
    st.selectbox(
        label,
        options,
        key=_key(name),
        format_func=lambda v: (words or {}).get(v, v),
        on_change=_write,
        args=(name,),
        width=width,
    )


def segments(name: str, label: str, options: tuple[str, ...], words: dict[str, str] | None = None) -> None:
    """A few values side by side, always one of them chosen."""
    _seed(name, str)
    st.segmented_control(
        label,
        options,
        key=_key(name),
        required=True,
        format_func=lambda v: (words or {}).get(v, v),
        on_change=_write,
        args=(name,),
    )


def whole(name: str, label: str, low: int, high: int, step: int = 1, help: str | None = None) -> None:
    """A whole number."""
    _seed(name, int)
    st.number_input(label, low, high, step=step, key=_key(name), on_change=_write, args=(name,), help=help)


def number(name: str, label: str, low: float, high: float, step: float = 1.0, help: str | None = None) -> None:
    """A number."""
    _seed(name, float)
    st.number_input(
        label,
        float(low),
        float(high),
        step=float(step),
        format="%g",
        key=_key(name),
        on_change=_write,
        args=(name,),
        help=help,
    )


def machine_picker(devices: tuple[Device, ...]) -> None:
    """This machine, a listed one (any number of one card, in a listed host), or one typed in by hand."""
    present = read("machine") or THIS
    name, count, host = split_machine(present)
    way = present if present in (THIS, BY_HAND) else LISTED
    names = tuple(d.name for d in devices if d.kind is not DeviceKind.CPU)
    hosts = tuple(d.name for d in devices if d.kind is DeviceKind.CPU)
    st.session_state["machine_way"] = way

    def write_way() -> None:
        new = st.session_state["machine_way"]
        set_field("machine", (names or (THIS,))[0] if new == LISTED else new or THIS)

    st.segmented_control(
        "Machine",
        (THIS, LISTED, BY_HAND),
        key="machine_way",
        required=True,
        format_func=lambda v: {THIS: "This machine", LISTED: "A listed one", BY_HAND: "By hand"}[v],
        on_change=write_way,
    )
    if way != LISTED:
        return
    kinds = {d.name.casefold(): d.kind for d in devices}
    st.session_state["machine_name"] = _known(name, (*names, *hosts))
    st.session_state["machine_count"] = count
    st.session_state["machine_host"] = _known(host, hosts)

    def write_listed() -> None:
        chosen, n = st.session_state["machine_name"], st.session_state.get("machine_count", 1)
        if chosen is None:
            return
        card = kinds.get(chosen.casefold()) is DeviceKind.GPU
        below = st.session_state.get("machine_host")
        text = f"{chosen}*{n}" if card and n > 1 else chosen
        set_field("machine", f"{text} + {below}" if card and below else text)

    st.selectbox("Name", (*names, *hosts), key="machine_name", on_change=write_listed, placeholder=name)
    if kinds.get(name.casefold(), DeviceKind.GPU) is DeviceKind.GPU:
        left, right = st.columns([1, 3])
        left.number_input("How many", 1, 16, key="machine_count", on_change=write_listed)
        right.selectbox("In", hosts, key="machine_host", on_change=write_listed, placeholder="a common desktop")


def split_machine(text: str) -> tuple[str, int, str]:
    """A listed machine's text as name, count and host.

    >>> split_machine("RTX 4090*2 + PC DDR5-5600 64GB")
    ('RTX 4090', 2, 'PC DDR5-5600 64GB')
    """
    text, _, host = (part.strip() for part in text.partition("+"))
    name, star, count = text.rpartition("*")
    if star and count.strip().isdigit() and 1 <= int(count) <= 16:
        return name.strip(), int(count), host
    return text, 1, host


def _known(name: str, names: tuple[str, ...]) -> str | None:
    """The listed name that a text means, whatever its case."""
    return next((n for n in names if n.casefold() == name.casefold()), None)


def context_quick_picks() -> None:
    """The usual contexts as one row of pills above the number."""
    key = _key("context_pick")
    value = read("context")
    st.session_state[key] = value if value in COMMON_CONTEXTS else None

    def write() -> None:
        if st.session_state[key] is not None:
            set_field("context", str(st.session_state[key]))

    st.pills(
        "Context, tokens per user",
        COMMON_CONTEXTS,
        key=key,
        format_func=format_tokens,
        on_change=write,
    )


def several(name: str, label: str, options: tuple[str, ...], placeholder: str = "All") -> None:
    """Any number of values of a field that holds several; none means all."""
    key = _key(name)
    st.session_state[key] = [v for v in read(name) if v in options]

    def write() -> None:
        set_field(name, "|".join(st.session_state[key]))

    st.multiselect(label, options, key=key, on_change=write, placeholder=placeholder)


def text(name: str, label: str, placeholder: str) -> None:
    """Free text, written when the person leaves the box."""
    key = _key(name)
    st.session_state[key] = read(name)

    def write() -> None:
        set_field(name, st.session_state[key].strip()[:200])

    st.text_input(label, key=key, on_change=write, placeholder=placeholder)


def picked_row(key: str) -> int | None:
    """The row picked in the table called `key`, as it stood when this run began."""
    state = st.session_state.get(key)
    rows = state["selection"]["rows"] if state else []
    return int(rows[0]) if rows else None


def _key(name: str) -> str:
    return f"field_{name}"


def _seed(name: str, to_widget: Callable[[Any], Any]) -> None:
    """Give a widget the field's present value; the address, not the widget, is what lasts."""
    st.session_state[_key(name)] = to_widget(read(name))


def _write(name: str) -> None:
    value = st.session_state[_key(name)]
    if value is None:
        return
    set_field(name, f"{value:g}" if isinstance(value, float) else str(value))


def _keep(kept: dict[str, str]) -> None:
    """Store the fields and show those that differ from their default in the address."""
    kept = {k: v for k, v in kept.items() if v != FIELDS[k].default}
    st.session_state[_STORE] = kept
    for name in FIELDS:
        if name in kept:
            if st.query_params.get(name) != kept[name]:
                st.query_params[name] = kept[name]
        elif name in st.query_params:
            del st.query_params[name]

"""What the person asked for: the only reader of widgets and of the address (query parameters).

The address is the truth. Every field has one name there, a default that stays out of the address, and a parser that
refuses nonsense with a sentence. Widgets write the address; pages read frozen values. Fields survive a change of page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from catalog.hub_answers import HubQuery
from catalog.license_rules import make_profile
from catalog.machine_text import (
    MAX_CARDS,
    THIS,
    THIS_NAMES,
)
from catalog.search import MAX_WORDS, CatalogSearch
from pages.ui.address_fields import (  # noqa: F401 - the words of fields are read here by those who draw them
    ALIKE_WORDS,
    FIELDS,
    FIRST_MODEL,
    FIRST_SUITE,
    HUB_FILES,
    HUB_LICENCES,
    HUB_LIMIT,
    HUB_SIZES,
    HUB_SORTS,
    HUB_TASKS,
    LICENSE_WORDS,
    MAX_BILLIONS,
    MAX_CONTEXT_TOKENS,
    MAX_RUNS_SHOWN,
    NOT_KNOWN,
    OPENNESS,
    ORIGIN_WORDS,
    REGIONS,
    TAKE_WORDS,
    TAKES,
    TASK_WORDS,
    TOPICS,
    VERIFIED_WORDS,
    YES_NO,
    Field,
)
from pages.ui.address_parsers import (
    AUTO,
    choice_parser,
    number_parser,
    whole_parser,
)
from pages.ui.cost_fields import COST_FIELDS
from pages.ui.evaluate_fields import EVALUATE_FIELDS, write_identities
from pages.ui.finetune_fields import FINETUNE_FIELDS
from pages.ui.questions import (
    BesideChoice,
    EngineChoice,
    HandPlacement,
    SizeChoice,
    Wishes,
    text_of_hand_machine,
)
from sizing.engines.base import EngineOptions
from sizing.errors import BadInputError, UnknownNameError
from sizing.license_profile import LicenseProfile
from sizing.units import format_tokens

COMMON_CONTEXTS = (4096, 8192, 16384, 32768, 65536, 131072)
NEEDLE_CONTEXTS = (1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
_PLACEMENT = ("gpu_layers", "split", "cpu_moe", "expert_layers")
ENGINE_SETTINGS = ("gpu_share", "tp", "pp", "batched_tokens", "sequences", "eager")
"""Settings that only engines other than llama.cpp have."""
_BELONGS_TO = {
    "machine": (*_PLACEMENT, "tp", "pp", "buy_usd", "watts", "idle_watts", "rent", "rent_usd", "reserved_usd"),
    "model": (*_PLACEMENT, "draft", "draft_quant", "projector"),
    "engine": ("format", "kv_type", *ENGINE_SETTINGS),
    "rent": ("rent_usd", "reserved_usd"),
    "api": ("api_in_usd", "api_out_usd", "api_cached_usd"),
    "power": ("kwh_usd",),
}
"""Fields that say nothing once another model or machine is on the page: they go with it."""
_STORE = "address"
_LAST_MACHINE = "last_machine"
_REFUSED = "refused"
_CATALOG_HERE = "catalog_here"
_OLD_BY_HAND = "hand"
_OLD_FIELDS = (
    Field("kind", "gpu", choice_parser("kind", ("gpu", "cpu", "unified"))),
    Field("ram", "32", number_parser("ram (GiB)", 0.5, 65_536)),
    Field("cards", "1", whole_parser("cards", 1, MAX_CARDS)),
    Field("card", "24", number_parser("card (GiB)", 0.5, 1_024)),
    Field("card_bandwidth", "0", number_parser("card_bandwidth (GB/s)", 0, 100_000)),
    Field("ram_bandwidth", "0", number_parser("ram_bandwidth (GB/s)", 0, 100_000)),
)
"""What described a machine before it had a text: understood in the order `text_of_hand_machine` takes them."""


def load_address(catalog_version: str) -> tuple[str, ...]:
    """Bring the address and what was chosen before together; returns what was refused, one sentence each.

    A value in the address wins over one kept from another page. A refused value falls back to its default.
    `catalog_version` is that of the facts here: every address carries it, one that was made with others keeps theirs
    until something is changed or another page opened.
    """
    st.session_state[_CATALOG_HERE] = catalog_version
    kept: dict[str, str] = dict(st.session_state.get(_STORE, {}))
    kept.pop("catalog", None)
    problems = _renew_old_address()
    given = {name: st.query_params[name] for name in st.query_params}
    for name in _list_stale(kept, given):
        if name not in given:
            kept.pop(name, None)
    for name in given:
        field = FIELDS.get(name)
        if field is None:
            continue
        text = given[name]
        try:
            field.parse(text)
        except (BadInputError, UnknownNameError) as error:
            kept.pop(name, None)
            default = {"machine": "this machine", "catalog": "the facts that are here"}.get(name, field.default)
            problems.append(say_refusal(error, default or "the default"))
        else:
            kept[name] = text
    _keep(kept)
    return (*problems, *st.session_state.pop(_REFUSED, ()))


def _renew_old_address() -> list[str]:
    """Turn the numbers of a machine by hand, as older addresses hold them, into its text; returns what was refused."""
    given = {f.name: st.query_params[f.name] for f in _OLD_FIELDS if f.name in st.query_params}
    by_hand = st.query_params.get("machine", "").lower() == _OLD_BY_HAND
    for name in given:
        del st.query_params[name]
    if not by_hand:
        return []
    values, problems = [], []
    for old in _OLD_FIELDS:
        try:
            values.append(old.parse(given.get(old.name, old.default)))
        except BadInputError as error:
            values.append(old.parse(old.default))
            problems.append(say_refusal(error, old.default))
    st.query_params["machine"] = text_of_hand_machine(*values)
    return problems


def say_refusal(error: Exception, instead: str) -> str:
    """What was refused and what is used in its place."""
    said = str(error)
    return f"{said}{'' if said.endswith('?') else '.'} Using {instead} instead."


def keep_machine(text: str) -> None:
    """Remember a machine that was understood, to go back to when the next one is not."""
    st.session_state[_LAST_MACHINE] = text


def return_to_machine() -> str:
    """Go back to the last machine that was understood, this one if there was none; returns its text."""
    last = str(st.session_state.get(_LAST_MACHINE, THIS))
    set_field("machine", last)
    return last


def find_other_catalog() -> str:
    """The catalog's version an opened link was made with, where it is not the one that is here, else nothing."""
    return str(read("catalog"))


def set_field(name: str, text: str) -> None:
    """Write one field, here and in the address."""
    set_fields({name: text})


def set_fields(values: Mapping[str, str]) -> None:
    """Write several fields at once, here and in the address; what belonged to another model or machine goes."""
    kept: dict[str, str] = dict(st.session_state.get(_STORE, {}))
    kept.pop("catalog", None)  # what a link said of other facts is not about this question
    for name in _list_stale(kept, values):
        kept.pop(name, None)
    _keep({**kept, **values})


def clear_placement() -> None:
    """Leave the placement to the formulas again."""
    set_fields({name: FIELDS[name].default for name in _PLACEMENT})


def _list_stale(kept: Mapping[str, str], new: Mapping[str, str]) -> tuple[str, ...]:
    """The fields that belong to a model or machine which `new` replaces."""
    return tuple(
        name
        for owner, names in _BELONGS_TO.items()
        if kept and owner in new and new[owner] != kept.get(owner, FIELDS[owner].default)
        for name in names
    )


def read(name: str) -> Any:
    """The parsed value of a field; its default where nothing valid was given."""
    field = FIELDS[name]
    return field.parse(st.session_state.get(_STORE, {}).get(name, field.default))


def read_wishes() -> Wishes:
    """The question in the context bar."""
    machine = read("machine") or THIS
    return Wishes(
        machine=THIS if machine.casefold() in THIS_NAMES else machine,
        task=read("task"),
        context_tokens=read("context"),
        n_parallel=read("users"),
        min_tokens_per_s=read("speed"),
        license_use=read("licence"),
        license_profile=read_license_profile(),
        engine=read("engine"),
    )


def read_engine_choice() -> EngineChoice:
    """The settings of an engine other than llama.cpp, all of them its own defaults unless given."""
    options = EngineOptions(
        gpu_memory_utilization=read("gpu_share"),
        tensor_parallel=read("tp"),
        pipeline_parallel=read("pp"),
        max_batched_tokens=read("batched_tokens"),
        max_sequences=read("sequences"),
        eager=read("eager") == "on",
    )
    return EngineChoice(read("format"), read("kv_type"), options)


def read_license_profile() -> LicenseProfile:
    """Who asks and what for, as licences are held against it."""
    profile = LicenseProfile(
        users_per_month=read("lic_users"),
        revenue_usd_per_year=read("lic_revenue"),
        region=read("lic_region"),
        fine_tunes=read("lic_finetune"),
        redistributes=read("lic_redistribute"),
        trains_on_outputs=read("lic_outputs"),
        fields=frozenset(read("lic_fields")),
    )
    return make_profile(read("licence"), profile)


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


def read_placement() -> HandPlacement:
    """Where the layers go by hand on the Size page."""
    return HandPlacement(read("gpu_layers"), read("split"), read("cpu_moe"), read("expert_layers"))


def read_beside() -> BesideChoice:
    """What stands beside the model on the Size page."""
    return BesideChoice(read("draft"), read("draft_quant"), read("projector") == "on")


def read_catalog_search() -> CatalogSearch:
    """What the Catalog page is asked to show; of a very long text the first words count."""
    origins = {"all": (), "curated": ("curated",), "imported": ("hub", "file")}
    least, most = read("params_from"), read("params_to")
    return CatalogSearch(
        text=" ".join(read("find").split()[:MAX_WORDS]),
        families=read("family"),
        licenses=read("licence_id"),
        openness=read("openness"),
        modalities=read("modality"),
        tasks=read("suits"),
        min_context_tokens=read("at_least"),
        confidence=None if read("facts") == "all" else read("facts"),
        origins=origins[read("origin")],
        min_params=least * 10**9 or None,
        max_params=most * 10**9 or None,
    )


def read_hub_query() -> HubQuery:
    """What is searched for on the Hub. Raises BadInputError for what no repository is called."""

    def named(name: str) -> str:
        value = str(read(name))
        return "" if value == "any" else value

    most = named("hub_size")
    return HubQuery(
        text=read("hub"),
        task="" if read("hub_base") else named("hub_task"),
        license_tag=named("hub_licence"),
        base_model=read("hub_base"),
        has_gguf=read("hub_files") == "gguf",
        max_params=int(most) * 10**9 if most else None,
        sort=read("hub_sort"),
        limit=HUB_LIMIT,
    )


def address_of(**changes: object) -> dict[str, str]:
    """Query parameters of the present question with `changes`, for a link to another page."""
    kept: dict[str, str] = {**st.session_state.get(_STORE, {}), "catalog": _catalog_here()}
    new = {k: str(v) for k, v in changes.items()}
    for name in _list_stale(kept, new):
        kept.pop(name, None)
    # a change back to a default is named too, else what this session kept would win over the link
    return {k: v for k, v in {**kept, **new}.items() if v != FIELDS[k].default or (v and k in new)}


_OF_THE_QUESTION = (
    *("catalog", "machine", "task", "context", "users", "speed", "licence", "engine"),
    *(name for name in FIELDS if name.startswith("lic_")),
)
_OF_PAGE = {
    "hardware": ("offload",),
    "compare": ("compare", "compare_quant", "differs"),
    "licenses": ("terms",),
    "evaluate": ("models", "suites", "tasks", "needle", "take", "items", *(name for name, _, _ in EVALUATE_FIELDS)),
    "cost": tuple(name for name, _, _ in COST_FIELDS),
    "finetune": tuple(name for name, _, _ in FINETUNE_FIELDS),
    "catalog": (
        *("find", "family", "licence_id", "openness", "modality", "suits", "at_least", "params_from", "params_to"),
        *("origin", "facts"),
    ),
    "imports": tuple(name for name in FIELDS if name == "hub" or name.startswith("hub_")),
    "guide": ("topic",),
}
"""Fields that only one page reads: the links of others leave them out."""
_STAYS_HERE = ("folders", "runs", "judge", "file_is", "damage_run")
"""Fields that mean nothing on another computer, and are nobody else's business: folders, files, servers, runs."""
_OF_MODELS = ("models", "damage_reference", "damage_against")
"""Fields that name models to test, files and servers of this machine among them."""


def question_address(machine: str) -> dict[str, str]:
    """Query parameters of the question in the context bar alone: nothing of other pages, no folder, no address.

    Defaults are spelled out, since another program may have others, and `machine` stands for the one that is asked of.
    """
    kept: dict[str, str] = {**st.session_state.get(_STORE, {}), "catalog": _catalog_here(), "machine": machine}
    spelled = {name: kept.get(name, FIELDS[name].default) for name in _OF_THE_QUESTION}
    return {name: text for name, text in spelled.items() if text}


def page_address(page: str | None, machine: str, **shown: str) -> dict[str, str]:
    """Query parameters of a page as it stands, for another computer: the question, and what is set on the page.

    `page` is its path, "" that of the first page, None where it is not known. `shown` is what the page shows where
    nothing is set. Files, servers, folders and runs of this machine are left out.
    """
    kept: dict[str, str] = {**shown, **st.session_state.get(_STORE, {})}
    foreign = {name for owner, names in _OF_PAGE.items() if page is not None and owner != page for name in names}
    left = {k: v for k, v in kept.items() if k not in foreign and k not in (*_STAYS_HERE, *_OF_THE_QUESTION)}
    for name in left.keys() & set(_OF_MODELS):
        left[name] = "|".join(m for m in left[name].split("|") if not m.strip().startswith(("file:", "endpoint:")))
    return {**question_address(machine), **{name: text for name, text in left.items() if text}}


def _catalog_here() -> str:
    return str(st.session_state.get(_CATALOG_HERE, ""))


# ---- widgets: each shows one field and writes it back when changed ----


def choice(
    name: str,
    label: str,
    options: tuple[str, ...],
    words: dict[str, str] | None = None,
    *,
    shown: str | None = None,
    width: int | Literal["stretch"] = "stretch",
    may_type: bool = False,
) -> None:
    """A select box over the values of a field, in `words`; `shown` is what the page shows if not the field's value.

    `width` is in pixels of the screen; with `may_type` what is not among the options can be typed.
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
        accept_new_options=may_type,
    )


def identity(mark: str, label: str, options: tuple[str, ...], usual: str, words: Mapping[str, str], help: str) -> str:
    """Which model the file with a mark is, among `options`: what the person said, else the usual one, unwritten."""
    key = _key(f"file_is_{mark}")
    said = read("file_is").get(mark, usual)
    st.session_state[key] = said if said in options else usual

    def write() -> None:
        new = st.session_state[key]
        others = {k: v for k, v in read("file_is").items() if k != mark}
        set_field("file_is", write_identities(others if new == usual else {**others, mark: new}))

    st.selectbox(label, options, key=key, format_func=lambda v: words.get(v, v), on_change=write, help=help)
    return said if said in options else usual


def tabs(name: str, words: Mapping[str, str]) -> Sequence[DeltaGenerator]:
    """Tabs, one for each value of a field, the field's own open."""
    key = _key(name)
    st.session_state[key] = words[read(name)]

    def write() -> None:
        set_field(name, next(v for v, label in words.items() if label == st.session_state[key]))

    return st.tabs(tuple(words.values()), key=key, on_change=write)


def agreement(name: str, label: str) -> bool:
    """Whether the person agreed in this session. It is in no address: a link must not agree in somebody's place."""
    st.session_state[name] = bool(recall(name, False))

    def write() -> None:
        remember(name, st.session_state[name])

    st.checkbox(label, key=name, on_change=write)
    return bool(recall(name, False))


def segments(
    name: str, label: str, options: tuple[str, ...], words: dict[str, str] | None = None, *, wrap: bool | None = None
) -> None:
    """A few values side by side, always one of them chosen; with `wrap` in several lines where one is too narrow."""
    _seed(name, str)
    st.segmented_control(
        label,
        options,
        key=_key(name),
        required=True,
        format_func=lambda v: (words or {}).get(v, v),
        on_change=_write,
        args=(name,),
        wrap=wrap,
    )


def switch(name: str, label: str) -> None:
    """A field that is on or off."""
    key = _key(name)
    st.session_state[key] = read(name) == "on"

    def write() -> None:
        set_field(name, "on" if st.session_state[key] else "off")

    st.toggle(label, key=key, on_change=write)


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


def maybe_number(name: str, label: str, low: float, high: float, listed: str, help: str | None = None) -> None:
    """A number, or nothing for the listed one, which stands in the empty box as `listed`."""
    key = _key(name)
    st.session_state[key] = read(name)

    def write() -> None:
        new = st.session_state[key]
        set_field(name, "" if new is None else f"{new:.12g}")

    st.number_input(
        label, float(low), float(high), value=None, format="%g", key=key, placeholder=listed, on_change=write, help=help
    )


def slider(name: str, label: str, low: int, high: int, step: int = 1, help: str | None = None) -> None:
    """A whole number on a scale; a value between the steps stays as it is."""
    _seed(name, lambda v: min(max(round(v), low), high))
    st.slider(label, low, high, step=step, key=_key(name), on_change=_write, args=(name,), help=help)


def auto_or_whole(
    name: str, label: str, high: int, help: str | None = None, low: int = 0, *, left: str = "Auto", step: int = 1
) -> None:
    """A whole number from `low` to `high`, or nothing for automatic, which stands in the empty box as `left`."""
    key, value = _key(name), read(name)
    st.session_state[key] = value if value is None or value <= high else None

    def write() -> None:
        new = st.session_state[key]
        set_field(name, AUTO if new is None else str(new))

    st.number_input(label, low, high, value=None, step=step, key=key, placeholder=left, on_change=write, help=help)


def auto_or_number(name: str, label: str, low: float, high: float, step: float, help: str | None = None) -> None:
    """A number, or nothing for automatic."""
    key = _key(name)
    st.session_state[key] = read(name)

    def write() -> None:
        new = st.session_state[key]
        set_field(name, AUTO if new is None else f"{new:g}")

    st.number_input(
        label,
        low,
        high,
        value=None,
        step=step,
        format="%g",
        key=key,
        placeholder="Auto",
        on_change=write,
        help=help,
    )


def clear_engine_settings() -> None:
    """Leave every setting of the engine to its defaults again."""
    set_fields({name: FIELDS[name].default for name in ENGINE_SETTINGS})


def known_or_whole(name: str, label: str, high: int, help: str | None = None) -> None:
    """A whole number up to `high`, or nothing for what is not known."""
    key = _key(name)
    st.session_state[key] = read(name)

    def write() -> None:
        new = st.session_state[key]
        set_field(name, NOT_KNOWN if new is None else str(new))

    st.number_input(label, 0, high, value=None, step=1, key=key, placeholder="Not known", on_change=write, help=help)


def yes_no(name: str, label: str) -> None:
    """Yes, no, or not known."""
    key = _key(name)
    st.session_state[key] = {True: "on", False: "off"}.get(read(name), NOT_KNOWN)
    st.segmented_control(
        label, tuple(YES_NO), key=key, required=True, format_func=YES_NO.__getitem__, on_change=_write, args=(name,)
    )


def as_typed(name: str, label: str, placeholder: str, help: str | None = None) -> None:
    """Text of a field with a form of its own; what breaks it is said by the next run."""
    key = _key(name)
    st.session_state[key] = st.session_state.get(_STORE, {}).get(name, FIELDS[name].default)

    def write() -> None:
        text = st.session_state[key].strip()[:200]
        try:
            FIELDS[name].parse(text)
        except BadInputError as error:
            st.session_state[_REFUSED] = (*st.session_state.get(_REFUSED, ()), say_refusal(error, "what was there"))
        else:
            set_field(name, text)

    st.text_input(label, key=key, on_change=write, placeholder=placeholder, help=help)


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


def several(
    name: str,
    label: str,
    options: tuple[str, ...],
    placeholder: str = "All",
    words: Mapping[str, str] | None = None,
    *,
    shown: tuple[str, ...] | None = None,
    separator: str = "|",
    most: int | None = None,
    wrap: bool | None = None,
    may_type: bool = False,
) -> None:
    """Any number of values of a field that holds several, at most `most`, in `words`.

    `shown` is what the page shows if not the field's values; with `may_type` others than the options can be typed.
    """
    key = _key(name)
    st.session_state[key] = [v for v in (read(name) if shown is None else shown) if v in options]

    def write() -> None:
        values = st.session_state[key]
        if may_type:  # what the field would refuse must not reach the address
            values = [
                v for v in ("".join(c for c in v if c.isprintable() and c != separator)[:200] for v in values) if v
            ]
        set_field(name, separator.join(values))

    st.multiselect(
        label,
        options,
        key=key,
        format_func=lambda v: (words or {}).get(v, v),
        on_change=write,
        placeholder=placeholder,
        max_selections=most,
        wrap=wrap,
        accept_new_options=may_type,
    )


def needle_contexts() -> None:
    """The contexts a needle is looked for in, any number of them."""
    key = _key("needle")
    st.session_state[key] = list(read("needle"))

    def write() -> None:
        set_field("needle", ",".join(str(n) for n in st.session_state[key]))

    options = tuple(sorted({*NEEDLE_CONTEXTS, *read("needle")}))
    st.pills(
        "Context to search, tokens",
        options,
        key=key,
        selection_mode="multi",
        format_func=format_tokens,
        on_change=write,
    )


def add_value(name: str, value: str, limit: int = 64) -> None:
    """Put one more value into a field that holds several."""
    kept = tuple(v for v in read(name) if v != value)
    set_field(name, "|".join((*kept, value)[-limit:]))


def remember(name: str, value: Any) -> None:
    """Keep a value for this session alone: never in the address, never on disk."""
    st.session_state[f"session_{name}"] = value


def recall(name: str, otherwise: Any = None) -> Any:
    """What this session keeps under a name."""
    return st.session_state.get(f"session_{name}", otherwise)


def take(name: str, otherwise: Any = None) -> Any:
    """What this session keeps under a name, once: it is then forgotten."""
    return st.session_state.pop(f"session_{name}", otherwise)


def typed(key: str) -> str:
    """What stands in a plain text box, as it stood when this run began."""
    return str(st.session_state.get(key) or "").strip()


def empty_box(key: str) -> None:
    """Clear a plain text box; only from a callback, before the box is drawn again."""
    st.session_state[key] = ""


def text(name: str, label: str, placeholder: str, then: Callable[[], None] | None = None) -> None:
    """Free text, written when the person leaves the box; `then` is called after that."""
    key = _key(name)
    st.session_state[key] = read(name)

    def write() -> None:
        set_field(name, st.session_state[key].strip()[:200])
        if then is not None:
            then()

    st.text_input(label, key=key, on_change=write, placeholder=placeholder)


def picked_row(key: str) -> int | None:
    """The row picked in the table called `key`, as it stood when this run began."""
    state = st.session_state.get(key)
    rows = state["selection"]["rows"] if state else []
    return int(rows[0]) if rows else None


def picked_rows(key: str) -> tuple[int, ...]:
    """The rows picked in the table called `key`, in order, as they stood when this run began."""
    state = st.session_state.get(key)
    return tuple(sorted(int(row) for row in state["selection"]["rows"])) if state else ()


def _key(name: str) -> str:
    return f"field_{name}"


def _seed(name: str, to_widget: Callable[[Any], Any]) -> None:
    """Give a widget the field's present value; the address, not the widget, is what lasts."""
    st.session_state[_key(name)] = to_widget(read(name))


def _write(name: str) -> None:
    value = st.session_state[_key(name)]
    if value is None:
        return
    text = f"{value:g}" if isinstance(value, float) else str(value)
    try:
        FIELDS[name].parse(text)
    except (BadInputError, UnknownNameError) as error:  # typed into a box that takes more than it lists
        st.session_state[_REFUSED] = (*st.session_state.get(_REFUSED, ()), say_refusal(error, "what was there"))
    else:
        set_field(name, text)


def _keep(kept: dict[str, str]) -> None:
    """Store the fields and show those that differ from their default, and the catalog's version, in the address."""
    here = _catalog_here()
    kept = {k: v for k, v in kept.items() if v != FIELDS[k].default and (k, v) != ("catalog", here)}
    st.session_state[_STORE] = kept
    shown = {"catalog": here, **kept} if here else kept
    present = st.query_params.to_dict()  # read once: each look at the address itself goes through the session's state
    for name in FIELDS:
        if name in shown:
            if present.get(name) != shown[name]:
                st.query_params[name] = shown[name]
        elif name in present:
            del st.query_params[name]


def millions(name: str, label: str, high: float, step: float = 0.1) -> None:
    """A number up to `high`, typed and shown in millions: a number box has no separators for thousands."""
    key = _key(name)
    st.session_state[key] = float(read(name)) / 1e6

    def write() -> None:
        set_field(name, f"{st.session_state[key] * 1e6:.12g}")

    st.number_input(label, 0.0, high / 1e6, step=step, format="%g", key=key, on_change=write)

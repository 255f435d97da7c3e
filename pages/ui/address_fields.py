"""The fields of the address: each has a name, a default as text, and a parser. No Streamlit."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from catalog.machine_text import (
    MAX_TEXT_CHARACTERS,
    THIS,
)
from catalog.version import read_version
from pages.ui.address_parsers import (
    AUTO,
    auto_or_number,
    auto_or_whole,
    choice_parser,
    list_parser,
    number_parser,
    several_parser,
    text_parser,
    whole_parser,
)
from pages.ui.cost_fields import COST_FIELDS
from pages.ui.evaluate_fields import EVALUATE_FIELDS
from pages.ui.finetune_fields import FINETUNE_FIELDS
from pages.ui.questions import (
    MAX_LAYERS,
    read_layer_list,
    read_split,
)
from sizing.cluster import MAX_NODES, Across
from sizing.compare import check_count
from sizing.engines import find_engine
from sizing.errors import BadInputError
from sizing.estimate import ENGINE
from sizing.interconnect import find_interconnect
from sizing.license_profile import FIELDS_OF_USE, MAX_REVENUE_USD, MAX_USERS, REGION_NAMES, read_region
from sizing.quants import find_kv_type, read_label
from sizing.recommend import LICENSE_USES, TASKS
from sizing.workload import MAX_PARALLEL

TASK_WORDS = {t: t.upper() if t == "rag" else t.capitalize() for t in TASKS}
LICENSE_WORDS = {
    "commercial": "Commercial use",
    "research": "Research use",
    "personal": "Personal use",
    "any": "Any licence",
}
NOT_KNOWN = "unknown"
YES_NO = {"on": "Yes", "off": "No", NOT_KNOWN: "Not known"}
REGIONS = ("", *REGION_NAMES)
MAX_CONTEXT_TOKENS = 2**27
MAX_BILLIONS = 100_000
ORIGIN_WORDS = {"all": "All models", "curated": "The catalog's own", "imported": "Imported"}
OPENNESS = ("open source", "open weight", "restricted weight")
TAKES = ("5", "20", "60", "items", "all")
TAKE_WORDS = {"5": "5 minutes", "20": "20 minutes", "60": "an hour", "items": "N items", "all": "everything"}
FIRST_MODEL, FIRST_SUITE = "demo:Q8_0", "demo"
"""What the Evaluate page offers a person who has chosen nothing: it needs no download."""
MAX_RUNS_SHOWN = 2
HUB_TASKS = {
    "text-generation": "Text",
    "image-text-to-text": "Text and images",
    "feature-extraction": "Embeddings",
    "any": "Anything",
}
HUB_LICENCES = {
    "any": "Any",
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "llama3.1": "Llama 3.1",
    "llama3.2": "Llama 3.2",
    "llama3.3": "Llama 3.3",
    "gemma": "Gemma",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "other": "Another",
}
HUB_SIZES = {"any": "Any", "2": "Up to 2B", "5": "Up to 5B", "10": "Up to 10B", "16": "Up to 16B", "40": "Up to 40B"}
"""Most parameters of a repository, in billions."""
HUB_SORTS = {"downloads": "Downloads", "likes": "Likes", "trending": "Trending", "modified": "Changed last"}
HUB_FILES = {"any": "Any files", "gguf": "With GGUF files"}
HUB_LIMIT = 100
TOPICS = {
    "openness": "Open source or open weight",
    "bits": "Parameters and bits",
    "quants": "Quantizations",
    "attention": "Attention and its cache",
    "windows": "Sliding windows",
    "recurrent": "Recurrent layers",
    "rope": "Trained context",
    "experts": "Experts",
    "pages": "Cache and users",
    "buffers": "Compute buffers",
    "roofline": "Prompt and answer",
    "offload": "Offload, mmap, drafts",
}
"""What the Guide explains, in its order, and how the page calls it."""
ALIKE_WORDS = {"bits": "Nearest in bits per weight", "best": "Largest that fits"}
"""How the same model is put side by side in several engines."""
VERIFIED_WORDS = {"all": "All facts", "read": "Read from the publisher's files", "recalled": "Partly unverified"}


@dataclass(frozen=True, slots=True)
class Field:
    """One input: its name in the address, its default as text, how text becomes a value."""

    name: str
    default: str
    parse: Callable[[str], Any]


def _compared(text: str) -> tuple[str, ...]:
    """Names of the models that stand side by side, parted by '|'."""
    names = list_parser("compare")(text)
    for name in names:
        text_parser("compare")(name)
    check_count(len(names))
    return names


def _run_ids(text: str) -> tuple[str, ...]:
    """At most MAX_RUNS_SHOWN ids of runs, parted by commas."""
    ids = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if len(ids) > MAX_RUNS_SHOWN or not all(re.fullmatch(r"[0-9A-Za-z-]{1,64}", run_id) for run_id in ids):
        raise BadInputError(f"runs wants one id or two parted by a comma, got {text[:80]!r}")
    return ids


def _contexts(text: str) -> tuple[int, ...]:
    """Contexts in tokens, parted by commas."""
    number = whole_parser("needle (tokens)", 1024, 1_048_576)
    return tuple(dict.fromkeys(number(part) for part in text.split(",") if part.strip()))


def _task_names(text: str) -> tuple[str, ...]:
    """Names of lm-eval's tasks, parted by commas."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    wrong = [name for name in names if not re.fullmatch(r"[0-9A-Za-z_.-]{1,80}", name)]
    if wrong or len(names) > 50:
        got = repr((wrong or [f"{len(names)} names"])[0])
        raise BadInputError(f"tasks wants at most 50 names of letters, digits and _ parted by commas, got {got}")
    return names


def _known_or_whole(what: str, high: int) -> Callable[[str], int | None]:
    """A whole number from 0, or the word for not known."""
    number = whole_parser(what, 0, high)

    def parse(text: str) -> int | None:
        return None if text.strip().lower() == NOT_KNOWN else number(text)

    return parse


def _yes_no(what: str) -> Callable[[str], bool | None]:
    """On, off, or not known."""
    word = choice_parser(what, tuple(YES_NO))

    def parse(text: str) -> bool | None:
        return {"on": True, "off": False}.get(word(text))

    return parse


def _fields_of_use(text: str) -> tuple[str, ...]:
    """Fields of use that licences single out, parted by '|'."""
    found = several_parser("lic_fields")(text)
    for name in found:
        choice_parser("lic_fields", FIELDS_OF_USE)(name)
    return found


_FIELDS = (
    Field("catalog", "", lambda text: read_version(text).text if text else ""),
    Field("machine", THIS, text_parser("machine", MAX_TEXT_CHARACTERS)),
    Field("task", "chat", choice_parser("task", TASKS)),
    Field("context", "8192", whole_parser("context", 1, MAX_CONTEXT_TOKENS)),
    Field("users", "1", whole_parser("users", 1, MAX_PARALLEL)),
    Field("speed", "0", number_parser("speed (tokens/s)", 0, 100_000)),
    Field("licence", "commercial", choice_parser("licence", LICENSE_USES)),
    Field("model", "", text_parser("model")),
    Field("quant", "", lambda text: read_label(text) if text else ""),
    Field("ubatch", "512", whole_parser("ubatch", 1, 65_536)),
    Field("kv_k", "f16", lambda text: find_kv_type(text).name),
    Field("kv_v", "f16", lambda text: find_kv_type(text).name),
    Field("flash", "on", choice_parser("flash", ("on", "off"))),
    Field("gpu_layers", AUTO, auto_or_whole("gpu_layers", 0, MAX_LAYERS)),
    Field("split", "", read_split),
    Field("cpu_moe", AUTO, auto_or_whole("cpu_moe", 0, MAX_LAYERS)),
    Field("expert_layers", "", read_layer_list),
    Field("draft", "", text_parser("draft")),
    Field("draft_quant", "Q8_0", read_label),
    Field("projector", "off", choice_parser("projector", ("on", "off"))),
    Field("offload", "off", choice_parser("offload", ("on", "off"))),
    Field("find", "", text_parser("find")),
    Field("family", "", several_parser("family")),
    Field("licence_id", "", several_parser("licence_id")),
    Field("openness", "", several_parser("openness")),
    Field("modality", "", several_parser("modality")),
    Field("suits", "", several_parser("suits")),
    Field("at_least", "0", whole_parser("at_least (tokens)", 0, MAX_CONTEXT_TOKENS)),
    Field("params_from", "0", whole_parser("params_from (billions)", 0, MAX_BILLIONS)),
    Field("params_to", "0", whole_parser("params_to (billions)", 0, MAX_BILLIONS)),
    Field("origin", "all", choice_parser("origin", tuple(ORIGIN_WORDS))),
    Field("models", FIRST_MODEL, list_parser("models")),
    Field("suites", FIRST_SUITE, list_parser("suites")),
    Field("tasks", "", _task_names),
    Field("needle", "4096", _contexts),
    Field("take", "5", choice_parser("take", TAKES)),
    Field("items", "50", whole_parser("items", 1, 1_000_000)),
    Field("runs", "", _run_ids),
    Field("facts", "all", choice_parser("facts", ("all", "read", "recalled"))),
    Field("hub", "", text_parser("hub")),
    Field("hub_task", "text-generation", choice_parser("hub_task", tuple(HUB_TASKS))),
    Field("hub_licence", "any", choice_parser("hub_licence", tuple(HUB_LICENCES))),
    Field("hub_size", "any", choice_parser("hub_size", tuple(HUB_SIZES))),
    Field("hub_sort", "downloads", choice_parser("hub_sort", tuple(HUB_SORTS))),
    Field("hub_files", "any", choice_parser("hub_files", tuple(HUB_FILES))),
    Field("hub_base", "", text_parser("hub_base")),
    Field("folders", "", list_parser("folders")),
    Field("compare", "", _compared),
    Field("compare_quant", "", lambda text: read_label(text) if text else ""),
    Field("differs", "off", choice_parser("differs", ("on", "off"))),
    *(Field(*cost_field) for cost_field in COST_FIELDS),
    Field("topic", "openness", choice_parser("topic", tuple(TOPICS))),
    Field("lic_users", "10000", _known_or_whole("lic_users (users a month)", MAX_USERS)),
    Field("lic_revenue", "1000000", _known_or_whole("lic_revenue (US$ a year)", MAX_REVENUE_USD)),
    Field("lic_region", "", lambda text: read_region(text) if text.strip() else ""),
    Field("lic_finetune", "off", _yes_no("lic_finetune")),
    Field("lic_redistribute", "off", _yes_no("lic_redistribute")),
    Field("lic_outputs", "off", _yes_no("lic_outputs")),
    Field("lic_fields", "", _fields_of_use),
    Field("terms", "", text_parser("terms")),
    Field("engine", ENGINE, lambda text: find_engine(text).name),
    Field("format", "", text_parser("format", 40)),
    Field("kv_type", AUTO, text_parser("kv_type", 40)),
    Field("gpu_share", AUTO, auto_or_number("gpu_share (of each card)", 0.05, 1.0)),
    Field("tp", AUTO, auto_or_whole("tp (tensor parallel)", 1, 64)),
    Field("pp", AUTO, auto_or_whole("pp (pipeline parallel)", 1, 64)),
    Field("batched_tokens", AUTO, auto_or_whole("batched_tokens", 1, 2**20)),
    Field("sequences", AUTO, auto_or_whole("sequences (at once)", 1, 65_536)),
    Field("eager", "off", choice_parser("eager", ("on", "off"))),
    Field("alike", "bits", choice_parser("alike", tuple(ALIKE_WORDS))),
    Field("many", "off", choice_parser("many", ("on", "off"))),
    Field("nodes", "2", whole_parser("nodes (machines)", 1, MAX_NODES)),
    Field("link", "10 GbE", lambda text: find_interconnect(text).name),
    Field("share", "layers", choice_parser("share", tuple(a.value for a in Across))),
    *(Field(*evaluate_field) for evaluate_field in EVALUATE_FIELDS),
    *(Field(*finetune_field) for finetune_field in FINETUNE_FIELDS),
)
FIELDS = {f.name: f for f in _FIELDS}

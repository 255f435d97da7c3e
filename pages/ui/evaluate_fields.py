"""Fields of the Evaluate page in the address: name, default, and how text becomes a value. No Streamlit.

The defaults are those of `EvalSettings`, which a page does not need to load only to know its fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pages.ui.address_parsers import AUTO, auto_or_whole, choice_parser, whole_parser
from sizing.quants import find_kv_type

MAX_SEQUENCE_TOKENS = 2**22
MAX_SIDE_BY_SIDE = 256
MAX_SEED = 2**32 - 1
MAX_LAYERS = 10_000

EVALUATE_FIELDS: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("eval_context", AUTO, auto_or_whole("eval_context (tokens)", 64, MAX_SEQUENCE_TOKENS)),
    ("eval_parallel", "8", whole_parser("eval_parallel (questions)", 1, MAX_SIDE_BY_SIDE)),
    ("eval_kv_k", "f16", lambda text: find_kv_type(text).name),
    ("eval_kv_v", "f16", lambda text: find_kv_type(text).name),
    ("eval_layers", AUTO, auto_or_whole("eval_layers", 0, MAX_LAYERS)),
    ("eval_seed", "1234", whole_parser("eval_seed", 0, MAX_SEED)),
    ("eval_plain", "off", choice_parser("eval_plain", ("on", "off"))),
)

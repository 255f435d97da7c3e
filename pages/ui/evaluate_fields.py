"""Fields of the Evaluate page in the address: name, default, and how text becomes a value. No Streamlit.

The defaults are those of `EvalSettings`, which a page does not need to load only to know its fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pages.ui.address_parsers import AUTO, auto_or_whole, choice_parser, list_parser, text_parser, whole_parser
from sizing.errors import BadInputError
from sizing.quants import find_kv_type

MAX_SEQUENCE_TOKENS = 2**22
MAX_SIDE_BY_SIDE = 256
MAX_SEED = 2**32 - 1
MAX_LAYERS = 10_000
MAX_PATH_CHARACTERS = 1100
MAX_IDENTITIES = 32
TAB_WORDS = {"results": "Results", "damage": "Quantization damage", "own": "Your own data"}
TEXT_WORDS = {
    "own": "This project's pages: English, code, tables",
    "demo": "The demonstration model's own chats",
    "yours": "Your text",
}
"""The texts that a file and its reference both read, the person's own among them."""
TIME_WORDS = {"2": "2 minutes", "10": "10 minutes", "all": "The whole text"}
FIRST_REFERENCE = "demo:F16"


def read_identities(text: str) -> dict[str, str]:
    """Which catalog model a file is said to be, by the file's mark; empty for none. Raises BadInputError.

    >>> read_identities("0123456789ab=Qwen/Qwen3-14B|ba9876543210=")
    {'0123456789ab': 'Qwen/Qwen3-14B', 'ba9876543210': ''}
    """
    found = {}
    for part in list_parser("file_is")(text):
        mark, is_said, model = part.partition("=")
        if not is_said or not re.fullmatch(r"[0-9a-f]{12}", mark) or len(found) >= MAX_IDENTITIES:
            wanted = f"at most {MAX_IDENTITIES} pairs of a file's mark and a model, parted by |"
            raise BadInputError(f"file_is wants {wanted}, got {part[:80]!r}")
        found[mark] = text_parser("file_is")(model)
    return found


def write_identities(said: Mapping[str, str]) -> str:
    """The same as the address holds it, of very many the latest."""
    return "|".join(f"{mark}={model}" for mark, model in list(said.items())[-MAX_IDENTITIES:])


EVALUATE_FIELDS: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("eval_context", AUTO, auto_or_whole("eval_context (tokens)", 64, MAX_SEQUENCE_TOKENS)),
    ("eval_parallel", "8", whole_parser("eval_parallel (questions)", 1, MAX_SIDE_BY_SIDE)),
    ("eval_kv_k", "f16", lambda text: find_kv_type(text).name),
    ("eval_kv_v", "f16", lambda text: find_kv_type(text).name),
    ("eval_layers", AUTO, auto_or_whole("eval_layers", 0, MAX_LAYERS)),
    ("eval_seed", "1234", whole_parser("eval_seed", 0, MAX_SEED)),
    ("eval_plain", "off", choice_parser("eval_plain", ("on", "off"))),
    ("eval_tab", "results", choice_parser("eval_tab", tuple(TAB_WORDS))),
    ("judge", "", text_parser("judge")),
    ("file_is", "", read_identities),
    ("damage_reference", FIRST_REFERENCE, text_parser("damage_reference", MAX_PATH_CHARACTERS)),
    ("damage_against", "", list_parser("damage_against")),
    ("damage_text", "own", choice_parser("damage_text", tuple(TEXT_WORDS))),
    ("damage_minutes", "2", choice_parser("damage_minutes", tuple(TIME_WORDS))),
    ("damage_run", "", text_parser("damage_run", 64)),
)

"""Fields of the Fine-tune page in the address: name, default, and how text becomes a value. No Streamlit."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pages.ui.address_parsers import choice_parser, number_parser, whole_parser
from sizing.errors import BadInputError
from sizing.finetune_lora import ALL_LINEAR, MAX_RANK
from sizing.finetune_setup import ATTENTIONS, LOSSES, MAX_BATCH, MAX_TOKENS, METHODS, OPTIMIZERS, PRECISIONS, SHARDINGS

OPTIMIZER_WORDS = {
    "adamw": "AdamW",
    "adamw_8bit": "AdamW 8-bit",
    "paged_adamw": "Paged AdamW",
    "paged_adamw_8bit": "Paged AdamW 8-bit",
    "adafactor": "Adafactor",
    "sgd": "SGD",
}
PRECISION_WORDS = {"mixed": "BF16 beside 32-bit copy", "autocast": "32-bit, cast to BF16", "bf16": "BF16 alone"}
SHARDING_WORDS = {"ddp": "Nothing (DDP)", "zero1": "ZeRO 1", "zero2": "ZeRO 2", "zero3": "ZeRO 3, FSDP"}
ADAPTER_WORDS = {"0": "As trl does", "16": "16 bits", "32": "32 bits"}
MAX_TARGETS = 40


def read_targets(text: str) -> tuple[str, ...]:
    """Names of modules parted by commas. Raises BadInputError.

    >>> read_targets("q_proj, v_proj")
    ('q_proj', 'v_proj')
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    wrong = [name for name in names if not re.fullmatch(r"[0-9A-Za-z_.-]{1,60}", name)]
    if wrong or not names or len(names) > MAX_TARGETS:
        got = repr(wrong[0]) if wrong else f"{len(names)} names"
        raise BadInputError(f"targets wants module names such as q_proj,v_proj parted by commas, got {got}")
    return names


FINETUNE_FIELDS: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("method", "qlora", choice_parser("method", METHODS)),
    ("rank", "16", whole_parser("rank", 1, MAX_RANK)),
    ("targets", ALL_LINEAR, read_targets),
    ("sequence", "2048", whole_parser("sequence (tokens)", 1, MAX_TOKENS)),
    ("micro_batch", "1", whole_parser("micro_batch", 1, MAX_BATCH)),
    ("accumulation", "8", whole_parser("accumulation", 1, MAX_BATCH)),
    ("optimizer", "adamw", choice_parser("optimizer", OPTIMIZERS)),
    ("precision", "mixed", choice_parser("precision", PRECISIONS)),
    ("adapter_bits", "0", choice_parser("adapter_bits", tuple(ADAPTER_WORDS))),
    ("lora_dropout", "off", choice_parser("lora_dropout", ("on", "off"))),
    ("checkpointing", "on", choice_parser("checkpointing", ("on", "off"))),
    ("train_attention", "flash", choice_parser("train_attention", ATTENTIONS)),
    ("loss", "chunked", choice_parser("loss", LOSSES)),
    ("sharding", "ddp", choice_parser("sharding", SHARDINGS)),
    ("optimizer_offload", "off", choice_parser("optimizer_offload", ("on", "off"))),
    ("train_tokens", "10", number_parser("train_tokens (millions)", 0.001, 1e8)),
    ("train_usd", "", lambda text: number_parser("train_usd (an hour)", 0, 100_000)(text) if text.strip() else None),
)

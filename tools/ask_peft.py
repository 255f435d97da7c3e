"""Ask peft how many parameters LoRA trains: `python -m tools.ask_peft > tests/golden/peft_counts.csv`.

Needs requirements-train.txt. Every model is built by transformers on the meta device from a config.json, so nothing is
downloaded and nothing is large. Of a model with a vision or audio tower the language model alone is asked.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
CONFIG_FILES = ("hub_configs.jsonl", "finetune_configs.jsonl")
SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ALL_LINEAR = "all-linear"
QUESTIONS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (16, (ALL_LINEAR,)),
    (16, SEVEN),
    (32, SEVEN),
    (8, ("q_proj", "v_proj")),
    (64, ("qkv_proj", "o_proj")),
    (8, ("query_key_value",)),
)
COLUMNS = ("config_of", "model_type", "rank", "targets", "count", "peft", "transformers")


def list_configs() -> list[dict[str, Any]]:
    """The configs peft is asked about, as `tests/golden` holds them with their source."""
    lines = [line for name in CONFIG_FILES for line in (GOLDEN / name).read_text(encoding="utf-8").splitlines()]
    return [json.loads(line) for line in lines]


def build_model(config: Mapping[str, Any]) -> Any:
    """The language model of a config on the meta device. Raises ValueError for a type transformers does not know."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kept = {k: v for k, v in config.items() if k not in ("model_type", "auto_map", "quantization_config")}
    read = AutoConfig.for_model(config["model_type"], **kept).get_text_config()
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(read)


def count_trainable(config: Mapping[str, Any], rank: int, targets: tuple[str, ...]) -> int | None:
    """Trainable parameters by peft's own count, None where it refuses: no such name, or a matrix it cannot adapt."""
    from peft import LoraConfig, get_peft_model

    wanted: str | list[str] = ALL_LINEAR if targets == (ALL_LINEAR,) else list(targets)
    asked = LoraConfig(r=rank, target_modules=wanted, task_type="CAUSAL_LM")
    try:
        model = get_peft_model(build_model(config), asked, low_cpu_mem_usage=True)  # adapters on the meta device too
    except ValueError as error:
        print(f"{config['model_type']}, {'+'.join(targets)}: {' '.join(str(error).split())[:160]}", file=sys.stderr)
        return None
    return int(model.get_nb_trainable_parameters()[0])


def list_answers() -> Iterator[tuple[str, str, int, str, int, str, str]]:
    """One row for each config and question that peft can answer."""
    import peft
    import transformers

    for row in list_configs():
        config = row["config"]
        try:
            build_model(config)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            print(f"{row['config_of']} ({config['model_type']}): {str(error)[:120]}", file=sys.stderr)
            continue
        for rank, targets in QUESTIONS:
            count = count_trainable(config, rank, targets)
            if count is not None:
                named = (row["config_of"], config["model_type"], rank, "+".join(targets), count)
                yield (*named, peft.__version__, transformers.__version__)


if __name__ == "__main__":
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for answer in list_answers():
        writer.writerow(answer)
        sys.stdout.flush()

"""Trainable parameters of LoRA, held to peft's own counts.

`tests/golden/peft_counts.csv` is what `python -m tools.ask_peft` printed; `tests/golden/finetune_configs.jsonl` holds
configs beside the published ones of hub_configs.jsonl: small models of each kind, and one model of every architecture
of the catalog written from its shapes.
"""

from __future__ import annotations

import csv
import json
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.hub_config import read_config
from catalog.queries import find_model
from catalog.store import open_catalog
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.finetune_lora import (
    ALL_LINEAR,
    SEVEN,
    count_lora_params,
    find_targets,
    list_linear,
    list_target_names,
)
from sizing.specs import ModelSpec

GOLDEN = Path(__file__).parent.parent / "golden"
COUNTS = list(csv.DictReader((GOLDEN / "peft_counts.csv").open(encoding="utf-8")))
CONFIGS = {
    (row["config_of"], row["config"]["model_type"]): row["config"]
    for name in ("hub_configs.jsonl", "finetune_configs.jsonl")
    for row in map(json.loads, (GOLDEN / name).read_text(encoding="utf-8").splitlines())
}
CATALOG = open_catalog()


@lru_cache(maxsize=256)
def read_spec(config_of: str, model_type: str) -> ModelSpec:
    return read_config(CONFIGS[config_of, model_type], config_of).spec


def spec_of(model: str) -> ModelSpec:
    return find_model(CATALOG, model).spec


@pytest.mark.parametrize("row", COUNTS, ids=lambda r: "-".join(list(r.values())[:4]))
def test_trainable_parameters_are_what_peft_counts(row):
    spec = read_spec(row["config_of"], row["model_type"])
    assert count_lora_params(spec, int(row["rank"]), tuple(row["targets"].split("+"))) == int(row["count"])


def test_peft_was_asked_about_the_families_people_tune():
    asked = {read_spec(r["config_of"], r["model_type"]).architecture for r in COUNTS}
    families = (
        "llama qwen2 qwen3 qwen3moe gemma2 gemma3 phi3 mistral3 deepseek2 deepseek32 gpt-oss falcon olmo2 olmoe "
        "glm4moe command-r cohere2 qwen3next qwen35 qwen35moe granite granitehybrid lfm2 minimax-m2 gptneox"
    )
    assert asked >= set(families.split())


def test_rank_16_on_the_seven_projections_of_llama_8b_is_half_of_what_a_guide_says():
    # the guide gives 83,886,080 for rank 16; that is rank 32
    spec = spec_of("Llama-3.1-8B-Instruct")
    assert count_lora_params(spec, 16, SEVEN) == 41_943_040
    assert count_lora_params(spec, 32, SEVEN) == 83_886_080
    assert count_lora_params(spec, 16, (ALL_LINEAR,)) == count_lora_params(spec, 16, SEVEN)


@given(rank=st.integers(1, 512), times=st.integers(1, 16))
def test_parameters_grow_in_step_with_the_rank(rank, times):
    spec = spec_of("Qwen3-8B")
    assert count_lora_params(spec, rank * times) == times * count_lora_params(spec, rank)


def test_the_output_head_is_never_adapted():
    assert "lm_head" not in list_target_names(spec_of("Llama-3.1-8B-Instruct"))
    assert "embed_tokens" not in list_target_names(spec_of("gemma-3-1b-it"))


def test_experts_take_nearly_all_adapters_of_a_mixture():
    spec = spec_of("Qwen3-30B-A3B")
    experts = sum(t.count_trainable(16) for t in find_targets(spec, (ALL_LINEAR,)) if t.is_expert)
    assert experts / count_lora_params(spec, 16) > 0.98
    assert all(not t.is_expert for t in list_linear(spec))


def test_one_half_of_fused_experts_is_refused_as_peft_refuses_it():
    with pytest.raises(UnsupportedError, match="gate_proj and up_proj"):
        count_lora_params(spec_of("Qwen3-30B-A3B"), 8, ("gate_proj",))


def test_mamba_output_projections_are_refused_as_peft_refuses_them():
    spec = spec_of("Falcon-H1-7B-Instruct")
    with pytest.raises(UnsupportedError, match="out_proj"):
        count_lora_params(spec, 8)
    assert count_lora_params(spec, 8, ("q_proj", "v_proj")) > 0


def test_unknown_targets_are_named_with_what_there_is():
    with pytest.raises(UnknownNameError, match="q_porj"):
        count_lora_params(spec_of("Qwen3-8B"), 8, ("q_porj",))


@pytest.mark.parametrize("rank", [0, -1, True, 1.5, 10**6])
def test_a_rank_that_is_none_is_refused(rank):
    with pytest.raises(BadInputError, match="rank wants a whole number"):
        count_lora_params(spec_of("Qwen3-8B"), rank)

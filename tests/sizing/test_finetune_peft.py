"""peft itself, asked live: runs where the training packages are installed (`make training`)."""

from __future__ import annotations

import pytest

from catalog.hub_config import read_config
from sizing.finetune_lora import count_lora_params
from tools.ask_peft import QUESTIONS, count_trainable, list_configs

pytestmark = pytest.mark.training

SMALL = [row for row in list_configs() if row["config_of"].startswith("small/")]


@pytest.fixture(autouse=True)
def needs_peft():
    pytest.importorskip("peft", reason="peft is not installed; `make training` installs it beside the app")
    pytest.importorskip("transformers")


@pytest.mark.parametrize("row", SMALL, ids=lambda r: r["config_of"])
@pytest.mark.parametrize(("rank", "targets"), QUESTIONS, ids=lambda q: q if isinstance(q, int) else "+".join(q))
def test_our_count_is_what_peft_counts_now(row, rank, targets):
    told = count_trainable(row["config"], rank, targets)
    if told is None:
        pytest.skip("peft refuses these targets of this model")
    assert count_lora_params(read_config(row["config"], row["config_of"]).spec, rank, targets) == told

"""Activations held to torch: `tests/golden/training_memory.csv` is what `python -m tools.ask_training_memory` printed.

Models keep their published widths and a few of their layers, so every row checks a layer, the head and the loss.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest

from catalog.hub_config import read_config
from sizing.finetune_lora import ALL_LINEAR
from sizing.finetune_memory import count_base_bytes, count_layer_peak, count_saved_bytes, count_trained, find_peak
from sizing.finetune_setup import FineTuneSetup
from sizing.hardware import Device, DeviceKind, Machine
from sizing.specs import ModelSpec

GOLDEN = Path(__file__).parent.parent / "golden"
ROWS = list(csv.DictReader((GOLDEN / "training_memory.csv").open(encoding="utf-8")))
CONFIGS = {
    row["config_of"]: row["config"]
    for name in ("finetune_configs.jsonl", "hub_configs.jsonl")
    for row in map(json.loads, (GOLDEN / name).read_text(encoding="utf-8").splitlines())
}
CARD = Machine(
    "card",
    Device("host", DeviceKind.CPU, 2**37, 2**37),
    (Device("card", DeviceKind.GPU, 2**37, 2**37, backend="cuda"),),
)
SAVED_WITHIN, PEAK_WITHIN = 0.03, 0.15


@lru_cache(maxsize=32)
def read_spec(config_of: str, n_layers: int) -> ModelSpec:
    config = dict(CONFIGS[config_of])
    text = dict(config["text_config"]) if "text_config" in config else config
    text["num_hidden_layers"] = n_layers
    if text.get("layer_types"):
        text["layer_types"] = text["layer_types"][:n_layers]
    if text is not config:
        config["text_config"] = text
    return read_config(config, config_of).spec


def build_setup(row: dict[str, str]) -> FineTuneSetup:
    targets = tuple(row["targets"].split("+")) if row["targets"] else (ALL_LINEAR,)
    return FineTuneSetup(
        read_spec(row["config_of"], int(row["n_layers"])),
        CARD,
        method=row["method"],
        rank=int(row["rank"]) or 16,
        targets=targets,
        sequence_tokens=int(row["sequence"]),
        micro_batch=int(row["batch"]),
        accumulation=1,
        precision="autocast" if row["dtype"] == "fp32" else "bf16",
        adapter_bits={"fp32": 32, "bf16": 16, "": 0}[row["adapters"]],
        checkpointing=row["checkpointing"] == "True",
        attention=row["attention"],
        loss="full",
    )


WITH_LOSS = [r for r in ROWS if r["n_logits"] == "0"]
LAYERS_ALONE = [r for r in ROWS if r["n_logits"] != "0"]


def name(row: dict[str, str]) -> str:
    keys = ("config_of", "method", "dtype", "adapters", "checkpointing", "attention", "targets", "batch", "sequence")
    return "-".join(row[k] for k in keys)


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_weights_gradients_and_optimizer_states_are_torch_s_own(row):
    setup = build_setup(row)
    trained = count_trained(setup)
    base = count_base_bytes(setup) + (trained.weight_bytes if setup.is_lora else 0)
    assert trained.n_values == int(row["n_trained"])
    assert base == int(row["weight_bytes"])
    assert trained.gradient_bytes == int(row["gradient_bytes"])
    assert trained.optimizer_bytes == int(row["optimizer_bytes"])


@pytest.mark.parametrize("row", WITH_LOSS, ids=name)
def test_what_the_forward_pass_keeps_is_what_torch_kept(row):
    assert count_saved_bytes(build_setup(row)) == pytest.approx(int(row["saved_bytes"]), rel=SAVED_WITHIN)


@pytest.mark.parametrize("row", WITH_LOSS, ids=name)
def test_the_peak_of_a_step_is_torch_s(row):
    setup = build_setup(row)
    peak = find_peak(setup, count_trained(setup).gradient_bytes)
    told = peak.activation_bytes + peak.gradient_bytes
    assert told == pytest.approx(int(row["peak_bytes"]), rel=PEAK_WITHIN)


@pytest.mark.parametrize("row", [r for r in LAYERS_ALONE if r["method"] == "lora"], ids=name)
def test_a_layer_differentiated_alone_takes_what_torch_took(row):
    """Without logits the peak is a layer's; the loss of our sum is left out as it is there."""
    setup = replace(build_setup(row), loss="chunked")
    told = count_layer_peak(setup) + count_trained(setup).gradient_bytes
    assert told == pytest.approx(int(row["peak_bytes"]), rel=PEAK_WITHIN)

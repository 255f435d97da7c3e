"""Losses of formats that are not GGUF: published differences, their scatter, and nothing where nobody measured."""

from __future__ import annotations

import pytest

from catalog.candidates import find_quant_rows, list_quant_losses
from catalog.format_loss import estimate_format_loss
from catalog.quant_loss import DATA_DIR, OTHER_FORMATS, fit_losses, load_quant_rows
from catalog.quant_tasks import fit_task_factors
from catalog.queries import find_model
from catalog.store import open_catalog


def test_the_loss_is_the_mean_of_what_qwen_published_for_its_own_checkpoints() -> None:
    """Qwen2 72B, 7B, 1.5B and 0.5B Instruct, MMLU: BF16 82.3 70.5 52.4 37.9, GPTQ-Int4 80.8 67.8 50.7 33.0.

    https://qwen.readthedocs.io/zh-cn/latest/benchmark/quantization_benchmark.html
    """
    found = estimate_format_loss(find_quant_rows(DATA_DIR), "GPTQ")
    assert found is not None and found.n_models == 4
    assert found.points == pytest.approx((1.5 + 2.7 + 1.7 + 4.9) / 4)
    assert found.low < found.points < found.high
    eight = estimate_format_loss(find_quant_rows(DATA_DIR), "GPTQ-8bit")
    assert eight is not None and eight.points < found.points


def test_fp8_costs_what_neural_magic_published_on_the_cards_of_its_checkpoints() -> None:
    """OpenLLM v1: Llama 3 8B and 70B, Llama 3.1 8B, 70B and 405B, Qwen2.5 7B, BF16 less FP8."""
    found = estimate_format_loss(find_quant_rows(DATA_DIR), "FP8")
    assert found is not None and found.n_models == 6
    assert found.points == pytest.approx((0.49 + 0.35 + 0.35 + 0.11 - 0.02 - 0.08) / 6)
    assert found.low == 0 and found.high < 1


def test_what_nobody_measured_is_unknown_and_what_was_published_costs_nothing() -> None:
    rows = find_quant_rows(DATA_DIR)
    assert estimate_format_loss(rows, "NF4") is None
    own = estimate_format_loss(rows, "FP8-block", "FP8")
    assert own is not None and own.points == 0 and own.label == "same model"


def test_they_leave_the_fit_of_gguf_as_it_is() -> None:
    rows = load_quant_rows()
    without = [r for r in rows if r.quant not in OTHER_FORMATS]
    assert len(rows) - len(without) == 12 + 6
    assert fit_losses(rows) == fit_losses(without)
    assert fit_task_factors(rows) == fit_task_factors(without)


def test_candidates_carry_them_beside_the_quantizations() -> None:
    catalog = open_catalog()
    losses = {x.quant: x for x in list_quant_losses(catalog, find_model(catalog, "Llama-3.1-8B-Instruct"), "chat")}
    assert {"Q4_K_M", "AWQ", "GPTQ", "GPTQ-8bit"} <= set(losses)
    assert "INT8" not in losses
    assert losses["FP8"].points < 0.5 < losses["AWQ"].points

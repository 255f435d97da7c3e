"""Compute and output buffers: equal to what llama.cpp reserved, one model or many."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.models import load_families
from sizing.compute import can_estimate_compute, cut_runs, estimate_compute_bytes, estimate_output_bytes, find_reserve
from sizing.errors import UnsupportedError
from sizing.layers import LayerTable
from sizing.specs import ModelSpec
from sizing.units import MIB
from sizing.workload import Workload

GOLDEN = Path(__file__).parents[1] / "golden"
SPECS = {card.model_id: card.spec for card in load_families() if can_estimate_compute(card.spec.architecture)}
LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
LOG_ROUNDING = 0.005 * MIB


def compute_bytes(spec: ModelSpec, workload: Workload) -> int:
    return int(estimate_compute_bytes(LayerTable.from_specs([spec]), workload)[0])


def read_workload(row: dict[str, str]) -> Workload:
    return Workload(
        int(row["context_tokens"]),
        int(row.get("n_parallel", 1)),
        n_ubatch=int(row["n_ubatch"]),
        kv_type_k=row["kv_type"],
        kv_type_v=row["kv_type"],
        flash_attention=row["flash_attention"] == "on",
    )


@pytest.mark.parametrize("row", list(csv.DictReader((GOLDEN / "engine_sizes.csv").open())), ids=lambda r: r["model_id"])
def test_compute_equals_the_engine(row: dict[str, str]) -> None:
    assert compute_bytes(SPECS[row["model_id"]], read_workload(row)) == int(row["compute_bytes"])


@pytest.mark.parametrize(
    "row",
    [r for r in csv.DictReader((GOLDEN / "engine_llama_3_1_8b.csv").open()) if r["compute_mib"]],
    ids=lambda r: f"{r['context_tokens']}-{r['n_ubatch']}-{r['flash_attention']}",
)
def test_compute_equals_what_the_log_says(row: dict[str, str]) -> None:
    assert abs(compute_bytes(SPECS[LLAMA_8B], read_workload(row)) - float(row["compute_mib"]) * MIB) <= LOG_ROUNDING


def test_logits_of_a_batch_dominate_a_small_model() -> None:
    # 512 rows of 128,256 logits in f32, two hidden states of 4096 values beside them, and 512 numbers of rows
    expected = 512 * 128_256 * 4 + 2 * 512 * 4096 * 4 + 512 * 4
    assert compute_bytes(SPECS[LLAMA_8B], Workload(4096)) == expected


def test_output_is_one_row_of_logits_per_slot() -> None:
    table = LayerTable.from_specs([SPECS[LLAMA_8B]])
    assert estimate_output_bytes(table, Workload(4096, 4)).tolist() == [4 * 4 * 128_256]


def test_every_architecture_of_the_table_is_sized_together_as_alone() -> None:
    specs = list(SPECS.values())
    for workload in (Workload(4096), Workload(8192, 2, flash_attention=False)):
        together = estimate_compute_bytes(LayerTable.from_specs(specs), workload)
        alone = [compute_bytes(spec, workload) for spec in specs]
        assert together.tolist() == alone


def test_an_unknown_graph_is_named() -> None:
    unknown = next(card.spec for card in load_families() if not can_estimate_compute(card.spec.architecture))
    with pytest.raises(UnsupportedError, match=unknown.architecture):
        compute_bytes(unknown, Workload(4096))


def test_the_reserve_is_one_batch_spread_over_the_slots() -> None:
    # llama-context.cpp, graph_reserve: tokens are rounded up to a multiple of the sequences
    reserve = find_reserve(Workload(4096, 3))
    assert (reserve.n_tokens, reserve.n_outputs, reserve.n_streams) == (513, 512, 3)


@given(pattern=st.lists(st.integers(0, 3), min_size=1, max_size=4), repeats=st.integers(1, 40), tail=st.integers(0, 3))
def test_cutting_runs_keeps_order_ends_and_short_models(pattern: list[int], repeats: int, tail: int) -> None:
    rows = pattern * repeats + [9] * tail
    kept = cut_runs(rows)
    assert kept == sorted(set(kept))
    assert kept[-1] == len(rows) - 1
    assert kept[0] == 0
    assert {rows[i] for i in kept} == set(rows)
    if len(rows) < 9:
        assert kept == list(range(len(rows)))


@pytest.mark.parametrize(
    "model_id", [LLAMA_8B, "google/gemma-3-4b-it", "tiiuae/Falcon-H1-7B-Instruct", "Qwen/Qwen3-30B-A3B"]
)
def test_cut_runs_give_the_size_of_all_layers(model_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    workloads = [
        Workload(8192),
        Workload(8192, kv_type_k="q8_0", kv_type_v="q8_0"),
        Workload(4096, 4, flash_attention=False),
    ]
    short = [compute_bytes(SPECS[model_id], w) for w in workloads]
    monkeypatch.setattr("sizing.compute.cut_runs", lambda rows: list(range(len(rows))))
    assert [compute_bytes(SPECS[model_id], w) for w in workloads] == short


@settings(max_examples=40, deadline=None)
@given(spec=st.sampled_from(sorted(SPECS)), context=st.integers(1024, 8000))
def test_much_more_of_anything_takes_more(spec: str, context: int) -> None:
    # places left free between tensors make neighbouring sizes uneven, in the engine too, so the steps are large
    one = SPECS[spec]
    scores = [compute_bytes(one, Workload(c, flash_attention=False)) for c in (context, 32 * context)]
    heads = max(g.attention.n_heads for g in one.groups if g.attention is not None)
    if one.architecture != "nomic-bert" and heads * 32 * context > 2 * one.vocab_size:  # else the logits are larger
        assert scores[0] < scores[1], "scores of all heads grow with the context"
    assert scores[0] <= scores[1]
    batches = [compute_bytes(one, Workload(context, n_ubatch=n)) for n in (128, 512)]
    assert batches[0] < batches[1]


def test_sizes_are_whole_numbers_of_bytes() -> None:
    sizes = estimate_compute_bytes(LayerTable.from_specs(list(SPECS.values())), Workload(4096))
    assert sizes.dtype == np.int64
    assert (sizes > 0).all()

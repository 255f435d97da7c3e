"""KV cache and recurrent state: equal to what llama.cpp printed, and lawful where nobody printed anything."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.models import load_families
from sizing.kv_cache import Cells, estimate_kv_cache_bytes, find_cache_refusal
from sizing.layers import LayerTable
from sizing.specs import Attention, AttentionKind, FeedForward, LayerGroup, ModelSpec, Recurrent, RecurrentKind
from sizing.units import MIB
from sizing.workload import Workload

GOLDEN = Path(__file__).parents[1] / "golden"
SPECS = {card.model_id: card.spec for card in load_families()}
KV_TYPES = ("f32", "f16", "q8_0", "q5_1", "q4_0")


def kv_bytes(spec: ModelSpec, workload: Workload) -> int:
    return int(estimate_kv_cache_bytes(LayerTable.from_specs([spec]), workload).kv_cache_bytes[0])


def small_model(**attention: object) -> ModelSpec:
    """Four layers, one of them recurrent and without attention."""
    fields = {"kind": AttentionKind.FULL, "n_heads": 8, "n_kv_heads": 4, "head_dim": 64, **attention}
    attends = LayerGroup((0, 1, 2), Attention(**fields), None, FeedForward(512))  # type: ignore[arg-type]
    state = Recurrent(RecurrentKind.MAMBA2, 4, conv_elements=300, state_elements=1000)
    recurs = LayerGroup((3,), None, state, FeedForward(512))
    return ModelSpec("small", "small", "granitehybrid", (attends, recurs), 512, 1000, 131_072, True, 10**6, 10**6)


@pytest.mark.parametrize("row", list(csv.DictReader((GOLDEN / "engine_sizes.csv").open())), ids=lambda r: r["model_id"])
def test_caches_equal_the_engine_to_the_byte(row: dict[str, str]) -> None:
    workload = Workload(
        int(row["context_tokens"]),
        int(row["n_parallel"]),
        n_ubatch=int(row["n_ubatch"]),
        kv_type_k=row["kv_type"],
        kv_type_v=row["kv_type"],
        flash_attention=row["flash_attention"] == "on",
    )
    caches = estimate_kv_cache_bytes(LayerTable.from_specs([SPECS[row["model_id"]]]), workload)
    assert int(caches.kv_cache_bytes[0] + caches.recurrent_state_bytes[0]) == int(row["cache_bytes"])


@pytest.mark.parametrize(
    "row", list(csv.DictReader((GOLDEN / "published_cache_sizes.csv").open())), ids=lambda r: r["model_id"]
)
def test_caches_equal_published_logs(row: dict[str, str]) -> None:
    workload = Workload(
        int(row["context_tokens"]), int(row["n_parallel"]), kv_unified=row["kv_unified"] == "yes", n_batch=2048
    )
    assert kv_bytes(SPECS[row["model_id"]], workload) == int(row["kv_cache_mib"]) * MIB


def test_cells_are_padded_and_split_as_llama_cpp_does() -> None:
    # llama-context.cpp: the context is padded to 256 cells, each slot's share again, unless all share one pool
    assert Cells.from_workload(Workload(1000, 3)) == Cells(3072, 1024, 3, 3, 512)
    assert Cells.from_workload(Workload(1000, 3, kv_unified=True)) == Cells(3072, 3072, 1, 3, 512)
    assert Cells.from_workload(Workload(100, n_ubatch=512)).n_ubatch == 100, "a batch is no longer than the context"


def test_a_window_holds_itself_and_one_batch() -> None:
    # gpt-oss-20b: 12 of 24 layers look back 128 tokens; pad(128 + 512) = 768 cells of 2 x 512 values in f16
    spec = SPECS["openai/gpt-oss-20b"]
    windowed, whole = 12 * 768 * 2048, 12 * 32_768 * 2048
    assert kv_bytes(spec, Workload(32_768)) == windowed + whole
    assert kv_bytes(spec, Workload(32_768, swa_full=True)) == 2 * whole


def test_windows_that_llama_cpp_does_not_honour_cost_the_whole_context() -> None:
    spec = small_model(kind=AttentionKind.SLIDING, window_tokens=128)
    assert kv_bytes(spec, Workload(4096)) == kv_bytes(small_model(), Workload(4096)) == 3 * 4096 * 2 * 256 * 2


def test_layers_without_heads_or_with_shared_caches_hold_nothing() -> None:
    assert kv_bytes(small_model(n_kv_heads=0), Workload(4096)) == 0
    assert kv_bytes(small_model(shares_kv=True), Workload(4096)) == 0


def test_states_are_kept_per_slot_whatever_the_context() -> None:
    table = LayerTable.from_specs([small_model()])
    states = [estimate_kv_cache_bytes(table, Workload(c, 3)).recurrent_state_bytes[0] for c in (256, 65_536)]
    assert states == [4 * 3 * 1300] * 2


def test_a_table_of_all_models_equals_each_alone() -> None:
    specs = list(SPECS.values())
    for workload in (
        Workload(8192, 4),
        Workload(4096, kv_type_k="q8_0", kv_type_v="q4_0"),
        Workload(5000, 2, flash_attention=False),
    ):
        together = estimate_kv_cache_bytes(LayerTable.from_specs(specs), workload)
        for i, spec in enumerate(specs):
            alone = estimate_kv_cache_bytes(LayerTable.from_specs([spec]), workload)
            assert together.kv_cache_bytes[i] == alone.kv_cache_bytes[0], spec.model_id
            assert together.recurrent_state_bytes[i] == alone.recurrent_state_bytes[0], spec.model_id


@given(
    spec=st.sampled_from(sorted(SPECS)),
    context=st.integers(256, 200_000),
    more=st.integers(1, 50_000),
    slots=st.integers(1, 8),
    unified=st.booleans(),
)
def test_memory_rises_with_context_and_slots(spec: str, context: int, more: int, slots: int, unified: bool) -> None:
    small = Workload(context, slots, kv_unified=unified)
    assert kv_bytes(SPECS[spec], small) <= kv_bytes(
        SPECS[spec], dataclasses.replace(small, context_tokens=context + more)
    )
    assert kv_bytes(SPECS[spec], small) <= kv_bytes(SPECS[spec], dataclasses.replace(small, n_parallel=slots + 1))


@given(spec=st.sampled_from(sorted(SPECS)), context=st.integers(256, 200_000))
def test_memory_rises_with_bits(spec: str, context: int) -> None:
    sizes = [kv_bytes(SPECS[spec], Workload(context, kv_type_k=t, kv_type_v=t)) for t in KV_TYPES]
    assert sizes == sorted(sizes, reverse=True)


def test_cache_types_that_llama_cpp_refuses_are_named() -> None:
    latent = SPECS["deepseek-ai/DeepSeek-V3"]
    assert "one type" in str(find_cache_refusal(latent, Workload(4096, kv_type_k="q8_0", kv_type_v="f16")))
    assert find_cache_refusal(latent, Workload(4096, kv_type_k="q8_0", kv_type_v="q8_0")) is None
    odd = small_model(head_dim=80)
    assert "whole blocks of 32" in str(find_cache_refusal(odd, Workload(4096, kv_type_k="q8_0")))
    assert find_cache_refusal(odd, Workload(4096)) is None

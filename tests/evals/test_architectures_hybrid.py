"""Latent attention, hybrids, Gemma 3n and 4: every model of the catalog loads, and counts and bytes are the published.

llama.cpp's loader refuses a missing, mis-shaped or surplus tensor. What it calls optional is proven by the counts and
file sizes others published: a published file is larger than its tensors by its header and vocabulary alone, so two
quantizations of one model differ from our bytes by the same amount.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from catalog.models import load_families
from evals.dry_run import DryRun, EngineChild, ask_dry_runs, ask_tensor_types
from sizing.architectures import ARCHITECTURES
from sizing.errors import UnsupportedError
from sizing.quants import GGML_TYPES, find_quant
from sizing.specs import ModelSpec
from sizing.tensors import count_params, list_tensors, metadata
from sizing.workload import Workload

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = (
    "deepseek2 deepseek32 deepseek4 glm-dsa glm5-next kimi-k3 mistral4 minimax-m3 gemma3n gemma4 qwen3next qwen35"
    " qwen35moe granitehybrid falcon-h1 nemotron_h nemotron_h_moe lfm2 lfm2moe"
).split()
SPECS = {c.model_id: c.spec for c in load_families() if c.spec.architecture in NAMES}
VOCABULARY_BYTES_MAX = 17_000_000
"""More than the largest vocabulary here: Gemma 4's 262,144 tokens with scores, types and merges take 15.8 MB."""


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineChild]:
    with EngineChild() as child:
        yield child


def read_golden(name: str) -> list[dict[str, str]]:
    with (GOLDEN / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_these_architectures_are_in_the_catalog() -> None:
    assert {s.architecture for s in SPECS.values()} == set(NAMES)
    assert set(NAMES) <= set(ARCHITECTURES)


@pytest.mark.parametrize("model_id", SPECS)
def test_tensors_add_up_to_the_spec(model_id: str) -> None:
    spec = SPECS[model_id]
    assert count_params(spec) == pytest.approx(spec.n_params, rel=1e-5)


@pytest.mark.parametrize("row", read_golden("published_parameter_counts.csv"), ids=lambda r: r["model_id"])
def test_tensors_add_up_to_the_published_count(row: dict[str, str]) -> None:
    assert count_params(SPECS[row["model_id"]]) == int(row["n_params"]) + int(row["n_more_in_gguf"])


def test_no_tensor_is_named_twice() -> None:
    for spec in SPECS.values():
        names = [t.name for t in list_tensors(spec)]
        assert len(names) == len(set(names)), spec.model_id


def test_missing_number_is_named() -> None:
    spec = SPECS["deepseek-ai/DeepSeek-V4-Flash"]
    poorer = replace(spec, extras=tuple(e for e in spec.extras if e[0] != "hash_layer_count"))
    with pytest.raises(UnsupportedError, match="hash_layer_count"):
        list_tensors(poorer)


def test_unknown_architecture_is_named() -> None:
    spec = replace(SPECS["LiquidAI/LFM2-350M"], architecture="lfm9")
    with pytest.raises(UnsupportedError, match="'lfm9'"):
        list_tensors(spec)


def test_glm_5_2_owns_an_indexer_on_21_layers() -> None:
    """GLM-5.2 shares its indexers: `indexer_types` of its config.json says 'full' on 21 of 78 layers."""
    types = dict(metadata(SPECS["zai-org/GLM-5.2"]))["glm-dsa.attention.indexer.types"]
    assert isinstance(types, tuple)
    assert sum(types) == 21
    assert [layer for layer, owns in enumerate(types) if owns][:5] == [0, 1, 2, 6, 10]


@pytest.mark.engine
@pytest.mark.parametrize("name", NAMES)
def test_every_model_loads(name: str, engine: EngineChild) -> None:
    workloads = (Workload(4096), Workload(32_768, n_parallel=4, kv_type_k="q8_0", kv_type_v="q8_0"))
    for spec in SPECS.values():
        if spec.architecture != name:
            continue
        for run in ask_dry_runs(spec, "F16", workloads, engine):
            assert isinstance(run, DryRun), f"{spec.model_id}: {run}"
            assert run.n_params == count_params(spec), spec.model_id


def weigh(spec: ModelSpec, quant: str, engine: EngineChild) -> int:
    types = ask_tensor_types(spec, [find_quant(quant)], engine)
    assert isinstance(types, dict), types
    total = 0
    for tensor in list_tensors(spec):
        kind = GGML_TYPES[types[quant][tensor.name]]
        total += kind.row_bytes(tensor.shape[0]) * (tensor.n_elements // tensor.shape[0])
    return total


@pytest.mark.engine
def test_published_files_are_larger_by_their_vocabulary_alone(engine: EngineChild) -> None:
    surplus: dict[str, set[int]] = defaultdict(set)
    for row in read_golden("published_hybrid_files.csv"):
        spec = SPECS[row["model_id"]]
        more = int(row["size_bytes"]) - weigh(spec, row["quant"], engine)
        assert 0 < more < VOCABULARY_BYTES_MAX, (row["model_id"], row["quant"], more)
        surplus[row["model_id"]].add(more)
    assert len(surplus) >= 20
    assert all(len(sizes) == 1 for sizes in surplus.values()), surplus
    for family in ("google/gemma-4-", "Qwen/Qwen3.5-", "LiquidAI/LFM2-"):
        # one vocabulary; what is left are the names of a few hundred tensors more or less
        sizes = [n for model_id, found in surplus.items() if model_id.startswith(family) for n in found]
        assert len(sizes) >= 3
        assert max(sizes) - min(sizes) < 64 * 1024, (family, sizes)

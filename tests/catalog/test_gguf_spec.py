"""A header becomes the model it was written from: every catalog model there and back, and the files that are none."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.gguf_header import GgufHeader, load_header
from catalog.gguf_spec import HeaderReading, read_header_spec
from catalog.models import load_families
from catalog.queries import find_weights, list_models
from catalog.store import Catalog
from evals.weightless import write_weightless_gguf
from sizing.architectures import ARCHITECTURES
from sizing.compute import estimate_compute_bytes
from sizing.errors import BadInputError, GgufError, UnsupportedError, WeighbridgeError
from sizing.kv_cache import estimate_kv_cache_bytes
from sizing.layers import LayerTable
from sizing.quants import QUANTS
from sizing.specs import ExtraValue, ModelSpec
from sizing.tensors import list_tensors, metadata
from sizing.workload import Workload
from tests.catalog.drawn_headers import change_keys, change_tensors, draw_header, draw_key

DEMO = Path(__file__).parents[2] / "evals" / "demo" / "weighbridge-demo.gguf"
SPECS = {card.model_id: card.spec for card in load_families() if card.spec.architecture in ARCHITECTURES}
WORKLOADS = (
    Workload(4096),
    Workload(8192, n_parallel=3, n_ubatch=128, flash_attention=False),
    Workload(2048, n_parallel=2, n_ubatch=1024, kv_unified=True, swa_full=True),
)
COUNTED_WITH_ROPE = ("gemma4",)
"""The catalog counts rope factors among these models' parameters."""

BY_DEFAULT = {"cohere2moe": {"expert_gating_func"}}
"""What llama.cpp takes where a file is silent, and a reading says."""


@cache
def read_drawn(model_id: str) -> HeaderReading:
    """The reading of a catalog model's own header in F16."""
    return read_header_spec([draw_header(SPECS[model_id])], model_id, name=SPECS[model_id].name, label="F16")


def list_sizes(*specs: ModelSpec) -> list[list[tuple[int, ...]]]:
    """Per model: KV cache, recurrent state and compute buffer under each workload, in bytes."""
    table = LayerTable.from_specs(specs)
    found: list[list[tuple[int, ...]]] = [[] for _ in specs]
    for workload in WORKLOADS:
        cache = estimate_kv_cache_bytes(table, workload)
        compute = estimate_compute_bytes(table, workload)
        for m, sizes in enumerate(found):
            sizes.append((int(cache.kv_cache_bytes[m]), int(cache.recurrent_state_bytes[m]), int(compute[m])))
    return found


def are_equal_in_size(one: ModelSpec, other: ModelSpec) -> bool:
    first, second = list_sizes(one, other)
    return first == second


def read(header: GgufHeader, **asked: str) -> HeaderReading:
    return read_header_spec([header], "someone/some-model", **asked)


def test_every_registered_architecture_is_in_the_catalog() -> None:
    assert len(SPECS) >= 194
    assert {spec.architecture for spec in SPECS.values()} == set(ARCHITECTURES)


@pytest.mark.parametrize("model_id", SPECS)
def test_a_model_written_as_a_header_is_read_as_itself(model_id: str) -> None:
    spec = SPECS[model_id]
    reading = read_drawn(model_id)
    got = reading.spec
    assert reading.check.is_equal, reading.check.sentence
    assert reading.notes == ()
    assert got.groups == spec.groups
    for field in ("hidden_dim", "vocab_size", "context_tokens", "tied_embeddings", "architecture", "name", "model_id"):
        assert getattr(got, field) == getattr(spec, field), field
    rope = sum(t.n_elements for t in list_tensors(spec) if t.name.startswith("rope_f"))
    rope = rope if spec.architecture in COUNTED_WITH_ROPE else 0
    assert got.n_params == spec.n_params - rope
    assert got.n_active_params == spec.n_active_params - rope
    said = {f"{spec.architecture}.{key}" for key in BY_DEFAULT.get(spec.architecture, ())}
    assert {key: value for key, value in metadata(got) if key not in said} == dict(metadata(spec))


def test_every_model_read_is_the_same_to_the_formulas() -> None:
    """Caches and buffers are worked out from this table and the architecture alone."""
    said = [spec.architecture in BY_DEFAULT for spec in SPECS.values()]
    ours = LayerTable.from_specs(list(SPECS.values()))
    theirs = LayerTable.from_specs([read_drawn(model_id).spec for model_id in SPECS])
    assert ours.architectures == theirs.architectures
    assert all((ours.rows[name] == theirs.rows[name]).all() for name in ours.rows)
    for name, column in ours.models.items():
        assert ((column == theirs.models[name]) | said).all(), name


def test_every_architecture_read_takes_the_memory_of_the_one_written() -> None:
    one_each = {spec.architecture: model_id for model_id, spec in SPECS.items()}.values()
    sizes = list_sizes(*(SPECS[m] for m in one_each), *(read_drawn(m).spec for m in one_each))
    n = len(one_each)
    assert [i for i in range(n) if sizes[i] != sizes[n + i]] == []
    assert all(min(kv, recurrent) >= 0 and compute > 0 for model in sizes for kv, recurrent, compute in model)


def test_every_header_weighs_what_the_engine_said(catalog: Catalog) -> None:
    n_compared = 0
    for card in list_models(catalog):
        if card.model_id not in SPECS:
            continue
        reading = read_drawn(card.model_id)
        assert reading.weights == find_weights(catalog, card, "F16"), card.model_id
        assert sum(1 for _ in reading.types) == len(list_tensors(card.spec))
        n_compared += 1
    assert n_compared == len(SPECS)


# ---------------------------------------------------------------- files as older converters wrote them

OLDER = (
    ("google/gemma-2-9b-it", ("attention.sliding_window_pattern", "attention.sliding_window")),
    ("google/gemma-3-4b-it", ("attention.sliding_window_pattern",)),
    ("google/gemma-3n-E4B-it", ("attention.sliding_window_pattern", "altup.num_inputs", "attention.shared_kv_layers")),
    ("CohereLabs/c4ai-command-a-03-2025", ("attention.sliding_window_pattern",)),
    ("openai/gpt-oss-20b", ("attention.sliding_window_pattern",)),
    ("allenai/Olmo-3-7B-Instruct", ("attention.sliding_window_pattern",)),
    ("meta-llama/Llama-4-Scout-17B-16E-Instruct", ("attention.sliding_window_pattern", "attention.sliding_window")),
    (
        "Qwen/Qwen3-Next-80B-A3B-Instruct",
        ("attention.recurrent_layers", "full_attention_interval", "expert_shared_count"),
    ),
    ("Qwen/Qwen3.5-27B", ("attention.recurrent_layers",)),
    ("mistralai/Mixtral-8x7B-Instruct-v0.1", ("expert_feed_forward_length", "attention.key_length")),
    ("deepseek-ai/DeepSeek-V2-Chat", ("expert_gating_func", "expert_shared_feed_forward_length")),
    ("zai-org/GLM-4.7-Flash", ("expert_gating_func", "expert_shared_feed_forward_length")),
    ("zai-org/GLM-4.5-Air", ("expert_gating_func", "expert_shared_feed_forward_length")),
    ("zai-org/GLM-5", ("attention.indexer.types", "expert_gating_func")),
    ("zai-org/GLM-5.2", ("attention.indexer.types",)),
    ("tiiuae/falcon-180B", ("attention.key_length", "attention.value_length")),
    ("EleutherAI/pythia-1.4b", ("attention.key_length", "attention.value_length", "attention.head_count_kv")),
    ("nomic-ai/nomic-embed-text-v1.5", ("attention.key_length", "attention.value_length", "attention.head_count_kv")),
    ("meta-llama/Llama-3.1-8B-Instruct", ("attention.key_length", "attention.value_length")),
)


@pytest.mark.parametrize(("model_id", "dropped"), OLDER, ids=[model_id.split("/")[1] for model_id, _ in OLDER])
def test_what_an_older_file_leaves_out_is_what_llama_cpp_takes(model_id: str, dropped: tuple[str, ...]) -> None:
    spec = SPECS[model_id]
    reading = read(change_keys(draw_header(spec), drop=(*dropped, "vocab_size")))
    assert reading.check.is_equal, reading.check.sentence
    assert reading.spec.groups == spec.groups
    assert reading.spec.vocab_size == spec.vocab_size
    assert are_equal_in_size(reading.spec, spec)


PUBLISHED: tuple[tuple[str, str, dict[str, ExtraValue], int | None], ...] = (
    (
        "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        "https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/1365, ggml-org/llama.cpp/issues/20570",
        {
            "attention.head_count": 32,
            "attention.key_length": 128,
            "attention.value_length": 128,
            "rope.dimension_count": 84,
            "rope.scaling.finetuned": False,
            "ssm.conv_kernel": 4,
            "ssm.state_size": 128,
            "ssm.group_count": 8,
            "ssm.inner_size": 4096,
            "ssm.time_step_rank": 64,
            "expert_count": 128,
            "expert_used_count": 6,
            "expert_shared_count": 1,
            "expert_feed_forward_length": 1856,
            "expert_shared_feed_forward_length": 3712,
            "expert_group_count": 1,
            "expert_group_used_count": 1,
            "expert_weights_norm": True,
        },
        131_072,
    ),
    (
        "Qwen/Qwen3-Coder-Next",
        "https://github.com/ggml-org/llama.cpp/issues/20490",
        {
            "attention.key_length": 256,
            "attention.value_length": 256,
            "expert_count": 512,
            "expert_used_count": 10,
            "expert_feed_forward_length": 512,
            "expert_shared_feed_forward_length": 512,
            "ssm.conv_kernel": 4,
            "ssm.state_size": 128,
            "ssm.group_count": 16,
            "ssm.time_step_rank": 32,
            "ssm.inner_size": 4096,
            "full_attention_interval": 4,
            "rope.dimension_count": 64,
        },
        151_936,
    ),
    (
        "moonshotai/Kimi-K2-Thinking",
        "https://github.com/ikawrakow/ik_llama.cpp/issues/1916",
        {
            "attention.q_lora_rank": 1536,
            "attention.kv_lora_rank": 512,
            "attention.key_length": 576,
            "attention.value_length": 512,
            "attention.key_length_mla": 192,
            "attention.value_length_mla": 128,
            "leading_dense_block_count": 1,
            "expert_count": 384,
            "expert_used_count": 8,
            "expert_shared_count": 1,
            "expert_feed_forward_length": 2048,
            "expert_group_count": 1,
            "expert_group_used_count": 1,
            "expert_gating_func": 2,
            "expert_weights_scale": 2.827,
            "rope.dimension_count": 64,
        },
        163_840,
    ),
    (
        "zai-org/GLM-4.7",
        "https://github.com/ggml-org/llama.cpp/issues/18585, ikawrakow/ik_llama.cpp/issues/1162",
        {
            "block_count": 93,
            "nextn_predict_layers": 1,
            "context_length": 202_752,
            "embedding_length": 5120,
            "feed_forward_length": 12_288,
            "attention.head_count": 96,
            "attention.head_count_kv": 8,
            "attention.key_length": 128,
            "attention.value_length": 128,
            "rope.dimension_count": 64,
            "expert_count": 160,
            "expert_feed_forward_length": 1536,
            "expert_shared_count": 1,
            "leading_dense_block_count": 3,
            "expert_gating_func": 2,
            "expert_weights_norm": True,
            "expert_group_used_count": 1,
        },
        151_552,
    ),
    (
        "google/gemma-3n-E2B-it",
        "https://github.com/ggml-org/llama.cpp/pull/17597",
        {
            "attention.sliding_window": 512,
            "attention.head_count_kv": 2,
            "altup.active_idx": 0,
            "altup.num_inputs": 4,
            "embedding_length_per_layer_input": 256,
            "attention.shared_kv_layers": 10,
            "activation_sparsity_scale": (1.644854,) * 30,
            "attention.sliding_window_pattern": (True, True, True, True, False) * 6,
        },
        None,
    ),
)
"""Keys of published files as llama.cpp printed them: model, where, keys without the architecture, tokens listed
(None where the text is cut off before)."""

SILENT = ("vocab_size", "attention.recurrent_layers", "leading_dense_block_count", "expert_shared_count")
"""Keys of our own headers that those files do not have, unless they are listed."""


@pytest.mark.parametrize(("model_id", "source", "keys", "n_tokens"), PUBLISHED, ids=[p[0] for p in PUBLISHED])
def test_the_keys_of_a_published_file_give_the_model_it_is_of(
    model_id: str, source: str, keys: dict[str, ExtraValue], n_tokens: int | None
) -> None:
    spec = SPECS[model_id]
    tokens = replace(draw_key("tokenizer.ggml.tokens", ("a",)), value=None, n_items=n_tokens or 0)
    header = change_keys(draw_header(spec), drop=SILENT, **{k.replace(".", "__"): v for k, v in keys.items()})
    reading = read(replace(header, keys=(*header.keys, tokens)))
    assert reading.check.is_equal, (source, reading.check.sentence)
    assert reading.spec.groups == spec.groups, source
    assert (reading.spec.vocab_size, reading.spec.hidden_dim) == (spec.vocab_size, spec.hidden_dim)
    ours, theirs = list_sizes(spec, reading.spec)
    assert [sizes[:2] for sizes in ours] == [sizes[:2] for sizes in theirs]


def test_a_tower_in_the_model_s_own_file_is_told_and_left_out() -> None:
    """Ollama's files of vision models hold both."""
    spec = SPECS["google/gemma-3-4b-it"]
    header = draw_header(spec)
    tower = [
        replace(header.tensors[0], name=name, shape=(64, 32), n_bytes=4096) for name in ("v.blk.0.q.weight", "mm.x")
    ]
    reading = read(change_keys(replace(header, tensors=header.tensors + tuple(tower)), vision__block_count=27))
    assert reading.check.is_equal
    assert reading.weights == read(header).weights
    assert reading.spec.n_params == spec.n_params and reading.spec.n_params_projector == 2 * 64 * 32
    assert "2 tensors, 8,192 bytes" in reading.notes[0]
    assert "vision.block_count" not in dict(reading.spec.extras)


def test_a_period_is_read_like_a_list() -> None:
    spec = SPECS["google/gemma-3-4b-it"]
    by_number = read(change_keys(draw_header(spec), attention__sliding_window_pattern=6))
    assert by_number.spec.groups == spec.groups
    other = read(change_keys(draw_header(spec), attention__sliding_window_pattern=2)).spec
    full = [i for g in other.groups if g.attention is not None and g.attention.window_tokens is None for i in g.layers]
    assert full == list(range(1, spec.n_layers, 2))


def test_cohere_s_mixture_begins_with_the_full_layer_where_the_file_is_silent() -> None:
    """src/models/cohere2moe.cpp: `load_swa_pattern(ml, 4, true)`."""
    header = change_keys(
        draw_header(SPECS["CohereLabs/command-a-plus-05-2026-bf16"]), drop=["attention.sliding_window_pattern"]
    )
    full = next(g for g in read(header).spec.groups if g.attention is not None and g.attention.window_tokens is None)
    assert full.layers == tuple(range(0, 32, 4))


def test_gemma_3_without_a_window_sees_everything() -> None:
    """The 1B's first conversions had none; llama.cpp then keeps the whole context (src/models/gemma3.cpp)."""
    header = change_keys(draw_header(SPECS["google/gemma-3-4b-it"]), drop=["attention.sliding_window"])
    assert [g.attention.name for g in read(header).spec.groups if g.attention is not None] == ["GQA"]


def test_one_number_per_layer_is_read_for_each_layer() -> None:
    spec = SPECS["meta-llama/Llama-3.2-1B-Instruct"]
    n = spec.n_layers
    header = change_keys(
        draw_header(spec),
        feed_forward_length=(8192,) * n,
        attention__head_count=(32,) * n,
        attention__head_count_kv=(8,) * (n - 1) + (4,),
    )
    reading = read(change_tensors(header, blk__15__attn_k__weight=(2048, 256), blk__15__attn_v__weight=(2048, 256)))
    assert reading.check.is_equal, reading.check.sentence
    assert [(g.layers[0], g.attention.n_kv_heads) for g in reading.spec.groups if g.attention] == [(0, 8), (15, 4)]


def test_layers_that_only_draft_are_told_and_left_out() -> None:
    spec = SPECS["zai-org/GLM-4.5-Air"]
    header = draw_header(spec)
    n = spec.n_layers
    ahead = [
        replace(t, name=t.name.replace("blk.1.", f"blk.{n}.")) for t in header.tensors if t.name.startswith("blk.1.")
    ]
    longer = replace(header, tensors=header.tensors + tuple(ahead))
    reading = read(change_keys(longer, block_count=n + 1, nextn_predict_layers=1))
    assert reading.spec.groups == spec.groups
    assert reading.check.is_equal
    assert len(reading.weights.layer_bytes) == n
    assert reading.weights == read(header).weights
    assert "1 prediction layers" in reading.notes[0] and f"{len(ahead)} tensors" in reading.notes[0]
    assert reading.spec.n_params == spec.n_params


def test_a_vocabulary_counts_before_a_stated_size_and_a_stated_size_before_the_table() -> None:
    spec = SPECS["meta-llama/Llama-3.2-1B-Instruct"]
    tokens = replace(draw_key("tokenizer.ggml.tokens", ("a",)), value=None, n_items=128_000)
    header = draw_header(spec)
    listed = read(replace(header, keys=(*header.keys, tokens)))
    assert listed.spec.vocab_size == 128_000
    assert listed.check.reshaped == ("token_embd.weight",)
    assert "in another shape token_embd.weight" in listed.notes[0]
    assert read(change_keys(header, vocab_size=128_001)).spec.vocab_size == 128_001


# ---------------------------------------------------------------- real files, split files, mixes


def test_the_demonstration_model_is_read_as_its_page_says() -> None:
    """evals/demo/README.md: llama, 2,754,816 parameters, 4 layers, hidden 256, feed-forward 512, 4 heads of 64."""
    reading = read_header_spec([load_header(DEMO)], "weighbridge/demo")
    spec = reading.spec
    assert reading.check.is_equal, reading.check.sentence
    assert (spec.architecture, spec.n_params, spec.n_layers, spec.hidden_dim) == ("llama", 2_754_816, 4, 256)
    (group,) = spec.groups
    assert group.attention is not None and group.ffn is not None
    assert (group.attention.n_heads, group.attention.head_dim, group.attention.n_kv_heads) == (4, 64, 2)
    assert (group.ffn.ffn_dim, spec.vocab_size, spec.tied_embeddings, spec.context_tokens) == (512, 768, False, 512)
    assert spec.n_active_params == spec.n_params
    assert reading.weights.quant == "F16"
    assert reading.weights.tensor_bytes == load_header(DEMO).tensor_bytes
    assert spec.name == load_header(DEMO).find("general.name")


@pytest.mark.parametrize("model_id", ["google/gemma-3n-E2B-it", "openai/gpt-oss-20b", "LiquidAI/LFM2-1.2B"])
def test_a_written_file_reads_as_its_model(model_id: str, tmp_path: Path) -> None:
    """Through a file, numbers are rounded to 32 bits and flags and lists take GGUF's types."""
    spec = SPECS[model_id]
    path = tmp_path / "model.gguf"
    write_weightless_gguf(spec, path)
    reading = read_header_spec([load_header(path)], model_id)
    assert reading.check.is_equal
    assert reading.spec.groups == spec.groups
    assert are_equal_in_size(reading.spec, spec)


def test_a_split_model_reads_as_the_whole() -> None:
    whole = draw_header(SPECS["Qwen/Qwen3-30B-A3B"])
    parts = []
    for i in range(3):
        tensors = whole.tensors[i::3]
        keys = [
            draw_key("split.no", i),
            draw_key("split.count", 3),
            draw_key("split.tensors.count", len(whole.tensors)),
        ]
        parts.append(replace(whole, keys=(*(whole.keys if i == 0 else whole.keys[:1]), *keys), tensors=tensors))
    reading = read_header_spec(parts, "Qwen/Qwen3-30B-A3B")
    assert reading.spec == read_header_spec([whole], "Qwen/Qwen3-30B-A3B").spec
    assert reading.weights == read(whole).weights
    with pytest.raises(BadInputError, match="split over 3 files"):
        read_header_spec(parts[:2], "Qwen/Qwen3-30B-A3B")


def test_a_mix_is_weighed_as_it_is_and_told_by_name() -> None:
    spec = SPECS["meta-llama/Llama-3.2-1B-Instruct"]
    matrices = [t for t in list_tensors(spec) if len(t.shape) == 2 and t.name.endswith(".weight")]
    mix = {t.name: ("q6_K" if "attn_v" in t.name or "token_embd" in t.name else "q4_K") for t in matrices}
    mix["blk.3.ffn_down.weight"] = "q8_0"
    header = draw_header(spec, mix)
    stated = replace(header, keys=(*header.keys, draw_key("general.file_type", QUANTS["Q4_K_M"].ftype)))
    reading = read(stated)
    assert reading.weights.quant == "Q4_K_M"
    assert read(stated, label="UD-Q4_K_XL").weights.quant == "UD-Q4_K_XL"
    assert dict(reading.types)["blk.3.ffn_down.weight"] == "q8_0"
    assert reading.weights.tensor_bytes == header.tensor_bytes
    plain = read(draw_header(spec, mix | {"blk.3.ffn_down.weight": "q4_K"})).weights
    more = 8192 * 2048 * 34 // 32 - 8192 * 2048 * 144 // 256
    assert reading.weights.layer_bytes[3] - plain.layer_bytes[3] == more
    assert reading.spec.groups == spec.groups


def test_what_differs_from_the_model_is_named() -> None:
    spec = SPECS["meta-llama/Llama-3.2-1B-Instruct"]
    header = draw_header(spec)
    bias = replace(header.tensors[0], name="blk.0.attn_q.bias", shape=(2048,))
    odd = change_tensors(header, drop=["blk.4.ffn_up.weight"], blk__2__attn_k__weight=(2048, 256))
    check = read(replace(odd, tensors=(*odd.tensors, bias))).check
    assert not check.is_equal
    assert (check.missing, check.extra) == (("blk.4.ffn_up.weight",), ("blk.0.attn_q.bias",))
    assert check.reshaped == ("blk.2.attn_k.weight",)
    assert "lacks blk.4.ffn_up.weight; has besides blk.0.attn_q.bias" in check.sentence
    assert "All" in read(header).check.sentence


# ---------------------------------------------------------------- files that are none


@pytest.mark.parametrize(
    ("general", "said"),
    [
        ({"general.architecture": "clip"}, "projector"),
        ({"general.architecture": "llama", "general.type": "adapter"}, "adapter"),
        ({"general.architecture": "clip", "general.type": "mmproj"}, "projector"),
        ({"general.type": "imatrix"}, "importance matrix"),
        ({"general.architecture": "controlvector"}, "control vector"),
        ({}, "does not say its architecture"),
        ({"general.architecture": "qwen3mo"}, "near: qwen3moe"),
        ({"general.architecture": "\x1b[31mllama" * 20}, "no tensor table"),
    ],
)
def test_a_file_that_is_no_model_says_what_it_is(general: dict[str, str], said: str) -> None:
    header = draw_header(SPECS["meta-llama/Llama-3.2-1B-Instruct"])
    keys = tuple(key for key in header.keys if not key.name.startswith("general."))
    with pytest.raises(UnsupportedError, match=said) as caught:
        read(replace(header, keys=(*(draw_key(k, v) for k, v in general.items()), *keys)))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_a_vocabulary_alone_is_no_model() -> None:
    header = draw_header(SPECS["meta-llama/Llama-3.2-1B-Instruct"])
    with pytest.raises(UnsupportedError, match="no tensors"):
        read(replace(header, tensors=()))


def test_deepseek_before_the_split_decompression_is_refused_with_the_reason() -> None:
    header = change_keys(draw_header(SPECS["deepseek-ai/DeepSeek-V3"]), drop=["attention.key_length_mla"])
    with pytest.raises(UnsupportedError, match="old conversion"):
        read(header)


ABSURD: tuple[tuple[str, str, ExtraValue | tuple[str, ...]], ...] = (
    ("meta-llama/Llama-3.2-1B-Instruct", "block_count", 0),
    ("meta-llama/Llama-3.2-1B-Instruct", "block_count", 2**31),
    ("meta-llama/Llama-3.2-1B-Instruct", "block_count", "16"),
    ("meta-llama/Llama-3.2-1B-Instruct", "block_count", True),
    ("meta-llama/Llama-3.2-1B-Instruct", "nextn_predict_layers", 16),
    ("meta-llama/Llama-3.2-1B-Instruct", "attention.head_count", 0),
    ("meta-llama/Llama-3.2-1B-Instruct", "attention.head_count_kv", 0),
    ("meta-llama/Llama-3.2-1B-Instruct", "attention.head_count_kv", 5),
    ("meta-llama/Llama-3.2-1B-Instruct", "attention.head_count", 4096.0),
    ("meta-llama/Llama-3.2-1B-Instruct", "attention.head_count", (32, 32)),
    ("meta-llama/Llama-3.2-1B-Instruct", "attention.head_count", ("a",) * 16),
    ("meta-llama/Llama-3.2-1B-Instruct", "embedding_length", -1),
    ("meta-llama/Llama-3.2-1B-Instruct", "embedding_length", 2**40),
    ("meta-llama/Llama-3.2-1B-Instruct", "context_length", 0),
    ("Qwen/Qwen3-30B-A3B", "expert_used_count", 0),
    ("Qwen/Qwen3-30B-A3B", "expert_used_count", 129),
    ("Qwen/Qwen3-30B-A3B", "expert_count", 2**31),
    ("google/gemma-3n-E2B-it", "attention.sliding_window", 0),
    ("google/gemma-3n-E2B-it", "attention.sliding_window_pattern", ("a", "b")),
    ("google/gemma-4-12B-it", "attention.sliding_window_pattern", 6),
    ("deepseek-ai/DeepSeek-V3", "rope.dimension_count", 192),
    ("deepseek-ai/DeepSeek-V3", "expert_group_count", 7),
    ("deepseek-ai/DeepSeek-V3", "expert_group_used_count", 0),
    ("deepseek-ai/DeepSeek-V4-Flash", "attention.compress_ratios", (3,) * 43),
    ("deepseek-ai/DeepSeek-V4-Flash", "attention.output_group_count", 0),
    ("zai-org/GLM-5.3-Flash", "attention.indexer.kpool", 0),
    ("moonshotai/Kimi-K3", "attn_res.block_size", ()),
    ("zai-org/GLM-5.3-Flash", "hyper_connection.count", 10**6),
    ("ibm-granite/granite-4.0-h-tiny", "ssm.time_step_rank", 0),
    ("ibm-granite/granite-4.0-h-tiny", "attention.head_count_kv", 0),
)


@pytest.mark.parametrize(("model_id", "key", "value"), ABSURD)
def test_an_absurd_key_is_refused_in_one_line(model_id: str, key: str, value: ExtraValue | tuple[str, ...]) -> None:
    with pytest.raises((GgufError, BadInputError, UnsupportedError)) as caught:
        read(change_keys(draw_header(SPECS[model_id]), **{key.replace(".", "__"): value}))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_layers_without_tensors_and_experts_without_a_router_are_refused() -> None:
    header = draw_header(SPECS["openai/gpt-oss-20b"])
    with pytest.raises(GgufError, match="holds no tensor of layer 24"):
        read(change_keys(header, block_count=25))
    with pytest.raises(GgufError, match="layer 7 has no router"):
        read(change_tensors(header, drop=["blk.7.ffn_gate_inp.weight"]))
    beyond = replace(header.tensors[-1], name="blk.31.ffn_up.weight")
    with pytest.raises(UnsupportedError, match="layer 31"):
        read(replace(header, tensors=(*header.tensors, beyond)))


def test_hundreds_of_odd_keys_are_refused() -> None:
    header = draw_header(SPECS["meta-llama/Llama-3.2-1B-Instruct"])
    odd = tuple(draw_key(f"llama.odd_{i}", i) for i in range(400))
    with pytest.raises(GgufError, match="no model has more than 256"):
        read(replace(header, keys=header.keys + odd))


def test_what_no_spec_can_hold_is_no_extra() -> None:
    header = draw_header(SPECS["meta-llama/Llama-3.2-1B-Instruct"])
    odd: dict[str, ExtraValue | tuple[str, ...]] = {
        "llama.rope.freq_base": float("inf"),
        "llama.note": "x" * 500,
        "llama.odd name!": 1,
        "llama.big": 2**40,
        "llama.texts": ("a", "b"),
        "llama.kept": (1, 2, 3),
    }
    keys = tuple(draw_key(name, value) for name, value in odd.items())
    names = dict(read(replace(header, keys=header.keys + keys)).spec.extras)
    assert names["kept"] == (1, 2, 3)
    assert not {"rope.freq_base", "note", "odd name!", "big", "texts"} & set(names)


SOME = ("meta-llama/Llama-3.2-1B-Instruct", "google/gemma-3n-E2B-it", "LiquidAI/LFM2-8B-A1B", "openai/gpt-oss-20b")
VALUES = st.one_of(
    st.integers(-(2**33), 2**33),
    st.sampled_from([0, 1, 2, 3, 7, 255, 4096, 2**16, 2**24, 2**31 - 1]),
    st.booleans(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(0, 64), max_size=40).map(tuple),
    st.lists(st.booleans(), max_size=40).map(tuple),
    st.none(),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), model_id=st.sampled_from(SOME))
def test_any_keys_end_in_a_model_that_can_be_sized_or_a_refusal(data: st.DataObject, model_id: str) -> None:
    header = draw_header(SPECS[model_id])
    names = [key.name.split(".", 1)[1] for key in header.keys if not key.name.startswith("general.")]
    changed = data.draw(st.dictionaries(st.sampled_from(names), VALUES, min_size=1, max_size=3))
    drop = [name for name, value in changed.items() if value is None]
    news = {name.replace(".", "__"): value for name, value in changed.items() if value is not None}
    start = time.perf_counter()
    try:
        spec = read(change_keys(header, drop=drop, **news)).spec
        list_sizes(spec)
        metadata(spec)
    except WeighbridgeError as error:
        assert str(error).isprintable()
    assert time.perf_counter() - start < 5

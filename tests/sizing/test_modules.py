"""The checkpoint's matrices: the same values as GGUF's tensor table, under the checkpoint's names."""

from __future__ import annotations

import pytest

from catalog.queries import find_model, list_models
from catalog.store import open_catalog
from sizing.errors import UnknownNameError
from sizing.formats import FORMATS, find_format
from sizing.modules import Role, Shard, list_modules
from sizing.tensors import list_tensors

CATALOG = open_catalog()
DESCRIBED = [c.spec for c in list_models(CATALOG) if c.spec.architecture != "mllama"]


@pytest.mark.parametrize("spec", DESCRIBED, ids=lambda s: s.model_id)
def test_modules_hold_every_value_of_the_tensor_table(spec):
    tensors = [t for t in list_tensors(spec) if not t.name.startswith("rope_f")]
    assert sum(m.n_params for m in list_modules(spec)) == sum(t.n_elements for t in tensors)


@pytest.mark.parametrize("spec", DESCRIBED, ids=lambda s: s.model_id)
@pytest.mark.parametrize("n_ranks", [2, 8])
def test_ranks_hold_at_least_their_share_and_never_more_than_all(spec, n_ranks):
    for m in list_modules(spec):
        n_in, n_out = m.rank_shape(n_ranks)
        assert n_in * n_out * n_ranks >= m.n_in * m.n_out
        assert n_in <= m.n_in and n_out <= m.n_out


def find(model: str, name: str):
    spec = find_model(CATALOG, model).spec
    return next(m for m in list_modules(spec) if m.name == name)


def test_llama_projections_have_the_checkpoint_s_names_and_shapes():
    # config.json of meta-llama/Llama-3.1-8B: hidden 4096, ffn 14336, 32 heads of 128, 8 KV heads
    shapes = {
        m.name: (m.n_in, m.n_out, m.count)
        for m in list_modules(find_model(CATALOG, "Llama-3.1-8B-Instruct").spec)
        if m.role is Role.LINEAR
    }
    assert shapes == {
        "q_proj": (4096, 4096, 32),
        "k_proj": (4096, 1024, 32),
        "v_proj": (4096, 1024, 32),
        "o_proj": (4096, 4096, 32),
        "gate_proj": (4096, 14336, 32),
        "up_proj": (4096, 14336, 32),
        "down_proj": (14336, 4096, 32),
    }


def test_key_heads_are_copied_where_there_are_more_ranks_than_heads():
    k = find("Llama-3.1-8B-Instruct", "k_proj")
    assert k.rank_shape(8) == (4096, 128)
    assert k.rank_shape(16) == (4096, 128)  # 8 heads on 16 ranks: each twice
    assert find("Llama-3.1-8B-Instruct", "q_proj").rank_shape(16) == (4096, 256)


def test_latent_attention_is_one_matrix_in_two_parts():
    parts = [m for m in list_modules(find_model(CATALOG, "DeepSeek-V3").spec) if m.name == "kv_b_proj"]
    assert [(m.n_in, m.n_out) for m in parts] == [(512, 128 * 128), (512, 128 * 128)]
    assert all(m.shard is Shard.COLUMN for m in parts)


def test_formats_store_what_their_recipes_say():
    k = find("Llama-3.1-8B-Instruct", "gate_proj")
    n = 4096 * 14336
    assert find_format("bf16").count_bytes(k) == 2 * n
    assert find_format("FP8").count_bytes(k) == n + 4 * 14336
    assert find_format("AWQ").count_bytes(k) == n // 2 + (4096 // 128) * 14336 * 20 // 8
    # QLoRA's paper, section 3: double quantization takes 0.127 bits a value where single takes 0.5
    assert find_format("NF4").count_bytes(k) * 8 / n == pytest.approx(4.127, abs=1e-3)
    assert find_format("NF4-single").count_bytes(k) * 8 / n == pytest.approx(4.5)


def test_embeddings_heads_and_routers_stay_in_16_bits():
    others = [f for f in FORMATS.values() if not f.name.startswith("MLX")]
    for role in (Role.EMBEDDING, Role.HEAD, Role.ROUTER, Role.SMALL):
        assert not any(role in f.quantizes for f in others)
    assert not any({Role.ROUTER, Role.SMALL} & f.quantizes for f in FORMATS.values())


def test_exl_keeps_a_head_of_its_own_bits_and_mlx_quantizes_both_ends():
    head = next(m for m in list_modules(find_model(CATALOG, "Llama-3.1-8B-Instruct").spec) if m.role is Role.HEAD)
    embedding = find("Llama-3.1-8B-Instruct", "embed_tokens")
    assert find_format("EXL2-4.0").count_bytes(head) * 8 / head.n_params == 6
    assert find_format("EXL3-2.5").count_bytes(embedding) * 8 / embedding.n_params == 16
    for module in (head, embedding):
        assert find_format("MLX-4bit").count_bytes(module) * 8 / module.n_params == 4.5


def test_an_unknown_format_has_near_names():
    with pytest.raises(UnknownNameError, match="AWQ"):
        find_format("AWK")

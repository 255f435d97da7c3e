"""Sparse GGUF files: what they say, how long they are, how little they take."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from evals.weightless import is_kept_f32, write_gguf_header, write_weightless_gguf
from sizing.errors import BadInputError, UnsupportedError
from sizing.specs import Attention, AttentionKind, FeedForward, LayerGroup, ModelSpec
from sizing.tensors import TensorInfo, list_tensors

LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"


def test_file_is_as_long_as_the_weights_and_takes_no_room(tmp_path: Path, specs: dict[str, ModelSpec]) -> None:
    path = tmp_path / "llama.gguf"
    length = write_weightless_gguf(specs[LLAMA_8B], path)
    stat = path.stat()
    assert stat.st_size == length
    # 8,030,261,248 parameters (the publisher's safetensors index) in f16; norms (266,240) and 64 rope factors in f32
    data_bytes = 8_030_261_248 * 2 + 266_240 * 2 + 64 * 4
    assert data_bytes < length < data_bytes + 64 * 1024
    assert stat.st_blocks * 512 < 256 * 1024


def test_gguf_reader_finds_every_tensor_with_its_shape_and_type(tmp_path: Path, specs: dict[str, ModelSpec]) -> None:
    path = tmp_path / "mixtral.gguf"
    spec = specs["mistralai/Mixtral-8x7B-Instruct-v0.1"]
    write_weightless_gguf(spec, path, {"blk.0.ffn_up_exps.weight": "q4_K"})
    reader = gguf.GGUFReader(path)
    found = {t.name: (tuple(int(n) for n in t.shape), t.tensor_type.name) for t in reader.tensors}
    assert found["token_embd.weight"] == ((4096, 32000), "F16")
    assert found["blk.31.ffn_gate_exps.weight"] == ((4096, 14336, 8), "F16")
    assert found["blk.31.ffn_gate_inp.weight"] == ((4096, 8), "F32")
    assert found["blk.0.ffn_up_exps.weight"] == ((4096, 14336, 8), "Q4_K")
    assert {name: shape for name, (shape, _) in found.items()} == {t.name: t.shape for t in list_tensors(spec)}
    assert reader.fields["llama.expert_count"].contents() == 8
    assert reader.fields["tokenizer.ggml.model"].contents() == "no_vocab"
    assert reader.fields["llama.vocab_size"].contents() == 32000


@pytest.mark.parametrize(
    ("name", "shape", "kept"),
    [  # conversion/base.py of llama.cpp, `prepare_tensors`
        ("blk.0.attn_norm.weight", (4096,), True),
        ("blk.0.attn_q_norm.weight", (128, 64), True),
        ("blk.0.ffn_gate_inp.weight", (4096, 8), True),
        ("blk.0.ffn_up_exps.bias", (2880, 32), True),
        ("blk.0.ssm_conv1d.weight", (4, 8192), True),
        ("blk.0.ffn_gate_inp_shexp.weight", (2048, 1), True),
        ("blk.0.attn_q.weight", (4096, 4096), False),
        ("token_embd.weight", (4096, 32000), False),
    ],
)
def test_what_the_converter_keeps_in_f32(name: str, shape: tuple[int, ...], kept: bool) -> None:
    assert is_kept_f32(TensorInfo(name, shape)) is kept


def test_a_type_nobody_knows_is_refused(tmp_path: Path) -> None:
    keys = [("general.architecture", "llama")]
    with pytest.raises(BadInputError, match=r"token_embd\.weight wants a GGML type, got 'q9_Z'"):
        write_gguf_header(
            tmp_path / "x", keys, [TensorInfo("token_embd.weight", (32, 32))], {"token_embd.weight": "q9_Z"}
        )


def test_an_architecture_without_a_table_names_near_ones() -> None:
    attention = Attention(AttentionKind.FULL, 8, 8, 64)
    group = LayerGroup((0,), attention, None, FeedForward(1024))
    spec = ModelSpec("some/model", "Some", "qwen99", (group,), 512, 1000, 2048, True, 1, 1)
    with pytest.raises(UnsupportedError, match=r"some/model: no tensor table for architecture 'qwen99'.*qwen"):
        list_tensors(spec)

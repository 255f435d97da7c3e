"""Which model a file says it is: real names as quantizers write them, and what must not be taken for a model."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from catalog.gguf_header import GgufHeader, read_header
from catalog.models import load_families
from catalog.recognise import recognise
from evals.weightless import write_gguf_header

CARDS = load_families()


def make_header(path: Path, **values: str) -> GgufHeader:
    pairs = [("general.architecture", "llama"), *((f"general.{k.replace('__', '.')}", v) for k, v in values.items())]
    write_gguf_header(path, pairs, ())
    return read_header(io.BytesIO(path.read_bytes()))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"name": "Llama 3.1 8B Instruct"}, "meta-llama/Llama-3.1-8B-Instruct"),
        ({"name": "llama_3.1-8b_instruct"}, "meta-llama/Llama-3.1-8B-Instruct"),
        ({"basename": "Qwen3", "size_label": "14B"}, "Qwen/Qwen3-14B"),
        ({"basename": "Llama-3.2", "size_label": "1B", "finetune": "Instruct"}, "meta-llama/Llama-3.2-1B-Instruct"),
        ({"repo_url": "https://huggingface.co/Qwen/Qwen3-4B/", "name": "mine"}, "Qwen/Qwen3-4B"),
        ({"name": "Hermes 3", "base_model__0__repo_url": "https://huggingface.co/meta-llama/Llama-3.1-8B"}, None),
        ({"name": "Qwen3"}, None),
        ({"basename": "Qwen3"}, None),
        ({"name": ""}, None),
        ({"name": "..."}, None),
        ({}, None),
    ],
)
def test_a_file_is_what_its_name_says_and_no_fine_tune_is_its_base(
    values: dict[str, str], expected: str | None, tmp_path: Path
) -> None:
    found = recognise(make_header(tmp_path / "a.gguf", **values), CARDS)
    assert (None if found is None else found.model_id) == expected


def test_every_model_of_the_catalog_is_recognised_by_its_own_name(tmp_path: Path) -> None:
    for card in CARDS:
        found = recognise(make_header(tmp_path / "a.gguf", name=card.model_id.rsplit("/", 1)[-1]), CARDS)
        assert found is not None and found.model_id == card.model_id

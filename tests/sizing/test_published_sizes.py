"""The engine's tensor bytes against exact sizes of published GGUF files.

A file is tensors + vocabulary + header. The vocabulary is the publisher's and the same in every quantization, so it
is taken from outside the code under test: from the vocabulary-only GGUF files of llama.cpp where there is one for the
tokenizer, else from counts of tokens and merges and the layout of GGUF
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: a string is 8 bytes of length and its text, a token adds
4 bytes of type, SentencePiece another 4 of score).

Files that differ are listed in `REASONS` with the difference worked out from the model's shape, so that they too are
equal to the byte but for vocabulary and header. What could not be worked out is in `UNRESOLVED`, and nothing else.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

DATA = Path(__file__).parents[2] / "catalog" / "data"
HEADER_BYTES = 96 * 1024
"""Tensor names and shapes (some 70 bytes each, up to a thousand tensors), chat template, other keys, alignment."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Bytes of a tokenizer inside a GGUF file: at least `low`, at most `high`."""

    low: int
    high: int

    @classmethod
    def of_file(cls, size_bytes: int) -> Vocabulary:
        """A vocabulary-only file of https://github.com/ggml-org/llama.cpp/tree/master/models, of that size."""
        return cls(size_bytes, size_bytes)

    @classmethod
    def of_sentencepiece(cls, n_tokens: int) -> Vocabulary:
        """8 length + 4 type + 4 score + 4 to 9 bytes of text per token."""
        return cls(20 * n_tokens, 25 * n_tokens)

    @classmethod
    def of_byte_pairs(cls, n_tokens: int, n_merges: int) -> Vocabulary:
        """8 length + 4 type + 5.5 to 10 text per token; 8 length + 6.5 to 13 text (two tokens, a space) per merge."""
        return cls(int(17.5 * n_tokens + 14.5 * n_merges), 22 * n_tokens + 21 * n_merges)


LLAMA_3 = Vocabulary.of_file(7_818_140)
QWEN = Vocabulary.of_file(5_928_681)
QWEN_3_5 = Vocabulary.of_file(5_928_682)
LLAMA_2 = Vocabulary.of_file(723_869)
PHI_3 = Vocabulary.of_file(726_019)
GEMMA_4 = Vocabulary.of_file(15_776_467)
DEEPSEEK = Vocabulary.of_file(3_970_167)
GEMMA_3 = Vocabulary.of_sentencepiece(262_144)
MISTRAL_V3 = Vocabulary.of_sentencepiece(32_768)
TEKKEN = Vocabulary.of_byte_pairs(131_072, 269_443)
CL100K = Vocabulary.of_byte_pairs(100_352, 100_000)
O200K = Vocabulary.of_byte_pairs(200_064, 199_742)
HARMONY = Vocabulary.of_byte_pairs(201_088, 446_189)

VOCABULARIES = {
    "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct": DEEPSEEK,
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": LLAMA_3,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B": QWEN,
    "google/gemma-3-12b-it": GEMMA_3,
    "google/gemma-3-1b-it": GEMMA_3,
    "google/gemma-3-27b-it": GEMMA_3,
    "google/gemma-3-4b-it": GEMMA_3,
    "google/gemma-4-12B-it": GEMMA_4,
    "meta-llama/Llama-3.1-8B-Instruct": LLAMA_3,
    "meta-llama/Llama-3.3-70B-Instruct": LLAMA_3,
    "microsoft/Orca-2-7b": LLAMA_2,
    "microsoft/Phi-3-mini-4k-instruct": PHI_3,
    "microsoft/Phi-3.5-mini-instruct": PHI_3,
    "microsoft/phi-4": CL100K,
    "microsoft/Phi-4-mini-instruct": O200K,
    "mistralai/Codestral-22B-v0.1": MISTRAL_V3,
    "mistralai/Mistral-Nemo-Instruct-2407": TEKKEN,
    "mistralai/Mistral-Small-3.2-24B-Instruct-2506": TEKKEN,
    "openai/gpt-oss-20b": HARMONY,
    "Qwen/Qwen2.5-72B-Instruct": QWEN,
    "Qwen/Qwen3-14B": QWEN,
    "Qwen/Qwen3-30B-A3B-Instruct-2507": QWEN,
    "Qwen/Qwen3.5-4B": QWEN_3_5,
}

Q4_K, IQ4_XS, Q5_0, Q5_K, Q6_K = 4.5, 4.25, 5.5, 5.5, 6.5625  # bits per weight: ggml-common.h


def cost(n_elements: int, from_bits: float, to_bits: float) -> int:
    """Bytes a tensor grows by when stored in other bits per weight."""
    return round(n_elements * (to_bits - from_bits) / 8)


def fused_attention(n_layers: int, n_elements: int) -> int:
    """Q4_K_M files of before the change: fused query-key-value in Q5_K in every layer.

    Newer llama.cpp treats the fused tensor as it treats values: Q6_K in the first and last eighth of the layers and
    in every third between, Q4_K in the others.
    """
    eighth = n_layers // 8
    many = sum(i < eighth or i >= 7 * n_layers // 8 or (i - eighth) % 3 == 2 for i in range(n_layers))
    return n_layers * cost(n_elements, Q4_K, Q5_K) - many * cost(n_elements, Q4_K, Q6_K)


REASONS: dict[tuple[str, str], int] = {
    # An importance matrix lets IQ4_XS keep the down projections of the first 6 of 48 layers (128 experts of
    # 2048 x 768) where llama.cpp otherwise takes Q5_K; the repository keeps the token embedding in Q4_K.
    ("unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF", "IQ4_XS"): -6 * cost(128 * 2048 * 768, IQ4_XS, Q5_K)
    + cost(151_936 * 2048, IQ4_XS, Q4_K),
    # With an importance matrix Q4_0 stores the down projections of the first 4 of 32 layers in Q4_1 (5 bits).
    ("bartowski/DeepSeek-R1-Distill-Llama-8B-GGUF", "Q4_0"): 4 * cost(14_336 * 4096, 4.5, 5.0),
    # Fused attention, the mix of before: width x (queries + keys + values).
    ("lmstudio-community/Phi-3.1-mini-4k-instruct-GGUF", "Q4_K_M"): fused_attention(32, 3072 * 3 * 3072),
    ("bartowski/Phi-3.5-mini-instruct-GGUF", "Q4_K_M"): fused_attention(32, 3072 * 3 * 3072),
    ("bartowski/phi-4-GGUF", "Q4_K_M"): fused_attention(40, 5120 * (5120 + 2 * 1280)),
    ("bartowski/microsoft_Phi-4-mini-instruct-GGUF", "Q4_K_M"): fused_attention(32, 3072 * (3072 + 2 * 1024)),
    # Made before llama.cpp split the latent up-projection: the key half (16 heads of 128 x 512 in 27 layers) is not
    # whole blocks of 256 wide and takes Q5_0 today, Q4_K inside the joint tensor then.
    ("bartowski/DeepSeek-Coder-V2-Lite-Instruct-GGUF", "Q4_K_M"): -27 * cost(16 * 128 * 512, Q4_K, Q5_0),
    # The repository keeps the token embedding (which is also the output head) in Q4_K instead of Q6_K.
    ("unsloth/gemma-4-12b-it-GGUF", "Q4_K_M"): -cost(262_144 * 3840, Q4_K, Q6_K),
}
UNRESOLVED = {("unsloth/Qwen3.5-4B-GGUF", "Q4_K_M"), ("bartowski/openai_gpt-oss-20b-GGUF", "Q4_K_M")}
"""A repository's own mix whose tensors were not taken apart; they differ by less than 2% of the file."""


@dataclass(frozen=True, slots=True)
class Published:
    """An exact file size beside the engine's tensor bytes; None where the quantization is none of llama.cpp's."""

    model_id: str
    quant: str
    repo: str
    size_bytes: int
    size_note: str
    tensor_bytes: int | None


def list_published() -> Iterator[Published]:
    """Every row of the data file with the engine's answer for it."""
    weighed = {
        (model_id, quant): n
        for model_id, quant, n in duckdb.execute(
            "SELECT model_id, quant, tensor_bytes FROM read_parquet(?) WHERE gap IS NULL",
            [str(DATA / "weights.parquet")],
        ).fetchall()
    }
    with (DATA / "file_sizes.csv").open(encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            key = (row["model_id"], row["quant"])
            yield Published(*key, row["repo"], int(row["size_bytes"]), row["size_note"], weighed.get(key))


FILES = tuple(list_published())
WEIGHED = tuple(f for f in FILES if f.tensor_bytes is not None)


@pytest.mark.parametrize("file", WEIGHED, ids=lambda f: f"{f.repo} {f.quant}")
def test_file_is_tensors_and_vocabulary(file: Published) -> None:
    assert file.tensor_bytes is not None
    rest = file.size_bytes - file.tensor_bytes - REASONS.get((file.repo, file.quant), 0)
    vocabulary = VOCABULARIES[file.model_id]
    if (file.repo, file.quant) in UNRESOLVED:
        assert not vocabulary.low < rest < vocabulary.high + HEADER_BYTES
        assert abs(rest) < 0.02 * file.size_bytes
    else:
        assert vocabulary.low < rest < vocabulary.high + HEADER_BYTES


def test_quantizations_of_one_repository_share_their_vocabulary() -> None:
    """Header and vocabulary of one repository's files are one and the same, to a few hundred bytes of keys."""
    rests: dict[tuple[str, str], list[int]] = {}
    for file in WEIGHED:
        if (file.repo, file.quant) not in UNRESOLVED:
            assert file.tensor_bytes is not None
            rest = file.size_bytes - file.tensor_bytes - REASONS.get((file.repo, file.quant), 0)
            rests.setdefault((file.repo, file.model_id), []).append(rest)
    shared = {key: found for key, found in rests.items() if len(found) > 1}
    assert len(shared) >= 5
    for key, found in shared.items():
        assert max(found) - min(found) < 1024, key


def test_most_files_need_no_reason() -> None:
    plain = [f for f in WEIGHED if (f.repo, f.quant) not in UNRESOLVED | REASONS.keys()]
    assert len(WEIGHED) >= 36
    assert len(plain) >= 26


def test_every_difference_is_told_in_the_data() -> None:
    for file in FILES:
        differs = file.tensor_bytes is None or (file.repo, file.quant) in UNRESOLVED | REASONS.keys()
        assert file.size_note
        assert file.size_note.startswith("equal but for") != differs


def test_reasons_are_all_used() -> None:
    assert UNRESOLVED | REASONS.keys() <= {(f.repo, f.quant) for f in WEIGHED}

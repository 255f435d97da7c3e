"""Headers of files that are elsewhere: the same as of a file at hand, for a fraction of the bytes, or read in full."""

from __future__ import annotations

import struct

import pytest

from catalog.gguf_header import GgufHeader, parse_header
from catalog.header_fetch import FIRST_BYTES, HeaderFetch
from tools.fuzz_gguf import ARRAY, STRING, U32, Draft, DraftKey, array, draft_llama, text

N_WORDS = 90_000


class Store:
    """Files by path, served in parts; what was asked is kept."""

    def __init__(self, **files: tuple[bytes, int]) -> None:
        self.files = files
        self.asked: list[tuple[str, int, int]] = []

    def read(self, path: str, start: int, stop: int) -> bytes:
        head, length = self.files[path]
        self.asked.append((path, start, stop))
        stop = min(stop, length)
        return head[start:stop] + bytes(max(0, stop - max(start, len(head))))

    def read_whole(self, path: str) -> tuple[GgufHeader, bytes]:
        head, length = self.files[path]
        self.asked.append((path, 0, len(head)))
        return read_whole((head, length)), head

    def open(self) -> HeaderFetch:
        return HeaderFetch(self.read, self.read_whole)

    def count(self, path: str) -> int:
        return sum(stop - start for asked, start, stop in self.asked if asked == path)


def draft_model(words: bytes = b"token", file_type: int = 1, name: bytes = b"a") -> Draft:
    """A llama with a large vocabulary, ahead of other keys."""
    draft = draft_llama()
    vocabulary = b"".join(text(words + b"%d" % i) for i in range(N_WORDS))
    types = struct.pack(f"<{N_WORDS}i", *([1] * N_WORDS))
    draft.keys = [
        *(k for k in draft.keys if k.name != b"general.file_type"),
        DraftKey(b"general.name", STRING, text(name)),
        DraftKey(b"general.file_type", U32, struct.pack("<I", file_type)),
        DraftKey(b"tokenizer.ggml.tokens", ARRAY, array(STRING, N_WORDS, vocabulary)),
        DraftKey(b"tokenizer.ggml.pre", STRING, text(b"default")),
        DraftKey(b"tokenizer.ggml.token_type", ARRAY, array(5, N_WORDS, types)),
        DraftKey(b"tokenizer.ggml.eos_token_id", U32, struct.pack("<I", 2)),
    ]
    return draft


def read_whole(file: tuple[bytes, int]) -> GgufHeader:
    header = parse_header(*file)
    assert isinstance(header, GgufHeader)
    return header


def test_the_next_file_of_a_model_costs_what_is_not_its_vocabulary() -> None:
    store = Store(a=draft_model().write(), b=draft_model(file_type=15, name=b"another name").write())
    fetch = store.open()
    fetch.fetch("a", store.files["a"][1])
    header = fetch.fetch("b", store.files["b"][1])
    assert header == read_whole(store.files["b"])
    assert header.find("general.file_type") == 15
    assert len(store.files["b"][0]) > 6 * FIRST_BYTES
    assert store.count("b") <= 2 * FIRST_BYTES


@pytest.mark.parametrize(
    "other",
    [
        draft_model(words=b"other"),  # as long, another text
        draft_model(words=b"longer words "),
        draft_llama(),  # no vocabulary at all
    ],
)
def test_another_vocabulary_is_read_in_full(other: Draft) -> None:
    store = Store(a=draft_model().write(), b=other.write())
    fetch = store.open()
    fetch.fetch("a", store.files["a"][1])
    assert fetch.fetch("b", store.files["b"][1]) == read_whole(store.files["b"])


def test_a_length_that_does_not_add_up_is_not_trusted_to_the_short_way() -> None:
    head, length = draft_model(file_type=15).write()
    store = Store(a=draft_model().write(), b=(head, length + 64))
    fetch = store.open()
    fetch.fetch("a", store.files["a"][1])
    assert fetch.fetch("b", length + 64) == read_whole(store.files["b"])
    assert store.count("b") >= len(head)


def test_a_model_without_a_large_vocabulary_is_read_in_full_each_time() -> None:
    store = Store(a=draft_llama().write(), b=draft_llama().write())
    fetch = store.open()
    for path in ("a", "b"):
        assert fetch.fetch(path, store.files[path][1]) == read_whole(store.files[path])
    assert [asked for asked, _, _ in store.asked] == ["a", "b"]


def test_a_file_of_unknown_length_is_read_in_full() -> None:
    store = Store(a=draft_model().write(), b=draft_model(file_type=15).write())
    fetch = store.open()
    fetch.fetch("a", None)
    assert fetch.fetch("b", None).tensors == read_whole(store.files["b"]).tensors
    assert store.count("b") == len(store.files["b"][0])

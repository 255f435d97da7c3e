"""Headers of files that are elsewhere: the same as of a file at hand, for a fraction of the bytes, or read in full."""

from __future__ import annotations

import struct

import pytest

from catalog.gguf_header import GgufHeader, Limits, parse_header
from catalog.header_fetch import FIRST_BYTES, HeaderFetch
from sizing.errors import GgufError
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


def test_a_header_read_in_parts_is_that_of_the_file() -> None:
    store = Store(a=draft_model().write())
    head, length = store.files["a"]
    assert HeaderFetch(store.read).fetch("a", length) == read_whole(store.files["a"])
    assert store.count("a") <= 2 * len(head) + FIRST_BYTES
    assert HeaderFetch(store.read).fetch("a", None).tensors == read_whole(store.files["a"]).tensors


def test_the_next_file_of_a_model_costs_what_is_not_its_vocabulary() -> None:
    store = Store(a=draft_model().write(), b=draft_model(file_type=15, name=b"another name").write())
    fetch = HeaderFetch(store.read)
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
    fetch = HeaderFetch(store.read)
    fetch.fetch("a", store.files["a"][1])
    assert fetch.fetch("b", store.files["b"][1]) == read_whole(store.files["b"])


def test_a_length_that_does_not_add_up_is_not_trusted_to_the_short_way() -> None:
    head, length = draft_model(file_type=15).write()
    store = Store(a=draft_model().write(), b=(head, length + 64))
    fetch = HeaderFetch(store.read)
    fetch.fetch("a", store.files["a"][1])
    assert fetch.fetch("b", length + 64) == read_whole(store.files["b"])
    assert store.count("b") >= len(head)


def test_what_is_no_gguf_file_and_what_ends_early_are_refused() -> None:
    head, _ = draft_model().write()
    web = b"<!DOCTYPE html><html>not found</html>"
    store = Store(web=(web, len(web)), cut=(head[: 300 * 1024], 300 * 1024), none=(b"", 0))
    with pytest.raises(GgufError, match="no GGUF file"):
        HeaderFetch(store.read).fetch("web", len(web))
    with pytest.raises(GgufError, match="ends inside its header"):
        HeaderFetch(store.read).fetch("cut", 300 * 1024)
    with pytest.raises(GgufError, match="ends inside its header"):
        HeaderFetch(store.read).fetch("none", 0)


def test_a_header_without_end_is_given_up_at_the_limit() -> None:
    store = Store(a=draft_model().write())
    with pytest.raises(GgufError, match="a header may take"):
        HeaderFetch(store.read, Limits(header_bytes=400 * 1024)).fetch("a", None)
    assert store.count("a") <= 3 * FIRST_BYTES


def test_a_reader_that_sends_more_than_asked_is_refused() -> None:
    with pytest.raises(GgufError, match="asked for"):
        HeaderFetch(lambda path, start, stop: bytes(stop - start + 1)).fetch("a", 10**9)

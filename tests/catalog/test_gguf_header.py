"""GGUF headers: sound files read as their writers meant them, and thousands of unsound ones that end cleanly."""

from __future__ import annotations

import io
import json
import os
import struct
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import gguf
import numpy as np
import pytest

from catalog import __main__ as command_line
from catalog.gguf_header import (
    _TYPE_NAMES,
    DEFAULT_LIMITS,
    PEAK_BYTES,
    TENSOR_TYPES,
    GgufHeader,
    Limits,
    NeedMoreBytes,
    load_header,
    parse_header,
    read_header,
)
from catalog.gguf_weights import count_weight_bytes, find_quant_label
from catalog.models import load_families
from evals.weigh import group_weight_bytes
from evals.weightless import is_kept_f32, write_weightless_gguf
from sizing.errors import BadInputError, GgufError, UnsupportedError, WeighbridgeError
from sizing.specs import ModelSpec
from sizing.tensors import list_tensors
from sizing.units import MIB
from tools.fuzz_gguf import (
    ARRAY,
    MUTATIONS,
    STRING,
    U32,
    Draft,
    DraftKey,
    DraftTensor,
    Report,
    array,
    check_promises,
    draft_llama,
    make_hostile,
    run_fuzz,
    text,
)

N_HOSTILE = 2600
SEED = 20
SMALL = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture(scope="module")
def specs() -> dict[str, ModelSpec]:
    return {card.model_id: card.spec for card in load_families()}


def read(draft: Draft) -> GgufHeader:
    header = parse_header(*draft.write())
    assert isinstance(header, GgufHeader)
    return header


def find_key(draft: Draft, name: str) -> DraftKey:
    return next(key for key in draft.keys if key.name == name.encode())


# --- sound files -----------------------------------------------------------------------------------------------------


def write_everything(path: Path) -> dict[str, np.ndarray]:
    """A file with every kind of value, and tensors of several types with real data, by the gguf package."""
    writer = gguf.GGUFWriter(path, "demo")
    writer.add_uint8("a.u8", 200)
    writer.add_int8("a.i8", -100)
    writer.add_uint16("a.u16", 60_000)
    writer.add_int16("a.i16", -30_000)
    writer.add_uint32("a.u32", 4_000_000_000)
    writer.add_int32("a.i32", -2_000_000_000)
    writer.add_uint64("a.u64", 1 << 63)
    writer.add_int64("a.i64", -(1 << 63))
    writer.add_float32("a.f32", 0.5)
    writer.add_float64("a.f64", 0.1)
    writer.add_bool("a.yes", True)
    writer.add_bool("a.no", False)
    writer.add_string("a.text", "grüß dich, 世界")
    writer.add_array("a.flags", [True, False, True])
    writer.add_array("a.ints", [1, -2, 3])
    writer.add_array("a.texts", ["", "zwei", "三"])
    writer.add_array("a.many", list(range(5000)))
    writer.add_array("a.words", [f"word {i}" for i in range(3000)])
    dice = np.random.default_rng(1)
    tensors = {
        "one": dice.standard_normal(7).astype(np.float32),
        "two": dice.standard_normal((5, 64)).astype(np.float16),
        "three": dice.standard_normal((2, 3, 32)).astype(np.float32),
        "quantized": gguf.quantize(dice.standard_normal((4, 256)).astype(np.float32), gguf.GGMLQuantizationType.Q8_0),
    }
    for name, data in tensors.items():
        raw = gguf.GGMLQuantizationType.Q8_0 if name == "quantized" else None
        writer.add_tensor(name, data, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def test_every_kind_of_value_reads_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "all.gguf"
    tensors = write_everything(path)
    header = load_header(path)
    assert {key.name: (key.type_name, key.value) for key in header.keys if not key.is_array} == {
        "general.architecture": ("str", "demo"),
        "a.u8": ("u8", 200),
        "a.i8": ("i8", -100),
        "a.u16": ("u16", 60_000),
        "a.i16": ("i16", -30_000),
        "a.u32": ("u32", 4_000_000_000),
        "a.i32": ("i32", -2_000_000_000),
        "a.u64": ("u64", 1 << 63),
        "a.i64": ("i64", -(1 << 63)),
        "a.f32": ("f32", 0.5),
        "a.f64": ("f64", 0.1),
        "a.yes": ("bool", True),
        "a.no": ("bool", False),
        "a.text": ("str", "grüß dich, 世界"),
    }
    assert {key.name: (key.type_name, key.n_items, key.value) for key in header.keys if key.is_array} == {
        "a.flags": ("bool", 3, (True, False, True)),
        "a.ints": ("i32", 3, (1, -2, 3)),
        "a.texts": ("str", 3, ("", "zwei", "三")),
        "a.many": ("i32", 5000, None),
        "a.words": ("str", 3000, None),
    }
    sizes = {key.name: key.n_bytes for key in header.keys}
    assert sizes["a.many"] == 4 + 8 + 4 * 5000
    assert sizes["a.words"] == 4 + 8 + sum(8 + len(f"word {i}") for i in range(3000))
    raw = path.read_bytes()
    assert header.missing_bytes == 0 and header.file_bytes == len(raw)
    for tensor in header.tensors:
        start = header.data_offset + tensor.offset
        assert raw[start : start + tensor.n_bytes] == tensors[tensor.name].tobytes()
    assert {t.name: t.shape for t in header.tensors} == {
        "one": (7,),
        "two": (64, 5),
        "three": (32, 3, 2),
        "quantized": (256, 4),
    }


def test_the_gguf_package_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "all.gguf"
    write_everything(path)
    header, theirs = load_header(path), gguf.GGUFReader(path)
    assert {k for k in theirs.fields if not k.startswith("GGUF.")} == {key.name for key in header.keys}
    assert [(t.name, tuple(map(int, t.shape)), t.n_bytes, t.data_offset) for t in theirs.tensors] == [
        (t.name, t.shape, t.n_bytes, header.data_offset + t.offset) for t in header.tensors
    ]


@pytest.mark.parametrize(
    "model_id", [SMALL, "mistralai/Mixtral-8x7B-Instruct-v0.1", "google/gemma-3-4b-it", "deepseek-ai/DeepSeek-V3"]
)
def test_a_weightless_file_weighs_what_the_model_weighs(
    model_id: str, specs: dict[str, ModelSpec], tmp_path: Path
) -> None:
    spec, path = specs[model_id], tmp_path / "model.gguf"
    file_bytes = write_weightless_gguf(spec, path)
    header = load_header(path)
    tensors = list_tensors(spec)
    assert [(t.name, t.shape) for t in header.tensors] == [(t.name, tuple(t.shape)) for t in tensors]
    assert header.n_params == sum(t.n_elements for t in tensors)
    assert 0 <= file_bytes - header.expected_file_bytes < header.alignment
    types = {t.name: "f32" if is_kept_f32(t) else "f16" for t in tensors}
    weights = count_weight_bytes([header])
    expected = group_weight_bytes(weights.quant, tensors, types, spec.n_layers, spec.architecture)
    assert weights == expected


def test_types_have_the_sizes_the_gguf_package_gives_them() -> None:
    sizes = {kind.value: gguf.GGML_QUANT_SIZES[kind] for kind in gguf.GGMLQuantizationType}
    known = {i: TENSOR_TYPES[name] for i, name in enumerate(_TYPE_NAMES) if name != "-"}
    assert set(sizes) <= set(known)
    names = {kind.value: kind.name.casefold() for kind in gguf.GGMLQuantizationType}
    for number, size in sizes.items():
        kind = known[number]
        assert kind.name.casefold() == names[number]
        if kind.name == "q8_1":  # the package still has the 40 bytes of old; ggml-common.h: 2 halves and 32 bytes
            assert (kind.block_elements, kind.block_bytes) == (32, 2 * 2 + 32)
        else:
            assert (kind.block_elements, kind.block_bytes) == size


def test_version_2_is_read_like_version_3() -> None:
    draft = draft_llama()
    draft.version = 2
    header = read(draft)
    assert header.version == 2 and header.tensors == read(draft_llama()).tensors


def test_another_alignment_is_kept_to(tmp_path: Path) -> None:
    path = tmp_path / "aligned.gguf"
    writer = gguf.GGUFWriter(path, "demo")
    writer.add_custom_alignment(256)
    for name in ("a", "b"):
        writer.add_tensor(name, np.ones(5, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = load_header(path)
    assert header.alignment == 256
    assert [t.offset for t in header.tensors] == [0, 256]
    ones = np.ones(5, dtype=np.float32).tobytes()
    assert path.read_bytes()[header.data_offset + 256 :][:20] == ones


def test_a_flag_may_be_any_byte_and_a_text_may_be_broken() -> None:
    draft = draft_llama()
    draft.keys += [DraftKey(b"demo.flag", 7, b"\x07"), DraftKey(b"demo.text", STRING, text(b"a\xffb"))]
    header = read(draft)
    assert header.find("demo.flag") is True
    assert header.find("demo.text") == "a\ufffdb"
    assert header.find("demo.none") is None


# --- a file that comes in pieces -------------------------------------------------------------------------------------


def test_a_file_may_come_in_pieces() -> None:
    data, file_bytes = draft_llama().write()
    whole = parse_header(data, file_bytes)
    have, n_calls = 0, 0
    while isinstance(answer := parse_header(data[:have], file_bytes), NeedMoreBytes):
        assert have < answer.n_bytes <= len(data)
        have, n_calls = answer.n_bytes, n_calls + 1
    assert answer == whole
    assert have <= len(data) and n_calls > 10


@pytest.mark.parametrize("known", [True, False])
def test_every_prefix_asks_for_more_and_none_is_refused(known: bool) -> None:
    draft = draft_llama()
    draft.keys.pop()
    data, file_bytes = draft.write()
    end = len(data.rstrip(b"\0"))  # the last offset's own zeros and the padding are not missed
    for n in range(end - 1):
        answer = parse_header(data[:n], file_bytes if known else None)
        assert isinstance(answer, NeedMoreBytes) and n < answer.n_bytes <= len(data)
    header = parse_header(data)
    assert isinstance(header, GgufHeader) and header.file_bytes is None and header.missing_bytes == 0


def test_what_is_left_out_by_a_short_file_is_counted() -> None:
    data, file_bytes = draft_llama().write()
    header = parse_header(data, file_bytes - 100)
    assert isinstance(header, GgufHeader)
    # the data's end is padded by nothing here: 64 x 96 f16 is a multiple of 32
    assert header.missing_bytes == 100


@pytest.mark.parametrize("window_bytes", [64, 1000, MIB])
def test_windows_of_any_size_read_the_same(window_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.gguf_header.WINDOW_BYTES", window_bytes)
    data, file_bytes = draft_llama().write()
    file = io.BytesIO(data + bytes(file_bytes - len(data)))
    assert read_header(file) == parse_header(data, file_bytes)


# --- refusals --------------------------------------------------------------------------------------------------------


def lie(draft: Draft, **fields: object) -> None:
    for name, value in fields.items():
        setattr(draft, name, value)


def set_tensor(draft: Draft, i: int = 1, **fields: object) -> None:
    for name, value in fields.items():
        setattr(draft.tensors[i], name, value)


def set_key(draft: Draft, name: str, **fields: object) -> None:
    for field, value in fields.items():
        setattr(find_key(draft, name), field, value)


REFUSALS = {
    "no GGUF file: it starts with b'GGML'": lambda d: lie(d, magic=b"GGML"),
    "GGUF version 1 cannot be read, only 2 and 3": lambda d: lie(d, version=1),
    "it is written for big-endian machines": lambda d: lie(d, version=3 << 24),
    "claims 1,000,000 keys; a header may have 4,096": lambda d: lie(d, n_keys=1_000_000),
    "claims 18,446,744,073,709,551,615 tensors": lambda d: lie(d, n_tensors=(1 << 64) - 1),
    "claims 32,000 tensors, which its remaining": lambda d: lie(d, n_tensors=32_000),
    "the name of key 3 has 0 bytes; it may have 1 to 256": lambda d: lie_about_key_name(d, b""),
    "the name of key 3 has 257 bytes": lambda d: lie_about_key_name(d, b"x" * 257),
    r"is not UTF-8: b'\\xff": lambda d: lie_about_key_name(d, b"\xff\xfe"),
    r"characters that cannot be shown: 'a\\nb'": lambda d: lie_about_key_name(d, b"a\nb"),
    "'llama.block_count' stands twice": lambda d: d.keys.append(find_key(d, "llama.block_count")),
    "'demo.x' has the unknown type 13": lambda d: d.keys.append(DraftKey(b"demo.x", 13, b"")),
    "is an array of the unknown type 99": lambda d: d.keys.append(DraftKey(b"demo.x", ARRAY, array(99, 1, b"1"))),
    "is an array of arrays": lambda d: d.keys.append(DraftKey(b"demo.x", ARRAY, array(ARRAY, 1, b""))),
    "is an array of 1,099,511,627,776 items": lambda d: d.keys.append(DraftKey(b"x", ARRAY, array(U32, 1 << 40, b""))),
    "is one text too many": lambda d: d.keys.append(DraftKey(b"x", ARRAY, array(STRING, 5_000_000, b""))),
    "is a text of 4,294,967,296 bytes": lambda d: set_key(
        d, "tokenizer.ggml.model", payload=struct.pack("<Q", 1 << 32)
    ),
    "the file ends inside its header": lambda d: d.keys.append(DraftKey(b"x", ARRAY, array(U32, 1 << 24, b""))),
    "general.alignment must be a u32, got u64": lambda d: set_key(
        d, "general.alignment", type_number=10, payload=bytes(8)
    ),
    "general.alignment must be a u32, got an array of u32": lambda d: set_key(
        d, "general.alignment", type_number=ARRAY, payload=array(U32, 1, bytes(4))
    ),
    "power of two up to 65,536, got 0": lambda d: set_key(d, "general.alignment", payload=struct.pack("<I", 0)),
    "power of two up to 65,536, got 48": lambda d: set_key(d, "general.alignment", payload=struct.pack("<I", 48)),
    "got 2,147,483,648": lambda d: set_key(d, "general.alignment", payload=struct.pack("<I", 1 << 31)),
    "the name of tensor 1 has 64 bytes; it may have 1 to 63": lambda d: set_tensor(d, name=b"x" * 64),
    "tensor 'token_embd.weight' stands twice": lambda d: set_tensor(d, name=b"token_embd.weight"),
    "has 5 dimensions; it may have 4": lambda d: set_tensor(d, shape=[1, 1, 1, 1, 1]),
    r"has the shape \(64, 0\); every dimension": lambda d: set_tensor(d, shape=[64, 0]),
    r"has the shape \(-1,\)": lambda d: set_tensor(d, shape=[-1]),
    "more values than can be counted": lambda d: set_tensor(d, shape=[1 << 32, 1 << 31]),
    "more values than can be counted ": lambda d: set_tensor(d, shape=[(1 << 62) + 1, 4]),
    "bytes, more than any model": lambda d: set_tensor(d, shape=[1 << 45], type_number=0),
    "has the GGML type 4, which was removed": lambda d: set_tensor(d, type_number=4),
    "has the GGML type 43, unknown here; the newest known is 42": lambda d: set_tensor(d, type_number=43),
    "has rows of 64 values; q4_K stores blocks of 256": lambda d: set_tensor(d, type_number=12),
    "at offset 0 overlaps the tensor before it; it must start at 12,288": lambda d: set_tensor(d, offset=0),
    "at offset 12,289 is not a multiple of 32": lambda d: set_tensor(d, offset=12_289),
    "at offset 12,320 leaves a gap": lambda d: set_tensor(d, offset=12_320),
    "at offset 18,446,744,073,709,551,584 leaves a gap": lambda d: set_tensor(d, offset=(1 << 64) - 32),
}


def lie_about_key_name(draft: Draft, name: bytes) -> None:
    draft.keys[3].name = name


@pytest.mark.parametrize("said", REFUSALS)
def test_a_refusal_says_what_is_wrong_in_one_line(said: str) -> None:
    draft = draft_llama()
    REFUSALS[said](draft)
    with pytest.raises(GgufError, match=said.strip()) as refusal:
        parse_header(*draft.write())
    message = str(refusal.value)
    assert message.isprintable() and message.isascii() and len(message) < 300
    assert isinstance(refusal.value, WeighbridgeError) and isinstance(refusal.value, ValueError)


def test_a_text_reads_up_to_its_limits_and_is_skipped_beyond() -> None:
    draft = draft_llama()
    long = DEFAULT_LIMITS.kept_string_bytes
    draft.keys += [
        DraftKey(b"demo.long", STRING, text(b"x" * long)),
        DraftKey(b"demo.longer", STRING, text(b"x" * (long + 1))),
        DraftKey(b"demo.last", STRING, text(b"here")),
    ]
    header = read(draft)
    assert header.find("demo.long") == "x" * long
    assert header.find("demo.longer") is None
    assert next(k for k in header.keys if k.name == "demo.longer").n_bytes == 8 + long + 1
    assert header.find("demo.last") == "here"


def test_a_header_longer_than_allowed_is_refused_before_it_is_fetched() -> None:
    data, _ = draft_llama().write()
    with pytest.raises(GgufError, match="a header may take 5,000"):
        parse_header(data[:4000], None, Limits(header_bytes=5000))


@pytest.mark.parametrize("name", ["folder", "pipe", "zero byte"])
def test_only_regular_files_are_opened(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "pipe":
        os.mkfifo(path)
    elif name == "folder":
        path.mkdir()
    else:
        path = tmp_path / "a\0b"
    with pytest.raises(GgufError, match="wanted a"):
        load_header(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(GgufError, match="ends inside its header"):
        load_header(tmp_path / "empty.gguf")


def test_a_file_that_shrinks_while_it_is_read_is_refused() -> None:
    class Shrinking(io.BytesIO):
        def read(self, n_bytes: int | None = -1, /) -> bytes:
            return super().read(n_bytes)[:100] if self.tell() < 100 else b""

    with pytest.raises(GgufError, match="became shorter"):
        read_header(Shrinking(draft_llama().write()[0]))


# --- thousands of unsound headers ------------------------------------------------------------------------------------


def test_mutated_headers_end_in_a_header_or_a_refusal() -> None:
    report = run_fuzz(SEED, range(N_HOSTILE), Report())
    assert report.findings == []
    assert sum(report.endings.values()) == N_HOSTILE >= 2000
    # the mutations hit: most are refused, and not all, or they would all be one and the same
    assert report.endings["refused"] > N_HOSTILE // 2 and report.endings["header"] > N_HOSTILE // 20


def test_mutated_headers_allocate_little_and_a_file_ends_as_its_bytes_do() -> None:
    numbers = range(0, N_HOSTILE, 7)  # 7 and the number of mutations share no factor, so every mutation has its turn
    used = Counter(name for n in numbers for name in make_hostile(SEED, n).mutations)
    assert set(used) == {mutation.__name__ for mutation in MUTATIONS}
    for n in numbers:
        hostile = make_hostile(SEED, n)
        file = io.BytesIO(hostile.header)
        tracemalloc.start()
        started = time.perf_counter()
        try:
            ending = read_ending(file)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 2 * MIB, hostile.mutations
        assert time.perf_counter() - started < 2.0, hostile.mutations
        try:
            whole = parse_header(hostile.header, len(hostile.header))
            assert ending == whole, hostile.mutations
        except GgufError as error:
            assert ending == str(error), hostile.mutations


def read_ending(file: io.BytesIO) -> GgufHeader | str:
    """The header or the refusal's words."""
    try:
        header = read_header(file)
    except GgufError as error:
        return str(error)
    check_promises(header)
    return header


def test_the_worst_header_the_limits_allow_stays_below_the_stated_peak(tmp_path: Path) -> None:
    limits = DEFAULT_LIMITS
    path = tmp_path / "worst.gguf"
    with path.open("wb") as file:
        n_keys = limits.n_keys
        file.write(b"GGUF" + struct.pack("<IQQ", 3, limits.n_tensors, n_keys))
        wide = "\U0001f600".encode()  # one such character makes Python hold the whole text in four bytes each
        for i in range(n_keys):
            name = (b"%06d" % i).ljust(limits.key_bytes - 4, b"k") + wide
            if i > 600:  # by then nothing more may be kept
                value = DraftKey(name, U32, bytes(4))
            elif i % 3 == 0:
                value = DraftKey(name, ARRAY, array(11, limits.kept_items, struct.pack("<1024q", *[1 << 62] * 1024)))
            elif i % 3 == 1:
                value = DraftKey(name, STRING, text(wide + b"x" * 20_000))
            else:
                value = DraftKey(name, ARRAY, array(STRING, 1024, text(b"ab") * 1024))
            file.write(value.write())
        for i in range(limits.n_tensors):
            name = (b"%06d" % i).ljust(59, b"t") + wide
            file.write(DraftTensor(name, [1 << 10, 1 << 9, 1, 1], 0, i << 21).write())
        file.truncate(file.tell() + (limits.n_tensors << 21) + 4096)
    tracemalloc.start()
    header = load_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(header.keys) == n_keys and len(header.tensors) == limits.n_tensors
    assert header.keys[0].value is not None and header.keys[600].value is None
    assert peak < PEAK_BYTES
    assert peak > PEAK_BYTES / 4  # the stated figure is no fiction


def write_texts_in_a_hole(path: Path, n_texts: int) -> Path:
    """A file of one array of empty texts, all of them a hole."""
    start = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
    path.write_bytes(start + DraftKey(b"x", ARRAY, array(STRING, n_texts, b"")).write())
    os.truncate(path, path.stat().st_size + 8 * n_texts)
    return path


def test_millions_of_texts_in_a_hole_are_walked_soon(tmp_path: Path) -> None:
    path = write_texts_in_a_hole(tmp_path / "hole.gguf", DEFAULT_LIMITS.n_strings)
    started = time.process_time()
    header = load_header(path)
    assert time.process_time() - started < 10
    assert header.keys[0].n_items == DEFAULT_LIMITS.n_strings and header.keys[0].value is None


def test_texts_in_a_hole_are_walked_in_little_memory(tmp_path: Path) -> None:
    path = write_texts_in_a_hole(tmp_path / "hole.gguf", 400_000)  # three windows
    tracemalloc.start()
    load_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert MIB < peak < 3 * MIB


# --- weights and the command line ------------------------------------------------------------------------------------


def split_in_two() -> tuple[Draft, Draft]:
    """The sound file as two parts, as llama.cpp's gguf-split leaves them."""
    parts = (draft_llama(), draft_llama())
    parts[1].keys = []
    for i, part in enumerate(parts):
        part.tensors = part.tensors[:10] if i == 0 else part.tensors[10:]
        first = part.tensors[0].offset
        for tensor in part.tensors:
            tensor.offset -= first
        for name, layout, number, n in (("no", "<H", 2, i), ("count", "<H", 2, 2), ("tensors.count", "<i", 5, 21)):
            part.keys.append(DraftKey(f"split.{name}".encode(), number, struct.pack(layout, n)))
    return parts


def test_a_split_model_weighs_what_it_weighs_whole() -> None:
    whole, parts = read(draft_llama()), [read(part) for part in split_in_two()]
    assert count_weight_bytes(parts) == count_weight_bytes([whole])
    with pytest.raises(BadInputError, match="split over 2 files; got 1"):
        count_weight_bytes(parts[:1])
    with pytest.raises(BadInputError, match="in order, got 1, 0"):
        count_weight_bytes([parts[1], parts[0]])
    with pytest.raises(BadInputError, match="in order, got 0, 0"):
        count_weight_bytes([parts[0], parts[0]])
    with pytest.raises(BadInputError, match="got none"):
        count_weight_bytes([])


def test_layers_that_cannot_be_are_refused() -> None:
    draft = draft_llama()
    layers = find_key(draft, "llama.block_count")
    layers.payload = struct.pack("<I", 0xFFFFFFFF)
    with pytest.raises(GgufError, match="claims 4,294,967,295 layers"):
        count_weight_bytes([read(draft)])
    layers.payload = struct.pack("<I", 1)
    with pytest.raises(UnsupportedError, match="is of layer 1; the model has 1 layers"):
        count_weight_bytes([read(draft)])
    layers.name = b"llama.other"
    with pytest.raises(UnsupportedError, match="does not say how many layers"):
        count_weight_bytes([read(draft)])
    draft.keys[0].name = b"general.other"
    with pytest.raises(UnsupportedError, match="does not say its architecture"):
        count_weight_bytes([read(draft)])


def test_the_quantization_is_the_stated_one_or_that_of_most_bytes() -> None:
    draft = draft_llama()
    ftype = find_key(draft, "general.file_type")
    ftype.payload = struct.pack("<I", 15)
    assert find_quant_label([read(draft)]) == "Q4_K_M"
    ftype.payload = struct.pack("<I", 1024 + 7)
    assert find_quant_label([read(draft)]) == "Q8_0"
    ftype.payload = struct.pack("<I", 999)
    assert find_quant_label([read(draft)]) == "F16"


def write_draft(draft: Draft, path: Path, *, less_bytes: int = 0) -> Path:
    header, file_bytes = draft.write()
    path.write_bytes(header)
    os.truncate(path, file_bytes - less_bytes)
    return path


def test_the_command_shows_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draft = draft_llama()
    draft.keys.append(DraftKey(b"demo.name", STRING, text(b"\x1b[31mred\n")))
    draft.keys.append(DraftKey(b"demo.nan", 6, struct.pack("<f", float("nan"))))
    path = write_draft(draft, tmp_path / "model.gguf")
    assert command_line.main(["gguf", str(path)]) == 0
    said = capsys.readouterr()
    assert said.err == "" and "\x1b" not in said.out
    assert "F16" in said.out and "llama.block_count = 2" in said.out
    assert command_line.main(["gguf", str(path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    header = load_header(path)
    assert record["tensor_bytes"] == header.tensor_bytes == 173_312  # what llama.cpp answers for it, see test_hostile
    assert sum(record["weights"]["layer_bytes"]) + record["weights"]["input_bytes"] < record["tensor_bytes"]
    assert len(record["files"][0]["tensors"]) == 21
    assert next(k for k in record["files"][0]["keys"] if k["name"] == "demo.nan")["value"] == "nan"


def test_the_command_names_a_broken_file_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x\ny.gguf"
    path.write_bytes(b"PK\3\4 not a model")
    assert command_line.main(["gguf", str(path)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert r"x\ny.gguf: no GGUF file" in said.err
    assert command_line.main(["gguf", str(tmp_path / "none.gguf")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_says_what_an_incomplete_file_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_draft(draft_llama(), tmp_path / "part.gguf", less_bytes=1000)
    assert command_line.main(["gguf", str(path)]) == 1
    said = capsys.readouterr()
    assert said.err == "part.gguf is incomplete: 1,000 bytes are missing; fetch it again\n"
    assert "llama.block_count = 2" in said.out


def test_a_file_without_a_language_model_is_still_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draft = draft_llama()
    draft.keys[0].payload = text(b"clip")
    assert command_line.main(["gguf", str(write_draft(draft, tmp_path / "mmproj.gguf"))]) == 0
    assert "does not say how many layers" in capsys.readouterr().out

"""The header of a GGUF file: its keys and tensor table, read without trusting a single number in it.

A GGUF file is four magic bytes, a version, two counts, the keys, the tensor table, padding, and the tensors' data
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Only what stands before the data is read here. Every count,
length, shape and offset is held against `Limits` and against the file before anything is allocated or looped over, so
a broken or malicious file ends in a `GgufError` of one line, soon, and in little memory. What llama.cpp's own reader
refuses (ggml/src/gguf.cpp, `gguf_init_from_reader`) is refused here too: arrays of arrays, tensors that overlap or part
by a gap. Some of what it lets pass is refused here: names that cannot be shown, a dimension of 0, sizes no model has.

Three doors: `load_header` for a path, `read_header` for an open file, `parse_header` for the first bytes of a file
that is still elsewhere, which may answer `NeedMoreBytes`.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sizing.errors import GgufError
from sizing.quants import GGML_TYPES, GgmlType
from sizing.units import KIB, MIB, TIB

MAGIC = b"GGUF"
OLDER_MAGICS = frozenset({b"GGML", b"lmgg", b"fmgg", b"tjgg", b"algg"})
"""What files began with before GGUF: ggml, ggmf, ggjt, ggla, each as its number was written (llama.cpp, llama.h)."""

VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
"""Bytes every tensor starts on unless `general.alignment` says otherwise (GGUF_DEFAULT_ALIGNMENT, gguf.h)."""

MAX_DIMS = 4
"""GGML_MAX_DIMS, ggml.h."""

MAX_TENSOR_NAME_BYTES = 63
"""GGML_MAX_NAME less its closing zero, ggml.h."""

WINDOW_BYTES = MIB
"""How much of an open file is held at a time."""

PEAK_BYTES = 64 * MIB
"""What reading any header may allocate at most, under the default limits: measured by the tests at its worst."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a header may hold. The largest published files stay well below each: 1,200 tensors, 800,000 texts.

    `header_bytes` is everything before the data. `n_strings` counts the texts of all arrays, which have to be walked
    one by one. What is kept of the values is bounded one by one (`kept_items`, `kept_string_bytes`) and in sum
    (`kept_bytes`, as Python holds them); what is beyond is counted and skipped.
    """

    header_bytes: int = 256 * MIB
    n_keys: int = 4096
    n_tensors: int = 32_768
    key_bytes: int = 256
    string_bytes: int = 64 * MIB
    n_items: int = 64 * 1024**2
    n_strings: int = 4 * 1024**2
    alignment: int = 64 * KIB
    data_bytes: int = 64 * TIB
    kept_items: int = 1024
    kept_string_bytes: int = 256 * KIB
    kept_bytes: int = 16 * MIB


DEFAULT_LIMITS = Limits()

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class GgufKey:
    """One key: its GGUF type ('u32', 'str', ...; of the items where it is an array) and value.

    `value` is None where it was too large to keep. `n_items` is 1 for a scalar and the array's length for an array;
    `n_bytes` is what the value takes in the file.
    """

    name: str
    type_name: str
    is_array: bool
    value: Scalar | tuple[Scalar, ...] | None
    n_items: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor: `shape` is ggml's order, the contiguous axis first; `offset` counts from the start of the data."""

    name: str
    type_name: str
    shape: tuple[int, ...]
    offset: int
    n_bytes: int

    @property
    def n_elements(self) -> int:
        """Values in the tensor."""
        n = 1
        for dim in self.shape:
            n *= dim
        return n


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says about itself. `file_bytes` is the file's real length, None where nobody said."""

    version: int
    alignment: int
    keys: tuple[GgufKey, ...]
    tensors: tuple[GgufTensor, ...]
    data_offset: int
    file_bytes: int | None

    def find(self, name: str) -> Scalar | tuple[Scalar, ...] | None:
        """The value of a key; None where the file has no such key or it was too large to keep."""
        return next((key.value for key in self.keys if key.name == name), None)

    @property
    def architecture(self) -> str | None:
        """`general.architecture`, or None."""
        value = self.find("general.architecture")
        return value if isinstance(value, str) else None

    @property
    def tensor_bytes(self) -> int:
        """All tensors together, without padding."""
        return sum(tensor.n_bytes for tensor in self.tensors)

    @property
    def n_params(self) -> int:
        """Values in all tensors."""
        return sum(tensor.n_elements for tensor in self.tensors)

    @property
    def expected_file_bytes(self) -> int:
        """Where the last tensor ends. A file may be longer by padding, never shorter."""
        last = self.tensors[-1] if self.tensors else None
        return self.data_offset + (last.offset + last.n_bytes if last else 0)

    @property
    def missing_bytes(self) -> int:
        """What an incomplete file lacks; 0 for a complete one and where the length is not known."""
        return 0 if self.file_bytes is None else max(0, self.expected_file_bytes - self.file_bytes)


@dataclass(frozen=True, slots=True)
class NeedMoreBytes:
    """The bytes given end inside the header: ask again with at least the file's first `n_bytes` bytes.

    This is the least that helps, the next few bytes within a vocabulary. Who fetches takes more at a time: twice what
    there was, and never more than `Limits.header_bytes`.
    """

    n_bytes: int


_EXTRA_TYPES = (
    GgmlType("q8_1", 32, 36),
    GgmlType("q8_K", 256, 292),
    GgmlType("i8", 1, 1),
    GgmlType("i16", 1, 2),
    GgmlType("i64", 1, 8),
    GgmlType("f64", 1, 8),
    GgmlType("tq1_0", 256, 54),
    GgmlType("tq2_0", 256, 66),
    GgmlType("nvfp4", 64, 36),
    GgmlType("q1_0", 128, 18),
    GgmlType("q2_0", 64, 18),
)
"""Types a file may hold and no quantization here produces (ggml-common.h, `block_tq1_0` and its kin)."""

_TYPE_NAMES = (
    "f32 f16 q4_0 q4_1 - - q5_0 q5_1 q8_0 q8_1 q2_K q3_K q4_K q5_K q6_K q8_K iq2_xxs iq2_xs iq3_xxs iq1_s iq4_nl iq3_s "
    "iq2_s iq4_xs i8 i16 i32 i64 f64 iq1_m bf16 - - - tq1_0 tq2_0 - - - mxfp4 nvfp4 q1_0 q2_0"
).split()
"""Names by number (ggml.h, `enum ggml_type`); '-' was removed from the format."""

TENSOR_TYPES = {**GGML_TYPES, **{t.name: t for t in _EXTRA_TYPES}}
"""All types a tensor in a file may have, by name."""

_VALUE_TYPES = (
    ("u8", "<B"),
    ("i8", "<b"),
    ("u16", "<H"),
    ("i16", "<h"),
    ("u32", "<I"),
    ("i32", "<i"),
    ("f32", "<f"),
    ("bool", "<?"),
    ("str", ""),
    ("arr", ""),
    ("u64", "<Q"),
    ("i64", "<q"),
    ("f64", "<d"),
)
"""GGUF value types by number, with their layout (gguf.h, `enum gguf_type`)."""

_STR, _ARR = 8, 9
_U32, _I64, _U64 = struct.Struct("<I"), struct.Struct("<q"), struct.Struct("<Q")
_SCALARS = tuple(struct.Struct(layout) if layout else None for _, layout in _VALUE_TYPES)
_MIN_KEY_BYTES = 8 + 1 + 4 + 1
_MIN_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8
_OBJECT_BYTES = 64  # what a small Python value and the slot pointing at it take


class _Short(Exception):
    """The bytes at hand end before the header does."""


def load_header(path: Path, limits: Limits = DEFAULT_LIMITS) -> GgufHeader:
    """The header of a file on disk. Raises GgufError for what is no sound GGUF file, OSError where it cannot be read.

    Only regular files are opened: a pipe would wait for ever and a device never end.
    """
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # a zero byte in the name
        raise GgufError(f"wanted a file's path, got {_quote(str(path))}: {error}") from None
    if not stat.S_ISREG(mode):
        raise GgufError(f"wanted a GGUF file, got {_quote(path.name)}, which is no regular file")
    with path.open("rb", buffering=0) as file:
        return read_header(file, limits)


def read_header(file: BinaryIO, limits: Limits = DEFAULT_LIMITS) -> GgufHeader:
    """The header of an open, seekable file, read from its start in windows of WINDOW_BYTES. Raises GgufError."""
    file_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    return _read(_Reader(b"", file_bytes, limits, file))


def parse_header(
    data: bytes, file_bytes: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> GgufHeader | NeedMoreBytes:
    """The header out of a file's first bytes. `file_bytes` is the length of the whole file where it is known.

    Answers NeedMoreBytes when `data` ends inside the header and the file does not. Raises GgufError.
    """
    reader = _Reader(data, file_bytes, limits, None)
    try:
        return _read(reader)
    except _Short:
        return NeedMoreBytes(reader.wanted)


class _Reader:
    """A place in the file, moving forward only. Nothing is read or skipped without holding it against the limits."""

    __slots__ = ("at", "base", "buffer", "file", "file_bytes", "kept_bytes", "limits", "n_strings", "top", "wanted")

    def __init__(self, data: bytes, file_bytes: int | None, limits: Limits, file: BinaryIO | None) -> None:
        self.buffer = data
        self.base = 0  # where in the file the buffer starts
        self.at = 0  # the place in the buffer
        self.file = file
        self.file_bytes = file_bytes
        self.limits = limits
        self.top = limits.header_bytes if file_bytes is None else min(file_bytes, limits.header_bytes)
        self.wanted = 0
        self.kept_bytes = 0
        self.n_strings = 0

    @property
    def place(self) -> int:
        """Bytes from the start of the file."""
        return self.base + self.at

    def check(self, n_bytes: int, what: str) -> None:
        """Refuse to go `n_bytes` further where the file or the limits end before."""
        if self.place + n_bytes <= self.top:
            return
        if self.file_bytes is not None and self.place + n_bytes > self.file_bytes:
            raise GgufError(
                f"the file ends inside its header: {what} at byte {self.place:,} wants {n_bytes:,} bytes, "
                f"{max(0, self.file_bytes - self.place):,} are left; fetch the file again"
            )
        raise GgufError(
            f"{what} at byte {self.place:,} wants {n_bytes:,} bytes; a header may take {self.limits.header_bytes:,}"
        )

    def need(self, n_bytes: int, what: str) -> int:
        """Have `n_bytes` (at most a window) at hand; returns where in the buffer they start, and moves past them."""
        start = self.at
        if start + n_bytes > len(self.buffer) or self.base + start + n_bytes > self.top:
            self.check(n_bytes, what)
            self.fill(n_bytes)
            start = self.at
        self.at = start + n_bytes
        return start

    def fill(self, n_bytes: int) -> None:
        """Bring the next window in, `n_bytes` at least."""
        if self.file is None:
            self.wanted = self.place + n_bytes
            raise _Short
        place = self.place
        self.file.seek(place)
        self.buffer = b""  # the old window goes before the new one comes
        wanted = max(n_bytes, min(WINDOW_BYTES, self.top - place))
        parts = []
        while wanted and (part := self.file.read(wanted)):
            parts.append(part)
            wanted -= len(part)
        self.buffer = parts[0] if len(parts) == 1 else b"".join(parts)
        self.base, self.at = place, 0
        if len(self.buffer) < n_bytes:
            raise GgufError(f"the file became shorter while it was read, at byte {place:,}; try again")

    def skip(self, n_bytes: int, what: str) -> None:
        """Move on without looking."""
        self.check(n_bytes, what)
        self.at += n_bytes
        if self.file is None and self.at > len(self.buffer):
            self.wanted = self.place
            raise _Short
        if self.at > len(self.buffer):
            self.base, self.at, self.buffer = self.place, 0, b""

    def u32(self, what: str) -> int:
        """An unsigned number of 4 bytes."""
        start = self.need(4, what)
        number: int = _U32.unpack_from(self.buffer, start)[0]
        return number

    def u64(self, what: str) -> int:
        """An unsigned number of 8 bytes."""
        start = self.need(8, what)
        number: int = _U64.unpack_from(self.buffer, start)[0]
        return number

    def raw(self, n_bytes: int, what: str) -> bytes:
        """The next bytes, at most as many as a kept string may have."""
        start = self.need(n_bytes, what)
        return self.buffer[start : start + n_bytes]

    def name(self, most_bytes: int, what: str) -> str:
        """A name: short, UTF-8, printable, not empty."""
        n_bytes = self.u64(f"the length of {what}")
        if not 0 < n_bytes <= most_bytes:
            raise GgufError(f"{what} has {n_bytes:,} bytes; it may have 1 to {most_bytes}")
        raw = self.raw(n_bytes, what)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise GgufError(f"{what} is not UTF-8: {_quote(raw)}") from None
        if not text.isprintable():
            raise GgufError(f"{what} holds characters that cannot be shown: {_quote(text)}")
        return text

    def may_keep(self, n_bytes: int) -> bool:
        """Whether values of this size in memory still fit in what may be kept; counts them if so."""
        if self.kept_bytes + n_bytes > self.limits.kept_bytes:
            return False
        self.kept_bytes += n_bytes
        return True


def _quote(text: str | bytes) -> str:
    """Text out of a file for an error message: escaped, at most about 60 characters."""
    return ascii(text[:60]) + ("..." if len(text) > 60 else "")


def _read(reader: _Reader) -> GgufHeader:
    """Magic, version, counts, keys, tensor table."""
    limits = reader.limits
    magic = reader.raw(4, "the magic number")
    if magic != MAGIC:
        older = f"it starts with {magic!r}, an older format, not" if magic in OLDER_MAGICS else "it does not start with"
        raise GgufError(f"no GGUF file: {older} {MAGIC!r}")  # of other files not even four bytes are shown
    version = reader.u32("the version")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        hint = "; it is written for big-endian machines" if swapped in VERSIONS else ""
        raise GgufError(f"GGUF version {version:,} cannot be read, only 2 and 3{hint}")
    n_tensors = reader.u64("the number of tensors")
    n_keys = reader.u64("the number of keys")
    _check_count(reader, "keys", n_keys, limits.n_keys, _MIN_KEY_BYTES)
    _check_count(reader, "tensors", n_tensors, limits.n_tensors, _MIN_TENSOR_BYTES)
    keys: dict[str, GgufKey] = {}
    for i in range(n_keys):
        key = _read_key(reader, i)
        if key.name in keys:
            raise GgufError(f"the key {_quote(key.name)} stands twice in the file")
        keys[key.name] = key
    alignment = _find_alignment(keys, limits)
    tensors: dict[str, GgufTensor] = {}
    end = 0
    for i in range(n_tensors):
        tensor = _read_tensor(reader, i)
        if tensor.name in tensors:
            raise GgufError(f"the tensor {_quote(tensor.name)} stands twice in the file")
        if tensor.offset != end:
            raise GgufError(_describe_misplaced(tensor, end, alignment))
        end += _pad(tensor.n_bytes, alignment)
        if end > limits.data_bytes:
            raise GgufError(f"the tensors up to {_quote(tensor.name)} take {end:,} bytes, more than any model")
        tensors[tensor.name] = tensor
    data_offset = _pad(reader.place, alignment) if tensors else reader.place
    return GgufHeader(version, alignment, tuple(keys.values()), tuple(tensors.values()), data_offset, reader.file_bytes)


def _check_count(reader: _Reader, what: str, n: int, most: int, least_bytes: int) -> None:
    """Refuse a count above its limit, or above what the rest of the file could hold."""
    if n > most:
        raise GgufError(f"the file claims {n:,} {what}; a header may have {most:,}")
    if reader.file_bytes is not None and n * least_bytes > reader.file_bytes - reader.place:
        left = reader.file_bytes - reader.place
        raise GgufError(f"the file claims {n:,} {what}, which its remaining {left:,} bytes cannot hold")


def _read_key(reader: _Reader, i: int) -> GgufKey:
    """One key with its value."""
    name = reader.name(reader.limits.key_bytes, f"the name of key {i}")
    what = f"the value of {_quote(name)}"
    number = reader.u32(what)
    start = reader.place
    if number == _ARR:
        type_name, n_items, items = _read_array(reader, what)
        return GgufKey(name, type_name, True, items, n_items, reader.place - start)
    value: Scalar | None
    if number == _STR:
        value = _read_string(reader, what)
    else:
        value = _read_scalar(reader, number, what)
    return GgufKey(name, _VALUE_TYPES[number][0], False, value, 1, reader.place - start)


def _read_scalar(reader: _Reader, number: int, what: str) -> Scalar:
    """A number or a flag; any byte but 0 is true, as llama.cpp reads it."""
    layout = _SCALARS[number] if number < len(_SCALARS) else None
    if layout is None:
        raise GgufError(f"{what} has the unknown type {number}")
    start = reader.need(layout.size, what)
    scalar: Scalar = layout.unpack_from(reader.buffer, start)[0]
    return scalar


def _read_string(reader: _Reader, what: str) -> str | None:
    """A text; None where it is too long to keep. Bytes that are no UTF-8 become the replacement character."""
    n_bytes = reader.u64(what)
    if n_bytes > reader.limits.string_bytes:
        raise GgufError(f"{what} is a text of {n_bytes:,} bytes; it may have {reader.limits.string_bytes:,}")
    if n_bytes > reader.limits.kept_string_bytes or not reader.may_keep(_OBJECT_BYTES + 4 * n_bytes):
        reader.skip(n_bytes, what)
        return None
    return reader.raw(n_bytes, what).decode("utf-8", "replace")


def _read_array(reader: _Reader, what: str) -> tuple[str, int, tuple[Scalar, ...] | None]:
    """An array: the type of its items, their number, and the items where they are few enough to keep.

    Arrays of arrays, which the format's text allows and llama.cpp refuses, are refused: nesting ends at one.
    """
    limits = reader.limits
    number = reader.u32(what)
    n_items = reader.u64(what)
    if n_items > limits.n_items:
        raise GgufError(f"{what} is an array of {n_items:,} items; it may have {limits.n_items:,}")
    if number == _STR:
        return "str", n_items, _read_strings(reader, n_items, what)
    layout = _SCALARS[number] if number < len(_SCALARS) else None
    if layout is None:
        kind = "arrays, which llama.cpp does not read" if number == _ARR else f"the unknown type {number}"
        raise GgufError(f"{what} is an array of {kind}")
    type_name, n_bytes = _VALUE_TYPES[number][0], layout.size * n_items
    if n_items > limits.kept_items or not reader.may_keep(_OBJECT_BYTES * (1 + n_items)):
        reader.skip(n_bytes, what)
        return type_name, n_items, None
    start = reader.need(n_bytes, what)
    items = tuple(item for (item,) in layout.iter_unpack(reader.buffer[start : start + n_bytes]))
    return type_name, n_items, items


def _read_strings(reader: _Reader, n_items: int, what: str) -> tuple[str, ...] | None:
    """The texts of an array where they are few and short enough to keep; else they are walked and None is returned."""
    reader.n_strings += n_items
    if reader.n_strings > reader.limits.n_strings:
        raise GgufError(f"{what} is one text too many: arrays may hold {reader.limits.n_strings:,} together")
    reader.check(8 * n_items, what)
    kept: list[str] | None = [] if n_items <= reader.limits.kept_items else None
    n_left = n_items
    while n_left and kept is not None:
        text = _read_string(reader, what)
        n_left -= 1
        if text is None:
            kept = None
        else:
            kept.append(text)
    if kept is not None:
        return tuple(kept)
    _skip_strings(reader, n_left, what)
    return None


def _skip_strings(reader: _Reader, n_left: int, what: str) -> None:
    """Walk texts without keeping them; a vocabulary has hundreds of thousands, so the loop stays within one window."""
    unpack: Callable[[bytes, int], tuple[int]] = _U64.unpack_from
    while n_left:
        buffer, at = reader.buffer, reader.at
        end = min(len(buffer), reader.top - reader.base)
        last = end - 8
        while n_left and at <= last:
            after = at + 8 + unpack(buffer, at)[0]
            if after > end:
                break
            at = after
            n_left -= 1
        reader.at = at
        if n_left:  # the next text crosses the window's end, or the file's
            reader.check(8 * n_left, what)
            reader.skip(reader.u64(what), what)
            n_left -= 1


def _find_alignment(keys: dict[str, GgufKey], limits: Limits) -> int:
    """`general.alignment`, a power of two; 32 where the file does not say."""
    key = keys.get("general.alignment")
    if key is None:
        return DEFAULT_ALIGNMENT
    value = key.value
    if key.type_name != "u32" or not isinstance(value, int):
        raise GgufError(f"general.alignment must be a u32, got {'an array of ' if key.is_array else ''}{key.type_name}")
    if not 0 < value <= limits.alignment or value & (value - 1):
        raise GgufError(f"general.alignment must be a power of two up to {limits.alignment:,}, got {value:,}")
    return value


def _read_tensor(reader: _Reader, i: int) -> GgufTensor:
    """One line of the tensor table. A dimension of 0, which llama.cpp lets pass, belongs to no model and is refused."""
    name = reader.name(MAX_TENSOR_NAME_BYTES, f"the name of tensor {i}")
    what = f"tensor {_quote(name)}"
    n_dims = reader.u32(what)
    if n_dims > MAX_DIMS:
        raise GgufError(f"{what} has {n_dims:,} dimensions; it may have {MAX_DIMS}")
    start = reader.need(8 * n_dims + 4 + 8, what)
    shape = tuple(dim for (dim,) in _I64.iter_unpack(reader.buffer[start : start + 8 * n_dims]))
    n_elements = 1
    for dim in shape:
        if dim < 1:
            raise GgufError(f"{what} has the shape {shape}; every dimension must be at least 1")
        n_elements *= dim
    if n_elements >= 1 << 63:
        raise GgufError(f"{what} has the shape {shape}: more values than can be counted")
    number: int = _U32.unpack_from(reader.buffer, start + 8 * n_dims)[0]
    offset: int = _U64.unpack_from(reader.buffer, start + 8 * n_dims + 4)[0]
    kind = _find_type(number, what)
    row = shape[0] if shape else 1
    if row % kind.block_elements:
        raise GgufError(f"{what} has rows of {row:,} values; {kind.name} stores blocks of {kind.block_elements}")
    return GgufTensor(name, kind.name, shape, offset, n_elements // kind.block_elements * kind.block_bytes)


def _find_type(number: int, what: str) -> GgmlType:
    """The GGML type of a number in the file."""
    name = _TYPE_NAMES[number] if number < len(_TYPE_NAMES) else "?"
    if name == "-":
        raise GgufError(f"{what} has the GGML type {number}, which was removed from the format; convert the model anew")
    if name == "?":
        raise GgufError(f"{what} has the GGML type {number}, unknown here; the newest known is {len(_TYPE_NAMES) - 1}")
    return TENSOR_TYPES[name]


def _describe_misplaced(tensor: GgufTensor, end: int, alignment: int) -> str:
    """Why a tensor cannot start where it says: tensors follow each other, each on the next aligned byte."""
    if tensor.offset % alignment:
        said = f"is not a multiple of {alignment}"
    elif tensor.offset < end:
        said = "overlaps the tensor before it"
    else:
        said = "leaves a gap"
    return f"tensor {_quote(tensor.name)} at offset {tensor.offset:,} {said}; it must start at {end:,}"


def _pad(n_bytes: int, alignment: int) -> int:
    return -(-n_bytes // alignment) * alignment

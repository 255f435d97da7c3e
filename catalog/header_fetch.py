"""Headers of GGUF files that are elsewhere, in parts: a few MiB of the first file, a few hundred KiB of the next.

Most of a header is the vocabulary, which files of one model share. Of a second file only what stands before and after
the vocabulary is read, and the first file's vocabulary is laid between. Whether that holds is then checked: the tensor
table must parse and must end where the file does, to the byte. Where it does not, the header is read in full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from catalog.gguf_header import DEFAULT_LIMITS, GgufHeader, Limits, parse_header
from sizing.errors import GgufError
from sizing.units import KIB, MIB

FIRST_BYTES = 256 * KIB
"""What is read of a file at its start, and after its vocabulary."""

MOST_AT_ONCE = 16 * MIB
LARGE_VALUE_BYTES = 64 * KIB
"""A value from this size on is part of the vocabulary."""

_COUNTS_BYTES = 4 + 4 + 8 + 8
"""Magic, version and the two counts before the first key."""

ReadPart = Callable[[str, int, int], bytes]
"""Bytes start..stop-1 of the file at a path; fewer only where the file ends."""

ReadWhole = Callable[[str], tuple[GgufHeader, bytes]]
"""The header of the file at a path, read in full, with the bytes it was read from."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The large values of a header, first to last, with all keys between them: `raw` begins with `mark`."""

    raw: bytes
    mark: bytes


class HeaderFetch:
    """Reads headers of the files of one model, each in full where the short way does not hold."""

    def __init__(self, read: ReadPart, read_whole: ReadWhole, limits: Limits = DEFAULT_LIMITS) -> None:
        self._read = read
        self._read_whole = read_whole
        self._limits = limits
        self._vocabulary: Vocabulary | None = None

    def fetch(self, path: str, file_bytes: int | None) -> GgufHeader:
        """The header of one file of this length, None where it is not told. Raises what the two readers raise."""
        if self._vocabulary is not None and file_bytes:
            start = self._read(path, 0, min(FIRST_BYTES, file_bytes))
            found = self._fetch_around(path, file_bytes, start, self._vocabulary)
            if found is not None:
                return found
        header, data = self._read_whole(path)
        self._keep_vocabulary(header, data)
        return header

    def _keep_vocabulary(self, header: GgufHeader, data: bytes) -> None:
        """Remember the large values of a header for the next file, where it has any."""
        at, first, last = _COUNTS_BYTES, None, 0
        mark = b""
        for key in header.keys:
            head = 8 + len(key.name.encode()) + 4
            if key.n_bytes >= LARGE_VALUE_BYTES:
                if first is None:
                    first, mark = at, data[at : at + head + (12 if key.is_array else 0)]
                last = at + head + key.n_bytes
            at += head + key.n_bytes
        if first is not None:
            self._vocabulary = Vocabulary(data[first:last], mark)

    def _fetch_around(self, path: str, file_bytes: int, start: bytes, known: Vocabulary) -> GgufHeader | None:
        """The header with the known vocabulary laid in, None where that is not this file's header."""
        at = start.find(known.mark)
        if at < 0:
            return None
        after = at + len(known.raw)
        if after >= file_bytes or start[at : at + len(known.raw)] != known.raw[: len(start) - at]:
            return None
        tail = b""
        while True:
            place = after + len(tail)
            if place >= file_bytes:
                return None
            tail += self._read(path, place, min(place + FIRST_BYTES, file_bytes))
            try:
                header = parse_header(start[:at] + known.raw + tail, file_bytes, self._limits)
            except GgufError:
                return None
            if isinstance(header, GgufHeader):
                return header if header.expected_file_bytes == file_bytes else None
            if len(tail) > MOST_AT_ONCE:
                return None

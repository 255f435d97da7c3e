"""Throw broken and malicious GGUF headers at the reader: `python tools/fuzz_gguf.py --count 1000000 --seed 1`.

Every header must end in a header, a clean refusal or a call for more bytes, within a small time. Anything else is a
finding: it is printed with the seed and number that make it again (`--only N`), and the script exits 1.

The mutations are also what the tests use. A mutation is a function of a `Draft`, a GGUF file before it is written down,
so that each field can lie on its own; afterwards the bytes themselves are damaged.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":  # run as a script, the repository's root is not where imports are looked for
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from catalog.gguf_header import GgufHeader, NeedMoreBytes, parse_header
from catalog.gguf_weights import count_weight_bytes
from sizing.errors import GgufError, WeighbridgeError

U32, F32, STRING, ARRAY = 4, 6, 8, 9
"""GGUF value types by number (gguf.h, `enum gguf_type`)."""

SLOW_S = 2.0
"""A header of a few KiB that takes longer than this is a finding, however busy the machine is."""

NASTY = (0, 1, 2, 3, 7, 31, 32, 63, 64, 255, 256, 4095, 65_535, 1 << 20, 1 << 24, 1 << 30, (1 << 31) - 1, 1 << 31)
NASTY_64 = (
    *NASTY,
    (1 << 32) - 1,
    1 << 32,
    1 << 40,
    1 << 61,
    (1 << 62) + 1,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 32,
    (1 << 64) - 1,
)
"""Numbers at the edges of types and limits."""


@dataclass
class DraftKey:
    """A key before it is written: the payload follows the type number as it stands."""

    name: bytes
    type_number: int
    payload: bytes
    name_length: int | None = None  # what the file claims; None for the truth

    def write(self) -> bytes:
        """The key as it stands in a file."""
        length = len(self.name) if self.name_length is None else self.name_length
        return struct.pack("<Q", length) + self.name + struct.pack("<I", self.type_number) + self.payload


@dataclass
class DraftTensor:
    """A line of the tensor table before it is written."""

    name: bytes
    shape: list[int]
    type_number: int
    offset: int
    n_dims: int | None = None
    name_length: int | None = None

    def write(self) -> bytes:
        """The line as it stands in a file."""
        length = len(self.name) if self.name_length is None else self.name_length
        n_dims = len(self.shape) if self.n_dims is None else self.n_dims
        dims = b"".join(struct.pack("<Q", dim % (1 << 64)) for dim in self.shape)
        ending = struct.pack("<IQ", self.type_number, self.offset % (1 << 64))
        return struct.pack("<Q", length) + self.name + struct.pack("<I", n_dims) + dims + ending


@dataclass
class Draft:
    """A GGUF file before it is written down. `n_keys` and `n_tensors` are what it claims; None for the truth."""

    keys: list[DraftKey]
    tensors: list[DraftTensor]
    data_bytes: int
    magic: bytes = b"GGUF"
    version: int = 3
    n_keys: int | None = None
    n_tensors: int | None = None
    damage: list[Callable[[bytearray], bytearray]] = field(default_factory=list)

    def write(self) -> tuple[bytes, int]:
        """The header's bytes with padding, and the length of the whole file."""
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_keys = len(self.keys) if self.n_keys is None else self.n_keys
        raw = self.magic + struct.pack("<IQQ", self.version, n_tensors, n_keys)
        raw += b"".join(key.write() for key in self.keys) + b"".join(t.write() for t in self.tensors)
        raw += bytes(-len(raw) % 32)
        damaged = bytearray(raw)
        for change in self.damage:
            damaged = change(damaged)
        return bytes(damaged), len(damaged) + self.data_bytes if len(damaged) >= len(raw) else len(damaged)


def text(value: bytes) -> bytes:
    """A text as it stands in a file."""
    return struct.pack("<Q", len(value)) + value


def array(type_number: int, n_items: int, items: bytes) -> bytes:
    """An array as it stands in a file; `n_items` may lie."""
    return struct.pack("<IQ", type_number, n_items) + items


_WORDS = b"".join(text(b"w%d" % i) for i in range(1500))


def draft_llama() -> Draft:
    """A sound two-layer llama that llama.cpp loads, with an array of each kind, in f16 and f32."""
    width, ffn, vocab = 64, 128, 96
    numbers = {
        "llama.block_count": 2,
        "llama.context_length": 512,
        "llama.embedding_length": width,
        "llama.feed_forward_length": ffn,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.rope.dimension_count": 16,
        "llama.vocab_size": vocab,
        "general.alignment": 32,
        "general.file_type": 1,
    }
    keys = [DraftKey(b"general.architecture", STRING, text(b"llama"))]
    keys += [DraftKey(name.encode(), U32, struct.pack("<I", n)) for name, n in numbers.items()]
    keys += [
        DraftKey(b"llama.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", 1e-5)),
        DraftKey(b"tokenizer.ggml.model", STRING, text(b"no_vocab")),
        DraftKey(b"general.tags", ARRAY, array(STRING, 3, text(b"chat") + text(b"") + text("schön".encode()))),
        DraftKey(b"demo.scores", ARRAY, array(F32, 40, struct.pack("<40f", *range(40)))),
        DraftKey(b"demo.words", ARRAY, array(STRING, 1500, _WORDS)),
    ]
    shapes: list[tuple[str, list[int], int]] = [("token_embd.weight", [width, vocab], 1)]
    for i in range(2):
        shapes += [
            (f"blk.{i}.attn_norm.weight", [width], 0),
            (f"blk.{i}.attn_q.weight", [width, width], 1),
            (f"blk.{i}.attn_k.weight", [width, width // 2], 1),
            (f"blk.{i}.attn_v.weight", [width, width // 2], 1),
            (f"blk.{i}.attn_output.weight", [width, width], 1),
            (f"blk.{i}.ffn_norm.weight", [width], 0),
            (f"blk.{i}.ffn_gate.weight", [width, ffn], 1),
            (f"blk.{i}.ffn_up.weight", [width, ffn], 1),
            (f"blk.{i}.ffn_down.weight", [ffn, width], 1),
        ]
    shapes += [("output_norm.weight", [width], 0), ("output.weight", [width, vocab], 1)]
    tensors, offset = [], 0
    for name, shape, type_number in shapes:
        tensors.append(DraftTensor(name.encode(), list(shape), type_number, offset))
        n_bytes = (2 if type_number else 4) * shape[0] * (shape[1] if len(shape) > 1 else 1)
        offset += -(-n_bytes // 32) * 32
    return Draft(keys, tensors, offset)


Mutation = Callable[[Draft, random.Random], None]


def lie_about_counts(draft: Draft, dice: random.Random) -> None:
    """More, fewer or absurdly many keys or tensors than there are."""
    if dice.random() < 0.5:
        draft.n_keys = dice.choice((*NASTY_64, len(draft.keys) - 1, len(draft.keys) + 1))
    else:
        draft.n_tensors = dice.choice((*NASTY_64, len(draft.tensors) - 1, len(draft.tensors) + 1))


def lie_about_a_length(draft: Draft, dice: random.Random) -> None:
    """A name or text that claims another length."""
    n = dice.choice(NASTY_64)
    what = dice.randrange(3)
    if what == 0:
        dice.choice(draft.keys).name_length = n
    elif what == 1:
        dice.choice(draft.tensors).name_length = n
    else:
        key = dice.choice([k for k in draft.keys if k.type_number == STRING] or draft.keys)
        key.payload = struct.pack("<Q", n) + key.payload[8:]


def lie_about_an_array(draft: Draft, dice: random.Random) -> None:
    """An array that claims another length or another type of items."""
    key = dice.choice([k for k in draft.keys if k.name.startswith((b"demo.", b"general.tags"))] or [draft.keys[-1]])
    key.type_number = ARRAY
    key.payload = key.payload.ljust(12, b"\0")
    number, n_items = struct.unpack_from("<IQ", key.payload)
    if dice.random() < 0.5:
        n_items = dice.choice(NASTY_64)
    else:
        number = dice.choice((*range(14), 255, 1 << 31))
    key.payload = array(number, n_items, key.payload[12:])


def nest_arrays(draft: Draft, dice: random.Random) -> None:
    """Arrays in arrays in arrays, as deep as the file is long."""
    depth = dice.choice((1, 2, 3, 10, 1000, 5000))
    n_items = dice.choice((1, 1, 2, 1 << 32))
    draft.keys.append(DraftKey(b"demo.deep", ARRAY, array(ARRAY, n_items, b"") * depth + array(U32, 0, b"")))


def change_a_value_type(draft: Draft, dice: random.Random) -> None:
    """A value read as another type, its bytes unchanged."""
    dice.choice(draft.keys).type_number = dice.choice((*range(14), 99, (1 << 32) - 1))


def change_a_number(draft: Draft, dice: random.Random) -> None:
    """An absurd number where the model's shape stands: no layers, four billion heads."""
    key = dice.choice([k for k in draft.keys if k.type_number == U32] or draft.keys)
    key.payload = struct.pack("<I", dice.choice(NASTY_64) % (1 << 32))


def change_a_text(draft: Draft, dice: random.Random) -> None:
    """A name or text that is empty, very long, not UTF-8 or written to steer a terminal."""
    said = dice.choice((b"", b"\0", b"\xff\xfe", b"a\nb", b"\x1b[2J", "\u202e".encode(), b"%s%n", b"x" * 300, b"../.."))
    what = dice.randrange(3)
    if what == 0:
        dice.choice(draft.keys).name = said
    elif what == 1:
        dice.choice(draft.tensors).name = said
    else:
        dice.choice([k for k in draft.keys if k.type_number == STRING] or draft.keys).payload = text(said)


def double_a_name(draft: Draft, dice: random.Random) -> None:
    """Two keys or two tensors of one name."""
    if dice.random() < 0.5:
        draft.keys.append(dice.choice(draft.keys))
    else:
        dice.choice(draft.tensors).name = dice.choice(draft.tensors).name


def change_dimensions(draft: Draft, dice: random.Random) -> None:
    """Shapes of no, negative, too many or overflowing dimensions."""
    tensor = dice.choice(draft.tensors)
    what = dice.randrange(4)
    if what == 0:
        tensor.n_dims = dice.choice(NASTY_64) % (1 << 32)
    elif what == 1 and tensor.shape:
        tensor.shape[dice.randrange(len(tensor.shape))] = dice.choice(NASTY_64)
    elif what == 2:
        tensor.shape = [dice.choice(NASTY_64) for _ in range(dice.randrange(6))]
    else:
        tensor.shape = tensor.shape[::-1] + [1] * dice.randrange(3)


def change_a_tensor_type(draft: Draft, dice: random.Random) -> None:
    """A type that is unknown, removed, or does not divide the rows."""
    dice.choice(draft.tensors).type_number = dice.choice((*range(48), 1 << 31, (1 << 32) - 1))


def move_tensors(draft: Draft, dice: random.Random) -> None:
    """Tensors that overlap, stand in a circle, beyond the file, or between aligned bytes."""
    what = dice.randrange(4)
    tensor = dice.choice(draft.tensors)
    if what == 0:
        tensor.offset = dice.choice(NASTY_64)
    elif what == 1:
        tensor.offset = dice.choice(draft.tensors).offset
    elif what == 2:
        offsets = [t.offset for t in draft.tensors]
        for t, offset in zip(draft.tensors, offsets[1:] + offsets[:1], strict=True):
            t.offset = offset
    else:
        tensor.offset += dice.choice((-32, -1, 1, 16, 32))


def change_the_alignment(draft: Draft, dice: random.Random) -> None:
    """An alignment that is none, no power of two, huge, or of another type."""
    key = next((k for k in draft.keys if k.name == b"general.alignment"), draft.keys[0])
    what = dice.randrange(3)
    if what == 0:
        key.payload = struct.pack("<I", dice.choice(NASTY_64) % (1 << 32))
    elif what == 1:
        key.type_number, key.payload = STRING, text(b"32")
    else:
        key.type_number, key.payload = ARRAY, array(U32, 1, struct.pack("<I", 32))


def change_the_start(draft: Draft, dice: random.Random) -> None:
    """Another magic number or version."""
    if dice.random() < 0.5:
        draft.magic = dice.choice((b"GGML", b"FUGG", b"\0\0\0\0", b"PK\3\4", b"ggjt"))
    else:
        draft.version = dice.choice((0, 1, 2, 4, 3 << 24, (1 << 32) - 1))


def claim_a_split(draft: Draft, dice: random.Random) -> None:
    """Keys that make the file a part of something it is no part of."""
    for name in (b"split.no", b"split.count", b"split.tensors.count"):
        number, layout = dice.choice(((2, "<H"), (U32, "<I"), (5, "<i")))
        draft.keys.append(DraftKey(name, number, struct.pack(layout, dice.choice((0, 1, 2, 9, 32_767)))))


def flip_bits(draft: Draft, dice: random.Random) -> None:
    """One to eight bits anywhere."""

    def change(raw: bytearray) -> bytearray:
        for _ in range(dice.randint(1, 8) if raw else 0):
            raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
        return raw

    draft.damage.append(change)


def flip_early_bits(draft: Draft, dice: random.Random) -> None:
    """One to three bits where the counts and the keys of the shape stand."""

    def change(raw: bytearray) -> bytearray:
        for _ in range(dice.randint(1, 3) if raw else 0):
            raw[dice.randrange(min(700, len(raw)))] ^= 1 << dice.randrange(8)
        return raw

    draft.damage.append(change)


def cut_off(draft: Draft, dice: random.Random) -> None:
    """The file ends early."""

    def change(raw: bytearray) -> bytearray:
        return raw[: dice.randrange(len(raw) + 1)]

    draft.damage.append(change)


def overwrite(draft: Draft, dice: random.Random) -> None:
    """Eight bytes anywhere become a number at the edge of a type."""

    def change(raw: bytearray) -> bytearray:
        at = dice.randrange(max(1, len(raw) - 8))
        raw[at : at + 8] = struct.pack("<Q", dice.choice(NASTY_64))
        return raw

    draft.damage.append(change)


def insert_or_delete(draft: Draft, dice: random.Random) -> None:
    """Bytes too many or too few, so that everything after them is read askew."""

    def change(raw: bytearray) -> bytearray:
        at, n = dice.randrange(len(raw) + 1), dice.randint(1, 16)
        if dice.random() < 0.5:
            raw[at:at] = dice.randbytes(n)
        else:
            del raw[at : at + n]
        return raw

    draft.damage.append(change)


MUTATIONS: tuple[Mutation, ...] = (
    lie_about_counts,
    lie_about_a_length,
    lie_about_an_array,
    nest_arrays,
    change_a_value_type,
    change_a_number,
    change_a_text,
    double_a_name,
    change_dimensions,
    change_a_tensor_type,
    move_tensors,
    change_the_alignment,
    change_the_start,
    claim_a_split,
    flip_bits,
    flip_early_bits,
    cut_off,
    overwrite,
    insert_or_delete,
)


@dataclass(frozen=True)
class Hostile:
    """One mutated file: what was done to it, its header's bytes, and the length of the whole file."""

    number: int
    mutations: tuple[str, ...]
    header: bytes
    file_bytes: int


def make_hostile(seed: int, number: int) -> Hostile:
    """The file of a seed and number, always the same: one mutation, or in one of five cases two or three."""
    dice = random.Random(f"{seed}/{number}")
    draft = draft_llama()
    if dice.random() < 0.8:  # the long array is most of the bytes; most files do without it
        draft.keys.pop()
    chosen = [MUTATIONS[number % len(MUTATIONS)]]
    if dice.random() < 0.2:
        chosen += dice.choices(MUTATIONS, k=dice.randint(1, 2))
    for mutation in chosen:
        mutation(draft, dice)
    header, file_bytes = draft.write()
    return Hostile(number, tuple(mutation.__name__ for mutation in chosen), header, file_bytes)


def judge(hostile: Hostile) -> str:
    """How reading a file ended: 'header', 'refused' or 'needs more'. Any other exception is a finding and passes."""
    try:
        answer = parse_header(hostile.header, hostile.file_bytes)
    except GgufError:
        return "refused"
    if isinstance(answer, NeedMoreBytes):
        if answer.n_bytes <= len(hostile.header):
            raise AssertionError(f"asks for {answer.n_bytes} bytes, which it was given")
        return "needs more"
    check_promises(answer)
    return "header"


def check_promises(header: GgufHeader) -> None:
    """What every header that was read holds to; raises AssertionError where it does not."""
    end = 0
    for tensor in header.tensors:
        if tensor.offset < end or tensor.offset % header.alignment or tensor.n_bytes < 1:
            raise AssertionError(f"{tensor.name!a} overlaps, is not aligned or is empty")
        end = tensor.offset + tensor.n_bytes
    if header.expected_file_bytes != header.data_offset + end:
        raise AssertionError("the file's expected length is not where its last tensor ends")
    try:
        weights = count_weight_bytes([header])
    except WeighbridgeError as error:
        if "\n" in str(error):
            raise AssertionError("a refusal of more than one line") from error
        return
    if weights.tensor_bytes != header.tensor_bytes:
        raise AssertionError("the groups do not add up to all tensors")


@dataclass
class Report:
    """What a run found: endings by name, findings, and the slowest header."""

    endings: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest_number: int = 0


def run_fuzz(seed: int, numbers: Iterator[int] | range, report: Report) -> Report:
    """Read the files of the numbers, adding to the report."""
    for number in numbers:
        hostile = make_hostile(seed, number)
        started = time.perf_counter()
        try:
            report.endings[judge(hostile)] += 1
        except Exception as error:
            report.findings.append(f"number {number} ({', '.join(hostile.mutations)}): {type(error).__name__}: {error}")
        elapsed_s = time.perf_counter() - started
        if elapsed_s > report.slowest_s:
            report.slowest_s, report.slowest_number = elapsed_s, number
        if elapsed_s > SLOW_S:
            report.findings.append(f"number {number} ({', '.join(hostile.mutations)}): took {elapsed_s:.1f} s")
    return report


def main(arguments: list[str] | None = None) -> int:
    """Run the script; 1 when anything was found."""
    parser = argparse.ArgumentParser(description="Throw broken and malicious GGUF headers at the reader.")
    parser.add_argument("--count", type=int, default=1_000_000, help="how many headers (1000000)")
    parser.add_argument("--seed", type=int, default=1, help="another seed makes other headers (1)")
    parser.add_argument("--only", type=int, metavar="N", help="read header N alone and let its error show")
    parser.add_argument("--out", type=Path, help="with --only: also write header N to this file")
    args = parser.parse_args(arguments)
    if args.only is not None:
        hostile = make_hostile(args.seed, args.only)
        print(f"{', '.join(hostile.mutations)}; {len(hostile.header):,} bytes of {hostile.file_bytes:,}")
        if args.out is not None:
            args.out.write_bytes(hostile.header)
        print(judge(hostile))
        return 0
    report, started, step = Report(), time.monotonic(), 10_000
    for first in range(0, args.count, step):
        run_fuzz(args.seed, range(first, min(args.count, first + step)), report)
        done = min(args.count, first + step)
        elapsed_s = time.monotonic() - started
        print(
            f"{done:,} of {args.count:,}, {done / elapsed_s:,.0f} per s, {len(report.findings)} findings",
            file=sys.stderr,
        )
    for finding in report.findings[:100]:
        print(finding)
    endings = ", ".join(f"{n:,} {name}" for name, n in report.endings.most_common())
    elapsed_s = time.monotonic() - started
    print(
        f"seed {args.seed}: {args.count:,} headers in {elapsed_s:.0f} s: {endings}; {len(report.findings)} findings; "
        f"slowest {report.slowest_s * 1000:.1f} ms (number {report.slowest_number})"
    )
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())

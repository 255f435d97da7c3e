"""Ghosts: files of a model's exact shape that hold no weights and can be run, to time a model before downloading it.

Most of the file is a hole that reads as zeros, and kernels take as long over zeros as over weights. What decides the
work is filled in: embeddings of the tokens that will be used, norms, rope factors (a zero there divides), and routers,
so that the tokens of a mixture of experts go to as many experts as they would. With zeros everywhere else, each layer
passes its input on, so every router sees the embedding of its token.

Measured, SmolLM2-135M in Q4_K_M on one thread of an EPYC 9004, tokens per second of processor time, in turns: with both
files read into memory a ghost decodes 122.5 and the same shape full of random values 123.0 (118 to 129 from one
process to the next); with both mapped, as llama.cpp does, 120 and 129, for the page cache keeps a hole in smaller pages
than it keeps data. So a ghost may read a few percent low.

On Linux a ghost has no name: it is gone with the last process that holds it, however that ends. Elsewhere it is a
file in the person's folder that the reader unlinks once it is mapped; leftovers are swept before the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.weightless import ALIGNMENT, is_kept_f32, write_weightless_gguf
from sizing.architectures import TensorInfo
from sizing.quants import GGML_TYPES
from sizing.specs import ModelSpec
from sizing.tensors import list_native_types, list_tensors
from sizing.units import MIB, format_bytes

N_TOKEN_IDS = 512
"""How many tokens of the vocabulary have an embedding, from the first on."""

PIECE_BYTES = 16 * MIB
"""Random values are made and written in pieces of about this size."""

DEVIATION = 0.02
"""Standard deviation of random values: the initial one of many published models (`initializer_range`)."""

SCALE_OFFSETS = {
    "q4_0": (0,),
    "q4_1": (0, 2),
    "q5_0": (0,),
    "q5_1": (0, 2),
    "q8_0": (0,),
    "q2_K": (80, 82),
    "q3_K": (108,),
    "q4_K": (0, 2),
    "q5_K": (0, 2),
    "q6_K": (208,),
    "iq1_s": (0,),
    "iq2_xxs": (0,),
    "iq2_xs": (0,),
    "iq2_s": (0,),
    "iq3_xxs": (0,),
    "iq3_s": (0,),
    "iq4_nl": (0,),
    "iq4_xs": (0,),
}
"""Where a block keeps its f16 factors (ggml-common.h, `block_*`); all other bytes of it may be anything."""


@dataclass(frozen=True, slots=True)
class Ghost:
    """A ghost on disk: where a process may open it, its length and what of it takes disk, in bytes.

    `unlink` is the path to remove once the file is mapped, None where it has no name.
    """

    path: str
    unlink: str | None
    file_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class NoRoom:
    """Why no ghost can be written in a folder, in words with numbers."""

    message: str


@contextlib.contextmanager
def open_ghost(
    spec: ModelSpec, types: Mapping[str, str], folder: Path, *, full: bool = False, nameless: bool = True
) -> Iterator[Ghost | NoRoom]:
    """A ghost of `spec` with GGML types by tensor name, for as long as the block runs.

    `full` writes random values over the whole file instead of leaving holes; `nameless` False keeps a name where there
    need be none. Raises UnsupportedError for an architecture without a tensor table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sweep_ghosts(folder)
    room = find_lack_of_room(spec, types, folder, full=full)
    if room is not None:
        yield room
        return
    handle, name = _open_file(folder, nameless)
    try:
        path = Path(f"/proc/{os.getpid()}/fd/{handle}") if name is None else name
        file_bytes = write_weightless_gguf(spec, path, types)
        fill_ghost(spec, types, path, file_bytes, full=full)
        disk_bytes = os.fstat(handle).st_blocks * 512
        yield Ghost(str(path), None if name is None else str(name), file_bytes, disk_bytes)
    finally:
        os.close(handle)
        if name is not None:
            name.unlink(missing_ok=True)


def sweep_ghosts(folder: Path) -> int:
    """Remove ghosts whose owners are gone; how many. A living owner holds a lock on its ghost."""
    n_removed = 0
    for path in folder.glob("ghost-*.gguf"):
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
                n_removed += 1
            finally:
                os.close(handle)
    return n_removed


def _open_file(folder: Path, nameless: bool) -> tuple[int, Path | None]:
    """An empty file, without a name where the system can do that (Linux, O_TMPFILE), else locked."""
    if nameless and hasattr(os, "O_TMPFILE") and Path("/proc/self/fd").is_dir():
        with contextlib.suppress(OSError):  # some file systems cannot
            return os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600), None
    handle, name = tempfile.mkstemp(prefix="ghost-", suffix=".gguf", dir=folder)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle, Path(name)


def find_lack_of_room(spec: ModelSpec, types: Mapping[str, str], folder: Path, *, full: bool = False) -> NoRoom | None:
    """Why a folder cannot hold the ghost, None where it can.

    Holes take no disk where the file system knows them; on one that lives in memory they take memory when read.
    """
    sizes = [(t, _count_bytes(t, find_type(t, types))) for t in list_tensors(spec)]
    everything = sum(n for _, n in sizes)
    wanted = everything if full or not keeps_holes(folder) or lives_in_memory(folder) else 0
    wanted = max(wanted, sum(n for t, n in sizes if is_filled(t)))
    free = shutil.disk_usage(folder).free
    if wanted + 64 * MIB <= free:
        return None
    return NoRoom(
        f"a file of the model's shape would take {format_bytes(wanted)} in {folder} and {format_bytes(free)} are free "
        "there; free some, or let WEIGHBRIDGE_HOME name a folder on another disk"
    )


def keeps_holes(folder: Path) -> bool:
    """Whether a file extended over nothing takes no disk in this folder."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.truncate(8 * MIB)
        probe.flush()
        return os.fstat(probe.fileno()).st_blocks * 512 < MIB


def lives_in_memory(folder: Path) -> bool:
    """Whether the folder is on tmpfs or ramfs (Linux, /proc/self/mountinfo); False where that cannot be read."""
    here = folder.stat().st_dev
    wanted = f"{os.major(here)}:{os.minor(here)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    kinds = {line.split()[2]: line.partition(" - ")[2].split()[0] for line in lines if " - " in line}
    return kinds.get(wanted) in ("tmpfs", "ramfs")


def find_type(tensor: TensorInfo, types: Mapping[str, str]) -> str:
    """The GGML type of one tensor: as given, else what the converter writes in an f16 file."""
    return types.get(tensor.name) or ("f32" if is_kept_f32(tensor) else "f16")


def _count_bytes(tensor: TensorInfo, type_name: str) -> int:
    kind = GGML_TYPES[type_name]
    return tensor.n_elements // kind.block_elements * kind.block_bytes


def is_filled(tensor: TensorInfo) -> bool:
    """Whether a ghost holds values here: what steers the work, and what must not be zero."""
    return _is_one(tensor) or _is_random(tensor) or tensor.name == "token_embd.weight" or _is_routing_table(tensor)


def _is_one(tensor: TensorInfo) -> bool:
    return tensor.name.endswith("norm.weight") or tensor.name.startswith(("rope_freqs", "rope_factors"))


def _is_random(tensor: TensorInfo) -> bool:
    return tensor.name.endswith("ffn_gate_inp.weight")


def _is_routing_table(tensor: TensorInfo) -> bool:
    return "tid2eid" in tensor.name  # experts by token: DeepSeek V4's first layers


def fill_ghost(
    spec: ModelSpec, types: Mapping[str, str], path: Path, file_bytes: int, *, full: bool = False, seed: int = 0
) -> None:
    """Write into a weightless file what decides how much work it makes; with `full`, random values everywhere."""
    chosen = {**dict(list_native_types(spec)), **types}
    tensors = list_tensors(spec)
    sizes = [_count_bytes(t, find_type(t, chosen)) for t in tensors]
    padded = [-(-n // ALIGNMENT) * ALIGNMENT for n in sizes]
    at = file_bytes - sum(padded)
    chance = np.random.default_rng(seed)
    n_experts = max((g.ffn.n_experts for g in spec.groups if g.ffn is not None), default=0)
    with path.open("r+b") as file:
        for tensor, size, step in zip(tensors, sizes, padded, strict=True):
            file.seek(at)
            at += step
            type_name = find_type(tensor, chosen)
            if _is_one(tensor) and type_name == "f32":
                file.write(np.ones(tensor.n_elements, dtype=np.float32).tobytes())
            elif _is_routing_table(tensor):
                file.write(chance.integers(0, max(n_experts, 1), tensor.n_elements, dtype=np.int32).tobytes())
            elif full or _is_random(tensor):
                for piece in _list_pieces(size, GGML_TYPES[type_name].block_bytes):
                    file.write(make_random_blocks(type_name, piece, chance))
            elif tensor.name == "token_embd.weight":
                rows = min(N_TOKEN_IDS, tensor.shape[1])
                file.write(make_random_blocks(type_name, rows * size // tensor.shape[1], chance))


def _list_pieces(n_bytes: int, block_bytes: int) -> Iterator[int]:
    """`n_bytes` in pieces of whole blocks."""
    whole = PIECE_BYTES // block_bytes * block_bytes
    for first in range(0, n_bytes, whole):
        yield min(whole, n_bytes - first)


def make_random_blocks(type_name: str, n_bytes: int, chance: np.random.Generator) -> bytes:
    """Random values of a GGML type with about `DEVIATION`; every one of them finite.

    A type whose blocks are not described here gives zeros.
    """
    kind = GGML_TYPES[type_name]
    n_blocks = n_bytes // kind.block_bytes
    if type_name in ("f32", "f16", "bf16"):
        # uniform, for it is made fast; its deviation is its half width over the square root of three
        values = (chance.random(n_blocks, dtype=np.float32) - np.float32(0.5)) * np.float32(DEVIATION * 12**0.5)
        if type_name == "bf16":
            return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16).tobytes()
        return values.astype(np.float32 if type_name == "f32" else np.float16).tobytes()
    if type_name == "mxfp4":
        blocks = _random_bytes(n_blocks, kind.block_bytes, chance)
        blocks[:, 0] = 127 - 7  # a shared exponent: 2 ** -7 times values of 0 to 6 (OCP MX specification 1.0, E8M0)
        return blocks.tobytes()
    if type_name not in SCALE_OFFSETS:
        return bytes(n_bytes)
    return _set_scales(_random_bytes(n_blocks, kind.block_bytes, chance), type_name, find_scale(type_name)).tobytes()


def _random_bytes(n_blocks: int, block_bytes: int, chance: np.random.Generator) -> NDArray[np.uint8]:
    return np.frombuffer(chance.bytes(n_blocks * block_bytes), dtype=np.uint8).reshape(n_blocks, block_bytes).copy()


def _set_scales(blocks: NDArray[np.uint8], type_name: str, scale: float) -> NDArray[np.uint8]:
    for offset in SCALE_OFFSETS[type_name]:
        blocks[:, offset : offset + 2] = np.frombuffer(np.float16(scale).tobytes(), dtype=np.uint8)
    return blocks


def find_scale(type_name: str) -> float:
    """The block factor with which random bytes of a type have `DEVIATION`: seen on 64 blocks with factor one."""
    import gguf

    sample: Any = _random_bytes(64, GGML_TYPES[type_name].block_bytes, np.random.default_rng(1))
    sample = _set_scales(sample, type_name, 1.0)
    values = gguf.quants.dequantize(sample, gguf.GGMLQuantizationType[type_name.upper()])
    return float(DEVIATION / np.std(values))

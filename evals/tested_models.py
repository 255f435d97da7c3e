"""Opening the model a plan names, in the worker: its file hashed, its memory checked first, its adapter made."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.demo.measure import MODEL_FILE, make_quant, open_child
from evals.dry_run import DryRunFailure, EngineChild, list_context_params
from evals.home import find_home
from evals.loaded import N_SPARE_SEQUENCES
from evals.plans import EvalPlan, EvalSettings, ModelKind, TestedModel
from evals.run_files import EvalRun
from sizing.errors import BadInputError, EngineError
from sizing.quants import find_quant
from sizing.split_names import read_split_name
from sizing.units import format_bytes, format_tokens
from sizing.workload import Workload

HASHES_FILE = "hashes.json"
HASH_PIECE_BYTES = 8 * 1024**2
ALL_LAYERS = 999
DEMO_QUANTS = ("F16", "Q8_0", "Q4_K_M", "Q3_K_M", "Q2_K")
DEMO_NAME = "Weighbridge Demo"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of one model, in order, with their bytes and the hash of them all."""

    paths: tuple[Path, ...]
    n_bytes: int
    sha256: str


def make_demo(quant: str = "F16") -> TestedModel:
    """The demonstration model in one of DEMO_QUANTS. Raises BadInputError for another."""
    name = find_quant(quant).name
    if name not in DEMO_QUANTS:
        raise BadInputError(f"the demonstration model comes in {', '.join(DEMO_QUANTS)}, got {quant!r}")
    return TestedModel(ModelKind.DEMO, DEMO_NAME, quant=name)


def list_parts(path: Path) -> tuple[Path, ...]:
    """A model's file, or all parts of a split one. Raises BadInputError when one is missing."""
    found = read_split_name(path.name)
    numbers = range(1, found.total + 1) if found else ()
    parts = tuple(path.with_name(found.name_part(i)) for i in numbers if found) or (path,)
    missing = next((part for part in parts if not part.is_file()), None)
    if missing is not None:
        raise BadInputError(f"{str(missing)!r} is no file; name a GGUF file, a split one by its first part")
    return parts


def find_model_path(model: TestedModel, home: Path | None = None, say: Say = lambda what: None) -> Path:
    """Where the model's file is; the demonstration model's other quantizations are made by llama.cpp the first time.

    Raises BadInputError for a missing file, EngineError when llama.cpp cannot quantize.
    """
    if model.kind is ModelKind.FILE:
        return list_parts(Path(model.path))[0]
    if model.quant in ("", "F16"):
        return MODEL_FILE
    target = (home or find_home()) / "demo" / f"{MODEL_FILE.stem}-{model.quant}.gguf"
    if not target.is_file():
        say(f"making {model.quant} of the demonstration model")
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_child() as child:
            made = make_quant(child, MODEL_FILE, model.quant)
            draft = target.with_suffix(f".{os.getpid()}.new")
            draft.write_bytes(made.read_bytes())
            draft.replace(target)
    return target


def hash_files(path: Path, home: Path, say: Say = lambda what: None) -> ModelFiles:
    """A model's files and their SHA-256: the file's own, of a split model that of its parts' hashes joined.

    A hash is remembered by the file's size and time of change.
    """
    parts = list_parts(path)
    hashes = [find_hash(part, home, say) for part in parts]
    whole = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    return ModelFiles(parts, sum(part.stat().st_size for part in parts), whole)


def refuse_other_files(before: EvalRun, sha256: str) -> None:
    """Raises EngineError when the files of a resumed run are not those it began with."""
    if before.facts is not None and before.facts.file_sha256 not in ("", sha256):
        raise EngineError("a model's file has changed since this run began; start a new run")


def find_hash(path: Path, home: Path, say: Say) -> str:
    """The SHA-256 of one file, in hexadecimal."""
    stat = path.stat()
    key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    kept = home / HASHES_FILE
    known = load_hashes(kept)
    if key not in known:
        say(f"hashing {path.name}, {format_bytes(stat.st_size)}")
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(HASH_PIECE_BYTES):
                digest.update(piece)
        known = {**load_hashes(kept), key: digest.hexdigest()}
        draft = kept.with_suffix(f".{os.getpid()}.new")
        draft.write_text(json.dumps(known), encoding="utf-8")
        draft.replace(kept)
    return known[key]


def load_hashes(kept: Path) -> dict[str, str]:
    """The hashes remembered; none where there is no such file or it is damaged."""
    try:
        known = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in known.items()} if isinstance(known, dict) else {}


@dataclass(frozen=True, slots=True)
class Room:
    """The context that fits: tokens of one sequence, sequences side by side, and the bytes llama.cpp says it takes."""

    context_tokens: int
    n_parallel: int
    n_bytes: int


def find_room(
    path: Path, settings: EvalSettings, wanted_tokens: int, least_tokens: int, usable_bytes: int | None
) -> Room:
    """How long a sequence and how many side by side: as asked, or fewer by halves until llama.cpp says they fit.

    Asked of llama.cpp itself, without allocating. A sequence is not longer than the model was trained for, unless the
    settings say so. Raises BadInputError when the model was trained for less than `least_tokens`, EngineError with
    numbers when not even one sequence fits, and with llama.cpp's reason when it refuses the file.
    """
    with EngineChild() as engine:
        context_tokens = wanted_tokens
        if settings.context_tokens is None:
            trained = read_trained_tokens(ask_sizes(engine, path, [], 0)["load_log"])
            context_tokens = min(wanted_tokens, trained or wanted_tokens)
        if context_tokens < least_tokens:
            raise BadInputError(
                f"{path.name} was trained for {format_tokens(context_tokens)} tokens, the longest suite wants "
                f"{format_tokens(least_tokens)}; choose a shorter text, such as needle@{max(context_tokens // 2, 256)}"
            )
        tries = list_halves(settings.n_parallel)
        contexts = [list_room_params(settings, context_tokens, n) for n in tries]
        reply = ask_sizes(engine, path, contexts, count_gpu_layers(settings))
    needed = 0
    for n, context in zip(tries, reply["contexts"], strict=True):
        if "refused" in context:
            continue
        needed = sum(sum(sizes) for sizes in (context["breakdown"] or {}).values()) or int(reply["model_bytes"])
        if usable_bytes is None or needed <= usable_bytes:
            return Room(context_tokens, n, needed)
    if not needed:
        raise EngineError(f"{path.name}: llama.cpp made no context of {format_tokens(context_tokens)} tokens for it")
    raise EngineError(
        f"{path.name} would need {format_bytes(needed)} of memory with {format_tokens(context_tokens)} tokens of "
        f"context, and {format_bytes(usable_bytes or 0)} are usable now; close other programs, choose a smaller model "
        "or a shorter context"
    )


def count_gpu_layers(settings: EvalSettings) -> int:
    """Layers for accelerators; a build without any takes none of them, however many it is offered."""
    return ALL_LAYERS if settings.n_gpu_layers is None else settings.n_gpu_layers


def ask_sizes(engine: EngineChild, path: Path, contexts: list[dict[str, Any]], n_gpu_layers: int) -> dict[str, Any]:
    """What llama.cpp would take of a file and contexts. Raises EngineError with its reason for not telling."""
    reply = engine.ask({"kind": "load", "path": str(path), "contexts": contexts, "n_gpu_layers": n_gpu_layers})
    if isinstance(reply, DryRunFailure):
        raise EngineError(f"{path.name}: {reply.message}")
    return reply


def list_room_params(settings: EvalSettings, context_tokens: int, n_parallel: int) -> dict[str, Any]:
    """A context as `evals.lm` opens it, in the words of llama_context_params."""
    workload = Workload(
        context_tokens=context_tokens,
        n_parallel=n_parallel,
        kv_type_k=settings.kv_type_k,
        kv_type_v=settings.kv_type_v,
        flash_attention=settings.flash_attention,
        kv_unified=True,
    )
    return {**list_context_params(workload), "n_seq_max": n_parallel + N_SPARE_SEQUENCES}


def read_trained_tokens(load_log: str) -> int | None:
    """The context a model was trained for, from what llama.cpp logs of it; None where it does not say."""
    found = re.search(r"n_ctx_train\s*=\s*(\d+)", load_log)
    return int(found[1]) if found else None


def list_halves(most: int) -> Sequence[int]:
    """`most`, its half, and so on down to 1."""
    out = [most]
    while out[-1] > 1:
        out.append(out[-1] // 2)
    return out


def open_file_model(plan: EvalPlan, path: Path, context_tokens: int, n_parallel: int) -> Any:
    """The adapter for a file on this machine."""
    from evals.lm import LlamaLM

    settings = plan.settings
    return LlamaLM(
        path=str(path),
        context_tokens=context_tokens,
        n_seq=n_parallel,
        kv_type_k=settings.kv_type_k,
        kv_type_v=settings.kv_type_v,
        flash_attention=settings.flash_attention,
        n_threads=settings.n_threads,
        n_gpu_layers=count_gpu_layers(settings),
        seed=settings.seed,
    )

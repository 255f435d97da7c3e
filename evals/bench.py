"""How fast a model really is on this machine, before it is downloaded or after.

A ghost of the model (`evals.ghost`) or a real file is run in a child process (`evals.bench_child`): decoding at several
depths and prefill of one batch, each after a warm-up and several times over, by wall clock around the call and a read
of its logits. Memory is checked first; what would not fit is refused with numbers, as a value.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evals.bench_result import (
    BUSY_SHARE,
    BenchRefusal,
    BenchResult,
    Measurement,
    MemoryUse,
    RefusalReason,
    Skipped,
)
from evals.bench_room import (
    ROOM_TOKENS,
    BenchPlan,
    Room,
    Subject,
    find_room,
    limit_machine,
    list_expected,
)
from evals.dry_run import DryRunFailure, EngineChild, ask_tensor_types, list_context_params
from evals.ghost import NoRoom, open_ghost
from evals.turn import hold_turn
from evals.weigh import group_weight_bytes
from sizing.errors import BadInputError, UnsupportedError
from sizing.hardware import Machine
from sizing.quants import GGML_TYPES, Quant, find_quant
from sizing.specs import ModelSpec
from sizing.tensors import list_tensors
from sizing.units import GIB, format_tokens

CHILD_COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("bench_child.py")))

MAX_DECODE_TOKENS = 32
"""Tokens of one repetition of decoding, fewer where one takes long."""

WARM_UP_TOKENS = 32

CALL_GRACE_S = 60.0
"""How far beyond its time a native call may run, which cannot be stopped halfway, before its process is ended."""

Progress = Callable[[str], None]


def measure_ghost(
    spec: ModelSpec,
    quant: str | Quant,
    machine: Machine,
    home: Path,
    plan: BenchPlan | None = None,
    progress: Progress = lambda said: None,
    types: Mapping[str, str] | None = None,
) -> BenchResult | BenchRefusal:
    """Time a model of this shape without its weights.

    `machine` says what memory may be used, `home` where the ghost is written. `progress` is told each step in words;
    what it raises ends the bench, child and files included. `types` is a file's own mix, GGML type by tensor name, and
    `quant` then what it goes by. Raises UnknownNameError for an unknown quant without `types`, UnsupportedError for an
    architecture without a tensor table and for a mix that a ghost cannot be made in.
    """
    plan = plan or BenchPlan()
    chosen = find_quant(quant) if types is None and isinstance(quant, str) else quant
    label = chosen if isinstance(chosen, str) else chosen.name
    if types is not None:
        check_mix(spec, types)
    with hold_turn(home) as mine, EngineChild() as engine, EngineChild(CHILD_COMMAND) as child:
        if not mine:
            return _busy()
        started = time.monotonic()
        by_name = _ask_types(spec, chosen, engine, types)
        about = child.ask({"kind": "about"})
        if isinstance(by_name, DryRunFailure) or isinstance(about, DryRunFailure):
            failure = by_name if isinstance(by_name, DryRunFailure) else about
            return BenchRefusal(RefusalReason.ENGINE, getattr(failure, "message", ""))
        weights = group_weight_bytes(label, list_tensors(spec), by_name, spec.n_layers, spec.architecture)
        subject = Subject("ghost", "", None, 0, 0, spec.model_id, label, spec, weights)
        room = find_room(subject, plan, limit_machine(machine, about), engine, by_name)
        if isinstance(room, BenchRefusal):
            return room
        progress("writing a file of the model's shape")
        with open_ghost(spec, by_name, home / "ghosts") as ghost:
            if isinstance(ghost, NoRoom):
                return BenchRefusal(RefusalReason.NO_ROOM, ghost.message)
            subject = replace(
                subject,
                path=ghost.path,
                unlink=ghost.unlink,
                file_bytes=ghost.file_bytes,
                disk_bytes=ghost.disk_bytes,
            )
            return _measure(subject, room, plan, machine, about, child, started, progress)


def _ask_types(
    spec: ModelSpec, quant: str | Quant, engine: EngineChild, types: Mapping[str, str] | None
) -> Mapping[str, str] | DryRunFailure:
    """GGML types by tensor name: a file's own, else what llama.cpp gives the recipe."""
    if types is not None or isinstance(quant, str):
        return types or {}
    answer = ask_tensor_types(spec, [quant], engine)
    return answer if isinstance(answer, DryRunFailure) else answer[quant.name]


def check_mix(spec: ModelSpec, types: Mapping[str, str]) -> None:
    """Refuse a mix that names no type, or one without a size here, for a tensor of the model: UnsupportedError."""
    for tensor in list_tensors(spec):
        name = types.get(tensor.name)
        if name not in GGML_TYPES:
            raise UnsupportedError(
                f"{spec.model_id}: the file's mix holds {tensor.name} in {name!r}; no ghost can be made of that"
            )


def measure_file(
    path: Path,
    machine: Machine,
    home: Path,
    plan: BenchPlan | None = None,
    progress: Progress = lambda said: None,
    spec: ModelSpec | None = None,
    quant: str | None = None,
) -> BenchResult | BenchRefusal:
    """Time a GGUF file by the code that times a ghost.

    `spec` and `quant` say which model it is, where that is known; only then is the speed compared with an estimate.
    Raises BadInputError when there is no such file.
    """
    plan = plan or BenchPlan()
    if not path.is_file():
        raise BadInputError(f"--file wants a GGUF file, got {str(path)!r}, which is none")
    with hold_turn(home) as mine, EngineChild() as engine, EngineChild(CHILD_COMMAND) as child:
        if not mine:
            return _busy()
        started = time.monotonic()
        weights = None
        if spec is not None and quant is not None:
            chosen = find_quant(quant)
            types = ask_tensor_types(spec, [chosen], engine)
            if not isinstance(types, DryRunFailure):
                weights = group_weight_bytes(
                    chosen.name, list_tensors(spec), types[chosen.name], spec.n_layers, spec.architecture
                )
        about = child.ask({"kind": "about"})
        if isinstance(about, DryRunFailure):
            return BenchRefusal(RefusalReason.ENGINE, about.message)
        size = path.stat()
        where = str(path.resolve())
        name = spec.model_id if spec else path.name
        subject = Subject("file", where, None, size.st_size, size.st_blocks * 512, name, quant or "", spec, weights)
        room = find_room(subject, plan, limit_machine(machine, about), engine, None)
        if isinstance(room, BenchRefusal):
            return room
        return _measure(subject, room, plan, machine, about, child, started, progress)


def count_threads(machine: Machine) -> int:
    """The physical cores this process may run on."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min(machine.host.n_cores or allowed, allowed), 1)


class Session:
    """One child with one model open, its clock and what was measured so far."""

    def __init__(self, child: EngineChild, plan: BenchPlan, deadline: float, progress: Progress) -> None:
        self.child, self.plan, self.deadline, self.progress = child, plan, deadline, progress
        self.measurements: list[Measurement] = []
        self.skipped: list[Skipped] = []
        self.failure: DryRunFailure | None = None
        self.finite = True

    @property
    def left_s(self) -> float:
        """Seconds left of the plan's time."""
        return self.deadline - time.monotonic()

    def ask(self, question: dict[str, Any]) -> dict[str, Any] | None:
        """One answer; None once the child failed, which is kept."""
        if self.failure is None:
            reply = self.child.ask(question, max(self.left_s, 0.0) + CALL_GRACE_S)
            if not isinstance(reply, DryRunFailure):
                return reply
            self.failure = reply
        return None

    def skip(self, kind: str, depth: int, reason: str) -> None:
        """Something is not measured."""
        self.skipped.append(Skipped(kind, depth, reason))

    def lacks_time(self, kind: str, depth: int, wanted_s: float) -> bool:
        """Whether less is left than is wanted; then it is skipped with both numbers."""
        if wanted_s <= self.left_s:
            return False
        self.skip(
            kind,
            depth,
            f"would take about {wanted_s:.0f} s and {max(self.left_s, 0):.0f} of {self.plan.max_seconds:g} s are left",
        )
        return True

    def measure(self, kind: str, depth: int, n_tokens: int, max_seconds: float, filled: str) -> Measurement | None:
        """Time one thing and keep it."""
        reply = self.ask(
            {"kind": kind, "n_tokens": n_tokens, "repetitions": self.plan.repetitions, "max_seconds": max_seconds}
        )
        if reply is None:
            self.skip(kind, depth, self.failure.message if self.failure else "")
            return None
        self.finite = self.finite and reply["finite"]
        share = min(reply["cpu_share"], 1.0)
        found = Measurement(kind, depth, n_tokens, tuple(reply["seconds"]), filled, share)
        self.measurements.append(found)
        at = f" at depth {format_tokens(depth)}" if depth else ""
        self.progress(f"{kind}{at}: {found.tokens_per_s:.3g} tokens/s, {len(found.seconds)} times")
        return found

    def measure_decode(self, depth: int, token_s: float, share: float, copy: bool) -> Measurement | None:
        """Fill an empty cache to a depth, then time decoding there, in a share of the time left."""
        fill = self.ask({"kind": "fill", "depth": depth, "copy": copy})
        if fill is None:
            self.skip("decode", depth, self.failure.message if self.failure else "")
            return None
        n_tokens = max(min(int(1.0 / token_s), MAX_DECODE_TOKENS), 4)
        return self.measure("decode", depth, n_tokens, self.left_s * share, fill["how"] if depth else "empty")


def _measure(
    subject: Subject,
    room: Room,
    plan: BenchPlan,
    machine: Machine,
    about: Mapping[str, Any],
    child: EngineChild,
    started: float,
    progress: Progress,
) -> BenchResult | BenchRefusal:
    """Open the subject in the child and time everything there is time for."""
    session = Session(child, plan, started + plan.max_seconds, progress)
    n_threads = plan.n_threads or count_threads(machine)
    busy = _describe_load(n_threads)
    progress("loading")
    opened = session.ask(_list_open_params(subject, room, plan, n_threads))
    warm = session.ask({"kind": "warm_up", "n_tokens": WARM_UP_TOKENS}) if opened is not None else None
    if opened is None or warm is None:
        message = session.failure.message if session.failure else "no answer"
        return BenchRefusal(RefusalReason.ENGINE, f"{subject.model_id}: {message}")
    session.skipped += room.skipped
    memory = _measure_depths(session, room, warm, opened)
    if not session.measurements:
        # what measuring itself skipped comes last and is why nothing is there; the depths before it were never planned
        reason = session.skipped[-1].reason if session.skipped else "nothing was asked for"
        return BenchRefusal(RefusalReason.ENGINE, f"{subject.model_id}: nothing was timed: {reason}")
    return BenchResult(
        run_id=uuid.uuid4().hex,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        subject=subject.kind,
        model_id=subject.model_id,
        quant=subject.quant,
        is_moe=None if subject.spec is None else subject.spec.is_moe,
        description=opened["description"],
        file_bytes=subject.file_bytes,
        disk_bytes=subject.disk_bytes,
        n_ctx_tokens=opened["n_ctx"],
        n_threads=n_threads,
        n_gpu_layers=room.n_gpu_layers,
        host_name=machine.host.name,
        bandwidth_bytes_per_s=machine.host.bandwidth_bytes_per_s,
        llama_cpp_version=about["llama_cpp_python"],
        load_s=opened["seconds"],
        elapsed_s=time.monotonic() - started,
        repacked=opened["repacked"],
        memory=MemoryUse(
            room.expected_bytes,
            about["memory"]["peak"],
            memory.get("peak", 0),
            memory.get("private", 0),
            memory.get("mapped", 0),
        ),
        measurements=tuple(session.measurements),
        skipped=tuple(session.skipped),
        expected=list_expected(subject, plan, limit_machine(machine, about)),
        notes=tuple(note for note in (busy, *_list_notes(session, subject, opened["repacked"])) if note),
    )


def _list_open_params(subject: Subject, room: Room, plan: BenchPlan, n_threads: int) -> dict[str, Any]:
    return {
        "kind": "open",
        "path": subject.path,
        "unlink": subject.unlink,
        "n_threads": n_threads,
        "n_gpu_layers": room.n_gpu_layers,
        "copy": plan.copy_cache,
        # private memory: caches, buffers, weights in the layout kernels want, and the copied piece of cache
        "data_limit_bytes": room.expected_bytes + room.expected_bytes // 4 + GIB,
        **list_context_params(replace(plan.workload, context_tokens=room.n_ctx_tokens)),
    }


def _measure_depths(session: Session, room: Room, warm: Mapping[str, Any], opened: Mapping[str, Any]) -> dict[str, int]:
    """Decode at no depth, prefill, then the depths from shallow to deep; memory is read before any cache is copied."""
    plan, token_s = session.plan, float(warm["decode_seconds"])
    no_room = {s.depth_tokens for s in room.skipped}
    depths = [d for d in sorted(plan.depths_tokens) if d not in no_room]
    if depths[:1] == [0] and not session.lacks_time("decode", 0, 5 * token_s):
        session.measure_decode(0, token_s, 0.2, copy=False)
    batch_s = float(warm["prefill_seconds"]) * plan.prefill_tokens / int(warm["n_tokens"])
    prefill = None
    if not session.lacks_time("prefill", 0, batch_s):
        prefill = session.measure("prefill", 0, plan.prefill_tokens, session.left_s * 0.35, "empty")
    if prefill is not None:
        batch_s = min(prefill.seconds)
    memory: dict[str, int] = session.ask({"kind": "memory"}) or {}
    deeper = [d for d in depths if d]
    for n_after, depth in reversed(list(enumerate(reversed(deeper)))):
        trained = int(opened["n_ctx_train"])
        if depth + ROOM_TOKENS > trained > 0:
            session.skip("decode", depth, f"the model was trained for {format_tokens(trained)} tokens")
            continue
        n_computed = min(plan.prefill_tokens, depth) if opened["can_copy"] else depth
        if not session.lacks_time("decode", depth, batch_s * n_computed / plan.prefill_tokens + 10 * token_s):
            session.measure_decode(depth, token_s, 0.8 / (n_after + 1), copy=opened["can_copy"])
    return memory


def _describe_load(n_threads: int) -> str:
    """What other programs were doing before the start, in words; empty when next to nothing."""
    try:
        load = os.getloadavg()[0]
    except OSError:
        return ""
    if load < 0.5:
        return ""
    threads = "1 thread was" if n_threads == 1 else f"{n_threads} threads were"
    return f"other programs kept {load:.1f} processors busy in the minute before; {threads} used here"


def _list_notes(session: Session, subject: Subject, repacked: bool) -> Iterator[str]:
    slow = [m for m in session.measurements if m.cpu_share < BUSY_SHARE]
    if slow:
        share = min(m.cpu_share for m in slow)
        yield (
            f"the threads ran only {share:.0%} of their time, the rest went to other programs: the figures are too "
            "low; close those and measure again"
        )
    if any(m.filled == "copied" for m in session.measurements):
        yield "depths were filled with copies of one computed piece of cache, which costs no time and attends alike"
    if repacked:
        yield (
            "llama.cpp keeps a second, reordered copy of some weights for this processor; the mapped file's pages "
            "count in the peak and can be dropped when memory runs short"
        )
    if subject.kind == "ghost":
        yield "measured with a file of the model's shape; the real one may be a few percent faster"
    if not session.finite:
        yield "some logits were not finite numbers"


def _busy() -> BenchRefusal:
    return BenchRefusal(RefusalReason.BUSY, "another bench or evaluation is running on this machine; wait for its end")

"""Asking llama.cpp what a model would take, without its weights.

Every question runs in a child process (`evals.engine_child`): a native call can abort, hang or be missing, and each of
these is an answer here, a `DryRunFailure` with its reason, never an exception. Answers are for the CPU device.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from evals.weightless import is_kept_f32, write_gguf_header, write_weightless_gguf
from sizing.errors import UnsupportedError
from sizing.placement import Offload
from sizing.quants import Quant, find_quant
from sizing.specs import ModelSpec
from sizing.tensors import list_native_types, list_tensors
from sizing.units import MIB
from sizing.workload import Workload

DEFAULT_TIMEOUT_S = 120.0

CHILD_COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("engine_child.py")))
"""How the child is started; `-P` keeps this folder's names from hiding the standard library's."""


class FailureReason(StrEnum):
    """Why the engine gave no sizes."""

    UNKNOWN_ARCHITECTURE = "unknown architecture"
    NO_TENSOR_TABLE = "no tensor table"
    MISSING_ENGINE = "missing engine"
    REFUSED = "refused"
    ABORTED = "aborted"
    TIMED_OUT = "timed out"
    NO_DEVICES = "no devices"


@dataclass(frozen=True, slots=True)
class DryRunFailure:
    """The engine gave no sizes: `reason`, one line a person can act on, and the last lines of the engine's log."""

    reason: FailureReason
    message: str
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CacheSize:
    """One cache as the log states it, rounded to 0.01 MiB: `kind` 'kv' or 'recurrent', cells, layers, bytes.

    For 'kv' the parts are K and V; for 'recurrent' they are R (convolution), S (state).
    """

    kind: str
    n_cells: int
    n_layers: int
    n_bytes: int
    parts: tuple[tuple[str, str, int], ...]  # label, GGML type, bytes


@dataclass(frozen=True, slots=True)
class BufferUse:
    """Exact bytes in one buffer type (a device): weights, caches, compute."""

    name: str
    weight_bytes: int
    cache_bytes: int
    compute_bytes: int


@dataclass(frozen=True, slots=True)
class DryRun:
    """What llama.cpp would take for one model and workload.

    `tensor_bytes` and `n_params` count every tensor of the file once. `buffers` are exact and may be empty on
    platforms where only the log can be read; `caches`, `compute` and `output_bytes` are the log's, to 0.01 MiB.
    """

    model_id: str
    quant: str
    workload: Workload
    tensor_bytes: int
    n_params: int
    caches: tuple[CacheSize, ...]
    compute: tuple[tuple[str, int], ...]
    output_bytes: int
    buffers: tuple[BufferUse, ...]
    log: tuple[str, ...]

    @property
    def weight_bytes(self) -> int:
        """Weights in memory: exact where buffers are known (a tied head may be held twice), else the file's."""
        return sum(b.weight_bytes for b in self.buffers) if self.buffers else self.tensor_bytes

    @property
    def cache_bytes(self) -> int:
        """All caches and recurrent states together: exact where buffers are known, else the log's."""
        return sum(b.cache_bytes for b in self.buffers) if self.buffers else sum(c.n_bytes for c in self.caches)

    @property
    def kv_cache_bytes(self) -> int:
        """Keys and values: all caches less the recurrent states as logged."""
        return self.cache_bytes - self.recurrent_state_bytes

    @property
    def recurrent_state_bytes(self) -> int:
        """Recurrent states, as logged to 0.01 MiB; exact where there is no other cache."""
        logged = sum(c.n_bytes for c in self.caches if c.kind == "recurrent")
        return self.cache_bytes if logged and all(c.kind == "recurrent" for c in self.caches) else logged

    def find_recurrent_bytes(self, device: str) -> int:
        """Recurrent states on the device whose buffers' names hold `device`, as logged to 0.01 MiB."""
        found = (_STATE_OF.search(line) for line in self.log)
        return sum(_to_bytes(f[2]) for f in found if f and device in f[1])

    @property
    def compute_bytes(self) -> int:
        """Compute buffers of all devices: exact where buffers are known, else the log's."""
        return sum(b.compute_bytes for b in self.buffers) if self.buffers else sum(n for _, n in self.compute)


class EngineChild:
    """A child process with llama.cpp in it, restarted after a death. Use as a context manager.

    `command` starts the child; only tests give another.
    """

    def __init__(self, command: Sequence[str] = CHILD_COMMAND) -> None:
        self.command = tuple(command)
        self.folder = tempfile.TemporaryDirectory(prefix="weightless-")
        self.engine_s = 0.0  # seconds llama.cpp worked on all answers so far
        self.endpoints: tuple[str, ...] = ()  # devices served elsewhere, given to every child that is started
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._errors = b""

    def __enter__(self) -> EngineChild:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the child and remove its files."""
        self._stop()
        self.folder.cleanup()

    def path(self, name: str) -> Path:
        """A file in the child's own temporary folder."""
        return Path(self.folder.name) / name

    @property
    def pid(self) -> int | None:
        """The child's process id; None while none runs."""
        return None if self._process is None else self._process.pid

    def ask(self, question: dict[str, Any], timeout_s: float = DEFAULT_TIMEOUT_S) -> dict[str, Any] | DryRunFailure:
        """One question and its answer, or why there is none. The child is started when it is not running."""
        if self._process is None:
            self._start()
            if self.endpoints and question["kind"] != "devices":
                given = self.ask({"kind": "devices", "endpoints": list(self.endpoints)}, timeout_s)
                if isinstance(given, DryRunFailure):
                    return given
        process = self._process
        assert process is not None and process.stdin is not None
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._describe_death()
        deadline = time.monotonic() + timeout_s
        while True:
            line = self._read_line(deadline)
            if isinstance(line, DryRunFailure):
                return line
            reply = json.loads(line)
            if "started" not in reply:
                self.engine_s += reply.get("engine_s", 0.0)
                return self._judge(reply)

    def _judge(self, reply: dict[str, Any]) -> dict[str, Any] | DryRunFailure:
        if "missing" in reply:
            return DryRunFailure(
                FailureReason.MISSING_ENGINE,
                f"llama.cpp cannot be loaded ({reply['missing']}); compile it with: make engine",
            )
        if "refused" in reply:
            return describe_refusal(str(reply["refused"]))
        answer: dict[str, Any] = reply["ok"]
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "GGML_NO_BACKTRACE": "1"}
        self._unread = self._errors = b""
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # a question the child never read
                    stream.close()

    def _read_line(self, deadline: float) -> bytes | DryRunFailure:
        """One line of the child's answer, while its error stream is drained beside it."""
        assert self._process is not None and self._process.stdout is not None and self._process.stderr is not None
        out, err = self._process.stdout.fileno(), self._process.stderr.fileno()
        watched = [out, err]
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            ready = select.select(watched, [], [], max(left, 0))[0] if left > 0 else []
            if not ready:
                self._stop()
                return DryRunFailure(
                    FailureReason.TIMED_OUT,
                    "llama.cpp did not answer within the time allowed, its process was ended",
                )
            if err in ready:
                chunk = os.read(err, 1 << 16)
                self._errors = (self._errors + chunk)[-8192:]
                if not chunk:
                    watched.remove(err)
            if out in ready:
                chunk = os.read(out, 1 << 20)
                if not chunk:
                    return self._describe_death()
                self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _describe_death(self) -> DryRunFailure:
        """The child is gone: by what signal, and what it said last."""
        assert self._process is not None and self._process.stderr is not None
        self._process.wait()
        self._errors += self._process.stderr.read()
        code = self._process.returncode
        text = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in self._errors.decode("utf-8", "replace"))
        said = tuple(line for line in text.splitlines() if line.strip())
        self._stop()
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        # an assertion names the file it was compiled from, whose folder says nothing here
        said = tuple(re.sub(r"(?:/[^\s/:]+)+/", "", line) for line in said)
        last = next((line for line in said if "ASSERT" in line or "rror" in line), said[-1] if said else "")
        return DryRunFailure(FailureReason.ABORTED, f"llama.cpp ended with {how}{': ' + last if last else ''}", said)


_UNKNOWN = re.compile(r"unknown model architecture: '([^']*)'")


def describe_refusal(log: str) -> DryRunFailure:
    """A refusal as a value: its reason is the log's first error line."""
    lines = tuple(line for line in log.splitlines() if line.strip())
    unknown = _UNKNOWN.search(log)
    if unknown:
        return DryRunFailure(
            FailureReason.UNKNOWN_ARCHITECTURE,
            f"the installed llama.cpp does not know the architecture {unknown[1]!r}",
            lines[-20:],
        )
    errors = [line for line in lines if "rror" in line or "failed" in line or "invalid" in line]
    first = errors[0] if errors else lines[-1] if lines else "no reason given"
    return DryRunFailure(FailureReason.REFUSED, f"llama.cpp refused the model: {first}", lines[-20:])


def explain_unsupported(
    spec: ModelSpec, error: UnsupportedError, engine: EngineChild, timeout_s: float
) -> DryRunFailure:
    """Why a model without a tensor table cannot be asked about: llama.cpp lacks its architecture, or only we do.

    llama.cpp is handed a file with nothing but the architecture's name: it either does not know the name, or misses
    the first key.
    """
    path = engine.path("name.gguf")
    write_gguf_header(path, [("general.architecture", spec.architecture)], ())
    reply = engine.ask({"kind": "load", "path": str(path), "contexts": []}, timeout_s)
    path.unlink(missing_ok=True)
    if isinstance(reply, DryRunFailure) and reply.reason is not FailureReason.REFUSED:
        return reply
    return DryRunFailure(FailureReason.NO_TENSOR_TABLE, str(error))


def ask_tensor_types(
    spec: ModelSpec,
    quants: Sequence[Quant],
    engine: EngineChild,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    with_imatrix: bool = False,
) -> dict[str, dict[str, str]] | DryRunFailure:
    """The GGML type llama.cpp gives every tensor: by quant name, then by tensor name.

    Quants that ask for an importance matrix are answered as if there were one, for they cannot be made without; all
    others as if there were none, which is llama-quantize's default, unless `with_imatrix`. F16 and BF16 are what the
    converter writes, which keeps some matrices in f32 (`is_kept_f32`).
    """
    path = engine.path("base.gguf")
    try:
        write_weightless_gguf(spec, path)
    except UnsupportedError as error:
        return explain_unsupported(spec, error, engine, timeout_s)
    ftypes = [[q.ftype, q.wants_imatrix or with_imatrix] for q in quants]
    reply = engine.ask({"kind": "types", "path": str(path), "ftypes": ftypes}, timeout_s)
    path.unlink(missing_ok=True)
    if isinstance(reply, DryRunFailure):
        return reply
    native = dict(list_native_types(spec))
    kept = {t.name: "f32" for t in list_tensors(spec) if is_kept_f32(t)}
    return {q.name: {**reply["types"][str(q.ftype)], **(kept if q.family == "float" else {}), **native} for q in quants}


def ask_dry_runs(
    spec: ModelSpec,
    quant: str | Quant,
    workloads: Sequence[Workload],
    engine: EngineChild,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    offload: Offload | None = None,
    types: Mapping[str, str] | None = None,
) -> tuple[DryRun | DryRunFailure, ...]:
    """Sizes of one model in one quantization under several workloads, in order.

    `offload` None keeps everything on the host; otherwise layers go to the devices the child was given
    (`evals.imagined`), all layers where it names no number. All workloads share one load. When llama.cpp dies on one of
    them, they are asked again one at a time, so that only the deadly one is lost.

    `types` is a file's own mix, GGML type by tensor name (`catalog.gguf_spec.HeaderReading.types`): it is asked about
    instead of a recipe, and `quant` is what it goes by. Raises UnknownNameError for an unknown quant without `types`,
    BadInputError for a GGML type that cannot be written.
    """
    if types is None:
        chosen = find_quant(quant) if isinstance(quant, str) else quant
        answer = _ask_recipe(spec, chosen, engine, timeout_s)
        if isinstance(answer, DryRunFailure):
            return (answer,) * len(workloads)
        label, types = chosen.name, answer
    else:
        label = quant if isinstance(quant, str) else quant.name
    path = engine.path("asked.gguf")
    try:
        write_weightless_gguf(spec, path, types)
    except UnsupportedError as error:
        return (explain_unsupported(spec, error, engine, timeout_s),) * len(workloads)
    try:
        return _ask_contexts(spec, label, workloads, path, engine, timeout_s, offload or Offload(gpu_layers=0))
    finally:
        path.unlink(missing_ok=True)


def _ask_recipe(
    spec: ModelSpec, quant: Quant, engine: EngineChild, timeout_s: float
) -> Mapping[str, str] | DryRunFailure:
    """The types of a recipe's tensors; none are named for F16, which the writer writes by itself."""
    if quant.name == "F16":
        return {}
    answer = ask_tensor_types(spec, [quant], engine, timeout_s)
    return answer if isinstance(answer, DryRunFailure) else answer[quant.name]


def _ask_contexts(
    spec: ModelSpec,
    quant: str,
    workloads: Sequence[Workload],
    path: Path,
    engine: EngineChild,
    timeout_s: float,
    offload: Offload,
) -> tuple[DryRun | DryRunFailure, ...]:
    question = {
        "kind": "load",
        "path": str(path),
        "contexts": [list_context_params(w) for w in workloads],
        "n_gpu_layers": spec.n_layers + 1 if offload.gpu_layers is None else offload.gpu_layers,
        "tensor_split": list(offload.tensor_split or ()),
        "expert_layers": sorted({*range(min(offload.cpu_moe or 0, spec.n_layers)), *offload.expert_layers}),
    }
    reply = engine.ask(question, timeout_s)
    if isinstance(reply, DryRunFailure):
        if len(workloads) == 1 or reply.reason not in (FailureReason.ABORTED, FailureReason.TIMED_OUT):
            return (reply,) * len(workloads)
        return tuple(a for w in workloads for a in _ask_contexts(spec, quant, [w], path, engine, timeout_s, offload))
    return tuple(
        read_context(spec, quant, workload, reply, part)
        for workload, part in zip(workloads, reply["contexts"], strict=True)
    )


def ask_dry_run(
    spec: ModelSpec,
    quant: str | Quant,
    workload: Workload,
    engine: EngineChild | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    types: Mapping[str, str] | None = None,
) -> DryRun | DryRunFailure:
    """Sizes of one model in one quantization under one workload, or why llama.cpp gave none.

    Starts a child of its own unless `engine` is given. `types` and errors are those of `ask_dry_runs`.
    """
    if engine is None:
        with EngineChild() as own:
            return ask_dry_run(spec, quant, workload, own, timeout_s, types)
    return ask_dry_runs(spec, quant, [workload], engine, timeout_s, types=types)[0]


def list_context_params(workload: Workload) -> dict[str, Any]:
    """A workload in the words of llama_context_params."""
    return {
        "n_ctx": workload.n_ctx_tokens,
        "n_batch": workload.n_batch,
        "n_ubatch": workload.n_ubatch,
        "n_seq_max": workload.n_parallel,
        "swa_full": workload.swa_full,
        "kv_unified": workload.kv_unified,
        "type_k": workload.kv_type_k,
        "type_v": workload.kv_type_v,
        "flash_attention": workload.flash_attention,
    }


_NUMBER = r"([\d.]+) MiB"
_CACHE = re.compile(rf"size = +{_NUMBER} \( *(\d+) cells, +(\d+) layers,[^)]*\),? *(.*)")
_STATE = re.compile(rf": (\w+) ratio = .* layers = (\d+), size = +{_NUMBER}")
_PART = re.compile(rf"([A-Z]) \((\w+)\): +{_NUMBER}")
_COMPUTE = re.compile(rf"(\S+) compute buffer size = +{_NUMBER}")
_STATE_OF = re.compile(rf"(\S+) RS buffer size = +{_NUMBER}")
_OUTPUT = re.compile(rf"output buffer size = +{_NUMBER}")


def _to_bytes(mib: str) -> int:
    return round(float(mib) * MIB)


def read_caches(log: str) -> tuple[CacheSize, ...]:
    """The caches a log names, in its order (llama-kv-cache.cpp, llama-memory-recurrent.cpp, `size = ...`)."""
    caches = []
    for line in log.splitlines():
        found = _CACHE.search(line)
        state = _STATE.search(line)
        if found:
            parts = tuple((label, kind, _to_bytes(mib)) for label, kind, mib in _PART.findall(found[4]))
            kind = "recurrent" if any(label == "R" for label, _, _ in parts) else "kv"
            caches.append(CacheSize(kind, int(found[2]), int(found[3]), _to_bytes(found[1]), parts))
        elif state:
            caches.append(CacheSize("recurrent", 1, int(state[2]), _to_bytes(state[3]), ()))
    return tuple(caches)


def read_context(
    spec: ModelSpec, quant: str, workload: Workload, reply: dict[str, Any], part: dict[str, Any]
) -> DryRun | DryRunFailure:
    """One context's sizes out of the child's answer."""
    if "refused" in part:
        return describe_refusal(part["refused"])
    log: str = part["log"]
    breakdown: dict[str, list[int]] = part["breakdown"] or {}
    return DryRun(
        model_id=spec.model_id,
        quant=quant,
        workload=workload,
        tensor_bytes=reply["model_bytes"],
        n_params=reply["n_params"],
        caches=read_caches(log),
        compute=tuple((device, _to_bytes(mib)) for device, mib in _COMPUTE.findall(log)),
        output_bytes=sum(_to_bytes(mib) for mib in _OUTPUT.findall(log)),
        buffers=tuple(BufferUse(name, *sizes) for name, sizes in breakdown.items()),
        log=tuple(line for line in log.splitlines() if ": layer " not in line),
    )

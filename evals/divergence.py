"""What a quantization does to a model, measured on a text: perplexity, KL divergence, top-token agreement.

Both files are opened in one child process (`evals.divergence_child`) and read the same text window by window; each
window's sums come back small, are told at once and can be kept, so a run goes on from the windows it has. Memory is
that of two models, two contexts of one window and a step's logits, whatever the length of the text.
`find_needed_bytes` says how much the files take; the caller compares it with what is free, or gives `memory_bytes` and
has it refused here.

As llama.cpp's own `llama-perplexity` does, the text is cut into windows of `context_tokens`, each read alone; where the
vocabulary begins a text with a token of its own, that takes the first place of each window; the first half of a window
is read but not scored, so every scored token has half a window before it at least. What differs:

- Logits are compared as the float32 they come as; llama.cpp's file of the reference's rounds them to 16 bits. So a
  model against itself diverges by exactly nothing here.
- Standard errors take windows, not tokens, as what varies: tokens of one window err together. They are larger.
- The text is made into tokens in pieces of 64 KiB cut at line ends, not at once. A tokenizer that puts a space before
  a text does so before each piece.
- Two whole windows suffice, and the text's end that fills no window is left out; so it is there.
- Quantiles of the divergence are known to 2%, from a sketch.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from evals.divergence_result import DivergenceResult, DivergenceSetting, WindowResult, sum_up
from evals.dry_run import DryRunFailure, EngineChild
from sizing.errors import BadInputError
from sizing.quants import find_kv_type
from sizing.split_names import read_split_name
from sizing.units import GIB, MIB

CHILD_COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("divergence_child.py")))
DRIVER_COMMAND = (*CHILD_COMMAND, "--drivers")

TEXT_LIMIT_BYTES = 64 * MIB
"""The longest text taken: some 16 million tokens, days of reading for a large model."""

LEAST_CONTEXT_TOKENS = 32
LEAST_WINDOWS = 2
"""One window has no standard error."""

OPEN_TIMEOUT_S = 1800.0
WINDOW_TIMEOUT_S = 3600.0
"""How long one answer may take before the child is ended."""

OVERHEAD_BYTES = GIB // 2
"""Two contexts of one window, a step's logits and the process itself, for models up to about 8B."""


class DivergenceReason(StrEnum):
    """Why there are no figures, or no more of them."""

    NO_FILE = "no file"
    NOT_UTF8 = "not UTF-8"
    TOO_LONG = "text too long"
    TOO_SHORT = "text too short"
    NO_ROOM = "no room"
    VOCABULARY = "vocabulary"
    CONTEXT = "context"
    NOT_FINITE = "not finite"
    CHANGED = "changed"
    ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class DivergenceFailure:
    """No figures: why, in one line a person can act on, the windows measured before, and the engine's last words."""

    reason: DivergenceReason
    message: str
    windows: tuple[WindowResult, ...] = ()
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DivergencePlan:
    """How to measure.

    `max_tokens` ends after that many tokens of text (those read, of which half are scored), `max_seconds` before a
    window that would likely run over; at least one window is measured. `n_threads` None takes every core this process
    may use. `parse_special` reads '<|...|>' in the text as the model's own tokens, for a text that is a chat in the
    model's format. The candidate's cache may be kept in another type, which measures that loss too. `memory_bytes` is
    what both models may take; None asks nothing.

    Raises BadInputError for numbers out of range, UnknownNameError for a cache type nobody knows.
    """

    context_tokens: int = 512
    max_tokens: int | None = None
    max_seconds: float | None = None
    n_threads: int | None = None
    n_gpu_layers: int = 0
    parse_special: bool = False
    candidate_kv_type_k: str = "f16"
    candidate_kv_type_v: str = "f16"
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        least = LEAST_WINDOWS * self.context_tokens
        if self.context_tokens < LEAST_CONTEXT_TOKENS:
            raise BadInputError(f"a window wants {LEAST_CONTEXT_TOKENS} tokens or more, got {self.context_tokens!r}")
        if self.max_tokens is not None and self.max_tokens < least:
            raise BadInputError(f"max_tokens wants two windows, {least} tokens or more, got {self.max_tokens!r}")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise BadInputError(f"max_seconds wants a number above 0, got {self.max_seconds!r}")
        if self.n_threads is not None and self.n_threads < 1:
            raise BadInputError(f"n_threads wants 1 or more, got {self.n_threads!r}")
        find_kv_type(self.candidate_kv_type_k)
        find_kv_type(self.candidate_kv_type_v)

    @property
    def max_windows(self) -> int | None:
        """Windows that `max_tokens` allows."""
        return None if self.max_tokens is None else self.max_tokens // self.context_tokens


@dataclass(frozen=True, slots=True)
class TextFacts:
    """A text's bytes and their hash."""

    n_bytes: int
    sha256: str


class _Stop(Exception):
    """The way out with a failure."""

    def __init__(self, failure: DivergenceFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def measure_divergence(
    reference: Path,
    candidate: Path,
    text: Path | str,
    plan: DivergencePlan | None = None,
    on_window: Callable[[WindowResult], None] | None = None,
    done: Sequence[WindowResult] = (),
    command: Sequence[str] | None = None,
) -> DivergenceResult | DivergenceFailure:
    """Read `text` (a file's path, or the text itself) with both models and sum up how they differ.

    `on_window` is told each window as it is measured; what it raises ends the measurement, child included. `done` are
    windows of an earlier run on the same files and text: they are passed over and count, after their tokens were seen
    to be the same. A death of the child, a refusal and an unfit text are a `DivergenceFailure`, which keeps the windows
    measured. Only tests give another `command` to start the child.
    """
    plan = plan or DivergencePlan()
    windows = {w.index: w for w in done}
    with EngineChild(command or (DRIVER_COMMAND if plan.n_gpu_layers else CHILD_COMMAND)) as child:
        try:
            check_files(reference, candidate, plan)
            if isinstance(text, str):
                path = child.path("text.txt")
                path.write_bytes(text.encode("utf-8", "surrogatepass"))
            else:
                path = text
            facts = check_text(path)
            opened = _ask(child, list_open_params(reference, candidate, plan), OPEN_TIMEOUT_S)
            _ask(child, {"kind": "text", "path": str(path), "parse_special": plan.parse_special}, OPEN_TIMEOUT_S)
            ended = _measure_windows(child, plan, windows, on_window or (lambda window: None))
            peak_bytes = int(_ask(child, {"kind": "memory"}, OPEN_TIMEOUT_S)["peak"])
        except _Stop as stop:
            return replace(stop.failure, windows=tuple(windows[i] for i in sorted(windows)))
    setting = DivergenceSetting(
        text_sha256=facts.sha256,
        text_bytes=facts.n_bytes,
        context_tokens=plan.context_tokens,
        n_vocab=opened["n_vocab"],
        n_threads=_count_threads(plan),
        n_gpu_layers=plan.n_gpu_layers,
        candidate_kv_type_k=plan.candidate_kv_type_k,
        candidate_kv_type_v=plan.candidate_kv_type_v,
        reference_description=opened["reference"],
        candidate_description=opened["candidate"],
        reference_bytes=count_file_bytes(reference),
        candidate_bytes=count_file_bytes(candidate),
        llama_cpp_version=opened["llama_cpp_python"],
        peak_bytes=peak_bytes,
        ended=ended,
    )
    return replace(sum_up(tuple(windows.values())), setting=setting)


def _measure_windows(
    child: EngineChild,
    plan: DivergencePlan,
    windows: dict[int, WindowResult],
    on_window: Callable[[WindowResult], None],
) -> str:
    """Fill `windows` in the order of the text; says what ended it."""
    started, longest, n_new, index = time.monotonic(), 0.0, 0, -1
    while True:
        index += 1
        if plan.max_windows is not None and index >= plan.max_windows:
            return "max_tokens"
        compute = index not in windows
        elapsed = time.monotonic() - started
        if compute and n_new and plan.max_seconds is not None and elapsed + longest > plan.max_seconds:
            return "max_seconds"
        reply = _ask(child, {"kind": "window", "compute": compute}, WINDOW_TIMEOUT_S)
        if "end" in reply:
            _check_enough(index, plan)
            return "text"
        if not compute:
            _check_same(windows[index], reply["tokens_hash"])
            continue
        window = _read_reply(index, reply)
        windows[index], n_new, longest = window, n_new + 1, max(longest, window.seconds)
        on_window(window)


def _read_reply(index: int, reply: dict[str, Any]) -> WindowResult:
    bins = tuple((int(number), int(count)) for number, count in reply["kl_bins"])
    return WindowResult(index=index, **{**reply, "kl_bins": bins})


def _check_enough(n_windows: int, plan: DivergencePlan) -> None:
    if n_windows < LEAST_WINDOWS:
        raise _Stop(
            DivergenceFailure(
                DivergenceReason.TOO_SHORT,
                f"the text has {n_windows} whole windows of {plan.context_tokens} tokens, {LEAST_WINDOWS} are needed; "
                "give a longer text or a smaller context_tokens",
            )
        )


def _check_same(window: WindowResult, tokens_hash: str) -> None:
    if window.tokens_hash != tokens_hash:
        raise _Stop(
            DivergenceFailure(
                DivergenceReason.CHANGED,
                f"window {window.index} of the earlier run held other tokens: the text, the windows or the models "
                "changed; begin a new run",
            )
        )


def _ask(child: EngineChild, question: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    reply = child.ask(question, timeout_s)
    if isinstance(reply, DryRunFailure):
        raise _Stop(DivergenceFailure(DivergenceReason.ENGINE, f"{reply.reason}: {reply.message}", log=reply.log))
    if "problem" in reply:
        raise _Stop(DivergenceFailure(DivergenceReason(reply["problem"]), reply["message"]))
    return reply


def list_open_params(reference: Path, candidate: Path, plan: DivergencePlan) -> dict[str, Any]:
    """The child's first question."""
    return {
        "kind": "open",
        "reference": str(reference.resolve()),
        "candidate": str(candidate.resolve()),
        "context_tokens": plan.context_tokens,
        "n_threads": _count_threads(plan),
        "n_gpu_layers": plan.n_gpu_layers,
        "kv_type_k": plan.candidate_kv_type_k,
        "kv_type_v": plan.candidate_kv_type_v,
    }


def _count_threads(plan: DivergencePlan) -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return plan.n_threads or allowed


def check_text(path: Path) -> TextFacts:
    """Size and hash of a text, read once in pieces. A missing, too long or not UTF-8 text stops the measurement."""
    if not path.is_file():
        raise _Stop(DivergenceFailure(DivergenceReason.NO_FILE, f"no text file at {path.name!r}"))
    n_bytes = path.stat().st_size
    if n_bytes > TEXT_LIMIT_BYTES:
        said = f"the text has {n_bytes / MIB:.0f} MiB, at most {TEXT_LIMIT_BYTES // MIB} are taken; cut it"
        raise _Stop(DivergenceFailure(DivergenceReason.TOO_LONG, said))
    seen, decoder, at = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
        while True:
            chunk = file.read(MIB)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                wrong = f"byte {at - len(decoder.getstate()[0]) + error.start:,}: {error.reason}"
                said = f"{path.name!r} is not UTF-8 text ({wrong}); save it as UTF-8"
                raise _Stop(DivergenceFailure(DivergenceReason.NOT_UTF8, said)) from None
            if not chunk:
                return TextFacts(n_bytes, seen.hexdigest())
            seen.update(chunk)
            at += len(chunk)


def check_files(reference: Path, candidate: Path, plan: DivergencePlan) -> None:
    """Both files are there and have room; else the measurement stops."""
    for name, path in (("reference", reference), ("candidate", candidate)):
        if not path.is_file():
            raise _Stop(DivergenceFailure(DivergenceReason.NO_FILE, f"the {name} is no file: {str(path)!r}"))
    needed = find_needed_bytes(reference, candidate)
    if plan.memory_bytes is not None and needed > plan.memory_bytes:
        said = (
            f"both models at once want {needed / GIB:.1f} GiB, {plan.memory_bytes / GIB:.1f} GiB are free; "
            "take a smaller reference, such as Q8_0 instead of F16"
        )
        raise _Stop(DivergenceFailure(DivergenceReason.NO_ROOM, said))


def count_file_bytes(path: Path) -> int:
    """Bytes of a model's file; of all its parts where it is the first of several."""
    found = read_split_name(path.name)
    parts = [path.with_name(found.name_part(i)) for i in range(1, found.total + 1)] if found else [path]
    return sum(part.stat().st_size for part in parts if part.is_file())


def find_needed_bytes(reference: Path, candidate: Path) -> int:
    """Memory that both models want to be in at once: their files and half a GiB for contexts and logits.

    Files are mapped: with less memory it still runs, but reads the disk for every window. llama.cpp's second, reordered
    copy of some weights for the processor is private memory, but its pages of the file are then not read again.
    """
    files = {reference.resolve(): count_file_bytes(reference), candidate.resolve(): count_file_bytes(candidate)}
    return sum(files.values()) + OVERHEAD_BYTES

"""Run a stranger's Python function on test cases, in a child that can compute and nothing else.

The right values stay in this process: the child is told the arguments, answers with values, and the comparison is made
here. So a solution that patches the harness, prints a success marker or exits early gains nothing. What the child may
do is written in `evals/sandbox_child.py`. Linux on x86_64 and aarch64 only; elsewhere the result says so.
"""

from __future__ import annotations

import json
import math
import os
import platform
import selectors
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHILD = Path(__file__).with_name("sandbox_child.py")
MACHINES = ("x86_64", "aarch64")
RELATIVE_TOLERANCE = 1e-9
"""Floats from a child count as equal within this: the order of additions may differ."""


@dataclass(frozen=True, slots=True)
class Case:
    """One call of the function, as JSON values: its arguments and the value it must return."""

    arguments: tuple[Any, ...]
    expected: Any


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one run: seconds by the clock, whole seconds of processor, bytes of address space and of answers."""

    wall_s: float = 10.0
    cpu_s: int = 5
    memory_bytes: int = 512 * 2**20
    output_bytes: int = 2**20


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """How one solution did. `kind` is "passed", "failed", "broken" (it cannot be loaded), "timeout", "memory",
    "output" (it wrote too much), "crashed" or "refused" (nothing ran, the reason says why)."""

    n_passed: int
    n_cases: int
    kind: str
    reason: str


def find_sandbox_obstacle() -> str:
    """Why code cannot be run safely on this machine; empty where it can."""
    if sys.platform != "linux":
        return f"running code needs the sandbox, which is made for Linux; this is {platform.system()}"
    if platform.machine() not in MACHINES:
        return f"running code needs the sandbox, which knows {' and '.join(MACHINES)}; this is {platform.machine()}"
    return ""


def list_readable_folders() -> list[str]:
    """The standard library's folders, all that a solution may read."""
    paths = sysconfig.get_paths()
    folders = (paths["stdlib"], paths["platstdlib"])
    return sorted({str(Path(folder).resolve()) for folder in folders if Path(folder).is_dir()})


def run_cases(
    source: str, entry: str, cases: Sequence[Case], limits: Limits | None = None, with_landlock: bool = True
) -> SandboxResult:
    """Run the function `entry` of `source` on every case.

    `with_landlock` False leaves Landlock out even where the kernel has it; opening files is then forbidden altogether.
    Never raises for what the solution does. A value is right when it is the same JSON value; a tuple counts as a list,
    2.0 as 2, true never as 1.
    """
    if obstacle := find_sandbox_obstacle():
        return SandboxResult(0, len(cases), "refused", obstacle)
    bounds = limits or Limits()
    job = {
        "source": source,
        "entry": entry,
        "calls": [list(case.arguments) for case in cases],
        "memory_bytes": bounds.memory_bytes,
        "cpu_s": bounds.cpu_s,
        "readable": list_readable_folders(),
        "with_landlock": with_landlock,
    }
    with tempfile.TemporaryDirectory(prefix="weighbridge-code-") as folder:
        output, ended = run_child(json.dumps(job).encode(), folder, bounds)
    return judge_lines(read_lines(output), cases, ended)


def run_child(job: bytes, folder: str, limits: Limits) -> tuple[bytes, str]:
    """What the child wrote, and how it ended: "" for well, else "timeout", "output" or "signal N"."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", str(CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={},
        start_new_session=True,
    )
    try:
        output, ended = exchange(child, job, limits)
        if not ended:
            child.wait(timeout=limits.wall_s)
    except subprocess.TimeoutExpired:
        ended = "timeout"
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
    if not ended and child.returncode < 0:
        number = -child.returncode
        ended = "timeout" if number in (signal.SIGXCPU, signal.SIGKILL) else f"signal {number}"
    return output, ended


def exchange(child: subprocess.Popen[bytes], job: bytes, limits: Limits) -> tuple[bytes, str]:
    """Hand the job over and read until the child closes its output, the clock runs out or it has said too much."""
    assert child.stdin is not None and child.stdout is not None  # both were asked for as pipes
    deadline = time.monotonic() + limits.wall_s
    os.set_blocking(child.stdin.fileno(), False)
    output, n_sent = bytearray(), 0
    with selectors.DefaultSelector() as waiting:
        waiting.register(child.stdin, selectors.EVENT_WRITE)
        waiting.register(child.stdout, selectors.EVENT_READ)
        while True:
            ready = waiting.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                return bytes(output), "timeout"
            for key, _ in ready:
                if key.fileobj is child.stdin:
                    n_sent = send_some(child, job, n_sent)
                    if n_sent == len(job):
                        waiting.unregister(child.stdin)
                        child.stdin.close()
                    continue
                data = os.read(child.stdout.fileno(), 65_536)
                output += data
                if not data:
                    return bytes(output), ""
                if len(output) > limits.output_bytes:
                    return bytes(output[: limits.output_bytes]), "output"


def send_some(child: subprocess.Popen[bytes], job: bytes, n_sent: int) -> int:
    """The bytes of the job sent so far, after one more write; all of them where the child no longer listens."""
    assert child.stdin is not None
    try:
        return n_sent + os.write(child.stdin.fileno(), job[n_sent : n_sent + 65_536])
    except BrokenPipeError:
        return len(job)


def read_lines(output: bytes) -> list[dict[str, Any]]:
    """The child's lines up to the first that is not one of its own kind."""
    lines: list[dict[str, Any]] = []
    for raw in output.split(b"\n")[:-1]:
        try:
            line = json.loads(raw)
        except (ValueError, RecursionError):
            break
        if not isinstance(line, dict):
            break
        lines.append(line)
    return lines


def judge_lines(lines: Sequence[dict[str, Any]], cases: Sequence[Case], ended: str) -> SandboxResult:
    """Compare the values told with those expected, and say in one sentence what went wrong first."""
    first = lines[0] if lines else {}
    if "locked" not in first:
        reason = str(first.get("refused", f"the child did not start ({ended or 'it said nothing'})"))
        return SandboxResult(0, len(cases), "refused", f"nothing was run: {reason[:300]}")
    answers = lines[1 : len(cases) + 1]
    if answers and "broken" in answers[0]:
        return SandboxResult(0, len(cases), "broken", f"the code cannot be loaded: {str(answers[0]['broken'])[:200]}")
    n_passed, complaint, kind = 0, "", "failed"
    for case, answer in zip(cases, answers):
        if "value" in answer and are_equal(answer["value"], case.expected):
            n_passed += 1
        elif not complaint:
            complaint = describe_failure(case, answer)
            kind = "memory" if str(answer.get("error", "")).startswith("MemoryError") else "failed"
    if ended and len(answers) < len(cases):
        kind, complaint = describe_end(ended)
    elif len(answers) < len(cases) and not complaint:
        complaint = "the code ended the process before all tests were run"
    if n_passed == len(cases) and not complaint:
        return SandboxResult(n_passed, len(cases), "passed", "")
    return SandboxResult(n_passed, len(cases), kind, complaint)


def describe_end(ended: str) -> tuple[str, str]:
    """Kind and sentence for a child that did not end by itself."""
    if ended == "timeout":
        return "timeout", "it ran past its time limit"
    if ended == "output":
        return "output", "it wrote more than it may"
    return "crashed", f"the process crashed ({ended})"


def describe_failure(case: Case, answer: dict[str, Any]) -> str:
    """One failed case as a sentence."""
    called = ", ".join(repr(a) for a in case.arguments)[:120]
    if "value" in answer:
        return f"for ({called}) it gave {repr(answer['value'])[:80]}, expected {repr(case.expected)[:80]}"
    return f"for ({called}) it raised {str(answer.get('error', 'nothing readable'))[:120]}"


def are_equal(got: Any, expected: Any) -> bool:
    """Whether two JSON values are the same; floats within `RELATIVE_TOLERANCE`, NaN equal to nothing."""
    if isinstance(got, bool) or isinstance(expected, bool):
        return got is expected
    if isinstance(got, int | float) and isinstance(expected, int | float):
        if isinstance(got, int) and isinstance(expected, int):
            return got == expected
        try:
            return math.isclose(got, expected, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-12)
        except OverflowError:
            return False
    if isinstance(got, list) and isinstance(expected, list):
        return len(got) == len(expected) and all(are_equal(a, b) for a, b in zip(got, expected))
    if isinstance(got, dict) and isinstance(expected, dict):
        return got.keys() == expected.keys() and all(are_equal(got[key], expected[key]) for key in got)
    return type(got) is type(expected) and bool(got == expected)

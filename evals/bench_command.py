"""`python -m evals bench`: the command line of `evals.bench`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evals.bench import measure_file, measure_ghost
from evals.bench_result import BenchRefusal, BenchResult, append_result
from evals.bench_room import DEPTHS_TOKENS, BenchPlan
from evals.home import find_home
from sizing.command_line import EXIT_DONE, print_json
from sizing.errors import BadInputError, EngineError
from sizing.hardware import Machine
from sizing.specs import ModelSpec
from sizing.units import format_bytes, format_figures, format_range, format_tokens


def add_bench_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare `bench` and its options."""
    bench = commands.add_parser("bench", help="how fast a model runs here: without a download, or a file you have")
    bench.add_argument("--model", help="Hugging Face id, its last part, or the display name")
    bench.add_argument("--quant", help="quantization, for instance Q4_K_M")
    what = bench.add_mutually_exclusive_group(required=True)
    what.add_argument("--ghost", action="store_true", help="run a file of the model's shape, without its weights")
    what.add_argument("--file", type=Path, help="run this GGUF file; --model and --quant say what it is")
    bench.add_argument("--depths", default=",".join(map(str, DEPTHS_TOKENS)), help="depths to decode at, in tokens")
    bench.add_argument("--repetitions", type=int, default=5, help="of each measurement, at most; default 5")
    bench.add_argument("--max-seconds", type=float, help="time for everything together; default 120")
    bench.add_argument("--minutes", type=float, help="the same in minutes")
    bench.add_argument("--threads", type=int, help="default: all physical cores")
    bench.add_argument("--no-keep", action="store_true", help="do not keep the result")
    bench.add_argument("--json", action="store_true", help="print the result as JSON")


def build_plan(arguments: argparse.Namespace) -> BenchPlan:
    """The plan the options ask for. Raises BadInputError for a contradiction or a number out of range."""
    if arguments.max_seconds is not None and arguments.minutes is not None:
        raise BadInputError("--max-seconds and --minutes say the same; give one of them")
    seconds = arguments.max_seconds if arguments.minutes is None else 60 * arguments.minutes
    try:
        depths = tuple(int(part) for part in arguments.depths.split(","))
    except ValueError:
        raise BadInputError(f"--depths wants numbers of tokens such as 0,2048, got {arguments.depths!r}") from None
    return BenchPlan(
        depths_tokens=depths,
        repetitions=arguments.repetitions,
        max_seconds=120.0 if seconds is None else seconds,
        n_threads=arguments.threads,
    )


def run_bench(
    arguments: argparse.Namespace, find_spec: Callable[[str], ModelSpec], detect: Callable[[], Machine]
) -> int:
    """`bench`: time a ghost or a file, keep the result; progress goes to stderr. A refusal is a failure.

    `find_spec` names a model of the catalog, `detect` describes this machine.
    """
    plan = build_plan(arguments)
    if arguments.ghost and not (arguments.model and arguments.quant):
        raise BadInputError("--ghost wants --model and --quant: the shape to write")
    if arguments.file and bool(arguments.model) != bool(arguments.quant):
        raise BadInputError("--file takes --model and --quant together or neither")
    spec = find_spec(arguments.model) if arguments.model else None
    home = find_home()

    def say(said: str) -> None:
        print(said, file=sys.stderr, flush=True)

    if arguments.file:
        answer = measure_file(arguments.file, detect(), home, plan, say, spec, arguments.quant)
    else:
        assert spec is not None
        answer = measure_ghost(spec, arguments.quant, detect(), home, plan, say)
    if isinstance(answer, BenchRefusal):
        if arguments.json:
            print_json({"refused": dataclasses.asdict(answer)})
        raise EngineError(answer.message)
    kept = None if arguments.no_keep else append_result(home, answer)
    if arguments.json:
        print_json(describe(answer) | {"kept_in": None if kept is None else str(kept)})
    else:
        print(format_result(answer))
        if kept is not None:
            print(f"kept in {kept}")
    return EXIT_DONE


def describe(result: BenchResult) -> dict[str, Any]:
    """A result with its derived figures, for JSON."""
    record = dataclasses.asdict(result)
    derived = ("tokens_per_s", "low_tokens_per_s", "high_tokens_per_s", "deviation_tokens_per_s")
    for row, m in zip(record["measurements"], result.measurements, strict=True):
        row |= {name: getattr(m, name) for name in derived}
        row["measured_over_estimated"] = result.find_ratio(m.kind, m.depth_tokens)
    return record


def format_result(result: BenchResult) -> str:
    """A result as lines of text."""
    what = " ".join(part for part in (result.model_id, result.quant) if part)
    threads = "1 thread" if result.n_threads == 1 else f"{result.n_threads} threads"
    lines = [f"{what} ({result.subject}) on {result.host_name}, {threads}, {result.elapsed_s:.0f} s"]
    lines.append(f"{'':22}{'tokens/s':>10}  {'min to max':>18}  {'MAD':>7}  {'times':>5}  estimate")
    for m in result.measurements:
        guess = next((e for e in result.expected if (e.kind, e.depth_tokens) == (m.kind, m.depth_tokens)), None)
        said = format_range(guess.tokens_per_s.low, guess.tokens_per_s.high) if guess else "none"
        what = f"prefill {m.n_tokens}" if m.kind == "prefill" else f"decode at {format_tokens(m.depth_tokens)}"
        spread = format_range(m.low_tokens_per_s, m.high_tokens_per_s)
        lines.append(
            f"{what:22}{format_figures(m.tokens_per_s):>10}  {spread:>18}  "
            f"{format_figures(m.deviation_tokens_per_s):>7}  {len(m.seconds):>5}  {said}"
        )
    for s in result.skipped:
        lines.append(f"{s.kind} at {format_tokens(s.depth_tokens)} skipped: {s.reason}")
    memory = result.memory
    lines.append(
        f"memory: {format_bytes(memory.private_bytes)} private and {format_bytes(memory.mapped_bytes)} of the mapped "
        f"file, at most {format_bytes(memory.peak_bytes)}; {format_bytes(memory.before_bytes)} of it before the model; "
        f"estimate {format_bytes(memory.expected_bytes)}"
    )
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join(lines)

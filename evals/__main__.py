"""`python -m evals weigh|dry-run|check`: what llama.cpp itself says, asked without any weights."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from catalog.models import DATA_DIR, ModelCard, load_families
from catalog.queries import all_weights
from catalog.store import open_catalog
from evals.check import QUANTS as CHECKED_QUANTS
from evals.check import Checked, check_models, format_report, report_architectures, write_report
from evals.dry_run import BufferUse, DryRun, DryRunFailure, EngineChild, ask_dry_run
from evals.imagined import open_imagined_machine
from evals.weigh import Weighing, weigh_models, write_weights
from sizing.command_line import EXIT_DONE, EXIT_FAILED, OneLineParser, print_json, run_command
from sizing.errors import BadInputError, EngineError, UnknownNameError
from sizing.placement import Offload
from sizing.quants import KV_TYPES, find_quant
from sizing.units import format_bytes
from sizing.workload import Workload

WEIGHTS_FILE = DATA_DIR / "weights.parquet"


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = OneLineParser(prog="python -m evals", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=OneLineParser)
    weigh = commands.add_parser("weigh", help="exact bytes of every model in every quantization, into a parquet file")
    weigh.add_argument("--model", action="append", default=[], help="only this model; may be repeated")
    weigh.add_argument("--out", type=Path, default=WEIGHTS_FILE, help="the file to write; other models' rows stay")
    weigh.add_argument("--json", action="store_true", help="print the result as JSON")
    dry_run = commands.add_parser("dry-run", help="what llama.cpp would take for one model and workload")
    dry_run.add_argument("--model", required=True, help="Hugging Face id, its last part, or the display name")
    dry_run.add_argument("--quant", required=True, help="quantization, for instance Q4_K_M")
    dry_run.add_argument("--context", type=int, required=True, help="tokens each slot can hold")
    dry_run.add_argument("--parallel", type=int, default=1, help="slots (users at once); default 1")
    dry_run.add_argument("--ubatch", type=int, default=512, help="physical batch in tokens; default 512")
    dry_run.add_argument("--kv-type-k", default="f16", help=f"K cache type, one of {', '.join(KV_TYPES)}")
    dry_run.add_argument("--kv-type-v", default="f16", help="V cache type; default f16")
    dry_run.add_argument("--flash-attention", choices=("on", "off"), default="on")
    dry_run.add_argument("--devices", type=int, default=0, help="imagined accelerators to place layers on; default 0")
    dry_run.add_argument("--gpu-layers", type=int, help="layers on the accelerators, the output counted; default all")
    dry_run.add_argument("--tensor-split", help="share of each accelerator, for instance 3,1")
    dry_run.add_argument("--json", action="store_true", help="print the result as JSON")
    check = commands.add_parser(
        "check", help="hold the formulas to llama.cpp over the whole catalog; 1 when they differ"
    )
    check.add_argument("--model", action="append", default=[], help="only this model; may be repeated")
    check.add_argument("--sample", type=int, help="at most this many models of each architecture")
    check.add_argument("--quant", action="append", default=[], help="only this quantization; may be repeated")
    check.add_argument("--out", type=Path, help="also write the report as CSV")
    check.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def find_cards(cards: Sequence[ModelCard], names: Sequence[str]) -> tuple[ModelCard, ...]:
    """The models called `names` (id, tail of it, or display name, whatever their case); all when none is named.

    Raises UnknownNameError with near names.
    """
    if not names:
        return tuple(cards)
    by_name: dict[str, ModelCard] = {}
    for card in cards:
        for name in (card.model_id, card.model_id.rsplit("/", 1)[-1], card.name):
            by_name.setdefault(name.casefold(), card)
    unknown = next((name for name in names if name.casefold() not in by_name), None)
    if unknown is not None:
        raise UnknownNameError("model", unknown, [card.model_id for card in cards])
    return tuple(dict.fromkeys(by_name[name.casefold()] for name in names))


def find_llama_cpp_version() -> str:
    """The installed llama-cpp-python. Raises EngineError when there is none."""
    try:
        return version("llama-cpp-python")
    except PackageNotFoundError:
        raise EngineError("llama-cpp-python is not installed; compile it with: make engine") from None


def run_weigh(arguments: argparse.Namespace) -> int:
    """`weigh`: weigh models and write the parquet file; progress goes to stderr."""
    started = time.monotonic()
    if not arguments.out.parent.is_dir():
        raise BadInputError(f"--out wants a file in a folder that exists, got {str(arguments.out)!r}")
    cards = find_cards(load_families(), arguments.model)
    llama_cpp_version = find_llama_cpp_version()

    def report(done: int, weighing: Weighing) -> None:
        said = f"not weighed: {weighing.gap}" if weighing.gap else f"{len(weighing.weights)} quantizations"
        print(f"[{done:3}/{len(cards)}] {weighing.model_id}: {said}", file=sys.stderr)

    weighings = weigh_models([card.spec for card in cards], report)
    n_rows = write_weights(arguments.out, weighings, llama_cpp_version, datetime.date.today().isoformat())
    gaps = [w for w in weighings if w.gap is not None]
    elapsed_s = round(time.monotonic() - started, 1)
    if arguments.json:
        print_json(
            {
                "out": str(arguments.out),
                "llama_cpp_version": llama_cpp_version,
                "n_models": len(weighings),
                "n_weighed": len(weighings) - len(gaps),
                "n_rows": n_rows,
                "elapsed_s": elapsed_s,
                "gaps": [{"model": w.model_id, "reason": w.gap} for w in gaps],
            }
        )
    else:
        print(f"{len(weighings) - len(gaps)} of {len(weighings)} models weighed in {elapsed_s} s -> {arguments.out}")
        for w in gaps:
            print(f"  not weighed: {w.model_id}: {w.gap}")
    return EXIT_DONE


def run_dry_run(arguments: argparse.Namespace) -> int:
    """`dry-run`: ask llama.cpp for one configuration. A refusal is a failure of the command."""
    card = find_cards(load_families(), [arguments.model])[0]
    workload = Workload(
        context_tokens=arguments.context,
        n_parallel=arguments.parallel,
        n_ubatch=arguments.ubatch,
        n_batch=max(2048, arguments.ubatch),
        kv_type_k=arguments.kv_type_k,
        kv_type_v=arguments.kv_type_v,
        flash_attention=arguments.flash_attention == "on",
    )
    quant = find_quant(arguments.quant)
    if not 0 <= arguments.devices <= MAX_DEVICES:
        raise BadInputError(f"--devices wants 0 to {MAX_DEVICES}, got {arguments.devices}")
    offload = Offload(arguments.gpu_layers, parse_tensor_split(arguments.tensor_split, arguments.devices))
    devices: tuple[BufferUse, ...] = ()
    if arguments.devices:
        with open_imagined_machine(arguments.devices) as machine:
            answer = machine.ask(card.spec, quant, workload, offload)
            devices = () if isinstance(answer, DryRunFailure) else machine.list_devices(answer)
    else:
        answer = ask_dry_run(card.spec, quant, workload)
    if isinstance(answer, DryRunFailure):
        raise EngineError(f"{card.model_id}: {answer.message}")
    parts = list_parts(answer)
    if arguments.json:
        named = [{"name": d.name, **{key: getattr(d, key) for key in DEVICE_PARTS}} for d in devices]
        print_json({"model": card.model_id, "quant": quant.name, "parts": parts, "devices": named})
        return EXIT_DONE
    for name, n_bytes in parts.items():
        print(f"{name:24} {n_bytes:>20,}  {format_bytes(n_bytes)}")
    for device in devices:
        sizes = ", ".join(f"{key.removesuffix('_bytes')} {format_bytes(getattr(device, key))}" for key in DEVICE_PARTS)
        print(f"{device.name}: {sizes}")
    return EXIT_DONE


DEVICE_PARTS = ("weight_bytes", "cache_bytes", "compute_bytes")
MAX_DEVICES = 16  # GGML_RPC_MAX_SERVERS in ggml-rpc.h


def parse_tensor_split(text: str | None, n_devices: int) -> tuple[float, ...] | None:
    """Shares out of text like '3,1'. Raises BadInputError unless there is one number for each device."""
    if text is None:
        return None
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        shares = ()
    if len(shares) != n_devices:
        raise BadInputError(f"--tensor-split wants one number for each of {n_devices} devices, got {text!r}")
    return shares


def list_parts(answer: DryRun) -> dict[str, int]:
    """A dry run's bytes by purpose; weights are counted once, whatever the devices hold twice."""
    return {
        "weight_bytes": answer.tensor_bytes,
        "kv_cache_bytes": answer.kv_cache_bytes,
        "recurrent_state_bytes": answer.recurrent_state_bytes,
        "compute_bytes": answer.compute_bytes,
        "output_bytes": answer.output_bytes,
    }


def run_check(arguments: argparse.Namespace) -> int:
    """`check`: compare formulas and engine case by case; progress goes to stderr. Fails outside tolerance."""
    started = time.monotonic()
    if arguments.sample is not None and arguments.sample < 1:
        raise BadInputError(f"--sample wants a whole number of at least 1, got {arguments.sample!r}")
    llama_cpp_version = find_llama_cpp_version()
    quants = tuple(find_quant(name).name for name in arguments.quant) or CHECKED_QUANTS
    weighed = all_weights(open_catalog())
    tensor_bytes = {(m, w.quant): w.tensor_bytes for m, weights in weighed.items() for w in weights}
    cards = sample_cards(find_cards(load_families(), arguments.model), arguments.sample)
    cases: list[Checked] = []
    with EngineChild() as engine:
        for n, card in enumerate(cards, start=1):
            mine = list(check_models([card.spec], tensor_bytes, engine, quants))
            wrong, silent = sum(c.is_wrong for c in mine), sum(c.failure is not None for c in mine)
            said = f"{len(mine)} cases, {wrong} wrong, {silent} unanswered"
            print(f"[{n:3}/{len(cards)}] {card.model_id}: {said}", file=sys.stderr)
            cases += mine
    reports = report_architectures(cases)
    elapsed_s = round(time.monotonic() - started, 1)
    if arguments.out is not None:
        write_report(arguments.out, reports, llama_cpp_version, datetime.date.today().isoformat())
    n_wrong = sum(r.n_wrong for r in reports)
    if arguments.json:
        print_json(
            {
                "llama_cpp_version": llama_cpp_version,
                "n_models": len(cards),
                "n_cases": len(cases),
                "n_answered": sum(r.n_answered for r in reports),
                "n_wrong": n_wrong,
                "elapsed_s": elapsed_s,
                "architectures": [dataclasses.asdict(r) for r in reports],
            }
        )
    else:
        print(format_report(reports))
        print(f"{len(cases)} cases of {len(cards)} models in {elapsed_s} s, {n_wrong} outside tolerance")
    return EXIT_FAILED if n_wrong else EXIT_DONE


def sample_cards(cards: Sequence[ModelCard], at_most: int | None) -> tuple[ModelCard, ...]:
    """The first `at_most` models of each architecture; all without a limit."""
    seen: Counter[str] = Counter()
    chosen = []
    for card in cards:
        seen[card.spec.architecture] += 1
        if at_most is None or seen[card.spec.architecture] <= at_most:
            chosen.append(card)
    return tuple(chosen)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 done, 1 failed, 2 wrong usage."""
    parsed = build_parser().parse_args(arguments)
    commands = {"weigh": run_weigh, "dry-run": run_dry_run, "check": run_check}
    return run_command(f"evals {parsed.command}", lambda: commands[parsed.command](parsed))


if __name__ == "__main__":
    sys.exit(main())

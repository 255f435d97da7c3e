"""What llama.cpp itself says without any weights, and how well, how fast and in how much memory a model answers here.

`python -m evals weigh|dry-run|check|ledger|bench|accelerator|run|compare|divergence|list|runs|resume`
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from catalog.candidates import find_loss_model
from catalog.card_memory import read_card_memory, read_driver_version
from catalog.gguf_header import load_header
from catalog.gguf_weights import find_quant_label
from catalog.machine import detect_machine
from catalog.memory_logs import LogComparison, compare_memory_logs
from catalog.models import DATA_DIR, ModelCard, load_families
from catalog.quant_loss import PublishedLoss, list_published_losses
from catalog.queries import all_weights, find_asked_weights, find_file_types, find_machine, find_model
from catalog.recognise import recognise
from catalog.store import open_catalog
from evals.accelerator import CardReading
from evals.accelerator_command import World, add_accelerator_command, run_accelerator
from evals.bench_command import add_bench_command, run_bench
from evals.check import QUANTS as CHECKED_QUANTS
from evals.check import Checked, check_models, format_report, report_architectures, write_report
from evals.dry_run import DryRunFailure, EngineChild
from evals.eval_command import COMMANDS as EVAL_COMMANDS
from evals.eval_command import EvalWorld, add_eval_commands, run_eval_command
from evals.home import find_home_if_usable
from evals.imagined import open_imagined_machine
from evals.ledger import (
    EVERY_WORKLOAD_QUANT,
    PUBLISHED,
    TWO_CARDS,
    LedgerCase,
    build_ledger,
    check_everything,
    check_placed,
    describe_workload,
    format_summary,
    list_engine_cases,
    write_ledger,
)
from evals.measure import ROUNDED_BYTES, find_llama_cpp_version, measure_memory
from evals.weigh import Weighing, weigh_models, write_weights
from sizing.arguments import add_estimate_arguments, offload_from, workload_from
from sizing.command_line import EXIT_DONE, EXIT_FAILED, OneLineParser, print_json, run_command
from sizing.engines import find_engine
from sizing.errors import BadInputError, EngineError, UnknownNameError
from sizing.estimate import ENGINE
from sizing.quants import find_quant
from sizing.record import estimate_record, format_estimate
from sizing.units import MIB

LOGGED_TO_TENTH_BYTES = round(0.06 * MIB)  # published weights are rounded to 0.1 MiB
WEIGHTS_FILE = DATA_DIR / "weights.parquet"


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = OneLineParser(prog="python -m evals", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=OneLineParser)
    weigh = commands.add_parser("weigh", help="exact bytes of every model in every quantization, into a parquet file")
    weigh.add_argument("--model", action="append", default=[], help="only this model; may be repeated")
    weigh.add_argument("--out", type=Path, default=WEIGHTS_FILE, help="the file to write; other models' rows stay")
    weigh.add_argument("--json", action="store_true", help="print the result as JSON")
    dry_run = commands.add_parser("dry-run", help="what llama.cpp itself would take, per device")
    add_estimate_arguments(dry_run)
    dry_run.add_argument("--engine", default=ENGINE, help=f"only {ENGINE} itself can be asked")
    check = commands.add_parser(
        "check", help="hold the formulas to llama.cpp over the whole catalog; 1 when they differ"
    )
    check.add_argument("--model", action="append", default=[], help="only this model; may be repeated")
    check.add_argument("--sample", type=int, help="at most this many models of each architecture")
    check.add_argument("--quant", action="append", default=[], help="only this quantization; may be repeated")
    check.add_argument("--out", type=Path, help="also write the report as CSV")
    check.add_argument("--json", action="store_true", help="print the result as JSON")
    add_bench_command(commands)
    add_accelerator_command(commands)
    add_eval_commands(commands)
    ledger = commands.add_parser("ledger", help="how exact the formulas are, per architecture and part, as a table")
    ledger.add_argument("--model", action="append", default=[], help="only this model; may be repeated")
    ledger.add_argument("--sample", type=int, help="at most this many models of each architecture")
    ledger.add_argument("--out", type=Path, help="also write the table as CSV")
    ledger.add_argument("--json", action="store_true", help="print the table as JSON")
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
    if find_engine(arguments.engine).name != ENGINE:
        raise BadInputError(f"only {ENGINE} itself can be asked, got --engine {arguments.engine!r}; leave it out")
    workload, offload = workload_from(arguments), offload_from(arguments)
    home = find_home_if_usable()
    catalog = open_catalog(imports=home)
    card = find_model(catalog, arguments.model)
    machine = find_machine(catalog, arguments.hardware)
    weights = find_asked_weights(catalog, card, arguments.quant)
    types = find_file_types(catalog, home, card.model_id, weights.quant)
    answer = measure_memory(card.spec, weights, workload, machine, offload, types=types)
    if isinstance(answer, DryRunFailure):
        raise EngineError(f"{card.model_id}: {answer.message}")
    if arguments.json:
        said = {"source": "engine", "engine_version": answer.engine, "engine_s": round(answer.engine_s, 3)}
        print_json({**estimate_record(answer.estimate, workload), **said})
    else:
        print(format_estimate(answer.estimate, workload))
        print(f"asked of {answer.engine}, which worked {answer.engine_s:.2f} s")
    return EXIT_DONE


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


def run_ledger(arguments: argparse.Namespace) -> int:
    """`ledger`: formulas against engine and published figures, into one table; progress goes to stderr."""
    started = time.monotonic()
    if arguments.sample is not None and arguments.sample < 1:
        raise BadInputError(f"--sample wants a whole number of at least 1, got {arguments.sample!r}")
    engine_version = f"llama-cpp-python {find_llama_cpp_version()}"
    catalog = open_catalog()
    weighed = all_weights(catalog)
    tensor_bytes = {(m, w.quant): w.tensor_bytes for m, weights in weighed.items() for w in weights}
    cards = sample_cards(find_cards(load_families(), arguments.model), arguments.sample)
    cases: list[LedgerCase] = []
    with EngineChild() as engine, open_imagined_machine(len(TWO_CARDS.accelerators)) as imagined:
        for n, card in enumerate(cards, start=1):
            quants = [w.quant for w in weighed.get(card.model_id, ())] or [EVERY_WORKLOAD_QUANT]
            checked = list(check_everything(card.spec, tensor_bytes, engine, quants))
            print(f"[{n:3}/{len(cards)}] {card.model_id}: {len(checked)} cases", file=sys.stderr)
            cases += [case for one in checked for case in list_engine_cases(one)]
            whole = next((w for w in weighed.get(card.model_id, ()) if w.quant == EVERY_WORKLOAD_QUANT), None)
            cases += [] if whole is None else check_placed(card.spec, whole, imagined)
    named = {card.model_id for card in cards}
    cases += [to_ledger_case(c) for c in compare_memory_logs(catalog) if c.log.model_id in named]
    rows = build_ledger(cases, engine_version, datetime.date.today().isoformat())
    if arguments.out is not None:
        write_ledger(arguments.out, rows)
    elapsed_s = round(time.monotonic() - started, 1)
    if arguments.json:
        print_json({"elapsed_s": elapsed_s, "n_models": len(cards), "rows": [dataclasses.asdict(row) for row in rows]})
    else:
        print(format_summary(rows))
        print(f"{len(cases)} comparisons of {len(cards)} models in {elapsed_s} s")
    return EXIT_DONE


def to_ledger_case(found: LogComparison) -> LedgerCase:
    """A published figure as a case of the ledger."""
    log = found.log
    mind = f"; {log.mind}" if log.mind else ""
    quant = f" at {log.quant}" if log.quant else ""
    case = f"{log.model_id}{quant}, {describe_workload(log.workload)}, {log.backend}: {log.source_url}{mind}"
    rounded = LOGGED_TO_TENTH_BYTES if log.part == "weights" else ROUNDED_BYTES
    return LedgerCase(
        PUBLISHED,
        found.architecture,
        log.part,
        log.model_id,
        case,
        found.difference_bytes,
        found.published_bytes,
        rounded,
    )


def sample_cards(cards: Sequence[ModelCard], at_most: int | None) -> tuple[ModelCard, ...]:
    """The first `at_most` models of each architecture; all without a limit."""
    seen: Counter[str] = Counter()
    chosen = []
    for card in cards:
        seen[card.spec.architecture] += 1
        if at_most is None or seen[card.spec.architecture] <= at_most:
            chosen.append(card)
    return tuple(chosen)


def run_bench_here(arguments: argparse.Namespace) -> int:
    """`bench`: on this machine, with a model of the catalog."""
    return run_bench(
        arguments, lambda name: find_model(open_catalog(imports=find_home_if_usable()), name).spec, detect_machine
    )


def run_accelerator_here(arguments: argparse.Namespace) -> int:
    """`accelerator`: on this machine, with models of the catalog."""
    catalog = open_catalog()
    weighed = {model_id: {w.quant: w for w in weights} for model_id, weights in all_weights(catalog).items()}

    def read_cards(pid: int | None) -> tuple[CardReading, ...]:
        return tuple(CardReading(c.bus_id, c.used_bytes, c.process_bytes) for c in read_card_memory(pid))

    world = World(
        find_specs=lambda names: [card.spec for card in find_cards(catalog.cards, names)],
        find_weights=lambda model_id: weighed.get(model_id, {}),
        detect=detect_machine,
        read_cards=read_cards,
        read_driver=read_driver_version,
    )
    return run_accelerator(arguments, world)


def run_eval_here(arguments: argparse.Namespace) -> int:
    """`run` and its kin: on this machine, with models, headers and published losses as the catalog knows them."""
    catalog = open_catalog(imports=find_home_if_usable())

    def recognise_file(path: Path) -> tuple[str, str]:
        header = load_header(path)
        card = recognise(header, catalog.cards)
        return "" if card is None else card.spec.model_id, find_quant_label((header,))

    def list_published(model_id: str, quant: str) -> tuple[PublishedLoss, ...]:
        family = find_model(catalog, model_id).family if model_id else ""
        return list_published_losses(find_loss_model(catalog.data_dir).rows, quant, model_id, family)

    world = EvalWorld(
        detect=detect_machine,
        find_model_id=lambda name: find_model(catalog, name).spec.model_id,
        recognise_file=recognise_file,
        list_published=list_published,
    )
    return run_eval_command(arguments, world)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 done, 1 failed, 2 wrong usage."""
    parsed = build_parser().parse_args(arguments)
    commands = {
        "weigh": run_weigh,
        "dry-run": run_dry_run,
        "check": run_check,
        "ledger": run_ledger,
        "bench": run_bench_here,
        "accelerator": run_accelerator_here,
        **dict.fromkeys(EVAL_COMMANDS, run_eval_here),
    }
    return run_command(f"evals {parsed.command}", lambda: commands[parsed.command](parsed))


if __name__ == "__main__":
    sys.exit(main())

"""`python -m evals accelerator`: the command line of `evals.accelerator`."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.accelerator import (
    CaseFailure,
    Place,
    ReadCards,
    explain_lack,
    find_engine,
    match_machine,
    measure_cases,
    name_cards,
)
from evals.accelerator_plan import FindWeights, build_plan
from evals.accelerator_result import Row, Verdict, describe_environment, list_rows, summarize, write_rows
from evals.home import find_home
from sizing.command_line import EXIT_DONE, EXIT_FAILED, print_json
from sizing.errors import BadInputError, EngineError
from sizing.hardware import Machine
from sizing.quants import find_quant
from sizing.specs import ModelSpec


@dataclass(frozen=True, slots=True)
class World:
    """What the command asks of other rooms: models by name (all for none), weights, this machine, its drivers.

    `endpoints` are devices served elsewhere, to be taken for cards.
    """

    find_specs: Callable[[Sequence[str]], Sequence[ModelSpec]]
    find_weights: FindWeights
    detect: Callable[[], Machine]
    read_cards: ReadCards
    read_driver: Callable[[], str]
    endpoints: tuple[str, ...] = ()


def add_accelerator_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare `accelerator` and its options."""
    tried = commands.add_parser(
        "accelerator", help="hold placement and speed to this machine's own cards, without any download"
    )
    tried.add_argument("--model", action="append", default=[], help="only this model; may be repeated")
    tried.add_argument("--quant", action="append", default=[], help="only this quantization; may be repeated")
    tried.add_argument("--out", type=Path, help="the table to write; default: in the person's folder")
    tried.add_argument("--limit", type=int, help="at most this many cases")
    tried.add_argument("--max-seconds", type=float, default=120.0, help="for timing one case; default 120")
    tried.add_argument("--full", action="store_true", help="random weights instead of zeros; takes their size on disk")
    tried.add_argument("--json", action="store_true", help="print the rows as JSON")


def run_accelerator(arguments: argparse.Namespace, world: World) -> int:
    """`accelerator`: load ghosts on the cards, compare, write the table after each; progress goes to stderr.

    Fails where there is no accelerator to try, where no case gave an answer, and where a part is off unexplained.
    """
    if arguments.limit is not None and arguments.limit < 1:
        raise BadInputError(f"--limit wants a whole number of at least 1, got {arguments.limit!r}")
    if not 1 <= arguments.max_seconds <= 86_400:
        raise BadInputError(f"--max-seconds wants 1 second to a day, got {arguments.max_seconds!r}")
    if arguments.out is not None and not arguments.out.parent.is_dir():
        raise BadInputError(f"--out wants a file in a folder that exists, got {str(arguments.out)!r}")
    quants = tuple(find_quant(name).name for name in arguments.quant)
    specs = world.find_specs(arguments.model)
    engine, detected = find_engine(world.endpoints), world.detect()
    lack = explain_lack(engine, detected)
    if lack is not None:
        raise EngineError(lack)
    machine = match_machine(detected, engine.devices)
    home = find_home()
    out = arguments.out or home / "runs" / name_table(machine)
    out.parent.mkdir(parents=True, exist_ok=True)

    def say(said: str) -> None:
        print(said, file=sys.stderr, flush=True)

    plan = build_plan(specs, world.find_weights, machine, quants, are_named=bool(arguments.model))
    place = Place(
        machine,
        engine.devices,
        home,
        world.read_cards,
        arguments.max_seconds,
        endpoints=world.endpoints,
        full=arguments.full,
        progress=say,
    )
    today = datetime.date.today().isoformat()
    environment = describe_environment(machine, engine, world.read_driver(), today, full=arguments.full)
    rows: list[Row] = []
    gaps = list(plan.gaps)
    for answer in measure_cases(plan.cases[: arguments.limit], place):
        if isinstance(answer, CaseFailure):
            gaps.append(f"{answer.case.name}: {answer.message}")
            say(f"  no answer: {answer.message}")
            continue
        rows += list_rows(answer, machine, environment)
        gaps += [f"{answer.case.name}: {s.kind} at {s.depth_tokens:,}: {s.reason}" for s in answer.skipped]
        gaps += [] if answer.is_finite else [f"{answer.case.name}: some logits were not finite numbers"]
        write_rows(out, rows)
    if not rows:
        raise EngineError(f"nothing was measured: {'; '.join(gaps) or 'no case was left'}")
    if arguments.json:
        print_json(
            {
                "out": str(out),
                "environment": dataclasses.asdict(environment),
                "rows": [_describe(row) for row in rows],
                "gaps": gaps,
            }
        )
    else:
        print(f"{environment.card}, {environment.backend}, {environment.driver or 'driver unknown'}")
        print(summarize(rows))
        print("\n".join(f"not measured: {gap}" for gap in gaps) or "nothing was left out")
        print(f"{len(rows)} rows -> {out}; to hold the formulas to them, put it in tests/golden/")
    return EXIT_FAILED if any(row.verdict is Verdict.OFF for row in rows) else EXIT_DONE


def name_table(machine: Machine) -> str:
    """The file a machine's figures are kept in: accelerator_CARD.csv, in lower case."""
    name = re.sub(r"[^a-z0-9]+", "_", name_cards(machine.accelerators).lower()).strip("_")
    return f"accelerator_{name}.csv"


def _describe(row: Row) -> dict[str, Any]:
    record = dataclasses.asdict(row)
    del record["environment"]
    return record

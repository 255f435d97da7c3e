"""`python -m catalog compare`: up to six models side by side, from a shell."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from catalog.compare import Compared, CompareQuestion, LicenseWord, compare_models, say_verdict
from catalog.compare_rows import build_comparison
from catalog.imported import ImportedModel
from catalog.license_chain import judge_model
from catalog.license_rules import make_profile
from catalog.queries import find_model, list_weights
from catalog.store import Catalog
from sizing.arguments import HARDWARE_HELP
from sizing.command_line import EXIT_DONE, OneLineParser, print_json
from sizing.compare import MAX_MODELS, Comparison, check_count
from sizing.compare_text import comparison_record, format_csv, format_markdown, format_text
from sizing.errors import BadInputError
from sizing.hardware import Machine
from sizing.quants import find_quant
from sizing.recommend import LICENSE_USES, TASKS, Needs
from sizing.workload import Workload

DEFAULT_CONTEXT_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class CompareGiven:
    """What the shell gives the command: the catalog with its imports, a machine by its text, an import by its id."""

    open_catalog: Callable[[], Catalog]
    find_machine: Callable[[Catalog, str], Machine]
    find_import: Callable[[str], ImportedModel | None]


def add_compare_command(commands: argparse._SubParsersAction[OneLineParser], given: CompareGiven) -> OneLineParser:
    """The command and its options; `--json` is added by the caller, as to all."""
    command = commands.add_parser(
        "compare", help=f"2 to {MAX_MODELS} models side by side: facts, licences, scores, and how they run here"
    )
    command.add_argument("models", metavar="MODEL", nargs="+", help="Hugging Face id, its tail, or a display name")
    command.add_argument("--hardware", default="this", help=HARDWARE_HELP)
    command.add_argument("--task", choices=TASKS, default="chat", help="what for; default chat")
    command.add_argument("--context", type=int, default=DEFAULT_CONTEXT_TOKENS, help="tokens per user; default 8192")
    command.add_argument("--parallel", type=int, default=1, help="users at once; default 1")
    command.add_argument("--quant", help="one quantization for all; the best of each that fits unless given")
    command.add_argument("--license-use", choices=LICENSE_USES, default="commercial", help="default commercial")
    shape = command.add_mutually_exclusive_group()
    shape.add_argument("--markdown", action="store_true", help="print Markdown")
    shape.add_argument("--csv", action="store_true", help="print CSV with exact numbers")
    command.set_defaults(run=lambda args: run_compare(args, given))
    return command


def run_compare(args: argparse.Namespace, given: CompareGiven) -> int:
    """Print a comparison. Raises UnknownNameError with near names, BadInputError for too many or too few models."""
    needs = Needs(args.task, Workload(args.context, args.parallel), None, args.license_use)
    if args.json and (args.markdown or args.csv):
        raise BadInputError("a comparison is printed in one form, got --json with another; leave one out")
    check_count(len(args.models), least=2)
    catalog = given.open_catalog()
    cards = tuple({c.model_id: c for c in (find_model(catalog, name) for name in args.models)}.values())
    check_count(len(cards), least=2)
    quant = None if args.quant is None else find_label(catalog, [c.model_id for c in cards], args.quant)
    question = CompareQuestion(needs, given.find_machine(catalog, args.hardware), quant)
    models = compare_models(catalog, cards, question, given.find_import)
    profile = make_profile(args.license_use)

    def judge(model: Compared) -> LicenseWord:
        return say_verdict(judge_model(catalog, model.card, profile), args.license_use)

    print_comparison(build_comparison(models, question, judge), args)
    return EXIT_DONE


def find_label(catalog: Catalog, model_ids: list[str], text: str) -> str:
    """The quantization a text names: a label that one of the models has, or a recipe. Raises UnknownNameError."""
    labels = {w.quant.casefold(): w.quant for model_id in model_ids for w in list_weights(catalog, model_id)}
    return labels.get(text.strip().casefold()) or find_quant(text).name


def print_comparison(comparison: Comparison, args: argparse.Namespace) -> None:
    """Print it in the form that was asked for."""
    if args.json:
        print_json(comparison_record(comparison))
    elif args.markdown:
        print(format_markdown(comparison), end="")
    elif args.csv:
        print(format_csv(comparison), end="")
    else:
        print(format_text(comparison))

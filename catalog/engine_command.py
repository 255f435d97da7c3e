"""The engines from a shell: their list, one configuration, one model in all of them, which machine runs it."""

from __future__ import annotations

import argparse

from catalog.machines import list_machines, list_price_sources
from catalog.models import ModelCard
from catalog.queries import find_asked_weights, find_model, find_weights, list_weights
from catalog.store import Catalog
from sizing.arguments import HARDWARE_HELP, add_engine_arguments, question_from
from sizing.command_line import EXIT_DONE, print_json
from sizing.engines import Engine, list_engines
from sizing.engines.alike import list_alike
from sizing.engines.inverse import EngineHardwareNeeds, ask_engine, find_engine_hardware, list_good_offers
from sizing.engines.offers import Offer, count_bits_per_weight
from sizing.engines.record import (
    alike_record,
    engine_estimate_record,
    engine_hardware_record,
    engine_record,
    format_alike,
    format_engine,
    format_engine_estimate,
    format_engine_hardware,
)
from sizing.errors import BadInputError, UnknownNameError
from sizing.estimate import ENGINE, check_context
from sizing.formats import FORMATS
from sizing.hardware import Machine
from sizing.inverse import GOOD_QUANTS
from sizing.launch import ModelFiles, format_command, list_launches
from sizing.options import Option
from sizing.workload import Workload

DEFAULT_CONTEXT_TOKENS = 8192


def add_engines_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m sizing engines`."""
    parser.add_argument("--model", help="Hugging Face id, its last part, or the display name; without it, the list")
    parser.add_argument("--hardware", default="this", help=HARDWARE_HELP)
    parser.add_argument("--context", type=int, default=DEFAULT_CONTEXT_TOKENS, help="tokens per user; default 8192")
    parser.add_argument("--parallel", type=int, default=1, help="users at once; default 1")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quant", "--format", default="Q4_K_M", help="formats near its bits per weight; default Q4_K_M")
    size.add_argument("--bits", type=float, help="formats near these bits per weight")
    size.add_argument("--largest", action="store_true", help="each engine's largest format that runs")
    add_engine_arguments(parser, has_engine=False)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_engine_estimate(args: argparse.Namespace, engine: Engine, catalog: Catalog, machine: Machine) -> int:
    """Answer one configuration of an engine other than llama.cpp."""
    if args.draft is not None or args.projector:
        raise BadInputError(f"--draft and --projector are sized for {ENGINE} alone; leave them out for {engine.name}")
    question = question_from(args)
    card = find_model(catalog, args.model)
    check_context(card.spec, question.context_tokens)
    offer = find_offer(catalog, card, engine, args.quant)
    answer = ask_engine(engine, question, card.spec, offer, machine)
    if args.json:
        print_json(engine_estimate_record(answer))
    else:
        print(format_engine_estimate(answer))
    return EXIT_DONE


def find_offer(catalog: Catalog, card: ModelCard, engine: Engine, text: str) -> Offer:
    """The format `--format` names, with its bytes for GGUF. Raises UnknownNameError with the engine's near names."""
    if engine.takes_gguf:
        weights = find_asked_weights(catalog, card, text)
        return Offer(weights.quant, weights)
    for name in engine.formats:
        if name.casefold() == text.strip().casefold():
            return Offer(name)
    raise UnknownNameError(f"format of {engine.name}", text, engine.formats)


def run_engine_list(args: argparse.Namespace) -> int:
    """Answer which engines there are."""
    if args.json:
        print_json([engine_record(e) for e in list_engines()])
    else:
        print("\n".join(format_engine(e) for e in list_engines()))
    return EXIT_DONE


def run_side_by_side(args: argparse.Namespace, catalog: Catalog, machine: Machine) -> int:
    """Answer how one model runs in every engine on one machine."""
    question = question_from(args)
    card = find_model(catalog, args.model)
    check_context(card.spec, question.context_tokens)
    weights = list_weights(catalog, card.model_id)
    bits = None if args.largest else find_asked_bits(catalog, card, args)
    rows = list_alike(list_engines(), card.spec, weights, machine, question, bits)
    if args.json:
        print_json(
            {
                "model": card.model_id,
                "machine": machine.name,
                "context_tokens": question.context_tokens,
                "n_parallel": question.n_parallel,
                "bits_per_weight": bits,
                "engines": [alike_record(row) for row in rows],
            }
        )
    else:
        print(format_alike(rows))
    return EXIT_DONE


def find_asked_bits(catalog: Catalog, card: ModelCard, args: argparse.Namespace) -> float:
    """The bits per weight the engines' formats should be near: those given, or those of the quantization named.

    Raises BadInputError outside 0 to 32 bits.
    """
    if args.bits is not None:
        if not 0 < args.bits <= 32:
            raise BadInputError(f"--bits wants bits per weight above 0 and at most 32, got {args.bits!r}")
        return float(args.bits)
    if args.quant in FORMATS:
        return count_bits_per_weight(card.spec, Offer(args.quant))
    weights = find_asked_weights(catalog, card, args.quant)
    return count_bits_per_weight(card.spec, Offer(weights.quant, weights))


def find_launch_command(option: Option, engine: Engine, args: argparse.Namespace, machine: Machine) -> str:
    """The first of the commands that start an option in an engine; empty where none is known."""
    workload = Workload(context_tokens=args.context, n_parallel=args.parallel)
    if engine.name == ENGINE:
        return format_command(option.name, option.quant, option.estimate, workload, machine)
    spec = option.candidate.spec
    weights = next((w for w in option.candidate.weights if w.quant == option.quant), None)
    offer = Offer(option.quant, weights if engine.takes_gguf else None)
    answer = ask_engine(engine, question_from(args), spec, offer, machine)
    launches = list_launches(answer, ModelFiles(spec.model_id))
    return launches[0].text if launches else ""


def run_engine_hardware(args: argparse.Namespace, catalog: Catalog, card: ModelCard, engine: Engine) -> int:
    """Answer which machine runs a model in an engine other than llama.cpp."""
    check_context(card.spec, args.context)
    if args.quant is None:
        offers = list_good_offers(engine, card.spec, list_weights(catalog, card.model_id))
        if not offers:
            find_weights(catalog, card, GOOD_QUANTS[0])  # says why there are none
    else:
        offers = (find_offer(catalog, card, engine, args.quant),)
    needs = EngineHardwareNeeds(card.spec, engine, offers, question_from(args), args.min_speed, args.allow_offload)
    answer = find_engine_hardware(needs, list_machines(catalog))
    sources = list_price_sources(catalog)
    if args.json:
        print_json(engine_hardware_record(needs, answer, sources, args.limit, args.quant is not None))
    else:
        print(format_engine_hardware(needs, answer, sources, args.limit))
    return EXIT_DONE

"""`python -m sizing estimate|recommend|solve|hardware-for|engines|cost|launch|finetune`: the calculator."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from catalog.candidates import PROJECTOR_BYTES_PER_PARAM, list_candidates, list_quant_losses
from catalog.cost_question import CostQuestion, plan_cost
from catalog.engine_command import (
    add_engines_arguments,
    find_launch_command,
    run_engine_estimate,
    run_engine_hardware,
    run_engine_list,
    run_side_by_side,
)
from catalog.finetune_logs import check_training_logs, format_training_checks
from catalog.launch_command import add_launch_arguments, run_launch
from catalog.license_command import add_profile_options, read_profile
from catalog.machines import list_machines, list_price_sources
from catalog.models import ModelCard
from catalog.offers import list_options, list_rents
from catalog.own_prices import load_own_prices
from catalog.prices import list_prices, merge_prices
from catalog.queries import find_asked_weights, find_machine, find_model, find_weights, list_weights
from catalog.store import Catalog, open_catalog
from evals.bench_result import calibrate_machine
from evals.home import find_home_if_usable
from evals.measured_here import load_measured_here
from sizing.arguments import (
    HARDWARE_HELP,
    add_cost_arguments,
    add_engine_arguments,
    add_estimate_arguments,
    engine_options_from,
    offload_from,
    workload_from,
)
from sizing.beside import estimate_pair
from sizing.command_line import EXIT_DONE, EXIT_FAILED, OneLineParser, print_json, print_notes, run_command
from sizing.cost import TokenLoad
from sizing.cost_options import Limits
from sizing.cost_record import answer_cost, cost_record, format_cost
from sizing.engines import find_engine
from sizing.engines.rank import EngineRanker
from sizing.errors import BadInputError, UserStoreError
from sizing.estimate import ENGINE, check_workload, estimate
from sizing.finetune import estimate_finetune
from sizing.finetune_arguments import add_finetune_arguments, setup_from
from sizing.finetune_record import TrainingCost, finetune_record, format_finetune, price_run
from sizing.finetune_search import compare_methods, find_largest
from sizing.finetune_speed import TrainingSpeed
from sizing.hardware import Machine
from sizing.inverse import GOOD_QUANTS, HardwareNeeds, choose_weights, find_hardware
from sizing.inverse_record import format_hardware, hardware_record
from sizing.launch import format_solution_command
from sizing.recommend import LICENSE_USES, TASKS, MeasuredHere, Needs, Ranker
from sizing.record import estimate_record, format_estimate, format_pair, pair_record, recommendation_record
from sizing.solution_record import format_solution, solution_record
from sizing.solver import Asked, Solution, solve
from sizing.units import format_bytes
from sizing.workload import Workload

DEFAULT_CONTEXT_TOKENS = 8192


def open_here() -> Catalog:
    """The catalog with the person's imports; why they are left out, where they are, goes to stderr."""
    catalog = open_catalog(imports=find_home_if_usable())
    print_notes(catalog.notes)
    return catalog


def run_estimate(args: argparse.Namespace) -> int:
    """Answer one configuration."""
    engine = find_engine(args.engine)
    if engine.name != ENGINE:
        catalog = open_here()
        return run_engine_estimate(args, engine, catalog, find_asked_machine(catalog, args.hardware))
    if args.kv_type is not None:
        args.kv_type_k = args.kv_type_v = args.kv_type
    workload, offload = workload_from(args), offload_from(args)
    catalog = open_here()
    card = find_model(catalog, args.model)
    check_workload(card.spec, workload)
    weights = find_asked_weights(catalog, card, args.quant)
    machine = find_asked_machine(catalog, args.hardware)
    projector_bytes = find_projector_bytes(card) if args.projector else 0
    if args.draft is not None:
        small = find_model(catalog, args.draft)
        small_weights = find_asked_weights(catalog, small, args.draft_quant)
        pair = estimate_pair(
            (card.spec, weights), (small.spec, small_weights), workload, machine, offload, projector_bytes
        )
        if args.json:
            print_json(pair_record(pair, workload))
        else:
            print(format_pair(pair, workload))
        return EXIT_DONE
    answer = estimate(card.spec, weights, workload, machine, offload, projector_bytes)
    if args.json:
        print_json(estimate_record(answer, workload))
    else:
        print(format_estimate(answer, workload))
    return EXIT_DONE


def run_engines(args: argparse.Namespace) -> int:
    """Answer which engines there are, or how one model runs in each of them on one machine."""
    if args.model is None:
        return run_engine_list(args)
    catalog = open_here()
    return run_side_by_side(args, catalog, find_asked_machine(catalog, args.hardware))


def find_projector_bytes(card: ModelCard) -> int:
    """Bytes of a model's vision or audio tower as its F16 file. Raises BadInputError where it has none we know of."""
    if not card.spec.n_params_projector:
        raise BadInputError(f"{card.name} has no vision or audio projector in the catalog; leave --projector out")
    return card.spec.n_params_projector * PROJECTOR_BYTES_PER_PARAM


def run_solve(args: argparse.Namespace) -> int:
    """Answer how to run one model best on one machine."""
    catalog = open_here()
    card = find_model(catalog, args.model)
    machine = find_asked_machine(catalog, args.hardware)
    quants = None if args.quant is None else (find_asked_weights(catalog, card, args.quant).quant,)
    weights = list_weights(catalog, card.model_id)
    if not weights or quants is not None:
        find_weights(catalog, card, quants[0] if quants else "Q4_K_M")  # says why there are none
    losses = {loss.quant: loss.cautious for loss in list_quant_losses(catalog, card)}
    asked = Asked(args.context, args.parallel, args.min_speed, quants)
    answer = solve(card.spec, weights, losses, machine, asked)
    command = format_solution_command(card.spec.name, answer, machine)
    if args.json:
        print_json(solution_record(answer, command))
    else:
        print(format_solution(card.spec.name, machine, answer, command))
    return EXIT_DONE if isinstance(answer, Solution) else EXIT_FAILED


def find_asked_machine(catalog: Catalog, text: str) -> Machine:
    """The machine `--hardware` names; this one comes with what benches taught of it."""
    machine = find_machine(catalog, text)
    return calibrate_machine(machine) if text.strip().casefold() == "this" else machine


def list_measured_here() -> tuple[MeasuredHere, ...]:
    """Scores measured on this box of models of the catalog; none where the person's database cannot be read."""
    home = find_home_if_usable()
    if home is None:
        return ()
    try:
        return load_measured_here(home)
    except (UserStoreError, OSError) as error:
        print_notes((f"scores measured here are left out: {error}",))
        return ()


def run_recommend(args: argparse.Namespace) -> int:
    """Answer which model and quantization."""
    if args.limit < 1:
        raise BadInputError(f"--limit wants 1 or more, got {args.limit}")
    workload = Workload(context_tokens=args.context, n_parallel=args.parallel)
    needs = Needs(args.task, workload, args.min_speed, args.license_use, read_profile(args, "commercial"))
    catalog = open_here()
    machine = find_asked_machine(catalog, args.hardware)
    measured = list_measured_here()
    candidates = list_candidates(catalog, needs.task, needs.license_use, needs.license_profile, measured)
    engine = find_engine(args.engine)
    if engine.name == ENGINE:
        answer = Ranker(candidates).recommend(machine, needs)
    else:
        made = EngineRanker(candidates, engine, engine_options_from(args), args.kv_type or "auto")
        answer = made.recommend(machine, needs)
    commands = [find_launch_command(o, engine, args, machine) for o in answer.options[: args.limit]]
    if args.json:
        print_json(recommendation_record(answer, commands, args.limit))
        return EXIT_DONE
    if answer.best is None:
        print(f"nothing with published evidence for {needs.task} runs on {machine.name} within these limits")
    for rank, (option, command) in enumerate(zip(answer.options[: args.limit], commands, strict=True), 1):
        total = format_bytes(option.estimate.memory.total_bytes)
        print(f"{rank}. {option.name} at {option.quant}: {total}, {option.verdict}, {option.candidate.license_name}")
        for reason in option.reasons:
            print(f"     {reason}")
        if command:
            print(f"     {command}")
    for line in answer.what_would_change:
        print(f"this would change {line}")
    if answer.n_more:
        print(f"and {answer.n_more:,} more without published evidence run here")
    counts = sorted(answer.ruled_out_counts)
    print("ruled out: " + (", ".join(f"{n} by {kind}" for kind, n in counts) or "nothing"))
    for line in answer.assumptions:
        print(f"- {line}")
    return EXIT_DONE


def run_hardware_for(args: argparse.Namespace) -> int:
    """Answer which machine runs a model."""
    if args.limit < 1:
        raise BadInputError(f"--limit wants 1 or more, got {args.limit}")
    workload = Workload(context_tokens=args.context, n_parallel=args.parallel)
    catalog = open_here()
    card = find_model(catalog, args.model)
    engine = find_engine(args.engine)
    if engine.name != ENGINE:
        return run_engine_hardware(args, catalog, card, engine)
    if args.quant is None:
        weights = choose_weights(list_weights(catalog, card.model_id))
        if not weights:
            find_weights(catalog, card, GOOD_QUANTS[0])  # says why there are none
    else:
        weights = (find_asked_weights(catalog, card, args.quant),)
    needs = HardwareNeeds(card.spec, weights, workload, args.min_speed, args.allow_offload)
    answer = find_hardware(needs, list_machines(catalog))
    sources = list_price_sources(catalog)
    if args.json:
        print_json(hardware_record(needs, answer, sources, args.limit, args.quant is not None))
    else:
        print(format_hardware(needs, answer, sources, args.limit))
    return EXIT_DONE


def read_cost_question(args: argparse.Namespace) -> CostQuestion:
    """The question that cost's options describe. Raises BadInputError naming what is wrong."""
    load = TokenLoad(
        args.tokens_in_per_day,
        args.tokens_out_per_day,
        args.parallel if args.users is None else args.users,
        args.peak,
        args.hours,
        args.utilisation,
    )
    return CostQuestion(
        load=load,
        limits=Limits(args.residency, args.no_third_party, args.max_first_token, args.min_speed),
        machine_usd=args.machine_usd,
        load_watts=args.watts,
        idle_watts=args.idle_watts,
        electricity=args.electricity,
        usd_per_kwh=args.kwh_usd,
        years=args.years,
        residual_share=args.residual,
        pue=args.pue,
        staff_hours_per_month=args.staff_hours,
        staff_usd_per_hour=args.staff_usd,
        rent=args.rent,
        rent_usd=args.rent_usd,
        rent_mode=args.rent_mode,
        reserved_share=args.reserved,
        api=args.api,
        api_input_usd=args.api_in_usd,
        api_output_usd=args.api_out_usd,
        api_cached_usd=args.api_cached_usd,
        cached_share=args.cached,
        batch_share=args.batch,
    )


def run_cost(args: argparse.Namespace) -> int:
    """Answer what a load of tokens costs on one's own hardware, rented, and by an API."""
    if args.limit < 1:
        raise BadInputError(f"--limit wants 1 or more, got {args.limit}")
    asked = read_cost_question(args)
    workload = Workload(context_tokens=args.context, n_parallel=args.parallel)
    catalog = open_here()
    card = find_model(catalog, args.model)
    check_workload(card.spec, workload)
    machine = find_asked_machine(catalog, args.hardware)
    told = estimate(card.spec, find_asked_weights(catalog, card, args.quant), workload, machine)
    home = find_home_if_usable()
    prices = merge_prices(list_prices(catalog), load_own_prices(home) if home else ())
    planned = plan_cost(asked, told, machine, card.model_id, prices, list_price_sources(catalog))
    print_notes(planned.problems)
    options = list_options(planned.plan)
    answer = answer_cost(options, asked.limits, asked.load, planned.rent_name, planned.api_name)
    if args.json:
        print_json(cost_record(answer, planned.assumptions))
    else:
        print(format_cost(answer, planned.assumptions, args.limit))
    return EXIT_DONE


def run_launches(args: argparse.Namespace) -> int:
    """Answer with what starts one configuration."""
    catalog = open_here()
    return run_launch(args, find_engine(args.engine), catalog, find_asked_machine(catalog, args.hardware))


def run_finetune(args: argparse.Namespace) -> int:
    """Answer what fine-tuning a model on a machine takes."""
    if not 0 < args.tokens < 1e16:
        raise BadInputError(f"--tokens wants a number above 0, got {args.tokens!r}")
    catalog = open_here()
    card = find_model(catalog, args.model)
    machine = find_asked_machine(catalog, args.hardware)
    setup = setup_from(args, card.spec, machine)
    answer = estimate_finetune(setup)
    largest, methods = find_largest(setup), compare_methods(setup)
    cost = find_training_cost(catalog, machine, answer.speed, args.tokens, args.usd_per_hour)
    if args.json:
        print_json(finetune_record(answer, largest, methods, args.tokens, cost))
    else:
        print(format_finetune(answer, largest, methods, args.tokens, cost))
    return EXIT_DONE if answer.fit.runs else EXIT_FAILED


def run_finetune_check(args: argparse.Namespace) -> int:
    """Hold the estimate to what others published."""
    print(format_training_checks(check_training_logs(open_catalog())))
    return EXIT_DONE


def find_training_cost(
    catalog: Catalog, machine: Machine, speed: TrainingSpeed | None, n_tokens: float, usd_per_hour: float | None
) -> TrainingCost | None:
    """What a run costs at the person's price, else at the cheapest listed rent of the card; None where nobody knows."""
    if speed is None:
        return None
    if usd_per_hour is not None:
        return price_run(speed, n_tokens, usd_per_hour, "your own figure", "")
    home = find_home_if_usable()
    prices = merge_prices(list_prices(catalog), load_own_prices(home) if home else ())
    rent = next((p for p in list_rents(prices, machine) if p.usd_per_gpu_hour is not None), None)
    if rent is None or rent.usd_per_gpu_hour is None:
        return None
    return price_run(speed, n_tokens, rent.usd_per_gpu_hour * len(machine.accelerators), rent.name, rent.source_url)


def build_parser() -> OneLineParser:
    """The command line of the room."""
    parser = OneLineParser(prog="python -m sizing", description="Size a model exactly, or ask which one to run.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=OneLineParser)
    one = commands.add_parser("estimate", help="memory, fit and speed of one configuration")
    add_estimate_arguments(one)
    add_engine_arguments(one)
    one.add_argument("--projector", action="store_true", help="count the vision or audio projector, as an F16 file")
    one.add_argument("--draft", help="a small model beside it that drafts its tokens")
    one.add_argument("--draft-quant", default="Q8_0", help="the draft's quantization; default Q8_0")
    one.set_defaults(run=run_estimate)
    how = commands.add_parser("solve", help="the best way to run one model on one machine, and what it gives up")
    how.add_argument("--model", required=True, help="Hugging Face id, its last part, or the display name")
    how.add_argument("--hardware", default="this", help=HARDWARE_HELP)
    how.add_argument("--context", type=int, default=DEFAULT_CONTEXT_TOKENS, help="tokens per user; default 8192")
    how.add_argument("--parallel", type=int, default=1, help="users at once; default 1")
    how.add_argument("--min-speed", type=float, help="tokens/s each user must see at least")
    how.add_argument("--quant", help="only this quantization; all are tried unless given")
    how.add_argument("--json", action="store_true", help="print JSON")
    how.set_defaults(run=run_solve)
    best = commands.add_parser("recommend", help="which model and quantization to run")
    best.add_argument("--hardware", default="this", help=HARDWARE_HELP)
    best.add_argument("--task", default="chat", help=f"one of {', '.join(TASKS)}; default chat")
    best.add_argument("--context", type=int, default=DEFAULT_CONTEXT_TOKENS, help="tokens per user; default 8192")
    best.add_argument("--parallel", type=int, default=1, help="users at once; default 1")
    best.add_argument("--min-speed", type=float, help="tokens/s each user must see at least")
    best.add_argument("--license-use", default="any", help=f"one of {', '.join(LICENSE_USES)}; default any")
    add_profile_options(best)
    add_engine_arguments(best)
    best.add_argument("--limit", type=int, default=5, help="how many options to show; default 5")
    best.add_argument("--json", action="store_true", help="print JSON")
    best.set_defaults(run=run_recommend)
    which = commands.add_parser("hardware-for", help="which machines run a model, the cheapest first")
    which.add_argument("--model", required=True, help="Hugging Face id, its last part, or the display name")
    which.add_argument(
        "--quant", "--format", help=f"quantization; default the largest that fits of {', '.join(GOOD_QUANTS)}"
    )
    which.add_argument("--context", type=int, default=DEFAULT_CONTEXT_TOKENS, help="tokens per user; default 8192")
    which.add_argument("--parallel", type=int, default=1, help="users at once; default 1")
    which.add_argument("--min-speed", type=float, help="tokens/s each user must see at least")
    which.add_argument("--allow-offload", action="store_true", help="part of the model may run on the host")
    add_engine_arguments(which)
    which.add_argument("--limit", type=int, default=5, help="how many machines to show; default 5")
    which.add_argument("--json", action="store_true", help="print JSON")
    which.set_defaults(run=run_hardware_for)
    engines = commands.add_parser("engines", help="the engines there are, or one model side by side in all of them")
    add_engines_arguments(engines)
    engines.set_defaults(run=run_engines)
    cost = commands.add_parser("cost", help="what a load of tokens costs: own hardware, rent, APIs")
    add_cost_arguments(cost)
    cost.set_defaults(run=run_cost)
    start = commands.add_parser("launch", help="the commands and files that start a configuration in an engine")
    add_launch_arguments(start)
    start.set_defaults(run=run_launches)
    tune = commands.add_parser("finetune", help="what fine-tuning a model takes: memory, time, what is the largest")
    add_finetune_arguments(tune)
    tune.set_defaults(run=run_finetune)
    check = commands.add_parser("finetune-check", help="published memory of fine-tuning beside ours, with the errors")
    check.set_defaults(run=run_finetune_check)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    args = build_parser().parse_args(argv)
    return run_command("python -m sizing", lambda: int(args.run(args)))


if __name__ == "__main__":
    sys.exit(main())

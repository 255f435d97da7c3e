"""`python -m sizing cluster`: one model over several machines, from a shell."""

from __future__ import annotations

import argparse
from dataclasses import replace

from catalog.engine_command import find_offer
from catalog.queries import find_model
from catalog.store import Catalog
from sizing.arguments import HARDWARE_HELP
from sizing.cluster import ENGINES, MAX_NODES, VLLM, Across, Cluster, find_smallest, list_rows, plan_cluster
from sizing.cluster_record import format_plan, format_rows, plan_record, row_record
from sizing.command_line import EXIT_DONE, EXIT_FAILED, print_json
from sizing.engines import EngineOptions, EngineSetup, find_engine
from sizing.errors import BadInputError
from sizing.estimate import check_context
from sizing.hardware import Machine
from sizing.interconnect import INTERCONNECTS, find_interconnect
from sizing.launch import ModelFiles
from sizing.launch.many_machines import list_cluster_launches


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m sizing cluster`."""
    parser.add_argument("--model", required=True, help="Hugging Face id, its last part, or the display name")
    parser.add_argument("--quant", "--format", required=True, help="weight format such as BF16; Q4_K_M for llama.cpp")
    parser.add_argument("--hardware", default="this", help=f"one of the machines: {HARDWARE_HELP}")
    parser.add_argument("--nodes", default="fewest", help=f"1 to {MAX_NODES}, 'fewest' that fit (default), or 'table'")
    parser.add_argument("--interconnect", default="10 GbE", help=f"one of {', '.join(INTERCONNECTS)}; default 10 GbE")
    parser.add_argument("--engine", default=VLLM, help=f"one of {', '.join(ENGINES)}; default {VLLM}")
    parser.add_argument("--share", choices=[a.value for a in Across], default=Across.LAYERS.value)
    parser.add_argument("--context", type=int, default=8192, help="tokens per user; default 8192")
    parser.add_argument("--parallel", type=int, default=1, help="users at once; default 1")
    parser.add_argument("--kv-type", default="auto", help="the engine's cache type; default its own")
    parser.add_argument("--gpu-memory-utilization", type=float, help="share of each card vLLM may take")
    parser.add_argument("--json", action="store_true", help="print JSON")


def read_setup(args: argparse.Namespace, catalog: Catalog, node: Machine) -> EngineSetup:
    """The setup that the options name. Raises UnknownNameError and BadInputError naming what is wrong."""
    card = find_model(catalog, args.model)
    check_context(card.spec, args.context)
    offer = find_offer(catalog, card, find_engine(args.engine), args.quant)
    options = replace(EngineOptions(), gpu_memory_utilization=args.gpu_memory_utilization)
    return EngineSetup(
        card.spec, offer.weight_format, args.context, args.parallel, node, args.kv_type, offer.weights, options
    )


def run_cluster(args: argparse.Namespace, catalog: Catalog, node: Machine) -> int:
    """Answer for a number of machines, the fewest that fit, or a table of numbers."""
    setup, link, across = read_setup(args, catalog, node), find_interconnect(args.interconnect), Across(args.share)
    engine = find_engine(args.engine).name
    if args.nodes == "table":
        rows = list(list_rows(setup, node, link, engine, across=across))
        print_json([row_record(row) for row in rows]) if args.json else print(format_rows(rows))
        return EXIT_DONE
    if args.nodes == "fewest":
        plan = find_smallest(setup, node, link, engine)
        if plan is None:
            text = f"not even {MAX_NODES} x {node.name} hold {setup.spec.name} at {setup.weight_format}"
            print_json({"plan": None, "reason": text}) if args.json else print(text)
            return EXIT_FAILED
    else:
        plan = plan_cluster(setup, Cluster(node, read_nodes(args.nodes), link), engine, across)
    launches = list_cluster_launches(plan, ModelFiles(setup.spec.model_id))
    print_json(plan_record(plan, launches)) if args.json else print(format_plan(plan, launches))
    return EXIT_DONE if plan.estimate.fit.runs else EXIT_FAILED


def read_nodes(text: str) -> int:
    """A number of machines. Raises BadInputError for another word."""
    try:
        return int(text)
    except ValueError:
        raise BadInputError(f"--nodes wants 1 to {MAX_NODES}, 'fewest' or 'table', got {text!r}") from None

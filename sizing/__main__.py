"""`python -m sizing estimate|recommend`: the exact calculator and the recommendation, from a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from catalog.candidates import list_candidates
from catalog.queries import find_machine, find_model, find_weigh_gap, list_weights
from catalog.store import open_catalog
from sizing.command_line import EXIT_DONE, OneLineParser, print_json, run_command
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.estimate import ENGINE, Estimate, check_context, estimate
from sizing.launch import format_llama_server_command
from sizing.placement import Offload
from sizing.quants import find_quant
from sizing.recommend import LICENSE_USES, TASKS, Needs, Option, Ranker
from sizing.record import estimate_record, recommendation_record
from sizing.units import format_bytes, format_range, format_tokens
from sizing.workload import Workload

DEFAULT_CONTEXT_TOKENS = 8192


def add_estimate_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name a configuration; asking the engine takes the same."""
    parser.add_argument("--model", required=True, help="Hugging Face id, its last part, or the display name")
    parser.add_argument("--quant", required=True, help="quantization, for instance Q4_K_M")
    parser.add_argument("--context", type=int, required=True, help="tokens each slot can hold")
    parser.add_argument("--parallel", type=int, default=1, help="slots (users at once); default 1")
    parser.add_argument("--ubatch", type=int, default=512, help="physical batch in tokens; default 512")
    parser.add_argument("--kv-type-k", default="f16", help="K cache type; default f16")
    parser.add_argument("--kv-type-v", default="f16", help="V cache type; default f16")
    parser.add_argument("--flash-attention", choices=("on", "off"), default="on")
    parser.add_argument("--kv-unified", action="store_true", help="all slots share one pool")
    parser.add_argument("--engine", default=ENGINE, help=f"only {ENGINE} for now")
    parser.add_argument("--hardware", default="this", help="this, a device name, or NAME*N")
    parser.add_argument("--gpu-layers", default="auto", help="auto, or a number; the output counts as one layer")
    parser.add_argument("--tensor-split", help="share of each accelerator, for instance 3,1")
    parser.add_argument("--cpu-moe", type=int, help="keep the routed experts of the first N layers on the host")
    parser.add_argument("--json", action="store_true", help="print JSON")


def workload_from(args: argparse.Namespace) -> Workload:
    """The workload that estimate's options describe. Raises BadInputError naming what is wrong."""
    return Workload(
        context_tokens=args.context,
        n_parallel=args.parallel,
        n_ubatch=args.ubatch,
        n_batch=max(2048, args.ubatch),
        kv_type_k=args.kv_type_k,
        kv_type_v=args.kv_type_v,
        flash_attention=args.flash_attention == "on",
        kv_unified=args.kv_unified,
    )


def offload_from(args: argparse.Namespace) -> Offload:
    """The offload that estimate's options describe. Raises BadInputError naming what is wrong."""
    try:
        layers = None if args.gpu_layers == "auto" else int(args.gpu_layers)
    except ValueError:
        raise BadInputError(f"--gpu-layers wants auto or a whole number, got {args.gpu_layers!r}") from None
    split = None
    if args.tensor_split is not None:
        try:
            split = tuple(float(part) for part in args.tensor_split.split(","))
        except ValueError:
            raise BadInputError(f"--tensor-split wants numbers such as 3,1, got {args.tensor_split!r}") from None
    return Offload(layers, split, args.cpu_moe)


def print_estimate(answer: Estimate, workload: Workload) -> None:
    """The estimate as text, the answer first."""
    memory, fit = answer.memory, answer.fit
    print(f"{memory.model_id} {memory.quant} on {memory.engine}: {format_bytes(memory.total_bytes)}, {fit.verdict}")
    for reason in fit.reasons:
        print(f"  {reason}")
    print(f"context {format_tokens(workload.context_tokens)} tokens x {workload.n_parallel} slots")
    for name, value in estimate_record(answer, workload)["parts"].items():
        print(f"  {name.removesuffix('_bytes').replace('_', ' '):<16} {format_bytes(value):>12}  {value:>18,} bytes")
    if answer.speed is None:
        print("speed: unknown" if fit.runs else "speed: none, it does not run")
    else:
        decode, prefill = answer.speed.decode_tokens_per_s, answer.speed.prefill_tokens_per_s
        told = "unknown" if prefill is None else f"{format_range(prefill.low, prefill.high)} tokens/s"
        print(f"decode {format_range(decode.low, decode.high)} tokens/s, {answer.speed.bound}; prefill {told}")
    for line in memory.assumptions:
        print(f"- {line}")


def run_estimate(args: argparse.Namespace) -> int:
    """Answer one configuration."""
    if args.engine != ENGINE:
        raise UnknownNameError("engine", args.engine, (ENGINE,))
    workload, offload = workload_from(args), offload_from(args)
    quant = find_quant(args.quant)
    catalog = open_catalog()
    card = find_model(catalog, args.model)
    check_context(card.spec, workload)
    weights = {w.quant: w for w in list_weights(catalog, card.spec.model_id)}
    if quant.name not in weights:
        gap = find_weigh_gap(catalog, card.spec.model_id)
        raise UnsupportedError(f"{card.spec.name} at {quant.name}: {gap or 'not weighed; run `python -m evals weigh`'}")
    machine = find_machine(catalog, args.hardware)
    answer = estimate(card.spec, weights[quant.name], workload, machine, offload)
    if args.json:
        print_json(estimate_record(answer, workload))
    else:
        print_estimate(answer, workload)
    return EXIT_DONE


def command_for(option: Option, workload: Workload, has_accelerator: bool) -> str:
    """The launch command of one option."""
    return format_llama_server_command(
        option.name,
        option.quant,
        workload,
        n_gpu_layers=option.estimate.n_gpu_layers if has_accelerator else None,
        n_cpu_moe=option.estimate.n_cpu_moe,
    )


def run_recommend(args: argparse.Namespace) -> int:
    """Answer which model and quantization."""
    if args.limit < 1:
        raise BadInputError(f"--limit wants 1 or more, got {args.limit}")
    workload = Workload(context_tokens=args.context, n_parallel=args.parallel)
    needs = Needs(args.task, workload, args.min_speed, args.license_use)
    catalog = open_catalog()
    machine = find_machine(catalog, args.hardware)
    answer = Ranker(list_candidates(catalog, needs.task, needs.license_use)).recommend(machine, needs)
    commands = [command_for(o, workload, bool(machine.accelerators)) for o in answer.options[: args.limit]]
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
        print(f"     {command}")
    for line in answer.what_would_change:
        print(f"this would change {line}")
    kinds: dict[str, int] = {}
    for ruled in answer.ruled_out:
        kinds[ruled.kind] = kinds.get(ruled.kind, 0) + 1
    print("ruled out: " + (", ".join(f"{n} by {kind}" for kind, n in sorted(kinds.items())) or "nothing"))
    for line in answer.assumptions:
        print(f"- {line}")
    return EXIT_DONE


def build_parser() -> OneLineParser:
    """The command line of the room."""
    parser = OneLineParser(prog="python -m sizing", description="Size a model exactly, or ask which one to run.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=OneLineParser)
    one = commands.add_parser("estimate", help="memory, fit and speed of one configuration")
    add_estimate_arguments(one)
    one.set_defaults(run=run_estimate)
    best = commands.add_parser("recommend", help="which model and quantization to run")
    best.add_argument("--hardware", default="this", help="this, a device name, or NAME*N")
    best.add_argument("--task", default="chat", help=f"one of {', '.join(TASKS)}; default chat")
    best.add_argument("--context", type=int, default=DEFAULT_CONTEXT_TOKENS, help="tokens per user; default 8192")
    best.add_argument("--parallel", type=int, default=1, help="users at once; default 1")
    best.add_argument("--min-speed", type=float, help="tokens/s each user must see at least")
    best.add_argument("--license-use", default="any", help=f"one of {', '.join(LICENSE_USES)}; default any")
    best.add_argument("--limit", type=int, default=5, help="how many options to show; default 5")
    best.add_argument("--json", action="store_true", help="print JSON")
    best.set_defaults(run=run_recommend)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    args = build_parser().parse_args(argv)
    return run_command("python -m sizing", lambda: int(args.run(args)))


if __name__ == "__main__":
    sys.exit(main())

"""The options that name one configuration, for every command line that takes one."""

from __future__ import annotations

import argparse
import re

from sizing.engines.base import EngineOptions
from sizing.engines.offers import EngineQuestion
from sizing.errors import BadInputError
from sizing.estimate import ENGINE
from sizing.placement import Offload
from sizing.workload import Workload

HARDWARE_HELP = "this, a device, NAME*N, '24 GiB card at 936 GB/s', '64 GB DDR5-5600', or these with +; default this"


def add_estimate_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name a configuration: the formulas and the engine are asked by the same.

    Those of `add_engine_arguments` come beside them where other engines than llama.cpp can be asked.
    """
    parser.add_argument("--model", required=True, help="Hugging Face id, its last part, or the display name")
    parser.add_argument("--quant", "--format", required=True, help="quantization such as Q4_K_M, or weight format")
    parser.add_argument("--context", type=int, required=True, help="tokens each slot can hold")
    parser.add_argument("--parallel", type=int, default=1, help="slots (users at once); default 1")
    parser.add_argument("--ubatch", type=int, default=512, help="physical batch in tokens; default 512")
    parser.add_argument("--kv-type-k", default="f16", help="K cache type; default f16")
    parser.add_argument("--kv-type-v", default="f16", help="V cache type; default f16")
    parser.add_argument("--flash-attention", choices=("on", "off"), default="on")
    parser.add_argument("--kv-unified", action="store_true", help="all slots share one pool")
    parser.add_argument("--hardware", default="this", help=HARDWARE_HELP)
    parser.add_argument("--gpu-layers", default="auto", help="auto, or a number; the output counts as one layer")
    parser.add_argument("--tensor-split", help="share of each accelerator, for instance 3,1")
    parser.add_argument("--cpu-moe", type=int, help="keep the routed experts of the first N layers on the host")
    parser.add_argument(
        "--override-tensor",
        help="'PATTERN=CPU', as llama.cpp's -ot: keep the routed experts of the layers whose names match on the host",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_engine_arguments(parser: argparse.ArgumentParser, *, has_engine: bool = True) -> None:
    """The engine and the settings that engines other than llama.cpp have."""
    if has_engine:
        parser.add_argument("--engine", default=ENGINE, help=f"see `python -m sizing engines`; default {ENGINE}")
    parser.add_argument("--kv-type", help="the engine's cache type; default its own")
    parser.add_argument("--gpu-memory-utilization", type=float, help="share of each card the engine may take")
    parser.add_argument("--tensor-parallel", type=int, help="cards that share every matrix; default the engine's way")
    parser.add_argument("--pipeline-parallel", type=int, help="stages that share the layers")
    parser.add_argument("--max-batched-tokens", type=int, help="tokens one step works on")
    parser.add_argument("--max-sequences", type=int, help="requests at once at most")
    parser.add_argument("--eager", action="store_true", help="without graphs captured ahead")


def engine_options_from(args: argparse.Namespace) -> EngineOptions:
    """The settings of an engine. Raises BadInputError naming what is wrong."""
    return EngineOptions(
        gpu_memory_utilization=args.gpu_memory_utilization,
        tensor_parallel=args.tensor_parallel,
        pipeline_parallel=args.pipeline_parallel,
        max_batched_tokens=args.max_batched_tokens,
        max_sequences=args.max_sequences,
        eager=args.eager,
    )


def question_from(args: argparse.Namespace) -> EngineQuestion:
    """What an engine is asked, of the options of a command. Raises BadInputError naming what is wrong."""
    return EngineQuestion(args.context, args.parallel, args.kv_type or "auto", engine_options_from(args))


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
    return Offload(layers, split, args.cpu_moe, expert_layers_from(args.override_tensor))


EXPERT_TENSORS = ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
MAX_LAYERS = 512
MAX_PATTERN_CHARACTERS = 400


def expert_layers_from(rule: str | None) -> tuple[int, ...]:
    """Layers whose routed experts a rule such as llama.cpp's `-ot` keeps on the host.

    >>> expert_layers_from(r"blk\\.([0-2])\\.ffn_.*_exps\\.=CPU")
    (0, 1, 2)

    Raises BadInputError for a pattern that is none, a place other than CPU, experts matched in part or not at all.
    """
    if rule is None:
        return ()
    pattern, _, place = rule.rpartition("=")
    if not pattern or place.upper() != "CPU" or len(pattern) > MAX_PATTERN_CHARACTERS:
        raise BadInputError(
            f"--override-tensor wants 'PATTERN=CPU' of at most {MAX_PATTERN_CHARACTERS} characters, got {rule[:80]!r}"
        )
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise BadInputError(f"--override-tensor {pattern!r} is no pattern: {error}") from None
    found = []
    for i in range(MAX_LAYERS):
        hits = [bool(search(f"blk.{i}.{name}.weight")) for name in EXPERT_TENSORS]
        if any(hits) and not all(hits):
            raise BadInputError(
                f"--override-tensor {pattern!r} matches only some expert matrices of layer {i}; "
                "only all three of a layer together can be sized"
            )
        if all(hits):
            found.append(i)
    if not found:
        raise BadInputError(
            f"--override-tensor {pattern!r} matches no routed experts, such as blk.0.ffn_up_exps.weight"
        )
    return tuple(found)


def add_cost_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say what load is asked about, what it may cost, and where it may run."""

    def number(name: str, default: float | None, said: str) -> None:
        parser.add_argument(name, type=float, default=default, help=said)

    parser.add_argument("--model", required=True, help="Hugging Face id, its last part, or the display name")
    parser.add_argument("--quant", default="Q4_K_M", help="quantization; default Q4_K_M")
    parser.add_argument("--hardware", default="this", help=HARDWARE_HELP)
    parser.add_argument("--context", type=int, default=8192, help="tokens per user; default 8192")
    parser.add_argument("--parallel", type=int, default=1, help="users at once on one machine; default 1")
    parser.add_argument("--tokens-in-per-day", type=float, required=True, help="input tokens of an average day")
    parser.add_argument("--tokens-out-per-day", type=float, required=True, help="output tokens of an average day")
    parser.add_argument("--users", type=int, help="users at once on all machines; default as --parallel")
    number("--peak", 3.0, "the busiest hour over the mean; default 3")
    number("--utilisation", 0.6, "share of its time a machine may be busy then; default 0.6")
    number("--hours", 24.0, "hours a day in which tokens come; default 24")
    number("--machine-usd", None, "price of the whole machine; default the listed one")
    number("--years", 3.0, "years it is written off over; default 3")
    number("--residual", 0.0, "share of the price left then; default 0")
    number("--watts", None, "power of the machine at work; default its devices' limit")
    number("--idle-watts", None, "power of the machine idle")
    number("--kwh-usd", None, "price of electricity; default that of --electricity")
    parser.add_argument("--electricity", default="US business", help="where it is bought; default US business")
    number("--pue", 1.58, "power of the room over that of the machine; default 1.58, 1 for a desk")
    number("--staff-hours", 0.0, "hours of work a month")
    number("--staff-usd", 0.0, "US$ per hour of it")
    parser.add_argument("--rent", default="", help="the offer to speak of; default the cheapest")
    number("--rent-usd", None, "US$ per GPU and hour in its place")
    parser.add_argument("--rent-mode", choices=("always", "hours", "scaled"), default="always")
    number("--reserved", 0.0, "share of the hours at the reserved price, where there is one")
    parser.add_argument("--api", default="", help="the API to hold it against; default the middle of the vendors'")
    number("--api-in-usd", None, "US$ per million input tokens in its place")
    number("--api-out-usd", None, "US$ per million output tokens")
    number("--api-cached-usd", None, "US$ per million cached input tokens")
    number("--cached", 0.0, "share of the input an API has cached")
    number("--batch", 0.0, "share of the load that can wait for a batch")
    parser.add_argument("--residency", default="any", help="any, premises, or a region; default any")
    parser.add_argument("--no-third-party", action="store_true", help="nobody else may hold the data")
    number("--max-first-token", None, "seconds to the first token at most")
    number("--min-speed", None, "tokens/s each user must see at least")
    parser.add_argument("--limit", type=int, default=12, help="how many options to show; default 12")
    parser.add_argument("--json", action="store_true", help="print JSON")

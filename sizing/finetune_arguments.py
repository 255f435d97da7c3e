"""The options of `python -m sizing finetune`."""

from __future__ import annotations

import argparse

from sizing.arguments import HARDWARE_HELP
from sizing.finetune_setup import ATTENTIONS, LOSSES, METHODS, OPTIMIZERS, PRECISIONS, SHARDINGS, FineTuneSetup
from sizing.hardware import Machine
from sizing.specs import ModelSpec

DEFAULT_TOKENS = 10e6
"""Tokens of a run that is asked about without saying: ten thousand examples of a thousand."""


def add_finetune_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say what is trained, how, and on what."""
    parser.add_argument("--model", required=True, help="Hugging Face id, its last part, or the display name")
    parser.add_argument("--hardware", default="this", help=HARDWARE_HELP)
    parser.add_argument("--method", choices=METHODS, default="lora", help="default lora")
    parser.add_argument("--rank", type=int, default=16, help="rank of the adapters; default 16")
    parser.add_argument("--targets", default="all-linear", help="modules, parted by commas; default all-linear")
    parser.add_argument("--sequence", type=int, default=2048, help="tokens of a sequence; default 2048")
    parser.add_argument("--batch", type=int, default=1, help="sequences a card works on at once; default 1")
    parser.add_argument("--accumulation", type=int, default=8, help="micro batches of a step; default 8")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw", help="default adamw")
    parser.add_argument("--precision", choices=PRECISIONS, default="mixed", help="of full fine-tuning; default mixed")
    parser.add_argument("--adapter-bits", type=int, choices=(16, 32), help="default 32 for LoRA, 16 for QLoRA")
    parser.add_argument("--dropout", action="store_true", help="dropout on the adapters' inputs")
    parser.add_argument("--no-checkpointing", action="store_true", help="keep activations instead of recomputing them")
    parser.add_argument("--attention", choices=ATTENTIONS, default="flash", help="default flash")
    parser.add_argument("--loss", choices=LOSSES, default="chunked", help="default chunked, as trl's")
    parser.add_argument("--sharding", choices=SHARDINGS, default="ddp", help="what several cards share; default ddp")
    parser.add_argument("--offload-optimizer", action="store_true", help="optimizer states in the host's memory")
    parser.add_argument("--tokens", type=float, default=DEFAULT_TOKENS, help="tokens to train on; default 10e6")
    parser.add_argument("--usd-per-hour", type=float, help="price of all cards; default the cheapest listed rent")
    parser.add_argument("--json", action="store_true", help="print JSON")


def setup_from(args: argparse.Namespace, spec: ModelSpec, machine: Machine) -> FineTuneSetup:
    """The setup the options describe. Raises BadInputError or UnknownNameError naming what is wrong."""
    return FineTuneSetup(
        spec,
        machine,
        method=args.method,
        rank=args.rank,
        targets=tuple(t.strip() for t in args.targets.split(",") if t.strip()),
        sequence_tokens=args.sequence,
        micro_batch=args.batch,
        accumulation=args.accumulation,
        optimizer=args.optimizer,
        precision=args.precision,
        adapter_bits=args.adapter_bits or 0,
        dropout=args.dropout,
        checkpointing=not args.no_checkpointing,
        attention=args.attention,
        loss=args.loss,
        sharding=args.sharding,
        offload_optimizer=args.offload_optimizer,
    )

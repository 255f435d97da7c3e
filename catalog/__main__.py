"""`python -m catalog`: the facts, this machine, and models from elsewhere, as text or with --json."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from catalog.compare_command import CompareGiven, add_compare_command
from catalog.fact_check import count_facts, list_fact_problems
from catalog.gguf_command import add_gguf_command
from catalog.hub_command import Given, add_hub_commands
from catalog.import_store import ImportStore
from catalog.imported import ImportedModel
from catalog.license_chain import judge_model
from catalog.license_command import add_license_command, add_profile_options, read_profile
from catalog.license_rules import LicenseProfile, make_profile
from catalog.licenses import find_license
from catalog.machine import detect_machine
from catalog.models import ModelCard
from catalog.queries import (
    find_machine,
    find_model,
    find_weigh_gap,
    list_models,
    list_scores,
    list_sources,
    list_weights,
)
from catalog.refresh_command import add_refresh_command
from catalog.serving_command import add_serving_command
from catalog.store import Catalog, open_catalog
from evals.bench_result import calibrate_machine
from evals.home import find_home, find_home_if_usable
from evals.weigh import ask_weights
from sizing.command_line import EXIT_DONE, EXIT_FAILED, OneLineParser, print_json, print_notes, run_command
from sizing.errors import UnknownNameError, UserStoreError
from sizing.hardware import Device, Machine
from sizing.recommend import LICENSE_USES
from sizing.specs import LayerGroup
from sizing.units import THIN, format_bytes, format_figures, format_params, format_tokens

PROG = "python -m catalog"
COMMANDS = (
    "list show sources check detect gguf search import imports forget download local refresh compare license "
    "serving-logs"
).split()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    return run_command(PROG, lambda: int(args.run(args)))


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = OneLineParser(prog=PROG, description="Facts about open-weight models, and this machine.")
    commands = parser.add_subparsers(required=True, metavar="|".join(COMMANDS))
    listing = commands.add_parser("list", help="all models, or those of a family or a licence use")
    listing.add_argument("--family", help="a family's name, such as Qwen3")
    listing.add_argument(
        "--license-use", choices=LICENSE_USES, default="any", help="only models whose licence allows this use"
    )
    add_profile_options(listing)
    listing.set_defaults(run=run_list)
    show = commands.add_parser("show", help="everything known about one model")
    show.add_argument("model", metavar="MODEL", help="Hugging Face id, its tail, or a display name")
    show.set_defaults(run=run_show)
    sources = commands.add_parser("sources", help="the addresses all facts come from")
    sources.set_defaults(run=run_sources)
    check = commands.add_parser("check", help="the catalog's version, and whether the facts agree; 1 when they do not")
    check.set_defaults(run=run_check)
    detect = commands.add_parser("detect", help="this machine's memory, processor and accelerators")
    detect.set_defaults(run=run_detect)
    given = Given(find_home, ask_weights)
    elsewhere = (*add_hub_commands(commands, given), add_refresh_command(commands, given))
    compare = add_compare_command(commands, CompareGiven(open_here, find_asked_machine, find_imported))
    elsewhere = (*elsewhere, compare, add_license_command(commands, open_here))
    elsewhere = (*elsewhere, add_serving_command(commands, open_here))
    for command in (listing, show, sources, check, detect, add_gguf_command(commands), *elsewhere):
        command.add_argument("--json", action="store_true", help="print JSON")
    return parser


def open_here() -> Catalog:
    """The catalog with the person's imports; why they are left out, where they are, goes to stderr."""
    catalog = open_catalog(imports=find_home_if_usable())
    print_notes(catalog.notes)
    return catalog


def find_asked_machine(catalog: Catalog, text: str) -> Machine:
    """The machine `--hardware` names; this one comes with what benches taught of it."""
    machine = find_machine(catalog, text)
    return calibrate_machine(machine) if text.strip().casefold() == "this" else machine


def find_imported(model_id: str) -> ImportedModel | None:
    """What was imported under an id; None where nothing was, or the imports cannot be read, which the notes say."""
    home = find_home_if_usable()
    try:
        return None if home is None else ImportStore(home).find(model_id)
    except UserStoreError:
        return None


def run_list(args: argparse.Namespace) -> int:
    """Print the models. Raises UnknownNameError for a family nobody knows."""
    catalog = open_here()
    cards = list_models(catalog)
    if args.family is not None:
        families = {card.family.casefold(): card.family for card in cards}
        if args.family.casefold() not in families:
            raise UnknownNameError("family", args.family, families.values())
        cards = tuple(card for card in cards if card.family.casefold() == args.family.casefold())
    profile = make_profile(args.license_use, read_profile(args, "commercial"))
    cards = tuple(card for card in cards if is_allowed(catalog, card, args.license_use, profile))
    if args.json:
        print_json([card_record(card) for card in cards])
        return EXIT_DONE
    width = max((len(card.model_id) for card in cards), default=0)
    for card in cards:
        size = format_params(card.spec.n_params)
        print(f"{card.model_id:<{width}}  {size:>8}  {card.release}  {card.license_id}  {', '.join(card.tasks)}")
    print(f"{len(cards)} models", file=sys.stderr)
    return EXIT_DONE


def is_allowed(catalog: Catalog, card: ModelCard, use: str, profile: LicenseProfile) -> bool:
    """Whether a model's licence and those of its bases allow a use to a profile; "any" allows all."""
    return use == "any" or judge_model(catalog, card, profile).is_allowed


def run_show(args: argparse.Namespace) -> int:
    """Print one model. Raises UnknownNameError with near names."""
    catalog = open_here()
    card = find_model(catalog, args.model)
    license = find_license(catalog.licenses, card.license_id)
    weights = list_weights(catalog, card.model_id)
    gap = find_weigh_gap(catalog, card.model_id)
    scores = list_scores(catalog, card.model_id)
    if args.json:
        print_json(
            {
                **card_record(card),
                "license": {
                    "id": license.license_id,
                    "name": license.name,
                    "commercial": license.commercial,
                    "research": license.research,
                    "conditions": list(license.conditions),
                    "verified": license.verified,
                    "url": license.url,
                },
                "layers": [layer_record(group) for group in card.spec.groups],
                "weights": [{"quant": w.quant, "tensor_bytes": w.tensor_bytes} for w in weights],
                "weigh_gap": gap,
                "scores": [
                    {
                        "benchmark": s.benchmark,
                        "variant": s.variant,
                        "score": s.score,
                        "reported_by": s.reported_by,
                        "independent": s.independent,
                        "source_url": s.source_url,
                        "as_of": s.as_of,
                    }
                    for s in scores
                ],
            }
        )
        return EXIT_DONE
    spec = card.spec
    print(f"{card.name} ({card.model_id})")
    rows = [
        ("family", f"{card.family}, {card.org}, {card.release}"),
        ("license", f"{license.name}; {card.openness}; commercial use: {license.commercial}"),
        ("size", f"{format_params(spec.n_params)} parameters, {format_params(spec.n_active_params)} active per token"),
        ("context", f"{format_tokens(spec.context_tokens)} tokens"),
        ("reads", ", ".join(card.modalities)),
        ("tasks", ", ".join(card.tasks)),
        ("architecture", f"{spec.architecture}, {spec.n_layers} layers, {spec.hidden_dim} wide"),
        *(("layers", format_layers(group)) for group in spec.groups),
        *(("unverified", text) for text in card.unverified),
        *(("note", text) for text in card.notes),
        ("facts", f"{card.confidence}: {card.basis}"),
        *(("source", url) for url in card.sources),
    ]
    for label, text in rows:
        print(f"  {label:<13}{text}")
    if gap is not None:
        print(f"  {'weights':<13}{gap}")
    for w in weights:
        print(f"  {w.quant:<13}{format_bytes(w.tensor_bytes)}")
    for s in scores:
        by = f"{s.reported_by}{', independent' if s.independent else ''}"
        print(f"  {'score':<13}{s.benchmark} {s.variant}".rstrip() + f": {format_figures(s.score)} ({by})")
    return EXIT_DONE


def run_sources(args: argparse.Namespace) -> int:
    """Print every address, most cited first."""
    sources = list_sources(open_here())
    if args.json:
        print_json(
            [
                {"source_url": s.source_url, "tables": list(s.tables), "n_rows": s.n_rows, "as_of": s.as_of}
                for s in sources
            ]
        )
        return EXIT_DONE
    for s in sources:
        print(f"{s.n_rows:>5}  {s.as_of:<10}  {s.source_url}  ({', '.join(s.tables)})")
    return EXIT_DONE


def run_check(args: argparse.Namespace) -> int:
    """Load every fact file, say its version, how much there is and what does not agree; 1 when something does not."""
    catalog = open_catalog()
    counts, problems = count_facts(catalog), list_fact_problems(catalog)
    if args.json:
        facts = {c.kind: c.n_facts for c in counts}
        print_json({"version": catalog.version.text, "facts": facts, "problems": [asdict(p) for p in problems]})
    else:
        for problem in problems:
            print(f"{problem.name}: {problem.text}")
        print(
            f"catalog {catalog.version.text}: " + ", ".join(f"{c.n_facts:,} {c.kind.replace('_', ' ')}" for c in counts)
        )
    return EXIT_FAILED if problems else EXIT_DONE


def run_detect(args: argparse.Namespace) -> int:
    """Print this machine."""
    machine = detect_machine()
    if args.json:
        print_json(machine_record(machine))
        return EXIT_DONE
    print(machine.name)
    for device in (machine.host, *machine.accelerators):
        print(f"  {device.name} ({device.backend})")
        rate = device.bandwidth_bytes_per_s
        rows = [
            ("memory", f"{format_bytes(device.memory_bytes)}, of which {format_bytes(device.usable_bytes)} usable now"),
            ("bandwidth", f"{format_bytes(rate)}/s" if rate else "unknown"),
            *([("cores", str(device.n_cores))] if device.n_cores else []),
            *([("instructions", ", ".join(device.instruction_sets))] if device.instruction_sets else []),
            *(("note", text) for text in device.notes),
        ]
        for label, text in rows:
            print(f"    {label:<13}{text}")
    return EXIT_DONE


def card_record(card: ModelCard) -> dict[str, Any]:
    """A model as JSON."""
    return {
        "model": card.model_id,
        "name": card.name,
        "family": card.family,
        "org": card.org,
        "release": card.release,
        "license_id": card.license_id,
        "openness": card.openness,
        "gated": card.gated,
        "modalities": list(card.modalities),
        "tasks": list(card.tasks),
        "architecture": card.spec.architecture,
        "n_params": card.spec.n_params,
        "n_active_params": card.spec.n_active_params,
        "n_params_projector": card.spec.n_params_projector,
        "n_layers": card.spec.n_layers,
        "hidden_dim": card.spec.hidden_dim,
        "vocab_size": card.spec.vocab_size,
        "context_tokens": card.spec.context_tokens,
        "tied_embeddings": card.spec.tied_embeddings,
        "quant_native": card.quant_native,
        "confidence": card.confidence,
        "unverified": list(card.unverified),
        "notes": list(card.notes),
        "sources": list(card.sources),
        "as_of": card.as_of,
    }


def layer_record(group: LayerGroup) -> dict[str, Any]:
    """A group of equal layers as JSON; absent parts are null."""
    attention, recurrent, ffn = group.attention, group.recurrent, group.ffn
    return {
        "layers": list(group.layers),
        "attention": attention.name if attention else None,
        "n_heads": attention.n_heads if attention else None,
        "n_kv_heads": attention.n_kv_heads if attention else None,
        "head_dim": attention.head_dim if attention else None,
        "window_tokens": attention.window_tokens if attention else None,
        "has_cache": bool(attention and attention.has_cache),
        "recurrent": str(recurrent.kind) if recurrent else None,
        "ffn_dim": ffn.ffn_dim if ffn else None,
        "n_experts": ffn.n_experts if ffn else None,
        "n_active_experts": ffn.n_active_experts if ffn else None,
        "expert_ffn_dim": ffn.expert_ffn_dim if ffn else None,
    }


def format_layers(group: LayerGroup) -> str:
    """A group of equal layers in words: '24 x GQA sliding 4096, dense 14336'."""
    attention, recurrent, ffn = group.attention, group.recurrent, group.ffn
    parts = [attention.name] if attention else []
    parts += [str(recurrent.kind).replace("_", " ")] if recurrent else []
    if ffn and ffn.is_moe:
        parts.append(f"{ffn.n_active_experts} of {ffn.n_experts} experts of {ffn.expert_ffn_dim}")
    if ffn and ffn.ffn_dim:
        parts.append(f"dense {ffn.ffn_dim}")
    return f"{group.count}{THIN}×{THIN}{', '.join(parts) or 'nothing'}"


def machine_record(machine: Machine) -> dict[str, Any]:
    """A machine as JSON; unknown figures are null."""
    return {
        "name": machine.name,
        "unified": machine.is_unified,
        "usable_bytes": machine.usable_bytes,
        "host": device_record(machine.host),
        "accelerators": [device_record(device) for device in machine.accelerators],
    }


def device_record(device: Device) -> dict[str, Any]:
    """A device as JSON."""
    return {
        "name": device.name,
        "kind": str(device.kind),
        "backend": device.backend,
        "memory_bytes": device.memory_bytes,
        "usable_bytes": device.usable_bytes,
        "bandwidth_bytes_per_s": int(device.bandwidth_bytes_per_s) if device.bandwidth_bytes_per_s else None,
        "fp16_flops": device.fp16_flops,
        "n_cores": device.n_cores,
        "instruction_sets": list(device.instruction_sets),
        "notes": list(device.notes),
    }


if __name__ == "__main__":
    sys.exit(main())

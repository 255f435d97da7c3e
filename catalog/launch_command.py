"""What starts a configuration, from a shell: every text, or one of them alone to save as a file."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from catalog.engine_command import find_offer
from catalog.queries import find_model, list_published_repositories
from catalog.store import Catalog
from sizing.arguments import HARDWARE_HELP, add_engine_arguments, question_from
from sizing.command_line import EXIT_DONE, EXIT_FAILED, print_json, print_notes
from sizing.engines import Engine
from sizing.engines.inverse import ask_engine
from sizing.errors import UnknownNameError
from sizing.estimate import check_context
from sizing.hardware import Machine
from sizing.launch import Launch, ModelFiles, list_launches

KINDS: dict[str, Callable[[Launch], bool]] = {
    "all": lambda launch: True,
    "shell": lambda launch: launch.language == "bash" and launch.title != "Docker",
    "python": lambda launch: launch.language == "python",
    "docker": lambda launch: launch.title == "Docker",
    "compose": lambda launch: launch.title == "docker compose",
    "kubernetes": lambda launch: launch.title == "Kubernetes",
    "config": lambda launch: launch.title in ("Ollama Modelfile", "TabbyAPI config.yml"),
}
"""What `--as` takes."""


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m sizing launch`."""
    parser.add_argument("--model", required=True, help="Hugging Face id, its last part, or the display name")
    parser.add_argument("--quant", "--format", required=True, help="quantization or weight format of the engine")
    parser.add_argument("--context", type=int, required=True, help="tokens each request can hold")
    parser.add_argument("--parallel", type=int, default=1, help="requests at once; default 1")
    parser.add_argument("--hardware", default="this", help=HARDWARE_HELP)
    parser.add_argument("--repository", help="Hub repository with the model in this quantization or format")
    parser.add_argument("--file", help="GGUF file on this machine")
    parser.add_argument("--as", dest="kind", default="all", help=f"one of {', '.join(KINDS)}; default all")
    add_engine_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_launch(args: argparse.Namespace, engine: Engine, catalog: Catalog, machine: Machine) -> int:
    """Print what starts a model in an engine; exit 1 with the reason where it does not run.

    One text alone is printed as it is, its note on stderr, so that it can be saved; several are headed by their names.
    Raises UnknownNameError for a kind that is none, UnsupportedError where the engine cannot run the model.
    """
    if args.kind not in KINDS:
        raise UnknownNameError("kind of launch", args.kind, KINDS)
    question = question_from(args)
    card = find_model(catalog, args.model)
    check_context(card.spec, question.context_tokens)
    offer = find_offer(catalog, card, engine, args.quant)
    answer = ask_engine(engine, question, card.spec, offer, machine)
    if not answer.estimate.fit.runs:
        print_notes(("it does not fit: " + "; ".join(answer.estimate.fit.reasons),))
        return EXIT_FAILED
    files = find_files(catalog, card.model_id, offer.weight_format, engine, args.repository, args.file)
    found = [launch for launch in list_launches(answer, files) if KINDS[args.kind](launch)]
    if not found:
        print_notes((f"nothing starts {engine.name} as {args.kind} on {machine.name}",))
        return EXIT_FAILED
    if args.json:
        print_json([launch_record(launch) for launch in found])
    else:
        print_launches(found)
    return EXIT_DONE


def find_files(
    catalog: Catalog, model_id: str, quant: str, engine: Engine, repository: str | None, file: str | None
) -> ModelFiles:
    """The files as named, else for GGUF a repository that is known to hold them."""
    if not engine.takes_gguf:
        return ModelFiles(model_id, repository)
    known = () if repository or file else list_published_repositories(catalog, model_id, quant)
    return ModelFiles(model_id, gguf_repo=repository or next(iter(known), None), gguf_file=file)


def launch_record(launch: Launch) -> dict[str, str]:
    """A launch as JSON."""
    return {
        "title": launch.title,
        "language": launch.language,
        "file_name": launch.file_name,
        "text": launch.text,
        "note": launch.note,
    }


def print_launches(launches: list[Launch]) -> None:
    """One alone as it is, several with a head each."""
    if len(launches) == 1:
        print_notes((launches[0].note,) if launches[0].note else ())
        print(launches[0].text.rstrip("\n"))
        return
    for i, launch in enumerate(launches):
        print(f"{chr(10) * bool(i)}# {launch.title}, to be saved as {launch.file_name}")
        print(f"# {launch.note}" if launch.note else "#")
        print(launch.text.rstrip("\n"))

"""`python -m catalog search|import|imports|forget|download|local`: models from the Hub and from this machine, as text.

What another room answers (the person's folder, llama.cpp's weights) is given by the command line's shell.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.downloads import Download, DownloadPlan, DownloadState, check_room
from catalog.hub import Hub
from catalog.hub_answers import SORTS, HubHit, HubQuery
from catalog.hub_files import list_gguf_files
from catalog.import_store import ImportStore
from catalog.imported import FileWeights, ImportedModel
from catalog.importing import Outcome, Progress, Weigh, import_repositories
from catalog.local_models import LocalModel, find_local_models
from catalog.model_stores import list_stores
from sizing.command_line import EXIT_DONE, EXIT_FAILED, print_json
from sizing.errors import BadInputError, HubError, UnknownNameError
from sizing.units import format_bytes, format_params

BILLION = 10**9


@dataclass(frozen=True, slots=True)
class Given:
    """What the shell gives: the person's folder, and how llama.cpp is asked for weights."""

    find_home: Callable[[], Path]
    weigh: Weigh

    def open_store(self) -> ImportStore:
        """The person's imports."""
        return ImportStore(self.find_home())


def add_hub_commands(commands: Any, given: Given) -> tuple[argparse.ArgumentParser, ...]:
    """Register the commands with their options."""
    return (
        _add_search(commands),
        _add_import(commands, given),
        _add_imports(commands, given),
        _add_forget(commands, given),
        _add_download(commands, given),
        _add_local(commands),
    )


def _add_search(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser("search", help="repositories on the Hub")
    parser.add_argument("text", metavar="TEXT", nargs="?", default="", help="part of a name")
    parser.add_argument("--task", default="", help="pipeline tag, such as text-generation")
    parser.add_argument("--license", default="", help="licence tag, such as apache-2.0")
    parser.add_argument("--author", default="", help="a user or an organisation")
    parser.add_argument("--base-model", default="", help="only repositories quantized from this one")
    parser.add_argument("--gguf", action="store_true", help="only repositories with GGUF files")
    parser.add_argument("--max-params", type=float, metavar="B", help="most parameters, in billions")
    parser.add_argument("--min-params", type=float, metavar="B", help="fewest parameters, in billions")
    parser.add_argument("--min-downloads", type=int, default=0, metavar="N", help="fewest downloads in 30 days")
    parser.add_argument("--sort", choices=tuple(SORTS), default="downloads")
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="1 to 1000 (50)")
    parser.set_defaults(run=run_search)
    return parser


def run_search(args: argparse.Namespace) -> int:
    """Print what the Hub answers. Raises HubError, BadInputError."""
    query = HubQuery(
        text=args.text,
        task=args.task,
        license_tag=args.license,
        author=args.author,
        base_model=args.base_model,
        has_gguf=args.gguf,
        min_params=None if args.min_params is None else int(args.min_params * BILLION),
        max_params=None if args.max_params is None else int(args.max_params * BILLION),
        min_downloads=args.min_downloads,
        sort=args.sort,
        limit=args.limit,
    )
    hits = Hub().search(query)
    if args.json:
        print_json([hit_record(h) for h in hits])
        return EXIT_DONE
    width = max((len(h.repo_id) for h in hits), default=0)
    for h in hits:
        size = format_params(h.n_params) if h.n_params else "unknown"
        files = "+".join(name for name, there in (("gguf", h.has_gguf), ("safetensors", h.has_safetensors)) if there)
        gated = "gated" if h.gated else "open"
        print(f"{h.repo_id:<{width}}  {size:>8}  {h.license_tag or 'unknown'}  {gated}  {files or 'unknown'}")
    print(f"{len(hits)} repositories", file=sys.stderr)
    return EXIT_DONE


def hit_record(hit: HubHit) -> dict[str, Any]:
    """A search's hit as JSON."""
    return {
        "repository": hit.repo_id,
        "author": hit.author,
        "n_params": hit.n_params,
        "license_tag": hit.license_tag,
        "gated": hit.gated,
        "pipeline_tag": hit.pipeline_tag,
        "n_downloads": hit.n_downloads,
        "n_likes": hit.n_likes,
        "modified_on": hit.modified_on,
        "has_gguf": hit.has_gguf,
        "has_safetensors": hit.has_safetensors,
        "base_models": [name for _, name in hit.base_models],
    }


def _add_import(commands: Any, given: Given) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "import", help="take repositories of the Hub into the catalog"
    )
    parser.add_argument("repositories", metavar="REPOSITORY", nargs="+", help="such as Qwen/Qwen3-14B")
    parser.add_argument("--revision", default="main", help="a branch, a tag or a commit (main)")
    parser.set_defaults(run=lambda args: run_import(args, given))
    return parser


def run_import(args: argparse.Namespace, given: Given) -> int:
    """Import each repository; what failed is printed and makes the exit code 1."""

    def report(progress: Progress) -> None:
        print(f"{progress.n_done + 1} of {progress.n_all}: {progress.repo_id}: {progress.step}", file=sys.stderr)

    outcomes = []
    store = given.open_store()
    for outcome in import_repositories(
        args.repositories, Hub(), store, given.weigh, report=report, revision=args.revision
    ):
        outcomes.append(outcome)
        if not args.json:
            print_outcome(outcome)
    if args.json:
        print_json([outcome_record(o) for o in outcomes])
    return EXIT_FAILED if any(o.model is None for o in outcomes) else EXIT_DONE


def print_outcome(outcome: Outcome) -> None:
    """How one import ended, for reading."""
    model = outcome.model
    if model is None:
        print(f"{outcome.repo_id}: not imported: {outcome.problem}")
        return
    spec = model.card.spec
    sized = f"{len(model.files)} GGUF models" if model.files else f"{len(model.weighed)} quantizations"
    print(f"{outcome.repo_id}: {spec.architecture}, {format_params(spec.n_params)} parameters, {sized}")
    print(f"  parameters: {model.check.note}")
    for text in [*model.card.notes, *([model.weigh_gap] if model.weigh_gap and not model.files else [])]:
        print(f"  note: {text}")


def outcome_record(outcome: Outcome) -> dict[str, Any]:
    """How one import ended, as JSON."""
    record: dict[str, Any] = {"repository": outcome.repo_id, "problem": outcome.problem or None}
    return record | {"model": None if outcome.model is None else import_record(outcome.model)}


def import_record(model: ImportedModel) -> dict[str, Any]:
    """An imported model as JSON."""
    spec = model.card.spec
    return {
        "model": model.card.model_id,
        "name": model.card.name,
        "origin": model.origin,
        "repository": model.repo_id or None,
        "revision": model.revision or None,
        "architecture": spec.architecture,
        "n_params": spec.n_params,
        "n_params_stated": model.check.n_stated,
        "param_check": model.check.note,
        "license_tag": model.license_tag or None,
        "base_models": list(model.base_models),
        "shape_from": model.shape_from,
        "imported_at": model.imported_at,
        "weighed": [w.quant for w in model.weighed],
        "weigh_gap": model.weigh_gap,
        "files": [file_record(f) for f in model.files],
        "notes": list(model.notes),
    }


def file_record(file: FileWeights) -> dict[str, Any]:
    """A GGUF model of an import as JSON."""
    return {
        "label": file.label,
        "paths": list(file.paths),
        "size_bytes": file.size_bytes,
        "tensor_bytes": file.weights.tensor_bytes if file.weights else None,
        "gap": file.gap,
    }


def _add_imports(commands: Any, given: Given) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser("imports", help="what was imported")
    parser.set_defaults(run=lambda args: run_imports(args, given))
    return parser


def run_imports(args: argparse.Namespace, given: Given) -> int:
    """Print every imported model."""
    models = given.open_store().load()
    if args.json:
        print_json([import_record(m) for m in models])
        return EXIT_DONE
    for m in models:
        print(f"{m.card.model_id}  {format_params(m.card.spec.n_params)}  {m.license_tag or 'unknown'}  {m.shape_from}")
        for f in m.files:
            sized = format_bytes(f.weights.tensor_bytes) if f.weights else f"not sized: {f.gap}"
            print(f"  {f.label:<14}{format_bytes(f.size_bytes)} in {len(f.paths)} files, tensors {sized}")
    print(f"{len(models)} imported models", file=sys.stderr)
    return EXIT_DONE


def _add_forget(commands: Any, given: Given) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser("forget", help="drop imported models; files stay")
    parser.add_argument("models", metavar="MODEL", nargs="+")
    parser.set_defaults(run=lambda args: run_forget(args, given))
    return parser


def run_forget(args: argparse.Namespace, given: Given) -> int:
    """Drop imports. Raises UnknownNameError for a model that was not imported."""
    store = given.open_store()
    known = {m.card.model_id for m in store.load()}
    for name in args.models:
        if name not in known:
            raise UnknownNameError("imported model", name, known)
    for name in args.models:
        store.forget(name)
    if args.json:
        print_json({"forgotten": list(args.models)})
    return EXIT_DONE


def _add_download(commands: Any, given: Given) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "download", help="fetch a GGUF file into Hugging Face's cache"
    )
    parser.add_argument("repository", metavar="REPOSITORY")
    parser.add_argument("quant", metavar="QUANT", help="a quantization of the repository, such as Q4_K_M")
    parser.add_argument("--revision", default="main", help="a branch, a tag or a commit (main)")
    parser.set_defaults(run=run_download)
    return parser


def run_download(args: argparse.Namespace) -> int:
    """Fetch a file, checked against the Hub's SHA-256. An interrupt keeps what came; the same command goes on."""
    repository = Hub().fetch_repository(args.repository, args.revision)
    groups = [g for g in list_gguf_files(repository) if g.is_model]
    group = next((g for g in groups if g.label.casefold() == args.quant.casefold()), None)
    if group is None:
        known = ", ".join(g.label for g in groups) or "no GGUF file"
        raise BadInputError(f"{repository.repo_id} has no {args.quant!a}; it has {known}")
    plan = DownloadPlan(
        repository.repo_id, repository.revision, group.files, ref="main" if args.revision == "main" else ""
    )
    room = check_room(plan)
    if not room.is_enough:
        raise HubError("disk", room.describe())
    state = follow(Download(plan), plan)
    if state.status != "done":
        raise HubError(state.kind or "stopped", state.problem or "the download was stopped; run it again to go on")
    if args.json:
        print_json({"repository": plan.repo_id, "revision": plan.revision, "path": str(state.path)})
    else:
        print(state.path)
    return EXIT_DONE


def follow(download: Download, plan: DownloadPlan) -> DownloadState:
    """Start a download and tell on stderr how it goes, to its end."""
    download.start()
    try:
        while not (state := download.wait(1.0)).is_over:
            done = f"{format_bytes(state.n_bytes)} of {format_bytes(state.total_bytes)}"
            print(f"{state.status}: {done} at {format_bytes(int(state.bytes_per_s or 0))}/s", file=sys.stderr)
    except KeyboardInterrupt:
        download.stop()
        download.wait(10.0)
    return download.state


def _add_local(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser("local", help="model files that are on this machine")
    parser.add_argument("folders", metavar="FOLDER", nargs="*", type=Path, help="further folders to look through")
    parser.set_defaults(run=run_local)
    return parser


def run_local(args: argparse.Namespace) -> int:
    """Print the model files other programs keep here, and those in the given folders."""
    for folder in args.folders:
        if not folder.is_dir():
            raise BadInputError(f"wanted a folder, got {str(folder)!r}")
    found = find_local_models(list_stores(os.environ, Path.home()), args.folders)
    if args.json:
        print_json({"models": [local_record(m) for m in found.models], "problems": list(found.problems)})
        return EXIT_DONE
    for m in found.models:
        state = f"  ({m.problem})" if m.problem else ""
        print(f"{ascii(m.name)[1:-1]}  {m.label or 'unknown'}  {format_bytes(m.size_bytes)}  {m.store}{state}")
        print_paths(m.paths)
    for problem in found.problems:
        print(f"left out: {problem}", file=sys.stderr)
    print(f"{len(found.models)} models in files", file=sys.stderr)
    return EXIT_DONE


def print_paths(paths: Sequence[Path | str]) -> None:
    """The files of a model, escaped so that a name cannot steer a terminal."""
    for path in paths:
        print(f"  {ascii(str(path))[1:-1]}")


def local_record(model: LocalModel) -> dict[str, Any]:
    """A model file as JSON."""
    return {
        "name": model.name,
        "label": model.label,
        "paths": [os.fsencode(str(p)).decode("utf-8", "replace") for p in model.paths],
        "size_bytes": model.size_bytes,
        "store": model.store,
        "repository": model.repo_id or None,
        "architecture": model.architecture,
        "n_params": model.n_params,
        "problem": model.problem,
    }

"""`python -m catalog refresh`: facts read anew from the Hub, field by field; what a person accepts is taken over."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from catalog.hub import Hub
from catalog.hub_command import Given
from catalog.imported import HubRepository, ImportedModel
from catalog.importing import import_repository
from catalog.models import DATA_DIR, ModelCard, load_families
from catalog.refresh import FactChange, apply_changes, diff_facts, diff_imported, find_family_file
from sizing.command_line import EXIT_DONE, EXIT_FAILED, print_json
from sizing.errors import BadInputError, HubError, UnknownNameError, WeighbridgeError

SHAPE_FIELDS = frozenset(
    "architecture n_layers hidden_dim n_heads n_kv_heads head_dim ffn_dim vocab_size tied_embeddings".split()
)
"""Fields that change what a model weighs."""

Accept = Callable[[str, FactChange], bool]
"""Whether a person takes one change of a model over."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """One model compared with the Hub: what is otherwise there, what was taken over, or why it was not compared."""

    model_id: str
    changes: tuple[FactChange, ...] = ()
    applied: tuple[FactChange, ...] = ()
    problem: str = ""


def add_refresh_command(commands: Any, given: Given) -> argparse.ArgumentParser:
    """Register the command with its options."""
    parser: argparse.ArgumentParser = commands.add_parser("refresh", help="compare facts with what the Hub says today")
    parser.add_argument("models", metavar="MODEL", nargs="*", help="curated or imported models, by their ids")
    parser.add_argument("--all", action="store_true", help="every curated model")
    parser.add_argument("--imported", action="store_true", help="every imported model")
    parser.add_argument("--field", action="append", default=[], metavar="FIELD", help="only this field; repeatable")
    parser.add_argument("--yes", action="store_true", help="take over every change that can be; else each is asked")
    parser.set_defaults(run=lambda args: run_refresh(args, given))
    return parser


def run_refresh(args: argparse.Namespace, given: Given) -> int:
    """Compare and, where a person says so, take over. A model that could not be compared makes the exit code 1."""
    store = given.open_store()
    curated = {card.model_id: card for card in load_families()}
    imported = set(store.list_ids())
    wanted = list_wanted(args, curated, imported)
    hub, done = Hub(), []
    for i, model_id in enumerate(wanted, start=1):
        print(f"{i} of {len(wanted)}: {model_id}", file=sys.stderr)
        kept = store.find(model_id) if model_id in imported else None
        try:
            card = curated.get(model_id)
            told = (
                refresh_curated(card, hub, args.field, choose(args))
                if card is not None
                else refresh_imported(kept, hub, given, args.field, choose(args))
            )
        except HubError as error:
            told = Refreshed(model_id, problem=str(error))
            if error.kind == "offline":
                raise
        except WeighbridgeError as error:
            told = Refreshed(model_id, problem=str(error))
        done.append(told)
        if not args.json:
            print_refreshed(told)
    if args.json:
        print_json([refreshed_record(r) for r in done])
    if any(c.field in SHAPE_FIELDS for r in done for c in r.applied if r.model_id in curated):
        print("shapes have changed: run `python -m evals weigh` so that weights follow", file=sys.stderr)
    return EXIT_FAILED if any(r.problem for r in done) else EXIT_DONE


def list_wanted(args: argparse.Namespace, curated: Iterable[str], imported: Iterable[str]) -> list[str]:
    """The models to compare. Raises BadInputError for none, UnknownNameError for one nobody knows."""
    known = {*curated, *imported}
    for name in args.models:
        if name not in known:
            raise UnknownNameError("model", name, known)
    wanted = [*args.models, *(sorted(curated) if args.all else ()), *(sorted(imported) if args.imported else ())]
    if not wanted:
        raise BadInputError("name at least one model, or say --all or --imported")
    return list(dict.fromkeys(wanted))


def choose(args: argparse.Namespace) -> Accept:
    """How a change is accepted: all with --yes, each asked at a terminal, none where nobody can be asked."""
    if args.yes:
        return lambda model_id, change: True
    if args.json or not sys.stdin.isatty():
        return lambda model_id, change: False
    return ask_person


def ask_person(model_id: str, change: FactChange) -> bool:
    """Ask on the terminal whether to take a change over."""
    print(f"  {describe_change(change)}")
    return input("  take it over? [y/N] ").strip().casefold() in ("y", "yes")


def pick_fields(changes: Iterable[FactChange], fields: Sequence[str]) -> tuple[FactChange, ...]:
    """The changes of the named fields, all where none is named."""
    return tuple(c for c in changes if not fields or c.field in fields)


def refresh_curated(card: ModelCard, hub: Hub, fields: Sequence[str], accept: Accept) -> Refreshed:
    """A curated model: what is accepted is written into its family file, with today as its date."""
    repository: HubRepository = hub.fetch_repository(card.model_id)
    changes = pick_fields(diff_facts(card, repository), fields)
    chosen = tuple(c for c in changes if c.is_applicable and accept(card.model_id, c))
    if chosen:
        as_of = datetime.now(UTC).date().isoformat()
        apply_changes(find_family_file(DATA_DIR, card.model_id), card.model_id, chosen, as_of)
    return Refreshed(card.model_id, changes, chosen)


def refresh_imported(
    model: ImportedModel | None, hub: Hub, given: Given, fields: Sequence[str], accept: Accept
) -> Refreshed:
    """An imported model: where a change is accepted it is imported again, whole. Raises BadInputError for a file's."""
    if model is None or model.origin != "hub":
        name = "" if model is None else f"{model.card.model_id} "
        raise BadInputError(f"{name}came from a file here, not from the Hub; take the file in again")
    changes = pick_fields(diff_imported(model, hub.fetch_repository(model.repo_id)), fields)
    chosen = tuple(c for c in changes if c.is_applicable and accept(model.card.model_id, c))
    if chosen:
        store = given.open_store()
        store.keep(import_repository(model.repo_id, hub, store, given.weigh))
    return Refreshed(model.card.model_id, changes, changes if chosen else ())


def describe_change(change: FactChange) -> str:
    """'gated: false -> true (each request is looked at by a person)'."""
    note = f" ({change.note})" if change.note else ""
    return f"{change.field}: {format_fact(change.old)} -> {format_fact(change.new)}{note}"


def format_fact(value: object) -> str:
    """A fact for reading, escaped."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else ascii(value)[1:-1] if isinstance(value, str) else str(value)


def print_refreshed(told: Refreshed) -> None:
    """What came of one model, for reading."""
    if told.problem:
        print(f"{told.model_id}: not compared: {told.problem}")
        return
    if not told.changes:
        print(f"{told.model_id}: as the Hub says")
        return
    print(f"{told.model_id}: {len(told.changes)} otherwise")
    for change in told.changes:
        print(f"  {'taken over' if change in told.applied else 'left'}: {describe_change(change)}")


def refreshed_record(told: Refreshed) -> dict[str, Any]:
    """What came of one model, as JSON."""
    return {
        "model": told.model_id,
        "problem": told.problem or None,
        "changes": [
            {
                "field": c.field,
                "old": c.old,
                "new": c.new,
                "source_url": c.source_url,
                "is_applicable": c.is_applicable,
                "is_applied": c in told.applied,
                "note": c.note or None,
            }
            for c in told.changes
        ],
    }

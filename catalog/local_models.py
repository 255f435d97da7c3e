"""Models already on this machine: GGUF files in other programs' stores and in chosen folders, by their headers alone.

Nothing but the head of a file is read, nothing is written, and whatever lies in these folders ends in a model or in a
sentence, never in an exception.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from catalog.gguf_header import load_header
from catalog.gguf_spec import find_model_architecture, find_other_purpose
from catalog.gguf_weights import find_quant_label
from catalog.hub_files import find_recipe, find_role
from catalog.local_walk import (
    UNFINISHED,
    FoundFile,
    Search,
    SearchLimits,
    describe,
    find_modified_ns,
    find_real,
    is_folder,
    look_at,
    show,
    walk_files,
)
from catalog.model_stores import FOLDER, HUB, LM_STUDIO, OLLAMA, Store
from catalog.ollama_store import walk_ollama
from sizing.errors import UnsupportedError, WeighbridgeError
from sizing.split_names import read_split_name

SUFFIX = ".gguf"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model on this disk.

    `name` is what its program calls it, `store` that program, `repo_id` the Hub's repository ("" where untold).
    `paths` are its parts in order, as named there. `label` is its quantization, `architecture` and `n_params` are the
    header's (None where it cannot be read). `missing_bytes` and `missing_parts` (from 1) are what an incomplete one
    lacks; `problem` says in a sentence why it cannot be used as it is. `content_key` is the same for two places that
    are one file. `projector` is the file for images or sound beside it. `modified_ns` is nanoseconds since 1970.
    """

    name: str
    paths: tuple[Path, ...]
    size_bytes: int
    store: str
    repo_id: str
    label: str
    architecture: str | None
    n_params: int | None
    modified_ns: int
    content_key: tuple[int, int]
    missing_bytes: int = 0
    missing_parts: tuple[int, ...] = ()
    problem: str | None = None
    projector: Path | None = None


@dataclass(frozen=True, slots=True)
class LocalFindings:
    """What a search found. `problems` are sentences about what is no model, `truncated` about where it ended early."""

    models: tuple[LocalModel, ...]
    problems: tuple[str, ...]
    truncated: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeadFacts:
    """What is kept of a header: few and small. `refusal` is why there is none, `is_model` False for a projector."""

    architecture: str | None = None
    label: str = ""
    n_params: int = 0
    missing_bytes: int = 0
    is_model: bool = False
    problem: str | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """Files of one store that may be one model, in order; `n_parts` is how many there should be."""

    name: str
    store: str
    repo_id: str
    files: tuple[FoundFile, ...]
    numbers: tuple[int, ...] = (1,)
    n_parts: int = 1
    projector: Path | None = None


def find_local_models(
    stores: Sequence[Store], folders: Sequence[Path] = (), limits: SearchLimits | None = None
) -> LocalFindings:
    """Every model in the stores and in the folders that a person chose, in that order, and what else was met.

    Never raises for what lies there. A file that several places share is listed once for each, with one `content_key`.
    """
    search = Search(limits or SearchLimits())
    models: list[LocalModel] = []
    for store in (*stores, *(Store(FOLDER, folder) for folder in folders)):
        if store.program == FOLDER and find_real(store.folder) is None:
            search.say(f"{show(store.folder)} is no folder that can be looked through")
        for candidate in _list_candidates(store, search):
            model = _read_candidate(candidate, search)
            if model is not None:
                models.append(model)
    if search.n_unsaid:
        search.problems.append(f"and {search.n_unsaid:,} more")
    return LocalFindings(tuple(models), tuple(search.problems), tuple(search.truncated))


# ---------------------------------------------------------------- stores


def _list_candidates(store: Store, search: Search) -> Iterator[Candidate]:
    if store.program == OLLAMA:
        for entry in walk_ollama(store.folder, search):
            n = len(entry.files)
            numbers = tuple(range(1, n + 1))
            yield Candidate(entry.name, OLLAMA, entry.repo_id, entry.files, numbers, n, entry.projector)
        return
    yield from _walk_hub(store, search)
    if store.program != HUB:
        yield from _walk_plain(store, search)


def _walk_hub(store: Store, search: Search) -> Iterator[Candidate]:
    """Repositories in the Hub's layout: models--owner--name/snapshots/<revision>/<file>, links into blobs/."""
    top = find_real(store.folder)
    for entry in search.list_folder(top) if top is not None else ():
        if not entry.name.startswith("models--") or search.has_ended(store.folder):
            continue
        if not is_folder(entry):
            search.say(f"{show(entry.path)} is no folder of its own; it is not followed")
            continue
        repo = Path(entry.path)
        repo_id = show(entry.name.removeprefix("models--").replace("--", "/"))
        for unfinished in search.list_folder(repo / "blobs"):
            _note_unfinished(Path(unfinished.path), search)
        yield from _join(store.program, repo_id, tuple(_list_snapshot_files(repo, search)), repo / "snapshots")


def _list_snapshot_files(repo: Path, search: Search) -> Iterator[FoundFile]:
    """The GGUF files of a repository, each blob once: those of the newest revision first."""
    seen: set[tuple[int, int]] = set()
    revisions = [entry for entry in search.list_folder(repo / "snapshots") if is_folder(entry)]
    for revision in sorted(revisions, key=find_modified_ns, reverse=True):
        waiting = [Path(revision.path)]
        while waiting and not search.has_ended(repo):
            for entry in search.list_folder(waiting.pop()):
                path = Path(entry.path)
                if is_folder(entry):
                    waiting += [path] if len(path.parts) - len(repo.parts) < search.limits.depth else []
                elif _is_gguf(entry.name):
                    found = look_at(path, repo, search)
                    if found is not None and found.key not in seen:
                        seen.add(found.key)
                        search.n_files += 1
                        yield found


def _walk_plain(store: Store, search: Search) -> Iterator[Candidate]:
    """Files by folder but those in the Hub's layout. LM Studio names folders publisher/model."""

    def wanted(name: str) -> bool:
        if name.lower().endswith(tuple(SUFFIX + ending for ending in UNFINISHED)):
            search.say(f"{show(name)} is a download that has not finished")
        return _is_gguf(name)

    def is_of_the_hub(folder: Path) -> bool:
        return folder.parent == top and folder.name.startswith("models--")

    top = find_real(store.folder)
    by_folder: dict[Path, list[FoundFile]] = {}
    for found in walk_files(store.folder, search, wanted, is_of_the_hub):
        by_folder.setdefault(found.path.parent, []).append(found)
    for folder, files in by_folder.items():
        places = folder.relative_to(top).parts if top is not None else ()
        repo_id = "/".join(places[:2]) if store.program == LM_STUDIO and len(places) >= 2 else ""
        yield from _join(store.program, show(repo_id), tuple(files), folder)


def _note_unfinished(path: Path, search: Search) -> None:
    if path.name.lower().endswith(UNFINISHED):
        search.say(f"{show(path)} is a download that has not finished")


def _is_gguf(name: str) -> bool:
    return name.lower().endswith(SUFFIX)


def _join(store: str, repo_id: str, files: Sequence[FoundFile], below: Path) -> Iterator[Candidate]:
    """Files of one place as models: parts of split ones together, projectors beside the others."""
    projector = next((f.path for f in files if find_role(f.path.name) == "projector"), None)
    split: dict[tuple[Path, str, int], dict[int, FoundFile]] = {}
    for found in files:
        if find_role(found.path.name) == "projector":
            continue
        part = read_split_name(found.path.name)
        if part is None or not 1 <= part.number <= part.total:
            yield Candidate(show(found.path.stem), store, repo_id, (found,), projector=projector)
        else:
            split.setdefault((found.path.parent, part.stem, part.total), {})[part.number] = found
    for (_, name, n_parts), by_number in split.items():
        numbers = tuple(sorted(by_number))
        ordered = tuple(by_number[n] for n in numbers)
        yield Candidate(show(name), store, repo_id, ordered, numbers, n_parts, projector)


# ---------------------------------------------------------------- headers


def _read_candidate(candidate: Candidate, search: Search) -> LocalModel | None:
    """The model in a candidate's files; None, and a sentence, where they hold none."""
    facts = [read_head_facts(f.real, f.size_bytes, f.modified_ns, f.key) for f in candidate.files]
    first, head = candidate.files[0], facts[0]
    refused = next(((f, h.refusal) for f, h in zip(candidate.files, facts, strict=True) if h.refusal), None)
    if refused is not None:
        search.say(f"{show(refused[0].path)}: {refused[1]}")
        return None
    if not head.is_model and candidate.numbers[0] == 1:
        return None
    model = LocalModel(
        name=candidate.name,
        paths=tuple(f.path for f in candidate.files),
        size_bytes=sum(f.size_bytes for f in candidate.files),
        store=candidate.store,
        repo_id=candidate.repo_id,
        label=find_recipe(first.path.name) or head.label,
        architecture=head.architecture,
        n_params=sum(h.n_params for h in facts),
        modified_ns=max(f.modified_ns for f in candidate.files),
        content_key=first.key,
        missing_bytes=sum(h.missing_bytes for h in facts),
        missing_parts=_list_missing(candidate),
        projector=candidate.projector,
    )
    return replace(model, problem=_describe_problem(model, candidate, head))


def _list_missing(candidate: Candidate) -> tuple[int, ...]:
    """Numbers of the parts that are not here, at most the first thousand."""
    here = set(candidate.numbers)
    return tuple(n for n in range(1, min(candidate.n_parts, 1000) + 1) if n not in here)


def _describe_problem(model: LocalModel, candidate: Candidate, head: HeadFacts) -> str | None:
    if model.missing_parts:
        shown = ", ".join(map(str, model.missing_parts[:8])) + (", ..." if len(model.missing_parts) > 8 else "")
        return f"{len(model.missing_parts)} of {candidate.n_parts} parts are missing: {shown}"
    if model.missing_bytes:
        return f"the file is cut short: {model.missing_bytes:,} bytes are missing; download it again"
    return head.problem


@lru_cache(maxsize=8192)
def read_head_facts(path: Path, size_bytes: int, modified_ns: int, key: tuple[int, int]) -> HeadFacts:
    """A file's header in few words; the same file in the same state is read once in a process."""
    try:
        header = load_header(path)
    except WeighbridgeError as error:
        return HeadFacts(refusal=str(error))
    except OSError as error:
        return HeadFacts(refusal=f"it cannot be read: {describe(error)}")
    facts = HeadFacts(header.architecture, find_quant_label([header]), header.n_params, header.missing_bytes, True)
    if find_other_purpose(header) is not None:
        return replace(facts, is_model=False)
    try:
        find_model_architecture(header)
    except UnsupportedError as error:
        return replace(facts, problem=str(error))
    return facts

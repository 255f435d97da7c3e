"""Taking models in: from repositories of the Hub and from files here, one after the other, past failures.

What fetches, weighs and keeps is given: the network is `catalog.hub`'s, llama.cpp is asked by another room, and the
person's database is `catalog.import_store`'s. A failure is a value with its reason; only a full stop ends the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from catalog.gguf_header import GgufHeader
from catalog.gguf_spec import HeaderReading, read_header_spec
from catalog.header_fetch import HeaderFetch
from catalog.hub_card import build_card, name_model
from catalog.hub_config import ConfigReading, check_params, read_config
from catalog.hub_files import GgufGroup, list_gguf_files
from catalog.imported import FileWeights, HubRepository, ImportedModel, ParamCheck
from sizing.errors import BadInputError, HubError, UnsupportedError, WeighbridgeError
from sizing.memory import WeightBytes
from sizing.quants import MAX_LABEL_CHARACTERS, is_label
from sizing.specs import ModelSpec
from sizing.tensors import count_params

CONFIG, HEADER = "config.json", "GGUF header"
MAX_IMPORTS = 1000
"""Repositories taken in by one call."""

Weigh = Callable[[ModelSpec], tuple[WeightBytes, ...] | str]
"""Asks llama.cpp for the bytes of its recipes; a text says why there are none."""

Say = Callable[[str], None]


class Door(Protocol):
    """What an import wants of the Hub (`catalog.hub.Hub`)."""

    def fetch_repository(self, repo_id: str, revision: str = "main") -> HubRepository:
        """A repository at one commit."""

    def open_headers(self, repository: HubRepository) -> HeaderFetch:
        """Reads headers of the files of a repository."""

    def fetch_param_counts(self, repository: HubRepository) -> tuple[tuple[str, int], ...]:
        """Parameters by type out of the headers of the safetensors files."""


class Shelf(Protocol):
    """What an import wants of the person's store (`catalog.import_store.ImportStore`)."""

    def keep(self, model: ImportedModel) -> None:
        """Keep a model, in the place of an older import of it."""

    def find_known_weights(self, spec: ModelSpec) -> tuple[WeightBytes, ...] | None:
        """What a model of just these tensors weighs, where one was weighed before."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one import ended: the model, or why there is none (`problem`, with the error's `kind` where it has one)."""

    repo_id: str
    model: ImportedModel | None
    problem: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a row of imports stands: `n_done` of `n_all` are over, `repo_id` is at work on `step`."""

    n_done: int
    n_all: int
    repo_id: str
    step: str


class Stopped(Exception):
    """The person had enough; what was kept stays."""


def import_repositories(
    repo_ids: Sequence[str],
    hub: Door,
    shelf: Shelf,
    weigh: Weigh,
    *,
    report: Callable[[Progress], None] = lambda progress: None,
    is_stopped: Callable[[], bool] = lambda: False,
    revision: str = "main",
) -> Iterator[Outcome]:
    """Import each repository and keep it; one outcome each, in order, as soon as it is there.

    Raises BadInputError for too many at once. When nobody answers at the Hub's address, the rest is not tried.
    """
    wanted = list(dict.fromkeys(repo_ids))
    if not 1 <= len(wanted) <= MAX_IMPORTS:
        raise BadInputError(f"an import takes 1 to {MAX_IMPORTS:,} repositories, got {len(wanted):,}")
    lost: HubError | None = None
    for i, repo_id in enumerate(wanted):
        if lost is not None:
            yield Outcome(repo_id, None, f"not tried: {lost}", lost.kind)
            continue

        def say(step: str, i: int = i, repo_id: str = repo_id) -> None:
            if is_stopped():
                raise Stopped
            report(Progress(i, len(wanted), repo_id, step))

        try:
            model = import_repository(repo_id, hub, shelf, weigh, say=say, revision=revision)
            shelf.keep(model)
            yield Outcome(repo_id, model)
        except Stopped:
            return
        except HubError as error:
            lost = error if error.kind == "offline" else None
            yield Outcome(repo_id, None, str(error), error.kind)
        except WeighbridgeError as error:
            yield Outcome(repo_id, None, str(error))


def import_repository(
    repo_id: str,
    hub: Door,
    shelf: Shelf,
    weigh: Weigh,
    *,
    say: Say = lambda step: None,
    revision: str = "main",
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> ImportedModel:
    """One repository as a model, not kept yet: its shape from config.json, else from a GGUF file's header.

    Raises HubError where the Hub gives no answer of use, UnsupportedError for an architecture nobody here knows or a
    repository without a language model, BadInputError for a config.json that contradicts itself.
    """
    say("reading the repository")
    repository = hub.fetch_repository(repo_id, revision)
    found = list_gguf_files(repository)
    groups = tuple(g for g in found if g.is_model)
    left_out = [*(f"{g.paths[0]}: {g.reason}" for g in found if not g.is_model), *repository.refused]
    reading, refusal = read_shape(repository)
    if reading is None and not groups:
        raise refusal or UnsupportedError(
            f"{repository.repo_id} holds neither a config.json nor GGUF files; is it a language model?"
        )
    headers = fetch_headers(repository, groups, hub, say)
    when = now()
    if reading is not None:
        stated = repository.n_params_stated
        if stated is None and any(f.path.endswith(".safetensors") for f in repository.files):
            say("counting parameters")
            stated = sum(n for _, n in hub.fetch_param_counts(repository)) or None
        check = check_params(
            reading.spec,
            stated,
            quant_native=reading.quant_native,
            modalities=reading.modalities,
            n_prediction_layers=reading.n_prediction_layers,
            has_head=reading.has_head,
        )
        weighed, gap = find_weights(reading.spec, shelf, weigh, say)
        spec, notes = reading.spec, reading.notes
        modalities, native, shape_from = reading.modalities, reading.quant_native, CONFIG
    else:
        spec, check, notes = read_first(repository, groups, headers, refusal)
        weighed, gap = (), "only GGUF files were imported; their own quantizations are sized"
        modalities, native, shape_from = (), None, HEADER
    card = build_card(
        repository,
        spec,
        check,
        shape_from=shape_from,
        as_of=when.date().isoformat(),
        modalities=modalities,
        quant_native=native,
        notes=notes,
    )
    return ImportedModel(
        card=card,
        origin="hub",
        repo_id=repository.repo_id,
        revision=repository.revision,
        shape_from=shape_from,
        check=check,
        imported_at=when.isoformat(timespec="seconds"),
        weighed=weighed,
        weigh_gap=gap,
        files=number_labels(weigh_file(group, headers[group.label], spec) for group in groups),
        license_tag=repository.license_tag,
        license_name=repository.license_name,
        license_url=repository.license_url,
        base_models=tuple(name for _, name in repository.base_models),
        n_downloads=repository.n_downloads,
        n_likes=repository.n_likes,
        pipeline_tag=repository.pipeline_tag,
        notes=tuple(left_out),
    )


def read_shape(repository: HubRepository) -> tuple[ConfigReading | None, WeighbridgeError | None]:
    """The shape config.json describes, or why it describes none. Raises BadInputError only where nothing else helps."""
    if repository.config is None:
        return None, None
    try:
        return read_config(repository.config, repository.repo_id, name_model(repository.repo_id)), None
    except (UnsupportedError, BadInputError) as error:
        return None, error


def fetch_headers(
    repository: HubRepository, groups: Iterable[GgufGroup], hub: Door, say: Say
) -> dict[str, tuple[GgufHeader, ...] | str]:
    """The headers of every GGUF model of a repository by label, part by part; a text where one could not be read."""
    out: dict[str, tuple[GgufHeader, ...] | str] = {}
    fetch = hub.open_headers(repository)
    for group in groups:
        say(f"reading the header of {group.label}")
        try:
            out[group.label] = tuple(fetch.fetch(file.path, file.size_bytes) for file in group.files)
        except HubError as error:
            if error.kind in ("offline", "token", "gated", "busy", "stopped"):
                raise
            out[group.label] = str(error)
        except WeighbridgeError as error:
            out[group.label] = str(error)
    return out


def read_first(
    repository: HubRepository,
    groups: Sequence[GgufGroup],
    headers: dict[str, tuple[GgufHeader, ...] | str],
    refusal: WeighbridgeError | None,
) -> tuple[ModelSpec, ParamCheck, tuple[str, ...]]:
    """The shape that the first readable GGUF file describes. Raises what the last one was refused for."""
    problem = refusal
    for group in groups:
        found = headers[group.label]
        if isinstance(found, str):
            problem = UnsupportedError(f"{group.paths[0]}: {found}")
            continue
        try:
            told = read_header_spec(found, repository.repo_id, name_model(repository.repo_id), group.label)
        except WeighbridgeError as error:
            problem = error
            continue
        return told.spec, check_header(told), told.notes
    raise problem or UnsupportedError(f"{repository.repo_id} holds no GGUF file of a language model")


def check_header(told: HeaderReading) -> ParamCheck:
    """Whether the tensors the shape calls for are just those in the file."""
    n_stated = told.spec.n_params
    try:
        n_counted = count_params(told.spec)
    except UnsupportedError:
        n_counted = n_stated
    return ParamCheck(n_counted, n_stated, told.check.sentence)


def find_weights(spec: ModelSpec, shelf: Shelf, weigh: Weigh, say: Say) -> tuple[tuple[WeightBytes, ...], str | None]:
    """What llama.cpp's recipes weigh: from a model of just these tensors, else asked; or why there are none."""
    known = shelf.find_known_weights(spec)
    if known:
        return known, None
    say("asking llama.cpp for the weights")
    answer = weigh(spec)
    return ((), answer) if isinstance(answer, str) else (answer, None)


def weigh_file(group: GgufGroup, headers: tuple[GgufHeader, ...] | str, spec: ModelSpec) -> FileWeights:
    """One GGUF model of a repository with the bytes of its own tensor table, or why they are not known."""
    file = FileWeights(
        label=make_label(group.label),
        paths=group.paths,
        size_bytes=group.size_bytes or 0,
        sha256=tuple(part.sha256 for part in group.files),
        weights=None,
        part_bytes=tuple(part.size_bytes or 0 for part in group.files),
    )
    return replace(file, gap=headers) if isinstance(headers, str) else weigh_headers(file, headers, spec)


def weigh_headers(file: FileWeights, headers: Sequence[GgufHeader], spec: ModelSpec) -> FileWeights:
    """A GGUF model by its headers; refused in words where it has other layers than the shape it is to be sized by."""
    try:
        told = read_header_spec(headers, spec.model_id, spec.name, file.label)
    except WeighbridgeError as error:
        return replace(file, gap=str(error))
    if told.spec.n_layers != spec.n_layers or told.spec.hidden_dim != spec.hidden_dim:
        gap = (
            f"the file has {told.spec.n_layers} layers of width {told.spec.hidden_dim:,}, the model {spec.n_layers} of "
            f"{spec.hidden_dim:,}"
        )
        return replace(file, gap=gap)
    return replace(file, weights=told.weights, types=told.types)


def make_label(text: str) -> str:
    """A quantization's name as the catalog takes it, out of what a file is called.

    >>> make_label("UD-Q4_K_XL"), make_label("模型:final")
    ('UD-Q4_K_XL', 'final')
    """
    plain = "".join(c for c in text if is_label(f"a{c}a")).strip()
    return plain[-MAX_LABEL_CHARACTERS:].strip() or "file"


def number_labels(files: Iterable[FileWeights]) -> tuple[FileWeights, ...]:
    """The files with labels of their own: of two with the same the later ones are numbered."""
    out: list[FileWeights] = []
    taken: set[str] = set()
    for file in files:
        label, n = file.label, 1
        while label in taken:
            n += 1
            label = f"{file.label[: MAX_LABEL_CHARACTERS - 5]} ({n})"
        taken.add(label)
        weights = None if file.weights is None else replace(file.weights, quant=label)
        out.append(replace(file, label=label, weights=weights))
    return tuple(out)

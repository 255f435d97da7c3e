"""Facts of the catalog against what the Hub says today: the differences, field by field.

Nothing is fetched here: `catalog.hub` does, and gives a HubRepository. What a person accepts is written into the
family file by `apply_changes` (`catalog.family_edit`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from catalog.facts import APPLICABLE, FactChange, FactValue, list_shape_facts
from catalog.family_edit import apply_changes, find_family_file
from catalog.hub_config import ConfigReading, read_config
from catalog.imported import FileWeights, HubFile, HubRepository, ImportedModel
from catalog.licenses import load_licenses
from catalog.models import ModelCard
from sizing.architectures import ARCHITECTURES
from sizing.errors import BadInputError, UnsupportedError
from sizing.specs import ModelSpec
from sizing.tensors import digest_tensors

__all__ = ["FactChange", "apply_changes", "diff_facts", "diff_imported", "diff_shapes", "find_family_file"]

HUB_LICENSES = (
    "apache-2.0",
    "mit",
    "cc-by-nc-4.0",
    "gemma",
    "llama2",
    "llama3",
    "llama3.1",
    "llama3.2",
    "llama3.3",
    "llama4",
)
"""Licence names of the catalog that are tags of the Hub itself (https://huggingface.co/docs/hub/repositories-licenses).

A repository under any other licence is tagged `other`, which says nothing about a licence the Hub has no tag for.
"""

BY_HAND = "edit the family file by hand: only plain values of the record itself are changed from here"


def diff_facts(card: ModelCard, repository: HubRepository) -> tuple[FactChange, ...]:
    """What the Hub says otherwise than a curated card, in the order of the family file's keys.

    Only what the repository tells is compared: a missing licence tag, parameter count or config changes nothing. A
    config that cannot be read is one change of its own, not applicable, with the reason.
    """
    known = {found.license_id for found in load_licenses()}
    changes = [*_diff_identity(card, repository, known), *_diff_config(card, repository)]
    stated = repository.n_params_stated
    if stated is not None and stated != card.n_params_reported:
        changes.append(_make_change("n_params_reported", card.n_params_reported, stated, repository))
    return tuple(changes)


def _make_change(field: str, old: FactValue, new: FactValue, repository: HubRepository, note: str = "") -> FactChange:
    is_applicable = field in APPLICABLE and new is not None
    return FactChange(field, old, new, repository.url, is_applicable, note or ("" if is_applicable else BY_HAND))


def _diff_identity(card: ModelCard, repository: HubRepository, known: Collection[str]) -> Iterator[FactChange]:
    if repository.repo_id != card.model_id:
        yield _make_change("id", card.model_id, repository.repo_id, repository, "the repository has another name now")
    new = _find_license(repository)
    if new is not None and new != card.license_id:
        unknown = "" if new in known else f"the catalog has no terms of {new!a}; add it to licenses.toml first"
        if new in known or card.license_id in HUB_LICENSES:
            yield FactChange("license", card.license_id, new, repository.url, not unknown, unknown)
    is_gated = repository.gated != ""
    if is_gated is not card.gated:
        yield _make_change("gated", card.gated, is_gated, repository, _explain_gate(repository))


def _find_license(repository: HubRepository) -> str | None:
    """The licence the repository names: its tag, or its own name where the Hub has no tag for it; None if silent."""
    tag = repository.license_tag.strip().casefold()
    if tag != "other":
        return tag or None
    return repository.license_name.strip().casefold().replace(" ", "-") or tag


def _explain_gate(repository: HubRepository) -> str:
    words = {"auto": "access is given at once to whoever agrees", "manual": "each request is looked at by a person"}
    return words.get(repository.gated, "")


def _diff_config(card: ModelCard, repository: HubRepository) -> Iterator[FactChange]:
    """Differences of shape, and of the format the files are in."""
    if repository.config is None or card.spec.architecture not in ARCHITECTURES:
        return
    try:
        reading = read_config(repository.config, card.model_id, card.name)
    except (BadInputError, UnsupportedError) as error:
        yield FactChange("config.json", None, "unreadable", repository.url, False, str(error))
        return
    yield from diff_shapes(card.spec, reading, repository)
    if reading.quant_native is not None and reading.quant_native != card.quant_native:
        yield _make_change("quant_native", card.quant_native, reading.quant_native, repository)


def diff_shapes(spec: ModelSpec, reading: ConfigReading, repository: HubRepository) -> Iterator[FactChange]:
    """What a config says otherwise than a spec. Facts only one of the two has count as changed."""
    old, new = list_shape_facts(spec), list_shape_facts(reading.spec)
    found = False
    for field in (*old, *(key for key in new if key not in old)):
        if old.get(field) != new.get(field):
            found = True
            yield _make_change(field, old.get(field), new.get(field), repository)
    ours, theirs = digest_tensors(spec), digest_tensors(reading.spec)
    if not found and (ours != theirs or spec.groups != reading.spec.groups):
        yield FactChange("tensor table", ours, theirs, repository.url, False, f"an extra or a layer differs; {BY_HAND}")


# ---------------------------------------------------------------- imported models


def diff_imported(model: ImportedModel, repository: HubRepository) -> tuple[FactChange, ...]:
    """What the Hub says otherwise than when a model was imported: its commit, licence, gate, use, files and shapes.

    Everything is taken over by importing it again, so everything is applicable. Raises BadInputError for a model that
    came from a file, or from another repository.
    """
    if model.origin != "hub" or model.repo_id != repository.repo_id:
        raise BadInputError(
            f"{model.card.model_id} came from {model.repo_id or 'a file'}; cannot compare it with {repository.repo_id}"
        )
    pairs: list[tuple[str, FactValue, FactValue]] = [
        ("revision", model.revision, repository.revision),
        ("license", model.license_tag, repository.license_tag),
        ("license_name", model.license_name, repository.license_name),
        ("license_url", model.license_url, repository.license_url),
        ("gated", model.card.gated, repository.gated != ""),
    ]
    told: list[tuple[str, FactValue, FactValue]] = [
        ("downloads", model.n_downloads, repository.n_downloads),
        ("likes", model.n_likes, repository.n_likes),
        ("n_params_reported", model.check.n_stated, repository.n_params_stated),
    ]
    pairs += [pair for pair in told if pair[2] is not None]
    changes = [FactChange(name, old, new, repository.url, True) for name, old, new in pairs if old != new]
    return (*changes, *_diff_files(model.files, repository), *_diff_imported_shapes(model, repository))


def _diff_imported_shapes(model: ImportedModel, repository: HubRepository) -> Iterator[FactChange]:
    if model.shape_from != "config.json" or repository.config is None:
        return
    try:
        reading = read_config(repository.config, model.card.model_id, model.card.name)
    except (BadInputError, UnsupportedError) as error:
        yield FactChange("config.json", None, "unreadable", repository.url, False, str(error))
        return
    for change in diff_shapes(model.card.spec, reading, repository):
        yield FactChange(change.field, change.old, change.new, change.source_url, True)
    if reading.quant_native != model.card.quant_native:
        yield FactChange("quant_native", model.card.quant_native, reading.quant_native, repository.url, True)


def _is_model_file(path: str) -> bool:
    """Whether a file holds a model's weights in GGUF: not a projector, not an importance matrix."""
    name = path.rsplit("/", 1)[-1].casefold()
    return name.endswith(".gguf") and "mmproj" not in name and "imatrix" not in name


def _diff_files(known: tuple[FileWeights, ...], repository: HubRepository) -> Iterator[FactChange]:
    """GGUF files that came, went, or hold something else under the same name."""
    now = {file.path: file for file in repository.files}
    paths = {path for weights in known for path in weights.paths}
    for weights in known:
        gone = [path for path in weights.paths if path not in now]
        if gone:
            note = f"{len(gone)} of {len(weights.paths)} parts are gone" if len(weights.paths) > 1 else "it is gone"
            yield FactChange(f"file {weights.label}", weights.size_bytes, None, repository.url, True, note)
        else:
            yield from _diff_file(weights, [now[path] for path in weights.paths], repository)
    for path, file in now.items():
        if path not in paths and _is_model_file(path):
            yield FactChange(f"file {path}", None, file.size_bytes, repository.url, True, "it is new")


def _diff_file(weights: FileWeights, now: list[HubFile], repository: HubRepository) -> Iterator[FactChange]:
    sizes = [file.size_bytes for file in now if file.size_bytes is not None]
    if len(sizes) == len(now) and sum(sizes) != weights.size_bytes:
        note = "another size under the same name"
        yield FactChange(f"file {weights.label}", weights.size_bytes, sum(sizes), repository.url, True, note)
        return
    hashes = [(old, file.sha256) for old, file in zip(weights.sha256, now) if old and file.sha256]
    moved = next(((old, new) for old, new in hashes if old != new), None)
    if moved is not None:
        note = "another content of the same size"
        yield FactChange(f"file {weights.label}", moved[0], moved[1], repository.url, True, note)

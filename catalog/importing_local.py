"""Taking in a model file of this machine: its header gives the shape, the catalog the card of a known one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from catalog.gguf_header import GgufHeader, load_header
from catalog.gguf_spec import HeaderReading, read_header_spec
from catalog.gguf_weights import find_quant_label
from catalog.hub_card import NO_LICENSE
from catalog.imported import FileWeights, ImportedModel
from catalog.importing import HEADER, check_header, make_label, weigh_headers
from catalog.models import ModelCard
from catalog.recognise import recognise
from sizing.errors import UnsupportedError
from sizing.specs import ModelSpec
from sizing.tensors import digest_tensors

PREFIX = "local/"
"""Begins the id of a model that is known from a file alone."""

MAX_NAME_CHARACTERS = 80


def import_file(
    paths: Sequence[Path], name: str, label: str, cards: Iterable[ModelCard], now: datetime | None = None
) -> ImportedModel:
    """A model in a file of this machine (all its parts, in order), not kept yet.

    Where the file says that it is a model of the catalog, and has just that model's tensors, it is taken for it.
    Raises GgufError for a broken file, UnsupportedError for one that holds no language model anybody here knows,
    OSError where it cannot be read.
    """
    headers = tuple(load_header(path) for path in paths)
    when = now or datetime.now(UTC)
    clean = clean_name(name) or "model"
    label = make_label(label or find_quant_label(headers))
    told = read_header_spec(headers, f"{PREFIX}{clean}", clean, label)
    known = find_same(told.spec, recognise(headers[0], cards))
    if known is not None:  # what llama.cpp's recipe of this name weighs stands beside it
        label = make_label(f"{label[:50]} (file)")
    card = known or build_file_card(told, headers[0], paths[0], when)
    lengths = tuple(path.stat().st_size for path in paths)
    names = tuple(str(path) for path in paths)
    file = FileWeights(label, names, sum(lengths), ("",) * len(paths), None, part_bytes=lengths)
    return ImportedModel(
        card=card,
        origin="file",
        repo_id="",
        revision="",
        shape_from=HEADER,
        check=check_header(told),
        imported_at=when.isoformat(timespec="seconds"),
        weigh_gap="only files were taken in; their own quantizations are sized",
        files=(weigh_headers(file, headers, card.spec),),
        license_tag=card.license_id,
    )


def find_same(spec: ModelSpec, card: ModelCard | None) -> ModelCard | None:
    """The catalog's card, where its model has just the tensors of `spec`."""
    if card is None:
        return None
    try:
        return card if digest_tensors(card.spec) == digest_tensors(spec) else None
    except UnsupportedError:
        return None


def build_file_card(told: HeaderReading, header: GgufHeader, path: Path, when: datetime) -> ModelCard:
    """A card out of a header alone: what the file says of itself, marked as such."""
    spec = told.spec
    org = clean_name(find_text(header, "general.organization")) or "unknown"
    unverified = ["known from a file alone: its card is the file's own word"]
    if not told.check.is_equal:
        unverified.append(f"{told.check.sentence}")
    return ModelCard(
        spec=spec,
        family=org if org != "unknown" else spec.architecture,
        org=org,
        release=when.date().isoformat()[:7],
        license_id=clean_name(find_text(header, "general.license")) or NO_LICENSE,
        openness="open weight",
        modalities=("text",),
        tasks=("chat",),
        gated=None,
        confidence="read",
        unverified=tuple(unverified),
        notes=told.notes,
        sources=(path.absolute().as_uri(),),
        as_of=when.date().isoformat(),
        n_params_reported=spec.n_params,
        quant_native=None,
        basis=f"read from the header of {clean_name(path.name)}",
    )


def add_files(older: ImportedModel | None, newer: ImportedModel) -> ImportedModel:
    """A model with the files of an earlier import of it too; a file of the same label gives way to the newer one."""
    if older is None:
        return newer
    labels = {f.label for f in newer.files}
    kept = tuple(f for f in older.files if f.label not in labels)
    base = older if older.origin == "hub" else newer
    return replace(base, files=(*kept, *newer.files))


def clean_name(text: str) -> str:
    """A name out of a file as a page and an address take it: letters, digits and a few marks.

    >>> clean_name("Qwen3 14B: final; v2")
    'Qwen3 14B final v2'
    """
    plain = re.sub(r"[^\w .+()-]", "", text, flags=re.ASCII)
    return " ".join(plain.split())[:MAX_NAME_CHARACTERS].strip()


def find_text(header: GgufHeader, key: str) -> str:
    """A text of the header; empty where there is none."""
    value = header.find(key)
    return value if isinstance(value, str) else ""

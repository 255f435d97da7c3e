"""Ollama's store: manifests/<registry>/<namespace>/<model>/<tag> name blobs by their SHA-256, blobs/ holds them.

Layout and names as in ollama/ollama, server/modelpath.go and types/model/name.go.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.local_walk import FoundFile, Search, describe, find_real, look_at, show

MANIFEST_BYTES = 1 << 20
"""A manifest larger than this is none."""

MODEL, PROJECTOR, TENSOR = (f"application/vnd.ollama.image.{kind}" for kind in ("model", "projector", "tensor"))
REGISTRY, NAMESPACE = "registry.ollama.ai", "library"
HUB_HOSTS = ("hf.co", "huggingface.co")
MAX_LAYERS = 1000
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")


@dataclass(frozen=True, slots=True)
class OllamaEntry:
    """A model as `ollama run` names it, with the files its manifest lists."""

    name: str
    repo_id: str
    files: tuple[FoundFile, ...]
    projector: Path | None


def walk_ollama(folder: Path, search: Search) -> Iterator[OllamaEntry]:
    """Every model that has weights in the store; says which manifests and blobs cannot be used."""
    top = find_real(folder)
    if top is None:
        return
    for blob in search.list_folder(top / "blobs"):
        if re.fullmatch(r"sha256-[0-9a-f]{64}-partial", blob.name):
            search.say(f"{show(blob.path)} is a download that has not finished")
    for place in _list_manifests(top / "manifests", search):
        if search.has_ended(folder):
            return
        manifest = _read_manifest(top.joinpath("manifests", *place), search)
        entry = _read_entry(place, manifest, top, search) if manifest is not None else None
        if entry is not None:
            yield entry


def name_model(registry: str, namespace: str, model: str, tag: str) -> str:
    """The name as `ollama list` shows it.

    >>> name_model("registry.ollama.ai", "library", "llama3.2", "1b"), name_model("hf.co", "a", "b-GGUF", "Q4_K_M")
    ('llama3.2:1b', 'hf.co/a/b-GGUF:Q4_K_M')
    """
    if registry != REGISTRY:
        return f"{registry}/{namespace}/{model}:{tag}"
    return f"{model}:{tag}" if namespace == NAMESPACE else f"{namespace}/{model}:{tag}"


def _list_manifests(folder: Path, search: Search) -> Iterator[tuple[str, str, str, str]]:
    """Registry, namespace, model and tag of every manifest: four levels, no links, names that Ollama would allow."""
    waiting: list[tuple[str, ...]] = [()]
    while waiting and not search.has_ended(folder):
        place = waiting.pop()
        deeper = []
        for entry in search.list_folder(folder.joinpath(*place)):
            if not _PART.fullmatch(entry.name) or ".." in entry.name or entry.is_symlink():
                search.say(f"{show(entry.path)} is no name of a model in Ollama's store; it is left out")
            elif len(place) == 3:
                yield place[0], place[1], place[2], entry.name
            elif entry.is_dir(follow_symlinks=False):
                deeper.append((*place, entry.name))
        waiting.extend(reversed(deeper))


def _read_manifest(path: Path, search: Search) -> list[dict[str, Any]] | None:
    """The layers of a manifest; None, and a sentence, where it is none."""
    found = look_at(path, path.parent, search)
    if found is None:
        return None
    try:
        if found.size_bytes > MANIFEST_BYTES:
            raise ValueError(f"it has {found.size_bytes:,} bytes")
        descriptor = os.open(found.real, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            said = json.loads(file.read(MANIFEST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        search.say(f"{show(path)} is no manifest that can be read: {describe(error)}")
        return None
    layers = said.get("layers") if isinstance(said, dict) else None
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS:
        search.say(f"{show(path)} is a manifest without layers")
        return None
    return [layer for layer in layers if isinstance(layer, dict)]


def _read_entry(
    place: tuple[str, str, str, str], layers: list[dict[str, Any]], top: Path, search: Search
) -> OllamaEntry | None:
    """A manifest's model; None where it holds no weights here (one that runs in the cloud) or they cannot be used."""
    name = name_model(*place)
    weights = [layer for layer in layers if layer.get("mediaType") == MODEL]
    if not weights:
        if any(layer.get("mediaType") == TENSOR for layer in layers):
            search.say(f"{name} in Ollama's store is kept tensor by tensor, not as a GGUF file")
        return None
    files = [_find_blob(name, layer, top, search) for layer in weights]
    kept = tuple(file for file in files if file is not None)
    if len(kept) < len(files):
        return None
    beside = next((layer for layer in layers if layer.get("mediaType") == PROJECTOR), None)
    projector = _find_blob(name, beside, top, search) if beside is not None else None
    repo_id = f"{place[1]}/{place[2]}" if place[0] in HUB_HOSTS else ""
    search.n_files += len(kept)
    return OllamaEntry(name, repo_id, kept, projector.path if projector is not None else None)


def _find_blob(name: str, layer: dict[str, Any], top: Path, search: Search) -> FoundFile | None:
    """The file a layer names by its digest, inside the store's blobs."""
    digest = layer.get("digest")
    found = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if found is None:
        search.say(f"{name} in Ollama's store names a blob by {ascii(digest)[:80]}, which is no SHA-256 digest")
        return None
    path = top / "blobs" / f"sha256-{found[1]}"
    if not os.path.lexists(path):
        search.say(f"{name} in Ollama's store lacks its blob {path.name[:19]}...; pull it again")
        return None
    return look_at(path, top / "blobs", search)

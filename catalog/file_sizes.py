"""Sizes of GGUF files that somebody published or that were imported: what a download really is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from catalog.imported import ImportedModel
from catalog.store import Catalog


@dataclass(frozen=True, slots=True)
class FileSize:
    """A model's file in a quantization: its exact bytes, who publishes it, and where that was read.

    `publisher` is the repository, or "this machine" for an imported file; `note` says how it differs from what today's
    llama.cpp would write, "" where nothing was noted. `source_url` is "" for a file on this machine.
    """

    model_id: str
    quant: str
    size_bytes: int
    publisher: str
    source_url: str
    as_of: str
    note: str = ""


def list_file_sizes(catalog: Catalog, model_id: str) -> tuple[FileSize, ...]:
    """Published files of one model, in the order of the data file."""
    rows = catalog.fetch(
        "SELECT model_id, quant, size_bytes, repo, source_url, as_of, size_note FROM file_sizes "
        "WHERE model_id = $model_id ORDER BY line",
        {"model_id": model_id},
    )
    return tuple(
        FileSize(model_id, quant, int(size), repo, url, as_of, note or "")
        for _, quant, size, repo, url, as_of, note in rows
    )


def list_imported_sizes(model: ImportedModel | None) -> tuple[FileSize, ...]:
    """The files of an imported model; none where nothing was imported."""
    if model is None:
        return ()
    here = model.origin == "file"
    url = "" if here else f"https://huggingface.co/{model.repo_id}/tree/{model.revision}"
    publisher = "this machine" if here else model.repo_id
    day = model.imported_at[:10]
    return tuple(
        FileSize(model.card.model_id, file.label, file.size_bytes, publisher, url, day) for file in model.files
    )


def list_labels(sizes: Iterable[FileSize]) -> tuple[str, ...]:
    """The quantizations that files are in, each once."""
    return tuple(dict.fromkeys(size.quant for size in sizes))

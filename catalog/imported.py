"""What a model from elsewhere is once it was read: from a repository of the Hub, or from a file on this machine.

These are values between the doors that fetch (`catalog.hub`, `catalog.local_models`), the readers that understand
(`catalog.hub_config`, `catalog.gguf_spec`) and the store that keeps (`catalog.import_store`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from catalog.models import ModelCard
from sizing.memory import WeightBytes


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository: its path there, its length where told, and its SHA-256 ("" where it is no large file)."""

    path: str
    size_bytes: int | None
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A model repository at one commit, as the Hub tells it. Nothing in it is trusted or run.

    `revision` is the commit (40 hexadecimal digits). `gated` is "" for an open one, else "auto" or "manual".
    `license_tag` is the card's licence as written there; `license_name` and `license_url` come with `other`.
    `base_models` are pairs of relation ("finetune", "quantized", "adapter", "merge" or "") and repository.
    `n_params_by_type` and `n_params_stated` are what the safetensors files hold, by their type and in sum, None where
    the Hub does not say. `config` is config.json as data, None where there is none. Dates are YYYY-MM-DD or "".
    `refused` says in words which files are left out of `files`, because their names climb out of the repository.
    """

    repo_id: str
    revision: str
    author: str
    created_on: str
    modified_on: str
    gated: str
    is_private: bool
    n_downloads: int | None
    n_likes: int | None
    pipeline_tag: str
    library: str
    tags: tuple[str, ...]
    license_tag: str
    license_name: str
    license_url: str
    base_models: tuple[tuple[str, str], ...]
    languages: tuple[str, ...]
    n_params_by_type: tuple[tuple[str, int], ...]
    n_params_stated: int | None
    files: tuple[HubFile, ...]
    config: Mapping[str, Any] | None
    refused: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The repository at this commit, for a person to open."""
        return f"https://huggingface.co/{self.repo_id}/tree/{self.revision}"


@dataclass(frozen=True, slots=True)
class FileWeights:
    """A model in one GGUF file, or in all parts of a split one.

    `label` is the quantization as people pick it: the recipe (`Q4_K_M`), or the file's own word for its mix
    (`UD-Q4_K_XL`); unique within a model. `paths` are paths in the repository, or absolute ones on this machine, parts
    in order; `sha256` has one entry a path, "" where unknown, and so has `part_bytes` for a split model whose parts'
    lengths are known. `weights` (whose `quant` is `label`) are None where the
    header could not be read, and `gap` says why. `types` is the GGML type of every tensor by name, so that the engine
    can be asked about just this mix.
    """

    label: str
    paths: tuple[str, ...]
    size_bytes: int
    sha256: tuple[str, ...]
    weights: WeightBytes | None
    types: tuple[tuple[str, str], ...] = ()
    gap: str | None = None
    part_bytes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ParamCheck:
    """Parameters counted from the shapes against what the files state; None where they state nothing.

    `note` says in words whether they agree, and where not, by how much and what may explain it.
    """

    n_counted: int
    n_stated: int | None
    note: str

    @property
    def is_equal(self) -> bool:
        """Whether the files state just what was counted."""
        return self.n_counted == self.n_stated


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """A model taken in from elsewhere: a card like any other, with where it came from and the files it is in.

    `origin` is "hub" or "file". `repo_id` and `revision` are "" for a file. `shape_from` is "config.json" or "GGUF
    header". `weighed` holds the bytes llama.cpp gave for its recipes (empty for a model that is only in GGUF files),
    `weigh_gap` why there are none. `imported_at` is UTC, ISO 8601.
    """

    card: ModelCard
    origin: str
    repo_id: str
    revision: str
    shape_from: str
    check: ParamCheck
    imported_at: str
    weighed: tuple[WeightBytes, ...] = ()
    weigh_gap: str | None = None
    files: tuple[FileWeights, ...] = ()
    license_tag: str = ""
    license_name: str = ""
    license_url: str = ""
    base_models: tuple[str, ...] = ()
    n_downloads: int | None = None
    n_likes: int | None = None
    pipeline_tag: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def weights(self) -> tuple[WeightBytes, ...]:
        """Every quantization it can be sized in: its files, then the recipes that no file has."""
        in_files = tuple(f.weights for f in self.files if f.weights is not None)
        labels = {w.quant for w in in_files}
        return (*in_files, *(w for w in self.weighed if w.quant not in labels))

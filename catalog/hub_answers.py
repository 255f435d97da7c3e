"""The Hub's answers about models, as values. What is missing or of another form becomes None or ""; nothing crashes.

The forms are those that huggingface_hub reads (`ModelInfo` in hf_api.py). Names in them are checked like those a person
types, texts are cut and cleared of characters that cannot be shown.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from catalog.hub_names import check_repo_id, find_path_problem, quote_name
from catalog.imported import HubFile, HubRepository
from sizing.errors import BadInputError, HubError

SORTS = {
    "downloads": "downloads",
    "likes": "likes",
    "trending": "trendingScore",
    "created": "createdAt",
    "modified": "lastModified",
}
"""Orders of a search, always from the most, with the Hub's word for each."""

EXPANDED = ("author", "downloads", "gated", "gguf", "lastModified", "likes", "pipeline_tag", "safetensors", "tags")
"""What a search asks to be told of every model."""

PAGE_SIZE = 100
MAX_HITS = 1000
MAX_FILES = 50_000
MAX_LIST_ITEMS = 400
MAX_TEXT_CHARACTERS = 300
MAX_NUMBER = 10**18

RELATIONS = ("finetune", "quantized", "adapter", "merge")
"""How a model may come from another one (the tags base_model:RELATION:OWNER/NAME)."""

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class HubQuery:
    """What a person searches the Hub for; an empty field asks for nothing.

    `task` is a pipeline tag such as text-generation, `license_tag` such as apache-2.0. `base_model` wants repositories
    quantized from it. Sizes are parameters; a model whose size the Hub does not tell is left out where one is wanted.
    Raises BadInputError for what no search can mean.
    """

    text: str = ""
    task: str = ""
    license_tag: str = ""
    author: str = ""
    base_model: str = ""
    has_gguf: bool = False
    min_params: int | None = None
    max_params: int | None = None
    min_downloads: int = 0
    sort: str = "downloads"
    limit: int = 50

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise BadInputError(f"the order of a search is one of {', '.join(SORTS)}, got {self.sort!r}")
        if not 1 <= self.limit <= MAX_HITS:
            raise BadInputError(f"a search lists 1 to {MAX_HITS:,} models, got {self.limit!r}")
        numbers = (self.min_params or 0, self.max_params or 0, self.min_downloads)
        if any(not 0 <= number <= MAX_NUMBER for number in numbers):
            raise BadInputError(f"parameters and downloads are 0 to {MAX_NUMBER:.0e}, got {numbers!r}")
        if self.min_params is not None and self.max_params is not None and self.min_params > self.max_params:
            raise BadInputError(f"no model has at least {self.min_params:,} and at most {self.max_params:,} parameters")
        for name in ("text", "task", "license_tag", "author", "base_model"):
            value = getattr(self, name)
            if len(value) > 200 or _clear(value) != value:
                raise BadInputError(f"{name} of a search holds more than 200 characters, or such that cannot be shown")
        if self.base_model:
            try:
                check_repo_id(self.base_model)
            except HubError as error:
                raise BadInputError(str(error)) from None

    @property
    def is_filtered_here(self) -> bool:
        """Whether some answers of the Hub have to be left out on this side."""
        return bool(self.min_params is not None or self.max_params is not None or self.min_downloads)

    def matches(self, hit: HubHit) -> bool:
        """Whether a model is within the bounds that the Hub was not asked to hold."""
        if (hit.n_downloads or 0) < self.min_downloads:
            return False
        if self.min_params is None and self.max_params is None:
            return True
        if hit.n_params is None:
            return False
        return (self.min_params or 0) <= hit.n_params <= (MAX_NUMBER if self.max_params is None else self.max_params)

    def build_params(self) -> list[tuple[str, str]]:
        """The query of the first page.

        The Hub's own bound on parameters is given in whole billions, outward: it saves pages and decides nothing.
        """
        filters = [f"license:{self.license_tag}"] if self.license_tag else []
        filters += [f"base_model:quantized:{self.base_model}"] if self.base_model else []
        filters += ["gguf"] if self.has_gguf else []
        texts = {"search": self.text.strip(), "author": self.author.strip(), "pipeline_tag": self.task.strip()}
        params = [(name, value) for name, value in texts.items() if value]
        params += [("filter", value) for value in filters]
        bounds = [f"min:{least // 10**9}B"] if (least := self.min_params or 0) >= 10**9 else []
        bounds += [f"max:{-(-self.max_params // 10**9)}B"] if self.max_params is not None else []
        params += [("num_parameters", ",".join(bounds))] if bounds else []
        page = PAGE_SIZE if self.is_filtered_here else min(self.limit, PAGE_SIZE)
        params += [("sort", SORTS[self.sort]), ("limit", str(page))]
        return params + [("expand", name) for name in EXPANDED]


@dataclass(frozen=True, slots=True)
class HubHit:
    """A model that a search found. `n_params` and counts are None where the Hub does not tell them.

    `gated` is "", "auto" or "manual", `modified_on` YYYY-MM-DD or "", `base_models` as in `HubRepository`.
    """

    repo_id: str
    author: str
    n_downloads: int | None
    n_likes: int | None
    modified_on: str
    license_tag: str
    pipeline_tag: str
    gated: str
    n_params: int | None
    has_gguf: bool
    has_safetensors: bool
    base_models: tuple[tuple[str, str], ...]
    tags: tuple[str, ...]


def read_hits(page: Any) -> tuple[HubHit, ...]:
    """The models on one page of a search; entries without a sound id are left out. Raises HubError ("shape")."""
    if not isinstance(page, list):
        raise HubError("shape", f"wanted a list of models from the Hub, got {_name_type(page)}; is HF_ENDPOINT a Hub?")
    return tuple(hit for entry in page[:MAX_HITS] if (hit := read_hit(entry)) is not None)


def read_hit(entry: Any) -> HubHit | None:
    """One model of a search, None for what is none."""
    told = _table(entry)
    repo_id = _repo_id(told.get("id") or told.get("modelId"))
    if not repo_id:
        return None
    tags = _texts(told.get("tags"))
    safetensors, in_gguf = _table(told.get("safetensors")), _table(told.get("gguf"))
    n_params = _count(safetensors.get("total"))
    return HubHit(
        repo_id,
        _text(told.get("author")) or repo_id.rpartition("/")[0],
        _count(told.get("downloads")),
        _count(told.get("likes")),
        _date(told.get("lastModified")),
        _find_license(tags, {}),
        _text(told.get("pipeline_tag")),
        _find_gated(told.get("gated")),
        _count(in_gguf.get("total")) if n_params is None else n_params,
        bool(in_gguf) or "gguf" in tags,
        bool(safetensors) or "safetensors" in tags,
        find_base_models(tags, {}),
        tags,
    )


def read_repository(info: Any, repo_id: str, config: Mapping[str, Any] | None = None) -> HubRepository:
    """A repository out of the Hub's model info with files. Raises HubError ("shape") without a commit or a file list.

    A file whose name is refused is left out of `files` and named in `refused`.
    """
    told = _table(info)
    commit = told.get("sha")
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit) or not isinstance(told.get("siblings"), list):
        raise HubError("shape", f"the Hub's answer about {repo_id} names no commit or no files; is HF_ENDPOINT a Hub?")
    card = _table(told.get("cardData"))
    tags = _texts(told.get("tags"))
    by_type = _table(_table(told.get("safetensors")).get("parameters"))
    counts = tuple((_text(name), n) for name, value in by_type.items() if (n := _count(value)) is not None)
    files, refused = read_files(told["siblings"])
    name = _repo_id(told.get("id")) or repo_id
    return HubRepository(
        repo_id=name,
        revision=commit,
        author=_text(told.get("author")) or name.rpartition("/")[0],
        created_on=_date(told.get("createdAt")),
        modified_on=_date(told.get("lastModified")),
        gated=_find_gated(told.get("gated")),
        is_private=told.get("private") is True,
        n_downloads=_count(told.get("downloads")),
        n_likes=_count(told.get("likes")),
        pipeline_tag=_text(told.get("pipeline_tag")),
        library=_text(told.get("library_name")),
        tags=tags,
        license_tag=_find_license(tags, card),
        license_name=_text(card.get("license_name")),
        license_url=_text(card.get("license_link")),
        base_models=find_base_models(tags, card),
        languages=_texts(card.get("language")),
        n_params_by_type=counts,
        n_params_stated=_find_total(told, counts),
        files=files,
        config=config,
        refused=refused,
    )


def read_files(siblings: list[Any]) -> tuple[tuple[HubFile, ...], tuple[str, ...]]:
    """The files of a listing, and what is wrong with those that were refused. Raises HubError ("size")."""
    if len(siblings) > MAX_FILES:
        raise HubError("size", f"the repository lists {len(siblings):,} files; {MAX_FILES:,} are read at most")
    files: dict[str, HubFile] = {}
    refused = []
    for entry in map(_table, siblings):
        path = entry.get("rfilename")
        problem = find_path_problem(path) if isinstance(path, str) else "it has no name"
        if problem or not isinstance(path, str):
            refused.append(f"the file {quote_name(str(path))} is refused: {problem}")
        elif path in files:
            refused.append(f"the file {quote_name(path)} is listed twice")
        else:
            files[path] = read_file(path, entry)
    return tuple(files.values()), tuple(refused)


def read_file(path: str, entry: Mapping[str, Any]) -> HubFile:
    """One file: its length and hash where it is in large-file storage, else its length."""
    lfs = _table(entry.get("lfs"))
    sha256 = lfs.get("sha256") or lfs.get("oid")
    size = _count(lfs.get("size"))
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        sha256 = ""
    return HubFile(path, _count(entry.get("size")) if size is None else size, sha256)


def find_base_models(tags: Iterable[str], card: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Pairs of relation and repository, from the tags and the card, each repository once."""
    found: dict[str, str] = {}
    for tag in tags:
        if tag.startswith("base_model:"):
            relation, _, name = tag.removeprefix("base_model:").partition(":")
            relation, name = (relation, name) if relation in RELATIONS else ("", tag.removeprefix("base_model:"))
            if base := _repo_id(name):
                found[base] = relation or found.get(base, "")
    relation = _text(card.get("base_model_relation"))
    for name in _texts(card.get("base_model")):
        if base := _repo_id(name):
            found[base] = found.get(base) or (relation if relation in RELATIONS else "")
    return tuple((relation, base) for base, relation in found.items())


def _find_total(told: Mapping[str, Any], counts: tuple[tuple[str, int], ...]) -> int | None:
    total = _count(_table(told.get("safetensors")).get("total"))
    return sum(n for _, n in counts) if total is None and counts else total


def _find_license(tags: Iterable[str], card: Mapping[str, Any]) -> str:
    """The card's licence; of several the first; else the tag's."""
    told = _texts(card.get("license"))
    return told[0] if told else next((t.removeprefix("license:") for t in tags if t.startswith("license:")), "")


def _find_gated(value: Any) -> str:
    """How access is given: "" for an open repository, else "auto" or "manual"."""
    return "" if value in (None, False, "") else "auto" if value == "auto" else "manual"


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    """A whole number of sense; a truth value is none."""
    is_sound = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER
    return value if is_sound else None


def _date(value: Any) -> str:
    found = _DATE.match(value) if isinstance(value, str) else None
    return found[0] if found else ""


def _repo_id(value: Any) -> str:
    """A repository's id, "" for what none is called."""
    try:
        return check_repo_id(value) if isinstance(value, str) else ""
    except HubError:
        return ""


def _text(value: Any) -> str:
    return _clear(value)[:MAX_TEXT_CHARACTERS].strip() if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    """A list of texts, or one text as a list."""
    items = value if isinstance(value, list) else [value]
    return tuple(text for item in items[:MAX_LIST_ITEMS] if (text := _text(item)))


def _clear(text: str) -> str:
    """Without control characters, and such that turn the direction of text."""
    return "".join(c for c in text if unicodedata.category(c) not in _HIDDEN_CATEGORIES)


def _name_type(value: Any) -> str:
    return {dict: "a table", str: "a text", type(None): "nothing"}.get(type(value), type(value).__name__)

"""The GGUF files of a repository, put together as models: split parts joined, quantizations named, the rest set apart.

Only names and lengths are looked at, as the Hub lists them; what is in a file, its header says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from catalog.imported import HubFile, HubRepository
from sizing.split_names import read_split_name

MAX_PARTS = 1000
"""More parts than any published model has; a name that claims more is not joined."""

_PIECE = re.compile(r".+\.gguf[.-](?:part|split|chunk)[\w.-]*", re.I)
_RECIPE = re.compile(
    r"(?:^|[-_. /])(?P<recipe>(?:UD-|i1-)?"
    r"(?:I?Q\d(?:_(?:\d|[A-Z]{1,3}))+|TQ[12]_0|(?:MX|NV)FP4(?:_MOE)?|BF16|FP?16|FP?32|FP8))(?=$|[-_. /])",
    re.I,
)
"""Names of mixes as uploaders write them: llama.cpp's recipes (tools/quantize/quantize.cpp), Unsloth's "UD-", i1."""

_PROJECTOR = re.compile(r"(?:^|[-_.])(?:mmproj|clip-vit|vision-adapter)", re.I)
_IMATRIX = re.compile(r"(?:^|[-_.])(?:imatrix|imat)(?:[-_.]|$)", re.I)
_ADAPTER = re.compile(r"(?:^|[-_.])(?:lora|qlora|adapter|control-vector)(?:[-_.]|$)", re.I)
_MERGED = re.compile(r"(?:^|[-_.])(?:merged|fused)(?:[-_.]|$)", re.I)
_VOCABULARY = re.compile(r"(?:^|[-_.])vocab(?:[-_.]|$)", re.I)

REASONS = {
    "projector": "it turns images or sound into the model's tokens; it goes beside a model, it is none",
    "imatrix": "it holds how much each weight matters, for making quantizations; it is no model",
    "adapter": "it changes a model and needs that model beside it",
    "vocabulary": "it holds a vocabulary without weights",
    "pieces": "it was cut into pieces that have to be joined by hand",
}
"""Why a file that is not a model of its own is set apart, by role."""


@dataclass(frozen=True, slots=True)
class GgufGroup:
    """One model in GGUF: a file, or all parts of a split one in order; or a file beside the models.

    `label` is the quantization as its file's name tells it (`Q4_K_M`, `UD-Q4_K_XL`), unique among the models of its
    repository. `role` is "model", or a key of `REASONS`; `reason` says why it cannot be taken as a model (a part is
    missing, a length unknown), None for a model that can.
    """

    label: str
    files: tuple[HubFile, ...]
    role: str = "model"
    reason: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Its files' paths in the repository, parts in order."""
        return tuple(file.path for file in self.files)

    @property
    def size_bytes(self) -> int | None:
        """All files together; None where a length is not told."""
        sizes = [file.size_bytes for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def is_model(self) -> bool:
        """Whether this is a whole model that can be read and run."""
        return self.role == "model" and self.reason is None


def list_gguf_files(repository: HubRepository) -> tuple[GgufGroup, ...]:
    """Every GGUF file of a repository, as models first (small to large), then what was set apart."""
    groups = [*_join_parts(repository.files), *_list_pieces(repository.files)]
    models = [group for group in groups if group.role == "model"]
    labelled = _make_unique(models)
    apart = [group for group in groups if group.role != "model"]
    labelled.sort(key=lambda group: (group.reason is not None, group.size_bytes or 0, group.label))
    return (*labelled, *sorted(apart, key=lambda group: group.paths))


def find_recipe(path: str) -> str:
    """The name of the mix in a file's name, or in its folders' from the inside out; "" where none is there."""
    folders, _, name = strip_split(path).rpartition("/")
    stem = re.sub(r"\.gguf$", "", name, flags=re.I)
    for text in (stem, *reversed(folders.split("/"))):
        if found := list(_RECIPE.finditer(text)):
            return _spell(found[-1]["recipe"])
    return ""


def find_role(path: str) -> str:
    """What a file is by its name: "model", "projector", "imatrix", "adapter" or "vocabulary"."""
    name = path.rpartition("/")[2]
    stem = re.sub(r"\.(gguf|dat|imatrix)(_file)?$", "", name, flags=re.I)
    if _PROJECTOR.search(name):
        return "projector"
    if _IMATRIX.search(stem) and not _RECIPE.search(stem):  # "model-imatrix-Q4_K_M" is a model made with one
        return "imatrix"
    if _ADAPTER.search(stem) and not _MERGED.search(stem):
        return "adapter"
    if _VOCABULARY.search(stem) and not _RECIPE.search(stem):
        return "vocabulary"
    return "model"


def strip_split(path: str) -> str:
    """The path without "-00001-of-00003"."""
    found = read_split_name(path)
    return f"{found.stem}.gguf" if found else path


def _spell(recipe: str) -> str:
    """A recipe as llama.cpp spells it: capitals, F16 for fp16; "i1-" stays small."""
    upper = recipe.upper()
    if upper.startswith("I1-"):
        return f"i1-{upper[3:]}"
    return {"FP16": "F16", "FP32": "F32"}.get(upper, upper)


def _is_gguf(path: str) -> bool:
    lower = path.lower()
    return lower.endswith((".gguf", ".gguf_file")) or ("imatrix" in lower and lower.endswith((".dat", ".imatrix")))


def _join_parts(files: Iterable[HubFile]) -> list[GgufGroup]:
    """One group a single file, one a split model."""
    single: list[GgufGroup] = []
    split: dict[tuple[str, int], list[tuple[int, HubFile]]] = {}
    for file in files:
        if not _is_gguf(file.path):
            continue
        found = read_split_name(file.path)
        if found and found.total <= MAX_PARTS:
            split.setdefault((found.stem, found.total), []).append((found.number, file))
        else:
            single.append(_make_group((file,), find_role(file.path)))
    return single + [_join(parts, n) for (_, n), parts in split.items()]


def _join(parts: list[tuple[int, HubFile]], n_parts: int) -> GgufGroup:
    """A split model, whole or with the reason why not."""
    parts.sort(key=lambda part: part[0])
    files = tuple(file for _, file in parts)
    numbers = [number for number, _ in parts]
    group = _make_group(files, find_role(strip_split(files[0].path)))
    if numbers == list(range(1, n_parts + 1)) or group.role != "model":
        return group
    missing = [str(i) for i in range(1, n_parts + 1) if i not in numbers]
    if not missing:
        return replace(group, reason=f"it has parts beside the {n_parts} its name tells")
    shown = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
    return replace(group, reason=f"of its {n_parts} parts, {len(missing)} are not in the repository: {shown}")


def _make_group(files: tuple[HubFile, ...], role: str) -> GgufGroup:
    label = find_recipe(files[0].path) or _find_stem(files[0].path)
    group = GgufGroup(label, files, role, REASONS.get(role))
    if group.reason is None and any(not file.size_bytes for file in files):
        return replace(group, reason="the Hub does not tell how long it is")
    return group


def _list_pieces(files: Iterable[HubFile]) -> list[GgufGroup]:
    """Files cut in pieces without a header of their own, which only `cat` joins."""
    pieces = [file for file in files if _PIECE.fullmatch(file.path)]
    return [GgufGroup(_find_stem(file.path), (file,), "pieces", REASONS["pieces"]) for file in pieces]


def _find_stem(path: str) -> str:
    return re.sub(r"\.gguf$", "", strip_split(path).rpartition("/")[2], flags=re.I)


def _make_unique(groups: Sequence[GgufGroup]) -> list[GgufGroup]:
    """The groups with labels of their own: where two share one, the name of the file, then its whole path."""
    labels = [group.label for group in groups]
    for spell in (_find_stem, strip_split):
        counts = Counter(label.casefold() for label in labels)
        labels = [
            label if counts[label.casefold()] == 1 else spell(group.paths[0]) for label, group in zip(labels, groups)
        ]
    counts = Counter(labels)
    labels = [
        label if counts[label] == 1 else group.paths[0]  # one name split in two ways
        for label, group in zip(labels, groups)
    ]
    return [replace(group, label=label) for label, group in zip(labels, groups)]

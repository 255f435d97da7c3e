"""Models as facts: one TOML file per family, read strictly into `ModelCard`.

A record that misses its source, carries a key nobody reads, or contradicts itself is refused with file and line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.spec_builder import build_spec
from sizing.errors import BadInputError, DataFileError
from sizing.specs import ModelSpec

DATA_DIR = Path(__file__).parent / "data"
OPENNESS = ("open source", "open weight", "restricted weight")
CONFIDENCE = ("read", "recalled")

# key -> (type, required). The keys of a table are the only ones it may hold.
_TABLES: dict[str, dict[str, tuple[type, bool]]] = {
    "window": {
        "kind": (str, True),
        "tokens": (int, True),
        "n_heads": (int, False),
        "n_kv_heads": (int, False),
        "head_dim": (int, False),
        "head_dim_v": (int, False),
    },
    "full_attention": dict.fromkeys(("n_heads", "n_kv_heads", "head_dim", "head_dim_v"), (int, False)),
    "moe": {
        "n_experts": (int, True),
        "n_active_experts": (int, True),
        "expert_ffn_dim": (int, True),
        "n_shared_experts": (int, False),
        "shared_expert_ffn_dim": (int, False),
        "leading_dense_layers": (int, False),
        "every": (int, False),
        "beside_dense": (bool, False),
    },
    "mla": {
        "kv_lora_rank": (int, True),
        "rope_head_dim": (int, True),
        "nope_head_dim": (int, True),
        "v_head_dim": (int, True),
        "q_lora_rank": (int, False),
    },
    "indexer": {**dict.fromkeys(("n_heads", "head_dim", "top_k"), (int, True)), "layers": (list, False)},
    "recurrent": {
        "kind": (str, True),
        "conv_kernel": (int, True),
        "n_heads": (int, False),
        "head_dim": (int, False),
        "n_groups": (int, False),
        "d_state": (int, False),
        "d_inner": (int, False),
    },
}
_TOP: dict[str, tuple[type, bool]] = {"family": (str, True), "org": (str, True), "model": (list, True)}
_MODEL: dict[str, tuple[type, bool]] = {
    "id": (str, True),
    "name": (str, True),
    "release": (str, True),
    "license": (str, True),
    "openness": (str, True),
    "gated": (bool, False),
    "modalities": (list, True),
    "tasks": (list, True),
    "architecture": (str, True),
    "n_layers": (int, True),
    "layers": (str, False),
    "one_block_per_layer": (bool, False),
    "hidden_dim": (int, True),
    "n_heads": (int, True),
    "n_kv_heads": (int, True),
    "head_dim": (int, True),
    "head_dim_v": (int, False),
    "n_shared_kv_layers": (int, False),
    "ffn_dim": (int, False),
    "ffn_dim_by_layer": (list, False),
    "ffn_gated": (bool, False),
    "vocab_size": (int, True),
    "context_tokens": (int, True),
    "tied_embeddings": (bool, True),
    "n_params": (int, True),
    "n_active_params": (int, True),
    "n_params_reported": (int, True),
    "n_params_projector": (int, False),
    "quant_native": (str, False),
    "confidence": (str, True),
    "basis": (str, True),
    "unverified": (list, False),
    "notes": (list, False),
    "source_url": (str, True),
    "sources": (list, False),
    "as_of": (str, True),
    "extras": (dict, False),
    **dict.fromkeys(_TABLES, (dict, False)),
}


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model with what the world says about it.

    `spec.n_params` counts what llama.cpp's text model holds; `n_params_reported` what the publisher's files hold
    (vision tower, prediction layers and scales included). `unverified` says in words what nobody checked yet;
    `basis` how the facts were read. `gated` is None where unknown.
    """

    spec: ModelSpec
    family: str
    org: str
    release: str
    license_id: str
    openness: str
    modalities: tuple[str, ...]
    tasks: tuple[str, ...]
    gated: bool | None
    confidence: str
    unverified: tuple[str, ...]
    notes: tuple[str, ...]
    sources: tuple[str, ...]
    as_of: str
    n_params_reported: int
    quant_native: str | None
    basis: str = ""

    @property
    def model_id(self) -> str:
        """The publisher's name for it, `org/model`."""
        return self.spec.model_id

    @property
    def name(self) -> str:
        """The name people read."""
        return self.spec.name

    @property
    def source_url(self) -> str:
        """The first source: where the shapes were read."""
        return self.sources[0]


def load_families(data_dir: Path | None = None) -> tuple[ModelCard, ...]:
    """Every model of `data_dir/families/*.toml`, in order of file and record.

    Raises DataFileError, with file and line, for a file that is not TOML, a missing or unknown key, a value of the
    wrong type, a contradiction between fields, or a model named twice.
    """
    folder = (data_dir or DATA_DIR) / "families"
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise DataFileError(str(folder), 1, "wanted at least one family file (*.toml), found none; restore the folder")
    cards: list[ModelCard] = []
    seen: dict[str, str] = {}
    for file in files:
        for card, line in _parse_family(file):
            if card.model_id in seen:
                raise DataFileError(str(file), line, f"{card.model_id!r} is already in {seen[card.model_id]}; keep one")
            seen[card.model_id] = file.name
            cards.append(card)
    return tuple(cards)


def _parse_family(file: Path) -> list[tuple[ModelCard, int]]:
    text = file.read_text(encoding="utf-8")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        line = int(at[1]) if at else len(text.splitlines())
        raise DataFileError(str(file), line, f"not TOML: {error}") from error
    _check_keys(document, _TOP, _Place(str(file), text, 0), "")
    places = [_Place(str(file), text, line) for line in _header_lines(text)]
    return [
        (_parse_model(record, document["family"], document["org"], place), place.line)
        for record, place in zip(document["model"], places, strict=True)
    ]


def _parse_model(record: Mapping[str, Any], family: str, org: str, place: _Place) -> ModelCard:
    _check_keys(record, _MODEL, place, "")
    for table, keys in _TABLES.items():
        if table in record:
            _check_keys(record[table], keys, place, table)
    for key, allowed in (("openness", OPENNESS), ("confidence", CONFIDENCE)):
        if record[key] not in allowed:
            raise place.error(key, f"{key} wants one of {', '.join(allowed)}, got {record[key]!r}")
    for key, pattern in (
        ("release", r"\d{4}-\d{2}"),
        ("as_of", r"\d{4}-\d{2}(-\d{2})?"),
        ("source_url", r"https?://\S+"),
    ):
        if not re.fullmatch(pattern, record[key]):
            raise place.error(key, f"{key} wants the form {pattern}, got {record[key]!r}")
    for key in ("modalities", "tasks", "unverified", "notes", "sources"):
        if not all(isinstance(item, str) for item in record.get(key, [])):
            raise place.error(key, f"{key} wants a list of texts, got {record[key]!r}")
    try:
        spec = build_spec(record)
    except (BadInputError, KeyError, ValueError) as error:
        raise place.error("id", f"{record['id']}: {error}") from error
    return ModelCard(
        spec=spec,
        family=family,
        org=org,
        release=record["release"],
        license_id=record["license"],
        openness=record["openness"],
        modalities=tuple(record["modalities"]),
        tasks=tuple(record["tasks"]),
        gated=record.get("gated"),
        confidence=record["confidence"],
        unverified=tuple(record.get("unverified", ())),
        notes=tuple(record.get("notes", ())),
        sources=tuple(dict.fromkeys([record["source_url"], *record.get("sources", ())])),
        as_of=record["as_of"],
        n_params_reported=record["n_params_reported"],
        quant_native=record.get("quant_native"),
        basis=record["basis"],
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a record stands in its file, so that an error can name the line of the offending key."""

    file: str
    text: str
    line: int  # 1-based line of the record's [[model]] header; 0 for the top of the file

    def error(self, key: str, problem: str) -> DataFileError:
        return DataFileError(self.file, self._line_of(key), problem)

    def _line_of(self, key: str) -> int:
        lines = self.text.splitlines()
        for number in range(self.line, len(lines)):
            if lines[number].startswith("[[model]]"):
                break
            if re.match(rf'(\[model\.)?"?{re.escape(key)}"?(\s*=|\])', lines[number]):
                return number + 1
        return max(self.line, 1)


def _header_lines(text: str) -> list[int]:
    return [number for number, line in enumerate(text.splitlines(), 1) if line.strip() == "[[model]]"]


def _check_keys(table: Mapping[str, Any], keys: Mapping[str, tuple[type, bool]], place: _Place, where: str) -> None:
    prefix = f"[model.{where}] " if where else ""
    for key in table:
        if key not in keys:
            raise place.error(key, f"{prefix}unknown key {key!r}; known are {', '.join(keys)}")
    for key, (kind, required) in keys.items():
        if key not in table:
            if required:
                raise place.error(where or key, f"{prefix}missing {key}; every record must state it")
            continue
        value = table[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise place.error(key, f"{prefix}{key} wants {kind.__name__}, got {value!r}")
        if isinstance(value, str) and not value.strip():
            raise place.error(key, f"{prefix}{key} is empty; every record must state it")

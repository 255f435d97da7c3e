"""Models as facts: one TOML file per family, read strictly into `ModelCard`.

A record that misses its source, carries a key nobody reads, or contradicts itself is refused with file and line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.spec_builder import build_spec
from catalog.strict_toml import AS_OF, URL, Place, check_choice, check_form, check_keys, check_texts, load_records
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
_TOP: dict[str, tuple[type, bool]] = {"family": (str, True), "org": (str, True)}
_MODEL: dict[str, tuple[type, bool]] = {
    "id": (str, True),
    "name": (str, True),
    "release": (str, True),
    "license": (str, True),
    "base_models": (list, False),
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
    `basis` how the facts were read, `base_models` what it was made from (their licences hold too). `gated` is None
    where unknown.
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
    base_models: tuple[str, ...] = ()

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


def record_card(card: ModelCard) -> dict[str, object]:
    """A card's plain facts by the names of their columns, as every table of models has them."""
    spec = card.spec
    return {
        "model_id": spec.model_id,
        "name": spec.name,
        "family": card.family,
        "org": card.org,
        "release": card.release,
        "license_id": card.license_id,
        "openness": card.openness,
        "modalities": list(card.modalities),
        "tasks": list(card.tasks),
        "gated": card.gated,
        "context_tokens": spec.context_tokens,
        "n_params": spec.n_params,
        "n_active_params": spec.n_active_params,
        "n_params_projector": spec.n_params_projector,
        "n_params_reported": card.n_params_reported,
        "quant_native": card.quant_native,
        "confidence": card.confidence,
        "unverified": list(card.unverified),
        "source_url": card.source_url,
        "as_of": card.as_of,
    }


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
        document, records = load_records(file, "model", _TOP)
        for record, place in records:
            card = _parse_model(record, document["family"], document["org"], place)
            for name in (card.model_id, card.name):
                if name in seen:
                    raise DataFileError(str(file), place.line, f"{name!r} is already in {seen[name]}; keep one")
                seen[name] = file.name
            cards.append(card)
    return tuple(cards)


def _parse_model(record: Mapping[str, Any], family: str, org: str, place: Place) -> ModelCard:
    check_keys(record, _MODEL, place)
    for table, keys in _TABLES.items():
        if table in record:
            check_keys(record[table], keys, place, f"model.{table}")
    check_choice(record, {"openness": OPENNESS, "confidence": CONFIDENCE}, place)
    check_form(record, {"release": r"\d{4}-\d{2}", "as_of": AS_OF, "source_url": URL}, place)
    check_texts(record, ("modalities", "tasks", "base_models", "unverified", "notes", "sources"), place)
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
        base_models=tuple(record.get("base_models", ())),
    )

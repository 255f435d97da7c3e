"""Imported models as rows of `import_schema.sql`, and rows as imported models: no database in here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from catalog.imported import FileWeights, ImportedModel, ParamCheck
from catalog.models import ModelCard, record_card
from catalog.spec_json import Shape, digest_text, shape_of, write_shape
from sizing.errors import BadInputError, UnsupportedError
from sizing.memory import WeightBytes
from sizing.quants import MAX_LABEL_CHARACTERS, is_label
from sizing.specs import ModelSpec
from sizing.tensors import digest_tensors

MAX_ID_CHARACTERS = 400

Record = dict[str, Any]
Types = tuple[tuple[str, str], ...]


def check_model(model: ImportedModel) -> None:
    """Raises BadInputError for a model that cannot be kept: an id no address can hold, or weights of another shape."""
    spec, name = model.card.spec, model.card.model_id
    if not name or len(name) > MAX_ID_CHARACTERS or not name.isprintable() or name != name.strip():
        raise BadInputError(f"a model's id wants 1 to {MAX_ID_CHARACTERS} printable characters, got {name[:60]!a}")
    if not spec.name.strip() or len(spec.name) > MAX_ID_CHARACTERS or not spec.name.isprintable():
        raise BadInputError(
            f"{name}: its name wants 1 to {MAX_ID_CHARACTERS} printable characters, got {spec.name[:60]!a}"
        )
    for labels in ([f.label for f in model.files], [w.quant for w in model.weighed]):
        bad = next((label for label in labels if not is_label(label)), None)
        if bad is not None:
            raise BadInputError(
                f"{name}: a quantization's name wants 1 to {MAX_LABEL_CHARACTERS} letters, digits, spaces or ._-+(), "
                f"got {bad[:80]!a}"
            )
        doubled = next((label for label, n in Counter(labels).items() if n > 1), None)
        if doubled is not None:
            raise BadInputError(f"{name}: {doubled!a} is there twice; each file of a model wants a name of its own")
    n_layers = spec.n_layers
    for weights in (*model.weighed, *(f.weights for f in model.files if f.weights is not None)):
        if len(weights.layer_bytes) != n_layers or len(weights.layer_expert_bytes) != n_layers:
            raise BadInputError(
                f"{name} at {weights.quant}: the shape has {n_layers} layers, the weights have "
                f"{len(weights.layer_bytes)}; is the file of this model?"
            )
    if not model.card.sources:
        raise BadInputError(f"{name}: no source; an import says where it was read")


@dataclass(slots=True)
class ImportRows:
    """Rows of many models by table; what they share is there once. Fill it with `add`."""

    shapes: dict[str, Record] = field(default_factory=dict)
    weight_sets: dict[str, Record] = field(default_factory=dict)
    type_sets: dict[str, Record] = field(default_factory=dict)
    weighings: list[Record] = field(default_factory=list)
    models: list[Record] = field(default_factory=list)
    model_files: list[Record] = field(default_factory=list)
    file_parts: list[Record] = field(default_factory=list)
    _shape_ids: dict[Shape, str] = field(default_factory=dict)
    _weight_ids: dict[int, tuple[WeightBytes, str]] = field(default_factory=dict)
    _type_ids: dict[int, tuple[Types, str]] = field(default_factory=dict)
    _weighing_ids: dict[tuple[tuple[str, str], ...], str] = field(default_factory=dict)

    def add(self, model: ImportedModel) -> None:
        """Take a model's rows in. Raises BadInputError for one that cannot be kept."""
        check_model(model)
        model_id = model.card.model_id
        shared = {"shape_id": self._add_shape(model.card.spec), "weighing_id": self._add_weighing(model.weighed)}
        self.models.append({**_model_record(model), **shared})
        for i, file in enumerate(model.files):
            self.model_files.append(
                {
                    "model_id": model_id,
                    "label": file.label,
                    "position": i,
                    "weights_id": None if file.weights is None else self._add_set(file.weights),
                    "types_id": self._add_types(file.types) if file.types else None,
                    "size_bytes": file.size_bytes,
                    "gap": file.gap,
                }
            )
            lengths = file.part_bytes or (None,) * len(file.paths)
            parts = enumerate(zip(file.paths, file.sha256, lengths, strict=True))
            self.file_parts += [
                {"model_id": model_id, "label": file.label, "part": part, "path": path, "sha256": sha256, "n_bytes": n}
                for part, (path, sha256, n) in parts
            ]

    def _add_weighing(self, weighed: Sequence[WeightBytes]) -> str | None:
        content = tuple((w.quant, self._add_set(w)) for w in weighed)
        if not content:
            return None
        known = self._weighing_ids.get(content)
        if known is not None:
            return known
        weighing_id = self._weighing_ids[content] = digest_text(repr(content))
        self.weighings += [
            {"weighing_id": weighing_id, "label": label, "position": i, "weights_id": weights_id}
            for i, (label, weights_id) in enumerate(content)
        ]
        return weighing_id

    def _add_shape(self, spec: ModelSpec) -> str:
        shape = shape_of(spec)
        known = self._shape_ids.get(shape)
        if known is not None:
            return known
        text = write_shape(shape)
        shape_id = self._shape_ids[shape] = digest_text(text)
        self.shapes[shape_id] = {
            "shape_id": shape_id,
            "n_layers": spec.n_layers,
            "spec": text,
            "tensor_digest": find_tensor_digest(spec),
        }
        return shape_id

    def _add_set(self, weights: WeightBytes) -> str:
        known = self._weight_ids.get(id(weights))
        if known is not None:
            return known[1]
        weights_id = digest_weights(weights)
        self._weight_ids[id(weights)] = weights, weights_id  # the object is held, so its id stays its own
        self.weight_sets[weights_id] = {
            "weights_id": weights_id,
            "input_bytes": weights.input_bytes,
            "output_bytes": weights.output_bytes,
            "token_embedding_bytes": weights.token_embedding_bytes,
            "layer_bytes": list(weights.layer_bytes),
            "layer_expert_bytes": list(weights.layer_expert_bytes) if any(weights.layer_expert_bytes) else [],
        }
        return weights_id

    def _add_types(self, types: Types) -> str:
        known = self._type_ids.get(id(types))
        if known is not None:
            return known[1]
        text = write_types(types)
        types_id = digest_text(text)
        self._type_ids[id(types)] = types, types_id
        self.type_sets[types_id] = {"types_id": types_id, "types": text}
        return types_id


def find_tensor_digest(spec: ModelSpec) -> str | None:
    """The digest of a model's tensors, None where its architecture's are not known."""
    try:
        return digest_tensors(spec)
    except UnsupportedError:
        return None


def digest_weights(weights: WeightBytes) -> str:
    """Twenty-four hexadecimal digits that stand for the bytes, whatever they are called."""
    numbers = (
        weights.input_bytes,
        weights.output_bytes,
        weights.token_embedding_bytes,
        weights.layer_bytes,
        weights.layer_expert_bytes,
    )
    return blake2b(repr(numbers).encode(), digest_size=12).hexdigest()


def write_types(types: Iterable[tuple[str, str]]) -> str:
    """Types by tensor as JSON, tensors of one type together."""
    by_type: dict[str, list[str]] = {}
    for tensor, ggml_type in types:
        by_type.setdefault(ggml_type, []).append(tensor)
    return json.dumps(sorted(by_type.items()), separators=(",", ":"))


def read_types(text: str | None) -> Types:
    """What `write_types` wrote, ordered by tensor."""
    if text is None:
        return ()
    return tuple(sorted((str(tensor), str(t)) for t, tensors in json.loads(text) for tensor in tensors))


def _model_record(model: ImportedModel) -> Record:
    card = model.card
    return {
        **record_card(card),
        "card_notes": list(card.notes),
        "basis": card.basis,
        "sources": list(card.sources),
        "origin": model.origin,
        "repo_id": model.repo_id,
        "revision": model.revision,
        "shape_from": model.shape_from,
        "n_counted": model.check.n_counted,
        "n_stated": model.check.n_stated,
        "check_note": model.check.note,
        "imported_at": model.imported_at,
        "weigh_gap": model.weigh_gap,
        "license_tag": model.license_tag,
        "license_name": model.license_name,
        "license_url": model.license_url,
        "base_models": list(model.base_models),
        "n_downloads": model.n_downloads,
        "n_likes": model.n_likes,
        "pipeline_tag": model.pipeline_tag,
        "import_notes": list(model.notes),
    }


def build_spec(row: Mapping[str, Any], shape: Shape) -> ModelSpec:
    """A model's spec from its row and its shape, whose parts it shares."""
    return ModelSpec(
        model_id=row["model_id"],
        name=row["name"],
        architecture=shape.architecture,
        groups=shape.groups,
        hidden_dim=shape.hidden_dim,
        vocab_size=shape.vocab_size,
        context_tokens=row["context_tokens"],
        tied_embeddings=shape.tied_embeddings,
        n_params=row["n_params"],
        n_active_params=row["n_active_params"],
        n_params_projector=row["n_params_projector"],
        extras=shape.extras,
    )


def build_card(row: Mapping[str, Any], shape: Shape) -> ModelCard:
    """A model's card from its row and its shape."""
    return ModelCard(
        spec=build_spec(row, shape),
        family=row["family"],
        org=row["org"],
        release=row["release"],
        license_id=row["license_id"],
        openness=row["openness"],
        modalities=tuple(row["modalities"]),
        tasks=tuple(row["tasks"]),
        gated=row["gated"],
        confidence=row["confidence"],
        unverified=tuple(row["unverified"]),
        notes=tuple(row["card_notes"]),
        sources=tuple(row["sources"]),
        as_of=row["as_of"],
        n_params_reported=row["n_params_reported"],
        quant_native=row["quant_native"],
        basis=row["basis"],
    )


def build_model(
    row: Mapping[str, Any], shape: Shape, weighed: Sequence[WeightBytes], files: Sequence[FileWeights]
) -> ImportedModel:
    """An imported model from its rows."""
    return ImportedModel(
        card=build_card(row, shape),
        origin=row["origin"],
        repo_id=row["repo_id"],
        revision=row["revision"],
        shape_from=row["shape_from"],
        check=ParamCheck(row["n_counted"], row["n_stated"], row["check_note"]),
        imported_at=row["imported_at"],
        weighed=tuple(weighed),
        weigh_gap=row["weigh_gap"],
        files=tuple(files),
        license_tag=row["license_tag"],
        license_name=row["license_name"],
        license_url=row["license_url"],
        base_models=tuple(row["base_models"]),
        n_downloads=row["n_downloads"],
        n_likes=row["n_likes"],
        pipeline_tag=row["pipeline_tag"],
        notes=tuple(row["import_notes"]),
    )


@dataclass(slots=True)
class WeightReader:
    """Rows of `weight_sets` as `WeightBytes`; equal layers are one tuple, equal numbers one object."""

    _numbers: dict[int, int] = field(default_factory=dict)
    _layers: dict[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)

    def read(
        self, label: str, input_bytes: int, output_bytes: int, embedding: int, layers: list[int], experts: list[int]
    ) -> WeightBytes:
        """The bytes of one mix under the name it has for a model."""
        by_layer = self._share(layers)
        by_expert = self._share(experts or [0] * len(layers))
        return WeightBytes(label, input_bytes, output_bytes, by_layer, by_expert, embedding)

    def _share(self, values: list[int]) -> tuple[int, ...]:
        asked = tuple(values)
        known = self._layers.get(asked)
        if known is None:
            numbers = self._numbers
            known = tuple([numbers.setdefault(v, v) for v in asked])
            self._layers[known] = known
        return known

"""A Hugging Face config.json, read as data, becomes a ModelSpec. Nothing in it is imported, followed or run.

The config is turned into the same kind of record the catalog's own files hold and built by `catalog.spec_builder`.
Which keys mean what, and what a model type fills in where a key is left out, stands in `catalog.config_types`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from catalog.config_fields import Fields, show
from catalog.config_kinds import ModelType
from catalog.config_shapes import Record
from catalog.config_types import CLASS_TYPES, MODEL_TYPES, WRAPPERS
from catalog.param_check import check_params
from catalog.spec_builder import build_spec
from sizing.errors import BadInputError, UnsupportedError, find_near_names
from sizing.specs import ModelSpec
from sizing.tensors import find_architecture, list_tensors

__all__ = ["ConfigReading", "check_params", "read_config"]

MAX_PARAMS = 10**14
"""A hundred trillion: more than any file anybody could publish."""


@dataclass(frozen=True, slots=True)
class ConfigReading:
    """What a config.json says.

    `model_type` is the text model's. `quant_native` is the format the files are published in, None for plain floats,
    spelled as the catalog does ("FP8", "MXFP4", "INT4", "AWQ 4-bit"). `modalities` are "text" and what has a tower of
    its own beside it. `notes` are sentences for a person. `n_prediction_layers` are layers beyond the model's own that
    only draft tokens, `has_head` tells whether the files hold an output head by the class the config names.
    """

    spec: ModelSpec
    model_type: str
    quant_native: str | None
    modalities: tuple[str, ...]
    notes: tuple[str, ...]
    n_prediction_layers: int = 0
    has_head: bool = True


def read_config(config: Mapping[str, object], model_id: str, name: str | None = None) -> ConfigReading:
    """The shapes of the text model that a config.json describes.

    `n_params` counts what the publisher's files hold of it: the tensor table without the rotation tables that the
    converter computes. `n_active_params` is that less the routed experts a token does not read, embeddings included;
    this is how the catalog counts, and more than publishers say who leave the embeddings out.

    Raises UnsupportedError, naming it, for a model type or a variant without a tensor table, and BadInputError, naming
    the key, what was wanted and what came, for one that is missing, of a wrong type or absurd.
    """
    try:
        return _read(config, model_id, name)
    except (BadInputError, UnsupportedError) as error:
        text = str(error)
        raise type(error)(text if text.startswith(model_id) else f"{model_id}: {text}") from error


def _read(config: Mapping[str, object], model_id: str, name: str | None) -> ConfigReading:
    if not isinstance(config, Mapping):
        raise BadInputError(f"config.json wants a table, got {show(config)}")
    model_type = find_model_type(config)
    kind = MODEL_TYPES[model_type]
    fields = _list_fields(config, kind)
    _check_fixed(fields, kind, model_type)
    record = _build_record(fields, kind, _find_tied(config, kind))
    notes = record.pop("notes")
    spec = _count(build_spec(record | {"id": model_id, "name": name or model_id.rsplit("/", 1)[-1]}))
    has_head = _has_head(config)
    if not has_head and not spec.tied_embeddings:
        notes.append(f"{show(_first_class(config))} in architectures has no output head; it is counted with one")
    if "auto_map" in config:
        notes.append("the repository brings its own code (auto_map); it was neither fetched nor run")
    quant, modalities = find_quant(config), _list_modalities(config)
    n_drafting = _count_prediction_layers(fields)
    return ConfigReading(spec, model_type, quant, modalities, tuple(notes), n_drafting, has_head)


def _build_record(fields: Fields, kind: ModelType, tied: bool) -> Record:
    """What `catalog.spec_builder` builds from, by the model type's parts; counts come later."""
    record: Record = {"architecture": kind.architecture, "n_params": 1, "n_active_params": 1, "notes": []}
    for part in kind.parts:
        part(fields, record)
    record["tied_embeddings"] = tied
    n_drafting = fields.maybe_number("num_nextn_predict_layers", low=0, high=64)
    if n_drafting:
        record["extras"]["published_nextn_predict_layers"] = n_drafting
    return record


# ---------------------------------------------------------------- which model it is


def find_model_type(config: Mapping[str, object]) -> str:
    """The model type of the text model, among those known. Raises UnsupportedError with near names for another."""
    top = Fields(config)
    stated = top.word("model_type")
    if stated is None:
        stated = CLASS_TYPES.get(_first_class(config) or "")
    if stated is not None and stated in WRAPPERS:
        inner = _find_text(config)
        return _check_known(config, (inner.word("model_type") if inner else None), stated, WRAPPERS[stated])
    return _check_known(config, stated, stated, stated)


def _check_known(config: Mapping[str, object], found: str | None, stated: str | None, default: str | None) -> str:
    """`found`, or `default` where the text model does not name its type, or names the whole model's."""
    name = default if found is None or found == stated else found
    if name is not None and name in MODEL_TYPES:
        return name
    near = find_near_names(name or _first_class(config) or "", (*MODEL_TYPES, *WRAPPERS))
    hint = f"; near: {', '.join(near)}" if near else ""
    code = "; its own code (auto_map) is not followed" if "auto_map" in config else ""
    raise UnsupportedError(
        f"model type {show(name)} (architectures {show(_first_class(config))}) has no tensor table; "
        f"its size cannot be counted{code}{hint}"
    )


def _first_class(config: Mapping[str, object]) -> str | None:
    """The first name in `architectures`, where it is a list of texts."""
    listed = config.get("architectures")
    first = listed[0] if isinstance(listed, (list, tuple)) and listed else None
    return first if isinstance(first, str) else None


def _has_head(config: Mapping[str, object]) -> bool:
    """Whether the class named writes tokens; a bare model, a classifier or a reward model keeps no output head."""
    first = _first_class(config) or ""
    return first == "NomicBertModel" or not first.endswith(("Model", "Classification", "RewardModel"))


def _find_text(config: Mapping[str, object]) -> Fields | None:
    """The table of the text model within a model of more than text."""
    for key in ("text_config", "llm_config", "language_config"):
        if isinstance(config.get(key), Mapping):
            return Fields(config).table(key)
    return None


def _list_fields(config: Mapping[str, object], kind: ModelType) -> Fields:
    """The text model's keys over the whole model's, as llama.cpp's converter merges them (conversion/base.py)."""
    inner = _find_text(config)
    if inner is None:
        return Fields(config, kind.defaults)
    return Fields({**config, **inner.values}, kind.defaults, inner.where)


def _check_fixed(fields: Fields, kind: ModelType, model_type: str) -> None:
    for key, wanted in kind.fixed.items():
        if fields.flag(key) is not wanted:
            said = "" if fields.states(key) else " (by its model type's default)"
            raise UnsupportedError(
                f"{fields.where}{key} is {fields.flag(key)}{said}; the tensor table of {kind.architecture} "
                f"({model_type}) is for {wanted}"
            )


def _find_tied(config: Mapping[str, object], kind: ModelType) -> bool:
    """Whether input and output share one embedding: yes where either level says so, else what either says.

    Qwen2-VL's class raises the flag from the text model in the same way; older transformers asked the text model alone,
    newer ones the whole model. The text type's default stands where neither level says: files that left the key out
    were written when that was what counted.
    """
    inner = _find_text(config)
    levels = [Fields(config)] + ([inner] if inner is not None else [])
    keys = ("tie_word_embeddings", "tie_embedding")
    stated = [level.flag(key) for level in levels for key in keys if level.states(key)]
    return any(stated) if stated else kind.defaults.get("tie_word_embeddings") is True


# ---------------------------------------------------------------- counting


def _count(spec: ModelSpec) -> ModelSpec:
    """The spec with its parameters counted from its tensor table."""
    find_architecture(spec)
    computed = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
    by_converter = spec.extra("rope_freqs") is True or spec.extra("rope_factors") is True
    total, idle = 0, 0
    for tensor in list_tensors(spec):
        if by_converter and tensor.name in computed:
            continue
        total += tensor.n_elements
        if "_exps." in tensor.name:
            ffn = spec.by_layer[int(tensor.name.split(".")[1])].ffn
            if ffn is not None and ffn.n_experts:
                idle += tensor.n_elements // ffn.n_experts * (ffn.n_experts - ffn.n_active_experts)
    if total > MAX_PARAMS:
        raise BadInputError(f"{spec.model_id}: the shapes make {total:,} parameters, more than {MAX_PARAMS:,}")
    return replace(spec, n_params=total, n_active_params=total - idle)


def _count_prediction_layers(fields: Fields) -> int:
    keys = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")
    return next((fields.number(key, low=0, high=64) for key in keys if fields.states(key)), 0)


# ---------------------------------------------------------------- what else it says


def _list_modalities(config: Mapping[str, object]) -> tuple[str, ...]:
    """Text, and what has a tower of its own in the files."""
    found = ["text"]
    if any(isinstance(config.get(key), Mapping) for key in ("vision_config", "img_processor", "visual")):
        found.append("image")
    if any(isinstance(config.get(key), Mapping) for key in ("audio_config", "audio_processor")):
        found.append("audio")
    return tuple(found)


_METHODS = {
    "fp8": "FP8",
    "fbgemm_fp8": "FP8",
    "mxfp4": "MXFP4",
    "nvfp4": "NVFP4",
    "awq": "AWQ",
    "gptq": "GPTQ",
    "bitsandbytes": "BNB",
    "compressed-tensors": "compressed-tensors",
    "modelopt": "modelopt",
}


def find_quant(config: Mapping[str, object]) -> str | None:
    """The format the files are published in, from `quantization_config`; None where they are plain floats.

    FP4 experts beside FP8 (DeepSeek V4's `expert_dtype`) are named after the experts, which are most of the bytes.
    """
    inner = _find_text(config)
    levels = [Fields(config)] + ([inner] if inner is not None else [])
    found = next((level.table("quantization_config") for level in levels if level.states("quantization_config")), None)
    if found is None:
        return None
    if any((level.word("expert_dtype") or "").lower() == "fp4" for level in levels):
        return "FP4"
    algorithm = found.word("quant_algo")
    if algorithm is not None:
        return algorithm.replace("_", " ")[:40].upper()
    method = (found.word("quant_method") or "").lower()
    if method == "compressed-tensors":
        return _find_compressed(found)
    name = _METHODS.get(method, method[:40] or "quantized")
    bits = 4 if found.flag("load_in_4bit") else 8 if found.flag("load_in_8bit") else found.maybe_number("bits", high=64)
    return f"{name} {bits}-bit" if bits is not None and name in ("AWQ", "GPTQ", "BNB") else name


def _find_compressed(table: Fields) -> str:
    """What compressed-tensors packs: the type and bits of its first group, or the packing's own name."""
    form = (table.word("format") or "").lower()
    for known in ("mxfp4", "nvfp4"):
        if form.startswith(known):
            return known.upper()
    groups = table.table("config_groups")
    for key in groups.values:
        if not isinstance(groups.values[key], Mapping):
            continue
        weights = groups.table(key).table("weights")
        bits, kind = weights.maybe_number("num_bits", high=64), weights.word("type") or "int"
        if bits is not None:
            return f"{'FP' if kind == 'float' else 'INT'}{bits}"
    return "compressed-tensors"

"""The header of a GGUF file -> `ModelSpec`, checked tensor by tensor against the file's own tensor table.

This is the inverse of `sizing.tensors.metadata`. Keys say what llama.cpp would read; the tensor table says what is
there; where the spec's own list of tensors and the file's differ, the reading says so, and in what.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from catalog.gguf_header import GgufHeader, GgufKey, GgufTensor, Scalar
from catalog.gguf_keys import MAX_CONTEXT, MAX_WIDTH, ModelFile, open_model_file
from catalog.gguf_layers import list_layer_groups
from catalog.gguf_weights import MAX_LAYERS, check_parts, find_quant_label
from sizing.architectures import ARCHITECTURES
from sizing.errors import GgufError, UnsupportedError, find_near_names
from sizing.memory import WeightBytes
from sizing.specs import ExtraValue, LayerGroup, ModelSpec
from sizing.tensor_groups import group_tensor_bytes
from sizing.tensors import find_architecture, list_tensors

NO_MODELS = {
    "clip": "a projector for images or sound (mmproj), which goes beside a model",
    "adapter": "an adapter (LoRA), which goes on top of a model",
    "controlvector": "a control vector, which goes on top of a model",
    "imatrix": "an importance matrix, which steers quantization",
    "mmproj": "a projector for images or sound (mmproj), which goes beside a model",
}
"""Files that are no language model, by `general.architecture` or `general.type`."""

MAX_EXTRAS = 256
MAX_TEXT = 64
_EXTRA_NAME = re.compile(r"[A-Za-z0-9_.]{1,96}")
_LAYER = re.compile(r"blk\.([0-9]+)\.")

NEVER_EXTRA = frozenset({"block_count", "nextn_predict_layers", "vocab_size", "context_length", "embedding_length"})
"""Keys that the spec holds as fields of its own."""

SHAPED = frozenset(
    """
    attention.head_count attention.head_count_kv attention.key_length attention.value_length attention.key_length_mla
    attention.value_length_mla attention.key_length_swa attention.value_length_swa attention.kv_lora_rank
    attention.layer_norm_rms_epsilon attention.layer_norm_epsilon attention.sliding_window
    attention.sliding_window_pattern attention.recurrent_layers attention.shared_kv_layers
    attention.indexer.head_count attention.indexer.key_length attention.indexer.top_k attention.indexer.types
    feed_forward_length leading_dense_block_count expert_count expert_used_count expert_feed_forward_length
    expert_shared_count expert_shared_feed_forward_length ssm.conv_kernel ssm.inner_size ssm.state_size
    ssm.time_step_rank ssm.group_count kda.head_dim shortconv.l_cache rope.dimension_count rope.dimension_count_swa
    """.split()
)
"""Keys that a spec's layers imply; they are kept as extras only where the file says something else."""

SOFTMAX, SIGMOID = 1, 2
"""enum llama_expert_gating_func_type, llama-hparams.h."""

SIGMOID_BY_DEFAULT = frozenset({"glm4moe", "glm-dsa", "glm5-next", "step35", "cohere2moe"})
SOFTMAX_BY_DEFAULT = frozenset({"deepseek2", "mistral4"})
GLM_LITE_LAYERS, GLM_LITE_VOCABULARY = (47, 48), 154_880
"""GLM-4.7 Flash goes by deepseek2 and gates by sigmoid (src/models/deepseek2.cpp)."""

GEMMA3N_FIXED = (("altup.num_inputs", 4), ("embedding_length_per_layer_input", 256), ("laurel_rank", 64))
"""What llama.cpp takes for Gemma 3n whatever the file says (llama-hparams.h, `n_altup` and the following)."""

TOWERS = ("v.", "a.", "mm.")
"""First parts of names of image and sound towers (gguf-py's constants.py), which Ollama leaves in the model's file."""

TOWER_KEYS = ("vision.", "audio.")

ROPE_TENSORS = ("rope_freqs.", "rope_factors_")
"""Factors worked out from the configuration: no parameters."""

AT_LEAST_ONE = {
    "attention.output_group_count": 4096,
    "attention.output_lora_rank": MAX_WIDTH,
    "attention.q_lora_rank": MAX_WIDTH,
    "attention.indexer.kpool": 4096,
    "hyper_connection.count": 16,
    "altup.num_inputs": 16,
    "attn_res.block_size": MAX_LAYERS,
}
AT_LEAST_ZERO = {
    "hash_layer_count": MAX_LAYERS,
    "n_deepstack_layers": MAX_LAYERS,
    "embedding_length_per_layer_input": 2**16,
    "expert_latent_length": MAX_WIDTH,
    "moe_latent_size": MAX_WIDTH,
    "expert_group_count": 4096,
    "expert_group_used_count": 4096,
    "expert_gating_func": 64,
}
"""Numbers that graphs and tables count and divide by, with the most that can be meant."""


@dataclass(frozen=True, slots=True)
class TensorCheck:
    """The file's tensors against those the spec implies: by name, and by shape where the name is in both."""

    n_tensors: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    reshaped: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        """Whether the file holds just the tensors the spec implies."""
        return not (self.missing or self.extra or self.reshaped)

    @property
    def sentence(self) -> str:
        """The outcome in one sentence."""
        if self.is_equal:
            return f"All {self.n_tensors:,} tensors have the names and shapes that this model should have."
        parts = (("lacks", self.missing), ("has besides", self.extra), ("has in another shape", self.reshaped))
        told = "; ".join(f"{verb} {_name_some(names)}" for verb, names in parts if names)
        return f"The file's {self.n_tensors:,} tensors are not those this model should have: it {told}."


@dataclass(frozen=True, slots=True)
class HeaderReading:
    """A model out of a file's header.

    `weights` are the exact bytes of the layers that generate text (their `quant` is the label), `types` the GGML type
    of each of those tensors. `notes` say in words what was left out or assumed.
    """

    spec: ModelSpec
    weights: WeightBytes
    types: tuple[tuple[str, str], ...]
    check: TensorCheck
    notes: tuple[str, ...]


def read_header_spec(
    parts: Sequence[GgufHeader], model_id: str, name: str | None = None, label: str | None = None
) -> HeaderReading:
    """The model in a GGUF file, given the header of the file or of all parts of a split one.

    Raises UnsupportedError for an architecture without a tensor table (with near names) and for a file that holds no
    language model, GgufError for keys that cannot be true, BadInputError for parts or keys that do not go together.
    """
    first = check_parts(parts)
    file = open_model_file(tuple(parts), find_model_architecture(first))
    drafting = frozenset(
        name for name in file.tensors if 0 <= _layer_of(name) - file.n_layers < file.n_prediction_layers
    )
    towers = frozenset(name for name in file.tensors if name.startswith(TOWERS))
    kept = tuple(tensor for tensor in file.tensors.values() if tensor.name not in drafting | towers)
    spec = _build_spec(file, kept, model_id, name or find_name(first) or model_id)
    if towers:
        spec = replace(spec, n_params_projector=sum(file.tensors[name].n_elements for name in towers))
    label = label or find_quant_label(parts)
    weights = group_tensor_bytes(label, ((t.name, t.n_bytes) for t in kept), file.n_layers, file.architecture)
    check = check_tensors(spec, kept)
    notes = tuple(_list_notes(file, drafting, towers, check))
    return HeaderReading(spec, weights, tuple((t.name, t.type_name) for t in kept), check, notes)


def find_model_architecture(header: GgufHeader) -> str:
    """The architecture of a language model's file. Raises UnsupportedError for every other file."""
    other, architecture = find_other_purpose(header), header.architecture
    if other is not None:
        raise UnsupportedError(f"the file is {other}; it is no language model")
    if architecture is None:
        raise UnsupportedError("the file does not say its architecture (general.architecture); is it a model?")
    if architecture not in ARCHITECTURES:
        near = find_near_names(architecture[:MAX_TEXT], ARCHITECTURES)
        hint = f"; near: {', '.join(near)}" if near else ""
        raise UnsupportedError(
            f"no tensor table for architecture {architecture[:MAX_TEXT]!a}: its weights can be counted from the file, "
            f"its cache and buffers cannot{hint}"
        )
    return architecture


def find_other_purpose(header: GgufHeader) -> str | None:
    """What a file is that holds no language model (a projector, an adapter), in words; None for any other."""
    said = (header.find("general.type"), header.architecture)
    return next((NO_MODELS[word] for word in said if isinstance(word, str) and word in NO_MODELS), None)


def find_name(header: GgufHeader) -> str:
    """What the file calls its model (`general.name`), on one line; "" where it does not."""
    said = header.find("general.name")
    return " ".join(said.split())[:120].strip() if isinstance(said, str) and said.isprintable() else ""


def check_tensors(spec: ModelSpec, tensors: Iterable[GgufTensor]) -> TensorCheck:
    """The tensors of a file against those that a spec implies. A trailing dimension of 1 says nothing."""
    wanted = {tensor.name: _trim(tensor.shape) for tensor in list_tensors(spec)}
    found = {tensor.name: _trim(tensor.shape) for tensor in tensors}
    return TensorCheck(
        n_tensors=len(found),
        missing=tuple(name for name in wanted if name not in found),
        extra=tuple(name for name in found if name not in wanted),
        reshaped=tuple(name for name, shape in found.items() if wanted.get(name, shape) != shape),
    )


def _build_spec(file: ModelFile, tensors: Sequence[GgufTensor], model_id: str, name: str) -> ModelSpec:
    hidden_dim = file.number("embedding_length", MAX_WIDTH)
    groups = list_layer_groups(file, hidden_dim)
    vocab_size = find_vocab_size(file)
    extras = {**_list_extras(file), **_list_implied_extras(file, groups, vocab_size)}
    _check_extras(file, extras, groups)
    learned = [tensor for tensor in tensors if not tensor.name.startswith(ROPE_TENSORS)]
    spec = ModelSpec(
        model_id=model_id,
        name=name,
        architecture=file.architecture,
        groups=groups,
        hidden_dim=hidden_dim,
        vocab_size=vocab_size,
        context_tokens=file.number("context_length", MAX_CONTEXT),
        tied_embeddings=not file.has("output.weight"),
        n_params=sum(tensor.n_elements for tensor in learned),
        n_active_params=count_active_params(groups, learned),
        extras=tuple(extras.items()),
    )
    return _drop_derived(spec)


def find_vocab_size(file: ModelFile) -> int:
    """Tokens: as many as the vocabulary lists, else what the file states, else the rows of the embedding."""
    if file.n_tokens_listed is not None:
        return file.n_tokens_listed
    embedding = file.shape("token_embd.weight")
    stored = embedding[1] if len(embedding) == 2 and embedding[1] <= MAX_WIDTH else None
    return file.number("vocab_size", MAX_WIDTH, default=stored)


def count_active_params(groups: Iterable[LayerGroup], tensors: Iterable[GgufTensor]) -> int:
    """Values that one token meets: all but the routed experts it is not sent to."""
    shares = {i: (g.ffn.n_active_experts, g.ffn.n_experts) for g in groups if g.ffn and g.ffn.is_moe for i in g.layers}
    total = 0
    for tensor in tensors:
        used, n = shares.get(_layer_of(tensor.name), (1, 1)) if "_exps." in tensor.name else (1, 1)
        total += tensor.n_elements // n * used
    return total


# ---------------------------------------------------------------- extras


def _list_extras(file: ModelFile) -> dict[str, ExtraValue]:
    """The architecture's keys as extras of a spec, those of drafting layers cut off."""
    extras: dict[str, ExtraValue] = {}
    for name, key in file.keys.items():
        value = _take_value(key, file)
        is_of_model = name not in NEVER_EXTRA and not name.startswith(TOWER_KEYS)
        if value is not None and is_of_model and _EXTRA_NAME.fullmatch(name):
            extras[name] = value
    if len(extras) > MAX_EXTRAS:
        raise GgufError(
            f"the file has {len(extras):,} keys of {file.architecture}; no model has more than {MAX_EXTRAS}"
        )
    return extras


def _take_value(key: GgufKey, file: ModelFile) -> ExtraValue | None:
    """A value as a spec may hold it and a GGUF file may be written with it again; None for any other."""
    value = key.value
    if isinstance(value, tuple):
        n_all = file.n_layers + file.n_prediction_layers
        items = value[: file.n_layers] if len(value) == n_all else value
        kept = [item for item in items if not isinstance(item, str) and _is_plain(item)]
        if len(kept) != len(items) or not items or len(items) > MAX_LAYERS:
            return None
        return tuple(kept)
    return value if value is not None and _is_plain(value) else None


def _is_plain(value: Scalar) -> bool:
    """Whether a value is short, finite and of 32 bits."""
    if isinstance(value, str):
        return len(value) <= MAX_TEXT and value.isprintable()
    return math.isfinite(value) and (isinstance(value, float) or -(2**31) <= value < 2**31)


def _list_implied_extras(file: ModelFile, groups: Sequence[LayerGroup], vocab_size: int) -> dict[str, ExtraValue]:
    """What only the tensor table or llama.cpp's own defaults say."""
    extras: dict[str, ExtraValue] = {}
    for name, tensor in (("rope_freqs", "rope_freqs.weight"), ("rope_factors", "rope_factors_long.weight")):
        if file.has(tensor) and file.architecture != "gemma4":  # whose table always holds them
            extras[name] = True
    if file.n_prediction_layers:
        extras["published_nextn_predict_layers"] = file.n_prediction_layers
    if file.architecture == "falcon-h1":
        extras["ssm.norm"] = file.has("blk.0.ssm_norm.weight")
    if file.architecture == "gemma3n":
        extras |= dict(GEMMA3N_FIXED)
    if file.architecture == "gemma4":
        full = [i for g in groups if g.attention is not None and g.attention.window_tokens is None for i in g.layers]
        if any(file.has(f"blk.{i}.attn_k.weight") and not file.has(f"blk.{i}.attn_v.weight") for i in full):
            extras["attention.k_eq_v"] = True
    if "expert_gating_func" not in file.keys and file.architecture in SIGMOID_BY_DEFAULT | SOFTMAX_BY_DEFAULT:
        is_lite = file.n_layers in GLM_LITE_LAYERS and vocab_size == GLM_LITE_VOCABULARY
        extras["expert_gating_func"] = SIGMOID if is_lite or file.architecture in SIGMOID_BY_DEFAULT else SOFTMAX
    return extras


def _check_extras(file: ModelFile, extras: Mapping[str, ExtraValue], groups: Sequence[LayerGroup]) -> None:
    """Refuse numbers among the extras that nothing can be counted with."""
    for bounds, least in ((AT_LEAST_ONE, 1), (AT_LEAST_ZERO, 0)):
        for name, most in bounds.items():
            if name in file.keys:
                file.number(name, most, least=least)
    if file.architecture == "kimi-k3":
        file.number("attn_res.block_size", MAX_LAYERS)
    ratios = extras.get("attention.compress_ratios")
    if file.architecture == "deepseek4" and not (isinstance(ratios, tuple) and {0, 4, 128}.issuperset(ratios)):
        raise GgufError(f"{file.architecture}.attention.compress_ratios wants 0, 4 or 128 per layer")
    n_groups, n_used = (file.number(f"expert_group_{key}", 4096, 0, least=0) for key in ("count", "used_count"))
    n_experts = max((g.ffn.n_experts for g in groups if g.ffn is not None), default=0)
    if n_groups > 1 and (n_experts % n_groups or not 0 < n_used < n_groups < n_experts):
        raise GgufError(
            f"{n_groups:,} groups of experts, {n_used:,} of them used, do not go with {n_experts:,} experts"
        )
    if file.architecture == "llama4" and not n_experts:
        raise UnsupportedError(
            "llama4 without experts has no tensor table here; its cache and buffers cannot be counted"
        )


def _drop_derived(spec: ModelSpec) -> ModelSpec:
    """The spec without those extras that its layers say already."""
    bare = replace(spec, extras=tuple(pair for pair in spec.extras if pair[0] not in SHAPED))
    derived = dict(find_architecture(bare).list_metadata(bare))
    is_latent = any(g.attention is not None and g.attention.latent is not None for g in spec.groups)
    said = {key for key, value in spec.extras if _is_said(spec, derived, key, value)}
    if is_latent:
        said.add("attention.q_lora_rank")
    return replace(spec, extras=tuple(pair for pair in spec.extras if pair[0] not in said))


def _is_said(spec: ModelSpec, derived: Mapping[str, ExtraValue], key: str, value: ExtraValue) -> bool:
    """Whether the metadata of the bare spec holds this very value, one number for all layers or one for each."""
    if key not in SHAPED or key not in derived:
        return False
    return _spread(derived[key], spec.n_layers) == _spread(value, spec.n_layers)


def _spread(value: ExtraValue, n_layers: int) -> tuple[object, ...]:
    """One value per layer, floats as a file holds them."""
    return tuple(_round(item) for item in (value if isinstance(value, tuple) else (value,) * n_layers))


def _round(value: object) -> object:
    """A value as a file holds it: floats of 32 bits."""
    return struct.pack("<f", value) if isinstance(value, float) and abs(value) < 3e38 else value


# ---------------------------------------------------------------- words


def _list_notes(file: ModelFile, drafting: frozenset[str], towers: frozenset[str], check: TensorCheck) -> Iterable[str]:
    if drafting:
        n_bytes = sum(file.tensors[name].n_bytes for name in drafting)
        yield (
            f"{file.n_prediction_layers} prediction layers ({len(drafting)} tensors, {n_bytes:,} bytes) are in the "
            "file; llama.cpp leaves them out unless it drafts with them, and so do the figures"
        )
    if towers:
        n_bytes = sum(file.tensors[name].n_bytes for name in towers)
        yield (
            f"the file also holds a tower for images or sound ({len(towers)} tensors, {n_bytes:,} bytes); the figures "
            "are the language model's"
        )
    if not check.is_equal:
        yield check.sentence


def _name_some(names: Sequence[str]) -> str:
    shown = ", ".join(ascii(name)[1:-1] for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3:,} more"


def _trim(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _layer_of(name: str) -> int:
    """The layer a tensor is of, -1 where it is of none."""
    found = _LAYER.match(name)
    return int(found[1]) if found else -1

"""What LoRA adapts and how many parameters it trains, as peft counts them.

Each adapted matrix of n_in x n_out gets two of rank r: r x n_in and n_out x r (arXiv:2106.09685, section 4.1). Names
are those of the modules in transformers, which is what peft looks for; where they are not the checkpoint's, both are
told apart here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.modules import Module, Role, list_modules
from sizing.specs import ModelSpec
from sizing.tensors import list_tensors

ALL_LINEAR = "all-linear"
"""peft's name for every nn.Linear but the output head
(https://huggingface.co/docs/peft/v0.21.2/en/package_reference/lora)."""

SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The seven projections of Llama and its like."""

MAX_RANK = 65_536

_MODULE_NAMES = {
    "deepseek4": {
        "attn_kv": "kv_proj",
        "attn_compressor_kv": "kv_proj",
        "indexer_compressor_kv": "kv_proj",
        "attn_compressor_gate": "gate_proj",
        "indexer_compressor_gate": "gate_proj",
        "attn_output_a": "o_a_proj",
        "attn_output_b": "o_b_proj",
        "indexer.attn_q_b": "q_b_proj",
    },
    "minimax-m3": dict.fromkeys(("ffn_gate", "ffn_up", "ffn_gate_shexp", "ffn_up_shexp"), "gate_up_proj"),
    "granitehybrid": {
        **dict.fromkeys(("ffn_gate", "ffn_up", "ffn_gate_shexp", "ffn_up_shexp"), "input_linear"),
        **dict.fromkeys(("ffn_down", "ffn_down_shexp"), "output_linear"),
    },
}
"""Names of modules in transformers 5.24.0 that are not the checkpoint's, by GGUF tensor
(https://github.com/huggingface/transformers/tree/v5.24.0/src/transformers/models)."""

_SMALL_LINEAR = {
    "altup_correct_coef": "correction_coefs",
    "altup_predict_coef": "prediction_coefs",
    "altup_router": "modality_router",
    "altup_proj": "altup_projections",
    "altup_unembd_proj": "altup_unembed_projections",
}
"""Small matrices nobody quantizes that are nn.Linear all the same (Gemma 3n), by GGUF tensor."""

_ONE_MATRIX = (
    frozenset({"attn_k_b", "attn_v_b"}),
    frozenset({"attn_qkv", "attn_gate"}),
    frozenset({"ffn_gate", "ffn_up"}),
    frozenset({"ffn_gate_shexp", "ffn_up_shexp"}),
)
"""Tensors that GGUF keeps apart and that are one matrix in transformers where both bear its name."""

_ENDS = frozenset({"per_layer_model_proj"})
"""Matrices of the model's ends, outside its layers."""

_LINEAR_ROUTERS = frozenset({"llama4", "gemma4"})
"""Architectures whose router is an nn.Linear; elsewhere it is a parameter of a class of its own."""

_QWEN_NAMES = {"gate": "gate", "gate_proj": "gate_up", "up_proj": "gate_up", "down_proj": "down"}
_MIXTRAL_NAMES = {"gate": "gate", "w1": "gate_up", "w3": "gate_up", "w2": "down"}

_CONVERTED = {
    "qwen3moe": _QWEN_NAMES,
    "qwen3next": _QWEN_NAMES,
    "deepseek2": _QWEN_NAMES,
    "deepseek32": _QWEN_NAMES,
    "glm4moe": _QWEN_NAMES,
    "glm-dsa": _QWEN_NAMES,
    "ernie4_5-moe": _QWEN_NAMES,
    "hunyuan-moe": _QWEN_NAMES,
    "olmoe": _QWEN_NAMES,
    "cohere2moe": _QWEN_NAMES,
    "llama": _MIXTRAL_NAMES,
    "minimax-m2": _MIXTRAL_NAMES,
}
"""Experts are stacked parameters in transformers 5, which LoRA passes over, but for these mixtures peft turns the names
they had into those parameters: the router, gate and up as one of twice the rank, down. These names then no longer reach
dense layers and shared experts (https://github.com/huggingface/peft/blob/v0.21.2/src/peft/utils/
transformers_weight_conversion.py, `_convert_peft_config_moe`)."""

_REFUSED = {"falcon-h1": ("out_proj",), "nemotron_h": ("out_proj",), "nemotron_h_moe": ("out_proj",)}
"""Names peft refuses because a fused Mamba kernel reads these weights past any adapter
(`_check_lora_target_modules_mamba` in https://github.com/huggingface/peft/blob/v0.21.2/src/peft/tuners/
tuners_utils.py)."""


@dataclass(frozen=True, slots=True)
class LoraTarget:
    """Equal matrices LoRA adapts: one of n_in x n_out in each of `layers`, `n_stacked` of them for experts.

    `rank_factor` multiplies the rank: 2 where two matrices of experts are adapted as one. `tensors` are the GGUF
    tensors behind it.
    """

    name: str
    n_in: int
    n_out: int
    layers: tuple[int, ...]
    tensors: tuple[str, ...]
    n_stacked: int = 1
    rank_factor: int = 1

    @property
    def count(self) -> int:
        """How many layers hold it, 1 for the model's ends."""
        return len(self.layers) or 1

    @property
    def is_expert(self) -> bool:
        """Whether it belongs to experts, which only tokens routed to them pass."""
        return self.n_stacked > 1

    def count_trainable(self, rank: int) -> int:
        """Parameters of the adapters of all of them at a rank."""
        return self.count * self.n_stacked * rank * self.rank_factor * (self.n_in + self.n_out)


def _is_linear(module: Module, architecture: str) -> bool:
    """Whether transformers holds this as an nn.Linear: stacked experts and most routers it does not."""
    if module.role is Role.ROUTER:
        return module.tensor == "ffn_gate_inp_shexp" or architecture in _LINEAR_ROUTERS
    return module.role is Role.LINEAR


def _join(modules: list[Module]) -> Iterator[LoraTarget]:
    """Parts that are one matrix in transformers, joined along their outputs."""
    left = list(modules)
    while left:
        first = left.pop(0)
        parts = [
            m
            for m in left
            if (m.name, m.layers) == (first.name, first.layers)
            and any({m.tensor, first.tensor} <= one for one in _ONE_MATRIX)
        ]
        left = [m for m in left if m not in parts]
        n_out = first.n_out + sum(p.n_out for p in parts)
        tensors = (first.tensor, *(p.tensor for p in parts))
        yield LoraTarget(first.name, first.n_in, n_out, first.layers, tensors)


def _own_layers(spec: ModelSpec, module: Module) -> tuple[int, ...]:
    """The layers that hold a module in transformers: where keys and values are an earlier layer's, none are made."""
    if module.tensor not in ("attn_k", "attn_v"):
        return module.layers
    attending = ((i, spec.by_layer[i].attention) for i in module.layers)
    return tuple(i for i, attention in attending if attention is None or not attention.shares_kv)


def _list_small(spec: ModelSpec) -> Iterator[LoraTarget]:
    """Small nn.Linear modules, several of them stacked in one tensor of GGUF."""
    layers: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for tensor in list_tensors(spec):
        parts = tensor.name.removesuffix(".weight").split(".")
        if parts[-1] in _SMALL_LINEAR:
            layers.setdefault((parts[-1], tensor.shape), []).extend(int(p) for p in parts[1:2] if len(parts) == 3)
    for (stem, shape), found in layers.items():
        for _ in range(prod(shape[2:])):
            yield LoraTarget(_SMALL_LINEAR[stem], shape[0], shape[1], tuple(found), (stem,))


def list_linear(spec: ModelSpec) -> tuple[LoraTarget, ...]:
    """Every nn.Linear of a model but its output head, equal ones together.

    Raises UnsupportedError for an architecture that is not described.
    """
    names = _MODULE_NAMES.get(spec.architecture, {})
    linear = [
        replace(m, name=names.get(m.tensor, m.name), layers=_own_layers(spec, m))
        for m in list_modules(spec)
        if _is_linear(m, spec.architecture)
    ]
    return (*_join([m for m in linear if m.layers or m.tensor in _ENDS]), *_list_small(spec))


def list_expert_targets(spec: ModelSpec) -> tuple[LoraTarget, ...]:
    """The parameters that peft adapts for the names a mixture's experts had; none where it does not."""
    if spec.architecture not in _CONVERTED:
        return ()
    found = []
    for m in list_modules(spec):
        if m.tensor == "ffn_gate_inp":
            found.append(LoraTarget("gate", m.n_in, m.n_out, m.layers, (m.tensor,)))
        elif m.tensor == "ffn_gate_exps":
            fused = ("ffn_gate_exps", "ffn_up_exps")
            found.append(LoraTarget("gate_up", m.n_in, 2 * m.n_out, m.layers, fused, m.n_stacked, 2))
        elif m.tensor == "ffn_gate_up_exps":
            found.append(LoraTarget("gate_up", m.n_in, m.n_out, m.layers, (m.tensor,), m.n_stacked, 2))
        elif m.tensor == "ffn_down_exps":
            found.append(LoraTarget("down", m.n_in, m.n_out, m.layers, (m.tensor,), m.n_stacked))
    return tuple(found)


def list_target_names(spec: ModelSpec) -> tuple[str, ...]:
    """Names LoRA can adapt in a model, in the order of a layer."""
    experts = _CONVERTED[spec.architecture] if list_expert_targets(spec) else {}
    return tuple(dict.fromkeys((*(t.name for t in list_linear(spec)), *experts)))


def find_targets(spec: ModelSpec, names: tuple[str, ...]) -> tuple[LoraTarget, ...]:
    """The matrices that `names` adapt; `(ALL_LINEAR,)` for all. Names a model lacks are passed over, as by peft.

    Raises UnknownNameError where none of them is in the model, UnsupportedError where peft refuses one.
    """
    linear, experts = list_linear(spec), list_expert_targets(spec)
    if not linear:
        raise UnsupportedError(f"{spec.name} has no matrix that LoRA could adapt")
    converted = _CONVERTED[spec.architecture] if experts else {}
    is_all = names == (ALL_LINEAR,)
    wanted = {t.name for t in linear} | set(converted) if is_all else set(names)
    fused = wanted & {old for old, new in converted.items() if new == "gate_up"}
    if len(fused) == 1:
        both = " and ".join(old for old, new in converted.items() if new == "gate_up")
        raise UnsupportedError(f"peft adapts {both} of stacked experts together: name both or neither")
    found = tuple(t for t in linear if t.name in wanted and t.name not in converted)
    found += tuple(t for t in experts if t.name in {converted[n] for n in wanted if n in converted})
    for name in _REFUSED.get(spec.architecture, ()):
        if any(t.name == name for t in found):
            raise UnsupportedError(
                f"peft refuses to adapt {name} of this architecture, whose Mamba kernel reads the weight itself: "
                f"name the others, {', '.join(n for n in list_target_names(spec) if n != name)}"
            )
    if not found:
        raise UnknownNameError("target module", "+".join(names), list_target_names(spec))
    return found


def check_rank(rank: int) -> None:
    """Raises BadInputError for a rank that is none."""
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= MAX_RANK:
        raise BadInputError(f"rank wants a whole number from 1 to {MAX_RANK:,}, got {rank!r}")


def count_lora_params(spec: ModelSpec, rank: int, names: tuple[str, ...] = (ALL_LINEAR,)) -> int:
    """Parameters that LoRA trains at a rank, equal to peft's count. Raises as `check_rank` and `find_targets`."""
    check_rank(rank)
    return sum(t.count_trainable(rank) for t in find_targets(spec, names))

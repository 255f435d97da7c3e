"""Which cards a server's kernels run a weight format on.

https://docs.vllm.ai/en/v0.15.1/features/quantization/ (table of supported hardware) and the `get_min_capability` of
each module in https://github.com/vllm-project/vllm/tree/v0.15.1/vllm/model_executor/layers/quantization.
"""

from __future__ import annotations

from collections.abc import Sequence

from sizing.formats import WeightFormat
from sizing.hardware import Device

CAPABILITY = {
    "maxwell": 52,
    "pascal": 61,
    "volta": 70,
    "turing": 75,
    "ampere": 80,
    "ada": 89,
    "hopper": 90,
    "blackwell": 100,
}
"""NVIDIA's compute capability times ten by generation, the lowest of each (https://developer.nvidia.com/cuda-gpus)."""

LEAST_CAPABILITY = 75
"""The oldest cards vLLM's builds hold kernels for (https://docs.vllm.ai/en/latest/getting_started/installation/gpu/)."""

FORMAT_CAPABILITY = {
    "BF16": 0,
    "FP8": 80,
    "FP8-block": 80,
    "INT8": 75,
    "AWQ": 75,
    "GPTQ": 75,
    "GPTQ-8bit": 75,
    "W4A16": 80,
    "W4A16-g32": 80,
    "MXFP4": 80,
    "NVFP4": 80,
    "NF4": 70,
    "NF4-single": 70,
    "LLM.int8": 70,
}
"""Least capability by format. FP8 below 89, NVFP4 below 100 and MXFP4 run through Marlin, which unpacks to 16 bits."""

AMD_FORMATS = {
    "BF16": None,
    "AWQ": None,
    "GPTQ": None,
    "GPTQ-8bit": None,
    "W4A16": None,
    "W4A16-g32": None,
    "FP8": frozenset({"cdna3", "cdna4", "rdna4"}),
    "FP8-block": frozenset({"cdna3", "cdna4", "rdna4"}),
    "MXFP4": frozenset({"cdna3", "cdna4", "rdna4"}),
}
"""Formats on AMD cards and the generations they want, None for all. Group formats and MXFP4 on RDNA4 are what the logs
of https://github.com/kyuz0/amd-r9700-vllm-toolboxes show."""

INTEL_FORMATS = frozenset({"BF16", "AWQ", "GPTQ", "FP8", "MXFP4"})


def find_format_gap(fmt: WeightFormat, cards: Sequence[Device]) -> str | None:
    """Why these cards cannot run a format, in words, or None. A card whose generation is unknown is believed."""
    for card in cards:
        gap = _find_card_gap(fmt.name, card)
        if gap is not None:
            return gap
    return None


def _find_card_gap(name: str, card: Device) -> str | None:
    kind = card.architecture
    if card.backend == "rocm":
        if name not in AMD_FORMATS:
            return f"no kernels for {name} on AMD cards"
        wanted = AMD_FORMATS[name]
        if wanted is not None and kind and kind not in wanted:
            return f"{name} wants {', '.join(sorted(wanted))}; {card.name} is {kind}"
        return None
    if card.backend == "sycl":
        return None if name in INTEL_FORMATS else f"no kernels for {name} on Intel cards"
    capability = CAPABILITY.get(kind)
    if capability is None:
        return None
    if capability < LEAST_CAPABILITY:
        return f"{card.name} ({kind}) is older than compute capability {LEAST_CAPABILITY / 10}, the least built for"
    if name == "INT8" and capability >= 100:
        return f"no kernels for INT8 activations on {kind}; {card.name} wants FP8 instead"
    least = FORMAT_CAPABILITY[name]
    if capability < least:
        return f"{name} wants compute capability {least / 10}; {card.name} ({kind}) has {capability / 10}"
    return None


UNPACKED_BELOW = {"FP8": 89, "FP8-block": 89, "NVFP4": 100}
"""Formats whose own arithmetic wants this capability; cards below it unpack the weights to 16 bits as they go."""


def find_fallback(fmt: WeightFormat, card: Device) -> str | None:
    """What a card does with a format it can hold but not calculate in, in words; None where it can."""
    wanted, capability = UNPACKED_BELOW.get(fmt.name), CAPABILITY.get(card.architecture)
    if card.backend != "cuda" or wanted is None or capability is None or capability >= wanted:
        return None
    return (
        f"{card.name} ({card.architecture}) does not calculate in {fmt.name}: weights are unpacked to 16 bits as they "
        "are used, which saves memory and no arithmetic"
    )

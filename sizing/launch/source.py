"""Where an engine that reads safetensors gets its weights: the original, a quantized repository, or a variable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sizing.engines.base import EngineEstimate
from sizing.formats import find_format
from sizing.launch.base import ModelFiles, Variable
from sizing.specs import ModelSpec

AS_PUBLISHED = frozenset({"BF16", "MXFP4"})
"""Formats in which originals themselves are published."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What to load. `name` is a repository or a `Variable` set from `variables`; `flags` make the engine quantize it.

    `stored_bytes` is what has to be fetched.
    """

    name: str
    stored_bytes: int
    flags: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def find_weights(
    answer: EngineEstimate, files: ModelFiles, on_load: Mapping[str, tuple[str, ...]], plain: tuple[str, ...] = ()
) -> Weights:
    """What to load for the format that was sized.

    `on_load` are the flags with which the engine quantizes the original while it loads, by format; `plain` those for
    16 bits.
    """
    name, held = answer.setup.weight_format, answer.estimate.memory.parts.weight_bytes
    original_bytes = count_original_bytes(answer.setup.spec)
    if name == "BF16":
        return Weights(files.model_id, original_bytes, plain)
    if files.quantized_repo is not None:
        return Weights(files.quantized_repo, held)
    if name in on_load:
        note = f"{answer.engine} quantizes the original to {name} while it loads, which needs its full files on disk."
        return Weights(files.model_id, original_bytes, on_load[name], note=note)
    if name in AS_PUBLISHED:
        return Weights(files.model_id, held)
    wanted = f"a checkpoint of {files.model_id} in {find_format(name).label}"
    note = f"Set MODEL to {wanted}: a Hub repository or a folder."
    return Weights(Variable("MODEL"), held, variables={"MODEL": wanted}, note=note)


def count_original_bytes(spec: ModelSpec) -> int:
    """Bytes of the original in 16 bits."""
    return 2 * spec.n_params

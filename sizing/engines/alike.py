"""The same model on the same machine in every engine, each in its format nearest to one size of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sizing.engines.base import Engine, EngineEstimate
from sizing.engines.inverse import ask_engine
from sizing.engines.offers import EngineQuestion, count_bits_per_weight, list_offers
from sizing.errors import BadInputError, UnsupportedError
from sizing.hardware import Machine
from sizing.memory import WeightBytes
from sizing.specs import ModelSpec


@dataclass(frozen=True, slots=True)
class Alike:
    """One engine beside the others: its format and answer, or why it cannot run the model there (`gap`)."""

    engine: Engine
    weight_format: str = ""
    bits_per_weight: float = 0.0
    answer: EngineEstimate | None = None
    gap: str = ""


def list_alike(
    engines: Sequence[Engine],
    spec: ModelSpec,
    weights: Sequence[WeightBytes],
    machine: Machine,
    question: EngineQuestion,
    bits_per_weight: float | None,
) -> tuple[Alike, ...]:
    """Each engine in its own default cache type, in the order given.

    With `bits_per_weight` each is in the format nearest to it; with None in its largest format that runs, or the
    smallest where none does. `weights` are the model's GGUF files. Settings of `question` that an engine does not
    have are ignored by it.
    """
    return tuple(_ask(engine, spec, weights, machine, question, bits_per_weight) for engine in engines)


def _ask(
    engine: Engine,
    spec: ModelSpec,
    weights: Sequence[WeightBytes],
    machine: Machine,
    question: EngineQuestion,
    bits_per_weight: float | None,
) -> Alike:
    try:
        sized = [(count_bits_per_weight(spec, o), o) for o in list_offers(engine, spec, weights)]
    except UnsupportedError as error:
        return Alike(engine, gap=str(error))
    if bits_per_weight is None:
        sized.sort(key=lambda pair: -pair[0])
    else:
        sized.sort(key=lambda pair: abs(pair[0] - bits_per_weight))
    gaps: list[str] = []
    last: Alike | None = None
    for bits, offer in sized:
        try:
            answer = ask_engine(engine, question, spec, offer, machine)
        except (UnsupportedError, BadInputError) as error:
            gaps.append(str(error))
            continue
        last = Alike(engine, offer.weight_format, bits, answer)
        if bits_per_weight is not None or answer.estimate.fit.runs:
            return last
    if last is not None:
        return last
    nothing = (
        "there is no GGUF file whose bytes are known" if engine.takes_gguf else f"{engine.name} has no format for it"
    )
    return Alike(engine, gap=gaps[0] if gaps else nothing)

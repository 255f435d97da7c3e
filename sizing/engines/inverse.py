"""Which machines run a model in an engine other than llama.cpp, and how much context one gives for how many users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from sizing.engines.base import Engine, EngineEstimate
from sizing.engines.offers import EngineQuestion, Offer, count_offer_bytes, list_offers
from sizing.errors import BadInputError, UnsupportedError
from sizing.estimate import Estimate, search_context
from sizing.fit import Verdict
from sizing.hardware import Machine
from sizing.inverse import (
    ANYHOW,
    USERS,
    WHOLE,
    GridCell,
    GridRow,
    HardwareAnswer,
    MachineAnswer,
    arrange_answers,
    choose_weights,
    list_contexts,
    power_of,
    price_of,
)
from sizing.memory import WeightBytes
from sizing.specs import ModelSpec


@dataclass(frozen=True, slots=True)
class EngineHardwareNeeds:
    """What a machine has to do in an engine. `offers` are the formats that will do, at least one.

    `min_decode_tokens_per_s` is what each user must see, None for any speed. `allow_offload` lets part of the model
    run on the host, where the engine can.
    """

    spec: ModelSpec
    engine: Engine
    offers: tuple[Offer, ...]
    question: EngineQuestion
    min_decode_tokens_per_s: float | None = None
    allow_offload: bool = False

    def __post_init__(self) -> None:
        if not self.offers:
            raise BadInputError(f"{self.spec.name}: at least one weight format is wanted, got none")

    @property
    def accept(self) -> tuple[Verdict, ...]:
        """The verdicts that count as doing it."""
        return ANYHOW if self.allow_offload else WHOLE


def list_good_offers(engine: Engine, spec: ModelSpec, weights: Sequence[WeightBytes]) -> tuple[Offer, ...]:
    """The formats that will do where none is named: all of an engine's, or the good ones of a model's GGUF files."""
    return list_offers(engine, spec, choose_weights(weights) if engine.takes_gguf else ())


def ask_engine(
    engine: Engine, question: EngineQuestion, spec: ModelSpec, offer: Offer, machine: Machine
) -> EngineEstimate:
    """The engine's answer. Raises UnsupportedError with its reason where it cannot run the model there at all.

    BadInputError for a setting it refuses.
    """
    setup = question.build_setup(spec, offer, machine)
    gap = engine.find_gap(setup)
    if gap is not None:
        raise UnsupportedError(gap)
    return engine.estimate(setup)


def find_engine_hardware(needs: EngineHardwareNeeds, machines: Sequence[Machine]) -> HardwareAnswer:
    """Which of `machines` do what is needed; each is credited with the largest format that does."""
    sizes: list[tuple[int, Offer]] = []
    for offer in needs.offers:
        try:
            sizes.append((count_offer_bytes(needs.spec, offer), offer))
        except UnsupportedError:
            continue
    sizes.sort(key=lambda pair: -pair[0])
    return arrange_answers([_answer(needs, sizes, machine) for machine in machines])


def _answer(needs: EngineHardwareNeeds, sizes: Sequence[tuple[int, Offer]], machine: Machine) -> MachineAnswer | str:
    """The machine in its largest format that does it, or what it lacks; the gravest lack it is not spared."""
    lacks: set[str] = set()
    for n_bytes, offer in sizes:
        setup = needs.question.build_setup(needs.spec, offer, machine)
        if needs.engine.find_gap(setup) is not None:
            lacks.add("engine")
            continue
        if n_bytes > machine.usable_bytes:
            lacks.add("memory")
            continue
        try:
            told = needs.engine.estimate(setup).estimate
        except (UnsupportedError, BadInputError):
            lacks.add("engine")
            continue
        if told.fit.verdict not in needs.accept:
            lacks.add("memory")
            continue
        floor = needs.min_decode_tokens_per_s
        if floor and (told.speed is None or told.speed.decode_tokens_per_s.mid < floor):
            lacks.add("unknown" if told.speed is None else "speed")
            continue
        return MachineAnswer(machine, offer.weight_format, told, price_of(machine), power_of(machine))
    return next((word for word in ("speed", "unknown", "memory") if word in lacks), "engine")


def list_engine_grid(
    engine: Engine,
    question: EngineQuestion,
    spec: ModelSpec,
    offer: Offer,
    machine: Machine,
    users: Sequence[int] = USERS,
    contexts: Sequence[int] | None = None,
) -> tuple[GridRow, ...]:
    """The largest context per user for each number of users, with verdict and speed on the way there.

    Raises UnsupportedError where the engine cannot run the model there at all.
    """
    asked = tuple(contexts or list_contexts(spec))
    rows = []
    for n in users:

        @cache  # the search for the longest asks about many of the same contexts
        def size(tokens: int, n: int = n) -> Estimate:
            asked_here = replace(question, n_parallel=n, context_tokens=tokens)
            return ask_engine(engine, asked_here, spec, offer, machine).estimate

        cells = tuple(_describe_cell(tokens, size(tokens)) for tokens in asked)
        anyhow = search_context(spec.context_tokens, lambda c: size(c).fit.runs)
        whole = anyhow
        if any(cell.verdict is Verdict.OFFLOAD for cell in cells):
            whole = search_context(spec.context_tokens, lambda c: size(c).fit.verdict in WHOLE)
        rows.append(GridRow(n, whole, anyhow, cells))
    return tuple(rows)


def _describe_cell(context_tokens: int, told: Estimate) -> GridCell:
    return GridCell(context_tokens, told.fit.verdict, told.speed.decode_tokens_per_s if told.speed else None)

"""What engines other than llama.cpp answered, kept between reruns beside `cached`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from pages.ui import cached, get_file, inputs
from pages.ui.charts import ContextPoint
from pages.ui.kept import BY_NUMBER
from pages.ui.measured import list_measured_here
from pages.ui.questions import Wishes
from pages.ui.turns import one_at_a_time
from sizing.candidate import MeasuredHere, Needs
from sizing.engines import Engine, EngineEstimate, EngineOptions, find_engine, list_engines
from sizing.engines.alike import Alike, list_alike
from sizing.engines.inverse import (
    EngineHardwareNeeds,
    ask_engine,
    find_engine_hardware,
    list_engine_grid,
    list_good_offers,
)
from sizing.engines.offers import EngineQuestion, Offer, count_bits_per_weight, find_format_loss, list_offers
from sizing.engines.rank import EngineRanker
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.estimate import Estimate, check_context
from sizing.fit import Verdict
from sizing.hardware import Machine
from sizing.inverse import GridRow, HardwareAnswer, list_contexts
from sizing.launch import (
    NOTHING_BESIDE,
    Beside,
    Launch,
    ModelFiles,
    format_command,
    list_launches,
    list_llama_cpp_launches,
)
from sizing.options import Recommendation
from sizing.workload import Workload


@dataclass(frozen=True, slots=True)
class EngineAsk:
    """One model in one format of an engine on a machine, as the Size page asks it."""

    engine: str
    model_id: str
    weight_format: str
    question: EngineQuestion
    machine: Machine


@dataclass(frozen=True, slots=True)
class FormatRow:
    """One format of an engine: its answer or why there is none, and what it costs in score where published."""

    weight_format: str
    bits_per_weight: float
    answer: EngineEstimate | None
    gap: str
    loss_points: float | None
    loss_label: str


@dataclass(frozen=True, slots=True)
class LengthPoint:
    """What an engine does with requests of one length: how many at once (None: it reserves), bytes, whether it runs."""

    context_tokens: int
    n_requests: float | None
    total_bytes: int
    runs: bool


def read_question(wishes: Wishes) -> EngineQuestion:
    """What the engine of the address is asked, by the context bar and the engine's own settings."""
    choice = inputs.read_engine_choice()
    return EngineQuestion(wishes.context_tokens, wishes.n_parallel, choice.kv_type, choice.options)


def find_offer(engine: Engine, model_id: str, weight_format: str) -> Offer:
    """A format as an offer, with its bytes for GGUF. Raises BadInputError, UnknownNameError."""
    if engine.takes_gguf:
        return Offer(weight_format, cached.find_weights(model_id, weight_format))
    if weight_format not in engine.formats:
        raise UnknownNameError(f"format of {engine.name}", weight_format, engine.formats)
    return Offer(weight_format)


@st.cache_resource(show_spinner=False, max_entries=256, hash_funcs=BY_NUMBER)
def size(ask: EngineAsk) -> EngineEstimate:
    """The engine's answer. Raises UnsupportedError with its reason, BadInputError for a setting it refuses."""
    engine, spec = find_engine(ask.engine), cached.find_card(ask.model_id).spec
    check_context(spec, ask.question.context_tokens)
    if ask.question.kv_type not in ("auto", *engine.kv_types):
        raise UnknownNameError(f"cache type of {engine.name}", ask.question.kv_type, engine.kv_types)
    offer = find_offer(engine, ask.model_id, ask.weight_format)
    return ask_engine(engine, ask.question, spec, offer, ask.machine)


@st.cache_resource(show_spinner="Sizing every format", max_entries=128, hash_funcs=BY_NUMBER)
@one_at_a_time
def list_format_rows(ask: EngineAsk) -> tuple[FormatRow, ...]:
    """Every format the engine takes, the largest first; one it cannot run with its reason."""
    engine, card = find_engine(ask.engine), cached.find_card(ask.model_id)
    losses = cached.list_losses(ask.model_id)
    rows = []
    for offer in list_offers(engine, card.spec, cached.list_weights(ask.model_id)):
        answer, gap = None, ""
        try:
            answer = size(replace(ask, weight_format=offer.weight_format))
        except (UnsupportedError, BadInputError, UnknownNameError) as error:
            gap = str(error)
        try:
            bits = count_bits_per_weight(card.spec, offer)
        except UnsupportedError:
            bits = 0.0
        loss = find_format_loss(losses, offer.weight_format)
        points, label = (loss.points, loss.label) if loss else (None, "unknown")
        if loss is None and offer.weight_format in ("BF16", "F16"):
            points, label = 0.0, "not quantized"
        rows.append(FormatRow(offer.weight_format, bits, answer, gap, points, label))
    return tuple(sorted(rows, key=lambda r: -r.bits_per_weight))


def choose_format(ask: EngineAsk, wanted: str) -> str:
    """The format wanted where the engine has it, else the largest that fits, that runs, or the smallest there is."""
    rows = list_format_rows(ask)
    if wanted in {r.weight_format for r in rows}:
        return wanted
    answered = [r for r in rows if r.answer is not None]
    verdicts = [(r, r.answer.estimate.fit) for r in answered if r.answer is not None]
    fitting = next((r for r, fit in verdicts if fit.verdict is Verdict.FITS), None)
    running = next((r for r, fit in verdicts if fit.runs), None)
    chosen = fitting or running or (answered[-1] if answered else next(iter(rows), None))
    return chosen.weight_format if chosen else ""


@st.cache_resource(show_spinner="Trying lengths", max_entries=128, hash_funcs=BY_NUMBER)
@one_at_a_time
def list_lengths(ask: EngineAsk) -> tuple[LengthPoint, ...]:
    """Requests at once and memory at lengths up to the model's own, two to an octave."""
    most = cached.find_card(ask.model_id).spec.context_tokens
    steps = {int(2 ** (n / 2)) // 64 * 64 for n in range(20, 48)}
    points = []
    for tokens in sorted({t for t in steps if t < most} | {min(1024, most), most}):
        told = size(replace(ask, question=replace(ask.question, context_tokens=tokens)))
        requests = told.capacity.n_requests if told.capacity else None
        fit = told.estimate.fit
        points.append(LengthPoint(tokens, requests, told.estimate.memory.total_bytes, fit.runs))
    return tuple(points)


def list_context_points(ask: EngineAsk) -> tuple[ContextPoint, ...]:
    """Memory parts at the lengths of `list_lengths`, for an engine that reserves what it is asked for."""
    lengths = [p.context_tokens for p in list_lengths(ask)]
    asked = (replace(ask, question=replace(ask.question, context_tokens=tokens)) for tokens in lengths)
    return tuple(ContextPoint(a.question.context_tokens, size(a).estimate.memory.parts) for a in asked)


@st.cache_resource(show_spinner="Asking every engine", max_entries=64, hash_funcs=BY_NUMBER)
@one_at_a_time
def list_engines_alike(
    model_id: str, machine: Machine, question: EngineQuestion, bits_per_weight: float | None
) -> tuple[Alike, ...]:
    """One model on one machine in every engine, see `sizing.engines.alike`."""
    spec = cached.find_card(model_id).spec
    return list_alike(list_engines(), spec, cached.list_weights(model_id), machine, question, bits_per_weight)


@st.cache_resource(show_spinner="Reading the evidence", max_entries=16, hash_funcs=BY_NUMBER)
def _ranker(
    engine: str, needs: Needs, options: EngineOptions, kv_type: str, measured: tuple[MeasuredHere, ...]
) -> EngineRanker:
    gguf = cached.ranker(needs.task, needs.license_use, needs.license_profile, measured)
    return EngineRanker(gguf.candidates, find_engine(engine), options, kv_type, gguf)


def recommend(wishes: Wishes, machine: Machine, needs: Needs) -> Recommendation:
    """The answer of the Choose page for the engine in the address."""
    choice = inputs.read_engine_choice()
    return _recommend(wishes.engine, machine, needs, choice.options, choice.kv_type, list_measured_here())


@st.cache_resource(show_spinner="Ranking the catalog", max_entries=64, hash_funcs=BY_NUMBER)
@one_at_a_time
def _recommend(
    engine: str,
    machine: Machine,
    needs: Needs,
    options: EngineOptions,
    kv_type: str,
    measured: tuple[MeasuredHere, ...],
) -> Recommendation:
    return _ranker(engine, needs, options, kv_type, measured).recommend(machine, needs)


@st.cache_resource(show_spinner="Asking every listed machine", max_entries=64, hash_funcs=BY_NUMBER)
@one_at_a_time
def find_hardware(
    engine: str, model_id: str, weight_format: str, question: EngineQuestion, min_tokens_per_s: float, spill: bool
) -> HardwareAnswer:
    """Which listed machines do it in an engine; without a format any good one will do. Raises BadInputError."""
    asked, spec = find_engine(engine), cached.find_card(model_id).spec
    check_context(spec, question.context_tokens)
    if weight_format:
        offers: tuple[Offer, ...] = (find_offer(asked, model_id, weight_format),)
    else:
        offers = list_good_offers(asked, spec, cached.list_weights(model_id))
    needs = EngineHardwareNeeds(spec, asked, offers, question, min_tokens_per_s or None, spill)
    return find_engine_hardware(needs, cached.list_machines())


@st.cache_resource(show_spinner="Trying contexts and users", max_entries=64, hash_funcs=BY_NUMBER)
@one_at_a_time
def list_grid(ask: EngineAsk) -> tuple[GridRow, ...]:
    """The largest context for each number of users on a machine. Raises UnsupportedError."""
    engine, spec = find_engine(ask.engine), cached.find_card(ask.model_id).spec
    contexts = list_contexts(spec)
    if len(contexts) > 9:  # wider than a phone's screen
        contexts = contexts[::-2][::-1]
    offer = find_offer(engine, ask.model_id, ask.weight_format)
    return list_engine_grid(engine, ask.question, spec, offer, ask.machine, contexts=contexts)


def list_starts(model_id: str, answer: EngineEstimate) -> tuple[Launch, ...]:
    """Every way to start what was sized, empty where it does not run."""
    gguf = get_file.name_file(model_id, answer.setup.weight_format) if answer.setup.weights is not None else None
    return list_launches(answer, ModelFiles(model_id, gguf_file=gguf))


def list_llama_cpp_starts(
    model_id: str, setup: tuple[str, Workload, Machine], told: Estimate, beside: Beside = NOTHING_BESIDE
) -> tuple[Launch, ...]:
    """Every way to start llama.cpp as it was sized on the page, `setup` being quantization, workload and machine.

    The first is llama-server's command in one line.
    """
    quant, workload, machine = setup
    file = get_file.name_file(model_id, quant)
    name = cached.find_card(model_id).spec.name
    command = format_command(name, quant, told, workload, machine, beside, file)
    others = list_llama_cpp_launches(told, workload, machine, ModelFiles(model_id, gguf_file=file), beside)
    return (Launch("llama-server", "bash", command, "llama-server.sh"), *others[1:])


cached.keep_with_catalog(
    size, list_format_rows, list_lengths, list_engines_alike, _ranker, _recommend, find_hardware, list_grid
)

"""What is kept between reruns: the catalog, this machine, the ranking columns, and answers already worked out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from catalog import licenses, machines, queries
from catalog.candidates import list_candidates
from catalog.licenses import License
from catalog.models import ModelCard
from catalog.quality import ScoreRow
from catalog.queries import Source
from catalog.store import Catalog, open_catalog
from evals.bench_result import calibrate_machine
from pages.ui.charts import ContextPoint
from pages.ui.inputs import THIS
from pages.ui.questions import Wishes
from sizing import inverse
from sizing.estimate import (
    Estimate,
    check_workload,
    describe,
    estimate,
    find_largest_context,
)
from sizing.explain import PartFormula, explain_parts
from sizing.fit import Verdict
from sizing.hardware import Device, DeviceKind, Machine
from sizing.inverse import GridRow, HardwareAnswer, HardwareNeeds, MemoryStep, PriceSource, Unlock, choose_weights
from sizing.memory import WeightBytes
from sizing.recommend import Needs, Ranker, Recommendation
from sizing.specs import ModelSpec
from sizing.workload import Workload


@st.cache_resource(show_spinner="Loading the catalog")
def catalog() -> Catalog:
    """The catalog, loaded once for all sessions. Raises DataFileError naming file and line."""
    return open_catalog()


@st.cache_resource(show_spinner="Reading this machine", ttl=300)
def detected_machine() -> Machine:
    """The machine the app runs on with what benches taught of it, read anew every five minutes: free memory moves."""
    return calibrate_machine(queries.find_machine(catalog(), THIS))


@st.cache_resource(show_spinner=False)
def list_devices() -> tuple[Device, ...]:
    """Every listed card, unified machine and host."""
    return queries.list_devices(catalog())


@st.cache_resource(show_spinner=False)
def list_sources() -> tuple[Source, ...]:
    """Every address facts come from, most cited first."""
    return queries.list_sources(catalog())


@st.cache_resource(show_spinner=False, max_entries=512)
def list_scores(model_id: str) -> tuple[ScoreRow, ...]:
    """The published scores of one model."""
    return queries.list_scores(catalog(), model_id)


def find_machine(wishes: Wishes) -> Machine:
    """The machine a question names. Raises UnknownNameError with near names, BadInputError for a contradiction."""
    if wishes.machine == THIS:
        return detected_machine()
    return _built_machine(wishes.machine)


@st.cache_resource(show_spinner=False, max_entries=64, ttl=300)
def _built_machine(text: str) -> Machine:
    return queries.find_machine(catalog(), text, here=detected_machine)


@st.cache_resource(show_spinner=False)
def list_cards() -> tuple[ModelCard, ...]:
    """All model cards, by name."""
    return tuple(sorted(queries.list_models(catalog()), key=lambda c: c.spec.name.casefold()))


@st.cache_resource(show_spinner=False, max_entries=512)
def list_weights(model_id: str) -> tuple[WeightBytes, ...]:
    """A model's weights in every quantization, largest first; empty where the engine could not weigh it."""
    return tuple(sorted(queries.list_weights(catalog(), model_id), key=lambda w: -w.tensor_bytes))


def find_card(text: str) -> ModelCard:
    """The model called `text`; raises UnknownNameError with near names."""
    return queries.find_model(catalog(), text)


def find_gap(model_id: str) -> str:
    """Why the engine could not weigh a model, in words."""
    return queries.find_weigh_gap(catalog(), model_id) or "it has not been weighed with the engine yet"


@st.cache_resource(show_spinner="Reading the evidence", max_entries=32)
def ranker(task: str, license_use: str) -> Ranker:
    """The columns of the whole catalog for a task and a licence use, built once."""
    return Ranker(list_candidates(catalog(), task, license_use))


@st.cache_resource(show_spinner="Ranking the catalog", max_entries=64)
def recommend(machine: Machine, needs: Needs) -> Recommendation:
    """The answer of the Choose page, without what would change it (`find_changes` takes several passes more)."""
    return ranker(needs.task, needs.license_use).recommend(machine, needs, sensitivity=False)


@st.cache_resource(show_spinner=False, max_entries=64)
def find_changes(machine: Machine, needs: Needs) -> tuple[str, ...]:
    """What else would be recommended with more memory or half the context, one phrase each."""
    return ranker(needs.task, needs.license_use).find_changes(machine, needs)


def build_needs(wishes: Wishes) -> Needs:
    """The question of the context bar as the ranking wants it, with llama-server's default settings."""
    return Needs(
        task=wishes.task,
        workload=Workload(context_tokens=wishes.context_tokens, n_parallel=wishes.n_parallel),
        min_decode_tokens_per_s=wishes.min_tokens_per_s or None,
        license_use=wishes.license_use,
    )


@dataclass(frozen=True, slots=True)
class QuantRow:
    """One quantization of a model on a machine: its estimate and, where published, what it costs in score."""

    quant: str
    estimate: Estimate
    loss_points: float | None
    loss_label: str


@st.cache_resource(show_spinner=False, max_entries=128)
def estimate_one(model_id: str, quant: str, workload: Workload, machine: Machine) -> Estimate:
    """Memory, speed and fit of one configuration. Raises BadInputError for a context above the maximum."""
    weights = next(w for w in list_weights(model_id) if w.quant == quant)
    return estimate(find_card(model_id).spec, weights, workload, machine)


@st.cache_resource(show_spinner="Sizing every quantization", max_entries=128)
def list_quant_rows(model_id: str, workload: Workload, machine: Machine, task: str) -> tuple[QuantRow, ...]:
    """Every quantization of a model on a machine, largest first."""
    spec, weights = find_card(model_id).spec, list_weights(model_id)
    check_workload(spec, workload)
    known = next(c for c in ranker(task, "any").candidates if c.spec.model_id == model_id)
    losses = {x.quant: x for x in known.losses}
    alone = Ranker([replace(known, weights=weights)])
    sized = alone.size(workload, machine)
    rows = []
    for row, quant in enumerate(alone.table.quant):
        told = describe(sized, row, spec, quant, workload, machine)
        loss = losses.get(quant)
        rows.append(QuantRow(quant, told, loss.points if loss else None, loss.label if loss else "unknown"))
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class ContextSweep:
    """Memory at many contexts up to the model's maximum, and the largest context that fits (None: none does).

    `largest_on_cards_tokens` is the largest without anything moved to the host; the same where there are no cards.
    """

    points: tuple[ContextPoint, ...]
    largest_tokens: int | None
    largest_on_cards_tokens: int | None
    max_tokens: int


@st.cache_resource(show_spinner="Sweeping the context", max_entries=128)
def sweep_context(model_id: str, quant: str, workload: Workload, machine: Machine) -> ContextSweep:
    """Memory against context for one model and quantization, at powers of two and points between."""
    spec: ModelSpec = find_card(model_id).spec
    weights = next(w for w in list_weights(model_id) if w.quant == quant)
    contexts = sorted(
        {int(2 ** (n / 3)) // 64 * 64 or 64 for n in range(27, 70) if 2 ** (n / 3) <= spec.context_tokens}
        | {min(512, spec.context_tokens), spec.context_tokens}
    )
    points = tuple(
        ContextPoint(c, estimate(spec, weights, replace(workload, context_tokens=c), machine).memory.parts)
        for c in contexts
    )
    largest = find_largest_context(spec, weights, workload, machine)
    on_cards = largest
    if any(d.kind is DeviceKind.GPU for d in machine.accelerators):
        on_cards = find_largest_context(spec, weights, workload, machine, accept=(Verdict.FITS, Verdict.TIGHT))
    return ContextSweep(points, largest, on_cards, spec.context_tokens)


@st.cache_resource(show_spinner=False, max_entries=128)
def list_formulas(model_id: str, quant: str, workload: Workload, machine: Machine) -> tuple[PartFormula, ...]:
    """The formula of every part of one configuration, with the values put in."""
    weights = next(w for w in list_weights(model_id) if w.quant == quant)
    told = estimate_one(model_id, quant, workload, machine)
    return explain_parts(find_card(model_id).spec, weights, workload, told)


@st.cache_resource(show_spinner=False)
def list_machines() -> tuple[Machine, ...]:
    """Every machine one could buy: listed cards in several counts, unified machines, hosts alone."""
    return machines.list_machines(catalog())


@st.cache_resource(show_spinner=False)
def list_price_sources() -> dict[str, PriceSource]:
    """Where each device's price was read."""
    return machines.list_price_sources(catalog())


def build_hardware_needs(
    model_id: str, quant: str | None, workload: Workload, min_tokens_per_s: float, allow_offload: bool
) -> HardwareNeeds:
    """What a machine has to do; without a quantization any good one will do. Raises BadInputError."""
    weights = choose_weights(list_weights(model_id), quant)
    return HardwareNeeds(find_card(model_id).spec, weights, workload, min_tokens_per_s or None, allow_offload)


@st.cache_resource(show_spinner="Asking every listed machine", max_entries=64)
def find_hardware(
    model_id: str, quant: str | None, workload: Workload, min_tokens_per_s: float, allow_offload: bool
) -> HardwareAnswer:
    """Which listed machines do it."""
    needs = build_hardware_needs(model_id, quant, workload, min_tokens_per_s, allow_offload)
    return inverse.find_hardware(needs, list_machines())


@st.cache_resource(show_spinner=False, max_entries=64)
def list_unlocks(
    model_id: str, quant: str | None, workload: Workload, allow_offload: bool, machine: Machine
) -> tuple[Unlock, ...]:
    """What more memory opens on a machine, the present state first."""
    return inverse.list_unlocks(build_hardware_needs(model_id, quant, workload, 0, allow_offload), machine)


@st.cache_resource(show_spinner=False, max_entries=64)
def list_memory_steps(model_id: str, quant: str, quant_is_named: bool, workload: Workload) -> tuple[MemoryStep, ...]:
    """The memory at which each good quantization starts to run on one card, or the named one at each context."""
    needs = build_hardware_needs(model_id, quant if quant_is_named else None, workload, 0, False)
    if quant_is_named:
        return inverse.list_context_steps(needs, needs.find_weights(quant))
    return inverse.list_quant_steps(needs)


@st.cache_resource(show_spinner="Trying contexts and users", max_entries=64)
def list_context_grid(model_id: str, quant: str, workload: Workload, machine: Machine) -> tuple[GridRow, ...]:
    """The largest context for each number of users on a machine."""
    spec = find_card(model_id).spec
    weights = next(w for w in list_weights(model_id) if w.quant == quant)
    contexts = inverse.list_contexts(spec)
    if len(contexts) > 9:  # wider than a phone's screen
        contexts = contexts[::-2][::-1]
    return inverse.list_context_grid(spec, weights, workload, machine, contexts=contexts)


def find_license(license_id: str) -> License:
    """What a licence allows and asks. Raises UnknownNameError."""
    return licenses.find_license(catalog().licenses, license_id)

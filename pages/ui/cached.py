"""What is kept between reruns: the catalog, this machine, the ranking columns, and answers already worked out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import Protocol

import streamlit as st

from catalog import license_rules, licenses, machines, queries
from catalog.candidates import PROJECTOR_BYTES_PER_PARAM, find_loss_model, list_quant_losses
from catalog.compare import Compared, CompareQuestion, compare_models
from catalog.import_merge import LEFT_OUT
from catalog.import_store import ImportStore
from catalog.imported import ImportedModel
from catalog.license_chain import judge_model, judge_models
from catalog.licenses import License
from catalog.models import ModelCard
from catalog.quality import ScoreRow
from catalog.quant_loss import QuantLossEstimate, estimate_quant_loss
from catalog.queries import Source
from catalog.search import FilterOptions, list_filter_options
from catalog.store import Catalog, open_catalog
from evals.bench_result import calibrate_machine
from evals.home import find_home_if_usable
from pages.ui import second_core
from pages.ui.calculations import build_ranker
from pages.ui.charts import ContextPoint
from pages.ui.inputs import THIS, read_license_profile
from pages.ui.kept import BY_NUMBER
from pages.ui.measured import list_measured_here
from pages.ui.questions import Wishes
from pages.ui.turns import one_at_a_time, sweep
from sizing import finetune, inverse
from sizing.beside import MAX_VOCABULARY_DIFFERENCE, PairEstimate, estimate_pair
from sizing.compute import can_estimate_compute, estimate_compute_bytes
from sizing.errors import BadInputError, UserStoreError
from sizing.estimate import Estimate, check_workload, describe, estimate, search_context
from sizing.explain import PartFormula, explain_parts
from sizing.finetune import FineTuneEstimate
from sizing.finetune_search import Largest, MethodAnswer, compare_methods, find_largest
from sizing.finetune_setup import FineTuneSetup
from sizing.fit import Verdict
from sizing.hardware import Device, DeviceKind, Machine
from sizing.inverse import GridRow, HardwareAnswer, HardwareNeeds, MemoryStep, PriceSource, Unlock, choose_weights
from sizing.layers import LayerTable
from sizing.license_profile import LicenseProfile
from sizing.memory import WeightBytes
from sizing.placement import Offload
from sizing.quants import QUANTS
from sizing.rank_columns import Alone, RankColumns
from sizing.recommend import MeasuredHere, Needs, QuantLoss, Ranker, Recommendation
from sizing.solver import Asked, NoSolution, Solution, solve
from sizing.units import format_bytes
from sizing.workload import Workload


@st.cache_resource(show_spinner="Loading the catalog")
def catalog() -> Catalog:
    """The catalog with the person's imports, loaded once for all sessions. Raises DataFileError naming file and line.

    Where the imports cannot be read the catalog is there without them, and its notes say why.
    """
    second_core.start()
    opened = open_catalog(imports=find_home_if_usable())
    sweep()
    return opened


@st.cache_resource(show_spinner=False)
def _seen_imports() -> dict[str, tuple[int, int]]:
    """How the person's imports stood when the catalog was opened, by file."""
    return {}


def renew_if_changed() -> None:
    """Open the catalog anew where the imports changed since: by this app, or by a shell beside it."""
    home = find_home_if_usable()
    if home is None:
        return
    path = ImportStore(home).path
    try:
        told = path.stat()
        now = (told.st_mtime_ns, told.st_size)
    except OSError:
        now = (0, 0)
    before = _seen_imports().setdefault(str(path), now)
    if before != now or (lacks_imports() and are_imports_readable()):
        _seen_imports()[str(path)] = now
        renew_catalog()


def lacks_imports() -> bool:
    """Whether the catalog had to be opened without the person's imports."""
    return any(note.startswith(LEFT_OUT) for note in catalog().notes)


@st.cache_data(show_spinner=False, ttl=3)
def are_imports_readable() -> bool:
    """Whether the imports can be read now: whoever held them may have let go."""
    try:
        open_imports().list_ids()
    except UserStoreError:
        return False
    return True


def renew_catalog() -> None:
    """Open the catalog anew when next asked, after an import: everything worked out of it goes, and nothing else."""
    for kept in (*_OF_THE_CATALOG, *_KEPT_ELSEWHERE.values()):
        kept.clear()
    second_core.renew()
    sweep()


class Clearable(Protocol):
    """A cached function."""

    __qualname__: str
    __module__: str

    def clear(self) -> None:
        """Forget every answer."""


_KEPT_ELSEWHERE: dict[str, Clearable] = {}


def keep_with_catalog(*functions: Clearable) -> None:
    """Have caches of other modules go when the catalog is opened anew."""
    _KEPT_ELSEWHERE.update({f"{f.__module__}.{f.__qualname__}": f for f in functions})


NEWEST_IMPORTS = 500
"""Imports that the Import page lists; all of them stand in the Catalog."""


def open_imports() -> ImportStore:
    """The person's imports. Raises UserStoreError where there is no folder for them."""
    home = find_home_if_usable()
    if home is None:
        raise UserStoreError("your folder cannot be made; name another in WEIGHBRIDGE_HOME")
    return ImportStore(home)


@st.cache_resource(show_spinner=False)
def list_imported_ids() -> frozenset[str]:
    """The ids of all imported models. Raises UserStoreError."""
    return frozenset(open_imports().list_ids())


@st.cache_resource(show_spinner=False)
def list_newest_imports() -> tuple[ImportedModel, ...]:
    """The models imported last, the newest first. Raises UserStoreError."""
    store = open_imports()
    newest = store.list_newest(NEWEST_IMPORTS)
    found = {m.card.model_id: m for m in store.load(newest)}
    return tuple(found[model_id] for model_id in newest if model_id in found)


@st.cache_resource(show_spinner=False, max_entries=128)
def find_import(model_id: str) -> ImportedModel | None:
    """What was imported under a model's id, None where nothing was. Raises UserStoreError."""
    return open_imports().find(model_id)


def find_file_types(model_id: str, quant: str) -> dict[str, str] | None:
    """The GGML type of every tensor where a quantization is an imported file's own mix. Raises UserStoreError."""
    return queries.find_file_types(catalog(), find_home_if_usable(), model_id, quant)


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


MAX_LISTED_IMPORTS = 500
"""Imported models that a select box offers: the most downloaded. Of a longer list the rest is typed or picked on the
Catalog page."""


@dataclass(frozen=True, slots=True)
class ModelChoices:
    """Names of models by id, in their order, as select boxes offer them; `has_more` where not all are there."""

    names: dict[str, str]
    has_more: bool

    def with_model(self, card: ModelCard) -> dict[str, str]:
        """The same, with a model that is shown whether it is offered or not."""
        return self.names if card.model_id in self.names else {card.model_id: card.spec.name, **self.names}


@st.cache_resource(show_spinner=False)
def list_choices() -> ModelChoices:
    """The catalog's own models and the most downloaded imports, by name."""
    known = catalog()
    offered = known.cards[: known.n_curated + MAX_LISTED_IMPORTS]
    names = {c.model_id: c.spec.name for c in sorted(offered, key=lambda c: c.spec.name.casefold())}
    return ModelChoices(names, len(offered) < len(known.cards))


def list_catalog_options() -> FilterOptions:
    """What the catalog can be filtered by."""
    return list_filter_options(catalog())


def find_cards(model_ids: Sequence[str]) -> tuple[ModelCard, ...]:
    """The cards of these ids, in their order."""
    return tuple(find_card(model_id) for model_id in model_ids)


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


@st.cache_resource(show_spinner="Reading the evidence", max_entries=32, hash_funcs=BY_NUMBER)
def ranker(
    task: str, license_use: str, profile: LicenseProfile | None = None, measured: tuple[MeasuredHere, ...] = ()
) -> Ranker:
    """The whole catalog for a task, a licence use and who asks, built once; its columns are the same for all.

    `measured` are scores of this box that reorder what they were measured of.
    """
    newest = _newest_columns()
    made = build_ranker(catalog(), newest[0] if newest else None, task, license_use, profile, measured)
    newest[:] = [made.columns]
    sweep()
    return made


@st.cache_resource(show_spinner=False)
def _newest_columns() -> list[RankColumns]:
    """The columns of the ranker built last, for the next one to share; empty before the first."""
    return []


def recommend(machine: Machine, needs: Needs) -> Recommendation:
    """The answer of the Choose page, without what would change it (`find_changes` takes several passes more)."""
    return _recommend(machine, needs, list_measured_here())


@st.cache_resource(show_spinner="Ranking the catalog", max_entries=64, hash_funcs=BY_NUMBER)
@one_at_a_time
def _recommend(machine: Machine, needs: Needs, measured: tuple[MeasuredHere, ...]) -> Recommendation:
    made = ranker(needs.task, needs.license_use, needs.license_profile, measured)
    return made.recommend(machine, needs, sensitivity=False)


def find_changes(machine: Machine, needs: Needs) -> tuple[str, ...]:
    """What else would be recommended with more memory, half the context, more people or twice the speed."""
    return _find_changes(machine, needs, list_measured_here())


@st.cache_resource(show_spinner=False, max_entries=64, hash_funcs=BY_NUMBER)
def _find_changes(machine: Machine, needs: Needs, measured: tuple[MeasuredHere, ...]) -> tuple[str, ...]:
    @one_at_a_time
    def find_here() -> tuple[str, ...]:
        return ranker(needs.task, needs.license_use, needs.license_profile, measured).find_changes(machine, needs)

    return second_core.ask("find_changes", (machine, needs, measured), find_here)


def build_needs(wishes: Wishes) -> Needs:
    """The question of the context bar as the ranking wants it, with llama-server's default settings."""
    return Needs(
        task=wishes.task,
        workload=Workload(context_tokens=wishes.context_tokens, n_parallel=wishes.n_parallel),
        min_decode_tokens_per_s=wishes.min_tokens_per_s or None,
        license_use=wishes.license_use,
        license_profile=wishes.license_profile,
    )


@dataclass(frozen=True, slots=True)
class QuantRow:
    """One quantization of a model on a machine: its estimate and, where published, what it costs in score."""

    quant: str
    estimate: Estimate
    loss_points: float | None
    loss_label: str


@dataclass(frozen=True, slots=True)
class Setup:
    """One configuration of the Size page: the model, where its layers go, and what stands beside it.

    `offload` None places automatically; `draft` is the id and quantization of a second model.
    """

    model_id: str
    quant: str
    workload: Workload
    machine: Machine
    offload: Offload | None = None
    draft: tuple[str, str] | None = None
    has_projector: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the model stands alone and is placed automatically."""
        return self.offload is None and self.draft is None and not self.has_projector


@dataclass(frozen=True, slots=True)
class Sized:
    """A setup's answer: `told` is everything together, `main` the model by itself, `pair` both models where two are.

    `projector_bytes` are on the first device, among the overhead; `beside_bytes` the draft's on each device.
    """

    told: Estimate
    main: Estimate
    pair: PairEstimate | None
    projector_bytes: int

    @property
    def beside_bytes(self) -> tuple[int, ...]:
        """What the draft takes of each device; empty without one."""
        return self.pair.draft_bytes if self.pair else ()


def find_projector_bytes(card: ModelCard) -> int:
    """Bytes of a model's vision or audio tower as its F16 file; 0 where the catalog knows of none."""
    return (card.spec.n_params_projector or 0) * PROJECTOR_BYTES_PER_PARAM


@st.cache_resource(show_spinner=False, max_entries=128, hash_funcs=BY_NUMBER)
def size_setup(setup: Setup) -> Sized:
    """Memory, speed and fit of one configuration.

    Raises BadInputError for a context above a model's maximum, an offload that contradicts the machine, or a draft
    with another vocabulary.
    """
    return _size(setup)


def _size(setup: Setup) -> Sized:
    card = find_card(setup.model_id)
    weights = find_weights(setup.model_id, setup.quant)
    projector = find_projector_bytes(card) if setup.has_projector else 0
    if setup.draft is None:
        told = estimate(card.spec, weights, setup.workload, setup.machine, setup.offload, projector)
        return Sized(told, told, None, projector)
    small = (find_card(setup.draft[0]).spec, find_weights(*setup.draft))
    pair = estimate_pair((card.spec, weights), small, setup.workload, setup.machine, setup.offload, projector)
    return Sized(pair.together, pair.main, pair, projector)


def find_weights(model_id: str, quant: str) -> WeightBytes:
    """A model's weights in one quantization. Raises BadInputError where it has none."""
    known = list_weights(model_id)
    found = next((w for w in known if w.quant == quant), None)
    if found is None:
        raise BadInputError(f"{model_id} has no {quant}; it has {', '.join(w.quant for w in known) or 'nothing'}")
    return found


@st.cache_resource(show_spinner=False, max_entries=128)
@one_at_a_time
def list_drafts(model_id: str) -> tuple[ModelCard, ...]:
    """Smaller models whose vocabulary llama.cpp takes for a draft of this one, the smallest first.

    Of imports the `MAX_DRAFTS` most downloaded that fit are there.
    """
    main, known = find_card(model_id), catalog()
    own = [c for c in known.cards[: known.n_curated] if can_draft(main, c)]
    imported = (c for c in known.cards[known.n_curated :] if can_draft(main, c))
    return tuple(sorted((*own, *islice(imported, MAX_DRAFTS)), key=lambda c: (c.spec.n_params, c.spec.name)))


MAX_DRAFTS = 100


def can_draft(card: ModelCard, draft: ModelCard) -> bool:
    """Whether a model can draft for another: its vocabulary, smaller, and one that can be sized."""
    return (
        abs(draft.spec.vocab_size - card.spec.vocab_size) <= MAX_VOCABULARY_DIFFERENCE
        and draft.spec.n_params < card.spec.n_params
        and can_estimate_compute(draft.spec.architecture)
        and queries.find_weigh_gap(catalog(), draft.model_id) is None
    )


def say_why_no_draft(card: ModelCard, draft: ModelCard) -> str:
    """What keeps a known model from drafting for another one."""
    spec, small = card.spec, draft.spec
    if abs(small.vocab_size - spec.vocab_size) > MAX_VOCABULARY_DIFFERENCE:
        return (
            f"a draft wants the main model's vocabulary: {spec.name} has {spec.vocab_size:,} entries, "
            f"{small.name} {small.vocab_size:,}"
        )
    if small.n_params >= spec.n_params:
        return f"a draft wants to be smaller than the model: {small.name} is not smaller than {spec.name}"
    return f"{small.name} cannot be sized for llama.cpp: {find_gap(draft.model_id)}"


@dataclass(frozen=True, slots=True)
class BestWay:
    """The best way to run a model on a machine; `is_automatic` where the placement finds it without being told."""

    answer: Solution | NoSolution
    is_automatic: bool


@st.cache_resource(show_spinner=False, max_entries=128, hash_funcs=BY_NUMBER)
@one_at_a_time
def find_best_way(model_id: str, asked: Asked, machine: Machine) -> BestWay:
    """Which quantization, placement, caches, context and users serve best what is asked.

    Raises BadInputError for a context above the model's own.
    """
    card = find_card(model_id)
    losses = {loss.quant: loss.cautious for loss in list_quant_losses(catalog(), card)}
    answer = solve(card.spec, list_weights(model_id), losses, machine, asked)
    if isinstance(answer, NoSolution):
        return BestWay(answer, True)
    alone = size_setup(Setup(model_id, answer.quant, answer.workload, machine)).main
    return BestWay(answer, alone.offload == answer.estimate.offload)


@st.cache_resource(show_spinner="Sizing every quantization", max_entries=128, hash_funcs=BY_NUMBER)
@one_at_a_time
def list_quant_rows(setup: Setup) -> tuple[QuantRow, ...]:
    """Every quantization of a model on a machine as the setup places it, largest first; a draft's room is left."""
    spec, weights = find_card(setup.model_id).spec, list_weights(setup.model_id)
    check_workload(spec, setup.workload)
    losses = {x.quant: x for x in list_quant_losses(catalog(), find_card(setup.model_id))}
    if setup.is_plain:
        alone = RankColumns.build([Alone(spec, weights)])
        sized = alone.size(setup.workload, setup.machine)
        told = [
            describe(sized, row, spec, quant, setup.workload, setup.machine)
            for row, quant in enumerate(alone.table.quant)
        ]
    else:
        told = [_size(replace(setup, quant=w.quant)).told for w in weights]
    return tuple(
        QuantRow(e.memory.quant, e, loss.points if loss else None, loss.label if loss else "unknown")
        for e in told
        for loss in (losses.get(e.memory.quant),)
    )


@dataclass(frozen=True, slots=True)
class ContextSweep:
    """Memory at many contexts up to the model's maximum, and the largest context that fits (None: none does).

    `largest_on_cards_tokens` is the largest without anything moved to the host; the same where there are no cards.
    """

    points: tuple[ContextPoint, ...]
    largest_tokens: int | None
    largest_on_cards_tokens: int | None
    max_tokens: int


@st.cache_resource(show_spinner="Sweeping the context", max_entries=128, hash_funcs=BY_NUMBER)
@one_at_a_time
def sweep_context(setup: Setup) -> ContextSweep:
    """Memory against context for one configuration, at powers of two and points between."""
    spec = find_card(setup.model_id).spec
    most = spec.context_tokens
    if setup.draft is not None:  # it has a context as long
        most = min(most, find_card(setup.draft[0]).spec.context_tokens)
    contexts = sorted(
        {int(2 ** (n / 2)) // 64 * 64 or 64 for n in range(18, 48) if 2 ** (n / 2) <= most} | {min(512, most), most}
    )

    @cache  # both searches and the chart ask about many of the same contexts
    def size(context: int) -> Estimate:
        return _size(replace(setup, workload=replace(setup.workload, context_tokens=context))).told

    points = tuple(ContextPoint(c, size(c).memory.parts) for c in contexts)
    on_cards = largest = search_context(most, lambda c: size(c).fit.runs)
    if any(d.kind is DeviceKind.GPU for d in setup.machine.accelerators):
        on_cards = search_context(most, lambda c: size(c).fit.verdict in (Verdict.FITS, Verdict.TIGHT))
    return ContextSweep(points, largest, on_cards, most)


@st.cache_resource(show_spinner=False, max_entries=128, hash_funcs=BY_NUMBER)
def list_formulas(setup: Setup) -> tuple[PartFormula, ...]:
    """The formula of every part of one configuration, with the values put in; a draft is a part of its own."""
    sized = size_setup(setup)
    spec, weights = find_card(setup.model_id).spec, find_weights(setup.model_id, setup.quant)
    formulas = explain_parts(spec, weights, setup.workload, sized.main)
    if sized.pair is None or setup.draft is None:
        return formulas
    parts = sized.pair.draft.memory.parts
    lines = (
        ("weights", parts.weight_bytes),
        ("KV cache", parts.kv_cache_bytes),
        ("recurrent state", parts.recurrent_state_bytes),
        ("compute and output", parts.compute_bytes + parts.output_bytes),
    )
    name = find_card(setup.draft[0]).spec.name
    values = tuple(f"{what} {format_bytes(n)}" for what, n in lines if n)
    formula = f"{name} at {setup.draft[1]}, sized by the same formulas with the same context and users"
    return (*formulas, PartFormula("draft", formula, values, sum(sized.beside_bytes)))


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


@st.cache_resource(show_spinner="Asking every listed machine", max_entries=64, hash_funcs=BY_NUMBER)
def find_hardware(
    model_id: str, quant: str | None, workload: Workload, min_tokens_per_s: float, allow_offload: bool
) -> HardwareAnswer:
    """Which listed machines do it."""
    needs = build_hardware_needs(model_id, quant, workload, min_tokens_per_s, allow_offload)
    find_here = one_at_a_time(lambda: inverse.find_hardware(needs, list_machines()))
    return second_core.ask("find_hardware", (needs,), find_here)


@st.cache_resource(show_spinner=False, max_entries=64, hash_funcs=BY_NUMBER)
@one_at_a_time
def list_unlocks(
    model_id: str, quant: str | None, workload: Workload, allow_offload: bool, machine: Machine
) -> tuple[Unlock, ...]:
    """What more memory opens on a machine, the present state first."""
    return inverse.list_unlocks(build_hardware_needs(model_id, quant, workload, 0, allow_offload), machine)


@st.cache_resource(show_spinner=False, max_entries=64, hash_funcs=BY_NUMBER)
@one_at_a_time
def list_memory_steps(model_id: str, quant: str, quant_is_named: bool, workload: Workload) -> tuple[MemoryStep, ...]:
    """The memory at which each good quantization starts to run on one card, or the named one at each context."""
    needs = build_hardware_needs(model_id, quant if quant_is_named else None, workload, 0, False)
    if quant_is_named:
        return inverse.list_context_steps(needs, needs.find_weights(quant))
    return inverse.list_quant_steps(needs)


@st.cache_resource(show_spinner="Trying contexts and users", max_entries=64, hash_funcs=BY_NUMBER)
def list_context_grid(model_id: str, quant: str, workload: Workload, machine: Machine) -> tuple[GridRow, ...]:
    """The largest context for each number of users on a machine."""
    spec = find_card(model_id).spec
    weights = next(w for w in list_weights(model_id) if w.quant == quant)
    contexts = inverse.list_contexts(spec)
    if len(contexts) > 9:  # wider than a phone's screen
        contexts = contexts[::-2][::-1]
    list_here = one_at_a_time(lambda: inverse.list_context_grid(spec, weights, workload, machine, contexts=contexts))
    return second_core.ask("list_context_grid", (spec, weights, workload, machine, contexts), list_here)


@st.cache_resource(show_spinner=False, max_entries=128)
def list_losses(model_id: str) -> tuple[QuantLoss, ...]:
    """The points each quantization and format is expected to cost a model, where anybody published any."""
    return list_quant_losses(catalog(), find_card(model_id))


def find_license(license_id: str) -> License:
    """What a licence allows and asks. Raises UnknownNameError."""
    return licenses.find_license(catalog().licenses, license_id)


def find_import_if_readable(model_id: str) -> ImportedModel | None:
    """What was imported under an id; None also where the imports cannot be read, which the Catalog says."""
    try:
        return find_import(model_id)
    except UserStoreError:
        return None


@st.cache_resource(show_spinner="Comparing the models", max_entries=64, hash_funcs=BY_NUMBER)
@one_at_a_time
def compare(model_ids: tuple[str, ...], question: CompareQuestion) -> tuple[Compared, ...]:
    """What a comparison shows of each model, in the order given. Raises UnknownNameError."""
    return compare_models(catalog(), find_cards(model_ids), question, find_import_if_readable)


@st.cache_resource(show_spinner="Sweeping the context", max_entries=256, hash_funcs=BY_NUMBER)
@one_at_a_time
def list_memory_points(setup: Setup) -> tuple[tuple[int, int], ...]:
    """Contexts up to the model's own, in tokens, and the bytes a configuration takes at each; two to an octave."""
    most = find_card(setup.model_id).spec.context_tokens
    steps = (int(2 ** (n / 2)) // 64 * 64 for n in range(20, 48))
    contexts = sorted({c for c in steps if c < most} | {min(512, most), most})
    workloads = ((c, replace(setup.workload, context_tokens=c)) for c in contexts)
    return tuple((c, _size(replace(setup, workload=w)).told.memory.total_bytes) for c, w in workloads)


def find_named_machine(text: str) -> Machine:
    """The machine a text names. Raises UnknownNameError with near names."""
    return _built_machine(text)


@st.cache_resource(show_spinner=False)
def list_own_cards() -> tuple[ModelCard, ...]:
    """The catalog's own models, without a person's imports, in the order of the data files."""
    known = catalog()
    return known.cards[: known.n_curated]


@st.cache_resource(show_spinner=False, max_entries=128)
def list_loss_estimates(model_id: str) -> tuple[QuantLossEstimate, ...]:
    """What each measured quantization is expected to cost a model, with intervals and the rows behind them."""
    card, losses = find_card(model_id), find_loss_model(catalog().data_dir)
    found = (estimate_quant_loss(losses, q, card.model_id, card.family, card.quant_native) for q in QUANTS)
    return tuple(e for e in found if e is not None)


@st.cache_resource(show_spinner=False, max_entries=512, hash_funcs=BY_NUMBER)
def size_compute(model_id: str, workload: Workload) -> int:
    """A model's compute buffer with everything on the host, in bytes. Raises UnsupportedError."""
    return int(estimate_compute_bytes(LayerTable.from_specs([find_card(model_id).spec]), workload)[0])


def find_verdict(model_id: str, profile: LicenseProfile | None = None) -> license_rules.Verdict:
    """What a model's licence and those of its bases mean for a profile, that of the context bar unless given.

    Raises UnknownNameError for a model nobody knows.
    """
    return _find_verdict(model_id, profile or read_license_profile())


@st.cache_resource(show_spinner=False, max_entries=512, hash_funcs=BY_NUMBER)
def _find_verdict(model_id: str, profile: LicenseProfile) -> license_rules.Verdict:
    return judge_model(catalog(), find_card(model_id), profile)


@st.cache_resource(show_spinner="Reading the licences", max_entries=16, hash_funcs=BY_NUMBER)
@one_at_a_time
def judge_all(profile: LicenseProfile) -> dict[str, tuple[license_rules.Outcome, str]]:
    """The verdict of every model for a profile and its reason, by id."""
    return judge_models(catalog(), catalog().cards, profile)


@st.cache_resource(show_spinner=False, max_entries=128, hash_funcs=BY_NUMBER)
def estimate_finetune(setup: FineTuneSetup) -> FineTuneEstimate:
    """What a fine-tuning run holds. Raises BadInputError, UnknownNameError or UnsupportedError."""
    return finetune.estimate_finetune(setup)


@st.cache_resource(show_spinner="Trying ranks, lengths and batches", max_entries=128, hash_funcs=BY_NUMBER)
@one_at_a_time
def find_largest_finetune(setup: FineTuneSetup) -> Largest:
    """The largest rank, sequence and micro batch of a fine-tuning run, each alone."""
    return find_largest(setup)


@st.cache_resource(show_spinner=False, max_entries=128, hash_funcs=BY_NUMBER)
@one_at_a_time
def compare_finetune_methods(setup: FineTuneSetup) -> tuple[MethodAnswer, ...]:
    """A fine-tuning run by every method."""
    return compare_methods(setup)


_OF_THE_CATALOG = (
    _find_verdict,
    judge_all,
    catalog,
    list_imported_ids,
    list_newest_imports,
    find_import,
    list_sources,
    list_scores,
    list_cards,
    list_choices,
    list_weights,
    ranker,
    _newest_columns,
    _recommend,
    _find_changes,
    size_setup,
    list_drafts,
    find_best_way,
    list_quant_rows,
    sweep_context,
    list_formulas,
    find_hardware,
    list_unlocks,
    list_memory_steps,
    list_context_grid,
    compare,
    list_memory_points,
    list_own_cards,
    list_loss_estimates,
    size_compute,
    list_losses,
)
"""What depends on which models there are. Machines and devices are the catalog's own and stay."""

"""The questions a page can hold, as values: no Streamlit here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from catalog.machine_text import (
    MAX_CARDS,
    THIS,
    THIS_NAMES,
    Described,
    MachinePart,
    read_described,
    read_parts,
    write_parts,
)
from sizing.engines.base import EngineOptions
from sizing.errors import BadInputError
from sizing.estimate import ENGINE
from sizing.hardware import DeviceKind, Machine
from sizing.license_profile import LicenseProfile
from sizing.placement import Offload
from sizing.specs import ModelSpec
from sizing.units import GB, GIB
from sizing.workload import Workload

MAX_LAYERS = 1000


@dataclass(frozen=True, slots=True)
class Wishes:
    """The question that stays in the context bar.

    `machine` is a text that names one (catalog/machine_text.py); `context_tokens` is per user, `n_parallel` users at
    once; `min_tokens_per_s` 0 means no wish. `license_profile` is who asks, its purpose that of `license_use`.
    `engine` is a name of `sizing.engines`.
    """

    machine: str
    task: str
    context_tokens: int
    n_parallel: int
    min_tokens_per_s: float
    license_use: str
    license_profile: LicenseProfile = field(default_factory=LicenseProfile)
    engine: str = ENGINE

    @property
    def is_llama_cpp(self) -> bool:
        """Whether the engine is llama.cpp, which has solver, drafts, placement by hand and checks of its own."""
        return self.engine == ENGINE


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What an engine other than llama.cpp is asked for on its own; an empty format means: none chosen yet."""

    weight_format: str
    kv_type: str
    options: EngineOptions


@dataclass(frozen=True, slots=True)
class SizeChoice:
    """The knobs of the Size page. An empty model or quant means: none chosen yet."""

    model: str
    quant: str
    n_ubatch: int
    kv_type_k: str
    kv_type_v: str
    flash_attention: bool

    def to_workload(self, wishes: Wishes) -> Workload:
        """The workload asked of the engine; raises BadInputError where two knobs contradict each other."""
        return Workload(
            context_tokens=wishes.context_tokens,
            n_parallel=wishes.n_parallel,
            n_ubatch=self.n_ubatch,
            n_batch=max(2048, self.n_ubatch),
            kv_type_k=self.kv_type_k,
            kv_type_v=self.kv_type_v,
            flash_attention=self.flash_attention,
        )


@dataclass(frozen=True, slots=True)
class HandPlacement:
    """Where the layers go by hand; None and empty leave it to the placement.

    `gpu_layers` and `split` (the layers of each card) count the output as one layer. `cpu_moe` is how many leading
    layers keep their routed experts on the host, `expert_layers` names further ones.
    """

    gpu_layers: int | None = None
    split: tuple[int, ...] = ()
    cpu_moe: int | None = None
    expert_layers: tuple[int, ...] = ()

    def to_offload(self, spec: ModelSpec, machine: Machine) -> Offload | None:
        """The same for the engine, None where all is automatic. Raises BadInputError for what cannot be."""
        if self == HandPlacement():
            return None
        if not machine.accelerators or machine.is_unified:
            raise BadInputError(f"placement by hand wants cards with memory of their own; {machine.name} has none")
        everything, n_cards = spec.n_layers + 1, len(machine.accelerators)
        counted = f"{spec.name} has {spec.n_layers} layers, {everything} with the output"
        layers = self.gpu_layers
        if layers is not None and layers > everything:
            raise BadInputError(f"gpu_layers wants 0 to {everything}, got {layers}: {counted}")
        if self.split:
            if len(self.split) != n_cards:
                raise BadInputError(f"split wants {n_cards} counts, one for each card, got {len(self.split)}")
            total = sum(self.split)
            if total > everything or (layers is not None and total != layers):
                wanted = f"at most {everything}" if layers is None or layers > everything else str(layers)
                raise BadInputError(f"split adds up to {total} layers where {wanted} go to the cards: {counted}")
            layers = total
        if (self.cpu_moe or self.expert_layers) and not spec.is_moe:
            raise BadInputError(f"{spec.name} has no routed experts that could stay on the host")
        if self.cpu_moe is not None and self.cpu_moe > spec.n_layers:
            raise BadInputError(f"cpu_moe wants 0 to {spec.n_layers} layers, got {self.cpu_moe}")
        if self.expert_layers and max(self.expert_layers) >= spec.n_layers:
            raise BadInputError(f"expert_layers wants layers 0 to {spec.n_layers - 1}, got {max(self.expert_layers)}")
        split = tuple(float(count) for count in self.split) or None
        return Offload(layers, split, self.cpu_moe, self.expert_layers)


@dataclass(frozen=True, slots=True)
class BesideChoice:
    """What stands beside the model: a draft (empty for none) in a quantization, and whether the projector counts."""

    draft: str = ""
    draft_quant: str = "Q8_0"
    has_projector: bool = False


def read_layer_list(text: str) -> tuple[int, ...]:
    """Layers by index and range.

    >>> read_layer_list("0-2, 7")
    (0, 1, 2, 7)
    """
    found: set[int] = set()
    for part in filter(None, (p.strip() for p in text.split(","))):
        first, _, last = part.partition("-")
        if not (first.strip().isdecimal() and (last.strip() or first.strip()).isdecimal() and len(part) <= 9):
            raise BadInputError(f"expert_layers wants layers such as 0-3,7, got {text[:80]!r}")
        low, high = int(first), int(last or first)
        if high < low or high >= MAX_LAYERS:
            raise BadInputError(f"expert_layers wants ranges upwards below {MAX_LAYERS}, got {part!r}")
        found.update(range(low, high + 1))
    return tuple(sorted(found))


def write_layer_list(layers: Collection[int]) -> str:
    """The shortest text of some layers: '0-2,7'."""
    runs: list[list[int]] = []
    for i in sorted(set(layers)):
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def read_split(text: str) -> tuple[int, ...]:
    """Counts of layers, one a card: '41,40'. Empty for none."""
    parts = [p.strip() for p in text.split(",")] if text.strip() else []
    if len(parts) > MAX_CARDS or not all(p.isdecimal() and len(p) <= 4 for p in parts):
        raise BadInputError(f"split wants a whole number of layers for each card, such as 41,40, got {text[:80]!r}")
    counts = tuple(int(p) for p in parts)
    if counts and not sum(counts):
        raise BadInputError(f"split wants at least one layer on some card, got {text!r}")
    return counts


def text_of_hand_machine(
    kind: str, ram: float, cards: int, card: float, card_gb_per_s: float, ram_gb_per_s: float
) -> str:
    """The text of a machine given by the numbers an older address holds: memory in GiB, bandwidth in GB/s, 0 unknown.

    >>> text_of_hand_machine("gpu", 64, 2, 24, 936, 0)
    '24 GiB card at 936 GB/s*2 + 64 GB RAM'
    """

    def describe(device: DeviceKind, gib: float, gb_per_s: float) -> str:
        return Described(device, int(gib * GIB), gb_per_s * GB or None).text

    if kind == "unified":
        return describe(DeviceKind.UNIFIED, ram, ram_gb_per_s)
    host = MachinePart(describe(DeviceKind.CPU, ram, ram_gb_per_s))
    if kind == "cpu":
        return host.text
    return write_parts([MachinePart(describe(DeviceKind.GPU, card, card_gb_per_s), cards), host])


@dataclass(frozen=True, slots=True)
class MachineDraft:
    """A machine being built: its cards or its one unified device, and its host (None: the assumed one).

    The text of the address is the truth; a draft is that text taken apart, changed and put together again.
    """

    cards: tuple[MachinePart, ...]
    host: MachinePart | None = None

    @property
    def text(self) -> str:
        """The machine's text; this machine where nothing is left."""
        return write_parts([*self.cards, *([self.host] if self.host else [])]) or THIS

    def with_card(self, index: int, card: MachinePart | None) -> MachineDraft:
        """The draft with a card put in place `index` (one past the end adds it), or taken out."""
        cards = [*self.cards[:index], *([card] if card else []), *self.cards[index + 1 :]]
        return replace(self, cards=tuple(cards))


def read_draft(text: str, hosts: Collection[str]) -> MachineDraft:
    """A machine's text taken apart; `hosts` are the names of listed hosts in lower case."""
    parts = [replace(p, name=THIS) if p.name.casefold() in THIS_NAMES else p for p in read_parts(text)]

    def is_host(part: MachinePart) -> bool:
        described = read_described(part.name)
        return part.name.casefold() in hosts or (described is not None and described.kind is DeviceKind.CPU)

    found = [p for p in parts if is_host(p)]
    return MachineDraft(tuple(p for p in parts if not is_host(p)), found[0] if found else None)

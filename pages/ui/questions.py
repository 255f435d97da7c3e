"""The questions a page can hold, as values: no Streamlit here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from catalog.machine_text import THIS, THIS_NAMES, Described, MachinePart, read_described, read_parts, write_parts
from sizing.hardware import DeviceKind
from sizing.units import GB, GIB
from sizing.workload import Workload


@dataclass(frozen=True, slots=True)
class Wishes:
    """The question that stays in the context bar.

    `machine` is a text that names one (catalog/machine_text.py); `context_tokens` is per user, `n_parallel` users at
    once; `min_tokens_per_s` 0 means no wish.
    """

    machine: str
    task: str
    context_tokens: int
    n_parallel: int
    min_tokens_per_s: float
    license_use: str


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
class CatalogFilter:
    """What the Catalog page shows. Empty tuples and empty text mean: everything."""

    text: str
    families: tuple[str, ...]
    licenses: tuple[str, ...]
    openness: tuple[str, ...]
    modalities: tuple[str, ...]
    tasks: tuple[str, ...]
    min_context_tokens: int
    confidence: str


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

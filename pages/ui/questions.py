"""The questions a page can hold, as values: no Streamlit here."""

from __future__ import annotations

from dataclasses import dataclass

from sizing.hardware import Device, DeviceKind, Machine
from sizing.units import GB, GIB
from sizing.workload import Workload


@dataclass(frozen=True, slots=True)
class HandMachine:
    """A machine typed in by hand: memory in GiB, bandwidth in GB/s (a vendor's decimal figure; 0 is unknown)."""

    kind: str
    ram_gib: float
    n_cards: int
    card_gib: float
    card_gb_per_s: float
    ram_gb_per_s: float


@dataclass(frozen=True, slots=True)
class Wishes:
    """The question that stays in the context bar.

    `machine` is 'this', 'hand' or the name of a listed machine; `context_tokens` is per user, `n_parallel` users at
    once; `min_tokens_per_s` 0 means no wish.
    """

    machine: str
    hand: HandMachine
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


def build_hand_machine(hand: HandMachine) -> Machine:
    """The machine typed in by hand. What a model may use is assumed and said in the notes."""
    ram = int(hand.ram_gib * GIB)
    ram_bandwidth = hand.ram_gb_per_s * GB or None
    usable_ram = max(ram - max(2 * GIB, ram // 10), ram // 2)
    note = "assumed: a tenth of the memory, at least 2 GiB, stays with the system"
    host = Device("RAM", DeviceKind.CPU, ram, usable_ram, ram_bandwidth, backend="cpu", notes=(note,))
    if hand.kind == "cpu":
        return Machine(f"{hand.ram_gib:g} GiB RAM, by hand", host)
    if hand.kind == "unified":
        usable = ram * 3 // 4
        pool_note = "assumed: three quarters of unified memory may be used by the accelerator"
        pool = Device(
            "Unified memory", DeviceKind.UNIFIED, ram, usable, ram_bandwidth, backend="metal", notes=(pool_note,)
        )
        return Machine(f"{hand.ram_gib:g} GiB unified, by hand", host, (pool,))
    card = int(hand.card_gib * GIB)
    card_note = "assumed: 0.4 GiB of each card stays with the driver"
    usable_card = max(card - int(0.4 * GIB), card // 2)
    cards = tuple(
        Device(
            "Card" if hand.n_cards == 1 else f"Card {i + 1}",
            DeviceKind.GPU,
            card,
            usable_card,
            hand.card_gb_per_s * GB or None,
            backend="cuda",
            notes=(card_note,),
        )
        for i in range(hand.n_cards)
    )
    count = "" if hand.n_cards == 1 else f"{hand.n_cards} × "
    return Machine(f"{count}{hand.card_gib:g} GiB card, {hand.ram_gib:g} GiB RAM, by hand", host, cards)

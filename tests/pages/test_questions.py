"""Questions are values: a machine typed in by hand, a workload from the knobs."""

from __future__ import annotations

import pytest

from pages.ui.inputs import FIELDS, split_machine
from pages.ui.questions import HandMachine, SizeChoice, Wishes, build_hand_machine
from sizing.errors import BadInputError, UnknownNameError
from sizing.hardware import DeviceKind
from sizing.units import GIB

HAND = HandMachine("gpu", 64, 2, 24, 1008, 0)


def test_cards_by_hand_are_separate_devices_with_the_vendors_decimal_bandwidth() -> None:
    machine = build_hand_machine(HAND)
    assert [d.memory_bytes for d in machine.accelerators] == [24 * GIB, 24 * GIB]
    assert {d.bandwidth_bytes_per_s for d in machine.accelerators} == {1008e9}
    assert machine.host.memory_bytes == 64 * GIB


def test_unknown_bandwidth_stays_unknown() -> None:
    assert build_hand_machine(HAND).host.bandwidth_bytes_per_s is None


def test_unified_memory_by_hand_is_one_pool() -> None:
    machine = build_hand_machine(HandMachine("unified", 64, 1, 24, 0, 400))
    assert machine.is_unified
    assert machine.usable_bytes < 64 * GIB
    assert machine.accelerators[0].kind is DeviceKind.UNIFIED


@pytest.mark.parametrize("kind", ["gpu", "cpu", "unified"])
@pytest.mark.parametrize("ram", [0.5, 3, 65_536])
def test_any_size_by_hand_leaves_something_usable(kind: str, ram: float) -> None:
    machine = build_hand_machine(HandMachine(kind, ram, 1, 0.5, 0, 0))
    assert 0 < machine.host.usable_bytes <= machine.host.memory_bytes
    assert "by hand" in machine.name
    assert all("assumed" in note for d in (machine.host, *machine.accelerators) for note in d.notes)
    assert all(d.notes for d in (machine.host, *machine.accelerators))


def test_quantized_v_without_flash_attention_is_refused_in_words() -> None:
    wishes = Wishes("this", HAND, "chat", 8192, 1, 0, "any")
    with pytest.raises(BadInputError, match="flash attention"):
        SizeChoice("", "", 512, "f16", "q8_0", False).to_workload(wishes)


def test_a_micro_batch_above_the_batch_raises_the_batch() -> None:
    wishes = Wishes("this", HAND, "chat", 8192, 3, 0, "any")
    workload = SizeChoice("", "", 4096, "f16", "f16", True).to_workload(wishes)
    assert (workload.n_ubatch, workload.n_batch, workload.n_ctx_tokens) == (4096, 4096, 3 * 8192)


def test_every_default_in_the_address_is_itself_valid() -> None:
    for field in FIELDS.values():
        field.parse(field.default)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("context", "0"),
        ("context", "-5"),
        ("context", "many"),
        ("context", "1e9"),
        ("users", "0"),
        ("users", "257"),
        ("speed", "nan"),
        ("speed", "-1"),
        ("task", "poetry"),
        ("licence", "none"),
        ("ubatch", "0"),
        ("ram", "inf"),
        ("flash", "maybe"),
        ("machine", "x" * 201),
    ],
)
def test_nonsense_in_the_address_is_refused_naming_what_came(name: str, text: str) -> None:
    with pytest.raises(BadInputError) as refusal:
        FIELDS[name].parse(text)
    assert "wants" in str(refusal.value)


def test_an_unknown_quantization_suggests_near_ones() -> None:
    with pytest.raises(UnknownNameError) as refusal:
        FIELDS["quant"].parse("Q4_K_X")
    assert "Q4_K_M" in refusal.value.near


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("RTX 4090", ("RTX 4090", 1, "")),
        ("RTX 4090*2", ("RTX 4090", 2, "")),
        ("RTX 4090*2 + PC 64GB", ("RTX 4090", 2, "PC 64GB")),
        ("odd*name", ("odd*name", 1, "")),
    ],
)
def test_a_machines_text_splits_into_name_count_and_host(text: str, parts: tuple[str, int, str]) -> None:
    assert split_machine(text) == parts

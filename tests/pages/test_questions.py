"""Questions are values: a machine typed in by hand, a workload from the knobs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog.machine_text import MachinePart
from catalog.queries import find_machine
from catalog.store import open_catalog
from pages.ui.inputs import FIELDS
from pages.ui.questions import MachineDraft, SizeChoice, Wishes, read_draft, text_of_hand_machine
from sizing.errors import BadInputError, UnknownNameError

HOSTS = {"pc ddr5-5600 64gb"}


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        (("gpu", 64, 2, 24, 936, 0), "24 GiB card at 936 GB/s*2 + 64 GB RAM"),
        (("gpu", 32, 1, 24, 0, 0), "24 GiB card + 32 GB RAM"),
        (("cpu", 48, 1, 24, 0, 60.5), "48 GB RAM at 60.5 GB/s"),
        (("unified", 64, 1, 24, 0, 400), "64 GiB unified at 400 GB/s"),
        (("unified", 0.5, 1, 24, 0, 100_000), "0.5 GiB unified at 100000 GB/s"),
    ],
)
def test_the_numbers_of_an_old_address_become_a_text_that_is_understood(
    numbers: tuple[str, float, int, float, float, float], text: str
) -> None:
    assert text_of_hand_machine(*numbers) == text
    assert find_machine(open_catalog(), text).host.memory_bytes > 0


@pytest.mark.parametrize("kind", ["gpu", "cpu", "unified"])
@pytest.mark.parametrize("ram", [0.5, 3, 1024])
@pytest.mark.parametrize("rate", [0, 0.1, 1234567 / 1000])
def test_any_old_machine_has_a_text(kind: str, ram: float, rate: float) -> None:
    machine = find_machine(open_catalog(), text_of_hand_machine(kind, ram, 15, 0.5, rate, rate))
    assert 0 < machine.host.usable_bytes <= machine.host.memory_bytes
    assert all(d.notes for d in (machine.host, *machine.accelerators))


@pytest.mark.parametrize(
    ("text", "cards", "host"),
    [
        ("this", ["this"], None),
        ("this machine + RTX 3090", ["this", "RTX 3090"], None),
        ("RTX 4090*2 (1 GiB used) + RTX 3060 + PC DDR5-5600 64GB", ["RTX 4090", "RTX 3060"], "PC DDR5-5600 64GB"),
        ("24 GiB card + 128 GB DDR5-4800 x8ch", ["24 GiB card"], "128 GB DDR5-4800 x8ch"),
        ("64 GB RAM", [], "64 GB RAM"),
        ("Apple M4 Max 64GB", ["Apple M4 Max 64GB"], None),
    ],
)
def test_a_machines_text_is_taken_apart_and_put_together_again(text: str, cards: list[str], host: str | None) -> None:
    draft = read_draft(text, HOSTS)
    assert [c.name for c in draft.cards] == cards
    assert (draft.host.name if draft.host else None) == host
    assert draft.text == text.replace("this machine", "this")


def test_building_a_machine_pick_by_pick() -> None:
    draft = read_draft("RTX 3090", HOSTS)
    draft = draft.with_card(0, MachinePart("RTX 3090", 2))
    draft = replace(draft, host=MachinePart("64 GB DDR5-5600"))
    assert draft.text == "RTX 3090*2 + 64 GB DDR5-5600"
    draft = draft.with_card(1, MachinePart("RTX 3060 12GB"))
    assert draft.text == "RTX 3090*2 + RTX 3060 12GB + 64 GB DDR5-5600"
    assert draft.with_card(0, None).with_card(0, None).text == "64 GB DDR5-5600"
    assert MachineDraft((), None).text == "this"


def test_quantized_v_without_flash_attention_is_refused_in_words() -> None:
    wishes = Wishes("this", "chat", 8192, 1, 0, "any")
    with pytest.raises(BadInputError, match="flash attention"):
        SizeChoice("", "", 512, "f16", "q8_0", False).to_workload(wishes)


def test_a_micro_batch_above_the_batch_raises_the_batch() -> None:
    wishes = Wishes("this", "chat", 8192, 3, 0, "any")
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
        ("flash", "maybe"),
        ("machine", "x" * 401),
    ],
)
def test_nonsense_in_the_address_is_refused_naming_what_came(name: str, text: str) -> None:
    with pytest.raises(BadInputError) as refusal:
        FIELDS[name].parse(text)
    assert "wants" in str(refusal.value)


def test_an_unknown_quantization_suggests_near_ones() -> None:
    with pytest.raises(UnknownNameError) as refusal:
        FIELDS["quant"].parse("Q4_K/M")
    assert "Q4_K_M" in refusal.value.near

"""A machine in words: what the grammar takes, what it refuses and how it says so."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.machine_text import Described, MachinePart, read_described, read_parts, write_parts
from catalog.queries import ASSUMED_HOST, find_machine
from catalog.store import Catalog
from sizing.errors import BadInputError, UnknownNameError
from sizing.hardware import Device, DeviceKind, Machine
from sizing.units import GB, GIB


def test_the_machine_of_the_issue(catalog: Catalog) -> None:
    machine = find_machine(catalog, "2 x 3090 + 64 GB DDR5")
    assert [d.name for d in machine.accelerators] == ["RTX 3090", "RTX 3090"]
    assert machine.host.memory_bytes == 64 * GIB
    assert machine.name == "RTX 3090*2 + PC DDR5-5600 64GB"


@pytest.mark.parametrize(
    ("text", "gb_per_s", "kind"),
    [
        # channels x 8 bytes x MT/s
        ("64 GB DDR5-5600", 2 * 8 * 5.6, "ddr"),
        ("128 GB DDR5-4800 x8ch", 8 * 8 * 4.8, "ddr"),
        ("128gb ddr5-4800 8 channels", 8 * 8 * 4.8, "ddr"),
        ("96 GB DDR5", 2 * 8 * 5.6, "ddr"),
        ("8 GB DDR4-2666 x1ch", 8 * 2.666, "ddr"),
        ("32 GB LPDDR5X-8533", 2 * 8 * 8.533, "lpddr"),
        ("1 TB DDR5-6400 x12ch", 12 * 8 * 6.4, "ddr"),
        ("64 GB RAM at 60.5 GB/s", 60.5, ""),
        ("64 GB RAM", None, ""),
    ],
)
def test_a_described_host(catalog: Catalog, text: str, gb_per_s: float | None, kind: str) -> None:
    host = find_machine(catalog, text).host
    assert host.kind is DeviceKind.CPU
    assert host.memory_type == kind or "96 GB" in text  # the catalog lists this one by itself
    if gb_per_s is None:
        assert host.bandwidth_bytes_per_s is None
        assert any("unknown" in note for note in host.notes)
    else:
        assert host.bandwidth_bytes_per_s == pytest.approx(gb_per_s * GB)


@pytest.mark.parametrize("gib", [16, 32, 64, 96, 128])
def test_ram_is_the_same_whether_listed_or_described(catalog: Catalog, gib: int) -> None:
    listed = find_machine(catalog, f"PC DDR5-5600 {gib}GB").host
    described = find_machine(catalog, f"{gib} GB DDR5-5600").host
    assert described.memory_bytes == listed.memory_bytes
    assert described.usable_bytes == pytest.approx(listed.usable_bytes, abs=1024**2)
    assert described.bandwidth_bytes_per_s == listed.bandwidth_bytes_per_s


def test_a_described_card_is_a_card_like_the_listed_one(catalog: Catalog) -> None:
    (listed,) = find_machine(catalog, "RTX 3090").accelerators
    (card,) = find_machine(catalog, "24 GiB card at 936.2 GB/s and 71 TFLOPS").accelerators
    assert (card.memory_bytes, card.bandwidth_bytes_per_s) == (listed.memory_bytes, listed.bandwidth_bytes_per_s)
    assert card.usable_bytes == pytest.approx(listed.usable_bytes, abs=1024**2)
    assert (card.fp16_flops, card.backend) == (71e12, "cuda")
    assert find_machine(catalog, "16 GB rocm card").accelerators[0].backend == "rocm"


def test_described_unified_memory_is_one_pool_with_its_working_set(catalog: Catalog) -> None:
    machine = find_machine(catalog, "128 GiB unified at 273 GB/s")
    assert machine.is_unified
    assert machine.usable_bytes == 96 * GIB
    assert find_machine(catalog, "24 GiB unified").usable_bytes == 16 * GIB


def test_memory_in_use_is_taken_off_each_device_and_said(catalog: Catalog) -> None:
    free = find_machine(catalog, "RTX 4090")
    machine = find_machine(catalog, "RTX 4090*2 (3 GiB used) + RTX 3060 + 64 GB DDR5-5600 (8 GB used)")
    used = [d.usable_bytes for d in machine.accelerators]
    assert used[:2] == [free.accelerators[0].usable_bytes - 3 * GIB] * 2
    assert used[2] == find_machine(catalog, "RTX 3060").accelerators[0].usable_bytes
    assert any("held by other programs" in note for note in machine.accelerators[0].notes)
    assert machine.host.usable_bytes < find_machine(catalog, "64 GB DDR5-5600").host.usable_bytes
    assert find_machine(catalog, "RTX 4090 (3 GiB used) * 2").accelerators == machine.accelerators[:2]
    assert find_machine(catalog, "Strix Halo (8 GiB used)").usable_bytes == 88 * GIB


def test_this_machine_with_a_further_card(catalog: Catalog) -> None:
    host = Device("here", DeviceKind.CPU, 32 * GIB, 28 * GIB)
    here = Machine("here", host, ())
    machine = find_machine(catalog, "this + RTX 3090*2", here=lambda: here)
    assert machine.host is host
    assert [d.name for d in machine.accelerators] == ["RTX 3090"] * 2
    assert machine.name == "this machine + RTX 3090*2"
    assert find_machine(catalog, machine.name, here=lambda: here) == machine
    assert find_machine(catalog, " THIS ", here=lambda: here) is here
    pool = Machine("mac", host, (Device("M4", DeviceKind.UNIFIED, 32 * GIB, 24 * GIB),))
    with pytest.raises(BadInputError, match="stands alone"):
        find_machine(catalog, "this + RTX 3090", here=lambda: pool)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("24 GiB crad at 936 GB/s", "24 GiB card at 936 GB/s"),
        ("64 GB DDR9", "DDR5"),
        ("64 GB DDR5-56000", "200 to 20,000 MT/s"),
        ("64 GB DDR5-5600 x99ch", "1 to 32 channels"),
        ("24 GiB card at 0 GB/s", "unknown"),
        ("24 GiB sparkling card", "cuda, rocm"),
        ("24 GiB metal card", "cuda, rocm"),
        ("2000 GiB card", "0.25 to 1,024 GiB"),
        ("0 GB RAM", "0.25 to 65,536 GiB"),
        ("RTX 4090 (30 GiB used)", "nothing is left"),
        ("RTX 4090 (3 GiB free)", "(3 GiB used)"),
        ("RTX 4090 (lots used)", "(3 GiB used)"),
        ("64 GB DDR5-5600*2", "only cards can be counted"),
        ("128 GiB unified + RTX 4090", "stands alone"),
        ("128 GiB unified + 64 GB RAM", "stands alone"),
        ("64 GB RAM + 32 GB DDR4", "one host"),
        ("RTX 3090*10 + RTX 4090*10", "at most 15"),
        ("this + this", "once"),
        ("this*2", "once"),
        ("this (3 GiB used)", "read, not given"),
        ("this + 64 GB DDR5", "only cards can be added"),
        ("+ RTX 4090", "wants"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_what_would_be_right(catalog: Catalog, text: str, said: str) -> None:
    with pytest.raises(BadInputError) as refusal:
        find_machine(catalog, text)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_unknown_card_among_known_ones_names_its_neighbours(catalog: Catalog) -> None:
    with pytest.raises(UnknownNameError) as refusal:
        find_machine(catalog, "RTX 3090*2 + RTX 4091 + 64 GB DDR5-5600")
    assert refusal.value.name == "RTX 4091"
    assert "RTX 4090" in refusal.value.near


PARTS = st.builds(
    MachinePart,
    st.sampled_from(["RTX 3090", "RTX 3060 12GB", "24 GiB card at 936 GB/s", "16 GiB rocm card"]),
    st.integers(1, 3),
    st.sampled_from([0, GIB // 2, 3 * GIB]),
)
HOSTS = st.sampled_from(["PC DDR5-5600 64GB", "128 GB DDR5-4800 x8ch", "48 GB RAM at 60.5 GB/s", ""])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(PARTS, min_size=1, max_size=4), HOSTS)
def test_a_machines_name_is_a_text_that_means_the_same_machine(
    catalog: Catalog, parts: list[MachinePart], host: str
) -> None:
    text = write_parts([*parts, *([MachinePart(host)] if host else [])])
    assert write_parts(read_parts(text)) == text
    machine = find_machine(catalog, text)
    assert len(machine.accelerators) == sum(p.count for p in parts)
    assert find_machine(catalog, machine.name) == machine
    assert host or machine.host.name == ASSUMED_HOST


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(DeviceKind),
    st.integers(1, 16 * 1024),
    st.none() | st.integers(1, 10**7),
    st.none() | st.integers(1, 10**5),
)
def test_a_description_survives_its_text(
    kind: DeviceKind, quarters: int, tenths: int | None, tflops: int | None
) -> None:
    try:
        told = Described(kind, quarters * GIB // 4, tenths and tenths * 1e8, tflops and tflops * 1e12)
    except BadInputError:
        return
    read = read_described(told.text)
    assert read is not None
    assert read.memory_bytes == told.memory_bytes
    assert read.bandwidth_bytes_per_s == pytest.approx(told.bandwidth_bytes_per_s)
    assert read.fp16_flops == pytest.approx(told.fp16_flops)
    device = told.build()
    assert 0 < device.usable_bytes < device.memory_bytes


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    st.lists(
        st.sampled_from(
            ["24", "GiB", "card", "at", "936 GB/s", "*", "+", "(", "used)", "DDR5", "-5600", "x8ch", "this "]
        ),
        max_size=9,
    ).map(" ".join)
)
def test_any_shuffled_words_are_a_machine_or_one_line(catalog: Catalog, text: str) -> None:
    here = Machine("here", Device("here", DeviceKind.CPU, GIB, GIB))
    try:
        assert find_machine(catalog, text, here=lambda: here).host.memory_bytes > 0
    except (UnknownNameError, BadInputError) as error:
        assert str(error) and "\n" not in str(error)


def test_what_a_model_may_take_is_given_where_it_was_read(catalog: Catalog) -> None:
    text = "RTX 4090*2 (23.25 GiB usable) + 64 GB RAM of Intel Xeon CPU @ 2.20GHz at 60.5 GB/s (61.5 GiB usable)"
    machine = find_machine(catalog, text)
    assert [d.usable_bytes for d in machine.accelerators] == [int(23.25 * GIB)] * 2
    assert (machine.host.name, machine.host.usable_bytes) == ("Intel Xeon CPU @ 2.20GHz", int(61.5 * GIB))
    assert machine.host.bandwidth_bytes_per_s == 60.5 * GB
    assert machine.name == text
    assert not any("a tenth of the memory" in note for note in machine.host.notes)
    assert any("61.5" in note and "as given" in note for note in machine.host.notes)


def test_more_usable_than_there_is_is_refused(catalog: Catalog) -> None:
    with pytest.raises(BadInputError, match="RTX 4090 has .* give less"):
        find_machine(catalog, "RTX 4090 (30 GiB usable)")

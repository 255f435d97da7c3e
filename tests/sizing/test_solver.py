"""The solver: what it answers is exact, best by its own points, and says what it gave up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizing.beside import estimate_pair, leave_room
from sizing.errors import BadInputError
from sizing.estimate import estimate
from sizing.fit import Verdict
from sizing.hardware import Device, DeviceKind, Machine
from sizing.launch import Beside, format_command, format_solution_command
from sizing.memory import WeightBytes
from sizing.placement import Offload
from sizing.solver import Asked, NoSolution, Solution, _fill, _share_out, solve
from sizing.units import GIB, MIB
from tests.sizing.test_placement import card, host, model

LOSSES = {"Q8_0": 0.0, "Q6_K": 0.4, "Q4_K_M": 1.0, "Q2_K": 6.0}
LAYER_MIB = {"Q8_0": 230, "Q6_K": 178, "Q4_K_M": 130, "Q2_K": 85}


def quants(n_layers: int = 32, expert_share: float = 0.0) -> list[WeightBytes]:
    return [
        WeightBytes(
            quant,
            input_bytes=2 * mib * MIB,
            output_bytes=3 * mib * MIB,
            layer_bytes=(mib * MIB,) * n_layers,
            layer_expert_bytes=(int(mib * expert_share) * MIB,) * n_layers,
            token_embedding_bytes=2 * mib * MIB,
        )
        for quant, mib in LAYER_MIB.items()
    ]


def answer(machine: Machine, asked: Asked, *, moe: bool = False) -> Solution | NoSolution:
    return solve(model(moe=moe), quants(expert_share=0.9 if moe else 0.0), LOSSES, machine, asked)


def test_a_large_card_takes_the_best_quantization_and_gives_up_nothing() -> None:
    found = answer(Machine("m", host(), (card(24),)), Asked(8192))
    assert isinstance(found, Solution)
    assert found.quant == "Q8_0" and found.gave_up == () and found.estimate.fit.verdict is Verdict.FITS


def test_a_smaller_card_gives_up_bits_before_layers_and_says_why() -> None:
    found = answer(Machine("m", host(), (card(8),)), Asked(8192))
    assert isinstance(found, Solution)
    assert found.quant == "Q4_K_M" and found.estimate.n_gpu_layers == 33
    (given_up,) = found.gave_up
    assert given_up.what == "quantization" and given_up.wanted == "Q6_K" and given_up.got == "Q4_K_M"
    assert given_up.why.startswith("tight: card has only")


def test_a_least_speed_moves_the_answer_and_is_met() -> None:
    slow = Device("card", DeviceKind.GPU, 24 * GIB, 24 * GIB, 200e9, 50e12, "cuda")
    machine = Machine("m", host(), (slow,))
    freely, hurried = answer(machine, Asked(8192)), answer(machine, Asked(8192, min_decode_tokens_per_s=25.0))
    assert isinstance(freely, Solution) and isinstance(hurried, Solution)
    assert hurried.estimate.speed is not None and hurried.estimate.speed.decode_tokens_per_s.mid >= 25
    assert LAYER_MIB[hurried.quant] < LAYER_MIB[freely.quant] or freely.quant == hurried.quant


def test_context_goes_last_and_only_when_nothing_else_helps() -> None:
    found = answer(Machine("m", host(1), (card(5),)), Asked(131072))
    assert isinstance(found, Solution)
    assert found.workload.context_tokens < 131072
    assert "context" in {g.what for g in found.gave_up}
    whole = answer(Machine("m", host(64), (card(6),)), Asked(131072))
    assert isinstance(whole, Solution) and whole.workload.context_tokens == 131072


def test_nothing_runs_on_next_to_nothing_and_the_reason_is_said() -> None:
    found = answer(Machine("m", host(1)), Asked(8192))
    assert isinstance(found, NoSolution) and "Q2_K" in found.reason and "too much" in found.reason


def test_an_impossible_speed_is_told_from_memory() -> None:
    found = answer(Machine("m", host(64)), Asked(8192, min_decode_tokens_per_s=1e5))
    assert isinstance(found, NoSolution) and "wanted" in found.reason


def test_a_split_by_memory_that_overruns_the_last_card_is_balanced() -> None:
    # llama.cpp's own division gives both cards half of the layers, and the last one the output and its logits besides
    two = Machine("m", host(2), (card(5.1), card(5.1)))
    spec, w = model(), [replace(quants()[1], output_bytes=1800 * MIB)]
    by_memory = estimate(spec, w[0], Asked(2048).to_workload(), two, Offload(33))
    assert not by_memory.fit.runs and by_memory.memory.devices[2].headroom_bytes < 0
    found = solve(spec, w, LOSSES, two, Asked(2048))
    assert isinstance(found, Solution)
    assert found.estimate.fit.verdict in (Verdict.FITS, Verdict.TIGHT) and found.estimate.n_gpu_layers == 33
    split = found.estimate.tensor_split
    assert split is not None and split[0] > split[1] and sum(split) == 33
    command = format_solution_command("B", found, two)
    assert command is not None and f"-ts {split[0]},{split[1]}" in command


def test_a_faster_card_gets_the_layers_it_can_hold() -> None:
    fast = Device("fast", DeviceKind.GPU, 12 * GIB, 12 * GIB, 1000e9, 100e12, "cuda")
    slow = Device("slow", DeviceKind.GPU, 12 * GIB, 12 * GIB, 300e9, 30e12, "cuda")
    found = answer(Machine("m", host(), (slow, fast)), Asked(8192, quants=("Q8_0",)))
    assert isinstance(found, Solution) and found.estimate.tensor_split is not None
    assert found.estimate.tensor_split[1] > 2 * found.estimate.tensor_split[0]


@settings(max_examples=40, deadline=None)
@given(
    ram=st.floats(2, 64),
    gib=st.floats(1, 32),
    n_cards=st.integers(0, 3),
    context=st.sampled_from((512, 4096, 32768, 131072)),
    n_parallel=st.sampled_from((1, 4)),
    moe=st.booleans(),
)
def test_no_answer_overruns_a_device_and_more_memory_is_never_worse(
    ram: float, gib: float, n_cards: int, context: int, n_parallel: int, moe: bool
) -> None:
    asked = Asked(context, n_parallel)
    small = answer(Machine("m", host(ram), (card(gib),) * n_cards), asked, moe=moe)
    if isinstance(small, NoSolution):
        return
    assert all(d.headroom_bytes >= 0 for d in small.estimate.memory.devices if d.parts.total_bytes)
    again = estimate(
        model(moe=moe),
        next(w for w in quants(expert_share=0.9 if moe else 0.0) if w.quant == small.quant),
        small.workload,
        Machine("m", host(ram), (card(gib),) * n_cards),
        small.estimate.offload if n_cards else None,
    )
    assert again.memory.devices == small.estimate.memory.devices, "what is pinned is what was sized"
    large = answer(Machine("m", host(2 * ram), (card(2 * gib),) * n_cards), asked, moe=moe)
    assert isinstance(large, Solution)
    assert large.points <= small.points + 0.5, "what a smaller machine runs, a larger one runs as well"


@given(n=st.integers(1, 200), usable=st.lists(st.integers(1, 10**11), min_size=1, max_size=8))
def test_layers_are_shared_out_whole_and_none_is_lost(n: int, usable: list[int]) -> None:
    counts = _share_out(n, np.array(usable, dtype=np.int64))
    assert counts.sum() == n and (counts >= 0).all()
    assert (np.abs(counts - n * np.array(usable) / sum(usable)) < 1).all()


def test_a_choice_of_quantizations_is_kept_to_and_an_empty_one_refused() -> None:
    machine = Machine("m", host(), (card(24),))
    found = answer(machine, Asked(8192, quants=("Q4_K_M",)))
    assert isinstance(found, Solution) and found.quant == "Q4_K_M"
    with pytest.raises(BadInputError, match="no weights"):
        answer(machine, Asked(8192, quants=("Q5_0",)))
    with pytest.raises(BadInputError, match="131,072"):
        answer(machine, Asked(200_000))
    with pytest.raises(BadInputError, match="minimum speed"):
        Asked(8192, min_decode_tokens_per_s=-1.0)


def test_a_large_micro_batch_is_sized_with_the_batch_it_is_started_with() -> None:
    assert Asked(8192, n_ubatch=4096).to_workload().n_batch == 4096
    assert Asked(8192).to_workload().n_batch == 2048


def test_a_draft_takes_its_room_and_the_server_counts_once() -> None:
    machine = Machine("m", host(), (card(12), card(12)))
    big, small = (model(), quants()[1]), (model(4), quants(4)[2])
    alone = estimate(*big, Asked(8192).to_workload(), machine)
    pair = estimate_pair(big, small, Asked(8192).to_workload(), machine)
    assert pair.total_bytes < alone.memory.total_bytes + pair.draft.memory.total_bytes
    assert pair.main.tensor_split is not None
    assert pair.draft.tensor_split is not None and sum(pair.draft.tensor_split) == 5
    for use, left in zip(pair.main.memory.devices, pair.draft.memory.devices, strict=True):
        taken = left.parts.total_bytes - left.parts.overhead_bytes
        assert use.usable_bytes == left.usable_bytes - taken
    with pytest.raises(BadInputError, match="vocabulary"):
        estimate_pair(big, (replace(model(4), vocab_size=32_000), quants(4)[2]), Asked(8192).to_workload(), machine)


def test_a_pair_together_is_judged_against_the_whole_machine() -> None:
    machine = Machine("m", host(), (card(12), card(12)))
    big, small = (model(), quants()[1]), (model(4), quants(4)[2])
    pair = estimate_pair(big, small, Asked(8192).to_workload(), machine)
    together = pair.together
    assert [d.usable_bytes for d in together.memory.devices] == [host().usable_bytes, 12 * GIB, 12 * GIB]
    for use, main, taken in zip(together.memory.devices, pair.main.memory.devices, pair.draft_bytes, strict=True):
        assert use.parts.total_bytes == main.parts.total_bytes + taken
        assert use.headroom_bytes == main.headroom_bytes
    assert together.memory.total_bytes == pair.total_bytes
    assert together.fit.runs and "12.0\u2009GiB usable" in together.fit.reasons[0]


def test_a_draft_that_overruns_a_card_by_itself_does_not_fit() -> None:
    machine = Machine("m", host(64), (card(3),))
    pair = estimate_pair((model(), quants()[3]), (model(30), quants(30)[1]), Asked(8192).to_workload(), machine)
    assert pair.together.fit.verdict is Verdict.DOES_NOT_FIT and pair.together.speed is None
    assert "too much" in pair.together.fit.reasons[0]


def test_the_command_loads_what_stands_beside_the_model() -> None:
    machine = Machine("m", host(), (card(24),))
    told = estimate(model(), quants()[1], Asked(8192).to_workload(), machine)
    beside = Beside(("Small 1B", "Q8_0"), 5, has_projector=True)
    command = format_command("Big 8B", "Q6_K", told, Asked(8192).to_workload(), machine, beside)
    assert "-m Big-8B-Q6_K.gguf --mmproj mmproj-Big-8B-F16.gguf " in command
    assert command.endswith(" -md Small-1B-Q8_0.gguf -ctkd f16 -ctvd f16 -ngld 5")


def test_room_is_left_in_one_pool_too() -> None:
    pool = Device("M", DeviceKind.UNIFIED, 32 * GIB, 24 * GIB, 273e9, None, "metal")
    machine = Machine("mac", host(32), (pool,))
    told = estimate(model(), quants()[2], Asked(8192).to_workload(), machine)
    left = leave_room(machine, told.memory).accelerators[0].usable_bytes
    assert left == 24 * GIB - told.memory.total_bytes + told.memory.parts.overhead_bytes


def test_experts_leave_fewer_layers_when_the_first_card_gets_the_light_ones() -> None:
    # 32 layers of 230 MiB, nine tenths experts: with equal shares the experts of the first half have to go, and more
    machine = Machine("m", host(16), (card(3.6), card(3.6)))
    w = quants(expert_share=0.9)[:1]
    workload = Asked(2048).to_workload()
    by_memory = estimate(model(moe=True), w[0], workload, machine)
    found = solve(model(moe=True), w, LOSSES, machine, Asked(2048))
    assert isinstance(found, Solution) and found.workload == workload
    assert found.estimate.n_gpu_layers == 33 and found.estimate.tensor_split is not None
    assert found.estimate.tensor_split[0] > found.estimate.tensor_split[1]
    assert 0 < found.estimate.n_cpu_moe < by_memory.n_cpu_moe or by_memory.n_gpu_layers < 33
    assert all(d.headroom_bytes >= 0 for d in found.estimate.memory.devices)


@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    room=st.lists(st.integers(0, 400), min_size=1, max_size=5),
)
def test_filling_in_order_finds_room_whenever_there_is_any(sizes: list[int], room: list[int]) -> None:
    counts = _fill(sizes, room)
    if counts is None:
        # first come, first served is best for items that must stay in order: some prefix of the cards was too small
        place = 0
        for capacity in room:
            left = capacity
            while place < len(sizes) and sizes[place] <= left:
                left -= sizes[place]
                place += 1
        assert place < len(sizes)
        return
    assert sum(counts) == len(sizes)
    start = 0
    for count, capacity in zip(counts, room, strict=True):
        assert sum(sizes[start : start + count]) <= capacity
        start += count

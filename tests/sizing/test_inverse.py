"""The questions the other way round, held to one estimate at a time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from catalog.machines import list_machines, list_price_sources
from catalog.queries import find_machine, find_model, list_weights
from catalog.store import Catalog, open_catalog
from sizing import Device, DeviceKind, Machine, ModelSpec, Verdict, WeightBytes, Workload
from sizing.errors import BadInputError, UnknownNameError
from sizing.estimate import estimate, find_largest_context
from sizing.inverse import (
    GOOD_QUANTS,
    USERS,
    HardwareNeeds,
    add_memory,
    choose_weights,
    find_frontier,
    find_hardware,
    leave_out_surplus,
    list_context_grid,
    list_context_steps,
    list_contexts,
    list_quant_steps,
    list_unlocks,
    price_of,
)
from sizing.units import GIB

MODELS = ("Llama-3.1-8B-Instruct", "gemma-3-12b-it", "Qwen3-30B-A3B", "Falcon-H1-7B-Instruct")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return open_catalog()


def needs_of(catalog: Catalog, name: str, quant: str | None = None, **changes: object) -> HardwareNeeds:
    spec = find_model(catalog, name).spec
    weights = choose_weights(list_weights(catalog, spec.model_id), quant)
    return HardwareNeeds(**{"spec": spec, "weights": weights, "workload": Workload(8192), **changes})


def shop() -> tuple[Machine, ...]:
    """A few machines of known and unknown price, some slow, some small, some of unknown bandwidth."""
    host = Device("host", DeviceKind.CPU, 64 * GIB, 57 * GIB, 80e9)

    def card(gib: float, gb_per_s: float | None, price: int | None, watts: int | None = 200) -> Device:
        memory = int(gib * GIB)
        return Device(
            f"{gib} GiB", DeviceKind.GPU, memory, int(memory * 0.98), gb_per_s and gb_per_s * 1e9, 50e12, "cuda",
            price_usd=price, power_watts=watts,
        )  # fmt: skip

    cards = [
        card(8, 288, 250), card(12, 360, 300), card(16, 288, 450), card(16, 900, 800), card(24, 936, 700),
        card(24, 1008, None), card(24, None, 100), card(48, 768, 4000, None), card(80, 2000, 15000),
    ]  # fmt: skip
    machines = [Machine(f"{n} x {c.name} {c.price_usd}", host, (c,) * n) for c in cards for n in (1, 2)]
    pool = Device("pool", DeviceKind.UNIFIED, 64 * GIB, 48 * GIB, 400e9, 30e12, "metal", price_usd=2500)
    machines.append(Machine("pool", host, (pool,)))
    return (*machines, Machine("host alone", replace(host, price_usd=150)), Machine("host unpriced", host))


def does_it(needs: HardwareNeeds, weights: WeightBytes, machine: Machine) -> bool:
    """What the answer means, asked of one estimate."""
    told = estimate(needs.spec, weights, needs.workload, machine)
    if told.fit.verdict not in needs.accept:
        return False
    floor = needs.min_decode_tokens_per_s
    return not floor or (told.speed is not None and told.speed.decode_tokens_per_s.mid >= floor)


@pytest.mark.parametrize("name", ["Llama-3.1-8B-Instruct", "Qwen3-30B-A3B"])
@pytest.mark.parametrize(("floor", "offload"), [(None, False), (15.0, True), (60.0, False)])
def test_the_cheapest_is_the_cheapest_of_all_that_do_it_one_by_one(
    catalog: Catalog, name: str, floor: float | None, offload: bool
) -> None:
    needs = needs_of(catalog, name, workload=Workload(16384, 2), min_decode_tokens_per_s=floor, allow_offload=offload)
    machines = shop()
    answer = find_hardware(needs, machines)
    able = {
        m.name: max((w for w in needs.weights if does_it(needs, w, m)), key=lambda w: w.tensor_bytes).quant
        for m in machines
        if any(does_it(needs, w, m) for w in needs.weights)
    }
    found = (*answer.priced, *answer.unpriced)
    assert {a.machine.name: a.quant for a in found} == able
    prices = [p for m in machines if m.name in able and (p := price_of(m)) is not None]
    assert [a.price_usd for a in answer.priced] == sorted(prices)
    assert (answer.cheapest.price_usd if answer.cheapest else None) == min(prices, default=None)
    assert all(a.price_usd is None for a in answer.unpriced)
    assert answer.n_machines == len(machines)
    for a in found:
        alone = estimate(needs.spec, needs.find_weights(a.quant), needs.workload, a.machine)
        assert a.estimate.memory == alone.memory
        assert a.estimate.speed == alone.speed


def test_an_unknown_price_is_never_a_price(catalog: Catalog) -> None:
    answer = find_hardware(needs_of(catalog, "Llama-3.1-8B-Instruct"), shop())
    assert {a.machine.name for a in answer.unpriced} >= {"1 x 24 GiB None", "host unpriced"}
    assert all(a.price_usd for a in answer.priced)
    assert not {a.machine.name for a in answer.frontier} & {a.machine.name for a in answer.unpriced}
    (mixed,) = [m for m in shop() if m.name == "1 x 24 GiB None"]
    known = next(m for m in shop() if m.name == "1 x 24 GiB 700")
    assert price_of(replace(mixed, accelerators=(*mixed.accelerators, *known.accelerators))) is None


def test_an_unknown_speed_does_not_pass_a_minimum(catalog: Catalog) -> None:
    needs = needs_of(catalog, "Llama-3.1-8B-Instruct", min_decode_tokens_per_s=1.0)
    answer = find_hardware(needs, shop())
    assert answer.n_speed_unknown == 2  # one and two of the card without a bandwidth
    assert not any("24 GiB 100" in a.machine.name for a in answer.priced)


def test_nothing_on_the_frontier_is_beaten_and_all_else_is(catalog: Catalog) -> None:
    answer = find_hardware(needs_of(catalog, "Llama-3.1-8B-Instruct"), shop())
    timed = [a for a in answer.priced if a.decode_tokens_per_s]
    front = find_frontier(answer.priced)
    assert front == answer.frontier

    def beats(a: object, b: object) -> bool:
        return all(x >= y for x, y in zip(key(a), key(b), strict=True)) and key(a) != key(b)

    def key(a: object) -> tuple[float, float, float]:
        return (-a.price_usd, a.decode_tokens_per_s.mid, a.headroom_bytes)  # type: ignore[attr-defined]

    for a in timed:
        beaten = any(beats(b, a) for b in timed)
        assert (a in front) == (not beaten) or any(key(a) == key(f) for f in front)


def test_more_of_the_same_card_is_left_out_where_it_gains_nothing(catalog: Catalog) -> None:
    answer = find_hardware(needs_of(catalog, "Llama-3.1-8B-Instruct", "Q4_K_M"), shop())
    names = [a.machine.name for a in leave_out_surplus(answer.priced)]
    assert "1 x 24 GiB 700" in names and "2 x 24 GiB 700" not in names
    assert names == [a.machine.name for a in answer.priced if a.machine.name in names]


def test_without_a_quantization_the_largest_good_one_is_taken(catalog: Catalog) -> None:
    weights = list_weights(catalog, find_model(catalog, "Llama-3.1-8B-Instruct").model_id)
    assert {w.quant for w in choose_weights(weights)} == set(GOOD_QUANTS) & {w.quant for w in weights}
    assert [w.quant for w in choose_weights(weights, "IQ1_S")] == ["IQ1_S"]
    only = tuple(w for w in weights if w.quant == "F16")
    assert choose_weights(only) == only
    answer = find_hardware(needs_of(catalog, "Llama-3.1-8B-Instruct"), shop())
    assert {a.machine.name: a.quant for a in answer.priced}["1 x 24 GiB 700"] == "Q8_0"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"weights": ()}, BadInputError),
        ({"workload": Workload(1_000_000)}, BadInputError),
        ({"min_decode_tokens_per_s": -1.0}, BadInputError),
        ({"min_decode_tokens_per_s": float("nan")}, BadInputError),
    ],
)
def test_bad_needs_are_refused(catalog: Catalog, changes: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        needs_of(catalog, "Llama-3.1-8B-Instruct", **changes)


def test_an_unasked_quantization_is_unknown(catalog: Catalog) -> None:
    with pytest.raises(UnknownNameError, match="Q4_K_M"):
        needs_of(catalog, "Llama-3.1-8B-Instruct", "Q4_K_M").find_weights("Q4_K_S")


@pytest.mark.parametrize("name", MODELS)
def test_the_memory_of_each_step_is_what_a_card_needs(catalog: Catalog, name: str) -> None:
    needs = needs_of(catalog, name)
    host = Device("host", DeviceKind.CPU, 64 * GIB, 64 * GIB, 80e9)
    steps = list_quant_steps(needs)
    assert [s.usable_bytes for s in steps] == sorted({s.usable_bytes for s in steps})

    def verdict(n_bytes: int, quant: str) -> Verdict:
        card = Device("card", DeviceKind.GPU, n_bytes, n_bytes, 900e9, backend="cuda")
        machine = Machine("m", host, (card,))
        return estimate(needs.spec, needs.find_weights(quant), needs.workload, machine).fit.verdict

    for step in steps:
        assert verdict(step.usable_bytes, step.quant) in (Verdict.FITS, Verdict.TIGHT)
        assert verdict(step.usable_bytes - 1, step.quant) in (Verdict.OFFLOAD, Verdict.DOES_NOT_FIT)
    contexts = list_context_steps(needs, needs.weights[-1])
    assert [s.context_tokens for s in contexts] == list(list_contexts(needs.spec))
    assert [s.usable_bytes for s in contexts] == sorted(s.usable_bytes for s in contexts)


@pytest.mark.parametrize("text", ["RTX 3060", "RTX 3090*2 + 64 GB DDR5-5600", "Apple M4 24GB", "32 GB DDR5-5600"])
@pytest.mark.parametrize("name", ["Llama-3.1-8B-Instruct", "Qwen3-30B-A3B"])
def test_more_memory_never_unlocks_less(catalog: Catalog, name: str, text: str) -> None:
    needs = needs_of(catalog, name, workload=Workload(16384, 4))
    machine = find_machine(catalog, text)
    order = {w.quant: i for i, w in enumerate(sorted(needs.weights, key=lambda w: w.tensor_bytes))}
    steps = list_unlocks(needs, machine, (2, 4, 8, 16, 64, 256))
    keys = [(order[s.quant] if s.quant else -1, s.largest_context_tokens or 0) for s in steps]
    assert keys == sorted(keys)
    assert [s.is_new for s in steps[1:]] == [b > a for a, b in pairwise(keys)]
    assert steps[-1].quant == max(order, key=lambda q: order[q])
    for step in steps:
        if step.quant and step.is_new and step.largest_context_tokens:
            larger = add_memory(machine, step.extra_gib * GIB)
            workload = replace(needs.workload, context_tokens=step.largest_context_tokens)
            told = estimate(needs.spec, needs.find_weights(step.quant), workload, larger)
            assert told.fit.verdict in needs.accept


def spec_and_weights(catalog: Catalog, name: str, quant: str) -> tuple[ModelSpec, WeightBytes]:
    needs = needs_of(catalog, name, quant)
    return needs.spec, needs.weights[0]


@pytest.mark.parametrize("text", ["RTX 3090*2 + 64 GB DDR5-5600", "Apple M4 16GB", "16 GB DDR5-5600"])
@pytest.mark.parametrize("name", ["Llama-3.1-8B-Instruct", "gemma-3-12b-it"])
def test_every_cell_of_the_grid_is_an_estimate(catalog: Catalog, name: str, text: str) -> None:
    spec, weights = spec_and_weights(catalog, name, "Q4_K_M")
    machine, workload = find_machine(catalog, text), Workload(8192)
    grid = list_context_grid(spec, weights, workload, machine)
    assert [r.n_parallel for r in grid] == list(USERS)
    for row in grid:
        shared = replace(workload, n_parallel=row.n_parallel)
        assert [c.context_tokens for c in row.cells] == list(list_contexts(spec))
        for cell in row.cells:
            told = estimate(spec, weights, replace(shared, context_tokens=cell.context_tokens), machine)
            assert cell.verdict is told.fit.verdict
            assert cell.decode_tokens_per_s == (told.speed.decode_tokens_per_s if told.speed else None)
            runs = cell.verdict is not Verdict.DOES_NOT_FIT
            assert runs == (cell.context_tokens <= (row.largest_anyhow_tokens or 0)) or cell.context_tokens % 256
            whole = cell.verdict in (Verdict.FITS, Verdict.TIGHT)
            assert whole == (cell.context_tokens <= (row.largest_context_tokens or 0)) or cell.context_tokens % 256
        assert row.largest_anyhow_tokens == find_largest_context(spec, weights, shared, machine)
    largest = [r.largest_anyhow_tokens or 0 for r in grid]
    assert largest == sorted(largest, reverse=True)


def test_contexts_end_at_the_models_own_maximum(catalog: Catalog) -> None:
    assert list_contexts(find_model(catalog, "Qwen3 14B").spec) == (4096, 8192, 16384, 32768, 40960)
    assert list_contexts(find_model(catalog, "gemma-2-9b-it").spec) == (4096, 8192)
    assert list_contexts(replace(find_model(catalog, "gemma-2-9b-it").spec, context_tokens=2048)) == (2048,)


def test_every_machine_one_could_buy_is_found_again_by_its_name(catalog: Catalog) -> None:
    machines = list_machines(catalog)
    names = [m.name for m in machines]
    assert len(set(names)) == len(names) > 500
    assert {"RTX 3090", "RTX 3090*8", "Apple M4 Max 64GB", "PC DDR5-5600 64GB"} <= set(names)
    assert not any("aptop" in name and "*" in name for name in names)
    for machine in machines[::37]:
        assert find_machine(catalog, machine.name).usable_bytes == machine.usable_bytes
        assert find_machine(catalog, machine.name).host.name == machine.host.name


def test_every_price_has_its_source(catalog: Catalog) -> None:
    sources = list_price_sources(catalog)
    priced = {d.name for m in list_machines(catalog) for d in m.accelerators if d.price_usd is not None}
    assert priced <= set(sources)
    assert all(s.source_url.startswith("http") and s.as_of for s in sources.values())

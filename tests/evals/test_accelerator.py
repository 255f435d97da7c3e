"""Formulas against accelerators: the whole way on imagined cards, each reason by itself, and every table ever measured.

A card is not needed here: devices over RPC (`evals.imagined`) stand for it, with memory that is really allocated.
"""

from __future__ import annotations

import json
import os
import signal
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from catalog.queries import all_weights, find_machine
from catalog.store import Catalog, open_catalog
from evals.__main__ import main
from evals.accelerator import (
    CardReading,
    CaseFailure,
    CaseResult,
    Engine,
    EngineDevice,
    Place,
    Timed,
    count_padding,
    estimate_tried_speed,
    explain_lack,
    find_engine,
    find_stretch_bytes,
    match_machine,
    measure_cases,
    read_held,
)
from evals.accelerator_command import World, run_accelerator
from evals.accelerator_plan import ALL, EXPERTS, HALF, SHAPES, SMALL, Case, build_plan, find_offload
from evals.accelerator_result import (
    CLOSE_BYTES,
    CLOSE_SHARE,
    COPIES,
    DRIVER,
    GROWTH,
    SPEEDS,
    Environment,
    Row,
    Verdict,
    describe_environment,
    judge_speed,
    list_rows,
    read_rows,
    summarize,
    write_rows,
)
from evals.bench_result import Measurement
from evals.bench_room import estimate_workload
from evals.dry_run import EngineChild
from evals.imagined import open_imagined_machine
from evals.measure import ROUNDED_BYTES
from evals.verify import PARTS
from evals.weigh import weigh_model
from sizing.errors import BadInputError, EngineError
from sizing.estimate import Estimate
from sizing.hardware import Device, DeviceKind, Machine
from sizing.memory import WeightBytes
from sizing.placement import ACCELERATOR_OVERHEAD_BYTES, Offload
from sizing.quants import find_quant
from sizing.specs import ModelSpec
from sizing.tensors import list_tensors
from sizing.throughput import Interval
from sizing.units import GIB, MIB
from sizing.workload import Workload
from tests.evals.test_bench import make_spec

TABLES = sorted((Path(__file__).parents[1] / "golden").glob("accelerator_*.csv"))
TABLE_WANTED = (
    "no table of a real accelerator is in tests/golden yet; on a machine with a card make one with: "
    "python -m evals accelerator --out tests/golden/accelerator_CARD.csv"
)

GOLDEN = [pytest.param(path, id=path.stem) for path in TABLES] or [
    pytest.param(None, id="none", marks=pytest.mark.skip(reason=TABLE_WANTED))
]

FindSpec = Callable[[str], ModelSpec]
FindWeights = Callable[[str, str], WeightBytes]


def make_machine(n_cards: int = 1, backend: str = "cuda") -> Machine:
    host = Device("a host", DeviceKind.CPU, 64 * GIB, 60 * GIB, 40e9, 1e12, n_cores=1)
    card = Device("NVIDIA Card X", DeviceKind.GPU, 24 * GIB, 23 * GIB, 900e9, 100e12, backend)
    return Machine("a host with cards", host, (card,) * n_cards)


def make_devices(n_cards: int = 1) -> tuple[EngineDevice, ...]:
    return tuple(
        EngineDevice(f"CUDA{i}", "Card X", "cuda", 22 * GIB, 24 * GIB, f"0000:0{i}:00.0") for i in range(n_cards)
    )


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return open_catalog()


@pytest.fixture(scope="module")
def weighed(catalog: Catalog) -> dict[str, dict[str, WeightBytes]]:
    return {m: {w.quant: w for w in weights} for m, weights in all_weights(catalog).items()}


# What is tried


@pytest.mark.parametrize("card", ["RTX 4090", "H100 SXM 80GB"])
def test_every_shape_is_tried_in_three_quantizations_and_partly(
    card: str, catalog: Catalog, weighed: dict[str, dict[str, WeightBytes]]
) -> None:
    machine = find_machine(catalog, card)
    plan = build_plan([c.spec for c in catalog.cards], lambda m: weighed.get(m, {}), machine)
    whole = {s: [c for c in plan.cases if (c.shape, c.placement) == (s, ALL)] for s in SHAPES}
    assert all(len({c.quant for c in cases}) == 3 for cases in whole.values())
    assert all(len({c.spec.model_id for c in cases}) == 1 for cases in whole.values())
    assert [c.shape for c in plan.cases[: len(SHAPES)]] == list(SHAPES)  # a run cut short has seen each
    assert sum(c.placement == HALF for c in plan.cases) >= len(SHAPES) - 1
    assert any(c.placement == EXPERTS and c.spec.is_moe for c in plan.cases)
    small = whole[SMALL][0].spec
    assert small.tied_embeddings and small.n_params < 2e9
    for case in plan.cases:
        weights = weighed[case.spec.model_id][case.quant]
        workload = Workload(min(8192, case.spec.context_tokens))
        devices = estimate_workload(case.spec, weights, workload, machine, case.offload).memory.devices
        assert all(d.headroom_bytes >= 0 for d in devices), case.name


def test_what_does_not_fit_is_told(catalog: Catalog, weighed: dict[str, dict[str, WeightBytes]]) -> None:
    machine = make_machine()
    tiny = replace(
        machine, accelerators=(replace(machine.accelerators[0], memory_bytes=4 * GIB, usable_bytes=4 * GIB),)
    )
    plan = build_plan([c.spec for c in catalog.cards], lambda m: weighed.get(m, {}), tiny)
    assert any(gap.startswith("MLA: no model") for gap in plan.gaps)
    assert any(case.shape == SMALL for case in plan.cases)


def test_half_of_the_layers_counts_the_output_with_the_cards() -> None:
    spec = make_spec(moe=True)  # two layers
    assert find_offload(spec, ALL, make_machine()) == Offload(3)
    assert find_offload(spec, HALF, make_machine()) == Offload(2)
    assert find_offload(spec, EXPERTS, make_machine(2)) == Offload(3, (23.0, 23.0), 1)


# What is there to try it on


def test_rates_come_from_the_detected_card_and_memory_from_the_engine() -> None:
    cards = match_machine(make_machine(2), make_devices(2)).accelerators
    assert [(c.usable_bytes, c.bandwidth_bytes_per_s, c.backend) for c in cards] == [(22 * GIB, 900e9, "cuda")] * 2
    (renamed,) = match_machine(make_machine(), (replace(make_devices()[0], description="Vulkan thing"),)).accelerators
    assert renamed.name == "NVIDIA Card X"
    with pytest.raises(EngineError, match="'Other'.*catalog detect"):
        match_machine(make_machine(2), (replace(make_devices()[0], description="Other"),))


@pytest.mark.parametrize(
    ("machine", "wanted"),
    [
        (make_machine(0), "no accelerator was found on this machine"),
        (make_machine(1), "NVIDIA Card X is here, but the installed llama-cpp-python reaches no accelerator"),
    ],
)
def test_a_lack_is_one_line_with_what_to_do(machine: Machine, wanted: str) -> None:
    said = explain_lack(Engine("0.3.36", "CPU", ()), machine)
    assert said is not None
    assert wanted in said
    assert "-DGGML_CUDA=ON" in said and "llama-cpp-python==0.3.36" in said and "\n" not in said
    assert explain_lack(Engine("0.3.36", "CUDA", make_devices()), machine) is None


@pytest.mark.parametrize(
    ("backend", "flag"), [("rocm", "GGML_HIP"), ("vulkan", "GGML_VULKAN"), ("metal", "GGML_METAL")]
)
def test_each_backend_has_its_own_flag(backend: str, flag: str) -> None:
    said = explain_lack(Engine("1", "", ()), make_machine(1, backend))
    assert said is not None
    assert f"-D{flag}=ON" in said


def test_without_an_accelerator_the_command_fails_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path))
    monkeypatch.setattr("evals.accelerator_command.find_engine", lambda endpoints: Engine("0.3.36", "CPU", ()))
    monkeypatch.setattr("evals.__main__.detect_machine", lambda: make_machine(0))
    assert main(["accelerator"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("evals accelerator: no accelerator was found")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--limit", "0"], "--limit wants"),
        (["--max-seconds", "nan"], "--max-seconds wants"),
        (["--quant", "Q9"], "unknown quant"),
        (["--model", "Nothing-7X"], "unknown model"),
        (["--out", "nowhere/at/all.csv"], "--out wants a file in a folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_two(
    options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["accelerator", *options]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1


def test_held_memory_is_booked_by_address_and_else_the_difference() -> None:
    devices = make_devices(2)
    before = (CardReading("0000:01:00.0", 5), CardReading("0000:00:00.0", 7))
    now = (CardReading("0000:01:00.0", 105), CardReading("0000:00:00.0", 307, 250))
    assert read_held(before, now, devices) == (250, 100)
    unnamed = tuple(replace(card, bus_id="") for card in now)
    assert read_held(before, unnamed, devices) == (100, 250)
    assert read_held(before, unnamed[:1], devices) == (None, None)
    assert read_held((), (), devices) == (None, None)


# What a difference is called


def make_result(
    placement: str = ALL, n_cards: int = 1, more: Mapping[tuple[int, str], int] | None = None, **changes: object
) -> tuple[CaseResult, Machine]:
    """A case whose buffers are those of the estimate, but for the bytes `more` by device and part."""
    machine, spec = make_machine(n_cards), make_spec(moe=True)
    weights = WeightBytes("Q4_K_M", 2 * MIB, MIB, (700 * MIB,) * 2, (600 * MIB,) * 2, 2 * MIB)
    case = Case("mixture of experts", spec, "Q4_K_M", placement, find_offload(spec, placement, machine))
    guess = estimate_workload(spec, weights, Workload(2048), machine, case.offload)
    parts = [replace(d.parts, overhead_bytes=0) for d in guess.memory.devices]
    for (at, part), n_bytes in (more or {}).items():
        parts[at] = replace(parts[at], **{part: getattr(parts[at], part) + n_bytes})
    held = tuple(p.total_bytes + 450 * MIB for p in parts[1:])
    timed = Timed(Measurement("decode", 0, 32, (0.5, 0.4), "empty", 0.1), Interval(50, 70, 90))
    result = CaseResult(
        case=case,
        workload=Workload(2048),
        estimate=guess,
        parts=tuple(parts),
        grown_parts=tuple(parts),
        loaded_bytes=held,
        worked_bytes=tuple(n + 32 * MIB for n in held),
        n_copies=4 if n_cards > 1 else 1,
        heaviest_bytes={ALL: 0, HALF: 700 * MIB, EXPERTS: 600 * MIB}[placement],
        largest_tensor_bytes=0 if placement == ALL else 250 * MIB,
        padding_bytes=60 * MIB,
        mapped_bytes=1500 * MIB,
        timed=(timed,),
        skipped=(),
        load_s=1.0,
        is_finite=True,
    )
    return replace(result, **changes), machine  # type: ignore[arg-type]


def rows_of(result: CaseResult, machine: Machine) -> list[Row]:
    engine = Engine("0.3.36", "CUDA : ARCHS = 890", make_devices(len(machine.accelerators)))
    return list(list_rows(result, machine, describe_environment(machine, engine, "NVIDIA 580", "2026-11-25")))


def find_row(rows: Sequence[Row], at: int, part: str) -> Row:
    return next(r for r in rows if (r.device_index, r.part) == (at, part))


def test_what_is_equal_is_called_so() -> None:
    rows = rows_of(*make_result())
    assert {r.verdict for r in rows if r.part in PARTS} == {Verdict.EQUAL}
    assert find_row(rows, 1, DRIVER).measured == find_row(rows, 1, DRIVER).estimated == 450 * MIB
    assert find_row(rows, 1, GROWTH).measured == 32 * MIB
    speed = find_row(rows, 1, "decode_tokens_per_s")
    assert (speed.verdict, speed.estimated, speed.low, speed.high) == (Verdict.INSIDE, 70, 50, 90)
    assert all(r.part != COPIES for r in rows)


@pytest.mark.parametrize(
    ("placement", "n_cards", "at", "part", "more", "verdict", "reason"),
    [
        (ALL, 1, 1, "weight_bytes", 50 * MIB, Verdict.EXPLAINED, "padding:"),
        (ALL, 1, 1, "weight_bytes", 70 * MIB, Verdict.OFF, ""),
        (ALL, 1, 1, "weight_bytes", -50 * MIB, Verdict.OFF, ""),
        (ALL, 1, 1, "kv_cache_bytes", MIB, Verdict.CLOSE, ""),
        (HALF, 1, 0, "weight_bytes", 300 * MIB, Verdict.EXPLAINED, "mapped file:"),
        (HALF, 1, 0, "weight_bytes", 2000 * MIB, Verdict.OFF, ""),
        (HALF, 1, 1, "compute_bytes", 280 * MIB, Verdict.EXPLAINED, "host weights are copied"),
        (EXPERTS, 1, 1, "compute_bytes", 280 * MIB, Verdict.EXPLAINED, "host weights are copied"),
        (HALF, 1, 1, "compute_bytes", 701 * MIB, Verdict.OFF, ""),  # more than all of the heaviest layer
        (ALL, 1, 1, "compute_bytes", 280 * MIB, Verdict.OFF, ""),
        (ALL, 2, 2, "compute_bytes", -2 * MIB, Verdict.CLOSE, "pinned norms:"),
        (ALL, 2, 2, "compute_bytes", -3 * MIB, Verdict.CLOSE, ""),  # 4 copies x 256 x 512 tokens x 4 bytes are 2 MiB
    ],
)
def test_a_difference_has_the_name_of_its_reason(
    placement: str, n_cards: int, at: int, part: str, more: int, verdict: Verdict, reason: str
) -> None:
    row = find_row(rows_of(*make_result(placement, n_cards, {(at, part): more})), at, part)
    assert row.verdict is verdict
    assert row.note.startswith(reason) and bool(row.note) is bool(reason)


def test_the_copies_of_host_weights_are_reported_beside_what_is_assumed() -> None:
    rows = rows_of(*make_result(EXPERTS, 1, {(1, "compute_bytes"): 300 * MIB}))
    row = find_row(rows, 1, COPIES)
    assert (row.estimated, row.measured) == (270 * MIB, 300 * MIB)  # 45% of 600 MiB
    assert row.note.startswith("50.0% of the heaviest layer's")
    assert "op-offload, test/tiny Q4_K_M, experts of half the layers on the host: 300.0 MiB" in summarize(rows)


def test_a_driver_that_tells_nothing_leaves_its_rows_out() -> None:
    rows = rows_of(*make_result(loaded_bytes=(None,), worked_bytes=(None,)))
    assert all(r.part not in (DRIVER, GROWTH) for r in rows)
    assert "driver: it does not tell" in summarize(rows)


@pytest.mark.parametrize(("speed", "verdict"), [(9.0, "below"), (10.0, "inside"), (20.0, "inside"), (21.0, "above")])
def test_a_speed_lies_inside_its_interval_or_not(speed: float, verdict: str) -> None:
    assert judge_speed(speed, (10.0, 20.0)) == verdict
    assert judge_speed(speed, None) is Verdict.REPORTED


def test_padding_and_the_stretch_of_a_file_are_those_of_the_tensors() -> None:
    spec = make_spec()
    case = Case("dense GQA", spec, "F16", HALF, find_offload(spec, HALF, make_machine()))
    tensors = [t for t in list_tensors(spec) if not t.name.startswith("blk.1.")]
    types = {t.name: "f16" for t in list_tensors(spec)}
    # the first layer lies behind the embedding and the final norm in the file, in f16, each at a multiple of 32 bytes
    assert find_stretch_bytes(case, types) == sum(-(-2 * t.n_elements // 32) * 32 for t in tensors)
    rows_of_256 = [t for t in list_tensors(spec) if t.shape[0] == 256 and len(t.shape) > 1]
    quantized = {t.name: "q8_0" if t in rows_of_256 else "f32" for t in list_tensors(spec)}
    wanted = len(rows_of_256) * 8 * 34 + 128 * len(list_tensors(spec))  # 256 elements short of 512 are 8 blocks
    assert count_padding(list_tensors(spec), quantized) == wanted


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = [*rows_of(*make_result(HALF)), *rows_of(*make_result(EXPERTS, 2))]
    path = tmp_path / "accelerator_x.csv"
    write_rows(path, rows)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert list(read_rows(path)) == rows
    path.write_text("part,measured\nweight_bytes,much\n")
    with pytest.raises(BadInputError, match=r"accelerator_x\.csv, line 2"):
        read_rows(path)


# The whole way


class Tried:
    """A run of the command on imagined cards: its exit code, what it printed, the table it wrote."""

    def __init__(self, code: int, printed: dict[str, Any], rows: Sequence[Row]) -> None:
        self.code, self.printed, self.rows = code, printed, rows
        self.gaps: list[str] = printed["gaps"]
        self.n_cards = rows[0].environment.n_cards


@pytest.fixture(scope="module")
def specs_and_weights() -> tuple[dict[str, ModelSpec], dict[str, dict[str, WeightBytes]]]:
    specs = [make_spec(), replace(make_spec(moe=True), model_id="test/experts")]
    with EngineChild() as engine:
        weighed = {s.model_id: weigh_model(s, engine, [find_quant("Q4_K_M")]).weights for s in specs}
    return {s.model_id: s for s in specs}, {m: {w.quant: w for w in weights} for m, weights in weighed.items()}


@pytest.fixture(scope="module", params=[1, 2], ids=["one card", "two cards"])
def tried(
    request: pytest.FixtureRequest,
    specs_and_weights: tuple[dict[str, ModelSpec], dict[str, dict[str, WeightBytes]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Tried]:
    """Every placement of a dense model and of one with experts, on two cards the latter, really loaded and run."""
    specs, weights = specs_and_weights
    home = tmp_path_factory.mktemp("home")
    out = home / "accelerator_imagined.csv"
    n_cards: int = request.param
    models = list(specs) if n_cards == 1 else ["test/experts"]
    options = Namespace(
        model=models, quant=["q4_k_m"], out=out, limit=None, max_seconds=3.0, full=n_cards == 2, json=True
    )
    with open_imagined_machine(n_cards) as imagined, pytest.MonkeyPatch.context() as patch:
        imagined.engine.close()
        patch.setenv("WEIGHBRIDGE_HOME", str(home))
        printed: list[dict[str, Any]] = []
        patch.setattr("evals.accelerator_command.print_json", printed.append)
        world = World(
            find_specs=lambda names: [specs[name] for name in names],
            find_weights=weights.__getitem__,
            detect=lambda: make_machine(n_cards, "rpc"),
            read_cards=lambda pid: [CardReading("", 700 * MIB, None if pid is None else 600 * MIB)] * n_cards,
            read_driver=lambda: "imagined",
            endpoints=imagined.endpoints,
        )
        code = run_accelerator(options, world)
    yield Tried(code, printed[0], read_rows(out))
    assert list((home / "ghosts").iterdir()) == []


@pytest.mark.engine
@pytest.mark.timeout(120)
def test_what_is_really_allocated_is_what_was_estimated(tried: Tried) -> None:
    assert tried.code == 0
    assert all(": decode at" in gap or ": prefill at" in gap for gap in tried.gaps)
    named = {(r.model_id, r.placement) for r in tried.rows}
    wanted = {("test/experts", placement) for placement in (ALL, HALF, EXPERTS)}
    assert named == wanted | ({("test/tiny", ALL), ("test/tiny", HALF)} if tried.n_cards == 1 else set())
    for row in tried.rows:
        if row.part in PARTS and (row.device_index, row.part) != (0, "weight_bytes"):
            assert row.verdict is Verdict.EQUAL, row
    mapped = [r for r in tried.rows if (r.device_index, r.part) == (0, "weight_bytes")]
    assert all(r.verdict is Verdict.EQUAL or r.note.startswith("mapped file:") for r in mapped)
    assert {r.device_index for r in tried.rows if r.part == "weight_bytes"} == set(range(tried.n_cards + 1))


@pytest.mark.engine
def test_every_case_has_speeds_beside_their_intervals(tried: Tried) -> None:
    for part in SPEEDS:
        speeds = [r for r in tried.rows if r.part == part]
        assert len(speeds) >= 2  # on a busy machine a case may run out of its three seconds
        assert all(r.measured > 0 and r.low and r.high and r.low < r.high for r in speeds)


@pytest.mark.engine
def test_rows_say_where_they_are_from(tried: Tried) -> None:
    environment = tried.rows[0].environment
    assert (environment.backend, environment.driver) == ("rpc", "imagined")
    assert environment.llama_cpp_python.count(".") == 2
    assert environment.weights == ("random" if tried.n_cards == 2 else "zeros")
    assert "CPU" in environment.build
    assert len(tried.printed["rows"]) == len(tried.rows)
    assert json.dumps(tried.printed)
    assert {r.part for r in tried.rows} >= {DRIVER, GROWTH, COPIES, *SPEEDS}
    assert "decode_tokens_per_s" in summarize(tried.rows)


@pytest.mark.engine
def test_a_table_can_be_estimated_again(
    tried: Tried, specs_and_weights: tuple[dict[str, ModelSpec], dict[str, dict[str, WeightBytes]]]
) -> None:
    specs, weights = specs_and_weights
    again = list(list_byte_faults(tried.rows, specs.__getitem__, lambda m, q: weights[m][q]))
    assert again == []
    broken = [replace(r, measured=r.measured + 99 * MIB) if r.part == "kv_cache_bytes" else r for r in tried.rows]
    assert list(list_byte_faults(broken, specs.__getitem__, lambda m, q: weights[m][q]))


@pytest.mark.engine
def test_a_death_of_the_engine_is_an_answer(tmp_path: Path) -> None:
    with open_imagined_machine(1) as imagined:
        imagined.engine.close()
        engine = find_engine(imagined.endpoints)
    machine = match_machine(make_machine(1, "rpc"), engine.devices)  # its device is gone by now
    spec = make_spec()
    case = Case("dense GQA", spec, "Q8_0", ALL, find_offload(spec, ALL, machine))
    place = Place(machine, engine.devices, tmp_path, lambda pid: (), 3.0, endpoints=imagined.endpoints)
    (answer,) = measure_cases([case], place)
    assert isinstance(answer, CaseFailure)
    assert answer.message
    assert list((tmp_path / "ghosts").iterdir()) == []


@pytest.mark.engine
def test_what_was_read_before_the_engine_died_is_kept(tmp_path: Path) -> None:
    spec, machine = make_spec(), make_machine(1, "rpc")
    with open_imagined_machine(1) as imagined:
        imagined.engine.close()
        devices = find_engine(imagined.endpoints).devices

        def end_child(pid: int | None) -> tuple[CardReading, ...]:
            """A driver that kills the process it is asked about."""
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
            return ()

        case = Case("dense GQA", spec, "Q8_0", ALL, find_offload(spec, ALL, machine))
        place = Place(machine, devices, tmp_path, end_child, 3.0, endpoints=imagined.endpoints)
        (answer,) = measure_cases([case], place)
    assert isinstance(answer, CaseResult)
    assert answer.timed == ()
    assert "signal 9" in answer.skipped[-1].reason
    assert {r.verdict for r in rows_of(answer, machine) if r.part in PARTS} == {Verdict.EQUAL}


# Every table ever measured


def rebuild_machine(environment: Environment) -> Machine:
    """A machine with the cards a table was measured on and a host without limits, to estimate its rows again."""
    e, kind = environment, DeviceKind(environment.card_kind)
    room = e.card_memory_bytes if kind is DeviceKind.GPU else 2**50
    card = Device(
        e.card.split(" + ")[0].split(" x ", 1)[-1],
        kind,
        room,
        room,
        e.card_bandwidth_bytes_per_s,
        e.card_fp16_flops,
        e.backend,
        memory_type=e.card_memory_type,
    )
    return Machine(e.machine, Device("host", DeviceKind.CPU, 2**50, 2**50, 50e9, 1e12), (card,) * e.n_cards)


def list_byte_faults(rows: Sequence[Row], find_spec: FindSpec, find_weights: FindWeights) -> Iterator[str]:
    """Parts that are no longer as close to the measured bytes as the table says they were."""
    known: dict[tuple[object, ...], Estimate] = {}
    for row in (r for r in rows if r.part in PARTS):
        key = (row.model_id, row.quant, row.gpu_layers, row.cpu_moe, row.tensor_split, row.context_tokens)
        if key not in known:
            machine = rebuild_machine(row.environment)
            weights = find_weights(row.model_id, row.quant)
            workload = Workload(row.context_tokens)
            known[key] = estimate_workload(find_spec(row.model_id), weights, workload, machine, find_row_offload(row))
        ours = getattr(known[key].memory.devices[row.device_index].parts, row.part)
        off = abs(row.measured - ours)
        allowed = float(ROUNDED_BYTES) if row.verdict is Verdict.EQUAL else max(CLOSE_SHARE * row.measured, CLOSE_BYTES)
        if row.verdict is Verdict.EXPLAINED:
            allowed += abs(row.measured - (row.estimated or 0.0))
        if off > allowed:
            yield f"{row.model_id} {row.quant}, {row.placement}, {row.device}: {row.part} {off / MIB:.2f} MiB off"


def find_row_offload(row: Row) -> Offload:
    split = tuple(float(share) for share in row.tensor_split.split(",")) if row.tensor_split else None
    return Offload(row.gpu_layers, split, row.cpu_moe or None)


@pytest.mark.parametrize("path", GOLDEN)
def test_buffers_on_real_cards_are_the_estimated_ones(path: Path, catalog: Catalog) -> None:
    find_spec, find_weights = find_in(catalog)
    faults = list(list_byte_faults(read_rows(path), find_spec, find_weights))
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("path", GOLDEN)
def test_speeds_on_real_cards_lie_in_their_intervals(path: Path, catalog: Catalog) -> None:
    """Eight of ten are meant to; a single card is one draw, so six are asked of it."""
    find_spec, find_weights = find_in(catalog)
    inside: list[str] = []
    outside: list[str] = []
    for row in (r for r in read_rows(path) if r.part in SPEEDS and r.placement == ALL):
        machine = rebuild_machine(row.environment)
        weights = find_weights(row.model_id, row.quant)
        kind = row.part.split("_")[0]
        found = estimate_tried_speed(
            kind, row.depth_tokens, find_spec(row.model_id), weights, machine, find_row_offload(row)
        )
        if found is not None:
            said = f"{row.model_id} {row.quant} {row.part}: {row.measured:.3g}, {found.low:.3g} to {found.high:.3g}"
            (inside if found.low <= row.measured <= found.high else outside).append(said)
    assert len(inside) >= 1.5 * len(outside), "\n".join(outside)


@pytest.mark.parametrize("path", GOLDEN)
def test_the_assumed_share_of_the_driver_is_the_measured_one(path: Path) -> None:
    rows = [r for r in read_rows(path) if r.part == DRIVER]
    if not rows:
        pytest.skip(f"{path.name}: the driver did not tell what a process holds")
    assumed = ACCELERATOR_OVERHEAD_BYTES.get(rows[0].environment.backend, 0)
    assert abs(median(r.measured for r in rows) - assumed) <= 150 * MIB


def find_in(catalog: Catalog) -> tuple[FindSpec, FindWeights]:
    specs = {card.spec.model_id: card.spec for card in catalog.cards}
    weighed = {(m, w.quant): w for m, weights in all_weights(catalog).items() for w in weights}
    return specs.__getitem__, lambda model_id, quant: weighed[model_id, quant]

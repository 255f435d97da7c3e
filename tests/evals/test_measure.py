"""llama.cpp asked for one configuration: the estimate's shape, with the engine's own bytes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import evals.__main__ as command_line
import evals.measure as measure
import sizing.__main__ as sizing_command_line
from catalog.queries import find_machine, find_model, list_weights
from catalog.store import Catalog, open_catalog
from evals.dry_run import DryRunFailure, EngineChild, FailureReason
from evals.measure import ROUNDED_BYTES, Measured, measure_memory
from sizing.errors import BadInputError
from sizing.hardware import Machine
from sizing.placement import Offload
from sizing.workload import Workload

ENGINE_LIMIT_S = 2.0


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return open_catalog()


def ask(
    catalog: Catalog,
    model: str,
    hardware: str,
    workload: Workload,
    offload: Offload | None = None,
    quant: str = "Q4_K_M",
) -> Measured | DryRunFailure:
    card = find_model(catalog, model)
    weights = next(w for w in list_weights(catalog, card.model_id) if w.quant == quant)
    return measure_memory(card.spec, weights, workload, find_machine(catalog, hardware), offload)


CASES = [
    ("Llama-3.1-8B-Instruct", "this", Workload(8192)),
    ("Llama-3.1-8B-Instruct", "RTX 4090", Workload(8192, 4)),
    ("Llama-3.1-70B-Instruct", "RTX 4090*2", Workload(32_768, kv_type_k="q8_0", kv_type_v="q8_0")),
    ("gemma-3-4b-it", "RTX 4090*2", Workload(16_384)),  # windows, a tied head
    ("gemma-3-4b-it", "Apple M4 Max 64GB", Workload(16_384)),  # one pool
    ("gpt-oss-20b", "RTX 4060 Ti", Workload(8192)),  # experts leave the card
    ("Falcon-H1-0.5B-Instruct", "RTX 4090*2", Workload(8192)),  # states beside caches
]


@pytest.mark.engine
@pytest.mark.parametrize(("model", "hardware", "workload"), CASES)
def test_the_engine_and_the_formulas_agree_on_every_device(
    model: str, hardware: str, workload: Workload, catalog: Catalog
) -> None:
    answer = ask(catalog, model, hardware, workload)
    assert isinstance(answer, Measured)
    engine, formula = answer.estimate.memory.devices, answer.formula.memory.devices
    assert [d.name for d in engine] == [d.name for d in formula]
    for ours, theirs in zip(formula, engine, strict=True):
        a, b = ours.parts, theirs.parts
        assert 0 <= b.weight_bytes - a.weight_bytes <= 4096  # each card holds copies of small vectors
        assert a.kv_cache_bytes + a.recurrent_state_bytes == b.kv_cache_bytes + b.recurrent_state_bytes
        assert abs(a.recurrent_state_bytes - b.recurrent_state_bytes) <= ROUNDED_BYTES
        assert abs(a.output_bytes - b.output_bytes) <= ROUNDED_BYTES
        assert a.overhead_bytes == b.overhead_bytes
    assert answer.engine_s > 0
    assert answer.estimate.speed is None


@pytest.mark.engine
@pytest.mark.parametrize("model", ["Llama-3.1-405B-Instruct", "DeepSeek-R1", "Kimi-K3"])
@pytest.mark.parametrize("ubatch", [512, 2048])
def test_the_largest_models_take_less_than_two_seconds(model: str, ubatch: int, catalog: Catalog) -> None:
    seconds = []
    while len(seconds) < 4 and min(seconds, default=ENGINE_LIMIT_S) >= ENGINE_LIMIT_S:  # others may be at work here
        answer = ask(catalog, model, "this", Workload(8192, n_ubatch=ubatch))
        assert isinstance(answer, Measured), answer
        seconds.append(answer.engine_s)
    assert min(seconds) < ENGINE_LIMIT_S


@pytest.mark.engine
def test_the_command_prints_the_shape_of_an_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--model", "Llama-3.2-1B-Instruct", "--quant", "Q8_0", "--context", "4096", "--json"]
    asked += ["--hardware", "RTX 4090*2", "--gpu-layers", "9", "--tensor-split", "3,1", "--kv-unified"]
    assert sizing_command_line.main(["estimate", *asked]) == 0
    formula = json.loads(capsys.readouterr().out)
    assert command_line.main(["dry-run", *asked]) == 0
    engine = json.loads(capsys.readouterr().out)
    assert list(engine)[: len(formula)] == list(formula)
    assert set(engine) - set(formula) == {"source", "engine_version", "engine_s"}
    assert engine["source"] == "engine"
    layer_bytes = 4096 * 8 * 64 * 2 * 2  # config.json at the publisher: 16 layers, 8 key/value heads of 64
    # of 9 places the first card takes those below 3/4: 0 to 6; the second the last layer and the output
    assert [d["kv_cache_bytes"] for d in engine["devices"]] == [8 * layer_bytes, 7 * layer_bytes, layer_bytes]
    for part, n_bytes in engine["parts"].items():
        assert sum(d[part] for d in engine["devices"]) == n_bytes


@pytest.mark.engine
def test_without_rpc_the_host_is_answered_for_and_says_so(monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> None:
    monkeypatch.setattr(measure, "find_rpc_gap", lambda: "llama.cpp was built without RPC")
    answer = ask(catalog, "Llama-3.2-1B-Instruct", "RTX 4090*2", Workload(4096), Offload(5, (1.0, 1.0)))
    assert isinstance(answer, Measured)
    assert len(answer.estimate.memory.devices) == 1
    assert answer.estimate.memory.assumptions[0] == "answered for the host alone: llama.cpp was built without RPC"


def test_more_accelerators_than_can_be_imagined_is_a_value(catalog: Catalog) -> None:
    card = find_machine(catalog, "RTX 4090")
    many = Machine("a rack", card.host, card.accelerators * 17)
    model = find_model(catalog, "Llama-3.2-1B-Instruct")
    answer = measure_memory(model.spec, list_weights(catalog, model.model_id)[0], Workload(4096), many)
    assert isinstance(answer, DryRunFailure)
    assert answer.reason is FailureReason.NO_DEVICES
    assert "at most 16 accelerators, a rack has 17" in answer.message


def test_a_context_above_the_models_own_is_wrong_usage(catalog: Catalog) -> None:
    with pytest.raises(BadInputError, match="trained for at most"):
        ask(catalog, "Llama-3.2-1B-Instruct", "this", Workload(200_000))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tensor-split", "1", "--hardware", "RTX 4090*2"], "tensor_split wants 2 shares"),
        (["--tensor-split", "a,b"], "--tensor-split wants numbers such as 3,1, got 'a,b'"),
        (["--gpu-layers", "-1"], "gpu_layers wants 0 or more, got -1"),
        (["--gpu-layers", "many"], "--gpu-layers wants auto or a whole number, got 'many'"),
        (["--hardware", "RTX 4091"], "RTX 4090"),
        (["--engine", "abacus"], "unknown engine 'abacus'"),
    ],
)
def test_wrong_usage_is_exit_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["dry-run", "--model", "Llama-3.2-1B-Instruct", "--quant", "Q8_0", "--context", "4096"]
    assert command_line.main([*asked, *arguments]) == 2
    assert said in capsys.readouterr().err


def run_child(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", f"import sys; sys.path.insert(0, 'evals'); import engine_child as c; {code}")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_that_takes_too_much_memory_is_ended_and_says_so(catalog: Catalog) -> None:
    greedy = run_child("c.watch(2**28); kept = b'x' * 2**29; import time; time.sleep(60)")
    with EngineChild(greedy) as child:
        answer = child.ask({"kind": "version"}, timeout_s=30)
    assert isinstance(answer, DryRunFailure)
    assert answer.reason is FailureReason.ABORTED
    assert "0.2 GiB allowed for a dry run" in answer.message


@pytest.mark.skipif(sys.platform != "linux", reason="the parent is found by its number")
def test_a_busy_child_ends_with_its_parent() -> None:
    busy = "c.watch(); print('ready', flush=True); [sum(range(10**6)) for _ in range(10**6)]"
    parent = (
        f"import subprocess, time; child = subprocess.Popen({run_child(busy)!r}, stdout=subprocess.PIPE); "
        "child.stdout.readline(); print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False

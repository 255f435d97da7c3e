"""Timing ghosts and files: every end a bench can come to, and that nothing of it stays behind."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from statistics import median

import gguf
import numpy as np
import psutil
import pytest

from evals.__main__ import main
from evals.bench import CHILD_COMMAND, measure_file, measure_ghost
from evals.bench_result import (
    RESULTS_FILE,
    BenchRefusal,
    BenchResult,
    ExpectedSpeed,
    Measurement,
    MemoryUse,
    RefusalReason,
    append_result,
    calibrate,
    calibrate_machine,
    load_results,
)
from evals.bench_room import BenchPlan
from evals.dry_run import DryRunFailure, EngineChild, ask_tensor_types
from evals.ghost import SCALE_OFFSETS, Ghost, NoRoom, keeps_holes, make_random_blocks, open_ghost, sweep_ghosts
from evals.weightless import is_kept_f32
from sizing.errors import BadInputError, UnknownNameError, UnsupportedError
from sizing.hardware import Calibration, Device, DeviceKind, Machine
from sizing.quants import GGML_TYPES, find_quant
from sizing.specs import Attention, AttentionKind, FeedForward, LayerGroup, ModelSpec
from sizing.tensors import list_tensors
from sizing.throughput import Interval
from sizing.units import GIB, MIB

ROOT = Path(__file__).parents[2]
N_EXPERTS, N_ACTIVE = 16, 2
QUICK = BenchPlan(depths_tokens=(0, 1024), repetitions=2, max_seconds=40, n_threads=1)


def make_spec(*, moe: bool = False, hidden_dim: int = 256) -> ModelSpec:
    """Two layers of Qwen3's shape, small enough to run in no time; rows are whole blocks of 256 for K quants."""
    experts = FeedForward(n_experts=N_EXPERTS, n_active_experts=N_ACTIVE, expert_ffn_dim=256)
    ffn = experts if moe else FeedForward(ffn_dim=512)
    group = LayerGroup((0, 1), Attention(AttentionKind.FULL, 8, 4, 32), ffn=ffn)
    name = "qwen3moe" if moe else "qwen3"
    return ModelSpec("test/tiny", "Tiny", name, (group,), hidden_dim, 1024, 2048, True, 10**6, 10**6)


def make_machine(usable_bytes: int = 2 * GIB) -> Machine:
    host = Device("a host", DeviceKind.CPU, 4 * GIB, usable_bytes, bandwidth_bytes_per_s=40e9, n_cores=2)
    return Machine("a host", host)


def find_types(spec: ModelSpec, quant: str, engine: EngineChild) -> dict[str, str]:
    types = ask_tensor_types(spec, [find_quant(quant)], engine)
    assert not isinstance(types, DryRunFailure)
    return types[quant]


def list_ghosts(home: Path) -> list[str]:
    return sorted(p.name for p in (home / "ghosts").glob("*"))


# What a ghost holds


@pytest.mark.engine
def test_a_ghost_is_a_hole_but_for_what_steers_the_work(tmp_path: Path, engine: EngineChild) -> None:
    spec = make_spec(moe=True)
    with open_ghost(spec, find_types(spec, "Q4_K_M", engine), tmp_path, nameless=False) as ghost:
        assert isinstance(ghost, Ghost)
        assert ghost.unlink == ghost.path
        assert Path(ghost.path).stat().st_size == ghost.file_bytes
        if keeps_holes(tmp_path):
            assert ghost.disk_bytes < 0.5 * ghost.file_bytes
        reader = gguf.GGUFReader(ghost.path)  # the format's own reader finds every tensor where it was written
        data = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    assert all((data[n] == 1).all() for n in data if n.endswith("norm.weight"))
    experts = [n for n in data if "_exps" in n]
    assert len(experts) == 6
    assert not any(data[n].any() for n in experts)
    embeddings = data["token_embd.weight"]
    assert embeddings[:512].any(axis=1).all()
    assert not embeddings[512:].any()
    # tokens of one layer choose all experts, each about as often
    for layer in (0, 1):
        state = embeddings[:512] / np.sqrt((embeddings[:512] ** 2).mean(axis=1, keepdims=True))
        chosen = np.argsort(state @ data[f"blk.{layer}.ffn_gate_inp.weight"].T, axis=1)[:, -N_ACTIVE:]
        counts = np.bincount(chosen.ravel(), minlength=N_EXPERTS)
        fair = 512 * N_ACTIVE / N_EXPERTS
        assert counts.min() > fair / 2, counts
        assert counts.max() < fair * 2, counts


@pytest.mark.parametrize("name", [*SCALE_OFFSETS, "f32", "f16", "bf16", "mxfp4"])
def test_random_blocks_are_finite_and_of_the_size_of_weights(name: str) -> None:
    kind = GGML_TYPES[name]
    n_blocks = 8192 // kind.block_elements
    data = np.frombuffer(make_random_blocks(name, n_blocks * kind.block_bytes, np.random.default_rng(3)), np.uint8)
    raw_type = gguf.GGMLQuantizationType[name.upper()]
    values = gguf.quants.dequantize(data.reshape(1, -1), raw_type) if name != "f32" else data.view(np.float32)
    assert np.isfinite(values).all()
    # 0.02 is the initializer_range of Llama, Qwen and Gemma configurations; within a factor of three is like weights
    assert 0.02 / 3 < values.std() < 0.02 * 3


@pytest.mark.skipif(sys.platform != "linux", reason="nameless files are Linux's")
def test_a_ghost_without_a_name_shows_in_no_folder(tmp_path: Path) -> None:
    with open_ghost(make_spec(), {}, tmp_path) as ghost:
        assert isinstance(ghost, Ghost)
        assert ghost.unlink is None
        assert list(tmp_path.iterdir()) == []
        assert Path(ghost.path).read_bytes()[:4] == b"GGUF"
    assert not Path(ghost.path).exists()


def test_an_orphan_is_swept_and_a_living_ghost_is_not(tmp_path: Path) -> None:
    (tmp_path / "ghost-orphan.gguf").write_bytes(b"x")
    (tmp_path / "mine.gguf").write_bytes(b"x")
    with open_ghost(make_spec(), {}, tmp_path, nameless=False) as ghost:
        assert isinstance(ghost, Ghost)
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([Path(ghost.path).name, "mine.gguf"])
        assert sweep_ghosts(tmp_path) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["mine.gguf"]


def test_a_full_disk_is_told_in_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=10 * MIB))
    with open_ghost(make_spec(), {}, tmp_path) as answer:
        assert isinstance(answer, NoRoom)
        assert "10.0\u2009MiB are free" in answer.message
    assert list(tmp_path.iterdir()) == []


# A bench from end to end


@pytest.mark.engine
@pytest.mark.parametrize("moe", [False, True], ids=["dense", "experts"])
def test_a_ghost_is_timed_and_the_result_kept(tmp_path: Path, moe: bool) -> None:
    said: list[str] = []
    result = measure_ghost(make_spec(moe=moe), "q4_k_m", make_machine(), tmp_path, QUICK, said.append)
    assert isinstance(result, BenchResult), result
    assert [(m.kind, m.depth_tokens, m.filled) for m in result.measurements] == [
        ("decode", 0, "empty"),
        ("prefill", 0, "empty"),
        ("decode", 1024, "copied"),
    ]
    assert all(1 <= len(m.seconds) <= 2 and m.tokens_per_s > 0 for m in result.measurements)
    assert (result.subject, result.model_id, result.quant) == ("ghost", "test/tiny", "Q4_K_M")
    assert result.n_threads == 1
    assert result.n_ctx_tokens == 1280  # 1,024 and room for what is decoded there, in steps of 256
    assert result.skipped == ()
    assert 0 < result.memory.before_bytes < result.memory.peak_bytes < GIB
    assert result.memory.taken_bytes < 4 * result.memory.expected_bytes + 64 * MIB
    assert [e.kind for e in result.expected] == ["decode", "decode"]  # no arithmetic rate is known, so no prefill
    assert not any("finite" in note for note in result.notes)
    assert any(line.startswith("decode at depth 1,024") for line in said)
    assert list_ghosts(tmp_path) == []
    append_result(tmp_path, result)
    append_result(tmp_path, replace(result, run_id="another"))
    with (tmp_path / RESULTS_FILE).open("a") as file:
        file.write('{"version": 99}\n{"torn": ')
    assert load_results(tmp_path) == (result, replace(result, run_id="another"))


@pytest.mark.engine
def test_a_ghost_of_a_file_s_own_mix_goes_by_the_file_s_word(tmp_path: Path) -> None:
    spec = make_spec()
    types = {t.name: "f32" if is_kept_f32(t) else "q6_K" for t in list_tensors(spec)} | {"blk.1.ffn_up.weight": "q4_0"}
    result = measure_ghost(spec, "UD-OWN", make_machine(), tmp_path, replace(QUICK, depths_tokens=(0,)), types=types)
    assert isinstance(result, BenchResult), result
    assert (result.quant, result.subject) == ("UD-OWN", "ghost")
    assert result.measurements[0].tokens_per_s > 0
    assert list_ghosts(tmp_path) == []


@pytest.mark.parametrize("own", [{}, {"token_embd.weight": "nvfp4"}])
def test_a_mix_without_a_size_makes_no_ghost(own: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"token_embd\.weight in .*; no ghost can be made"):
        measure_ghost(make_spec(), "UD-OWN", make_machine(), tmp_path, QUICK, types=own)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.engine
def test_a_model_too_large_is_refused_with_numbers(tmp_path: Path) -> None:
    refusal = measure_ghost(make_spec(), "Q8_0", make_machine(usable_bytes=4 * MIB), tmp_path, QUICK)
    assert isinstance(refusal, BenchRefusal)
    assert refusal.reason is RefusalReason.TOO_LARGE
    assert refusal.usable_bytes == 4 * MIB
    assert refusal.needed_bytes is not None
    assert refusal.needed_bytes > 4 * MIB
    assert "test/tiny in Q8_0 would need" in refusal.message
    assert "4.00\u2009MiB are usable" in refusal.message
    assert list_ghosts(tmp_path) == []


@pytest.mark.engine
def test_depths_the_model_was_not_trained_for_are_skipped_with_the_reason(tmp_path: Path) -> None:
    plan = replace(QUICK, depths_tokens=(0, 8192))
    result = measure_ghost(make_spec(), "Q8_0", make_machine(), tmp_path, plan)
    assert isinstance(result, BenchResult), result
    assert [(s.kind, s.depth_tokens, s.reason) for s in result.skipped] == [
        ("decode", 8192, "the model was trained for 2,048 tokens")
    ]
    assert result.n_ctx_tokens == 512


@pytest.mark.engine
def test_a_second_bench_waits_its_turn(tmp_path: Path) -> None:
    with (tmp_path / "bench.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refusal = measure_ghost(make_spec(), "Q8_0", make_machine(), tmp_path, QUICK)
    assert isinstance(refusal, BenchRefusal)
    assert refusal.reason is RefusalReason.BUSY


@pytest.mark.engine
def test_copied_and_computed_caches_hold_as_many_cells(tmp_path: Path, engine: EngineChild) -> None:
    with open_ghost(make_spec(), {}, tmp_path) as ghost, EngineChild(CHILD_COMMAND) as child:
        assert isinstance(ghost, Ghost)
        opening = {"kind": "open", "path": ghost.path, "n_threads": 1, "n_gpu_layers": 0, "copy": True, "n_ctx": 2048}
        types = {"type_k": "f16", "type_v": "f16", "flash_attention": True, "n_batch": 512, "n_ubatch": 512}
        assert not isinstance(child.ask(opening | types), DryRunFailure)
        fills = [child.ask({"kind": "fill", "depth": 1300, "copy": copy}) for copy in (True, False)]
    copied, computed = fills
    assert not isinstance(copied, DryRunFailure)
    assert not isinstance(computed, DryRunFailure)
    assert (copied["how"], computed["how"]) == ("copied", "computed")
    assert copied["state_bytes"] == computed["state_bytes"] > 1300 * 2 * 2 * 4 * 32 * 2  # K and V of two layers in f16


@pytest.mark.engine
def test_a_file_is_timed_by_the_same_code_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path / "home"))
    path = tmp_path / "tiny.gguf"
    with open_ghost(make_spec(), {}, tmp_path, full=True, nameless=False) as ghost:
        assert isinstance(ghost, Ghost)
        shutil.copyfile(ghost.path, path)
    options = ["--file", str(path), "--depths", "0,8192", "--repetitions", "2", "--threads", "1", "--json"]
    assert main(["bench", *options]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["subject"], printed["model_id"]) == ("file", "tiny.gguf")
    assert [m["kind"] for m in printed["measurements"]] == ["decode", "prefill"]
    assert printed["skipped"][0]["reason"] == "the model was trained for 2,048 tokens"
    first = printed["measurements"][0]
    assert first["low_tokens_per_s"] <= first["tokens_per_s"] <= first["high_tokens_per_s"]
    assert printed["expected"] == []
    assert printed["file_bytes"] == path.stat().st_size
    kept = load_results(tmp_path / "home")
    assert [r.run_id for r in kept] == [printed["run_id"]]
    assert path.exists()


@pytest.mark.engine
def test_a_bench_can_be_stopped_between_its_steps(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(said: str) -> None:
        if said.startswith("decode"):
            raise Stopped

    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(Stopped):
        measure_ghost(make_spec(), "Q8_0", make_machine(), tmp_path, QUICK, stop)
    assert set(psutil.Process().children(recursive=True)) <= before
    assert list_ghosts(tmp_path) == []
    with (tmp_path / "bench.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises BlockingIOError while a bench holds its turn


# What can go wrong


@pytest.mark.engine
def test_a_refusal_is_told_as_json_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path))
    monkeypatch.setattr("evals.__main__.detect_machine", lambda: make_machine(usable_bytes=100 * MIB))
    options = ["--ghost", "--model", "Qwen3-0.6B", "--quant", "Q4_K_M", "--depths", "0", "--json"]
    assert main(["bench", *options]) == 1
    said = capsys.readouterr()
    refused = json.loads(said.out)["refused"]
    assert (refused["reason"], refused["usable_bytes"]) == ("too large", 100 * MIB)
    # the published file of this model has 397 million bytes (huggingface.co/Qwen/Qwen3-0.6B-GGUF, as Q4_K_M)
    assert refused["needed_bytes"] > 300 * MIB
    assert said.err == f"evals bench: {refused['message']}\n"


@pytest.mark.engine
def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.gguf"
    path.write_bytes(b"GGUF" + os.urandom(64))
    refusal = measure_file(path, make_machine(), tmp_path, QUICK)
    assert isinstance(refusal, BenchRefusal)
    assert refusal.reason is RefusalReason.ENGINE
    assert "no.gguf: llama.cpp" in refusal.message


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--ghost", "--model", "Qwen3-0.6B"], "--ghost wants --model and --quant"),
        (["--ghost", "--model", "Qwen3-0.6B", "--quant", "Q9"], "unknown quant 'Q9'"),
        (["--ghost", "--model", "Qwen3-0.7X", "--quant", "Q8_0"], "unknown model 'Qwen3-0.7X'"),
        (["--file", "nowhere.gguf"], "wants a GGUF file"),
        (["--file", "x", "--model", "Qwen3-0.6B"], "together or neither"),
        (["--file", "x", "--depths", "0,deep"], "--depths wants numbers of tokens"),
        (["--file", "x", "--depths", "0,0"], "depths wants different numbers"),
        (["--file", "x", "--depths=-1"], "depths wants different numbers"),
        (["--file", "x", "--max-seconds", "nan"], "the time limit wants"),
        (["--file", "x", "--minutes", "0"], "the time limit wants"),
        (["--file", "x", "--minutes", "1", "--max-seconds", "60"], "say the same"),
        (["--file", "x", "--repetitions", "0"], "repetitions wants 1 to 100"),
        (["--file", "x", "--threads", "0"], "threads wants 1 to 512"),
    ],
)
def test_bad_input_is_one_line_and_exit_two(
    options: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(tmp_path))
    monkeypatch.setattr("evals.__main__.detect_machine", make_machine)
    assert main(["bench", *options]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert complaint in said.err


def test_unknown_quants_and_missing_files_raise(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        measure_ghost(make_spec(), "Q9_9", make_machine(), tmp_path)
    with pytest.raises(BadInputError):
        measure_file(tmp_path / "none.gguf", make_machine(), tmp_path)


# Sudden ends

LONG_BENCH = """
    import sys
    from functools import partial
    from pathlib import Path
    import evals.bench as bench
    from tests.evals.test_bench import make_machine, make_spec
    bench.open_ghost = partial(bench.open_ghost, nameless=sys.argv[2] == "nameless")
    bench.MAX_DECODE_TOKENS = 2
    plan = bench.BenchPlan(depths_tokens=(0, 512), repetitions=100, max_seconds=600, n_threads=1, prefill_tokens=512)
    tell = partial(print, flush=True)
    # repeated until killed, for one bench of so small a model may be over too soon
    while True:
        print(bench.measure_ghost(make_spec(hidden_dim=512), "F16", make_machine(), Path(sys.argv[1]), plan, tell))
"""


def start_long_bench(home: Path, name: str) -> tuple[subprocess.Popen[str], psutil.Process]:
    """A bench in a process of its own, and the child of it that runs the model, once the model is loaded."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LONG_BENCH), str(home), name],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    while not (line := process.stdout.readline()).startswith("decode:"):
        assert line, "the bench ended before it began"
    children = psutil.Process(process.pid).children()
    return process, next(c for c in children if any("bench_child" in part for part in c.cmdline()))


@pytest.mark.engine
@pytest.mark.parametrize("name", ["nameless", "named"])
def test_nothing_stays_when_the_parent_is_killed(tmp_path: Path, name: str) -> None:
    process, child = start_long_bench(tmp_path, name)
    process.kill()
    process.wait()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()
    assert list_ghosts(tmp_path) == []


@pytest.mark.engine
def test_a_killed_child_is_an_answer_and_leaves_nothing(tmp_path: Path) -> None:
    process, child = start_long_bench(tmp_path, "named")
    assert process.stdout is not None
    os.kill(child.pid, signal.SIGKILL)
    answer = next(line for line in process.stdout if line.startswith("Bench"))
    process.kill()
    process.wait()
    assert answer.startswith("BenchResult(")  # what was measured before is told
    assert "llama.cpp ended with signal 9" in answer
    assert list_ghosts(tmp_path) == []


# What results say


def make_result(**changes: object) -> BenchResult:
    seconds = (1.0, 2.0, 4.0)
    result = BenchResult(
        run_id="a",
        measured_at="2026-11-23T10:00:00+00:00",
        subject="ghost",
        model_id="test/tiny",
        quant="Q4_K_M",
        is_moe=False,
        description="",
        file_bytes=1,
        disk_bytes=1,
        n_ctx_tokens=512,
        n_threads=2,
        n_gpu_layers=0,
        host_name="a host",
        bandwidth_bytes_per_s=None,
        llama_cpp_version="0",
        load_s=1.0,
        elapsed_s=1.0,
        repacked=False,
        memory=MemoryUse(100, 10, 130, 90, 40),
        measurements=(Measurement("decode", 0, 8, seconds, "empty", 1.0),),
        skipped=(),
        expected=(ExpectedSpeed("decode", 0, Interval(4.0, 8.0, 16.0)),),
        notes=(),
    )
    return replace(result, **changes)  # type: ignore[arg-type]


def test_median_and_spread_of_a_measurement() -> None:
    measured = make_result().measurements[0]
    # 8 tokens in 1, 2 and 4 s: 8, 4 and 2 tokens/s, which are 4, 0 and 2 away from their median
    assert measured.rates == (8, 4, 2)
    assert (measured.low_tokens_per_s, measured.tokens_per_s, measured.high_tokens_per_s) == (2, 4, 8)
    assert measured.deviation_tokens_per_s == 2
    assert make_result().memory.taken_bytes == 120
    with pytest.raises(BadInputError):
        Measurement("decode", 0, 8, (), "empty", 1.0)


def test_calibration_takes_medians_by_class_and_leaves_out_what_teaches_nothing() -> None:
    result = make_result()
    decode = result.measurements[0]
    faster = replace(decode, seconds=(1.0,))
    others = [
        make_result(run_id="b", measurements=(faster,), measured_at="2026-11-24T10:00:00+00:00"),
        make_result(run_id="busy", measurements=(replace(decode, cpu_share=0.5),)),
        make_result(run_id="unknown", expected=()),
        make_result(run_id="elsewhere", host_name="another host"),
        make_result(run_id="offloaded", n_gpu_layers=3),
        make_result(run_id="undecoded", measurements=(replace(decode, kind="prefill"),)),
        make_result(run_id="a file", quant="", is_moe=None),
    ]
    # measured 4 and 8 tokens/s where the middle of the estimate said 8: half of it and all of it
    host = Device("a host", DeviceKind.CPU, 2**30, 2**30, None)
    assert calibrate([result, *others], host) == (Calibration("a host", "fine", False, 0.75, None, 2, "2026-11-24"),)
    coarse = make_result(
        quant="Q8_0", is_moe=True, expected=(*result.expected, ExpectedSpeed("prefill", 0, Interval(1, 2, 3)))
    )
    coarse = replace(coarse, measurements=(decode, replace(decode, kind="prefill")))
    assert calibrate([coarse], host) == (Calibration("a host", "coarse", True, 0.5, 2.0, 1, "2026-11-23"),)
    assert calibrate([], host) == ()


def test_a_calibration_keeps_the_speed_when_the_bandwidth_is_read_anew(tmp_path: Path) -> None:
    # half of what 20 GB/s promised is all of what 10 GB/s promises
    kept = make_result(bandwidth_bytes_per_s=20e9)
    append_result(tmp_path, kept)
    machine = Machine("m", Device("a host", DeviceKind.CPU, 2**30, 2**30, 10e9))
    assert [c.decode_ratio for c in calibrate_machine(machine, tmp_path).calibrations] == [1.0]
    same = Machine("m", Device("a host", DeviceKind.CPU, 2**30, 2**30, 20e9))
    assert [c.decode_ratio for c in calibrate_machine(same, tmp_path).calibrations] == [0.5]
    assert calibrate_machine(machine, tmp_path / "nowhere") == machine


def test_results_survive_being_kept(tmp_path: Path) -> None:
    assert load_results(tmp_path) == ()
    path = append_result(tmp_path, make_result(bandwidth_bytes_per_s=math.pi))
    assert load_results(tmp_path) == (make_result(bandwidth_bytes_per_s=math.pi),)
    path.write_text("nonsense\n[]\n{}\n")
    assert load_results(tmp_path) == ()


@pytest.mark.engine
def test_zeros_take_as_long_as_values(tmp_path: Path, engine: EngineChild) -> None:
    """By processor time and in turns, for other programs slow both alike; a kernel with a shortcut would be far off.

    Read, not mapped: holes are mapped in smaller pages than data, which is another matter (`evals.ghost`).
    """
    spec = make_spec(hidden_dim=1024)
    types = find_types(spec, "Q4_K_M", engine)
    opening = {"kind": "open", "n_threads": 1, "n_gpu_layers": 0, "copy": False, "n_ctx": 512, "n_batch": 512}
    opening |= {"n_ubatch": 512, "type_k": "f16", "type_v": "f16", "flash_attention": True, "map": False}
    rates: dict[bool, list[float]] = {False: [], True: []}
    with contextlib.ExitStack() as stack:
        children = {}
        for full in rates:
            ghost = stack.enter_context(open_ghost(spec, types, tmp_path, full=full))
            assert isinstance(ghost, Ghost)
            children[full] = stack.enter_context(EngineChild(CHILD_COMMAND))
            assert not isinstance(children[full].ask(opening | {"path": ghost.path}), DryRunFailure)
        for turn in range(6):
            for full, child in children.items():
                child.ask({"kind": "fill", "depth": 0, "copy": False})
                told = child.ask({"kind": "decode", "n_tokens": 40, "repetitions": 1, "max_seconds": 5})
                assert not isinstance(told, DryRunFailure)
                assert told["finite"]
                if turn:  # the first is a warm-up
                    rates[full].append(40 / (sum(told["seconds"]) * told["cpu_share"]))
    assert 0.67 < median(rates[False]) / median(rates[True]) < 1.5, rates

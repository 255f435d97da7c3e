"""Set-up without the network: what the stamp answers for, where the compiled wheel is kept, what a build shows."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import bootstrap, run_app

FLAG = '--config-settings="cmake.args=-DGGML_RPC=ON"'


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a clone which was set up: requirement files, environment, engine."""
    (tmp_path / "requirements.txt").write_text(f"numpy==1\nllama-cpp-python==0.3.36 {FLAG}\n")
    (tmp_path / "requirements-dev.txt").write_text("-r requirements.txt\nruff==1\n")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    monkeypatch.setattr(bootstrap, "LOGS", tmp_path / ".setup")
    monkeypatch.delenv("WEIGHBRIDGE_WHEELS", raising=False)
    bootstrap.PYTHON.parent.mkdir(parents=True)
    bootstrap.PYTHON.symlink_to(sys.executable)
    (tmp_path / ".setup").mkdir()
    put_engine(tmp_path, with_rpc=True)
    return tmp_path


def put_engine(clone: Path, *, with_rpc: bool) -> None:
    library = clone / ".venv/lib/python3.11/site-packages/llama_cpp/lib"
    library.mkdir(parents=True, exist_ok=True)
    for name in ("libllama.so", "libggml-rpc.so"):
        (library / name).touch()
    if not with_rpc:
        (library / "libggml-rpc.so").unlink()


def test_a_stamp_answers_until_a_requirement_changes(clone: Path) -> None:
    bootstrap.write_stamp("dev", engine=True)
    assert bootstrap.is_done("dev")
    (clone / "requirements.txt").write_text(f"numpy==2\nllama-cpp-python==0.3.36 {FLAG}\n")
    assert not bootstrap.is_done("dev")


def test_without_a_stamp_nothing_is_done(clone: Path) -> None:
    assert not bootstrap.is_done("app")


def test_an_engine_built_without_the_flag_is_not_taken_for_done(clone: Path) -> None:
    bootstrap.write_stamp("dev", engine=True)
    put_engine(clone, with_rpc=False)
    assert not bootstrap.engine_is_installed()
    assert not bootstrap.is_done("dev")


def test_a_failed_compile_lets_the_app_start_but_not_the_tests(clone: Path) -> None:
    put_engine(clone, with_rpc=False)
    bootstrap.write_stamp("app", engine=False)
    bootstrap.write_stamp("dev", engine=False)
    assert bootstrap.is_done("app")
    assert not bootstrap.is_done("dev")


def test_the_wheel_folder_is_keyed_by_version_and_flags(clone: Path) -> None:
    engine = bootstrap.read_engine_requirement()
    assert engine.requirement == "llama-cpp-python==0.3.36"
    assert engine.config_settings == ("cmake.args=-DGGML_RPC=ON",)
    first = engine.wheel_folder
    assert first.parent == clone / ".wheels"
    (clone / "requirements.txt").write_text("llama-cpp-python==0.3.36\n")
    without_flag = bootstrap.read_engine_requirement().wheel_folder
    (clone / "requirements.txt").write_text(f"llama-cpp-python==0.3.37 {FLAG}\n")
    assert len({first, without_flag, bootstrap.read_engine_requirement().wheel_folder}) == 3


def test_a_missing_compiler_is_named(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    problem = bootstrap.build_wheel(bootstrap.read_engine_requirement())
    assert problem is not None
    assert "no C++ compiler (looked for no-such-compiler)" in problem
    assert "apt install g++" in problem


def test_wrong_usage_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert bootstrap.main(["everything"]) == 2
    assert "app|dev|engine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("  [123/197] /usr/bin/g++ -DGGML_BUILD", "[123/197]"),
        ("  [ 12%] Building CXX object", "[12%]"),
        ("  -- Including RPC backend", None),
    ],
)
def test_a_build_shows_its_step(line: str, step: str | None) -> None:
    assert bootstrap.find_compile_step(line) == step


def test_output_and_exit_code_of_a_step_are_kept(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = bootstrap.LOGS / "x.log"
    command = [sys.executable, "-c", "print('[1/2] a'); print('[2/2] b'); raise SystemExit(3)"]
    assert bootstrap.run_showing_steps(command, log, {}, bootstrap.find_compile_step) == 3
    assert log.read_text().splitlines() == ["[1/2] a", "[2/2] b"]
    assert "failed at [2/2]" in capsys.readouterr().out


def test_the_engine_line_stands_in_the_real_requirements_with_its_flag() -> None:
    engine = bootstrap.read_engine_requirement()
    assert engine.config_settings == ("cmake.args=-DGGML_RPC=ON",)
    pinned = [line for file in bootstrap.requirement_files("dev") for line in file.read_text().splitlines()]
    loose = [line for line in pinned if line and not line.startswith(("#", "-r")) and "==" not in line]
    assert loose == []


def test_a_second_set_up_is_instant() -> None:
    """0.3 s is what a person does not notice; the best of three, since the machine may be busy."""
    if not bootstrap.is_done("dev"):
        pytest.skip("this clone was set up by other means, so there is no stamp")
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, "tools/bootstrap.py", "dev"], cwd=bootstrap.ROOT, check=True)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.3


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind((run_app.ADDRESS, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run_app.find_free_port(port) != port


def test_no_port_left_is_said() -> None:
    with socket.socket() as taken:
        taken.bind((run_app.ADDRESS, 0))
        taken.listen()
        with pytest.raises(OSError, match="make run PORT="):
            run_app.find_free_port(taken.getsockname()[1], tries=1)


@pytest.mark.parametrize("port", ["80", "x", "70000"])
def test_a_port_that_is_none_is_refused(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", port)
    assert run_app.main() == 2
    assert f"got {port!r}" in capsys.readouterr().err


def test_the_app_is_served_to_this_machine_only_and_tells_nobody() -> None:
    command = run_app.streamlit_command(8501)
    assert command[command.index("--server.address") + 1] == "127.0.0.1"
    assert command[command.index("--browser.gatherUsageStats") + 1] == "false"
